"""A W&B server that fails, under aodnet fit and hazegen publish: what of the promises of docs/reliability.md holds.

Each case is one process of the command line beside a stand-in for the server (tests/wandb_server.py) that goes
wrong in one way, and then, against a sound server, the command that the process has told its user. Prints a
table and totals, writes JSON, and exits with 1 where a promise was broken.

    python benchmarks/wandb_faults.py --out reliability.json --table table.md
    python benchmarks/wandb_faults.py --only 'fit .*stall'
"""

import argparse
import csv
import hashlib
import json
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from wandb_server import KEY, Artifact, Fault, Run, Server

EPOCHS = 3
# Bounds of the commands, short ones for the campaign, and what a process may take beside them [s].
FINISH_S, PATIENCE_S, CHOICE_S = 8, 6, 15.0
START_S, PAUSE_S, END_S, PROCESS_S = 25.0, 12.0, FINISH_S + 20.0, 150.0
FIT = ("--epochs", EPOCHS, "--batch", 4, "--crop", 32, "--wandb-pictures", 2)


@dataclass(frozen=True)
class Case:
    """One process under one fault."""

    verb: str
    fault: Fault | None
    mode: str = "auto"
    key: str | None = KEY

    def __str__(self) -> str:
        words = [self.verb, self.mode]
        if self.key != KEY:
            words.append("wrong key" if self.key else "no key")
        if self.fault:
            when = "from the start" if not self.fault.after else f"after {self.fault.after}"
            much = "for good" if self.fault.count is None else f"{self.fault.count} times"
            words += [self.fault.what, self.fault.where, when, much]
        return " ".join(words)


@dataclass
class Outcome:
    """What came of a case.

    Attributes:
        seconds: Time of the process; of it, to decide between online and offline (publish) or to open the run
            (fit), the longest between two epochs, and after the last one.
        said: online, offline, part (a warning, and what is missing is kept) or error.
        server: What the server had when the process had ended: all, part (of a run), pending (a version that is not
            committed), nothing.
        later: The same after the told command; none where there was no need.
        broken: The promises that were broken.
        late: What took longer than it may; a busy machine can do that too, so the short form does not judge it.
    """

    case: str
    exit_code: int | None
    seconds: float
    start_s: float = 0.0
    pause_s: float = 0.0
    end_s: float = 0.0
    said: str = ""
    server: str = ""
    later: str = "none"
    broken: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    output: str = ""


def lasting(verb: str, whats: str, where: str, after: int = 0, mode: str = "auto") -> list[Case]:
    return [Case(verb, Fault(what, where, after), mode) for what in whats.split()]  # type: ignore[arg-type]


def passing(verb: str, whats: str, where: str, after: int, count: int, mode: str = "auto") -> list[Case]:
    return [Case(verb, Fault(what, where, after, count), mode) for what in whats.split()]  # type: ignore[arg-type]


