"""A look into a finished dataset, as hazegen.open: its records by number, each read when it is asked for.

Nothing is kept but the manifest and, of the shards that were used last, where each record begins.
"""

import bisect
import functools
import html
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from hazegen import heads, manifest, records, stores
from hazegen.errors import VerifyError
from hazegen.manifest import SPLITS, Manifest, Shard
from hazegen.opened_record import Record, read_pair, read_scene, row

# From a shard to the places of its records.
Places = Callable[[Shard], NDArray[np.int64]]

# Shards whose records' places are kept: 16 bytes a record.
KEPT_SHARDS = 256
# Records that a notebook shows of a dataset.
SHOWN = 4


class Records(Sequence[Record]):
    """Records of one split, or of all, in the order of the shards; each is read and decoded when it is asked for."""

    def __init__(self, folder: Path, known: Manifest, shards: Sequence[Shard], places: Places) -> None:
        self._folder, self._known, self._shards, self._places = folder, known, shards, places
        self._ends = list(itertools.accumulate(shard.records for shard in shards))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        """Record number `index`, negative from the end; a slice gives a list, all of which is then in memory.

        Raises:
            IndexError: There is no such record.
            VerifyError: The record, or the shard that it is in, is damaged.
        """
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(
                f"There is no record {index}. Expected {-len(self)} to {len(self) - 1}, received {index}. See len()."
            )
        number = index % len(self)
        which = bisect.bisect_right(self._ends, number)
        shard = self._shards[which]
        place = number - (self._ends[which] - shard.records)
        offset, length = self._places(shard)[place].tolist()
        try:
            record = heads.read_record(self._folder / shard.name, offset, length)
        except FileNotFoundError:  # deleted since its places were read
            manifest.check_shards(self._folder, [shard])
            raise
        return self._decoded(shard, place, record)

    def __iter__(self) -> Iterator[Record]:
        """All records, one at a time, each shard from its begin to its end."""
        for shard in self._shards:
            manifest.check_shards(self._folder, [shard])
            for place, record in enumerate(records.read_shard(self._folder / shard.name)):
                yield self._decoded(shard, place, record)

    def __repr__(self) -> str:
        return f"Records({len(self):,} {self._known.kind} in {len(self._shards):,} shards)"

    def _decoded(self, shard: Shard, place: int, record: bytes) -> Record:
        try:
            values = records.decode(record, self._known.kind)
            return (read_pair if self._known.kind == "pairs" else read_scene)(values, shard.split, self._known)
        except (ValueError, TypeError) as error:
            raise VerifyError(
                f"Record {place} of shard '{shard.name}' cannot be read. Expected the features of a "
                f"{self._known.unit}, received: {error} {heads.ADVICE}"
            ) from None


@dataclass(frozen=True, eq=False)
class Dataset:
    """A finished dataset, to be looked at: `len`, iteration, numbers and slices over all of it, and each split by name.

    Attributes:
        folder: Where it lies.
        manifest: What it says of itself: recipe, seed, codec, counts, shards.
    """

    folder: Path
    manifest: Manifest
    _places: Places = field(repr=False)

    @property
    def splits(self) -> dict[str, int]:
        """Number of records of each split."""
        return {split: self.manifest.records_of(split) for split in SPLITS}

    @functools.cached_property
    def _all(self) -> Records:
        return self._of([shard for shard in self.manifest.shards if shard.records])

    def _of(self, shards: Sequence[Shard]) -> Records:
        return Records(self.folder, self.manifest, shards, self._places)

    def __len__(self) -> int:
        """Number of records of all splits."""
        return len(self._all)

    def __iter__(self) -> Iterator[Record]:
        """All records, one at a time, in the order of the shards."""
        return iter(self._all)

    @overload
    def __getitem__(self, index: str) -> Records: ...

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...

    def __getitem__(self, index: str | int | slice) -> Records | Record | list[Record]:
        """The records of a split by its name, or one record or several of all by number.

        Raises:
            UsageError: There is no such split.
            RefusedError: The split is empty.
            IndexError, VerifyError: As `Records` says.
        """
        if isinstance(index, str):
            return self._of(self.manifest.shards_of(index))
        return self._all[index]

    def __repr__(self) -> str:
        return f"Dataset('{self.folder}', {self.manifest.counted()})"

    def _repr_html_(self) -> str:
        """What it is, and some of its records, from shards far from each other."""
        counts = ", ".join(f"{count:,} {split}" for split, count in self.splits.items())
        recipe = html.escape(str(self.manifest.recipe.get("name")))
        chosen = np.unique(np.linspace(0, len(self) - 1, min(SHOWN, len(self))).astype(int)).tolist()
        rows = "".join(row(self[number]) for number in chosen)
        where = html.escape(str(self.folder))
        return f"<p><b>{where}</b>: {self.manifest.counted()} ({counts}), recipe {recipe}</p>{rows}"


def open(folder: str | Path) -> Dataset:
    """A finished dataset, read-only, for notebooks: looks at its manifest alone until a record is asked for.

    For training, aodnet.data streams the same records in shuffled batches.

    Args:
        folder: Of a dataset that `hazegen make`, split, merge, sample or pull has finished; also s3:// and gs://.

    Returns:
        The dataset: `len(dataset)`, `dataset.splits`, `dataset.manifest`, `dataset["train"][0]`, `for pair in dataset`.
        Notebooks show some of its pictures.

    Raises:
        UsageError: An address of a store that cannot be used.
        RefusedError: No finished dataset, or one of another schema version.

    Example:
        >>> import hazegen
        >>> dataset = hazegen.open("dataset")
        >>> dataset
        Dataset('dataset', 36 pairs of 12 scenes)
        >>> dataset.splits
        {'train': 18, 'validation': 9, 'test': 9}
        >>> pair = dataset["train"][0]
        >>> pair.clean.shape, pair.hazy.dtype
        ((64, 96, 3), dtype('uint8'))
        >>> 0.0 < pair.haze.beta[1] < 1.0, pair.haze.visibility_m > 0
        (True, True)
        >>> sum(pair.mean_transmission for pair in dataset) / len(dataset) < 1.0
        True
    """
    place = stores.place(folder)
    known = manifest.load(place)
    places = functools.lru_cache(KEPT_SHARDS)(functools.partial(_read_places, place, known.kind))
    return Dataset(place, known, places)


def _read_places(folder: Path, kind: records.Kind, shard: Shard) -> NDArray[np.int64]:
    """Offset and length of each record of a shard, found without reading its pictures, (records, 2)."""
    manifest.check_shards(folder, [shard])
    found = heads.read_heads(folder / shard.name, kind=kind)
    places = np.array([(head.offset, head.length) for head in found], np.int64).reshape(-1, 2)
    if len(places) != shard.records:
        raise VerifyError(
            f"Shard '{shard.name}' is not what the manifest says. Expected {shard.records} records, received "
            f"{len(places)}. {heads.ADVICE}"
        )
    return places
