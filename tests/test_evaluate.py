"""The table of an evaluation: what stands in it, in which order, and how sure it is."""

import csv
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from aodnet_fixtures import make_dataset, noise, randomised, smooth

from aodnet import (
    cli,
    evaluate,
    evaluation_report,
    figures,
    metrics,
    model,
    noreference,
    reports,
    strips,
    weight_names,
    weights,
)
from aodnet.measures import Measures
from aodnet.pairs import Source, read_pairs, read_pictures
from aodnet.protocols import PROTOCOLS
from aodnet.reports import Report
from aodnet.significance import Interval
from hazegen import color, images
from hazegen.errors import RefusedError, UsageError
from hazegen.make import make
from hazegen.recipe import Recipe, parse_draw

METRICS = ("psnr_rgb", "ssim_rgb", "ciede2000")
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
    assert list(evaluated[0].table) == ROWS
    assert all(tuple(row) == METRICS for row in evaluated[0].table.values())


def test_csv_has_every_method_on_every_image(evaluated, source):
    rows = rows_of(evaluated[1])
    assert list(rows[0]) == ["image", "scene", "method", *METRICS]
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
            assert float(row["psnr_rgb"]) == pytest.approx(metrics.psnr(pixels, pair.clean, data_range=255.0), abs=1e-6)
            assert float(row["ssim_rgb"]) == pytest.approx(metrics.ssim(pixels, pair.clean, data_range=255.0), abs=1e-6)
            assert float(row["ciede2000"]) == pytest.approx(metrics.ciede2000(pixels, pair.clean), abs=1e-6)


def test_identity_scores_what_its_input_scores(evaluated):
    table = evaluated[0].table
    assert table["identity"] == table["hazy input"]
    assert table["other"] != table["hazy input"]


def test_best_affine_beats_the_input(evaluated):
    table = evaluated[0].table
    assert table["best global affine"]["psnr_rgb"].mean > table["hazy input"]["psnr_rgb"].mean


def test_table_is_the_mean_and_median_of_the_csv(evaluated):
    for name, row in evaluated[0].table.items():
        for metric, interval in row.items():
            values = [float(line[metric]) for line in rows_of(evaluated[1]) if line["method"] == name]
            assert interval.mean == pytest.approx(np.mean(values), abs=1e-6)
            assert interval.median == pytest.approx(np.median(values), abs=1e-6)
            assert interval.low <= interval.mean <= interval.high


def test_summary_json_says_protocol_and_figures(evaluated, source):
    summary = json.loads((evaluated[1] / "summary.json").read_text())
    assert summary["protocol"] == "rgb"
    assert "float64, each image by itself, output rounded to 8 bits, RGB" in summary["definition"]["rgb"]
    assert summary["reading"].startswith("decoded by OpenCV ")
    assert (summary["pairs"], summary["scenes"]) == (9, 3)
    assert list(summary["methods"]) == ROWS
    assert summary["methods"]["other"]["psnr_rgb"] == vars(evaluated[0].table["other"]["psnr_rgb"])
    scores = sorted((float(row["psnr_rgb"]), row["image"]) for row in rows_of(evaluated[1]) if row["method"] == "other")
    assert [(one["psnr_rgb"], one["image"]) for one in summary["worst"]] == [
        (pytest.approx(value, abs=1e-6), name) for value, name in scores[:5]
    ]


