"""Every protocol against scikit-image, against loops written from its definition alone, and its laws."""

import itertools
import math
import re

import numpy as np
import pytest
from aodnet_fixtures import noise, smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from aodnet import measures, protocols
from aodnet.protocols import PROTOCOLS, area_pool, parse_protocols
from hazegen import config
from hazegen.errors import RefusedError, UsageError

GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}


def hazed(image: np.ndarray, seed: int = 0) -> np.ndarray:
    grain = np.random.default_rng(seed).normal(0.0, 6.0, image.shape)
    return np.rint(np.clip(0.6 * image + 90.0 + grain, 0, 255)).astype(np.uint8)


PAIRS = {
    "hazed": (hazed(smooth(0, 40, 55)), smooth(0, 40, 55)),
    "noise": (noise(1, 24, 37), noise(2, 24, 37)),
    "flat": (np.full((16, 16, 3), 200, np.uint8), np.full((16, 16, 3), 10, np.uint8)),
}


def matlab_gray(pixels: np.ndarray) -> np.ndarray:
    return np.rint(0.2989360213 * pixels[..., 0] + 0.5870430745 * pixels[..., 1] + 0.1140209043 * pixels[..., 2])


def padded(pixels: np.ndarray, mode: str) -> np.ndarray:
    around = ((5, 5), (5, 5), (0, 0)) if pixels.ndim == 3 else ((5, 5), (5, 5))
    return np.pad(pixels, around, mode=mode)


# What scikit-image is asked for to do the same: it cuts 5 pixels off each side, which padding makes good.
BY_SKIMAGE = {
    "rgb": lambda x, y: structural_similarity(x, y, channel_axis=2, **GAUSSIAN),
    "rgb-same": lambda x, y: structural_similarity(
        padded(x, "constant"), padded(y, "constant"), channel_axis=2, **GAUSSIAN
    ),
    "y": lambda x, y: structural_similarity(rgb2ycbcr(x)[..., 0], rgb2ycbcr(y)[..., 0], **GAUSSIAN),
    "wang-gray": lambda x, y: structural_similarity(matlab_gray(x), matlab_gray(y), **GAUSSIAN),
    "matlab-ipt": lambda x, y: structural_similarity(
        padded(matlab_gray(x), "edge"), padded(matlab_gray(y), "edge"), **GAUSSIAN
    ),
    "skimage-default": lambda x, y: structural_similarity(x, y, channel_axis=2, data_range=255),
}


def slow_window(size: int) -> np.ndarray:
    if size == 7:
        return np.full((7, 7), 1 / 49)
    weights = [math.exp(-(offset**2) / 4.5) for offset in range(-5, 6)]
    return np.outer(weights, weights) / sum(weights) ** 2


def slow_ssim(x: np.ndarray, y: np.ndarray, size: int = 11, bessel: float = 1.0) -> float:
    """Every window inside and every channel by itself, from the definition; deviations, not squares."""
    window, found = slow_window(size), []
    for row, column, c in itertools.product(*(range(n - size + 1) for n in x.shape[:2]), range(x.shape[2])):
        a, b = (v[row : row + size, column : column + size, c].astype(np.float64) for v in (x, y))
        ma, mb = (window * a).sum(), (window * b).sum()
        va, vb, cov = (
            (window * p * q).sum() * bessel for p, q in ((a - ma, a - ma), (b - mb, b - mb), (a - ma, b - mb))
        )
        found.append((2 * ma * mb + 6.5025) * (2 * cov + 58.5225) / ((ma**2 + mb**2 + 6.5025) * (va + vb + 58.5225)))
    return sum(found) / len(found)


def slow_luma(pixels: np.ndarray) -> np.ndarray:
    rows = [[16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255 for r, g, b in row] for row in pixels.tolist()]
    return np.array(rows)[..., None]


BY_LOOP = {
    "rgb": slow_ssim,
    "rgb-down": lambda x, y: slow_ssim(x, y),  # below 384 pixels nothing is shrunk
    "rgb-same": lambda x, y: slow_ssim(padded(x, "constant"), padded(y, "constant")),
    "y": lambda x, y: slow_ssim(slow_luma(x), slow_luma(y)),
    "wang-gray": lambda x, y: slow_ssim(matlab_gray(x)[..., None], matlab_gray(y)[..., None]),
    "matlab-ipt": lambda x, y: slow_ssim(
        padded(matlab_gray(x)[..., None], "edge"), padded(matlab_gray(y)[..., None], "edge")
    ),
    "skimage-default": lambda x, y: slow_ssim(x, y, 7, 49 / 48),
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("name", BY_SKIMAGE)
def test_ssim_against_scikit_image(name, pair):
    image, clean = PAIRS[pair]
    assert PROTOCOLS[name].ssim(image, clean, 255.0) == pytest.approx(BY_SKIMAGE[name](image, clean), abs=5e-5)


@pytest.mark.parametrize("pair", ["hazed", "noise"])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_ssim_against_slow_loop(name, pair):
    image, clean = (values[:19, :17] for values in PAIRS[pair])
    assert PROTOCOLS[name].ssim(image, clean, 255.0) == pytest.approx(BY_LOOP[name](image, clean), abs=5e-5)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("name", PROTOCOLS)
def test_psnr_against_scikit_image_and_slow_loop(name, pair):
    image, clean = PAIRS[pair]
    views = {"y": slow_luma, "wang-gray": matlab_gray}
    a, b = (views.get(name, np.asarray)(pixels).astype(np.float64) for pixels in (image, clean))
    got = PROTOCOLS[name].psnr(image, clean, 255.0)
    assert got == pytest.approx(peak_signal_noise_ratio(b, a, data_range=255), abs=5e-5)
    squares = [(p - q) ** 2 for p, q in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)]
    assert got == pytest.approx(10 * math.log10(255**2 * len(squares) / sum(squares)), abs=5e-5)


