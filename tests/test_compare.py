"""aodnet compare: runs and evaluations beside each other."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from test_run_report import DIGEST, HOSTILE, make_run

from aodnet import cli, compare, compare_page, evaluation_facts, sheets
from aodnet.measures import HAZY
from aodnet.sheets import Row
from aodnet.significance import Tally
from aodnet.significance import compare as difference_of
from hazegen.errors import RefusedError, UsageError

METRICS = ("psnr_rgb", "ssim_rgb")


def make_evaluation(folder: Path, model: str, gain: float, *, pictures: str = "p", scenes: int = 12) -> Path:
    """The folder of an evaluation: two images a scene, each `gain` better than hazy, on average."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    hazy = rng.uniform(10, 20, (scenes, 2, len(METRICS)))
    own = hazy + gain + np.random.default_rng(round(100 * gain)).normal(0, 0.3, hazy.shape)
    with (folder / "scores.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "scene", "method", *METRICS))
        for scene in range(scenes):
            for number in range(2):
                for name, values in ((HAZY, hazy), (model, own)):
                    cells = (f"{value:.6f}" for value in values[scene, number])
                    writer.writerow((f"s{scene}#{number}", f"s{scene}", name, *cells))
    means = {
        name: dict(zip(METRICS, values.mean(axis=(0, 1)), strict=True)) for name, values in ((HAZY, hazy), (model, own))
    }
    summary = {
        "protocol": "rgb", "definition": {"rgb": "as it is"}, "reading": "decoded",
        "pairs": 2 * scenes, "scenes": scenes,
        "methods": {name: {m: {"mean": value} for m, value in row.items()} for name, row in means.items()},
        "pictures": pictures, "dataset": DIGEST,
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    tiles = ((HAZY, 12.0), (model, 12.0 + gain), ("clean", None))
    whole = np.zeros((100 + sheets.CAPTION + 2, 3 * (sheets.WIDTH + sheets.GAP), 3), np.uint8)
    (folder / "strip.png").write_bytes(sheets.encode(whole, [Row("s1#0", 100, tiles, "best")]))
    return folder


def test_runs_are_told_apart_by_what_differs_alone(tmp_path):
    one = make_run(tmp_path / "one", config="learning_rate: 0.01\nloss: l1\n")
    other = make_run(tmp_path / "two", epochs=2, config="learning_rate: 0.02\nloss: l2\n")
    found = compare.compare([one, other])
    changed = compare.differing({name: compare.settings_of(run) for name, run in found.runs.items()})
    assert changed == {"learning_rate": [0.01, 0.02], "loss": ["l1", "l2"]}
    text = compare.format_compared(found)
    assert "| one | 3 of 3 | 2 | 22.00 | 0.9000 | 1 |" in text
    assert "warning: These runs have other losses" in text
    assert "two is not finished: 2 of 3 epochs." in text
    page = compare_page.write(found)
    assert page.count("<svg") == 7
    for shown in ("one, 12.00 dB", "two, 12.00 dB", "K of two", "learning_rate", "What cannot be compared"):
        assert shown in page, shown
    assert "<script" not in page
    assert page == compare_page.write(compare.compare([one, other]))


def test_evaluations_that_do_not_say_what_they_scored_are_not_held_against_each_other(tmp_path):
    folders = [make_evaluation(tmp_path / name, "m", 1.0, pictures="") for name in ("one", "two")]
    found = compare.compare(folders)
    assert found.groups == ()
    assert "scored other pictures" in found.warnings[0]


def test_other_datasets_are_a_warning(tmp_path):
    runs = [make_run(tmp_path / name) for name in ("one", "two")]
    config = runs[1] / "config.yaml"
    config.write_text(config.read_text().replace(DIGEST, "cd" * 32))
    assert "other datasets" in compare.compare(runs).warnings[0]
    evaluations = [make_evaluation(tmp_path / p, "m", 1.0, pictures=p) for p in ("a", "b")]
    found = compare.compare(evaluations)
    assert found.groups == ()
    assert "scored other pictures" in found.warnings[0]


def test_equal_runs_differ_in_nothing(tmp_path):
    found = compare.compare([make_run(tmp_path / name) for name in ("one", "two")])
    assert found.warnings == ()
    assert "What differs" not in compare.format_compared(found)
    assert "Nothing: settings, data and versions are equal." in compare_page.write(found)


def test_evaluations_of_the_same_pictures_are_paired(tmp_path):
    """The bootstrap is the one of aodnet evaluate, over the scores of both."""
    folders = [make_evaluation(tmp_path / name, "m", gain) for name, gain in (("one", 1.0), ("two", 1.6))]
    found = compare.compare(folders)
    (held,) = found.groups
    assert (held.images, held.scenes, held.against) == (24, 12, (0, "m"))
    tally = Tally(2, 2)
    rows = [list(csv.DictReader((folder / "scores.csv").read_text().splitlines())) for folder in folders]
    for one, other in zip(*([row for row in table if row["method"] == "m"] for table in rows), strict=True):
        tally.add(one["scene"], np.array([[float(row[m]) for m in METRICS] for row in (one, other)]))
    means, resampled = tally.means(), tally.resampled()
    expected = difference_of(means[1, 0], means[0, 0], resampled[:, 1, 0], resampled[:, 0, 0], 12)
    assert held.differences[1, "m"]["psnr_rgb"] == expected
    assert 0.0 < expected.low < expected.difference < expected.high
    text = compare.format_compared(found)
    assert "Less the figures of one: difference, 95 % interval, p" in text
    assert "| two | +0.61" in text
    assert text.count(f": {HAZY}") == 1  # the same in both
    page = compare_page.write(found)
    for shown in ("one: m, 13.00 dB", "two: m, 13.60 dB", "best of one; best of two", "Less the figures of one"):
        assert shown in page, shown


def test_a_protocol_that_is_defined_otherwise_is_not_held_against_its_like(tmp_path):
    folders = [make_evaluation(tmp_path / name, "m", 1.0) for name in ("one", "two")]
    path = folders[1] / "summary.json"
    path.write_text(path.read_text().replace("as it is", "cut to the centre"))
    found = compare.compare(folders)
    assert found.groups == ()
    assert "PSNR [dB] rgb is defined otherwise in some of these evaluations." in found.warnings


def test_runs_and_evaluations_go_on_one_page(tmp_path):
    folders = [make_run(tmp_path / "one"), make_evaluation(tmp_path / "eval", HOSTILE, 1.0)]
    page = compare_page.write(compare.compare(folders))
    assert "Comparison of 1 run and 1 evaluation" in page
    assert "<script" not in page


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("summary.json", "{}", r"summary.json' cannot be read. Expected the figures"),
        ("summary.json", '{"methods": {"m": {"psnr_rgb": {"mean": "x"}}}}', r"summary.json' cannot be read"),
        ("summary.json", '{"methods": {}}', r"received no figures"),
        ("summary.json", "[" * 9000, r"summary.json' cannot be read"),
        ("scores.csv", "a,b\n1,2\n", r"scores.csv' cannot be read. Expected a line for each image.*the columns a, b"),
        ("scores.csv", "image,scene,method,psnr_rgb,ssim_rgb\n", r"have other scores.*no more image"),
        ("scores.csv", "image,scene,method,psnr_rgb,ssim_rgb\ns0#0,s0,m,x,1\n", r"scores.csv' cannot be read"),
        ("scores.csv", "image,scene,method,psnr_rgb,ssim_rgb\ns0#0,s0,n,1,1\n", r"scores.csv' cannot be read"),
        ("scores.csv", "x" * 200_000, r"a line of more than"),
    ],
)
def test_damaged_evaluation_is_refused(name, content, message, tmp_path):
    folders = [make_evaluation(tmp_path / which, "m", 1.0) for which in ("one", "two")]
    (folders[1] / name).write_text(content)
    with pytest.raises(RefusedError, match=message):
        compare.compare(folders)


