"""A report of `hazegen inspect` as text and as JSON, and the command that makes a dataset of what was seen."""

import dataclasses
import math
import shlex
from typing import Any

from hazegen.depth import conventions
from hazegen.depth.formats import RELATIVE
from hazegen.depth.measures import Measured
from hazegen.inspect.find import InspectOptions
from hazegen.inspect.read import FAR_M, NEAR_M
from hazegen.inspect.run import Report

GUESSES = 3
# Of the options that say how files are read, those that the command repeats as they were given.
REPEATED = ("depth_values", "depth_scale", "not_measured", "no_surface", "focal_px", "baseline_m", "near", "far")
REPEATED_LAST = ("sparse", "sparse_scale", "camera", "fov_deg")
# The default of Recipe.max_holes, and what the sample's worst share is raised by for the files not read.
MAX_HOLES, HOLES_TO_SPARE = 0.5, 0.05


def report_lines(report: Report) -> list[str]:
    """The report as the lines of a table."""
    lines = [f"{report.pairs} scenes, {len(report.files)} of them read; {report.others} other files", ""]
    taken = conventions.find(report.options.depth_kind)
    lines += [f"read as {taken.name}: {taken.what}", f"likely conventions{'' if report.told else ' (none was named)'}"]
    for number, guess in enumerate(report.guesses[:GUESSES], 1):
        same = f" (same rule: {', '.join(guess.same)})" if guess.same else ""
        lines.append(f"  {number}. {guess.name}{same}, {guess.score:+.1f} points: {'; '.join(guess.reasons)}")
    lines += ["", _row("file", "type", "size", "raw: least, median, most", "metres", "holes", "sky", "levels")]
    lines += [_file_row(file) for file in report.files]
    lines += ["", "findings" if report.findings else "nothing was found wrong"]
    lines += [f"  {found.severity:<11}{found.code:<12}{found.reason}" for found in report.findings]
    return [*lines, "", f"next: {make_command(report)}"]


def _row(*cells: str) -> str:
    widths = (28, 9, 12, 26, 26, 8, 8, 0)
    return "  " + "".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _file_row(file: Measured) -> str:
    size = "x".join(str(side) for side in file.shape) or "-"
    metres = _three(file.metres) if not file.problem else "refused"
    shares = _share(file.holes), _share(file.sky)
    return _row(_short(file.key), file.dtype, size, _three(file.raw), metres, *shares, str(file.distinct))


def _short(key: str, most: int = 26) -> str:
    return key if len(key) <= most else f"...{key[3 - most :]}"


def _three(numbers: tuple[float, float, float]) -> str:
    return " ".join("-" if math.isnan(number) else f"{number:.4g}" for number in numbers)


def _share(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.1%}"


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain values; what is not a number is null."""
    files = [_plain(dataclasses.asdict(file)) for file in report.files]
    for file in files:
        file["alignment"] = (file["alignment"] or {}).get("scores")
    return {
        "depth_kind": report.options.depth_kind,
        "told": report.told,
        "image_pattern": report.options.patterns()[0],
        "depth_pattern": report.options.patterns()[1],
        "pairs": report.pairs,
        "unpaired": [dataclasses.asdict(one) for one in report.unpaired],
        "others": report.others,
        "guesses": [dataclasses.asdict(guess) for guess in report.guesses],
        "findings": [_plain(dataclasses.asdict(found)) for found in report.findings],
        "files": files,
        "command": make_command(report),
    }


def _plain(value: Any) -> Any:
    """Numbers, texts, lists and mappings of them; arrays are left out."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items() if not hasattr(part, "dtype")}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def make_command(report: Report) -> str:
    """The `hazegen make` command that reads the files as they were read here."""
    options = report.options
    words = ["--images", str(options.images), "--depth", str(options.depth), "--out", "dataset"]
    if options.depth_kind != "custom":
        words += ["--depth-kind", options.depth_kind]
    convention = conventions.find(options.depth_kind)
    for name in ("image_pattern", "depth_pattern"):
        pattern = getattr(options, name)
        if pattern is not None and pattern != getattr(convention, name):
            words += [f"--{name.replace('_', '-')}", pattern]
    words += _repeated(options, REPEATED) + _lacking(report) + _repeated(options, REPEATED_LAST)
    codes = {found.code for found in report.findings}
    if options.fit_depth or "size" in codes:
        words.append("--fit-depth")
    return shlex.join(["hazegen", "make", *words, *_recipe(report)])


def _repeated(options: InspectOptions, names: tuple[str, ...]) -> list[str]:
    given = [(name, getattr(options, name)) for name in names]
    return [word for name, value in given if value is not None for word in (f"--{name.replace('_', '-')}", str(value))]


def _lacking(report: Report) -> list[str]:
    """What the files need beside their convention, and nobody has said."""
    options, fmt = report.options, report.files[0].fmt
    codes = {found.code for found in report.findings}
    words = ["--not-measured", "0"] if "zero-holes" in codes and options.not_measured is None else []
    if fmt.values not in RELATIVE or options.sparse is not None:
        return words
    if options.format().values == "disparity":  # read without focal length and baseline
        words += ["--depth-values", fmt.values]
    words += [] if options.near is not None else ["--near", f"{fmt.near_m or NEAR_M:g}"]
    return words + ([] if options.far is not None else ["--far", f"{fmt.far_m or FAR_M:g}"])


def _recipe(report: Report) -> list[str]:
    """Fields of the recipe without which scenes would be refused."""
    words = []
    holes = max((file.holes for file in report.files if math.isfinite(file.holes)), default=0.0)
    if holes > MAX_HOLES:
        words += ["--recipe.max-holes", f"{min(0.99, math.ceil((holes + HOLES_TO_SPARE) * 100) / 100):g}"]
    cameras = report.options.camera is not None or report.options.fov_deg is not None
    if report.files[0].fmt.values == "ray" and not cameras:
        words += ["--recipe.path", "ray"]
    return words
