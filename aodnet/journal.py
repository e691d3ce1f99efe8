"""journal.jsonl: when a training run began, went on and ended, by which command, on what, and what it warned of.

A line an event, written at once, so that a run that is killed leaves what there is. Nothing of the training hangs on
it: what cannot be written is said once, and the training goes on.
"""

import functools
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from hazegen import manifest

FILE = "journal.jsonl"
# What is read of it, and how many events are kept in memory: the first and the last ones.
MOST_BYTES, MOST_EVENTS = 8_000_000, 2000
BEGIN, END, WARNING = "begin", "end", "warning"
Event = dict[str, Any]


class Journal:
    """Writes the journal of a run, and passes on what the run says; warnings are events too.

    Args:
        folder: Of the run. Nothing is written there before `begin`.
        say: Receives all that is said.
        command: What was typed; empty where the run was started from Python.
    """

    def __init__(self, folder: Path, say: Callable[[str], object], command: str = "") -> None:
        self._folder, self._say, self._command = folder, say, command
        self._early: list[str] | None = []
        self._broken = False

    def say(self, text: str) -> None:
        """Passes on a line."""
        self._say(text)
        if text.startswith("warning:"):
            if self._early is not None:
                self._early.append(text)
            else:
                self._note(WARNING, text=text.removeprefix("warning:").strip())

    @contextmanager
    def kept(self, facts: Mapping[str, Any], end: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
        """Notes that the run begins, and when the block is left how it has ended.

        Args:
            facts: What is known at the beginning.
            end: Gives what is known at the end.
        """
        began, how = time.monotonic(), "ended"
        self._note(BEGIN, command=self._command, versions=_versions(), **facts)
        early, self._early = self._early or [], None
        for text in early:
            self._note(WARNING, text=text.removeprefix("warning:").strip())
        try:
            yield
        except KeyboardInterrupt:
            how = "interrupted"
            raise
        except Exception as error:
            how = f"failed: {str(error) or type(error).__name__}"
            raise
        finally:
            self._note(END, how=how, seconds=round(time.monotonic() - began, 1), **end())

    def _note(self, event: str, **facts: Any) -> None:
        line = json.dumps({"event": event, "time": datetime.now(UTC).isoformat(timespec="seconds"), **facts})
        try:
            with (self._folder / FILE).open("ab+") as file:
                file.write((b"\n" if _is_cut(file) else b"") + f"{line}\n".encode())
        except OSError as error:
            if not self._broken:
                self._say(f"warning: '{self._folder / FILE}' cannot be written: {error}. The training goes on.")
            self._broken = True


def _is_cut(file: BinaryIO) -> bool:
    """Whether the last line has no end, as a full disk leaves it: what is joined to it would be lost with it."""
    if file.seek(0, io.SEEK_END) == 0:
        return False
    file.seek(-1, io.SEEK_END)
    return file.read(1) != b"\n"


@functools.cache
def _versions() -> dict[str, Any]:
    from aodnet import tracking

    return tracking.code_facts()


def of_dataset(folder: Path, known: manifest.Manifest, weight: float | None) -> dict[str, Any]:
    """What the journal keeps of a dataset."""
    splits = {split: known.records_of(split) for split in manifest.SPLITS}
    facts = {"folder": folder.name, "digest": manifest.digest(known), "kind": known.kind, "records": splits}
    return facts | {"recipe": str(known.recipe.get("name")), "weight": weight}


def read(folder: Path) -> list[Event]:
    """All events of a journal, of very many the first and the last; lines that are none are left out."""
    path, events = folder / FILE, list[Event]()
    if not path.is_file():
        return events
    with path.open("rb") as file:
        lines = file.read(MOST_BYTES // 2).splitlines()
        file.seek(max(file.tell(), path.stat().st_size - MOST_BYTES // 2))
        lines += file.read(MOST_BYTES // 2).splitlines()
    for line in lines:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):  # cut off when the run was killed
            continue
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            events.append(event)
    return events if len(events) <= MOST_EVENTS else [*events[: MOST_EVENTS // 2], *events[-MOST_EVENTS // 2 :]]
