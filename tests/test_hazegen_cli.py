"""The command hazegen as a user meets it: exit statuses, messages, help."""

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import aodnet.cli
import hazegen.cli
from hazegen import fingerprints, images, manifest, verbs
from hazegen.depth.network import ModelOptions
from hazegen.errors import HazegenError, RefusedError, UsageError, VerifyError
from hazegen.make_options import MakeOptions
from hazegen.manifest import About
from hazegen.recipe import Draw, Recipe

COMMANDS = {
    "hazegen": (
        *("samples", "recipes", "inspect", "make", "verify", "repair", "info", "preview", "split", "merge", "sample"),
        *("export", "audit", "publish", "pull", "card"),
    ),
    "aodnet": ("fit", "evaluate", "predict", "import-weights"),
}
MAINS = {"hazegen": hazegen.cli.main, "aodnet": aodnet.cli.main}


def make_argv(photos, out, *more):
    argv = ["make", "--images", photos.images, "--depth", photos.depth, "--out", out, "--depth-scale", "0.001"]
    return [str(part) for part in (*argv, "--workers", "1", "--variants", "2", *more)]


@pytest.fixture
def run(capsys):
    """run(argv): exit status, stdout and stderr of the command in this process."""

    def call(argv):
        try:
            status = hazegen.cli.main([str(part) for part in argv])
        except SystemExit as end:  # argparse's own way out
            status = end.code
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return status, printed.out, printed.err

    return call


# --- what goes well ---


def test_make_verify_and_preview_end_with_0_and_say_what_is_next(run, photos, tmp_path):
    out = tmp_path / "pairs"
    status, printed, error = run(make_argv(photos, out))
    assert (status, error) == (0, "")
    assert f"16 pairs of 8 scenes in '{out}': 3 shards" in printed
    assert "inputs: 8 found = 8 used + 0 rejected" in printed
    assert printed.splitlines()[-1].startswith(f"next: hazegen preview {out} --out preview.png")
    status, printed, error = run(["verify", out, "--workers", "1"])
    assert (status, error) == (0, "")
    assert printed.splitlines()[-1] == "all 3 shards and 16 pairs are as the manifest says."
    assert sum(line.endswith("  ok") for line in printed.splitlines()) == 3
    assert run(["preview", out, "--out", tmp_path / "p.png", "--pairs", "4"])[:2] == (
        0,
        f"4 pairs in '{tmp_path / 'p.png'}'.\n",
    )


def test_make_again_says_that_there_is_nothing_to_do(run, photos, tmp_path):
    run(make_argv(photos, tmp_path / "out"))
    status, printed, _ = run(make_argv(photos, tmp_path / "out"))
    assert status == 0
    assert printed.startswith(f"Nothing to do: '{tmp_path / 'out'}' is finished.")


def test_make_again_says_what_it_wrote_anew(run, photos, tmp_path):
    argv = make_argv(photos, tmp_path / "out")
    assert "recipe aod-released, licence not stated (--license)." in run(argv)[1]
    status, printed, _ = run([*argv, "--license", "MIT", "--citation", "Doe (2020)"])
    assert status == 0
    assert printed.startswith(f"'{tmp_path / 'out'}' was finished; written anew: license, citation.\n")
    assert "recipe aod-released, licence MIT." in printed
    (tmp_path / "out" / "README.md").unlink()
    assert run(argv)[1].startswith(f"'{tmp_path / 'out'}' was finished; written anew: card.\n")
    assert run(argv)[1].startswith("Nothing to do")


def test_card_is_written_again_with_what_is_given(run, dataset_copy):
    status, printed, error = run(["card", dataset_copy, "--license", "CC-BY-4.0", "--citation", "Doe,\n2020"])
    assert (status, error) == (0, "")
    assert printed.splitlines() == [
        f"README.md, croissant.json, preview.jpg, card.html in '{dataset_copy}'; changed in the manifest: "
        "license, citation.",
        "  license    CC-BY-4.0",
        "  citation   Doe, 2020",
        "  source     not stated: pass --source",
    ]
    assert "changed in the manifest: nothing." in run(["card", dataset_copy])[1]
    assert manifest.load(dataset_copy).about == About("CC-BY-4.0", "Doe,\n2020")
    status, _, error = run(["card", dataset_copy, "--source", "https://a:hunter2@b"])
    assert status == 2
    assert "A URL in --source names a user" in error
    assert "hunter2" not in error


