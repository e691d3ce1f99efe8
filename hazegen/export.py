"""hazegen export: a dataset as image folders named as RESIDE names them, or as WebDataset tar files.

Every name and every tar file is decided from the manifest before any work, so that neither the number
of workers nor an interruption changes a byte of the result. docs/export.md shows the layouts.
"""

import json
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from hazegen import engine, manifest, stores
from hazegen.errors import RefusedError, UsageError, VerifyError
from hazegen.export_files import COLUMNS, WORK, Part, Piece, write_part
from hazegen.manifest import SPLITS, Manifest
from hazegen.planning import BYTES_PER_PIXEL

# Written last: the mark of a finished export. Until then its plan lies in WORK.
MARK, PLAN, TABLE = "export.json", "plan.json", "pairs.csv"
TAR_MB = 256.0


@dataclass(frozen=True)
class ExportOptions:
    """What a dataset is turned into.

    Attributes:
        format: Layout. folder-its: SPLIT/gt/1.jpg, SPLIT/hazy/1_2_0.9.jpg (scene, variant, A). folder-ots:
            SPLIT/clear/0001.jpg, SPLIT/hazy/0001_0.9_0.04.jpg (scene, A, beta). webdataset: SPLIT-000000.tar.
        split: Only this split [default: all that hold pairs].
        codec: stored copies the bytes of the stored pictures; png turns JPEG into PNG of the same pixels.
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
    parts = _plan(folder, out, known, options)
    header = _header(known, options)
    if _claim(out, header):
        mark = _check_finished(out)
        return _summary(out, mark, parts, len(parts), began)
    left = [part for part in parts if not part.is_done]
    workers = engine.cores() if options.workers is None else options.workers
    with tqdm(total=sum(part.pairs for part in left), unit="pair", desc="exporting", disable=None) as bar:
        for _ in engine.run(write_part, left, workers, bar.update):
            pass
    mark = header | _collect(parts, known)
    stores.write_text(out / TABLE, _table(parts))
    stores.write_text(out / MARK, [json.dumps(mark, indent=1, sort_keys=True) + "\n"])
    shutil.rmtree(out / WORK)
    return _summary(out, mark, parts, len(parts) - len(left), began, finished_before=False)


# --- the plan ---


def _plan(folder: Path, out: Path, known: Manifest, options: ExportOptions) -> list[Part]:
    if options.maps and not known.maps:
        raise RefusedError(
            f"'{folder}' holds no transmissions. Expected a dataset made with --maps, received one without. "
            "Leave --maps out, or make the dataset again with it."
        )
    _check_counts(known)
    chosen = [split for split in SPLITS if known.records_of(split)] if options.split is None else [options.split]
    for split in chosen:
        manifest.check_shards(folder, known.shards_of(split))
    settings = (folder, out, known.variants, options.format, options.codec, options.maps)
    parts: list[Part] = []
    for split in chosen:
        pieces = _pieces(split, known)
        groups = _deal(pieces, known, options) if options.format == "webdataset" else [(piece,) for piece in pieces]
        parts += [Part(f"{split}-{number:06d}", split, group, *settings) for number, group in enumerate(groups)]
    if not parts:
        raise RefusedError(f"'{folder}' is empty. Expected at least one pair, received none. Make the dataset again.")
    return parts


def _check_counts(known: Manifest) -> None:
    """Refuses a manifest whose numbers of scenes, variants and records do not belong together."""
    variants = known.variants
    sound = type(variants) is int and variants >= 1 and not any(shard.records % variants for shard in known.shards)
    for split in SPLITS if sound else ():
        count = known.records_of(split)
        sound = sound and known.splits[split] == {"records": count, "scenes": count // variants}
    if not sound:
        raise VerifyError(
            f"The manifest contradicts itself. Expected {variants} records of each scene, and those of its shards, "
            f"received splits {known.splits} and {sum(shard.records for shard in known.shards)} records. Copy the "
            "dataset again."
        )


def _pieces(split: str, known: Manifest) -> list[Piece]:
    """The shards of a split, and the numbers of their scenes.

    Scenes are numbered from 1 through all splits, so that no number stands for two of them, and a split
    has the same numbers alone and among the others.
    """
    pieces: list[Piece] = []
    first_id = 1 + sum(known.splits[earlier]["scenes"] for earlier in SPLITS[: SPLITS.index(split)])
    for shard in known.shards_of(split):
        pieces.append(Piece(shard, 0, shard.records, first_id))
        first_id += shard.records // known.variants
    return pieces


def _deal(pieces: list[Piece], known: Manifest, options: ExportOptions) -> list[tuple[Piece, ...]]:
    """The records of a split for each tar file, as evenly as whole records allow."""
    growth = BYTES_PER_PIXEL["png"] / BYTES_PER_PIXEL[known.codec] if options.codec == "png" else 1.0
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
            groups[number].append(Piece(piece.shard, at - begin, stop - begin, piece.first_id))
            at = stop
            number += at == edge
        begin = end
    return [tuple(group) for group in groups]


# --- the folder: claimed first, marked last ---


def _header(known: Manifest, options: ExportOptions) -> dict[str, Any]:
    """What decides the bytes of an export."""
    decided = {name: getattr(options, name) for name in ("format", "split", "codec", "maps")}
    tar_mb = (options.tar_mb or TAR_MB) if options.format == "webdataset" else None
    return {"dataset": manifest.digest(known), "tar_mb": tar_mb, **decided}


def _claim(out: Path, header: dict[str, Any]) -> bool:
    """Takes a new folder, or one with the same export; whether that is finished already.

    Raises:
        RefusedError: The folder holds something else.
    """
    for path in (out / MARK, out / WORK / PLAN):
        if path.is_file():
            _check_same(out, path, header)
            return path.name == MARK
    # A plan that was being written when its run was killed means nothing.
    ours = (out / WORK, out / WORK / f"{PLAN}.tmp")
    other = next((path for path in out.rglob("*") if path not in ours), None) if out.is_dir() else None
    if other or (out.exists() and not out.is_dir()):
        raise RefusedError(
            f"'{out}' cannot take the export. Expected a new or empty folder, or the same export unfinished, received "
            f"{f'a folder with {other.name!r} in it' if other else 'a file'}. Choose another --out."
        )
    (out / WORK).mkdir(parents=True, exist_ok=True)
    stores.write_text(out / WORK / PLAN, [json.dumps(header, sort_keys=True)])
    return False


def _check_same(out: Path, path: Path, header: dict[str, Any]) -> None:
    before = _read_json(path)
    different = next((name for name in sorted(header) if before.get(name, "nothing") != header[name]), None)
    if different:
        raise RefusedError(
            f"'{out}' holds another export. Expected the same dataset and options, received {different}: "
            f"{before.get(different, 'nothing')} before, {header[different]} now. Choose another --out, or delete the "
            "folder."
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError(f"{type(content).__name__}")
    except ValueError as error:
        raise _unreadable(path, error) from None
    return content


def _unreadable(path: Path, error: Exception) -> RefusedError:
    return RefusedError(
        f"'{path}' cannot be read. Expected what hazegen export wrote, received: {type(error).__name__}: {error}. "
        "Choose another --out, or delete the folder."
    )


def _collect(parts: list[Part], known: Manifest) -> dict[str, Any]:
    """Counts of all parts, and what users of the pictures have to know of them."""
    splits: dict[str, dict[str, int]] = {}
    files: dict[str, list[int]] = {}
    for part in parts:
        result = _read_json(part.result)
        splits.setdefault(part.split, {"pairs": 0, "scenes": known.splits[part.split]["scenes"]})
        splits[part.split]["pairs"] += result["pairs"]
        for pattern, (count, size) in result["files"].items():
            before = files.get(pattern, [0, 0])
            files[pattern] = [before[0] + count, before[1] + size]
    assert all(counts["pairs"] == known.records_of(split) for split, counts in splits.items()), splits
    told = {"about": vars(known.about), "color_space": known.color_space, "recipe": known.recipe, "seed": known.seed}
    return {"splits": splits, "files": files, **told}


def _table(parts: list[Part]) -> Iterator[str]:
    yield ",".join(COLUMNS) + "\n"
    for part in parts:
        yield part.rows.read_text(encoding="utf-8", errors="surrogateescape")


def _check_finished(out: Path) -> dict[str, Any]:
    """The mark of a finished export, after a look whether its files are still there.

    Raises:
        VerifyError: Some are not.
    """
    mark = _read_json(out / MARK)
    try:
        told = [(f"{pattern}", int(count), int(size)) for pattern, (count, size) in mark["files"].items()]
        dict(mark["splits"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(out / MARK, error) from None
    for pattern, count, size in told:
        sizes = [path.stat().st_size for path in out.glob(pattern)]
        if (len(sizes), sum(sizes)) != (count, size):
            raise VerifyError(
                f"'{out}' is not what its {MARK} says. Expected {count} files of {size} bytes as '{pattern}', received "
                f"{len(sizes)} of {sum(sizes)} bytes. Delete the folder and export again."
            )
    shutil.rmtree(out / WORK, ignore_errors=True)
    return mark


def _summary(
    out: Path, mark: dict[str, Any], parts: list[Part], reused: int, began: float, finished_before: bool = True
) -> Exported:
    files = sum(count for count, _ in mark["files"].values())
    size = sum(size for _, size in mark["files"].values())
    seconds = time.monotonic() - began
    return Exported(out, mark["splits"], files, size, len(parts), reused, finished_before, seconds)
