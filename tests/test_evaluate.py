"""The table of an evaluation: what stands in it, in which order, and how sure it is."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from aodnet_fixtures import make_dataset, noise, randomised, smooth

from aodnet import evaluate, metrics, model
from aodnet.evaluate import Score, summarise
from aodnet.pairs import Source, read_pairs
from hazegen import color, images

ROWS = ["hazy input", "best global affine", "dark channel prior", "identity", "other"]


def identity_network():
    """K is 1 everywhere: the output is the input."""
    network = model.build_aodnet()
    network.get_layer("k").set_weights([np.zeros((3, 3, 12, 3), np.float32), np.ones(3, np.float32)])
    return network


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Source:
    folder = make_dataset(tmp_path_factory.mktemp("evaluate"), {"test": 3}, size=(32, 44), picture=smooth, variants=3)
    return Source(data=folder)


@pytest.fixture(scope="module")
def evaluated(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation") / "out"
    models = {"identity": identity_network(), "other": randomised(model.build_aodnet(), 3)}
    return evaluate.evaluate(models, source, out), out


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "scores.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_rows_stand_in_order(evaluated):
    assert list(evaluated[0]) == ROWS
    assert all(tuple(row) == evaluate.METRICS for row in evaluated[0].values())


def test_csv_has_every_method_on_every_image(evaluated, source):
    rows = rows_of(evaluated[1])
    assert list(rows[0]) == ["image", "scene", "method", "psnr", "ssim", "ciede2000"]
    expected = [(pair.name, pair.scene, name) for pair in read_pairs(source) for name in ROWS]
    assert [(row["image"], row["scene"], row["method"]) for row in rows] == expected
    assert len(rows) == 45


def test_figures_are_the_pinned_protocols(evaluated, source):
    """Float64, on outputs rounded to 8 bits, each image by itself."""
    network = randomised(model.build_aodnet(), 3)
    rows = {(row["image"], row["method"]): row for row in rows_of(evaluated[1])}
    for pair in list(read_pairs(source))[:3]:
        restored = network(color.to_float(pair.hazy)[None]).numpy()[0]
        rounded = np.rint(np.clip(restored, 0, 1) * 255.0).astype(np.uint8)
        for name, pixels in (("other", rounded), ("hazy input", pair.hazy)):
            row = rows[pair.name, name]
            assert float(row["psnr"]) == pytest.approx(metrics.psnr(pixels, pair.clean, data_range=255.0), abs=1e-6)
            assert float(row["ssim"]) == pytest.approx(metrics.ssim(pixels, pair.clean, data_range=255.0), abs=1e-6)
            assert float(row["ciede2000"]) == pytest.approx(metrics.ciede2000(pixels, pair.clean), abs=1e-6)


def test_identity_scores_what_its_input_scores(evaluated):
    table = evaluated[0]
    assert table["identity"] == table["hazy input"]
    assert table["other"] != table["hazy input"]


def test_best_affine_beats_the_input(evaluated):
    assert evaluated[0]["best global affine"]["psnr"].mean > evaluated[0]["hazy input"]["psnr"].mean


def test_table_is_the_mean_and_median_of_the_csv(evaluated):
    for name, row in evaluated[0].items():
        for metric, interval in row.items():
            values = [float(line[metric]) for line in rows_of(evaluated[1]) if line["method"] == name]
            assert interval.mean == pytest.approx(np.mean(values), abs=1e-6)
            assert interval.median == pytest.approx(np.median(values), abs=1e-6)
            assert interval.low <= interval.mean <= interval.high


def test_summary_json_says_protocol_and_figures(evaluated):
    summary = json.loads((evaluated[1] / "summary.json").read_text())
    assert summary["protocol"] == "rgb"
    assert "float64, each image by itself, output rounded to 8 bits, RGB" in summary["definition"]
    assert summary["pairs"] == 9
    assert list(summary["methods"]) == ROWS
    assert summary["methods"]["other"]["psnr"] == vars(evaluated[0]["other"]["psnr"])


def test_strip_shows_best_median_and_worst(evaluated, source):
    strip = images.read_picture(evaluated[1] / "strip.png")
    # Three rows; hazy, four other methods and clean side by side, each 280 wide with a 4 pixel gap.
    assert strip.shape == (3 * (round(32 * 280 / 44) + 20), 6 * 284, 3)
    scores = {row["image"]: float(row["psnr"]) for row in rows_of(evaluated[1]) if row["method"] == "other"}
    ranked = sorted(scores, key=scores.get)
    by_name = {pair.name: pair for pair in read_pairs(source)}
    height = strip.shape[0] // 3
    for number, name in enumerate((ranked[-1], ranked[4], ranked[0])):
        tile = strip[number * height + 18 : (number + 1) * height - 2, 5 * 284 : 5 * 284 + 280].astype(int)
        clean = by_name[name].clean
        enlarged = clean[np.arange(len(tile)) * 32 // len(tile)][:, np.arange(280) * 44 // 280]
        assert np.abs(tile - enlarged).mean() < 12.0, name


def test_markdown_table(evaluated, source):
    text = evaluate.format_table(evaluated[0], source, 9)
    assert "Protocol rgb: float64" in text
    assert "9 pairs" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(ROWS)
    assert {line.count("|") for line in lines} == {5}
    psnr = evaluated[0]["other"]["psnr"]
    assert f"| {psnr.mean:.2f} ({psnr.median:.2f}), {psnr.low:.2f} to {psnr.high:.2f} |" in lines[-1]


def test_two_evaluations_give_the_same_figures(evaluated, source, tmp_path):
    again = evaluate.evaluate({"identity": identity_network()}, source, tmp_path / "out")
    for name in ("hazy input", "dark channel prior", "identity"):
        assert again[name] == evaluated[0][name]


# --- the interval ---


def scores(values: dict[str, list[float]]) -> list[Score]:
    return [Score(f"{scene}#{n}", scene, "m", v, v / 100, v) for scene, vs in values.items() for n, v in enumerate(vs)]


def test_interval_is_by_scene_not_by_image():
    """Copies of each scene's image tell nothing new: the interval stays as wide."""
    rng = np.random.default_rng(0)
    means = {f"s{n}": float(rng.normal(20.0, 2.0)) for n in range(30)}
    one = summarise(scores({scene: [value] for scene, value in means.items()}))["m"]["psnr"]
    many = summarise(scores({scene: [value] * 20 for scene, value in means.items()}))["m"]["psnr"]
    assert many.high - many.low == pytest.approx(one.high - one.low, rel=1e-9)
    assert one.low < one.mean < one.high
    # 95 % of a normal mean: 3.92 standard errors.
    width = 3.92 * np.std(list(means.values())) / math.sqrt(30)
    assert one.high - one.low == pytest.approx(width, rel=0.15)


def test_interval_of_one_scene_is_a_point():
    interval = summarise(scores({"a": [10.0, 20.0]}))["m"]["psnr"]
    assert (interval.mean, interval.median, interval.low, interval.high) == (15.0, 15.0, 15.0, 15.0)


def test_scenes_of_unequal_size_count_by_their_images():
    interval = summarise(scores({"a": [10.0] * 9, "b": [20.0]}))["m"]["psnr"]
    assert interval.mean == 11.0
    assert interval.low == 10.0
    assert interval.high == 20.0


def test_methods_and_metrics_are_kept_apart():
    mixed = [Score("i", "s", "a", 1.0, 0.1, 3.0), Score("i", "s", "b", 2.0, 0.2, 4.0)]
    table = summarise(mixed)
    assert [table[name][metric].mean for name in ("a", "b") for metric in evaluate.METRICS] == [1, 0.1, 3, 2, 0.2, 4]


def test_equal_images_do_not_break_the_table(tmp_path):
    """An infinite PSNR (a clean image among the hazy ones) gives no warning and a file that is JSON."""
    for name in ("hazy", "clean"):
        (tmp_path / name).mkdir()
        for number in range(2):
            (tmp_path / name / f"{number}.png").write_bytes(images.encode(noise(number, 20, 20), ".png"))
    source = Source(hazy=tmp_path / "hazy", clean=tmp_path / "clean")
    table = evaluate.evaluate({"identity": identity_network()}, source, tmp_path / "out")
    assert table["hazy input"]["psnr"].mean == math.inf
    assert table["hazy input"]["ssim"].mean == pytest.approx(1.0)
    json.loads((tmp_path / "out" / "summary.json").read_text(), parse_constant=lambda name: pytest.fail(name))
