"""Picture files: native bit depth, headers before memory, damage refused."""

import contextlib
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hazegen import images
from hazegen.errors import RefusedError

RNG = np.random.default_rng(0)
GRAY8 = RNG.integers(0, 256, (10, 12), dtype=np.uint8)
RGB8 = RNG.integers(0, 256, (10, 12, 3), dtype=np.uint8)
SMOOTH = cv2.resize(RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8), (120, 96), interpolation=cv2.INTER_CUBIC)


def pixels_of(dtype: str, channels: int) -> np.ndarray:
    shape = (10, 12) if channels == 1 else (10, 12, channels)
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", b""), (b"IEND", b""))
    framed = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_lossless_round_trip_keeps_depth_channels_and_order(dtype, channels, suffix):
    pixels = pixels_of(dtype, channels)
    decoded = images.decode(images.encode(pixels, suffix), "a")
    assert decoded.dtype == pixels.dtype
    np.testing.assert_array_equal(decoded, pixels)


def test_colour_order_is_rgb_as_pillow_reads_it():
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(images.encode(RGB8, ".png")))), RGB8)


def test_16_bit_values_above_255_are_kept():
    depth = np.array([[0, 255, 256], [1000, 40000, 65535]], np.uint16)
    np.testing.assert_array_equal(images.decode(images.encode(depth, ".png"), "a"), depth)


def test_jpeg_is_written_without_chroma_subsampling_at_the_asked_quality():
    data = images.encode(SMOOTH, ".jpg", quality=95)
    picture = Image.open(io.BytesIO(data))
    assert [component[1:3] for component in picture.layer] == [(1, 1)] * 3
    error = np.mean((images.decode(data, "a").astype(float) - SMOOTH) ** 2)
    assert 10 * np.log10(255**2 / error) > 42
    assert len(images.encode(SMOOTH, ".jpg", quality=50)) < len(data)


def test_jpeg_decodes_as_pillow_decodes_it():
    data = images.encode(SMOOTH, ".jpg")
    np.testing.assert_array_equal(images.decode(data, "a"), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photo_is_not_turned_by_its_exif_and_upright_turns_it(orientation):
    exif = Image.Exif()
    exif[images.EXIF_ORIENTATION] = orientation
    file = io.BytesIO()
    Image.fromarray(RGB8).save(file, "png", exif=exif)
    assert images.orientation(file.getvalue()) == orientation
    stored = images.decode(file.getvalue(), "a")
    np.testing.assert_array_equal(stored, RGB8)
    # What a viewer shows, worked per orientation: rows and columns of the stored picture.
    shown = {1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1]}
    turned = stored.transpose(1, 0, 2)
    shown |= {5: turned, 6: turned[:, ::-1], 7: turned[::-1, ::-1], 8: turned[::-1]}
    np.testing.assert_array_equal(images.upright(stored, orientation), shown[orientation])


@pytest.mark.parametrize("value", [0, 9, 77])
def test_orientation_that_means_nothing_is_upright(value):
    exif = Image.Exif()
    exif[images.EXIF_ORIENTATION] = value
    file = io.BytesIO()
    Image.fromarray(RGB8).save(file, "jpeg", exif=exif)
    assert images.orientation(file.getvalue()) == 1


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_as_rgb8_repeats_gray_and_drops_alpha(channels):
    pixels = pixels_of("uint8", channels)
    rgb = images.as_rgb8(pixels, "a")
    expected = np.stack([pixels] * 3, axis=2) if channels == 1 else pixels[..., :3]
    np.testing.assert_array_equal(rgb, expected)


def test_as_rgb8_rounds_16_bits_to_the_nearest_code():
    pixels = np.array([[0, 128, 129, 257, 65535, 65406, 65407]], np.uint16)  # 257 a code; halves at 128.5
    assert images.as_rgb8(pixels, "a")[0, :, 0].tolist() == [0, 0, 1, 1, 255, 254, 255]


def test_floating_point_picture_is_no_photograph():
    with pytest.raises(RefusedError, match=r"'a' is no photograph. Expected 8 or 16 bits a channel, received float32"):
        images.as_rgb8(np.ones((4, 4, 3), np.float32), "a")


@pytest.mark.parametrize("data", [b"", b"hello, this is text\n", b"\x89PNG", b"\xff\xd8\xff", bytes(100)])
def test_what_is_no_picture_is_refused(data):
    received = f"{len(data)} bytes" if data else "an empty file"
    with pytest.raises(RefusedError, match=f"'a.png' is not a picture.*received {received}"):
        images.decode(data, "a.png")


