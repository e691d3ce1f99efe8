"""split, merge and sample: what is in the new dataset, that no picture changes, that its manifest tells the truth."""

import csv
import dataclasses
import hashlib
import json
import shutil
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hazegen import (
    card,
    croissant,
    derive,
    derive_index,
    derive_manifest,
    derive_sample,
    heads,
    locks,
    manifest,
    records,
)
from hazegen.derive import CopyOptions
from hazegen.derive_merge import MergeOptions, merge
from hazegen.derive_sample import SampleOptions, sample
from hazegen.derive_split import SplitOptions, split
from hazegen.errors import RefusedError, UsageError, VerifyError
from hazegen.make import make
from hazegen.manifest import SPLITS, About
from hazegen.verify import verify

SMALL = {"shard_mb": 0.03, "workers": 1}


def stored(folder):
    """Split and record of each pair of a dataset, by its key."""
    found = {}
    for shard in manifest.load(folder).shards:
        for record in records.read_shard(folder / shard.name):
            values = records.decode(record)
            assert values["key"] not in found
            found[values["key"]] = (shard.split, record)
    return found


def files(folder):
    """SHA-256 of each file of a folder."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def inputs(folder):
    with (folder / "inputs.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def scenes_of(folder):
    """Split of each scene."""
    return {key.rsplit("#", 1)[0]: place for key, (place, _) in stored(folder).items()}


def check(folder):
    """Holds a dataset against its manifest, and the manifest against its pairs and its inputs."""
    found = verify(folder, 1)
    assert found.problems() == []
    assert found.card == []
    known, pairs, rows = manifest.load(folder), stored(folder), inputs(folder)
    scenes = scenes_of(folder)
    assert {s: known.splits[s]["scenes"] for s in SPLITS} == {s: list(scenes.values()).count(s) for s in SPLITS}
    used = {row["key"]: row["split"] for row in rows if row["fate"] == "used"}
    assert used == scenes
    assert known.inputs == {"found": len(rows), "used": len(used), "rejected": len(rows) - len(used)}
    decoded = [records.decode(record) for _, record in pairs.values()]
    assert known.variants == max(Counter(values["scene"] for values in decoded).values())
    assert known.smallest == {side: min(values[side] for values in decoded) for side in ("height", "width")}
    for shard in known.shards:
        keys = [records.decode(record)["key"] for record in records.read_shard(folder / shard.name)]
        assert keys == sorted(keys, key=records.hash_order)
    order = [records.hash_order(key) for shard in known.shards for key in {
        records.decode(record)["scene"]: 0 for record in records.read_shard(folder / shard.name)}]  # fmt: skip
    assert len(order) == len(set(order)), "a scene lies in one shard"
    return known


@pytest.fixture(scope="module")
def rejecting(tmp_path_factory, make_options, load_recipe):
    """A dataset of 5 scenes of other photos under the same keys, one more input rejected; with a licence."""
    from conftest import write_photos

    root = tmp_path_factory.mktemp("rejecting")
    photos = write_photos(root / "photos", scenes=6, seed=7, height=80, width=72)
    (photos.images / "scene_003.png").write_bytes(b"no picture")
    about = {"license": "CC-BY-4.0", "citation": "Doe (2020)"}
    options = make_options(photos, root / "pairs", seed=5, splits="train=0.5,validation=0.5")
    make(options, load_recipe("aod-released", beta="[0.02, 0.03]", sweep="random"), about)
    return options.out


# --- split ---


def test_split_divides_the_scenes_anew_and_copies_every_pair(dataset, tmp_path):
    done = split(dataset, tmp_path / "out", SplitOptions(splits="train=0.25,test=0.75", seed=3, **SMALL))
    known, source = check(tmp_path / "out"), manifest.load(dataset)
    assert done.manifest == known
    assert (done.reused, done.finished_before) == (0, False)
    assert {s: known.splits[s]["scenes"] for s in SPLITS} == {"train": 3, "validation": 0, "test": 9}
    assert {k: record for k, (_, record) in stored(tmp_path / "out").items()} == {
        k: record for k, (_, record) in stored(dataset).items()
    }
    for name in (
        "recipe",
        "seed",
        "variants",
        "reading",
        "inputs",
        "smallest",
        "versions",
        "about",
        "codec",
        "quality",
    ):
        assert getattr(known, name) == getattr(source, name), name
    assert [told["digest"] for told in known.sources] == [manifest.digest(source)]
    assert json.loads((tmp_path / "out" / "plan.jsonl").read_text()) == {
        "derived": "split",
        "options": {"group_by": None, "seed": 3, "shard_mb": 0.03, "splits": "train=0.25,test=0.75"},
        "sources": [manifest.digest(source)],
    }


def test_split_as_make_does_it_gives_the_shards_that_make_gives(dataset, tmp_path, monkeypatch):
    """The rule of the order in shards, and of what is in which, is make's."""
    options = SplitOptions(splits="train=0.5,validation=0.25,test=0.25", shard_mb=1000, workers=1)
    split(dataset, tmp_path / "out", options)
    assert scenes_of(tmp_path / "out") == scenes_of(dataset)
    made = list(manifest.load(tmp_path / "out").shards)
    assert [shard.name for shard in made] == [f"{s}-00000-of-00001.tfrecord" for s in sorted(SPLITS)]
    whole = sorted(stored(dataset).items(), key=lambda pair: records.hash_order(pair[0]))
    for shard in made:
        expected = [record for _, (place, record) in whole if place == shard.split]
        assert list(records.read_shard(tmp_path / "out" / shard.name)) == expected


