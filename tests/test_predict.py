"""Pictures of every kind go in, and come out in their own kind; a bad one costs no other."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from aodnet_fixtures import noise, published_layers, randomised, slow_aodnet, smooth
from PIL import Image

from aodnet import model, predict
from hazegen import color, images
from hazegen.errors import UsageError


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


def restored_of(network, tmp_path: Path, path: Path) -> np.ndarray:
    done = predict.predict(network, [path], tmp_path / "out")
    assert done.problems == []
    assert done.written == [tmp_path / "out" / path.name]
    return images.read_picture(done.written[0])


def test_restored_picture_is_the_networks_output(network, tmp_path):
    hazy = noise(0, 9, 11)
    expected = slow_aodnet(hazy / 255.0, published_layers(network))
    got = restored_of(network, tmp_path, write(tmp_path / "a.png", hazy))
    assert got.dtype == np.uint8
    assert np.abs(got - np.clip(expected, 0, 1) * 255.0).max() <= 0.502


@pytest.mark.parametrize("tile_pixels", [1, 60, 200, 700, 5000])
@pytest.mark.parametrize("shape", [(61, 20), (15, 40), (1, 30), (30, 1)])
def test_bands_equal_one_piece(network, restore, monkeypatch, tile_pixels, shape):
    monkeypatch.setattr(predict, "TILE_PIXELS", tile_pixels)
    hazy = color.to_float(noise(1, *shape))
    got = restore(hazy)
    assert got.shape == hazy.shape
    np.testing.assert_allclose(got, in_one_piece(network, hazy), atol=1e-6)


def test_a_narrower_margin_would_show(network, restore, monkeypatch):
    """The test above can see a seam."""
    monkeypatch.setattr(predict, "TILE_PIXELS", 200)
    monkeypatch.setattr(predict, "MARGIN", 5)
    hazy = color.to_float(noise(1, 61, 20))
    assert np.abs(restore(hazy) - in_one_piece(network, hazy)).max() > 1e-4


@pytest.mark.parametrize("shape", [(1, 1), (1, 17), (23, 1), (7, 5), (33, 47), (64, 64)])
def test_any_size(network, tmp_path, shape):
    assert restored_of(network, tmp_path, write(tmp_path / "a.png", noise(0, *shape))).shape == (*shape, 3)


def test_alpha_is_kept(network, tmp_path):
    hazy, alpha = noise(0, 20, 22), noise(1, 20, 22)[..., :1]
    got = restored_of(network, tmp_path, write(tmp_path / "a.png", np.dstack([hazy, alpha])))
    np.testing.assert_array_equal(got[..., 3:], alpha)
    np.testing.assert_array_equal(got[..., :3], color.to_uint8(in_one_piece(network, color.to_float(hazy))))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_stays_grey(network, tmp_path, dtype):
    grey = smooth(0, 20, 22)[..., 0].astype(dtype) * (257 if dtype == np.uint16 else 1)
    got = restored_of(network, tmp_path, write(tmp_path / "a.png", grey))
    assert got.dtype == dtype
    assert got.shape == (20, 22)
    rgb = in_one_piece(network, np.repeat(color.to_float(grey)[..., None], 3, axis=2))
    assert rgb.min() <= got.mean() / np.iinfo(dtype).max <= rgb.max()
    expected = rgb @ np.array([0.299, 0.587, 0.114])
    assert np.abs(got / np.iinfo(dtype).max - expected).max() < 1.0 / 255.0


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bits_stay_16_bits(network, tmp_path, channels):
    deep = np.random.default_rng(0).integers(0, 65536, (12, 14, channels), np.uint16)
    got = restored_of(network, tmp_path, write(tmp_path / "a.png", deep))
    assert got.dtype == np.uint16
    expected = in_one_piece(network, color.to_float(deep[..., :3]))
    assert np.abs(got[..., :3] / 65535.0 - expected).max() < 2e-5
    if channels == 4:
        np.testing.assert_array_equal(got[..., 3], deep[..., 3])
    assert len(np.unique(got % 257)) > 50  # not 8 bits spread over 16


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turned_photo_is_written_upright(network, tmp_path, orientation):
    pixels = smooth(2, 24, 40)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg", quality=95, subsampling=0, exif=exif)
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    # OpenCV turns by the tag here: an independent opinion of what upright is.
    seen = cv2.cvtColor(cv2.imread(str(tmp_path / "a.jpg"), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert (seen.shape[0] > seen.shape[1]) == (orientation >= 5)
    got = restored_of(network, tmp_path, tmp_path / "a.jpg")
    expected = in_one_piece(network, color.to_float(seen))
    assert got.shape == seen.shape
    assert np.abs(got / 255.0 - expected).mean() < 0.02
    assert opened(tmp_path / "out" / "a.jpg").getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jpg", ".JPEG", ".bmp", ".tif", ".webp", ".ppm"])
def test_own_format(network, tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", smooth(0, 20, 22))
    restored_of(network, tmp_path, path)
    formats = [opened(file).format for file in (path, tmp_path / "out" / path.name)]
    assert formats[0] == formats[1]


def test_bad_input_among_good_ones(network, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "a.png", noise(0, 12, 12))
    (folder / "b.png").write_text("no picture")
    (folder / "c.jpg").write_bytes(images.encode(noise(0, 30, 30), ".jpg")[:300])
    write(folder / "d.png", noise(1, 12, 12))
    done = predict.predict(network, [folder, tmp_path / "missing.png"], tmp_path / "out")
    assert [path.name for path in done.written] == ["a.png", "d.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "d.png"]
    assert len(done.problems) == 3
    for name, problem in zip(("b.png", "c.jpg", "missing.png"), done.problems, strict=True):
        assert name in problem


def test_picture_whose_name_has_no_format_costs_no_other(network, tmp_path):
    (tmp_path / "photo").write_bytes(images.encode(noise(0, 8, 8), ".png"))
    good = write(tmp_path / "a.png", noise(0, 8, 8))
    done = predict.predict(network, [tmp_path / "photo", good], tmp_path / "out")
    assert [path.name for path in done.written] == ["a.png"]
    assert len(done.problems) == 1
    assert "photo" in done.problems[0]


@pytest.mark.parametrize("kind", ["16 bits", "alpha"])
def test_png_that_is_named_jpg_is_not_written_wrong(network, tmp_path, kind):
    """JPEG has neither 16 bits nor alpha: it is said, or turned to 8 bits, never saturated to white."""
    deep = noise(0, 20, 20).astype(np.uint16) * 257
    pixels = deep if kind == "16 bits" else np.dstack([noise(0, 20, 20), np.full((20, 20), 255, np.uint8)])
    (tmp_path / "a.jpg").write_bytes(images.encode(pixels, ".png"))
    done = predict.predict(network, [tmp_path / "a.jpg"], tmp_path / "out")
    if done.written:
        expected = in_one_piece(network, color.to_float(pixels[..., :3]))
        got = images.as_rgb8(images.read_picture(done.written[0]), "a")
        assert np.abs(got / 255.0 - expected).mean() < 0.1
    else:
        assert "a.jpg" in done.problems[0]


def test_float_picture_is_refused(network, tmp_path):
    done, data = cv2.imencode(".tiff", np.full((8, 8), 0.5, np.float32))
    assert done
    (tmp_path / "a.tiff").write_bytes(data.tobytes())
    problems = predict.predict(network, [tmp_path / "a.tiff"], tmp_path / "out").problems
    assert len(problems) == 1
    assert "Expected 8 or 16 bits a channel, received float32" in problems[0]


def test_nothing_to_restore(network, tmp_path):
    with pytest.raises(UsageError, match="There is nothing to restore"):
        predict.predict(network, [tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_inputs_are_not_overwritten(network, tmp_path):
    path = write(tmp_path / "a.png", noise(0, 8, 8))
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"Outputs would be overwritten.*1 inputs in"):
        predict.predict(network, [path], tmp_path)
    assert path.read_bytes() == before


def test_two_inputs_of_one_name_are_refused(network, tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.png", noise(0, 8, 8))
    with pytest.raises(UsageError, match="1 names twice"):
        predict.predict(network, [tmp_path / "x", tmp_path / "y"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_format_that_cannot_hold_the_picture_costs_no_other(tmp_path, network):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for name in ("a.pgm", "b.png"):
        pixels = rng.integers(0, 255, (20, 24, 3), np.uint8)
        (tmp_path / "in" / name).write_bytes(images.encode(pixels, ".png"))
    done = predict.predict(network, [tmp_path / "in"], tmp_path / "out")
    assert [path.name for path in done.written] == ["b.png"]
    assert "cannot hold this picture" in done.problems[0]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.png"]
