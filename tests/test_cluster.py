"""One dataset by a pool, by a real dask cluster that loses a node, and by tasks; the commands of docs/cluster.md."""

import importlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import write_photos

from hazegen import cli, pool

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
benchmark = importlib.import_module("cluster")

pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")


# --- datasets ---


@pytest.fixture
def runs(make_photos, tmp_path):
    """Commands that make one dataset of a dozen shards and more, one of whose photos is damaged."""
    photos = make_photos(scenes=20, height=240, width=320)
    damaged = photos.images / f"{photos.keys[3]}.png"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    sources = ["--images", photos.images, "--depth", photos.depth, "--camera", photos.camera]
    options = ["--recipe", "aod-released", "--variants", 8, "--shard-mb", 0.5, "--max-rejected", 0.1]
    return benchmark.Runs(tmp_path, [*sources, *options, "--progress", "json"])


class InThisProcess(benchmark.Runs):
    """Commands that need no process of their own: those of docs/cluster.md, which have one each, are run below."""

    def run(self, out: Path, *more: object) -> str:
        assert cli.main(self.command(out, *more)[1:]) == 0
        return ""


def test_dataset_is_the_same_by_a_pool_by_a_cluster_that_loses_a_node_and_by_tasks_in_any_order(runs):
    local, dask = benchmark.locally(runs, 2), benchmark.on_a_cluster(runs)
    tasks = benchmark.by_tasks(InThisProcess(runs.folder, runs.options))
    assert sum(name.endswith(".tfrecord") for name in local.files) >= 12
    assert dask.files == local.files
    assert tasks.files == local.files
    lines = [json.loads(line) for line in dask.said.splitlines() if line.startswith("{")]
    progress = [line for line in lines if line["event"] == "progress"]
    assert len({line["pairs"] for line in progress}) > 1
    assert (progress[-1]["pairs"], progress[-1]["rejected"]) == (152, 1)
    assert [(line["used"], line["rejected"]) for line in lines if line["event"] == "done"] == [(19, 1)]


# --- docs/cluster.md ---

PAGE = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w.-]+)`:\n\n```\w+\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
COMMANDS = [
    block for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE) if block not in FILES.values()
]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The folder of the photos that the page's commands are run on."""
    return write_photos(tmp_path_factory.mktemp("page"), scenes=9).images.parent


def run_commands(commands: str, folder: Path, **variables: str) -> None:
    """Runs commands of the page in a folder with its scripts."""
    for name, content in FILES.items():
        (folder / name).write_text(content)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OUT": str(folder / "out"), **variables}
    done = subprocess.run(
        ["sh", "-eu", "-c", commands], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def expected(source, tmp_path_factory):
    """The files of the dataset by one local run."""
    folder = tmp_path_factory.mktemp("local")
    run_commands("sh haze.sh --workers 1", folder, DATA=str(source))
    return benchmark.digests(folder / "out")


@pytest.fixture
def shell(source, tmp_path):
    """Runs commands of the page; returns the files of the dataset as they are then."""

    def run(commands: str, **variables: str) -> dict[str, str]:
        run_commands(commands, tmp_path, DATA=str(source), **variables)
        return benchmark.digests(tmp_path / "out")

    return run


def test_page_has_the_environment_of_our_own_processes():
    told = dict(re.findall(r"([A-Z_]+)=(\d+)", "".join(re.findall(r"^\$ export [^\n]*_=?.*$", PAGE, re.MULTILINE))))
    assert told == pool.ONE_THREAD | pool.KEPT_MEMORY


def test_page_has_all_its_parts():
    assert len(COMMANDS) == 3
    assert set(FILES) == {"haze.sh", "plan.sbatch", "array.sbatch", "finish.sbatch", "array.yaml", "batch.json"}


def test_commands_of_task_indices_work_as_printed(shell, expected):
    assert shell(COMMANDS[0]) == expected


def test_scripts_for_slurm_kubernetes_and_clouds_work_with_their_variables(shell, expected):
    """One dataset, of which each of them builds a part; where two have one index, the second finds it done."""
    pod = yaml.safe_load(FILES["array.yaml"])["spec"]["template"]["spec"]["containers"][0]
    task = json.loads(FILES["batch.json"])["taskGroups"][0]["taskSpec"]["runnables"][0]["container"]
    (aws,) = re.findall(r"'(exec sh haze.sh --task-index [^']*)'", PAGE)
    assert pod["command"][:2] == [task["entrypoint"], task["commands"][0]] == ["sh", "-c"]
    shell("sh plan.sbatch")
    shell("sh array.sbatch", SLURM_ARRAY_TASK_ID="2", SLURM_CPUS_PER_TASK="1", SLURM_ARRAY_TASK_COUNT="1")
    shell(pod["command"][2], JOB_COMPLETION_INDEX="0")
    shell(task["commands"][1], BATCH_TASK_INDEX="1")
    shell(aws, AWS_BATCH_JOB_ARRAY_INDEX="2")
    assert "sh haze.sh --finish --num-tasks 100" in FILES["finish.sbatch"]
    assert shell("sh finish.sbatch") == expected


def test_commands_of_dask_work_as_printed(shell, expected):
    assert shell(COMMANDS[1].replace("8786", free_port())) == expected


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_commands_of_dask_with_certificates_work_as_printed(shell, expected, tmp_path):
    shell(COMMANDS[2].replace("8787", free_port()))
    assert benchmark.digests(tmp_path / "out-tls") == expected


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])
