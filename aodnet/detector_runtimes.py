"""What runs a detector: onnxruntime or OpenCV, from the bytes that were checked."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from numpy.typing import NDArray

from aodnet import detector_trial
from aodnet.detector_file import OnnxFile, not_usable
from hazegen import engine
from hazegen.errors import RefusedError, UsageError

# From an input, float32 (1, 3, height, width), to the network's outputs.
Run = Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]


def open_network(file: OnnxFile, asked: str, size: tuple[int, int]) -> tuple[Run, str]:
    """The network, ready to run, and what runs it: its name and version.

    It is loaded and run in another process first.

    Raises:
        UsageError: onnxruntime is asked for and not installed.
        RefusedError: The runtime cannot load the file; when it runs, cannot run it.
    """
    there = importlib.util.find_spec("onnxruntime") is not None
    if asked == "onnxruntime" and not there:
        raise UsageError(
            "--detector-runtime onnxruntime needs a package that is not installed. Expected onnxruntime, received "
            "none. Run pip install 'hazegen[onnx]', or choose cv2."
        )
    runtime = "onnxruntime" if there and asked != "cv2" else "cv2"
    if problem := detector_trial.first_run(file.data, runtime, size):
        raise _fails(file.name, runtime, problem)
    return _open_onnxruntime(file) if runtime == "onnxruntime" else _open_cv2(file)


def _open_onnxruntime(file: OnnxFile) -> tuple[Run, str]:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = engine.cores()
    settings.log_severity_level = 4  # what fails is raised, not written to the terminal

    def run(pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        try:
            return list(map(np.asarray, session.run(None, {file.inputs[0].name: pixels})))
        except Exception as error:  # onnxruntime's errors have no other class in common
            raise _fails(file.name, "onnxruntime", error) from None

    try:
        session = onnxruntime.InferenceSession(file.data, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # likewise
        raise _fails(file.name, "onnxruntime", error) from None
    return run, f"onnxruntime {onnxruntime.__version__}"


def _open_cv2(file: OnnxFile) -> tuple[Run, str]:
    def run(pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        try:
            with _silent():
                network.setInput(pixels)
                # Copies: the network reuses its memory.
                return [np.array(output) for output in network.forward(network.getUnconnectedOutLayersNames())]
        except cv2.error as error:
            raise _fails(file.name, "cv2", error) from None

    try:
        with _silent():
            network = cv2.dnn.readNetFromONNX(np.frombuffer(file.data, np.uint8))
    except cv2.error as error:
        raise _fails(file.name, "cv2", error) from None
    return run, f"cv2.dnn {cv2.__version__}"


@contextmanager
def _silent() -> Iterator[None]:
    """OpenCV without a word on the terminal: what fails is raised."""
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)


def _fails(name: str, runtime: str, problem: object) -> RefusedError:
    told = problem if isinstance(problem, str) else f"an error: {' '.join(str(problem).split())[:300]}"
    todo = "Try the other --detector-runtime, or export it again with another opset."
    return not_usable(name, f"a network that {runtime} runs", told, todo)
