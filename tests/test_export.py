"""Exports: layouts and names, the same bytes always, interruptions, folders and datasets that are refused."""

import csv
import dataclasses
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hazegen import export_files, images, manifest, records
from hazegen.derive_merge import MergeOptions, merge
from hazegen.derive_sample import SampleOptions, sample
from hazegen.errors import RefusedError, UsageError, VerifyError
from hazegen.export import ExportOptions, export
from hazegen.make import make

DATA = Path(os.environ.get("HAZEGEN_TEST_DATA", "/dev/null"))
PAGE = Path(__file__).parent.parent / "docs" / "export.md"
CLEAN_NAME, HAZY_NAME = r"(\d+)\.\w+", r"(\d+)_(\d+)_([\d.]+)\.\w+"
ITS, OTS, TAR = (ExportOptions(name, workers=1) for name in ("folder-its", "folder-ots", "webdataset"))
PAIRS = {"train": 18, "validation": 9, "test": 9}
SMALL = 0.02  # a tar file of the fixture's shards, in MB


def stored(folder, split=None):
    """Each record of a dataset by its key."""
    shards = [shard for shard in manifest.load(folder).shards if split in (None, shard.split)]
    decoded = (records.decode(record) for shard in shards for record in records.read_shard(folder / shard.name))
    return {values["key"]: values for values in decoded}


