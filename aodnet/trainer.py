"""The network, its optimizer and one training step on all devices of a strategy of tf.distribute.

The weights lie once, on the first device, and travel to the replicas with each batch: 1,761 numbers. So the
optimizer is a plain one, its update can be taken back, and the replicas hold nothing that could drift apart.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aodnet import checkpoint, devices, losses, metrics, model, online
from aodnet.checkpoint import Checkpoint
from aodnet.config import FitConfig
from aodnet.optimizer import build_optimizer

Batch = Mapping[str, tf.Tensor]
# What was not finite first, by its number in the graph.
FAULTS = ("", "input", "loss", "gradients", "weights")
# Loss scaling for float16, as keras.optimizers.LossScaleOptimizer has it.
_FIRST_SCALE, _GROWTH_STEPS = 2.0**15, 2000


@dataclass(frozen=True)
class Look:
    """What the device has seen since it was last asked.

    Attributes:
        steps: Steps taken since then.
        bad: The first of these, from 0, whose update was left out because a number was not finite; -1 for none.
        fault: What was not finite, one of FAULTS.
        dead: Steps on end, up to the last, in which K was 0 at every pixel.
        loss: Mean over the examples of the epoch so far.
        examples: Number of these.
    """

    steps: int
    bad: int
    fault: str
    dead: int
    loss: float
    examples: int


class Trainer:
    """The network, its optimizer and one training step: all that a checkpoint must hold.

    Attributes:
        model: The network that is trained, in the precision of the config.
        result: The network that is validated and written: float32, with averaged weights where the config has an
            average; else it is `model` itself. `settle` brings it up to date.
    """

    def __init__(
        self,
        config: FitConfig,
        steps: int,
        strategy: tf.distribute.Strategy,
        jit: bool,
        recipes: online.Recipes | None = None,
    ) -> None:
        """Args:
        steps: Updates in the whole run.
        jit: Compile the step with XLA, as is right on a GPU alone.
        recipes: Of the haze that is drawn on batches of scenes.
        """
        self.strategy, self.recipes, self.batch = strategy, recipes, config.batch
        self.terms = losses.parse_loss(config.loss)
        self.scaled = config.precision == "mixed_float16"
        self.model = _build(config, config.precision)
        self.model.compile(optimizer=build_optimizer(config, steps), jit_compile=False, auto_scale_loss=False)
        self.optimizer = self.model.optimizer
        self.optimizer.build(self.model.trainable_variables)
        self.network = model.with_k(self.model)
        self.result = self.model
        if config.precision != "float32" or config.ema > 0.0:
            self.result = _build(config, "float32")
            self.result.compile(optimizer=self.optimizer, jit_compile=False, auto_scale_loss=False)
        self.sums = keras.Variable(np.zeros(2), dtype="float64", trainable=False, name="epoch_sums")
        self.scale = keras.Variable([_FIRST_SCALE if self.scaled else 1.0, 0.0], trainable=False, name="loss_scale")
        self.watch = keras.Variable(np.array([0, -1, 0, 0]), dtype="int64", trainable=False, name="watch")
        plain = {"autograph": False}  # no Python control flow to convert, which takes longer than all the tracing
        self._gradients_step = tf.function(self._gradients, jit_compile=jit, reduce_retracing=True, **plain)
        self._update_step = tf.function(self._update, jit_compile=jit, **plain)
        self._step = tf.function(self._all_replicas, reduce_retracing=True, **plain)
        self._validation_step = tf.function(self._validate, **plain)
        self._validation = (keras.metrics.Mean(name="loss"), metrics.PSNR(), metrics.SSIM())

    def step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """One update on all replicas. The answers stay on the device: reading them waits for it.

        Where the input, the loss, a gradient or what the update leads to is not finite, nothing is changed, and
        `look` will tell.

        Args:
            batch: As data.training_batches yields them, from `distribute`.

        Returns:
            Means over the batch: `loss`, and `k_alive`, the share of pixels where K is above 0.
        """
        loss, alive = self._step(dict(batch))
        return {"loss": loss, "k_alive": alive}

    def distribute(self, batches: tf.data.Dataset) -> Any:
        """What `step` takes, from this process's share of each global batch: devices.distribute."""
        return devices.distribute(self.strategy, batches)

    @property
    def works_alone(self) -> bool:
        """Whether the device goes on when the call of a step has returned."""
        return bool(tf.config.list_physical_devices("GPU"))

    def traces(self) -> int:
        """How often the step was compiled, for batches of another shape."""
        return int(self._step.experimental_get_tracing_count())

    def look(self) -> Look:
        """Waits for the device, and asks what it has seen since it was last asked."""
        steps, bad, fault, dead = (int(value) for value in self.watch.numpy())
        self.watch.assign(np.array([0, -1, 0, dead]))
        total, examples = (float(value) for value in self.sums.numpy())
        return Look(steps, bad, FAULTS[fault], dead, total / max(1.0, examples), round(examples))

    def begin_epoch(self) -> None:
        """Forgets the loss of the epoch before."""
        self.sums.assign(np.zeros(2))

    def settle(self) -> None:
        """Brings `result` up to date with what was trained."""
        if self.result is self.model:
            return
        trained = self.model.get_weights()
        if self.optimizer.use_ema and int(self.optimizer.iterations.numpy()) > 0:
            try:
                self.optimizer.finalize_variable_values(self.model.trainable_variables)
                self.result.set_weights(self.model.get_weights())
            finally:
                self.model.set_weights(trained)
        else:
            self.result.set_weights(trained)

    def validate(self, batches: tf.data.Dataset, tell: Callable[[int], object] = lambda _: None) -> dict[str, float]:
        """Loss, PSNR and SSIM of `result` over all of the validation images; nothing where there are none.

        `tell` receives how many are done.
        """
        for metric in self._validation:
            metric.reset_state()
        step = self._validation_step.get_concrete_function(batches.element_spec)  # one trace for pictures of any size
        count = 0
        for batch in batches:
            step(batch)
            count += 1
            tell(count)
        return {f"val_{metric.name}": float(metric.result()) for metric in self._validation} if count else {}

    def find_bad(self, batches: tf.data.Dataset) -> int | None:
        """Place of the first validation batch whose loss is not finite; empty batches have none."""
        step = self._validation_step.get_concrete_function(batches.element_spec)
        places = (place for place, batch in enumerate(batches) if batch["clean"].shape[0] and not step(batch))
        return next(places, None)

    def variables(self) -> list[Any]:
        """Everything that the next step depends on, in a fixed order."""
        scale = [self.scale] if self.scaled else []
        return [*self.model.variables, *self.optimizer.variables, self.sums, *scale]

    def is_finite(self) -> bool:
        """Whether every number that is saved or written is finite."""
        values = [variable.numpy() for variable in [*self.variables(), *self.result.variables]]
        return all(bool(np.isfinite(value).all()) for value in values)

    def restore(self, saved: Checkpoint) -> None:
        """Sets every variable to its saved value.

        Raises:
            RefusedError: The checkpoint is of another network or optimizer.
        """
        checkpoint.assign(saved, self.variables())
        self.watch.assign(np.array([0, -1, 0, 0]))
        self.settle()

    def _all_replicas(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        weights = [tf.identity(variable.value) for variable in self.network.trainable_variables]
        sums = self.strategy.run(self._one_replica, args=(batch, weights, tf.identity(self.scale.value)[0]))
        return self._update_step(self.strategy.experimental_local_results(sums)[0])

    def _one_replica(self, batch: Batch, weights: list[tf.Tensor], scale: tf.Tensor) -> tf.Tensor:
        sums = self._gradients_step(batch, weights, scale)
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, sums)

    def _gradients(self, batch: Batch, weights: list[tf.Tensor], scale: tf.Tensor) -> tf.Tensor:
        """Sums over one replica's examples, which may be none, in one vector: what replicas add up.

        Gradients of the loss times scale / batch, then loss, share of pixels with K above 0, number of examples,
        and whether the input holds a number that is not finite.
        """
        hazy, clean = online.hazy_and_clean(batch, self.recipes)
        examples = tf.cast(batch.get("count", tf.shape(clean)[0]), tf.float32)
        there = tf.cast(examples > 0.0, tf.float32)  # a blank example, in the place of none, counts for nothing
        with tf.GradientTape() as tape:
            tape.watch(weights)
            (restored, k), _ = self.network.stateless_call(weights, [], hazy, training=True)
            loss = there * tf.reduce_sum(losses.per_example(self.terms, clean, restored))
            scaled = loss * (scale / float(self.batch))
        gradients = tape.gradient(scaled, weights)
        alive = there * tf.reduce_sum(tf.reduce_mean(tf.cast(k > 0.0, tf.float32), axis=[1, 2, 3]))
        bad = tf.cast(~(_finite(hazy) & _finite(clean)), tf.float32)
        return tf.concat([*(tf.reshape(one, [-1]) for one in gradients), tf.stack([loss, alive, examples, bad])], 0)

    def _update(self, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One update by the sums over all replicas, or none where a number is not finite."""
        loss, alive, examples, bad_input = tf.unstack(sums[-4:])
        # 1 for a whole batch; the last one of an epoch and one that has lost records are smaller.
        share = float(self.batch) / tf.maximum(examples, 1.0)
        flat = sums[:-4] * (share / self.scale.value[0])
        state = [*self.model.trainable_variables, *self.optimizer.variables]
        before = [tf.identity(variable.value) for variable in state]
        self.optimizer.apply(_split(flat, self.network.trainable_variables), self.network.trainable_variables)
        numbers = [tf.reshape(variable.value, [-1]) for variable in state if variable.dtype == "float32"]
        sound = (bad_input == 0.0, tf.math.is_finite(loss), _finite(flat), _finite(tf.concat(numbers, 0)))
        applied = tf.reduce_all(tf.stack(sound)) & (examples > 0.0)

        def take_back() -> tf.Tensor:
            for variable, value in zip(state, before, strict=True):
                variable.assign(value)
            return tf.constant(False)

        tf.cond(applied, lambda: tf.constant(True), take_back)
        overflow = self._adapt_scale(sound[0] & sound[1] & ~sound[2], applied)
        first = 1 + tf.argmin(tf.cast(tf.stack(sound), tf.int32))
        fault = tf.where(applied | overflow | (examples == 0.0), tf.zeros_like(first), first)
        self._record(fault, alive, examples)
        counted = tf.where(fault == 0, tf.stack([loss, examples]), tf.zeros([2]))
        self.sums.assign_add(tf.cast(counted, tf.float64))
        return tf.math.divide_no_nan(loss, examples), tf.math.divide_no_nan(alive, examples)

    def _adapt_scale(self, overflow: tf.Tensor, applied: tf.Tensor) -> tf.Tensor:
        """Halves the scale of the loss where it was too much for float16, doubles it now and then.

        Returns:
            Whether that alone is why the gradients are not finite: no fault, the next batch will do.
        """
        if not self.scaled:
            return tf.constant(False)
        scale, steps = tf.unstack(self.scale.value)
        overflow &= scale > 1.0
        steps = tf.where(applied, steps + 1.0, 0.0)
        grown = tf.where(steps >= _GROWTH_STEPS, scale * 2.0, scale)
        steps = tf.where(steps >= _GROWTH_STEPS, 0.0, steps)
        self.scale.assign(tf.stack([tf.where(overflow, tf.maximum(scale * 0.5, 1.0), grown), steps]))
        return overflow

    def _record(self, fault: tf.Tensor, alive: tf.Tensor, examples: tf.Tensor) -> None:
        taken, first, what, dead = tf.unstack(self.watch.value)
        fault = tf.cast(fault, tf.int64)
        is_first = (fault > 0) & (first < 0)
        is_dead = (alive == 0.0) & (examples > 0.0)
        parts = (taken + 1, tf.where(is_first, taken, first), tf.where(is_first, fault, what))
        self.watch.assign(tf.stack([*parts, tf.where(is_dead, dead + 1, tf.zeros_like(dead))]))

    def _validate(self, batch: Batch) -> tf.Tensor:
        """Adds to the metrics, and says whether the loss is finite."""
        hazy, clean = online.hazy_and_clean(batch, self.recipes)
        restored = self.result(hazy, training=False)
        loss, psnr, ssim = self._validation
        losses_here = losses.per_example(self.terms, clean, restored)
        loss.update_state(losses_here)
        psnr.update_state(clean, restored)
        ssim.update_state(clean, restored)
        return _finite(losses_here)


def _build(config: FitConfig, precision: str) -> keras.Model:
    """The network in one precision: its weights, K and the output are float32 in each."""
    kept = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        network = model.build_aodnet(config.seed, config.filters)
    finally:
        keras.config.set_dtype_policy(kept)
    for name in ("k", "clean"):
        network.get_layer(name).dtype_policy = keras.DTypePolicy("float32")
    return network


def _finite(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_all(tf.math.is_finite(values))


def _split(flat: tf.Tensor, variables: list[Any]) -> list[tf.Tensor]:
    sizes = [int(np.prod(variable.shape)) for variable in variables]
    return [
        tf.reshape(part, variable.shape)
        for part, variable in zip(tf.split(flat, sizes), variables, strict=True)
    ]  # fmt: skip
