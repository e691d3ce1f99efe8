"""hazegen info: what a dataset is, in ten seconds, from its manifest and the numbers of its records."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen import card, engine, heads, manifest, records, scene_records, stores
from hazegen.collect import read_table
from hazegen.errors import VerifyError
from hazegen.manifest import SPLITS, Manifest, Shard
from hazegen.recipe import Draw, Recipe

# Of a larger dataset the numbers of some shards are read, spread evenly: 20,000 take 3 s (one core, local disk).
MOST_RECORDS = 20_000
# In a store each record costs two requests; so many shards are asked for them at once.
MOST_REMOTE, READERS = 2_000, 16
# Of scenes the distances are read too: of 64 MB shards 5, or 1 of a store.
MOST_SCENES, MOST_REMOTE_SCENES = 400, 64
# Distances are taken from every so many rows and columns.
STRIDE = 16
BINS = 10
BAR = 32
EIGHTHS = " ▏▎▍▌▋▊▉"
# What is shown of each record: axis and unit, and whether its bins grow by factors.
SHOWN: dict[str, tuple[str, bool]] = {
    "beta": ("beta, green [1/m]", True),
    "visibility_m": ("visibility [m]", True),
    "atmospheric_light": ("atmospheric light, mean of its channels", False),
    "mean_transmission": ("mean transmission", False),
}
SCENES_SHOWN: dict[str, tuple[str, bool]] = {
    "distance_m": (f"distance [m], of every {STRIDE}th pixel of every {STRIDE}th row", True),
    "largest_m": ("largest finite distance of a scene [m]", True),
    "no_surface": ("share of a scene without surface", False),
}


@dataclass(frozen=True)
class Histogram:
    """How often a number falls where: count i is of numbers in [edges[i], edges[i + 1]), of the last one with its end.

    Where there are few different numbers, `edges` are these, as many as counts.
    """

    axis: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    median: float


@dataclass(frozen=True)
class Info:
    """What is known of a dataset.

    Attributes:
        known: Its manifest.
        verb: What it was made by: make, split, merge or sample.
        rejected: Number of rejected inputs for each reason's code.
        histograms: Of the records that were read.
        read: How many records and shards these were.
    """

    known: Manifest
    verb: str
    rejected: dict[str, int]
    histograms: tuple[Histogram, ...]
    read: tuple[int, int]


def look(folder: Path, most: int | None = None) -> Info:
    """Reads the manifest, the table of inputs, and the numbers of at most about `most` records; no picture.

    Args:
        most: 20,000 by default, 2,000 of a dataset in a store; of scenes 400 and 64, whose distances are read too.

    Raises:
        RefusedError: The dataset is not finished.
        VerifyError: A shard or a table is not what the manifest says.
    """
    known = manifest.load(folder)
    scenes = known.kind == "scenes"
    few, many = (MOST_REMOTE_SCENES, MOST_SCENES) if scenes else (MOST_REMOTE, MOST_RECORDS)
    shards = _spread([s for s in known.shards if s.records], most or (few if stores.is_remote(folder) else many))
    manifest.check_shards(folder, shards)
    numbers = _read_distances(folder, shards, known) if scenes else _read_numbers(folder, shards)
    codes = Counter(row["code"] for row in read_table(folder) if row["fate"] == "rejected")
    drawn = tuple(_histogram(numbers[name], *shown) for name, shown in _shown(known).items())
    read = sum(shard.records for shard in shards), len(shards)
    return Info(known, card.verb(folder), dict(sorted(codes.items())), drawn, read)


def _shown(known: Manifest) -> dict[str, tuple[str, bool]]:
    return SCENES_SHOWN if known.kind == "scenes" else SHOWN


def _spread(shards: Sequence[Shard], most: int) -> list[Shard]:
    """All shards, or some at equal distances, with about `most` records, at least one shard."""
    total = sum(shard.records for shard in shards)
    return list(shards[:: max(1, -(-total // most))])


def _read_numbers(folder: Path, shards: Sequence[Shard]) -> dict[str, NDArray[np.float64]]:
    tasks = ((folder / shard.name, shard.records) for shard in shards)
    # Python reads the numbers: threads are of use only where they wait for a store.
    found = engine.run(_read_shard, tasks, READERS if stores.is_remote(folder) else 1, lambda _: None)
    rows = [np.empty((0, len(SHOWN))), *found]
    return dict(zip(SHOWN, np.concatenate(rows).T, strict=True))


def _read_shard(task: tuple[Path, int], report: engine.Report) -> NDArray[np.float64]:
    """The numbers of each record of a shard, a row each."""
    path, records = task
    rows = []
    for head in heads.read_heads(path):
        told = head.values
        light = sum(told["atmospheric_light"]) / 3
        rows.append((told["beta"][1], told["visibility_m"], light, told["mean_transmission"]))
        report(1)
    numbers = np.array(rows, np.float64).reshape(-1, len(SHOWN))
    if len(numbers) != records or not np.isfinite(numbers).all() or numbers[:, 0].min() <= 0:
        raise VerifyError(
            f"Shard '{path.name}' is not what the manifest says. Expected {records} records with finite numbers and "
            f"beta above 0, received {len(numbers)} records, or others. {heads.ADVICE}"
        )
    return numbers


def _read_distances(folder: Path, shards: Sequence[Shard], known: Manifest) -> dict[str, NDArray[np.float64]]:
    """Distances, largest distance and share without surface of the scenes of some shards."""
    recipe = scene_records.recipe_of(known)
    tasks = ((folder / shard.name, shard.records, recipe) for shard in shards)
    found = list(engine.run(_read_scenes, tasks, min(READERS, engine.cores()), lambda _: None))
    empty = [np.empty(0)] * len(SCENES_SHOWN)
    return dict(zip(SCENES_SHOWN, map(np.concatenate, zip(empty, *found, strict=True)), strict=True))


def _read_scenes(task: tuple[Path, int, Recipe], report: engine.Report) -> tuple[NDArray[np.float64], ...]:
    """As `_read_distances`, of one shard."""
    path, count, recipe = task
    distance_m, largest_m, no_surface = [], [], []
    try:
        for record in records.read_shard(path):
            values = records.decode(record, "scenes")
            scene_records.check(values, recipe)
            found = scene_records.distances(values)
            sparse = found[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
            distance_m.append(sparse[np.isfinite(sparse)])
            largest_m.append(values["largest_m"])
            no_surface.append(float(np.isinf(found).mean()))
            report(1)
        if len(largest_m) != count:
            raise ValueError(f"{len(largest_m)} records in place of {count}")
    except ValueError as error:
        raise VerifyError(
            f"Shard '{path.name}' is not what the manifest says. Expected {count} scenes with their distances, "
            f"received: {error}. {heads.ADVICE}"
        ) from None
    return np.concatenate(distance_m).astype(np.float64), np.array(largest_m), np.array(no_surface)


def _histogram(values: NDArray[np.float64], axis: str, by_factors: bool) -> Histogram:
    """Bins that grow by factors from the least to the largest number, or tenths of [0, 1]."""
    different, counts = np.unique(values.astype(np.float32), return_counts=True)
    edges = different.astype(np.float64)
    if len(different) > BINS:
        edges = np.linspace(0.0, 1.0, BINS + 1)
        if by_factors:
            edges = np.geomspace(values.min(), values.max(), BINS + 1)
        edges[0], edges[-1] = min(edges[0], values.min()), max(edges[-1], values.max())
        counts, _ = np.histogram(values, edges)
    median = float(np.median(values)) if len(values) else 0.0
    return Histogram(axis, tuple(edges.tolist()), tuple(counts.tolist()), median)


# --- as text ---


def lines(info: Info) -> Iterator[str]:
    """The text that hazegen info prints."""
    known, pairs = info.known, sum(shard.records for shard in info.known.shards)
    size = sum(shard.bytes for shard in known.shards)
    scenes = sum(counts["scenes"] for counts in known.splits.values())
    of_scenes = f" of {scenes:,} scenes" if known.kind == "pairs" else ""
    yield f"{known.kind:<12}{pairs:,}{of_scenes}, {len(known.shards):,} shards, {size / 1e6:,.1f} MB"
    for name, text in _facts(info):
        yield f"{name:<12}{text}"
    yield ""
    column = f"{'pairs':>12}" if of_scenes else ""
    yield f"{'split':<12}{'scenes':>10}{column}{'shards':>8}{'MB':>12}"
    for split in SPLITS:
        shards = [shard for shard in known.shards if shard.split == split]
        count = f"{known.records_of(split):>12,}" if of_scenes else ""
        numbers = f"{known.splits[split]['scenes']:>10,}{count}{len(shards):>8,}"
        yield f"{split:<12}{numbers}{sum(shard.bytes for shard in shards) / 1e6:>12,.1f}"
    for histogram in info.histograms:
        yield ""
        yield from _draw(histogram)
    yield ""
    read, shards_read = info.read
    all_of_it = read == pairs
    yield f"from {'all' if all_of_it else f'{read:,} of'} {pairs:,} {known.kind}" + (
        "" if all_of_it else f" ({shards_read:,} of {len(known.shards):,} shards, spread evenly)"
    )


def _facts(info: Info) -> Iterator[tuple[str, str]]:
    known = info.known
    space = {"srgb": "sRGB-coded values", "linear": "linear light"}[known.color_space]
    codec = {"jpeg": f"JPEG, quality {known.quality}, 4:4:4", "png": "PNG", "raw": "raw"}[known.codec]
    beside = f"transmissions {'stored too' if known.maps else 'not stored'}"
    drawn = f"up to {known.variants} pairs a scene"
    if known.kind == "scenes":
        beside, drawn = "distances in 16 bits", "drawn in training"
    changed = ", ".join(f"{name} {value}" for name, value in _changed(known.recipe))
    yield "recipe", f"{known.recipe.get('name')}: {changed or 'all as by default'}"
    seed = "one for each source" if known.seed is None else known.seed
    yield "haze", f"seed {seed}, {drawn}, the equation applied to {space}"
    yield "stored as", f"{codec}, {beside}; kind {known.kind}"
    yield "least size", "{height} x {width} px, height x width".format(**known.smallest)
    codes = ", ".join(f"{count:,} {code}" for code, count in info.rejected.items())
    told = "{found:,} found = {used:,} used + {rejected:,} rejected".format(**known.inputs)
    yield "inputs", told + (f" ({codes})" if codes else "")
    yield "made with", card.versions_text(known.versions)
    for versions in known.also_made_with:
        yield "and with", card.versions_text(versions)
    if known.sources:
        yield "made by", card.made_by(known, info.verb, digits=8)
    yield "licence", " ".join(known.about.license.split()) or "not stated (hazegen card --license)"
    yield "digest", manifest.digest(known)


def _changed(recipe: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields of a resolved recipe that are not the default."""
    usual = Recipe(beta=Draw("values", (1.0,))).as_dict() | {"beta": None}
    for name, value in recipe.items():
        if name != "name" and value is not None and value != usual.get(name):
            yield name, value


