"""From shards to batches: what is decoded, in which order, and what is said of damaged shards."""

import shutil

import cv2
import numpy as np
import pytest
import tensorflow as tf
from aodnet_fixtures import make_dataset, noise, read_records, smooth

from aodnet import data, decoding, shards
from aodnet.data import Source
from hazegen import images, manifest, records
from hazegen.errors import RefusedError, UsageError, VerifyError

SIDE = 24


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """22 records of 24 x 24 in several shards, PNG: a crop of 24 keeps every pixel, so it names its record."""
    folder = tmp_path_factory.mktemp("squares")
    return make_dataset(folder, {"train": 11, "validation": 3, "test": 1}, size=(SIDE, SIDE), shard_mb=0.02)


@pytest.fixture(scope="module")
def known(squares):
    return manifest.load(squares)


def assert_codes(decoded: np.ndarray, expected: np.ndarray) -> None:
    """Exactly the 8-bit codes `expected`, each as the float that is nearest to code / 255, or its neighbour."""
    np.testing.assert_array_equal(np.rint(decoded * 255.0), expected)
    assert np.abs(decoded - expected / 255.0).max() < 1e-7


def identity(pixels: np.ndarray) -> bytes:
    """The same for a picture and for its mirrored and turned versions."""
    codes = np.rint(np.asarray(pixels) * 255.0).astype(np.uint8) if pixels.dtype != np.uint8 else pixels
    return np.sort(codes.reshape(-1, 3), axis=0).tobytes()


def training(folder, known, **options) -> tf.data.Dataset:
    return data.training_batches([Source(folder, known)], **options)


def validation(folder, known, **options) -> tf.data.Dataset:
    return data.validation_batches([Source(folder, known)], **options)


def pairs_of(batches) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(batch["hazy"].numpy(), batch["clean"].numpy()) for batch in batches]


def epoch_of(folder, known, **options) -> list[tuple[np.ndarray, np.ndarray]]:
    return pairs_of(training(folder, known, **{"crop": SIDE, "batch": 4, "seed": 0, "epoch": 0, **options}))


def order_of(batches) -> list[bytes]:
    return [identity(image) for hazy, _ in batches for image in hazy]


def assert_equal(a, b) -> None:
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x[0], y[0])
        np.testing.assert_array_equal(x[1], y[1])


# --- the feature specification ---


def test_feature_spec_comes_from_the_table():
    types = {"text": tf.string, "bytes": tf.string, "float": tf.float32, "int": tf.int64}
    spec = decoding.feature_spec(*records.FEATURES)
    assert set(spec) == set(records.FEATURES)
    for name, feature in records.FEATURES.items():
        assert spec[name].dtype == types[feature.kind]
        assert spec[name].shape == ([] if feature.size == 1 else [feature.size])


def test_feature_spec_of_an_unknown_name():
    with pytest.raises(KeyError):
        decoding.feature_spec("clean", "no such feature")


def test_tensorflow_parses_what_records_encodes(squares, known):
    names = [name for name, feature in records.FEATURES.items() if not feature.optional]
    shard = known.shards_of("train")[0]
    record = next(records.read_shard(squares / shard.name))
    parsed = tf.io.parse_single_example(record, decoding.feature_spec(*names))
    for name, value in records.decode(record).items():
        got = parsed[name].numpy()
        if records.FEATURES[name].kind == "float":
            np.testing.assert_array_equal(got, np.float32(value))
        else:
            assert got == (value.encode() if isinstance(value, str) else value)


# --- decoding ---

PICTURES = {"noise": noise(0, 45, 70), "smooth": smooth(1, 64, 48), "odd": noise(2, 33, 17)}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(("codec", "suffix"), [("jpeg", ".jpg"), ("png", ".png")])
def test_decoding_is_opencvs_to_the_bit(name, codec, suffix):
    encoded = images.encode(PICTURES[name], suffix)
    expected = cv2.cvtColor(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGR2RGB)
    decoded = decoding.decode_image(tf.constant(encoded), codec).numpy()
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(("codec", "suffix"), [("jpeg", ".jpg"), ("png", ".png")])
@pytest.mark.parametrize("window", [(0, 0, 16, 16), (5, 3, 20, 11), (17, 1, 16, 16), (32, 16, 1, 1)], ids=str)
def test_window_is_that_part_of_the_whole(name, codec, suffix, window):
    encoded = images.encode(PICTURES[name], suffix)
    top, left, height, width = window
    whole = decoding.decode_image(tf.constant(encoded), codec).numpy()
    part = decoding.decode_image(tf.constant(encoded), codec, window=tf.constant(window, tf.int32)).numpy()
    np.testing.assert_array_equal(part, whole[top : top + height, left : left + width])