def test_dataset_is_looked_at_split_sampled_and_merged(run, dataset, tmp_path):
    status, printed, error = run(["info", dataset])
    assert (status, error) == (0, "")
    assert printed.splitlines()[0].startswith("pairs       36 of 12 scenes, ")
    assert printed.splitlines()[-1] == "from all 36 pairs"
    assert json.loads(run(["info", dataset, "--json"])[1])["recipe"]["name"] == "aod-released"
    argv = ["split", dataset, "--out", tmp_path / "halves", "--splits", "train=0.5,test=0.5", "--workers", "1"]
    status, printed, error = run([*argv, "--seed", "4", "--group-by", "(scene_.*)", "--shard-mb", "0.05"])
    assert (status, error) == (0, "")
    assert printed.startswith(f"36 pairs of 12 scenes in '{tmp_path / 'halves'}': ")
    assert "  train             6 scenes        18 pairs\n" in printed
    status, printed, error = run([*argv, "--seed", "4", "--group-by", "(scene_.*)", "--shard-mb", "0.05"])
    assert (status, printed.splitlines()[0]) == (0, f"Nothing to do: '{tmp_path / 'halves'}' is finished.")
    status, _, error = run(argv)
    assert (status, "received another group_by: (scene_.*) before, None now" in error) == (3, True)
    argv = ["sample", dataset, "--out", tmp_path / "few", "--mean-transmission", "0.1,0.9", "--visibility-m", "1,500"]
    status, printed, error = run([*argv, "--pairs", "5", "--split", "train", "--seed", "1", "--workers", "2"])
    assert (status, error, printed.split(" of ")[0]) == (0, "", "5 pairs")
    argv = ["merge", dataset, tmp_path / "few", "--out", tmp_path / "both"]
    status, _, error = run(argv)
    assert (status, "Pass --prefix NAME,NAME" in error or "pass --prefix NAME,NAME" in error) == (3, True)
    status, printed, error = run([*argv, "--prefix", "all,few", "--workers", "1"])
    assert (status, error, printed.split(" of ")[0]) == (0, "", "41 pairs")
    assert printed.splitlines()[-1].startswith(f"next: hazegen info {tmp_path / 'both'}, then: aodnet fit --data ")
    assert run(["verify", tmp_path / "both"])[0] == 0


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["split", "{data}", "--out", "{out}", "--splits", "train=0.5"], 2, "The splits cannot be read"),
        (["split", "{data}", "--out", "{out}", "--group-by", "("], 2, "--group-by does not name a group"),
        (["split", "{data}", "--out", "{out}", "--split-file", "{out}"], 2, "cannot be used. Expected CSV"),
        (["split", "{out}", "--out", "{out}"], 3, "is no finished dataset"),
        (["sample", "{data}", "--out", "{out}"], 2, "Nobody says what is taken"),
        (["sample", "{data}", "--out", "{out}", "--pairs", "x"], 2, "pairs cannot be used. Expected N"),
        (["sample", "{data}", "--out", "{out}", "--visibility-m", "5"], 2, "--visibility-m cannot be used"),
        (["sample", "{data}", "--out", "{out}", "--scenes", "99"], 3, "There are not so many"),
        (["merge", "{data}", "--out", "{out}"], 2, "There is nothing to merge"),
        (["info", "{out}"], 3, "is no finished dataset"),
        (["info", "ftp://x"], 2, "is no store that can be used"),
        (["merge", "{data}", "ftp://x", "--out", "{out}"], 2, "is no store that can be used"),
        (["sample", "{data}", "--out", "ftp://x", "--pairs", "1"], 2, "is no store that can be used"),
        (["export", "{data}", "--out", "s3://x/y", "--format", "webdataset"], 2, "--out has to lie on a disk"),
    ],
)
def test_mistakes_with_finished_datasets_are_refused(run, dataset, tmp_path, words, status, message):
    argv = [word.format(data=dataset, out=tmp_path / "out") for word in words]
    received, _, error = run(argv)
    assert (received, message in error) == (status, True), error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("beta", "warning"), [("1e-4", "There is hardly any haze"), ("5", "Little is left of")])
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_haze_that_teaches_nothing_is_warned_of(run, photos, tmp_path, beta, warning, more):
    argv = make_argv(photos, tmp_path / "out", "--recipe.sweep", "random", "--recipe.beta", beta, *more)
    status, printed, error = run(argv)
    assert status == 0
    assert error.startswith(f"warning: {warning}")
    assert "haze" in printed


