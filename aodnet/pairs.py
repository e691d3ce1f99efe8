"""Hazy/clean pairs to evaluate on: from a dataset, a published set, or two folders; and hazy pictures alone."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aodnet import layouts
from aodnet.recipes import recipe_of
from aodnet.shards import check_shards, read_records
from aodnet.sources import Source as Source
from aodnet.streaming import CacheOptions, Stream, open_stream
from hazegen import geometry, images, manifest, records, render, scene_records, warm
from hazegen.errors import RefusedError, UsageError
from hazegen.manifest import Manifest, Shard
from hazegen.recipe import Recipe


@dataclass(frozen=True)
class Picture:
    """A hazy image, uint8 (height, width, 3)."""

    name: str
    scene: str
    hazy: NDArray[np.uint8]


@dataclass(frozen=True)
class Pair(Picture):
    """A hazy and a clean image of equal size, and what is known of the haze between them.

    Attributes:
        clean: uint8 (height, width, 3).
        levels: How thick its haze is, by names of levels.IMAGE_BOUNDS, where that is known.
        transmission: t in [0, 1] of each pixel, float32 (height, width), the mean over its channels.
        distance_m: d [m] of each pixel, float32 (height, width); infinite where there is no surface.
    """

    clean: NDArray[np.uint8]
    levels: Mapping[str, float] = field(default_factory=dict)
    transmission: NDArray[np.float32] | None = None
    distance_m: NDArray[np.float32] | None = None


def count_pairs(source: Source) -> int:
    """How many pictures `read_pictures` will give."""
    if source.data is not None:
        total = sum(shard.records for shard in manifest.load(source.data).shards_of(source.split))
    elif not source.has_clean:
        total = len(_hazy_files(source))
    else:
        total = len(_match(source))
    return total if source.limit is None else min(total, source.limit)


def check_source(source: Source) -> None:
    """Refuses what can be told of a source before a picture is read.

    Raises:
        UsageError, RefusedError: No such folder, split, layout or recipe, or no pictures.
    """
    count_pairs(source)
    if source.data is not None:
        _decoder(manifest.load(source.data), source.recipe)


def read_pictures(source: Source) -> Iterator[Picture]:
    """The pairs of `read_pairs`, or the hazy images where there are no clean ones, in the same order always."""
    if source.has_clean:
        yield from read_pairs(source)
    else:
        assert source.hazy is not None
        for path in _hazy_files(source)[: source.limit]:
            name = path.relative_to(source.hazy).as_posix()
            yield Picture(name, name, _rgb(path))


def read_pairs(source: Source, start: int = 0, step: int = 1) -> Iterator[Pair]:
    """The pairs, one at a time, always in the same order.

    Args:
        source: Where they come from; its limit counts from the first of all.
        start: Number of the first that is wanted. The shards before it are not read.
        step: Only every so many-th is decoded.
    """
    if source.data is not None:
        yield from _from_dataset(source, start, step)
    else:
        yield from (_load(match, source) for match in _match(source)[: source.limit][start::step])


def sample_pairs(folder: Path, split: str, count: int, stream: Stream | None = None) -> list[Pair]:
    """At most `count` pairs, spread evenly over a split of the dataset in `folder`, always the same ones."""
    stream = stream or open_stream(folder, CacheOptions())
    known = manifest.load(folder)
    shards = known.shards_of(split)
    total = sum(shard.records for shard in shards)
    stride = max(1, total // count) if count else total
    spread = itertools.islice(_records_of(folder, shards, stream), 0, stride * count, stride)
    decode = _decoder(known)
    return [decode(record) for record in spread]


def _from_dataset(source: Source, start: int, step: int) -> Iterator[Pair]:
    assert source.data is not None
    known = manifest.load(source.data)
    decode = _decoder(known, source.recipe)
    shards, stop = known.shards_of(source.split), source.limit
    while len(shards) > 1 and start >= shards[0].records:
        start, stop = start - shards[0].records, None if stop is None else stop - shards[0].records
        shards = shards[1:]
    found = _records_of(source.data, shards, open_stream(source.data, source))
    yield from map(decode, itertools.islice(found, start, stop, step))


def _records_of(folder: Path, shards: list[Shard], stream: Stream | None) -> Iterator[bytes]:
    check_shards(folder, shards, stream)
    return read_records(folder, shards, stream)


def _decoder(known: Manifest, recipe: str | None = None) -> Any:
    """What turns a record of this dataset into a pair."""
    if known.kind == "scenes":
        chosen = recipe_of(known, recipe)
        return lambda record: _draw(record, known, chosen)
    if recipe is not None:
        raise UsageError(
            "--recipe belongs to a dataset of scenes. Expected one made with --kind scenes, received pairs, whose haze "
            "is drawn already. Leave it out."
        )
    return lambda record: _decode(record, known)


def _decode(record: bytes, known: Manifest) -> Pair:
    """The pair of a record of pairs."""
    values = records.decode(record)
    size = values["height"], values["width"]
    hazy, clean = (images.decode_stored(values[name], known.codec, *size, name) for name in ("hazy", "clean"))
    levels = {"mean_transmission": values["mean_transmission"], "visibility_m": values["visibility_m"]}
    return Pair(
        values["key"], values["scene"], hazy, clean, levels | {"beta": float(np.mean(values["beta"]))}, _map_of(values)
    )


def _map_of(values: Mapping[str, Any]) -> NDArray[np.float32] | None:
    """Transmission of each pixel of a record, where it holds one."""
    if "transmission" not in values:
        return None
    pixels = images.decode(values["transmission"], "transmission")
    if pixels.dtype != np.uint16 or pixels.shape[:2] != (values["height"], values["width"]):
        raise RefusedError(
            f"The transmission of '{values['key']}' is another picture. Expected 16 bits, "
            f"{values['height']} x {values['width']}, received {pixels.dtype}, {pixels.shape}. Copy the dataset again."
        )
    return (pixels if pixels.ndim == 2 else pixels.mean(axis=2)).astype(np.float32) / np.float32(65535.0)


def _draw(record: bytes, known: Manifest, recipe: Recipe) -> Pair:
    """The pair of a record of scenes: haze variant 0 of the recipe and the dataset's seed, not encoded."""
    values = records.decode(record, "scenes")
    clean = images.decode_stored(values["clean"], known.codec, values["height"], values["width"], "clean")
    distance_m = _along(values, recipe)
    values |= {"largest_m": float(distance_m[np.isfinite(distance_m)].max())}
    warm.keep_going_without_cache()
    (haze,) = scene_records.draw_haze(values, recipe, known.seed, 1)
    rendered = render.render(clean, distance_m, haze, recipe.color_space, scene_records.camera_of(values))
    transmission = rendered.transmission.mean(axis=2)
    levels = {"mean_transmission": float(transmission.mean()), "visibility_m": haze.visibility_m}
    return Pair(
        values["key"],
        values["scene"],
        rendered.hazy,
        clean,
        levels | {"beta": float(np.mean(haze.beta))},
        transmission,
        distance_m,
    )


