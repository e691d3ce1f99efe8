"""Published sets of pairs found by their folders and names, on made-up trees of empty files."""

from pathlib import Path

import pytest

from aodnet.layouts import LAYOUTS, find_pairs, match_folders
from hazegen.errors import RefusedError, UsageError


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


TREES = {
    "sots": ("hazy/1400_1.png", "hazy/1400_10.png", "hazy/1401_1.png", "gt/1400.png", "gt/1401.png"),
    "o-haze": ("hazy/01_outdoor_hazy.jpg", "hazy/02_outdoor_hazy.JPG", "GT/01_outdoor_GT.jpg", "GT/02_outdoor_GT.jpg"),
    "i-haze": ("hazy/01_indoor_hazy.jpg", "hazy/02_indoor_hazy.jpg", "GT/01_indoor_GT.jpg", "GT/02_indoor_GT.jpg"),
    "dense-haze": ("hazy/01_hazy.png", "hazy/02_hazy.png", "GT/01_GT.png", "GT/02_GT.png"),
    "nh-haze": ("01_hazy.png", "01_GT.png", "02_hazy.png", "02_GT.png", "notes.txt"),
    "hazerd": ("simu/IMG_8583_50.jpg", "simu/IMG_8583_100.jpg", "img/IMG_8583_RGB.jpg", "depth/IMG_8583_depth.mat"),
    "revide": ("hazy/W002/00000.JPG", "hazy/W002/00001.JPG", "hazy/W003/00000.JPG")
    + ("gt/W002/00000.JPG", "gt/W002/00001.JPG", "gt/W003/00000.JPG"),
    "flat": ("hazy/NYU2_4_1_1.jpg", "hazy/NYU2_4_1_2.jpg", "hazy/room.jpg", "clean/NYU2_4.jpg", "clean/room.jpg"),
}  # fmt: skip
EXPECTED = {
    "sots": [("1400_1", "1400", "1400"), ("1400_10", "1400", "1400"), ("1401_1", "1401", "1401")],
    "o-haze": [("01_outdoor_hazy", "01", "01_outdoor_GT"), ("02_outdoor_hazy", "02", "02_outdoor_GT")],
    "i-haze": [("01_indoor_hazy", "01", "01_indoor_GT"), ("02_indoor_hazy", "02", "02_indoor_GT")],
    "dense-haze": [("01_hazy", "01", "01_GT"), ("02_hazy", "02", "02_GT")],
    "nh-haze": [("01_hazy", "01", "01_GT"), ("02_hazy", "02", "02_GT")],
    "hazerd": [("IMG_8583_100", "IMG_8583", "IMG_8583_RGB"), ("IMG_8583_50", "IMG_8583", "IMG_8583_RGB")],
    "revide": [("W002/00000", "W002", "00000"), ("W002/00001", "W002", "00001"), ("W003/00000", "W003", "00000")],
    "flat": [("NYU2_4_1_1", "NYU2_4", "NYU2_4"), ("NYU2_4_1_2", "NYU2_4", "NYU2_4"), ("room", "room", "room")],
}
# The folders that archives and their users put around a set's own.
OUTER = {"sots": "indoor", "o-haze": "# O-HAZY NTIRE 2018", "hazerd": "data", "revide": "Test", "nh-haze": "NH-HAZE"}


def found(root: Path, name: str = "auto") -> list[tuple[str, str, str]]:
    return [(match.name, match.scene, match.clean.stem) for match in find_pairs(root, name)]


def test_all_layouts_are_tried_here():
    assert set(TREES) == set(EXPECTED) == set(LAYOUTS)


@pytest.mark.parametrize("layout", TREES)
@pytest.mark.parametrize("named", [True, False], ids=["named", "auto"])
def test_layout_is_found(tmp_path, layout, named):
    assert found(tree(tmp_path, *TREES[layout]), layout if named else "auto") == EXPECTED[layout]


@pytest.mark.parametrize("layout", OUTER)
def test_layout_is_found_one_folder_further_in(tmp_path, layout):
    tree(tmp_path / OUTER[layout], *TREES[layout])
    assert found(tmp_path) == EXPECTED[layout]


def test_its_names_are_those_of_sots(tmp_path):
    """'{scene}_{number}_{A}': the last part is no suffix."""
    names = ("hazy/1_1_0.90179.png", "hazy/1_2_0.97842.png", "hazy/2_1_0.99082.png", "gt/1.png", "gt/2.png")
    expected = [("1_1_0.90179", "1", "1"), ("1_2_0.97842", "1", "1"), ("2_1_0.99082", "2", "2")]
    assert found(tree(tmp_path, *names)) == expected


