"""report.html of an evaluation: its tables beside the baselines, figures by haze, and pictures to look at.

Nothing in it is of the clock: the same evaluation by the same command gives the same bytes.
"""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aodnet import detection_page, figures, levels, pages, reports
from aodnet.detection_report import FOLDER
from aodnet.levels import IMAGE_BOUNDS, POOLED, TITLES, Bin
from aodnet.measures import HAZY, Measures
from aodnet.pages import Look
from aodnet.reports import Report
from aodnet.sheets import CLEAN, Shown
from hazegen import charts, html, manifest
from hazegen.html import Markup, Part
from hazegen.progress import counted

FILES = {
    "table.md": "the same tables as Markdown",
    "scores.csv": "each method on each image",
    "summary.json": "all figures, and what decides them",
    "strip.png": "the pictures above as one",
    "levels.csv": "figures by haze and by distance",
    "levels.png": "the same as curves",
    FOLDER: "objects: boxes, counts and pictures",
}


@dataclass(frozen=True)
class Done:
    """An evaluation with what it was started by.

    Attributes:
        report: What it found.
        out: Its folder.
        models: SHA-256 of the weights by their names in the table, and their files.
        measures: What was measured.
        command: What was typed.
        objects: What summary.json of the detection holds; None without a detector.
    """

    report: Report
    out: Path
    models: Mapping[str, tuple[Path, str]]
    measures: Measures
    command: str = ""
    objects: Mapping[str, Any] | None = field(default=None)

    @property
    def model(self) -> str:
        """The model that ranks the pictures: the last one."""
        return [name for name in self.report.table if name in self.models][-1]


def write(done: Done) -> str:
    """The page, as text."""
    return pages.fitting(lambda look: page(done, look))


def page(done: Done, look: Look) -> str:
    """The page with pictures of one size."""
    report = done.report
    parts, contents = pages.sections(
        {
            "Pictures": _pictures(done, look),
            "Figures": _figures(report),
            "Differences": _differences(report),
            "By haze": _by_level(report),
            "Without its surroundings": _ablation(report),
            "Objects": [] if done.objects is None else detection_page.objects(done.objects, done.out, look),
            "Data": _data(done),
            "Command, models and settings": _settings(done),
            "Files and next commands": _files(done),
        }
    )
    kind = counted(report.images, "pair" if report.source.has_clean else "hazy image")
    names = " and ".join(pages.cut(name, 60) for name in list(done.models)[:4])
    lead = f"{names} on {kind} of {counted(report.scenes, 'scene')}: {where(done)}."
    title = f"Evaluation {pages.cut(done.out.resolve().name, 100)}"
    return html.page(title, _tiles(done), *parts, lead=lead, contents=contents)


def where(done: Done) -> str:
    """Where the pictures came from."""
    source = done.report.source
    if source.data is not None:
        return f"split {source.split} of '{pages.cut(Path(source.data).name, 200)}'"
    folders = [folder for folder in (source.pairs, source.hazy, source.clean) if folder is not None]
    return " and ".join(f"'{pages.cut(Path(folder).name, 200)}'" for folder in folders)


def _tiles(done: Done) -> Markup:
    """The first metrics of the last model, and how far they are from the hazy input's."""
    report, told = done.report, [(f"{done.report.images:,}", "images")]
    own, hazy = report.table[done.model], report.table[HAZY]
    for metric in report.metrics[:3]:
        gain = figures.fixed(own[metric].mean - hazy[metric].mean, metric, "+")
        told.append((figures.fixed(own[metric].mean, metric), f"{figures.heading(metric)}, {gain} against hazy"))
    return html.tiles(told)


# --- pictures ---


