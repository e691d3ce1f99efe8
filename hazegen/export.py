"""hazegen export: a dataset as image folders named as RESIDE names them, or as WebDataset tar files.

Every name and every tar file is decided from the manifest before any work, so that neither the number
of workers nor an interruption changes a byte of the result. docs/export.md shows the layouts.
"""

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from hazegen import engine, heads, locks, manifest, stores
from hazegen.derive_index import check_outside
from hazegen.errors import RefusedError, UsageError, VerifyError
from hazegen.export_files import COLUMNS, WORK, Part, Piece, write_part
from hazegen.export_folder import MARK, check_finished, claim, look, read_json
from hazegen.manifest import SPLITS, Manifest
from hazegen.planning import BYTES_PER_PIXEL

TABLE = "pairs.csv"
# In WORK: the number of scenes of each shard, where it had to be counted.
SCENES = "scenes.json"
TAR_MB = 256.0


@dataclass(frozen=True)
class ExportOptions:
    """What a dataset is turned into.

    Attributes:
        format: Layout. folder-its: SPLIT/gt/1.jpg, SPLIT/hazy/1_2_0.9.jpg (scene, variant, A). folder-ots:
            SPLIT/clear/0001.jpg, SPLIT/hazy/0001_0.9_0.04.jpg (scene, A, beta). webdataset: SPLIT-000000.tar.
        split: Only this split [default: all that hold pairs].
        codec: stored copies the bytes of the stored pictures; png turns JPEG into PNG of the same pixels. Pictures
            of a dataset made with --codec raw become PNG either way.
        maps: Also the transmission of each pair, of a dataset made with --maps.
        tar_mb: Size that the tar files are planned for; for webdataset alone [default: 256].
        workers: Threads that work at once [default: all cores].
    """

    format: Literal["folder-its", "folder-ots", "webdataset"]
    split: Literal["train", "validation", "test"] | None = None
    codec: Literal["stored", "png"] = "stored"
    maps: bool = False
    tar_mb: float | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.tar_mb is not None and self.format != "webdataset":
            raise UsageError(
                "--tar-mb belongs to tar files. Expected it beside --format webdataset, received it beside "
                f"{self.format}. Leave it out."
            )
        if self.tar_mb is not None and not 0 < self.tar_mb < math.inf:
            raise UsageError(
                f"--tar-mb is out of range. Expected a number above 0, received {self.tar_mb}. Change --tar-mb."
            )
        if self.workers is not None:
            engine.check_workers(self.workers)


@dataclass(frozen=True)
class Exported:
    """What an export did.

    Attributes:
        out: Folder of the export.
        splits: For each exported split its numbers of scenes and pairs.
        files, bytes: Number and size of its pictures or tar files.
        parts, reused: Units of work, and those that an earlier run had finished.
        finished_before: Whether there was nothing to do.
        seconds: Time taken.
    """

    out: Path
    splits: dict[str, dict[str, int]]
    files: int
    bytes: int
    parts: int
    reused: int
    finished_before: bool
    seconds: float


def export(folder: Path, out: Path, options: ExportOptions) -> Exported:
    """Exports the dataset in `folder` to `out`, or what an interrupted export has left of it.

    Raises:
        RefusedError: The dataset lacks what is asked for, or `out` holds something else.
        VerifyError: A shard is not what the manifest says, or a finished export is not what it was.
    """
    began = time.monotonic()
    known = manifest.load(folder)
    check_outside(out, [folder])
    _check_kind(folder, known)
    chosen = _chosen(folder, known, options)
    header = _header(known, options)
    look(out, header)
    out.mkdir(parents=True, exist_ok=True)
    with locks.lock(out):
        if look(out, header):
            return _summary(out, check_finished(out), began)
        claim(out, header)
        workers = options.workers or engine.cores()
        parts = _plan(folder, out, known, options, chosen, _scenes(folder, out, known, chosen, workers))
        left = [part for part in parts if not part.is_done]
        with tqdm(total=sum(part.pairs for part in left), unit="pair", desc="exporting", disable=None) as bar:
            for _ in engine.run(write_part, left, workers, bar.update):
                pass
        mark = header | _collect(parts, known)
        stores.write_text(out / TABLE, _table(parts))
        stores.write_text(out / MARK, [json.dumps(mark, indent=1, sort_keys=True) + "\n"])
        shutil.rmtree(out / WORK)
    return _summary(out, mark, began, reused=len(parts) - len(left))


