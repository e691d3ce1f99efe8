"""Haze that changes in space: height against quadrature, noise against its asked mean and a slow ray march."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.integrate import quad

from hazegen import fields
from hazegen.errors import UsageError
from hazegen.geometry import Camera, camera_from_fov
from hazegen.sampling import HazeParams

CAMERA = camera_from_fov(60.0, 41, 31)
SCALES = st.floats(0.5, 500.0)
HEIGHTS = st.floats(0.0, 60.0)
SLOPES = st.floats(-1.0, 1.0)
DISTANCES = st.floats(0.01, 2000.0)


def haze(beta=0.05, **fields_):
    return HazeParams(0, (beta, beta, beta), (0.9, 0.9, 0.9), 1.0, **fields_)


def patchy(contrast=0.6, scale_m=20.0, samples=24, seed=3, **others):
    drawn = {"noise_contrast": contrast, "noise_scale_m": scale_m, "noise_samples": samples, "noise_seed": seed}
    return haze(**drawn, **others)


def through(distance_m, slope, scale_m, height_m, kind=np.float64):
    fog = haze(height_scale_m=scale_m, camera_height_m=height_m)
    return float(fields.through_height(np.array([distance_m], kind), np.array([slope], kind), fog)[0])


def density(height_m, scale_m):
    """exp(-h / H) above the ground, 1 below."""
    return math.exp(-max(height_m, 0.0) / scale_m)


# --- height ---


@given(DISTANCES, SLOPES, SCALES, HEIGHTS)
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_height_integral_is_that_of_slow_quadrature(kind, distance_m, slope, scale_m, height_m):
    assume(height_m / scale_m < 60.0)  # beyond, the fog is gone: 1e-26
    slope = float(np.float32(slope))
    bends = [bend for bend in (-height_m / slope if slope < 0 else 0.0,) if 0.0 < bend < distance_m]
    ends = [0.0, *bends, distance_m]
    expected = sum(
        quad(lambda s: density(height_m + slope * s, scale_m), low, high, epsrel=1e-9, limit=200)[0]
        for low, high in pairwise(ends)
    )
    received = through(distance_m, slope, scale_m, height_m, kind)
    assert received == pytest.approx(expected, rel=1e-5, abs=1e-5 * 1e-6)


@given(st.floats(0.001, 1.0), SCALES, HEIGHTS)
def test_sky_ray_upward_has_a_finite_depth(slope, scale_m, height_m):
    expected = quad(lambda u: math.exp(-u), height_m / scale_m, np.inf)[0] * scale_m / slope
    assert through(np.inf, slope, scale_m, height_m) == pytest.approx(expected, rel=1e-5, abs=1e-12)
    far = through(100.0 * scale_m / slope, slope, scale_m, height_m)
    assert through(np.inf, slope, scale_m, height_m) == pytest.approx(far, rel=1e-9)


@pytest.mark.parametrize("slope", [0.0, 1e-15, -1e-15, 1e-12, -1e-12, 1e-8, -1e-8])
def test_level_ray_has_the_density_of_its_height(slope):
    assert through(300.0, slope, 10.0, 20.0) == pytest.approx(300.0 * math.exp(-2.0), rel=1e-6)
    assert through(300.0, slope, 10.0, 20.0, np.float32) == pytest.approx(300.0 * math.exp(-2.0), rel=1e-5)


def test_worked_example_of_height():
    # H = 10 m, camera on the ground, a ray that climbs 1 m in 2: 10 * 2 * (1 - exp(-20 / 20)) = 12.6424 of 20 m.
    assert through(20.0, 0.5, 10.0, 0.0) == pytest.approx(20.0 * (1 - math.exp(-1.0)))
    # Downward from 10 m to the ground: the same air the other way, and 5 m under ground in full.
    assert through(20.0, -0.5, 10.0, 10.0) == pytest.approx(20.0 * (1 - math.exp(-1.0)))
    assert through(25.0, -0.5, 10.0, 10.0) == pytest.approx(20.0 * (1 - math.exp(-1.0)) + 5.0)


@given(DISTANCES, st.floats(0.0, 100.0), SLOPES, SCALES, HEIGHTS)
def test_fog_that_thins_is_never_denser_than_the_grounds_and_grows_with_distance(first, more, slope, scale, height):
    near, far = through(first, slope, scale, height), through(first + more, slope, scale, height)
    assert 0.0 <= near <= far * (1 + 1e-12)
    assert far <= (first + more) * (1 + 1e-9)


@given(DISTANCES, SLOPES)
def test_very_high_fog_is_uniform(distance_m, slope):
    assert through(distance_m, slope, 1e6, 0.0) == pytest.approx(distance_m, rel=2e-3)


@pytest.mark.parametrize("scale_m", [0.01, 1e6])
@pytest.mark.parametrize("height_m", [0.0, 1e4])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_ends_of_all_ranges_give_numbers(scale_m, height_m, kind):
    distance_m = np.array([0.0, 1e-3, 1.0, 1e5, 1e30, np.inf], kind)
    fog = haze(height_scale_m=scale_m, camera_height_m=height_m)
    for slope in (-1.0, -1e-20, 0.0, 1e-20, 1e-6, 1.0):
        length = fields.through_height(distance_m, np.full(6, slope, kind), fog)
        assert not np.isnan(length).any()
        assert (length >= 0.0).all()
        assert (np.diff(length) >= 0.0).all()


def test_slope_is_the_pitch_on_the_axis_and_turns_with_it():
    wide = Camera(3, 3, 1.0, 1.0, 1.0, 1.0)  # 45 degrees from one pixel to the next
    for pitch in (-90.0, -30.0, 0.0, 30.0, 90.0):
        slope = fields.slopes(wide, haze(camera_pitch_deg=pitch), 0, 3)
        expected = [math.sin(math.radians(pitch + angle)) for angle in (45.0, 0.0, -45.0)]
        np.testing.assert_allclose(slope[:, 1], expected, atol=1e-12)
    assert slope.shape == (3, 3)
    np.testing.assert_allclose(fields.slopes(wide, haze(), 0, 3)[0, 0], 1 / math.sqrt(3))
    np.testing.assert_array_equal(fields.slopes(wide, haze(), 1, 2), fields.slopes(wide, haze(), 0, 3)[1:2])


def test_directions_are_of_unit_length():
    x, y = np.arange(41.0), np.arange(31.0)
    rays = fields.directions(CAMERA, haze(camera_pitch_deg=17.0), x, y)
    np.testing.assert_allclose((rays**2).sum(axis=0), 1.0)


# --- noise ---


@pytest.mark.parametrize("contrast", [0.1, 0.6, 1.5, 3.0])
@pytest.mark.parametrize("seed", [0, 1, 2**62])
def test_noise_has_mean_one_and_the_asked_contrast(contrast, seed):
    cube = fields.noise(contrast, seed)
    assert cube.dtype == np.float32
    assert cube.mean(dtype=np.float64) == pytest.approx(1.0, abs=1e-6)
    assert cube.min() > 0.0
    assert cube.std(dtype=np.float64) == pytest.approx(contrast, rel=0.03 + 0.12 * contrast)
    assert np.log(cube).std(dtype=np.float64) == pytest.approx(math.sqrt(math.log1p(contrast**2)), rel=1e-4)


def test_noise_is_a_function_of_its_seed():
    np.testing.assert_array_equal(fields.noise(0.5, 7), fields.noise(0.5, 7))
    assert np.abs(np.corrcoef(fields.noise(0.5, 7).ravel(), fields.noise(0.5, 8).ravel())[0, 1]) < 0.1


def test_noise_is_smooth_the_same_along_all_axes_and_across_its_seam():
    cube = np.log(fields.noise(0.6, 1))
    cube -= cube.mean()
    steps = [[float((cube * np.roll(cube, n, axis)).mean() / cube.var()) for n in (1, 2, 4, 8)] for axis in range(3)]
    for axis in range(3):
        assert steps[axis] == sorted(steps[axis], reverse=True)
        assert steps[axis][0] > 0.5  # neighbours are alike: no single grains
        assert abs(steps[axis][3]) < 0.2  # one scale away they have nothing to do with each other
        seam = np.take(cube, 0, axis) - np.take(cube, -1, axis)
        inside = np.diff(cube, axis=axis)
        assert seam.std() == pytest.approx(inside.std(), rel=0.15)
    np.testing.assert_allclose(steps[0][:3], steps[1][:3], atol=0.1)


def test_coarser_noise_keeps_the_mean_down_to_one_point():
    cube = fields.noise(1.0, 5)
    while len(cube) > 1:
        cube = fields.coarser(cube)
        assert cube.mean(dtype=np.float64) == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(fields.coarser(np.arange(8, dtype=np.float32).reshape(2, 2, 2)), [[[3.5]]])


def wall(distance_m, size=(31, 41)):
    return np.full(size, distance_m, np.float32)


@pytest.mark.parametrize("level", range(5))
def test_every_level_of_the_noise_lies_in_the_same_place(level):
    # Density that is its own place ahead, in points: means of blocks stand in the middle of their blocks.
    cube = np.broadcast_to(np.arange(64, dtype=np.float32), (64, 64, 64))
    for _ in range(level):
        cube = fields.coarser(np.ascontiguousarray(cube))
    ahead = np.array([0.0, 0.0, 1.0]).reshape(3, 1, 1)
    for place in (20.0, 23.5, 31.0):  # points of 8 m / 8
        found = fields._shell(cube, 2.0**level, place - 2.0, place + 2.0, ahead, patchy(scale_m=8.0))
        assert found[0, 0] == pytest.approx(place, abs=1e-5)


def test_shells_reach_to_the_farthest_surface_and_no_farther():
    for farthest in (5.0, 60.0, 99.0):
        distance_m = wall(2.0)
        distance_m[0], distance_m[1, 0] = np.inf, farthest
        assert fields.shell_ends(patchy(beta=0.06), distance_m)[-1] == pytest.approx(farthest)
    for distance_m in (wall(3000.0), wall(np.inf)):  # what lies beyond is not seen
        assert fields.shell_ends(patchy(beta=0.06), distance_m)[-1] == pytest.approx(100.0)


def test_shells_reach_as_far_as_green_light_does():
    red_haze = HazeParams(0, (0.1, 0.06, 0.02), (0.9,) * 3, 1.0, noise_contrast=0.5)
    assert fields.shell_ends(red_haze, wall(np.inf))[-1] == pytest.approx(100.0)


@pytest.mark.parametrize("samples", [8, 24, 256])
@pytest.mark.parametrize("visibility_m", [30.0, 2000.0])
@pytest.mark.parametrize("scale_m", [0.1, 20.0, 10_000.0])
def test_rays_to_the_farthest_surface_cross_as_many_shells_as_asked(samples, visibility_m, scale_m):
    fog = patchy(beta=3.0 / visibility_m, scale_m=scale_m, samples=samples)
    shells = list(fields.shells(fog, CAMERA, wall(10.0)))
    assert len([end for end, _ in shells if end <= 10.0 * (1 + 1e-9)]) == samples >= 8
    assert all(density.shape == (4, 6) and density.dtype == np.float32 for _, density in shells)


def test_shells_grow_up_to_six_optical_depths():
    ends = fields.shell_ends(patchy(samples=10, beta=0.06), wall(1000.0))
    assert len(ends) == 10
    assert ends[-1] == pytest.approx(100.0)
    thickness = np.diff([0.0, *ends])
    assert (np.diff(thickness) > 0.0).all()
    assert thickness[0] < 20.0 / 4


def test_patchy_haze_has_the_asked_mean_over_rays_and_seeds():
    distance_m = np.full((31, 41), 40.0, np.float32)
    shares = np.array([fields.path_length(distance_m, patchy(seed=seed), CAMERA).mean() / 40.0 for seed in range(40)])
    error = shares.std() / math.sqrt(len(shares))
    assert error < 0.04
    assert abs(shares.mean() - 1.0) < 3.5 * error
    assert shares.std() > 0.05  # and single scenes differ


def spread_of_lengths(visibility_m, scale_m, distance_m, samples):
    """Standard deviation and mean of the equivalent length [m] to a wall, over pixels and seeds."""
    camera = camera_from_fov(60.0, 80, 60)
    drawn = [patchy(0.8, scale_m, samples, seed, beta=3.0 / visibility_m) for seed in range(4)]
    lengths = [fields.path_length(wall(distance_m, (60, 80)), fog, camera) for fog in drawn]
    return np.std(lengths), np.mean(lengths)


@pytest.mark.parametrize("visibility_m", [30.0, 150.0, 2000.0])
@pytest.mark.parametrize("scale_m", [4.0, 20.0])
@pytest.mark.parametrize("distance_m", [5.0, 60.0])
def test_contrast_of_patches_does_not_hang_on_the_number_of_samples(visibility_m, scale_m, distance_m):
    few, usual, many = (spread_of_lengths(visibility_m, scale_m, distance_m, samples) for samples in (8, 24, 256))
    assert few[0] == pytest.approx(many[0], rel=0.03)
    assert usual[0] == pytest.approx(many[0], rel=0.02)
    assert few[1] == pytest.approx(many[1], rel=0.01)
    assert many[0] > 0.05 * distance_m


@pytest.mark.parametrize("samples", [8, 24])
@pytest.mark.parametrize("distance_m", [5.0, 60.0])
def test_few_samples_show_the_same_patches_as_a_slow_march(samples, distance_m):
    # A picture of many pixels for its angle: what is finer than a cell is not shown.
    camera = Camera(321, 241, 600.0, 600.0, 160.0, 120.0)
    x, y = np.arange(3, 321, 48), np.arange(3, 241, 48)
    for scale_m in (4.0, 20.0):
        fog = patchy(0.8, scale_m, samples, seed=2, beta=0.0015)
        found = fields.path_length(wall(distance_m, (241, 321)), fog, camera)[np.ix_(y, x)].ravel() / distance_m
        rays = fields.directions(camera, fog, x.astype(float), y.astype(float)).reshape(3, -1).T
        slow = np.array([march((0.0, 1.5, 0.0), ray, distance_m, fog, 1000) for ray in rays])
        assert np.corrcoef(found, slow)[0, 1] > 0.93
        assert found.std() == pytest.approx(slow.std(), rel=0.16)
        assert np.abs(found - slow).max() < 0.1


@pytest.mark.parametrize(("scale_m", "distance_m"), [(0.1, 1e15), (0.1, 30.0), (10_000.0, 0.01)])
def test_patches_at_the_ends_of_all_ranges_come_to_an_end_and_give_numbers(scale_m, distance_m):
    fog = patchy(3.0, scale_m, 8, beta=1e-30)
    length = fields.path_length(wall(distance_m), fog, CAMERA)
    assert np.isfinite(length).all()
    assert (length > 0.0).all()


def march(point_m, direction, distance_m, fog, steps=4000):
    """Mean density along a ray by small steps, trilinear by hand."""
    cube = fields.noise(fog.noise_contrast, fog.noise_seed).astype(np.float64)
    s = (np.arange(steps) + 0.5) * distance_m / steps
    place = np.asarray(point_m)[:, None] + np.asarray(direction)[:, None] * s
    index = place * np.array([1.0, 2.0, 1.0])[:, None] / (fog.noise_scale_m / 8)
    low = np.floor(index).astype(int)
    share = index - low
    total = np.zeros(steps)
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod([share[i] if corner[i] else 1 - share[i] for i in range(3)], axis=0)
        total += weight * cube[tuple((low + np.array(corner)[:, None]) % 64)]
    return float(total.mean())


@pytest.mark.parametrize("pixel", [(20, 15), (3, 4), (36, 27)])
@pytest.mark.parametrize("seed", [1, 2])
def test_fine_shells_come_to_a_slow_march_along_the_ray(pixel, seed):
    # A picture of many pixels for its angle, so that the cells' interpolation is exact too.
    camera = Camera(41, 31, 600.0, 600.0, 20.0, 15.0)
    fog = patchy(scale_m=40.0, samples=256, seed=seed, camera_height_m=2.0, camera_pitch_deg=5.0)
    x, y = pixel
    ray = fields.directions(camera, fog, np.array([float(x)]), np.array([float(y)]))[:, 0, 0]
    for distance_m in (4.0, 15.0, 60.0):
        length = fields.path_length(np.full((31, 41), distance_m, np.float32), fog, camera)[y, x]
        assert length / distance_m == pytest.approx(march((0.0, 2.0, 0.0), ray, distance_m, fog), rel=0.02)


def test_noise_is_in_the_world_and_not_on_the_picture():
    # Two cameras see the same point: the haze just in front of it is the same for both.
    fog = {"scale_m": 40.0, "samples": 256, "beta": 0.1}
    high, ahead = 8.0, 30.0
    pitch, away = math.degrees(math.atan2(high, ahead)), math.hypot(high, ahead)
    first = patchy(camera_height_m=1.5, **fog), ahead
    second = patchy(camera_height_m=1.5 + high, camera_pitch_deg=-pitch, **fog), away
    wide, narrow = Camera(41, 31, 200.0, 200.0, 20.0, 15.0), Camera(81, 61, 500.0, 500.0, 40.0, 30.0)

    def near_the_point(drawn, distance_m, camera):
        size = (camera.height, camera.width)
        ends = [np.full(size, distance_m + step, np.float32) for step in (-1.0, 1.0)]
        low, high = (fields.path_length(end, drawn, camera) for end in ends)
        return (high - low)[int(camera.cy), int(camera.cx)] / 2.0

    here, there = near_the_point(*first, wide), near_the_point(*second, narrow)
    assert here == pytest.approx(there, rel=0.05)
    assert near_the_point(*first, narrow) == pytest.approx(here, rel=0.03)
    # The camera that was moved up without turning sees other haze in the same pixel.
    moved = patchy(camera_height_m=1.5 + high, **fog)
    assert abs(near_the_point(moved, ahead, wide) - here) > 0.1 * here


def test_patchy_haze_grows_with_distance_and_goes_on_uniformly():
    fog = patchy(contrast=1.0)
    ends = [0.0, 0.5, 2.0, 10.0, 50.0, 119.0, 121.0, 1000.0]
    lengths = np.array([fields.path_length(np.full((31, 41), end, np.float32), fog, CAMERA) for end in ends])
    assert (lengths[0] == 0.0).all()
    assert (np.diff(lengths, axis=0) > 0.0).all()
    np.testing.assert_allclose(lengths[-1] - lengths[-2], 1000.0 - 121.0, rtol=1e-9)
    assert np.isinf(fields.path_length(np.full((31, 41), np.inf, np.float32), fog, CAMERA)).all()


@pytest.mark.parametrize("samples", [8, 24])
def test_far_patches_are_not_single_grains(samples):
    # What differs from cell to cell of the picture is less than what differs across it, however far it is.
    camera = camera_from_fov(60.0, 640, 480)
    for scale_m in (1.0, 5.0, 50.0):
        fog = patchy(scale_m=scale_m, samples=samples, beta=0.01)
        visible = [shell for _, shell in fields.shells(fog, camera, wall(np.inf, (480, 640))) if shell.std() > 0.05]
        assert len(visible) > 2
        for shell in visible:
            assert np.diff(shell, axis=1).std() <= 1.2 * shell.std()


# --- both, and neither ---


def test_haze_without_noise_and_height_has_the_distance_itself():
    distance_m = np.full((2, 3), 5.0, np.float32)
    assert fields.path_length(distance_m, haze(), None) is distance_m


def test_noise_of_little_contrast_is_no_noise_and_high_fog_no_height():
    rng = np.random.default_rng(0)
    distance_m = rng.uniform(1.0, 200.0, (31, 41)).astype(np.float32)
    distance_m[0] = np.inf
    low = {"height_scale_m": 6.0, "camera_height_m": 4.0, "camera_pitch_deg": 10.0}
    both = fields.path_length(distance_m, patchy(contrast=1e-4, **low), CAMERA)
    np.testing.assert_allclose(both, fields.path_length(distance_m, haze(**low), CAMERA), rtol=1e-3)
    assert np.isfinite(both[0]).all()  # the upper row looks up, out of the fog
    noise = {"camera_height_m": 4.0, "camera_pitch_deg": 10.0}
    np.testing.assert_allclose(
        fields.path_length(distance_m[1:].copy(), patchy(height_scale_m=1e6, **noise), _rows(CAMERA, 1)),
        fields.path_length(distance_m[1:].copy(), patchy(**noise), _rows(CAMERA, 1)),
        rtol=1e-3,
    )


def _rows(camera, cut):
    return Camera(camera.width, camera.height - cut, camera.fx, camera.fy, camera.cx, camera.cy - cut)


def test_haze_that_changes_in_space_needs_a_camera():
    with pytest.raises(
        UsageError, match=r"direction of each pixel's ray. Expected intrinsics .*Pass --fov-deg or --ca"
    ):
        fields.path_length(np.ones((31, 41), np.float32), patchy(), None)


# --- interpolation between cells ---


def test_between_cells_values_go_straight_and_beyond_they_stay():
    coarse = np.array([[0.0, 8.0], [16.0, 24.0]])
    fine = fields.upsample(coarse, 8, 16, 16)
    np.testing.assert_allclose(fine[0], [0.0] * 4 + [0.5 + n for n in range(8)] + [8.0] * 4)
    np.testing.assert_allclose(fine[:, 0], [0.0] * 4 + [1.0 + 2 * n for n in range(8)] + [16.0] * 4)
    assert fields.upsample(coarse, 8, 13, 9).shape == (13, 9)


@pytest.mark.parametrize("size", [(1, 1), (1, 20), (7, 9), (8, 8), (17, 3)])
def test_cells_cover_pictures_of_any_size(size):
    coarse = np.full((-(-size[0] // 8), -(-size[1] // 8)), 3.0)
    np.testing.assert_allclose(fields.upsample(coarse, 8, *size), np.full(size, 3.0))
    camera = Camera(size[1], size[0], 50.0, 50.0, 0.0, 0.0)
    assert fields.path_length(np.full(size, 9.0, np.float32), patchy(), camera).shape == size
