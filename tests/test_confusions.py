"""The depth doctor on real photos whose depth maps are confused on purpose, and on sound ones.

The photos are labelled frames of NYU Depth v2 in the folder that HAZEGEN_TEST_DATA names. Their maps are
written as 16-bit millimetres; each confusion is then what a user does by accident.
"""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from inspect_fixtures import format_of, options_of
from numpy.typing import NDArray

from hazegen import images
from hazegen.depth import checks, conventions, pooled
from hazegen.depth.finding import Finding
from hazegen.depth.measures import Measured, measure
from hazegen.inspect.find import InspectOptions, find
from hazegen.inspect.look import look as look_before_make
from hazegen.inspect.read import read_samples
from hazegen.inspect.report import make_command
from hazegen.inspect.run import Report, inspect
from hazegen.pairing import find_scenes
from hazegen.reading import Reading

DATA = Path(os.environ.get("HAZEGEN_TEST_DATA", "/dev/null"))
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="HAZEGEN_TEST_DATA does not name a folder with the published data sets"
)

FRAMES = 12
CODES = {"inverted", "unit", "8-bit", "false-color", "mirrored", "zero-holes", "transposed", "shifted"}
# Findings about single files or registration that no sound folder may have either.
FALSE_ALARMS = CODES | {"upside-down", "turned", "unrelated", "wrapped", "byte-order", "constant", "unreadable"}
FALSE_ALARMS |= {"convention", "unknown", "calibration", "camera-files"}


def nyu_keys(draw: int, count: int = FRAMES) -> list[str]:
    keys = sorted(path.stem for path in (DATA / "nyu_labeled" / "depth").glob("*.png"))
    return [str(key) for key in np.random.default_rng([7, draw]).choice(keys, count, replace=False)]


def millimetres(key: str) -> NDArray[np.uint16]:
    """A labelled frame's map: the published one is 10 m / 255 a unit."""
    units = images.read_picture(DATA / "nyu_labeled" / "depth" / f"{key}.png")
    return np.rint(np.maximum(units, 1) * (10_000.0 / 255.0)).astype(np.uint16)


def write(root: Path, keys: list[str], confuse: Callable[[NDArray[np.uint16]], NDArray[np.generic]]) -> Path:
    """Links the photos and writes the maps, confused, below `root`."""
    for part in ("images", "depth"):
        (root / part).mkdir(parents=True)
    for key in keys:
        (root / "images" / f"{key}.jpg").symlink_to(DATA / "nyu_labeled" / "image" / f"{key}.jpg")
        (root / "depth" / f"{key}.png").write_bytes(images.encode(confuse(millimetres(key)), ".png"))
    return root


def look(root: Path, kind: str = "nyu-png", **options: object) -> Report:
    return inspect(InspectOptions(images=root / "images", depth=root / "depth", depth_kind=kind, **options))


def codes(findings: list[Finding] | tuple[Finding, ...]) -> set[str]:
    return {found.code for found in findings}


def as_false_colors(depth: NDArray[np.uint16]) -> NDArray[np.uint8]:
    return cv2.applyColorMap((depth / 10_000.0 * 255.0).clip(0, 255).astype(np.uint8), cv2.COLORMAP_JET)[..., ::-1]


