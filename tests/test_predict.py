"""Pictures of every kind go in, and come out in their own kind; a bad one costs no other."""

import contextlib
import io
import re
import time
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
from aodnet_fixtures import noise, published_layers, randomised, slow_aodnet, smooth
from PIL import Image, ImageCms

from aodnet import model, predict, tiles, video
from hazegen import color, images, progress
from hazegen.errors import RefusedError, UsageError

CPUINFO = Path("/proc/cpuinfo")
HAS_AVX512 = CPUINFO.exists() and "avx512f" in CPUINFO.read_text()


@pytest.fixture(scope="module")
def network():
    return randomised(model.build_aodnet(), 4, scale=0.05)


@pytest.fixture(scope="module")
def restore(network):
    return predict.restorer(network)


def in_one_piece(network, hazy: np.ndarray) -> np.ndarray:
    return np.clip(network(hazy[None]).numpy()[0], 0.0, 1.0)


def write(path: Path, pixels: np.ndarray) -> Path:
    path.write_bytes(images.encode(pixels, path.suffix))
    return path


def opened(path: Path) -> Image.Image:
    return Image.open(io.BytesIO(path.read_bytes()))


def restored_of(restore, tmp_path: Path, path: Path) -> np.ndarray:
    done = predict.predict(restore, [path], tmp_path / "out")
    assert done.problems == []
    assert done.written == [tmp_path / "out" / path.name]
    return images.read_picture(done.written[0])


def test_restored_picture_is_the_networks_output(network, restore, tmp_path):
    hazy = noise(0, 9, 11)
    expected = slow_aodnet(hazy / 255.0, published_layers(network))
    got = restored_of(restore, tmp_path, write(tmp_path / "a.png", hazy))
    assert got.dtype == np.uint8
    assert np.abs(got - np.clip(expected, 0, 1) * 255.0).max() <= 0.502


# --- tiles ---


@pytest.mark.parametrize("patch", [(16, 16), (15, 40), (61, 20), (64, 17)])
@pytest.mark.parametrize("shape", [(61, 20), (16, 90), (1, 30), (30, 1), (17, 64)])
@pytest.mark.parametrize("in_place", [False, True])
def test_tiles_cover_each_pixel_once_with_its_surroundings(patch, shape, in_place):
    """In whole numbers, where nothing rounds: the sum over a window as wide as the receptive field."""
    pixels = np.random.default_rng(0).integers(0, 1000, (*shape, 2))

    def around(tile):
        padded = np.pad(tile, ((tiles.MARGIN,) * 2, (tiles.MARGIN,) * 2, (0, 0)))
        return np.lib.stride_tricks.sliding_window_view(padded, (15, 15), axis=(0, 1)).sum(axis=(3, 4))

    expected = around(pixels)
    out = pixels if in_place else np.empty_like(pixels)
    assert tiles.apply(around, pixels, out, patch) is out
    np.testing.assert_array_equal(out, expected)


def test_a_narrower_margin_would_show(network, restore, monkeypatch):
    """The tests of tiles can see a seam."""
    monkeypatch.setattr(tiles, "MARGIN", 5)
    hazy = color.to_float(noise(1, 61, 45))
    assert np.abs(tiles.Restorer(restore.call, (32, 32))(hazy) - in_one_piece(network, hazy)).max() > 1e-4


@pytest.mark.parametrize("patch", [(33, 33), (40, 64), (100, 45)])
@pytest.mark.parametrize("shape", [(61, 95), (200, 33), (34, 200)])
def test_tiles_equal_one_piece(restore, patch, shape):
    """But for widths that leave 1 or 2 over a multiple of 30, for which oneDNN takes another kernel: see below."""
    hazy = color.to_float(noise(1, *shape))
    got, one = tiles.Restorer(restore.call, patch)(hazy), np.clip(restore.call(hazy), 0.0, 1.0)
    np.testing.assert_allclose(got, one, atol=1e-6, rtol=0)
    np.testing.assert_array_equal(color.to_uint8(got), color.to_uint8(one))


