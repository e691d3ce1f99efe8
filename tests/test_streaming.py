"""Training and evaluation on a dataset in a store: the same to the bit as on a disk, whatever the store does.

S3 is moto's server on the loopback interface behind a proxy that fails; run with moto 5.2.5 and s3fs 2026.9.0.
"""

import csv
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from aodnet_fixtures import make_dataset, smooth
from s3_fixtures import BUCKET, BUSY, CUT, INTERNAL, SLOW, Bucket, every, moto_server
from stream_fixtures import FakeStore

from aodnet import cli, data, fetching, fit, model, shards, weights
from aodnet.config import FitConfig, FitPaths
from aodnet.evaluate import evaluate
from aodnet.pairs import Source, read_pairs, sample_pairs
from aodnet.shard_cache import ShardCache
from aodnet.streaming import Stream
from hazegen import manifest, store_path
from hazegen.errors import StoreError, UsageError, VerifyError
from hazegen.manifest import Manifest

needs_s3 = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("moto", "boto3", "flask", "s3fs")),
    reason="moto[server], boto3 and s3fs are not installed: pip install 'hazegen[dev]'",
)
pytestmark = pytest.mark.usefixtures("without_curves")
CONFIG = FitConfig(epochs=2, batch=4, crop=16, learning_rate=2e-3, warmup=0.0, checkpoint_steps=3)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13 training shards of one to three scenes and 2 variants each, 4 of validation, 2 of test."""
    folder = tmp_path_factory.mktemp("streaming")
    counts = {"train": 29, "validation": 4, "test": 3}
    return make_dataset(folder, counts, size=(24, 32), picture=smooth, shard_mb=0.013)


@pytest.fixture(scope="module")
def known(local: Path) -> Manifest:
    known = manifest.load(local)
    sizes = [shard.records for shard in known.shards_of("train")]
    assert len(sizes) > 8, "more shards than are read in turn"
    assert len(set(sizes)) > 1, "shards of unequal length: some end before others"
    return known


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PAUSES_S", (0.05, 0.05))


def need(known: Manifest) -> int:
    """Bytes of the least cache that a run can do with."""
    return ShardCache.need(known.shards_of("train"), data.AT_ONCE) + ShardCache.need(known.shards_of("validation"), 1)


@pytest.fixture
def stream(local: Path, known: Manifest, tmp_path: Path) -> Stream:
    """The dataset as if it lay in a store, through a cache that is smaller than it."""
    size = need(known)
    assert size < sum(shard.bytes for shard in known.shards_of("train"))
    return Stream(FakeStore(local), ShardCache(tmp_path / "cache", size))  # type: ignore[arg-type]


def epoch_of(folder: Path, known: Manifest, stream: Stream | None = None, **options) -> list[tuple]:
    settings = {"crop": 16, "batch": 4, "seed": 0, "epoch": 0, **options}
    return pairs_of(data.training_batches([data.Source(folder, known, stream=stream)], **settings))


def pairs_of(batches: tf.data.Dataset) -> list[tuple]:
    return [(batch["hazy"].numpy(), batch["clean"].numpy()) for batch in batches]


def assert_same(found: list[tuple], expected: list[tuple]) -> None:
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


# --- batches, to the bit ---


@pytest.mark.parametrize(
    "options",
    [{}, {"seed": 3, "epoch": 5}, {"skip": 4}, {"shuffle_mb": 0.001}, {"shuffle_mb": 0.03, "skip": 1}, {"batch": 64}],
    ids=str,
)
def test_training_batches_are_those_of_a_disk_to_the_bit(local, known, stream, options):
    assert_same(epoch_of(local, known, stream, **options), epoch_of(local, known, **options))


def test_validation_batches_are_those_of_a_disk_to_the_bit(local, known, stream):
    for _ in range(2):
        ours, theirs = (data.validation_batches([data.Source(local, known, stream=one)]) for one in (stream, None))
        assert ours.cardinality() == theirs.cardinality() == 8
        assert_same(pairs_of(ours), pairs_of(theirs))


def test_without_an_epoch_each_pass_has_another_order(local, known, stream):
    batches = data.training_batches([data.Source(local, known, stream=stream)], crop=16, batch=52, seed=0)
    passes = [next(iter(batches))["clean"].numpy() for _ in range(2)]
    assert len(passes[0]) == 52
    assert not np.array_equal(*passes)


def test_pairs_are_those_of_a_disk(local, known, stream):
    for count in (0, 3, 100):
        ours, theirs = (sample_pairs(local, "validation", count, source) for source in (stream, None))
        assert [pair.name for pair in ours] == [pair.name for pair in theirs]
        assert all(np.array_equal(a.hazy, b.hazy) for a, b in zip(ours, theirs, strict=True))


def test_an_epoch_that_is_left_early_holds_nothing(local, known, stream):
    for number in (1, 3, 7):
        source = data.Source(local, known, stream=stream)
        for batch in data.training_batches([source], crop=16, batch=4, seed=0, epoch=0).take(number):
            assert batch["hazy"].shape == (4, 16, 16, 3)
        for _ in data.validation_batches([source]).take(number):
            pass
    deadline = time.monotonic() + 10
    while list(stream.cache.folder.glob("*.reader")) or list(stream.cache.folder.glob("*.part")):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_no_more_shards_are_held_than_are_read_in_turn(local, known, stream, monkeypatch):
    held, most = set(), [0]
    hold = Stream._hold

    def counted(self, shard, ahead, number):
        block = hold(self, shard, ahead, number)

        class Counted:
            def __enter__(self):
                held.add(number)
                most[0] = max(most[0], len(held))
                return block.__enter__()

            def __exit__(self, *what):
                held.discard(number)
                return block.__exit__(*what)

        return Counted()

    monkeypatch.setattr(Stream, "_hold", counted)
    epoch_of(local, known, stream)
    assert most[0] == data.AT_ONCE
    assert not held


# --- damage and failures ---


def damage_copy(stream: Stream, shard) -> None:
    path = stream.cache.path(shard)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_copy_in_the_cache_loses_its_record_once(local, known, tmp_path):
    """It is used as far as it goes, and fetched again in the next pass."""
    stream, shard = Stream(FakeStore(local), ShardCache(tmp_path / "cache", 10**9)), known.shards_of("train")[2]  # type: ignore[arg-type]
    expected = epoch_of(local, known, stream)
    damage_copy(stream, shard)
    lost = data.Lost()
    rest = epoch_of(local, known, stream, on_damage="skip", lost=lost)
    assert lost.counts == {shard.name: 1}
    assert sum(len(hazy) for hazy, _ in expected) - sum(len(hazy) for hazy, _ in rest) == 1
    assert not stream.cache.path(shard).exists()
    assert_same(epoch_of(local, known, stream, on_damage="skip", lost=lost), expected)


def test_a_shard_that_is_damaged_in_the_store_is_lost_and_the_pass_goes_on(local, known, tmp_path):
    """Nothing of it comes into the cache, so all of it is lost; every other one keeps its place."""
    copy = Path(shutil.copytree(local, tmp_path / "copy"))
    stream, shard = Stream(FakeStore(copy), ShardCache(tmp_path / "cache", need(known))), known.shards_of("train")[1]  # type: ignore[arg-type]
    content = bytearray((copy / shard.name).read_bytes())
    content[-1] ^= 1
    (copy / shard.name).write_bytes(content)
    expected, lost = epoch_of(local, known), data.Lost()
    rest = epoch_of(copy, known, stream, on_damage="skip", lost=lost)
    assert lost.counts == {shard.name: shard.records}
    assert len(rest) == len(expected)
    assert sum(len(hazy) for hazy, _ in expected) - sum(len(hazy) for hazy, _ in rest) == shard.records
    assert stream.failure is None
    for (before, _), (after, _) in zip(expected, rest, strict=True):
        left = {picture.tobytes() for picture in after}
        assert [p.tobytes() for p in before if p.tobytes() in left] == [p.tobytes() for p in after]


def test_a_damaged_copy_in_the_cache_is_named_removed_and_fetched_again(local, known, tmp_path):
    stream = Stream(FakeStore(local), ShardCache(tmp_path / "cache", 10**9))  # type: ignore[arg-type]
    expected = epoch_of(local, known, stream)
    shard = known.shards_of("train")[2]
    damage_copy(stream, shard)
    with pytest.raises(tf.errors.DataLossError):
        epoch_of(local, known, stream)
    with pytest.raises(
        VerifyError,
        match=rf"Shard '{shard.name}' is damaged at record \d.*copy in the cache was removed.*hazegen repair",
    ):
        shards.name_damage(local, known.shards_of("train"), stream)
    assert not stream.cache.path(shard).exists()
    assert_same(epoch_of(local, known, stream), expected)


def test_a_damaged_copy_is_named_by_python_readers_too(local, known, tmp_path):
    stream = Stream(FakeStore(local), ShardCache(tmp_path / "cache", 10**9))  # type: ignore[arg-type]
    sample_pairs(local, "validation", 1, stream)
    shard = known.shards_of("validation")[0]
    damage_copy(stream, shard)
    with pytest.raises(VerifyError, match=f"Shard '{shard.name}' is damaged at record"):
        sample_pairs(local, "validation", 100, stream)
    assert len(sample_pairs(local, "validation", 100, stream)) == 8


def test_what_tensorflow_passes_on_of_a_failure_is_kept_whole(local, known, stream):
    shard = known.shards_of("train")[1]
    stream.store.failing[shard.name] = 99
    with pytest.raises(tf.errors.OpError, match="could not be fetched"):
        epoch_of(local, known, stream)
    assert isinstance(stream.failure, StoreError)


# --- S3 ---


@pytest.fixture(scope="module")
def server() -> Iterator[Bucket]:
    with moto_server() as url:
        bucket = Bucket(url)
        yield bucket
        bucket.proxy.stop()


@pytest.fixture
def bucket(server: Bucket, local: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket with the dataset at pairs/, and an environment that leads there."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.empty()
    server.put(local, "pairs")
    server.proxy.requests.clear()
    yield server
    server.empty()


@pytest.fixture(scope="module")
def trained(local: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of CONFIG on the copy on a disk."""
    return fit.fit(FitPaths((local,), tmp_path_factory.mktemp("trained") / "run"), CONFIG).run


