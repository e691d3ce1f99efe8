"""Splits: by scene or by group, by share, or from a file."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazegen import splits
from hazegen.errors import UsageError
from hazegen.manifest import SPLITS

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
FRAMES = [f"room{room}_{frame:03d}" for room in range(20) for frame in range(5)]


@given(st.integers(0, 2**40), st.integers(3, 40), st.integers(1, 4))
def test_group_is_never_split_and_every_split_gets_one(seed, groups, frames):
    keys = [f"g{group}_{frame}" for group in range(groups) for frame in range(frames)]
    split_of = splits.assign(keys, SHARES, r"(.+)_\d+", seed)
    assert set(split_of) == set(keys)
    of_group: dict[str, set[str]] = {}
    for key, split in split_of.items():
        of_group.setdefault(key.split("_")[0], set()).add(split)
    assert all(len(found) == 1 for found in of_group.values())
    assert {next(iter(found)) for found in of_group.values()} == set(SPLITS)


@pytest.mark.parametrize(
    ("scenes", "shares", "counts"),
    [
        (100, SHARES, (80, 10, 10)),
        (10, SHARES, (8, 1, 1)),
        (3, SHARES, (1, 1, 1)),
        (2, SHARES, (1, 1, 0)),
        (1, SHARES, (1, 0, 0)),
        (0, SHARES, (0, 0, 0)),
        (100, {"train": 1.0}, (100, 0, 0)),
        (7, {"test": 1.0}, (0, 0, 7)),
        (10, {"train": 0.5, "validation": 0.5}, (5, 5, 0)),
        (1000, {"train": 0.999, "test": 0.001}, (999, 0, 1)),
        (10, {"train": 0.2, "validation": 0.2, "test": 0.6}, (2, 2, 6)),
    ],
)
def test_scenes_are_dealt_by_share(scenes, shares, counts):
    split_of = splits.assign([str(number) for number in range(scenes)], shares, None, 0)
    found = list(split_of.values())
    assert tuple(found.count(split) for split in SPLITS) == counts


def test_split_does_not_hang_on_the_order_of_keys_but_on_the_seed():
    first = splits.assign(FRAMES, SHARES, None, 0)
    assert splits.assign(FRAMES[::-1], SHARES, None, 0) == first
    assert splits.assign(FRAMES, SHARES, None, 1) != first


@pytest.mark.parametrize("pattern", [r"nothing(.+)", r"room\d+", r"(x)?room\d+_\d+", "(", "[a-"])
def test_group_pattern_that_names_no_group_is_refused(pattern):
    with pytest.raises(UsageError, match=r"--group-by .*Expected .*received '" + re.escape(pattern)):
        splits.assign(FRAMES, SHARES, pattern, 0)


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("train=0.8,validation=0.1,test=0.1", SHARES),
        (" train = 1 ", {"train": 1.0}),
        ("train=0,test=1", {"train": 0.0, "test": 1.0}),
    ],
)
def test_shares_are_read_from_text(text, shares):
    assert splits.parse_shares(text) == shares


@pytest.mark.parametrize(
    "text",
    ["", "train", "train=a", "train=0.8", "train=0.8,val=0.2", "train=1.1,test=-0.1", "train=nan", "train=1,test=1"]
    + ["train=0.5=0.5", "0.8,0.1,0.1"],
)
def test_shares_that_cannot_be_read_are_refused(text):
    with pytest.raises(UsageError, match=rf"add up to 1, as .*received '{text}'. Correct --splits"):
        splits.parse_shares(text)


def test_split_file_is_read_with_none_among_the_splits(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text("key,split,note\na/1,train,x\nb,none,\n'c,test,\n")
    assert splits.read_split_file(path) == {"a/1": "train", "b": "none", "'c": "test"}


@pytest.mark.parametrize(
    "content",
    [
        "name,split\na,train\n",
        "key,set\na,train\n",
        "key,split\na,val\n",
        "key,split\na,train\na,test\n",
        "key,split\na\n",
    ],
)
def test_split_file_that_cannot_be_used_is_refused(tmp_path, content):
    path = tmp_path / "splits.csv"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"splits.csv' cannot be used. Expected columns key and split.*received .*'a'"):
        splits.read_split_file(path)


def test_split_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"splits.csv' cannot be used"):
        splits.read_split_file(path)
