"""What the tests of W&B share: an environment without a trace of the user's, a server in it, and readers."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import wandb_reader
from wandb_server import Fault, Server

# Where wandb would keep its files; unset, so that the code under test decides, as it does for a user.
PLACES = ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR")


@contextmanager
def without_settings(folder: Path, **variables: str) -> Iterator[None]:
    """An environment with no variable, key or settings file of W&B's but those that are given."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        patch.setenv("NETRC", str(folder / "netrc"))
        patch.setenv("WANDB_CONFIG_DIR", str(folder / "settings"))
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@contextmanager
def served(folder: Path, fault: Fault | None = None, **variables: str) -> Iterator[Server]:
    """A server that answers to this process, which has its key; held to have been asked only what it serves."""
    with Server(folder, fault) as server:
        there = {name: value for name, value in server.environment().items() if name not in (*PLACES, "WANDB_MODE")}
        with without_settings(folder, **{**there, **variables}):
            yield server
    assert not server.errors
    assert not server.unknown


def log_of(folder: Path) -> Path:
    """The transaction file of the one W&B run that was kept in a run folder."""
    (path,) = folder.glob("wandb/*run-*/run-*.wandb")
    return path


def summary_of(log: Path) -> dict[str, Any]:
    """The last value of each entry of a run's summary; nested keys joined by dots."""
    found: dict[str, Any] = {}
    for record in wandb_reader.read_records(log):
        for item in record.summary.update:
            found[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
    return found


def exit_code_of(log: Path) -> int:
    """What a run ended with."""
    (code,) = (r.exit.exit_code for r in wandb_reader.read_records(log) if r.WhichOneof("record_type") == "exit")
    return code


def entry(folder: Path, artifact: Any, name: str) -> Path:
    """The staged file of an artifact that was logged offline in `folder`."""
    (path,) = (item.local_path for item in artifact.manifest.contents if item.path == name)
    return folder / path
