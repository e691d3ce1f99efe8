"""A dataset in an S3 store against the same one on the disk: time, requests, and what faults of the store change.

The store is moto's server, a process of its own on the loopback interface: its times are those of Python answering
Python, an upper bound of the work and no measure of a real store's latency. Requests are counted, and faults made, by
a proxy in this process. Prints a table, writes JSON, and exits with 1 where a promise of docs/stores.md was broken.

    python benchmarks/s3.py --out s3.json
    python benchmarks/s3.py --out s3.json --scenes 4 --variants 2     # a minute
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from s3_fixtures import BUSY, CREDENTIALS, CUT, INTERNAL, LOST, REFUSED, SLOW, Bucket, after, every, never, on_disk

FAULTS = (INTERNAL, BUSY, REFUSED, CUT, LOST, SLOW)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("s3.json"), help="[default: s3.json]")
    parser.add_argument("--scenes", type=int, default=40, help="procedural scenes of 640 x 480 [default: 40]")
    parser.add_argument("--variants", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--fault-every", type=int, default=10, help="which request fails [default: each 10th]")
    given = parser.parse_args()
    os.environ.update(CREDENTIALS)  # read by this process's own client
    with tempfile.TemporaryDirectory() as scratch, server() as url:
        rows = Campaign(Path(scratch), Bucket(url), given).run()
    told = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "date": str(date.today())}
    told |= {name: getattr(given, name) for name in ("scenes", "variants", "workers", "fault_every")}
    given.out.write_text(json.dumps({**told, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    print_table(rows)
    return 0 if all(row["kept"] for row in rows) else 1


@contextmanager
def server() -> Iterator[str]:
    """moto's server in a process of its own: its address."""
    code = (
        "import time; from s3_fixtures import moto_server\n"
        "with moto_server() as url: print(url, flush=True); time.sleep(1e9)\n"
    )
    folder = Path(__file__).parents[1] / "tests"
    with subprocess.Popen([sys.executable, "-c", code], cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


class Campaign:
    """The same dataset, made again and again.

    Attributes:
        pairs: Of the dataset.
        local: Its files as the disk has them.
    """

    def __init__(self, scratch: Path, bucket: Bucket, given: argparse.Namespace) -> None:
        self.scratch, self.bucket, self.given = scratch, bucket, given
        self.pairs = given.scenes * given.variants
        self.local: dict[str, bytes] = {}

    def run(self) -> list[dict[str, Any]]:
        scenes = self.scratch / "scenes"
        self.hazegen("samples", "--out", scenes, "--scenes", self.given.scenes)
        for part in ("images", "depth", "camera"):
            self.bucket.put(scenes / part, part)
        return [
            self.on_disk(scenes),
            self.direct(),
            self.counted(),
            self.with_faults(),
            self.cut_off(),
            self.verified(),
        ]

    def on_disk(self, scenes: Path) -> dict[str, Any]:
        self.bucket.proxy.requests.clear()
        seconds, status = self.make(scenes, self.scratch / "pairs")
        self.local = on_disk(self.scratch / "pairs")
        return self.row("disk to disk", seconds, kept=status == 0)

    def direct(self) -> dict[str, Any]:
        """Without the proxy in between."""
        address = f"http://{self.bucket.proxy.target}"
        seconds, status = self.make(self.bucket.place(), self.bucket.place("direct"), AWS_ENDPOINT_URL=address)
        return self.row("store to store", seconds, kept=status == 0 and self.same("direct"))

    def counted(self) -> dict[str, Any]:
        self.bucket.proxy.requests.clear()  # of the copies of the inputs
        seconds, status = self.make(self.bucket.place(), self.bucket.place("counted"))
        return self.row("the same, counted", seconds, kept=status == 0 and self.same("counted"))

    def with_faults(self) -> dict[str, Any]:
        """Each k-th request fails, by each fault in turn."""
        self.bucket.proxy.requests.clear()
        self.bucket.proxy.fate, self.bucket.proxy.slow_s = every(self.given.fault_every, *FAULTS), 0.2
        seconds, status = self.make(self.bucket.place(), self.bucket.place("faults"))
        self.bucket.proxy.fate = never
        return self.row(f"each {self.given.fault_every}th request fails", seconds, status == 0 and self.same("faults"))

    def cut_off(self) -> dict[str, Any]:
        """The store fails for good in the middle, and is there again for the same command."""
        half = self.bucket.proxy.requests.total() // 2
        self.bucket.proxy.requests.clear()
        self.bucket.proxy.fate = after(half, INTERNAL)
        seconds, first = self.make(self.bucket.place(), self.bucket.place("cut"))
        whole = all(self.local.get(name, data) == data for name, data in self.bucket.content("cut").items())
        unfinished = "manifest.json" not in self.bucket.content("cut")
        self.bucket.proxy.fate = never
        more, second = self.make(self.bucket.place(), self.bucket.place("cut"))
        kept = first == 4 and whole and unfinished and second == 0 and self.same("cut")
        return self.row("cut off in the middle, and again", seconds + more, kept)

    def verified(self) -> dict[str, Any]:
        self.bucket.proxy.requests.clear()
        began = time.monotonic()
        status = self.hazegen("verify", self.bucket.place("counted"))
        return self.row("verify", time.monotonic() - began, kept=status == 0)

    def same(self, name: str) -> bool:
        return self.bucket.content(name) == self.local and not self.bucket.uploads()

    def make(self, inputs: Path, out: Path, **environment: str) -> tuple[float, int]:
        """Seconds and exit status of one `hazegen make`."""
        folders = [f"--{part}={inputs / part}" for part in ("images", "depth", "camera")]
        told = ["--out", out, "--recipe", "outdoor-visibility", "--variants", self.given.variants]
        told += ["--workers", self.given.workers, "--shard-mb", 8, "--quiet"]
        began = time.monotonic()
        status = self.hazegen("make", *folders, *told, **environment)
        return time.monotonic() - began, status

    def hazegen(self, *arguments: object, **environment: str) -> int:
        code = "import sys; from hazegen.cli import main; sys.exit(main())"
        variables = os.environ | self.bucket.environment | {"WANDB_MODE": "disabled"} | environment
        run = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.run(run, env=variables, stdout=subprocess.DEVNULL, check=False).returncode

    def row(self, what: str, seconds: float, kept: bool) -> dict[str, Any]:
        proxy = self.bucket.proxy
        requests, faults = dict(proxy.requests), dict(proxy.faults)
        proxy.faults.clear()
        megabytes = sum(map(len, self.local.values())) / 1e6
        return {
            "what": what,
            "pairs": self.pairs,
            "megabytes": round(megabytes, 1),
            "seconds": round(seconds, 1),
            "requests": requests,
            "faults": faults,
            "kept": kept,
        }


def print_table(rows: list[dict[str, Any]]) -> None:
    print("| what | seconds | pairs/s | requests a pair | faults | bytes as on the disk |\n|---|---|---|---|---|---|")
    for row in rows:
        asked, failed = sum(row["requests"].values()), sum(row["faults"].values())
        rate, each = row["pairs"] / row["seconds"], asked / row["pairs"]
        shown = f"{each:.2f}" if asked else "-"
        print(f"| {row['what']} | {row['seconds']} | {rate:.1f} | {shown} | {failed or '-'} | {row['kept']} |")


if __name__ == "__main__":
    sys.exit(main())
