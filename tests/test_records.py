"""Records: both directions, TensorFlow's own reading and writing beside ours, damage found."""

import contextlib
import struct
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from hazegen import images, records
from hazegen.errors import VerifyError

FLOATS = st.floats(width=32, allow_nan=False)
TYPES = {"text": st.text(), "bytes": st.binary(max_size=300), "float": FLOATS, "int": st.integers(-(2**63), 2**63 - 1)}
TF_TYPES = {"text": tf.string, "bytes": tf.string, "float": tf.float32, "int": tf.int64}


def values_of(feature):
    one = TYPES[feature.kind]
    return one if feature.size == 1 else st.tuples(*[one] * feature.size)


REQUIRED = {name: values_of(feature) for name, feature in records.FEATURES.items() if not feature.optional}


def values_for(kind):
    table = records.TABLES[kind]
    required = {name: values_of(feature) for name, feature in table.items() if not feature.optional}
    optional = {name: values_of(feature) for name, feature in table.items() if feature.optional}
    return st.fixed_dictionaries(required, optional=optional)


PAIRS, SCENES = values_for("pairs"), values_for("scenes")

PAIR = {
    "key": "büro/1#0003",
    "scene": "büro/1",
    "variant": 3,
    "clean": b"\xff\xd8clean",
    "hazy": b"\xff\xd8hazy",
    "height": 480,
    "width": 640,
    "beta": (0.25, 0.5, 0.75),
    "atmospheric_light": (1.0, 0.5, 0.0),
    "visibility_m": 5.5,
    "mean_transmission": 0.375,
    "haze": '{"metres_per_unit": 1.0}',
}


def example_of(values, kind="pairs") -> tf.train.Example:
    """The same record, built by TensorFlow."""
    example = tf.train.Example()
    for name, value in values.items():
        feature = records.TABLES[kind][name]
        items = [value] if feature.size == 1 else value
        target = example.features.feature[name]
        if feature.kind == "float":
            target.float_list.value.extend(items)
        elif feature.kind == "int":
            target.int64_list.value.extend(items)
        else:
            target.bytes_list.value.extend(item.encode() if feature.kind == "text" else item for item in items)
    return example


@given(PAIRS)
def test_record_comes_back_as_it_was(values):
    assert records.decode(records.encode(values)) == values


@given(PAIRS)
def test_bytes_are_those_of_tensorflows_deterministic_writer(values):
    assert records.encode(values) == example_of(values).SerializeToString(deterministic=True)


@given(PAIRS)
def test_records_of_tensorflow_are_read(values):
    assert records.decode(example_of(values).SerializeToString()) == values


@given(SCENES)
@settings(max_examples=20)
def test_scenes_are_what_tensorflow_writes_and_reads(values):
    """But for the order of 'distance' and 'distance_unit_m', which means nothing: TensorFlow has another."""
    record, example = records.encode(values, "scenes"), example_of(values, "scenes")
    assert tf.train.Example.FromString(record) == example
    assert records.decode(record, "scenes") == records.decode(example.SerializeToString(), "scenes") == values


def test_tensorflow_reads_distances_as_numpy_does():
    units = np.array([[1, 256, 65534], [65535, 32768, 2]], "<u2")
    np.testing.assert_array_equal(tf.io.decode_raw(units.tobytes(), tf.uint16).numpy(), units.ravel())


def test_record_of_the_other_kind_is_refused():
    with pytest.raises(TypeError, match=r"Expected the features \['along_ray', .*received"):
        records.encode(PAIR, "scenes")
    with pytest.raises(ValueError, match=r"Expected the features \['along_ray', .*received"):
        records.decode(records.encode(PAIR), "scenes")


@given(PAIRS)
def test_tensorflow_reads_the_same_example(values):
    assert tf.train.Example.FromString(records.encode(values)) == example_of(values)


@pytest.mark.parametrize("more", [{}, {"transmission": b"\x89PNG"}])
def test_tensorflow_parses_what_the_table_says(more):
    values = PAIR | more
    spec = {
        name: tf.io.FixedLenFeature([] if feature.size == 1 else [feature.size], TF_TYPES[feature.kind])
        for name, feature in records.FEATURES.items()
        if name in values
    }
    for name, tensor in tf.io.parse_single_example(records.encode(values), spec).items():
        received = tensor.numpy()
        if isinstance(received, bytes):
            assert received == (values[name].encode() if isinstance(values[name], str) else values[name])
        else:
            np.testing.assert_array_equal(received, values[name])


