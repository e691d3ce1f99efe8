"""Runs independent tasks on this machine: in this process, or on a pool of worker processes.

Processes, not threads: benchmarks/workers.py and docs/decisions.md have the measurement.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from hazegen.errors import StoreError, UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")
Report = Callable[[int], object]

MAX_WORKERS = 1024
POLL_S = 0.2

_done: Any = None  # in a worker process: the counter that all of them share


def cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_workers(workers: int) -> None:
    """Raises UsageError unless the number of workers is in [1, 1024]."""
    if not 1 <= workers <= MAX_WORKERS:
        raise UsageError(
            f"The number of workers is out of range. Expected 1 to {MAX_WORKERS}, received {workers}. Change --workers."
        )


def run(
    function: Callable[[Task, Report], Result], tasks: Sequence[Task], workers: int, report: Report
) -> Iterator[Result]:
    """Yields function(task, report) for every task, in the order in which they end.

    Args:
        function: Of a module's top level. It calls its second argument with the number of things
            just done, for the progress bar.
        workers: 1 runs in this process.
        report: Receives what the tasks report, from all workers together.

    Raises:
        StoreError: A worker process died (killed, or out of memory); what is finished stays.
    """
    if workers == 1:
        yield from (function(task, report) for task in tasks)
        return
    # Spawned, not forked: a fork copies the locks of whatever threads run here.
    context = multiprocessing.get_context("spawn")
    counter = context.Value("Q", 0)
    pool = ProcessPoolExecutor(min(workers, len(tasks) or 1), context, _start_worker, (counter,))
    try:
        yield from _collect(pool, 2 * workers, function, tasks, counter, report)
    except BrokenProcessPool:
        raise StoreError(
            "A worker process died. Expected it to live, received its end by a signal, often for want of memory. "
            "Run the same command again to continue, perhaps with fewer --workers."
        ) from None
    except BaseException:
        for process in list(pool._processes.values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _collect(
    pool: ProcessPoolExecutor,
    at_once: int,
    function: Callable[..., Result],
    tasks: Sequence[Task],
    counter: Any,
    report: Report,
) -> Iterator[Result]:
    """Results as they end; two tasks a worker keep it busy, a million submitted at once would fill the memory."""
    reported = 0
    waiting = iter(tasks)
    running: set[Future[Result]] = set()
    while True:
        while len(running) < at_once and (task := next(waiting, None)) is not None:
            running.add(pool.submit(_call, function, task))
        if not running:
            return
        ended, running = wait(running, POLL_S, FIRST_COMPLETED)
        report(counter.value - reported)
        reported = counter.value
        yield from (future.result() for future in ended)


def _start_worker(counter: Any) -> None:
    global _done
    _done = counter
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the pool


def _call(function: Callable[[Any, Report], Result], task: Any) -> Result:
    return function(task, _count)


def _count(number: int) -> None:
    with _done.get_lock():
        _done.value += number
