"""The promises of docs/reliability.md under a few faults of W&B's server; benchmarks/wandb_faults.py tries them all."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from wandb_server import Fault

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from wandb_faults import Case, Outcome, make_dataset, run_case

CASES = {
    # A server that is gone in the middle of the training, for good; one that takes no file, which wandb does not say.
    Case("fit", Fault("vanish", "any", 9), "online"): (0, "part", "all"),
    Case("fit", Fault("401", "upload")): (0, "part", "all"),
    Case("publish", Fault("500", "any")): (0, "offline", "all"),
    Case("publish", Fault("stall", "upload")): (4, "error", "all"),
    Case("publish", Fault("401", "CreateArtifact")): (4, "error", "all"),
    Case("publish", Fault("500", "CommitArtifact")): (4, "error", "all"),
    # The version is made and the answer lost: it is looked for before it is said to have failed.
    Case("publish", Fault("cut", "CommitArtifact")): (0, "part", "all"),
    Case("publish", Fault("cut", "upload", 3, count=2)): (0, "online", "none"),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, Outcome]:
    """What came of each case; several at once, for most of their time is waiting."""
    folder = tmp_path_factory.mktemp("faults")
    dataset = make_dataset(folder)
    with ThreadPoolExecutor(4) as pool:
        jobs = {case: pool.submit(run_case, case, folder / str(i), dataset) for i, case in enumerate(CASES)}
    return {case: job.result() for case, job in jobs.items()}


@pytest.mark.parametrize(("case", "expected"), CASES.items(), ids=[str(case) for case in CASES])
def test_a_failing_server_breaks_no_promise(
    outcomes: dict[Case, Outcome], case: Case, expected: tuple[int, str, str]
) -> None:
    outcome = outcomes[case]
    assert not outcome.broken, outcome.output
    assert (outcome.exit_code, outcome.said, outcome.later) == expected, outcome.output
