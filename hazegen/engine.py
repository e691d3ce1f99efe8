"""Runs independent tasks on a pool of threads; hazegen.pool does so on processes, hazegen.cluster on machines.

Threads where a task reads and checks: codecs, digests and large NumPy operations release the interpreter's lock.
benchmarks/workers.py measures both kinds; docs/decisions.md has the figures.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from hazegen.errors import UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")
Report = Callable[[int], object]

MAX_WORKERS = 1024
POLL_S = 0.2


class _Stopped(Exception):
    """Ends a task whose run is over already."""


def cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_workers(workers: int) -> None:
    """Raises UsageError unless the number of workers is in [1, 1024]."""
    if not 1 <= workers <= MAX_WORKERS:
        raise UsageError(
            f"The number of workers is out of range. Expected 1 to {MAX_WORKERS}, received {workers}. Change --workers."
        )


def name_of(task: object) -> str:
    """What a task is called in messages: the name of its shard, where it builds one."""
    return str(getattr(getattr(task, "plan", None), "name", task))


def run(
    function: Callable[[Task, Report], Result], tasks: Iterable[Task], workers: int, report: Report
) -> Iterator[Result]:
    """Yields function(task, report) for every task, in the order in which they end.

    An error of a task, or an interrupt, ends the run: tasks that are under way stop at their next
    report, and no more are begun than are next already.

    Args:
        function: Calls its second argument with the number of things just done, for the progress
            bar, often enough that it can be stopped there.
        report: Receives what the tasks report, one at a time.
    """
    lock, stop = threading.Lock(), threading.Event()

    def count(number: int) -> None:
        if stop.is_set():
            raise _Stopped
        with lock:
            report(number)

    pool = ThreadPoolExecutor(workers)
    waiting = iter(tasks)
    running: set[Future[Result]] = set()
    try:
        while True:
            # Two tasks a worker keep it busy; a million submitted at once would fill the memory.
            while len(running) < 2 * workers and (task := next(waiting, None)) is not None:
                running.add(pool.submit(function, task, count))
            if not running:
                return
            # In short waits, so that an interrupt is seen at once.
            ended, running = wait(running, POLL_S, FIRST_COMPLETED)
            yield from (future.result() for future in ended)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
