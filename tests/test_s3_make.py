"""Datasets made from a store into a store: the bytes of the disk, whole shards alone, and runs that go on."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import UNIT_M, Photos, shipped_recipe, write_photos

pytest.importorskip("moto", reason="moto[server] is not installed: pip install 'moto[server]'")
pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'hazegen[s3]'")

from s3_fixtures import BUSY, CUT, INTERNAL, LOST, REFUSED, SLOW, Bucket, after, every, moto_server, never, on_disk

import hazegen.cli
from hazegen import engine, info, manifest, pool, preview, publish, records, store_path, stores
from hazegen.errors import RefusedError, StoreError
from hazegen.make import make
from hazegen.make_options import MakeOptions
from hazegen.publish import PublishOptions
from hazegen.verify import verify

SCENES, VARIANTS, SPLITS = 4, 2, "train=0.5,validation=0.5"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    return write_photos(tmp_path_factory.mktemp("s3") / "photos", scenes=SCENES, height=32, width=48)


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    """In place of processes, which take two seconds to start: `test_command_line_with_two_processes` has these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "run", engine.run)
        yield


def options(images: Path, depth: Path, out: Path, **changes: object) -> MakeOptions:
    told: dict[str, object] = {"depth_scale": UNIT_M, "variants": VARIANTS, "shard_mb": 0.01, "workers": 1}
    told |= {"fov_deg": 60.0, "seed": 1, "progress": "off", "splits": SPLITS, "trust_depth": True}
    return MakeOptions(images=images, depth=depth, out=out, **(told | changes))  # type: ignore[arg-type]


RECIPE = shipped_recipe("aod-released")


@pytest.fixture(scope="module")
def local(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the dataset as a disk has it."""
    out = tmp_path_factory.mktemp("s3-local") / "pairs"
    make(options(photos.images, photos.depth, out), RECIPE)
    return on_disk(out)


@pytest.fixture(scope="module")
def shared() -> Iterator[Bucket]:
    with moto_server() as url:
        bucket = Bucket(url)
        store_path.forget_clients()
        yield bucket
        bucket.proxy.stop()
    store_path.forget_clients()


@pytest.fixture
def bucket(shared: Bucket, photos: Photos, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket with the photos and their depth maps."""
    for name, value in shared.environment.items():
        monkeypatch.setenv(name, value)
    shared.empty()
    shared.put(photos.images, "images")
    shared.put(photos.depth, "depth")
    return shared


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, bucket: Bucket) -> Iterator[None]:
    """One try in place of twelve."""
    monkeypatch.setattr(store_path, "TRIES", 1)
    monkeypatch.setattr(store_path, "ROUNDS", 1)
    store_path.forget_clients()
    yield
    store_path.forget_clients()


def there(bucket: Bucket, **changes: object) -> MakeOptions:
    return options(bucket.place("images"), bucket.place("depth"), bucket.place("pairs"), **changes)