def test_subsampled_jpeg_decodes_as_opencv_does():
    """Pictures of other encoders: 4:2:0, where the upsampling could differ too."""
    done, encoded = cv2.imencode(".jpg", smooth(3, 64, 64)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    assert done
    expected = cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED), cv2.COLOR_BGR2RGB)
    decoded = decoding.decode_image(tf.constant(encoded.tobytes()), "jpeg").numpy()
    np.testing.assert_array_equal(decoded, expected)


# --- training: order ---


def test_each_record_once_in_an_epoch_also_in_the_last_partial_batch(squares, known):
    batches = epoch_of(squares, known)
    assert [len(hazy) for hazy, _ in batches] == [4, 4, 4, 4, 4, 2]
    everything = sorted(identity(record["hazy"]) for record in read_records(squares, "train"))
    assert len(set(everything)) == 22
    assert sorted(order_of(batches)) == everything


def test_same_seed_and_epoch_give_the_same_bits(squares, known):
    assert len(known.shards_of("train")) > 2
    assert_equal(epoch_of(squares, known, seed=3, epoch=5), epoch_of(squares, known, seed=3, epoch=5))


def test_order_differs_between_epochs_and_between_seeds(squares, known):
    keys = [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0)]
    orders = [order_of(epoch_of(squares, known, seed=seed, epoch=epoch)) for seed, epoch in keys]
    assert len({tuple(order) for order in orders}) == len(keys)
    assert len({tuple(sorted(order)) for order in orders}) == 1


def test_windows_and_turns_differ_between_epochs(squares, known):
    """The same record comes turned otherwise, not only at another place."""
    turned = {}
    for epoch in range(3):
        for hazy, _ in epoch_of(squares, known, epoch=epoch):
            for image in hazy:
                turned.setdefault(identity(image), set()).add(image.tobytes())
    assert len(turned) == 22
    assert sum(len(versions) > 1 for versions in turned.values()) > 15


@pytest.mark.parametrize("skip", [0, 1, 3, 5, 6])
def test_skip_gives_the_tail_to_the_bit(squares, known, skip):
    whole = epoch_of(squares, known, seed=1, epoch=2)
    assert_equal(epoch_of(squares, known, seed=1, epoch=2, skip=skip), whole[skip:])


def test_skip_gives_the_tail_where_the_buffer_is_small_and_windows_are_drawn(dataset):
    known = manifest.load(dataset)
    options = {"crop": 32, "seed": 1, "epoch": 4, "shuffle_mb": 0.01}
    whole = epoch_of(dataset, known, **options)
    assert_equal(epoch_of(dataset, known, **options, skip=2), whole[2:])
    assert len(whole) == 5


@pytest.mark.parametrize("shuffle_mb", [1e-6, 0.005, 256.0])
def test_any_buffer_loses_nothing(squares, known, shuffle_mb):
    order = order_of(epoch_of(squares, known, shuffle_mb=shuffle_mb))
    assert len(order) == len(set(order)) == 22


@pytest.mark.parametrize(("batch", "skip", "steps"), [(4, 0, 6), (4, 2, 4), (22, 0, 1), (50, 0, 1), (1, 0, 22)])
def test_cardinality_is_the_manifests(squares, known, batch, skip, steps):
    batches = training(squares, known, crop=8, batch=batch, seed=0, epoch=0, skip=skip)
    assert batches.cardinality() == steps
    assert known.records_of("train") == 22


def test_without_an_epoch_each_pass_has_another_order_and_each_record_once(squares, known):
    batches = training(squares, known, crop=SIDE, batch=4, seed=0)
    orders = [order_of(pairs_of(batches)) for _ in range(10)]
    assert len({tuple(order) for order in orders}) == 10
    assert len({tuple(sorted(order)) for order in orders}) == 1
    assert len(set(orders[0])) == 22
    assert batches.cardinality() == 6
    # The buffer holds all records: any may come first.
    assert len({order[0] for order in orders}) > 4


