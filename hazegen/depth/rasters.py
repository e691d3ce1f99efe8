"""Depth in picture files: what OpenCV decodes, TIFF of 64-bit floats, PFM, OpenEXR."""

import re
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen import images
from hazegen.depth.arrays import check_machine, check_size
from hazegen.errors import RefusedError

Raster = NDArray[Any]
# Magic, width, height, and a scale whose sign is the order of bytes.
PFM_HEADER = re.compile(rb"P([Ff])\s+(\d{1,9})\s+(\d{1,9})\s+([-+.0-9eE]{1,32})(?:\r\n|\s)")
TIFF_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
TIFF_WIDTH, TIFF_HEIGHT, TIFF_BITS = 256, 257, 258
# Last parts of names that renderers give to a channel of depth, as in 'ViewLayer.Depth.Z'.
EXR_DEPTH = ("z", "y", "v", "depth")


def read_picture(data: bytes, name: str) -> Raster:
    """Pixels as a picture file holds them, (height, width) or (height, width, channels)."""
    try:
        size = _size_of_float64_tiff(data)
        if size is None:
            return images.decode(data, name)
        check_size(size, name)
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except (cv2.error, struct.error):
        pixels = None
    if pixels is None:
        raise RefusedError(
            f"Depth '{name}' cannot be decoded. Expected one channel of 8 or 16 bits, or of 32 or 64 bits in a "
            f"TIFF, received {len(data)} bytes that OpenCV does not read so. Save it as 16-bit PNG or .npy."
        )
    return pixels


def _size_of_float64_tiff(data: bytes) -> tuple[int, int] | None:
    """Height and width of a TIFF of 64 bits a number, which Pillow does not open; None for other files."""
    order = TIFF_ORDERS.get(data[:4])
    if order is None:
        return None
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    found = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        found[tag] = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, entry + 8)[0]
    if found.get(TIFF_BITS) != 64:
        return None
    return found.get(TIFF_HEIGHT, 0), found.get(TIFF_WIDTH, 0)


def read_pfm(data: bytes, name: str) -> Raster:
    """The map of a PFM file, top row first, float32.

    The file's rows go from the bottom up; the sign of its scale tells the order of bytes (below 0: little-endian)
    and its magnitude is not multiplied in: writers put arbitrary numbers there.
    """
    match = PFM_HEADER.match(data)
    scale = _number(match.group(4)) if match else 0.0
    if match is None or not scale or not np.isfinite(scale):
        raise RefusedError(
            f"Depth '{name}' is no PFM file. Expected 'Pf', width, height and a scale other than 0, received "
            f"{data[:24]!r}. Export it again, or save it as .npy."
        )
    channels = 3 if match.group(1) == b"F" else 1
    shape = (int(match.group(3)), int(match.group(2)), channels)
    check_size(shape, name)
    numbers = data[match.end() :]
    if len(numbers) != 4 * shape[0] * shape[1] * channels:
        raise RefusedError(
            f"Depth '{name}' is cut off or damaged. Expected {4 * shape[0] * shape[1] * channels} bytes for "
            f"{shape[1]} x {shape[0]} numbers, received {len(numbers)}. Copy the file again."
        )
    values = np.frombuffer(numbers, "<f4" if scale < 0 else ">f4").reshape(shape)[::-1].astype(np.float32)
    return values if channels == 3 else values[..., 0]


def _number(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def read_exr(path: Path, channel: str | None) -> Raster:
    """One channel of an OpenEXR file, in the file's type (half, float or uint).

    Args:
        path: File.
        channel: Name of the channel; None takes the only one, the only one with a name of depth, or red where
            red, green and blue are equal.
    """
    try:
        import OpenEXR  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise RefusedError(
            f"Depth '{path.name}' is an OpenEXR file. Expected the package that reads it, received none (OpenCV 5 "
            "has no OpenEXR). Run: pip install 'hazegen[exr]'"
        ) from None
    if not images.read_file(path).startswith(b"\x76\x2f\x31\x01"):
        raise _no_exr(path.name, "another kind of file")
    try:
        with OpenEXR.File(str(path), header_only=True) as headers:
            _check_exr_header(headers, path.name)
        with OpenEXR.File(str(path), separate_channels=True) as file:
            found = _channels(file)
    except (RuntimeError, ValueError, TypeError, OSError, MemoryError) as error:
        check_machine(error)
        raise _no_exr(path.name, str(error)) from None
    if not found:  # the library warns about pixels that it cannot decode, and raises nothing
        raise _no_exr(path.name, "pixels that are cut off or damaged")
    return _choose_channel(found, channel, path.name)


def _channels(file: Any) -> dict[str, Raster]:
    """Pixels of all channels; where two parts have a channel of one name, the part's name stands before it."""
    parts = [(part.name(), part.channels) for part in file.parts]
    names = [name for _, channels in parts for name in channels]
    return {
        name if names.count(name) == 1 else f"{part}.{name}": channel.pixels
        for part, channels in parts
        for name, channel in channels.items()
    }


def _no_exr(name: str, received: str) -> RefusedError:
    return RefusedError(
        f"Depth '{name}' cannot be read as OpenEXR. Expected a complete flat image, received {received}. "
        "Render or copy it again."
    )


def _check_exr_header(file: Any, name: str) -> None:
    """Refuses what is too large to decode, what has no pixels of its own, and a part of a picture."""
    numbers = 0
    for index in range(len(file.parts)):
        header = file.header(index)
        low, high = header["dataWindow"]
        width, height = (int(b) - int(a) + 1 for a, b in zip(low, high, strict=True))
        numbers += width * height * len(header["channels"])
        if "deep" in str(header["type"]):
            raise _no_exr(name, "deep samples")
        if any(not np.array_equal(a, b) for a, b in zip(header["dataWindow"], header["displayWindow"], strict=True)):
            raise _no_exr(name, f"a window of {width} x {height} px that is not the whole picture")
        check_size((height, width), name)
    check_size((numbers // 4,), name)  # a renderer's file of several passes, and a limit to it


def _choose_channel(found: dict[str, Raster], wanted: str | None, name: str) -> Raster:
    if wanted in found:
        return found[str(wanted)]
    likely = [key for key in found if len(found) == 1 or key.split(".")[-1].lower() in EXR_DEPTH]
    if wanted is None and len(likely) == 1:
        return found[likely[0]]
    if wanted is None and {"R", "G", "B"} <= set(found):
        return np.stack([found[key] for key in "RGB"], axis=2)
    raise RefusedError(
        f"Depth '{name}' does not tell which channel is the depth. Expected {wanted or 'one of depth'}, received "
        f"{', '.join(found) or 'none'}. State depth.dataset in the camera file."
    )