def command(bucket: Bucket, *arguments: object) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | bucket.environment | {"WANDB_MODE": "disabled"}
    run = [sys.executable, "-c", "import sys; from hazegen.cli import main; sys.exit(main())", *map(str, arguments)]
    return subprocess.run(run, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_dataset_of_a_store_is_byte_identical_to_that_of_the_disk(bucket, local):
    made = make(there(bucket, trust_depth=False), RECIPE)
    assert made.manifest is not None
    assert bucket.content("pairs") == local
    assert not bucket.uploads()
    bucket.proxy.requests.clear()
    again = make(there(bucket), RECIPE)
    assert again.built == 0
    assert "PUT" not in bucket.proxy.requests, "a finished dataset is left alone"


def test_inputs_or_output_alone_may_lie_in_a_store(bucket, photos, local, tmp_path):
    make(options(photos.images, photos.depth, bucket.place("pairs")), RECIPE)
    make(options(bucket.place("images"), bucket.place("depth"), tmp_path / "pairs"), RECIPE)
    assert bucket.content("pairs") == on_disk(tmp_path / "pairs") == local


def test_scenes_of_a_store_are_those_of_the_disk(bucket, photos, tmp_path):
    told = {"kind": "scenes", "variants": None}
    make(options(photos.images, photos.depth, tmp_path / "scenes", **told), RECIPE)
    make(there(bucket, **told), RECIPE)
    assert bucket.content("pairs") == on_disk(tmp_path / "scenes")
    assert verify(bucket.place("pairs"), 1).problems() == []
    assert info.look(bucket.place("pairs")).read[0] == SCENES


def test_faults_of_the_store_change_no_byte(bucket, local):
    bucket.proxy.fate = every(8, INTERNAL, BUSY, REFUSED, CUT, LOST, SLOW)
    bucket.proxy.slow_s = 0.05
    make(there(bucket), RECIPE)
    assert bucket.content("pairs") == local
    assert len(bucket.proxy.faults) == 6


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("count", [3, 40])
def test_run_that_the_store_ends_goes_on_to_the_same_bytes(bucket, local, count):
    bucket.proxy.fate = after(count, INTERNAL)
    with pytest.raises(StoreError, match="goes on later"):
        make(there(bucket), RECIPE)
    for name, data in bucket.content("pairs").items():
        assert name.startswith(".work/") or local[name] == data, "what is visible is whole"
    assert "manifest.json" not in bucket.content("pairs")
    bucket.proxy.fate = never
    make(there(bucket), RECIPE)
    assert bucket.content("pairs") == local


@pytest.mark.usefixtures("impatient")
def test_store_that_fails_rejects_no_scene(bucket):
    bucket.proxy.fate = lambda number, method, path: INTERNAL if "scene_003" in path else None
    with pytest.raises(StoreError, match="scene_003"):
        make(there(bucket, max_rejected=1.0), RECIPE)
    assert "manifest.json" not in bucket.content("pairs")


def test_missing_object_is_rejected_with_its_reason(bucket):
    bucket.direct.delete_object(Bucket="haze-test", Key="depth/scene_003.png")
    made = make(there(bucket, max_rejected=1.0), RECIPE)
    assert made.rejected == {"no-depth": 1}


def test_reader_beside_a_run_never_sees_a_part_of_a_shard(bucket, local):
    out, stop, seen = bucket.place("pairs"), threading.Event(), set()

    def read() -> None:
        while not stop.is_set():
            for path in out.glob("*.tfrecord"):
                assert path.read_bytes() == local[path.name]
                seen.add(path.name)

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            make(there(bucket), RECIPE)
        finally:
            stop.set()
        reading.result()
    assert seen


def test_second_plan_in_one_folder_is_refused(bucket, local):
    make(there(bucket, plan_only=True), RECIPE)
    with pytest.raises(RefusedError, match="seed: 1 before, 2 now"):
        make(there(bucket, seed=2), RECIPE)
    make(there(bucket), RECIPE)
    assert bucket.content("pairs") == local


def test_of_two_runs_with_other_plans_one_is_refused(bucket):
    together = threading.Barrier(2)

    def run(seed: int) -> str:
        together.wait()
        try:
            make(there(bucket, seed=seed), RECIPE)
        except RefusedError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(run, (1, 2)))
    assert sum("seed: " in text for text in told) == 1, told
    assert sum(text == "" for text in told) == 1, told
    assert not verify(bucket.place("pairs"), workers=1).problems()


def test_damage_in_a_store_is_found_and_a_failing_store_is_none(bucket, local, monkeypatch):
    bucket_out = bucket.place("pairs")
    for name, data in local.items():
        bucket.direct.put_object(Bucket="haze-test", Key=f"pairs/{name}", Body=data)
    assert not verify(bucket_out, workers=1).problems()
    shard = next(name for name in local if name.endswith(".tfrecord"))
    bucket.direct.put_object(Bucket="haze-test", Key=f"pairs/{shard}", Body=local[shard][:-1])
    (problem,) = verify(bucket_out, workers=1).problems()
    assert problem.startswith(shard)
    monkeypatch.setattr(store_path, "TRIES", 1)
    monkeypatch.setattr(store_path, "ROUNDS", 1)
    store_path.forget_clients()
    bucket.proxy.fate = lambda number, method, path: INTERNAL if method == "GET" and shard in path else None
    with pytest.raises(StoreError, match="cannot be reached"):
        verify(bucket_out, workers=1)
    store_path.forget_clients()


