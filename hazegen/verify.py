"""hazegen verify: holds every shard of a dataset against its manifest, down to the pixels."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from hazegen import engine, images, manifest, records
from hazegen.errors import HazegenError, RefusedError, VerifyError
from hazegen.manifest import Shard


@dataclass(frozen=True)
class Verified:
    """What was found of one shard; `problem` is empty where all is as it must be."""

    shard: Shard
    records: int
    problem: str


@dataclass(frozen=True)
class _Task:
    folder: Path
    shard: Shard
    codec: str


def verify(folder: Path, workers: int | None = None) -> tuple[list[Verified], list[str]]:
    """Reads everything: size, SHA-256 and count of each shard, each record, each picture.

    Returns:
        One row for each shard of the manifest, and the names of shards that it does not know.

    Raises:
        VerifyError: There is no manifest that can be read.
    """
    try:
        known = manifest.load(folder)
    except RefusedError as error:
        raise VerifyError(str(error)) from None
    tasks = [_Task(folder, shard, known.codec) for shard in known.shards]
    workers = engine.cores() if workers is None else workers
    engine.check_workers(workers)
    for split, counts in known.splits.items():
        if counts["records"] != known.records_of(split):
            raise VerifyError(
                f"The manifest contradicts itself. Expected the records of split '{split}' to be those of its shards, "
                f"{known.records_of(split)}, received {counts['records']}. Copy the dataset again."
            )
    if known.inputs["found"] != known.inputs["used"] + known.inputs["rejected"]:
        raise VerifyError(
            f"The manifest contradicts itself. Expected found = used + rejected, received {known.inputs}. "
            "Copy the dataset again."
        )
    total = sum(shard.records for shard in known.shards)
    with tqdm(total=total, unit="pair", desc="verifying", disable=None) as bar:
        rows = list(engine.run(_verify_shard, tasks, workers, bar.update))
    rows.sort(key=lambda row: row.shard.name)
    expected = {shard.name for shard in known.shards}
    shards = {path.name for path in folder.glob("*.tfrecord*")}
    return rows, sorted(shards - expected)


def _verify_shard(task: _Task, report: engine.Report) -> Verified:
    count = 0
    try:
        problem = _check_file(task.folder / task.shard.name, task.shard)
        for record in records.read_shard(task.folder / task.shard.name):
            problem = problem or _check_record(record, task.codec, count)
            count += 1
            report(1)
    except (OSError, HazegenError) as error:
        return Verified(task.shard, count, problem_of(error))
    if count != task.shard.records and not problem:
        problem = f"expected {task.shard.records} records, received {count}"
    return Verified(task.shard, count, problem)


def problem_of(error: Exception) -> str:
    """The first line of what went wrong."""
    return f"{error.strerror}" if isinstance(error, OSError) and error.strerror else str(error).split("\n")[0]


def _check_file(path: Path, shard: Shard) -> str:
    size = path.stat().st_size
    if size != shard.bytes:
        return f"expected {shard.bytes} bytes, received {size}"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return "" if digest == shard.sha256 else f"expected SHA-256 {shard.sha256[:12]}..., received {digest[:12]}..."


def _check_record(record: bytes, codec: str, number: int) -> str:
    """What is wrong with one record, or nothing."""
    try:
        values = records.decode(record)
        size = (values["height"], values["width"])
        for name in ("clean", "hazy", "transmission"):
            if name in values:
                pixels = images.decode(values[name], name)
                if pixels.shape[:2] != size:
                    return f"record {number}: {name} expected size {size}, received {pixels.shape[:2]}"
    except ValueError as error:
        return f"record {number}: {str(error).split(chr(10))[0]}"
    for name in ("clean", "hazy"):
        if not _is_codec(values[name], codec):
            return f"record {number}: {name} is not {codec} as the manifest says"
    return ""


def _is_codec(data: bytes, codec: str) -> bool:
    return data.startswith(b"\xff\xd8" if codec == "jpeg" else b"\x89PNG")
