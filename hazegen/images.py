"""Reads and writes picture files: headers before memory, native bit depth, one set of codec flags."""

import io
import threading
import warnings
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hazegen import stores
from hazegen.errors import RefusedError

Pixels = NDArray[Any]  # uint8, uint16 or float32
# How a dataset stores its pictures; raw is uint8 R, G, B, row by row.
Codec = Literal["jpeg", "png", "raw"]
# File suffix of a codec, and what its pictures begin with.
SUFFIXES = {"jpeg": ".jpg", "png": ".png"}
_SIGNATURES = {"jpeg": b"\xff\xd8", "png": b"\x89PNG"}

# Its warnings (unknown tags, cut files) go to stderr by themselves and name no file; our errors do.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)

# Filters of warnings belong to the whole process: one thread at a time may change them.
_HEADERS = threading.Lock()

MAX_BYTES = 1_000_000_000
MAX_PIXELS = 80_000_000
# Formats without 16 bits a channel: OpenCV would cut larger values off.
EIGHT_BITS = (".jpg", ".jpeg", ".jpe", ".bmp", ".webp", ".gif", ".ras", ".sr")
# Formats that OpenCV writes an ICC profile into, in JPEG one of at most so many bytes; TIFF is none of them.
PROFILED, MAX_JPEG_PROFILE = (".jpg", ".jpeg", ".jpe", ".png", ".webp"), 65_519
EXIF_ORIENTATION = 0x0112


def read_file(path: Path) -> bytes:
    """The bytes of a regular file."""
    size = _size_of(path)
    if size is None:
        raise RefusedError(
            f"'{path}' is not a file. Expected a picture or an array, received "
            f"{'a folder' if path.is_dir() else 'nothing that can be opened'}. Check the path."
        )
    if size > MAX_BYTES:
        raise RefusedError(
            f"'{path}' is too large. Expected at most {MAX_BYTES // 1_000_000} MB, received {size // 1_000_000} MB. "
            "Cut or compress the file."
        )
    return path.read_bytes()