def test_another_split_can_be_trained_on(squares, known):
    order = order_of(epoch_of(squares, known, split="validation"))
    assert sorted(order) == sorted(identity(record["hazy"]) for record in read_records(squares, "validation"))


# --- training: windows, flips, turns ---


def eight(pixels: np.ndarray) -> list[np.ndarray]:
    """The picture in its eight mirrored and turned versions."""
    return [np.rot90(one, turns) for one in (pixels, pixels[:, ::-1]) for turns in range(4)]


def place_of(window: np.ndarray, pictures: list[np.ndarray]) -> tuple[int, int, int, int]:
    """Which picture, top, left and turn `window` was cut from."""
    side = window.shape[0]
    for number, picture in enumerate(pictures):
        for turn, version in enumerate(eight(window)):
            rows, columns = np.nonzero((picture == version[0, 0]).all(axis=2))
            for top, left in zip(rows, columns, strict=True):
                if np.array_equal(picture[top : top + side, left : left + side], version):
                    return number, int(top), int(left), turn
    raise AssertionError("the window is in none of the pictures")


@pytest.fixture(scope="module")
def oblongs(tmp_path_factory):
    """8 scenes of 20 x 26, one variant each, PNG."""
    return make_dataset(tmp_path_factory.mktemp("oblongs"), {"train": 8, "validation": 1}, size=(20, 26), variants=1)


@pytest.fixture(scope="module")
def drawn(oblongs):
    """What 12 passes draw: (place in hazy, place in clean) of each window of 16."""
    known = manifest.load(oblongs)
    pairs = read_records(oblongs, "train")
    hazy_pictures, clean_pictures = ([pair[name] for pair in pairs] for name in ("hazy", "clean"))
    places = []
    batches = training(oblongs, known, crop=16, batch=8, seed=0)
    for _ in range(12):
        for hazy, clean in pairs_of(batches):
            codes = [np.rint(values * 255.0).astype(np.uint8) for values in (hazy, clean)]
            for x, y in zip(*codes, strict=True):
                places.append((place_of(x, hazy_pictures), place_of(y, clean_pictures)))
    return places


def test_clean_and_hazy_get_the_same_window_flip_and_turn(drawn):
    assert len(drawn) == 96
    assert all(hazy == clean for hazy, clean in drawn)


def test_every_turn_and_every_window_is_drawn(drawn):
    turns = [place[3] for place, _ in drawn]
    assert set(turns) == set(range(8))
    assert {place[1] for place, _ in drawn} == set(range(5))
    assert {place[2] for place, _ in drawn} == set(range(11))


def test_pairs_hold_the_equation(squares, known):
    """Depth is one number, so hazy is gain * clean + offset: to half a code, only where both are aligned."""
    for hazy, clean in epoch_of(squares, known, crop=16):
        for x, y in zip(hazy, clean, strict=True):
            gain, offset = np.polyfit(y.ravel(), x.ravel(), 1)
            assert 0.3 < gain < 0.9
            assert np.abs(gain * y + offset - x).max() < 0.7 / 255.0


def test_batches_are_float_rgb_in_0_to_1(dataset):
    batch = next(iter(training(dataset, manifest.load(dataset), crop=48, batch=5, seed=0, epoch=0)))
    assert set(batch) == {"hazy", "clean"}
    hazy, clean = batch["hazy"], batch["clean"]
    assert hazy.shape == clean.shape == (5, 48, 48, 3)
    assert hazy.dtype == clean.dtype == tf.float32
    assert float(tf.reduce_min(clean)) >= 0.0
    assert 0.5 < float(tf.reduce_max(hazy)) <= 1.0


@pytest.mark.parametrize("crop", [0, -1, 25, 1000])
def test_crop_out_of_range(squares, known, crop):
    with pytest.raises(UsageError, match=f"Expected 1 to 24 pixels.*received {crop}"):
        training(squares, known, crop=crop, batch=1, seed=0, epoch=0)
    with pytest.raises(UsageError, match=f"Expected 1 to 24 pixels.*received {crop}"):
        validation(squares, known, crop=crop)


