"""Depth by an ONNX network: what goes in, what comes out, what is kept, and which files never run."""

import dataclasses
import json
import os
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from hazegen import images
from hazegen.config import attribute_texts
from hazegen.depth import estimation, network, onnx_file
from hazegen.depth.estimation import estimate_folder
from hazegen.depth.network import ModelOptions
from hazegen.errors import RefusedError, UsageError

onnx = pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
helper, FLOAT, UINT8 = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8

FREE = ("n", 3, "h", "w")
SIDE = 24  # of the photos: 24 x 36


def tensor(name, values):
    return onnx.numpy_helper.from_array(np.asarray(values, np.float32), name)


def save_net(path, nodes, inputs=(("x", FLOAT, FREE),), outputs=(("depth", FLOAT, ("n", 1, "h", "w")),), weights=()):
    """Writes a network of these nodes, inputs, outputs and weights."""
    ins, outs = ([helper.make_tensor_value_info(*value) for value in values] for values in (inputs, outputs))
    graph = helper.make_graph(list(nodes), "net", ins, outs, list(weights))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("strange", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def conv_net(path, mix=(1.0, 1.0, 1.0), shape=FREE, add=0.0):
    """A network whose output is a mixture of the three channels, plus a number."""
    weights = [tensor("mix", np.reshape(mix, (1, 3, 1, 1))), tensor("add", [add])]
    out = (shape[0], 1, *shape[2:])
    node = helper.make_node("Conv", ["x", "mix", "add"], ["depth"])
    return save_net(path, [node], [("x", FLOAT, shape)], [("depth", FLOAT, out)], weights)


def unary_net(path, operator):
    """A network that applies one operator to the first channel."""
    nodes = [
        helper.make_node("Conv", ["x", "mix"], ["one"]),
        helper.make_node(operator, ["one"], ["depth"]),
    ]
    return save_net(path, nodes, weights=[tensor("mix", np.reshape((1.0, 0.0, 0.0), (1, 3, 1, 1)))])


def row_net(path):
    """A network that gives the number of the row: it knows what is up."""
    nodes = [
        helper.make_node("Conv", ["x", "none", "one"], ["ones"]),
        helper.make_node("CumSum", ["ones", "axis"], ["depth"]),
    ]
    axis = onnx.numpy_helper.from_array(np.array(2, np.int64), "axis")
    return save_net(path, nodes, weights=[tensor("none", np.zeros((1, 3, 1, 1))), tensor("one", [1.0]), axis])


def photo(seed=0, height=SIDE, width=36):
    """A smooth photo, uint8 (height, width, 3)."""
    coarse = np.random.default_rng(seed).random((4, 6, 3), np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.rint(255 * smooth).astype(np.uint8)


def mean_code(pixels):
    return pixels.astype(np.float32).sum(axis=2) / 255.0


@pytest.fixture
def folder(tmp_path):
    """Photos a.png, sub/b.png and c.jpg, of 24 x 36 pixels."""
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "sub/b.png", "c.jpg")):
        path = tmp_path / "photos" / name
        path.write_bytes(images.encode(photo(seed), path.suffix))
        os.utime(path, (1e9, 1e9))
    return tmp_path / "photos"


NAMES = ["a.png", "sub/b.png", "c.jpg"]


@pytest.fixture
def options(tmp_path):
    """A network that gives the sum of the channels as inverse depth, at the photos' own size."""
    return ModelOptions(conv_net(tmp_path / "net.onnx"), values="inverse", short_side=SIDE, threads=1)


# --- what comes out ---