def test_features_stand_in_one_order_whatever_order_they_come_in():
    assert records.encode(dict(reversed(PAIR.items()))) == records.encode(PAIR)


def test_names_that_are_no_utf_8_survive():
    values = PAIR | {"scene": b"caf\xe9".decode("utf-8", "surrogateescape")}
    assert records.decode(records.encode(values))["scene"].encode("utf-8", "surrogateescape") == b"caf\xe9"


def test_16_bit_transmission_above_255_is_kept():
    pixels = np.array([[0, 255, 256, 40000, 65535]], np.uint16)
    record = records.encode(PAIR | {"transmission": images.encode(pixels, ".png")})
    np.testing.assert_array_equal(images.decode(records.decode(record)["transmission"], "t"), pixels)
    decoded = tf.io.decode_png(records.decode(record)["transmission"], dtype=tf.uint16)
    np.testing.assert_array_equal(decoded[..., 0], pixels)


WRONG = {
    "text": [b"bytes", 1, None, ["a"]],
    "bytes": ["text", 1, None, np.zeros(2, np.uint8)],
    "float": [1, "1.0", np.float32(1.0), None],
    "int": [1.0, "1", True, np.int64(1), None],
}


@pytest.mark.parametrize("name", sorted(records.FEATURES))
def test_value_of_another_type_is_refused(name):
    feature = records.FEATURES[name]
    for wrong in WRONG[feature.kind]:
        with pytest.raises(TypeError, match=rf"Feature '{name}' has another type. Expected {feature.size} x \w+, rec"):
            records.encode(PAIR | {name: wrong if feature.size == 1 else (wrong,) * feature.size})


@pytest.mark.parametrize("value", [(), (0.1,), (0.1, 0.2), (0.1,) * 4])
def test_another_number_of_values_is_refused(value):
    with pytest.raises(TypeError, match=r"Feature 'beta' has another type. Expected 3 x float"):
        records.encode(PAIR | {"beta": value})


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_missing_feature_is_refused_both_ways(name):
    values = {other: value for other, value in PAIR.items() if other != name}
    with pytest.raises(TypeError, match=r"Expected the features \['atmospheric_light', .*received"):
        records.encode(values)
    with pytest.raises(ValueError, match=rf"received none of the name \['{name}'\]"):
        records.decode(example_of(values).SerializeToString())


def test_unknown_feature_is_refused_both_ways():
    with pytest.raises(TypeError, match=r"Expected the features .*received .*'fog'"):
        records.encode(PAIR | {"fog": 1})
    example = example_of(PAIR)
    example.features.feature["fog"].int64_list.value.append(1)
    with pytest.raises(ValueError, match=r"Expected the features .*received 'fog'"):
        records.decode(example.SerializeToString())


def test_feature_with_another_type_or_number_of_values_is_refused_on_reading():
    for values in ([1.0, 2.0], [1.0] * 4):
        example = example_of(PAIR)
        example.features.feature["beta"].float_list.value[:] = values
        with pytest.raises(ValueError, match=f"Feature 'beta' expected 3 values, received {len(values)}"):
            records.decode(example.SerializeToString())
    example = example_of(PAIR)
    example.features.feature["height"].float_list.value.append(480.0)
    with pytest.raises(ValueError, match="Feature 'height' expected 1 values, received 0"):
        records.decode(example.SerializeToString())


@given(st.binary(max_size=60))
def test_bytes_that_are_no_record_are_refused_and_nothing_else(data):
    with pytest.raises(ValueError, match=r"cut off|Expected|codec can't decode|expected"):
        records.decode(data)


@given(st.data())
def test_damaged_record_is_read_or_refused_and_nothing_else(data):
    record = bytearray(records.encode(PAIR))
    for _ in range(data.draw(st.integers(1, 3))):
        record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        assert set(records.decode(bytes(record))) <= set(records.FEATURES)


