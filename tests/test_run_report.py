"""The report of a training run, and what it is read from: sheets of pictures, the journal, the run folder."""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from aodnet import history, journal, k_colours, pages, run_facts, run_report, sheets
from aodnet.journal import Journal
from aodnet.sheets import Row
from hazegen import images
from hazegen.errors import RefusedError
from hazegen.html import POLICY

DIGEST = "ab" * 32
HOSTILE = "<script>alert(1)</script>"
HEAD = "epoch,loss,val_loss,val_psnr_rgb,val_ssim_rgb,learning_rate,data_wait,images_per_s"
FACTS = {
    "device": "the CPU",
    "processes": 1,
    "steps": 5,
    "data": [
        {"folder": f"sets/{HOSTILE}", "digest": DIGEST, "kind": "pairs", "recipe": "fog", "weight": None,
         "records": {"train": 40, "validation": 8, "test": 8}},
    ],
}  # fmt: skip


def sheet(
    path: Path, epoch: int, names: tuple[str, ...] = ("room#1", HOSTILE), sides: tuple[int, int] = (20, 28)
) -> None:
    """A sheet as an epoch leaves it: tiles of one colour each."""
    height = round(sides[0] * sheets.WIDTH / sides[1])
    tiles = (("hazy", 10.0), ("restored", 10.0 + epoch), ("clean", None), ("K", None))
    whole = np.full((len(names) * (height + sheets.CAPTION + 2), 4 * (sheets.WIDTH + sheets.GAP), 3), 255, np.uint8)
    for row in range(len(names)):
        for column in range(4):
            top = row * (height + sheets.CAPTION + 2) + sheets.CAPTION
            left = column * (sheets.WIDTH + sheets.GAP)
            whole[top : top + height, left : left + sheets.WIDTH] = 10 * row + 50 * column + epoch
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(sheets.encode(whole, [Row(name, height, tiles) for name in names]))


def make_run(folder: Path, epochs: int = 3, *, wanted: int = 3, config: str = "", names=("room#1", HOSTILE)) -> Path:
    """A run folder as aodnet fit leaves it, without weights."""
    folder.mkdir(parents=True)
    head = f"{run_facts.HEAD}the dataset of digest {DIGEST}\n"
    (folder / run_facts.CONFIG).write_text(f"{head}epochs: {wanted}\n{config}")
    told = Journal(folder, lambda _: None, "aodnet fit --data x")
    with told.kept({**FACTS, "epoch": 0, "step": 0}, lambda: {"lost": {}, "skipped": []}):
        told.say("warning: a record was lost")
    rows = []
    for epoch in range(1, epochs + 1):
        rows.append(
            {"epoch": float(epoch), "loss": 1.0 / epoch, "val_loss": 2.0 / epoch, "val_psnr_rgb": 20.0 + epoch % 3,
             "val_ssim_rgb": 0.9, "learning_rate": 1e-3, "data_wait": 0.1, "images_per_s": 9.0, "lost": 0.0}
        )  # fmt: skip
        sheet(folder / run_facts.PICTURES / f"epoch-{epoch:04d}.png", epoch, names)
    if rows:
        history.write_history(folder / history.HISTORY, rows)
    return folder


# --- sheets ---


def test_sheet_gives_back_the_tiles_it_was_made_of(tmp_path):
    sheet(tmp_path / "epoch-0001.png", 3)
    first, second = sheets.read(tmp_path / "epoch-0001.png")
    assert (first.row.name, second.row.name) == ("room#1", HOSTILE)
    assert (first.psnr("restored"), first.psnr("K")) == (13.0, None)
    for row, one in enumerate((first, second)):
        for column, what in enumerate(("hazy", "restored", "clean", "K")):
            assert one.tile(what).shape == (200, 280, 3)
            assert (one.tile(what) == 10 * row + 50 * column + 3).all()
    assert first.tile("other") is None
    assert images.read_picture(tmp_path / "epoch-0001.png").shape == (2 * 222, 4 * 284, 3)


