"""Every published depth map at hand, read by its convention and held against another reader and its source's word.

They lie in the folder that the environment variable HAZEGEN_TEST_DATA names.
"""

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hazegen import images
from hazegen.depth import calibration, checks, containers, readers
from hazegen.depth.conventions import CONVENTIONS, find
from hazegen.depth.formats import DepthFormat, from_camera_file
from hazegen.depth.measures import Sample

DATA = Path(os.environ.get("HAZEGEN_TEST_DATA", "/dev/null"))

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="HAZEGEN_TEST_DATA does not name a folder with the published data sets"
)


def by_pillow(path: Path) -> np.ndarray:
    """The numbers of a picture; of three channels, the second."""
    with Image.open(path) as picture:
        array = np.asarray(picture).astype(np.float64)
    return array[..., 1] if array.ndim == 3 else array


def by_hand(path: Path) -> np.ndarray:
    """The numbers of a little-endian PFM file whose header has one entry a line."""
    magic, size, scale, numbers = path.read_bytes().split(b"\n", 3)
    assert magic.strip() == b"Pf"
    assert float(scale) < 0
    width, height = (int(number) for number in size.split())
    return np.array(struct.unpack(f"<{width * height}f", numbers)).reshape(height, width)[::-1]


def by_openexr(path: Path) -> np.ndarray:
    exr = pytest.importorskip("OpenEXR", reason="the extra 'exr' is not installed")
    with exr.File(str(path), separate_channels=True) as file:
        return file.channels()["Y"].pixels.astype(np.float64)


def by_numpy(path: Path) -> np.ndarray:
    with np.load(path, allow_pickle=False) as file:
        return file["arr_0"].astype(np.float64)


@dataclass(frozen=True)
class Maps:
    """A folder's maps: where they lie, what reads them, and what their source says of them.

    `metres` turns another reader's numbers into metres (NaN not measured, infinite no surface); of relative maps it
    gives inverse depth (or depth) up to scale and shift. The ranges are of the files' nearest and farthest metres,
    and of their shares of holes and sky.
    """

    convention: str
    pattern: str
    count: int
    read: Any
    metres: Any
    nearest: tuple[float, float]
    farthest: tuple[float, float]
    holes: tuple[float, float] = (0.0, 0.0)
    sky: tuple[float, float] = (0.0, 0.0)
    fields: dict[str, Any] = field(default_factory=dict)
    calibrated: bool = False


def marked(raw, unit):
    return np.where(raw == 0, np.nan, raw * unit)


def by_rotation(raw):
    return marked((raw.astype(int) >> 3) | ((raw.astype(int) << 13) & 65535), 0.001)


def stereo(focal_px, baseline_m, doffs_px=0.0):
    return lambda raw: np.where(np.isinf(raw), np.nan, focal_px * baseline_m / (raw + doffs_px))


