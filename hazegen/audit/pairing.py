"""Finds the clean picture and the depth map of every hazy picture by name: never by the order of the files."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hazegen import pairing
from hazegen.errors import UsageError


@dataclass(frozen=True, slots=True)
class PairRef:
    """One hazy picture, its clean one and the depth map of that, as paths relative to their folders.

    Attributes:
        key: Of the clean picture: its path without suffix and without what its pattern adds.
        depth: None where there is none.
        rest: What the hazy name says beyond the clean one, as '0.8_0.2'; empty where the names are equal.
    """

    key: str
    hazy: str
    clean: str
    depth: str | None
    rest: str


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A file without a partner."""

    folder: str
    name: str
    reason: str


@dataclass(frozen=True)
class Folder:
    """A folder of files, and what their names are beside their key."""

    root: Path
    pattern: str
    suffixes: Collection[str]

    def keys(self) -> dict[str, list[str]]:
        """The files of each key."""
        return pairing.by_key(self.root, self.pattern, self.suffixes)[0]


def find_pairs(hazy: Folder, clean: Folder, depth: Folder | None) -> tuple[list[PairRef], list[Unmatched]]:
    """Pairs the files of two or three folders, sub-folders included, sorted by hazy name.

    The clean picture of a hazy one has its key, or the longest key that the hazy one continues with '_' or
    '-': 'NYU2_4_1_1' belongs to 'NYU2_4', '0001_0.8_0.2' to '0001'. It lies in the sub-folder of the same
    name, or is the only one of its name in all sub-folders. The depth map has the key of the clean picture.
    """
    if depth is None and hazy.root.resolve() == clean.root.resolve() and hazy.pattern == clean.pattern:
        raise UsageError(
            "Hazy and clean pictures cannot be told apart. Expected two folders, or one with two name patterns, "
            f"received '{hazy.root}' with '{hazy.pattern}' for both. Pass --hazy-pattern and --image-pattern."
        )
    hazy_keys, clean_keys = hazy.keys(), clean.keys()
    depth_keys = depth.keys() if depth else {}
    by_stem = _by_stem(clean_keys)
    pairs: list[PairRef] = []
    lonely: list[Unmatched] = []
    for key, names in sorted(hazy_keys.items()):
        found = _clean_key(key, clean_keys, by_stem)
        reason = _why(found, clean_keys, key)
        if found is None or reason:
            lonely += [Unmatched("hazy", name, reason) for name in names]
            continue
        rest = PurePosixPath(key).name[len(PurePosixPath(found).name) :].lstrip("_-")
        pairs += [PairRef(found, name, clean_keys[found][0], _depth_of(found, depth_keys), rest) for name in names]
    used, used_depths = {pair.clean for pair in pairs}, {pair.depth for pair in pairs}
    lonely += _unused("clean", clean_keys, used, "No hazy picture belongs to it.")
    lonely += _unused("depth", depth_keys, used_depths, "No pair's clean picture has its key, or another depth has it.")
    return pairs, lonely


def _by_stem(keys: dict[str, list[str]]) -> dict[str, list[str]]:
    """The keys that share a last part, whatever their folders."""
    found: dict[str, list[str]] = {}
    for key in keys:
        found.setdefault(PurePosixPath(key).name, []).append(key)
    return found


def _clean_key(key: str, keys: dict[str, list[str]], by_stem: dict[str, list[str]]) -> str | None:
    """The clean key that belongs to a hazy one; of a name that several folders share, none."""
    folder, stem = PurePosixPath(key).parent, PurePosixPath(key).name
    ends = [len(stem), *(match.start() for match in reversed(list(re.finditer("[_-]", stem))))]
    for end in ends:
        if str(folder / stem[:end]) in keys:
            return str(folder / stem[:end])
        if len(by_stem.get(stem[:end], ())) == 1:
            return by_stem[stem[:end]][0]
    return None


def _why(found: str | None, clean_keys: dict[str, list[str]], key: str) -> str:
    """Why a hazy picture has no clean one; empty where it has."""
    if found is None:
        return f"No clean picture is called '{key}' or as a part of it before '_' or '-'."
    if len(clean_keys[found]) > 1:
        return f"Several clean pictures share its key: {', '.join(clean_keys[found])}."
    return ""


def _depth_of(key: str, depth_keys: dict[str, list[str]]) -> str | None:
    """The one depth map of a clean key: in the sub-folder of the same name, or in the folder itself."""
    names = depth_keys.get(key) or depth_keys.get(PurePosixPath(key).name) or []
    return names[0] if len(names) == 1 else None


def _unused(folder: str, keys: dict[str, list[str]], used: Collection[str | None], reason: str) -> list[Unmatched]:
    names = sorted(name for names in keys.values() for name in names)
    return [Unmatched(folder, name, reason) for name in names if name not in used]
