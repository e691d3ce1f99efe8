"""Which scene belongs to which split: by scene or by group, never by variant."""

import csv
import io
import itertools
import re
from collections.abc import Iterable
from pathlib import Path

from hazegen.errors import UsageError
from hazegen.manifest import SPLITS
from hazegen.records import hash_order

LEFT_OUT = "none"


def assign(keys: Iterable[str], shares: dict[str, float], group_by: str | None, seed: int) -> dict[str, str]:
    """The split of each key: whole groups, in hash order, dealt by share.

    Every split with a share above 0 gets at least one group while there are enough of them.

    Args:
        shares: Share of the groups for each split; they add up to 1.
        group_by: Regular expression whose first bracket names a key's group, as r'(.+)_\\d+' for the
            frames of a video; without it each scene is a group.
        seed: Decides which groups fall where.
    """
    if group_by is None:
        return _deal(keys, shares, seed)
    group_of = {key: _group(key, group_by) for key in keys}
    dealt = _deal(set(group_of.values()), shares, seed)
    return {key: dealt[group] for key, group in group_of.items()}


def _deal(groups: Iterable[str], shares: dict[str, float], seed: int) -> dict[str, str]:
    """The split of each group, by the order of their hashes."""
    order = sorted(groups, key=lambda group: hash_order(f"{seed}\x1fsplit\x1f{group}"))
    counts = _counts(len(order), shares)
    names = itertools.chain.from_iterable(itertools.repeat(split, counts[split]) for split in SPLITS)
    return dict(zip(order, names, strict=True))


def _counts(groups: int, shares: dict[str, float]) -> dict[str, int]:
    """Groups for each split: by share, at least one, the rest to train (or the largest)."""
    largest = max(SPLITS, key=lambda split: shares.get(split, 0.0))
    counts = dict.fromkeys(SPLITS, 0)
    left = groups
    for split in sorted(set(SPLITS) - {largest}, key=SPLITS.index):
        share = shares.get(split, 0.0)
        counts[split] = min(left - 1, max(1, round(groups * share))) if share and left > 1 else 0
        left -= counts[split]
    counts[largest] = left
    return counts


def _group(key: str, group_by: str) -> str:
    try:
        match = re.match(group_by, key)
    except re.error:
        match = None
    if match is None or not match.groups() or match.group(1) is None:
        raise UsageError(
            f"--group-by does not name a group for every scene. Expected a pattern with one bracket that matches "
            f"each key, received '{group_by}' for the key '{key}'. Correct the pattern."
        )
    return match.group(1)


def parse_shares(text: str) -> dict[str, float]:
    """Shares from text as 'train=0.8,validation=0.1,test=0.1'.

    Raises:
        UsageError: Another split's name, a share below 0, or a sum other than 1.
    """
    try:
        shares = {name.strip(): float(share) for name, share in (part.split("=") for part in text.split(","))}
    except ValueError:
        shares = {}
    sound = set(shares) <= set(SPLITS) and all(0.0 <= share <= 1.0 for share in shares.values())
    if not sound or abs(sum(shares.values()) - 1.0) > 1e-6:
        raise UsageError(
            f"The splits cannot be read. Expected shares of {', '.join(SPLITS)} that add up to 1, as "
            f"train=0.8,validation=0.1,test=0.1, received '{text}'. Correct --splits."
        )
    return shares


def read_split_file(path: Path) -> dict[str, str]:
    """Splits by key from a CSV file with the columns key and split; 'none' leaves a scene out.

    Raises:
        UsageError: No such columns, an unknown split, or a key that stands there twice.
    """
    splits: dict[str, str] = {}
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"Split file '{path}' cannot be used. Expected CSV with columns key and split, received: {error}. "
            "Check --split-file."
        ) from None
    for row in rows:
        key, split = row.get("key"), row.get("split")
        if key is None or split not in (*SPLITS, LEFT_OUT) or key in splits:
            raise UsageError(
                f"Split file '{path}' cannot be used. Expected columns key and split, each key once, splits "
                f"{', '.join((*SPLITS, LEFT_OUT))}, received {row}. Correct the file."
            )
        splits[key] = split
    return splits