@pytest.mark.skipif(not HAS_AVX512, reason="oneDNN's kernels, and so the widths at which they change, are another's")
def test_tiles_equal_one_piece_to_the_last_bit(restore):
    hazy = color.to_float(noise(1, 1100, 1285))
    one = np.clip(restore.call(hazy), 0.0, 1.0)
    np.testing.assert_array_equal(restore(hazy), one)  # tiles of 1050, as shipped
    np.testing.assert_array_equal(tiles.Restorer(restore.call, (100, 95))(hazy[:150]), one_piece(restore, hazy[:150]))
    # 61 = 2 x 30 + 1: the last bits differ, and only they.
    other = tiles.Restorer(restore.call, (100, 61))(hazy[:150])
    assert 0 < np.abs(other - one_piece(restore, hazy[:150])).max() < 1e-6


def one_piece(restore, hazy: np.ndarray) -> np.ndarray:
    return np.clip(restore.call(hazy), 0.0, 1.0)


def test_integers_are_restored_tile_by_tile_in_place(restore):
    """A large picture is in memory once, in its own kind, and no tile is larger than it should be."""
    seen = []

    def call(hazy):
        seen.append(hazy.shape)
        return restore.call(hazy)

    small = tiles.Restorer(call, (64, 50))
    pixels = np.dstack([noise(0, 100, 120)[..., ::-1], noise(1, 100, 120)[..., :1]])
    expected = predict.restore_picture(restore, pixels.copy(), "a", bgr=True)
    assert predict.restore_picture(small, pixels, "a", bgr=True, out=pixels) is pixels
    np.testing.assert_array_equal(pixels, expected)
    assert set(seen) == {(64, 50, 3)}
    rgb = np.ascontiguousarray(noise(0, 100, 120))
    np.testing.assert_array_equal(predict.restore_picture(restore, rgb, "a"), expected[..., 2::-1])


def test_the_margin_is_the_networks():
    assert tiles.MARGIN == model.MARGIN


@pytest.mark.parametrize("shape", [(1, 1), (1, 17), (23, 1), (7, 5), (33, 47), (64, 64)])
def test_any_size(restore, tmp_path, shape):
    assert restored_of(restore, tmp_path, write(tmp_path / "a.png", noise(0, *shape))).shape == (*shape, 3)


