"""Damaged shards: what is read on, what is counted as lost, and that the rest keeps its place."""

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from aodnet_fixtures import make_dataset

from aodnet import data, salvage
from aodnet.data import Lost, Source
from hazegen import manifest, records
from hazegen.errors import VerifyError

SIDE = 24


@pytest.fixture(scope="module")
def squares(tmp_path_factory) -> Path:
    """22 records of 24 x 24 in several shards, and 6 of validation; raw, so all shards of one length are alike."""
    folder = tmp_path_factory.mktemp("squares")
    return make_dataset(folder, {"train": 11, "validation": 3}, size=(SIDE, SIDE), codec="raw", shard_mb=0.02)


@pytest.fixture
def damaged(squares, tmp_path) -> Path:
    return Path(shutil.copytree(squares, tmp_path / "copy"))


def all_of(path: Path) -> list[bytes]:
    return list(records.read_shard(path))


def write(path: Path, content: list[bytes]) -> None:
    path.write_bytes(b"".join(map(records.frame, content)))


def flip(path: Path, place: int, bit: int = 3) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def shards_of(folder: Path, split: str = "train") -> list[manifest.Shard]:
    return manifest.load(folder).shards_of(split)


def big(folder: Path) -> manifest.Shard:
    """A shard of at least 4 records."""
    return next(shard for shard in shards_of(folder) if shard.records >= 4)


def starts(path: Path) -> list[int]:
    """Where each record's frame begins."""
    return np.cumsum([0, *(len(record) + 16 for record in all_of(path))]).tolist()


def keys(content: list[bytes]) -> list[str]:
    return [records.decode(record)["key"] for record in content]


# Each does its damage to the file, and says which of the shard's records are lost by it.


def in_the_picture(path: Path) -> list[int]:
    flip(path, starts(path)[1] + 400)
    return [1]


def in_the_checksum_of_a_record(path: Path) -> list[int]:
    flip(path, starts(path)[2] - 1)
    return [1]


def in_the_last_record(path: Path) -> list[int]:
    count = len(all_of(path))
    flip(path, path.stat().st_size - 1)
    return [count - 1]


def in_a_length(path: Path) -> list[int]:
    count = len(all_of(path))
    flip(path, starts(path)[1] + 2)
    return list(range(1, count))


def in_the_checksum_of_a_length(path: Path) -> list[int]:
    count = len(all_of(path))
    flip(path, starts(path)[count - 2] + 9)
    return [count - 2, count - 1]


def cut_inside(path: Path) -> list[int]:
    count = len(all_of(path))
    path.write_bytes(path.read_bytes()[: starts(path)[2] + 500])
    return list(range(2, count))


def cut_on_a_boundary(path: Path) -> list[int]:
    content = all_of(path)
    write(path, content[:3])
    return list(range(3, len(content)))


def one_removed(path: Path) -> list[int]:
    content = all_of(path)
    write(path, content[:1] + content[2:])
    return [1]


def one_doubled(path: Path) -> list[int]:
    content = all_of(path)
    write(path, [*content[:2], *content[1:]])
    return []


def one_doubled_in_place_of_another(path: Path) -> list[int]:
    content = all_of(path)
    write(path, [content[0], content[0], *content[2:]])
    return [1]


def two_swapped(path: Path) -> list[int]:
    content = all_of(path)
    write(path, [content[1], content[0], *content[2:]])
    return []


def grown(path: Path) -> list[int]:
    path.write_bytes(path.read_bytes() + b"\0" * 50)
    return []


def emptied(path: Path) -> list[int]:
    count = len(all_of(path))
    path.write_bytes(b"")
    return list(range(count))


def missing(path: Path) -> list[int]:
    count = len(all_of(path))
    path.unlink()
    return list(range(count))


def another_split(path: Path) -> list[int]:
    """The file of a shard of validation under this name: none of its records may be trained on."""
    count = len(all_of(path))
    other = next(iter(sorted(path.parent.glob("validation-*"))))
    shutil.copy(other, path)
    return list(range(count))


