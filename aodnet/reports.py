"""What an evaluation found, and the files and tables that tell it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2

from aodnet import level_plot, levels, markdown
from aodnet.figures import ENOUGH, fixed, heading, kind, signed, title
from aodnet.levels import Bin
from aodnet.pairs import Source
from aodnet.protocols import Protocol
from aodnet.sheets import Shown
from aodnet.significance import KEPT, Difference, Interval
from hazegen import manifest, stores
from hazegen.progress import counted
from hazegen.recipe import Recipe

Table = dict[str, dict[str, Interval]]


@dataclass(frozen=True)
class Report:
    """All that an evaluation found.

    Attributes:
        images, scenes: How many were scored.
        protocols: Definitions of PSNR and SSIM; none where there are no clean images.
        metrics: Columns, in order.
        table: For each method, in order, its interval for each metric.
        compared_to: The method that the others are compared to.
        differences: Of each other method, for each metric, less that one's.
        gains: For each model what each cut of `ablation` costs it, in dB of the first metric.
        bins: Means by haze level and by pixels.
        worst: Images that the last model scores lowest, and those scores.
        pictures: SHA-256 of names and pixels of all that was scored.
        cuts: The rows of models without their surroundings.
        recipe: Of scenes: what their haze was drawn from.
        source: Where the pictures came from.
        shown: The rows of strip.png: the best, the median and the worst image in small.
    """

    images: int
    scenes: int
    protocols: tuple[Protocol, ...]
    metrics: tuple[str, ...]
    table: Table
    compared_to: str | None
    differences: dict[str, dict[str, Difference]]
    gains: dict[str, dict[str, Difference]]
    bins: tuple[Bin, ...]
    worst: tuple[tuple[str, float], ...]
    pictures: str
    cuts: tuple[str, ...]
    recipe: Recipe | None
    source: Source = field(compare=False)
    shown: tuple[Shown, ...] = field(default=(), compare=False)


def write(out: Path, report: Report) -> None:
    """Leaves table.md, where there are levels levels.csv and levels.png, and last summary.json in `out`."""
    _write(out / "table.md", (format_report(report) + "\n").encode("utf-8", "surrogateescape"))
    if report.bins:
        panels = {metric: heading(metric) for metric in report.metrics[:2]}
        _write(out / "levels.csv", levels.csv_of(report.bins).encode("utf-8", "surrogateescape"))
        _write(out / "levels.png", level_plot.plot(report.bins, panels, report.cuts))
    else:  # of an evaluation before into the same folder
        for name in ("levels.csv", "levels.png"):
            (out / name).unlink(missing_ok=True)
    _write(out / "summary.json", (json.dumps(_summary(report), indent=1) + "\n").encode())


def _write(path: Path, content: bytes) -> None:
    with stores.whole_file(path) as file:
        file.write(content)


def format_report(report: Report) -> str:
    """The tables as Markdown, each with the protocol that its figures belong to."""
    parts = [_head(report), *_tables(report)]
    if report.differences:
        parts.append(_differences(report))
    if report.gains:
        parts.append(_gains(report))
    if report.bins:
        parts.append(levels.tables(report.bins, report.metrics[0], heading(report.metrics[0]), report.cuts))
    if report.worst:
        listed = ", ".join(f"{markdown.cell(name)} ({value:.2f})" for name, value in report.worst)
        parts.append(f"Lowest {heading(report.metrics[0])} of {list(shown_methods(report))[-1]}: {listed}.")
    return "\n\n".join(parts)


def shown_methods(report: Report) -> list[str]:
    """All methods but the models without their surroundings."""
    return [name for name in report.table if name not in report.cuts]


def _head(report: Report) -> str:
    number = counted(report.images, "pair" if report.source.has_clean else "hazy image")
    few = (
        ""
        if report.scenes >= ENOUGH
        else f" {counted(report.scenes, 'scene')}: too few for intervals and p, which are too sure."
    )
    middle = "" if report.images <= KEPT else f" Medians: of {KEPT:,} images drawn at random."
    return (
        f"{number} of {counted(report.scenes, 'scene')}; {reading(report.source, report.recipe)}.\n"
        f"Each cell: mean (median), 95 % bootstrap interval of the mean over scenes.{few}{middle}"
    )


def reading(source: Source, recipe: Recipe | None) -> str:
    """What decides the figures beside the pictures and the protocol."""
    parts = [f"decoded by OpenCV {cv2.__version__}", "output rounded to 8 bits"]
    if recipe is not None:
        which = "the dataset's own recipe" if source.recipe is None else "recipe"
        parts.append(f"haze drawn once a scene from {which} '{recipe.name}', not encoded")
    return ", ".join(parts)


def protocol_text(protocol: Protocol, source: Source) -> str:
    """One protocol as it was used."""
    cut = "sizes cut to the common centre" if source.align == "crop" else "full size"
    return f"float64, each image by itself, output rounded to 8 bits, RGB, range 255, {cut}; {protocol.definition}"


def _tables(report: Report) -> list[str]:
    """One table for the first protocol, one for all of them, and one for what needs no clean image."""
    parts, others = [], [metric for metric in report.metrics if not kind(metric)[1] and metric != "ciede2000"]
    if report.protocols:
        first = report.protocols[0]
        own = [f"psnr_{first.name}", f"ssim_{first.name}", "ciede2000"]
        head = f"Protocol {first.name}: {protocol_text(first, report.source)}; {counted(report.images, 'pair')}."
        parts.append(f"{head}\n\n{_grid(report.table, own, _cell)}")
    if len(report.protocols) > 1:
        parts.append(_by_protocol(report))
    if others:
        parts.append(f"Without reference (docs/evaluation.md):\n\n{_grid(report.table, others, _cell)}")
    return parts


def _by_protocol(report: Report) -> str:
    """Means alone, a row for each protocol and a column for each method."""

    def cell(protocol: Protocol, name: str) -> str:
        metrics = (f"psnr_{protocol.name}", f"ssim_{protocol.name}")
        return ", ".join(fixed(report.table[name][metric].mean, metric) for metric in metrics)

    rows = [[protocol.name, *(cell(protocol, name) for name in shown_methods(report))] for protocol in report.protocols]
    defined = "\n".join(f"- {protocol.name}: {protocol.definition}." for protocol in report.protocols[1:])
    grid = markdown.grid(["protocol", *shown_methods(report)], rows)
    return f"By protocol, means of PSNR [dB] and SSIM:\n\n{grid}\n\n{defined}"


def _grid(rows: Mapping[str, Mapping[str, Any]], columns: Sequence[str], cell: Any, first: str = "method") -> str:
    cells = [[name, *(cell(row[column], column) for column in columns)] for name, row in rows.items()]
    return markdown.grid([first, *map(title, columns)], cells)


def _differences(report: Report) -> str:
    """Of the first protocol, and of what has none; summary.json has those of all."""
    beside = [f"{metric}_{protocol.name}" for protocol in report.protocols[1:] for metric in ("psnr", "ssim")]
    columns = [metric for metric in report.metrics if metric not in beside]
    named = f" Protocol {report.protocols[0].name}." if report.protocols else ""
    rows = {name: row for name, row in report.differences.items() if name not in report.cuts}
    return (
        f"Less the figures of {report.compared_to}: difference, 95 % interval, p (two-sided, bootstrap over the same "
        f"{report.scenes} scenes).{named}\n\n{_grid(rows, columns, signed)}"
    )


def _gains(report: Report) -> str:
    cuts, metric = list(next(iter(report.gains.values()))), report.metrics[0]
    return (
        f"Gain from surroundings in {heading(metric)}: each model less itself with a cut: difference, interval, p."
        f"\n\n{_grid(report.gains, cuts, lambda one, _: signed(one, metric), 'model')}"
    )


def _cell(one: Interval, metric: str) -> str:
    mean, median, low, high = (fixed(value, metric) for value in vars(one).values())
    return f"{mean} ({median}), {low} to {high}"


def _as_json(one: Interval | Difference) -> dict[str, float | None]:
    """JSON has no infinity: the PSNR of equal images is null there."""
    return {name: _finite(value) for name, value in vars(one).items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _summary(report: Report) -> dict[str, Any]:
    def rows(of: Mapping[str, Mapping[str, Interval | Difference]]) -> dict[str, Any]:
        return {name: {metric: _as_json(one) for metric, one in row.items()} for name, row in of.items()}

    source = report.source
    content: dict[str, Any] = {
        "protocol": ",".join(protocol.name for protocol in report.protocols),
        "definition": {protocol.name: protocol_text(protocol, source) for protocol in report.protocols},
        "reading": reading(source, report.recipe),
        "pairs": report.images,
        "scenes": report.scenes,
        "medians": "of all images" if report.images <= KEPT else f"of {KEPT} images drawn at random",
        "methods": rows(report.table),
        "pictures": report.pictures,
        "version": version("hazegen"),
    }
    if report.compared_to is not None:
        content |= {"compared_to": report.compared_to, "differences": rows(report.differences)}
    if report.gains:
        content["gain_from_surroundings"] = rows(report.gains)
    if report.worst:
        content["worst"] = [{"image": name, report.metrics[0]: _finite(value)} for name, value in report.worst]
    if source.data is not None:
        content["dataset"] = manifest.digest(manifest.load(source.data))
    if report.recipe is not None:
        content["recipe"] = report.recipe.as_dict()
    return content
