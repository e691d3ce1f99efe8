"""Runs that go on, begin anew, build a part again, or are dealt to tasks: the same bytes in the end, or a refusal."""

import csv
import dataclasses
import errno
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import shipped_recipe

from hazegen import (
    build,
    card,
    cli_make,
    collect,
    fingerprints,
    locks,
    make,
    manifest,
    planning,
    records,
    resume,
    running,
    shards,
    stores,
)
from hazegen.errors import RefusedError, StoreError, UsageError, VerifyError
from hazegen.estimate import _longest, estimate
from hazegen.make_options import MakeOptions
from hazegen.pairing import SceneRef

SMALL = {"shard_mb": 0.012, "splits": "train=0.5,validation=0.25,test=0.25"}
RECIPE = shipped_recipe("aod-released")
OTHER_NUMPY = {"numpy": "9.9"}


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / manifest.INPUTS).open(newline="", encoding="utf-8") as file:
        return {row["key"]: row for row in csv.DictReader(file)}


@pytest.fixture
def mine(make_photos):
    """Eight scenes that a test may change."""
    return make_photos()


@pytest.fixture(scope="module")
def reference(photos, make_options, tmp_path_factory):
    """What an unbroken run makes of the eight scenes."""
    out = tmp_path_factory.mktemp("reference") / "pairs"
    make.make(make_options(photos, out, **SMALL), RECIPE)
    return contents(out)


def shard_names(found: dict[str, str]) -> list[str]:
    return [name for name in found if name.endswith(".tfrecord")]


def stopped(options, monkeypatch, after=2):
    """Leaves a run with its plan and so many finished shards."""
    built = []

    def stop(task, report):
        if len(built) == after:
            raise KeyboardInterrupt
        built.append(task.plan.name)
        return build.build_shard(task, report)

    with monkeypatch.context() as patch:
        patch.setattr(make, "build_shard", stop)
        with pytest.raises(KeyboardInterrupt):
            make.make(options, RECIPE)
    return built


def building(monkeypatch):
    """The names of the shards that are built from now on."""
    built = []

    def note(task, report):
        built.append(task.plan.name)
        return build.build_shard(task, report)

    monkeypatch.setattr(make, "build_shard", note)
    return built


# --- content of inputs ---


def test_table_of_inputs_has_the_digests_of_the_files(mine, make_options, tmp_path):
    options = dataclasses.replace(make_options(mine, tmp_path / "out"), camera=mine.camera, depth_scale=None)
    made = make.make(options, RECIPE)
    assert made.manifest.inputs["used"] == 8
    reading = options.reading()
    for plan in shards.read_plan(options.out)[1]:
        for ref in plan.scenes:
            told = fingerprints.fingerprint(ref, reading)
            assert set(told) == {"image_digest", "depth_digest", "camera_digest"}
            row = rows_of(options.out)[ref.key]
            assert {name: row[name] for name in fingerprints.DIGEST_COLUMNS if row[name]} == told


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("what", ["image", "depth"])
def test_changed_content_is_refused_and_the_input_named(mine, make_options, tmp_path, monkeypatch, finished, what):
    options = make_options(mine, tmp_path / "out", **SMALL)
    if finished:
        make.make(options, RECIPE)
    else:
        stopped(options, monkeypatch)
    first = next(shards.read_plan(options.out)[1]).scenes[0]
    path = {"image": mine.images, "depth": mine.depth}[what] / f"{first.key}.png"
    path.write_bytes(path.read_bytes() + b"more")
    before = contents(options.out)
    with pytest.raises(RefusedError, match=f"different content of inputs: the {what} of scene '{first.key}'"):
        make.make(options, RECIPE)
    assert contents(options.out) == before


def test_input_that_is_changed_before_its_shard_is_built_is_taken_as_it_is(mine, make_options, tmp_path, monkeypatch):
    options = make_options(mine, tmp_path / "out", **SMALL)
    stopped(options, monkeypatch)
    last = list(shards.read_plan(options.out)[1])[-1].scenes[0]
    shutil.copy(mine.images / "scene_003.png", mine.images / f"{last.key}.png")
    make.make(options, RECIPE)
    told = fingerprints.fingerprint(last, options.reading())
    assert rows_of(options.out)[last.key]["image_digest"] == told["image_digest"]


def test_table_that_is_not_the_plans_is_refused(mine, make_options, tmp_path):
    options = make_options(mine, tmp_path / "out", **SMALL)
    make.make(options, RECIPE)
    lines = (options.out / manifest.INPUTS).read_text().splitlines()
    (options.out / manifest.INPUTS).write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    manifest.write(options.out, manifest.load(options.out))
    with pytest.raises(RefusedError, match=r"is not that of its plan. Expected a line for scene '.*hazegen repair"):
        make.make(options, RECIPE)


# --- begun anew ---


@pytest.mark.parametrize("finished", [False, True])
def test_restart_removes_what_the_plan_names_and_nothing_else(
    photos, make_options, tmp_path, monkeypatch, reference, finished
):
    options = make_options(photos, tmp_path / "out", seed=7, **SMALL)
    if finished:
        make.make(options, RECIPE)
    else:
        stopped(options, monkeypatch)
    others = {"notes.txt": b"mine", "train-00009-of-00001.tfrecord": b"not of this plan"}
    for name, data in others.items():
        (options.out / name).write_bytes(data)
    with pytest.raises(RefusedError, match=r"different seed: 7 before, 0 now.*or pass --restart"):
        make.make(dataclasses.replace(options, seed=0), RECIPE)
    made = make.make(dataclasses.replace(options, seed=0, restart=True), RECIPE)
    assert made.reused == 0
    assert {name: (options.out / name).read_bytes() for name in others} == others
    assert {name: digest for name, digest in contents(options.out).items() if name not in others} == reference


