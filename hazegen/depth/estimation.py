"""Depth for photos that have none, by a network in an ONNX file: one .npy map for each photo, kept in a folder."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen import images, stores
from hazegen.depth import arrays, network, onnx_file
from hazegen.depth.network import ModelOptions, Network
from hazegen.errors import RefusedError, UsageError

MARK = "model.json"
SUFFIX = ".npy"
# Beside each map, in JSON: which photo it is of. Not '.json': there may be a photo 'model.png'.
OF_PHOTO = ".info"
# Photos of other input sizes wait for their like: this many batches in all.
WAITING = 4
# Turning by these undoes the turning by those; the other orientations undo themselves.
BACK = {6: 8, 8: 6}


@dataclass(frozen=True)
class Estimated:
    """What was estimated.

    Attributes:
        done, kept: Numbers of maps that were written, and that were there already.
        failed: Photos without a map, and why.
    """

    done: int
    kept: int
    failed: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Photo:
    """A photo that is ready for the network.

    Attributes:
        pixels: As the network takes them.
        width, height: Of the upright photo [px].
        orientation: EXIF orientation of the file: networks know upright pictures alone.
        identity: What tells the file from another photo of its name.
    """

    name: str
    target: Path
    pixels: NDArray[np.float32]
    width: int
    height: int
    orientation: int
    identity: dict[str, Any]


def estimate_folder(
    photos: Path,
    names: Sequence[str],
    cache: Path,
    options: ModelOptions,
    progress: Callable[[int], object] = lambda _: None,
) -> Estimated:
    """Writes cache/KEY.npy for each photo KEY.SUFFIX: float32 (height, width), of the size and turn of the file.

    Its numbers are what the network gives (options.values), neither holes nor metres made of them. A map of the
    same photo, by size and SHA-256, is kept; a photo that fails is named and stops no other.

    Args:
        photos: Folder.
        names: Paths of photos relative to it.
        cache: Folder of the maps, of this network and these options alone.
        progress: Takes the number of photos just dealt with.

    Raises:
        UsageError: Options that contradict each other, or two photos of one key.
        RefusedError: The file is no depth network, or the cache is another network's.
    """
    stores.on_disk(cache, "The folder of a network's depth maps (beside --out)")
    targets = _targets(names, cache)
    handling = dataclasses.asdict(network.handling_of(options))
    digest = onnx_file.check_file(options.file)
    if not (cache / MARK).is_file():
        network.load(options)  # a file that is no depth network leaves no folder
    _claim(cache, {"sha256": digest, **handling})
    for folder in {target.parent for target in targets.values()}:
        stores.sweep(folder)
    left = [name for name in names if not _is_current(targets[name], photos / name)]
    progress(len(names) - len(left))
    failed: list[tuple[str, str]] = []
    if left:
        loaded = network.load(options)
        ready = _prepare_all(loaded, photos, {name: targets[name] for name in left}, failed, progress)
        for batch in _batches(ready, options.batch):
            failed += _estimate(loaded, batch)
            progress(len(batch))
    return Estimated(len(left) - len(failed), len(names) - len(left), tuple(sorted(failed)))


def _targets(names: Sequence[str], cache: Path) -> dict[str, Path]:
    """File of each photo's map."""
    targets: dict[str, Path] = {}
    taken: dict[Path, str] = {}
    for name in names:
        path = PurePosixPath(name)
        target = cache / path.with_name(f"{path.stem}{SUFFIX}")
        if path.is_absolute() or ".." in path.parts:
            raise UsageError(
                f"A photo lies outside of its folder. Expected a path relative to it, received '{name}'. Correct it."
            )
        if target in taken:
            raise UsageError(
                f"Two photos have one key. Expected one photo for each depth map, received '{taken[target]}' and "
                f"'{name}'. Rename one of them, or take it out."
            )
        targets[name], taken[target] = target, name
    return targets


