"""Checkpoints: complete or not there, the newest that can be read, and nothing executed."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from aodnet import checkpoint
from aodnet.checkpoint import Checkpoint
from hazegen.errors import RefusedError

META = {"config": {"seed": 7, "loss": "l2"}, "dataset": "abc"}


def state(epoch: int, step: int) -> Checkpoint:
    rng = np.random.default_rng(epoch * 100 + step)
    arrays = [rng.normal(size=(3, 2)).astype(np.float32), np.array(step, np.int64), np.array(0.5, np.float32)]
    return Checkpoint(epoch, step, arrays, META)


def assert_same(a: Checkpoint, b: Checkpoint) -> None:
    assert (a.epoch, a.step, a.meta) == (b.epoch, b.step, b.meta)
    assert len(a.arrays) == len(b.arrays)
    for x, y in zip(a.arrays, b.arrays, strict=True):
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        np.testing.assert_array_equal(x, y)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip(tmp_path):
    checkpoint.save(tmp_path / "c", state(2, 30))
    loaded, damaged = checkpoint.load_newest(tmp_path / "c")
    assert_same(loaded, state(2, 30))
    assert damaged == []


def test_more_than_ten_arrays_keep_their_order(tmp_path):
    many = Checkpoint(0, 1, [np.full(2, number, np.float32) for number in range(123)], {})
    checkpoint.save(tmp_path, many)
    assert_same(checkpoint.load_newest(tmp_path)[0], many)


def test_newest_by_epoch_then_step(tmp_path):
    for epoch, step in ((0, 900), (9, 5), (10, 0)):
        checkpoint.save(tmp_path, state(epoch, step))
    assert_same(checkpoint.load_newest(tmp_path)[0], state(10, 0))


def test_two_are_kept_and_no_temporary_file(tmp_path):
    for step in range(5):
        checkpoint.save(tmp_path, state(0, step))
    assert files(tmp_path) == ["epoch-00000-step-0000003.npz", "epoch-00000-step-0000004.npz"]
    assert checkpoint.KEPT == 2


def test_saving_again_replaces(tmp_path):
    path = checkpoint.save(tmp_path, state(1, 1))
    other = Checkpoint(1, 1, [np.zeros(1)], {})
    assert checkpoint.save(tmp_path, other) == path
    assert_same(checkpoint.load_newest(tmp_path)[0], other)


def test_a_write_that_fails_leaves_the_older_ones(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, state(0, 1))

    def fail(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, state(0, 2))
    monkeypatch.undo()
    assert_same(checkpoint.load_newest(tmp_path)[0], state(0, 1))


def test_temporary_file_of_a_killed_run_is_not_read(tmp_path):
    checkpoint.save(tmp_path, state(0, 1))
    (tmp_path / "epoch-00000-step-0000009.tmp").write_bytes(b"half")
    assert_same(checkpoint.load_newest(tmp_path)[0], state(0, 1))


@pytest.mark.parametrize("how", ["empty", "text", "cut", "zip", "npy", "no meta", "no position", "meta is a list"])
def test_damaged_newest_falls_back_and_says_so(tmp_path, how):
    checkpoint.save(tmp_path, state(0, 1))
    path = checkpoint.save(tmp_path, state(0, 2))
    if how in ("no meta", "no position", "meta is a list"):
        meta = {"no meta": {}, "no position": {"meta": np.array("{}")}, "meta is a list": {"meta": np.array("[]")}}[how]
        np.savez(path, array0000=np.zeros(3), **meta)
    elif how == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    else:
        content = path.read_bytes()
        path.write_bytes({"empty": b"", "text": b"hello\n", "cut": content[:-100], "zip": b"PK\x03\x04"}[how])
    loaded, damaged = checkpoint.load_newest(tmp_path)
    assert_same(loaded, state(0, 1))
    assert damaged == [path.name]


def test_any_flipped_byte_is_found_or_harmless(tmp_path):
    """No byte of the file can be changed so that other numbers are read, or that reading crashes."""
    checkpoint.save(tmp_path, state(0, 1))
    path = checkpoint.save(tmp_path, state(0, 2))
    content = path.read_bytes()
    fell_back = 0
    for place in range(0, len(content), 5):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        loaded, damaged = checkpoint.load_newest(tmp_path)
        assert_same(loaded, state(0, 1) if damaged else state(0, 2))
        fell_back += bool(damaged)
    assert fell_back > len(content) / 5 / 4


def test_none_there(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(
            RefusedError, match=r"There is no checkpoint to resume from.*received none.*without --resume"
        ):
            checkpoint.load_newest(folder)


def test_only_damaged_ones(tmp_path):
    path = checkpoint.save(tmp_path, state(0, 1))
    path.write_bytes(b"x")
    with pytest.raises(RefusedError, match=rf"received only damaged ones \(\['{path.name}'\]\)"):
        checkpoint.load_newest(tmp_path)


class Canary:
    """Pickled, it writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickles_are_refused_unread(tmp_path):
    folder, canary = tmp_path / "c", tmp_path / "canary"
    checkpoint.save(folder, state(0, 1))
    objects = np.empty(1, object)
    objects[0] = Canary(canary)
    np.savez(
        folder / "epoch-00000-step-0000002.npz", meta=np.array(json.dumps({"epoch": 0, "step": 2})), array0000=objects
    )
    (folder / "epoch-00000-step-0000003.npz").write_bytes(pickle.dumps(Canary(canary)))
    loaded, damaged = checkpoint.load_newest(folder)
    assert_same(loaded, state(0, 1))
    assert len(damaged) == 2
    assert not canary.exists()


def test_objects_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="no array of objects"):
        checkpoint.save(tmp_path, Checkpoint(0, 0, [np.array([object()])], {}))
    with pytest.raises(RefusedError):
        checkpoint.load_newest(tmp_path)