def test_strip_shows_best_median_and_worst(evaluated, source):
    strip = images.read_picture(evaluated[1] / "strip.png")
    # Three rows; hazy, four other methods and clean side by side, each 280 wide with a 4 pixel gap.
    assert strip.shape == (3 * (round(32 * 280 / 44) + strips.CAPTION + 2), 6 * 284, 3)
    scores = {row["image"]: float(row["psnr_rgb"]) for row in rows_of(evaluated[1]) if row["method"] == "other"}
    ranked = sorted(scores, key=scores.get)
    by_name = {pair.name: pair for pair in read_pairs(source)}
    height = strip.shape[0] // 3
    for number, name in enumerate((ranked[-1], ranked[4], ranked[0])):
        tile = strip[number * height + strips.CAPTION : (number + 1) * height - 2, 5 * 284 : 5 * 284 + 280].astype(int)
        clean = by_name[name].clean
        enlarged = clean[np.arange(len(tile)) * 32 // len(tile)][:, np.arange(280) * 44 // 280]
        assert np.abs(tile - enlarged).mean() < 12.0, name


def test_markdown_table(evaluated):
    text = reports.format_report(evaluated[0])
    assert (evaluated[1] / "table.md").read_text() == text + "\n"
    assert "9 pairs of 3 scenes" in text
    assert "over scenes. 3 scenes: too few for intervals and p" in text
    assert "Protocol rgb: float64" in text
    lines = text.partition("Protocol rgb")[2].partition("\n\nPSNR")[0].splitlines()
    lines = [line for line in lines if line.startswith("|")]
    assert len(lines) == 2 + len(ROWS)
    assert {line.count("|") for line in lines} == {5}
    psnr = evaluated[0].table["other"]["psnr_rgb"]
    assert f"| {psnr.mean:.2f} ({psnr.median:.2f}), {psnr.low:.2f} to {psnr.high:.2f} |" in lines[-1]
    assert "PSNR [dB] rgb, by mean transmission:" in text
    assert "Lowest PSNR [dB] rgb of other: " in text


def test_two_evaluations_give_the_same_figures(evaluated, source, tmp_path):
    again = evaluate.evaluate({"identity": identity_network()}, source, tmp_path / "out")
    for name in ("hazy input", "dark channel prior", "identity"):
        for metric, one in again.table[name].items():
            assert vars(one) == pytest.approx(vars(evaluated[0].table[name][metric]), rel=1e-12)
    assert again.pictures == evaluated[0].pictures


def test_levels_are_the_means_of_the_csv(evaluated, source):
    haze = {pair.name: pair.levels["mean_transmission"] for pair in read_pairs(source)}
    bins = [one for one in evaluated[0].bins if one.level == "mean_transmission"]
    assert sum(one.count for one in bins) == 9
    for one in bins:
        inside = [
            float(row["ssim_rgb"])
            for row in rows_of(evaluated[1])
            if row["method"] == "other" and one.low <= haze[row["image"]] < one.high
        ]
        assert one.values["other"]["ssim_rgb"] == pytest.approx(np.mean(inside), abs=1e-6)
    with (evaluated[1] / "levels.csv").open(newline="") as file:
        assert {row["level"] for row in csv.DictReader(file)} == {"mean_transmission", "visibility_m", "beta"}
    assert images.read_picture(evaluated[1] / "levels.png").shape[1] > 1000


# --- other measures ---


@pytest.fixture(scope="module")
def wide(source, tmp_path_factory) -> tuple[Report, Path]:
    """All that can be asked for beside pairs."""
    out = tmp_path_factory.mktemp("wide")
    chosen = Measures(protocol="y,rgb", without_reference=True, compare_to="other", ablation=True)
    return evaluate.evaluate({"other": randomised(model.build_aodnet(), 3)}, source, out, chosen), out


CUTS = ["other, x2..x4 as means", "other, conv5 as 1x1", "other, no surroundings"]


def test_all_measures_are_columns_and_all_cuts_are_rows(wide):
    columns = ["psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb", "ciede2000", *noreference.MEASURES]
    assert list(rows_of(wide[1])[0]) == ["image", "scene", "method", *columns]
    assert wide[0].metrics == tuple(columns)
    assert list(wide[0].table) == [*ROWS[:3], "other", *CUTS]


def test_figures_are_those_of_the_functions(wide, source):
    pair = next(read_pairs(source))
    row = next(row for row in rows_of(wide[1]) if row["image"] == pair.name and row["method"] == "hazy input")
    expected = {
        "psnr_y": PROTOCOLS["y"].psnr(pair.hazy, pair.clean, 255.0),
        "ssim_rgb": PROTOCOLS["rgb"].ssim(pair.hazy, pair.clean, 255.0),
        **noreference.measure(pair.hazy, pair.hazy),
    }
    for name, value in expected.items():
        assert float(row[name]) == pytest.approx(value, abs=1e-6), name


def test_first_protocol_ranks(wide):
    lowest = min((float(r["psnr_y"]), r["image"]) for r in rows_of(wide[1]) if r["method"] == "other")
    assert wide[0].worst[0] == (lowest[1], pytest.approx(lowest[0], abs=1e-6))


def test_differences_are_of_the_means(wide):
    report, summary = wide[0], json.loads((wide[1] / "summary.json").read_text())
    assert set(report.differences) == set(report.table) - {"other"}
    for name, row in report.differences.items():
        for metric, one in row.items():
            means = report.table[name][metric].mean, report.table["other"][metric].mean
            assert one.difference == pytest.approx(means[0] - means[1])
            assert one.low <= one.difference + 1e-12
            assert one.difference <= one.high + 1e-12
            assert 0.25 <= one.p <= 1.0  # of three scenes
    assert summary["compared_to"] == "other"
    assert summary["differences"]["hazy input"]["psnr_y"] == vars(report.differences["hazy input"]["psnr_y"])


def test_gain_from_surroundings_is_what_each_cut_costs(wide):
    report, summary = wide[0], json.loads((wide[1] / "summary.json").read_text())
    gains = report.gains["other"]
    for cut, row in zip(gains, CUTS, strict=True):
        cost = report.table["other"]["psnr_y"].mean - report.table[row]["psnr_y"].mean
        assert gains[cut].difference == pytest.approx(cost)
    assert abs(gains["no surroundings"].difference) > 0.01
    assert summary["gain_from_surroundings"]["other"]["no surroundings"] == vars(gains["no surroundings"])


def test_text_tells_them_all_and_keeps_cuts_out_of_the_long_tables(wide):
    text = reports.format_report(wide[0])
    means = (wide[0].table["hazy input"][f"{metric}_rgb"].mean for metric in ("psnr", "ssim"))
    assert "| rgb | {:.2f}, {:.4f} |".format(*means) in text.partition("By protocol, means")[2]
    for part in (
        "Protocol y: ",
        "\n- rgb: PSNR of one MSE",
        "Without reference",
        "Less the figures of other",
        "Gain from surr",
    ):
        assert part in text
    assert CUTS[0] not in text.partition("Less the figures")[2]
    strip = images.read_picture(wide[1] / "strip.png")
    assert strip.shape[1] == 5 * 284  # three baselines, the model and clean


def test_zero_has_no_sign():
    assert [figures.fixed(value, "psnr_rgb", "+") for value in (-0.001, 0.001, -0.01, 0.2)] == [
        "0.00",
        "0.00",
        "-0.01",
        "+0.20",
    ]
    assert reports._cell(Interval(-0.001, -0.0, -1.0, 0.0), "psnr_rgb") == "0.00 (0.00), -1.00 to 0.00"


@pytest.mark.parametrize(("count", "ranks"), [(1, ["best, median, worst"]), (2, ["best", "median, worst"])])
def test_strip_shows_each_picture_once(source, monkeypatch, tmp_path, count, ranks):
    shown = []

    def strip(rows, methods):
        shown.append(rows)
        return np.zeros((8, 8, 3), np.uint8), ()

    monkeypatch.setattr(strips, "strip", strip)
    evaluate.evaluate({"m": identity_network()}, dataclasses.replace(source, limit=count), tmp_path)
    assert list(shown[0]) == ranks
    assert len({picture.name for picture in shown[0].values()}) == count


def test_hazy_pictures_alone(source, tmp_path):
    (tmp_path / "hazy").mkdir()
    for number, pair in enumerate(read_pairs(source)):
        (tmp_path / "hazy" / f"{number}.png").write_bytes(images.encode(pair.hazy, ".png"))
    alone = Source(hazy=tmp_path / "hazy")
    report = evaluate.evaluate({"other": randomised(model.build_aodnet(), 3)}, alone, tmp_path / "out")
    assert list(report.table) == ["hazy input", "dark channel prior", "other"]
    assert report.metrics == noreference.MEASURES
    assert (report.protocols, report.bins, report.worst) == ((), (), ())
    text = reports.format_report(report)
    assert "9 hazy images of 9 scenes" in text
    assert "PSNR" not in text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "scores.csv", "strip.png", "summary.json", "table.md",
    ]  # fmt: skip
    assert images.read_picture(tmp_path / "out" / "strip.png").shape[1] == 3 * 284


