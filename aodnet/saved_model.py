"""AOD-Net as a TensorFlow SavedModel, with its weights as constants of the graph."""

import dataclasses
import hashlib
import importlib
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from aodnet.exported import INPUT, OUTPUT, Metadata, not_ours, read_bytes, read_metadata

SIGNATURE = "serving_default"
# Of TensorFlow's layout, the folder for what others add.
METADATA = Path("assets.extra") / "aodnet.json"
PROGRAM = "saved_model.pb"
# What AOD-Net consists of; what TensorFlow adds to every SavedModel for saving and restoring variables, in functions of
# their own; and the objects that name functions.
NETWORK_OPS = {
    *("AddV2", "BiasAdd", "ConcatV2", "Const", "Conv2D", "Identity", "Mul", "NoOp", "Placeholder", "Relu", "Reshape"),
    *("Squeeze", "Sub", "PartitionedCall", "StatefulPartitionedCall"),
}
SAVER_OPS = {
    *("MergeV2Checkpoints", "Pack", "RestoreV2", "SaveV2", "Select", "ShardedFilename", "StaticRegexFullMatch"),
    "StringJoin",
}
OBJECTS = {"_generic_user_object", "signature_map", "function", "bare_concrete_function", "constant"}


def as_function(model: keras.Model, metadata: Metadata) -> Any:
    """The network as a tf.function from `hazy` to {'clean': ...}; its weights are constants, so it has no variables."""
    weights = [tf.constant(variable.numpy()) for variable in model.trainable_variables]
    shape = [None, metadata.height, metadata.width, 3]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name=INPUT)])
    def restore(hazy: tf.Tensor) -> dict[str, tf.Tensor]:
        return {OUTPUT: model.stateless_call(weights, [], hazy, training=False)[0]}

    return restore


def write(folder: Path, model: keras.Model, metadata: Metadata) -> None:
    """Writes the SavedModel into a new folder, the metadata beside its graph."""
    module = tf.Module()
    module.restore = as_function(model, metadata)
    tf.saved_model.save(module, folder, signatures={SIGNATURE: module.restore})
    digest = hashlib.sha256((folder / PROGRAM).read_bytes()).hexdigest()
    (folder / METADATA).parent.mkdir()
    text = dataclasses.replace(metadata, content_sha256=digest).to_json()
    (folder / METADATA).write_text(text + "\n", encoding="utf-8")


def check(folder: Path) -> Metadata:
    """What a SavedModel says of itself, once its graph is known to hold AOD-Net's kinds of operators alone.

    A SavedModel is a program that TensorFlow runs when it is loaded; whoever could change the graph could change
    the digest beside it too. The list of operators is what keeps a changed one from reaching files.

    Raises:
        RefusedError: Not from `aodnet export`, damaged, or with other operators.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    if not folder.is_dir():
        raise not_ours(folder.name, "the folder of a SavedModel", "no folder")
    data = read_bytes(folder / PROGRAM)
    has_text = (folder / METADATA).is_file()
    metadata = read_metadata(read_bytes(folder / METADATA) if has_text else None, folder.name)
    if hashlib.sha256(data).hexdigest() != metadata.content_sha256:
        raise not_ours(folder.name, f"the {PROGRAM} that its metadata name", "another: it is changed or damaged")
    program = saved_model_pb2.SavedModel()
    try:
        program.ParseFromString(data)
    except importlib.import_module("google.protobuf.message").DecodeError:
        raise not_ours(folder.name, f"a {PROGRAM} of TensorFlow", "something else") from None
    # One graph with objects: TensorFlow loads any other as of version 1, where the saver and an initialiser run too.
    if len(program.meta_graphs) != 1 or not (graph := program.meta_graphs[0]).HasField("object_graph_def"):
        raise not_ours(folder.name, "one graph with its objects", f"{len(program.meta_graphs)} graphs")
    if strange := _strange(graph):
        raise not_ours(folder.name, "operators of AOD-Net alone", f"also {strange[:4]}")
    ends = [graph.signature_def[SIGNATURE]] if SIGNATURE in graph.signature_def else []
    if [([*one.inputs], [*one.outputs]) for one in ends] != [([INPUT], [OUTPUT])]:
        raise not_ours(folder.name, f"one signature from '{INPUT}' to '{OUTPUT}'", "others or none")
    return metadata


def _strange(graph: Any) -> list[str]:
    """Operators and kinds of objects that `write` does not make, or not where they are.

    Loading runs what the objects name, and so does calling the signature, which is one of them; the two functions of
    the saver are named by the graph alone, which nothing runs.
    """
    objects, library = graph.object_graph_def, graph.graph_def.library
    bodies: dict[str, list[Any]] = {}
    for function in library.function:
        bodies.setdefault(function.signature.name, []).extend(function.node_def)
    reached: set[str] = set()
    waiting = set(objects.concrete_functions)
    for one in objects.nodes:
        waiting |= {*one.function.concrete_functions, one.bare_concrete_function.concrete_function_name} - {""}
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting |= {called for node in bodies.get(name, ()) for called in _called(node)} - reached
    run = {node.op for name in reached for node in bodies.get(name, ())} | {node.op for node in graph.graph_def.node}
    kept = {node.op for name in bodies.keys() - reached for node in bodies[name]}
    kinds = {one.user_object.identifier or str(one.WhichOneof("kind")) for one in objects.nodes}
    saved = {name for one in objects.nodes for name in (*one.saveable_objects, one.registered_saver) if name}
    gradients = {one.function_name for one in library.gradient} | {
        one.gradient_func for one in library.registered_gradients
    }
    return sorted(run - NETWORK_OPS | kept - NETWORK_OPS - SAVER_OPS | kinds - OBJECTS | saved | gradients)


def _called(node: Any) -> list[str]:
    """The functions that a node names."""
    values = [(value.func, *value.list.func) for value in node.attr.values()]
    return [function.name for functions in values for function in functions if function.name]
