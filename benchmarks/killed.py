"""One large real dataset, made in one go and made again with the run killed five times on the way.

NYU Depth v2 under the recipe reside-its with 35 variants of each frame, some 15,000 pairs. Needs
HAZEGEN_TEST_DATA: a folder with nyu_labeled (image/N.jpg, depth/N.png of 8 bits, metres = value 10 / 255).

    HAZEGEN_TEST_DATA=... python benchmarks/killed.py --out build/killed --workers 2
"""

import argparse
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

METRES_PER_UNIT = 10 / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/killed"), help="new folder for everything")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--variants", type=int, default=35)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--limit", type=int, help="use only so many frames")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    given = parser.parse_args()
    nyu = Path(os.environ["HAZEGEN_TEST_DATA"]) / "nyu_labeled"
    given.out.mkdir(parents=True)
    words = ["make", "--images", nyu / "image", "--depth", nyu / "depth", "--depth-scale", METRES_PER_UNIT]
    words += ["--recipe", "reside-its", "--variants", given.variants, "--workers", given.workers]
    words += [] if given.limit is None else ["--limit", given.limit]
    whole, killed = given.out / "whole", given.out / "killed"

    unbroken_s = timed([*words, "--out", whole])
    # Each run has to live long enough to finish some shards, and all of them together must not finish the last.
    moments = np.random.default_rng(given.seed).uniform(0.1, 0.3, given.kills) * unbroken_s * 3.0 / given.kills
    parts_s = [kill_after([*words, "--out", killed], moment) for moment in moments]
    parts_s.append(timed([*words, "--out", killed]))
    verify_s = timed(["verify", killed])

    known = json.loads((killed / "manifest.json").read_text())
    size = sum(shard["bytes"] for shard in known["shards"])
    pairs = sum(shard["records"] for shard in known["shards"])
    result = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": time.strftime("%Y-%m-%d"),
        "workers": given.workers,
        "pairs": pairs,
        "shards": len(known["shards"]),
        "bytes": size,
        "unbroken_s": round(unbroken_s, 1),
        "pairs_per_s": round(pairs / unbroken_s, 1),
        "kills": given.kills,
        "with_kills_s": round(sum(parts_s), 1),
        "verify_s": round(verify_s, 1),
        "identical": digests(whole) == digests(killed),
        "temporary_files_left": sum(path.name.endswith(".tmp") for path in killed.rglob("*")),
    }
    (given.out / "killed.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    sys.exit(0 if result["identical"] and not result["temporary_files_left"] else 1)


def hazegen(words: list[object]) -> list[str]:
    """The command line of this Python's hazegen."""
    print("$ hazegen", *words, flush=True)
    return [str(Path(sys.executable).with_name("hazegen")), *map(str, words)]


def timed(words: list[object]) -> float:
    """Runs a command to its end; its wall-clock time [s]."""
    began = time.monotonic()
    subprocess.run(hazegen(words), check=True)
    return time.monotonic() - began


def kill_after(words: list[object], seconds: float) -> float:
    """Starts a command and ends it by SIGKILL after so many seconds; the time that it had [s]."""
    began = time.monotonic()
    process = subprocess.Popen(hazegen(words))
    try:
        process.wait(seconds)
        raise SystemExit("The run ended before it was killed. Take more variants, or fewer kills.")
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    print(f"killed after {seconds:.1f} s", flush=True)
    return time.monotonic() - began


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a dataset."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.file_digest(path.open("rb"), "sha256").hexdigest() for path in files}


if __name__ == "__main__":
    main()
