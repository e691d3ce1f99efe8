"""What benchmarks/gpu.py makes of its rows; the rows themselves take minutes, and a GPU."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import gpu

RUN = {"device": "CPU", "precision": "float32", "status": "run", "loss": 0.1, "psnr": 20.0}
NOT_RUN = {"device": "GPU", "precision": "float32", "status": "not run"}
FAILED = {"device": "CPU", "precision": "float32", "status": "failed with 3", "told": "error: no room"}


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        ([RUN, NOT_RUN], 0),
        ([FAILED, NOT_RUN], 1),
        ([RUN, RUN], 0),
        ([RUN, FAILED], 1),
        ([RUN, {**RUN, "psnr": 19.0}], 1),
        ([RUN, {**RUN, "loss": 0.11}], 1),
    ],
)
def test_status_is_1_where_a_row_failed_or_is_far_from_the_cpu(rows, status, capsys):
    assert gpu.judge(rows) == status
    assert ("error: no room" in capsys.readouterr().out) == (FAILED in rows)