def test_folders_are_told_apart_by_the_hazy_input(source, tmp_path):
    for name in ("hazy", "clean"):
        (tmp_path / name).mkdir()
        for pair in read_pairs(source):
            (tmp_path / name / f"{pair.name}.png").write_bytes(images.encode(getattr(pair, name), ".png"))
    report = evaluate.evaluate({"identity": identity_network()}, Source(pairs=tmp_path), tmp_path / "out")
    assert {one.level for one in report.bins} == {"hazy_psnr"}
    for one in report.bins:
        assert one.low <= one.values["hazy input"]["psnr_rgb"] < one.high


def test_distance_and_transmission_of_pixels_are_levels(tmp_path, photos, make_options, load_recipe):
    make(make_options(photos, tmp_path / "scenes", variants=None, kind="scenes"), load_recipe("aod-released"))
    source = Source(data=tmp_path / "scenes", split="train")
    report = evaluate.evaluate({"identity": identity_network()}, source, tmp_path / "out")
    pixels = sum(pair.distance_m.size for pair in read_pairs(source))
    for level in ("distance_m", "transmission"):
        own = [one for one in report.bins if one.level == level]
        assert sum(one.count for one in own) == pixels
        # far pixels are hazier, so they differ more
        scores = [one.values["hazy input"]["psnr_pooled"] for one in own]
        assert (scores[0] > scores[-1]) == (level == "distance_m")
    assert "haze drawn once a scene from the dataset's own recipe 'aod-released', not encoded" in reports.format_report(
        report
    )


