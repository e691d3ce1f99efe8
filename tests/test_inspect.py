"""hazegen inspect: what is found, which convention is guessed, the report, its command and the contact sheet."""

import dataclasses
import json
import math
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import cv2
import h5py
import numpy as np
import pytest
from inspect_fixtures import format_of, options_of

from hazegen import cli, images, samples
from hazegen.depth import guess, pooled, readers
from hazegen.depth.conventions import CONVENTIONS
from hazegen.depth.finding import Finding
from hazegen.depth.formats import DepthFormat, Values
from hazegen.errors import RefusedError, UsageError
from hazegen.inspect import look, words
from hazegen.inspect.find import InspectOptions, find
from hazegen.inspect.read import FAR_M, NEAR_M, read_samples, with_metres
from hazegen.inspect.report import as_json, make_command, other_reading, report_lines
from hazegen.inspect.run import TILE, TILES, Report, inspect
from hazegen.inspect.sheet import EDGE, HOLE, SKY, draw_edges, false_colors, fog, write_sheet
from hazegen.reading import Reading

WIDTH, HEIGHT, SCENES = 160, 120, 8
Metres = np.ndarray


@pytest.fixture(scope="session")
def rooms() -> list[tuple[np.ndarray, Metres]]:
    """Photos and depth [m] of procedural rooms."""
    found = []
    for index in range(100):
        made = samples.make_sample(3, index, WIDTH, HEIGHT)
        if made.name.startswith("room"):
            found.append((made.image, made.depth.astype(np.float32) * np.float32(made.camera["depth"]["unit_m"])))
        if len(found) == SCENES:
            break
    return found


@pytest.fixture(scope="session")
def streets() -> list[tuple[np.ndarray, Metres]]:
    """Photos and depth [m] of procedural streets, infinite in the sky."""
    found = []
    for index in range(100):
        made = samples.make_sample(4, index, WIDTH, HEIGHT)
        if made.name.startswith("street"):
            depth = made.depth.astype(np.float32) * np.float32(made.camera["depth"]["unit_m"])
            found.append((made.image, np.where(made.depth == samples.NO_SURFACE, np.float32(np.inf), depth)))
        if len(found) == SCENES:
            break
    return found


def png(values: np.ndarray) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(images.encode(values, ".png")) and None


def npy(values: np.ndarray) -> Callable[[Path], None]:
    return lambda path: np.save(path, values)


def pfm(values: np.ndarray) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        path.write_bytes(b"Pf\n%d %d\n-1.0\n" % values.shape[::-1] + values[::-1].astype("<f4").tobytes())

    return save


def hdf5(values: np.ndarray, name: str) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file[name] = values

    return save


def integers(depth_m: Metres, units: float) -> np.ndarray:
    return np.rint(np.where(np.isfinite(depth_m), depth_m, 0.0) * units).astype(np.uint16)


def write(
    root: Path,
    scenes: list[tuple[np.ndarray, Metres]],
    save: Callable[[Metres], Callable[[Path], None]],
    suffix: str = ".png",
    image_name: str = "images/s{:02d}",
    depth_name: str = "depth/s{:02d}",
) -> InspectOptions:
    """Writes photos and depth maps below `root`, and the options to look at them."""
    for number, (image, depth_m) in enumerate(scenes):
        photo, map_ = root / f"{image_name.format(number)}.png", root / f"{depth_name.format(number)}{suffix}"
        for path in (photo, map_):
            path.parent.mkdir(parents=True, exist_ok=True)
        photo.write_bytes(images.encode(image, ".png"))
        save(depth_m)(map_)
    folders = [root / Path(name).parts[0] if "/" in name else root for name in (image_name, depth_name)]
    return InspectOptions(images=folders[0], depth=folders[1])


def codes(report: Report) -> dict[str, str]:
    return {one.code: one.severity for one in report.findings}


# --- which convention ---


def with_scan_lines(depth_m: Metres) -> np.ndarray:
    """Every fourth row alone, and nothing beyond 80 m."""
    values = integers(np.where(depth_m < 80.0, depth_m, np.inf), 256)
    values[np.arange(len(values)) % 4 > 0] = 0
    return values


def as_bytes(depth_m: Metres) -> np.ndarray:
    """R + 256 G + 65536 B."""
    numbers = np.rint(np.where(np.isfinite(depth_m), depth_m, 1000.0) / 1000.0 * (2**24 - 1)).astype(np.int64)
    return np.dstack([numbers & 255, numbers >> 8 & 255, numbers >> 16]).astype(np.uint8)


def normalized(inverse: np.ndarray) -> np.ndarray:
    return np.rint((inverse - inverse.min()) / np.ptp(inverse) * 65535).astype(np.uint16)


