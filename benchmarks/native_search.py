"""The compiled trainer of benchmarks/native: scenes and hazes in memory, training steps, PSNR and SSIM.

It does what aodnet.model, losses and optimizer do, 5 times faster on a CPU with AVX-512 or AVX2; `agreement` holds it
against them.
"""

import ctypes
import hashlib
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from aodnet import model
from hazegen import color, images, manifest, records, sampling
from hazegen.recipe import Recipe

SOURCES = Path(__file__).parent / "native"
_FLAGS = ("-O3", "-march=native", "-ffast-math", "-fno-finite-math-only", "-fopenmp", "-shared", "-fPIC")
HAZE = np.dtype([("scene", "i4"), ("beta", "f4", 3), ("light", "f4", 3), ("turn", "i4")])
_LOSS_TERMS = ("l1", "l2", "charbonnier", "ssim", "log-mse")


class _Scenes(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("n", "height", "width")),
        *((name, ctypes.c_void_p) for name in ("clean", "distance", "unit_m", "camera")),
    ]


class _Settings(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("first_step", "steps", "all_steps", "batch", "crop", "poses")),
        ("seed", ctypes.c_uint64),
        *(
            (name, ctypes.c_float)
            for name in ("learning_rate", "final_share", "warmup", "weight_decay", "clip_norm", "beta_1", "beta_2")
        ),
        *((name, ctypes.c_float) for name in ("ema", "products_kept", "l1", "l2", "charbonnier", "ssim", "log_mse")),
    ]


@dataclass(frozen=True)
class Scenes:
    """Scenes of one size: sRGB codes (n, 3, h, w), distances (n, h, w) in units of unit_m, and fx, fy, cx, cy (n, 4).

    along_ray and largest_m are as in records.SCENE_FEATURES, (n,).
    """

    keys: list[str]
    clean: NDArray[np.uint8]
    distance: NDArray[np.uint16]
    unit_m: NDArray[np.float32]
    camera: NDArray[np.float32]
    largest_m: NDArray[np.float32]
    along_ray: NDArray[np.bool_]

    def as_c(self) -> _Scenes:
        n, _, height, width = self.clean.shape
        arrays = (self.clean, self.distance, self.unit_m, self.camera)
        return _Scenes(n, height, width, *(array.ctypes.data for array in arrays))


def read_scenes(folder: Path, split: str) -> Scenes:
    """All scenes of a split of a dataset of hazegen make --kind scenes, in memory; all of one size."""
    known = manifest.load(folder)
    found = [
        _read(records.decode(record, kind="scenes"), known.codec)
        for shard in known.shards_of(split)
        for record in records.read_shard(folder / shard.name)
    ]
    keys, clean, distance, unit_m, camera, largest_m, along_ray = zip(*found, strict=True)
    return Scenes(
        list(keys), np.stack(clean), np.stack(distance), np.array(unit_m, np.float32), np.array(camera, np.float32),
        np.array(largest_m, np.float32), np.array(along_ray, bool),
    )  # fmt: skip


def joined(parts: Sequence[Scenes]) -> Scenes:
    """The scenes of all parts, one after the other."""
    names = [field.name for field in fields(Scenes) if field.name != "keys"]
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Scenes([key for part in parts for key in part.keys], **arrays)


def _read(values: dict, codec: str) -> tuple:
    size = values["height"], values["width"]
    clean = images.decode_stored(values["clean"], codec, *size, values["key"])
    distance = np.frombuffer(values["distance"], "<u2").reshape(size)
    names = ("distance_unit_m", "camera", "largest_m", "along_ray")
    return values["key"], np.ascontiguousarray(clean.transpose(2, 0, 1)), distance, *(values[name] for name in names)


def draw(scenes: Scenes, number: int, recipe: Recipe, rng: np.random.Generator) -> NDArray:
    """One haze for scene `number`, by hazegen's own law, without effects beside beta and light."""
    unit_m = sampling.metres_per_unit(recipe, float(scenes.largest_m[number]))
    haze = sampling.draw(recipe, rng, variant=0, unit_m=unit_m)
    turn = int(recipe.path == "ray") - int(scenes.along_ray[number])
    return np.array((number, haze.beta, haze.atmospheric_light, turn), HAZE)


@dataclass
class Run:
    """A network in training: weights, moments and moving average, as one vector each."""

    filters: int
    weights: NDArray[np.float32]
    step: int = 0
    first: NDArray[np.float32] = field(init=False)
    second: NDArray[np.float32] = field(init=False)
    average: NDArray[np.float32] = field(init=False)
    products: NDArray[np.float32] | None = None
    basis: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        self.first, self.second = np.zeros_like(self.weights), np.zeros_like(self.weights)
        self.average = self.weights.copy()

    def sizes(self) -> list[int]:
        """Parameters of each layer."""
        f = self.filters
        return [4 * f, 9 * f * f + f, 50 * f * f + f, 98 * f * f + f, 108 * f + 3]

    def turn(self, batch: int) -> None:
        """Takes as coordinates the eigenvectors of the mean outer product of gradients, layer by layer.

        Moments turn with them: the first exactly, the second to what the eigenvalues say of means over a batch.
        """
        assert self.products is not None
        basis, at, first = [], 0, 0
        for size in self.sizes():
            layer = slice(first, first + size)
            values, vectors = np.linalg.eigh(self.products[at : at + size**2].reshape(size, size).astype(np.float64))
            moment = self.first[layer].astype(np.float64)
            if self.basis is not None:
                moment = moment @ self.basis[at : at + size**2].reshape(size, size)
            self.first[layer], self.second[layer] = vectors.T @ moment, np.maximum(values, 0.0) / batch
            basis.append(vectors.T.ravel())
            at, first = at + size**2, first + size
        self.basis = np.concatenate(basis).astype(np.float32)


