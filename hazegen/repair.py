"""hazegen repair: mends what of a dataset is damaged, missing or left over, bit for bit or not at all."""

import dataclasses
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from tqdm import tqdm

from hazegen import build, card, engine, locks, manifest, planning, reconstruct, shards, stores, tables, verify
from hazegen.build import ShardTask, read_result
from hazegen.errors import RefusedError, VerifyError
from hazegen.fingerprints import versions
from hazegen.manifest import INPUTS, MANIFEST, PLAN, Manifest
from hazegen.rebuild import RepairOptions, Step, build_again, command, give_names_back
from hazegen.verify import REPAIRS


def repair(folder: Path, options: RepairOptions) -> list[Step]:
    """Finds what is damaged, missing or left over, mends what can be mended, and holds it against the manifest again.

    A shard is replaced by one of the manifest's SHA-256 alone. No file that is no part of a dataset is removed.

    Raises:
        UsageError: The options are not those that the dataset was made with; nothing was touched.
        RefusedError: There is no dataset, it is of another schema version, or a run works on it.
    """
    names = shards.listing(folder)
    if MANIFEST not in names and PLAN not in names:
        raise RefusedError(
            f"'{folder}' is no dataset. Expected a {MANIFEST} or a {PLAN} in it, received neither. Check the path."
        )
    reconstruct.check_version(folder)
    _check_options(folder, options)
    # Before the lock, which sweeps the folder.
    temporary = [name for name in sorted(names) if verify.is_temporary(folder / name) and name != REPAIRS]
    with nullcontext() if options.dry_run else locks.lock(folder):
        known, steps = _sound_manifest(folder, options)
        if known:
            steps += _mend(folder, known, options)
        # The work of a run that was cut off is needed to go on with it.
        left = [name for name in temporary if known or name not in verify.LEFTOVERS]
        if not options.dry_run:
            for name in [*left, REPAIRS] if known else left:
                _remove(folder / name)
    return [*(Step(name, "removed") for name in left), *steps]


def _check_options(folder: Path, options: RepairOptions) -> None:
    """Holds the given inputs against those that the dataset was made with, before anything is touched."""
    if options.images is None:
        return
    try:
        reading = manifest.load(folder).reading
    except RefusedError:
        try:
            reading = shards.read_plan(folder)[0].get("reading", {})
        except RefusedError:
            return  # what is wrong with them is told later
    if isinstance(reading, dict) and {"camera_files", "sparse_files", "flat_m"} <= reading.keys():
        planning.check_same_files(reading, options.depth, options.camera, options.sparse)


def _mend(folder: Path, known: Manifest, options: RepairOptions) -> list[Step]:
    """All but the manifest."""
    found = verify.check(folder, known, options.workers, quick=True)
    steps = _mend_plan(folder, known, found.tables, options)
    damaged = {row.shard.name: row.problem for row in found.rows if row.problem}
    bad = {shard.name: shard for shard in known.shards if shard.name in damaged}
    named = give_names_back(folder, bad.values(), found.unknown, options.dry_run)
    steps += [Step(target, f"renamed from {name}") for target, name in named.items()]
    left = {name: problem for name, problem in damaged.items() if name not in named}
    if left:
        steps += build_again(folder, left, known, bad, options)
    if INPUTS in found.tables:
        steps.append(_mend_table(folder, known, found.tables[INPUTS], options))
    if not options.dry_run and named.keys() | left.keys():
        again = verify.check(folder, known, options.workers, quick=True, only=bad).rows
        told = {step.name for step in steps if not step.done}
        steps += [Step(r.shard.name, r.problem, False) for r in again if r.problem and r.shard.name not in told]
    if found.card and all(step.done for step in steps):
        steps += [Step(name, "written again") for name in found.card]
        if not options.dry_run:
            card.write_card(folder)
    strangers = [name for name in found.unknown if name not in named.values()]
    return steps + [Step(name, "no part of the dataset: move it elsewhere", False) for name in strangers]


# --- the manifest ---


def _sound_manifest(folder: Path, options: RepairOptions) -> tuple[Manifest | None, list[Step]]:
    """The manifest, told again from the rest where it is lost; None where that cannot be done."""
    try:
        return verify.load_sound(folder), []
    except VerifyError as error:
        problem = str(error)
    try:
        return _tell_manifest(folder, options, problem)
    except (RefusedError, VerifyError, FileNotFoundError, KeyError) as error:
        why = f"{_facts(problem)} It cannot be told from the rest either: {_facts(str(error))}"
        return None, [Step(MANIFEST, f"{why} Copy what is damaged from another copy of the dataset, or {_ANEW}", False)]


# --restart needs a plan that says what to remove.
_ANEW = "run the hazegen make that made it again, with a new --out or after deleting this folder"


def _facts(message: str) -> str:
    """A message without its advice where that is to run what runs just now."""
    return message.partition(" Run hazegen repair")[0].partition(" Run hazegen make to its end")[0]


