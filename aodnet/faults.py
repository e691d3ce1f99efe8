"""What ends a training run, or sends it back: numbers that are not finite, damaged data, other processes that ended."""

import hashlib
import json

import tensorflow as tf

from aodnet import checkpoint, data, devices
from aodnet import run as runs
from aodnet.checkpoint import Checkpoint
from aodnet.run import Run
from aodnet.trainer import Trainer
from hazegen.errors import HazegenError, RefusedError, StoreError

# Batches that a run may leave out because of NaN.
ROLLBACKS = 3
_SHOWN_KEYS = 16
# What TensorFlow says of processes that are gone.
_ENDED = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.InternalError,
    tf.errors.DeadlineExceededError,
    tf.errors.UnknownError,
)


class NotFinite(Exception):
    """A number was not finite; nothing of it is in the weights."""

    def __init__(self, what: str, epoch: int, step: int | None) -> None:
        super().__init__(what)
        self.what, self.epoch, self.step = what, epoch, step


def save(trainer: Trainer, run: Run, epoch: int, step: int) -> None:
    """Writes a checkpoint, in the process that writes."""
    if run.is_chief:
        checkpoint.save(run.checkpoints, runs.state(run, trainer.variables(), epoch, step))


def roll_back(trainer: Trainer, run: Run, fault: NotFinite) -> tuple[int, int]:
    """Goes back to the newest checkpoint and leaves the batch out from now on; or ends the run.

    Returns:
        Epoch and step to go on with.

    Raises:
        RefusedError: The run is to stop, there is no batch to leave out, or it has been done too often.
    """
    epoch, step = fault.epoch, fault.step
    if run.config.on_nan == "stop" or step is None or len(run.skipped) >= ROLLBACKS:
        raise _not_finite(fault, run)
    saved, damaged = checkpoint.load_newest(run.checkpoints)
    trainer.restore(saved)
    runs.recall(run, saved)
    run.skipped.add((epoch, step))
    save(trainer, run, saved.epoch, saved.step)  # a run that is killed now leaves the batch out too
    older = f" (newer ones could not be read: {'; '.join(damaged)})" if damaged else ""
    run.say(
        f"warning: a number of the {fault.what} was not finite at step {step} of epoch {epoch + 1}"
        f"{_tell_keys(run, fault)}. Going back to epoch {saved.epoch + 1}, step {saved.step}{older}, and on without "
        f"that batch ({len(run.skipped)} of at most {ROLLBACKS} times)."
    )
    return saved.epoch, saved.step


def _not_finite(fault: NotFinite, run: Run) -> RefusedError:
    where = f"of epoch {fault.epoch + 1}" if fault.step is None else f"at step {fault.step} of epoch {fault.epoch + 1}"
    way = ", or go on without that batch: --resume --on-nan rollback" if run.config.on_nan == "stop" else ""
    again = f" {ROLLBACKS} batches were left out already." if len(run.skipped) >= ROLLBACKS else ""
    return RefusedError(
        f"A number of the {fault.what} is not finite. Expected finite numbers, received NaN or infinity {where}"
        f"{_tell_keys(run, fault)}.{again} Nothing was written since the last checkpoint in '{run.checkpoints}'. Lower "
        f"learning_rate, look at the data with hazegen verify and hazegen preview{way}."
    )


def _tell_keys(run: Run, fault: NotFinite) -> str:
    """The records of the batch in question, where they can be found out."""
    if fault.step is None:
        return ""
    try:
        keys = run.keys(fault.epoch, fault.step)
    except (HazegenError, tf.errors.OpError, OSError):  # the number that is not finite is what has to be told
        return ""
    more = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
    return f" (keys {', '.join(keys[:_SHOWN_KEYS])}{more})"


def explain(error: tf.errors.OpError, run: Run) -> None:
    """Raises what a user can do something about, where that is behind an error of TensorFlow."""
    data.explain(error, run.sources, ("train", "validation"))
    if run.worker[1] > 1 and isinstance(error, _ENDED):
        raise StoreError(
            f"Another process of the run has ended. Expected {run.worker[1]} workers up to the last step, received "
            f"{type(error).__name__} of TensorFlow. Start all of them again with --resume."
        ) from error


def check_together(trainer: Trainer, run: Run, saved: Checkpoint) -> None:
    """Refuses processes that would not train the same: every one tells the others a digest of what it begins with."""
    if run.worker[1] == 1:
        return
    text = json.dumps([run.settings(), saved.epoch, saved.step, sorted(run.skipped)], sort_keys=True)
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "little")
    told = devices.gather(trainer.strategy, float(number), *run.worker)
    if len(set(told)) > 1:
        other = [str(index) for index, value in enumerate(told) if value != told[0]]
        raise RefusedError(
            f"The workers do not begin alike. Expected one command, one dataset and one run folder, the chief's newest "
            f"checkpoint in it, received others from worker {', '.join(other)} than from worker 0. Give all of them "
            "the same options, and paths that all of them share."
        )
