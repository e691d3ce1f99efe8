"""The share of time that a loop waits for its data."""

from types import SimpleNamespace

import pytest

from aodnet.waiting import Waiting, remedy


class Machine:
    """A clock, a pipeline and a device, each with its own pace.

    The device begins a step when it is given and the one before is done; the pipeline makes a batch every
    `batch_s` from the beginning, `ahead` of them before they are asked for.
    """

    def __init__(self, batch_s: float, step_s: float, alone: bool, ahead: int = 2, compile_s: float = 0.0):
        self.batch_s, self.step_s, self.alone, self.ahead, self.compile_s = batch_s, step_s, alone, ahead, compile_s
        self.now = self.device_done = self.made = self.idle = 0.0
        self.taken: list[float] = []
        self.compiled = 0

    def __next__(self) -> int:
        begins = max(self.made, self.taken[-self.ahead] if len(self.taken) >= self.ahead else 0.0)
        self.made = begins + self.batch_s
        self.now = max(self.now, self.made)
        self.taken.append(self.now)
        return len(self.taken)

    def step(self) -> None:
        if not self.compiled:
            self.now += self.compile_s
            self.compiled = 1
            self.device_done = self.now
        self.idle += max(0.0, self.now - self.device_done)
        self.device_done = max(self.now, self.device_done) + self.step_s
        if not self.alone:
            self.finish()

    def finish(self) -> None:
        self.now = max(self.now, self.device_done)


def measure(machine: Machine, steps: int = 80) -> Waiting:
    watch = Waiting(machine.alone, lambda: machine.compiled, clock=lambda: machine.now)
    for _ in range(steps):
        watch.next(machine, machine.finish)
        watch.step(machine.step)
    machine.finish()
    watch.end(4 * steps)
    return watch


@pytest.mark.parametrize("alone", [False, True], ids=["cpu", "gpu"])
@pytest.mark.parametrize(
    ("batch_s", "step_s", "share"),
    [(0.0, 1.0, 0.0), (0.5, 1.0, 0.0), (2.0, 1.0, 0.5), (1.25, 1.0, 0.2), (10.0, 1.0, 0.9)],
)
def test_share_is_that_in_which_the_device_has_nothing_to_do(alone, batch_s, step_s, share):
    """Also where the device works by itself, and the loop is blocked though there is work left."""
    watch = measure(Machine(batch_s, step_s, alone))
    assert watch.share == pytest.approx(share, abs=0.03)
    assert watch.rate == pytest.approx(4.0 / max(batch_s, step_s), rel=0.05)


def test_compilation_does_not_count():
    plain, compiled = (measure(Machine(1.0, 1.0, False, compile_s=seconds)) for seconds in (0.0, 500.0))
    assert compiled.seconds == pytest.approx(plain.seconds, abs=2.0)
    assert compiled.rate == pytest.approx(plain.rate, rel=0.05)


def test_rate_of_an_epoch_that_was_all_compilation_is_that_of_all_its_time():
    assert measure(Machine(0.0, 1.0, False, compile_s=3.0), steps=1).rate == pytest.approx(1.0)


def test_slow_start_counts_once():
    """A pipeline that fills its buffer first: 20 s of 100, not 20 s times the steps."""
    machine = Machine(0.0, 1.0, True)
    machine.made = 20.0
    assert measure(machine).share == pytest.approx(0.2, abs=0.02)


def test_nothing_measured_is_no_wait():
    watch = Waiting(False, lambda: 0)
    watch.end(0)
    assert (watch.share, watch.rate) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("kind", "codec", "named", "not_named"),
    [
        ("pairs", "png", ["--kind scenes", "--codec raw", "--codec jpeg"], []),
        ("pairs", "jpeg", ["--kind scenes", "--codec raw"], ["--codec jpeg"]),
        ("scenes", "jpeg", ["--codec raw"], ["--kind scenes"]),
        ("scenes", "raw", ["more CPU cores"], ["--kind scenes", "--codec"]),
    ],
)
def test_remedy_is_one_that_the_dataset_has_not_got_yet(kind, codec, named, not_named):
    text = remedy(0.123, [SimpleNamespace(kind=kind, codec=codec)])
    assert text.startswith("12 % of the time of the steps was spent waiting for data.")
    assert all(words in text for words in named)
    assert not any(words in text for words in not_named)
