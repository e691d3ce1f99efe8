"""Calibration files of stereo sets: what they tell, and each way in which they can be wrong."""

import json
from pathlib import Path

import pytest

from hazegen.depth.calibration import Calibration, path_of, read_calibration
from hazegen.errors import RefusedError
from hazegen.geometry import Camera

MIDDLEBURY = """cam0=[999.421 0 294.182; 0 999.5 252.932; 0 0 1]
cam1=[999.421 0 326.96; 0 999.5 252.932; 0 0 1]
doffs=32.778
baseline=193.001
width=741
height=497
ndisp=70
"""
CITYSCAPES = {
    "extrinsic": {"baseline": 0.209313, "pitch": 0.038, "roll": 0.0, "x": 1.7, "y": 0.1, "yaw": -0.02, "z": 1.22},
    "intrinsic": {"fx": 2262.52, "fy": 2265.3017, "u0": 1096.98, "v0": 513.137},
}


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_middlebury_tells_millimetres_and_the_offset(tmp_path):
    told = read_calibration("middlebury", written(tmp_path / "calib.txt", MIDDLEBURY), (497, 741))
    camera = Camera(741, 497, 999.421, 999.5, 294.182, 252.932)
    assert told == Calibration(999.421, pytest.approx(0.193001), 32.778, camera)
    assert read_calibration("middlebury", tmp_path / "calib.txt") == told


def test_middlebury_with_other_line_ends_and_spaces(tmp_path):
    path = tmp_path / "calib.txt"
    path.write_bytes(MIDDLEBURY.replace("\n", "\r\n").replace("; ", ";").encode())
    assert read_calibration("middlebury", path).focal_px == 999.421


def test_cityscapes_tells_metres_and_takes_the_size_of_the_picture(tmp_path):
    path = written(tmp_path / "ulm_camera.json", json.dumps(CITYSCAPES))
    camera = Camera(2048, 1024, 2262.52, 2265.3017, 1096.98, 513.137)
    assert read_calibration("cityscapes", path, (1024, 2048)) == Calibration(2262.52, 0.209313, 0.0, camera)
    assert read_calibration("cityscapes", path).camera is None


@pytest.mark.parametrize("kind", ["middlebury", "cityscapes"])
def test_missing_file_is_refused_with_what_belongs_into_it(tmp_path, kind):
    expected = {"middlebury": r"Expected lines cam0=", "cityscapes": "Expected JSON with intrinsic"}[kind]
    with pytest.raises(RefusedError, match=rf"calib.txt' is missing. {expected}.*Add it, or pass --camera"):
        read_calibration(kind, tmp_path / "calib.txt")


@pytest.mark.parametrize("key", ["cam0", "doffs", "baseline", "width", "height"])
def test_middlebury_without_an_entry_is_refused(tmp_path, key):
    text = "".join(line for line in MIDDLEBURY.splitlines(True) if not line.startswith(f"{key}="))
    with pytest.raises(RefusedError, match=rf"calib.txt' cannot be used. .*received KeyError: '{key}'. Correct the"):
        read_calibration("middlebury", written(tmp_path / "calib.txt", text))


@pytest.mark.parametrize(
    ("part", "key"), [("extrinsic", "baseline"), *(("intrinsic", key) for key in ("fx", "fy", "u0", "v0"))]
)
@pytest.mark.parametrize("value", [None, "wide", float("nan"), True])
def test_cityscapes_without_an_entry_or_with_no_number_is_refused(tmp_path, part, key, value):
    content = json.loads(json.dumps(CITYSCAPES))
    if value is None:
        del content[part][key]
    else:
        content[part][key] = value
    with pytest.raises(RefusedError, match=r"cannot be used. Expected JSON with intrinsic fx, fy, u0, v0"):
        read_calibration("cityscapes", written(tmp_path / "a.json", json.dumps(content)), (4, 4))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("baseline=193.001", "baseline=0"),
        ("baseline=193.001", "baseline=-193"),
        ("baseline=193.001", "baseline=inf"),
        ("doffs=32.778", "doffs=nan"),
        ("doffs=32.778", "doffs="),
        ("cam0=[999.421", "cam0=[0"),
        ("cam0=[999.421", "cam0=[-999"),
        ("cam0=[999.421 0", "cam0=[999.421"),
        ("cam0=[999.421", "cam0=[f"),
        ("width=741", "width=741.5"),
        ("width=741", "width=0"),
    ],
)
def test_middlebury_out_of_range_is_refused(tmp_path, old, new):
    path = written(tmp_path / "calib.txt", MIDDLEBURY.replace(old, new))
    with pytest.raises(RefusedError, match=r"'calib.txt' cannot be used. Expected lines cam0="):
        read_calibration("middlebury", path)


