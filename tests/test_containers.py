"""Containers of depth: each is read exactly, and no damaged, hostile or huge file is worse than an error."""

import contextlib
import io
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib

import cv2
import h5py
import numpy as np
import pytest
import scipy.io
from depth_fixtures import npy, pfm, write, write_exr, write_hdf5, write_matlab_73
from hypothesis import given
from hypothesis import strategies as st

from hazegen import images
from hazegen.depth import arrays, containers, hdf5, matlab, rasters
from hazegen.depth.formats import DepthFormat
from hazegen.errors import RefusedError

PLAIN = DepthFormat()
MAP = np.arange(1, 13, dtype=np.float32).reshape(3, 4)


def read(path, **fields):
    return containers.read_values(path, DepthFormat(**fields))


def same(got, expected):
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == expected.dtype


# --- every container, exactly ---


@pytest.mark.parametrize(
    ("suffix", "dtypes"),
    [
        (".png", "uint8 uint16"),
        (".pgm", "uint8 uint16"),
        (".tif", "uint8 uint16 float32 float64"),
        (".pfm", "float32"),
        (".npy", "uint8 uint16 int32 int64 float16 float32 float64"),
        (".npz", "uint16 float32 float64"),
        (".mat", "uint8 uint16 int16 int32 float32 float64"),
        (".h5", "uint16 float16 float32 float64"),
        (".hdf5", "float32"),
    ],
)
def test_container_keeps_every_number_and_its_type(tmp_path, suffix, dtypes):
    rng = np.random.default_rng(0)
    for dtype in dtypes.split():
        top = 250 if dtype == "uint8" else 30_000
        array = (rng.random((5, 7)) * top).astype(dtype)
        same(read(write(tmp_path / f"{dtype}{suffix}", array)), array)


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint32"])
def test_openexr_keeps_every_number_and_its_type(tmp_path, dtype):
    pytest.importorskip("OpenEXR", reason="the extra 'exr' is not installed")
    array = (np.random.default_rng(0).random((5, 7)) * 1000).astype(dtype)
    same(read(write(tmp_path / "a.exr", array)), array)


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
def test_numbers_of_the_other_byte_order_become_this_machines(tmp_path, suffix):
    same(read(write(tmp_path / f"a{suffix}", MAP.astype(">f4"))), MAP)


def test_array_with_columns_first_keeps_its_rows(tmp_path):
    same(read(write(tmp_path / "a.npy", np.asfortranarray(MAP))), MAP)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
def test_map_with_a_third_axis_of_one_is_a_map(tmp_path, suffix):
    same(read(write(tmp_path / f"a{suffix}", MAP[..., None])), MAP)


# --- PFM ---


@pytest.mark.parametrize("scale", [-1.0, 1.0, -0.003922, 1024.0])
def test_pfm_scale_tells_the_byte_order_and_is_not_multiplied_in(tmp_path, scale):
    (tmp_path / "a.pfm").write_bytes(pfm(MAP, scale))
    same(read(tmp_path / "a.pfm"), MAP)


def test_pfm_rows_come_from_the_bottom():
    data = b"Pf\n2 3\n-1\n" + np.array([5, 6, 3, 4, 1, 2], "<f4").tobytes()
    same(rasters.read_pfm(data, "a"), np.array([[1, 2], [3, 4], [5, 6]], np.float32))


def test_pfm_keeps_infinities_and_nan(tmp_path):
    array = np.array([[np.inf, np.nan], [-np.inf, 0.0]], np.float32)
    (tmp_path / "a.pfm").write_bytes(pfm(array))
    same(read(tmp_path / "a.pfm"), array)


def test_pfm_of_three_equal_channels_is_grey_and_of_others_refused(tmp_path):
    (tmp_path / "a.pfm").write_bytes(pfm(np.stack([MAP] * 3, axis=2)))
    same(read(tmp_path / "a.pfm"), MAP)
    (tmp_path / "a.pfm").write_bytes(pfm(np.stack([MAP, MAP, MAP + 1], axis=2)))
    with pytest.raises(RefusedError, match="not a map of one channel"):
        read(tmp_path / "a.pfm")


