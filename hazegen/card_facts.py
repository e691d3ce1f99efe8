"""What the page of a dataset is drawn from, and how its pictures and texts are kept small."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hazegen import card_doctor, card_sample, card_views, html
from hazegen.card_sample import Sample, Table
from hazegen.card_views import View
from hazegen.html import Markup
from hazegen.manifest import Manifest

PAIRS_SHOWN, WORST_SHOWN = 9, 4
# Letters of a text of the user that are shown: README.md and inputs.csv have all of it.
MOST_LETTERS = 300


@dataclass(frozen=True)
class Facts:
    """All that the page is drawn from.

    Attributes:
        known: The manifest.
        made: What the dataset was put together from; empty of one that hazegen make made.
        loading: Sentences and lines of Python that load it, in turn.
        sample: The records whose numbers are shown.
        table: What its table of inputs adds up to.
        views: The records that are shown.
        strip: One scene under rising haze.
        report: What the depth doctor finds.
        worst: Scenes with most holes, as far as the sample has them.
    """

    known: Manifest
    made: str
    loading: Sequence[str]
    sample: Sample
    table: Table
    views: Sequence[View]
    strip: card_views.Strip
    report: card_doctor.Report
    worst: dict[str, View]


@dataclass(frozen=True)
class Look:
    """How large [px] and how good the pictures are."""

    width: int
    quality: int

    def picture(self, pixels: NDArray[np.uint8], alt: str) -> Markup:
        """A picture that holds its own bytes."""
        return html.picture(pixels, alt, self.width, quality=self.quality)

    def slider(self, view: View, name: str) -> Markup:
        """Hazy and clean of a record, with an edge between them, above its name and haze."""
        key = cut(view.key, 120)
        hazy, clean = self.picture(view.hazy, f"{key}, hazy"), self.picture(view.clean, f"{key}, clean")
        return html.figure(html.slider(hazy, clean, name), html.element("strong", key), f": {view.caption}")


def gather(folder: Path, known: Manifest, made: str, loading: Sequence[str]) -> Facts:
    """Reads the records that are shown, and goes once through the table of inputs."""
    sample = card_sample.sample_heads(folder, known)
    views = card_views.choose(folder, known, PAIRS_SHOWN)
    table = card_sample.read_table(folder, frozenset(view.scene for view in views))
    report = card_doctor.examine(views, table.asked)
    worst = card_views.named(sample, known, [key for _, key, _ in table.worst[:WORST_SHOWN]])
    strip = card_views.strip(sample, known)
    return Facts(known, made, loading, sample, table, views, strip, report, worst)


def cut(value: object, most: int = MOST_LETTERS) -> str:
    """A text of the user on one line, its end left out where it is long."""
    text = " ".join(str("none" if value is None else value).split())
    return text if len(text) <= most else f"{text[:most]} ... ({len(text):,} letters)"
