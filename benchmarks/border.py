"""What the zeros around a picture do to its border: AOD-Net on the picture alone, and within its mirrored surroundings.

    python benchmarks/border.py --pairs PAIRS --photos HAZY_PHOTOS --out border.json

The five convolutions see zeros beyond the picture, up to 7 pixels deep. Here each picture is also restored within 7
more pixels on each side, mirrored at its edges, which are cut off again. Told are, for the rings of pixels 1 to 8 from
the edge, the mean and the signed difference of both results, and where there are clean pictures the PSNR of the outer 7
pixels and of the whole picture, in either way. PAIRS is a folder of `aodnet evaluate --pairs`, or a dataset.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aodnet.quiet import load_tensorflow

RINGS = 8
MODELS = ("rooms", "procedural")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, nargs="*", default=[], help="datasets or published sets of pairs")
    parser.add_argument("--photos", type=Path, nargs="*", default=[], help="folders of hazy pictures alone")
    parser.add_argument("--model", nargs="+", default=list(MODELS), help="weights [default: those of the package]")
    parser.add_argument("--limit", type=int, help="only the first of each")
    parser.add_argument("--out", type=Path, default=Path("border.json"))
    given = parser.parse_args()
    load_tensorflow()
    from aodnet import runtimes, weights
    from aodnet.pairs import Source

    calls = {name: runtimes.keras_call(weights.load(weights.find_weights(name))) for name in given.model}
    sources = {
        folder: Source(data=folder, limit=given.limit)
        if (folder / "manifest.json").is_file()
        else Source(pairs=folder, limit=given.limit)
        for folder in given.pairs
    }
    sources |= {folder: Source(hazy=folder, limit=given.limit) for folder in given.photos}
    found = {folder.name: dict(measure(calls, source)) for folder, source in sources.items()}
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))


def measure(calls: dict[str, Any], source: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """For each model the differences by ring in levels of 255, and PSNR with zeros and mirrored [dB]."""
    from aodnet.pairs import Pair, read_pictures
    from hazegen import color

    sums = {name: (np.zeros((RINGS, 2)), np.zeros(RINGS), list[list[float]]()) for name in calls}
    for picture in read_pictures(source):
        hazy = color.to_float(picture.hazy)
        ring = rings(*hazy.shape[:2])
        for name, call in calls.items():
            outputs = [color.to_uint8(np.clip(one, 0.0, 1.0)).astype(np.float64) for one in both(call, hazy)]
            differences, pixels, psnr_db = sums[name]
            less = (outputs[0] - outputs[1]).mean(axis=2)
            for at in range(RINGS):
                here = less[ring == at]
                differences[at] += np.abs(here).sum(), here.sum()
                pixels[at] += here.size
            if isinstance(picture, Pair):
                wrong = [((one - picture.clean) ** 2).mean(axis=2) for one in outputs]
                psnr_db.append([decibels(one[where]) for where in (ring < RINGS - 1, ring >= 0) for one in wrong])
    for name, (differences, pixels, psnr_db) in sums.items():
        mean, signed = (differences / pixels[:, None]).T
        row = {"mean": mean.round(3).tolist(), "signed": signed.round(3).tolist()}
        if psnr_db:
            names = ("rim_zeros", "rim_mirrored", "whole_zeros", "whole_mirrored")
            row |= dict(zip(names, np.mean(psnr_db, axis=0).round(3).tolist(), strict=True))
        yield name, row


def both(call: Any, hazy: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The picture restored alone, and within its mirrored surroundings."""
    from aodnet.tiles import MARGIN

    around = np.pad(hazy, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="reflect")
    return call(hazy), call(around)[MARGIN:-MARGIN, MARGIN:-MARGIN]


def rings(height: int, width: int) -> NDArray[np.intp]:
    """Of each pixel how many others lie between it and the edge."""
    down, across = (np.minimum(np.arange(side), np.arange(side)[::-1]) for side in (height, width))
    return np.minimum(down[:, None], across[None])


def decibels(squares: NDArray[np.float64]) -> float:
    return float(10.0 * np.log10(255.0**2 / max(float(squares.mean()), 1e-3)))


def table(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    rings_of = " | ".join(str(at + 1) for at in range(RINGS))
    lines = [f"| pictures | weights | {rings_of} | rim [dB] | whole [dB] |", f"|{'---|' * (RINGS + 4)}"]
    for folder, rows in found.items():
        for name, row in rows.items():
            cells = [f"{mean:.1f} ({signed:+.1f})" for mean, signed in zip(row["mean"], row["signed"], strict=True)]
            told = ["-", "-"]
            if "rim_zeros" in row:
                told = [f"{row[f'{part}_zeros']:.2f}, {row[f'{part}_mirrored']:.2f}" for part in ("rim", "whole")]
            lines.append(f"| {folder} | {name} | {' | '.join([*cells, *told])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
