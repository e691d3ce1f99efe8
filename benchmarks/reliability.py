"""What of the promises of docs/reliability.md holds: kills, interrupts, full disks, damaged datasets.

Makes procedural photos and a dataset of them, kills hazegen make at random moments and runs it again, damages finished
datasets and mends them. Prints totals, writes JSON and the tables of the page, and exits with 1 where a promise was
broken. Linux only: processes are found in /proc.

    python benchmarks/reliability.py --out reliability.json --page docs/reliability.md
    python benchmarks/reliability.py --short
"""

import argparse
import contextlib
import io
import json
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import reliability_runs as runs
from reliability_faults import FAULTS, FIELDS, Fault, without_about
from reliability_runs import Site, digests

from hazegen import config, engine, images
from hazegen.cli import main as hazegen
from hazegen.make import make
from hazegen.make_options import MakeOptions
from hazegen.recipe import Recipe
from hazegen.samples import make_samples

# Lines of the page between which the tables stand.
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
ABOUT = {"license": "CC-BY-4.0", "source": "https://example.org/photos"}
# Datasets that are damaged: each of another kind. Sound sets take their options in turn, with other seeds.
KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("aod-released", {"variants": 2, "shard_mb": 0.02}),
    ("outdoor-visibility", {"variants": 3, "shard_mb": 0.04, "codec": "png", "maps": True}),
    ("reside-its", {"variants": 5, "shard_mb": 0.05}),
    ("dense", {"variants": 2, "shard_mb": 0.02, "splits": "train=0.5,test=0.5"}),
    ("aod-released", {"variants": 1, "shard_mb": 64.0, "limit": 3}),
)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--clean", type=int, default=50)
    parser.add_argument("--sizes", type=int, default=20)
    parser.add_argument("--interrupts", type=int, default=20)
    parser.add_argument("--opens", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="a few of each, on small pictures")
    parser.add_argument("--out", type=Path, default=Path("reliability.json"))
    parser.add_argument("--page", type=Path, help="docs/reliability.md, to write the tables into")
    given = parser.parse_args(argv)
    if given.short:
        given.kills, given.faults, given.clean, given.sizes, given.interrupts, given.opens = (
            3,
            len(FAULTS),
            5,
            2,
            1,
            100,
        )
    with tempfile.TemporaryDirectory() as folder:
        content = run(Path(folder), given)
    given.out.write_text(json.dumps(content, indent=1) + "\n")
    if given.page:
        before, _, rest = given.page.read_text().partition(f"{BEGIN}\n")
        given.page.write_text(f"{before}{BEGIN}\n{tables(content)}\n{END}{rest.partition(END)[2]}")
    print(tables(content))
    broken = [problem for part in content["parts"].values() for problem in part["broken"]]
    for problem in broken:
        print(f"BROKEN: {problem}")
    return 1 if broken else 0