def test_dry_run_counts_and_writes_nothing(run, photos, tmp_path):
    status, printed, error = run(make_argv(photos, tmp_path / "out", "--dry-run"))
    assert (status, error) == (0, "")
    assert "8 found, 0 rejected" in printed
    assert "16 pairs in 3 shards" in printed
    assert not (tmp_path / "out").exists()


def test_dry_run_says_which_scenes_would_be_rejected(run, photos, tmp_path):
    argv = make_argv(photos, tmp_path / "out", "--dry-run")
    argv[argv.index("--depth-scale") : argv.index("--depth-scale") + 2] = []
    status, printed, _ = run(argv)
    assert status == 3
    assert "integers of an unknown unit" in printed
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("program", sorted(MAINS))
def test_version_is_the_distributions(program, capsys):
    assert MAINS[program](["--version"]) == 0
    expected = fingerprints.versions()["hazegen"]
    assert capsys.readouterr().out == f"{program} {expected}\n"


# --- what a user may get wrong ---


def cut_jpeg(photos):
    data = images.encode(images.read_picture(photos.images / "scene_001.png"), ".jpg")
    (photos.images / "scene_001.png").unlink()
    (photos.images / "scene_001.jpg").write_bytes(data[: len(data) // 2])


def cut_depth_size(photos):
    depth = images.read_picture(photos.depth / "scene_001.png")
    (photos.depth / "scene_001.png").write_bytes(images.encode(depth[:40], ".png"))


def cut_depth_bits(photos):
    depth = images.read_picture(photos.depth / "scene_001.png")
    (photos.depth / "scene_001.png").write_bytes(images.encode((depth // 256).astype("uint8"), ".png"))


def camera_with_text(photos):
    path = photos.camera / "scene_001.json"
    content = json.loads(path.read_text())
    content["depth"]["unit_m"] = "0.001"
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "more", "message"),
    [
        (
            lambda p: (p.depth / "scene_001.png").unlink(),
            [],
            "Image 'scene_001.png' has no depth map. Expected a depth",
        ),
        (lambda p: (p.images / "scene_001.png").unlink(), [], "Depth map 'scene_001.png' has no image. Expected an"),
        (cut_depth_size, [], "Expected equal height and width, received image (64, 96) and depth (40, 96). Pass --fit"),
        (cut_depth_bits, [], "Expected 16 bits at 0.001 m per unit, received 8 bits, which reach 0.255 m"),
        (cut_jpeg, [], "'scene_001.jpg' cannot be decoded. Expected a complete picture, received"),
        (lambda p: (p.images / "scene_001.png").write_text("hello\n"), [], "is not a picture that can be read. Expect"),
        (lambda p: (p.images / "scene_001.png").write_bytes(b""), [], "received an empty file"),
        (lambda p: shutil.copy(p.images / "scene_001.png", p.images / "scene_001.bmp"), [], "names several files"),
        (camera_with_text, ["--camera", "CAMERA"], "xpected"),
        (lambda p: (p.camera / "scene_001.json").unlink(), ["--camera", "CAMERA"], "scene_001.json' is not a file"),
    ],
    ids=["no depth", "no image", "size", "8 bits", "truncated", "text", "empty", "duplicate", "camera", "no camera"],
)
def test_one_bad_input_is_said_and_the_other_scenes_are_made(run, make_photos, tmp_path, spoil, more, message):
    photos = make_photos(scenes=4)
    spoil(photos)
    more = [str(photos.camera) if part == "CAMERA" else part for part in more]
    argv = make_argv(photos, tmp_path / "out", *more)
    if more:
        argv.remove("--depth-scale")
        argv.remove("0.001")
    status, printed, error = run(argv)
    assert status == 3
    assert "error: 1 of 4 inputs were rejected. Expected at most 0.0%; first reason: " in error
    assert message in error
    assert "The dataset is finished without them." in error
    assert "4 found = 3 used + 1 rejected" in printed
    assert run(["verify", tmp_path / "out", "--workers", "1"])[0] == 0
    assert manifest.load(tmp_path / "out").inputs == {"found": 4, "used": 3, "rejected": 1}


@pytest.mark.parametrize(("limit", "status"), [("0.25", 0), ("0.2499", 3), ("1", 0)])
def test_rejected_inputs_up_to_the_allowed_share_are_no_failure(run, make_photos, tmp_path, limit, status):
    photos = make_photos(scenes=4)
    cut_jpeg(photos)
    assert run(make_argv(photos, tmp_path / "out", "--max-rejected", limit))[0] == status


def test_scenes_left_out_by_the_split_file_are_no_failure(run, photos, tmp_path):
    (tmp_path / "s.csv").write_text("key,split\nscene_000,train\nscene_001,none\n")
    status, printed, _ = run(make_argv(photos, tmp_path / "out", "--split-file", tmp_path / "s.csv"))
    assert status == 0
    assert "8 found = 1 used + 7 rejected (7 left-out)" in printed


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        (
            ["--recipe.beta", "0"],
            2,
            "beta is out of range. Expected numbers in [1e-12, 1e+12] (0 times the infinite distance",
        ),
        (
            ["--recipe.atmospheric-light", "1.5"],
            2,
            "atmospheric_light is out of range. Expected numbers in [0, 1], rec",
        ),
        (["--recipe", "fog"], 2, "There is no config 'fog'. Expected a YAML file or one of aod-paper, aod-released"),
        (["--recipe.path", "sideways"], 2, "recipe.path cannot be used. Expected plane|ray, received 'sideways'"),
        (["--recipe.path", "ray"], 2, "measures along the ray, the depth maps hold plane depth. Expected intrinsics"),
        (["--variants", "22"], 2, "Expected 1 to 21, the size of the recipe's grid, received 22. Change --variants"),
        (["--variants", "many"], 2, "variants cannot be used. Expected N, received 'many'"),
        (["--quality", "101"], 2, "--quality is out of range. Expected 1 to 100, received 101. Change --quality."),
        (["--workers", "0"], 2, "The number of workers is out of range. Expected 1 to 1024, received 0"),
        (["--splits", "train=2"], 2, "The splits cannot be read. Expected shares of train, validation, test that add"),
        (["--depth-scale", "0"], 2, "The unit of the depth maps is out of range. Expected metres per unit above 0"),
        (["--depth-values", "disparity"], 2, "Disparity needs a focal length and a baseline. Expected both above 0"),
        (["--depth-kind", "kiti"], 2, "No depth convention has this name. Expected one of the table, as kitti"),
        (["--fov-deg", "200"], 2, "The field of view is out of range. Expected degrees in (0, 180), received 200"),
        (["--image-pattern", "x"], 2, "A name pattern must say where the key stands. Expected '{key}' once"),
        (["--image-pattern", "no_{key}"], 3, "No scene to use. Expected images in"),
        (["--group-by", "("], 2, "--group-by"),
        (["--split-file", "missing.csv"], 2, "missing.csv"),
        (
            ["--images", "missing"],
            2,
            "'missing' is not a folder. Expected a folder of files, received nothing of that name. Check the",
        ),
        (["--images", "EMPTY"], 3, "No scene to use. Expected images in"),
        (["--shard-mb", "inf"], 2, "--shard-mb is out of range"),
        (["--source", "https://a:hunter2@b"], 2, "A URL in --source names a user, perhaps with a secret. Expected a"),
        (["--license", "https://a:hunter2@b", "--dry-run"], 2, "A URL in --license names a user, perhaps with a"),
        (["--fog", "1"], 2, "unrecognized arguments: --fog 1"),
        (["--varian", "3"], 2, "unrecognized arguments: --varian 3"),
        (["--variants"], 2, "expected one argument"),
    ],
)
def test_option_that_is_wrong_is_said_and_nothing_is_written(run, photos, tmp_path, more, status, message):
    (tmp_path / "empty").mkdir()
    more = [str(tmp_path / "empty") if part == "EMPTY" else part for part in more]
    received, _, error = run(make_argv(photos, tmp_path / "out", *more))
    assert message in error
    assert "hunter2" not in error
    assert received == status
    assert not (tmp_path / "out").exists()


def test_integers_without_a_unit_are_refused_and_nothing_is_finished(run, photos, tmp_path):
    argv = make_argv(photos, tmp_path / "out")
    at = argv.index("--depth-scale")
    status, _, error = run(argv[:at] + argv[at + 2 :])
    assert status == 3
    assert "Expected the metres in one unit, received uint16 with nothing said. Pass --depth-scale" in error
    assert not (tmp_path / "out" / manifest.MANIFEST).exists()


def test_output_folder_with_other_files_is_refused_and_left_alone(run, photos, tmp_path):
    (tmp_path / "precious.txt").write_text("keep me")
    status, _, error = run(make_argv(photos, tmp_path))
    assert status == 3
    assert "is not empty. Expected a new folder" in error
    assert "'precious.txt' among them" in error
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_output_that_is_a_file_is_refused_and_left_alone(run, photos, tmp_path):
    (tmp_path / "out").write_text("keep me")
    status, _, error = run(make_argv(photos, tmp_path / "out"))
    assert status == 3
    assert "xpected a new folder" in error
    assert (tmp_path / "out").read_text() == "keep me"


def test_dataset_of_another_seed_is_refused(run, photos, tmp_path):
    run(make_argv(photos, tmp_path / "out"))
    status, _, error = run(make_argv(photos, tmp_path / "out", "--seed", "1"))
    assert status == 3
    assert "received a different seed: 0 before, 1 now. Choose another --out" in error


def test_cut_shard_fails_the_verification_and_is_named(run, dataset_copy):
    path = dataset_copy / "train-00001-of-00003.tfrecord"
    path.write_bytes(path.read_bytes()[:-100])
    (dataset_copy / "x.tfrecord").touch()
    status, printed, error = run(["verify", dataset_copy, "--workers", "1"])
    assert status == 5
    assert "Expected 7 sound shards and nothing else, received 2 problems: train-00001-of-00003.tfrecord: " in error
    assert "x.tfrecord: not in the manifest" in error
    assert sum(line.endswith("  ok") for line in printed.splitlines()) == 6
    assert "is damaged at record 5" in printed


@pytest.mark.parametrize(("verb", "status"), [("verify", 5), ("preview", 3), ("card", 3)])
def test_missing_manifest_is_said(run, dataset_copy, tmp_path, verb, status):
    (dataset_copy / manifest.MANIFEST).unlink()
    more = ["--out", tmp_path / "p.png"] if verb == "preview" else []
    received, _, error = run([verb, dataset_copy, *more])
    assert received == status
    assert "is no finished dataset. Expected a manifest.json in it, received a folder without one" in error


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "usage: hazegen"),
        (["maek"], "error: There is no such command. Expected one of samples, recipes, "),
        (["maek"], "received 'maek'. Did you mean 'make'?"),
        (["fog"], "received 'fog'. 'hazegen --help' says what each does."),
        (["make"], "the following arguments are required: --images, --out"),
        (["verify"], "the following arguments are required: dataset"),
        (["preview", "x"], "the following arguments are required: --out"),
        (["card"], "the following arguments are required: dataset"),
        (["verify", "x", "--workers", "few"], "invalid int value: 'few'"),
    ],
)
def test_usage_errors_end_with_2(run, argv, message):
    status, printed, error = run(argv)
    assert status == 2
    assert message in error
    assert printed == ""


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UsageError("told"), 2, "error: told\n"),
        (RefusedError("told"), 3, "error: told\n"),
        (VerifyError("told"), 5, "error: told\n"),
        (HazegenError("told"), 1, "error: told\n"),
        (
            OSError(28, "No space left on device"),
            4,
            "error: [Errno 28] No space left on device. Expected to read and write there",
        ),
        (KeyboardInterrupt(), 130, "error: interrupted; "),
    ],
)
def test_each_kind_of_error_has_its_exit_status(capsys, error, status, message):
    def verb(argv):
        raise error

    assert verbs.run_verb("prog", "text", {"go": ("goes", verb)}, ["go"]) == status
    assert capsys.readouterr().err.startswith(message)


