"""aodnet overfit and aodnet find-lr: what they say, what they write, and when they refuse."""

import csv
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from aodnet_fixtures import make_dataset, smooth

from aodnet import cli_trials, lr_finder, overfit
from aodnet.config import FitConfig
from aodnet.lr_finder import FinderOptions
from aodnet.overfit import OverfitOptions
from aodnet.strips import CAPTION, GAP, WIDTH
from hazegen import images, manifest, verbs
from hazegen.errors import RefusedError, UsageError

CONFIG = FitConfig(batch=2, crop=32, steps=25, learning_rate=0.02, seed=3)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Haze of one kind: every picture dimmed and brightened alike, which a network learns in no time."""
    recipe = {"beta": 0.08, "atmospheric_light": 0.9}
    return make_dataset(
        tmp_path_factory.mktemp("pairs"), {"train": 4, "validation": 1}, picture=smooth, variants=1, recipe=recipe
    )


def ran(verb, *argv: object) -> int:
    """The exit status of a verb, its errors told as the command line tells them."""
    return verbs.run_verb("aodnet", "", {"verb": ("", verb)}, ["verb", *(str(word) for word in argv)])


OPTIONS = ("--batch", 2, "--crop", 32, "--steps", 25, "--learning-rate", 0.02)


def test_a_network_that_learns(pairs, tmp_path, capsys):
    out = tmp_path / "new" / "o.png"
    assert ran(cli_trials.run_overfit, "--data", pairs, "--out", out, *OPTIONS) == 0
    said = capsys.readouterr().out
    assert said.count("loss ") == 13 + 1
    assert "loss of 2 pictures: " in said
    assert said.rstrip().endswith("the network learns.")
    # Hazy, restored, clean and more side by side, below their captions; a row for each of two.
    picture = images.decode(out.read_bytes(), "o.png")
    width, height = WIDTH + GAP, picture.shape[0] // 2
    hazy, restored, clean = (
        picture[CAPTION : height - 2, n * width : n * width + WIDTH].astype(float) for n in range(3)
    )
    assert abs(restored - clean).mean() < 0.7 * abs(hazy - clean).mean()
    assert [path.name for path in out.parent.iterdir()] == ["o.png"]


def test_a_network_that_does_not_learn(pairs, tmp_path, capsys):
    argv = ("--data", pairs, "--out", tmp_path / "o.png", *OPTIONS[:-1], 1e-4, "--steps", 5)
    assert ran(cli_trials.run_overfit, *argv) == 3
    said = capsys.readouterr()
    assert "Expected the right range, and a loss below 70% of that of the hazy pictures or of one colour" in said.err
    assert "raise --learning-rate (aodnet find-lr suggests one) or --steps." in said.err
    assert "the network learns" not in said.out
    assert (tmp_path / "o.png").exists()


def test_the_batch_is_always_the_same(pairs, tmp_path):
    """Other windows or turns would come between: the loss falls from the first step on."""
    said: list[str] = []
    options = OverfitOptions(data=(pairs,), out=tmp_path / "o.png")
    done = overfit.overfit(options, dataclasses.replace(CONFIG, steps=6, learning_rate=1e-3), say=said.append)
    values = [float(line.split()[-1]) for line in said]
    assert len(values) == 6
    assert values == sorted(values, reverse=True)
    assert (done.examples, done.steps, done.first, done.last) == (
        2,
        6,
        pytest.approx(values[0], rel=1e-4),
        pytest.approx(values[-1], rel=1e-4),
    )


def test_hints_of_the_data():
    rng = np.random.default_rng(0)
    clean = rng.uniform(size=(2, 8, 8, 3))
    hazy = 0.5 * clean + 0.4
    assert overfit._hints_of_data(hazy, clean) == []
    assert "are all but equal: is there any haze" in overfit._hints_of_data(clean, clean)[0]
    assert "are the two swapped?" in overfit._hints_of_data(clean, hazy)[0]
    # Haze that lies over one half of a dark picture spreads its values further, but takes contrast away.
    dark, far = 0.2 * clean, (np.arange(8) < 4)[:, None, None]
    assert overfit._hints_of_data(np.where(far, 0.3 * dark + 0.6, dark), dark) == []
    assert overfit._hints_of_range(hazy, clean) == []
    (said,) = overfit._hints_of_range(hazy, clean / 255)
    assert said.startswith("The brightest clean value is 0.003")
    assert len(overfit._hints_of_range(hazy / 255, clean / 255)) == 2


@pytest.mark.parametrize(
    ("damage", "learns"),
    [
        (lambda hazy, clean: (hazy, clean), True),
        (lambda hazy, clean: (hazy, clean[::-1]), False),
        (lambda hazy, clean: (hazy, clean / 255), False),
        (lambda hazy, clean: (hazy / 255, clean), False),
    ],
    ids=["sound", "of other pairs", "clean in another range", "hazy in another range"],
)
def test_a_sound_batch_passes_and_broken_ones_fail(pairs, tmp_path, monkeypatch, damage, learns):
    """With the schedule of the command."""
    read = overfit._one_batch

    def damaged(run):
        hazy, clean = damage(*(read(run)[name] for name in ("hazy", "clean")))
        return {"hazy": hazy, "clean": clean}

    monkeypatch.setattr(overfit, "_one_batch", damaged)
    config = FitConfig(batch=4, crop=24, steps=60, seed=3, **overfit.SCHEDULE)
    done = overfit.overfit(OverfitOptions(data=(pairs,), out=tmp_path / "o.png"), config)
    assert done.learned is learns


def test_schedule_of_the_command_stands_below_any_that_is_given(pairs, tmp_path, monkeypatch):
    seen: list[FitConfig] = []

    def stop(_, config, **__):
        seen.append(config)
        raise RefusedError("enough")

    monkeypatch.setattr(overfit, "overfit", stop)
    (tmp_path / "mine.yaml").write_text("learning_rate: 0.25\n")
    for words in ((), ("--learning-rate", 0.5), ("--config", tmp_path / "mine.yaml")):
        assert ran(cli_trials.run_overfit, "--data", pairs, *words) == 3
    assert [config.learning_rate for config in seen] == [5e-3, 0.5, 0.25]
    assert [config.warmup for config in seen] == [0.0, 0.0, FitConfig.warmup]


def test_hints_of_the_rate():
    assert "K is 0 everywhere" in overfit._hint_of_rate([1.0, 5.0], dead=True)
    assert "has not fallen: lower" in overfit._hint_of_rate([1.0, 5.0], dead=False)
    assert "do the pictures of each pair belong together" in overfit._hint_of_rate([1.0, 0.9], dead=False)


def test_numbers_that_are_not_finite_end_it(pairs, tmp_path):
    broken = dataclasses.replace(CONFIG, learning_rate=3e38, warmup=0.0, clip_norm=1e38)
    with pytest.raises(RefusedError, match=r"A number of the (loss|gradients|weights) is not finite.*at step \d"):
        overfit.overfit(OverfitOptions(data=(pairs,), out=tmp_path / "o.png"), broken)
    assert not (tmp_path / "o.png").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"out": Path("o.jpg")}, "--out has another suffix.*received 'o.jpg'"),
        ({"share": 0.0}, r"--share is out of range.*received 0\.0"),
        ({"share": 1.0}, r"--share is out of range.*received 1\.0"),
    ],
)
def test_options_of_overfit_that_cannot_be_used(options, words):
    with pytest.raises(UsageError, match=words):
        OverfitOptions(data=(), **options)


def test_missing_data_is_said_without_a_traceback(tmp_path, capsys):
    for verb in (cli_trials.run_overfit, cli_trials.run_find_lr):
        assert ran(verb, "--data", tmp_path / "none", "--out", tmp_path / "o.png") in (2, 3, 5)
        assert "error: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# --- aodnet find-lr ---


def test_the_curve_falls_and_nothing_else_is_left(pairs, tmp_path, capsys):
    out = tmp_path / "curves" / "lr"
    argv = ("--data", pairs, "--out", out, "--batch", 2, "--crop", 32, "--steps", 30)
    assert ran(cli_trials.run_find_lr, *argv) == 0
    said = capsys.readouterr().out
    assert "next: aodnet fit --learning-rate " in said
    assert sorted(path.name for path in out.parent.iterdir()) == ["lr.csv", "lr.png"]
    assert images.decode((out.parent / "lr.png").read_bytes(), "lr.png").shape == (450, 700, 4)
    with (out.parent / "lr.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    rates = [row["learning_rate"] for row in rows]
    assert rates[0] == pytest.approx(1e-5)
    assert rates[1] / rates[0] == pytest.approx(1e5 ** (1 / 29))
    # The network begins next to the identity, and so with the hazy pictures' own loss.
    assert rows[0]["relative_loss"] == pytest.approx(1.0, abs=0.1)
    assert min(row["smoothed_relative_loss"] for row in rows) < 0.9
    suggested = float(said.split("falls fastest at ")[1].split()[0])
    assert 1e-4 < suggested < 0.3


def test_the_optimizer_really_uses_the_rising_rate(pairs):
    options = FinderOptions(data=(pairs,), lowest=1e-3, highest=1e-1)
    _, trainer = overfit.begin(options, CONFIG, 3)
    trainer.optimizer.learning_rate = lr_finder.rising(options, 3)
    seen = []
    for step in range(3):
        trainer.optimizer.iterations.assign(step)
        seen.append(float(trainer.optimizer.learning_rate))
    np.testing.assert_allclose(seen, [1e-3, 1e-2, 1e-1], rtol=1e-5)


def test_a_curve_that_breaks_off_at_once_is_refused(pairs, tmp_path):
    options = FinderOptions(data=(pairs,), out=tmp_path / "lr", lowest=1e5, highest=1e6)
    config = dataclasses.replace(CONFIG, clip_norm=1e38, loss="l2=3e38")
    with pytest.raises(RefusedError, match=r"There is no curve. Expected at least 10 steps.*Lower --lowest"):
        lr_finder.find_lr(options, config)
    assert list(tmp_path.iterdir()) == []


def test_smoothing_is_right_from_the_first_value():
    np.testing.assert_allclose(lr_finder.smooth([3.0] * 5), 3.0)
    np.testing.assert_allclose(lr_finder.smooth([1.0, 2.0])[1], (0.9 * 1 + 2) / 1.9)


def test_the_steepest_fall_by_a_known_curve():
    """A logistic fall around 1e-3, then a rise from 1e-1 on: the fall is steepest in its middle."""
    rates = np.geomspace(1e-5, 1.0, 200)
    curve = 1.0 / (1.0 + (rates / 1e-3) ** 2) + 0.2 + 50.0 * np.maximum(0.0, rates - 0.1) ** 2
    suggested, least = lr_finder.suggest(rates, curve)
    assert suggested == pytest.approx(1e-3, rel=0.1)
    assert 0.05 < least < 0.2


@pytest.mark.parametrize("smoothed", [np.linspace(1.0, 2.0, 40), 1.0 - 0.004 * np.sin(np.arange(40.0))])
def test_no_rate_is_suggested_where_the_loss_falls_at_none(smoothed):
    """It only rises, or nothing but noise is in it."""
    rates, files = np.geomspace(1.0, 10.0, 40), (Path("lr.png"), Path("lr.csv"))
    found = lr_finder.Found(rates, smoothed, smoothed, smoothed, 1.0, 1.0, files)
    with pytest.raises(RefusedError, match=r"falls at no learning rate\. Expected a fall by at least 1%.*'lr\.png'"):
        lr_finder._check_fall(found)
    lr_finder._check_fall(dataclasses.replace(found, smoothed=np.linspace(1.0, 0.98, 40)))


def test_it_stops_where_the_loss_has_risen():
    assert not lr_finder.has_risen([1.0] * 20)
    assert not lr_finder.has_risen([1.0, 9.0])
    assert lr_finder.has_risen([1.0] * 10 + [9.0] * 10)


@pytest.mark.parametrize(("lowest", "highest"), [(0.0, 1.0), (1.0, 1.0), (1.0, 0.1), (1.0, 1e7), (float("nan"), 1.0)])
def test_rates_that_cannot_be_used(lowest, highest):
    with pytest.raises(UsageError, match=r"The learning rates are out of range\. Expected a --lowest above 0"):
        FinderOptions(data=(), lowest=lowest, highest=highest)


# --- several datasets, damage, and a loss below 0 ---


@pytest.mark.parametrize(
    ("weights", "batch", "counts"), [(None, 4, [3, 1]), ((1.0, 3.0), 4, [1, 3]), ((1.0, 99.0), 2, [1, 2])]
)
def test_batch_is_of_all_datasets_by_weight(pairs, tmp_path, weights, batch, counts):
    """Without weights by their records; none is left out."""
    other = make_dataset(tmp_path, {"train": 2, "validation": 1}, picture=smooth, variants=1)
    options = OverfitOptions(data=(pairs, other), weights=weights)
    run, _ = overfit.begin(options, dataclasses.replace(CONFIG, batch=batch), 1)
    assert overfit._counts(run.sources, batch) == counts
    found = overfit._one_batch(run)["clean"].numpy()
    assert len(found) == sum(min(count, size) for count, size in zip(counts, (4, 2), strict=True))
    first = [
        overfit._one_batch(overfit.begin(OverfitOptions((one,)), CONFIG, 1)[0])["clean"][0] for one in options.data
    ]
    np.testing.assert_array_equal(found[0], first[0])
    np.testing.assert_array_equal(found[counts[0]], first[1])


@pytest.fixture(scope="module")
def damaged(pairs, tmp_path_factory) -> Path:
    """The first of four training records cannot be read."""
    copy = Path(shutil.copytree(pairs, tmp_path_factory.mktemp("damaged") / "copy"))
    shard = copy / manifest.load(copy).shards_of("train")[0].name
    content = bytearray(shard.read_bytes())
    content[200] ^= 1
    shard.write_bytes(content)
    return copy


def test_damage_ends_a_trial_or_is_skipped_and_told(damaged, tmp_path, capsys):
    short = ("--data", damaged, "--batch", 4, "--crop", 32)
    assert ran(cli_trials.run_overfit, *short, "--out", tmp_path / "o.png", "--steps", 2) == 5
    assert "hazegen repair" in capsys.readouterr().err
    skip = (*short, "--on-damage", "skip")
    ran(cli_trials.run_overfit, *skip, "--out", tmp_path / "o.png", "--steps", 2)
    said = capsys.readouterr()
    assert "loss of 3 pictures: " in said.out
    assert "eft out because they are damaged: 1 (1 of '" in said.out + said.err
    find = (
        *skip,
        "--batch",
        1,
        "--steps",
        16,
        "--weights",
        1,
        "--out",
        tmp_path / "f",
        "--loss",
        "log-mse=0.1, ssim=0.5",
    )
    assert ran(cli_trials.run_find_lr, *find) == 0
    assert "eft out because they are damaged: " in capsys.readouterr().out
    with (tmp_path / "f.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert min(float(row["loss"]) for row in rows) < 0.0 < min(float(row["relative_loss"]) for row in rows)


def test_loss_below_0_has_a_share_too(pairs, tmp_path):
    """By its squared error, as that of the same network trained with it would be told."""
    config = dataclasses.replace(CONFIG, loss="log-mse")
    done = overfit.overfit(OverfitOptions(data=(pairs,), out=tmp_path / "o.png"), config)
    assert done.first < 0.0
    assert 0.0 < done.left < 0.7
    assert done.learned