def test_restart_of_a_folder_that_is_no_dataset_is_refused(photos, make_options, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train-00000-of-00001.tfrecord").write_bytes(b"precious")
    with pytest.raises(RefusedError, match="is not empty"):
        make.make(make_options(photos, tmp_path / "out", restart=True), RECIPE)
    assert (tmp_path / "out" / "train-00000-of-00001.tfrecord").read_bytes() == b"precious"


def test_restart_removes_nothing_outside_of_the_dataset(photos, make_options, tmp_path):
    options = make_options(photos, tmp_path / "out", **SMALL)
    make.make(options, RECIPE)
    precious = tmp_path / "train-precious"
    precious.write_bytes(b"mine")
    plan = options.out / manifest.PLAN
    name = min(path.name for path in options.out.glob("train-*"))
    plan.write_text(plan.read_text().replace(f'"{name}"', '"../train-precious"'))
    before = contents(options.out)
    with pytest.raises(RefusedError, match=r"a shard of the name '../train-precious', which is none"):
        make.make(dataclasses.replace(options, restart=True), RECIPE)
    assert precious.read_bytes() == b"mine"
    assert contents(options.out) == before


def test_restart_with_options_that_cannot_be_removes_nothing(photos, make_options, tmp_path):
    options = make_options(photos, tmp_path / "out", **SMALL)
    make.make(options, RECIPE)
    before = contents(options.out)
    with pytest.raises(UsageError, match="number of variants is out of range"):
        make.make(dataclasses.replace(options, restart=True, variants=0), RECIPE)
    assert contents(options.out) == before


def test_restart_that_was_killed_is_gone_on_with(photos, make_options, tmp_path, monkeypatch, reference):
    options = make_options(photos, tmp_path / "out", seed=7, **SMALL)
    make.make(options, RECIPE)
    unlink, left = Path.unlink, [5]

    def dying(path, **how):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        unlink(path, **how)

    again = dataclasses.replace(options, seed=0, restart=True)
    with monkeypatch.context() as patch:
        patch.setattr(collect.Path, "unlink", dying)
        with pytest.raises(KeyboardInterrupt):
            make.make(again, RECIPE)
    assert not shards.is_finished(options.out)
    make.make(again, RECIPE)
    assert contents(options.out) == reference


# --- other versions ---


def other_versions(monkeypatch):
    """From now on another numpy makes the bytes."""
    told = fingerprints.versions() | OTHER_NUMPY
    for module in (build, planning):
        monkeypatch.setattr(module, "versions", lambda: told)
    return told


@pytest.mark.parametrize("finished", [False, True])
def test_other_versions_are_refused_and_named(photos, make_options, tmp_path, monkeypatch, finished):
    options = make_options(photos, tmp_path / "out", **SMALL)
    if finished:
        make.make(options, RECIPE)
    else:
        stopped(options, monkeypatch)
    before = contents(options.out)
    other_versions(monkeypatch)
    with pytest.raises(RefusedError, match=r"other versions.*received another numpy: [\d.]+ before, 9.9 now. Install"):
        make.make(options, RECIPE)
    assert contents(options.out) == before


def test_accepted_versions_stand_in_the_manifest(photos, make_options, tmp_path, monkeypatch, reference):
    options = make_options(photos, tmp_path / "out", **SMALL)
    stopped(options, monkeypatch)
    ours = fingerprints.versions()
    told = other_versions(monkeypatch)
    made = make.make(dataclasses.replace(options, accept_versions=True), RECIPE)
    assert made.reused == 2
    assert made.manifest.versions == ours
    assert made.manifest.also_made_with == (told,)
    assert manifest.load(options.out) == made.manifest
    shards_now = {name: digest for name, digest in contents(options.out).items() if name.endswith(".tfrecord")}
    assert shards_now.items() <= reference.items()


def test_shards_of_versions_that_nobody_accepts_are_built_again(photos, make_options, tmp_path, monkeypatch, reference):
    options = make_options(photos, tmp_path / "out", **SMALL)
    stopped(options, monkeypatch, after=2)
    with monkeypatch.context() as patch:
        other_versions(patch)
        stopped(dataclasses.replace(options, accept_versions=True), monkeypatch, after=3)
    assert make.make(options, RECIPE).reused == 2
    assert contents(options.out) == reference


def test_shard_that_a_worker_of_other_versions_has_built_ends_the_run(photos, make_options, tmp_path, monkeypatch):
    told = fingerprints.versions() | OTHER_NUMPY
    monkeypatch.setattr(build, "versions", lambda: told)
    with pytest.raises(RefusedError, match=r"was built by other versions.*another numpy.*the same everywhere"):
        make.make(make_options(photos, tmp_path / "out", **SMALL), RECIPE)


# --- chosen shards ---


def test_chosen_shards_of_an_unfinished_dataset_are_built_and_no_others(
    photos, make_options, tmp_path, monkeypatch, reference
):
    options = make_options(photos, tmp_path / "out", **SMALL)
    there = stopped(options, monkeypatch)
    names = shard_names(reference)
    wanted = [names[-1], there[0]]
    built = building(monkeypatch)
    made = make.make(dataclasses.replace(options, only_shards=f"{wanted[0]}, {wanted[1]}"), RECIPE)
    assert made.manifest is None
    assert set(built) == set(wanted)
    assert (made.built, made.left) == (2, len(names) - 3)
    assert not shards.is_finished(options.out)
    assert make.make(options, RECIPE).reused == 3
    assert contents(options.out) == reference


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b""), lambda path: None])
def test_chosen_shards_of_a_finished_dataset_come_out_the_same(
    photos, make_options, tmp_path, monkeypatch, reference, damage
):
    options = make_options(photos, tmp_path / "out", **SMALL)
    make.make(options, RECIPE)
    name = shard_names(reference)[1]
    damage(options.out / name)
    built = building(monkeypatch)
    made = make.make(dataclasses.replace(options, only_shards=name), RECIPE)
    assert built == [name]
    assert (made.built, made.changed) == (1, (name,))
    assert contents(options.out) == reference


