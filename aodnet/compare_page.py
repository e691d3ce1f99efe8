"""What `aodnet compare` writes: one page of several runs and evaluations. The same folders give the same bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from aodnet import compare, figures, pages, run_report, sheets
from aodnet.compare import Compared
from aodnet.evaluation_facts import STRIP, EvaluationFacts, Held
from aodnet.measures import HAZY
from aodnet.pages import Look
from aodnet.run_facts import RunFacts
from aodnet.sheets import CLEAN, Shown
from hazegen import charts, html
from hazegen.errors import RefusedError
from hazegen.html import Markup, Part
from hazegen.progress import counted

CURVES = {
    "training loss": "loss",
    "validation loss": "val_loss",
    "validation PSNR [dB]": "val_psnr_rgb",
    "validation SSIM": "val_ssim_rgb",
    "learning rate": "learning_rate",
    "share of the time waiting for data": "data_wait",
    "images a second": "images_per_s",
}
# What the pictures of a run, or of an evaluation, show: by name of the picture, its row in each folder.
Rows = dict[str, dict[str, Shown]]


def write(compared: Compared) -> str:
    """The page, as text."""
    runs, problems = _of_runs(compared.runs)
    strips, more = _of_evaluations(compared.evaluations)
    return pages.fitting(lambda look: _page(compared, runs, strips, [*problems, *more], look))


def _page(compared: Compared, runs: Rows, strips: Rows, problems: Sequence[str], look: Look) -> str:
    parts, contents = pages.sections(
        {
            "What cannot be compared": [_warnings(compared)] if compared.warnings else [],
            "Runs": _runs(compared.runs),
            "What differs": _differing(compared),
            "Curves": _curves(compared.runs),
            "Figures": _figures(compared),
            "Differences": [part for held in compared.groups for part in _differences(compared, held)],
            "Pictures of the runs": _run_pictures(runs, look),
            "Pictures of the evaluations": _evaluation_pictures(compared, strips, look),
            "Pictures that could not be read": [html.bullets(map(pages.cut, problems))] if problems else [],
            "Data": _data(compared),
        }
    )
    told = " and ".join(
        counted(len(of), what) for of, what in ((compared.runs, "run"), (compared.evaluations, "evaluation")) if of
    )
    names = ", ".join(pages.cut(name, 60) for name in compared.names)
    return html.page(f"Comparison of {told}", *parts, lead=names, contents=contents)


def _warnings(compared: Compared) -> Markup:
    return html.bullets(html.element("strong", text) for text in compared.warnings)


# --- tables ---


def _runs(runs: Mapping[str, RunFacts]) -> list[Part]:
    if not runs:
        return []
    rows = [
        [
            pages.cut(name, 100),
            f"{len(run.rows)} of {run.config.epochs}",
            *compare.best(run),
            str(compare.warned(run)),
            pages.cut(run.begun.get("device", ""), 60),
        ]
        for name, run in runs.items()
    ]
    head = ("run", "epochs", "best epoch", "PSNR [dB]", "SSIM", "validation loss", "warnings", "device")
    how = "Of the best epoch: mean over whole validation pictures, protocol rgb in float32 without rounding."
    return [html.table(head, rows, numbers=range(1, 7)), html.paragraph(how, note=True)]


def _differing(compared: Compared) -> list[Part]:
    parts: list[Part] = []
    for names, settings in (
        (list(compared.runs), {name: compare.settings_of(run) for name, run in compared.runs.items()}),
        (
            list(compared.evaluations),
            {name: compare.settings_of_evaluation(one) for name, one in compared.evaluations.items()},
        ),
    ):
        if len(names) < 2:
            continue
        changed = compare.differing(settings)
        rows = [[pages.cut(key, 60), *(pages.shown(value) for value in values)] for key, values in changed.items()]
        head = ["", *(pages.cut(name, 60) for name in names)]
        parts.append(
            html.table(head, rows) if rows else html.paragraph("Nothing: settings, data and versions are equal.")
        )
    return parts


def _curves(runs: Mapping[str, RunFacts]) -> list[Part]:
    if not any(run.rows for run in runs.values()):
        return []
    some = {name: run.some_rows(pages.MOST_POINTS) for name, run in runs.items()}
    drawn = []
    for title, column in CURVES.items():
        series = {
            pages.cut(name, 40): ([row["epoch"] for row in rows], [row[column] for row in rows])
            for name, rows in some.items()
            if rows
        }
        drawn.append(pages.chart(title, charts.lines(series, "epoch", title, above=True)))
    note = "The last two are of the clock: they differ between equal runs."
    return [html.grid(*drawn, least_px=340), html.paragraph(note, note=True)]


def _figures(compared: Compared) -> list[Part]:
    if not compared.evaluations:
        return []
    metrics = compare.metrics_of(compared)
    rows = [[pages.cut(name, 140), *cells] for name, cells in compare.means(compared, metrics)]
    head = ["evaluation: method", *map(figures.heading, metrics)]
    how = "Means over images; baselines of the same pictures stand here once. Each report defines its protocols."
    return [html.table(head, rows, numbers=range(1, len(head))), html.paragraph(how, note=True)]


def _differences(compared: Compared, held: Held) -> list[Part]:
    told = pages.figures_of(compared.row_name(held.against), held.scenes, held.images)
    rows = [
        [pages.cut(compared.row_name(row), 140), *(pages.signed(one[m], m) for m in held.metrics)]
        for row, one in held.differences.items()
    ]
    return [html.paragraph(told), html.table(["evaluation", *map(figures.heading, held.metrics)], rows)]


# --- pictures ---


def _of_runs(runs: Mapping[str, RunFacts]) -> tuple[Rows, list[str]]:
    """The rows of each run's best epoch."""
    found, problems = Rows(), list[str]()
    for name, run in runs.items():
        epoch = int(run.best.get("epoch", 0))
        if epoch in run.pictures:
            _read(name, run.pictures[epoch], found, problems)
    return found, problems