@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (400_000, 400_000), (80_000_001, 1)])
def test_picture_of_too_many_pixels_is_refused_by_its_header(width, height):
    with pytest.raises(RefusedError, match=r"'a.png' is too large. Expected at most 80,000,000 pixels, received"):
        images.decode(png_header(width, height), "a.png")


def test_limit_on_pixels_holds_at_both_ends():
    data = images.encode(RGB8, ".png")
    assert images.check_header(data, "a", max_pixels=120).size == (12, 10)
    with pytest.raises(RefusedError, match="Expected at most 119 pixels, received 12 x 10"):
        images.check_header(data, "a", max_pixels=119)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tiff"])
def test_picture_that_is_cut_off_is_refused(suffix, share):
    data = images.encode(SMOOTH, suffix)
    with pytest.raises(RefusedError, match=r"'a' (cannot be decoded. Expected a complete|is not a)"):
        images.decode(data[: int(len(data) * share)], "a")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")
@given(st.sampled_from([".png", ".jpg", ".tiff", ".webp", ".bmp", ".pgm"]), st.data())
def test_damaged_picture_is_read_or_refused_and_nothing_else(suffix, data):
    intact = bytearray(images.encode(GRAY8, suffix))
    for _ in range(data.draw(st.integers(1, 3))):
        intact[data.draw(st.integers(0, len(intact) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(intact)))
    with contextlib.suppress(RefusedError):
        assert images.decode(bytes(intact[:cut] if cut % 2 else intact), "a").ndim in (2, 3)


@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_colour_picture_of_rare_numbers_is_read_or_refused(dtype):
    done, data = cv2.imencode(".tiff", np.ones((4, 4, 3), dtype))
    assert done
    with pytest.raises(RefusedError, match=r"'a.tiff' (cannot|is no)"):
        images.as_rgb8(images.decode(data.tobytes(), "a.tiff"), "a.tiff")


@pytest.mark.parametrize("what", ["a folder", "nothing that can be opened"])
def test_only_regular_files_are_read(tmp_path, what):
    path = tmp_path if what == "a folder" else tmp_path / "missing.png"
    with pytest.raises(RefusedError, match=f"is not a file. Expected a picture or an array, received {what}"):
        images.read_picture(path)


def test_damaged_exif_data_is_upright():
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "webp", exif=b"Exif\0\0no TIFF header")
    assert images.orientation(file.getvalue()) == 1


# --- the pictures of a dataset ---

STORED = np.random.default_rng(5).integers(0, 256, (6, 9, 3), np.uint8)


@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("codec", ["jpeg", "png", "raw"])
def test_stored_picture_comes_back(codec, bgr):
    given = np.ascontiguousarray(STORED[..., ::-1]) if bgr else STORED
    data = images.encode_stored(given, codec, 95, bgr=bgr)
    back = images.decode_stored(data, codec, 6, 9, "clean")
    assert (back.shape, back.dtype) == (STORED.shape, np.uint8)
    if codec == "jpeg":
        assert np.abs(back.astype(int) - STORED).mean() < 8.0
    else:
        np.testing.assert_array_equal(back, STORED)
    assert len(data) == STORED.size or codec != "raw"


@pytest.mark.parametrize(
    ("codec", "data", "size", "message"),
    [
        ("raw", b"x" * 161, (6, 9), "hazy expected 6 x 9 x 3 bytes of the codec raw, received 161"),
        ("raw", b"x" * 162, (9, 7), "hazy expected 9 x 7 x 3 bytes of the codec raw, received 162"),
        ("raw", b"x" * 162, (-6, -9), "hazy expected -6 x -9 x 3 bytes"),
        ("raw", b"", (0, 9), "hazy expected 0 x 9 x 3 bytes"),
        ("png", images.encode(STORED, ".jpg"), (6, 9), "hazy is not png as the manifest says"),
        ("jpeg", images.encode(STORED, ".png"), (6, 9), "hazy is not jpeg as the manifest says"),
        ("png", images.encode(STORED, ".png"), (9, 6), r"hazy expected size \(9, 6\), received \(6, 9\)"),
        ("png", images.encode(STORED, ".png")[:-30], (6, 9), "'hazy' cannot be decoded"),
    ],
)
def test_stored_picture_that_is_not_what_its_record_says_is_refused(codec, data, size, message):
    with pytest.raises(RefusedError, match=message):
        images.decode_stored(data, codec, *size, "hazy")
