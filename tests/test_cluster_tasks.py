"""Tasks on a real dask cluster of several processes on the loopback interface, some of which die."""

import importlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pool_tasks
import pytest

from hazegen import cluster, errors
from hazegen.errors import RefusedError, StoreError, UsageError

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
benchmark = importlib.import_module("cluster")

pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")


def nothing(number: int) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="module", autouse=True)
def tests_can_be_imported():
    """The workers find the tasks of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        yield


@pytest.fixture(scope="module")
def address(tmp_path_factory, tests_can_be_imported):
    """Of a scheduler with two workers."""
    with benchmark.loopback(tmp_path_factory.mktemp("dask")) as started:
        yield started.address


@pytest.fixture
def own(tmp_path, tests_can_be_imported):
    """A cluster that a test may damage."""
    with benchmark.loopback(tmp_path / "dask") as started:
        yield started


def test_every_task_is_done_once_and_its_progress_counted(address):
    reported = []
    results = list(cluster.run(pool_tasks.square, range(40), address, reported.append))
    assert sorted(results) == [task * task for task in range(40)]
    assert sum(reported) == sum(task % 3 for task in range(40))


def test_address_may_lack_its_scheme(address):
    assert list(cluster.run(pool_tasks.square, [3], address.removeprefix("tcp://"), nothing)) == [9]


def test_no_tasks_are_done_at_once(address):
    assert list(cluster.run(pool_tasks.square, [], address, nothing)) == []


def test_tasks_are_taken_as_they_are_needed_and_both_workers_work(address):
    taken = []
    results = cluster.run(pool_tasks.who, (taken.append(task) or task for task in range(1000)), address, nothing)
    assert len(set(itertools.islice(results, 30))) == 2
    assert len(taken) < 100
    results.close()


@pytest.mark.parametrize("name", ["UsageError", "RefusedError", "VerifyError"])
def test_errors_of_hazegen_stay_what_they_are_and_are_not_tried_again(address, name):
    with pytest.raises(errors.HazegenError, match=f"^text of {name}$") as caught:
        list(cluster.run(pool_tasks.fail, [name], address, nothing))
    assert type(caught.value) is getattr(errors, name)


def test_rejection_of_a_scene_keeps_its_message_and_exit_code(address):
    with pytest.raises(RefusedError, match=r"^the depth map is empty$"):
        list(cluster.run(pool_tasks.fail, ["SceneRejected"], address, nothing))


def test_error_of_a_worker_s_disk_is_passed_on(address):
    with pytest.raises(OSError, match="No space left on device") as caught:
        list(cluster.run(pool_tasks.fail, ["disk"], address, nothing))
    assert caught.value.errno == 28


@pytest.mark.parametrize("times", [1, 3])
def test_store_that_fails_is_tried_again(address, tmp_path, times):
    task = pool_tasks.Mortal(tmp_path, "shard-0", times)
    assert list(cluster.run(pool_tasks.fail_to_store, [task], address, nothing)) == ["shard-0"]


def test_store_that_fails_four_times_ends_the_run(address, tmp_path):
    task = pool_tasks.Mortal(tmp_path, "shard-0", 99)
    with pytest.raises(StoreError, match="the store does not answer"):
        list(cluster.run(pool_tasks.fail_to_store, [task], address, nothing))
    assert len(list(tmp_path.iterdir())) == 4


def test_task_of_a_dead_worker_goes_to_another_one(address, tmp_path):
    reported = []
    tasks = [pool_tasks.Mortal(tmp_path, f"shard-{number}", 1 if number == 1 else 0) for number in range(6)]
    results = sorted(cluster.run(pool_tasks.die, tasks, address, reported.append))
    assert results == [f"shard-{number}" for number in range(6)]
    assert sum(reported) == 6 * 7


def test_task_that_kills_every_worker_is_given_up(own, tmp_path):
    task = pool_tasks.Mortal(tmp_path, "train-00001-of-00004.tfrecord", 99)
    expected = (
        r"4 workers died at work on 'train-00001-of-00004.tfrecord', the last one at 'tcp://127.0.0.1:\d+'. Expected a "
        "result, received none. If memory ran out, start workers with fewer threads"
    )
    with pytest.raises(RefusedError, match=expected):
        list(cluster.run(pool_tasks.die, [task], own.address, nothing))


def test_scheduler_that_is_lost_ends_the_run(own):
    results = cluster.run(pool_tasks.who, itertools.count(), own.address, nothing)
    next(results)
    benchmark.kill(own.scheduler)
    with pytest.raises(StoreError, match=f"The scheduler at '{own.address}' was lost. .* the same command goes on"):
        list(results)


def test_interrupt_ends_the_run_within_two_seconds(address, tmp_path):
    tasks = [pool_tasks.Mortal(tmp_path, f"shard-{number}", 0) for number in range(100)]

    def interrupt(number: int) -> None:
        raise KeyboardInterrupt

    results = cluster.run(pool_tasks.who, range(1000), address, interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(results)
    began = time.monotonic()
    results = cluster.run(pool_tasks.die, tasks, address, nothing)
    next(results)
    results.close()
    assert time.monotonic() - began < 4.0  # of which the first result took about one
    time.sleep(1.0)
    assert len(list(tmp_path.iterdir())) < 10  # what was not begun is taken back


def test_interrupt_while_a_long_task_runs(address, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import pool_tasks\nfrom hazegen import cluster\n"
        f"for _ in cluster.run(pool_tasks.sleep, [30], {address!r}, lambda number: None): pass\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE) as process:
        time.sleep(4.0)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
    assert time.monotonic() - began < 3.0
    assert b"KeyboardInterrupt" in error


def test_worker_of_other_versions_is_refused(address, monkeypatch):
    ours = {name: f"0.0-{name}" for name in cluster.fingerprints.versions()}
    monkeypatch.setattr(cluster.fingerprints, "_versions", lambda: ours)
    expected = (
        r"Worker 'tcp://127.0.0.1:\d+' has other versions. Expected hazegen 0.0-hazegen, .*numpy 0.0-numpy.*, received "
        "hazegen 0.1.0, .* Start all workers from one environment or image"
    )
    with pytest.raises(RefusedError, match=expected):
        list(cluster.run(pool_tasks.square, [1], address, nothing))


def test_worker_without_the_package_is_refused(address, monkeypatch, tmp_path):
    (tmp_path / "only_here.py").write_text("def versions():\n    return {}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cluster, "fingerprints", importlib.import_module("only_here"))
    with pytest.raises(RefusedError, match=r"cannot run hazegen: .*No module named 'only_here'.* Start all workers"):
        list(cluster.run(pool_tasks.square, [1], address, nothing))


def test_worker_that_left_while_it_was_asked_is_passed_over(address, monkeypatch):
    left = {"tcp://127.0.0.1:1": importlib.import_module("distributed.comm").CommClosedError("in <TCP>")}
    ask = cluster._versions
    monkeypatch.setattr(cluster, "_versions", lambda client: ask(client) | left)
    assert list(cluster.run(pool_tasks.square, [3], address, nothing)) == [9]


def test_worker_that_hangs_is_told_in_bounded_time(own, monkeypatch):
    monkeypatch.setattr(cluster, "VERSIONS_S", 0.5)
    os.killpg(own.nodes[0].pid, signal.SIGSTOP)
    with pytest.raises(StoreError, match=r"A worker of the cluster does not answer. .* workers that hang"):
        list(cluster.run(pool_tasks.square, [1], own.address, nothing))


def test_address_without_a_scheme_is_greeted_where_dask_speaks_tcp_by_itself(monkeypatch):
    """A scheduler with TLS waits for the client's word."""
    monkeypatch.setattr(cluster, "CONNECT_S", 0.2)
    dask = importlib.import_module("dask")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        for scheme in ("tcp", "tls"):
            with dask.config.set({"distributed.comm.default-scheme": scheme}):
                if scheme == "tls":
                    cluster._check_greeting(address)
                    continue
                with pytest.raises(TimeoutError):
                    cluster._check_greeting(address)
        with dask.config.set({"distributed.comm.default-scheme": "tls"}), pytest.raises(TimeoutError):
            cluster._check_greeting(f"tcp://{address}")


