"""The network is the paper's: its parameters, its field of view, its start, and what it computes."""

import itertools

import keras
import numpy as np
import pytest
from aodnet_fixtures import published_layers, randomised, slow_aodnet
from hypothesis import given, settings
from hypothesis import strategies as st

from aodnet import model
from hazegen.errors import UsageError


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return randomised(model.build_aodnet(), 1)


def restore(network: keras.Model, hazy: np.ndarray) -> np.ndarray:
    return network(hazy[None].astype(np.float32), training=False)[0].numpy()


def test_parameters_are_the_papers():
    network = model.build_aodnet()
    assert network.count_params() == model.PARAMETERS == 1761
    assert len(network.non_trainable_variables) == 0


def test_layer_shapes_are_the_papers():
    shapes = [tuple(layer.kernel.shape) for layer in model.convolutions(model.build_aodnet())]
    assert shapes == [(1, 1, 3, 3), (3, 3, 3, 3), (5, 5, 6, 3), (7, 7, 6, 3), (3, 3, 12, 3)]
    assert all(layer.use_bias for layer in model.convolutions(model.build_aodnet()))


def test_agrees_with_slow_loop(network):
    hazy = np.random.default_rng(0).uniform(size=(17, 21, 3)).astype(np.float32)
    expected = slow_aodnet(hazy.astype(np.float64), published_layers(network))
    assert expected.std() > 0.05  # not a constant that any network would reach
    np.testing.assert_allclose(restore(network, hazy), expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_slow_loop_for_other_weights(seed):
    network = randomised(model.build_aodnet(), 10 + seed)
    hazy = np.random.default_rng(seed).uniform(size=(9, 8, 3)).astype(np.float32)
    expected = slow_aodnet(hazy.astype(np.float64), published_layers(network))
    np.testing.assert_allclose(restore(network, hazy), expected, atol=1e-5)


def test_output_is_not_clipped_above_one_and_never_below_zero(network):
    values = restore(network, np.random.default_rng(3).uniform(-2.0, 3.0, size=(30, 30, 3)))
    assert values.max() > 1.0
    assert values.min() == 0.0


@settings(max_examples=15)
@given(height=st.integers(1, 40), width=st.integers(1, 40), batch=st.integers(1, 3))
def test_any_height_and_width(network, height, width, batch):
    hazy = np.full((batch, height, width, 3), 0.5, np.float32)
    assert network(hazy).shape == (batch, height, width, 3)


def test_receptive_field_is_15(network):
    """One pixel changes the output up to 7 pixels away, in each direction, and not one further."""
    rng = np.random.default_rng(5)
    # All biases high, so that no ReLU cuts the way of the change.
    for layer in model.convolutions(network):
        kernel, bias = layer.get_weights()
        layer.set_weights([np.abs(kernel), np.abs(bias) + 0.1])
    hazy = rng.uniform(0.3, 0.6, size=(41, 41, 3)).astype(np.float32)
    changed = hazy.copy()
    changed[20, 20] += 0.3
    k = model.with_k(network)
    difference = np.abs(k(changed[None])[1][0].numpy() - k(hazy[None])[1][0].numpy()).max(axis=2)
    rows, columns = np.nonzero(difference)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (13, 27, 13, 27)
    assert difference[13, 13] > 0
    assert difference[27, 27] > 0
    assert model.MARGIN == 7


def test_with_k_gives_the_k_that_makes_the_output(network):
    hazy = np.random.default_rng(6).uniform(size=(1, 20, 20, 3)).astype(np.float32)
    clean, k = (values.numpy() for values in model.with_k(network)(hazy))
    np.testing.assert_array_equal(clean, network(hazy).numpy())
    np.testing.assert_allclose(clean, np.maximum(k * hazy - k + 1.0, 0.0), atol=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 17, 123456])
def test_starts_as_the_identity(seed):
    """K starts near 1 at every pixel, so the output starts near the input, whatever the seed."""
    network = model.with_k(model.build_aodnet(seed))
    hazy = np.random.default_rng(seed).uniform(size=(1, 48, 48, 3)).astype(np.float32)
    clean, k = (values.numpy() for values in network(hazy))
    assert np.abs(k - 1.0).max() < 0.35
    assert abs(k.mean() - 1.0) < 0.1
    assert np.abs(clean - hazy).mean() < 0.05


def test_same_seed_same_start_and_another_seed_another():
    first, again, other = (model.build_aodnet(seed).get_weights() for seed in (4, 4, 5))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_names_do_not_count_the_networks_of_a_process():
    """TensorFlow orders the graph by names: with counted ones, a later run would differ in its last bits."""
    first, second = ([layer.name for layer in model.build_aodnet().layers] for _ in range(2))
    assert first == second


def test_no_two_layers_start_alike():
    kernels = [layer.get_weights()[0].ravel() for layer in model.convolutions(model.build_aodnet(0))]
    assert not any(np.array_equal(a[:9], b[:9]) for a, b in itertools.pairwise(kernels))


# --- wider ones ---


@pytest.mark.parametrize(("filters", "parameters"), [(1, 275), (3, 1761), (8, 10971), (16, 42035), (32, 164451)])
def test_filters_decide_the_parameters(filters, parameters):
    network = model.build_aodnet(filters=filters)
    assert network.count_params() == parameters
    assert [layer.filters for layer in model.convolutions(network)] == [filters] * 4 + [3]


def test_default_is_three_filters_to_the_bit():
    default, three = model.build_aodnet(7).get_weights(), model.build_aodnet(7, filters=3).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(default, three, strict=True))
    # of the network before it could be wider
    assert default[0].ravel()[0] == np.float32(-0.48433217)


@pytest.mark.parametrize("filters", [8, 16, 32])
def test_wider_network_starts_as_the_identity(filters):
    hazy = np.random.default_rng(filters).uniform(size=(1, 32, 33, 3)).astype(np.float32)
    clean, k = (values.numpy() for values in model.with_k(model.build_aodnet(2, filters))(hazy))
    assert clean.shape == hazy.shape
    assert np.abs(k - 1.0).max() < 0.5
    assert np.abs(clean - hazy).mean() < 0.06


def test_wider_network_agrees_with_slow_loop():
    network = randomised(model.build_aodnet(filters=8), 3)
    hazy = np.random.default_rng(4).uniform(size=(9, 8, 3)).astype(np.float32)
    expected = slow_aodnet(hazy.astype(np.float64), published_layers(network))
    assert expected.std() > 0.01
    np.testing.assert_allclose(restore(network, hazy), expected, atol=1e-4)


@pytest.mark.parametrize("filters", [0, -1, 257])
def test_filters_out_of_range(filters):
    with pytest.raises(UsageError, match=rf"filters is out of range. Expected 1 to 256, received {filters}\."):
        model.build_aodnet(filters=filters)
