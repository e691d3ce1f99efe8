"""hazegen audit on sets whose recipe the test itself has used, and on sets that are broken in known ways."""

import csv
import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from conftest import draw_clean, smooth
from depth_fixtures import pfm
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hazegen import cli, color, config, geometry, images, physics
from hazegen.audit import checks as audit_checks
from hazegen.audit import fit as audit_fit
from hazegen.audit import pairing as audit_pairing
from hazegen.audit import patches as audit_patches
from hazegen.audit import report as audit_report
from hazegen.audit import values as audit_values
from hazegen.audit.run import AuditOptions, Report, audit
from hazegen.audit.summary import Summary
from hazegen.errors import RefusedError, UsageError
from hazegen.recipe import Draw, Recipe

WIDTH, HEIGHT = 192, 144
FOV_DEG = 70.0


@dataclass(frozen=True)
class Haze:
    """How a set is made: the recipe that the audit has to find."""

    path: str = "plane"
    norm: str = "metres"
    space: str = "srgb"
    noise: float = 0.0
    suffix: str = ".png"
    quality: int = 75


def draw_scene(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A photo with fine structure, and distances [m] up to another largest one in each scene, in 1 mm steps."""
    rng = np.random.default_rng([7, number])
    grain = smooth(rng, HEIGHT, WIDTH, 3, 48) - 0.5
    clean = np.clip(draw_clean(rng, HEIGHT, WIDTH) * 0.85 + 15.0 + 40.0 * grain, 3, 245).astype(np.uint8)
    depth_m = 1.0 + (3.0 + 2.5 * number) * smooth(rng, HEIGHT, WIDTH, 1)[..., 0]
    return clean, np.round(depth_m, 3).astype(np.float32)


def add_haze(clean: np.ndarray, depth_m: np.ndarray, beta: float, light: Sequence[float], haze: Haze) -> np.ndarray:
    """The hazy picture in 8 bits, by hazegen.physics and nothing else of the synthesis."""
    camera = geometry.camera_from_fov(FOV_DEG, clean.shape[1], clean.shape[0])
    distance = geometry.plane_to_ray(depth_m, camera) if haze.path == "ray" else depth_m
    unit = {"metres": 1.0, "tenths": 10.0, "max": float(distance[np.isfinite(distance)].max())}[haze.norm]
    t = physics.transmission(beta / unit, distance.astype(np.float64))[..., None]
    radiance = clean / 255.0
    if haze.space == "linear":
        mixed = color.linear_to_srgb(physics.add_haze(color.srgb_to_linear(radiance), t, np.array(light)))
    else:
        mixed = physics.add_haze(radiance, t, np.array(light))
    mixed = mixed + haze.noise * np.random.default_rng(3).standard_normal(mixed.shape)
    return color.to_uint8(mixed)


def folders(root: Path) -> dict[str, Path]:
    made = {name: root / name for name in ("hazy", "clean", "depth")}
    for folder in made.values():
        folder.mkdir(parents=True, exist_ok=True)
    return made


def write(path: Path, pixels: np.ndarray, quality: int = 75) -> None:
    path.write_bytes(images.encode(pixels, path.suffix, quality))


def write_set(
    root: Path, betas: Sequence[float], lights: Sequence[Sequence[float]], haze: Haze, scenes: int = 3
) -> dict[str, Path]:
    """Every combination of the values over every scene, named SCENE_i_j, with depth in millimetres."""
    made = folders(root)
    for number in range(scenes):
        clean, depth_m = draw_scene(number)
        write(made["clean"] / f"room_{number}{haze.suffix}", clean, haze.quality)
        write(made["depth"] / f"room_{number}.png", np.rint(depth_m * 1000.0).astype(np.uint16))
        for i, beta in enumerate(betas, 1):
            for j, light in enumerate(lights, 1):
                hazy = add_haze(clean, depth_m, beta, light, haze)
                write(made["hazy"] / f"room_{number}_{i}_{j}{haze.suffix}", hazy, haze.quality)
    return made


def gray(*values: float) -> list[tuple[float, float, float]]:
    return [(value, value, value) for value in values]


def run(made: dict[str, Path], depth: bool = True, **more: object) -> Report:
    maps = {"depth": made["depth"], "depth_scale": 0.001} if depth else {}
    return audit(AuditOptions(hazy=made["hazy"], clean=made["clean"], **({"workers": 1} | maps | more)))


def recipe_of(summary: Summary) -> Recipe:
    """The recipe that was found, through the text of its file."""
    return config.build(Recipe, yaml.safe_load(audit_report.as_yaml(summary)))


def codes(report: Report) -> dict[str, str]:
    return {pair.ref.hazy: pair.code for pair in report.pairs}


# --- the fit of one pair ---


@given(
    beta=st.floats(0.02, 0.4),
    light=st.floats(0.4, 1.0),
    space=st.sampled_from(["srgb", "linear"]),
    seed=st.integers(0, 1000),
)
def test_noise_free_pair_gives_beta_and_light_back(beta, light, space, seed):
    rng = np.random.default_rng(seed)
    clean, distance_m = rng.uniform(0.05, 0.95, (4000, 3)), rng.uniform(1.0, 8.0, 4000)
    t = np.exp(-beta * distance_m)[:, None]
    hazy = physics.add_haze(audit_fit.into(clean, space), t, light)
    hazy = hazy if space == "srgb" else color.linear_to_srgb(hazy)
    fit = audit_fit.fit_distance(hazy, clean, distance_m, space)
    assert fit.beta == pytest.approx(beta, rel=1e-3)
    assert fit.atmospheric_light == pytest.approx((light,) * 3, abs=1e-3)
    assert fit.gray
    assert fit.rmse < 1e-4
    assert fit.transmission == pytest.approx(np.quantile(t, (0.05, 0.5, 0.95)), abs=2e-3)


@given(light=st.tuples(*[st.floats(0.5, 0.95)] * 3), beta=st.floats(0.05, 0.3))
def test_noise_free_pair_gives_coloured_light_back(light, beta):
    rng = np.random.default_rng(1)
    clean, distance_m = rng.uniform(0.05, 0.95, (4000, 3)), rng.uniform(1.0, 8.0, 4000)
    hazy = physics.add_haze(clean, np.exp(-beta * distance_m)[:, None], np.array(light))
    fit = audit_fit.fit_distance(hazy, clean, distance_m, "srgb")
    assert fit.atmospheric_light == pytest.approx(light, abs=4e-3)
    assert fit.gray or np.ptp(light) > 1.0 / 255.0
    assert not fit.gray or np.ptp(light) < 0.02


@given(light=st.floats(0.5, 0.95), space=st.sampled_from(["srgb", "linear"]))
def test_patches_give_light_back_without_distances(light, space):
    """Also, the other colour space explains the pair less well."""
    rng = np.random.default_rng(2)
    clean = rng.uniform(0.05, 0.9, (64, 64, 3))
    t = np.repeat(np.repeat(rng.uniform(0.2, 0.9, (32, 32)), 2, 0), 2, 1)[..., None]
    hazy = physics.add_haze(audit_fit.into(clean, space), t, light)
    hazy = hazy if space == "srgb" else color.linear_to_srgb(hazy)
    hazy, clean = audit_patches.blocks(hazy), audit_patches.blocks(clean)
    fit = audit_patches.fit_patches(hazy, clean, space)
    assert fit.beta is None
    assert fit.atmospheric_light == pytest.approx((light,) * 3, abs=2e-3)
    other = audit_patches.fit_patches(hazy, clean, "linear" if space == "srgb" else "srgb")
    assert fit.rmse < other.rmse


def test_values_beyond_white_do_not_bias_the_fit():
    """A of 1.1 clips a third of the picture: the equation's own values say which part is to be left out."""
    rng = np.random.default_rng(4)
    clean, distance_m = rng.uniform(0.05, 0.95, (8000, 3)), rng.uniform(1.0, 12.0, 8000)
    hazy = physics.add_haze(clean, np.exp(-0.2 * distance_m)[:, None], 1.1)
    assert 0.2 < np.mean(hazy > 1.0) < 0.6
    fit = audit_fit.fit_distance(np.clip(hazy, 0.0, 1.0), clean, distance_m, "srgb")
    assert fit.beta == pytest.approx(0.2, rel=0.01)
    assert fit.atmospheric_light == pytest.approx((1.1,) * 3, abs=0.01)


def test_a_tenth_of_wrong_distances_is_left_out():
    rng = np.random.default_rng(5)
    clean, distance_m = rng.uniform(0.05, 0.95, (8000, 3)), rng.uniform(1.0, 8.0, 8000)
    hazy = physics.add_haze(clean, np.exp(-0.15 * distance_m)[:, None], 0.9)
    distance_m[:800] *= 3.0
    fit = audit_fit.fit_distance(hazy, clean, distance_m, "srgb")
    assert fit.beta == pytest.approx(0.15, abs=0.003)
    assert fit.atmospheric_light == pytest.approx((0.9,) * 3, abs=0.005)


@given(st.floats(0.02, 0.98))
def test_slope_turns_linear_light_into_code_values(coded):
    low, high = color.srgb_to_linear(np.array([coded - 1e-5, coded + 1e-5]))
    found = audit_fit.slope(np.array([[coded]]), "linear")
    assert found[0, 0] == pytest.approx(2e-5 / (high - low), rel=0.05)
    assert audit_fit.slope(np.array([[coded]]), "srgb") == 1.0


def test_sky_tells_the_light():
    """Where the distance is infinite, I is A: enough, though the rest of the scene is near."""
    rng = np.random.default_rng(6)
    clean, distance_m = rng.uniform(0.05, 0.95, (6000, 3)), rng.uniform(1.0, 3.0, 6000)
    distance_m[:2000] = np.inf
    hazy = physics.add_haze(clean, np.exp(-0.05 * distance_m)[:, None], 0.85)
    fit = audit_fit.fit_distance(hazy, clean, distance_m, "srgb")
    assert (fit.beta, fit.atmospheric_light[0]) == pytest.approx((0.05, 0.85), abs=1e-3)
    assert fit.transmission[0] == 0.0
    assert audit_fit.fit_distance(hazy, clean, np.full(6000, np.inf), "srgb") is None


# --- whole sets ---

BETAS = (0.06, 0.12, 0.24)
LIGHTS = (0.8, 0.95)


@pytest.mark.parametrize(
    ("haze", "factor"),
    [
        (Haze(), 1.0),
        (Haze(norm="tenths"), 10.0),
        (Haze(norm="max"), 6.0),
        (Haze(path="ray"), 1.0),
        (Haze(space="linear"), 1.0),
        (Haze(path="ray", norm="max", space="linear"), 6.0),
        (Haze(noise=0.01), 1.0),
        (Haze(suffix=".jpg"), 1.0),
    ],
    ids=lambda value: "-".join(map(str, vars(value).values())) if isinstance(value, Haze) else "",
)
def test_recipe_of_a_set_is_found(tmp_path, haze, factor):
    made = write_set(tmp_path, [beta * factor for beta in BETAS], gray(*LIGHTS), haze)
    report = run(made, fov_deg=FOV_DEG)
    assert set(codes(report).values()) == {""}
    summary = report.summary
    assert summary.used == report.found == 18
    fields = summary.fields
    assert fields["path"] == haze.path
    assert fields["color_space"] == haze.space
    assert fields["depth_norm"] == ("max" if haze.norm == "max" else "metres")
    assert fields["light_channels"] == "gray"
    assert fields["sweep"] == "grid"
    per_unit = [beta * (factor if haze.norm == "max" else 1.0) for beta in BETAS]
    assert fields["beta"].law == fields["atmospheric_light"].law == "values"
    assert fields["beta"].values == pytest.approx(per_unit, rel=0.03)
    assert fields["atmospheric_light"].values == pytest.approx(LIGHTS, abs=0.006)
    assert {summary.confidence[name] for name in ("depth_norm", "beta", "atmospheric_light")} == {"high"}
    assert recipe_of(summary).grid_size() == 6
    assert any(line.startswith("Number 1 of the hazy names decides beta: 1: ") for line in summary.evidence)
    assert any(line.startswith("Number 2 of the hazy names decides A: 1: ") for line in summary.evidence)


def test_coloured_light_is_found(tmp_path):
    lights = [(0.95, 0.9, 0.8), (0.85, 0.85, 0.95)]
    made = write_set(tmp_path, (0.1, 0.2), lights, Haze())
    report = run(made)
    assert report.summary.fields["light_channels"] == "independent"
    assert report.summary.fields["sweep"] == "random"
    for pair in report.pairs:
        expected = lights[int(pair.ref.rest[-1]) - 1]
        fit = pair.fits["plane", "srgb"]
        assert fit.atmospheric_light == pytest.approx(expected, abs=0.006)
        assert not fit.gray


@pytest.mark.parametrize("law", ["uniform", "log-uniform"])
@pytest.mark.parametrize("norm", ["metres", "max"])
def test_law_and_unit_of_a_random_set_are_found(tmp_path, law, norm):
    made, rng = folders(tmp_path), np.random.default_rng(11)
    low, high = (0.02, 0.4) if norm == "metres" else (0.15, 3.0)
    for scene in range(11):
        clean, depth_m = draw_scene(scene)
        write(made["clean"] / f"{scene:04d}.png", clean)
        write(made["depth"] / f"{scene:04d}.png", np.rint(depth_m * 1000.0).astype(np.uint16))
        for _ in range(3):
            beta = rng.uniform(low, high) if law == "uniform" else np.exp(rng.uniform(np.log(low), np.log(high)))
            light = rng.uniform(0.7, 1.0)
            hazy = add_haze(clean, depth_m, beta, (light,) * 3, Haze(norm=norm))
            write(made["hazy"] / f"{scene:04d}_{light:.3f}_{beta:.4f}.png", hazy)
    summary = run(made).summary
    assert summary.fields["depth_norm"] == norm
    assert summary.fields["beta"].law == law
    assert summary.fields["beta"].low == pytest.approx(low, abs=0.1 * high)
    assert summary.fields["beta"].high == pytest.approx(high, rel=0.1)
    assert summary.fields["atmospheric_light"].law in ("uniform", "log-uniform")
    assert summary.fields["atmospheric_light"].low == pytest.approx(0.7, abs=0.02)
    assert "Number 1 of the hazy names is A." in summary.evidence
    assert "Number 2 of the hazy names is beta." in summary.evidence
    assert recipe_of(summary).beta == summary.fields["beta"]


def test_without_depth_light_and_space_are_found_and_beta_is_not(tmp_path):
    made = write_set(tmp_path, BETAS, gray(0.8, 0.95), Haze(space="linear"))
    report = run(made, depth=False)
    fields = report.summary.fields
    assert fields["color_space"] == "linear"
    assert fields["atmospheric_light"].values == pytest.approx((0.8, 0.95), abs=0.02)
    assert "beta" not in fields
    assert "path" not in fields
    assert any(
        "No distances explain the pairs" in line and "beta, path and unit cannot" in line
        for line in report.summary.evidence
    )
    with pytest.raises(UsageError, match="beta"):
        recipe_of(report.summary)


def test_number_of_workers_changes_nothing(tmp_path):
    made = write_set(tmp_path, BETAS[:2], gray(0.8, 0.9), Haze(), scenes=2)
    first, second = run(made), run(made, workers=3)
    assert first.pairs == second.pairs
    assert first.summary == second.summary


def test_limit_spreads_over_the_set(tmp_path):
    made = write_set(tmp_path, BETAS, gray(0.8, 0.9), Haze(), scenes=2)
    report = run(made, limit=4)
    assert report.found == 12
    assert [pair.ref.hazy for pair in report.pairs] == [f"room_{n}_{i}_{j}.png" for n, i, j in
                                                       ((0, 1, 1), (0, 2, 2), (1, 1, 1), (1, 2, 2))]  # fmt: skip


def test_one_scene_cannot_tell_its_unit(tmp_path):
    made = write_set(tmp_path, BETAS, gray(0.8, 0.9), Haze(), scenes=1)
    summary = run(made).summary
    assert summary.fields["depth_norm"] == "metres"
    assert summary.confidence["depth_norm"] == "none"
    assert any("is assumed: all scenes reach equally far" in line for line in summary.evidence)


# --- faults ---


@pytest.fixture
def broken(tmp_path):
    """Two sound scenes of two variants each."""
    return write_set(tmp_path, (0.1, 0.2), gray(0.9), Haze(), scenes=2)


def hazy_of(made: dict[str, Path], name: str) -> np.ndarray:
    return images.read_picture(made["hazy"] / name)


def test_pair_of_two_scenes_is_named_with_its_better_partner(broken):
    write(broken["hazy"] / "room_0_1_1.png", hazy_of(broken, "room_1_1_1.png"))
    report = run(broken)
    assert codes(report)["room_0_1_1.png"] == "mismatch"
    pair = report.pairs[0]
    assert pair.partner == "room_1.png"
    assert "of another scene. 'room_1.png' fits better" in pair.reason
    assert report.summary.codes == {"": 3, "mismatch": 1}


def test_better_partner_may_be_a_picture_without_a_pair(broken):
    clean, depth_m = draw_scene(5)
    write(broken["clean"] / "spare.png", clean)
    write(broken["hazy"] / "room_0_1_1.png", add_haze(clean, depth_m, 0.1, (0.9,) * 3, Haze()))
    (broken["clean"] / "torn.png").write_bytes(b"no picture")
    assert run(broken).pairs[0].partner == "spare.png"


def test_picture_of_an_unknown_scene_has_no_better_partner(broken):
    clean, depth_m = draw_scene(5)
    write(broken["hazy"] / "room_0_1_1.png", add_haze(clean, depth_m, 0.1, (0.9,) * 3, Haze()))
    pair = run(broken).pairs[0]
    assert (pair.code, pair.partner) == ("mismatch", None)
    assert "No other clean picture fits better." in pair.reason


def shift_of(reason: str) -> list[float]:
    """The pixels to the right and down that a sentence names."""
    assert "px to the right and" in reason
    assert reason.endswith("px down.")
    return [float(word) for word in reason.split() if word[0] in "+-"]


@pytest.mark.parametrize(("right", "down"), [(7, 0), (0, -7), (-3, 2), (1, 0)])
def test_shift_is_named_in_pixels(broken, right, down):
    moved = np.roll(hazy_of(broken, "room_0_1_1.png"), (down, right), (0, 1))
    write(broken["hazy"] / "room_0_1_1.png", moved)
    pair = run(broken).pairs[0]
    assert pair.code == "shifted"
    assert shift_of(pair.reason) == pytest.approx([right, down], abs=0.3)
    assert not pair.fits


def test_a_common_frame_makes_no_pair():
    framed = []
    for number in (0, 5):
        gray = color.to_float(draw_scene(number)[0])[..., 1].copy()
        gray[:2] = gray[-2:] = gray[:, :2] = gray[:, -2:] = 1.0
        framed.append(gray)
    match = audit_checks.compare(*framed)
    assert match.code == "mismatch"
    assert match.similarity < 0.15


@pytest.mark.parametrize(("axis", "name"), [(1, "left to right"), (0, "top to bottom"), (-1, "by 180 degrees")])
def test_mirrored_pair_is_named(broken, axis, name):
    write(broken["hazy"] / "room_0_1_1.png", cv2.flip(hazy_of(broken, "room_0_1_1.png"), axis))
    pair = run(broken).pairs[0]
    assert (pair.code, pair.reason) == ("mirrored", f"The clean picture is mirrored {name}.")


@pytest.mark.parametrize("name", ["left to right", "top to bottom", "by 180 degrees"])
def test_mirrored_depth_map_is_named(broken, name):
    path = broken["depth"] / "room_0.png"
    axis = {"left to right": 1, "top to bottom": 0, "by 180 degrees": -1}[name]
    write(path, cv2.flip(images.read_picture(path), axis))
    report = run(broken)
    assert {pair.reason for pair in report.pairs[:2]} == {f"The depth map is mirrored {name}."}
    assert report.summary.codes == {"": 2, "depth-mirrored": 2}


def test_depth_map_of_another_scene_explains_nothing(broken):
    write(broken["depth"] / "room_0.png", np.rint(draw_scene(9)[1] * 1000.0).astype(np.uint16))
    report = run(broken)
    assert codes(report)["room_0_2_1.png"] == "unexplained"
    assert "does not explain the haze: residual 0." in report.pairs[1].reason


def test_light_is_told_though_no_depth_map_explains_the_set(broken):
    for number in (0, 1):
        depth = np.rint(draw_scene(9 - number)[1] * 1000.0).astype(np.uint16)
        write(broken["depth"] / f"room_{number}.png", depth)
    report = run(broken)
    assert report.summary.codes == {"unexplained": 4}
    assert report.summary.fields["atmospheric_light"].values == pytest.approx((0.9,), abs=0.02)
    assert "beta" not in report.summary.fields


def test_centre_crop_is_found_and_nothing_is_resized(broken):
    for path in broken["hazy"].iterdir():
        write(path, images.read_picture(path)[10:-10, 12:-12])
    report = run(broken)
    assert set(codes(report).values()) == {""}
    assert {(pair.size, pair.offset) for pair in report.pairs} == {((WIDTH - 24, HEIGHT - 20), (12, 10))}
    assert report.summary.fields["beta"].values == pytest.approx((0.1, 0.2), rel=0.02)
    assert any("4 hazy pictures are centre crops" in line and "12 px left" in line for line in report.summary.evidence)
    largest = images.read_picture(broken["depth"] / "room_0.png").max() / 1000.0
    assert report.pairs[0].largest_m["plane"] == pytest.approx(largest, rel=1e-5)


def test_crop_beside_the_centre_is_a_shift(broken):
    path = broken["hazy"] / "room_0_1_1.png"
    write(path, images.read_picture(path)[:-20, :-24])
    pair = run(broken).pairs[0]
    assert pair.code == "shifted"
    assert shift_of(pair.reason) == pytest.approx([12, 10], abs=0.5)


def test_depth_map_of_the_crop_alone_is_taken_as_such(broken):
    for folder in ("hazy", "depth"):
        for path in broken[folder].iterdir():
            write(path, images.read_picture(path)[10:-10, 12:-12])
    report = run(broken, fov_deg=FOV_DEG)
    assert set(codes(report).values()) == {""}
    assert report.summary.fields["path"] == "plane"


def test_resized_pair_is_named(broken):
    path = broken["hazy"] / "room_0_1_1.png"
    write(path, cv2.resize(images.read_picture(path), (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA))
    pair = run(broken).pairs[0]
    assert (pair.code, pair.reason) == ("resized", "The hazy picture is a resized one, not a crop.")


def test_hazy_picture_larger_than_the_clean_one_is_named(broken):
    path = broken["clean"] / "room_0.png"
    write(path, images.read_picture(path)[:100])
    pair = run(broken).pairs[0]
    assert pair.code == "size"
    assert pair.reason.endswith("Expected at most 192 x 100, received 192 x 144.")


def test_unreadable_file_is_counted_and_named(broken):
    path = broken["hazy"] / "room_0_1_1.png"
    path.write_bytes(path.read_bytes()[:2000])
    report = run(broken)
    assert report.summary.codes == {"": 3, "unreadable": 1}
    assert "'room_0_1_1.png' cannot be decoded" in report.pairs[0].reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.write_bytes(b"nothing"), "'room_0.png' is not a picture that can be read"),
        (lambda path: path.unlink(), "No depth map has the name of the clean picture."),
        (
            lambda path: write(path, images.read_picture(path)[:50]),
            "equal height and width, received image (144, 192) and depth (50, 192)",
        ),
        (lambda path: write(path, np.zeros((HEIGHT, WIDTH), np.uint16)), "too few finite distances"),
    ],
)
def test_useless_depth_map_is_named(broken, change, reason):
    change(broken["depth"] / "room_0.png")
    report = run(broken)
    assert report.summary.codes == {"": 2, "depth": 2}
    assert reason in report.pairs[0].reason


