"""The local worker pool: every task once, progress counted, errors passed on."""

import os
import signal

import pytest

from hazegen import engine
from hazegen.errors import RefusedError, StoreError, UsageError


def square(task: int, report: engine.Report) -> int:
    for _ in range(task % 3):
        report(1)
    return task * task


def process(task: int, report: engine.Report) -> int:
    return os.getpid()


def refuse_three(task: int, report: engine.Report) -> int:
    if task == 3:
        raise RefusedError(f"task {task} is refused")
    return task


def die(task: int, report: engine.Report) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 3])
def test_every_task_is_done_once_and_its_progress_counted(workers):
    reported = []
    results = list(engine.run(square, range(20), workers, reported.append))
    assert sorted(results) == [task * task for task in range(20)]
    assert sum(reported) == sum(task % 3 for task in range(20))


@pytest.mark.parametrize("workers", [1, 2])
def test_no_tasks_are_done_at_once(workers):
    assert list(engine.run(square, [], workers, print)) == []


def test_one_worker_is_this_process_and_more_are_others():
    assert set(engine.run(process, range(2), 1, lambda number: None)) == {os.getpid()}
    assert os.getpid() not in set(engine.run(process, range(2), 2, lambda number: None))


@pytest.mark.parametrize("workers", [1, 2])
def test_error_of_a_task_is_passed_on(workers):
    with pytest.raises(RefusedError, match="task 3 is refused"):
        list(engine.run(refuse_three, range(6), workers, lambda number: None))


def test_death_of_a_worker_is_said_with_what_to_do():
    with pytest.raises(StoreError, match=r"worker process died.*Run the same command again to continue") as caught:
        list(engine.run(die, range(2), 2, lambda number: None))
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("workers", [0, -1, 1025])
def test_number_of_workers_out_of_range_is_refused(workers):
    with pytest.raises(UsageError, match=f"Expected 1 to 1024, received {workers}. Change --workers"):
        engine.check_workers(workers)


@pytest.mark.parametrize("workers", [1, 1024])
def test_number_of_workers_at_the_ends_of_its_range_is_taken(workers):
    engine.check_workers(workers)


def test_cores_are_those_this_process_may_use():
    assert 1 <= engine.cores() <= (os.cpu_count() or 1)
