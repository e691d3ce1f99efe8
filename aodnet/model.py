"""AOD-Net: five small convolutions that estimate K, and one line that applies it.

References:
    Li, Peng, Wang, Xu, Feng, "AOD-Net: All-in-One Dehazing Network", ICCV 2017, arXiv 1707.06543.
"""

import keras

from hazegen.errors import UsageError

# Parameters of the published network: 12 + 84 + 453 + 885 + 327.
PARAMETERS = 1761
# Half of the receptive field of 15 pixels, (1 + 3 + 5 + 7 + 3 - 4 - 1) / 2: what a tile needs around it.
MARGIN = 7
BIAS = 1.0  # b in Eq. 4 of the paper
# Far beyond any use: 256 filters have 10 million parameters.
MAX_FILTERS = 256


def build_aodnet(seed: int = 0, filters: int = 3) -> keras.Model:
    """The network of the paper, for pictures of any height and width.

    Input: hazy image I, (batch, height, width, 3), sRGB-coded in [0, 1], in the order R, G, B.
    Output: restored image J = ReLU(K I - K + b), same shape; it may exceed 1.

    Starts as the identity: with the usual Gaussian start some seeds give K = 0 everywhere, and since
    K >= 0 (it ends in a ReLU) such a network puts out b for every pixel and never learns. Here the
    kernel of K's layer starts near 0 and its bias at 1, so K starts near 1 and J near I.

    Args:
        seed: Decides the initial weights.
        filters: Of each of the first four convolutions: 3 is the paper's network; 8, 16 and 32 are wider ones
            (10,971, 42,035 and 164,451 parameters), which see no further.

    Raises:
        UsageError: `filters` is below 1 or above MAX_FILTERS.
    """
    if not 1 <= filters <= MAX_FILTERS:
        raise UsageError(
            f"filters is out of range. Expected 1 to {MAX_FILTERS}, received {filters}. Choose 3, the paper's network."
        )
    hazy = keras.Input((None, None, 3), name="hazy")
    # Every layer has a name of its own: automatic ones count up within a process, and with them the order
    # in which TensorFlow adds gradients, so that a second run in a process would differ in its last bits.
    # Kernels of 1, 3, 5, 7, 3, joined across the layers.
    x1 = _convolution(hazy, 1, 1, seed, filters)
    x2 = _convolution(x1, 3, 2, seed, filters)
    x3 = _convolution(_join("concat1", x1, x2), 5, 3, seed, filters)
    x4 = _convolution(_join("concat2", x2, x3), 7, 4, seed, filters)
    k = keras.layers.Conv2D(
        3,
        3,
        padding="same",
        activation="relu",
        # of the same variance whatever the number of inputs
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01 * (3 / filters) ** 0.5, seed=seed + 5),
        bias_initializer="ones",
        name="k",
    )(_join("concat3", x1, x2, x3, x4))
    return keras.Model(hazy, CleanImage(name="clean")(k, hazy), name="aodnet")


class CleanImage(keras.layers.Layer):
    """The clean image from K and the hazy image: J(x) = ReLU(K(x) I(x) - K(x) + b), Eq. 4 of the paper."""

    def call(self, k: keras.KerasTensor, hazy: keras.KerasTensor) -> keras.KerasTensor:
        return keras.ops.relu(k * hazy - k + BIAS)


def with_k(model: keras.Model) -> keras.Model:
    """The same network (shared weights) that puts out the restored image and K."""
    return keras.Model(model.input, [model.output, model.get_layer("k").output], name="aodnet_with_k")


def convolutions(model: keras.Model) -> list[keras.layers.Layer]:
    """The five convolutions, in the paper's order."""
    return [model.get_layer(name) for name in ("conv1", "conv2", "conv3", "conv4", "k")]


def _join(name: str, *features: keras.KerasTensor) -> keras.KerasTensor:
    return keras.layers.Concatenate(name=name)(list(features))


def _convolution(features: keras.KerasTensor, size: int, number: int, seed: int, filters: int) -> keras.KerasTensor:
    return keras.layers.Conv2D(
        filters,
        size,
        padding="same",
        activation="relu",
        kernel_initializer=keras.initializers.HeNormal(seed=seed + number),
        name=f"conv{number}",
    )(features)
