"""Checkpoints: complete or not there, the newest that can be read, and nothing executed."""

import hashlib
import io
import json
import os
import pickle
import resource
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from aodnet import arrays as npz
from aodnet import checkpoint, model
from aodnet.checkpoint import Checkpoint
from hazegen.errors import RefusedError

META = {"config": {"seed": 7, "loss": "l2"}, "dataset": "abc"}


def state(epoch: int, step: int) -> Checkpoint:
    rng = np.random.default_rng(epoch * 100 + step)
    arrays = [rng.normal(size=(3, 2)).astype(np.float32), np.array(step, np.int64), np.array(0.5, np.float32)]
    return Checkpoint(epoch, step, arrays, META, ("kernel", "iteration", "rate"))


def assert_same(a: Checkpoint, b: Checkpoint) -> None:
    assert (a.epoch, a.step, a.meta, a.names) == (b.epoch, b.step, b.meta, b.names)
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


def test_newest_by_number_where_it_outgrows_its_name(tmp_path):
    for step in (9_999_999, 10_000_000):
        checkpoint.save(tmp_path, state(0, step))
    assert_same(checkpoint.load_newest(tmp_path)[0], state(0, 10_000_000))


def test_what_lies_after_the_newest_goes(tmp_path):
    """A run that fell back to step 1 goes on from there; what is left of steps 2 and 3 is believed no more."""
    for step in (1, 2):
        checkpoint.save(tmp_path, state(0, step))
    (tmp_path / "epoch-00000-step-0000003.npz").write_bytes(b"damaged")
    checkpoint.save(tmp_path, Checkpoint(0, 1, [np.zeros(1)], {}))
    assert files(tmp_path) == ["epoch-00000-step-0000001.npz"]


def test_a_damaged_one_is_set_aside_and_not_counted_among_the_two(tmp_path):
    for step in (10, 20):
        checkpoint.save(tmp_path, state(0, step))
    newest = "epoch-00000-step-0000020.npz"
    (tmp_path / newest).write_bytes(b"damaged")
    (tmp_path / "epoch-00000-step-0000025.npz").mkdir()
    loaded, _ = checkpoint.load_newest(tmp_path)
    assert checkpoint.set_aside(tmp_path, loaded) == [f"{newest}.damaged"]
    (tmp_path / "epoch-00000-step-0000025.npz").rmdir()
    checkpoint.save(tmp_path, state(0, 30))
    assert files(tmp_path) == ["epoch-00000-step-0000010.npz", f"{newest}.damaged", "epoch-00000-step-0000030.npz"]
    assert checkpoint.set_aside(tmp_path, checkpoint.load_newest(tmp_path)[0]) == []


def test_a_checkpoint_larger_than_any_weight_file_is_read_again(tmp_path):
    large = Checkpoint(0, 1, [np.ones(16_500_000, np.float32)], {}, ("kernel",))
    assert checkpoint.save(tmp_path, large).stat().st_size > npz.MAX_BYTES
    assert_same(checkpoint.load_newest(tmp_path)[0], large)


def test_the_widest_network_with_its_optimizer_fits():
    """Weights, both moments of Adam and an average, float32."""
    inputs, outputs, sides = (3, 256, 512, 512, 1024), (256, 256, 256, 256, 3), (1, 3, 5, 7, 3)
    weights = sum(a * b * side**2 + b for a, b, side in zip(inputs, outputs, sides, strict=True))
    assert weights == model.build_aodnet(filters=256).count_params()
    assert 4 * weights < npz.MAX_BYTES
    assert 4 * 4 * weights < checkpoint.MAX_BYTES


@pytest.mark.parametrize("limits", [(1000, 10), (100_000, 2)])
def test_what_would_not_be_read_again_is_not_written(tmp_path, monkeypatch, limits):
    checkpoint.save(tmp_path, state(0, 1))
    monkeypatch.setattr(checkpoint, "MAX_BYTES", limits[0])
    monkeypatch.setattr(checkpoint, "MAX_ARRAYS", limits[1])
    with pytest.raises(RefusedError, match=rf"cannot be saved.*at most {limits[0]:,} bytes.*Lower --filters"):
        checkpoint.save(tmp_path, Checkpoint(0, 2, [np.zeros(300), np.zeros(300)], {}))
    assert files(tmp_path) == ["epoch-00000-step-0000001.npz"]


