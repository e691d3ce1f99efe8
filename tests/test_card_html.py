"""The parts of our web pages: what hostile text becomes, what a slider is made of, and what charts show and say."""

import base64
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from hazegen import charts, html, html_style, images

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title><svg onload=alert(1)>",
    "&lt;b&gt; &amp;",
    "javascript:alert(1)",
    "caf\udce9.png",
    "\u202egnp.exe",
    "a\x00b\x1b[31m\r\x85",
    "]]><!--",
]


class Reader(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in html._VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def check_harmless(page: str) -> Reader:
    """No script, no handler, nothing fetched, ids once, each label's button there; readable as UTF-8."""
    reader = read(page.encode().decode())
    names = {name for name, _ in reader.tags}
    assert not names & {"script", "iframe", "object", "embed", "link", "form", "base", "video", "audio"}
    for _, attributes in reader.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert str(attributes.get("src", "data:image/")).startswith("data:image/")
        assert re.match(r"https?://|#", str(attributes.get("href", "#")))
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["for"] for tag, attributes in reader.tags if tag == "label"} <= set(ids)
    assert "url(" not in page
    assert "@import" not in page
    return reader


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_does_nothing(text):
    chart = charts.lines({text: ([0, 1], [1, 2])}, text, text)
    pixels = np.zeros((4, 6, 3), np.uint8)
    parts = (
        html.paragraph(text, html.link(text, text)),
        html.table((text,), [(text,)], caption=text),
        html.code(text),
        html.details(text, text),
        html.bullets([text]),
        html.tiles([(text, text)]),
        html.figure(html.slider(html.picture(pixels, text), html.picture(pixels, text), "s", (text, text)), text),
        html.figure(chart, text),
    )
    page = html.page(text, html.section(text, *parts, anchor="a"), lead=text, contents=[("a", text)])
    reader = check_harmless(page)
    seen = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    assert reader.text.count(seen) >= 15
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", page)


def test_markup_stays_markup_and_what_is_made_of_it_is_text_again():
    bold = html.element("b", "a<b")
    assert bold == "<b>a&lt;b</b>"
    assert html.paragraph(bold) == "<p><b>a&lt;b</b></p>"
    assert html.paragraph(f"{bold}!") == "<p>&lt;b&gt;a&amp;lt;b&lt;/b&gt;!</p>"
    assert html.element("i", title=bold) == '<i title="&lt;b&gt;a&amp;lt;b&lt;/b&gt;"></i>'
    assert html.element("input", checked=True, class_="x", aria_label=None, hidden=False) == '<input checked class="x">'
    assert html.join(["a", None, 2.5, bold], "&") == "a&amp;2.5&amp;<b>a&lt;b</b>"


def test_policy_forbids_all_but_own_pictures_and_styles_and_stands_before_them():
    page = html.page("t")
    policy = page.index("default-src 'none'" if "default-src 'none'" in page else "default-src &#x27;none&#x27;")
    assert policy < page.index("<title>") < page.index("<style>")
    assert {d.strip().split()[0] for d in html.POLICY.split(";")} >= {"default-src", "img-src", "style-src"}
    assert "script-src" not in html.POLICY
    assert read(page).tags[0][1] == {"lang": "en"}


@pytest.mark.parametrize(
    ("address", "tag"),
    [("https://a.org/b", "a"), ("http://a.org", "a"), ("javascript:alert(1)", "span"), ("data:text/html,x", "span"),
     ("//a.org", "span"), ("https://a.org\njavascript:x", "span"), ("", "span")],
)  # fmt: skip
def test_links_lead_to_the_web_alone(address, tag):
    assert html.link("text", address).startswith(f"<{tag}")


def test_picture_holds_its_own_bytes_and_is_never_enlarged():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 60, 3), np.uint8)
    for suffix in (".jpg", ".webp", ".png"):
        for width, size in ((20, (10, 20)), (60, (30, 60)), (900, (30, 60)), (None, (30, 60))):
            ((tag, attributes),) = read(html.picture(pixels, "a", width, suffix)).tags
            assert tag == "img"
            assert (attributes["height"], attributes["width"]) == tuple(map(str, size))
            data = base64.b64decode(attributes["src"].partition("base64,")[2])
            assert images.decode(data, "a").shape == (*size, 3)
    assert (images.decode(data, "a") == pixels).all()


