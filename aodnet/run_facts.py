"""A run folder as the pages read it: settings, history, journal, and where its pictures are; without TensorFlow."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from aodnet import history, journal, sheets
from aodnet.config import FitConfig
from aodnet.history import HISTORY, Logs
from aodnet.journal import Event
from aodnet.sheets import Shown
from hazegen import config
from hazegen.errors import HazegenError, RefusedError

CONFIG, HEAD = "config.yaml", "# aodnet fit on "
PICTURES = "validation"
MOST_OF_CONFIG, MOST_OF_HISTORY = 64_000, 64_000_000
# Epochs whose pictures are shown.
EPOCHS_SHOWN = 5
_BEGINS = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_ENDS = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
_DEEPEST = 5
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
_PICTURE = re.compile(r"epoch-(\d{4,9})\.png")


@dataclass(frozen=True)
class RunFacts:
    """What a run folder holds.

    Attributes:
        folder: Of the run.
        config: Its settings.
        head: The lines above them in config.yaml.
        digests: Of its datasets.
        rows: Of history.csv.
        events: Of its journal.
        pictures: Sheets of validation pictures by epoch, those that history.csv has a row of.
    """

    folder: Path
    config: FitConfig
    head: Sequence[str]
    digests: tuple[str, ...]
    rows: Sequence[Logs]
    events: Sequence[Event]
    pictures: dict[int, Path]

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.folder.resolve().name

    @property
    def best(self) -> Logs:
        """The row of the highest validation PSNR; empty before the first epoch has ended."""
        return history.best_of(self.rows)

    def some_rows(self, most: int) -> list[Logs]:
        """Rows of evenly spread epochs, the last among them: all where they are not more than `most`."""
        step = -(-len(self.rows) // most)
        return [row for at, row in enumerate(self.rows) if (len(self.rows) - 1 - at) % step == 0]

    @property
    def begun(self) -> Event:
        """The newest beginning; empty where the journal has none."""
        return next((event for event in reversed(self.events) if event["event"] == journal.BEGIN), {})

    @property
    def datasets(self) -> list[dict[str, Any]]:
        """What the journal keeps of the datasets."""
        told = self.begun.get("data")
        return [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []

    def shown_epochs(self) -> list[int]:
        """At most EPOCHS_SHOWN of the epochs with pictures: first, last and best, and some between."""
        known = sorted(self.pictures)
        if len(known) <= EPOCHS_SHOWN:
            return known
        chosen = {known[round(n * (len(known) - 1) / (EPOCHS_SHOWN - 1))] for n in range(EPOCHS_SHOWN)}
        best = int(self.best["epoch"])
        if best in known and best not in chosen:
            between = sorted(chosen)[1:-1]
            chosen = chosen - {min(between, key=lambda epoch: abs(epoch - best))} | {best}
        return sorted(chosen)

    def read_pictures(self) -> tuple[dict[int, list[Shown]], list[str]]:
        """Rows of pictures by epoch, of the epochs that are shown; and what could not be read."""
        found, problems = dict[int, list[Shown]](), list[str]()
        for epoch in self.shown_epochs():
            try:
                rows = sheets.read(self.pictures[epoch])
            except (RefusedError, OSError) as error:
                problems.append(str(error))
                continue
            if rows:
                found[epoch] = rows
        return found, problems


def is_run(folder: Path) -> bool:
    """Whether it has the settings of a training run."""
    return (folder / CONFIG).is_file()


def read(folder: Path) -> RunFacts:
    """What a run folder holds.

    Raises:
        RefusedError: Its settings or its history cannot be read.
    """
    try:
        head, settings = _read_config(folder / CONFIG)
        path = folder / HISTORY
        if path.exists():
            _check_file(path, MOST_OF_HISTORY)
        rows = history.read_history(path)
    except UnicodeDecodeError:
        raise RefusedError(
            f"'{folder}' is a run that cannot be read. Expected UTF-8 in '{CONFIG}', received other bytes. Put it back "
            "from a copy, or leave the run out."
        ) from None
    except (HazegenError, OSError) as error:
        raise RefusedError(f"'{folder}' is a run that cannot be read. {error}") from None
    epochs = {int(row["epoch"]) for row in rows}
    folders = (folder / PICTURES).iterdir() if (folder / PICTURES).is_dir() else ()
    named = ((_PICTURE.fullmatch(path.name), path) for path in folders)
    pictures = {int(match[1]): path for match, path in named if match and int(match[1]) in epochs}
    digests = tuple(_DIGEST.findall("\n".join(line for line in head if line.startswith(HEAD))))
    return RunFacts(folder, settings, head, digests, rows, journal.read(folder), dict(sorted(pictures.items())))


def _read_config(path: Path) -> tuple[list[str], FitConfig]:
    _check_file(path, MOST_OF_CONFIG)
    text = path.read_text(encoding="utf-8")
    if wrong := _not_plain(text):
        raise RefusedError(f"'{path}' holds no settings of a run. Expected 'name: value' lines, received {wrong}.")
    head = [line for line in text.splitlines() if line.startswith("#")]
    return head, config.build(FitConfig, config.read_config(path, FitConfig))


def _not_plain(text: str) -> str | None:
    """What in some YAML a few lines of which may stand for any amount of text, or that is too deep to be read."""
    depth = 0
    try:
        for token in yaml.scan(text):
            depth += isinstance(token, _BEGINS) - isinstance(token, _ENDS)
            if isinstance(token, yaml.AliasToken) or depth > _DEEPEST:
                return "an alias" if isinstance(token, yaml.AliasToken) else "one within another, many times"
    except yaml.YAMLError:
        pass  # read_config says where
    return None


def _check_file(path: Path, most: int) -> None:
    if not path.is_file() or path.stat().st_size > most:
        received = f"{path.stat().st_size:,} bytes" if path.is_file() else "something else"
        raise RefusedError(f"'{path}' cannot be used. Expected a file of at most {most:,} bytes, received {received}.")
