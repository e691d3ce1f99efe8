"""The pictures of an evaluation: some inputs beside what each method makes of them."""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from aodnet import metrics, sheets
from aodnet.pairs import Pair, Picture
from aodnet.sheets import CAPTION, CLEAN, GAP, WIDTH
from hazegen import html

Pixels = NDArray[np.uint8]
Method = Callable[[Pixels], Pixels]

# At 11 px the spaces of Pillow's font are all but closed.
FONT_PX = 13
# Width of the pictures of a report [px], at most.
LARGEST = 640
# Images of the lowest scores that are named.
WORST = 5


@dataclass
class Shown:
    """The images that the strip will show, as they are met.

    Attributes:
        method, metric: What ranks them, by number.
        ranked: The lowest and the highest so far, each with its value.
        worst: Values and names of the lowest, negated, the least negative last to leave.
    """

    method: int
    metric: int
    ranked: dict[str, tuple[float, Picture]] = field(default_factory=dict)
    worst: list[tuple[float, str]] = field(default_factory=list)

    def add(self, picture: Picture, values: NDArray[np.float64]) -> None:
        """Keeps an image if it is one of them."""
        value = float(values[self.method, self.metric])
        if "lowest" not in self.ranked or value < self.ranked["lowest"][0]:
            self.ranked["lowest"] = value, picture
        if "highest" not in self.ranked or value >= self.ranked["highest"][0]:
            self.ranked["highest"] = value, picture
        heapq.heappush(self.worst, (-value, picture.name))
        if len(self.worst) > WORST:
            heapq.heappop(self.worst)

    def rows(self, middle: Picture) -> dict[str, Picture]:
        """Pictures by what they are, each once. Without clean ones the haze of the hazy pictures has ranked them."""
        low, high = (self.ranked[end][1] for end in ("lowest", "highest"))
        rows = {"best": high, "median": middle, "worst": low}
        if not isinstance(middle, Pair):
            rows = {"least haze": low, "median": middle, "most haze": high}
        shown: dict[str, tuple[str, Picture]] = {}
        for rank, picture in rows.items():
            before = f"{shown[picture.name][0]}, " if picture.name in shown else ""
            shown[picture.name] = f"{before}{rank}", picture
        return dict(shown.values())


def strip(rows: Mapping[str, Picture], methods: Mapping[str, Method]) -> tuple[Pixels, tuple[sheets.Shown, ...]]:
    """One row for each picture: every method on it, and the clean image where there is one; captions with PSNR.

    Args:
        rows: Pictures by what they are, as 'best'.

    Returns:
        The strip, and the same pictures one by one, no wider than LARGEST.
    """
    drawn = [_row(rank, picture, methods) for rank, picture in rows.items()]
    made = [row for row, _ in drawn]
    width = max(row.shape[1] for row in made)
    whole = np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in made])
    return whole, tuple(shown for _, shown in drawn)


def _row(rank: str, picture: Picture, methods: Mapping[str, Method]) -> tuple[Pixels, sheets.Shown]:
    pictures = {name: method(picture.hazy) for name, method in methods.items()}
    psnr: dict[str, float | None] = dict.fromkeys(pictures)
    if isinstance(picture, Pair):
        scored = {name: metrics.psnr(pixels, picture.clean, data_range=255.0) for name, pixels in pictures.items()}
        captions = [f"{name} {scored[name]:.2f} dB" for name in pictures]
        captions = [f"{rank}: {captions[0]}", *captions[1:], f"clean ({picture.name})"]
        pictures |= {CLEAN: picture.clean}
        psnr = {**scored, CLEAN: None}
    else:
        captions = [f"{rank}: {picture.name}", *list(pictures)[1:]]
    tiles = [tile(pixels, caption) for caption, pixels in zip(captions, pictures.values(), strict=True)]
    row = sheets.Row(picture.name, sheets.tile_height(picture.hazy), tuple(psnr.items()), rank)
    return np.hstack(tiles), sheets.Shown(row, tuple(html.shrink(pixels, LARGEST) for pixels in pictures.values()))


def tile(pixels: Pixels, caption: str) -> Pixels:
    """A picture of one width below its caption."""
    height = max(1, round(pixels.shape[0] * WIDTH / pixels.shape[1]))
    canvas = Image.new("RGB", (WIDTH + GAP, height + CAPTION + 2), "white")
    canvas.paste(Image.fromarray(pixels).resize((WIDTH, height), Image.Resampling.BOX), (0, CAPTION))
    font = ImageFont.load_default(FONT_PX)
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
