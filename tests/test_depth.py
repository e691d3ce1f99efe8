"""Depth in metres: every kind of values, every mark, and what must be refused."""

import math

import numpy as np
import pytest
from depth_fixtures import npy, write
from hypothesis import given
from hypothesis import strategies as st

from hazegen import images
from hazegen.depth import readers
from hazegen.depth.conventions import find
from hazegen.depth.formats import DepthFormat, check_complete, from_camera_file
from hazegen.errors import RefusedError, UsageError

MILLIMETRES = DepthFormat(unit=0.001)
DISPARITY = DepthFormat("disparity", focal_px=500.0, baseline_m=0.2)  # 100 px m
RELATIVE = DepthFormat("relative", not_measured=(), near_m=2.0, far_m=10.0)
NEARNESS = DepthFormat("relative-inverse", not_measured=(), near_m=2.0, far_m=10.0)
HAZE = DepthFormat("transmission", not_measured=(), beta=0.5)
NAN, INF = math.nan, math.inf


@pytest.fixture
def read(tmp_path):
    """read(array or bytes, format, suffix): what the reader makes of a file."""

    def write_and_read(content, fmt=DepthFormat(), suffix=".npy", **more):  # noqa: B008
        path = tmp_path / f"map{suffix}"
        if isinstance(content, np.ndarray):
            content = npy(content) if suffix == ".npy" else images.encode(content, suffix)
        path.write_bytes(content)
        return readers.read_depth(path, fmt, **more)

    return write_and_read


def metres(raw, fmt, dtype=np.float32):
    return readers.to_metres(np.array([raw], dtype), fmt, "map")[0]


@pytest.mark.parametrize(
    ("values", "fmt", "suffix", "expected"),
    [
        (np.array([[1, 256, 65534]], np.uint16), MILLIMETRES, ".png", [0.001, 0.256, 65.534]),
        (np.array([[1, 100, 255]], np.uint8), DepthFormat(unit=1 / 25.5), ".png", [1 / 25.5, 100 / 25.5, 10.0]),
        (np.array([[300, 70000, 1]], np.int32), MILLIMETRES, ".npy", [0.3, 70.0, 0.001]),
        (np.array([[300, 2, 1]], np.int64), MILLIMETRES, ".npy", [0.3, 0.002, 0.001]),
        (np.array([[0.5, 2.0, 80.0]], np.float32), DepthFormat(), ".npy", [0.5, 2.0, 80.0]),
        (np.array([[0.5, 2.0, 80.0]], np.float64), DepthFormat(unit=10.0), ".npy", [5.0, 20.0, 800.0]),
        (np.array([[0.5, 2.0, 80.0]], np.float16), DepthFormat("ray"), ".npy", [0.5, 2.0, 80.0]),
        (np.array([[4.0, 10.0, 100.0]], np.float32), DISPARITY, ".npy", [25.0, 10.0, 1.0]),
        (np.array([[4, 1000, 256]], np.uint16), DepthFormat("disparity", 0.1, focal_px=500.0, baseline_m=0.2), ".png",
         [250.0, 1.0, 3.90625]),
        (np.array([[0.5, 2.0, 0.01]], np.float32), DepthFormat("inverse"), ".npy", [2.0, 0.5, 100.0]),
        (np.array([[5, 20]], np.uint16), DepthFormat("inverse", 0.1), ".png", [2.0, 0.5]),
    ],
)  # fmt: skip
def test_each_kind_of_file_becomes_metres(read, values, fmt, suffix, expected):
    depth = read(values, fmt, suffix)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth[0], expected, rtol=1e-6)


def test_offset_is_added_before_the_unit():
    np.testing.assert_allclose(metres([5.0, 9.0], DepthFormat(offset=-1.0, unit=0.5)), [2.0, 4.0])
    np.testing.assert_allclose(metres([257, 1025], find("cityscapes-disparity").format.__class__(
        "disparity", 1 / 256, offset=-1.0, focal_px=100.0, baseline_m=1.0), np.uint16), [100.0, 25.0])  # fmt: skip


