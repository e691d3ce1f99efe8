"""Trained weights as a function of pictures in memory, as aodnet.load: what aodnet predict does, without files."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aodnet import quiet, weight_names
from aodnet.tiles import Restorer
from hazegen.errors import RefusedError
from hazegen.images import Pixels

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Dehazer:
    """AOD-Net with its weights; calling it with a hazy picture gives the restored one.

    Attributes:
        model: The Keras model: (count, height, width, 3) float32, RGB, sRGB-coded in [0, 1], to the same.
        name: Of the weights.
    """

    model: "keras.Model"
    name: str
    _restore: Restorer

    def __call__(self, image: NDArray[Any]) -> Pixels:
        """The restored picture, byte for byte what `aodnet predict` writes for it.

        J = ReLU(K I - K + 1), clipped to [0, 1] and rounded. Large pictures go through in tiles that overlap.

        Args:
            image: I, sRGB-coded, of uint8 or uint16: (height, width, 3) in the order R, G, B, or with alpha,
                which is kept, or grey (height, width), which stays grey.

        Returns:
            J, a new array of the image's shape and dtype.

        Raises:
            RefusedError: Another type or shape.
        """
        from aodnet.predict import restore_picture

        pixels = np.asarray(image)
        if pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,), (4,)) or not pixels.size:
            raise RefusedError(
                "The image has another shape. Expected (height, width, 3), or 4 channels, or none of grey, received "
                f"{pixels.shape}. Give one picture at a time, with its channels at the end."
            )
        if pixels.dtype not in (np.uint8, np.uint16):
            raise RefusedError(
                f"The image has another type. Expected uint8 or uint16, received {pixels.dtype}. Convert floats in "
                "[0, 1] by np.rint(image * 255).astype(np.uint8), or call `model` with a batch of them."
            )
        return restore_picture(self._restore, pixels, "image")

    def __repr__(self) -> str:
        return f"Dehazer({self.name!r}, {self.model.count_params():,} parameters)"


def load(model: str | Path = weight_names.DEFAULT) -> Dehazer:
    """AOD-Net with trained weights, ready for pictures.

    Imports TensorFlow, which takes seconds, the first time.

    Args:
        model: Weights that come with the package, by name, or a .weights.h5 file, such as the best.weights.h5 of a
            training run.

    Returns:
        A function from hazy to restored pictures; its `model` is the Keras model.

    Raises:
        RefusedError: Neither a file nor a name, or a file that holds no finite weights of AOD-Net.

    Example:
        >>> import aodnet, hazegen, numpy as np
        >>> net = aodnet.load()
        >>> net
        Dehazer('rooms', 1,761 parameters)
        >>> clean = np.random.default_rng(0).integers(0, 200, (48, 64, 3), np.uint8)
        >>> hazy = hazegen.add_haze(clean, distance_m=np.full((48, 64), 50.0), visibility_m=100)
        >>> restored = net(hazy)
        >>> restored.shape, restored.dtype
        ((48, 64, 3), dtype('uint8'))
        >>> net.model.count_params()
        1761
    """
    path = weight_names.find_weights(str(model))
    quiet.load_tensorflow()
    from aodnet import runtimes, weights

    network: Any = weights.load(path)
    return Dehazer(network, str(model), Restorer(runtimes.keras_call(network)))
