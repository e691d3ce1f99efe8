"""Scenes that look alike though they are in different splits: frames of one video, copies under another name."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hazegen.manifest import SPLITS

SIDE = 32
LOW = 8
# Bits in which the hashes of two pictures may differ that count as alike; see `across_splits`.
LIMIT = 8
# First bit and number of bits of each band. Hashes that differ in at most LIMIT bits differ in at most
# LIMIT // len(BANDS) = 2 bits of one band: of three numbers whose sum is 8 one is below 3.
BANDS = ((0, 22), (22, 21), (43, 21))
MOST_FLIPPED = LIMIT // len(BANDS)
# Pairs of hashes that are compared at once.
CHUNK = 1 << 20

_COSINES = np.cos(np.pi * np.outer(np.arange(LOW), 2 * np.arange(SIDE) + 1) / (2 * SIDE))


def perceptual_hash(clean: NDArray[np.uint8]) -> int:
    """64 bits that pictures of the same content have nearly all in common, whatever their size, codec or brightness.

    The lowest 8 x 8 frequencies of a 32 x 32 grey picture (DCT-II); each bit says whether one is above the median
    of all but the mean's, whose own bit is 0. Hashes of pictures without content differ in chance alone.

    Args:
        clean: sRGB-coded (height, width, 3) or grey (height, width).

    References:
        C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010 (from memory, unconfirmed).
    """
    gray = clean if clean.ndim == 2 else cv2.cvtColor(clean, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
    # Rounded: equal frequencies of a flat picture come out equal, on each machine.
    frequencies = np.round(_COSINES @ small @ _COSINES.T, 3).ravel()
    bits = frequencies > np.median(frequencies[1:])
    bits[0] = False
    return int.from_bytes(np.packbits(bits).tobytes())


def across_splits(scenes: Mapping[str, tuple[str, int]]) -> list[tuple[str, str, int]]:
    """For each scene of a smaller split the scene of a larger one that looks most like it, where one is alike.

    Alike are hashes that differ in at most LIMIT = 8 bits. Measured on 442 labelled frames of NYU: of all 97,461
    pairs of different frames none differ in fewer than 12 bits, 3 in 12. Changed copies of 148 of them differ in at
    most 4 bits (JPEG quality 30; half the size; 0.6 times as bright; noise of 10) and in at most 8 for 148 (gamma
    1.5), 145 (a gain of 1.3 that clips) and 135 (2 % cut off at each edge). Five frames that a camera took in
    succession differ in at most 4 bits; taken from another place in the room a frame looks different.

    A million scenes that look different take 10 s and 0.5 GB. Where many look alike the time grows with the square
    of their number and the memory does not: 200,000 hashes that differ in 8 bits from one, half of them in each of
    two splits, take 15 s and 0.2 GB more than before the call (one core).

    Returns:
        Two scenes of different splits and the number of bits in which they differ, nearest first.
    """
    members: dict[str, dict[int, list[str]]] = {split: {} for split in SPLITS}
    for name in sorted(scenes):
        split, bits = scenes[name]
        members[split].setdefault(bits, []).append(name)
    sizes = sorted(SPLITS, key=lambda split: sum(map(len, members[split].values())))
    found = []
    for rank, smaller in enumerate(sizes):
        for larger in sizes[rank + 1 :]:
            for ours, theirs, distance in _nearest(list(members[smaller]), list(members[larger])):
                found += [(name, members[larger][theirs][0], distance) for name in members[smaller][ours]]
    return sorted(found, key=lambda pair: (pair[2], pair[0], pair[1]))


def _nearest(ours: list[int], theirs: list[int]) -> Iterator[tuple[int, int, int]]:
    """For each of our hashes the nearest of theirs, where one differs in at most LIMIT bits."""
    if not ours or not theirs:
        return
    here, there = np.array(ours, np.uint64), np.array(theirs, np.uint64)
    bands = [_Band.of(there, first, width) for first, width in BANDS]
    best = np.full(len(here), (LIMIT + 1) << 32, np.int64)  # distance and number of the other, in one number
    for flipped in range(MOST_FLIPPED + 1):
        # Hashes of which no band has fewer flipped bits than this differ in at least so many.
        open_ = np.flatnonzero(best >> 32 >= flipped * len(BANDS))
        for band in bands:
            for mine, other in band.candidates(here[open_], flipped):
                bits = np.bitwise_count(here[open_[mine]] ^ there[other])
                near = np.flatnonzero(bits <= LIMIT)
                np.minimum.at(best, open_[mine[near]], bits[near].astype(np.int64) << 32 | other[near])
    for number in np.flatnonzero(best >> 32 <= LIMIT):
        yield ours[number], theirs[best[number] & 0xFFFFFFFF], int(best[number] >> 32)


@dataclass(frozen=True)
class _Band:
    """Some hashes, sorted by one band of theirs: those with the band b are order[starts[b] : starts[b + 1]]."""

    first: int
    width: int
    order: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, hashes: NDArray[np.uint64], first: int, width: int) -> "_Band":
        values = _band(hashes, first, width)
        starts = np.concatenate([[0], np.cumsum(np.bincount(values, minlength=1 << width))])
        return cls(first, width, np.argsort(values, kind="stable"), starts)

    def candidates(self, hashes: NDArray[np.uint64], flipped: int) -> Iterator[tuple[NDArray[np.int64], ...]]:
        """Numbers of `hashes` and of those whose band differs in `flipped` bits, at most CHUNK pairs at a time."""
        values = _band(hashes, self.first, self.width)
        for bits in itertools.combinations(range(self.width), flipped):
            probe = values ^ sum(1 << bit for bit in bits)
            counts = self.starts[probe + 1] - self.starts[probe]
            hit = np.flatnonzero(counts)
            ends = np.cumsum(counts[hit])
            # What is added to the number of a pair to get its place in `order`.
            shift = self.starts[probe[hit]] - (ends - counts[hit])
            for begin in range(0, int(ends[-1]) if len(hit) else 0, CHUNK):
                end = min(begin + CHUNK, int(ends[-1]))
                some = slice(np.searchsorted(ends, begin, side="right"), np.searchsorted(ends, end) + 1)
                within = np.diff(np.clip(ends[some], None, end), prepend=begin)
                yield np.repeat(hit[some], within), self.order[np.arange(begin, end) + np.repeat(shift[some], within)]


def _band(hashes: NDArray[np.uint64], first: int, width: int) -> NDArray[np.int64]:
    return (hashes >> np.uint64(first) & np.uint64((1 << width) - 1)).astype(np.int64)
