"""A report of `hazegen inspect` as text and as JSON, and the command that makes a dataset of what was seen."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from hazegen.depth import conventions
from hazegen.depth.formats import Values
from hazegen.depth.measures import Measured
from hazegen.depth.readers import LARGER_IS_NEARER
from hazegen.inspect import words
from hazegen.inspect.find import InspectOptions
from hazegen.inspect.look import LEAST_SCORE, camera_folder, lacking
from hazegen.inspect.read import FAR_M, NEAR_M
from hazegen.inspect.run import Report
from hazegen.progress import counted

GUESSES = 3
# Options that say how numbers become metres.
FORMAT_OPTIONS = ("depth_values", "depth_scale", "not_measured", "no_surface", "focal_px", "baseline_m", "near", "far")
# Findings after which the maps may have been read by the wrong rule.
DOUBTS = {"inverted", "unit", "convention", "8-bit", "wrapped", "unreadable"}
# The default of Recipe.max_holes, and what the sample's worst share is raised by for the files not read.
MAX_HOLES, HOLES_TO_SPARE = 0.5, 0.05


def report_lines(report: Report) -> list[str]:
    """The report as the lines of a table."""
    scenes, others = counted(report.pairs, "scene"), counted(report.others, "other file")
    lines = [f"{scenes}, {len(report.files)} of them read; {others}", ""]
    lines += [f"read as {_taken(report)}", f"likely conventions{'' if report.told else ' (none was named)'}"]
    for number, guess in enumerate(report.guesses[:GUESSES], 1):
        same = f" (same rule: {', '.join(guess.same)})" if guess.same else ""
        lines.append(f"  {number}. {guess.name}{same}, {guess.score:+.1f} points: {'; '.join(guess.reasons)}")
    lines += ["", _row("file", "type", "size", "image", "raw: least, median, most", "metres", "holes", "sky", "levels")]
    lines += [_file_row(file) for file in report.files]
    lines += ["", "findings" if report.findings else "nothing was found wrong"]
    lines += [f"  {found.severity:<11}{found.code:<13}{found.reason}" for found in report.findings]
    return [*lines, "", *next_lines(report)]


def _taken(report: Report) -> str:
    """What the maps were read as."""
    one = lacking(report.guesses)
    if one is not None and not report.told:
        return f"{one.name} without {one.lacks}: relative, larger is nearer"
    taken = conventions.find(report.options.depth_kind)
    return f"{taken.name}: {taken.what}"


def _row(*cells: str) -> str:
    widths = (28, 14, 12, 12, 26, 26, 8, 8, 0)
    return "  " + "".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _file_row(file: Measured) -> str:
    size = "x".join(str(side) for side in file.shape) or "-"
    photo = "same" if file.shape[:2] == file.image_shape else "x".join(str(side) for side in file.image_shape)
    metres = _three(file.metres) if not file.problem else "refused"
    shares = _share(file.holes), _share(file.sky)
    return _row(
        _short(file.key),
        f"{file.container} {file.dtype}",
        size,
        photo,
        _three(file.raw),
        metres,
        *shares,
        str(file.distinct),
    )


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
        "command": None if any(found.severity == "impossible" for found in report.findings) else make_command(report),
        "other_reading": other_reading(report),
    }


def _plain(value: Any) -> Any:
    """Numbers, texts, lists and mappings of them; arrays are left out."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items() if not hasattr(part, "dtype")}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def make_command(report: Report) -> str:
    """The `hazegen make` command that reads the files as they were read here, but for zeros that are holes."""
    options, fmt = report.options, report.files[0].fmt
    if folder := _unused_cameras(report):  # they say another unit, so what the numbers were read as goes
        options = dataclasses.replace(_unread(options), camera=folder)
    by_camera = options.camera is not None
    if fmt.values == "transmission" and not by_camera:
        told = dataclasses.replace(options, depth_kind="transmission", depth_values=None)
        told = dataclasses.replace(words.completed(told, fmt), depth_kind="custom")
        source = ["--transmission", str(options.depth), "--transmission-beta", f"{fmt.beta:g}"]
    else:
        told, source = words.completed(options, fmt), ["--depth", str(options.depth)]
    if "zero-holes" in (codes := _codes(report)) and options.not_measured is None:
        told = dataclasses.replace(told, not_measured="0")
    resized = any(found.code == "size" and found.severity == "note" for found in report.findings)
    told = dataclasses.replace(told, fit_depth=options.fit_depth or resized)
    recipe = _recipe(report) + (["--recipe.sky-from-image"] if "sky-holes" in codes else [])
    return words.command("make", options.images, source, ("--out", "dataset", *words.of_options(told), *recipe))


