"""aodnet fit: the training loop, for the CPU, one GPU, several, and several machines.

One loop of ours on tf.distribute's public API, because model.fit cannot resume inside an epoch and fails with
several machines. It drives Keras callbacks through keras.callbacks.CallbackList, so every Keras callback works
here; the values that a step gives them are tensors, and reading one waits for the device.
"""

import importlib.util
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tqdm import tqdm

from aodnet import checkpoint, data, faults, online, run_folder, waiting, weights, workers
from aodnet import run as runs
from aodnet.checkpoint import Checkpoint
from aodnet.config import FitConfig, FitPaths
from aodnet.faults import NotFinite
from aodnet.run import Run
from aodnet.trainer import Look, Trainer, choose_strategy, wants_xla
from aodnet.waiting import Waiting
from hazegen.errors import RefusedError

EXAMPLES = 4
# Steps between two looks at what the device has seen. Every process of a run looks at the same steps.
LOOK = 50
PATIENCE = 20
_SHORT_S = 5.0  # an epoch in which the pipeline's start is most of the waiting


@dataclass(frozen=True)
class Fitted:
    """What a run has come to.

    Attributes:
        run: Its folder.
        device: What it was trained on.
        epochs: How many the run has come to, those before a resume included.
        best: The row of history.csv (epochs from 0) with the highest validation PSNR; empty where another process
            writes.
        seconds: Time taken.
        skipped: (epoch, step), both from 0, of batches that were left out because of NaN.
        lost: What could not be read, where --on-damage is skip.
    """

    run: Path
    device: str
    epochs: int
    best: dict[str, float]
    seconds: float
    skipped: tuple[tuple[int, int], ...] = ()
    lost: data.Lost = field(default_factory=data.Lost)


# The pass through the data that the epoch before has not come to the end of, by its number and its next step.
Reading = dict[tuple[int, int], Any]


def fit(
    paths: FitPaths,
    config: FitConfig,
    *,
    say: Callable[[str], object] = lambda _: None,
    extra: tuple[keras.callbacks.Callback, ...] = (),
) -> Fitted:
    """Trains AOD-Net on datasets and leaves everything in the run folder.

    Args:
        say: Receives what a user should know on the way, a line at a time.
        extra: More Keras callbacks.

    Raises:
        UsageError, RefusedError, VerifyError: Settings, data or run folder cannot be used, or the run
            has come to NaN; what is written stays.
        StoreError: The store of a dataset failed, or another process of the run did.
    """
    began = time.monotonic()
    cluster = workers.read_cluster()
    strategy, device = choose_strategy()  # first of all: several machines have to be known before any operation
    worker = (0, 1) if cluster is None else (cluster.index, cluster.count)
    with runs.alone(paths, worker[0] == 0, say):
        saved, damaged = runs.find_start(paths, is_chief=worker[0] == 0)
        run = runs.prepare(paths, config, worker, say)
        keras.utils.set_random_seed(config.seed)
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()
        say(f"training on {device}: {config.epochs} epochs of {run.steps} steps.")
        steps = config.epochs * run.steps
        trainer = Trainer(config, steps, strategy, jit=wants_xla(config), recipes=run.recipes)
        if damaged:
            say(f"warning: a checkpoint could not be read, so that an older one is used: {'; '.join(damaged)}.")
        if paths.resume:
            _resume(trainer, run, saved, damaged)
        try:
            faults.check_together(trainer, run, saved)
            folder = _open_folder(trainer, run, saved)
            own = [folder, *_tensorboard(paths.out)] if folder else []
            callbacks = keras.callbacks.CallbackList(
                [*own, *extra], model=trainer.result, epochs=config.epochs, steps=run.steps
            )
            done = _run_all(trainer, run, saved, callbacks, folder)
        except tf.errors.OpError as error:
            faults.explain(error, run)
            raise
    rows = folder.rows if folder else []
    best = max(rows, key=lambda row: row["val_psnr_rgb"], default={})
    seconds = time.monotonic() - began
    return Fitted(paths.out, device, done, best, seconds, tuple(sorted(run.skipped)), run.lost)


def _resume(trainer: Trainer, run: Run, saved: Checkpoint, damaged: list[str]) -> None:
    runs.check_same(run, saved)
    if run.is_chief:
        run_folder.RunFolder(run.paths.out, saved.epoch)  # refuses a history that cannot be gone on with
    trainer.restore(runs.recall(run, saved))
    if damaged and run.is_chief and (aside := checkpoint.set_aside(run.checkpoints, saved)):
        run.say(f"warning: {', '.join(aside)}: renamed, and not counted among the checkpoints that are kept.")
    run.say(f"resuming at epoch {saved.epoch + 1}, step {saved.step}.")


