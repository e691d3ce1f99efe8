"""What visitors of the demo upload: refused by its header before it is decoded, scaled to the screen, deleted."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen import images
from hazegen.errors import RefusedError

Rgb = NDArray[np.uint8]

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
DEPTHS = (".png", ".npy")
# Longer side of what is shown at once [px]: the page's wider column has 720.
SCREEN_PX = 960
# Of what follows, which can be looked at on the whole screen.
FULLSCREEN_PX = 1920
JPEG = b"\xff\xd8\xff"
JPEG_QUALITY = 90


def check_picture(path: Path, most_pixels: int) -> None:
    """Refuses a picture by its name and header alone.

    Raises:
        RefusedError: Another format, or more than `most_pixels`.
    """
    _check_suffix(path, PICTURES, "picture")
    images.check_header(images.read_file(path), path.name, most_pixels)


def check_depth(path: Path, most_pixels: int) -> None:
    """Refuses a depth map by its name and header alone.

    Raises:
        RefusedError: Another format, or more than `most_pixels`.
    """
    _check_suffix(path, DEPTHS, "depth map")
    if path.suffix.lower() != ".npy":
        images.check_header(images.read_file(path), path.name, most_pixels)
        return
    shape = _npy_shape(path)
    if len(shape) != 2 or min(shape) < 1 or shape[0] * shape[1] > most_pixels:
        raise RefusedError(
            f"'{path.name}' is no depth map. Expected an array (height, width) of at most {most_pixels:,} numbers, "
            f"received {shape}. Save one map of the photo's size."
        )


def _npy_shape(path: Path) -> tuple[int, ...]:
    """The shape that the header of a .npy file says."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            return tuple(int(size) for size in read(file)[0])
    # The header is parsed as Python's literals: whatever that raises on bytes that are none.
    except (ValueError, OSError, SyntaxError, TypeError, KeyError, OverflowError, RecursionError, MemoryError) as error:
        raise RefusedError(
            f"'{path.name}' cannot be read as an array. Expected a .npy file of numbers, received: "
            f"{type(error).__name__}. Save it again with numpy."
        ) from None


def _check_suffix(path: Path, known: tuple[str, ...], what: str) -> None:
    if path.suffix.lower() not in known:
        raise RefusedError(
            f"'{path.name}' is no {what} of the demo. Expected {', '.join(known)}, received "
            f"'{path.suffix or 'no suffix'}'. Convert the file."
        )


def read_for_screen(path: Path, most_px: int = SCREEN_PX) -> Rgb:
    """The picture as predict would have it upright, 8-bit RGB, at most so many pixels on its longer side.

    A JPEG is decoded at half, a quarter or an eighth where that is enough: a quarter of the time.
    """
    data = images.read_file(path)
    header = images.check_header(data, path.name)
    fewer = _reduction(max(header.size), most_px)
    if not data.startswith(JPEG) or fewer == 1:
        pixels = images.as_rgb8(images.decode(data, path.name), path.name)
    else:
        pixels = _decode_reduced(data, fewer, path.name)
    return images.upright(on_screen(pixels, most_px), images.orientation(data))


def _reduction(longest_px: int, most_px: int) -> int:
    """By how much a decoder may shrink a picture that is then still as large as the screen: 1, 2, 4 or 8."""
    return max(factor for factor in (1, 2, 4, 8) if factor == 1 or longest_px // factor >= most_px)


def _decode_reduced(data: bytes, factor: int, name: str) -> Rgb:
    flags = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
    # Not turned by its EXIF tag here: the caller turns it, as it does every picture.
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags[factor] | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise RefusedError(
            f"'{name}' cannot be decoded. Expected a complete picture, received {len(data)} bytes that are cut off "
            "or damaged. Copy the file again."
        )
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def screen_size(height: int, width: int, most_px: int = SCREEN_PX) -> tuple[int, int]:
    """Height and width of a picture on the screen [px]; as they are where it fits."""
    share = min(1.0, most_px / max(height, width))
    return max(1, round(height * share)), max(1, round(width * share))


def on_screen(pixels: NDArray[Any], most_px: int = SCREEN_PX) -> NDArray[Any]:
    """Pixels scaled down to the screen, each the mean of those it stands for; as they are where they fit."""
    height, width = screen_size(pixels.shape[0], pixels.shape[1], most_px)
    if (height, width) == pixels.shape[:2]:
        return pixels
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def write_shown(pixels: Rgb, path: Path) -> Path:
    """Writes a picture that the page shows (a download has its own format)."""
    path.write_bytes(images.encode(pixels, ".jpg", JPEG_QUALITY))
    return path


def drop_oldest(cache: Path, own: set[Path], most: int) -> None:
    """Deletes what was not used for longest, but for `own`, until no more than `most` bytes are in the cache.

    Results are as large as uploads, and one comes of each move of a slider.
    """
    found = sorted(_files(cache, own))
    over = sum(size for _, size, _ in found) - most
    for _, size, path in found:
        if over <= 0:
            return
        path.unlink(missing_ok=True)
        over -= size


def _files(cache: Path, own: set[Path]) -> Iterator[tuple[float, int, Path]]:
    """Time of the last use, bytes and path of each file in the cache that is not of `own`."""
    for path in set(cache.rglob("*")) - own:
        with contextlib.suppress(FileNotFoundError):
            known = path.lstat()
            if not path.is_dir():
                yield known.st_mtime, known.st_size, path
