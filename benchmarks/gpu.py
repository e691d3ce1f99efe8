"""One short training in each precision on the GPU, against the same one on the CPU.

Makes procedural scenes by itself, so it needs no data. Every row is a process of `aodnet fit` with the same seed:
its images a second and its share of waiting for data (of the last epoch, in which nothing is compiled), its loss
and its validation PSNR at the end, and how far both are from the CPU's. On a machine without a GPU the CPU's row
alone is measured, the others say `not run`, and the status is 0, or 1 where that row failed.

    python benchmarks/gpu.py                    (make gpu-check)
    python benchmarks/gpu.py --scenes 40 --epochs 2 --steps 20 --crop 64 --batch 4     a short form
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
COLUMNS = ("device", "precision", "XLA", "images/s", "data wait", "loss", "PSNR [dB]", "loss - CPU", "PSNR - CPU")
# Above these the devices do not train the same: what the sums' order and the halves' rounding can do is far less.
LOSS_SHARE, PSNR_DB = 0.05, 0.3


def main() -> int:
    given = read_options()
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as scratch:
        folder = Path(scratch)
        scenes = make_scenes(folder, given)
        rows = [fit(scenes, folder / "cpu", "float32", given, gpu=False)]
        gpus = find_gpus()
        for precision in PRECISIONS:
            row = {"device": "GPU", "precision": precision, "status": "not run"}
            rows.append(fit(scenes, folder / precision, precision, given, gpu=True) if gpus else row)
    settings = {name: getattr(given, name) for name in ("scenes", "epochs", "steps", "crop", "batch")}
    told = {"machine": machine(), "gpus": gpus, "settings": settings, "rows": rows}
    if given.out:
        given.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(markdown(told))
    if not gpus:
        print(
            "\nNo GPU was found: its rows were not run. Install hazegen[gpu] on a machine that has one (docs/gpu.md)."
        )
    return judge(rows)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=60, help="procedural scenes [default: 60]")
    parser.add_argument("--epochs", type=int, default=3, help="at least 2 [default: 3]")
    parser.add_argument("--steps", type=int, default=100, help="steps in an epoch [default: 100]")
    parser.add_argument("--crop", type=int, default=128, help="side of the windows [px] [default: 128]")
    parser.add_argument("--batch", type=int, default=16, help="examples in a step [default: 16]")
    parser.add_argument("--out", type=Path, help="JSON file for all that was measured")
    return parser.parse_args()


def make_scenes(folder: Path, given: argparse.Namespace) -> Path:
    """A dataset of procedural scenes, stored raw, so that it is the device that is measured."""
    samples = folder / "samples"
    hazegen("samples", "--out", samples, "--scenes", given.scenes, "--seed", 0)
    places = [word for name in ("images", "depth", "camera") for word in (f"--{name}", samples / name)]
    splits = "train=0.8,validation=0.2"
    hazegen("make", *places, "--out", folder / "scenes", "--kind", "scenes", "--codec", "raw", "--splits", splits,
            "--recipe", "outdoor-visibility")  # fmt: skip
    return folder / "scenes"


def fit(scenes: Path, out: Path, precision: str, given: argparse.Namespace, *, gpu: bool) -> dict[str, Any]:
    """One training: what its history says, and how it ended."""
    words = {
        "data": scenes, "out": out, "config": "default", "precision": precision, "epochs": given.epochs,
        "steps": given.steps, "batch": given.batch, "crop": given.crop, "validation-crop": given.crop, "seed": 0,
        "wandb": "off",
    }  # fmt: skip
    command = [program("aodnet"), "fit", *(str(word) for pair in words.items() for word in (f"--{pair[0]}", pair[1]))]
    environment = dict(os.environ) | ({} if gpu else {"CUDA_VISIBLE_DEVICES": "-1"})
    row = {"device": "GPU" if gpu else "CPU", "precision": precision, "xla": gpu}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        return row | {"status": f"failed with {done.returncode}", "told": done.stderr[-2000:]}
    with (out / "history.csv").open(newline="", encoding="utf-8") as file:
        last = {name: float(value) for name, value in list(csv.DictReader(file))[-1].items()}
    return row | {"status": "run", **{name: last[name] for name in ("images_per_s", "data_wait", "loss")},
                  "psnr": last["val_psnr_rgb"]}  # fmt: skip


def find_gpus() -> list[str]:
    """Names of the GPUs that TensorFlow sees, asked in another process, which gives their memory back."""
    ask = (
        "import json, tensorflow as tf; gpus = tf.config.list_physical_devices('GPU'); "
        "print(json.dumps([tf.config.experimental.get_device_details(g).get('device_name', g.name) for g in gpus]))"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


def judge(rows: list[dict[str, Any]]) -> int:
    """1 where a row failed or does not agree with the CPU's."""
    cpu, *others = [row for row in rows if row["status"] != "not run"]
    wrong = [row for row in rows if row["status"].startswith("failed")]
    for row in wrong:
        print(f"\n{row['device']} {row['precision']} {row['status']}:\n{row.get('told', '')}")
    far = [row for row in others if not wrong and not agrees(cpu, row)]
    for row in far:
        print(f"\n{row['precision']} does not come to what the CPU comes to.")
    return 1 if wrong or far else 0


def agrees(cpu: dict[str, Any], row: dict[str, Any]) -> bool:
    """Whether loss and PSNR of a row are the CPU's, but for rounding."""
    return abs(row["loss"] / cpu["loss"] - 1.0) <= LOSS_SHARE and abs(row["psnr"] - cpu["psnr"]) <= PSNR_DB


def markdown(told: dict[str, Any]) -> str:
    """The table of docs/gpu.md."""
    settings = ", ".join(f"{name} {value}" for name, value in told["settings"].items())
    head = [f"{told['machine']}; GPU: {', '.join(told['gpus']) or 'none'}; {settings}.", ""]
    table = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    return "\n".join([*head, *table, *(line(row, told["rows"][0]) for row in told["rows"])])


def line(row: dict[str, Any], cpu: dict[str, Any]) -> str:
    if row["status"] != "run":
        cells = [row["status"]] + [""] * (len(COLUMNS) - 4)
    else:
        cells = [f"{row['images_per_s']:.0f}", f"{row['data_wait']:.1%}", f"{row['loss']:.5f}", f"{row['psnr']:.2f}"]
        same = row is cpu or cpu["status"] != "run"
        cells += ["", ""] if same else [f"{row['loss'] - cpu['loss']:+.5f}", f"{row['psnr'] - cpu['psnr']:+.2f}"]
    xla = {True: "yes", False: "no"}.get(row.get("xla", ""), "")
    return f"| {' | '.join([row['device'], row['precision'], xla, *cells])} |"


def machine() -> str:
    return (
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )


def hazegen(*words: object) -> None:
    subprocess.run([program("hazegen"), *map(str, words)], check=True, capture_output=True)


def program(name: str) -> str:
    """A console script of this Python's environment."""
    return str(Path(sys.executable).with_name(name))


if __name__ == "__main__":
    sys.exit(main())