def _open_folder(trainer: Trainer, run: Run, saved: Checkpoint) -> run_folder.RunFolder | None:
    """The run folder, with a first checkpoint in it where it is new; none in a process that does not write."""
    if not run.is_chief:
        return None
    if not run.paths.resume:
        runs.write_start(run)
        faults.save(trainer, run, 0, 0)
    folder = run_folder.RunFolder(run.paths.out, saved.epoch)
    folder.examples = [online.hazy_and_clean(batch, run.recipes) for batch in run.examples(EXAMPLES)]
    return folder


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
        _settle(trainer, epoch, reached)
        faults.save(trainer, run, epoch, reached)
        run.say(f"stopped after {reached} of {run.steps} steps of epoch {epoch + 1}; --resume goes on from there.")
        return epoch, reached
    if look.examples == 0:
        raise run.nothing_left(f"training in epoch {epoch + 1}")
    weights.flush_small(trainer.model)
    _settle(trainer, epoch, run.steps)
    scores = trainer.validate(run.validation)
    if not scores:
        raise run.nothing_left("validation")
    if not math.isfinite(scores["val_loss"]):
        raise NotFinite("validation", epoch, None, trainer.find_bad(run.validation_places()))
    logs = {"loss": look.loss, **scores}
    logs["learning_rate"] = float(trainer.optimizer.learning_rate)
    logs |= {"data_wait": watch.share, "images_per_s": watch.rate, "lost": float(run.lost.total)}
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


def tell_lost(lost: data.Lost, folders: Sequence[Path]) -> str:
    """How many records could not be read, and of which shards."""
    shown = [f"{count} of '{path}'" for path, count in lost.named(folders).items()]
    more = f" and {len(shown) - 8} more shards" if len(shown) > 8 else ""
    return f"{lost.total} ({', '.join(shown[:8])}{more}); hazegen repair restores them"


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
    title = f"epoch {epoch + 1}/{run.config.epochs}"
    with tqdm(total=run.steps, initial=done, desc=title, unit="step", disable=None if run.is_chief else True) as bar:
        for step, batch in enumerate(_batches(trainer, run, epoch, done, watch, logs, reading), start=done):
            if (epoch, step) not in run.skipped:
                callbacks.on_train_batch_begin(step)
                logs.update(watch.step(lambda batch=batch: trainer.step(batch)))  # type: ignore[misc]
                taken.append(step)
            bar.update()
            is_saved = (step + 1) % run.config.checkpoint_steps == 0 and step + 1 < run.steps
            if is_saved or step + 1 == run.steps or (step + 1) % LOOK == 0:
                look = _look(trainer, epoch, taken)
                bar.set_postfix(loss=f"{look.loss:.5f}", refresh=False)
            if is_saved:
                _settle(trainer, epoch, step + 1)
                faults.save(trainer, run, epoch, step + 1)
            if (epoch, step) not in run.skipped:
                callbacks.on_train_batch_end(step, dict(logs))
            done = step + 1
            if trainer.result.stop_training:
                break
        look = _look(trainer, epoch, taken)
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
            try:
                batch = watch.next(batches, lambda: [float(value) for value in logs.values()])
            except tf.errors.OpError as error:
                faults.explain(error, run, (epoch, number * run.once + first + step - epoch * run.steps))
                raise
            yield batch
        if first + count < run.once:
            reading[number, first + count] = batches
        # While one iterator lives, its threads wait for room, and with few cores the next one would wait for them.
        del batches


def _look(trainer: Trainer, epoch: int, taken: list[int]) -> Look:
    """What the device has seen in the steps `taken`, which are forgotten.

    Raises:
        NotFinite: A number was not finite.
        RefusedError: K has died: 0 at every pixel, for PATIENCE steps on end. K I - K + b is then b everywhere:
            white pictures, and no gradient that could bring K back.
    """
    look = trainer.look()
    if look.bad >= 0:
        raise NotFinite(look.fault, epoch, taken[look.bad])
    taken.clear()
    if look.dead >= PATIENCE:
        raise RefusedError(
            f"K has died. Expected K above 0 somewhere, received 0 at every pixel for {look.dead} steps: the "
            "output is white and no gradient is left. Lower learning_rate or clip_norm, and start again."
        )
    return look


def _settle(trainer: Trainer, epoch: int, step: int) -> None:
    """Brings the network that is written up to date; every number that can be written is finite after it."""
    trainer.settle()
    if trainer.result is not trainer.model:
        weights.flush_small(trainer.result)
    if not trainer.is_finite():
        raise NotFinite("weights", epoch, step - 1)


def _tensorboard(run: Path) -> list[keras.callbacks.Callback]:
    if importlib.util.find_spec("tensorboard") is None:
        return []
    return [keras.callbacks.TensorBoard(run / "tensorboard", write_graph=False)]
