"""hazegen audit on released sets whose recipes are known: the AOD-Net training pairs, and RESIDE's ITS."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from hazegen import config, images
from hazegen.audit import report as audit_report
from hazegen.audit.run import AuditOptions, Report, audit
from hazegen.recipe import Recipe

DATA = Path(os.environ.get("HAZEGEN_TEST_DATA", "/nonexistent"))

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="HAZEGEN_TEST_DATA does not name a folder with the published data sets"
)

RELEASED = DATA / "pairs_aod_train_nyu2"
ITS = DATA / "pairs_its_original_layout"
LIGHTS = {"1": 1.0, "2": 0.9, "3": 0.95}
# Pairs that are looked at, of 316: spread evenly, so that each of the 21 values of beta and A is among them.
PAIRS = 105


def depth_of_released(root: Path, *, mirrored: bool = False) -> Path:
    """Depth maps with the names of the clean pictures, turned as these are: the labelled frames are mirrored."""
    folder = root / "depth"
    folder.mkdir()
    for path in (RELEASED / "clean").glob("*.jpg"):
        frame = int(path.stem.removeprefix("NYU2_")) - 1
        depth = images.read_picture(DATA / "nyu_labeled" / "depth" / f"{frame}.png")
        (folder / f"{path.stem}.png").write_bytes(images.encode(depth if mirrored else depth[:, ::-1], ".png"))
    return folder


def audit_released(**more: object) -> Report:
    return audit(AuditOptions(hazy=RELEASED / "hazy", clean=RELEASED / "clean", **more))


def truth(report: Report) -> tuple[np.ndarray, np.ndarray]:
    """Beta [1/m] and A by the names NYU2_{id}_{i}_{j}."""
    parts = [pair.ref.rest.split("_") for pair in report.pairs]
    return np.array([0.04 * int(i) for i, _ in parts]), np.array([LIGHTS[j] for _, j in parts])


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    depth = depth_of_released(tmp_path_factory.mktemp("released"))
    return audit_released(depth=depth, depth_scale=10.0 / 255.0, limit=PAIRS)


def test_beta_and_light_of_the_released_pairs(released):
    assert released.found == 316
    assert len(released.pairs) == PAIRS
    assert released.summary.codes == {"": PAIRS}
    betas, lights = truth(released)
    assert len({*zip(betas, lights, strict=True)}) == 21
    fits = [pair.fits["plane", "srgb"] for pair in released.pairs]
    assert all(fit.gray for fit in fits)
    beta_errors = np.abs([fit.beta for fit in fits] - betas)
    light_errors = np.abs([fit.atmospheric_light[0] for fit in fits] - lights)
    assert np.mean(beta_errors <= 0.01) == 1.0
    assert np.mean(light_errors <= 0.01) >= 0.97
    assert light_errors.max() <= 0.025
    # The standard errors mean what they say.
    assert np.mean(beta_errors <= [fit.beta_error for fit in fits]) >= 0.68
    assert np.mean(light_errors <= [fit.light_error for fit in fits]) >= 0.68


def test_recipe_of_the_released_pairs(released):
    found = config.build(Recipe, yaml.safe_load(audit_report.as_yaml(released.summary)))
    shipped = config.build(Recipe, config.read_config(config.find_config("aod-released", "recipes"), Recipe))
    for name in ("path", "depth_norm", "color_space", "sweep", "light_channels", "beta"):
        assert getattr(found, name) == getattr(shipped, name), name
    assert set(found.atmospheric_light.values) == set(shipped.atmospheric_light.values)
    sure = released.summary.confidence
    names = ("depth_norm", "color_space", "sweep", "light_channels", "beta", "atmospheric_light")
    assert {sure[name] for name in names} == {"high"}
    told = "\n".join(released.summary.evidence)
    assert "Number 1 of the hazy names decides beta: 1: 0.04, 2: 0.0" in told
    (table,) = re.findall(r"Number 2 of the hazy names decides A: ([^\n]*)\.$", told, re.MULTILINE)
    assert {row[0]: float(row[3:]) for row in table.split(", ")} == pytest.approx(LIGHTS, abs=0.006)
    assert f"{PAIRS} hazy pictures are JPEG of quality 75 to 75" in told
    assert not released.unmatched


def test_recipe_file_of_the_released_pairs_can_be_used(released, tmp_path):
    path = tmp_path / "found.yaml"
    path.write_text(audit_report.as_yaml(released.summary), encoding="utf-8")
    assert config.build(Recipe, config.read_config(path, Recipe)).grid_size() == 21


def test_plane_depth_explains_the_released_pairs_better_than_rays(tmp_path):
    depth = depth_of_released(tmp_path)
    report = audit_released(depth=depth, depth_scale=10.0 / 255.0, fov_deg=63.0, limit=12)
    assert report.summary.fields["path"] == "plane"
    assert report.summary.confidence["path"] == "high"
    better = [pair.fits["plane", "srgb"].rmse < pair.fits["ray", "srgb"].rmse for pair in report.pairs]
    assert np.mean(better) >= 0.9


def test_labelled_depth_is_found_to_be_mirrored(tmp_path):
    depth = depth_of_released(tmp_path, mirrored=True)
    report = audit_released(depth=depth, depth_scale=10.0 / 255.0, limit=12)
    found = [pair.reason for pair in report.pairs if pair.code == "depth-mirrored"]
    assert len(found) >= 9
    assert set(found) == {"The depth map is mirrored left to right."}


def test_light_of_the_released_pairs_without_depth():
    report = audit_released(limit=60)
    _, lights = truth(report)
    fits = [pair.patches["srgb"] for pair in report.pairs]
    errors = np.abs([fit.atmospheric_light[0] for fit in fits] - lights)
    assert np.mean(errors <= 0.01) >= 0.75
    assert np.mean(errors <= 0.02) >= 0.9
    assert report.summary.fields["color_space"] == "srgb"
    assert report.summary.fields["atmospheric_light"].values == pytest.approx((0.9, 0.95, 1.0), abs=0.005)
    assert "beta" not in report.summary.fields


def test_light_of_its_is_the_number_in_its_names():
    report = audit(AuditOptions(hazy=ITS / "hazy", clean=ITS / "gt"))
    assert [pair.ref.clean for pair in report.pairs] == ["1.png", "1.png", "2.png", "2.png"]
    for pair in report.pairs:
        stated = float(pair.ref.rest.split("_")[1])
        assert pair.patches["srgb"].atmospheric_light == pytest.approx((stated,) * 3, abs=0.002)
        assert pair.code == ""
    assert report.summary.fields["color_space"] == "srgb"
    assert "Number 2 of the hazy names is A." in report.summary.evidence


def test_swapped_scenes_of_the_released_pairs_are_named(tmp_path):
    """Two clean pictures that have exchanged their names: each hazy one is given its right partner."""
    folders = tmp_path / "hazy", tmp_path / "clean"
    names = sorted({path.stem for path in (RELEASED / "clean").glob("*.jpg")})[:6]
    for folder in folders:
        folder.mkdir()
    turned = dict(zip(names, [names[1], names[0], *names[2:]], strict=True))
    for name in names:
        (folders[1] / f"{name}.jpg").write_bytes((RELEASED / "clean" / f"{turned[name]}.jpg").read_bytes())
        for path in (RELEASED / "hazy").glob(f"{name}_*.jpg"):
            (folders[0] / path.name).write_bytes(path.read_bytes())
    report = audit(AuditOptions(hazy=folders[0], clean=folders[1]))
    for pair in report.pairs:
        if turned[pair.ref.key] == pair.ref.key:
            assert pair.code != "mismatch"
        else:
            assert (pair.code, pair.partner) == ("mismatch", f"{turned[pair.ref.key]}.jpg")
