"""Repair: each damage mended bit for bit, or named with what to do; nothing unknown removed."""

import dataclasses
import hashlib
import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from s3_fixtures import Bucket, moto_server

from hazegen import (
    build,
    card,
    cli,
    fingerprints,
    images,
    locks,
    manifest,
    rebuild,
    reconstruct,
    records,
    repair,
    shards,
    store_path,
    stores,
    verify,
)
from hazegen.errors import RefusedError, UsageError, VerifyError
from hazegen.make import make
from hazegen.manifest import INPUTS, MANIFEST, PLAN
from hazegen.rebuild import RepairOptions

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from reliability_faults import FAULTS, without_about

FIRST, SECOND = "train-00000-of-00004.tfrecord", "train-00001-of-00004.tfrecord"
ABOUT = {"license": "CC-BY-4.0", "citation": "@misc{a}", "source": "https://example.org"}


def digests(folder):
    """SHA-256 of each file below a folder."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Photos of which one has no depth map and one a map that is all holes."""
    from conftest import write_photos

    photos = write_photos(tmp_path_factory.mktemp("inputs"), scenes=12, height=48, width=64)
    (photos.images / "lonely.png").write_bytes((photos.images / "scene_000.png").read_bytes())
    holes = np.zeros((48, 64), np.uint16)
    (photos.depth / "scene_005.png").write_bytes(images.encode(holes, ".png"))
    return photos


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory, make_options, load_recipe):
    """A finished dataset of these, to be read only: 11 scenes, 2 variants, 7 shards or so."""
    out = tmp_path_factory.mktemp("whole") / "pairs"
    options = make_options(
        inputs, out, camera=inputs.camera, shard_mb=0.01, splits="train=0.6,validation=0.2,test=0.2", max_rejected=1.0
    )
    make(options, load_recipe("aod-released", path="ray"), ABOUT)
    return out


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "pairs"))


@pytest.fixture
def given(inputs):
    """Options of a repair that has all inputs."""
    return RepairOptions(images=inputs.images, depth=inputs.depth, camera=inputs.camera, workers=1)


@pytest.fixture
def moved(inputs, given, tmp_path):
    """The same with copies of the inputs that a test may change."""
    root = Path(shutil.copytree(inputs.images.parent, tmp_path / "inputs"))
    return dataclasses.replace(given, images=root / "images", depth=root / "depth", camera=root / "camera")


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def told(steps, *, done):
    return {step.name: step.what for step in steps if step.done == done}


def test_sound_dataset_is_left_alone(copy, whole):
    assert len(shards.listing(copy)) > 10
    assert repair.repair(copy, RepairOptions()) == []
    assert digests(copy) == digests(whole)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.kind for fault in FAULTS])
def test_fault_is_found_and_mended_or_named(copy, whole, given, fault):
    name = fault.damage(copy, np.random.default_rng(1))
    before = digests(copy)
    with pytest.raises(VerifyError, match=name.replace("(", ".").replace(")", ".")):
        cli_verify(copy)
    steps = repair.repair(copy, given)
    left = told(steps, done=False)
    if fault.result in ("named", "either") and left:
        assert list(left) == [name]
        assert digests(copy) == before
    elif fault.result == "about":
        assert not left
        assert without_about(copy) == without_about(whole)
    else:
        assert not left
        assert digests(copy) == digests(whole)
    if not left:
        assert verify.verify(copy, 1).problems() == []


def cli_verify(folder):
    """As the command does: all that is wrong is one error."""
    if problems := verify.verify(folder, 1, quick=True).problems():
        raise VerifyError("; ".join(problems))


def test_table_of_inputs_comes_back_where_its_lost_rows_are_in_the_plan(copy, whole, given):
    text = (copy / INPUTS).read_text()
    assert "no-depth" in text
    (copy / INPUTS).write_text(text.replace("used", "unused"))
    assert told(repair.repair(copy, given), done=True) == {INPUTS: "written again from plan.jsonl and the inputs"}
    assert digests(copy) == digests(whole)


