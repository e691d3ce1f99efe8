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

HEADER = {"seed": 0, "recipe": {"name": "a"}, "variants": 2, "versions": {"numpy": "2.4", "numba": "1"}}


def refs(count: int) -> list[SceneRef]:
    return [SceneRef(f"{number:03d}", f"{number:03d}.jpg", f"{number:03d}.png") for number in range(count)]


def plans_of(count=5, per_shard=2):
    ordered = shards.in_hash_order(refs(count))
    return shards.plan_shards(ordered, {ref.key: "train" for ref in ordered}, per_shard)


@given(st.integers(1, 60), st.integers(1, 9), st.data())
def test_each_scene_stands_in_one_shard_of_its_split(count, per_shard, data):
    split_of = {ref.key: data.draw(st.sampled_from(["train", "validation", "test"])) for ref in refs(count)}
    plans = shards.plan_shards(shards.in_hash_order(refs(count)), split_of, per_shard)
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
    assert shards.in_hash_order(refs(9)[::-1]) == shards.in_hash_order(refs(9)) != refs(9)


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
    fsync, replace, link = stores.os.fsync, type(tmp_path).replace, stores.os.link
    monkeypatch.setattr(stores.os, "fsync", lambda number: (events.append("fsync"), fsync(number))[1])
    monkeypatch.setattr(type(tmp_path), "replace", lambda self, to: (events.append("name"), replace(self, to))[1])
    monkeypatch.setattr(stores.os, "link", lambda old, new: (events.append("name"), link(old, new))[1])
    if write == "shard":
        shards.write_shard(tmp_path / "train-00000-of-00001.tfrecord", [b"one"])
    elif write == "text":
        stores.write_text(tmp_path / MANIFEST, ["one"])
    else:
        shards.write_plan(tmp_path, HEADER, plans_of())
    assert events == ["fsync", "name", "fsync"]  # the file, its name, the folder


def test_same_plan_is_gone_on_with(tmp_path):
    assert shards.write_plan(tmp_path, HEADER, plans_of())
    before = (tmp_path / PLAN).read_bytes()
    assert not shards.write_plan(tmp_path, HEADER, plans_of())
    assert (tmp_path / PLAN).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [PLAN]
    lines = [json.loads(line) for line in before.splitlines()]
    assert lines[0] == HEADER
    assert {line["key"] for line in lines[1:]} == {ref.key for ref in refs(5)}


NAMES = ["a", 'quote "x"', "back\\slash", "tab\tnew\nline", "räum-日本", "caf\udce9", "\x00\x1f\x7f", "\U0001f600"]


@pytest.mark.parametrize("frame", [None, 0, 7])
def test_lines_of_a_plan_are_those_of_json(frame):
    plans = [
        shards.ShardPlan(
            "train-00000-of-00001.tfrecord",
            "train",
            tuple(SceneRef(name, f"{name}.jpg", f"{name}.png", frame) for name in NAMES),
        )
    ]
    lines = list(shards.plan_lines(HEADER, plans))
    for line, name in zip(lines[1:], NAMES, strict=True):
        told = {"shard": plans[0].name, "key": name, "image": f"{name}.jpg", "depth": f"{name}.png"}
        told |= {} if frame is None else {"frame": frame}
        assert line == json.dumps(told, sort_keys=True) + "\n"


def test_plan_is_read_as_it_was_written(tmp_path):
    scenes = shards.in_hash_order(SceneRef(name, f"{name}.jpg", f"{name}.png", 3) for name in NAMES)
    plans = shards.plan_shards(
        scenes, {ref.key: "train" for ref in scenes[:5]} | {r.key: "test" for r in scenes[5:]}, 2
    )
    shards.write_plan(tmp_path, HEADER, plans)
    header, read = shards.read_plan(tmp_path)
    assert header == HEADER
    assert next(read) == plans[0]
    assert list(read) == plans[1:]


@pytest.mark.parametrize(
    ("header", "plans", "named"),
    [
        (HEADER | {"seed": 1}, plans_of(), "a different seed: 0 before, 1 now"),
        (HEADER | {"recipe": {"name": "b"}}, plans_of(), "a different recipe.name: a before, b now"),
        (HEADER | {"maps": True}, plans_of(), "a different maps: None before, True now"),
        (
            HEADER | {f"x{n}": 1 for n in range(8)},
            plans_of(),
            "a different x0: None before, 1 now; x1: .*x4.* and 3 more",
        ),
        ({**HEADER, "found": 6}, plans_of(6), "a different list of inputs, found: .* before, 6 now; new: '.*'"),
        (HEADER, plans_of(6), "a different list of inputs, splits, or size of shards; new: '.*'"),
        (HEADER, plans_of(4), "a different list of inputs, splits, or size of shards; gone: '.*'"),
        (HEADER, plans_of(5, 3), "a different list of inputs, splits, or size of shards"),
    ],
)
def test_another_plan_is_refused_and_the_difference_named(tmp_path, header, plans, named):
    shards.write_plan(tmp_path, HEADER, plans_of())
    before = (tmp_path / PLAN).read_bytes()
    with pytest.raises(RefusedError, match=f"dataset of another plan.*received {named}.*Choose another --out"):
        shards.write_plan(tmp_path, header, plans)
    assert [path.name for path in tmp_path.iterdir()] == [PLAN]
    assert (tmp_path / PLAN).read_bytes() == before


