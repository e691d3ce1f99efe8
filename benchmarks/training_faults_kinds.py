"""What training_faults.py breaks: shards, numbers, checkpoints, one kind of damage each."""

import contextlib
import hashlib
import io
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aodnet import losses, online
from aodnet.trainer import Trainer

Rng = np.random.Generator
Damage = Callable[[Path, Path], None]


# --- damaged shards ---


def frames(path: Path) -> list[bytes]:
    """The records of a shard with their lengths and checksums."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        (length,) = struct.unpack("<Q", data[at : at + 8])
        found.append(data[at : at + length + 16])
        at += length + 16
    return found


def flipped(data: bytes, place: int, rng: Rng) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << int(rng.integers(8))]) + data[place + 1 :]


def _bit_of_record(path: Path, rng: Rng) -> int:
    all_frames, number = frames(path), int(rng.integers(len(frames(path))))
    frame = all_frames[number]
    all_frames[number] = flipped(frame, int(rng.integers(12, len(frame))), rng)
    path.write_bytes(b"".join(all_frames))
    return 1


def _bit_of_length(path: Path, rng: Rng) -> int:
    all_frames, number = frames(path), int(rng.integers(len(frames(path))))
    all_frames[number] = flipped(all_frames[number], int(rng.integers(12)), rng)
    path.write_bytes(b"".join(all_frames))
    return len(all_frames) - number


def _cut_in_record(path: Path, rng: Rng) -> int:
    all_frames, number = frames(path), int(rng.integers(len(frames(path))))
    kept = all_frames[number][: int(rng.integers(1, len(all_frames[number])))]
    path.write_bytes(b"".join([*all_frames[:number], kept]))
    return len(all_frames) - number


def _cut_between(path: Path, rng: Rng) -> int:
    all_frames = frames(path)
    number = int(rng.integers(1, len(all_frames)))
    path.write_bytes(b"".join(all_frames[:number]))
    return len(all_frames) - number


def _emptied(path: Path, rng: Rng) -> int:  # noqa: ARG001
    count = len(frames(path))
    path.write_bytes(b"")
    return count


def _removed(path: Path, rng: Rng) -> int:  # noqa: ARG001
    count = len(frames(path))
    path.unlink()
    return count


def _noise(path: Path, rng: Rng) -> int:
    count = len(frames(path))
    path.write_bytes(rng.bytes(path.stat().st_size))
    return count


def _doubled(path: Path, rng: Rng) -> int:
    all_frames = frames(path)
    number = int(rng.integers(1, len(all_frames)))
    all_frames[number] = all_frames[number - 1]
    path.write_bytes(b"".join(all_frames))
    return 1


# Each damages a shard and returns how many of its records are gone.
SHARD_FAULTS: dict[str, Callable[[Path, Rng], int]] = {
    "one bit of a record flipped": _bit_of_record,
    "one bit of a record's length flipped": _bit_of_length,
    "cut inside a record": _cut_in_record,
    "cut between two records": _cut_between,
    "emptied": _emptied,
    "removed": _removed,
    "overwritten with noise": _noise,
    "one record in the place of another": _doubled,
}


# --- numbers that are not finite ---


@dataclass(frozen=True)
class NanFault:
    """Where a number breaks, at which (epoch, step) and how often, and what is asked for."""

    where: str
    on_nan: str
    places: tuple[tuple[int, int], ...]


NAN_FAULTS = (
    NanFault("input", "stop", ((1, 3),)),
    NanFault("input", "rollback", ((1, 3),)),
    NanFault("loss", "stop", ((0, 0),)),
    NanFault("loss", "rollback", ((0, 0),)),
    NanFault("gradients", "stop", ((1, 4),)),
    NanFault("gradients", "rollback", ((1, 4), (2, 0))),
    NanFault("weights", "stop", ((2, 1),)),
    NanFault("weights", "rollback", ((2, 1),)),
    NanFault("loss", "rollback", ((0, 1), (0, 3), (1, 0), (1, 1))),  # once too often
    NanFault("input", "rollback", ((2, 11),)),
)
ROLLBACKS = 3


class Trigger(keras.callbacks.Callback):
    """Sets a number to NaN before the chosen steps, and to 0 before all others.

    Attributes:
        seen: The hazy windows, uint8, that the network was given in each of the chosen steps.
    """

    def __init__(self, places: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        self.places, self.epoch, self.step = places, 0, 0
        self.seen: dict[tuple[int, int], np.ndarray] = {}
        self.value = tf.Variable(0.0, trainable=False)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.step = batch
        self.value.assign(float("nan") if (self.epoch, batch) in self.places else 0.0)

    def look(self, batch: Any) -> None:
        if (self.epoch, self.step) in self.places:
            self.seen[self.epoch, self.step] = np.rint(batch["hazy"].numpy() * 255.0).astype(np.uint8)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.value.assign(0.0)


@contextlib.contextmanager
def broken(where: str, trigger: Trigger) -> Iterator[None]:
    """What computes the input, the loss, the gradients or the update, with the trigger's number added to it."""
    inputs, loss, apply = online.hazy_and_clean, losses.per_example, keras.optimizers.AdamW.apply
    step = Trainer.step

    def seen_step(trainer: Trainer, batch: Any) -> Any:
        trigger.look(batch)
        return step(trainer, batch)

    def broken_inputs(*arguments: Any) -> Any:
        hazy, clean = inputs(*arguments)
        return hazy + trigger.value, clean

    @tf.custom_gradient
    def broken_slope(values: tf.Tensor) -> Any:
        return tf.identity(values), lambda slope: slope + trigger.value

    def broken_loss(weights: Any, clean: tf.Tensor, restored: tf.Tensor) -> tf.Tensor:
        if where == "gradients":
            return loss(weights, clean, broken_slope(restored))
        return loss(weights, clean, restored) + trigger.value

    def broken_apply(optimizer: Any, gradients: Any, variables: Any = None) -> None:
        apply(optimizer, gradients, variables)
        variables[0].assign_add(tf.zeros(variables[0].shape) + trigger.value)

    with contextlib.ExitStack() as stack:
        Trainer.step = seen_step
        stack.callback(setattr, Trainer, "step", step)
        if where == "input":
            online.hazy_and_clean = broken_inputs
            stack.callback(setattr, online, "hazy_and_clean", inputs)
        elif where == "weights":
            keras.optimizers.AdamW.apply = broken_apply
            stack.callback(setattr, keras.optimizers.AdamW, "apply", apply)
        else:
            losses.per_example = broken_loss
            stack.callback(setattr, losses, "per_example", loss)
        yield


