"""Training losses: weighted sums of L2, L1 and 1 - SSIM."""

import math

import tensorflow as tf

from hazegen.errors import UsageError


def l2(clean: tf.Tensor, restored: tf.Tensor) -> tf.Tensor:
    """Mean squared error, the loss of the AOD-Net paper."""
    return tf.reduce_mean(tf.square(restored - clean))


def l1(clean: tf.Tensor, restored: tf.Tensor) -> tf.Tensor:
    """Mean absolute error."""
    return tf.reduce_mean(tf.abs(restored - clean))


def ssim(clean: tf.Tensor, restored: tf.Tensor) -> tf.Tensor:
    """1 - SSIM, for images in [0, 1] of at least 11 x 11 pixels."""
    return 1.0 - tf.reduce_mean(tf.image.ssim(clean, restored, max_val=1.0))


TERMS = {"l2": l2, "l1": l1, "ssim": ssim}


def parse_loss(text: str) -> dict[str, float]:
    """Weights of the terms from text as 'l2' or 'l1=0.8, ssim=0.2'.

    Raises:
        UsageError: An unknown term, a weight that is not above 0, or the same term twice.
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        try:
            value = float(weight or 1.0)
        except ValueError:
            value = 0.0
        if name.strip() not in TERMS or not 0.0 < value < math.inf or name.strip() in weights:
            raise UsageError(
                f"The loss cannot be read. Expected terms among {', '.join(TERMS)} with weights above 0, as "
                f"'l1=0.8, ssim=0.2', received '{text}'. Correct --loss."
            )
        weights[name.strip()] = value
    return weights


def total(weights: dict[str, float], clean: tf.Tensor, restored: tf.Tensor) -> tf.Tensor:
    """The weighted sum of the terms, a scalar."""
    return tf.add_n([weight * TERMS[name](clean, restored) for name, weight in weights.items()])
