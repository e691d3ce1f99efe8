"""What the numbers of a detector's output mean: which layout they have, and the boxes in them.

Layouts, each of one picture, with C classes:

fastestdet: (1, 5 + C, h, w), a grid over the picture. Channel 0 is the confidence that there is an object, 1 to 4
    are where it is, the rest each class's probability. With cell (i, j) of h x w, the centre is
    ((j + tanh c1) / w, (i + tanh c2) / h), the sides are (sigmoid c3, sigmoid c4), all in parts of the picture.
yolo: (1, N, 4 + C) or (1, 4 + C, N): centre x, centre y, width, height [px of the input], each class's probability.
yolo-objectness: (1, N, 5 + C) or (1, 5 + C, N): likewise, with the confidence that there is an object in between.

The confidence of a box is that of its likeliest class, times that of the object where there is one. Other versions of
FastestDet's runtime.py have object^0.6 * class^0.4 (docs/detection.md).

References:
    FastestDet: example/onnx-runtime/runtime.py and utils/tool.py of dog-qiuqiu/FastestDet.
    yolo: examples/YOLOv8-OpenCV-ONNX-Python of ultralytics/ultralytics.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aodnet.boxes import Boxes, ranked
from aodnet.detector_file import not_usable
from hazegen.errors import RefusedError

LayoutName = Literal["fastestdet", "yolo", "yolo-objectness"]

# Channels before the classes.
HEAD: dict[LayoutName, int] = {"fastestdet": 5, "yolo": 4, "yolo-objectness": 5}
# Which strides [px of the input] a network has heads for: one candidate a cell, or three with anchors.
STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32), (8, 16), (32,))
ANCHORS = 3
# Suppression compares each box with each: more than these, the surest ones, do not take part.
MAX_CANDIDATES = 30_000
# Networks that suppress inside give no more boxes than this, of six numbers each.
MAX_SUPPRESSED, SUPPRESSED_NUMBERS = 1000, 6
# What a rounding error may put outside of 0 to 1.
SLACK = 1e-3
# Candidates of every size are among an output's thousands; if none is larger, they are not in pixels.
SMALLEST_SIDE_PX = 2.0


@dataclass(frozen=True)
class Layout:
    """How an output is read.

    Attributes:
        channels_last: Of the two kinds of yolo: whether the numbers of one candidate lie side by side.
        said: Why it is read so.
    """

    name: LayoutName
    classes: int
    channels_last: bool
    said: str


def choose_layout(
    shape: Sequence[int], size: tuple[int, int], names: int | None, asked: LayoutName | None, file: str
) -> Layout:
    """The one reading of an output of `shape` that fits all that is known.

    Args:
        size: Width and height of the network's input [px].
        names: How many classes there are, where that is known.
        asked: The user's word.

    Raises:
        RefusedError: No reading fits, or more than one.
    """
    found = _grids(shape, size) if len(shape) == 4 else _rows(shape, size, asked) if len(shape) == 3 else []
    fitting = [layout for layout in found if asked in (None, layout.name) and names in (None, layout.classes)]
    if len(fitting) == 1:
        return fitting[0]
    raise _refused(file, tuple(shape), found, fitting, names, asked)


def _grids(shape: Sequence[int], size: tuple[int, int]) -> list[Layout]:
    """The reading of four axes: cells that are squares of the input."""
    batch, channels, rows, columns = shape
    classes = channels - HEAD["fastestdet"]
    square = rows > 0 and size[1] % rows == 0 and columns * (size[1] // rows) == size[0]
    if batch != 1 or classes < 1 or not square:
        return []
    said = f"output {tuple(shape)} is a grid of cells of {size[1] // rows} px: fastestdet with {classes} classes"
    return [Layout("fastestdet", classes, False, said)]


def _rows(shape: Sequence[int], size: tuple[int, int], asked: LayoutName | None) -> list[Layout]:
    """All readings of three axes; where some of them have as many candidates as a network has cells, those alone."""
    batch, a, b = shape
    cells = {sum(-(-size[0] // s) * -(-size[1] // s) for s in strides) for strides in STRIDES}
    on_grid, others = list[Layout](), list[Layout]()
    names: tuple[LayoutName, ...] = ("yolo", "yolo-objectness")
    for name, (count, channels, last) in itertools.product(names, ((a, b, True), (b, a, False))):
        classes = channels - HEAD[name]
        anchored = count % ANCHORS == 0 and count // ANCHORS in cells
        # Anchors came with an object's confidence in all versions: without one, they have to be asked for.
        fits = count in cells or (anchored and (name != "yolo" or asked == "yolo"))
        kind = "3 a cell" if anchored and count not in cells else "1 a cell" if count in cells else "of no known grid"
        said = f"output {tuple(shape)} has {count} candidates, {kind}: {name} with {classes} classes"
        if batch == 1 and classes >= 1 and (fits or count >= channels):
            (on_grid if fits else others).append(Layout(name, classes, last, said))
    suppressed = SUPPRESSED_NUMBERS in (a, b) and max(a, b) <= MAX_SUPPRESSED
    return on_grid or ([] if suppressed else others)


def _refused(
    file: str,
    shape: tuple[int, ...],
    found: list[Layout],
    fitting: list[Layout],
    names: int | None,
    asked: LayoutName | None,
) -> RefusedError:
    if len(fitting) > 1:
        readings = " or ".join(f"{layout.name} with {layout.classes} classes" for layout in fitting)
        return not_usable(
            file,
            "an output that can be read in one way",
            f"{shape}, which may be {readings}",
            "Say which by --detector-layout, or give --detector-names with one name for each class.",
        )
    wanted = f"an output of layout {asked}" if asked else "an output of layout fastestdet, yolo or yolo-objectness"
    if names is not None:
        wanted += f" with {names} classes, one for each name"
    readings = "; as it stands: " + " or ".join(f"{f.name} with {f.classes} classes" for f in found) if found else ""
    todo = "Check --detector-layout and --detector-names"
    if len(shape) == 3 and shape[-1] == SUPPRESSED_NUMBERS:
        todo = "Export it without suppression (NMS) inside"
    return not_usable(file, wanted, f"{shape}{readings}", f"{todo}; docs/detection.md has the layouts.")


# --- the boxes in an output ---


def decode(layout: Layout, output: NDArray[np.float32], size: tuple[int, int], confidence: float) -> Boxes:
    """The boxes of at least `confidence`, in pixels of the input, the surest first; none is suppressed yet.

    Raises:
        ValueError: The numbers are not what the layout says; the message is 'Expected ..., received ...'.
    """
    values = output[0].astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"finite numbers, received {np.count_nonzero(~np.isfinite(values))} others")
    if layout.name == "fastestdet":
        boxes = _from_grid(values, size)
    else:
        boxes = _from_rows(values if layout.channels_last else values.T, HEAD[layout.name])
    return ranked(boxes.take(boxes.scores >= confidence), MAX_CANDIDATES)


def _from_grid(values: NDArray[np.float64], size: tuple[int, int]) -> Boxes:
    rows, columns = values.shape[1:]
    _check_scores(values[[0, *range(5, len(values))]])
    y, x = np.mgrid[0:rows, 0:columns]
    center = np.stack([(x + np.tanh(values[1])) / columns, (y + np.tanh(values[2])) / rows])
    half = 0.5 / (1.0 + np.exp(-np.clip(values[3:5], -60.0, 60.0)))
    corners = np.concatenate([center - half, center + half]).reshape(4, -1).T * np.array([*size, *size])
    return _likeliest(corners, values[5:].reshape(len(values) - 5, -1).T, values[0].ravel())


def _from_rows(rows: NDArray[np.float64], head: int) -> Boxes:
    _check_scores(rows[:, 4:])
    center, half = rows[:, :2], rows[:, 2:4] / 2.0
    if half.min() < 0.0 or 2.0 * half.max() <= SMALLEST_SIDE_PX:
        raise ValueError(
            f"sides in pixels of the input, received {2.0 * half.min():g} to {2.0 * half.max():g} (parts of the "
            "picture have to be exported as pixels)"
        )
    objects = rows[:, 4] if head == 5 else np.ones(len(rows))
    return _likeliest(np.hstack([center - half, center + half]), rows[:, head:], objects)


def _likeliest(corners: NDArray[np.float64], classes: NDArray[np.float64], objects: NDArray[np.float64]) -> Boxes:
    numbers = classes.argmax(axis=1)
    return Boxes(corners, objects * classes[np.arange(len(numbers)), numbers], numbers.astype(np.int64))


def _check_scores(scores: NDArray[np.float64]) -> None:
    low, high = float(scores.min()), float(scores.max())
    if low < -SLACK or high > 1.0 + SLACK:
        raise ValueError(
            f"probabilities, received {low:g} to {high:g} (the last step, sigmoid or softmax, belongs into the export)"
        )
