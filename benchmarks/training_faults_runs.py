"""The trials of training_faults.py: a small dataset, an unbroken run on it, and what is done to others."""

import contextlib
import csv
import dataclasses
import io
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from training_faults_kinds import ROLLBACKS, SHARD_FAULTS, Damage, NanFault, Rng, Trigger, broken

from aodnet import checkpoint
from aodnet.config import FitConfig, FitPaths
from aodnet.fit import Fitted, fit
from hazegen import config as configs
from hazegen import images, manifest, records
from hazegen.errors import HazegenError, RefusedError, VerifyError
from hazegen.make import make
from hazegen.make_options import MakeOptions
from hazegen.manifest import Shard
from hazegen.recipe import Recipe
from hazegen.samples import make_samples

Say = Callable[[str], object]

CONFIG = FitConfig(epochs=3, batch=2, crop=32, loss="l1=0.8, ssim=0.2", ema=0.9, checkpoint_steps=2, seed=5)
# Columns of history.csv that tell of the machine.
_OF_MACHINE = {"data_wait", "images_per_s"}
_START_TIMEOUT_S, _RUN_TIMEOUT_S = 300.0, 600.0


@dataclass(frozen=True)
class Site:
    """A dataset, and what a run on it must come to.

    Attributes:
        folder: For everything.
        data: The dataset, only to be read.
        config: Of the runs.
        whole: The unbroken run.
        steps: In an epoch.
        seconds: That it took in a process of its own, or in this one.
    """

    folder: Path
    data: Path
    config: FitConfig
    whole: Path
    steps: int
    seconds: float

    def copy(self, source: Path, name: str) -> Path:
        """A copy of a folder, in place of one of the same name."""
        target = self.folder / name
        shutil.rmtree(target, ignore_errors=True)
        return Path(shutil.copytree(source, target))


