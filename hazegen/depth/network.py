"""A depth network in an ONNX file: what it expects and gives, the checks before it runs, one batch through it."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen import engine
from hazegen.depth.onnx_file import not_usable, package
from hazegen.errors import RefusedError, UsageError

Values = Literal["plane", "inverse", "relative-inverse", "relative"]
Preset = Literal[
    "midas-small", "depth-anything-v2", "depth-anything-v2-metric-indoor", "depth-anything-v2-metric-outdoor", "none"
]
Three = tuple[float, float, float]

# A long, narrow photo is enlarged until its short side fits.
MAX_INPUT_PIXELS = 16_000_000

# As Depth Anything V2's dpt.py has them. Its metric networks are trained on plane depth: its hypersim.py turns the
# distances of that set into depth.
_IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_ANYTHING: dict[str, Any] = {**_IMAGENET, "short_side": 518, "multiple": 14}
# MiDaS's own export (its tf/make_onnx_model.py) normalises inside the network; exports of its torch.hub model do not,
# and need mean and std. The short side is from memory, unconfirmed; it only matters where the file leaves it free.
PRESETS: dict[Preset, dict[str, Any]] = {
    "midas-small": {"values": "relative-inverse", "short_side": 256, "multiple": 32},
    "depth-anything-v2": {"values": "relative-inverse", **_ANYTHING},
    "depth-anything-v2-metric-indoor": {"values": "plane", **_ANYTHING},
    "depth-anything-v2-metric-outdoor": {"values": "plane", **_ANYTHING},
    "none": {},
}


@dataclass(frozen=True)
class ModelOptions:
    """How depth is estimated for photos that have none.

    Attributes:
        file: ONNX file of a depth network.
        preset: Network whose input and output are known: MiDaS's own export of its small network, Depth Anything
            V2 (relative), or its metric networks for rooms and for streets. Options below stand above it.
        values: What the output means: plane (metres), inverse (1/m), relative-inverse (larger is nearer) or
            relative (larger is farther) [default: the preset's].
        width: Width of the input [px] [default: the network's own, else by short-side].
        height: Height of the input [px], beside width.
        short_side: Shorter side of the input [px] where the network leaves its size free; the photo's
            proportions are kept [default: the preset's].
        multiple: Both sides of a free input are multiples of it [default: the preset's, else 1].
        mean: Mean of red, green and blue, subtracted after scale [default: the preset's, else 0,0,0].
        std: What red, green and blue are divided by then [default: the preset's, else 1,1,1].
        scale: Factor on the code values 0 to 255 [default: 1/255].
        channels: Order of the input's channels.
        layout: Order of the input's axes.
        batch: Photos of equal input size that go through the network together.
        threads: Processor cores that the network uses [default: all].
    """

    file: Path
    preset: Preset = "none"
    values: Values | None = None
    width: int | None = None
    height: int | None = None
    short_side: int | None = None
    multiple: int | None = None
    mean: Three | None = None
    std: Three | None = None
    scale: float | None = None
    channels: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    batch: int = 1
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("width", "height", "short_side", "multiple", "batch", "threads"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= 65536:
                raise _out_of_range(name, "1 to 65536", value)
        if self.std is not None and not all(0 < value < np.inf for value in self.std):
            raise _out_of_range("std", "three numbers above 0", self.std)
        if self.mean is not None and not np.isfinite(self.mean).all():
            raise _out_of_range("mean", "three finite numbers", self.mean)
        if self.scale is not None and not 0 < self.scale < np.inf:
            raise _out_of_range("scale", "a number above 0", self.scale)
        if (self.width is None) != (self.height is None):
            raise UsageError(
                f"The size of the network's input needs two numbers. Expected width and height, received "
                f"{self.width} and {self.height}. Give both or none."
            )


def _out_of_range(name: str, expected: str, received: object) -> UsageError:
    return UsageError(
        f"'{name}' of the depth network is out of range. Expected {expected}, received {received}. Correct it."
    )


@dataclass(frozen=True)
class Handling:
    """What decides the maps beside the network's file: the fields of ModelOptions, none of them left open."""

    values: Values
    width: int | None
    height: int | None
    short_side: int | None
    multiple: int
    mean: Three
    std: Three
    scale: float
    channels: str
    layout: str


@dataclass(frozen=True)
class Network:
    """A network that is ready to run.

    Attributes:
        session: onnxruntime's.
        input: Name of its input.
        size: Width and height of the input [px]; None where the photo decides.
    """

    session: Any
    input: str
    size: tuple[int, int] | None
    handling: Handling


def handling_of(options: ModelOptions) -> Handling:
    """The options with the preset and the defaults below them.

    Raises:
        UsageError: Neither preset nor option says what the output means.
    """
    names = [field.name for field in dataclasses.fields(Handling)]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    defaults = {"width": None, "height": None, "short_side": None, "multiple": 1, "scale": 1.0 / 255.0}
    values = {**defaults, "mean": (0.0,) * 3, "std": (1.0,) * 3, **PRESETS[options.preset], **given}
    if "values" not in values:
        raise UsageError(
            "Nobody says what the depth network gives. Expected a preset or values (plane, inverse, relative-inverse, "
            "relative), received neither. MiDaS and Depth Anything give relative-inverse, their metric kin plane."
        )
    return Handling(**values)


# --- the network ---


def load(options: ModelOptions) -> Network:
    """The network of a file that `check_file` has let through, on a GPU where onnxruntime has one.

    Raises:
        RefusedError: onnxruntime cannot load it, or it has another input or output than a depth network's.
        UsageError: The options and the network contradict each other.
    """
    onnxruntime = package("onnxruntime")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads or engine.cores()
    settings.use_deterministic_compute = True
    settings.log_severity_level = 4  # what fails is raised, not written to the terminal
    offered = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in offered]
    try:
        session = onnxruntime.InferenceSession(str(options.file), settings, providers=providers)
    except Exception as error:  # onnxruntime's errors have no other class in common
        received = f"an error of onnxruntime: {str(error).splitlines()[0]}"
        raise not_usable(options.file, "a network that onnxruntime loads", received, "Export it again.") from None
    handling = handling_of(options)
    return Network(session, *_check_interface(session, options, handling), handling)


def _check_interface(session: Any, options: ModelOptions, handling: Handling) -> tuple[str, tuple[int, int] | None]:
    """Name of the input, and its size where the network or the options fix it."""
    found, given = session.get_inputs(), session.get_outputs()
    axes = found[0].shape if len(found) == 1 and found[0].type == "tensor(float)" else []
    order = (0, 1, 2, 3) if handling.layout == "nchw" else (0, 3, 1, 2)
    count, channels, height, width = [axes[at] for at in order] if len(axes) == 4 else [0] * 4
    # An axis that the network leaves free has a name or nothing in place of a number.
    free = [not isinstance(axis, int) for axis in (count, channels, height, width)]
    if not ((free[0] or count == 1) and (free[1] or channels == 3) and free[2] == free[3]):
        expected = f"one input of float32 {handling.layout.upper()}, of 1 or any number of pictures of 3 channels"
        raise not_usable(options.file, expected, _told(found), "Change the layout, or export it anew.")
    if len(given) != 1 or given[0].type != "tensor(float)" or len(given[0].shape or [0] * 3) not in (2, 3, 4):
        expected = "one output of float32 (pictures, height, width)"
        raise not_usable(options.file, expected, _told(given), "Export it with its depth alone.")
    if options.batch > 1 and not free[0]:
        raise UsageError(
            f"The network takes one picture at a time. Expected a batch of 1, received {options.batch}. Leave it out, "
            "or export the network with a free first axis."
        )
    return found[0].name, _fixed_size(None if free[2] else (width, height), handling)


def _told(tensors: Any) -> str:
    return "; ".join(f"{tensor.name}: {tensor.type} {tensor.shape}" for tensor in tensors) or "none"


def _fixed_size(own: tuple[int, int] | None, handling: Handling) -> tuple[int, int] | None:
    asked = (handling.width, handling.height) if handling.width and handling.height else None
    if own is not None and asked is not None and asked != own:
        raise UsageError(
            f"The network has another input size. Expected width and height {own}, received {asked}. Leave them out."
        )
    if own is None and asked is None and handling.short_side is None:
        raise UsageError(
            "The network leaves the size of its input free. Expected width and height, or short_side, received none. "
            "Give one of them."
        )
    return own or asked


def input_size(network: Network, width: int, height: int) -> tuple[int, int]:
    """Width and height that a photo gets for the network.

    Raises:
        RefusedError: So many pixels that the network would take all memory.
    """
    if network.size is not None:
        size = network.size
    else:
        assert network.handling.short_side is not None
        factor, multiple = network.handling.short_side / min(width, height), network.handling.multiple
        sides = (multiple * max(1, round(side * factor / multiple)) for side in (width, height))
        size = (next(sides), next(sides))
    if size[0] * size[1] > MAX_INPUT_PIXELS:
        raise RefusedError(
            f"The photo is too large for the network. Expected at most {MAX_INPUT_PIXELS:,} pixels of input, received "
            f"{size[0]} x {size[1]}. Cut the photo, or give another size."
        )
    return size


def prepare(network: Network, photo: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """A photo, uint8 (height, width, 3), as the network takes it: resized, then (scale * code - mean) / std."""
    handling = network.handling
    # Cubic, as the networks' own code does; on the codes, where a large photo takes a quarter of the memory.
    resized = cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC).astype(np.float32) * np.float32(handling.scale)
    pixels = (resized - np.asarray(handling.mean, np.float32)) / np.asarray(handling.std, np.float32)
    if handling.channels == "bgr":
        pixels = pixels[..., ::-1]
    return np.ascontiguousarray(pixels if handling.layout == "nhwc" else pixels.transpose(2, 0, 1), np.float32)


def infer(network: Network, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """The maps, (pictures, height, width), of a batch of prepared photos.

    Raises:
        RefusedError: onnxruntime fails, or the output is no map for each picture.
    """
    try:
        (output,) = network.session.run(None, {network.input: batch})
    except Exception as error:  # onnxruntime's errors have no other class in common
        raise RefusedError(
            f"The network fails on the photo. Expected a map, received an error of onnxruntime: "
            f"{str(error).splitlines()[0]} Try another input size."
        ) from None
    maps = np.asarray(output)
    shape = maps.shape
    if maps.ndim == 4 and 1 in (shape[1], shape[3]):
        maps = maps[:, 0] if shape[1] == 1 else maps[..., 0]
    elif maps.ndim == 2 and len(batch) == 1:
        maps = maps[None]
    if maps.ndim != 3 or len(maps) != len(batch) or min(maps.shape[1:]) < 2:
        raise RefusedError(
            f"The network's output is no depth map. Expected ({len(batch)}, height, width), received {shape}. "
            "Export the network with its depth alone."
        )
    return maps


def check_map(depth: NDArray[np.float32], values: Values) -> None:
    """Raises RefusedError where the output of the network for one photo is of no use."""
    low, high = float(depth.min()), float(depth.max())
    if not np.isfinite(depth).all():
        problem = "finite numbers", f"{np.count_nonzero(~np.isfinite(depth))} others"
    elif low == high:
        problem = "near and far", f"{low:g} for every pixel"
    elif (values == "plane" and low <= 0.0) or (values == "inverse" and low < 0.0):
        problem = f"{'metres above 0' if values == 'plane' else '1/m, 0 or more'}", f"{low:g}"
    else:
        return
    raise RefusedError(
        f"The network gives no depth for the photo. Expected {problem[0]}, received {problem[1]}. Check what the "
        "network expects (scale, mean, std, channels) and gives (values)."
    )
