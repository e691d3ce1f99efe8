"""Boxes: overlap, suppression, agreement and letterbox, by hand and against slow loops."""

import tracemalloc

import cv2
import numpy as np
import pytest

from aodnet import boxes
from aodnet.boxes import Boxes


def boxes_of(*rows: tuple[float, float, float, float, float, int]) -> Boxes:
    """Rows of left, top, right, bottom, score, class."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def slow_iou(a, b) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union else 0.0


def random_boxes(count: int, seed: int, classes: int = 2) -> Boxes:
    rng = np.random.default_rng(seed)
    corner, sides = rng.uniform(0, 60, (count, 2)), rng.uniform(5, 50, (count, 2))
    found = Boxes(np.hstack([corner, corner + sides]), rng.random(count), rng.integers(0, classes, count))
    return boxes.ranked(found, count)


# --- overlap ---


@pytest.mark.parametrize(
    ("b", "expected"),
    [
        ((0, 0, 10, 10), 1.0),
        ((5, 0, 15, 10), 50 / 150),
        ((0, 0, 5, 5), 25 / 100),
        ((10, 0, 20, 10), 0.0),  # they touch
        ((30, 30, 40, 40), 0.0),
        ((9, 9, 11, 11), 1 / 103),
    ],
)
def test_overlap_by_hand(b, expected):
    a = np.array([[0, 0, 10, 10]], float)
    assert boxes.overlaps(a, np.array([b], float))[0, 0] == pytest.approx(expected)


def test_overlap_of_empty_boxes_is_0():
    point = np.array([[3, 3, 3, 3]], float)
    assert boxes.overlaps(point, point)[0, 0] == 0.0
    assert boxes.overlaps(point, np.empty((0, 4))).shape == (1, 0)


def test_overlaps_are_the_slow_loops():
    a, b = random_boxes(20, 1).corners, random_boxes(30, 2).corners
    slow = [[slow_iou(one, other) for other in b] for one in a]
    np.testing.assert_allclose(boxes.overlaps(a, b), slow, atol=1e-12)


# --- suppression ---


def test_suppression_keeps_the_surest_of_a_class():
    found = boxes_of((0, 0, 10, 10, 0.6, 0), (1, 0, 11, 10, 0.9, 0), (0, 0, 10, 10, 0.5, 1), (50, 0, 60, 10, 0.7, 0))
    kept = boxes.suppress(found, 0.45)
    assert kept.scores.tolist() == [0.9, 0.7, 0.5]
    assert kept.classes.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(kept.corners[0], [1, 0, 11, 10])


def test_suppressed_box_suppresses_none():
    """B goes because of A; C, which overlaps B alone, stays."""
    found = boxes_of((0, 0, 10, 10, 0.9, 0), (4, 0, 14, 10, 0.8, 0), (8, 0, 18, 10, 0.7, 0))
    assert boxes.suppress(found, 0.4).scores.tolist() == [0.9, 0.7]


@pytest.mark.parametrize("seed", range(5))
def test_suppression_is_the_slow_loops(seed):
    found, kept = random_boxes(60, seed), []
    for n in range(len(found)):
        rivals = [m for m in kept if found.classes[m] == found.classes[n]]
        if all(slow_iou(found.corners[m], found.corners[n]) <= 0.3 for m in rivals):
            kept.append(n)
    assert 2 < len(kept) < 60
    np.testing.assert_array_equal(boxes.suppress(found, 0.3).corners, found.corners[kept])


def test_nothing_is_left_of_nothing():
    assert len(boxes.suppress(boxes_of(), 0.5)) == 0


def test_ranking_is_stable_and_limited():
    found = boxes_of((0, 0, 1, 1, 0.5, 0), (0, 0, 2, 2, 0.9, 1), (0, 0, 3, 3, 0.5, 2), (0, 0, 4, 4, 0.1, 3))
    assert boxes.ranked(found, 3).classes.tolist() == [1, 0, 2]


# --- agreement ---


def test_each_reference_is_taken_once():
    reference = boxes_of((0, 0, 10, 10, 0.9, 0))
    found = boxes_of((0, 0, 10, 9, 0.8, 0), (0, 0, 10, 10, 0.7, 0))
    assert boxes.match(found, reference, 0.5).tolist() == [0, -1]


def test_surest_chooses_first_and_takes_the_closest():
    reference = boxes_of((0, 0, 10, 10, 0.9, 0), (4, 0, 14, 10, 0.8, 0))
    found = boxes_of((3, 0, 13, 10, 0.9, 0), (2, 0, 12, 10, 0.8, 0))
    # By hand: the first overlaps by 70/130 and 90/110, the second by 80/120 and 80/120.
    assert boxes.match(found, reference, 0.5).tolist() == [1, 0]


def test_other_class_never_agrees():
    assert boxes.match(boxes_of((0, 0, 10, 10, 0.9, 1)), boxes_of((0, 0, 10, 10, 0.9, 0)), 0.5).tolist() == [-1]


def test_threshold_itself_agrees():
    reference, found = boxes_of((0, 0, 10, 10, 0.9, 0)), boxes_of((0, 0, 10, 5, 0.9, 0))
    assert boxes.match(found, reference, 0.5).tolist() == [0]
    assert boxes.match(found, reference, 0.501).tolist() == [-1]


def test_boxes_apart_never_agree_whatever_the_threshold():
    reference = boxes_of((0, 0, 10, 10, 0.9, 0))
    assert boxes.match(boxes_of((20, 20, 30, 30, 0.9, 0)), reference, 1e-9).tolist() == [-1]


def test_agreement_takes_memory_for_one_row():
    many = Boxes(np.tile([0.0, 0.0, 1.0, 1.0], (600, 1)), np.full(600, 0.5), np.arange(600))
    tracemalloc.start()
    assert (boxes.match(many, many, 0.5) == np.arange(600)).all()
    assert tracemalloc.get_traced_memory()[1] < 1e6  # 600 x 600 numbers are 3 MB
    tracemalloc.stop()


def test_nothing_agrees_with_nothing():
    assert boxes.match(boxes_of(), boxes_of(), 0.5).tolist() == []
    assert boxes.match(boxes_of((0, 0, 1, 1, 0.9, 0)), boxes_of(), 0.5).tolist() == [-1]


# --- the picture in the network's input ---


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(1242, 375, (640, 640)), (333, 500, (640, 384)), (7, 3, (64, 64)), (640, 640, (640, 640))],
)
@pytest.mark.parametrize("fit", [boxes.letterboxed, boxes.stretched])
def test_box_comes_back_to_its_place(fit, width, height, size):
    """A box in the picture, carried into the input and rounded there to pixels, comes back to half a pixel of it."""
    placement = fit(width, height, size)
    scale = np.array([placement.scale_x, placement.scale_y] * 2)
    offset = np.array([placement.left, placement.top] * 2)
    corners = np.array([[0, 0, width, height], [width * 0.21, height * 0.4, width * 0.6, height * 0.93]])
    back = boxes.to_picture(corners * scale + offset, placement, width, height)
    np.testing.assert_allclose(back, corners, atol=1e-9)
    rounded = boxes.to_picture(np.rint(corners * scale + offset), placement, width, height)
    assert np.abs(rounded - corners).max() <= 0.5 / min(placement.scale_x, placement.scale_y) + 1e-9


def test_letterboxed_square_is_found_where_it_was():
    """What is drawn into the picture and found in the input's pixels lies where it was drawn, to 0.5 px."""
    pixels = np.zeros((301, 517, 3), np.uint8)
    pixels[100:180, 40:230] = 255
    placement = boxes.letterboxed(517, 301, (640, 640))
    canvas = boxes.place(pixels, placement, (640, 640), cv2.INTER_LINEAR)
    rows, columns = np.nonzero(canvas[..., 0] > 127)
    found = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], float)
    np.testing.assert_allclose(boxes.to_picture(found, placement, 517, 301), [[40, 100, 230, 180]], atol=0.5)


def test_letterbox_keeps_proportions_between_grey_borders():
    placement = boxes.letterboxed(200, 100, (64, 64))
    assert (placement.left, placement.top) == (0, 16)
    canvas = boxes.place(np.zeros((100, 200, 3), np.uint8), placement, (64, 64), cv2.INTER_LINEAR)
    assert (canvas[:16] == boxes.BORDER).all()
    assert (canvas[16:48] == 0).all()
    assert (canvas[48:] == boxes.BORDER).all()


def test_boxes_are_cut_at_the_pictures_borders():
    placement = boxes.letterboxed(100, 50, (100, 100))
    np.testing.assert_array_equal(
        boxes.to_picture(np.array([[-5.0, 0.0, 120.0, 100.0]]), placement, 100, 50), [[0, 0, 100, 50]]
    )