def test_frames_of_one_clip_are_one_scene_but_not_one_picture(tmp_path):
    root = tree(tmp_path, *TREES["revide"])
    for match in find_pairs(root):
        assert match.clean == root / "gt" / match.hazy.relative_to(root / "hazy")


def test_clear_is_another_name_of_gt(tmp_path):
    assert found(tree(tmp_path, "hazy/0001_0.8_0.2.jpg", "clear/0001.png")) == [("0001_0.8_0.2", "0001", "0001")]


def test_two_parts_are_refused(tmp_path):
    for part in ("indoor", "outdoor"):
        tree(tmp_path / part, *TREES["sots"])
    with pytest.raises(RefusedError, match=r"several parts of sots.*indoor/hazy, .*outdoor/hazy.*one part as --pairs"):
        find_pairs(tmp_path)


def test_two_folders_of_clean_pictures_are_refused(tmp_path):
    with pytest.raises(RefusedError, match=r"several folders of clean or of hazy pictures.*received clear, gt"):
        find_pairs(tree(tmp_path, *TREES["sots"], "clear/1400.png"), "sots")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("hazy/1500_1.png", r"1 hazy without clean \(1500_1\.png\)"),
        ("gt/1500.png", r"1 clean without hazy \(1500\.png\)"),
        ("gt/1400.jpg", r"2 doubled \(1400\.jpg, 1400\.png\)"),
        ("hazy/1400_1.jpg", r"2 doubled \(1400_1\.jpg, 1400_1\.png\)"),
        ("hazy/preview.png", r"1 of other names \(preview\.png\)"),
        ("gt/1400_x.png", r"1 of other names \(1400_x\.png\)"),
    ],
)
def test_files_that_do_not_pair_up_are_listed(tmp_path, extra, message):
    with pytest.raises(RefusedError, match=f"do not pair up.*as sots has them, received {message}. Add the missing"):
        find_pairs(tree(tmp_path, *TREES["sots"], extra))


def test_all_problems_are_told_at_once_and_long_lists_are_cut(tmp_path):
    extra = [f"hazy/{number}_1.png" for number in range(1500, 1507)]
    with pytest.raises(
        RefusedError, match=r"7 hazy without clean \(1500_1\.png, .*1504_1\.png, \.\.\.\); 1 clean without"
    ):
        find_pairs(tree(tmp_path, *TREES["sots"], *extra, "gt/1600.png"))


def test_flat_pairs_of_a_set_are_complete_on_both_sides(tmp_path):
    root = tree(tmp_path, *TREES["flat"], "clean/unused.jpg")
    with pytest.raises(RefusedError, match=r"1 clean without hazy \(unused\.jpg\)"):
        find_pairs(root)
    assert len(match_folders(root / "hazy", root / "clean")) == 3  # two folders that somebody names may be a part


def test_same_name_of_two_hazy_pictures_is_refused(tmp_path):
    root = tree(tmp_path, "hazy/a.png", "hazy/a.jpg", "clean/a.png")
    with pytest.raises(RefusedError, match=r"2 doubled \(a\.jpg, a\.png\)"):
        match_folders(root / "hazy", root / "clean")


def test_folders_within_the_two_are_not_looked_into(tmp_path):
    """Pictures of one name in two of them would be taken for each other."""
    root = tree(tmp_path, "hazy/x/1_1.png", "hazy/y/1_1.png", "clean/x/1.png", "clean/y/1.png")
    with pytest.raises(RefusedError, match="has no images"):
        match_folders(root / "hazy", root / "clean")


@pytest.mark.parametrize("layout", ["auto", "o-haze", "hazerd"])
def test_no_layout_is_refused(tmp_path, layout):
    with pytest.raises(RefusedError, match=r"has no layout that is known.*received the folders images.*--hazy"):
        find_pairs(tree(tmp_path, "images/a.png"), layout)


def test_other_name_of_a_layout_is_refused(tmp_path):
    with pytest.raises(
        UsageError, match=r"--layout cannot be used. Expected auto or one of o-haze, .*, received 'rside'"
    ):
        find_pairs(tmp_path, "rside")


def test_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"is not a folder. Expected a folder of images"):
        find_pairs(tmp_path / "none")