def test_pickled_depth_is_never_opened(broken, tmp_path):
    (broken["depth"] / "room_0.png").unlink()
    np.save(broken["depth"] / "room_0.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    report = run(broken)
    assert codes(report)["room_0_1_1.png"] == "depth"
    assert "room_0.npy" in report.pairs[0].reason


def test_small_depth_map_is_resized_where_asked(broken):
    path = broken["depth"] / "room_0.png"
    whole = images.read_picture(path)
    write(path, cv2.resize(whole, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_NEAREST))
    pair = run(broken, fit_depth=True).pairs[0]
    assert pair.code == ""
    assert pair.fits["plane", "srgb"].beta == pytest.approx(0.1, rel=0.02)


def replace_scene(made: dict[str, Path], clean: np.ndarray, depth_m: np.ndarray, beta: float) -> None:
    write(made["clean"] / "room_0.png", clean)
    write(made["depth"] / "room_0.png", np.rint(depth_m * 1000.0).astype(np.uint16))
    write(made["hazy"] / "room_0_1_1.png", add_haze(clean, depth_m, beta, (0.9,) * 3, Haze()))


def test_picture_of_one_colour_at_one_distance_tells_nothing(broken):
    flat = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    replace_scene(broken, flat, np.full((HEIGHT, WIDTH), 4.0, np.float32), 0.1)
    pair = run(broken).pairs[0]
    assert pair.code == "uncertain"
    assert pair.reason.startswith("The pair does not tell beta and A: ")


def test_opaque_haze_tells_light_and_no_beta(broken):
    clean, depth_m = draw_scene(0)
    replace_scene(broken, clean, depth_m + 20.0, 2.0)
    pair = run(broken).pairs[0]
    assert pair.code == "uncertain"
    assert "beta" in pair.reason
    assert "the haze is opaque (transmission saturated)" in pair.reason
    assert pair.fits["plane", "srgb"].atmospheric_light == pytest.approx((0.9,) * 3, abs=0.003)


def test_pair_without_haze_says_so(broken):
    clean, depth_m = draw_scene(0)
    replace_scene(broken, clean, depth_m, 1e-6)
    pair = run(broken).pairs[0]
    assert pair.code == "uncertain"
    assert "there is next to no haze" in pair.reason


def test_saturated_pair_without_depth_says_so(broken):
    for path in broken["hazy"].iterdir():
        write(path, np.full((HEIGHT, WIDTH, 3), 255, np.uint8))
    report = run(broken, depth=False)
    assert set(codes(report).values()) == {"uncertain"}
    assert "Every patch holds a 0 or a 255" in report.pairs[0].reason
    assert report.summary.evidence == ("No pair tells anything of the recipe.",)
    assert audit_report.report_lines(report)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 5), (17, 9)])
