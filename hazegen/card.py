"""The card of a dataset: README.md for people and Hugging Face, croissant.json for search engines, a picture.

Same dataset, same bytes: nothing in it is of the time, the folder or the machine that wrote it.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from hazegen import card_loading, croissant, stores
from hazegen.errors import HazegenError, VerifyError
from hazegen.manifest import (
    INPUTS,
    MANIFEST,
    PLAN,
    SPLITS,
    Manifest,
    check_shards,
    check_tables,
    digest,
    load,
    sha256,
    write,
)
from hazegen.preview import preview

README = "README.md"
PREVIEW = "preview.jpg"
PAGE = "card.html"
FILES = (README, croissant.CROISSANT, PREVIEW, PAGE)
PAIRS_SHOWN = 12
WHAT = {"pairs": "Hazy/clean pairs", "scenes": "Scenes for haze that is drawn in training"}
SIZES = {10**3: "n<1K", 10**4: "1K<n<10K", 10**5: "10K<n<100K", 10**6: "100K<n<1M", 10**7: "1M<n<10M"}
CODECS = {"jpeg": "JPEG, quality {quality}, 4:4:4", "png": "PNG (lossless)", "raw": "raw: 8 bits, no compression"}


def write_card(folder: Path) -> None:
    """Writes the card of the finished dataset in `folder`, README.md last.

    Raises:
        RefusedError, VerifyError: The dataset is not finished, or a shard is missing or cut.
    """
    from hazegen.card_page import write_page  # it reads tables by collect, which imports this

    known = load(folder)
    check_shards(folder, known.shards)
    # Whoever is killed from here on leaves no whole card.
    (folder / README).unlink(missing_ok=True)
    preview(folder, folder / PREVIEW, PAIRS_SHOWN)
    metadata = croissant.croissant(known, name_of(known), _files_beside(folder, known))
    stores.write_text(folder / croissant.CROISSANT, [json.dumps(metadata, indent=1), "\n"])
    made = made_by(known, verb(folder)) if known.sources else ""
    write_page(folder, folder / PAGE, known, made, card_loading.blocks(known))
    stores.write_text(folder / README, [_markdown(known, made)])


def write_missing(folder: Path) -> None:
    """Writes the card of the finished dataset in `folder`, unless it is whole.

    Raises:
        HazegenError: As `write_card` does; it says that the dataset itself is finished.
    """
    if has_card(folder):
        return
    try:
        write_card(folder)
    except HazegenError as error:
        raise type(error)(f"The dataset in '{folder}' is finished, but its card cannot be written. {error}") from error


def _files_beside(folder: Path, known: Manifest) -> dict[str, tuple[int, str]]:
    """Sizes and SHA-256 of the files beside the shards that metadata names; the table may be larger than the memory."""
    digests = {MANIFEST: sha256(folder / MANIFEST), INPUTS: known.tables[INPUTS]}
    return {name: ((folder / name).stat().st_size, told) for name, told in digests.items()}


def rewrite(folder: Path, given: Mapping[str, str]) -> tuple[Manifest, tuple[str, ...]]:
    """Writes the card again, and the given fields of About into the manifest before.

    Returns:
        The manifest, and the names of the fields that were other ones before.

    Raises:
        RefusedError, VerifyError: As `write_card`; or the table of inputs is not what the manifest says.
    """
    known = load(folder)
    check_tables(folder, known)
    about = dataclasses.replace(known.about, **given)
    changed = tuple(name for name, text in vars(about).items() if text != getattr(known.about, name))
    if changed:
        # A run that is killed from here on leaves no card, and the next one sees that.
        (folder / README).unlink(missing_ok=True)
        known = write(folder, dataclasses.replace(known, about=about))
    write_card(folder)
    return known, changed


def has_card(folder: Path) -> bool:
    """Whether all files of the card are there, and tell of the manifest that is there, not of a former one."""
    if not all((folder / name).is_file() for name in FILES):
        return False
    try:
        told = json.loads((folder / croissant.CROISSANT).read_bytes())["distribution"][0]["sha256"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
    return bool(told == sha256(folder / MANIFEST))


def name_of(known: Manifest) -> str:
    """A name for the dataset, from its recipe and its content."""
    return f"hazegen-{_slug(str(known.recipe.get('name')))}-{digest(known)[:8]}"


def verb(folder: Path) -> str:
    """What a dataset was made by, as its plan says: make, split, merge or sample.

    Raises:
        VerifyError: The plan cannot be read.
    """
    try:
        with (folder / PLAN).open("rb") as file:
            header = json.loads(file.readline())
        return str(header.get("derived", "make"))
    except (FileNotFoundError, ValueError, AttributeError, RecursionError) as error:
        raise VerifyError(
            f"'{folder / PLAN}' cannot be read. Expected the plan of the dataset, received {type(error).__name__}. Run "
            f"hazegen verify {folder}, then hazegen repair {folder}, or copy the file again."
        ) from None


def made_by(known: Manifest, by: str, digits: int = 64) -> str:
    """The command that put a dataset together, and what from.

    Args:
        by: Its verb.
        digits: How many of each source's digest are told.
    """
    sources = (f"{s['recipe'].get('name')}, seed {_seed(s['seed'])} ({s['digest'][:digits]})" for s in known.sources)
    return f"hazegen {by} from {'; '.join(sources)}"


def _seed(seed: int | None) -> int | str:
    return "several" if seed is None else seed


def versions_text(versions: Mapping[str, str]) -> str:
    """Names and versions of libraries, on one line."""
    return ", ".join(f"{name} {text}" for name, text in sorted(versions.items()))


def _slug(text: str) -> str:
    """`text` in lower-case letters, digits, '-' and '.' alone, as Hugging Face wants names of licences."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower())[:60].strip("-.") or "unnamed"