def _of_evaluations(evaluations: Mapping[str, EvaluationFacts]) -> tuple[Rows, list[str]]:
    found, problems = Rows(), list[str]()
    for name, one in evaluations.items():
        if (one.folder / STRIP).is_file():
            _read(name, one.folder / STRIP, found, problems)
    return found, problems


def _read(name: str, path: Path, found: Rows, problems: list[str]) -> None:
    try:
        rows = sheets.read(path)
    except (RefusedError, OSError) as error:
        problems.append(f"{name}: {error}")
        return
    if not rows:
        problems.append(f"{name}: '{path}' is of an older version, which does not say what it shows.")
    for row in rows:
        found.setdefault(row.row.name, {})[name] = row


def _run_pictures(rows: Rows, look: Look) -> list[Part]:
    """The same validation picture after the best epoch of each run, with K."""
    small, parts = look.at_most(280), list[Part]()
    for picture, of in rows.items():
        any_row = next(iter(of.values()))
        tiles = [_tile(any_row, "hazy", "hazy", small)]
        tiles += [_tile(row, "restored", name, small) for name, row in of.items()]
        tiles += [_tile(any_row, "clean", "clean", small)]
        of_k = [_tile(row, "K", f"K of {name}", small) for name, row in of.items()]
        grids = (html.grid(*tiles, least_px=180), html.grid(*of_k, least_px=180))
        parts += [pages.heading(pages.cut(picture, 100)), *grids]
    return (
        [html.paragraph("Validation pictures after the best epoch of each run."), *parts, pages.k_scale()]
        if parts
        else []
    )


def _evaluation_pictures(compared: Compared, rows: Rows, look: Look) -> list[Part]:
    """A picture of a strip in each evaluation that shows it."""
    small, parts = look.at_most(280), list[Part]()
    for picture, of in sorted(rows.items(), key=lambda item: -len(item[1])):
        any_row = next(iter(of.values()))
        tiles = [_tile(any_row, HAZY, "hazy", small)]
        for name, row in of.items():
            tiles += [_tile(row, model, f"{name}: {model}", small) for model in compared.evaluations[name].models]
        tiles.append(_tile(any_row, CLEAN, "clean", small))
        ranks = "; ".join(f"{row.row.rank} of {name}" for name, row in of.items())
        parts += [
            pages.heading(f"{pages.cut(picture, 100)} ({pages.cut(ranks, 200)})"),
            html.grid(*tiles, least_px=180),
        ]
    return parts


def _tile(row: Shown, what: str, told: str, look: Look) -> Markup | None:
    pixels, psnr = row.tile(what), row.psnr(what)
    if pixels is None:
        return None
    text = pages.cut(told, 100)
    return look.figure(
        pixels, text if psnr is None else f"{text}, {pages.decibel(psnr)}", alt=f"{row.row.name}: {text}"
    )


# --- data ---


def _data(compared: Compared) -> list[Part]:
    parts: list[Part] = []
    for name, run in compared.runs.items():
        parts += [pages.heading(f"{pages.cut(name, 100)}: {run_report.status(run)}"), *run_report.data(run)]
    rows = [
        (pages.cut(name, 100), pages.cut(one.summary.get("pairs"), 20),
         html.element("code", pages.cut(one.summary.get("pictures"), 64)),
         html.element("code", pages.cut(one.summary.get("dataset", "no dataset of hazegen"), 64)))
        for name, one in compared.evaluations.items()
    ]  # fmt: skip
    head = ("evaluation", "images", "digest of all pictures", "digest of the dataset")
    return [*parts, html.table(head, rows)] if rows else parts
