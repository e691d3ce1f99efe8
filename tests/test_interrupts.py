"""Ctrl-C in aodnet fit: heard at once, also while one long operation is computed; it says how to go on."""

import gc
import signal
import subprocess
import sys

import pytest

from aodnet import cli, fit
from hazegen.verbs import Terminated

# One operation of C, half a minute long, that gives Python no chance to run a handler.
LONG = """
import hashlib
from aodnet.interrupts import heard_at_once
with heard_at_once():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000_000)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_is_answered_and_second_ends_whatever_is_computed(number):
    # The first one may come before the operation begins, and must not end the process there.
    preamble = f"import signal; signal.signal({int(number)}, lambda *_: None)\n"
    argv = [sys.executable, "-c", preamble + LONG]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            assert process.stderr.readline() == "ending after this step; once more ends it at once.\n"
            assert process.poll() is None
            process.send_signal(number)
            assert process.wait(20) == 128 + number
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("interrupt", "saved", "status", "message"),
    [
        (KeyboardInterrupt(), True, 130, "interrupted; the same command with --resume goes on from '{}'."),
        (KeyboardInterrupt(), False, 130, "interrupted; the same command starts again."),
        (Terminated(), True, 143, "terminated; the same command with --resume goes on from '{}'."),
    ],
)
def test_interrupted_fit_says_how_to_go_on(monkeypatch, capsys, tmp_path, interrupt, saved, status, message):
    def stop(*_, **__):
        raise interrupt

    monkeypatch.setattr(fit, "fit", stop)
    monkeypatch.setattr(gc, "freeze", lambda: None)  # for good, in this process
    newest = tmp_path / "run" / "checkpoints" / "epoch-00001-step-0000500.npz"
    newest.parent.mkdir(parents=True)
    for name in ("epoch-00001-step-0000000.npz", newest.name) if saved else ():
        (newest.parent / name).touch()
    before = signal.getsignal(signal.SIGINT)
    argv = ["fit", "--data", str(tmp_path), "--out", str(tmp_path / "run"), "--wandb", "off"]
    assert cli.main(argv) == status
    assert capsys.readouterr().err == f"{message.format(newest)}\n"
    assert signal.getsignal(signal.SIGINT) is before