@pytest.mark.parametrize(
    ("fmt", "raw", "expected"),
    [
        (DepthFormat(), [0.0, NAN, INF, 2.0], [NAN, NAN, INF, 2.0]),
        (DepthFormat(no_surface=99.0), [0.0, NAN, 99.0, 2.0], [NAN, NAN, INF, 2.0]),
        (DepthFormat(no_surface_from=50.0), [49.9, 50.0, 1e10, 2.0], [49.9, INF, INF, 2.0]),
        (DepthFormat(not_measured=(7.0,)), [7.0, NAN, 0.0, 2.0], [NAN, NAN, NAN, 2.0]),
        (DepthFormat(not_measured=(7.0, -1.0)), [7.0, -1.0, 0.0, 2.0], [NAN, NAN, NAN, 2.0]),
        (DepthFormat(not_measured=()), [0.0, NAN, INF, 2.0], [NAN, NAN, INF, 2.0]),
        (DepthFormat(not_measured=(INF,)), [INF, 2.0], [NAN, 2.0]),
        # Blender's background may be 0: what is marked as no surface stands above what is not measured.
        (DepthFormat(no_surface=0.0), [0.0, 2.0], [INF, 2.0]),
        # Raw marks are compared before offset and unit.
        (DepthFormat(unit=0.5, offset=2.0, not_measured=(3.0,), no_surface=4.0), [3.0, 4.0, 6.0], [NAN, INF, 4.0]),
        # Published disparity maps mark the unknown with infinity; 0 is the unknown unless another value is.
        (DISPARITY, [0.0, INF, 4.0, NAN], [NAN, NAN, 25.0, NAN]),
        (DepthFormat("disparity", not_measured=(9.0,), focal_px=500.0, baseline_m=0.2), [0.0, 9.0, 4.0, -1.0],
         [INF, NAN, 25.0, NAN]),
        (DepthFormat("inverse", not_measured=()), [0.0, INF, 0.5, -0.1], [INF, NAN, 2.0, NAN]),
        (HAZE, [0.0, 1.0, math.exp(-1.0), NAN], [INF, 1e-6, 2.0, NAN]),
        (RELATIVE, [0.0, 1.0, INF, NAN], [2.0, 10.0, INF, NAN]),
        (RELATIVE, [-1.0, 1.0, -INF], [2.0, 10.0, NAN]),
        (NEARNESS, [0.0, 1.0, INF, NAN], [10.0, 2.0, NAN, NAN]),
        (DepthFormat("relative", near_m=2.0, far_m=10.0), [0.0, -2.0, 1.0, 3.0], [NAN, NAN, 2.0, 10.0]),
    ],
)  # fmt: skip
def test_values_that_mean_unknown_or_sky(fmt, raw, expected):
    np.testing.assert_allclose(metres(raw, fmt), np.array(expected, np.float32), rtol=1e-6)


def test_mark_is_compared_in_the_precision_of_the_file():
    np.testing.assert_array_equal(metres([0.1, 2.0], DepthFormat(not_measured=(0.1,))), [NAN, 2.0])
    # 70 000 is beyond half precision: it is no other name of infinity.
    fmt = DepthFormat(not_measured=(70000.0,))
    np.testing.assert_array_equal(metres([INF, 2.0], fmt, np.float16), [INF, 2.0])
    assert np.isinf(metres([65535, 1], DepthFormat(unit=0.01, no_surface=65535), np.uint16)[0])


@pytest.mark.parametrize("doffs", [0.0, 31.086, -5.0])
def test_disparity_is_counted_from_the_offset_of_the_principal_points(doffs):
    fmt = DepthFormat("disparity", not_measured=(), focal_px=994.978, baseline_m=0.193001, doffs_px=doffs)
    disparity = np.array([10.0, 60.0, -doffs, -doffs - 1.0], np.float32)
    depth = metres(disparity, fmt)
    np.testing.assert_allclose(depth[:2], 994.978 * 0.193001 / (disparity[:2] + doffs), rtol=1e-6)
    assert np.isinf(depth[2])
    assert np.isnan(depth[3])


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=30), st.floats(-50, 50))
def test_no_disparity_becomes_negative_or_near(raw, doffs):
    fmt = DepthFormat("disparity", not_measured=(), focal_px=500.0, baseline_m=0.2, doffs_px=doffs)
    array = np.array([[*raw, 200.0]], np.float32)
    depth = readers.to_metres(array, fmt, "map")
    shifted = array + np.float32(doffs)
    assert np.isnan(depth[shifted < 0]).all()
    assert (depth[shifted >= 0] > 0).all()
    nearest = 100.0 / shifted.max()
    assert (depth[shifted >= 0] >= nearest * (1 - 1e-5)).all()