def test_dataset_in_a_store_is_read_like_any(bucket, local, tmp_path):
    for name, data in local.items():
        bucket.direct.put_object(Bucket="haze-test", Key=f"pairs/{name}", Body=data)
    out = bucket.place("pairs")
    known = manifest.load(out)
    decoded = [records.decode(r) for s in known.shards for r in records.read_shard(out / s.name)]
    assert len(decoded) == SCENES * VARIANTS
    assert preview.preview(out, tmp_path / "sheet.png", 4) == 4
    assert preview.preview(out, bucket.place("sheets/sheet.png"), 4) == 4
    assert bucket.content("sheets")["sheet.png"] == (tmp_path / "sheet.png").read_bytes()
    bucket.proxy.requests.clear()
    told: list[str] = []
    where = PublishOptions("haze", "rooms", mode="dry-run")
    done = publish.publish(out, where, publish.choose(where), told.append)
    shards = sum(shard.bytes for shard in known.shards)
    assert (done.referred_bytes, done.files) == (shards, len(publish.COMPANIONS))
    assert "PUT" not in bucket.proxy.requests
    assert done.digest == manifest.digest(known)


def test_command_line_with_two_processes(bucket, local, tmp_path):
    done = command(
        bucket, "make", "--images", bucket.place("images"), "--depth", bucket.place("depth"), "--out",
        bucket.place("pairs"), "--recipe", "aod-released", "--depth-scale", UNIT_M, "--variants", VARIANTS,
        "--shard-mb", 0.01, "--fov-deg", 60, "--seed", 1, "--workers", 2, "--splits", SPLITS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert bucket.content("pairs") == local
    for verb in (("verify",), ("preview", "--out", tmp_path / "sheet.png"), ("card",)):
        assert hazegen.cli.main([verb[0], str(bucket.place("pairs")), *map(str, verb[1:])]) == 0
    assert bucket.content("pairs") == local


@pytest.mark.usefixtures("impatient")
def test_command_line_says_what_the_store_says(bucket, capsys):
    assert hazegen.cli.main(["verify", "s3://no-such-bucket/pairs"]) == 5
    assert "s3://no-such-bucket/pairs" in capsys.readouterr().err
    words = ("--images", "s3://no-such-bucket/images", "--depth", bucket.place("depth"), "--out", bucket.place("pairs"))
    assert hazegen.cli.main(["make", *map(str, words), "--depth-scale", str(UNIT_M), "--recipe", "aod-released"]) == 2
    assert "s3://no-such-bucket/images" in capsys.readouterr().err
    bucket.proxy.fate = every(1, INTERNAL)
    assert hazegen.cli.main(["verify", str(bucket.place("pairs"))]) == 4
    told = capsys.readouterr().err
    assert "cannot be reached" in told
    assert "a-secret-of-tests" not in told


def test_parser_and_stores_agree():
    with pytest.raises(SystemExit) as ended:
        hazegen.cli.main(["verify", "ftp://host/pairs"])
    assert ended.value.code == 2
    assert stores.is_remote(stores.place("s3://haze-test"))


def test_inspect_and_audit_look_at_a_store_as_at_a_disk(bucket, photos, tmp_path, capsys):
    here = Path(shutil.copytree(photos.images.parent, tmp_path / "photos"))
    shutil.copytree(here / "images", here / "hazy")
    told = []
    for root in (here, bucket.put(here, "photos")):
        said = ("--images", root / "images", "--depth", root / "depth", "--depth-scale", UNIT_M)
        assert hazegen.cli.main(["inspect", *map(str, said)]) == 0
        assert hazegen.cli.main(["audit", "--hazy", str(root / "hazy"), "--clean", str(root / "images")]) == 0
        printed = capsys.readouterr()
        told.append(re.sub(r"[\d.]+ s\b", "TIME", (printed.out + printed.err).replace(str(root), "ROOT")))
    assert told[0] == told[1]
    assert hazegen.cli.main(["inspect", *map(str, said), "--json", str(bucket.place("told/report.json"))]) == 0
    assert bucket.content("told")["report.json"].startswith(b"{")
