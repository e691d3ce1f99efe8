"""Weight files: ours, and the published ones that others have made."""

import warnings
from pathlib import Path
from typing import Literal

import h5py
import keras
import numpy as np

from aodnet import model as aodnet_model
from aodnet.arrays import read_npz
from hazegen.errors import RefusedError

Layout = Literal["caffe", "torch"]

# Smaller magnitudes are denormals or on the way there: 801 of the 1,761 values of one published set
# made inference on a CPU 48 times slower.
SMALLEST = 1e-20


def flush_small(model: keras.Model) -> int:
    """Sets weights below 1e-20 to 0. Returns how many there were."""
    changed = 0
    for variable in model.trainable_variables:
        values = variable.numpy()
        small = (np.abs(values) < SMALLEST) & (values != 0)
        if small.any():
            variable.assign(np.where(small, 0.0, values))
            changed += int(small.sum())
    return changed


def save(model: keras.Model, path: Path) -> None:
    """Writes a .weights.h5 file, under its final name only when it is complete."""
    temporary = path.with_name(f".{path.name.removesuffix('.weights.h5')}.tmp.weights.h5")
    model.save_weights(temporary)
    temporary.replace(path)


def load(path: Path) -> keras.Model:
    """AOD-Net with the weights of a .weights.h5 file. Only numbers are read: no code, no graph.

    Raises:
        RefusedError: Not such a file, or the weights of another network.
    """
    if not path.is_file() or not h5py.is_hdf5(path):
        raise RefusedError(
            f"'{path}' is no weight file. Expected a .weights.h5 file of AOD-Net, received "
            f"{'another kind of file' if path.exists() else 'nothing'}. Train one with aodnet fit, or turn a .npz "
            "into one with aodnet import-weights."
        )
    model = aodnet_model.build_aodnet()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Skipping nested container", UserWarning)
            model.load_weights(path)
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        raise RefusedError(
            f"The weights in '{path}' do not fit AOD-Net. Expected {_shapes(model)}, received others "
            f"({str(error).strip().splitlines()[0]}). Choose weights of the published network."
        ) from None
    _check_finite(model, path)
    return model


def import_npz(path: Path, layout: Layout | None = None) -> keras.Model:
    """AOD-Net with published weights from a .npz file.

    Args:
        path: Holds {layout}_conv1_w ... {layout}_conv5_b, kernels as (out, in, height, width).
        layout: 'caffe' (the authors') or 'torch'; None takes the only one in the file.

    Raises:
        RefusedError: Not such a file, no or several layouts, or another shape.
    """
    try:
        arrays = read_npz(path)
    except (OSError, ValueError) as error:
        raise RefusedError(
            f"'{path}' cannot be read. Expected a .npz file of arrays, received: {error}. Check the path."
        ) from None
    layout = layout or _only_layout(path, arrays)
    model = aodnet_model.build_aodnet()
    for number, layer in enumerate(aodnet_model.convolutions(model), start=1):
        names = (f"{layout}_conv{number}_w", f"{layout}_conv{number}_b")
        kernel, bias = (arrays.get(name, np.zeros(0)) for name in names)
        kernel = kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel
        expected = [variable.shape for variable in layer.weights]
        if [kernel.shape, bias.shape] != expected:
            raise RefusedError(
                f"The weights of convolution {number} in '{path}' do not fit AOD-Net. Expected {names} of shapes "
                f"{expected} (after transposing), received {[kernel.shape, bias.shape]}. Choose weights of the "
                "published network."
            )
        if kernel.dtype.kind not in "fiu" or bias.dtype.kind not in "fiu":
            raise RefusedError(
                f"The weights of convolution {number} in '{path}' are no numbers. Expected real numbers, received "
                f"{kernel.dtype} and {bias.dtype}. Choose another file."
            )
        layer.set_weights([kernel.astype(np.float32), bias.astype(np.float32)])
    _check_finite(model, path)
    flush_small(model)
    return model


def is_finite(model: keras.Model) -> bool:
    """Whether every weight is a number."""
    return all(np.isfinite(variable.numpy()).all() for variable in model.trainable_variables)


def _check_finite(model: keras.Model, path: Path) -> None:
    if not is_finite(model):
        raise RefusedError(
            f"The weights in '{path}' are not finite. Expected numbers, received NaN or infinity. Choose another file."
        )


def _only_layout(path: Path, arrays: dict[str, np.ndarray]) -> Layout:
    layouts: list[Layout] = [name for name in ("caffe", "torch") if f"{name}_conv1_w" in arrays]
    if len(layouts) != 1:
        raise RefusedError(
            f"'{path}' does not say which weights to take. Expected keys caffe_conv1_w ... or torch_conv1_w ..., "
            f"received {'both' if layouts else sorted(arrays)[:4]}. Pass --layout caffe or --layout torch."
        )
    return layouts[0]


def _shapes(model: keras.Model) -> str:
    return ", ".join(str(tuple(layer.kernel.shape)) for layer in aodnet_model.convolutions(model))
