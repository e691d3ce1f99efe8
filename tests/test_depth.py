"""Depth files: every kind to metres, every file that must be refused, completion by the nearest."""

import io
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazegen import images
from hazegen.depth import completion, readers
from hazegen.depth.formats import DepthFormat, from_camera_file
from hazegen.errors import RefusedError, UsageError

MILLIMETRES = DepthFormat(unit=0.001)
DISPARITY = DepthFormat(kind="disparity", focal_px=500.0, baseline_m=0.2)


def npy(array: np.ndarray, **options: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


@pytest.fixture
def read(tmp_path):
    """read(array or bytes, format, suffix): what the reader makes of a file."""

    def write_and_read(content, fmt=DepthFormat(), suffix=".npy"):  # noqa: B008
        if isinstance(content, np.ndarray):
            content = npy(content) if suffix == ".npy" else images.encode(content, suffix)
        path = tmp_path / f"map{suffix}"
        path.write_bytes(content)
        return readers.read_depth(path, fmt)

    return write_and_read


@pytest.mark.parametrize(
    ("values", "fmt", "suffix", "metres"),
    [
        (np.array([[1, 256, 65534]], np.uint16), MILLIMETRES, ".png", [0.001, 0.256, 65.534]),
        (np.array([[1, 100, 255]], np.uint8), DepthFormat(unit=1 / 25.5), ".png", [1 / 25.5, 100 / 25.5, 10.0]),
        (np.array([[300, 70000, 1]], np.int32), MILLIMETRES, ".npy", [0.3, 70.0, 0.001]),
        (np.array([[300, 2, 1]], np.int64), MILLIMETRES, ".npy", [0.3, 0.002, 0.001]),
        (np.array([[0.5, 2.0, 80.0]], np.float32), DepthFormat(), ".npy", [0.5, 2.0, 80.0]),
        (np.array([[0.5, 2.0, 80.0]], np.float64), DepthFormat(unit=10.0), ".npy", [5.0, 20.0, 800.0]),
        (np.array([[0.5, 2.0, 80.0]], np.float16), DepthFormat(kind="ray"), ".npy", [0.5, 2.0, 80.0]),
        # 500 px * 0.2 m = 100 px m.
        (np.array([[4.0, 10.0, 100.0]], np.float32), DISPARITY, ".npy", [25.0, 10.0, 1.0]),
        (np.array([[4, 1000, 256]], np.uint16), DepthFormat("disparity", 0.1, 0.0, None, 500.0, 0.2), ".png",
         [250.0, 1.0, 3.90625]),
    ],
)  # fmt: skip
def test_each_kind_of_file_becomes_metres(read, values, fmt, suffix, metres):
    depth = read(values, fmt, suffix)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth[0], metres, rtol=1e-6)


@pytest.mark.parametrize(
    ("fmt", "raw", "metres"),
    [
        (DepthFormat(), [0.0, np.nan, np.inf, 2.0], [np.nan, np.nan, np.inf, 2.0]),
        (DepthFormat(no_surface=99.0), [0.0, np.nan, 99.0, 2.0], [np.nan, np.nan, np.inf, 2.0]),
        (DepthFormat(not_measured=7.0), [7.0, np.nan, 0.0, 2.0], [np.nan, np.nan, np.nan, 2.0]),
        (DepthFormat(not_measured=None), [0.0, np.nan, np.inf, 2.0], [np.nan, np.nan, np.inf, 2.0]),
        (DepthFormat(no_surface=0.0, not_measured=9.0), [9.0, 9.0, 2.0, 2.0], [np.nan, np.nan, 2.0, 2.0]),
        # Published disparity maps mark the unknown with infinity; 0 is the unknown unless another value is.
        (DISPARITY, [0.0, np.inf, 4.0, np.nan], [np.nan, np.nan, 25.0, np.nan]),
        (DepthFormat("disparity", None, 9.0, None, 500.0, 0.2), [0.0, 9.0, 4.0, np.nan],
         [np.inf, np.nan, 25.0, np.nan]),
    ],
)  # fmt: skip
def test_values_that_mean_unknown_or_sky(read, fmt, raw, metres):
    np.testing.assert_array_equal(read(np.array([raw], np.float32), fmt)[0], np.array(metres, np.float32))


