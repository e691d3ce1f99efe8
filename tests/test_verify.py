"""Verify: every kind of damage found, and none where there is none."""

import contextlib
import errno
import json
import shutil

import pytest
from s3_fixtures import Bucket, moto_server

from hazegen import card, cli, images, manifest, records, shards, store_path, verify
from hazegen.errors import StoreError, UsageError, VerifyError
from hazegen.make import make

FIRST, SECOND = "train-00000-of-00003.tfrecord", "train-00001-of-00003.tfrecord"


def problems(folder, workers=1):
    """What verify finds: the problem of each bad shard by name, and the files it does not know."""
    found = verify.verify(folder, workers)
    assert found.tables == {}
    return {row.shard.name: row.problem for row in found.rows if row.problem}, found.unknown + found.temporary


def rewrite(path, change):
    """Writes a shard again with its list of records changed; every checksum of TFRecord is right."""
    changed = change(list(records.read_shard(path)))
    path.write_bytes(b"".join(map(records.frame, changed)))


def sealed(folder, content):
    """Writes a changed manifest as hazegen would: its own digest is right."""
    content[manifest.SEAL] = manifest.seal(content)
    (folder / manifest.MANIFEST).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


@pytest.mark.parametrize("workers", [1, 2])
def test_sound_dataset_gives_no_false_alarm(dataset, workers):
    found = verify.verify(dataset, workers)
    known = manifest.load(dataset)
    assert [row.shard for row in found.rows] == list(known.shards)
    assert [row.records for row in found.rows] == [shard.records for shard in known.shards]
    assert {row.problem for row in found.rows} == {""}
    assert found.problems() == found.unknown == found.temporary == found.card == []
    assert found.tables == {}


@pytest.mark.parametrize(
    "options",
    [{"codec": "png", "maps": True}, {"codec": "raw", "maps": True}, {"variants": 1, "shard_mb": 64.0}]
    + [{"splits": "test=1"}],
)
def test_other_sound_datasets_give_no_false_alarm(photos, make_options, load_recipe, tmp_path, options):
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
    sealed(dataset_copy, content)
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
    sealed(dataset_copy, content)
    with contextlib.suppress(VerifyError):
        assert problems(dataset_copy) != ({}, [])


def reseal(folder, name):
    """Brings size, count and SHA-256 of the manifest in line with a changed shard: only its content is wrong."""
    content = json.loads((folder / manifest.MANIFEST).read_text())
    shard = shards.write_shard(folder / name, list(records.read_shard(folder / name)))
    entry = next(entry for entry in content["shards"] if entry["name"] == name)
    entry |= {"bytes": shard.bytes, "sha256": shard.sha256}
    sealed(folder, content)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda old: records.encode(old | {"hazy": b"no picture"}), "record 0: hazy is not jpeg as the manifest says"),
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


# --- what lies beside the shards ---


@pytest.mark.parametrize("name", manifest.TABLES)
def test_damaged_table_is_found(dataset_copy, name):
    path = dataset_copy / name
    path.write_bytes(path.read_bytes()[:-1])
    found = verify.verify(dataset_copy, 1, quick=True)
    assert list(found.tables) == [name]
    assert found.problems() == [f"{name}: {found.tables[name]}"]


def test_files_of_no_dataset_are_found_and_those_of_killed_runs_named_as_such(dataset_copy):
    shutil.copy(dataset_copy / FIRST, dataset_copy / f"{FIRST}.4711-0a1b2c3d-3.tmp")
    for name in (".work", ".repair", "photos"):
        (dataset_copy / name).mkdir()
    (dataset_copy / "notes.txt").touch()
    (dataset_copy / ".lock").touch()
    found = verify.verify(dataset_copy, 1, quick=True)
    assert found.temporary == [".repair", ".work", f"{FIRST}.4711-0a1b2c3d-3.tmp"]
    assert found.unknown == ["notes.txt", "photos"]
    assert found.problems() == [
        *("notes.txt: not in the manifest", "photos: not in the manifest"),
        *(f"{name}: left by a killed run" for name in found.temporary),
    ]


def test_missing_card_is_told_and_no_damage(dataset_copy, capsys):
    for name in card.FILES:
        (dataset_copy / name).unlink()
    found = verify.verify(dataset_copy, 1, quick=True)
    assert (found.card, found.problems()) == (list(card.FILES), [])
    assert cli.main(["verify", str(dataset_copy), "--quick"]) == 0
    assert (
        "warning: files of the card are missing: README.md, croissant.json, preview.jpg, card.html; hazegen card"
        in (capsys.readouterr().out)
    )


def test_quick_decodes_no_picture_and_finds_other_bytes(dataset_copy, monkeypatch):
    def decoded(*_):
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr(images, "decode", decoded)
    assert verify.verify(dataset_copy, 1, quick=True).problems() == []
    rewrite(dataset_copy / FIRST, lambda r: [r[1], r[0], *r[2:]])
    (row,) = (row for row in verify.verify(dataset_copy, 1, quick=True).rows if row.problem)
    assert (row.shard.name, row.records) == (FIRST, 6)
    assert row.problem.startswith("expected SHA-256")