def test_scheduler_that_is_not_there_is_told_in_seconds(monkeypatch):
    assert cluster.CONNECT_S <= 10
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    began = time.monotonic()
    with pytest.raises(StoreError, match=r"The scheduler at '127.0.0.1:1' cannot be reached: .* Start it") as caught:
        list(cluster.run(pool_tasks.square, [1], "127.0.0.1:1", nothing))
    assert caught.value.exit_code == 4
    assert time.monotonic() - began < 5.0


def test_tls_without_a_certificate_is_refused():
    with pytest.raises(
        UsageError, match=r"No TLS certificate for the scheduler at 'tls://127.0.0.1:1': .* Set DASK_DIS"
    ):
        list(cluster.run(pool_tasks.square, [1], "tls://127.0.0.1:1", nothing))


def test_server_of_another_kind_is_told_in_seconds(monkeypatch):
    """Such as the dashboard, whose address stands beside the scheduler's."""
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        address = f"tcp://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(StoreError, match=r"cannot be reached: timed out. Expected a dask scheduler"):
            list(cluster.run(pool_tasks.square, [1], address, nothing))


@pytest.mark.parametrize(
    "wrong", ["", "host", "http://host:1", "host:port", "two words:1", "tcp://host:123456", "a/b:1"]
)
def test_address_that_is_none_is_refused(wrong):
    with pytest.raises(UsageError, match=f"The scheduler's address is none. Expected .*, received '{wrong}'. Change"):
        cluster.check(wrong)


@pytest.mark.parametrize("right", ["host:8786", "tcp://10.0.0.1:8786", "tls://head.cluster:1", "tcp://[::1]:8786"])
def test_addresses_that_are_taken(right):
    cluster.check(right)


def test_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"Expected the extra 'cluster', .* Run pip install 'hazegen\[cluster\]'"):
        list(cluster.run(pool_tasks.square, [1], "host:1", nothing))


def test_cluster_without_workers_is_given_up_in_the_end(monkeypatch, tmp_path):
    monkeypatch.setattr(cluster, "PATIENCE_S", 0.5)
    monkeypatch.setattr(cluster, "LOOK_S", 0.1)
    with (
        benchmark.loopback(tmp_path / "dask", workers=0) as started,
        pytest.raises(StoreError, match=r"The cluster has had no worker for .* minutes. .* Start workers"),
    ):
        list(cluster.run(pool_tasks.square, [1], started.address, nothing))