def test_floats_that_are_cut_within_a_number_are_refused():
    def field(tag: int, content: bytes) -> bytes:
        return bytes([tag << 3 | 2, len(content)]) + content

    entry = field(1, b"visibility_m") + field(2, field(2, field(1, b"\x00\x00\x80")))
    with pytest.raises(ValueError, match="visibility_m"):
        records.decode(field(1, field(1, entry)))


# --- TFRecord framing ---

RECORDS = [b"first", b"", b"x" * 1000, records.encode(PAIR)]


@pytest.fixture
def shard(tmp_path):
    """A shard of four records and the places where they end."""
    path = tmp_path / "train-00000-of-00001.tfrecord"
    framed = [records.frame(record) for record in RECORDS]
    path.write_bytes(b"".join(framed))
    return path, np.cumsum([len(frame) for frame in framed]).tolist()


def test_framing_is_tensorflows(shard, tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in RECORDS:
            writer.write(record)
    assert shard[0].read_bytes() == (tmp_path / "theirs").read_bytes()
    assert [record.numpy() for record in tf.data.TFRecordDataset(str(shard[0]))] == RECORDS
    assert list(records.read_shard(tmp_path / "theirs")) == RECORDS


@given(st.binary(max_size=2000))
def test_frame_costs_16_bytes_and_holds_the_record(record):
    framed = records.frame(record)
    assert len(framed) == len(record) + 16
    assert framed[12:-4] == record
    assert struct.unpack("<Q", framed[:8]) == (len(record),)


def test_checksum_of_a_known_record():
    # CRC-32C of "123456789" is 0xE3069283 (RFC 3720); masked: rotated right by 15, plus 0xA282EAD8.
    crc = 0xE3069283
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert records.frame(b"123456789")[-4:] == struct.pack("<I", masked)


def numbered(path, whole):
    """Reads a damaged shard: the `whole` records before the damage are given, then its number is named."""
    reading = records.read_shard(path)
    assert [next(reading) for _ in range(whole)] == RECORDS[:whole]
    with pytest.raises(VerifyError, match=rf"'{path.name}' is damaged at record {whole}\. Expected a complete record"):
        next(reading)


def test_cut_within_a_record_is_found_wherever_it_is(shard):
    path, ends = shard
    data = path.read_bytes()
    for cut in (
        *range(1, 60),
        *range(1000, len(data), 13),
        *(end - 1 for end in ends),
        *(end + 1 for end in ends[:-1]),
    ):
        if cut not in ends:
            path.write_bytes(data[:cut])
            numbered(path, sum(end <= cut for end in ends))


def test_cut_on_a_boundary_gives_the_records_before_it(shard):
    path, ends = shard
    data = path.read_bytes()
    for count, end in enumerate([0, *ends]):
        path.write_bytes(data[:end])
        assert list(records.read_shard(path)) == RECORDS[:count]


def test_every_flipped_bit_is_found_with_the_number_of_its_record(shard):
    path, ends = shard
    data = path.read_bytes()
    for at in (*range(40), *range(1020, len(data), 17), len(data) - 1):
        for bit in (0, 5, 7):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            numbered(path, sum(end <= at for end in ends))


def test_length_with_a_right_checksum_beyond_the_file_takes_no_memory(shard):
    path, _ = shard
    huge = struct.pack("<Q", 2**62)
    path.write_bytes(huge + struct.pack("<I", records._masked_crc(huge)) + b"abc")
    numbered(path, 0)


def test_hash_order_has_nothing_to_do_with_names_and_never_changes():
    keys = [f"{number:03d}" for number in range(50)]
    ordered = sorted(keys, key=records.hash_order)
    assert ordered != keys
    shuffled = keys[25:] + keys[:25]
    assert sorted(shuffled, key=records.hash_order) == ordered
    assert records.hash_order("a").hex().startswith("ca978112ca1bbdca")  # SHA-256 of "a"
    assert records.hash_order("caf\udce9") != records.hash_order("café")


def test_pictures_are_copied_once_into_a_record_and_once_into_its_frame():
    pictures = {"clean": bytes(4_000_000), "hazy": bytes(4_000_000)}
    tracemalloc.start()
    record = records.encode(PAIR | pictures)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    framed = records.frame(record)
    _, framing = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(record) + 4_000_000
    assert framing < len(record) + len(framed) + 4_000_000
