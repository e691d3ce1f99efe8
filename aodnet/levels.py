"""Results by how thick the haze is, and by how far the pixels are: running sums in fixed bins."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aodnet import markdown
from aodnet.metrics import psnr_of
from aodnet.significance import ratio

Floats = NDArray[np.float64]

# Where the finite distances end: all beyond is pixels without a surface.
_NO_SURFACE_M = 1e30
_TENTHS = tuple(number / 10 for number in range(1, 10))
# Between these bounds lie the bins; the first and the last are open.
IMAGE_BOUNDS: dict[str, tuple[float, ...]] = {
    "mean_transmission": _TENTHS,
    "visibility_m": (10, 20, 50, 100, 200, 500, 1000, 2000),
    "beta": (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1),
    "hazy_psnr": (6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
}
PIXEL_BOUNDS: dict[str, tuple[float, ...]] = {
    "transmission": _TENTHS,
    "distance_m": (1, 2, 3, 4, 5, 7, 10, 20, 50, 100, 200, 500, 1000, _NO_SURFACE_M),
}
TITLES = {
    "mean_transmission": "mean transmission",
    "visibility_m": "visibility [m]",
    "beta": "beta [1/m]",
    "hazy_psnr": "PSNR of the hazy input [dB]",
    "transmission": "transmission of the pixel",
    "distance_m": "distance of the pixel [m]",
}
POOLED = "psnr_pooled"


@dataclass(frozen=True)
class Bin:
    """What the methods score in one bin.

    Attributes:
        level: What the bins are of: a key of IMAGE_BOUNDS or PIXEL_BOUNDS.
        low, high: Its bounds; infinite at the ends.
        count: Images, or pixels, in it.
        values: For each method its metrics: means over images, or the PSNR of the mean squared error of all pixels.
    """

    level: str
    low: float
    high: float
    count: int
    values: Mapping[str, Mapping[str, float]]

    @property
    def label(self) -> str:
        """The bin as a table shows it."""
        if self.low == _NO_SURFACE_M:
            return "no surface"
        high = math.inf if self.high == _NO_SURFACE_M else self.high
        if math.isinf(self.low):
            return f"below {high:g}"
        return f"{self.low:g} and more" if math.isinf(high) else f"{self.low:g} to {high:g}"


class LevelTally:
    """Sums of every metric of every method in each bin."""

    def __init__(self, methods: Sequence[str], metrics: Sequence[str]) -> None:
        self._methods, self._metrics = tuple(methods), tuple(metrics)
        self._images: dict[str, tuple[Floats, NDArray[np.int64]]] = {}
        self._measured: dict[str, NDArray[np.int64]] = {}
        self._pixels: dict[str, tuple[Floats, NDArray[np.int64]]] = {}

    def add_image(self, levels: Mapping[str, float], values: Floats) -> None:
        """One image's values, (methods, metrics), in the bins that its levels fall into."""
        for level, number in levels.items():
            sums, counts = self._images.setdefault(level, _empty(IMAGE_BOUNDS[level], values.shape))
            at = int(np.digitize(number, IMAGE_BOUNDS[level]))
            measured = self._measured.setdefault(level, np.zeros(sums.shape, np.int64))
            known = ~np.isnan(values)  # what is no number was not measured, as significance.Tally has it
            sums[at] += np.where(known, values, 0.0)
            measured[at] += known
            counts[at] += 1

    def add_pixels(self, level: str, squares: Floats, counts: NDArray[np.int64]) -> None:
        """Sums of squared errors in each bin, (methods, bins), of as many pixels."""
        sums, total = self._pixels.setdefault(level, _empty(PIXEL_BOUNDS[level], (len(self._methods),)))
        sums += squares.T
        total += counts

    def bins(self) -> tuple[Bin, ...]:
        """All bins that something fell into, level by level."""
        return (*self._image_bins(), *self._pixel_bins())

    def _image_bins(self) -> Iterator[Bin]:
        for level, (sums, counts) in self._images.items():
            for at, low, high in _filled(IMAGE_BOUNDS[level], counts):
                means = ratio(sums[at], self._measured[level][at])
                rows = {
                    name: dict(zip(self._metrics, map(float, row), strict=True))
                    for name, row in zip(self._methods, means, strict=True)
                }
                yield Bin(level, low, high, int(counts[at]), rows)

    def _pixel_bins(self) -> Iterator[Bin]:
        for level, (sums, counts) in self._pixels.items():
            for at, low, high in _filled(PIXEL_BOUNDS[level], counts):
                errors = zip(self._methods, sums[at] / counts[at], strict=True)
                rows = {name: {POOLED: psnr_of(float(mse), 255.0)} for name, mse in errors}
                yield Bin(level, low, high, int(counts[at]), rows)


