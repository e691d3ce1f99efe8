"""docs/datasets.md: its commands, run as they are printed, and their output held against the page."""

import re
import shlex
from pathlib import Path

import pytest

from hazegen import cli

PAGE = Path(__file__).parent.parent / "docs" / "datasets.md"
# What differs from run to run and from machine to machine: seconds, versions, digests, sizes of files.
VARYING = r"\d+\.\d s\b|(?<=made with   ).*|(?<=digest      ).*|(?<=\()[0-9a-f]{8}(?=\))|(?<= )\d+\.\d$"
VARYING += r"|[\d,]+(\.\d)? MB|\d+(?= scenes/s)"


def blocks():
    """Commands of the page in their order, each with the output that is printed below it, None where there is none."""
    for kind, body in re.findall(r"```(sh|console)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        if kind == "sh":
            yield from ((line, None) for line in body.splitlines())
            continue
        for part in body.split("$ ")[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def steady(text):
    return re.sub(VARYING, "...", text, flags=re.MULTILINE)


def test_commands_print_what_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ran = []
    for line, output in blocks():
        program, *words = shlex.split(line)
        assert program == "hazegen"
        assert cli.main(words) == 0, line
        printed = capsys.readouterr().out
        if output is not None:
            assert steady(printed) == steady(output), line
        ran.append(words[0])
    assert ran == ["samples", "make", "make", "make", "info", "split", "split", "merge", "split", "sample", "sample"]
    assert cli.main(["verify", "both-apart", "--quick"]) == 0


def test_what_is_compared_does_not_hang_on_installed_versions():
    """Other releases of numpy and numba tell themselves apart in the versions, and may in the bytes."""
    page = PAGE.read_text(encoding="utf-8")
    other = re.sub(r"(numpy|numba|llvmlite|opencv|scipy) \d+\.\d+\.\d+", r"\1 9.8.7rc1", page)
    other = re.sub(r"\b[0-9a-f]{64}\b", "0" * 64, other)
    assert other != page
    assert steady(other) == steady(page)


@pytest.mark.parametrize("command", ["info", "split", "merge", "sample"])
def test_every_option_that_the_page_names_exists(command, capsys):
    section = PAGE.read_text(encoding="utf-8").partition(f"`hazegen {command}`\n\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(--[a-z-]+)", section)) - {"--maps", "--split-file"}
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    assert named <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert named
