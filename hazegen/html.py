"""The parts of our web pages: one file each, no script, nothing fetched from anywhere.

Texts are escaped in one place, `element`: a str is text, whoever wrote it, and only what the functions here return
(`Markup`, a str too) is markup. What joins or formats Markup makes a str again, which is then shown, not run.
"""

import base64
import html
import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from hazegen import images
from hazegen.html_style import PLACES, STYLE

Pixels = NDArray[np.uint8]

# No script, no font, no request: what slips through escaping finds nothing that it could do.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
# Control characters, which HTML has no way to hold; halves of surrogate pairs, as names that are not UTF-8 have them;
# marks that turn the direction of writing, by which a name could show itself as another.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_MEDIA = {".jpg": "jpeg", ".png": "png", ".webp": "webp"}
_VOID = ("img", "input", "meta", "br")


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Part = str | int | float | None


def escape(text: object) -> Markup:
    """`text` as it can stand between tags and in attributes; what cannot be seen is spelled out, as \\u202e."""
    if isinstance(text, Markup):
        return text
    seen = _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), str(text))
    return Markup(html.escape(seen, quote=True))


def join(parts: Iterable[Part], between: str = "") -> Markup:
    """Parts one after the other; None is left out."""
    return Markup(escape(between).join(escape(part) for part in parts if part is not None))


