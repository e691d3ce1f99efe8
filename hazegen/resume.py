"""What is there of a dataset already, and whether it still fits its inputs."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hazegen import collect, engine, shards, stores
from hazegen.build import Built, read_result, write_result
from hazegen.errors import RefusedError, UsageError, VerifyError
from hazegen.fingerprints import DIGEST_COLUMNS, fingerprint
from hazegen.manifest import MANIFEST, Manifest, Shard
from hazegen.reading import Reading
from hazegen.shards import WORK, ShardPlan

WHAT = {column: column.removesuffix("_digest") for column in DIGEST_COLUMNS}


@dataclass(frozen=True)
class Check:
    """How finished shards are looked at.

    Attributes:
        out: Folder of the dataset.
        reading: How the inputs of each scene are found.
        versions: Of the plan.
        other_versions: Whether shards of others count.
        retry: Whether a shard counts as not there where it holds a rejected scene.
        workers: Threads.
        shown: Whether a bar is shown; None: on a terminal.
    """

    out: Path
    reading: Reading
    versions: Mapping[str, str]
    other_versions: bool
    retry: bool
    workers: int
    shown: bool | None


@dataclass(frozen=True)
class Kept:
    """A finished shard that can stay."""

    shard: Shard
    scenes: int


def kept(check: Check, plans: Iterable[ShardPlan]) -> dict[str, Kept]:
    """The shards of an unfinished dataset that can stay, by their names.

    Raises:
        RefusedError: The files of a scene in one of them are others now.
    """
    results = shards.listing(check.out / WORK)
    if not results:
        return {}
    files, of_plan = shards.listing(check.out), shards.plan_digest(check.out)
    there = (plan for plan in plans if plan.name in files and f"{plan.name}.json" in results)
    found = _in_threads(check, lambda plan, report: _kept(check, plan, of_plan, report), there)
    return {one.shard.name: one for one in found if one is not None}


def _kept(check: Check, plan: ShardPlan, of_plan: str, report: engine.Report) -> Kept | None:
    try:
        built = read_result(check.out, plan.name)
        size = (check.out / plan.name).stat().st_size
        keys = [row["key"] for row in built.rows]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if built.of_plan != of_plan or built.shard.name != plan.name:
        return None  # of another plan that lay here before
    if size != built.shard.bytes or keys != [ref.key for ref in plan.scenes]:
        return None
    if built.versions != check.versions and not check.other_versions:
        return None
    rejected = check_inputs(check, plan, built.rows, report)
    return None if rejected and check.retry else Kept(built.shard, len(keys))


def check_inputs(check: Check, plan: ShardPlan, rows: Sequence[Mapping[str, Any]], report: engine.Report) -> int:
    """Holds the files of a shard's scenes against what they were when it was built.

    Returns:
        How many of the scenes were rejected then.

    Raises:
        RefusedError: They are others now; of a rejected scene, unless it is to be tried again.
    """
    rejected = 0
    for ref, row in zip(plan.scenes, rows, strict=True):
        rejected += row["fate"] == "rejected"
        if row["fate"] != "rejected" or not check.retry:
            before = {name: row[name] for name in DIGEST_COLUMNS if row.get(name)}
            now = fingerprint(ref, check.reading)
            if changed := [name for name in DIGEST_COLUMNS if before.get(name) != now.get(name)]:
                raise _changed(check.out, row, changed)
        report(1)
    return rejected


def _changed(out: Path, row: Mapping[str, Any], changed: list[str]) -> RefusedError:
    what = " and ".join(WHAT[name] for name in changed)
    if row["fate"] == "rejected":
        return RefusedError(
            f"Scene '{row['key']}' was rejected, and its {what} is another one now. Expected the same content of "
            f"inputs as before, received a mended or changed file of '{row['image']}' or '{row['depth']}'. Pass "
            "--retry-rejected to use it."
        )
    return shards.another_plan(
        out, f"content of inputs: the {what} of scene '{row['key']}' ('{row['image']}', '{row['depth']}')"
    )


def _in_threads(check: Check, function: Callable[[Any, engine.Report], Any], tasks: Iterable[Any]) -> Iterator[Any]:
    """function(task, report) for every task, with a bar that counts the scenes."""
    hidden = None if check.shown is None else not check.shown
    with tqdm(unit="scene", desc="checking inputs", disable=hidden) as bar:
        yield from engine.run(function, tasks, check.workers, bar.update)


def check_finished(check: Check) -> list[str]:
    """Holds the inputs of a finished dataset against its table of inputs.

    Returns:
        Names of the shards that hold rejected scenes.

    Raises:
        RefusedError: A file is another now, or the table is not that of the plan.
    """
    rejected = _in_threads(check, lambda task, report: _finished(check, task[0], task[1], report), with_rows(check.out))
    return [name for name in rejected if name]


def _finished(check: Check, plan: ShardPlan, rows: list[dict[str, str]], report: engine.Report) -> str:
    return plan.name if check_inputs(check, plan, rows, report) else ""


def with_rows(out: Path) -> Iterator[tuple[ShardPlan, list[dict[str, str]]]]:
    """Each shard of a finished dataset with its lines of the table of inputs, which has them in the same order."""
    rows = collect.read_table(out)
    for plan in shards.read_plan(out)[1]:
        yield plan, [row_of(out, ref.key, rows) for ref in plan.scenes]


def row_of(out: Path, key: str, rows: Iterator[dict[str, str]]) -> dict[str, str]:
    """The next line of this key; the inputs that were rejected by their names are passed over.

    Raises:
        RefusedError: There is none.
        VerifyError: The table cannot be read.
    """
    for row in rows:
        if row["key"] == key:
            return row
    raise RefusedError(
        f"The table of inputs in '{out}' is not that of its plan. Expected a line for scene '{key}' in the order of "
        f"the plan, received none. Run hazegen repair {out}, or copy both files again."
    )


def reopen(out: Path, known: Manifest, again: Iterable[str]) -> dict[str, Kept]:
    """Makes a finished dataset an unfinished one, in which these shards are to be built again.

    All that the manifest and the table say of the others is written into their results before the manifest goes
    there too: killed at any moment, the dataset is finished, or can be.

    Returns:
        The shards that stay.
    """
    of_plan = shards.plan_digest(out)
    again, by_name = set(again), {shard.name: shard for shard in known.shards}
    size = (known.smallest["height"], known.smallest["width"])  # no scene that is used now will be without it
    keys: set[str] = set()
    stay: dict[str, Kept] = {}
    for plan, rows in with_rows(out):
        keys.update(row["key"] for row in rows if row["fate"] == "rejected")
        if plan.name not in again:
            write_result(out, Built(by_name[plan.name], rows, [size], known.versions, of_plan=of_plan))
            stay[plan.name] = Kept(by_name[plan.name], len(rows))
    by_name_alone = (row for row in collect.read_table(out) if row["fate"] == "rejected" and row["key"] not in keys)
    collect.keep_rejected(out, by_name_alone)
    stores.write_text(out / WORK / MANIFEST, [(out / MANIFEST).read_bytes().decode()])
    (out / MANIFEST).unlink()
    return stay


def forget(out: Path, names: Iterable[str]) -> None:
    """Removes the results of shards, which so count as not built."""
    for name in names:
        shards.result_path(out, name).unlink(missing_ok=True)


def named_shards(out: Path, text: str) -> list[str]:
    """The shards that --only-shards names.

    Raises:
        UsageError: The plan has no such shard.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    known = {plan.name for plan in shards.read_plan(out)[1]}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(
            f"--only-shards names a shard that is none. Expected names as '{min(known)}', with commas between, "
            f"received '{unknown[0]}'. The plan has {len(known)} shards; correct the name."
        )
    return names


