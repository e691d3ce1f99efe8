"""Pairs to evaluate on: matched by name, refused where they do not match, cropped only when asked."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from aodnet_fixtures import make_dataset, noise, read_records

from aodnet import pairs
from aodnet.pairs import Pair, Source, count_pairs, crop_to_common, read_pairs, read_pictures, sample_pairs
from aodnet.recipes import recipe_of
from hazegen import images, manifest, records
from hazegen.errors import RefusedError, UsageError, VerifyError
from hazegen.make import make


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
    with pytest.raises(RefusedError, match=r"received 1 hazy without clean \(b_1\.png\)"):
        list(read_pairs(source))
    with pytest.raises(RefusedError, match=r"The pictures do not pair up"):
        count_pairs(source)


@pytest.mark.parametrize("stem", ["14001", "1400-1", "x1400_1"])
def test_a_like_name_is_no_match(tmp_path, stem):
    source = folders(tmp_path, {f"{stem}.png": noise(0, 4, 4)}, {"1400.png": noise(0, 4, 4)})
    with pytest.raises(RefusedError, match=r"received 1 hazy without clean"):
        list(read_pairs(source))


def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(RefusedError, match=r"has no images. Expected hazy images, received none"):
        list(read_pairs(folders(tmp_path, {}, {"a.png": noise(0, 4, 4)})))


def test_two_clean_images_of_one_name_are_refused(tmp_path):
    """Which of the two is meant cannot be known."""
    clean = {"a.png": noise(1, 4, 4), "a.bmp": noise(2, 4, 4)}
    with pytest.raises(RefusedError, match=r"2 doubled \(a\.bmp, a\.png\)"):
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


D, H, C, P = map(Path, "dhcp")


@pytest.mark.parametrize(
    "given", [{}, {"data": D, "pairs": P}, {"pairs": P, "clean": C}, {"clean": C}, {"pairs": P, "hazy": H},
              {"data": D, "hazy": H, "clean": C}, {"data": D, "hazy": H}], ids=str,
)  # fmt: skip
def test_there_is_one_source(given):
    with pytest.raises(UsageError, match=r"There must be one source of pairs") as raised:
        Source(**given)
    told = str(raised.value).partition("received ")[2].partition(".")[0]
    assert told == (
        " and ".join(f"--{name}" for name in ("data", "pairs", "hazy", "clean") if name in given) or "none of them"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hazy": Path("h"), "align": "crop"}, "--align belongs to two folders"),
        ({"data": Path("d"), "align": "crop"}, "--align belongs to two folders"),
        ({"pairs": Path("p"), "recipe": "hazerd"}, "--cache, --cache-gb and --recipe belong to a dataset"),
        ({"hazy": Path("h"), "cache": Path("c")}, "--cache, --cache-gb and --recipe belong to a dataset"),
        ({"data": Path("d"), "layout": "sots"}, "--layout belongs to a published set"),
    ],
    ids=str,
)
def test_options_of_another_source_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        Source(**given)


# --- a published set, and hazy pictures alone ---


def test_sots_indoor_is_cropped_never_resized(tmp_path):
    """As it is published, a third of its size: clean 160 x 120 beside hazy 155 x 115."""
    whole = noise(1, 120, 160)
    for name, pixels in {"hazy/1400_1.png": whole[2:117, 2:157], "gt/1400.png": whole}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(images.encode(pixels, ".png"))
    with pytest.raises(RefusedError, match=r"received \(115, 155\) and \(120, 160\). Pass --align crop"):
        list(read_pairs(Source(pairs=tmp_path)))
    source = Source(pairs=tmp_path, layout="sots", align="crop")
    (pair,) = read_pairs(source)
    assert count_pairs(source) == 1
    assert (pair.name, pair.scene) == ("1400_1", "1400")
    np.testing.assert_array_equal(pair.hazy, pair.clean)


def test_hazy_pictures_alone(tmp_path):
    pixels = {f"{name}.png": noise(n, 12, 13) for n, name in enumerate("cab")}
    source = Source(hazy=write(tmp_path / "hazy", pixels), limit=2)
    assert not source.has_clean
    assert count_pairs(source) == 2
    for picture, name in zip(read_pictures(source), ("a.png", "b.png"), strict=True):
        assert (picture.name, picture.scene) == (name, name)
        np.testing.assert_array_equal(picture.hazy, pixels[name])
        assert not isinstance(picture, Pair)
    with pytest.raises(RefusedError, match=r"has no images"):
        list(read_pictures(Source(hazy=write(tmp_path / "none", {}))))


def test_hazy_pictures_in_folders_keep_their_folders_names(tmp_path):
    for name in ("x/1.png", "x/1.bmp", "y/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(images.encode(noise(0, 4, 4), Path(name).suffix))
    assert [picture.name for picture in read_pictures(Source(hazy=tmp_path))] == ["x/1.bmp", "x/1.png", "y/1.png"]


@pytest.mark.parametrize("start", [0, 1, 3])
@pytest.mark.parametrize("step", [1, 2])
def test_start_and_step_of_folders(tmp_path, start, step):
    hazy = {f"a_{n}.png": noise(n, 4, 4) for n in range(5)}
    source = folders(tmp_path, hazy, {"a.png": noise(9, 4, 4)}, limit=4)
    expected = [f"a_{n}" for n in range(4)][start::step]
    assert [pair.name for pair in read_pairs(source, start, step)] == expected


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


@pytest.mark.parametrize("limit", [None, 7])
@pytest.mark.parametrize("step", [1, 2, 5])
def test_start_and_step_of_a_dataset_of_several_shards(dataset, step, limit):
    source = Source(data=dataset, split="train", limit=limit)
    assert len(manifest.load(dataset).shards_of("train")) > 2
    whole = [pair.name for pair in read_pairs(source)]
    for start in range(len(whole) + 1):
        assert [pair.name for pair in read_pairs(source, start, step)] == whole[start::step]


def test_pairs_know_their_haze(dataset_folder):
    for pair, record in zip(read_pairs(Source(data=dataset_folder)), read_records(dataset_folder, "test"), strict=True):
        assert pair.levels["mean_transmission"] == record["mean_transmission"]
        assert pair.levels["visibility_m"] == record["visibility_m"]
        assert pair.levels["beta"] == pytest.approx(np.mean(record["beta"]))
        assert (pair.transmission, pair.distance_m) == (None, None)


def test_stored_transmission_comes_along(tmp_path, photos, make_options, load_recipe):
    make(make_options(photos, tmp_path / "maps", maps=True, variants=1), load_recipe("aod-released"))
    for pair in read_pairs(Source(data=tmp_path / "maps", split="train")):
        assert pair.transmission.shape == pair.clean.shape[:2]
        assert pair.transmission.mean() == pytest.approx(pair.levels["mean_transmission"], abs=1e-4)


def test_recipe_beside_pairs_is_refused(dataset_folder):
    with pytest.raises(UsageError, match=r"--recipe belongs to a dataset of scenes.*received pairs"):
        list(read_pairs(Source(data=dataset_folder, recipe="hazerd")))


# --- from a dataset of scenes ---


@pytest.fixture(scope="module")
def scenes(tmp_path_factory, photos, make_options, load_recipe) -> tuple[Path, Path]:
    """The same scenes as scenes and as pairs, one variant each, PNG."""
    root = tmp_path_factory.mktemp("scenes")
    recipe = load_recipe("aod-released")
    shared = {"codec": "png", "camera": photos.camera, "seed": 3}
    make(make_options(photos, root / "pairs", variants=1, **shared), recipe)
    make(make_options(photos, root / "scenes", variants=None, kind="scenes", **shared), recipe)
    return root / "scenes", root / "pairs"


@pytest.mark.parametrize("split", ["train", "test"])
def test_scenes_are_drawn_as_the_pairs_of_their_recipe(scenes, split):
    drawn, made = (list(read_pairs(Source(data=folder, split=split))) for folder in scenes)
    assert count_pairs(Source(data=scenes[0], split=split)) == len(drawn) == len(made) > 0
    by_scene = {pair.scene: pair for pair in made}
    for pair in drawn:
        other = by_scene[pair.scene]
        np.testing.assert_array_equal(pair.clean, other.clean)
        assert np.abs(pair.hazy.astype(int) - other.hazy).max() <= 1
        for level, value in other.levels.items():
            assert pair.levels[level] == pytest.approx(value, rel=1e-4), level
        expected = np.exp(-pair.levels["beta"] * pair.distance_m)
        np.testing.assert_allclose(pair.transmission, expected, atol=2e-4)


def test_scenes_are_drawn_alike_each_time(scenes):
    first, again = (list(read_pairs(Source(data=scenes[0], split="train"))) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.hazy, b.hazy)


def test_scenes_can_have_another_recipe_and_path(scenes):
    """hazerd is in linear light; outdoor-visibility along the ray, which is longer than the depth."""
    own, other, ray = (
        list(read_pairs(Source(data=scenes[0], split="train", recipe=name)))
        for name in (None, "hazerd", "outdoor-visibility")
    )
    for a, b, c in zip(own, other, ray, strict=True):
        np.testing.assert_array_equal(a.clean, b.clean)
        assert np.abs(a.hazy.astype(int) - b.hazy).max() > 1
        np.testing.assert_array_equal(a.distance_m, b.distance_m)
        assert (c.distance_m >= a.distance_m).all()
        assert c.distance_m[0, 0] > 1.1 * a.distance_m[0, 0]


def test_recipe_that_estimates_what_scenes_do_not_hold_is_refused(scenes):
    with pytest.raises(UsageError, match=r"made otherwise. Expected .*atmospheric_light dark-channel"):
        list(read_pairs(Source(data=scenes[0], recipe="foggy-cityscapes-600m")))


def test_sky_that_is_no_more_infinite_is_refused(scenes):
    known = manifest.load(scenes[0])
    assert recipe_of(known, "aod-released").sky == "infinite"
    known = dataclasses.replace(known, recipe={**known.recipe, "sky": "far"})
    with pytest.raises(UsageError, match=r"made otherwise. Expected sky infinite, .*: sky far\."):
        recipe_of(known, "aod-released")


def test_scenes_of_several_recipes_need_one_that_is_named(scenes):
    known = manifest.load(scenes[0])
    others = tuple(
        {"recipe": {**known.recipe, "name": name, "path": path}} for name, path in (("a", "ray"), ("b", "plane"))
    )
    known = dataclasses.replace(known, sources=others)
    with pytest.raises(UsageError, match=r"made with several recipes. Expected one, or --recipe, received a, b"):
        recipe_of(known, None)
    assert recipe_of(known, "aod-paper").name == "aod-paper"


def test_recipes_of_merged_scenes_may_differ_in_name(scenes):
    known = manifest.load(scenes[0])
    others = tuple({"recipe": {**known.recipe, "name": name}} for name in "ab")
    assert recipe_of(dataclasses.replace(known, sources=others), None).name == "a"


def test_scenes_are_completed_as_they_were_made(scenes, tmp_path):
    """As aodnet fit has it; but largest distances are measured again, so that they may be turned."""
    known = manifest.load(scenes[0])
    mine = tmp_path / "mine.yaml"
    mine.write_text("beta: 0.1\nrefine: edges\n")
    with pytest.raises(UsageError, match=r"'mine' needs scenes that were made otherwise. Expected refine edges"):
        recipe_of(known, str(mine))
    mine.write_text("beta: 0.1\npath: ray\nsky: far\n")
    assert recipe_of(known, str(mine)).name == "mine"
    with pytest.raises(UsageError, match=r"Expected path ray"):
        recipe_of(dataclasses.replace(known, recipe={**known.recipe, "sky": "far"}), str(mine))


def test_other_path_without_intrinsics_is_refused(tmp_path, photos, make_options, load_recipe):
    make(make_options(photos, tmp_path / "scenes", variants=None, kind="scenes"), load_recipe("aod-released"))
    source = Source(data=tmp_path / "scenes", split="train", recipe="outdoor-visibility")
    with pytest.raises(UsageError, match=r"Expected path ray, received scenes.*or scenes without a camera"):
        list(read_pairs(source))
    # Of single scenes, the manifest says nothing.
    shard = next(shard for shard in manifest.load(tmp_path / "scenes").shards if shard.split == "train")
    values = records.decode(next(records.read_shard(tmp_path / "scenes" / shard.name)), "scenes")
    with pytest.raises(RefusedError, match=r"needs intrinsics. Expected a camera to turn plane into ray distance"):
        pairs._along(values, load_recipe("outdoor-visibility"))


def test_samples_of_scenes(scenes):
    (pair,) = sample_pairs(scenes[0], "test", 1)
    assert pair.hazy.shape == pair.clean.shape


def test_another_split(dataset_folder):
    assert {pair.scene for pair in read_pairs(Source(data=dataset_folder, split="train"))} == {"train-s000"}


def test_empty_split_is_refused(dataset_folder):
    for function in (count_pairs, lambda source: list(read_pairs(source))):
        with pytest.raises(RefusedError, match=r"Split 'validation' of the dataset is empty"):
            function(Source(data=dataset_folder, split="validation"))


def test_shard_that_is_cut_on_a_record_boundary_is_refused(dataset_copy):

    shard = manifest.load(dataset_copy).shards_of("test")[0]
    path = dataset_copy / shard.name
    path.write_bytes(b"".join(records.frame(record) for record in list(records.read_shard(path))[:-1]))
    with pytest.raises(VerifyError, match=f"{shard.name}.*is not what the manifest says"):
        list(read_pairs(Source(data=dataset_copy)))