def told(data: bytes, text: str) -> bytes:
    """A picture that says something else of itself."""
    chunk = b"tEXtaodnet\0" + text.encode()
    return data[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        '{"rows": [{"name": "a", "rank": "", "height": 4000, "tiles": [["hazy", 1]]}]}',
        '{"rows": [{"name": "a", "rank": "", "height": -4, "tiles": [["hazy", 1]]}]}',
        '{"rows": [{"name": "a", "rank": "", "height": 4, "tiles": [["a", 1], ["b", 1]]}]}',
        '{"rows": [{"name": "a", "rank": "", "height": 4, "tiles": 3}]}',
        '{"rows": [{"name": "a", "rank": "", "height": Infinity, "tiles": [["hazy", 1]]}]}',
        '{"rows": [{"name": "a", "rank": "", "height": 4, "tiles": [["hazy", 1%s]]}]}' % ("0" * 400),
        "[" * 60_000,
    ],
)
def test_sheet_that_tells_of_another_picture_is_refused(text, tmp_path):
    path = tmp_path / "sheet.png"
    path.write_bytes(told(images.encode(np.zeros((50, 290, 3), np.uint8), ".png"), text))
    with pytest.raises(
        RefusedError, match=r"no sheet of pictures.*Expected a PNG that says.*received.*Remove the file"
    ):
        sheets.read(path)


def test_sheet_of_an_older_version_has_no_rows(tmp_path):
    (tmp_path / "a.png").write_bytes(images.encode(np.zeros((50, 290, 3), np.uint8), ".png"))
    assert sheets.read(tmp_path / "a.png") == []


def test_k_has_the_same_colours_everywhere():
    """By factors, from one end to the other; what is beyond an end has its colour."""
    low, high = k_colours.scale(101, 2)[0, [0, 100]]
    k = np.array([0.0, 0.5, 4.0, 99.0], np.float32)[None, :, None].repeat(3, axis=2)
    np.testing.assert_array_equal(k_colours.coloured(k)[0], [low, low, high, high])
    middle = k_colours.coloured(np.full((1, 1, 3), np.sqrt(0.5 * 4.0), np.float32))
    np.testing.assert_array_equal(middle[0, 0], k_colours.scale(101, 1)[0, 50])
    assert k_colours.middle(np.array([1.0, 2.0, 9.0], np.float32)) == 2.0


# --- the journal ---


def test_journal_tells_of_begin_warnings_and_end(tmp_path):
    said: list[str] = []
    own = Journal(tmp_path, said.append, "aodnet fit")
    own.say("warning: before the folder is ours")
    assert not (tmp_path / journal.FILE).exists()

    def interrupted() -> None:
        with own.kept({"epoch": 2, "step": 7}, lambda: {"skipped": [[1, 2]]}):
            own.say("a line")
            own.say("warning: later")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    events = journal.read(tmp_path)
    assert [event["event"] for event in events] == ["begin", "warning", "warning", "end"]
    assert (events[0]["command"], events[0]["epoch"], events[0]["step"]) == ("aodnet fit", 2, 7)
    assert events[0]["versions"]["numpy"] == np.__version__
    assert [event["text"] for event in events[1:3]] == ["before the folder is ours", "later"]
    assert (events[3]["how"], events[3]["skipped"]) == ("interrupted", [[1, 2]])
    assert said == ["warning: before the folder is ours", "a line", "warning: later"]


def test_journal_that_cannot_be_written_is_a_warning_alone(tmp_path):
    said: list[str] = []
    own = Journal(tmp_path / "gone", said.append)
    with own.kept({}, dict):
        own.say("warning: x")
    assert len(said) == 2
    assert "cannot be written" in said[0]
    assert said[0].endswith("The training goes on.")


def test_journal_of_a_killed_run_is_read_without_its_last_line(tmp_path):
    lines = ['{"event": "begin"}', "7", "[" * 9000, '{"event": 3}', '{"event": "warn']
    (tmp_path / journal.FILE).write_text("\n".join(lines))
    assert journal.read(tmp_path) == [{"event": "begin"}]
    assert journal.read(tmp_path / "none") == []


def test_journal_goes_on_after_a_line_that_was_cut_off(tmp_path):
    """As a full disk leaves it: the next beginning is not lost with it."""
    (tmp_path / journal.FILE).write_text('{"event": "begin"}\n{"event": "warn')
    with Journal(tmp_path, lambda _: None).kept({"epoch": 1, "step": 4}, dict):
        pass
    assert [event["event"] for event in journal.read(tmp_path)] == ["begin", "begin", "end"]


def test_very_long_journal_is_read_at_both_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "MOST_BYTES", 100)
    lines = [json.dumps({"event": "warning", "text": f"{number:03}"}) for number in range(40)]
    (tmp_path / journal.FILE).write_text("\n".join(lines))
    assert [event["text"] for event in journal.read(tmp_path)] == ["000", "039"]


# --- the page ---


