"""Pictures of any size through a network in tiles that overlap by its receptive field."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Half of the receptive field of 15 pixels (model.MARGIN, which a test holds this against): a tile's rim of this
# width is not what the network makes of the whole picture, wherever the tile ends inside the picture.
MARGIN = 7
# Height and width of a tile, rim included. Tiles of 128, 256, 512 and 1024 took 2.0, 1.5, 1.1 and 0.92 s for
# 3840 x 2160, which took 0.88 s in one piece, on two cores. oneDNN takes another kernel, which rounds otherwise, for
# widths that leave 1 or 2 over a multiple of 30 (AVX512; of 5x5 and 7x7): 1050 leaves nothing over 30, 14 and 15.
PATCH = (1050, 1050)

Pixels = NDArray[Any]
Call = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Restorer:
    """From hazy to restored pixels, float32 (height, width, 3) in [0, 1], of any size.

    Attributes:
        call: The network on one picture in one piece; its output may exceed 1.
        patch: Height and width of the tiles: all that a network of fixed size can take.
    """

    call: Call
    patch: tuple[int, int] = PATCH

    def __call__(self, hazy: NDArray[np.float32]) -> NDArray[np.float32]:
        return apply(lambda tile: np.clip(self.call(tile), 0.0, 1.0), hazy, np.empty_like(hazy), self.patch)


def apply(function: Callable[[Pixels], Pixels], pixels: Pixels, out: Pixels, patch: tuple[int, int] = PATCH) -> Pixels:
    """`function` of `pixels`, tile by tile: what it gives for the picture in one piece.

    All tiles of a picture have one size: the last ones reach back further over their neighbours.

    Args:
        function: From a tile to a tile of the same height and width; looks at most MARGIN pixels far.
        pixels: (height, width) or (height, width, channels).
        out: Where the result goes, of the same height and width; may be `pixels` itself, so that a large picture
            is in memory once.
        patch: Height and width of the tiles, above 2 MARGIN where the picture is larger.

    Returns:
        `out`.
    """
    height, width = pixels.shape[:2]
    band, begun = pixels[:0], 0  # rows as they were: `out` may have replaced them
    for top in starts(height, patch[0]):
        bottom = min(top + patch[0], height)
        band = np.concatenate([band[top - begun :], pixels[begun + len(band) : bottom]])
        begun = top
        for left in starts(width, patch[1]):
            right = min(left + patch[1], width)
            result = function(band[:, left:right])
            rows, columns = _inner(top, bottom, height), _inner(left, right, width)
            inner = result[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
            out[rows, columns] = inner
    return out


def starts(length: int, patch: int) -> list[int]:
    """Where the tiles of one axis begin."""
    if length <= patch:
        return [0]
    return [*range(0, length - patch, patch - 2 * MARGIN), length - patch]


def _inner(start: int, stop: int, length: int) -> slice:
    """The part of a tile that does not feel its rim: the picture's own edges are no rim."""
    return slice(start + MARGIN if start > 0 else 0, stop - MARGIN if stop < length else length)