# --- the plan ---


def _check_kind(folder: Path, known: Manifest) -> None:
    """Raises RefusedError where there are no pairs to export."""
    if known.kind == "scenes":
        raise RefusedError(
            f"'{folder}' holds scenes without haze, which is drawn in training. Expected a dataset of pairs, received "
            "one of scenes. Make one from the same photos with hazegen make --kind pairs, and export that."
        )


def _chosen(folder: Path, known: Manifest, options: ExportOptions) -> list[str]:
    """The splits that are exported, after a look whether the dataset has what is asked for."""
    if options.maps and not known.maps:
        raise RefusedError(
            f"'{folder}' holds no transmissions. Expected a dataset made with --maps, received one without. "
            "Leave --maps out, or make the dataset again with it."
        )
    _check_counts(known)
    chosen: list[str] = [split for split in SPLITS if known.records_of(split)]
    if options.split is not None:
        chosen = [options.split]
    if not chosen:
        raise RefusedError(f"'{folder}' is empty. Expected at least one pair, received none. Make the dataset again.")
    for split in chosen:
        manifest.check_shards(folder, known.shards_of(split))
    return chosen


def _plan(
    folder: Path, out: Path, known: Manifest, options: ExportOptions, chosen: list[str], scenes: dict[str, int]
) -> list[Part]:
    parts: list[Part] = []
    for split in chosen:
        pieces = _pieces(split, known, scenes)
        groups = _deal(pieces, known, options) if options.format == "webdataset" else [(piece,) for piece in pieces]
        settings = (folder, out, options.format, options.codec, options.maps, known.codec)
        parts += [Part(f"{split}-{number:06d}", split, group, *settings) for number, group in enumerate(groups)]
    return parts


def _check_counts(known: Manifest) -> None:
    """Refuses a manifest whose numbers of scenes, variants and records do not belong together."""
    variants = known.variants
    sound = type(variants) is int and variants >= 1
    for split in SPLITS if sound else ():
        told, count = known.splits[split], known.records_of(split)
        numbers = type(told.get("scenes")) is int and told["records"] == count
        sound = sound and numbers and told["scenes"] <= count <= told["scenes"] * variants
    if not sound:
        raise _contradiction(known, sum(shard.records for shard in known.shards))


def _contradiction(known: Manifest, records: int) -> VerifyError:
    return VerifyError(
        f"The manifest contradicts itself. Expected 1 to {known.variants} records of each scene, and those of its "
        f"shards, received splits {known.splits} and {records} records. Copy the dataset again."
    )


