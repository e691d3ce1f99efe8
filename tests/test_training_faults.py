"""The promises of docs/training_faults.md under a fault of each sort; benchmarks/training_faults.py tries many."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import training_faults
import training_faults_runs as runs
from training_faults_kinds import NAN_FAULTS, SHARD_FAULTS, NanFault, checkpoint_faults, frames

from aodnet import checkpoint
from hazegen import images, manifest, records
from hazegen.errors import RefusedError

pytestmark = pytest.mark.usefixtures("without_curves")

# One epoch of few steps: the pictures of an epoch's end cost more than its training.
CONFIG = dataclasses.replace(runs.CONFIG, epochs=1, loss="l2")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return runs.make_site(tmp_path_factory.mktemp("faults"), scenes=9, config=CONFIG)


@pytest.fixture(scope="module")
def ended(site):
    """A run that has ended after four of six steps, with the checkpoints of steps 2 and 4."""
    run = runs.stopped(site, "ended", (0, 5))
    assert sorted(path.name[-8:] for path in (run / "checkpoints").iterdir()) == ["0002.npz", "0004.npz"]
    return run


@pytest.mark.parametrize(
    ("kind", "mode"), [("one bit of a record flipped", "skip"), ("cut between two records", "fail")]
)
def test_damaged_shard(site, kind, mode):
    assert runs.shard(site, kind, mode, np.random.default_rng(1)) == ""


@pytest.mark.parametrize("kind", SHARD_FAULTS)
def test_each_kind_changes_the_shard_and_knows_what_is_gone(site, tmp_path, kind):
    path = site.data / manifest.load(site.data).shards_of("train")[0].name
    whole = frames(path)
    assert b"".join(whole) == path.read_bytes()
    assert len(whole) > 1
    copy = tmp_path / "shard"
    copy.write_bytes(path.read_bytes())
    gone = SHARD_FAULTS[kind](copy, np.random.default_rng(2))
    assert 1 <= gone <= len(whole)
    assert not copy.exists() or copy.read_bytes() != path.read_bytes()


def test_weights_that_break_are_rolled_back(site):
    assert runs.nan(site, NanFault("weights", "rollback", ((0, 3),))) == ""


def test_damaged_checkpoint_falls_back(site, ended):
    damage = dict(checkpoint_faults(np.random.default_rng(0)))["an array of text"]
    assert runs.damaged_checkpoint(site, ended, damage) == ""


def test_what_is_forged_has_the_right_digest(ended, tmp_path):
    """So that it is found by what is in it."""
    faults = dict(checkpoint_faults(np.random.default_rng(0)))
    newest = sorted((ended / "checkpoints").iterdir())[-1]
    for what in ("an array missing", "an array of NaN", "an array of text", "facts of other types"):
        path = tmp_path / newest.name
        path.write_bytes(newest.read_bytes())
        faults[what](path, path)
        with pytest.raises(RefusedError, match="only damaged ones") as refused:
            checkpoint.load_newest(tmp_path)
        assert "mark" not in str(refused.value)
        assert "bytes are not those" not in str(refused.value)


def test_two_damaged_checkpoints_are_refused(site, ended):
    damage = dict(checkpoint_faults(np.random.default_rng(0)))["one bit flipped"]
    assert runs.damaged_checkpoint(site, ended, damage, both=True) == ""


def test_a_killed_process_goes_on_to_the_same_bytes(site):
    told = runs.Killed()
    assert runs.kill_chain(site, 1, np.random.default_rng(1), told, inside=True) == ""
    assert told.kills == 1


# --- that a broken promise would be seen ---


def test_keys_are_found_by_pixels(site):
    first, second, *_ = (
        records.decode(record)
        for shard in manifest.load(site.data).shards_of("train")
        for record in records.read_shard(site.data / shard.name)
    )
    windows = [images.decode(one["hazy"], one["key"])[7:39, 3:35] for one in (second, first)]
    turned = np.stack([np.rot90(windows[0][:, ::-1]), windows[1]])
    assert runs.keys_of(site, turned) == [second["key"], first["key"]]
    with pytest.raises(StopIteration):
        runs.keys_of(site, turned[:, ::-1] // 2)


def test_keys_of_another_batch_are_seen(site, monkeypatch):
    monkeypatch.setattr(runs, "keys_of", lambda *_: ["another"])
    assert "keys ['another'] were not told" in runs.nan(site, NanFault("input", "stop", ((0, 1),)))


def test_other_bytes_and_other_curves_are_seen(site):
    assert runs.differences(site, site.whole) == []
    copy = site.copy(site.whole, "other")
    (copy / "last.weights.h5").write_bytes((copy / "last.weights.h5").read_bytes()[:-1] + b"x")
    (copy / "best.weights.h5").unlink()
    (copy / "history.csv").write_text((copy / "history.csv").read_text().replace(".", ".1", 1))
    assert runs.differences(site, copy) == ["last.weights.h5", "best.weights.h5", "history.csv"]


def test_a_number_that_is_not_finite_is_seen(site):
    copy = site.copy(site.whole, "other")
    assert runs.not_finite(copy) == []
    np.savez(copy / "checkpoints" / "epoch-00009-step-0000000.npz", array00000=np.array([1.0, np.inf]))
    with runs.h5py.File(copy / "last.weights.h5", "r+") as file:
        file["layers/conv2d/vars/1"][0] = np.nan
    assert runs.not_finite(copy) == ["epoch-00009-step-0000000.npz", "last.weights.h5"]


def test_damage_that_is_none_is_seen(site, monkeypatch):
    monkeypatch.setitem(SHARD_FAULTS, "none", lambda *_: 1)
    assert "as if nothing were damaged" in runs.shard(site, "none", "fail", np.random.default_rng(0))


def test_the_campaign_has_as_many_faults_as_it_says():
    assert len(SHARD_FAULTS) == 8
    assert len(NAN_FAULTS) == 10
    assert len(checkpoint_faults(np.random.default_rng(0))) == 20


def test_table():
    part = {"tried": 2, "kept": 2, "broken": []}
    parts = {
        "shards": {**part, "kinds": ["a"]},
        "nans": {**part, "stopped": 1},
        "checkpoints": {**part, "both": 0},
        "kills": {**part, "kills": 7, "at_start": 1},
    }
    machine = {"date": "2026-01-01", "machine": "x", "cores": 2, "seconds": 3, "steps": 36}
    text = training_faults.table({**machine, "parts": parts})
    assert "| damaged shard, 1 kinds x fail and skip | 2 | 2: fail names" in text
    assert "| kill -9 at random moments, 1 of them while starting | 7 | 2 of 2 runs" in text
