"""Imports TensorFlow without the lines that it logs."""

import os
import sys


def load_tensorflow() -> None:
    """Imports TensorFlow and looks for devices, without the dozen lines that its C++ part logs about them."""
    # Above 2: at 2 each program is told that oneDNN has no 8-bit integers on this processor. Errors are exceptions too.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import tensorflow as tf

        tf.config.list_physical_devices()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
