"""Photos and depth maps are paired by name."""

from pathlib import Path

import pytest

from hazegen.depth.containers import SUFFIXES
from hazegen.errors import UsageError
from hazegen.pairing import SceneRef, find_photos, find_scenes, frames


@pytest.fixture
def touch(tmp_path):
    """touch(folder, names): empty files below a folder, which it returns."""

    def create(folder, *names):
        for name in names:
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (tmp_path / folder).mkdir(exist_ok=True)
        return tmp_path / folder

    return create


@pytest.mark.parametrize(
    ("image", "depth", "image_pattern", "depth_pattern", "key"),
    [
        ("1.jpg", "1.png", "{key}", "{key}", "1"),
        ("1.JPG", "1.PNG", "{key}", "{key}", "1"),
        ("a/b/1.png", "a/b/1.npy", "{key}", "{key}", "a/b/1"),
        ("ulm/7_leftImg8bit.png", "ulm/7_disparity.png", "{key}_leftImg8bit", "{key}_disparity", "ulm/7"),
        ("rgb_7.png", "depth_7.png", "rgb_{key}", "depth_{key}", "7"),
        ("rgb.7.left.png", "7.npy", "rgb.{key}.left", "{key}", "7"),
        ("a[1].png", "a[1].png", "{key}", "{key}", "a[1]"),
        ("räum 1.png", "räum 1.npy", "{key}", "{key}", "räum 1"),
    ],
)
def test_image_and_depth_are_paired_by_key(touch, image, depth, image_pattern, depth_pattern, key):
    found, rejected, _ = find_scenes(
        touch("images", image), touch("depth", depth), image_pattern, depth_pattern, SUFFIXES
    )
    assert found == [SceneRef(key, image, depth)]
    assert rejected == []


def test_image_and_depth_may_lie_in_one_folder(touch):
    folder = touch("all", "1.png", "1_depth.png", "2.png", "2_depth.png", "3_depth.png", "4.png")
    found, rejected, _ = find_scenes(folder, folder, "{key}", "{key}_depth", SUFFIXES)
    assert [ref.key for ref in found] == ["1", "2"]
    assert [(r.key, r.code) for r in rejected] == [("3", "no-image"), ("4", "no-depth")]


def test_same_stem_in_other_sub_folders_is_another_scene(touch):
    images_, depth = touch("i", "a/1.png", "b/1.png"), touch("d", "b/1.png", "a/1.png")
    assert find_scenes(images_, depth, "{key}", "{key}", SUFFIXES)[0] == [
        SceneRef("a/1", "a/1.png", "a/1.png"),
        SceneRef("b/1", "b/1.png", "b/1.png"),
    ]


@pytest.mark.parametrize(
    ("image_names", "depth_names", "code", "reason"),
    [
        (["1.png"], [], "no-depth", "Image '1.png' has no depth map. Expected a depth file of key '1'"),
        ([], ["1.png"], "no-image", "Depth map '1.png' has no image. Expected an image of key '1'"),
        (["1.png", "1.jpg"], ["1.png"], "duplicate", "Key '1' names several files: 1.*, 1.*, 1.png. Expected one"),
        (["1.png"], ["1.png", "1.npy"], "duplicate", "Key '1' names several files"),
    ],
)
def test_files_without_a_partner_are_rejected_with_a_reason(touch, image_names, depth_names, code, reason):
    found, rejected, _ = find_scenes(touch("i", *image_names), touch("d", *depth_names), "{key}", "{key}", SUFFIXES)
    assert found == []
    assert [(r.key, r.code) for r in rejected] == [("1", code)]
    with pytest.raises(ValueError, match=reason):
        raise ValueError(rejected[0].reason)


def test_dots_and_brackets_of_a_pattern_mean_themselves(touch):
    images_ = touch("i", "rgb.1.left.png", "rgbx2xleft.png", "(3).png")
    depth = touch("d", "1.npy", "2.npy", "3.npy")
    assert [ref.key for ref in find_scenes(images_, depth, "rgb.{key}.left", "{key}", SUFFIXES)[0]] == ["1"]
    assert [ref.key for ref in find_scenes(images_, depth, "({key})", "{key}", SUFFIXES)[0]] == ["3"]


def test_files_of_other_kinds_are_passed_over(touch):
    images_ = touch("i", "1.png", "readme.txt", "1.json", "noise.npy")
    found, rejected, _ = find_scenes(images_, touch("d", "1.png", "LICENSE"), "{key}", "{key}", SUFFIXES)
    assert [ref.key for ref in found] == ["1"]
    assert rejected == []


@pytest.mark.parametrize("pattern", ["", "depth", "{key}{key}", "{KEY}"])
def test_pattern_without_one_key_is_refused(touch, pattern):
    with pytest.raises(UsageError, match=rf"Expected '\{{key\}}' once.*received '{pattern}'. Correct the pattern"):
        find_scenes(touch("i", "1.png"), touch("d", "1.png"), pattern, "{key}", SUFFIXES)


def test_folder_that_is_none_is_refused(touch, tmp_path):
    with pytest.raises(UsageError, match=r"is not a folder. Expected a folder of files, received nothing of that"):
        find_scenes(tmp_path / "missing", touch("d"), "{key}", "{key}", SUFFIXES)