def test_bug_is_not_hidden_behind_a_message():
    def verb(argv):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        verbs.run_verb("prog", "text", {"go": ("goes", verb)}, ["go"])


# --- every option ---

RECIPE_VALUES = {
    "name": ("mine", "mine"),
    "path": ("ray", "ray"),
    "depth_norm": ("tenths", "tenths"),
    "color_space": ("linear", "linear"),
    "sweep": ("random", "random"),
    "beta": ("[0.5]", Draw("values", (0.5,))),
    "visibility_m": ("[100]", Draw("values", (100.0,))),
    "atmospheric_light": ("[0.5]", Draw("values", (0.5,))),
    "light_channels": ("independent", "independent"),
    "sky": ("far", "far"),
    "max_holes": ("0.125", 0.125),
    "fill": ("nearest", "nearest"),
    "refine": ("edges", "edges"),
    "sky_from_image": (None, True),
    "angstrom_exponent": ("uniform(0.5, 1.3)", Draw("uniform", (0.5, 1.3))),
    "wavelengths_nm": ("[650, 532, 450]", (650.0, 532.0, 450.0)),
    "light_color": ("1, 0.9, 0.8", (1.0, 0.9, 0.8)),
    "light_bias": ("uniform(-0.1, 0.1)", Draw("uniform", (-0.1, 0.1))),
    "noise_contrast": ("0.5", Draw("values", (0.5,))),
    "noise_scale_m": ("5", Draw("values", (5.0,))),
    "noise_samples": ("16", 16),
    "height_scale_m": ("30", Draw("values", (30.0,))),
    "camera_height_m": ("2", Draw("values", (2.0,))),
    "camera_pitch_deg": ("-10", Draw("values", (-10.0,))),
    "scattering_blur": ("0.01", Draw("values", (0.01,))),
    "illumination": ("0.2", Draw("values", (0.2,))),
    "glow": ("2", Draw("values", (2.0,))),
    "lamp_threshold": ("0.8", 0.8),
    "blur_px": ("1.5", Draw("values", (1.5,))),
    "shot_noise": ("0.01", Draw("values", (0.01,))),
    "read_noise": ("0.02", Draw("values", (0.02,))),
    "gamma": ("1.2", Draw("values", (1.2,))),
    "jpeg_quality": ("uniform(30, 90)", Draw("uniform", (30.0, 90.0))),
}
# What the recipe needs beside the field that is overridden.
BESIDE = {"visibility_m": ["--recipe.beta", "null"], "light_channels": ["--recipe.sweep", "random"]}
BESIDE |= {name: ["--recipe.path", "ray"] for name in ("noise_contrast", "height_scale_m")}
BESIDE |= {
    name: [*BESIDE["noise_contrast"], "--recipe.noise-contrast", "1"] for name in ("noise_scale_m", "noise_samples")
}
BESIDE |= {
    name: [*BESIDE["height_scale_m"], "--recipe.height-scale-m", "9"]
    for name in ("camera_height_m", "camera_pitch_deg")
}
BESIDE |= {"wavelengths_nm": ["--recipe.angstrom-exponent", "1"], "lamp_threshold": ["--recipe.glow", "1"]}
OPTION_VALUES = {
    "depth_scale": ("0.5", 0.5),
    "depth_kind": ("kitti", "kitti"),
    "depth_values": ("ray", "ray"),
    "not_measured": ("7", "7"),
    "no_surface": ("65535", 65535.0),
    "focal_px": ("500", 500.0),
    "baseline_m": ("0.1", 0.1),
    "camera": ("there", Path("there")),
    "fov_deg": ("70", 70.0),
    "fit_depth": (None, True),
    "image_pattern": ("a_{key}", "a_{key}"),
    "depth_pattern": ("{key}_b", "{key}_b"),
    "variants": ("4", 4),
    "seed": ("11", 11),
    "codec": ("png", "png"),
    "quality": ("80", 80),
    "maps": (None, True),
    "splits": ("test=1", "test=1"),
    "group_by": ("(.)", "(.)"),
    "split_file": ("s.csv", Path("s.csv")),
    "shard_mb": ("8", 8.0),
    "workers": ("2", 2),
    "limit": ("5", 5),
    "max_rejected": ("0.5", 0.5),
    "images": ("i", Path("i")),
    "depth": ("d", Path("d")),
    "out": ("o", Path("o")),
    "dry_run": (None, True),
    "kind": ("scenes", "scenes"),
    "near": ("1", 1.0),
    "far": ("80", 80.0),
    "sparse": ("there", Path("there")),
    "sparse_scale": ("0.01", 0.01),
    "trust_depth": (None, True),
    "transmission": ("t", Path("t")),
    "transmission_beta": ("0.01", 0.01),
    "depth_model": ("net.onnx", Path("net.onnx")),
    "flat_depth": ("500", 500.0),
    "restart": (None, True),
    "only_shards": ("a,b", "a,b"),
    "retry_rejected": (None, True),
    "accept_versions": (None, True),
    "plan_only": (None, True),
    "task_index": ("1", 1),
    "num_tasks": ("3", 3),
    "finish": (None, True),
    "scheduler": ("tcp://127.0.0.1:1", "tcp://127.0.0.1:1"),
    "progress": ("off", "off"),
    "quiet": (None, True),
}
# Fields that go together; and those that stand in place of --depth.
TOGETHER = {"transmission": "transmission_beta", "transmission_beta": "transmission"}
TOGETHER |= {"task_index": "num_tasks", "num_tasks": "task_index"}
INSTEAD_OF_DEPTH = ("transmission", "transmission_beta", "depth_model", "flat_depth")


