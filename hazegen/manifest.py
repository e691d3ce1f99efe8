"""manifest.json: the mark of a finished dataset, and what every reader holds its shards against."""

import dataclasses
import difflib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hazegen import stores
from hazegen.errors import RefusedError, UsageError, VerifyError
from hazegen.records import SCHEMA_VERSION, Kind

MANIFEST = "manifest.json"
INPUTS = "inputs.csv"
PLAN = "plan.jsonl"
# The files beside the shards whose SHA-256 the manifest keeps.
TABLES = (INPUTS, PLAN)
SPLITS = ("train", "validation", "test")
CODECS = ("jpeg", "png", "raw")
# What one record of each kind is called.
UNIT: dict[str, str] = {"pairs": "pair", "scenes": "scene"}

# Key of manifest.json that holds the digest of all its others.
SEAL = "digest"

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
# 'user@' or 'user:secret@' before a URL's host; the second form also where the secret holds one of / ? #.
_USER_IN_URL = re.compile(r"://(?:[^\s/?#]*@|[^\s/?#:@\[]+:(?!\d+(?:[/?#\s]|$))\S*@)")


@dataclass(frozen=True)
class About:
    """What the makers of the photos and depth maps ask of users; decides no byte of the shards.

    Attributes:
        license: Licence of the photos and depth maps, an SPDX identifier such as CC-BY-4.0 or a sentence
            [default: not stated].
        citation: How their makers ask to be cited, BibTeX or text [default: not stated].
        source: Where they come from, a name or a URL [default: not stated].
    """

    license: str = ""
    citation: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        for name, text in vars(self).items():
            if not isinstance(text, str):
                raise TypeError(f"expected {name} to be text, received {type(text).__name__}")
            if _USER_IN_URL.search(text):
                raise UsageError(
                    f"A URL in --{name} names a user, perhaps with a secret. Expected a URL that anyone may read, as "
                    "https://host/path, received one with an '@' before its host (not repeated here). Take out all "
                    "from '://' to the '@'."
                )