def paths(bucket: Bucket, tmp_path: Path, size: int | None = None, **changes) -> FitPaths:
    gigabytes = None if size is None else size / 1e9
    place = {
        "data": (bucket.place("pairs"),),
        "out": tmp_path / "run",
        "cache": tmp_path / "cache",
        "cache_gb": gigabytes,
    }
    return FitPaths(**{**place, **changes})


def assert_same_weights(run: Path, other: Path) -> None:
    for name in ("last.weights.h5", "best.weights.h5"):
        ours, theirs = (weights.load(folder / name).get_weights() for folder in (run, other))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
    assert history_of(run) == history_of(other)


def history_of(run: Path) -> list[dict[str, str]]:
    """The rows of history.csv, without what the clock says."""
    with (run / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: text for name, text in row.items() if name not in ("data_wait", "images_per_s")} for row in rows]


def shard_requests(bucket: Bucket) -> list[str]:
    """Keeps, from now on, the method and the shard of each request for one."""
    seen: list[str] = []

    def watch(number: int, method: str, path: str) -> None:
        if ".tfrecord" in path:
            seen.append(f"{method} {path.rpartition('/')[2].partition('?')[0]}")

    bucket.proxy.fate = watch
    return seen


@needs_s3
def test_fit_from_s3_that_fails_now_and_then_through_a_small_cache_gives_the_weights_of_a_disk(
    bucket, known, trained, tmp_path
):
    bucket.proxy.slow_s = 0.1
    bucket.proxy.fate = every(4, INTERNAL, CUT, BUSY, SLOW)
    run = fit.fit(paths(bucket, tmp_path, need(known)), CONFIG).run
    assert_same_weights(run, trained)
    assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.tfrecord")) <= need(known)
    assert bucket.proxy.requests["GET"] > 2 * len(known.shards_of("train"))
    assert set(bucket.proxy.faults) == {INTERNAL, CUT, BUSY, SLOW}


