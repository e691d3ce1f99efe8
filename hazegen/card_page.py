"""card.html: a dataset as one page to look at, beside README.md. The same dataset gives the same bytes.

Whatever the dataset's size, so many pictures, rows and letters are shown, and the page says of what they are.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from hazegen import card_numbers, card_words, card_worst, croissant, html, stores
from hazegen.card import WHAT
from hazegen.card_facts import Facts, Look, cut, gather
from hazegen.html import Markup
from hazegen.manifest import SPLITS, Manifest

# A page that is larger is written again with smaller pictures.
MOST_BYTES = 5_000_000
# Widths [px] and qualities of the pictures: noise does not compress, and half the width has a quarter of it.
LOOKS = (Look(420, 80), Look(320, 60), Look(200, 40), Look(100, 25))
WIDTH_IN_STRIP = 300


def write_page(folder: Path, out: Path, known: Manifest, made: str, loading: Sequence[str]) -> None:
    """Writes the page of the finished dataset in `folder` to `out`.

    Args:
        made, loading: As Facts has them.
    """
    facts = gather(folder, known, made, loading)
    for look in LOOKS:
        text = page(facts, look)
        if len(text.encode()) <= MOST_BYTES:
            break
    stores.write_text(out, [text])


def page(facts: Facts, look: Look) -> str:
    """The text of the page."""
    known = facts.known
    parts = {name: build(facts, look) for name, build in SECTIONS.items()}
    sections = [html.section(name, *inner, anchor=anchor(name)) for name, inner in parts.items()]
    contents = [(anchor(name), name) for name in parts]
    title = f"{WHAT[known.kind]}, recipe {cut(known.recipe.get('name'), 100)}"
    return html.page(title, _tiles(known), *sections, lead=croissant.describe(known), contents=contents)


def anchor(name: str) -> str:
    """The place of a section in the page's address."""
    return name.lower().replace(" ", "-")


def _tiles(known: Manifest) -> Markup:
    records, size = sum(shard.records for shard in known.shards), sum(shard.bytes for shard in known.shards)
    scenes = sum(counts["scenes"] for counts in known.splits.values())
    told = [(f"{scenes:,}", "scenes")]
    if known.kind == "pairs":
        told += [(f"{records:,}", "pairs"), (croissant.variants_text(known), "pairs of a scene")]
    codec = f"JPEG {known.quality}" if known.codec == "jpeg" else known.codec
    told += [
        (f"{known.inputs['rejected']:,}", f"of {known.inputs['found']:,} inputs rejected"),
        (f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB", f"in {len(known.shards):,} shards"),
        ("{height} x {width}".format(**known.smallest), "px, least height and width"),
        (codec, "how pictures are stored"),
    ]
    counts = ", ".join(f"{known.records_of(split):,} {split}" for split in SPLITS if known.records_of(split))
    return html.join([html.tiles(told), html.paragraph(f"{known.kind.capitalize()} by split: {counts}. Whole scenes: "
                                                       "no scene is in two splits.", note=True)])  # fmt: skip


def _pairs(facts: Facts, look: Look) -> list[Markup]:
    drawn = " The haze is not stored: it was drawn for this page by the recipe." if facts.known.kind == "scenes" else ""
    how = (
        "Move the mouse over a picture, tap it, or use the arrow keys: the edge between hazy and clean follows. "
        f"{len(facts.views)} {facts.known.kind}, of different scenes as far as there are, thin and thick haze in turn, "
        f"chosen by a hash of their names.{drawn}"
    )
    return [html.paragraph(how), html.grid(*(look.slider(view, f"pair-{n}") for n, view in enumerate(facts.views)))]


def _rising(facts: Facts, look: Look) -> list[Markup]:
    small = Look(min(look.width, WIDTH_IN_STRIP), look.quality)
    shown = (html.figure(small.picture(pixels, text), text) for pixels, text in facts.strip.pictures)
    return [html.paragraph(cut(facts.strip.told, 600)), html.grid(*shown, least_px=165)]


SECTIONS: dict[str, Callable[[Facts, Look], list[Markup]]] = {
    "Pictures": _pairs,
    "Rising haze": _rising,
    "Haze": lambda facts, _: card_numbers.haze(facts),
    "Depth": lambda facts, _: card_numbers.depth(facts),
    "Worst scenes": card_worst.worst,
    "Inputs": lambda facts, _: card_worst.inputs(facts),
    "Recipe": lambda facts, _: card_words.recipe(facts),
    "How to load it": lambda facts, _: card_words.loading(facts),
    "Licence and citation": lambda facts, _: card_words.licence(facts.known),
    "Limits of use": lambda facts, _: card_words.limits(facts.known),
}
