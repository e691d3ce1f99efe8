"""Files that a report is written to at the end of long work: looked at before it begins."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from hazegen import stores
from hazegen.errors import UsageError


def check(paths: Iterable[Path | None]) -> None:
    """Refuses, before the work, files that could not be written after it. Nothing is created.

    Args:
        paths: Of the files; None where an option was not given.

    Raises:
        UsageError: One of them is a folder, has no folder that can be written to, or is named twice.
    """
    named = [path for path in paths if path is not None]
    for number, path in enumerate(named):
        if path in named[:number]:
            raise UsageError(
                f"'{path}' is named twice. Expected a file of its own for each output, received it for two. Change one."
            )
        if problem := _why_not(path):
            raise UsageError(
                f"'{path}' cannot be written. Expected a file in a folder that can be written to, received {problem}. "
                "Choose another."
            )


def _why_not(path: Path) -> str:
    if path.is_dir():
        return "a folder"
    if stores.is_remote(path):
        return ""  # a store tells whether it can be written to when it is written to
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"{type(error).__name__}: {error.strerror}"


def write(path: Path, text: str) -> None:
    """Writes a text, and the folders above it that are missing, all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stores.write_text(path, [text])
