"""The table of conventions: each is read back from a file that is written by its rule, and docs/depth.md tells it."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from depth_fixtures import MATLAB_73, npy, write, write_exr, write_hdf5, write_matlab_73

from hazegen.depth import calibration, readers
from hazegen.depth.conventions import CONVENTIONS, find
from hazegen.depth.formats import DepthFormat, check_complete, from_camera_file
from hazegen.errors import UsageError
from hazegen.geometry import Camera

DOCS = Path(__file__).parent.parent / "docs" / "depth.md"
NAN, INF = np.nan, np.inf
# The scene of all round trips, in metres: something near, something far, a hole, the sky.
SCENE = np.repeat(np.array([[2.0, 8.0, 40.0], [5.0, NAN, INF]]), 20, axis=1)
NEAR_FAR = {"near_m": 2.0, "far_m": 40.0}


def coded(unit, dtype=np.uint16, hole=0, sky=0):
    """The scene in whole units, with the marks of holes and sky."""
    units = np.rint(np.nan_to_num(SCENE, nan=0, posinf=0) / unit)
    return np.where(np.isnan(SCENE), hole, np.where(np.isinf(SCENE), sky, units)).astype(dtype)


def metric(hole=0.0, sky=0.0, dtype=np.float32):
    return np.where(np.isnan(SCENE), hole, np.where(np.isinf(SCENE), sky, SCENE)).astype(dtype)


def inverse():
    """Affine inverse depth by an unknown scale and shift; neither holes nor sky can be told."""
    return (3.0 + 7.0 / np.where(np.isfinite(SCENE), SCENE, 8.0)).astype(np.float32)


def rotated():
    millimetres = coded(0.001)
    return (millimetres << 3) | (millimetres >> 13)


def carla():
    """The sensor's own formula, from metres to three bytes."""
    parts = np.rint(np.nan_to_num(SCENE, nan=0.0, posinf=1000.0) / 1000.0 * (2**24 - 1)).astype(np.int64)
    return np.stack([parts % 256, parts // 256 % 256, parts // 65536], axis=2).astype(np.uint8)


def disparity(focal_px, baseline_m, unit, offset=0, hole=0, sky=0):
    numbers = np.rint(focal_px * baseline_m / SCENE / unit + offset)
    return np.where(np.isnan(SCENE), hole, np.where(np.isinf(SCENE), sky, numbers)).astype(np.uint16)


def nyu_mat(path):
    depths = np.stack([metric(), metric() * 2], axis=2)
    return write_matlab_73(path, {"depths": depths, "images": np.zeros((2, 60, 3, 2), np.uint8)}, compression="gzip")


def midas(path):
    """MiDaS writes PFM with the scale -1."""
    return write(path, inverse())


def hypersim(path):
    return write_hdf5(path, {"dataset": metric(NAN, INF, np.float16)}, compression="gzip")


def make3d(path):
    grid = np.stack([metric() * 0, metric() + 1, metric() + 2, metric()], axis=2).astype(np.float64)
    return write(path, grid, "Position3DGrid")


def depth_pro(path):
    np.savez_compressed(path, depth=metric(), focallength_px=np.float64(500.0))
    return path


def megadepth(path):
    scene = np.where(np.isnan(SCENE), 0.0, np.where(np.isinf(SCENE), -2.0, SCENE / 13.0)).astype(np.float32)
    return write_hdf5(path, {"depth": scene}, compression="gzip")


def background(value):
    return lambda path: write_exr(path, dict.fromkeys("RGB", metric(0.0, value)))


# Name, suffix, writer or array, further fields, whether holes and sky are known, and the tolerance in metres at 40 m.
ROUND_TRIPS = {
    "nyu-mat": (".mat", nyu_mat, {}, "holes", 1e-5),
    "nyu-png": (".png", coded(0.001), {}, "holes", 0.0005),
    "nyu-png-10000": (".png", np.where(coded(0.001) > 6500, 0, coded(0.001) * 10), {}, "near", 0.0005),
    "nyu-png-8bit": (".png", np.where(SCENE < 10, coded(10 / 255), 0).astype(np.uint8), {}, "near", 0.02),
    "kitti": (".png", coded(1 / 256), {}, "holes", 0.002),
    "kitti-disparity": (".png", disparity(721.5, 0.54, 1 / 256), {}, "holes", 0.01),
    "tum": (".png", np.where(SCENE < 13, coded(1 / 5000), 0).astype(np.uint16), {}, "near", 0.0002),
    "icl-nuim": (".png", np.where(SCENE < 13, coded(1 / 5000), 0).astype(np.uint16), {}, "near", 0.0002),
    "scannet": (".png", coded(0.001), {}, "holes", 0.0005),
    "redwood": (".pgm", coded(0.001), {}, "holes", 0.0005),
    "sun-rgbd": (".png", rotated(), {}, "holes", 0.0005),
    "diode": (".npy", metric()[..., None], {}, "holes", 1e-5),
    "make3d": (".mat", make3d, {}, "holes", 1e-5),
    "ibims": (".png", coded(50 / 65535), {}, "holes", 0.0005),
    "hypersim": (".hdf5", hypersim, {}, "both", 0.02),
    "virtual-kitti": (".png", coded(0.01, sky=65535), {}, "both", 0.005),
    "tartanair": (".npy", metric(0.0, 9998.7), {}, "both", 1e-5),
    "carla": (".png", carla(), {}, "both", 0.0001),
    "airsim": (".pfm", metric(0.0, 65504.0), {}, "both", 1e-5),
    "airsim-perspective": (".pfm", metric(0.0, 65520.0), {}, "both", 1e-5),
    "blender": (".exr", background(1e10), {}, "both", 1e-5),
    "blender-distance": (".exr", background(1e8), {}, "both", 1e-5),
    "megadepth": (".h5", megadepth, NEAR_FAR, "holes", 0.001),
    "depth-pro": (".npz", depth_pro, {}, "holes", 1e-5),
    "midas": (".pfm", midas, NEAR_FAR, "neither", 0.01),
    "depth-anything": (".npy", inverse(), NEAR_FAR, "neither", 0.01),
    "marigold": (".npy", (metric(8.0, 8.0) / 50.0), NEAR_FAR, "neither", 0.01),
    "transmission": (".npy", np.exp(-0.05 * metric(NAN, INF)), {"beta": 0.05}, "both", 0.001),
}  # fmt: skip
OF_THE_SCENE = {
    "both": SCENE,
    "holes": np.where(np.isinf(SCENE), NAN, SCENE),
    "near": np.where(SCENE < 6.6, SCENE, NAN),
    "neither": np.where(np.isfinite(SCENE), SCENE, 8.0),
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_scene_is_read_back_from_a_file_written_by_the_rule(name, tmp_path):
    suffix, content, fields, known, tolerance = ROUND_TRIPS[name]
    if suffix == ".exr":
        pytest.importorskip("OpenEXR", reason="the extra 'exr' is not installed")
    convention = find(name)
    assert suffix in convention.suffixes
    path = tmp_path / f"a{suffix}"
    content(path) if callable(content) else write(path, content)
    index = 0 if convention.stack else None
    got = readers.read_depth(path, from_camera_file({}, fields, convention.format), index)
    expected = OF_THE_SCENE[known]
    if known == "near":
        keep = ~(np.isfinite(SCENE) & np.isnan(expected))  # what the convention reaches
        got, expected = np.where(keep, got, NAN), np.where(keep, expected, NAN)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(expected))
    finite = np.isfinite(expected)
    np.testing.assert_allclose(got[finite], expected[finite], atol=tolerance, rtol=tolerance / 40)


def test_second_frame_of_the_labelled_file_is_twice_as_far(tmp_path):
    path = nyu_mat(tmp_path / "a.mat")
    assert path.read_bytes().startswith(MATLAB_73)
    first, second = (readers.read_depth(path, find("nyu-mat").format, index) for index in (0, 1))
    np.testing.assert_array_equal(second, first * 2)


def test_cityscapes_is_read_with_its_camera_file(tmp_path):
    path = write(tmp_path / "ulm_0_disparity.png", disparity(2262.52, 0.209313, 1 / 256, offset=1, hole=0, sky=1))
    (tmp_path / "ulm_0_camera.json").write_text(
        '{"extrinsic": {"baseline": 0.209313}, "intrinsic": {"fx": 2262.52, "fy": 2265.3, "u0": 1.0, "v0": 0.5}}'
    )
    told = calibration.read_calibration(
        "cityscapes", calibration.path_of("cityscapes", "ulm_0", path, None), SCENE.shape
    )
    fields = {"focal_px": told.focal_px, "baseline_m": told.baseline_m, "doffs_px": told.doffs_px}
    got = readers.read_depth(path, from_camera_file({}, fields, find("cityscapes-disparity").format))
    np.testing.assert_array_equal(np.isnan(got), np.isnan(SCENE))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(SCENE))
    np.testing.assert_allclose(got, SCENE, rtol=0.007)
    assert told.camera == Camera(60, 2, 2262.52, 2265.3, 1.0, 0.5)


@pytest.mark.parametrize("doffs", [0.0, 32.778])
def test_middlebury_is_read_with_its_calibration(tmp_path, doffs):
    numbers = np.where(np.isnan(SCENE), INF, 999.421 * 0.193001 / SCENE - doffs).astype(np.float32)
    path = write(tmp_path / "disp0.pfm", numbers)
    (tmp_path / "calib.txt").write_text(
        f"cam0=[999.421 0 1; 0 999.421 0.5; 0 0 1]\ndoffs={doffs}\nbaseline=193.001\nwidth=60\nheight=2\n"
    )
    told = calibration.read_calibration("middlebury", calibration.path_of("middlebury", "a", path, None), SCENE.shape)
    fields = {"focal_px": told.focal_px, "baseline_m": told.baseline_m, "doffs_px": told.doffs_px}
    for name in ("middlebury", "eth3d"):
        got = readers.read_depth(path, from_camera_file({}, fields, find(name).format))
        np.testing.assert_allclose(got, np.where(np.isinf(SCENE), INF, SCENE), rtol=1e-5)


# --- the table itself ---


def test_every_synthetic_convention_has_a_round_trip():
    synthetic = {name for name, convention in CONVENTIONS.items() if convention.status == "synthetic"}
    assert synthetic - {"cityscapes-disparity"} <= set(ROUND_TRIPS)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_row_of_the_table_is_sound(name):
    convention = CONVENTIONS[name]
    assert convention.name == name
    assert re.fullmatch(r"[a-z0-9-]+", name)
    assert convention.status == "synthetic" or re.match(r"(real|documentation)(: .+)?$", convention.status)
    assert convention.image_pattern.count("{key}") == convention.depth_pattern.count("{key}") == 1
    assert all(re.fullmatch(r"\.[a-z0-9]+", suffix) for suffix in convention.suffixes)
    assert convention.source or name == "custom"
    if convention.format.values == "disparity" and name not in ("middlebury-8bit",):
        assert convention.calibration or check_complete(convention.format) is None


def test_find_names_the_nearest():
    assert find("tum") is CONVENTIONS["tum"]
    with pytest.raises(UsageError, match=r"No depth convention has this name. Expected .*as kitti, .*received 'Kity'"):
        find("Kity")
    with pytest.raises(UsageError, match=r"as custom, nyu-mat, .*received '~'. Correct --depth-kind; docs/depth.md"):
        find("~")


def rows_of_the_document() -> dict[str, list[str]]:
    """Cells of the table of conventions, by name."""
    text = DOCS.read_text(encoding="utf-8").split("## Conventions")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0].strip("`"): row for row in cells}


