"""The shards of a finished dataset that are damaged: found again under another name, or built again from the plan."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hazegen import build, collect, engine, manifest, planning, reconstruct, resume, shards, stores
from hazegen.build import Built, ShardTask
from hazegen.errors import RefusedError, UsageError, VerifyError
from hazegen.fingerprints import DIGEST_COLUMNS, versions
from hazegen.manifest import INPUTS, Manifest, Shard
from hazegen.shards import ShardPlan
from hazegen.verify import REPAIRS

# Lines of the table of inputs, by the keys of their scenes.
Rows = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class RepairOptions:
    """Where the inputs lie, and how they are used.

    Attributes:
        images: The photos that the dataset was made from; needed where a shard has to be built again.
        depth: Their depth maps (or transmission maps), where it was made with any.
        camera: Their camera file, or folder of camera files, where it was made with any.
        sparse: Folder of their sparse depth maps, where it was made with any.
        accept_versions: Build shards with other versions than they were made with; what comes out otherwise is not
            used.
        workers: Threads that work at once [default: all cores].
        dry_run: Only say what would be done.
    """

    images: Path | None = None
    depth: Path | None = None
    camera: Path | None = None
    sparse: Path | None = None
    accept_versions: bool = False
    workers: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        engine.check_workers(1 if self.workers is None else self.workers)
        beside = [name for name in ("depth", "camera", "sparse") if getattr(self, name) is not None]
        if beside and self.images is None:
            raise UsageError(
                f"--{beside[0]} is of no use alone. Expected --images beside it, received none. Add --images."
            )
        if self.images is not None and not self.images.exists():
            raise UsageError(
                f"--images '{self.images}' is not there. Expected the photos that the dataset was made from, received "
                "nothing of that name. Check the path."
            )


@dataclass(frozen=True)
class Step:
    """One thing that was done, or that is left.

    Attributes:
        name: Of the file.
        what: What was done to it, as 'built again', or what is wrong with it and what to do.
        done: Whether it is as it must be now (in a dry run: would be).
    """

    name: str
    what: str
    done: bool = True


def give_names_back(folder: Path, bad: Collection[Shard], unknown: Sequence[str], dry_run: bool) -> dict[str, str]:
    """Files that have the SHA-256 of a damaged shard get its name: exchanged, renamed, or left by a killed repair.

    Returns:
        For each such shard the name that its file had.
    """
    if not bad or stores.is_remote(folder):
        return {}  # a store renames nothing
    work = folder / REPAIRS
    before = sorted(work.rglob("*")) if work.is_dir() else []
    found: dict[str, Path] = {}
    sizes, wanted = {shard.bytes for shard in bad}, {shard.sha256: shard.name for shard in bad}
    for path in [*before, *(folder / shard.name for shard in bad), *(folder / name for name in unknown)]:
        if path.is_file() and not path.is_symlink() and path.stat().st_size in sizes:
            target = wanted.get(manifest.sha256(path))
            if target and not (folder / target).is_dir():
                found.setdefault(target, path)
    if found and not dry_run:
        work.mkdir(exist_ok=True)
        # All into the work folder first: of two exchanged shards each stands where the other belongs.
        for target, path in found.items():
            path.replace(work / target)
        for target in found:
            stores.publish(work / target, folder / target)
    return {target: str(path.relative_to(folder)) for target, path in found.items()}


def build_again(
    folder: Path,
    damaged: Mapping[str, str],
    known: Manifest | None,
    expected: Mapping[str, Shard],
    options: RepairOptions,
) -> list[Step]:
    """Builds shards again from the plan; each takes its place if it is what it must be.

    Args:
        damaged: Names of the shards, and what is wrong with them.
        known, expected: The manifest, and what it says of these shards; without it the digests of their inputs decide.
    """
    try:
        header, plans = shards.read_plan(folder)
        reconstruct.check_own_plan(header)
        planned = damaged.keys() & {plan.name for plan in plans}
    except (RefusedError, VerifyError) as error:
        return [Step(name, f"{problem}. {error}", False) for name, problem in damaged.items()]
    needs = _what_it_needs(folder, header, known, options)
    if needs or options.dry_run:
        return [
            Step(name, f"{problem}. {needs}" if needs else "built again", not needs)
            for name, problem in damaged.items()
        ]
    assert options.images is not None
    try:
        settings = planning.settings_of(header, options.images, options.depth, options.camera, options.sparse)
    except RefusedError as error:
        return [Step(name, f"{problem}. {error}", False) for name, problem in damaged.items()]
    steps = {name: Step(name, f"{text}. The plan does not know it", False) for name, text in damaged.items()}
    told: dict[str, Rows] = {}
    with resume.workplace(folder, REPAIRS) as work, tqdm(unit="record", desc="building", disable=None) as bar:
        tasks = (ShardTask(plan, work, settings) for plan in _chosen(folder, planned, told))
        for built in engine.run(build.build_shard, tasks, options.workers or engine.cores(), bar.update):
            name = built.shard.name
            why = _why_not(built, expected.get(name), told.pop(name), header)
            if not why and (folder / name).is_dir():
                why = "a folder stands in its place: move it elsewhere"
            if not why:
                resume.install(work / name, folder / name)
            steps[name] = Step(name, why or "built again", not why)
    return [steps[name] for name in damaged]


def _chosen(folder: Path, names: Collection[str], told: dict[str, Rows]) -> Iterator[ShardPlan]:
    """The shards of these names; puts the lines of inputs.csv of each into `told`, none where it cannot be read."""
    rows = collect.read_table(folder)
    for plan in shards.read_plan(folder)[1]:
        try:
            of_shard = {ref.key: resume.row_of(folder, ref.key, rows) for ref in plan.scenes}
        except (RefusedError, VerifyError):
            of_shard, rows = {}, iter(())  # nor can those of later shards
        if plan.name in names:
            told[plan.name] = of_shard
            yield plan


def _what_it_needs(folder: Path, header: Mapping[str, Any], known: Manifest | None, options: RepairOptions) -> str:
    """What has to be given so that a shard can be built again; empty if nothing."""
    if options.images is None:
        return f"To build it again: {command(folder, header)}"
    differing = shards.differing_versions(header["versions"], versions())
    was_used = known is not None and versions() in known.also_made_with
    if differing and not was_used and not options.accept_versions:
        return (
            f"It was made with other versions, which may give other bytes ({differing}). Install them, or pass "
            "--accept-versions to try"
        )
    return ""


def command(folder: Path, header: Mapping[str, Any]) -> str:
    """The command that builds shards again, with the options that this dataset needs."""
    reading = header["reading"]
    needed = {"depth": reading["flat_m"] is None, "camera": reading["camera_files"], "sparse": reading["sparse_files"]}
    names = ["images", *(name for name, is_needed in needed.items() if is_needed)]
    return f"hazegen repair {folder} " + " ".join(f"--{name} {name.upper()}" for name in names)


def _why_not(built: Built, expected: Shard | None, told: Rows, header: Mapping[str, Any]) -> str:
    """Why a shard that was built again is not the one that was lost; empty if it is."""
    if built.shard == expected:
        return ""
    for row in built.rows:
        if why := _what_changed(row, told.get(row["key"])):
            return why
    if expected is None:
        return ""
    differing = shards.differing_versions(header["versions"], built.versions) or "none"
    return (
        f"built again it has other bytes (SHA-256 {built.shard.sha256[:12]}..., expected {expected.sha256[:12]}...), "
        f"though its inputs have the digests of {INPUTS}. Versions that differ: {differing}. Build it on the kind of "
        "processor that made it, and compare its inputs with a copy: of larger files the digests see only parts"
    )


def _what_changed(row: Mapping[str, Any], before: Mapping[str, str] | None) -> str:
    if before is None:
        return f"scene '{row['key']}' is not listed in {INPUTS}"
    if row["fate"] != before["fate"]:
        now = f"rejected: {row['reason']}" if row["fate"] == "rejected" else "used"
        return f"scene '{row['key']}' was {before['fate']} and is now {now}"
    for column in DIGEST_COLUMNS:
        if row[column] != before[column]:
            what = column.removesuffix("_digest")
            file = row.get(what) or row["image"]
            return f"the {what} file of scene '{row['key']}' ('{file}') is another than it was made from"
    return ""
