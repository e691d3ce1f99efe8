"""The published data sets: weights, released pairs, depth formats, and one run from photos to pictures.

They lie in the folder that the environment variable HAZEGEN_TEST_DATA names; see docs for the sets.
"""

import csv
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from aodnet_fixtures import published_layers, slow_aodnet
from PIL import Image

from aodnet import cli as aodnet_cli
from aodnet import metrics, predict, weights
from aodnet.pairs import Source, count_pairs, read_pairs
from hazegen import cli as hazegen_cli
from hazegen import color, config, images, manifest, sampling, synthesis
from hazegen.depth.formats import DepthFormat
from hazegen.depth.readers import read_depth
from hazegen.recipe import Recipe

DATA = Path(os.environ.get("HAZEGEN_TEST_DATA", "/dev/null"))

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="HAZEGEN_TEST_DATA does not name a folder with the published data sets"
)

PUBLISHED = DATA / "weights_aodnet" / "aod_official_weights.npz"
RELEASED = DATA / "pairs_aod_train_nyu2"


def released() -> Source:
    return Source(hazy=RELEASED / "hazy", clean=RELEASED / "clean")


# --- the official weights ---


@pytest.fixture(scope="module", params=["caffe", "torch"])
def published(request):
    """Model, and layers as they stand in the file."""
    with np.load(PUBLISHED, allow_pickle=False) as file:
        layers = [(file[f"{request.param}_conv{n}_w"], file[f"{request.param}_conv{n}_b"]) for n in range(1, 6)]
    return weights.import_npz(PUBLISHED, request.param), layers


def test_published_weights_give_what_a_slow_loop_gives(published):
    model, layers = published
    pair = next(read_pairs(Source(hazy=RELEASED / "hazy", clean=RELEASED / "clean", limit=1)))
    hazy = color.to_float(pair.hazy[200:228, 300:332])
    expected = slow_aodnet(hazy.astype(np.float64), layers)
    assert expected.std() > 0.02
    np.testing.assert_allclose(model(hazy[None]).numpy()[0], expected, atol=1e-5)


def test_published_weights_hold_no_denormals_after_import(published):
    model, layers = published
    values = np.concatenate([value.ravel() for value in model.get_weights()])
    assert not ((np.abs(values) < weights.SMALLEST) & (values != 0)).any()
    raw = np.concatenate([value.ravel() for layer in published_layers(model) for value in layer])
    original = np.concatenate([value.ravel() for layer in layers for value in layer])
    np.testing.assert_allclose(raw, original, atol=1e-20)


def test_official_weights_score_as_published():
    """Mean PSNR over the released pairs: 16.03 dB for the hazy input, 19.60 dB restored."""
    restore = predict.restorer(weights.import_npz(PUBLISHED, "caffe"))
    assert count_pairs(released()) == 316
    scores = []
    for pair in read_pairs(released()):
        restored = predict.restore_picture(restore, pair.hazy, pair.name)
        scores.append([metrics.psnr(pixels, pair.clean, data_range=255.0) for pixels in (pair.hazy, restored)])
    hazy_mean, restored_mean = np.mean(scores, axis=0)
    assert hazy_mean == pytest.approx(16.03, abs=0.02)
    assert restored_mean == pytest.approx(19.60, abs=0.05)


# --- the released pairs, made again ---