ALL = "refuse 401 429 500 slow stall cut vanish"
CASES = [
    *lasting("fit", ALL, "any"),
    *lasting("fit", "refuse 500 stall 401", "any", mode="online"),
    *lasting("fit", ALL, "any", after=9, mode="online"),
    *lasting("fit", "vanish refuse stall", "any", after=2),
    *passing("fit", "refuse 429 500 stall cut", "any", after=9, count=5),
    *lasting("fit", "refuse 401 500 stall cut", "UpsertBucket"),
    *lasting("fit", "500", "UpsertBucket", after=1),
    *lasting("fit", "refuse 401 429 500 stall cut", "file_stream"),
    *passing("fit", "500 cut", "file_stream", after=0, count=2),
    *lasting("fit", "refuse 401 429 500 slow stall cut", "upload"),
    *passing("fit", "cut 500 stall", "upload", after=2, count=2),
    *lasting("fit", "401 500 cut", "CreateArtifact", after=1),
    *lasting("fit", "refuse 500 stall cut", "CommitArtifact"),
    Case("fit", None, "online", key="f" * 40),
    Case("fit", None, "online", key=None),
    Case("fit", None, "auto", key="f" * 40),
    Case("fit", None, "auto"),
    *lasting("publish", "refuse 401 500 stall cut vanish", "any"),
    *lasting("publish", "refuse 500 stall", "any", mode="online"),
    *lasting("publish", "refuse 500 stall", "UpsertBucket"),
    *lasting("publish", "500", "UpsertBucket", mode="online"),
    *lasting("publish", "refuse 401 429 500 slow stall cut", "upload"),
    *passing("publish", "cut 500 refuse stall", "upload", after=3, count=2),
    *lasting("publish", "refuse 401 500 stall cut", "CreateArtifact"),
    *lasting("publish", "401 500 stall cut", "CreateArtifact", after=1),
    *lasting("publish", "500 stall", "CreateArtifactFiles"),
    *lasting("publish", "refuse 500 stall cut", "CommitArtifact"),
    *lasting("publish", "500 cut", "CommitArtifact", after=1),
    *lasting("publish", "refuse 500 stall vanish", "any", after=8),
    *lasting("publish", "refuse 500 stall vanish", "any", after=20),
    *lasting("publish", "401 500 stall", "file_stream"),
    Case("publish", None, "online", key="f" * 40),
    Case("publish", None, "auto"),
    *lasting("make", "500 401", "upload"),
    *lasting("make", "vanish", "any"),
    *lasting("make", "refuse 500", "any", mode="online"),
    Case("make", None, "auto"),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases that this regular expression is found in")
    parser.add_argument("--jobs", type=int, default=3, help="processes at once")
    parser.add_argument("--out", type=Path, default=Path("reliability.json"))
    parser.add_argument("--table", type=Path, help="file for the table, in Markdown")
    given = parser.parse_args()
    cases = [case for case in CASES if re.search(given.only, str(case))]
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(Path(folder))

        def run(numbered: tuple[int, Case]) -> Outcome:
            number, case = numbered
            outcome = run_case(case, Path(folder, str(number)), dataset)
            print(row(outcome), *([outcome.output] if outcome.broken else []), sep="\n", flush=True)
            return outcome

        with ThreadPoolExecutor(given.jobs) as pool:
            outcomes = list(pool.map(run, enumerate(cases)))
    told = totals(outcomes)
    print(*told, sep="\n")
    content = {"date": str(date.today()), "machine": platform.machine(), "cores": os.cpu_count(), "totals": told}
    given.out.write_text(json.dumps(content | {"cases": [asdict(one) for one in outcomes]}, indent=1) + "\n")
    if given.table:
        given.table.write_text(table(cases, outcomes) + "\n")
    return int(any(outcome.broken or outcome.late for outcome in outcomes))


def make_dataset(folder: Path) -> Path:
    """24 procedural pairs of 96 x 64 in four shards."""
    scenes, out = folder / "scenes", folder / "dataset"
    hazegen = Path(sys.executable).with_name("hazegen")
    for words in (
        ("samples", "--out", scenes, "--scenes", 12, "--width", 96, "--height", 64),
        ("make", *sources(folder), "--out", out),
    ):
        subprocess.run([hazegen, *map(str, words)], check=True, capture_output=True)
    return out


def run_case(case: Case, folder: Path, dataset: Path) -> Outcome:
    """Runs one case in a new folder, beside a server of its own, and judges it."""
    folder.mkdir(parents=True)
    with Server(folder / "server", case.fault) as server:
        if case.verb == "fit":
            words = ("aodnet", "fit", "--data", dataset, "--out", "run", *FIT, "--wandb", case.mode)
            return judge_fit(case, start(words, folder, server, case.key), folder, server)
        where = f"--project p --name rooms --alias paper --mode {case.mode} --patience-s {PATIENCE_S}".split()
        if case.verb == "publish":
            words, before = ("hazegen", "publish", dataset, *where), digests(dataset)
            outcome = judge_publish(case, start(words, folder, server, case.key), words, folder, server, dataset)
            changed = digests(dataset) != before
        else:
            made = folder / "dataset"
            words = ("hazegen", "make", *sources(dataset.parent), "--out", made, "--publish", *where)
            outcome = judge_publish(case, start(words, folder, server, case.key), words, folder, server, made)
            changed = any((made / name).read_bytes() != (dataset / name).read_bytes() for name in shards(dataset))
        outcome.broken += ["the dataset was changed"] if changed else []
        return outcome


def sources(folder: Path) -> tuple[object, ...]:
    """What `hazegen make` makes the campaign's dataset of."""
    scenes = folder / "scenes"
    return ("--images", scenes / "images", "--depth", scenes / "depth", "--camera", scenes / "camera",
            "--variants", 2, "--splits", "train=0.5,validation=0.25,test=0.25", "--shard-mb", 0.05)  # fmt: skip


def shards(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.tfrecord")]


@dataclass
class Ended:
    """A process that has ended.

    Attributes:
        lines: What it has printed, standard output and errors, and when [s].
        left_behind: Whether a process that it has started went on, and held its output open.
    """

    exit_code: int | None
    seconds: float
    lines: list[tuple[float, str]]
    left_behind: bool = False

    @property
    def output(self) -> str:
        return "".join(line for _, line in list(self.lines))


def start(words: tuple[object, ...], folder: Path, server: Server, key: str | None = KEY) -> Ended:
    """Runs a command of this Python's environment in `folder`; exit code None: it hung and was killed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= server.environment() | {"WANDB_FINISH_TIMEOUT": str(FINISH_S), "PYTHONUNBUFFERED": "1"}
    for name in ("MODE", "DIR", "DATA_DIR", "CACHE_DIR", *(["API_KEY"] if key is None else [])):
        del environment[f"WANDB_{name}"]
    if key is not None:
        environment["WANDB_API_KEY"] = key
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = [str(word) for word in words]
    began = time.monotonic()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    lines: list[tuple[float, str]] = []
    output = process.stdout
    assert output is not None

    def read() -> None:
        with output:
            lines.extend((time.monotonic() - began, line) for line in output)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        exit_code = process.wait(PROCESS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        exit_code = None
    seconds = time.monotonic() - began
    reader.join(5)
    return Ended(exit_code, seconds, lines, left_behind=reader.is_alive())


def healed(folder: Path, server: Server, after: Callable[[Server], Outcome]) -> Outcome:
    """Goes on with the server when it is sound again; with a new and empty one where it has vanished."""
    server.spoil(None)
    with suppress(OSError), socket.create_connection(("127.0.0.1", urlsplit(server.url).port), timeout=1):
        return after(server)
    with Server(folder / "server") as new:
        return after(new)


def sync(ended: Ended, folder: Path, server: Server) -> Ended:
    """What the user was told to do later."""
    command = re.search(r"send it later: (.*)", ended.output)
    return start(("sh", "-c", command[1]), folder, server) if command else Ended(2, 0.0, [(0.0, "no command told")])


def begin(case: Case, ended: Ended) -> Outcome:
    """What is judged alike for both commands."""
    outcome = Outcome(str(case), ended.exit_code, round(ended.seconds, 1), output=ended.output)
    outcome.said = (
        "error" if ended.exit_code
        else "part" if "did not take all" in ended.output or "could not log all" in ended.output
        else "offline" if "send it later" in ended.output
        else "online"
    )  # fmt: skip
    if ended.exit_code is None:
        outcome.broken.append(f"did not end in {PROCESS_S:.0f} s")
    if ended.left_behind:
        outcome.broken.append("a process was left behind")
    if "Traceback" in ended.output:
        outcome.broken.append("a traceback was printed")
    if outcome.said == "offline" and "W&B online" in ended.output and "warning" not in ended.output:
        outcome.broken.append("no warning")
    return outcome


def judge_fit(case: Case, ended: Ended, folder: Path, server: Server) -> Outcome:
    outcome = begin(case, ended)
    run = folder / "run"
    refused = case.mode == "online" and (case.key != KEY or case.fault == Fault("401", "any"))
    if refused:
        if ended.exit_code != 2 or run.exists():
            outcome.broken.append("work was begun without a key")
        return outcome
    if ended.exit_code != 0:
        outcome.broken.append(f"exit status {ended.exit_code}")
    times = {word: [at for at, line in ended.lines if line.startswith(word)] for word in ("training", "epoch", "W&B")}
    if not times["training"] or len(times["epoch"]) != EPOCHS:
        return outcome
    first, *_, last = times["epoch"]
    outcome.start_s = round(min([at for at in times["W&B"] if at < first], default=first) - times["training"][0], 1)
    outcome.pause_s = round(max(b - a for a, b in zip(times["epoch"], times["epoch"][1:], strict=False)), 1)
    outcome.end_s = round(ended.seconds - last, 1)
    for name, bound in (("start_s", START_S), ("pause_s", PAUSE_S), ("end_s", END_S)):
        if getattr(outcome, name) > bound:
            outcome.late.append(f"{name} {getattr(outcome, name)} is above {bound}")
    outcome.broken += missing_on_disk(run)
    outcome.server = has_fit(run, server)
    if "send it later" not in ended.output:
        if outcome.server != "all":
            outcome.broken.append(f"no warning, and the server has {outcome.server}")
        return outcome

    def later(sound: Server) -> Outcome:
        sent = sync(ended, folder, sound)
        outcome.later = has_fit(run, sound)
        if outcome.later != "all" or sent.exit_code:
            outcome.broken.append(f"sync (exit {sent.exit_code}) has sent {outcome.later}")
            outcome.output += sent.output
        return outcome

    return healed(folder, server, later)


def missing_on_disk(run: Path) -> list[str]:
    """Promises about the run folder that were broken."""
    broken = [] if len(history(run)) == EPOCHS else [f"history.csv has {len(history(run))} rows"]
    needed = ("best.weights.h5", "last.weights.h5", "config.yaml", "curves.png")
    broken += [f"no {name}" for name in needed if not (run / name).is_file()]
    checkpoints = [path.name for path in (run / "checkpoints").iterdir()]
    newest = sorted(checkpoints)[-1] if checkpoints else ""
    digits = re.findall(r"\d+", newest)
    return broken + ([] if digits and int(digits[0]) == EPOCHS else [f"newest checkpoint is {newest!r}"])


def history(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def has_fit(folder: Path, server: Server) -> str:
    """How much of a training run a server has: each epoch's metrics, each best model with its bytes."""
    found = server.runs.get(json.loads((folder / "wandb.json").read_bytes())["id"])
    if found is None:
        return "nothing"
    # Rows that had arrived are sent once more by 'wandb sync', with the same numbers: the stand-in keeps both.
    epochs = [row["epoch/epoch"] for row in found.history if "epoch/epoch" in row]
    rows = history(folder)
    scores = [float(row["val_psnr_rgb"]) for row in rows]
    best = [number for number, score in enumerate(scores) if score > max(scores[:number], default=0.0)]
    models = sound_versions(server, f"aodnet-{found.name}")
    tables = sound_versions(server, f"run-{found.name}-restored")
    complete = sorted(set(epochs)) == list(range(1, EPOCHS + 1)) and [model.metadata["epoch"] for model in models] == [
        number + 1 for number in best
    ]
    complete &= bool(models) and "best" in models[-1].aliases and len(tables) == EPOCHS and found.exit_code == 0
    return "all" if complete and not half_logged(server) else "part"


def sound_versions(server: Server, collection: str) -> list[Artifact]:
    """Committed versions that are whole."""
    found = [one for one in server.artifacts if one.collection == collection and one.state == "COMMITTED"]
    return [one for one in found if is_whole(server, one)]


def is_whole(server: Server, artifact: Artifact) -> bool:
    """Whether each file of a version was uploaded, and has the digest that its manifest says."""
    try:
        local = [name for name, entry in artifact.entries.items() if "ref" not in entry]
        return bool(local) and all(server.content(artifact, name) is not None for name in local)
    except KeyError:
        return False


def half_logged(server: Server) -> list[str]:
    return [one.collection for one in server.artifacts if one.state == "COMMITTED" and not is_whole(server, one)]


def judge_publish(
    case: Case, ended: Ended, words: tuple[object, ...], folder: Path, server: Server, dataset: Path
) -> Outcome:
    outcome = begin(case, ended)
    outcome.start_s = round(min((at for at, line in ended.lines if line.startswith("W&B o")), default=0.0), 1)
    if outcome.start_s > CHOICE_S:
        outcome.late.append(f"to choose took {outcome.start_s} s")
    outcome.server = has_dataset(server, dataset)
    if ended.exit_code == 2 and case.mode == "online" and (case.key != KEY or case.fault == Fault("401", "any")):
        return outcome
    if ended.exit_code == 4:
        outcome.broken += half_published(server)
    elif ended.exit_code != 0:
        outcome.broken.append(f"exit status {ended.exit_code}")
    elif "is published as" in ended.output:
        if outcome.server != "all":
            outcome.broken.append(f"exit status 0, and the server has {outcome.server} of the dataset")
    elif "is not sent yet" not in ended.output:
        outcome.broken.append("exit status 0, neither published nor kept")

    def later(sound: Server) -> Outcome:
        again = sync(ended, folder, sound) if ended.exit_code == 0 else start(words, folder, sound)
        outcome.later = has_dataset(sound, dataset)
        if outcome.later != "all" or again.exit_code:
            outcome.broken.append(f"the next command (exit {again.exit_code}) has sent {outcome.later}")
            outcome.output += again.output
        if any(not one.history for one in sound.runs.values() if one.exit_code == 0):
            outcome.broken.append("a run without its pictures counts as finished")
        return outcome

    if ended.exit_code == 4 or "send it later" in ended.output:
        return healed(folder, server, later)
    return outcome


def has_dataset(server: Server, dataset: Path) -> str:
    """How much of a dataset a server has."""
    found = [one for one in server.artifacts if one.collection == "rooms"]
    for one in sound_versions(server, "rooms"):
        sent = {name: hashlib.sha256(server.content(one, name)).hexdigest() for name in one.entries}
        if sent == digests(dataset) and {"latest", "paper"} <= set(one.aliases) and not half_logged(server):
            return "all"
    return "pending" if found else "nothing"


def half_published(server: Server) -> list[str]:
    """What a publishing that failed has left, beside pending versions and a failed run."""
    committed = [one.collection for one in server.artifacts if one.state == "COMMITTED"]
    rows: list[Run] = [run for run in server.runs.values() if run.history or run.exit_code == 0]
    return [f"half-logged: {name} is committed" for name in committed] + [f"half-logged: run {r.name}" for r in rows]


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a dataset."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def row(o: Outcome) -> str:
    """One case as it is printed on the way."""
    times = f"{o.seconds} s (start {o.start_s}, pause {o.pause_s}, end {o.end_s})"
    return (
        f"{o.case}: exit {o.exit_code}, {o.said}, {o.server}, later {o.later}, {times} {'; '.join(o.broken + o.late)}"
    )


SEES = {
    "online": "address of the run",
    "offline": "offline, and the command for later",
    "part": "warning, and the command for later",
    "error": "error, and what to do",
}


def table(cases: list[Case], outcomes: list[Outcome]) -> str:
    """The table of docs/reliability.md: faults of one place and one end in one row."""
    groups: dict[tuple[str, ...], list[tuple[str, Outcome]]] = {}
    for case, o in zip(cases, outcomes, strict=True):
        when, what = "sound server", "none"
        if case.key != KEY:
            when, what = "sound server", "wrong key" if case.key else "no key"
        elif case.fault:
            when = f"{case.fault.where}, " + (f"after {case.fault.after}" if case.fault.after else "from the start")
            when += f", {case.fault.count} times" if case.fault.count else ""
            what = case.fault.what
        seen = SEES[o.said] + (" (BROKEN)" if o.broken else "")
        key = (f"{case.verb}, {case.mode}", when, str(o.exit_code), seen, o.server or "nothing", o.later)
        groups.setdefault(key, []).append((what, o))
    rows = [
        "| command, mode | where and when | fault | exit | user sees | server has | then | longest [s] |",
        "|---" * 8 + "|",
    ]
    for (verb, when, *rest), found in groups.items():
        longest = max(o.seconds for _, o in found)
        whats = ", ".join(dict.fromkeys(what for what, _ in found))
        rows.append(" | ".join([f"| {verb}", when, whats, *rest, f"{longest:.0f} |"]))
    return "\n".join(rows)


def totals(outcomes: list[Outcome]) -> list[str]:
    """The figures that docs/reliability.md states."""
    told = []
    for verb in dict.fromkeys(one.case.split()[0] for one in outcomes):
        chosen = [one for one in outcomes if one.case.startswith(verb)]
        codes = sorted({one.exit_code for one in chosen if one.exit_code is not None})
        counts = ", ".join(f"{sum(one.exit_code == code for one in chosen)} exit {code}" for code in codes)
        sent = [one for one in chosen if one.later != "none"]
        told.append(
            f"{verb}: {len(chosen)} cases, {counts}; {sum(one.exit_code is None for one in chosen)} hung; "
            f"{sum(one.later == 'all' for one in sent)} of {len(sent)} complete by the command told or given again; "
            f"{sum(bool(one.broken or one.late) for one in chosen)} broke a promise"
        )
    return told


if __name__ == "__main__":
    sys.exit(main())
