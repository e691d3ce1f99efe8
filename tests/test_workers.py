"""Several processes that train one model: who they are, and that what they come to is what one comes to."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from aodnet_fixtures import make_dataset, smooth

from aodnet import checkpoint, cli_fit, faults, fit, run_folder, workers
from aodnet import run as runs
from aodnet.config import FitConfig, FitPaths
from aodnet.workers import Cluster, WorkerOptions, expand_nodes, join_cluster, read_cluster
from hazegen import config
from hazegen.errors import RefusedError, UsageError


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    """Whatever is written to TF_CONFIG is gone afterwards."""
    monkeypatch.setenv("TF_CONFIG", "")
    monkeypatch.delenv("TF_CONFIG")


# --- who there is ---


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("gpu1", ["gpu1"]),
        ("gpu[01-03,7],login", ["gpu01", "gpu02", "gpu03", "gpu7", "login"]),
        ("a[9-11]", ["a9", "a10", "a11"]),
        ("a[009-011]", ["a009", "a010", "a011"]),
        ("rack[1-2]n[1,3]", ["rack1n1", "rack1n3", "rack2n1", "rack2n3"]),
        ("n[1-2]-ib.cluster", ["n1-ib.cluster", "n2-ib.cluster"]),
        ("[1-2]", ["1", "2"]),
    ],
)
def test_list_of_nodes_is_expanded(text, nodes):
    assert expand_nodes(text) == nodes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a[1-",
        "a]1[",
        "a[3-1]",
        "a[x]",
        "a[]",
        "a[1-99999999999]",
        "a[1-80]b[1-80]",
        "a b",
        "a[1-2,]",
        "a,,b",
        "a[[1]]",
    ],
)
def test_list_of_nodes_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match=r"list of nodes cannot be read. Expected one like .*Pass --worker-hosts"):
        expand_nodes(text)


def test_hosts_and_index_make_tf_config():
    found = join_cluster(WorkerOptions("a:1,b.c:2, 10.0.0.1:3,[::1]:4", 2))
    assert found == Cluster(("a:1", "b.c:2", "10.0.0.1:3", "[::1]:4"), 2)
    assert json.loads(os.environ["TF_CONFIG"]) == {
        "cluster": {"worker": list(found.hosts)},
        "task": {"type": "worker", "index": 2},
    }
    assert read_cluster() == found


SLURM = {
    "SLURM_STEP_NODELIST": "gpu[01-02]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_PROCID": "2",
    "SLURMD_NODENAME": "gpu02",
}


def test_slurm_makes_tf_config():
    found = join_cluster(WorkerOptions("slurm"), SLURM)
    assert found == Cluster(("gpu01:29400", "gpu01:29401", "gpu02:29400", "gpu02:29401"), 2)
    uneven = SLURM | {"SLURM_STEP_TASKS_PER_NODE": "1,3"}
    assert join_cluster(WorkerOptions("slurm", worker_port=5000), uneven) == Cluster(
        ("gpu01:5000", "gpu02:5000", "gpu02:5001", "gpu02:5002"), 2
    )


def test_empty_variable_is_taken_away(monkeypatch):
    """TensorFlow's own reader fails on it."""
    monkeypatch.setenv("TF_CONFIG", " ")
    assert join_cluster(WorkerOptions()) is None
    assert "TF_CONFIG" not in os.environ


