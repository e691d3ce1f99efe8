"""Depth edges moved onto the photo's: no fringe, no ghost, nothing invented; the guided filter beside it."""

import re
import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazegen import physics
from hazegen.depth import completion, refinement
from hazegen.errors import UsageError

HEIGHT, WIDTH = 120, 640
# The edge of a surface at 2 m before one at 6 m (or sky), wavy, round column 200.
EDGE = 200.0 + 12.0 * np.sin(np.arange(HEIGHT) / 20.0)[:, None]
NEAR, FAR, SKY = np.float32(2.0), np.float32(6.0), np.float32(np.inf)


def photo(front: np.ndarray, noise: float = 5.0, contrast: float = 60.0) -> np.ndarray:
    """Both surfaces in noisy, striped colours; the rim between them is anti-aliased."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices(front.shape)
    stripes = 10.0 * np.sin(columns / 3.0 + rows / 5.0)
    pixels = np.where(front[..., None], [90.0, 80.0, 70.0], [90.0 + contrast, 80.0 + contrast, 70.0 + contrast])
    pixels = pixels + stripes[..., None] + rng.normal(0.0, noise, (*front.shape, 3))
    return np.clip(cv2.GaussianBlur(pixels, (0, 0), 0.5), 0, 255).astype(np.uint8)


def surfaces(front: np.ndarray, far: np.float32 = FAR) -> np.ndarray:
    """Distances: both surfaces lean away a little to the right and below."""
    rows, columns = np.indices(front.shape)
    return np.where(front, NEAR + 0.001 * columns, far + 0.004 * rows).astype(np.float32)


def left_of(shift: float) -> np.ndarray:
    return np.arange(WIDTH) < EDGE + shift


def fringe(true: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Error of transmission in haze of 12 m visibility, outside the rim of one pixel of the true edge."""
    beta = physics.beta_from_visibility(12.0)
    exact = physics.transmission(beta, true)
    window = np.ones((3, 3), np.uint8)
    rim = cv2.dilate(exact, window) - cv2.erode(exact, window) > 0.1
    return np.abs(physics.transmission(beta, distance) - exact)[~rim]


@pytest.mark.parametrize("far", [FAR, SKY])
@pytest.mark.parametrize("shift", [-4, -3, -2, -1, 0, 1, 2, 3, 4])
def test_a_depth_edge_that_is_off_is_put_right(shift, far):
    true, given_m = surfaces(left_of(0), far), surfaces(left_of(shift), far)
    error = fringe(true, refinement.refine(given_m, photo(left_of(0))))
    assert (error > 0.02).mean() < 0.0003
    if abs(shift) >= 2:
        assert (fringe(true, given_m) > 0.1).mean() > 5 * (error > 0.1).mean()


@pytest.mark.parametrize("shift", [0, 1, 2, 3, 4])
def test_a_hole_beside_an_edge_that_is_off_leaves_no_fringe(shift):
    """The step of the depth map stands `shift` px right of the colours', a shadow of 12 px beside it."""
    true, measured = surfaces(left_of(0)), surfaces(left_of(shift))
    measured[left_of(shift + 12) & ~left_of(shift)] = np.nan
    image = photo(left_of(0))
    filled = completion.fill(measured, image)
    error = fringe(true, refinement.refine(filled, image))
    assert (error > 0.05).mean() < 0.0015
    by_nearest = fringe(true, completion.fill(measured, image, "nearest"))
    assert (by_nearest > 0.05).mean() > 0.006


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.5])
def test_a_blunt_edge_becomes_a_step(sigma):
    true = surfaces(left_of(0))
    blunt = (1.0 / cv2.GaussianBlur(1.0 / true, (0, 0), sigma)).astype(np.float32)
    assert ((blunt > 2.8) & (blunt < 5.0)).sum() > 150
    refined = refinement.refine(blunt, photo(left_of(0)))
    assert ((refined > 2.8) & (refined < 5.0)).mean() < 0.0005
    assert (fringe(true, refined) > 0.06).mean() < 0.0005


@pytest.mark.parametrize("thickness", [2, 3, 5])
def test_thin_things_stay(thickness):
    pole = np.abs(np.arange(WIDTH) - EDGE) < thickness / 2
    true = surfaces(pole)
    for image in (photo(pole), photo(pole, contrast=0.0)):
        refined = refinement.refine(true, image)
        assert (refined[pole] < 4.0).mean() > 0.95
        assert (refined[~pole] > 4.0).mean() > 0.998