@dataclass(frozen=True)
class Shard:
    """One TFRecord file of a dataset: what it must be."""

    name: str
    split: str
    bytes: int
    records: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a finished dataset says of itself.

    Attributes:
        kind: Whether its records are 'pairs' or 'scenes'.
        recipe: The resolved recipe.
        seed: Seed of all haze and of the splits.
        color_space: Values that the equation was applied to, 'srgb' or 'linear'.
        codec: 'jpeg', 'png' or 'raw' of the clean and hazy images.
        quality: JPEG quality.
        maps: Whether each pair holds its transmission.
        variants: Hazy images of each scene; 1 of scenes.
        reading: How depth and cameras were read.
        inputs: Numbers of inputs: found = used + rejected.
        smallest: Least height and least width of all images [px].
        splits: For each split its numbers of scenes and records.
        versions: Of the libraries that decide the bytes.
        shards: In the order of their names.
        schema_version: Of the record and of this file.
        about: Licence, citation and source of the photos and depth maps.
        tables: SHA-256 of inputs.csv and plan.jsonl.
        also_made_with: Other versions that some of the shards were made with, where any were.
        sources: Of a dataset put together from others: for each its digest, recipe, seed, variants, reading, about
            and versions.
    """

    kind: Kind
    recipe: dict[str, Any]
    seed: int
    color_space: str
    codec: str
    quality: int
    maps: bool
    variants: int
    reading: dict[str, Any]
    inputs: dict[str, int]
    smallest: dict[str, int]
    splits: dict[str, dict[str, int]]
    versions: dict[str, str]
    shards: tuple[Shard, ...]
    schema_version: int = SCHEMA_VERSION
    about: About = About()
    tables: dict[str, str] = field(default_factory=dict)
    also_made_with: tuple[dict[str, str], ...] = ()
    sources: tuple[dict[str, Any], ...] = ()

    def shards_of(self, split: str) -> list[Shard]:
        """The shards of one split.

        Raises:
            UsageError: There is no such split.
            RefusedError: The split has no records.
        """
        if split not in SPLITS:
            near = difflib.get_close_matches(split, SPLITS, 1)
            hint = f"Did you mean '{near[0]}'?" if near else "Correct it."
            raise UsageError(f"There is no such split. Expected one of {', '.join(SPLITS)}, received '{split}'. {hint}")
        found = [shard for shard in self.shards if shard.split == split and shard.records]
        if not found:
            counts = {name: split["records"] for name, split in self.splits.items()}
            raise RefusedError(
                f"Split '{split}' of the dataset is empty. Expected at least one record, received {counts}. "
                "Make the dataset with another --splits, or choose another split."
            )
        return found

    def records_of(self, split: str) -> int:
        """Number of records of one split."""
        return sum(shard.records for shard in self.shards if shard.split == split)

    @property
    def unit(self) -> str:
        """What one record is: a pair or a scene."""
        return UNIT[self.kind]

    def counted(self) -> str:
        """How many records of how many scenes, as '36 pairs of 12 scenes' or '12 scenes'."""
        used = self.inputs["used"]
        scenes = f"{used:,} scene{'s' * (used != 1)}"
        records = sum(shard.records for shard in self.shards)
        return scenes if self.kind == "scenes" else f"{records:,} pair{'s' * (records != 1)} of {scenes}"

    def to_json(self) -> str:
        """The text of manifest.json, with the digest of all else in it."""
        content = dataclasses.asdict(self)
        return json.dumps(content | {SEAL: seal(content)}, indent=1, sort_keys=True) + "\n"


def is_plain(name: object) -> bool:
    """Whether this is a file name that leads nowhere else, nor hides."""
    return isinstance(name, str) and _SAFE_NAME.fullmatch(name) is not None


def digest(known: Manifest) -> str:
    """One SHA-256 of a dataset's content: of the names and digests of its shards."""
    text = "\n".join(f"{shard.name} {shard.sha256}" for shard in known.shards)
    return hashlib.sha256(text.encode()).hexdigest()


