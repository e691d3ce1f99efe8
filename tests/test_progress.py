import json

import pytest

from hazegen import memory, progress
from hazegen.progress import Progress


def test_summary_counts_all_that_was_told():
    with Progress(6, "off") as shown:
        shown.pairs(4)
        shown.pairs(-2)
        shown.pairs(4)
        shown.shard(2_000_000, 1)
        shown.shard(1_000_000, 0)
        told = shown.summary()
    assert (told["pairs"], told["bytes"], told["rejected"]) == (6, 3_000_000, 1)
    assert told["pairs_per_s"] > 0
    assert told["mb_per_s"] > 0
    assert 20 < told["peak_mb"] < 100_000
    assert told["peak_mb"] <= memory.peak_mb()


def test_peak_memory_is_in_megabytes():
    before = memory.peak_mb()
    block = bytearray(300_000_000)
    block[::4096] = b"x" * len(block[::4096])
    assert memory.peak_mb() >= max(before, 300.0)


def test_json_lines_come_at_most_once_a_second_and_at_the_end(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress(100, "json") as shown:
        for _ in range(10):
            now[0] += 0.25
            shown.pairs(5)
        shown.shard(10_000_000, 2)
        now[0] += 2.5
        shown.pairs(50)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["pairs"] for line in lines] == [20, 40, 100]
    assert lines[0] == {
        "event": "progress",
        "pairs": 20,
        "of": 100,
        "pairs_per_s": 20.0,
        "mb_per_s": 0.0,
        "rejected": 0,
        "seconds_left": None,
    }
    assert lines[-1] | {"mb_per_s": 2.0, "rejected": 2, "seconds_left": 0.0} == lines[-1]


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_nothing_is_shown_off_a_terminal(capsys, mode):
    with Progress(2, mode) as shown:
        shown.pairs(2)
        shown.shard(10, 0)
    assert capsys.readouterr() == ("", "")


def test_bar_shows_rates_and_rejected(capsys):
    with Progress(2, "bar") as shown:
        shown.shard(10, 3)
        shown.pairs(2)
    err = capsys.readouterr().err
    assert "making haze" in err
    assert "3 rejected" in err


def test_last_json_line_has_the_end(capsys):
    with Progress(10, "json") as shown:
        shown.pairs(6)
        shown.shard(1_000_000, 2, 4)
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (line["pairs"], line["of"], line["rejected"], line["seconds_left"]) == (6, 6, 2, 0.0)
    assert line["mb_per_s"] > 0


def test_time_left_is_of_the_last_seconds(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress(1000, "json") as shown:
        for _ in range(60):  # slow at first
            now[0] += 1.0
            shown.pairs(1)
        for _ in range(40):
            now[0] += 1.0
            shown.pairs(10)
    told = [json.loads(line)["seconds_left"] for line in capsys.readouterr().err.splitlines()]
    assert told[:2] == [None, None]
    assert told[9] == pytest.approx(990)
    assert told[-1] == pytest.approx((1000 - 60 - 400) / 10, rel=0.05)


def test_without_a_terminal_a_line_comes_every_ten_seconds(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.Steps("evaluating", 400, "image") as steps:
        for now[0] in (105.0, 110.0, 111.0, 119.0, 121.0):
            steps.update()
    assert capsys.readouterr().err == "evaluating: 2 of 400 images\nevaluating: 5 of 400 images\n"


def test_numbers_and_their_words():
    assert [progress.counted(number, "pair") for number in (0, 1, 1200)] == ["0 pairs", "1 pair", "1,200 pairs"]
