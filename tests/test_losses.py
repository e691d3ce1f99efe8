"""Losses: their values by hand, and how they are written."""

import numpy as np
import pytest
import tensorflow as tf

from aodnet import losses
from aodnet.config import FitConfig
from hazegen.errors import UsageError

RNG = np.random.default_rng(0)
CLEAN = RNG.uniform(size=(2, 16, 18, 3)).astype(np.float32)
RESTORED = RNG.uniform(size=(2, 16, 18, 3)).astype(np.float32)


def test_l2_and_l1_by_numpy():
    difference = RESTORED.astype(np.float64) - CLEAN
    assert float(losses.l2(CLEAN, RESTORED)) == pytest.approx((difference**2).mean(), rel=1e-5)
    assert float(losses.l1(CLEAN, RESTORED)) == pytest.approx(np.abs(difference).mean(), rel=1e-5)


def test_worked_by_hand():
    clean, restored = tf.zeros((1, 11, 11, 3)), tf.fill((1, 11, 11, 3), 0.5)
    assert float(losses.l2(clean, restored)) == 0.25
    assert float(losses.l1(clean, restored)) == 0.5
    # SSIM of two flat pictures is its luminance term alone: c1 / (0.5^2 + c1) with c1 = 0.01^2.
    assert float(losses.ssim(clean, restored)) == pytest.approx(1.0 - 1e-4 / (0.25 + 1e-4), rel=1e-4)


@pytest.mark.parametrize("name", losses.TERMS)
def test_zero_for_equal_and_above_for_others(name):
    assert float(losses.TERMS[name](CLEAN, CLEAN)) == pytest.approx(0.0, abs=1e-6)
    assert float(losses.TERMS[name](CLEAN, RESTORED)) > 0.01


@pytest.mark.parametrize("name", losses.TERMS)
def test_gradient_points_from_the_clean_image_away(name):
    restored = tf.Variable(CLEAN + 0.05 * (RESTORED - CLEAN))
    with tf.GradientTape() as tape:
        before = losses.TERMS[name](CLEAN, restored)
    gradient = tape.gradient(before, restored)
    after = losses.TERMS[name](CLEAN, restored - 1e-3 * gradient / tf.norm(gradient))
    assert float(after) < float(before)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("l2", {"l2": 1.0}),
        ("l1=0.8, ssim=0.2", {"l1": 0.8, "ssim": 0.2}),
        (" l2 = 3 ", {"l2": 3.0}),
        ("l1,l2=1e-3", {"l1": 1.0, "l2": 0.001}),
    ],
)
def test_parse(text, expected):
    assert losses.parse_loss(text) == expected


@pytest.mark.parametrize("text", ["", "l3", "l2=0", "l2=-1", "l2=x", "l2=nan", "l2=inf", "l2,l2", "l2 l1", "l2,"])
def test_parse_refuses(text):
    with pytest.raises(UsageError, match="Expected terms among l2, l1, ssim with weights above 0"):
        losses.parse_loss(text)


def test_total_is_the_weighted_sum():
    terms = {"l1": 0.8, "ssim": 0.2}
    expected = 0.8 * float(losses.l1(CLEAN, RESTORED)) + 0.2 * float(losses.ssim(CLEAN, RESTORED))
    assert float(losses.total(terms, CLEAN, RESTORED)) == pytest.approx(expected, rel=1e-6)
    assert float(losses.total({"l2": 2.0}, CLEAN, RESTORED)) == pytest.approx(2 * float(losses.l2(CLEAN, RESTORED)))


# --- the other settings of a run ---


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("epochs", [0, -1], [1]),
        ("batch", [0], [1]),
        ("learning_rate", [0.0, -1.0, float("inf"), float("nan")], [1e-9]),
        ("warmup", [-0.1, 1.0], [0.0, 0.99]),
        ("final_learning_rate", [-0.1, 1.1], [0.0, 1.0]),
        ("weight_decay", [-0.1, 1.0], [0.0]),
        ("clip_norm", [0.0, -1.0, float("nan")], [1e-9]),
        ("shuffle_mb", [0.0], [1e-6]),
        ("checkpoint_steps", [0], [1]),
    ],
)
def test_both_ends_of_every_range(name, bad, good):
    for value in bad:
        with pytest.raises(UsageError, match=f"{name} is out of range.*received {value}.*--{name.replace('_', '-')}"):
            FitConfig(**{name: value})
    for value in good:
        assert getattr(FitConfig(**{name: value}), name) == value
