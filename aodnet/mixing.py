"""Several datasets for one run: of one kind, each record once or by weight."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aodnet.streaming import Stream
from hazegen.errors import UsageError
from hazegen.manifest import Manifest


@dataclass(frozen=True)
class Source:
    """One dataset of a run.

    Attributes:
        folder: Where it lies.
        manifest: What it says of itself.
        weight: Its share of the examples, in any unit; all sources have one, or none has.
        stream: How shards of a store are read [default: through a cache in its default place].
    """

    folder: Path
    manifest: Manifest
    weight: float | None = None
    stream: Stream | None = None


def kind_of(manifests: Sequence[Manifest]) -> str:
    """What the records of all these datasets are: 'pairs' or 'scenes'.

    Raises:
        UsageError: They are of both kinds.
    """
    kinds = sorted({known.kind for known in manifests})
    if len(kinds) == 1:
        return kinds[0]
    raise UsageError(
        f"The datasets are of several kinds. Expected pairs alone or scenes alone, received {' and '.join(kinds)}. "
        "Leave one kind out of --data, or make both of one kind (hazegen make --kind scenes|pairs)."
    )


def check_sources(sources: Sequence[Source], split: str) -> None:
    """Raises UsageError or RefusedError unless these can be mixed, and each has records in the split."""
    kind_of([source.manifest for source in sources])
    for source in sources:
        source.manifest.shards_of(split)
    weights = [source.weight for source in sources]
    if any(weight is not None for weight in weights) and not all(weight and 0.0 < weight < 1e9 for weight in weights):
        raise UsageError(
            "The weights of the datasets cannot be used. Expected a number above 0 for each of them, received "
            f"{', '.join(map(str, weights))}. Correct --weights, or leave it out."
        )


def count_records(sources: Sequence[Source], split: str) -> int:
    """Records of an epoch: as many as all sources hold together."""
    return sum(source.manifest.records_of(split) for source in sources)


def steps_of(sources: Sequence[Source], split: str, batch: int) -> int:
    """Batches of an epoch, the last one included."""
    return -(-count_records(sources, split) // batch)


def choose(sources: Sequence[Source], split: str, seed: int, epoch: int) -> NDArray[np.integer[Any]]:
    """From which source each example of an epoch comes, (records of the epoch,): a function of seed and epoch.

    With weights each is drawn by them; without, each record comes once, in random order.
    """
    kind = np.min_scalar_type(len(sources) - 1)  # a byte an example, where 8 would be a gigabyte for 100 million
    counts = [source.manifest.records_of(split) for source in sources]
    rng = np.random.Generator(np.random.Philox(key=number_of(seed, epoch, "sources")))
    if sources[0].weight is None:
        return rng.permutation(np.repeat(np.arange(len(sources), dtype=kind), counts))
    weights = np.array([source.weight for source in sources], np.float64)
    return rng.choice(len(sources), size=sum(counts), p=weights / weights.sum()).astype(kind)


def number_of(*parts: object) -> int:
    """A number in [0, 2^62) that belongs to these parts, and to nothing else."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 2