ROOMS = {
    "nyu-png": lambda d: png(integers(d, 1000)),
    "nyu-png-8bit": lambda d: png(np.rint(d * 25.5).astype(np.uint8)),
    "tum": lambda d: png(integers(d, 1000) * 5),
    "sun-rgbd": lambda d: png(integers(d, 1000) << 3 | integers(d, 1000) >> 13),
    "midas": lambda d: png(normalized(1.0 / d)),
    "marigold": lambda d: npy((d - d.min()) / np.ptp(d)),
    "hypersim": lambda d: hdf5(d.astype(np.float16), "dataset"),
    "depth-pro": lambda d: lambda path: np.savez(path, depth=d),
}
SUFFIX = {"marigold": ".npy", "hypersim": ".hdf5", "depth-pro": ".npz", "tartanair": ".npy"}
STREETS = {
    "kitti": lambda d: png(with_scan_lines(d)),
    "virtual-kitti": lambda d: png(np.where(np.isfinite(d), integers(d, 100), 65535).astype(np.uint16)),
    "carla": lambda d: png(as_bytes(d)),
    "tartanair": lambda d: npy(np.where(np.isfinite(d), d, 10_000.0).astype(np.float32)),
}


@pytest.mark.parametrize("name", [*ROOMS, *STREETS])
def test_convention_is_guessed_from_the_numbers(tmp_path, rooms, streets, name):
    save = ROOMS.get(name) or STREETS[name]
    names = {
        "hypersim": ("images/{:02d}.tonemap", "depth/{:02d}.depth_meters"),
        "tartanair": ("images/{:02d}", "depth/{:02d}_depth"),
    }
    options = write(tmp_path, rooms if name in ROOMS else streets, save, SUFFIX.get(name, ".png"), *names.get(name, ()))
    report = inspect(options)
    assert report.guesses[0].name == name, report.guesses
    assert report.options.depth_kind == name
    assert not report.told
    assert not {"inverted", "mirrored", "unit", "8-bit", "wrapped", "unreadable", "convention"} & set(codes(report))


def test_guess_says_why_and_which_have_the_same_rule(tmp_path, rooms):
    best = inspect(write(tmp_path, rooms, ROOMS["nyu-png"])).guesses[0]
    assert {"scannet", "redwood"} <= set(best.same)
    assert any("the median is" in reason for reason in best.reasons)
    assert any("larger numbers look farther" in reason for reason in best.reasons)
    points = sum(float(reason.rsplit("(", 1)[1].rstrip(")")) for reason in best.reasons)
    assert best.score == pytest.approx(points, abs=0.051 * len(best.reasons))


def test_calibration_and_masks_beside_the_maps_speak_for_their_conventions(tmp_path, rooms):
    stereo = tmp_path / "stereo"
    options = write(stereo, rooms, lambda d: pfm(500.0 * 0.2 / d), ".pfm", "s{:02d}/im0", "s{:02d}/disp0")
    for number in range(SCENES):
        text = f"cam0=[500 0 80; 0 500 60; 0 0 1]\ndoffs=0\nbaseline=200\nwidth={WIDTH}\nheight={HEIGHT}\n"
        (stereo / f"s{number:02d}" / "calib.txt").write_text(text)
    report = inspect(dataclasses.replace(options, images=stereo, depth=stereo))
    assert report.guesses[0].name == "middlebury"
    assert report.files[0].metres[1] == pytest.approx(float(np.median(rooms[0][1])), rel=1e-3)
    masked = tmp_path / "masked"
    options = write(masked, rooms, npy, ".npy", "images/s{:02d}", "depth/s{:02d}_depth")
    for number in range(SCENES):
        mask = np.ones((HEIGHT, WIDTH))
        mask[:12] = 0
        np.save(options.depth / f"s{number:02d}_depth_mask.npy", mask)
    report = inspect(options)
    assert report.guesses[0].name == "diode"
    assert report.files[0].holes == pytest.approx(0.1)


def test_frames_of_one_file_are_looked_at(tmp_path, rooms):
    path = tmp_path / "labeled.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["images"] = np.array([image.transpose(2, 1, 0) for image, _ in rooms])
        file["depths"] = np.array([depth_m.T for _, depth_m in rooms])
    report = inspect(InspectOptions(images=path, depth=path))
    assert report.options.depth_kind == "nyu-mat"
    assert report.pairs == SCENES
    assert report.files[0].metres[1] == pytest.approx(float(np.median(rooms[0][1])), rel=1e-3)
    assert "--depth-kind nyu-mat" in make_command(report)


