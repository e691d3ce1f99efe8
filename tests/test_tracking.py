"""Where a session goes and why, what is told of data and code, and what an evaluation logs."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import wandb_reader
import wandb_server as wandb_servers
from aodnet_fixtures import make_dataset, randomised, smooth
from wandb_fixtures import entry, exit_code_of, log_of, served, summary_of, without_settings
from wandb_server import Fault, Server

from aodnet import cli, tracking, weights
from aodnet import model as aodnet_model
from aodnet.tracking import ModelLogging, TrackingOptions
from hazegen import manifest, pull
from hazegen import tracking as sessions
from hazegen.errors import UsageError
from hazegen.tracking import Choice, choose_mode

NO_KEY = "Expected an API key that the server accepts, received no API key. Log in with 'wandb login', or set"


# --- which mode ---


@pytest.mark.parametrize("asked", ["off", "offline"])
def test_what_needs_no_server_asks_none(wandb_server: Server, asked: Any) -> None:
    assert choose_mode(asked) == Choice(asked, "as asked")
    assert not wandb_server.requests


@pytest.mark.parametrize(("wish", "mode"), [("offline", "offline"), ("disabled", "off"), ("dryrun", "offline")])
def test_auto_obeys_wandb_mode(wandb_server: Server, monkeypatch: pytest.MonkeyPatch, wish: str, mode: Any) -> None:
    monkeypatch.setenv("WANDB_MODE", wish)
    assert choose_mode("auto") == Choice(mode, f"WANDB_MODE is {wish}")
    assert not wandb_server.requests


def test_valid_key_is_online(wandb_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for online gets it, whatever WANDB_MODE says; the environment stays as it was."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "false")
    sessions.load_wandb()
    before = dict(os.environ)
    assert choose_mode("online") == Choice("online", "the server knows the key")
    assert dict(os.environ) == before
    monkeypatch.delenv("WANDB_MODE")
    before = dict(os.environ)
    assert choose_mode("auto") == Choice("online", "the server knows the key")
    assert dict(os.environ) == before


def test_no_key(wandb_enabled: None) -> None:
    assert choose_mode("auto") == Choice("offline", "no API key")
    with pytest.raises(UsageError, match=re.escape(NO_KEY)):
        choose_mode("online")


@pytest.mark.parametrize("key", ["f" * 40, "short"])
def test_key_that_is_not_valid(wandb_server: Server, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    assert choose_mode("auto") == Choice("offline", "an API key that is not valid")
    with pytest.raises(UsageError, match=r"received an API key that is not valid\. Log in") as caught:
        choose_mode("online")
    assert key not in str(caught.value)


def test_key_that_a_server_forbids_without_a_reason(tmp_path: Path) -> None:
    """401 with a bare 'Unauthorized', as a gateway before the server says it."""
    with served(tmp_path, Fault("401")):
        assert choose_mode("auto") == Choice("offline", "an API key that is not valid")


def test_url_with_user_information(wandb_enabled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """wandb would keep it in the run's files."""
    monkeypatch.setenv("WANDB_BASE_URL", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", wandb_servers.KEY)
    reason = "a server's URL with user information in it, which would be stored"
    assert choose_mode("auto") == Choice("offline", reason)
    with pytest.raises(UsageError, match=f"received {reason}") as caught:
        choose_mode("online")
    assert "secret" not in str(caught.value)


ASK = """
import json, time
from hazegen.tracking import choose_mode
start = time.monotonic()
modes = [choose_mode(asked) for asked in ("auto", "online")]
print(json.dumps([modes[0].mode, modes[0].reason, modes[1].mode, modes[1].reason, time.monotonic() - start]))
"""
SILENT = ("refuse", "500", "stall", "vanish")


@pytest.fixture(scope="module")
def silent_answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What is decided before each kind of silence; in new processes, for wandb reads its timeout when imported."""
    with ExitStack() as stack:
        asked = {}
        for what in SILENT:
            folder = tmp_path_factory.mktemp(what)
            server = stack.enter_context(Server(folder, Fault(what)))  # type: ignore[arg-type]
            command = [sys.executable, "-c", ASK]
            asked[what] = subprocess.Popen(command, env=os.environ | server.environment(), stdout=subprocess.PIPE)
        return {what: json.loads(process.communicate(timeout=120)[0]) for what, process in asked.items()}


@pytest.mark.parametrize("what", SILENT)
def test_silent_server_means_offline(silent_answers: dict[str, list[Any]], what: str) -> None:
    """Also where online was asked for: an outage stops no work."""
    auto, reason, online, why, seconds = silent_answers[what]
    assert (auto, online) == ("offline", "offline")
    assert reason.startswith("no answer from the server")
    assert why.startswith("no answer from the server")
    assert seconds < 60.0  # two questions of 5 s, and four processes at once


def test_environment_is_restored_after_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_CACHE_DIR", "mine")
    before = dict(os.environ)

    def fail() -> None:
        assert os.environ["WANDB_CACHE_DIR"] == "mine"
        assert os.environ["WANDB_DATA_DIR"] == str(tmp_path / "staging")
        assert "WANDB_MODE" not in os.environ
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"), sessions.environment(tmp_path):
        fail()
    assert dict(os.environ) == before


# wandb leaves the sweep's file open.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*sweep.yaml:pytest.PytestUnraisableExceptionWarning")
def test_relative_folders_are_those_of_the_caller(
    tmp_path: Path, wandb_enabled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session is opened in another folder than the one that the user, or a sweep's agent, means."""
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    Path("here/sweep.yaml").write_text("wandb_version: 1\nlearning-rate:\n  value: 0.1\n")
    monkeypatch.setenv("WANDB_DIR", "here")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", "here/sweep.yaml")
    said: list[str] = []
    session = sessions.open_session(Path("run"), Choice("offline", ""), said.append, project="haze", config={"a": 1})
    assert session is not None, said
    config = dict(session.run.config)
    assert not sessions.close_session(session, 0, said.append)
    assert config == {"a": 1, "learning-rate": 0.1}
    (log,) = Path("here/wandb").glob("offline-run-*/run-*.wandb")
    assert log.parent.samefile(session.folder)
    assert f"kept in '{log.parent}'" in said[-1]
    assert (os.environ["WANDB_DIR"], os.environ["WANDB_SWEEP_PARAM_PATH"]) == ("here", "here/sweep.yaml")


# --- what is said ---


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no https://store.example/a?sig=1 and gs://b/c"), "ValueError: no <address> and <address>"),
        (OSError("one\ntwo"), "OSError: one"),
        (KeyError(), "KeyError: no reason given"),
        ("s3://bucket/key is gone\nat line 3", "<address> is gone"),
    ],
    ids=str,
)
def test_errors_are_described_without_addresses(error: Exception | str, said: str) -> None:
    assert sessions.describe(error) == said