def test_maps_lie_under_their_keys_with_the_networks_numbers(folder, options, tmp_path):
    seen = []
    done = estimate_folder(folder, NAMES, tmp_path / "cache", options, seen.append)
    assert (done.done, done.kept, done.failed) == (3, 0, ())
    assert sum(seen) == 3
    written = {str(path.relative_to(tmp_path / "cache")) for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    maps = {"a.npy", "sub/b.npy", "c.npy"}
    assert written == maps | {name.replace(".npy", ".info") for name in maps} | {"model.json"}
    for name in NAMES:
        depth = np.load((tmp_path / "cache" / name).with_suffix(".npy"), allow_pickle=False)
        assert (depth.dtype, depth.shape) == (np.float32, (24, 36))
        np.testing.assert_allclose(depth, mean_code(images.read_picture(folder / name)), atol=1e-5)


def test_network_of_fixed_size_gives_maps_of_the_photos_size(folder, tmp_path):
    options = ModelOptions(conv_net(tmp_path / "net.onnx", shape=(1, 3, 48, 72)), values="inverse")
    assert estimate_folder(folder, NAMES, tmp_path / "cache", options).done == 3
    depth = np.load(tmp_path / "cache" / "a.npy")
    assert depth.shape == (24, 36)
    np.testing.assert_allclose(depth, mean_code(photo(0)), atol=0.06)


def test_photos_of_any_kind_and_size_get_maps_of_theirs(folder, options, tmp_path):
    alpha = np.full((24, 24, 1), 200, np.uint8)
    pictures = {
        "gray.png": photo(1, 30, 20)[..., 0],
        "deep.png": photo(2, 25, 31).astype(np.uint16) * 257,
        "alpha.png": np.dstack([photo(3, 24, 24), alpha]),
    }
    for name, pixels in pictures.items():
        (folder / name).write_bytes(images.encode(pixels, ".png"))
    names = [*NAMES, *pictures]
    small = dataclasses.replace(options, short_side=10, multiple=7, batch=2)
    assert estimate_folder(folder, names, tmp_path / "cache", small).done == 6
    for name, pixels in pictures.items():
        assert np.load((tmp_path / "cache" / name).with_suffix(".npy")).shape == pixels.shape[:2]


@pytest.mark.parametrize(("channels", "first"), [("rgb", 0), ("bgr", 2)])
def test_codes_are_scaled_then_normalised_in_the_order_of_the_channels(folder, tmp_path, channels, first):
    net = conv_net(tmp_path / "net.onnx", (1.0, 0.0, 0.0))
    mean, std = (10.0, 20.0, 30.0), (2.0, 4.0, 8.0)
    told = ModelOptions(
        net, values="relative", short_side=SIDE, mean=mean, std=std, scale=0.5, channels=channels, threads=1
    )
    estimate_folder(folder, ["a.png"], tmp_path / "cache", told)
    expected = (photo(0)[..., first] * np.float32(0.5) - mean[first]) / std[first]
    np.testing.assert_allclose(np.load(tmp_path / "cache" / "a.npy"), expected, atol=1e-4)


@pytest.mark.parametrize("keep", [0, 1])
def test_channels_may_stand_last_and_the_output_may_have_three_axes(folder, tmp_path, keep):
    axes = onnx.numpy_helper.from_array(np.array([3], np.int64), "axes")
    node = helper.make_node("ReduceSum", ["x", "axes"], ["depth"], keepdims=keep)
    out = [("depth", FLOAT, ("n", "h", "w", 1) if keep else ("n", "h", "w"))]
    net = save_net(tmp_path / "net.onnx", [node], [("x", FLOAT, ("n", "h", "w", 3))], out, [axes])
    told = ModelOptions(net, values="inverse", short_side=SIDE, layout="nhwc")
    assert estimate_folder(folder, NAMES, tmp_path / "cache", told).done == 3
    np.testing.assert_allclose(np.load(tmp_path / "cache" / "a.npy"), mean_code(photo(0)), atol=1e-5)


def test_output_of_one_picture_may_have_two_axes(folder, tmp_path):
    axes = onnx.numpy_helper.from_array(np.array([0, 1], np.int64), "axes")
    mix = tensor("mix", np.ones((1, 3, 1, 1)))
    nodes = [helper.make_node("Conv", ["x", "mix"], ["one"]), helper.make_node("Squeeze", ["one", "axes"], ["depth"])]
    inputs, outputs = [("x", FLOAT, (1, 3, "h", "w"))], [("depth", FLOAT, ("h", "w"))]
    net = save_net(tmp_path / "net.onnx", nodes, inputs, outputs, [mix, axes])
    told = ModelOptions(net, values="inverse", short_side=SIDE)
    assert estimate_folder(folder, NAMES, tmp_path / "cache", told).done == 3
    np.testing.assert_allclose(np.load(tmp_path / "cache" / "a.npy"), mean_code(photo(0)), atol=1e-5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_network_sees_photos_upright_and_maps_lie_as_the_files(folder, tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(photo(0)).save(folder / "turned.png", exif=exif)
    seeing = ModelOptions(row_net(tmp_path / "rows.onnx"), values="relative", short_side=SIDE)
    estimate_folder(folder, ["turned.png"], tmp_path / "rows", seeing)
    rows = np.load(tmp_path / "rows" / "turned.npy")
    assert rows.shape == (24, 36)
    ramp = images.upright(rows, orientation)
    assert (ramp == np.arange(1, len(ramp) + 1)[:, None]).all()
    plain = ModelOptions(conv_net(tmp_path / "net.onnx"), values="inverse", short_side=SIDE)
    estimate_folder(folder, ["turned.png"], tmp_path / "cache", plain)
    np.testing.assert_allclose(np.load(tmp_path / "cache" / "turned.npy"), mean_code(photo(0)), atol=1e-5)


@pytest.mark.parametrize("changes", [{"batch": 2}, {"batch": 16}, {"threads": 2}, {"threads": None}])
def test_maps_do_not_depend_on_batch_and_threads(folder, options, tmp_path, changes):
    for number in range(6):
        size = (24, 36) if number % 2 else (36, 24)
        (folder / f"{number}.png").write_bytes(images.encode(photo(number, *size), ".png"))
    names = [*NAMES, *(f"{number}.png" for number in range(6))]
    estimate_folder(folder, names, tmp_path / "one", options)
    seen = []
    done = estimate_folder(folder, names, tmp_path / "two", dataclasses.replace(options, **changes), seen.append)
    assert (done.done, sum(seen)) == (9, 9)
    for path in (tmp_path / "one").rglob("*.npy"):
        np.testing.assert_array_equal(np.load(path), np.load(tmp_path / "two" / path.relative_to(tmp_path / "one")))


def test_damaged_exif_data_costs_no_photo(folder, options, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = folder / "exif.webp"
    Image.fromarray(photo(0)).save(path, exif=exif, lossless=True)
    path.write_bytes(path.read_bytes().replace(b"MM\0*", b"XX\0*"))
    assert estimate_folder(folder, ["exif.webp"], tmp_path / "cache", options).failed == ()
    np.testing.assert_allclose(np.load(tmp_path / "cache" / "exif.npy"), mean_code(photo(0)), atol=1e-5)


def test_few_photos_wait_for_others_of_their_size(monkeypatch):
    from hazegen.depth import estimation

    @dataclasses.dataclass
    class Sized:
        pixels: np.ndarray

    taken = []

    def photos():
        for number in range(40):
            taken.append(number)
            yield Sized(np.zeros((1 + number % 10, 1, 1)))

    given = 0
    for batch in estimation._batches(photos(), 2):
        assert len({photo.pixels.shape for photo in batch}) == 1
        given += len(batch)
        assert len(taken) - given < estimation.WAITING * 2
    assert given == 40


# --- what the network's input is ---


@pytest.mark.parametrize(
    ("preset", "photo_size", "expected"),
    [
        ("depth-anything-v2", (640, 480), (686, 518)),  # 690.7 is nearer to 49 x 14 than to 50 x 14
        ("depth-anything-v2", (480, 640), (518, 686)),
        ("depth-anything-v2-metric-indoor", (518, 518), (518, 518)),
        ("depth-anything-v2-metric-outdoor", (1242, 375), (1722, 518)),
        ("midas-small", (640, 480), (352, 256)),  # 341.3 is nearer to 11 x 32 than to 10 x 32
    ],
)
def test_free_inputs_keep_the_photos_proportions_in_multiples(tmp_path, preset, photo_size, expected):
    loaded = network.load(ModelOptions(conv_net(tmp_path / "net.onnx"), preset=preset, threads=1))
    assert network.input_size(loaded, *photo_size) == expected


def test_size_that_is_given_is_used(tmp_path):
    net = conv_net(tmp_path / "net.onnx")
    loaded = network.load(ModelOptions(net, preset="depth-anything-v2", width=70, height=28, threads=1))
    assert network.input_size(loaded, 640, 480) == (70, 28)


def test_options_stand_above_the_preset(tmp_path):
    told = ModelOptions(tmp_path / "net.onnx", preset="depth-anything-v2", mean=(0.5, 0.5, 0.5), values="inverse")
    handling = network.handling_of(told)
    assert (handling.mean, handling.std) == ((0.5, 0.5, 0.5), (0.229, 0.224, 0.225))
    assert (handling.values, handling.multiple, handling.short_side) == ("inverse", 14, 518)


@pytest.mark.parametrize("preset", sorted(set(network.PRESETS) - {"none"}))
def test_presets_say_what_the_output_means(tmp_path, preset):
    handling = network.handling_of(ModelOptions(tmp_path / "net.onnx", preset=preset))
    assert handling.values == ("plane" if "metric" in preset else "relative-inverse")


def test_long_narrow_photo_is_refused_before_it_fills_the_memory(folder, tmp_path):
    (folder / "strip.png").write_bytes(images.encode(photo(1, 2, 20000), ".png"))
    told = ModelOptions(conv_net(tmp_path / "net.onnx"), preset="depth-anything-v2")
    done = estimate_folder(folder, ["strip.png"], tmp_path / "cache", told)
    (failed,) = done.failed
    assert "too large for the network. Expected at most 16,000,000 pixels of input, received" in failed[1]


# --- what is kept ---


def test_maps_that_are_there_are_kept(folder, options, tmp_path, monkeypatch):
    estimate_folder(folder, NAMES, tmp_path / "cache", options)
    (tmp_path / "cache" / "a.npy").unlink()
    before = (tmp_path / "cache" / "c.npy").stat().st_mtime_ns
    seen = []
    done = estimate_folder(folder, NAMES, tmp_path / "cache", options, seen.append)
    assert (done.done, done.kept, sum(seen)) == (1, 2, 3)
    assert (tmp_path / "cache" / "c.npy").stat().st_mtime_ns == before
    monkeypatch.setattr(network, "load", lambda options: pytest.fail("nothing is left to estimate"))
    assert estimate_folder(folder, NAMES, tmp_path / "cache", options).kept == 3


@pytest.mark.parametrize("seconds", [1e8, 1e9, 2e9])
def test_map_of_a_photo_that_has_changed_is_made_again_whatever_its_time(folder, options, tmp_path, seconds):
    estimate_folder(folder, NAMES, tmp_path / "cache", options)
    (folder / "a.png").write_bytes(images.encode(photo(9), ".png"))
    os.utime(folder / "a.png", (seconds, seconds))
    assert estimate_folder(folder, NAMES, tmp_path / "cache", options).done == 1
    np.testing.assert_allclose(np.load(tmp_path / "cache" / "a.npy"), mean_code(photo(9)), atol=1e-5)
    assert estimate_folder(folder, NAMES, tmp_path / "cache", options).kept == 3


def test_photo_of_the_same_size_in_bytes_is_told_apart(folder, options, tmp_path):
    """As a BMP all photos of one size have as many bytes."""
    for seed in (1, 2):
        (folder / "x.bmp").write_bytes(images.encode(photo(seed), ".bmp"))
        assert estimate_folder(folder, ["x.bmp"], tmp_path / "cache", options).done == 1
        np.testing.assert_allclose(np.load(tmp_path / "cache" / "x.npy"), mean_code(photo(seed)), atol=1e-5)


def test_photo_that_was_only_touched_or_copied_keeps_its_map(folder, options, tmp_path):
    estimate_folder(folder, NAMES, tmp_path / "cache", options)
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes())
    os.utime(folder / "c.jpg", (4e9, 4e9))
    assert estimate_folder(folder, NAMES, tmp_path / "cache", options).kept == 3


@pytest.mark.parametrize("content", [None, "", "{", "3", "[]", "{}", '{"bytes": 5, "sha256": "0"}'])
def test_map_of_nobody_knows_which_photo_is_made_again(folder, options, tmp_path, content):
    estimate_folder(folder, NAMES, tmp_path / "cache", options)
    told = tmp_path / "cache" / "sub" / "b.info"
    told.unlink() if content is None else told.write_text(content)
    done = estimate_folder(folder, NAMES, tmp_path / "cache", options)
    assert (done.done, done.kept) == (1, 2)


def test_run_that_dies_between_a_map_and_its_note_leaves_no_wrong_note(folder, options, tmp_path, monkeypatch):
    cache, first = tmp_path / "cache", (folder / "a.png").read_bytes()
    estimate_folder(folder, ["a.png"], cache, options)
    (folder / "a.png").write_bytes(images.encode(photo(9), ".png"))
    with monkeypatch.context() as patch:
        patch.setattr(estimation.stores, "write_text", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            estimate_folder(folder, ["a.png"], cache, options)
    (folder / "a.png").write_bytes(first)
    assert estimate_folder(folder, ["a.png"], cache, options).done == 1
    np.testing.assert_allclose(np.load(cache / "a.npy"), mean_code(photo(0)), atol=1e-5)


def test_photo_named_as_the_mark_takes_nothing_from_it(folder, options, tmp_path):
    (folder / "model.png").write_bytes(images.encode(photo(4), ".png"))
    for kept in (0, 1):
        assert estimate_folder(folder, ["model.png"], tmp_path / "cache", options).kept == kept


def test_interrupted_run_leaves_whole_maps_and_goes_on(folder, options, tmp_path, monkeypatch):
    calls = []

    def stop(loaded, batch):
        calls.append(batch)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return infer(loaded, batch)

    with monkeypatch.context() as patch:
        infer = network.infer
        patch.setattr(network, "infer", stop)
        with pytest.raises(KeyboardInterrupt):
            estimate_folder(folder, NAMES, tmp_path / "cache", options)
    (tmp_path / "cache" / "c.npy.1-0a1b2c3d-0.tmp").write_bytes(b"cut")
    done = estimate_folder(folder, NAMES, tmp_path / "cache", options)
    assert (done.done, done.kept) == (2, 1)
    assert not list((tmp_path / "cache").rglob("*.tmp"))


def test_full_disk_ends_the_run(folder, options, tmp_path, monkeypatch):
    def full(*given, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space left"):
        estimate_folder(folder, NAMES, tmp_path / "cache", options)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"values": "relative"}, "values: inverse before, relative now"),
        ({"short_side": 30}, "short_side: 24 before, 30 now"),
        ({"mean": (0.0, 0.0, 1.0)}, r"mean: \[0.0, 0.0, 0.0\] before, \[0.0, 0.0, 1.0\] now"),
        ({"file": "other.onnx"}, "sha256: [0-9a-f]{64} before, [0-9a-f]{64} now"),
    ],
)
def test_maps_of_another_network_are_never_mixed_in(folder, options, tmp_path, changes, told):
    estimate_folder(folder, NAMES, tmp_path / "cache", options)
    if "file" in changes:
        changes = {"file": conv_net(tmp_path / "other.onnx", (1.0, 2.0, 3.0))}
    with pytest.raises(RefusedError, match=f"depth maps of another network. Expected the same.*{told}"):
        estimate_folder(folder, NAMES, tmp_path / "cache", dataclasses.replace(options, **changes))


def test_batch_threads_and_the_files_name_make_no_other_network(folder, options, tmp_path):
    estimate_folder(folder, NAMES, tmp_path / "cache", options)
    moved = options.file.rename(tmp_path / "moved.onnx")
    same = dataclasses.replace(options, file=moved, batch=2, threads=None)
    assert estimate_folder(folder, NAMES, tmp_path / "cache", same).kept == 3


def test_mark_tells_network_and_options(folder, options, tmp_path):
    estimate_folder(folder, NAMES, tmp_path / "cache", options)
    told = json.loads((tmp_path / "cache" / "model.json").read_text())
    assert told["sha256"] == onnx_file.check_file(options.file)
    assert (told["values"], told["layout"], told["short_side"]) == ("inverse", "nchw", 24)


@pytest.mark.parametrize("name", ["notes.txt", "a.npy"])
def test_foreign_folder_is_refused(folder, options, tmp_path, name):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / name).write_text("mine")
    with pytest.raises(
        RefusedError, match=r"cannot take the depth maps. Expected a new folder or one with a model.json"
    ):
        estimate_folder(folder, NAMES, tmp_path / "cache", options)
    assert (tmp_path / "cache" / name).read_text() == "mine"


