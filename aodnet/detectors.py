"""A detector in an ONNX file: how it is loaded, and one picture through it."""

import ast
import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from aodnet import boxes, detector_layouts, detector_runtimes
from aodnet.boxes import Boxes
from aodnet.detector_file import FLOAT32, OnnxFile, not_usable, read_onnx
from aodnet.detector_layouts import Layout
from aodnet.detector_runtimes import Run
from hazegen import stores
from hazegen.errors import RefusedError, UsageError

# Two boxes of one class that overlap more are one object, as in Ultralytics' and FastestDet's own code.
SUPPRESSION_IOU = 0.45
# What is left after that counts up to so many boxes a picture, the surest ones.
MAX_BOXES = 300
MAX_SIDE = 4096
MAX_NAMES_BYTES = 1_000_000


@dataclass(frozen=True)
class DetectorOptions:
    """Counts objects in hazy, dehazed and clean pictures.

    Attributes:
        detector: Object detector in an ONNX file; nothing is detected without one.
        detector_names: Text file with the name of each class on a line [default: the file's own, else numbers].
        detector_layout: Layout of the output; auto tells by its shape.
        detector_size: Width and height of the input [px], where the network leaves them free [default: the file's own].
        detector_runtime: What runs the network; auto is onnxruntime where it is installed, else cv2.
        confidence: Objects that the detector is less sure of do not count.
        iou: Overlap (intersection over union) from which on two boxes agree.
    """

    detector: Path | None = None
    detector_names: Path | None = None
    detector_layout: Literal["auto", "fastestdet", "yolo", "yolo-objectness"] = "auto"
    detector_size: int | None = None
    detector_runtime: Literal["auto", "cv2", "onnxruntime"] = "auto"
    confidence: float = 0.5
    iou: float = 0.5

    def __post_init__(self) -> None:
        given = any(getattr(self, field.name) != field.default for field in dataclasses.fields(self))
        if self.detector is None and given:
            raise UsageError(
                "There is nothing to detect with. Expected --detector beside its options, received them alone. "
                "Give --detector FILE.onnx, or leave them out."
            )
        for name in ("confidence", "iou"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise UsageError(
                    f"--{name} is out of range. Expected a number above 0 and at most 1, received "
                    f"{getattr(self, name)}. Correct it."
                )
        if self.detector_size is not None and not 32 <= self.detector_size <= MAX_SIDE:
            raise UsageError(
                f"--detector-size is out of range. Expected 32 to {MAX_SIDE} px, received {self.detector_size}. "
                "Correct it."
            )


@dataclass(frozen=True)
class Detector:
    """A detector that is ready to run.

    Attributes:
        file: Name of its file, of that `sha256`.
        run: From an input, float32 (1, 3, height, width), to the network's outputs.
        output: Which of these has the boxes.
        size: Width and height of the input [px].
        names: Name of each class.
        runtime: What runs it, and its version.
    """

    file: str
    sha256: str
    run: Run
    output: int
    size: tuple[int, int]
    layout: Layout
    names: tuple[str, ...]
    runtime: str
    confidence: float


def load_detector(options: DetectorOptions) -> Detector:
    """Reads the file, checks it, and runs it once on a grey picture to see what it gives.

    Raises:
        UsageError: Options and network contradict each other, or a runtime is missing.
        RefusedError: The file is no detector that can be run, or its output can be read in no or several ways.
    """
    assert options.detector is not None
    file = read_onnx(options.detector)
    size = _input_size(file, options.detector_size)
    names = read_names(options.detector_names) if options.detector_names else own_names(file.metadata)
    run, runtime = detector_runtimes.open_network(file, options.detector_runtime, size)
    outputs = run(np.full((1, 3, size[1], size[0]), 0.5, np.float32))
    number = _output_with_boxes(file.name, outputs)
    asked = None if options.detector_layout == "auto" else options.detector_layout
    known = None if names is None else len(names)
    layout = detector_layouts.choose_layout(outputs[number].shape, size, known, asked, file.name)
    names = names or tuple(f"class {number}" for number in range(layout.classes))
    return Detector(file.name, file.sha256, run, number, size, layout, names, runtime, options.confidence)


def detect(detector: Detector, pixels: NDArray[np.uint8], name: str) -> Boxes:
    """The objects in a picture, uint8 (height, width, 3) R, G, B; boxes in its pixels, the surest first.

    FastestDet gets it stretched, in the order B, G, R; the others in their proportions with grey borders, R, G, B.

    Raises:
        RefusedError: What the network gives is not what its layout says.
    """
    height, width = pixels.shape[:2]
    fit, interpolation = (
        (boxes.stretched, cv2.INTER_AREA)
        if detector.layout.name == "fastestdet"
        else (boxes.letterboxed, cv2.INTER_LINEAR)
    )
    placement = fit(width, height, detector.size)
    canvas = boxes.place(pixels, placement, detector.size, interpolation)
    if detector.layout.name == "fastestdet":
        canvas = canvas[..., ::-1]
    output = detector.run(np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float32) / np.float32(255.0))
    try:
        found = detector_layouts.decode(detector.layout, output[detector.output], detector.size, detector.confidence)
    except ValueError as error:
        received = f"{error}, for the picture '{name}'"
        raise _not_told(detector.file, received) from None
    kept = boxes.ranked(boxes.suppress(found, SUPPRESSION_IOU), MAX_BOXES)
    corners = boxes.to_picture(kept.corners, placement, width, height)
    inside = np.flatnonzero((corners[:, 2:] > corners[:, :2]).all(axis=1))
    return Boxes(corners, kept.scores, kept.classes).take(inside)