def _size_of(path: Path) -> int | None:
    """Bytes of a regular file, by one question to a store; None where there is none."""
    if not stores.is_remote(path) and not path.is_file():
        return None
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def check_header(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Opens the header alone and refuses what is no picture or is too large to decode.

    Raises:
        RefusedError: Before any pixel is decoded.
    """
    try:
        with _HEADERS, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            header = Image.open(io.BytesIO(data))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise _too_large(name, str(error), max_pixels) from None
    except (OSError, ValueError, SyntaxError):
        raise RefusedError(
            f"'{name}' is not a picture that can be read. Expected a format of OpenCV and Pillow (JPEG, PNG, "
            f"TIFF, WebP, PGM, ...), received "
            f"{f'{len(data)} bytes that begin with {data[:8]!r}' if data else 'an empty file'}. "
            "Replace or remove the file."
        ) from None
    if header.width * header.height > max_pixels:
        raise _too_large(name, f"{header.width} x {header.height}", max_pixels)
    return header


def _too_large(name: str, received: str, max_pixels: int) -> RefusedError:
    return RefusedError(
        f"'{name}' is too large. Expected at most {max_pixels:,} pixels, received {received}. "
        "Cut or shrink the picture."
    )


def decode(data: bytes, name: str) -> Pixels:
    """Pixels as the file holds them: 8 or 16 bits (or float), grey, RGB or RGBA, not turned by EXIF.

    Returns:
        (height, width) or (height, width, 3 or 4), colour in the order R, G, B, A.

    Raises:
        RefusedError: Not a picture, too large, cut off or damaged.
    """
    check_header(data, name)
    # IMREAD_UNCHANGED: the other modes turn 16 bits into 8, and turn the photo but not its depth map.
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise RefusedError(
            f"'{name}' cannot be decoded. Expected a complete picture, received {len(data)} bytes that are "
            "cut off or damaged. Copy the file again, or remove it."
        )
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    return pixels


def read_picture(path: Path) -> Pixels:
    """`decode` of a file."""
    return decode(read_file(path), path.name)


def as_rgb8(pixels: Pixels, name: str) -> NDArray[np.uint8]:
    """8-bit RGB of any picture: grey is repeated, alpha dropped, 16 bits rounded to 8."""
    if pixels.dtype == np.uint16:
        pixels = np.rint(pixels / 257.0).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise RefusedError(
            f"'{name}' is no photograph. Expected 8 or 16 bits a channel, received {pixels.dtype}. "
            "Convert it to sRGB with 8 bits."
        )
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3], np.uint8)


def orientation(data: bytes) -> int:
    """EXIF orientation, 1 (upright) to 8; 1 where the file says nothing valid."""
    try:
        value = Image.open(io.BytesIO(data)).getexif().get(EXIF_ORIENTATION, 1)
    except (SyntaxError, OSError):  # Pillow's words for damaged EXIF data, which no viewer minds, and for a cut file
        return 1
    return value if value in range(1, 9) else 1


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """The picture as a viewer that honours its EXIF orientation shows it."""
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def encode(pixels: Pixels, suffix: str, quality: int = 95, *, bgr: bool = False, profile: bytes = b"") -> bytes:
    """The bytes of a picture file.

    JPEG is written without chroma subsampling; PNG with OpenCV's default settings (compression 1
    alone is slower and larger).

    Args:
        pixels: (height, width) or (height, width, 3 or 4), R, G, B, A; 16 bits are rounded to 8 where the
            format has no more.
        suffix: File suffix that names the format, as '.jpg' or '.png'.
        quality: JPEG (and WebP) quality, 1 to 100.
        bgr: Whether the channels are in the order B, G, R (, A), which spares a copy.
        profile: ICC profile that goes with them, for one of PROFILED.

    Raises:
        RefusedError: OpenCV writes no such format, or the format cannot hold the picture.
    """
    if not cv2.haveImageWriter(f"a{suffix}"):
        raise RefusedError(
            f"No picture format is called '{suffix}'. Expected a suffix of a format that OpenCV writes (.jpg, .png, "
            ".tif, .webp, ...), received another. Rename the file."
        )
    if pixels.dtype == np.uint16 and suffix.lower() in EIGHT_BITS:
        pixels = np.rint(pixels / 257.0).astype(np.uint8)
    if pixels.ndim == 3 and not bgr:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    options: list[int] = []
    if suffix.lower() in (".jpg", ".jpeg", ".jpe"):
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    elif suffix.lower() == ".webp":
        options = [cv2.IMWRITE_WEBP_QUALITY, quality]
    try:
        if profile:
            kept = [np.frombuffer(profile, np.uint8)]
            done, data = cv2.imencodeWithMetadata(suffix, pixels, [cv2.IMAGE_METADATA_ICCP], kept, options)
        else:
            done, data = cv2.imencode(suffix, pixels, options)
    except cv2.error:
        done = False
    if not done:
        raise RefusedError(
            f"Format '{suffix}' cannot hold this picture. Expected one that has its channels and depth, received "
            f"{pixels.shape} of {pixels.dtype}. Convert the file to PNG."
        )
    return data.tobytes()


# --- the pictures of a dataset ---


def encode_stored(pixels: NDArray[np.uint8], codec: Codec, quality: int, *, bgr: bool = False) -> bytes:
    """The bytes of a picture (height, width, 3) as a dataset of this codec stores it; `bgr` as `encode` has it."""
    if codec != "raw":
        return encode(pixels, SUFFIXES[codec], quality, bgr=bgr)
    return (np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8) if bgr else pixels).tobytes()


def is_codec(data: bytes, codec: str) -> bool:
    """Whether a picture begins as those of this codec do; raw ones have no beginning."""
    return data.startswith(_SIGNATURES.get(codec, b""))


def decode_stored(data: bytes, codec: str, height: int, width: int, name: str) -> NDArray[np.uint8]:
    """The pixels of a dataset's picture, uint8 (height, width, 3).

    Args:
        codec: That of the dataset's manifest.
        height, width: As its record says [px].
        name: What it is, for the message.

    Raises:
        RefusedError: Another codec or size, cut off or damaged.
    """
    if codec == "raw":
        if min(height, width) < 1 or len(data) != height * width * 3:
            raise RefusedError(
                f"{name} expected {height} x {width} x 3 bytes of the codec raw, received {len(data)}. Copy the "
                "dataset again."
            )
        # A copy: the compiled renderer would be compiled once more for memory that cannot be written.
        return np.frombuffer(data, np.uint8).reshape(height, width, 3).copy()
    if not is_codec(data, codec):
        raise RefusedError(f"{name} is not {codec} as the manifest says. Copy the dataset again.")
    pixels = as_rgb8(decode(data, name), name)
    if pixels.shape[:2] != (height, width):
        raise RefusedError(
            f"{name} expected size {(height, width)}, received {pixels.shape[:2]}. Copy the dataset again."
        )
    return pixels