def bins_of(level: str, values: NDArray[np.float32]) -> NDArray[np.intp]:
    """Number of the bin of each pixel, flat."""
    return np.digitize(values.ravel(), PIXEL_BOUNDS[level])


def count_pixels(level: str, where: NDArray[np.intp]) -> NDArray[np.int64]:
    """Pixels in each bin."""
    return np.bincount(where, minlength=len(PIXEL_BOUNDS[level]) + 1)


def squares_in(level: str, where: NDArray[np.intp], restored: NDArray[np.uint8], clean: NDArray[np.uint8]) -> Floats:
    """Sum over the pixels of each bin of their squared error, the mean over R, G, B."""
    error = restored.astype(np.float32) - clean
    weights = (error * error).mean(axis=2, dtype=np.float64).ravel()
    return np.bincount(where, weights, minlength=len(PIXEL_BOUNDS[level]) + 1).astype(np.float64)


def _empty(bounds: Sequence[float], shape: tuple[int, ...]) -> tuple[Floats, NDArray[np.int64]]:
    return np.zeros((len(bounds) + 1, *shape)), np.zeros(len(bounds) + 1, np.int64)


def _filled(bounds: Sequence[float], counts: NDArray[np.int64]) -> Iterator[tuple[int, float, float]]:
    ends = (-math.inf, *map(float, bounds), math.inf)
    return ((at, ends[at], ends[at + 1]) for at in range(len(counts)) if counts[at])


def csv_of(bins: Sequence[Bin]) -> str:
    """A line for each level, bin, method and metric."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(("level", "low", "high", "count", "of", "method", "metric", "value"))
    for one in bins:
        of = "images" if one.level in IMAGE_BOUNDS else "pixels"
        for method, row in one.values.items():
            for metric, value in row.items():
                writer.writerow((one.level, one.low, one.high, one.count, of, method, metric, f"{value:.6f}"))
    return file.getvalue()


def tables(bins: Sequence[Bin], metric: str, title: str, leave_out: Sequence[str] = ()) -> str:
    """Markdown: `metric` by haze, and the pooled PSNR by pixels: one row a bin, one column a method."""
    return "\n\n".join(_grid(bins, level, metric, title, leave_out) for level in shown(bins))


def _grid(bins: Sequence[Bin], level: str, metric: str, title: str, leave_out: Sequence[str]) -> str:
    own = [one for one in bins if one.level == level]
    of, name = ("images", metric) if level in IMAGE_BOUNDS else ("pixels", POOLED)
    if name == POOLED:
        title = "PSNR [dB] of the mean squared error of all pixels"
    methods = [method for method in own[0].values if method not in leave_out]
    rows = [[one.label, f"{one.count:,}", *(f"{one.values[m][name]:.2f}" for m in methods)] for one in own]
    return f"{title}, by {TITLES[level]}:\n\n{markdown.grid([TITLES[level], of, *methods], rows)}"


def shown(bins: Sequence[Bin]) -> list[str]:
    """The levels of tables and plots: one of images, since those of a record tell the same haze, and all of pixels."""
    known = list(dict.fromkeys(one.level for one in bins))
    return [level for level in known if level in IMAGE_BOUNDS][:1] + [level for level in known if level in PIXEL_BOUNDS]