def test_pattern_with_a_slash_is_held_against_the_whole_path(touch):
    images_ = touch("i", "terrace/im0.png", "terrace/im1.png", "a/b/im0.png")
    depth = touch("d", "terrace/disp0GT.pfm", "a/b/disp0GT.pfm")
    assert find_scenes(images_, depth, "{key}/im0", "{key}/disp0GT", SUFFIXES) == (
        [
            SceneRef("a/b", "a/b/im0.png", "a/b/disp0GT.pfm"),
            SceneRef("terrace", "terrace/im0.png", "terrace/disp0GT.pfm"),
        ],
        [],
        1,
    )


def test_only_files_of_the_conventions_suffixes_are_depth_maps(touch):
    images_, depth = touch("i", "1.png"), touch("d", "1.png", "1.npy")
    assert find_scenes(images_, depth, "{key}", "{key}", (".npy",))[0] == [SceneRef("1", "1.png", "1.npy")]


def test_frames_of_a_stack_have_keys_of_their_own():
    assert [ref.key for ref in frames(Path("a/nyu.mat"), 2)] == ["nyu/00000", "nyu/00001"]
    assert frames(Path("a/nyu.mat"), 2)[1] == SceneRef("nyu/00001", "nyu.mat", "nyu.mat", 1)


def test_photos_alone_are_found_by_key_and_duplicates_are_rejected(touch):
    folder = touch("i", "b.jpg", "a/b.png", "c.png", "c.JPG", "d.txt", "e_x.png")
    found, rejected, others = find_photos(folder, "{key}")
    assert found == [SceneRef("a/b", "a/b.png", ""), SceneRef("b", "b.jpg", ""), SceneRef("e_x", "e_x.png", "")]
    assert [(r.key, r.image, r.depth, r.code) for r in rejected] == [("c", "c.JPG;c.png", "", "duplicate")]
    assert rejected[0].reason == "Key 'c' names several files: c.JPG, c.png. Expected one of each."
    assert others == 1
    assert find_photos(folder, "{key}_x") == ([SceneRef("e", "e_x.png", "")], [], 5)


def test_photos_of_a_folder_that_is_none_are_refused(touch, tmp_path):
    with pytest.raises(UsageError, match="is not a folder"):
        find_photos(tmp_path / "missing", "{key}")
    with pytest.raises(UsageError, match="is not a folder"):
        find_photos(touch("i", "a.png") / "a.png", "{key}")


@pytest.mark.parametrize(
    ("image", "depth", "pattern", "key"),
    [
        ("a[1]*?.png", "a[1]*?.png", "{key}", "a[1]*?"),
        (" a .png", " a .png", "{key}", " a "),
        ("...png", "...png", "{key}", ".."),
        ("..a.png", "..a.png", "{key}", "..a"),
        ("a..png", "a..png", "{key}", "a."),
        ("{key}.png", "{key}.png", "{key}", "{key}"),
        ("a\nb.png", "a\nb.png", "{key}", "a\nb"),
        ("é.png", "é.png", "{key}", "é"),
        ("_.png", "_.png", "{key}", "_"),
        ("x__.png", "x__.png", "{key}_", "x_"),
    ],
)
def test_odd_names_are_keys_as_they_stand(touch, image, depth, pattern, key):
    found, rejected, _ = find_scenes(touch("i", image), touch("d", depth), pattern, pattern, SUFFIXES)
    assert found == [SceneRef(key, image, depth)]
    assert rejected == []


@pytest.mark.parametrize("name", [".png", "png", "a.", "a.png.txt", "_depth.png"])
def test_names_without_key_or_suffix_are_other_files(touch, name):
    found, rejected, others = find_scenes(touch("i", name), touch("d"), "{key}_depth", "{key}", SUFFIXES)
    assert (found, rejected, others) == ([], [], 1)


def test_linked_file_is_a_file_and_linked_folder_is_not_walked(touch, tmp_path):
    images_, depth = touch("i", "1.png"), touch("d")
    (depth / "1.png").symlink_to(images_ / "1.png")
    (depth / "loop").symlink_to(depth)
    assert find_scenes(images_, depth, "{key}", "{key}", SUFFIXES)[0] == [SceneRef("1", "1.png", "1.png")]


def test_folder_that_cannot_be_read_is_told(touch, monkeypatch):
    folder = touch("i", "1.png")

    def deny(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", deny)
    with pytest.raises(PermissionError, match="Permission denied"):
        find_photos(folder, "{key}")


def test_photo_and_map_of_one_folder_and_one_name_are_told_apart_by_the_pattern_alone(touch):
    """Where both patterns fit, a file is a map: no photo is paired with itself."""
    folder = touch("all", "1.png", "2.png")
    found, rejected, others = find_scenes(folder, folder, "{key}", "{key}", SUFFIXES)
    assert (found, others) == ([], 0)
    assert [(r.key, r.code) for r in rejected] == [("1", "no-image"), ("2", "no-image")]


def test_linked_folders_are_walked_but_not_for_ever(touch):
    images_, depth = touch("i", "a/1.png"), touch("elsewhere", "1.png")
    maps = touch("d")
    (maps / "a").symlink_to(depth)
    (depth / "back").symlink_to(maps)
    found, rejected, _ = find_scenes(images_, maps, "{key}", "{key}", SUFFIXES)
    assert (found, rejected) == ([SceneRef("a/1", "a/1.png", "a/1.png")], [])