def test_recipe_is_told_by_its_name_and_fields_not_by_where_it_lies(evaluated, source):
    recipe = Recipe(name="mine", beta=parse_draw("0.1"))
    told = dataclasses.replace(source, recipe="/home/someone/mine.yaml")
    report = dataclasses.replace(evaluated[0], recipe=recipe, source=told)
    summary = reports._summary(report)
    assert summary["recipe"] == recipe.as_dict()
    assert "haze drawn once a scene from recipe 'mine', not encoded" in summary["reading"]
    assert "someone" not in json.dumps(summary) + reports.format_report(report)
    assert "recipe" not in reports._summary(evaluated[0])


# --- what is refused ---


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"protocol": "ssim"}, "--protocol cannot be used"),
        ({"compare_to": "theirs"}, "--compare-to names no row. Expected one of hazy input, .*received 'theirs'"),
    ],
)
def test_other_choices_are_refused_before_any_work(source, tmp_path, chosen, message):
    with pytest.raises(UsageError, match=message):
        evaluate.evaluate({"identity": identity_network()}, source, tmp_path / "out", Measures(**chosen))
    assert not (tmp_path / "out").exists()


def test_ablation_without_clean_pictures_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"--ablation measures a gain in dB. Expected clean images beside it"):
        evaluate.evaluate({"m": identity_network()}, Source(hazy=tmp_path), tmp_path / "out", Measures(ablation=True))