def table(out):
    """The rows of pairs.csv by key."""
    with (out / "pairs.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert len({row["key"] for row in rows}) == len(rows)
    return {row["key"]: row for row in rows}


def files(out):
    """SHA-256 of every file of a folder by its path."""
    found = sorted(path for path in out.rglob("*") if path.is_file())
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def samples(out):
    """Members of each sample of the tar files, by their names after the sample's key, as WebDataset groups them."""
    found: dict[str, dict[str, bytes]] = {}
    last = None
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as tar:
            for info in tar:
                key, _, name = info.name.partition(".")
                assert key == last or key not in found, "members of a sample stand beside each other"
                found.setdefault(key, {})[name] = tar.extractfile(info).read()
                last = key
    return found


def forge(folder, change):
    """change(first, others) changes the first record of a dataset in place; its manifest is made to agree."""
    known = manifest.load(folder)
    shard = next(shard for shard in known.shards if shard.records)
    first, *others = records.read_shard(folder / shard.name)
    values = records.decode(first)
    change(values, [records.decode(record) for record in others])
    path = folder / shard.name
    path.write_bytes(b"".join(map(records.frame, [records.encode(values), *others])))
    changed = dataclasses.replace(
        shard, bytes=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest()
    )
    shards = tuple(changed if s.name == shard.name else s for s in known.shards)
    (folder / "manifest.json").write_text(dataclasses.replace(known, shards=shards).to_json())


@pytest.fixture
def png_dataset(photos, make_options, load_recipe, tmp_path):
    """Four scenes, two variants, PNG, with transmissions."""
    make(make_options(photos, tmp_path / "png", limit=4, codec="png", maps=True), load_recipe("aod-paper"))
    return tmp_path / "png"


# --- layouts ---


@pytest.mark.skipif(not DATA.is_dir(), reason="HAZEGEN_TEST_DATA does not name a folder with the published data sets")
def test_published_set_and_export_have_one_layout(dataset, tmp_path):
    export(dataset, tmp_path / "out", ITS)
    for root in (DATA / "pairs_its_original_layout", tmp_path / "out" / "train"):
        assert {path.name for path in root.iterdir() if path.is_dir()} == {"gt", "hazy"}
        scenes = {re.fullmatch(CLEAN_NAME, path.name)[1] for path in (root / "gt").iterdir()}
        found = [re.fullmatch(HAZY_NAME, path.name).groups() for path in (root / "hazy").iterdir()]
        assert {scene for scene, _, _ in found} == scenes
        assert all(int(variant) >= 1 and 0.5 <= float(light) <= 1.0 for _, variant, light in found)


def test_its_layout_has_the_names_of_the_published_set(dataset, tmp_path):
    done = export(dataset, tmp_path / "out", ITS)
    rows, pairs = table(tmp_path / "out"), stored(dataset)
    assert {split: counts["pairs"] for split, counts in done.splits.items()} == PAIRS
    assert set(rows) == set(pairs)
    for key, row in rows.items():
        assert re.fullmatch(r"(train|validation|test)/gt/\d+\.jpg", row["clean"])
        found = re.fullmatch(rf"(train|validation|test)/hazy/{HAZY_NAME}", row["hazy"])
        assert found[1] == row["split"]
        assert (found[2], int(found[3])) == (row["id"], pairs[key]["variant"] + 1)
        assert float(found[4]) == pytest.approx(pairs[key]["atmospheric_light"][1], abs=1e-5)
        for name in ("clean", "hazy"):
            assert (tmp_path / "out" / row[name]).read_bytes() == pairs[key][name]
    written = {path.name for path in (tmp_path / "out" / "train").rglob("*.jpg")}
    assert len(written) == 18 + 6
    assert (done.files, done.finished_before) == (36 + 12, False)


def test_ots_layout_has_scene_light_and_beta_in_its_names(dataset, tmp_path):
    export(dataset, tmp_path / "out", OTS)
    for key, values in stored(dataset).items():
        row = table(tmp_path / "out")[key]
        assert re.fullmatch(r"\w+/clear/\d{4}\.jpg", row["clean"])
        found = re.fullmatch(r"\w+/hazy/(\d{4})_([\d.]+)_([\d.]+)(_\d+)?\.jpg", row["hazy"])
        assert int(found[1]) == int(row["id"])
        assert float(found[2]) == pytest.approx(values["atmospheric_light"][1], rel=1e-5)
        assert float(found[3]) == pytest.approx(values["beta"][1], rel=1e-5)


def test_its_export_is_read_as_pairs_by_their_names(dataset, tmp_path):
    from aodnet.pairs import Source, read_pairs

    export(dataset, tmp_path / "out", ITS)
    source = Source(hazy=tmp_path / "out" / "test" / "hazy", clean=tmp_path / "out" / "test" / "gt")
    ids = {row["hazy"].split("/")[-1][:-4]: key for key, row in table(tmp_path / "out").items()}
    pairs, read = stored(dataset, "test"), list(read_pairs(source))
    assert len(read) == 9
    for pair in read:
        np.testing.assert_array_equal(pair.clean, images.decode(pairs[ids[pair.name]]["clean"], "clean"))


def test_table_leads_from_each_number_back_to_its_scene(make_photos, make_options, load_recipe, tmp_path):
    made = make_photos(scenes=3)
    for number, key in enumerate(("a/b", "a_b", 'b c, "d"\'e')):
        for folder in (made.images, made.depth):
            (folder / f"{key}.png").parent.mkdir(exist_ok=True)
            (folder / f"scene_{number:03d}.png").rename(folder / f"{key}.png")
    make(make_options(made, tmp_path / "data", splits="train=1"), load_recipe("aod-released"))
    for options in (ITS, OTS, TAR):
        out = tmp_path / options.format
        export(tmp_path / "data", out, options)
        scenes = {row["id"]: row["scene"] for row in table(out).values()}
        assert sorted(scenes.values()) == sorted(["a/b", "a_b", 'b c, "d"\'e'])
        assert {(row["scene"], row["id"]) for row in table(out).values()} == {(s, i) for i, s in scenes.items()}
        assert not [path for path in out.rglob("*") if not re.fullmatch(r"[\w.-]+", path.name)]


def test_haze_of_two_variants_that_is_nearly_equal_gives_two_files(photos, make_options, load_recipe, tmp_path):
    # They differ in a digit that 32-bit floats do not have.
    haze = {"beta": "uniform(1.0, 1.0000000001)", "atmospheric_light": "0.9", "light_channels": "gray"}
    recipe = load_recipe("aod-paper", **haze, depth_norm="metres")
    make(make_options(photos, tmp_path / "data", variants=3, splits="train=1", limit=2), recipe)
    export(tmp_path / "data", tmp_path / "out", OTS)
    names = sorted(path.name for path in (tmp_path / "out" / "train" / "hazy").iterdir())
    assert names == [f"000{scene}_0.9_1_{variant}.jpg" for scene in (1, 2) for variant in (1, 2, 3)]
    rows = table(tmp_path / "out")
    for key, values in stored(tmp_path / "data").items():
        assert (tmp_path / "out" / rows[key]["hazy"]).read_bytes() == values["hazy"]
        assert (rows[key]["A"], rows[key]["beta"]) == ("0.9", "1")


def test_webdataset_holds_each_pair_once_with_all_its_parameters(dataset, tmp_path):
    export(dataset, tmp_path / "out", TAR)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "train-000000.tar",
        "validation-000000.tar",
        "test-000000.tar",
        "pairs.csv",
        "export.json",
    }
    found, pairs, rows = samples(tmp_path / "out"), stored(dataset), table(tmp_path / "out")
    assert len(found) == len(pairs)
    for name, members in found.items():
        assert re.fullmatch(r"\d{6}_\d{4}", name)
        told = json.loads(members["json"])
        values = pairs.pop(told["key"])
        assert {"clean.jpg": values["clean"], "hazy.jpg": values["hazy"], "json": members["json"]} == members
        assert rows[told["key"]]["hazy"] == f"{told['split']}-000000.tar/{name}.hazy.jpg"
        for field in ("beta", "atmospheric_light"):
            assert tuple(map(np.float32, told[field])) == tuple(map(np.float32, values[field]))
        assert np.float32(told["visibility_m"]) == np.float32(values["visibility_m"])
        assert told["haze"] == json.loads(values["haze"])
        kept = {feature for feature in records.FEATURES if feature not in ("clean", "hazy", "transmission")}
        assert kept <= set(told)
    assert not pairs


