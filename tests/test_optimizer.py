"""The optimizer: the learning rate's course, what decays, and the average of the weights."""

import dataclasses

import keras
import numpy as np
import pytest

from aodnet.config import FitConfig
from aodnet.optimizer import build_optimizer

CONFIG = FitConfig(learning_rate=0.01, warmup=0.1, final_learning_rate=0.05, clip_norm=1e9)


def variables() -> list[keras.Variable]:
    return [keras.Variable(np.full(3, 0.5, np.float32), name=name) for name in ("kernel", "bias")]


def rates(config: FitConfig, steps: int) -> list[float]:
    """The learning rate of each step, and the one after the last."""
    optimizer = build_optimizer(config, steps)
    return [float(optimizer._learning_rate(step)) for step in range(steps + 1)]


def test_warm_up_then_cosine():
    course = rates(CONFIG, 100)
    np.testing.assert_allclose(course[:11], np.linspace(0.0, 0.01, 11), atol=1e-8)
    turned = (1 + np.cos(np.pi * np.arange(91) / 90)) / 2
    np.testing.assert_allclose(course[10:], 0.01 * (0.95 * turned + 0.05), rtol=1e-5)


def test_without_warm_up_it_starts_at_the_highest():
    assert rates(dataclasses.replace(CONFIG, warmup=0.0), 10)[0] == pytest.approx(0.01)


def test_one_step_of_adam_by_hand():
    """The first step of Adam is the learning rate against the gradient's sign; adamw decays kernels beside it."""
    for name, kernel in (("adam", 0.49), ("adamw", 0.49 - 0.5 * 0.01 * 0.2)):
        config = dataclasses.replace(CONFIG, warmup=0.0, optimizer=name, weight_decay=0.2)
        both = variables()
        build_optimizer(config, 1000).apply([np.full(3, 0.3, np.float32)] * 2, both)
        np.testing.assert_allclose(both[0], kernel, atol=1e-6)
        np.testing.assert_allclose(both[1], 0.49, atol=1e-6)


def test_large_gradients_are_scaled_together():
    config = dataclasses.replace(CONFIG, clip_norm=0.5)
    assert build_optimizer(config, 1).global_clipnorm == 0.5


def test_average_of_the_weights():
    optimizer = build_optimizer(dataclasses.replace(CONFIG, ema=0.75, warmup=0.0), 1000)
    both = variables()
    seen = []
    for sign in (1.0, -1.0, 1.0):
        optimizer.apply([np.full(3, sign, np.float32)] * 2, both)
        seen.append(both[1].numpy())
    average = seen[0]
    for values in seen[1:]:
        average = 0.75 * average + 0.25 * values
    np.testing.assert_allclose(optimizer._model_variables_moving_average[1], average, rtol=1e-6)
    assert not np.allclose(average, seen[-1])


def test_no_average_unless_asked_for():
    optimizer = build_optimizer(CONFIG, 10)
    optimizer.build(variables())
    assert not optimizer.use_ema
    assert not [variable for variable in optimizer.variables if "average" in variable.path]
