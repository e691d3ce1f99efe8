"""What docs/fidelity.md says of completion and refinement, on a few scenes; benchmarks/fidelity.py tries them all."""

import math
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import fidelity

DATA = Path(os.environ.get("HAZEGEN_TEST_DATA", "/nonexistent"))
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="HAZEGEN_TEST_DATA does not name a folder with the published data sets"
)


def by_method(rows: list[fidelity.Row], key: str) -> dict[str, dict[str, fidelity.Row]]:
    """The rows of each kind of hole or fault, by method."""
    found: dict[str, dict[str, fidelity.Row]] = {}
    for row in rows:
        found.setdefault(row[key], {})[row["method"]] = row
    return found


def assert_guided_is_best(rows: list[fidelity.Row], kinds: set[str]) -> None:
    cases = by_method(rows, "holes")
    assert set(cases) == kinds
    for methods in cases.values():
        for other in set(methods) - {"guided"}:
            for measure in ("error", "error_at_edges", "t_rmse"):
                assert methods["guided"][measure] < methods[other][measure], (methods["guided"], methods[other])
            assert methods["guided"]["sky_wrong"] <= methods[other]["sky_wrong"]


@pytest.mark.parametrize("kind", ["room", "street"])
def test_guided_completion_is_best_on_procedural_scenes(kind):
    scenes = fidelity.procedural(kind, 2, 320, 240)
    rows = fidelity.completion_rows(kind, scenes, [], fidelity.FILLS)
    assert_guided_is_best(rows, {"shadow", "blobs", "lines"})


@needs_data
@pytest.mark.parametrize("name", ["nyu", "icl_nuim"])
def test_guided_completion_beats_the_nearest_on_real_maps(name):
    scenes = fidelity.nyu(DATA, 12) if name == "nyu" else fidelity.icl_nuim(DATA, 2)
    rows = fidelity.completion_rows(name, scenes, fidelity.kinect_masks(DATA), ["nearest", "guided"])
    assert_guided_is_best(rows, {"shadow", "blobs", "lines", "camera"})


@pytest.mark.parametrize("kind", ["room", "street"])
def test_refinement_mends_more_than_it_harms(kind):
    cases = by_method(fidelity.refinement_rows(kind, fidelity.procedural(kind, 1)), "fault")
    assert set(cases) == set(fidelity.FAULTS)
    assert cases["none"]["edges"]["t_error"] < 0.04
    for fault, methods in cases.items():
        assert methods["edges"]["t_error"] < methods["guided"]["t_error"]
        if fault != "none":
            assert methods["edges"]["t_error"] < 0.95 * methods["unrefined"]["t_error"]
            assert methods["edges"]["fringe"] < 0.75 * methods["unrefined"]["fringe"]


def test_times_are_of_every_step(monkeypatch):
    """On small scenes: how long each takes is not in question here."""
    small = fidelity.procedural
    monkeypatch.setattr(fidelity, "procedural", lambda kind, count, *size: small(kind, count, 96, 72))
    rows = fidelity.time_rows(1)
    assert {row["size"] for row in rows} == {"640x480", "1242x375"}
    assert len(rows) == 12
    assert all(row["median_ms"] > 0.0 for row in rows)


def test_table_is_printed(capsys):
    fidelity.print_table([{"holes": "blobs", "error": 1.234}, {"holes": "lines", "error": math.nan}])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["| holes | error |", "|---|---|", "| blobs | 1.23 |", "| lines | nan |", ""]
