"""What ends a training run, or sends it back: numbers that are not finite, damaged data, other processes that ended."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from aodnet import checkpoint, data, devices, run_state, weights
from aodnet import run as runs
from aodnet.checkpoint import Checkpoint
from aodnet.run import Run
from aodnet.trainer import Look, Trainer
from hazegen import manifest
from hazegen.errors import HazegenError, RefusedError, StoreError, VerifyError

# Batches that a run may leave out because of NaN.
ROLLBACKS = 3
PATIENCE = 20  # steps on end without K
_SHOWN_KEYS = 16
# What TensorFlow says of processes that are gone; the last two say so of much else, too.
_ENDED = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
_PERHAPS_ENDED = (tf.errors.InternalError, tf.errors.UnknownError)
# What is compared, where it is not an option's name.
_WORDS = {"dataset": "--data", "recipes": "--recipe", "checkpoint": "checkpoint", "skipped": "batches left out"}
_OF_OTHERS = re.compile(r"coordination service|\bpeer\b|heartbeat", re.IGNORECASE)


class NotFinite(Exception):
    """A number was not finite; nothing of it is in the weights.

    Args:
        step: Of the batch; None in validation, where `place` is that of the first bad image.
    """

    def __init__(self, what: str, epoch: int, step: int | None, place: int | None = None) -> None:
        super().__init__(what)
        self.what, self.epoch, self.step, self.place = what, epoch, step, place


def look(trainer: Trainer, epoch: int, taken: list[int]) -> Look:
    """What the device has seen in the steps `taken`, which are forgotten.

    Raises:
        NotFinite: A number was not finite.
        RefusedError: K has died: 0 at every pixel, for PATIENCE steps on end. K I - K + b is then b everywhere:
            white pictures, and no gradient that could bring K back.
    """
    seen = trainer.look()
    if seen.bad >= 0:
        raise NotFinite(seen.fault, epoch, taken[seen.bad])
    taken.clear()
    if seen.dead >= PATIENCE:
        raise RefusedError(
            f"K has died. Expected K above 0 somewhere, received 0 at every pixel for {seen.dead} steps: the "
            "output is white and no gradient is left. Lower learning_rate or clip_norm, and start again."
        )
    return seen


def settle(trainer: Trainer, epoch: int, step: int) -> None:
    """Brings the network that is written up to date; every number that can be written is finite after it."""
    trainer.settle()
    if trainer.result is not trainer.model:
        weights.flush_small(trainer.result)
    if not trainer.is_finite():
        raise NotFinite("weights", epoch, step - 1)


def save(trainer: Trainer, run: Run, epoch: int, step: int) -> None:
    """Writes a checkpoint, in the process that writes."""
    if run.is_chief:
        checkpoint.save(run.checkpoints, run_state.state(run, trainer.variables(), epoch, step))


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
    trainer.restore(run_state.recall(run, saved))
    run.skipped.add((epoch, step))
    check_together(trainer, run, saved)  # also: none of them still reads what is written next
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
    may_go_on = fault.step is not None and run.config.on_nan == "stop" and len(run.skipped) < ROLLBACKS
    way = ", or go on without that batch: --resume --on-nan rollback" if may_go_on else ""
    again = f" {ROLLBACKS} batches were left out already." if len(run.skipped) >= ROLLBACKS else ""
    return RefusedError(
        f"A number of the {fault.what} is not finite. Expected finite numbers, received NaN or infinity {where}"
        f"{_tell_keys(run, fault)}.{again} Nothing was written since the last checkpoint in '{run.checkpoints}'. Lower "
        f"learning_rate, look at the data with hazegen verify and hazegen preview{way}."
    )


def _tell_keys(run: Run, fault: NotFinite) -> str:
    """The records of the batch in question, where they can be found out."""
    try:
        if fault.step is not None:
            keys = run.keys(fault.epoch, fault.step)
        else:
            keys = [] if fault.place is None else [run.validation_key(fault.place)]
    except (HazegenError, tf.errors.OpError, OSError):  # the number that is not finite is what has to be told
        return ""
    return f" ({_listed(keys)})" if keys else ""


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
    return f"keys {', '.join(keys[:_SHOWN_KEYS])}{more}"


@contextmanager
def explained(run: Run, place: tuple[int, int] | None = None) -> Iterator[None]:
    """Raises what a user can do something about, where that is behind an error of TensorFlow.

    Args:
        place: Epoch and step of the training batch that could not be had; None where it is another thing.
    """
    try:
        yield
    except tf.errors.OpError as error:
        explain(error, run, place)
        raise


def explain(error: tf.errors.OpError, run: Run, place: tuple[int, int] | None = None) -> None:
    """As `explained`, of one error; returns where there is nothing better to say."""
    lost = run.lost if run.paths.on_damage == "skip" else None
    data.explain(error, run.sources, ("train", "validation"), lost)
    if isinstance(error, tf.errors.InvalidArgumentError):
        if lost is None:
            _check_digests(run)
        if place is not None:
            _name_batch(error, run, place)
    if isinstance(error, tf.errors.ResourceExhaustedError):
        raise RefusedError(
            f"The memory of the device is not enough. Expected room for {run.config.batch} windows of "
            f"{run.config.crop} px in training and a whole image, or --validation-crop, in validation, received "
            f"'{_first_line(error)}'. Lower --batch or --crop, or pass --validation-crop."
        ) from error
    is_others = isinstance(error, _PERHAPS_ENDED) and _OF_OTHERS.search(error.message)
    if run.worker[1] > 1 and (isinstance(error, _ENDED) or is_others):
        raise StoreError(
            f"Another process of the run has ended. Expected {run.worker[1]} workers up to the last step, received "
            f"{type(error).__name__} of TensorFlow. Start all of them again with --resume."
        ) from error


def _check_digests(run: Run) -> None:
    """Refuses a shard whose records all have matching checksums, and which is another one all the same."""
    for source in run.sources:
        shards = [shard for split in runs.SPLITS for shard in source.manifest.shards_of(split)]
        for shard in shards if source.stream is None else ():
            if manifest.sha256(source.folder / shard.name) != shard.sha256:
                raise VerifyError(
                    f"Shard '{shard.name}' is another one, and a record in it cannot be decoded. Expected the SHA-256 "
                    f"of the manifest, received another. Run hazegen repair {source.folder}."
                )


def _name_batch(error: tf.errors.OpError, run: Run, place: tuple[int, int]) -> None:
    raise VerifyError(
        f"A record cannot be decoded, though its bytes are those that were made. Expected pictures in step {place[1]} "
        f"of epoch {place[0] + 1} ({_listed(run.keys(*place))}), received '{_first_line(error)}'. Make the dataset "
        "again without it."
    ) from error


def _first_line(error: tf.errors.OpError) -> str:
    return str(error.message).strip().split("\n")[0][:200]


def check_together(trainer: Trainer, run: Run, saved: Checkpoint) -> None:
    """Refuses processes that would not train the same: every one tells the others digests of what it begins with."""
    if run.worker[1] == 1:
        return
    said = {**dataclasses.asdict(run.config), **run.settings(), "out": str(run.paths.out.absolute())}
    said |= {"on_damage": run.paths.on_damage, "checkpoint": [saved.epoch, saved.step], "skipped": sorted(run.skipped)}
    del said["recipe"]  # a name: what it stands for is compared
    told = devices.gather(trainer.strategy, [_number(value) for value in said.values()], *run.worker)
    different = [name for name, values in zip(said, zip(*told, strict=True), strict=True) if len(set(values)) > 1]
    if different:
        others = [str(index) for index, row in enumerate(told) if row != told[0]]
        names = [_WORDS.get(name, f"--{name.replace('_', '-')}") for name in different]
        raise RefusedError(
            f"The workers do not begin alike. Expected one command, one dataset and one run folder, the chief's newest "
            f"checkpoint in it, received another {', '.join(names)} from worker {', '.join(others)} than from worker "
            "0. Give all of them the same options, and paths that all of them share."
        )


def _number(value: object) -> float:
    """A digest that a float64 holds."""
    text = json.dumps(value, sort_keys=True)
    return float(int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "little"))