def test_a_folder_of_the_name_stays_and_is_no_checkpoint(tmp_path):
    (tmp_path / "epoch-00000-step-0000009.npz").mkdir()
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, state(0, step))
    loaded, damaged = checkpoint.load_newest(tmp_path)
    assert loaded.step == 3
    assert damaged == ["epoch-00000-step-0000009.npz (not a file)"]
    assert len(files(tmp_path)) == 1 + 2


def test_files_that_are_none_of_ours_stay_and_are_not_read(tmp_path):
    checkpoint.save(tmp_path, state(0, 1))
    for name in ("epoch-1-step-2.npz", "epoch-00000-step-0000009.npz.bak", "epoch-x.npz", "notes.tmp"):
        (tmp_path / name).write_bytes(b"mine")
    checkpoint.save(tmp_path, state(0, 2))
    checkpoint.save(tmp_path, state(0, 3))
    assert checkpoint.load_newest(tmp_path)[1] == []
    assert len(files(tmp_path)) == 2 + 4


def test_a_write_that_fails_leaves_the_older_ones(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, state(0, 1))

    def fail(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, state(0, 2))
    monkeypatch.undo()
    assert files(tmp_path) == ["epoch-00000-step-0000001.npz"]
    assert_same(checkpoint.load_newest(tmp_path)[0], state(0, 1))


def test_what_a_killed_run_left_is_not_read_and_swept(tmp_path):
    checkpoint.save(tmp_path, state(0, 1))
    left = tmp_path / "epoch-00000-step-0000002.npz.4242-0a1b2c3d-7.tmp"
    left.write_bytes(b"half")
    assert_same(checkpoint.load_newest(tmp_path)[0], state(0, 1))
    assert left.exists()  # reading removes nothing: another machine of the run may be writing
    checkpoint.save(tmp_path, state(0, 3))
    assert not left.exists()


