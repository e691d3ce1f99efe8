"""The whole path on real photos: haze on NYU Depth v2, AOD-Net trained on it, against published weights.

Needs HAZEGEN_TEST_DATA: a folder with nyu_labeled (image/N.jpg, depth/N.png of 8 bits, metres = value
10 / 255) and weights_aodnet/aod_official_weights.npz. Scenes are split by contiguous blocks of frame
numbers, since neighbouring frames often show one room, with a gap of 20 frames on each side.

    HAZEGEN_TEST_DATA=... python benchmarks/nyu.py --out build/nyu
"""

import argparse
import csv
import os
import subprocess
import sys
from pathlib import Path

BLOCKS = {"validation": range(400, 540), "test": range(1000, 1140)}
GAP = 20
METRES_PER_UNIT = 10 / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/nyu"), help="new folder for everything")
    parser.add_argument("--config", default="nyu", help="training config")
    given = parser.parse_args()
    data, out = Path(os.environ["HAZEGEN_TEST_DATA"]), given.out
    out.mkdir(parents=True)
    write_splits(data / "nyu_labeled" / "image", out / "splits.csv")
    hazegen(
        "make", "--images", data / "nyu_labeled" / "image", "--depth", data / "nyu_labeled" / "depth",
        "--depth-scale", METRES_PER_UNIT, "--recipe", "aod-released", "--variants", 10,
        "--split-file", out / "splits.csv", "--out", out / "dataset",
    )  # fmt: skip
    hazegen("verify", out / "dataset")
    hazegen("preview", out / "dataset", "--out", out / "preview.png", "--split", "test")
    aodnet("fit", "--data", out / "dataset", "--out", out / "run", "--config", given.config, "--wandb", "off")
    published = data / "weights_aodnet" / "aod_official_weights.npz"
    for layout in ("caffe", "torch"):
        aodnet("import-weights", published, "--layout", layout, "--out", out / f"{layout}.weights.h5")
    models = [out / "caffe.weights.h5", out / "torch.weights.h5", out / "run" / "best.weights.h5"]
    aodnet("evaluate", "--data", out / "dataset", "--out", out / "evaluation", "--model", *models)


def write_splits(images: Path, path: Path) -> None:
    """The split of every frame: its block's, none within the gap around a block, else train."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("key", "split"))
        writer.writerows((number, split_of(number)) for number in sorted(int(p.stem) for p in images.glob("*.jpg")))


def split_of(frame: int) -> str:
    """Split of one frame number."""
    for split, block in BLOCKS.items():
        if frame in block:
            return split
        if block.start - GAP <= frame < block.stop + GAP:
            return "none"
    return "train"


def hazegen(*words: object) -> None:
    run("hazegen", *words)


def aodnet(*words: object) -> None:
    run("aodnet", *words)


def run(program: str, *words: object) -> None:
    """Runs a console script of this Python's environment and stops where it fails."""
    command = [str(Path(sys.executable).with_name(program)), *map(str, words)]
    print("$", program, *words, flush=True)
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
