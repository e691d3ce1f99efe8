"""What is found in a folder of depth maps beside the maps' own faults, by `hazegen inspect` and before `hazegen make`.

Whether the maps look like what they are said to be, which calibration or camera files they lack, and whether an
unmeasured sky would be filled like any other hole.
"""

import dataclasses
import math
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from hazegen import intrinsics
from hazegen.depth import checks, conventions, guess
from hazegen.depth.conventions import Convention
from hazegen.depth.finding import SEVERITIES, Finding
from hazegen.depth.formats import DepthFormat, from_camera_file
from hazegen.depth.guess import Guess
from hazegen.depth.measures import Measured, measure
from hazegen.errors import HazegenError, StoreError
from hazegen.inspect import words
from hazegen.inspect.find import InspectOptions
from hazegen.inspect.read import read_samples
from hazegen.pairing import SceneRef
from hazegen.reading import Reading

# Files that the convention is guessed from.
FILES_TO_RANK = 6
# A guess with fewer points is none.
LEAST_SCORE = -2.0
# What was told is doubted where a convention has so many points more.
CLEARLY_BETTER = 2.0
# Names of folders in which camera files lie beside the maps' folder.
CAMERA_FOLDERS = ("camera", "cameras", "intrinsics")
# Share of all pixels that must look like unmeasured sky.
MUCH_SKY = 0.01


def look(refs: Iterable[SceneRef], reading: Reading, pattern: str, *, finds_sky: bool = False) -> list[Finding]:
    """Everything found in some scenes as they are going to be read, the worst first.

    Args:
        refs: The scenes.
        reading: How they are read.
        pattern: Name pattern of their depth maps.
        finds_sky: Whether sky is looked for in the photos anyway.
    """
    refs = list(refs)  # they may come one by one
    files = [measure(sample) for sample in read_samples(refs, reading)]
    found = checks.judge_measured(files) + around(files, refs, reading, rank(refs, reading, pattern, told=True))
    settled = {"sky-holes"} if finds_sky else set()
    if "values" in reading.depth_format:
        settled |= {"calibration"}  # whoever says that they are relative knows
    found = [finding for finding in found if finding.code not in settled]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def around(
    files: Sequence[Measured], refs: Sequence[SceneRef], reading: Reading, guesses: Sequence[Guess]
) -> list[Finding]:
    """Findings that the maps' statistics alone do not give."""
    found = _doubt(reading, guesses) if reading.depth_entries else []  # what a network estimates follows no convention
    return found + _calibration(reading, guesses) + _camera_files(refs, reading) + _sky_holes(files, reading)


