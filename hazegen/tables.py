"""The plan of a dataset that has lost it, told again from manifest and table of inputs; and the table, from the plan.

Both only if they come out as the manifest's digests of them say.
"""

import itertools
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hazegen import collect, resume, shards, stores
from hazegen.depth import conventions
from hazegen.errors import RefusedError, VerifyError
from hazegen.manifest import INPUTS, PLAN, Manifest, sha256
from hazegen.pairing import SceneRef
from hazegen.planning import DECIDING
from hazegen.shards import ShardPlan

Row = Mapping[str, Any]


def write_proven(path: Path, lines: Iterable[str], told: str, *, dry_run: bool) -> bool:
    """Writes a text file if it comes out with this SHA-256; else what lies there stays.

    Returns:
        Whether it comes out so.
    """
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / path.name
        stores.write_text(made, lines)
        if sha256(made) != told:
            return False
        if not dry_run:
            resume.install(made, path)
    return True


# --- the plan, from manifest and table ---


def mend_plan(folder: Path, known: Manifest, *, dry_run: bool) -> bool:
    """Writes the plan again; whether it could be told."""
    try:
        header = {name: getattr(known, name) for name in ("recipe", "versions", *DECIDING)}
        reading = {name: value for name, value in known.reading.items() if name not in collect.MEANT.values()}
        header |= {"found": known.inputs["found"], "reading": reading}
        plans = _plans(folder, known, stacked=conventions.find(reading["convention"]).stack)
        lines = shards.plan_lines(header, plans)
        return write_proven(folder / PLAN, lines, known.tables[PLAN], dry_run=dry_run)
    except (RefusedError, VerifyError, KeyError, ValueError):
        return False


def _plans(folder: Path, known: Manifest, *, stacked: bool) -> Iterator[ShardPlan]:
    """The shards of the plan: the inputs that have a split, in the order of the table, dealt as plan_shards does."""
    scenes = Counter(row["split"] for row in collect.read_table(folder))
    shards_of = Counter(shard.split for shard in known.shards)
    rows = (row for row in collect.read_table(folder) if row["split"])
    for split in sorted(scenes.keys() - {""}):
        for name, size in shards.sizes_of_shards(split, scenes[split], shards_of[split]):
            refs = tuple(_ref(row, stacked=stacked) for row in itertools.islice(rows, size))
            yield ShardPlan(name, split, refs)


def _ref(row: Row, *, stacked: bool) -> SceneRef:
    frame = int(row["key"].rpartition("/")[2]) if stacked else None
    return SceneRef(row["key"], row["image"], row["depth"], frame)


# --- the table, from plan and inputs ---


def mend_table(folder: Path, known: Manifest, built: Iterable[Sequence[Row]], *, dry_run: bool = False) -> bool:
    """Writes inputs.csv again; whether it could be told.

    Args:
        built: The rows of all scenes of the plan, shard by shard. Those of inputs that were rejected by their names
            are taken from what is left of the table.
    """
    rows = itertools.chain(_rejected_by_name(folder), itertools.chain.from_iterable(built))
    return write_proven(folder / INPUTS, collect.table(rows), known.tables[INPUTS], dry_run=dry_run)


def _rejected_by_name(folder: Path) -> Iterator[Row]:
    """What is left of the lines of inputs that no shard has."""
    try:
        for row in collect.read_table(folder):
            if row["fate"] == "rejected" and not row.get("split"):
                yield row
    except VerifyError:
        pass  # what came before the damage
