"""Writers of depth files in every container, for the tests alone."""

import io
import struct
from pathlib import Path

import numpy as np

from hazegen import images

MATLAB_73 = b"MATLAB 7.3 MAT-file, written by a test".ljust(124) + struct.pack("<H2s", 0x0200, b"IM")


def npy(array: np.ndarray, **options: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def pfm(array: np.ndarray, scale: float = -1.0) -> bytes:
    """A PFM file; the sign of `scale` decides the order of bytes."""
    kind = "PF" if array.ndim == 3 else "Pf"
    head = f"{kind}\n{array.shape[1]} {array.shape[0]}\n{scale}\n".encode()
    return head + array[::-1].astype("<f4" if scale < 0 else ">f4").tobytes()


def write_hdf5(path: Path, arrays: dict[str, np.ndarray], **options) -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, **options)
    return path


def write_matlab_73(path: Path, arrays: dict[str, np.ndarray], **options) -> Path:
    """MATLAB's HDF5: 512 bytes of text first, and all axes in reverse."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array.T, **options)
    with path.open("r+b") as file:
        file.write(MATLAB_73)
    return path


def write_exr(path: Path, channels: dict[str, np.ndarray], **header) -> Path:
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage} | header
    with OpenEXR.File(header, channels) as file:
        file.write(str(path))
    return path


def write(path: Path, array: np.ndarray, dataset: str = "depth") -> Path:
    """One map in the container that the suffix names."""
    import scipy.io

    suffix = path.suffix
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".npy":
        path.write_bytes(npy(array))
    elif suffix == ".pfm":
        path.write_bytes(pfm(array))
    elif suffix == ".npz":
        np.savez_compressed(path, **{dataset: array})
    elif suffix == ".mat":
        scipy.io.savemat(path, {dataset: array}, do_compression=True)
    elif suffix in (".h5", ".hdf5"):
        write_hdf5(path, {dataset: array}, compression="gzip")
    elif suffix == ".exr":
        write_exr(path, {"Y": array})
    else:
        path.write_bytes(images.encode(array, suffix))
    return path
