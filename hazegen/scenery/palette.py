"""Colours of things, as linear reflectances in [0, 1], and random choices among them."""

from collections.abc import Sequence

import numpy as np

from hazegen.scenery.vectors import Floats

Rgb = Sequence[float]
Rng = np.random.Generator
BRICKS = ((0.32, 0.12, 0.08), (0.38, 0.2, 0.13), (0.25, 0.13, 0.1), (0.45, 0.33, 0.22))
PLASTERS = ((0.62, 0.58, 0.5), (0.66, 0.56, 0.38), (0.55, 0.42, 0.33), (0.5, 0.53, 0.54), (0.68, 0.66, 0.62))
WOODS = ((0.3, 0.17, 0.08), (0.42, 0.28, 0.16), (0.16, 0.09, 0.05), (0.55, 0.43, 0.3))
CLOTHES = (
    (0.05, 0.06, 0.1),
    (0.3, 0.05, 0.05),
    (0.1, 0.16, 0.3),
    (0.4, 0.38, 0.34),
    (0.08, 0.15, 0.08),
    (0.02, 0.02, 0.02),
)
CARS = (
    (0.02, 0.02, 0.025),
    (0.5, 0.5, 0.5),
    (0.16, 0.17, 0.18),
    (0.35, 0.03, 0.03),
    (0.03, 0.07, 0.2),
    (0.6, 0.59, 0.56),
    (0.1, 0.12, 0.1),
)
GREENS = ((0.07, 0.12, 0.03), (0.1, 0.14, 0.04), (0.05, 0.09, 0.035), (0.16, 0.14, 0.04))


def pick(choices: Sequence[Rgb], rng: Rng) -> Rgb:
    """One of the colours."""
    return choices[int(rng.integers(len(choices)))]


def vary(colour: Rgb, rng: Rng, spread: float) -> Rgb:
    """The colour, lighter or darker by up to `spread`, and each part of it by a quarter of that."""
    return tuple(
        np.clip(
            np.asarray(colour) * rng.uniform(1 - spread, 1 + spread) * rng.uniform(1 - spread / 4, 1 + spread / 4, 3),
            0.005,
            0.85,
        )
    )


def as_column(colour: Rgb) -> Floats:
    """The colour as float32 (3, 1), to go with n pixels (3, n)."""
    return np.asarray(colour, np.float32)[:, None]
