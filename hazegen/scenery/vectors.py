"""Arrays of vectors that are held component first, and their dot products."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]  # float32, wherever there are as many as pixels.
Mask = NDArray[np.bool_]


def single(values: NDArray[Any]) -> Floats:
    """The values in float32."""
    return values.astype(np.float32)


def dot(vector: Floats, parts: Floats | Sequence[Floats]) -> Floats:
    """Dot product of one vector (3,) with many (3, ...), skipping the zeros of upright faces.

    It may be a view of the parts: do not write to it.
    """
    terms = [part if scale == 1 else scale * part for scale, part in zip(vector.tolist(), parts, strict=True) if scale]
    return sum(terms[1:], start=terms[0])


def dots(first: Floats, second: Floats) -> Floats:
    """Dot product of many vectors (3, ...) with as many."""
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def like(vector: Floats, points: Floats) -> Floats:
    """One vector (3,) with the axes of the points (3, ...); many vectors as they are."""
    return vector.reshape((3,) + (1,) * (points.ndim - 1)) if vector.ndim == 1 else vector