def test_cache_that_is_a_file_is_refused(folder, options, tmp_path):
    (tmp_path / "cache").write_text("mine")
    with pytest.raises(RefusedError, match="cannot take the depth maps"):
        estimate_folder(folder, NAMES, tmp_path / "cache", options)


@pytest.mark.parametrize("content", ["", "{", "3", "[1]"])
def test_mark_that_cannot_be_read_is_refused(folder, options, tmp_path, content):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "model.json").write_text(content)
    with pytest.raises(RefusedError, match=r"model.json' cannot be read. Expected what was written beside"):
        estimate_folder(folder, NAMES, tmp_path / "cache", options)


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "sub/../../a.png"])
def test_names_that_lead_out_of_the_folder_are_refused(folder, options, tmp_path, name):
    with pytest.raises(UsageError, match=r"A photo lies outside of its folder. Expected a path relative to it"):
        estimate_folder(folder, [name], tmp_path / "cache", options)
    assert not (tmp_path / "cache").exists()


def test_two_photos_of_one_key_are_refused(folder, options, tmp_path):
    with pytest.raises(UsageError, match=r"Two photos have one key.*received 'a.png' and 'a.jpg'"):
        estimate_folder(folder, ["a.png", "a.jpg"], tmp_path / "cache", options)


# --- photos without a map ---


