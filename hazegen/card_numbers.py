"""The numbers of a dataset as its page shows them: how its haze and its depths are spread."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen import card_sample, card_views, charts, html
from hazegen.card_facts import Facts
from hazegen.charts import number
from hazegen.html import Markup
from hazegen.manifest import INPUTS
from hazegen.scene_records import draw_haze, recipe_of

BINS = 20
# Fewer different numbers have a bar each.
FEW = 12
# Draws for each stored scene, and scenes that they are for: the haze that training would draw.
DRAWS, DRAWN_SCENES = 5, 100


def haze(facts: Facts) -> list[Markup]:
    """Histograms of beta, visibility, A and transmission."""
    numbers, unit, told = _drawn(facts) if facts.known.kind == "scenes" else _stored(facts)
    drawn = [
        chart(numbers["beta"], "beta, green [1/m]", unit, by_factors=True),
        chart(numbers["visibility_m"], "visibility [m]", unit, by_factors=True),
        _lights(numbers["light"], unit),
    ]
    if "t" in numbers:
        drawn.append(chart(numbers["t"], "mean transmission of a picture", unit, ends=(0.0, 1.0)))
    drawn.append(_pixels(card_views.transmissions(facts.views), "transmission of a pixel", ends=(0.0, 1.0)))
    return [html.paragraph(told), html.grid(*map(html.figure, drawn)), html.paragraph(_where_from(facts), note=True)]


def _stored(facts: Facts) -> tuple[dict[str, Any], str, str]:
    told = [head.values for _, head in facts.sample.heads]
    numbers = {
        "beta": [values["beta"][1] for values in told],
        "visibility_m": [values["visibility_m"] for values in told],
        "light": [values["atmospheric_light"] for values in told],
        "t": [values["mean_transmission"] for values in told],
    }
    return numbers, "pairs", f"The numbers of {facts.sample}. Dashed lines are medians."


def _drawn(facts: Facts) -> tuple[dict[str, Any], str, str]:
    """The haze that training would draw for some of the scenes."""
    drawing, seed = recipe_of(facts.known), facts.known.seed
    heads, draws = facts.sample.heads[:DRAWN_SCENES], card_views.most_draws(drawing, DRAWS)
    found = [one for _, head in heads for one in draw_haze(head.values, drawing, seed, draws)]
    numbers = {
        "beta": [one.beta[1] for one in found],
        "visibility_m": [one.visibility_m for one in found],
        "light": [one.atmospheric_light for one in found],
    }
    return (
        numbers,
        "draws",
        (
            f"No haze is stored. These are {len(found):,} draws of the recipe for {len(heads):,} of the scenes, as "
            "training makes them. Dashed lines are medians."
        ),
    )


def _where_from(facts: Facts) -> str:
    """What the transmissions of pixels are, and how good."""
    views = f"the {len(facts.views)} pictures shown above"
    if facts.known.kind == "scenes":
        return f"Transmissions of pixels: of {views}, under the haze drawn for them."
    if all(view.exact for view in facts.views):
        return f"Transmissions of pixels: as stored, of {views}."
    off = card_views.recovered_error(facts.views)
    accuracy = (
        "" if off is None else f" Their mean is off that of the record by {off:.3f}, on average over the pictures."
    )
    return (
        "Transmissions of pixels are not stored (hazegen make --maps stores them). These were recovered from "
        f"{views}, hazy I and clean J, by t = sum((I - A)(J - A)) / sum((J - A)(J - A)) over the channels, where J and "
        f"A differ enough.{accuracy}"
    )


def depth(facts: Facts) -> list[Markup]:
    """Histograms of depth, holes and sky."""
    table = facts.table
    told = [f"Holes, sky and largest depth are of all {table.used:,} used inputs, as {INPUTS} has them."]
    drawn = [_lengths(table.largest_m)] if table.largest_m else []
    found = card_views.distances(facts.views)
    if found.size:
        drawn.append(_pixels(found, "distance of a pixel [m]", by_factors=True))
        told.append(f"Distances of pixels are of the {len(facts.views)} pictures shown above, {_how_far(facts)}.")
    else:
        told.append("Distances of pixels are not stored, and the haze differs from place to place, so it tells none.")
    for shares, what in ((table.holes, "pixels without a measured depth"), (table.sky, "pixels without a surface")):
        if not shares:
            told.append(f"{INPUTS} does not tell the share of {what}.")
        elif shares.total() == shares[0]:
            told.append(f"No scene has {what}.")
        else:
            drawn.append(_shares(shares, what))
    return [html.paragraph(" ".join(told)), html.grid(*map(html.figure, drawn))]


def _how_far(facts: Facts) -> str:
    if facts.known.kind == "scenes":
        return "as stored"
    stored = all(view.exact for view in facts.views)
    return f"from the {'stored' if stored else 'recovered'} transmissions, d = -ln(t) / beta"


def _lengths(classes: Counter[int]) -> Markup:
    first, last = min(classes), max(classes)
    edges = [10.0 ** (n / card_sample.PER_DECADE) for n in range(first, last + 2)]
    counts = [classes[n] for n in range(first, last + 1)]
    return charts.histogram(edges, {"": counts}, "largest finite depth of a scene [m]", "scenes", by_factors=True)


def _shares(classes: Counter[int], what: str) -> Markup:
    counts = [classes[n] for n in range(len(card_sample.SHARES))]
    return charts.bars(card_sample.names_of_classes(), {"": counts}, f"share of {what} [%]", "scenes")


# --- charts ---


def chart(
    values: Iterable[float], axis: str, up: str, *, by_factors: bool = False, ends: tuple[float, float] | None = None
) -> Markup:
    """Histogram of numbers, a bar each where they are few different ones."""
    numbers = np.asarray(list(values), np.float64)
    different, counts = np.unique(numbers.astype(np.float32), return_counts=True)
    if len(different) <= FEW:
        return charts.bars([number(float(f"{one:.6g}")) for one in different], {"": counts.tolist()}, axis, up)
    edges, found = spread(numbers, by_factors=by_factors, ends=ends)
    return charts.histogram(edges, {"": found}, axis, up, by_factors=by_factors, mark=float(np.median(numbers)))


def spread(
    numbers: NDArray[np.floating], *, by_factors: bool = False, ends: tuple[float, float] | None = None
) -> tuple[list[float], list[int]]:
    """Edges of bins from the least to the largest number, or of wider ends; and how many numbers are in each."""
    low, high = float(numbers.min()), float(numbers.max())
    low, high = (min(low, ends[0]), max(high, ends[1])) if ends else (low, high)
    high = high if high > low else low * 1.01 + 1e-9
    if by_factors and low > 0.0:
        edges = np.geomspace(low, high, BINS + 1)
        places = np.log(numbers / low) / np.log(high / low)
    else:
        edges = np.linspace(low, high, BINS + 1)
        places = (numbers - low) / (high - low)
    counts = np.bincount(np.clip(places * BINS, 0, BINS - 1).astype(np.int64), minlength=BINS)
    return edges.tolist(), counts.tolist()


def _lights(lights: Sequence[Sequence[float]], up: str) -> Markup:
    """Histogram of A; of its channels where they differ."""
    channels = np.asarray(lights, np.float64).reshape(-1, 3)
    if (channels == channels[:, :1]).all():
        return chart(channels[:, 0], "atmospheric light A, gray", up)
    ends = float(channels.min()), float(channels.max())
    found = {name: spread(channels[:, n], ends=ends) for n, name in enumerate(("red", "green", "blue"))}
    edges = next(iter(found.values()))[0]
    return charts.histogram(edges, {name: counts for name, (_, counts) in found.items()}, "atmospheric light A", up)


def _pixels(
    values: NDArray[np.float32], axis: str, *, by_factors: bool = False, ends: tuple[float, float] | None = None
) -> Markup:
    """Histogram of what many pixels have, in shares."""
    if not values.size:
        return html.paragraph(f"{axis}: not known of any pixel.", note=True)
    edges, counts = spread(values, by_factors=by_factors, ends=ends)
    shares = [100.0 * count / values.size for count in counts]
    median = float(np.median(values))
    return charts.histogram(edges, {"": shares}, axis, "% of pixels", by_factors=by_factors, mark=median)