def test_split_never_divides_a_group(dataset, tmp_path):
    options = SplitOptions(splits="train=0.5,test=0.5", group_by=r"scene_0(\d)", **SMALL)
    split(dataset, tmp_path / "out", options)
    check(tmp_path / "out")
    groups = {(key[7], place) for key, place in scenes_of(tmp_path / "out").items()}
    assert len(groups) == 2


def test_split_file_leaves_scenes_out_and_says_so(dataset, tmp_path):
    (tmp_path / "s.csv").write_text("key,split\nscene_000,test\nscene_001,train\nscene_002,none\n")
    split(dataset, tmp_path / "out", SplitOptions(split_file=tmp_path / "s.csv", **SMALL))
    known = check(tmp_path / "out")
    assert scenes_of(tmp_path / "out") == {"scene_000": "test", "scene_001": "train"}
    assert known.inputs == {"found": 12, "used": 2, "rejected": 10}
    reasons = {(r["code"], r["reason"], r["split"]) for r in inputs(tmp_path / "out") if r["fate"] == "rejected"}
    assert reasons == {("left-out", "Left out by the split file 's.csv'.", "")}
    assert str(tmp_path) not in (tmp_path / "out" / "plan.jsonl").read_text()


def test_split_carries_rejected_inputs(rejecting, tmp_path):
    split(rejecting, tmp_path / "out", SplitOptions(**SMALL))
    assert check(tmp_path / "out").inputs == {"found": 6, "used": 5, "rejected": 1}
    before = [row | {"split": ""} for row in inputs(rejecting) if row["fate"] == "rejected"]
    assert [row for row in inputs(tmp_path / "out") if row["fate"] == "rejected"] == before


# --- merge ---


def test_merge_puts_a_folder_before_the_keys_and_changes_no_picture(dataset, rejecting, tmp_path):
    merge([dataset, rejecting], tmp_path / "out", MergeOptions(prefix="rooms,other", **SMALL))
    known = check(tmp_path / "out")
    expected = {}
    for folder, name in ((dataset, "rooms"), (rejecting, "other")):
        for key, (place, record) in stored(folder).items():
            values = records.decode(record)
            expected[f"{name}/{key}"] = (place, values | {n: f"{name}/{values[n]}" for n in ("key", "scene")})
    assert {k: (place, records.decode(r)) for k, (place, r) in stored(tmp_path / "out").items()} == expected
    assert known.inputs == {"found": 18, "used": 17, "rejected": 1}
    rejected = [row["key"] for row in inputs(tmp_path / "out") if row["fate"] == "rejected"]
    assert rejected == ["other/scene_003"]
    assert known.smallest == {"height": 64, "width": 72}
    assert known.variants == 3


def test_merged_manifest_says_nothing_that_is_not_so(dataset, rejecting, tmp_path):
    merge([dataset, rejecting], tmp_path / "out", MergeOptions(prefix="b,a", **SMALL))
    known, one, two = (manifest.load(folder) for folder in (tmp_path / "out", rejecting, dataset))
    assert known.recipe["name"] == "aod-released"
    assert known.recipe["beta"] == f"[0.02, 0.03] or {two.recipe['beta']}"
    assert known.recipe["sweep"] == "random or grid"
    assert known.recipe["path"] == one.recipe["path"]
    assert known.seed is None
    assert [told["seed"] for told in known.sources] == [5, 0]
    assert known.about.license == "CC-BY-4.0; not stated for 1 of the 2 datasets that this one was put together from"
    assert known.about.citation == "Doe (2020)"
    assert known.versions == one.versions
    assert known.also_made_with == ()
    for told, source in zip(known.sources, (one, two), strict=True):
        assert told == {
            "digest": manifest.digest(source), "recipe": source.recipe, "seed": source.seed,
            "about": vars(source.about), "variants": source.variants, "reading": source.reading,
            "versions": source.versions,
        }  # fmt: skip


