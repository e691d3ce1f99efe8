"""A run at W&B: what it logs offline and online, how it goes on, and that it is never in the training's way."""

import base64
import dataclasses
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import wandb_reader
from aodnet_fixtures import make_dataset, smooth
from PIL import Image
from wandb_fixtures import entry, exit_code_of, log_of, served, summary_of, without_settings
from wandb_server import ENTITY, Server

from aodnet import callbacks, checkpoint, cli, metrics, model, run_folder, tracking, weights
from aodnet.config import FitConfig
from aodnet.pairs import Source, read_pairs
from aodnet.predict import restore_picture, restorer
from aodnet.run_folder import read_history
from aodnet.tracking import ModelLogging
from hazegen import cli as hazegen_cli
from hazegen import config as configs
from hazegen import manifest

pytestmark = pytest.mark.usefixtures("without_curves")

# 6 training records in 3 steps an epoch, with a checkpoint after the second; 4 validation records.
SETTINGS = ("--batch", "2", "--crop", "16", "--learning-rate", "0.002", "--warmup", "0", "--checkpoint-steps", "2")
EPOCHS = 3
PICTURES = 2


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracked-pairs")
    return make_dataset(folder, {"train": 3, "validation": 2}, size=(24, 32), picture=smooth)


def fit(data: Path | str, out: Path, *words: object, epochs: int = EPOCHS) -> int:
    return cli.main(["fit", "--data", str(data), "--out", str(out), "--epochs", str(epochs), *SETTINGS,
                     *map(str, words)])  # fmt: skip


# --- offline ---


