"""Training speed of aodnet beside a PyTorch port of the paper: a bare step, and from files to updates.

    python benchmarks/train.py --torch-python TORCH_ENVIRONMENT/bin/python --out build/train.json

Batches of 8 whole pictures of 640 x 480, Adam, mean squared error. Ours: shards of JPEG pairs through
aodnet.data.training_batches into the trainer of aodnet fit. Theirs: the same JPEG files through the usual loader
(train_torch.py, four workers). Each in a process of its own, in turn; medians. torch is needed here
alone, in an environment with torch, numpy and pillow.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hazegen import config, manifest, records
from hazegen.make import MakeOptions, make
from hazegen.recipe import Recipe
from hazegen.samples import make_samples

BATCH = 8
NAMES = ("step_ms", "images_s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", type=Path, help="Python of an environment with torch")
    parser.add_argument("--scenes", type=int, default=16)
    parser.add_argument("--variants", type=int, default=10)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--short", action="store_true", help="a tiny run that only shows that all works")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)  # one measurement of ours, in a process of its own
    given = parser.parse_args()
    if given.short:
        given.scenes, given.variants, given.batches, given.repeats = 4, 4, 2, 1
    if given.ours:
        print(json.dumps(measure_ours(given.ours, given.batches)))
        return
    if given.torch_python is None:
        parser.error("--torch-python is needed")
    with tempfile.TemporaryDirectory() as folder:
        rows = compare(prepare(Path(folder), given.scenes, given.variants), given)
    report(rows, given.out)


def prepare(folder: Path, scenes: int, variants: int) -> Path:
    """A dataset of pairs in folder/pairs, and the same JPEG files in folder/pictures."""
    make_samples(folder / "scenes", scenes, 0)
    recipe = config.build(Recipe, config.read_config(config.find_config("aod-released", "recipes"), Recipe))
    sources = {name: folder / "scenes" / name for name in ("images", "depth", "camera")}
    make(MakeOptions(**sources, out=folder / "pairs", variants=variants, splits="train=1"), recipe)
    for kind in ("hazy", "clean"):
        (folder / "pictures" / kind).mkdir(parents=True)
    for shard in manifest.load(folder / "pairs").shards_of("train"):
        for record in records.read_shard(folder / "pairs" / shard.name):
            values = records.decode(record)
            for kind in ("hazy", "clean"):
                (folder / "pictures" / kind / f"{values['key']}.jpg").write_bytes(values[kind])
    return folder


def compare(folder: Path, given: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Measurements of both, in turn."""
    here = Path(__file__)
    commands = {
        "aodnet": [sys.executable, here, "--ours", folder / "pairs", "--batches", given.batches],
        "torch": [given.torch_python, here.with_name("train_torch.py"), folder / "pictures", given.batches],
    }
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    for _ in range(given.repeats):
        for name, command in commands.items():
            done = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
            rows[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(name, rows[name][-1], flush=True)
    return rows


def measure_ours(data: Path, batches: int) -> dict[str, Any]:
    """Milliseconds of a bare step and images a second from shards to updates."""
    import tensorflow as tf

    from aodnet import trainer as trainers
    from aodnet.config import FitConfig
    from aodnet.data import training_batches
    from aodnet.mixing import Source

    known = manifest.load(data)
    settings = FitConfig(batch=BATCH, loss="l2", optimizer="adam", learning_rate=1e-4)
    strategy, device = trainers.choose_strategy()
    trainer = trainers.Trainer(settings, 1000, strategy, jit=bool(tf.config.list_physical_devices("GPU")))
    whole_batches = known_batches(known, "train")

    def batches_of(epochs: int) -> Any:
        for epoch in range(epochs):
            one = training_batches([Source(data, known)], crop=None, batch=BATCH, seed=0, epoch=epoch)
            yield from one.take(whole_batches)

    endless = iter(batches_of(1 << 20))
    one = next(endless)
    for _ in range(2):
        trainer.step(one)
    trainer.look()  # waits for the device
    began = time.perf_counter()
    for _ in range(batches):
        trainer.step(one)
    trainer.look()
    bare = (time.perf_counter() - began) / batches
    trainer.step(next(endless))
    trainer.look()
    began = time.perf_counter()
    for _ in range(batches):
        trainer.step(next(endless))
    trainer.look()
    whole = (time.perf_counter() - began) / batches
    return {"step_ms": bare * 1e3, "images_s": BATCH / whole, "device": device, "tensorflow": tf.__version__}


def known_batches(known: manifest.Manifest, split: str) -> int:
    """Whole batches of a split."""
    return sum(shard.records for shard in known.shards_of(split)) // BATCH


def report(rows: dict[str, list[dict[str, Any]]], out: Path | None) -> None:
    """Medians of both and their ratios."""
    middle = {name: {what: statistics.median(row[what] for row in of) for what in NAMES} for name, of in rows.items()}
    for name, of in middle.items():
        print(f"{name:<8} step {of['step_ms']:8.0f} ms   end to end {of['images_s']:7.2f} images/s")
    step = middle["torch"]["step_ms"] / middle["aodnet"]["step_ms"]
    whole = middle["aodnet"]["images_s"] / middle["torch"]["images_s"]
    print(f"ratio    step {step:8.2f}      end to end {whole:7.2f}")
    if out:
        told = {"python": platform.python_version(), "machine": platform.machine(), "date": time.strftime("%Y-%m-%d")}
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"medians": middle, "ratios": [step, whole], "rows": rows, **told}, indent=1) + "\n")


if __name__ == "__main__":
    main()
