"""Verify: every kind of damage found, and none where there is none."""

import contextlib
import json
import shutil

import pytest

from hazegen import images, manifest, records, shards, verify
from hazegen.errors import UsageError, VerifyError

FIRST, SECOND = "train-00000-of-00003.tfrecord", "train-00001-of-00003.tfrecord"


def problems(folder, workers=1):
    """What verify finds: the problem of each bad shard by name, and the shards it does not know."""
    rows, strangers = verify.verify(folder, workers)
    return {row.shard.name: row.problem for row in rows if row.problem}, strangers


def rewrite(path, change):
    """Writes a shard again with its list of records changed; every checksum of TFRecord is right."""
    changed = change(list(records.read_shard(path)))
    path.write_bytes(b"".join(map(records.frame, changed)))


@pytest.mark.parametrize("workers", [1, 2])
def test_sound_dataset_gives_no_false_alarm(dataset, workers):
    rows, strangers = verify.verify(dataset, workers)
    known = manifest.load(dataset)
    assert [row.shard for row in rows] == list(known.shards)
    assert [row.records for row in rows] == [shard.records for shard in known.shards]
    assert {row.problem for row in rows} == {""}
    assert strangers == []


@pytest.mark.parametrize(
    "options", [{"codec": "png", "maps": True}, {"variants": 1, "shard_mb": 64.0}, {"splits": "test=1"}]
)
def test_other_sound_datasets_give_no_false_alarm(photos, make_options, load_recipe, tmp_path, options):
    from hazegen.make import make

    make(make_options(photos, tmp_path / "out", limit=4, **options), load_recipe("aod-released"))
    assert problems(tmp_path / "out") == ({}, [])


def test_dataset_may_lie_anywhere(dataset, tmp_path):
    assert problems(shutil.copytree(dataset, tmp_path / "moved here")) == ({}, [])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_flipped_bit_is_found(dataset_copy, share):
    path = dataset_copy / FIRST
    data = bytearray(path.read_bytes())
    data[int(share * (len(data) - 1))] ^= 1
    path.write_bytes(data)
    found, strangers = problems(dataset_copy)
    assert list(found) == [FIRST]
    number = min(5, int(share * 6))  # six records of about the same size
    assert f"'{FIRST}' is damaged at record {number}" in found[FIRST]
    assert strangers == []


def cut(data):
    return data[: len(data) // 2]


def cut_on_boundary(data):
    return data[: 16 + int.from_bytes(data[:8], "little")]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: path.write_bytes(cut(path.read_bytes())), "is damaged at record"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is damaged at record 5"),
        (lambda path: path.write_bytes(cut_on_boundary(path.read_bytes())), "bytes, received"),
        (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "is damaged at record 6"),
        (lambda path: path.write_bytes(b""), "bytes, received 0"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: (path.unlink(), path.mkdir()), "directory"),
        (lambda path: rewrite(path, lambda r: r[:-1]), "bytes, received"),
        (lambda path: rewrite(path, lambda r: r[1:]), "bytes, received"),
        (lambda path: rewrite(path, lambda r: r + r[:1]), "bytes, received"),
        (lambda path: rewrite(path, lambda r: [r[1], r[0], *r[2:]]), "expected SHA-256"),
        (lambda path: rewrite(path, lambda r: r[::-1]), "expected SHA-256"),
        (lambda path: path.write_bytes((path.parent / SECOND).read_bytes()), "bytes, received"),
    ],
    ids=["cut", "cut by a byte", "cut on a boundary", "a byte more", "empty", "missing", "a folder", "last removed"]
    + ["first removed", "record doubled", "records swapped", "order reversed", "another shard's bytes"],
)
def test_damaged_shard_is_found_and_only_that(dataset_copy, damage, problem):
    damage(dataset_copy / FIRST)
    found, strangers = problems(dataset_copy)
    assert list(found) == [FIRST]
    assert problem in found[FIRST]
    assert strangers == []


def test_swapped_shards_are_both_found(dataset_copy):
    first, second = dataset_copy / FIRST, dataset_copy / SECOND
    first.rename(dataset_copy / "x")
    second.rename(first)
    (dataset_copy / "x").rename(second)
    assert set(problems(dataset_copy)[0]) == {FIRST, SECOND}


