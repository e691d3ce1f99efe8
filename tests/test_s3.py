"""Objects of an S3 store: what is visible when, how failures of the store look, how depth files are read from it."""

import errno
import functools
import gc
import importlib.util
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import UNIT_M, Photos, write_photos

pytest.importorskip("moto", reason="moto[server] is not installed: pip install 'moto[server]'")
pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'hazegen[s3]'")

from s3_fixtures import BUCKET, BUSY, CUT, INTERNAL, LOST, REFUSED, SLOW, Bucket, every, moto_server

from hazegen import config, images, pairing, scenes, store_file, store_path, stores
from hazegen.depth import containers
from hazegen.depth.formats import DepthFormat
from hazegen.errors import RefusedError, StoreError, UsageError
from hazegen.pairing import SceneRef
from hazegen.reading import Reading
from hazegen.recipe import Recipe, parse_draw

PART = store_path.PART_BYTES
RECIPE = Recipe("test", visibility_m=parse_draw("uniform(50, 200)"))


@pytest.fixture(scope="module")
def shared() -> Iterator[Bucket]:
    with moto_server() as url:
        bucket = Bucket(url)
        store_path.forget_clients()
        yield bucket
        bucket.proxy.stop()
    store_path.forget_clients()


@pytest.fixture
def bucket(shared: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in shared.environment.items():
        monkeypatch.setenv(name, value)
    shared.empty()
    return shared


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, bucket: Bucket) -> Iterator[None]:
    """One try in place of twelve, each of three seconds, so that a failure is told at once."""
    for name, value in (("TRIES", 1), ("ROUNDS", 1), ("READ_S", 3)):
        monkeypatch.setattr(store_path, name, value)
    store_path.forget_clients()
    yield
    store_path.forget_clients()


def write(path: Path, *parts: bytes) -> None:
    with stores.whole_file(path) as file:
        for part in parts:
            file.write(part)


# --- when an object becomes visible ---


@pytest.mark.parametrize("parts", [[b"small"], [b"x" * PART, b"y" * PART, b"z"], []], ids=["one", "parts", "empty"])
def test_object_is_visible_when_all_of_it_is_written(bucket, parts):
    path = bucket.place("set/shard")
    with stores.whole_file(path) as file:
        for part in parts:
            file.write(part)
        assert not path.exists()
    assert bucket.content() == {"set/shard": b"".join(parts)}
    assert path.stat().st_size == len(b"".join(parts))
    assert path.read_bytes() == b"".join(parts)
    assert not bucket.uploads()


@pytest.mark.parametrize("size", [10, 2 * PART + 1], ids=["one", "parts"])
def test_error_leaves_the_object_that_was_there_and_no_upload(bucket, size):
    path = bucket.place("set/shard")
    write(path, b"before")

    def fail() -> None:
        with stores.whole_file(path) as file:
            file.write(b"x" * size)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert bucket.content() == {"set/shard": b"before"}
    assert not bucket.uploads()


def test_ctrl_c_leaves_an_upload_to_the_bucket_s_rule(bucket):
    """To take it back would wait for a store that may be slow."""
    bucket.proxy.fate = lambda number, method, path: SLOW if method in ("DELETE", "HEAD") else None
    bucket.proxy.slow_s = 5.0

    def interrupted() -> None:
        with stores.whole_file(bucket.place("set/shard")) as file:
            file.write(b"x" * PART)
            file.write(b"x" * PART)
            bucket.proxy.requests.clear()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    gc.collect()
    assert not bucket.proxy.requests
    assert not bucket.content()
    assert bucket.uploads() == ["set/shard"]


def test_file_that_nobody_closes_is_given_up(bucket):
    file: Any = bucket.place("set/shard").upload()  # type: ignore[attr-defined]
    file.write(b"part of a shard")
    del file
    assert not bucket.content()


def test_killed_process_leaves_no_object_but_an_upload_without_a_name(bucket):
    code = (
        "import sys, time; from hazegen import stores\n"
        "with stores.whole_file(stores.place(sys.argv[1])) as file:\n"
        f"    file.write(b'x' * {2 * PART}); print('half', flush=True); time.sleep(60)\n"
    )
    path = bucket.place("set/shard")
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    assert not bucket.content()
    assert bucket.uploads() == ["set/shard"]  # what a rule of the bucket's lifecycle takes away
    write(path, b"again")
    assert bucket.content() == {"set/shard": b"again"}


