"""The folder of an evaluation as a comparison reads it, and its scores beside those of others; without TensorFlow."""

import csv
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aodnet import figures
from aodnet.measures import AFFINE, CUTS, DARK_CHANNEL, HAZY
from aodnet.significance import Difference, Interval, Tally, compare, interval
from hazegen.errors import RefusedError

SUMMARY, SCORES, STRIP = "summary.json", "scores.csv", "strip.png"
MOST_OF_SUMMARY = 16_000_000
# Letters of a line of scores.csv: an image's values in all metrics are far below.
MOST_OF_LINE = 100_000
BASELINES = (HAZY, AFFINE, DARK_CHANNEL)
_FIRST = ("image", "scene", "method")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EvaluationFacts:
    """What the folder of an evaluation holds.

    Attributes:
        folder: Of the evaluation.
        summary: Its summary.json.
        means: Of each method, in order, the mean of each metric; not a number where there is none.
    """

    folder: Path
    summary: Mapping[str, Any]
    means: dict[str, dict[str, float]]

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.folder.resolve().name

    @property
    def models(self) -> list[str]:
        """Its models, without those that lack their surroundings."""
        return [name for name in self.means if name not in BASELINES and not name.endswith(CUTS)]

    @property
    def metrics(self) -> list[str]:
        """All metrics of its methods."""
        return list(dict.fromkeys(metric for row in self.means.values() for metric in row))

    @property
    def what(self) -> tuple[str, str]:
        """What was scored, and how it was read: evaluations in which both are equal can be held against each other."""
        return str(self.summary.get("pictures") or f"unknown, of {self.folder}"), str(self.summary.get("reading"))

    def definition(self, metric: str) -> str:
        """What a metric means, as the summary says it; empty of one that has no protocols."""
        told = self.summary.get("definition")
        return str(told.get(figures.kind(metric)[1], "")) if isinstance(told, dict) else ""


def common(evaluations: Sequence[EvaluationFacts]) -> list[str]:
    """Metrics that several evaluations have, by the same definition."""
    first = evaluations[0]
    return [
        metric
        for metric in first.metrics
        if all(metric in one.metrics and one.definition(metric) == first.definition(metric) for one in evaluations)
    ]


def is_evaluation(folder: Path) -> bool:
    """Whether it has the figures of an evaluation."""
    return (folder / SUMMARY).is_file() and (folder / SCORES).is_file()