@pytest.mark.parametrize(("online", "command"), [(False, ["sync"]), (True, ["sync", "--include-online"])])
def test_sync_command_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, online: bool, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "it's a run"
    session: Any = SimpleNamespace(root=root, folder=root / "wandb" / "run-1", online=online)
    assert shlex.split(sessions.sync_command(session)) == ["cd", "it's a run", "&&", "wandb", *command, "wandb/run-1"]
    session = SimpleNamespace(root=tmp_path, folder=tmp_path / "wandb" / "run-1", online=online)
    assert shlex.split(sessions.sync_command(session)) == ["wandb", *command, "wandb/run-1"]


def test_private_parts_of_wandb_that_are_used_exist(tmp_path: Path, wandb_enabled: None) -> None:
    """They may go with any release, and most of those who call them would fall silent."""
    session = sessions.open_session(tmp_path, sessions.Choice("offline", ""), lambda _: None, project="p")
    assert session is not None
    assert sessions._helper().poll() is None
    assert all(callable(getattr(session.run._interface, name)) for name in ("publish_artifact", "_deliver"))
    assert callable(session.run._public_api)
    assert callable(sessions.load_wandb().Artifact("a", type="b")._populate_after_save)
    sessions.close_session(session, 0, lambda _: None)
    assert sessions._helper() is None


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("no home")], ids=repr)
def test_end_of_a_run_is_never_an_error(
    tmp_path: Path, wandb_enabled: None, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    session = sessions.open_session(tmp_path, sessions.Choice("offline", ""), lambda _: None, project="p")
    assert session is not None

    def fail(_: Any) -> None:
        raise error

    monkeypatch.setattr(sessions, "_tidy", fail)
    said: list[str] = []
    assert not sessions.close_session(session, 0, said.append)
    assert "warning: W&B did not take all of the run" in said[0]
    assert str(error.args[-1]) in said[0]


# --- options ---


def test_pictures_below_0_are_refused() -> None:
    with pytest.raises(UsageError, match=r"--wandb-pictures is out of range\. Expected 0 or more, received -1"):
        ModelLogging(wandb_pictures=-1)
    assert ModelLogging(wandb_pictures=0).wandb_pictures == 0


def test_facts_of_a_run() -> None:
    options = TrackingOptions(wandb_tags=" night,, fog ", wandb_entity="team")
    facts = options.facts("fit", "run7", {"a": 1})
    assert facts == {
        "project": "aodnet",
        "entity": "team",
        "name": "run7",
        "group": None,
        "tags": ["night", "fog"],
        "job_type": "fit",
        "config": {"a": 1},
    }
    assert TrackingOptions(wandb_name="mine").facts("fit", "run7", {})["name"] == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--wandb", "nonsense"], "wandb cannot be used. Expected auto|online|offline|off, received 'nonsense'"),
        (
            ["--wandb-models", "all"],
            "--wandb-models cannot be used. Expected best|epoch|checkpoint|none, received 'all'",
        ),
        (["--wandb-pictures", "-1"], "--wandb-pictures is out of range. Expected 0 or more, received -1"),
        (["--wandb-project", "a/b"], "--wandb-project cannot be used. Expected letters, digits, '_', '-' and '.', rec"),
        (["--wandb-entity", "a b"], "--wandb-entity cannot be used. Expected letters, digits, '_', '-' and '.', rec"),
        (["--wandb-tags", f"fog,{'a' * 65}"], "--wandb-tags cannot be used. Expected tags of at most 64 characters"),
        (["--wandb", "off", "--wandb-pictures", "3"], "--wandb-pictures is of no use with --wandb off."),
        (["--wandb", "online"], f"W&B cannot be used online. {NO_KEY}"),
    ],
    ids=str,
)
def test_wrong_options_end_a_fit_before_it_begins(
    tmp_path: Path, wandb_enabled: None, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert cli.main(["fit", "--data", str(tmp_path), "--out", str(tmp_path / "run"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# --- what is told of data, code and earlier runs ---


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracking-pairs")
    return make_dataset(folder, {"train": 1, "test": 2}, size=(24, 32), picture=smooth)


def test_facts_of_a_dataset(data: Path, tmp_path: Path) -> None:
    known = manifest.load(data)
    facts = tracking.dataset_facts(data)
    assert facts == {
        "digest": manifest.digest(known), "recipe": known.recipe, "seed": known.seed, "splits": known.splits,
        "artifact": None,
    }  # fmt: skip
    (tmp_path / "manifest.json").write_bytes((data / "manifest.json").read_bytes())
    (tmp_path / pull.SOURCE).write_text('{"artifact": "team/haze/rooms:v3", "digest": "d"}')
    assert tracking.dataset_facts(tmp_path) == facts | {"artifact": "team/haze/rooms:v3"}


def test_plain_folder_is_not_fetched(wandb_enabled: None) -> None:
    assert tracking.fetch(Path("some/folder")) == Path("some/folder")


def test_wrong_address_is_refused(wandb_enabled: None) -> None:
    with pytest.raises(UsageError, match=r"No such address\. Expected wandb:entity/project/name:alias, received"):
        tracking.fetch(Path("wandb:rooms"))


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_facts_of_the_code_in_a_checkout(tmp_path: Path) -> None:
    facts = tracking.code_facts()
    assert facts["hazegen"] == version("hazegen")
    assert facts["python"].count(".") == 2
    assert {"tensorflow", "keras", "numpy", "commit"} <= facts.keys()
    git(tmp_path, "init", "--quiet")
    (tmp_path / "package").mkdir()
    code = tmp_path / "package" / "a.py"
    code.write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert tracking._commit(code.parent) == commit
    code.write_text("2")
    assert tracking._commit(code.parent) == f"{commit}+"
    installed = tmp_path / "venv" / "aodnet"
    installed.mkdir(parents=True)
    (installed / "a.py").write_text("1")
    assert tracking._commit(installed) is None, "the commit of a checkout around it is not its own"


def test_code_outside_of_a_checkout_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert tracking._commit(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tracking._commit(Path(tracking.__file__).parent) is None, "git is not installed"


@pytest.mark.parametrize("content", [None, "", "[]", '{"id": "a"}', '"a"'])
def test_damaged_note_of_a_run_is_none(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / tracking.RUN_FILE).write_text(content)
    assert tracking.read_run(tmp_path) == {}


# --- an evaluation ---


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two weight files of one name, the second of a run that was logged."""
    root = tmp_path_factory.mktemp("tracking-models")
    paths = [root / name / "best.weights.h5" for name in ("a", "b")]
    for number, path in enumerate(paths):
        path.parent.mkdir()
        weights.save(randomised(aodnet_model.build_aodnet(), number), path)
    (root / "b" / tracking.RUN_FILE).write_text('{"id": "before", "online": false}')
    return paths


def evaluate(models: list[Path], data: Path | str, out: Path, *words: str) -> int:
    return cli.main(["evaluate", "--model", *map(str, models), "--data", str(data), "--out", str(out), *words])


@pytest.fixture(scope="module")
def evaluated(data: Path, models: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("evaluated")
    with without_settings(root):
        assert evaluate(models, data, root / "scores", "--wandb", "offline", "--wandb-project", "haze") == 0
    return root / "scores"


def test_evaluation_says_what_was_evaluated(evaluated: Path, data: Path, models: list[Path]) -> None:
    log = log_of(evaluated)
    config = wandb_reader.config(log)
    assert config["models"] == {f"{name}/best": tracking._sha256(path) for name, path in zip("ab", models, strict=True)}
    assert len(set(config["models"].values())) == 2
    assert config["dataset"] == tracking.dataset_facts(data)
    assert config["code"] == tracking.code_facts()
    (run,) = (r.run for r in wandb_reader.read_records(log) if r.WhichOneof("record_type") == "run")
    assert (run.project, run.job_type, run.display_name, run.run_group) == ("haze", "evaluate", "scores", "before")
    assert exit_code_of(log) == 0


def test_evaluation_summary_holds_the_means(evaluated: Path) -> None:
    written = json.loads((evaluated / "summary.json").read_text())["methods"]
    summary = summary_of(log_of(evaluated))
    assert {"hazy input", "best global affine", "dark channel prior", "a/best", "b/best"} == set(written)
    for method, row in written.items():
        for metric, cell in row.items():
            assert summary[f"{method}/{metric}"] == cell["mean"]


def test_evaluation_logs_every_score(evaluated: Path) -> None:
    (artifact,) = (a for a in wandb_reader.artifacts(log_of(evaluated)) if a.type == "evaluation")
    logged = json.loads(entry(evaluated, artifact, "scores.table.json").read_text())
    with (evaluated / "scores.csv").open(newline="") as file:
        names, *rows = csv.reader(file)
    assert logged["columns"] == names
    assert logged["data"] == [[*row[:3], *map(float, row[3:])] for row in rows]
    assert len(rows) == 4 * 5
    for name in ("summary.json", "table.md", "strip.png", "scores.csv", "levels.csv", "levels.png"):
        assert entry(evaluated, artifact, name).read_bytes() == (evaluated / name).read_bytes()


def test_evaluation_shows_the_strip(evaluated: Path) -> None:
    log = log_of(evaluated)
    (row,) = wandb_reader.history(log)
    for shown in ("strip", "levels"):
        picture = {name.removeprefix(f"{shown}."): value for name, value in row.items() if name.startswith(shown)}
        picture = picture.get(shown, picture)
        assert (log.parent / "files" / picture["path"]).read_bytes() == (evaluated / f"{shown}.png").read_bytes()


def test_table_of_an_evaluation_is_the_first_lines(evaluated: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tracking, "MOST_ROWS", 3)
    table: list[list[object]] = []
    session = mock.MagicMock()
    monkeypatch.setattr(tracking.sessions, "load_wandb", lambda: wandb)
    wandb = mock.MagicMock()
    wandb.Table.side_effect = lambda columns, data: table.extend(data)
    monkeypatch.setattr(tracking.artifacts, "log_artifact", lambda *_: None)
    tracking._log_scores(session, evaluated)
    with (evaluated / "scores.csv").open(newline="") as file:
        assert [row[:3] for row in table] == [row[:3] for row in list(csv.reader(file))[1:4]]


def test_evaluation_is_not_logged_unasked(data: Path, models: list[Path], tmp_path: Path, wandb_server: Server) -> None:
    """Unlike a fit: an evaluation is short, and often one of many."""
    assert evaluate(models[:1], data, tmp_path / "scores") == 0
    assert not wandb_server.requests
    assert not (tmp_path / "scores" / "wandb").exists()


def test_evaluation_asks_where_it_is_to_be_logged(data: Path, models: list[Path], tmp_path: Path) -> None:
    assert evaluate(models[:1], data, tmp_path / "scores", "--wandb-project", "mine", "--wandb", "offline") == 0
    (run,) = (
        r.run for r in wandb_reader.read_records(log_of(tmp_path / "scores")) if r.WhichOneof("record_type") == "run"
    )
    assert run.project == "mine"


def test_evaluation_goes_on_where_its_log_cannot_be_opened(
    data: Path, models: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "wandb").touch()
    assert evaluate(models[:1], data, tmp_path / "scores", "--wandb", "offline") == 0
    assert "warning: W&B: the evaluation could not be logged: FileExistsError" in capsys.readouterr().out


def test_evaluation_online(
    data: Path, models: list[Path], tmp_path: Path, wandb_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hazegen import cli as hazegen_cli

    monkeypatch.chdir(tmp_path)
    assert hazegen_cli.main(["publish", str(data), "--project", "haze", "--name", "rooms"]) == 0
    words = ("--wandb", "online", "--wandb-project", "haze")
    assert evaluate(models[1:], "wandb:tester/haze/rooms:latest", Path("scores"), *words) == 0
    (run,) = (run for run in wandb_server.runs.values() if run.job_type == "evaluate")
    assert (run.state, run.exit_code, run.group) == ("finished", 0, "before")
    (dataset,) = (artifact for artifact in wandb_server.artifacts if artifact.type == "dataset")
    (scores,) = (artifact for artifact in wandb_server.artifacts if artifact.type == "evaluation")
    assert (run.name, dataset.id) in wandb_server.uses
    assert (scores.state, scores.created_by) == ("COMMITTED", run.name)
    for name in ("summary.json", "table.md", "strip.png"):
        assert wandb_server.content(scores, name) == Path("scores", name).read_bytes()
    assert (
        run.summary["b/best/psnr_rgb"]
        == json.loads(Path("scores/summary.json").read_text())["methods"]["b/best"]["psnr_rgb"]["mean"]
    )


def test_failing_log_of_an_evaluation_is_a_warning(
    data: Path, models: list[Path], tmp_path: Path, wandb_enabled: None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail(*_: object) -> None:
        raise ValueError("no https://store.example/a?sig=1")

    monkeypatch.setattr(tracking, "_log_scores", fail)
    assert evaluate(models[:1], data, tmp_path / "scores", "--wandb", "offline") == 0
    said = capsys.readouterr().out
    assert "warning: W&B: the evaluation could not be logged: ValueError: no <address>" in said
    assert (tmp_path / "scores" / "strip.png").is_file()


def test_several_datasets_are_each_told_and_have_one_digest(data: Path) -> None:
    facts = tracking.dataset_facts(data)
    assert tracking.facts_of([data]) == facts
    both = tracking.facts_of([data, data])
    assert both["sources"] == [facts, facts]
    assert both["digest"] not in (facts["digest"], tracking.facts_of([data] * 3)["digest"])
    pulled = facts | {"artifact": "team/haze/rooms:v0"}
    assert tracking.artifacts_of(facts) == []
    assert tracking.artifacts_of({"digest": "d", "sources": [facts, pulled]}) == ["team/haze/rooms:v0"]