@pytest.mark.parametrize("value", [-1.0, -9999.0])
def test_negative_value_that_means_not_measured_is_unknown(read, value):
    depth = read(np.array([[value, 2.0]], np.float32), DepthFormat(not_measured=value))
    np.testing.assert_array_equal(depth, [[np.nan, 2.0]])


def test_map_repeated_in_three_channels_is_read_as_one(read):
    gray = np.array([[1000, 40000], [300, 0]], np.uint16)
    depth = read(np.stack([gray] * 3, axis=2), MILLIMETRES, ".png")
    np.testing.assert_array_equal(depth, read(gray, MILLIMETRES, ".png"))


def test_what_a_reader_gives_is_above_0_infinite_or_unknown(read):
    rng = np.random.default_rng(0)
    depth = read(rng.integers(0, 4, (30, 30), dtype=np.uint16), DepthFormat(unit=0.5, no_surface=3.0), ".png")
    assert set(np.unique(depth[np.isfinite(depth)])) == {0.5, 1.0}
    assert np.isnan(depth).any()
    assert np.isinf(depth).any()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32"])
def test_integers_without_a_unit_are_refused(read, dtype):
    with pytest.raises(RefusedError, match=rf"integers of an unknown unit. .*received {dtype} .*Pass --depth-scale"):
        read(np.ones((2, 2), dtype))


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


@pytest.mark.parametrize(
    "shape", [(), (6,), (4, 4, 3), (4, 4, 2), (1, 4, 4), (2, 2, 2, 2), (4, 4, 0), (0, 4), (0, 0)]
)  # a picture in false colours, stacks, nothing
def test_array_that_is_no_map_is_refused(read, shape):
    values = np.random.default_rng(0).random(shape, dtype=np.float32) + 1.0
    with pytest.raises(
        RefusedError, match=r"map of one channel. Expected \(height, width\), received " + re.escape(str(shape))
    ):
        read(np.asarray(values, np.float32))


def test_pickled_objects_are_refused_and_never_run(read, tmp_path):
    class Payload:
        def __reduce__(self):
            return (tmp_path.joinpath("run").touch, ())

    content = npy(np.array([[Payload()]], dtype=object), allow_pickle=True)
    with pytest.raises(RefusedError, match=r"cannot be read as an array.*received: object"):
        read(content)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("shape", [(100_000, 100_000), (80_000_001,), (2**32, 2**32), (-4, 4), (2**31, 2**31, 2**2)])