NEARNESS = {"values": "relative-inverse", "not_measured": (0.0,), "near_m": 1.0, "far_m": 4.0}
AS_FAR = {"near_m": 1.0, "far_m": 20.0}
MAPS = {
    "nyu_labeled": Maps("nyu-png-8bit", "depth/*.png", 442, by_pillow, lambda raw: marked(raw, 10 / 255), (0.7, 2.4),
                        (1.2, 10.0)),
    "rgbd_metric3d_nyu_raw": Maps("nyu-png", "depth/*.png", 3, by_pillow, lambda raw: marked(raw, 0.001), (0.7, 1.4),
                                  (6.4, 8.3), (0.24, 0.34)),
    "rgbd_kitti_depth": Maps("kitti", "depth/*.png", 3, by_pillow, lambda raw: marked(raw, 1 / 256), (5, 6), (75, 86),
                             (0.79, 0.82)),
    "stereo_kitti2015": Maps("kitti-disparity", "disp_occ_0/*.png", 1, by_pillow,
                             lambda raw: np.where(raw == 0, np.nan, 389.61 / np.maximum(raw / 256, 1e-9)), (5.9, 6),
                             (79, 81), (0.87, 0.89)),
    "rgbd_tum_5000": Maps("tum", "*_depth.png", 2, by_pillow, lambda raw: marked(raw, 1 / 5000), (0.9, 1.1),
                          (8.5, 10.6), (0.32, 0.35)),
    "rgbd_iclnuim_5000": Maps("icl-nuim", "depth/*.png", 5, by_pillow, lambda raw: marked(raw, 1 / 5000), (0.7, 1.7),
                              (2.5, 4.3)),
    "rgbd_open3d_formats": Maps("redwood", "depth/*.png", 5, by_pillow, lambda raw: marked(raw, 0.001), (0.9, 1.1),
                                (2.5, 2.8), (0.12, 0.14)),
    "rgbd_open3d_formats#SUN": Maps("sun-rgbd", "other_formats/SUN_depth.png", 1, by_pillow, by_rotation,
                                    (1.0, 1.1), (9, 10), (0.18, 0.19)),
    "rgbd_open3d_formats#TUM": Maps("tum", "other_formats/TUM_depth.png", 1, by_pillow,
                                    lambda raw: marked(raw, 1 / 5000), (1.4, 1.5), (9, 10), (0.19, 0.2)),
    "rgbd_slambook_pgm": Maps("redwood", "depth/*.pgm", 5, by_pillow, lambda raw: marked(raw, 0.001), (0.7, 1.1),
                              (8, 9.9), (0.27, 0.32)),
    "rgbd_tsdf_fusion#kitchen": Maps("redwood", "kitchen/*.depth.png", 5, by_pillow, lambda raw: marked(raw, 0.001),
                                     (0.9, 1.2), (2.8, 3), (0.08, 0.13)),
    "rgbd_tsdf_fusion#shelf_bin": Maps("redwood", "shelf_bin/*.depth.png", 3, by_pillow,
                                       lambda raw: marked(raw, 0.001), (0.09, 0.23), (1.1, 1.8), (0.63, 0.67)),
    "rgbd_carla_exr": Maps("carla-exr", "depth.exr", 1, by_openexr, lambda raw: np.where(raw >= 1000, np.inf, raw),
                           (2.5, 2.6), (250, 260), sky=(0.29, 0.30)),
    "rgbd_depthy_lensblur": Maps("lens-blur", "*-depth.jpg", 5, by_pillow, lambda raw: raw, (1, 1), (20, 20),
                                 fields=AS_FAR),
    "stereo_cones_tif_float": Maps("custom", "gt_disp_left.tif", 1, by_pillow, lambda raw: marked(raw, 1.0), (1, 1),
                                   (4, 4), (0.03, 0.04), fields=NEARNESS),
    "stereo_eth3d_pfm#playground": Maps("eth3d", "playground/disp0.pfm", 1, by_hand, stereo(542.019, 0.0595549),
                                        (1.6, 1.7), (15, 15.5), (0.50, 0.51), calibrated=True),
    "stereo_eth3d_pfm#terrace": Maps("eth3d", "terrace/disp0.pfm", 1, by_hand, stereo(711.499, 0.0599432), (2.4, 2.5),
                                     (5.2, 5.3), (0.46, 0.47), calibrated=True),
    "stereo_middlebury03": Maps("middlebury-8bit", "*/disp2.png", 2, by_pillow, lambda raw: marked(raw, 1.0), (1, 1),
                                (4, 4), (0.02, 0.033), fields=NEARNESS),
    "stereo_middlebury05_06": Maps("middlebury-8bit", "*/disp1.png", 3, by_pillow, lambda raw: marked(raw, 1.0),
                                   (1, 1), (4, 4), (0.005, 0.02), fields=NEARNESS),
    "stereo_opencv_aloe": Maps("middlebury-8bit", "aloeGT.png", 1, by_pillow, lambda raw: marked(raw, 1.0), (1, 1),
                               (4, 4), (0.034, 0.036), fields=NEARNESS),
    "stereo_middlebury14_motorcycle_pfm": Maps("middlebury", "disp0GT.pfm", 1, by_hand,
                                               stereo(999.421, 0.193001, 32.778), (2.0, 2.1), (4.5, 4.7),
                                               (0.02, 0.022), calibrated=True),
    "stereo_sceneflow_pfm": Maps("sceneflow", "disparity/left/*.pfm", 1, by_hand, lambda raw: 1050 / raw, (8, 8.1),
                                 (850, 880)),
    "stereo_skimage_motorcycle": Maps("custom", "*.npz", 1, by_numpy, stereo(994.978, 0.193001, 31.086), (2.1, 2.2),
                                      (5, 5.1), (0.07, 0.08),
                                      fields={"values": "disparity", "not_measured": (), "focal_px": 994.978,
                                              "baseline_m": 0.193001, "doffs_px": 31.086}),
}  # fmt: skip
# One in 37 of these frames: 12.
EVERY = {"nyu_labeled": 37}


def files(name: str) -> list[Path]:
    found = sorted((DATA / name.split("#")[0]).glob(MAPS[name].pattern))
    assert len(found) == MAPS[name].count
    return found[:: EVERY.get(name, 1)]


def format_of(name: str, path: Path) -> DepthFormat:
    maps, fields = MAPS[name], dict(MAPS[name].fields)
    if maps.calibrated:
        size = containers.read_values(path, DepthFormat()).shape
        told = calibration.read_calibration("middlebury", calibration.path_of("middlebury", "", path, None), size)
        fields |= {"focal_px": told.focal_px, "baseline_m": told.baseline_m, "doffs_px": told.doffs_px}
    return from_camera_file({}, fields, find(maps.convention).format)