@needs_s3
def test_the_second_epoch_asks_for_nothing_where_all_fits(bucket, local, known, trained, tmp_path):
    seen = shard_requests(bucket)
    assert_same_weights(fit.fit(paths(bucket, tmp_path), CONFIG).run, trained)
    names = [shard.name for shard in (*known.shards_of("train"), *known.shards_of("validation"))]
    assert sorted(seen) == sorted(f"{method} {name}" for name in names for method in ("GET", "HEAD"))
    seen.clear()
    again = Stream(bucket.place("pairs"), ShardCache(tmp_path / "cache", 10**9))  # of another run
    assert_same(epoch_of(again.store, known, again), epoch_of(local, known))
    assert seen == []


@needs_s3
def test_fit_from_a_store_that_goes_away_is_resumed_to_the_same_weights(bucket, known, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(store_path, "TRIES", 1)
    store_path.forget_clients()
    shard = sorted(known.shards_of("train"), key=lambda shard: shard.name)[-1]
    bucket.proxy.fate = lambda number, method, path: INTERNAL if shard.name in path else None
    where = paths(bucket, tmp_path, need(known))
    with pytest.raises(StoreError, match=f"Shard '{shard.name}' could not be fetched, 3 times.*--resume"):
        fit.fit(where, CONFIG)
    bucket.proxy.fate = lambda number, method, path: None
    said: list[str] = []
    run = fit.fit(paths(bucket, tmp_path, need(known), resume=True), CONFIG, say=said.append).run
    assert any(line.startswith("resuming at") for line in said)
    assert_same_weights(run, trained)


@needs_s3
def test_fit_resumes_in_the_middle_of_an_epoch(bucket, known, trained, tmp_path):
    import keras

    class Kill(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 8:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit.fit(paths(bucket, tmp_path, need(known)), CONFIG, extra=(Kill(),))
    said: list[str] = []
    run = fit.fit(paths(bucket, tmp_path, need(known), resume=True), CONFIG, say=said.append).run
    assert "resuming at epoch 1, step 6." in said
    assert_same_weights(run, trained)


@needs_s3
def test_evaluate_from_s3_gives_the_scores_of_a_disk(bucket, local, known, tmp_path):
    models = {"ours": model.build_aodnet(0)}
    size = 1.01 * ShardCache.need(known.shards_of("test"), 1) / 1e9
    there = Source(data=bucket.place("pairs"), cache=tmp_path / "cache", cache_gb=size)
    assert evaluate(models, there, tmp_path / "a") == evaluate(models, Source(data=local), tmp_path / "b")
    for name in ("scores.csv", "strip.png", "summary.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@needs_s3
def test_a_damaged_object_is_refused_with_shard_and_store(bucket, local, known, tmp_path):
    shard = known.shards_of("train")[0]
    content = bytearray((local / shard.name).read_bytes())
    content[100] ^= 1
    bucket.direct.put_object(Bucket=BUCKET, Key=f"pairs/{shard.name}", Body=bytes(content))
    with pytest.raises(
        VerifyError, match=rf"Shard '{shard.name}' in 's3://{BUCKET}/pairs' is not.*twice.*repair s3://"
    ):
        fit.fit(paths(bucket, tmp_path), CONFIG)
    assert not (tmp_path / "cache" / f"{shard.sha256}.tfrecord").exists()


@needs_s3
@pytest.mark.parametrize("change", ["cut", "gone"])
def test_a_cut_or_missing_object_is_refused_before_anything_is_written(bucket, local, known, tmp_path, change):
    shard = known.shards_of("test")[0]
    key = {"Bucket": BUCKET, "Key": f"pairs/{shard.name}"}
    bucket.direct.delete_object(**key)
    if change == "cut":
        bucket.direct.put_object(**key, Body=(local / shard.name).read_bytes()[:-1])
    received = shard.bytes - 1 if change == "cut" else "no file"
    with pytest.raises(VerifyError, match=f"Shard '{shard.name}' in 's3://.*{shard.bytes} bytes, received {received}"):
        fit.fit(paths(bucket, tmp_path), CONFIG)
    with pytest.raises(VerifyError, match=f"Shard '{shard.name}' in 's3://"):
        list(read_pairs(Source(data=bucket.place("pairs"), cache=tmp_path / "cache")))
    assert not (tmp_path / "run").exists()


@needs_s3
def test_too_small_a_cache_is_refused_before_anything_is_written(bucket, known, tmp_path):
    with pytest.raises(UsageError, match=r"is too small.*--cache-gb"):
        fit.fit(paths(bucket, tmp_path, need(known) - 1), CONFIG)
    assert not (tmp_path / "run").exists()


@needs_s3
def test_without_a_stream_batches_come_through_the_default_cache(bucket, local, known, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert_same(epoch_of(bucket.place("pairs"), known), epoch_of(local, known))
    assert len(sample_pairs(bucket.place("pairs"), "test", 1)) == 1
    assert list((tmp_path / "hazegen" / "shards").glob("*.tfrecord"))


# --- the command line ---


def command(tmp_path: Path, trained: Path, *more: object) -> list[str]:
    """`aodnet fit` from S3 with the settings of the run on the disk."""
    words = ("fit", "--data", f"s3://{BUCKET}/pairs", "--out", tmp_path / "run", "--cache", tmp_path / "cache")
    return [str(word) for word in (*words, "--config", trained / "config.yaml", *more)]


@needs_s3
def test_killed_while_fetching_it_leaves_no_wrong_file_and_goes_on_to_the_same_weights(
    bucket, known, trained, tmp_path, capsys
):
    """kill -9 of `aodnet fit` while shards are on their way, then the same command with --resume."""
    bucket.proxy.slow_s = 0.5
    bucket.proxy.fate = lambda number, method, path: SLOW if method == "GET" and ".tfrecord" in path else None
    environment = {**os.environ, **bucket.environment}
    program = [sys.executable, "-c", "import sys; from aodnet.cli import main; sys.exit(main(sys.argv[1:]))"]
    with subprocess.Popen(
        [*program, *command(tmp_path, trained)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        cache = tmp_path / "cache"
        deadline = time.monotonic() + 120
        while len(list(cache.glob("*.tfrecord"))) < 3 or not list(cache.glob("*.part")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    whole = {shard.sha256: shard.bytes for shard in known.shards}
    for path in cache.glob("*.tfrecord"):
        assert path.stat().st_size == whole[path.stem]
        assert manifest_digest(path) == path.stem
    bucket.proxy.fate = lambda number, method, path: None
    assert cli.main(command(tmp_path, trained, "--resume")) == 0
    assert f"--data s3://{BUCKET}/pairs" in capsys.readouterr().out
    assert_same_weights(tmp_path / "run", trained)
    assert not list(cache.glob("*.part"))
    assert not list(cache.glob("*.reader"))


def manifest_digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


@needs_s3
def test_exit_statuses_of_the_command(bucket, local, known, trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(store_path, "TRIES", 1)
    store_path.forget_clients()
    small = f"{need(known) / 2e9:.9f}"
    for status, words, said in (
        (2, ("--cache-gb", small), "is too small"),
        (2, ("--cache-gb", "0"), "--cache-gb is out of range"),
        (2, ("--cache", f"s3://{BUCKET}/cache"), "--cache has to lie on a disk"),
        (2, ("--out", f"s3://{BUCKET}/run"), "--out has to lie on a disk"),
        (2, ("--data", local), "--cache and --cache-gb belong to a dataset in a store"),
    ):
        assert cli.main(command(tmp_path, trained, *words)) == status
        assert said in capsys.readouterr().err
    bucket.proxy.fate = lambda number, method, path: INTERNAL if "train-00000" in path else None
    assert cli.main(command(tmp_path, trained)) == 4
    assert "could not be fetched" in capsys.readouterr().err


def test_a_cache_for_two_folders_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"--cache.* belong to a dataset"):
        Source(hazy=tmp_path, clean=tmp_path, cache_gb=1.0)
