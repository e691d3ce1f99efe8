"""The shipped sweep: the real 'wandb sweep' and 'wandb agent' start runs that obey it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from aodnet_fixtures import make_dataset, smooth
from wandb_fixtures import served
from wandb_server import Server

from aodnet.config import FitConfig
from aodnet.run_folder import read_history
from hazegen import config as configs

SWEEP = configs.config_folder() / "sweep.yaml"
WANDB = (sys.executable, "-m", "wandb")


def shipped(**parameters: Any) -> dict[str, Any]:
    """The shipped sweep, with a crop that fits the small pictures, and a short run."""
    sweep = yaml.safe_load(SWEEP.read_text(encoding="utf-8"))
    sweep["parameters"] |= {"crop": {"values": [16]}, "epochs": {"value": 1}, **parameters}
    return sweep


def without_program() -> dict[str, Any]:
    sweep = shipped()
    sweep["command"][3] = sweep["command"][3].replace("exec aodnet", "exec no-such-program")
    return sweep


SWEEPS = {"sound": shipped(), "refused": shipped(**{"clip-norm": {"value": -1}}), "missing": without_program()}


@dataclass
class Swept:
    """What became of each sweep: its name at the server, and all that its agent and its one run wrote."""

    server: Server
    folder: Path
    names: dict[str, str]
    said: dict[str, str]

    def runs(self, what: str) -> list[Any]:
        return [run for run in self.server.runs.values() if run.sweep == self.names[what]]


def call(folder: Path, *command: str) -> str:
    """Runs a command in a folder, with this environment's programs first; returns all that it wrote."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command, env=environment, cwd=folder, text=True, timeout=200, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swept]:
    """All sweeps at once, for their agents mostly sleep; each in a folder with a dataset, as the sweep wants it."""
    root = tmp_path_factory.mktemp("sweeps")
    made = make_dataset(root / "made", {"train": 2, "validation": 1}, size=(24, 32), picture=smooth)

    def run(what: str) -> tuple[str, str]:
        folder = root / what
        folder.mkdir()
        (folder / "dataset").symlink_to(made)
        (folder / "sweep.yaml").write_text(yaml.safe_dump(SWEEPS[what]))
        (name,) = re.findall(r"wandb agent \S+/(\S+)", call(folder, *WANDB, "sweep", "sweep.yaml"))
        return name, call(folder, *WANDB, "agent", "--count", "1", f"tester/aodnet/{name}")

    with served(root / "home") as server, ThreadPoolExecutor() as pool:
        results = dict(zip(SWEEPS, pool.map(run, SWEEPS), strict=True))
        names, said = ({what: result[part] for what, result in results.items()} for part in (0, 1))
        yield Swept(server, root, names, said)


def test_parameters_are_options_of_fit() -> None:
    parameters = yaml.safe_load(SWEEP.read_text(encoding="utf-8"))["parameters"]
    assert parameters.keys() == {"learning-rate", "loss", "crop", "clip-norm"}
    for name, parameter in parameters.items():
        for value in parameter.get("values", [parameter.get("min"), parameter.get("max")]):
            configs.build(FitConfig, {name.replace("-", "_"): str(value)})


def test_run_obeys_the_sweep(swept: Swept) -> None:
    """The first choice of each parameter, which is what the stand-in for the server gives out."""
    (run,) = swept.runs("sound")
    folder = swept.folder / "sound" / "runs" / "sweep" / run.name
    resolved = configs.build(FitConfig, configs.read_config(folder / "config.yaml", FitConfig))
    given = (resolved.learning_rate, resolved.loss, resolved.crop, resolved.clip_norm)
    assert given == (0.0005, "l1=1, ssim=0.2", 16, 0.1)
    demo = configs.read_config(configs.find_config("demo", "training"), FitConfig)
    assert (resolved.batch, resolved.epochs) == (demo["batch"], 1)
    assert "trained 1 epoch on" in swept.said["sound"]
    assert (run.state, run.project, run.exit_code) == ("finished", "aodnet", 0)
    assert run.config["learning-rate"] == run.config["learning_rate"] == 0.0005


def test_metric_of_the_sweep_is_logged(swept: Swept) -> None:
    (run,) = swept.runs("sound")
    (row,) = read_history(swept.folder / "sound" / "runs" / "sweep" / run.name / "history.csv")
    metric = yaml.safe_load(SWEEP.read_text(encoding="utf-8"))["metric"]["name"]
    assert [logged[metric] for logged in run.history] == [row["val_psnr_rgb"]]


def test_failing_run_is_seen(swept: Swept) -> None:
    """A setting is refused: the agent shows why, and there is neither a run that looks finished nor a folder."""
    assert "error: clip_norm is out of range. Expected a number above 0, received -1.0." in swept.said["refused"]
    assert not swept.runs("refused")
    assert not (swept.folder / "refused" / "runs").exists()


def test_missing_program_is_seen(swept: Swept) -> None:
    assert re.search("no-such-program.*not found", swept.said["missing"])
    assert not swept.runs("missing")
