"""report.html of a training run: what was trained on what, how it went, and pictures that get better epoch by epoch.

All of it is read from the run folder. What the clock or the machine decides stands in the last section alone: runs that
are equal to the bit have equal bytes above it, as far as they were started by the same command.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from aodnet import journal, pages, run_facts, run_pictures
from aodnet.config import FitConfig
from aodnet.history import BEST, HISTORY
from aodnet.pages import Look
from aodnet.run_facts import RunFacts
from aodnet.sheets import Shown
from hazegen import charts, config, html
from hazegen.html import Markup, Part
from hazegen.progress import counted

FILES = {
    BEST: "weights of the best epoch, for aodnet evaluate, predict and export",
    "last.weights.h5": "weights of the last epoch",
    "config.yaml": "all settings; it can be given again as --config",
    HISTORY: "the figures of all epochs",
    "curves.png": "the same as curves",
    "validation": "pictures of each epoch",
    "checkpoints": "what --resume goes on from",
    "tensorboard": "the curves for TensorBoard",
    journal.FILE: "when the run began, went on and ended, and its warnings",
    "wandb.json": "where the run is at W&B",
}
WARNINGS_SHOWN = 20


def write(folder: Path) -> str:
    """The page of a run folder, as text.

    Raises:
        RefusedError: The folder cannot be read.
    """
    facts = run_facts.read(folder)
    pictures, problems = facts.read_pictures()
    return pages.fitting(lambda look: page(facts, pictures, problems, look))


def page(facts: RunFacts, pictures: dict[int, list[Shown]], problems: Sequence[str], look: Look) -> str:
    """The page with pictures of one size."""
    parts, contents = pages.sections(
        {
            "Pictures": run_pictures.epochs(facts, pictures, problems, look),
            "K": run_pictures.k_maps(pictures, look),
            "Curves": _curves(facts),
            "What happened": _happened(facts),
            "Data": data(facts),
            "Settings": [pages.settings(facts.config, _usual()), *_recipes(facts)],
            "Files and next commands": _files(facts),
            "Times and machine": _times(facts),
        }
    )
    title = f"Training run {pages.cut(facts.name, 100)}"
    return html.page(title, _tiles(facts), *parts, lead=_lead(facts), contents=contents)


def _lead(facts: RunFacts) -> str:
    sets = " and ".join(
        f"{_records(one, 'train')} of '{Path(str(one.get('folder'))).name}' (recipe {pages.cut(one.get('recipe'), 60)})"
        for one in facts.datasets[:4]
    )
    of = sets or counted(len(facts.digests), "dataset")
    return f"AOD-Net, {counted(facts.config.filters, 'filter')} a layer, trained on {of}. {status(facts)}"


def _records(one: dict[str, object], split: str) -> str:
    records = one.get("records")
    number = records.get(split) if isinstance(records, dict) else None
    unit = "scene" if one.get("kind") == "scenes" else "pair"
    return counted(number, unit) if isinstance(number, int) else f"{unit}s"


def status(facts: RunFacts) -> str:
    """How far the run has come, in a sentence."""
    done, wanted = len(facts.rows), facts.config.epochs
    if done >= wanted:
        return f"Finished: {counted(done, 'epoch')}."
    ends = [event for event in facts.events if event["event"] in (journal.BEGIN, journal.END)]
    how = (
        pages.cut(ends[-1].get("how", "")) if ends and ends[-1]["event"] == journal.END else "killed, or still running"
    )
    return f"Not finished: {done} of {counted(wanted, 'epoch')}; {how}. The same command with --resume goes on."


def _tiles(facts: RunFacts) -> Markup:
    best = facts.best
    told = [(f"{len(facts.rows)} of {facts.config.epochs}", "epochs")]
    if best:
        told += [
            (f"{best['val_psnr_rgb']:.2f} dB", f"validation PSNR, best epoch ({best['epoch']:.0f})"),
            (f"{best['val_ssim_rgb']:.4f}", "SSIM of that epoch"),
            (f"{best['val_loss']:.4g}", f"its loss, {facts.config.loss}"),
        ]
    told.append((f"{facts.config.batch} x {facts.config.crop} px", "batch and window"))
    if facts.rows and facts.rows[-1].get("lost"):
        told.append((f"{facts.rows[-1]['lost']:.0f}", "damaged records left out"))
    return html.tiles(told)


# --- figures ---


def _curves(facts: RunFacts) -> list[Part]:
    if not facts.rows:
        return []
    wanted = {
        "loss": {"training": "loss", "validation": "val_loss"},
        "validation PSNR [dB]": {"": "val_psnr_rgb"},
        "validation SSIM": {"": "val_ssim_rgb"},
        "learning rate": {"": "learning_rate"},
    }
    drawn = [_chart(facts, up, names) for up, names in wanted.items()]
    few = facts.some_rows(pages.MOST_ROWS)
    rows = [[f"{row['epoch']:.0f}", *(f"{row[n]:.5g}" for n in COLUMNS)] for row in few]
    head = ("epoch", *COLUMNS.values())
    left_out = "" if len(rows) == len(facts.rows) else f", {len(rows)} of {len(facts.rows)} (history.csv has all)"
    table = html.details(f"The figures of the epochs{left_out}", html.table(head, rows, numbers=range(len(head))))
    how = (
        "Validation: mean over whole validation pictures, protocol rgb in float32 without rounding; training: mean "
        "over the windows of the epoch."
    )
    return [html.grid(*drawn, least_px=340), html.paragraph(how, note=True), table]


COLUMNS = {
    "loss": "loss",
    "val_loss": "validation loss",
    "val_psnr_rgb": "PSNR [dB]",
    "val_ssim_rgb": "SSIM",
    "learning_rate": "learning rate",
}


def _chart(facts: RunFacts, up: str, names: dict[str, str]) -> Markup:
    rows = facts.some_rows(pages.MOST_POINTS)
    epochs = [row["epoch"] for row in rows]
    series = {told: (epochs, [row[name] for row in rows]) for told, name in names.items()}
    return pages.chart(up, charts.lines(series, "epoch", up, above=True))


# --- words ---


def _happened(facts: RunFacts) -> list[Part]:
    """Starts and ends without their times, and warnings."""
    told: list[Part] = []
    warnings = [pages.cut(event.get("text")) for event in facts.events if event["event"] == journal.WARNING]
    begins = [event for event in facts.events if event["event"] == journal.BEGIN]
    for event in begins[1:]:
        at = (event.get("epoch"), event.get("step"))
        if isinstance(at[0], int):
            told.append(f"Resumed at epoch {at[0] + 1}, step {pages.cut(at[1])}.")
    for event in facts.events:
        if event["event"] == journal.END and event.get("how") != "ended":
            told.append(f"Ended early: {pages.cut(event.get('how'))}")
    half = WARNINGS_SHOWN // 2  # of many, the first and the last: each epoch may say that a record is lost
    between = len(warnings) - 2 * half
    told += [f"Warning: {text}" for text in warnings[:half]]
    if between > 0:
        told.append(f"... {counted(between, 'more warning')} between, in {journal.FILE} ...")
    told += [f"Warning: {text}" for text in warnings[half:][-half:]]
    told += [f"Left out because of numbers that are not finite: {text}." for text in _skipped(facts)]
    if not facts.events:
        return [html.paragraph("The folder has no journal: it is of an older version.")]
    return [html.bullets(told) if told else html.paragraph("No resume, no rollback, no record lost, no warning.")]


def _skipped(facts: RunFacts) -> list[str]:
    """Batches that were left out, by epoch and step."""
    ends = [event for event in facts.events if event["event"] == journal.END]
    skipped = ends[-1].get("skipped") if ends else None
    if not isinstance(skipped, list):
        return []
    pairs = [one for one in skipped[:WARNINGS_SHOWN] if isinstance(one, list) and len(one) == 2]
    return [f"step {pages.cut(step)} of epoch {pages.cut(epoch)}" for epoch, step in pairs]


def data(facts: RunFacts) -> list[Part]:
    """What was trained on."""
    if not facts.datasets:
        rows = [(digest,) for digest in facts.digests]
        return [html.table(("digest of the dataset",), rows)]
    steps = facts.begun.get("steps")
    of = f" of {counted(facts.config.batch, 'example')}"
    told = html.paragraph(f"An epoch has {counted(steps, 'step')}{of}.") if isinstance(steps, int) else None
    return [*map(_dataset, facts.datasets[: pages.MOST_ROWS]), told]


def _dataset(one: dict[str, object]) -> Markup:
    weight = [("weight", pages.cut(one["weight"], 20))] if one.get("weight") is not None else []
    rows: list[tuple[str, Part]] = [
        ("folder", pages.cut(one.get("folder"), 200)),
        ("kind", pages.cut(one.get("kind"), 20)),
        ("recipe", pages.cut(one.get("recipe"), 100)),
        ("records", _counts(one)),
        *weight,
        ("digest", html.element("code", pages.cut(one.get("digest"), 64))),
    ]
    return pages.facts(rows)


def _counts(one: dict[str, object]) -> str:
    records = one.get("records")
    if not isinstance(records, dict):
        return ""
    return ", ".join(f"{pages.cut(number, 12)} {pages.cut(split, 20)}" for split, number in list(records.items())[:5])


def _usual() -> dict[str, object]:
    """What `aodnet fit` trains with unless it is told otherwise, where that is not FitConfig's default."""
    return config.read_config(config.config_folder() / "training" / "default.yaml", FitConfig)


