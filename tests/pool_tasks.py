"""Tasks that the tests give to other processes: these import them from here."""

import os
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from hazegen import errors, scenes

Report = Callable[[int], object]


def square(task: int, report: Report) -> int:
    for _ in range(task % 3):
        report(1)
    return task * task


def count_to(task: int, report: Report) -> int:
    for _ in range(task):
        report(1)
    return os.getpid()


def who(task: int, report: Report) -> int:
    time.sleep(0.05)
    return os.getpid()


def refuse_three(task: int, report: Report) -> int:
    if task == 3:
        raise errors.RefusedError(f"task {task} is refused")
    return task


def work_until_killed(task: Path, report: Report) -> NoReturn:
    """Leaves a file named after its process, and works on."""
    (task / str(os.getpid())).touch()
    while True:
        time.sleep(0.01)
        report(1)


@dataclass(frozen=True)
class Mortal:
    """A task that kills its process so many times; `plan.name` is what messages call it."""

    folder: Path
    name: str
    times: int
    number: int = signal.SIGKILL

    @property
    def plan(self) -> SimpleNamespace:
        return SimpleNamespace(name=self.name)


def die(task: Mortal, report: Report) -> str:
    """Reports some progress, and dies, until it has done so often enough."""
    report(5)
    time.sleep(0.15)
    report(2)  # by now the first are sent
    tries = len(list(task.folder.glob(f"{task.name}.*")))
    (task.folder / f"{task.name}.{tries}").touch()
    if tries < task.times:
        os.kill(os.getpid(), task.number)
        time.sleep(60)
    return task.name


def leave(task: int, report: Report) -> NoReturn:
    os._exit(task)


class Unpicklable(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)
        self.second = second


def fail(task: str, report: Report) -> NoReturn:
    """Raises the error of that name."""
    raised: dict[str, Exception] = {
        "foreign": Unpicklable("what went wrong", "where"),
        "bug": KeyError("depth"),
        "disk": OSError(28, "No space left on device", "train-00000-of-00001.tfrecord"),
        "SceneRejected": scenes.SceneRejected("depth", "the depth map is empty"),
    }
    for name in ("HazegenError", "UsageError", "RefusedError", "VerifyError", "StoreError"):
        raised[name] = getattr(errors, name)(f"text of {name}")
    raise raised[task]


def give_lambda(task: int, report: Report) -> Any:
    return lambda: task


def environment(task: str, report: Report) -> str:
    return os.environ[task]


def standard_streams(task: int, report: Report) -> tuple[str, bool]:
    """What can be read from standard input; what is printed must come nowhere."""
    print("a library that prints")
    return os.read(0, 10).decode(), signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def fail_to_store(task: Mortal, report: Report) -> str:
    """Fails as a store does, so many times."""
    tries = len(list(task.folder.glob(f"{task.name}.*")))
    (task.folder / f"{task.name}.{tries}").touch()
    if tries < task.times:
        raise errors.StoreError("the store does not answer")
    return task.name


def sleep(task: float, report: Report) -> None:
    time.sleep(task)


def leave_a_file(task: int, report: Report) -> str:
    """Makes a temporary file; where the task is below 0, its process dies then."""
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(b"a whole copy of an input")
    if task < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return file.name