def _codes(report: Report) -> set[str]:
    return {found.code for found in report.findings}


def next_lines(report: Report) -> list[str]:
    """What to do now: make the dataset, mend the maps, or read them otherwise."""
    impossible = [found.code for found in report.findings if found.severity == "impossible"]
    lines = [] if impossible else [f"next: {make_command(report)}"]
    if impossible:
        lines.append(f"next: no hazegen make yet; do what is said of {', '.join(impossible)}, and look again")
    other = other_reading(report)
    return lines if other is None else [*lines, f"or: {other}"]


def other_reading(report: Report) -> str | None:
    """The `hazegen inspect` command for another reading of the maps, where this one is in doubt and one is at hand."""
    options, codes = report.options, _codes(report)
    if folder := _unused_cameras(report):
        other = dataclasses.replace(_unread(options), camera=folder)
    elif not codes & DOUBTS:
        return None
    elif better := _better_guess(report, inverted="inverted" in codes):
        other = dataclasses.replace(_unread(options), depth_kind=better)
    elif "inverted" in codes:
        other = _turned_round(report)
    else:
        return None
    return words.command("inspect", other.images, ("--depth", str(other.depth)), words.of_options(other))


def _unused_cameras(report: Report) -> Path | None:
    """The folder of camera files that nobody named, where they say other metres of the maps than were read."""
    differ = any(found.code == "camera-files" and found.severity != "note" for found in report.findings)
    return camera_folder(report.files[0].key, report.options.depth) if differ else None


def _better_guess(report: Report, inverted: bool) -> str | None:
    """The likeliest convention of another rule, and of the other direction where near and far are interchanged."""
    nearer = report.files[0].fmt.values in LARGER_IS_NEARER
    for one in report.guesses:
        if report.options.depth_kind in (one.name, *one.same):
            if not inverted:  # all that follow are less likely
                return None
            continue
        fmt = conventions.find(one.name).format
        if one.score > LEAST_SCORE and not one.lacks and not (inverted and (fmt.values in LARGER_IS_NEARER) == nearer):
            return one.name
    return None


def _turned_round(report: Report) -> InspectOptions:
    """The same numbers, larger for nearer where they were larger for farther."""
    fmt = report.files[0].fmt
    values: Values = "relative" if fmt.values in LARGER_IS_NEARER else "relative-inverse"
    return dataclasses.replace(
        _unread(report.options), depth_values=values, not_measured=words.marks(fmt), near=NEAR_M, far=FAR_M
    )


def _unread(options: InspectOptions) -> InspectOptions:
    """The options without what says how numbers become metres."""
    nothing: dict[str, Any] = dict.fromkeys(FORMAT_OPTIONS)
    image_pattern, depth_pattern = options.patterns()
    nothing |= {"depth_kind": "custom", "image_pattern": image_pattern, "depth_pattern": depth_pattern}
    return dataclasses.replace(options, **nothing)


def _recipe(report: Report) -> list[str]:
    """Fields of the recipe without which scenes would be refused."""
    wanted = []
    holes = max((file.holes for file in report.files if math.isfinite(file.holes)), default=0.0)
    if holes > MAX_HOLES:
        wanted += ["--recipe.max-holes", f"{min(0.99, math.ceil((holes + HOLES_TO_SPARE) * 100) / 100):g}"]
    cameras = report.options.camera is not None or report.options.fov_deg is not None
    if report.files[0].fmt.values == "ray" and not cameras:
        wanted += ["--recipe.path", "ray"]
    return wanted