def test_damaged_strip_is_told_on_the_page(tmp_path):
    folders = [make_evaluation(tmp_path / which, "m", 1.0) for which in ("one", "two")]
    (folders[1] / "strip.png").write_bytes(b"\x89PNG")
    page = compare_page.write(compare.compare(folders))
    assert "Pictures that could not be read" in page
    assert "one: m, 13.00 dB" in page


def test_folders_that_cannot_be_compared_are_refused(tmp_path):
    run = make_run(tmp_path / "run")
    with pytest.raises(UsageError, match="Expected 2 to 20 folders"):
        compare.compare([run])
    with pytest.raises(UsageError, match="given twice"):
        compare.compare([run, tmp_path / "." / "run"])
    with pytest.raises(RefusedError, match=r"neither a run nor an evaluation.*received a folder without them"):
        compare.compare([run, tmp_path])
    with pytest.raises(RefusedError, match="received no folder"):
        compare.compare([run, tmp_path / "none"])


def test_names_are_as_short_as_tells_them_apart(tmp_path):
    folders = [make_run(tmp_path / which / "run") for which in ("one", "two")]
    assert compare.compare(folders).names == ("one/run", "two/run")


def test_equal_pictures_have_no_finite_psnr(tmp_path):
    folder = make_evaluation(tmp_path / "one", "m", 1.0)
    summary = json.loads((folder / "summary.json").read_text())
    summary["methods"]["m"]["psnr_rgb"]["mean"] = None
    (folder / "summary.json").write_text(json.dumps(summary))
    assert evaluation_facts.read(folder).means["m"]["psnr_rgb"] == float("inf")


def test_command_prints_tables_and_writes_the_page(tmp_path, capsys, monkeypatch):
    """And without the library that trains."""
    folders = [str(make_run(tmp_path / which)) for which in ("one", "two")]
    out = tmp_path / "pages" / "both.html"
    assert cli.main(["compare", *folders, "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "| one | 3 of 3 |" in told
    assert f"all of it as a page: '{out}'." in told
    assert out.read_text().startswith("<!DOCTYPE html>")
    assert cli.main(["compare", *folders, "--out", str(tmp_path)]) == 2
    assert "--out names no page. Expected a file that ends in .html" in capsys.readouterr().err
    assert cli.main(["compare", folders[0]]) == 2
    assert cli.main(["compare", folders[0], str(tmp_path)]) == 3


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["compare", "--help"])
    assert ended.value.code == 0
    assert "aodnet compare runs/first runs/second" in capsys.readouterr().out


def test_comparing_needs_no_tensorflow():
    import subprocess

    code = (
        "import sys, aodnet.compare_page, aodnet.run_report, aodnet.cli_compare; sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