def _along(values: Mapping[str, Any], recipe: Recipe) -> NDArray[np.float32]:
    """Distances [m] of a record of scenes along the recipe's path, its sky as the recipe has it."""
    distance_m, camera = scene_records.distances(values), scene_records.camera_of(values)
    stored = "ray" if values["along_ray"] else "plane"
    if stored != recipe.path:
        if camera is None:
            raise RefusedError(
                f"Scene '{values['key']}' needs intrinsics. Expected a camera to turn {stored} into {recipe.path} "
                "distance, received none. Choose a recipe with the path of the dataset's own."
            )
        turn = geometry.plane_to_ray if recipe.path == "ray" else geometry.ray_to_plane
        distance_m = np.asarray(turn(distance_m, camera), np.float32)
    if recipe.sky == "far":
        distance_m = np.where(np.isinf(distance_m), distance_m[np.isfinite(distance_m)].max(), distance_m)
    return distance_m


def _load(match: layouts.Match, source: Source) -> Pair:
    hazy, clean = _rgb(match.hazy), _rgb(match.clean)
    if hazy.shape != clean.shape:
        if source.align != "crop":
            raise RefusedError(
                f"Hazy '{match.hazy.name}' and clean '{match.clean.name}' differ in size. Expected equal height and "
                f"width, received {hazy.shape[:2]} and {clean.shape[:2]}. Pass --align crop to cut the larger one "
                "around its centre (as RESIDE's SOTS indoor needs); resizing would cost 6 dB or more."
            )
        hazy, clean = crop_to_common(hazy, clean)
    return Pair(match.name, match.scene, hazy, clean)


def _rgb(path: Path) -> NDArray[np.uint8]:
    return images.as_rgb8(images.read_picture(path), path.name)


def crop_to_common(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Both cut around their centres to the lesser height and the lesser width."""
    height, width = min(a.shape[0], b.shape[0]), min(a.shape[1], b.shape[1])

    def cut(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
        return np.ascontiguousarray(pixels[top : top + height, left : left + width])

    return cut(a), cut(b)


def _match(source: Source) -> list[layouts.Match]:
    if source.pairs is not None:
        return layouts.find_pairs(source.pairs, source.layout)
    assert source.hazy is not None
    assert source.clean is not None
    return layouts.match_folders(source.hazy, source.clean)


def _hazy_files(source: Source) -> list[Path]:
    assert source.hazy is not None
    found = layouts.pictures(source.hazy)
    if not found:
        raise RefusedError(f"'{source.hazy}' has no images. Expected hazy images, received none. Check --hazy.")
    return found
