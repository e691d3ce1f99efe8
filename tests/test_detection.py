"""Objects in haze: counted, compared with the clean picture's, shown and logged."""

import contextlib
import csv
import io
import itertools
import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import wandb_reader
from detector_fixtures import BLUE, CLASSES, RED, SIZE, fastestdet, squares, write
from test_boxes import boxes_of
from wandb_fixtures import entry, log_of, summary_of, without_settings

from aodnet import cli, detection, detection_pictures, detection_report, levels, model, weights
from aodnet.detection import Detection, KeptPictures, detect_pairs
from aodnet.detection_pictures import Seen
from aodnet.detection_report import Agreement
from aodnet.detectors import DetectorOptions, detect, load_detector
from aodnet.pairs import Pair, Picture
from hazegen import images
from hazegen.errors import UsageError

DATA = Path(os.environ.get("HAZEGEN_TEST_DATA", "/dev/null"))
on_real_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="HAZEGEN_TEST_DATA does not name a folder with the published data sets"
)

SCENES = {
    "one": squares((0, 0, RED), (0, 2, BLUE), (2, 1, RED)),
    "two": squares((1, 1, BLUE)),
    "three": squares(),
}


def hazed(clean: np.ndarray, t: float) -> np.ndarray:
    return np.rint(clean * t + 255.0 * (1.0 - t)).astype(np.uint8)


def unhazed(t: float):
    return lambda hazy: np.rint(np.clip((hazy - 255.0 * (1.0 - t)) / t, 0, 255)).astype(np.uint8)


def pairs_of(t: dict[str, float] | float = 0.4) -> list[Pair]:
    """One pair of each scene; a colour's score falls to t, so that below the confidence of 0.5 nothing is found."""
    of = dict.fromkeys(SCENES, t) if isinstance(t, float) else t
    return [Pair(f"{k}#0", k, hazed(c, of[k]), c, {"mean_transmission": of[k]}) for k, c in SCENES.items()]


def blind(hazy: np.ndarray) -> np.ndarray:
    return np.full_like(hazy, 90)


def inventive(hazy: np.ndarray) -> np.ndarray:
    """Sees a red square in the lower right corner of every picture, and nothing else."""
    return squares((3, 3, RED))


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    (folder / "names").write_text("\n".join(CLASSES))
    path = write(folder / "tiny.onnx", fastestdet())
    return load_detector(DetectorOptions(detector=path, detector_names=folder / "names", detector_runtime="cv2"))


METHODS = {"right": unhazed(0.4), "blind": blind, "inventive": inventive}


@pytest.fixture(scope="module")
def detected(detector, tmp_path_factory):
    out = tmp_path_factory.mktemp("detected")
    return detect_pairs(iter(pairs_of()), METHODS, detector, 0.5, out), out / "detection"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- figures ---


def test_figures_by_hand(detected):
    versions = detected[0]["versions"]
    assert list(versions) == ["hazy", "right", "blind", "inventive", "clean"]
    told = {name: tuple(row.values()) for name, row in versions.items()}
    # objects, agreed, in_clean, precision, recall, f1; four squares in the clean pictures
    assert told["hazy"] == (0, 0, 4, None, 0.0, 0.0)
    assert told["right"] == (4, 4, 4, 1.0, 1.0, 1.0)
    assert told["blind"] == (0, 0, 4, None, 0.0, 0.0)
    assert told["inventive"] == (3, 0, 4, 0.0, 0.0, 0.0)
    assert told["clean"] == (4, 4, 4, 1.0, 1.0, 1.0)
    assert detected[0]["pictures"] == 3


def test_figures_by_class(detected):
    classes = detected[0]["classes"]
    assert list(classes) == ["red", "blue"]
    assert {name: row["clean"]["objects"] for name, row in classes.items()} == {"red": 2, "blue": 2}
    assert classes["red"]["inventive"] == {
        "objects": 3, "agreed": 0, "in_clean": 2, "precision": 0.0, "recall": 0.0, "f1": 0.0,
    }  # fmt: skip
    assert classes["blue"]["inventive"]["objects"] == 0
    assert classes["blue"]["right"]["recall"] == 1.0


