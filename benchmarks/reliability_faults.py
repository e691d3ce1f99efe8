"""Faults in finished datasets: each does one kind of damage at a place that a generator draws.

Of each fault it is known what hazegen repair owes: every byte ('bytes'); every byte but those of licence, citation and
source ('about'); every byte, or a word on why not ('either'); a word on what is left ('named').
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hazegen import manifest, records
from hazegen.manifest import INPUTS, MANIFEST, PLAN

Rng = np.random.Generator
Result = Literal["bytes", "about", "either", "named"]


@dataclass(frozen=True)
class Fault:
    """One kind of damage.

    Attributes:
        kind: What is damaged, and how.
        damage: Does it, and names the file.
        result: What repair owes.
    """

    kind: str
    damage: Callable[[Path, Rng], str]
    result: Result = "bytes"


# --- bytes of any file ---


def flip(path: Path, rng: Rng) -> None:
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def cut(path: Path, rng: Rng) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.integers(1, len(data))])


def grow(path: Path, rng: Rng) -> None:
    path.write_bytes(path.read_bytes() + rng.bytes(int(rng.integers(1, 100))))


def empty(path: Path, rng: Rng) -> None:  # noqa: ARG001
    path.write_bytes(b"")


def remove(path: Path, rng: Rng) -> None:  # noqa: ARG001
    path.unlink()


# --- records of a shard, all checksums right ---


def _of_records(change: Callable[[list[bytes], Rng], list[bytes]]) -> Callable[[Path, Rng], None]:
    def damage(path: Path, rng: Rng) -> None:
        changed = change(list(records.read_shard(path)), rng)
        path.write_bytes(b"".join(map(records.frame, changed)))

    return damage


def _cut_on_boundary(all_: list[bytes], rng: Rng) -> list[bytes]:
    return all_[: int(rng.integers(len(all_)))]


def _without_one(all_: list[bytes], rng: Rng) -> list[bytes]:
    del all_[int(rng.integers(len(all_)))]
    return all_


def _doubled(all_: list[bytes], rng: Rng) -> list[bytes]:
    return [*all_, all_[int(rng.integers(len(all_)))]]


def _swapped(all_: list[bytes], rng: Rng) -> list[bytes]:
    one, other = rng.choice(len(all_), 2, replace=False)
    all_[one], all_[other] = all_[other], all_[one]
    return all_


def _another_picture(all_: list[bytes], rng: Rng) -> list[bytes]:
    one, other = rng.choice(len(all_), 2, replace=False)
    values = records.decode(all_[one])
    all_[one] = records.encode(values | {"hazy": records.decode(all_[other])["hazy"]})
    return all_


# --- whole files ---


def shard_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.tfrecord"))


def _of_a_shard(damage: Callable[[Path, Rng], None]) -> Callable[[Path, Rng], str]:
    def apply(folder: Path, rng: Rng) -> str:
        name = str(rng.choice([name for name in shard_names(folder) if (folder / name).stat().st_size]))
        damage(folder / name, rng)
        return name

    return apply


def _of(name: str, damage: Callable[[Path, Rng], None]) -> Callable[[Path, Rng], str]:
    def apply(folder: Path, rng: Rng) -> str:
        damage(folder / name, rng)
        return name

    return apply


def _swap_shards(folder: Path, rng: Rng) -> str:
    one, other = (str(name) for name in rng.choice(shard_names(folder), 2, replace=False))
    (folder / one).rename(folder / "aside")
    (folder / other).rename(folder / one)
    (folder / "aside").rename(folder / other)
    return one


def _another_shards_bytes(folder: Path, rng: Rng) -> str:
    one, other = (str(name) for name in rng.choice(shard_names(folder), 2, replace=False))
    shutil.copyfile(folder / one, folder / other)
    return other


def _renamed(folder: Path, rng: Rng) -> str:
    name = str(rng.choice(shard_names(folder)))
    (folder / name).rename(folder / "downloaded (1).tfrecord")
    return name


def _extra(name: str, *, of_a_shard: bool = True) -> Callable[[Path, Rng], str]:
    def apply(folder: Path, rng: Rng) -> str:
        if of_a_shard:
            shutil.copyfile(folder / str(rng.choice(shard_names(folder))), folder / name)
        else:
            (folder / name).write_bytes(rng.bytes(100))
        return name

    return apply


# --- the manifest, field by field ---


def leaves(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values of a manifest that hold no others."""
    entries: Any = content.items() if isinstance(content, dict) else enumerate(content)
    for name, value in entries:
        if isinstance(value, dict | list) and value:
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