def train(
    library: ctypes.CDLL, run: Run, scenes: Scenes, hazes: NDArray, steps: int, settings: Mapping[str, Any]
) -> float:
    """Goes on for `steps` steps with hazes drawn from the table at random. Returns the mean loss.

    Args:
        settings: As in experiments_trials.BASE; `steps` there are those of the whole run, for the schedule.
    """
    words = {name: settings[name] for name, _ in _Settings._fields_ if name in settings and name != "steps"}
    terms = dict(part.split("=") for part in settings["loss"].replace(" ", "").split(","))
    words |= {name.replace("-", "_"): float(terms.get(name, 0.0)) for name in _LOSS_TERMS}
    given = _Settings(first_step=run.step, steps=steps, all_steps=settings["steps"], **words)
    if settings["turn_steps"] and run.products is None:
        run.products = np.zeros(sum(size**2 for size in run.sizes()), np.float32)
    vectors = (run.weights, run.first, run.second, run.average)
    loss = library.train(
        run.filters, ctypes.byref(scenes.as_c()), len(hazes), _at(hazes), ctypes.byref(given), *map(_at, vectors),
        None if run.basis is None else _at(run.basis), None if run.products is None else _at(run.products),
    )  # fmt: skip
    run.step += steps
    return float(loss)


def score(
    library: ctypes.CDLL, filters: int, weights: NDArray, scenes: Scenes, hazes: NDArray, mode: int = 0
) -> tuple[NDArray, NDArray]:
    """PSNR [dB] and SSIM of each haze, whole frames, outputs rounded to 8 bits (protocol rgb).

    Args:
        mode: 0: the network. 1: x2, x3, x4 replaced by their means and K's kernel by its sum, so that it sees one
            pixel alone. 2: the hazy picture itself.
    """
    psnr, ssim = np.empty(len(hazes)), np.empty(len(hazes))
    weights = np.ascontiguousarray(weights, np.float32)
    library.score(
        filters, ctypes.byref(scenes.as_c()), len(hazes), _at(hazes), _at(weights), mode, _at(psnr), _at(ssim)
    )
    return psnr, ssim


def compile_library(folder: Path) -> ctypes.CDLL:
    """The library for this machine, built with g++ where it was not built from these sources before."""
    sources = sorted(SOURCES.glob("*.?pp"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    built = folder / f"libsearch-{digest}.so"
    if not built.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["g++", *_FLAGS, "-o", str(built), str(SOURCES / "search.cpp")], check=True)
    library = ctypes.CDLL(str(built.resolve()))
    library.train.restype = ctypes.c_double
    return library


def window(scenes: Scenes, haze: NDArray, side: int) -> Scenes:
    """The scene of one haze, cut to its upper left corner."""
    number = int(haze["scene"])
    one = {f.name: getattr(scenes, f.name)[number : number + 1] for f in fields(Scenes)}
    corner = {name: np.ascontiguousarray(one[name][..., :side, :side]) for name in ("clean", "distance")}
    return Scenes(**one | corner)


def hazed(scenes: Scenes, haze: NDArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Hazy and clean picture of the first scene, float32 (height, width, 3), by hazegen.physics."""
    clean = color.to_float(scenes.clean[0].transpose(1, 2, 0))
    length_m = scenes.distance[0] * scenes.unit_m[0]
    transmission = np.exp(-length_m[..., None] * haze["beta"])
    return color.to_float(color.to_uint8(clean * transmission + haze["light"] * (1.0 - transmission))), clean


def _at(array: NDArray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def from_keras(network: keras.Model) -> NDArray[np.float32]:
    """The weights of a network as one vector: kernels as (out, in, height, width), each before its bias."""
    return flat([values for layer in model.convolutions(network) for values in layer.get_weights()])


def flat(arrays: Sequence[NDArray]) -> NDArray[np.float32]:
    """Keras's kernels and biases in turn, or their gradients, as that vector."""
    turned = [array.transpose(3, 2, 0, 1) if array.ndim == 4 else array for array in arrays]
    return np.concatenate([array.ravel() for array in turned]).astype(np.float32)


def to_keras(vector: NDArray[np.float32], filters: int = 3) -> keras.Model:
    """The network of such a vector."""
    network, at = model.build_aodnet(filters=filters), 0
    for layer in model.convolutions(network):
        height, width, inputs, outputs = layer.kernel.shape
        size = height * width * inputs * outputs
        kernel = vector[at : at + size].reshape(outputs, inputs, height, width).transpose(2, 3, 1, 0)
        layer.set_weights([kernel, vector[at + size : at + size + outputs]])
        at += size + outputs
    return network
