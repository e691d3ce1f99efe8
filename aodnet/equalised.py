"""The same network with features of equal range, so that integers of 8 bits lose less of them.

An integer format has one step for all channels of a tensor, and one for all that is joined to it: where one channel
reaches 9 and another 0.7, the lesser one is left with 20 of the 256 steps. ReLU(s x) = s ReLU(x) for s > 0, so a
channel may be divided by its range where it is made, if what sees it multiplies it again: the function stays the same.

References:
    Nagel, van Baalen, Blankevoort, Welling, "Data-Free Quantization Through Weight Equalization and Bias Correction",
    ICCV 2019: scaling across layers; here by ranges that pictures show.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aodnet.exported import INPUT, LAYERS
from aodnet.model import build_aodnet, convolutions

if TYPE_CHECKING:
    import keras

# Of the widest channel of a layer: a channel that these pictures hardly show may reach further in others.
LEAST_SHARE = 1.0 / 32.0


def equalised(model: "keras.Model", pictures: Sequence[NDArray[np.float32]]) -> "keras.Model":
    """A copy of AOD-Net that puts out the same, whose channels before K reach 1 at most on `pictures`.

    Args:
        model: The network; it is not changed.
        pictures: Hazy pictures (height, width, 3) in [0, 1].
    """
    scales = {INPUT: np.ones(3), LAYERS[-1][0]: np.ones(3), **_scales(model, pictures)}
    weights = []
    for (name, _, seen), layer in zip(LAYERS, convolutions(model), strict=True):
        kernel, bias = layer.get_weights()
        before = np.concatenate([scales[one] for one in seen])
        weights += [kernel / before[:, None] * scales[name], bias * scales[name]]
    copy = build_aodnet(filters=model.get_layer(LAYERS[0][0]).filters)
    copy.set_weights([one.astype(np.float32) for one in weights])
    return copy


def _scales(model: "keras.Model", pictures: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
    """What each channel of each layer before K is multiplied with."""
    import keras

    names = [name for name, _, _ in LAYERS[:-1]]
    features = keras.Model(model.input, [model.get_layer(name).output for name in names])
    reach = [np.zeros(1)] * len(names)
    for hazy in pictures:
        found = [np.asarray(one)[0].max(axis=(0, 1)) for one in features(hazy[None])]
        reach = [np.maximum(before, here) for before, here in zip(reach, found, strict=True)]
    return {name: 1.0 / _at_least(highest) for name, highest in zip(names, reach, strict=True)}


def _at_least(highest: NDArray[np.float64]) -> NDArray[np.float64]:
    """The reach of each channel, of one that is all but dead a share of the widest one's; 1 where all are dead."""
    widest = float(highest.max())
    return np.maximum(np.float64(highest), LEAST_SHARE * widest) if widest > 0.0 else np.ones(highest.shape)