@pytest.mark.parametrize("batch", [1, 3])
def test_photos_that_fail_are_named_and_stop_no_other(folder, options, tmp_path, batch):
    (folder / "text.png").write_text("no picture")
    (folder / "cut.jpg").write_bytes((folder / "c.jpg").read_bytes()[:200])
    (folder / "gray.png").write_bytes(images.encode(np.full((24, 36, 3), 77, np.uint8), ".png"))
    names = ["text.png", "a.png", "cut.jpg", "missing.png", "gray.png", "sub/b.png", "c.jpg"]
    seen = []
    done = estimate_folder(folder, names, tmp_path / "cache", dataclasses.replace(options, batch=batch), seen.append)
    assert (done.done, done.kept, sum(seen)) == (3, 0, 7)
    reasons = dict(done.failed)
    assert sorted(reasons) == ["cut.jpg", "gray.png", "missing.png", "text.png"]
    assert "is not a file" in reasons["missing.png"]
    assert "is not a picture that can be read" in reasons["text.png"]
    assert "Expected near and far, received 0.9" in reasons["gray.png"]
    assert sorted(path.name for path in (tmp_path / "cache").rglob("*.npy")) == ["a.npy", "b.npy", "c.npy"]


@pytest.mark.parametrize(
    ("operator", "values", "reason"),
    [
        ("Log", "relative", r"Expected finite numbers, received \d+ others"),
        ("Neg", "inverse", r"Expected 1/m, 0 or more, received -"),
        ("Neg", "plane", r"Expected metres above 0, received -"),
        ("Relu", "plane", r"Expected metres above 0, received 0"),
    ],
)
def test_output_that_is_no_depth_is_refused(folder, tmp_path, operator, values, reason):
    pixels = photo(0)
    pixels[3:9, 4:20] = 0
    (folder / "a.png").write_bytes(images.encode(pixels, ".png"))
    told = ModelOptions(unary_net(tmp_path / "net.onnx", operator), values=values, short_side=SIDE)
    done = estimate_folder(folder, ["a.png"], tmp_path / "cache", told)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(done.failed[0][1])


