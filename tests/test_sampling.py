"""From a recipe to the haze of a variant: keyed by seed, scene and variant, and nothing else."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazegen import sampling
from hazegen.errors import UsageError
from hazegen.recipe import Draw, Recipe

KEYS = [f"room/{number:04d}" for number in range(40)]
RANDOM = Recipe(beta=Draw("uniform", (0.5, 1.5)), atmospheric_light=Draw("uniform", (0.6, 0.9)))
GOLDEN = [605503463, 3018178006, 2285581967]  # the first integers below 2**32 of (seed 0, "a", 1)
GRID = Recipe(beta=Draw("values", (0.1, 0.2, 0.4)), atmospheric_light=Draw("values", (1.0, 0.8)), sweep="grid")


def draws(recipe, key="a", seed=0, count=4, unit_m=1.0):
    return sampling.draw_variants(recipe, seed, key, count, unit_m)


@pytest.mark.parametrize("recipe", [RANDOM, GRID])
def test_haze_is_a_function_of_seed_scene_and_variant(recipe):
    assert draws(recipe) == draws(recipe)
    assert draws(recipe) != draws(recipe, seed=1)
    assert draws(recipe) != draws(recipe, key="b")


def test_random_haze_of_a_variant_does_not_hang_on_how_many_are_drawn():
    assert draws(RANDOM, count=2) == draws(RANDOM, count=7)[:2]
    betas = {haze.beta for haze in draws(RANDOM, count=50)}
    assert len(betas) == 50


def test_generator_of_a_known_key_gives_the_same_numbers_for_ever():
    # A change here changes every dataset that a seed ever made: raise the schema version if it is meant.
    assert sampling.generator(0, "a", 1).integers(0, 2**32, 3).tolist() == GOLDEN
    assert sampling.generator(0, "a", 1).random() != sampling.generator(0, "a1").random()


@given(st.integers(0, 2**40), st.text(min_size=1, max_size=12), st.integers(1, 6))
def test_grid_below_its_size_draws_without_replacement(seed, key, count):
    chosen = draws(GRID, key, seed, count)
    assert len(chosen) == count
    assert len({(haze.beta, haze.atmospheric_light) for haze in chosen}) == count
    assert [haze.variant for haze in chosen] == sorted({haze.variant for haze in chosen})


def test_whole_grid_takes_every_combination_once():
    pairs = [(haze.beta[0], haze.atmospheric_light[0]) for haze in draws(GRID, count=6)]
    assert pairs == [(beta, light) for beta in (0.1, 0.2, 0.4) for light in (1.0, 0.8)]


def test_part_of_a_grid_differs_by_scene_and_uses_all_of_it():
    parts = [tuple(haze.variant for haze in draws(GRID, key, count=2)) for key in KEYS]
    assert len(set(parts)) > 8  # of 15 possible
    counts = np.bincount(np.ravel(parts), minlength=6)
    assert counts.min() > 0.4 * counts.mean()


@pytest.mark.parametrize(
    ("recipe", "asked", "count"), [(GRID, None, 6), (GRID, 1, 1), (GRID, 6, 6), (RANDOM, None, 10), (RANDOM, 500, 500)]
)
def test_number_of_variants_is_as_asked_else_the_grid_else_ten(recipe, asked, count):
    assert sampling.count_variants(recipe, asked) == count


@pytest.mark.parametrize(
    ("recipe", "asked", "expected"),
    [(GRID, 7, "1 to 6, the size of the recipe's grid"), (GRID, 0, "1 to 6"), (RANDOM, 0, "at least 1")],
)
def test_number_of_variants_out_of_range_is_refused(recipe, asked, expected):
    with pytest.raises(UsageError, match=f"Expected {expected}.*received {asked}. Change --variants"):
        sampling.count_variants(recipe, asked)


@pytest.mark.parametrize(
    ("norm", "unit_m"), [("metres", 1.0), ("tenths", 10.0), ("max", 7.5)]
)  # of a frame whose farthest surface is 7.5 m away
def test_beta_per_metre_is_beta_per_unit_over_the_units_length(norm, unit_m):
    recipe = Recipe(beta=Draw("values", (0.6,)), depth_norm=norm)
    assert sampling.metres_per_unit(recipe, 7.5) == unit_m
    (haze,) = draws(recipe, count=1, unit_m=unit_m)
    assert haze.beta == pytest.approx((0.6 / unit_m,) * 3)
    assert haze.metres_per_unit == unit_m


def test_visibility_is_kept_and_beta_follows_from_it():
    (haze,) = draws(Recipe(visibility_m=Draw("values", (150.0,))), count=1)
    assert haze.visibility_m == pytest.approx(150.0)
    assert math.exp(-haze.beta[1] * 150.0) == pytest.approx(0.05)


def test_uniform_draws_fill_their_range_evenly():
    betas = np.array([haze.beta[0] for key in KEYS for haze in draws(RANDOM, key, count=50)])
    assert betas.min() >= 0.5
    assert betas.max() <= 1.5
    assert np.histogram(betas, 10, (0.5, 1.5))[0].min() > 140  # 200 expected, 4.5 standard deviations


def test_log_uniform_draws_are_even_in_the_logarithm():
    recipe = Recipe(visibility_m=Draw("log-uniform", (50.0, 2000.0)))
    seen = np.array([haze.visibility_m for key in KEYS for haze in draws(recipe, key, count=50)])
    assert seen.min() >= 50.0 * (1 - 1e-9)
    assert seen.max() <= 2000.0 * (1 + 1e-9)
    assert np.histogram(np.log(seen), 10, np.log((50.0, 2000.0)))[0].min() > 140


def test_values_are_all_drawn_and_no_others():
    recipe = Recipe(beta=Draw("values", (0.1, 0.2, 0.3)), atmospheric_light=Draw("values", (0.8,)))
    assert {haze.beta[0] for key in KEYS for haze in draws(recipe, key)} == {0.1, 0.2, 0.3}


def test_gray_light_is_one_number_and_independent_light_three():
    light = Draw("uniform", (0.6, 1.0))
    gray = draws(Recipe(beta=Draw("values", (0.1,)), atmospheric_light=light))
    coloured = draws(Recipe(beta=Draw("values", (0.1,)), atmospheric_light=light, light_channels="independent"))
    assert all(len(set(haze.atmospheric_light)) == 1 for haze in gray)
    assert all(len(set(haze.atmospheric_light)) == 3 for haze in coloured)
    assert all(len(set(haze.beta)) == 1 for haze in coloured)


def test_json_fields_are_those_without_a_feature_of_their_own():
    (haze,) = draws(GRID, count=1, unit_m=10.0)
    assert sampling.as_json_fields(haze) == {"metres_per_unit": 10.0}
