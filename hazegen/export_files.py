"""The files of an export: one call writes one part, the pictures of a shard or one tar file."""

import csv
import hashlib
import io
import itertools
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hazegen import engine, heads, images, records, stores
from hazegen.errors import VerifyError
from hazegen.manifest import Shard

# Results of finished parts lie here until the export is marked as finished.
WORK = ".export"
COLUMNS = ("id", "key", "scene", "variant", "A", "beta", "visibility_m", "split", "clean", "hazy", "transmission")
FOLDERS = {
    "folder-its": {"clean": "gt", "hazy": "hazy", "transmission": "transmission"},
    "folder-ots": {"clean": "clear", "hazy": "hazy", "transmission": "transmission"},
}
# As many digits as RESIDE's names have: 2_1_0.99082.png.
NAME_DIGITS = 5


@dataclass(frozen=True)
class Piece:
    """Consecutive records of one shard, first to stop - 1, and the shard's number of scenes and number of its first."""

    shard: Shard
    first: int
    stop: int
    first_id: int
    scenes: int


@dataclass(frozen=True)
class Part:
    """One unit of work: the pictures of one shard, or one tar file.

    Attributes:
        name: Of the tar file and of the result, as 'train-000000'.
        layout, codec, maps: As the options say.
        stored: Codec of the dataset.
    """

    name: str
    split: str
    pieces: tuple[Piece, ...]
    folder: Path
    out: Path
    layout: str
    codec: str
    maps: bool
    stored: str

    @property
    def pairs(self) -> int:
        return sum(piece.stop - piece.first for piece in self.pieces)

    @property
    def result(self) -> Path:
        return self.out / WORK / f"{self.name}.json"

    @property
    def rows(self) -> Path:
        return self.out / WORK / f"{self.name}.csv"

    @property
    def is_done(self) -> bool:
        return self.result.is_file() and self.rows.is_file()


@dataclass(frozen=True)
class _Names:
    """What the files of one record are called.

    Attributes:
        id: Number of its scene.
        clean, hazy: Stems of the files.
        brings_clean: Whether it is the one record of its scene that the clean picture is taken from.
    """

    id: int
    clean: str
    hazy: str
    brings_clean: bool


@dataclass
class _Written:
    """What was written of a part: rows of the table, and number and bytes of the files by their pattern."""

    rows: list[dict[str, Any]]
    files: dict[str, list[int]]

    def count(self, pattern: str, size: int) -> None:
        numbers = self.files.setdefault(pattern, [0, 0])
        numbers[0] += 1
        numbers[1] += size


def write_part(part: Part, report: engine.Report) -> None:
    """Writes the files of one part, then its rows of the table, then its result.

    Raises:
        VerifyError: A shard is not what the manifest says.
    """
    written = _Written([], {})
    (_write_tar if part.layout == "webdataset" else _write_pictures)(part, written, report)
    # One sync in place of thousands of fsync: a part counts as finished only when its files are on the disk.
    os.sync()
    table = io.StringIO(newline="")
    csv.DictWriter(table, COLUMNS, lineterminator="\n").writerows(written.rows)
    stores.write_text(part.rows, [table.getvalue()])
    stores.write_text(part.result, [json.dumps({"pairs": len(written.rows), "files": written.files})])


def _write_pictures(part: Part, written: _Written, report: engine.Report) -> None:
    """One file for each scene's clean picture and for each hazy one."""
    for names, values in _read_part(part):
        paths: dict[str, str] = {}
        for name, suffix in _suffixes(values, part).items():
            folder = f"{part.split}/{FOLDERS[part.layout][name]}"
            paths[name] = f"{folder}/{names.clean if name == 'clean' else names.hazy}{suffix}"
            if name != "clean" or names.brings_clean:
                data = _content(values, name, suffix, part.stored)
                _write(part.out / paths[name], data)
                written.count(f"{folder}/*", len(data))
        written.rows.append(_row(names, values, part.split, paths))
        report(1)


