"""Completion along the edges of the photo: its laws, its solver, sky, and the two cases that matter."""

import hashlib
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import smooth
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import spsolve

from hazegen.depth import completion
from hazegen.errors import UsageError


def draw(seed: int, height: int, width: int, share: float, sky: bool) -> tuple[np.ndarray, np.ndarray]:
    """A depth map with holes, at least one pixel finite, and a photo."""
    rng = np.random.default_rng(seed)
    depth = np.exp(3.0 * rng.random((height, width))).astype(np.float32)
    if sky:
        depth[rng.random((height, width)) < 0.4] = np.inf
    depth[rng.random((height, width)) < share] = np.nan
    depth[height // 2, width // 2] = 2.0
    image = (255.0 * smooth(rng, height, width, 3)).astype(np.uint8)
    image[: height // 2] //= 2
    return depth, image


SCENES = {
    "seed": st.integers(0, 10_000),
    "height": st.integers(1, 24),
    "width": st.integers(1, 24),
    "share": st.floats(0.0, 1.0),
    "sky": st.booleans(),
}


@given(**SCENES)
def test_measured_pixels_keep_their_bits_and_filled_ones_their_range(seed, height, width, share, sky):
    depth, image = draw(seed, height, width, share, sky)
    before = depth.copy()
    filled = completion.fill(depth, image, "guided")
    known, finite = ~np.isnan(depth), np.isfinite(depth)
    np.testing.assert_array_equal(depth, before)
    assert filled.dtype == np.float32
    assert not np.isnan(filled).any()
    np.testing.assert_array_equal(filled[known].view(np.uint32), depth[known].view(np.uint32))
    there = filled[np.isfinite(filled)]
    assert depth[finite].min() <= there.min()
    assert there.max() <= depth[finite].max()
    assert sky or np.isfinite(filled).all()


@given(**SCENES, axis=st.sampled_from([0, 1]))
def test_the_mirrored_scene_is_filled_in_the_mirror(seed, height, width, share, sky, axis):
    depth, image = draw(seed, height, width, share, sky)
    filled = completion.fill(depth, image)
    mirrored = np.flip(completion.fill(np.flip(depth, axis).copy(), np.flip(image, axis).copy()), axis)
    # A pixel with even odds of being sky may fall either way.
    assert (np.isinf(filled) != np.isinf(mirrored)).mean() < 0.1
    both = np.isfinite(filled) & np.isfinite(mirrored)
    assert np.abs(np.log(filled[both] / mirrored[both])).mean() < 0.03


@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 30), st.sampled_from([0.5, 80.0, np.inf]))
def test_one_measured_pixel_fills_all(seed, height, width, value):
    rng = np.random.default_rng(seed)
    depth = np.full((height, width), np.nan, np.float32)
    depth[rng.integers(height), rng.integers(width)] = value
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert (completion.fill(depth, image) == np.float32(value)).all()


@pytest.mark.parametrize("method", ["nearest", "guided"])
def test_a_map_without_holes_is_given_back(method):
    depth = np.array([[1.0, np.inf]], np.float32)
    assert completion.fill(depth, np.zeros((1, 2, 3), np.uint8), method) is depth


def test_nearest_is_the_fill_of_the_nearest():
    depth, image = draw(0, 20, 30, 0.5, True)
    np.testing.assert_array_equal(completion.fill(depth, image, "nearest"), completion.fill_nearest(depth))


def test_unknown_method_is_refused():
    expected = (
        "The method of completion is unknown. Expected nearest or guided, received 'average'. Correct the recipe."
    )
    with pytest.raises(UsageError, match=re.escape(expected)):
        completion.fill(np.ones((2, 2), np.float32), np.zeros((2, 2, 3), np.uint8), "average")


# --- the membrane ---


