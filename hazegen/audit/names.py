"""What the names and formats of the files of a set say, beside its pixels."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from hazegen.audit.fit import Array
from hazegen.audit.result import PairAudit


def read_names(pairs: Sequence[PairAudit], quantities: dict[str, Array]) -> list[str]:
    """Which number of the hazy names is one of the quantities, or decides it.

    Args:
        quantities: Name and value in each pair.
    """
    parts = [re.split("[_-]", pair.ref.rest) for pair in pairs]
    places = [[_number(part[place]) for part in parts] for place in range(min(len(part) for part in parts))]
    columns = [(place, np.array(column, np.float64)) for place, column in enumerate(places, 1) if None not in column]
    return [line for name, values in quantities.items() if (line := _says(name, values, columns))]


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None


def _says(name: str, values: Array, columns: list[tuple[int, Array]]) -> str:
    """Which of the numbers in the names, by place, is a quantity, or has one value of it for each of its own."""
    best, told = 0.15 * float(np.std(values)), ""
    for place, numbers in columns:
        if np.ptp(numbers) > 0 and float(np.median(np.abs(numbers - values))) < 0.02 * float(np.median(values)):
            return f"Number {place} of the hazy names is {name}."
        groups = {float(number): values[numbers == number] for number in np.unique(numbers)}
        if 2 <= len(groups) <= 40 and min(group.size for group in groups.values()) >= 2:
            within = np.concatenate([np.abs(group - np.median(group)) for group in groups.values()])
            if float(within.mean()) < best:
                best = float(within.mean())
                table = ", ".join(f"{number:g}: {np.median(group):.3g}" for number, group in groups.items())
                told = f"Number {place} of the hazy names decides {name}: {table}."
    return told


def read_files(pairs: Sequence[PairAudit]) -> list[str]:
    """What crops and file formats the pairs have."""
    lines = []
    cropped = Counter(pair.offset for pair in pairs if pair.offset != (0, 0))
    for (x, y), count in cropped.most_common(3):
        lines.append(f"{count} hazy pictures are centre crops of their clean one, which is cut by {x} px left and "
                     f"right and {y} px above and below.")  # fmt: skip
    for name in ("hazy", "clean"):
        qualities = [q for pair in pairs if (q := getattr(pair, f"{name}_quality")) is not None]
        if qualities:
            lines.append(f"{len(qualities)} {name} pictures are JPEG of quality {min(qualities)} to {max(qualities)} "
                         f"(median {int(np.median(qualities))}).")  # fmt: skip
    return lines
