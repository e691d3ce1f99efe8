"""hazegen merge: one dataset from several."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hazegen import manifest
from hazegen.derive import Choice, CopyOptions, Derived, derive
from hazegen.derive_index import Index, Source
from hazegen.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class MergeOptions(CopyOptions):
    """How datasets are put together.

    Attributes:
        prefix: A name for each dataset, in their order, as rooms,streets: a folder before its scenes' keys
            [default: the keys stay, and no two datasets may have the same].
    """

    prefix: str | None = None


def merge(folders: Sequence[Path], out: Path, options: MergeOptions) -> Derived:
    """Copies the datasets in `folders` to `out` as one; each scene stays in its split. Their order means nothing.

    Raises:
        UsageError, RefusedError, VerifyError, OSError: See derive.derive.
    """
    if len(folders) < 2:
        raise UsageError(
            f"There is nothing to merge. Expected at least 2 datasets, received {len(folders)}. Name another."
        )
    names = _prefixes(options.prefix, len(folders))
    given = [Source(folder, manifest.load(folder), name) for folder, name in zip(folders, names, strict=True)]
    _check_different(given)
    sources = sorted(given, key=lambda source: (source.prefix, manifest.digest(source.known)))
    decided = {"prefix": [source.prefix for source in sources]}
    return derive("merge", sources, out, options, decided, _choose)


def _check_different(given: Sequence[Source]) -> None:
    """Refuses the same dataset twice: under two prefixes it would only weigh twice, and its scenes be taken for others.

    Raises:
        UsageError: Names the two folders.
    """
    first: dict[str, Path] = {}
    for source in given:
        twin = first.setdefault(manifest.digest(source.known), source.folder)
        if twin is not source.folder:
            raise UsageError(
                f"The same dataset is given twice. Expected different ones, received '{twin}' and '{source.folder}', "
                "which have the same digest. Leave one out; aodnet fit --weights makes a dataset count for more."
            )


def _prefixes(text: str | None, count: int) -> list[str]:
    if text is None:
        return [""] * count
    names = text.split(",")
    if len(set(names)) != count or len(names) != count or not all(map(_NAME.fullmatch, names)):
        raise UsageError(
            f"--prefix cannot be used. Expected {count} different names of letters, digits, '.', '_' and '-', with "
            f"commas between them, received '{text}'. Change --prefix."
        )
    return [f"{name}/" for name in names]


def _choose(index: Index) -> Choice:
    return Choice(dict(zip(index.keys, index.splits, strict=True)), np.ones(len(index.pairs), bool), rejected=True)
