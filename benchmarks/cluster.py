"""One dataset by the local pool, by a dask cluster of which a node dies, and by tasks in any order: equal bytes?

Starts a scheduler and two workers on the loopback interface by dask's own commands, kills one of them with all its
processes while it works, and runs three task indices in the order 2, 0, 1, one of them twice. Takes photos of NYU
Depth v2 (HAZEGEN_TEST_DATA with nyu_labeled: image/N.jpg, depth/N.png of 8 bits, metres = value 10 / 255), else
procedural ones. Prints the commands and a table, and writes JSON.

    python benchmarks/cluster.py --scenes 200 --variants 10 --out cluster.json
    python benchmarks/cluster.py --scenes 12 --variants 2 --shard-mb 0.5 --out cluster.json    # the short form
"""

import argparse
import contextlib
import hashlib
import json
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from hazegen import engine
from hazegen.samples import make_samples

START_S = 60.0
TASKS = (2, 0, 1, 1)  # three of them, the last one twice


@dataclass(frozen=True)
class Loopback:
    """A cluster on this machine: its scheduler's address, and its processes, each with a group of its own."""

    address: str
    scheduler: subprocess.Popen[bytes]
    nodes: list[subprocess.Popen[bytes]]


@contextlib.contextmanager
def loopback(folder: Path, workers: int = 2, tell: Callable[[str], object] = lambda _: None) -> Iterator[Loopback]:
    """Starts scheduler and workers by dask's own commands, and kills what is left of them in the end.

    Args:
        folder: For their logs and what workers keep on the disk.
        tell: Takes each command.
    """
    folder.mkdir(parents=True, exist_ok=True)
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: object) -> subprocess.Popen[bytes]:
        command = [str(Path(sys.executable).with_name("dask")), *map(str, arguments)]
        tell(shlex.join(["dask", *command[1:]]))
        with (folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        started.append(process)
        return process

    here = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--no-dashboard")
    try:
        scheduler = start("scheduler", "scheduler", *here, "--port", 0)
        address = _said(folder / "scheduler.log", rb"Scheduler at: +(tcp://[\d.:]+)")
        own = ("--nthreads", 1, "--local-directory", folder)
        nodes = [start(f"node-{n}", "worker", address, *here, *own, "--name", f"node-{n}") for n in range(workers)]
        for number in range(workers):
            _said(folder / f"node-{number}.log", rb"Registered to: +(tcp://[\d.:]+)")
        yield Loopback(address, scheduler, nodes)
    finally:
        for process in started:
            kill(process)
            process.wait()


def _said(log: Path, pattern: bytes) -> str:
    """What a process has said, once it has."""
    end = time.monotonic() + START_S
    while (found := re.search(pattern, log.read_bytes())) is None:
        if time.monotonic() > end:
            raise TimeoutError(f"'{log.name}' does not say it: {log.read_text()[-1000:]}")
        time.sleep(0.05)
    return found[1].decode()


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kills a process and its children, as when a machine goes down."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a dataset."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@dataclass(frozen=True)
class Way:
    """How a dataset was made, what files came out, and what the client said."""

    name: str
    seconds: float
    files: dict[str, str]
    what: str = ""
    said: str = ""


class Runs:
    """The commands of one campaign: runs them, and keeps what they were."""

    def __init__(self, folder: Path, options: list[object]) -> None:
        self.folder, self.options, self.commands = folder, [str(option) for option in options], []

    def command(self, out: Path, *more: object) -> list[str]:
        hazegen = str(Path(sys.executable).with_name("hazegen"))
        return [hazegen, "make", *self.options, "--out", str(out), *map(str, more)]

    def run(self, out: Path, *more: object) -> str:
        """Runs one command to its end; returns what it printed."""
        self.commands.append(shlex.join(["hazegen", *self.command(out, *more)[1:]]))
        done = subprocess.run(self.command(out, *more), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{self.commands[-1]}\n{done.stdout}{done.stderr}")
        return done.stdout


def locally(runs: Runs, workers: int) -> Way:
    began = time.perf_counter()
    runs.run(runs.folder / "local", "--workers", workers)
    return Way(f"{workers} local workers", time.perf_counter() - began, digests(runs.folder / "local"))


def on_a_cluster(runs: Runs) -> Way:
    """The same on a cluster; one of two nodes is killed when a third of the shards is there."""
    out = runs.folder / "cluster"
    with loopback(runs.folder / "dask", tell=runs.commands.append) as cluster:
        began = time.perf_counter()
        command = runs.command(out, "--scheduler", cluster.address)
        runs.commands.append(shlex.join(["hazegen", *command[1:]]))
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            share = _wait_for_shards(process, out)
            kill(cluster.nodes[0])
            said = b"".join(process.communicate()).decode()
        if process.returncode:
            raise RuntimeError(f"{runs.commands[-1]}\n{said}")
        seconds = time.perf_counter() - began
    return Way("dask, a node killed", seconds, digests(out), f"node killed after {share} shards", said)


def _wait_for_shards(process: subprocess.Popen[bytes], out: Path) -> str:
    while process.poll() is None:
        plan = out / "plan.jsonl"
        planned = set(re.findall(r'"shard": "([^"]+)"', plan.read_text())) if plan.exists() else set()
        done = sum((out / name).exists() for name in planned)
        if planned and 3 * done >= len(planned):
            return f"{done} of {len(planned)}"
        time.sleep(0.02)
    said = b"".join(stream.read() for stream in (process.stdout, process.stderr) if stream).decode()
    raise RuntimeError(f"The run ended before a node could be killed; if it did well, take more scenes. {said}")


def by_tasks(runs: Runs) -> Way:
    out, number = runs.folder / "tasks", max(TASKS) + 1
    began = time.perf_counter()
    runs.run(out, "--plan-only")
    for index in TASKS:
        runs.run(out, "--task-index", index, "--num-tasks", number, "--workers", 1)
    runs.run(out, "--finish")
    return Way("task indices 2, 0, 1, 1", time.perf_counter() - began, digests(out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--variants", type=int, default=10)
    parser.add_argument("--shard-mb", type=float, default=8.0)
    parser.add_argument("--workers", type=int, default=2, help="of the local run")
    parser.add_argument("--out", type=Path, default=Path("cluster.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder), source(Path(folder) / "scenes", given.scenes) + options(given))
        ways = [locally(runs, given.workers), on_a_cluster(runs), by_tasks(runs)]
        size = sum(path.stat().st_size for path in (Path(folder) / "local").iterdir() if path.suffix == ".tfrecord")
    report(ways, runs.commands, size, given)


def source(folder: Path, scenes: int) -> list[object]:
    """The options that name photos and depth maps."""
    if data := os.environ.get("HAZEGEN_TEST_DATA"):
        nyu = Path(data) / "nyu_labeled"
        return ["--images", nyu / "image", "--depth", nyu / "depth", "--depth-scale", 10 / 255, "--limit", scenes]
    make_samples(folder, scenes, 0)
    return ["--images", folder / "images", "--depth", folder / "depth", "--camera", folder / "camera"]


def options(given: argparse.Namespace) -> list[object]:
    return ["--recipe", "aod-released", "--variants", given.variants, "--shard-mb", given.shard_mb]


def report(ways: list[Way], commands: list[str], size: int, given: argparse.Namespace) -> None:
    same = all(way.files == ways[0].files for way in ways)
    shards = sum(name.endswith(".tfrecord") for name in ways[0].files)
    pairs = given.scenes * given.variants
    print("\n".join(commands))
    print(
        f"\n{pairs} pairs, {shards} shards, {size / 1e6:,.1f} MB, {engine.cores()} cores, start of processes included"
    )
    for way in ways:
        print(f"{way.name:<26}{way.seconds:8.1f} s {pairs / way.seconds:8.1f} pairs/s  {way.what}")
    print("all files equal (SHA-256)" if same else "FILES DIFFER")
    content = {"date": str(date.today()), "machine": platform.machine(), "cores": engine.cores(), "pairs": pairs}
    content |= {"shards": shards, "bytes": size, "equal": same, "commands": commands}
    content |= {"ways": [{"name": way.name, "seconds": way.seconds, "what": way.what} for way in ways]}
    given.out.write_text(json.dumps(content, indent=1) + "\n")
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    main()
