"""Keras callbacks that log a run to Weights & Biases; whatever fails here, the training goes on."""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import wandb
from wandb.data_types import JoinedTable
from wandb.integration.keras import WandbEvalCallback, WandbMetricsLogger

from aodnet import checkpoint, metrics, tracking, weights
from aodnet.config import FitConfig, FitPaths
from aodnet.history import HISTORY, Logs, best_of, read_history
from aodnet.pairs import Pair, sample_pairs
from aodnet.predict import Restore, restore_picture, restorer
from aodnet.recipes import resolve
from aodnet.streaming import open_stream
from aodnet.tracking import ModelLogging, TrackingOptions
from hazegen import artifacts
from hazegen import tracking as sessions
from hazegen.tracking import Choice, Say, Session


class WandbRun(keras.callbacks.Callback):
    """Opens a W&B run when the training begins and passes every event on to the callbacks that log it.

    These count epochs from 1, as history.csv does.

    What fails in one of them is said once and the training goes on: history.csv, checkpoints and weights
    do not hang on W&B.
    """

    def __init__(
        self, paths: FitPaths, config: FitConfig, options: TrackingOptions, what: ModelLogging, choice: Choice, say: Say
    ) -> None:
        super().__init__()
        self.paths, self.config, self.options, self.what, self.choice, self.say = (
            paths, config, options, what, choice, say,
        )  # fmt: skip
        self.session: Session | None = None
        self.inner: list[keras.callbacks.Callback] = []
        self.failed: set[str] = set()
        self.sources: list[str] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._guard("start", self._open)
        self._pass_on("on_train_begin", logs)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._pass_on("on_epoch_begin", epoch + 1, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._pass_on("on_train_batch_end", batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._pass_on("on_epoch_end", epoch + 1, logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._pass_on("on_train_end", logs)

    def close(self, exit_code: int) -> None:
        """Ends the W&B run, whichever way the training ended."""
        if self.session is not None:
            self._guard("lineage", self._use_sources)  # once more, where the server was away at the start
            sessions.close_session(self.session, exit_code, self.say)
            self.session = None

    def _open(self) -> None:
        recipe, fields = resolve(self.config.recipe)
        config = dataclasses.asdict(self.config) | {
            "recipe": recipe,
            "recipes": fields,
            "dataset": tracking.facts_of(self.paths.data),
            "code": tracking.code_facts(),
        }
        before = tracking.read_run(self.paths.out)
        facts = self.options.facts("fit", self.paths.out.resolve().name, config, before)
        if before and self.choice.mode == "online" and before["online"]:
            facts |= {"id": before["id"], "resume": "allow"}
        elif before:
            facts["group"] = facts["group"] or before["id"]  # a run that was kept cannot be continued, but joined
        self.session = session = sessions.open_session(self.paths.out, self.choice, self.say, **facts)
        if session is None:
            return
        where = session.run.url if session.online else sessions.shown(session.folder)
        self.say(f"W&B {'online' if session.online else 'offline'} ({self.choice.reason}): {where}")
        tracking.write_run(self.paths.out, session)
        pairs = self._pictures()
        best = _best_before(self.paths.out)
        self.inner = [
            Summary(session.run, best),
            WandbMetricsLogger(log_freq="epoch"),
            *([ValidationTable(session, pairs, config["dataset"]["digest"])] if pairs else []),
            ModelArtifacts(session, self.paths.out, self.config, self.what, config["dataset"], best),
        ]
        for callback in self.inner:
            callback.set_model(self.model)
            callback.set_params(self.params)
        self.sources = tracking.artifacts_of(config["dataset"])
        if self.sources and not session.online:
            self.say(f"W&B: offline, so that {self.sources[0]} is in the run's config but not in its lineage.")
        self._guard("lineage", self._use_sources)

    def _pictures(self) -> list[Pair]:
        """The validation pictures of the tables, from each dataset as many."""
        folders, count = self.paths.data, self.what.wandb_pictures
        shares = [len(range(place, count, len(folders))) for place in range(len(folders))]
        return [
            pair
            for folder, share in zip(folders, shares, strict=True)
            if share
            for pair in sample_pairs(folder, "validation", share, open_stream(folder, self.paths))
        ]

    def _use_sources(self) -> None:
        """Records that the run uses the datasets' artifacts, where the server can be asked; each once."""
        while self.session is not None and self.session.online and self.sources:
            self.session.run.use_artifact(self.sources[0])
            self.sources.pop(0)

    def _pass_on(self, event: str, *arguments: Any) -> None:
        for callback in self.inner:
            self._guard(type(callback).__name__, lambda c=callback: getattr(c, event)(*arguments))  # type: ignore[misc]

    def _guard(self, what: str, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:  # logging alone has failed, whatever it was
            if what not in self.failed:
                why = sessions.describe(error).rstrip(".")
                self.say(f"warning: W&B: {what} could not log all: {why}. The training goes on.")
            self.failed.add(what)


class Summary(keras.callbacks.Callback):
    """Keeps the best epoch's metrics in the run's summary, as best/NAME."""

    def __init__(self, run: Any, best: Logs) -> None:
        super().__init__()
        self.run = run
        self.best = float("-inf")
        if best:
            self._keep(best)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        assert logs is not None
        if logs["val_psnr_rgb"] > self.best:
            self._keep({"epoch": epoch, **logs})

    def _keep(self, row: Logs) -> None:
        self.best = row["val_psnr_rgb"]
        self.run.summary.update({f"best/{name}": value for name, value in row.items()})


class ValidationTable(WandbEvalCallback):
    """A fixed set of validation pictures as a table, and each epoch's restored ones as a table joined with it.

    The stock class can do so online alone: it asks the server for the first table. PSNR and SSIM of each
    row are in float64 on 8 bits, the protocol of `aodnet evaluate`; the pictures are shown as JPEG.
    """

    def __init__(self, session: Session, pairs: list[Pair], dataset: str) -> None:
        super().__init__(
            data_table_columns=["key", "scene", "hazy", "clean", "psnr_hazy", "ssim_hazy"],
            pred_table_columns=["key", "epoch", "restored", "psnr_rgb", "ssim_rgb"],
        )
        self.session, self.pairs, self.dataset = session, pairs, dataset
        self.restore: Restore | None = None

    def add_ground_truth(self, logs: Logs | None = None) -> None:  # noqa: ARG002
        for pair in self.pairs:
            scores = _scores(pair.hazy, pair.clean)
            self.data_table.add_data(pair.name, pair.scene, _picture(pair.hazy), _picture(pair.clean), *scores)

    def add_model_predictions(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        self.restore = self.restore or restorer(self.model)
        for pair in self.pairs:
            restored = restore_picture(self.restore, pair.hazy, pair.name).astype(np.uint8)
            self.pred_table.add_data(pair.name, epoch, _picture(restored), *_scores(restored, pair.clean))

    def log_data_table(self, name: str = "validation", type: str = "pairs", table_name: str = "pairs") -> None:
        """Logs the pictures. The same dataset and pictures give the same artifact, whatever the run."""
        artifact = wandb.Artifact(f"{name}-{self.dataset[:8]}", type=type)
        artifact.add(self.data_table, table_name)
        artifacts.log_artifact(self.session, artifact, ["latest"])
        self.data_table_ref = self.data_table

    def log_pred_table(
        self, type: str = "evaluation", table_name: str = "restored", aliases: list[str] | None = None
    ) -> None:
        """Logs one epoch's restored pictures, and their join with the first table, which is referred to."""
        artifact = wandb.Artifact(f"run-{self.session.run.id}-restored", type=type)
        artifact.add(self.pred_table, table_name)
        artifact.add(JoinedTable(self.data_table_ref, self.pred_table, "key"), "pairs")
        artifacts.log_artifact(self.session, artifact, aliases or ["latest"])


class ModelArtifacts(keras.callbacks.Callback):
    """Logs models as artifacts of one name, aliases 'latest', 'best' and 'epoch_N', from the run's own files.

    An epoch's checkpoint is written after the callbacks of its end, so with `wandb_whole` it is logged when
    the next epoch begins or the training ends.
    """

    def __init__(
        self, session: Session, folder: Path, config: FitConfig, what: ModelLogging, dataset: dict[str, Any], best: Logs
    ) -> None:
        super().__init__()
        self.session, self.folder, self.config, self.what, self.dataset = session, folder, config, what, dataset
        self.best = best.get("val_psnr_rgb", float("-inf"))
        self.due: tuple[list[str], dict[str, Any]] | None = None
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        self.epoch = epoch
        self._log_due()

    def on_train_end(self, logs: Logs | None = None) -> None:  # noqa: ARG002
        self._log_due()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        assert logs is not None
        is_best = logs["val_psnr_rgb"] > self.best
        self.best = max(self.best, logs["val_psnr_rgb"])
        wanted = self.what.wandb_models
        if wanted in ("epoch", "checkpoint") or (wanted == "best" and is_best):
            self.due = ([f"epoch_{epoch}", *(["best"] if is_best else [])], {"epoch": epoch, **logs})
            if not self.what.wandb_whole:
                self._log_due()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        steps = batch + 1
        is_saved = steps % self.config.checkpoint_steps == 0 and steps < self.params["steps"]  # the last is the epoch's
        if is_saved and self.what.wandb_models == "checkpoint":
            self._log([], {"epoch": self.epoch, "step": steps})

    def _log_due(self) -> None:
        if self.due is not None:
            aliases, facts = self.due
            self.due = None
            self._log(aliases, facts)

    def _log(self, aliases: list[str], facts: dict[str, Any]) -> None:
        run = self.session.run
        artifact = wandb.Artifact(f"aodnet-{run.id}", type="model", metadata={**facts, "dataset": self.dataset})
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, "aodnet.weights.h5")
            weights.save(self.model, path)
            artifact.add_file(str(path), skip_cache=True)
        artifact.add_file(str(self.folder / "config.yaml"), skip_cache=True)
        if self.what.wandb_whole:
            newest = checkpoint.newest_path(self.folder / checkpoint.FOLDER)
            artifact.add_file(str(newest), name=newest.name, skip_cache=True)
        artifacts.log_artifact(self.session, artifact, ["latest", *aliases])


def _best_before(folder: Path) -> Logs:
    """The best row of history.csv before the checkpoint that the run goes on from; empty for a new run."""
    done = checkpoint.load_newest(folder / checkpoint.FOLDER)[0].epoch
    return best_of(row for row in read_history(folder / HISTORY) if row["epoch"] <= done)


def _picture(pixels: Any) -> Any:
    return wandb.Image(pixels, file_type="jpg")


def _scores(image: Any, reference: Any) -> tuple[float, float]:
    psnr = metrics.psnr(image, reference, data_range=255.0)
    return psnr, metrics.ssim(image, reference, data_range=255.0)