def test_several_damages_are_mended_at_once(copy, whole, given):
    for name in (FIRST, SECOND):
        flip(copy / name)
    (copy / "test-00000-of-00001.tfrecord.12-0a1b2c3d-3.tmp").touch()
    (copy / shards.WORK).mkdir()
    (copy / shards.WORK / "x.json").touch()
    (copy / PLAN).unlink()
    for name in card.FILES:
        (copy / name).unlink()
    steps = repair.repair(copy, given)
    assert all(step.done for step in steps)
    assert {step.name for step in steps} == {
        FIRST, SECOND, "test-00000-of-00001.tfrecord.12-0a1b2c3d-3.tmp", shards.WORK, PLAN, *card.FILES,
    }  # fmt: skip
    assert digests(copy) == digests(whole)
    assert not (copy / shards.WORK).exists()


def test_without_inputs_the_command_that_needs_them_is_told(copy):
    flip(copy / FIRST)
    before = digests(copy)
    left = told(repair.repair(copy, RepairOptions()), done=False)
    assert list(left) == [FIRST]
    assert "is damaged at record" in left[FIRST]
    assert f"hazegen repair {copy} --images IMAGES --depth DEPTH --camera CAMERA" in left[FIRST]
    assert digests(copy) == before


@pytest.mark.parametrize("option", ["depth", "camera"])
def test_option_that_the_plan_needs_is_asked_for(copy, given, option):
    flip(copy / FIRST)
    with pytest.raises(UsageError, match=rf"Expected .*received none. Add (--{option}|it)"):
        repair.repair(copy, dataclasses.replace(given, **{option: None}))


def test_options_without_images_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"--depth is of no use alone. Expected --images beside it, received none"):
        RepairOptions(depth=tmp_path)
    with pytest.raises(UsageError, match=r"--images '.*gone' is not there. Expected the photos"):
        RepairOptions(images=tmp_path / "gone")
    with pytest.raises(UsageError, match=r"number of workers is out of range"):
        RepairOptions(workers=0)


# --- inputs and versions that are no longer the same ---


def scene_of(folder, name):
    """Key of the first scene of a shard."""
    _, plans = shards.read_plan(folder)
    return next(plan for plan in plans if plan.name == name).scenes[0].key


@pytest.mark.parametrize("kind", ["images", "depth", "camera"])
def test_changed_input_is_named_and_the_shard_left_as_it_was(copy, moved, kind):
    flip(copy / FIRST)
    before = digests(copy)
    key = scene_of(copy, FIRST)
    path = getattr(moved, kind) / f"{key}.{'json' if kind == 'camera' else 'png'}"
    if kind == "camera":
        path.write_text(json.dumps(json.loads(path.read_text()) | {"fx": 99.0}))
    else:
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        path.write_bytes(cv2.imencode(".png", pixels[::-1])[1].tobytes())
    left = told(repair.repair(copy, moved), done=False)
    assert list(left) == [FIRST]
    what = {"images": "image", "depth": "depth", "camera": "camera"}[kind]
    assert f"the {what} file of scene '{key}'" in left[FIRST]
    assert digests(copy) == before


def test_input_that_is_gone_is_named(copy, moved):
    flip(copy / FIRST)
    key = scene_of(copy, FIRST)
    (moved.images / f"{key}.png").unlink()
    left = told(repair.repair(copy, moved), done=False)
    assert f"scene '{key}' was used and is now rejected" in left[FIRST]


def test_other_versions_are_refused_unless_accepted(copy, whole, given, monkeypatch):
    flip(copy / FIRST)
    now = fingerprints.versions() | {"opencv": "4.0.0"}
    monkeypatch.setattr(rebuild, "versions", lambda: now)
    left = told(repair.repair(copy, given), done=False)
    assert "made with other versions, which may give other bytes (opencv: " in left[FIRST]
    assert "4.0.0 now). Install them, or pass --accept-versions to try" in left[FIRST]
    assert told(repair.repair(copy, dataclasses.replace(given, accept_versions=True)), done=False) == {}
    assert digests(copy) == digests(whole)


def test_shard_that_comes_out_otherwise_is_not_used(copy, given, monkeypatch):
    flip(copy / FIRST)
    before = digests(copy)
    build = rebuild.build.build_shard

    def other(task, report):
        built = build(task, report)
        return dataclasses.replace(built, shard=dataclasses.replace(built.shard, sha256="0" * 64))

    monkeypatch.setattr(rebuild.build, "build_shard", other)
    left = told(repair.repair(copy, given), done=False)
    assert "built again it has other bytes (SHA-256 000000000000..., expected " in left[FIRST]
    assert "though its inputs have the digests of inputs.csv. Versions that differ: none" in left[FIRST]
    assert digests(copy) == before


