"""The compiled renderer, ready before many processes need it, and no end of a run where it cannot be kept."""

import contextlib
import dataclasses
import functools
import os
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from hazegen import variants
from hazegen.depth.formats import DepthFormat
from hazegen.errors import HazegenError
from hazegen.geometry import Camera
from hazegen.scenes import Scene
from hazegen.variants import Settings

# Reading what is kept takes half a second, compiling 6 to 10.
TELL_AFTER_S = 2.0
# Of the picture that is rendered for it [px].
SIDE = 64


def is_kept() -> bool:
    """Whether machine code of the present kernel lies in one of Numba's usual places, without loading Numba."""
    spec = find_spec("hazegen.kernel")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin)
    place = Path(os.environ.get("NUMBA_CACHE_DIR") or source.parent / "__pycache__")
    # One index for each function and version of Python.
    kept = place.rglob(f"kernel.*.py{sys.version_info.major}{sys.version_info.minor}.nbi")
    return any(path.stat().st_mtime >= source.stat().st_mtime for path in kept)


def warm_up(settings: Settings, tell: Callable[[str], object]) -> None:
    """Compiles once what a run needs, where nothing is kept: else each of its processes would, at the same time.

    Args:
        tell: Takes one line, if it takes long.
    """
    if is_kept():
        return
    keep_going_without_cache()
    said = threading.Timer(TELL_AFTER_S, tell, ["compiling the renderer, once after installation"])
    said.start()
    try:
        render_once(settings)
    finally:
        said.cancel()


def render_once(settings: Settings) -> None:
    """One pair of a scene of a few pixels, thrown away."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    clean = np.stack([4 * rows, 4 * columns, rows + columns], axis=2).astype(np.uint8)
    camera = Camera(SIDE, SIDE, SIDE, SIDE, SIDE / 2, SIDE / 2)
    distance_m = (1.0 + rows).astype(np.float32)
    scene = Scene("warm", clean, distance_m, float(SIDE), 0.0, 0.0, DepthFormat("plane"), camera)
    # A recipe that refuses such a picture is compiled for by the first scene that it takes.
    with contextlib.suppress(HazegenError):
        for _ in variants.scene_records(scene, dataclasses.replace(settings, variants=1)):
            pass


@functools.cache
def keep_going_without_cache() -> None:
    """Makes a disk that is full or read-only no error where Numba writes machine code: it is used all the same."""
    from numba.core import caching

    save = caching.FunctionCache.save_overload

    def save_if_possible(cache: Any, signature: Any, data: Any) -> None:
        try:
            save(cache, signature, data)
        except OSError:
            cache.disable()  # the next process compiles it again

    caching.FunctionCache.save_overload = save_if_possible  # type: ignore[method-assign]