def with_holes(depth: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Zeros in 30 % of the picture, in patches as a sensor leaves them."""
    noise = cv2.resize(np.random.default_rng(5).random((24, 32), np.float32), depth.shape[::-1])
    return np.where(noise < np.quantile(noise, 0.3), 0, depth).astype(np.uint16)


CONFUSIONS = {
    # Name: what is done to a map, options of the doctor, code that must be found.
    "far minus depth": (lambda d: (10_500 - d).astype(np.uint16), {}, "inverted"),
    "inverse depth": (lambda d: np.rint(3e6 / d).astype(np.uint16), {}, "inverted"),
    "disparity": (lambda d: np.rint(520 * 75.0 / d * 50).astype(np.uint16), {}, "inverted"),
    "times 1000": (lambda d: d, {"depth_scale": 1.0}, "unit"),
    "times 10": (lambda d: d, {"depth_scale": 0.01}, "unit"),
    "a tenth": (lambda d: d, {"depth_scale": 0.0001}, "unit"),
    "times 1000 / 256": (lambda d: d, {"depth_scale": 0.256}, "unit"),
    "metres as millimetres": (lambda d: (d / 1000.0).astype(np.uint16) + 1, {}, "unit"),
    "upper byte": (lambda d: (d >> 8).astype(np.uint8), {}, "8-bit"),
    "upper byte, unit adapted": (lambda d: (d >> 8).astype(np.uint8), {"depth_scale": 0.256}, "8-bit"),
    "lower byte": (lambda d: (d & 255).astype(np.uint8), {"depth_scale": 0.01}, "8-bit"),
    "false colours": (as_false_colors, {}, "false-color"),
    "mirrored": (lambda d: d[:, ::-1], {}, "mirrored"),
    "upside-down": (lambda d: d[::-1], {}, "upside-down"),
    "turned": (lambda d: d[::-1, ::-1], {}, "turned"),
    "transposed": (lambda d: d.T, {}, "transposed"),
    "zeros for holes": (with_holes, {"not_measured": "65535"}, "zero-holes"),
    "shifted by 20 px": (lambda d: np.roll(d, 20, axis=1), {}, "shifted"),
    "shifted by -15 px and 12 px": (lambda d: np.roll(d, (-15, 12), axis=(0, 1)), {}, "shifted"),
    "constant": (lambda d: np.full_like(d, 2000), {}, "constant"),
    "run over": (lambda d: (d.astype(np.int64) * 20 % 65536).astype(np.uint16), {"depth_scale": 5e-5}, "wrapped"),
    "bytes swapped": (lambda d: d.byteswap(), {}, "byte-order"),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return look(write(tmp_path_factory.mktemp("sound"), nyu_keys(0), lambda depth: depth))


def test_sound_maps_have_none_of_the_findings(sound):
    assert len(sound.files) == FRAMES
    assert not codes(sound.findings) & FALSE_ALARMS
    assert {found.severity for found in sound.findings} <= {"note"}


@pytest.mark.parametrize("name", CONFUSIONS)
def test_confused_maps_are_found_by_name(tmp_path, name):
    confuse, options, code = CONFUSIONS[name]
    report = look(write(tmp_path / "set", nyu_keys(1), confuse), **options)
    worst = {found.code: found.severity for found in report.findings}
    assert worst.get(code) in ("impossible", "unlikely"), report.findings


@pytest.mark.parametrize("name", ["far minus depth", "mirrored", "shifted by 20 px", "false colours", "upper byte"])
def test_confused_maps_are_found_where_no_convention_was_named(tmp_path, name):
    """But for inversion: there the guess follows what the numbers look like, so nothing is left to be found."""
    confuse, _, code = CONFUSIONS[name]
    report = look(write(tmp_path / "set", nyu_keys(2), confuse), kind="custom")
    if code == "inverted":
        assert report.files[0].fmt.values == "relative-inverse"
        assert report.files[0].rise > 0
    else:
        assert code in codes(report.findings), report.findings


@pytest.mark.parametrize("name", ["mirrored", "far minus depth", "false colours", "transposed"])
def test_gross_confusions_would_stop_make(tmp_path, name):
    confuse, _, code = CONFUSIONS[name]
    root = write(tmp_path / "set", nyu_keys(3, 12), confuse)
    refs, _, _ = find_scenes(root / "images", root / "depth", "{key}", "{key}", (".png",))
    found = checks.judge(read_samples(refs, Reading(root / "images", root / "depth", convention="nyu-png")))
    assert {one.code: one.severity for one in found}.get(code) == "impossible"


def test_maps_of_other_scenes_are_found(tmp_path):
    keys = nyu_keys(4)
    root = write(tmp_path / "set", keys, lambda depth: depth)
    for key, other in zip(keys, keys[1:] + keys[:1], strict=True):
        (root / "depth" / f"{key}.png").write_bytes(images.encode(millimetres(other), ".png"))
    assert "unrelated" in codes(look(root).findings)


# --- every labelled frame, in random draws ---


@pytest.fixture(scope="module")
def measured() -> dict[str, Measured]:
    """The statistics of every fourth labelled frame."""
    folder = DATA / "nyu_labeled"
    refs, _, _ = find_scenes(folder / "image", folder / "depth", "{key}", "{key}", (".png",))
    reading = Reading(folder / "image", folder / "depth", convention="nyu-png-8bit")
    return {sample.key: measure(sample) for sample in read_samples(refs[::4], reading)}


def draws(measured: dict[str, Measured], count: int, times: int = 200) -> list[list[Measured]]:
    rng = np.random.default_rng(11)
    files = list(measured.values())
    return [[files[i] for i in rng.choice(len(files), count, replace=False)] for _ in range(times)]


@pytest.mark.parametrize("count", [6, 12, 24])
def test_no_draw_of_sound_frames_raises_an_alarm(measured, count):
    alarms = [codes(checks.judge_measured(draw)) & FALSE_ALARMS for draw in draws(measured, count)]
    print(f"{sum(map(bool, alarms))} of {len(alarms)} draws of {count} frames raised an alarm")
    assert not any(alarms)


def test_thresholds_lie_far_from_every_draw_of_sound_frames(measured):
    """Margins: the gain of mirrored over upright maps, the rise, and the index of planes, in draws of 24."""
    for draw in draws(measured, 24):
        gain = (pooled.fit(draw, "mirrored") - pooled.fit(draw)).mean()
        rise = np.mean([file.rise for file in draw])
        plane = np.nanmedian([file.plane for file in draw])
        assert gain < pooled.SMALLEST_GAIN - 0.25
        assert -gain > pooled.SMALLEST_GAIN + 0.05  # what the same maps gain when they are mirrored
        assert rise > pooled.LARGEST_RISE + 0.3
        assert plane > pooled.LARGEST_PLANE + 0.1
        assert pooled.fit(draw).mean() > 3 * pooled.SMALLEST_FIT
        row, column = pooled.best_shift(draw)
        assert abs(row - 20) <= 1
        assert abs(column - 20) <= 1


# --- the other sets ---

SETS = {
    # Name: images, depth, convention, name patterns.
    "tum": ("rgbd_tum_5000", "rgbd_tum_5000", "tum", "{key}", "{key}_depth"),
    "icl": ("rgbd_iclnuim_5000/color", "rgbd_iclnuim_5000/depth", "tum", "{key}", "{key}"),
    "nyu raw, pgm": ("rgbd_slambook_pgm/color", "rgbd_slambook_pgm/depth", "redwood", "{key}", "{key}"),
    "redwood": ("rgbd_open3d_formats/color", "rgbd_open3d_formats/depth", "nyu-png", "{key}", "{key}"),
    "kitchen": ("rgbd_tsdf_fusion/kitchen", "rgbd_tsdf_fusion/kitchen", "nyu-png", "{key}.color", "{key}.depth"),
    "shelf": ("rgbd_tsdf_fusion/shelf_bin", "rgbd_tsdf_fusion/shelf_bin", "nyu-png", "{key}.color", "{key}.depth"),
    "nyu raw": ("rgbd_metric3d_nyu_raw/rgb", "rgbd_metric3d_nyu_raw/depth", "nyu-png", "rgb_{key}", "sync_depth_{key}"),
    "kitti": ("rgbd_kitti_depth/rgb", "rgbd_kitti_depth/depth", "kitti", "{key}", "{key}"),
    "lens blur": ("rgbd_depthy_lensblur", "rgbd_depthy_lensblur", "lens-blur", "{key}-image", "{key}-depth"),
    "kitti stereo": ("stereo_kitti2015/image_2", "stereo_kitti2015/disp_occ_0", "kitti-disparity", "{key}", "{key}"),
    "middlebury 2003": ("stereo_middlebury03", "stereo_middlebury03", "middlebury-8bit", "{key}/im2", "{key}/disp2"),
    "middlebury 2005": (
        ("stereo_middlebury05_06", "stereo_middlebury05_06", "middlebury-8bit", "{key}/view1", "{key}/disp1")
    ),
    "middlebury 2014": (
        ("stereo_middlebury14_motorcycle_pfm", "stereo_middlebury14_motorcycle_pfm", "middlebury")
        + ("im{key}", "disp{key}GT")
    ),
    "eth3d": ("stereo_eth3d_pfm", "stereo_eth3d_pfm", "middlebury", "{key}/im0", "{key}/disp0"),
    "sceneflow": (
        ("stereo_sceneflow_pfm/RGB_cleanpass/left", "stereo_sceneflow_pfm/disparity/left", "sceneflow")
        + ("{key}", "{key}")
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_sound_sets_are_recognised_and_raise_no_alarm(name):
    """Nobody names a convention; the patterns are found too, where they are in common use."""
    photos, depth, convention, image_pattern, depth_pattern = SETS[name]
    unusual = {"image_pattern": image_pattern, "depth_pattern": depth_pattern} if "20" in name else {}
    report = inspect(InspectOptions(images=DATA / photos, depth=DATA / depth, **unusual))
    assert report.options.patterns() == (image_pattern, depth_pattern)
    named = {report.guesses[0].name, *report.guesses[0].same}
    if name != "shelf":  # its median of 0.4 m is more ordinary as one of 1.6 m
        assert convention in named
    assert not codes(report.findings) & FALSE_ALARMS
    line = make_command(report)
    assert f"--depth-kind {report.guesses[0].name}" in line
    made = options_of(line)
    formats = {file.fmt for file in report.files}
    if conventions.find(made.depth_kind).calibration is None:
        assert formats == {format_of(made)}
    else:
        bare = {"focal_px": None, "baseline_m": None, "doffs_px": 0.0}
        assert {dataclasses.replace(fmt, **bare) for fmt in formats} == {format_of(made)}
    refs = find(InspectOptions(images=made.images, depth=made.depth, image_pattern=image_pattern,
                               depth_pattern=depth_pattern))[1]  # fmt: skip
    assert not codes(look_before_make(refs, made.reading(), depth_pattern)) & FALSE_ALARMS


@pytest.mark.parametrize("name", SETS)
def test_sound_sets_are_not_doubted_by_their_own_name(name):
    photos, depth, convention, image_pattern, depth_pattern = SETS[name]
    found = seen(photos, depth, image_pattern, depth_pattern, depth_kind=convention)
    assert not found & FALSE_ALARMS
    assert ("sky-holes" in found) == (name == "eth3d")  # of the others, KITTI's sky is looked for anyway


def seen(photos: str, depth: str, image_pattern: str, depth_pattern: str, **given: object) -> set[str]:
    """What hazegen make's look warns of, and worse."""
    options = InspectOptions(images=DATA / photos, depth=DATA / depth, image_pattern=image_pattern,
                             depth_pattern=depth_pattern, **given)  # fmt: skip
    refs = find(options)[1]
    found = look_before_make(refs, options.reading_of(options.images, options.depth), depth_pattern)
    return {one.code for one in found if one.severity != "note"}


WRONG_READINGS = {
    # Name: folders and patterns of a set, how it is read, findings.
    "KITTI disparity as depth": (SETS["kitti stereo"], {"depth_kind": "kitti"}, {"convention", "inverted"}),
    "Middlebury disparity as NYU": (SETS["middlebury 2003"], {"depth_kind": "nyu-png-8bit"}, {"convention"}),
    "Middlebury disparity as metres": (
        SETS["middlebury 2005"], {"depth_scale": 1.0}, {"convention", "inverted", "unit"}
    ),
    "ICL as Redwood": (SETS["icl"], {"depth_kind": "redwood"}, {"convention"}),
    "ICL as millimetres": (SETS["icl"], {"depth_scale": 0.001}, {"convention"}),
    "cones disparity as depth": (
        ("stereo_cones_tif_float", "stereo_cones_tif_float", "", "{key}", "gt_disp_{key}"), {}, {"inverted", "unknown"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_READINGS)
def test_wrong_readings_of_real_sets_do_not_pass_make_without_a_word(name):
    (photos, depth, _, *patterns), given, expected = WRONG_READINGS[name]
    assert expected <= seen(photos, depth, *patterns, **given)


def test_single_frames_of_nyu_never_look_clearly_inverted(measured):
    """The margin of the finding that single files can raise."""
    rises = np.array([file.rise for file in measured.values()])
    assert rises.min() > pooled.STRONG_RISE + 0.2
    assert not any("inverted" in codes(checks.judge_measured([file])) for file in measured.values())


@pytest.mark.parametrize(
    ("folder", "patterns", "kind"),
    [
        ("rgbd_carla_exr", ("{key}/rgb", "{key}/depth"), "carla-exr"),
        ("stereo_middlebury14_motorcycle_pfm", ("im{key}", "disp{key}GT"), "middlebury"),
        ("stereo_cones_tif_float", ("{key}/left", "{key}/gt_disp_left"), "custom"),
        ("stereo_middlebury05_06", ("{key}/view1", "{key}/disp1"), "middlebury-8bit"),
        ("stereo_opencv_aloe", ("{key}L", "{key}GT"), "middlebury-8bit"),
        ("stereo_skimage_motorcycle", ("{key}_left", "{key}_disp"), "custom"),
    ],
)
def test_pairs_of_other_names_are_found(folder, patterns, kind):
    if folder == "rgbd_carla_exr":
        pytest.importorskip("OpenEXR", reason="the extra exr is not installed")
    report = inspect(InspectOptions(images=DATA / folder, depth=DATA / folder))
    assert report.options.patterns() == patterns
    assert report.options.depth_kind == kind


def test_eth3d_without_its_calibration_is_named(tmp_path):
    for path in (DATA / "stereo_eth3d_pfm").glob("*/*.p*"):
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        (tmp_path / path.parent.name / path.name).symlink_to(path)
    report = inspect(InspectOptions(images=tmp_path, depth=tmp_path))
    assert "calibration" in codes(report.findings)
    assert report.files[0].fmt.values == "relative-inverse"
    assert {file.sky for file in report.files} == {0.0}


def test_rendered_street_is_recognised_with_its_sky(tmp_path):
    pytest.importorskip("OpenEXR", reason="the extra exr is not installed")
    for part, name in (("images", "rgb.png"), ("depth", "depth.exr")):
        (tmp_path / part).mkdir()
        (tmp_path / part / f"a{Path(name).suffix}").symlink_to(DATA / "rgbd_carla_exr" / name)
    report = inspect(InspectOptions(images=tmp_path / "images", depth=tmp_path / "depth"))
    assert report.guesses[0].name == "carla-exr"
    assert codes(report.findings) == {"sky", "few-files"}


def test_disparity_without_a_word_is_found_inverted():
    folder = DATA / "stereo_skimage_motorcycle"
    report = inspect(
        InspectOptions(images=folder, depth=folder, image_pattern="{key}_left", depth_pattern="{key}_disp")
    )
    assert {"inverted", "unknown"} <= codes(report.findings)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [("SUN", "custom", set()), ("SUN", "nyu-png", {"wrapped", "convention"}), ("NYU", "nyu-png", {"byte-order"})],
)
def test_rotated_and_swapped_files_are_told_apart(tmp_path, name, kind, expected):
    folder = DATA / "rgbd_open3d_formats" / "other_formats"
    for path in folder.glob(f"{name}_*"):
        (tmp_path / path.name).symlink_to(path)
    report = inspect(InspectOptions(images=tmp_path, depth=tmp_path, depth_kind=kind, depth_pattern="{key}_depth",
                                    image_pattern="{key}_color"))  # fmt: skip
    assert codes(report.findings) & FALSE_ALARMS == expected
    if kind == "custom":
        assert report.guesses[0].name == "sun-rgbd"