@pytest.mark.parametrize("name", MAPS)
def test_every_map_has_the_metres_that_its_source_says(name):
    maps = MAPS[name]
    for path in files(name):
        fmt = format_of(name, path)
        assert path.suffix in find(maps.convention).suffixes
        got, expected = readers.read_depth(path, fmt), maps.metres(maps.read(path))
        assert got.dtype == np.float32
        assert got.shape == expected.shape
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
        np.testing.assert_array_equal(np.isinf(got), np.isinf(expected))
        finite = np.isfinite(expected)
        if fmt.values.startswith("relative"):
            check_relative(fmt, got[finite], expected[finite])
        else:
            np.testing.assert_allclose(got[finite], expected[finite], rtol=1e-5)
        within(got[finite].min(), maps.nearest)
        within(got[finite].max(), maps.farthest)
        within(np.isnan(got).mean(), maps.holes)
        within(np.isinf(got).mean(), maps.sky)


def within(value, limits):
    assert limits[0] - 1e-5 <= value <= limits[1] + 1e-5


def check_relative(fmt, got, raw):
    """From near to far, the right way round: straight in the raw numbers between their quantiles."""
    low, high = np.quantile(raw, (0.005, 0.995))
    share = np.clip((raw - low) / (high - low), 0, 1)
    if fmt.values == "relative":
        straight, ends = got, (fmt.near_m, fmt.far_m)
    else:
        straight, ends = 1.0 / got.astype(np.float64), (1 / fmt.far_m, 1 / fmt.near_m)
    # The green channel of a JPEG: two decoders differ by a code value or two.
    np.testing.assert_allclose(straight, ends[0] + share * (ends[1] - ends[0]), atol=0.02 * (ends[1] - ends[0]))


def test_no_folder_with_depth_is_left_out():
    found = {path.name for path in DATA.iterdir() if path.name.startswith(("rgbd_", "stereo_", "nyu_"))}
    assert found == {name.split("#")[0] for name in MAPS}


def test_conventions_that_are_said_to_be_real_are_tried_here():
    real = {name for name, convention in CONVENTIONS.items() if convention.status.startswith("real")}
    assert real == {maps.convention for maps in MAPS.values()}


def test_relative_maps_of_phones_are_larger_where_farther():
    """The tunnel's middle is its end; the mango lies before its table."""
    fmt = from_camera_file({}, AS_FAR, find("lens-blur").format)
    tunnel = readers.read_depth(DATA / "rgbd_depthy_lensblur" / "tunnel-depth.jpg", fmt)
    height, width = tunnel.shape
    middle = tunnel[2 * height // 5 : 3 * height // 5, 2 * width // 5 : 3 * width // 5]
    assert np.median(middle) > 1.5 * np.median(tunnel[-height // 10 :])


def test_kinect_dump_in_the_other_byte_order_is_found_by_the_doctor():
    """A PGM whose header says big-endian, with little-endian raw disparities 0..2047: nothing in it is metres."""
    folder = DATA / "rgbd_open3d_formats" / "other_formats"
    fmt = find("redwood").format
    values = containers.read_values(folder / "NYU_depth.pgm", fmt)
    assert values.max() > 65000
    assert values.byteswap().max() == 2047
    clean = images.as_rgb8(images.read_picture(folder / "NYU_color.ppm"), "NYU_color.ppm")
    sample = Sample("NYU", clean, values, readers.to_metres(values, fmt, "NYU_depth.pgm"), fmt)
    severity = {finding.code: finding.severity for finding in checks.judge([sample])}
    assert severity["byte-order"] == "impossible"


def test_rotated_map_that_is_read_as_plain_is_another():
    """What forgetting the rotation costs: far from the truth, and never refused by the reader alone."""
    path = DATA / "rgbd_open3d_formats" / "other_formats" / "SUN_depth.png"
    right, wrong = (readers.read_depth(path, find(name).format) for name in ("sun-rgbd", "redwood"))
    assert np.nanmedian(wrong) > 7 * np.nanmedian(right)


def test_sky_of_the_rendered_street_is_infinite():
    pytest.importorskip("OpenEXR", reason="the extra 'exr' is not installed")
    folder = DATA / "rgbd_carla_exr"
    clean = images.as_rgb8(images.read_picture(folder / "rgb.png"), "rgb.png")
    depth = readers.read_depth(folder / "depth.exr", find("carla-exr").format)
    assert clean.shape == (*depth.shape, 3)
    # The sky is bright and above: half of the upper half, nothing of the lowest quarter.
    assert np.isinf(depth[: len(depth) // 2]).mean() > 0.5
    assert not np.isinf(depth[-len(depth) // 4 :]).any()