# --- the manifest ---


def test_missing_manifest_is_told_again_without_what_cannot_be_known(copy, whole):
    (copy / MANIFEST).unlink()
    done = told(repair.repair(copy, RepairOptions()), done=True)
    assert "licence, citation and source are not known: state them with hazegen card" in done[MANIFEST]
    assert without_about(copy) == without_about(whole)
    assert manifest.load(copy).about == manifest.About()
    assert cli.main(["card", str(copy), *(f"--{name}={text}" for name, text in ABOUT.items())]) == 0
    assert digests(copy) == digests(whole)


def test_edited_manifest_keeps_its_licence_where_its_digest_proves_it(copy, whole):
    content = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(content | {"seed": 8}))
    assert told(repair.repair(copy, RepairOptions()), done=True) == {MANIFEST: "written again, as its digest proves"}
    assert digests(copy) == digests(whole)


def test_manifest_that_another_program_laid_out_is_written_again(copy, whole):
    (copy / MANIFEST).write_text(json.dumps(json.loads((copy / MANIFEST).read_text())))
    assert manifest.load(copy) == manifest.load(whole)
    with pytest.raises(VerifyError, match=r"was written by another program. Expected the bytes that hazegen"):
        verify.verify(copy, 1)
    repair.repair(copy, RepairOptions())
    assert digests(copy) == digests(whole)


def test_manifest_and_shard_damaged_are_both_mended(copy, whole, given):
    content = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(content | {"seed": 8}))
    flip(copy / FIRST)
    left = told(repair.repair(copy, RepairOptions()), done=False)
    assert "To build it again: hazegen repair" in left[FIRST]
    assert "written again when all shards are sound" in left[MANIFEST]
    assert all(step.done for step in repair.repair(copy, given))
    assert digests(copy) == digests(whole)


def test_lost_manifest_vouches_for_no_shard_with_other_pairs(copy, given, whole):
    (copy / MANIFEST).unlink()
    all_ = list(records.read_shard(copy / FIRST))
    shards.write_shard(copy / FIRST, all_[::-1])
    left = told(repair.repair(copy, RepairOptions()), done=False)
    assert f"expected the {len(all_)} pairs of the plan in their order" in left[FIRST]
    assert all(step.done for step in repair.repair(copy, given))
    assert without_about(copy) == without_about(whole)


def test_unfinished_dataset_is_for_make(copy):
    (copy / MANIFEST).unlink()
    (copy / shards.WORK).mkdir()
    left = told(repair.repair(copy, RepairOptions()), done=False)
    assert "was not finished. Expected inputs.csv and no .work beside plan.jsonl" in left[MANIFEST]
    assert (copy / shards.WORK).is_dir()


def test_manifest_and_table_both_lost_are_told(copy, given):
    (copy / MANIFEST).unlink()
    (copy / INPUTS).unlink()
    left = told(repair.repair(copy, given), done=False)
    assert "Give the same hazegen make again" in left[MANIFEST]


def test_manifest_and_plan_both_lost_are_told(copy, given):
    (copy / MANIFEST).write_text("{")
    (copy / PLAN).write_text("{")
    left = told(repair.repair(copy, given), done=False)
    assert "It cannot be told from the rest either: '" in left[MANIFEST]
    assert "hazegen repair" not in left[MANIFEST]
    assert "with a new --out or after deleting this folder" in left[MANIFEST]


# --- names ---


def test_exchanged_and_renamed_shards_get_their_names_without_inputs(copy, whole):
    (copy / FIRST).rename(copy / "aside")
    (copy / SECOND).rename(copy / FIRST)
    (copy / "aside").rename(copy / SECOND)
    test = next(copy.glob("test-*")).name
    (copy / test).rename(copy / "copy of test.tfrecord")
    done = told(repair.repair(copy, RepairOptions()), done=True)
    assert done == {
        FIRST: f"renamed from {SECOND}",
        SECOND: f"renamed from {FIRST}",
        test: "renamed from copy of test.tfrecord",
    }
    assert digests(copy) == digests(whole)


def test_repair_that_was_killed_between_two_renames_is_gone_on_with(copy, whole, monkeypatch):
    (copy / FIRST).rename(copy / "aside")
    (copy / SECOND).rename(copy / FIRST)
    (copy / "aside").rename(copy / SECOND)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(stores, "publish", killed)
    with pytest.raises(KeyboardInterrupt):
        repair.repair(copy, RepairOptions())
    monkeypatch.undo()
    assert not (copy / FIRST).exists()
    assert all(step.done for step in repair.repair(copy, RepairOptions()))
    assert digests(copy) == digests(whole)


