"""hazegen make as a process that is killed, interrupted, or finds the disk full: what is left, and what comes of it."""

import contextlib
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hazegen.manifest import PLAN
from hazegen.stores import TEMPORARY

MARK = "HAZEGEN_RELIABILITY"  # in the environment of a run, and so of all its workers
COMMAND = [sys.executable, "-c", "import sys; from hazegen.cli import main; sys.exit(main())", "make"]
# What an interrupted run may take to end, the workers of a dead one, and any run at all [s].
INTERRUPT_S, ORPHAN_S, RUN_S = 2.0, 5.0, 300.0
SHARE_IN_START = 0.1
# How often a worker is killed where there is one; at the begin and the end of a run there is none.
SHARE_OF_WORKERS = 0.7
# A run that has ended before its moment came counts as no kill; so often a moment is tried for each.
TRIES = 5
# Least size that files are limited to: what the run says of it has to fit too [bytes].
SMALLEST = 2000


@dataclass(frozen=True)
class Site:
    """Inputs, what their dataset must be, and how long it takes.

    Attributes:
        inputs: Folder with images, depth and camera.
        work: Where datasets are made.
        options: Of hazegen make.
        workers: Numbers of workers, in turn.
        whole: SHA-256 of each file of the dataset.
        seconds: From the plan to the end, by workers.
    """

    inputs: Path
    work: Path
    options: tuple[str, ...]
    workers: tuple[int, ...] = (1, 2, 3)
    whole: dict[str, str] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)


