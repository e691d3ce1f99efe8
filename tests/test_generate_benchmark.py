"""benchmarks/generate.py in its short form: every method that is installed runs on the same photos."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import generate

from hazegen.reading import Reading

BENCHMARKS = Path(generate.__file__).parent


def photos(folder, count=4):
    rng = np.random.default_rng(0)
    for kind in ("image", "depth"):
        (folder / kind).mkdir()
    for number in range(count):
        clean = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (64, 48))
        cv2.imwrite(str(folder / "image" / f"{number}.jpg"), clean)
        cv2.imwrite(str(folder / "depth" / f"{number}.png"), rng.integers(20, 256, (48, 64), dtype=np.uint8))
    return folder / "image", folder / "depth"


def test_short_form_gives_a_table_and_its_figures(tmp_path):
    images, depth = photos(tmp_path)
    out = tmp_path / "figures" / "generate.json"
    command = [sys.executable, str(BENCHMARKS / "generate.py"), "--short", "--images", str(images)]
    command += ["--depth", str(depth), "--sizes", "64x48", "--out", str(out)]
    path = os.pathsep.join([str(BENCHMARKS.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=300)
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())
    (row,) = figures["rows"]
    methods = [name for name in generate.METHODS if name not in figures["missing"]]
    assert {"ours", "floor", "script"} <= set(methods)
    assert list(row["pairs_per_s"]) == methods
    assert all(rate > 0.0 for rate in row["pairs_per_s"].values())
    assert (row["size"], row["codec"], row["variants"], row["workers"]) == ("64x48", "jpeg", 2, 2)
    assert row["peak_mb"]["ours"] > 50
    assert all(row["cpu_ms"][method] > 0.0 for method in methods)
    assert figures["cores"] >= 1
    assert figures["versions"]["numpy"] == np.__version__
    assert all(f"| {method} |" in done.stdout for method in methods)
    assert all(f"{generate.PACKAGES[name]} is missing" in done.stdout for name in figures["missing"])


def test_photos_of_the_asked_size_are_taken_as_they_are_and_others_resized(tmp_path):
    images, depth = photos(tmp_path)
    source = Reading(images, depth, depth_format={"unit": 0.04})
    same, refs = generate.prepare(tmp_path / "same", source, (64, 48), 3)
    assert [ref.key for ref in refs] == ["0", "1", "2"]
    assert (same.images / "0.jpg").read_bytes() == (images / "0.jpg").read_bytes()
    larger, _ = generate.prepare(tmp_path / "larger", source, (128, 64), 1)
    assert cv2.imread(str(larger.images / "0.jpg")).shape == (64, 128, 3)
    resized = cv2.imread(str(larger.depth / "0.png"), cv2.IMREAD_UNCHANGED)
    assert resized.shape == (64, 128)
    assert set(np.unique(resized)) <= set(np.unique(cv2.imread(str(depth / "0.png"), cv2.IMREAD_UNCHANGED)))
