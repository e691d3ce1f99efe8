"""What the manifest and inputs.csv of a dataset say that was put together from others: nothing that is not so."""

import csv
import io
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen import manifest, stores
from hazegen.collect import MEANT, read_table
from hazegen.derive_index import Source
from hazegen.errors import RefusedError, VerifyError
from hazegen.manifest import INPUTS, SPLITS, About, Manifest, Shard

# What all records of a dataset have in common.
SHARED = ("kind", "color_space", "codec", "maps")


@dataclass(frozen=True)
class Tables:
    """What becomes of the sources' rows of inputs: see derive.Choice."""

    splits: Mapping[str, str]
    rejected: bool
    left_out: str


def check_agreement(known: Sequence[Manifest]) -> None:
    """Refuses datasets that one manifest cannot describe.

    Raises:
        RefusedError: Names the first entry in which two differ.
    """
    quality = ("quality",) if known[0].codec == "jpeg" else ()
    entries = {name: [getattr(one, name) for one in known] for name in (*SHARED, *quality)}
    if {one.kind for one in known} == {"scenes"}:
        _check_recipes([one.recipe for one in known])
    for name, values in entries.items():
        if any(value != values[0] for value in values):
            raise RefusedError(
                f"The datasets cannot be put together. Expected the same {name} in all, received "
                f"{' and '.join(map(str, dict.fromkeys(values)))}. Make them with the same {name}."
            )


def _check_recipes(recipes: Sequence[Mapping[str, Any]]) -> None:
    """Refuses scenes of different recipes: haze is drawn for all of them by the one that the manifest has."""
    for name in dict.fromkeys(itertools.chain(*recipes)):
        values = _different([recipe.get(name) for recipe in recipes])
        if name != "name" and len(values) > 1:
            raise RefusedError(
                f"Scenes of different recipes cannot be put together. Expected the same {name} in all, received "
                f"{' and '.join(map(str, values))}. Give aodnet fit --data each of them, or make them by one recipe."
            )


def manifest_of(
    known: Sequence[Manifest],
    made: Iterable[Shard],
    splits: Mapping[str, str],
    counts: Counter[str],
    sizes: NDArray[np.int64],
    variants: int,
) -> Manifest:
    """The manifest of a new dataset.

    Args:
        known: Those of its sources.
        splits: Split of each of its scenes.
        counts: Used and rejected inputs.
        sizes: Height and width of each of its scenes [px].
        variants: Most pairs of one scene.
    """
    made = sorted(made, key=lambda shard: shard.name)
    scenes = Counter(splits.values())
    versions = _different([one.versions for one in known] + [v for one in known for v in one.also_made_with])
    seeds = {one.seed for one in known}
    facts: dict[str, Any] = {name: getattr(known[0], name) for name in (*SHARED, "quality")}
    facts["seed"] = seeds.pop() if len(seeds) == 1 else None  # `sources` has each
    return Manifest(
        recipe=_join_recipes([one.recipe for one in known]),
        variants=variants,
        reading=_join_readings([one.reading for one in known]),
        inputs={"found": counts.total(), "used": counts["used"], "rejected": counts["rejected"]},
        smallest={"height": int(sizes[:, 0].min()), "width": int(sizes[:, 1].min())},
        splits={s: {"scenes": scenes[s], "records": sum(x.records for x in made if x.split == s)} for s in SPLITS},
        versions=versions[0],
        also_made_with=tuple(versions[1:]),
        shards=tuple(made),
        about=_join_abouts([one.about for one in known]),
        sources=tuple(_source(one) for one in known),
        **facts,
    )


def _source(known: Manifest) -> dict[str, Any]:
    """What stays known of a source; of one that was itself put together, its own sources too."""
    told = {name: getattr(known, name) for name in ("recipe", "seed", "variants", "reading", "versions")}
    more = {"sources": list(known.sources)} if known.sources else {}
    return {"digest": manifest.digest(known), "about": vars(known.about), **told, **more}


def _different(values: Sequence[Any]) -> list[Any]:
    """The values without repetitions, in their order."""
    return [value for number, value in enumerate(values) if value not in values[:number]]


def _join_recipes(recipes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The recipe, where it is one; else each field's values, as 'A or B' where they differ."""
    joined: dict[str, Any] = {}
    for name in dict.fromkeys(itertools.chain(*recipes)):
        values = _different([recipe.get(name) for recipe in recipes])
        between = "+" if name == "name" else " or "
        joined[name] = values[0] if len(values) == 1 else between.join("none" if v is None else str(v) for v in values)
    return joined


def _join_readings(readings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Entries that all have alike, and what was found in any; `sources` has how each was read."""
    joined = {name: value for name, value in readings[0].items() if all(r.get(name) == value for r in readings)}
    found = {name: [value for r in readings for value in r.get(name, ())] for name in MEANT.values()}
    return joined | {name: sorted(set(values)) for name, values in found.items()}


def _join_abouts(abouts: Sequence[About]) -> About:
    """What the makers of any of the photos ask; says so where a licence is not stated for some of them."""
    joined = {}
    for name, between in (("license", "; "), ("citation", "\n\n"), ("source", "; ")):
        texts = [getattr(about, name) for about in abouts]
        told = _different([text for text in texts if text])
        if name == "license" and told and (missing := texts.count("")):
            told.append(f"not stated for {missing} of the {len(texts)} datasets that this one was put together from")
        joined[name] = between.join(told)
    return About(**joined)


# --- inputs.csv ---


def write_inputs(path: Path, sources: Sequence[Source], tables: Tables) -> Counter[str]:
    """Writes the rows of the inputs that are in the new dataset, and counts used and rejected ones.

    An input that is used in one source and rejected in another is used; one that several rejected is listed once.

    Raises:
        VerifyError: A scene is not listed in its source, or listed twice.
    """
    columns = list(dict.fromkeys(name for source in sources for name in _columns(source)))
    counts: Counter[str] = Counter()
    stores.write_text(path, _lines(columns, sources, tables, counts))
    return counts


def _lines(columns: list[str], sources: Sequence[Source], tables: Tables, counts: Counter[str]) -> Iterator[str]:
    line = io.StringIO(newline="")
    writer = csv.DictWriter(line, columns, restval="", lineterminator="\n")
    writer.writeheader()
    rejected: dict[str, Source] = {}  # which source each rejected key was first met in
    for source in sources:
        for row in read_table(source.folder):
            kept = _row(row | {"key": source.prefix + row["key"]}, tables)
            if kept is not None and kept["fate"] != "used" and kept["key"] in tables.splits:
                continue
            if kept is not None and (kept["fate"] == "used" or rejected.setdefault(kept["key"], source) is source):
                counts[kept["fate"]] += 1
                writer.writerow(kept)
                yield line.getvalue()
                line.seek(0)
                line.truncate()
    yield line.getvalue()
    if counts["used"] != len(tables.splits):
        raise VerifyError(
            f"{INPUTS} of a source is not what its shards say. Expected a row for each of {len(tables.splits)} used "
            f"scenes, received {counts['used']}. Run hazegen verify on the sources."
        )


def _row(row: dict[str, str], tables: Tables) -> dict[str, str] | None:
    """The row in the new table, or None where it has none there."""
    if row["fate"] != "used":
        return row | {"split": ""} if tables.rejected else None
    if row["key"] in tables.splits:
        return row | {"split": tables.splits[row["key"]]}
    if not tables.left_out:
        return None
    return row | {"split": "", "fate": "rejected", "code": "left-out", "reason": tables.left_out}


def _columns(source: Source) -> list[str]:
    with (source.folder / INPUTS).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return next(csv.reader(file), [])