def _write_tar(part: Part, written: _Written, report: engine.Report) -> None:
    """One tar file; the members of a pair stand beside each other, sorted by name."""
    path = part.out / f"{part.name}.tar"
    with stores.whole_file(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for names, values in _read_part(part):
            suffixes = _suffixes(values, part)
            members = {f"{name}{end}": _content(values, name, end, part.stored) for name, end in suffixes.items()}
            members["json"] = json.dumps(_parameters(names, values, part.split), sort_keys=True).encode()
            for member, data in sorted(members.items()):
                info = tarfile.TarInfo(f"{names.hazy}.{member}")  # its owner and times are 0
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            paths = {name: f"{path.name}/{names.hazy}.{name}{suffix}" for name, suffix in suffixes.items()}
            written.rows.append(_row(names, values, part.split, paths))
            report(1)
    written.count("*.tar", path.stat().st_size)


def _write(path: Path, data: bytes) -> None:
    """A picture under its name only when it is whole; the lock of the folder keeps other writers away."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)


# --- records and their names ---


def _read_part(part: Part) -> Iterator[tuple[_Names, dict[str, Any]]]:
    """Names and content of each record of a part."""
    for piece in part.pieces:
        names = _name_records(part, piece)
        for number, values in itertools.islice(enumerate(_read(part, piece.shard)), piece.first, piece.stop):
            yield names[number], values


def _read(part: Part, shard: Shard) -> Iterator[dict[str, Any]]:
    for number, record in enumerate(records.read_shard(part.folder / shard.name)):
        try:
            values = records.decode(record)
            values["haze"] = json.loads(values["haze"])
        except ValueError as error:
            raise VerifyError(
                f"Record {number} of shard '{shard.name}' cannot be read. Expected the features of a pair, received: "
                f"{error} {heads.ADVICE}"
            ) from None
        yield values


def _read_heads(part: Part, piece: Piece) -> list[tuple[str, int, float, float]]:
    """Scene, variant, A and beta of the green channel of each record of a shard, held against the manifest."""
    _check_digest(part.folder / piece.shard.name, piece.shard)
    found = [
        (values["scene"], values["variant"], values["atmospheric_light"][1], values["beta"][1])
        for values in _read(part, piece.shard)
    ]
    scenes = {scene for scene, *_ in found}
    if (len(found), len(scenes)) != (piece.shard.records, piece.scenes):
        expected = f"{piece.shard.records} records of {piece.scenes} scenes"
        raise _not_as_listed(piece.shard, expected, f"{len(found)} of {len(scenes)} scenes")
    if len({(scene, variant) for scene, variant, *_ in found}) < len(found):
        raise _not_as_listed(piece.shard, "each variant of a scene once", "one of them twice")
    return found


def _name_records(part: Part, piece: Piece) -> list[_Names]:
    """Names of all records of a shard."""
    found = _read_heads(part, piece)
    scenes = sorted({scene for scene, *_ in found})
    ids = {scene: piece.first_id + number for number, scene in enumerate(scenes)}
    stems = [_stem(part.layout, ids[scene], variant, light, beta) for scene, variant, light, beta in found]
    # Two variants of a scene may have drawn the same haze, or haze of the same name.
    counts = Counter(stems)
    stems = [
        stem if counts[stem] == 1 else f"{stem}_{variant + 1}"
        for stem, (_, variant, _, _) in zip(stems, found, strict=True)
    ]
    bringing = {scene: number for number, (scene, *_) in reversed(list(enumerate(found)))}
    digits = 4 if part.layout == "folder-ots" else 1
    return [
        _Names(ids[scene], f"{ids[scene]:0{digits}d}", stem, bringing[scene] == number)
        for number, ((scene, *_), stem) in enumerate(zip(found, stems, strict=True))
    ]


def _stem(layout: str, number: int, variant: int, light: float, beta: float) -> str:
    """Name of a hazy picture, without its suffix."""
    if layout == "webdataset":
        return f"{number:06d}_{variant + 1:04d}"
    if layout == "folder-its":
        return f"{number}_{variant + 1}_{_digits(light)}"
    return f"{number:04d}_{_digits(light)}_{_digits(beta)}"


def _digits(number: float) -> str:
    return np.format_float_positional(np.float32(number), NAME_DIGITS, unique=False, fractional=False, trim="-")


def _check_digest(path: Path, shard: Shard) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != shard.sha256:
        raise _not_as_listed(shard, f"SHA-256 {shard.sha256[:12]}...", f"{digest[:12]}...")


def _not_as_listed(shard: Shard, expected: str, received: str) -> VerifyError:
    return VerifyError(
        f"Shard '{shard.name}' is not what the manifest says. Expected {expected}, received {received}. {heads.ADVICE}"
    )


# --- what a record becomes ---


def _suffixes(values: dict[str, Any], part: Part) -> dict[str, str]:
    """File suffix of each picture of a record, by what it is and by what is asked for."""
    found: dict[str, str] = {}
    for name in ("clean", "hazy", "transmission")[: 3 if part.maps else 2]:
        data, stored = values.get(name, b""), _codec(name, part.stored)
        if not images.is_codec(data, stored):
            raise VerifyError(
                f"Pair '{values['key']}' has no {name} picture. Expected {stored}, received {len(data)} bytes that "
                f"begin with {data[:4]!r}. {heads.ADVICE}"
            )
        found[name] = ".png" if part.codec == "png" else images.SUFFIXES.get(stored, ".png")
    return found


def _codec(name: str, stored: str) -> str:
    return "png" if name == "transmission" else stored


def _content(values: dict[str, Any], name: str, suffix: str, stored: str) -> bytes:
    """The stored bytes, or where another format is asked for, their pixels in that."""
    data: bytes = values[name]
    if images.SUFFIXES.get(_codec(name, stored)) == suffix:
        return data
    of = f"{name} of {values['key']}"
    return images.encode(images.decode_stored(data, stored, values["height"], values["width"], of), suffix)


def _row(names: _Names, values: dict[str, Any], split: str, paths: dict[str, str]) -> dict[str, Any]:
    """One line of the table of pairs."""
    return {
        "id": names.id,
        "key": values["key"],
        "scene": values["scene"],
        "variant": values["variant"],
        "A": _channels(values["atmospheric_light"]),
        "beta": _channels(values["beta"]),
        "visibility_m": _short(values["visibility_m"]),
        "split": split,
        **paths,
    }


def _parameters(names: _Names, values: dict[str, Any], split: str) -> dict[str, Any]:
    """All of a record but its pictures, for its JSON file."""
    told: dict[str, Any] = {"id": names.id, "split": split}
    for name, value in values.items():
        if isinstance(value, float):
            told[name] = float(_short(value))
        elif isinstance(value, tuple):
            told[name] = [float(_short(item)) for item in value]
        elif not isinstance(value, bytes):
            told[name] = value
    return told


def _channels(numbers: tuple[float, ...]) -> str:
    """One number where the channels are equal, else three with spaces between them."""
    return " ".join(map(_short, numbers if len(set(numbers)) > 1 else numbers[:1]))


def _short(number: float) -> str:
    """The fewest digits that give the same float32, which is what a record holds."""
    return np.format_float_positional(np.float32(number), trim="-")