def test_members_of_a_tar_file_say_nothing_of_who_wrote_it_and_when(dataset, tmp_path):
    export(dataset, tmp_path / "out", TAR)
    with tarfile.open(tmp_path / "out" / "train-000000.tar") as tar:
        members = tar.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.isfile()) for m in members} == {
        (0, 0, 0, "", "", 0o644, True)
    }
    assert [m.name.partition(".")[2] for m in members[:3]] == ["clean.jpg", "hazy.jpg", "json"]


@pytest.mark.parametrize("tar_mb", [1e-6, SMALL, 0.05, 1000.0])
def test_tar_files_share_the_pairs_of_a_split_evenly(dataset, tmp_path, tar_mb):
    done = export(dataset, tmp_path / "out", dataclasses.replace(TAR, tar_mb=tar_mb))
    assert len(samples(tmp_path / "out")) == 36
    for split, pairs in PAIRS.items():
        tars = sorted((tmp_path / "out").glob(f"{split}-*.tar"))
        assert [path.name for path in tars] == [f"{split}-{number:06d}.tar" for number in range(len(tars))]
        counts = []
        for path in tars:
            with tarfile.open(path) as tar:
                counts.append(len(tar.getnames()) // 3)
        size = sum(shard.bytes for shard in manifest.load(dataset).shards if shard.split == split)
        assert len(tars) == min(pairs, int(np.ceil(size / (tar_mb * 1e6))))
        assert sum(counts) == pairs
        assert max(counts) - min(counts) <= 1
    assert done.files == done.parts == len(list((tmp_path / "out").glob("*.tar")))


def test_order_of_pairs_in_tar_files_is_the_datasets(dataset, tmp_path):
    export(dataset, tmp_path / "out", dataclasses.replace(TAR, split="train", tar_mb=SMALL))
    keys = [json.loads(members["json"])["key"] for members in samples(tmp_path / "out").values()]
    assert keys == list(stored(dataset, "train"))


@pytest.mark.parametrize("options", [ITS, TAR], ids=lambda options: options.format)
def test_png_holds_the_pixels_of_the_stored_jpeg(dataset, tmp_path, options):
    export(dataset, tmp_path / "out", dataclasses.replace(options, codec="png", split="test"))
    pairs, rows = stored(dataset, "test"), table(tmp_path / "out")
    found = samples(tmp_path / "out")
    for key, values in pairs.items():
        for name in ("clean", "hazy"):
            if options is TAR:
                data = found[rows[key][name].split("/")[1].partition(".")[0]][f"{name}.png"]
            else:
                data = (tmp_path / "out" / rows[key][name]).read_bytes()
            assert data.startswith(b"\x89PNG")
            np.testing.assert_array_equal(images.decode(data, name), images.decode(values[name], name))


@pytest.mark.parametrize("codec", ["stored", "png"])
def test_stored_png_is_copied_and_transmissions_are_written_where_asked_for(png_dataset, tmp_path, codec):
    export(png_dataset, tmp_path / "its", dataclasses.replace(ITS, codec=codec, maps=True))
    export(png_dataset, tmp_path / "tar", dataclasses.replace(TAR, codec=codec, maps=True))
    rows, tars, found = table(tmp_path / "its"), table(tmp_path / "tar"), samples(tmp_path / "tar")
    for key, values in stored(png_dataset).items():
        for name in ("clean", "hazy", "transmission"):
            assert (tmp_path / "its" / rows[key][name]).read_bytes() == values[name]
            assert found[tars[key][name].split("/")[1].partition(".")[0]][f"{name}.png"] == values[name]
        assert rows[key]["transmission"] == rows[key]["hazy"].replace("/hazy/", "/transmission/")


@pytest.mark.parametrize("options", [ITS, TAR], ids=lambda options: options.format)
def test_raw_pictures_are_written_as_png(photos, make_options, load_recipe, tmp_path, options):
    make(make_options(photos, tmp_path / "raw", codec="raw", maps=True, limit=2), load_recipe("aod-released"))
    own = stored(tmp_path / "raw")
    done = export(tmp_path / "raw", tmp_path / "out", dataclasses.replace(options, maps=True))
    rows = table(tmp_path / "out")
    assert (len(rows), sum(counts["pairs"] for counts in done.splits.values())) == (4, 4)
    for key, row in rows.items():
        for name in ("clean", "hazy"):
            if options.format == "webdataset":
                path, member = row[name].split("/")
                with tarfile.open(tmp_path / "out" / path) as tar:
                    data = tar.extractfile(member).read()
            else:
                data = (tmp_path / "out" / row[name]).read_bytes()
            assert images.decode(data, name).tobytes() == own[key][name]


def test_maps_are_left_out_where_not_asked_for(png_dataset, tmp_path):
    export(png_dataset, tmp_path / "out", ITS)
    assert {row["transmission"] for row in table(tmp_path / "out").values()} == {""}
    assert not list((tmp_path / "out").rglob("transmission"))


def test_colour_channels_are_all_in_the_table(png_dataset, tmp_path):
    export(png_dataset, tmp_path / "out", OTS)
    rows = table(tmp_path / "out")
    for key, values in stored(png_dataset).items():
        assert tuple(map(np.float32, rows[key]["A"].split())) == tuple(map(np.float32, values["atmospheric_light"]))
        assert np.float32(rows[key]["beta"]) == np.float32(values["beta"][1])


def test_numbers_of_scenes_are_the_same_for_one_split_and_for_all(dataset, tmp_path):
    export(dataset, tmp_path / "all", ITS)
    every = files(tmp_path / "all")
    seen: list[str] = []
    for split, pairs in PAIRS.items():
        done = export(dataset, tmp_path / split, dataclasses.replace(ITS, split=split))
        assert done.splits == {split: {"pairs": pairs, "scenes": pairs // 3}}
        one = {name: digest for name, digest in files(tmp_path / split).items() if name.endswith(".jpg")}
        assert one == {name: digest for name, digest in every.items() if name.startswith(f"{split}/")}
        seen += [path.stem for path in (tmp_path / split / split / "gt").iterdir()]
    assert sorted(map(int, seen)) == list(range(1, 13))


def test_mark_tells_counts_licence_and_what_the_haze_is(dataset, tmp_path):
    export(dataset, tmp_path / "out", ITS)
    mark, known = json.loads((tmp_path / "out" / "export.json").read_text()), manifest.load(dataset)
    assert mark["splits"] == {
        split: {"pairs": counts["records"], "scenes": counts["scenes"]} for split, counts in known.splits.items()
    }
    assert mark["files"]["train/hazy/*"][0] == 18
    assert (mark["dataset"], mark["recipe"]) == (manifest.digest(known), known.recipe)
    assert mark["about"] == vars(known.about)


# --- the same bytes, however it came about ---


@pytest.mark.parametrize("options", [ITS, OTS, dataclasses.replace(TAR, tar_mb=SMALL)], ids=lambda o: o.format)
def test_bytes_depend_on_nothing_but_dataset_and_options(dataset, tmp_path, options):
    for number, workers in enumerate((1, 3)):
        export(dataset, tmp_path / str(number), dataclasses.replace(options, workers=workers))
    moved = shutil.copytree(dataset, tmp_path / "moved")
    export(moved, tmp_path / "2", options)
    assert files(tmp_path / "0") == files(tmp_path / "1") == files(tmp_path / "2")


class Killed(BaseException):
    """Ends a run at any place."""


@pytest.mark.parametrize("options", [ITS, dataclasses.replace(TAR, tar_mb=SMALL)], ids=lambda o: o.format)
@pytest.mark.parametrize("pairs", [0, 1, 10, 20, 35])
def test_interrupted_export_goes_on_to_the_same_bytes(dataset, tmp_path, monkeypatch, options, pairs):
    export(dataset, tmp_path / "whole", options)
    seen = []

    def stop(*given):
        seen.append(given)
        if len(seen) > pairs:
            raise Killed
        return row(*given)

    with monkeypatch.context() as patch:
        row = export_files._row
        patch.setattr(export_files, "_row", stop)
        with pytest.raises(Killed):
            export(dataset, tmp_path / "out", options)
    assert not (tmp_path / "out" / "export.json").exists()
    again = export(dataset, tmp_path / "out", options)
    assert again.reused < again.parts
    assert not again.finished_before
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_finished_parts_are_not_written_again(dataset, tmp_path, monkeypatch):
    def fail_at_test(part, report):
        if part.split == "test":
            raise OSError(28, "No space left on device")
        write(part, report)

    with monkeypatch.context() as patch:
        write = export_files.write_part
        patch.setattr("hazegen.export.write_part", fail_at_test)
        with pytest.raises(OSError, match="No space"):
            export(dataset, tmp_path / "out", ITS)
    shards = [shard for shard in manifest.load(dataset).shards if shard.split != "test"]
    picture = next((tmp_path / "out" / "train" / "hazy").iterdir())
    before = picture.stat().st_mtime_ns
    assert export(dataset, tmp_path / "out", ITS).reused == len(shards)
    assert picture.stat().st_mtime_ns == before


def test_run_killed_while_it_wrote_its_plan_is_no_obstacle(dataset, tmp_path):
    """The process ends itself where the plan would get its name: nothing can tidy up after it."""
    out = tmp_path / "out"
    code = (
        "import os, sys; from pathlib import Path; from hazegen import export, stores\n"
        "stores.publish = lambda *_: os._exit(9)\n"
        "export.export(Path(sys.argv[1]), Path(sys.argv[2]), export.ExportOptions('folder-its', workers=1))\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(dataset), str(out)], check=False)
    assert killed.returncode == 9
    (left,) = (out / ".export").iterdir()
    assert re.fullmatch(r"plan\.json\..+\.tmp", left.name)
    assert (out / ".lock").is_file()
    export(dataset, out, ITS)
    export(dataset, tmp_path / "whole", ITS)
    assert files(out) == files(tmp_path / "whole")


@pytest.mark.parametrize("content", ["", "{", "[]", "\x80"])
def test_results_without_a_plan_that_can_be_read_are_not_used(dataset, tmp_path, content):
    work = tmp_path / "out" / ".export"
    work.mkdir(parents=True)
    (work / "plan.json").write_bytes(content.encode("latin-1"))
    (work / "train-000000.json").write_text('{"pairs": 0, "files": {}}')
    (work / "train-000000.csv").write_text("")
    done = export(dataset, tmp_path / "out", ITS)
    assert done.reused == 0
    assert len(table(tmp_path / "out")) == 36


@pytest.mark.parametrize("options", [ITS, TAR], ids=lambda options: options.format)
def test_second_export_in_the_folder_is_refused_while_the_first_works(dataset, tmp_path, monkeypatch, options):
    begun = []
    write = export_files.write_part

    def meanwhile(part, report):
        begun.append(part.name)
        if len(begun) == 1:
            with pytest.raises(RefusedError, match=r"Another run works in"):
                export(dataset, tmp_path / "out", options)
        write(part, report)

    monkeypatch.setattr("hazegen.export.write_part", meanwhile)
    export(dataset, tmp_path / "out", options)
    assert len(begun) == len(set(begun)) >= 3
    monkeypatch.undo()
    export(dataset, tmp_path / "whole", options)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_tar_file_has_its_name_only_when_it_is_whole(dataset, tmp_path, monkeypatch):
    row, seen = export_files._row, []

    def look(*given):
        seen.append({path.name for path in (tmp_path / "out").glob("*.tar")})
        return row(*given)

    monkeypatch.setattr(export_files, "_row", look)
    export(dataset, tmp_path / "out", dataclasses.replace(TAR, split="train", tar_mb=SMALL))
    tars = sorted(path.name for path in (tmp_path / "out").glob("*.tar"))
    assert seen[0] == set()
    assert all(tars[-1] not in there for there in seen)


# --- scenes of different numbers of pairs ---


@pytest.fixture
def uneven(dataset, photos, make_options, load_recipe, tmp_path):
    """Scenes of 1 to 3 pairs: a part of one dataset together with another of 2 variants."""
    make(make_options(photos, tmp_path / "two", limit=3, variants=2, splits="train=1"), load_recipe("aod-released"))
    merge([dataset, tmp_path / "two"], tmp_path / "both", MergeOptions(prefix="a,b", shard_mb=0.05, workers=1))
    sample(tmp_path / "both", tmp_path / "uneven", SampleOptions(pairs=25, shard_mb=0.05, workers=1))
    counts = Counter(values["scene"] for values in stored(tmp_path / "uneven").values())
    assert set(counts.values()) == {1, 2, 3}
    return tmp_path / "uneven"


@pytest.mark.parametrize("options", [ITS, OTS, dataclasses.replace(TAR, tar_mb=SMALL)], ids=lambda o: o.format)
def test_scenes_may_lack_variants(uneven, tmp_path, options):
    done = export(uneven, tmp_path / "out", options)
    pairs, rows = stored(uneven), table(tmp_path / "out")
    assert set(rows) == set(pairs)
    assert {split: counts["pairs"] for split, counts in done.splits.items()} == {
        split: manifest.load(uneven).records_of(split) for split in done.splits
    }
    scenes = {(row["scene"], int(row["id"])) for row in rows.values()}
    assert sorted(number for _, number in scenes) == list(range(1, 1 + len({v["scene"] for v in pairs.values()})))
    for key, row in rows.items() if options.format != "webdataset" else ():
        for name in ("clean", "hazy"):
            assert (tmp_path / "out" / row[name]).read_bytes() == pairs[key][name]
    one = export(uneven, tmp_path / "one", dataclasses.replace(options, split="test"))
    assert one.splits == {"test": done.splits["test"]}
    for key, row in table(tmp_path / "one").items():
        assert row["id"] == rows[key]["id"]


def test_scenes_are_counted_once(uneven, tmp_path, monkeypatch):
    export(uneven, tmp_path / "whole", ITS)
    with monkeypatch.context() as patch:
        patch.setattr("hazegen.export.write_part", lambda *_: (_ for _ in ()).throw(OSError(28, "No space")))
        with pytest.raises(OSError, match="No space"):
            export(uneven, tmp_path / "out", ITS)
    monkeypatch.setattr("hazegen.heads.read_heads", lambda *_: pytest.fail("counted again"))
    export(uneven, tmp_path / "out", ITS)
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert export(uneven, tmp_path / "out", ITS).finished_before


def test_output_inside_of_the_dataset_is_refused(dataset_copy, tmp_path):
    before = files(dataset_copy)
    (tmp_path / "link").symlink_to(dataset_copy)
    for out in (dataset_copy, dataset_copy / "exp", tmp_path / "link" / "exp"):
        with pytest.raises(UsageError, match=r"--out lies in the dataset that is read"):
            export(dataset_copy, out, ITS)
    assert files(dataset_copy) == before


def test_finished_export_is_told_and_left_alone(dataset, tmp_path):
    first = export(dataset, tmp_path / "out", ITS)
    before = files(tmp_path / "out")
    (tmp_path / "out" / ".export").mkdir()  # of a run that was killed at its very end
    again = export(dataset, tmp_path / "out", ITS)
    assert again.finished_before
    assert list(again.splits) == list(first.splits) == ["train", "validation", "test"]
    assert (again.splits, again.files, again.bytes) == (first.splits, first.files, first.bytes)
    assert files(tmp_path / "out") == before
    assert not (tmp_path / "out" / ".export").exists()


@pytest.mark.parametrize("options", [ITS, TAR], ids=lambda options: options.format)
def test_finished_export_that_has_lost_a_file_is_told(dataset, tmp_path, options):
    export(dataset, tmp_path / "out", options)
    next(path for path in (tmp_path / "out").rglob("*") if path.suffix in (".jpg", ".tar")).unlink()
    with pytest.raises(VerifyError, match=r"Expected \d+ files of \d+ bytes as .* received \d+ of"):
        export(dataset, tmp_path / "out", options)


def test_nothing_is_written_outside_of_the_folder(dataset, tmp_path):
    copied = shutil.copytree(dataset, tmp_path / "data")
    before = files(copied)
    export(copied, tmp_path / "out", TAR)
    assert files(copied) == before
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out"}


# --- refused ---


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": "folder-ots"}, "format: folder-its before, folder-ots now"),
        ({"codec": "png"}, "codec: stored before, png now"),
        ({"split": "test"}, "split: None before, test now"),
        ({"format": "webdataset", "tar_mb": 3.0}, "format: folder-its before"),
    ],
)
def test_folder_of_another_export_is_refused(dataset, tmp_path, change, text, finished):
    export(dataset, tmp_path / "out", ITS)
    if not finished:
        (tmp_path / "out" / ".export").mkdir()
        (tmp_path / "out" / "export.json").rename(tmp_path / "out" / ".export" / "plan.json")
    before = files(tmp_path / "out")
    with pytest.raises(RefusedError, match=f"holds another export.*{text}"):
        export(dataset, tmp_path / "out", dataclasses.replace(ITS, **change))
    assert files(tmp_path / "out") == before


def test_folder_of_another_dataset_is_refused(dataset, png_dataset, tmp_path):
    export(dataset, tmp_path / "out", ITS)
    with pytest.raises(RefusedError, match=r"holds another export.*received dataset: [0-9a-f]{64} before"):
        export(png_dataset, tmp_path / "out", ITS)


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "train/gt/1.jpg"])
def test_foreign_folder_is_refused_and_left_as_it_is(dataset, tmp_path, name):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(
        RefusedError, match=r"cannot take the export.*Expected a new or empty folder.*received a folder"
    ):
        export(dataset, tmp_path / "out", ITS)
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == [Path(name).name]


