"""The training loop: it learns, leaves a complete run folder, resumes to the bit, and stops at NaN."""

import argparse
import csv
import dataclasses
import json
import math
import shlex
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from aodnet_fixtures import make_dataset, read_records, smooth

from aodnet import (
    checkpoint,
    cli_fit,
    cli_options,
    data,
    devices,
    fit,
    journal,
    losses,
    metrics,
    model,
    overfit,
    run,
    run_report,
    run_state,
    telling,
    trainer,
    validation_pictures,
    weights,
)
from aodnet.config import FitConfig, FitPaths
from aodnet.run_folder import read_history
from hazegen import config as configs
from hazegen import manifest, records
from hazegen.errors import HazegenError, RefusedError, StoreError, UsageError, VerifyError
from hazegen.make import make

pytestmark = pytest.mark.usefixtures("without_curves")

# 6 training records in 3 steps, 2 validation records.
CONFIG = FitConfig(epochs=2, batch=2, crop=16, learning_rate=2e-3, warmup=0.0, checkpoint_steps=2)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """3 training scenes and 1 validation scene of 24 x 32, two variants each."""
    folder = tmp_path_factory.mktemp("fit-pairs")
    return make_dataset(folder, {"train": 3, "validation": 1, "test": 1}, size=(24, 32), picture=smooth)


def source(folder: Path) -> data.Source:
    return data.Source(folder, manifest.load(folder))


class Watch(keras.callbacks.Callback):
    """Keeps what the loop says."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.losses: list[float] = []

    def on_train_begin(self, logs=None):
        self.calls.append("begin")

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(f"epoch {epoch}")

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(f"step {batch}")
        self.losses.append(float(logs["loss"]))

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(f"end of {epoch}")

    def on_train_end(self, logs=None):
        self.calls.append("end")


@pytest.fixture(scope="module")
def finished(pairs, tmp_path_factory):
    """A run of two epochs, and the callback that watched it."""
    watch = Watch()
    out = tmp_path_factory.mktemp("finished") / "run"
    return fit.fit(FitPaths((pairs,), out), CONFIG, extra=(watch,)), watch


# --- the run folder ---


def test_run_folder_is_complete(finished):
    run = finished[0].run
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert names >= {
        "config.yaml",
        "history.csv",
        "best.weights.h5",
        "last.weights.h5",
        "validation/epoch-0001.png",
        "validation/epoch-0002.png",
        "checkpoints/epoch-00001-step-0000002.npz",
        "checkpoints/epoch-00002-step-0000000.npz",
    }
    assert not [name for name in names if "tmp" in name]


def test_run_ends_with_its_report(finished, pairs):
    """Curves, pictures of both epochs, the data; of what lies in the folder alone."""
    run = finished[0].run
    page = (run / "report.html").read_text()
    for shown in ("Finished: 2 epochs.", "epoch 1, ", "epoch 2, ", "K of ", manifest.digest(manifest.load(pairs))):
        assert shown in page, shown
    assert page == run_report.write(run)
    begun, ended = (event for event in journal.read(run) if event["event"] in ("begin", "end"))
    assert (begun["epoch"], begun["step"], ended["how"]) == (0, 0, "ended")


def test_journal_keeps_what_the_user_is_told(pairs, tmp_path, monkeypatch):
    """And no message of TensorFlow's own, of which something better is known."""

    def fail(*_: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "{{node of TensorFlow}} OOM")

    monkeypatch.setattr(fit, "_run_all", fail)
    out = tmp_path / "run"
    with pytest.raises(RefusedError, match="memory of the device is not enough"):
        fit.fit(FitPaths((pairs,), out), CONFIG)
    assert journal.read(out)[-1]["how"].startswith("failed: The memory of the device is not enough. Expected")
    assert "Ended early: failed: The memory of the device is not enough." in (out / "report.html").read_text()


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C in the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def test_no_run_fails_for_its_report_and_a_resume_writes_it_anew(pairs, tmp_path, monkeypatch):
    """The interrupted run ends as it would without; what is there can be shown then, and the resumed one shows all."""
    paths, said, write = FitPaths((pairs,), tmp_path / "run"), [], run_report.write

    def fail(*_: object) -> str:
        raise ValueError("for a reason")

    monkeypatch.setattr(run_report, "write", fail)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(paths, CONFIG, say=said.append, extra=(Interrupt(),), command="aodnet fit --data x")
    assert [text for text in said if text.startswith("warning: the report") and "ValueError: for a reason" in text]
    assert not (paths.out / "report.html").exists()
    page = write(paths.out)
    assert "Not finished: 1 of 2 epochs; interrupted." in page
    assert "aodnet fit --data x" in page
    monkeypatch.setattr(run_report, "write", write)
    fit.fit(dataclasses.replace(paths, resume=True), CONFIG)
    page = (paths.out / "report.html").read_text()
    assert "Finished: 2 epochs." in page
    assert "Resumed at epoch 2, step 0." in page


def test_config_yaml_holds_every_setting_and_the_data(finished, pairs):
    """It can be given as --config again."""
    path = finished[0].run / "config.yaml"
    assert configs.build(FitConfig, configs.read_config(path, FitConfig)) == CONFIG
    assert set(yaml.safe_load(path.read_text())) == {field.name for field in dataclasses.fields(FitConfig)}
    assert manifest.digest(manifest.load(pairs)) in path.read_text()