def test_tiny_pictures_end_in_a_reason(tmp_path, size):
    made = folders(tmp_path)
    rng = np.random.default_rng(0)
    for folder in ("hazy", "clean"):
        write(made[folder] / "a.png", rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    write(made["depth"] / "a.png", rng.integers(1000, 9000, size, dtype=np.uint16))
    for depth in (True, False):
        pair = run(made, depth=depth).pairs[0]
        assert pair.code
        assert pair.reason


# --- names ---


def touch(folder: Path, *names: str) -> audit_pairing.Folder:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return audit_pairing.Folder(folder, "{key}", (".png", ".jpg"))


@pytest.mark.parametrize(
    ("hazy", "clean", "rest"),
    [
        ("NYU2_4_1_1.jpg", "NYU2_4.jpg", "1_1"),
        ("1_3_0.90179.png", "1.png", "3_0.90179"),
        ("0001_0.8_0.2.jpg", "0001.png", "0.8_0.2"),
        ("1400_1.png", "1400.png", "1"),
        ("a-fog.png", "a.png", "fog"),
        ("same.png", "same.jpg", ""),
        ("ulm/x_leftImg8bit_foggy_beta_0.01.png", "ulm/x_leftImg8bit.png", "foggy_beta_0.01"),
        ("beta_0.1/x.png", "x.png", ""),
        ("x_1.png", "deep/er/x.png", "1"),
    ],
)
def test_names_pair(tmp_path, hazy, clean, rest):
    pairs, lonely = audit_pairing.find_pairs(touch(tmp_path / "h", hazy), touch(tmp_path / "c", clean), None)
    assert [(pair.hazy, pair.clean, pair.rest) for pair in pairs] == [(hazy, clean, rest)]
    assert not lonely


@pytest.mark.parametrize(
    ("pattern", "hazy", "key"),
    [
        ("{key}", "terrace_0.8.png", "terrace"),
        ("{key}", "terrace.png", "terrace"),
        ("{key}/im0", "terrace/im0.png", "terrace"),
        ("{key}/hazy", "deep/terrace_0.8/hazy.png", "deep/terrace"),
    ],
)
def test_patterns_that_are_paths_pair(tmp_path, pattern, hazy, key):
    clean, depth = touch(tmp_path / "c", f"{key}/im0.png"), touch(tmp_path / "d", f"{key}/disp0GT.png")
    pairs, lonely = audit_pairing.find_pairs(
        dataclasses.replace(touch(tmp_path / "h", hazy), pattern=pattern),
        dataclasses.replace(clean, pattern="{key}/im0"),
        dataclasses.replace(depth, pattern="{key}/disp0GT"),
    )
    assert [(pair.key, pair.clean, pair.depth) for pair in pairs] == [(key, f"{key}/im0.png", f"{key}/disp0GT.png")]
    assert lonely == []


def test_set_of_a_convention_whose_names_are_paths_is_audited(tmp_path):
    """As ETH3D has it: one folder for each scene, with photo, disparity and calibration."""
    made = folders(tmp_path)
    for number in range(2):
        clean, depth_m = draw_scene(number)
        scene = made["clean"] / f"room_{number}"
        scene.mkdir()
        write(scene / "im0.png", clean)
        disparity = (200.0 * 0.1 / depth_m).astype(np.float32)
        (scene / "disp0GT.pfm").write_bytes(pfm(disparity))
        (scene / "calib.txt").write_text(CALIBRATION)
        for i, beta in enumerate((0.1, 0.2), 1):
            write(made["hazy"] / f"room_{number}_{i}.png", add_haze(clean, depth_m, beta, (0.9,) * 3, Haze()))
    report = audit(AuditOptions(hazy=made["hazy"], clean=made["clean"], depth=made["clean"], depth_kind="eth3d"))
    assert set(codes(report).values()) == {""}
    assert len(report.pairs) == 4
    assert report.summary.fields["beta"].values == pytest.approx((0.1, 0.2), rel=0.03)


CALIBRATION = f"cam0=[200 0 95; 0 200 71; 0 0 1]\ndoffs=0\nbaseline=100\nwidth={WIDTH}\nheight={HEIGHT}\n"


def test_transmission_maps_are_turned_into_no_other_path(tmp_path):
    """Their path is that of the recipe that made them, so a camera changes nothing."""
    made = write_set(tmp_path, (0.1,), gray(0.9), Haze(path="ray"), scenes=1)
    _, depth_m = draw_scene(0)
    distance = geometry.plane_to_ray(depth_m, geometry.camera_from_fov(FOV_DEG, WIDTH, HEIGHT))
    (made["depth"] / "room_0.png").unlink()
    np.save(made["depth"] / "room_0.npy", np.exp(-0.1 * distance).astype(np.float32))
    camera = geometry.camera_from_fov(FOV_DEG, WIDTH, HEIGHT)
    told = dataclasses.asdict(camera) | {"depth": {"values": "transmission", "beta": 0.1}}
    (tmp_path / "camera.json").write_text(json.dumps(told))
    report = run(made, depth_scale=None, camera=tmp_path / "camera.json")
    (pair,) = report.pairs
    assert {path for path, _ in pair.fits} == {"plane"}
    assert pair.fits["plane", "srgb"].beta == pytest.approx(0.1, rel=0.02)
    assert pair.fits["plane", "srgb"].rmse < 0.004


def test_longest_clean_name_wins(tmp_path):
    hazy = touch(tmp_path / "h", "1_2_3.png", "1_9_3.png")
    pairs, _ = audit_pairing.find_pairs(hazy, touch(tmp_path / "c", "1.png", "1_2.png"), None)
    assert {pair.hazy: pair.clean for pair in pairs} == {"1_2_3.png": "1_2.png", "1_9_3.png": "1.png"}


def test_a_name_that_merely_begins_alike_is_no_pair(tmp_path):
    pairs, lonely = audit_pairing.find_pairs(touch(tmp_path / "h", "10_1.png"), touch(tmp_path / "c", "1.png"), None)
    assert not pairs
    assert [(file.folder, file.name) for file in lonely] == [("hazy", "10_1.png"), ("clean", "1.png")]
    assert lonely[0].reason == "No clean picture is called '10_1' or as a part of it before '_' or '-'."


def test_names_that_several_files_share_pair_with_none(tmp_path):
    hazy = touch(tmp_path / "h", "x_1.png", "y_1.png")
    clean = touch(tmp_path / "c", "x.png", "x.jpg", "a/y.png", "b/y.png")
    pairs, lonely = audit_pairing.find_pairs(hazy, clean, None)
    assert not pairs
    assert "Several clean pictures share its key: x.jpg, x.png." in [file.reason for file in lonely]
    assert len(lonely) == 6


def test_unmatched_files_are_listed_and_patterns_taken_off(tmp_path):
    hazy = audit_pairing.Folder(touch(tmp_path / "all", "01_hazy.png", "02_hazy.png").root, "{key}_hazy", (".png",))
    clean = audit_pairing.Folder(touch(tmp_path / "all", "01_GT.png", "03_GT.png").root, "{key}_GT", (".png",))
    depth = touch(tmp_path / "d", "01.png", "04.png", "readme.txt")
    pairs, lonely = audit_pairing.find_pairs(hazy, clean, depth)
    assert [(p.key, p.hazy, p.clean, p.depth) for p in pairs] == [("01", "01_hazy.png", "01_GT.png", "01.png")]
    assert [(file.folder, file.name) for file in lonely] == [
        ("hazy", "02_hazy.png"), ("clean", "03_GT.png"), ("depth", "04.png")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: audit_pairing.find_pairs(touch(p, "a.png"), touch(p, "a.png"), None), "cannot be told apart"),
        (
            lambda p: audit_pairing.find_pairs(audit_pairing.Folder(p, "x", (".png",)), touch(p, "a.png"), None),
            "Expected '{key}' once",
        ),
        (
            lambda p: audit_pairing.find_pairs(touch(p, "a.png"), touch(p / "no", "a.png"), touch(p / "none")),
            "none' is not a folder. Expected a folder of files, received nothing of that name. Check the path",
        ),
    ],
)
def test_folders_that_cannot_be_paired_are_refused(tmp_path, call, message):
    with pytest.raises(UsageError, match=message.replace("{", r"\{")):
        call(tmp_path)