def _not_told(file: str, problem: str) -> RefusedError:
    return RefusedError(
        f"The output of '{file}' is not what its layout says. Expected {problem}. Check --detector-layout, or export "
        "it again as docs/detection.md says."
    )


# --- the file's own word, held against the options ---


def _input_size(file: OnnxFile, asked: int | None) -> tuple[int, int]:
    """Width and height of the input [px]."""
    shape = file.inputs[0].shape if len(file.inputs) == 1 else None
    if shape is None or len(shape) != 4 or file.inputs[0].kind != FLOAT32 or not _is_picture(shape):
        told = "; ".join(f"{tensor.name!r}: type {tensor.kind} {tensor.shape}" for tensor in file.inputs) or "none"
        raise not_usable(
            file.name,
            "one input of float32 (type 1) for one picture (1, 3, height, width)",
            told,
            "Export it for one picture, in float32, channels first.",
        )
    height, width = shape[2:]
    if isinstance(height, int) and isinstance(width, int):
        if asked is not None and (asked, asked) != (width, height):
            raise UsageError(
                f"'{file.name}' has an input of a size of its own. Expected --detector-size {width} for {width} x "
                f"{height}, received {asked}. Leave it out."
            )
        return width, height
    if asked is not None:
        return asked, asked
    return _own_size(file)


def _is_picture(shape: tuple[int | str, ...]) -> bool:
    count, channels, height, width = shape
    sides = [side for side in (height, width) if isinstance(side, int)]
    fixed = len(sides) == 2 and all(1 <= side <= MAX_SIDE for side in sides)
    return (count == 1 or isinstance(count, str)) and channels == 3 and (not sides or fixed)


def _own_size(file: OnnxFile) -> tuple[int, int]:
    """The size that Ultralytics writes into its exports, 'imgsz': height and width."""
    told = _literal(file.metadata.get("imgsz", ""))
    if isinstance(told, list | tuple) and len(told) == 2 and all(type(s) is int and 32 <= s <= MAX_SIDE for s in told):
        return told[1], told[0]
    raise UsageError(
        f"'{file.name}' leaves the size of its input free. Expected --detector-size, received none. Give the size that "
        "it was trained with, such as 640."
    )


def read_names(path: Path) -> tuple[str, ...]:
    """The names of the classes, one a line; empty lines at the end do not count.

    Raises:
        UsageError: There is no such file.
        RefusedError: It is no such text.
    """
    path = stores.on_disk(path, "--detector-names")
    if not path.is_file():
        raise UsageError(f"'{path}' is no file. Expected names of classes. Check --detector-names.")
    data = path.read_bytes() if path.stat().st_size <= MAX_NAMES_BYTES else b"\0"
    names = data.decode("utf-8", "replace").rstrip().splitlines()
    if not names or not all(_is_name(name) for name in names):
        raise RefusedError(
            f"'{path.name}' has no names of classes. Expected text of at most {MAX_NAMES_BYTES} bytes, one name on "
            f"each line, received {path.stat().st_size} bytes. Correct the file."
        )
    return _told_apart([name.strip() for name in names])


def own_names(metadata: dict[str, str]) -> tuple[str, ...] | None:
    """The names that Ultralytics writes into its exports, as a Python dict from number to name; None without them."""
    told = _literal(metadata.get("names", ""))
    if isinstance(told, dict) and list(told) == list(range(len(told))):
        told = list(told.values())
    if isinstance(told, list) and told and all(isinstance(name, str) and _is_name(name) for name in told):
        return _told_apart(told)
    return None


def _is_name(name: str) -> bool:
    return bool(name.strip()) and name.strip().isprintable() and "\ufffd" not in name


def _told_apart(names: list[str]) -> tuple[str, ...]:
    """Names that stand there twice get their number."""
    times = Counter(names)
    return tuple(f"{name} #{number}" if times[name] > 1 else name for number, name in enumerate(names))


def _literal(text: str) -> Any:
    """The Python literal in a text; None where there is none."""
    try:
        return ast.literal_eval(text) if len(text) <= MAX_NAMES_BYTES else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _output_with_boxes(name: str, outputs: list[NDArray[np.float32]]) -> int:
    """The one output of three axes (its raw heads may lie beside it), or the one of four."""
    for axes in (3, 4):
        fitting = [number for number, output in enumerate(outputs) if output.ndim == axes]
        if len(fitting) == 1:
            return fitting[0]
    told = ", ".join(str(output.shape) for output in outputs)
    raise not_usable(name, "one output with boxes, of three or four axes", told, "Export it with that one alone.")
