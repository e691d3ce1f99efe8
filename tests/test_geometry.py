"""Camera geometry: laws, numbers worked by hand, slow loops beside the fast code."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazegen import geometry
from hazegen.errors import UsageError
from hazegen.geometry import Camera

CAMERA = Camera(width=7, height=5, fx=6.0, fy=4.0, cx=2.5, cy=3.0)
CAMERAS = st.builds(
    Camera,
    width=st.integers(1, 9),
    height=st.integers(1, 9),
    fx=st.floats(1.0, 50.0),
    fy=st.floats(1.0, 50.0),
    cx=st.floats(-5.0, 15.0),
    cy=st.floats(-5.0, 15.0),
)


def slow_ray_length(camera: Camera) -> np.ndarray:
    """The length of each pixel's ray with z = 1, one pixel at a time."""
    result = np.empty((camera.height, camera.width))
    for y in range(camera.height):
        for x in range(camera.width):
            ray = ((x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, 1.0)
            result[y, x] = math.sqrt(sum(part * part for part in ray))
    return result


@given(CAMERAS)
def test_ray_length_is_the_slow_loops_and_never_below_one(camera):
    fast = geometry.ray_length(camera)
    assert fast.dtype == np.float32
    assert fast.min() >= 1.0
    np.testing.assert_allclose(fast, slow_ray_length(camera), rtol=1e-6)


def test_corner_of_a_60_degree_4_to_3_image_is_1_23_depths_away():
    # tan 30 = 0.57735 across, three quarters of it down: sqrt(1 + 0.3333 + 0.1875) = 1.2332;
    # the corner pixel's centre lies half a pixel inside.
    lengths = geometry.ray_length(geometry.camera_from_fov(60.0, 640, 480))
    assert lengths[0, 0] == pytest.approx(1.2332, abs=1e-3)
    np.testing.assert_allclose(lengths, lengths[::-1, ::-1], rtol=1e-6)
    assert lengths[239:241, 319:321].max() == pytest.approx(1.0, abs=1e-5)


def test_corner_distance_worked_by_hand():
    # fx 6, fy 4, axis at (2.5, 3): the pixel (6, 0) looks along (3.5 / 6, -3 / 4, 1); length 1.379412.
    depth = np.full((5, 7), 2.0, np.float32)
    assert geometry.plane_to_ray(depth, CAMERA)[0, 6] == pytest.approx(2.0 * 1.379412, abs=1e-5)


@given(CAMERAS, st.floats(0.01, 1000.0))
def test_ray_distance_and_plane_depth_go_both_ways(camera, depth_m):
    depth = np.full((camera.height, camera.width), depth_m, np.float32)
    distance = geometry.plane_to_ray(depth, camera)
    assert (distance >= depth).all()
    np.testing.assert_allclose(geometry.ray_to_plane(distance, camera), depth, rtol=1e-6)


@pytest.mark.parametrize("convert", [geometry.plane_to_ray, geometry.ray_to_plane])
def test_infinity_stays_infinite_and_the_unknown_stays_unknown(convert):
    depth = np.full((5, 7), np.inf, np.float32)
    depth[0, 0] = np.nan
    converted = convert(depth, CAMERA)
    assert np.isnan(converted[0, 0])
    assert np.isinf(converted).sum() == 34


def test_depth_of_another_size_than_the_camera_is_a_bug_of_the_caller():
    with pytest.raises(AssertionError):
        geometry.plane_to_ray(np.ones((7, 5), np.float32), CAMERA)


@pytest.mark.parametrize(("fov_deg", "focal"), [(90.0, 320.0), (60.0, 554.2563), (120.0, 184.7521)])
def test_focal_length_worked_by_hand(fov_deg, focal):
    assert geometry.focal_px(fov_deg, 640) == pytest.approx(focal, abs=1e-3)


@given(st.floats(0.1, 179.9), st.integers(1, 10_000))
def test_field_of_view_is_seen_across_the_picture(fov_deg, size):
    half = math.degrees(math.atan(size / 2.0 / geometry.focal_px(fov_deg, size)))
    assert 2.0 * half == pytest.approx(fov_deg, rel=1e-9)


def test_camera_from_field_of_view_has_square_pixels_and_a_centred_axis():
    camera = geometry.camera_from_fov(90.0, 640, 480)
    assert dataclasses.astuple(camera) == pytest.approx((640, 480, 320.0, 320.0, 319.5, 239.5))


@pytest.mark.parametrize("fov_deg", [0.0, -1.0, 180.0, 200.0, math.nan])
def test_field_of_view_out_of_range_is_refused(fov_deg):
    with pytest.raises(UsageError, match=r"field of view is out of range.*\(0, 180\).*received"):
        geometry.focal_px(fov_deg, 640)


@pytest.mark.parametrize("fov_deg", [1e-6, 179.999])
def test_field_of_view_just_inside_its_range_is_taken(fov_deg):
    assert geometry.focal_px(fov_deg, 640) > 0.0


@pytest.mark.parametrize("field", ["width", "height", "fx", "fy"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_intrinsics_out_of_range_are_refused(field, value):
    with pytest.raises(UsageError, match=r"intrinsics are out of range.*above 0, received Camera"):
        dataclasses.replace(CAMERA, **{field: value})


@pytest.mark.parametrize("field", ["cx", "cy"])
def test_axis_may_lie_outside_the_picture_but_not_at_infinity(field):
    assert getattr(dataclasses.replace(CAMERA, **{field: -3.0}), field) == -3.0
    with pytest.raises(UsageError, match="intrinsics are out of range"):
        dataclasses.replace(CAMERA, **{field: math.inf})


def test_disparity_worked_by_hand_and_beside_a_slow_loop():
    # Cityscapes: f 2262.52 px, baseline 0.209313 m: a disparity of 20 px lies at 23.6787 m.
    disparity = np.array([[20.0, 1.0], [0.0, 473.575]], np.float32)
    depth = geometry.disparity_to_depth(disparity, 2262.52, 0.209313)
    assert depth[0, 0] == pytest.approx(23.6787, abs=1e-3)
    slow = [[2262.52 * 0.209313 / d if d > 0 else math.inf for d in row] for row in disparity.tolist()]
    np.testing.assert_allclose(depth, slow, rtol=1e-6)


@given(st.floats(0.1, 100.0), st.floats(1.0, 100.0))
def test_more_disparity_is_nearer(disparity, more):
    near, far = geometry.disparity_to_depth(np.array([disparity + more, disparity], np.float32), 500.0, 0.1)
    assert near < far


def test_unknown_disparity_stays_unknown():
    depth = geometry.disparity_to_depth(np.array([np.nan, 2.0], np.float32), 100.0, 0.5)
    assert np.isnan(depth[0])
    assert depth[1] == 25.0


@pytest.mark.parametrize(("focal", "baseline"), [(0.0, 0.1), (-1.0, 0.1), (500.0, 0.0), (500.0, -0.1), (math.nan, 1.0)])
def test_disparity_without_a_focal_length_or_baseline_is_refused(focal, baseline):
    with pytest.raises(UsageError, match=r"focal length and a baseline.*both above 0.*Give --focal-px"):
        geometry.disparity_to_depth(np.ones((2, 2), np.float32), focal, baseline)
