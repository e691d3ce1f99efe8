"""Hazy/clean pairs to evaluate on: from a dataset, or from two folders."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aodnet.shards import check_shards, read_records
from aodnet.streaming import CacheOptions, Stream, open_stream
from hazegen import images, manifest, records
from hazegen.errors import RefusedError, UsageError
from hazegen.pairing import IMAGE_SUFFIXES


@dataclass(frozen=True)
class Pair:
    """A hazy and a clean image of equal size, uint8 (height, width, 3)."""

    name: str
    scene: str
    hazy: NDArray[np.uint8]
    clean: NDArray[np.uint8]


@dataclass(frozen=True)
class Source(CacheOptions):
    """Where the pairs of an evaluation come from.

    Attributes:
        data: Folder of a dataset made by hazegen, also in a store as s3://bucket/dataset, or
            wandb:entity/project/name:alias.
        split: Split of that dataset.
        hazy: In place of data: folder of hazy images.
        clean: Folder of clean images; 'NAME_1.png' belongs to 'NAME.png'.
        align: What to do where sizes differ: refuse, or crop the larger one around its centre. Never resized.
        limit: Only the first pairs.
    """

    data: Path | None = None
    split: str = "test"
    hazy: Path | None = None
    clean: Path | None = None
    align: Literal["refuse", "crop"] = "refuse"
    limit: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        folders = self.hazy is not None and self.clean is not None
        if (self.data is not None) == folders or (self.hazy is None) != (self.clean is None):
            raise UsageError(
                "There must be one source of pairs. Expected --data, or --hazy with --clean, received "
                f"data={self.data}, hazy={self.hazy}, clean={self.clean}. Give one of the two."
            )
        if self.data is not None and self.align == "crop":
            raise UsageError(
                "--align belongs to two folders. Expected it beside --hazy and --clean, received it beside --data, "
                "whose pairs are of equal size. Leave it out."
            )
        if self.data is None and (self.cache is not None or self.cache_gb is not None):
            raise UsageError(
                "--cache and --cache-gb belong to a dataset in a store. Expected them beside --data, received them "
                "beside --hazy and --clean. Leave them out."
            )
        if self.align not in ("refuse", "crop") or (self.limit is not None and self.limit < 1):
            raise UsageError(
                "--align or --limit is out of range. Expected refuse or crop, and at least 1, received "
                f"{self.align} and {self.limit}. Correct them."
            )


def count_pairs(source: Source) -> int:
    """How many pairs `read_pairs` will give."""
    if source.data is not None:
        total = sum(shard.records for shard in manifest.load(source.data).shards_of(source.split))
    else:
        total = len(_match(source))
    return total if source.limit is None else min(total, source.limit)


def read_pairs(source: Source) -> Iterator[Pair]:
    """The pairs, one at a time, always in the same order."""
    if source.data is not None:
        found = _records_of(source.data, source.split, open_stream(source.data, source))
        pairs: Iterator[Pair] = map(_decode, found)
    else:
        pairs = _from_folders(source)
    yield from itertools.islice(pairs, source.limit)


def sample_pairs(folder: Path, split: str, count: int, stream: Stream | None = None) -> list[Pair]:
    """At most `count` pairs, spread evenly over a split of the dataset in `folder`, always the same ones."""
    stream = stream or open_stream(folder, CacheOptions())
    total = sum(shard.records for shard in manifest.load(folder).shards_of(split))
    stride = max(1, total // count) if count else total
    spread = itertools.islice(_records_of(folder, split, stream), 0, stride * count, stride)
    return [_decode(record) for record in spread]


def _records_of(folder: Path, split: str, stream: Stream | None) -> Iterator[bytes]:
    shards = manifest.load(folder).shards_of(split)
    check_shards(folder, shards, stream)
    return read_records(folder, shards, stream)


def _decode(record: bytes) -> Pair:
    values = records.decode(record)
    hazy, clean = (images.as_rgb8(images.decode(values[name], name), name) for name in ("hazy", "clean"))
    return Pair(values["key"], values["scene"], hazy, clean)


def _from_folders(source: Source) -> Iterator[Pair]:
    for hazy_path, clean_path in _match(source):
        hazy, clean = (images.as_rgb8(images.read_picture(path), path.name) for path in (hazy_path, clean_path))
        if hazy.shape != clean.shape:
            if source.align != "crop":
                raise RefusedError(
                    f"Hazy '{hazy_path.name}' and clean '{clean_path.name}' differ in size. Expected equal height and "
                    f"width, received {hazy.shape[:2]} and {clean.shape[:2]}. Pass --align crop to cut the larger one "
                    "around its centre (as RESIDE's SOTS indoor needs); resizing would cost 6 dB or more."
                )
            hazy, clean = crop_to_common(hazy, clean)
        yield Pair(hazy_path.stem, clean_path.stem, hazy, clean)


def crop_to_common(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Both cut around their centres to the lesser height and the lesser width."""
    height, width = min(a.shape[0], b.shape[0]), min(a.shape[1], b.shape[1])

    def cut(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
        return np.ascontiguousarray(pixels[top : top + height, left : left + width])

    return cut(a), cut(b)


def _match(source: Source) -> list[tuple[Path, Path]]:
    """Each hazy image with its clean one: the same stem, or the longest one that it continues with '_'."""
    assert source.hazy is not None
    assert source.clean is not None
    hazy, clean = _images(source.hazy), _by_stem(source.clean)
    matched = [(path, clean[stem]) for path in hazy if (stem := _clean_stem(path.stem, clean)) is not None]
    if not hazy or len(matched) < len(hazy):
        lonely = [path.name for path in hazy if _clean_stem(path.stem, clean) is None]
        raise RefusedError(
            f"Not every hazy image has a clean one. Expected for NAME or NAME_... in '{source.hazy}' a NAME in "
            f"'{source.clean}', received {len(lonely)} of {len(hazy)} without ({', '.join(lonely[:5]) or 'no images'})."
            " Add the missing files, or take these out."
        )
    return matched


def _clean_stem(stem: str, clean: dict[str, Path]) -> str | None:
    while stem not in clean:
        stem, separator, _ = stem.rpartition("_")
        if not separator:
            return None
    return stem


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in _images(folder):
        if path.stem in found:
            raise RefusedError(
                f"Two clean images share a name. Expected one file of each name in '{folder}', received "
                f"'{found[path.stem].name}' and '{path.name}'. Take one of them out."
            )
        found[path.stem] = path
    return found


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"'{folder}' is not a folder. Expected a folder of images. Check --hazy and --clean.")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
