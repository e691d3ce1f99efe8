"""Findings that only several files together give: turned, mirrored, shifted and inverted maps.

Each file votes with a number. A finding needs a mean beyond a limit and a t statistic, the mean over
its standard error, that no accident gives.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hazegen.depth.alignment import NEAR_ZERO, REACH
from hazegen.depth.finding import Finding
from hazegen.depth.measures import Measured

# Fewer files can agree by accident: their statistics are told, not judged.
FEWEST_FILES = 6
SMALLEST_T, SMALLEST_T_OF_RISE = 4.0, 3.0
# Equal frames would give any t.
SMALLEST_DEVIATION = 0.02

# The figures below are the extremes of 400 draws of 24 labelled frames of NYU (of 6 frames in brackets).
# By how much edges fit better in another orientation: sound -0.34 to -0.23 (-0.13); confused 0.20 (0.16) or more.
SMALLEST_GAIN, CERTAIN_GAIN = 0.1, 0.15
# By how much they fit better elsewhere: sound 0.00; shifted by 19 or 20 px 0.09 (0.06) or more.
SMALLEST_SHIFT_GAIN = 0.05
# Correlation of edges: sound 0.28 (0.19) or more, other real sets 0.16; maps of other scenes 0.05 (0.07) or less.
SMALLEST_FIT = 0.07
# Rise: sound 0.33 (0.16) or more; inverted -0.35 (-0.17) or less.
LARGEST_RISE, CERTAIN_RISE = -0.15, -0.3
# Index of planes: sound 0.73 (0.44) or more; inverse depth 0.30 (0.80) or less. With 6 files the two overlap: 9 of 10
# inverted folders are found there, all of 24.
LARGEST_PLANE, CERTAIN_PLANE = 0.5, 0.35
# Rise of a single file that says so alone: of 442 labelled frames of NYU none has less than -0.3, of their inverses
# 41 % have less than -0.6, as have all of 7 stereo sets that are read as depth. Upside-down maps have it too.
STRONG_RISE = -0.6

_REMEDIES = {
    "mirrored": "Mirror the maps or the images back, left to right.",
    "upside-down": "Turn the rows of the maps round; PFM files begin with the lowest row.",
    "turned": "Turn the maps by 180 degrees; an EXIF orientation may have been applied to the images alone.",
    "transposed": "Exchange rows and columns of the maps; MATLAB's files hold columns first.",
}


def _t(numbers: NDArray[np.float64]) -> float:
    """Mean over its standard error."""
    return float(numbers.mean() / max(numbers.std(), SMALLEST_DEVIATION) * math.sqrt(len(numbers)))


def _aligned(files: Sequence[Measured]) -> list[Measured]:
    """The files whose maps can be compared in the orientation that they have."""
    return [file for file in files if file.alignment is not None and "same" in file.alignment.scores]


def fit(files: Sequence[Measured], turn: str = "same") -> NDArray[np.float64]:
    """Correlation of edges of each file in an orientation."""
    scores = [file.alignment.scores for file in files if file.alignment is not None]
    return np.array([score[turn] for score in scores if turn in score], np.float64)


def turned(files: Sequence[Measured]) -> list[Finding]:
    """Maps whose edges lie on those of the images in another orientation."""
    files = _aligned(files)
    if len(files) < FEWEST_FILES:
        return []
    names = set.intersection(*(set(file.alignment.scores) for file in files if file.alignment)) - {"same"}
    best = max(sorted(names), key=lambda name: float(fit(files, name).mean()))
    gains = fit(files, best) - fit(files)
    gain, t = float(gains.mean()), _t(gains)
    if gain < SMALLEST_GAIN or t < SMALLEST_T:
        return []
    code = best if best in _REMEDIES else "transposed"
    reason = (
        f"The maps lie {best} on the images. Expected edges of depth on edges of the images, received a correlation "
        f"of {fit(files).mean():.2f} as they are and {fit(files, best).mean():.2f} {best} ({len(files)} files, "
        f"t = {t:.0f}). {_REMEDIES[code]}"
    )
    return [Finding(code, "impossible" if gain > CERTAIN_GAIN else "unlikely", reason, gain)]


def shifted(files: Sequence[Measured]) -> list[Finding]:
    """Maps whose edges lie beside those of the images, or have nothing to do with them."""
    files = _aligned(files)
    if len(files) < FEWEST_FILES or turned(files):
        return []
    tables = _tables(files)
    row, column = best_shift(files)
    at = tables[:, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].max(axis=(1, 2))
    gains = at - fit(files)
    off = max(abs(row - REACH), abs(column - REACH)) > NEAR_ZERO
    if off and gains.mean() > SMALLEST_SHIFT_GAIN and _t(gains) > SMALLEST_T:
        scale = float(np.mean([file.alignment.scale for file in files if file.alignment]))
        right, down = (column - REACH) * scale, (row - REACH) * scale
        reason = (
            "The maps are shifted against the images. Expected edges of depth on edges of the images, received a "
            f"correlation of {fit(files).mean():.2f} as they are and {at.mean():.2f} when the maps move by about "
            f"{right:+.0f} px to the right and {down:+.0f} px down ({len(files)} files, t = {_t(gains):.0f}). Register "
            "depth to colour, or crop both alike."
        )
        return [Finding("shifted", "unlikely", reason, math.hypot(right, down))]
    return _unrelated(files)


def best_shift(files: Sequence[Measured]) -> tuple[int, int]:
    """Row and column of the mean shift table's peak."""
    mean = _tables(files).mean(axis=0)
    row, column = np.unravel_index(int(mean.argmax()), mean.shape)
    return int(row), int(column)


