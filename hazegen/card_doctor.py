"""What the depth doctor finds in the records of a dataset, whose depth files need not be at hand any more."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen.card_views import View
from hazegen.depth import checks, cues, pooled
from hazegen.depth.alignment import align
from hazegen.depth.finding import Finding
from hazegen.depth.formats import DepthFormat
from hazegen.depth.measures import Measured

# As many scenes as the doctor needs to judge mirrored and shifted maps; each takes 30 ms.
EXAMINED = pooled.FEWEST_FILES
# Of hazegen inspect's checks those that say the same of stored distances as of the files they were read from.
CHECKS = (pooled.turned, pooled.shifted, pooled.inverted)


@dataclass(frozen=True)
class Examined:
    """What was seen of one scene.

    Attributes:
        view: It.
        rise: Rank correlation of distance with height in the picture: above 0 where higher is farther.
        fit: Correlation of the edges of its distances with those of its picture; NaN where it was not taken.
        flags: What may be wrong with it.
    """

    view: View
    rise: float
    fit: float
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What was seen of some scenes, those with most flags first, and what they say together."""

    scenes: Sequence[Examined]
    findings: Sequence[Finding]
    exact: bool


def examine(views: Sequence[View], table: Mapping[str, Mapping[str, str]]) -> Report:
    """Looks at scenes whose distances are known.

    The edges are looked at where the distances were stored: those that were recovered from a pair have its edges.

    Args:
        table: Their lines of the table of inputs, as far as it has them.
    """
    chosen = [view for view in views if view.distance_m is not None and np.isfinite(view.distance_m).any()][:EXAMINED]
    exact = bool(chosen) and all(view.exact for view in chosen)
    measured = [_measure(view) for view in chosen] if exact else []
    seen: list[Examined] = []
    for number, view in enumerate(chosen):
        assert view.distance_m is not None
        rise = measured[number].rise if exact else cues.rise(view.distance_m)
        fit, turns = _fit(measured[number]) if exact else (float("nan"), ())
        flags = (*_flags_of_row(table.get(view.scene, {})), *_flags(rise), *turns)
        seen.append(Examined(view, rise, fit, flags))
    findings = [finding for check in CHECKS for finding in check(measured)] if measured else []
    return Report(sorted(seen, key=lambda one: -len(one.flags)), findings, exact)


def _measure(view: View) -> Measured:
    """What CHECKS ask for; the numbers of the file itself are not at hand."""
    assert view.distance_m is not None
    distance_m = np.asarray(view.distance_m, np.float32)
    plane, segments = cues.plane_index(distance_m)
    seen: dict[str, Any] = {"rise": cues.rise(distance_m), "plane": plane, "segments": segments}
    seen |= {"alignment": align(view.clean, distance_m), "shape": distance_m.shape, "image_shape": view.clean.shape[:2]}
    fixed = {"key": view.key, "dtype": "float32", "fmt": DepthFormat("plane", 1.0), "problem": "", "distinct": 0}
    unknown = {field.name: math.nan for field in dataclasses.fields(Measured)}
    three = (math.nan, math.nan, math.nan)
    told: dict[str, Any] = unknown | {"raw": three, "metres": three, "container": ""} | fixed | seen
    return Measured(**told)


def _flags_of_row(row: Mapping[str, str]) -> tuple[str, ...]:
    holes = float(row.get("holes") or 0.0)
    if holes > checks.MOST_HOLES:
        return (f"holes: {holes:.0%}, more than half",)
    return (f"holes: {holes:.0%}",) if holes > checks.MANY_HOLES else ()


def _flags(rise: float) -> tuple[str, ...]:
    if rise < pooled.STRONG_RISE:
        return (f"inverted? nearer towards the top (rank correlation {rise:+.2f})",)
    return ()


def _fit(measured: Measured) -> tuple[float, tuple[str, ...]]:
    """Correlation of edges as they are, and what another orientation would have."""
    if measured.alignment is None or "same" not in measured.alignment.scores:
        return float("nan"), ()
    scores = measured.alignment.scores
    same, best = scores["same"], max(scores, key=lambda name: scores[name])
    if scores[best] - same > pooled.CERTAIN_GAIN:
        return same, (f"{best}? edges fit {scores[best]:.2f}, {same:.2f} as they are",)
    return same, ("edges of depth and picture do not meet",) if same < pooled.SMALLEST_FIT else ()


def colors(distance_m: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Distances in colours: bright is near, white has no surface, magenta is not known."""
    from hazegen.inspect.sheet import false_colors

    return false_colors(distance_m)
