"""The promises of docs/reliability.md under a few kills and faults; benchmarks/reliability.py tries many."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import reliability
import reliability_runs as runs
from reliability_faults import FAULTS, shard_names

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").is_file(), reason="processes are found in /proc")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Inputs, and what their dataset must be, with one worker and with two."""
    made = reliability.make_site(tmp_path_factory.mktemp("site"), scenes=6, width=160, variants=20, workers=(1, 2))
    assert runs.measure(made) == []
    assert len([name for name in made.whole if name.endswith(".tfrecord")]) > 3
    return made


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return reliability.make_inputs(tmp_path_factory.mktemp("inputs") / "small")


def test_killed_run_goes_on_to_the_same_bytes(site):
    told = runs.kills(site, 2, np.random.default_rng(3), print)
    assert told["broken"] == []
    assert told["identical"] == sum(told["kills"].values()) == 2


def test_interrupted_run_ends_soon_and_goes_on(site):
    told = runs.interrupts(site, 1, np.random.default_rng(0), print)
    assert told["broken"] == []
    assert told["interrupts"] == 1


def test_full_disk_is_said_and_leaves_nothing_cut_off(site):
    told = runs.full_disks(site, 1, print)
    assert told["broken"] == []
    assert told["refused"] == 1


def test_second_run_in_a_folder_is_refused(site):
    assert runs.two_at_once(site, print) == {"refused": 1, "broken": []}


def test_reader_never_sees_a_part_of_a_file(site):
    told = runs.watched(site, print, 1)
    assert told["broken"] == []
    assert told["opens"] > 0


def test_damaged_datasets_are_found_and_mended(inputs, tmp_path):
    count = len(FAULTS) // 6
    told = reliability.faults(tmp_path, inputs, count, np.random.default_rng(0))
    assert told["broken"] == []
    assert told["found"] == told["faults"] == count


def test_sound_datasets_give_no_alarm(inputs, tmp_path):
    assert reliability.clean_sets(tmp_path, inputs, 2) == {"sets": 2, "false_alarms": 0, "broken": []}


# --- the campaign sees what it is there to see ---


def test_fault_that_is_not_there_counts_as_not_found(inputs, tmp_path):
    whole = reliability.make_dataset(inputs, tmp_path / "whole", 0)
    copy = reliability.make_dataset(inputs, tmp_path / "copy", 0)
    harmless = reliability.Fault("nothing", lambda folder, rng: shard_names(folder)[0])
    ended, problem = reliability.one_fault(harmless, copy, whole, inputs, np.random.default_rng(0))
    assert ended == "not found"
    assert "verify ended with 0" in problem


def test_other_dataset_and_what_a_run_leaves_behind_are_seen(site, tmp_path):
    (tmp_path / "train-00000-of-00003.tfrecord.1-0a1b2c3d-2.tmp").touch()
    shard = next(name for name in site.whole if name.endswith(".tfrecord"))
    (tmp_path / shard).touch()
    assert runs.problems_of_full(site, tmp_path, 4, "needs 10 bytes") == [
        f"left behind: {shard}",
        "left behind: train-00000-of-00003.tfrecord.1-0a1b2c3d-2.tmp",
    ]
    assert len(runs.problems_of_full(site, tmp_path / "none", 1, "")) == 2