def test_chosen_shard_that_comes_out_other_is_left_as_it_was(photos, make_options, tmp_path, monkeypatch, reference):
    options = make_options(photos, tmp_path / "out", **SMALL)
    make.make(options, RECIPE)
    name = shard_names(reference)[1]
    monkeypatch.setattr(build.variants, "scene_records", lambda scene, settings: iter([(scene.key, b"other")]))
    with pytest.raises(VerifyError, match=r"came out other than the manifest says.*another kind of processor.*left"):
        make.make(dataclasses.replace(options, only_shards=name), RECIPE)
    other_versions(monkeypatch)
    with pytest.raises(VerifyError, match=r"came out other than the manifest says.*other versions \(numpy: "):
        make.make(dataclasses.replace(options, only_shards=name, accept_versions=True), RECIPE)
    monkeypatch.undo()
    make.make(options, RECIPE)
    assert contents(options.out) == reference


def test_chosen_shard_whose_input_was_changed_is_refused(mine, make_options, tmp_path):
    options = make_options(mine, tmp_path / "out", **SMALL)
    made = make.make(options, RECIPE)
    first = next(shards.read_plan(options.out)[1])
    path = mine.images / f"{first.scenes[0].key}.png"
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(RefusedError, match=f"the image of scene '{first.scenes[0].key}'"):
        make.make(dataclasses.replace(options, only_shards=made.manifest.shards[0].name), RECIPE)


@pytest.mark.parametrize("finished", [False, True])
def test_name_of_no_shard_is_refused(photos, make_options, tmp_path, monkeypatch, finished):
    options = make_options(photos, tmp_path / "out", **SMALL)
    if finished:
        make.make(options, RECIPE)
    else:
        stopped(options, monkeypatch)
    with pytest.raises(
        UsageError, match=r"names a shard that is none. Expected names as 'test-0.*received 'x.tfrecord'"
    ):
        make.make(dataclasses.replace(options, only_shards="x.tfrecord"), RECIPE)


# --- rejected inputs ---


@pytest.fixture
def spoiled(mine, tmp_path):
    """Eight scenes of which two cannot be read, and a function that mends them."""
    paths = [mine.images / "scene_001.png", mine.depth / "scene_006.png"]
    kept = [path.read_bytes() for path in paths]
    for path in paths:
        path.write_bytes(b"no picture")
    (mine.depth / "orphan.png").write_bytes(kept[1])

    def mend():
        for path, data in zip(paths, kept, strict=True):
            path.write_bytes(data)

    return mine, mend


@pytest.mark.parametrize("finished", [False, True])
def test_rejected_inputs_are_tried_again_when_told(spoiled, make_options, tmp_path, monkeypatch, finished):
    photos, mend = spoiled
    about = {"license": "CC0-1.0", "source": "here"}
    options = make_options(photos, tmp_path / "out", **SMALL)
    first = make.make(options, RECIPE, about)
    assert first.rejected == {"image": 1, "depth": 1, "no-image": 1}
    if not finished:  # as a run that was killed before its manifest
        resume.reopen(options.out, first.manifest, [])
        about_left = {}
    else:
        about_left = None
    holding = {
        p.name for p in shards.read_plan(options.out)[1] for r in p.scenes if r.key in ("scene_001", "scene_006")
    }
    mend()
    with pytest.raises(RefusedError, match=r"Scene 'scene_00[16]' was rejected.*Pass --retry-rejected"):
        make.make(options, RECIPE)
    built = building(monkeypatch)
    again = make.make(dataclasses.replace(options, retry_rejected=True), RECIPE, about_left)
    assert set(built) == holding
    assert again.rejected == {"no-image": 1}
    assert vars(again.manifest.about) == {"license": "CC0-1.0", "citation": "", "source": "here"}
    assert (again.built, again.reused) == (len(holding), len(again.manifest.shards) - len(holding))
    monkeypatch.undo()
    fresh = dataclasses.replace(options, out=tmp_path / "fresh")
    make.make(fresh, RECIPE, about)
    assert contents(options.out) == contents(fresh.out)


def test_nothing_rejected_is_nothing_to_try_again(photos, make_options, tmp_path, reference):
    options = make_options(photos, tmp_path / "out", **SMALL)
    make.make(options, RECIPE)
    made = make.make(dataclasses.replace(options, retry_rejected=True), RECIPE)
    assert (made.built, made.changed) == (0, ())
    assert contents(options.out) == reference


def test_inputs_that_are_still_bad_are_rejected_again_with_the_same_bytes(spoiled, make_options, tmp_path):
    photos, _ = spoiled
    options = make_options(photos, tmp_path / "out", **SMALL)
    make.make(options, RECIPE)
    before = contents(options.out)
    made = make.make(dataclasses.replace(options, retry_rejected=True), RECIPE)
    assert made.rejected == {"image": 1, "depth": 1, "no-image": 1}
    assert contents(options.out) == before


def test_used_input_must_be_unchanged_when_others_are_tried_again(spoiled, make_options, tmp_path):
    photos, mend = spoiled
    options = make_options(photos, tmp_path / "out", **SMALL)
    make.make(options, RECIPE)
    mend()
    path = photos.images / "scene_002.png"
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(RefusedError, match="content of inputs: the image of scene 'scene_002'"):
        make.make(dataclasses.replace(options, retry_rejected=True), RECIPE)


@pytest.mark.parametrize("moment", range(1, 12))
def test_retry_that_is_killed_anywhere_ends_the_same(spoiled, make_options, tmp_path, monkeypatch, moment):
    photos, mend = spoiled
    options = make_options(photos, tmp_path / "out", **SMALL)
    make.make(options, RECIPE, {"license": "MIT"})
    mend()
    publish, calls = stores.publish, []

    def dying(temporary, final):
        calls.append(final)
        if len(calls) == moment:
            raise KeyboardInterrupt
        publish(temporary, final)

    again = dataclasses.replace(options, retry_rejected=True)
    with monkeypatch.context() as patch:
        patch.setattr(stores, "publish", dying)
        with pytest.raises(KeyboardInterrupt):
            make.make(again, RECIPE)
    made = make.make(again, RECIPE)
    assert made.rejected == {"no-image": 1}
    fresh = dataclasses.replace(options, out=tmp_path / "fresh")
    make.make(fresh, RECIPE, {"license": "MIT"})
    assert contents(options.out) == contents(fresh.out)