def test_no_pair_at_all_is_refused(tmp_path):
    made = folders(tmp_path)
    write(made["hazy"] / "a.png", draw_scene(0)[0])
    with pytest.raises(RefusedError, match=r"There is no pair\. .* received 1 hazy pictures, none with a clean one"):
        run(made, depth=False)


# --- options ---


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"limit": 0}, "--limit is out of range. Expected at least 1, received 0"),
        ({"depth_scale": 0.001}, "--depth-scale is of no use alone. Expected --depth beside it"),
        ({"fov_deg": 60.0}, "--fov-deg is of no use alone"),
        ({"depth": Path("d"), "sparse": Path("s")}, "--sparse is no option of an audit"),
        ({"depth": Path("d"), "depth_kind": "nyu-mat"}, "'nyu-mat' has all its frames in one file"),
    ],
)
def test_options_out_of_range_are_refused(more, message):
    with pytest.raises(UsageError, match=message):
        AuditOptions(hazy=Path("h"), clean=Path("c"), **more)


def test_options_that_miss_something_are_refused_before_anything_is_read():
    options = AuditOptions(hazy=Path("h"), clean=Path("c"), depth=Path("d"), depth_values="disparity")
    with pytest.raises(UsageError, match="Disparity needs a focal length and a baseline"):
        audit(options)


