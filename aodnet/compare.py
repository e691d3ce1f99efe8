"""aodnet compare: several runs and evaluations beside each other, what differs in them, and what cannot be told."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aodnet import evaluation_facts, figures, journal, markdown, pages, run_facts
from aodnet.evaluation_facts import EvaluationFacts, Held
from aodnet.run_facts import RunFacts
from hazegen import stores
from hazegen.errors import RefusedError, UsageError
from hazegen.progress import counted

# Folders that a page has room for.
MOST = 20


@dataclass(frozen=True)
class Compared:
    """What is compared.

    Attributes:
        names: Of the folders, each once, as short as tells them apart.
        runs: Training runs by their names.
        evaluations: Likewise.
        groups: Evaluations of the same pictures by the same protocols, held against each other.
        warnings: What must not be compared, in sentences.
    """

    names: tuple[str, ...]
    runs: Mapping[str, RunFacts]
    evaluations: Mapping[str, EvaluationFacts]
    groups: tuple[Held, ...]
    warnings: tuple[str, ...]

    def row_name(self, row: tuple[int, str]) -> str:
        """A model of an evaluation, as tables name it."""
        number, model = row
        folder = self.names[number]
        return folder if len(self.evaluations[folder].models) == 1 else f"{folder}: {model}"


def compare(folders: Sequence[Path]) -> Compared:
    """Reads all folders, and holds evaluations of the same pictures against each other.

    Raises:
        UsageError: Fewer than two folders, too many, or one twice.
        RefusedError: One of them is neither a run nor an evaluation, or cannot be read.
    """
    names = _names(folders)
    runs, evaluations = dict[str, RunFacts](), dict[str, EvaluationFacts]()
    for name, folder in zip(names, folders, strict=True):
        if run_facts.is_run(folder):
            runs[name] = run_facts.read(folder)
        elif evaluation_facts.is_evaluation(folder):
            evaluations[name] = evaluation_facts.read(folder)
        else:
            received = "a folder without them" if folder.is_dir() else "no folder"
            raise RefusedError(
                f"'{folder}' is neither a run nor an evaluation. Expected the folder of aodnet fit, with "
                f"{run_facts.CONFIG}, or of aodnet evaluate, with {evaluation_facts.SUMMARY} and "
                f"{evaluation_facts.SCORES}, received {received}. Correct the path."
            )
    groups = _hold(names, evaluations)
    return Compared(tuple(names), runs, evaluations, groups, tuple(_warnings(runs, evaluations)))


def _names(folders: Sequence[Path]) -> list[str]:
    if not 2 <= len(folders) <= MOST:
        raise UsageError(
            f"There is nothing to compare. Expected 2 to {MOST} folders of runs or evaluations, received "
            f"{len(folders)}. Name them after 'aodnet compare'."
        )
    resolved = [stores.on_disk(folder, "a run").resolve() for folder in folders]
    if len(set(resolved)) < len(resolved):
        raise UsageError(
            f"A folder is given twice. Expected different ones, received {', '.join(map(str, folders))}. Leave one out."
        )
    most = max(len(path.parts) for path in resolved)
    return next(
        names
        for count in range(1, most + 1)
        if len(set(names := ["/".join(path.parts[-count:]) for path in resolved])) == len(resolved)
    )


def _hold(names: Sequence[str], evaluations: Mapping[str, EvaluationFacts]) -> tuple[Held, ...]:
    alike: dict[tuple[str, str], dict[int, EvaluationFacts]] = {}
    for name, one in evaluations.items():
        if one.models:
            alike.setdefault(one.what, {})[names.index(name)] = one
    groups = [group for group in alike.values() if len(group) > 1]
    return tuple(evaluation_facts.hold(group) for group in groups if evaluation_facts.common(list(group.values())))


def _warnings(runs: Mapping[str, RunFacts], evaluations: Mapping[str, EvaluationFacts]) -> Iterable[str]:
    if len({run.digests for run in runs.values()}) > 1:
        yield (
            "These runs have other datasets: their losses, PSNR and SSIM are of other validation pictures and cannot "
            "be compared. Evaluate their weights on one dataset, and compare the evaluations."
        )
    elif len({(run.config.validation_crop, run.config.recipe) for run in runs.values()}) > 1:
        yield "These runs were validated with other crops or recipes: their PSNR and SSIM cannot be compared."
    if len({run.config.loss for run in runs.values()}) > 1:
        yield "These runs have other losses: the values of the loss cannot be compared; PSNR and SSIM can."
    if len({one.what[0] for one in evaluations.values()}) > 1:
        yield "These evaluations scored other pictures: their figures cannot be compared."
    elif len({one.what[1] for one in evaluations.values()}) > 1:
        yield "These evaluations read their pictures by other decoders or recipes: their figures cannot be compared."
    for metric in dict.fromkeys(metric for one in evaluations.values() for metric in one.metrics):
        if len({one.definition(metric) for one in evaluations.values() if metric in one.metrics}) > 1:
            yield f"{figures.heading(metric)} is defined otherwise in some of these evaluations."
    for name, run in runs.items():
        if len(run.rows) < run.config.epochs:
            yield f"{name} is not finished: {len(run.rows)} of {counted(run.config.epochs, 'epoch')}."


def differing(values: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Any]]:
    """What is not the same in all of several mappings, by key; None where one has no such key."""
    keys = dict.fromkeys(key for one in values.values() for key in one)
    rows = {key: [one.get(key) for one in values.values()] for key in keys}
    return {key: row for key, row in rows.items() if any(value != row[0] for value in row)}


def settings_of(run: RunFacts) -> dict[str, Any]:
    """All that may differ between runs: settings, datasets, device and versions."""
    begun = run.begun
    told: dict[str, Any] = {
        f"data: {key}": [one.get(key) for one in run.datasets] for key in ("folder", "recipe", "records", "weight")
    }
    told = {key: value[0] if len(value) == 1 else value for key, value in told.items()}
    versions = begun.get("versions")
    machine = {"device": begun.get("device"), "processes": begun.get("processes"), "steps an epoch": begun.get("steps")}
    return {
        **dataclasses.asdict(run.config),
        "dataset": ", ".join(digest[:12] for digest in run.digests),
        **told,
        **machine,
        **({f"version: {name}": text for name, text in versions.items()} if isinstance(versions, dict) else {}),
    }


def settings_of_evaluation(one: EvaluationFacts) -> dict[str, Any]:
    """All that may differ between evaluations beside their models."""
    keys = ("protocol", "reading", "pairs", "scenes", "dataset", "pictures", "version")
    told = {key: one.summary.get(key) for key in keys}
    return told | {"models": ", ".join(one.models)}


# --- the table of the terminal ---


def format_compared(compared: Compared) -> str:
    """What is compared as Markdown."""
    parts = [f"warning: {text}" for text in compared.warnings]
    if compared.runs:
        parts.append(_runs(compared.runs))
    changed = differing({name: settings_of(run) for name, run in compared.runs.items()})
    if changed:
        rows = [[key, *map(str, values)] for key, values in changed.items()]
        parts.append(f"What differs:\n\n{markdown.grid(['setting', *compared.runs], rows)}")
    if compared.evaluations:
        parts.append(_evaluations(compared))
    parts += [_differences(compared, held) for held in compared.groups]
    return "\n\n".join(parts)


def _runs(runs: Mapping[str, RunFacts]) -> str:
    head = ["run", "epochs", "best epoch", "PSNR [dB]", "SSIM", "loss of validation"]
    rows = [[name, f"{len(run.rows)} of {run.config.epochs}", *best(run)] for name, run in runs.items()]
    return f"Validation of the best epoch (protocol rgb in float32 without rounding):\n\n{markdown.grid(head, rows)}"


def best(run: RunFacts) -> list[str]:
    """The best epoch: its number, PSNR, SSIM and loss."""
    row = run.best
    if not row:
        return ["-"] * 4
    return [f"{row['epoch']:.0f}", f"{row['val_psnr_rgb']:.2f}", f"{row['val_ssim_rgb']:.4f}", f"{row['val_loss']:.5g}"]


def _evaluations(compared: Compared) -> str:
    metrics = metrics_of(compared)
    rows = [[name, *cells] for name, cells in means(compared, metrics)]
    return f"Means:\n\n{markdown.grid(['evaluation: method', *map(figures.heading, metrics)], rows)}"


def metrics_of(compared: Compared) -> list[str]:
    """The metrics of all evaluations."""
    return list(dict.fromkeys(metric for one in compared.evaluations.values() for metric in one.metrics))


def means(compared: Compared, metrics: Sequence[str]) -> Iterable[tuple[str, list[str]]]:
    """Name and means of each method of each evaluation; the baselines of equal pictures once, with all metrics."""
    rows: dict[tuple[object, ...], tuple[str, dict[str, str]]] = {}
    for name, one in compared.evaluations.items():
        for method, row in one.means.items():
            cells = {metric: figures.fixed(value, metric) for metric, value in row.items()}
            is_same = method in evaluation_facts.BASELINES
            first = one.definition(next(iter(row), ""))
            key = (one.what, first, method) if is_same else (name, method)
            before = rows.setdefault(key, (f"{name}: {method}", {}))[1]
            before.update({metric: cell for metric, cell in cells.items() if metric not in before})
    for title, cells in rows.values():
        yield title, [cells.get(metric, "-") for metric in metrics]


def _differences(compared: Compared, held: Held) -> str:
    rows = [
        [compared.row_name(row), *(figures.signed(one[metric], metric) for metric in held.metrics)]
        for row, one in held.differences.items()
    ]
    told = pages.figures_of(compared.row_name(held.against), held.scenes, held.images)
    return f"{told}\n\n{markdown.grid(['evaluation', *map(figures.heading, held.metrics)], rows)}"


def warned(run: RunFacts) -> int:
    """Warnings in the journal of a run."""
    return sum(event["event"] == journal.WARNING for event in run.events)
