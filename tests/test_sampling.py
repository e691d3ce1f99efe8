"""From a recipe to the haze of a variant: keyed by seed, scene and variant, and nothing else."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazegen import sampling
from hazegen.errors import RefusedError, UsageError
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


@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        (
            {"noise_contrast": 0.5},
            {"noise_scale_m", "noise_samples", "noise_seed", "camera_height_m", "camera_pitch_deg"},
        ),
        ({"height_scale_m": 5.0}, {"camera_height_m", "camera_pitch_deg"}),
        ({"glow": 0.5}, {"lamp_threshold"}),
        ({"glow": 0.5, "illumination": 0.5}, {"lamp_threshold"}),
        ({"illumination": 0.5}, set()),
        ({"shot_noise": 0.1}, {"camera_seed"}),
        ({"read_noise": 0.1}, {"camera_seed"}),
        ({"scattering_blur": 0.01, "blur_px": 1.0, "gamma": 2.0, "jpeg_quality": 80.0}, set()),
    ],
)
def test_record_holds_every_field_of_an_effect_that_is_on_and_no_other(fields, stored):
    # All at their defaults: a reader need not know those of the version that made the record.
    on = {name: Draw("values", (value,)) for name, value in fields.items()}
    (haze,) = draws(dataclasses.replace(RANDOM, **on), count=1)
    json_fields = sampling.as_json_fields(haze)
    assert set(json_fields) == {"metres_per_unit", *fields, *stored}
    assert {name: json_fields[name] for name in fields} == fields
    usual = {"noise_scale_m": 20.0, "noise_samples": 24, "camera_height_m": 1.5, "camera_pitch_deg": 0.0}
    usual["lamp_threshold"] = 0.9
    assert all(json_fields[name] == value for name, value in usual.items() if name in stored)


def test_variant_whose_effect_is_drawn_as_off_holds_nothing_of_it():
    dice = Draw("values", (0.0, 0.5))
    on = {"noise_scale_m": Draw("values", (7.0,)), "noise_samples": 99, "camera_height_m": Draw("values", (3.0,))}
    recipe = dataclasses.replace(RANDOM, noise_contrast=dice, glow=dice, lamp_threshold=0.5, **on)
    drawn = draws(recipe, count=40)
    plain = {"metres_per_unit": 1.0, "noise_scale_m": 20.0, "noise_samples": 24, "noise_seed": 0}
    off = [haze for haze in drawn if not haze.noise_contrast]
    assert 8 < len(off) < 32
    assert all(getattr(haze, name) == value for haze in off for name, value in plain.items())
    dark = [haze for haze in off if not haze.glow]
    assert dark
    assert all(sampling.as_json_fields(haze) == {"metres_per_unit": 1.0} for haze in dark)
    assert {(haze.noise_scale_m, haze.noise_samples) for haze in drawn if haze.noise_contrast} == {(7.0, 99)}
    assert {haze.lamp_threshold for haze in drawn if haze.glow} == {0.5}


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 5.0])
@pytest.mark.parametrize("wavelength", [300.0, 1100.0])
@pytest.mark.parametrize("beta", [1e-12, 1e12])
def test_beta_of_any_recipe_is_a_normal_32_bit_number(beta, exponent, wavelength):
    fields = {"angstrom_exponent": Draw("values", (exponent,))} if exponent else {}
    fields |= {"wavelengths_nm": (wavelength,) * 3} if exponent else {}
    (haze,) = draws(Recipe(beta=Draw("values", (beta,)), depth_norm="tenths", **fields), count=1, unit_m=10.0)
    kept = np.float32(haze.beta[1])
    assert np.finfo(np.float32).tiny < kept < np.finfo(np.float32).max
    assert not np.isnan(kept * np.float32(np.inf))


@pytest.mark.parametrize("unit_m", [1e38, 1e-38])
def test_scene_whose_unit_makes_beta_no_number_of_32_bits_is_refused(unit_m):
    recipe = Recipe(beta=Draw("values", (1.0,)), depth_norm="max")
    assert draws(recipe, count=1, unit_m=1e15)[0].beta[0] == pytest.approx(1e-15)
    with pytest.raises(
        RefusedError, match=r"out of range. Expected beta in \[1e-30, 1e\+30\] .*received .*Correct the"
    ):
        draws(recipe, count=1, unit_m=unit_m)


def test_extinction_and_light_of_a_seed_are_the_same_for_ever():
    # As drawn before there were any other fields: a change here changes every dataset ever made.
    assert [(haze.beta[0], haze.atmospheric_light[2]) for haze in draws(RANDOM, count=3)] == [
        (0.7389973356209164, 0.6025572110037759),
        (1.2027243278317572, 0.7386969566018428),
        (0.6020202163793255, 0.6551044983071004),
    ]
    light = Draw("values", (0.7, 0.8, 0.9))
    fog = Draw("log-uniform", (50.0, 2000.0))
    independent = Recipe(visibility_m=fog, atmospheric_light=light, light_channels="independent")
    assert [(haze.beta[1], haze.atmospheric_light) for haze in draws(independent, count=2)] == [
        (0.024811037458173604, (0.9, 0.7, 0.8)),
        (0.004484628404277443, (0.8, 0.8, 0.9)),
    ]
    assert [haze.variant for haze in draws(GRID, count=3)] == [0, 3, 5]


EVERYTHING = {
    "light_bias": Draw("uniform", (-0.02, 0.02)),
    "noise_contrast": Draw("uniform", (0.1, 0.9)),
    "noise_scale_m": Draw("log-uniform", (5.0, 50.0)),
    "height_scale_m": Draw("uniform", (2.0, 30.0)),
    "camera_height_m": Draw("uniform", (1.0, 3.0)),
    "camera_pitch_deg": Draw("uniform", (-5.0, 5.0)),
    "scattering_blur": Draw("uniform", (0.001, 0.01)),
    "illumination": Draw("uniform", (0.1, 0.9)),
    "glow": Draw("uniform", (1.0, 5.0)),
    "blur_px": Draw("uniform", (0.1, 2.0)),
    "shot_noise": Draw("uniform", (0.001, 0.01)),
    "read_noise": Draw("uniform", (0.001, 0.01)),
    "gamma": Draw("uniform", (1.1, 2.0)),
    "jpeg_quality": Draw("uniform", (30.0, 95.0)),
}
ALL = dataclasses.replace(RANDOM, lamp_threshold=0.8, noise_samples=32, **EVERYTHING)


def test_other_fields_leave_the_draws_of_extinction_and_light_as_they_were():
    alone, beside = draws(RANDOM), draws(dataclasses.replace(ALL, light_bias=Draw("values", (0.0,))))
    assert [(h.beta, h.atmospheric_light) for h in alone] == [(h.beta, h.atmospheric_light) for h in beside]
    constant = Recipe(**vars(RANDOM) | {"gamma": Draw("values", (1.5,)), "glow": Draw("values", (2.0,))})
    later = draws(dataclasses.replace(constant, blur_px=Draw("uniform", (1.0, 2.0))))
    first = draws(dataclasses.replace(RANDOM, blur_px=Draw("uniform", (1.0, 2.0))))
    assert [haze.blur_px for haze in later] == [haze.blur_px for haze in first]  # a constant draws nothing


def test_every_field_is_drawn_in_its_range_and_differs_by_variant():
    drawn = draws(ALL, count=40)
    for name, how in EVERYTHING.items():
        if name != "light_bias":
            values = [getattr(haze, name) for haze in drawn]
            assert how.low <= min(values) < max(values) <= how.high, name
            assert len(set(values)) > 20, name
    assert len({haze.noise_seed for haze in drawn} | {haze.camera_seed for haze in drawn}) == 80
    assert {(haze.lamp_threshold, haze.noise_samples) for haze in drawn} == {(0.8, 32)}
    assert all(type(haze.jpeg_quality) is int for haze in drawn)


@pytest.mark.parametrize("recipe", [ALL, dataclasses.replace(GRID, **EVERYTHING)])
def test_every_field_is_a_function_of_seed_scene_and_variant(recipe):
    assert draws(recipe) == draws(recipe)
    assert draws(recipe, seed=1)[0].noise_seed != draws(recipe)[0].noise_seed
    whole = {haze.variant: haze for haze in draws(recipe, count=6)}
    assert all(whole[haze.variant] == haze for haze in draws(recipe, count=3))


def test_haze_of_a_record_is_that_which_was_drawn():
    for haze in [*draws(ALL), *draws(GRID)]:
        features = np.array(haze.beta, np.float32), np.array(haze.atmospheric_light, np.float32)
        fields = json.loads(json.dumps(sampling.as_json_fields(haze)))
        again = sampling.from_record(haze.variant, *(feature.tolist() for feature in features), fields)
        assert again.beta == pytest.approx(haze.beta, rel=1e-7)
        assert again.atmospheric_light == pytest.approx(haze.atmospheric_light, rel=1e-7)
        exact = {"beta": haze.beta, "atmospheric_light": haze.atmospheric_light}
        assert dataclasses.replace(again, **exact) == haze


def test_defaults_of_recipe_and_haze_are_the_same():
    haze = draws(RANDOM, count=1)[0]
    assert haze == sampling.HazeParams(0, haze.beta, haze.atmospheric_light, 1.0)
    assert not haze.needs_camera
    assert draws(ALL, count=1)[0].needs_camera


@given(st.floats(0.1, 4.0), st.floats(20.0, 2000.0))
def test_blue_haze_is_denser_than_red_and_visibility_is_that_of_green(exponent, visibility_m):
    recipe = Recipe(visibility_m=Draw("values", (visibility_m,)), angstrom_exponent=Draw("values", (exponent,)))
    (haze,) = draws(recipe, count=1)
    red, green, blue = haze.beta
    assert red < green < blue
    assert math.exp(-green * visibility_m) == pytest.approx(0.05)
    assert blue / red == pytest.approx((610.0 / 465.0) ** exponent)


def test_wavelengths_decide_how_far_the_channels_differ():
    fields = {"beta": Draw("values", (0.1,)), "angstrom_exponent": Draw("values", (2.0,))}
    (haze,) = draws(Recipe(wavelengths_nm=(1100.0, 550.0, 275.0 * 2), **fields), count=1)
    assert haze.beta == pytest.approx((0.025, 0.1, 0.1))


def test_light_is_tinted_shifted_and_kept_in_range():
    light = {"beta": Draw("values", (0.1,)), "atmospheric_light": Draw("values", (0.8,))}
    (tinted,) = draws(Recipe(light_color=(1.0, 0.9, 0.5), **light), count=1)
    assert tinted.atmospheric_light == pytest.approx((0.8, 0.72, 0.4))
    (clipped,) = draws(Recipe(light_color=(2.0, 1.0, 0.0), light_bias=Draw("values", (0.1,)), **light), count=1)
    assert clipped.atmospheric_light == pytest.approx((1.0, 0.9, 0.1))
    shifted = draws(Recipe(light_bias=Draw("uniform", (-0.025, 0.025)), **light), count=50)
    shifts = np.array([haze.atmospheric_light for haze in shifted]) - 0.8
    assert np.abs(shifts).max() <= 0.025
    assert np.abs(np.corrcoef(shifts.T)[np.triu_indices(3, 1)]).max() < 0.5  # drawn for each channel


@pytest.mark.parametrize("sweep", ["random", "grid"])
def test_estimated_light_is_taken_as_it_is_and_draws_nothing(sweep):
    lists = {"beta": Draw("values", (0.1, 0.2)), "gamma": Draw("uniform", (1.0, 2.0)), "sweep": sweep}
    recipe = Recipe(atmospheric_light="dark-channel", **lists)
    found = sampling.draw_variants(recipe, 0, "a", 2, 1.0, np.array([0.75, 0.5, 0.25], np.float32))
    assert {haze.atmospheric_light for haze in found} == {(0.75, 0.5, 0.25)}
    if sweep == "grid":
        assert [haze.beta[0] for haze in found] == [0.1, 0.2]
        known = Recipe(atmospheric_light=Draw("values", (0.9,)), **lists)
        assert [haze.gamma for haze in draws(known, count=2)] == [haze.gamma for haze in found]
    tinted = dataclasses.replace(recipe, light_color=(0.5, 1.0, 2.0))
    (haze, *_) = sampling.draw_variants(tinted, 0, "a", 1, 1.0, np.array([0.5, 0.5, 0.25], np.float32))
    assert haze.atmospheric_light == (0.25, 0.5, 0.5)


@pytest.mark.parametrize("more", [{}, {"path": "ray", "height_scale_m": Draw("values", (5.0,))}])
def test_recipe_of_one_haze_gives_one_variant(more):
    recipe = Recipe(beta=Draw("values", (0.1,)), atmospheric_light=Draw("values", (0.9,)), **more)
    assert sampling.count_variants(recipe, None) == sampling.count_variants(recipe, 1) == 1
    with pytest.raises(UsageError, match="Expected 1 to 1, since the recipe draws one haze alone, received 2"):
        sampling.count_variants(recipe, 2)


@pytest.mark.parametrize("field", ["noise_contrast", "shot_noise", "read_noise"])
def test_recipe_with_noise_gives_many_variants(field):
    noise = {field: Draw("values", (0.01,))}
    recipe = Recipe(path="ray", beta=Draw("values", (0.1,)), atmospheric_light=Draw("values", (0.9,)), **noise)
    assert sampling.count_variants(recipe, None) == sampling.DEFAULT_VARIANTS