def test_output_that_is_a_file_is_refused(dataset, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(RefusedError, match=r"cannot take the export.*received a file"):
        export(dataset, tmp_path / "out", ITS)


def test_empty_folder_is_taken(dataset, tmp_path):
    (tmp_path / "out").mkdir()
    assert export(dataset, tmp_path / "out", ITS).files == 48


@pytest.mark.parametrize("content", ["", "[]", "{", "\x80"])
def test_mark_that_cannot_be_read_is_refused(dataset, tmp_path, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "export.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(RefusedError, match=r"export.json' cannot be read.*Expected what hazegen export wrote"):
        export(dataset, tmp_path / "out", ITS)


@pytest.mark.parametrize("change", [{"files": 3}, {"files": {"*.jpg": 3}}, {"splits": None}])
def test_mark_with_other_entries_is_refused(dataset, tmp_path, change):
    export(dataset, tmp_path / "out", ITS)
    mark = json.loads((tmp_path / "out" / "export.json").read_text())
    (tmp_path / "out" / "export.json").write_text(json.dumps(mark | change))
    with pytest.raises(RefusedError, match=r"export.json' cannot be read.*received: TypeError|AttributeError"):
        export(dataset, tmp_path / "out", ITS)


@pytest.mark.parametrize("options", [ITS, TAR], ids=lambda options: options.format)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_damaged_shard_is_named_and_nothing_is_marked_finished(dataset_copy, tmp_path, options, share):
    shard = manifest.load(dataset_copy).shards[2]
    data = bytearray((dataset_copy / shard.name).read_bytes())
    data[int(share * (len(data) - 1))] ^= 1
    (dataset_copy / shard.name).write_bytes(data)
    with pytest.raises(VerifyError, match=rf"Shard '{shard.name}' is not what the manifest says. Expected SHA-256"):
        export(dataset_copy, tmp_path / "out", options)
    assert not (tmp_path / "out" / "export.json").exists()


def test_missing_and_cut_shards_are_named_before_anything_is_written(dataset_copy, tmp_path):
    shard = manifest.load(dataset_copy).shards[0]
    (dataset_copy / shard.name).write_bytes((dataset_copy / shard.name).read_bytes()[:-100])
    with pytest.raises(VerifyError, match=f"'{shard.name}'.*Expected {shard.bytes} bytes"):
        export(dataset_copy, tmp_path / "out", ITS)
    (dataset_copy / shard.name).unlink()
    with pytest.raises(VerifyError, match=f"'{shard.name}'.*received no file"):
        export(dataset_copy, tmp_path / "out", ITS)
    assert not (tmp_path / "out").exists()


def repeat_variant(values, others):
    other = next(other for other in others if other["scene"] == values["scene"])
    values.update(variant=other["variant"], key=other["key"])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda values, _: values.update(hazy=b"GIF89a"),
            "has no hazy picture. Expected jpeg, received 6 bytes",
        ),
        (lambda values, _: values.update(clean=b""), "has no clean picture"),
        (lambda values, _: values.update(haze="{"), "Record 0 of shard '.*' cannot be read"),
        (
            lambda values, _: values.update(scene="another"),
            r"Expected 3 records of 1 scenes, received 3 of 2 scenes",
        ),
        (repeat_variant, "Expected each variant of a scene once, received one of them twice"),
    ],
)
def test_records_that_are_no_pairs_are_refused(dataset_copy, tmp_path, change, text):
    forge(dataset_copy, change)
    with pytest.raises(VerifyError, match=text):
        export(dataset_copy, tmp_path / "out", ITS)


