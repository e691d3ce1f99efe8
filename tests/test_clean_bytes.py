"""The photo's own bytes in the record: the same pixels by every decoder, and nothing else of the file."""

import io
import os
import re
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from conftest import draw_clean
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from hazegen import images
from hazegen.clean_bytes import stored

HEIGHT, WIDTH = 61, 90
PHOTO = draw_clean(np.random.default_rng(3), HEIGHT, WIDTH)
SECRET = b"48.137N 11.575E Ada"
REAL = os.environ.get("HAZEGEN_TEST_DATA")


def by_pillow(form="JPEG", mode="RGB", **options):
    out = io.BytesIO()
    Image.fromarray(PHOTO).convert(mode).save(out, form, **options)
    return out.getvalue()


def by_opencv(suffix, *options):
    return cv2.imencode(suffix, PHOTO[..., ::-1], list(options))[1].tobytes()


def by_tensorflow(data, codec):
    read = tf.io.decode_jpeg(data, dct_method="INTEGER_ACCURATE") if codec == "jpeg" else tf.io.decode_png(data)
    return read.numpy()


def exif():
    tags = Image.Exif()
    tags[0x010E], tags[0x0112] = SECRET.decode(), 6
    return tags.tobytes()


def with_segment(data, marker, content, at=2):
    return data[:at] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + data[at:]


def chunk(kind, content=b""):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunk(data, kind, content=b"", at=33):
    return data[:at] + chunk(kind, content) + data[at:]


