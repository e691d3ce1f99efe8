"""levels.png: what each method scores by haze and by distance, a line a method."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aodnet.levels import IMAGE_BOUNDS, PIXEL_BOUNDS, POOLED, TITLES, Bin, shown
from hazegen.progress import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Share of the pixels below which a bin's mean is that of some few of them, and no point of a plot.
_RARE = 0.01
# Colours that colour-blind people tell apart (Okabe, Ito, "Color Universal Design", 2008; its yellow is too pale on
# white), and a mark each, for print without colour. The first is the hazy input's.
_COLORS = ("#000000", "#e69f00", "#009e73", "#0072b2", "#d55e00", "#cc79a7", "#56b4e9")
_MARKS = ("s", "v", "^", "o", "D", "P", "X")


def plot(bins: Sequence[Bin], panels: Mapping[str, str], leave_out: Sequence[str] = ()) -> bytes:
    """A PNG: the metrics `panels` (with their titles) by haze, and the pooled PSNR by pixels."""
    from matplotlib.figure import Figure

    pooled = {POOLED: "PSNR of all pixels [dB]"}
    wanted = [
        (level, metric, title)
        for level in shown(bins)
        for metric, title in (panels if level in IMAGE_BOUNDS else pooled).items()
    ]
    rows = -(-len(wanted) // 2)
    figure = Figure(figsize=(11, 4.2 * rows), layout="constrained")
    places = list(figure.subplots(rows, 2, squeeze=False).flat)
    for axes, (level, metric, title) in zip(places, wanted, strict=False):
        axes.set_title(title)
        _draw(axes, [one for one in bins if one.level == level], metric, leave_out)
    lines = places[0].get_legend_handles_labels()
    if len(wanted) < len(places):  # an odd number of panels leaves room
        places[-1].axis("off")
        places[-1].legend(*lines, loc="center", fontsize=10)
    else:
        figure.legend(*lines, loc="outside lower center", ncols=4, fontsize=9)
    file = io.BytesIO()
    figure.savefig(file, dpi=110)
    return file.getvalue()


def _draw(axes: "Axes", bins: Sequence[Bin], metric: str, leave_out: Sequence[str]) -> None:
    """One panel. A line is broken where a bin is left out, so that none leads over what is not shown."""
    level, total = bins[0].level, sum(one.count for one in bins)
    rare = [one for one in bins if level in PIXEL_BOUNDS and one.count < _RARE * total]
    methods = [name for name in bins[0].values if name not in leave_out]
    for number, method in enumerate(methods):
        values = [float("nan") if one in rare else one.values[method][metric] for one in bins]
        axes.plot(range(len(bins)), values, label=method, **_style(number))
    labels = [f"{one.label}\n({one.count:,})" for one in bins]
    axes.set_xticks(range(len(bins)), labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    of = "images" if level in IMAGE_BOUNDS else "pixels"
    left_out = f";\n{counted(len(rare), 'bin')} with less than {_RARE:.0%} of them left out" if rare else ""
    axes.set_xlabel(f"{TITLES[level]} (number of {of}{left_out})", fontsize=9)
    axes.grid(alpha=0.3)


def _style(number: int) -> dict[str, Any]:
    """Of a method's line: more than there are colours are dashed."""
    at = number % len(_COLORS)
    dashes = ("-", "--", ":")[number // len(_COLORS) % 3]
    return {"color": _COLORS[at], "marker": _MARKS[at], "markersize": 5, "linestyle": dashes, "linewidth": 1.4}
