"""What is left of damaged shards, for a run that is to go on without the rest: exactly what is lost is counted.

A shard is sound where its SHA-256 is the manifest's. Of any other, the records that are whole, belong there and did
not come before are used; each that is missing is an empty one in a temporary copy, so that what follows keeps its
place and TensorFlow reads on at its own speed.
"""

import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from hazegen import manifest, records, verify
from hazegen import shards as plans
from hazegen.errors import HazegenError, RefusedError, VerifyError
from hazegen.manifest import PLAN, Manifest, Shard

# Place and length of a record in its file; None where it is lost.
_Place = tuple[int, int] | None
_HEAD_BYTES, _FRAME_BYTES = 12, 16


@dataclass
class Lost:
    """What a run has gone without.

    Attributes:
        counts: Records lost of each damaged shard that was met, by its name; with several datasets by NUMBER/NAME, of
            datasets from 1, which holds wherever they lie. 0 where all of them could be read.
        failure: What could not be read at all, nor told what is lost by it: TensorFlow's own error is a traceback.
    """

    counts: dict[str, int] = field(default_factory=dict)
    failure: HazegenError | OSError | None = field(default=None, repr=False)
    _sound: set[tuple[Path, int, int]] = field(default_factory=set, repr=False)

    @property
    def total(self) -> int:
        """Records lost of all shards."""
        return sum(self.counts.values())

    def named(self, folders: Sequence[Path]) -> dict[str, int]:
        """The counts above 0, by the shards' paths."""
        return {str(_path_of(name, folders)): count for name, count in sorted(self.counts.items()) if count}

    @contextmanager
    def keeping(self, held: AbstractContextManager[Path]) -> Iterator[Path]:
        """A shard that is held, and the first failure of one kept."""
        try:
            with held as path:
                yield path
        except (HazegenError, OSError) as error:
            self.failure = self.failure or error
            raise

    def is_sound(self, path: Path, shard: Shard) -> bool:
        """Whether a file is what the manifest says; it is read once, and again only after it has changed."""
        try:
            status = path.stat()
            known = (path, status.st_mtime_ns, status.st_size)
            if known not in self._sound and status.st_size == shard.bytes and manifest.sha256(path) == shard.sha256:
                self._sound.add(known)
            return known in self._sound
        except OSError as error:
            verify.of_the_file(path, error)  # raises where the machine is to blame
            return False


def _path_of(name: str, folders: Sequence[Path]) -> Path:
    number, _, shard = name.rpartition("/")
    return folders[int(number or 1) - 1] / shard


@contextmanager
def readable(path: Path | None, folder: Path, known: Manifest, shard: Shard, lost: Lost, name: str) -> Iterator[Path]:
    """A file with as many records as the shard has by the manifest: its own, or a copy with empty ones for lost ones.

    Args:
        path: The shard's file; None where there is none.
        folder: The dataset's.
        lost: Receives the number of lost records, as `name`.

    Raises:
        VerifyError: Which records belong to a damaged shard cannot be told, since the dataset's plan is damaged too.
    """
    if path is not None and lost.is_sound(path, shard):
        yield path
        return
    places = [] if path is None else find_records(path, _scenes_of(folder, known, shard), known.kind)
    places = _as_many(places, shard.records)
    lost.counts[name] = sum(place is None for place in places)
    with tempfile.TemporaryDirectory(prefix="aodnet-") as temporary:
        copy = Path(temporary) / shard.name
        _write(copy, path, places)
        yield copy


def find_records(path: Path, scenes: frozenset[str], kind: str) -> list[_Place]:
    """Where the whole records of a damaged shard stand, in their order, and None for each that is damaged.

    Beyond a damaged length nothing can be found. Records of other shards and second copies are left out.

    Args:
        scenes: Names of the scenes whose records belong there.
    """
    found: list[_Place] = []
    seen: set[str] = set()
    try:
        with path.open("rb") as file:
            for at, data, intact in _frames(file, path.stat().st_size):
                values = _decode(data, kind) if intact else None
                if values is None:
                    found.append(None)
                elif values["scene"] in scenes and values["key"] not in seen:
                    seen.add(values["key"])
                    found.append((at, len(data)))
    except OSError as error:
        verify.of_the_file(path, error)
    return found


def _frames(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes, bool]]:
    """Place and content of each record whose length can be trusted, and whether its checksum matches."""
    at = 0
    while at + _FRAME_BYTES <= size:
        file.seek(at)
        head = file.read(_HEAD_BYTES)
        (length,) = struct.unpack("<Q", head[:8])
        if head[8:] != _checksum(head[:8]) or length > size - at - _FRAME_BYTES:
            return
        data, checksum = file.read(length), file.read(4)
        yield at, data, checksum == _checksum(data)
        at += length + _FRAME_BYTES


def _checksum(data: bytes) -> bytes:
    """The last that a frame holds."""
    return records.frame(data)[-4:]


def _decode(data: bytes, kind: str) -> dict[str, Any] | None:
    try:
        return records.decode(data, kind)
    except ValueError:
        return None


def _as_many(places: list[_Place], count: int) -> list[_Place]:
    """With empty places at the end for records that are gone, without those that are too many."""
    places = places + [None] * (count - len(places))
    for number in reversed(range(len(places))):
        if len(places) > count and places[number] is None:
            del places[number]
    return places[:count]


def _write(copy: Path, path: Path | None, places: list[_Place]) -> None:
    empty = records.frame(b"")
    with copy.open("wb") as out:
        if path is None or not any(places):
            out.write(empty * len(places))
            return
        with path.open("rb") as file:
            for place in places:
                if place is not None:
                    file.seek(place[0])
                out.write(empty if place is None else file.read(place[1] + _FRAME_BYTES))


def _scenes_of(folder: Path, known: Manifest, shard: Shard) -> frozenset[str]:
    """The scenes of a shard, by the dataset's plan."""
    try:
        if manifest.sha256(folder / PLAN) == known.tables[PLAN]:
            _, found = plans.read_plan(folder)
            return frozenset(scene.key for plan in found if plan.name == shard.name for scene in plan.scenes)
        problem = "another one"
    except (FileNotFoundError, RefusedError) as error:
        problem = str(error)
    raise VerifyError(
        f"Shard '{shard.name}' is damaged, and what belongs to it cannot be told. Expected in '{folder}' the {PLAN} "
        f"that the manifest names, received {problem}. Run hazegen repair {folder}, or copy {PLAN} again."
    )
