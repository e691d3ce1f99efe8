"""hazegen card --real: how near the haze of a dataset is to photos of real haze, and what would bring it nearer.

Measures of single pictures are compared as distributions, for real haze has no clean picture beside it. All pictures
are measured at one size. Distances between distributions are 1-Wasserstein distances (earth mover's), in the unit of
the measure: how far, on average, each of our numbers would have to move.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hazegen import appearance, heads, images, manifest, realism_changes, records, recovery, stores
from hazegen.card_sample import sample_heads
from hazegen.errors import RefusedError, UsageError
from hazegen.manifest import Manifest
from hazegen.realism_changes import AS_IT_IS, Change, Hazy
from hazegen.records import hash_order
from hazegen.sampling import generator

Pixels = NDArray[np.uint8]
Numbers = NDArray[np.float64]

# Longer side of the measured pictures [px]: windows of 15 pixels are then the same share of each.
SIDE_PX = 320
MOST_REAL, MOST_OURS, LEAST = 200, 60, 3
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
MEASURES: dict[str, Callable[[Pixels], float]] = {
    "dark channel": appearance.dark_channel,
    "saturation": appearance.saturation,
    "contrast": appearance.contrast,
}
FADE = "FADE"
# The best changes, of which FADE is measured too: it takes 0.1 s a picture.
FADED = 3
# Resamplings by which the chance in a distance is judged.
RESAMPLINGS = 200


@dataclass(frozen=True)
class Real:
    """The pictures of real haze.

    Attributes:
        names: Of those that were measured, below their folder.
        pictures: These, small.
        broken: Names of those that could not be read, with the reason.
        found: How many files with a picture's suffix there are.
        others: How many other files.
    """

    names: Sequence[str]
    pictures: Sequence[Pixels]
    broken: dict[str, str]
    found: int
    others: int


@dataclass(frozen=True)
class Compared:
    """One measure of both.

    Attributes:
        ours, theirs: A number of each picture.
        distance: 1-Wasserstein.
        chance: Standard deviation of the distance when the pictures of both are drawn again.
    """

    ours: Numbers
    theirs: Numbers
    distance: float
    chance: float


@dataclass(frozen=True)
class Tried:
    """What a change of the recipe does to the pictures.

    Attributes:
        field: Of the recipe.
        change: What was done to it, in words.
        distances: Of each measure, after the change; FADE's of the best changes alone.
        means: Of each measure, of our pictures after the change.
        total: Sum of the distances but FADE's, each in standard deviations of the real pictures' measure.
        is_last: Whether it is the largest step of its kind that is tried.
    """

    field: str
    change: str
    distances: dict[str, float]
    means: dict[str, float]
    total: float
    is_last: bool


@dataclass(frozen=True)
class Realism:
    """A dataset beside real haze.

    Attributes:
        measures: Each, by its name; FADE only where its package is installed.
        unchanged: Our pictures rendered again, as they are: what the changes are held against.
        tried: The changes, the best first.
        rendered: How many of our pictures were rendered again.
        off: Mean absolute difference of these from the pictures that they were made of, of 255.
        pictures: Some of ours, and the real ones that were measured.
    """

    known: Manifest
    real: Real
    measures: dict[str, Compared]
    unchanged: Tried
    tried: Sequence[Tried]
    rendered: int
    off: float
    pictures: Sequence[Pixels]


def look(folder: Path, real: Path, tell: Callable[[str], object] = lambda _: None) -> Realism:
    """Measures both, and renders some of our pictures again under other haze.

    Args:
        folder: A finished dataset.
        real: A folder with photos of real haze.
        tell: Is told what is done next.

    Raises:
        RefusedError: Too few pictures that can be read.
        UsageError: `real` is no folder.
    """
    known = manifest.load(folder)
    theirs = read_real(real)
    tell(f"{len(theirs.pictures)} real pictures, {len(theirs.broken)} that cannot be read")
    ours = _ours(folder, known)
    tell(f"{len(ours)} of ours")
    names = dict(MEASURES) | ({FADE: appearance.fade} if has_fade() else {})
    measured = {name: _numbers(ours_of(ours), run) for name, run in names.items()}
    measures = {name: compare(measured[name], _numbers(theirs.pictures, run)) for name, run in names.items()}
    tell("rendering ours again under other haze: half a minute")
    unchanged, tried, off = _try(ours, known, measures)
    return Realism(known, theirs, measures, unchanged, tried, len(ours), off, ours_of(ours))


def has_fade() -> bool:
    """Whether the package of FADE is installed."""
    try:
        appearance.load_fade()
    except UsageError:
        return False
    return True


def ours_of(ours: Sequence[Hazy]) -> list[Pixels]:
    """The hazy pictures."""
    return [one.hazy for one in ours]


# --- both sets ---


def read_real(folder: Path) -> Real:
    """The pictures below a folder, at most MOST_REAL of them, chosen by a hash of their names.

    Raises:
        UsageError: It is no folder.
        RefusedError: Fewer than LEAST pictures can be read.
    """
    names = list(stores.files_below(folder))
    photos = sorted((name for name in names if name.lower().endswith(SUFFIXES)), key=hash_order)
    pictures: dict[str, Pixels] = {}
    broken: dict[str, str] = {}
    for name in photos[:MOST_REAL]:
        try:
            data = images.read_file(folder / name)
            whole = images.as_rgb8(images.decode(data, name), name)
            pictures[name] = recovery.small(images.upright(whole, images.orientation(data)), SIDE_PX)
        except (RefusedError, OSError) as error:
            broken[name] = str(error)
    if len(pictures) < LEAST:
        first = f" The first: {next(iter(broken.values()))}" if broken else ""
        raise RefusedError(
            f"'{folder}' has too few pictures of real haze. Expected at least {LEAST} that can be read "
            f"({', '.join(SUFFIXES)}), received {len(pictures)} of {len(photos)}.{first} Choose another --real."
        )
    return Real(tuple(pictures), tuple(pictures.values()), broken, len(photos), len(names) - len(photos))


def _ours(folder: Path, known: Manifest) -> list[Hazy]:
    """Hazy pictures of the dataset, chosen by a hash of their names: small, and with what renders them again."""
    sample = sample_heads(folder, known)
    chosen = sorted(sample.heads, key=lambda place: hash_order(place[1].values["key"]))[:MOST_OURS]
    if len(chosen) < LEAST:
        raise RefusedError(
            f"'{folder}' has too few {known.kind}. Expected at least {LEAST}, received {len(chosen)}. Make a larger "
            "dataset."
        )
    found = []
    for path, head in chosen:
        values = records.decode(heads.read_record(path, head.offset, head.length), known.kind)
        found.append(realism_changes.hazy_of(values, known, SIDE_PX))
    return found


# --- numbers ---


def _numbers(pictures: Sequence[Pixels], measure: Callable[[Pixels], float]) -> Numbers:
    """The measure of each picture that has one."""
    found = np.array([measure(picture) for picture in pictures], np.float64)
    return found[np.isfinite(found)]


def distance(ours: Numbers, theirs: Numbers) -> float:
    """1-Wasserstein distance between two sets of numbers; not a number where one is empty.

    References:
        scipy.stats.wasserstein_distance.
    """
    from scipy.stats import wasserstein_distance

    return float(wasserstein_distance(ours, theirs)) if len(ours) and len(theirs) else math.nan


def compare(ours: Numbers, theirs: Numbers) -> Compared:
    """Both sets of numbers, the distance between them, and its chance."""
    rng = generator(0, "realism")
    drawn = [
        distance(rng.choice(ours, len(ours)), rng.choice(theirs, len(theirs)))
        for _ in range(RESAMPLINGS if len(ours) and len(theirs) else 0)
    ]
    return Compared(ours, theirs, distance(ours, theirs), float(np.std(drawn)) if drawn else math.nan)


# --- changes ---


def _try(ours: Sequence[Hazy], known: Manifest, measures: Mapping[str, Compared]) -> tuple[Tried, list[Tried], float]:
    """Our pictures rendered again as they are, under each change, and how far the first are from what is stored.

    FADE is slow: it is measured of the changes alone that bring most to the other measures.
    """
    plain = {name: compared.theirs for name, compared in measures.items() if name != FADE}
    faded = measures[FADE].theirs if FADE in measures else None
    again = _under(AS_IT_IS, ours, known)
    off = float(np.mean([np.abs(a.astype(np.int16) - one.hazy).mean() for a, one in zip(again, ours, strict=True)]))
    unchanged = _with_fade(_tried(AS_IT_IS, again, plain), again, faded)
    tried = [(change, _tried(change, _under(change, ours, known), plain)) for change in realism_changes.changes(known)]
    tried.sort(key=lambda one: one[1].total)
    chosen = (
        [*range(FADED), *(_nearest([one for _, one in tried], name) for name in plain)] if faded is not None else []
    )
    for number in dict.fromkeys(chosen):
        change, one = tried[number]
        tried[number] = change, _with_fade(one, _under(change, ours, known), faded)
    return unchanged, [one for _, one in tried], off


def _under(change: Change, ours: Sequence[Hazy], known: Manifest) -> list[Pixels]:
    return [one.render(known.color_space, change.apply) for one in ours]


def _tried(change: Change, pictures: Sequence[Pixels], theirs: Mapping[str, Numbers]) -> Tried:
    found = {name: _numbers(pictures, MEASURES[name]) for name in theirs}
    distances = {name: distance(numbers, theirs[name]) for name, numbers in found.items()}
    total = sum(far / max(float(theirs[name].std()), 1e-6) for name, far in distances.items())
    means = {name: float(numbers.mean()) for name, numbers in found.items()}
    return Tried(change.field, change.told, distances, means, total, change.is_last)


def _with_fade(tried: Tried, pictures: Sequence[Pixels], theirs: Numbers | None) -> Tried:
    """The same with FADE, where it is installed."""
    if theirs is None:
        return tried
    numbers = _numbers(pictures, appearance.fade)
    mean = float(numbers.mean()) if len(numbers) else math.nan
    distances, means = tried.distances | {FADE: distance(numbers, theirs)}, tried.means | {FADE: mean}
    return dataclasses.replace(tried, distances=distances, means=means)


def _nearest(tried: Sequence[Tried], name: str) -> int:
    """Number of the change that brings a measure nearest."""
    return min(range(len(tried)), key=lambda number: tried[number].distances.get(name, math.inf))


def best_of(realism: Realism, name: str) -> Tried | None:
    """The change that brings a measure nearest; None where none does so by more than chance."""
    nearest = realism.tried[_nearest(realism.tried, name)]
    gain = realism.unchanged.distances[name] - nearest.distances.get(name, math.inf)
    return nearest if gain > realism.measures[name].chance else None
