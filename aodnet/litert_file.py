"""AOD-Net as a LiteRT (TFLite) file, float32 or with integers of 8 bits."""

import dataclasses
import hashlib
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aodnet.exported import INPUT, KEY, OUTPUT, Metadata, not_ours, package, read_metadata
from aodnet.silence import silence
from hazegen.errors import RefusedError

if TYPE_CHECKING:
    import keras

IDENTIFIER = b"TFL3"
OPS = {"CONV_2D", "CONCATENATION", "MUL", "SUB", "ADD", "RELU", "QUANTIZE", "DEQUANTIZE"}
# Of AOD-Net's file: 15 operators, 30 tensors. No more are read.
MOST = 256
NO_DIGEST = 64 * "0"


def convert(
    model: "keras.Model", metadata: Metadata, pictures: Sequence[NDArray[np.float32]] | None = None
) -> tuple[bytes, Metadata]:
    """The file, and the metadata in it.

    Input and output are float32 in either case, so that all formats are called alike.

    Args:
        model: The network.
        metadata: What to write into it; decides whether height and width are fixed.
        pictures: For integers of 8 bits: hazy pictures (height, width, 3) in [0, 1] whose values give the ranges.
    """
    import tensorflow as tf

    from aodnet.saved_model import as_function

    package("ai_edge_litert.schema_py_generated", "litert")  # before the work, not after it
    function = as_function(model, metadata).get_concrete_function()
    with silence():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
        if pictures is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([picture[None]] for picture in pictures)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        data = converter.convert()
    return _with_metadata(data, metadata)


def check(data: bytes, name: str) -> Metadata:
    """What a file says of itself, once it is known to hold AOD-Net's kinds of operators alone and to be whole.

    Raises:
        RefusedError: Another file.
    """
    schema = package("ai_edge_litert.schema_py_generated", "litert")
    try:
        return _check(schema, data, name)
    # What the generated reader raises where a file's offsets lead nowhere.
    except (struct.error, ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        if isinstance(error, RefusedError):
            raise
        raise not_ours(name, "a whole LiteRT file", type(error).__name__) from None


def _check(schema: Any, data: bytes, name: str) -> Metadata:
    model = schema.Model.GetRootAsModel(data, 0)
    if not schema.Model.ModelBufferHasIdentifier(data, 0):
        raise not_ours(name, "a LiteRT file", "something else")
    counts = (model.MetadataLength(), model.BuffersLength(), model.OperatorCodesLength())
    if max(counts) > MOST or model.SubgraphsLength() != 1:
        raise not_ours(name, "the graph of AOD-Net", "a larger one")
    held = [model.Metadata(number) for number in range(model.MetadataLength())]
    held = [item for item in held if item.Name() == KEY.encode()]
    metadata = read_metadata(_bytes(model.Buffers(held[0].Buffer())) if held else None, name)
    digest = _digest(data, metadata.content_sha256 or "")
    if digest != metadata.content_sha256:
        raise not_ours(name, "the content that its metadata name", "another: the file is changed or damaged")
    graph = model.Subgraphs(0)
    codes = [model.OperatorCodes(number) for number in range(model.OperatorCodesLength())]
    names = {value: key for key, value in vars(schema.BuiltinOperator).items()}
    strange = {names.get(code.BuiltinCode(), "unknown") for code in codes} - OPS
    if strange or max(graph.OperatorsLength(), graph.TensorsLength()) > MOST:
        raise not_ours(name, "operators of AOD-Net alone", f"also {sorted(strange)[:4]}")
    outside = any(model.Buffers(number).Offset() > 1 for number in range(model.BuffersLength()))
    signatures = [model.SignatureDefs(number) for number in range(min(model.SignatureDefsLength(), 2))]
    ends = [(_names(one.Inputs, one.InputsLength()), _names(one.Outputs, one.OutputsLength())) for one in signatures]
    if outside or ends != [([INPUT.encode()], [OUTPUT.encode()])]:
        raise not_ours(name, f"one signature from '{INPUT}' to '{OUTPUT}'", "others or none")
    return metadata


def _names(item: Any, length: int) -> list[bytes]:
    return [item(number).Name() for number in range(min(length, 2))]


def _bytes(buffer: Any) -> bytes:
    return b"" if buffer.DataIsNone() else buffer.DataAsNumpy().tobytes()


def _with_metadata(data: bytes, metadata: Metadata) -> tuple[bytes, Metadata]:
    """Adds the metadata, in which the digest is that of the file with zeros in the digest's place."""
    schema, flatbuffers = package("ai_edge_litert.schema_py_generated", "litert"), package("flatbuffers", "litert")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    model.description = f"AOD-Net: removes haze. {metadata.colour_order}, {metadata.range}."
    buffer, item = schema.BufferT(), schema.MetadataT()
    buffer.data = list(dataclasses.replace(metadata, content_sha256=NO_DIGEST).to_json().encode())
    item.name, item.buffer = KEY, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), item]
    builder = flatbuffers.Builder(len(data) + len(buffer.data) + 1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    data = bytes(builder.Output())
    digest = _digest(data, NO_DIGEST)
    return data.replace(NO_DIGEST.encode(), digest.encode()), dataclasses.replace(metadata, content_sha256=digest)


def _digest(data: bytes, written: str) -> str:
    """SHA-256 of a file with zeros in place of the digest that is written in it, once."""
    if len(written) != len(NO_DIGEST) or data.count(written.encode()) != 1:
        return ""
    return hashlib.sha256(data.replace(written.encode(), NO_DIGEST.encode())).hexdigest()