def read(folder: Path) -> EvaluationFacts:
    """What the folder of an evaluation holds.

    Raises:
        RefusedError: Its summary cannot be read, or is none of ours.
    """
    path = folder / SUMMARY
    if path.stat().st_size > MOST_OF_SUMMARY:
        raise _no_summary(path, f"{path.stat().st_size:,} bytes")
    try:
        summary = json.loads(path.read_bytes())
        means = {
            str(name): {str(metric): _number(cell["mean"]) for metric, cell in row.items()}
            for name, row in summary["methods"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise _no_summary(path, f"{type(error).__name__}: {str(error)[:200]}") from None
    if not means or not any(means.values()):
        raise _no_summary(path, "no figures")
    return EvaluationFacts(folder, summary, means)


def _number(value: object) -> float:
    """A mean; null stands for equal pictures, whose PSNR is infinite."""
    return math.inf if value is None else float(value)  # type: ignore[arg-type]


def _no_summary(path: Path, received: str) -> RefusedError:
    return RefusedError(
        f"'{path}' cannot be read. Expected the figures that aodnet evaluate wrote, received {received}. Evaluate "
        "again into that folder, or leave it out."
    )


# --- scores beside scores ---


@dataclass(frozen=True)
class Held:
    """Models of several evaluations of the same pictures, held against one of them.

    Attributes:
        metrics: Those that all evaluations have, by the same definition.
        images, scenes: How many were scored.
        table: Of each row (evaluation's number, model), each metric's interval.
        against: The row that the others are held against.
        differences: Of each other row, each metric less that one's.
    """

    metrics: tuple[str, ...]
    images: int
    scenes: int
    table: dict[tuple[int, str], dict[str, Interval]]
    against: tuple[int, str]
    differences: dict[tuple[int, str], dict[str, Difference]]


def hold(evaluations: Mapping[int, EvaluationFacts]) -> Held:
    """Paired bootstrap over scenes of all models of evaluations of the same pictures, in one pass over their scores.

    Args:
        evaluations: By their numbers; the first model of the first one is what the others are held against.

    Raises:
        RefusedError: The scores cannot be read, or are of other images than those of the first.
    """
    first, metrics = next(iter(evaluations.values())), tuple(common(list(evaluations.values())))
    rows = [(number, model) for number, one in evaluations.items() for model in one.models]
    tally = Tally(len(rows), len(metrics))
    readers = [_images(one, metrics) for one in evaluations.values()]
    for together in itertools.zip_longest(*readers):
        places = [None if image is None else image[:2] for image in together]
        if any(place is None or place != places[0] for place in places):
            raise _other_images(list(evaluations.values()), places)
        scene = together[0][1]
        tally.add(scene, np.concatenate([image[2] for image in together]))
    if not tally.images:
        raise _no_scores(first.folder / SCORES, "no image")
    return _held(tally, metrics, rows)


def _held(tally: Tally, metrics: tuple[str, ...], rows: Sequence[tuple[int, str]]) -> Held:
    means, medians, resampled = tally.means(), tally.medians(), tally.resampled()
    table = {
        row: {m: interval(means[r, c], medians[r, c], resampled[:, r, c]) for c, m in enumerate(metrics)}
        for r, row in enumerate(rows)
    }
    differences = {
        row: {
            m: compare(means[r, c], means[0, c], resampled[:, r, c], resampled[:, 0, c], tally.scenes)
            for c, m in enumerate(metrics)
        }
        for r, row in enumerate(rows)
        if r > 0
    }
    return Held(metrics, tally.images, tally.scenes, table, rows[0], differences)


def _images(one: EvaluationFacts, metrics: Sequence[str]) -> Iterator[tuple[str, str, Floats]]:
    """Name, scene and values (models, metrics) of each image of scores.csv, one after the other."""
    path, models = one.folder / SCORES, one.models
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            lines = csv.reader(_short(path, file), strict=True)
            head = next(lines, [])
            if tuple(head[:3]) != _FIRST or not set(metrics) <= set(head):
                raise _no_scores(path, f"the columns {', '.join(head[:12])[:200]}")
            columns = [head.index(metric) for metric in metrics]
            for (image, scene), group in itertools.groupby(lines, key=lambda line: (line[0], line[1])):
                found = {line[2]: [float(line[column] or "nan") for column in columns] for line in group}
                yield image, scene, np.array([found[model] for model in models], np.float64)
    except (csv.Error, ValueError, IndexError, KeyError) as error:
        if isinstance(error, RefusedError):
            raise
        raise _no_scores(path, f"{type(error).__name__}: {str(error)[:200]}") from None


def _short(path: Path, file: Any) -> Iterator[str]:
    """The lines of a file; one without an end would be read into memory whole."""
    while line := file.readline(MOST_OF_LINE):
        if len(line) >= MOST_OF_LINE:
            raise _no_scores(path, f"a line of more than {MOST_OF_LINE:,} letters")
        yield line


def _no_scores(path: Path, received: str) -> RefusedError:
    return RefusedError(
        f"'{path}' cannot be read. Expected a line for each image and method, as aodnet evaluate writes them, received "
        f"{received}. Evaluate again into that folder, or leave it out."
    )


def _other_images(evaluations: Sequence[EvaluationFacts], places: Sequence[Any]) -> RefusedError:
    told = "; ".join(
        f"'{one.folder}' has {'no more image' if place is None else repr(place[0])[:100]}"
        for one, place in zip(evaluations, places, strict=True)
    )
    return RefusedError(
        "Evaluations that name the same pictures have other scores. Expected the same images in the same order, "
        f"received {told}. Evaluate again into these folders."
    )