def test_order_of_merging_means_nothing(dataset, rejecting, tmp_path):
    merge([dataset, rejecting], tmp_path / "one", MergeOptions(prefix="b,a", **SMALL))
    merge([rejecting, dataset], tmp_path / "two", MergeOptions(prefix="a,b", **SMALL))
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_merge_of_halves_is_the_whole(dataset, tmp_path):
    for name in ("train", "test", "validation"):
        sample(dataset, tmp_path / name, SampleOptions(split=name, **SMALL))
    merge([tmp_path / name for name in ("train", "test", "validation")], tmp_path / "out", MergeOptions(**SMALL))
    known, source = check(tmp_path / "out"), manifest.load(dataset)
    assert stored(tmp_path / "out") == stored(dataset)
    assert (known.seed, known.recipe, known.variants) == (source.seed, source.recipe, source.variants)
    inner = [told["sources"][0]["digest"] for told in known.sources]
    assert inner == [manifest.digest(source)] * 3, "where the parts come from is not forgotten"


def test_input_that_is_used_here_and_rejected_there_is_listed_once(dataset, tmp_path):
    """Two parts of one dataset, each of which lists the scenes of the other as left out."""
    for name, first in (("one", 0), ("two", 5)):
        lines = "".join(f"scene_{number:03d},train\n" for number in range(first, first + 5))
        (tmp_path / f"{name}.csv").write_text("key,split\n" + lines)
        split(dataset, tmp_path / name, SplitOptions(split_file=tmp_path / f"{name}.csv", **SMALL))
    merge([tmp_path / "one", tmp_path / "two"], tmp_path / "out", MergeOptions(**SMALL))
    assert check(tmp_path / "out").inputs == {"found": 12, "used": 10, "rejected": 2}
    keys = [row["key"] for row in inputs(tmp_path / "out")]
    assert len(keys) == len(set(keys)) == 12


def test_recipes_of_other_units_are_described_together(dataset, photos, make_options, load_recipe, tmp_path):
    more = {"depth_norm": "max", "fill": "nearest", "glow": "0.3"}
    make(make_options(photos, tmp_path / "other", limit=2, variants=2), load_recipe("aod-released", **more))
    merge([dataset, tmp_path / "other"], tmp_path / "out", MergeOptions(prefix="a,b", **SMALL))
    known = check(tmp_path / "out")
    assert croissant.describe(known).endswith(
        "d the depth along the camera's axis in metres or the depth along the camera's axis in shares of the "
        "picture's largest depth, from each scene's depth map."
    )
    told = croissant.limits(known)
    part = [sentence for sentence in told if sentence.startswith("For some of the pairs: ")]
    assert any("beta per metre differs from scene to scene" in sentence for sentence in part)
    assert sum("Not in it: " in sentence for sentence in part) == 2
    assert sum("The equation was applied to sRGB-coded values" in sentence for sentence in set(told) - set(part)) == 1
    metadata = json.loads((tmp_path / "out" / "croissant.json").read_text())
    assert metadata["rai:dataImputationProtocol"] == (
        "Pixels without a measured depth were filled along the edges of the photo or from the nearest measured one."
    )
    assert "up to 3 times a scene" in metadata["rai:dataPreprocessingProtocol"][0]
    sample(tmp_path / "out", tmp_path / "again", SampleOptions(scenes=9, **SMALL))
    assert croissant.limits(manifest.load(tmp_path / "again")) == told, "sources of sources are told too"


