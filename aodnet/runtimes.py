"""The runtimes that apply AOD-Net, each as a function from hazy to restored pixels.

Keras is the one that a picture goes through where nothing is said: the output must not depend on what else is
installed. ONNX Runtime and LiteRT run without TensorFlow.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aodnet import exported, litert_file, onnx_file, weight_names
from aodnet.exported import Metadata
from aodnet.silence import silence
from aodnet.tiles import PATCH, Call, Restorer
from hazegen import engine
from hazegen.errors import RefusedError, UsageError

RUNTIMES = ("keras", "onnx", "litert", "savedmodel")
SUFFIXES = {".onnx": "onnx", ".tflite": "litert"}


def load(model: str | None = None, runtime: str | None = None) -> Restorer:
    """What restores pictures with a model.

    Args:
        model: A .weights.h5 file, the name of shipped weights, a .onnx or .tflite file of `aodnet export`, or the
            folder of a SavedModel of it; None: the shipped weights that weight_names.DEFAULT names.
        runtime: One of RUNTIMES; None: Keras for weights, the file's own one for .onnx and .tflite. ONNX Runtime and
            LiteRT also take weights, which are then exported in memory.

    Raises:
        UsageError: The runtime cannot take the model, or is not installed.
        RefusedError: The file is none of ours.
    """
    runtime, path = check(model, runtime), Path(model or "")
    if kind_of(model) == "weights":
        return _of_weights(model, runtime)
    if runtime == "savedmodel":
        return open_saved_model(path)
    return {"onnx": open_onnx, "litert": open_litert}[runtime](exported.read_bytes(path), path.name)


def check(model: str | None, runtime: str | None) -> str:
    """The runtime that `load` takes, held against the model and what is installed; TensorFlow is not needed for it.

    Raises:
        UsageError, RefusedError: As `load` says.
    """
    kind = kind_of(model)
    if kind == "savedmodel" and runtime is None:
        raise UsageError(
            f"'{model}' is a SavedModel, a program that TensorFlow runs. Expected --runtime savedmodel beside it, "
            "received no --runtime. Add it if you trust where the folder comes from."
        )
    runtime = runtime or ("keras" if kind == "weights" else kind)
    if runtime not in RUNTIMES or (kind != runtime and (kind != "weights" or runtime == "savedmodel")):
        takes = {"keras": "weights", "savedmodel": "the folder of a SavedModel"}
        raise UsageError(
            f"--runtime {runtime} cannot take '{model}'. Expected {takes.get(runtime, f'weights or .{runtime}')}, "
            f"received {kind}. Leave --runtime out, or choose another --model."
        )
    if kind == "weights":
        weight_names.find_weights(model or weight_names.DEFAULT)
    for name, extra in {"onnx": ("onnxruntime", "onnx"), "litert": ("ai_edge_litert.interpreter", "litert")}.items():
        if runtime == name:
            exported.package(*extra)
    return runtime


def kind_of(model: str | None) -> str:
    """What a model is: 'weights', or the one runtime that takes it."""
    path = Path(model or "")
    if path.suffix.lower() in SUFFIXES:
        return SUFFIXES[path.suffix.lower()]
    return "savedmodel" if model and (path / "saved_model.pb").is_file() else "weights"


def needs_tensorflow(model: str | None, runtime: str | None) -> bool:
    """Whether `load` will import TensorFlow, which takes seconds."""
    return kind_of(model) not in ("onnx", "litert") or runtime in ("keras", "savedmodel")


def _of_weights(model: str | None, runtime: str) -> Restorer:
    from aodnet import weights
    from aodnet.export import as_litert, as_onnx

    model = model or weight_names.DEFAULT
    network = weights.load(weight_names.find_weights(model))
    if runtime == "keras":
        return Restorer(keras_call(network))
    if runtime == "onnx":
        return open_onnx(as_onnx(network)[0], model)
    return open_litert(as_litert(network)[0], model)


def keras_call(model: Any) -> Call:
    """A Keras model as a function of one picture."""
    import tensorflow as tf

    call = tf.function(
        lambda batch: model(batch, training=False), input_signature=[tf.TensorSpec([1, None, None, 3], tf.float32)]
    )
    return lambda hazy: call(hazy[None])[0].numpy()


def open_onnx(data: bytes, name: str) -> Restorer:
    """A checked ONNX file in ONNX Runtime, on the CPU."""
    metadata = onnx_file.check(data, name)
    onnxruntime = exported.package("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = engine.cores()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def call(hazy: NDArray[np.float32]) -> NDArray[np.float32]:
        return session.run([metadata.output], {metadata.input: hazy[None]})[0][0]

    return _restorer(call, metadata, name)


def open_litert(data: bytes, name: str) -> Restorer:
    """A checked LiteRT file in its interpreter, on the CPU."""
    metadata = litert_file.check(data, name)
    interpreter_module = exported.package("ai_edge_litert.interpreter", "litert")
    with silence():
        try:
            interpreter = interpreter_module.Interpreter(model_content=data, num_threads=engine.cores())
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise exported.not_ours(name, "a file that LiteRT can read", str(error).splitlines()[0]) from None
    source, target = (one[0]["index"] for one in (interpreter.get_input_details(), interpreter.get_output_details()))
    shapes: list[tuple[int, ...]] = [()]  # the one that memory is laid out for

    def call(hazy: NDArray[np.float32]) -> NDArray[np.float32]:
        if shapes[0] != hazy.shape:
            interpreter.resize_tensor_input(source, (1, *hazy.shape))
            interpreter.allocate_tensors()
            shapes[0] = hazy.shape
        interpreter.set_tensor(source, np.ascontiguousarray(hazy[None]))
        interpreter.invoke()
        return interpreter.get_tensor(target)[0]

    return _restorer(call, metadata, name)


def open_saved_model(folder: Path) -> Restorer:
    """A checked SavedModel in TensorFlow. It is a program: open none that you do not trust."""
    from aodnet import saved_model

    metadata = saved_model.check(folder)
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    function = loaded.signatures[saved_model.SIGNATURE]

    def call(hazy: NDArray[np.float32]) -> NDArray[np.float32]:
        assert loaded is not None  # the function does not keep the constants that it uses alive
        return function(**{metadata.input: tf.constant(hazy[None])})[metadata.output][0].numpy()

    return _restorer(call, metadata, folder.name)


def _restorer(call: Call, metadata: Metadata, name: str) -> Restorer:
    patch = (metadata.height or PATCH[0], metadata.width or PATCH[1])

    def checked(hazy: NDArray[np.float32]) -> NDArray[np.float32]:
        wrong = [want is not None and want != have for want, have in zip(fixed, hazy.shape, strict=False)]
        if any(wrong):
            raise RefusedError(
                f"'{name}' takes pictures of one size or larger. Expected at least {fixed[0] or 'any'} x "
                f"{fixed[1] or 'any'} (height x width), received a piece of {hazy.shape[0]} x {hazy.shape[1]}. "
                "Export it without --height and --width, or pad the picture."
            )
        return call(hazy)

    fixed = (metadata.height, metadata.width)
    return Restorer(checked if any(fixed) else call, patch)