def _tell_manifest(folder: Path, options: RepairOptions, problem: str) -> tuple[Manifest | None, list[Step]]:
    _check_finished(folder)
    with tqdm(unit="record", desc="reading", disable=None) as bar:
        reads = reconstruct.read_shards(folder, options.workers or engine.cores(), bar.update)
    damaged = {read.shard.name: read.problem for read in reads if read.problem}
    steps = build_again(folder, damaged, None, {}, options) if damaged else []
    if damaged and (options.dry_run or not all(step.done for step in steps)):
        return None, [*steps, Step(MANIFEST, f"written again when all shards are sound. {problem}", options.dry_run)]
    if damaged:
        reads = reconstruct.read_shards(folder, options.workers or engine.cores(), lambda _: None)
    others = versions() if damaged else shards.read_plan(folder)[0]["versions"]
    tools = () if others == shards.read_plan(folder)[0]["versions"] else (others,)
    about = reconstruct.lost_about(folder)
    known, proven = reconstruct.manifest_again(folder, reads, tools)
    trust = "as its digest proves" if proven else f"{_UNPROVEN}{_was_told(about)}"
    if not options.dry_run:
        stores.write_text(folder / MANIFEST, [known.to_json()])
        card.write_card(folder)
    return known, [*steps, Step(MANIFEST, f"written again, {trust}")]


_UNPROVEN = (
    "from plan, inputs.csv and shards, which nothing else vouches for; licence, citation and source are not known: "
    "state them with hazegen card"
)


def _was_told(about: Mapping[str, str]) -> str:
    """What the manifest said of the photos that was written over, so that it can be stated again."""
    if not about:
        return ""
    options = " ".join(f"--{name} {shlex.quote(text)}" for name, text in about.items())
    return f" (what lay there said {options})"


def _check_finished(folder: Path) -> None:
    names = shards.listing(folder)
    if INPUTS not in names or (MANIFEST not in names and shards.WORK in names):
        raise VerifyError(
            f"'{folder}' was not finished. Expected {INPUTS} and no {shards.WORK} beside {PLAN}, received what a run "
            "that was cut off leaves. Give the same hazegen make again: it goes on where it was left."
        )


# --- the tables ---


def _mend_plan(folder: Path, known: Manifest, problems: Mapping[str, str], options: RepairOptions) -> list[Step]:
    if PLAN not in problems:
        return []
    if INPUTS in problems or not tables.mend_plan(folder, known, dry_run=options.dry_run):
        return [Step(PLAN, _how_else(folder, known, problems[PLAN]), False)]
    return [Step(PLAN, f"written again from {MANIFEST} and {INPUTS}")]


def _how_else(folder: Path, known: Manifest, problem: str) -> str:
    """What is left to do of a table that cannot be told again."""
    try:
        verb = shards.read_plan(folder)[0].get("derived")
    except RefusedError:
        verb = None
    if verb or known.sources:
        which = verb if verb in ("split", "merge", "sample") else "split, merge or sample"
        how = f"give the hazegen {which} that made it again, with --out NEW"
    else:
        how = _ANEW
    return f"{problem}. Copy it from another copy of the dataset, or {how}"


def _mend_table(folder: Path, known: Manifest, problem: str, options: RepairOptions) -> Step:
    """Reads all inputs of the plan again, without making haze."""
    left = Step(INPUTS, _how_else(folder, known, problem), False)
    try:
        header, plans = shards.read_plan(folder)
        reconstruct.check_own_plan(header)
        if options.images is None:
            return Step(INPUTS, f"{problem}. To tell it again: {command(folder, header)}", False)
        if options.dry_run:
            return Step(INPUTS, f"written again from {PLAN} and the inputs")
        settings = planning.settings_of(header, options.images, options.depth, options.camera, options.sparse)
        without_haze = dataclasses.replace(settings, variants=0)
        with tempfile.TemporaryDirectory() as scratch, tqdm(unit="shard", desc="reading inputs", disable=None) as bar:
            place = Path(scratch)
            tasks = (ShardTask(plan, place, without_haze) for plan in plans)
            for _ in engine.run(build.build_shard, tasks, options.workers or engine.cores(), lambda _: None):
                bar.update()
            # Each shard's rows lie in its result: all of them would fill the memory.
            rows = (read_result(place, plan.name).rows for plan in shards.read_plan(folder)[1])
            if not tables.mend_table(folder, known, rows):
                return left
    except (RefusedError, VerifyError):
        return left
    return Step(INPUTS, f"written again from {PLAN} and the inputs")


# --- what is left over ---


def _remove(path: Path) -> None:
    """A temporary file, or the work folder of a run that was killed; of files on a disk the lock has swept most."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
    elif stores.is_remote(path):
        for name in stores.files_below(path):
            (path / name).unlink(missing_ok=True)
    else:
        shutil.rmtree(path)
