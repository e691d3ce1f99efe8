"""Measures without a clean picture: against worked pictures, slow loops and what they must do under haze."""

import math
import sys

import numpy as np
import pytest
from aodnet_fixtures import noise, smooth

from aodnet import noreference
from hazegen import color, physics
from hazegen.errors import UsageError


def textured(seed: int = 0, height: int = 64, width: int = 80) -> np.ndarray:
    clean = smooth(seed, height, width)
    clean[(noise(seed, height, width) < 2).any(axis=2)] = 10
    return clean


def under_haze(clean: np.ndarray, transmission: float) -> np.ndarray:
    return color.to_uint8(physics.add_haze(color.to_float(clean), transmission, 0.9))


def slow_edges(gray: np.ndarray) -> np.ndarray:
    found = np.zeros(gray.shape, bool)
    for y in range(gray.shape[0]):
        for x in range(gray.shape[1]):
            window = gray[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].astype(float)
            found[y, x] = window.max() - window.min() > max(2, 0.05 * window.max())
    return found


def test_visible_edges_against_slow_loop():
    gray = textured()[..., 1]
    np.testing.assert_array_equal(noreference.visible_edges(gray), slow_edges(gray))
    assert 0.1 < noreference.visible_edges(gray).mean() < 0.99


@pytest.mark.parametrize(("dark", "bright", "seen"), [(100, 105, False), (100, 106, True), (2, 4, False), (2, 5, True)])
def test_an_edge_is_seen_from_five_percent_and_three_levels(dark, bright, seen):
    gray = np.full((6, 8), dark, np.uint8)
    gray[:, 4:] = bright
    assert noreference.visible_edges(gray).sum() == (12 if seen else 0)


def test_e_and_r_worked_by_hand():
    """One faint and one strong step become two strong ones: as many edge pixels again, gradients 10 and 2 times."""
    hazy, restored = (np.full((10, 30, 3), 100, np.uint8) for _ in range(2))
    hazy[:, 10:20], hazy[:, 20:] = 102, 152
    restored[:, 10:20], restored[:, 20:] = 120, 220
    got = noreference.measure(hazy, restored)
    assert got["e"] == 1.0
    assert got["r"] == pytest.approx(math.sqrt(10 * 2))


def test_hazy_picture_beside_itself():
    hazy = under_haze(textured(), 0.5)
    got = noreference.measure(hazy, hazy)
    assert (got["e"], got["r"], got["clipped"]) == (0.0, 1.0, 0.0)
    assert tuple(got) == noreference.MEASURES


def test_haze_is_seen_by_every_measure():
    clean = textured()
    rows = [noreference.measure(under_haze(clean, 0.3), under_haze(clean, t)) for t in (0.3, 0.5, 0.8, 1.0)]
    for name, sign in (("dark_channel", -1), ("saturation", 1), ("e", 1), ("r", 1)):
        values = [sign * row[name] for row in rows]
        assert values == sorted(values), name
        assert values[-1] > values[0] + 0.02, name


def test_saturation_against_slow_loop():
    pixels = noise(0, 7, 9)
    pixels[0, 0] = 0
    slow = [(max(p) - min(p)) / max(p) if max(p) else 0.0 for row in pixels.tolist() for p in row]
    assert noreference.saturation(pixels) == pytest.approx(np.mean(slow))


def test_clipped_counts_pixels_that_were_not():
    hazy = np.full((10, 10, 3), 128, np.uint8)
    hazy[0] = 255
    restored = hazy.copy()
    restored[1, :, 0] = 0
    restored[2, :5, 2] = 255
    assert noreference.measure(hazy, restored)["clipped"] == pytest.approx(0.15)


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 30, 3), (20, 20, 3)])
def test_flat_and_tiny_pictures(shape, value):
    flat = np.full(shape, value, np.uint8)
    got = noreference.measure(flat, flat)
    assert (got["e"], got["r"], got["saturation"], got["clipped"]) == (0.0, 1.0, 0.0, 0.0)


# --- FADE ---


def test_fade_rises_with_haze():
    pytest.importorskip("pyfade", reason="the extra 'metrics' is not installed")
    clean = textured(1, 120, 160)
    values = [noreference.fade(under_haze(clean, t)) for t in (1.0, 0.5, 0.2)]
    assert values == sorted(values)
    assert values[2] > 1.5 * values[0]


@pytest.mark.parametrize("pixels", [np.full((40, 40, 3), 90, np.uint8), noise(0, 15, 60)], ids=["flat", "small"])
def test_fade_of_what_it_cannot_measure_is_no_number(pixels):
    pytest.importorskip("pyfade", reason="the extra 'metrics' is not installed")
    assert math.isnan(noreference.fade(pixels))


def test_fade_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyfade", None)
    with pytest.raises(UsageError, match=r"FADE is not installed.*pip install 'hazegen\[metrics\]'.*research"):
        noreference.load_fade()