class Run:
    """One process of hazegen make and its workers, in a process group of its own."""

    def __init__(self, site: Site, out: Path, workers: int, limit: int | None = None) -> None:
        folders = [f"--{name}={site.inputs / name}" for name in ("images", "depth", "camera")]
        words = [*COMMAND, *folders, f"--out={out}", f"--workers={workers}", *site.options]
        self.out, self.mark = out, f"{out.name}-{time.monotonic_ns()}"
        # A file, not a pipe: a worker that outlives its parent would hold the pipe open.
        self.log = site.work / f"{self.mark}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                words,
                env=os.environ | {MARK: self.mark},
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: _prepare(limit),
            )

    def wait(self) -> tuple[int, str]:
        """Exit status and output."""
        try:
            status = self.process.wait(RUN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
            return status, f"hung: {self.log.read_text()}"
        return status, self.log.read_text()

    def wait_for(self, name: str) -> None:
        """Until the run has written a file, or has ended."""
        while not (self.out / name).exists() and self.process.poll() is None:
            time.sleep(0.002)

    def workers(self) -> list[int]:
        """Process numbers of the workers that live."""
        return [pid for pid in marked(self.mark) if pid != self.process.pid]

    def orphans(self) -> float:
        """How long processes lived on after the first one's end [s]; a number above ORPHAN_S if they still do."""
        began = time.monotonic()
        while marked(self.mark) and time.monotonic() - began < 2 * ORPHAN_S:
            time.sleep(0.01)
        for pid in marked(self.mark):
            kill(pid, signal.SIGKILL)
        return time.monotonic() - began


def _prepare(limit: int | None) -> None:
    """In the new process: hears Ctrl-C even where the shell has put the campaign into the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def marked(mark: str) -> list[int]:
    """The living processes that a run has started, by the mark in their environment."""
    sought = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and sought in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def kill(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below a folder, hidden ones too."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def measure(site: Site) -> list[str]:
    """Makes the dataset once with each number of workers; returns what differed."""
    broken = []
    for workers in site.workers:
        run = Run(site, site.work / f"whole-{workers}", workers)
        run.wait_for(PLAN)
        planned = time.monotonic()
        status, output = run.wait()
        site.seconds[workers] = time.monotonic() - planned
        found = digests(run.out)
        site.whole.update(site.whole or found)
        if status or found != site.whole:
            broken.append(f"{workers} workers, exit {status}: {output}")
    return broken


def wait_for_moment(run: Run, site: Site, workers: int, rng: np.random.Generator) -> None:
    """A random moment of a run: mostly between its plan and its end, sometimes before."""
    if rng.random() < SHARE_IN_START:
        time.sleep(rng.uniform(0.0, 1.5))
        return
    run.wait_for(PLAN)
    time.sleep(rng.uniform(0.0, site.seconds[workers]))


def finish(site: Site, out: Path, workers: int) -> str:
    """Gives the same command again; returns what is not as it must be."""
    status, output = Run(site, out, workers).wait()
    found = digests(out)
    if status:
        return f"the next run ended with {status}: {output}"
    if found != site.whole:
        differing = sorted(name for name in found.keys() | site.whole.keys() if found.get(name) != site.whole.get(name))
        return f"another dataset: {differing}"
    return ""


@contextmanager
def place(site: Site, name: str) -> Iterator[Path]:
    """A new folder for a dataset."""
    out = site.work / name
    yield out
    shutil.rmtree(out, ignore_errors=True)


def kills(site: Site, count: int, rng: np.random.Generator, say: Callable[[str], None]) -> dict[str, Any]:
    """kill -9 of the first process or of a worker, until `count` have hit a living one; each run is ended then."""
    broken: list[str] = []
    tally = {"parent": 0, "worker": 0}
    identical = tried = 0
    orphan_s = 0.0
    while sum(tally.values()) < count and tried < TRIES * count:
        workers = site.workers[tried % len(site.workers)]
        tried += 1
        with place(site, f"kill-{tried}") as out:
            run = Run(site, out, workers)
            wait_for_moment(run, site, workers, rng)
            victims = run.workers() if rng.random() < SHARE_OF_WORKERS else []
            victim = int(rng.choice(victims)) if victims else run.process.pid
            if run.process.poll() is not None or not kill(victim, signal.SIGKILL):
                run.wait()
                continue  # it was through already
            tally["parent" if victim == run.process.pid else "worker"] += 1
            status, output = run.wait()
            orphan_s = max(orphan_s, run.orphans())
            if victim != run.process.pid and status:
                broken.append(f"{tried}: a worker's death ended the run with {status}: {output}")
            problem = finish(site, out, workers)
            identical += not problem
            broken += [f"{tried}: {workers} workers: {problem}"] * bool(problem)
            say(f"kill {sum(tally.values())}/{count}: {problem or 'identical'}")
    if orphan_s > ORPHAN_S:
        broken.append(f"processes lived on for {orphan_s:.1f} s")
    broken += [f"only {tally} of {count} kills hit a run"] * (sum(tally.values()) < count)
    return {"kills": tally, "identical": identical, "longest_orphan_s": round(orphan_s, 2), "broken": broken}


def interrupts(site: Site, count: int, rng: np.random.Generator, say: Callable[[str], None]) -> dict[str, Any]:
    """Ctrl-C to the whole process group; the run must end soon, with 130, and go on."""
    broken: list[str] = []
    times: list[float] = []
    tried = 0
    while len(times) < count and tried < TRIES * count:
        workers = site.workers[tried % len(site.workers)]
        tried += 1
        with place(site, f"interrupt-{tried}") as out:
            run = Run(site, out, workers)
            run.wait_for(PLAN)
            time.sleep(rng.uniform(0.0, site.seconds[workers]))
            if run.process.poll() is not None:
                run.wait()
                continue
            began = time.monotonic()
            os.killpg(run.process.pid, signal.SIGINT)
            status, output = run.wait()
            seconds = time.monotonic() - began
            if status == 0:
                continue  # it was at its end
            times.append(seconds)
            orphan_s = run.orphans()
            if status != 130 or seconds > INTERRUPT_S or orphan_s > 1.0:
                broken.append(f"{tried}: exit {status} after {seconds:.2f} s, workers {orphan_s:.2f} s: {output}")
            problem = finish(site, out, workers)
            broken += [f"{tried}: {problem}"] * bool(problem)
            say(f"interrupt {len(times)}/{count}: {seconds:.2f} s, {problem or 'identical'}")
    broken += [f"only {len(times)} of {count} interrupts hit a run"] * (len(times) < count)
    return {"interrupts": len(times), "longest_s": round(max(times, default=0.0), 2), "broken": broken}


def full_disks(site: Site, count: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Files may grow to a limit only, at `count` sizes up to the largest shard's; then without it."""
    largest = max(path.stat().st_size for path in (site.work / "whole-1").iterdir())
    broken: list[str] = []
    refused = 0
    for number, limit in enumerate(np.geomspace(SMALLEST, largest - 1, count).astype(int)):
        with place(site, f"full-{number}") as out:
            status, output = Run(site, out, site.workers[number % len(site.workers)], int(limit)).wait()
            refused += status == 4
            broken += [f"{limit}: {problem}" for problem in problems_of_full(site, out, status, output)]
            problem = finish(site, out, 1)
            broken += [f"{limit}: {problem}"] * bool(problem)
            say(f"limit of {limit} bytes: exit {status}, {problem or 'identical'}")
    return {"sizes": count, "refused": refused, "broken": broken}


def problems_of_full(site: Site, out: Path, status: int, output: str) -> list[str]:
    """What a run on a full disk may not do."""
    problems = [] if status == 4 else [f"exit {status}: {output}"]
    if " MB" not in output and "bytes" not in output:
        problems.append(f"no word of the bytes needed: {output}")
    left = digests(out) if out.exists() else {}
    cut = [name for name, sha in left.items() if name.endswith(".tfrecord") and sha != site.whole[name]]
    cut += [name for name in left if name.endswith(TEMPORARY)]
    return problems + [f"left behind: {name}" for name in cut]


def small_disk(site: Site, say: Callable[[str], None]) -> dict[str, Any]:
    """A file system of half the size that the dataset takes, where this user may mount one."""
    size = sum(path.stat().st_size for path in (site.work / "whole-1").iterdir())
    with place(site, "small") as folder:
        folder.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size // 2}", "tmpfs", str(folder)], capture_output=True, check=False
        )
        if mounted.returncode:
            say("no file system could be mounted")
            return {"sizes": 0, "broken": []}
        try:
            out = folder / "out"
            status, output = Run(site, out, 2).wait()
            broken = problems_of_full(site, out, status, output)
            subprocess.run(["mount", "-o", f"remount,size={3 * size}", str(folder)], check=True)
            problem = finish(site, out, 2)
            say(f"a disk of half the size: exit {status}, {problem or 'identical'}")
            return {"sizes": 1, "broken": broken + [problem] * bool(problem), "said": output.strip().splitlines()[-1:]}
        finally:
            subprocess.run(["umount", str(folder)], check=False)


