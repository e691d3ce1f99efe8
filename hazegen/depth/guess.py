"""Which published convention a folder of depth maps follows, by its names, numbers and pictures."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen.depth import calibration, containers
from hazegen.depth.conventions import CONVENTIONS, Convention
from hazegen.depth.formats import RELATIVE, DepthFormat
from hazegen.depth.numbers import Numbers, summarize
from hazegen.depth.readers import LARGER_IS_NEARER
from hazegen.errors import RefusedError
from hazegen.pairing import SceneRef

# Usual medians [m] of rooms and of streets; which of them is expected, the spread of depths decides.
ROOM_M, OUTDOORS_M = 2.5, 12.0
# From the 5 % to the 95 % quantile: rooms have a ratio of 2 to 5, streets 5 to 50.
SPREAD_OF_ROOMS = 6.0
# Reach of depth cameras for rooms [m].
REACH_OF_ROOMS_M = 12.0
# Share of pixels without a measurement where a scanner measured (KITTI: 80 to 90 %).
SCANNED = (0.55, 0.98)
# A scanner's known pixels with an unknown one below: KITTI 0.5; a depth camera's: 0.01, sparsest 0.4.
SCATTERED = 0.45
# Rank correlations with height below this are no evidence.
CLEAR_RISE = 0.15
# Points for a convention whose calibration file is not there.
WITHOUT_CALIBRATION = -3.0

# Points, and what they are given for.
Evidence = tuple[float, str]


@dataclass(frozen=True)
class Guess:
    """A convention that the files may follow.

    Attributes:
        name: Of the convention.
        score: Evidence for it, in points; only differences mean something.
        reasons: What speaks for it and against it.
        same: Names of other conventions with the same rule.
        lacks: The calibration file that it needs and that does not lie beside the first map; empty for none.
    """

    name: str
    score: float
    reasons: tuple[str, ...]
    same: tuple[str, ...] = ()
    lacks: str = ""


def rank(depth: Path, refs: Sequence[SceneRef], pattern: str, told: Convention | None = None) -> list[Guess]:
    """Conventions that can be meant, the likeliest first; of equals, the first of the table.

    Args:
        depth: Folder of depth maps, or the file of all frames.
        refs: Some scenes.
        pattern: Name pattern by which their depth maps were found.
        told: What somebody says that they follow, be it in the table, changed by options, or none of it.
    """
    known: dict[tuple[object, ...], Numbers | None] = {}
    frames = [ref.frame for ref in refs]
    paths = [depth if ref.frame is not None else depth / ref.depth for ref in refs]
    found: dict[DepthFormat, Guess] = {}
    for convention in _candidates(told):
        fits = {path.suffix.lower() for path in paths} <= set(convention.suffixes)
        if not fits or convention.stack != (frames[0] is not None):
            continue
        way = (convention.format.packing, convention.format.dataset, convention.format.channel)
        if way not in known:
            known[way] = _numbers(paths, frames, convention.format)
        numbers = known[way]
        if numbers is None:
            continue
        guess = _weigh(convention, numbers, [_by_name(convention, pattern), _by_companions(convention, depth, refs[0])])
        if lacks := _missing_calibration(convention, depth, refs[0]):
            guess = dataclasses.replace(guess, lacks=lacks)
        first = found.setdefault(convention.format, guess)
        if first.name != guess.name:
            best, other = (first, guess) if first.score >= guess.score else (guess, first)
            found[convention.format] = dataclasses.replace(best, same=(*first.same, other.name))
    return sorted(found.values(), key=lambda guess: -guess.score)


def _candidates(told: Convention | None) -> list[Convention]:
    """The conventions of the table, with what was told in the place of its namesake; custom alone says nothing."""
    known = {name: convention for name, convention in CONVENTIONS.items() if name != "custom"}
    return list((known if told is None else known | {told.name: told}).values())


def _numbers(paths: Sequence[Path], frames: Sequence[int | None], fmt: DepthFormat) -> Numbers | None:
    """The numbers of the files that can be read as the format says; None where none can."""
    maps, noises = [], []
    for path, frame in zip(paths, frames, strict=True):
        try:
            maps.append(containers.read_values(path, fmt, frame))
        except (RefusedError, OSError):
            continue
        if fmt.packing == "carla":
            noises.append(_noise(maps[-1]))
    return summarize(maps, min(noises, default=0.0))


def _noise(packed: NDArray[Any]) -> float:
    """Mean step in the lowest byte of packed numbers over that in the highest."""
    low, high = packed.astype(np.int64) & 255, packed.astype(np.int64) >> 16
    return float(np.abs(np.diff(low, axis=1)).mean() / max(float(np.abs(np.diff(high, axis=1)).mean()), 1e-6))


def _weigh(convention: Convention, numbers: Numbers, evidence: list[Evidence]) -> Guess:
    """All evidence for one convention, beside that of its files' names."""
    evidence = [*evidence, _by_type(convention, numbers), _by_packing(convention, numbers)]
    evidence += [_by_holes(convention, numbers), _by_zeros(convention, numbers)]
    evidence += [_by_direction(convention, numbers), _by_sky(convention, numbers)]
    evidence += _by_metres(convention, numbers)
    told = [(points, reason) for points, reason in evidence if abs(points) >= 0.05]
    return Guess(
        convention.name,
        round(sum(points for points, _ in told), 2),
        tuple(f"{reason} ({points:+.1f})" for points, reason in sorted(told, key=lambda one: -abs(one[0]))),
    )


