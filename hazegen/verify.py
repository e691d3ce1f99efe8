"""hazegen verify: holds every file of a dataset against its manifest, down to the pixels."""

import errno
import hashlib
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hazegen import engine, images, manifest, records, scene_records, shards, stores
from hazegen.errors import HazegenError, RefusedError, StoreError, VerifyError
from hazegen.manifest import MANIFEST, TABLES, Manifest, Shard
from hazegen.recipe import Recipe

# Where repair works, inside the dataset's folder.
REPAIRS = ".repair"
# Work folders of make, repair and pull.
LEFTOVERS = (shards.WORK, REPAIRS, ".pull")
# What an OSError says of a file: none of its name, a folder in its place, a sector of the disk that cannot be read.
# All others are of the machine: no rights, too many open files, no memory, a network that is gone.
OF_THE_FILE = (errno.ENOENT, errno.EISDIR, errno.EIO)


@dataclass(frozen=True)
class Verified:
    """What was found of one shard.

    Attributes:
        shard: What the manifest says of it.
        records: Number of sound records, up to the first damaged one.
        problem: Empty where all is as it must be.
        looks: Perceptual hash of the clean image of each of its scenes, where pictures were looked at.
    """

    shard: Shard
    records: int
    problem: str
    looks: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """What was found of a dataset.

    Attributes:
        rows: Of each shard of the manifest, in the order of their names.
        tables: What is wrong with inputs.csv and plan.jsonl, by name.
        unknown: Names of files that no part of a dataset is.
        temporary: Names of files that a killed run has left.
        card: Files of the card that are missing.
        alike: Scenes of different splits that look alike, and how many of the 64 bits of their hashes differ.
    """

    rows: list[Verified]
    tables: dict[str, str]
    unknown: list[str]
    temporary: list[str]
    card: list[str]
    alike: list[tuple[str, str, int]]

    def problems(self) -> list[str]:
        """All that must not be, one line each; a card can be written again, and scenes may look alike."""
        bad = [f"{row.shard.name}: {row.problem}" for row in self.rows if row.problem]
        bad += [f"{name}: {problem}" for name, problem in self.tables.items()]
        bad += [f"{name}: not in the manifest" for name in self.unknown]
        return bad + [f"{name}: left by a killed run" for name in self.temporary]


@dataclass(frozen=True)
class _Task:
    folder: Path
    shard: Shard
    known: Manifest
    recipe: Recipe | None  # of scenes
    quick: bool


def verify(folder: Path, workers: int | None = None, *, quick: bool = False) -> Findings:
    """Reads everything: size, SHA-256 and count of each shard, each record, each picture.

    Args:
        quick: Decode no picture.

    Raises:
        VerifyError: There is no manifest that can be read, or it contradicts itself.
        StoreError: The store failed; nothing is said of the dataset.
    """
    return check(folder, load_sound(folder), workers, quick=quick)


def check(
    folder: Path, known: Manifest, workers: int | None, *, quick: bool, only: Container[str] | None = None
) -> Findings:
    """Holds a folder against a manifest.

    Args:
        only: Names of the shards that are read; all where it is None.
    """
    workers = engine.cores() if workers is None else workers
    engine.check_workers(workers)
    chosen = [shard for shard in known.shards if only is None or shard.name in only]
    recipe = scene_records.recipe_of(known) if known.kind == "scenes" else None
    tasks = (_Task(folder, shard, known, recipe, quick) for shard in chosen)
    with tqdm(total=sum(shard.records for shard in chosen), unit=known.unit, desc="verifying", disable=None) as bar:
        rows = sorted(engine.run(_verify_shard, tasks, workers, bar.update), key=lambda row: row.shard.name)
    temporary, unknown = list_strangers(folder, {shard.name for shard in known.shards})
    tables = manifest.damaged_tables(folder, known)
    return Findings(rows, tables, unknown, temporary, missing_card(folder), _across_splits(rows))


def load_sound(folder: Path) -> Manifest:
    """The manifest, held against itself.

    Raises:
        VerifyError: It cannot be read, contradicts itself, or is not written as hazegen writes it.
    """
    try:
        known = manifest.load(folder)
    except RefusedError as error:
        raise VerifyError(str(error)) from None
    for split, counts in known.splits.items():
        if counts["records"] != known.records_of(split):
            raise VerifyError(
                f"The manifest contradicts itself. Expected the records of split '{split}' to be those of its shards, "
                f"{known.records_of(split)}, received {counts['records']}. Run hazegen repair {folder}."
            )
    if known.inputs["found"] != known.inputs["used"] + known.inputs["rejected"]:
        raise VerifyError(
            f"The manifest contradicts itself. Expected found = used + rejected, received {known.inputs}. Run hazegen "
            f"repair {folder}."
        )
    # A bit may flip in the layout, or turn \u00fc into \u00FC: the content's digest does not see it.
    if (folder / MANIFEST).read_bytes() != known.to_json().encode():
        raise VerifyError(
            f"'{folder / MANIFEST}' was written by another program. Expected the bytes that hazegen writes of this "
            f"content, received others. Run hazegen repair {folder}, which writes it again."
        )
    return known