SUBSAMPLED = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
PLAIN = by_pillow()
JPEGS = {
    "Pillow": PLAIN,
    "4:4:4": by_pillow(quality=95, subsampling=0),
    "4:2:2": by_pillow(subsampling=1),
    "4:2:0": by_pillow(subsampling=2),
    "progressive": by_pillow(progressive=True),
    "optimised": by_pillow(optimize=True),
    "progressive 4:4:4": by_pillow(progressive=True, subsampling=0, quality=99),
    "EXIF": by_pillow(exif=exif()),
    "ICC": by_pillow(icc_profile=SECRET * 9000),
    "comment": by_pillow(comment=SECRET),
    "OpenCV": by_opencv(".jpg"),
    "OpenCV 4:2:0": by_opencv(".jpg", *SUBSAMPLED),
    "OpenCV progressive": by_opencv(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "OpenCV restarts": by_opencv(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "Adobe": with_segment(PLAIN, 0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, 1), at=20),
    "thumbnail": PLAIN[:4]
    + struct.pack(">H", 16 + 27)
    + PLAIN[6:18]
    + b"\3\3"
    + SECRET
    + b"x" * (27 - len(SECRET))
    + PLAIN[20:],
    "JFXX": with_segment(PLAIN, 0xE0, b"JFXX\0" + SECRET, at=20),
    "no JFIF": PLAIN[:2] + PLAIN[20:],
    "trailing bytes": PLAIN + SECRET + PLAIN,
    "fill bytes": PLAIN[:20] + b"\xff\xff" + PLAIN[20:],
}
# The first length of a thumbnail counts its two own bytes, 14 of JFIF and 27 of pixels.
JPEGS["thumbnail"] = JPEGS["thumbnail"][:4] + struct.pack(">H", 2 + 14 + 27) + JPEGS["thumbnail"][6:]


def png_text():
    told = PngImagePlugin.PngInfo()
    told.add_text("Author", SECRET.decode())
    return told


PLAIN_PNG = by_pillow("PNG")
PNGS = {
    "Pillow": PLAIN_PNG,
    "OpenCV": by_opencv(".png"),
    "uncompressed": by_opencv(".png", cv2.IMWRITE_PNG_COMPRESSION, 0),
    "many parts": by_opencv(".png", cv2.IMWRITE_PNG_COMPRESSION, 9),
    "text": by_pillow("PNG", pnginfo=png_text()),
    "EXIF": by_pillow("PNG", exif=exif()),
    "ICC": by_pillow("PNG", icc_profile=SECRET * 100),
    "gamma": with_chunk(PLAIN_PNG, b"gAMA", struct.pack(">I", 45455)),
    "palette that is a hint": with_chunk(PLAIN_PNG, b"PLTE", bytes(range(6))),
    "trailing bytes": PLAIN_PNG + SECRET,
}


@pytest.mark.parametrize(
    ("codec", "name"), [("jpeg", name) for name in JPEGS] + [("png", name) for name in PNGS], ids=str
)
def test_pixels_are_the_photos_by_opencv_and_by_tensorflow(codec, name):
    photo = (JPEGS if codec == "jpeg" else PNGS)[name]
    clean = images.decode(photo, name)
    assert clean.shape == PHOTO.shape
    kept = stored(photo, codec, HEIGHT, WIDTH)
    assert kept is not None
    np.testing.assert_array_equal(images.decode(kept, name), clean)
    np.testing.assert_array_equal(by_tensorflow(kept, codec), clean)
    assert SECRET not in kept
    assert len(kept) <= len(photo)
    assert stored(kept, codec, HEIGHT, WIDTH) == kept


@pytest.mark.parametrize("name", JPEGS)
def test_only_what_pixels_come_from_is_kept_of_a_jpeg(name):
    kept = stored(JPEGS[name], "jpeg", HEIGHT, WIDTH)
    assert kept[:2] == b"\xff\xd8"
    assert kept[-2:] == b"\xff\xd9"
    header = kept[: kept.index(b"\xff\xda")]
    markers = set(re.findall(rb"\xff([\xc0-\xfe])", header))
    assert markers <= {bytes([m]) for m in (0xD8, 0xE0, 0xEE, 0xDB, 0xC0, 0xC2, 0xC4, 0xDD)}
    picture = Image.open(io.BytesIO(kept))
    assert not picture.getexif()
    jfif = {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi"}
    assert set(picture.info) <= jfif | {"adobe", "adobe_transform", "progressive", "progression"}


@pytest.mark.parametrize("name", PNGS)
def test_only_three_kinds_of_chunks_are_kept_of_a_png(name):
    kept = stored(PNGS[name], "png", HEIGHT, WIDTH)
    kinds, at = [], 8
    while at < len(kept):
        (length,) = struct.unpack_from(">I", kept, at)
        kinds.append(kept[at + 4 : at + 8])
        at += 12 + length
    assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}
    assert (kinds[0], kinds[-1], at) == (b"IHDR", b"IEND", len(kept))


def frame_at(data):
    return data.index(b"\xff\xc0")


def patched(data, at, new):
    return data[:at] + new + data[at + len(new) :]


OTHERS = {
    "gray": by_pillow(mode="L"),
    "CMYK": by_pillow(mode="CMYK"),
    "R G B by Adobe": with_segment(PLAIN, 0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, 0), at=20),
    "R G B by its numbers": by_pillow(keep_rgb=True, subsampling=0),
    "arithmetic coding": patched(PLAIN, frame_at(PLAIN) + 1, b"\xc9"),
    "12 bits": patched(PLAIN, frame_at(PLAIN) + 4, b"\x0c"),
    "odd sampling": patched(PLAIN, frame_at(PLAIN) + 11, b"\x41"),
    "sampled colours": patched(PLAIN, frame_at(PLAIN) + 14, b"\x12"),
    "no end": PLAIN[:-2],
    "cut in its header": PLAIN[:100],
    "a segment too short": patched(PLAIN, 4, b"\0\1"),
    "a segment beyond the end": patched(PLAIN, 4, b"\xff\xff"),
    "hierarchical": with_segment(PLAIN, 0xDE, b"\0" * 15),
    "no scan": PLAIN[: PLAIN.index(b"\xff\xda")] + b"\xff\xd9",
    "two frames": PLAIN[: frame_at(PLAIN)] + PLAIN[frame_at(PLAIN) : frame_at(PLAIN) + 19] + PLAIN[frame_at(PLAIN) :],
    "PNG": PLAIN_PNG,
    "nothing": b"",
    "start alone": b"\xff\xd8",
}
OTHER_PNGS = {
    "gray": by_pillow("PNG", mode="L"),
    "palette": by_pillow("PNG", mode="P"),
    "alpha": by_pillow("PNG", mode="RGBA"),
    "16 bits": cv2.imencode(".png", PHOTO.astype(np.uint16) * 257)[1].tobytes(),
    "transparent colour": by_pillow("PNG", transparency=(1, 2, 3)),
    "interlaced": patched(PLAIN_PNG, 28, b"\1")[:29] + chunk(b"IHDR", PLAIN_PNG[16:28] + b"\1")[-4:] + PLAIN_PNG[33:],
    "animation": with_chunk(PLAIN_PNG, b"acTL", b"\0" * 8),
    "unknown but needed": with_chunk(PLAIN_PNG, b"NEWx"),
    "damaged": patched(PLAIN_PNG, len(PLAIN_PNG) // 2, bytes([PLAIN_PNG[len(PLAIN_PNG) // 2] ^ 1])),
    "no end": PLAIN_PNG[:-12],
    "cut": PLAIN_PNG[:-20],
    "no header": PLAIN_PNG[:8] + PLAIN_PNG[33:],
    "JPEG": PLAIN,
    "nothing": b"",
    "start alone": PLAIN_PNG[:8],
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_kinds_of_jpeg_are_encoded(name):
    assert stored(OTHERS[name], "jpeg", HEIGHT, WIDTH) is None


@pytest.mark.parametrize("name", OTHER_PNGS)
def test_other_kinds_of_png_are_encoded(name):
    assert stored(OTHER_PNGS[name], "png", HEIGHT, WIDTH) is None


@pytest.mark.parametrize(("codec", "photo"), [("jpeg", PLAIN), ("png", PLAIN_PNG)])
def test_another_size_is_another_picture(codec, photo):
    assert stored(photo, codec, HEIGHT, WIDTH) is not None
    assert stored(photo, codec, WIDTH, HEIGHT) is None
    assert stored(photo, "png" if codec == "jpeg" else "jpeg", HEIGHT, WIDTH) is None


@given(st.sampled_from([*JPEGS.values(), *PNGS.values()]), st.data())
def test_damage_is_no_error_and_never_other_pixels(photo, data):
    at = data.draw(st.integers(0, len(photo) - 1))
    cut = data.draw(st.integers(at, len(photo)))
    damaged = photo[:at] + data.draw(st.binary(max_size=8)) + photo[cut:]
    for codec in ("jpeg", "png"):
        kept = stored(damaged, codec, HEIGHT, WIDTH)
        pixels = [
            cv2.imdecode(np.frombuffer(d, np.uint8), cv2.IMREAD_UNCHANGED) if d else None for d in (damaged, kept)
        ]
        if kept is not None and pixels[0] is not None:
            np.testing.assert_array_equal(*pixels)


@pytest.mark.skipif(REAL is None, reason="HAZEGEN_TEST_DATA names no folder of real data")
@pytest.mark.parametrize(
    ("folder", "pattern", "codec"), [("nyu_labeled/image", "*.jpg", "jpeg"), ("clean_kodak24", "**/*.png", "png")]
)
def test_real_photos_keep_their_bytes(folder, pattern, codec):
    paths = sorted(Path(REAL, folder).glob(pattern))[:10]
    assert paths
    for path in paths:
        clean = images.read_picture(path)
        kept = stored(path.read_bytes(), codec, *clean.shape[:2])
        assert kept is not None
        np.testing.assert_array_equal(by_tensorflow(kept, codec), clean)


def test_nothing_is_kept_for_raw_pictures():
    pixels = np.zeros((8, 8, 3), np.uint8)
    for suffix in (".jpg", ".png"):
        assert stored(images.encode(pixels, suffix), "raw", 8, 8) is None
