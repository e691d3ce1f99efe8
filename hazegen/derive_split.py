"""hazegen split: another division of a dataset's scenes into train, validation and test."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hazegen import splits
from hazegen.derive import Choice, CopyOptions, Derived, derive
from hazegen.derive_index import Index, Source
from hazegen.errors import UsageError
from hazegen.manifest import load


@dataclass(frozen=True, kw_only=True)
class SplitOptions(CopyOptions):
    """How the scenes are divided.

    Attributes:
        splits: Shares of the scenes (or groups).
        group_by: Regular expression whose bracket names a scene's group; a group is never split: '(.+)_\\d+' keeps
            the frames of a video together.
        split_file: CSV with columns key and split (train, validation, test, or none to leave out); scenes that it
            does not name are left out.
        seed: Decides which scenes (or groups) fall where; the haze stays as it is.
    """

    splits: str = "train=0.8,validation=0.1,test=0.1"
    group_by: str | None = None
    split_file: Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        splits.parse_shares(self.splits)
        if self.split_file is not None and self.group_by is not None:
            raise UsageError(
                "Two ways to split. Expected --split-file or --group-by, received both. Write the groups into the file."
            )


def split(folder: Path, out: Path, options: SplitOptions) -> Derived:
    """Copies the dataset in `folder` to `out` with its scenes divided anew.

    Raises:
        UsageError, RefusedError, VerifyError, OSError: See derive.derive.
    """
    named = None if options.split_file is None else splits.read_split_file(options.split_file)
    sources = [Source(folder, load(folder))]
    decided = _decided(options, named)
    return derive("split", sources, out, options, decided, lambda index: _choose(index, options, named))


def _decided(options: SplitOptions, named: dict[str, str] | None) -> dict[str, Any]:
    if named is None:
        return {name: getattr(options, name) for name in ("splits", "group_by", "seed")}
    text = "\n".join(f"{key}\x1f{split}" for key, split in sorted(named.items()))
    return {"split_file": hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()}


def _choose(index: Index, options: SplitOptions, named: dict[str, str] | None) -> Choice:
    everything = np.ones(len(index.pairs), bool)
    if named is None or options.split_file is None:
        shares = splits.parse_shares(options.splits)
        divided = splits.assign(index.keys, shares, options.group_by, options.seed)
        return Choice(divided, everything, rejected=True)
    kept = {key: named[key] for key in index.keys if named.get(key, splits.LEFT_OUT) != splits.LEFT_OUT}
    why = f"Left out by the split file '{options.split_file.name}'."
    return Choice(kept, everything, rejected=True, left_out=why)
