"""hazegen sample: a part of a dataset, by number, by share, by split or by its haze."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hazegen.derive import Choice, CopyOptions, Derived, derive
from hazegen.derive_index import Index, Source
from hazegen.errors import RefusedError, UsageError
from hazegen.manifest import SPLITS, Manifest, load
from hazegen.records import hash_order

STEP = 4096
RANGES = ("visibility_m", "mean_transmission")


@dataclass(frozen=True, kw_only=True)
class SampleOptions(CopyOptions):
    """What is taken. Every split gives its share, and at least one scene (or pair) while there are enough.

    Attributes:
        pairs: Number of pairs; scenes may keep a part of theirs.
        scenes: Number of scenes, with all their pairs.
        share: Share of the scenes, in (0, 1], with all their pairs.
        split: Only from this split [default: from all].
        visibility_m: Only pairs whose visibility [m] is in LOW,HIGH.
        mean_transmission: Only pairs whose mean transmission is in LOW,HIGH.
        seed: Decides which are taken.
    """

    pairs: int | None = None
    scenes: int | None = None
    share: float | None = None
    split: Literal["train", "validation", "test"] | None = None
    visibility_m: tuple[float, float] | None = None
    mean_transmission: tuple[float, float] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = [name for name in ("pairs", "scenes", "share") if getattr(self, name) is not None]
        if len(sizes) > 1 or not any(getattr(self, name) is not None for name in (*sizes, "split", *RANGES)):
            raise UsageError(
                "Nobody says what is taken. Expected one of --pairs, --scenes and --share, or none of them beside "
                f"--split, --visibility-m or --mean-transmission, received {', '.join(sizes) or 'nothing'}. Pass one."
            )
        for name, sound, expected in (
            ("pairs", self.pairs is None or self.pairs >= 1, "at least 1"),
            ("scenes", self.scenes is None or self.scenes >= 1, "at least 1"),
            ("share", self.share is None or 0 < self.share <= 1, "a share in (0, 1]"),
            *((name, _is_range(getattr(self, name)), "LOW,HIGH with LOW not above HIGH") for name in RANGES),
        ):
            if not sound:
                option = f"--{name.replace('_', '-')}"
                raise UsageError(
                    f"{option} is out of range. Expected {expected}, received {getattr(self, name)}. Change {option}."
                )


def _is_range(ends: tuple[float, float] | None) -> bool:
    return ends is None or ends[0] <= ends[1]


def sample(folder: Path, out: Path, options: SampleOptions) -> Derived:
    """Copies a part of the dataset in `folder` to `out`; each scene stays in its split.

    Raises:
        UsageError, RefusedError, VerifyError, OSError: See derive.derive.
    """
    known = load(folder)
    _check_kind(known, options)
    names = ("pairs", "scenes", "share", "split", "seed")
    decided = {name: getattr(options, name) for name in names}
    decided |= {name: None if (ends := getattr(options, name)) is None else list(map(str, ends)) for name in RANGES}
    return derive("sample", [Source(folder, known)], out, options, decided, lambda i: _choose(i, options))


def _check_kind(known: Manifest, options: SampleOptions) -> None:
    """Refuses to choose pairs of scenes that have none."""
    unfit = [name for name in ("pairs", *RANGES) if getattr(options, name) is not None]
    if known.kind == "scenes" and unfit:
        option = f"--{unfit[0].replace('_', '-')}"
        raise UsageError(
            f"{option} chooses among pairs. Expected a dataset of pairs, received one of scenes, whose haze is drawn "
            "in training. Choose by --scenes, --share or --split."
        )


def _choose(index: Index, options: SampleOptions) -> Choice:
    """Filters first, then takes the number or the share of what is left, in an order that the seed decides."""
    split_of = np.array([SPLITS.index(split) for split in index.splits], np.uint8)
    kept = _filtered(index, split_of, options)
    scenes = np.unique(index.pairs["scene"][kept])
    if options.pairs is not None:
        rows = np.flatnonzero(kept)
        of_rows = split_of[index.pairs["scene"][rows]]
        taken = rows[_take(_names(index, rows), of_rows, options.pairs, options.seed, "pairs")]
        kept = np.zeros_like(kept)
        kept[taken] = True
    else:
        wanted = options.scenes or (max(1, round(options.share * len(scenes))) if options.share else len(scenes))
        names = (index.keys[scene] for scene in scenes)
        scenes = scenes[_take(names, split_of[scenes], wanted, options.seed, "scenes")]
    return Choice({index.keys[scene]: index.splits[scene] for scene in scenes}, kept, rejected=False)


def _names(index: Index, rows: NDArray[np.int64]) -> Iterator[str]:
    """What the chance of each pair hangs on."""
    for begin in range(0, len(rows), STEP):  # lists of all numbers would take 80 bytes a pair
        some = index.pairs[rows[begin : begin + STEP]]
        for scene, variant in zip(some["scene"].tolist(), some["variant"].tolist(), strict=True):
            yield f"{index.keys[scene]}\x1f{variant}"


def _filtered(index: Index, split_of: NDArray[np.uint8], options: SampleOptions) -> NDArray[np.bool_]:
    kept = np.ones(len(index.pairs), bool)
    for name in RANGES:
        if (ends := getattr(options, name)) is not None:
            kept &= (index.pairs[name] >= ends[0]) & (index.pairs[name] <= ends[1])
    if options.split is not None:
        kept &= (split_of == SPLITS.index(options.split))[index.pairs["scene"]]
    return kept


def _take(names: Iterable[str], split_of: NDArray[np.uint8], count: int, seed: int, unit: str) -> NDArray[np.int64]:
    """Numbers of `count` of the names: of each split its share, the first in an order that the seed decides.

    Args:
        split_of: Number of the split of each name, in SPLITS.

    Raises:
        RefusedError: There are fewer.
    """
    if count > len(split_of):
        raise RefusedError(
            f"There are not so many. Expected at most {len(split_of)} {unit}, which is what the filters leave, "
            f"received {count}. Ask for fewer, or widen the filters."
        )
    hashes = (int.from_bytes(hash_order(f"{seed}\x1fsample\x1f{name}")[:8]) for name in names)
    order = np.argsort(np.fromiter(hashes, np.uint64, len(split_of)), kind="stable")
    there = {split: int(np.count_nonzero(split_of == number)) for number, split in enumerate(SPLITS)}
    quota = _quota(count, there)
    in_order = split_of[order]
    first = np.zeros(len(order), bool)
    for number, split in enumerate(SPLITS):
        members = np.flatnonzero(in_order == number)
        first[members[: quota[split]]] = True
    taken = order[first]
    taken.sort()
    return taken


def _quota(count: int, there: Mapping[str, int]) -> dict[str, int]:
    """How many of `count` each split gives: its share, rounded, at least one; the rest from the largest."""
    total, largest = sum(there.values()), max(SPLITS, key=lambda split: there.get(split, 0))
    quota = dict.fromkeys(SPLITS, 0)
    left = count
    for split in SPLITS:
        if split != largest and there.get(split, 0) and left > 1:
            quota[split] = min(left - 1, there[split], max(1, round(count * there[split] / total)))
            left -= quota[split]
    quota[largest] = min(left, there.get(largest, 0))
    for split in SPLITS:  # roundings may leave some for the others
        more = min(count - sum(quota.values()), there.get(split, 0) - quota[split])
        quota[split] += more
    return quota
