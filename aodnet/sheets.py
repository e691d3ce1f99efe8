"""Sheets of tiles as PNG files that say what their tiles are: what draws them knows it, and a page takes them apart.

What is said stands in the file, as a text of PNG: it cannot be of another epoch or run than the picture.
"""

import json
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen import images
from hazegen.errors import RefusedError

Pixels = NDArray[np.uint8]

# What the tile of the clean image is called.
CLEAN = "clean"
# Width of a tile, of what is right of it, and height of the caption above it [px].
WIDTH, GAP, CAPTION = 280, 4, 20
# What is read of a sheet: rows of tiles 280 px wide are far below.
MOST_BYTES, MOST_PIXELS = 64_000_000, 40_000_000
_KEYWORD = "aodnet"
# Signature and first chunk (IHDR) of a PNG: another chunk may follow.
_HEAD = 33


@dataclass(frozen=True)
class Row:
    """What a row of a sheet shows.

    Attributes:
        name: Of the picture.
        height: Of its tiles, below their captions [px].
        tiles: What each one is, from left to right, and its PSNR [dB] where it has one.
        rank: What the picture is among all, as 'best'; empty where it is nothing.
    """

    name: str
    height: int
    tiles: tuple[tuple[str, float | None], ...]
    rank: str = ""


@dataclass(frozen=True)
class Shown:
    """A row with its tiles, without captions."""

    row: Row
    pixels: tuple[Pixels, ...]

    def tile(self, what: str) -> Pixels | None:
        """The first tile of this name."""
        return next((own for own, (name, _) in zip(self.pixels, self.row.tiles, strict=True) if name == what), None)

    def psnr(self, what: str) -> float | None:
        """That tile's PSNR [dB]."""
        return next((psnr for name, psnr in self.row.tiles if name == what), None)


def tile_height(pixels: Pixels) -> int:
    """Height of a picture as a tile [px]."""
    return max(1, round(pixels.shape[0] * WIDTH / pixels.shape[1]))


def encode(sheet: Pixels, rows: Sequence[Row]) -> bytes:
    """A PNG of the sheet that holds what its rows are."""
    told = [
        {"name": row.name, "rank": row.rank, "height": row.height, "tiles": [[n, _finite(p)] for n, p in row.tiles]}
        for row in rows
    ]
    content = f"{_KEYWORD}\0{json.dumps({'rows': told})}".encode("ascii")
    chunk = b"tEXt" + content
    data = images.encode(sheet, ".png")
    return data[:_HEAD] + struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[_HEAD:]


def _finite(psnr: float | None) -> float | None:
    return None if psnr is None or not math.isfinite(psnr) else round(psnr, 4)


def read(path: Path) -> list[Shown]:
    """The rows of a sheet; none where it does not say what they are.

    Raises:
        RefusedError: It is no picture, too large, or what it says does not fit it.
    """
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        raise _no_sheet(path, f"{path.stat().st_size // 1_000_000} MB")
    data = images.read_file(path)
    header = images.check_header(data, path.name, MOST_PIXELS)
    text = header.info.get(_KEYWORD)
    if text is None:
        return []
    try:
        rows = [_row(said) for said in json.loads(text)["rows"]]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise _no_sheet(path, "another text") from None
    pixels = images.as_rgb8(images.decode(data, path.name), path.name)
    return _cut(path, pixels, rows)


def _row(said: Any) -> Row:
    tiles = tuple((str(name), None if psnr is None else float(psnr)) for name, psnr in said["tiles"])
    return Row(str(said["name"]), int(said["height"]), tiles, str(said["rank"]))


def _cut(path: Path, pixels: Pixels, rows: Sequence[Row]) -> list[Shown]:
    shown, top = [], 0
    for row in rows:
        begin, end = top + CAPTION, top + CAPTION + row.height
        if row.height < 1 or end > pixels.shape[0] or len(row.tiles) * (WIDTH + GAP) > pixels.shape[1]:
            raise _no_sheet(path, f"a row of {len(row.tiles)} x {row.height} outside of the picture")
        lefts = [number * (WIDTH + GAP) for number in range(len(row.tiles))]
        shown.append(Shown(row, tuple(pixels[begin:end, left : left + WIDTH].copy() for left in lefts)))
        top = end + 2
    return shown


def _no_sheet(path: Path, received: str) -> RefusedError:
    return RefusedError(
        f"'{path}' is no sheet of pictures of a run or an evaluation. Expected a PNG that says what its tiles are, "
        f"received {received}. Remove the file."
    )