def test_header_of_a_huge_array_is_refused_before_memory_is_taken(read, shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with pytest.raises(RefusedError, match=r"cannot be read as an array. Expected a complete .npy file of numbers"):
        read(file.getvalue())


@pytest.mark.parametrize("dtype", ["complex64", "bool", "U4", "M8[s]", [("a", "f4")]])
def test_array_of_other_things_than_numbers_is_refused(read, dtype):
    with pytest.raises(RefusedError, match=r"Expected a complete .npy file of numbers"):
        read(np.zeros((4, 4), dtype))


@pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning")
@given(st.data())
def test_damaged_array_is_read_or_refused_and_nothing_else(data):
    intact = bytearray(npy(np.ones((4, 4), np.float32)))
    for _ in range(data.draw(st.integers(1, 4))):
        intact[data.draw(st.integers(0, 127))] = data.draw(st.sampled_from(b" (),'{}[]:<f4\xff\0-0"))
    cut = data.draw(st.integers(0, len(intact)))
    try:
        values = readers._read_npy(bytes(intact[:cut] if cut % 3 == 0 else intact), "a")
    except RefusedError:
        return
    assert values.size <= images.MAX_PIXELS


def test_array_header_without_its_end_is_refused(read):
    with pytest.raises(RefusedError, match="cannot be read as an array"):
        read(npy(np.ones((4, 4), np.float32)).replace(b"(4, 4), }", b"(4, 4,   "))


@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_file_of_text_is_refused(read, suffix):
    with pytest.raises(RefusedError, match=r"'map\.(png|npy)' (is not a picture|cannot be read as an array)"):
        read(b"these are not the depths you are looking for", suffix=suffix)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "z"}, "Expected plane, ray or disparity, received 'z'"),
        ({"unit": 0.0}, "unit of the depth maps is out of range. .*above 0, received 0.0"),
        ({"unit": -0.001}, "received -0.001"),
        ({"unit": math.inf}, "received inf"),
        ({"unit": math.nan}, "received nan"),
        ({"kind": "disparity"}, "Disparity needs a focal length and a baseline"),
        ({"kind": "disparity", "focal_px": 500.0}, "received 500.0 px and None m. Give --focal-px and --baseline-m"),
        ({"kind": "disparity", "focal_px": 500.0, "baseline_m": -1.0}, "Expected both above 0"),
        ({"kind": "disparity", "focal_px": math.nan, "baseline_m": 1.0}, "Expected both above 0"),
    ],
)
def test_format_out_of_range_is_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        DepthFormat(**fields)


def test_options_stand_above_the_camera_file():
    fields = {"kind": "ray", "unit_m": 0.001, "not_measured": 0, "no_surface": 65535}
    assert from_camera_file(fields, {}) == DepthFormat("ray", 0.001, 0, 65535)
    assert from_camera_file(fields, {"unit": 0.01, "kind": "plane"}) == DepthFormat("plane", 0.01, 0, 65535)


def test_unknown_field_of_a_camera_file_is_refused_with_the_valid_ones():
    with pytest.raises(UsageError, match=r"unknown fields. Expected \['baseline_m', .*'unit'\], received \['scale'\]"):
        from_camera_file({"scale": 0.001}, {})


@pytest.mark.parametrize("fields", [{"unit_m": "0.001"}, {"unit_m": [1]}, {"no_surface": "65535"}, {"kind": ["ray"]}])
def test_field_of_a_camera_file_of_another_type_is_refused(fields):
    with pytest.raises((UsageError, RefusedError), match=r"[Ee]xpected .*received"):
        from_camera_file(fields, {})


def slow_fill(depth: np.ndarray) -> list[list[set[float]]]:
    """For each pixel the values of all nearest measured pixels, by brute force."""
    known = [(y, x) for y, x in np.ndindex(*depth.shape) if not np.isnan(depth[y, x])]
    result = []
    for y, x in np.ndindex(*depth.shape):
        squares = {at: (at[0] - y) ** 2 + (at[1] - x) ** 2 for at in known}
        least = min(squares.values())
        result.append({float(depth[at]) for at, square in squares.items() if square == least})
    return result


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 9), st.floats(0.1, 0.95))
def test_holes_take_the_value_of_a_nearest_measured_pixel(seed, height, width, share):
    rng = np.random.default_rng(seed)
    depth = rng.random((height, width), dtype=np.float32) + 1.0
    depth[rng.random((height, width)) < share] = np.nan
    depth[0, 0] = np.inf  # the sky counts as measured
    before = depth.copy()
    filled = completion.fill_nearest(depth)
    assert filled.dtype == np.float32
    assert all(value in allowed for value, allowed in zip(filled.ravel().tolist(), slow_fill(depth), strict=True))
    np.testing.assert_array_equal(depth, before)


def test_map_without_holes_is_given_back():
    depth = np.ones((3, 3), np.float32)
    assert completion.fill_nearest(depth) is depth