def test_one_damaged_file_among_many_hinders_no_guess(tmp_path, rooms):
    options = write(tmp_path, rooms, ROOMS["nyu-png"])
    (options.depth / "s00.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    report = inspect(options)
    assert report.guesses[0].name == "nyu-png"
    assert codes(report)["unreadable"] == "unlikely"


def test_convention_that_was_named_is_taken_and_doubted(tmp_path, rooms):
    options = write(tmp_path, rooms, ROOMS["tum"])
    report = inspect(dataclasses.replace(options, depth_kind="kitti"))
    assert report.told
    assert report.options.depth_kind == "kitti"
    (doubt,) = [one for one in report.findings if one.code == "convention"]
    assert "look rather like tum" in doubt.reason
    assert "convention" not in codes(inspect(dataclasses.replace(options, depth_kind="icl-nuim")))


def test_numbers_that_no_convention_fits_are_told(tmp_path, rooms):
    report = inspect(write(tmp_path, rooms, lambda d: lambda path: cv2.imwrite(str(path), 100.0 / d), ".tif"))
    assert codes(report)["unknown"] == "unlikely"
    assert codes(report)["inverted"] in ("unlikely", "impossible")
    assert report.options.depth_kind == "custom"
    assert "--depth-kind" not in make_command(report)


def test_camera_files_say_what_the_numbers_are(tmp_path):
    samples.make_samples(tmp_path / "set", 6, 3, width=WIDTH, height=HEIGHT)
    folders = {name: tmp_path / "set" / name for name in ("images", "depth", "camera")}
    report = inspect(InspectOptions(**folders))
    assert report.told
    assert report.options.depth_kind == "custom"
    assert set(codes(report)) <= {"sky"}
    assert f"--camera {folders['camera']}" in make_command(report)


# --- which files ---


@pytest.mark.parametrize(
    ("image_name", "depth_name", "patterns"),
    [
        ("images/{:02d}", "depth/{:02d}", ("{key}", "{key}")),
        ("all/{:02d}", "all/{:02d}_depth", ("{key}", "{key}_depth")),
        ("all/{:02d}.color", "all/{:02d}.depth", ("{key}.color", "{key}.depth")),
        ("images/rgb_{:02d}", "depth/depth_{:02d}", ("rgb_{key}", "depth_{key}")),
        ("images/{:02d}_leftImg8bit", "depth/{:02d}_disparity", ("{key}_leftImg8bit", "{key}_disparity")),
    ],
)
def test_name_patterns_are_found(tmp_path, rooms, image_name, depth_name, patterns):
    options = write(tmp_path, rooms, ROOMS["nyu-png"], ".png", image_name, depth_name)
    options, refs, unpaired, _ = find(options)
    assert options.patterns() == patterns
    assert len(refs) == SCENES
    assert unpaired == []


def test_patterns_that_are_told_are_the_only_ones(tmp_path, rooms):
    options = write(tmp_path, rooms, ROOMS["nyu-png"], ".png", "all/{:02d}", "all/{:02d}_depth")
    with pytest.raises(RefusedError, match=r"No image has a depth map. Expected .*received .*--image-pattern"):
        find(dataclasses.replace(options, depth_pattern="{key}-d"))


def test_files_are_a_sample_of_the_folder_and_always_the_same(tmp_path, rooms):
    options = dataclasses.replace(write(tmp_path, rooms, ROOMS["nyu-png"]), files=3)
    keys = [file.key for file in inspect(options).files]
    assert len(keys) == 3
    assert keys == [file.key for file in inspect(options).files]
    assert inspect(options).pairs == SCENES


def test_missing_partners_and_lost_images_are_told(tmp_path, rooms):
    options = write(tmp_path, rooms, ROOMS["nyu-png"])
    (options.images / "s00.png").unlink()
    (options.images / "s01.png").write_bytes(b"no picture")
    report = inspect(options)
    assert codes(report)["unpaired"] == "unlikely"
    assert codes(report)["lost"] == "unlikely"
    assert len(report.files) == SCENES - 2


def test_nothing_to_look_at_is_refused(tmp_path, rooms):
    options = write(tmp_path, rooms, ROOMS["nyu-png"])
    for path in options.images.iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(RefusedError, match=r"None of 8 scenes can be looked at. Expected .*received: "):
        inspect(options)


@pytest.mark.parametrize("files", [0, -1])
def test_number_of_files_out_of_range_is_refused(tmp_path, files):
    with pytest.raises(UsageError, match=rf"--files is out of range. Expected at least 1, received {files}"):
        InspectOptions(images=tmp_path, depth=tmp_path, files=files)


def test_folder_that_is_none_is_refused(tmp_path, rooms):
    options = write(tmp_path, rooms, ROOMS["nyu-png"])
    with pytest.raises(UsageError, match=r"is not a folder. Expected a folder"):
        inspect(dataclasses.replace(options, images=tmp_path / "none"))
    with pytest.raises(UsageError, match=r"is no folder. Expected .* received another file"):
        inspect(dataclasses.replace(options, depth=options.depth / "s00.png"))


def test_samples_keep_what_the_readers_refuse(tmp_path, rooms):
    options = write(
        tmp_path, rooms[:1], lambda d: png(np.dstack([integers(d, 40)] * 2 + [integers(d, 3)]).astype(np.uint8))
    )
    _, refs, _, _ = find(options)
    (sample,) = read_samples(refs, Reading(options.images, options.depth, convention="nyu-png"))
    assert sample.depth_m is None
    assert sample.values.shape == (HEIGHT, WIDTH, 3)
    assert "false colours" in sample.problem


@pytest.mark.parametrize(
    ("fmt", "changes"),
    [
        (DepthFormat(unit=0.001), {}),
        (DepthFormat("relative"), {"near_m": NEAR_M, "far_m": FAR_M}),
        (DepthFormat("relative-inverse", far_m=50.0), {"near_m": 5.0}),
        (DepthFormat("relative", near_m=2.0), {"far_m": 20.0}),
        (DepthFormat("disparity"), {"values": "relative-inverse", "near_m": NEAR_M, "far_m": FAR_M}),
        (DepthFormat("disparity", focal_px=700.0, baseline_m=0.5), {}),
        (DepthFormat("transmission"), {"beta": 1.0 / FAR_M}),
    ],
)
def test_formats_without_metres_get_stand_ins(fmt, changes):
    assert with_metres(fmt) == dataclasses.replace(fmt, **changes)
    readers.check_complete(with_metres(fmt))


# --- the report ---


@pytest.fixture(scope="module")
def report(tmp_path_factory, rooms) -> Report:
    def with_hole(depth_m: Metres) -> Callable[[Path], None]:
        values = integers(depth_m, 1000)
        values[30:60, 40:80] = 0
        return png(values)

    return inspect(write(tmp_path_factory.mktemp("report"), rooms, with_hole))


def test_report_is_a_table_with_reasons_and_a_command(report):
    lines = report_lines(report)
    assert lines[0] == "8 scenes, 8 of them read; 0 other files"
    assert lines[2].startswith("read as nyu-png: ")
    assert any(line.startswith("  1. nyu-png (same rule: ") for line in lines)
    (row,) = [line for line in lines if line.startswith("  s00 ")]
    assert row.split()[:5] == ["s00", "png", "uint16", "120x160", "same"]
    assert row.split()[11:13] == ["6.2%", "0.0%"]
    assert any(line.startswith("  note       holes ") for line in lines)
    assert lines[-1] == f"next: {make_command(report)}"


def test_report_without_findings_says_so(report):
    assert "nothing was found wrong" in report_lines(dataclasses.replace(report, findings=()))


def test_report_as_json_is_complete_and_plain(report):
    content = json.loads(json.dumps(as_json(report), allow_nan=False))
    assert content["depth_kind"] == "nyu-png"
    assert len(content["files"]) == SCENES
    assert content["files"][0]["raw"] == list(report.files[0].raw)
    assert content["files"][0]["alignment"]["same"] == pytest.approx(report.files[0].alignment.scores["same"])
    assert [one["code"] for one in content["findings"]] == [one.code for one in report.findings]
    assert content["command"] == make_command(report)


def test_numbers_that_are_none_become_null(tmp_path, rooms):
    flat = write(tmp_path, rooms, lambda d: png(np.full((HEIGHT, WIDTH), 700, np.uint16)))
    content = as_json(inspect(dataclasses.replace(flat, depth_kind="nyu-png")))
    assert content["files"][0]["rise"] is None


@pytest.mark.parametrize("name", ["nyu-png", "tum", "midas", "marigold", "hypersim"])
def test_the_command_makes_the_dataset(tmp_path, monkeypatch, rooms, name):
    folder = tmp_path / "with a space"
    names = {"hypersim": ("images/{:02d}.tonemap", "depth/{:02d}.depth_meters")}
    options = write(folder, rooms, ROOMS[name], SUFFIX.get(name, ".png"), *names.get(name, ()))
    command = shlex.split(make_command(inspect(options)))
    assert command[:2] == ["hazegen", "make"]
    monkeypatch.chdir(tmp_path)
    assert cli.main([*command[1:], "--variants", "1", "--workers", "1"]) == 0
    assert (tmp_path / "dataset" / "manifest.json").is_file()


def test_the_command_says_what_the_files_lack(tmp_path, rooms):
    def command(name: str, save: Callable[[Metres], Callable[[Path], None]], **options: object) -> str:
        return make_command(inspect(dataclasses.replace(write(tmp_path / name, rooms, save), **options)))

    def mostly_holes(depth_m: Metres) -> Callable[[Path], None]:
        values = integers(depth_m, 1000)
        values[: int(0.6 * HEIGHT)] = 0
        return png(values)

    disparity = lambda d: png(np.rint(600.0 / d).astype(np.uint8))  # noqa: E731
    assert "--recipe.max-holes 0.65" in command("holes", mostly_holes)
    assert "--fit-depth" in command("small", lambda d: png(np.ascontiguousarray(integers(d, 1000)[::2, ::2])))
    told = command("stereo", disparity, depth_kind="middlebury-8bit", image_pattern="{key}", depth_pattern="{key}")
    assert "--depth-kind middlebury-8bit --image-pattern '{key}' --depth-pattern '{key}'" in told
    assert "--depth-values relative-inverse --near 1 --far 10" in told
    told = command("told", disparity, depth_values="disparity", depth_scale=0.5, focal_px=100.0, baseline_m=0.2)
    assert "--depth-values disparity --depth-scale 0.5 --focal-px 100 --baseline-m 0.2" in told
    assert "--near" not in told
    told = command("near", ROOMS["midas"], depth_kind="midas", near=2.0, far=30.0)
    assert told.count("--near") == told.count("--far") == 1
    assert "--near 2 --far 30" in told


def test_the_command_declares_zeros_that_are_holes(tmp_path, rooms):
    def with_hole(depth_m: Metres) -> Callable[[Path], None]:
        disparity = (1050.0 / depth_m).astype(np.float32)
        disparity[80:110, 20:140] = 0
        return pfm(disparity)

    report = inspect(dataclasses.replace(write(tmp_path, rooms, with_hole, ".pfm"), depth_kind="sceneflow"))
    assert codes(report)["zero-holes"] == "unlikely"
    assert make_command(report).endswith("--depth-kind sceneflow --not-measured 0")


def read_as(report: Report, options: InspectOptions, fmt: DepthFormat, *findings: Finding) -> Report:
    """The report of the same files, read by other options."""
    files = tuple(dataclasses.replace(file, fmt=fmt) for file in report.files)
    return dataclasses.replace(report, options=options, files=files, findings=findings)


ROUND_TRIPS = [
    *({"depth_kind": name} for name, one in CONVENTIONS.items() if not one.stack),
    *({"depth_values": values} for values in get_args(Values)),
    {"depth_kind": "middlebury-8bit", "depth_scale": 0.25, "near": 2.0},
    {"depth_kind": "middlebury-8bit", "depth_scale": 0.25, "focal_px": 700.0, "baseline_m": 0.16},
    {"depth_kind": "middlebury-8bit", "depth_values": "relative-inverse", "not_measured": "nan"},
    {"depth_values": "relative", "not_measured": "0,65535", "far": 30.0},
    {"depth_values": "disparity", "depth_scale": 1 / 256, "no_surface": 0.0},
    {"depth_scale": 10 / 255, "not_measured": "nan", "no_surface": 65535.0},
    {"depth_kind": "virtual-kitti", "depth_values": "ray", "not_measured": "0"},
]


@pytest.mark.parametrize("given", ROUND_TRIPS, ids=str)
def test_the_command_reads_files_as_they_were_inspected(report, given):
    """The printed line, read back as make reads it, comes to the format of the inspection, stand-ins included."""
    options = InspectOptions(images=report.options.images, depth=report.options.depth, **given)
    fmt = with_metres(options.format())
    made = options_of(make_command(read_as(report, options, fmt)))
    assert format_of(made) == fmt
    assert made.patterns() == options.patterns()
    assert (made.depth or made.transmission) == options.depth


@pytest.mark.parametrize("name", ["middlebury", "cityscapes-disparity"])
def test_the_command_leaves_focal_lengths_to_calibration_files(report, name):
    options = InspectOptions(images=report.options.images, depth=report.options.depth, depth_kind=name)
    fmt = dataclasses.replace(options.format(), focal_px=700.0, baseline_m=0.2, doffs_px=3.0)
    assert format_of(options_of(make_command(read_as(report, options, fmt)))) == options.format()


def test_holes_of_disparity_stay_holes_in_the_dataset(tmp_path, rooms):
    """8-bit disparity without a focal length: holes (0) must not become the farthest surface."""

    def with_hole(depth_m: Metres) -> Callable[[Path], None]:
        values = np.rint(250.0 / depth_m).astype(np.uint8)
        values[80:110, 20:60] = 0
        return png(values)

    options = write(tmp_path, rooms, with_hole, ".png", "s{:02d}/im2", "s{:02d}/disp2")
    report = inspect(dataclasses.replace(options, images=tmp_path, depth=tmp_path))
    assert report.options.depth_kind == "middlebury-8bit"
    made = options_of(make_command(report))
    assert format_of(made) == report.files[0].fmt
    depth_m = readers.read_depth(tmp_path / "s00" / "disp2.png", format_of(made))
    assert np.isnan(depth_m[80:110, 20:60]).all()
    assert np.isnan(depth_m).mean() == pytest.approx(30 * 40 / (WIDTH * HEIGHT))


# --- what to do instead ---


def test_nothing_is_made_of_maps_that_cannot_be(tmp_path, rooms):
    report = inspect(write(tmp_path, rooms, lambda d: png(integers(d, 1000)[:, ::-1])))
    assert codes(report)["mirrored"] == "impossible"
    text = "\n".join(report_lines(report))
    assert "hazegen make -" not in text
    assert "next: no hazegen make yet; do what is said of mirrored, and look again" in text
    assert as_json(report)["command"] is None


@pytest.mark.parametrize(
    ("save", "given", "better"),
    [
        (ROOMS["tum"], {"depth_kind": "redwood"}, {"depth_kind": "tum"}),
        (ROOMS["tum"], {"depth_scale": 0.001}, {"depth_kind": "tum"}),
        (ROOMS["nyu-png"], {"depth_scale": 1.0}, {"depth_kind": "nyu-png"}),
        (ROOMS["midas"], {"depth_kind": "nyu-png"}, {"depth_kind": "midas"}),
        (
            lambda d: lambda path: cv2.imwrite(str(path.with_suffix(".tif")), 100.0 / d),
            {},
            {"depth_values": "relative-inverse", "not_measured": "0", "near": 1.0, "far": 10.0},
        ),
    ],
)
def test_a_likelier_reading_is_offered_and_finds_no_fault(tmp_path, rooms, save, given, better):
    report = inspect(dataclasses.replace(write(tmp_path, rooms, save), **given))
    line = report_lines(report)[-1]
    assert line.startswith("or: hazegen inspect ")
    assert as_json(report)["other_reading"] == line.removeprefix("or: ")
    options = options_of(line.removeprefix("or: "))
    assert {name: getattr(options, name) for name in better} == better
    assert options.format() == InspectOptions(images=options.images, depth=options.depth, **better).format()
    assert not {"inverted", "unit", "convention", "unknown"} & set(codes(inspect(options)))


def test_no_other_reading_is_offered_for_sound_maps(report):
    assert other_reading(report) is None


# --- a look before hazegen make ---


def looked(options: InspectOptions, *, finds_sky: bool = False, **given: object) -> dict[str, str]:
    told, refs, _, _ = find(dataclasses.replace(options, **given))
    reading = told.reading_of(told.images, told.depth)
    return {one.code: one.severity for one in look.look(iter(refs), reading, told.patterns()[1], finds_sky=finds_sky)}


def test_make_doubts_conventions_as_inspect_does(tmp_path, rooms):
    options = write(tmp_path, rooms, ROOMS["tum"])
    assert looked(options, depth_kind="redwood")["convention"] == "unlikely"
    assert looked(options, depth_scale=0.001)["convention"] == "unlikely"
    assert "convention" not in looked(options, depth_kind="icl-nuim")
    assert "convention" not in looked(options, depth_scale=0.0002)


def test_what_a_network_estimates_follows_no_convention(tmp_path, rooms):
    options = write(tmp_path, rooms, ROOMS["tum"])
    told, refs, _, _ = find(dataclasses.replace(options, depth_scale=0.001))
    reading = dataclasses.replace(told.reading_of(told.images, told.depth), depth_entries=False)
    assert "convention" not in {one.code for one in look.look(refs, reading, "{key}")}


def test_make_says_it_on_the_command_line_and_its_advice_runs(tmp_path, rooms, capsys):
    options = write(tmp_path, rooms, ROOMS["tum"], ".png", "all/{:02d}.color", "all/{:02d}.depth")
    words = ["--images", options.images, "--depth", options.depth, "--depth-kind", "redwood", "--dry-run"]
    words += ["--image-pattern", "{key}.color", "--depth-pattern", "{key}.depth", "--recipe.path", "plane"]
    make = lambda *more: cli.main(["make", *map(str, words), "--out", str(tmp_path / "out"), *more])  # noqa: E731
    assert make() == 0
    assert "warning: convention: The maps look rather like tum. Expected redwood" in capsys.readouterr().err
    assert make("--depth-scale", "1", "--fov-deg", "60") == 3
    (advice,) = re.findall(r'"(hazegen inspect .*)" shows them', capsys.readouterr().err)
    told = options_of(advice)
    assert told.patterns() == ("{key}.color", "{key}.depth")
    assert (told.depth_kind, told.depth_scale, told.fov_deg) == ("redwood", 1.0, 60.0)
    assert inspect(told).pairs == SCENES


def test_camera_files_beside_the_maps_are_offered(tmp_path):
    samples.make_samples(tmp_path / "set", 6, 3, width=WIDTH, height=HEIGHT)
    options = InspectOptions(images=tmp_path / "set" / "images", depth=tmp_path / "set" / "depth")
    report = inspect(options)
    assert codes(report)["camera-files"] == "unlikely"
    told = options_of(report_lines(report)[-1].removeprefix("or: "))
    made = words.command("make", options.images, ("--depth", str(options.depth)), ("--out", "dataset"))
    assert report_lines(report)[-2] == f"next: {made} --camera {tmp_path / 'set' / 'camera'}"
    assert (told.camera, told.depth_kind) == (tmp_path / "set" / "camera", "custom")
    assert "camera-files" not in codes(inspect(told))
    assert looked(options, depth_scale=0.01)["camera-files"] == "unlikely"
    assert "camera-files" not in looked(options, camera=told.camera)
    # Rooms and streets differ in their unit; a folder of rooms alone, read as its files say, is no reason to doubt.
    for path in [path for part in ("images", "depth") for path in (tmp_path / "set" / part).glob("street*")]:
        path.unlink()
    assert looked(options, depth_scale=0.001, no_surface=65535.0)["camera-files"] == "note"
    for path in told.camera.iterdir():
        content = json.loads(path.read_text())
        path.write_text(json.dumps({name: value for name, value in content.items() if name != "depth"}))
    assert looked(options, depth_scale=0.01)["camera-files"] == "note"


def test_missing_calibration_is_named_and_the_maps_are_read_without(tmp_path, rooms):
    def save(depth_m: Metres) -> Callable[[Path], None]:
        disparity = (100.0 / depth_m).astype(np.float32)
        disparity[:30] = np.inf
        return pfm(disparity)

    options = write(tmp_path, rooms, save, ".pfm", "s{:02d}/im0", "s{:02d}/disp0GT")
    options = dataclasses.replace(options, images=tmp_path, depth=tmp_path)
    report = inspect(options)
    (found,) = [one for one in report.findings if one.code == "calibration"]
    assert re.search(r"may follow eth3d.*Expected calib\.txt beside each map, received none", found.reason)
    assert report.files[0].sky == 0.0
    assert report.files[0].holes == pytest.approx(0.25)
    assert report_lines(report)[2] == "read as eth3d without calib.txt: relative, larger is nearer"
    made = options_of(make_command(report))
    assert format_of(made) == report.files[0].fmt
    plain = {name: getattr(made, name) for name in ("depth_values", "not_measured", "near", "far")}
    assert not {"calibration", "convention"} & set(looked(options, **plain))


def sky_scene(height: int = 240, width: int = 320) -> tuple[np.ndarray, Metres]:
    """A grey-blue sky without a measurement above a road that reaches from 4 m to 40 m."""
    rng = np.random.default_rng(0)
    image = np.full((height, width, 3), (170, 190, 215), np.uint8)
    image[height // 3 :] = rng.integers(30, 90, (height - height // 3, width, 1))
    depth_m = np.full((height, width), np.nan, np.float32)
    depth_m[height // 3 :] = (1.0 / np.linspace(1 / 40, 1 / 4, height - height // 3, dtype=np.float32))[:, None]
    return image, depth_m


def test_unmeasured_sky_is_found_where_nobody_looks_for_it(tmp_path):
    def save(depth_m: Metres) -> Callable[[Path], None]:
        return png(integers(np.nan_to_num(depth_m), 256))

    options = write(tmp_path, [sky_scene()] * 2, save)
    report = inspect(dataclasses.replace(options, depth_scale=1 / 256))
    (found,) = [one for one in report.findings if one.code == "sky-holes"]
    assert found.number == pytest.approx(1 / 3, abs=0.05)
    assert "--recipe.sky-from-image" in found.reason
    assert make_command(report).endswith("--recipe.sky-from-image")
    assert "sky-holes" in looked(options, depth_scale=1 / 256)
    assert "sky-holes" not in looked(options, depth_scale=1 / 256, finds_sky=True)
    assert "sky-holes" not in looked(options, depth_kind="kitti")


# --- pairs whose names share nothing ---


@pytest.mark.parametrize(
    ("names", "patterns"),
    [
        (("rgb", "depth"), ("{key}/rgb", "{key}/depth")),
        (("left", "gt_disp_left"), ("{key}/left", "{key}/gt_disp_left")),
        (("IMG_77", "mapped"), ("{key}/IMG_77", "{key}/mapped")),
        (("im0", "disp0GT"), ("im{key}", "disp{key}GT")),
        (("view1", "disp1"), ("view{key}", "disp{key}")),
        (("aloeL", "aloeGT"), ("{key}L", "{key}GT")),
    ],
)
def test_one_pair_in_a_folder_is_found_and_the_command_runs(tmp_path, monkeypatch, rooms, names, patterns):
    options = write(tmp_path, rooms[:1], npy, ".npy", *(f"scene/{name}" for name in names))
    (options.images / "readme.txt").touch()
    report = inspect(dataclasses.replace(options, depth_values="plane"))
    assert (report.pairs, report.options.patterns()) == (1, patterns)
    lines = report_lines(report)
    assert lines[0] == "1 scene, 1 of them read; 1 other file"
    made = options_of(make_command(report))
    found = find(InspectOptions(images=made.images, depth=made.depth, image_pattern=patterns[0],
                                depth_pattern=patterns[1]))[1]  # fmt: skip
    assert [(made.images / ref.image, made.depth / ref.depth) for ref in found] == [
        (options.images / f"{names[0]}.png", options.images / f"{names[1]}.npy")
    ]
    elsewhere = tmp_path.with_name(f"{tmp_path.name}-work")
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    command = shlex.split(make_command(report))
    assert cli.main([*command[1:], "--recipe.path", "plane", "--variants", "1", "--workers", "1"]) == 0


@pytest.mark.parametrize("names", [("rgb", "depth"), ("view1", "disp1"), ("left", "disp"), ("color", "depth_map")])
def test_folders_of_one_pair_each_are_found(tmp_path, rooms, names):
    options = write(tmp_path, rooms, npy, ".npy", *(f"all/s{{:02d}}/{name}" for name in names))
    (options.images / "s00" / "right.png").write_bytes((options.images / "s00" / f"{names[0]}.png").read_bytes())
    told, refs, unpaired, others = find(options)
    assert told.patterns() == tuple(f"{{key}}/{name}" for name in names)
    assert ([ref.key for ref in refs], unpaired, others) == ([f"s{n:02d}" for n in range(SCENES)], [], 1)


def test_named_convention_is_looked_for_by_other_names_too(tmp_path, rooms):
    options = write(tmp_path, rooms, ROOMS["tum"], ".png", "all/{:02d}.color", "all/{:02d}.depth")
    told, refs, _, _ = find(dataclasses.replace(options, depth_kind="tum"))
    assert told.patterns() == ("{key}.color", "{key}.depth")
    assert len(refs) == SCENES


def test_message_names_the_files_and_the_words_that_help(tmp_path, rooms):
    options = write(tmp_path, rooms, npy, ".npy", "images/photo{:02d}", "depth/map{:02d}")
    with pytest.raises(RefusedError) as caught:
        find(options)
    text = str(caught.value)
    assert "'photo00.png', 'photo01.png', 'photo02.png', 'photo03.png', ... among the images" in text
    assert "'map00.npy', 'map01.npy', 'map02.npy', 'map03.npy', ... among the maps" in text
    assert "with '{key}/rgb' and '{key}/depth'" in text


# --- the contact sheet ---


def test_sheet_shows_every_scene_in_four_pictures(report, tmp_path):
    assert write_sheet(report, tmp_path / "new" / "sheet.png") == min(TILES, SCENES)
    sheet = images.read_picture(tmp_path / "new" / "sheet.png")
    assert sheet.shape[1] == 4 * TILE + 16
    assert sheet.shape[0] > SCENES * TILE * HEIGHT // WIDTH
    assert (sheet == HOLE).all(axis=2).sum() > SCENES * 500


def test_sheet_shows_maps_that_were_refused_as_blanks(tmp_path, rooms):
    options = write(
        tmp_path, rooms, lambda d: png(np.dstack([integers(d, 40)] * 2 + [integers(d, 3)]).astype(np.uint8))
    )
    assert write_sheet(inspect(dataclasses.replace(options, depth_kind="nyu-png")), tmp_path / "sheet.jpg") == SCENES


@pytest.mark.parametrize("name", ["sheet", "sheet.txt"])
def test_output_that_is_no_picture_is_refused(report, tmp_path, name):
    with pytest.raises(UsageError, match=r"no picture. Expected .*received 'sheet"):
        write_sheet(report, tmp_path / name)


def test_false_colors_are_brighter_where_it_is_nearer_and_mark_holes_and_sky():
    depth_m = np.tile(np.linspace(1.0, 9.0, 40, dtype=np.float32), (10, 1))
    depth_m[0, 3], depth_m[1, 3] = np.nan, np.inf
    colors = false_colors(depth_m)
    assert tuple(colors[0, 3]) == HOLE
    assert tuple(colors[1, 3]) == SKY
    brightness = colors[5].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) <= 0).all()
    assert brightness[0] > brightness[-1] + 100


def test_edges_of_depth_are_drawn_where_depth_steps():
    depth_m = np.full((20, 30), 4.0, np.float32)
    depth_m[5:15, 10:20] = 1.0
    red = (draw_edges(np.zeros((20, 30, 3), np.uint8), depth_m) == EDGE).all(axis=2)
    assert red[10, 9]
    assert red[10, 19]
    assert red[4, 15]
    assert red.sum() == 4 * 10 - 1  # a corner steps to the right and downwards


def test_fog_hides_what_is_far_and_leaves_a_third_at_the_median():
    depth_m = np.tile(np.array([0.001, 2.0, 4.0, 8.0, np.inf], np.float32), (5, 1))
    hazy = fog(np.zeros((5, 5, 3), np.uint8), depth_m)[0, :, 0] / 255.0
    assert hazy[0] == pytest.approx(0.0, abs=0.01)
    assert hazy[4] == pytest.approx(0.9, abs=0.01)
    median = float(np.median(depth_m[np.isfinite(depth_m)]))
    assert hazy[2] == pytest.approx(0.9 * (1.0 - math.exp(-4.0 / median)), abs=0.01)
    assert (np.diff(hazy) > 0).all()


def test_scores_of_guesses_are_sorted(report):
    scores = [one.score for one in report.guesses]
    assert scores == sorted(scores, reverse=True)
    assert all(isinstance(one, guess.Guess) for one in report.guesses)


# --- on the command line ---


def call(options, *words):
    return cli.main([str(word) for word in ("inspect", "--images", options.images, "--depth", options.depth, *words)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--out", "sheet.txt"),
            "The output is no picture. Expected a name that ends in .png or .jpg, received 'sheet.",
        ),
        (("--out", "taken/sheet.png"), "'taken/sheet.png' cannot be written. Expected a file in a folder"),
        (
            ("--json", "."),
            "'.' cannot be written. Expected a file in a folder that can be written to, received a folder",
        ),
    ],
)
def test_output_that_cannot_be_written_is_refused_before_anything_is_read(
    tmp_path, rooms, monkeypatch, capsys, words, message
):
    options = write(tmp_path, rooms, ROOMS["nyu-png"])
    monkeypatch.chdir(tmp_path)
    Path("taken").touch()
    monkeypatch.setattr("hazegen.inspect.run.find", lambda options: pytest.fail("the work has begun"))
    assert call(options, *words) == 2
    assert message in capsys.readouterr().err