def _claim(cache: Path, content: dict[str, Any]) -> None:
    """Takes a new folder for the maps, or one with maps of the same network."""
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    mark = cache / MARK
    if not mark.is_file():
        stores.sweep(cache, MARK)
        if cache.exists() and (not cache.is_dir() or any(cache.iterdir())):
            raise RefusedError(
                f"'{cache}' cannot take the depth maps. Expected a new folder or one with a {MARK}, received something "
                "else. Choose another folder."
            )
        cache.mkdir(parents=True, exist_ok=True)
        stores.write_text(mark, [text])
        return
    try:
        before = dict(json.loads(mark.read_bytes()))
    except (ValueError, TypeError) as error:
        raise RefusedError(
            f"'{mark}' cannot be read. Expected what was written beside the depth maps, received: {error}. Delete the "
            "folder."
        ) from None
    now = json.loads(text)
    if different := [name for name in sorted(now | before) if before.get(name) != now.get(name)]:
        changes = ", ".join(f"{name}: {before.get(name)} before, {now.get(name)} now" for name in different)
        raise RefusedError(
            f"'{cache}' holds the depth maps of another network. Expected the same file and options, received "
            f"{changes}. Choose another folder, or delete this one."
        )


def _is_current(target: Path, photo: Path) -> bool:
    """Whether the map is there and of this very photo: times tell nothing of files that were copied or unpacked."""
    try:
        known = json.loads(target.with_suffix(OF_PHOTO).read_bytes())
        if not target.is_file() or known["bytes"] != photo.stat().st_size:
            return False
        with photo.open("rb") as file:
            return bool(known["sha256"] == hashlib.file_digest(file, "sha256").hexdigest())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _prepare_all(
    loaded: Network,
    photos: Path,
    targets: dict[str, Path],
    failed: list[tuple[str, str]],
    progress: Callable[[int], object],
) -> Iterator[_Photo]:
    """The photos one by one; those that cannot be read go to `failed`."""
    for name, target in targets.items():
        try:
            yield _read(loaded, photos / name, name, target)
        except (RefusedError, OSError) as error:
            arrays.check_machine(error)
            failed.append((name, str(error)))
            progress(1)


def _read(loaded: Network, path: Path, name: str, target: Path) -> _Photo:
    data = images.read_file(path)
    pixels = images.as_rgb8(images.decode(data, path.name), path.name)
    orientation = images.orientation(data)
    upright = images.upright(pixels, orientation)
    height, width = upright.shape[:2]
    size = network.input_size(loaded, width, height)
    identity = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return _Photo(name, target, network.prepare(loaded, upright, size), width, height, orientation, identity)


def _batches(photos: Iterator[_Photo], most: int) -> Iterator[list[_Photo]]:
    """Photos of equal input size, at most so many at a time; few wait for others of their size."""
    waiting: dict[tuple[int, ...], list[_Photo]] = {}
    for photo in photos:
        group = waiting.setdefault(photo.pixels.shape, [])
        group.append(photo)
        if len(group) == most:
            yield waiting.pop(photo.pixels.shape)
        elif sum(map(len, waiting.values())) >= WAITING * most:
            yield waiting.pop(max(waiting, key=lambda shape: len(waiting[shape])))
    yield from waiting.values()


def _estimate(loaded: Network, batch: list[_Photo]) -> list[tuple[str, str]]:
    """Writes the maps of one batch; returns the photos without one, and why."""
    try:
        maps = network.infer(loaded, np.stack([photo.pixels for photo in batch]))
    except RefusedError as error:
        if len(batch) == 1:
            return [(batch[0].name, str(error))]
        # One photo may be to blame for all.
        return [failed for photo in batch for failed in _estimate(loaded, [photo])]
    failed: list[tuple[str, str]] = []
    for photo, depth in zip(batch, maps, strict=True):
        try:
            network.check_map(depth, loaded.handling.values)
        except RefusedError as error:
            failed.append((photo.name, str(error)))
            continue
        # Linear: a cubic would swing below 0 beside edges.
        full = cv2.resize(depth, (photo.width, photo.height), interpolation=cv2.INTER_LINEAR)
        _save(photo, images.upright(full, BACK.get(photo.orientation, photo.orientation)))
    return failed


def _save(photo: _Photo, depth: NDArray[np.float32]) -> None:
    """Writes a map under its final name only when all of it is on the disk, and then of which photo it is."""
    path = photo.target
    path.parent.mkdir(parents=True, exist_ok=True)
    of_photo = path.with_suffix(OF_PHOTO)
    of_photo.unlink(missing_ok=True)  # or an interruption would leave the new map with the name of the old photo
    with stores.whole_file(path) as file:
        np.save(file, depth.astype(np.float32, copy=False), allow_pickle=False)
    stores.write_text(of_photo, [json.dumps(photo.identity) + "\n"])