def _recipes(facts: RunFacts) -> list[Part]:
    told = [line.removeprefix("# recipe ") for line in facts.head if line.startswith("# recipe ")]
    return [html.details("Recipes of the haze that was drawn", html.code("\n".join(told)[:20_000]))] if told else []


def _files(facts: RunFacts) -> list[Part]:
    rows = [(html.element("code", name), told) for name, told in FILES.items() if (facts.folder / name).exists()]
    next_ones = commands(facts)
    return [html.table(("file", "what it is"), rows), html.code("\n".join(next_ones)) if next_ones else None]


def commands(facts: RunFacts) -> list[str]:
    """What may be typed next."""
    run = facts.folder.resolve().name
    if not facts.best:
        command = str(facts.begun.get("command") or "")[:8000]
        return [command if "--resume" in command.split() else f"{command} --resume"] if command else []
    tested = [(str(one.get("folder")), isinstance(of := one.get("records"), dict) and bool(of.get("test")))
              for one in facts.datasets]  # fmt: skip
    predict = shlex.join(["aodnet", "predict", "photos", "--model", f"{run}/{BEST}", "--out", "restored"])
    return [*evaluations(run, tested), predict, f"{shlex.join(['aodnet', 'compare', run])} ANOTHER_RUN"]


def evaluations(run: str, tested: Sequence[tuple[str, bool]]) -> list[str]:
    """A command for each dataset (its folder, and whether it has test pictures) that evaluates a run's best weights."""
    commands = []
    for number, (folder, has_test) in enumerate(tested, start=1):
        out = ("--out", f"runs/evaluation-{number}") if len(tested) > 1 else ()
        split = () if has_test else ("--split", "validation")
        words = ("aodnet", "evaluate", "--model", f"{run}/{BEST}", "--data", folder, *out, *split)
        commands.append(shlex.join(words))
    return commands


# --- of the clock and the machine ---


def _times(facts: RunFacts) -> list[Part]:
    parts: list[Part] = [
        html.paragraph("What stands here differs between equal runs; all above does not.", note=True),
    ]
    if facts.begun.get("command"):
        parts += [pages.heading("Command"), html.code(str(facts.begun["command"])[:8000])]
    rows = [[pages.cut(event.get(name, ""), 120) for name in ("time", "event", "device", "how", "seconds")]
            for event in facts.events if event["event"] != journal.WARNING]  # fmt: skip
    if rows:
        few = rows if len(rows) <= pages.MOST_ROWS else [*rows[:20], *rows[20 - pages.MOST_ROWS :]]
        parts.append(html.table(("time (UTC)", "event", "device", "how", "seconds"), few))
    versions = facts.begun.get("versions")
    if isinstance(versions, dict):
        told = [(pages.cut(name, 60), pages.cut(text, 80)) for name, text in list(versions.items())[:20]]
        parts.append(pages.facts(told))
    if facts.rows:
        drawn = [
            _chart(facts, "share of the time waiting for data", {"": "data_wait"}),
            _chart(facts, "images a second", {"": "images_per_s"}),
        ]
        parts.append(html.grid(*drawn, least_px=340))
    return parts
