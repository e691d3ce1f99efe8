"""What the reports of runs, of evaluations and of comparisons share: how large they get, and how they are left."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aodnet import figures, k_colours
from aodnet.significance import Difference, Interval
from hazegen import html, stores
from hazegen.html import Markup, Part
from hazegen.progress import counted

REPORT = "report.html"
# A page that is larger is written again with smaller pictures.
MOST_BYTES = 5_000_000
# Letters of a text that are shown, rows of a table, and points of a curve, of which the chart is 336 px wide.
MOST_LETTERS, MOST_ROWS, MOST_POINTS = 400, 60, 1000


@dataclass(frozen=True)
class Look:
    """How large [px] and how good the pictures are."""

    width: int
    quality: int

    def at_most(self, width: int) -> "Look":
        """The same, no wider than that [px]."""
        return Look(min(self.width, width), self.quality)

    def picture(self, pixels: NDArray[np.uint8], alt: str) -> Markup:
        """A picture that holds its own bytes."""
        return html.picture(pixels, alt, self.width, quality=self.quality)

    def figure(self, pixels: NDArray[np.uint8], *caption: Part, alt: str) -> Markup:
        """A picture above its caption."""
        return html.figure(self.picture(pixels, cut(alt)), *caption)

    def slider(
        self, pictures: Sequence[NDArray[np.uint8]], labels: tuple[str, str], name: str, *caption: Part
    ) -> Markup:
        """Two pictures with an edge between them, above a caption."""
        left, right = (self.picture(own, label) for own, label in zip(pictures, labels, strict=True))
        return html.figure(html.slider(left, right, name, labels), *caption)


LOOKS = (Look(640, 82), Look(420, 75), Look(280, 60), Look(160, 40), Look(90, 25))


def fitting(build: Callable[[Look], str]) -> str:
    """The page with the largest pictures with which it is no larger than MOST_BYTES."""
    for look in LOOKS:
        text = build(look)
        if len(text.encode("utf-8", "surrogateescape")) <= MOST_BYTES:
            break
    return text


def leave(path: Path, build: Callable[[], str], say: Callable[[str], object]) -> bool:
    """Writes a report beside the result that it tells of. Whether it could be: the work is done, so it never fails.

    One of before that is in its place goes, so that none tells of another result.
    """
    try:
        stores.write_text(path, [build()])
    except Exception as error:  # the report alone has failed, whatever it was
        say(f"warning: the report '{path}' could not be written: {type(error).__name__}: {cut(error)}")
        try:
            path.unlink(missing_ok=True)
        except OSError:  # a disk without rights: said already
            return False
        return False
    return True


def cut(value: object, most: int = MOST_LETTERS) -> str:
    """A text on one line, its end left out where it is long."""
    text = " ".join(str("none" if value is None else value).split())
    return text if len(text) <= most else f"{text[:most]} ... ({len(text):,} letters)"


def shown(value: object) -> str:
    """A setting as it is typed; of a path its name."""
    if isinstance(value, Path):
        return cut(value.name)
    return cut(f"{value:g}" if isinstance(value, float) else value)


def sections(parts: Mapping[str, Sequence[Part] | None]) -> tuple[list[Markup], list[tuple[str, str]]]:
    """Sections of a page by their headings, those that are empty left out; and their anchors and headings."""
    held = {name: inner for name, inner in parts.items() if inner}
    made = [html.section(name, *inner, anchor=anchor(name)) for name, inner in held.items()]
    return made, [(anchor(name), name) for name in held]


def anchor(name: str) -> str:
    """The place of a section in the page's address."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def heading(text: str) -> Markup:
    """Of a part of a section."""
    return html.element("h3", text)


def chart(title: str, drawn: Markup) -> Markup:
    """A chart below its title."""
    return html.element("figure", html.element("h3", title), drawn)


def facts(rows: Iterable[tuple[str, Part]]) -> Markup:
    """A table of names and values."""
    return html.table((), rows)


def settings(config: Any, above: Mapping[str, Any] = MappingProxyType({})) -> Markup:
    """A dataclass's fields: those that differ from their default, and below a click all others.

    Args:
        above: Defaults that stand above the dataclass's own.
    """
    usual = {field.name: field.default for field in dataclasses.fields(config)} | dict(above)
    values = {name: getattr(config, name) for name in usual}
    given = {name: value for name, value in values.items() if value != usual[name]}
    rest = [(name, shown(value)) for name, value in values.items() if name not in given]
    rows = [(name, shown(value), shown(usual[name])) for name, value in given.items()]
    table = html.table(("setting", "value", "default"), rows) if rows else html.paragraph("All as by default.")
    return html.join([table, html.details(f"The other {len(rest)} settings, as by default", facts(rest))])


def k_scale() -> Markup:
    """The colours of K with what they stand for."""
    low, high = k_colours.LOW, k_colours.HIGH
    told = (
        f"K from {low:g} (purple) by factors to {high:g} (yellow), averaged over R, G and B; the colours are the same "
        "in all pictures and reports. The network puts out J = K I - K + 1: K = 1 leaves a pixel as it is, a larger K "
        "takes more haze away."
    )
    bar = html.picture(k_colours.scale(), f"Colours of K from {low:g} to {high:g}", suffix=".png")
    return html.figure(bar, told)


def decibel(value: float | None) -> str:
    """A PSNR; without one, a dash."""
    return "-" if value is None or math.isnan(value) else f"{value:.2f} dB"


def interval(one: Interval, metric: str) -> Markup:
    """A mean, and below it in small its interval and the median."""
    mean, median, low, high = (figures.fixed(value, metric) for value in (one.mean, one.median, one.low, one.high))
    return _above(mean, f"{low} to {high}", f"median {median}")


def signed(one: Difference, metric: str) -> Markup:
    """A difference, and below it in small its interval and p."""
    return _above(*figures.signed(one, metric).split(", "))


def _above(large: str, *small: str) -> Markup:
    """A figure above smaller ones, none of them broken."""
    lines = (html.join([html.element("br"), text]) for text in small)
    below = html.element("span", *lines, class_="note")
    return html.element("div", html.element("strong", large), below, style="white-space:nowrap")


def figures_of(difference_of: str, scenes: int, images: int) -> str:
    """What a table of differences shows."""
    few = "" if scenes >= figures.ENOUGH else " So few scenes make interval and p too sure."
    same = f"{counted(scenes, 'scene')}, {counted(images, 'image')}"
    return (
        f"Less the figures of {cut(difference_of, 140)}: difference, 95 % interval, p (two-sided, bootstrap over the "
        f"same {same}).{few}"
    )
