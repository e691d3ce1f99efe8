"""The picture of README.md: procedural scenes clean, in haze, and dehazed by the shipped weights.

    python benchmarks/readme_picture.py --out docs/readme.jpg

Scenes of a seed that no training and no test of the project uses, chosen by eye among 14 where the weights do well;
docs/results.md has the means over scenes that nobody chose. Prints the captions.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import aodnet
import hazegen
from aodnet import metrics
from hazegen import images, preview
from hazegen.depth import readers
from hazegen.depth.formats import from_camera_file
from hazegen.samples import Sample, make_sample

Pixels = NDArray[np.uint8]

SEED = 2026
# Number of the scene, and the visibility of its haze [m].
SCENES = ((11, 80.0), (9, 10.0))
LIGHT = 0.85
TILE, GAP, CAPTION, FONT = 330, 5, 26, 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/readme.jpg"))
    parser.add_argument("--model", default="rooms", help="shipped weights by name, or a .weights.h5 file")
    given = parser.parse_args()
    net = aodnet.load(given.model)
    rows = [row(net, make_sample(SEED, number, 640, 480), visibility_m) for number, visibility_m in SCENES]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_bytes(images.encode(picture(rows), given.out.suffix, 90))
    for captions in ([caption for caption, _ in tiles] for tiles in rows):
        print(", ".join(captions))


def row(net: Callable[[Pixels], Pixels], sample: Sample, visibility_m: float) -> list[tuple[str, Pixels]]:
    """Clean, hazy and dehazed picture of a scene, each with its caption."""
    clean = sample.image
    depth_m = readers.to_metres(sample.depth, from_camera_file(sample.camera["depth"], {}), sample.name)  # type: ignore[arg-type]
    hazy = hazegen.add_haze(clean, depth_m=depth_m, visibility_m=visibility_m, atmospheric_light=LIGHT)
    restored = net(hazy)
    return [
        ("clean", clean),
        (f"hazy (visibility {visibility_m:.0f} m): PSNR {metrics.psnr(hazy, clean, data_range=255):.1f} dB", hazy),
        (f"dehazed: PSNR {metrics.psnr(restored, clean, data_range=255):.1f} dB", restored),
    ]


def picture(rows: list[list[tuple[str, Pixels]]]) -> Pixels:
    """Rows of tiles on white, each tile below its caption."""
    lines = [np.hstack([tile(*one) for one in tiles])[:, :-GAP] for tiles in rows]
    return np.vstack(lines)


def tile(text: str, pixels: Pixels) -> Pixels:
    """A picture below its caption, with white at its right."""
    small = preview.tile(pixels, TILE)
    whole = Image.new("RGB", (TILE + GAP, CAPTION + small.shape[0]), "white")
    ImageDraw.Draw(whole).text((2, 4), text, "black", ImageFont.load_default(FONT))
    whole.paste(Image.fromarray(small), (0, CAPTION))
    return np.asarray(whole, np.uint8)


if __name__ == "__main__":
    main()