def run(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    began = time.monotonic()
    rng = np.random.default_rng(given.seed)
    # As large as lets a run of one worker last a second or two after its plan.
    small = given.short
    site = make_site(folder, scenes=8 if small else 24, width=160 if small else 320, variants=20 if small else 40)
    parts: dict[str, Any] = {"workers": {"broken": runs.measure(site)}}
    parts["kills"] = runs.kills(site, given.kills, rng, say)
    parts["interrupts"] = runs.interrupts(site, given.interrupts, rng, say)
    parts["full"] = runs.full_disks(site, given.sizes, say)
    parts["small_disk"] = runs.small_disk(site, say)
    parts["two"] = runs.two_at_once(site, say)
    parts["watched"] = runs.watched(site, say, given.opens)
    inputs = make_inputs(folder / "small")
    parts["faults"] = faults(folder, inputs, given.faults, rng)
    parts["clean"] = clean_sets(folder, inputs, given.clean)
    machine = {"machine": platform.machine(), "cores": engine.cores(), "python": platform.python_version()}
    counts = {"date": str(date.today()), "seed": given.seed, "seconds": round(time.monotonic() - began), "parts": parts}
    return machine | {"run_s": site.seconds} | counts


def say(text: str) -> None:
    print(text, flush=True)


def make_site(folder: Path, *, scenes: int, width: int, variants: int, workers: tuple[int, ...] = (1, 2, 3)) -> Site:
    """Photos, and the options of some 20 shards of them."""
    make_samples(folder / "scenes", scenes, 0, width=width, height=3 * width // 4)
    (folder / "work").mkdir()
    shard_mb = scenes * variants * width * width / 2e6 / 20
    options = ("--recipe=outdoor-visibility", f"--variants={variants}", f"--shard-mb={shard_mb}")
    return Site(folder / "scenes", folder / "work", options, workers)


def make_inputs(folder: Path) -> Path:
    """Small scenes, one of them without a depth map and one whose map is all holes."""
    with contextlib.redirect_stderr(io.StringIO()):
        make_samples(folder, 9, 1, width=64, height=48)
    names = sorted(path.stem for path in (folder / "images").iterdir())
    (folder / "depth" / f"{names[2]}.png").unlink()
    (folder / "depth" / f"{names[5]}.png").write_bytes(images.encode(np.zeros((48, 64), np.uint16), ".png"))
    return folder


# --- damaged datasets ---


def faults(folder: Path, inputs: Path, count: int, rng: np.random.Generator) -> dict[str, Any]:
    """Each fault on a copy of a finished dataset: verify has to find it, and repair to give what is owed."""
    wholes = [make_dataset(inputs, folder / f"set-{number}", number) for number in range(len(KINDS))]
    broken: list[str] = []
    tallies: dict[str, Counter[str]] = {}
    for number in range(count):
        fault = FAULTS[number % len(FAULTS)]
        # A dataset of one shard has no two to exchange.
        whole = wholes[number % len(wholes)] if "shard" not in fault.kind else wholes[number % (len(wholes) - 1)]
        copy = Path(shutil.copytree(whole, folder / "copy"))
        ended, problem = one_fault(fault, copy, whole, inputs, rng)
        shutil.rmtree(copy)
        tallies.setdefault(fault.kind, Counter())[ended] += 1
        broken += [f"fault {number}, {fault.kind}, {whole.name}: {problem}"] * bool(problem)
    found = sum(tally.total() - tally["not found"] for tally in tallies.values())
    return {"faults": count, "found": found, "kinds": tallies, "broken": broken}


def one_fault(fault: Fault, copy: Path, whole: Path, inputs: Path, rng: np.random.Generator) -> tuple[str, str]:
    """How one damage ended (bytes, about, named, not found), and what of the promises was broken."""
    name = fault.damage(copy, rng)
    damaged = digests(copy)
    status, output = call("verify", copy, "--json")
    # The table of verify names every shard, the sound ones too: what counts is what it calls a problem.
    problems = json.loads(output[output.find("{") : output.rfind("}") + 1])["problems"]
    if status != 5 or not any(name in problem for problem in problems):
        return "not found", f"verify ended with {status}: {problems}"
    if call("verify", copy, "--quick")[0] != 5:
        return "not found", "not found by verify --quick"
    folders = [f"--{kind}={inputs / kind}" for kind in ("images", "depth", "camera")]
    status, output = call("repair", copy, *folders)
    ended = "named"
    if status == 0:
        ended = "bytes" if digests(copy) == digests(whole) else "about"
    owed = {"bytes": ("bytes",), "about": ("bytes", "about"), "either": ("bytes", "named"), "named": ("named",)}
    if ended not in owed[fault.result]:
        return ended, f"repair ended with {status}: {output}"
    if ended == "about" and without_about(copy) != without_about(whole):
        return ended, f"more than licence, citation and source is another: {output}"
    if ended == "named" and (digests(copy) != damaged or name not in output):
        return ended, f"repair has changed what it could not mend: {output}"
    if ended != "named" and call("verify", copy)[0] != 0:
        return ended, "not sound after repair"
    return ended, ""


def call(*words: object) -> tuple[int, str]:
    """Exit status and output of one command, in this process."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        status = hazegen([str(word) for word in words])
    return status, output.getvalue()


def make_dataset(inputs: Path, out: Path, number: int) -> Path:
    name, changes = KINDS[number % len(KINDS)]
    recipe = config.build(Recipe, config.read_config(config.find_config(name, "recipes"), Recipe))
    folders = {kind: inputs / kind for kind in ("images", "depth", "camera")}
    options = MakeOptions(**folders, out=out, seed=number, workers=1, max_rejected=1.0, **changes)
    with contextlib.redirect_stderr(io.StringIO()):
        make(options, recipe, ABOUT if number % 2 else {})
    return out


def clean_sets(folder: Path, inputs: Path, count: int) -> dict[str, Any]:
    """Sound datasets of all kinds: verify must find nothing, repair nothing to do."""
    broken = []
    for number in range(count):
        out = make_dataset(inputs, folder / f"clean-{number}", number)
        before = digests(out)
        verified, repaired = call("verify", out), call("repair", out)
        if verified[0] or repaired[0] or "Nothing to do" not in repaired[1] or digests(out) != before:
            broken.append(f"false alarm on set {number}: {verified} {repaired}")
        shutil.rmtree(out)
    return {"sets": count, "false_alarms": len(broken), "broken": broken}


# --- tables ---

ENDS = {"bytes": "mended, all bytes", "about": "all but licence, citation, source", "named": "named, left as it was"}


def tables(content: dict[str, Any]) -> str:
    """The tables of docs/reliability.md."""
    parts = content["parts"]
    kills, cut, full, small = parts["kills"], parts["interrupts"], parts["full"], parts["small_disk"]
    damage, sets, seen = parts["faults"], parts["clean"], parts["watched"]
    count = sum(kills["kills"].values())
    mended = sum(tally["bytes"] + tally["about"] for tally in damage["kinds"].values())
    rows = [
        ("kill -9", f"{count} kills ({kills['kills']['parent']} of the first process, {kills['kills']['worker']} of a "
         f"worker; 1, 2 and 3 workers)", f"{kills['identical']} identical datasets, 0 files left over, workers gone "
         f"after at most {kills['longest_orphan_s']} s"),
        ("Ctrl-C", f"{cut['interrupts']} interrupts", f"longest time to the end {cut['longest_s']} s, exit 130, "
         "identical after the next run"),
        ("files may not grow", f"{full['sizes']} sizes", f"{full['refused']} exit 4 with the bytes needed, nothing cut "
         "off under a final name, identical after the next run"),
        ("disk of half the size", f"{small['sizes']} run" if small["sizes"] else "not run: no right to mount",
         "the same" if small["sizes"] else ""),
        ("two runs in one folder", "1", f"{parts['two']['refused']} refused, the other identical"),
        ("a reader beside a run", f"{seen['opens']:,} opens of final names", f"{seen['partial']} partial files"),
        ("damage to finished sets", f"{damage['faults']} faults of {len(damage['kinds'])} kinds",
         f"{damage['found']} found; {mended} mended, the others named"),
        ("sound sets", f"{sets['sets']}", f"{sets['false_alarms']} false alarms"),
    ]  # fmt: skip
    lines = [
        f"{count} kills, {kills['identical']} identical datasets; {damage['faults']} faults, {damage['found']} found; "
        f"{sets['sets']} sound sets, {sets['false_alarms']} false alarms. {content['date']}, {content['machine']}, "
        f"{content['cores']} cores, {content['seconds']} s.",
        "",
        *("| what happens | how often | what comes of it |", "|---|---|---|"),
        *(f"| {what} | {often} | {came} |" for what, often, came in rows),
        "",
        *("| fault | tried | " + " | ".join(ENDS.values()) + " |", "|---" * (2 + len(ENDS)) + "|"),
    ]
    groups: dict[str, Counter[str]] = {}
    for kind, tally in damage["kinds"].items():
        edited = kind.partition(": ")[2] in FIELDS
        groups.setdefault(f"manifest: one of {len(FIELDS)} fields edited" if edited else kind, Counter()).update(tally)
    for kind, tally in groups.items():
        lines.append(f"| {kind} | {sum(tally.values())} | " + " | ".join(str(tally[end]) for end in ENDS) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
