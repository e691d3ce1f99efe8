"""What can be refused without TensorFlow is refused before it is imported, which takes seconds."""

import json
import os
import subprocess
import sys

import pytest

# Runs commands in one process, each told as status and error; TensorFlow may not be imported by any.
PROGRAM = """
import contextlib, io, json, sys
from aodnet import cli
sys.modules["tensorflow"] = sys.modules["keras"] = None
told = []
for argv in json.load(sys.stdin):
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            status = cli.main(argv)
        except SystemExit as end:
            status = end.code
        except ImportError as end:
            status, error = 1, io.StringIO(f"imported: {end}")
    told.append([status, error.getvalue() + out.getvalue()])
json.dump(told, sys.stdout)
"""
OURS = ["--model", "ours.weights.h5"]
CASES = [
    (["evaluate", "--model", "roomz", "--data", "DATASET"], 3, "There are no weights 'roomz'"),
    (["evaluate", *OURS], 2, "or --hazy (with --clean), received none of them."),
    (["evaluate", *OURS, "--data", "nowhere"], 3, "is no finished dataset"),
    (["evaluate", *OURS, "--data", "DATASET", "--split", "tset"], 2, "Did you mean 'test'?"),
    (["evaluate", *OURS, "--data", "DATASET", "--recipe", "hazerd"], 2, "belongs to a dataset of scenes"),
    (["evaluate", *OURS, "--data", "DATASET", "--protocol", "gb"], 2, "--protocol cannot be used"),
    (["evaluate", *OURS, "--data", "DATASET", "--compare-to", "theirs"], 2, "--compare-to names no row"),
    (["evaluate", *OURS, "--pairs", "empty"], 3, "received no folder in it."),
    (["predict", "empty"], 2, "There is nothing to restore"),
    (["predict", "a.png", "--model", "roomz"], 3, "There are no weights 'roomz'"),
    (["predict", "a.png", *OURS, "--runtime", "savedmodel"], 2, "--runtime savedmodel cannot take"),
    (["export", *OURS, "--format", "onnx", "--out", "a.tflite"], 2, "Expected a name that ends in .onnx"),
    (["export", "--model", "roomz", "--format", "onnx", "--out", "a.onnx"], 3, "There are no weights 'roomz'"),
    (["import-weights", "none.npz", "--out", "a.weights.h5"], 3, "'none.npz' is not a file"),
    (["overfit", "--data", "DATASET", "--loss", "l3"], 2, "Expected terms among l2, log-mse, l1, "),
    (["overfit", "--data", "nowhere"], 3, "is no finished dataset"),
    (["overfit", "--data", "DATASET", "--recipe", "hazerd"], 2, "The haze of pairs is in them already"),
    (["find-lr", "--data", "nowhere"], 3, "is no finished dataset"),
    (["overfit", "--help"], 0, "--steps N             updates in the trial [default: 300]"),
    (["find-lr", "--help"], 0, "--steps N             updates in the trial [default: 200]"),
    (["evaluat"], 2, "received 'evaluat'. Did you mean 'evaluate'?"),
]


@pytest.fixture(scope="module")
def told(dataset, tmp_path_factory) -> list[tuple[int, str]]:
    folder = tmp_path_factory.mktemp("before")
    (folder / "empty").mkdir()
    for name in ("ours.weights.h5", "a.png"):
        (folder / name).touch()
    argvs = [[str(dataset) if word == "DATASET" else word for word in argv] for argv, _, _ in CASES]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(argvs),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "COLUMNS": "120"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[" ".join(argv) for argv, _, _ in CASES])
def test_said_without_tensorflow(told, number):
    _, status, message = CASES[number]
    received, said = told[number]
    assert received == status, said
    assert message in said