def test_unknown_files_are_named_and_never_removed(copy, whole, given):
    (copy / "notes.txt").write_text("mine")
    shutil.copy(copy / FIRST, copy / "x.tfrecord")
    (copy / "photos").mkdir()
    left = told(repair.repair(copy, given), done=False)
    assert left == dict.fromkeys(["notes.txt", "photos", "x.tfrecord"], "no part of the dataset: move it elsewhere")
    assert (copy / "notes.txt").read_text() == "mine"
    assert digests(copy) == digests(whole) | digests(copy)


def test_folder_in_the_place_of_a_shard_is_named(copy, given):
    (copy / FIRST).unlink()
    (copy / FIRST).mkdir()
    left = told(repair.repair(copy, given), done=False)
    assert left == {FIRST: "a folder stands in its place: move it elsewhere"}


# --- datasets of other kinds ---


@pytest.mark.parametrize(
    "options",
    [{"variants": 40}, {"codec": "png", "maps": True, "variants": 1}, {"flat_depth": 30.0, "depth": None}],
    ids=["a part of a grid", "maps", "flat"],
)
def test_other_datasets_are_mended_too(photos, make_options, load_recipe, tmp_path, options):
    changes = {"camera": None, "shard_mb": 0.05, **options}
    if "flat_depth" in changes:
        changes |= {"depth_scale": None}
    recipe = load_recipe("reside-its") if options.get("variants") == 40 else load_recipe("aod-released")
    if options.get("variants") == 40:
        changes["variants"] = 5
    out = tmp_path / "out"
    make(make_options(photos, out, limit=4, **changes), recipe)
    whole = digests(out)
    given = RepairOptions(images=photos.images, depth=changes.get("depth", photos.depth), workers=1)
    (out / MANIFEST).unlink()
    flip(next(out.glob("*.tfrecord")))
    assert all(step.done for step in repair.repair(out, given))
    assert digests(out) == whole
    (out / PLAN).unlink()
    next(out.glob("*.tfrecord")).unlink()
    assert all(step.done for step in repair.repair(out, given))
    assert digests(out) == whole


def test_derived_dataset_is_for_the_command_that_made_it(copy):
    (copy / PLAN).write_text(json.dumps({"derived": "sample", "options": {}, "sources": []}) + "\n")
    known = manifest.write(copy, manifest.load(copy))
    flip(copy / FIRST)
    left = told(repair.repair(copy, RepairOptions()), done=False)
    assert "received that of hazegen sample. Give the command that made the dataset again" in left[FIRST]
    stores.write_text(copy / MANIFEST, [known.to_json().replace('"seed": 0', '"seed": 1')])
    left = told(repair.repair(copy, RepairOptions()), done=False)
    assert "received that of hazegen sample" in left[MANIFEST]


def test_dataset_in_a_store_is_mended_there(whole, given, monkeypatch):
    with moto_server() as server:
        bucket = Bucket(server)
        for name, value in bucket.environment.items():
            monkeypatch.setenv(name, value)
        store_path.forget_clients()
        folder = bucket.put(whole, "pairs")
        before = bucket.content("pairs")
        (folder / FIRST).write_bytes(before[FIRST][:-9])
        (folder / SECOND).unlink()
        (folder / PLAN).write_bytes(b"")
        (folder / card.README).unlink()
        assert all(step.done for step in repair.repair(folder, given))
        assert bucket.content("pairs") == before
        (folder / MANIFEST).write_bytes(before[MANIFEST].replace(b'"seed": 0', b'"seed": 1'))
        assert all(step.done for step in repair.repair(folder, given))
        assert bucket.content("pairs") == before
        bucket.proxy.stop()
    store_path.forget_clients()


# --- the command ---


def test_dry_run_changes_nothing_and_says_the_same(copy, given):
    flip(copy / FIRST)
    (copy / "x.1-0a1b2c3d-0.tmp").touch()
    (copy / card.README).unlink()
    before = digests(copy)
    dry = repair.repair(copy, dataclasses.replace(given, dry_run=True))
    assert digests(copy) == before
    assert not (copy / ".repair").exists()
    assert dry == repair.repair(copy, given)