DAMAGES = [
    in_the_picture, in_the_checksum_of_a_record, in_the_last_record, in_a_length, in_the_checksum_of_a_length,
    cut_inside, cut_on_a_boundary, one_removed, one_doubled, one_doubled_in_place_of_another, two_swapped, grown,
    emptied, missing, another_split,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_is_missing_is_lost_and_nothing_else(damaged, damage):
    known, shard = manifest.load(damaged), big(damaged)
    path = damaged / shard.name
    content = all_of(path)
    gone = damage(path)
    lost = Lost()
    with salvage.readable(path, damaged, known, shard, lost, shard.name) as copy:
        found = all_of(copy)
        assert copy != path
    assert not copy.exists()
    assert len(found) == len(content) == shard.records
    assert lost.counts == {shard.name: len(gone)}
    assert lost.total == len(gone)
    expected = [record for number, record in enumerate(content) if number not in gone]
    assert sorted(record for record in found if record) == sorted(expected)


@pytest.mark.parametrize("damage", [in_the_picture, in_a_length, in_the_checksum_of_a_record, cut_inside])
def test_what_is_left_keeps_its_place(damaged, damage):
    known, shard = manifest.load(damaged), big(damaged)
    content = all_of(damaged / shard.name)
    gone = damage(damaged / shard.name)
    with salvage.readable(damaged / shard.name, damaged, known, shard, Lost(), "x") as copy:
        assert all_of(copy) == [b"" if number in gone else record for number, record in enumerate(content)]


def test_flipped_bits_anywhere_lose_no_more_than_they_touch(damaged):
    known, shard = manifest.load(damaged), big(damaged)
    path = damaged / shard.name
    sound, begin = path.read_bytes(), starts(path)
    rng = np.random.default_rng(0)
    for place in [*range(begin[1], begin[1] + 12), begin[2] - 4, *rng.integers(0, len(sound), 20)]:
        flip(path, int(place), int(rng.integers(8)))
        lost = Lost()
        with salvage.readable(path, damaged, known, shard, lost, "x"):
            pass
        number = int(np.searchsorted(begin, place, side="right")) - 1
        of_the_length = place < begin[number] + 12
        assert lost.counts == {"x": shard.records - number if of_the_length else 1}, place
        path.write_bytes(sound)


def test_sound_shards_are_read_once_and_where_they_lie(squares, monkeypatch):
    known, shard, lost, calls = manifest.load(squares), big(squares), Lost(), []
    real = manifest.sha256
    monkeypatch.setattr(manifest, "sha256", lambda path: calls.append(path) or real(path))
    for _ in range(3):
        with salvage.readable(squares / shard.name, squares, known, shard, lost, "x") as path:
            assert path == squares / shard.name
    assert calls == [squares / shard.name]
    assert lost.counts == {}


def test_without_its_plan_nobody_knows_what_belongs_to_a_damaged_shard(damaged):
    known, shard = manifest.load(damaged), big(damaged)
    in_the_picture(damaged / shard.name)
    flip(damaged / "plan.jsonl", 300)
    with (
        pytest.raises(
            VerifyError, match=rf"'{shard.name}' is damaged, and what belongs to it.*hazegen repair {damaged}"
        ),
        salvage.readable(damaged / shard.name, damaged, known, shard, Lost(), "x"),
    ):
        pass


# --- in training ---


def epoch_of(folder: Path, **options) -> list[np.ndarray]:
    settings = {"crop": SIDE, "batch": 4, "seed": 0, "epoch": 0, **options}
    source = Source(folder, manifest.load(folder))
    return [batch["hazy"].numpy() for batch in data.training_batches([source], **settings)]


@pytest.fixture(scope="module")
def whole(squares) -> list[np.ndarray]:
    return epoch_of(squares)


def test_a_lost_record_leaves_its_place_empty(whole, damaged):
    path = damaged / big(damaged).name
    in_the_picture(path)
    lost = Lost()
    rest = epoch_of(damaged, on_damage="skip", lost=lost)
    assert lost.counts == {path.name: 1}
    assert len(rest) == len(whole) == 6
    assert sum(map(len, whole)) - sum(map(len, rest)) == 1
    for before, after in zip(whole, rest, strict=True):
        left = {picture.tobytes() for picture in after}
        assert [p.tobytes() for p in before if p.tobytes() in left] == [p.tobytes() for p in after]


def test_the_same_batches_where_nothing_is_damaged(squares, whole):
    lost = Lost()
    for a, b in zip(whole, epoch_of(squares, on_damage="skip", lost=lost), strict=True):
        np.testing.assert_array_equal(a, b)
    assert lost.counts == {}


def test_everything_lost_leaves_empty_batches(damaged):
    assert len(shards_of(damaged)) > 2
    for shard in shards_of(damaged):
        (damaged / shard.name).unlink()
    lost = Lost()
    batches = epoch_of(damaged, on_damage="skip", lost=lost)
    assert [batch.shape for batch in batches] == [(0, SIDE, SIDE, 3)] * 6
    assert lost.total == 22


def test_validation_skips_too(damaged):
    (shard, *_) = shards_of(damaged, "validation")
    in_the_picture(damaged / shard.name)
    source, lost = Source(damaged, manifest.load(damaged)), Lost()
    batches = list(data.validation_batches([source], on_damage="skip", lost=lost))
    assert sorted(len(batch["clean"]) for batch in batches) == [0, 1, 1, 1, 1, 1]
    assert lost.counts == {shard.name: 1}


def test_shards_of_several_datasets_are_told_apart(squares, damaged):
    path = damaged / big(damaged).name
    in_the_picture(path)
    sources, lost = [Source(folder, manifest.load(folder)) for folder in (squares, damaged)], Lost()
    batches = data.training_batches(sources, crop=8, batch=44, seed=0, epoch=0, on_damage="skip", lost=lost)
    assert [len(batch["clean"]) for batch in batches] == [43]
    assert lost.counts == {f"2/{path.name}": 1}  # not its path: a dataset may move between two runs of one training
    assert lost.named([squares, damaged]) == {str(path): 1}
    assert Lost({path.name: 2, "sound": 0}).named([squares]) == {str(squares / path.name): 2}


def test_keys_of_a_batch_with_a_loss(squares, damaged):
    in_the_picture(damaged / big(damaged).name)
    options = {"batch": 22, "seed": 0, "epoch": 0, "step": 0, "on_damage": "skip"}
    whole, rest = (data.keys_of([Source(folder, manifest.load(folder))], **options) for folder in (squares, damaged))
    assert len(whole) - len(rest) == 1
    assert [key for key in whole if key in rest] == rest


def test_what_cannot_be_told_is_an_error_of_its_own(damaged, monkeypatch):
    """Without the plan nobody knows what is lost; of a disk that fails nothing is known either."""
    path = damaged / big(damaged).name
    in_the_picture(path)
    flip(damaged / "plan.jsonl", 300)
    for kind, match in ((VerifyError, "what belongs to it cannot be told"), (OSError, "Input/output error")):
        lost = Lost()
        with pytest.raises(tf.errors.OpError) as failed:
            epoch_of(damaged, on_damage="skip", lost=lost)
        with pytest.raises(kind, match=match):
            data.explain(failed.value, [Source(damaged, manifest.load(damaged))], ["train"], lost)
        monkeypatch.setattr(manifest, "sha256", failing)


def failing(_path):
    raise OSError(errno.EIO, "Input/output error")


def test_losses_that_are_skipped_are_not_blamed(damaged):
    in_the_picture(damaged / big(damaged).name)
    error, source = tf.errors.InvalidArgumentError(None, None, "of the graph"), Source(damaged, manifest.load(damaged))
    data.explain(error, [source], ["train"], Lost())
    with pytest.raises(VerifyError, match="is damaged at record"):
        data.explain(error, [source], ["train"])


# --- in fail mode ---


@pytest.mark.parametrize(
    ("damage", "record", "received"),
    [
        (in_the_picture, 1, "received other bytes"),
        (cut_inside, 2, "received other bytes"),
        (cut_on_a_boundary, 3, "records, received 3"),
        (one_doubled, 5, "records, received 5"),
        (emptied, 0, "records, received 0"),
        (missing, 0, "received no file"),
    ],
)
def test_the_error_names_shard_record_and_command(damaged, damage, record, received):
    shard = big(damaged)
    assert shard.records == 4
    damage(damaged / shard.name)
    sources = [Source(damaged, manifest.load(damaged))]
    with pytest.raises(tf.errors.OpError) as failed:
        epoch_of(damaged, batch=1)
    with pytest.raises(
        VerifyError, match=rf"'{shard.name}' is damaged at record {record}\..*{received}.*hazegen repair {damaged}"
    ):
        data.explain(failed.value, sources, ["train"])


def test_an_error_that_is_not_the_datas_explains_nothing(squares):
    error = tf.errors.InvalidArgumentError(None, None, "of the graph")
    data.explain(error, [Source(squares, manifest.load(squares))], ["train", "validation"])
