"""Procedural scenes: rooms enclose their depth, cameras stand clear, patterns keep their mean."""

import itertools

import numpy as np
import pytest

from hazegen.scenery.patterns import stripe
from hazegen.scenery.render import render
from hazegen.scenery.room import room
from hazegen.scenery.shapes import distance_to
from hazegen.scenery.street import street
from hazegen.scenery.view import pixel_rays

WIDTH, HEIGHT = 96, 64


def test_room_depth_lies_within_the_room() -> None:
    for index in range(6):
        rng = np.random.default_rng(index)
        scene = room(WIDTH, HEIGHT, rng)
        _, depth_m = render(scene, rng)
        walls = scene.things[0][0].bounds
        assert 0.1 < depth_m.min() < depth_m.max() < np.linalg.norm(walls[1] - walls[0])
        points = scene.view.origin[:, None, None] + pixel_rays(scene.view) * depth_m
        outside = np.maximum(walls[0][:, None, None] - points, points - walls[1][:, None, None])
        assert outside.max() < 1e-4


def test_camera_stands_clear_of_everything() -> None:
    for index, kind in itertools.product(range(8), (street, room)):
        scene = kind(WIDTH, HEIGHT, np.random.default_rng(index))
        gaps = [float(distance_to(shape, scene.view.origin)) for shape, _ in scene.things]
        assert min(gaps) > 0.25


@pytest.mark.parametrize("width_px", [0.013, 0.4, 5.0])
def test_stripes_keep_their_mean_at_every_distance(width_px: float) -> None:
    x = np.linspace(-7, 7, 28001, dtype=np.float32)
    share = stripe(x, np.full_like(x, width_px), 0.7, 0.2)
    assert share.mean() == pytest.approx(0.2 / 0.7, abs=2e-3)
    assert -1e-3 <= share.min() <= share.max() <= 1 + 1e-3
    assert np.ptp(share) < 0.2 if width_px == 5.0 else np.ptp(share) > 0.3