def test_relative_output_may_have_any_sign(folder, tmp_path):
    told = ModelOptions(unary_net(tmp_path / "net.onnx", "Neg"), values="relative-inverse", short_side=SIDE)
    assert estimate_folder(folder, NAMES, tmp_path / "cache", told).done == 3


def test_network_that_fails_on_a_photo_is_told_for_it(folder, tmp_path):
    reshape = helper.make_node("Reshape", ["x", "shape"], ["depth"])
    shape = onnx.numpy_helper.from_array(np.array([1, 1, 30, 36], np.int64), "shape")
    told = ModelOptions(save_net(tmp_path / "net.onnx", [reshape], weights=[shape]), values="relative", short_side=SIDE)
    done = estimate_folder(folder, ["a.png"], tmp_path / "cache", told)
    assert "The network fails on the photo. Expected a map, received an error of onnxruntime" in done.failed[0][1]


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_photo_that_the_network_fails_on_takes_no_other_with_it(folder, options, tmp_path, monkeypatch, batch):
    (folder / "d.png").write_bytes(images.encode(np.maximum(photo(7), 1), ".png"))
    pixels = photo(5)
    pixels[0, 0] = 255  # a mark that the network is made to fail on
    (folder / "bad.png").write_bytes(images.encode(pixels, ".png"))
    infer = network.infer

    def fail(loaded, photos):
        if any((one[:, 0, 0] == 1.0).all() for one in photos):
            raise RefusedError("The network fails on the photo.")
        return infer(loaded, photos)

    monkeypatch.setattr(network, "infer", fail)
    seen = []
    names = ["a.png", "bad.png", "sub/b.png", "c.jpg", "d.png"]
    done = estimate_folder(folder, names, tmp_path / "cache", dataclasses.replace(options, batch=batch), seen.append)
    assert (done.done, done.failed, sum(seen)) == (4, (("bad.png", "The network fails on the photo."),), 5)
    np.testing.assert_allclose(np.load(tmp_path / "cache" / "a.npy"), mean_code(photo(0)), atol=1e-5)