# --- tasks of one plan ---


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1, 0)])
def test_tasks_in_any_order_and_twice_give_the_same_bytes(photos, make_options, tmp_path, reference, order):
    options = make_options(photos, tmp_path / "out", **SMALL)
    count = len(shard_names(reference))
    assert make.make(dataclasses.replace(options, plan_only=True), RECIPE).left == count
    assert set(contents(options.out)) == {manifest.PLAN}
    built = 0
    for index in order:
        made = make.make(dataclasses.replace(options, task_index=index, num_tasks=3), RECIPE)
        assert made.manifest is None
        assert made.built + made.reused == len(range(index, count, 3))
        built += made.built
    assert (built, made.left) == (count, 0)
    made = make.make(dataclasses.replace(options, finish=True), RECIPE)
    assert (made.built, made.reused) == (0, count)
    assert contents(options.out) == reference


def test_task_without_a_plan_makes_it(photos, make_options, tmp_path, reference):
    options = make_options(photos, tmp_path / "out", **SMALL)
    for index in (1, 0):
        make.make(dataclasses.replace(options, task_index=index, num_tasks=2), RECIPE)
    make.make(dataclasses.replace(options, finish=True), RECIPE)
    assert contents(options.out) == reference


def test_whole_run_goes_on_where_tasks_were_left(photos, make_options, tmp_path, reference):
    options = make_options(photos, tmp_path / "out", **SMALL)
    first = make.make(dataclasses.replace(options, task_index=1, num_tasks=2), RECIPE)
    made = make.make(options, RECIPE)
    assert made.reused == first.built
    assert contents(options.out) == reference


def test_task_needs_no_listing_of_the_inputs(photos, make_options, tmp_path, monkeypatch):
    options = make_options(photos, tmp_path / "out", **SMALL)
    make.make(dataclasses.replace(options, plan_only=True), RECIPE)
    monkeypatch.setattr(planning, "find_inputs", lambda *given: pytest.fail("the inputs were listed"))
    make.make(dataclasses.replace(options, task_index=0, num_tasks=2), RECIPE)
    with pytest.raises(RefusedError, match="is not complete"):
        make.make(dataclasses.replace(options, finish=True), RECIPE)


@pytest.mark.parametrize(("changes", "named"), [({"seed": 1}, "seed: 0 before, 1 now"), ({"maps": True}, "maps: ")])
@pytest.mark.parametrize("part", [{"task_index": 0, "num_tasks": 2}, {"finish": True}])
def test_task_of_another_plan_is_refused(photos, make_options, tmp_path, changes, named, part):
    options = make_options(photos, tmp_path / "out", **SMALL)
    make.make(dataclasses.replace(options, plan_only=True), RECIPE)
    with pytest.raises(RefusedError, match=f"another plan.*{named}"):
        make.make(dataclasses.replace(options, **changes, **part), RECIPE)


def test_missing_shards_and_their_tasks_are_named(photos, make_options, tmp_path, reference):
    options = make_options(photos, tmp_path / "out", **SMALL)
    make.make(dataclasses.replace(options, task_index=1, num_tasks=3), RECIPE)
    count = len(shard_names(reference))
    missing = count - len(range(1, count, 3))
    with pytest.raises(
        RefusedError, match=rf"all but {missing}: test-00000-of-\d+.tfrecord.*, of the task indices 0, 2. Run these"
    ):
        make.make(dataclasses.replace(options, finish=True, num_tasks=3), RECIPE)
    with pytest.raises(
        RefusedError, match=rf"all but {missing}: test-00000-of-\d+.tfrecord, [a-z0-9., -]*\. Run these"
    ):
        make.make(dataclasses.replace(options, finish=True), RECIPE)


def test_finish_without_a_plan_is_refused(photos, make_options, tmp_path):
    with pytest.raises(RefusedError, match="has no plan"):
        make.make(make_options(photos, tmp_path / "out", finish=True), RECIPE)


def test_inputs_rejected_by_name_reach_the_table_of_tasks(spoiled, make_options, tmp_path):
    photos, _ = spoiled
    options = make_options(photos, tmp_path / "out", **SMALL)
    make.make(dataclasses.replace(options, task_index=0, num_tasks=1), RECIPE)
    rejected = options.out / shards.WORK / collect.REJECTED
    kept = rejected.read_bytes()
    rejected.unlink()
    with pytest.raises(RefusedError, match=r"Inputs are missing.*Expected 9, received 8. Run .* --plan-only"):
        make.make(dataclasses.replace(options, finish=True), RECIPE)
    make.make(dataclasses.replace(options, plan_only=True), RECIPE)
    assert rejected.read_bytes() == kept
    made = make.make(dataclasses.replace(options, finish=True), RECIPE)
    assert made.rejected == {"image": 1, "depth": 1, "no-image": 1}
    make.make(dataclasses.replace(options, out=tmp_path / "whole"), RECIPE)
    assert contents(options.out) == contents(tmp_path / "whole")


def test_result_that_cannot_be_read_stops_the_finish_and_is_named(photos, make_options, tmp_path, reference):
    options = make_options(photos, tmp_path / "out", **SMALL)
    make.make(dataclasses.replace(options, task_index=0, num_tasks=1), RECIPE)
    name = shard_names(reference)[2]
    shards.result_path(options.out, name).write_text("{")
    with pytest.raises(RefusedError, match=f"The result of shard '{name}' cannot be read.*--only-shards {name}"):
        make.make(dataclasses.replace(options, finish=True), RECIPE)
    make.make(dataclasses.replace(options, only_shards=name), RECIPE)
    make.make(dataclasses.replace(options, finish=True), RECIPE)
    assert contents(options.out) == reference