def two_at_once(site: Site, say: Callable[[str], None]) -> dict[str, Any]:
    """A second run in the folder in which the first works."""
    with place(site, "two") as out:
        first = Run(site, out, 2)
        first.wait_for(PLAN)
        status, output = Run(site, out, 2).wait()
        ended, said = first.wait()
        problem = "" if digests(out) == site.whole else "another dataset"
        say(f"two at once: exit {status} and {ended}, {problem or 'identical'}")
        broken = [problem] * bool(problem)
        if status != 3 or ended != 0 or "Another run works in" not in output:
            broken.append(f"the second ended with {status}, the first with {ended}: {output} {said}")
        return {"refused": int(status == 3), "broken": broken}


def watched(site: Site, say: Callable[[str], None], least: int) -> dict[str, Any]:
    """Opens every file of a dataset under its final name, over and over, while it is being made."""
    opened = partial = rounds = 0
    broken: list[str] = []
    while opened < least:
        with place(site, f"watched-{rounds}") as out:
            run = Run(site, out, site.workers[rounds % len(site.workers)])
            while run.process.poll() is None:
                for name, sha in site.whole.items():
                    with contextlib.suppress(FileNotFoundError):
                        partial += hashlib.sha256((out / name).read_bytes()).hexdigest() != sha
                        opened += 1
            status, output = run.wait()
            broken += [f"exit {status}: {output}"] * bool(status)
        rounds += 1
    say(f"{opened} opens of final names, {partial} partial")
    return {"opens": opened, "partial": partial, "broken": broken + [f"{partial} partial files"] * bool(partial)}