def test_cuts_see_the_whole_picture(monkeypatch, tmp_path):
    """Not tile by tile, where means would be those of tiles."""
    network = randomised(model.build_aodnet(), 3)
    hazy = smooth(0, 40, 1100)
    ((_, less), *_) = evaluate.ablation.variants(network)
    got = evaluate._method(less, whole=True)(hazy)
    expected = color.to_uint8(np.clip(less(color.to_float(hazy)[None]).numpy()[0], 0, 1))
    np.testing.assert_array_equal(got, expected)
    assert (evaluate._method(less)(hazy) != expected).any()
    kinds = {}
    monkeypatch.setattr(evaluate, "_method", lambda model, whole=False: kinds.setdefault(model.name, whole))
    evaluate._methods({"a": network}, Source(hazy=tmp_path), Measures(ablation=True))
    assert kinds == {network.name: False, less.name: True}


def test_refused_picture_leaves_no_file(tmp_path):
    for name, size in (("a", (20, 20)), ("b", (5, 5))):
        for folder in ("hazy", "clean"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{name}.png").write_bytes(images.encode(smooth(0, *size), ".png"))
    with pytest.raises(RefusedError, match=r"'b.*' cannot be measured"):
        evaluate.evaluate(
            {"m": identity_network()}, Source(hazy=tmp_path / "hazy", clean=tmp_path / "clean"), tmp_path / "out"
        )
    assert list((tmp_path / "out").iterdir()) == []


def test_names_that_would_break_a_table_do_not(evaluated):
    report = evaluated[0]
    names = {"identity": "a|b\nc"}
    table = {names.get(name, name): row for name, row in report.table.items()}
    text = reports.format_report(dataclasses.replace(report, table=table, worst=(("x|y.png", 3.0),)))
    lines = [line for line in text.splitlines() if "a/b c" in line]
    assert lines
    assert all(line.count("|") == 5 for line in lines if line.startswith("| a/b c"))
    assert "x/y.png (3.00)" in text


def test_model_with_the_name_of_a_baseline_is_refused(source, tmp_path):
    with pytest.raises(UsageError, match=r"A model has the name of a baseline"):
        evaluate.evaluate({"hazy input": identity_network()}, source, tmp_path / "out")


def test_picture_that_is_too_small_is_named(tmp_path):
    for name in ("hazy", "clean"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tiny.png").write_bytes(images.encode(noise(0, 10, 40), ".png"))
    source = Source(hazy=tmp_path / "hazy", clean=tmp_path / "clean")
    with pytest.raises(RefusedError, match=r"'tiny' cannot be measured. The images are too small for SSIM"):
        evaluate.evaluate({"identity": identity_network()}, source, tmp_path / "out")
    assert not (tmp_path / "out" / "scores.csv").exists()


# --- from the command line ---


def test_command_takes_pairs_measures_and_names_of_models(source, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(weight_names, "PRETRAINED", tmp_path / "shipped")
    (tmp_path / "shipped").mkdir()
    weights.save(identity_network(), tmp_path / "shipped" / "same.weights.h5")
    out = tmp_path / "out"
    out.mkdir()
    (out / "summary.json").touch()
    words = ["--model", "same", "--data", str(source.data), "--limit", "2", "--protocol", "rgb,wang-gray"]
    words += ["--without-reference", "--ablation", "--compare-to", "hazy input", "--out", str(out)]
    assert cli.main(["evaluate", *words]) == 0
    said = capsys.readouterr()
    assert "| wang-gray | " in said.out
    assert "| same |" in said.out
    assert f"by haze: '{out}/levels.csv'" in said.out
    assert "dark_channel" in rows_of(out)[0]
    assert f"'{out}' holds an evaluation already: its files are written over." in said.err
    assert cli.main(["evaluate", "--model", "sane", *words[2:]]) == 3
    assert "There are no weights 'sane'" in capsys.readouterr().err


@pytest.fixture
def detector(monkeypatch) -> list[str]:
    """In place of a detector one that fails; receives what the command does."""
    done: list[str] = []

    def fail(*_):
        done.append("detected")
        raise RefusedError("The detector broke. Expected boxes, received none. Mend it.")

    monkeypatch.setattr("aodnet.detectors.load_detector", lambda _: object())
    monkeypatch.setattr("aodnet.detection.detect_models", fail)
    monkeypatch.setattr("aodnet.tracking.log_evaluation", lambda *_: done.append("logged"))
    return done


def test_evaluation_is_logged_though_detection_fails(source, tmp_path, capsys, detector):
    weights.save(identity_network(), tmp_path / "same.weights.h5")
    words = ["--model", str(tmp_path / "same.weights.h5"), "--data", str(source.data), "--limit", "1"]
    assert cli.main(["evaluate", *words, "--detector", "a.onnx", "--out", str(tmp_path / "out")]) == 3
    assert "The detector broke" in capsys.readouterr().err
    assert detector == ["detected", "logged"]


def test_names_of_detection_are_checked_before_the_evaluation(source, tmp_path, capsys, detector):
    weights.save(identity_network(), tmp_path / "clean.weights.h5")
    words = ["--model", str(tmp_path / "clean.weights.h5"), "--data", str(source.data)]
    assert cli.main(["evaluate", *words, "--detector", "a.onnx", "--out", str(tmp_path / "out")]) == 2
    assert "A model has the name of another picture" in capsys.readouterr().err
    assert detector == []
    assert not (tmp_path / "out").exists()


def test_hazy_input_of_one_picture_is_all_its_pictures(tmp_path):
    """Best, median and worst of a single image are that one, which is shown once."""
    (tmp_path / "hazy").mkdir()
    (tmp_path / "hazy" / "a.png").write_bytes(images.encode(smooth(0, 20, 30), ".png"))
    source = Source(hazy=tmp_path / "hazy")
    evaluate.evaluate({"identity": identity_network()}, source, tmp_path / "out")
    assert [picture.name for picture in read_pictures(source)] == ["a.png"]
    assert images.read_picture(tmp_path / "out" / "strip.png").shape[0] == round(20 * 280 / 30) + strips.CAPTION + 2


def test_equal_images_do_not_break_the_table(tmp_path):
    """An infinite PSNR (a clean image among the hazy ones) gives no warning and a file that is JSON."""
    for name in ("hazy", "clean"):
        (tmp_path / name).mkdir()
        for number in range(2):
            (tmp_path / name / f"{number}.png").write_bytes(images.encode(noise(number, 20, 20), ".png"))
    source = Source(hazy=tmp_path / "hazy", clean=tmp_path / "clean")
    report = evaluate.evaluate({"identity": identity_network()}, source, tmp_path / "out")
    assert report.table["hazy input"]["psnr_rgb"].mean == math.inf
    assert report.table["hazy input"]["ssim_rgb"].mean == pytest.approx(1.0)
    json.loads((tmp_path / "out" / "summary.json").read_text(), parse_constant=lambda name: pytest.fail(name))


# --- the report ---


def done_of(evaluated, measures=None, objects=None) -> evaluation_report.Done:
    report, out = evaluated
    models = {name: (Path(f"{name}.weights.h5"), "ab" * 32) for name in report.table if name in ROWS[3:]}
    return evaluation_report.Done(report, out, models, measures or Measures(), "aodnet evaluate --model x", objects)


def test_report_shows_tables_pictures_and_levels(evaluated, source):
    page = evaluation_report.write(done_of(evaluated))
    table = evaluated[0].table["other"]["psnr_rgb"]
    for shown in (
        *ROWS, f"<strong>{table.mean:.2f}</strong>", f"{table.low:.2f} to {table.high:.2f}",
        PROTOCOLS["rgb"].definition, f"median {table.median:.2f}", "Best: ", "Median: ", "Worst: ",
        "PSNR [dB] rgb by mean transmission", "other.weights.h5",
        evaluated[0].pictures, "split test of", "aodnet evaluate --model x", "scores.csv",
    ):  # fmt: skip
        assert str(shown) in page, shown
    assert page.count('class="slider"') == 6
    assert page.count("<svg") >= 2
    assert "<script" not in page
    assert page == evaluation_report.write(done_of(evaluated))
    assert len(page) < 5_000_000


def test_report_holds_pictures_of_one_size_whatever_the_size_of_the_input(evaluated):
    for shown in evaluated[0].shown:
        assert len(shown.pixels) == len(ROWS) + 1
        assert max(pixels.shape[1] for pixels in shown.pixels) <= strips.LARGEST
        np.testing.assert_allclose(
            shown.psnr("other"),
            metrics.psnr(shown.tile("other"), shown.tile("clean"), data_range=255.0),
        )


def test_report_of_hazy_pictures_names_no_psnr(source, tmp_path):
    (tmp_path / "hazy").mkdir()
    for number, pair in enumerate(read_pairs(dataclasses.replace(source, limit=2))):
        (tmp_path / "hazy" / f"{number}.png").write_bytes(images.encode(pair.hazy, ".png"))
    report = evaluate.evaluate({"other": identity_network()}, Source(hazy=tmp_path / "hazy"), tmp_path / "out")
    page = evaluation_report.write(done_of((report, tmp_path / "out")))
    assert "Least haze" in page
    assert "dark channel" in page
    assert "PSNR" not in page
    assert page.count('class="slider"') == 2


def test_report_tells_objects_ablation_and_differences(source, tmp_path):
    measures = Measures(ablation=True, compare_to="hazy input", protocol="rgb,y", without_reference=True)
    network = randomised(model.build_aodnet(), 3)
    report = evaluate.evaluate({"other": network}, dataclasses.replace(source, limit=3), tmp_path, measures)
    figures_of = {"objects": 3, "agreed": None, "precision": 0.5, "recall": None, "f1": 0.25}
    objects = {
        "detector": {"file": "<b>x</b>.onnx", "sha256": "cd" * 32, "runtime": "onnx"}, "confidence": 0.3, "iou": 0.5,
        "matching": "greedy", "versions": {"hazy": figures_of},
        "levels": {"t 0.5": {"pictures": 2, "versions": {"hazy": figures_of}}},
    }  # fmt: skip
    (tmp_path / "detection").mkdir()
    assert "objects: boxes" not in evaluation_report.write(done_of((report, tmp_path), measures))  # of one before
    page = evaluation_report.write(done_of((report, tmp_path), measures, objects))
    assert "objects: boxes" in page
    for shown in (
        "Gain from surroundings in PSNR [dB] rgb", "x2..x4 as means", "Less the figures of hazy input", "Protocol y",
        "&lt;b&gt;x&lt;/b&gt;.onnx", "Mean transmission t 0.5", "0.250", "e (new edges)",
    ):  # fmt: skip
        assert shown in page, shown


def test_command_leaves_a_report_and_never_fails_for_it(source, tmp_path, capsys, monkeypatch):
    weights.save(identity_network(), tmp_path / "m.weights.h5")
    given = ["--model", str(tmp_path / "m.weights.h5"), "--data", str(source.data), "--limit", "2"]
    assert cli.main(["evaluate", *given, "--out", str(tmp_path / "out")]) == 0
    assert f"all of it as a page: '{tmp_path / 'out' / 'report.html'}'" in capsys.readouterr().out
    assert "m.weights.h5" in (tmp_path / "out" / "report.html").read_text()

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("epochs: 1\n")
    assert cli.main(["evaluate", *given, "--out", str(tmp_path / "run")]) == 2
    assert "--out is the folder of a training run, whose report would be" in capsys.readouterr().err
    assert len(list((tmp_path / "run").iterdir())) == 1

    def fail(*_: object) -> str:
        raise ValueError("for a reason")

    monkeypatch.setattr(evaluation_report, "write", fail)
    assert cli.main(["evaluate", *given, "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "warning: the report" in told
    assert "for a reason" in told
    assert "as a page" not in told
    assert not (tmp_path / "out" / "report.html").exists()
