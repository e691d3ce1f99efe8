"""hazegen preview: a contact sheet of pairs or scenes, to be looked at before anything is trained."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hazegen import heads, images, manifest, records, stores
from hazegen.errors import UsageError
from hazegen.heads import Head
from hazegen.manifest import Manifest

TILE = 240
# A taller picture is narrower, and at last cut: a sheet of JPEG has 65500 px at most.
TALLEST = 720
MARGIN = 8
CAPTION = 34
MOST_SHARDS = 32


def preview(folder: Path, out: Path, pairs: int = 12, split: str | None = None) -> int:
    """Writes a contact sheet of clean, transmission (where stored) and hazy, with beta, A, visibility.

    Takes the pairs from as many scenes as it can find among the first records of each shard. Of a dataset of scenes
    it shows clean, distances, and hazy pictures drawn by the recipe.

    Args:
        pairs: How many pairs or scenes.

    Returns:
        Number of pairs or scenes shown.
    """
    if pairs < 1:
        raise UsageError(f"--pairs is out of range. Expected at least 1, received {pairs}. Change --pairs.")
    if not cv2.haveImageWriter(f"a{out.suffix}"):
        raise UsageError(
            f"The output is no picture. Expected a name that ends in .png or .jpg, received '{out.name}'. Change --out."
        )
    chosen = choose(folder, pairs, split)
    known = manifest.load(folder)
    draw = _scene_row if known.kind == "scenes" else _pair_row
    rows = [draw(values, known) for values in chosen]
    columns = 2 if len(rows) > 3 else 1
    width = columns * (rows[0].shape[1] + MARGIN) + MARGIN
    lines = [rows[at : at + columns] for at in range(0, len(rows), columns)]
    sheet = np.full((MARGIN, width, 3), 255, np.uint8)
    for line in lines:
        band = np.full((max(row.shape[0] for row in line) + MARGIN, width, 3), 255, np.uint8)
        for number, row in enumerate(line):
            x = MARGIN + number * (row.shape[1] + MARGIN)
            band[: row.shape[0], x : x + row.shape[1]] = row
        sheet = np.vstack([sheet, band])
    out.parent.mkdir(parents=True, exist_ok=True)
    with stores.whole_file(out) as file:
        file.write(images.encode(sheet, out.suffix))
    return len(chosen)


def choose(folder: Path, pairs: int, split: str | None = None) -> list[dict[str, Any]]:
    """`pairs` records, of different scenes first, thin and thick haze in turn: chosen by their heads, then read."""
    scenes: dict[str, list[tuple[Path, Head]]] = {}
    # Stored scenes have no haze of their own: they stay in the order of the shards.
    found = _heads(folder, 8 * pairs, split)
    for path, head in sorted(found, key=lambda one: one[1].values.get("beta", (0.0, 0.0))[1]):
        scenes.setdefault(head.values["scene"], []).append((path, head))
    groups = [scenes[name] for name in sorted(scenes, key=records.hash_order)]
    turns = [
        group[(number * 7 + turn) % len(group)]
        for turn in range(max(map(len, groups)))
        for number, group in enumerate(groups)
    ]
    unique = list({head.values["key"]: (path, head) for path, head in turns}.values())[:pairs]
    kind = manifest.load(folder).kind
    return [_whole(path, head, kind) for path, head in unique]


def sample(folder: Path, count: int) -> Iterator[dict[str, Any]]:
    """About `count` records: the first ones of some shards, which are in no order that has to do with haze."""
    kind = manifest.load(folder).kind
    return (_whole(path, head, kind) for path, head in _heads(folder, count))


def mean_transmission(folder: Path, count: int = 256) -> tuple[float, int]:
    """Mean transmission over about `count` pairs of a dataset, and how many they were."""
    found = [head.values["mean_transmission"] for _, head in _heads(folder, count)]
    return sum(found) / len(found), len(found)


def _heads(folder: Path, count: int, split: str | None = None) -> Iterator[tuple[Path, Head]]:
    """As `sample`, without the pictures, and the shard that each is in."""
    known = manifest.load(folder)
    shards = [s for s in known.shards if s.records] if split is None else known.shards_of(split)
    shards = shards[:: -(-len(shards) // MOST_SHARDS)]
    for path in (folder / shard.name for shard in shards):
        for head in itertools.islice(heads.read_heads(path, kind=known.kind), -(-count // len(shards))):
            yield path, head


def _whole(path: Path, head: Head, kind: records.Kind) -> dict[str, Any]:
    return records.decode(heads.read_record(path, head.offset, head.length), kind)


def picture_of(values: dict[str, Any], name: str, known: Manifest) -> NDArray[np.uint8]:
    """A picture of a record in colours, (height, width, 3)."""
    if name == "transmission":
        return false_colors(images.decode(values[name], name))
    return images.decode_stored(values[name], known.codec, values["height"], values["width"], name)


def _pair_row(values: dict[str, Any], known: Manifest) -> NDArray[np.uint8]:
    """Clean, transmission and hazy side by side above their caption."""
    names = [name for name in ("clean", "transmission", "hazy") if name in values]
    return _row([picture_of(values, name, known) for name in names], _describe(values))


def _scene_row(values: dict[str, Any], known: Manifest) -> NDArray[np.uint8]:
    """Clean, distances and hazy pictures side by side above their caption."""
    from hazegen import preview_scenes

    haze = preview_scenes.haze_of(values, known)
    return _row(preview_scenes.pictures(values, known, haze), preview_scenes.describe(values, haze))


def _row(pictures: list[NDArray[np.uint8]], text: str) -> NDArray[np.uint8]:
    picture = np.hstack([_framed(one) for one in pictures])
    return np.vstack([picture, caption(text, picture.shape[1])])


def _framed(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture TILE wide and at most TALLEST high, white beside it where it is narrow."""
    height, width = pixels.shape[:2]
    wide = min(TILE, max(1, TALLEST * width // height))
    small = tile(pixels, wide)[:TALLEST]
    return np.pad(small, ((0, 0), (0, TILE - wide), (0, 0)), constant_values=255)


def false_colors(transmission: images.Pixels) -> NDArray[np.uint8]:
    """Transmission (of green, where it has colour) in false colours: dark is opaque (far), bright is clear (near)."""
    gray = transmission if transmission.ndim == 2 else transmission[..., 1]
    colored = cv2.applyColorMap((gray // 257).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    return np.ascontiguousarray(colored[..., ::-1], np.uint8)


def tile(pixels: NDArray[np.uint8], width: int = TILE) -> NDArray[np.uint8]:
    """A picture at another width."""
    height = max(1, round(pixels.shape[0] * width / pixels.shape[1]))
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _describe(values: dict[str, Any]) -> str:
    beta, light = values["beta"], values["atmospheric_light"]
    gray = len(set(light)) == 1
    light_text = f"{light[0]:.2f}" if gray else ", ".join(f"{channel:.2f}" for channel in light)
    unit = json.loads(values["haze"]).get("metres_per_unit", 1.0)
    unit_text = "" if unit == 1.0 else f"  ({beta[1] * unit:.2f} per {unit:.3g} m)"
    return (
        f"{values['key']}\nbeta {beta[1]:.4g}/m{unit_text}  A {light_text}  visibility {values['visibility_m']:.3g} m"
    )


def caption(text: str, width: int) -> NDArray[np.uint8]:
    """Two lines of text on white, to stand below a picture."""
    picture = Image.new("RGB", (width, CAPTION), "white")
    ImageDraw.Draw(picture).multiline_text((2, 2), text, "black", ImageFont.load_default(12), spacing=2)
    return np.asarray(picture, np.uint8)