@pytest.mark.parametrize("value", [0.0, -2262.0])
def test_cityscapes_out_of_range_is_refused(tmp_path, value):
    for part, key in (("intrinsic", "fx"), ("extrinsic", "baseline")):
        content = json.loads(json.dumps(CITYSCAPES))
        content[part][key] = value
        with pytest.raises(RefusedError, match=r"cannot be used. Expected JSON"):
            read_calibration("cityscapes", written(tmp_path / "a.json", json.dumps(content)))


@pytest.mark.parametrize("kind", ["middlebury", "cityscapes"])
@pytest.mark.parametrize("data", [b"", b"\xff\xfe\0", b"[" * 100_000, b"[]", b"null", b'{"intrinsic": 3}'])
def test_file_of_something_else_is_refused(tmp_path, kind, data):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(RefusedError, match="'a' cannot be used"):
        read_calibration(kind, tmp_path / "a")


def test_middlebury_of_another_size_is_refused(tmp_path):
    path = written(tmp_path / "calib.txt", MIDDLEBURY)
    with pytest.raises(RefusedError, match=r"another size. Expected 1482 x 994, received 741 x 497. Use the calib"):
        read_calibration("middlebury", path, (994, 1482))


def test_middlebury_lies_in_the_folder_of_the_scene(tmp_path):
    depth = tmp_path / "depth" / "terrace" / "disp0.pfm"
    assert path_of("middlebury", "terrace", depth, None) == depth.parent / "calib.txt"
    one = written(tmp_path / "all.txt", MIDDLEBURY)
    assert path_of("middlebury", "terrace", depth, one) == one
    folder = tmp_path / "calibration"
    (folder / "terrace").mkdir(parents=True)
    assert path_of("middlebury", "terrace", depth, folder) == folder / "calib.txt"
    inner = written(folder / "terrace" / "calib.txt", MIDDLEBURY)
    assert path_of("middlebury", "terrace", depth, folder) == inner


def test_cityscapes_lies_in_a_tree_of_its_own(tmp_path):
    depth = tmp_path / "disparity" / "ulm" / "ulm_000_disparity.png"
    assert path_of("cityscapes", "ulm/ulm_000", depth, None) == depth.parent / "ulm_000_camera.json"
    folder = tmp_path / "camera"
    folder.mkdir()
    assert path_of("cityscapes", "ulm/ulm_000", depth, folder) == folder / "ulm" / "ulm_000_camera.json"


def test_camera_file_of_another_picture_is_refused(tmp_path):
    own = written(tmp_path / "ulm_000_camera.json", json.dumps(CITYSCAPES))
    assert path_of("cityscapes", "ulm/ulm_000", tmp_path / "d.png", own) == own
    with pytest.raises(
        RefusedError, match=r"of another picture. Expected 'ulm_001_camera.json' for scene 'ulm/ulm_001'"
    ):
        path_of("cityscapes", "ulm/ulm_001", tmp_path / "d.png", own)


@pytest.mark.parametrize("number", ["1" + 400 * "0", "1" + 5000 * "0"])
def test_number_without_end_is_refused(tmp_path, number):
    path = written(tmp_path / "a.json", json.dumps(CITYSCAPES).replace("2262.52", number))
    with pytest.raises(RefusedError, match=r"'a.json' cannot be used. .*received (Overflow|Value)Error"):
        read_calibration("cityscapes", path, (4, 4))
    path = written(tmp_path / "calib.txt", MIDDLEBURY.replace("width=741", f"width={number}"))
    with pytest.raises(RefusedError, match=r"'calib.txt' cannot be used. .*received (Overflow|Value)Error"):
        read_calibration("middlebury", path)
