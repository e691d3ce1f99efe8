"""What a training run tells of itself on its way."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aodnet.salvage import Lost

# Without a terminal, a line of progress in so many seconds.
PAUSE_S = 30.0


class Pulse:
    """Says where a run is, where no terminal shows its bar: at once, and then one line in so many seconds."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self.say = say
        self.told = float("-inf")

    def __call__(self, text: str) -> None:
        if not sys.stderr.isatty() and time.monotonic() - self.told >= PAUSE_S:
            self.told = time.monotonic()
            self.say(text)


def tell_lost(lost: Lost, folders: Sequence[Path]) -> str:
    """How many records could not be read, and of which shards."""
    shown = [f"{count} of '{path}'" for path, count in lost.named(folders).items()]
    more = f" and {len(shown) - 8} more shards" if len(shown) > 8 else ""
    return f"{lost.total} ({', '.join(shown[:8])}{more}); hazegen repair restores them"
