"""Processes that may die: every task once, nothing lost, nobody left behind."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pool_tasks
import pytest

from hazegen import errors, pool, worker
from hazegen.errors import RefusedError

TESTS = Path(__file__).parent


def nothing(number: int) -> None:
    """Progress that nobody looks at."""


def children() -> set[int]:
    """Processes of ours, zombies too."""
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return {int(number) for number in path.read_text().split()}


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_for(condition, seconds: float = 20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def nobody_is_left():
    """After each test: no process of the pool, no zombie, no open file more than before."""
    before, files = children(), len(os.listdir("/proc/self/fd"))
    yield
    assert children() == before
    assert len(os.listdir("/proc/self/fd")) == files


@pytest.mark.parametrize("workers", [1, 3])
def test_every_task_is_done_once_and_its_progress_counted(workers):
    reported = []
    results = list(pool.run(pool_tasks.square, range(20), workers, reported.append))
    assert sorted(results) == [task * task for task in range(20)]
    assert sum(reported) == sum(task % 3 for task in range(20))


def test_no_tasks_are_done_at_once():
    assert list(pool.run(pool_tasks.square, [], 2, nothing)) == []


def test_tasks_are_taken_from_any_iterable_as_they_are_needed():
    taken = []
    results = pool.run(pool_tasks.square, (taken.append(task) or task for task in range(1000)), 2, nothing)
    next(results)
    assert len(taken) <= 4
    results.close()


def test_processes_work_at_the_same_time_and_are_no_more_than_the_tasks():
    assert len(set(pool.run(pool_tasks.who, range(2), 8, nothing))) == 2
    assert len(set(pool.run(pool_tasks.who, range(20), 2, nothing))) == 2


def test_progress_is_gathered():
    reported = []
    list(pool.run(pool_tasks.count_to, [20000], 1, reported.append))
    assert sum(reported) == 20000
    assert len(reported) < 100


def test_error_of_a_task_is_passed_on_and_ends_the_run():
    with pytest.raises(RefusedError, match="task 3 is refused"):
        list(pool.run(pool_tasks.refuse_three, range(100), 2, nothing))


@pytest.mark.parametrize("name", ["HazegenError", "UsageError", "RefusedError", "VerifyError", "StoreError"])
def test_errors_of_hazegen_stay_what_they_are(name):
    with pytest.raises(errors.HazegenError) as caught:
        list(pool.run(pool_tasks.fail, [name], 1, nothing))
    assert type(caught.value) is getattr(errors, name)
    assert str(caught.value) == f"text of {name}"


def test_rejection_of_a_scene_keeps_its_message_and_exit_code():
    with pytest.raises(RefusedError, match=r"^the depth map is empty$") as caught:
        list(pool.run(pool_tasks.fail, ["SceneRejected"], 1, nothing))
    assert caught.value.exit_code == 3


def test_error_of_the_disk_keeps_its_number_and_file():
    with pytest.raises(OSError, match="No space left on device") as caught:
        list(pool.run(pool_tasks.fail, ["disk"], 1, nothing))
    assert (caught.value.errno, caught.value.filename) == (28, "train-00000-of-00001.tfrecord")


def test_a_bug_comes_with_its_traceback_in_the_worker():
    with pytest.raises(KeyError) as caught:
        list(pool.run(pool_tasks.fail, ["bug"], 1, nothing))
    assert "In a worker process" in caught.value.__notes__[0]
    assert "raise raised[task]" in caught.value.__notes__[0]


def test_error_that_cannot_be_pickled_is_passed_on_as_text():
    with pytest.raises(RuntimeError, match="what went wrong") as caught:
        list(pool.run(pool_tasks.fail, ["foreign"], 1, nothing))
    assert "Unpicklable" in str(caught.value)
    assert "raise raised[task]" in str(caught.value)


def test_result_that_cannot_be_pickled_is_an_error():
    with pytest.raises(Exception, match="pickle"):
        list(pool.run(pool_tasks.give_lambda, [1], 1, nothing))


def test_portable_error_is_the_same_object_where_it_survives():
    error = RefusedError("no")
    assert worker.portable(error) is error


@pytest.mark.parametrize("times", [1, 2])
def test_task_of_a_dead_process_goes_to_another_and_its_progress_is_taken_back(tmp_path, times, caplog):
    reported = []
    tasks = [pool_tasks.Mortal(tmp_path, f"shard-{number}", times if number == 1 else 0) for number in range(4)]
    with caplog.at_level(logging.WARNING, "hazegen"):
        results = sorted(pool.run(pool_tasks.die, tasks, 2, reported.append))
    assert results == [f"shard-{number}" for number in range(4)]
    assert sum(reported) == 4 * 7
    assert min(reported) < 0
    assert "A process died at work on 'shard-1', by SIGKILL; another one takes it up." in caplog.text


@pytest.mark.parametrize(("number", "name"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV")])
def test_task_at_which_three_processes_died_is_given_up(tmp_path, number, name):
    tasks = [pool_tasks.Mortal(tmp_path, "shard-0", 0), pool_tasks.Mortal(tmp_path, "shard-1", 99, number)]
    with pytest.raises(RefusedError, match=f"3 processes died at work on 'shard-1', the last one by {name}. Expected a "
                       "result, received none. If memory ran out, pass fewer --workers") as caught:  # fmt: skip
        list(pool.run(pool_tasks.die, tasks, 2, nothing))
    assert caught.value.exit_code == 3
    assert len(list(tmp_path.glob("shard-1.*"))) == 3


def test_process_that_ends_itself_is_named_with_its_exit_status():
    with pytest.raises(RefusedError, match="at work on '7', the last one with exit status 7"):
        list(pool.run(pool_tasks.leave, [7], 1, nothing))


def test_any_process_may_be_killed_at_any_time(monkeypatch):
    """Every third result kills a process: now one that works, now one that starts, perhaps at one task again."""
    monkeypatch.setattr(pool, "DEATHS", 1000)
    results, killed = [], 0
    for result in pool.run(pool_tasks.who, range(30), 3, nothing):
        results.append(result)
        alive = sorted(pid for pid in children() if is_alive(pid))
        if len(results) % 3 == 0 and alive:
            os.kill(alive[killed % len(alive)], signal.SIGKILL)
            killed += 1
    assert len(results) == 30
    assert killed >= 8


def test_interrupt_kills_the_processes_whatever_they_are_doing(tmp_path):
    def interrupt(number: int) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(pool.run(pool_tasks.work_until_killed, [tmp_path] * 3, 3, interrupt))
    assert time.monotonic() - began < 10


def test_a_run_that_is_given_up_half_way_leaves_nobody():
    results = pool.run(pool_tasks.who, range(100), 2, nothing)
    next(results)
    results.close()


@pytest.mark.parametrize("name", sorted(pool.ONE_THREAD))
def test_libraries_in_the_processes_start_one_thread(name):
    assert list(pool.run(pool_tasks.environment, [name], 1, nothing)) == ["1"]


def test_the_processes_share_neither_input_nor_output_nor_interrupts(capfd):
    assert list(pool.run(pool_tasks.standard_streams, [0], 1, nothing)) == [("", True)]
    assert capfd.readouterr() == ("", "")
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import pool_tasks
from hazegen import pool
for result in pool.run(pool_tasks.{task}, [Path({folder!r})] * 3, 3, lambda number: None):
    print(result)
"""


