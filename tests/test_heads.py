"""Records without their pictures: the same numbers as the whole record, and no more of the file than needed."""

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazegen import heads, manifest, records
from hazegen.errors import VerifyError


def pair(number=0, **changes):
    values = {
        "key": f"sc\udce9ne/{number}#0000", "scene": f"sc\udce9ne/{number}", "variant": number,
        "clean": b"\xff\xd8" + bytes(5000), "hazy": b"\xff\xd8" + bytes(300), "height": 3, "width": 4,
        "beta": (0.5, 0.25, 0.125), "atmospheric_light": (1.0, 0.5, 0.25), "visibility_m": 8.0,
        "mean_transmission": 0.5, "haze": "{}",
    }  # fmt: skip
    return values | changes


def write(path, *values):
    path.write_bytes(b"".join(records.frame(records.encode(one)) for one in values))
    return path


def test_heads_are_the_records_without_their_pictures(dataset):
    for shard in manifest.load(dataset).shards:
        path = dataset / shard.name
        whole = list(records.read_shard(path))
        found = list(heads.read_heads(path))
        assert [head.length for head in found] == list(map(len, whole))
        for head, record in zip(found, whole, strict=True):
            assert head.values == records.decode(record) | {"clean": b"", "hazy": b""}
            assert heads.read_record(path, head.offset, head.length) == record


def test_transmission_is_left_out_too(tmp_path):
    path = write(tmp_path / "s", pair(transmission=bytes(70_000)), pair(1))
    first, second = heads.read_heads(path)
    assert first.values["transmission"] == b""
    assert "transmission" not in second.values


@given(st.integers(0, 200_000), st.text(max_size=300))
def test_heads_of_any_length_are_found(tmp_path_factory, size, text):
    path = write(tmp_path_factory.mktemp("heads") / "s", pair(clean=bytes(size), haze=text), pair(1, hazy=b""))
    assert [(head.values["variant"], head.values["haze"]) for head in heads.read_heads(path)] == [(0, text), (1, "{}")]


def test_pictures_are_passed_over(tmp_path, monkeypatch):
    """Of 20 records of 2 MB less than 1 MB is read."""
    path = write(tmp_path / "s", *(pair(number, clean=bytes(1 << 20), hazy=bytes(1 << 20)) for number in range(20)))
    taken = []

    class Counted(type(path)):
        def open(self, mode):
            file = open(self, mode, buffering=0)  # noqa: SIM115, PTH123
            read = file.readinto

            class Raw(__import__("io").RawIOBase):
                def readable(self):
                    return True

                def seekable(self):
                    return True

                def seek(self, *place):
                    return file.seek(*place)

                def tell(self):
                    return file.tell()

                def readinto(self, buffer):
                    taken.append(read(buffer))
                    return taken[-1]

                def close(self):
                    file.close()
                    super().close()

            return __import__("io").BufferedReader(Raw())

    assert len(list(heads.read_heads(Counted(path)))) == 20
    assert sum(taken) < 1e6 < path.stat().st_size / 40


def test_shard_that_is_read_whole_is_held_against_its_digest(tmp_path):
    path = write(tmp_path / "s", *(pair(number, clean=bytes(3 << 20)) for number in range(3)))
    digest = manifest.sha256(path)
    assert list(heads.read_heads(path, digest)) == list(heads.read_heads(path))
    content = bytearray(path.read_bytes())
    for at in (len(content) // 2, len(content) - 1):  # in a picture, and in the last checksum
        content[at] ^= 1
        path.write_bytes(content)
        assert len(list(heads.read_heads(path))) == 3
        with pytest.raises(VerifyError, match=rf"'s' is not what the manifest says. Expected SHA-256 {digest[:12]}"):
            list(heads.read_heads(path, digest))
        content[at] ^= 1


@pytest.mark.parametrize("cut", [1, 4, 11, 12, 13, 60, 2000])
def test_shard_that_is_cut_is_named_with_the_record(tmp_path, cut):
    path = write(tmp_path / "s", pair(), pair(1))
    os.truncate(path, path.stat().st_size // 2 + cut)
    with pytest.raises(VerifyError, match=r"Record 1 of shard 's' cannot be read. Expected the features of a pair"):
        list(heads.read_heads(path))


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\x0a",
        b"\x0a\xff",
        b"\x0a\x05\x0a\x7f",
        b"\x12\x00",
        b"\x0a" + b"\xff" * 12,
        records.encode(pair())[:-1],
        records.encode(pair()) + b"\x0a\x00",
        records.encode(pair()).replace(b"scene", b"sxene"),
    ],
)
def test_bytes_that_are_no_pair_are_refused(tmp_path, record):
    (tmp_path / "s").write_bytes(records.frame(record))
    with pytest.raises(VerifyError, match="Record 0 of shard 's' cannot be read"):
        list(heads.read_heads(tmp_path / "s"))


def test_length_is_held_against_the_file_before_memory_is_taken(tmp_path):
    (tmp_path / "s").write_bytes(struct.pack("<Q", 1 << 60) + bytes(100))
    with pytest.raises(VerifyError, match="the record is cut off"):
        list(heads.read_heads(tmp_path / "s"))
    (tmp_path / "t").write_bytes(records.frame(records.encode(pair(haze="x" * (heads.MOST_BYTES + 1)))))
    with pytest.raises(VerifyError, match="a field that is no picture has 10"):
        list(heads.read_heads(tmp_path / "t"))


def test_record_is_held_against_its_checksums(tmp_path):
    path = write(tmp_path / "s", pair(), pair(1))
    _, second = heads.read_heads(path)
    content = bytearray(path.read_bytes())
    for at in (second.offset, second.offset + 9, second.offset + 3000, len(content) - 1):
        content[at] ^= 4
        path.write_bytes(content)
        with pytest.raises(VerifyError, match=rf"Shard 's' is damaged at byte {second.offset}. Expected a complete"):
            heads.read_record(path, second.offset, second.length)
        content[at] ^= 4
    with pytest.raises(VerifyError, match="is damaged at byte"):
        heads.read_record(path, len(content) - 20, 100)