def test_a_plane_is_left_alone_whatever_its_texture():
    rows, columns = np.indices((HEIGHT, WIDTH))
    plane = (1.0 / (0.02 + 0.002 * rows + 0.0005 * columns)).astype(np.float32)
    texture = np.where((columns // 7 + rows // 9)[..., None] % 2, 230, 30) * np.ones((1, 1, 3))
    np.testing.assert_array_equal(refinement.refine(plane, texture.astype(np.uint8)), plane)


def test_without_a_colour_edge_the_depth_edge_stays():
    true = surfaces(left_of(0))
    refined = refinement.refine(true, photo(left_of(0), contrast=0.0))
    assert (refined != true).mean() < 0.001


@given(st.integers(0, 1000), st.booleans())
def test_distances_are_selected_never_made(seed, sky):
    rng = np.random.default_rng(seed)
    distance = np.exp(cv2.GaussianBlur(rng.standard_normal((40, 60)), (0, 0), 2.0) * 6.0).astype(np.float32)
    distance[rng.random((40, 60)) < 0.05] *= 3.0
    if sky:
        distance[:15] = np.inf
    image = cv2.GaussianBlur(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8), (0, 0), 2.0)
    before = distance.copy()
    refined = refinement.refine(distance, image)
    np.testing.assert_array_equal(distance, before)
    assert refined.dtype == np.float32
    assert np.isin(refined, distance).all()


@pytest.mark.parametrize("method", ["edges", "guided"])
def test_sky_without_any_surface_stays_sky(method):
    image = np.zeros((5, 6, 3), np.uint8)
    sky = np.full((5, 6), np.inf, np.float32)
    np.testing.assert_array_equal(refinement.refine(sky, image, method), sky)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (3, 3)])
@pytest.mark.parametrize("method", ["edges", "guided"])
def test_the_smallest_pictures(shape, method):
    distance = np.full(shape, 3.0, np.float32)
    np.testing.assert_allclose(refinement.refine(distance, np.zeros((*shape, 3), np.uint8), method), 3.0, rtol=1e-5)


def test_unknown_method_is_refused():
    expected = "The method of refinement is unknown. Expected edges or guided, received 'sharp'. Correct the recipe."
    with pytest.raises(UsageError, match=re.escape(expected)):
        refinement.refine(np.ones((2, 2), np.float32), np.zeros((2, 2, 3), np.uint8), "sharp")


# --- the guided filter ---


def slow_guided_filter(t: np.ndarray, image: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Ridge regression in each window, and the mean over the windows; the picture is reflected at its border."""
    height, width = t.shape
    guide = image / 255.0
    slopes, offsets = np.zeros((height, width, 3)), np.zeros((height, width))

    def window(values: np.ndarray, y: int, x: int) -> np.ndarray:
        framed = np.pad(values, [(radius, radius)] * 2 + [(0, 0)] * (values.ndim - 2), mode="symmetric")
        return framed[y : y + 2 * radius + 1, x : x + 2 * radius + 1].reshape(-1, *values.shape[2:])

    for y, x in np.ndindex(height, width):
        colours, levels = window(guide, y, x), window(t, y, x)
        spread = np.cov(colours.T, bias=True) + epsilon * np.eye(3)
        shared = ((colours - colours.mean(axis=0)) * (levels - levels.mean())[:, None]).mean(axis=0)
        slopes[y, x] = np.linalg.solve(spread, shared)
        offsets[y, x] = levels.mean() - slopes[y, x] @ colours.mean(axis=0)
    means = [
        (window(slopes, y, x).mean(axis=0) @ guide[y, x], window(offsets, y, x).mean()) for y, x in np.ndindex(t.shape)
    ]
    return np.clip(np.array([a + b for a, b in means]).reshape(t.shape), 0.0, 1.0)


def test_guided_filter_gives_what_a_slow_loop_gives():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (14, 17, 3), dtype=np.uint8)
    t = (0.5 * rng.random((14, 17)) + image[..., 1] / 510.0).astype(np.float32)
    expected = slow_guided_filter(t, image, 3, 1e-3)
    assert expected.std() > 0.05
    np.testing.assert_allclose(refinement.guided_transmission(t, image, 3, 1e-3), expected, atol=1e-4)


@pytest.mark.parametrize("strip_px", [1, 3000, 10**9])
def test_guided_filter_does_not_hang_on_where_strips_end(strip_px, monkeypatch):
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.integers(0, 256, (95, 61, 3), dtype=np.uint8), (0, 0), 2.0)
    t = cv2.GaussianBlur(rng.random((95, 61), dtype=np.float32), (0, 0), 2.0)
    monkeypatch.setattr(refinement, "GUIDED_STRIP_PX", 95 * 61)
    whole = refinement.guided_transmission(t, image, 7, 1e-3)
    assert whole.std() > 0.01
    monkeypatch.setattr(refinement, "GUIDED_STRIP_PX", strip_px)
    np.testing.assert_allclose(refinement.guided_transmission(t, image, 7, 1e-3), whole, atol=1e-5)


def test_guided_filter_takes_a_tenth_of_a_kilobyte_for_each_pixel_at_most():
    image = np.random.default_rng(2).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    distance_m = np.tile(np.linspace(50.0, 2.0, 600, dtype=np.float32)[:, None], (1, 800))
    tracemalloc.start()
    refinement.refine(distance_m, image, "guided")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80 * distance_m.size


def test_guided_filter_keeps_a_constant():
    image = photo(left_of(0))
    t = np.full(image.shape[:2], 0.3, np.float32)
    np.testing.assert_allclose(refinement.guided_transmission(t, image, 20, 1e-3), 0.3, atol=1e-4)


def test_guided_distance_keeps_sky_and_range():
    true = surfaces(left_of(0), SKY)
    refined = refinement.refine(true, photo(left_of(3)), "guided")
    finite = np.isfinite(true)
    np.testing.assert_array_equal(np.isfinite(refined), finite)
    assert true.min() * (1 - 1e-5) <= refined.min()
    assert refined[finite].max() <= true[finite].max() * (1 + 1e-5)
    assert refined.dtype == np.float32
    assert (refined[finite] != true[finite]).mean() > 0.5