def _scenes(folder: Path, out: Path, known: Manifest, chosen: list[str], workers: int) -> dict[str, int]:
    """Number of scenes of each shard: told by the manifest where all have all variants, else counted once and kept."""
    shards = [shard for split in chosen for shard in known.shards_of(split)]
    total = sum(known.splits[split]["scenes"] for split in chosen)
    if sum(shard.records for shard in shards) == total * known.variants:
        return {shard.name: shard.records // known.variants for shard in shards}
    counts = _counted(out)
    left = [(folder / shard.name, shard.records) for shard in shards if type(counts.get(shard.name)) is not int]
    with tqdm(total=sum(records for _, records in left), unit="pair", desc="looking", disable=None) as bar:
        counts |= dict(engine.run(_count_scenes, (path for path, _ in left), workers, bar.update))
    for split in chosen:
        if sum(counts[shard.name] for shard in known.shards_of(split)) != known.splits[split]["scenes"]:
            raise _contradiction(known, sum(shard.records for shard in shards))
    stores.write_text(out / WORK / SCENES, [json.dumps(counts, sort_keys=True)])
    return counts


def _counted(out: Path) -> dict[str, int]:
    """What a run before has counted."""
    try:
        return read_json(out / WORK / SCENES)
    except (FileNotFoundError, RefusedError):
        return {}


def _count_scenes(path: Path, report: engine.Report) -> tuple[str, int]:
    scenes = set()
    for head in heads.read_heads(path):
        scenes.add(head.values["scene"])
        report(1)
    return path.name, len(scenes)


def _pieces(split: str, known: Manifest, scenes: dict[str, int]) -> list[Piece]:
    """The shards of a split, and the numbers of their scenes.

    Scenes are numbered from 1 through all splits, so that no number stands for two of them, and a split
    has the same numbers alone and among the others.
    """
    pieces: list[Piece] = []
    first_id = 1 + sum(known.splits[earlier]["scenes"] for earlier in SPLITS[: SPLITS.index(split)])
    for shard in known.shards_of(split):
        pieces.append(Piece(shard, 0, shard.records, first_id, scenes[shard.name]))
        first_id += scenes[shard.name]
    return pieces


def _deal(pieces: list[Piece], known: Manifest, options: ExportOptions) -> list[tuple[Piece, ...]]:
    """The records of a split for each tar file, as evenly as whole records allow."""
    as_png = options.codec == "png" or known.codec == "raw"
    growth = BYTES_PER_PIXEL["png"] / BYTES_PER_PIXEL[known.codec] if as_png else 1.0
    size = growth * sum(piece.shard.bytes for piece in pieces)
    total = sum(piece.stop for piece in pieces)
    count = min(total, math.ceil(size / ((options.tar_mb or TAR_MB) * 1e6)))
    groups: list[list[Piece]] = [[] for _ in range(count)]
    begin = number = 0
    for piece in pieces:
        at, end = begin, begin + piece.stop
        while at < end:
            edge = total * (number + 1) // count
            stop = min(end, edge)
            groups[number].append(dataclasses.replace(piece, first=at - begin, stop=stop - begin))
            at = stop
            number += at == edge
        begin = end
    return [tuple(group) for group in groups]


# --- what is told of it ---


def _header(known: Manifest, options: ExportOptions) -> dict[str, Any]:
    """What decides the bytes of an export."""
    decided = {name: getattr(options, name) for name in ("format", "split", "codec", "maps")}
    tar_mb = (options.tar_mb or TAR_MB) if options.format == "webdataset" else None
    return {"dataset": manifest.digest(known), "tar_mb": tar_mb, **decided}


def _collect(parts: list[Part], known: Manifest) -> dict[str, Any]:
    """Counts of all parts, and what users of the pictures have to know of them."""
    splits: dict[str, dict[str, int]] = {}
    files: dict[str, list[int]] = {}
    for part in parts:
        result = read_json(part.result)
        splits.setdefault(part.split, {"pairs": 0, "scenes": known.splits[part.split]["scenes"]})
        splits[part.split]["pairs"] += result["pairs"]
        for pattern, (count, size) in result["files"].items():
            before = files.get(pattern, [0, 0])
            files[pattern] = [before[0] + count, before[1] + size]
    assert all(counts["pairs"] == known.records_of(split) for split, counts in splits.items()), splits
    told = {"about": vars(known.about), "color_space": known.color_space, "recipe": known.recipe, "seed": known.seed}
    return {"splits": splits, "files": files, "parts": len(parts), **told}


def _table(parts: list[Part]) -> Iterator[str]:
    yield ",".join(COLUMNS) + "\n"
    for part in parts:
        yield part.rows.read_text(encoding="utf-8", errors="surrogateescape")


def _summary(out: Path, mark: dict[str, Any], began: float, reused: int | None = None) -> Exported:
    files = sum(count for count, _ in mark["files"].values())
    size = sum(size for _, size in mark["files"].values())
    finished_before, parts = reused is None, int(mark["parts"])
    done = parts if reused is None else reused
    splits = {split: mark["splits"][split] for split in SPLITS if split in mark["splits"]}
    return Exported(out, splits, files, size, parts, done, finished_before, time.monotonic() - began)
