"""Results by haze and by distance: right bins, right means, all of it in the table, the CSV and the plot."""

import csv
import math

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from aodnet import level_plot, levels
from aodnet.levels import POOLED, LevelTally

METHODS, METRICS = ("hazy", "ours"), ("psnr_rgb", "ssim_rgb")


def filled() -> LevelTally:
    tally = LevelTally(METHODS, METRICS)
    for transmission, psnr in ((0.05, 10.0), (0.32, 20.0), (0.39, 22.0), (1.0, 30.0)):
        values = np.array([[psnr, 0.5], [psnr + 1.0, 0.6]])
        tally.add_image({"mean_transmission": transmission, "beta": 0.04}, values)
    return tally


def test_images_fall_into_their_bins():
    bins = filled().bins()
    seen = [(one.level, one.label, one.count, one.values["ours"]["psnr_rgb"]) for one in bins]
    assert seen == [
        ("mean_transmission", "below 0.1", 1, 11.0),
        ("mean_transmission", "0.3 to 0.4", 2, 22.0),
        ("mean_transmission", "0.9 and more", 1, 31.0),
        ("beta", "0.02 to 0.05", 4, 21.5),
    ]
    assert bins[1].values["hazy"] == {"psnr_rgb": 21.0, "ssim_rgb": 0.5}


def test_infinite_values_have_a_bin():
    tally = LevelTally(METHODS, METRICS)
    tally.add_image({"hazy_psnr": math.inf}, np.ones((2, 2)))
    assert [one.label for one in tally.bins()] == ["30 and more"]


def test_pixels_fall_into_their_bins_and_errors_are_pooled():
    """PSNR of the mean error of all pixels, not the mean of pictures' PSNR."""
    clean = np.zeros((2, 3, 3), np.uint8)
    distance_m = np.array([[0.5, 2.5, 2.9], [5000.0, np.inf, np.inf]], np.float32)
    tally = LevelTally(METHODS, METRICS)
    for error in (10, 30):
        where = levels.bins_of("distance_m", distance_m)
        restored = np.full_like(clean, error)
        squares = np.stack(
            [levels.squares_in("distance_m", where, pixels, clean) for pixels in (restored, restored // 2)]
        )
        tally.add_pixels("distance_m", squares, levels.count_pixels("distance_m", where))
    bins = tally.bins()
    counts = [("below 1", 2), ("2 to 3", 4), ("1000 and more", 2), ("no surface", 4)]
    assert [(one.label, one.count) for one in bins] == counts
    for one in bins:
        assert one.values["hazy"][POOLED] == pytest.approx(10 * math.log10(255**2 / 500))
        assert one.values["ours"][POOLED] == pytest.approx(10 * math.log10(255**2 / 125))


def test_squares_against_slow_loop():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 6, 7, 3), np.uint8)
    transmission = rng.random((6, 7), np.float32)
    got = levels.squares_in("transmission", levels.bins_of("transmission", transmission), a, b)
    slow = [0.0] * 10
    for y in range(6):
        for x in range(7):
            error = [(float(p) - float(q)) ** 2 for p, q in zip(a[y, x], b[y, x], strict=True)]
            slow[min(9, int(float(transmission[y, x]) * 10))] += sum(error) / 3
    np.testing.assert_allclose(got, slow)


def test_what_was_not_measured_does_not_count():
    tally = LevelTally(METHODS, METRICS)
    for ssim in (0.5, math.nan, 0.7):
        tally.add_image({"beta": 0.04}, np.array([[20.0, ssim], [21.0, math.nan]]))
    (one,) = tally.bins()
    assert one.count == 3
    assert one.values["hazy"] == {"psnr_rgb": 20.0, "ssim_rgb": pytest.approx(0.6)}
    assert one.values["ours"]["psnr_rgb"] == 21.0
    assert math.isnan(one.values["ours"]["ssim_rgb"])


def test_csv_has_a_line_for_each_figure():
    rows = list(csv.DictReader(levels.csv_of(filled().bins()).splitlines()))
    assert len(rows) == 4 * 2 * 2
    assert rows[6] == {
        "level": "mean_transmission", "low": "0.3", "high": "0.4", "count": "2", "of": "images", "method": "ours",
        "metric": "psnr_rgb", "value": "22.000000",
    }  # fmt: skip
    assert (float(rows[0]["low"]), float(rows[-1]["value"])) == (-math.inf, 0.6)


def test_tables_show_one_level_of_images_and_leave_rows_out():
    text = levels.tables(filled().bins(), "psnr_rgb", "PSNR [dB] rgb")
    assert text.splitlines()[0] == "PSNR [dB] rgb, by mean transmission:"
    assert "| 0.3 to 0.4 | 2 | 21.00 | 22.00 |" in text
    assert "beta" not in text
    assert "| mean transmission | images | hazy |\n" in levels.tables(filled().bins(), "psnr_rgb", "P", ["ours"])


def test_rare_pixels_are_no_point_of_the_plot(monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **options: drawn.append(self))
    row = {"m": {levels.POOLED: 20.0}, "n": {levels.POOLED: 21.0}}
    counts = (5, 1000, 2000)
    level_plot.plot([levels.Bin("distance_m", at, at + 1.0, n, row) for at, n in enumerate(counts)], {})
    axes = drawn[0].axes[0]
    assert [list(np.isfinite(line.get_ydata())) for line in axes.lines] == 2 * [[False, True, True]]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0 to 1\n(5)", "1 to 2\n(1,000)", "2 to 3\n(2,000)"]
    assert axes.get_xlabel().endswith("pixels;\n1 bin with less than 1% of them left out)")
    assert axes.get_legend() is None
    assert [text.get_text() for text in drawn[0].axes[1].get_legend().get_texts()] == ["m", "n"]


def test_plot_is_a_picture_with_a_panel_for_each_metric():
    data = level_plot.plot(filled().bins(), {"psnr_rgb": "PSNR", "ssim_rgb": "SSIM"})
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape[:2] == (462, 1210)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
