"""The contact sheet: what it shows, in which order, and of what it is made."""

import numpy as np
import pytest

from hazegen import heads, images, preview
from hazegen.errors import HazegenError, RefusedError
from hazegen.make import make

ROW = 160 + preview.CAPTION + preview.MARGIN  # of a 96 x 64 scene: tiles of 240 x 160


@pytest.mark.parametrize(
    ("pairs", "rows", "columns"), [(1, 1, 1), (3, 3, 1), (4, 2, 2), (12, 6, 2), (500, 18, 2)]
)  # 36 pairs are there
def test_sheet_has_as_many_pairs_as_asked_or_as_there_are(dataset, tmp_path, pairs, rows, columns):
    shown = preview.preview(dataset, tmp_path / "new" / "sheet.png", pairs)
    assert shown == min(pairs, 36)
    sheet = images.read_picture(tmp_path / "new" / "sheet.png")
    tile = 2 * preview.TILE + preview.MARGIN
    assert sheet.shape == (preview.MARGIN + rows * ROW, columns * tile + preview.MARGIN, 3)


def test_tiles_are_the_pairs_own_pictures(dataset, tmp_path):
    preview.preview(dataset, tmp_path / "sheet.png", 1)
    (values,) = preview.choose(dataset, 1, None)
    sheet = images.read_picture(tmp_path / "sheet.png")
    for number, name in enumerate(("clean", "hazy")):
        left = preview.MARGIN + number * preview.TILE
        tile = sheet[preview.MARGIN : preview.MARGIN + 160, left : left + preview.TILE].astype(float)
        own = images.decode(values[name], name).astype(float)
        assert np.abs(tile.mean(axis=(0, 1)) - own.mean(axis=(0, 1))).max() < 2.0


def test_different_scenes_come_first_with_thin_and_thick_haze(dataset):
    chosen = preview.choose(dataset, 12, None)
    assert len({values["scene"] for values in chosen}) == 12
    assert len({values["beta"] for values in chosen}) > 2


def test_pictures_are_read_of_the_chosen_alone(dataset, monkeypatch):
    read, own = [], heads.read_record
    monkeypatch.setattr(heads, "read_record", lambda *place: read.append(place) or own(*place))
    assert len(preview.choose(dataset, 3)) == len(read) == 3


def test_pairs_may_be_of_one_split(dataset):
    scenes = {values["scene"] for values in preview.choose(dataset, 100, "test")}
    assert len(scenes) == 3
    assert not scenes & {values["scene"] for values in preview.choose(dataset, 100, "train")}


def test_stored_transmission_has_a_tile_of_its_own(photos, make_options, load_recipe, tmp_path):
    make(make_options(photos, tmp_path / "out", maps=True, limit=2), load_recipe("aod-paper"))
    preview.preview(tmp_path / "out", tmp_path / "sheet.png", 1)
    assert images.read_picture(tmp_path / "sheet.png").shape[1] == 3 * preview.TILE + 2 * preview.MARGIN


def test_false_colours_are_brighter_where_the_air_is_clearer():
    codes = np.linspace(0, 65535, 9).astype(np.uint16)[None]
    brightness = preview.false_colors(codes)[0].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) > 0).all()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"beta": (0.12,) * 3, "atmospheric_light": (0.9,) * 3, "visibility_m": 24.96, "haze": "{}"},
            "a#0001\nbeta 0.12/m  A 0.90  visibility 25 m",
        ),
        (
            {
                "beta": (0.04,) * 3,
                "atmospheric_light": (0.6, 0.7, 1.0),
                "visibility_m": 74.9,
                "haze": '{"metres_per_unit": 10.0}',
            },
            "a#0001\nbeta 0.04/m  (0.40 per 10 m)  A 0.60, 0.70, 1.00  visibility 74.9 m",
        ),
    ],
)
def test_caption_says_beta_light_and_visibility(values, text):
    assert preview._describe(values | {"key": "a#0001"}) == text


def test_split_without_records_is_refused(photos, make_options, load_recipe, tmp_path):
    make(make_options(photos, tmp_path / "out", splits="train=1", limit=1), load_recipe("aod-released"))
    with pytest.raises(RefusedError, match="Split 'test' of the dataset is empty"):
        preview.preview(tmp_path / "out", tmp_path / "sheet.png", split="test")


@pytest.mark.parametrize("name", ["sheet", "sheet.txt", "sheet.docx"])
def test_output_that_is_no_picture_is_refused(dataset, tmp_path, name):
    with pytest.raises(HazegenError, match=r"[Ee]xpected .*received"):
        preview.preview(dataset, tmp_path / name)


@pytest.mark.parametrize("pairs", [0, -3])
def test_number_of_pairs_out_of_range_is_refused(dataset, tmp_path, pairs):
    with pytest.raises(HazegenError, match=rf"[Ee]xpected at least 1.*received {pairs}"):
        preview.preview(dataset, tmp_path / "sheet.png", pairs)
