"""The reference synthesis beside a slow loop in float64."""

import math

import numpy as np
import pytest

from hazegen import synthesis
from hazegen.sampling import HazeParams

GRAY = HazeParams(0, (0.15, 0.15, 0.15), (0.9, 0.9, 0.9), 1.0)
COLOURED = HazeParams(0, (0.1, 0.2, 0.3), (0.7, 0.8, 1.0), 1.0)


def slow_render(clean: np.ndarray, distance_m: np.ndarray, haze: HazeParams, color_space: str) -> np.ndarray:
    """I = J t + A (1 - t), one pixel and channel at a time, unrounded code values."""

    def linear(v: float) -> float:
        return v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4

    def coded(v: float) -> float:
        return v * 12.92 if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055

    result = np.empty(clean.shape)
    for y, x, c in np.ndindex(*clean.shape):
        t = math.exp(-haze.beta[c] * float(distance_m[y, x]))
        radiance = int(clean[y, x, c]) / 255.0
        if color_space == "linear":
            radiance = linear(radiance)
        value = radiance * t + haze.atmospheric_light[c] * (1.0 - t)
        result[y, x, c] = 255.0 * (coded(value) if color_space == "linear" else value)
    return result


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    distance_m = rng.uniform(0.0, 30.0, (16, 20)).astype(np.float32)
    distance_m[:2], distance_m[2] = np.inf, 0.0
    return rng.integers(0, 256, (16, 20, 3), dtype=np.uint8), distance_m


@pytest.mark.parametrize("color_space", ["srgb", "linear"])
@pytest.mark.parametrize("haze", [GRAY, COLOURED])
def test_render_is_the_slow_loops_rounded(scene, haze, color_space):
    clean, distance_m = scene
    hazy = synthesis.render(clean, synthesis.transmission_of(distance_m, haze), haze, color_space)
    slow = slow_render(clean, distance_m, haze, color_space)
    assert hazy.dtype == np.uint8
    # Rounded to the nearest code, give or take float32's last digits: nearer than "within 1 code value".
    assert np.abs(hazy - slow).max() <= 0.5 + 1e-3
    np.testing.assert_array_equal(hazy[2], clean[2])
    np.testing.assert_allclose(hazy[0, 0], slow[0, 0], atol=0.5)


@pytest.mark.parametrize("color_space", ["srgb", "linear"])
def test_sky_shows_the_light_and_nothing_of_the_scene(scene, color_space):
    clean, distance_m = scene
    hazy = synthesis.render(clean, synthesis.transmission_of(distance_m, COLOURED), COLOURED, color_space)
    assert len(np.unique(hazy[:2].reshape(-1, 3), axis=0)) == 1
    expected = [0.7, 0.8, 1.0] if color_space == "srgb" else [0.85431, 0.90633, 1.0]  # sRGB codes of linear 0.7, 0.8
    np.testing.assert_array_equal(hazy[0, 0], np.rint(np.array(expected) * 255))


def test_equation_on_srgb_codes_and_on_linear_light_differ_visibly(scene):
    clean, _ = scene
    distance_m = np.full(clean.shape[:2], 5.0, np.float32)
    first, second = (
        synthesis.render(clean, synthesis.transmission_of(distance_m, GRAY), GRAY, space).astype(float)
        for space in ("srgb", "linear")
    )
    psnr = 10 * math.log10(255**2 / np.mean((first - second) ** 2))
    assert 15.0 < psnr < 32.0


@pytest.mark.parametrize(("haze", "channels"), [(GRAY, 1), (COLOURED, 3)])
def test_transmission_has_a_channel_for_each_beta(scene, haze, channels):
    transmission = synthesis.transmission_of(scene[1], haze)
    assert transmission.shape == (16, 20, channels)
    assert transmission.dtype == np.float32
    assert (transmission[:2] == 0.0).all()
    assert (transmission[2] == 1.0).all()


def test_clean_image_is_left_as_it_was(scene):
    clean, distance_m = scene
    before = clean.copy()
    synthesis.render(clean, synthesis.transmission_of(distance_m, GRAY), GRAY, "srgb")
    np.testing.assert_array_equal(clean, before)
