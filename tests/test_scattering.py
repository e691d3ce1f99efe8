"""Blur by multiple scattering, and the glow of lamps: what they may and may not do to a picture."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hazegen import render, scattering, synthesis
from hazegen.sampling import HazeParams

PLAIN = HazeParams(0, (0.05,) * 3, (0.9,) * 3, 1.0)
SPREADS = {"reference": scattering.spread, "fast": render._spread}
SIZE = (96, 160)


@pytest.fixture(params=sorted(SPREADS))
def spread(request):
    return SPREADS[request.param]


def picture(rng):
    return rng.random((3, *SIZE), dtype=np.float32)


def depth(value):
    return np.full(SIZE, value, np.float32)


# --- the layers ---


@pytest.mark.parametrize("layer", range(4))
def test_light_of_a_point_is_spread_evenly_and_none_of_it_lost(spread, layer):
    point = np.zeros((129, 161), np.float32)
    point[64, 80] = 1.0
    seen = spread(point, layer).astype(np.float64)
    y, x = np.mgrid[:129, :161] - np.array([64, 80])[:, None, None]
    assert seen.min() >= 0.0
    assert seen.sum() == pytest.approx(1.0, abs=2e-3)
    expected = scattering.CELL_BLUR * 2**layer
    for away in (x, y):
        assert np.sqrt((seen * away**2).sum() / seen.sum()) == pytest.approx(expected, rel=0.12)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 5), st.integers(0, 2**32))
def test_both_ways_of_spreading_agree_on_pictures_of_any_size(height, width, layer, seed):
    plane = np.random.default_rng(seed).random((height, width), dtype=np.float32)
    slow = scattering.spread(plane, layer)
    assert slow.shape == plane.shape
    np.testing.assert_allclose(render._spread(plane, layer), slow, atol=2e-6)
    assert slow.sum() <= plane.sum() * (1 + 1e-5)


# --- scattering ---


def test_step_edge_leaves_no_halo_and_no_ghost(spread):
    # Near and dark on the left, far and bright on the right.
    left = np.arange(SIZE[1]) < 80
    optical_depth = np.where(left, 0.1, 3.0).astype(np.float32) * np.ones(SIZE, np.float32)
    radiance = np.where(left, 0.1, 0.9).astype(np.float32) * np.ones((3, *SIZE), np.float32)
    seen = scattering.scatter(radiance, optical_depth, 0.01, spread)
    np.testing.assert_allclose(seen[:, :, 80:], 0.9, atol=1e-5)  # no dark halo on what is far
    assert np.abs(seen[:, :, :80] - 0.1).max() < 0.08  # and near things stay as they are, all but their very edge
    assert np.abs(seen[:, :, :76] - 0.1).max() < 0.01


def test_texture_is_blurred_behind_haze_and_sharp_in_front_of_it(spread):
    radiance = picture(np.random.default_rng(0))
    left = np.arange(SIZE[1]) < 80
    optical_depth = np.where(left, 0.01, 3.0).astype(np.float32) * np.ones(SIZE, np.float32)
    seen = scattering.scatter(radiance, optical_depth, 0.01, spread)
    assert seen[:, :, 88:].std() < 0.25 * radiance.std()
    np.testing.assert_allclose(seen[:, :, :72], radiance[:, :, :72], atol=0.03)


def test_blur_grows_with_optical_depth_up_to_its_widest(spread):
    radiance = picture(np.random.default_rng(1))
    left = [
        float(scattering.scatter(radiance, depth(tau), 0.01, spread)[:, 20:-20, 20:-20].std())
        for tau in (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, np.inf)
    ]
    assert left[0] == pytest.approx(radiance[:, 20:-20, 20:-20].std(), rel=1e-5)
    assert all(wide < narrow for narrow, wide in pairwise(left[:-1]))
    assert left[-1] == pytest.approx(left[-2], rel=1e-6)  # the cap: a twentieth of the width


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.floats(0.0, 0.1))
def test_what_is_seen_is_a_mean_of_what_is_there(seed, share):
    rng = np.random.default_rng(seed)
    radiance = rng.uniform(0.2, 0.7, (3, 24, 32)).astype(np.float32)
    optical_depth = rng.exponential(2.0, (24, 32)).astype(np.float32)
    optical_depth[rng.random((24, 32)) < 0.2] = np.inf
    seen = scattering.scatter(radiance, optical_depth, share, scattering.spread)
    assert seen.min() >= 0.2 - 1e-4
    assert seen.max() <= 0.7 + 1e-4


def test_scattering_leaves_its_input_as_it_was(spread):
    radiance = picture(np.random.default_rng(2))
    before = radiance.copy()
    scattering.scatter(radiance, depth(2.0), 0.01, spread)
    np.testing.assert_array_equal(radiance, before)


# --- lamps and their glow ---


def test_lamps_are_surfaces_whose_darkest_channel_is_near_white():
    clean = np.full((1, 6, 3), 255, np.uint8)
    clean[0, :, 0] = [255, 230, 224, 100, 255, 217]
    distance_m = np.array([[5.0, 5.0, 5.0, 5.0, np.inf, 5.0]], np.float32)
    night = dataclasses.replace(PLAIN, glow=1.0, lamp_threshold=0.9)
    for rolled in range(3):  # whichever channel it is
        lamp = scattering.lamps(np.roll(clean, rolled, axis=2), distance_m, night)
        # (224 / 255 - 0.85) / 0.05 = 0.569; 217 / 255 = 0.85098 is just above where lamps begin.
        np.testing.assert_allclose(lamp, [[1.0, 1.0, 0.5686, 0.0, 0.0, 0.0196]], atol=1e-3)
    assert scattering.lamps(clean, distance_m, dataclasses.replace(night, lamp_threshold=1.0))[0, 0] == 1.0


@pytest.mark.parametrize("color", [(255, 0, 0), (255, 60, 0), (255, 255, 0), (0, 255, 255)])
def test_pure_colours_are_no_lamps(color):
    clean = np.full((2, 2, 3), color, np.uint8)
    night = dataclasses.replace(PLAIN, glow=1.0)
    assert (scattering.lamps(clean, np.ones((2, 2), np.float32), night) == 0.0).all()


@pytest.mark.parametrize("renderer", [render.render, synthesis.render])
def test_without_a_glow_everything_is_dimmed_alike(renderer):
    # All grays up to white and an orange sign, through hardly any haze: none stays at its daylight value.
    clean = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    clean = np.concatenate([clean, np.full((1, 1, 3), (255, 60, 0), np.uint8)], axis=1)
    dusk = dataclasses.replace(PLAIN, beta=(1e-9,) * 3, illumination=0.25)
    hazy = renderer(clean, np.full((1, 257), 10.0, np.float32), dusk, "srgb").hazy
    assert np.abs(hazy - 0.25 * clean).max() <= 0.51
    lit = renderer(clean, np.full((1, 257), 10.0, np.float32), dataclasses.replace(dusk, glow=1e-9), "srgb").hazy
    np.testing.assert_array_equal(lit[0, [255, 256]], [(255, 255, 255), (64, 15, 0)])


@given(st.integers(0, 2**32), st.floats(0.0, 20.0))
@settings(max_examples=20)
def test_glow_is_at_most_the_light_that_was_taken(seed, tau):
    rng = np.random.default_rng(seed)
    taken = (rng.random((3, 30, 40)) * (rng.random((30, 40)) < 0.05)).astype(np.float32)
    seen = scattering.glow(taken, np.full((30, 40), tau, np.float32), scattering.spread)
    assert seen.min() >= 0.0
    assert seen.sum(dtype=np.float64) <= taken.sum(dtype=np.float64) * (1 + 1e-5)


def test_glow_of_a_lamp_in_the_middle_keeps_its_light_and_widens_with_the_haze(spread):
    taken = np.zeros((3, 240, 320), np.float32)
    taken[:, 120, 160] = 1.0
    y, x = np.mgrid[:240, :320] - np.array([120, 160])[:, None, None]
    widths = []
    for tau in (0.05, 0.5, 1.0, 2.0):
        seen = scattering.glow(taken, np.full((240, 320), tau, np.float32), spread).astype(np.float64)
        assert seen[0].sum() == pytest.approx(1.0, abs=0.01)
        widths.append(np.sqrt((seen[0] * (x**2 + y**2)).sum()))
    assert widths == sorted(widths)
    assert widths[-1] > 4 * widths[0]
    around = [float(seen[0][120, 160 + r]) for r in (0, 4, 8, 16, 32)]
    assert around == sorted(around, reverse=True)
    assert 4.0 < around[1] / around[3] < 7.0  # about 1 / r, and faster where the widest layer ends


def test_night_dims_all_but_lamps_worked_by_hand(spread):
    radiance = np.full((3, 8, 8), 0.5, np.float32)
    lamp = np.zeros((8, 8), np.float32)
    lamp[0, 0], lamp[0, 1] = 1.0, 0.5
    dusk = dataclasses.replace(PLAIN, illumination=0.2)
    lit, added = scattering.detours(radiance, lamp, np.full((1, 8, 8), 0.4), depth(1.0)[:8, :8], dusk, spread)
    np.testing.assert_allclose(lit[:, 0, :3], [[0.5, 0.3, 0.1]] * 3, rtol=1e-6)
    assert (added == 0.0).all()


def test_glow_comes_from_the_lamps_share_that_haze_took(spread):
    radiance = np.full((3, *SIZE), 0.8, np.float32)
    lamp = np.zeros(SIZE, np.float32)
    lamp[48, 80] = 1.0
    night = dataclasses.replace(PLAIN, illumination=0.1, glow=3.0)
    through = np.full((1, *SIZE), 0.25, np.float32)
    _, added = scattering.detours(radiance, lamp, through, depth(0.3), night, spread)
    assert added[0].sum(dtype=np.float64) == pytest.approx(3.0 * 0.8 * 0.75, rel=0.01)


@pytest.mark.parametrize(
    ("fields", "needed"),
    [({}, False), ({"scattering_blur": 0.01}, True), ({"glow": 0.5}, True), ({"illumination": 0.5}, True)]
    + [({"lamp_threshold": 0.5}, False), ({"blur_px": 2.0}, False)],
)
def test_detours_are_needed_where_they_change_something(fields, needed):
    assert scattering.needed(dataclasses.replace(PLAIN, **fields)) is needed