@pytest.fixture
def parsed(run, monkeypatch):
    """parsed(*argv): the options and the recipe that a command line of make comes to."""
    calls = []

    def capture(options, recipe, *others):
        about, model = others[:2] if len(others) == 3 else (None, others[0])
        calls.append((options, recipe, about, model))
        raise HazegenError("captured")

    monkeypatch.setattr("hazegen.make.make", capture)
    monkeypatch.setattr("hazegen.estimate.estimate", capture)

    def parse(*argv, depth=("--depth", "b")):
        _, _, error = run(["make", "--images", "a", *depth, "--out", "c", *argv])
        assert error == "error: captured\n", error
        return calls[-1]

    return parse


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Recipe)])
def test_each_field_of_the_recipe_can_be_overridden(parsed, load_recipe, field):
    text, value = RECIPE_VALUES[field]
    _, recipe, *_ = parsed(f"--recipe.{field.replace('_', '-')}", *([text] if text else []), *BESIDE.get(field, []))
    assert getattr(recipe, field) == value != getattr(load_recipe("aod-released"), field)
    beside = {word.removeprefix("--recipe.").replace("-", "_") for word in BESIDE.get(field, [])}
    others = {other.name for other in dataclasses.fields(Recipe)} - {field, *beside}
    assert all(getattr(recipe, other) == getattr(load_recipe("aod-released"), other) for other in others)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(MakeOptions)])
