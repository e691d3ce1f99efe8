"""The devices of a run, how batches come to them, and what its processes tell each other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from aodnet import workers
from aodnet.config import FitConfig
from hazegen.progress import counted


def choose_strategy() -> tuple[tf.distribute.Strategy, str]:
    """All GPUs of this machine, or its CPU; with TF_CONFIG in the environment those of all workers. And the words."""
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    here = counted(len(gpus), "GPU") if gpus else "the CPU (no GPU was found)"
    if (cluster := workers.read_cluster()) is not None:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        return strategy, f"{strategy.num_replicas_in_sync} devices of {cluster.count} workers, here {here}"
    if gpus:
        return tf.distribute.MirroredStrategy([f"/gpu:{number}" for number in range(len(gpus))]), here
    return tf.distribute.get_strategy(), here


def wants_xla(config: FitConfig) -> bool:
    """Whether the step is compiled: on a GPU alone. XLA is slower on a CPU, and what it makes need not repeat."""
    return bool(tf.config.list_physical_devices("GPU")) and not config.deterministic


def takes_bytes() -> bool:
    """Whether pictures go to the device as bytes, to be turned and made numbers there: to a GPU, which has the time."""
    return bool(tf.config.list_physical_devices("GPU"))


def distribute(strategy: tf.distribute.Strategy, batches: tf.data.Dataset) -> Any:
    """An endless iterable of what Trainer.step takes, from this process's share of each global batch.

    The batches go to the devices ahead of their use. Several devices get empty ones after the last batch, so that no
    worker is without an element while the others compute. In the place of every empty one stands a blank example with
    `count` 0 beside it: TensorFlow 2.21's concatenation on the CPU fails with none.
    """
    if isinstance(strategy, tf.distribute.MirroredStrategy | tf.distribute.MultiWorkerMirroredStrategy):
        replicas = len(strategy.extended.worker_devices)
        return strategy.distribute_datasets_from_function(lambda _: _shares(batches, replicas))
    return batches.map(_filled)


def _shares(batches: tf.data.Dataset, replicas: int) -> tf.data.Dataset:
    """For each batch one element a replica, its examples dealt in turn, and empty batches without end."""
    empty = {name: tf.zeros([0, *spec.shape[1:]], spec.dtype) for name, spec in batches.element_spec.items()}
    endless = batches.concatenate(tf.data.Dataset.from_tensors(empty).repeat())

    @tf.autograph.experimental.do_not_convert
    def deal(batch: dict[str, tf.Tensor]) -> tf.data.Dataset:
        shares = [{name: values[replica::replicas] for name, values in batch.items()} for replica in range(replicas)]
        dealt = tf.data.Dataset.from_tensors(_filled(shares[0]))
        for share in shares[1:]:
            dealt = dealt.concatenate(tf.data.Dataset.from_tensors(_filled(share)))
        return dealt

    # tf.distribute asks all workers before each element whether they have one, unless there is no end.
    forever = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    return endless.flat_map(deal).apply(forever).prefetch(2 * replicas)


@tf.autograph.experimental.do_not_convert
def _filled(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """A batch and how many examples it has: of one that is empty, 0, and one example of ones."""
    count = tf.shape(batch["clean"])[0]

    def blank() -> dict[str, tf.Tensor]:
        return {
            name: tf.ones(tf.concat([[1], tf.shape(values)[1:]], 0), values.dtype) for name, values in batch.items()
        }

    filled = tf.cond(count > 0, lambda: dict(batch), blank)
    for name, values in batch.items():
        filled[name].set_shape([None, *values.shape[1:]])
    return {**filled, "count": count}


def gather(strategy: tf.distribute.Strategy, values: Sequence[float], index: int, count: int) -> list[list[float]]:
    """What each of `count` processes passes here, by their indices; all of them have to call it, with as many."""
    local, table = len(strategy.extended.worker_devices), np.zeros((count, len(values)))
    table[index] = values

    def one() -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        is_first = tf.cast(context.replica_id_in_sync_group % local == 0, tf.float64)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(table) * is_first)

    told = tf.function(lambda: strategy.run(one), autograph=False)()
    return [[float(number) for number in row] for row in strategy.experimental_local_results(told)[0]]