def test_figures_by_haze_level(detector, tmp_path):
    summary = detect_pairs(pairs_of({"one": 0.45, "two": 0.9, "three": 0.05}), {}, detector, 0.5, tmp_path)
    assert list(summary["levels"]) == ["t 0.0 to 0.1", "t 0.4 to 0.5", "t 0.9 to 1.0"]
    hazy = {level: part["versions"]["hazy"] for level, part in summary["levels"].items()}
    assert (hazy["t 0.4 to 0.5"]["objects"], hazy["t 0.4 to 0.5"]["in_clean"]) == (0, 3)
    assert (hazy["t 0.9 to 1.0"]["objects"], hazy["t 0.9 to 1.0"]["recall"]) == (1, 1.0)
    assert hazy["t 0.0 to 0.1"]["f1"] is None
    assert [part["pictures"] for part in summary["levels"].values()] == [1, 1, 1]
    table = (tmp_path / "detection" / "table.md").read_text()
    headings = ("Objects in all pictures:", "Objects by class. Each cell:", "Objects by mean transmission. Each cell:")
    assert [table.count(f"\n\n{heading}") for heading in headings] == [1, 1, 1]
    assert "| t 0.9 to 1.0 (1) | 1 (1.000, 1.000, 1.000) | 1 |" in table


@pytest.mark.parametrize(
    ("transmission", "expected"),
    [(0.0, "t 0.0 to 0.1"), (0.2, "t 0.2 to 0.3"), (0.599, "t 0.5 to 0.6"), (1.0, "t 0.9 to 1.0"), (None, None)],
)
def test_haze_level(transmission, expected):
    known = {} if transmission is None else {"mean_transmission": transmission}
    assert detection.level_of(Pair("a", "a", squares(), squares(), known)) == expected


def test_haze_levels_are_the_reports():
    assert detection.LEVELS[1:] == levels.IMAGE_BOUNDS["mean_transmission"]


def test_pairs_of_unknown_haze_have_no_levels(detector, tmp_path):
    pairs = [Pair("a", "a", squares((0, 0, RED)), squares((0, 0, RED)))]
    summary = detect_pairs(pairs, {}, detector, 0.5, tmp_path)
    assert summary["levels"] == {}
    assert "mean transmission" not in (tmp_path / "detection" / "table.md").read_text()


def test_rates_by_hand():
    some = Agreement(found=8, agreed=6, clean=12)
    assert (some.precision, some.recall, some.f1) == (0.75, 0.5, 0.6)
    none = Agreement(0, 0, 0)
    assert (none.precision, none.recall, none.f1) == (None, None, None)
    assert Agreement(0, 0, 3).f1 == Agreement(3, 0, 0).f1 == 0.0
    unknown = Agreement(found=3, agreed=0, clean=None)
    assert (unknown.precision, unknown.recall, unknown.f1) == (None, None, None)


@pytest.mark.parametrize(("iou", "agreed"), [(0.5, 1), (0.6, 1), (0.61, 0)])
def test_overlap_from_which_on_boxes_agree_is_an_option(iou, agreed, detector, tmp_path, monkeypatch):
    """Two boxes of 10 px x 10 px that share 7.5 px: 75 / 125 = 0.6."""
    found = {"hazy": boxes_of((2.5, 0, 12.5, 10, 0.9, 0)), "clean": boxes_of((0, 0, 10, 10, 0.9, 0))}
    monkeypatch.setattr(detection, "detect", lambda _, pixels, name: found["clean" if pixels.max() else "hazy"])
    pair = Pair("a", "a", np.zeros((20, 20, 3), np.uint8), np.ones((20, 20, 3), np.uint8))
    summary = detect_pairs([pair], {}, detector, iou, tmp_path)
    assert (summary["versions"]["hazy"]["agreed"], summary["iou"]) == (agreed, iou)