def forged(path: Path, **content: object) -> None:
    """A file with the right mark around any content."""
    buffer = io.BytesIO()
    np.savez(buffer, **content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"sha256:" + b"0" * 64
    data = buffer.getvalue()[:-64]
    path.write_bytes(data + hashlib.sha256(data).hexdigest().encode())


def facts(**changes: object) -> np.ndarray:
    sound = {"epoch": 0, "step": 2, "arrays": 1, "names": ["kernel"], "run": {}}
    return np.array(json.dumps({**sound, **changes}))


ONE = {"array00000": np.zeros(3, np.float32)}


def test_the_forgery_itself_is_sound(tmp_path):
    """So that each of those below is refused for the one thing that is wrong with it."""
    forged(tmp_path / "epoch-00000-step-0000002.npz", **ONE, meta=facts())
    loaded, damaged = checkpoint.load_newest(tmp_path)
    assert (loaded.epoch, loaded.step, loaded.names, damaged) == (0, 2, ("kernel",), [])


FORGERIES = {
    "no meta": (ONE, "meta"),
    "meta is no text": (ONE | {"meta": np.zeros(3)}, "."),
    "no position": (ONE | {"meta": np.array("{}")}, "epoch"),
    "meta is a list": (ONE | {"meta": np.array("[]")}, "."),
    "meta nested deeply": (ONE | {"meta": np.array("[" * 100_000)}, "recursion"),
    "position of text": (ONE | {"meta": facts(step="2")}, "other types"),
    "position of a truth value": (ONE | {"meta": facts(epoch=False)}, "other types"),
    "run is a list": (ONE | {"meta": facts(run=[])}, "other types"),
    "another position": (ONE | {"meta": facts(step=3)}, "it is of epoch 0, step 3"),
    "array missing": ({"meta": facts()}, "0 of 1 arrays"),
    "array too many": (ONE | {"array00001": np.zeros(1), "meta": facts()}, "2 of 1 arrays"),
    "name missing": (ONE | {"array00001": np.zeros(1), "meta": facts(arrays=2)}, "2 of 2 arrays"),
    "name a number": (ONE | {"meta": facts(names=[1])}, "no text"),
    "NaN": ({"array00000": np.array([0.0, np.nan]), "meta": facts()}, "array 0 has NaN or infinity"),
    "infinity": ({"array00000": np.array([0.0, -np.inf]), "meta": facts()}, "array 0 has NaN or infinity"),
    "text": ({"array00000": np.array(["x"]), "meta": facts()}, "values of type <U1"),
    "complex": ({"array00000": np.zeros(2, complex), "meta": facts()}, "numbers of type complex128"),
}


@pytest.mark.parametrize("how", FORGERIES)
def test_wrong_content_under_the_right_mark_falls_back_and_says_why(tmp_path, how):
    content, why = FORGERIES[how]
    checkpoint.save(tmp_path, state(0, 1))
    forged(tmp_path / "epoch-00000-step-0000002.npz", **content)
    loaded, damaged = checkpoint.load_newest(tmp_path)
    assert_same(loaded, state(0, 1))
    assert len(damaged) == 1
    assert damaged[0].startswith("epoch-00000-step-0000002.npz (")
    assert why in damaged[0] or why == "."


@pytest.mark.parametrize("how", ["empty", "text", "cut", "zip", "npy", "of another time", "a folder", "longer"])
def test_damaged_newest_falls_back_and_says_so(tmp_path, how):
    checkpoint.save(tmp_path, state(0, 1))
    path = checkpoint.save(tmp_path, state(0, 2))
    content = path.read_bytes()
    path.unlink()
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    if how == "a folder":
        path.mkdir()
    else:
        data = {"empty": b"", "text": b"hello\n", "cut": content[:-100], "zip": b"PK\x03\x04", "npy": buffer.getvalue()}
        data |= {"longer": content + b"\0", "of another time": (tmp_path / "epoch-00000-step-0000001.npz").read_bytes()}
        path.write_bytes(data[how])
    loaded, damaged = checkpoint.load_newest(tmp_path)
    assert_same(loaded, state(0, 1))
    reasons = {"of another time": "it is of epoch 0, step 1", "a folder": "not a file"}
    assert damaged == [
        f"{path.name} ({reasons.get(how, 'cut, or no checkpoint: the mark of a complete one is not there')})"
    ]


def test_any_flipped_bit_is_found(tmp_path):
    checkpoint.save(tmp_path, state(0, 1))
    path = checkpoint.save(tmp_path, state(0, 2))
    content = path.read_bytes()
    for place in range(0, len(content), 4):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place // 4 % 8]) + content[place + 1 :])
        loaded, damaged = checkpoint.load_newest(tmp_path)
        assert loaded.step == 1
        assert len(damaged) == 1


def test_any_cut_is_found(tmp_path):
    checkpoint.save(tmp_path, state(0, 1))
    path = checkpoint.save(tmp_path, state(0, 2))
    content = path.read_bytes()
    for length in range(0, len(content), 11):
        path.write_bytes(content[:length])
        assert checkpoint.load_newest(tmp_path)[0].step == 1


def test_a_file_without_end_is_not_read(tmp_path):
    checkpoint.save(tmp_path, state(0, 1))
    os.mkfifo(tmp_path / "epoch-00000-step-0000002.npz")
    with (tmp_path / "epoch-00000-step-0000003.npz").open("wb") as file:
        file.truncate(checkpoint.MAX_BYTES + 1)
    damaged = checkpoint.load_newest(tmp_path)[1]
    assert damaged == [
        "epoch-00000-step-0000003.npz (more than 256,000,000 bytes)",
        "epoch-00000-step-0000002.npz (not a file)",
    ]


def test_none_there(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(
            RefusedError, match=r"There is no checkpoint to resume from.*received none.*without --resume"
        ):
            checkpoint.load_newest(folder)


def test_only_damaged_ones(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, state(0, step)).write_bytes(b"x")
    with pytest.raises(
        RefusedError, match=r"received only damaged ones: epoch-00000-step-0000002.npz \(cut.*0001.npz \("
    ):
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
    forged(folder / "epoch-00000-step-0000002.npz", array00000=objects, meta=facts())
    (folder / "epoch-00000-step-0000003.npz").write_bytes(pickle.dumps(Canary(canary)))
    loaded, damaged = checkpoint.load_newest(folder)
    assert_same(loaded, state(0, 1))
    assert "mark" in damaged[0]
    assert "numbers of type object" in damaged[1]
    assert not canary.exists()


@pytest.mark.parametrize(
    ("array", "received"),
    [
        (np.array([object()]), "values of type object"),
        (np.array([1.0, np.nan], np.float32), "NaN or infinity"),
        (np.array(np.inf), "NaN or infinity"),
    ],
)
def test_what_is_no_number_is_not_written(tmp_path, array, received):
    checkpoint.save(tmp_path, state(0, 1))
    broken = Checkpoint(0, 2, [np.zeros(1), array], {}, ("kernel", "bias"))
    with pytest.raises(RefusedError, match=rf"Variable 1 \(bias\) cannot be saved.*received {received}.*--resume"):
        checkpoint.save(tmp_path, broken)
    assert files(tmp_path) == ["epoch-00000-step-0000001.npz"]


# --- variables ---


def variables(**changes: np.ndarray) -> list[keras.Variable]:
    values = {"kernel": np.zeros((3, 2), np.float32), "iteration": np.array(0), "rate": np.zeros((), np.float32)}
    return [keras.Variable(value, dtype=str(value.dtype), name=name) for name, value in {**values, **changes}.items()]


def test_variables_round_trip(tmp_path):
    given = variables(kernel=np.float32([[1e-40, 2.0], [3.0, 4.0], [5.0, np.pi]]))
    checkpoint.save(tmp_path, checkpoint.of_variables(1, 2, given, META))
    fresh = variables()
    checkpoint.assign(checkpoint.load_newest(tmp_path)[0], fresh)
    for ours, theirs in zip(fresh, given, strict=True):
        assert ours.numpy().tobytes() == theirs.numpy().tobytes()


def other_variables() -> dict[str, list[keras.Variable]]:
    kernel, iteration, rate = variables()
    return {
        "order": [iteration, kernel, rate],
        "one missing": [kernel, iteration],
        "one more": [kernel, iteration, rate, keras.Variable(0.0, name="more")],
        "name": [keras.Variable(np.zeros((3, 2), np.float32), name="bias"), iteration, rate],
        "shape": [keras.Variable(np.zeros((2, 3), np.float32), name="kernel"), iteration, rate],
        "type": [keras.Variable(np.zeros((3, 2)), dtype="float64", name="kernel"), iteration, rate],
    }


@pytest.mark.parametrize("how", other_variables())
def test_other_variables_are_refused_and_none_is_touched(how):
    saved = state(0, 1)
    wrong = other_variables()[how]
    with pytest.raises(RefusedError, match=r"The checkpoint does not fit\. Expected the \d variables.*received"):
        checkpoint.assign(saved, wrong)
    assert all((variable.numpy() == 0).all() for variable in wrong)


def test_the_message_names_the_first_that_differs():
    with pytest.raises(RefusedError, match=r"received 'kernel', \(3, 2\) of float32, in place of 'bias', \(3, 2\) of"):
        checkpoint.assign(state(0, 1), other_variables()["name"])


def test_a_checkpoint_without_names_fits_nothing():
    saved = state(0, 1)
    with pytest.raises(RefusedError, match="does not fit"):
        checkpoint.assign(Checkpoint(0, 1, saved.arrays, {}), variables())


def test_names_do_not_count_up_within_a_process():
    first, second = ([variable.path for variable in model.build_aodnet().variables] for _ in range(2))
    assert first == second


# --- arrays.py ---


def zipped(compression: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def header(text: str, numbers: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + numbers


def declared(shape: str, kind: str = "<f4") -> bytes:
    return header(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}\n", bytes(16))


WORDS = "type|shape|Error|large|more than|compressed|bytes"
HOSTILE = {
    "huge shape": zipped(a=declared("(1000000000000,)")),
    "negative shape": zipped(a=declared("(-4,)")),
    "fewer numbers": zipped(a=declared("(5,)")),
    "more numbers": zipped(a=declared("(3,)")),
    "huge text": zipped(a=declared("(4,)", "<U999999999")),
    "objects": zipped(a=declared("(2,)", "|O")),
    "records": zipped(a=declared("(1,)", "|V16")),
    "code in the header": zipped(a=header("__import__('os').system('true')\n", bytes(16))),
    "unclosed header": zipped(a=header("{'descr': ((((\n")),
    "unknown version": zipped(a=b"\x93NUMPY\x09\x00" + bytes(80)),
    "no header": zipped(a=b"hello"),
    "bomb": zipped(a=bytes(npz.MAX_BYTES + 1)),
    "other compression": zipped(zipfile.ZIP_LZMA, a=declared("(4,)")),
    "many members": b"PK\x01\x02" * (npz.MAX_ARRAYS + 1),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_hostile_npz_is_refused_before_it_takes_memory(how):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=WORDS):
        npz.parse_npz(HOSTILE[how])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_what_is_declared_rightly_is_read():
    assert npz.parse_npz(zipped(a=declared("(4,)")))["a"].tolist() == [0.0] * 4
