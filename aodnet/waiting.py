"""How long a loop waits for its data, while the device works by itself."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hazegen.manifest import Manifest

# Above this share of an epoch's time the input is what is slow.
MUCH = 0.05
# A device that works by itself is asked to finish before every eighth batch.
_EVERY = 8


class Waiting:
    """Time spent waiting for the next batch, beside the time of all steps.

    What is looked for is the time in which the device has nothing to do. Where its work is done when the call of a
    step returns (CPU), that is all the time in which the loop is blocked. A GPU works on while the loop is blocked,
    so there the device is let finish first, at every eighth step, and the wait after that stands for the others.

    Args:
        alone: Whether the device works by itself.
        compiled: How often the step was compiled so far.
        examples: Of the epoch, that were seen before.
        clock: Seconds.
    """

    def __init__(
        self,
        alone: bool,
        compiled: Callable[[], int],
        examples: int = 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.every = _EVERY if alone else 1
        self.compiled, self.clock, self.examples = compiled, clock, examples
        self.began = self.ended = clock()
        self.batches = self.left_out = 0
        self.left_out_s = 0.0
        self.waits: list[float] = []

    def next(self, batches: Iterator[Any], finish: Callable[[], object]) -> Any:
        """The next batch; `finish` lets the device finish what it does."""
        is_measured = self.batches <= 1 or self.batches % self.every == 0
        if is_measured:
            finish()
        began = self.clock()
        batch = next(batches)
        if is_measured:
            self.waits.append(self.clock() - began)
        self.batches += 1
        return batch

    def step(self, act: Callable[[], Any]) -> Any:
        """What `act` returns; a step that had to be compiled is left out."""
        before, began = self.compiled(), self.clock()
        result = act()
        if self.compiled() > before:
            self.left_out += 1
            self.left_out_s += self.clock() - began
        return result

    def end(self, examples: int) -> None:
        """Stops the clock, when the device has finished, at so many examples of the epoch."""
        self.ended, self.examples = self.clock(), examples - self.examples

    @property
    def seconds(self) -> float:
        """Time of all steps, that of waiting included."""
        return max(1e-9, self.ended - self.began - self.left_out_s)

    @property
    def rate(self) -> float:
        """Examples a second; with the compilation, where no step was without."""
        if self.left_out >= self.batches:
            return self.examples / max(1e-9, self.ended - self.began)
        return self.examples * (1.0 - self.left_out / self.batches) / self.seconds

    @property
    def share(self) -> float:
        """Share of the time in which the loop waited, in [0, 1]."""
        if not self.waits:
            return 0.0
        # The first wait is that for the pipeline to start, and stands for itself alone.
        first, *others = self.waits
        later = sum(others) / len(others) * (self.batches - 1) if others else 0.0
        return min(1.0, (first + later) / self.seconds)


def remedy(share: float, manifests: Sequence[Manifest]) -> str:
    """What to do about waiting for data, of what fits these datasets."""
    codecs, kinds = {known.codec for known in manifests}, {known.kind for known in manifests}
    ways = []
    if "pairs" in kinds:
        ways.append("store scenes and draw the haze while training (hazegen make --kind scenes)")
    if "raw" not in codecs:
        ways.append(
            "store pictures that need no decoding (hazegen make --codec raw)"
            + (" or decode windows alone (--codec jpeg)" if "png" in codecs else "")
        )
    ways += [
        "keep the shards on a local disk if they are on a network's",
        "give the process more CPU cores",
        "train on smaller windows (--crop)",
    ]
    return (
        f"{100.0 * share:.0f} % of the time of the steps was spent waiting for data. To speed it up: {'; '.join(ways)}."
    )
