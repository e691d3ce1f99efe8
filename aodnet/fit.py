"""aodnet fit: the training loop, on a GPU where there is one.

One loop of ours on tf.distribute's public API, because model.fit cannot resume inside an epoch. It
drives Keras callbacks through keras.callbacks.CallbackList, so every Keras callback works here.
"""

import dataclasses
import importlib.util
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
import yaml
from tqdm import tqdm

from aodnet import checkpoint, data, losses, metrics, run_folder, shards, streaming, weights
from aodnet.checkpoint import Checkpoint
from aodnet.config import FitConfig, FitPaths
from aodnet.streaming import Stream
from aodnet.trainer import Trainer, choose_strategy
from hazegen import manifest as manifests
from hazegen.errors import RefusedError, UsageError
from hazegen.manifest import Manifest

EXAMPLES = 4


@dataclass(frozen=True)
class Fitted:
    """What a run has come to.

    Attributes:
        run: Its folder.
        device: What it was trained on.
        epochs: How many the run has come to, those before a resume included.
        best: The row of history.csv (epochs from 0) with the highest validation PSNR.
        seconds: Time taken.
    """

    run: Path
    device: str
    epochs: int
    best: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class _Run:
    """What stays the same through a run: where, how, on what, its steps in an epoch, and how a store is read."""

    paths: FitPaths
    config: FitConfig
    dataset: Manifest
    steps: int
    stream: Stream | None
    say: Callable[[str], object]

    @property
    def checkpoints(self) -> Path:
        return self.paths.out / checkpoint.FOLDER

    def settings(self) -> dict[str, Any]:
        """All that decides the weights, apart from the machine."""
        return {**dataclasses.asdict(self.config), "dataset": manifests.digest(self.dataset)}


