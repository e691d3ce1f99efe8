"""aodnet fit: the training loop, for a CPU, one GPU or several.

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

from aodnet import callbacks as run_callbacks
from aodnet import checkpoint, data, losses, metrics, model, weights
from aodnet.checkpoint import Checkpoint
from aodnet.config import FitConfig, FitPaths
from hazegen import manifest as manifests
from hazegen.errors import RefusedError
from hazegen.manifest import Manifest

EXAMPLES = 4


@dataclass(frozen=True)
class Fitted:
    """What a run has come to.

    Attributes:
        run: Its folder.
        device: What it was trained on.
        epochs: How many were run.
        best: The epoch (from 1) with the highest validation PSNR, and its values.
        seconds: Time taken.
    """

    run: Path
    device: str
    epochs: int
    best: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class _Run:
    """What stays the same through a run: where, how, on what, and its steps in an epoch."""

    paths: FitPaths
    config: FitConfig
    dataset: Manifest
    steps: int
    say: Callable[[str], object]

    @property
    def checkpoints(self) -> Path:
        return self.paths.out / "checkpoints"

    def settings(self) -> dict[str, Any]:
        """All that decides the weights, apart from the machine."""
        return {**dataclasses.asdict(self.config), "dataset": data.dataset_digest(self.dataset)}


class Trainer:
    """The network, its optimizer and one training step: all that a checkpoint must hold."""

    def __init__(self, config: FitConfig, steps: int, strategy: tf.distribute.Strategy, jit: bool) -> None:
        self.strategy = strategy
        self.weights = losses.parse_loss(config.loss)
        with strategy.scope():
            self.model = model.build_aodnet(config.seed)
            self.model.compile(optimizer=_optimizer(config, steps), loss="mse", jit_compile=jit)
            self.model.optimizer.build(self.model.trainable_variables)
            self.network = model.with_k(self.model)
            self.loss = keras.metrics.Mean(name="loss")
        self.train_step = tf.function(self._train_step, jit_compile=jit)
        self.validation_step = tf.function(self._validation_step)
        self.validation = (keras.metrics.Mean(name="loss"), metrics.PSNR(), metrics.SSIM())

    def _train_step(self, hazy: tf.Tensor, clean: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One update on one replica. Returns the loss, and the share of pixels where K is above 0."""
        with tf.GradientTape() as tape:
            restored, k = self.network(hazy, training=True)
            loss = losses.total(self.weights, clean, restored)
            scaled = loss / self.strategy.num_replicas_in_sync  # the optimizer adds the replicas' gradients up
        gradients = tape.gradient(scaled, self.model.trainable_variables)
        self.model.optimizer.apply(gradients, self.model.trainable_variables)
        return loss, tf.reduce_mean(tf.cast(k > 0.0, tf.float32))

    def step(self, hazy: tf.Tensor, clean: tf.Tensor) -> dict[str, float]:
        """One update on all replicas; `k_alive` is the share of pixels where K is above 0."""
        per_replica = self.strategy.run(self.train_step, args=(hazy, clean))
        loss, alive = (float(self.strategy.reduce("MEAN", value, axis=None)) for value in per_replica)
        self.loss.update_state(loss)
        return {"loss": loss, "k_alive": alive}

    def _validation_step(self, hazy: tf.Tensor, clean: tf.Tensor) -> None:
        restored = self.model(hazy, training=False)
        loss, psnr, ssim = self.validation
        loss.update_state(losses.total(self.weights, clean, restored))
        psnr.update_state(clean, restored)
        ssim.update_state(clean, restored)

    def validate(self, batches: tf.data.Dataset) -> dict[str, float]:
        """Loss, PSNR and SSIM over all of the validation images."""
        for metric in self.validation:
            metric.reset_state()
        for hazy, clean in batches:
            self.validation_step(hazy, clean)
        return {f"val_{metric.name}": float(metric.result()) for metric in self.validation}

    def variables(self) -> list[Any]:
        """Everything that the next step depends on, in a fixed order."""
        return [*self.model.variables, *self.model.optimizer.variables, *self.loss.variables]

    def restore(self, saved: Checkpoint) -> None:
        """Sets every variable to its saved value.

        Raises:
            RefusedError: The checkpoint is of another network or optimizer.
        """
        variables = self.variables()
        shapes = [tuple(variable.shape) for variable in variables]
        if shapes != [array.shape for array in saved.arrays]:
            raise RefusedError(
                f"The checkpoint does not fit. Expected {len(shapes)} variables of AOD-Net and Adam, received "
                f"{len(saved.arrays)}, of other shapes. Start again without --resume, in a new folder."
            )
        for variable, array in zip(variables, saved.arrays, strict=True):
            variable.assign(array)


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
    """
    began = time.monotonic()
    dataset = manifests.load(paths.data)
    data.check_shards(paths.data, dataset)
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy, device = choose_strategy()
    run = _Run(paths, config, dataset, -(-dataset.records_of("train") // config.batch), say)
    say(f"training on {device}: {config.epochs} epochs of {run.steps} steps.")
    trainer = Trainer(config, config.epochs * run.steps, strategy, jit=bool(tf.config.list_physical_devices("GPU")))
    start = _resume(trainer, run) if paths.resume else _start(run)
    folder = run_callbacks.RunFolder(paths.out, _examples(run), start.epoch)
    callbacks = keras.callbacks.CallbackList(
        [folder, run_callbacks.KWatchdog(), *_tensorboard(paths.out), *extra],
        model=trainer.model,
        epochs=config.epochs,
        steps=run.steps,
    )
    try:
        _run_epochs(trainer, run, start, callbacks)
    except tf.errors.DataLossError:
        data.find_damage(paths.data, [*dataset.shards_of("train"), *dataset.shards_of("validation")])
        raise
    best = max(folder.rows, key=lambda row: row["val_psnr_rgb"], default={})
    return Fitted(paths.out, device, len(folder.rows), best, time.monotonic() - began)


def _run_epochs(trainer: Trainer, run: _Run, start: Checkpoint, callbacks: keras.callbacks.CallbackList) -> None:
    """The loop: steps, validation, callbacks, checkpoint; from where `start` says."""
    config, step = run.config, start.step
    validation = data.validation_batches(run.paths.data, run.dataset, crop=config.validation_crop)
    callbacks.on_train_begin()
    for epoch in range(start.epoch, config.epochs):
        callbacks.on_epoch_begin(epoch)
        _run_steps(trainer, run, epoch, step, callbacks)
        weights.flush_small(trainer.model)
        logs = {"loss": float(trainer.loss.result()), **trainer.validate(validation)}
        logs["learning_rate"] = float(trainer.model.optimizer.learning_rate)
        callbacks.on_epoch_end(epoch, logs)
        trainer.loss.reset_state()
        step = 0
        checkpoint.save(run.checkpoints, _state(trainer, run, epoch + 1, 0))
        run.say(f"epoch {epoch + 1}: " + "  ".join(f"{name} {value:.5g}" for name, value in logs.items()))
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
    )
    title = f"epoch {epoch + 1}/{config.epochs}"
    with tqdm(total=run.steps, initial=done, desc=title, unit="step", disable=None) as bar:
        for step, (hazy, clean) in enumerate(trainer.strategy.experimental_distribute_dataset(batches), start=done):
            callbacks.on_train_batch_begin(step)
            logs = trainer.step(hazy, clean)
            if not math.isfinite(logs["loss"]):
                raise _not_finite(epoch, step, logs["loss"], run.checkpoints)
            bar.set_postfix(loss=f"{float(trainer.loss.result()):.5f}", refresh=False)
            bar.update()
            if (step + 1) % config.checkpoint_steps == 0 and step + 1 < run.steps:
                checkpoint.save(run.checkpoints, _state(trainer, run, epoch, step + 1))
            callbacks.on_train_batch_end(step, logs)


def choose_strategy() -> tuple[tf.distribute.Strategy, str]:
    """All GPUs of this machine, or its CPU; and the words for it."""
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy(), f"{len(gpus)} GPUs"
    return tf.distribute.get_strategy(), "one GPU" if gpus else "the CPU (no GPU was found)"


def _optimizer(config: FitConfig, steps: int) -> keras.optimizers.Optimizer:
    warmup = round(config.warmup * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else config.learning_rate,
        decay_steps=max(1, steps - warmup),
        alpha=config.final_learning_rate,
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=config.weight_decay or None, global_clipnorm=config.clip_norm
    )
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def _start(run: _Run) -> Checkpoint:
    """A new run folder with the resolved config in it."""
    out = run.paths.out
    if out.exists() and any(out.iterdir()):
        raise RefusedError(
            f"The run folder '{out}' is not empty. Expected a new folder, received one with files in it. "
            "Choose another --out, or pass --resume to go on with that run."
        )
    out.mkdir(parents=True, exist_ok=True)
    head = f"# aodnet fit on the dataset of digest {data.dataset_digest(run.dataset)}\n"
    config = yaml.safe_dump(dataclasses.asdict(run.config), sort_keys=False)
    (out / "config.yaml").write_text(head + config, encoding="utf-8")
    return Checkpoint(0, 0, [], {})


def _resume(trainer: Trainer, run: _Run) -> Checkpoint:
    """The newest checkpoint, restored, of a run with the same settings and data."""
    saved, damaged = checkpoint.load_newest(run.checkpoints)
    if damaged:
        run.say(f"warning: {', '.join(damaged)} could not be read; going back to the checkpoint before.")
    now = run.settings()
    different = [
        f"{name}: {saved.meta.get(name)} before, {now[name]} now" for name in now if saved.meta.get(name) != now[name]
    ]
    if different:
        raise RefusedError(
            f"The run in '{run.paths.out}' has other settings. Expected the same ones to go on exactly, received "
            f"{'; '.join(different)}. Pass the run's own settings, or start a new run."
        )
    trainer.restore(saved)
    run.say(f"resuming at epoch {saved.epoch + 1}, step {saved.step}.")
    return saved


def _state(trainer: Trainer, run: _Run, epoch: int, step: int) -> Checkpoint:
    return Checkpoint(epoch, step, [variable.numpy() for variable in trainer.variables()], run.settings())


def _examples(run: _Run) -> list[tuple[Any, Any]]:
    """A few validation pairs, spread over the split, the same in every epoch."""
    batches = data.validation_batches(run.paths.data, run.dataset, crop=run.config.validation_crop)
    stride = max(1, run.dataset.records_of("validation") // EXAMPLES)
    return list(batches.shard(stride, 0).take(EXAMPLES))


def _tensorboard(run: Path) -> list[keras.callbacks.Callback]:
    if importlib.util.find_spec("tensorboard") is None:
        return []
    return [keras.callbacks.TensorBoard(run / "tensorboard", write_graph=False)]


def _not_finite(epoch: int, step: int, loss: float, checkpoints: Path) -> RefusedError:
    return RefusedError(
        f"The loss is not finite. Expected a number, received {loss} at step {step} of epoch {epoch + 1}. No weights "
        f"were written since the last checkpoint in '{checkpoints}'. Lower learning_rate, or look at the data "
        "with hazegen verify and hazegen preview."
    )