def _markdown(known: Manifest, made: str) -> str:
    front = yaml.safe_dump(_front_matter(known), sort_keys=False, width=120)
    sections = (
        _title(known),
        ["## Recipe", *_table("field", "value", known.recipe.items())],
        ["## Splits", *_splits(known)],
        ["## Content", *_table("", "", _facts(known, made).items()), *_features(known)],
        ["## How to load it", *card_loading.blocks(known)],
        ["## Licence", _licence(known)],
        ["## Citation and source", *_citation(known)],
        ["## Limits of use", "\n".join(f"- {sentence}" for sentence in croissant.limits(known))],
    )
    return f"---\n{front}---\n\n" + "\n\n".join(block for section in sections for block in section) + "\n"


def _front_matter(known: Manifest) -> dict[str, Any]:
    """What Hugging Face reads of a dataset's card."""
    pairs = sum(shard.records for shard in known.shards)
    files = [{"split": split, "path": f"{split}-*.tfrecord"} for split in SPLITS if known.records_of(split)]
    return {
        "pretty_name": f"{WHAT[known.kind]}, recipe {known.recipe.get('name')}",
        **_hub_license(known.about.license),
        "task_categories": ["image-to-image"],
        "tags": ["haze", "fog", "dehazing", "image-restoration", "synthetic", "tfrecord"],
        "size_categories": [next((name for limit, name in SIZES.items() if pairs < limit), "10M<n<100M")],
        "viewer": False,  # Hugging Face shows no TFRecords
        "configs": [{"config_name": "default", "data_files": files}],
    }


def _hub_license(text: str) -> dict[str, str]:
    if not text:
        return {"license": "unknown"}
    known = croissant.spdx_id(text)
    if known is None:
        return {"license": "other", "license_name": _slug(text)}
    return {"license": croissant.FAMILIES.get(known, known.lower())}


def _title(known: Manifest) -> list[str]:
    shown = "clean, transmission and hazy" if known.maps else "clean and hazy"
    if known.kind == "scenes":
        shown = "clean, distances and an example of hazy"
    made = (
        f"Made with hazegen {known.versions.get('hazegen', '')}; every number below is from `{MANIFEST}`. "
        f"[{PAGE}]({PAGE}), beside this file, shows it in pictures and charts: open it in a browser."
    )
    return [
        f"# {WHAT[known.kind]}, recipe {_inline(known.recipe.get('name'))}",
        croissant.describe(known) + " t is the transmission, A the atmospheric light, beta the extinction coefficient.",
        made,
        f"![{shown} pictures side by side]({PREVIEW})",
    ]