def test_card_says_what_a_dataset_was_made_from(dataset, rejecting, tmp_path):
    merge([dataset, rejecting], tmp_path / "out", MergeOptions(prefix="b,a", **SMALL))
    known = manifest.load(tmp_path / "out")
    manifest.write(tmp_path / "out", dataclasses.replace(known, also_made_with=({"numpy": "1.0"}, {"numpy": "1.1"})))
    card.write_card(tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    digests = [manifest.digest(manifest.load(folder)) for folder in (rejecting, dataset)]
    assert (
        f"| put together by | hazegen merge from aod-released, seed 5 ({digests[0]}); aod-released, seed 0 "
        f"({digests[1]}) |" in text
    )
    assert "| seed | several |" in text
    assert "| pairs of a scene | up to 3 |" in text
    assert "| other shards were made with | numpy 1.0; numpy 1.1 |" in text
    assert "all hazy images of a scene are in one split" in text
    (tmp_path / "out" / "plan.jsonl").unlink()
    with pytest.raises(VerifyError, match=r"plan.jsonl' cannot be read. Expected the plan"):
        card.write_card(tmp_path / "out")


def test_scenes_of_the_same_key_are_refused(dataset, rejecting, tmp_path):
    with pytest.raises(
        RefusedError, match=r"5 scenes have the same key in two datasets, 'scene_000' among them.*--prefix"
    ):
        merge([dataset, rejecting], tmp_path / "out", MergeOptions(**SMALL))
    split(dataset, tmp_path / "again", SplitOptions(seed=9, **SMALL))
    with pytest.raises(RefusedError, match=r"12 scenes have the same key in two datasets"):
        merge([dataset, tmp_path / "again"], tmp_path / "out", MergeOptions(**SMALL))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "recipe", "message"),
    [
        ({"codec": "png"}, {}, "Expected the same codec in all, received jpeg and png. Make them with the same codec."),
        ({"quality": 90}, {}, "Expected the same quality in all, received 95 and 90"),
        ({"maps": True}, {}, "Expected the same maps in all, received False and True"),
        ({}, {"color_space": "linear"}, "Expected the same color_space in all, received srgb and linear"),
    ],
)
def test_datasets_that_one_manifest_cannot_describe_are_refused(
    dataset, photos, make_options, load_recipe, tmp_path, changes, recipe, message
):
    make(make_options(photos, tmp_path / "other", limit=2, **changes), load_recipe("aod-released", **recipe))
    with pytest.raises(RefusedError, match=message):
        merge([dataset, tmp_path / "other"], tmp_path / "out", MergeOptions(prefix="a,b"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("prefix", ["a", "a,a", "a,b,c", "a,../b", "a,", "a,b/c"])
def test_prefixes_that_are_no_names_are_refused(dataset, rejecting, tmp_path, prefix):
    with pytest.raises(UsageError, match=r"--prefix cannot be used. Expected 2 different names"):
        merge([dataset, rejecting], tmp_path / "out", MergeOptions(prefix=prefix))
    with pytest.raises(UsageError, match=r"There is nothing to merge. Expected at least 2 datasets, received 1"):
        merge([dataset], tmp_path / "out", MergeOptions())


def test_facts_of_several_sources_are_joined():
    first = {"depth_kinds": ["mm"], "camera_files": True, "fov_deg": 60}
    second = {"depth_kinds": ["a", "mm"], "camera_files": True, "fov_deg": None}
    joined = derive_manifest._join_readings([first, second])
    units = [{"depth_units": [10.0, 0.001]}, {"depth_units": [2.0]}]
    assert derive_manifest._join_readings(units)["depth_units"] == [0.001, 2.0, 10.0], "numbers, not texts"
    assert joined == {"depth_kinds": ["a", "mm"], "camera_files": True, "depth_values": [], "depth_units": []}
    abouts = [About("MIT", "A", "x"), About("MIT", "B", ""), About("CC0-1.0", "", "y")]
    assert derive_manifest._join_abouts(abouts) == About("MIT; CC0-1.0", "A\n\nB", "x; y")
    recipes = [{"name": "a", "glow": "[0.0]"}, {"name": "b", "glow": "[0.0]", "gamma": None}]
    assert derive_manifest._join_recipes(recipes) == {"name": "a+b", "glow": "[0.0]", "gamma": None}


def test_versions_of_all_sources_are_told(dataset, tmp_path):
    sample(dataset, tmp_path / "few", SampleOptions(scenes=3, **SMALL))
    known = manifest.load(tmp_path / "few")
    older = known.versions | {"numpy": "1.0"}
    manifest.write(tmp_path / "few", dataclasses.replace(known, versions=older, also_made_with=(known.versions,)))
    merge([dataset, tmp_path / "few"], tmp_path / "out", MergeOptions(prefix="a,b", **SMALL))
    merged = manifest.load(tmp_path / "out")
    assert merged.versions == known.versions
    assert merged.also_made_with == (older,)


# --- sample ---


@pytest.mark.parametrize(
    ("options", "scenes", "pairs"),
    [
        ({"scenes": 4}, {"train": 2, "validation": 1, "test": 1}, 12),
        ({"scenes": 1}, {"train": 1, "validation": 0, "test": 0}, 3),
        ({"scenes": 12}, {"train": 6, "validation": 3, "test": 3}, 36),
        ({"share": 0.5}, {"train": 2, "validation": 2, "test": 2}, 18),
        ({"share": 0.001}, {"train": 1, "validation": 0, "test": 0}, 3),
        ({"split": "test"}, {"train": 0, "validation": 0, "test": 3}, 9),
        ({"split": "train", "scenes": 2}, {"train": 2, "validation": 0, "test": 0}, 6),
    ],
)
def test_sample_takes_whole_scenes_of_every_split(dataset, tmp_path, options, scenes, pairs):
    sample(dataset, tmp_path / "out", SampleOptions(**options, **SMALL))
    known, before, after = check(tmp_path / "out"), stored(dataset), stored(tmp_path / "out")
    assert {split: known.splits[split]["scenes"] for split in SPLITS} == scenes
    assert len(after) == pairs
    assert after.items() <= before.items()
    assert known.inputs == {"found": sum(scenes.values()), "used": sum(scenes.values()), "rejected": 0}


def test_sample_takes_a_number_of_pairs(dataset, tmp_path):
    sample(dataset, tmp_path / "out", SampleOptions(pairs=10, **SMALL))
    known = check(tmp_path / "out")
    assert {split: known.records_of(split) for split in SPLITS} == {"train": 6, "validation": 2, "test": 2}
    assert stored(tmp_path / "out").items() <= stored(dataset).items()


def test_seed_decides_what_is_sampled(dataset, tmp_path):
    found = []
    for seed in (0, 1, 2):
        sample(dataset, tmp_path / f"{seed}", SampleOptions(scenes=5, seed=seed, **SMALL))
        found.append(set(scenes_of(tmp_path / f"{seed}")))
    assert found[0] != found[1] or found[1] != found[2]


@pytest.mark.parametrize(
    "options",
    [
        {"visibility_m": (0.0, 20.0)},
        {"mean_transmission": (0.2, 0.6)},
        {"visibility_m": (15.0, np.inf), "mean_transmission": (0.0, 0.9), "split": "train"},
    ],
)
def test_sample_filters_pairs_by_their_haze(dataset, tmp_path, options):
    sample(dataset, tmp_path / "out", SampleOptions(**options, **SMALL))
    check(tmp_path / "out")
    expected = {}
    for key, (place, record) in stored(dataset).items():
        values = records.decode(record)
        ranges = {name: ends for name, ends in options.items() if name != "split"}
        if all(low <= values[n] <= high for n, (low, high) in ranges.items()) and options.get("split", place) == place:
            expected[key] = (place, record)
    assert 0 < len(expected) < 36
    assert stored(tmp_path / "out") == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Nobody says what is taken. Expected one of --pairs, --scenes and --share.*received nothing"),
        ({"pairs": 1, "share": 0.5}, "Nobody says what is taken.*received pairs, share"),
        ({"pairs": 0}, "--pairs is out of range. Expected at least 1, received 0"),
        ({"scenes": 0}, "--scenes is out of range. Expected at least 1, received 0"),
        ({"share": 0.0}, r"--share is out of range. Expected a share in \(0, 1\], received 0.0"),
        ({"share": 1.1}, "--share is out of range"),
        ({"visibility_m": (2.0, 1.0)}, r"--visibility-m is out of range. Expected LOW,HIGH with LOW not above HIGH"),
        ({"mean_transmission": (np.nan, 1.0)}, "--mean-transmission is out of range"),
        ({"scenes": 1, "shard_mb": 0}, "--shard-mb is out of range. Expected a number above 0, received 0"),
        ({"scenes": 1, "workers": 0}, "The number of workers is out of range"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        SampleOptions(**options)


def test_other_options_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"Two ways to split. Expected --split-file or --group-by, received both"):
        SplitOptions(group_by="(.)", split_file=tmp_path)
    with pytest.raises(UsageError, match=r"The splits cannot be read"):
        SplitOptions(splits="train=2")
    with pytest.raises(UsageError, match=r"--shard-mb is out of range"):
        CopyOptions(shard_mb=float("inf"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"scenes": 13},
            "There are not so many. Expected at most 12 scenes, which is what the filters leave, received 13",
        ),
        ({"pairs": 37}, "There are not so many. Expected at most 36 pairs"),
        ({"pairs": 10, "split": "test"}, "Expected at most 9 pairs"),
        ({"visibility_m": (1e6, 1e7)}, "No pair is left. Expected at least one, received 36 pairs of 12 scenes, none"),
    ],
)
def test_sample_that_there_is_not_enough_for_is_refused(dataset, tmp_path, options, message):
    with pytest.raises(RefusedError, match=message):
        sample(dataset, tmp_path / "out", SampleOptions(**options))
    assert not (tmp_path / "out").exists(), "a corrected command finds a new folder"


