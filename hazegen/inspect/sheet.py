"""The contact sheet of `hazegen inspect`: image, depth, edges of depth over the image, and fog."""

import textwrap
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hazegen import images, physics, stores
from hazegen.depth.alignment import close
from hazegen.errors import UsageError
from hazegen.inspect.run import Report, Tile

Picture = NDArray[np.uint8]

MARGIN, CAPTION, LINE = 8, 34, 15
HOLE, SKY, EDGE = (255, 0, 255), (255, 255, 255), (255, 40, 0)
# Fog of the preview: the visibility in medians of depth, so that 1/e of the light is left there.
VISIBILITY_IN_MEDIANS = physics.OPTICAL_DEPTH_AT_VISIBILITY
FOG_LIGHT = 0.9
# Steps of depth that are drawn as edges: by 8 % from pixel to pixel.
EDGE_STEP = 0.08
# Letters in a line of the sheet's head.
LETTERS = 150


def write_sheet(report: Report, out: Path) -> int:
    """Writes the contact sheet.

    Returns:
        Number of scenes shown.

    Raises:
        UsageError: See check_name.
    """
    check_name(out)
    rows = [_row(tile) for tile in report.tiles]
    sheet = np.vstack([_head(report, rows[0].shape[1]), *rows])
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet = np.pad(sheet, ((MARGIN,) * 2, (MARGIN,) * 2, (0, 0)), constant_values=255)
    with stores.whole_file(out) as file:
        file.write(images.encode(sheet, out.suffix))
    return len(rows)


def check_name(out: Path) -> None:
    """Raises UsageError where the name of the sheet is not that of a picture that can be written."""
    if not cv2.haveImageWriter(f"a{out.suffix}"):
        raise UsageError(
            f"The output is no picture. Expected a name that ends in .png or .jpg, received '{out.name}'. Change --out."
        )


def _head(report: Report, width: int) -> Picture:
    """What was found in the folder, above the scenes."""
    scenes = "1 scene" if report.pairs == 1 else f"{report.pairs} scenes"
    texts = [f"{report.options.depth}: {scenes} read as {report.options.depth_kind}"]
    texts += [f"{found.severity}: {found.code}. {found.reason}" for found in report.findings]
    texts.append("image | depth, bright is near, magenta not measured, white sky | edges of depth | fog")
    return _text([line for text in texts for line in textwrap.wrap(text, LETTERS)], width)


def _text(lines: list[str], width: int) -> Picture:
    picture = Image.new("RGB", (width, LINE * len(lines) + MARGIN // 2), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    for number, line in enumerate(lines):
        draw.text((2, LINE * number), line, "black", font)
    return np.asarray(picture, np.uint8)


def _row(tile: Tile) -> Picture:
    """One scene: four pictures above a caption."""
    blank = np.full_like(tile.image, 255)
    pictures = [tile.image, blank, blank, blank]
    range_text = "the map was refused"
    if tile.depth_m is not None and np.isfinite(tile.depth_m).any():
        finite = tile.depth_m[np.isfinite(tile.depth_m)]
        median = float(np.median(finite))
        pictures[1:] = [false_colors(tile.depth_m), draw_edges(tile.image, tile.depth_m), fog(tile.image, tile.depth_m)]
        range_text = (
            f"{finite.min():.3g} to {finite.max():.3g} m, median {median:.3g} m; fog of visibility "
            f"{VISIBILITY_IN_MEDIANS * median:.3g} m"
        )
    caption = f"{range_text}{'; ' if tile.codes else ''}{', '.join(tile.codes)}"
    picture = np.hstack(pictures)
    return np.vstack([picture, _text([tile.key, caption], picture.shape[1])])


def false_colors(depth_m: NDArray[np.float32]) -> Picture:
    """Depth in colours: bright is near, dark far; holes magenta, sky white."""
    logs = np.log(close(depth_m))
    low, high = np.quantile(logs[np.isfinite(depth_m)], (0.01, 0.99))
    codes = np.clip((high - logs) / max(high - low, 1e-6) * 255.0, 0, 255).astype(np.uint8)
    colored = np.ascontiguousarray(cv2.applyColorMap(codes, cv2.COLORMAP_VIRIDIS)[..., ::-1])
    colored[np.isposinf(depth_m)] = SKY
    colored[np.isnan(depth_m)] = HOLE
    return colored.astype(np.uint8)


def draw_edges(image: Picture, depth_m: NDArray[np.float32]) -> Picture:
    """The image, darkened, with the edges of depth drawn over it."""
    logs = np.log(close(depth_m))
    right, down = np.diff(logs, axis=1, append=logs[:, -1:]), np.diff(logs, axis=0, append=logs[-1:])
    drawn = (image * 0.6).astype(np.uint8)
    drawn[np.maximum(np.abs(right), np.abs(down)) > EDGE_STEP] = EDGE
    return drawn


def fog(image: Picture, depth_m: NDArray[np.float32]) -> Picture:
    """The image in fog that leaves 1/e of the light at the median depth, holes closed."""
    median = float(np.median(depth_m[np.isfinite(depth_m)]))
    distance_m = np.where(np.isposinf(depth_m), np.float32(np.inf), close(depth_m))
    left = physics.transmission(physics.beta_from_visibility(VISIBILITY_IN_MEDIANS * median), distance_m)[..., None]
    return np.rint(physics.add_haze(image / 255.0, left, FOG_LIGHT) * 255.0).astype(np.uint8)
