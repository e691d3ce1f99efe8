"""What the page of a dataset says in words: recipe and where it comes from, loading, licence, limits."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from hazegen import config, croissant, html
from hazegen.card import versions_text
from hazegen.card_facts import Facts, cut
from hazegen.html import Markup
from hazegen.manifest import Manifest, digest
from hazegen.recipe import Draw, Recipe

# Rows and letters that are shown: README.md and manifest.json have all of it.
MOST_SOURCES, MOST_VERSIONS, MOST_OF_CITATION = 50, 5, 20_000
# Lines of a shipped recipe's head that say where it comes from, in this order.
TOLD = ("Purpose", "Source", "Measured", "Guess", "Result")


def recipe(facts: Facts) -> list[Markup]:
    """The recipe: where it comes from, the fields that are set, all others."""
    fields = {name: value for name, value in facts.known.recipe.items() if name != "name"}
    usual = Recipe(beta=Draw("values", (1.0,))).as_dict() | {"beta": None}
    given = {name: value for name, value in fields.items() if value != usual.get(name)}
    others = {name: value for name, value in fields.items() if name not in given}
    table = html.table(("field", "value"), _rows(given), caption="Fields that differ from the default")
    rest = html.details(f"The other {len(others)} fields, as by default", html.table(("field", "value"), _rows(others)))
    return [*_provenance(facts.known.recipe), table, rest, *_sources(facts.known, facts.made)]


def _rows(fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    return ((cut(name), cut(value)) for name, value in fields.items())


def _provenance(fields: Mapping[str, Any]) -> list[Markup]:
    """What the head of the shipped recipe of this name says, and in which fields this one is another."""
    name = str(fields.get("name"))
    path = config.config_folder() / "recipes" / f"{name}.yaml"
    if not re.fullmatch(r"[a-z0-9-]{1,60}", name) or not path.is_file():
        return [
            html.paragraph(f"Recipe {cut(name, 100)} is none of those that come with hazegen: its source is not known.")
        ]
    from hazegen.gallery import head

    shipped = config.build(Recipe, config.read_config(path, Recipe)).as_dict()
    differing = [
        f"{field} (shipped: {cut(shipped[field])})" for field in shipped if fields.get(field) != shipped[field]
    ]
    told = head(path)
    rows = [(what, told[what]) for what in TOLD if what in told]
    same = f"It differs from the shipped one in {'; '.join(differing)}." if differing else "It is as shipped."
    return [html.paragraph(f"Recipe {name} comes with hazegen. {same}"), html.table((), rows, texts=(1,))]


def _sources(known: Manifest, made: str) -> list[Markup]:
    """The datasets that this one was put together from."""
    if not known.sources:
        return []
    rows = [
        (
            cut(source["recipe"].get("name")),
            "several" if source["seed"] is None else source["seed"],
            str(source["digest"])[:12],
            cut((source.get("about") or {}).get("license") or "not stated"),
        )
        for source in known.sources[:MOST_SOURCES]
    ]
    more = f", the first {MOST_SOURCES} of {len(known.sources)}" if len(known.sources) > MOST_SOURCES else ""
    caption = f"Put together by {made.split(' from ')[0]} from these datasets{more}"
    return [html.table(("recipe", "seed", "digest", "licence"), rows, caption=caption)]


def loading(facts: Facts) -> list[Markup]:
    """Lines of Python that load it."""
    begin, end = "```python\n", "\n```"
    blocks = ((block.removeprefix(begin).removesuffix(end), block.startswith(begin)) for block in facts.loading)
    return [html.code(text) if is_code else html.paragraph(text) for text, is_code in blocks]


def licence(known: Manifest) -> list[Markup]:
    """What the makers of the photos and depth maps ask."""
    about, missing = known.about, "not stated; hazegen card --{} states it"
    url = croissant.license_url(about.license)
    shown = html.link(cut(croissant.spdx_id(about.license) or about.license), url) if about.license else None
    source = html.link(cut(about.source), about.source.strip()) if about.source else missing.format("source")
    parts = [html.paragraph("Licence of the photos and depth maps: ", shown or missing.format("license"), ".")]
    if not about.license:
        parts.append(html.paragraph("Until then nothing says that this dataset may be passed on."))
    parts.append(html.paragraph("Source: ", source, "."))
    if not about.citation:
        return [*parts, html.paragraph(f"Citation: {missing.format('citation')}.")]
    citation = about.citation.strip()
    more = "" if len(citation) <= MOST_OF_CITATION else "\n... (README.md has all of it)"
    asked = html.paragraph("Their makers ask to be cited:")
    return [*parts, asked, html.code(citation[:MOST_OF_CITATION] + more)]


def limits(known: Manifest) -> list[Markup]:
    """What results on this dataset cannot show, and what tells it from others."""
    told = [
        ("digest of the shards", digest(known)),
        ("schema version", known.schema_version),
        ("seed", "several" if known.seed is None else known.seed),
        ("made with", versions_text(known.versions)),
        *(("and with", versions_text(also)) for also in known.also_made_with[:MOST_VERSIONS]),
    ]
    return [html.bullets(croissant.limits(known)), html.table((), ((name, cut(value)) for name, value in told))]
