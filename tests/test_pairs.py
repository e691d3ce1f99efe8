"""Pairs to evaluate on: matched by name, refused where they do not match, cropped only when asked."""

from pathlib import Path

import numpy as np
import pytest
from aodnet_fixtures import make_dataset, noise, read_records

from aodnet.pairs import Pair, Source, count_pairs, crop_to_common, read_pairs
from hazegen import images, manifest, records
from hazegen.errors import RefusedError, UsageError, VerifyError


def write(folder: Path, pictures: dict[str, np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, pixels in pictures.items():
        (folder / name).write_bytes(images.encode(pixels, Path(name).suffix))
    return folder


def folders(tmp_path: Path, hazy: dict[str, np.ndarray], clean: dict[str, np.ndarray], **options) -> Source:
    return Source(hazy=write(tmp_path / "hazy", hazy), clean=write(tmp_path / "clean", clean), **options)


def names(source: Source) -> list[tuple[str, str]]:
    return [(pair.name, pair.scene) for pair in read_pairs(source)]


def test_many_hazy_images_to_one_clean(tmp_path):
    hazy = {f"{name}.png": noise(n, 12, 13) for n, name in enumerate(("1400_1", "1400_10", "1400_2", "1401_1_0.9"))}
    clean = {f"{name}.png": noise(50 + n, 12, 13) for n, name in enumerate(("1400", "1401", "1402"))}
    source = folders(tmp_path, hazy, clean)
    expected = [("1400_1", "1400"), ("1400_10", "1400"), ("1400_2", "1400"), ("1401_1_0.9", "1401")]
    assert names(source) == expected
    assert count_pairs(source) == 4
    for pair in read_pairs(source):
        np.testing.assert_array_equal(pair.hazy, hazy[f"{pair.name}.png"])
        np.testing.assert_array_equal(pair.clean, clean[f"{pair.scene}.png"])


def test_the_longest_stem_wins(tmp_path):
    picture = noise(0, 4, 4)
    hazy = dict.fromkeys(("NYU2_4_1_1.png", "a.png", "NYU2_40_1.png"), picture)
    clean = dict.fromkeys(("NYU2.png", "NYU2_4.png", "a.png", "NYU2_40.png"), picture)
    expected = [("NYU2_40_1", "NYU2_40"), ("NYU2_4_1_1", "NYU2_4"), ("a", "a")]
    assert names(folders(tmp_path, hazy, clean)) == expected


def test_formats_may_differ_and_other_files_are_left_alone(tmp_path):
    source = folders(tmp_path, {"x_1.png": noise(0, 4, 4)}, {"x.bmp": noise(1, 4, 4)})
    (tmp_path / "hazy" / "notes.txt").write_text("no picture")
    assert names(source) == [("x_1", "x")]


def test_grey_alpha_and_16_bits_become_rgb8(tmp_path):
    grey = noise(0, 4, 5)[..., 0]
    deep = noise(1, 4, 5).astype(np.uint16) * 257
    source = folders(tmp_path, {"a_1.png": grey, "a_2.png": deep}, {"a.png": np.dstack([noise(2, 4, 5), grey])})
    first, second = read_pairs(source)
    np.testing.assert_array_equal(first.hazy, np.dstack([grey] * 3))
    np.testing.assert_array_equal(second.hazy, noise(1, 4, 5))
    np.testing.assert_array_equal(first.clean, noise(2, 4, 5))


def test_missing_clean_image_is_refused(tmp_path):
    source = folders(tmp_path, {"a_1.png": noise(0, 4, 4), "b_1.png": noise(0, 4, 4)}, {"a.png": noise(0, 4, 4)})
    with pytest.raises(RefusedError, match=r"received 1 of 2 without \(b_1\.png\)"):
        list(read_pairs(source))
    with pytest.raises(RefusedError, match="Not every hazy image has a clean one"):
        count_pairs(source)


@pytest.mark.parametrize("stem", ["14001", "1400-1", "x1400_1"])
def test_a_like_name_is_no_match(tmp_path, stem):
    source = folders(tmp_path, {f"{stem}.png": noise(0, 4, 4)}, {"1400.png": noise(0, 4, 4)})
    with pytest.raises(RefusedError, match="received 1 of 1 without"):
        list(read_pairs(source))


def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(RefusedError, match="received 0 of 0 without \\(no images\\)"):
        list(read_pairs(folders(tmp_path, {}, {"a.png": noise(0, 4, 4)})))


def test_two_clean_images_of_one_name_are_refused(tmp_path):
    """Which of the two is meant cannot be known."""
    clean = {"a.png": noise(1, 4, 4), "a.bmp": noise(2, 4, 4)}
    with pytest.raises(RefusedError, match="a"):
        list(read_pairs(folders(tmp_path, {"a_1.png": noise(0, 4, 4)}, clean)))


def test_folder_that_is_none_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"is not a folder.*--hazy and --clean"):
        list(read_pairs(Source(hazy=tmp_path / "none", clean=tmp_path)))


def test_size_mismatch_is_refused(tmp_path):
    source = folders(tmp_path, {"a_1.png": noise(0, 12, 14)}, {"a.png": noise(1, 16, 20)})
    with pytest.raises(
        RefusedError, match=r"'a_1\.png' and clean 'a\.png' differ in size.*\(12, 14\) and \(16, 20\).*crop"
    ):
        list(read_pairs(source))


def test_align_crop_cuts_the_centre(tmp_path):
    whole = noise(1, 16, 20)
    source = folders(tmp_path, {"a_1.png": whole[2:14, 3:17]}, {"a.png": whole}, align="crop")
    (pair,) = read_pairs(source)
    np.testing.assert_array_equal(pair.clean, pair.hazy)
    assert pair.clean.shape == (12, 14, 3)


def test_crop_to_common_cuts_each_side_that_is_longer():
    a, b = noise(0, 10, 30), noise(1, 20, 24)
    x, y = crop_to_common(a, b)
    np.testing.assert_array_equal(x, a[:, 3:27])
    np.testing.assert_array_equal(y, b[5:15])
    x, y = crop_to_common(a, a)
    np.testing.assert_array_equal(x, a)


@pytest.mark.parametrize("limit", [1, 2, 3, 99, None])
def test_limit(tmp_path, limit):
    hazy = {f"a_{n}.png": noise(n, 4, 4) for n in range(3)}
    source = folders(tmp_path, hazy, {"a.png": noise(9, 4, 4)}, limit=limit)
    expected = min(3, limit or 3)
    assert count_pairs(source) == expected
    assert [name for name, _ in names(source)] == [f"a_{n}" for n in range(expected)]


@pytest.mark.parametrize("fields", [{"limit": 0}, {"limit": -1}, {"align": "resize"}], ids=str)
def test_fields_out_of_range_are_refused(tmp_path, fields):
    with pytest.raises(UsageError):
        Source(data=tmp_path, **fields)


@pytest.mark.parametrize(
    "given", [{}, {"hazy": Path("h")}, {"clean": Path("c")}, {"data": Path("d"), "hazy": Path("h"), "clean": Path("c")},
              {"data": Path("d"), "hazy": Path("h")}], ids=str,
)  # fmt: skip
def test_there_is_one_source(given):
    with pytest.raises(UsageError, match="There must be one source of pairs"):
        Source(**given)


# --- from a dataset ---


@pytest.fixture(scope="module")
def dataset_folder(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("pairs"), {"train": 1, "test": 3}, size=(14, 17))


def test_dataset_pairs_are_its_records(dataset_folder):
    source = Source(data=dataset_folder)
    found: list[Pair] = list(read_pairs(source))
    expected = read_records(dataset_folder, "test")
    assert len(found) == count_pairs(source) == len(expected) == 6
    for pair, record in zip(found, expected, strict=True):
        assert (pair.name, pair.scene) == (record["key"], record["scene"])
        np.testing.assert_array_equal(pair.hazy, record["hazy"])
        np.testing.assert_array_equal(pair.clean, record["clean"])
    assert len({pair.scene for pair in found}) == 3


def test_another_split(dataset_folder):
    assert {pair.scene for pair in read_pairs(Source(data=dataset_folder, split="train"))} == {"train-s000"}


def test_empty_split_is_refused(dataset_folder):
    for function in (count_pairs, lambda source: list(read_pairs(source))):
        with pytest.raises(RefusedError, match="Split 'validation' of the dataset is empty"):
            function(Source(data=dataset_folder, split="validation"))


def test_shard_that_is_cut_on_a_record_boundary_is_refused(dataset_copy):

    shard = manifest.load(dataset_copy).shards_of("test")[0]
    path = dataset_copy / shard.name
    path.write_bytes(b"".join(records.frame(record) for record in list(records.read_shard(path))[:-1]))
    with pytest.raises(VerifyError, match=f"{shard.name}.*is not what the manifest says"):
        list(read_pairs(Source(data=dataset_copy)))