def test_page_tells_what_was_trained_and_how_it_went(tmp_path):
    run = make_run(tmp_path / "first")
    page = run_report.write(run)
    for text in (
        "Training run first", "Finished: 3 epochs", "40 pairs of", "recipe fog", "22.00 dB", "best epoch (2)", DIGEST,
        "hazy, 10.00 dB", "epoch 1, 11.00 dB", "epoch 3, 13.00 dB", "K of room#1, epoch 2",
        "Warning: a record was lost", f"aodnet evaluate --model {run.name}/best.weights.h5 --data",
        "An epoch has 5 steps of 8 examples",
        "aodnet fit --data x",
    ):  # fmt: skip
        assert text in page, text
    assert page.count("<svg") == 6
    assert page.count('class="slider"') == 2


def test_page_holds_no_script_and_asks_for_nothing(tmp_path):
    page = run_report.write(make_run(tmp_path / HOSTILE.replace("/", "|")))
    assert "<script" not in page
    assert page.index(POLICY.replace("'", "&#x27;")) < page.index("<style")
    assert "&lt;script&gt;" in page
    assert 'src="http' not in page
    assert "url(" not in page


def test_page_is_the_same_for_the_same_folder_and_times_stand_last(tmp_path):
    """Two runs that differ in the clock alone: equal bytes up to the last section."""
    one, other = make_run(tmp_path / "a" / "run"), make_run(tmp_path / "b" / "run")
    assert run_report.write(one) == run_report.write(one)
    path = other / journal.FILE
    path.write_text(
        path.read_text().replace('"time": "20', '"time": "19').replace('"device": "the CPU"', '"device": "x"')
    )
    rows = history.read_history(other / history.HISTORY)
    history.write_history(other / history.HISTORY, [row | {"data_wait": 0.9, "images_per_s": 1.0} for row in rows])
    texts = [
        run_report.write(run).replace(str(run), "RUN").partition('<section id="times-and-machine"')
        for run in (one, other)
    ]
    assert texts[0][0] == texts[1][0]
    assert texts[0][2] != texts[1][2]


def test_interrupted_run_has_a_report_of_what_is_there(tmp_path):
    run = make_run(tmp_path / "run", epochs=1, wanted=9)
    (run / journal.FILE).write_text((run / journal.FILE).read_text().replace('"ended"', '"interrupted"'))
    page = run_report.write(run)
    assert "Not finished: 1 of 9 epochs; interrupted. The same command with --resume goes on." in page
    assert "Ended early: interrupted" in page
    assert page.count("<svg") == 6


def test_run_without_an_epoch_has_a_report(tmp_path):
    run = make_run(tmp_path / "run", epochs=0)
    page = run_report.write(run)
    assert "No epoch has ended." in page
    assert "aodnet fit --data x --resume" in page


def test_resumes_rollbacks_and_batches_left_out_are_told(tmp_path):
    run = make_run(tmp_path / "run", epochs=2)
    with Journal(run, lambda _: None).kept({"epoch": 1, "step": 4}, lambda: {"skipped": [[2, 3]]}):
        pass
    page = run_report.write(run)
    assert "Resumed at epoch 2, step 4." in page
    assert "numbers that are not finite: step 3 of epoch 2." in page


def test_few_epochs_of_many_are_shown_the_best_among_them(tmp_path):
    facts = run_facts.read(make_run(tmp_path / "run", epochs=40, wanted=40))
    facts.rows[16]["val_psnr_rgb"] = 99.0
    shown = facts.shown_epochs()
    assert len(shown) == run_facts.EPOCHS_SHOWN
    assert {1, 17, 40} <= set(shown)
    pictures, problems = facts.read_pictures()
    assert (list(pictures), problems) == (shown, [])


def test_curves_of_very_many_epochs_have_a_limit(tmp_path):
    run = make_run(tmp_path / "run", epochs=1)
    row = history.read_history(run / history.HISTORY)[0]
    history.write_history(run / history.HISTORY, [row | {"epoch": float(epoch)} for epoch in range(1, 5002)])
    facts = run_facts.read(run)
    some = facts.some_rows(pages.MOST_POINTS)
    assert 500 <= len(some) <= pages.MOST_POINTS
    assert some[-1]["epoch"] == 5001
    assert facts.some_rows(5001) == facts.rows
    assert max(page.count(",") for page in run_report.write(run).split('points="')[1:]) < 3 * pages.MOST_POINTS


