"""What of a training run or an evaluation goes to Weights & Biases, and never in its way."""

import csv
import hashlib
import itertools
import json
import platform
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from aodnet.config import FitConfig, FitPaths
from hazegen import artifacts, manifest, pull
from hazegen import tracking as sessions
from hazegen.errors import UsageError
from hazegen.tracking import Choice

RUN_FILE = "wandb.json"
PROJECT = "aodnet"
LONGEST_TAG = 64
# Lines of scores.csv in the table of an evaluation, which is held in memory; the whole file goes beside it.
MOST_ROWS = 10_000


@dataclass(frozen=True)
class TrackingOptions:
    """Where a run is logged at W&B.

    Attributes:
        wandb: online sends; offline keeps all beside the run for 'wandb sync'; auto is online with a key
            and a server that answers, else offline; off logs nothing [default: auto for fit; for evaluate off, or auto
            beside another option of these].
        wandb_project: Project [default: that of the run that is resumed or evaluated, else aodnet].
        wandb_entity: User or team [default: likewise, else the key's own].
        wandb_name: Name of the W&B run [default: that of the run folder].
        wandb_group: Group of the W&B run.
        wandb_tags: Tags, with commas between them.
    """

    wandb: Literal["auto", "online", "offline", "off"] | None = None
    wandb_project: str | None = None
    wandb_entity: str | None = None
    wandb_name: str | None = None
    wandb_group: str | None = None
    wandb_tags: str = ""

    def __post_init__(self) -> None:
        sessions.check_place(self.wandb_project, self.wandb_entity, "wandb-")
        if too_long := [tag for tag in self.tags() if len(tag) > LONGEST_TAG]:
            raise UsageError(
                f"--wandb-tags cannot be used. Expected tags of at most {LONGEST_TAG} characters, received "
                f"{too_long[0]!r}. Shorten it."
            )

    def tags(self) -> list[str]:
        return [tag.strip() for tag in self.wandb_tags.split(",") if tag.strip()]

    def facts(
        self, job_type: str, default_name: str, config: dict[str, Any], before: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Arguments of hazegen.tracking.open_session; `before` is the run that this one belongs to."""
        there = before or {}
        return {
            "project": self.wandb_project or there.get("project") or PROJECT,
            "entity": self.wandb_entity or there.get("entity"),
            "name": self.wandb_name or default_name,
            "group": self.wandb_group,
            "tags": self.tags(),
            "job_type": job_type,
            "config": config,
        }


@dataclass(frozen=True)
class ModelLogging:
    """What of a training run is logged beside its metrics.

    Attributes:
        wandb_models: Models that are logged as artifacts: each best one, each epoch's, each checkpoint's
            (every --checkpoint-steps steps and each epoch), or none.
        wandb_whole: Log the optimizer's state beside the weights, so that the run can go on from it.
        wandb_pictures: Validation pictures in the tables.
    """

    wandb_models: Literal["best", "epoch", "checkpoint", "none"] = "best"
    wandb_whole: bool = False
    wandb_pictures: int = 8

    def __post_init__(self) -> None:
        if self.wandb_pictures < 0:
            raise UsageError(
                f"--wandb-pictures is out of range. Expected 0 or more, received {self.wandb_pictures}. Change it."
            )


@contextmanager
def logged(
    paths: FitPaths, config: FitConfig, options: TrackingOptions, what: ModelLogging, choice: Choice, say: sessions.Say
) -> Iterator[tuple[Any, ...]]:
    """The callbacks that log a training run; the W&B run ends with the block, whichever way it ends."""
    if choice.mode == "off":
        if options.wandb != "off":
            say(f"W&B off ({choice.reason}).")
        yield ()
        return
    sessions.load_wandb()
    from aodnet.callbacks import WandbRun

    callback = WandbRun(paths, config, options, what, choice, say)
    exit_code = 1
    try:
        yield (callback,)
        exit_code = 0
    finally:
        callback.close(exit_code)


def log_evaluation(
    options: TrackingOptions, choice: Choice, out: Path, models: dict[str, Path], data: Path | None, say: sessions.Say
) -> None:
    """Logs what `aodnet evaluate` has left in `out`: each method's means, the table of scores, the strip.

    The evaluation is done, and what of its logging fails is a warning.

    Args:
        models: Weight files by their names in the table.
    """
    if choice.mode == "off":
        return
    session = None
    try:
        session = _open_evaluation(options, choice, out, models, data, say)
        if session is not None:
            _log_scores(session, out)
            source = pull.read_source(data).get("artifact") if data is not None else None
            if session.online and source:
                session.run.use_artifact(source)
    except Exception as error:  # logging alone has failed, whatever it was
        say(f"warning: W&B: the evaluation could not be logged: {sessions.describe(error)}")
    if session is not None:
        sessions.close_session(session, 0, say)


def _open_evaluation(
    options: TrackingOptions, choice: Choice, out: Path, models: dict[str, Path], data: Path | None, say: sessions.Say
) -> sessions.Session | None:
    """The run of an evaluation, in the project and the group of the run that made its models, if that is one."""
    config: dict[str, Any] = {"code": code_facts(), "models": {name: _sha256(path) for name, path in models.items()}}
    runs = {run["id"]: run for path in models.values() if (run := read_run(path.parent))}
    before = next(iter(runs.values())) if len(runs) == 1 else {}
    if data is not None:
        config["dataset"] = dataset_facts(data)
    facts = options.facts("evaluate", out.resolve().name, config, before)
    facts["group"] = facts["group"] or before.get("id")
    return sessions.open_session(out, choice, say, **facts)


def _log_scores(session: sessions.Session, out: Path) -> None:
    from aodnet import detection_report  # it draws: not for a fit

    wandb = sessions.load_wandb()
    summary = json.loads((out / "summary.json").read_bytes())
    for method, row in summary["methods"].items():
        session.run.summary.update({f"{method}/{metric}": cell["mean"] for metric, cell in row.items()})
    with (out / "scores.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        lines = csv.reader(file)
        names, rows = next(lines), list(itertools.islice(lines, MOST_ROWS))
    table = wandb.Table(
        columns=names, data=[[*row[:3], *(float(cell) if cell else None for cell in row[3:])] for row in rows]
    )
    artifact = wandb.Artifact(f"run-{session.run.id}-evaluation", type="evaluation")
    artifact.add(table, "scores")
    # levels.* are there where the haze is known.
    kept = ("summary.json", "table.md", "strip.png", "scores.csv", "levels.csv", "levels.png")
    for name in kept:
        if (out / name).is_file():
            artifact.add_file(str(out / name), skip_cache=True)
    detection_report.log(session, artifact, out)
    artifacts.log_artifact(session, artifact, ["latest"])
    pictures = {"strip": out / "strip.png", "levels": out / "levels.png"}
    session.run.log({name: wandb.Image(str(path)) for name, path in pictures.items() if path.is_file()})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_run(folder: Path) -> dict[str, Any]:
    """Id, project, entity and mode of the W&B run that a run folder was logged to; empty where there is none."""
    try:
        said = json.loads((folder / RUN_FILE).read_bytes())
        place = {name: str(said[name]) for name in ("project", "entity") if said.get(name) is not None}
        return {"id": str(said["id"]), "online": bool(said["online"]), **place}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_run(folder: Path, session: sessions.Session) -> None:
    """Keeps the id of a run, for one that resumes it and for evaluations of its models."""
    run = session.run
    entity = run.entity if session.online else None  # offline wandb does not know it
    said = json.dumps({"id": run.id, "project": run.project, "entity": entity, "online": session.online})
    (folder / RUN_FILE).write_text(f"{said}\n", encoding="utf-8")


def fetch(data: Path) -> Path:
    """The folder of a dataset; one that is named by wandb:entity/project/name:alias is pulled first.

    Raises:
        UsageError, RefusedError, StoreError, VerifyError: As hazegen.pull says.
    """
    return pull.pull(str(data)).folder if str(data).startswith(pull.PREFIX) else data


def dataset_facts(folder: Path) -> dict[str, Any]:
    """What a run's config keeps of its dataset: enough to find it again, published or not."""
    known = manifest.load(folder)
    return {
        "digest": manifest.digest(known),
        "recipe": known.recipe,
        "seed": known.seed,
        "splits": known.splits,
        "artifact": pull.read_source(folder).get("artifact"),
    }


def facts_of(folders: Sequence[Path]) -> dict[str, Any]:
    """What a run's config keeps of its datasets: of one as `dataset_facts`; of several one digest, and those facts."""
    facts = [dataset_facts(folder) for folder in folders]
    if len(facts) == 1:
        return facts[0]
    digest = hashlib.sha256("\n".join(known["digest"] for known in facts).encode()).hexdigest()
    return {"digest": digest, "sources": facts}


def artifacts_of(facts: dict[str, Any]) -> list[str]:
    """The artifacts that the datasets of `facts_of` were pulled from."""
    return [known["artifact"] for known in facts.get("sources", [facts]) if known["artifact"]]


def code_facts() -> dict[str, Any]:
    """Versions of the code and of what it stands on; the commit where it runs from a checkout."""
    packages = ("hazegen", "tensorflow", "keras", "numpy", "opencv-python-headless")
    return {
        "commit": _commit(Path(__file__).parent),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def _commit(folder: Path) -> str | None:
    """The commit of a checkout, with '+' where files differ from it; None outside of one."""
    questions = (
        ("ls-files", "--error-unmatch", "."),  # an installed package may lie in a checkout of something else
        ("rev-parse", "HEAD"),
        ("status", "--porcelain", "--untracked-files=no"),
    )
    try:
        told = [
            subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10)
            for words in questions
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return told[1].stdout.strip() + ("+" if told[2].stdout.strip() else "")
