"""From photos with depth to the figures of docs/results.md: AOD-Net on rooms that it never saw.

    HAZEGEN_TEST_DATA=... python benchmarks/rooms.py prepare --out build/rooms
    python benchmarks/experiments.py --data rooms=build/rooms/rooms procedural=build/rooms/procedural --trial rooms
    HAZEGEN_TEST_DATA=... python benchmarks/rooms.py evaluate --out build/rooms --model rooms procedural

Needs HAZEGEN_TEST_DATA: a folder with nyu_labeled (image/N.jpg, depth/N.png of 8 bits, metres = value 10 / 255) and
weights_aodnet/aod_official_weights.npz. Scenes are split by blocks of frame numbers, since neighbouring frames often
show one room, and the ten frames on each side of a block are left out.
"""

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

BLOCKS = {
    "validation": (range(400, 450), range(800, 850), range(1050, 1100)),
    "test": (range(200, 250), range(600, 650), range(1250, 1300)),
}
GAP = 10
METRES_PER_UNIT = 10 / 255
FIELD_OF_VIEW = 63.3  # horizontal, of a focal length of 518.9 px, as Metric3D's list of NYU frames has it [degree]
# Laws of the test, and hazy pictures of each scene.
LAWS = {"reside-its": 4, "reside-ots": 2, "outdoor-visibility": 2, "aod-released": 2}
STREET_LAWS = ("reside-ots", "outdoor-visibility")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prepare", "evaluate"))
    parser.add_argument("--out", type=Path, default=Path("build/rooms"), help="folder for everything")
    parser.add_argument("--model", nargs="+", default=["rooms", "procedural"], help="weights to evaluate")
    given = parser.parse_args()
    data = Path(os.environ["HAZEGEN_TEST_DATA"])
    if given.what == "prepare":
        prepare(data / "nyu_labeled", given.out)
    else:
        evaluate(data, given.out, given.model)


def prepare(frames: Path, out: Path) -> None:
    """Scenes to train on: rooms of NYU Depth v2, and 400 procedural streets and rooms."""
    out.mkdir(parents=True)
    numbers = sorted(int(path.stem) for path in (frames / "image").glob("*.jpg"))
    write_splits(((number, split_of(number)) for number in numbers), out / "splits.csv")
    make_rooms(frames, out / "splits.csv", out / "rooms", "--kind", "scenes", "--recipe", "reside-its")
    hazegen("samples", "--out", out / "samples", "--scenes", 400, "--seed", 0)
    make_samples(out / "samples", out / "procedural", "--kind", "scenes", "--recipe", "reside-its")


def evaluate(data: Path, out: Path, models: list[str]) -> None:
    """Pairs of the test scenes under each law, and of 40 procedural scenes of another seed; then the tables."""
    frames, tests = data / "nyu_labeled", out / "tests"
    official = out / "official.weights.h5"
    if not tests.exists():
        tests.mkdir()
        numbers = (int(path.stem) for path in (frames / "image").glob("*.jpg"))
        rows = ((number, "test" if split_of(number) == "test" else "none") for number in sorted(numbers))
        write_splits(rows, tests / "splits.csv")
        for law, variants in LAWS.items():
            make_rooms(frames, tests / "splits.csv", tests / law, "--variants", variants, "--recipe", law)
        hazegen("samples", "--out", tests / "samples", "--scenes", 40, "--seed", 11)
        for law in STREET_LAWS:
            make_samples(tests / "samples", tests / f"procedural-{law}", "--variants", 2, "--splits", "test=1",
                         "--recipe", law)  # fmt: skip
        archive = data / "weights_aodnet" / "aod_official_weights.npz"
        aodnet("import-weights", archive, "--layout", "caffe", "--out", official)
    for dataset in (*LAWS, *(f"procedural-{law}" for law in STREET_LAWS)):
        aodnet(
            "evaluate", "--data", tests / dataset, "--out", out / "evaluation" / dataset, "--ablation",
            "--compare-to", "official", "--wandb", "off", "--model", official, *models,
        )  # fmt: skip


def make_rooms(frames: Path, splits: Path, out: Path, *words: object) -> None:
    hazegen(
        "make", "--images", frames / "image", "--depth", frames / "depth", "--depth-scale", METRES_PER_UNIT,
        "--fov-deg", FIELD_OF_VIEW, "--split-file", splits, "--out", out, *words,
    )  # fmt: skip


def make_samples(samples: Path, out: Path, *words: object) -> None:
    sources = [word for name in ("images", "depth", "camera") for word in (f"--{name}", samples / name)]
    hazegen("make", *sources, "--out", out, *words)


def write_splits(rows: Iterable[tuple[int, str]], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("key", "split"))
        writer.writerows(rows)


def split_of(frame: int) -> str:
    """Split of one frame number: its block's, none beside a block, else train."""
    for split, blocks in BLOCKS.items():
        if any(frame in block for block in blocks):
            return split
    beside = (block for blocks in BLOCKS.values() for block in blocks)
    return "none" if any(block.start - GAP <= frame < block.stop + GAP for block in beside) else "train"


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
