"""PSNR, SSIM and CIEDE2000 against scikit-image, slow loops, published figures and laws."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from aodnet_fixtures import noise, smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from aodnet import metrics
from hazegen.errors import RefusedError


def hazed(image: np.ndarray, seed: int = 0) -> np.ndarray:
    grain = np.random.default_rng(seed).normal(0.0, 6.0, image.shape)
    return np.rint(np.clip(0.6 * image + 90.0 + grain, 0, 255)).astype(np.uint8)


PAIRS = {
    "hazed": (hazed(smooth(0, 40, 55)), smooth(0, 40, 55)),
    "unrelated": (smooth(1, 33, 31), smooth(2, 33, 31)),
    "noise": (noise(1, 24, 37), noise(2, 24, 37)),
    "smallest": (noise(3, 11, 11), noise(4, 11, 11)),
    "flat": (np.full((16, 16, 3), 200, np.uint8), np.full((16, 16, 3), 10, np.uint8)),
}


def slow_ssim(x: np.ndarray, y: np.ndarray, data_range: float) -> float:
    """Every window and channel by itself, from the definition."""
    offsets = np.arange(-5, 6)
    one = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(one, one) / np.outer(one, one).sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    found = []
    for row, column, channel in itertools.product(range(x.shape[0] - 10), range(x.shape[1] - 10), range(3)):
        a, b = (v[row : row + 11, column : column + 11, channel].astype(np.float64) for v in (x, y))
        ma, mb = (window * a).sum(), (window * b).sum()
        va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
        cov = (window * (a - ma) * (b - mb)).sum()
        found.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return sum(found) / len(found)


@pytest.mark.parametrize("name", PAIRS)
def test_ssim_against_scikit_image(name):
    image, reference = PAIRS[name]
    expected = structural_similarity(
        image, reference, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=2, data_range=255
    )
    assert metrics.ssim(image, reference, data_range=255.0) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_ssim_against_slow_loop(name):
    image, reference = (values[:26, :26] for values in PAIRS[name])
    got = metrics.ssim(image, reference, data_range=255.0)
    assert got == pytest.approx(slow_ssim(image, reference, 255.0), abs=1e-9)


@pytest.mark.parametrize("name", PAIRS)
def test_psnr_against_scikit_image(name):
    image, reference = PAIRS[name]
    expected = peak_signal_noise_ratio(reference, image, data_range=255)
    assert metrics.psnr(image, reference, data_range=255.0) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ["hazed", "smallest"])
def test_psnr_against_slow_loop(name):
    image, reference = PAIRS[name]
    squares = [(float(a) - float(b)) ** 2 for a, b in zip(image.ravel(), reference.ravel(), strict=True)]
    expected = 20 * math.log10(255.0) - 10 * math.log10(sum(squares) / len(squares))
    assert metrics.psnr(image, reference, data_range=255.0) == pytest.approx(expected, abs=1e-9)


@given(levels=st.integers(1, 255), base=st.integers(0, 255), height=st.integers(1, 20), width=st.integers(1, 20))
def test_psnr_of_a_constant_offset_is_exact(levels, base, height, width):
    """Also for differences that unsigned bytes cannot hold."""
    a = np.full((height, width, 3), base, np.uint8)
    b = np.full((height, width, 3), base + levels if base + levels <= 255 else base - levels, np.int64)
    if b.min() < 0:
        return
    got = metrics.psnr(a, b.astype(np.uint8), data_range=255.0)
    assert got == pytest.approx(20 * math.log10(255.0 / levels), abs=1e-9)


@given(seed=st.integers(0, 1000), height=st.integers(11, 20), width=st.integers(11, 20))
@settings(max_examples=25)
def test_laws(seed, height, width):
    a, b = noise(seed, height, width), hazed(noise(seed, height, width), seed)
    assert metrics.ssim(a, a, data_range=255.0) == pytest.approx(1.0, abs=1e-12)
    assert metrics.psnr(a, a, data_range=255.0) == math.inf
    for metric in (metrics.ssim, metrics.psnr):
        got = metric(a, b, data_range=255.0)
        assert metric(b, a, data_range=255.0) == pytest.approx(got, abs=1e-12)
        assert metric(a[..., ::-1], b[..., ::-1], data_range=255.0) == pytest.approx(got, abs=1e-12)
        assert metric(a[:, ::-1], b[:, ::-1], data_range=255.0) == pytest.approx(got, abs=1e-12)
        assert metric(np.rot90(a), np.rot90(b), data_range=255.0) == pytest.approx(got, abs=1e-12)
        assert metric(a / 255.0, b / 255.0, data_range=1.0) == pytest.approx(got, abs=1e-9)
    assert -1.0 <= metrics.ssim(a, b, data_range=255.0) < 1.0


def test_wrong_range_costs_48_db():
    """Why there is no default."""
    a, b = (values / 255.0 for values in PAIRS["hazed"])
    wrong = metrics.psnr(a, b, data_range=255.0) - metrics.psnr(a, b, data_range=1.0)
    assert wrong == pytest.approx(48.13, abs=0.01)


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim])
def test_data_range_is_required(metric):
    with pytest.raises(TypeError, match="data_range"):
        metric(*PAIRS["hazed"])


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim])
@pytest.mark.parametrize("shape", [(20, 21, 3), (20, 20, 1), (1, 20, 3), (20, 20)])
def test_other_shapes_are_refused_and_never_broadcast(metric, shape):
    with pytest.raises(RefusedError, match="Expected equal shapes"):
        metric(np.zeros((20, 20, 3)), np.zeros(shape), data_range=1.0)


@pytest.mark.parametrize("shape", [(10, 40, 3), (40, 10, 3)])
def test_ssim_needs_eleven_pixels(shape):
    with pytest.raises(RefusedError, match="at least 11 x 11"):
        metrics.ssim(np.zeros(shape), np.zeros(shape), data_range=1.0)


# --- CIEDE2000 ---


def test_ciede2000_laws():
    a, b = PAIRS["hazed"]
    assert metrics.ciede2000(a, a) == 0.0
    assert metrics.ciede2000(a, b) == pytest.approx(metrics.ciede2000(b, a), abs=1e-9)
    assert metrics.ciede2000(a, b) > 5.0


def test_ciede2000_of_black_and_white_is_100():
    """L* runs from 0 to 100 and S_L is 1 at L* = 50, the mean of both."""
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert metrics.ciede2000(black, white) == pytest.approx(100.0, abs=0.01)


def test_ciede2000_of_two_greys_worked_by_hand():
    """Greys differ in L* alone: dE = dL / S_L, S_L = 1 + 0.015 (m - 50)^2 / sqrt(20 + (m - 50)^2)."""

    def lightness(code: int) -> float:
        y = ((code / 255.0 + 0.055) / 1.055) ** 2.4
        return 116.0 * y ** (1.0 / 3.0) - 16.0

    low, high = lightness(180), lightness(220)
    off = ((low + high) / 2.0 - 50.0) ** 2
    expected = (high - low) / (1.0 + 0.015 * off / math.sqrt(20.0 + off))
    a, b = (np.full((3, 5, 3), code, np.uint8) for code in (180, 220))
    assert metrics.ciede2000(a, b) == pytest.approx(expected, abs=0.01)


def test_ciede2000_is_the_mean_over_pixels():
    a, b = np.zeros((2, 4, 3), np.uint8), np.zeros((2, 4, 3), np.uint8)
    b[0] = 255
    assert metrics.ciede2000(a, b) == pytest.approx(50.0, abs=0.01)


def test_ciede2000_of_other_shapes_is_refused():
    with pytest.raises(RefusedError, match="Expected equal shapes"):
        metrics.ciede2000(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8))


# --- the Keras metrics ---


def floats(*images: np.ndarray) -> tf.Tensor:
    return tf.constant(np.stack(images) / 255.0, tf.float32)


def test_keras_metrics_agree_with_float64_and_average_images():
    restored = [hazed(smooth(seed, 30, 32), seed) for seed in range(4)]
    clean = [smooth(seed, 30, 32) for seed in range(4)]
    for metric, slow in ((metrics.PSNR(), metrics.psnr), (metrics.SSIM(), metrics.ssim)):
        metric.update_state(floats(*clean[:3]), floats(*restored[:3]))
        metric.update_state(floats(clean[3]), floats(restored[3]))
        expected = np.mean([slow(r, c, data_range=255.0) for r, c in zip(restored, clean, strict=True)])
        assert float(metric.result()) == pytest.approx(expected, abs=1e-3)
        metric.reset_state()
        metric.update_state(floats(clean[0]), floats(restored[0]))
        assert float(metric.result()) == pytest.approx(slow(restored[0], clean[0], data_range=255.0), abs=1e-3)


def test_mean_of_psnr_is_not_psnr_of_the_mean():
    """One good and one bad image: per image (20 + 40) / 2 dB, over all pixels 23 dB."""
    clean = tf.zeros((2, 16, 16, 3))
    restored = tf.stack([tf.fill((16, 16, 3), 0.1), tf.fill((16, 16, 3), 0.01)])
    metric = metrics.PSNR()
    metric.update_state(clean, restored)
    assert float(metric.result()) == pytest.approx(30.0, abs=1e-3)


def test_keras_metrics_clip_the_output():
    clean = tf.ones((1, 16, 16, 3)) * 0.9
    for metric, slow in ((metrics.PSNR(), metrics.psnr), (metrics.SSIM(), metrics.ssim)):
        metric.update_state(clean, tf.fill((1, 16, 16, 3), 7.0))
        expected = slow(np.ones((16, 16, 3)), clean.numpy()[0].astype(np.float64), data_range=1.0)
        assert float(metric.result()) == pytest.approx(expected, abs=1e-3)


def test_names_say_the_protocol():
    assert metrics.PSNR().name == "psnr_rgb"
    assert metrics.SSIM().name == "ssim_rgb"
    assert metrics.PROTOCOL == "rgb"
