"""What the command lines share: the ends of a run that are nobody's error, and where files may not go."""

import os
import subprocess
import sys

import pytest

from hazegen import cli, verbs


@pytest.mark.parametrize(
    ("command", "said"), [("make", "the same command goes on."), ("fit", "goes on with --resume.")]
)
def test_interrupt_says_how_to_go_on(capsys, command, said):
    def verb(argv):
        raise KeyboardInterrupt

    assert verbs.run_verb("prog", "text", {command: ("goes", verb)}, [command]) == 130
    assert capsys.readouterr().err.endswith(f"{said}\n")


@pytest.mark.parametrize("lines", [1, 100_000])
@pytest.mark.parametrize(("words", "status"), [(["go"], verbs.HUNG_UP), (["--help"], 0)])
def test_output_that_nobody_reads_any_more_ends_it_quietly(lines, words, status):
    code = (
        "import sys; from hazegen import verbs\n"
        f"def go(argv):\n    for _ in range({lines}): print('a line')\n    return 0\n"
        "sys.exit(verbs.run_verb('prog', 'text', {'go': ('goes', go)}, sys.argv[1:]))\n"
    )
    read, write = os.pipe()
    os.close(read)
    try:
        command = [sys.executable, "-c", code, *words]
        ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    finally:
        os.close(write)
    assert (ended.returncode, ended.stderr) == (status, "")


def test_other_connection_that_breaks_is_an_error(capsys):
    def verb(argv):
        raise BrokenPipeError(32, "Broken pipe")

    assert verbs.run_verb("prog", "text", {"go": ("goes", verb)}, ["go"]) == 4
    assert "error: [Errno 32] Broken pipe" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["samples", "recipes"])
def test_store_is_no_place_for_what_needs_a_disk(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main([verb, "--out", "s3://bucket/x"]) == 2
    assert (
        "--out has to lie on a disk. Expected a path of this machine, received 's3://bucket/x'"
        in capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []
