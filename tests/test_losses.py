"""Losses: their values by a float64 loop, their gradients where pictures are extreme, and how they are written."""

import numpy as np
import pytest
import tensorflow as tf

from aodnet import config, losses, metrics
from aodnet.config import FitConfig
from hazegen.errors import UsageError

RNG = np.random.default_rng(0)
# 24 pixels: two scales of MS-SSIM.
CLEAN = RNG.uniform(size=(2, 24, 26, 3)).astype(np.float32)
RESTORED = RNG.uniform(size=(2, 24, 26, 3)).astype(np.float32)
NEAR = (0.7 * CLEAN + 0.1 + 0.1 * RESTORED).astype(np.float32)
WINDOW_WEIGHTS = np.exp(-((np.arange(11)[:, None] - 5) ** 2 + (np.arange(11) - 5) ** 2) / (2 * 1.5**2))
WINDOW_WEIGHTS /= WINDOW_WEIGHTS.sum()


def loop_similarity(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """SSIM of one channel and its structure alone, a window at a time, in float64."""
    whole, structures = [], []
    for row in range(x.shape[0] - 10):
        for column in range(x.shape[1] - 10):
            a, b = (z[row : row + 11, column : column + 11].astype(np.float64) for z in (x, y))
            mean_a, mean_b = (WINDOW_WEIGHTS * a).sum(), (WINDOW_WEIGHTS * b).sum()
            var_a, var_b = (WINDOW_WEIGHTS * (a - mean_a) ** 2).sum(), (WINDOW_WEIGHTS * (b - mean_b) ** 2).sum()
            covariance = (WINDOW_WEIGHTS * (a - mean_a) * (b - mean_b)).sum()
            structures.append((2 * covariance + 0.0009) / (var_a + var_b + 0.0009))
            whole.append(structures[-1] * (2 * mean_a * mean_b + 0.0001) / (mean_a**2 + mean_b**2 + 0.0001))
    return float(np.mean(whole)), float(np.mean(structures))


def halved(x: np.ndarray) -> np.ndarray:
    return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4


def loop(name: str, clean: np.ndarray, restored: np.ndarray) -> float:
    """One term of one example, in float64."""
    difference = restored.astype(np.float64) - clean
    if name == "log-mse":
        return float(np.log((difference**2).mean() + 1e-5))
    if name in ("l2", "l1", "charbonnier"):
        values = {"l2": difference**2, "l1": np.abs(difference), "charbonnier": np.hypot(difference, 0.001)}
        return float(values[name].mean())
    channels = [(clean[..., c].astype(np.float64), restored[..., c].astype(np.float64)) for c in range(3)]
    if name == "ssim":
        return 1.0 - float(np.mean([loop_similarity(x, y)[0] for x, y in channels]))
    fine, coarse = 0.0448 / (0.0448 + 0.2856), 0.2856 / (0.0448 + 0.2856)
    scores = [
        max(loop_similarity(x, y)[1], 1e-3) ** fine * max(loop_similarity(halved(x), halved(y))[0], 1e-3) ** coarse
        for x, y in channels
    ]
    return 1.0 - float(np.mean(scores))


@pytest.mark.parametrize("name", losses.TERMS)
@pytest.mark.parametrize("restored", [NEAR, RESTORED], ids=["near", "unrelated"])
def test_each_example_by_a_float64_loop(name, restored):
    expected = [loop(name, *pair) for pair in zip(CLEAN, restored, strict=True)]
    np.testing.assert_allclose(losses.TERMS[name](CLEAN, restored), expected, rtol=2e-5)


def test_ssim_is_that_of_the_protocol():
    """The constants stand in two modules: here and in metrics.py."""
    expected = [1.0 - metrics.ssim(*(x.astype(np.float64) for x in p), data_range=1.0) for p in zip(CLEAN, NEAR)]  # noqa: B905
    np.testing.assert_allclose(losses.ssim(CLEAN, NEAR), expected, rtol=1e-5)


def test_worked_by_hand():
    clean, restored = tf.zeros((1, 11, 11, 3)), tf.fill((1, 11, 11, 3), 0.5)
    assert float(losses.l2(clean, restored)[0]) == 0.25
    assert float(losses.l1(clean, restored)[0]) == 0.5
    assert float(losses.charbonnier(clean, clean)[0]) == pytest.approx(losses.EPSILON)
    # SSIM of two flat pictures is its luminance term alone: c1 / (0.5^2 + c1) with c1 = 0.01^2.
    assert float(losses.ssim(clean, restored)[0]) == pytest.approx(1.0 - 1e-4 / (0.25 + 1e-4), rel=1e-4)


def test_logarithm_follows_psnr():
    """PSNR = -10 log10(MSE): equal steps of the loss are equal steps in decibels, whatever the picture."""
    psnr = [metrics.psnr(n.astype(np.float64), c.astype(np.float64), data_range=1.0) for n, c in zip(NEAR, CLEAN)]  # noqa: B905
    np.testing.assert_allclose(-10.0 / np.log(10.0) * losses.log_mse(CLEAN, NEAR).numpy(), psnr, atol=0.01)
    assert losses.least({"log-mse": 0.1, "ssim": 0.5}) == pytest.approx(-1.1513, abs=1e-4)
    assert losses.least({"l1": 1.0}) == 0.0


def test_terms_without_the_logarithm():
    assert losses.without_logarithm({"log-mse": 0.1, "ssim": 0.5}) == {"l2": 0.1, "ssim": 0.5}
    assert losses.without_logarithm({"l2": 1.0, "log-mse": 0.5}) == {"l2": 1.5}
    assert losses.without_logarithm({"l1": 1.0}) == {"l1": 1.0}


def test_five_scales_are_tensorflows():
    """Of sides that halve evenly. TensorFlow's exponents are the paper's, whose sum is 1.0001."""
    clean = tf.image.resize(CLEAN, (192, 192), "bicubic")
    restored = tf.clip_by_value(0.6 * clean + 0.3, 0.0, 1.0)
    expected = tf.image.ssim_multiscale(clean, restored, max_val=1.0)
    np.testing.assert_allclose(1.0 - losses.ms_ssim(clean, restored), expected, atol=5e-5)


@pytest.mark.parametrize(
    ("side", "count"), [(11, 1), (21, 1), (22, 2), (43, 2), (44, 3), (88, 4), (128, 4), (175, 4), (176, 5), (4000, 5)]
)
def test_scales_that_fit(side, count):
    assert losses.scales(side) == count


@pytest.mark.parametrize("side", [11, 47])
def test_scales_of_a_picture_whose_size_is_not_known_while_tracing(side):
    clean = tf.random.stateless_uniform((1, side, side + 3, 3), seed=(1, 2))
    restored = 0.5 * clean + 0.2
    traced = tf.function(losses.ms_ssim, input_signature=[tf.TensorSpec([None, None, None, 3])] * 2)
    np.testing.assert_allclose(traced(clean, restored), losses.ms_ssim(clean, restored), rtol=1e-5)


@pytest.mark.parametrize("name", losses.TERMS)
def test_least_for_equal_and_above_for_others(name):
    least = losses.EPSILON if name == "charbonnier" else losses.least({name: 1.0})
    np.testing.assert_allclose(losses.TERMS[name](CLEAN, CLEAN), least, atol=1e-6)
    assert (losses.TERMS[name](CLEAN, RESTORED).numpy() > least + 0.01).all()


def gradient(name: str, clean: tf.Tensor, restored: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    with tf.GradientTape() as tape:
        tape.watch(restored)
        values = losses.per_example({name: 1.0}, clean, restored)
    return values, tape.gradient(values, restored)


@pytest.mark.parametrize("name", losses.TERMS)
def test_gradient_points_from_the_clean_image_away(name):
    restored = tf.constant(CLEAN + 0.05 * (RESTORED - CLEAN))
    before, slope = gradient(name, CLEAN, restored)
    after = losses.TERMS[name](CLEAN, restored - 1e-3 * slope / tf.norm(slope))
    assert (after.numpy() < before.numpy()).all()


def board(side: int = 24) -> np.ndarray:
    """Black and white by turns: its negative has a similarity near -1."""
    rows, columns = np.indices((side, side))
    return np.repeat(((rows // 4 + columns // 4) % 2)[None, ..., None], 3, axis=3).astype(np.float32)


EXTREMES = {
    "equal": (CLEAN, CLEAN),
    "black": (np.zeros_like(CLEAN), np.zeros_like(CLEAN)),
    "white": (np.ones_like(CLEAN), np.ones_like(CLEAN)),
    "black for white": (np.ones_like(CLEAN), np.zeros_like(CLEAN)),
    "flat for noise": (CLEAN, np.full_like(CLEAN, 0.5)),
    "noise for flat": (np.full_like(CLEAN, 0.5), CLEAN),
    "negative": (board(), 1.0 - board()),
    "beyond white": (CLEAN, 10.0 * CLEAN),
}


@pytest.mark.parametrize("pair", EXTREMES)
@pytest.mark.parametrize("name", losses.TERMS)
def test_gradients_are_finite(name, pair):
    values, slope = gradient(name, *(tf.constant(x) for x in EXTREMES[pair]))
    assert np.isfinite(values).all()
    assert np.isfinite(slope).all()


def test_a_negative_similarity_is_what_the_clip_is_for():
    """TensorFlow's own gives 1 and a gradient of NaN here."""
    clean, restored = (tf.constant(x) for x in EXTREMES["negative"])
    assert loop_similarity(clean[0, ..., 0].numpy(), restored[0, ..., 0].numpy())[1] < -0.5
    assert float(losses.ms_ssim(clean, restored)[0]) > 0.99


@pytest.mark.parametrize("name", losses.TERMS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_broken_pixel_is_not_hidden_and_stays_in_its_example(name, bad):
    restored = NEAR.copy()
    restored[1, 12, 12, 1] = bad
    values = losses.per_example({name: 1.0}, CLEAN, restored).numpy()
    assert np.isfinite(values).tolist() == [True, False]


@pytest.mark.parametrize("name", losses.TERMS)
def test_compiled_by_xla(name):
    compiled = tf.function(lambda: gradient(name, tf.constant(CLEAN), tf.constant(NEAR)), jit_compile=True)
    for ours, plain in zip(compiled(), gradient(name, tf.constant(CLEAN), tf.constant(NEAR)), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [tf.float16, tf.bfloat16, tf.float64])
def test_float32_whatever_the_network_computes_in(kind):
    weights = dict.fromkeys(losses.TERMS, 1.0)
    clean, restored = (tf.cast(x, kind) for x in (CLEAN, NEAR))
    values = losses.per_example(weights, clean, restored)
    assert values.dtype == tf.float32
    expected = losses.per_example(weights, tf.cast(clean, tf.float32), tf.cast(restored, tf.float32))
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("l2", {"l2": 1.0}),
        ("l1=0.8, ssim=0.2", {"l1": 0.8, "ssim": 0.2}),
        ("charbonnier=0.16,ms-ssim=0.84", {"charbonnier": 0.16, "ms-ssim": 0.84}),
        (" l2 = 3 ", {"l2": 3.0}),
        ("l1,l2=1e-3", {"l1": 1.0, "l2": 0.001}),
        ("log-mse=0.1, ssim=0.5", {"log-mse": 0.1, "ssim": 0.5}),
    ],
)
def test_parse(text, expected):
    assert losses.parse_loss(text) == expected


def test_terms_are_those_that_are_read():
    assert tuple(losses.TERMS) == config.LOSS_TERMS


@pytest.mark.parametrize("text", ["", "l3", "l2=0", "l2=-1", "l2=x", "l2=nan", "l2=inf", "l2,l2", "l2 l1", "l2,"])
def test_parse_refuses(text):
    with pytest.raises(
        UsageError, match="Expected terms among l2, log-mse, l1, charbonnier, ssim, ms-ssim with weights above"
    ):
        losses.parse_loss(text)


def test_least_side():
    assert losses.least_side({"l2": 1.0, "charbonnier": 1.0}) == 1
    assert losses.least_side({"l2": 1.0, "ssim": 1.0}) == losses.least_side({"ms-ssim": 1.0}) == losses.WINDOW == 11


def test_weighted_sums():
    terms = {"l1": 0.8, "ssim": 0.2}
    expected = 0.8 * losses.l1(CLEAN, NEAR) + 0.2 * losses.ssim(CLEAN, NEAR)
    np.testing.assert_allclose(losses.per_example(terms, CLEAN, NEAR), expected, rtol=1e-6)
    assert float(losses.total(terms, CLEAN, NEAR)) == pytest.approx(float(tf.reduce_mean(expected)), rel=1e-6)


def test_parts_of_a_batch_add_up_to_the_whole():
    """What replicas do: sums over shares of any size, divided by the whole."""
    terms = dict.fromkeys(losses.TERMS, 0.5)
    shares = [tf.reduce_sum(losses.per_example(terms, CLEAN[i:j], NEAR[i:j])) for i, j in ((0, 1), (1, 2), (2, 2))]
    assert float(tf.add_n(shares) / 2.0) == pytest.approx(float(losses.total(terms, CLEAN, NEAR)), rel=1e-6)


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
