"""Scale and shift of relative depth, fitted to sparse metric points."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazegen.depth import readers
from hazegen.depth.conventions import find
from hazegen.depth.formats import DepthFormat
from hazegen.depth.scale import apply_scale, fit_scale, to_metres
from hazegen.errors import RefusedError

DATA = Path(os.environ.get("HAZEGEN_TEST_DATA", "/dev/null"))


def scene(rng, height=40, width=50):
    """Depth [m] of 2 to 30 m, float32."""
    return (2.0 + 28.0 * rng.random((height, width)) ** 2).astype(np.float32)


def points(rng, depth_m, count, wrong=0.0, noise=0.0):
    """A sparse map with `count` points; a share of them is wrong by factors up to 8."""
    sparse = np.full(depth_m.shape, np.nan, np.float32)
    at = rng.choice(depth_m.size, count, replace=False)
    values = depth_m.ravel()[at] * (1.0 + noise * rng.standard_normal(count))
    bad = rng.random(count) < wrong
    values[bad] *= rng.uniform(0.15, 8.0, int(bad.sum()))
    sparse.ravel()[at] = values
    return sparse


def relative_of(depth_m, inverse, scale, shift):
    """The map that `scale` and `shift` bring back to metres."""
    y = 1.0 / depth_m.astype(np.float64) if inverse else depth_m.astype(np.float64)
    return ((y - shift) / scale).astype(np.float32)


@pytest.mark.parametrize("inverse", [True, False])
@given(st.integers(0, 10_000), st.floats(0.01, 100.0), st.floats(-0.2, 0.2))
def test_truth_is_recovered_although_a_fifth_of_the_points_is_wrong(inverse, seed, scale, shift):
    rng = np.random.default_rng(seed)
    depth = scene(rng)
    relative = relative_of(depth, inverse, scale, shift)
    sparse = points(rng, depth, 300, wrong=0.2)
    found_scale, found_shift, residual = fit_scale(relative, sparse, inverse)
    assert found_scale == pytest.approx(scale, rel=2e-3)
    assert found_shift == pytest.approx(shift, abs=2e-3 * (1.0 if not inverse else 0.1))
    assert residual < 1e-3
    np.testing.assert_allclose(apply_scale(relative, found_scale, found_shift, inverse), depth, rtol=0.01)


@pytest.mark.parametrize("inverse", [True, False])
def test_noisy_points_with_wrong_ones_give_the_depth_within_a_hundredth(inverse):
    rng = np.random.default_rng(3)
    depth = scene(rng)
    relative = relative_of(depth, inverse, 0.02, 0.01)
    metres = to_metres(relative, points(rng, depth, 1000, wrong=0.2, noise=0.01), inverse=inverse)
    assert np.median(np.abs(metres / depth - 1.0)) < 0.01
    assert metres.dtype == np.float32


def test_fit_is_better_than_plain_least_squares():
    rng = np.random.default_rng(4)
    depth = scene(rng)
    sparse = points(rng, depth, 300, wrong=0.2)
    used = np.isfinite(sparse)
    plain = np.polyfit(depth[used], sparse[used], 1)
    scale, shift, _ = fit_scale(depth, sparse, inverse=False)
    assert abs(scale - 1.0) < 0.002 < abs(plain[0] - 1.0)
    assert abs(shift) < 0.01 < abs(plain[1])


def test_holes_and_sky_take_no_part_and_stay():
    rng = np.random.default_rng(5)
    depth = scene(rng)
    relative = relative_of(depth, True, 2.0, 0.0)
    sparse = points(rng, depth, 200)
    relative[0, :3] = np.nan, np.inf, -1.0
    sparse[0, :3], sparse[1, :2] = 5.0, (np.inf, -3.0)
    metres = to_metres(relative, sparse, inverse=True)
    assert np.isnan(metres[0, 0])
    assert np.isposinf(metres[0, 1])  # the mark of no surface
    assert np.isposinf(metres[0, 2])  # nearness below 0 lies beyond infinity
    np.testing.assert_allclose(metres[1:], depth[1:], rtol=1e-4)


@pytest.mark.parametrize("inverse", [True, False])
def test_infinity_is_the_sky_and_nan_a_hole_in_both_kinds(inverse):
    marks = np.array([[np.inf, np.nan, 2.0]], np.float32)
    np.testing.assert_array_equal(apply_scale(marks, 1.0, 0.0, inverse), [[np.inf, np.nan, 0.5 if inverse else 2.0]])


@pytest.mark.parametrize(
    ("values", "raw", "expected"),
    [
        ("relative-inverse", [np.inf, 0.0, 1e39, 3.0], [np.nan, np.inf, np.nan, 3.0]),
        ("relative", [np.inf, 0.0, 1e39, 3.0], [np.inf, np.inf, np.nan, 3.0]),
    ],
)
def test_reader_leaves_infinity_to_the_sky(tmp_path, values, raw, expected):
    """An infinite nearness is a hole in published maps, and so is what is too large for float32."""
    np.save(tmp_path / "a.npy", np.array([raw], np.float64))
    fmt = DepthFormat(values, not_measured=(), no_surface=0.0)
    np.testing.assert_array_equal(readers.read_relative(tmp_path / "a.npy", fmt), [expected])


def test_depth_below_0_is_not_measured():
    metres = apply_scale(np.array([[1.0, 0.0, -1.0, np.inf, np.nan]], np.float32), 2.0, 0.0, inverse=False)
    np.testing.assert_array_equal(metres, np.array([[2.0, np.nan, np.nan, np.inf, np.nan]], np.float32))


@pytest.mark.parametrize("count", [0, 9, 10])
def test_fewer_than_ten_points_are_refused(count):
    rng = np.random.default_rng(0)
    depth = scene(rng)
    if count == 10:
        fit_scale(depth, points(rng, depth, count), inverse=False)
        return
    with pytest.raises(RefusedError, match=rf"Too few metric points .*at least 10 inside the map, received {count}"):
        fit_scale(depth, points(rng, depth, count), inverse=False)


@pytest.mark.parametrize(
    ("inverse", "other"), [(True, "--depth-values relative"), (False, "--depth-values relative-inverse")]
)
def test_map_of_the_other_kind_is_refused(inverse, other):
    rng = np.random.default_rng(0)
    depth = scene(rng)
    relative = relative_of(depth, not inverse, 1.0, 0.0)
    with pytest.raises(RefusedError, match=rf"looks inverted against its points. .*Try the other kind: {other}\."):
        fit_scale(relative, points(rng, depth, 100), inverse)


@pytest.mark.parametrize("inverse", [True, False])
def test_constant_map_is_refused(inverse):
    rng = np.random.default_rng(0)
    depth = scene(rng)
    for relative in (np.full_like(depth, 3.0), np.zeros_like(depth)):
        with pytest.raises(
            RefusedError, match=r"does not follow the metric points. .*received a correlation|received nan"
        ):
            fit_scale(relative, points(rng, depth, 100), inverse)
    with pytest.raises(RefusedError, match="does not follow"):
        fit_scale(depth, points(rng, np.full_like(depth, 3.0), 100), inverse)


@given(st.integers(0, 10_000))
def test_map_of_another_picture_is_refused(seed):
    rng = np.random.default_rng(seed)
    with pytest.raises(RefusedError, match=r"does not follow the metric points. Expected a correlation of 0.5 or more"):
        fit_scale(scene(rng), points(rng, scene(rng), 400), inverse=False)


def test_maps_of_other_sizes_are_refused():
    with pytest.raises(RefusedError, match=r"differ in size. Expected \(4, 5\), received \(5, 4\)"):
        fit_scale(np.ones((4, 5), np.float32), np.ones((5, 4), np.float32), inverse=False)


@pytest.mark.skipif(not DATA.is_dir(), reason="HAZEGEN_TEST_DATA does not name a folder with the published data sets")
@pytest.mark.parametrize("frame", [0, 300, 900])
def test_real_room_is_recovered_from_100_points(frame):
    """1 / depth of a frame of NYU, with an unknown scale and shift, as an affine network would give it."""
    rng = np.random.default_rng(frame)
    names = sorted(int(path.stem) for path in (DATA / "nyu_labeled" / "depth").glob("*.png"))
    name = min(names, key=lambda one: abs(one - frame))
    depth = readers.read_depth(DATA / "nyu_labeled" / "depth" / f"{name}.png", find("nyu-png-8bit").format)
    relative = (17.0 / depth + 4.0).astype(np.float32)
    metres = to_metres(relative, points(rng, depth, 100, noise=0.01), inverse=True)
    np.testing.assert_allclose(metres, depth, rtol=0.01)
    metres = to_metres(relative, points(rng, depth, 100, wrong=0.2), inverse=True)
    np.testing.assert_allclose(metres, depth, rtol=0.01)
