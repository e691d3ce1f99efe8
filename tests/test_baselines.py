"""The baselines against slow loops, and that the dark channel prior does what it is for."""

import numpy as np
import pytest
from aodnet_fixtures import noise, smooth

from aodnet import baselines, metrics
from hazegen import color, physics


@pytest.fixture
def small(monkeypatch):
    """Windows that a slow loop can afford."""
    monkeypatch.setattr(baselines, "RADIUS", 3)


def mirrored(index: int, size: int) -> int:
    """The pixel that stands for one beyond the border, the edge pixel not repeated."""
    index = abs(index)
    return index if index < size else 2 * (size - 1) - index


def window_mean(values: np.ndarray, radius: int) -> np.ndarray:
    height, width = values.shape
    result = np.empty((height, width))
    for y in range(height):
        for x in range(width):
            result[y, x] = np.mean([
                values[mirrored(y + dy, height), mirrored(x + dx, width)]
                for dy in range(-radius, radius + 1) for dx in range(-radius, radius + 1)
            ])  # fmt: skip
    return result


def test_guided_filter_against_slow_loop(small):
    rng = np.random.default_rng(0)
    guide, values = rng.uniform(size=(2, 17, 21))
    got = baselines.guided_filter(guide.astype(np.float32), values.astype(np.float32))

    def mean(x: np.ndarray) -> np.ndarray:
        return window_mean(x, 3)

    variance = mean(guide * guide) - mean(guide) ** 2
    slope = (mean(guide * values) - mean(guide) * mean(values)) / (variance + baselines.EPSILON)
    expected = mean(slope) * guide + mean(mean(values) - slope * mean(guide))
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_guided_filter_keeps_a_constant_and_follows_its_guide(small):
    guide = smooth(0, 30, 40)[..., 0].astype(np.float32) / 255.0
    flat = np.full_like(guide, 0.4)
    np.testing.assert_allclose(baselines.guided_filter(guide, flat), flat, atol=1e-5)
    step = np.where(np.arange(40) < 20, 0.2, 0.8).astype(np.float32)[None].repeat(30, 0)
    np.testing.assert_allclose(baselines.guided_filter(step, step), step, atol=0.02)


def test_dark_channel_against_slow_loop():
    image = color.to_float(noise(1, 25, 31))
    expected = np.empty((25, 31))
    for y in range(25):
        for x in range(31):
            expected[y, x] = image[max(0, y - 7) : y + 8, max(0, x - 7) : x + 8].min()
    np.testing.assert_array_equal(baselines.dark_channel(image), expected.astype(np.float32))


def test_atmospheric_light_is_the_brightest_of_the_haziest():
    image = np.full((100, 100, 3), 0.2, np.float32)
    image[:, :50] = (0.7, 0.8, 0.9)
    image[80, 80] = 1.0  # bright, but alone in a dark patch: not haze
    light = baselines._atmospheric_light(image, baselines.dark_channel(image))
    np.testing.assert_allclose(light, (0.7, 0.8, 0.9))


def hazy_room(beta: float, light: float) -> tuple[np.ndarray, np.ndarray]:
    """A picture with dark places everywhere, far to the right, under haze."""
    height, width = 120, 160
    clean = smooth(4, height, width)
    clean[(noise(5, height, width) < 40).any(axis=2)] = 5
    distance = np.linspace(1.0, 20.0, width, dtype=np.float32)[None, :, None].repeat(height, 0)
    hazy = physics.add_haze(color.to_float(clean), physics.transmission(beta, distance), light)
    return color.to_uint8(hazy), clean


@pytest.mark.parametrize(("beta", "light"), [(0.06, 0.95), (0.1, 0.9), (0.15, 0.8)])
def test_dark_channel_prior_undoes_haze(beta, light):
    hazy, clean = hazy_room(beta, light)
    restored = baselines.dark_channel_prior(hazy)
    assert restored.dtype == np.uint8
    assert restored.shape == hazy.shape
    before = metrics.psnr(hazy, clean, data_range=255.0)
    assert metrics.psnr(restored, clean, data_range=255.0) > before + 2.0


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 40, 3), (50, 3, 3), (9, 9, 3)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_dark_channel_prior_of_tiny_and_flat_pictures(shape, value):
    restored = baselines.dark_channel_prior(np.full(shape, value, np.uint8))
    assert restored.shape == shape
    assert np.abs(restored.astype(int) - value).max() <= 1


# --- the best global affine ---


def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    return [(noise(n, 20 + n, 30), noise(100 + n, 20 + n, 30) // 2 + noise(n, 20 + n, 30) // 3) for n in range(3)]


def test_affine_is_least_squares_over_all_pairs():
    fitted = baselines.AffineFit()
    for hazy, clean in pairs():
        fitted.add(hazy, clean)
    probe = noise(9, 12, 13)
    got = fitted.apply(probe)
    for channel in range(3):
        x = np.concatenate([hazy[..., channel].ravel() for hazy, _ in pairs()]) / 255.0
        y = np.concatenate([clean[..., channel].ravel() for _, clean in pairs()]) / 255.0
        (gain, offset), *_ = np.linalg.lstsq(np.stack([x, np.ones_like(x)], axis=1), y, rcond=None)
        expected = np.rint(np.clip(probe[..., channel] / 255.0 * gain + offset, 0, 1) * 255.0)
        np.testing.assert_array_equal(got[..., channel], expected)


def test_affine_undoes_haze_of_one_depth():
    clean = noise(3, 40, 40)
    hazy = color.to_uint8(physics.add_haze(color.to_float(clean), 0.6, np.array([0.9, 0.8, 0.7])))
    fitted = baselines.AffineFit()
    fitted.add(hazy, clean)
    assert np.abs(fitted.apply(hazy).astype(int) - clean).max() <= 1


def test_affine_of_flat_pictures_is_the_clean_mean():
    fitted = baselines.AffineFit()
    fitted.add(np.full((4, 4, 3), 200, np.uint8), np.full((4, 4, 3), 50, np.uint8))
    np.testing.assert_array_equal(fitted.apply(np.full((2, 2, 3), 200, np.uint8)), 50)