def test_settings_are_those_that_a_plain_command_has_not(tmp_path):
    """Against configs/training/default.yaml, which `aodnet fit` reads unless it is told otherwise."""
    run = make_run(tmp_path / "run", epochs=0, config="loss: l1=1, ssim=0.2\nlearning_rate: 0.004\nclip_norm: 1.0\n")
    given, _, rest = run_report.write(run).partition('<section id="settings"')[2].partition("<details>")
    assert "<td>learning_rate</td><td>0.004</td><td>0.003</td>" in given
    assert "<td>clip_norm</td>" not in given
    assert "<td>loss</td><td>l1=1, ssim=0.2</td>" in rest


def test_first_and_last_of_many_warnings_are_told(tmp_path):
    run = make_run(tmp_path / "run")
    with (run / journal.FILE).open("a") as file:
        file.writelines(json.dumps({"event": "warning", "text": f"number {n:02}."}) + "\n" for n in range(60))
    page = run_report.write(run)
    told = [n for n in range(60) if f"number {n:02}." in page]
    assert told == [*range(9), *range(50, 60)]
    assert "... 41 more warnings between, in journal.jsonl ..." in page


def test_commands_are_those_that_were_typed(tmp_path):
    """Not one space less; and none where the run was started from Python."""
    run = make_run(tmp_path / "run", epochs=0)
    path = run / journal.FILE
    path.write_text(path.read_text().replace("--data x", "--data 'a  b--resume'"))
    assert run_report.commands(run_facts.read(run)) == ["aodnet fit --data 'a  b--resume' --resume"]
    path.write_text(path.read_text().replace("aodnet fit --data 'a  b--resume'", ""))
    assert run_report.commands(run_facts.read(run)) == []


def test_damaged_pictures_are_told_and_the_rest_is_shown(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "validation" / "epoch-0002.png").write_bytes(b"nothing")
    page = run_report.write(run)
    assert "epoch-0002.png&#x27; is not a picture" in page
    assert "epoch 3, 13.00 dB" in page


def test_pictures_of_an_older_run_are_not_taken_apart(tmp_path):
    run = make_run(tmp_path / "run", epochs=1)
    (run / "validation" / "epoch-0001.png").write_bytes(images.encode(np.zeros((9, 9, 3), np.uint8), ".png"))
    assert "cannot be taken apart" in run_report.write(run)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.yaml", "a: &a [x, x]\nb: [*a, *a]\n"),
        ("config.yaml", "epochs: many\n"),
        ("config.yaml", "[" * 3000),
        ("config.yaml", "x" * 300_000),
        ("config.yaml", b"epochs: 3 # \xff\n"),
        ("history.csv", f"{HEAD}\ninf,1,1,1,1,1,1,1\n"),
        ("history.csv", f"{HEAD}\n-2,1,1,1,1,1,1,1\n"),
        ("history.csv", "epoch,loss\n1,2\n"),
        ("history.csv", "epoch,loss\n\0,1\n"),
    ],
)
def test_hostile_run_is_refused(name, content, tmp_path):
    run = make_run(tmp_path / "run")
    (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RefusedError, match=r"'.*run' is a run that cannot be read\..*Expected"):
        run_facts.read(run)


def test_page_stays_below_its_limit(tmp_path, monkeypatch):
    """With smaller pictures, where they are large."""
    run = make_run(tmp_path / "run")
    whole = len(run_report.write(run))
    tried: list[int] = []
    monkeypatch.setattr(pages, "MOST_BYTES", whole - 1)
    page = run_report.page
    monkeypatch.setattr(run_report, "page", lambda *told: tried.append(told[-1].width) or page(*told))
    assert len(run_report.write(run)) < whole
    assert tried[0] > tried[-1]


def test_report_that_fails_is_a_warning_and_leaves_none_of_before(tmp_path):
    said: list[str] = []
    (tmp_path / "report.html").write_text("of before")

    def fail() -> str:
        raise ValueError("for a reason")

    assert not pages.leave(tmp_path / "report.html", fail, said.append)
    assert not (tmp_path / "report.html").exists()
    assert len(said) == 1
    assert said[0].startswith("warning: the report")
    assert "ValueError: for a reason" in said[0]
    assert pages.leave(tmp_path / "report.html", lambda: "a page", said.append)
    assert (tmp_path / "report.html").read_text() == "a page"


def test_events_of_another_kind_break_no_page(tmp_path):
    run = make_run(tmp_path / "run")
    odd = {"event": "begin", "epoch": "x", "step": None, "versions": 3, "data": [3, {"records": 7}], "steps": "many",
           "command": 3}  # fmt: skip
    with (run / journal.FILE).open("a") as file:
        file.write(json.dumps(odd) + "\n" + json.dumps({"event": "end", "skipped": [3, [1]], "how": 3}) + "\n")
    assert "Training run" in run_report.write(run)