def test_no_dataset_is_refused(tmp_path):
    (tmp_path / "x.txt").touch()
    with pytest.raises(RefusedError, match=r"is no dataset. Expected a manifest.json or a plan.jsonl in it"):
        repair.repair(tmp_path, RepairOptions())
    with pytest.raises(RefusedError, match=r"is no dataset"):
        repair.repair(tmp_path / "gone", RepairOptions())
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]


def test_dataset_that_a_run_works_on_is_refused(copy):
    with locks.lock(copy), pytest.raises(RefusedError, match="Another run works in"):
        repair.repair(copy, RepairOptions())


def test_command_prints_what_it_did_and_exits_accordingly(copy, inputs, whole, capsys):
    flip(copy / FIRST)
    assert cli.main(["repair", str(copy)]) == 5
    printed = capsys.readouterr()
    assert f"{FIRST}: NOT MENDED: " in printed.out
    assert "is not whole. Expected every file to be mended, received 1 that are not: train-00000" in printed.err
    folders = ["--images", str(inputs.images), "--depth", str(inputs.depth), "--camera", str(inputs.camera)]
    assert cli.main(["repair", str(copy), *folders, "--dry-run"]) == 0
    assert "Nothing was changed; the same command without --dry-run does it." in capsys.readouterr().out
    assert cli.main(["repair", str(copy), *folders]) == 0
    printed = capsys.readouterr().out
    assert f"{FIRST}: built again" in printed
    assert f"next: hazegen verify {copy}" in printed
    assert cli.main(["repair", str(copy)]) == 0
    assert "Nothing to do: " in capsys.readouterr().out
    assert digests(copy) == digests(whole)


# --- what a plan or a manifest may not make repair do ---


def rename_in_plan(folder, old, new):
    text = (folder / PLAN).read_text()
    (folder / PLAN).write_text(text.replace(json.dumps(old), json.dumps(new)))


@pytest.mark.parametrize(
    "name", ["../precious.tfrecord", "/tmp/x.tfrecord", ".lock", "manifest.json", "other-0.tfrecord"]
)
def test_plan_that_names_files_elsewhere_is_refused(copy, given, name):
    precious = copy.parent / "precious.tfrecord"
    precious.write_bytes(b"mine")
    (copy / MANIFEST).unlink()
    rename_in_plan(copy, FIRST, name)
    before = digests(copy)
    left = told(repair.repair(copy, given), done=False)
    assert "a shard of the name" in left[MANIFEST]
    assert digests(copy) == before
    assert precious.read_bytes() == b"mine"


def test_plan_that_claims_more_pairs_than_its_shards_can_hold_ends_at_once(copy, monkeypatch):
    (copy / MANIFEST).unlink()
    text = (copy / PLAN).read_text()
    (copy / PLAN).write_text(text.replace('"variants": 2,', '"variants": 300000000,', 1))
    assert json.loads((copy / PLAN).read_text().splitlines()[0])["variants"] == 300000000
    monkeypatch.setattr(reconstruct.sampling, "draw_variants", lambda *given: pytest.fail("keys were drawn"))
    left = told(repair.repair(copy, RepairOptions()), done=False)
    assert "which cannot hold them" in left[FIRST]


@pytest.mark.parametrize("sealed", [True, False])
def test_sound_manifest_of_another_schema_version_is_left_alone(copy, sealed):
    content = json.loads((copy / MANIFEST).read_text()) | {"schema_version": 2}
    del content[manifest.SEAL]
    if sealed:
        content[manifest.SEAL] = manifest.seal(content)
    (copy / MANIFEST).write_text(json.dumps(content))
    before = digests(copy)
    with pytest.raises(RefusedError, match=r"another schema version. Expected 3, received 2"):
        repair.repair(copy, RepairOptions())
    assert digests(copy) == before


def test_licence_that_nothing_proves_is_told_before_it_is_written_over(copy):
    content = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(content | {manifest.SEAL: "0" * 64}))
    done = told(repair.repair(copy, RepairOptions()), done=True)
    assert (
        "(what lay there said --license CC-BY-4.0 --citation '@misc{a}' --source https://example.org)" in done[MANIFEST]
    )


