"""hazegen inspect: looks at a folder of depth maps before anything is made of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen import records
from hazegen.depth.checks import judge_measured
from hazegen.depth.finding import SEVERITIES, Finding
from hazegen.depth.guess import Guess
from hazegen.depth.measures import Measured, Sample, measure
from hazegen.depth.options import check_reading
from hazegen.errors import RefusedError
from hazegen.inspect import look
from hazegen.inspect.find import InspectOptions, find
from hazegen.inspect.read import read_or_note
from hazegen.pairing import Rejected

# Scenes that the contact sheet shows.
TILES = 12
TILE = 240


@dataclass(frozen=True)
class Tile:
    """A small picture of one scene, for the contact sheet: photo, depth [m], and what was found in it alone."""

    key: str
    image: NDArray[np.uint8]
    depth_m: NDArray[np.float32] | None
    codes: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What was seen.

    Attributes:
        options: As given, but with the convention, and with the name patterns, that the files were read by.
        told: Whether the user named what the numbers are; else the best guess was taken.
        pairs: Number of scenes, of which files were read.
        unpaired: Files without a partner.
        others: Number of files of another name pattern or format.
        files: Statistics of each scene that was read.
        guesses: Conventions that the files may follow, the likeliest first.
        findings: The worst first.
        tiles: Up to TILES scenes for the contact sheet.
    """

    options: InspectOptions
    told: bool
    pairs: int
    unpaired: tuple[Rejected, ...]
    others: int
    files: tuple[Measured, ...]
    guesses: tuple[Guess, ...]
    findings: tuple[Finding, ...]
    tiles: tuple[Tile, ...]


def inspect(options: InspectOptions) -> Report:
    """Reads some scenes, ranks the conventions that the depth maps may follow, and judges them.

    Raises:
        UsageError: A folder is missing, or an option contradicts another.
        RefusedError: No scene was found, or none of those read has an image.
    """
    options, found, unpaired, others = find(options)
    # Evenly over the folder, which neighbours in a video are not; the order of hashes has no such rhythm.
    chosen = sorted(
        sorted(found, key=lambda ref: records.hash_order(ref.key))[: options.files], key=lambda ref: ref.key
    )
    told = options.tells_format
    reading, pattern = options.reading_of(options.images, options.depth), options.patterns()[1]
    guesses = look.rank(chosen, reading, pattern, told=told)
    options = look.choose(options, guesses)
    reading = options.reading_of(options.images, options.depth)
    check_reading(reading, in_metres=False)
    files: list[Measured] = []
    tiles: list[Tile] = []
    lost: list[str] = []
    for sample in read_or_note(chosen, reading, lost):
        files.append(measure(sample))
        if len(tiles) < TILES:
            tiles.append(_tile(sample, files[-1]))
    if not files:
        raise RefusedError(f"None of {len(chosen)} scenes can be looked at. Expected at least one, received: {lost[0]}")
    findings = judge_measured(files) + look.around(files, chosen, reading, guesses) + _of_folder(unpaired, lost)
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    groups = tuple(files), tuple(guesses), tuple(findings), tuple(tiles)
    return Report(options, told, len(found), tuple(unpaired), others, *groups)


def _tile(sample: Sample, file: Measured) -> Tile:
    height, width = sample.image.shape[:2]
    size = (TILE, max(1, round(TILE * height / width)))
    small = np.asarray(cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    depth_m = None
    if sample.depth_m is not None:
        depth_m = np.asarray(cv2.resize(sample.depth_m, size, interpolation=cv2.INTER_NEAREST), np.float32)
    alone = tuple(found.code for found in judge_measured([file]) if found.severity != "note")
    return Tile(sample.key, small, depth_m, alone)


def _of_folder(unpaired: Sequence[Rejected], lost: Sequence[str]) -> list[Finding]:
    """Files that could not be looked at."""
    found: list[Finding] = []
    if unpaired:
        files = "1 file has" if len(unpaired) == 1 else f"{len(unpaired)} files have"
        text = f"{files} no partner. Expected an image for each map; the first: {unpaired[0].reason}"
        found.append(Finding("unpaired", "unlikely", text, float(len(unpaired))))
    if lost:
        scenes = "1 scene" if len(lost) == 1 else f"{len(lost)} scenes"
        text = f"{scenes} cannot be looked at. Expected image and camera of each; the first: {lost[0]}"
        found.append(Finding("lost", "unlikely", text, float(len(lost))))
    return found