def test_recipe_makes_the_released_pairs_again():
    """RMSE of 1 against every third of the released JPEGs, from clean image and 8-bit depth alone."""
    recipe = config.build(Recipe, config.read_config(config.find_config("aod-released", "recipes"), Recipe))
    # The whole grid, in the order of its numbers: beta in the rows, A in the columns.
    grid = {haze.variant: haze for haze in sampling.draw_variants(recipe, 0, "any", 21, 1.0)}
    fmt = DepthFormat(unit=10.0 / 255.0)
    errors, variants = [], set()
    for pair in read_pairs(released(), step=3):
        frame, i, j = (int(part) for part in pair.name.removeprefix("NYU2_").split("_"))
        haze = grid[(i - 1) * 3 + (j - 1)]
        variants.add(haze.variant)
        assert haze.beta == pytest.approx((0.04 * i,) * 3)
        assert haze.atmospheric_light == ((1.0, 0.9, 0.95)[j - 1],) * 3
        # The photos of the pairs are mirrored against the labelled frames.
        depth_m = read_depth(DATA / "nyu_labeled" / "depth" / f"{frame - 1}.png", fmt)[:, ::-1]
        assert np.isfinite(depth_m).all()
        made = synthesis.render(pair.clean, depth_m, haze, recipe.color_space).hazy
        errors.append(np.sqrt(np.mean((color.to_float(made) - color.to_float(pair.hazy)) ** 2)))
    assert len(errors) == 106
    assert len(variants) == 21
    assert np.median(errors) <= 0.009
    assert max(errors) <= 0.0135


# --- depth formats in use ---


def raw_depth(path: Path) -> np.ndarray:
    """The numbers of a depth file, by Pillow."""
    with Image.open(path) as picture:
        return np.asarray(picture).astype(np.float64)


# Folder, image folder, depth folder, further options, raw numbers to metres, range of the share of holes, number.
SETS = {
    "tum": (
        "rgbd_tum_5000", ".", ".", ["--depth-pattern", "{key}_depth", "--depth-scale", "0.0002"],
        lambda raw: raw / 5000.0, (0.25, 0.40), 2,
    ),
    "redwood": (
        "rgbd_open3d_formats", "color", "depth", ["--depth-scale", "0.001"],
        lambda raw: raw / 1000.0, (0.08, 0.16), 5,
    ),
    "icl-nuim": (
        "rgbd_iclnuim_5000", "color", "depth", ["--depth-scale", "0.0002"],
        lambda raw: raw / 5000.0, (0.0, 0.0), 5,
    ),
    "nyu-raw": (
        "rgbd_metric3d_nyu_raw", "rgb", "depth",
        ["--image-pattern", "rgb_{key}", "--depth-pattern", "sync_depth_{key}", "--depth-scale", "0.001"],
        lambda raw: raw / 1000.0, (0.2, 0.36), 3,
    ),
    "slambook-pgm": (
        "rgbd_slambook_pgm", "color", "depth", ["--depth-scale", "0.001"],
        lambda raw: raw / 1000.0, (0.26, 0.33), 5,
    ),
    "kitti": (
        "rgbd_kitti_depth", "rgb", "depth", ["--depth-scale", str(1 / 256), "--recipe.max-holes", "0.9"],
        lambda raw: raw / 256.0, (0.75, 0.85), 3,
    ),
    "kitti-disparity": (
        "stereo_kitti2015", "image_2", "disp_occ_0",
        ["--depth-scale", str(1 / 256), "--depth-values", "disparity", "--focal-px", "721.5", "--baseline-m", "0.54",
         "--recipe.max-holes", "0.95"],
        lambda raw: 721.5 * 0.54 / np.where(raw > 0, raw / 256.0, np.inf), (0.8, 0.9), 1,
    ),
}  # fmt: skip
# Of the largest measured depth [m]: rooms, and streets.
LARGEST_M = {"kitti": (60.0, 90.0), "kitti-disparity": (40.0, 390.0)}


def make(name: str, out: Path, *more: str) -> int:
    folder, photos, depth, options, *_ = SETS[name]
    root = DATA / folder
    argv = ["make", "--images", root / photos, "--depth", root / depth, "--out", out, "--variants", "1", *options]
    return hazegen_cli.main([str(word) for word in (*argv, "--workers", "1", *more)])


def inputs(out: Path) -> list[dict[str, str]]:
    with (out / "inputs.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", SETS)
