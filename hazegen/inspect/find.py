"""What `hazegen inspect` looks at: its options, and the search for images and depth maps that belong together."""

import dataclasses
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from hazegen import pairing
from hazegen.depth import containers, conventions
from hazegen.depth.options import DepthOptions, check_stack
from hazegen.errors import RefusedError, UsageError
from hazegen.inspect import alone
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
# These come last: single letters and numbers are the least of a name.
LAST_PATTERNS = (
    ("{key}_left", "{key}_disp"),
    ("{key}_left", "{key}_disparity"),
    ("{key}_image", "{key}_depth"),
    ("image_{key}", "depth_{key}"),
    ("im{key}", "disp{key}GT"),
    ("im{key}", "disp{key}"),
    ("view{key}", "disp{key}"),
    ("{key}L", "{key}GT"),
)
# Files that a message names.
NAMED = 4


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
    if options.depth.is_file() or conventions.find(options.depth_kind).stack:
        return _find_frames(options)
    best: tuple[list[SceneRef], list[Rejected], int] = ([], [], 0)
    patterns = options.patterns()
    for candidate in _candidates(options):
        found = pairing.find_scenes(options.images, options.depth, *candidate, containers.SUFFIXES)
        if len(found[0]) > len(best[0]) or not any(best):
            best, patterns = found, candidate
        if 2 * len(best[0]) > len(best[1]):
            break
    if not best[0]:
        return _find_alone(options, len(best[1]), best[2])
    return dataclasses.replace(options, image_pattern=patterns[0], depth_pattern=patterns[1]), *best


def _find_alone(
    options: InspectOptions, unpaired: int, others: int
) -> tuple[InspectOptions, list[SceneRef], list[Rejected], int]:
    """The one pair of a folder whose names share nothing, as the scene of that name in the folder above."""
    root = options.images.resolve()
    same = root == options.depth.resolve() and not _tells_patterns(options)
    pairs = [pair for pair in alone.pairs_in(root) if not pair.folder.name] if same else []
    if not pairs or not root.name:
        raise RefusedError(
            f"No image has a depth map. Expected files of the same names in '{options.images}' and '{options.depth}', "
            f"received {unpaired} without a partner and {others} of another pattern or format: "
            f"{_some(options.images, pairing.IMAGE_SUFFIXES)} among the images, "
            f"{_some(options.depth, containers.SUFFIXES)} among the maps. Pass --image-pattern and --depth-pattern, as "
            "'{key}_color' and '{key}_depth'; where each pair has a folder, pass the folder above for both, with "
            "'{key}/rgb' and '{key}/depth'."
        )
    image_pattern, depth_pattern = pairs[0].patterns
    told = dataclasses.replace(
        options, images=root.parent, depth=root.parent, image_pattern=image_pattern, depth_pattern=depth_pattern
    )
    return told, [pairs[0].ref(root.name)], [], unpaired + others - 2


def _some(folder: Path, suffixes: Collection[str]) -> str:
    """The first few files of a folder, as a message names them."""
    names = sorted(name for names in pairing.by_key(folder, "{key}", suffixes)[0].values() for name in names)
    listed = ", ".join(f"'{name}'" for name in names[:NAMED]) or "none"
    return f"{listed}, ..." if len(names) > NAMED else listed


def _candidates(options: InspectOptions) -> Iterator[tuple[str, str]]:
    """Pairs of name patterns to try: those told, else those in use and what the names in each folder give."""
    if _tells_patterns(options):
        yield options.patterns()
        return
    named = [] if options.depth_kind == "custom" else [options.patterns()]
    known = [(one.image_pattern, one.depth_pattern) for one in conventions.CONVENTIONS.values() if not one.stack]
    yield from dict.fromkeys((*named, *PATTERNS, *known))
    if options.images.resolve() == options.depth.resolve() and (
        made := alone.commonest(alone.pairs_in(options.images))
    ):
        yield made
    yield from LAST_PATTERNS


def _tells_patterns(options: InspectOptions) -> bool:
    return options.image_pattern is not None or options.depth_pattern is not None


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
    check_stack(convention, options.images, options.depth)
    count = containers.count_frames(options.depth, convention.format)
    return dataclasses.replace(options, depth_kind=convention.name), pairing.frames(options.depth, count), [], 0
