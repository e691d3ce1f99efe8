"""Weight files: round trips, and everything that is no such file."""

import os
import pickle
import resource
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from aodnet_fixtures import published_layers, randomised

from aodnet import arrays, model, weight_names, weights
from hazegen.errors import RefusedError


def arrays_of(network: keras.Model, layout: str) -> dict[str, np.ndarray]:
    named = {}
    for number, (kernel, bias) in enumerate(published_layers(network), start=1):
        named |= {f"{layout}_conv{number}_w": kernel, f"{layout}_conv{number}_b": bias}
    return named


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return randomised(model.build_aodnet(), 2)


@pytest.fixture
def npz(tmp_path, network) -> Path:
    np.savez(tmp_path / "w.npz", **arrays_of(network, "caffe"))
    return tmp_path / "w.npz"


def assert_same(a: keras.Model, b: keras.Model) -> None:
    for x, y in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(x, y)


def test_round_trip(tmp_path, network):
    weights.save(network, tmp_path / "a.weights.h5")
    assert_same(weights.load(tmp_path / "a.weights.h5"), network)
    assert [path.name for path in tmp_path.iterdir()] == ["a.weights.h5"]


def test_save_replaces(tmp_path, network):
    weights.save(model.build_aodnet(), tmp_path / "a.weights.h5")
    weights.save(network, tmp_path / "a.weights.h5")
    assert_same(weights.load(tmp_path / "a.weights.h5"), network)


@pytest.mark.parametrize("layout", ["caffe", "torch"])
def test_import_of_either_layout(tmp_path, network, layout):
    np.savez(tmp_path / "w.npz", **arrays_of(network, layout))
    assert_same(weights.import_npz(tmp_path / "w.npz"), network)
    assert_same(weights.import_npz(tmp_path / "w.npz", layout), network)


def test_import_then_save_then_load(tmp_path, npz, network):
    weights.save(weights.import_npz(npz), tmp_path / "b.weights.h5")
    assert_same(weights.load(tmp_path / "b.weights.h5"), network)


def test_both_layouts_need_a_choice(tmp_path, network):
    other = randomised(model.build_aodnet(), 3)
    np.savez(tmp_path / "w.npz", **arrays_of(network, "caffe"), **arrays_of(other, "torch"))
    with pytest.raises(RefusedError, match=r"received both\. Pass --layout"):
        weights.import_npz(tmp_path / "w.npz")
    assert_same(weights.import_npz(tmp_path / "w.npz", "caffe"), network)
    assert_same(weights.import_npz(tmp_path / "w.npz", "torch"), other)


def test_denormals_become_zero(tmp_path, network):
    arrays = arrays_of(network, "caffe")
    kernel = arrays["caffe_conv3_w"].copy()
    kernel.flat[:4] = (1e-40, -1e-38, 9e-21, 2e-20)
    np.savez(tmp_path / "w.npz", **arrays | {"caffe_conv3_w": kernel})
    loaded = published_layers(weights.import_npz(tmp_path / "w.npz"))[2][0].ravel()
    np.testing.assert_array_equal(loaded[:3], 0.0)
    assert loaded[3] == np.float32(2e-20)
    np.testing.assert_array_equal(loaded[4:], kernel.ravel()[4:])


def test_flush_small_counts_what_it_changes():
    network = model.build_aodnet()
    bias = network.get_layer("conv2").bias
    bias.assign([1e-30, 0.0, 1.0])
    assert weights.flush_small(network) == 1
    np.testing.assert_array_equal(bias.numpy(), [0.0, 0.0, 1.0])
    assert weights.flush_small(network) == 0


def test_trained_weights_hold_no_denormals_after_flushing():
    network = model.build_aodnet()
    for variable in network.trainable_variables:
        variable.assign(variable * 1e-30)
    assert weights.flush_small(network) > 1000
    values = np.concatenate([value.ravel() for value in network.get_weights()])
    assert not ((np.abs(values) < weights.SMALLEST) & (values != 0)).any()


@pytest.mark.parametrize("content", [b"", b"hello\n", b"PK\x03\x04", pickle.dumps([1]), b"\x89HDF\r\n\x1a\n"], ids=str)
def test_npz_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "w.npz").write_bytes(content)
    with pytest.raises(RefusedError, match=r"w\.npz' cannot be read"):
        weights.import_npz(tmp_path / "w.npz")