def test_reader_in_a_loop_never_sees_a_part(bucket):
    path, seen, stop = bucket.place("set/shard"), set(), threading.Event()

    def read() -> None:
        while not stop.is_set():
            if path.is_file():
                data = path.read_bytes()
                seen.add((len(data), len(set(data))))

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        for letter in b"ab" * 3:
            write(path, bytes([letter]) * PART, bytes([letter]) * 1000)
        stop.set()
        reading.result()
    assert seen == {(PART + 1000, 1)}


def test_new_object_never_replaces_another(bucket):
    path = bucket.place("set/plan")
    assert stores.write_new(path, ["a\n", "b\n"])
    assert not stores.write_new(path, ["c\n"])
    assert path.read_text() == "a\nb\n"
    large = bucket.place("set/large")
    assert stores.write_new(large, ["x" * PART, "y" * PART])
    assert large.stat().st_size == 2 * PART


@pytest.mark.parametrize("letters", [1, PART], ids=["one", "parts"])
def test_of_many_writers_of_a_new_object_one_succeeds(bucket, letters):
    path, together = bucket.place("set/plan"), threading.Barrier(4)

    def create(number: int) -> bool:
        together.wait()
        return stores.write_new(path, [str(number) * letters])

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(create, range(4)))
    assert sum(done) == 1
    assert path.read_bytes() == str(done.index(True)).encode() * letters
    assert not bucket.uploads()


def test_writer_whose_answer_is_lost_finds_its_own_object(bucket):
    puts = []

    def fate(_number: int, method: str, path: str) -> str | None:
        if method != "PUT":
            return None
        puts.append(path)
        return LOST if len(puts) == 1 else None

    bucket.proxy.fate = fate
    path = bucket.place("set/plan")
    assert not stores.write_new(path, ["mine\n"])
    assert path.read_text() == "mine\n"
    assert len(puts) == 2


# --- failures ---


def test_faults_between_two_tries_are_not_seen(bucket):
    bucket.proxy.fate = every(3, INTERNAL, BUSY, REFUSED, CUT, LOST, SLOW)
    bucket.proxy.slow_s = 0.05
    content = {f"set/{number}": bytes([number]) * (10 + number) for number in range(12)}
    for name, data in content.items():
        write(bucket.place(name), data)
    assert sorted(stores.files_below(bucket.place("set"))) == sorted(name.removeprefix("set/") for name in content)
    assert {name: bucket.place(name).read_bytes() for name in content} == content
    assert bucket.content() == content
    assert bucket.proxy.faults.total() > 10
    assert len(bucket.proxy.faults) == 6


