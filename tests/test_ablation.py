"""Cuts of a network's view: against loops, and what must not depend on surroundings any more."""

import numpy as np
import pytest
from aodnet_fixtures import convolve, noise, published_layers, randomised

from aodnet import ablation, model

HAZY = noise(0, 14, 17) / 255.0


def relu(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0.0)


def slow(network, *, means: bool, pointwise: bool) -> np.ndarray:
    """The cut network in float64, from the text alone."""
    layers = [(kernel.astype(np.float64), bias.astype(np.float64)) for kernel, bias in published_layers(network)]
    x1 = relu(convolve(HAZY, *layers[0]))
    x2 = relu(convolve(x1, *layers[1]))
    x3 = relu(convolve(np.concatenate([x1, x2], axis=2), *layers[2]))
    x4 = relu(convolve(np.concatenate([x2, x3], axis=2), *layers[3]))
    wide = [x2, x3, x4]
    if means:
        wide = [np.broadcast_to(x.mean(axis=(0, 1)), x.shape) for x in wide]
    kernel, bias = layers[4]
    if pointwise:
        kernel = kernel.sum(axis=(2, 3), keepdims=True)
    k = relu(convolve(np.concatenate([x1, *wide], axis=2), kernel, bias))
    return relu(k * HAZY - k + 1.0)


def run(network, hazy: np.ndarray) -> np.ndarray:
    return network(hazy[None].astype(np.float32), training=False).numpy()[0]


@pytest.mark.parametrize("filters", [3, 8])
@pytest.mark.parametrize(("means", "pointwise"), [(True, False), (False, True), (True, True), (False, False)])
def test_cut_network_against_slow_loop(means, pointwise, filters):
    network = randomised(model.build_aodnet(filters=filters), 3)
    got = run(ablation.ablated(network, means=means, pointwise=pointwise), HAZY)
    np.testing.assert_allclose(got, slow(network, means=means, pointwise=pointwise), atol=2e-4, rtol=1e-4)


def test_nothing_cut_is_the_network_itself():
    network = randomised(model.build_aodnet(), 4)
    np.testing.assert_allclose(
        run(ablation.ablated(network, means=False, pointwise=False), HAZY), run(network, HAZY), atol=1e-6
    )


def test_without_surroundings_a_pixel_is_a_function_of_its_colour_alone():
    """Pixels of one colour come out alike wherever they stand; in the whole network they do not."""
    network = randomised(model.build_aodnet(), 5)
    hazy = HAZY.copy()
    places = [(1, 2), (7, 9), (13, 16)]
    for place in places:
        hazy[place] = (0.3, 0.5, 0.4)
    spread = {
        name: np.ptp([run(cut, hazy)[place] for place in places], axis=0).max()
        for name, cut in [*ablation.variants(network), ("whole", network)]
    }
    assert spread[ablation.BOTH] < 1e-6
    assert min(spread["whole"], spread[ablation.MEANS], spread[ablation.POINTWISE]) > 1e-4


def test_network_that_looks_nowhere_loses_nothing():
    """Wide kernels of 0 but for their centres: a tone curve, as published weights are almost."""
    network = randomised(model.build_aodnet(), 6)
    for name in ("conv2", "conv3", "conv4"):
        layer = network.get_layer(name)
        layer.set_weights([np.zeros_like(layer.get_weights()[0]), layer.get_weights()[1]])
    kernel, bias = network.get_layer("k").get_weights()
    kernel[[0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0.0
    network.get_layer("k").set_weights([kernel, bias])
    for name, cut in ablation.variants(network):
        np.testing.assert_allclose(run(cut, HAZY), run(network, HAZY), atol=1e-6, err_msg=name)


def test_the_model_is_not_changed():
    network = randomised(model.build_aodnet(), 7)
    before = [values.copy() for values in network.get_weights()]
    list(ablation.variants(network))
    for a, b in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
