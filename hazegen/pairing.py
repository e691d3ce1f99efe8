"""Finds photos and their depth maps, and pairs them by name: never by their order."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from hazegen import stores
from hazegen.errors import UsageError

IMAGE_SUFFIXES = frozenset(
    (".avif", ".bmp", ".gif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".ras")
    + (".sr", ".tif", ".tiff", ".webp")
)


@dataclass(frozen=True, slots=True)
class SceneRef:
    """One photo and its depth map, as paths relative to their folders; of a stack, the file and the frame in it."""

    key: str
    image: str
    depth: str
    frame: int | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """An input that cannot be used, and why: a short code and a sentence."""

    key: str
    image: str
    depth: str
    code: str
    reason: str


def find_scenes(
    images: Path, depth: Path, image_pattern: str, depth_pattern: str, depth_suffixes: Collection[str]
) -> tuple[list[SceneRef], list[Rejected], int]:
    """Pairs photos and depth maps by key, sorted by key.

    The key is the path below the folder without its suffix, with what the pattern adds taken off:
    with '{key}_leftImg8bit' the file 'ulm/000_leftImg8bit.png' has the key 'ulm/000'. A pattern with a
    slash is held against the whole path: with '{key}/im0' the file 'terrace/im0.png' has the key 'terrace'.

    Args:
        depth_suffixes: Of files that can be depth maps, in lower case with their dots.

    Returns:
        The scenes; the files that have no partner, or several; and the number of other files, whose
        names are of another pattern or format.
    """
    photos, no_photos = by_key(images, image_pattern, IMAGE_SUFFIXES)
    maps, no_maps = by_key(depth, depth_pattern, depth_suffixes)
    others = len(no_photos) + len(no_maps)
    if images.resolve() == depth.resolve():
        claimed = {name for names in maps.values() for name in names}
        photos = {key: names for key, names in photos.items() if not claimed.issuperset(names)}
        others = len(no_photos & no_maps)
    found: list[SceneRef] = []
    rejected: list[Rejected] = []
    for key in sorted(photos.keys() | maps.keys()):
        photo, map_ = photos.get(key, []), maps.get(key, [])
        if len(photo) == 1 and len(map_) == 1:
            found.append(SceneRef(key, photo[0], map_[0]))
        else:
            code, reason = _why_unpaired(key, photo, map_)
            rejected.append(Rejected(key, ";".join(photo), ";".join(map_), code, reason))
    return found, rejected, others


def find_photos(images: Path, image_pattern: str) -> tuple[list[SceneRef], list[Rejected], int]:
    """The photos of a folder alone, as `find_scenes` gives them, without depth maps."""
    photos, others = by_key(images, image_pattern, IMAGE_SUFFIXES)
    found = [SceneRef(key, names[0], "") for key, names in sorted(photos.items()) if len(names) == 1]
    several = [(key, names) for key, names in sorted(photos.items()) if len(names) > 1]
    rejected = [Rejected(key, ";".join(names), "", *_why_unpaired(key, names, [""])) for key, names in several]
    return found, rejected, len(others)


def _why_unpaired(key: str, photo: list[str], map_: list[str]) -> tuple[str, str]:
    if not map_:
        return "no-depth", f"Image '{photo[0]}' has no depth map. Expected a depth file of key '{key}'."
    if not photo:
        return "no-image", f"Depth map '{map_[0]}' has no image. Expected an image of key '{key}'."
    return (
        "duplicate",
        f"Key '{key}' names several files: {', '.join(filter(None, photo + map_))}. Expected one of each.",
    )


def by_key(root: Path, pattern: str, suffixes: Collection[str]) -> tuple[dict[str, list[str]], set[str]]:
    """The files of each key, and those that are none of this pattern or format; keys as `find_scenes` has them."""
    expression = _expression(pattern)
    found: dict[str, list[str]] = {}
    others: set[str] = set()
    for name in sorted(stores.files_below(root)):
        folder, stem, suffix = _parts(name)
        parent, stem = ("", folder + stem) if "/" in pattern else (folder, stem)
        match = expression.fullmatch(stem) if suffix.lower() in suffixes else None
        if match:
            found.setdefault(parent + match.group("key"), []).append(name)
        else:
            others.add(name)
    return found, others


def _parts(name: str) -> tuple[str, str, str]:
    """Folder (with its slash), stem and suffix of a path, as pathlib has them in a tenth of its time."""
    folder, slash, file = name.rpartition("/")
    stem, dot, suffix = file.rpartition(".")
    return (folder + slash, stem, dot + suffix) if stem and suffix else (folder + slash, file, "")


def _expression(pattern: str) -> re.Pattern[str]:
    """The regular expression of a name pattern such as '{key}_depth'."""
    if pattern.count("{key}") != 1:
        raise UsageError(
            "A name pattern must say where the key stands. Expected '{key}' once, as in '{key}_depth', "
            f"received '{pattern}'. Correct the pattern."
        )
    before, after = pattern.split("{key}")
    return re.compile(f"{re.escape(before)}(?P<key>.+){re.escape(after)}", re.DOTALL)


def frames(stack: Path, count: int) -> list[SceneRef]:
    """The scenes of a file that holds `count` frames, photos and depth: keys 'STEM/00000', ..."""
    return [SceneRef(f"{stack.stem}/{number:05d}", stack.name, stack.name, number) for number in range(count)]