def test_history_has_a_row_for_each_epoch(finished):
    with (finished[0].run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {"epoch", "loss", "val_loss", "val_psnr_rgb", "val_ssim_rgb", "learning_rate"} | {
        "data_wait",
        "images_per_s",
        "lost",
    }
    assert [row["epoch"] for row in rows] == ["1", "2"]
    losses_of = finished[1].losses
    for epoch, row in enumerate(rows):
        assert float(row["loss"]) == pytest.approx(np.mean(losses_of[3 * epoch : 3 * epoch + 3]), rel=1e-5)


def test_history_is_of_the_weights_beside_it(finished, pairs):
    """The last row's validation figures are those of last.weights.h5, by the float64 metrics."""
    network = weights.load(finished[0].run / "last.weights.h5")
    scores = []
    for batch in data.validation_batches([source(pairs)]):
        restored = np.clip(network(batch["hazy"]).numpy()[0], 0.0, 1.0).astype(np.float64)
        reference = batch["clean"].numpy()[0].astype(np.float64)
        scores.append([m(restored, reference, data_range=1.0) for m in (metrics.psnr, metrics.ssim)])
    last = read_history(finished[0].run / "history.csv")[-1]
    assert last["val_psnr_rgb"] == pytest.approx(np.mean(scores, axis=0)[0], abs=1e-3)
    assert last["val_ssim_rgb"] == pytest.approx(np.mean(scores, axis=0)[1], abs=1e-3)


def test_best_is_the_best_row(finished):
    rows = read_history(finished[0].run / "history.csv")
    assert finished[0].best == max(rows, key=lambda row: row["val_psnr_rgb"])
    assert finished[0].epochs == 2


def test_callbacks_are_called_in_order(finished):
    epochs = [[f"epoch {e}", "step 0", "step 1", "step 2", f"end of {e}"] for e in range(2)]
    assert finished[1].calls == ["begin", *epochs[0], *epochs[1], "end"]


def test_weights_on_disk_hold_no_denormals(finished):
    for name in ("best", "last"):
        values = np.concatenate([w.ravel() for w in weights.load(finished[0].run / f"{name}.weights.h5").get_weights()])
        assert np.isfinite(values).all()
        assert not ((np.abs(values) < weights.SMALLEST) & (values != 0)).any()


def test_learning_rate_ends_where_the_config_says(finished):
    last = read_history(finished[0].run / "history.csv")[-1]["learning_rate"]
    assert last == pytest.approx(CONFIG.learning_rate * CONFIG.final_learning_rate, rel=1e-3)


def test_device_is_said(finished):
    gpus = tf.config.list_physical_devices("GPU")
    assert ("GPU" in finished[0].device) == bool(gpus) or "no GPU was found" in finished[0].device


def test_a_run_folder_is_not_overwritten(finished, pairs):
    before = sorted(finished[0].run.rglob("*"))
    with pytest.raises(RefusedError, match=r"is not empty.*another --out, or pass --resume"):
        fit.fit(FitPaths((pairs,), finished[0].run), CONFIG)
    assert sorted(finished[0].run.rglob("*")) == before


def contents(run: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and times of all files."""
    return {
        str(path.relative_to(run)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in run.rglob("*")
        if path.is_file()
    }


def test_resume_of_a_finished_run_changes_nothing(finished, pairs, tmp_path, capsys):
    """It says so and where the result is; no callback hears of it, nothing is trained on."""
    run = Path(shutil.copytree(finished[0].run, tmp_path / "run"))
    before, said, watch = contents(run), [], Watch()
    paths = FitPaths((pairs,), run, resume=True)
    again = fit.fit(paths, CONFIG, say=said.append, extra=(watch,))
    assert (again.epochs, again.best, again.was_done) == (2, finished[0].best, True)
    assert (said, watch.calls) == ([], [])
    assert contents(run) == before
    cli_fit._tell(again, paths)
    told = capsys.readouterr().out
    assert f"the run in '{run}' is finished already: 2 epochs. Nothing was changed." in told
    assert f"'{run}/best.weights.h5'" in told
    assert "trained" not in told


def test_pictures_are_of_different_scenes(tmp_path):
    """Evenly spread, the same every time, with the keys of their records."""
    folder = make_dataset(tmp_path, {"train": 1, "validation": 5}, size=(24, 32), variants=3)
    now = run.prepare(FitPaths((folder,), tmp_path / "run"), CONFIG, (0, 1), print)
    shown = validation_pictures.choose(now)
    keys = [data.key_at(now.sources, place) for place in range(15)]
    places = [keys.index(one.key) for one in shown]
    scenes = {values["key"]: values["scene"] for values in read_records(folder, "validation")}
    assert len({scenes[one.key] for one in shown}) == len(shown) == 4
    held = [batch["hazy"].numpy() for batch in now.validation_places()]
    for place, one in zip(places, shown, strict=True):
        np.testing.assert_array_equal(one.hazy, held[place])
    assert [one.key for one in validation_pictures.choose(now)] == [one.key for one in shown]
    assert [len(validation_pictures.choose(now, count)) for count in (1, 2, 9)] == [1, 2, 5]


def test_pictures_are_chosen_before_they_are_decoded(tmp_path, monkeypatch):
    """Whole frames are large: no more of them are held than are shown."""
    folder = make_dataset(tmp_path, {"train": 1, "validation": 6}, size=(24, 32))
    now = run.prepare(FitPaths((folder,), tmp_path / "run"), CONFIG, (0, 1), print)
    alive, most, places = weakref.WeakSet(), [0], run.Run.validation_places

    class Batch(dict):
        __hash__ = object.__hash__

    def watched(self, every=1):
        for one in places(self, every):
            batch = Batch(one)
            alive.add(batch)
            most.append(len(alive))
            yield batch

    monkeypatch.setattr(run.Run, "validation_places", watched)
    assert len(validation_pictures.choose(now, 1)) == 1
    assert max(most) <= 3


def test_the_same_dataset_twice_is_refused(pairs, tmp_path, monkeypatch):
    """Also by another spelling, a link or a copy."""
    monkeypatch.chdir(pairs)
    (tmp_path / "link").symlink_to(pairs)
    for other in (pairs, Path(), tmp_path / "link"):
        with pytest.raises(UsageError, match=r"given twice.*received .* and .*hold the same shards.*--weights"):
            run.prepare(FitPaths((pairs, other), tmp_path / "run"), CONFIG, (0, 1), print)


def test_next_commands_name_all_data_and_can_be_pasted(finished, pairs, tmp_path, capsys):
    other = make_dataset(tmp_path / "my own", {"train": 1, "validation": 1}, size=(24, 32), variants=1)
    cli_fit._tell(finished[0], FitPaths((pairs, other), finished[0].run))
    lines = [line.removeprefix("next: ") for line in capsys.readouterr().out.splitlines() if line.startswith("next: ")]
    best = f"{finished[0].run}/best.weights.h5"
    first = ["aodnet", "evaluate", "--model", best, "--data", str(pairs), "--out", "runs/evaluation-1"]
    second = [*first[:5], str(other), "--out", "runs/evaluation-2", "--split", "validation"]
    assert [shlex.split(line) for line in lines] == [first, second]


def test_what_can_be_refused_comes_before_training_is_told_of(finished, pairs, tmp_path):
    """A checkpoint of another network, and data of which no validation is left, too."""
    one = resumable(finished, tmp_path)
    saved, _ = checkpoint.load_newest(one / "checkpoints")
    arrays = [np.zeros((2, 2), np.float32), *saved.arrays[1:]]
    checkpoint.save(one / "checkpoints", dataclasses.replace(saved, epoch=1, step=1, arrays=arrays))
    copy = without(pairs, tmp_path / "copy", "validation", Path.unlink)
    jobs = (
        FitPaths((pairs,), one, resume=True),
        FitPaths((copy,), tmp_path / "new", on_damage="skip"),
    )
    for paths in jobs:
        said: list[str] = []
        with pytest.raises(RefusedError):
            fit.fit(paths, CONFIG, say=said.append)
        assert not [line for line in said if line.startswith("training on")]
    assert not (tmp_path / "new").exists()


def test_a_log_is_told_of_the_first_step_and_then_now_and_then(pairs, tmp_path, monkeypatch):
    now, said = [0.0], []
    monkeypatch.setattr(telling.time, "monotonic", lambda: now[0])
    begin, step = trainer.Trainer.begin_epoch, trainer.Trainer.step

    def later(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(trainer.Trainer, "begin_epoch", lambda self: later(29.0) or begin(self))
    monkeypatch.setattr(trainer.Trainer, "step", lambda self, batch: later(16.0) or step(self, batch))
    fit.fit(FitPaths((pairs,), tmp_path / "run"), CONFIG, say=said.append)
    lines = [line for line in said if line.startswith(("starting", "at step", "validating"))]
    assert lines[:3] == [
        "starting step 1 of 3 of epoch 1 of 2; the first one takes longer, as it is compiled.",
        "at step 2 of 3 of epoch 1 of 2.",  # the device has not been looked at yet
        "starting step 1 of 3 of epoch 2 of 2.",
    ]
    assert [line.partition(".")[0] for line in lines[3:]] == ["at step 2 of 3 of epoch 2 of 2"]
    assert said[0].startswith("training on")
    assert said[0].endswith(": 2 epochs of 3 steps.")


# --- learning ---


def trainer_of(config: FitConfig, steps: int = 400) -> trainer.Trainer:
    return trainer.Trainer(config, steps, tf.distribute.get_strategy(), jit=False)


def test_one_small_batch_is_learned(pairs):
    """The haze of one batch is undone: the loss falls to a fraction."""
    trainer = trainer_of(dataclasses.replace(CONFIG, learning_rate=5e-3))
    batch = next(iter(data.training_batches([source(pairs)], crop=16, batch=2, seed=0, epoch=0)))
    first = float(trainer.step(batch)["loss"])
    for _ in range(300):
        last = trainer.step(batch)["loss"]
    assert first > 0.01
    assert float(last) < 0.1 * first


def test_step_reports_the_loss_of_the_batch_and_the_share_of_living_k(pairs):
    trainer = trainer_of(CONFIG)
    batch = next(iter(data.training_batches([source(pairs)], crop=16, batch=2, seed=0, epoch=0)))
    expected = float(tf.reduce_mean(losses.l2(batch["clean"], trainer.model(batch["hazy"]))))
    logs = trainer.step(batch)
    assert float(logs["loss"]) == pytest.approx(expected, rel=1e-5)
    assert float(logs["k_alive"]) == 1.0
    trainer.model.get_layer("k").bias.assign([-100.0] * 3)
    assert float(trainer.step(batch)["k_alive"]) == 0.0


def test_a_gpu_gets_bytes_and_learns_the_same(pairs, monkeypatch):
    of = run.Run(FitPaths((pairs,)), CONFIG, (source(pairs),), None, (0, 1), print, 3, 3)
    told = []
    for gpu in (False, True):
        monkeypatch.setattr(devices, "takes_bytes", lambda gpu=gpu: gpu)
        batch = next(iter(devices.distribute(tf.distribute.get_strategy(), of.batches(0, 0))))
        assert batch["hazy"].dtype == (tf.uint8 if gpu else tf.float32)
        told.append(float(trainer_of(CONFIG).step(batch)["loss"]))
    assert told[0] == told[1]


def test_weight_decay_is_on_kernels_alone():
    """With gradients of 0 the optimizer changes nothing but what decays."""
    trainer = trainer_of(dataclasses.replace(CONFIG, weight_decay=0.5))
    before = [variable.numpy() for variable in trainer.model.trainable_variables]
    variables = trainer.model.trainable_variables
    trainer.model.optimizer.apply([tf.zeros_like(variable) for variable in variables], variables)
    for variable, was in zip(variables, before, strict=True):
        factor = 1.0 if "bias" in variable.name else 1.0 - 0.5 * CONFIG.learning_rate
        np.testing.assert_allclose(variable.numpy(), was * factor, rtol=1e-6)
    assert any("bias" in variable.name and variable.numpy().any() for variable in variables)


def test_gradients_are_clipped_by_their_common_norm():
    """Adam forgets scale, but not which part of a gradient was cut: all are cut by one factor."""
    trainer = trainer_of(dataclasses.replace(CONFIG, clip_norm=0.1))
    assert trainer.optimizer.global_clipnorm == 0.1


def test_warmup_rises_from_zero_to_the_highest():
    trainer = trainer_of(dataclasses.replace(CONFIG, warmup=0.1), steps=100)
    rates = []
    for step in range(101):
        trainer.model.optimizer.iterations.assign(step)
        rates.append(float(trainer.model.optimizer.learning_rate))
    assert rates[0] == 0.0
    assert max(rates) == pytest.approx(CONFIG.learning_rate, rel=1e-5)
    assert rates.index(max(rates)) == 10
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(CONFIG.learning_rate * CONFIG.final_learning_rate, rel=1e-3)


def test_plain_keras_in_a_few_lines(pairs):
    """Model and pipeline without our loop; each epoch has another order."""

    def pair(batch):
        return batch["hazy"], batch["clean"]

    batches = data.training_batches([source(pairs)], crop=16, batch=2, seed=0, epoch=None).map(pair)
    network = model.build_aodnet()
    network.compile(optimizer="adam", loss="mse", metrics=[metrics.PSNR(), metrics.SSIM()])
    validation = data.validation_batches([source(pairs)]).map(pair)
    history = network.fit(batches, validation_data=validation, epochs=2, shuffle=False, verbose=0).history
    assert set(history) == {"loss", "psnr_rgb", "ssim_rgb", "val_loss", "val_psnr_rgb", "val_ssim_rgb"}
    assert all(math.isfinite(value) for values in history.values() for value in values)


# --- the data's places ---


def run_of(steps: int | None, once: int) -> run.Run:
    config = dataclasses.replace(CONFIG, steps=steps)
    return run.Run(FitPaths((Path("d"),)), config, (), None, (0, 1), print, steps or once, once)


@pytest.mark.parametrize(
    ("steps", "epoch", "step", "places"),
    [
        (None, 2, 0, [(2, 0, 5)]),
        (None, 2, 3, [(2, 3, 2)]),
        (2, 0, 0, [(0, 0, 2)]),
        (2, 2, 0, [(0, 4, 1), (1, 0, 1)]),
        (2, 2, 1, [(1, 0, 1)]),
        (12, 0, 0, [(0, 0, 5), (1, 0, 5), (2, 0, 2)]),
        (12, 1, 1, [(2, 3, 2), (3, 0, 5), (4, 0, 4)]),
    ],
)
def test_steps_of_an_epoch_take_the_records_in_turn(steps, epoch, step, places):
    assert list(run_of(steps, 5).passes(epoch, step)) == places


# --- resuming ---

RUN = """
import json, sys
from pathlib import Path
import keras
from aodnet import run_folder
from aodnet.config import FitConfig, FitPaths
from aodnet.fit import fit

run_folder.plot_curves = lambda *_: None  # a second an epoch, and not in question here

class Stop(keras.callbacks.Callback):
    def __init__(self, steps, epochs):
        super().__init__()
        self.left = {"steps": steps, "epochs": epochs}
    def count(self, what):
        self.left[what] -= 1
        if self.left[what] == 0:
            raise KeyboardInterrupt
    def on_train_batch_end(self, batch, logs=None):
        self.count("steps")
    def on_epoch_end(self, epoch, logs=None):
        self.count("epochs")

for job in json.loads(sys.argv[1]):
    try:
        paths = FitPaths((Path(job["data"]),), Path(job["out"]), job["resume"])
        fit(paths, FitConfig(**job["config"]), say=print, extra=(Stop(*job["stop"]),))
    except KeyboardInterrupt:
        print("stopped")
"""
NEVER = (-1, -1)
# A checkpoint stands after steps 2 and 3 (the epoch's end), 5 and 6, ...: (steps, epochs) that each run gets to.
STOPS = {
    "unbroken": NEVER,
    "epoch-end": (4, -1),  # goes on from the begin of the second epoch
    # Goes on from step 2 of the second epoch, which stands in history.csv, but in no checkpoint.
    "before-checkpoint": (-1, 2),
}


def run_jobs(*jobs: dict) -> str:
    """Each in turn in one new process, because op determinism cannot be switched off again."""
    argv = [sys.executable, "-c", RUN, json.dumps(jobs)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def resumed(pairs, tmp_path_factory):
    """An unbroken run of 3 epochs of 3 steps, and two that were stopped and went on in another process."""
    config = dataclasses.asdict(dataclasses.replace(CONFIG, epochs=3, deterministic=True, loss="l1"))
    root = tmp_path_factory.mktemp("resume")
    jobs = [
        {"config": config, "data": str(pairs), "out": str(root / name), "resume": False, "stop": stop}
        for name, stop in STOPS.items()
    ]
    assert run_jobs(*jobs).count("stopped") == 2
    left = {name: max(p.name for p in (root / name / "checkpoints").iterdir()) for name in STOPS}
    left["rows"] = len(read_history(root / "before-checkpoint" / "history.csv"))
    said = run_jobs(*[job | {"resume": True, "stop": NEVER} for job in jobs[1:]])
    return root, left, said


def test_stopped_runs_had_got_as_far_as_meant(resumed):
    assert resumed[1] == {
        "unbroken": "epoch-00003-step-0000000.npz",
        "epoch-end": "epoch-00001-step-0000000.npz",
        "before-checkpoint": "epoch-00001-step-0000002.npz",
        "rows": 2,
    }


@pytest.mark.parametrize("name", ["epoch-end", "before-checkpoint"])
def test_resumed_run_equals_the_unbroken_one_to_the_bit(resumed, name):
    root = resumed[0]
    assert curves(root / name) == curves(root / "unbroken")
    one, other = (checkpoint.load_newest(root / run / "checkpoints")[0] for run in ("unbroken", name))
    assert (one.epoch, one.step, one.meta) == (other.epoch, other.step, other.meta)
    for a, b in zip(one.arrays, other.arrays, strict=True):
        np.testing.assert_array_equal(a, b)
    for file in ("last", "best"):
        a, b = (weights.load(root / run / f"{file}.weights.h5").get_weights() for run in ("unbroken", name))
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    grids = [(root / run / "validation" / "epoch-0003.png").read_bytes() for run in ("unbroken", name)]
    assert grids[0] == grids[1]


def curves(run: Path) -> list[dict[str, float]]:
    """history.csv without what is measured of the machine."""
    timed = ("data_wait", "images_per_s")
    return [{name: row[name] for name in row if name not in timed} for row in read_history(run / "history.csv")]


def test_resuming_says_where(resumed):
    assert resumed[2].count("resuming at epoch 2, step 2.") == 1
    assert resumed[2].count("resuming at epoch 2, step 0.") == 1


def test_history_of_the_resumed_run_moves(resumed):
    """Else equal curves would show nothing."""
    rows = read_history(resumed[0] / "unbroken" / "history.csv")
    assert len({row["loss"] for row in rows}) == 3
    assert len({row["val_loss"] for row in rows}) == 3


def resumable(finished, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished[0].run, tmp_path / "run"))


@pytest.mark.parametrize(
    ("name", "value", "was"), [("seed", 1, 0), ("loss", "l1", "l2"), ("epochs", 3, 2), ("learning_rate", 1.0, 0.002)]
)
def test_resume_with_another_setting_is_refused_and_names_it(finished, pairs, tmp_path, name, value, was):
    run = resumable(finished, tmp_path)
    with pytest.raises(RefusedError, match=f"has other settings.*received {name}: {was} before, {value} now"):
        fit.fit(FitPaths((pairs,), run, resume=True), dataclasses.replace(CONFIG, **{name: value}))


def test_resume_with_what_decides_nothing_is_allowed(finished, pairs, tmp_path):
    run = resumable(finished, tmp_path)
    config = dataclasses.replace(CONFIG, on_nan="rollback", checkpoint_steps=7)
    assert fit.fit(FitPaths((pairs,), run, resume=True, on_damage="skip"), config).epochs == 2


def test_resume_on_other_data_is_refused(finished, tmp_path):
    other = make_dataset(tmp_path / "other", {"train": 3, "validation": 1}, size=(24, 32))
    with pytest.raises(RefusedError, match=r"has other settings.*dataset: "):
        fit.fit(FitPaths((other,), resumable(finished, tmp_path), resume=True), CONFIG)


def test_resume_without_a_run_is_refused(pairs, tmp_path):
    with pytest.raises(RefusedError, match="There is no checkpoint to resume from"):
        fit.fit(FitPaths((pairs,), tmp_path / "none", resume=True), CONFIG)
    assert not (tmp_path / "none").exists()


def test_resume_from_a_checkpoint_of_another_network_is_refused(finished, pairs, tmp_path):
    run = resumable(finished, tmp_path)
    saved, _ = checkpoint.load_newest(run / "checkpoints")
    arrays = [np.zeros((2, 2), np.float32), *saved.arrays[1:]]
    checkpoint.save(run / "checkpoints", dataclasses.replace(saved, epoch=1, step=1, arrays=arrays))
    with pytest.raises(RefusedError, match="The checkpoint does not fit"):
        fit.fit(FitPaths((pairs,), run, resume=True), CONFIG)


def test_damaged_newest_checkpoint_falls_back_and_says_so(finished, pairs, tmp_path):
    run = resumable(finished, tmp_path)
    newest = run / "checkpoints" / "epoch-00002-step-0000000.npz"
    newest.write_bytes(b"")
    said: list[str] = []
    again = fit.fit(FitPaths((pairs,), run, resume=True), CONFIG, say=said.append)
    assert any(f"could not be read, so that an older one is used: {newest.name} (" in line for line in said)
    assert "resuming at epoch 2, step 2." in said
    assert again.epochs == 2
    rows = read_history(run / "history.csv")
    expected = read_history(finished[0].run / "history.csv")
    assert [row["epoch"] for row in rows] == [1.0, 2.0]
    assert rows[1]["loss"] == pytest.approx(expected[1]["loss"], rel=1e-4)


# --- scenes ---


def test_scenes_are_hazed_while_training(photos, make_options, load_recipe, tmp_path):
    """By two recipes; a resume compares what they are, not how they were named."""
    options = make_options(photos, tmp_path / "scenes", variants=None, kind="scenes")
    make(dataclasses.replace(options, splits="train=0.75,validation=0.25"), load_recipe("aod-released"))
    config = dataclasses.replace(CONFIG, epochs=1, steps=5, crop=32, recipe="aod-released=0.5, aod-paper=0.5")
    watch = Watch()
    paths = FitPaths((tmp_path / "scenes",), tmp_path / "run")
    assert fit.fit(paths, config, extra=(watch,)).epochs == 1
    assert min(watch.losses) > 1e-4  # hazy is not clean
    assert len(set(watch.losses)) == 5
    again = dataclasses.replace(paths, resume=True)
    assert fit.fit(again, dataclasses.replace(config, recipe="aod-released=0.5,aod-paper=0.5")).epochs == 1
    with pytest.raises(RefusedError, match=r"has other settings.*received recipes: "):
        fit.fit(again, dataclasses.replace(config, recipe="aod-released"))


# --- what ends a run ---


def saved_values(run: Path) -> np.ndarray:
    """Every number of a run folder's weights and checkpoints."""
    found = [np.zeros(1)]
    for path in run.glob("*.weights.h5"):
        found += [values.ravel() for values in weights.load(path).get_weights()]
    for path in run.glob("checkpoints/*.npz"):
        with np.load(path) as file:
            found += [file[name].ravel() for name in file.files if name != "meta"]
    return np.concatenate(found)


class Poison:
    """Puts a number that is not finite into one step, and lets all others be."""

    def __init__(self, monkeypatch, at: int, *, times: int = 1, key: str = "hazy", value: float = math.nan):
        step, self.count, self.left = trainer.Trainer.step, 0, times

        def poisoned(inner, batch):
            self.count += 1
            if self.count >= at and self.left:
                self.left -= 1
                batch = {**batch, key: batch[key] + value}
            return step(inner, batch)

        monkeypatch.setattr(trainer.Trainer, "step", poisoned)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_stops_the_run_and_reaches_no_file(pairs, tmp_path, monkeypatch, value):
    """The message names step and keys; the weights that the epoch before has left stay."""
    Poison(monkeypatch, 5, value=value)
    with pytest.raises(
        RefusedError,
        match=r"A number of the input is not finite.*at step 1 of epoch 2 \(keys (.*)\)\..*Lower.*--on-nan rollback",
    ) as caught:
        fit.fit(FitPaths((pairs,), tmp_path / "run"), CONFIG)
    assert caught.value.exit_code == 3
    keys = data.keys_of([source(pairs)], batch=2, seed=0, epoch=1, step=1)
    assert len(keys) == 2
    assert f"(keys {', '.join(keys)})" in str(caught.value)
    assert (tmp_path / "run" / "last.weights.h5").exists()
    assert np.isfinite(saved_values(tmp_path / "run")).all()


def test_weights_are_as_if_the_bad_step_had_not_been(pairs):
    """Also the optimizer: counts, moments and the learning rate's place."""
    batches = list(data.training_batches([source(pairs)], crop=16, batch=2, seed=0, epoch=0))
    states = []
    for bad in ([], [1]):
        trainer = trainer_of(dataclasses.replace(CONFIG, ema=0.5))
        trainer.step(batches[0])
        for _ in bad:
            trainer.step({**batches[1], "hazy": batches[1]["hazy"] / 0.0})
        trainer.step(batches[2])
        states.append([variable.numpy() for variable in trainer.variables()])
    look = trainer.look()
    assert (look.steps, look.bad, look.fault, look.examples) == (3, 1, "input", 4)
    for one, other in zip(*states, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("what", ["loss", "gradients", "weights"])
def test_fault_is_named_by_what_came_first(pairs, what):
    """A square overflows in the loss; a gradient by a huge feature; or only the norm of huge gradients."""
    batch = dict(next(iter(data.training_batches([source(pairs)], crop=16, batch=2, seed=0, epoch=0))))
    trainer = trainer_of(CONFIG)
    if what == "loss":
        batch["clean"] = batch["clean"] + 1e25
    else:
        trainer.model.get_layer("conv4").bias.assign([3e38] * 3)
        trainer.model.get_layer("k").kernel.assign(np.zeros((3, 3, 12, 3)))
        batch["clean"] = batch["clean"] + (10.0 if what == "gradients" else 0.0)
    before = trainer.model.get_weights()
    trainer.step(batch)
    look = trainer.look()
    assert (look.bad, look.fault) == (0, what)
    assert all(np.array_equal(x, y) for x, y in zip(before, trainer.model.get_weights(), strict=True))
    assert trainer.is_finite()


def test_overflow_of_float16_lowers_the_scale_and_is_no_fault(pairs):
    batch = next(iter(data.training_batches([source(pairs)], crop=16, batch=2, seed=0, epoch=0)))
    trainer = trainer_of(dataclasses.replace(CONFIG, precision="mixed_float16"))
    trainer.scale.assign([2.0**40, 5.0])
    before = trainer.model.get_weights()
    trainer.step(batch)
    assert trainer.look().bad == -1
    assert trainer.scale.numpy().tolist() == [2.0**39, 0.0]
    assert all(np.array_equal(x, y) for x, y in zip(before, trainer.model.get_weights(), strict=True))
    trainer.scale.assign([2.0**10, 1999.0])
    trainer.step(batch)
    assert trainer.scale.numpy().tolist() == [2.0**11, 0.0]
    assert not np.array_equal(before[-1], trainer.model.get_weights()[-1])
    layers = {name: trainer.model.get_layer(name).compute_dtype for name in ("conv1", "conv4", "k", "clean")}
    assert layers == {"conv1": "float16", "conv4": "float16", "k": "float32", "clean": "float32"}
    assert {str(variable.dtype) for variable in trainer.model.variables} == {"float32"}
    assert trainer.model(batch["hazy"]).dtype == tf.float32
    assert {layer.compute_dtype for layer in trainer.result.layers} == {"float32"}


def test_average_is_what_is_validated_and_written(pairs):
    trainer = trainer_of(dataclasses.replace(CONFIG, ema=0.75))
    batches = list(data.training_batches([source(pairs)], crop=16, batch=2, seed=0, epoch=0))
    expected = None
    for batch in batches:
        trainer.step(batch)
        now = trainer.model.get_weights()
        expected = now if expected is None else [0.75 * a + 0.25 * b for a, b in zip(expected, now, strict=True)]
    trainer.settle()
    for one, other in zip(trainer.result.get_weights(), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)
    assert all(np.array_equal(a, b) for a, b in zip(trainer.model.get_weights(), now, strict=True))


def test_rollback_leaves_the_batch_out_and_goes_on(pairs, tmp_path, monkeypatch):
    """What comes out is what a run without that batch comes to; a resumed run leaves it out too."""
    said: list[str] = []
    config = dataclasses.replace(CONFIG, on_nan="rollback")
    Poison(monkeypatch, 5)
    done = fit.fit(FitPaths((pairs,), tmp_path / "run"), config, say=said.append)
    assert done.skipped == ((1, 1),)
    (line,) = (line for line in said if "Going back" in line)
    assert "was not finite at step 1 of epoch 2 (keys " in line
    assert "Going back to epoch 2, step 0, and on without that batch (1 of at most 3 times)" in line
    saved, _ = checkpoint.load_newest(tmp_path / "run" / "checkpoints")
    assert saved.meta["skipped"] == [[1, 1]]
    trainer = trainer_of(config, 6)
    for epoch in range(2):
        batches = data.training_batches([source(pairs)], crop=16, batch=2, seed=0, epoch=epoch)
        for step, batch in enumerate(batches):
            if (epoch, step) != (1, 1):
                trainer.step(batch)
        weights.flush_small(trainer.model)
    for one, other in zip(trainer.model.get_weights(), saved.arrays, strict=False):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_rollback_is_done_three_times_at_most(pairs, tmp_path, monkeypatch):
    Poison(monkeypatch, 2, times=99)
    config = dataclasses.replace(CONFIG, on_nan="rollback", epochs=3, checkpoint_steps=1)
    with pytest.raises(RefusedError, match=r"input is not finite.*3 batches were left out already"):
        fit.fit(FitPaths((pairs,), tmp_path / "run"), config)
    assert np.isfinite(saved_values(tmp_path / "run")).all()


@pytest.mark.parametrize("checkpoint_steps", [1, 100])
def test_weights_that_are_no_numbers_reach_no_file(pairs, tmp_path, checkpoint_steps):
    """A finite loss, and an update that is not: also where a checkpoint or the epoch's end comes next."""
    config = dataclasses.replace(CONFIG, learning_rate=1e38, batch=6, checkpoint_steps=checkpoint_steps)
    with pytest.raises(HazegenError) as caught:
        fit.fit(FitPaths((pairs,), tmp_path / "run"), config)
    assert caught.value.exit_code in (2, 3)
    for path in (tmp_path / "run").rglob("*.weights.h5"):
        assert np.isfinite(np.concatenate([w.ravel() for w in weights.load(path).get_weights()])).all()
    assert np.isfinite(saved_values(tmp_path / "run")).all()


def test_dead_k_stops_the_run(pairs, tmp_path, monkeypatch):
    build = model.build_aodnet

    def dead(seed: int = 0, filters: int = 3):
        network = build(seed, filters)
        network.get_layer("k").bias.assign([-100.0] * 3)
        return network

    monkeypatch.setattr(trainer.model, "build_aodnet", dead)
    with pytest.raises(RefusedError, match=r"K has died.*for \d\d steps"):
        fit.fit(
            FitPaths((pairs,), tmp_path / "run"), dataclasses.replace(CONFIG, epochs=30, batch=1, checkpoint_steps=99)
        )


def test_empty_validation_split_is_refused_before_anything_is_written(tmp_path):
    folder = make_dataset(tmp_path / "d", {"train": 2}, size=(24, 32), variants=1)
    with pytest.raises(RefusedError, match="Split 'validation' of the dataset is empty"):
        fit.fit(FitPaths((folder,), tmp_path / "run"), CONFIG)
    assert not (tmp_path / "run").exists()
    assert overfit.begin(overfit.OverfitOptions((folder,)), CONFIG, 1)[0].once == 1  # validates nothing


def test_empty_training_split_is_refused(tmp_path):
    folder = make_dataset(tmp_path / "d", {"validation": 2}, size=(24, 32), variants=1)
    with pytest.raises(RefusedError, match="Split 'train' of the dataset is empty"):
        fit.fit(FitPaths((folder,), tmp_path / "run"), CONFIG)


@pytest.mark.parametrize("name", ["crop", "validation_crop"])
def test_crop_larger_than_the_images_is_refused_before_anything_is_written(pairs, tmp_path, name):
    """Else the corrected command would find a run folder that is not empty."""
    with pytest.raises(UsageError, match=r"Expected 1 to 24 pixels.*received 25"):
        fit.fit(FitPaths((pairs,), tmp_path / "run"), dataclasses.replace(CONFIG, **{name: 25}))
    assert not (tmp_path / "run").exists()


def test_unknown_loss_is_refused_before_anything_is_written(pairs, tmp_path):
    with pytest.raises(UsageError, match="The loss cannot be read"):
        fit.fit(FitPaths((pairs,), tmp_path / "run"), dataclasses.replace(CONFIG, loss="l7"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("changes", [{"crop": 10, "loss": "ssim"}, {"validation_crop": 10}], ids=str)
def test_crop_too_small_for_ssim_is_refused(pairs, tmp_path, changes):
    """SSIM needs windows of 11 pixels, in the loss and in validation."""
    with pytest.raises(HazegenError, match="11"):
        fit.fit(FitPaths((pairs,), tmp_path / "run"), dataclasses.replace(CONFIG, **changes))


def test_no_dataset_is_refused(tmp_path):
    with pytest.raises(RefusedError, match="is no finished dataset"):
        fit.fit(FitPaths((tmp_path,), tmp_path / "run"), CONFIG)


def test_cut_shard_is_refused_before_anything_is_written(pairs, tmp_path):
    copy = Path(shutil.copytree(pairs, tmp_path / "copy"))
    shard = copy / manifest.load(copy).shards_of("train")[0].name
    shard.write_bytes(shard.read_bytes()[:-7])
    with pytest.raises(VerifyError, match=f"Shard '{shard.name}'"):
        fit.fit(FitPaths((copy,), tmp_path / "run"), CONFIG)
    assert not (tmp_path / "run").exists()


def test_flipped_bit_ends_the_run_and_names_shard_and_record(pairs, tmp_path):
    copy = Path(shutil.copytree(pairs, tmp_path / "copy"))
    shard = copy / manifest.load(copy).shards_of("train")[0].name
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(VerifyError, match=rf"Shard '{shard.name}' is damaged at record \d.*hazegen repair"):
        fit.fit(FitPaths((copy,), tmp_path / "run"), CONFIG)


def test_flipped_bit_in_a_validation_shard_is_named_too(pairs, tmp_path):
    copy = Path(shutil.copytree(pairs, tmp_path / "copy"))
    shard = copy / manifest.load(copy).shards_of("validation")[0].name
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(VerifyError, match=rf"Shard '{shard.name}' is damaged at record \d"):
        fit.fit(FitPaths((copy,), tmp_path / "run"), CONFIG)


def test_damage_is_skipped_counted_and_told(pairs, tmp_path):
    """Two of six records cannot be read; the file is as long as it was."""
    copy = Path(shutil.copytree(pairs, tmp_path / "copy"))
    shard = manifest.load(copy).shards_of("train")[0]
    assert shard.records == 6
    content = bytearray((copy / shard.name).read_bytes())
    for place in (0.3, 0.6):
        content[int(len(content) * place)] ^= 1
    (copy / shard.name).write_bytes(content)
    said: list[str] = []
    done = fit.fit(FitPaths((copy,), tmp_path / "run", on_damage="skip"), CONFIG, say=said.append)
    assert done.lost.counts == {shard.name: 2}
    assert [row["lost"] for row in read_history(tmp_path / "run" / "history.csv")] == [2.0, 2.0]
    told = f"went without damaged records: 2 (2 of '{copy / shard.name}'); hazegen repair restores them"
    assert sum(told in line for line in said) == 2
    assert checkpoint.load_newest(tmp_path / "run" / "checkpoints")[0].meta["lost"] == {shard.name: 2}


def test_callback_that_stops_inside_an_epoch_ends_no_epoch(pairs, tmp_path, capsys):
    """What was not trained on is left to a resume; the report copes with a run without a best epoch."""

    class Enough(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 0

    said: list[str] = []
    paths = FitPaths((pairs,), tmp_path / "run")
    config = dataclasses.replace(CONFIG, epochs=1)
    fitted = fit.fit(paths, config, extra=(Enough(),), say=said.append)
    assert (fitted.epochs, fitted.best) == (0, {})
    assert "stopped after 1 of 3 steps of epoch 1; --resume goes on from there." in said
    cli_fit._tell(fitted, paths)
    assert "no epoch has ended: the same command with --resume goes on." in capsys.readouterr().out
    saved = checkpoint.load_newest(tmp_path / "run" / "checkpoints")[0]
    assert (saved.epoch, saved.step) == (0, 1)
    assert [value for name, value in zip(saved.names, saved.arrays, strict=True) if "iteration" in name] == [1]


def without(folder: Path, copy: Path, split: str, spoil) -> Path:
    """A copy of a dataset with another first shard of a split."""
    shutil.copytree(folder, copy)
    path = copy / manifest.load(copy).shards_of(split)[0].name
    spoil(path)
    return copy


def test_skip_goes_on_without_damaged_validation_records(pairs, tmp_path):
    """Validation and the pictures are of the whole records alone; nothing else comes to the network."""

    def flip(path):
        content = bytearray(path.read_bytes())
        content[200] ^= 1
        path.write_bytes(content)

    copy = without(pairs, tmp_path / "copy", "validation", flip)
    now = run.prepare(FitPaths((copy,), tmp_path / "run", on_damage="skip"), CONFIG, (0, 1), print)
    held = [batch["hazy"].numpy() for batch in now.validation_places()]
    assert [len(batch) for batch in held] == [0, 1]
    (batch,), (shown,) = now.validation, validation_pictures.choose(now)
    np.testing.assert_array_equal(batch["hazy"], held[1])
    np.testing.assert_array_equal(shown.hazy, held[1])
    assert shown.key == data.key_at(now.sources, 1, on_damage="skip")
    network = trainer_of(CONFIG)
    assert math.isfinite(network.validate(now.validation)["val_psnr_rgb"])
    assert network.find_bad(now.validation_places()) is None


@pytest.mark.parametrize(("split", "what"), [("validation", "validation"), ("train", "training in epoch 1")])
def test_skip_with_nothing_left_is_refused(pairs, tmp_path, split, what):
    copy = without(pairs, tmp_path / "copy", split, Path.unlink)
    with pytest.raises(RefusedError, match=rf"nothing left for {what}.*received none: \d damaged records"):
        fit.fit(FitPaths((copy,), tmp_path / "run", on_damage="skip"), dataclasses.replace(CONFIG, steps=1))


def broken_picture(path: Path) -> None:
    """A picture that no decoder reads, in a record whose checksums match."""
    held = list(records.read_shard(path))
    at = held[2].find(b"\x89PNG")
    held[2] = held[2][: at + 60] + bytes(30) + held[2][at + 90 :]
    path.write_bytes(b"".join(records.frame(record) for record in held))


def test_picture_that_cannot_be_decoded_is_found_by_the_shards_digest(pairs, tmp_path):
    copy = without(pairs, tmp_path / "copy", "train", broken_picture)
    name = manifest.load(copy).shards_of("train")[0].name
    now = run.prepare(FitPaths((copy,), tmp_path / "run"), CONFIG, (0, 1), print)
    with pytest.raises(VerifyError, match=rf"Shard '{name}' is another one.*SHA-256.*hazegen repair"):
        fit.faults.explain(tf.errors.InvalidArgumentError(None, None, "Invalid PNG data"), now)


def test_picture_that_was_made_so_is_found_by_its_batch(pairs, tmp_path, monkeypatch):
    """Its shard is what the manifest says, so that only keys can be told."""
    copy = without(pairs, tmp_path / "copy", "train", broken_picture)
    monkeypatch.setattr(fit.faults, "_check_digests", lambda _: None)
    key = records.decode(list(records.read_shard(copy / manifest.load(copy).shards_of("train")[0].name))[2])["key"]
    with pytest.raises(VerifyError, match=rf"cannot be decoded.*in step \d of epoch 1 \(keys [^)]*{key}"):
        fit.fit(FitPaths((copy,), tmp_path / "run"), CONFIG)


def test_nan_in_validation_names_its_key_and_advises_no_rollback(pairs, tmp_path, monkeypatch):
    validate, seen = trainer.Trainer._validate, []

    def poisoned(self, batch):
        seen.append(None)
        bad = tf.where(tf.reduce_all(batch["hazy"] == second), math.nan, 0.0)
        return validate(self, {**batch, "hazy": batch["hazy"] + bad})

    second = list(data.validation_batches([source(pairs)]))[1]["hazy"]
    key = data.key_at([source(pairs)], 1)
    assert key != data.key_at([source(pairs)], 0)
    monkeypatch.setattr(trainer.Trainer, "_validate", poisoned)
    with pytest.raises(RefusedError, match=rf"of the validation is not finite.*of epoch 1 \(keys {key}\)") as caught:
        fit.fit(FitPaths((pairs,), tmp_path / "run"), dataclasses.replace(CONFIG, steps=1))
    assert seen
    assert "rollback" not in str(caught.value)


def test_memory_and_other_processes_are_told_apart(pairs, tmp_path):
    two = run.prepare(FitPaths((pairs,), tmp_path / "run"), CONFIG, (0, 2), print)
    errors = tf.errors
    with pytest.raises(RefusedError, match=r"memory of the device.*received 'OOM'\. Lower --batch or --crop"):
        fit.faults.explain(errors.ResourceExhaustedError(None, None, "OOM\nand more"), two)
    for error in (
        errors.UnavailableError(None, None, "x"),
        errors.InternalError(None, None, "aborted by: Connection reset by peer"),
        errors.UnknownError(None, None, "the coordination service is gone"),
    ):
        with pytest.raises(StoreError, match="Another process of the run has ended"):
            fit.faults.explain(error, two)
    for kind in (errors.InternalError, errors.UnknownError):
        fit.faults.explain(kind(None, None, "a bug of this process's own"), two)


def test_processes_agree_again_after_a_rollback(finished, pairs, tmp_path, monkeypatch):
    one = resumable(finished, tmp_path)
    two = run.prepare(FitPaths((pairs,), one), dataclasses.replace(CONFIG, on_nan="rollback"), (0, 2), print)
    monkeypatch.setattr(fit.faults.devices, "gather", lambda _, values, *__: [values, [0.0, *values[1:]]])
    before = sorted((path.name, path.read_bytes()) for path in (one / "checkpoints").iterdir())
    with pytest.raises(RefusedError, match=r"The workers do not begin alike.*received another --epochs from worker 1"):
        fit.faults.roll_back(trainer_of(CONFIG, 6), two, fit.NotFinite("loss", 1, 1))
    assert sorted((path.name, path.read_bytes()) for path in (one / "checkpoints").iterdir()) == before


def test_best_weights_go_back_with_the_run(finished, pairs, tmp_path):
    """A checkpoint of before them has others, or none."""
    one = resumable(finished, tmp_path)
    best = one / "best.weights.h5"
    now = run.prepare(FitPaths((pairs,), one), CONFIG, (0, 1), print)
    saved = run_state.state(now, [], 1, 2)
    written = best.read_bytes()
    best.write_bytes(b"of a later epoch")
    assert run_state.recall(now, saved).names == ()
    assert best.read_bytes() == written
    run_state.recall(now, dataclasses.replace(saved, names=(), arrays=[]))
    assert not best.exists()


@pytest.mark.parametrize(
    ("content", "message"), [(None, "rows of epochs 1 to 2, received none"), (b"epoch\n0,x\n", "a table of")]
)
def test_run_without_its_history_is_refused(finished, pairs, tmp_path, content, message):
    one = resumable(finished, tmp_path)
    (one / "history.csv").unlink()
    if content is not None:
        (one / "history.csv").write_bytes(content)
    with pytest.raises(RefusedError, match=rf"history.csv' cannot be gone on with. Expected {message}"):
        fit.fit(FitPaths((pairs,), one, resume=True), CONFIG)


def test_a_pass_is_read_on_from_epoch_to_epoch(pairs, tmp_path, monkeypatch):
    """It is begun anew for its own begin alone, and what comes is what each epoch's own reading gives."""
    begun, seen = [], []
    batches, step = run.Run.batches, trainer.Trainer.step
    monkeypatch.setattr(run.Run, "batches", lambda self, *place: begun.append(place) or batches(self, *place))
    monkeypatch.setattr(trainer.Trainer, "step", lambda self, batch: seen.append(batch) or step(self, batch))
    fit.fit(FitPaths((pairs,), tmp_path / "run"), dataclasses.replace(CONFIG, epochs=2, steps=1))
    assert begun == [(0, 0)]
    expected = data.training_batches([source(pairs)], crop=16, batch=2, seed=0, epoch=0).take(2)
    for one, other in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(one["clean"], other["clean"])


def test_tensorboard_logs_are_written(pairs, tmp_path):
    fit.fit(FitPaths((pairs,), tmp_path / "run"), dataclasses.replace(CONFIG, epochs=1))
    assert {path.parent.name for path in (tmp_path / "run" / "tensorboard").rglob("events.out.*")} == {
        "train",
        "validation",
    }


def test_run_folder_is_one_runs_alone(pairs, tmp_path):
    """A second run is refused while one works there; what a killed run had begun with can be resumed."""
    said: list[str] = []

    class Kill(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            with pytest.raises(RefusedError, match=r"Another run works in .*received a lock held by process"):
                fit.fit(FitPaths((pairs,), tmp_path / "run", resume=True), CONFIG)
            said.append("refused")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit.fit(FitPaths((pairs,), tmp_path / "run"), CONFIG, extra=(Kill(),))
    assert said == ["refused"]
    assert fit.fit(FitPaths((pairs,), tmp_path / "run", resume=True), CONFIG).epochs == CONFIG.epochs
    assert not (tmp_path / "run" / ".lock").exists()


def test_start_that_was_killed_before_its_first_checkpoint_is_made_again(pairs, tmp_path, monkeypatch):
    """What it leaves is no run; a config.yaml of somebody else is theirs."""
    out = tmp_path / "run"

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fit.faults, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            fit.fit(FitPaths((pairs,), out), CONFIG)
    (out / ".lock").write_text("")
    (out / "checkpoints").mkdir()
    (out / "checkpoints" / "epoch-00000-step-0000000.npz.1-0123abcd-0.tmp").write_text("")
    assert (out / "config.yaml").exists()
    assert run_state.find_start(FitPaths((pairs,), out), is_chief=True)[1] == []
    (out / "config.yaml").write_text("epochs: 3")
    with pytest.raises(RefusedError, match="is not empty"):
        run_state.find_start(FitPaths((pairs,), out), is_chief=True)


@pytest.mark.parametrize("changes", [{"seed": -1}, {"seed": 2**32}, {"shuffle_mb": math.inf}], ids=str)
def test_settings_that_the_libraries_would_choke_on_are_refused(changes):
    with pytest.raises(UsageError, match="is out of range"):
        dataclasses.replace(CONFIG, **changes)


def test_weight_decay_of_0_is_allowed(pairs, tmp_path):
    assert (
        fit.fit(FitPaths((pairs,), tmp_path / "run"), dataclasses.replace(CONFIG, epochs=1, weight_decay=0.0)).epochs
        == 1
    )


# --- options ---


def options_of(*words: str) -> tuple[FitPaths, FitConfig]:
    parser = argparse.ArgumentParser()
    cli_options.add_training_options(parser, FitPaths, "run")
    given = parser.parse_args(words)
    return cli_options.read_data(given, FitPaths), cli_options.read_settings(given)


def test_data_and_weights_are_read():
    paths, config = options_of("--data", "a", "b", "--data", "c", "--weights", "0.7, 0.2,1", "--on-damage", "skip")
    assert paths == FitPaths((Path("a"), Path("b"), Path("c")), weights=(0.7, 0.2, 1.0), on_damage="skip")
    assert config.loss == "l1=1, ssim=0.2"  # of default.yaml


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "a,b"], r"--weights cannot be read. Expected numbers .*received 'a,b'"),
        (["--weights", "1"], r"--weights cannot be used. Expected 2 numbers above 0.*received 1.0"),
        (["--weights", "1,0"], r"--weights cannot be used.*received 1.0, 0.0"),
        (["--weights", "1,nan"], r"--weights cannot be used"),
        (["--on-damage", "hope"], r"on_damage|on-damage"),
        (["--on-nan", "hope"], r"on_nan|on-nan"),
        (["--precision", "float64"], "precision"),
        (["--optimizer", "sgd"], "optimizer"),
        (["--ema", "1"], r"ema is out of range. Expected a share in \[0, 1\)"),
        (["--steps", "0"], "steps is out of range. Expected at least 1"),
        (["--filters", "0"], "filters is out of range. Expected 1 to 256"),
    ],
)
def test_options_that_cannot_be_used_are_refused(words, message):
    with pytest.raises(UsageError, match=message):
        options_of("--data", "a", "b", *words)