# --- damaged checkpoints ---


def checkpoint_faults(rng: Rng) -> list[tuple[str, Damage]]:
    """20 damages to the newest of two checkpoints: (what, function of (newest, the one before))."""

    def flip(path: Path, _: Path) -> None:
        path.write_bytes(flipped(path.read_bytes(), int(rng.integers(path.stat().st_size)), rng))

    def cut(path: Path, _: Path) -> None:
        path.write_bytes(path.read_bytes()[: int(rng.integers(1, path.stat().st_size))])

    def block(path: Path, _: Path) -> None:
        data = bytearray(path.read_bytes())
        start = int(rng.integers(len(data) - 512))
        data[start : start + 512] = bytes(512)
        path.write_bytes(data)

    def forge(change: Callable[[dict[str, Any]], object]) -> Damage:
        """A whole file, with the right digest at its end: what is in it has to be looked at."""

        def damage(path: Path, _: Path) -> None:
            with np.load(path, allow_pickle=False) as content:
                arrays: dict[str, Any] = {name: content[name] for name in content.files}
            change(arrays)
            buffer = io.BytesIO()
            np.savez(buffer, **arrays)
            with zipfile.ZipFile(buffer, "a") as archive:
                archive.comment = b"sha256:" + bytes(64)
            data = buffer.getvalue()[:-64]
            path.write_bytes(data + hashlib.sha256(data).hexdigest().encode())

        return damage

    def link(path: Path, _: Path) -> None:
        path.unlink()
        path.symlink_to("nowhere.npz")

    once: list[tuple[str, Damage]] = [
        ("emptied", lambda path, _: path.write_bytes(b"") and None),
        ("the older one under its name", lambda path, older: shutil.copyfile(older, path) and None),
        ("text", lambda path, _: path.write_text("hello\n") and None),
        ("a link to nowhere", link),
        ("one byte more", lambda path, _: path.write_bytes(path.read_bytes() + b"\0") and None),
        ("an array missing", forge(lambda arrays: arrays.pop("array00003"))),
        ("an array of NaN", forge(lambda arrays: arrays.update(array00000=np.full(3, np.nan, np.float32)))),
        ("an array of text", forge(lambda arrays: arrays.update(array00000=np.array(["0.5"])))),
        ("facts of other types", forge(lambda arrays: arrays.update(meta=np.array('{"epoch": "3"}')))),
    ]
    return [("one bit flipped", flip)] * 6 + [("cut", cut)] * 3 + [("512 bytes zeroed", block)] * 2 + once