def test_each_option_of_make_reaches_its_field(parsed, field):
    given = {name: OPTION_VALUES[name] for name in (field, TOGETHER.get(field, field))}
    words = [word for name, (text, _) in given.items() for word in (f"--{name.replace('_', '-')}", text) if word]
    instead = {"depth": None} if field in INSTEAD_OF_DEPTH else {}
    options, *_ = parsed(*words, depth=[] if instead else ["--depth", "b"])
    plain = MakeOptions(images=Path("a"), depth=Path("b"), out=Path("c"))
    assert options == dataclasses.replace(plain, **instead, **{name: value for name, (_, value) in given.items()})
    assert options != plain


MODEL_VALUES = {
    "preset": ("midas-small", "midas-small"),
    "values": ("relative", "relative"),
    "width": (("--model.width", "64", "--model.height", "48"), 64),
    "height": (("--model.width", "64", "--model.height", "48"), 48),
    "short_side": ("256", 256),
    "multiple": ("14", 14),
    "mean": ("0.5, 0.5, 0.5", (0.5, 0.5, 0.5)),
    "std": ("[0.2, 0.2, 0.2]", (0.2, 0.2, 0.2)),
    "scale": ("1", 1.0),
    "channels": ("bgr", "bgr"),
    "layout": ("nhwc", "nhwc"),
    "batch": ("4", 4),
    "threads": ("2", 2),
}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(ModelOptions) if field.name != "file"])
def test_each_option_of_the_depth_network_reaches_its_field(parsed, field):
    text, value = MODEL_VALUES[field]
    words = text if isinstance(text, tuple) else (f"--model.{field.replace('_', '-')}", text)
    *_, model = parsed(*words, depth=["--depth-model", "net.onnx"])
    assert model.file == Path("net.onnx")
    assert getattr(model, field) == value != getattr(ModelOptions(Path("net.onnx")), field)