def rank(refs: Sequence[SceneRef], reading: Reading, pattern: str, *, told: bool) -> list[Guess]:
    """Conventions that the maps may follow, with what the reading says among them where somebody `told` it."""
    some = refs[:: max(1, len(refs) // FILES_TO_RANK)][:FILES_TO_RANK]
    return guess.rank(reading.depth, some, pattern, _told(some, reading) if told else None)


def choose(options: InspectOptions, guesses: Sequence[Guess]) -> InspectOptions:
    """The options with what the files are read as where nobody says it: the likeliest convention, if any is likely."""
    if options.tells_format:
        return options
    if one := lacking(guesses):  # which then has no metres
        marks = words.marks(conventions.find(one.name).format)
        return dataclasses.replace(options, depth_values="relative-inverse", not_measured=marks)
    if guesses and guesses[0].score > LEAST_SCORE:
        return dataclasses.replace(options, depth_kind=guesses[0].name)
    return options


def _told(refs: Sequence[SceneRef], reading: Reading) -> Convention | None:
    """The convention that the reading names, with what its options and camera files change; None where these differ."""
    convention = conventions.find(reading.convention)
    if not refs:
        return None
    entries = [_depth_entry(ref, reading) for ref in refs]
    if any(entry != entries[0] for entry in entries):
        return None
    try:
        fmt = from_camera_file(entries[0], reading.depth_format, convention.format)
    except HazegenError:  # the scenes are rejected with the reason when they are read
        return None
    # Near and far are no part of what a convention says.
    return dataclasses.replace(convention, format=dataclasses.replace(fmt, near_m=None, far_m=None))


def _depth_entry(ref: SceneRef, reading: Reading) -> dict[str, object]:
    if not reading.depth_entries or conventions.find(reading.convention).calibration is not None:
        return {}
    try:
        path = intrinsics.intrinsics_path(ref, reading)
        return {} if path is None else intrinsics.load_camera(path)[1]
    except StoreError:
        raise
    except (HazegenError, OSError):
        return {}


def _doubt(reading: Reading, guesses: Sequence[Guess]) -> list[Finding]:
    """Maps that no convention fits, or another one than the one they are read by."""
    untold = reading.convention == "custom" and not reading.depth_format and reading.camera is None
    if untold and (not guesses or guesses[0].score <= LEAST_SCORE):
        text = (
            "The maps follow no convention that is known. Expected one of the table, received files that none fits. "
            "Say with --depth-values, --depth-scale and --not-measured what the numbers are."
        )
        return [Finding("unknown", "unlikely", text, 0.0)]
    mine = next((one for one in guesses if reading.convention in (one.name, *one.same)), None)
    best = guesses[0] if guesses else mine
    if mine is None or best is None or best.score - mine.score <= CLEARLY_BETTER:
        return []
    said = reading.convention if reading.convention != "custom" else "what the options say"
    text = (
        f"The maps look rather like {best.name}. Expected {said}, received: {'; '.join(best.reasons[:3])}; "
        f"against {said}: {'; '.join(mine.reasons[:3])}. Check --depth-kind."
    )
    return [Finding("convention", "unlikely", text, best.score - mine.score)]


def lacking(guesses: Sequence[Guess]) -> Guess | None:
    """The convention that would fit best, and only lacks the calibration file that its files are named for."""
    for one in guesses:
        named = any("files are called" in reason for reason in one.reasons)
        if one.lacks and named and one.score - guess.WITHOUT_CALIBRATION > guesses[0].score:
            return one
    return None


def _calibration(reading: Reading, guesses: Sequence[Guess]) -> list[Finding]:
    one = lacking(guesses)
    if one is None or reading.camera is not None or conventions.find(reading.convention).calibration is not None:
        return []
    text = (
        f"The maps may follow {one.name}, which needs a calibration. Expected {one.lacks} beside each map, received "
        f"none. Add it and pass --depth-kind {one.name}, or the folder of it as --camera. Without it, the maps have "
        "no metres: --depth-values relative-inverse with --near and --far."
    )
    return [Finding("calibration", "unlikely", text, one.score)]


def camera_folder(key: str, depth: Path) -> Path | None:
    """The folder beside that of the maps that holds a camera file for a scene, where there is one."""
    folders = [depth.parent / name for name in CAMERA_FOLDERS]
    return next((folder for folder in folders if (folder / f"{key}.json").is_file()), None)


def _camera_files(refs: Sequence[SceneRef], reading: Reading) -> list[Finding]:
    """Camera files that nobody named, though they may say what the numbers are."""
    convention = conventions.find(reading.convention)
    folder = camera_folder(refs[0].key, reading.depth) if refs else None
    if folder is None or reading.camera is not None or convention.calibration is not None:
        return []
    mine = from_camera_file({}, reading.depth_format, convention.format)
    named = dataclasses.replace(reading, camera=folder)
    entries = [_depth_entry(ref, named) for ref in refs]
    others = sum(bool(entry) and not _says(entry, mine) for entry in entries)
    says = f"say otherwise of {others} of {len(refs)} maps" if others else "hold intrinsics"
    text = (
        f"Camera files lie beside the maps and are not used. Expected --camera, received none; those in '{folder}' "
        f"{says}. Pass --camera {shlex.quote(str(folder))}."
    )
    return [Finding("camera-files", "unlikely" if others else "note", text, others / len(refs))]


def _says(entry: dict[str, object], fmt: DepthFormat) -> bool:
    """Whether the depth entry of a camera file makes the same metres of the numbers; marks need not occur."""
    try:
        theirs = from_camera_file(entry, {})
    except HazegenError:
        return False
    return (theirs.values, theirs.unit, theirs.offset) == (fmt.values, fmt.unit, fmt.offset)


def _sky_holes(files: Sequence[Measured], reading: Reading) -> list[Finding]:
    """Unmeasured sky that would be filled from what lies beside it, as near as that."""
    shares = [file.sky_holes for file in files if math.isfinite(file.sky_holes)]
    seen = [share for share in shares if share > MUCH_SKY]
    if conventions.find(reading.convention).sky_is_hole or not seen:
        return []
    text = (
        f"{len(seen)} of {len(files)} maps seem not to have measured the sky. Expected the sky without a surface, "
        f"received holes of its colours that reach the upper border, {np.mean(seen):.1%} of these maps. Pass "
        "--recipe.sky-from-image, or they are filled as near as what lies beside them."
    )
    return [Finding("sky-holes", "unlikely", text, float(np.mean(seen)))]
