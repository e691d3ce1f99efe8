"""Small charts as SVG within a page: histograms and lines, with axes, units and their content in words."""

import itertools
import math
from collections.abc import Mapping, Sequence

from hazegen.html import Markup, element, join

WIDTH, HEIGHT = 400, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 44
# Colours that the style has; more lines than these have them again, dashed.
COLORS = 6
# Width of a letter below the axis.
LETTER_PX = 7.0


def number(value: float) -> str:
    """A number as people read it: 4 digits that count, thousands apart."""
    if not math.isfinite(value):
        return "none" if math.isnan(value) else "infinite"
    if abs(value) >= 1e7:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def numbers(values: Sequence[float]) -> list[str]:
    """Numbers beside each other, as `number` has each, with more digits where two would read the same."""
    for digits in range(4, 9):
        told = [number(value) if digits == 4 or abs(value) >= 1000 else f"{value:.{digits}g}" for value in values]
        if len(set(told)) == len(set(values)):
            break
    return told if values else []


def histogram(
    edges: Sequence[float],
    series: Mapping[str, Sequence[float]],
    axis: str,
    up: str = "count",
    *,
    by_factors: bool = False,
    mark: float | None = None,
) -> Markup:
    """Bars of how often a number falls where; of several series over each other, with a legend.

    Args:
        edges: Of the bins, one more than each series has counts.
        axis: What is counted, with its unit.
        up: What the counts are.
        by_factors: Whether the axis goes by factors; its edges are then above 0.
        mark: A number with a dashed line, as a median.
    """
    across = _Scale(edges[0], edges[-1], LEFT, WIDTH - RIGHT, by_factors and edges[0] > 0.0)
    places = [across.at(edge) for edge in edges]
    over = element("g")
    if mark is not None and edges[0] <= mark <= edges[-1]:
        x = _px(across.at(mark))
        over = element("line", class_="mark", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM)
    ticks = [(across.at(value), number(value)) for value in across.ticks()]
    names = [f"{number(low)} to {number(high)}" for low, high in itertools.pairwise(edges)]
    return _histogram(list(itertools.pairwise(places)), names, series, ticks, axis, up, over)


def bars(names: Sequence[str], series: Mapping[str, Sequence[float]], axis: str, up: str = "count") -> Markup:
    """As `histogram`, with a bar for each name."""
    wide = (WIDTH - RIGHT - LEFT) / max(len(names), 1)
    places = [(LEFT + wide * (n + 0.12), LEFT + wide * (n + 0.88)) for n in range(len(names))]
    every = max(1, math.ceil(max(map(len, names), default=0) * LETTER_PX / wide))
    ticks = [(LEFT + wide * (n + 0.5), name) for n, name in enumerate(names) if n % every == 0]
    return _histogram(places, names, series, ticks, axis, up, element("g"))


def _histogram(
    places: Sequence[tuple[float, float]],
    names: Sequence[str],
    series: Mapping[str, Sequence[float]],
    ticks: Sequence[tuple[float, str]],
    axis: str,
    up: str,
    over: Markup,
) -> Markup:
    """Bars at places [px], of which each stands for what its name says."""
    counts = [count for of_one in series.values() for count in of_one]
    upward = _Scale(0.0, max(counts, default=0.0) * 1.04 or 1.0, HEIGHT - BOTTOM, TOP)
    drawn = [_bars(n, of_one, places, upward) for n, of_one in enumerate(series.values())]
    shown = element("g", *drawn, over, class_="over" if len(series) > 1 else None)
    words = "; ".join(_in_words(name, of_one, names) for name, of_one in series.items())
    whole = all(float(count).is_integer() for count in counts)
    return join([_legend(list(series)), _frame(ticks, upward, axis, up, shown, f"Histogram of {axis}. {words}", whole)])


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]], axis: str, up: str, *, above: bool = False
) -> Markup:
    """A line for each series of places and values, with a legend; what is not finite is a gap.

    Args:
        axis: What goes to the right, with its unit.
        up: What goes up, with its unit.
        above: Whether that stands above the chart already, and not beside it.
    """
    points = {name: _finite(*values) for name, values in series.items()}
    every = [point for line in points.values() for run in line for point in run]
    across = _Scale(*_ends([x for x, _ in every]), LEFT, WIDTH - RIGHT)
    upward = _Scale(*_ends([y for _, y in every], 0.05), HEIGHT - BOTTOM, TOP)
    drawn = join(
        _line(number_of, run, across, upward) for number_of, line in enumerate(points.values()) for run in line
    )
    places = across.ticks(whole=all(x.is_integer() for x, _ in every))
    ticks = list(zip(map(across.at, places), numbers(places), strict=True))
    words = "; ".join(_line_in_words(name, line) for name, line in points.items())
    return join(
        [_legend(list(series)), _frame(ticks, upward, axis, "" if above else up, drawn, f"{up} over {axis}. {words}")]
    )