def _draw(histogram: Histogram) -> Iterator[str]:
    """A bar for each bin, as long as its share of the fullest; empty bins at the ends are left out."""
    edges, counts = histogram.edges, histogram.counts
    yield f"{histogram.axis}, median {histogram.median:.4g}"
    places = [f"{edge:.4g}" for edge in edges]
    if len(edges) > len(counts):
        wide = max(map(len, places))
        places = [f"{low:>{wide}} to {high:>{wide}}" for low, high in itertools.pairwise(places)]
    full = [number for number, count in enumerate(counts) if count]
    rows = list(zip(places, counts, strict=True))[full[0] : full[-1] + 1] if full else []
    wide = max((len(place) for place, _ in rows), default=0)
    for place, count in rows:
        yield f"  {place:>{wide}}  {_bar(count / max(counts)):<{BAR}} {count:>9,}"


def _bar(share: float) -> str:
    """A bar of `share` of the full length, in steps of an eighth of a letter; never none for a share above 0."""
    eighths = max(round(share * BAR * 8), 1 if share > 0 else 0)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def as_dict(info: Info) -> dict[str, Any]:
    """All of it as values that JSON has."""
    known = info.known
    names = ("kind", "recipe", "seed", "color_space", "codec", "quality", "maps", "variants", "reading", "inputs")
    more = ("smallest", "versions", "also_made_with", "sources", "schema_version")
    told = {name: getattr(known, name) for name in (*names, *more)}
    shards = {split: [shard for shard in known.shards if shard.split == split] for split in SPLITS}
    sizes = {s: {"shards": len(shards[s]), "bytes": sum(x.bytes for x in shards[s])} for s in SPLITS}
    return told | {
        "about": vars(known.about),
        "digest": manifest.digest(known),
        "made_by": info.verb,
        "splits": {split: known.splits[split] | sizes[split] for split in SPLITS},
        "rejected": info.rejected,
        "histograms": {name: vars(drawn) for name, drawn in zip(_shown(known), info.histograms, strict=True)},
        "records_read": info.read[0],
        "shards_read": info.read[1],
    }