def test_environment_is_taken_as_it_is():
    said = {"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]}, "task": {"type": "worker", "index": 1}}
    assert join_cluster(WorkerOptions(), {"TF_CONFIG": json.dumps(said)}) == Cluster(("a:1", "b:1", "c:1"), 2)
    said["task"] = {"type": "chief", "index": 0}
    assert read_cluster({"TF_CONFIG": json.dumps(said)}) == Cluster(("a:1", "b:1", "c:1"), 0)


@pytest.mark.parametrize("text", ["", " ", "{}", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker"}}'])
def test_process_that_is_alone_has_no_cluster(text):
    assert read_cluster({"TF_CONFIG": text}) is None


@pytest.mark.parametrize(
    ("options", "variables", "message"),
    [
        (WorkerOptions(worker_index=1), {}, "--worker-index and --worker-port belong to --worker-hosts"),
        (WorkerOptions("a:1,b:1"), {}, "needs --worker-index alone beside it. Expected 0 to 1, received None"),
        (WorkerOptions("a:1,b:1", 0, 5), {}, "needs --worker-index alone"),
        (WorkerOptions("a:1,b:1", 2), {}, "index of 0 to 1, received a:1, b:1 and index 2"),
        (WorkerOptions("a:1,a:1", 0), {}, "cannot be told apart"),
        (WorkerOptions("a,b:1", 0), {}, "Expected host:port .*received 'a'"),
        (WorkerOptions("a:1,b:70000", 0), {}, "port of 1 to 65535, received 'b:70000'"),
        (WorkerOptions("a:1,$(x):2", 0), {}, "no address"),
        (WorkerOptions("slurm"), {}, "not started by srun.*SLURM_STEP_NODELIST.*srun aodnet fit"),
        (WorkerOptions("slurm", 0), SLURM, "--worker-index says what SLURM says already"),
        (WorkerOptions("slurm"), SLURM | {"SLURMD_NODENAME": "gpu01"}, "task 2 on gpu02, received it on gpu01"),
        (WorkerOptions("slurm"), SLURM | {"SLURM_PROCID": "x"}, "index -1"),
        (WorkerOptions("slurm"), SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2"}, "numbers of tasks of 2 nodes"),
        (WorkerOptions("slurm"), SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2,x"}, "received '2,x'"),
        (WorkerOptions(), {"TF_CONFIG": "{"}, "TF_CONFIG names no cluster"),
        (WorkerOptions(), {"TF_CONFIG": "[1]"}, "TF_CONFIG names no cluster"),
        (WorkerOptions(), {"TF_CONFIG": '{"cluster": {"ps": ["a:1"], "worker": ["b:1"]}}'}, "jobs ps, worker"),
        (WorkerOptions(), {"TF_CONFIG": '{"cluster": {"worker": [1, 2]}}'}, "no address"),
    ],
)  # fmt: skip
def test_what_names_no_cluster_is_refused(options, variables, message):
    with pytest.raises(UsageError, match=message):
        join_cluster(options, variables)


@pytest.mark.parametrize(
    ("error", "status"), [(OSError(28, "No space left on device"), 4), (RefusedError("no data"), 3)], ids=str
)
def test_worker_ends_at_once_whatever_it_ends_with(monkeypatch, capsys, tmp_path, error, status):
    """What it has printed is not lost by that."""
    flushed: list[int] = []

    def failing(*_, **__):
        raise error

    def leave(code):
        assert flushed
        raise SystemExit(code)

    monkeypatch.setattr(workers, "join_cluster", lambda _: Cluster(("a:1", "b:1"), 1))
    monkeypatch.setattr(fit, "fit", failing)
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(sys.stdout, "flush", lambda: flushed.append(1))
    with pytest.raises(SystemExit, match=str(status)):
        cli_fit.run_fit(["--data", str(tmp_path), "--out", str(tmp_path / "run"), "--wandb", "off"])
    assert f"error: worker 1: {error}" in capsys.readouterr().err


def test_workers_that_differ_are_refused_by_the_options_name(tmp_path, monkeypatch):
    """Each tells the others digests of what it begins with."""
    folder = make_dataset(tmp_path / "pairs", {"train": 2, "validation": 1}, size=(24, 32), variants=1)
    told: list[list[float]] = []

    def gather(_, values, *__):
        told.append(list(values))
        return told

    monkeypatch.setattr(faults.devices, "gather", gather)
    paths, settings = FitPaths((folder,), tmp_path / "run"), FitConfig(batch=2, crop=16)
    trainer = SimpleNamespace(strategy=None)
    differing = (
        (paths, settings, 0, "none"),
        (dataclasses.replace(paths, out=tmp_path / "other"), settings, 0, "received another --out from worker 1 than"),
        (
            paths,
            dataclasses.replace(settings, checkpoint_steps=9, seed=1),
            0,
            "another --seed, --checkpoint-steps from",
        ),
        (dataclasses.replace(paths, on_damage="skip"), settings, 3, "another --on-damage, checkpoint from worker 1"),
    )
    for paths_here, settings_here, step, message in differing:
        del told[1:]
        run = runs.prepare(paths_here, settings_here, (len(told), 2), print)
        saved = checkpoint.Checkpoint(0, step, [], {})
        if message == "none":
            faults.check_together(trainer, run, saved)
            continue
        with pytest.raises(RefusedError, match="The workers do not begin alike") as caught:
            faults.check_together(trainer, run, saved)
        assert message in str(caught.value)


def test_batch_that_cannot_be_dealt_is_refused_before_the_training(tmp_path):
    folder = make_dataset(tmp_path / "pairs", {"train": 2, "validation": 1}, size=(24, 32), variants=1)
    with pytest.raises(UsageError, match="The batch is too small to be dealt out"):
        runs.prepare(FitPaths((folder,), tmp_path / "run"), FitConfig(batch=1, crop=16), (0, 2), print)


# --- several devices of this process ---

DEVICES = """
import dataclasses, json, sys
import numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 3
)
from aodnet.config import FitConfig
from aodnet.trainer import Trainer

rng = np.random.default_rng(0)
clean = rng.random((10, 16, 16, 3)).astype(np.float32)
batches = tf.data.Dataset.from_tensor_slices({"hazy": clean * 0.5 + 0.4, "clean": clean}).batch(4)
config = FitConfig(batch=4, learning_rate=5e-3, warmup=0.0)
told = {}
for count in (0, 3):
    devices = [f"/cpu:{number}" for number in range(count)]
    strategy = tf.distribute.MirroredStrategy(devices) if count else tf.distribute.get_strategy()
    trainer = Trainer(config, 6, strategy, jit=False)
    before = [variable.numpy() for variable in trainer.model.variables]
    for _ in range(2):
        taken = iter(trainer.distribute(batches))
        losses = [float(trainer.step(next(taken))["loss"]) for _ in range(3)]
        empty = next(taken) if count else None  # what comes after the last batch
        del taken
    look = trainer.look()
    state = np.concatenate([np.ravel(v.numpy()) for v in [*trainer.model.variables, *trainer.optimizer.variables]])
    told[count] = {"state": state.tolist(), "losses": losses, "look": dataclasses.asdict(look)}
    if count:
        trainer.step(empty)
        after = np.concatenate([np.ravel(v.numpy()) for v in [*trainer.model.variables, *trainer.optimizer.variables]])
        told[count]["unmoved"] = bool((after == state).all()) and trainer.look().bad == -1
print(json.dumps(told))
"""


def test_several_devices_train_as_one_does():
    """Batches of 4, 4 and 2 on 3 devices: shares of several sizes, and none."""
    argv = [sys.executable, "-c", DEVICES]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    one, three = (json.loads(done.stdout)[count] for count in ("0", "3"))
    np.testing.assert_allclose(three["state"], one["state"], atol=1e-5)
    np.testing.assert_allclose(three["losses"], one["losses"], rtol=1e-5)
    assert three["look"]["examples"] == one["look"]["examples"] == 20
    assert three["look"]["bad"] == -1
    assert three["unmoved"]
    assert np.ptp(one["losses"]) > 0.0


# --- two processes on this machine ---

# Each job is (words of `aodnet fit`, step at which the second worker is killed; 0: it is not).
PROCESS = """
import json, os, signal, sys
(words, kill_at), index, hosts = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
from aodnet import cli, fit, run_folder, trainer

run_folder.plot_curves = lambda *_: None  # seconds, and not in question here
run_folder.tensorboard = lambda _: []
step = trainer.Trainer.step
left = [kill_at]

def counted(self, batch):
    left[0] -= 1
    if left[0] == 0 and index == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch)

trainer.Trainer.step = counted
sys.exit(cli.main(["fit", *words, "--worker-hosts", hosts, "--worker-index", str(index)]))
"""
# 9 training records in 3 steps of 4, the last of them of one: the second worker's share of it is empty.
SETTINGS = ("--epochs", "1", "--batch", "4", "--crop", "16", "--learning-rate", "0.002", "--warmup", "0",
            "--checkpoint-steps", "2", "--loss", "l1", "--deterministic", "--wandb", "off")  # fmt: skip


def free_ports() -> str:
    """Two addresses of this machine that nobody listens at."""
    with socket.socket() as one, socket.socket() as other:
        for listener in (one, other):
            listener.bind(("127.0.0.1", 0))
        return ",".join(f"127.0.0.1:{listener.getsockname()[1]}" for listener in (one, other))


def run_pair(words: list[str], kill_at: int) -> tuple[list[int], list[tuple[str, str]]]:
    """Exit statuses, output and messages of two processes that train, the second killed before step `kill_at`."""
    hosts = free_ports()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, json.dumps((words, kill_at)), str(index), hosts],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        for index in (0, 1)
    ]  # fmt: skip
    try:
        told = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
    return [process.returncode for process in started], told


def test_two_processes_come_to_what_one_does_also_when_one_is_killed(tmp_path, monkeypatch):
    """The unbroken run and the one that was killed and resumed: to the bit; one process: to 1e-5."""
    folder = make_dataset(
        tmp_path / "pairs", {"train": 9, "validation": 1}, size=(24, 32), picture=smooth, variants=1, shard_mb=0.01
    )
    whole, broken = (["--data", str(folder), *SETTINGS, "--out", str(tmp_path / name)] for name in ("whole", "broken"))
    statuses, told = run_pair(whole, 0)
    assert statuses == [0, 0], told
    first, second = (out.splitlines() for out, _ in told)
    assert second[0] == f"worker 1 of 2: the chief, worker 0, writes '{tmp_path / 'whole'}' and tells of it."
    assert second[1].startswith("worker 1 of 2: ended after 1 epoch, ")
    assert len(second) == 2
    assert any(line.startswith("trained 1 epoch on 2 devices of 2 workers") for line in first)
    statuses, told = run_pair(broken, 3)  # in the last step, after a checkpoint
    assert statuses == [4, -9], told
    assert "Another process of the run has ended" in told[0][1]
    assert "Start all of them again with --resume" in told[0][1]
    statuses, told = run_pair([*broken, "--resume"], 0)
    assert statuses == [0, 0], told

    monkeypatch.setattr(run_folder, "plot_curves", lambda *_: None)
    settings = config.build(FitConfig, config.read_config(tmp_path / "whole" / "config.yaml", FitConfig))
    # Operations cannot be made to repeat to the bit in this process alone: the next tests have it too.
    fit.fit(FitPaths((folder,), tmp_path / "alone"), dataclasses.replace(settings, deterministic=False))
    one, two, alone = (
        checkpoint.load_newest(tmp_path / name / "checkpoints")[0] for name in ("whole", "broken", "alone")
    )
    assert (one.epoch, one.step) == (two.epoch, two.step) == (alone.epoch, alone.step) == (1, 0)
    for a, b in zip(one.arrays, two.arrays, strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.names[-1] == alone.names[-1] == "best.weights.h5"  # a file: its bytes have no tolerance
    for name, a, b in zip(one.names[:-1], one.arrays[:-1], alone.arrays[:-1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=name)
    assert {path.name for path in tmp_path.iterdir()} == {"alone", "broken", "pairs", "whole"}