def test_scenes_of_two_splits_that_look_alike_are_told(make_photos, make_options, load_recipe, tmp_path, capsys):
    photos = make_photos(scenes=8)
    out = tmp_path / "out"
    for folder, suffix in ((photos.images, "png"), (photos.depth, "png")):
        shutil.copy(folder / f"scene_000.{suffix}", folder / f"scene_003.{suffix}")
    table = tmp_path / "splits.csv"
    table.write_text("key,split\n" + "".join(f"scene_00{n},{'test' if n == 3 else 'train'}\n" for n in range(8)))
    make(make_options(photos, out, split_file=table), load_recipe("aod-released"))
    found = verify.verify(out, 1)
    assert found.alike == [("scene_003", "scene_000", 0)]
    assert found.problems() == []
    assert cli.main(["verify", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "note: 1 pairs of scenes of different splits look alike" in printed
    assert "  scene_003 and scene_000 (0)" in printed
    assert "hazegen split --group-by keeps them together" in printed


# --- the command ---


def test_json_says_all_of_it(dataset_copy, capsys):
    assert cli.main(["verify", str(dataset_copy), "--json", "--workers", "1"]) == 0
    sound = json.loads(capsys.readouterr().out)
    assert (sound["sound"], sound["problems"], len(sound["shards"])) == (True, [], 7)
    (dataset_copy / FIRST).unlink()
    (dataset_copy / "x").touch()
    assert cli.main(["verify", str(dataset_copy), "--json"]) == 5
    captured = capsys.readouterr()
    damaged = json.loads(captured.out)
    assert (damaged["sound"], damaged["unknown"]) == (False, ["x"])
    assert [row["problem"] for row in damaged["shards"] if row["name"] == FIRST] == ["No such file or directory"]
    told = f"received 2 problems: {FIRST}: No such file or directory; x: not in the manifest. Run hazegen repair"
    assert told in captured.err


def test_json_of_a_dataset_without_manifest_is_an_object_too(dataset_copy, capsys):
    (dataset_copy / manifest.MANIFEST).unlink()
    assert cli.main(["verify", str(dataset_copy), "--json"]) == 5
    told = json.loads(capsys.readouterr().out)
    assert told["sound"] is False
    assert "is no finished dataset" in told["problems"][0]


def test_quick_says_so(dataset, capsys):
    assert cli.main(["verify", str(dataset), "--quick"]) == 0
    assert "all 7 shards and 36 pairs are as the manifest says (no picture was decoded)." in capsys.readouterr().out


@pytest.fixture(scope="module")
def bucket():
    """A bucket of an S3 server on the loopback interface, this process's credentials for it among the environment."""
    with moto_server() as server, pytest.MonkeyPatch.context() as patch:
        bucket = Bucket(server)
        for name, value in bucket.environment.items():
            patch.setenv(name, value)
        store_path.forget_clients()
        yield bucket
        bucket.proxy.stop()
    store_path.forget_clients()


def test_dataset_in_a_store_is_verified_there(dataset, bucket, capsys):
    folder = bucket.put(dataset, "dataset")
    assert verify.verify(folder, 2).problems() == []
    data = (dataset / FIRST).read_bytes()
    (folder / FIRST).write_bytes(data[:-1])
    (folder / SECOND).unlink()
    (folder / "notes.txt").write_bytes(b"mine")
    found = verify.verify(folder, 1)
    assert {row.shard.name for row in found.rows if row.problem} == {FIRST, SECOND}
    assert found.unknown == ["notes.txt"]
    assert cli.main(["verify", str(folder), "--quick"]) == 5
    assert "received 3 problems: " in capsys.readouterr().err


@pytest.mark.parametrize("error", [StoreError("cut off"), ConnectionResetError("reset")])
def test_store_that_fails_says_nothing_of_the_dataset(dataset, monkeypatch, error):
    def fail(path):
        raise error

    monkeypatch.setattr(records, "read_shard", fail)
    monkeypatch.setattr("hazegen.stores.is_remote", lambda path: True)
    with pytest.raises(type(error)):
        verify.verify(dataset, 1)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.EACCES, errno.ENOMEM])
def test_machine_that_fails_says_nothing_of_the_dataset(dataset, monkeypatch, capsys, number):
    def fail(path):
        raise OSError(number, "told")

    monkeypatch.setattr(records, "read_shard", fail)
    assert cli.main(["verify", str(dataset), "--quick"]) == 4
    captured = capsys.readouterr()
    assert "told" in captured.err
    assert "hazegen repair" not in captured.out + captured.err


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOENT, errno.EISDIR])
def test_sector_that_cannot_be_read_is_damage(dataset, monkeypatch, number):
    def fail(path):
        raise OSError(number, "told")

    monkeypatch.setattr(records, "read_shard", fail)
    assert {row.problem for row in verify.verify(dataset, 1).rows} == {"told"}


def test_folder_of_the_name_of_a_temporary_file_is_no_part(dataset_copy):
    (dataset_copy / "notes.tmp").touch()
    (dataset_copy / "x.1-0a1b2c3d-0.tmp").mkdir()
    found = verify.verify(dataset_copy, 1, quick=True)
    assert (found.temporary, found.unknown) == ([], ["notes.tmp", "x.1-0a1b2c3d-0.tmp"])