@pytest.fixture
def script(tmp_path):
    """A script without a guard, at work with three processes; and these."""
    (tmp_path / "at-work").mkdir()
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.format(tests=str(TESTS), task="work_until_killed", folder=str(tmp_path / "at-work")))
    with subprocess.Popen([sys.executable, str(path)], stderr=subprocess.PIPE, start_new_session=True) as process:
        wait_for(lambda: len(list((tmp_path / "at-work").iterdir())) == 3)
        yield process, [int(file.name) for file in (tmp_path / "at-work").iterdir()]
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_parent_takes_its_processes_along(script, number):
    process, pids = script
    process.send_signal(number)
    process.wait(5)
    wait_for(lambda: not any(is_alive(pid) for pid in pids), 2.0)


def test_ctrl_c_in_a_terminal_ends_all_within_two_seconds(script):
    process, pids = script
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to each process of the group
    _, error = process.communicate(timeout=5)
    assert time.monotonic() - began < 2.0
    assert error.count(b"KeyboardInterrupt") == 1  # the parent's: the others say nothing
    assert not any(is_alive(pid) for pid in pids)


def test_what_processes_leave_in_their_temporary_folder_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = list(pool.run(pool_tasks.leave_a_file, range(3), 2, nothing))
    assert all(Path(name).parent.parent == tmp_path for name in names)
    assert not list(tmp_path.iterdir())
    with pytest.raises(RefusedError, match="3 processes died"):
        list(pool.run(pool_tasks.leave_a_file, [-1], 2, nothing))
    assert not list(tmp_path.iterdir())


def test_files_beside_the_user_do_not_stand_in_for_modules(tmp_path, monkeypatch):
    (tmp_path / "pickle.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert list(pool.run(pool_tasks.square, [2], 1, nothing)) == [4]


def test_worker_imports_little_before_its_first_task():
    code = "import sys, hazegen.worker; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "cv2", "scipy", "numba"} & set(told)
