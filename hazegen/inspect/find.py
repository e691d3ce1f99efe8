"""What `hazegen inspect` looks at: its options, and the search for images and depth maps that belong together."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from hazegen import pairing
from hazegen.depth import containers, conventions
from hazegen.depth.options import DepthOptions
from hazegen.errors import RefusedError, UsageError
from hazegen.pairing import Rejected, SceneRef

# Names of images and depth maps in use; those of the conventions come after them.
PATTERNS = (
    ("{key}", "{key}"),
    ("{key}", "{key}_depth"),
    ("{key}_color", "{key}_depth"),
    ("{key}.color", "{key}.depth"),
    ("{key}-color", "{key}-depth"),
    ("{key}_rgb", "{key}_depth"),
    ("{key}_colors", "{key}_depth"),
    ("rgb_{key}", "depth_{key}"),
    ("rgb_{key}", "sync_depth_{key}"),
    ("{key}", "{key}_disp"),
    ("{key}", "{key}_disparity"),
)


@dataclass(frozen=True, kw_only=True)
class InspectOptions(DepthOptions):
    """Which folders are looked at.

    Attributes:
        images: Folder of photos, sub-folders included.
        depth: Folder of depth maps, or the one file of a convention that stacks its frames.
        files: How many scenes are read.
    """

    images: Path
    depth: Path
    files: int = 24

    def __post_init__(self) -> None:
        if self.files < 1:
            raise UsageError(f"--files is out of range. Expected at least 1, received {self.files}. Change --files.")

    @property
    def tells_format(self) -> bool:
        """Whether the user says what the numbers are, so that nothing has to be guessed."""
        return self.depth_kind != "custom" or self.camera is not None or bool(self.format_fields())


def find(options: InspectOptions) -> tuple[InspectOptions, list[SceneRef], list[Rejected], int]:
    """The scenes, and the options with the name patterns by which most of them were found."""
    if options.depth.is_file():
        return _find_frames(options)
    best: tuple[list[SceneRef], list[Rejected], int] = ([], [], 0)
    patterns = options.patterns()
    for candidate in _patterns(options):
        found = pairing.find_scenes(options.images, options.depth, *candidate, containers.SUFFIXES)
        if len(found[0]) > len(best[0]) or not any(best):
            best, patterns = found, candidate
        if 2 * len(best[0]) > len(best[1]):
            break
    if not best[0]:
        raise RefusedError(
            f"No image has a depth map. Expected files of the same names in '{options.images}' and '{options.depth}', "
            f"received {len(best[1])} files without a partner and {best[2]} of another pattern or format. Pass "
            "--image-pattern and --depth-pattern, as '{key}_color' and '{key}_depth'."
        )
    return dataclasses.replace(options, image_pattern=patterns[0], depth_pattern=patterns[1]), *best


def _patterns(options: InspectOptions) -> list[tuple[str, str]]:
    """Pairs of name patterns to try: those told, else those in use."""
    if options.image_pattern or options.depth_pattern or options.depth_kind != "custom":
        return [options.patterns()]
    known = [(one.image_pattern, one.depth_pattern) for one in conventions.CONVENTIONS.values() if not one.stack]
    return list(dict.fromkeys((*PATTERNS, *known)))


def _find_frames(options: InspectOptions) -> tuple[InspectOptions, list[SceneRef], list[Rejected], int]:
    """The frames of a file of many, by the convention named or the first one that stacks in such a file."""
    suffix = options.depth.suffix.lower()
    stacks = [one for one in conventions.CONVENTIONS.values() if one.stack and suffix in one.suffixes]
    named = conventions.find(options.depth_kind)
    convention = named if named.stack else next(iter(stacks), named)
    if not convention.stack:
        raise UsageError(
            f"'{options.depth}' is no folder. Expected a folder of depth maps, or a file of all frames of a convention "
            "that has one (nyu-mat), received another file. Check --depth and --depth-kind."
        )
    count = containers.count_frames(options.depth, convention.format)
    return dataclasses.replace(options, depth_kind=convention.name), pairing.frames(options.depth, count), [], 0