def make_site(folder: Path, *, scenes: int = 18, config: FitConfig = CONFIG) -> Site:
    """Some 12 training scenes of 64 x 48 in two variants, in several shards, and a run of 3 epochs on them."""
    with contextlib.redirect_stderr(io.StringIO()):
        make_samples(folder / "scenes", scenes, 0, width=64, height=48)
        recipe = configs.build(Recipe, configs.read_config(configs.find_config("aod-released", "recipes"), Recipe))
        options = MakeOptions(
            **{kind: folder / "scenes" / kind for kind in ("images", "depth", "camera")},
            out=folder / "data", variants=2, codec="png", splits="train=0.67,validation=0.33", shard_mb=0.06, workers=1,
        )  # fmt: skip
        make(options, recipe)
    known = manifest.load(folder / "data")
    steps = -(-known.records_of("train") // config.batch)
    began = time.monotonic()
    train(folder / "data", folder / "whole", config)
    return Site(folder, folder / "data", config, folder / "whole", steps, time.monotonic() - began)


def train(data: Path, out: Path, config: FitConfig, **options: Any) -> tuple[Fitted, str]:
    """One run in this process, and what it said: that is in the list `said` too, where there is one."""
    callbacks, said = options.pop("extra", ()), options.pop("said", [])
    with contextlib.redirect_stderr(io.StringIO()):
        fitted = fit(FitPaths(data=(data,), out=out, **options), config, say=said.append, extra=callbacks)
    return fitted, "\n".join(said)


def differences(site: Site, run: Path) -> list[str]:
    """What of a run is not, to the bit, what the unbroken one has come to; the clock's columns apart."""
    files = [f"checkpoints/{checkpoint.newest_path(site.whole / 'checkpoints').name}"]
    files += ["last.weights.h5", "best.weights.h5"]
    other = [name for name in files if not same(site.whole / name, run / name)]
    return other + ["history.csv"] * (curve(site.whole) != curve(run))


def same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def curve(run: Path) -> list[dict[str, str]]:
    """The rows of history.csv, as text: every digit counts."""
    path = run / "history.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if name not in _OF_MACHINE} for row in csv.DictReader(file)]


def not_finite(run: Path) -> list[str]:
    """Files of a run with a number in them that is not finite. Read here by other means than the package's."""
    found = []
    for path in sorted(run.rglob("*.npz")):
        with np.load(path, allow_pickle=False) as content:
            arrays = [content[name] for name in content.files]
        found += [path.name] * any(array.dtype.kind == "f" and not np.isfinite(array).all() for array in arrays)
    for path in sorted(run.rglob("*.h5")):
        with h5py.File(path) as file:
            names: list[str] = []
            file.visit(names.append)
            arrays = [file[name][()] for name in names if isinstance(file[name], h5py.Dataset)]
        found += [path.name] * any(not np.isfinite(array).all() for array in arrays)
    return found


# --- damaged shards ---


def shard(site: Site, kind: str, mode: str, rng: Rng) -> str:
    """One fault in a training shard, under one --on-damage. Returns what of the promises was broken."""
    data = site.copy(site.data, "damaged")
    shards: list[Shard] = manifest.load(data).shards_of("train")
    chosen = shards[int(rng.integers(len(shards)))]
    gone = SHARD_FAULTS[kind](data / chosen.name, rng)
    out = site.folder / "run"
    shutil.rmtree(out, ignore_errors=True)
    config = dataclasses.replace(site.config, epochs=1)
    try:
        fitted, said = train(data, out, config, on_damage=mode)
    except HazegenError as error:
        if mode == "skip":
            return f"ended with: {error}"
        named = isinstance(error, VerifyError) and chosen.name in str(error) and "hazegen repair" in str(error)
        return "" if named and not not_finite(out) else f"the error does not name the shard: {error}"
    if mode == "fail":
        return "the run ended as if nothing were damaged"
    if {name: count for name, count in fitted.lost.counts.items() if count} != {chosen.name: gone}:
        return f"lost {gone} of {chosen.name}, counted {fitted.lost.counts}"
    return "" if chosen.name in said and not not_finite(out) else f"the loss of {gone} records was not told: {said}"


# --- numbers that are not finite ---


def nan(site: Site, fault: NanFault) -> str:
    """One run with numbers that are not finite. Returns what of the promises was broken."""
    out = site.folder / "run"
    shutil.rmtree(out, ignore_errors=True)
    config = dataclasses.replace(site.config, on_nan=fault.on_nan)
    trigger = Trigger(fault.places)
    lines: list[str] = []
    try:
        with broken(fault.where, trigger):
            fitted, said = train(site.data, out, config, extra=(trigger,), said=lines)
    except RefusedError as error:
        fitted, said = None, "\n".join([*lines, str(error)])
    if bad := not_finite(out):
        return f"not finite: {', '.join(bad)}"
    stops = fault.on_nan == "stop" or len(fault.places) > ROLLBACKS
    if stops != (fitted is None):
        return f"the run {'went on' if stops else 'stopped'}: {said}"
    for epoch, step in fault.places:
        told = f"the {fault.where} .*not finite.* step {step} of epoch {epoch + 1} \\(keys ([^)]+)\\)"
        keys = keys_of(site, trigger.seen[epoch, step])
        if not any(found.split(", ") == keys for found in re.findall(told, said)):
            return f"step {step} of epoch {epoch + 1} and its keys {keys} were not told: {said}"
    if fitted is None:
        return ""
    if fitted.skipped != fault.places or len(curve(out)) != site.config.epochs:
        return f"left out {fitted.skipped} in place of {fault.places}"
    return ""


def keys_of(site: Site, windows: np.ndarray) -> list[str]:
    """Keys of the records that windows come from, found by their pixels alone."""
    found = [
        record
        for shard in manifest.load(site.data).shards_of("train")
        for record in map(records.decode, records.read_shard(site.data / shard.name))
    ]
    pictures = {record["key"]: images.decode(record["hazy"], record["key"]) for record in found}
    return [next(key for key, picture in pictures.items() if holds(picture, window)) for window in windows]


def holds(picture: np.ndarray, window: np.ndarray) -> bool:
    """Whether a picture has a window, mirrored or turned."""
    places = np.lib.stride_tricks.sliding_window_view(picture, window.shape)
    versions = [np.rot90(side, turn) for side in (window, window[:, ::-1]) for turn in range(4)]
    return any((places[np.all(places[..., 0, 0, :] == one[0, 0], -1)] == one).all((1, 2, 3)).any() for one in versions)


# --- damaged checkpoints ---


class _Stop(Exception):
    """Ends a run in this process where a kill would."""


class _StopAt(keras.callbacks.Callback):
    def __init__(self, position: tuple[int, int]) -> None:
        super().__init__()
        self.position, self.epoch = position, 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        if (self.epoch, batch) >= self.position:
            raise _Stop


def stopped(site: Site, name: str, position: tuple[int, int]) -> Path:
    """The folder of a run that has ended before a step, as a kill ends it."""
    run = site.folder / name
    shutil.rmtree(run, ignore_errors=True)
    with contextlib.suppress(_Stop):
        train(site.data, run, site.config, extra=(_StopAt(position),))
    return run


def damaged_checkpoint(site: Site, ended: Path, damage: Damage, *, both: bool = False) -> str:
    """A run that has ended before its time, its newest checkpoint damaged, resumed. Returns what was broken.

    Args:
        both: Damage the older one too: then it has to be refused.
    """
    run = site.copy(ended, "resumed")
    older, newest = sorted((run / "checkpoints").iterdir())
    rows, place = curve(run), _position_of(older)
    damage(newest, older)
    if both:
        older.write_bytes(older.read_bytes()[:-1])
    try:
        _, said = train(site.data, run, site.config, resume=True)
    except RefusedError as error:
        refused = both and newest.name in str(error) and older.name in str(error) and curve(run) == rows
        return "" if refused else f"refused: {error}"
    if both:
        return "went on without a checkpoint"
    told = [line for line in said.splitlines() if line.startswith("warning: ")]
    if f"resuming at epoch {place[0] + 1}, step {place[1]}." not in said or not any(
        newest.name in line for line in told
    ):
        return f"the fall back was not told: {said}"
    return ", ".join(differences(site, run))


# --- kill -9 ---


@dataclass
class Killed:
    """How many kills there were, and how many of them before the process had come to its first step."""

    kills: int = 0
    at_start: int = 0


def command(site: Site, out: Path, *more: str) -> list[str]:
    """aodnet fit with the settings of the site, in a process of its own."""
    words = [f"--{name.replace('_', '-')}={value}" for name, value in dataclasses.asdict(site.config).items()
             if value is not None and not isinstance(value, bool)]  # fmt: skip
    program = [sys.executable, "-c", "import sys; from aodnet.cli import main; sys.exit(main())"]
    return [*program, "fit", "--data", str(site.data), "--out", str(out), "--wandb", "off", *words, *more]


def kill_chain(site: Site, count: int, rng: Rng, told: Killed, *, inside: bool = False) -> str:
    """`count` kills of one run at random moments, each followed by a resume, and the end. Returns what was broken.

    Args:
        inside: The last resume is in this process.
    """
    run = site.folder / "chain"
    shutil.rmtree(run, ignore_errors=True)
    total = site.config.epochs * site.steps
    targets = sorted(rng.choice(np.arange(1, total), count, replace=False).tolist())
    for number, target in enumerate([*targets, None]):
        place = _position(run)
        if target is None and inside:
            problem, said = "", train(site.data, run, site.config, resume=True)[1]
        else:
            problem, said = _process(site, run, target, rng, told, "--resume" if number else "--no-resume")
        if problem:
            return f"{problem}: {said[-2000:]}"
        # A process that was killed while starting has said nothing yet.
        goes_on = f"resuming at epoch {place[0] + 1}, step {place[1]}." if place else ""
        if goes_on not in said and ("resuming" in said or target is None):
            return f"expected '{goes_on}', received: {said[-2000:]}"
    left = [path.name for path in run.rglob("*.tmp")]
    return ", ".join(differences(site, run) + not_finite(run) + left)


def _process(site: Site, run: Path, target: int | None, rng: Rng, told: Killed, resume: str) -> tuple[str, str]:
    """One process of the run, killed at `target` or not at all: what was broken, and what it said."""
    with (site.folder / "log").open("w+b") as log:
        with subprocess.Popen(command(site, run, resume), stdout=log, stderr=subprocess.STDOUT) as process:
            problem = _end(site, process, run, target, rng, told)
        log.seek(0)
        return problem, log.read().decode("utf-8", "replace")


def _end(site: Site, process: Any, run: Path, target: int | None, rng: Rng, told: Killed) -> str:
    """Waits for the end, or for the position and a random moment more, and kills."""
    if target is None:
        try:
            status = process.wait(_RUN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return "the last run did not end"
        return f"the last run ended with {status}" if status else ""
    began = time.monotonic()
    # One kill in five while the process starts and reads; the first one has to have written a checkpoint.
    early = _position(run) is not None and rng.uniform() < 0.2
    if early:
        time.sleep(float(rng.uniform(0.0, min(5.0, site.seconds))))
    else:
        while _reached(site, run) < target:
            if process.poll() is not None or time.monotonic() - began > _START_TIMEOUT_S:
                process.kill()
                return f"the run ended with {process.returncode} before step {target}"
            time.sleep(0.002)
        time.sleep(float(rng.uniform(0.0, 0.08)))
    process.send_signal(signal.SIGKILL)
    if process.wait() == -signal.SIGKILL:
        told.kills += 1
        told.at_start += early
    return ""


def _position(run: Path) -> tuple[int, int] | None:
    """Epoch and step of the newest checkpoint by its name."""
    paths = sorted((run / "checkpoints").glob("epoch-*.npz"))
    return _position_of(paths[-1]) if paths else None


def _position_of(path: Path) -> tuple[int, int]:
    return int(path.name[6:11]), int(path.name[17:24])


def _reached(site: Site, run: Path) -> int:
    place = _position(run)
    return -1 if place is None else place[0] * site.steps + place[1]