@pytest.mark.parametrize("values", ["disparity", "inverse"])
def test_map_with_its_sign_turned_is_refused(values):
    fmt = DepthFormat(values, not_measured=(), focal_px=500.0, baseline_m=0.2)
    with pytest.raises(RefusedError, match=rf"no {values} of 0 or more. .*received values up to -2. Turn its sign"):
        metres([-2.0, -3.0], fmt)


# --- relative kinds ---


@pytest.mark.parametrize("fmt", [RELATIVE, NEARNESS])
def test_relative_values_run_from_near_to_far_between_their_quantiles(fmt):
    raw = np.linspace(5.0, 6.0, 1001, dtype=np.float32)
    raw[0], raw[-1] = -1000.0, 1000.0  # outliers decide nothing
    depth = metres(raw, fmt)
    assert {depth[0], depth[-1]} == {np.float32(2.0), np.float32(10.0)}
    assert (depth[:6] == depth[0]).all()
    assert (depth[-6:] == depth[-1]).all()
    steps = np.diff(depth[10:-10])
    assert (steps > 0).all() if fmt is RELATIVE else (steps < 0).all()
    middle = 6.0 if fmt is RELATIVE else 1.0 / (0.5 * (1 / 2.0 + 1 / 10.0))
    assert depth[500] == pytest.approx(middle, rel=1e-5)
    # Affine: straight in depth, or in inverse depth.
    straight = depth[10:-10] if fmt is RELATIVE else 1.0 / depth[10:-10].astype(float)
    np.testing.assert_allclose(np.diff(straight), np.diff(straight).mean(), rtol=2e-3)


def test_holes_and_sky_decide_neither_near_nor_far():
    raw = [NAN, INF, 0.0, 1.0, 1.0, 2.0, 2.0]
    depth = metres(raw, DepthFormat("relative", near_m=2.0, far_m=10.0))
    np.testing.assert_allclose(depth, [NAN, INF, NAN, 2.0, 2.0, 10.0, 10.0])


def test_integers_of_relative_maps_need_no_unit():
    np.testing.assert_allclose(metres([0, 255], NEARNESS, np.uint8), [10.0, 2.0])


@pytest.mark.parametrize("fmt", [RELATIVE, NEARNESS])
@pytest.mark.parametrize("raw", [[3.0, 3.0, 3.0], [-INF, 1.0, INF, NAN]])
def test_constant_relative_map_is_refused(fmt, raw):
    with pytest.raises(RefusedError, match=r"is constant. Expected relative depth of several values"):
        metres(raw, fmt)


def test_relative_map_of_holes_alone_stays_unknown():
    assert np.isnan(metres([NAN, NAN], RELATIVE)).all()


def test_relative_numbers_without_near_and_far(tmp_path):
    path = write(tmp_path / "a.npy", np.array([[1.0, NAN, INF, 3.0]], np.float32))
    fmt = DepthFormat("relative-inverse", 2.0, offset=1.0, not_measured=(3.0,))
    np.testing.assert_array_equal(readers.read_relative(path, fmt), np.array([[4.0, NAN, NAN, NAN]], np.float32))
    np.testing.assert_array_equal(
        readers.read_relative(path, DepthFormat("relative")), np.array([[1.0, NAN, INF, 3.0]], np.float32)
    )