CALLS = {
    "is_file": lambda path: path.is_file(),
    "exists": lambda path: path.exists(),
    "is_dir": lambda path: path.is_dir(),
    "stat": lambda path: path.stat(),
    "iterdir": lambda path: list(path.iterdir()),
    "files_below": lambda path: list(stores.files_below(path)),
    "read_bytes": lambda path: path.read_bytes(),
    "open": lambda path: path.open("rb"),
    "write": lambda path: write(path, b"x"),
    "write_bytes": lambda path: path.write_bytes(b"x"),
    "write_new": lambda path: stores.write_new(path, ["x"]),
    "unlink": lambda path: path.unlink(missing_ok=True),
    "local_copy": lambda path: stores.local_copy(path).__enter__(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", [INTERNAL, REFUSED])
@pytest.mark.usefixtures("impatient")
def test_store_that_fails_for_good_is_an_error_and_never_an_answer(bucket, call, fault):
    path = bucket.place("set/shard")
    write(path, b"before")
    bucket.proxy.fate = lambda number, method, path: fault
    with pytest.raises(StoreError, match=r"'s3://haze-test/set/shard' cannot be reached\. .*goes on later"):
        CALLS[call](path)
    assert bucket.content() == {"set/shard": b"before"}


@pytest.mark.usefixtures("impatient")
def test_answer_that_never_comes_is_an_error_in_bounded_time(bucket):
    bucket.proxy.fate, bucket.proxy.slow_s = every(1, SLOW), 5.0
    began = time.monotonic()
    with pytest.raises(StoreError, match="ReadTimeout"):
        bucket.place("set/shard").is_file()
    assert time.monotonic() - began < 10.0


@pytest.mark.usefixtures("impatient")
def test_upload_that_fails_in_the_middle_leaves_nothing_visible(bucket):
    begun: list[str] = []

    def fate(_number: int, method: str, path: str) -> str | None:
        begun.append(method)
        return INTERNAL if "partNumber=2" in path or method == "DELETE" else None

    bucket.proxy.fate = fate
    path = bucket.place("set/shard")
    with pytest.raises(StoreError, match="cannot be reached"):
        write(path, b"x" * PART, b"y" * PART, b"z")
    assert "DELETE" in begun, "the upload is given up, or at least that is tried"
    assert not bucket.content()


@pytest.mark.usefixtures("impatient")
def test_error_names_no_secret(bucket, monkeypatch):
    for name, value in (("AWS_ACCESS_KEY_ID", "AKIACANARY"), ("AWS_SESSION_TOKEN", "token-canary")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:password-canary@127.0.0.1:9")
    store_path.forget_clients()
    with pytest.raises(StoreError) as caught:
        bucket.place("set/shard").read_bytes()
    assert "canary" not in str(caught.value).lower()
    for user in ("user:pass/word-canary", "user:pass@word-canary", "canary-user/:@canary"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{user}@127.0.0.1:9")
        store_path.forget_clients()
        with pytest.raises(StoreError) as caught:
            bucket.place("set/shard").read_bytes()
        assert "canary" not in str(caught.value).lower()
        assert "pass" not in str(caught.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://someone:pass/w@ord-canary@127.0.0.1:9")
    for piece in ("someone", "Cannot reach http://someone:pass/w@ord-canary@127.0.0.1:9/b", "port 'ord-canary'"):
        with pytest.raises(StoreError) as caught, store_file.failures("x"):
            raise ValueError(piece)
        assert not any(part in str(caught.value) for part in ("someone", "ord-canary"))
    with pytest.raises(StoreError) as caught, store_file.failures("x"):
        raise OSError("for AKIACANARY and token-canary at https://user:pass@host/")
    assert "received OSError: for (AWS_ACCESS_KEY_ID) and (AWS_SESSION_TOKEN) at https://host/" in str(caught.value)


def test_missing_objects_and_buckets_are_missing_files(bucket):
    for name in ("s3://haze-test/none", "s3://no-such-bucket/none"):
        path = stores.place(name)
        assert not path.exists()
        assert not path.is_file()
        assert not path.is_dir()
        assert not list(path.glob("*"))
        for call in (path.stat, path.read_bytes, path.unlink, functools.partial(path.open, "rb")):
            with pytest.raises(FileNotFoundError, match=name):
                call()
    path.unlink(missing_ok=True)
    with pytest.raises(UsageError, match=r"'s3://no-such-bucket/none' is not a folder\. .*no such bucket"):
        list(stores.files_below(path))
    with pytest.raises(FileNotFoundError, match="s3://no-such-bucket/none"):
        write(path, b"x")


def test_files_are_not_written_through_open(bucket):
    with pytest.raises(OSError, match="files of a store are written whole"):
        bucket.place("set/shard").open("wb")


# --- listings ---


def test_what_lies_in_a_folder_and_below_it(bucket, monkeypatch):
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")  # pages of two, as of a thousand
    names = [f"photos/{name}" for name in ("a.png", "sub/b.png", "sub/deep/c.png", "d e.png", "ü.png")]
    for name in [*names, "photos/", "photos-2/x.png"]:  # some tools make a folder's name an empty object
        bucket.direct.put_object(Bucket=BUCKET, Key=name, Body=b"")
    photos = bucket.place("photos")
    assert sorted(stores.files_below(photos)) == sorted(name.removeprefix("photos/") for name in names)
    assert sorted(path.name for path in photos.iterdir()) == ["a.png", "d e.png", "sub", "ü.png"]
    assert [path.name for path in photos.glob("a.*")] == ["a.png"]
    assert photos.is_dir()
    assert photos.exists()
    assert not photos.is_file()
    assert len(list(stores.files_below(bucket.place()))) == len(names) + 1
    with pytest.raises(UsageError, match=r"is not a folder\. .*received a file"):
        list(stores.files_below(photos / "a.png"))
    with pytest.raises(UsageError, match="received nothing of that name"):
        list(stores.files_below(bucket.place("none")))
    bucket.direct.put_object(Bucket=BUCKET, Key="empty/", Body=b"")
    with pytest.raises(UsageError, match="received an empty one"):
        list(stores.files_below(bucket.place("empty")))


@pytest.mark.parametrize("name", ["a//b.png", "/b.png", "./b.png", "a/./b.png", "../b.png"])
def test_object_whose_name_is_no_path_is_named(bucket, name):
    for key in ("photos/a.png", f"photos/{name}"):
        bucket.direct.put_object(Bucket=BUCKET, Key=key, Body=b"")
    with pytest.raises(RefusedError, match=f"below 's3://haze-test/photos' has a name .*received '{name}'. Rename"):
        list(stores.files_below(bucket.place("photos")))


def test_questions_about_many_names_are_one_request(bucket):
    for name in ("0001.png", "0001.json", "0001.more/x.npy", "00012.npy"):
        write(bucket.place(f"depth/{name}"), b"")
    bucket.proxy.requests.clear()
    stem = bucket.place("depth/0001")
    assert stores.with_suffixes(stem, containers.SUFFIXES) == [bucket.place("depth/0001.png")]
    assert bucket.proxy.requests == {"GET list": 1}
    bucket.proxy.requests.clear()
    assert all(stores.is_folder(bucket.place("depth")) for _ in range(5))
    assert bucket.proxy.requests.total() == 2


# --- reading ---


def test_size_is_known_before_bytes_are_read(bucket, monkeypatch):
    path = bucket.place("photos/a.png")
    write(path, b"0123456789")
    bucket.proxy.requests.clear()
    assert images.read_file(path) == b"0123456789"
    assert bucket.proxy.requests == {"HEAD": 1, "GET": 1}
    bucket.proxy.requests.clear()
    monkeypatch.setattr(images, "MAX_BYTES", 9)
    with pytest.raises(RefusedError, match="too large"):
        images.read_file(path)
    assert bucket.proxy.requests == {"HEAD": 1}
    with pytest.raises(RefusedError, match=r"is not a file\. .*received a folder"):
        images.read_file(bucket.place("photos"))


def test_file_is_read_in_pieces_and_as_text(bucket):
    path = bucket.place("set/shard")
    data = np.random.default_rng(0).bytes(2 * PART + 10)
    write(path, data)
    with path.open("rb") as file:
        assert file.read(5) == data[:5]
        assert file.seek(PART + 7) == PART + 7
        assert file.read(20) == data[PART + 7 : PART + 27]
        assert file.seek(-3, 2) == len(data) - 3
        assert file.read() == data[-3:]
    assert path.read_part(3, 6) == data[3:6]  # type: ignore[attr-defined]
    write(bucket.place("set/names"), "é\n二\n".encode())
    with bucket.place("set/names").open(encoding="utf-8") as lines:
        assert list(lines) == ["é\n", "二\n"]
    assert bucket.place("set/names").write_text("x") == 1
    assert bucket.place("set/names").read_text() == "x"


def test_object_that_is_replaced_while_it_is_read_is_an_error(bucket):
    path = bucket.place("set/shard")
    write(path, b"a" * (3 * PART))
    with path.open("rb") as file:
        assert file.read(1) == b"a"
        write(path, b"b" * (3 * PART))
        with pytest.raises(StoreError, match="FileExpired"):
            file.read()


def test_local_copies_have_the_name_are_kept_and_follow_the_object(bucket):
    path = bucket.place("depth/0001.npz")
    write(path, b"one")
    with stores.local_copy(path) as copy:
        assert (copy.name, copy.read_bytes()) == ("0001.npz", b"one")
    bucket.proxy.requests.clear()
    with stores.local_copy(path) as again:
        assert again == copy
    assert bucket.proxy.requests == {"HEAD": 1}
    write(path, b"other")
    with stores.local_copy(path) as newer:
        assert newer.read_bytes() == b"other"
    for number in range(2):
        write(bucket.place(f"depth/{number}"), b"x")
        with stores.local_copy(bucket.place(f"depth/{number}")):
            pass
    assert not copy.exists(), "no more than two are kept"
    with pytest.raises(RefusedError, match="is not a file"), stores.local_copy(bucket.place("none")):
        pass


def test_local_copy_that_a_cleaner_took_is_fetched_again(bucket):
    path = bucket.place("depth/0001.npz")
    write(path, b"one")
    with stores.local_copy(path) as copy:
        shutil.rmtree(copy.parent)
    with stores.local_copy(path) as again:
        assert again.read_bytes() == b"one"


@pytest.mark.parametrize("how", ["gone", "full"])
def test_temporary_folder_that_fails_is_this_machine_s_and_no_missing_object(bucket, monkeypatch, tmp_path, how):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if how == "gone":
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    else:
        monkeypatch.setattr(shutil, "copyfileobj", full)
    path = bucket.place("depth/0002.npz")
    write(path, b"two")
    with pytest.raises(StoreError, match=r"depth/0002.npz' cannot be copied to this machine: .*TMPDIR"):
        stores.local_copy(path).__enter__()


def test_two_objects_are_copied_at_the_same_time_and_one_of_them_once(bucket, monkeypatch):
    both, copied = threading.Barrier(2, timeout=20), []

    def wait(source, target, _size: int) -> None:
        copied.append(target.name)
        both.wait()
        target.write(source.read())

    monkeypatch.setattr(shutil, "copyfileobj", wait)
    for name in ("a", "b"):
        write(bucket.place(f"both/{name}"), name.encode())

    def read(name: str) -> bytes:
        with stores.local_copy(bucket.place(f"both/{name}")) as copy:
            return copy.read_bytes()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, "abab")) == [b"a", b"b", b"a", b"b"]
    assert len(copied) == 2
    assert not stores._fetching, "locks are forgotten with their last user"


# --- other processes ---


def read_there(path: Path) -> bytes:
    return path.read_bytes()


def test_address_goes_to_other_processes(bucket):
    path = bucket.place("set/shard")
    write(path, b"content")
    assert pickle.loads(pickle.dumps(path)) == path
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(read_there, path).result() == b"content"


def test_forked_process_has_a_client_of_its_own(bucket):
    code = (
        "import os, sys; from hazegen import stores\n"
        "path = stores.place(sys.argv[1]); path.write_bytes(b'content'); child = os.fork()\n"
        "if child == 0: os._exit(0 if path.read_bytes() == b'content' else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0; assert path.read_bytes() == b'content'\n"
    )
    subprocess.run([sys.executable, "-c", code, str(bucket.place("set/shard"))], check=True, timeout=60)


def test_many_threads_share_a_client(bucket):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: write(bucket.place(f"set/{n}"), bytes([n]) * 1000), range(40)))
        assert list(pool.map(lambda n: bucket.place(f"set/{n}").read_bytes()[:1], range(40))) == [
            bytes([n]) for n in range(40)
        ]
    assert store_path._client.cache_info().currsize == 1


# --- options and scenes ---


@dataclass(frozen=True)
class Options:
    """Options.

    Attributes:
        folder: A folder.
        other: Another.
    """

    folder: Path
    other: Path | None = None


def test_options_that_are_paths_may_lie_in_a_store():
    built = config.build(Options, {"folder": "s3://haze-test/x", "other": "y"})
    assert built == Options(stores.place("s3://haze-test/x"), Path("y"))
    assert config.build(Options, {"folder": built.folder, "other": "none"}).other is None
    with pytest.raises(UsageError, match="is no store"):
        config.build(Options, {"folder": "http://host/x"})


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    return write_photos(tmp_path_factory.mktemp("s3") / "photos", scenes=1)


def save_pfm(path: Path, metres: np.ndarray) -> None:
    path.write_bytes(f"Pf\n{metres.shape[1]} {metres.shape[0]}\n-1.0\n".encode() + metres[::-1].tobytes())


def save_exr(path: Path, metres: np.ndarray) -> None:
    OpenEXR = pytest.importorskip("OpenEXR", reason="OpenEXR is not installed: pip install 'hazegen[exr]'")
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, {"Z": metres}) as file:
        file.write(str(path))