def test_names_that_are_no_text_do_no_harm(tmp_path, rooms, capfd):
    options = write(tmp_path, rooms, ROOMS["nyu-png"])
    name = os.fsdecode(b"\xff\xfe")
    for folder in (options.images, options.depth):
        (folder / "s00.png").rename(folder / f"{name}.png")
    assert call(options, "--out", tmp_path / "new" / "sheet.png", "--json", tmp_path / "other" / "report.json") == 0
    assert "\\udcff\\udcfe " in capfd.readouterr().out
    assert name in [file["key"] for file in json.loads((tmp_path / "other" / "report.json").read_text())["files"]]
    assert images.read_picture(tmp_path / "new" / "sheet.png").shape[1] > 4 * TILE


def test_document_lists_every_finding():
    root = Path(__file__).parent.parent
    table = (root / "docs" / "depth.md").read_text().partition("## The depth doctor")[2].partition("## What was")[0]
    documented = {code for line in table.splitlines() if line.startswith("| `") for code in
                  re.findall(r"`([a-z0-9-]+)`", line.split("|")[1])}  # fmt: skip
    sources = [path.read_text() for part in ("depth", "inspect") for path in (root / "hazegen" / part).glob("*.py")]
    found = {code for text in sources for code in re.findall(r"(?:Finding|_by_files)\(\s*\"([a-z0-9-]+)\"", text)}
    assert documented == found | set(pooled._REMEDIES)