def test_number_of_workers_is_checked(broken):
    with pytest.raises(UsageError, match="number of workers is out of range"):
        run(broken, workers=0)


def test_every_option_has_a_sentence():
    texts = config.attribute_texts(AuditOptions)
    assert {"hazy", "clean", "depth", "hazy_pattern", "limit", "workers", "json", "csv", "recipe"} <= texts.keys()


# --- values and laws ---


@given(st.lists(st.sampled_from([0.04, 0.08, 0.16, 0.3]), min_size=24, max_size=60), st.integers(0, 99))
def test_few_values_are_found_whatever_their_shares(picked, seed):
    counts = {value: picked.count(value) for value in picked}
    values = [value for value in picked if counts[value] >= 2]
    noise = np.exp(0.005 * np.random.default_rng(seed).standard_normal(len(values)))
    draw, _, _ = audit_values.find_draw(np.array(values) * noise, "beta", 0.04, log=True)
    assert draw == Draw("values", tuple(sorted(set(values))))


@pytest.mark.parametrize("count", [10, 40, 400])
def test_an_evenly_filled_range_is_no_list_of_values(count):
    values = np.random.default_rng(count).uniform(0.7, 1.0, count)
    draw, sure, text = audit_values.find_draw(values, "A", 0.008, log=False)
    assert draw.law == "uniform"
    assert (draw.low, draw.high) == pytest.approx((0.7, 1.0), abs=1.0 / count)
    assert sure == "low"
    assert "spread as uniform" in text