def test_output_that_is_no_map_is_told_for_the_photo(folder, tmp_path):
    node = helper.make_node("Identity", ["x"], ["depth"])
    net = save_net(tmp_path / "net.onnx", [node], outputs=[("depth", FLOAT, ("n", "c", "h", "w"))])
    told = ModelOptions(net, values="relative", short_side=SIDE)
    done = estimate_folder(folder, ["a.png"], tmp_path / "cache", told)
    assert r"Expected (1, height, width), received (1, 3, 24, 36)" in done.failed[0][1]


# --- files that never run ---


@pytest.mark.parametrize("content", [b"", b"no network", b"\x08", b"\x00" * 1000])
def test_file_that_is_no_network_is_refused(folder, tmp_path, content):
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(RefusedError, match=r"'net.onnx' is no depth network for us. Expected a complete ONNX file"):
        estimate_folder(folder, NAMES, tmp_path / "cache", ModelOptions(tmp_path / "net.onnx", values="inverse"))
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_cut_file_is_refused(tmp_path, share):
    whole = conv_net(tmp_path / "net.onnx").read_bytes()
    (tmp_path / "net.onnx").write_bytes(whole[: int(share * len(whole))])
    told = ModelOptions(tmp_path / "net.onnx", values="inverse", short_side=SIDE)
    with pytest.raises(RefusedError, match=r"'net.onnx' is no depth network for us. Expected .*received"):
        estimate_folder(tmp_path, ["missing.png"], tmp_path / "cache", told)


def test_missing_and_oversized_files_are_refused(tmp_path, monkeypatch):
    with pytest.raises(RefusedError, match="Expected an ONNX file of at most 2147483647 bytes, received no file"):
        onnx_file.check_file(tmp_path / "net.onnx")
    conv_net(tmp_path / "net.onnx")
    monkeypatch.setattr(onnx_file, "MAX_MODEL_BYTES", 100)
    with pytest.raises(RefusedError, match=r"Expected an ONNX file of at most 100 bytes, received \d+"):
        onnx_file.check_file(tmp_path / "net.onnx")


