"""Whether two pictures show the same scene, pixel on pixel, and what their files have lost."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]

# Size at which structure is compared [px]: haze, noise and JPEG change it little there.
WIDE = 160
THUMB = (48, 36)
SMALLEST_PX = 16
# Shifts and blocks are looked for in the middle of the picture alone.
MOST_PX = 1024
# Least spread of a picture's fine structure, in sRGB-coded values of 1, that can be compared: a third of a code.
FAINTEST = 0.3 / 255.0
# Correlation of structure above which two pictures are the same one; a turned or other one must win by GAIN.
ALIKE, UNLIKE, GAIN = 0.6, 0.3, 0.2
# Luminance table of quality 50: ITU-T T.81, table K.1, of which libjpeg scales every other quality.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29)
    + (51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121)
    + (120, 101, 72, 92, 95, 98, 112, 100, 103, 99)
)  # fmt: skip
FLIPS = {"left to right": 1, "top to bottom": 0, "by 180 degrees": -1}


@dataclass(frozen=True)
class Match:
    """How a hazy picture lies on its clean one.

    Attributes:
        code: '' where they lie on each other, 'mirrored', 'shifted', 'mismatch', or 'constant' where one of
            them shows nothing that could be compared, or is too small.
        reason: In a sentence; empty without a code.
        similarity: Correlation of their fine structure, 1 for the same; NaN where there is none.
    """

    code: str
    reason: str
    similarity: float


def compare(hazy: Floats, clean: Floats) -> Match:
    """Holds two gray pictures of equal size, sRGB-coded in [0, 1], against each other."""
    if min(hazy.shape) < SMALLEST_PX:
        return Match("constant", f"The pictures are too small to be compared: below {SMALLEST_PX} px.", math.nan)
    faint = [name for name, gray in (("hazy", hazy), ("clean", clean)) if _contrast(gray) < FAINTEST]
    if faint:
        what = " and the ".join(faint)
        return Match("constant", f"The {what} picture shows nothing that could be compared.", math.nan)
    thumbs = structure(hazy, WIDE), structure(clean, WIDE)
    direct = similarity(*thumbs)
    if direct < ALIKE:
        flipped = {name: similarity(thumbs[0], _flip(thumbs[1], axis)) for name, axis in FLIPS.items()}
        best = max(flipped, key=lambda name: flipped[name])
        if flipped[best] > direct + GAIN and flipped[best] > UNLIKE:
            return Match("mirrored", f"The clean picture is mirrored {best}.", direct)
    shift = _find_shift(hazy, clean)
    if shift is not None:
        reason = f"The hazy picture is shifted by {shift[0]:+.1f} px to the right and {shift[1]:+.1f} px down."
        return Match("shifted", reason, direct)
    if direct < UNLIKE:
        return Match("mismatch", "The clean picture is of another scene.", direct)
    return Match("", "", direct)


def _flip(gray: Floats, axis: int) -> Floats:
    return np.asarray(cv2.flip(gray, axis), np.float32)


def _contrast(gray: Floats) -> float:
    small = _shrink(gray, WIDE)
    return float((small - cv2.GaussianBlur(small, (0, 0), 4.0)).std())


def _shrink(gray: Floats, width: int, height: int | None = None) -> Floats:
    size = width, height or max(1, round(gray.shape[0] * width / gray.shape[1]))
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), np.float32)


def structure(gray: Floats, width: int | None = None, height: int | None = None) -> Floats:
    """Fine structure of a picture, of about equal strength everywhere: what haze weakens, it takes back.

    Without its outer sixteenth: the white frame of NYU Depth v2 alone made pictures of different rooms alike
    to 0.57, without it to 0.1.
    """
    small = gray if width is None else _shrink(gray, width, height)
    fine = small - cv2.GaussianBlur(small, (0, 0), 4.0)
    strength = np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 8.0))
    top, left = (size // 16 for size in fine.shape)
    inner = (slice(top, fine.shape[0] - top), slice(left, fine.shape[1] - left))
    return np.ascontiguousarray((fine / (strength + np.float32(FAINTEST)))[inner], np.float32)


def similarity(a: Floats, b: Floats) -> float:
    """Correlation of two structures of equal shape."""
    scale = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else 0.0


def thumbnail(gray: Floats) -> NDArray[np.int8]:
    """Structure of a picture in 1.7 kB, whatever its size: to look for a better partner among many."""
    return np.asarray(np.clip(structure(gray, *THUMB) * 32.0, -127, 127), np.int8)


def is_resized(hazy: Floats, clean: Floats, direct: float) -> bool:
    """Whether a hazy picture smaller than its clean one shows all of it, not the middle: against `direct`'s crop."""
    if hazy.shape == clean.shape:
        return False
    whole = similarity(structure(hazy, *THUMB), structure(clean, *THUMB))
    return whole > max(direct + GAIN, ALIKE)


def _find_shift(hazy: Floats, clean: Floats) -> tuple[float, float] | None:
    """Shift of the hazy picture to the right and down [px], where it is half a pixel or more and explains more."""
    a, b = structure(_middle(hazy)), structure(_middle(clean))
    window = cv2.createHanningWindow((a.shape[1], a.shape[0]), cv2.CV_32F)
    (right, down), _ = cv2.phaseCorrelate(b, a, window)
    x, y = round(right), round(down)
    height, width = a.shape
    if (x, y) == (0, 0) or abs(x) > width // 2 or abs(y) > height // 2:
        return None
    moved = a[max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)]
    still = b[max(-y, 0) : height + min(-y, 0), max(-x, 0) : width + min(-x, 0)]
    gained = similarity(moved, still)
    return (right, down) if gained > max(similarity(a, b) + 0.05, UNLIKE) else None


def _middle(gray: Floats) -> Floats:
    # In steps of a JPEG block, so that blocks begin where they did.
    top, left = (max(0, (size - MOST_PX) // 16 * 8) for size in gray.shape)
    return gray[top : top + MOST_PX, left : left + MOST_PX]


def jpeg_quality(header: Image.Image) -> int | None:
    """Quality, 1 to 100, of libjpeg's scale that comes nearest to a JPEG's luminance table; None without one."""
    tables = getattr(header, "quantization", None)
    if not tables:
        return None
    table = np.sort(np.asarray(tables[min(tables)], np.float64))
    base = np.sort(np.asarray(LUMINANCE, np.float64))

    def distance(quality: int) -> float:
        scale = 5000 / quality if quality < 50 else 200 - 2 * quality
        return float(np.abs(np.clip(np.floor((base * scale + 50) / 100), 1, 255) - table).sum())

    return min(range(1, 101), key=distance)


def blockiness(gray: Floats) -> float:
    """Mean step across the borders of 8 x 8 blocks over that inside them, less 1: near 0 where there are no blocks.

    Infinite where there are steps at borders alone; NaN for a picture below 16 px or of one colour.
    """
    if min(gray.shape) < SMALLEST_PX:
        return math.nan
    gray = _middle(gray)
    steps = np.abs(np.diff(gray, axis=1)).mean(axis=0), np.abs(np.diff(gray, axis=0)).mean(axis=1)
    border = np.concatenate([step[7::8] for step in steps]).mean()
    inside = np.concatenate([np.delete(step, np.s_[7::8]) for step in steps]).mean()
    if inside == 0:
        return math.inf if border > 0 else math.nan
    return float(border / inside - 1.0)