def exact_membrane(depth: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The minimum of the docstring's sum by a direct solver, pixel by pixel."""
    height, width = depth.shape
    colours = image.astype(float)
    number = np.arange(height * width).reshape(height, width)
    rows, columns, weights = [], [], []
    for y, x in np.ndindex(height, width):
        for there in ((y, x + 1), (y + 1, x)):
            if there[0] < height and there[1] < width:
                weight = np.exp(-np.abs(colours[y, x] - colours[there]).max() / 4.0) + 1e-4
                rows += [number[y, x], number[there]]
                columns += [number[there], number[y, x]]
                weights += [weight, weight]
    tied = sparse.coo_array((weights, (rows, columns)), shape=(depth.size, depth.size)).tocsr()
    laplacian = (sparse.diags_array(tied.sum(axis=1)) - tied).tocsr()
    hole, inverse = np.isnan(depth.ravel()), 1.0 / depth.ravel().astype(float)
    load = -laplacian[hole][:, ~hole] @ inverse[~hole]
    inverse[hole] = spsolve(laplacian[hole][:, hole].tocsc(), load)
    return (1.0 / inverse).reshape(depth.shape)


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_solver_finds_the_membrane(share, monkeypatch):
    """To any accuracy; as it is set, to a few per cent even of a map that is noise."""
    depth, image = draw(3, 30, 37, share, sky=False)
    exact = exact_membrane(depth, image)
    assert np.abs(completion.fill(depth, image) / exact - 1.0).mean() < 0.02
    monkeypatch.setattr(completion, "TOLERANCE", 1e-6)
    monkeypatch.setattr(completion, "SMALL_STEPS", 1000)
    np.testing.assert_allclose(completion.fill(depth, image), exact, rtol=1e-3)


def plane(height: int, width: int) -> np.ndarray:
    """Depth of a slanted plane: its inverse is linear in the pixel coordinates."""
    return (1.0 / (0.1 + 0.002 * np.arange(height)[:, None] + 0.001 * np.arange(width))).astype(np.float32)


def test_a_hole_in_a_plane_is_filled_with_the_plane():
    depth = plane(120, 160)
    measured = depth.copy()
    measured[40:80, 50:110] = np.nan
    image = np.full((120, 160, 3), 90, np.uint8)
    np.testing.assert_allclose(completion.fill(measured, image), depth, rtol=1e-3)
    assert np.abs(completion.fill(measured, image, "nearest") / depth - 1.0).max() > 0.1


def test_bytes_do_not_depend_on_the_number_of_threads():
    code = (
        "import numpy as np, sys, cv2\n"
        "from hazegen.depth import completion, refinement\n"
        "cv2.setNumThreads(int(sys.argv[1]))\n"
        "rng = np.random.default_rng(0)\n"
        "depth = np.exp(rng.random((240, 320))).astype(np.float32)\n"
        "depth[rng.random(depth.shape) < 0.6] = np.nan\n"
        "image = cv2.GaussianBlur(rng.integers(0, 256, (240, 320, 3), dtype=np.uint8), (0, 0), 3.0)\n"
        "filled = completion.fill(depth, image)\n"
        "sys.stdout.buffer.write(filled.tobytes() + refinement.refine(filled, image).tobytes())\n"
    )
    digests = set()
    for threads in ("1", "2", "4"):
        env = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        done = subprocess.run([sys.executable, "-c", code, threads], env=env, capture_output=True, check=True)
        assert len(done.stdout) == 2 * 4 * 240 * 320
        digests.add(hashlib.sha256(done.stdout).hexdigest())
    assert len(digests) == 1


# --- the two cases that matter ---


def two_surfaces(colour_edge: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """A wall at 2 m before another at 6 m, left of column 80, in noisy colours that change at `colour_edge`."""
    rng = np.random.default_rng(0)
    depth = np.where(np.arange(160) < 80, np.float32(2.0), np.float32(6.0)) * np.ones((120, 1), np.float32)
    colour = np.where(np.arange(160)[:, None] < colour_edge, [150, 90, 80], [90, 130, 160])
    return depth, np.clip(colour + rng.normal(0.0, 3.0, (120, 160, 3)), 0, 255).astype(np.uint8)


def test_the_shadow_beside_a_foreground_edge_belongs_to_the_background():
    depth, image = two_surfaces()
    measured = depth.copy()
    measured[:, 80:100] = np.nan
    measured[:, 76:80] = np.nan
    filled = completion.fill(measured, image)
    np.testing.assert_allclose(filled[:, 81:100], 6.0, rtol=0.03)
    np.testing.assert_allclose(filled[:, 76:79], 2.0, rtol=0.03)
    # The nearest measured pixel is on the wrong side for the half of the shadow that the edge bounds.
    assert (completion.fill(measured, image, "nearest")[:, 81:85] == 2.0).all()


def test_edges_between_the_lines_of_a_lidar_follow_the_colours():
    depth, image = two_surfaces()
    measured = np.full(depth.shape, np.nan, np.float32)
    rng = np.random.default_rng(1)
    rows = np.arange(0, 120, 6)
    measured[rows] = np.where(rng.random((len(rows), 160)) < 0.6, depth[rows], np.nan)
    assert np.isnan(measured).mean() > 0.85
    filled = completion.fill(measured, image)
    np.testing.assert_allclose(filled[:, :79], 2.0, rtol=0.05)
    np.testing.assert_allclose(filled[:, 81:], 6.0, rtol=0.05)


def test_a_hole_between_sky_and_ground_is_parted_at_the_horizon():
    depth = np.where(np.arange(120)[:, None] < 50, np.float32(np.inf), 10.0 + 0.1 * np.arange(120)[:, None])
    depth = np.repeat(depth.astype(np.float32), 160, axis=1)
    image = np.where((np.arange(120) < 50)[:, None, None], 220, 60) * np.ones((1, 160, 3))
    measured = depth.copy()
    measured[30:70, 20:140] = np.nan
    filled = completion.fill(measured, image.astype(np.uint8))
    np.testing.assert_array_equal(np.isinf(filled), np.isinf(depth))
    np.testing.assert_allclose(filled[50:], depth[50:], rtol=0.15)
    assert filled[np.isfinite(filled)].min() >= 15.0


def test_a_patch_of_surface_amid_sky_takes_the_farthest_distance():
    """Nothing ties it to a measured surface: its only neighbours are sky."""
    hole = np.zeros((9, 9), np.bool_)
    hole[4, 4] = True
    nothing = np.zeros((9, 9), np.float32)
    relaxed = completion.relax(nothing, hole, nothing, nothing)
    assert relaxed[4, 4] == 0.0


def test_a_rim_on_the_background_does_not_fill_the_shadow():
    """The near wall's depth reaches 4 px beyond its colours; those pixels keep their depth, the shadow is far."""
    depth, image = two_surfaces(colour_edge=76)
    measured = depth.copy()
    measured[:, 80:90] = np.nan
    wide = np.pad(image, [(0, 0), (240, 240), (0, 0)], mode="edge")
    filled = completion.fill(np.pad(measured, [(0, 0), (240, 240)], mode="edge"), wide)[:, 240:400]
    assert (filled[:, :80] == 2.0).all()
    np.testing.assert_allclose(filled[:, 80:], 6.0, rtol=0.03)


def test_the_points_of_a_lidar_are_never_doubted():
    depth, image = two_surfaces(colour_edge=76)
    measured = np.full(depth.shape, np.nan, np.float32)
    measured[::6, ::2] = depth[::6, ::2]
    measured[40:60] = np.nan
    wide, photo = (
        np.pad(measured, [(0, 0), (240, 240)], mode="edge"),
        np.pad(image, [(0, 0), (240, 240), (0, 0)], mode="edge"),
    )
    assert not completion._doubtful(wide, np.isnan(wide), photo).any()


@pytest.mark.parametrize("at", [(4, 4), (4, 5)])
def test_a_single_hole_pixel_reads_nothing_that_is_not_there(at, monkeypatch):
    """One colour of the chessboard is empty then: SciPy does not check the columns of a product."""
    equations = completion._equations

    def checked(*arguments):
        coupling, load = equations(*arguments)
        assert (coupling.indices < coupling.shape[1]).all()
        assert coupling.indptr[-1] == len(coupling.indices) == len(coupling.data)
        return coupling, load

    monkeypatch.setattr(completion, "_equations", checked)
    depth = plane(9, 11)
    measured = depth.copy()
    measured[at] = np.nan
    filled = completion.fill(measured, np.full((9, 11, 3), 90, np.uint8))
    np.testing.assert_allclose(filled, depth, rtol=1e-3)