def _pictures(done: Done, look: Look) -> list[Part]:
    report = done.report
    ranked = f"by {figures.heading(report.metrics[0])} of {pages.cut(done.model, 80)}" if report.source.has_clean else (
        f"by the {figures.heading(report.metrics[0])} of the hazy pictures"
    )  # fmt: skip
    what = "Best, median and worst image" if report.source.has_clean else "Images with least, median and most haze"
    psnr = " PSNR here: of 8 bits, rgb." if report.source.has_clean else ""
    told = f"{what} {ranked}. The edge in a picture follows the mouse, a tap or the arrow keys.{psnr}"
    return [html.paragraph(told), *(_picture(done, one, n, look) for n, one in enumerate(report.shown))]


def _picture(done: Done, one: Shown, number: int, look: Look) -> Markup:
    """Hazy beside restored, restored beside clean, and all methods in small."""
    name, model = pages.cut(one.row.name, 100), pages.cut(done.model, 40)
    hazy, restored, clean = (one.tile(what) for what in (HAZY, done.model, CLEAN))
    assert hazy is not None
    assert restored is not None
    gain = f"hazy {pages.decibel(one.psnr(HAZY))}, {model} {pages.decibel(one.psnr(done.model))}"
    left_out = "hazy and restored"
    sliders = [look.slider((hazy, restored), ("hazy", model), f"a-{number}", gain if clean is not None else left_out)]
    if clean is not None:
        sliders.append(look.slider((restored, clean), (model, CLEAN), f"b-{number}", "restored and clean"))
    small = look.at_most(220)
    all_of_them = [
        small.figure(
            pixels, f"{pages.cut(what, 60)}{'' if psnr is None else f', {psnr:.2f} dB'}", alt=f"{name}: {what}"
        )
        for pixels, (what, psnr) in zip(one.pixels, one.row.tiles, strict=True)
    ]
    title = pages.heading(f"{pages.cut(one.row.rank, 60).capitalize()}: {name}")
    return html.join([title, html.grid(*sliders, least_px=440), html.grid(*all_of_them, least_px=150)])


# --- tables ---


def _figures(report: Report) -> list[Part]:
    reading = reports.reading(report.source, report.recipe)
    few = ""
    if report.scenes < figures.ENOUGH:
        few = f" {counted(report.scenes, 'scene')}: too few for intervals and p, which are too sure."
    told = f"Mean, 95 % bootstrap interval of the mean over scenes, and median.{few} Pictures {reading}."
    parts: list[Part] = [html.paragraph(told)]
    for protocol in report.protocols:
        own = [f"psnr_{protocol.name}", f"ssim_{protocol.name}"]
        own += ["ciede2000"] if protocol == report.protocols[0] else []
        defined = html.paragraph(reports.protocol_text(protocol, report.source), note=True)
        parts += [pages.heading(f"Protocol {protocol.name}"), _table(report, own), defined]
    others = [metric for metric in report.metrics if not figures.kind(metric)[1] and metric != "ciede2000"]
    if others:
        parts += [pages.heading("Without reference (docs/evaluation.md says what each is)"), _table(report, others)]
    return parts


def _table(report: Report, columns: Sequence[str]) -> Markup:
    rows = [
        [pages.cut(name, 80), *(pages.interval(row[metric], metric) for metric in columns)]
        for name, row in report.table.items()
    ]
    return html.table(["method", *map(figures.title, columns)], rows)


def _differences(report: Report) -> list[Part]:
    """Of each method to the one that was asked for; summary.json has those of cut models too."""
    if not report.differences:
        return []
    rows = [
        [pages.cut(name, 80), *(pages.signed(row[metric], metric) for metric in report.metrics)]
        for name, row in report.differences.items()
        if name not in report.cuts
    ]
    told = pages.figures_of(str(report.compared_to), report.scenes, report.images)
    return [html.paragraph(told), html.table(["method", *map(figures.heading, report.metrics)], rows)]


def _ablation(report: Report) -> list[Part]:
    if not report.gains:
        return []
    metric = report.metrics[0]
    rows = [
        [pages.cut(name, 80), *(pages.signed(one, metric) for one in row.values())]
        for name, row in report.gains.items()
    ]
    told = (
        f"Gain from surroundings in {figures.heading(metric)}: each model less itself with a cut, with interval and p "
        "(docs/evaluation.md). Without any gain the network is a tone curve."
    )
    return [html.paragraph(told), html.table(["model", *next(iter(report.gains.values()))], rows)]


