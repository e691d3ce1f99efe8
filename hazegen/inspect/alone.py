"""Photos and depth maps that share no part of their names, because each pair has a folder of its own."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hazegen import pairing
from hazegen.depth import containers
from hazegen.pairing import SceneRef

# Names of them in use, without suffix, the commonest first. Where both have a number, it must be the same.
PHOTOS = ("rgb", "color", "image", "img", "photo", "im0", "im2", "im1", "view1", "left")
MAPS = ("depth", "depth_map", "depthmap", "depth_gt", "disp", "disparity", "disp0GT", "disp0", "disp2", "disp1") + (
    ("disp_left", "gt_disp_left", "disp_gt", "gt")
)


@dataclass(frozen=True)
class Pair:
    """A photo and its map in one folder: its path, and both files' names."""

    folder: PurePosixPath
    photo: str
    depth: str

    @property
    def patterns(self) -> tuple[str, str]:
        """The name patterns by which the folder's name is the key."""
        return f"{{key}}/{PurePosixPath(self.photo).stem}", f"{{key}}/{PurePosixPath(self.depth).stem}"

    def ref(self, name: str) -> SceneRef:
        """The scene below the folder's parent."""
        return SceneRef(name, f"{name}/{self.photo}", f"{name}/{self.depth}")


def pairs_in(root: Path) -> list[Pair]:
    """The pairs of the folders below `root` that hold one each; all but a lone pair by names in use."""
    photos, maps = _by_folder(root, pairing.IMAGE_SUFFIXES), _by_folder(root, containers.SUFFIXES)
    found = [_by_name(folder, photos[folder], maps[folder]) for folder in sorted(photos.keys() & maps.keys())]
    return [pair for pair in found if pair is not None]


def commonest(pairs: list[Pair]) -> tuple[str, str] | None:
    """The name patterns of most pairs in folders below the root; None where there are none."""
    counted = Counter(pair.patterns for pair in pairs if pair.folder.name)
    return counted.most_common(1)[0][0] if counted else None


def _by_folder(root: Path, suffixes: frozenset[str] | tuple[str, ...]) -> dict[PurePosixPath, list[str]]:
    found: dict[PurePosixPath, list[str]] = {}
    for names in pairing.by_key(root, "{key}", suffixes)[0].values():
        for path in map(PurePosixPath, names):
            found.setdefault(path.parent, []).append(path.name)
    return found


def _by_name(folder: PurePosixPath, photos: list[str], maps: list[str]) -> Pair | None:
    """The first pair of names in use; else the only photo and the only file that is none."""
    photo_of, map_of = ({PurePosixPath(name).stem: name for name in names} for names in (photos, maps))
    for photo in PHOTOS:
        for depth in MAPS:
            if photo in photo_of and depth in map_of and _same_number(photo, depth):
                return Pair(folder, photo_of[photo], map_of[depth])
    others = [name for name in maps if name not in photos]
    return Pair(folder, photos[0], others[0]) if len(photos) == len(others) == 1 else None


def _same_number(photo: str, depth: str) -> bool:
    first, second = (re.findall(r"\d+", name) for name in (photo, depth))
    return not (first and second) or first == second
