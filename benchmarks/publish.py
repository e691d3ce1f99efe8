"""What it costs to publish a dataset offline: time, memory, and disk beside the dataset itself.

Makes the dataset first (NYU Depth v2 under reside-its, 35 variants of each scene: some 15,000 pairs),
or takes the one in --dataset. Then `hazegen verify` and `hazegen publish --mode offline` run in turn, as
whole processes, several times: the first is the part of the second that reads and decodes everything.

    HAZEGEN_TEST_DATA=... python benchmarks/publish.py --out build/publish
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

METRES_PER_UNIT = 10 / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/publish"), help="new folder for everything")
    parser.add_argument("--dataset", type=Path, help="a dataset that is there already")
    parser.add_argument("--variants", type=int, default=35)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    given.out.mkdir(parents=True)
    dataset = make(given.out, given.variants) if given.dataset is None else given.out / "dataset"
    if given.dataset is not None:
        shutil.copytree(given.dataset, dataset, copy_function=os.link)  # runs are kept beside it, not in your folder
    size = sum(path.stat().st_size for path in dataset.glob("*"))
    rows: list[dict[str, Any]] = []
    for _ in range(given.repeats):
        shutil.rmtree(dataset.resolve().parent / "wandb", ignore_errors=True)
        verified = measure("verify", str(dataset))
        published = measure("publish", str(dataset), "--project", "bench", "--name", "bench", "--mode", "offline")
        extra = disk(dataset.resolve().parent / "wandb")
        rows.append({"verify_s": verified[0], "verify_mb": verified[1], "publish_s": published[0],
                     "publish_mb": published[1], "extra_bytes": extra})  # fmt: skip
    report(given.out, dataset, size, rows)


def make(out: Path, variants: int) -> Path:
    """The dataset, from the photos that HAZEGEN_TEST_DATA holds."""
    photos = Path(os.environ["HAZEGEN_TEST_DATA"]) / "nyu_labeled"
    command = [
        "make", "--images", photos / "image", "--depth", photos / "depth", "--depth-scale", METRES_PER_UNIT,
        "--recipe", "reside-its", "--variants", variants, "--out", out / "dataset",
    ]  # fmt: skip
    subprocess.run([program(), *map(str, command)], check=True)
    return out / "dataset"


def measure(*words: str) -> tuple[float, float]:
    """Wall time [s] and resident memory [MB] of one command; wandb's own helper process is not counted."""
    began = time.perf_counter()
    process = subprocess.Popen([program(), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"hazegen {' '.join(words)} ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - began, usage.ru_maxrss / 1e3


def disk(folder: Path) -> int:
    """Bytes of the blocks that a folder's files take."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if not path.is_symlink())


def program() -> str:
    return str(Path(sys.executable).with_name("hazegen"))


def report(out: Path, dataset: Path, size: int, rows: list[dict[str, Any]]) -> None:
    middle = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    pairs = sum(shard["records"] for shard in json.loads((dataset / "manifest.json").read_text())["shards"])
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "date": f"{date.today()}",
    }
    summary = {**machine, "pairs": pairs, "dataset_bytes": size, "median": middle, "runs": rows}
    (out / "publish.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(f"{pairs} pairs, {size / 1e9:.2f} GB; medians of {len(rows)}")
    print(f"verify   {middle['verify_s']:8.1f} s  {middle['verify_mb']:6.0f} MB")
    share = middle["extra_bytes"] / size
    print(f"publish  {middle['publish_s']:8.1f} s  {middle['publish_mb']:6.0f} MB")
    print(f"beside the dataset: {middle['extra_bytes'] / 1e6:.1f} MB of disk, {share:.3%} of it")


if __name__ == "__main__":
    main()
