"""The reference synthesis beside a slow loop in float64, and the laws that every haze keeps."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hazegen import color, physics, render, synthesis
from hazegen.errors import UsageError
from hazegen.geometry import Camera
from hazegen.sampling import HazeParams

GRAY = HazeParams(0, (0.15, 0.15, 0.15), (0.9, 0.9, 0.9), 1.0)
COLOURED = HazeParams(0, (0.1, 0.2, 0.3), (0.7, 0.8, 1.0), 1.0)
CAMERA = Camera(20, 16, 20.0, 20.0, 9.5, 7.5)


def slow_render(clean: np.ndarray, distance_m: np.ndarray, haze: HazeParams, color_space: str) -> np.ndarray:
    """I = J t + A (1 - t), one pixel and channel at a time, unrounded code values."""

    def linear(v: float) -> float:
        return v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4

    def coded(v: float) -> float:
        return v * 12.92 if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055

    result = np.empty(clean.shape)
    for y, x, c in np.ndindex(*clean.shape):
        t = math.exp(-haze.beta[c] * float(distance_m[y, x]))
        radiance = int(clean[y, x, c]) / 255.0
        if color_space == "linear":
            radiance = linear(radiance)
        value = radiance * t + haze.atmospheric_light[c] * (1.0 - t)
        result[y, x, c] = 255.0 * (coded(value) if color_space == "linear" else value)
    return result


def old_render(clean, distance_m, haze, color_space):
    """The synthesis as it was before haze had any other fields, kept to the last bit."""
    beta = np.array(haze.beta if len(set(haze.beta)) > 1 else haze.beta[:1], np.float32)
    transmission = np.asarray(physics.transmission(beta, distance_m[..., None]), np.float32)
    light = np.array(haze.atmospheric_light, np.float32)
    radiance = color.to_float(clean)
    if color_space == "srgb":
        return color.to_uint8(physics.add_haze(radiance, transmission, light)), transmission
    hazy = physics.add_haze(color.srgb_to_linear(radiance), transmission, light)
    return color.to_uint8(color.linear_to_srgb(hazy)), transmission


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    distance_m = rng.uniform(0.0, 30.0, (16, 20)).astype(np.float32)
    distance_m[:2], distance_m[2] = np.inf, 0.0
    return rng.integers(0, 256, (16, 20, 3), dtype=np.uint8), distance_m


@pytest.mark.parametrize("color_space", ["srgb", "linear"])
@pytest.mark.parametrize("haze", [GRAY, COLOURED])
def test_render_is_the_slow_loops_rounded(scene, haze, color_space):
    clean, distance_m = scene
    hazy = synthesis.render(clean, distance_m, haze, color_space).hazy
    slow = slow_render(clean, distance_m, haze, color_space)
    assert hazy.dtype == np.uint8
    # Rounded to the nearest code, give or take float32's last digits: nearer than "within 1 code value".
    assert np.abs(hazy - slow).max() <= 0.5 + 1e-3
    np.testing.assert_array_equal(hazy[2], clean[2])
    np.testing.assert_allclose(hazy[0, 0], slow[0, 0], atol=0.5)


@pytest.mark.parametrize("color_space", ["srgb", "linear"])
@pytest.mark.parametrize("haze", [GRAY, COLOURED])
def test_with_everything_off_the_result_is_that_of_the_old_formula_to_the_last_bit(scene, haze, color_space):
    rendered = synthesis.render(*scene, haze, color_space, CAMERA)
    hazy, transmission = old_render(*scene, haze, color_space)
    np.testing.assert_array_equal(rendered.hazy, hazy)
    np.testing.assert_array_equal(rendered.transmission, transmission)


@pytest.mark.parametrize("color_space", ["srgb", "linear"])
def test_sky_shows_the_light_and_nothing_of_the_scene(scene, color_space):
    hazy = synthesis.render(*scene, COLOURED, color_space).hazy
    assert len(np.unique(hazy[:2].reshape(-1, 3), axis=0)) == 1
    expected = [0.7, 0.8, 1.0] if color_space == "srgb" else [0.85431, 0.90633, 1.0]  # sRGB codes of linear 0.7, 0.8
    np.testing.assert_array_equal(hazy[0, 0], np.rint(np.array(expected) * 255))


def test_equation_on_srgb_codes_and_on_linear_light_differ_visibly(scene):
    clean, _ = scene
    distance_m = np.full(clean.shape[:2], 5.0, np.float32)
    first, second = (
        synthesis.render(clean, distance_m, GRAY, space).hazy.astype(float) for space in ("srgb", "linear")
    )
    psnr = 10 * math.log10(255**2 / np.mean((first - second) ** 2))
    assert 15.0 < psnr < 32.0


def test_both_spaces_worked_by_hand():
    # Code 51 (0.2; linear 0.033105), A = 0.5, t = 0.5: coded 0.35 -> 89.25; linear 0.266552 -> 0.553569 -> 141.16.
    half = HazeParams(0, (math.log(2.0),) * 3, (0.5,) * 3, 1.0)
    clean, distance_m = np.full((1, 1, 3), 51, np.uint8), np.ones((1, 1), np.float32)
    assert synthesis.render(clean, distance_m, half, "srgb").hazy.tolist() == [[[89] * 3]]
    assert synthesis.render(clean, distance_m, half, "linear").hazy.tolist() == [[[141] * 3]]


@pytest.mark.parametrize(("haze", "channels"), [(GRAY, 1), (COLOURED, 3)])
def test_transmission_has_a_channel_for_each_beta(scene, haze, channels):
    transmission = synthesis.render(*scene, haze, "srgb").transmission
    assert transmission.shape == (16, 20, channels)
    assert transmission.dtype == np.float32
    assert (transmission[:2] == 0.0).all()
    assert (transmission[2] == 1.0).all()


def test_clean_image_is_left_as_it_was(scene):
    clean, distance_m = scene
    before = clean.copy()
    night = dataclasses.replace(GRAY, illumination=0.5, glow=2.0, scattering_blur=0.01, read_noise=0.1)
    synthesis.render(clean, distance_m, night, "srgb")
    np.testing.assert_array_equal(clean, before)


@pytest.mark.parametrize("fields", [{"noise_contrast": 0.5}, {"height_scale_m": 10.0}])
def test_haze_that_changes_in_space_needs_a_camera(scene, fields):
    with pytest.raises(UsageError, match="needs the direction of each pixel's ray"):
        synthesis.render(*scene, dataclasses.replace(GRAY, **fields), "srgb")


def test_fog_on_the_ground_hides_less_of_what_is_high():
    clean, distance_m = np.zeros((16, 20, 3), np.uint8), np.full((16, 20), 20.0, np.float32)
    low = dataclasses.replace(GRAY, height_scale_m=3.0)
    hazy = synthesis.render(clean, distance_m, low, "srgb", CAMERA).hazy[:, 10, 0].astype(int)
    assert (np.diff(hazy) >= 0).all()
    assert hazy[-1] > hazy[0] + 50
    sky = synthesis.render(clean, np.full((16, 20), np.inf, np.float32), low, "srgb", CAMERA)
    assert (sky.transmission[0] > 0.1).all()  # above fog the sky is seen
    assert (sky.transmission[-1] == 0.0).all()


hazes = st.builds(
    HazeParams,
    variant=st.just(0),
    beta=st.tuples(*[st.floats(0.001, 0.5)] * 3) | st.floats(0.001, 0.5).map(lambda beta: (beta,) * 3),
    atmospheric_light=st.tuples(*[st.floats(0.0, 1.0)] * 3),
    metres_per_unit=st.just(1.0),
    noise_contrast=st.sampled_from([0.0, 0.5, 3.0]),
    noise_scale_m=st.floats(0.5, 100.0),
    noise_samples=st.integers(8, 24),
    noise_seed=st.integers(0, 2**63 - 1),
    height_scale_m=st.none() | st.floats(0.1, 100.0),
    camera_height_m=st.floats(0.0, 50.0),
    camera_pitch_deg=st.floats(-90.0, 90.0),
    scattering_blur=st.just(0.0) | st.floats(0.0, 0.1),
)


@settings(max_examples=60, deadline=None)
@given(hazes, st.floats(0.05, 1.0), st.sampled_from(["srgb", "linear"]), st.integers(0, 2**32))
def test_without_lamps_and_camera_the_result_lies_between_scene_and_light(haze, illumination, color_space, seed):
    rng = np.random.default_rng(seed)
    clean = rng.integers(0, 200, (16, 20, 3), dtype=np.uint8)  # below where lamps begin
    distance_m = rng.uniform(0.1, 100.0, (16, 20)).astype(np.float32)
    distance_m[rng.random((16, 20)) < 0.2] = np.inf
    haze = dataclasses.replace(haze, illumination=illumination)
    rendered = synthesis.render(clean, distance_m, haze, color_space, CAMERA)
    assert ((rendered.transmission >= 0.0) & (rendered.transmission <= 1.0)).all()
    light, scene = np.array(haze.atmospheric_light), clean / 255.0
    if color_space == "linear":
        scene = color.srgb_to_linear(scene)
    scene = scene * illumination
    if haze.scattering_blur:  # then it lies between the light and what is anywhere in the scene
        low, high = scene.min((0, 1)), scene.max((0, 1))
    else:
        low = high = scene
    low, high = np.minimum(low, light), np.maximum(high, light)
    if color_space == "linear":
        low, high = color.linear_to_srgb(low), color.linear_to_srgb(high)
    assert (rendered.hazy >= 255 * low - 0.51).all()
    assert (rendered.hazy <= 255 * high + 0.51).all()


def test_night_worked_by_hand():
    # A lamp (1.0) and a wall (0.4) at tau = ln 2 in weak light 0.1: wall 0.4 * 0.5 * 0.5 + 0.05 = 0.15 -> 38.25.
    clean = np.full((1, 400, 3), 102, np.uint8)
    clean[0, 0] = 255
    distance_m = np.ones((1, 400), np.float32)
    dusk = HazeParams(0, (math.log(2.0),) * 3, (0.1,) * 3, 1.0, illumination=0.5)
    hazy = synthesis.render(clean, distance_m, dusk, "srgb").hazy[0, :, 0]
    assert hazy[200] == 38
    assert hazy[0] == 76  # without a glow there are no lamps: 0.5 * 0.5 + 0.05 = 0.3 -> 76.5 less float32's last digit
    glowing = synthesis.render(clean, distance_m, dataclasses.replace(dusk, glow=10.0), "srgb").hazy[0, :, 0]
    assert glowing[0] > 140  # 1.0 * 0.5 + 0.05 = 0.55 -> 140.25, and its own glow
    assert glowing[8] > 38
    assert glowing[399] == 38


@pytest.mark.parametrize("renderer", [synthesis.render, render.render])
@pytest.mark.parametrize("beta", [1e-30, 1e-12, 1e12, 1e30])
def test_thinnest_and_densest_haze_leave_no_pixel_without_a_number(scene, beta, renderer):
    clean, distance_m = scene
    rendered = renderer(clean, distance_m, dataclasses.replace(GRAY, beta=(beta,) * 3), "srgb")
    assert not np.isnan(rendered.transmission).any()
    assert (rendered.hazy[:2] == np.rint(255 * 0.9)).all()  # the sky is hazy, however thin the haze
    np.testing.assert_array_equal(rendered.hazy[3:], clean[3:] if beta < 1 else np.full_like(clean[3:], 230))


def test_same_haze_gives_the_same_picture(scene):
    everything = dataclasses.replace(
        COLOURED, noise_contrast=0.5, noise_seed=4, shot_noise=0.01, camera_seed=5, jpeg_quality=80
    )
    first, second = (synthesis.render(*scene, everything, "srgb", CAMERA).hazy for _ in range(2))
    np.testing.assert_array_equal(first, second)