def test_options_of_the_depth_network_are_refused_without_one(run):
    status, _, error = run(["make", "--images", "a", "--depth", "b", "--out", "c", "--model.batch", "4"])
    assert status == 2
    assert "--model.batch is of no use alone. Expected --depth-model beside it" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Distances have one source. Expected one of --depth, --transmission, --depth-model, --flat-depth, rec"),
        (("--depth", "b", "--flat-depth", "5"), "received --depth and --flat-depth. Pass one of them."),
        (("--flat-depth", "0"), "--flat-depth is out of range. Expected metres above 0, received 0"),
        (("--transmission", "t"), "Transmission maps and the beta that made them belong together."),
        (
            ("--depth", "b", "--transmission-beta", "1"),
            "Expected --transmission and --transmission-beta, received None",
        ),
    ],
)
def test_distances_have_one_source(run, words, message):
    status, _, error = run(["make", "--images", "a", "--out", "c", *words])
    assert status == 2
    assert message in error


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(About)])
def test_each_field_of_about_is_given_or_left_out(parsed, field):
    assert parsed()[2] == {}
    assert parsed(f"--{field}", "x y")[2] == {field: "x y"}
    assert parsed(f"--{field}", "")[2] == {field: ""}


def test_recipe_is_taken_by_name_or_file_and_defaults_to_aod_released(parsed, load_recipe, tmp_path):
    assert parsed()[1] == load_recipe("aod-released")
    assert parsed("--recipe", "reside-its")[1] == load_recipe("reside-its")
    (tmp_path / "mine.yaml").write_text("name: mine\nbeta: 0.3\n")
    assert parsed("--recipe", tmp_path / "mine.yaml")[1] == Recipe(name="mine", beta=Draw("values", (0.3,)))