@pytest.mark.parametrize("name", ["train-00003-of-00003.tfrecord", "extra.tfrecord", f"{FIRST}.tmp", f"{FIRST}.gz"])
def test_shard_that_the_manifest_does_not_know_is_found(dataset_copy, name):
    shutil.copy(dataset_copy / FIRST, dataset_copy / name)
    assert problems(dataset_copy) == ({}, [name])


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("records", 5, "expected 5 records, received 6"),
        ("records", 7, "expected 7 records, received 6"),
        ("bytes", 1, "expected 1 bytes, received"),
        ("sha256", "0" * 64, "expected SHA-256 000000000000..., received"),
        ("name", "train-00009-of-00003.tfrecord", "No such file"),
    ],
)
def test_manifest_that_was_edited_is_found(dataset_copy, field, value, problem):
    content = json.loads((dataset_copy / manifest.MANIFEST).read_text())
    next(shard for shard in content["shards"] if shard["name"] == FIRST)[field] = value
    content["splits"]["train"]["records"] = sum(s["records"] for s in content["shards"] if s["split"] == "train")
    (dataset_copy / manifest.MANIFEST).write_text(json.dumps(content))
    found, _ = problems(dataset_copy)
    assert list(found) == [value if field == "name" else FIRST]
    assert problem in next(iter(found.values()))


@pytest.mark.parametrize(
    "path", [("splits", "train", "records"), ("inputs", "used"), ("inputs", "found"), ("shards", 0, "records")]
)
def test_manifest_whose_counts_contradict_each_other_is_found(dataset_copy, path):
    content = json.loads((dataset_copy / manifest.MANIFEST).read_text())
    entry = content
    for name in path[:-1]:
        entry = entry[name]
    entry[path[-1]] += 1
    (dataset_copy / manifest.MANIFEST).write_text(json.dumps(content))
    with contextlib.suppress(VerifyError):
        assert problems(dataset_copy) != ({}, [])


def reseal(folder, name):
    """Brings size, count and SHA-256 of the manifest in line with a changed shard: only its content is wrong."""
    content = json.loads((folder / manifest.MANIFEST).read_text())
    shard = shards.write_shard(folder / name, list(records.read_shard(folder / name)))
    entry = next(entry for entry in content["shards"] if entry["name"] == name)
    entry |= {"bytes": shard.bytes, "sha256": shard.sha256}
    (folder / manifest.MANIFEST).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda old: records.encode(old | {"hazy": b"no picture"}), "record 0: 'hazy' is not a picture"),
        (lambda old: records.encode(old | {"clean": old["clean"][:-300]}), "record 0: 'clean' cannot be decoded"),
        (lambda old: records.encode(old | {"height": 63}), "record 0: clean expected size (63, 96), received (64, 96)"),
        (
            lambda old: records.encode(old | {"hazy": images.encode(images.decode(old["hazy"], "a")[1:], ".jpg")}),
            "record 0: hazy expected size (64, 96), received (63, 96)",
        ),
        (
            lambda old: records.encode(old | {"hazy": images.encode(images.decode(old["hazy"], "a"), ".png")}),
            "record 0: hazy is not jpeg as the manifest says",
        ),
        (
            lambda old: records.encode(old | {"clean": images.encode(images.decode(old["clean"], "a"), ".png")}),
            "record 0: clean is not jpeg as the manifest says",
        ),
        (lambda old: b"\x0a\x02no", "record 0: "),
        (lambda old: b"", "record 0: Expected the features"),
    ],
)
def test_record_that_is_sealed_but_wrong_is_found(dataset_copy, change, problem):
    rewrite(dataset_copy / FIRST, lambda r: [change(records.decode(r[0])), *r[1:]])
    reseal(dataset_copy, FIRST)
    found, _ = problems(dataset_copy)
    assert list(found) == [FIRST]
    assert problem in found[FIRST]


def test_missing_manifest_is_a_failed_verification(dataset_copy):
    (dataset_copy / manifest.MANIFEST).unlink()
    with pytest.raises(VerifyError, match=r"is no finished dataset. Expected a manifest.json"):
        verify.verify(dataset_copy, 1)


@pytest.mark.parametrize("workers", [0, -1, 1025])
def test_number_of_workers_out_of_range_is_refused(dataset, workers):
    with pytest.raises(UsageError, match="number of workers is out of range"):
        verify.verify(dataset, workers)