def external_net(path, location):
    """A network whose weights lie in another file."""
    conv_net(path)
    model = onnx.load(path)
    weight = model.graph.initializer[0]
    (path.parent / "weights.bin").write_bytes(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "missing.bin", "", "link.bin", "a\0b", "."])
def test_weights_outside_of_the_networks_folder_are_refused(tmp_path, location):
    (tmp_path / "net").mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(12))
    (tmp_path / "net" / "link.bin").symlink_to(tmp_path / "weights.bin")
    path = external_net(tmp_path / "net" / "net.onnx", location)
    with pytest.raises(RefusedError, match=r"Expected files of weights in its own folder, received"):
        onnx_file.check_file(path)


def test_weights_in_a_subgraph_are_looked_at_too(tmp_path):
    outside = tensor("far", [1.0])
    outside.ClearField("raw_data")
    outside.data_location = onnx.TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="../far.bin")
    inner = helper.make_graph(
        [helper.make_node("Identity", ["far"], ["y"])], "inner", [], [helper.make_tensor_value_info("y", FLOAT, [1])]
    )
    inner.initializer.append(outside)
    node = helper.make_node("If", ["x"], ["depth"], then_branch=inner, else_branch=inner)
    with pytest.raises(RefusedError, match=r"received '\.\./far.bin'"):
        onnx_file.check_file(save_net(tmp_path / "net.onnx", [node]))


def test_weights_beside_the_network_are_used_and_belong_to_it(folder, tmp_path):
    told = ModelOptions(external_net(tmp_path / "net.onnx", "weights.bin"), values="inverse", short_side=SIDE)
    assert estimate_folder(folder, NAMES, tmp_path / "cache", told).done == 3
    np.testing.assert_allclose(np.load(tmp_path / "cache" / "a.npy"), mean_code(photo(0)), atol=1e-5)
    (tmp_path / "weights.bin").write_bytes(np.float32([1, 2, 3]).tobytes())
    with pytest.raises(RefusedError, match=r"depth maps of another network.*sha256"):
        estimate_folder(folder, NAMES, tmp_path / "cache", told)


def test_operator_that_is_not_built_in_is_refused(tmp_path):
    node = helper.make_node("Anything", ["x"], ["depth"], domain="strange")
    with pytest.raises(RefusedError, match=r"Expected operators that runtimes have built in, received 'strange.Any"):
        onnx_file.check_file(save_net(tmp_path / "net.onnx", [node]))


def test_fewer_weights_than_their_shapes_say_are_refused(tmp_path):
    """A runtime may read as many numbers as the shape says, beyond its memory."""
    path = conv_net(tmp_path / "net.onnx")
    model = onnx.load(path)
    weight = model.graph.initializer[0]
    weight.raw_data = weight.raw_data[:-4]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(RefusedError, match=rf"Expected as many weights as their shapes say, received '{weight.name}'"):
        onnx_file.check_file(path)


def test_every_file_of_weights_is_looked_at(tmp_path):
    """Several may have one name, or be named twice."""
    path = external_net(tmp_path / "net.onnx", "weights.bin")
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data.insert(0, onnx.StringStringEntryProto(key="location", value="../far.bin"))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(RefusedError, match=r"in its own folder, received '\.\./far.bin'"):
        onnx_file.check_file(path)


def test_operator_that_does_not_exist_is_refused(tmp_path):
    path = save_net(tmp_path / "net.onnx", [helper.make_node("Anything", ["x"], ["depth"])])
    onnx_file.check_file(path)
    with pytest.raises(RefusedError, match=r"Expected a network that onnxruntime loads, received an error of onnxrunt"):
        network.load(ModelOptions(path, values="inverse", short_side=SIDE))