def test_three_numbers_tell_no_law():
    draw, sure, text = audit_values.find_draw(np.array([0.1, 0.25, 0.4]), "beta", 0.04, log=True)
    assert sure == "none"
    assert (draw.low, draw.high) == (0.1, 0.5)
    assert "too few to tell values from a law" in text


def test_outliers_do_not_hide_the_values():
    values = np.concatenate([np.full(30, 0.9), np.full(30, 1.0), [0.93, 0.96, 0.81]])
    draw, _, text = audit_values.find_draw(values, "A", 0.008, log=False)
    assert draw.values == (0.9, 1.0)
    assert "3 lie elsewhere" in text


# --- files ---


@pytest.mark.parametrize("quality", [1, 10, 30, 50, 75, 90, 95, 100])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_jpeg_quality_is_read_from_the_file(tmp_path, quality, subsampling):
    path = tmp_path / "a.jpg"
    Image.fromarray(draw_scene(0)[0]).save(path, quality=quality, subsampling=subsampling)
    with Image.open(path) as header:
        assert audit_checks.jpeg_quality(header) == quality


def test_png_has_no_jpeg_quality_but_may_show_its_blocks(tmp_path):
    clean = draw_scene(0)[0]
    Image.fromarray(clean).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as header:
        assert audit_checks.jpeg_quality(header) is None
    rough = images.decode(images.encode(clean, ".jpg", 20), "a")
    plain, blocks = (audit_checks.blockiness(color.to_float(p)[..., 1].copy()) for p in (clean, rough))
    assert plain < 0.1 < blocks
    assert np.isnan(audit_checks.blockiness(np.zeros((64, 64), np.float32)))
    assert np.isnan(audit_checks.blockiness(np.ones((8, 64), np.float32)))


