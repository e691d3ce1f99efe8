"""The local worker pool: every task once, progress counted, errors passed on."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from hazegen import engine
from hazegen.errors import RefusedError, UsageError


def square(task: int, report: engine.Report) -> int:
    for _ in range(task % 3):
        report(1)
    return task * task


def refuse_three(task: int, report: engine.Report) -> int:
    if task == 3:
        raise RefusedError(f"task {task} is refused")
    return task


@pytest.mark.parametrize("workers", [1, 3])
def test_every_task_is_done_once_and_its_progress_counted(workers):
    reported = []
    results = list(engine.run(square, range(20), workers, reported.append))
    assert sorted(results) == [task * task for task in range(20)]
    assert sum(reported) == sum(task % 3 for task in range(20))


@pytest.mark.parametrize("workers", [1, 2])
def test_no_tasks_are_done_at_once(workers):
    assert list(engine.run(square, [], workers, print)) == []


def test_workers_work_at_the_same_time():
    """Each of two tasks waits for the other."""
    both = threading.Barrier(2, timeout=30)
    assert len(list(engine.run(lambda task, report: both.wait(), range(2), 2, lambda number: None))) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_error_of_a_task_is_passed_on(workers):
    with pytest.raises(RefusedError, match="task 3 is refused"):
        list(engine.run(refuse_three, range(6), workers, lambda number: None))


def test_error_stops_the_tasks_under_way_and_begins_no_more():
    begun = []
    other_runs = threading.Event()

    def work(task: int, report: engine.Report) -> None:
        begun.append(task)
        if task == 0:
            other_runs.wait(30)
            raise RefusedError("enough")
        while True:
            report(1)
            other_runs.set()

    with pytest.raises(RefusedError, match="enough"):
        list(engine.run(work, range(1000), 2, lambda number: None))
    assert len(begun) <= 4  # two at work, and two that were next


def test_error_does_not_wait_for_a_task_that_is_stuck():
    stuck = threading.Event()

    def work(task: int, report: engine.Report) -> None:
        if task == 0:
            raise RefusedError("enough")
        stuck.wait(20)

    began = time.monotonic()
    with pytest.raises(RefusedError, match="enough"):
        list(engine.run(work, range(2), 2, lambda number: None))
    assert time.monotonic() - began < 5
    stuck.set()


def test_ctrl_c_ends_the_process_within_two_seconds_whatever_a_task_waits_for():
    code = (
        "import time; from hazegen import engine\n"
        "def work(task, report): print('at work', flush=True); time.sleep(60)\n"
        "list(engine.run(work, range(2), 2, print))\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
    assert time.monotonic() - began < 2.0
    assert told.count(b"KeyboardInterrupt") == 1


def test_interrupt_stops_the_tasks_under_way():
    def interrupt(number: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(engine.run(square, [2] * 100, 2, interrupt))


def test_reports_come_one_at_a_time():
    inside = []

    def report(number: int) -> None:
        inside.append(1)
        assert len(inside) == 1
        inside.pop()

    list(engine.run(square, [2] * 200, 4, report))


@pytest.mark.parametrize("workers", [0, -1, 1025])
def test_number_of_workers_out_of_range_is_refused(workers):
    with pytest.raises(UsageError, match=f"Expected 1 to 1024, received {workers}. Change --workers"):
        engine.check_workers(workers)


@pytest.mark.parametrize("workers", [1, 1024])
def test_number_of_workers_at_the_ends_of_its_range_is_taken(workers):
    engine.check_workers(workers)


def test_cores_are_those_this_process_may_use():
    assert 1 <= engine.cores() <= (os.cpu_count() or 1)
