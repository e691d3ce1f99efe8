"""Time and memory of the start of a run with many inputs, up to its first finished shard.

Makes empty files of made-up names, photos and depth maps, in a temporary folder and starts `hazegen make` on them as
a user would. Every scene is rejected when it is read, so what is measured is the listing, the pairing, the splits and
the plan; the first shard says that work has begun. The folder is kept in the page cache, as after any listing.

    python benchmarks/plan.py                     1,000,000 scenes: 2,000,000 files, minutes to make
    python benchmarks/plan.py --scenes 20000      short form
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

FOLDERS = {"images": ".jpg", "depth": ".png"}
# Files of one sub-folder, as cameras and tools make them.
PER_FOLDER = 1000
LONGEST_S = 600.0


def make_names(root: Path, scenes: int) -> None:
    """Empty files images/0000/frame_0000000.jpg and depth/0000/frame_0000000.png, and so on."""
    for number in range(scenes):
        for name, suffix in FOLDERS.items():
            folder = root / name / f"{number // PER_FOLDER:04d}"
            if number % PER_FOLDER == 0:
                folder.mkdir(parents=True)
            (folder / f"frame_{number:07d}{suffix}").touch()


def measure(root: Path, out: Path, workers: int) -> dict[str, float]:
    """Seconds from the start of the command to the plan and to the first shard, and peak memory until then [MB]."""
    words = ["make", "--images", root / "images", "--depth", root / "depth", "--out", out, "--workers", workers]
    words += ["--depth-scale", "0.001", "--progress", "off"]
    code = "import sys; from hazegen import cli; sys.exit(cli.main(sys.argv[1:]))"
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, words)])
    told: dict[str, float] = {}
    try:
        while "first_shard_s" not in told:
            seconds = time.monotonic() - began
            if process.poll() is not None or seconds > LONGEST_S:
                raise SystemExit(f"no shard after {seconds:.0f} s, exit status {process.returncode}")
            if "plan_s" not in told and (out / "plan.jsonl").exists():
                told["plan_s"] = round(seconds, 1)
            if any(out.glob("*.tfrecord")):
                told["first_shard_s"] = round(seconds, 1)
            time.sleep(0.05)
        told["peak_mb"] = round(peak_mb(process.pid), 1)
        told["plan_mb"] = round((out / "plan.jsonl").stat().st_size / 1e6, 1)
    finally:
        process.kill()
        process.wait()
    return told


def peak_mb(process: int) -> float:
    """Largest resident memory so far of a process [MB], as Linux tells it."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit("the kernel tells no peak of the memory")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="made-up inputs to use again, or to make and keep")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="hazegen-plan-") as temporary:
        root = given.folder or Path(temporary)
        if not (root / "images").exists():
            make_names(root, given.scenes)
        out = Path(temporary) / "out"
        told = measure(root, out, given.workers)
        shutil.rmtree(out, ignore_errors=True)
    print(f"{given.scenes:,} scenes: plan after {told['plan_s']} s, first shard after {told['first_shard_s']} s, "
          f"peak memory {told['peak_mb']:,.0f} MB, plan {told['plan_mb']:,.0f} MB")  # fmt: skip
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    print(json.dumps({"scenes": given.scenes, "workers": given.workers, **told, "machine": machine,
                      "date": date.today().isoformat()}))  # fmt: skip


if __name__ == "__main__":
    main()
