"""What the raw numbers of depth files tell before anybody says what they mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen.depth import cues


@dataclass(frozen=True)
class Numbers:
    """What the raw numbers of several files tell, read in one way.

    Attributes:
        dtype: Their type.
        unknown: Share of zeros, NaN and infinities.
        low, median, high: Quantiles of 5, 50 and 95 % of the others; the mean over the files.
        top: The largest finite number of all files.
        divisor: Largest whole number that divides 99 % of them.
        rise: Of cues.py, of the numbers themselves; the mean over the files.
        scattered: Share of the known pixels with an unknown one above or below.
        zeros_in_surfaces: Whether zeros lie among middling numbers, as holes do, and not among the smallest.
        noise: How much rougher the first channel is than the third, of packed or coloured pictures; else 0.
    """

    dtype: "np.dtype[Any]"
    unknown: float
    low: float
    median: float
    high: float
    top: float
    divisor: int
    rise: float
    scattered: float
    zeros_in_surfaces: bool
    noise: float


def summarize(maps: Sequence[NDArray[Any]], noise: float = 0.0) -> Numbers | None:
    """What the raw numbers of several maps tell; None where none of them is a number."""
    quantiles, rises, kept, scattered, inside = [], [], [], [], []
    for values in maps:
        usable = np.isfinite(values) & (values != 0)
        if usable.any():
            part = values[usable][:: max(1, int(usable.sum()) // 50_000)]
            kept.append(part)
            quantiles.append(np.quantile(part.astype(np.float64), (0.05, 0.5, 0.95)))
            rises.append(cues.rise(np.where(usable, values, np.nan)))
            scattered.append(float((~usable[1:] & usable[:-1]).sum() / usable.sum()))
            inside.append(cues.zeros_in_surfaces(values))
    if not quantiles:
        return None
    unknown = float(np.mean([np.mean(~np.isfinite(values) | (values == 0)) for values in maps]))
    low, median, high = (float(number) for number in np.mean(quantiles, axis=0))
    top = max(float(part.max()) for part in kept)
    measured = [rise for rise in rises if math.isfinite(rise)]
    rise = float(np.mean(measured)) if measured else 0.0
    return Numbers(
        dtype=maps[0].dtype,
        unknown=unknown,
        low=low,
        median=median,
        high=high,
        top=top,
        divisor=_divisor(np.concatenate(kept)),
        rise=rise,
        scattered=float(np.mean(scattered)),
        zeros_in_surfaces=float(np.mean(inside)) > 0.5,
        noise=noise,
    )


def _divisor(numbers: NDArray[Any]) -> int:
    """The largest of a few divisors that goes into 99 % of the numbers."""
    if numbers.dtype.kind not in "ui":
        return 1
    return next((number for number in (8, 5) if (numbers % number == 0).mean() > 0.99), 1)