# --- transmission ---


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_transmission_of_integers_is_their_share_of_the_range(dtype, top):
    np.testing.assert_allclose(metres([top // 5, 1], HAZE, dtype), [2 * math.log(5), 2 * math.log(top)], rtol=1e-6)


def test_transmission_of_1_is_a_distance_above_0():
    depth = metres([1.0, 1.00005], HAZE)
    assert (depth == np.float32(readers.NEAREST_M)).all()


@pytest.mark.parametrize(("raw", "received"), [([-0.1, 0.5], "-0.1 to 0.5"), ([0.5, 1.01], "0.5 to 1.01")])
def test_values_that_are_no_transmissions_are_refused(raw, received):
    with pytest.raises(RefusedError, match=rf"holds no transmissions. Expected values in 0..1, received {received}"):
        metres(raw, HAZE)


# --- what every reader promises ---


@pytest.mark.parametrize("value", [-1.0, -9999.0])
def test_negative_value_that_means_not_measured_is_unknown(value):
    np.testing.assert_array_equal(metres([value, 2.0], DepthFormat(not_measured=(value,))), [NAN, 2.0])


@given(
    st.lists(st.floats(0, 1, width=32) | st.sampled_from([0.0, 1.0, INF, NAN, 0.5]), min_size=3, max_size=20),
    st.sampled_from([DepthFormat(), DepthFormat("ray", no_surface_from=0.9), DISPARITY, RELATIVE, NEARNESS, HAZE]),
)
def test_what_a_reader_gives_is_above_0_infinite_or_unknown(raw, fmt):
    if fmt is HAZE:
        raw = [min(value, 1.0) for value in raw]
    depth = metres([*raw, 0.25, 0.75], fmt) if fmt not in (RELATIVE, NEARNESS) else metres([*raw, *[0.2, 0.8] * 9], fmt)
    assert depth.dtype == np.float32
    assert (depth[~np.isnan(depth)] > 0).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32"])
@pytest.mark.parametrize("fmt", [DepthFormat(), DISPARITY, DepthFormat("inverse")])
def test_integers_without_a_unit_are_refused(read, dtype, fmt):
    with pytest.raises(RefusedError, match=rf"integers of an unknown unit. .*received {dtype} .*Pass --depth-scale"):
        read(np.ones((2, 2), dtype), fmt)


def test_8_bit_map_with_a_16_bit_unit_is_refused(read):
    with pytest.raises(RefusedError, match=r"16-bit map that was cut to 8 bits.*0.001 m per unit, received 8 bits"):
        read(np.ones((2, 2), np.uint8), MILLIMETRES, ".png")


@pytest.mark.parametrize(("unit", "taken"), [(1.0 / 255.0, True), (0.0039, False)])
def test_8_bit_map_must_reach_one_metre(read, unit, taken):
    values = np.full((2, 2), 255, np.uint8)
    if taken:
        assert read(values, DepthFormat(unit=unit), ".png").max() == pytest.approx(1.0)
        return
    with pytest.raises(RefusedError, match="cut to 8 bits"):
        read(values, DepthFormat(unit=unit), ".png")


@pytest.mark.parametrize("value", [-0.5, -1e-6, -np.inf])
def test_negative_depth_is_refused(read, value):
    with pytest.raises(RefusedError, match=r"values below 0. Expected metres, 0 or more, received a smallest value"):
        read(np.array([[1.0, value]], np.float32))


# --- masks ---

MAP = np.arange(1, 7, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize(
    ("suffix", "valid"),
    [
        (".npy", np.array([[1, 0, 1], [1, 1, 0]], np.float64)),
        (".npy", np.array([[1, 0, 1], [1, 1, 0]], bool)),
        (".npy", np.array([[1, 0, 1], [1, 1, 0]], np.float32)[..., None]),
        (".png", np.array([[255, 0, 255], [1, 9, 0]], np.uint8)),
    ],
)
def test_pixels_outside_the_mask_are_not_measured(read, tmp_path, suffix, valid):
    depth = read(MAP, mask=write(tmp_path / f"mask{suffix}", valid))
    np.testing.assert_array_equal(depth, np.array([[1, NAN, 3], [4, 5, NAN]], np.float32))


def test_mask_of_another_size_is_refused(read, tmp_path):
    with pytest.raises(RefusedError, match=r"another size than its depth map. Expected \(2, 3\), received \(3, 2\)"):
        read(MAP, mask=write(tmp_path / "mask.npy", np.ones((3, 2))))


# --- formats ---


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"values": "z"}, "values of a depth format are unknown. Expected plane, ray, .*received 'z'"),
        ({"packing": "zip"}, "packing of a depth format are unknown. Expected none, rotated, carla, received 'zip'"),
        ({"unit": 0.0}, r"unit of the depth maps is out of range. .*above 0, received 0.0"),
        ({"unit": -0.001}, "received -0.001"),
        ({"unit": INF}, "received inf"),
        ({"unit": NAN}, "received nan"),
        ({"unit": 1e15}, "received 1000000000000000"),
        ({"focal_px": 1e15}, "'focal_px' of a depth format is out of range"),
        ({"offset": INF}, "'offset' of a depth format is out of range. Expected a finite number, received inf"),
        ({"doffs_px": NAN}, "'doffs_px' of a depth format is out of range"),
        ({"focal_px": 0.0}, "'focal_px' of a depth format is out of range. Expected a finite number above 0"),
        ({"baseline_m": -1.0}, "'baseline_m' of a depth format is out of range"),
        ({"beta": 0.0}, "'beta' of a depth format is out of range"),
        ({"near_m": 0.0}, "'near_m' of a depth format is out of range"),
        ({"far_m": INF}, "'far_m' of a depth format is out of range"),
        ({"near_m": 5.0, "far_m": 5.0}, r"'near_m' of a depth format is out of range. Expected less than far_m = 5.0"),
    ],
)
def test_format_out_of_range_is_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        DepthFormat(**fields)