def test_document_lists_every_convention_in_order():
    rows = rows_of_the_document()
    assert list(rows) == list(CONVENTIONS)
    for name, (_, suffixes, *_, status) in rows.items():
        assert suffixes.split() == list(CONVENTIONS[name].suffixes), name
        assert status == CONVENTIONS[name].status, name


@pytest.mark.parametrize("name", CONVENTIONS)
def test_document_tells_the_marks_of_each_convention(name):
    _, _, _, not_measured, no_surface, *_ = rows_of_the_document()[name]
    fmt = CONVENTIONS[name].format
    for mark in fmt.not_measured:
        assert re.search(rf"(^|\D){mark:g}($|\D)", not_measured), name
    for mark in (fmt.no_surface, fmt.no_surface_from):
        assert mark is None or f"{mark:.10g}" in no_surface.replace(" ", ""), name


def test_diode_names_its_mask(tmp_path):
    (tmp_path / "a_depth.npy").write_bytes(npy(np.ones((2, 2, 1), np.float32)))
    mask = write(tmp_path / "a_depth_mask.npy", np.array([[1.0, 0.0], [1.0, 1.0]]))
    pattern = find("diode").mask_pattern
    assert pattern is not None
    assert mask == tmp_path / (pattern.replace("{key}", "a") + ".npy")
    depth = readers.read_depth(tmp_path / "a_depth.npy", find("diode").format, mask=mask)
    np.testing.assert_array_equal(depth, [[1.0, NAN], [1.0, 1.0]])


def test_conventions_whose_sky_is_a_hole_and_those_of_stretched_maps():
    """Outdoors, by scanners and stereo cameras; a renderer knows its sky, and rooms have none."""
    outdoors = {"kitti", "kitti-disparity", "cityscapes-disparity", "eth3d", "diode"}
    assert {name for name, convention in CONVENTIONS.items() if convention.sky_is_hole} == outdoors
    assert {name for name, convention in CONVENTIONS.items() if convention.stretched} == {"make3d"}


def test_convention_that_names_files_frames_or_rules_is_more_than_its_format():
    more = {name for name, convention in CONVENTIONS.items() if convention.is_more_than_format}
    outdoors = {"kitti", "kitti-disparity", "cityscapes-disparity", "eth3d", "diode"}
    assert more == outdoors | {"make3d", "middlebury", "ibims", "nyu-mat"}


def test_document_lists_every_field_of_a_camera_files_depth_entry():
    table = DOCS.read_text().partition("## Camera files")[2].partition("## Conventions")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    listed = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert listed == {field.name for field in dataclasses.fields(DepthFormat)} - {"unit"} | {"unit_m", "convention"}
