"""AOD-Net as an ONNX graph, built node by node, and back.

Built by hand in place of tf2onnx: the network is five convolutions, so the graph is shorter than a converter's
options; it depends on onnx alone, has no node that the paper does not have (but two transpositions), and because the
same function builds the graph that a file must hold, a file is checked by comparing the two.

References:
    ONNX operators, version 13 of the default domain.
"""

from typing import Any

import numpy as np

from aodnet.exported import INPUT, KEY, LAYERS, OUTPUT, Layers, Metadata, not_ours, package, read_metadata
from aodnet.exported import weights_digest as digest_of

OPSET = 13  # in every ONNX Runtime since 2020
IR = 8
BIAS = 1.0  # b of J = ReLU(K I - K + b); a test holds it against model.BIAS


def build(layers: Layers, metadata: Metadata) -> bytes:
    """The file: input `hazy` and output `clean`, float32 (count, height, width, 3).

    Args:
        layers: The weights.
        metadata: Goes into metadata_props; decides whether height and width are fixed.
    """
    onnx = package("onnx", "onnx")
    model = onnx.helper.make_model(
        _graph(layers, metadata),
        producer_name="aodnet",
        ir_version=IR,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        doc_string=f"AOD-Net: removes haze. {INPUT} and {OUTPUT} are {metadata.colour_order}, {metadata.range}.",
    )
    model.metadata_props.add(key=KEY, value=metadata.to_json())
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def check(data: bytes, name: str) -> Metadata:
    """What a file says of itself, once it is known to hold AOD-Net and nothing else.

    Its graph must be, node by node, the one that `build` makes of its weights, and these must be whole.

    Raises:
        RefusedError: Another file.
    """
    onnx = package("onnx", "onnx")
    message = package("google.protobuf.message", "onnx")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except message.DecodeError:
        raise not_ours(name, "an ONNX file", "something else, or a part of one") from None
    texts = {item.key: item.value for item in model.metadata_props}
    metadata = read_metadata(texts.get(KEY), name)
    layers = _layers(model, metadata.filters, name)
    opsets = [(item.domain, item.version) for item in model.opset_import]
    if opsets != [("", OPSET)] or len(model.functions) or len(model.training_info):
        raise not_ours(name, f"operators of version {OPSET} alone", f"{opsets[:3]}, functions or training")
    if model.graph != _graph(layers, metadata):
        raise not_ours(name, "the graph of AOD-Net", "another one")
    if digest_of(layers) != metadata.weights_sha256 or not all(np.isfinite(w).all() for pair in layers for w in pair):
        raise not_ours(name, "the weights that its metadata name", "others: the file is damaged")
    return metadata


def shapes(filters: int) -> list[tuple[int, ...]]:
    """Shapes (height, width, in, out) of the five kernels."""
    out = {INPUT: 3, **{name: filters for name, _, _ in LAYERS[:-1]}, LAYERS[-1][0]: 3}
    return [(size, size, sum(out[one] for one in seen), out[name]) for name, size, seen in LAYERS]


def _layers(model: Any, filters: int, name: str) -> Layers:
    """The weights of a file; nothing is read from other files."""
    numpy_helper, proto = package("onnx.numpy_helper", "onnx"), package("onnx", "onnx").TensorProto
    stored = {item.name: item for item in model.graph.initializer}
    layers: Layers = []
    for (layer, _, _), shape in zip(LAYERS, shapes(filters), strict=True):
        values = []
        for key, expected in ((f"{layer}_kernel", (shape[3], shape[2], *shape[:2])), (f"{layer}_bias", shape[3:])):
            item = stored.get(key)
            if item is None or (item.data_type, item.data_location) != (proto.FLOAT, proto.DEFAULT):
                raise not_ours(name, f"float32 weights '{key}'", "none, or others")
            if tuple(item.dims) != expected or len(item.raw_data) != 4 * int(np.prod(expected)):
                raise not_ours(name, f"weights '{key}' of shape {expected}", f"{tuple(item.dims)}")
            values.append(numpy_helper.to_array(item))
        layers.append((values[0].transpose(2, 3, 1, 0), values[1]))
    return layers


def _graph(layers: Layers, metadata: Metadata) -> Any:
    onnx = package("onnx", "onnx")
    node = onnx.helper.make_node
    # ONNX convolves (count, channels, height, width); pictures lie in memory as (count, height, width, channels).
    nodes = [node("Transpose", [INPUT], ["planes"], perm=[0, 3, 1, 2], name="to_planes")]
    weights = [onnx.numpy_helper.from_array(np.full((), BIAS, np.float32), "b")]
    outputs = {INPUT: "planes"}
    for (name, size, seen), (kernel, bias) in zip(LAYERS, layers, strict=True):
        source = outputs[seen[0]]
        if len(seen) > 1:
            source = f"{name}_seen"
            nodes.append(node("Concat", [outputs[one] for one in seen], [source], axis=1, name=source))
        inputs = [source, f"{name}_kernel", f"{name}_bias"]
        around = [size // 2] * 4
        nodes.append(node("Conv", inputs, [f"{name}_sum"], kernel_shape=[size, size], pads=around, name=name))
        nodes.append(node("Relu", [f"{name}_sum"], [name], name=f"{name}_relu"))
        planes = np.ascontiguousarray(np.asarray(kernel, np.float32).transpose(3, 2, 0, 1))
        weights.append(onnx.numpy_helper.from_array(planes, f"{name}_kernel"))
        weights.append(onnx.numpy_helper.from_array(np.asarray(bias, np.float32), f"{name}_bias"))
        outputs[name] = name
    # Eq. 4 of the paper.
    nodes += [
        node("Mul", ["k", "planes"], ["k_hazy"], name="k_hazy"),
        node("Sub", ["k_hazy", "k"], ["k_hazy_less_k"], name="k_hazy_less_k"),
        node("Add", ["k_hazy_less_k", "b"], ["restored"], name="restored"),
        node("Relu", ["restored"], ["clean_planes"], name="clean_planes"),
        node("Transpose", ["clean_planes"], [OUTPUT], perm=[0, 2, 3, 1], name="to_pixels"),
    ]
    shape = ["count", metadata.height or "height", metadata.width or "width", 3]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in (INPUT, OUTPUT)]
    return onnx.helper.make_graph(nodes, "aodnet", ends[:1], ends[1:], initializer=weights)