@pytest.fixture(scope="module")
def kept(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a run that logged all it can, offline."""
    root = tmp_path_factory.mktemp("kept")
    words = ("--wandb", "offline", "--wandb-models", "checkpoint", "--wandb-whole", "--wandb-pictures", PICTURES)
    names = ("--wandb-project", "haze", "--wandb-tags", "night, fog", "--wandb-group", "trials")
    with without_settings(root):
        assert fit(data, root / "run", *words, *names) == 0
    return root / "run"


@pytest.fixture(scope="module")
def log(kept: Path) -> Path:
    return log_of(kept)


def artifacts_of(log: Path, type: str) -> list[Any]:
    return [artifact for artifact in wandb_reader.artifacts(log) if artifact.type == type]


def table(folder: Path, artifact: Any, name: str) -> dict[str, Any]:
    """A logged table as it was written."""
    return json.loads(entry(folder, artifact, f"{name}.table.json").read_text())


def pictures(artifact: Any) -> dict[str, str]:
    """Digest and path of each picture in an artifact."""
    return {item.digest: item.path for item in artifact.manifest.contents if item.path.startswith("media/")}


def test_history_is_that_of_the_run_folder(kept: Path, log: Path) -> None:
    rows = read_history(kept / "history.csv")
    logged = [
        {name.removeprefix("epoch/"): value for name, value in row.items() if name.startswith("epoch/")}
        for row in wandb_reader.history(log)
    ]
    assert len(rows) == EPOCHS
    assert logged == rows


def test_config_holds_settings_dataset_and_code(kept: Path, log: Path, data: Path) -> None:
    logged = wandb_reader.config(log)
    resolved = configs.build(FitConfig, configs.read_config(kept / "config.yaml", FitConfig))
    assert {name: logged[name] for name in dataclasses.asdict(resolved)} == dataclasses.asdict(resolved)
    known = manifest.load(data)
    assert logged["dataset"] == {
        "digest": manifest.digest(known),
        "recipe": known.recipe,
        "seed": known.seed,
        "splits": known.splits,
        "artifact": None,
    }
    assert logged["code"] == tracking.code_facts()


def test_run_is_named_tagged_and_grouped(kept: Path, log: Path) -> None:
    (run,) = (r.run for r in wandb_reader.read_records(log) if r.WhichOneof("record_type") == "run")
    assert (run.project, run.display_name, run.run_group, run.job_type) == ("haze", "run", "trials", "fit")
    assert sorted(run.tags) == ["fog", "night"]
    assert exit_code_of(log) == 0
    assert tracking.read_run(kept) == {"id": run.run_id, "online": False, "project": "haze"}


def test_summary_is_of_the_best_row(kept: Path, log: Path) -> None:
    best = max(read_history(kept / "history.csv"), key=lambda row: row["val_psnr_rgb"])
    summary = summary_of(log)
    assert {name: summary[f"best/{name}"] for name in best} == best


def test_machine_is_measured_but_not_named(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stats = [r.stats for r in wandb_reader.read_records(log) if r.WhichOneof("record_type") == "stats"]
    assert "memory_percent" in {item.key for item in stats[0].item}
    content = log.read_bytes() + b"".join(path.read_bytes() for path in log.parent.rglob("*") if path.is_file())
    for word in (str(log.parents[2]), str(Path.home()), sys.executable):
        assert word.encode() not in content or word == "/"


def test_validation_table_is_logged_once(kept: Path, log: Path, data: Path) -> None:
    (artifact,) = artifacts_of(log, "pairs")
    assert artifact.name == f"validation-{manifest.digest(manifest.load(data))[:8]}"
    logged = table(kept, artifact, "pairs")
    assert logged["columns"] == ["key", "scene", "hazy", "clean", "psnr_hazy", "ssim_hazy"]
    chosen = list(read_pairs(Source(data, "validation")))[:: 4 // PICTURES]
    assert len(logged["data"]) == len(chosen) == PICTURES
    for (key, scene, hazy, clean, psnr, ssim), pair in zip(logged["data"], chosen, strict=True):
        assert (key, scene) == (pair.name, pair.scene)
        assert psnr == metrics.psnr(pair.hazy, pair.clean, data_range=255.0)
        assert ssim == metrics.ssim(pair.hazy, pair.clean, data_range=255.0)
        for picture, pixels in ((hazy, pair.hazy), (clean, pair.clean)):
            shown = np.asarray(Image.open(entry(kept, artifact, picture["path"])).convert("RGB"))
            assert metrics.psnr(shown, pixels, data_range=255.0) > 25.0


def test_each_epochs_table_is_joined_with_the_first(kept: Path, log: Path) -> None:
    (first,) = artifacts_of(log, "pairs")
    epochs = artifacts_of(log, "evaluation")
    assert len(epochs) == EPOCHS
    for number, artifact in enumerate(epochs, start=1):
        joined = json.loads(entry(kept, artifact, "pairs.joined-table.json").read_text())
        assert joined["join_key"] == "key"
        references = {item.path: item.ref for item in artifact.manifest.contents if item.ref}
        assert references == {joined["table1"]: f"wandb-client-artifact://{first.client_id}/pairs.table.json"}
        assert joined["table2"] == "restored.table.json"
        logged = table(kept, artifact, "restored")
        assert logged["columns"] == ["key", "epoch", "restored", "psnr_rgb", "ssim_rgb"]
        assert [row[:2] for row in logged["data"]] == [[row[0], number] for row in table(kept, first, "pairs")["data"]]


def test_pictures_are_logged_once(log: Path) -> None:
    (first,) = artifacts_of(log, "pairs")
    seen = pictures(first)
    assert len(seen) == 2 * PICTURES
    for artifact in artifacts_of(log, "evaluation"):
        restored = pictures(artifact)
        assert len(restored) == PICTURES
        assert not seen.keys() & restored.keys()


def loaded(kept: Path, artifact: Any, tmp_path: Path) -> keras.Model:
    """The model of an artifact, from its weights."""
    return weights.load(shutil.copy(entry(kept, artifact, "aodnet.weights.h5"), tmp_path / "a.weights.h5"))


def models_of(log: Path) -> list[tuple[set[str], dict[str, Any], Any]]:
    """Aliases, metadata and the record of each logged model."""
    return [(set(a.aliases), json.loads(a.metadata), a) for a in artifacts_of(log, "model")]


def test_models_are_logged_under_their_aliases(kept: Path, log: Path) -> None:
    rows = read_history(kept / "history.csv")
    expected, highest = [], -np.inf
    for number, row in enumerate(rows, start=1):
        best = {"best"} if row["val_psnr_rgb"] > highest else set()
        highest = max(highest, row["val_psnr_rgb"])
        expected += [({"latest"}, number, 2), ({"latest", f"epoch_{number}"} | best, number, None)]
    found = models_of(log)
    assert [(aliases, facts["epoch"], facts.get("step")) for aliases, facts, _ in found] == expected
    for _, facts, artifact in found:
        assert artifact.name == f"aodnet-{tracking.read_run(kept)['id']}"
        assert facts["dataset"] == wandb_reader.config(log)["dataset"]
        if "step" not in facts:
            assert {name: facts[name] for name in rows[0] if name != "epoch"} == {
                name: value for name, value in rows[facts["epoch"] - 1].items() if name != "epoch"
            }


def test_weights_of_an_artifact_are_those_of_the_run(kept: Path, log: Path, tmp_path: Path) -> None:
    found = models_of(log)
    best = [artifact for aliases, _, artifact in found if "best" in aliases][-1]
    for artifact, name in ((best, "best"), (found[-1][2], "last")):
        ours = weights.load(kept / f"{name}.weights.h5").get_weights()
        for a, b in zip(loaded(kept, artifact, tmp_path).get_weights(), ours, strict=True):
            np.testing.assert_array_equal(a, b)
        assert entry(kept, artifact, "config.yaml").read_bytes() == (kept / "config.yaml").read_bytes()


def test_scores_in_a_table_are_those_of_the_epochs_model(kept: Path, log: Path, data: Path, tmp_path: Path) -> None:
    chosen = {pair.name: pair for pair in read_pairs(Source(data, "validation"))}
    after_epochs = [artifact for aliases, _, artifact in models_of(log) if len(aliases) > 1]
    for artifact, evaluation in zip(after_epochs, artifacts_of(log, "evaluation"), strict=True):
        restore = restorer(loaded(kept, artifact, tmp_path))
        for key, _, picture, psnr, ssim in table(kept, evaluation, "restored")["data"]:
            pair = chosen[key]
            pixels = restore_picture(restore, pair.hazy, key).astype(np.uint8)
            assert psnr == pytest.approx(metrics.psnr(pixels, pair.clean, data_range=255.0), abs=1e-9)
            assert ssim == pytest.approx(metrics.ssim(pixels, pair.clean, data_range=255.0), abs=1e-9)
            shown = np.asarray(Image.open(entry(kept, evaluation, picture["path"])).convert("RGB"))
            assert metrics.psnr(shown, pixels, data_range=255.0) > 25.0


def test_whole_model_can_be_resumed_from(kept: Path, log: Path, tmp_path: Path) -> None:
    """The checkpoint in the artifact is of the moment that its metadata names, optimizer included."""
    for number, (_, facts, artifact) in enumerate(models_of(log)):
        (name,) = (item.path for item in artifact.manifest.contents if item.path.endswith(".npz"))
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(entry(kept, artifact, name), folder / name)
        saved, damaged = checkpoint.load_newest(folder)
        assert not damaged
        expected = (facts["epoch"], 0) if "step" not in facts else (facts["epoch"] - 1, facts["step"])
        assert (saved.epoch, saved.step) == expected
        variables = loaded(kept, artifact, tmp_path).get_weights()
        held = {(array.shape, array.tobytes()) for array in saved.arrays}
        assert all((value.shape, value.tobytes()) in held for value in variables)
        assert len(saved.arrays) > 2 * len(variables)


# --- which models ---

PSNR = (20.0, 19.0, 21.0)


@pytest.fixture
def log_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """log_models(what): aliases, metadata and files of each artifact of three epochs, of which the second is worse."""

    def log_models(**options: Any) -> list[tuple[list[str], dict[str, Any], set[str]]]:
        seen: list[tuple[list[str], dict[str, Any], set[str]]] = []
        monkeypatch.setattr(
            callbacks.artifacts,
            "log_artifact",
            lambda _, artifact, aliases: seen.append((aliases, artifact.metadata, set(artifact.manifest.entries))),
        )
        session = SimpleNamespace(run=SimpleNamespace(id="some", summary={}), root=tmp_path)
        (tmp_path / "config.yaml").write_text("epochs: 3\n")
        settings = FitConfig(epochs=3, checkpoint_steps=2)
        callback = callbacks.ModelArtifacts(session, tmp_path, settings, ModelLogging(**options), {"digest": "d"}, {})
        callback.set_model(model.build_aodnet())
        callback.set_params({"steps": 4})
        for epoch, psnr in enumerate(PSNR, start=1):
            checkpoint.save(tmp_path / "checkpoints", checkpoint.Checkpoint(epoch - 1, 0, [], {}))
            callback.on_epoch_begin(epoch)
            for batch in range(4):
                if batch == 1:
                    checkpoint.save(tmp_path / "checkpoints", checkpoint.Checkpoint(epoch - 1, 2, [], {}))
                callback.on_train_batch_end(batch, {})
            callback.on_epoch_end(epoch, {"val_psnr_rgb": psnr})
        checkpoint.save(tmp_path / "checkpoints", checkpoint.Checkpoint(3, 0, [], {}))
        callback.on_train_end()
        return seen

    with without_settings(tmp_path, WANDB_DATA_DIR=str(tmp_path), WANDB_CACHE_DIR=str(tmp_path)):
        yield log_models


ENDS = (["latest", "epoch_1", "best"], ["latest", "epoch_2"], ["latest", "epoch_3", "best"])


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ("best", [ENDS[0], ENDS[2]]),
        ("epoch", [*ENDS]),
        ("checkpoint", [["latest"], ENDS[0], ["latest"], ENDS[1], ["latest"], ENDS[2]]),
        ("none", []),
    ],
)
def test_models_that_are_asked_for_are_logged(
    log_models: Any, models: str, expected: list[list[str]], whole: bool
) -> None:
    logged = log_models(wandb_models=models, wandb_whole=whole)
    assert [aliases for aliases, _, _ in logged] == expected
    for aliases, facts, files in logged:
        epoch, step = facts["epoch"], facts.get("step")
        assert (f"epoch_{epoch}" in aliases) == (step is None)
        position = f"epoch-{epoch - 1:05d}-step-{2:07d}" if step else f"epoch-{epoch:05d}-step-{0:07d}"
        assert files == {"aodnet.weights.h5", "config.yaml", *([f"{position}.npz"] if whole else [])}


# --- online ---

UNBEATEN = 99.0


@dataclasses.dataclass
class Story:
    """A dataset that was published, a run on it that was interrupted, and what became of that run.

    Attributes:
        statuses: Exit status of each command.
        interrupted: The run at the server after the interruption, as a copy.
        folders: The run folder that went on online, and the copy of it that went on offline.
    """

    server: Server
    statuses: dict[str, int]
    interrupted: dict[str, Any]
    folders: tuple[Path, Path]
    root: Path


def interrupt(patch: pytest.MonkeyPatch, step: int) -> None:
    """Ctrl-C in the training's own code, at its step of this number."""
    steps = iter(range(1000))

    def stop(self: Any, batch: int, logs: Any = None) -> None:
        if next(steps) == step:
            raise KeyboardInterrupt

    patch.setattr(run_folder.RunFolder, "on_train_batch_end", stop)


def pretend_best(history: Path) -> None:
    """Gives the one epoch that is over a PSNR that no later one has."""
    (row,) = read_history(history)
    row["val_psnr_rgb"] = UNBEATEN
    history.write_text(f"{','.join(row)}\n{','.join(map(str, row.values()))}\n")


@pytest.fixture(scope="module")
def story(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    root = tmp_path_factory.mktemp("story")
    with served(root / "home") as server, pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        statuses = {"publish": hazegen_cli.main(["publish", str(data), "--project", "haze", "--name", "rooms"])}
        words = ("--wandb-pictures", 1, "--wandb-project", "haze")
        address = "wandb:tester/haze/rooms:latest"
        with pytest.MonkeyPatch.context() as inner:
            interrupt(inner, step=4)
            statuses["fit"] = fit(address, Path("runs/first"), *words, "--wandb", "online", epochs=2)
        (run,) = (run for run in server.runs.values() if run.job_type == "fit")
        interrupted = {"name": run.name, "state": run.state, "exit": run.exit_code, "rows": list(run.history)}
        shutil.copytree("runs/first", "runs/second", ignore=shutil.ignore_patterns("wandb"))
        pretend_best(Path("runs/second") / run_folder.HISTORY)
        local = Path("artifacts/tester/haze/rooms-v0")
        statuses["online"] = fit(local, Path("runs/first"), *words, "--wandb", "online", "--resume", epochs=2)
        statuses["offline"] = fit(local, Path("runs/second"), *words, "--wandb", "offline", "--resume", epochs=2)
        yield Story(server, statuses, interrupted, (root / "runs/first", root / "runs/second"), root)


def test_commands_end_as_they_should(story: Story) -> None:
    assert story.statuses == {"publish": 0, "fit": 130, "online": 0, "offline": 0}


def test_interrupted_run_has_failed(story: Story) -> None:
    assert (story.interrupted["state"], story.interrupted["exit"]) == ("failed", 1)
    assert len(story.interrupted["rows"]) == 1


def test_resumed_run_is_the_same_one(story: Story) -> None:
    (run,) = (run for run in story.server.runs.values() if run.job_type == "fit")
    assert (run.name, run.state, run.exit_code) == (story.interrupted["name"], "finished", 0)
    assert tracking.read_run(story.folders[0]) == {
        "id": run.name, "online": True, "project": "haze", "entity": ENTITY,
    }  # fmt: skip
    rows = read_history(story.folders[0] / "history.csv")
    assert [{name: row[f"epoch/{name}"] for name in rows[0]} for row in run.history] == rows
    assert [row["_step"] for row in run.history] == [0, 1]
    best = max(rows, key=lambda row: row["val_psnr_rgb"])
    assert {name: run.summary[f"best/{name}"] for name in best} == best


def test_sent_runs_leave_no_staged_files(story: Story) -> None:
    assert list(story.folders[0].glob("wandb/data-*")) == []
    assert list(story.folders[1].glob("wandb/data-*")) != []


def test_run_uses_the_published_dataset(story: Story) -> None:
    (dataset,) = (artifact for artifact in story.server.artifacts if artifact.type == "dataset")
    assert {used for run, used in story.server.uses if run == story.interrupted["name"]} == {dataset.id}
    run = story.server.runs[story.interrupted["name"]]
    assert run.config["dataset"]["artifact"] == "tester/haze/rooms:v0"


def test_sent_models_are_whole(story: Story, tmp_path: Path) -> None:
    found = [artifact for artifact in story.server.artifacts if artifact.type == "model"]
    assert {artifact.state for artifact in story.server.artifacts} == {"COMMITTED"}
    assert {artifact.collection for artifact in found} == {f"aodnet-{story.interrupted['name']}"}
    rows = read_history(story.folders[0] / "history.csv")
    assert found[0].metadata["val_psnr_rgb"] == rows[0]["val_psnr_rgb"]
    (best,) = (artifact for artifact in found if "best" in artifact.aliases)
    path = tmp_path / "best.weights.h5"
    path.write_bytes(story.server.content(best, "aodnet.weights.h5"))
    for a, b in zip(
        weights.load(path).get_weights(), weights.load(story.folders[0] / "best.weights.h5").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    assert story.server.content(best, "config.yaml") == (story.folders[0] / "config.yaml").read_bytes()


def test_model_can_be_downloaded(story: Story) -> None:
    import wandb

    api = wandb.Api()
    artifact = api.artifact(f"tester/haze/aodnet-{story.interrupted['name']}:best")
    folder = Path(artifact.download(root=str(story.root / "downloaded")))
    (ours,) = (a for a in story.server.artifacts if a.type == "model" and "best" in a.aliases)
    for name in ("aodnet.weights.h5", "config.yaml"):
        assert (folder / name).read_bytes() == story.server.content(ours, name)
    wandb.teardown()


def test_tables_arrive_with_their_reference_resolved(story: Story) -> None:
    (first,) = (artifact for artifact in story.server.artifacts if artifact.collection.startswith("validation-"))
    evaluations = [artifact for artifact in story.server.artifacts if artifact.type == "evaluation"]
    assert len(evaluations) == 2
    for artifact in evaluations:
        (reference,) = (item["ref"] for item in artifact.entries.values() if "ref" in item)
        assert reference == f"wandb-artifact://{base64.b64decode(first.id).hex()}/pairs.table.json"


def test_offline_resume_joins_the_group(story: Story) -> None:
    log = log_of(story.folders[1])
    (run,) = (r.run for r in wandb_reader.read_records(log) if r.WhichOneof("record_type") == "run")
    assert run.run_group == story.interrupted["name"]
    assert run.run_id != story.interrupted["name"]
    assert [row["epoch/epoch"] for row in wandb_reader.history(log)] == [2]
    assert tracking.read_run(story.folders[1]) == {"id": run.run_id, "online": False, "project": "haze"}


def test_best_epoch_before_an_offline_resume_stays_the_best(story: Story) -> None:
    """A new run at W&B does not know it; the run folder does."""
    log = log_of(story.folders[1])
    summary = summary_of(log)
    assert (summary["best/epoch"], summary["best/val_psnr_rgb"]) == (1.0, UNBEATEN)
    assert [aliases for aliases, _, _ in models_of(log) if "best" in aliases] == []


# --- what fails ---


def test_failing_callback_is_said_once_and_stops_nothing(
    data: Path, tmp_path: Path, wandb_enabled: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no room at https://store.example/bucket?signature=abc")

    monkeypatch.setattr(callbacks.ValidationTable, "add_model_predictions", fail)
    assert fit(data, tmp_path / "run", "--wandb", "offline", epochs=2) == 0
    said = capsys.readouterr().out
    message = "warning: W&B: ValidationTable could not log all: ValueError: no room at <address>. The training goes on."
    assert said.count(message) == 1
    assert "signature" not in said
    log = log_of(tmp_path / "run")
    assert len(wandb_reader.history(log)) == 2
    assert exit_code_of(log) == 0
    assert {artifact.type for artifact in wandb_reader.artifacts(log)} == {"pairs", "model"}
    assert (tmp_path / "run" / "best.weights.h5").is_file()


def test_run_that_cannot_be_opened_stops_nothing(
    data: Path, tmp_path: Path, wandb_enabled: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(callbacks, "sample_pairs", fail)
    assert fit(data, tmp_path / "run", "--wandb", "offline", epochs=1) == 0
    said = capsys.readouterr().out
    assert "warning: W&B: start could not log all: OSError: no space left. The training goes on." in said
    assert exit_code_of(log_of(tmp_path / "run")) == 0


def test_run_that_is_refused_has_failed(data: Path, tmp_path: Path, wandb_enabled: None) -> None:
    """K dies at once: the run ends with an error, at W&B too."""
    words = ("--learning-rate", "1e30", "--clip-norm", "1e30")
    assert fit(data, tmp_path / "run", *words, "--wandb", "offline", epochs=1) == 3
    assert exit_code_of(log_of(tmp_path / "run")) == 1


@pytest.mark.parametrize("how", ["option", "environment"])
def test_off_leaves_no_trace(
    data: Path, tmp_path: Path, wandb_enabled: None, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Neither wandb nor what imports it is loaded: here, that would be an error."""
    for name in [name for name in sys.modules if name.split(".")[0] == "wandb"] + ["wandb", "aodnet.callbacks"]:
        monkeypatch.setitem(sys.modules, name, None)
    if how == "environment":
        monkeypatch.setenv("WANDB_MODE", "disabled")
    assert fit(data, tmp_path / "run", *(("--wandb", "off") if how == "option" else ()), epochs=1) == 0
    assert not list(tmp_path.rglob("wandb*"))
