"""The page of `hazegen card --real`: a dataset's haze beside real haze, and what of the recipe brings it nearer."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hazegen import card_numbers, charts, html, realism, stores
from hazegen.card_facts import cut
from hazegen.card_page import anchor
from hazegen.errors import UsageError
from hazegen.html import Markup
from hazegen.realism import FADE, Compared, Realism, Tried

PICTURES, WIDTH, QUALITY = 12, 240, 80
MOST_NAMES, MOST_TRIED = 40, 30
WHAT = {
    "dark channel": "mean of the darkest value within 15 x 15 pixels, 0 to 1; haze raises it",
    "saturation": "mean of (max - min) / max of the channels, 0 to 1; haze lowers it",
    "contrast": "standard deviation of the gray values, 0 to 0.5; haze lowers it",
    FADE: "perceptual fog density, 0 and more; haze raises it",
}
MISSING = "FADE is not shown: it needs the extra 'metrics'. Run pip install 'hazegen[metrics]'."


def check_out(out: Path, folder: Path) -> None:
    """Raises UsageError where the page cannot be written to `out`.

    Args:
        folder: The dataset, whose folder holds its own files alone.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            f"The output is no page. Expected a name that ends in .html, received '{out.name}'. Change --out."
        )
    here, there = (path if stores.is_remote(path) else path.resolve() for path in (folder, out))
    if here in there.parents:
        raise UsageError(
            f"The page cannot lie in the dataset. Expected --out outside of '{folder}', whose files hazegen verify "
            f"knows all, received '{out}'. Change --out."
        )


