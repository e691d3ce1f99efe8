"""Tables of Markdown."""

from collections.abc import Iterable, Sequence


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table: its head, and a line for each row."""
    lines = [line(head), "|---" * len(head) + "|"]
    return "\n".join([*lines, *map(line, rows)])


def line(cells: Sequence[str]) -> str:
    """One line of a table."""
    return f"| {' | '.join(map(cell, cells))} |"


def cell(text: str) -> str:
    """Text that may stand in a table: names of files and models may hold anything."""
    return " ".join(text.replace("|", "/").splitlines())
