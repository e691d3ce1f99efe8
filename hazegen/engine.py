"""Runs independent tasks on a pool of threads; hazegen.pool does so on processes, hazegen.cluster on machines.

Threads where a task reads and checks: codecs, digests and large NumPy operations release the interpreter's lock.
benchmarks/workers.py measures both kinds; docs/decisions.md has the figures.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from hazegen.errors import UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")
Report = Callable[[int], object]

MAX_WORKERS = 1024
POLL_S = 0.2
# After an error or an interrupt tasks have so long to reach their next report; one that waits for a store is left.
ENDING_S = 1.0


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
    report, and no more are begun than are next already. One that does not for a second is not waited for: its thread
    ends with the process.

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

    threads = _Threads(lambda task: function(task, count))
    waiting, under_way = iter(tasks), 0
    try:
        while True:
            # Two tasks a worker keep it busy; a million submitted at once would fill the memory.
            while under_way < 2 * workers and (task := next(waiting, None)) is not None:
                threads.give(task, workers)
                under_way += 1
            if not under_way:
                return
            for future in threads.ended():
                under_way -= 1
                yield future.result()
    finally:
        stop.set()
        threads.end()


class _Threads:
    """Daemons that do what they are given: an executor's threads would be waited for when the process ends."""

    def __init__(self, do: Callable[[Any], Any]) -> None:
        self.do, self.started = do, list[threading.Thread]()
        self.given: SimpleQueue[Any] = SimpleQueue()
        self.done: SimpleQueue[Future[Any]] = SimpleQueue()
        self.over = threading.Event()

    def give(self, task: object, most: int) -> None:
        """Adds a task, and a thread where there are fewer than `most`."""
        self.given.put(task)
        if len(self.started) < most:
            self.started.append(threading.Thread(target=self._work, daemon=True))
            self.started[-1].start()

    def ended(self) -> Iterator["Future[Any]"]:
        """The next that has ended; none after a short wait, so that an interrupt is seen at once."""
        try:
            yield self.done.get(timeout=POLL_S)
        except Empty:
            return

    def end(self) -> None:
        """Begins no more tasks, and waits a moment for those under way."""
        self.over.set()
        for _ in self.started:
            self.given.put(None)
        until = time.monotonic() + ENDING_S
        for thread in self.started:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        while (task := self.given.get()) is not None and not self.over.is_set():
            future: Future[Any] = Future()
            try:
                future.set_result(self.do(task))
            except BaseException as error:
                future.set_exception(error)
            self.done.put(future)