def test_picture_that_cannot_be_decoded_is_named(dataset_copy, tmp_path):
    forge(dataset_copy, lambda values, _: values.update(hazy=values["hazy"][:300]))
    with pytest.raises(RefusedError, match=r"'hazy of scene_\d+#\d+' is not a picture that can be read"):
        export(dataset_copy, tmp_path / "out", dataclasses.replace(ITS, codec="png"))


@pytest.mark.parametrize(
    "change",
    [
        {"variants": 2},
        {"variants": 0},
        {"variants": "3"},
        {"splits": {split: {"records": pairs, "scenes": pairs} for split, pairs in PAIRS.items()}},
        {"splits": {split: {"records": 0, "scenes": 0} for split in PAIRS}},
        {"splits": {split: {"records": pairs, "scenes": pairs // 3 - 1} for split, pairs in PAIRS.items()}},
        {"splits": {split: {"records": pairs} for split, pairs in PAIRS.items()}},
    ],
)
def test_manifest_that_contradicts_itself_is_refused(dataset_copy, tmp_path, change):
    known = dataclasses.replace(manifest.load(dataset_copy), **change)
    (dataset_copy / "manifest.json").write_text(known.to_json())
    with pytest.raises(VerifyError, match=r"The manifest contradicts itself. Expected .* records of each scene"):
        export(dataset_copy, tmp_path / "out", ITS)


def test_dataset_without_pairs_is_refused(dataset_copy, tmp_path):
    none = {split: {"records": 0, "scenes": 0} for split in PAIRS}
    known = dataclasses.replace(manifest.load(dataset_copy), shards=(), splits=none)
    (dataset_copy / "manifest.json").write_text(known.to_json())
    with pytest.raises(RefusedError, match=r"is empty. Expected at least one pair, received none"):
        export(dataset_copy, tmp_path / "out", ITS)


def test_what_the_dataset_does_not_have_is_refused(dataset, photos, make_options, load_recipe, tmp_path):
    with pytest.raises(RefusedError, match=r"holds no transmissions. Expected a dataset made with --maps"):
        export(dataset, tmp_path / "out", dataclasses.replace(ITS, maps=True))
    make(make_options(photos, tmp_path / "train", splits="train=1", limit=1), load_recipe("aod-released"))
    with pytest.raises(RefusedError, match="Split 'test' of the dataset is empty"):
        export(tmp_path / "train", tmp_path / "out", dataclasses.replace(ITS, split="test"))
    with pytest.raises(RefusedError, match="is no finished dataset"):
        export(tmp_path, tmp_path / "out", ITS)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tar_mb", [0.0, -1.0, float("inf"), float("nan")])
def test_size_of_tar_files_out_of_range_is_refused(tar_mb):
    with pytest.raises(UsageError, match=f"--tar-mb is out of range. Expected a number above 0, received {tar_mb}"):
        ExportOptions("webdataset", tar_mb=tar_mb)


def test_size_of_tar_files_without_tar_files_is_refused():
    with pytest.raises(UsageError, match=r"--tar-mb belongs to tar files.*beside folder-its"):
        ExportOptions("folder-its", tar_mb=100.0)


@pytest.mark.parametrize("workers", [0, 1025])
def test_number_of_workers_out_of_range_is_refused(workers):
    with pytest.raises(UsageError, match=f"Expected 1 to 1024, received {workers}"):
        ExportOptions("folder-its", workers=workers)


def test_every_option_has_a_sentence_for_its_help():
    from hazegen.config import attribute_texts

    assert set(attribute_texts(ExportOptions)) == {field.name for field in dataclasses.fields(ExportOptions)}


# --- the page ---


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def stand_in_for_torch(monkeypatch):
    """The few names of torch that the page's code imports: datasets alone, no tensors."""
    torch, data, inner = (types.ModuleType(name) for name in ("torch", "torch.utils.data", "torch.utils"))
    torch.from_numpy = lambda array: array  # type: ignore[attr-defined]
    data.Dataset = object  # type: ignore[attr-defined]
    for name, module in (("torch", torch), ("torch.utils", inner), ("torch.utils.data", data)):
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("options", [ITS, OTS], ids=lambda options: options.format)
def test_code_of_the_page_reads_every_pair(dataset, tmp_path, stand_in_for_torch, options):
    code = next(block for block in blocks("python") if "class Pairs" in block)
    scope: dict[str, type] = {}
    exec(compile(code, str(PAGE), "exec"), scope)
    export(dataset, tmp_path / "out", options)
    read = scope["Pairs"](tmp_path / "out", "train")
    assert len(read) == 18
    pairs = stored(dataset, "train")
    for number in range(18):
        hazy, clean, key = read[number]
        assert hazy.shape == clean.shape == (3, 64, 96)
        expected = images.decode(pairs.pop(key)["hazy"], "hazy").transpose(2, 0, 1) / 255.0
        assert (
            np.abs(hazy - expected).max() <= 1.5 / 255.0
        )  # Pillow's and OpenCV's JPEG decoders round alike, or nearly


def test_names_that_the_page_shows_are_those_of_an_export(dataset, tmp_path):
    for options in (ITS, OTS, TAR):
        export(dataset, tmp_path / options.format, options)
        tree = next(block for block in blocks("text") if options.format in block)
        shown = set(re.findall(r"[\w.-]+\.(?:jpg|tar|csv|json)", tree))
        assert {"pairs.csv", "export.json"} <= shown
        pattern = {"folder-its": r"\d+(_\d+_[\d.]+)?\.jpg", "folder-ots": r"\d{4}(_[\d.]+_[\d.]+)?\.jpg"}
        shapes = pattern.get(
            options.format, r"(train|test|validation)-\d{6}\.tar|\d{6}_\d{4}\.(clean\.jpg|hazy\.jpg|json)"
        )
        assert all(re.fullmatch(shapes, name) for name in shown - {"pairs.csv", "export.json"})
        written = {path.name for path in (tmp_path / options.format).rglob("*") if path.is_file()}
        assert all(re.fullmatch(shapes, name) for name in written - {"pairs.csv", "export.json"})


def test_a_tar_file_is_also_read_by_streaming(dataset, tmp_path):
    export(dataset, tmp_path / "out", TAR)
    data = (tmp_path / "out" / "test-000000.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data), mode="r|") as tar:
        assert len([info.name for info in tar]) == 27