@pytest.mark.parametrize("crop", [1, 20])
def test_crop_at_both_ends_of_its_range(oblongs, crop):
    batches = epoch_of(oblongs, manifest.load(oblongs), crop=crop)
    assert all(hazy.shape[1:] == (crop, crop, 3) for hazy, _ in batches)


# --- validation ---


def test_validation_has_all_records_whole_and_in_order(squares, known):
    for _ in range(2):
        batches = pairs_of(validation(squares, known))
        expected = read_records(squares, "validation")
        assert len(batches) == len(expected) == 6
        for (hazy, clean), record in zip(batches, expected, strict=True):
            assert_codes(hazy[0], record["hazy"])
            assert_codes(clean[0], record["clean"])


def test_validation_crop_is_the_centre(oblongs):
    known = manifest.load(oblongs)
    ((hazy, clean),) = pairs_of(validation(oblongs, known, crop=10))
    (record,) = read_records(oblongs, "validation")
    np.testing.assert_array_equal(np.rint(hazy[0] * 255.0), record["hazy"][5:15, 8:18])
    np.testing.assert_array_equal(np.rint(clean[0] * 255.0), record["clean"][5:15, 8:18])


@pytest.mark.parametrize(("batch", "sizes"), [(1, [1] * 6), (4, [4, 2])])
def test_validation_drops_no_tail_and_knows_its_length(squares, known, batch, sizes):
    batches = validation(squares, known, batch=batch)
    assert batches.cardinality() == len(sizes)
    assert [len(hazy) for hazy, _ in pairs_of(batches)] == sizes


def test_empty_split_is_refused(oblongs):
    with pytest.raises(RefusedError, match="Split 'test' of the dataset is empty"):
        validation(oblongs, manifest.load(oblongs), split="test")


# --- damaged shards ---


@pytest.fixture
def damaged(squares, tmp_path):
    return shutil.copytree(squares, tmp_path / "copy")


def test_sound_shards_pass(squares, known):
    manifest.check_shards(squares, known.shards)
    shards.name_damage(squares, known.shards, None)


def test_missing_shard_is_named(damaged, known):
    name = known.shards[1].name
    (damaged / name).unlink()
    with pytest.raises(VerifyError, match=f"Shard '{name}'.*received no file.*hazegen verify"):
        manifest.check_shards(damaged, known.shards)


@pytest.mark.parametrize("change", [-1, 1])
def test_shard_of_another_size_is_named(damaged, known, change):
    shard = known.shards[-1]
    content = (damaged / shard.name).read_bytes()
    (damaged / shard.name).write_bytes(content[:change] if change < 0 else content + b"\0")
    with pytest.raises(
        VerifyError, match=f"Shard '{shard.name}'.*{shard.bytes} bytes, received {shard.bytes + change}"
    ):
        manifest.check_shards(damaged, known.shards)


def test_cut_on_a_record_boundary_is_found_by_size(damaged, known):
    shard = next(shard for shard in known.shards if shard.records > 1)
    first = next(records.read_shard(damaged / shard.name))
    (damaged / shard.name).write_bytes(records.frame(first))
    with pytest.raises(VerifyError, match=shard.name):
        manifest.check_shards(damaged, known.shards)


@pytest.mark.parametrize("record", [0, 1])
def test_flipped_bit_is_found_with_shard_and_record(damaged, known, record):
    shard = next(shard for shard in known.shards_of("train") if shard.records > 1)
    path = damaged / shard.name
    content = bytearray(path.read_bytes())
    start = 0 if record == 0 else len(records.frame(next(records.read_shard(path))))
    content[start + 300] ^= 4
    path.write_bytes(content)
    manifest.check_shards(damaged, known.shards)  # the size is as it must be
    with pytest.raises(
        VerifyError, match=f"Shard '{shard.name}' is damaged at record {record}.*hazegen repair {damaged}"
    ):
        shards.name_damage(damaged, known.shards, None)


def test_tensorflow_ends_at_a_flipped_bit_and_skips_nothing(damaged, known):
    shard = known.shards_of("train")[0]
    content = bytearray((damaged / shard.name).read_bytes())
    content[300] ^= 4
    (damaged / shard.name).write_bytes(content)
    with pytest.raises(tf.errors.DataLossError):
        epoch_of(damaged, known)
