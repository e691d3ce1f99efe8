"""A detector's first run, in a process of its own: what crashes, hangs or takes all memory there does no harm.

It is run as a script, with the file on its standard input, and imports nothing of this package. Some damaged files end
OpenCV's importer by a signal, where no exception can be caught.
"""

import os
import subprocess
import sys
from pathlib import Path

TIME_S = 120
MEMORY_BYTES = 8 << 30

# Each thread would reserve memory of its own.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def first_run(data: bytes, runtime: str, size: tuple[int, int]) -> str | None:
    """Loads a network and runs it on a grey picture, apart from this process.

    Args:
        data: The ONNX file.
        runtime: onnxruntime or cv2.
        size: Width and height of its input [px].

    Returns:
        What went wrong, or None.
    """
    command = [sys.executable, "-P", str(Path(__file__)), runtime, *map(str, size)]
    try:
        done = subprocess.run(
            command, input=data, capture_output=True, timeout=TIME_S, check=False, env={**os.environ, **_ONE_THREAD}
        )
    except subprocess.TimeoutExpired:
        return f"nothing after {TIME_S} s"
    if done.returncode == 0:
        return None
    said = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return f"an error: {said[-1][:300]}" if done.returncode == 1 and said else f"a crash (exit {done.returncode})"


def main() -> None:
    """The other side: ends with 0, or with the error in its last line on stderr."""
    import resource

    import numpy as np

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    runtime, width, height = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    data, picture = sys.stdin.buffer.read(), np.full((1, 3, height, width), 0.5, np.float32)
    try:
        if runtime == "cv2":
            import cv2

            network = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
            network.setInput(picture)
            network.forward(network.getUnconnectedOutLayersNames())
        else:
            import onnxruntime

            session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
            session.run(None, {session.get_inputs()[0].name: picture})
    except Exception as error:  # the runtimes' errors have no other class in common
        sys.exit(" ".join(str(error).split()) or type(error).__name__)


if __name__ == "__main__":
    main()