def test_slider_has_a_button_and_a_rule_of_the_style_for_each_place():
    picture = html.picture(np.zeros((4, 6, 3), np.uint8), "a")
    reader = read(html.slider(picture, picture, "s"))
    buttons = [attributes for tag, attributes in reader.tags if tag == "input"]
    assert len(buttons) == html_style.PLACES
    assert {button["name"] for button in buttons} == {"s"}
    assert [number for number, button in enumerate(buttons) if "checked" in button] == [html_style.PLACES // 2]
    assert (buttons[0]["aria-label"], buttons[-1]["aria-label"]) == ("0 % hazy, 100 % clean", "100 % hazy, 0 % clean")
    for state in ("input:nth-of-type({})" + ":checked", "label:nth-of-type({}):hover"):
        found = [re.search(re.escape(f".slider {state.format(n + 1)}~*{{--x:") + r"([\d.]+)%", html_style.STYLE)
                 for n in range(html_style.PLACES)]  # fmt: skip
        assert [float(one[1]) for one in found] == pytest.approx(np.linspace(0, 100, html_style.PLACES), abs=0.01)


def test_style_is_whole_and_knows_dark():
    assert html_style.STYLE.count("{") == html_style.STYLE.count("}")
    assert "prefers-color-scheme:dark" in html_style.STYLE


# --- charts ---


def heights(chart: str) -> list[float]:
    return [float(a["height"]) for tag, a in read(chart).tags if tag == "rect"]


def told(chart: str) -> str:
    return next(a["aria-label"] for tag, a in read(chart).tags if tag == "svg")


def test_bars_are_as_high_as_their_counts():
    chart = charts.histogram([0.0, 1.0, 2.0, 3.0, 4.0], {"": [10, 0, 40, 20]}, "depth [m]", "scenes", mark=2.5)
    found = heights(chart)
    assert found == pytest.approx([found[1] / 4, found[1], found[1] / 2], abs=0.1)
    assert told(chart) == "Histogram of depth [m]. from 0 to 1 up to 3 to 4, most (40) at 2 to 3"
    assert 'class="mark"' in chart
    text = read(chart).text
    assert "depth [m]" in text
    assert "scenes" in text


def test_few_can_be_seen_and_none_cannot():
    found = heights(charts.bars(["a", "b", "c"], {"": [1_000_000, 1, 0]}, "x"))
    assert found[1] == 1.0
    assert len(found) == 2
    assert told(charts.bars(["a", "b"], {"": [0, 0]}, "x")) == "Histogram of x. nothing"
    assert heights(charts.bars([], {"": []}, "x")) == []


@pytest.mark.parametrize(("low", "high"), [(1e-6, 1e9), (0.9, 1.1), (3.0, 3.0001), (0.5, 1e4), (17.0, 19.0)])
def test_axes_by_factors_have_ticks_within(low, high):
    scale = charts._Scale(low, high, 0.0, 300.0, by_factors=True)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 7
    places = [scale.at(tick) for tick in ticks]
    assert all(-0.5 <= place <= 300.5 for place in places)
    assert places == sorted(places)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 7.0), (0.0, 1e9), (1e-9, 2e-9), (0.0, 0.0)])
def test_axes_have_a_few_round_ticks(low, high):
    ticks = charts._Scale(low, high, 0.0, 300.0).ticks()
    assert 1 <= len(ticks) <= 7
    assert all(low - 1e-12 <= tick <= high * (1 + 1e-9) + 1e-12 for tick in ticks)
    assert charts._Scale(0.0, 2.08, 0.0, 1.0).ticks(4, whole=True) == [0.0, 1.0, 2.0]


def test_lines_have_gaps_where_nothing_is_known():
    values = [1.0, 2.0, math.nan, 4.0, math.inf, 3.0]
    chart = charts.lines({"loss": (list(range(6)), values), "none": ([], [])}, "epoch", "loss")
    lines = [a["points"].split() for tag, a in read(chart).tags if tag == "polyline"]
    assert [len(line) for line in lines] == [2, 1, 1]
    assert told(chart) == "loss over epoch. loss: from 1 at 0 to 3 at 5; none: nothing"
    assert read(chart).text.startswith("lossnone")


def test_one_point_and_equal_values_are_drawn_inside():
    for xs, ys in (([5], [0.0]), ([0, 1], [2.0, 2.0]), ([1, 2], [-1e-12, 1e12])):
        for tag, a in read(charts.lines({"a": (xs, ys)}, "x", "y")).tags:
            if tag == "circle":
                assert charts.LEFT <= float(a["cx"]) <= charts.WIDTH - charts.RIGHT
                assert charts.TOP - 0.1 <= float(a["cy"]) <= charts.HEIGHT - charts.BOTTOM + 0.1


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.04"), (1234.5, "1,234"), (1e9, "1e+09"), (12.3456, "12.35"), (math.nan, "none"), (math.inf, "infinite")],
)
def test_numbers_are_as_people_read_them(value, text):
    assert charts.number(value) == text
