"""What of the promises of docs/training.md holds under faults: damaged shards, kills, NaN, damaged checkpoints.

Makes a tiny procedural dataset, trains on it unbroken, and then again and again with something broken. Prints the
table, writes JSON and the page, and exits with 1 where a promise was broken.

    python benchmarks/training_faults.py --out training_faults.json --page docs/training_faults.md
    python benchmarks/training_faults.py --short
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import training_faults_runs as runs
from training_faults_kinds import NAN_FAULTS, ROLLBACKS, SHARD_FAULTS, checkpoint_faults
from training_faults_runs import Site

from hazegen import engine

# Lines of the page between which the table stands.
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
_IN_CHAIN = 5  # kills of one run
_ENDED = 4  # runs that ended before their time, whose checkpoints are damaged


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--shards", type=int, default=8, help="kinds of damaged shards, each under fail and skip")
    parser.add_argument("--nans", type=int, default=10)
    parser.add_argument("--checkpoints", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="two of each, one kill")
    parser.add_argument("--out", type=Path, default=Path("training_faults.json"))
    parser.add_argument("--page", type=Path, help="docs/training_faults.md, to write the table into")
    given = parser.parse_args(argv)
    if given.short:
        given.kills, given.shards, given.nans, given.checkpoints = 1, 2, 2, 2
    with tempfile.TemporaryDirectory() as folder:
        content = run(Path(folder), given)
    given.out.write_text(json.dumps(content, indent=1) + "\n")
    if given.page:
        before, _, rest = given.page.read_text().partition(f"{BEGIN}\n")
        given.page.write_text(f"{before}{BEGIN}\n{table(content)}\n{END}{rest.partition(END)[2]}")
    print(table(content))
    wrong = [problem for part in content["parts"].values() for problem in part["broken"]]
    for problem in wrong:
        print(f"BROKEN: {problem}")
    return 1 if wrong else 0


def run(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    began = time.monotonic()
    rng = np.random.default_rng(given.seed)
    site = runs.make_site(folder)
    say(f"the unbroken run: {site.config.epochs} epochs of {site.steps} steps in {site.seconds:.1f} s")
    parts = {
        "shards": shards(site, given.shards, rng),
        "nans": nans(site, given.nans),
        "checkpoints": checkpoints(site, given.checkpoints, rng),
        "kills": kills(site, given.kills, rng),
    }
    machine = {"machine": platform.machine(), "cores": engine.cores(), "python": platform.python_version()}
    facts = {"date": str(date.today()), "seed": given.seed, "seconds": round(time.monotonic() - began)}
    return machine | facts | {"steps": site.config.epochs * site.steps, "parts": parts}


def say(text: str) -> None:
    print(text, flush=True)


def shards(site: Site, count: int, rng: np.random.Generator) -> dict[str, Any]:
    """Each kind of damage under --on-damage fail and skip."""
    kinds = list(SHARD_FAULTS)[:count]
    told = [(f"{kind}, {mode}", runs.shard(site, kind, mode, rng)) for kind in kinds for mode in ("fail", "skip")]
    return _part(told, kinds=kinds)


def nans(site: Site, count: int) -> dict[str, Any]:
    """Numbers that break in the input, the loss, the gradients and the weights."""
    faults = NAN_FAULTS[:count]
    told = [(f"{fault.where}, {fault.on_nan}, {fault.places}", runs.nan(site, fault)) for fault in faults]
    stopped = sum(fault.on_nan == "stop" or len(fault.places) > ROLLBACKS for fault in faults)
    return _part(told, stopped=stopped)


def checkpoints(site: Site, count: int, rng: np.random.Generator) -> dict[str, Any]:
    """Damage to the newest checkpoint; of the last two, to both."""
    faults = checkpoint_faults(rng)
    chosen = [faults[round(number)] for number in np.linspace(0, len(faults) - 1, count)]
    last = site.config.epochs * site.steps
    places = [divmod(int(rng.integers(2 * site.config.checkpoint_steps, last)), site.steps) for _ in range(_ENDED)]
    ended = [runs.stopped(site, f"ended-{number}", place) for number, place in enumerate(places)]
    told = []
    for number, (what, damage) in enumerate(chosen):
        both = number >= count - 2 and count > 2
        problem = runs.damaged_checkpoint(site, ended[number % _ENDED], damage, both=both)
        told.append((f"{what}{', both' if both else ''}, {places[number % _ENDED]}", problem))
    return _part(told, both=2 if count > 2 else 0)


def kills(site: Site, count: int, rng: np.random.Generator) -> dict[str, Any]:
    """kill -9 at random moments, several of each run."""
    told, seen = [], runs.Killed()
    while seen.kills < count and not any(problem for _, problem in told):
        number = min(_IN_CHAIN, count - seen.kills)
        told.append((f"chain of {number} kills", runs.kill_chain(site, number, rng, seen)))
        say(f"{seen.kills} kills")
    return _part(told, kills=seen.kills, at_start=seen.at_start)


def _part(told: list[tuple[str, str]], **facts: Any) -> dict[str, Any]:
    broken = [f"{what}: {problem}" for what, problem in told if problem]
    say("\n".join([f"{len(told)} tried, {len(broken)} broken", *broken]))
    return {"tried": len(told), "kept": len(told) - len(broken), **facts, "broken": broken}


def table(content: dict[str, Any]) -> str:
    """The table of docs/training_faults.md."""
    parts = content["parts"]
    damaged, nan, saved, killed = parts["shards"], parts["nans"], parts["checkpoints"], parts["kills"]
    rows = [
        (f"damaged shard, {len(damaged['kinds'])} kinds x fail and skip", damaged["tried"],
         f"{damaged['kept']}: fail names the shard and the repair, skip trains on and counts exactly what is lost"),
        ("NaN or infinity in input, loss, gradients, weights", nan["tried"],
         f"{nan['kept']}: {nan['stopped']} stopped, {nan['tried'] - nan['stopped']} rolled back, each with step and "
         "keys; 0 files with a number that is not finite" if not nan["broken"] else f"{nan['kept']} as promised"),
        ("damaged checkpoint", saved["tried"],
         f"{saved['kept']}: {saved['tried'] - saved['both']} fell back to the one before, said so and came to the "
         f"unbroken run's bytes; {saved['both']}, with both damaged, refused"),
        (f"kill -9 at random moments, {killed['at_start']} of them while starting", killed["kills"],
         f"{killed['kept']} of {killed['tried']} runs: each process went on where the newest checkpoint was; loss "
         "curve, weights and last checkpoint equal the unbroken run's to the bit"),
    ]  # fmt: skip
    return "\n".join([
        f"{content['date']}, {content['machine']}, {content['cores']} cores, CPU, {content['seconds']} s; runs of "
        f"{content['steps']} steps, a checkpoint every two.",
        "",
        "| what happens | tried | as promised |",
        "|---|---|---|",
        *(f"| {what} | {tried} | {kept} |" for what, tried, kept in rows),
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