def test_npy_under_the_name_npz_is_refused(tmp_path):
    with (tmp_path / "w.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(RefusedError, match=r"w\.npz' cannot be read"):
        weights.import_npz(tmp_path / "w.npz")


def test_missing_npz_is_refused(tmp_path):
    with pytest.raises(RefusedError, match="cannot be read"):
        weights.import_npz(tmp_path / "none.npz")


@pytest.mark.parametrize("layout", [None, "caffe"])
def test_npz_without_arrays_is_refused(tmp_path, layout):
    with zipfile.ZipFile(tmp_path / "w.npz", "w"):
        pass
    with pytest.raises(RefusedError, match=r"does not say which weights|do not fit AOD-Net"):
        weights.import_npz(tmp_path / "w.npz", layout)


def test_truncated_npz_is_refused(npz):
    npz.write_bytes(npz.read_bytes()[:-200])
    with pytest.raises(RefusedError, match="cannot be read"):
        weights.import_npz(npz)


def test_npz_with_a_flipped_bit_is_refused(npz):
    data = bytearray(npz.read_bytes())
    data[len(data) // 2] ^= 1
    npz.write_bytes(data)
    with pytest.raises(RefusedError, match="cannot be read"):
        weights.import_npz(npz)


@pytest.mark.parametrize("name", ["conv1_w", "conv4_w", "conv5_b"])
def test_npz_of_another_shape_is_refused(tmp_path, network, name):
    arrays = arrays_of(network, "caffe")
    arrays[f"caffe_{name}"] = np.concatenate([arrays[f"caffe_{name}"]] * 2)
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(RefusedError, match=f"convolution {name[4]} .*do not fit AOD-Net"):
        weights.import_npz(tmp_path / "w.npz")


def test_npz_with_a_missing_layer_is_refused(tmp_path, network):
    arrays = arrays_of(network, "caffe")
    del arrays["caffe_conv3_w"]
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(RefusedError, match=r"convolution 3 .*do not fit AOD-Net"):
        weights.import_npz(tmp_path / "w.npz")


@pytest.mark.parametrize("dtype", ["U4", "c8"])
def test_npz_of_other_things_than_numbers_is_refused(tmp_path, network, dtype):
    arrays = arrays_of(network, "caffe")
    arrays["caffe_conv2_b"] = np.full(3, "a" if dtype == "U4" else 1j, dtype)
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(RefusedError):
        weights.import_npz(tmp_path / "w.npz")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_npz_with_values_that_are_not_finite_is_refused(tmp_path, network, value):
    arrays = arrays_of(network, "caffe")
    arrays["caffe_conv2_b"] = np.array([0.0, value, 0.0], np.float32)
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(RefusedError):
        weights.import_npz(tmp_path / "w.npz")


class Canary:
    """Pickled, it writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_objects_are_refused_unread(tmp_path, network):
    canary = tmp_path / "canary"
    objects = np.empty(3, object)
    objects[:] = [Canary(canary)] * 3
    np.savez(tmp_path / "w.npz", **arrays_of(network, "caffe") | {"caffe_conv1_b": objects})
    with pytest.raises(RefusedError, match="cannot be read"):
        weights.import_npz(tmp_path / "w.npz")
    (tmp_path / "p.npz").write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(RefusedError, match="cannot be read"):
        weights.import_npz(tmp_path / "p.npz")
    assert not canary.exists()
    np.load(tmp_path / "w.npz", allow_pickle=True)["caffe_conv1_b"]
    assert canary.exists()  # the canary does sing


@pytest.mark.parametrize("content", [None, b"", b"text\n", b"PK\x03\x04 a zip"], ids=str)
def test_file_that_holds_no_weights_is_refused(tmp_path, content):
    path = tmp_path / "a.weights.h5"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RefusedError, match=r"a\.weights\.h5' is no weight file"):
        weights.load(path)


def test_folder_is_refused(tmp_path):
    with pytest.raises(RefusedError, match="is no weight file"):
        weights.load(tmp_path)


def test_truncated_weights_are_refused(tmp_path, network):
    path = tmp_path / "a.weights.h5"
    weights.save(network, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(RefusedError, match="do not fit AOD-Net"):
        weights.load(path)


@pytest.mark.parametrize("name", ["a.weights.h5", "a.h5", "a"])
def test_hdf5_of_something_else_is_refused(tmp_path, name):
    with h5py.File(tmp_path / name, "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(RefusedError, match="do not fit AOD-Net"):
        weights.load(tmp_path / name)


def other_network(second: int) -> keras.Model:
    """A port in circulation: a 1 x 1 second convolution, 1,689 parameters."""
    hazy = keras.Input((None, None, 3))
    x1 = keras.layers.Conv2D(3, 1, padding="same", name="conv1")(hazy)
    x2 = keras.layers.Conv2D(3, second, padding="same", name="conv2")(x1)
    return keras.Model(hazy, x2)


def test_weights_of_another_network_are_refused_with_both_named(tmp_path):
    other_network(1).save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(RefusedError, match=r"do not fit AOD-Net. Expected \(1, 1, 3, 3\), \(3, 3, 3, 3\)"):
        weights.load(tmp_path / "other.weights.h5")


@pytest.mark.parametrize("layer", ["conv2d", "conv2d_2", "conv2d_4"])
def test_weights_without_one_layer_are_refused(tmp_path, network, layer):
    path = tmp_path / "a.weights.h5"
    weights.save(network, path)
    with h5py.File(path, "r+") as file:
        del file[f"layers/{layer}"]
    with pytest.raises(RefusedError, match="do not fit AOD-Net"):
        weights.load(path)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    network = model.build_aodnet()
    network.get_layer("conv2").bias.assign([np.nan, 0.0, 0.0])
    network.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(RefusedError, match="are not finite"):
        weights.load(tmp_path / "a.weights.h5")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_not_written(tmp_path, network, value):
    weights.save(network, tmp_path / "a.weights.h5")
    broken = model.build_aodnet()
    broken.get_layer("conv2").bias.assign([0.0, value, 0.0])
    with pytest.raises(RefusedError, match=r"The weights for '.*a\.weights\.h5' are not finite.*Nothing was written"):
        weights.save(broken, tmp_path / "a.weights.h5")
    assert_same(weights.load(tmp_path / "a.weights.h5"), network)
    assert [path.name for path in tmp_path.iterdir()] == ["a.weights.h5"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path, network, monkeypatch):
    weights.save(network, tmp_path / "a.weights.h5")

    def fail(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        weights.save(model.build_aodnet(), tmp_path / "a.weights.h5")
    monkeypatch.undo()
    assert_same(weights.load(tmp_path / "a.weights.h5"), network)
    assert [path.name for path in tmp_path.iterdir()] == ["a.weights.h5"]


def test_what_a_killed_run_left_is_swept(tmp_path, network):
    left, other = (tmp_path / f"{name}.weights.h5.4242-0a1b2c3d-7.tmp" for name in ("a", "b"))
    for path in (left, other):
        path.write_bytes(b"half")
    weights.save(network, tmp_path / "a.weights.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.weights.h5", other.name]


# --- Keras reads ours, and we read what Keras writes ---


@pytest.mark.parametrize("filters", [1, 3, 8])
def test_keras_reads_ours(tmp_path, filters):
    network = randomised(model.build_aodnet(filters=filters), 4)
    weights.save(network, tmp_path / "a.weights.h5")
    other = model.build_aodnet(filters=filters)
    other.load_weights(tmp_path / "a.weights.h5")
    assert_same(other, network)


@pytest.mark.parametrize("filters", [1, 3, 8])
def test_we_read_what_keras_writes(tmp_path, filters):
    network = randomised(model.build_aodnet(filters=filters), 5)
    network.compile("adam")
    network.optimizer.build(network.trainable_variables)
    network.save_weights(tmp_path / "a.weights.h5")
    assert_same(weights.load(tmp_path / "a.weights.h5"), network)


def test_ours_hold_the_weights_alone(tmp_path, network):
    """A compiled network's file has its optimizer's state too where Keras writes it: 73 kB."""
    network.compile("adam")
    weights.save(network, tmp_path / "a.weights.h5")
    with h5py.File(tmp_path / "a.weights.h5") as file:
        sizes = []
        file.visititems(lambda _, item: sizes.append(getattr(item, "size", 0)))
        assert list(file) == ["layers"]
    assert sum(sizes) == model.PARAMETERS
    assert (tmp_path / "a.weights.h5").stat().st_size < 30_000


# --- files made to do harm ---

KERNEL = "layers/conv2d_1/vars/0"  # (3, 3, 3, 3)


def huge(file: h5py.File) -> None:
    del file[KERNEL]
    file.create_dataset(KERNEL, (3, 3, 3, 10**12), np.float32, chunks=(1, 1, 1, 100))


def wide(file: h5py.File) -> None:
    del file["layers/conv2d/vars/0"]
    file.create_dataset("layers/conv2d/vars/0", (1, 1, 3, 10**9), np.float32, chunks=(1, 1, 1, 100))


def chunks(file: h5py.File) -> None:
    del file[KERNEL]
    file.create_dataset(
        KERNEL, (3, 3, 3, 3), np.float32, chunks=(3, 3, 3, 10**7), maxshape=(3, 3, 3, None), compression=9
    )


def external_link(file: h5py.File) -> None:
    del file[KERNEL]
    file[KERNEL] = h5py.ExternalLink("other.weights.h5", f"/{KERNEL}")


def external_group(file: h5py.File) -> None:
    del file["layers"]
    file["layers"] = h5py.ExternalLink("other.weights.h5", "/layers")


def soft_link(file: h5py.File) -> None:
    del file[KERNEL]
    file[KERNEL] = h5py.SoftLink(f"/{KERNEL}")


def stored_elsewhere(file: h5py.File) -> None:
    del file[KERNEL]
    file.create_dataset(KERNEL, (3, 3, 3, 3), np.float32, external=[("/proc/self/environ", 0, 324)])


def virtual(file: h5py.File) -> None:
    del file[KERNEL]
    layout = h5py.VirtualLayout((3, 3, 3, 3), np.float32)
    layout[...] = h5py.VirtualSource("other.weights.h5", KERNEL, (3, 3, 3, 3))
    file.create_virtual_dataset(KERNEL, layout)


def retyped(values: np.ndarray, **options: object):
    def change(file: h5py.File) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, data=values, **options)

    return change


def group(file: h5py.File) -> None:
    del file[KERNEL]
    file.create_group(KERNEL)


HOSTILE = {
    "huge": (huge, "1000000000000"),
    "wide": (wide, "filters is out of range"),
    "no filters": (lambda file: retype_first(file, (1, 1, 3, 0)), "filters is out of range"),
    "empty": (lambda file: retype_first(file, None), "is no array"),
    "scalar": (retyped(np.float32(1)), "is no array"),
    "chunks": (chunks, "chunks of"),
    "external link": (external_link, "is not in the file"),
    "external group": (external_group, "is not in the file"),
    "soft link": (soft_link, "is not in the file"),
    "stored elsewhere": (stored_elsewhere, "kept in other files"),
    "virtual": (virtual, "kept in other files"),
    "group": (group, "is no array"),
    "integers": (retyped(np.zeros((3, 3, 3, 3), int)), "type int64"),
    "complex": (retyped(np.zeros((3, 3, 3, 3), complex)), "type complex128"),
    "text": (retyped(np.full((3, 3, 3, 3), b"x")), "type"),
    "objects": (retyped(np.full((3, 3, 3, 3), "x", object), dtype=h5py.string_dtype()), "type object"),
    "references": (retyped(np.zeros((3, 3, 3, 3), [("a", "f4")])), "type"),
}


def retype_first(file: h5py.File, shape: tuple[int, ...] | None) -> None:
    del file["layers/conv2d/vars/0"]
    file["layers/conv2d/vars/0"] = h5py.Empty("f4") if shape is None else np.zeros(shape, np.float32)


@pytest.mark.parametrize("how", HOSTILE)
def test_hostile_hdf5_is_refused_before_it_takes_memory(tmp_path, network, how):
    change, received = HOSTILE[how]
    path = tmp_path / "a.weights.h5"
    for name in ("a", "other"):
        weights.save(network, tmp_path / f"{name}.weights.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RefusedError, match=rf"do not fit AOD-Net.*received others.*{received}.*Choose weights"):
        weights.load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_compressed_weights_are_read(tmp_path, network):
    """As h5repack leaves them."""
    path = tmp_path / "a.weights.h5"
    weights.save(network, path)
    with h5py.File(path, "r+") as file:
        values = file[KERNEL][...]
        del file[KERNEL]
        file.create_dataset(KERNEL, data=values.astype(np.float64), chunks=(1, 3, 3, 3), compression=9)
    assert_same(weights.load(path), network)


def test_numbers_that_float32_cannot_hold_are_refused(tmp_path, network):
    path = tmp_path / "a.weights.h5"
    weights.save(network, path)
    with h5py.File(path, "r+") as file:
        retyped(np.full((3, 3, 3, 3), 1e300))(file)
    with pytest.raises(RefusedError, match="are not finite"):
        weights.load(path)


def test_too_large_a_file_is_refused_unread(tmp_path, network):
    path = tmp_path / "a.weights.h5"
    weights.save(network, path)
    os.truncate(path, arrays.MAX_BYTES + 1)
    with pytest.raises(RefusedError, match="more than 64,000,000 bytes"):
        weights.load(path)


def test_flipped_bits_never_crash(tmp_path, network):
    """A weight file has no digest: what is read may differ, but it is the right shapes, finite, or a refusal."""
    path = tmp_path / "a.weights.h5"
    weights.save(network, path)
    content = path.read_bytes()
    rng = np.random.default_rng(3)
    refused = 0
    for place in rng.integers(0, len(content), 40):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << int(rng.integers(8))]) + content[place + 1 :])
        try:
            assert weights.is_finite(weights.load(path))
        except RefusedError:
            refused += 1
    assert 0 < refused < 40


# --- weights that come with the package ---


@pytest.fixture
def pretrained(tmp_path, network, monkeypatch) -> Path:
    folder = tmp_path / "pretrained"
    folder.mkdir()
    monkeypatch.setattr(weight_names, "PRETRAINED", folder)
    for name in ("rooms", "procedural"):
        weights.save(network, folder / f"{name}.weights.h5")
    return folder


def test_a_shipped_name_is_found(pretrained, network):
    assert weights.shipped() == ["procedural", "rooms"]
    assert weights.find_weights("rooms") == pretrained / "rooms.weights.h5"
    assert_same(weights.load(weights.find_weights(weights.DEFAULT)), network)


def test_a_path_stands_above_a_shipped_name(pretrained, tmp_path, network, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights.save(network, tmp_path / "mine.weights.h5")
    assert weights.find_weights("mine.weights.h5") == Path("mine.weights.h5")
    (tmp_path / "rooms").mkdir()  # a folder, though, is none
    assert weights.find_weights("rooms") == pretrained / "rooms.weights.h5"
    (tmp_path / "procedural").write_bytes(b"")
    assert weights.find_weights("procedural") == Path("procedural")


@pytest.mark.usefixtures("pretrained")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("room", r"one of procedural, rooms that come with the package, received neither\. Did you mean 'rooms'\?"),
        ("x.weights.h5", r"There are no weights 'x\.weights\.h5'.*received neither\. Check the name, or train"),
        (".", "received a folder"),
        ("../pretrained/rooms", "received neither"),
    ],
)
def test_unknown_weights_are_refused_with_the_known_named(text, words, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(RefusedError, match=words):
        weights.find_weights(text)


def test_none_may_be_shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(weight_names, "PRETRAINED", tmp_path / "none")
    with pytest.raises(RefusedError, match="or one of none that come with the package"):
        weights.find_weights("rooms")


def test_weights_of_the_same_layers_in_another_shape_are_refused(tmp_path, network):
    path = tmp_path / "a.weights.h5"
    weights.save(network, path)
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if getattr(item, "shape", None) == (3, 3, 3, 3) else None)
        assert len(names) == 1
        del file[names[0]]
        file[names[0]] = np.zeros((1, 1, 3, 3), np.float32)
    with pytest.raises(RefusedError, match="do not fit AOD-Net"):
        weights.load(path)


def test_npz_that_unpacks_to_too_much_is_refused_before_it_is(tmp_path):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, caffe_conv1_w=np.zeros(20_000_000, np.float32))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(RefusedError, match="bytes when unpacked"):
        weights.import_npz(path)