@pytest.mark.parametrize("head", [b"Pf\r\n4 3\r\n-1.0\r\n", b"Pf 4 3 -1 ", b"Pf\n4\n3\n-1e0\n"])
def test_pfm_header_with_other_white_space(head):
    same(rasters.read_pfm(head + MAP[::-1].tobytes(), "a"), MAP)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no PFM file"),
        (b"P5\n4 3\n255\n", "is no PFM file"),
        (b"Pf\n4 3\n0\n" + bytes(48), "scale other than 0"),
        (b"Pf\n4 3\nnan\n" + bytes(48), "is no PFM file"),
        (b"Pf\n4 3\n1e999\n" + bytes(48), "is no PFM file"),
        (b"Pf\n4 3\n--1\n" + bytes(48), "is no PFM file"),
        (b"Pf\n-4 3\n-1\n" + bytes(48), "is no PFM file"),
        (b"Pf\n4 3\n-1\n" + bytes(47), "cut off or damaged. Expected 48 bytes for 4 x 3 numbers, received 47"),
        (b"Pf\n4 3\n-1\n" + bytes(49), "received 49"),
        (b"Pf\n99999999 99999999\n-1\n", "too large. Expected at most 80,000,000 numbers, received"),
        (b"Pf\n0 3\n-1\n", None),
    ],
)
def test_damaged_pfm_is_refused(data, message):
    if message is None:
        assert rasters.read_pfm(data, "a").size == 0  # and read_values refuses it as no map
        return
    with pytest.raises(RefusedError, match=message):
        rasters.read_pfm(data, "a")


# --- pictures ---


def test_pgm_is_big_endian_whatever_its_largest_value(tmp_path):
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5\n# a comment\n2 1\n4095\n" + np.array([1, 4095], ">u2").tobytes())
    same(read(path), np.array([[1, 4095]], np.uint16))


def test_grey_in_three_or_four_channels_is_one_map(tmp_path):
    gray = np.array([[1000, 40000], [300, 0]], np.uint16)
    for channels in (3, 4):
        same(read(write(tmp_path / "a.png", np.stack([gray] * channels, axis=2))), gray)


def test_png_whose_channels_differ_by_one_is_refused(tmp_path):
    gray = np.full((8, 8), 100, np.uint8)
    with pytest.raises(RefusedError, match=r"received \(8, 8, 3\): a picture in false colours"):
        read(write(tmp_path / "a.png", np.stack([gray, gray, gray + (np.arange(8) == 0).astype(np.uint8)], axis=2)))


def test_nearly_grey_jpeg_is_grey(tmp_path):
    rng = np.random.default_rng(0)
    gray = cv2.resize(rng.integers(0, 255, (6, 6), dtype=np.uint8), (96, 96))
    color = np.clip(np.stack([gray] * 3, axis=2) + rng.integers(-2, 3, (96, 96, 3)), 0, 255).astype(np.uint8)
    path = write(tmp_path / "a.jpg", color)
    decoded = images.read_picture(path).astype(int)
    assert 0 < np.ptp(decoded, axis=2).max() <= 8
    assert np.abs(read(path).astype(int) - gray).max() <= 6


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("colors", [cv2.COLORMAP_JET, cv2.COLORMAP_BONE, cv2.COLORMAP_VIRIDIS, cv2.COLORMAP_TURBO])
def test_false_colours_are_refused(tmp_path, suffix, colors):
    ramp = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1))
    path = write(tmp_path / f"a{suffix}", cv2.applyColorMap(ramp, colors))
    with pytest.raises(RefusedError, match=r"false colours has lost its depth. Export the raw values"):
        read(path)


