"""Where a training run begins and ends: its folder, which it has for itself, its checkpoints, journal and report."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from aodnet import checkpoint, pages, run_report
from aodnet.checkpoint import Checkpoint
from aodnet.config import FitPaths
from aodnet.history import BEST
from aodnet.journal import Journal, of_dataset
from aodnet.run import Run
from aodnet.run_facts import CONFIG, HEAD
from hazegen import locks, stores
from hazegen.errors import RefusedError


@contextmanager
def alone(paths: FitPaths, is_chief: bool, say: Callable[[str], object]) -> Iterator[None]:
    """Holds the lock of the run folder, in the process that writes; a new folder in which nothing comes goes again.

    Raises:
        RefusedError: Another run works there, or it is no folder.
    """
    if not is_chief:
        yield
        return
    is_new = not paths.out.exists()
    if not is_new and not paths.out.is_dir():
        raise _taken(paths)
    try:
        paths.out.mkdir(parents=True, exist_ok=True)
        with locks.lock(paths.out, tell=say):
            yield
    finally:
        with suppress(OSError):
            if is_new:
                paths.out.rmdir()


@contextmanager
def told(run: Run, journal: Journal, device: str, saved: Checkpoint) -> Iterator[None]:
    """Keeps the journal, and leaves a report however the run ends, in the process that writes."""
    if not run.is_chief:
        yield
        return
    data_of = [of_dataset(source.folder, source.manifest, source.weight) for source in run.sources]
    facts = {"device": device, "processes": run.worker[1], "data": data_of, "steps": run.steps}

    def end() -> dict[str, Any]:
        return {"lost": dict(run.lost.counts), "skipped": sorted((epoch + 1, step) for epoch, step in run.skipped)}

    try:
        with journal.kept({**facts, "epoch": saved.epoch, "step": saved.step}, end):
            yield
    finally:
        pages.leave(run.paths.out / pages.REPORT, lambda: run_report.write(run.paths.out), run.say)


def find_start(paths: FitPaths, is_chief: bool) -> tuple[Checkpoint, list[str]]:
    """Where the run begins, and newer checkpoints that could not be read; nothing is written yet."""
    if paths.resume:
        return checkpoint.load_newest(paths.out / checkpoint.FOLDER)
    if is_chief and not _is_fresh(paths.out):
        raise _taken(paths)
    return Checkpoint(0, 0, [], {}), []


def _is_fresh(folder: Path) -> bool:
    """Whether a folder holds no more than a run leaves that was killed before its first checkpoint."""
    inside = [*folder.glob("*"), *(folder / checkpoint.FOLDER).glob("*")]
    ours = (locks.NAME, CONFIG, checkpoint.FOLDER)
    config = folder / CONFIG
    is_ours = not config.is_file() or config.read_bytes().startswith(HEAD.encode())
    return is_ours and all(path.name in ours or stores.is_temporary(path.name) for path in inside)


def _taken(paths: FitPaths) -> RefusedError:
    return RefusedError(
        f"The run folder '{paths.out}' is not empty. Expected a new folder, received one with files in it. "
        "Choose another --out, or pass --resume to go on with that run."
    )


def check_same(run: Run, saved: Checkpoint) -> None:
    """Refuses to go on with a run of other settings or data."""
    now = run.settings()
    changed = [name for name in now if saved.meta.get(name) != now[name]]
    if changed:
        different = [f"{name}: {saved.meta.get(name)} before, {now[name]} now" for name in changed]
        raise RefusedError(
            f"The run in '{run.paths.out}' has other settings. Expected the same ones to go on exactly, received "
            f"{'; '.join(different)}. Pass the run's own settings, or start a new run."
        )


def recall(run: Run, saved: Checkpoint) -> Checkpoint:
    """What a checkpoint knows beside the network and its optimizer, which are returned.

    These are the batches that are left out, the records that are lost and best.weights.h5.
    """
    run.skipped.update((int(epoch), int(step)) for epoch, step in saved.meta.get("skipped", []))
    run.lost.counts.update({str(name): int(count) for name, count in saved.meta.get("lost", {}).items()})
    return _put_back_best(run, saved)


def state(run: Run, variables: Sequence[Any], epoch: int, step: int) -> Checkpoint:
    """The checkpoint of this moment, with best.weights.h5 in it, of which a later epoch may be gone back on."""
    meta = {**run.settings(), "skipped": sorted(map(list, run.skipped)), "lost": run.lost.counts}
    now, best = checkpoint.of_variables(epoch, step, variables, meta), run.paths.out / BEST
    if not best.is_file():
        return now
    held = np.frombuffer(best.read_bytes(), np.uint8)
    return dataclasses.replace(now, arrays=[*now.arrays, held], names=(*now.names, BEST))


def _put_back_best(run: Run, saved: Checkpoint) -> Checkpoint:
    """The checkpoint without best.weights.h5, which is put back in the process that writes, or removed with none."""
    is_held, best = saved.names[-1:] == (BEST,), run.paths.out / BEST
    if run.is_chief and not is_held:
        best.unlink(missing_ok=True)
    if not is_held:
        return saved
    if run.is_chief:
        with stores.whole_file(best) as file:
            file.write(saved.arrays[-1].tobytes())
    return dataclasses.replace(saved, arrays=saved.arrays[:-1], names=saved.names[:-1])
