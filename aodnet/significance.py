"""How sure a mean is, and a difference of two means: bootstrap over scenes, in memory that does not grow with images.

The hazy images of one scene are alike, so drawing them one by one would make every interval too narrow:
whole scenes are drawn, the same ones for all methods, so that what is hard for all of them cancels in differences.

References:
    Efron, Tibshirani, "An Introduction to the Bootstrap", 1993: the percentile interval.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 2000
# Images whose values are kept for the medians: all of them up to this number, beyond it a random sample.
KEPT = 65_536
# Numbers that a round of resampling holds.
_ROUND = 2**22


@dataclass(frozen=True)
class Interval:
    """Mean, median and 95 % bootstrap interval of the mean of one metric."""

    mean: float
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """How much larger one mean is than another over the same scenes.

    Attributes:
        difference: Of the means.
        low, high: 95 % bootstrap interval.
        p: Two-sided: twice the share of resamples on the rarer side of 0, at least 1 / 1000. (Of 10 scenes and less,
            interval and p are too sure: resamples cannot show what no scene has.)
    """

    difference: float
    low: float
    high: float
    p: float


class Tally:
    """Sums over each scene of what every method scores in every metric, and a sample of single images.

    A value that is no number was not measured, and counts neither in a mean nor in a median.
    """

    def __init__(self, methods: int, metrics: int) -> None:
        self._shape = methods, metrics
        self._scenes: dict[str, int] = {}
        self._sums: list[Floats] = []
        self._counts: list[Floats] = []
        self._kept: list[Floats] = []
        self._numbers: list[int] = []
        self._rng = np.random.default_rng(0)
        self.images = 0

    def add(self, scene: str, values: Floats) -> None:
        """One image's values, (methods, metrics)."""
        assert values.shape == self._shape, (values.shape, self._shape)
        at = self._scenes.setdefault(scene, len(self._sums))
        if at == len(self._sums):
            self._sums.append(np.zeros(self._shape))
            self._counts.append(np.zeros(self._shape))
        measured = ~np.isnan(values)
        self._sums[at] += np.where(measured, values, 0.0)
        self._counts[at] += measured
        self._keep(values)
        self.images += 1

    def _keep(self, values: Floats) -> None:
        """Reservoir sampling: each image stays with the same probability."""
        if self.images < KEPT:
            self._kept.append(values)
            self._numbers.append(self.images)
        elif (place := int(self._rng.integers(self.images + 1))) < KEPT:
            self._kept[place], self._numbers[place] = values, self.images

    @property
    def scenes(self) -> int:
        """How many scenes there are."""
        return len(self._sums)

    def medians(self) -> Floats:
        """(methods, metrics), over the kept images."""
        kept = np.stack(self._kept).reshape(len(self._kept), -1)
        return np.array([_median(values) for values in kept.T]).reshape(self._shape)

    def at_median(self, method: int, metric: int) -> int:
        """Number of the measured image that stands in the middle; of an even number, the lower of the two."""
        values = np.stack(self._kept)[:, method, metric]  # not a number comes last
        middle = (max(1, int(np.count_nonzero(~np.isnan(values)))) - 1) // 2
        return self._numbers[int(np.argsort(values, kind="stable")[middle])]

    def means(self) -> Floats:
        """(methods, metrics), over images: a scene counts by how many it has."""
        return ratio(np.sum(self._sums, axis=0), np.sum(self._counts, axis=0))

    def resampled(self) -> Floats:
        """Means of `RESAMPLES` sets of as many scenes, drawn with replacement, (RESAMPLES, methods, metrics)."""
        sums, counts = (np.stack(parts).reshape(self.scenes, -1) for parts in (self._sums, self._counts))
        infinite = np.isinf(sums)  # equal images have an infinite PSNR; 0 times that would be no number
        finite = np.where(infinite, 0.0, sums)
        if (counts == counts[:, :1]).all():  # as a rule: every method and metric measured every image
            counts = counts[:, :1]
        rng, step = np.random.default_rng(0), max(1, _ROUND // self.scenes)
        rounds = []
        for start in range(0, RESAMPLES, step):
            number = min(step, RESAMPLES - start)
            drawn = rng.integers(self.scenes, size=(number, self.scenes))
            weights = np.stack([np.bincount(row, minlength=self.scenes) for row in drawn]).astype(np.float64)
            # Not a matrix product: whose sums of equal columns may differ in their last bits.
            means = ratio(np.einsum("bn,nk->bk", weights, finite), np.einsum("bn,nk->bk", weights, counts))
            if infinite.any():
                means[np.einsum("bn,nk->bk", weights, infinite.astype(np.float64)) > 0] = np.inf
            rounds.append(means)
        return np.concatenate(rounds).reshape(RESAMPLES, *self._shape)


def interval(mean: float, median: float, resampled: Floats) -> Interval:
    """A mean with what resampling says of it."""
    low, high = _percentiles(resampled)
    return Interval(float(mean), float(median), low, high)


def compare(mean: float, other: float, resampled: Floats, other_resampled: Floats, scenes: int) -> Difference:
    """`mean` less `other`, of two methods that were resampled together; not a number where both are infinite, or one
    was never measured. Resamples without a measured image of either count as none.

    Args:
        scenes: How many there were: p is at least the chance 2^(1 - scenes) that all of them agree by accident.
    """
    if math.isinf(mean) or math.isinf(other):
        return Difference(float("nan") if mean == other else mean - other, float("nan"), float("nan"), float("nan"))
    differences = _measured(resampled - other_resampled)
    if math.isnan(mean - other) or differences.size == 0:
        return Difference(float("nan"), float("nan"), float("nan"), float("nan"))
    low, high = _percentiles(differences)
    rarer = min(float(np.mean(differences <= 0.0)), float(np.mean(differences >= 0.0)))
    return Difference(float(mean - other), low, high, min(1.0, max(2.0 * rarer, 2.0 / RESAMPLES, 2.0 ** (1 - scenes))))


def _percentiles(values: Floats) -> tuple[float, float]:
    values = _measured(values)
    if values.size == 0:
        return float("nan"), float("nan")
    # The nearest rank, not a mean of two: equal images have an infinite PSNR.
    low, high = np.percentile(values, [2.5, 97.5], method="nearest")
    return float(low), float(high)


def _median(values: Floats) -> float:
    measured = _measured(values)
    return float(np.median(measured)) if measured.size else float("nan")


def _measured(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def ratio(sums: Floats, counts: Floats | NDArray[np.int64]) -> Floats:
    """Means; not a number where nothing was measured."""
    return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1.0), np.nan), np.float64)