def save_mat(path: Path, metres: np.ndarray) -> None:
    importlib.import_module("scipy.io").savemat(path, {"depth": metres})


def save_h5(path: Path, metres: np.ndarray) -> None:
    with importlib.import_module("h5py").File(path, "w") as file:
        file["depth"] = metres


SAVED = {
    "png": lambda path, metres: cv2.imwrite(str(path), np.rint(metres / UNIT_M).astype(np.uint16)),
    "npy": np.save,
    "npz": lambda path, metres: np.savez_compressed(path, depth=metres),
    "pfm": save_pfm,
    "exr": save_exr,
    "mat": save_mat,
    "h5": save_h5,
}


@pytest.mark.parametrize("kind", SAVED)
def test_scene_of_a_store_is_that_of_the_disk(bucket, photos, tmp_path, kind):
    (key,) = photos.keys
    metres = np.linspace(1.0, 8.0, 64 * 96, dtype=np.float32).reshape(64, 96)
    (tmp_path / "depth").mkdir()
    SAVED[kind](tmp_path / "depth" / f"{key}.{kind}", metres)
    there = {name: bucket.put(getattr(photos, name), name) for name in ("images", "camera")}
    there["depth"] = bucket.put(tmp_path / "depth", "depth")
    here = {"images": photos.images, "camera": photos.camera, "depth": tmp_path / "depth"}
    told = {"unit": UNIT_M if kind == "png" else 1.0}
    found = [
        pairing.find_scenes(places["images"], places["depth"], "{key}", "{key}", containers.SUFFIXES)
        for places in (here, there)
    ]
    assert found[0] == found[1]
    (ref,) = found[0][0]
    loaded = [
        scenes.load(ref, Reading(**places, depth_format=told, depth_entries=False), RECIPE) for places in (here, there)
    ]
    assert np.array_equal(loaded[0].clean, loaded[1].clean)
    assert np.array_equal(loaded[0].distance_m, loaded[1].distance_m)
    assert loaded[0].camera == loaded[1].camera