def list_strangers(folder: Path, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The files of a folder that killed runs have left there, and those that no part of a dataset are.

    Args:
        names: Of the shards.
    """
    from hazegen import card, pull

    # The lock's file alone says only that a run works here, or was killed: the next one takes it away.
    own = {*names, MANIFEST, *TABLES, *card.FILES, pull.SOURCE, shards.LOCK}
    strangers = sorted(set(shards.listing(folder)) - own)
    temporary = [name for name in strangers if is_temporary(folder / name)]
    return temporary, [name for name in strangers if name not in temporary]


def is_temporary(path: Path) -> bool:
    """Whether a run that was killed has left this file or folder."""
    return path.name in LEFTOVERS or (stores.is_temporary(path.name) and not path.is_dir())


def missing_card(folder: Path) -> list[str]:
    """The files of the card that are not there."""
    from hazegen import card

    return [name for name in card.FILES if not (folder / name).is_file()]


def _across_splits(rows: list[Verified]) -> list[tuple[str, str, int]]:
    looks = {scene: (row.shard.split, look) for row in rows for scene, look in row.looks.items()}
    if not looks:
        return []
    from hazegen import duplicates

    return duplicates.across_splits(looks)


def _verify_shard(task: _Task, report: engine.Report) -> Verified:
    path, shard, count = task.folder / task.shard.name, task.shard, 0
    digest = hashlib.sha256()
    looks: dict[str, int] = {}
    wrong = ""
    try:
        size = path.stat().st_size
        problem = f"expected {shard.bytes} bytes, received {size}" if size != shard.bytes else ""
        for record in records.read_shard(path):
            digest.update(records.frame(record))
            if not task.quick:
                wrong = wrong or _check_record(record, task, count, looks)
            count += 1
            report(1)
    except (OSError, HazegenError) as error:
        return Verified(shard, count, problem_of(of_the_file(path, error)))
    received = digest.hexdigest()
    if received != shard.sha256:
        problem = problem or f"expected SHA-256 {shard.sha256[:12]}..., received {received[:12]}..."
    if count != shard.records:
        wrong = wrong or f"expected {shard.records} records, received {count}"
    return Verified(shard, count, problem or wrong, looks)


def of_the_file(path: Path, error: Exception) -> Exception:
    """The error, if it says something of the file.

    Raises:
        StoreError, OSError: The machine, the store or the way to it failed; that says nothing of the dataset.
    """
    of_the_file = (errno.ENOENT,) if stores.is_remote(path) else OF_THE_FILE
    missing = isinstance(error, FileNotFoundError)  # a store's has no number
    if isinstance(error, StoreError) or (isinstance(error, OSError) and not missing and error.errno not in of_the_file):
        raise error
    return error


def problem_of(error: Exception) -> str:
    """The first line of what went wrong."""
    return f"{error.strerror}" if isinstance(error, OSError) and error.strerror else str(error).split("\n")[0]


def _check_record(record: bytes, task: _Task, number: int, looks: dict[str, int]) -> str:
    """What is wrong with one record, or nothing; adds the look of a scene that was not met before."""
    try:
        values = records.decode(record, task.known.kind)
        pixels = _pictures(values, task.known)
        if task.recipe is not None:
            scene_records.check(values, task.recipe)
    except ValueError as error:
        return f"record {number}: {str(error).split(chr(10))[0]}"
    if values["scene"] not in looks:
        looks[values["scene"]] = _look(pixels["clean"])
    return ""


def _pictures(values: dict[str, Any], known: Manifest) -> dict[str, Any]:
    """The decoded pictures of a record.

    Raises:
        ValueError: One cannot be decoded, or is not of the record's size or the manifest's codec.
    """
    height, width = values["height"], values["width"]
    names = [name for name in ("clean", "hazy") if name in values]
    pixels: dict[str, Any] = {
        name: images.decode_stored(values[name], known.codec, height, width, name) for name in names
    }
    if "transmission" in values:
        pixels["transmission"] = images.decode(values["transmission"], "transmission")
        if (shape := pixels["transmission"].shape[:2]) != (height, width):
            raise ValueError(f"transmission expected size {(height, width)}, received {shape}")
    return pixels


def _look(clean: Any) -> int:
    from hazegen import duplicates

    return duplicates.perceptual_hash(clean)