# --- the report ---


def test_report_is_written_and_read_again(broken, tmp_path):
    (broken["clean"] / "alone.png").write_bytes((broken["clean"] / "room_0.png").read_bytes())
    write(broken["hazy"] / "room_0_1_1.png", hazy_of(broken, "room_1_1_1.png"))
    files = {name: tmp_path / f"report.{name}" for name in ("json", "csv", "recipe")}
    options = AuditOptions(
        hazy=broken["hazy"], clean=broken["clean"], depth=broken["depth"], depth_scale=0.001, **files
    )
    report = audit(options)
    audit_report.write(report, options)

    def refuse(text: str) -> None:
        raise AssertionError(text)

    content = json.loads(files["json"].read_text(), parse_constant=refuse)
    assert content["found"] == 4
    assert content["summary"]["fields"]["beta"] == str(report.summary.fields["beta"])
    assert content["unmatched"] == [
        {"folder": "clean", "name": "alone.png", "reason": "No hazy picture belongs to it."}
    ]  # fmt: skip
    assert content["pairs"][1]["fits"]["plane/srgb"]["beta"] == pytest.approx(0.2, rel=0.02)
    rows = list(csv.DictReader(files["csv"].read_text().splitlines()))
    assert tuple(rows[0]) == audit_report.COLUMNS
    assert [row["code"] for row in rows] == ["mismatch", "", "", ""]
    assert float(rows[1]["beta"]) == pytest.approx(0.2, rel=0.02)
    assert float(rows[1]["A_green"]) == pytest.approx(0.9, abs=0.004)
    recipe = config.build(Recipe, config.read_config(files["recipe"], Recipe))
    assert recipe == Recipe(name="audited", **report.summary.fields) == recipe_of(report.summary)
    lines = audit_report.report_lines(report)
    assert any("mismatch" in line and "room_1.png" in line for line in lines)
    assert any("alone.png" in line for line in lines)
    assert any(line.startswith("  beta ") and str(recipe.beta) in line for line in lines)


