"""An ONNX file before it runs: what it is made of, held against what may be run."""

import hashlib
import importlib
from pathlib import Path
from typing import Any

from hazegen import onnx_bytes, stores
from hazegen.errors import RefusedError, UsageError

# A protocol buffer of 2 GiB cannot be read: larger networks keep their weights in files of their own.
MAX_MODEL_BYTES = (1 << 31) - 1


def check_file(path: Path) -> str:
    """SHA-256 of a network's file and of the files of its weights, once it is known what they are.

    Raises:
        RefusedError: Not a complete ONNX file; other weights than their shapes say, or outside of its folder;
            operators that are not built in.
    """
    stores.on_disk(path, "A depth network")
    size = path.stat().st_size if path.is_file() else None
    if size is None or size > MAX_MODEL_BYTES:
        raise not_usable(path, f"an ONNX file of at most {MAX_MODEL_BYTES} bytes", f"{size or 'no file'}", "Check it.")
    data = path.read_bytes()
    try:
        onnx_bytes.graph_of(memoryview(data))
        elsewhere = onnx_bytes.check(memoryview(data))
    except onnx_bytes.Unusable as error:
        raise not_usable(path, *error.args) from None
    except (ValueError, RecursionError) as error:
        raise not_usable(path, "a complete ONNX file", f"{size} bytes ({error})", "Copy it again.") from None
    digest = hashlib.sha256(data)
    for location in sorted({location for _, location in elsewhere}):
        digest.update(_external(path, location))
    return digest.hexdigest()


def package(name: str) -> Any:
    """A package of the extra 'onnx'.

    Raises:
        UsageError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"Depth networks need a package that is not installed. Expected {name}, received: {error}. "
            "Run pip install 'hazegen[onnx]'."
        ) from None


def _external(path: Path, location: str) -> bytes:
    """Digest of a file of weights, which has to lie in the network's own folder."""
    folder = path.parent.resolve()
    target = folder if "\0" in location else (folder / location).resolve()
    if not target.is_relative_to(folder) or not target.is_file():
        raise not_usable(
            path, "files of weights in its own folder", f"{location!r}", "Put them there, or export it as one file."
        )
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def not_usable(path: Path, expected: str, received: str, todo: str) -> RefusedError:
    """The error about a file that is no depth network that can be run."""
    return RefusedError(f"'{path.name}' is no depth network for us. Expected {expected}, received {received}. {todo}")