def test_tasks_of_a_finished_dataset_have_nothing_to_do(photos, make_options, tmp_path, monkeypatch, reference):
    options = make_options(photos, tmp_path / "out", **SMALL)
    make.make(options, RECIPE)
    built = building(monkeypatch)
    for part in ({"task_index": 0, "num_tasks": 2}, {"finish": True}, {"plan_only": True}):
        assert make.make(dataclasses.replace(options, **part), RECIPE).manifest is not None
    assert built == []
    assert contents(options.out) == reference


# --- what an earlier run left of a shard ---


@pytest.mark.parametrize(
    "damage",
    [
        lambda shard, result: shard.unlink(),
        lambda shard, result: shard.write_bytes(shard.read_bytes()[:-1]),
        lambda shard, result: result.unlink(),
        lambda shard, result: result.write_text(""),
        lambda shard, result: result.write_text("[]"),
        lambda shard, result: result.write_text("{}"),
        lambda shard, result: result.write_text(result.read_text().replace("scene_", "other_")),
    ],
)
def test_shard_is_kept_only_with_its_result_and_its_size(
    photos, make_options, tmp_path, monkeypatch, reference, damage
):
    options = make_options(photos, tmp_path / "out", **SMALL)
    there = stopped(options, monkeypatch)
    damage(options.out / there[0], shards.result_path(options.out, there[0]))
    assert make.make(options, RECIPE).reused == 1
    assert contents(options.out) == reference


def test_temporary_files_of_killed_runs_are_gone_in_the_end(photos, make_options, tmp_path, monkeypatch, reference):
    options = make_options(photos, tmp_path / "out", **SMALL)
    there = stopped(options, monkeypatch)
    for folder in (options.out, options.out / shards.WORK):
        (folder / f"{there[0]}.4711-0a1b2c3d-0.tmp").write_bytes(b"half")
    (options.out / shards.WORK / "again").mkdir()
    make.make(options, RECIPE)
    assert contents(options.out) == reference
    assert not (options.out / shards.WORK).exists()


# --- two runs at once ---


@pytest.mark.parametrize("part", [{}, {"restart": True}, {"task_index": 0, "num_tasks": 1}, {"finish": True}])
def test_second_run_in_a_folder_is_refused(photos, make_options, tmp_path, part):
    options = make_options(photos, tmp_path / "out", **SMALL)
    make.make(dataclasses.replace(options, plan_only=True), RECIPE)
    before = contents(options.out)
    with (
        locks.lock(options.out),
        pytest.raises(RefusedError, match=f"Another run works in .* process {os.getpid()} on"),
    ):
        make.make(dataclasses.replace(options, **part), RECIPE)
    assert contents(options.out) == before


def test_tasks_share_a_folder(photos, make_options, tmp_path):
    options = make_options(photos, tmp_path / "out", **SMALL)
    make.make(dataclasses.replace(options, plan_only=True), RECIPE)
    with locks.lock(options.out, shared=True):
        make.make(dataclasses.replace(options, task_index=0, num_tasks=1), RECIPE)
        with pytest.raises(RefusedError, match="Another run works"):
            make.make(dataclasses.replace(options, finish=True), RECIPE)
    make.make(dataclasses.replace(options, finish=True), RECIPE)


# --- full disks ---


def limited(photos, out: Path, size: int) -> subprocess.CompletedProcess[str]:
    """The run in a process that may write no file of more than `size` bytes."""
    argv = ["make", "--images", photos.images, "--depth", photos.depth, "--out", out, "--depth-scale", "0.001"]
    argv += ["--variants", "2", "--shard-mb", "0.03", "--workers", "1"]
    code = "import sys; from hazegen import cli; sys.exit(cli.main(sys.argv[1:]))"
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))}
    # Kernels are compiled into a cache, which the limit is not about.
    environment = os.environ | {"NUMBA_CACHE_DIR": str(out.parent / "cache")}
    command = [sys.executable, "-c", code, *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, **limit)


@pytest.mark.parametrize("size", [500, 20_000])
def test_full_disk_ends_with_the_bytes_needed_and_goes_on(photos, make_options, tmp_path, size):
    out = tmp_path / "out"
    told = limited(photos, out, size)
    assert told.returncode == 4, told.stderr
    assert "cannot take a file of that size (File too large). Expected no limit below" in told.stderr
    assert "Traceback" not in told.stderr
    left = contents(out)
    assert not [name for name in left if name.endswith(".tmp") or name == manifest.MANIFEST]
    for name in shard_names(left):
        assert list(records.read_shard(out / name))
    options = make_options(photos, out, shard_mb=0.03)
    make.make(options, RECIPE)
    make.make(dataclasses.replace(options, out=tmp_path / "other"), RECIPE)
    assert contents(out) == contents(tmp_path / "other")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_bytes_needed_are_those_of_the_pairs_that_are_left(photos, make_options, tmp_path, monkeypatch, number):
    options = make_options(photos, tmp_path / "out", **SMALL)
    built = []

    def full(task, report):
        if len(built) == 3:
            raise OSError(number, os.strerror(number))
        built.append(build.build_shard(task, report))
        return built[-1]

    monkeypatch.setattr(make, "build_shard", full)
    with pytest.raises(StoreError) as error:
        make.make(options, RECIPE)
    pairs = 16 - sum(one.shard.records for one in built)
    mean = sum(one.shard.bytes for one in built) / sum(one.shard.records for one in built)
    needed = int(pairs * mean + 8 * running.BYTES_PER_SCENE)
    assert f"about {needed:,} more bytes ({pairs} pairs)" in str(error.value)
    assert "run the same command again" in str(error.value)


def test_error_that_is_no_full_disk_is_not_called_one(photos, make_options, tmp_path, monkeypatch):
    def failing(task, report):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(make, "build_shard", failing)
    with pytest.raises(OSError, match="Input/output error"):
        make.make(make_options(photos, tmp_path / "out", **SMALL), RECIPE)


