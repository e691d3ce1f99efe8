"""Pictures with boxes: which objects agree with those of the clean picture, which do not, and which are missed."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from aodnet.boxes import Boxes
from hazegen.progress import counted

Color = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom

# Larger pictures are shrunk, narrower ones enlarged, so that the words stay legible [px].
WIDEST, HIGHEST, NARROWEST = 760, 760, 420
FONT_PX, CAPTION_PX, TITLE_PX = 13, 22, 26
# Colours that colour-blind people tell apart (after Okabe and Ito); a sign and dashes say the same without colour.
CLEAN, AGREES, EXTRA, MISSED = (20, 90, 230), (0, 130, 95), (213, 94, 0), (0, 0, 0)
LEGEND = (
    "blue: in the clean picture, or nothing to compare with; green: agrees with it; orange, with +: does not; "
    "dashes: missed"
)
_DASH_PX = 5


@dataclass(frozen=True)
class Seen:
    """One version of a picture with what was found in it.

    Attributes:
        version: 'hazy', a method's name, or 'clean'.
        found: The boxes in it.
        partners: For each the box of the clean picture that it agrees with, or -1; None without a clean picture.
        clean: The boxes of the clean picture; None without one.
    """

    version: str
    pixels: NDArray[np.uint8]
    found: Boxes
    partners: NDArray[np.int64] | None
    clean: Boxes | None

    @property
    def agreed(self) -> int | None:
        """How many boxes agree with one of the clean picture's."""
        return None if self.partners is None else int(np.count_nonzero(self.partners >= 0))


def tile(seen: Seen, names: tuple[str, ...]) -> NDArray[np.uint8]:
    """One version under its caption: every box with class and confidence, and the clean picture's that it lacks."""
    height, width = seen.pixels.shape[:2]
    factor = min(WIDEST / width, HIGHEST / height, max(1.0, NARROWEST / width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    # Averages where it shrinks; nearest neighbours would draw what no detector saw.
    resized = cv2.resize(seen.pixels, size, interpolation=cv2.INTER_AREA if factor < 1.0 else cv2.INTER_CUBIC)
    canvas = Image.new("RGB", (max(size[0], NARROWEST), size[1] + CAPTION_PX), "white")
    canvas.paste(Image.fromarray(np.asarray(resized, np.uint8)), (0, CAPTION_PX))
    draw = ImageDraw.Draw(canvas)
    draw.text((3, 3), _printable(_caption(seen)), "black", ImageFont.load_default(FONT_PX))
    shift, taken = np.array([0, CAPTION_PX, 0, CAPTION_PX], np.float64), list[Rectangle]()
    if seen.clean is not None and seen.partners is not None:
        for number in np.setdiff1d(np.arange(len(seen.clean)), seen.partners):
            _dashes(draw, seen.clean.corners[number] * factor + shift)
    # All lines before the first word, so that none runs through it.
    drawn = [(corners * factor + shift, _color(seen, number)) for number, corners in enumerate(seen.found.corners)]
    for corners, color in drawn:
        _outline(draw, corners, color, 2)
    for (corners, color), number, score in zip(drawn, seen.found.classes, seen.found.scores, strict=True):
        sign = "+ " if color == EXTRA else ""
        taken.append(_label(draw, f"{sign}{names[number]} {score:.2f}", corners, color, taken))
    return np.asarray(canvas, np.uint8)


def _color(seen: Seen, number: int) -> Color:
    if seen.version == "clean" or seen.partners is None:
        return CLEAN
    return AGREES if seen.partners[number] >= 0 else EXTRA


def _caption(seen: Seen) -> str:
    objects = counted(len(seen.found), "object")
    if seen.version == "clean" or seen.clean is None or seen.agreed is None:
        return f"{seen.version}: {objects}"
    wrong = len(seen.found) - seen.agreed
    return f"{seen.version}: {objects}, {seen.agreed} of the clean one's {len(seen.clean)}, {wrong} more"


def _outline(draw: ImageDraw.ImageDraw, corners: NDArray[np.float64], color: Color, width: int) -> None:
    draw.rectangle(_inside(corners), outline=color, width=width)


def _dashes(draw: ImageDraw.ImageDraw, corners: NDArray[np.float64]) -> None:
    """Black on white, so that they are seen on any picture."""
    left, top, right, bottom = _inside(corners)
    draw.rectangle((left, top, right, bottom), outline="white")
    for x in np.arange(left, right, 2 * _DASH_PX).tolist():
        for y in (top, bottom):
            draw.line((x, y, min(x + _DASH_PX - 1, right), y), MISSED)
    for y in np.arange(top, bottom, 2 * _DASH_PX).tolist():
        for x in (left, right):
            draw.line((x, y, x, min(y + _DASH_PX - 1, bottom)), MISSED)


def _inside(corners: NDArray[np.float64]) -> Rectangle:
    """The last pixels that a box holds."""
    left, top, right, bottom = (float(value) for value in corners)
    return left, top, max(right - 1.0, left), max(bottom - 1.0, top)


def _label(
    draw: ImageDraw.ImageDraw, text: str, corners: NDArray[np.float64], color: Color, taken: list[Rectangle]
) -> Rectangle:
    """Writes a label above, in or below its box, where it hides none that is there already, and returns its place."""
    font, high = ImageFont.load_default(FONT_PX), FONT_PX + 4
    long, right, lowest = draw.textlength(text, font) + 4, draw.im.size[0], draw.im.size[1] - high
    lefts = [max(0.0, min(float(x), right - long)) for x in (corners[0], corners[2] - long)]
    tops = [float(y) for y in (corners[1] - high, corners[1], corners[3]) if CAPTION_PX <= y <= lowest] or [CAPTION_PX]
    places = [(x, y, x + long, y + high) for y in tops for x in lefts]
    place = next((place for place in places if not any(_meet(place, other) for other in taken)), places[0])
    draw.rectangle(place, fill=color)
    draw.text((place[0] + 2, place[1]), text, "white", font)
    return place


def _meet(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def row(title: str, tiles: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Tiles of equal size side by side under a title."""
    gap = np.full((tiles[0].shape[0], 6, 3), 255, np.uint8)
    body = np.hstack([part for one in tiles for part in (one, gap)])
    return np.vstack([_line(title, body.shape[1]), body])


def sheet(rows: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Rows below each other, the legend on top."""
    width = max(one.shape[1] for one in rows)
    padded = [np.pad(one, ((0, 8), (0, width - one.shape[1]), (0, 0)), constant_values=255) for one in rows]
    return np.vstack([_line(LEGEND, width), *padded])


def _line(text: str, width: int) -> NDArray[np.uint8]:
    line = Image.new("RGB", (width, TITLE_PX), "white")
    ImageDraw.Draw(line).text((3, 4), _printable(text), "black", ImageFont.load_default(FONT_PX + 2))
    return np.asarray(line, np.uint8)


def _printable(text: str) -> str:
    """Names of files may hold bytes that are no text."""
    return text.encode("utf-8", "replace").decode("utf-8")
