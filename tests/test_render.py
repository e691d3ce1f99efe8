"""The fast renderer held against the readable one, over random scenes and every field."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hazegen import camera as sensor
from hazegen import render, sampling, synthesis
from hazegen.errors import UsageError
from hazegen.geometry import Camera
from hazegen.sampling import HazeParams

PLAIN = HazeParams(0, (0.05,) * 3, (0.9, 0.8, 0.7), 1.0)
COLOURED = dataclasses.replace(PLAIN, beta=(0.04, 0.05, 0.06))


def scene(height, width, seed):
    """Noise with lamps, distances of all sizes with sky or (for odd seeds) small ones without, and its camera."""
    rng = np.random.default_rng(seed)
    clean = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    distance_m = np.exp(rng.uniform(-3.0, 3.0 if seed % 2 else 7.0, (height, width))).astype(np.float32)
    distance_m[rng.random((height, width)) < (0.0 if seed % 2 else 0.2)] = np.inf
    return clean, distance_m, Camera(width, height, 0.9 * width, 0.9 * width, 0.4 * width, 0.6 * height)


unit = st.floats(0.0, 1.0)
positive = st.floats(1e-4, 2.0)
hazes = st.builds(
    HazeParams,
    variant=st.just(0),
    beta=st.tuples(positive, positive, positive) | positive.map(lambda beta: (beta,) * 3),
    atmospheric_light=st.tuples(unit, unit, unit),
    metres_per_unit=st.just(1.0),
    noise_contrast=st.sampled_from([0.0, 0.4, 3.0]),
    noise_scale_m=st.floats(0.1, 10_000.0),
    noise_samples=st.integers(8, 40),
    noise_seed=st.integers(0, 2**63 - 1),
    height_scale_m=st.none() | st.floats(0.01, 1e6),
    camera_height_m=st.floats(0.0, 10_000.0) | st.floats(0.0, 5.0),
    camera_pitch_deg=st.floats(-90.0, 90.0),
    scattering_blur=st.just(0.0) | st.floats(0.0, 0.1),
    illumination=st.just(1.0) | st.floats(0.01, 1.0),
    glow=st.just(0.0) | st.floats(0.0, 100.0),
    lamp_threshold=st.floats(0.01, 1.0),
)


@given(hazes, st.integers(1, 70), st.integers(1, 70), st.sampled_from(["srgb", "linear"]), st.integers(0, 2**32))
def test_fast_renderer_is_the_reference_to_one_code_value(haze, height, width, color_space, seed):
    clean, distance_m, camera = scene(height, width, seed)
    expected = synthesis.render(clean, distance_m, haze, color_space, camera)
    received = render.render(clean, distance_m, haze, color_space, camera)
    assert (received.hazy.dtype, received.hazy.shape) == (np.uint8, clean.shape)
    assert (received.transmission.dtype, received.transmission.shape) == (np.float32, expected.transmission.shape)
    np.testing.assert_allclose(received.transmission, expected.transmission, atol=2e-5)
    assert np.abs(received.hazy.astype(int) - expected.hazy).max() <= 1


@pytest.mark.parametrize("haze", [PLAIN, COLOURED])
@pytest.mark.parametrize("size", [(1, 1), (37, 53), (480, 640)])
def test_uniform_haze_on_code_values_is_the_references_to_the_last_bit(haze, size):
    clean, distance_m, camera = scene(*size, 1)
    expected = synthesis.render(clean, distance_m, haze, "srgb", camera)
    received = render.render(clean, distance_m, haze, "srgb", camera)
    np.testing.assert_array_equal(received.hazy, expected.hazy)
    np.testing.assert_array_equal(received.transmission, expected.transmission)


EVERYTHING = {
    "noise_contrast": 0.8,
    "noise_seed": 5,
    "height_scale_m": 7.0,
    "scattering_blur": 0.01,
    "illumination": 0.4,
    "glow": 5.0,
}
EACH = [{}, {"noise_contrast": 0.8, "noise_seed": 5}, {"height_scale_m": 7.0}, {"scattering_blur": 0.01}]
EACH += [{"illumination": 0.4, "glow": 5.0}, EVERYTHING]


@pytest.mark.parametrize("fields", EACH)
@pytest.mark.parametrize("strip_px", [1, 700, 10**9])
def test_result_does_not_hang_on_where_strips_end(fields, strip_px, monkeypatch):
    haze = dataclasses.replace(COLOURED, **fields)
    clean, distance_m, camera = scene(75, 61, 2)
    expected = render.render(clean, distance_m, haze, "srgb", camera).hazy.astype(int)
    monkeypatch.setattr(render, "_STRIP_PX", strip_px)
    received = render.render(clean, distance_m, haze, "srgb", camera).hazy
    assert np.abs(received - expected).max() <= 1


@pytest.mark.parametrize("fields", [*EACH, {"blur_px": 1.0, "shot_noise": 0.01, "gamma": 1.5, "jpeg_quality": 40}])
def test_arguments_are_left_as_they_were_and_the_result_is_the_same_again(fields):
    haze = dataclasses.replace(PLAIN, **fields)
    clean, distance_m, camera = scene(40, 50, 3)
    before = clean.copy(), distance_m.copy()
    first, second = (render.render(clean, distance_m, haze, "linear", camera) for _ in range(2))
    np.testing.assert_array_equal(clean, before[0])
    np.testing.assert_array_equal(distance_m, before[1])
    np.testing.assert_array_equal(first.hazy, second.hazy)
    np.testing.assert_array_equal(first.transmission, second.transmission)


@pytest.mark.parametrize("renderer", [render.render, synthesis.render])
@pytest.mark.parametrize("color_space", ["srgb", "linear"])
def test_camera_takes_the_hazy_view_and_nothing_else(renderer, color_space):
    lens = {"blur_px": 0.8, "shot_noise": 0.002, "read_noise": 0.01, "gamma": 1.3, "jpeg_quality": 60, "camera_seed": 9}
    clean, distance_m, camera = scene(40, 50, 4)
    haze = dataclasses.replace(PLAIN, **EVERYTHING)
    view = renderer(clean, distance_m, haze, color_space, camera)
    taken = renderer(clean, distance_m, dataclasses.replace(haze, **lens), color_space, camera)
    np.testing.assert_array_equal(taken.hazy, sensor.take(view.hazy, dataclasses.replace(haze, **lens)))
    np.testing.assert_array_equal(taken.transmission, view.transmission)
    assert (taken.hazy != view.hazy).mean() > 0.5


@settings(max_examples=40, deadline=None)
@given(hazes, st.integers(0, 2**32))
def test_a_record_alone_gives_the_same_pixels_again(haze, seed):
    features = np.array(haze.beta, np.float32).tolist(), np.array(haze.atmospheric_light, np.float32).tolist()
    fields = json.loads(json.dumps(sampling.as_json_fields(haze)))
    again = sampling.from_record(haze.variant, *features, fields)
    clean, distance_m, camera = scene(30, 40, seed)
    first, second = (render.render(clean, distance_m, drawn, "srgb", camera) for drawn in (haze, again))
    np.testing.assert_array_equal(first.hazy, second.hazy)


def test_pixels_need_not_lie_in_one_piece():
    clean, distance_m, camera = scene(40, 50, 5)
    mirrored = render.render(clean[:, ::-1], distance_m[:, ::-1], PLAIN, "srgb", camera).hazy
    np.testing.assert_array_equal(mirrored[:, ::-1], render.render(clean, distance_m, PLAIN, "srgb", camera).hazy)


@pytest.mark.parametrize("fields", [{"noise_contrast": 0.5}, {"height_scale_m": 10.0}])
def test_haze_that_changes_in_space_needs_a_camera(fields):
    clean, distance_m, _ = scene(8, 8, 6)
    with pytest.raises(UsageError, match="needs the direction of each pixel's ray"):
        render.render(clean, distance_m, dataclasses.replace(PLAIN, **fields), "srgb")