def test_alpha_is_kept(network, restore, tmp_path):
    hazy, alpha = noise(0, 20, 22), noise(1, 20, 22)[..., :1]
    got = restored_of(restore, tmp_path, write(tmp_path / "a.png", np.dstack([hazy, alpha])))
    np.testing.assert_array_equal(got[..., 3:], alpha)
    np.testing.assert_array_equal(got[..., :3], color.to_uint8(in_one_piece(network, color.to_float(hazy))))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_stays_grey(network, restore, tmp_path, dtype):
    grey = smooth(0, 20, 22)[..., 0].astype(dtype) * (257 if dtype == np.uint16 else 1)
    got = restored_of(restore, tmp_path, write(tmp_path / "a.png", grey))
    assert got.dtype == dtype
    assert got.shape == (20, 22)
    rgb = in_one_piece(network, np.repeat(color.to_float(grey)[..., None], 3, axis=2))
    assert rgb.min() <= got.mean() / np.iinfo(dtype).max <= rgb.max()
    expected = rgb @ np.array([0.299, 0.587, 0.114])
    assert np.abs(got / np.iinfo(dtype).max - expected).max() < 1.0 / 255.0


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bits_stay_16_bits(network, restore, tmp_path, channels):
    deep = np.random.default_rng(0).integers(0, 65536, (12, 14, channels), np.uint16)
    got = restored_of(restore, tmp_path, write(tmp_path / "a.png", deep))
    assert got.dtype == np.uint16
    expected = in_one_piece(network, color.to_float(deep[..., :3]))
    assert np.abs(got[..., :3] / 65535.0 - expected).max() < 2e-5
    if channels == 4:
        np.testing.assert_array_equal(got[..., 3], deep[..., 3])
    assert len(np.unique(got % 257)) > 50  # not 8 bits spread over 16


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turned_photo_is_written_upright(network, restore, tmp_path, orientation):
    pixels = smooth(2, 24, 40)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg", quality=95, subsampling=0, exif=exif)
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    # OpenCV turns by the tag here: an independent opinion of what upright is.
    seen = cv2.cvtColor(cv2.imread(str(tmp_path / "a.jpg"), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert (seen.shape[0] > seen.shape[1]) == (orientation >= 5)
    got = restored_of(restore, tmp_path, tmp_path / "a.jpg")
    expected = in_one_piece(network, color.to_float(seen))
    assert got.shape == seen.shape
    assert np.abs(got / 255.0 - expected).mean() < 0.02
    assert opened(tmp_path / "out" / "a.jpg").getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jpg", ".JPEG", ".bmp", ".tif", ".webp", ".ppm"])
def test_own_format(restore, tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", smooth(0, 20, 22))
    restored_of(restore, tmp_path, path)
    formats = [opened(file).format for file in (path, tmp_path / "out" / path.name)]
    assert formats[0] == formats[1]


def test_bad_input_among_good_ones(restore, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "a.png", noise(0, 12, 12))
    (folder / "b.png").write_text("no picture")
    (folder / "c.jpg").write_bytes(images.encode(noise(0, 30, 30), ".jpg")[:300])
    write(folder / "d.png", noise(1, 12, 12))
    done = predict.predict(restore, [folder, tmp_path / "missing.png"], tmp_path / "out")
    assert [path.name for path in done.written] == ["a.png", "d.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "d.png"]
    assert len(done.problems) == 3
    for name, problem in zip(("b.png", "c.jpg", "missing.png"), done.problems, strict=True):
        assert name in problem


def test_picture_whose_name_has_no_format_costs_no_other(restore, tmp_path):
    (tmp_path / "photo").write_bytes(images.encode(noise(0, 8, 8), ".png"))
    good = write(tmp_path / "a.png", noise(0, 8, 8))
    done = predict.predict(restore, [tmp_path / "photo", good], tmp_path / "out")
    assert [path.name for path in done.written] == ["a.png"]
    assert len(done.problems) == 1
    assert "photo" in done.problems[0]


@pytest.mark.parametrize("kind", ["16 bits", "alpha"])
def test_png_that_is_named_jpg_is_not_written_wrong(network, restore, tmp_path, kind):
    """JPEG has neither 16 bits nor alpha: it is said, or turned to 8 bits, never saturated to white."""
    deep = noise(0, 20, 20).astype(np.uint16) * 257
    pixels = deep if kind == "16 bits" else np.dstack([noise(0, 20, 20), np.full((20, 20), 255, np.uint8)])
    (tmp_path / "a.jpg").write_bytes(images.encode(pixels, ".png"))
    done = predict.predict(restore, [tmp_path / "a.jpg"], tmp_path / "out")
    if done.written:
        expected = in_one_piece(network, color.to_float(pixels[..., :3]))
        got = images.as_rgb8(images.read_picture(done.written[0]), "a")
        assert np.abs(got / 255.0 - expected).mean() < 0.1
    else:
        assert "a.jpg" in done.problems[0]


def test_float_picture_is_refused(restore, tmp_path):
    done, data = cv2.imencode(".tiff", np.full((8, 8), 0.5, np.float32))
    assert done
    (tmp_path / "a.tiff").write_bytes(data.tobytes())
    problems = predict.predict(restore, [tmp_path / "a.tiff"], tmp_path / "out").problems
    assert len(problems) == 1
    assert "Expected 8 or 16 bits a channel, received float32" in problems[0]


def test_nothing_to_restore(restore, tmp_path):
    with pytest.raises(UsageError, match="There is nothing to restore"):
        predict.predict(restore, [tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_inputs_are_not_overwritten(restore, tmp_path):
    path = write(tmp_path / "a.png", noise(0, 8, 8))
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"Outputs would be overwritten.*0 names twice and 1 input in"):
        predict.predict(restore, [path], tmp_path)
    assert path.read_bytes() == before


def test_two_inputs_of_one_name_are_refused(restore, tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.png", noise(0, 8, 8))
    with pytest.raises(UsageError, match="1 name twice"):
        predict.predict(restore, [tmp_path / "x", tmp_path / "y"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_format_that_cannot_hold_the_picture_costs_no_other(tmp_path, restore):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for name in ("a.pgm", "b.png"):
        pixels = rng.integers(0, 255, (20, 24, 3), np.uint8)
        (tmp_path / "in" / name).write_bytes(images.encode(pixels, ".png"))
    done = predict.predict(restore, [tmp_path / "in"], tmp_path / "out")
    assert [path.name for path in done.written] == ["b.png"]
    assert "cannot hold this picture" in done.problems[0]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.png"]


# --- large pictures ---


def test_size_is_read_from_the_header_first(restore, tmp_path, monkeypatch):
    """26 bytes that promise 10 gigabytes."""
    (tmp_path / "a.pgm").write_bytes(b"P5 100000 100000 255\n12345")
    monkeypatch.setattr(cv2, "imdecode", None)
    problems = predict.predict(restore, [tmp_path / "a.pgm"], tmp_path / "out").problems
    assert "Expected at most 200,000,000 pixels" in problems[0]


def test_pictures_above_the_limit_of_pillow(restore, tmp_path):
    """90 megapixels, of which the header alone is read here: the file holds no more."""
    header = b"P5 10000 9001 255\n"
    (tmp_path / "a.pgm").write_bytes(header + bytes(100))
    kept = Image.MAX_IMAGE_PIXELS
    problems = predict.predict(restore, [tmp_path / "a.pgm"], tmp_path / "out").problems
    assert "cannot be decoded" in problems[0]
    assert kept == Image.MAX_IMAGE_PIXELS


# --- folders, side by side ---


def test_folders_of_folders(restore, tmp_path):
    folder = tmp_path / "in"
    for name in ("a.png", "x/a.png", "x/y/b.jpg", "x/y/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / name, noise(0, 8, 8)) if name[-3:] != "txt" else (folder / name).write_text("mine")
    out = folder / "restored"  # below what is read
    names = ["a.png", "x/a.png", "x/y/b.jpg"]
    for _ in range(2):  # the results of the first time are no inputs
        done = predict.predict(restore, [folder], out, recursive=True)
        assert [str(path.relative_to(out)) for path in done.written] == names
    assert sorted(path for path in out.rglob("*") if path.is_file()) == [out / name for name in names]
    alone = predict.predict(restore, [folder], tmp_path / "out")
    assert [path.name for path in alone.written] == ["a.png"]


def test_large_picture_tells_its_tiles(network, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "STEPS_S", 0.0)
    path = write(tmp_path / "a.png", noise(0, 60, 100))
    call = predict.restorer(network).call
    predict.predict(tiles.Restorer(call, (40, 60)), [path], tmp_path / "out")
    said = capsys.readouterr().err.splitlines()
    assert said == [*(f"restoring a.png: {n} of 4 tiles" for n in (1, 2, 3, 4)), "restoring: 1 of 1 file"]
    predict.predict(tiles.Restorer(call, (90, 120)), [path], tmp_path / "other")
    assert capsys.readouterr().err == "restoring: 1 of 1 file\n"
    assert (tmp_path / "out" / "a.png").read_bytes() == (tmp_path / "other" / "a.png").read_bytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_side_by_side(restore, tmp_path, dtype, channels):
    hazy = smooth(0, 60, 90).astype(dtype) * (np.iinfo(dtype).max // 255)
    hazy = hazy[..., 0] if channels == 1 else np.dstack([hazy, hazy[..., :1]])[..., :channels]
    path = write(tmp_path / "a.png", hazy)
    restored = restored_of(restore, tmp_path, path)
    for beside in ("plain", "labelled"):
        done = predict.predict(restore, [path], tmp_path / beside, beside=beside)
        got = images.read_picture(done.written[0])
        assert got.dtype == dtype
        assert got.shape == (60, 180, *hazy.shape[2:])
        top = 0 if beside == "plain" else 40
        np.testing.assert_array_equal(got[top:, :90], hazy[top:])
        np.testing.assert_array_equal(got[top:, 90:], restored[top:])
    for half, plain in ((got[:40, :90], hazy), (got[:40, 90:], restored)):
        letters = half[..., :3] if channels > 1 else half[..., None]
        assert (letters == np.iinfo(dtype).max).all(axis=2).sum() > 20
        assert (letters == 0).all(axis=2).sum() > 20
        if channels == 4:
            np.testing.assert_array_equal(half[..., 3], plain[:40, :, 3])


@pytest.mark.parametrize(
    ("name", "options", "keeps"),
    [
        ("a.jpg", {}, True),
        ("a.png", {}, True),
        ("grey.png", {}, False),  # a profile of colours says nothing of grey
        ("a.tif", {}, False),
        ("a.gif", {"save_all": True}, False),
        ("a.gif", {"save_all": True, "append": 1}, False),
        ("a.tif", {"save_all": True, "append": 2}, False),
    ],
)
def test_what_a_file_holds_beside_its_pixels_is_kept_or_told(restore, tmp_path, name, options, keeps):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = Image.fromarray(smooth(0, 20, 30)).convert("L" if name.startswith("grey") else "RGB")
    more = [picture.rotate(180) for _ in range(options.pop("append", 0))]
    picture.save(tmp_path / name, icc_profile=profile, **options, **({"append_images": more} if more else {}))
    done = predict.predict(restore, [tmp_path / name], tmp_path / "out")
    assert done.problems == []
    got = opened(tmp_path / "out" / name)
    assert got.info.get("icc_profile") == (profile if keeps else None)
    held = "icc_profile" in opened(tmp_path / name).info
    expected = [f"{tmp_path / name}: its colour profile is not kept."] if held and not keeps else []
    if more:
        expected.append(f"{tmp_path / name}: it holds several pictures, of which the first alone is restored.")
    assert done.remarks == expected


def test_broken_profile_is_told_and_costs_nothing(restore, tmp_path):
    Image.fromarray(smooth(0, 20, 30)).save(tmp_path / "a.png", icc_profile=b"no profile")
    done = predict.predict(restore, [tmp_path / "a.png"], tmp_path / "out")
    assert (done.problems, len(done.written)) == ([], 1)
    assert done.remarks == [f"{tmp_path / 'a.png'}: its colour profile is not kept."]


def test_many_inputs_are_compared_quickly(tmp_path):
    found = [(tmp_path / "in" / f"{n}.png", tmp_path / "out" / f"{n}.png") for n in range(10_000)]
    began = time.process_time()
    predict._check_targets(found, tmp_path / "out")
    assert time.process_time() - began < 10.0  # comparing each with each took minutes


# --- videos ---


def write_video(path: Path, frames: int = 6, size: tuple[int, int] = (48, 64), rate: float = 12.5) -> np.ndarray:
    """A picture that moves; what a reader sees of it."""
    picture = np.repeat(smooth(3, *size)[..., :1], 3, axis=2)  # encoders halve the resolution of colours
    code = cv2.VideoWriter.fourcc(*video.CODECS[path.suffix])
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, rate, (size[1], size[0]))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(np.ascontiguousarray(np.roll(picture, 2 * number, axis=1)))
    writer.release()
    return read_video(path)


def read_video(path: Path) -> np.ndarray:
    capture, frames = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), []
    while True:
        done, frame = capture.read()
        if not done:
            break
        frames.append(frame)
    capture.release()
    return np.array(frames)


@pytest.mark.parametrize("suffix", sorted(video.SUFFIXES))
def test_video_is_restored_frame_by_frame(restore, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    hazy = write_video(path)
    done = predict.predict(restore, [path], tmp_path / "out")
    assert done.problems == []
    assert [target.name for target in (tmp_path / "out").iterdir()] == [path.name]
    assert "6 frames of 64 x 48 at 12.5 a second" in done.remarks[0]
    assert "no sound" in done.remarks[0]
    got = read_video(tmp_path / "out" / path.name)
    assert got.shape == hazy.shape == (6, 48, 64, 3)
    expected = np.array([predict.restore_picture(restore, frame, "a", bgr=True) for frame in hazy])
    assert np.abs(got.astype(int) - expected).mean() < 6.0  # the codec's loss
    assert np.abs(hazy.astype(int) - expected).mean() > 12.0


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".webm"])
def test_video_of_odd_size_loses_no_row(tmp_path, suffix):
    """OpenCV's writer, left alone, makes 46 x 62 of 47 x 63."""
    path = tmp_path / f"a{suffix}"
    write_video(path)
    said = video.restore_video(lambda frame: frame[:47, :63], path, tmp_path / f"b{suffix}")
    assert "64 x 48" in said
    assert read_video(tmp_path / f"b{suffix}").shape == (6, 48, 64, 3)


def test_video_side_by_side(restore, tmp_path):
    hazy = write_video(tmp_path / "a.avi")
    predict.predict(restore, [tmp_path / "a.avi"], tmp_path / "out", beside="plain")
    got = read_video(tmp_path / "out" / "a.avi")
    assert got.shape == (6, 48, 128, 3)
    assert np.abs(got[:, :, :64].astype(int) - hazy).mean() < 6.0


def cut(data: bytes) -> bytes:
    """An AVI of which the last frames were not copied."""
    return data[: len(data) * 6 // 10]


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("a.avi", cut, r"Expected 6 frames as its header says, received [1-5] frames?: the file is cut off"),
        ("a.mp4", cut, "received none that can be read: the file is cut off"),
        ("a.mkv", lambda data: data[: len(data) * 7 // 10], r"Expected 12 frames .* received [1-9] frames"),
        ("a.avi", lambda data: b"", "received an empty file"),
        ("a.mp4", lambda data: b"#EXTM3U\n/etc/passwd\n", "MP4, QuickTime, AVI, Matroska or WebM"),
        ("a.mp4", lambda data: data[:12] + bytes(500), "received none that can be read"),
    ],
)
def test_broken_video_costs_no_other_and_leaves_nothing(restore, tmp_path, name, damage, message):
    path = tmp_path / name
    write_video(path, 12 if path.suffix == ".mkv" else 6)
    path.write_bytes(damage(path.read_bytes()))
    good = write(tmp_path / "b.png", noise(0, 8, 8))
    done = predict.predict(restore, [path, good], tmp_path / "out")
    assert [target.name for target in (tmp_path / "out").iterdir()] == ["b.png"]
    assert len(done.problems) == 1
    assert re.search(message, done.problems[0]), done.problems[0]


def test_video_that_ends_a_little_early_says_so(tmp_path, monkeypatch):
    """Matroska promises a length alone, which sound may make longer."""
    write_video(tmp_path / "a.mkv")
    get = video.cv2.VideoCapture.get

    class Longer:
        """A capture whose header promises a frame more."""

        def __init__(self, *given):
            self.capture = cv2.VideoCapture(*given)

        def get(self, key):
            return get(self.capture, key) + (key == cv2.CAP_PROP_FRAME_COUNT)

        def __getattr__(self, name):
            return getattr(self.capture, name)

    shim = types.SimpleNamespace(**vars(cv2))
    shim.VideoCapture = Longer
    monkeypatch.setattr(video, "cv2", shim)
    said = video.restore_video(lambda frame: frame, tmp_path / "a.mkv", tmp_path / "b.mkv")
    assert said.startswith("6 of about 7 frames of 64 x 48 at 12.5 a second")


@pytest.mark.parametrize(
    ("seconds", "expected", "refused"),
    [
        (59.96, 1500, False),
        (58.0, 1500, False),  # two seconds
        (57.8, 1500, True),
        (3598.0, 90_000, False),
        (3500.0, 90_000, True),  # less than 5 % of an hour, but minutes
        (9.5, 250, False),
        (9.3, 250, True),  # less than two seconds, but of ten
    ],
)
def test_how_early_a_video_may_end(seconds, expected, refused):
    """Of 25 frames a second."""
    with pytest.raises(RefusedError, match="frames as its header says") if refused else contextlib.nullcontext():
        video._check_complete(Path("a.mkv"), round(25 * seconds) + 1, expected, seconds, 25.0)


def test_video_that_the_disk_does_not_hold(tmp_path, monkeypatch):
    """OpenCV's writer says nothing."""
    write_video(tmp_path / "a.avi")
    monkeypatch.setattr(cv2.VideoWriter, "write", lambda *_: None, raising=True)
    with pytest.raises(OSError, match="0 of 6 frames"):
        video.restore_video(lambda frame: frame, tmp_path / "a.avi", tmp_path / "b.avi")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.avi"]


def test_frames_that_change_their_size(tmp_path):
    write_video(tmp_path / "a.avi")
    sizes = iter([48, 48, 40])
    with pytest.raises(RefusedError, match="received another after 2 frames"):
        video.restore_video(lambda frame: frame[: next(sizes)], tmp_path / "a.avi", tmp_path / "b.avi")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.avi"]


def test_video_without_a_codec(tmp_path, monkeypatch):
    write_video(tmp_path / "a.avi")
    monkeypatch.setitem(video.CODECS, ".avi", "none")
    with pytest.raises(RefusedError, match=r"codec none cannot be written.*\.mp4 or \.avi"):
        video.restore_video(lambda frame: frame, tmp_path / "a.avi", tmp_path / "b.avi")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.avi"]


def test_video_of_too_many_pixels(tmp_path, monkeypatch):
    write_video(tmp_path / "a.avi")
    monkeypatch.setattr(video, "MAX_PIXELS", 3000)
    with pytest.raises(RefusedError, match=r"at most 3,000 pixels a frame, received 64 x 48"):
        video.restore_video(lambda frame: frame, tmp_path / "a.avi", tmp_path / "b.avi")
