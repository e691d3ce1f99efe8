"""The plan, atomic files, and what is left of an interrupted run."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazegen import records, shards, stores
from hazegen.errors import RefusedError
from hazegen.manifest import MANIFEST, PLAN
from hazegen.pairing import SceneRef

HEADER = {"seed": 0, "recipe": {"name": "a"}, "variants": 2}


def refs(count: int) -> list[SceneRef]:
    return [SceneRef(f"{number:03d}", f"{number:03d}.jpg", f"{number:03d}.png") for number in range(count)]


def plans_of(count=5, per_shard=2):
    return shards.plan_shards(refs(count), {ref.key: "train" for ref in refs(count)}, per_shard)


@given(st.integers(1, 60), st.integers(1, 9), st.data())
def test_each_scene_stands_in_one_shard_of_its_split(count, per_shard, data):
    split_of = {ref.key: data.draw(st.sampled_from(["train", "validation", "test"])) for ref in refs(count)}
    plans = shards.plan_shards(refs(count), split_of, per_shard)
    dealt = [ref for plan in plans for ref in plan.scenes]
    assert sorted(dealt, key=lambda ref: ref.key) == refs(count)
    assert all(split_of[ref.key] == plan.split for plan in plans for ref in plan.scenes)
    for split in set(split_of.values()):
        sizes = [len(plan.scenes) for plan in plans if plan.split == split]
        assert min(sizes) >= 1
        assert max(sizes) <= per_shard
        assert max(sizes) - min(sizes) <= 1


def test_shards_are_numbered_without_gaps_and_scenes_are_in_hash_order():
    plans = plans_of(7, 3)
    assert [plan.name for plan in plans] == [f"train-0000{number}-of-00003.tfrecord" for number in range(3)]
    keys = [ref.key for plan in plans for ref in plan.scenes]
    assert keys == sorted(keys, key=records.hash_order)
    assert keys != sorted(keys)


def test_plan_does_not_hang_on_the_order_of_scenes():
    split_of = {ref.key: "test" for ref in refs(9)}
    assert shards.plan_shards(refs(9)[::-1], split_of, 2) == shards.plan_shards(refs(9), split_of, 2)


def test_shard_is_written_with_its_size_count_and_digest(tmp_path):
    path = tmp_path / "validation-00000-of-00001.tfrecord"
    shard = shards.write_shard(path, [b"one", b"", b"three"])
    data = path.read_bytes()
    assert (shard.name, shard.split, shard.records, shard.bytes) == (path.name, "validation", 3, len(data))
    assert shard.sha256 == hashlib.sha256(data).hexdigest()
    assert list(records.read_shard(path)) == [b"one", b"", b"three"]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_shard_that_fails_half_way_never_gets_its_name(tmp_path):
    def failing():
        yield b"one"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        shards.write_shard(tmp_path / "train-00000-of-00001.tfrecord", failing())
    assert not (tmp_path / "train-00000-of-00001.tfrecord").exists()


def test_text_that_fails_half_way_leaves_the_old_file(tmp_path):
    def failing():
        yield "new"
        raise OSError("disk full")

    path = tmp_path / MANIFEST
    stores.write_text(path, ["old"])
    with pytest.raises(OSError, match="disk full"):
        stores.write_text(path, failing())
    assert path.read_text() == "old"


@pytest.mark.parametrize("write", ["shard", "text", "plan"])
def test_file_is_flushed_to_the_disk_before_it_gets_its_name(tmp_path, monkeypatch, write):
    events = []
    fsync, replace = shards.os.fsync, type(tmp_path).replace
    monkeypatch.setattr(shards.os, "fsync", lambda number: (events.append("fsync"), fsync(number))[1])
    monkeypatch.setattr(type(tmp_path), "replace", lambda self, to: (events.append("rename"), replace(self, to))[1])
    if write == "shard":
        shards.write_shard(tmp_path / "train-00000-of-00001.tfrecord", [b"one"])
    elif write == "text":
        stores.write_text(tmp_path / MANIFEST, ["one"])
    else:
        shards.write_plan(tmp_path / "out", HEADER, plans_of())
    assert events == ["fsync", "rename", "fsync"]  # the file, its name, the folder


def test_same_plan_is_gone_on_with(tmp_path):
    out = tmp_path / "a" / "out"
    shards.write_plan(out, HEADER, plans_of())
    before = (out / PLAN).read_bytes()
    shards.write_plan(out, HEADER, plans_of())
    assert (out / PLAN).read_bytes() == before
    assert [path.name for path in out.iterdir()] == [PLAN]
    lines = [json.loads(line) for line in before.splitlines()]
    assert lines[0] == HEADER
    assert {line["key"] for line in lines[1:]} == {ref.key for ref in refs(5)}


@pytest.mark.parametrize(
    ("header", "plans", "named"),
    [
        (HEADER | {"seed": 1}, plans_of(), "a different seed: 0 before, 1 now"),
        (HEADER | {"recipe": {"name": "b"}}, plans_of(), "a different recipe: {'name': 'a'} before, {'name': 'b'} now"),
        (HEADER | {"maps": True}, plans_of(), "a different maps: None before, True now"),
        (HEADER, plans_of(6), "a different list or content of inputs"),
        (HEADER, plans_of(5, 3), "a different list or content of inputs"),
    ],
)
def test_another_plan_is_refused_and_the_difference_named(tmp_path, header, plans, named):
    shards.write_plan(tmp_path, HEADER, plans_of())
    before = (tmp_path / PLAN).read_bytes()
    with pytest.raises(RefusedError, match=f"dataset of another plan.*received {named}.*Choose another --out"):
        shards.write_plan(tmp_path, header, plans)
    assert [path.name for path in tmp_path.iterdir()] == [PLAN]
    assert (tmp_path / PLAN).read_bytes() == before


def test_plan_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / PLAN).write_text("{")
    with pytest.raises(RefusedError, match="the old one cannot be read"):
        shards.write_plan(tmp_path, HEADER, plans_of())


def test_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(
        RefusedError, match=r"is not empty. Expected a new folder.*received 1 other files, 'holiday.jpg'"
    ):
        shards.write_plan(tmp_path, HEADER, plans_of())
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_run_that_was_killed_while_it_wrote_its_plan_can_start_again(tmp_path):
    (tmp_path / f"{PLAN}.tmp").write_text("{half a li")
    shards.write_plan(tmp_path, HEADER, plans_of())
    assert [path.name for path in tmp_path.iterdir()] == [PLAN]


def test_names_that_are_no_utf_8_stand_in_the_plan(tmp_path):
    ref = SceneRef("caf\udce9", "caf\udce9.jpg", "caf\udce9.png")
    plans = shards.plan_shards([ref], {ref.key: "train"}, 1)
    shards.write_plan(tmp_path, HEADER, plans)
    shards.write_plan(tmp_path, HEADER, plans)
    with pytest.raises(RefusedError, match="different seed"):
        shards.write_plan(tmp_path, HEADER | {"seed": 1}, plans)


@pytest.mark.parametrize(
    ("damage", "done"),
    [
        (lambda shard, result: None, True),
        (lambda shard, result: shard.unlink(), False),
        (lambda shard, result: shard.write_bytes(shard.read_bytes()[:-1]), False),
        (lambda shard, result: result.unlink(), False),
        (lambda shard, result: result.write_text(""), False),
        (lambda shard, result: result.write_text("[]"), False),
        (lambda shard, result: result.write_text("{}"), False),
    ],
)
def test_shard_is_done_only_with_its_result_and_its_size(tmp_path, damage, done):
    plan = plans_of(2)[0]
    shard = shards.write_shard(tmp_path / plan.name, [b"one"])
    result = shards.result_path(tmp_path, plan.name)
    result.parent.mkdir()
    result.write_text(json.dumps({"shard": {"bytes": shard.bytes}}))
    damage(tmp_path / plan.name, result)
    assert shards.is_done(tmp_path, plan) is done


def test_dataset_is_finished_by_its_manifest_alone(tmp_path, dataset):
    assert shards.is_finished(dataset)
    assert not shards.is_finished(tmp_path)
