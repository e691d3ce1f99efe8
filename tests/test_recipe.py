"""Recipes: the shipped four, every range at both ends, every message."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazegen import config
from hazegen.errors import UsageError
from hazegen.recipe import Draw, Recipe, parse_draw

BETA = Draw("values", (0.1,))
SMALLEST = math.ulp(0.0)
# What a field needs beside it, without which it would change nothing.
BESIDE = {
    "wavelengths_nm": {"angstrom_exponent": Draw("values", (1.0,))},
    "noise_scale_m": {"noise_contrast": Draw("values", (0.5,))},
    "noise_samples": {"noise_contrast": Draw("values", (0.5,))},
    "camera_height_m": {"height_scale_m": Draw("values", (20.0,))},
    "camera_pitch_deg": {"noise_contrast": Draw("values", (0.0, 0.5))},
    "lamp_threshold": {"glow": Draw("uniform", (0.0, 1.0))},
}

# As published or measured: (path, norm, sweep, beta, visibility, light, channels).
SHIPPED = {
    "aod-released": (
        ("plane", "metres", "grid"),
        Draw("values", (0.04, 0.08, 0.12, 0.16, 0.20, 0.24, 0.28)),
        None,
        Draw("values", (1.0, 0.9, 0.95)),
        "gray",
    ),
    "aod-paper": (
        ("plane", "tenths", "random"),
        Draw("values", (0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6)),
        None,
        Draw("uniform", (0.6, 1.0)),
        "independent",
    ),
    "reside-its": (
        ("plane", "max", "random"),
        Draw("uniform", (0.6, 1.8)),
        None,
        Draw("uniform", (0.7, 1.0)),
        "gray",
    ),
    "outdoor-visibility": (
        ("ray", "metres", "random"),
        None,
        Draw("log-uniform", (50.0, 2000.0)),
        Draw("uniform", (0.7, 1.0)),
        "gray",
    ),
}


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_shipped_recipe_is_as_published(name, load_recipe):
    recipe = load_recipe(name)
    convention = (recipe.path, recipe.depth_norm, recipe.sweep)
    received = (convention, recipe.beta, recipe.visibility_m, recipe.atmospheric_light, recipe.light_channels)
    assert received == SHIPPED[name]
    assert (recipe.name, recipe.color_space, recipe.sky) == (name, "srgb", "infinite")


def test_every_shipped_recipe_is_one_and_bears_its_files_name(load_recipe):
    names = sorted(path.stem for path in (config.config_folder() / "recipes").glob("*.yaml"))
    assert set(SHIPPED) <= set(names)
    assert [load_recipe(name).name for name in names] == names


def test_heads_of_shipped_recipes_say_purpose_source_and_command():
    for path in (config.config_folder() / "recipes").glob("*.yaml"):
        head = path.read_text()
        assert all(f"# {word}:" in head for word in ("Purpose", "Source", "Command")), path.name
    assert "guess" in (config.config_folder() / "recipes" / "aod-paper.yaml").read_text().lower()


def test_grid_of_aod_released_has_seven_times_three_points(load_recipe):
    assert load_recipe("aod-released").grid_size() == 21


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_resolved_recipe_reads_back_as_itself(name, load_recipe):
    recipe = load_recipe(name)
    assert config.build(Recipe, recipe.as_dict()) == recipe


@pytest.mark.parametrize(
    ("text", "draw"),
    [
        ("[0.04, 0.08]", Draw("values", (0.04, 0.08))),
        ([0.04, 0.08], Draw("values", (0.04, 0.08))),
        (0.5, Draw("values", (0.5,))),
        ("1e-3", Draw("values", (0.001,))),
        ("uniform(0.6, 1.8)", Draw("uniform", (0.6, 1.8))),
        (" log-uniform(50,2000) ", Draw("log-uniform", (50.0, 2000.0))),
        (Draw("values", (1.0,)), Draw("values", (1.0,))),
    ],
)
def test_draws_are_read_from_text_lists_and_numbers(text, draw):
    assert parse_draw(text) == draw


@given(
    st.sampled_from(["values", "uniform", "log-uniform"]),
    st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=2, unique=True),
)
def test_draw_reads_back_from_its_own_text(law, numbers):
    draw = Draw(law, tuple(sorted(numbers)))
    assert parse_draw(str(draw)) == draw
    assert (draw.low, draw.high) == (min(numbers), max(numbers))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "fog", True, None, {"a": 1}, "uniform(0.6)", "uniform(1, 2, 3)", "uniform(2, 1)", "uniform(1, 1)"]
    + ["uniform(nan, 1)", "log-uniform(0, 1)", "log-uniform(-1, 1)", "normal(0, 1)", "[1, two]", "[[1], [2]]"],
)
def test_draw_that_cannot_be_read_is_refused(text):
    with pytest.raises(UsageError, match=r"draw cannot be read. Expected .*low below high, received .*Correct"):
        parse_draw(text)


@pytest.mark.parametrize("text", ["[0.1, 0.2", "uniform(0.1, 0.2]", "uniform 0.1, 0.2", "0.1, 0.2)"])
def test_draw_with_brackets_that_do_not_match_is_refused(text):
    with pytest.raises(UsageError, match="draw cannot be read"):
        parse_draw(text)


@pytest.mark.parametrize("value", [0.0, -0.1, math.inf, math.nan])
@pytest.mark.parametrize("field", ["beta", "visibility_m"])
def test_beta_and_visibility_must_be_above_0_and_finite(field, value):
    with pytest.raises(
        UsageError, match=rf"{field} is out of range. Expected numbers in \[1e-12, 1e\+12\].*received \[0.1, "
    ):
        Recipe(**{field: Draw("values", (0.1, value))})


def test_message_on_beta_of_0_says_why():
    with pytest.raises(UsageError, match="0 times the infinite distance of the sky is not a number"):
        Recipe(beta=Draw("values", (0.0,)))


@pytest.mark.parametrize("field", ["beta", "visibility_m"])
@pytest.mark.parametrize("value", [1e-12, 1e12])
def test_beta_and_visibility_at_the_ends_of_their_range_are_taken(field, value):
    assert getattr(Recipe(**{field: Draw("values", (value,))}), field).low == value


@pytest.mark.parametrize("field", ["beta", "visibility_m"])
@pytest.mark.parametrize("value", [SMALLEST, 1e-50, 1e-45, 9.9e-13, 1.1e12, 1e30])
def test_beta_and_visibility_that_32_bit_floats_might_lose_are_refused(field, value):
    with pytest.raises(UsageError, match=rf"{field} is out of range. Expected numbers in \[1e-12, 1e\+12\]"):
        Recipe(**{field: Draw("values", (value,))})


@pytest.mark.parametrize("draw", [Draw("uniform", (0.0, 1.0)), Draw("uniform", (-1.0, 2.0))])
def test_uniform_beta_must_not_reach_0(draw):
    with pytest.raises(UsageError, match="beta is out of range"):
        Recipe(beta=draw)


@pytest.mark.parametrize("value", [-SMALLEST, 1.0000001, 1.5, math.nan])
def test_atmospheric_light_outside_0_to_1_is_refused(value):
    with pytest.raises(UsageError, match=r"atmospheric_light is out of range. Expected numbers in \[0, 1\], received"):
        Recipe(beta=BETA, atmospheric_light=Draw("values", (value,)))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_atmospheric_light_at_the_ends_of_its_range_is_taken(value):
    assert Recipe(beta=BETA, atmospheric_light=Draw("values", (value,))).atmospheric_light.values == (value,)


# Lowest and highest number that each field takes, and whether the lowest is among them.
RANGES = {
    "angstrom_exponent": (-1.0, 5.0, True),
    "light_bias": (-1.0, 1.0, True),
    "noise_contrast": (0.0, 3.0, True),
    "noise_scale_m": (0.1, 10000.0, True),
    "height_scale_m": (0.01, 1e6, True),
    "camera_height_m": (0.0, 10000.0, True),
    "camera_pitch_deg": (-90.0, 90.0, True),
    "scattering_blur": (0.0, 0.1, True),
    "illumination": (0.0, 1.0, False),
    "glow": (0.0, 100.0, True),
    "blur_px": (0.0, 50.0, True),
    "shot_noise": (0.0, 1.0, True),
    "read_noise": (0.0, 1.0, True),
    "gamma": (0.1, 10.0, True),
    "jpeg_quality": (1.0, 100.0, True),
}
TRIPLES = {"wavelengths_nm": (300.0, 1100.0), "light_color": (0.0, 2.0)}
NUMBERS = {"noise_samples": (8, 256, 7, 257), "lamp_threshold": (SMALLEST, 1.0, 0.0, 1.0000001)}


def around(low, high, low_allowed):
    """Numbers just inside and just outside of a range."""
    inside = (low if low_allowed else math.nextafter(low, high), high)
    outside = (math.nextafter(low, -math.inf) if low_allowed else low, math.nextafter(high, math.inf), math.nan)
    return inside, outside


@pytest.mark.parametrize("field", sorted(RANGES))
def test_each_drawn_field_takes_both_ends_of_its_range_and_nothing_beyond(field):
    *limits, low_allowed = RANGES[field]
    beside = BESIDE.get(field, {})
    inside, outside = around(*limits, low_allowed)
    for value in inside:
        assert getattr(Recipe(beta=BETA, **{field: Draw("values", (value,))}, **beside), field).low == value
    for value in outside:
        message = rf"{field} is out of range. Expected numbers in [\[(]{limits[0]:g}, .*received \[.*Correct {field}"
        with pytest.raises(UsageError, match=message):
            Recipe(beta=BETA, **{field: Draw("values", (limits[1], value))}, **beside)


@pytest.mark.parametrize("field", sorted(TRIPLES))
@pytest.mark.parametrize("place", [0, 1, 2])
def test_each_of_three_numbers_is_held_to_its_range(field, place):
    inside, outside = around(*TRIPLES[field], True)
    for value in (*inside, *outside):
        numbers = [TRIPLES[field][1]] * 3
        numbers[place] = value
        if value in inside:
            recipe = Recipe(beta=BETA, **{field: tuple(numbers)}, **BESIDE.get(field, {}))
            assert getattr(recipe, field)[place] == value
        else:
            with pytest.raises(UsageError, match=rf"{field} is out of range. Expected numbers in \["):
                Recipe(beta=BETA, **{field: tuple(numbers)})


@pytest.mark.parametrize("field", sorted(NUMBERS))
def test_each_single_number_is_held_to_its_range(field):
    low, high, *outside = NUMBERS[field]
    for value in (low, high):
        assert getattr(Recipe(beta=BETA, **{field: value}, **BESIDE[field]), field) == value
    for value in outside:
        with pytest.raises(UsageError, match=rf"{field} is out of range. Expected .*received {value}"):
            Recipe(beta=BETA, **{field: value})


def test_ranges_of_all_fields_are_checked_here():
    drawn = {field.name for field in dataclasses.fields(Recipe) if "Draw" in str(field.type)}
    assert drawn == {"beta", "visibility_m", "atmospheric_light", *RANGES}
    triples = {field.name for field in dataclasses.fields(Recipe) if "tuple" in str(field.type)}
    assert triples == set(TRIPLES)


def test_each_field_of_the_recipe_is_explained():
    assert set(config.attribute_texts(Recipe)) == {field.name for field in dataclasses.fields(Recipe)}


@pytest.mark.parametrize("fields", [{"noise_contrast": Draw("uniform", (0.0, 0.5))}, {"height_scale_m": BETA}])
def test_haze_that_changes_in_space_needs_rays(fields):
    assert Recipe(beta=BETA, **fields).needs_camera
    with pytest.raises(UsageError, match=r"needs distances along rays. Expected path 'ray' .*received 'plane'. Set"):
        Recipe(beta=BETA, path="plane", **fields)


def test_haze_that_is_the_same_everywhere_needs_no_camera():
    assert not Recipe(beta=BETA, path="plane", scattering_blur=BETA, glow=BETA).needs_camera


@pytest.mark.parametrize("field", BESIDE)
def test_field_of_an_effect_that_is_off_is_refused_with_the_switchs_name(field):
    *_, high = RANGES.get(field, (0.6, 32))[:2]
    off = {"wavelengths_nm": (650.0, 550.0, 450.0), "noise_samples": 32, "lamp_threshold": 0.6}
    value = off.get(field, Draw("values", (high,)))
    (switch,) = BESIDE[field]
    message = (
        rf"{field} changes nothing while its effect is off. Expected it beside .*{switch}.*received .* alone. Turn "
    )
    with pytest.raises(UsageError, match=message):
        Recipe(beta=BETA, **{field: value})
    assert getattr(Recipe(beta=BETA, **{field: value}, **BESIDE[field]), field) == value
    with pytest.raises(UsageError, match=rf"Turn \w+ on, or set {field} to its default, "):
        Recipe(beta=BETA, **{field: value, switch: None if switch == "height_scale_m" else Draw("values", (0.0,))})


def test_sky_that_is_a_far_surface_must_not_become_a_lamp():
    with pytest.raises(UsageError, match=r"would glow like a lamp. Expected sky 'infinite' .*received 'far'. Set sky"):
        Recipe(beta=BETA, glow=BETA, sky="far")
    assert Recipe(beta=BETA, glow=BETA, sky="reject").glow == BETA
    assert Recipe(beta=BETA, illumination=BETA, sky="far").sky == "far"


@pytest.mark.parametrize("how", ["dark-channel", "brightest-far"])
def test_light_may_be_estimated_and_is_then_one_column_of_a_grid(how):
    recipe = Recipe(beta=Draw("values", (0.1, 0.2)), atmospheric_light=how, sweep="grid")
    assert recipe.light_is_estimated
    assert recipe.grid_size() == 2
    assert not Recipe(beta=BETA).light_is_estimated
    with pytest.raises(UsageError, match=f"Expected light_channels 'gray' beside '{how}', received 'independent'"):
        Recipe(beta=BETA, atmospheric_light=how, light_channels="independent")


def test_resolved_recipe_with_every_field_reads_back_as_itself():
    recipe = Recipe(
        name="all",
        color_space="linear",
        beta=Draw("uniform", (0.1, 0.2)),
        atmospheric_light="dark-channel",
        sky="reject",
        fill="nearest",
        refine="edges",
        sky_from_image=True,
        wavelengths_nm=(620.0, 540.0, 460.0),
        light_color=(1.0, 0.95, 0.875),
        noise_samples=32,
        lamp_threshold=0.75,
        **{name: Draw("uniform", (high / 4, high / 2)) for name, (_, high, _) in RANGES.items()},
    )
    off = Recipe(beta=Draw("uniform", (0.1, 0.2)))
    changed = [name for name, value in recipe.as_dict().items() if value != off.as_dict()[name]]
    assert len(changed) == len(dataclasses.fields(Recipe)) - 7  # path, norm, sweep, beta, visibility, channels, holes
    assert config.build(Recipe, recipe.as_dict()) == recipe
    assert config.build(Recipe, json.loads(json.dumps(recipe.as_dict()))) == recipe


@pytest.mark.parametrize("value", [-1e-9, 1.0, 2.0, math.nan])
def test_max_holes_outside_its_range_is_refused(value):
    with pytest.raises(UsageError, match=r"max_holes is out of range. Expected a share in \[0, 1\), received"):
        Recipe(beta=BETA, max_holes=value)


@pytest.mark.parametrize("value", [0.0, 0.999999])
def test_max_holes_at_the_ends_of_its_range_is_taken(value):
    assert Recipe(beta=BETA, max_holes=value).max_holes == value


@pytest.mark.parametrize("fields", [{}, {"beta": BETA, "visibility_m": BETA}])
def test_exactly_one_of_beta_and_visibility_is_drawn(fields):
    with pytest.raises(UsageError, match=r"beta or visibility_m. .*Set (the other to null|one of them)"):
        Recipe(**fields)


@pytest.mark.parametrize("norm", ["tenths", "max"])
def test_visibility_in_metres_needs_depth_in_metres(norm):
    with pytest.raises(UsageError, match=rf"Expected depth_norm 'metres' beside visibility_m, received '{norm}'"):
        Recipe(visibility_m=BETA, depth_norm=norm)


@pytest.mark.parametrize(
    "fields",
    [
        {"beta": Draw("uniform", (0.1, 0.2)), "atmospheric_light": BETA},
        {"visibility_m": Draw("log-uniform", (10.0, 20.0)), "atmospheric_light": BETA},
        {"beta": BETA, "atmospheric_light": Draw("uniform", (0.1, 0.2))},
        {"beta": BETA, "atmospheric_light": BETA, "light_channels": "independent"},
    ],
)
def test_grid_needs_lists_and_gray_light(fields):
    with pytest.raises(UsageError, match=r"grid sweep needs lists.*received .*List the values, or set sweep: random"):
        Recipe(sweep="grid", **fields)


def test_recipe_cannot_be_changed_once_checked(load_recipe):
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_recipe("aod-paper").path = "ray"
