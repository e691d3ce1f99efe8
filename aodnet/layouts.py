"""Published sets of hazy and clean pictures as they lie on a disk, paired by name: never by their order.

Folder names are compared without regard to case. docs/evaluation.md says which layouts were seen and
which are from memory.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hazegen.errors import RefusedError, UsageError
from hazegen.pairing import IMAGE_SUFFIXES

_LISTED = 5


class Match(NamedTuple):
    """The files of one pair, and the scene that it belongs to."""

    name: str
    scene: str
    hazy: Path
    clean: Path


@dataclass(frozen=True)
class Layout:
    """Where a set keeps its pictures, and how it names them.

    Attributes:
        name: As in --layout.
        inside: Folders that the set's own two may lie in, beside the one that is given.
        hazy, clean: Names of the two folders; '' is the folder itself.
        hazy_name, clean_name: Pattern of a picture's path below its folder, without suffix. Group `key` is
            what a hazy and a clean picture share; group `scene`, where there is one, tells which pictures are alike.
    """

    name: str
    inside: tuple[str, ...]
    hazy: tuple[str, ...]
    clean: tuple[str, ...]
    hazy_name: str
    clean_name: str


_FRAME = r"(?P<key>(?P<scene>[^/]+)/[^/]+)"
_ID = r"(?P<key>\d+)"
_FIRST_TWO = r"(?P<key>[^_/]+_[^_/]+)"
# The most particular first: the names of some fit the patterns of those after them.
_ALL = (
    Layout("o-haze", ("# O-HAZY NTIRE 2018",), ("hazy",), ("gt",), rf"{_ID}_outdoor_hazy", rf"{_ID}_outdoor_gt"),
    Layout("i-haze", ("# I-HAZY NTIRE 2018",), ("hazy",), ("gt",), rf"{_ID}_indoor_hazy", rf"{_ID}_indoor_gt"),
    Layout("dense-haze", ("Dense_Haze_NTIRE19",), ("hazy",), ("gt",), rf"{_ID}_hazy", rf"{_ID}_gt"),
    Layout("nh-haze", ("NH-HAZE",), ("",), ("",), rf"{_ID}_hazy", rf"{_ID}_gt"),
    Layout("hazerd", ("data",), ("simu",), ("img",), rf"{_FIRST_TWO}_.+", rf"{_FIRST_TWO}_rgb"),
    Layout("revide", ("Test", "Train"), ("hazy",), ("gt",), _FRAME, _FRAME),
    Layout("sots", ("indoor", "outdoor"), ("hazy",), ("gt", "clear"), rf"{_ID}_[^/]+", _ID),
)
# Any names, where the hazy one is the clean one's, or goes on after it with '_'.
_FLAT = Layout("flat", (), ("hazy",), ("clean", "clear", "gt"), "", "")
LAYOUTS = {layout.name: layout for layout in (*_ALL, _FLAT)}


def find_pairs(root: Path, name: str = "auto") -> list[Match]:
    """The pairs of a published set, sorted by the paths of their hazy pictures.

    Args:
        root: Its folder, or the one around that.
        name: Of a layout; auto takes the first whose folders and names are there.

    Raises:
        UsageError: No folder, or no such layout.
        RefusedError: None of the layouts, two parts at once, or pictures that are doubled or have no partner.
    """
    if name != "auto" and name not in LAYOUTS:
        raise UsageError(
            f"--layout cannot be used. Expected auto or one of {', '.join(LAYOUTS)}, received '{name}'. Correct it."
        )
    for layout in LAYOUTS.values() if name == "auto" else (LAYOUTS[name],):
        places = list(_places(root, layout))
        if len(places) > 1:
            raise RefusedError(
                f"'{root}' holds several parts of {layout.name}. Expected one, received "
                f"{', '.join(sorted(str(hazy) for hazy, _ in places))}. Pass the folder of one part as --pairs."
            )
        if places:
            hazy, clean = places[0]
            return match_folders(hazy, clean, both=True) if layout is _FLAT else _match(layout, hazy, clean)
    below = sorted(path.name for path in _entries(root) if path.is_dir())
    raise RefusedError(
        f"'{root}' has no layout that is known. Expected the folders and names of "
        f"{', '.join(LAYOUTS) if name == 'auto' else name}, received {_named(below)}. Pass "
        "--hazy and --clean."
    )


def _named(folders: list[str]) -> str:
    return f"the folders {', '.join(folders[:_LISTED])}" if folders else "no folder in it"


def _places(root: Path, layout: Layout) -> Iterator[tuple[Path, Path]]:
    """The folders of hazy and clean pictures, where both are there and some names fit."""
    outer = [root, *(path for path in _entries(root) if path.is_dir() and _is_one_of(path.name, layout.inside))]
    for folder in outer:
        hazy, clean = _subfolder(folder, layout.hazy), _subfolder(folder, layout.clean)
        if hazy is not None and clean is not None:
            names = zip((layout.hazy_name, layout.clean_name), (hazy, clean), strict=True)
            if layout is _FLAT or all(any(_fits(pattern, path, at) for path in pictures(at)) for pattern, at in names):
                yield hazy, clean


def _subfolder(folder: Path, names: tuple[str, ...]) -> Path | None:
    if "" in names:
        return folder
    found = [path for path in _entries(folder) if path.is_dir() and _is_one_of(path.name, names)]
    if len(found) > 1:
        raise RefusedError(
            f"'{folder}' has several folders of clean or of hazy pictures. Expected one of {', '.join(names)}, "
            f"received {', '.join(path.name for path in found)}. Pass --hazy and --clean."
        )
    return found[0] if found else None


def _is_one_of(name: str, names: Iterable[str]) -> bool:
    return name.lower() in [other.lower() for other in names]


def _match(layout: Layout, hazy: Path, clean: Path) -> list[Match]:
    """Each hazy picture with the clean one of its key; all must be of the layout and have partners."""
    of_clean: dict[str, list[Path]] = {}
    for path in pictures(clean):
        if fit := _fits(layout.clean_name, path, clean):
            of_clean.setdefault(fit["key"], []).append(path)
    of_hazy = {path: fit for path in pictures(hazy) if (fit := _fits(layout.hazy_name, path, hazy))}
    keys = {fit["key"] for fit in of_hazy.values()}
    placed = {*of_hazy, *(path for paths in of_clean.values() for path in paths)}
    _refuse(
        layout.name,
        {
            "of other names": [path for folder in {hazy, clean} for path in pictures(folder) if path not in placed],
            "hazy without clean": [path for path, fit in of_hazy.items() if fit["key"] not in of_clean],
            "clean without hazy": [path for key, paths in of_clean.items() if key not in keys for path in paths],
            "doubled": [path for paths in (*of_clean.values(), *_twins(of_hazy)) if len(paths) > 1 for path in paths],
        },
    )
    return [
        Match(_below(path, hazy), fit.groupdict().get("scene") or fit["key"], path, of_clean[fit["key"]][0])
        for path, fit in of_hazy.items()
    ]


def match_folders(hazy: Path, clean: Path, *, both: bool = False) -> list[Match]:
    """Each hazy picture with the clean one of the same name, or of the longest one that it continues with '_'.

    Args:
        both: Whether a clean picture without a hazy one is an error too.

    Raises:
        UsageError: A folder is none.
        RefusedError: Hazy pictures without a clean one, none at all, or two of one name.
    """
    for folder in (hazy, clean):
        if not folder.is_dir():
            raise UsageError(f"'{folder}' is not a folder. Expected a folder of images. Check --hazy and --clean.")
    of_clean = {path.stem: path for path in _pictures_of(clean)}
    found = [(path, _clean_stem(path.stem, of_clean)) for path in _pictures_of(hazy)]
    used = {stem for _, stem in found}
    twins = (*_twins(_pictures_of(clean)), *_twins(_pictures_of(hazy)))
    _refuse(
        "NAME or NAME_... beside NAME",
        {
            "hazy without clean": [path for path, stem in found if stem is None],
            "clean without hazy": [path for stem, path in of_clean.items() if both and stem not in used],
            "doubled": [path for paths in twins if len(paths) > 1 for path in paths],
        },
    )
    if not found:
        raise RefusedError(f"'{hazy}' has no images. Expected hazy images, received none. Check --hazy.")
    return [Match(path.stem, stem, path, of_clean[stem]) for path, stem in found if stem is not None]


def _refuse(expected: str, problems: dict[str, list[Path]]) -> None:
    """Raises RefusedError where any list is not empty, and shows how each begins."""
    told = [
        f"{len(paths)} {what} ({', '.join(sorted(path.name for path in paths)[:_LISTED])}"
        f"{', ...' if len(paths) > _LISTED else ''})"
        for what, paths in problems.items()
        if paths
    ]
    if told:
        raise RefusedError(
            f"The pictures do not pair up. Expected each hazy one to have one clean one, named as {expected} has them, "
            f"received {'; '.join(told)}. Add the missing files, or take these out."
        )


def _twins(paths: Iterable[Path]) -> list[list[Path]]:
    """The pictures that differ in their suffix alone."""
    found: dict[Path, list[Path]] = {}
    for path in paths:
        found.setdefault(path.with_suffix(""), []).append(path)
    return list(found.values())


def _clean_stem(stem: str, clean: dict[str, Path]) -> str | None:
    while stem not in clean:
        stem, separator, _ = stem.rpartition("_")
        if not separator:
            return None
    return stem


def _fits(pattern: str, path: Path, folder: Path) -> re.Match[str] | None:
    return re.fullmatch(pattern, _below(path, folder), re.IGNORECASE)


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, or of the folders in it where it has none of its own, sorted."""
    own = _pictures_of(folder)
    return own or [path for inner in _entries(folder) if inner.is_dir() for path in _pictures_of(inner)]


def _pictures_of(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.suffix.lower() in IMAGE_SUFFIXES]


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"'{folder}' is not a folder. Expected a folder of images. Check --pairs, --hazy and --clean.")
    return sorted(folder.iterdir())
