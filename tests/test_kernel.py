"""The compiled loops: exponentials to the last bit, exact sums, the same bits for every kind of processor."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hazegen import kernel, physics, synthesis

LIGHT = np.array([0.9, 0.8, 0.7], np.float32)
NO_TABLES = np.empty(0, np.float32), np.empty(0, np.uint8)
NO_MAP = np.empty((0, 0, 0), np.float32)


def transmissions(depths):
    """exp(-x) of 32-bit optical depths, and their sum as add_haze has it."""
    depths = np.asarray(depths, np.float32).reshape(1, -1)
    clean, hazy = (np.zeros((*depths.shape, 3), np.uint8) for _ in range(2))
    t = np.empty((*depths.shape, 1), np.float32)
    total = kernel.add_haze(clean, depths, np.ones(1, np.float32), LIGHT, *NO_TABLES, hazy, t, 1000)
    return t.ravel(), total * kernel.UNIT


def test_exponential_is_right_to_three_units_in_the_last_place():
    depths = np.linspace(0.0, 86.9, 200_001, dtype=np.float32)
    found, _ = transmissions(depths)
    exact = np.exp(-depths.astype(np.float64))
    assert (np.abs(found - exact) <= 3.0 * np.spacing(exact.astype(np.float32))).all()
    assert (np.diff(found) <= 0.0).all()


def test_nothing_takes_no_light_and_endless_haze_takes_all():
    found, _ = transmissions([0.0, 1e-12, 90.0, 1e30, np.inf])
    assert found.tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 5000])
def test_sum_is_the_sum_of_what_was_drawn(size):
    rng = np.random.default_rng(size)
    found, total = transmissions(rng.uniform(0.0, 30.0, size))
    assert total == pytest.approx(found.sum(dtype=np.float64), rel=1e-12, abs=size * kernel.UNIT)


def test_small_losses_are_exact():
    # Fog that thins over 1000 km, seen over a millimetre to a kilometre, is uniform: its length is the distance.
    distance_m = np.geomspace(1e-3, 1e3, 400, dtype=np.float32).reshape(1, -1)
    row, column = np.zeros(1, np.float32), np.zeros(400, np.float32)
    for rise in (0.5, -0.5):
        up = np.array([rise], np.float32)
        no_shells = np.empty(0, np.float32), np.empty((0, 1, 1), np.float32)
        length_m = kernel.lengths(distance_m, *no_shells, 8, column, row, up, np.float32(1e9), np.float32(1e4))
        np.testing.assert_allclose(length_m, distance_m * np.exp(-1e-5), rtol=2e-6)


@pytest.mark.parametrize("beta", [(0.05,), (0.04, 0.05, 0.06)])
def test_blocks_of_any_size_give_the_same(beta):
    rng = np.random.default_rng(1)
    clean = rng.integers(0, 256, (37, 53, 3), dtype=np.uint8)
    distance_m = rng.uniform(0.0, 90.0, (37, 53)).astype(np.float32)
    results = []
    for block in (1, 7, 1000, 10**7):
        hazy, t = np.empty_like(clean), np.empty((37, 53, len(beta)), np.float32)
        total = kernel.add_haze(clean, distance_m, np.float32(beta), LIGHT, *NO_TABLES, hazy, t, block)
        results.append((hazy.tobytes(), t.tobytes(), total))
    assert len(set(results)) == 1
    values = physics.add_haze(clean / np.float32(255.0), t, LIGHT)
    np.testing.assert_array_equal(hazy[..., ::-1], np.rint(values * np.float32(255.0)))


def test_function_of_no_file_is_compiled_without_being_kept():
    # Nowhere to keep it: as in a package whose folder, and whose user's own, cannot be written.
    space = {}
    exec("def twice(x):\n    return 2 * x", space)
    assert kernel.compiled(space["twice"])(21) == 42


DIGEST = """
import hashlib, dataclasses
import numpy as np
from hazegen import render
from hazegen.geometry import Camera
from hazegen.sampling import HazeParams
rng = np.random.default_rng(5)
clean = rng.integers(0, 256, (67, 93, 3), dtype=np.uint8)
distance_m = np.exp(rng.uniform(-3.0, 7.0, (67, 93))).astype(np.float32)
distance_m[:9] = np.inf
camera = Camera(93, 67, 80.0, 80.0, 46.0, 33.0)
haze = HazeParams(0, (0.04, 0.05, 0.06), (0.9, 0.8, 0.7), 1.0)
fog = dataclasses.replace(haze, height_scale_m=7.0, beta=(0.05,) * 3)
patchy = dataclasses.replace(fog, noise_contrast=0.8)
digest = hashlib.sha256()
for drawn in (haze, fog, patchy):
    for space in ("srgb", "linear"):
        seen = render.view(clean, distance_m, drawn, space, camera, keep_map=True)
        for part in (seen.bgr, seen.transmission, np.float64(seen.mean_transmission)):
            digest.update(part.tobytes())
print(digest.hexdigest())
"""


def digest_of(processor, folder):
    """SHA-256 of pictures that are rendered by code for a processor, with and without fused multiply-add."""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(folder / processor), "PYTHONPATH": os.pathsep.join(sys.path)}
    env |= {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": ""} if processor != "this" else {}
    done = subprocess.run([sys.executable, "-c", DIGEST], env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "uname") or os.uname().machine != "x86_64", reason="names x86-64 processors")
@pytest.mark.parametrize("processor", ["x86-64", "x86-64-v3"])
def test_code_for_other_processors_gives_the_same_bits(processor, tmp_path):
    cpus = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    if processor == "x86-64-v3" and " avx2 " not in cpus:
        pytest.skip("this processor has no AVX2")
    space = {}
    exec(DIGEST.replace("print(digest.hexdigest())", ""), space)
    assert digest_of(processor, tmp_path) == space["digest"].hexdigest()
    assert len(list((tmp_path / processor).rglob("*.nbc"))) > 0


def test_reference_and_kernel_agree_on_the_lowest_transmissions():
    # Both may round numbers below 1e-37 to nothing; none of them is seen.
    from hazegen.sampling import HazeParams

    depths = np.linspace(80.0, 110.0, 1001, dtype=np.float32).reshape(1, -1)
    expected = synthesis.transmission_of(depths, HazeParams(0, (1.0,) * 3, (1.0,) * 3, 1.0)).ravel()
    np.testing.assert_allclose(transmissions(depths)[0], expected, atol=1e-37)