def test_too_little_room_is_told_before_the_work(photos, make_options, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(running, "free_bytes", lambda out: 12_345_678)
    options = make_options(photos, tmp_path / "out", **SMALL)
    make.make(options, RECIPE, tell=told.append)
    assert told == []
    monkeypatch.setattr(running, "free_bytes", lambda out: 1000)
    make.make(dataclasses.replace(options, out=tmp_path / "more"), RECIPE, tell=told.append)
    assert len(told) == 1
    assert told[0].startswith("The dataset may not fit on its disk. Expected about 0 MB free for '")


# --- what is shown ---


@pytest.fixture
def command(capsys, photos, tmp_path):
    """command(*words): exit status of hazegen make on the photos, and what is printed."""

    def call(*words):
        argv = ["--images", photos.images, "--depth", photos.depth, "--out", tmp_path / "out", "--depth-scale", "0.001"]
        argv += ["--variants", "2", "--shard-mb", "0.012", "--workers", "1", *words]
        status = cli_make.run_make([str(word) for word in argv])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def test_quiet_run_says_nothing(command, tmp_path):
    assert command("--quiet") == (0, "", "")
    assert shards.is_finished(tmp_path / "out")
    assert command("--quiet") == (0, "", "")


def test_json_lines_tell_progress_and_the_end(command):
    status, out, err = command("--progress", "json")
    lines = [json.loads(line) for line in err.splitlines()]
    assert status == 0
    assert [line["event"] for line in lines[:2]] == ["planning", "starting"]
    assert (lines[1]["shards"], lines[1]["workers"]) == (8, 1)
    assert {line["event"] for line in lines[2:]} == {"progress"}
    assert (lines[-1]["pairs"], lines[-1]["of"], lines[-1]["rejected"]) == (16, 16, 0)
    (end,) = [json.loads(line) for line in out.splitlines()]
    assert (end["event"], end["finished"], end["found"], end["used"]) == ("done", True, 8, 8)
    assert end["took"]["pairs"] == 16
    assert end["took"]["peak_mb"] > 50


def test_summary_has_the_rates_and_the_memory(command):
    _, out, err = command()
    assert "pairs/s" in out
    assert "peak memory" in out
    assert err == ""
    assert command()[1].startswith("Nothing to do")


def test_parts_of_a_run_say_what_is_next(command, tmp_path):
    assert "of its shards are to be built.\nnext: the same command with --task-index I" in command("--plan-only")[1]
    status, out, _ = command("--task-index", 0, "--num-tasks", 2)
    assert status == 0
    assert "shards built; " in out
    assert "next: when all tasks are done, the same command with --finish" in out
    name = next(shards.read_plan(tmp_path / "out")[1]).name
    assert "1 shards built; " in command("--only-shards", name)[1]
    command("--task-index", 1, "--num-tasks", 2)
    assert "16 pairs of 8 scenes" in command("--finish")[1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task_index": 0}, "A task is one of so many"),
        ({"num_tasks": 3}, "A task is one of so many"),
        ({"task_index": 3, "num_tasks": 3}, "received --task-index 3, --num-tasks 3"),
        ({"task_index": -1, "num_tasks": 3}, "A task is one of so many"),
        ({"finish": True, "num_tasks": 0}, "A task is one of so many"),
        ({"finish": True, "plan_only": True}, "Only one part .* received --plan-only, --finish"),
        ({"finish": True, "task_index": 0, "num_tasks": 1}, "received --task-index, --finish"),
        ({"dry_run": True, "only_shards": "a"}, "received --dry-run, --only-shards"),
        ({"restart": True, "finish": True}, "--restart has no part in --finish"),
        ({"restart": True, "task_index": 0, "num_tasks": 1}, "--restart has no part in --task-index"),
        ({"scheduler": "tcp://a:1", "plan_only": True}, "--scheduler has no part in --plan-only"),
        ({"scheduler": "tcp://a:1", "workers": 2}, "Expected --scheduler or --workers, received both"),
        ({"quiet": True, "progress": "json"}, "Expected it or --progress json, received both"),
    ],
)
def test_options_of_which_one_would_be_ignored_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        MakeOptions(images=Path("a"), depth=Path("b"), out=Path("c"), **given)


def test_publishing_a_part_of_a_dataset_is_refused(command):
    with pytest.raises(UsageError, match=r"--publish sends a finished dataset.*--publish with --plan-only"):
        command("--plan-only", "--publish", "--project", "p", "--name", "n")


# --- many workers, interrupted ---


def test_interrupted_processes_end_at_once_and_what_is_finished_stays(photos, make_options, tmp_path, reference):
    out = tmp_path / "out"
    argv = ["make", "--images", photos.images, "--depth", photos.depth, "--out", out, "--depth-scale", "0.001"]
    argv += ["--variants", "21", "--shard-mb", "0.5", "--workers", "2", "--quality", "100"]
    code = "import sys; from hazegen import cli; sys.exit(cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *map(str, argv)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not list(out.glob("*.tfrecord")) and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    began = time.monotonic()
    error = process.communicate(timeout=20)[1]
    assert time.monotonic() - began < 2.0
    if process.returncode != 0:  # it may have been done a moment before
        assert process.returncode == 130, error
        assert "error: interrupted; " in error
        assert "the same command goes on." in error
        assert not (out / shards.LOCK).exists()
    options = make_options(photos, out, variants=21, shard_mb=0.5, quality=100)
    make.make(options, RECIPE)
    make.make(dataclasses.replace(options, out=tmp_path / "other"), RECIPE)
    assert contents(out) == contents(tmp_path / "other")


def test_card_is_that_of_the_retried_dataset(spoiled, make_options, tmp_path):
    photos, mend = spoiled
    options = make_options(photos, tmp_path / "out", **SMALL)
    make.make(options, RECIPE)
    mend()
    make.make(dataclasses.replace(options, retry_rejected=True), RECIPE)
    assert "9 found = 8 used + 1 rejected" in (options.out / card.README).read_text()