class Parsed(Exception):
    """Carries a command's parser out of it."""


def parser_of(program: str, command: str, monkeypatch: pytest.MonkeyPatch) -> argparse.ArgumentParser:
    original = argparse.ArgumentParser.parse_args

    def capture(self, args=None, namespace=None):
        if self.prog != program:
            raise Parsed(self)
        return original(self, args, namespace)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", capture)
    with pytest.raises(Parsed) as caught:
        MAINS[program]([command])
    return typing.cast(argparse.ArgumentParser, caught.value.args[0])


@pytest.mark.parametrize(("program", "command"), [(p, c) for p in COMMANDS for c in COMMANDS[p]])
def test_every_option_has_help_and_every_command_shows_examples(program, command, monkeypatch):
    parser = parser_of(program, command, monkeypatch)
    for action in parser._actions:
        assert len(action.help or "") >= 5, action.option_strings or action.dest
    assert f"examples:\n  {program} {command}" in parser.format_help()
    assert parser.description


@pytest.mark.parametrize("program", sorted(COMMANDS))
def test_help_lists_every_command(program, capsys):
    with pytest.raises(SystemExit) as end:
        MAINS[program](["--help"])
    printed = capsys.readouterr().out
    assert end.value.code == 0
    assert all(f"\n  {command} " in printed for command in COMMANDS[program])


PROBE = """
import importlib, sys
cli = importlib.import_module("{program}.cli")
for argv in {argvs!r}:
    try:
        cli.main(argv)
    except SystemExit as end:
        assert end.code == 0, (argv, end.code)
    heavy = {{"tensorflow", "keras", "wandb"}} & set(sys.modules)
    assert not heavy, (argv, heavy)
"""


@pytest.mark.parametrize("program", sorted(COMMANDS))
def test_no_help_imports_tensorflow_or_wandb(program):
    argvs = [["--help"], ["--version"], *([command, "--help"] for command in COMMANDS[program])]
    code = PROBE.format(program=program, argvs=argvs)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("usage: ") == len(argvs) - 1