def write_page(found: Realism, real: Path, out: Path) -> None:
    """Writes the page.

    Args:
        real: The folder of real haze, whose name is shown.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    stores.write_text(out, [page(found, real.name)])


def page(found: Realism, real: str) -> str:
    """The text of the page."""
    name = cut(found.known.recipe.get("name"), 100)
    parts = {
        "Pictures": _pictures(found),
        "Distances": _distances(found),
        "What would bring it nearer": _nearer(found),
        "Real pictures": _real(found),
    }
    sections = [html.section(title, *inner, anchor=anchor(title)) for title, inner in parts.items()]
    lead = (
        f"{len(found.pictures)} hazy pictures of a dataset (recipe {name}) beside {len(found.real.pictures)} photos of "
        f"real haze from '{cut(real, 100)}', all measured with {realism.SIDE_PX} pixels on their longer side. Real "
        "haze has no clean picture beside it, so distributions are compared: they differ by what the pictures show, "
        "too, not by haze alone."
    )
    contents = [(anchor(title), title) for title in parts]
    return html.page(f"Realism of recipe {name}", *sections, lead=lead, contents=contents)


def _pictures(found: Realism) -> list[Markup]:
    parts: list[Markup] = []
    for title, pictures in (("The dataset", found.pictures), ("Real haze", found.real.pictures)):
        named = ((one, f"{title}, picture {n + 1}") for n, one in enumerate(pictures[:PICTURES]))
        shown = (html.picture(_cut_to_shape(one), alt, WIDTH, quality=QUALITY) for one, alt in named)
        parts += [html.element("h3", title), html.grid(*map(html.figure, shown), least_px=150)]
    return [*parts, html.paragraph("The middle of each picture is shown; all of it was measured.", note=True)]


def _cut_to_shape(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middle of a picture, 4:3, so that all stand in rows."""
    height, width = pixels.shape[:2]
    tall, wide = min(height, max(1, width * 3 // 4)), min(width, max(1, height * 4 // 3))
    top, left = (height - tall) // 2, (width - wide) // 2
    return np.ascontiguousarray(pixels[top : top + tall, left : left + wide])


def _distances(found: Realism) -> list[Markup]:
    head = ("measure", "mean of ours", "mean of theirs", "distance", "chance")
    rows = [(name, *row(one)) for name, one in found.measures.items()]
    told = html.paragraph(
        "Distance: the 1-Wasserstein (earth mover's) distance of the two distributions, in the measure's own unit: how "
        "far each of our numbers would have to move, on average. Chance: its standard deviation when the pictures of "
        "both are drawn again, with repetition."
    )
    drawn = [html.figure(_histogram(name, one), f"{name}: {WHAT[name]}") for name, one in found.measures.items()]
    missing = [] if FADE in found.measures else [html.paragraph(MISSING)]
    return [told, html.table(head, rows, range(1, len(head))), *missing, html.grid(*drawn, least_px=250)]


def row(one: Compared) -> list[str]:
    """Means of ours and theirs, distance, chance; 'none' where no picture has the measure."""
    means = (float(numbers.mean()) if len(numbers) else math.nan for numbers in (one.ours, one.theirs))
    return [_three(value) for value in (*means, one.distance, one.chance)]


def _three(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "none"


def _histogram(name: str, one: Compared) -> Markup:
    both = np.concatenate([one.ours, one.theirs])
    if not both.size:
        return html.paragraph(f"{name}: no picture has one.")
    ends = float(both.min()), float(both.max())
    edges = card_numbers.spread(both, ends=ends)[0]
    shares = {}
    for title, numbers in (("the dataset", one.ours), ("real haze", one.theirs)):
        counts = card_numbers.spread(numbers, ends=ends)[1] if len(numbers) else []
        shares[title] = [100.0 * count / len(numbers) for count in counts]
    return charts.histogram(edges, {name: found for name, found in shares.items() if found}, name, "% of pictures")


def _nearer(found: Realism) -> list[Markup]:
    told = html.paragraph(
        f"{found.rendered} pictures of the dataset were rendered again in small, first as they are, then with one "
        "field of the recipe changed, and measured each time. Rendered as they are, they differ from the stored ones "
        f"by {found.off:.1f} of 255, on average."
    )
    best = found.tried[0]
    gain = best.total < found.unchanged.total
    overall = (
        f"Of all changes tried, {best.field} {best.change} brings the measures nearest together: "
        f"{_sum(found.unchanged)} before, {_sum(best)} after, as the sum of the distances in standard deviations of "
        "the real pictures."
        if gain
        else "No change that was tried brings the measures nearer together."
    )
    first = [html.paragraph(html.element("strong", overall))]
    first.append(html.bullets(sentence(found, name) for name in found.measures))
    return [told, *first, *_table(found)]


def _far(one: Tried, name: str) -> str:
    return _three(one.distances[name]) if name in one.distances else "not measured"


def _sum(one: Tried) -> str:
    return f"{one.total:.2f}"


def sentence(found: Realism, name: str) -> str:
    """Which change brings a measure nearest, with its distance before and after."""
    best, before = realism.best_of(found, name), found.unchanged
    title = f"{name[0].upper()}{name[1:]}"
    if not math.isfinite(before.distances[name]):
        return f"{title}: no distance, for none of our pictures or none of theirs has one."
    tried = "it was measured of" if name == FADE else "was tried"
    if best is None:
        return (
            f"{title}: no change that {tried} brings it nearer than {before.distances[name]:.3f} by more than chance "
            f"({found.measures[name].chance:.3f})."
        )
    theirs = float(found.measures[name].theirs.mean())
    means = f"mean from {before.means[name]:.3f} to {best.means[name]:.3f}; real haze has {theirs:.3f}"
    last = " It is the largest step that was tried." if best.is_last else ""
    return (
        f"{title}: {best.field} {best.change} would bring the distance from {before.distances[name]:.3f} to "
        f"{best.distances[name]:.3f} ({means}).{last}"
    )


def _table(found: Realism) -> list[Markup]:
    names = list(found.unchanged.distances)
    rows = [
        (one.field, one.change, *(_far(one, name) for name in names), _sum(one))
        for one in (found.unchanged, *found.tried[:MOST_TRIED])
    ]
    head = ("field", "change", *names, "sum")
    caption = (
        "Distances after each change, the best first; sum: in standard deviations of the real pictures, without FADE"
    )
    return [
        html.table(head, rows, range(2, len(head)), caption),
        html.paragraph(
            "These are measurements on these pictures, one field at a time; fields that are changed together may do "
            "more or less. Nearer is no proof of better training: measure that with aodnet evaluate on real haze.",
            note=True,
        ),
    ]


def _real(found: Realism) -> list[Markup]:
    real = found.real
    told = (
        f"{real.found:,} pictures found, {len(real.pictures):,} measured, {len(real.broken):,} that cannot be read; "
        f"{real.others:,} other files. At most {realism.MOST_REAL} are measured, chosen by a hash of their names."
    )
    parts = [html.paragraph(told)]
    if real.broken:
        rows = [(cut(name, 120), cut(why)) for name, why in list(real.broken.items())[:MOST_NAMES]]
        more = f", the first {MOST_NAMES}" if len(real.broken) > MOST_NAMES else ""
        parts.append(html.table(("file", "why"), rows, caption=f"Not measured{more}"))
    names = [cut(name, 120) for name in real.names[:MOST_NAMES]]
    more = f" and {len(real.names) - MOST_NAMES} others" if len(real.names) > MOST_NAMES else ""
    return [*parts, html.details("Which were measured", html.paragraph(", ".join(names) + more))]
