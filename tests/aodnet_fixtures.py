"""What the tests of aodnet share: small datasets of exactly known content, and slow references."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hazegen import config, images, manifest, records
from hazegen.make import MakeOptions, make
from hazegen.manifest import Manifest
from hazegen.recipe import Recipe

DEPTH_M = 10.0


def noise(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """A picture in which no window looks like another one."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def smooth(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """A picture with large shapes, as photos have them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(2 * np.pi * (rng.uniform(-3, 3) * x + rng.uniform(-3, 3) * y + rng.uniform())) for _ in range(3)]
    return np.rint(127.5 + 110.0 * np.stack(waves, axis=2)).astype(np.uint8)


def make_dataset(
    folder: Path,
    counts: dict[str, int],
    *,
    size: tuple[int, int] = (40, 52),
    picture=noise,
    variants: int = 2,
    codec: str = "png",
    shard_mb: float = 64.0,
    recipe: dict[str, object] | None = None,
) -> Path:
    """A finished dataset with `counts` scenes in each split, all at one depth, so that hazy = gain clean + offset."""
    keys = [(f"s{number:03d}", split) for split, count in counts.items() for number in range(count)]
    keys = [(f"{split}-{key}", split) for key, split in keys]
    (folder / "images").mkdir(parents=True)
    for number, (key, _) in enumerate(keys):
        (folder / "images" / f"{key}.png").write_bytes(images.encode(picture(number, *size), ".png"))
    rows = "\n".join(f"{key},{split}" for key, split in keys)
    (folder / "splits.csv").write_text(f"key,split\n{rows}\n", encoding="utf-8")
    values = {"name": "test", "path": "plane", "beta": "uniform(0.02, 0.1)", "atmospheric_light": "uniform(0.7, 1.0)"}
    options = MakeOptions(
        images=folder / "images", flat_depth=DEPTH_M, out=folder / "dataset", variants=variants, codec=codec,
        split_file=folder / "splits.csv", shard_mb=shard_mb, workers=1,
    )  # fmt: skip
    make(options, config.build(Recipe, {**values, **(recipe or {})}))
    return folder / "dataset"


def read_records(folder: Path, split: str) -> list[dict]:
    """All records of a split in the order of its shards, pictures decoded by OpenCV."""
    known: Manifest = manifest.load(folder)
    found = []
    for shard in known.shards_of(split):
        for record in records.read_shard(folder / shard.name):
            values = records.decode(record)
            found.append(values | {name: images.decode(values[name], name) for name in ("clean", "hazy")})
    return found


def convolve(image: NDArray[np.float64], kernel: NDArray[np.float64], bias: NDArray[np.float64]) -> NDArray[np.float64]:
    """A convolution with zero padding, one output pixel at a time; kernel (out, in, height, width)."""
    half = kernel.shape[2] // 2
    padded = np.pad(image, ((half, half), (half, half), (0, 0)))
    result = np.empty((*image.shape[:2], kernel.shape[0]))
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            patch = padded[row : row + kernel.shape[2], column : column + kernel.shape[3]]
            result[row, column] = [
                np.sum(patch * one.transpose(1, 2, 0)) + b for one, b in zip(kernel, bias, strict=True)
            ]
    return result


def slow_aodnet(image: NDArray[np.float64], layers: list[tuple[NDArray, NDArray]]) -> NDArray[np.float64]:
    """AOD-Net in float64, from the paper's text alone; layers are (kernel as (out, in, h, w), bias)."""

    def layer(number: int, *features: NDArray[np.float64]) -> NDArray[np.float64]:
        kernel, bias = (values.astype(np.float64) for values in layers[number - 1])
        return np.maximum(convolve(np.concatenate(features, axis=2), kernel, bias), 0.0)

    x1 = layer(1, image)
    x2 = layer(2, x1)
    x3 = layer(3, x1, x2)
    x4 = layer(4, x2, x3)
    k = layer(5, x1, x2, x3, x4)
    return np.maximum(k * image - k + 1.0, 0.0)


def randomised(model, seed: int, scale: float = 0.25):
    """`model` with random weights and biases: nothing is 0, and K is not 1."""
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        fan = max(1.0, np.prod(variable.shape[:-1]) if len(variable.shape) > 1 else 1.0)
        spread = scale if len(variable.shape) == 1 else 1.5 / np.sqrt(fan)
        variable.assign(rng.normal(0.1 if len(variable.shape) == 1 else 0.0, spread, variable.shape))
    return model


def published_layers(model) -> list[tuple[NDArray, NDArray]]:
    """The model's weights in the published layout, (out, in, h, w)."""
    from aodnet import model as aodnet_model

    return [
        (kernel.transpose(3, 2, 0, 1), bias)
        for kernel, bias in (layer.get_weights() for layer in aodnet_model.convolutions(model))
    ]