# --- the folder, interruptions, workers ---

VERBS = {
    "split": lambda source, out, **more: split(source, out, SplitOptions(seed=1, **SMALL | more)),
    "merge": lambda source, out, **more: merge([source] * 2, out, MergeOptions(prefix="x,y", **SMALL | more)),
    "sample": lambda source, out, **more: sample(source, out, SampleOptions(share=0.7, **SMALL | more)),
}


@pytest.mark.parametrize("verb", VERBS)
def test_same_command_gives_the_same_bytes_whatever_the_workers(dataset, tmp_path, verb):
    for workers in (1, 3):
        VERBS[verb](dataset, tmp_path / f"{workers}", workers=workers)
    assert files(tmp_path / "1") == files(tmp_path / "3")
    assert len(manifest.load(tmp_path / "1").shards) > 5


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("after", [0, 1, 4])
def test_interrupted_run_goes_on_to_the_same_bytes(dataset, tmp_path, monkeypatch, verb, after):
    VERBS[verb](dataset, tmp_path / "whole")
    copy, copied = derive._copy_shard, []

    def failing(task, report):
        if len(copied) == after:
            raise OSError(28, "No space left on device")
        copied.append(task.name)
        copy(task, report)

    monkeypatch.setattr(derive, "_copy_shard", failing)
    with pytest.raises(OSError, match=r"No space left"):
        VERBS[verb](dataset, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()
    monkeypatch.setattr(derive, "_copy_shard", lambda task, report: copied.append(task.name) or copy(task, report))
    done = VERBS[verb](dataset, tmp_path / "out", workers=2)
    assert done.reused == after
    assert len(copied) == len(set(copied)), "no shard is copied twice"
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    again = VERBS[verb](dataset, tmp_path / "out")
    assert (again.finished_before, again.reused) == (True, len(again.manifest.shards))


@pytest.mark.parametrize("step", ["rmdir", "unlink"])
def test_work_that_a_run_killed_after_its_manifest_has_left_is_removed(dataset, tmp_path, monkeypatch, step):
    VERBS["split"](dataset, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(derive, "_remove_work", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            VERBS["split"](dataset, tmp_path / "out")
    results = list((tmp_path / "out" / ".work").iterdir())
    assert len(results) > 5
    for result in results[: len(results) if step == "rmdir" else 2]:
        result.unlink()
    (tmp_path / "out" / ".work" / "x.json.9-0123abcd-9.tmp").write_bytes(b"")
    assert VERBS["split"](dataset, tmp_path / "out").finished_before
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert not (tmp_path / "out" / ".work").exists()


@pytest.mark.parametrize("step", ["manifest.write", "card.write_card"])
def test_run_that_ends_at_its_end_goes_on(dataset, tmp_path, monkeypatch, step):
    VERBS["split"](dataset, tmp_path / "whole")
    module, name = step.split(".")
    with monkeypatch.context() as patch:
        patch.setattr(getattr(derive, module), name, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            VERBS["split"](dataset, tmp_path / "out")
    VERBS["split"](dataset, tmp_path / "out")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_shard_that_was_cut_after_it_was_finished_is_copied_again(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(derive, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        VERBS["split"](dataset, tmp_path / "out")
    monkeypatch.undo()
    shard = sorted((tmp_path / "out").glob("*.tfrecord"))[0]
    shard.write_bytes(shard.read_bytes()[:-1])
    done = VERBS["split"](dataset, tmp_path / "out")
    assert done.reused == len(done.manifest.shards) - 1
    check(tmp_path / "out")


def test_other_command_in_the_folder_is_refused(dataset, rejecting, tmp_path):
    out = tmp_path / "out"
    VERBS["split"](dataset, out)
    before = files(out)
    with pytest.raises(
        RefusedError, match=r"holds another dataset.*received another seed: 1 before, 2 now. Choose another"
    ):
        split(dataset, out, SplitOptions(seed=2, **SMALL))
    with pytest.raises(RefusedError, match=r"received another shard_mb: 0.03 before, 64.0 now"):
        split(dataset, out, SplitOptions(seed=1))
    with pytest.raises(RefusedError, match=r"received another source: "):
        VERBS["split"](rejecting, out)
    with pytest.raises(RefusedError, match=r"received another verb: split before, sample now"):
        VERBS["sample"](dataset, out)
    assert files(out) == before
    with pytest.raises(RefusedError, match=r"received another verb: None before, split now"):
        VERBS["split"](rejecting, dataset)


def test_folder_with_something_else_is_refused(dataset, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(RefusedError, match=r"cannot take the dataset.*received a folder with 'notes.txt' in it"):
        VERBS["split"](dataset, tmp_path / "out")
    with pytest.raises(RefusedError, match=r"cannot take the dataset.*received a file"):
        VERBS["split"](dataset, tmp_path / "out" / "notes.txt")
    (tmp_path / "out" / "notes.txt").rename(tmp_path / "out" / "plan.jsonl")
    with pytest.raises(RefusedError, match=r"received another plan: one that cannot be read before"):
        VERBS["split"](dataset, tmp_path / "out")


def test_what_a_run_killed_before_its_plan_has_left_means_nothing(dataset, tmp_path):
    VERBS["split"](dataset, tmp_path / "whole")
    out = tmp_path / "out"
    (out / ".work").mkdir(parents=True)
    for name in ("plan.jsonl.77-0123abcd-0.tmp", ".lock", ".work/train-00000-of-00001.tfrecord.json.77-0123abcd-1.tmp"):
        (out / name).write_bytes(b"{")
    VERBS["split"](dataset, out)
    assert files(out) == files(tmp_path / "whole")


@pytest.mark.parametrize("verb", ["split", "merge", "sample"])
def test_output_inside_of_a_source_is_refused(dataset_copy, tmp_path, monkeypatch, verb):
    before = files(dataset_copy)
    (tmp_path / "link").symlink_to(dataset_copy)
    monkeypatch.chdir(dataset_copy)
    for out in (dataset_copy, dataset_copy / "inner", tmp_path / "link" / "inner", Path("inner")):
        with pytest.raises(UsageError, match=r"--out lies in the dataset that is read. Expected a folder outside of"):
            VERBS[verb](dataset_copy, out)
    assert files(dataset_copy) == before


def test_two_runs_at_once_are_refused(dataset, tmp_path):
    (tmp_path / "out").mkdir()
    with locks.lock(tmp_path / "out"), pytest.raises(RefusedError, match=r"Another run works in"):
        VERBS["split"](dataset, tmp_path / "out")


def test_finished_dataset_is_looked_at(dataset, tmp_path):
    VERBS["split"](dataset, tmp_path / "out")
    (tmp_path / "out" / "README.md").unlink()
    assert VERBS["split"](dataset, tmp_path / "out").finished_before
    assert (tmp_path / "out" / "README.md").is_file()
    sorted((tmp_path / "out").glob("*.tfrecord"))[0].unlink()
    with pytest.raises(VerifyError, match=r"is not what the manifest says"):
        VERBS["split"](dataset, tmp_path / "out")


# --- damaged sources ---


def test_damaged_source_is_never_copied(dataset_copy, tmp_path):
    shard = manifest.load(dataset_copy).shards[0]
    path = dataset_copy / shard.name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # in a picture
    path.write_bytes(content)
    with pytest.raises(VerifyError, match=rf"'{shard.name}' is not what the manifest says. Expected SHA-256"):
        VERBS["split"](dataset_copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(VerifyError, match=rf"'{shard.name}' (is damaged at byte|cannot be read)"):
        sample(dataset_copy, tmp_path / "part", SampleOptions(share=1.0, **SMALL))
    assert not (tmp_path / "part" / "manifest.json").exists()
    path.write_bytes(content[:-1])
    with pytest.raises(VerifyError, match=r"is not what the manifest says. Expected .* bytes"):
        VERBS["split"](dataset_copy, tmp_path / "other")


def forge(folder, known, shard):
    """Makes the manifest agree with a shard that was changed."""
    path = folder / shard.name
    now = dataclasses.replace(shard, bytes=path.stat().st_size, sha256=manifest.sha256(path))
    manifest.write(folder, dataclasses.replace(known, shards=tuple(now if s is shard else s for s in known.shards)))


@pytest.mark.parametrize("verb", ["split", "merge"])
def test_edited_record_with_right_checksums_is_not_laundered(dataset_copy, tmp_path, verb):
    shard = manifest.load(dataset_copy).shards[0]
    first, *others = records.read_shard(dataset_copy / shard.name)
    values = records.decode(first)
    edited = records.encode(values | {"visibility_m": values["visibility_m"] + 1.0})
    (dataset_copy / shard.name).write_bytes(b"".join(map(records.frame, [edited, *others])))
    with pytest.raises(VerifyError, match=rf"'{shard.name}' is not what the manifest says. Expected SHA-256"):
        VERBS[verb](dataset_copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["split", "merge", "sample"])
@pytest.mark.parametrize("name", manifest.TABLES)
def test_source_with_a_damaged_or_missing_table_is_refused_before_copying(dataset_copy, tmp_path, verb, name):
    with (dataset_copy / name).open("a") as file:
        file.write("\n")
    with pytest.raises(VerifyError, match=rf"{name}' is not what the manifest says: expected SHA-256"):
        VERBS[verb](dataset_copy, tmp_path / "out")
    (dataset_copy / name).unlink()
    with pytest.raises(VerifyError, match=rf"{name}' is not what the manifest says: expected a file, received none"):
        VERBS[verb](dataset_copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_source_that_is_not_what_its_manifest_says_is_refused(dataset_copy, tmp_path):
    known = manifest.load(dataset_copy)
    shard, other = [s for s in known.shards if s.split == "train"][:2]
    two = list(records.read_shard(dataset_copy / shard.name))
    (dataset_copy / shard.name).write_bytes(b"".join(map(records.frame, [two[0], *two[:-1]])))
    forge(dataset_copy, known, shard)
    with pytest.raises(VerifyError, match=rf"'{shard.name}' is not what the manifest says. Expected 6 different pairs"):
        VERBS["split"](dataset_copy, tmp_path / "out")
    shutil.copy(dataset_copy / other.name, dataset_copy / shard.name)
    forge(dataset_copy, known, shard)
    with pytest.raises(VerifyError, match=r"is spread over several shards. Expected all its pairs in one"):
        VERBS["split"](dataset_copy, tmp_path / "out")


def test_number_of_records_is_held_against_the_file_before_memory_is_taken(dataset_copy, tmp_path):
    known = manifest.load(dataset_copy)
    first = dataclasses.replace(known.shards[0], records=10**15)
    manifest.write(dataset_copy, dataclasses.replace(known, shards=(first, *known.shards[1:])))
    with pytest.raises(VerifyError, match=rf"'{first.name}' is not what the manifest says. Expected {10**15} records"):
        VERBS["sample"](dataset_copy, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "inputs.csv of a source is not what its shards say. Expected a row for each of 12"),
        (lambda lines: [*lines, lines[-1]], "received 13"),
        (lambda lines: ["a,b\n", *lines[1:]], "cannot be read. Expected the table of inputs"),
        (lambda lines: [*lines, "x," * 40 + "\n"], "received another at line 14"),
    ],
)
def test_table_of_inputs_that_does_not_fit_is_refused(dataset_copy, tmp_path, change, message):
    path = dataset_copy / "inputs.csv"
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))
    manifest.write(dataset_copy, manifest.load(dataset_copy))
    with pytest.raises(VerifyError, match=message):
        VERBS["split"](dataset_copy, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not (tmp_path / "out" / "inputs.csv").exists()


# --- who reads the result ---


def test_aodnet_trains_on_what_was_put_together(dataset, rejecting, tmp_path):
    from aodnet import data

    merge([dataset, rejecting], tmp_path / "merged", MergeOptions(prefix="a,b", **SMALL))
    sample(tmp_path / "merged", tmp_path / "out", SampleOptions(pairs=20, **SMALL))
    known = check(tmp_path / "out")
    batches = data.training_batches([data.Source(tmp_path / "out", known)], crop=32, batch=4, seed=0)
    hazy, clean = (next(iter(batches))[name] for name in ("hazy", "clean"))
    assert hazy.shape == clean.shape == (4, 32, 32, 3)
    assert float(np.abs(hazy - clean).mean()) > 0.0


def test_keys_that_are_no_text_are_copied_as_they_are(make_photos, make_options, load_recipe, tmp_path):
    photos = make_photos(scenes=2)
    for folder in (photos.images, photos.depth):
        (folder / "scene_000.png").rename(folder / 'sc\udce9ne, "0".png')
    make(make_options(photos, tmp_path / "data", splits="train=1"), load_recipe("aod-released"))
    merge([tmp_path / "data"] * 2, tmp_path / "out", MergeOptions(prefix="x,y", **SMALL))
    check(tmp_path / "out")
    assert 'x/sc\udce9ne, "0"' in scenes_of(tmp_path / "out")


def test_index_holds_numbers_and_never_the_records(dataset, monkeypatch):
    from hazegen.derive_index import PAIR, Source, read_index

    monkeypatch.setattr(heads, "read_record", lambda *_: pytest.fail("a record was read whole"))
    monkeypatch.setattr(records, "read_shard", lambda *_: pytest.fail("a shard was read whole"))
    index = read_index([Source(dataset, manifest.load(dataset))], 1, whole=False)
    assert index.pairs.nbytes == 36 * PAIR.itemsize == 36 * 46
    assert sorted(index.keys) == [f"scene_{number:03d}" for number in range(12)]


def test_choosing_pairs_takes_little_beside_the_index(tmp_path):
    """Of 200,000 pairs of 1,000 scenes: at most 40 bytes a pair more, in any step before the copying."""
    count, scenes = 200_000, 1000
    pairs = np.zeros(count, derive_index.PAIR)
    pairs["scene"], pairs["variant"] = np.arange(count) % scenes, np.arange(count) // scenes
    pairs["order"], pairs["length"] = np.random.default_rng(0).integers(0, 2**63, count), 1000
    keys = [f"scene_{number}" for number in range(scenes)]
    index = derive_index.Index(keys, ["train"] * 700 + ["test"] * 300, np.ones((scenes, 2), np.int64), pairs)
    tracemalloc.start()
    choice = derive_sample._choose(index, SampleOptions(pairs=150_000))
    tasks = derive._deal(index, choice, [], tmp_path, 1.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / count < 40
    taken = np.concatenate([task.rows for task in tasks])
    assert len(taken) == len(set(taken.tolist())) == 150_000
    assert (pairs["scene"][taken] < 700).sum() == 105_000, "each split gives its share"


def test_pairs_are_taken_in_the_order_of_their_whole_hashes():
    names = [f"{number}" for number in range(300)]
    split_of = np.array([number % 3 for number in range(300)], np.uint8)
    taken = derive_sample._take(iter(names), split_of, 60, 5, "pairs").tolist()
    order = sorted(range(300), key=lambda number: records.hash_order(f"5\x1fsample\x1f{number}"))
    expected = [n for split in range(3) for n in [m for m in order if m % 3 == split][:20]]
    assert taken == sorted(expected)


def test_datasets_in_a_store_are_split_there(dataset, tmp_path, monkeypatch):
    pytest.importorskip("moto", reason="moto[server] is not installed: pip install 'moto[server]'")
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'hazegen[s3]'")
    from s3_fixtures import Bucket, moto_server, on_disk

    from hazegen import info

    VERBS["merge"](dataset, tmp_path / "out")
    with moto_server() as url:
        bucket = Bucket(url)
        for name, value in bucket.environment.items():
            monkeypatch.setenv(name, value)
        bucket.empty()
        source = bucket.put(dataset, "source")
        done = VERBS["merge"](source, bucket.place("out"), workers=2)
        assert (done.finished_before, done.reused) == (False, 0)
        assert bucket.content("out") == on_disk(tmp_path / "out")
        assert VERBS["merge"](source, bucket.place("out")).finished_before
        with pytest.raises(RefusedError, match=r"holds another dataset"):
            VERBS["split"](source, bucket.place("out"))
        assert info.look(bucket.place("out")).verb == "merge"
        bucket.proxy.stop()