def element(tag: str, /, *parts: Part, **attributes: object) -> Markup:
    """One element: its parts and the values of its attributes are escaped, unless they are Markup.

    Args:
        attributes: `class_` stands for class, `aria_label` for aria-label; None and False are left out, True has no
            value.
    """
    given = (
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_attribute(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    begin = f"<{tag}{''.join(given)}>"
    return Markup(begin if tag in _VOID else f"{begin}{join(parts)}</{tag}>")


def _attribute(value: object) -> str:
    """As `escape`; in an attribute Markup is text like any other."""
    return escape(str.__str__(value)) if isinstance(value, Markup) else escape(value)


def page(title: str, *sections: Part, lead: Part = None, contents: Iterable[tuple[str, str]] = ()) -> str:
    """A whole page.

    Args:
        title: Of the page and of its first heading.
        sections: What stands on it, as `section` gives it.
        lead: What stands below the heading.
        contents: Anchor and heading of each section that is listed at the top.
    """
    meta = [
        element("meta", charset="utf-8"),
        # It counts only for what follows it.
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="color-scheme", content="light dark"),
    ]
    head = element("head", *meta, element("title", title), element("style", Markup(STYLE)))
    links = [element("a", text, href=f"#{anchor}") for anchor, text in contents]
    nav = element("nav", *links, aria_label="Contents") if links else None
    top = element("header", element("h1", title), paragraph(lead) if isinstance(lead, str) else None, nav)
    body = element("body", element("main", top, *sections))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def section(heading: str, *parts: Part, anchor: str | None = None) -> Markup:
    """A part of a page below its heading."""
    return element("section", element("h2", heading), *parts, id=anchor)


def paragraph(*parts: Part, note: bool = False) -> Markup:
    """A paragraph; `note` for what is smaller and paler."""
    return element("p", *parts, class_="note" if note else None)


def bullets(items: Iterable[Part]) -> Markup:
    """A list."""
    return element("ul", *(element("li", item) for item in items))


def code(text: str) -> Markup:
    """Lines of a program or of a file, as they are."""
    return element("pre", element("code", text), tabindex=0)


def link(text: str, address: str) -> Markup:
    """A link, where the address is one of the web; else the text alone: 'javascript:' leads nowhere."""
    safe = re.match(r"https?://[^\s]+$", address)
    return element("a", text, href=address, rel="noopener noreferrer") if safe else element("span", text)


def table(
    head: Sequence[Part],
    rows: Iterable[Sequence[Part]],
    numbers: Iterable[int] = (),
    caption: str = "",
    texts: Iterable[int] = (),
) -> Markup:
    """A table, which scrolls within itself where the window is narrow.

    Args:
        head: What stands above each column; none for no head.
        numbers: Columns that hold numbers, counted from 0: to the right.
        texts: Columns that hold sentences, and stay wide enough for them.
    """
    classes = dict.fromkeys(texts, "t") | dict.fromkeys(numbers, "n")

    def cells(tag: str, row: Sequence[Part]) -> Markup:
        return element("tr", *(element(tag, cell, class_=classes.get(at)) for at, cell in enumerate(row)))

    title = element("caption", caption) if caption else None
    top = element("thead", cells("th", head)) if any(head) else None
    body = element("tbody", *(cells("td", row) for row in rows))
    return element("div", element("table", title, top, body), class_="wide", tabindex=0)


def details(summary: Part, *parts: Part, opened: bool = False) -> Markup:
    """What is shown after a click on its summary."""
    return element("details", element("summary", summary), *parts, open=opened)


def grid(*parts: Part, least_px: int = 300) -> Markup:
    """Parts beside each other, as many as have `least_px` each."""
    return element("div", *parts, class_="grid", style=f"--least:{int(least_px)}px")


def tiles(facts: Iterable[tuple[str, str]]) -> Markup:
    """Short facts beside each other: what is large, and below it what it is."""
    shown = (element("div", element("strong", value), element("span", what)) for value, what in facts)
    return element("div", *shown, class_="tiles")


# --- pictures ---


def data_uri(data: bytes, suffix: str) -> str:
    """The bytes of a picture file as an address that holds them."""
    return f"data:image/{_MEDIA[suffix]};base64,{base64.b64encode(data).decode('ascii')}"


def picture(pixels: Pixels, alt: str, width: int | None = None, suffix: str = ".jpg", quality: int = 82) -> Markup:
    """An image that holds its own bytes.

    Args:
        pixels: uint8 (height, width, 3).
        alt: What is seen in it, for those who do not see it.
        width: It is shrunk to this [px], never enlarged.
        suffix: '.jpg', '.webp' (a third smaller, ten times slower) or '.png'.
        quality: Of JPEG and WebP.
    """
    small = shrink(pixels, width or pixels.shape[1])
    height, wide = small.shape[:2]
    address = data_uri(images.encode(small, suffix, quality), suffix)
    return element("img", src=address, alt=alt, width=wide, height=height)


def shrink(pixels: Pixels, width: int) -> Pixels:
    """A picture of this width [px] at most, its sides in proportion."""
    import cv2

    if pixels.shape[1] <= width:
        return pixels
    height = max(1, round(pixels.shape[0] * width / pixels.shape[1]))
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def figure(content: Part, *caption: Part) -> Markup:
    """A picture, slider or chart above its caption."""
    return element("figure", content, element("figcaption", *caption) if caption else None)


def slider(before: Markup, after: Markup, name: str, labels: tuple[str, str] = ("hazy", "clean")) -> Markup:
    """Two pictures of one size on top of each other, with an edge between them that is moved.

    The edge follows the mouse, goes to where a finger taps, and moves by the arrow keys: no script. Each place of the
    edge is a radio button, below a label that covers a strip of the picture. `resize` would have a handle of 15 px
    that fingers miss, and a range input moves nothing without a script.

    Args:
        before, after: As `picture` gives them: what is left and right of the edge.
        name: Of the radio buttons, unlike those of all other sliders of the page.
    """
    strips = [part for place in range(PLACES) for part in _strip(name, place, labels)]
    under = element("div", after, element("b", labels[1]), class_="under")
    over = element("div", before, element("b", labels[0]), class_="over")
    told = f"{labels[0]} beside {labels[1]}"
    parts = (*strips, under, over, element("i", class_="edge"))
    return element("div", *parts, class_="slider", role="radiogroup", aria_label=told)


def _strip(name: str, place: int, labels: tuple[str, str]) -> tuple[Markup, Markup]:
    identity, share = f"{name}-{place}", round(100 * place / (PLACES - 1))
    told = f"{share} % {labels[0]}, {100 - share} % {labels[1]}"
    button = element(
        "input", type="radio", name=name, id=identity, aria_label=told, checked=place == PLACES // 2, autocomplete="off"
    )
    return button, element("label", for_=identity)