def _inline(value: object) -> str:
    """`value` on one line of Markdown, with nothing in it that ends a cell of a table or begins a tag of HTML."""
    return " ".join(str("none" if value is None else value).split()).replace("|", "\\|").replace("<", "&lt;")


def _table(left: str, right: str, rows: Iterable[tuple[str, object]]) -> list[str]:
    lines = [f"| {left} | {right} |", "|---|---|", *(f"| {name} | {_inline(value)} |" for name, value in rows)]
    return ["\n".join(lines)]


def _splits(known: Manifest) -> list[str]:
    if known.kind == "scenes":
        return _table("split", "scenes", ((split, f"{known.records_of(split):,}") for split in SPLITS))
    counts = [f"| {split} | {known.splits[split]['scenes']:,} | {known.records_of(split):,} |" for split in SPLITS]
    return [
        "\n".join(["| split | scenes | pairs |", "|---|---|---|", *counts]),
        "By scene, never by variant: all hazy images of a scene are in one split.",
    ]


def _facts(known: Manifest, made: str) -> dict[str, object]:
    size = sum(shard.bytes for shard in known.shards)
    also = "; ".join(map(versions_text, known.also_made_with))
    return {
        **({"put together by": made} if made else {}),
        "inputs": "{found:,} found = {used:,} used + {rejected:,} rejected".format(**known.inputs)
        + f"; `{INPUTS}` lists each, with the reason where rejected",
        **({"pairs of a scene": croissant.variants_text(known)} if known.kind == "pairs" else {}),
        "shards": f"{len(known.shards):,} TFRecord files, {size:,} bytes; `{MANIFEST}` has size, count and SHA-256 of "
        "each",
        "codec": CODECS[known.codec].format(quality=known.quality),
        **_beside(known),
        "least height and width": "{height} x {width} pixels".format(**known.smallest),
        "depth was read as": json.dumps(known.reading, sort_keys=True),
        "seed": _seed(known.seed),
        "schema version": known.schema_version,
        "versions": versions_text(known.versions),
        **({"other shards were made with": also} if also else {}),
        "digest": f"`{digest(known)}` (SHA-256 of the names and digests of the shards)",
        "check": f"`hazegen verify .` reads all of it and holds it against `{MANIFEST}`",
    }


def _beside(known: Manifest) -> dict[str, str]:
    """What is stored beside the pictures."""
    if known.kind == "scenes":
        return {"distance": "16 bits without compression, in units of 1/65534 of each frame's largest finite distance"}
    return {"transmission": "stored with each pair (16 bits)" if known.maps else "not stored"}


def _features(known: Manifest) -> list[str]:
    rows = croissant.feature_rows(known)
    lines = [f"| {row['name']} | {row['values']} x {row['type']} | {_inline(row['meaning'])} |" for row in rows]
    return ["\n".join(["| feature of a record | type | meaning |", "|---|---|---|", *lines])]


def _licence(known: Manifest) -> str:
    text = known.about.license
    if not text:
        return (
            "Licence of the photos and depth maps: not stated: pass --license to hazegen make or hazegen card. Until "
            "then nothing says that this dataset may be passed on."
        )
    url = croissant.license_url(text)
    shown = f"[{croissant.spdx_id(text)}]({url})" if url != text else _inline(text)
    both = "both images of each pair" if known.kind == "pairs" else "the pictures and distances"
    return f"Licence of the photos and depth maps, from which {both} are made: {shown}"


def _citation(known: Manifest) -> list[str]:
    about = known.about
    source = _inline(about.source) or "not stated: pass --source to hazegen make or hazegen card."
    if not about.citation:
        return [f"Source: {source}", "Citation: not stated: pass --citation to hazegen make or hazegen card."]
    # A fence that no run of backticks inside can close.
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", about.citation)), default=0))
    return [f"Source: {source}", "The makers of the photos and depth maps ask to be cited:",
            f"{fence}\n{about.citation.strip()}\n{fence}"]  # fmt: skip
