"""Means, medians and bootstrap: by scene, paired, and in memory that does not grow with images."""

import math

import numpy as np
import pytest

from aodnet import significance
from aodnet.significance import Tally, compare, interval


def tally(values: dict[str, list[list[float]]]) -> Tally:
    """Of one metric: for each scene its images, and for each of these what every method scores."""
    methods = len(next(iter(values.values()))[0])
    made = Tally(methods, 1)
    for scene, images in values.items():
        for image in images:
            made.add(scene, np.array(image, float)[:, None])
    return made


def of_first(made: Tally) -> significance.Interval:
    return interval(made.means()[0, 0], made.medians()[0, 0], made.resampled()[:, 0, 0])


def between(made: Tally) -> significance.Difference:
    means, resampled = made.means(), made.resampled()
    return compare(means[0, 0], means[1, 0], resampled[:, 0, 0], resampled[:, 1, 0], made.scenes)


def test_interval_is_by_scene_not_by_image():
    """Copies of each scene's image tell nothing new: the interval stays as wide."""
    rng = np.random.default_rng(0)
    means = {f"s{n}": float(rng.normal(20.0, 2.0)) for n in range(30)}
    one = of_first(tally({scene: [[value]] for scene, value in means.items()}))
    many = of_first(tally({scene: [[value]] * 20 for scene, value in means.items()}))
    assert many.high - many.low == pytest.approx(one.high - one.low, rel=1e-9)
    assert one.low < one.mean < one.high
    # 95 % of a normal mean: 3.92 standard errors.
    width = 3.92 * np.std(list(means.values())) / math.sqrt(30)
    assert one.high - one.low == pytest.approx(width, rel=0.15)


def test_interval_against_slow_resampling():
    """The same draws, image by image."""
    rng = np.random.default_rng(1)
    values = {f"s{n}": [[float(v)] for v in rng.normal(20.0, 3.0, 1 + n % 4)] for n in range(12)}
    got = of_first(tally(values))
    drawn = np.random.default_rng(0).integers(12, size=(significance.RESAMPLES, 12))
    scenes = list(values.values())
    means = [np.mean([image[0] for scene in row for image in scenes[scene]]) for row in drawn]
    assert got.mean == pytest.approx(np.mean([image[0] for scene in scenes for image in scene]))
    assert (got.low, got.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5], method="nearest")))
    assert got.median == np.median([image[0] for scene in scenes for image in scene])


def test_rounds_of_resampling_do_not_change_it(monkeypatch):
    rng = np.random.default_rng(1)
    made = tally({f"s{n}": [[float(rng.normal()), float(rng.normal())]] for n in range(7)})
    whole = made.resampled()
    monkeypatch.setattr(significance, "_ROUND", 70)
    np.testing.assert_array_equal(made.resampled(), whole)


def test_interval_of_one_scene_is_a_point():
    one = of_first(tally({"a": [[10.0], [20.0]]}))
    assert (one.mean, one.median, one.low, one.high) == (15.0, 15.0, 15.0, 15.0)


def test_scenes_of_unequal_size_count_by_their_images():
    one = of_first(tally({"a": [[10.0]] * 9, "b": [[20.0]]}))
    assert (one.mean, one.low, one.high) == (11.0, 10.0, 20.0)


def test_equal_columns_have_equal_figures_whatever_stands_beside_them():
    rng = np.random.default_rng(2)
    values = {f"s{n}": [[float(v), *rng.normal(20.0, 3.0, 5), float(v)]] for n, v in enumerate(rng.normal(20, 3, 50))}
    alone = tally({scene: [[image[3]] for image in images] for scene, images in values.items()})
    resampled = tally(values).resampled()
    np.testing.assert_array_equal(resampled[:, 0], resampled[:, 6])
    np.testing.assert_allclose(resampled[:, 3], alone.resampled()[:, 0], rtol=1e-13)


# --- values that are none ---


def test_infinite_values_stay_infinite_and_give_no_warning():
    one = of_first(tally({"a": [[math.inf]], "b": [[20.0]], "c": [[22.0]]}))
    assert (one.mean, one.high, one.median) == (math.inf, math.inf, 22.0)
    assert math.isfinite(one.low)