def fit(
    paths: FitPaths,
    config: FitConfig,
    *,
    say: Callable[[str], object] = lambda _: None,
    extra: tuple[keras.callbacks.Callback, ...] = (),
) -> Fitted:
    """Trains AOD-Net on a dataset and leaves everything in the run folder.

    Args:
        say: Receives what a user should know on the way, a line at a time.
        extra: More Keras callbacks.

    Raises:
        UsageError, RefusedError, VerifyError: Settings, data or run folder cannot be used, or the run
            has come to NaN; what is written stays.
        StoreError: The store of the dataset failed.
    """
    began = time.monotonic()
    dataset = manifests.load(paths.data)
    stream = streaming.open_stream(paths.data, paths)
    shards.check_shards(paths.data, dataset.shards, stream)
    saved, damaged = _find_start(paths)
    _check_sizes(config, dataset)
    _check_cache(stream, dataset)
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy, device = choose_strategy()
    run = _Run(paths, config, dataset, -(-dataset.records_of("train") // config.batch), stream, say)
    say(f"training on {device}: {config.epochs} epochs of {run.steps} steps.")
    trainer = Trainer(config, config.epochs * run.steps, strategy, jit=bool(tf.config.list_physical_devices("GPU")))
    if damaged:
        say(f"warning: {', '.join(damaged)} could not be read; going back to the checkpoint before.")
    if paths.resume:
        _resume(trainer, run, saved)
    else:
        _start(run)
        checkpoint.save(run.checkpoints, _state(trainer, run, 0, 0))
    folder = run_folder.RunFolder(paths.out, saved.epoch)
    callbacks = keras.callbacks.CallbackList(
        [folder, run_folder.KWatchdog(), *_tensorboard(paths.out), *extra],
        model=trainer.model,
        epochs=config.epochs,
        steps=run.steps,
    )
    try:
        folder.examples = _examples(run)
        _run_epochs(trainer, run, saved, callbacks)
    except tf.errors.OpError as error:
        if stream is not None and stream.failure is not None:
            raise stream.failure from None
        if isinstance(error, tf.errors.DataLossError):
            shards.name_damage(paths.data, [*dataset.shards_of("train"), *dataset.shards_of("validation")], stream)
        raise
    best = max(folder.rows, key=lambda row: row["val_psnr_rgb"], default={})
    return Fitted(paths.out, device, len(folder.rows), best, time.monotonic() - began)


def _run_epochs(trainer: Trainer, run: _Run, start: Checkpoint, callbacks: keras.callbacks.CallbackList) -> None:
    """The loop: steps, validation, callbacks, checkpoint; from where `start` says."""
    config, step = run.config, start.step
    validation = data.validation_batches(run.paths.data, run.dataset, crop=config.validation_crop, stream=run.stream)
    callbacks.on_train_begin()
    for epoch in range(start.epoch, config.epochs):
        callbacks.on_epoch_begin(epoch)
        _run_steps(trainer, run, epoch, step, callbacks)
        _check_finite(trainer, run, epoch, run.steps)
        weights.flush_small(trainer.model)
        logs = {"loss": float(trainer.loss.result()), **trainer.validate(validation)}
        if not math.isfinite(logs["val_loss"]):
            raise _not_finite("validation", run, epoch, run.steps)
        logs["learning_rate"] = float(trainer.model.optimizer.learning_rate)
        callbacks.on_epoch_end(epoch, logs)
        trainer.loss.reset_state()
        step = 0
        checkpoint.save(run.checkpoints, _state(trainer, run, epoch + 1, 0))
        run.say(f"epoch {epoch + 1}: " + "  ".join(f"{name} {value:.5g}" for name, value in logs.items()))
        if trainer.model.stop_training:
            break
    callbacks.on_train_end()


def _run_steps(trainer: Trainer, run: _Run, epoch: int, done: int, callbacks: keras.callbacks.CallbackList) -> None:
    """The steps of one epoch that are not done yet, with a checkpoint every so many."""
    config = run.config
    batches = data.training_batches(
        run.paths.data,
        run.dataset,
        crop=config.crop,
        batch=config.batch,
        seed=config.seed,
        epoch=epoch,
        skip=done,
        shuffle_mb=config.shuffle_mb,
        stream=run.stream,
    )
    title = f"epoch {epoch + 1}/{config.epochs}"
    with tqdm(total=run.steps, initial=done, desc=title, unit="step", disable=None) as bar:
        for step, (hazy, clean) in enumerate(trainer.strategy.experimental_distribute_dataset(batches), start=done):
            callbacks.on_train_batch_begin(step)
            logs = trainer.step(hazy, clean)
            if not math.isfinite(logs["loss"]):
                raise _not_finite("loss", run, epoch, step)
            bar.set_postfix(loss=f"{float(trainer.loss.result()):.5f}", refresh=False)
            bar.update()
            if (step + 1) % config.checkpoint_steps == 0 and step + 1 < run.steps:
                _check_finite(trainer, run, epoch, step + 1)
                checkpoint.save(run.checkpoints, _state(trainer, run, epoch, step + 1))
            callbacks.on_train_batch_end(step, logs)
            if trainer.model.stop_training:
                return


def _find_start(paths: FitPaths) -> tuple[Checkpoint, list[str]]:
    """Where the run begins, and newer checkpoints that could not be read; nothing is written yet."""
    if paths.resume:
        return checkpoint.load_newest(paths.out / checkpoint.FOLDER)
    if paths.out.exists() and (not paths.out.is_dir() or any(paths.out.iterdir())):
        raise RefusedError(
            f"The run folder '{paths.out}' is not empty. Expected a new folder, received one with files in it. "
            "Choose another --out, or pass --resume to go on with that run."
        )
    return Checkpoint(0, 0, [], {}), []


def _start(run: _Run) -> None:
    """A new run folder with the resolved config in it."""
    run.paths.out.mkdir(parents=True, exist_ok=True)
    head = f"# aodnet fit on the dataset of digest {manifests.digest(run.dataset)}\n"
    config = yaml.safe_dump(dataclasses.asdict(run.config), sort_keys=False)
    (run.paths.out / "config.yaml").write_text(head + config, encoding="utf-8")


def _resume(trainer: Trainer, run: _Run, saved: Checkpoint) -> None:
    """Restores a checkpoint of a run with the same settings and data."""
    now = run.settings()
    changed = [name for name in now if saved.meta.get(name) != now[name]]
    if changed:
        different = [f"{name}: {saved.meta.get(name)} before, {now[name]} now" for name in changed]
        raise RefusedError(
            f"The run in '{run.paths.out}' has other settings. Expected the same ones to go on exactly, received "
            f"{'; '.join(different)}. Pass the run's own settings, or start a new run."
        )
    trainer.restore(saved)
    run.say(f"resuming at epoch {saved.epoch + 1}, step {saved.step}.")


def _state(trainer: Trainer, run: _Run, epoch: int, step: int) -> Checkpoint:
    return Checkpoint(epoch, step, [variable.numpy() for variable in trainer.variables()], run.settings())


def _examples(run: _Run) -> list[tuple[Any, Any]]:
    """A few validation pairs, spread over the split, the same in every epoch."""
    batches = data.validation_batches(run.paths.data, run.dataset, crop=run.config.validation_crop, stream=run.stream)
    stride = max(1, run.dataset.records_of("validation") // EXAMPLES)
    return list(batches.shard(stride, 0).take(EXAMPLES))


def _tensorboard(run: Path) -> list[keras.callbacks.Callback]:
    if importlib.util.find_spec("tensorboard") is None:
        return []
    return [keras.callbacks.TensorBoard(run / "tensorboard", write_graph=False)]


def _check_sizes(config: FitConfig, dataset: Manifest) -> None:
    """Refuses what would fail later, before anything is written."""
    terms = losses.parse_loss(config.loss)
    for split in ("train", "validation"):
        dataset.shards_of(split)
    data.check_crop(dataset, config.crop)
    if config.validation_crop is not None:
        data.check_crop(dataset, config.validation_crop)
    least = config.validation_crop or min(dataset.smallest.values())
    if "ssim" in terms:
        least = min(least, config.crop)
    if least < metrics.WINDOW:
        raise UsageError(
            f"The pictures are too small for SSIM. Expected at least {metrics.WINDOW} x {metrics.WINDOW} pixels, "
            f"received {least}. Enlarge --crop or --validation-crop, or use larger images."
        )


def _check_cache(stream: Stream | None, dataset: Manifest) -> None:
    """Refuses a cache without room for the shards that are read at once; passes of validation and training may meet."""
    if stream is not None:
        train, validation = dataset.shards_of("train"), dataset.shards_of("validation")
        stream.cache.check_room(stream.cache.need(train, data.AT_ONCE) + stream.cache.need(validation, 1))


def _check_finite(trainer: Trainer, run: _Run, epoch: int, step: int) -> None:
    """Before anything is written: an update can break the weights after a loss that was still a number."""
    if not weights.is_finite(trainer.model):
        raise _not_finite("weights", run, epoch, step)


def _not_finite(what: str, run: _Run, epoch: int, step: int) -> RefusedError:
    return RefusedError(
        f"A number of the {what} is not finite. Expected finite numbers, received NaN or infinity at step {step} of "
        f"epoch {epoch + 1}. Nothing was written since the last checkpoint in '{run.checkpoints}'. Lower "
        "learning_rate, or look at the data with hazegen verify and hazegen preview."
    )