NODE = ("Identity", ["x"], ["depth"])


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ([("x", FLOAT, FREE), ("y", FLOAT, FREE)], "x: tensor.float. .*; y: tensor"),
        ([("x", UINT8, FREE)], "x: tensor.uint8."),
        ([("x", FLOAT, (3, "h", "w"))], r"\[3, 'h', 'w'\]"),
        ([("x", FLOAT, (1, 1, "h", "w"))], r"\[1, 1, 'h', 'w'\]"),
        ([("x", FLOAT, (1, "h", "w", 3))], r"\[1, 'h', 'w', 3\]"),
        ([("x", FLOAT, (4, 3, 28, 28))], r"\[4, 3, 28, 28\]"),
        ([("x", FLOAT, (1, 3, 28, "w"))], r"\[1, 3, 28, 'w'\]"),
    ],
)
def test_network_with_another_input_is_refused(tmp_path, inputs, told):
    element, shape = inputs[0][1:]
    path = save_net(tmp_path / "net.onnx", [helper.make_node(*NODE)], inputs, [("depth", element, shape)])
    expected = "one input of float32 NCHW, of 1 or any number of pictures of 3 channels"
    with pytest.raises(RefusedError, match=rf"Expected {expected}, received .*{told}"):
        network.load(ModelOptions(path, values="inverse", short_side=SIDE))


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        (
            [NODE, ("Relu", ["x"], ["sky"])],
            [("depth", FLOAT, FREE), ("sky", FLOAT, FREE)],
        ),
        ([("Shape", ["x"], ["depth"])], [("depth", onnx.TensorProto.INT64, (4,))]),
        (
            [("SequenceConstruct", ["x"], ["s"]), ("ConcatFromSequence", ["s"], ["depth"], {"axis": 0, "new_axis": 1})],
            [("depth", FLOAT, (1, "n", 3, "h", "w"))],
        ),
    ],
)
def test_network_with_another_output_is_refused(tmp_path, nodes, outputs):
    made = [helper.make_node(*node[:3], **dict(*node[3:])) for node in nodes]
    path = save_net(tmp_path / "net.onnx", made, outputs=outputs)
    with pytest.raises(RefusedError, match=r"'net.onnx' is no depth network for us. Expected .*received .*"):
        network.load(ModelOptions(path, values="inverse", short_side=SIDE))


# --- options ---


def test_size_that_is_not_the_networks_is_refused(tmp_path):
    path = conv_net(tmp_path / "net.onnx", shape=(1, 3, 28, 42))
    network.load(ModelOptions(path, values="inverse", width=42, height=28))
    with pytest.raises(
        UsageError, match=r"another input size. Expected width and height \(42, 28\), received \(28, 42\)"
    ):
        network.load(ModelOptions(path, values="inverse", width=28, height=42))


def test_free_size_needs_one_that_is_given(tmp_path):
    with pytest.raises(
        UsageError, match=r"leaves the size of its input free. Expected width and height, or short_side"
    ):
        network.load(ModelOptions(conv_net(tmp_path / "net.onnx"), values="inverse"))


def test_batch_needs_a_network_that_takes_several(tmp_path):
    path = conv_net(tmp_path / "net.onnx", shape=(1, 3, 28, 42))
    with pytest.raises(UsageError, match=r"one picture at a time. Expected a batch of 1, received 4"):
        network.load(ModelOptions(path, values="inverse", batch=4))


def test_meaning_of_the_output_must_be_said(tmp_path):
    with pytest.raises(UsageError, match=r"Nobody says what the depth network gives. Expected a preset or values"):
        network.handling_of(ModelOptions(tmp_path / "net.onnx"))


@pytest.mark.parametrize("name", ["short_side", "multiple", "batch", "threads"])
@pytest.mark.parametrize("value", [0, 65537, -1])
def test_whole_numbers_out_of_range_are_refused(tmp_path, name, value):
    with pytest.raises(UsageError, match=f"'{name}' of the depth network is out of range. Expected 1 to 65536"):
        ModelOptions(tmp_path / "net.onnx", **{name: value})
    ModelOptions(tmp_path / "net.onnx", **{name: 1})
    ModelOptions(tmp_path / "net.onnx", **{name: 65536})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"std": (1.0, 0.0, 1.0)}, "'std'.*three numbers above 0"),
        ({"std": (1.0, float("inf"), 1.0)}, "'std'.*three numbers above 0"),
        ({"mean": (0.0, float("nan"), 0.0)}, "'mean'.*three finite numbers"),
        ({"scale": 0.0}, "'scale'.*a number above 0"),
        ({"scale": float("inf")}, "'scale'.*a number above 0"),
        ({"width": 3}, "Expected width and height, received 3 and None"),
    ],
)
def test_numbers_that_cannot_be_used_are_refused(tmp_path, changes, expected):
    with pytest.raises(UsageError, match=expected):
        ModelOptions(tmp_path / "net.onnx", **changes)


def test_missing_package_is_told_with_the_command_that_brings_it(folder, options, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"package that is not installed.*Run pip install 'hazegen\[onnx\]'"):
        estimate_folder(folder, NAMES, tmp_path / "cache", options)


def test_every_option_has_a_sentence_for_its_help():
    texts = attribute_texts(ModelOptions)
    texts |= (
        dict.fromkeys(("width", "height"), "in one line") if "width, height" in (ModelOptions.__doc__ or "") else {}
    )
    assert set(texts) == {field.name for field in dataclasses.fields(ModelOptions)}
