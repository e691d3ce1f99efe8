"""What a run shows of itself while it works, and what it took in the end."""

import json
import sys
import time
from collections import deque
from typing import Any, Literal, Self

from tqdm import tqdm

from hazegen import memory

Mode = Literal["auto", "bar", "json", "off"]
# A log of JSON lines gets at most one in so many seconds.
PAUSE_S = 1.0
# A log without JSON gets a line in so many seconds.
STEPS_S = 10.0
# What is left is told from the rate of the last seconds, once there have been so many: the first pairs wait for
# processes to start.
WINDOW_S, EARLIEST_S = 30.0, 3.0


def counted(number: int, what: str) -> str:
    """A number and what it counts: '1 pair', '2 pairs'."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


class Steps:
    """Counts what is done: a bar on a terminal, elsewhere a line on stderr every ten seconds.

    Args:
        doing: As 'evaluating'.
        total: How many there are; None: nobody knows.
        unit: What is counted, in the singular.
        leave: Whether the bar stays when all is done.
    """

    def __init__(self, doing: str, total: int | None, unit: str, *, leave: bool = True) -> None:
        self.doing, self.total, self.unit, self.done = doing, total, unit, 0
        self._told = time.monotonic()
        self._bar = tqdm(total=total, desc=doing, unit=unit, disable=None, leave=leave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self) -> None:
        """One more is done."""
        self.done += 1
        self._bar.update()
        if self._bar.disable and time.monotonic() - self._told >= STEPS_S:
            self._told = time.monotonic()
            of = "" if self.total is None else f"{self.done:,} of "
            told = counted(self.done if self.total is None else self.total, self.unit)
            print(f"{self.doing}: {of}{told}", file=sys.stderr, flush=True)


def tell_event(name: str, **facts: Any) -> None:
    """One JSON line on stderr, as a log of JSON lines has them."""
    sys.stderr.write(json.dumps({"event": name, **facts}) + "\n")
    sys.stderr.flush()


class Progress:
    """Counts pairs, bytes and rejected scenes, and shows them as a bar or as JSON lines on stderr.

    Args:
        total: Pairs that are to be made.
        mode: auto shows a bar on a terminal alone; bar always; json a line a second; off nothing.
        unit: What is counted: pair, or scene where these are stored alone.
    """

    def __init__(self, total: int, mode: Mode = "auto", unit: str = "pair") -> None:
        self.unit = unit
        self.total, self.done, self.bytes, self.rejected = total, 0, 0, 0
        self.passed_over = 0
        # Times and pairs of the last seconds.
        self._seen: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._json, self._is_new = mode == "json", False
        self._began = self._told = time.monotonic()
        disabled = {"auto": None, "bar": False}.get(mode, True)
        doing = "making haze" if unit == "pair" else "storing"
        self._bar = tqdm(total=total, unit=unit, desc=doing, disable=disabled)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._json and self._is_new:
            self._tell_now()

    def pairs(self, number: int) -> None:
        """So many pairs more are made; fewer where a worker died and its shard is begun again."""
        self.done += number
        self._bar.update(number)
        self._tell()

    def shard(self, size: int, rejected: int, passed_over: int = 0) -> None:
        """A shard of so many bytes is finished; so many scenes of it were rejected, so many pairs not made of them."""
        self.bytes += size
        self.rejected += rejected
        self.passed_over += passed_over
        self._bar.update(passed_over)
        self._tell()
        self._bar.set_postfix_str(f"{self._rates()['mb_per_s']} MB/s, {self.rejected} rejected", refresh=False)

    def summary(self) -> dict[str, Any]:
        """What the run took: pairs, bytes, seconds, their rates, rejected scenes, this process's peak memory [MB]."""
        return {
            f"{self.unit}s": self.done,
            "bytes": self.bytes,
            "seconds": round(time.monotonic() - self._began, 1),
            **self._rates(),
            "rejected": self.rejected,
            "peak_mb": memory.peak_mb(),
        }

    def _rates(self) -> dict[str, float]:
        seconds = max(time.monotonic() - self._began, 1e-9)
        return {f"{self.unit}s_per_s": round(self.done / seconds, 1), "mb_per_s": round(self.bytes / 1e6 / seconds, 1)}

    def _tell(self) -> None:
        self._is_new = True
        if self._json and time.monotonic() - self._told >= PAUSE_S:
            self._tell_now()

    def _tell_now(self) -> None:
        now = time.monotonic()
        self._told, self._is_new = now, False
        missing = self.total - self.done - self.passed_over
        self._seen.append((now, self.done))
        while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        seconds, pairs = now - self._seen[0][0], self.done - self._seen[0][1]
        left = 0.0 if missing <= 0 else missing * seconds / pairs if pairs > 0 and seconds >= EARLIEST_S else None
        said = {f"{self.unit}s": self.done, "of": self.total - self.passed_over, **self._rates()}
        said |= {"rejected": self.rejected}
        tell_event("progress", **said, seconds_left=left if left is None else round(left, 1))
