"""Remove haze, without the page: a file and a network in; pictures, K and histograms out."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from aodnet import predict, tiles, weight_names
from aodnet.demo_uploads import Rgb, read_for_screen
from aodnet.tiles import Restorer
from hazegen import color, images
from hazegen.errors import RefusedError

Floats = NDArray[np.float32]
Tell = Callable[[float, str], object]

BINS = 64
# Outliers of K beyond these shares of the pixels do not decide its colours.
K_QUANTILES = (0.01, 0.99)
_WIDTH, _HEIGHT = 320, 120
_COLOURS = ("#d62728", "#2ca02c", "#1f77b4")


@dataclass(frozen=True)
class Network:
    """One model of the demo.

    Attributes:
        restore: What `aodnet predict` restores with.
        with_k: From hazy pixels, float32 (height, width, 3) in [0, 1], to the restored ones and K.
    """

    restore: Restorer
    with_k: Callable[[Floats], tuple[Floats, Floats]]


@dataclass(frozen=True)
class Preview:
    """A picture at the size of the screen.

    Attributes:
        hazy, restored: uint8 RGB (height, width, 3).
        k_map: K in false colours, likewise: purple low, yellow high.
        k_low, k_high: K of the two ends of these colours.
        seconds: From the file to here.
    """

    hazy: Rgb
    restored: Rgb
    k_map: Rgb
    k_low: float
    k_high: float
    seconds: float


@dataclass(frozen=True)
class Restored:
    """A whole picture as `aodnet predict` writes it: the file, remarks on what it does not keep, and the time taken."""

    path: Path
    remarks: list[str]
    seconds: float


def load_networks(models: Mapping[str, str]) -> dict[str, Network]:
    """The networks of shipped names and .weights.h5 files, by the names on the page; each has seen a first picture."""
    networks = {name: load_network(text) for name, text in models.items()}
    for network in networks.values():
        network.restore(np.zeros((64, 64, 3), np.float32))  # traced here, not while a visitor waits
        network.with_k(np.zeros((64, 64, 3), np.float32))
    return networks


def load_network(text: str) -> Network:
    """The network of a shipped name or a .weights.h5 file."""
    import tensorflow as tf

    from aodnet import model as aodnet_model
    from aodnet import weights

    model = weights.load(weight_names.find_weights(text))
    both = aodnet_model.with_k(model)
    traced = tf.function(
        lambda batch: both(batch, training=False), input_signature=[tf.TensorSpec([1, None, None, 3], tf.float32)]
    )

    def with_k(hazy: Floats) -> tuple[Floats, Floats]:
        restored, k = traced(hazy[None])
        return np.clip(restored[0].numpy(), 0.0, 1.0), k[0].numpy()

    return Network(predict.restorer(model), with_k)


def preview(path: Path, network: Network) -> Preview:
    """The picture at the size of the screen, restored, with its K."""
    began = time.perf_counter()
    hazy = read_for_screen(path)
    restored, k = network.with_k(color.to_float(hazy))
    k_map, low, high = false_colours(k)
    return Preview(hazy, color.to_uint8(restored), k_map, low, high, time.perf_counter() - began)


def false_colours(k: Floats) -> tuple[Rgb, float, float]:
    """K, averaged over its channels, in false colours, and the K of their two ends."""
    mean = k.mean(axis=2)
    low, high = (float(value) for value in np.quantile(mean, K_QUANTILES))
    share = np.clip((mean - low) / max(high - low, 1e-6), 0.0, 1.0)
    coloured = cv2.applyColorMap(color.to_uint8(share), cv2.COLORMAP_VIRIDIS)
    return np.asarray(cv2.cvtColor(coloured, cv2.COLOR_BGR2RGB), np.uint8), low, high


def whole(path: Path, network: Network, out: Path, tell: Tell) -> Restored:
    """The whole picture by `aodnet predict` itself, so that the file is the same to the byte.

    Args:
        out: Folder for the file, which keeps its name and format.
        tell: Takes the share that is done, in [0, 1], and what is being done.

    Raises:
        RefusedError: What predict says about the file.
    """
    began = time.perf_counter()
    done = predict.predict(_telling(path, network.restore, tell), [path], out)
    if done.problems:
        raise RefusedError(done.problems[0].removeprefix(f"{path}: "))
    remarks = [remark.removeprefix(f"{path}: ") for remark in done.remarks]
    return Restored(done.written[0], remarks, time.perf_counter() - began)


def _telling(path: Path, restore: Restorer, tell: Tell) -> Restorer:
    """`restore`, which tells after each tile how far it is."""
    data = images.read_file(path)
    width, height = images.check_header(data, path.name).size
    upright = (width, height) if images.orientation(data) >= 5 else (height, width)  # 5 to 8 lie on their side
    rows, columns = (len(tiles.starts(*axis)) for axis in zip(upright, restore.patch, strict=True))
    count = [0]

    def call(hazy: Floats) -> Floats:
        restored = restore.call(hazy)
        count[0] += 1
        tell(min(count[0] / (rows * columns), 1.0), f"{count[0]} of {rows * columns} tiles")
        return restored

    return Restorer(call, restore.patch)


def histograms(pictures: dict[str, Rgb]) -> str:
    """Histograms of red, green and blue as SVG, one below the other, on one scale."""
    counts = {name: _counts(pixels) for name, pixels in pictures.items()}
    # The ends may hold most pixels of a foggy picture, and would leave nothing to be seen between.
    top = max(float(np.quantile(count, 0.95)) for count in counts.values()) or 1.0
    plots = [_plot(name, count, top) for name, count in counts.items()]
    return f'<div class="histograms">{"".join(plots)}</div>'


def _counts(pixels: Rgb) -> NDArray[np.float64]:
    """Share of the pixels in each bin, (3, BINS)."""
    channels = [np.bincount(pixels[..., c].ravel() // (256 // BINS), minlength=BINS) for c in range(3)]
    return np.stack(channels) / pixels[..., 0].size


def _plot(name: str, counts: NDArray[np.float64], top: float) -> str:
    lines = "".join(
        f'<polyline points="{_points(row, top)}" fill="{colour}" fill-opacity="0.18" stroke="{colour}" '
        'stroke-width="1.5"/>'
        for row, colour in zip(counts, _COLOURS, strict=True)
    )
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="histogram, {name}">{lines}'
        f'<line x1="0" y1="{_HEIGHT}" x2="{_WIDTH}" y2="{_HEIGHT}" stroke="currentColor"/></svg>'
        f"<figcaption><span>0</span><span>{name}: sRGB code values</span><span>255</span></figcaption></figure>"
    )


def _points(row: NDArray[np.float64], top: float) -> str:
    heights = _HEIGHT * (1.0 - np.minimum(row / top, 1.0))
    x = (np.arange(BINS) + 0.5) * _WIDTH / BINS
    inner = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, heights, strict=True))
    return f"0,{_HEIGHT} {inner} {_WIDTH},{_HEIGHT}"