# --- places ---


class _Scale:
    """From numbers to places [px]."""

    def __init__(self, low: float, high: float, first_px: float, last_px: float, by_factors: bool = False) -> None:
        self.low, self.high, self.by_factors = low, high, by_factors
        self._first, self._span = first_px, last_px - first_px
        self._from, self._to = (math.log(low), math.log(high)) if by_factors else (low, high)

    def at(self, value: float) -> float:
        told = math.log(value) if self.by_factors else value
        return self._first + self._span * (
            (told - self._from) / (self._to - self._from) if self._to > self._from else 0.5
        )

    def ticks(self, most: int = 5, whole: bool = False) -> list[float]:
        """Round numbers within, few enough to be written beside each other; `whole` ones alone where asked."""
        if self.by_factors and self.high / self.low > 5.0:
            return _factors(self.low, self.high, most)
        step = _round_up((self.high - self.low) / most) if self.high > self.low else 1.0
        step = float(math.ceil(step)) if whole else step
        first = math.ceil(self.low / step - 1e-9)
        return [round(n * step, 12) for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _round_up(step: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= step * (1.0 - 1e-9))


def _factors(low: float, high: float, most: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        found = [d * 10.0**n for n in decades for d in digits if low * 0.999 <= d * 10.0**n <= high * 1.001]
        if len(found) <= most + 1:
            return found
    return found[:: -(-len(found) // most)]


def _ends(values: Sequence[float], spare: float = 0.0) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    span = (high - low) or abs(high) or 1.0
    return (low - spare * span, high + spare * span) if high > low or spare else (low - 0.5 * span, high + 0.5 * span)


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


# --- what is drawn ---


def _frame(
    ticks: Sequence[tuple[float, str]],
    upward: _Scale,
    axis: str,
    up: str,
    drawn: Markup,
    words: str,
    whole: bool = False,
) -> Markup:
    """Axes around what is drawn; only whole numbers go up where `whole`."""
    bottom, middle = HEIGHT - BOTTOM, (LEFT + WIDTH - RIGHT) // 2
    parts: list[Markup] = []
    places = upward.ticks(4, whole)
    for value, text in zip(places, numbers(places), strict=True):
        y = _px(upward.at(value))
        parts.append(element("line", class_="rule", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y))
        parts.append(element("text", text, x=LEFT - 6, y=_px(upward.at(value) + 4), text_anchor="end"))
    parts.append(drawn)
    parts.append(element("line", class_="axis", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom))
    for x, text in ticks:
        parts.append(element("line", class_="axis", x1=_px(x), x2=_px(x), y1=bottom, y2=bottom + 4))
        parts.append(element("text", text, x=_px(x), y=bottom + 17, text_anchor="middle"))
    parts.append(element("text", axis, x=middle, y=HEIGHT - 8, text_anchor="middle"))
    turned = f"rotate(-90 12 {(TOP + bottom) // 2})"
    parts.append(element("text", up, x=12, y=(TOP + bottom) // 2, text_anchor="middle", transform=turned))
    shape = {"viewBox": f"0 0 {WIDTH} {HEIGHT}"}
    return element("svg", *parts, class_="chart", role="img", aria_label=words, **shape)


def _bars(color: int, counts: Sequence[float], places: Sequence[tuple[float, float]], upward: _Scale) -> Markup:
    """The bars of one series; of none there is none, and of few one that can be seen."""
    bottom, drawn = upward.at(0.0), []
    for count, (left, right) in zip(counts, places, strict=True):
        if count > 0.0:
            top = min(upward.at(count), bottom - 1.0)
            size = {"width": _px(max(right - left - 0.6, 0.6)), "height": _px(bottom - top)}
            drawn.append(element("rect", class_=f"bar f{color % COLORS}", x=_px(left), y=_px(top), **size))
    return join(drawn)


def _line(color: int, run: Sequence[tuple[float, float]], across: _Scale, upward: _Scale) -> Markup:
    places = [(across.at(x), upward.at(y)) for x, y in run]
    told = f"l{color % COLORS}"
    dots = join(
        element("circle", class_=f"f{color % COLORS}", cx=_px(x), cy=_px(y), r="2.6")
        for x, y in (places if len(places) <= 24 else places[-1:])
    )
    path = " ".join(f"{_px(x)},{_px(y)}" for x, y in places)
    dashed = "6 4" if color >= COLORS else None
    return join([element("polyline", class_=f"line {told}", points=path, stroke_dasharray=dashed), dots])


def _finite(xs: Sequence[float], ys: Sequence[float]) -> list[list[tuple[float, float]]]:
    """The runs of points between gaps."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(xs, ys, strict=True):
        if math.isfinite(x) and math.isfinite(y):
            runs[-1].append((float(x), float(y)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _legend(names: Sequence[str]) -> Markup | None:
    if len(names) < 2:
        return None
    marks = (element("span", element("i", class_=f"f{n % COLORS}"), name) for n, name in enumerate(names))
    return element("div", *marks, class_="legend")


# --- in words ---


def _in_words(name: str, counts: Sequence[float], names: Sequence[str]) -> str:
    filled = [n for n, count in enumerate(counts) if count > 0.0]
    before = f"{name}: " if name else ""
    if not filled:
        return f"{before}nothing"
    most = max(filled, key=lambda n: counts[n])
    ends = f"from {names[filled[0]]} up to {names[filled[-1]]}" if len(filled) > 1 else f"all {names[most]}"
    return f"{before}{ends}, most ({number(counts[most])}) at {names[most]}"


def _line_in_words(name: str, runs: Sequence[Sequence[tuple[float, float]]]) -> str:
    points = [point for run in runs for point in run]
    if not points:
        return f"{name}: nothing"
    (first, begin), (last, end) = points[0], points[-1]
    return f"{name}: from {number(begin)} at {number(first)} to {number(end)} at {number(last)}"


def named_lines(names: Sequence[str], series: Mapping[str, Sequence[float]], axis: str, up: str) -> Markup:
    """As `lines`, `up` above it, with a name below each place to the right in place of a number."""
    places = [float(n) for n in range(len(names))]
    wide = (WIDTH - RIGHT - LEFT) / max(len(names), 1)
    every = max(1, math.ceil(max(map(len, names), default=0) * LETTER_PX / wide))
    across = _Scale(-0.5, max(len(names), 1) - 0.5, LEFT, WIDTH - RIGHT)
    points = {name: _finite(places, values) for name, values in series.items()}
    upward = _Scale(*_ends([y for line in points.values() for run in line for _, y in run], 0.05), HEIGHT - BOTTOM, TOP)
    drawn = join(_line(color, run, across, upward) for color, line in enumerate(points.values()) for run in line)
    ticks = [(across.at(place), name) for place, name in zip(places, names, strict=True) if place % every == 0]
    words = f"{up} by {axis}: {', '.join(names)}. " + "; ".join(
        f"{name}: {', '.join(map(number, values))}" for name, values in series.items()
    )
    return join([_legend(list(series)), _frame(ticks, upward, axis, "", drawn, words)])