def put_back(out: Path, known: Manifest, built: Built, folder: Path) -> None:
    """Puts a shard that was built in another folder in its place in a finished dataset, byte for byte the same.

    Raises:
        VerifyError: It has other bytes than the manifest says; what lies in its place stays.
    """
    expected = {shard.name: shard for shard in known.shards}[built.shard.name]
    if built.shard != expected:
        differing = shards.differing_versions(known.versions, built.versions)
        why = f"other versions ({differing})" if differing else "another kind of processor, or a changed library"
        raise VerifyError(
            f"Shard '{built.shard.name}' came out other than the manifest says, though its inputs are the same. "
            f"Expected SHA-256 {expected.sha256}, received {built.shard.sha256}: {why}. The old one was left as it is. "
            "Build it on a machine as before, or pass --restart to make all of the dataset anew."
        )
    install(folder / built.shard.name, out / built.shard.name)


def install(built: Path, final: Path) -> None:
    """Moves a file that was written elsewhere to its place, where it appears whole."""
    with built.open("rb") as source, stores.whole_file(final) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    built.unlink()


@contextmanager
def workplace(out: Path, work: str) -> Iterator[Path]:
    """A folder for shards that are held against others before they are used; on the dataset's disk, if it has one.

    Args:
        work: Name of the folder of `out` that it lies in.
    """
    if stores.is_remote(out):
        with tempfile.TemporaryDirectory(prefix="hazegen-") as folder:
            yield Path(folder)
        return
    again = out / work / "again"
    again.mkdir(parents=True, exist_ok=True)
    try:
        yield again
    finally:
        shutil.rmtree(again, ignore_errors=True)


def described(names: Sequence[str], most: int = 5) -> str:
    """Some names in a sentence."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
