"""aodnet fit: the training loop, for the CPU, one GPU, several, and several machines.

One loop of ours on tf.distribute's public API, because model.fit cannot resume inside an epoch and fails with
several machines. It drives Keras callbacks through keras.callbacks.CallbackList, so every Keras callback works
here; the values that a step gives them are tensors, and reading one waits for the device.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from aodnet import (
    checkpoint,
    data,
    devices,
    faults,
    run_folder,
    run_state,
    validation_pictures,
    waiting,
    weights,
    workers,
)
from aodnet import run as runs
from aodnet.checkpoint import Checkpoint
from aodnet.config import FitConfig, FitPaths
from aodnet.faults import NotFinite
from aodnet.history import best_of
from aodnet.journal import Journal
from aodnet.run import Run
from aodnet.telling import tell_lost
from aodnet.trainer import Look, Trainer
from aodnet.waiting import Waiting
from hazegen.progress import counted

# Steps between two looks at what the device has seen. Every process of a run looks at the same steps.
LOOK = 50
_SHORT_S = 5.0  # an epoch in which the pipeline's start is most of the waiting


@dataclass(frozen=True)
class Fitted:
    """What a run has come to.

    Attributes:
        run: Its folder.
        device: What it was trained on.
        epochs: How many the run has come to, those before a resume included.
        best: The row of history.csv with the highest validation PSNR; empty where another process writes.
        seconds: Time taken.
        skipped: (epoch, step), both from 0, of batches that were left out because of NaN.
        lost: What could not be read, where --on-damage is skip.
        was_done: Whether there was nothing left to do.
    """

    run: Path
    device: str
    epochs: int
    best: dict[str, float]
    seconds: float
    skipped: tuple[tuple[int, int], ...] = ()
    lost: data.Lost = field(default_factory=data.Lost)
    was_done: bool = False


# The pass through the data that the epoch before has not come to the end of, by its number and its next step.
Reading = dict[tuple[int, int], Any]


def fit(
    paths: FitPaths,
    config: FitConfig,
    *,
    say: Callable[[str], object] = lambda _: None,
    extra: tuple[keras.callbacks.Callback, ...] = (),
    command: str = "",
) -> Fitted:
    """Trains AOD-Net on datasets and leaves everything in the run folder.

    Args:
        say: Receives what a user should know on the way, a line at a time.
        extra: More Keras callbacks.
        command: What was typed, for the run's journal and report.

    Raises:
        UsageError, RefusedError, VerifyError: Settings, data or run folder cannot be used, or the run
            has come to NaN; what is written stays.
        StoreError: The store of a dataset failed, or another process of the run did.
    """
    began = time.monotonic()
    cluster = workers.read_cluster()
    strategy, device = devices.choose_strategy()  # first: several machines have to be known before any operation
    worker = (0, 1) if cluster is None else (cluster.index, cluster.count)
    with run_state.alone(paths, worker[0] == 0, say):
        saved, damaged = run_state.find_start(paths, is_chief=worker[0] == 0)
        journal = Journal(paths.out, say, command)
        run = runs.prepare(paths, config, worker, journal.say)
        if paths.resume:
            run_state.check_same(run, saved)
        folder = run_folder.RunFolder(paths.out, saved.epoch) if run.is_chief else None
        was_done = saved.epoch >= config.epochs
        done = saved.epoch if was_done else _train(run, strategy, device, saved, damaged, folder, extra, journal)
    best = best_of(folder.rows if folder else [])
    seconds = time.monotonic() - began
    return Fitted(paths.out, device, done, best, seconds, tuple(sorted(run.skipped)), run.lost, was_done)


def _train(
    run: Run,
    strategy: tf.distribute.Strategy,
    device: str,
    saved: Checkpoint,
    damaged: list[str],
    folder: run_folder.RunFolder | None,
    extra: tuple[keras.callbacks.Callback, ...],
    journal: Journal,
) -> int:
    """All that is left of a run, and its report. Returns how many epochs it has come to."""
    config = run.config
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    jit = devices.wants_xla(config)
    trainer = Trainer(config, config.epochs * run.steps, strategy, jit=jit, recipes=run.recipes)
    with faults.explained(run):
        _begin(trainer, run, saved, damaged, folder)
    own = [folder, *run_folder.tensorboard(run.paths.out)] if folder else []
    callbacks = keras.callbacks.CallbackList(
        [*own, *extra], model=trainer.result, epochs=config.epochs, steps=run.steps
    )
    run.say(f"training on {device}: {counted(config.epochs, 'epoch')} of {counted(run.steps, 'step')}.")
    with run_state.told(run, journal, device, saved), faults.explained(run):
        return _run_all(trainer, run, saved, callbacks, folder)


def _begin(
    trainer: Trainer, run: Run, saved: Checkpoint, damaged: list[str], folder: run_folder.RunFolder | None
) -> None:
    """Goes back to a checkpoint, or writes the first one, in the process that writes."""
    if damaged:
        run.say(f"warning: a checkpoint could not be read, so that an older one is used: {'; '.join(damaged)}.")
    if run.paths.resume:
        trainer.restore(run_state.recall(run, saved))
        if damaged and run.is_chief and (aside := checkpoint.set_aside(run.checkpoints, saved)):
            run.say(f"warning: {', '.join(aside)}: renamed, and not counted among the checkpoints that are kept.")
        run.say(f"resuming at epoch {saved.epoch + 1}, step {saved.step}.")
    faults.check_together(trainer, run, saved)
    if folder is None:
        return
    folder.examples = validation_pictures.choose(run)
    if not run.paths.resume:
        runs.write_start(run)
        faults.save(trainer, run, 0, 0)


def _run_all(
    trainer: Trainer,
    run: Run,
    start: Checkpoint,
    callbacks: keras.callbacks.CallbackList,
    folder: run_folder.RunFolder | None,
) -> int:
    """All epochs from `start` on, with as many rollbacks as are allowed. Returns how many the run has come to."""
    callbacks.on_train_begin()
    epoch, step, reading = start.epoch, start.step, Reading()
    while epoch < run.config.epochs and not trainer.result.stop_training:
        try:
            epoch, step = _run_epoch(trainer, run, epoch, step, callbacks, reading)
        except NotFinite as fault:
            epoch, step = faults.roll_back(trainer, run, fault)
            reading.clear()
            if folder is not None:
                folder.rewind(epoch)
    callbacks.on_train_end()
    return epoch


def _run_epoch(
    trainer: Trainer, run: Run, epoch: int, step: int, callbacks: keras.callbacks.CallbackList, reading: Reading
) -> tuple[int, int]:
    """Steps, validation, callbacks, checkpoint. Returns epoch and step to go on with.

    Where a callback has ended it before its last step, it is no epoch: a checkpoint of that step is all.
    """
    callbacks.on_epoch_begin(epoch)
    if step == 0:
        trainer.begin_epoch()
    look, watch, reached = _run_steps(trainer, run, epoch, step, callbacks, reading)
    if reached < run.steps:
        faults.settle(trainer, epoch, reached)
        faults.save(trainer, run, epoch, reached)
        run.say(f"stopped after {reached} of {run.steps} steps of epoch {epoch + 1}; --resume goes on from there.")
        return epoch, reached
    if look.examples == 0:
        raise run.nothing_left(f"training in epoch {epoch + 1}")
    weights.flush_small(trainer.model)
    faults.settle(trainer, epoch, run.steps)
    where = f"epoch {epoch + 1} of {run.config.epochs}"
    scores = trainer.validate(
        run.validation, lambda count: run.pulse(f"validating {where}: {counted(count, 'image')} done.")
    )
    if not scores:
        raise run.nothing_left("validation")
    if not math.isfinite(scores["val_loss"]):
        raise NotFinite("validation", epoch, None, trainer.find_bad(run.validation_places()))
    logs = {"loss": look.loss, **scores}
    logs["learning_rate"] = float(trainer.optimizer.learning_rate)
    logs |= {"data_wait": watch.share, "images_per_s": watch.rate, "lost": float(run.lost.total)}
    logs = {name: float(np.float32(value)) for name, value in logs.items()}  # of which the network has no more digits
    callbacks.on_epoch_end(epoch, logs)
    faults.save(trainer, run, epoch + 1, 0)
    _report(run, epoch, logs, watch)
    return epoch + 1, 0


def _report(run: Run, epoch: int, logs: dict[str, float], watch: Waiting) -> None:
    said = "  ".join(f"{name} {value:.5g}" for name, value in logs.items() if name != "lost" or value)
    run.say(f"epoch {epoch + 1}: {said}")
    if run.lost.total:
        run.say(f"warning: epoch {epoch + 1} went without damaged records: {tell_lost(run.lost, run.paths.data)}.")
    if watch.share > waiting.MUCH and watch.seconds > _SHORT_S:
        run.say(f"note: {waiting.remedy(watch.share, run.manifests)}")


def _run_steps(
    trainer: Trainer, run: Run, epoch: int, done: int, callbacks: keras.callbacks.CallbackList, reading: Reading
) -> tuple[Look, Waiting, int]:
    """The steps of one epoch that are not done yet, with a checkpoint every so many.

    The device is looked at every LOOK steps, before every checkpoint and at the end, so that it need not wait for
    this loop. Until then the graph itself keeps numbers that are not finite out of the weights.
    """
    logs: dict[str, Any] = {}
    taken: list[int] = []  # steps since the last look
    look = trainer.look()
    watch = Waiting(trainer.works_alone, trainer.traces, look.examples)
    title = f"epoch {epoch + 1} of {run.config.epochs}"
    compiled = "" if trainer.traces() else "; the first one takes longer, as it is compiled"
    run.pulse(f"starting step {done + 1} of {run.steps} of {title}{compiled}.")
    with tqdm(total=run.steps, initial=done, desc=title, unit="step", disable=None if run.is_chief else True) as bar:
        for step, batch in enumerate(_batches(trainer, run, epoch, done, watch, logs, reading), start=done):
            if (epoch, step) not in run.skipped:
                callbacks.on_train_batch_begin(step)
                logs.update(watch.step(lambda batch=batch: trainer.step(batch)))  # type: ignore[misc]
                taken.append(step)
            bar.update()
            known = f", loss {look.loss:.5g}" if look.examples else ""  # of the steps up to the last look
            run.pulse(f"at step {step + 1} of {run.steps} of {title}{known}.")
            is_saved = (step + 1) % run.config.checkpoint_steps == 0 and step + 1 < run.steps
            if is_saved or step + 1 == run.steps or (step + 1) % LOOK == 0:
                look = faults.look(trainer, epoch, taken)
                bar.set_postfix(loss=f"{look.loss:.5f}", refresh=False)
            if is_saved:
                faults.settle(trainer, epoch, step + 1)
                faults.save(trainer, run, epoch, step + 1)
            if (epoch, step) not in run.skipped:
                callbacks.on_train_batch_end(step, dict(logs))
            done = step + 1
            if trainer.result.stop_training:
                break
        look = faults.look(trainer, epoch, taken)
    watch.end(look.examples)
    return look, watch, done


def _batches(
    trainer: Trainer, run: Run, epoch: int, done: int, watch: Waiting, logs: dict[str, Any], reading: Reading
) -> Iterator[Any]:
    """What `Trainer.step` takes, for the steps of an epoch from `done` on."""
    for number, first, count in run.passes(epoch, done):
        batches = reading.pop((number, first), None)
        reading.clear()
        if batches is None:
            batches = iter(trainer.distribute(run.batches(number, first)))
        for step in range(count):
            with faults.explained(run, (epoch, number * run.once + first + step - epoch * run.steps)):
                batch = watch.next(batches, lambda: [float(value) for value in logs.values()])
            yield batch
        if first + count < run.once:
            reading[number, first + count] = batches
        # While one iterator lives, its threads wait for room, and with few cores the next one would wait for them.
        del batches