def test_depth_format(name, tmp_path, capsys):
    folder, _, depth, _, metres, (least, most), count = SETS[name]
    out = tmp_path / "out"
    assert make(name, out, "--limit", "5") == 0, capsys.readouterr().err
    known = manifest.load(out)
    assert known.inputs == {"found": count, "used": count, "rejected": 0}
    assert known.inputs["found"] == known.inputs["used"] + known.inputs["rejected"]
    rows = inputs(out)
    assert len(rows) == count
    for row in rows:
        raw = raw_depth(DATA / folder / depth / row["depth"])
        assert float(row["holes"]) == pytest.approx((raw == 0).mean(), abs=1e-6)
        assert least <= float(row["holes"]) <= most
        assert float(row["sky"]) == 0.0
        expected = metres(raw)[raw > 0].max()
        assert float(row["largest_m"]) == pytest.approx(expected, rel=1e-4)
        low, high = LARGEST_M.get(name, (1.5, 13.2))
        assert low < expected < high


@pytest.mark.parametrize("name", ["tum", "slambook-pgm", "kitti-disparity"])
def test_every_pixel_is_read_as_the_source_says(name):
    folder, _, depth, _, metres, _, _ = SETS[name]
    formats = {
        "tum": DepthFormat(unit=1 / 5000),
        "slambook-pgm": DepthFormat(unit=0.001),
        "kitti-disparity": DepthFormat("disparity", 1 / 256, focal_px=721.5, baseline_m=0.54),
    }
    pattern = "*_depth.png" if name == "tum" else "*"
    path = min((DATA / folder / depth).glob(pattern))
    raw, got = raw_depth(path), read_depth(path, formats[name])
    np.testing.assert_array_equal(np.isnan(got), raw == 0)
    np.testing.assert_allclose(got[raw > 0], metres(raw)[raw > 0], rtol=1e-6)


def test_too_many_holes_reject_the_scene(tmp_path, capsys):
    """KITTI's lidar maps measure a fifth of the pixels: refused as they are."""
    assert make("kitti", tmp_path / "out", "--recipe.max-holes", "0.5") == 3
    said = capsys.readouterr().err
    assert "too few measured depths. Expected at most 50.0% of pixels without one, received 8" in said


# --- one run from photos to pictures ---


def choose_frames(tmp_path: Path, count: int) -> tuple[Path, Path]:
    """A handful of the labelled frames, in folders of their own."""
    source = DATA / "nyu_labeled"
    names = sorted(int(path.stem) for path in (source / "image").glob("*.jpg"))[:: 440 // count][:count]
    folders = tmp_path / "image", tmp_path / "depth"
    for folder, suffix in zip(folders, ("jpg", "png"), strict=True):
        folder.mkdir()
        for name in names:
            shutil.copy(source / folder.name / f"{name}.{suffix}", folder)
    return folders


def test_from_photos_to_restored_pictures(tmp_path, capsys):
    photos, depth = choose_frames(tmp_path, 6)
    dataset, run, scores, out = (tmp_path / name for name in ("dataset", "run", "scores", "out"))

    def step(main, *argv: object) -> str:
        status = main([str(word) for word in argv])
        said = capsys.readouterr()
        assert status == 0, said.err
        return said.out

    hazegen, aodnet = partial(step, hazegen_cli.main), partial(step, aodnet_cli.main)
    scale = 10 / 255
    hazegen("make", "--images", photos, "--depth", depth, "--depth-scale", scale, "--out", dataset, "--variants", 2,
            "--workers", 1)  # fmt: skip
    known = manifest.load(dataset)
    assert known.inputs == {"found": 6, "used": 6, "rejected": 0}
    assert {name: split["records"] for name, split in known.splits.items()} == {"train": 8, "validation": 2, "test": 2}
    assert "all" in hazegen("verify", dataset, "--workers", 1)
    said = aodnet("fit", "--data", dataset, "--out", run, "--epochs", 1, "--batch", 4, "--crop", 64,
                  "--validation-crop", 128)  # fmt: skip
    assert "trained 1 epoch on" in said
    table = aodnet("evaluate", "--model", run / "best.weights.h5", "--data", dataset, "--out", scores)
    assert "2 pairs" in table
    for row in ("hazy input", "best global affine", "dark channel prior", "run/best"):
        assert f"| {row} |" in table
    photo = next(photos.iterdir())
    aodnet("predict", "--model", run / "best.weights.h5", photo, "--out", out)
    assert images.read_picture(out / photo.name).shape == (480, 640, 3)