def tiff64(array: np.ndarray) -> bytearray:
    return bytearray(cv2.imencode(".tif", array.astype(np.float64), [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes())


def test_float64_tiff_that_claims_too_many_pixels_is_refused():
    data = tiff64(MAP)
    at = struct.unpack_from("<I", data, 4)[0]
    for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12):
        (tag,) = struct.unpack_from("<H", data, entry)
        if tag in (256, 257):
            struct.pack_into("<HHII", data, entry, tag, 4, 1, 1_000_000)
    with pytest.raises(RefusedError, match=r"too large. .*received \(1000000, 1000000\)"):
        rasters.read_picture(bytes(data), "a.tif")


def test_picture_that_opencv_does_not_read_so_is_refused(tmp_path):
    """64-bit floats in three channels have no conversion of colours."""
    with pytest.raises(RefusedError, match=r"cannot be decoded. Expected one channel|not a map of one channel"):
        rasters.read_picture(bytes(tiff64(np.ones((4, 4, 3)))[:-40]), "a.tif")


# --- packed bits ---


def test_rotated_bits_are_turned_back(tmp_path):
    millimetres = np.array([[0, 1, 7, 8], [1000, 8191, 8192, 65535]], np.uint16)
    path = write(tmp_path / "a.png", (millimetres << 3) | (millimetres >> 13))
    same(read(path, packing="rotated"), millimetres)


def test_three_bytes_are_put_together(tmp_path):
    path = write(tmp_path / "a.png", np.array([[[1, 2, 3], [255, 255, 255]]], np.uint8))
    same(read(path, packing="carla"), np.array([[1 + 256 * 2 + 65536 * 3, 2**24 - 1]], np.uint32))


@pytest.mark.parametrize(
    ("packing", "array", "expected"),
    [
        ("carla", np.ones((4, 4), np.uint8), "Expected 8 bits in three channels, received uint8"),
        ("carla", np.ones((4, 4, 3), np.uint16), "Expected 8 bits in three channels, received uint16"),
        ("rotated", np.ones((4, 4), np.uint8), "Expected 16 bits in one channel, received uint8"),
    ],
)
def test_numbers_that_are_not_packed_so_are_refused(tmp_path, packing, array, expected):
    with pytest.raises(RefusedError, match=f"not packed as its convention says. {expected}"):
        read(write(tmp_path / "a.png", array), packing=packing)


def test_packed_jpeg_is_refused(tmp_path):
    with pytest.raises(RefusedError, match=r"packed into a JPEG. Expected a lossless format"):
        read(write(tmp_path / "a.jpg", np.ones((8, 8, 3), np.uint8)), packing="carla")


# --- which array ---


def test_only_map_among_arrays_is_taken(tmp_path):
    np.savez(tmp_path / "a.npz", depth=MAP, focal=np.float64(500), names=np.array(["a"]), pose=np.ones(7))
    same(read(tmp_path / "a.npz"), MAP)


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".h5"])
def test_one_of_several_maps_must_be_named(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    both = {"near": MAP, "far": MAP + 1}
    {".npz": lambda: np.savez(path, **both), ".mat": lambda: scipy.io.savemat(path, both),
     ".h5": lambda: write_hdf5(path, both)}[suffix]()  # fmt: skip
    same(read(path, dataset="far"), MAP + 1)
    with pytest.raises(RefusedError, match=r"which array is the depth. Expected exactly one map, received (near|far) "):
        read(path)
    with pytest.raises(RefusedError, match=r"Expected z, received .*near \(3, 4\).* State depth.dataset in the camera"):
        read(path, dataset="z")


def test_file_without_a_map_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", focal=np.float64(500))
    with pytest.raises(RefusedError, match=r"Expected exactly one map, received focal \(\)"):
        read(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", names=np.array(["a"]))
    with pytest.raises(RefusedError, match="received no array of numbers"):
        read(tmp_path / "a.npz")


def test_channel_of_the_last_axis(tmp_path):
    grid = np.stack([MAP, MAP + 100], axis=2)
    same(read(write(tmp_path / "a.mat", grid), channel=1), MAP + 100)
    for array in (grid, MAP):
        with pytest.raises(RefusedError, match=r"has no channel 2. Expected three axes.*Correct depth.channel"):
            read(write(tmp_path / "a.npy", array), channel=2)


def test_channel_of_a_picture(tmp_path):
    color = np.stack([np.full((8, 8), value, np.uint8) for value in (10, 20, 240)], axis=2)
    same(read(write(tmp_path / "a.png", color), channel=2), color[..., 2])
    assert np.ptp(read(write(tmp_path / "a.jpg", color), channel=2).astype(int) - 240) <= 8


def test_arrays_of_a_group_have_their_path_as_name(tmp_path):
    path = write_hdf5(tmp_path / "a.h5", {"scene/left/z": MAP, "scene/k": np.ones(9), "scene/left/m": MAP[0]})
    same(read(path), MAP)
    same(read(path, dataset="scene/left/z"), MAP)
    for name in ("scene/left", "left/z", "scene/left/z/y", "/scene/left/z", ""):
        with pytest.raises(RefusedError, match=r"received .*scene/left/z \(3, 4\)"):
            read(path, dataset=name or "scene//left/z")


# --- many frames in one file ---

STACK = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4) + 1.0


def test_frames_lie_along_the_first_axis(tmp_path):
    for suffix in (".npy", ".npz", ".h5"):
        path = write(tmp_path / f"a{suffix}", STACK)
        for index in (0, 1):
            same(containers.read_values(path, PLAIN, index), STACK[index])
    assert containers.count_frames(write(tmp_path / "b.npz", STACK), PLAIN) == 2


@pytest.mark.parametrize("writer", [write_matlab_73, lambda path, found: scipy.io.savemat(path, found) or path])
def test_frames_of_matlab_lie_along_its_last_axis(tmp_path, writer):
    photos = np.random.default_rng(0).integers(0, 256, (3, 4, 3, 2), dtype=np.uint8)
    path = writer(tmp_path / "a.mat", {"depths": np.moveaxis(STACK, 0, -1), "images": photos})
    fmt = DepthFormat(dataset="depths")
    assert containers.count_frames(path, fmt) == 2
    for index in (0, 1):
        same(containers.read_values(path, fmt, index), STACK[index])
        same(containers.read_stacked_photo(path, index), photos[..., index])


@pytest.mark.parametrize("index", [-1, 2, 10**12])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".mat"])
def test_frame_that_is_not_there_is_refused(tmp_path, suffix, index):
    path = write(tmp_path / f"a{suffix}", np.moveaxis(STACK, 0, -1) if suffix == ".mat" else STACK)
    with pytest.raises(RefusedError, match=f"has no frame {index}. Expected 0 to 1"):
        containers.read_values(path, PLAIN, index)


