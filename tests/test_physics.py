"""The laws of the scattering equation, worked numbers, and NumPy beside TensorFlow."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hazegen import physics

BETAS = st.floats(1e-4, 2.0)
DISTANCES = st.floats(0.0, 200.0)
UNIT = st.floats(0.0, 1.0)
FLOOR = 0.1


@given(BETAS, DISTANCES, DISTANCES)
def test_transmission_over_two_paths_is_the_product_of_both(beta, first, second):
    product = physics.transmission(beta, first) * physics.transmission(beta, second)
    assert product == pytest.approx(physics.transmission(beta, first + second), rel=1e-9, abs=1e-300)


@given(BETAS, DISTANCES, st.floats(1e-2, 100.0))
def test_transmission_falls_with_distance_and_with_beta(beta, distance, more):
    assume(beta * (distance + more) < 600)  # beyond, t underflows to 0
    here = physics.transmission(beta, distance)
    assert physics.transmission(beta, distance + more) < here
    assert physics.transmission(beta + more, distance + 0.01) < physics.transmission(beta, distance + 0.01)
    assert 0.0 < here <= 1.0


@given(BETAS)
def test_transmission_ends_are_one_at_no_distance_and_zero_at_infinity(beta):
    assert physics.transmission(beta, 0.0) == 1.0
    assert physics.transmission(beta, math.inf) == 0.0


@given(BETAS, UNIT, UNIT)
def test_haze_gives_the_scene_at_no_distance_and_the_light_at_infinity(beta, radiance, light):
    assert physics.add_haze(radiance, physics.transmission(beta, 0.0), light) == radiance
    assert physics.add_haze(radiance, physics.transmission(beta, math.inf), light) == light


@given(UNIT, UNIT, UNIT)
def test_hazy_value_lies_between_scene_and_light(radiance, transmission, light):
    hazy = physics.add_haze(radiance, transmission, light)
    assert min(radiance, light) - 1e-12 <= hazy <= max(radiance, light) + 1e-12


@given(UNIT, UNIT, st.floats(0.0, 0.99), st.floats(0.001, 0.01))
def test_more_transmission_brings_the_hazy_value_nearer_to_the_scene(radiance, light, transmission, more):
    near = abs(physics.add_haze(radiance, transmission + more, light) - radiance)
    assert near <= abs(physics.add_haze(radiance, transmission, light) - radiance) + 1e-12


@given(UNIT, st.floats(FLOOR, 1.0), UNIT)
def test_removing_haze_undoes_adding_it_above_the_floor(radiance, transmission, light):
    hazy = physics.add_haze(radiance, transmission, light)
    assert physics.remove_haze(hazy, transmission, light, floor=FLOOR) == pytest.approx(radiance, abs=1e-12)


@given(UNIT, st.floats(0.0, FLOOR), UNIT)
def test_below_the_floor_haze_is_removed_part_of_the_way(radiance, transmission, light):
    hazy = physics.add_haze(radiance, transmission, light)
    back = physics.remove_haze(hazy, transmission, light, floor=FLOOR)
    assert min(hazy, radiance) - 1e-12 <= back <= max(hazy, radiance) + 1e-12
    assert back - light == pytest.approx((radiance - light) * transmission / FLOOR, abs=1e-12)


@given(UNIT, st.floats(0.05, 1.0), UNIT, st.floats(0.0, 2.0))
def test_k_in_closed_form_restores_the_scene(radiance, transmission, light, bias):
    hazy = physics.add_haze(np.array([radiance]), transmission, light)
    assume(abs(hazy[0] - 1.0) > 1e-3)
    k = physics.k_from_haze(hazy, transmission, light, bias=bias)
    assert (k * hazy - k + bias)[0] == pytest.approx(radiance, abs=1e-9)


def test_k_is_one_where_it_is_singular_and_only_there():
    hazy = np.array([1.0, 1.0 - 1e-7, 1.0 - 1e-5])
    k = physics.k_from_haze(hazy, 0.5, 0.8)
    assert k[:2].tolist() == [1.0, 1.0]
    # Just beside it: ((I - 0.8) / 0.5 + (0.8 - 1)) / (I - 1), about 0.2 / -1e-5.
    assert k[2] == pytest.approx(((1 - 1e-5 - 0.8) / 0.5 - 0.2) / -1e-5)
    assert np.isfinite(physics.k_from_haze(np.ones(3), 0.5, 1.0)).all()


def test_k_of_no_haze_is_one_everywhere():
    hazy = np.linspace(0.0, 1.0, 11)
    np.testing.assert_allclose(physics.k_from_haze(hazy, 1.0, 0.3), 1.0, atol=1e-12)


@pytest.mark.parametrize("visibility_m", [50.0, 150.0, 1000.0])
def test_five_percent_of_the_light_is_left_after_one_visibility(visibility_m):
    beta = physics.beta_from_visibility(visibility_m)
    assert physics.transmission(beta, visibility_m) == pytest.approx(0.05, rel=1e-12)


@pytest.mark.parametrize(
    ("visibility_m", "beta"), [(600.0, 0.005), (300.0, 0.01), (150.0, 0.02), (2.995732, 1.0)]
)  # Foggy Cityscapes: beta 0.005, 0.01, 0.02 for 600, 300, 150 m
def test_visibility_and_beta_of_published_sets(visibility_m, beta):
    assert physics.beta_from_visibility(visibility_m) == pytest.approx(beta, rel=2e-3)
    assert physics.visibility_from_beta(beta) == pytest.approx(visibility_m, rel=2e-3)


@given(st.floats(1e-3, 1e6))
def test_visibility_goes_both_ways(visibility_m):
    assert physics.visibility_from_beta(physics.beta_from_visibility(visibility_m)) == pytest.approx(visibility_m)


@given(BETAS, st.floats(0.01, 5.0))
def test_short_waves_meet_denser_haze_and_550_nm_the_given_one(beta, exponent):
    blue, green, red = (physics.beta_at_wavelength(beta, nm, exponent) for nm in (465.0, 550.0, 610.0))
    assert blue > green > red
    assert green == beta
    assert physics.beta_at_wavelength(beta, 465.0, 0.0) == beta  # fog is gray


def test_worked_example_of_angstroms_law():
    # Air, exponent 4, at half the wavelength: 16 times as dense; at exponent 1, 440 nm: 550 / 440 = 1.25.
    assert physics.beta_at_wavelength(0.01, 275.0, 4.0) == pytest.approx(0.16)
    assert physics.beta_at_wavelength(0.01, 440.0, 1.0) == pytest.approx(0.0125)


def test_worked_example_of_the_equation():
    # t = exp(-0.1 * 10) = 0.367879; I = 0.2 * 0.367879 + 0.9 * 0.632121 = 0.642485
    assert physics.add_haze(0.2, physics.transmission(0.1, 10.0), 0.9) == pytest.approx(0.642485, abs=1e-6)


def test_colour_of_light_and_of_beta_stay_with_their_channels():
    transmission = physics.transmission(np.array([0.1, 0.2, 0.3]), np.array([[[10.0]], [[np.inf]]]))
    hazy = physics.add_haze(np.zeros((2, 1, 3)), transmission, np.array([0.7, 0.8, 0.9]))
    expected = [0.7 * (1 - math.exp(-1)), 0.8 * (1 - math.exp(-2)), 0.9 * (1 - math.exp(-3))]
    np.testing.assert_allclose(hazy[0, 0], expected)
    np.testing.assert_array_equal(hazy[1, 0], [0.7, 0.8, 0.9])


def _haze(xp, distance_m, radiance):
    """Every function of the module in one chain, three results."""
    transmission = physics.transmission(0.08, distance_m, xp=xp)
    hazy = physics.add_haze(radiance, transmission, 0.9)
    restored = physics.remove_haze(hazy, transmission, 0.9, xp=xp)
    return hazy, restored, physics.k_from_haze(hazy, xp.maximum(transmission, 1e-3), 0.9, xp=xp)


def test_numpy_tensorflow_eager_and_dataset_map_agree():
    import tensorflow as tf

    rng = np.random.default_rng(0)
    distance_m = rng.uniform(0.0, 60.0, (8, 9, 1)).astype(np.float32)
    distance_m[0, 0] = np.inf
    radiance = rng.random((8, 9, 3), dtype=np.float32)
    radiance[1, 1], distance_m[1, 1] = 1.0, 0.0  # I = 1: K's singularity
    eager = _haze(tf, tf.constant(distance_m), tf.constant(radiance))
    mapped = tf.data.Dataset.from_tensors((distance_m, radiance)).map(lambda d, j: _haze(tf, d, j))
    for expected, *others in zip(_haze(np, distance_m, radiance), eager, next(iter(mapped)), strict=True):
        assert expected.dtype == np.float32
        for other in others:
            np.testing.assert_allclose(other.numpy(), expected, rtol=2e-5, atol=2e-6)
