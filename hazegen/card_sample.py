"""What the page of a dataset is drawn from: some of its records, chosen the same each time, and its table of inputs.

Whatever the size of a dataset, so many heads and pictures are read, and of the table one line is held at a time.
"""

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hazegen import collect, heads, records, stores
from hazegen.errors import VerifyError
from hazegen.heads import Head
from hazegen.manifest import INPUTS, Manifest

# Records whose numbers are read, 0.1 ms each; in a store each costs two requests.
MOST_HEADS, MOST_REMOTE_HEADS = 500, 100
# Shards that they come from.
MOST_SHARDS = 32
# Scenes with the largest share of holes, inputs told of each reason, and reasons.
WORST, EXAMPLES, MOST_CODES = 10, 3, 20
# Upper ends of the classes of shares (holes, sky).
SHARES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
# Classes of lengths: so many for each factor of 10.
PER_DECADE = 10


@dataclass(frozen=True)
class Sample:
    """The heads of some records.

    Attributes:
        heads: Each with its shard, in the order of the shards.
        shards: How many shards they are from.
        of: How many records and shards the dataset has.
    """

    heads: Sequence[tuple[Path, Head]]
    shards: int
    of: tuple[int, int]

    def __str__(self) -> str:
        total, shards = self.of
        if len(self.heads) == total:
            return f"all {total:,} records"
        of_shards = "all" if self.shards == shards else f"{self.shards:,} of the {shards:,}"
        return f"{len(self.heads):,} of the {total:,} records (the first ones of {of_shards} shards, evenly spread)"


def sample_heads(folder: Path, known: Manifest, most: int | None = None) -> Sample:
    """The heads of about `most` records: the first ones of shards at equal distances."""
    most = most or (MOST_REMOTE_HEADS if stores.is_remote(folder) else MOST_HEADS)
    full = [shard for shard in known.shards if shard.records]
    chosen = full[:: -(-len(full) // MOST_SHARDS)]
    each = -(-most // len(chosen))
    found = [
        (folder / shard.name, head)
        for shard in chosen
        for head in itertools.islice(heads.read_heads(folder / shard.name, kind=known.kind), each)
    ]
    return Sample(found, len(chosen), (sum(shard.records for shard in full), len(full)))


def whole(place: tuple[Path, Head], kind: records.Kind) -> dict[str, Any]:
    """The record of a head, with its pictures."""
    path, head = place
    return records.decode(heads.read_record(path, head.offset, head.length), kind)


def by_scene(sample: Sample) -> dict[str, list[tuple[Path, Head]]]:
    """The heads of each scene, the clearest first."""
    found: dict[str, list[tuple[Path, Head]]] = {}
    for path, head in sample.heads:
        found.setdefault(head.values["scene"], []).append((path, head))
    for group in found.values():
        group.sort(key=lambda place: -place[1].values.get("mean_transmission", 0.0))
    return found


@dataclass
class Table:
    """What the table of inputs adds up to.

    Attributes:
        used: How many inputs.
        holes, sky: How many of them fall into each class of SHARES, by its number.
        largest_m: How many have their largest finite depth in each class of lengths, by its number.
        worst: Share of holes, key and split of those with most.
        rejected: For each reason's code its number, and key and reason of the first ones.
        asked: Lines of the keys that were asked for.
    """

    used: int = 0
    holes: Counter[int] = field(default_factory=Counter)
    sky: Counter[int] = field(default_factory=Counter)
    largest_m: Counter[int] = field(default_factory=Counter)
    worst: list[tuple[float, str, str]] = field(default_factory=list)
    rejected: dict[str, tuple[int, list[tuple[str, str]]]] = field(default_factory=dict)
    asked: dict[str, dict[str, str]] = field(default_factory=dict)


def read_table(folder: Path, keys: frozenset[str] = frozenset()) -> Table:
    """Goes through the table of inputs once.

    Args:
        keys: Whose lines are wanted.

    Raises:
        VerifyError: It cannot be read, or holds what is no number.
    """
    table = Table()
    for row in collect.read_table(folder):
        if row["fate"] == "used":
            _add_used(table, row, folder)
            if row["key"] in keys:
                table.asked[row["key"]] = row
        else:
            _add_rejected(table, row)
    table.worst.sort(reverse=True)
    return table


def _add_used(table: Table, row: Mapping[str, str], folder: Path) -> None:
    table.used += 1
    holes, sky, largest_m = (_number(row, name, folder) for name in ("holes", "sky", "largest_m"))
    if holes is not None:
        table.holes[class_of(holes)] += 1
        if holes > 0.0:
            keep = heapq.heappush if len(table.worst) < WORST else heapq.heappushpop
            keep(table.worst, (holes, row["key"], row.get("split", "")))
    if sky is not None:
        table.sky[class_of(sky)] += 1
    if largest_m is not None and largest_m > 0.0:
        table.largest_m[math.floor(math.log10(largest_m) * PER_DECADE)] += 1


def _add_rejected(table: Table, row: Mapping[str, str]) -> None:
    code = row["code"] if row["code"] in table.rejected or len(table.rejected) < MOST_CODES else "others"
    count, told = table.rejected.get(code, (0, []))
    more = [(row["key"], row.get("reason", ""))] if len(told) < EXAMPLES else []
    table.rejected[code] = count + 1, told + more


def _number(row: Mapping[str, str], name: str, folder: Path) -> float | None:
    """A number of a line; None where the line does not tell it."""
    text = row.get(name, "")
    try:
        value = float(text) if text else 0.0
    except ValueError:
        value = math.nan
    if not 0.0 <= value < math.inf:
        raise VerifyError(
            f"'{folder / INPUTS}' holds what is no number. Expected {name} of '{row['key']}' to be at least 0, "
            f"received {text[:80]!r}. Run hazegen repair {folder}, or copy the file again."
        )
    return value if text else None


def class_of(share: float) -> int:
    """Number of the class of SHARES that a share falls in."""
    return next((n for n, end in enumerate(SHARES) if share <= end), len(SHARES) - 1)


def names_of_classes() -> list[str]:
    """What the classes of SHARES are called."""
    ends = [f"{100 * end:g}" for end in SHARES]
    return ["none", f"< {ends[1]}", *(f"{low}-{high}" for low, high in itertools.pairwise(ends[1:]))]
