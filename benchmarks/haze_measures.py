"""Do the measures without reference follow haze? Of hazy pictures of known transmission, and of photos of real haze.

    python benchmarks/haze_measures.py --data DATASET --photos HAZY_PHOTOS --out haze_measures.json

DATASET is one of pairs, with several hazy pictures of each scene. Told is Spearman's rank correlation of each measure
with the pictures' mean transmission: the median over scenes of that within a scene, and that over all pictures. Of
the photos (at most 640 px a side, by areas), the correlation of each measure with FADE.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

SIDE = 640
NAMES = ("dark channel", "saturation", "visible edges", "FADE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="dataset of pairs")
    parser.add_argument("--split", default="test")
    parser.add_argument("--photos", type=Path, help="folder of hazy pictures")
    parser.add_argument("--out", type=Path, default=Path("haze_measures.json"))
    given = parser.parse_args()
    from aodnet.pairs import Source, read_pairs, read_pictures

    scenes: dict[str, list[list[float]]] = defaultdict(list)
    for pair in read_pairs(Source(data=given.data, split=given.split)):
        scenes[pair.scene].append([pair.levels["mean_transmission"], *measured(pair.hazy)])
    within = np.array([with_first(rows) for rows in scenes.values()])
    together = with_first([row for rows in scenes.values() for row in rows])
    found = {"within a scene": np.median(within, axis=0).tolist(), "over all": together}
    if given.photos:
        photos = [measured(smaller(picture.hazy)) for picture in read_pictures(Source(hazy=given.photos))]
        found["photos, with FADE"] = with_first([[row[-1], *row] for row in photos])
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"| | {' | '.join(NAMES)} |", f"|{'---|' * (1 + len(NAMES))}", sep="\n")
    for name, row in found.items():
        print(f"| {name} | {' | '.join(f'{value:+.2f}' for value in row)} |")


def measured(hazy: NDArray[np.uint8]) -> list[float]:
    """The measures that NAMES names."""
    from aodnet import noreference
    from aodnet.baselines import dark_channel
    from hazegen import color

    gray = np.asarray(cv2.cvtColor(hazy, cv2.COLOR_RGB2GRAY), np.uint8)
    edges = float(noreference.visible_edges(gray).mean())
    return [float(dark_channel(color.to_float(hazy)).mean()), noreference.saturation(hazy), edges,
            noreference.fade(hazy)]  # fmt: skip


def smaller(hazy: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = min(1.0, SIDE / max(hazy.shape[:2]))
    return np.asarray(cv2.resize(hazy, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


def with_first(rows: list[list[float]]) -> list[float]:
    """Rank correlation of each column with the first."""
    columns = np.array(rows).T
    return [float(spearmanr(columns[0], column).statistic) for column in columns[1:]]


if __name__ == "__main__":
    main()
