"""sRGB and linear light; floats and integers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazegen import color

UNIT = st.floats(0.0, 1.0)


@given(UNIT)
def test_srgb_round_trip_both_ways(value):
    # The standard's two pieces meet within 3e-8 of each other, so near the joint a value comes back that far off.
    assert color.linear_to_srgb(color.srgb_to_linear(value)) == pytest.approx(value, abs=1e-6)
    assert color.srgb_to_linear(color.linear_to_srgb(value)) == pytest.approx(value, abs=1e-6)


@given(UNIT, UNIT)
def test_srgb_curve_rises_and_stays_in_the_unit_range(first, second):
    low, high = sorted((float(color.srgb_to_linear(first)), float(color.srgb_to_linear(second))))
    assert 0.0 <= low <= high <= 1.0
    assert color.srgb_to_linear(min(first, second)) == low


@pytest.mark.parametrize(
    ("coded", "linear"),
    [
        (0.0, 0.0),
        (1.0, 1.0),
        (0.04045, 0.04045 / 12.92),
        (0.5, 0.21404114),
        (188 / 255, 0.50288646),
        (0.02, 0.00154799),
    ],
)
def test_srgb_worked_values(coded, linear):
    assert color.srgb_to_linear(coded) == pytest.approx(linear, abs=1e-7)
    assert color.linear_to_srgb(linear) == pytest.approx(coded, abs=1e-6)


def test_every_8_bit_code_survives_float_and_linear_light():
    codes = np.arange(256, dtype=np.uint8)
    floats = color.to_float(codes)
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(color.to_uint8(floats), codes)
    np.testing.assert_array_equal(color.to_uint8(color.linear_to_srgb(color.srgb_to_linear(floats))), codes)


def test_every_16_bit_code_survives_float():
    codes = np.arange(65536).astype(np.uint16)
    np.testing.assert_array_equal(color.to_uint16(color.to_float(codes)), codes)


@pytest.mark.parametrize(("convert", "top"), [(color.to_uint8, 255), (color.to_uint16, 65535)])
def test_floats_are_rounded_and_clipped_never_truncated_or_wrapped(convert, top):
    values = np.array([-0.5, 0.0, 0.6 / top, 1.4 / top, 100.7 / top, 1.0, 1.5, np.inf])
    assert convert(values).tolist() == [0, 0, 1, 1, 101, top, top, top]


def test_numpy_tensorflow_eager_and_dataset_map_agree():
    import tensorflow as tf

    values = np.concatenate([np.linspace(0, 1, 4001), [0.04045, 0.0031308]]).astype(np.float32)
    for function in (color.srgb_to_linear, color.linear_to_srgb):
        expected = function(values)
        assert expected.dtype == np.float32
        eager = function(tf.constant(values), xp=tf)
        mapped = next(iter(tf.data.Dataset.from_tensors(values).map(lambda v, f=function: f(v, xp=tf))))
        np.testing.assert_allclose(eager.numpy(), expected, atol=1e-6)
        np.testing.assert_allclose(mapped.numpy(), expected, atol=1e-6)
