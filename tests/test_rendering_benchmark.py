"""benchmarks/rendering.py on a small picture: every effect runs, and both renderers agree."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import rendering


def test_every_effect_is_timed_beside_the_reference():
    rows = rendering.measure(96, 64, 1)
    assert [row["effect"] for row in rows] == list(rendering.EFFECTS)
    # The camera's JPEG can widen one code value; all else is held to one.
    assert all(row["codes_apart"] <= 1 for row in rows if row["effect"] != "camera")
    assert all(row["renderer_ms"] > 0 and row["reference_ms"] > 0 for row in rows)
