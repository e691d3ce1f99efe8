"""What a run shows of itself while it works, and what it took in the end."""

import json
import sys
import time
from typing import Any, Literal, Self

from tqdm import tqdm

from hazegen import memory

Mode = Literal["auto", "bar", "json", "off"]
# A log of JSON lines gets at most one in so many seconds.
PAUSE_S = 1.0


class Progress:
    """Counts pairs, bytes and rejected scenes, and shows them as a bar or as JSON lines on stderr.

    Args:
        total: Pairs that are to be made.
        mode: auto shows a bar on a terminal alone; bar always; json a line a second; off nothing.
    """

    def __init__(self, total: int, mode: Mode = "auto") -> None:
        self.total, self.done, self.bytes, self.rejected = total, 0, 0, 0
        self.passed_over = 0
        self._json, self._is_new = mode == "json", False
        self._began = self._told = time.monotonic()
        disabled = {"auto": None, "bar": False}.get(mode, True)
        self._bar = tqdm(total=total, unit="pair", desc="making haze", disable=disabled)

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
            "pairs": self.done,
            "bytes": self.bytes,
            "seconds": round(time.monotonic() - self._began, 1),
            **self._rates(),
            "rejected": self.rejected,
            "peak_mb": memory.peak_mb(),
        }

    def _rates(self) -> dict[str, float]:
        seconds = max(time.monotonic() - self._began, 1e-9)
        return {"pairs_per_s": round(self.done / seconds, 1), "mb_per_s": round(self.bytes / 1e6 / seconds, 1)}

    def _tell(self) -> None:
        self._is_new = True
        if self._json and time.monotonic() - self._told >= PAUSE_S:
            self._tell_now()

    def _tell_now(self) -> None:
        now = time.monotonic()
        self._told, self._is_new = now, False
        missing = self.total - self.done - self.passed_over
        left = missing * (now - self._began) / self.done if self.done else None
        said = {"event": "progress", "pairs": self.done, "of": self.total - self.passed_over, **self._rates()}
        said |= {"rejected": self.rejected}
        said["seconds_left"] = left if left is None else round(left, 1)
        sys.stderr.write(json.dumps(said) + "\n")
        sys.stderr.flush()