def call(*words: object) -> int:
    return cli.main([str(word) for word in words])


def test_files_of_the_report_get_the_folders_they_need(broken, tmp_path):
    files = {name: tmp_path / "new" / name / "file" for name in ("json", "csv", "recipe")}
    words = [word for name, path in files.items() for word in (f"--{name}", path)]
    assert call("audit", "--hazy", broken["hazy"], "--clean", broken["clean"], *words) == 0
    assert all(path.stat().st_size > 100 for path in files.values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--csv", "taken/table.csv"),
            "'taken/table.csv' cannot be written. Expected a file in a folder that can",
        ),
        (("--recipe", "."), "'.' cannot be written. Expected a file in a folder that can be written to, received a fo"),
        (("--json", "x", "--csv", "x"), "'x' is named twice. Expected a file of its own for each output"),
    ],
)
def test_file_that_cannot_be_written_is_refused_before_the_work(broken, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    Path("taken").touch()
    monkeypatch.setattr("hazegen.audit.run.find_pairs", lambda *folders: pytest.fail("the work has begun"))
    assert call("audit", "--hazy", broken["hazy"], "--clean", broken["clean"], *words) == 2
    assert message in capsys.readouterr().err


def test_names_that_are_no_text_are_written_as_they_are(broken, tmp_path, capfd):
    name = os.fsdecode(b"\xff\n")
    for folder in ("hazy", "clean", "depth"):
        for path in broken[folder].glob("room_0*"):
            path.rename(path.with_name(path.name.replace("room_0", name)))
    files = {word: tmp_path / word for word in ("json", "csv", "recipe")}
    words = [word for option, path in files.items() for word in (f"--{option}", path)]
    write(broken["hazy"] / f"{name}_1_1.png", hazy_of(broken, "room_1_1_1.png"))
    assert call("audit", "--hazy", broken["hazy"], "--clean", broken["clean"], *words) == 3
    assert "\\udcff" in capfd.readouterr().out
    with files["csv"].open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert {row["clean"] for row in rows} == {f"{name}.png", "room_1.png"}
    assert {pair["ref"]["key"] for pair in json.loads(files["json"].read_text())["pairs"]} == {name, "room_1"}


def test_recipe_file_without_beta_needs_one_beside_it(broken):
    text = audit_report.as_yaml(run(broken, depth=False).summary)
    assert "# beta is not known: add 'beta: ...', or pass --recipe.beta." in text
    assert "\nbeta" not in text
    assert "color_space: srgb" in text


def test_long_tables_are_cut_for_the_terminal(broken):
    for number in range(30):
        (broken["clean"] / f"lonely{number}.png").touch()
    lines = audit_report.report_lines(run(broken))
    assert "  ... and 20 more (--json, --csv)" in lines
