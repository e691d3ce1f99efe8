"""What an audit found, as lines for the terminal, as JSON, as a table and as a recipe file."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterator
from typing import Any

from hazegen import outputs
from hazegen.audit.fit import Fit
from hazegen.audit.result import PairAudit
from hazegen.audit.run import AuditOptions, Report
from hazegen.audit.summary import Summary
from hazegen.recipe import Draw

COLUMNS = (
    ("hazy", "clean", "depth", "code", "reason", "partner", "similarity", "width", "height", "crop_x", "crop_y")
    + ("path", "color_space", "beta", "beta_error", "A_red", "A_green", "A_blue", "A_error", "gray", "rmse")
    + ("t_05", "t_50", "t_95", "largest_m", "hazy_quality", "clean_quality", "blockiness")
)  # fmt: skip
# Lines of each table that the terminal shows; the files hold all.
SHOWN = 10


def report_lines(report: Report) -> list[str]:
    """The report for a terminal."""
    return [*_counts(report), *_faults(report), *_recipe(report.summary)]


def _counts(report: Report) -> Iterator[str]:
    looked, summary = len(report.pairs), report.summary
    rate = report.seconds / max(looked, 1)
    yield f"{report.found} pairs by name, {looked} looked at in {report.seconds:.1f} s ({rate:.2f} s a pair)."
    yield f"  {summary.codes.get('', 0)} sound, {summary.used} of them used for the recipe"
    for code, count in sorted(summary.codes.items()):
        if code:
            yield f"  {count} {code}"


def _faults(report: Report) -> Iterator[str]:
    faulty = [f"  {pair.ref.hazy:<28} {pair.code:<14} {pair.reason}" for pair in report.pairs if pair.code]
    lonely = [f"  {file.folder:<6} {file.name:<28} {file.reason}" for file in report.unmatched]
    for title, lines in (("pairs with a fault:", faulty), ("files without a partner:", lonely)):
        if lines:
            yield title
            yield from lines[:SHOWN]
        if len(lines) > SHOWN:
            yield f"  ... and {len(lines) - SHOWN} more (--json, --csv)"


def _recipe(summary: Summary) -> Iterator[str]:
    yield (
        f"recipe, of {summary.used} pairs with a median residual of {summary.rmse:.4f}:" if summary.used else "recipe:"
    )
    for name, value in summary.fields.items():
        yield f"  {name:<18}{value!s:<52} confidence {summary.confidence[name]}"
    yield from (f"  {line}" for line in summary.evidence)


def as_yaml(summary: Summary) -> str:
    """The recipe as hazegen make --recipe takes it. Without a known beta, --recipe.beta has to stand beside it."""
    lines = [f"# Purpose: the haze of an audited set, read from {summary.used} of its pairs by hazegen audit."]
    lines += [f"# {line}" for line in summary.evidence]
    lines += [f"# confidence {name}: {sure}" for name, sure in summary.confidence.items()]
    if "beta" not in summary.fields:
        lines.append("# beta is not known: add 'beta: ...', or pass --recipe.beta.")
    lines.append("name: audited")
    lines += [f"{name}: {value}" for name, value in summary.fields.items()]
    return "\n".join(lines) + "\n"


def as_json(report: Report) -> str:
    """The whole report as strict JSON: what is infinite or no number stands there as null."""
    content = {
        "found": report.found,
        "seconds": round(report.seconds, 3),
        "summary": dataclasses.asdict(report.summary) | {"fields": _texts(report.summary)},
        "pairs": [_pair(pair) for pair in report.pairs],
        "unmatched": [dataclasses.asdict(file) for file in report.unmatched],
    }
    return json.dumps(_finite(content), indent=1) + "\n"


def _texts(summary: Summary) -> dict[str, object]:
    return {name: str(value) if isinstance(value, Draw) else value for name, value in summary.fields.items()}


def _pair(pair: PairAudit) -> dict[str, Any]:
    content = {f.name: getattr(pair, f.name) for f in dataclasses.fields(pair)}
    content["ref"] = dataclasses.asdict(pair.ref)
    content["patches"] = {space: dataclasses.asdict(fit) for space, fit in pair.patches.items()}
    content["fits"] = {"/".join(key): dataclasses.asdict(fit) for key, fit in pair.fits.items()}
    return content


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def csv_rows(report: Report) -> list[dict[str, object]]:
    """One row a pair, with the columns COLUMNS: the fit under the convention of the set."""
    return [_row(pair, report.summary) for pair in report.pairs]


def _row(pair: PairAudit, summary: Summary) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(COLUMNS, "")
    row |= {"hazy": pair.ref.hazy, "clean": pair.ref.clean, "depth": pair.ref.depth or "", "code": pair.code}
    row |= {"reason": pair.reason, "partner": pair.partner or "", "similarity": _text(pair.similarity)}
    row |= dict(zip(("width", "height", "crop_x", "crop_y"), (*pair.size, *pair.offset), strict=True))
    row |= {"hazy_quality": pair.hazy_quality or "", "clean_quality": pair.clean_quality or ""}
    row["blockiness"] = _text(pair.blockiness)
    if summary.convention is None:
        return row
    path, space = summary.convention
    fit = pair.fits.get(summary.convention) or pair.patches.get(space)
    if fit is None:
        return row
    if fit.beta is not None:
        row |= {"path": path, "largest_m": _text(pair.largest_m[path])}
    return row | {"color_space": space} | _fit(fit)


def _fit(fit: Fit) -> dict[str, object]:
    names = ("A_red", "A_green", "A_blue", "t_05", "t_50", "t_95", "rmse", "A_error")
    numbers = (*fit.atmospheric_light, *fit.transmission, fit.rmse, fit.light_error)
    row: dict[str, object] = {name: _text(number) for name, number in zip(names, numbers, strict=True)}
    if fit.beta is not None:
        row |= {"beta": _text(fit.beta), "beta_error": _text(fit.beta_error)}
    return row | {"gray": int(fit.gray)}


def _text(number: float) -> str:
    return "" if math.isnan(number) else f"{number:.6g}"


def write(report: Report, options: AuditOptions) -> None:
    """Writes the files that the options name."""
    if options.json is not None:
        outputs.write(options.json, as_json(report))
    if options.csv is not None:
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(csv_rows(report))
        outputs.write(options.csv, table.getvalue())
    if options.recipe is not None:
        outputs.write(options.recipe, as_yaml(report.summary))