def _other_value(value: Any, rng: Rng) -> Any:
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value + int(rng.integers(1, 10))
    if isinstance(value, float):
        return value * 1.01 + 0.01
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1")
    return [*value, "x"] if isinstance(value, list) else {"x": 1}


def edit_manifest(field: str) -> Callable[[Path, Rng], str]:
    """Edits a value below one field of the manifest, drawn among them, in the layout in which hazegen writes it."""

    def apply(folder: Path, rng: Rng) -> str:
        content = json.loads((folder / MANIFEST).read_text())
        paths = [(field, *path) for path in leaves(content[field])] if _holds(content[field]) else [(field,)]
        path = paths[int(rng.integers(len(paths)))]
        entry = content
        for name in path[:-1]:
            entry = entry[name]
        entry[path[-1]] = _other_value(entry[path[-1]], rng)
        (folder / MANIFEST).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        return MANIFEST

    return apply


def _holds(value: Any) -> bool:
    return isinstance(value, dict | list) and bool(value)


FIELDS = (
    *("kind", "recipe", "seed", "color_space", "codec", "quality", "maps", "variants", "reading", "inputs", "smallest"),
    *("splits", "versions", "shards", "schema_version", "tables", "also_made_with", "sources"),
)

# --- rows of the tables ---


def _of_lines(change: Callable[[list[bytes], Rng], list[bytes]]) -> Callable[[Path, Rng], None]:
    def damage(path: Path, rng: Rng) -> None:
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True), rng)))

    return damage


def _edit_line(lines: list[bytes], rng: Rng) -> list[bytes]:
    number = int(rng.integers(1, len(lines)))
    lines[number] = lines[number].replace(b"scene", b"seene") if b"scene" in lines[number] else b"x" + lines[number]
    return lines


FAULTS = (
    *(Fault(f"shard: {kind}", _of_a_shard(damage)) for kind, damage in {
        "flipped bit": flip,
        "cut": cut,
        "cut on a record's end": _of_records(_cut_on_boundary),
        "record removed": _of_records(_without_one),
        "record doubled": _of_records(_doubled),
        "records swapped": _of_records(_swapped),
        "picture of another record": _of_records(_another_picture),
        "bytes at its end": grow,
        "empty": empty,
        "missing": remove,
    }.items()),
    Fault("shard: two exchanged", _swap_shards),
    Fault("shard: another's bytes", _another_shards_bytes),
    Fault("shard: renamed", _renamed),
    Fault("extra: a shard", _extra("train-00099-of-00100.tfrecord"), "named"),
    Fault("extra: another file", _extra("notes.txt", of_a_shard=False), "named"),
    Fault("left over: a temporary file", _extra("train-00000-of-00003.tfrecord.4711-0a1b2c3d-0.tmp")),
    *(Fault(f"manifest: {field}", edit_manifest(field)) for field in FIELDS),
    *(Fault(f"manifest: {field}", edit_manifest(field), "about") for field in ("about", "digest")),
    *(Fault(f"manifest: {kind}", _of(MANIFEST, damage), "about") for kind, damage in {
        "flipped bit": flip,
        "cut": cut,
        "empty": empty,
        "missing": remove,
    }.items()),
    *(Fault(f"plan: {kind}", _of(PLAN, damage), "either") for kind, damage in {
        "flipped bit": flip,
        "cut": cut,
        "line removed": _of_lines(_without_one),
        "line edited": _of_lines(_edit_line),
        "lines swapped": _of_lines(_swapped),
        "empty": empty,
        "missing": remove,
    }.items()),
    *(Fault(f"inputs: {kind}", _of(INPUTS, damage), "either") for kind, damage in {
        "flipped bit": flip,
        "cut": cut,
        "line removed": _of_lines(_without_one),
        "line edited": _of_lines(_edit_line),
        "lines swapped": _of_lines(_swapped),
        "empty": empty,
        "missing": remove,
    }.items()),
)  # fmt: skip


def without_about(folder: Path) -> dict[str, Any]:
    """What a manifest says beside licence, citation and source, and the digest that covers them."""
    content = json.loads((folder / MANIFEST).read_text())
    return {name: value for name, value in content.items() if name not in ("about", manifest.SEAL)}
