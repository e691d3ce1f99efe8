"""Runs independent tasks on this machine, on processes that may die.

Each process is `python -m hazegen.worker`, a fresh interpreter with a socket to this one: nothing is forked and
nobody's __main__ is imported again, so it works from scripts, notebooks and beside TensorFlow. A process that dies
(kill -9, out of memory, the crash of a codec) costs its task another try; when this one dies, all of them end.
"""

import contextlib
import itertools
import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

from hazegen.engine import Report, name_of
from hazegen.errors import RefusedError

Task = TypeVar("Task")
Result = TypeVar("Result")

# So many processes may die at one task until it is given up.
DEATHS = 3
# A socket closes a moment before its process has ended.
ENDING_S = 5.0
# The pool is the parallelism: threads that libraries start of their own would fight over the cores.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1"
)
# Memory of pictures is kept for the next ones: to give it back and have it zeroed again, as glibc does of itself,
# takes a tenth of the time (docs/performance.md). 32 MiB is the most that it allows.
KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(2**30)}

_log = logging.getLogger(__name__)


@dataclass
class _Worker:
    """A process, what it works on, how much of that it has reported, and how many died at it before."""

    process: subprocess.Popen[bytes]
    name: str
    message: bytes
    done: int = 0
    deaths: int = 0


def run(
    function: Callable[[Task, Report], Result], tasks: Iterable[Task], workers: int, report: Report
) -> Iterator[Result]:
    """Yields function(task, report) for every task, in the order in which they end.

    An error of a task, or an interrupt, ends the run and kills the processes at once: what a task has written must
    mean nothing until it is whole. No more processes are started than there are tasks.

    Args:
        function: Of a module, so that another process finds it; the same holds for what it takes and returns.
        report: Receives how much was done since the last report, and takes it back with a number below 0 where a
            process died.

    Raises:
        RefusedError: Three processes died at one task.
    """
    # Processes end by being killed, and clear up nothing: what they had in their temporary folder goes with ours.
    with tempfile.TemporaryDirectory(prefix="hazegen-", ignore_cleanup_errors=True) as folder:
        yield from _run(function, iter(tasks), workers, report, folder)


def _run(
    function: Callable[..., Result], waiting: Iterator[Any], workers: int, report: Report, folder: str
) -> Iterator[Result]:
    working: dict[Connection, _Worker] = {}
    try:
        for task in itertools.islice(waiting, workers):
            _start(working, folder, name_of(task), pickle.dumps((function, task)))
        while working:
            for connection in wait(list(working)):
                assert isinstance(connection, Connection)
                worker = working[connection]
                kind, content = _hear(connection)
                if kind == "done":
                    worker.done += content
                    report(content)
                elif kind == "result":
                    _go_on(working, connection, function, next(waiting, None))
                    yield content
                elif kind == "error":
                    raise content
                else:
                    report(-worker.done)
                    _replace(working, folder, connection)
    finally:
        _end(working, list(working))


def _hear(connection: Connection) -> tuple[str, Any]:
    """The next message of a process: what it is, and its content; 'died' where none can come any more."""
    try:
        message: tuple[str, Any] = connection.recv()
    except (EOFError, OSError):
        return "died", None
    return message


def _start(working: dict[Connection, _Worker], folder: str, name: str, message: bytes, deaths: int = 0) -> None:
    """Starts a process, with `folder` for its temporary files, and gives it a task."""
    # The same modules are found as here; -P: a file beside the user's data must not stand in for one of them.
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    ours, theirs = Pipe()
    with theirs, _interrupts_held_back():
        command = [sys.executable, "-P", "-m", "hazegen.worker", str(theirs.fileno())]
        process = subprocess.Popen(
            command,
            env={**os.environ, **ONE_THREAD, **KEPT_MEMORY, "PYTHONPATH": path, "TMPDIR": folder},
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # results come through the socket, and nothing may mix with our output
        )
        working[ours] = _Worker(process, name, message, deaths=deaths)
    _give(ours, message)


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Blocks Ctrl-C here for a moment, and for ever in processes started meanwhile: they inherit the mask.

    A terminal sends Ctrl-C to all of its foreground's processes; what it means is decided in this one alone.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _give(connection: Connection, message: bytes) -> None:
    # One that has died meanwhile is noticed when it is heard next.
    with contextlib.suppress(OSError):
        connection.send_bytes(message)


def _go_on(
    working: dict[Connection, _Worker], connection: Connection, function: Callable[..., Any], task: object
) -> None:
    """Gives a process its next task, or ends it where there is none."""
    if task is None:
        _end(working, [connection])
        return
    message = pickle.dumps((function, task))
    working[connection] = _Worker(working[connection].process, name_of(task), message)
    _give(connection, message)


def _replace(working: dict[Connection, _Worker], folder: str, connection: Connection) -> None:
    """Gives the task of a process that has died to a fresh one.

    Raises:
        RefusedError: It was the last try.
    """
    worker = working[connection]
    how, deaths = _how_it_ended(worker.process), worker.deaths + 1
    _end(working, [connection])
    if deaths >= DEATHS:
        raise RefusedError(
            f"{deaths} processes died at work on '{worker.name}', the last one {how}. Expected a result, received "
            "none. If memory ran out, pass fewer --workers; the same command goes on with what is left."
        )
    _log.warning("A process died at work on '%s', %s; another one takes it up.", worker.name, how)
    _start(working, folder, worker.name, worker.message, deaths)


def _how_it_ended(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(ENDING_S)
    except subprocess.TimeoutExpired:
        return "without an end"
    if code >= 0:
        return f"with exit status {code}"
    known = {one.value for one in signal.Signals}
    return f"by {signal.Signals(-code).name if -code in known else f'signal {-code}'}"


def _end(working: dict[Connection, _Worker], connections: list[Connection]) -> None:
    """Kills processes, all before the first is waited for, and forgets them."""
    ended = [(connection, working.pop(connection)) for connection in connections]
    for connection, worker in ended:
        worker.process.kill()
        connection.close()
    for _, worker in ended:
        worker.process.wait()