def test_summary_says_what_the_figures_hang_on(detected):
    summary = json.loads((detected[1] / "summary.json").read_text(), parse_constant=pytest.fail)
    assert summary == detected[0]
    assert summary["detector"]["file"] == "tiny.onnx"
    assert len(summary["detector"]["sha256"]) == 64
    assert summary["detector"]["runtime"].startswith("cv2.dnn 5")
    assert summary["detector"]["input"] == f"{SIZE} x {SIZE}"
    assert summary["detector"]["layout"].endswith("fastestdet with 2 classes")
    assert (summary["confidence"], summary["iou"], summary["suppression_iou"]) == (0.5, 0.5, 0.45)
    assert summary["matching"].startswith("greedy: the surest box first")


def test_table(detected):
    text = (detected[1] / "table.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[2] == "| hazy | 0 | 0 | - | 0.000 | 0.000 |"
    assert lines[3] == "| right | 4 | 4 | 1.000 | 1.000 | 1.000 |"
    assert lines[6] == "| clean | 4 |  |  |  |  |"
    assert lines[7] == "| class | hazy | right | blind | inventive | clean |"
    assert lines[9] == (
        "| red | 0 (-, 0.000, 0.000) | 2 (1.000, 1.000, 1.000) | 0 (-, 0.000, 0.000) | 3 (0.000, 0.000, 0.000) | 2 |"
    )
    assert {line.count("|") for line in lines[:7]} == {7}
    assert {line.count("|") for line in lines[7:11]} == {7}
    assert "at IoU 0.5, greedy: the surest box first" in text


def test_pipe_in_a_name_breaks_no_table(detected):
    summary = json.loads(json.dumps(detected[0]))
    summary["versions"]["a|b"] = summary["versions"]["right"]
    assert "| a/b | 4 |" in detection_report.format_summary(summary)


# --- files ---


def test_every_box_is_in_the_csv(detected, detector):
    rows = rows_of(detected[1] / "boxes.csv")
    assert tuple(rows[0]) == detection.BOX_COLUMNS
    expected = []
    for pair in pairs_of():
        for version, pixels in {"hazy": pair.hazy, **{n: m(pair.hazy) for n, m in METHODS.items()}}.items():
            found = detect(detector, pixels, "")
            expected += [(pair.name, pair.scene, version, *values) for values in _told(found)]
        expected += [(pair.name, pair.scene, "clean", *values) for values in _told(detect(detector, pair.clean, ""))]
    sides = ("left", "top", "right", "bottom")
    received = [
        (r["image"], r["scene"], r["version"], r["class"], r["confidence"], *(float(r[s]) for s in sides)) for r in rows
    ]
    assert received == expected
    assert len(rows) == 11
    assert {(r["version"], r["agrees"]) for r in rows} == {("right", "1"), ("inventive", "0"), ("clean", "")}
    assert {r["level"] for r in rows} == {"t 0.4 to 0.5"}


def _told(found):
    for corners, score, number in zip(found.corners, found.scores, found.classes, strict=True):
        yield CLASSES[number], f"{score:.4f}", *np.round(corners, 2).tolist()


def test_every_picture_is_in_the_csv(detected):
    rows = rows_of(detected[1] / "pictures.csv")
    assert tuple(rows[0]) == detection.PICTURE_COLUMNS
    versions = ["hazy", *METHODS, "clean"]
    assert [(r["image"], r["version"]) for r in rows] == [
        (f"{name}#0", version) for name, version in itertools.product(SCENES, versions)
    ]
    assert [r["is_hazy"] for r in rows] == ["1", "0", "0", "0", "0"] * 3
    first = {row["version"]: row for row in rows[:5]}
    assert (first["right"]["objects"], first["right"]["agreed"], first["right"]["classes"]) == (
        "3",
        "3",
        "red 2; blue 1",
    )
    assert first["blind"]["classes"] == ""


def test_pictures_of_every_version_are_kept(detected):
    files = sorted(path.name for path in (detected[1] / "pictures").iterdir())
    assert files == [f"{number:06d}-{place}.jpg" for number in range(3) for place in range(5)]


def test_kept_pictures_are_few_and_evenly_spread(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "000007-0.jpg").write_bytes(b"of an earlier run")
    kept = KeptPictures(tmp_path / "pictures")
    drawn = []
    for number in range(100):
        kept.add(number, lambda number=number: drawn.append(number) or [np.zeros((4, 4, 3), np.uint8)])
    left = sorted(int(path.name[:6]) for path in (tmp_path / "pictures").iterdir())
    assert left == list(range(0, 100, 4))
    assert len(drawn) < 60
    for number in range(100, 129):
        kept.add(number, lambda: [np.zeros((4, 4, 3), np.uint8)])
    assert sorted(int(p.name[:6]) for p in (tmp_path / "pictures").iterdir()) == list(range(0, 129, 8))


def test_memory_does_not_grow_with_the_pairs(detector, tmp_path, monkeypatch):
    monkeypatch.setattr(detection, "KEPT", 2)
    (pair,) = pairs_of()[:1]
    peaks = []
    for count in (10, 60):
        tracemalloc.start()
        detect_pairs(itertools.repeat(pair, count), {"right": unhazed(0.4)}, detector, 0.5, tmp_path / str(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 100_000


def test_pairs_may_come_from_another_loop(detector, tmp_path, detected):
    """What restores the pictures for other figures too can hand them over."""
    with Detection(detector, 0.5, list(METHODS), tmp_path) as run:
        for pair in pairs_of():
            run.add(pair, {name: method(pair.hazy) for name, method in METHODS.items()})
        assert run.finish() == detected[0]
    for name in ("boxes.csv", "pictures.csv", "table.md", "summary.json"):
        assert (tmp_path / "detection" / name).read_bytes() == (detected[1] / name).read_bytes()


@pytest.mark.parametrize("name", ["hazy", "clean"])
def test_model_by_the_name_of_another_picture_is_refused(name, detector, tmp_path):
    with pytest.raises(UsageError, match=f"Expected names other than hazy and clean, received {name}. Rename its file"):
        Detection(detector, 0.5, [name], tmp_path)


def test_no_pairs(detector, tmp_path):
    summary = detect_pairs([], {"right": blind}, detector, 0.5, tmp_path)
    assert summary["pictures"] == 0
    assert summary["versions"]["right"]["f1"] is None
    assert not (tmp_path / "detection" / "gains.png").exists()


# --- pictures ---


def test_sheet_shows_the_best_and_the_worst_of_each_method(detected, detector):
    sheet = images.read_picture(detected[1] / "gains.png")
    tile = detection_pictures.NARROWEST + 6, detection_pictures.NARROWEST + detection_pictures.CAPTION_PX
    row = detection_pictures.TITLE_PX + tile[1] + 8
    assert sheet.shape == (detection_pictures.TITLE_PX + 6 * row, 3 * tile[0], 3)


def test_best_and_worst_by_the_change_of_f1(detector):
    extremes = detection.Extremes()
    clean = boxes_of((0, 0, 10, 10, 0.9, 0), (20, 0, 30, 10, 0.9, 1))
    pixels = np.zeros((40, 40, 3), np.uint8)

    def seen(version, *partners):
        found = clean.take(np.arange(len(partners)))
        return Seen(version, pixels, found, np.array(partners, np.int64), clean)

    shown = Seen("clean", pixels, clean, np.arange(2), clean)
    titles = []
    original = detection.row
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection, "row", lambda title, tiles: titles.append(title) or original(title, tiles))
        extremes.add("same", [seen("hazy", 0), seen("m", 0), shown], CLASSES)
        extremes.add("more", [seen("hazy"), seen("m", 0, 1), shown], CLASSES)
        extremes.add("less", [seen("hazy", 0, 1), seen("m", 0, -1), shown], CLASSES)
        extremes.add("much", [seen("hazy"), seen("m", 0), shown], CLASSES)
    # F1 by hand: 2/3 to 2/3; 0 to 1; 1 to 2/4; 0 to 2/3, which is no new extreme.
    assert titles == [
        "best gain of m: F1 0.67 to 0.67, same",
        "worst gain of m: F1 0.67 to 0.67, same",
        "best gain of m: F1 0.00 to 1.00, more",
        "worst gain of m: F1 1.00 to 0.50, less",
    ]
    assert len(extremes.rows()) == 2


def test_nothing_found_where_nothing_is_is_no_loss():
    nothing = Seen("hazy", np.zeros((4, 4, 3), np.uint8), boxes_of(), np.empty(0, np.int64), boxes_of())
    assert detection._worth(nothing) == 1.0


def test_without_clean_pictures_objects_are_counted(detector, tmp_path):
    """Real haze: nobody knows what lies behind it."""
    hazy = [Picture(pair.name, pair.scene, pair.hazy) for pair in pairs_of()]
    summary = detect_pairs(hazy, METHODS, detector, 0.5, tmp_path, has_clean=False)
    assert list(summary["versions"]) == ["hazy", *METHODS]
    assert {name: row["objects"] for name, row in summary["versions"].items()} == {
        "hazy": 0, "right": 4, "blind": 0, "inventive": 3,
    }  # fmt: skip
    told = {value for row in summary["versions"].values() for key, value in row.items() if key != "objects"}
    assert told == {None}
    out = tmp_path / "detection"
    assert {row["agrees"] for row in rows_of(out / "boxes.csv")} == {""}
    assert {row["agreed"] for row in rows_of(out / "pictures.csv")} == {""}
    text = (out / "table.md").read_text()
    assert "no clean pictures to agree with" in text
    assert "| picture | objects |\n|---|---|\n| hazy | 0 |\n| right | 4 |" in text
    assert "| red | 0 | 2 | 0 | 3 |" in text
    sheet = images.read_picture(out / "gains.png")
    assert sheet.shape[1] == 2 * (detection_pictures.NARROWEST + 6)


def test_gain_without_clean_pictures_is_by_objects(monkeypatch):
    titles, pixels = [], np.zeros((40, 40, 3), np.uint8)
    monkeypatch.setattr(detection, "row", lambda title, tiles: titles.append(title) or tiles[0])
    boxes = boxes_of((0, 0, 10, 10, 0.9, 0), (20, 0, 30, 10, 0.9, 1))
    one, two = (Seen(version, pixels, boxes.take(np.arange(n)), None, None) for version, n in (("hazy", 1), ("m", 2)))
    detection.Extremes().add("photo", [one, two], CLASSES)
    assert titles == ["best gain of m: objects 1 to 2, photo", "worst gain of m: objects 1 to 2, photo"]


def test_boxes_are_drawn_around_objects_in_their_colours():
    pixels = np.full((200, 500, 3), 128, np.uint8)
    found = boxes_of((20, 60, 120, 160, 0.9, 0), (200, 60, 300, 160, 0.8, 1))
    clean = boxes_of((20, 60, 120, 160, 0.9, 0), (350, 60, 450, 160, 0.8, 1))
    drawn = detection_pictures.tile(Seen("m", pixels, found, np.array([0, -1]), clean), CLASSES)
    top = detection_pictures.CAPTION_PX
    assert drawn.shape == (200 + top, 500, 3)
    for left, color, width in (
        (20, detection_pictures.AGREES, 2),
        (200, detection_pictures.EXTRA, 2),
    ):
        box = drawn[60 + top : 160 + top, left : left + 100]
        assert (box[:, :width] == color).all()
        assert (box[-width:] == color).all()
        assert (box[width:-width, width:-width] == 128).all()
        label = drawn[60 + top - 17 : 60 + top, left : left + 60]
        assert (label == color).all(axis=2).any()
    box = drawn[60 + top : 160 + top, 350:450]
    dashes = [int(value) for value in box[0, :, 0]]
    assert dashes[:-1] == (10 * (5 * [0] + 5 * [255]))[:-1]  # the last is the right edge's
    assert (box[1:-1, 1:-1] == 128).all()
    assert (drawn[60 + top - 17 : 60 + top, 350:450] == 128).all()
    assert (drawn[top:, 300:350] == 128).mean() > 0.95


def test_labels_hide_each_other_only_where_there_is_no_room():
    pixels = np.zeros((300, 500, 3), np.uint8)
    found = boxes_of((100, 100, 200, 200, 0.9, 0), (104, 102, 204, 202, 0.8, 1), (98, 98, 198, 198, 0.7, 0))
    places = []
    original = detection_pictures._label
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection_pictures, "_label", lambda *a: places.append(original(*a)) or places[-1])
        detection_pictures.tile(Seen("clean", pixels, found, np.arange(3), found), CLASSES)
    assert len(places) == 3
    assert not any(detection_pictures._meet(a, b) for a, b in itertools.combinations(places, 2))


@pytest.mark.parametrize("size", [(40, 3000), (3000, 40), (1, 1), (8, 8)])
def test_pictures_of_any_size_can_be_shown(size):
    pixels = np.zeros((*size, 3), np.uint8)
    found = boxes_of((0, 0, size[1], size[0], 0.9, 0))
    tile = detection_pictures.tile(Seen("m", pixels, found, np.array([0]), found), CLASSES)
    assert detection_pictures.NARROWEST <= tile.shape[1] <= detection_pictures.WIDEST
    assert tile.shape[0] <= detection_pictures.HIGHEST + detection_pictures.CAPTION_PX


def test_names_that_are_no_text_can_be_shown():
    title = detection_pictures.row("name \udcff.png", [np.zeros((5, 300, 3), np.uint8)])
    assert title.shape == (5 + detection_pictures.TITLE_PX, 306, 3)


# --- the command ---


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """Pairs in two folders, a network that returns its input, the tiny detector and its names."""
    root = tmp_path_factory.mktemp("command")
    for name in ("hazy", "clean"):
        (root / name).mkdir()
    for pair in pairs_of(0.8):
        (root / "hazy" / f"{pair.scene}_1.png").write_bytes(images.encode(pair.hazy, ".png"))
        (root / "clean" / f"{pair.scene}.png").write_bytes(images.encode(pair.clean, ".png"))
    network = model.build_aodnet()
    network.get_layer("k").set_weights([np.zeros((3, 3, 12, 3), np.float32), np.ones(3, np.float32)])
    weights.save(network, root / "same.weights.h5")
    (root / "names").write_text("\n".join(CLASSES))
    write(root / "tiny.onnx", fastestdet())
    return {path.name.split(".")[0]: path for path in root.iterdir()}


def run(files: dict[str, Path], out: Path, *words: object) -> int:
    pairs = ["--hazy", files["hazy"], "--clean", files["clean"]]
    options = ["--detector", files["tiny"], "--detector-names", files["names"], "--detector-runtime", "cv2"]
    words = ("evaluate", "--model", files["same"], *pairs, "--out", out, *options, *words)
    return cli.main([str(word) for word in words])


@pytest.fixture(scope="module")
def command(files, tmp_path_factory):
    """The output of one evaluation with a detector, logged offline, and what it said."""
    out = tmp_path_factory.mktemp("command-out") / "scores"
    said = io.StringIO()
    with without_settings(out.parent), contextlib.redirect_stdout(said):
        assert run(files, out, "--confidence", "0.7", "--iou", "0.6", "--wandb", "offline") == 0
    return out, said.getvalue()


def test_command_counts_objects(command):
    out, said = command
    summary = json.loads((out / "detection" / "summary.json").read_text())
    assert (summary["confidence"], summary["iou"], summary["pictures"]) == (0.7, 0.6, 3)
    assert list(summary["versions"]) == ["hazy", "same", "clean"]
    assert summary["versions"]["same"] == summary["versions"]["hazy"]
    assert summary["versions"]["hazy"]["objects"] == summary["versions"]["clean"]["objects"] == 4
    assert (out / "detection" / "table.md").read_text() in said
    assert f"objects: '{out}/detection'" in said
    assert "Protocol" in said


def test_wandb_has_a_table_of_pictures_objects_and_is_hazy(command):
    out, _ = command
    log = log_of(out)
    (artifact,) = (a for a in wandb_reader.artifacts(log) if a.type == "evaluation")
    table = json.loads(entry(out, artifact, "objects.table.json").read_text())
    assert table["columns"] == ["picture", "objects", "is_hazy", "version", "image", "classes"]
    told = [(row[1], row[2], row[3], row[4]) for row in table["data"]]
    objects = {"one": 3, "three": 0, "two": 1}
    assert told == [
        (count, version == "hazy", version, f"{name}_1")
        for name, count in objects.items()
        for version in ("hazy", "same", "clean")
    ]
    shown = images.read_picture(entry(out, artifact, table["data"][0][0]["path"]))
    assert shown.shape == images.read_picture(out / "detection" / "pictures" / "000000-0.jpg").shape
    for name in ("boxes.csv", "pictures.csv", "summary.json", "table.md", "gains.png"):
        path = entry(out, artifact, f"detection/{name}")
        assert path.read_bytes() == (out / "detection" / name).read_bytes()
    summary = summary_of(log)
    assert summary["detection/hazy/objects"] == 4
    assert summary["detection/same/recall"] == 1.0


def test_evaluation_without_a_detector_logs_no_objects(tmp_path):
    """Neither where there are none, nor where they are of an earlier evaluation in the same folder."""
    detection_report.log(None, None, tmp_path)
    (tmp_path / "detection").mkdir()
    for time_s, path in enumerate((tmp_path / "detection" / "summary.json", tmp_path / "summary.json"), 1_000_000):
        path.write_text("{}")
        os.utime(path, (time_s, time_s))
    detection_report.log(None, None, tmp_path)
    os.utime(tmp_path / "detection" / "summary.json")
    with pytest.raises(KeyError):
        detection_report.log(None, None, tmp_path)


def test_wrong_detector_ends_the_command_before_any_work(files, tmp_path, capsys):
    assert run(files, tmp_path / "out", "--detector-layout", "yolo") == 3
    assert "'tiny.onnx' is no detector for us" in capsys.readouterr().err
    assert not (tmp_path / "out" / "scores.csv").exists()


def test_command_counts_objects_in_hazy_pictures_alone(files, tmp_path):
    words = ["evaluate", "--model", files["same"], "--hazy", files["hazy"], "--out", tmp_path / "out"]
    words += ["--detector", files["tiny"], "--detector-runtime", "cv2"]
    assert cli.main([str(word) for word in words]) == 0
    summary = json.loads((tmp_path / "out" / "detection" / "summary.json").read_text())
    assert {name: row["objects"] for name, row in summary["versions"].items()} == {"hazy": 4, "same": 4}


# --- the published detector ---


@pytest.fixture(scope="module")
def fastest():
    folder = DATA / "detector"
    options = {"detector": folder / "FastestDet.onnx", "detector_names": folder / "coco.names"}
    return {
        runtime: load_detector(DetectorOptions(**options, detector_runtime=runtime))
        for runtime in ("cv2", "onnxruntime")
    }


@on_real_data
@pytest.mark.parametrize("runtime", ["cv2", "onnxruntime"])
def test_cars_of_a_street_are_found_and_haze_hides_them(runtime, fastest):
    clean = images.read_picture(DATA / "rgbd_kitti_depth" / "rgb" / "0000000050.png")
    found = detect(fastest[runtime], clean, "street")
    cars = found.take(np.flatnonzero(found.classes == fastest[runtime].names.index("car")))
    assert len(cars) == len(found) == 2
    # The parked car at the left border, and one farther along the kerb, as one sees them.
    np.testing.assert_allclose(cars.corners, [[0, 201, 182, 306], [364, 184, 438, 221]], atol=1.0)
    assert len(detect(fastest[runtime], hazed(clean, 0.15), "hazy street")) < 2


@on_real_data
def test_both_runtimes_find_the_same(fastest):
    for path in [*sorted((DATA / "rgbd_kitti_depth" / "rgb").iterdir()), DATA / "detector" / "3.jpg"]:
        pixels = images.as_rgb8(images.read_picture(path), path.name)
        a, b = (detect(one, pixels, path.name) for one in fastest.values())
        np.testing.assert_array_equal(a.classes, b.classes)
        np.testing.assert_allclose(a.corners, b.corners, atol=0.05)
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)


@on_real_data
def test_published_picture_has_its_four_people(fastest):
    pixels = images.read_picture(DATA / "detector" / "3.jpg")
    found = detect(fastest["cv2"], pixels, "people")
    assert [fastest["cv2"].names[n] for n in found.classes] == ["person"] * 4