def seal(content: Mapping[str, Any]) -> str:
    """The digest that manifest.json carries: SHA-256 of the canonical JSON of all else in it."""
    others = {name: value for name, value in content.items() if name != SEAL}
    return hashlib.sha256(json.dumps(others, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write(folder: Path, known: Manifest) -> Manifest:
    """Writes manifest.json, whole, with the digests of the tables that lie in `folder`: the mark of a finished dataset.

    Returns:
        The manifest as it was written.
    """
    known = dataclasses.replace(known, tables={name: sha256(folder / name) for name in TABLES})
    stores.write_text(folder / MANIFEST, [known.to_json()])
    return known


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(folder: Path) -> Manifest:
    """The manifest of the dataset in `folder`.

    Raises:
        RefusedError: None there (so the dataset is not finished), not readable, of another schema
            version, edited or damaged, or with a shard whose name leads out of the folder.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise RefusedError(
            f"'{folder}' is no finished dataset. Expected a {MANIFEST} in it, received a folder without one. "
            f"Run hazegen make to its end, or hazegen repair {folder} where it was finished before, or check the path."
        )
    try:
        content = json.loads(path.read_bytes())
        version = content["schema_version"]
        if version != SCHEMA_VERSION:
            raise RefusedError(
                f"'{path}' has another schema version. Expected {SCHEMA_VERSION}, received {version}. "
                "Read it with the hazegen that made it, or make the dataset again."
            )
        _check_seal(path, content.pop(SEAL), content)
        shards = tuple(Shard(**shard) for shard in content.pop("shards"))
        about = About(**content.pop("about"))
        others = content | {name: tuple(content[name]) for name in ("also_made_with", "sources")}
        manifest = Manifest(**others, shards=shards, about=about)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, RefusedError):
            raise
        raise _unreadable(path, error) from None
    try:
        _check_shape(manifest)
    except (AttributeError, TypeError) as error:
        raise _unreadable(path, error) from None
    return manifest


def _check_seal(path: Path, told: Any, content: Mapping[str, Any]) -> None:
    received = seal(content)
    if told != received:
        raise RefusedError(
            f"'{path}' was edited or damaged. Expected the content whose SHA-256 it carries, {str(told)[:12]}..., "
            f"received {received[:12]}.... Run hazegen repair {path.parent}, or copy the file again. (hazegen card "
            "changes licence, citation and source.)"
        )


def _unreadable(path: Path, error: Exception) -> RefusedError:
    return RefusedError(
        f"'{path}' cannot be read. Expected the manifest that hazegen make wrote, received: "
        f"{type(error).__name__}: {error}. Run hazegen repair {path.parent}, or copy the file again."
    )


def _check_shape(manifest: Manifest) -> None:
    """Refuses what readers would stumble over: other kinds and codecs, names that lead away, odd numbers."""
    known = manifest.kind in UNIT and manifest.codec in CODECS and set(manifest.tables) == set(TABLES)
    splits = {split: counts.get("records") for split, counts in manifest.splits.items()}
    numbers = [*splits.values(), *(manifest.inputs.get(name) for name in ("found", "used", "rejected"))]
    numbers += [manifest.smallest.get(side) for side in ("height", "width")]
    numbers += [number for shard in manifest.shards for number in (shard.bytes, shard.records)]
    if not known or set(splits) != set(SPLITS) or not all(type(n) is int and n >= 0 for n in numbers):
        raise RefusedError(
            f"The manifest cannot be read. Expected kind {' or '.join(UNIT)}, codec {', '.join(CODECS)}, whole numbers "
            f"of records, bytes, inputs and pixels, and digests of {' and '.join(TABLES)}, received kind "
            f"{manifest.kind!r}, codec {manifest.codec!r}, splits {splits}, inputs {manifest.inputs}, tables "
            f"{sorted(manifest.tables)}. Copy the dataset again."
        )
    for shard in manifest.shards:
        if not is_plain(shard.name):
            raise RefusedError(
                f"The manifest names a shard that may lie elsewhere. Expected a plain file name, "
                f"received {shard.name!r}. Do not use this dataset."
            )


def check_shards(folder: Path, shards: Sequence[Shard]) -> None:
    """Holds the size of every shard against the manifest, before any work: a cut on a record boundary
    passes every checksum.

    Raises:
        VerifyError: A shard is missing or has another size.
    """
    for shard in shards:
        path = folder / shard.name
        size = path.stat().st_size if path.is_file() else None
        if size != shard.bytes:
            raise VerifyError(
                f"Shard '{shard.name}' is not what the manifest says. Expected {shard.bytes} bytes, received "
                f"{'no file' if size is None else size}. Run hazegen verify {folder}, then hazegen repair {folder}, or "
                "download it again."
            )


def check_tables(folder: Path, known: Manifest) -> None:
    """Holds inputs.csv and plan.jsonl against the manifest, as whoever writes a loaded manifest anew must before.

    Raises:
        VerifyError: One of them is missing or another.
    """
    for name, problem in damaged_tables(folder, known).items():
        raise VerifyError(
            f"'{folder / name}' is not what the manifest says: {problem}. Run hazegen repair {folder}, or copy the "
            "file again."
        )


def damaged_tables(folder: Path, known: Manifest) -> dict[str, str]:
    """What is wrong with inputs.csv and plan.jsonl, by name; empty where both are as the manifest says."""
    problems = {}
    for name, told in sorted(known.tables.items()):
        received = sha256(folder / name) if (folder / name).is_file() else None
        if received is None:
            problems[name] = "expected a file, received none"
        elif received != told:
            problems[name] = f"expected SHA-256 {told[:12]}..., received {received[:12]}..."
    return problems