# --- workers elsewhere ---


@pytest.mark.parametrize("gone", ["images", "depth"])
def test_machine_that_does_not_see_the_inputs_rejects_no_scene(mine, make_options, tmp_path, monkeypatch, gone):
    options = make_options(mine, tmp_path / "out", **SMALL)
    built = stopped(options, monkeypatch)
    getattr(mine, gone).rename(tmp_path / "elsewhere")
    settings = planning.settings_for(options, RECIPE)
    plan = next(plan for plan in shards.read_plan(options.out)[1] if plan.name not in built)
    with pytest.raises(StoreError, match=rf"is not seen from here.*Expected '{getattr(mine, gone)}'"):
        build.build_shard(build.ShardTask(plan, options.out, settings), lambda _: None)
    assert not (options.out / plan.name).exists()


def test_paths_for_a_scheduler_are_absolute(photos, make_options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []

    def look(run, tasks, *others):
        seen.extend(tasks)
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(running, "run", look)
    relative = {name: Path(os.path.relpath(getattr(photos, name))) for name in ("images", "depth", "camera")}
    options = dataclasses.replace(make_options(photos, Path("out")), **relative, workers=None, scheduler="tcp://x:1")
    with pytest.raises(KeyboardInterrupt):
        make.make(options, RECIPE)
    reading = seen[0].settings.reading
    assert all(path.is_absolute() for path in (seen[0].out, reading.images, reading.depth, reading.camera))


# --- records of one shard ---


@pytest.mark.parametrize("size", [0, 3000])
def test_shard_that_does_not_fit_in_memory_has_the_same_bytes(
    photos, make_options, tmp_path, monkeypatch, reference, size
):
    monkeypatch.setattr(build, "IN_MEMORY", size)
    make.make(make_options(photos, tmp_path / "out", **SMALL), RECIPE)
    assert contents(tmp_path / "out") == reference


def test_rejected_scene_has_the_split_of_its_shard(spoiled, make_options, tmp_path):
    make.make(make_options(spoiled[0], tmp_path / "out", **SMALL), RECIPE)
    planned = {ref.key: plan.split for plan in shards.read_plan(tmp_path / "out")[1] for ref in plan.scenes}
    rows = list(collect.read_table(tmp_path / "out"))
    assert {row["fate"] for row in rows if row["key"] in planned} == {"used", "rejected"}
    assert {row["key"]: row["split"] for row in rows if row["split"]} == planned


# --- late twins, and plans that were replaced ---


def late_task(options):
    """A task of the plan that lies in the folder, as another machine has taken it."""
    settings = planning.settings_for(options, RECIPE)
    plan = next(shards.read_plan(options.out)[1])
    return build.ShardTask(plan, options.out, settings, shards.plan_digest(options.out))


def test_task_of_a_replaced_plan_writes_nothing(photos, make_options, tmp_path, monkeypatch, reference):
    options = make_options(photos, tmp_path / "out", seed=7, **SMALL)
    make.make(dataclasses.replace(options, plan_only=True), RECIPE)
    task = late_task(options)
    stopped(dataclasses.replace(options, seed=0, restart=True), monkeypatch, after=1)
    before = contents(options.out)
    with pytest.raises(RefusedError, match=r"plan in '.*' was replaced while shard .* was built"):
        build.build_shard(task, lambda _: None)
    assert contents(options.out) == before
    make.make(dataclasses.replace(options, seed=0), RECIPE)
    assert contents(options.out) == reference


def test_shard_of_an_old_plan_is_not_taken_for_one_of_the_new(photos, make_options, tmp_path, monkeypatch, reference):
    options = make_options(photos, tmp_path / "out", seed=7, **SMALL)
    name = stopped(options, monkeypatch, after=1)[0]
    old = {path: path.read_bytes() for path in (options.out / name, shards.result_path(options.out, name))}
    options = dataclasses.replace(options, seed=0)
    make.make(dataclasses.replace(options, restart=True, plan_only=True), RECIPE)
    (options.out / shards.WORK).mkdir(exist_ok=True)
    for path, data in old.items():
        path.write_bytes(data)
    assert make.make(options, RECIPE).reused == 0
    assert contents(options.out) == reference
    stopped(dataclasses.replace(options, restart=True), monkeypatch, after=6)
    for path, data in old.items():
        path.write_bytes(data)
    make.make(dataclasses.replace(options, only_shards=min(set(names_of(options.out)) - {name})), RECIPE)
    with pytest.raises(RefusedError, match=r"that of '.*' of another plan|is not complete"):
        make.make(dataclasses.replace(options, finish=True), RECIPE)


def names_of(out):
    return [plan.name for plan in shards.read_plan(out)[1]]


def test_late_twin_of_a_finished_dataset_leaves_nothing_behind(photos, make_options, tmp_path, reference):
    options = make_options(photos, tmp_path / "out", **SMALL)
    make.make(options, RECIPE)
    task = late_task(options)
    built = build.build_shard(task, lambda _: None)
    assert built.shard == next(shard for shard in manifest.load(options.out).shards if shard.name == task.plan.name)
    assert contents(options.out) == reference
    assert not (options.out / shards.WORK).exists()


def test_run_whose_twin_has_finished_the_dataset_ends_well(photos, make_options, tmp_path, monkeypatch, reference):
    """As two runs of one command in a store, which has no locks."""
    options, said = make_options(photos, tmp_path / "out", **SMALL), []
    finish = collect.finish

    def finished_by_another(*given, **how):
        finish(*given, **how)
        return finish(*given, **how)

    monkeypatch.setattr(collect, "finish", finished_by_another)
    made = make.make(options, RECIPE, tell=said.append)
    assert made.manifest == manifest.load(options.out)
    assert "Another run of the same plan has finished" in said[-1]
    assert contents(options.out) == reference


def test_pairs_of_rejected_scenes_are_not_counted_as_made(spoiled, make_options, tmp_path):
    made = make.make(make_options(spoiled[0], tmp_path / "out", **SMALL), RECIPE)
    assert made.took["pairs"] == sum(shard.records for shard in made.manifest.shards)
    assert made.took["rejected"] > 0


# --- where it may not lie, and how it ends ---


@pytest.mark.parametrize("name", ["images", "depth", "camera"])
def test_dataset_inside_of_its_inputs_is_refused(mine, make_options, name):
    options = dataclasses.replace(make_options(mine, getattr(mine, name) / "a" / "out"), camera=mine.camera)
    with pytest.raises(UsageError, match=rf"--out lies inside of --{name}. Expected a folder elsewhere"):
        make.make(options, RECIPE)
    assert not (getattr(mine, name) / "a").exists()


def test_dataset_inside_of_another_is_refused(photos, make_options, tmp_path):
    make.make(make_options(photos, tmp_path / "out", plan_only=True, **SMALL), RECIPE)
    with pytest.raises(UsageError, match=r"--out lies inside of another dataset.*which has a plan.jsonl"):
        make.make(make_options(photos, tmp_path / "out" / "x", **SMALL), RECIPE)


def test_limit_on_the_size_of_files_is_not_called_a_full_disk(tmp_path):
    with (
        pytest.raises(
            StoreError, match=r"cannot take a file of that size.*ulimit -f.*about 1,000 more bytes"
        ) as caught,
        running.on_disk(tmp_path, running.Need(10, 0, 100.0)),
    ):
        raise OSError(errno.EFBIG, "File too large")
    assert "free on its disk" not in str(caught.value)


def test_bytes_needed_are_never_below_the_estimate():
    need = running.Need(10, 0, 100.0, made_pairs=5, made_bytes=50)
    assert need.bytes == 1000
    assert running.Need(10, 0, 1.0, made_pairs=5, made_bytes=50).bytes == 100


def test_termination_ends_as_an_interrupt_and_says_how_far_it_came(photos, tmp_path):
    out = tmp_path / "out"
    argv = ["make", "--images", photos.images, "--depth", photos.depth, "--out", out, "--depth-scale", "0.001"]
    argv += ["--variants", "21", "--shard-mb", "0.5", "--workers", "2", "--quality", "100"]
    code = "import sys; from hazegen import cli; sys.exit(cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *map(str, argv)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (out / shards.WORK).exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=20)[1]
    if process.returncode != 0:  # it may have been done a moment before
        assert process.returncode == 143, error
        assert "error: terminated; " in error
        assert " shards of this run are finished; the same command goes on." in error


# --- digests of inputs ---


@pytest.mark.parametrize(("number", "is_of_the_file"), [(errno.ENOENT, True), (errno.EACCES, True), (errno.EIO, False),
                                                        (errno.EMFILE, False), (errno.ESTALE, False)])  # fmt: skip
def test_only_errors_of_the_file_leave_its_digest_out(
    mine, make_options, monkeypatch, tmp_path, number, is_of_the_file
):
    reading = planning.settings_for(make_options(mine, tmp_path / "out"), RECIPE).reading
    scene = SceneRef("scene_000", "scene_000.png", "scene_000.png")

    def fail(path):
        raise OSError(number, "told")

    monkeypatch.setattr(fingerprints, "_digest_of_parts", fail)
    if is_of_the_file:
        assert fingerprints.fingerprint(scene, reading) == {}
    else:
        with pytest.raises(OSError, match="told"):
            fingerprints.fingerprint(scene, reading)


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 196_608, 1_000_000])
def test_large_object_of_a_store_is_told_by_three_parts(tmp_path, monkeypatch, size):
    path = tmp_path / "x"
    path.write_bytes(bytes(range(256)) * (size // 256) + bytes(size % 256))
    expected = fingerprints._digest_of_parts(path)

    class Remote:
        def __init__(self):
            self.read = 0

        def stat(self):
            return path.stat()

        def read_part(self, start, stop):
            assert 0 <= start < stop <= size
            self.read += stop - start
            return path.read_bytes()[start:stop]

    remote = Remote()
    monkeypatch.setattr(fingerprints.stores, "is_remote", lambda path: isinstance(path, Remote))
    monkeypatch.setattr(fingerprints, "ONE_REQUEST", -1)
    assert fingerprints._digest_of_parts(remote) == expected
    assert remote.read <= 3 * fingerprints.PART


# --- a dry run beside what lies in the folder ---


def test_dry_run_says_what_is_there_already(photos, make_options, tmp_path, monkeypatch):
    options = make_options(photos, tmp_path / "out", **SMALL)
    assert (estimate(options, RECIPE).there, estimate(options, RECIPE).finished) == (0, False)
    stopped(options, monkeypatch)
    assert (estimate(options, RECIPE).there, estimate(options, RECIPE).finished) == (2, False)
    make.make(options, RECIPE)
    before = contents(options.out)
    told = estimate(options, RECIPE)
    assert (told.there, told.finished) == (told.shards, True)
    with pytest.raises(RefusedError, match=r"another plan.*seed: 0 before, 1 now"):
        estimate(dataclasses.replace(options, seed=1), RECIPE)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    with pytest.raises(RefusedError, match=r"is not empty"):
        estimate(dataclasses.replace(options, out=tmp_path / "full"), RECIPE)
    assert contents(options.out) == before


def test_dry_run_tells_one_json_object_or_only_its_refusal(command):
    status, printed, _ = command("--dry-run", "--progress", "json")
    told = json.loads(printed)
    assert (status, told["event"], told["found"]) == (0, "estimate", 8)
    assert command("--dry-run", "--quiet") == (0, "", "")


def test_estimated_time_is_that_of_the_worker_with_most_to_do():
    assert _longest([10, 2, 2], 2) == 10
    assert _longest([4, 4, 4], 2) == 8
    assert _longest([3] * 8, 4) == 6
    assert _longest([5], 1) == 5
