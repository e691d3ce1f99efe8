"""The pictures of an evaluation: some inputs beside what each method makes of them."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from aodnet import metrics
from aodnet.pairs import Pair, Picture

Pixels = NDArray[np.uint8]
Method = Callable[[Pixels], Pixels]

WIDTH, GAP, CAPTION = 280, 4, 18


def strip(rows: Mapping[str, Picture], methods: Mapping[str, Method]) -> Pixels:
    """One row for each picture: every method on it, and the clean image where there is one; captions with PSNR.

    Args:
        rows: Pictures by what they are, as 'best'.
    """
    made = [_row(rank, picture, methods) for rank, picture in rows.items()]
    width = max(row.shape[1] for row in made)
    return np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in made])


def _row(rank: str, picture: Picture, methods: Mapping[str, Method]) -> Pixels:
    restored = {name: method(picture.hazy) for name, method in methods.items()}
    if not isinstance(picture, Pair):
        tiles = [tile(pixels, name) for name, pixels in restored.items()]
        return np.hstack([tile(picture.hazy, f"{rank}: {picture.name}"), *tiles[1:]])
    scored = {name: metrics.psnr(pixels, picture.clean, data_range=255.0) for name, pixels in restored.items()}
    tiles = [tile(pixels, f"{name} {scored[name]:.2f} dB") for name, pixels in restored.items()]
    return np.hstack([*tiles, tile(picture.clean, f"clean ({rank}: {picture.name})")])


def tile(pixels: Pixels, caption: str) -> Pixels:
    """A picture of one width below its caption."""
    height = max(1, round(pixels.shape[0] * WIDTH / pixels.shape[1]))
    canvas = Image.new("RGB", (WIDTH + GAP, height + CAPTION + 2), "white")
    canvas.paste(Image.fromarray(pixels).resize((WIDTH, height), Image.Resampling.BOX), (0, CAPTION))
    font = ImageFont.load_default(11)
    ImageDraw.Draw(canvas).text((2, 2), _fitted(caption, font), "black", font)
    return np.asarray(canvas, np.uint8)


def _fitted(caption: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The caption, cut in its middle where it is too long for a tile."""
    text, cut = caption, caption
    while font.getlength(text) > WIDTH - 4 and len(cut) > 8:
        middle = len(cut) // 2
        cut = cut[:middle] + cut[middle + 1 :]
        text = f"{cut[: len(cut) // 2]}...{cut[len(cut) // 2 :]}"
    return text