def _by_name(convention: Convention, pattern: str) -> Evidence:
    if convention.depth_pattern == "{key}":
        return 0.0, ""
    if convention.depth_pattern == pattern:
        return 2.0, f"files are called {pattern}"
    return -1.5, f"files are not called {convention.depth_pattern}"


def _by_type(convention: Convention, numbers: Numbers) -> Evidence:
    """Whether the type of the numbers reaches as far as the unit needs."""
    fmt = convention.format
    if numbers.dtype.kind == "f" or fmt.packing == "carla":
        integers = fmt.unit is not None and fmt.packing == "none" and fmt.values != "disparity"
        return (-3.0, "integers are usual, these are floats") if integers else (0.0, "")
    largest = float(np.iinfo(numbers.dtype).max)
    if fmt.values in ("plane", "ray"):
        if fmt.unit is None:
            return -4.0, "floats are usual, these are integers"
        reach = largest * fmt.unit
        if not 1.0 <= reach <= 1500.0:
            return -6.0, f"{numbers.dtype} would reach {reach:.3g} m"
    if fmt.values == "disparity" and (largest > 255) != ((fmt.unit or 1.0) < 0.1):
        return -4.0, f"disparity in {numbers.dtype} is not of this unit"
    return 0.0, ""


def _by_packing(convention: Convention, numbers: Numbers) -> Evidence:
    """Bits that give a way of packing away."""
    fmt = convention.format
    if fmt.packing == "carla":
        return (3.0, "channels are packed bytes") if numbers.noise > 3 else (-6.0, "channels are colours, not bytes")
    if fmt.packing == "rotated":
        # Read as rotated, millimetres below 8192 have no bits left above the 13th.
        rotated = numbers.top < 2**14 and numbers.divisor == 1
        return (2.0, "bits are rotated by 3") if rotated else (-6.0, "no bits are rotated")
    if numbers.divisor == 8 and numbers.dtype == np.uint16:
        return -3.0, "all numbers are multiples of 8, as rotated bits are"
    if numbers.divisor == 5 and fmt.unit is not None and abs(fmt.unit - 0.0002) < 1e-6:
        return 2.0, "all numbers are multiples of 5: millimetres times 5"
    return 0.0, ""


def _by_companions(convention: Convention, depth: Path, ref: SceneRef) -> Evidence:
    """Whether the mask or calibration file lies beside the first map."""
    if convention.mask_pattern is not None:
        stem = depth / convention.mask_pattern.replace("{key}", ref.key)
        there = any(stem.with_name(f"{stem.name}{suffix}").is_file() for suffix in (".npy", ".png"))
        return (2.0, "masks lie beside the maps") if there else (-3.0, "no masks lie beside the maps")
    if convention.calibration is not None:
        lacks = _missing_calibration(convention, depth, ref)
        return (WITHOUT_CALIBRATION, f"there is no {lacks}") if lacks else (2.0, "calibration lies beside the maps")
    return 0.0, ""


def _missing_calibration(convention: Convention, depth: Path, ref: SceneRef) -> str:
    """Name of the calibration file that should lie beside the first map and does not."""
    if convention.calibration is None:
        return ""
    path = calibration.path_of(convention.calibration, ref.key, depth / ref.depth, None)
    return "" if path.is_file() else path.name


