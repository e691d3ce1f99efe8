"""What the camera adds: worked numbers, statistics of the noise, and nothing when it is off."""

import dataclasses

import cv2
import numpy as np
import pytest

from hazegen import camera, color
from hazegen.sampling import HazeParams

PERFECT = HazeParams(0, (0.1,) * 3, (0.9,) * 3, 1.0)


def shot(**fields):
    return dataclasses.replace(PERFECT, **fields)


def gray(code, size=(200, 300)):
    return np.full((*size, 3), code, np.uint8)


@pytest.fixture
def picture():
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), (64, 48), interpolation=cv2.INTER_CUBIC)


def test_perfect_camera_changes_nothing(picture):
    np.testing.assert_array_equal(camera.take(picture, PERFECT), picture)


@pytest.mark.parametrize(
    "fields",
    [
        {"blur_px": 2.0},
        {"shot_noise": 0.01},
        {"read_noise": 0.02},
        {"gamma": 1.5},
        {"gamma": 0.5},
        {"jpeg_quality": 30},
    ],
)
def test_each_field_changes_the_picture_and_leaves_the_view_as_it_was(picture, fields):
    before = picture.copy()
    taken = camera.take(picture, shot(**fields))
    assert taken.shape == picture.shape
    assert taken.dtype == np.uint8
    assert (taken != picture).mean() > 0.2
    np.testing.assert_array_equal(picture, before)


def test_same_seed_gives_the_same_noise_and_another_seed_another(picture):
    first, again, other = (
        camera.take(picture, shot(shot_noise=0.01, read_noise=0.01, camera_seed=seed)) for seed in (7, 7, 8)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


@pytest.mark.parametrize(("shot_noise", "read_noise"), [(0.0, 0.02), (0.002, 0.0), (0.002, 0.02)])
def test_noise_has_the_variance_of_light_and_dark_current(shot_noise, read_noise):
    for code in (128, 200):
        light = float(color.srgb_to_linear(np.float64(code / 255)))
        taken = camera.take(gray(code), shot(shot_noise=shot_noise, read_noise=read_noise))
        linear = color.srgb_to_linear(taken.astype(np.float64) / 255)
        expected = np.sqrt(shot_noise * light + read_noise**2)
        assert linear.std() == pytest.approx(expected, rel=0.03)
        assert linear.mean() == pytest.approx(light, abs=0.05 * expected)


def test_noise_of_the_channels_and_pixels_is_independent():
    taken = camera.take(gray(128), shot(read_noise=0.05)).astype(float)
    correlation = np.corrcoef(np.concatenate((taken.reshape(-1, 3), np.roll(taken, 1, axis=1).reshape(-1, 3)), 1).T)
    assert np.abs(correlation[np.triu_indices(6, 1)]).max() < 0.02


@pytest.mark.parametrize(
    ("code", "gamma", "expected"), [(128, 2.0, 64), (128, 0.5, 181), (51, 1.5, 23), (255, 3.0, 255)]
)
def test_gamma_is_a_power_of_the_coded_values(code, gamma, expected):
    # 255 (128 / 255)^2 = 64.25; 255 sqrt(128 / 255) = 180.67; 255 (1/5)^1.5 = 22.81
    assert (camera.take(gray(code, (2, 2)), shot(gamma=gamma)) == expected).all()


def test_blur_spreads_light_and_keeps_its_sum():
    view = np.zeros((65, 65, 3), np.uint8)
    view[32, 32] = 255
    taken = camera.take(view, shot(blur_px=1.5))
    linear = color.srgb_to_linear(taken[..., 0].astype(np.float64) / 255)
    assert linear.sum() == pytest.approx(1.0, rel=0.02)
    y, x = np.mgrid[:65, :65] - 32
    assert np.sqrt((linear * (x**2 + y**2)).sum() / linear.sum() / 2) == pytest.approx(1.5, rel=0.05)
    flat = gray(100, (40, 40))
    np.testing.assert_array_equal(camera.take(flat, shot(blur_px=50.0)), flat)


def test_jpeg_is_worse_at_lower_quality_and_keeps_the_channels_order(picture):
    errors = [
        np.abs(camera.take(picture, shot(jpeg_quality=quality)).astype(float) - picture).mean() for quality in (20, 95)
    ]
    assert errors[0] > 2 * errors[1] > 0
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    np.testing.assert_allclose(camera.take(red, shot(jpeg_quality=95))[16, 16].astype(int), [200, 0, 0], atol=3)


def test_codes_of_linear_light_are_those_of_the_formula():
    light = np.linspace(-0.1, 1.1, 100_001, dtype=np.float32)
    exact = 255 * color.linear_to_srgb(np.clip(light.astype(np.float64), 0, 1))
    assert np.abs(camera.coded(light) - exact).max() <= 0.53