def test_files_and_folders_of_the_user_named_tmp_are_left_alone(copy, given):
    (copy / "notes.tmp").write_text("mine")
    (copy / "x.1-0a1b2c3d-0.tmp").mkdir()
    left = told(repair.repair(copy, given), done=False)
    assert set(left) == {"notes.tmp", "x.1-0a1b2c3d-0.tmp"}
    assert (copy / "notes.tmp").read_text() == "mine"
    assert (copy / "x.1-0a1b2c3d-0.tmp").is_dir()


def test_manifest_told_again_names_the_versions_that_shards_were_built_with(copy, given, monkeypatch):
    ours = fingerprints.versions()
    flip(copy / FIRST)
    (copy / MANIFEST).unlink()
    now = ours | {"opencv": "4.0.0"}
    for module in (rebuild, repair, build):
        monkeypatch.setattr(module, "versions", lambda: now)
    assert all(step.done for step in repair.repair(copy, dataclasses.replace(given, accept_versions=True)))
    known = manifest.load(copy)
    assert (known.versions, known.also_made_with) == (ours, (now,))


def test_table_with_a_unit_that_is_no_number_tells_no_manifest(copy):
    (copy / MANIFEST).unlink()
    text = (copy / INPUTS).read_text()
    assert ",plane,0.001," in text
    (copy / INPUTS).write_text(text.replace(",plane,0.001,", ",plane,a millimetre,", 1))
    left = told(repair.repair(copy, RepairOptions()), done=False)
    assert "Expected its columns and numbers, received ValueError" in left[MANIFEST]


def test_options_are_held_against_the_dataset_before_anything_is_touched(copy, given):
    (copy / FIRST).rename(copy / "aside")
    (copy / SECOND).rename(copy / FIRST)
    (copy / "aside").rename(copy / SECOND)
    (copy / f"{FIRST}.1-0a1b2c3d-0.tmp").touch()
    before = digests(copy)
    with pytest.raises(UsageError, match=r"The plan was made with --camera. Expected the same again, received none"):
        repair.repair(copy, dataclasses.replace(given, camera=None))
    assert digests(copy) == before


@pytest.mark.parametrize("plan", [True, False])
def test_damaged_table_of_a_derived_dataset_is_for_its_own_command(copy, given, plan):
    known = manifest.load(copy)
    if plan:
        (copy / PLAN).write_text(json.dumps({"derived": "split", "options": {}, "sources": []}) + "\n")
    manifest.write(copy, dataclasses.replace(known, sources=({"digest": "0"},)))
    (copy / INPUTS).write_text("")
    if not plan:
        (copy / PLAN).write_text("{")
    left = told(repair.repair(copy, RepairOptions()), done=False)
    verb = "split" if plan else "split, merge or sample"
    assert f"give the hazegen {verb} that made it again, with --out NEW" in left[INPUTS]
    assert "the hazegen make" not in left[INPUTS]


def test_plan_with_scenes_that_were_all_rejected_in_a_split_comes_back(inputs, make_options, load_recipe, tmp_path):
    split_file = tmp_path / "splits.csv"
    keys = [path.stem for path in sorted(inputs.images.iterdir()) if path.stem != "lonely"]
    rows = [f"{key},{'test' if key == 'scene_005' else 'train'}" for key in keys]
    split_file.write_text("\n".join(["key,split", *rows]) + "\n")
    out = tmp_path / "out"
    make(make_options(inputs, out, split_file=split_file, max_rejected=1.0), load_recipe("aod-released"))
    before = digests(out)
    (out / PLAN).unlink()
    assert told(repair.repair(out, RepairOptions()), done=True) == {
        PLAN: "written again from manifest.json and inputs.csv"
    }
    assert digests(out) == before


def test_what_is_said_to_be_removed_from_a_store_is_removed(whole):
    with moto_server() as server, pytest.MonkeyPatch.context() as patch:
        bucket = Bucket(server)
        for name, value in bucket.environment.items():
            patch.setenv(name, value)
        store_path.forget_clients()
        folder = bucket.put(whole, "pairs")
        before = bucket.content("pairs")
        left = {f"{FIRST}.1-0a1b2c3d-0.tmp", ".pull/x", ".work/again/y"}
        for name in left:
            (folder / name).write_bytes(b"x")
        done = told(repair.repair(folder, RepairOptions()), done=True)
        assert done == dict.fromkeys([f"{FIRST}.1-0a1b2c3d-0.tmp", ".pull", ".work"], "removed")
        assert bucket.content("pairs") == before
        bucket.proxy.stop()
    store_path.forget_clients()