def _by_holes(convention: Convention, numbers: Numbers) -> Evidence:
    """A scanner's lines leave a pixel without a measurement above or below nearly every measured one."""
    if not convention.lidar:
        return 0.0, ""
    share = f"{numbers.unknown:.0%} of the pixels were not measured"
    scanned = SCANNED[0] < numbers.unknown < SCANNED[1] and numbers.scattered > SCATTERED
    return (2.0, f"{share}, as by a scanner") if scanned else (-3.0, f"{share}, not as by a scanner")


def _by_zeros(convention: Convention, numbers: Numbers) -> Evidence:
    """Whether zeros mean what they seem to mean by their neighbours."""
    if not numbers.zeros_in_surfaces or 0.0 in convention.format.not_measured:
        return 0.0, ""
    return -1.5, "zeros lie among middling numbers, as holes do"


def _by_direction(convention: Convention, numbers: Numbers) -> Evidence:
    """Whether larger numbers are nearer: they are then at the bottom of the pictures."""
    if abs(numbers.rise) < CLEAR_RISE:
        return 0.0, ""
    said = "nearer" if numbers.rise < 0 else "farther"
    agrees = (numbers.rise < 0) == (convention.format.values in LARGER_IS_NEARER)
    points = min(1.0, abs(numbers.rise) * 2.0) * (2.0 if agrees else -4.0)
    return points, f"larger numbers look {said} (rank correlation with height {numbers.rise:+.2f})"


def _by_sky(convention: Convention, numbers: Numbers) -> Evidence:
    """Whether the number of the sky occurs."""
    fmt = convention.format
    mark = fmt.no_surface if fmt.no_surface is not None else fmt.no_surface_from
    if mark is None or convention.format.packing == "carla":
        return 0.0, ""
    if fmt.no_surface_from is not None:
        # The nearest far plane that is reached is the one that was meant.
        ratio = numbers.top / mark
        return (2.0 - math.log10(ratio), f"numbers reach {numbers.top:g}, the sky") if ratio >= 1.0 else (0.0, "")
    return (2.0, f"{mark:g} marks the sky") if numbers.top == mark else (-1.5, f"no {mark:g} for the sky")


def _by_metres(convention: Convention, numbers: Numbers) -> list[Evidence]:
    """Whether the metres that come out are those of rooms or of streets."""
    fmt = convention.format
    if fmt.values in RELATIVE or fmt.values == "transmission":
        inside = numbers.low >= 0.0 and numbers.top <= 1.0 + 1e-4
        usual = fmt.values == "relative-inverse" or inside or numbers.dtype == np.uint8
        return [
            (-1.0 - 2.0 * (fmt.values == "transmission"), "without metres"),
            (0.0 if usual else -2.0, "not in 0..1"),
        ]
    if fmt.values == "disparity" and (fmt.focal_px is None or fmt.baseline_m is None):
        return [] if convention.calibration else [(-0.5, "focal length and baseline are not known")]
    low, median, high = _metres(fmt, numbers)
    if not (low > 0.0 and math.isfinite(high)):
        return [(-3.0, "no metres come out")]
    ordinary = ROOM_M if high / low < SPREAD_OF_ROOMS else OUTDOORS_M
    told = [(1.0 - 2.0 * abs(math.log10(median / ordinary)), f"the median is {median:.3g} m")]
    camera = 0.02 < numbers.unknown < SCANNED[0] and numbers.dtype == np.uint16
    if camera and high > REACH_OF_ROOMS_M:
        told.append((-1.5, f"a depth camera with such holes does not reach {high:.3g} m"))
    return told


def _metres(fmt: DepthFormat, numbers: Numbers) -> tuple[float, float, float]:
    """The quantiles in metres, near to far."""
    unit = 1.0 if fmt.unit is None else fmt.unit
    low, median, high = ((number + fmt.offset) * unit for number in (numbers.low, numbers.median, numbers.high))
    if fmt.values not in LARGER_IS_NEARER:
        return low, median, high
    product = (fmt.focal_px or 1.0) * (fmt.baseline_m or 1.0)
    near, middle, far = (product / max(number + fmt.doffs_px, 1e-6) for number in (high, median, low))
    return near, middle, far