def test_other_versions_are_named_and_accepted_when_told(tmp_path):
    shards.write_plan(tmp_path, HEADER, plans_of())
    now = HEADER | {"versions": {"numpy": "2.5", "numba": "1", "machine": "m"}}
    with pytest.raises(
        RefusedError, match=r"of other versions.*another machine: None before, m now; numpy: 2.4 before, 2.5 now. Inst"
    ):
        shards.write_plan(tmp_path, now, plans_of())
    before = (tmp_path / PLAN).read_bytes()
    assert not shards.write_plan(tmp_path, now, plans_of(), other_versions=True)
    with pytest.raises(RefusedError, match="different seed"):
        shards.write_plan(tmp_path, now | {"seed": 1}, plans_of(), other_versions=True)
    assert (tmp_path / PLAN).read_bytes() == before


@pytest.mark.parametrize(
    ("text", "why"),
    [("{", "JSONDecodeError"), ("[1]\n", "TypeError"), ("\xff\n", "Error"), ("[" * 100_000, "RecursionError")],
)
def test_plan_that_cannot_be_read_is_refused(tmp_path, text, why):
    (tmp_path / PLAN).write_text(text, encoding="latin-1")
    with pytest.raises(RefusedError, match=f"cannot be read. Expected the plan.*received: .*{why}"):
        shards.write_plan(tmp_path, HEADER, plans_of())


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"shard": 1, "key": "a", "image": "b", "depth": "c"}'])
def test_plan_with_a_damaged_line_is_refused_where_it_is_read(tmp_path, line):
    shards.write_plan(tmp_path, HEADER, plans_of())
    with (tmp_path / PLAN).open("a") as file:
        file.write(line)
    with pytest.raises(RefusedError, match=r"cannot be read. Expected the plan.*Run hazegen repair"):
        list(shards.read_plan(tmp_path)[1])


def test_folder_without_a_plan_has_none(tmp_path):
    with pytest.raises(RefusedError, match=r"has no plan. Expected a plan.jsonl in it, received none"):
        shards.read_plan(tmp_path)


def test_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(
        RefusedError, match=r"is not empty. Expected a new folder.*received 1 other files, 'holiday.jpg'"
    ):
        shards.check_out(tmp_path)
    with pytest.raises(RefusedError, match="is a file"):
        shards.check_out(tmp_path / "holiday.jpg")


def test_what_a_run_leaves_before_its_plan_means_nothing(tmp_path):
    (tmp_path / f"{PLAN}.7-0a1b2c3d-0.tmp").write_text("{half a li")
    (tmp_path / shards.LOCK).write_text("")
    (tmp_path / shards.WORK).mkdir()
    assert not shards.check_out(tmp_path)
    assert not shards.check_out(tmp_path / "new")
    shards.write_plan(tmp_path, HEADER, plans_of())
    assert shards.check_out(tmp_path)


def test_dataset_is_finished_by_its_manifest_alone(tmp_path, dataset):
    assert shards.is_finished(dataset)
    assert not shards.is_finished(tmp_path)


@pytest.mark.parametrize("name", ["../train-0", "/x/train-0", "manifest.json", ".train-0", "other-0", "", 7, None])
def test_plan_with_a_name_that_is_no_shards_is_refused(tmp_path, name):
    line = {"key": "a", "image": "a.png", "depth": "a.png", "shard": name}
    (tmp_path / PLAN).write_text(json.dumps(HEADER) + "\n" + json.dumps(line) + "\n")
    with pytest.raises(RefusedError, match=r"received: ValueError: a shard of the name .*, which is none"):
        list(shards.read_plan(tmp_path)[1])


def test_file_of_the_user_named_tmp_is_another_file(tmp_path):
    (tmp_path / "notes.tmp").touch()
    with pytest.raises(RefusedError, match=r"is not empty.*'notes.tmp' among them"):
        shards.check_out(tmp_path)


def test_folder_of_a_derived_dataset_says_what_made_it(tmp_path):
    (tmp_path / PLAN).write_text(json.dumps({"derived": "merge", "options": {}}) + "\n")
    with pytest.raises(
        RefusedError, match=r"received a different dataset: it was made by hazegen merge. Choose another"
    ):
        shards.write_plan(tmp_path, HEADER, plans_of())