def test_what_was_not_measured_does_not_count():
    with_gap = tally({"a": [[10.0], [math.nan]], "b": [[20.0]], "c": [[math.nan]]})
    assert of_first(with_gap).mean == 15.0
    assert of_first(with_gap).median == 15.0
    nothing = tally({"a": [[math.nan]]})
    assert math.isnan(of_first(nothing).mean)
    assert math.isnan(of_first(nothing).median)


# --- differences ---


def test_difference_is_paired():
    """Scenes differ far more than methods do; a constant gain is certain all the same."""
    rng = np.random.default_rng(3)
    base = rng.normal(20.0, 5.0, 40)
    certain = between(tally({f"s{n}": [[float(v) + 0.1, float(v)]] for n, v in enumerate(base)}))
    assert certain.difference == pytest.approx(0.1)
    assert certain.low == pytest.approx(0.1)
    assert certain.high == pytest.approx(0.1)
    assert certain.p == 2.0 / significance.RESAMPLES


def test_p_of_noise_is_large_and_of_a_clear_gain_small():
    rng = np.random.default_rng(4)
    pairs = rng.normal(20.0, 1.0, (60, 2))
    assert between(tally({f"s{n}": [list(row)] for n, row in enumerate(pairs - pairs.mean(axis=0))})).p > 0.8
    gained = between(tally({f"s{n}": [[row[0] + 1.0, row[1]]] for n, row in enumerate(pairs)}))
    assert gained.p <= 0.001
    assert gained.low > 0.0


def test_p_against_the_normal_law():
    """A difference of 1.96 standard errors has p = 0.05."""
    rng = np.random.default_rng(5)
    noise = rng.normal(0.0, 1.0, 200)
    noise = (noise - noise.mean()) / noise.std() + 1.96 / math.sqrt(200)
    assert between(tally({f"s{n}": [[float(v), 0.0]] for n, v in enumerate(noise)})).p == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize(("scenes", "least"), [(1, 1.0), (2, 0.5), (5, 0.0625), (20, 0.001)])
def test_few_scenes_prove_little(scenes, least):
    """All of n scenes agree by accident with probability 2^(1 - n)."""
    assert between(tally({f"s{n}": [[21.0, 20.0]] for n in range(scenes)})).p == least


def test_differences_that_were_not_measured_prove_nothing():
    nan = math.nan
    none = between(tally({f"s{n}": [[20.0 + n, nan]] for n in range(12)}))
    assert all(math.isnan(value) for value in vars(none).values())
    # Measured in one of 12 scenes, which a third of the resamples do not draw: those count on neither side.
    some = between(tally({f"s{n}": [[21.0, 20.0 if n == 0 else nan]] for n in range(12)}))
    assert (some.difference, some.low, some.high, some.p) == (1.0, 1.0, 1.0, 0.001)
    noise = np.random.default_rng(3).normal(0.0, 1.0, 40)
    part = between(tally({f"s{n}": [[20.0 + value, 20.0 if n < 6 else nan]] for n, value in enumerate(noise)}))
    assert part.low < part.difference < part.high
    assert part.p > 0.001


def test_equal_methods_do_not_differ():
    same = between(tally({f"s{n}": [[float(n), float(n)]] for n in range(20)}))
    assert (same.difference, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_difference_of_infinite_means_is_no_number():
    both = between(tally({"a": [[math.inf, math.inf]]}))
    one = between(tally({"a": [[math.inf, 20.0]]}))
    assert math.isnan(both.difference)
    assert one.difference == math.inf
    assert math.isnan(one.p)


# --- the kept images ---


def test_medians_beyond_the_kept_images_are_of_a_sample(monkeypatch):
    monkeypatch.setattr(significance, "KEPT", 200)
    made = Tally(1, 1)
    for number in range(5000):
        made.add(f"s{number % 10}", np.array([[float(number)]]))
    assert made.images == 5000
    assert len(made._kept) == 200
    assert made.medians()[0, 0] == pytest.approx(2500, abs=3 * 1.25 * 1443 / math.sqrt(200))
    assert made.means()[0, 0] == 2499.5  # of all
    number = made.at_median(0, 0)
    assert abs(number - made.medians()[0, 0]) < 60
    # early and late images stay alike
    assert 60 < sum(kept[0, 0] < 2500 for kept in made._kept) < 140


def test_number_of_the_median_image():
    made = tally({"a": [[5.0], [1.0], [3.0]], "b": [[2.0], [4.0]]})
    assert made.at_median(0, 0) == 2