def slow_pool(pixels: np.ndarray, ratio: int) -> np.ndarray:
    """As PyTorch's documentation defines adaptive average pooling."""
    sizes = [(n, n // ratio) for n in pixels.shape[:2]]
    spans = [[slice(i * n // m, math.ceil((i + 1) * n / m)) for i in range(m)] for n, m in sizes]
    return np.array([[pixels[rows, columns].mean(axis=(0, 1)) for columns in spans[1]] for rows in spans[0]])


@pytest.mark.parametrize(("height", "width", "ratio"), [(12, 18, 2), (13, 17, 2), (23, 31, 3), (9, 9, 1)])
def test_area_pool_against_slow_loop(height, width, ratio):
    pixels = noise(0, height, width)
    np.testing.assert_allclose(area_pool(pixels, ratio), slow_pool(pixels, ratio), atol=1e-9)


@pytest.mark.parametrize(("height", "width", "ratio"), [(383, 400, 1), (385, 400, 2), (460, 620, 2), (641, 700, 3)])
def test_rgb_down_shrinks_by_the_lesser_side(height, width, ratio):
    """Python rounds 1.5 to 2, and 2.5 to 2; SOTS indoor's 620 x 460 is halved."""
    image, clean = hazed(smooth(3, height, width)), smooth(3, height, width)
    expected = BY_SKIMAGE["rgb"](slow_pool(image, ratio), slow_pool(clean, ratio))
    assert PROTOCOLS["rgb-down"].ssim(image, clean, 255.0) == pytest.approx(expected, abs=5e-5)


def test_pictures_are_worked_on_in_bands_without_a_seam():
    """More pixels than one band of rows holds."""
    image, clean = hazed(smooth(3, 300, 900)), smooth(3, 300, 900)
    for name in ("rgb", "skimage-default"):
        expected = BY_SKIMAGE[name](image, clean)
        assert PROTOCOLS[name].ssim(image, clean, 255.0) == pytest.approx(expected, abs=1e-9)


# --- laws ---


@pytest.mark.parametrize("name", PROTOCOLS)
@given(seed=st.integers(0, 1000), height=st.integers(11, 20), width=st.integers(11, 20))
@settings(max_examples=10)
def test_laws(name, seed, height, width):
    protocol = PROTOCOLS[name]
    a, b = noise(seed, height, width), hazed(noise(seed, height, width), seed)
    assert protocol.ssim(a, a, 255.0) == pytest.approx(1.0, abs=1e-12)
    assert protocol.psnr(a, a, 255.0) == math.inf
    for measure in (protocol.psnr, protocol.ssim):
        got = measure(a, b, 255.0)
        assert measure(b, a, 255.0) == pytest.approx(got, abs=1e-12)
        assert measure(a[:, ::-1], b[:, ::-1], 255.0) == pytest.approx(got, abs=1e-12)
        assert measure(a / 255.0, b / 255.0, 1.0) == pytest.approx(got, abs=1e-9)
        if name.startswith("rgb") or name == "skimage-default":
            assert measure(a[..., ::-1], b[..., ::-1], 255.0) == pytest.approx(got, abs=1e-12)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("levels", [1, 7, 100])
def test_psnr_of_a_constant_offset_is_exact(name, levels):
    image, clean = np.full((12, 12, 3), 50 + levels, np.uint8), np.full((12, 12, 3), 50, np.uint8)
    seen = levels * (219 / 255 if name == "y" else 1)  # luma has 219 steps for 255
    assert PROTOCOLS[name].psnr(image, clean, 255.0) == pytest.approx(20 * math.log10(255 / seen), abs=1e-9)


def test_protocols_of_the_same_pictures_differ():
    image, clean = PAIRS["hazed"]
    assert len({round(protocol.ssim(image, clean, 255.0), 4) for protocol in PROTOCOLS.values()}) >= 6


@pytest.mark.parametrize("name", ["rgb", "rgb-down", "y", "wang-gray"])
def test_small_pictures_are_refused_where_no_window_fits(name):
    with pytest.raises(RefusedError, match=r"too small for SSIM. Expected at least 11 x 11 pixels"):
        PROTOCOLS[name].ssim(noise(0, 10, 30), noise(1, 10, 30), 255.0)


@pytest.mark.parametrize("name", ["rgb-same", "matlab-ipt"])
def test_small_pictures_have_windows_that_reach_beyond_them(name):
    assert -1.0 < PROTOCOLS[name].ssim(noise(0, 2, 3), noise(1, 2, 3), 255.0) < 1.0


# --- names ---


def test_parse():
    assert [protocol.name for protocol in parse_protocols("y, rgb")] == ["y", "rgb"]
    assert parse_protocols("all") == tuple(PROTOCOLS.values())


@pytest.mark.parametrize("text", ["", "rgb,", "RGB", "rgb,rgb", "ssim", "all,rgb"])
def test_other_names_are_refused(text):
    with pytest.raises(
        UsageError, match=f"--protocol cannot be used.*Expected all, or some of rgb, .*'{re.escape(text)}'"
    ):
        parse_protocols(text)


def test_help_lists_every_protocol():
    text = config.attribute_texts(measures.Measures)["protocol"]
    assert [name for name in PROTOCOLS if f"{name}," not in f"{text.replace('.', ',')}"] == []


def test_every_protocol_says_what_it_is():
    assert all(protocol.definition and protocol.users for protocol in PROTOCOLS.values())
    assert protocols.parse_protocols("rgb")[0].name == "rgb"