def _tables(files: Sequence[Measured]) -> NDArray[np.float64]:
    """The shift table of each file that has one."""
    alignments = [file.alignment for file in files if file.alignment is not None]
    return np.array([one.shifts for one in alignments if one.shifts is not None], np.float64)


def _unrelated(files: Sequence[Measured]) -> list[Finding]:
    mean = float(fit(files).mean())
    if mean >= SMALLEST_FIT:
        return []
    reason = (
        "The maps may belong to other images. Expected edges of depth on edges of the images, received a correlation "
        f"of {mean:.2f} over {len(files)} files. Check that files of the same name are of the same scene."
    )
    return [Finding("unrelated", "unlikely", reason, mean)]


def inverted(files: Sequence[Measured]) -> list[Finding]:
    """Maps in which near and far are interchanged: disparity or inverse depth that was taken for depth."""
    rises = np.array([file.rise for file in files if math.isfinite(file.rise)])
    planes = [file.plane for file in files if math.isfinite(file.plane)]
    if not len(rises):
        return []
    rise, plane = float(rises.mean()), float(np.median(planes)) if planes else math.nan
    few = len(rises) < FEWEST_FILES
    each = few and bool((rises < STRONG_RISE).all())
    if rise > (CERTAIN_RISE if few or not planes else LARGEST_RISE) or (plane > LARGEST_PLANE and not each):
        return []
    if not few and _t(rises) > -SMALLEST_T_OF_RISE:
        return []
    files_ = f"{len(rises)} file{'' if len(rises) == 1 else 's'}"
    reason = (
        "Near and far are interchanged. Expected depth that grows towards the top of the pictures, received a "
        f"rank correlation of {rise:+.2f} with height; planes have the index {plane:.2f} (1: depth, 0: inverse depth, "
        f"below: far minus depth; {files_}). Of disparity or inverse depth pass --depth-values disparity, inverse or "
        "relative-inverse, or the convention that says so; of far minus depth save far minus the numbers anew; maps "
        "that stand upside down show it too."
    )
    certain = rise < CERTAIN_RISE and plane < CERTAIN_PLANE and (not few or (each and len(rises) > 1))
    return [Finding("inverted", "impossible" if certain else "unlikely", reason, rise)]


def few(files: Sequence[Measured]) -> list[Finding]:
    """Says what was not judged, and the figures that were seen."""
    aligned = _aligned(files)
    if len(aligned) >= FEWEST_FILES:
        return []
    seen = ", ".join(f"{turn} {fit(aligned, turn).mean():.2f}" for turn in ("same", "mirrored")) if aligned else "none"
    reason = (
        f"Mirror and shift were not judged. Expected {FEWEST_FILES} maps with few holes that can be compared with "
        f"their images, received {len(aligned)}; correlation of edges: {seen}. Look at the contact sheet."
    )
    return [Finding("few-files", "note", reason, float(len(aligned)))]
