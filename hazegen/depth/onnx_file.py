"""An ONNX file before it runs: what it is made of, held against what may be run."""

import hashlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hazegen import stores
from hazegen.errors import RefusedError, UsageError

# A protocol buffer of 2 GiB cannot be read: larger networks keep their weights in files of their own.
MAX_MODEL_BYTES = (1 << 31) - 1
# Operators that onnxruntime has built in; others would need a library to be loaded.
DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")


def check_file(path: Path) -> str:
    """SHA-256 of a network's file and of the files of its weights, once it is known what they are.

    Nothing is run: the file is parsed as a protocol buffer. How much time and memory a network takes when
    it runs is not bounded here.

    Raises:
        UsageError: The onnx package is missing.
        RefusedError: Not a complete ONNX file; weights outside of its folder; operators that are not built in.
    """
    onnx, protobuf = package("onnx"), package("google.protobuf.message")
    stores.on_disk(path, "A depth network")
    size = path.stat().st_size if path.is_file() else None
    if size is None or size > MAX_MODEL_BYTES:
        raise not_usable(path, f"an ONNX file of at most {MAX_MODEL_BYTES} bytes", f"{size or 'no file'}", "Check it.")
    data = path.read_bytes()
    try:
        model = onnx.load_model_from_string(data)
    except (protobuf.DecodeError, ValueError) as error:
        raise not_usable(path, "a complete ONNX file", f"{size} bytes ({error})", "Copy it again.") from None
    if not model.graph.node:
        raise not_usable(path, "a complete ONNX file", f"{size} bytes without an operator in them", "Copy it again.")
    known = {*DOMAINS, *(function.domain for function in model.functions)}
    digest, others = hashlib.sha256(data), set[str]()
    for item in _messages(model):
        if isinstance(item, onnx.NodeProto) and item.domain not in known:
            received = f"'{item.domain}.{item.op_type}'"
            raise not_usable(path, "operators that onnxruntime has built in", received, "Export it without them.")
        if isinstance(item, onnx.TensorProto) and item.data_location == onnx.TensorProto.EXTERNAL:
            others.update(entry.value for entry in item.external_data if entry.key == "location")
    for location in sorted(others):
        digest.update(_external(path, location))
    return digest.hexdigest()


def package(name: str) -> Any:
    """One of the packages of the extra 'onnx'.

    Raises:
        UsageError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"Depth networks need a package that is not installed. Expected onnx and onnxruntime, received: {error}. "
            "Run pip install 'hazegen[onnx]'."
        ) from None


def _messages(message: Any) -> Iterator[Any]:
    """A protocol buffer and all that lie in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in [value] if hasattr(value, "ListFields") else value:
                yield from _messages(item)


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