# --- by haze ---


def _by_level(report: Report) -> list[Part]:
    methods = reports.shown_methods(report)
    drawn, tables = list[Part](), list[Part]()
    for level in levels.shown(report.bins):
        bins = [one for one in report.bins if one.level == level]
        wanted = {metric: figures.heading(metric) for metric in report.metrics[:2]} if level in IMAGE_BOUNDS else {
            POOLED: "PSNR [dB] of all pixels"
        }  # fmt: skip
        for metric, title in wanted.items():
            drawn.append(_chart(bins, methods, metric, f"{title} by {TITLES[level]}"))
            of = "images" if level in IMAGE_BOUNDS else "pixels"
            rows = [
                [one.label, f"{one.count:,}", *(_number(one.values[name][metric], metric) for name in methods)]
                for one in bins
            ]
            head = (TITLES[level], of, *(pages.cut(name, 60) for name in methods))
            tables += [pages.heading(title), html.table(head, rows, numbers=range(1, len(head)))]
    return [html.grid(*drawn, least_px=340), *tables] if drawn else []


def _chart(bins: Sequence[Bin], methods: Sequence[str], metric: str, title: str) -> Markup:
    series = {pages.cut(name, 60): [one.values[name][metric] for one in bins] for name in methods}
    return pages.chart(title, charts.named_lines([one.label for one in bins], series, TITLES[bins[0].level], title))


def _number(value: float, metric: str) -> str:
    return "-" if math.isnan(value) else figures.fixed(value, metric)


# --- what decides the figures ---


def _data(done: Done) -> list[Part]:
    report, source = done.report, done.report.source
    rows: list[tuple[str, Part]] = [("pictures", f"{where(done)}, {counted(report.images, 'image')}")]
    if source.data is not None:
        known = manifest.load(source.data)
        rows += [
            ("kind and recipe", f"{known.kind}, {pages.cut(known.recipe.get('name'), 100)}"),
            ("digest of the dataset", html.element("code", manifest.digest(known))),
        ]
    if report.recipe is not None:
        rows.append(("haze drawn from recipe", pages.cut(report.recipe.name, 100)))
    rows.append(("digest of all pictures", html.element("code", report.pictures)))
    if report.worst:
        low = ", ".join(f"{pages.cut(name, 80)} ({value:.2f})" for name, value in report.worst)
        rows.append((f"lowest {figures.heading(report.metrics[0])} of {pages.cut(done.model, 60)}", low))
    return [pages.facts(rows)]


def _settings(done: Done) -> list[Part]:
    rows = [
        (pages.cut(name, 80), pages.cut(Path(path).name, 200), html.element("code", digest))
        for name, (path, digest) in done.models.items()
    ]
    command = [html.code(done.command[:8000])] if done.command else []
    models = html.table(("model", "file", "SHA-256"), rows)
    return [*command, models, pages.heading("Pictures"), pages.settings(done.report.source),
            pages.heading("Measures"), pages.settings(done.measures)]  # fmt: skip


def _files(done: Done) -> list[Part]:
    rows = [
        (html.element("code", name), told)
        for name, told in FILES.items()
        if (done.out / name).exists() and (name != FOLDER or done.objects is not None)  # else of an evaluation before
    ]
    return [html.table(("file", "what it is"), rows), html.code("\n".join(commands(done)))]


def commands(done: Done) -> list[str]:
    """What may be typed next."""
    model = Path(done.models[done.model][0]).name
    predict = shlex.join(["aodnet", "predict", "photos", "--model", model, "--out", "restored"])
    return [predict, f"{shlex.join(['aodnet', 'compare', done.out.resolve().name])} ANOTHER_EVALUATION"]
