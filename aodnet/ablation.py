"""Does the network look at its surroundings? The same weights without them, and what that costs.

AOD-Net sees 15 x 15 pixels around each one, yet published weights score as well as a tone curve. Two cuts
tell: the features of the larger windows x2 to x4 replaced by their means over the picture, and the last
convolution collapsed to one pixel (the sum of its kernel). With both, each pixel's K is a function of its
own colour and of means alone.
"""

from collections.abc import Iterator

import keras
import numpy as np

from aodnet.measures import BOTH, MEANS, POINTWISE
from aodnet.model import CleanImage


class SpatialMean(keras.layers.Layer):
    """Each channel's mean over the picture, at every pixel."""

    def call(self, features: keras.KerasTensor) -> keras.KerasTensor:
        mean = keras.ops.mean(features, axis=(1, 2), keepdims=True)
        return mean + keras.ops.zeros_like(features)


def ablated(model: keras.Model, *, means: bool, pointwise: bool) -> keras.Model:
    """The network with its own weights, less one or both of its ways to see surroundings.

    Args:
        model: AOD-Net of any number of filters; it is not changed.
        means: Replace x2, x3 and x4 by their means over the picture, where K is computed from them. A picture
            has to go through in one piece.
        pointwise: Replace the last kernel by one of 1 x 1, its sum over places. That alone is exact where its inputs
            are constant.
    """
    features = [model.get_layer(f"conv{number}").output for number in (1, 2, 3, 4)]
    if means:
        features[1:] = [SpatialMean(name=f"mean{number}")(x) for number, x in enumerate(features[1:], start=2)]
    kernel, bias = model.get_layer("k").get_weights()
    if pointwise:
        kernel = kernel.sum(axis=(0, 1), keepdims=True, dtype=np.float32)
    convolution = keras.layers.Conv2D(len(bias), kernel.shape[0], padding="same", activation="relu", name="k_without")
    k = convolution(keras.layers.Concatenate(name="concat_without")(features))
    convolution.set_weights([kernel, bias])
    return keras.Model(model.input, CleanImage(name="clean_without")(k, model.input), name="aodnet_without")


def variants(model: keras.Model) -> Iterator[tuple[str, keras.Model]]:
    """The three cuts, by their names."""
    yield MEANS, ablated(model, means=True, pointwise=False)
    yield POINTWISE, ablated(model, means=False, pointwise=True)
    yield BOTH, ablated(model, means=True, pointwise=True)
