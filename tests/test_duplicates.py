"""Scenes that look alike: what counts as a copy, what does not, and that none within the limit is missed."""

import os
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import draw_clean
from hypothesis import given
from hypothesis import strategies as st

from hazegen import duplicates, images
from hazegen.duplicates import LIMIT, across_splits, perceptual_hash

DATA = Path(os.environ.get("HAZEGEN_TEST_DATA", "/dev/null"))


def distance(first, second):
    return (perceptual_hash(first) ^ perceptual_hash(second)).bit_count()


def changed(clean, how):
    """A copy of a picture as other programs leave it."""
    height, width = clean.shape[:2]
    noise = np.random.default_rng(0).normal(0, 10, clean.shape)
    return {
        "jpeg": lambda: images.decode(images.encode(clean, ".jpg", 30), "copy"),
        "half": lambda: cv2.resize(clean, (width // 2, height // 2), interpolation=cv2.INTER_LINEAR),
        "twice": lambda: cv2.resize(clean, (width * 2, height * 2), interpolation=cv2.INTER_CUBIC),
        "darker": lambda: (clean * 0.6).astype(np.uint8),
        "noise": lambda: np.clip(clean + noise, 0, 255).astype(np.uint8),
    }[how]()


@pytest.mark.parametrize("how", ["jpeg", "half", "twice", "darker", "noise"])
def test_changed_copy_is_alike_and_other_pictures_are_not(how):
    pictures = [draw_clean(np.random.default_rng(seed), 96, 128) for seed in range(12)]
    assert max(distance(picture, changed(picture, how)) for picture in pictures) <= 4
    assert min(distance(a, b) for n, a in enumerate(pictures) for b in pictures[:n]) > LIMIT


@pytest.mark.parametrize("value", [0, 7, 128, 255])
def test_flat_picture_has_the_hash_of_every_flat_picture(value):
    assert perceptual_hash(np.full((48, 64, 3), value, np.uint8)) == 0
    assert perceptual_hash(np.full((5, 3), value, np.uint8)) == 0


def test_hash_is_a_fixed_number_of_64_bits():
    found = [perceptual_hash(draw_clean(np.random.default_rng(seed))) for seed in range(20)]
    assert all(0 <= number < 1 << 63 for number in found), "the mean has no bit"
    assert {number.bit_count() for number in found} == {31}
    gray = draw_clean(np.random.default_rng(0))[..., 0]
    assert perceptual_hash(gray) == perceptual_hash(np.stack([gray] * 3, axis=2)) != 0


def flipped(number, bits):
    for bit in bits:
        number ^= 1 << bit
    return number


@given(st.integers(0, 2**64 - 1), st.sets(st.integers(0, 63), max_size=20))
def test_hashes_are_alike_up_to_the_limit_and_no_further(number, bits):
    found = across_splits({"a": ("train", number), "b": ("test", flipped(number, bits))})
    assert found == ([("a", "b", len(bits))] if len(bits) <= LIMIT else [])


def test_nothing_is_missed_that_a_comparison_of_all_with_all_finds():
    rng = np.random.default_rng(0)
    base = [int(number) for number in rng.integers(0, 2**63, 150)]
    near = [flipped(n, rng.choice(64, int(rng.integers(0, 14)), replace=False).tolist()) for n in base * 2]
    scenes = {f"t{i}": ("train", n) for i, n in enumerate(base)}
    scenes |= {f"v{i}": (("validation", "test")[i % 2], n) for i, n in enumerate(near[:140])}
    found = across_splits(scenes)
    expected = set()
    for ours, theirs in (("test", "validation"), ("test", "train"), ("validation", "train")):
        for name, (split, bits) in scenes.items():
            others = [(bits ^ b).bit_count() for other, b in scenes.values() if other == theirs]
            if split == ours and min(others) <= LIMIT:
                expected.add((name, theirs, min(others)))
    assert {(a, scenes[b][0], bits) for a, b, bits in found} == expected
    assert len(found) == len(expected) > 40
    assert all((scenes[a][1] ^ scenes[b][1]).bit_count() == bits for a, b, bits in found)
    assert [bits for *_, bits in found] == sorted(bits for *_, bits in found)


def test_scenes_of_one_split_are_not_compared():
    assert across_splits({"a": ("train", 5), "b": ("train", 5)}) == []
    assert across_splits({}) == []


def test_each_scene_of_the_smaller_split_is_named_once():
    scenes = {f"t{i}": ("train", 9) for i in range(5)} | {f"v{i}": ("validation", 9) for i in range(3)}
    assert across_splits(scenes) == [("v0", "t0", 0), ("v1", "t0", 0), ("v2", "t0", 0)]


def test_hundred_thousand_scenes_take_no_table_of_all_pairs():
    rng = np.random.default_rng(0)
    splits = ["train"] * 80_000 + ["validation"] * 10_000 + ["test"] * 10_000
    numbers = rng.integers(0, 2**63, len(splits))
    scenes = {f"{n}": (split, int(bits)) for n, (split, bits) in enumerate(zip(splits, numbers, strict=True))}
    scenes["copy"] = ("test", scenes["7"][1] ^ 0b1011)
    tracemalloc.start()
    found = across_splits(scenes)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert ("copy", "7", 3) in found
    assert len(found) < 20
    assert peak < 200e6


def alike(count, seed):
    """Hashes that differ in 8 bits from one, and so in at most 16 from each other."""
    rng, one = np.random.default_rng(seed), int(np.random.default_rng(0).integers(0, 2**63))
    return [flipped(one, rng.choice(64, 8, replace=False).tolist()) for _ in range(count)]


def test_nearest_of_many_that_look_alike_is_found_in_little_memory(monkeypatch):
    monkeypatch.setattr(duplicates, "CHUNK", 1000)
    ours, theirs = alike(300, 1), alike(2000, 2)
    scenes = {f"t{i:04}": ("train", n) for i, n in enumerate(theirs)}
    scenes |= {f"v{i:04}": ("validation", n) for i, n in enumerate(ours)}
    expected = []
    for number, bits in enumerate(ours):
        nearest, name = min(((bits ^ other).bit_count(), f"t{i:04}") for i, other in enumerate(theirs))
        if nearest <= LIMIT:
            expected.append((f"v{number:04}", name, nearest))
    assert len(expected) > 200
    assert across_splits(scenes) == sorted(expected, key=lambda pair: (pair[2], pair[0], pair[1]))


def test_memory_does_not_grow_with_the_number_of_scenes_that_look_alike():
    """20,000 hashes have 10 million pairs with a band in common."""
    scenes = {f"{i}": (("train", "test")[i % 2], n) for i, n in enumerate(alike(20_000, 3))}
    tracemalloc.start()
    found = across_splits(scenes)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) > 9000
    assert peak < 200e6


@pytest.mark.skipif(not DATA.is_dir(), reason="HAZEGEN_TEST_DATA does not name a folder with the published data sets")
def test_real_frames_are_told_apart_and_frames_of_one_camera_path_are_found():
    def read(path):
        return images.as_rgb8(images.decode(path.read_bytes(), path.name), path.name)

    rooms = [read(path) for path in sorted((DATA / "nyu_labeled" / "image").iterdir())[:120]]
    assert len({perceptual_hash(room) for room in rooms}) == len(rooms) > 100
    path = [read(path) for path in sorted((DATA / "rgbd_open3d_formats").rglob("0000?.jpg"))]
    assert len(path) == 5
    scenes = {f"room{n}": ("train", perceptual_hash(room)) for n, room in enumerate(rooms)}
    scenes |= {f"copy{n}": ("test", perceptual_hash(changed(room, "jpeg"))) for n, room in enumerate(rooms[:10])}
    scenes |= {f"frame{n}": (("train", "validation")[n % 2], perceptual_hash(p)) for n, p in enumerate(path)}
    found = {(a, b) for a, b, _ in across_splits(scenes)}
    assert {(a, b) for a, b in found if "room" in b} == {(f"copy{n}", f"room{n}") for n in range(10)}
    assert {a for a, b in found if "frame" in b} == {"frame1", "frame3"}


def test_bands_cover_all_bits_once():
    assert [first for first, _ in duplicates.BANDS] == [0, 22, 43]
    assert sum(width for _, width in duplicates.BANDS) == 64
