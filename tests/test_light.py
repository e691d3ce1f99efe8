"""The atmospheric light of pictures in which it is known."""

import numpy as np
import pytest

from hazegen import light

HAZE = np.array([200, 205, 215], np.uint8)


@pytest.fixture
def picture():
    """Dark noise in front, a bright wall of haze of 20 x 20 pixels, and a white spot that is no haze."""
    rng = np.random.default_rng(0)
    clean = rng.integers(0, 120, (60, 80, 3), dtype=np.uint8)
    distance_m = rng.uniform(5.0, 50.0, (60, 80)).astype(np.float32)
    clean[:20, :20], distance_m[:20, :20] = HAZE, np.inf
    clean[40:44, 40:44] = 255
    return clean, distance_m


@pytest.mark.parametrize("how", ["dark-channel", "brightest-far"])
def test_light_is_the_colour_of_the_haze_and_not_of_a_white_spot(picture, how):
    found = light.estimate(*picture, how, "srgb")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, HAZE / 255.0, atol=1e-6)


@pytest.mark.parametrize("how", ["dark-channel", "brightest-far"])
def test_light_is_given_in_the_equations_space(picture, how):
    # sRGB code 200 / 255 is 0.57758 in linear light, 215 / 255 is 0.67954.
    found = light.estimate(*picture, how, "linear")
    np.testing.assert_allclose(found[[0, 2]], [0.57758, 0.67954], atol=1e-5)


def slow_dark_channel(clean):
    """The darkest value in each window of 15 x 15, one pixel at a time."""
    height, width, _ = clean.shape
    result = np.empty((height, width), np.uint8)
    for y, x in np.ndindex(height, width):
        result[y, x] = clean[max(y - 7, 0) : y + 8, max(x - 7, 0) : x + 8].min()
    return result


def test_dark_channel_is_the_slow_loops(picture):
    np.testing.assert_array_equal(light.dark_channel(picture[0]), slow_dark_channel(picture[0]))


def test_dark_channel_takes_the_pixel_of_median_gray_among_the_haziest():
    # 0.1 % of 50 x 100 pixels are 5. Darkness falls along the diagonal: their grays are 148, 147, 147, 146, 146.
    gray = np.arange(50)[:, None] + np.arange(100)
    clean = (gray[..., None] + np.array([0, 10, 20])).astype(np.uint8)
    found = light.estimate(clean, np.ones((50, 100), np.float32), "dark-channel", "srgb")
    np.testing.assert_allclose(found * 255, [147.0, 157.0, 167.0], atol=1e-4)


def test_median_pixel_is_one_of_the_picture_and_not_a_mean():
    clean = np.full((30, 30, 3), 250, np.uint8)
    clean[:, :10] = (250, 180, 180)  # dark channel 180 near it
    found = light.estimate(clean, np.ones((30, 30), np.float32), "dark-channel", "srgb")
    np.testing.assert_allclose(found * 255, 250.0, atol=1e-4)


def test_brightest_tenth_of_the_farthest_hundredth_worked_by_hand():
    # 1,000 pixels: the farthest 10, of which the brightest 1.
    distance_m = np.arange(1000, dtype=np.float32).reshape(25, 40) + 1.0
    clean = np.full((25, 40, 3), 255, np.uint8)
    clean.reshape(-1, 3)[-10:] = np.arange(10)[:, None] + np.array([100, 110, 120])
    np.testing.assert_allclose(
        light.estimate(clean, distance_m, "brightest-far", "srgb") * 255, [109.0, 119.0, 129.0], atol=1e-4
    )


def test_brightest_far_weighs_linear_light_before_the_mean():
    # 2,000 pixels: the farthest 20, of which the brightest 2: codes 0 and 255, whose mean light is 0.5.
    distance_m = np.arange(2000, dtype=np.float32).reshape(40, 50) + 1.0
    clean = np.zeros((40, 50, 3), np.uint8)
    clean.reshape(-1, 3)[-1] = 255
    np.testing.assert_allclose(light.estimate(clean, distance_m, "brightest-far", "linear"), 0.5, atol=1e-6)


@pytest.mark.parametrize("how", ["dark-channel", "brightest-far"])
@pytest.mark.parametrize("size", [(1, 1), (3, 5)])
def test_a_picture_of_a_few_pixels_has_a_light_too(how, size):
    clean = np.full((*size, 3), 51, np.uint8)
    np.testing.assert_allclose(light.estimate(clean, np.ones(size, np.float32), how, "srgb"), 0.2, atol=1e-6)