def test_frames_of_one_file_in_a_store(bucket, tmp_path):
    stack = np.random.default_rng(0).random((3, 8, 9), np.float32)
    save_h5(tmp_path / "stack.h5", stack)
    path = bucket.put(tmp_path, "stack") / "stack.h5"
    fmt = DepthFormat()
    assert containers.count_frames(path, fmt) == 3
    bucket.proxy.requests.clear()
    for number in range(3):
        assert np.array_equal(containers.read_values(path, fmt, number), stack[number])
    assert bucket.proxy.requests == {"HEAD": 3}, "the whole file is fetched once"


@pytest.mark.usefixtures("impatient")
def test_missing_object_rejects_its_scene_and_a_failing_store_rejects_none(bucket, photos):
    (key,) = photos.keys
    reading = Reading(bucket.put(photos.images, "images"), bucket.put(photos.depth, "depth"), fov_deg=60.0)
    reading.depth_format["unit"] = UNIT_M
    ref = SceneRef(key, f"{key}.png", f"{key}.png")
    assert scenes.load(ref, reading, RECIPE).key == key
    with pytest.raises(scenes.SceneRejected, match="is not a file") as caught:
        scenes.load(SceneRef(key, f"{key}.png", "none.png"), reading, RECIPE)
    assert caught.value.code == "depth"
    for part in ("images", "depth"):
        bucket.proxy.fate = lambda number, method, path, part=part: INTERNAL if f"/{part}/" in path else None
        with pytest.raises(StoreError, match=f"/{part}/{key}.png' cannot be reached"):
            scenes.load(ref, reading, RECIPE)