@pytest.mark.parametrize(
    ("fmt", "message"),
    [
        (
            DepthFormat("disparity"),
            r"needs a focal length and a baseline. .*received None px and None m. Give --focal-px",
        ),
        (DepthFormat("disparity", focal_px=500.0), "received 500.0 px and None m"),
        (DepthFormat("transmission"), r"needs the extinction that it was made with. .*State depth.beta in the camera"),
        (
            DepthFormat("relative", near_m=1.0),
            r"no metres of its own. .*received 1.0 m and None m. Pass --near and --far",
        ),
        (DepthFormat("relative-inverse", far_m=9.0), "received None m and 9.0 m. Pass --near and --far"),
    ],
)
def test_format_that_lacks_what_its_values_need_is_refused(read, fmt, message):
    with pytest.raises(UsageError, match=message):
        check_complete(fmt)
    with pytest.raises(UsageError, match=message):
        read(MAP, fmt)
    with pytest.raises(UsageError, match=message):
        metres([1.0, 2.0], fmt)


def test_camera_file_stands_above_the_convention_and_options_above_both():
    fields = {"values": "ray", "unit_m": 0.001, "not_measured": [0, 65535], "no_surface": 65534, "channel": 2}
    expected = DepthFormat("ray", 0.001, not_measured=(0, 65535), no_surface=65534, channel=2)
    assert from_camera_file(fields, {}) == expected
    assert from_camera_file(fields, {"unit": 0.01}).unit == 0.01
    assert from_camera_file({"not_measured": 7}, {}).not_measured == (7,)
    assert from_camera_file({"no_surface": None, "dataset": None}, {}) == DepthFormat()
    kitti = find("kitti").format
    assert from_camera_file({}, {}, kitti) == kitti
    assert from_camera_file({"convention": "tum"}, {}, kitti) == find("tum").format
    told = from_camera_file({"convention": "sceneflow", "focal_px": 707.0}, {"baseline_m": 0.5}, kitti)
    assert (told.values, told.focal_px, told.baseline_m, told.not_measured) == ("disparity", 707.0, 0.5, ())


@pytest.mark.parametrize("values", ["relative", "relative-inverse", "transmission"])
def test_0_is_a_value_where_values_are_relative_unless_it_is_said_to_be_none(values):
    assert from_camera_file({"values": values}, {}).not_measured == ()
    assert from_camera_file({}, {"values": values}, find("custom").format).not_measured == ()
    assert from_camera_file({"not_measured": 0}, {"values": values}).not_measured == (0,)
    assert from_camera_file({}, {"values": "disparity"}).not_measured == (0.0,)
    assert from_camera_file({}, {"values": "relative"}, find("megadepth").format).not_measured == (0.0,)


def test_unknown_field_of_a_camera_file_is_refused_with_the_valid_ones():
    with pytest.raises(
        UsageError, match=r"unknown fields. Expected \['baseline_m', .*'unit'.*\], received \['scale'\]"
    ):
        from_camera_file({"scale": 0.001}, {})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"unit_m": "0.001"}, "a number for 'unit', received '0.001'"),
        ({"unit_m": [1]}, "a number for 'unit'"),
        ({"unit_m": 10**400}, "a number for 'unit', received 1000"),
        ({"no_surface": -(10**400)}, "a number for 'no_surface'"),
        ({"no_surface": "65535"}, "a number for 'no_surface'"),
        ({"offset": True}, "a number for 'offset', received True"),
        ({"offset": None}, "a number for 'offset', received None"),
        ({"not_measured": [0, "x"]}, "a number for 'not_measured', received 'x'"),
        ({"channel": 1.5}, "a whole number for 'channel', received 1.5"),
        ({"values": ["ray"]}, r"a name for 'values', received \['ray'\]"),
        ({"dataset": 3}, "a name for 'dataset', received 3"),
        ({"convention": 3}, "a name for 'convention', received 3"),
        ({"convention": "kity"}, "as kitti, .*received 'kity'"),
    ],
)
def test_field_of_a_camera_file_of_another_type_is_refused(fields, expected):
    with pytest.raises(UsageError, match=f"Expected .*{expected}"):
        from_camera_file(fields, {})
