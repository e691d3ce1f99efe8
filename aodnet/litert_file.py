"""AOD-Net as a LiteRT (TFLite) file, float32 or with integers of 8 bits."""

import copy
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
# Of AOD-Net's file: 16 operators, 36 tensors. No more are read.
MOST = 256
NO_DIGEST = 64 * "0"


def convert(
    model: "keras.Model", metadata: Metadata, pictures: Sequence[NDArray[np.float32]] | None = None
) -> tuple[bytes, Metadata]:
    """The file, and the metadata in it.

    Input and output are float32 in either case, so that all formats are called alike. Integers end at K: each rounding
    of K I, K I - K and J to 8 bits would be an error of the picture itself.

    Args:
        model: The network.
        metadata: What to write into it; decides whether height and width are fixed.
        pictures: For integers of 8 bits: hazy pictures (height, width, 3) in [0, 1] whose values give the ranges.
    """
    import tensorflow as tf

    from aodnet.saved_model import as_function

    package("ai_edge_litert.schema_py_generated", "litert")  # before the work, not after it
    if pictures is not None:
        return _with_metadata(_of_integers(model, metadata, pictures), metadata)
    function = as_function(model, metadata).get_concrete_function()
    with silence():
        data = tf.lite.TFLiteConverter.from_concrete_functions([function], model).convert()
    return _with_metadata(data, metadata)


def _of_integers(model: "keras.Model", metadata: Metadata, pictures: Sequence[NDArray[np.float32]]) -> bytes:
    """K by weights and activations of 8 bits, and from it the clean image in float32."""
    import keras
    import tensorflow as tf

    from aodnet.equalised import equalised
    from aodnet.model import BIAS
    from aodnet.saved_model import as_function

    equal = equalised(model, pictures)
    function = as_function(keras.Model(equal.input, equal.get_layer("k").output), metadata).get_concrete_function()
    with silence():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], equal)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([picture[None]] for picture in pictures)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        return _with_last_line(converter.convert(), BIAS)


def _with_last_line(data: bytes, bias: float) -> bytes:
    """A file whose output is K, continued by ReLU(K I - K + bias) in float32.

    The converter has no option that leaves single operators in float: it makes all of them integers or none.
    """
    schema = package("ai_edge_litert.schema_py_generated", "litert")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    graph = model.subgraphs[0]
    hazy, k = graph.inputs[0], graph.outputs[0]
    buffer = schema.BufferT()
    buffer.data = list(np.float32(bias).tobytes())
    model.buffers.append(buffer)
    b = _add_tensor(graph, k, "b")
    graph.tensors[b].buffer, graph.tensors[b].shape, graph.tensors[b].shapeSignature = len(model.buffers) - 1, [], None
    k_hazy = _add_operator(schema, model, "MUL", (k, hazy))
    less_k = _add_operator(schema, model, "SUB", (k_hazy, k))
    clean = _add_operator(schema, model, "ADD", (less_k, b), schema.ActivationFunctionType.RELU)
    graph.outputs = [clean]
    model.signatureDefs[0].outputs[0].tensorIndex = clean
    return _packed(model, len(data))


def _add_operator(schema: Any, model: Any, name: str, inputs: tuple[int, int], activation: int = 0) -> int:
    """Adds one of MUL, SUB and ADD, and returns the number of the tensor that it gives."""
    code, operator = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
    code.version = 1
    model.operatorCodes.append(code)
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{name.title()}Options")
    operator.builtinOptions = getattr(schema, f"{name.title()}OptionsT")()
    operator.builtinOptions.fusedActivationFunction = activation
    graph = model.subgraphs[0]
    operator.inputs, operator.outputs = list(inputs), [_add_tensor(graph, graph.outputs[0], name.lower())]
    graph.operators.append(operator)
    return int(operator.outputs[0])


def _add_tensor(graph: Any, like: int, name: str) -> int:
    """Adds a tensor without content, of the type and shape of another one, and returns its number."""
    tensor = copy.copy(graph.tensors[like])
    tensor.name, tensor.buffer = f"last/{name}", 0
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


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
    schema = package("ai_edge_litert.schema_py_generated", "litert")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    model.description = f"AOD-Net: removes haze. {metadata.colour_order}, {metadata.range}."
    buffer, item = schema.BufferT(), schema.MetadataT()
    buffer.data = list(dataclasses.replace(metadata, content_sha256=NO_DIGEST).to_json().encode())
    item.name, item.buffer = KEY, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), item]
    data = _packed(model, len(data) + len(buffer.data))
    digest = _digest(data, NO_DIGEST)
    return data.replace(NO_DIGEST.encode(), digest.encode()), dataclasses.replace(metadata, content_sha256=digest)


def _packed(model: Any, about: int) -> bytes:
    """The bytes of a model of the generated schema."""
    builder = package("flatbuffers", "litert").Builder(about + 4096)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _digest(data: bytes, written: str) -> str:
    """SHA-256 of a file with zeros in place of the digest that is written in it, once."""
    if len(written) != len(NO_DIGEST) or data.count(written.encode()) != 1:
        return ""
    return hashlib.sha256(data.replace(written.encode(), NO_DIGEST.encode())).hexdigest()
