"""The network, its optimizer and one training step, under a strategy of tf.distribute."""

from typing import Any

import keras
import tensorflow as tf

from aodnet import losses, metrics, model
from aodnet.checkpoint import Checkpoint
from aodnet.config import FitConfig
from hazegen.errors import RefusedError


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
        pictures = tf.TensorSpec([None, None, None, 3], tf.float32)  # of any size: one trace for all of them
        self.validation_step = tf.function(self._validation_step, input_signature=[pictures, pictures])
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


def choose_strategy() -> tuple[tf.distribute.Strategy, str]:
    """The first GPU of this machine, or its CPU; and the words for it."""
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if len(gpus) > 1:
        return tf.distribute.OneDeviceStrategy("/gpu:0"), f"one GPU of {len(gpus)}"
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
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay, global_clipnorm=config.clip_norm)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer
