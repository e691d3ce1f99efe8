"""Weight files: ours, those that come with the package, and the published ones that others have made.

Ours have the layout of Keras's .weights.h5, so that either reads the other's: layers/conv2d/vars/0 is the first
convolution's kernel, 1 its bias. They are read and written here, number by number: what else Keras follows or keeps
(links, stored elsewhere; the optimizer's state) has no place in them.
"""

import io
import math
from pathlib import Path
from typing import Any, Literal

import h5py
import keras
import numpy as np
from numpy.typing import NDArray

from aodnet import model as aodnet_model
from aodnet.arrays import MAX_BYTES, read_npz
from aodnet.weight_names import DEFAULT as DEFAULT
from aodnet.weight_names import PRETRAINED as PRETRAINED
from aodnet.weight_names import SUFFIX
from aodnet.weight_names import find_weights as find_weights
from aodnet.weight_names import shipped as shipped
from hazegen import stores
from hazegen.errors import RefusedError

Layout = Literal["caffe", "torch"]

_LAYERS = ("conv2d", "conv2d_1", "conv2d_2", "conv2d_3", "conv2d_4")  # Keras's names, in the paper's order

# What h5py says of files that are damaged or made to do harm.
_UNREADABLE = (ValueError, KeyError, OSError, RuntimeError, TypeError, AttributeError, OverflowError, MemoryError)
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
    """Writes a .weights.h5 file, under its final name only when it is complete.

    Raises:
        RefusedError: A weight is not finite; what was there stays.
    """
    if not is_finite(model):
        raise RefusedError(
            f"The weights for '{path}' are not finite. Expected numbers, received NaN or infinity. Nothing was "
            "written; go back to an earlier checkpoint."
        )
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, layer in zip(_LAYERS, aodnet_model.convolutions(model), strict=True):
            group = file.create_group(f"layers/{name}/vars")
            group.attrs["name"] = layer.name
            for number, variable in enumerate(layer.weights):
                group[str(number)] = variable.numpy().astype(np.float32)
    stores.sweep(path.parent, path.name)
    with stores.whole_file(path) as whole:
        whole.write(buffer.getvalue())


def load(path: Path) -> keras.Model:
    """AOD-Net with the weights of a .weights.h5 file; how wide it is, the file's shapes say.

    Only numbers are read: no code, no graph, nothing outside the file.

    Raises:
        RefusedError: Not such a file, or the weights of another network.
    """
    if not path.is_file() or not h5py.is_hdf5(path):
        raise RefusedError(
            f"'{path}' is no weight file. Expected a {SUFFIX} file of AOD-Net, received "
            f"{'another kind of file' if path.exists() else 'nothing'}. Train one with aodnet fit, or turn a .npz "
            "into one with aodnet import-weights."
        )
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes")
        with h5py.File(path, "r") as file:
            model = _read(file)
    except _UNREADABLE as error:
        raise RefusedError(
            f"The weights in '{path}' do not fit AOD-Net. Expected {_shapes(aodnet_model.build_aodnet())}, or those of "
            f"a wider one, received others ({(str(error).strip() or type(error).__name__).splitlines()[0]}). Choose "
            "weights of the published network."
        ) from None
    _check_finite(model, path)
    return model


def _read(file: h5py.File) -> keras.Model:
    """The network that fits a file's shapes, with its numbers.

    Raises:
        One of _UNREADABLE: There is none.
    """
    model = aodnet_model.build_aodnet(filters=_dataset(file, _LAYERS[0], 0).shape[-1])
    found = [
        (variable, _dataset(file, name, number))
        for name, layer in zip(_LAYERS, aodnet_model.convolutions(model), strict=True)
        for number, variable in enumerate(layer.weights)
    ]
    for variable, dataset in found:
        if dataset.shape != tuple(variable.shape):
            raise ValueError(f"{dataset.shape} in place of {tuple(variable.shape)}")
    for variable, dataset in found:
        variable.assign(_numbers(dataset))
    return model


def _dataset(file: h5py.File, layer: str, number: int) -> h5py.Dataset:
    """One variable of a layer, by links inside the file alone."""
    node: Any = file
    for name in ("layers", layer, "vars", str(number)):
        if not isinstance(node, h5py.Group) or not isinstance(node.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"'layers/{layer}/vars/{number}' is not in the file")
        node = node[name]
    if not isinstance(node, h5py.Dataset) or not node.shape:
        raise ValueError(f"'layers/{layer}/vars/{number}' is no array")
    return node


def _numbers(dataset: h5py.Dataset) -> NDArray[np.float32]:
    """The values of an array whose shape has been found right; kept elsewhere or blown up by its chunks, it is not."""
    if dataset.dtype.kind != "f":
        raise ValueError(f"numbers of type {dataset.dtype}")
    if dataset.is_virtual or dataset.external:
        raise ValueError("numbers that are kept in other files")
    if dataset.chunks is not None and math.prod(dataset.chunks) > dataset.size:
        raise ValueError(f"chunks of {dataset.chunks} for {dataset.shape}")
    with np.errstate(over="ignore"):  # of float64: what becomes infinite is refused with the rest
        values: NDArray[np.float32] = dataset[...].astype(np.float32)
    return values


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