def test_frame_of_a_picture_is_refused(tmp_path):
    with pytest.raises(RefusedError, match=r"holds one frame. Expected a file of many .*received frame 0"):
        containers.read_values(write(tmp_path / "a.png", MAP.astype(np.uint8)), PLAIN, 0)
    with pytest.raises(RefusedError, match=r"holds one frame. Expected an array of three axes"):
        containers.read_values(write(tmp_path / "a.npy", MAP), PLAIN, 0)


def test_stack_without_photos_is_refused(tmp_path):
    path = write_matlab_73(tmp_path / "a.mat", {"depths": MAP})
    with pytest.raises(RefusedError, match=r"holds no photos. Expected 'images' of \(height, width, 3, frames\)"):
        containers.read_stacked_photo(path, 0)


# --- .npy and .npz: hostile and damaged ---


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickled_objects_are_refused_and_never_run(tmp_path, suffix):
    class Payload:
        def __reduce__(self):
            return (tmp_path.joinpath("run").touch, ())

    content = npy(np.array([[Payload()]], dtype=object), allow_pickle=True)
    path = tmp_path / f"map{suffix}"
    path.write_bytes(content)
    if suffix == ".npz":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("depth.npy", content)
    with pytest.raises(
        RefusedError, match=r"cannot be read as an array.*received: object|received no array of numbers"
    ):
        read(path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("shape", [(100_000, 100_000), (80_000_001,), (2**32, 2**32), (-4, 4), (2**31, 2**31, 2**2)])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_header_of_a_huge_array_is_refused_before_memory_is_taken(tmp_path, shape, suffix):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    path = tmp_path / f"a{suffix}"
    path.write_bytes(file.getvalue())
    if suffix == ".npz":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("depth.npy", file.getvalue())
    tracemalloc.start()
    with pytest.raises(RefusedError, match=r"cannot be read as an array. Expected a complete .np[yz] file of numbers"):
        read(path, dataset="depth")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_npz_that_inflates_to_more_than_its_header_says_is_read_no_further(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("depth.npy", npy(MAP) + bytes(200_000_000))
    tracemalloc.start()
    same(read(tmp_path / "a.npz"), MAP)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("dtype", ["complex64", "U4", "M8[s]", [("a", "f4")]])
def test_array_of_other_things_than_numbers_is_refused(tmp_path, dtype):
    with pytest.raises(RefusedError, match=r"Expected a complete .npy file of numbers"):
        read(write(tmp_path / "a.npy", np.zeros((4, 4), dtype)))


def test_truth_values_are_no_depth(tmp_path):
    with pytest.raises(RefusedError, match=r"holds no numbers. Expected integers or floats, received bool"):
        read(write(tmp_path / "a.npy", np.ones((4, 4), bool)))


@pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning")
@given(st.data())
def test_damaged_npy_is_read_or_refused_and_nothing_else(data):
    intact = bytearray(npy(np.ones((4, 4), np.float32)))
    for _ in range(data.draw(st.integers(1, 4))):
        intact[data.draw(st.integers(0, 127))] = data.draw(st.sampled_from(b" (),'{}[]:<f4\xff\0-0"))
    cut = data.draw(st.integers(0, len(intact)))
    try:
        values = arrays.read_npy(bytes(intact[:cut] if cut % 3 == 0 else intact), "a")
    except RefusedError:
        return
    assert values.size <= images.MAX_PIXELS


def test_array_header_without_its_end_is_refused():
    with pytest.raises(RefusedError, match="cannot be read as an array"):
        arrays.read_npy(npy(np.ones((4, 4), np.float32)).replace(b"(4, 4), }", b"(4, 4,   "), "a")


# --- MATLAB 5 ---


def element(kind: int, data: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def variable(shape, numbers: bytes, *, kind: int = 9, array_class: int = 6, name: bytes = b"depth", order: str = "<"):
    """One numeric variable, written by hand."""
    dims = struct.pack(f"{order}{len(shape)}i", *shape)
    parts = (6, struct.pack(f"{order}II", array_class, 0)), (5, dims), (1, name), (kind, numbers)
    return element(14, b"".join(element(part, data, order) for part, data in parts), order)


def mat(content: bytes, order: str = "<") -> bytes:
    return b"MATLAB 5.0".ljust(124) + struct.pack(f"{order}H", 0x0100) + {"<": b"IM", ">": b"MI"}[order] + content


@pytest.mark.parametrize("compressed", [True, False])
def test_variables_of_all_kinds_and_those_that_are_no_numbers(tmp_path, compressed):
    content = {
        "cell": np.array([MAP, "text"], dtype=object),
        "struct": {"a": MAP},
        "text": "words",
        "flag": np.ones((3, 4)) > 0,
        "whole": np.arange(12, dtype=np.float64).reshape(3, 4),
        "complex": MAP * 1j,
        "z": MAP,
        "k": np.eye(3)[None, ..., :2],
    }
    scipy.io.savemat(tmp_path / "a.mat", content, do_compression=compressed)
    found = matlab.list_arrays(tmp_path / "a.mat")
    assert found == {"flag": (3, 4), "whole": (3, 4), "z": (3, 4), "k": (1, 3, 2)}
    for name in ("whole", "z", "k"):
        same(matlab.read_array(tmp_path / "a.mat", name), content[name])


@pytest.mark.parametrize("order", ["<", ">"])
def test_doubles_may_be_stored_as_bytes_in_either_order(tmp_path, order):
    numbers = np.array([1, 3, 2, 4, 5, 300], f"{order}u2")
    (tmp_path / "a.mat").write_bytes(mat(variable((2, 3), numbers.tobytes(), kind=4, order=order), order))
    same(read(tmp_path / "a.mat"), np.array([[1.0, 2.0, 5.0], [3.0, 4.0, 300.0]]))


BIG = 20_000_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # Inflates to gigabytes, as its own dimensions say.
        (variable((2**31 - 1, 2), b""), r"too large|exactly one map"),
        (variable((9000, 9000), bytes(8)), "too large"),
        # Inflates to far more than its dimensions justify.
        (variable((3, 4), bytes(8 * BIG)), "160000000 bytes for \\(3, 4\\) numbers"),
        (element(14, struct.pack("<II", 6, 8) + bytes(BIG)), "cannot be read as a MATLAB file|exactly one map"),
        (variable((3, 4), bytes(95)), r"95 bytes for \(3, 4\)"),
        (variable((3, 4), bytes(96), kind=77), "cannot be read as a MATLAB file"),
        (variable((-3, 4), bytes(96)), "dimensions"),
        (variable((3, 4), bytes(96), name=b"x" * 9000), "cannot be read|buffer"),
    ],
)
@pytest.mark.parametrize("compressed", [True, False])
def test_variable_that_claims_what_it_has_not_is_refused_before_memory_is_taken(tmp_path, content, message, compressed):
    path = tmp_path / "a.mat"
    path.write_bytes(mat(element(15, zlib.compress(content)) if compressed else content))
    limit = 3 * path.stat().st_size + 10_000_000
    del content
    tracemalloc.start()
    with pytest.raises(RefusedError, match=message):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < limit
    tracemalloc.stop()


@pytest.mark.parametrize("data", [b"", b"MATLAB 5.0", bytes(500), b"x" * 126 + b"IM" + bytes(40)])
def test_file_without_matlabs_header_is_refused(tmp_path, data):
    (tmp_path / "a.mat").write_bytes(data)
    with pytest.raises(RefusedError, match=r"cannot be read as a MATLAB file. Expected .*Save it again in MATLAB with"):
        read(tmp_path / "a.mat")


@given(st.data())
def test_damaged_matlab_file_is_read_or_refused_and_nothing_else(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("mat") / "a.mat"
    file = io.BytesIO()
    scipy.io.savemat(file, {"z": MAP, "t": "text"}, do_compression=data.draw(st.booleans()))
    intact = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        intact[data.draw(st.integers(120, len(intact) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(intact[: data.draw(st.integers(0, len(intact)))]) if data.draw(st.booleans()) else intact)
    with contextlib.suppress(RefusedError):
        assert read(path).size <= images.MAX_PIXELS


# --- HDF5 ---


def test_layouts_and_filters_that_are_read(tmp_path):
    big = np.random.default_rng(0).integers(0, 9, (70, 90)).astype(np.float32)
    for options in ({}, {"chunks": (16, 32)}, {"compression": "gzip", "chunks": (33, 7)},
                    {"compression": "gzip", "shuffle": True, "fletcher32": True}):  # fmt: skip
        same(read(write_hdf5(tmp_path / "a.h5", {"z": big}, **options)), big)


def test_one_frame_of_many_is_read_without_the_others(tmp_path):
    frames = np.random.default_rng(0).integers(0, 9, (5, 40, 30)).astype(np.float32)
    for chunks in (None, (1, 40, 30), (2, 16, 30)):
        path = write_hdf5(tmp_path / "a.h5", {"z": frames}, chunks=chunks, compression="gzip" if chunks else None)
        for index in range(5):
            same(containers.read_values(path, PLAIN, index), frames[index])


def test_chunk_that_was_never_written_is_read_as_zeros(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("z", (64, 64), "f4", chunks=(32, 32), compression="gzip")[:32, :32] = 2.0
    assert read(tmp_path / "a.h5").sum() == 2.0 * 32 * 32


def test_huge_array_of_unwritten_chunks_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("z", (2**20, 2**20), "f4", chunks=(1024, 1024))
        file.create_dataset("many", (3000, 3000), "f4", chunks=(1, 1), compression="gzip")
        file.create_dataset("wide", (20, 20), "f4", chunks=(20_000, 10_000), maxshape=(None, None))
    with pytest.raises(RefusedError, match=r"too large. Expected at most 80,000,000 numbers, received \(1048576, "):
        read(tmp_path / "a.h5", dataset="z")
    with pytest.raises(RefusedError, match=r"received '/many' in chunks of \(1, 1\)"):
        read(tmp_path / "a.h5", dataset="many")
    with pytest.raises(RefusedError, match=r"received '/wide' in chunks of \(20000, 10000\)"):
        read(tmp_path / "a.h5", dataset="wide")


def test_chunk_that_inflates_beyond_its_size_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("z", (64, 64), "f4", chunks=(64, 64), compression="gzip")
        dataset.id.write_direct_chunk((0, 0), zlib.compress(bytes(100_000_000)))
    tracemalloc.start()
    with pytest.raises(RefusedError, match="with a chunk that inflates to more than 16384 bytes"):
        read(tmp_path / "a.h5")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_links_to_other_files_are_not_followed(tmp_path):
    write_hdf5(tmp_path / "other.h5", {"z": MAP})
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["outside"] = h5py.ExternalLink("other.h5", "/z")
        file["soft"] = h5py.SoftLink("/outside")
    for dataset in ("outside", "soft", None):
        with pytest.raises(RefusedError, match="received no array of numbers"):
            read(tmp_path / "a.h5", dataset=dataset)


def test_numbers_in_other_files_are_refused(tmp_path):
    write_hdf5(tmp_path / "other.h5", {"z": MAP})
    (tmp_path / "raw").write_bytes(MAP.tobytes())
    layout = h5py.VirtualLayout((3, 4), "f4")
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "z", (3, 4))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("raw", (3, 4), "f4", external=[(str(tmp_path / "raw"), 0, 48)])
    for dataset in ("virtual", "raw"):
        with pytest.raises(RefusedError, match=f"received '/{dataset}', whose numbers lie in another file"):
            read(tmp_path / "a.h5", dataset=dataset)


@pytest.mark.parametrize("compression", ["lzf", 32015])
def test_filter_whose_output_cannot_be_bounded_is_refused(tmp_path, compression):
    if compression == "lzf":
        path = write_hdf5(tmp_path / "a.h5", {"z": MAP}, compression="lzf")
    else:  # Zstandard, by a plug-in that is not there
        path = tmp_path / "a.h5"
        with h5py.File(path, "w") as file:
            pipeline = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            pipeline.set_chunk((3, 4))
            pipeline.set_filter(compression, h5py.h5z.FLAG_OPTIONAL)
            h5py.h5d.create(file.id, b"z", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((3, 4)), pipeline)
    with pytest.raises(RefusedError, match=r"behind the filters \[\d+\]. Save it again with h5py, compression='gzip'"):
        read(path)


def test_file_that_is_no_hdf5_is_refused(tmp_path):
    for data in (b"", b"text", hdf5.SIGNATURE + bytes(100)):
        (tmp_path / "a.h5").write_bytes(data)
        with pytest.raises(RefusedError, match=r"cannot be read as HDF5. Expected a complete file"):
            read(tmp_path / "a.h5")
    with pytest.raises(RefusedError, match="cannot be read as HDF5"):
        read(tmp_path / "missing.h5")


def test_arrays_behind_matlabs_cells_are_left_out(tmp_path):
    same(read(write_matlab_73(tmp_path / "a.mat", {"#refs#/a": MAP, "#refs#/b": MAP, "z": MAP})), MAP)


def test_group_that_contains_itself_ends(tmp_path):
    with h5py.File(write_hdf5(tmp_path / "a.h5", {"z": MAP}), "a") as file:
        file["again"] = file["/"]
    same(read(tmp_path / "a.h5", dataset="z"), MAP)


@given(st.data())
def test_damaged_hdf5_is_read_or_refused_and_nothing_else(tmp_path_factory, data):
    path = write_hdf5(tmp_path_factory.mktemp("h5") / "a.h5", {"z": MAP}, compression="gzip")
    intact = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        intact[data.draw(st.integers(0, len(intact) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(intact[: data.draw(st.integers(0, len(intact)))]) if data.draw(st.booleans()) else intact)
    with contextlib.suppress(RefusedError):
        assert read(path).size <= images.MAX_PIXELS


# --- OpenEXR ---


@pytest.fixture
def exr(tmp_path):
    pytest.importorskip("OpenEXR", reason="the extra 'exr' is not installed")
    return tmp_path / "a.exr"


def test_channel_of_depth_is_found_by_its_name(exr):
    picture = dict.fromkeys("RGB", MAP * 0)
    for channel in ("Z", "ViewLayer.Depth.Z", "depth", "V", "Y"):
        same(read(write_exr(exr, picture | {channel: MAP})), MAP)


def test_equal_colours_are_grey_and_others_refused(exr):
    same(read(write_exr(exr, dict.fromkeys("RGB", MAP))), MAP)
    holes = np.where(MAP > 3, MAP, np.nan).astype(np.float32)
    same(read(write_exr(exr, dict.fromkeys("RGB", holes))), holes)
    with pytest.raises(RefusedError, match="not a map of one channel"):
        read(write_exr(exr, {"R": MAP, "G": MAP, "B": MAP + 1}))


def test_one_of_several_channels_must_be_named(exr):
    write_exr(exr, {"first.Z": MAP, "second.Z": MAP + 1})
    same(read(exr, dataset="second.Z"), MAP + 1)
    with pytest.raises(
        RefusedError, match=r"which channel is the depth. Expected one of depth, received first.Z, second"
    ):
        read(exr)
    with pytest.raises(RefusedError, match=r"Expected Z, received first.Z"):
        read(exr, dataset="Z")


def test_channels_of_one_name_in_two_parts_bear_the_names_of_the_parts(exr):
    import OpenEXR

    parts = [OpenEXR.Part({"name": name}, {"Z": MAP + i}, name) for i, name in enumerate(("left", "right"))]
    with OpenEXR.File(parts) as file:
        file.write(str(exr))
    same(read(exr, dataset="right.Z"), MAP + 1)
    with pytest.raises(RefusedError, match=r"which channel is the depth. .*received left.Z, right.Z"):
        read(exr)


def test_window_that_is_not_the_whole_picture_is_refused(exr):
    window = (np.array([0, 0], np.int32), np.array([9, 9], np.int32))
    with pytest.raises(RefusedError, match="received a window of 4 x 3 px that is not the whole picture"):
        read(write_exr(exr, {"Y": MAP}, displayWindow=window))


def test_exr_that_claims_too_many_pixels_is_refused(exr):
    data = bytearray(write_exr(exr, {"Y": MAP}).read_bytes())
    for name in (b"dataWindow\0", b"displayWindow\0"):
        at = data.index(name) + len(name) + len(b"box2i\0") + 4
        struct.pack_into("<4i", data, at, 0, 0, 99_999, 99_999)
    exr.write_bytes(data)
    with pytest.raises(RefusedError, match=r"too large. .*received \(100000, 100000\)|cannot be read as OpenEXR"):
        read(exr)


def test_file_that_is_no_exr_is_refused(exr):
    data = write_exr(exr, {"Y": MAP}).read_bytes()
    for content in (b"", b"text", data[:60], data[:-20]):
        exr.write_bytes(content)
        with pytest.raises(RefusedError, match=r"cannot be read as OpenEXR. Expected a complete flat image"):
            read(exr)


def test_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    (tmp_path / "a.exr").write_bytes(b"\x76\x2f\x31\x01")
    with pytest.raises(RefusedError, match=re.escape("OpenCV 5 has no OpenEXR). Run: pip install 'hazegen[exr]'")):
        read(tmp_path / "a.exr")


# --- all ---


@pytest.mark.parametrize("shape", [(), (6,), (4, 4, 3), (4, 4, 2), (1, 4, 4), (2, 2, 2, 2), (4, 4, 0), (0, 4), (0, 0)])
def test_array_that_is_no_map_is_refused(tmp_path, shape):
    values = np.random.default_rng(0).random(shape, dtype=np.float32) + 1.0
    expected = r"map of one channel. Expected \(height, width\), received " + re.escape(str(shape))
    with pytest.raises(RefusedError, match=expected):
        read(write(tmp_path / "a.npy", np.asarray(values, np.float32)))


@pytest.mark.parametrize("suffix", containers.SUFFIXES)
def test_file_of_text_is_refused(tmp_path, suffix):
    path = tmp_path / f"map{suffix}"
    path.write_bytes(b"these are not the depths you are looking for")
    with pytest.raises(RefusedError, match=rf"'map{suffix}' (is|can)"):
        read(path)


def test_nothing_heavy_is_imported_for_the_help():
    code = "import sys, hazegen.depth.readers, hazegen.depth.scale, hazegen.depth.calibration; "
    code += "sys.exit(' '.join({'h5py', 'scipy.io', 'OpenEXR'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).stderr.strip() == b""


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_damaged_npz_of_every_compression_is_refused(tmp_path, method):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("depth.npy", npy(np.random.default_rng(0).random((40, 50))))
    whole = bytearray(path.read_bytes())
    for start in range(40, 200, 8):
        path.write_bytes(whole[:start] + bytes(255 - byte for byte in whole[start : start + 8]) + whole[start + 8 :])
        with pytest.raises(RefusedError, match=r"Depth 'a.npz' cannot be read as an array|holds no array"):
            read(path)
