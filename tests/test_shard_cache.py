"""The cache of whole shards: what lies in it, what goes first, who waits, and what a killed process leaves."""

import errno
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from stream_fixtures import FakeStore

from aodnet import fetching, shard_cache, streaming
from aodnet.shard_cache import ShardCache
from aodnet.streaming import CacheOptions, Stream
from hazegen.errors import RefusedError, StoreError, UsageError, VerifyError
from hazegen.manifest import Shard

SIZE = 1000


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PAUSES_S", (0.01, 0.01))


@pytest.fixture
def shards(tmp_path: Path) -> list[Shard]:
    """Twelve shards of 1000 bytes in a folder."""
    (tmp_path / "store").mkdir()
    return [write_shard(tmp_path / "store", number) for number in range(12)]


def write_shard(folder: Path, number: int, size: int = SIZE) -> Shard:
    content = np.random.default_rng(number).bytes(size)
    name = f"train-{number:05d}.tfrecord"
    (folder / name).write_bytes(content)
    return Shard(name, "train", size, 1, hashlib.sha256(content).hexdigest())


@pytest.fixture
def store(tmp_path: Path, shards: list[Shard]) -> FakeStore:
    return FakeStore(tmp_path / "store")


@pytest.fixture
def cache_folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def stream_of(store: FakeStore, folder: Path, room: int) -> Stream:
    """A stream through a cache with room for so many shards."""
    return Stream(store, ShardCache(folder, room * SIZE))  # type: ignore[arg-type]


def read_all(stream: Stream, shards: list[Shard], at_once: int = 1) -> list[bytes]:
    """All shards in order, each given back at once."""
    found = []
    with stream.reading(shards, at_once) as hold:
        for number in range(len(shards)):
            with hold(number) as path:
                found.append(path.read_bytes())
    return found


def contents(store: FakeStore, shards: list[Shard]) -> list[bytes]:
    return [(store.folder / shard.name).read_bytes() for shard in shards]


def files_in(folder: Path, suffix: str = "") -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith(suffix) and path.name != "lock")


def size_of(folder: Path) -> int:
    """Bytes of shards, whole or on their way; files may go while they are looked at."""
    total = 0
    for path in folder.iterdir():
        if path.suffix in (shard_cache.WHOLE, shard_cache.PART):
            try:
                total += path.stat().st_size
            except FileNotFoundError:
                continue
    return total


# --- what is fetched, and what is not ---


def test_shards_come_whole_and_in_order_and_the_second_pass_fetches_none(store, shards, cache_folder):
    stream = stream_of(store, cache_folder, 12)
    for _ in range(2):
        assert read_all(stream, shards) == contents(store, shards)
    assert store.fetched == {shard.name: 1 for shard in shards}
    names = {path.name for path in files_in(cache_folder)}
    assert names == {f"{shard.sha256}.tfrecord" for shard in shards}


def test_fetching_begins_in_the_order_of_need(store, shards, cache_folder, monkeypatch):
    monkeypatch.setattr(streaming, "_FETCHERS", 1)
    order = [shards[number] for number in (7, 2, 9, 0, 5, 11, 1)]
    read_all(stream_of(store, cache_folder, 12), order)
    assert store.order == [shard.name for shard in order]


def test_shards_are_fetched_ahead_but_not_far(store, shards, cache_folder):
    stream = stream_of(store, cache_folder, 100)
    with stream.reading(shards, 2) as hold, hold(0), hold(1):
        wait_for(lambda: len(store.fetched) == 2 + shard_cache.AHEAD)
        time.sleep(0.1)
        assert len(store.fetched) == 2 + shard_cache.AHEAD


def wait_for(condition, seconds: float = 10.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_two_streams_of_one_process_share_a_cache(store, shards, cache_folder):
    results: dict[int, list[bytes]] = {}

    def work(number: int) -> None:
        results[number] = read_all(stream_of(store, cache_folder, 24), shards, 2)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == {number: contents(store, shards) for number in range(2)}
    assert store.fetched == {shard.name: 1 for shard in shards}


# --- the bound ---


@pytest.mark.parametrize(("room", "at_once"), [(1, 1), (3, 1), (3, 2), (5, 5)])
def test_a_larger_dataset_goes_through_a_small_cache_within_the_bound(store, shards, cache_folder, room, at_once):
    stream = stream_of(store, cache_folder, room)
    sizes = []
    for _ in range(2):
        with stream.reading(shards, at_once) as hold:
            for start in range(0, len(shards), at_once):
                held = [hold(number) for number in range(start, min(start + at_once, len(shards)))]
                paths = [block.__enter__() for block in held]
                sizes.append(size_of(cache_folder))
                found = [path.read_bytes() for path in paths]
                assert found == contents(store, shards[start : start + at_once])
                for block in held:
                    block.__exit__(None, None, None)
    assert max(sizes) <= room * SIZE
    assert not files_in(cache_folder, ".part")
    assert not files_in(cache_folder, ".reader")


def test_what_was_not_used_for_longest_goes_first(store, shards, cache_folder):
    stream = stream_of(store, cache_folder, 4)
    for number in (0, 1, 2, 3, 0, 4):
        read_all(stream, [shards[number]])
        time.sleep(0.01)
    assert {path.stem for path in files_in(cache_folder)} == {shards[number].sha256 for number in (2, 3, 0, 4)}


def test_what_is_held_is_never_removed(store, shards, cache_folder):
    """Also not by another process's cache, here another descriptor of the lock."""
    stream, other = stream_of(store, cache_folder, 4), stream_of(store, cache_folder, 4)
    with stream.reading(shards[:1], 1) as hold, hold(0) as path:
        read_all(other, shards[1:])
        assert path.read_bytes() == contents(store, shards)[0]
        assert size_of(cache_folder) <= 4 * SIZE
    read_all(other, shards[1:])
    assert not path.exists()


def test_handed_out_ahead_is_never_removed(store, shards, cache_folder):
    """What was fetched ahead, and not opened yet, stays however old it is."""
    stream, other = stream_of(store, cache_folder, 8), stream_of(store, cache_folder, 8)
    with stream.reading(shards[:4], 1) as hold:
        wait_for(lambda: len(files_in(cache_folder, ".tfrecord")) == 4)
        time.sleep(0.05)
        for path in files_in(cache_folder, ".tfrecord"):
            os.utime(path, (0, 0))
        read_all(other, shards[4:])
        for number in range(4):
            with hold(number) as path:
                assert path.read_bytes() == contents(store, shards)[number]
    assert max(store.fetched.values()) == 1


def test_too_small_a_cache_says_how_much_is_needed(store, shards, cache_folder):
    stream = stream_of(store, cache_folder, 2)
    with (
        pytest.raises(
            UsageError, match=r"is too small. Expected .* 3e-06 GB.*received 2e-06 GB. Pass --cache-gb 3.3e-06"
        ),
        stream.reading(shards, 3),
    ):
        pass
    assert not store.fetched
    read_all(stream, shards, 2)


def test_room_of_other_passes_counts(store, shards, cache_folder):
    first, second = (stream_of(store, cache_folder, 3) for _ in range(2))
    with first.reading(shards, 2):
        with pytest.raises(UsageError, match="beside the 2e-06 GB of other passes"), second.reading(shards, 2):
            pass
        assert len(read_all(second, shards, 1)) == 12
    assert len(read_all(second, shards, 3)) == 12


def test_the_largest_shards_decide(tmp_path, cache_folder):
    (tmp_path / "store").mkdir()
    shards = [write_shard(tmp_path / "store", number, size) for number, size in enumerate((10, 500, 20, 400, 30))]
    assert ShardCache.need(shards, 2) == 900
    assert ShardCache.need(shards, 9) == 960
    stream = Stream(FakeStore(tmp_path / "store"), ShardCache(cache_folder, 900))  # type: ignore[arg-type]
    assert len(read_all(stream, shards, 2)) == 5
    stream.cache.limit = 899
    with pytest.raises(UsageError, match="too small"):
        read_all(stream, shards, 2)


def test_check_room_ends_at_the_bound(cache_folder):
    cache = ShardCache(cache_folder, 100)
    cache.check_room(100)
    with pytest.raises(UsageError, match="too small"):
        cache.check_room(101)


def test_other_files_in_the_folder_are_left_alone(store, shards, cache_folder):
    cache_folder.mkdir()
    digest = "0" * 63
    names = ("mine.txt", "train-00000-of-00001.tfrecord", "model.part", "book.reader", "17.reader")
    names += (f"{digest}.tfrecord", f"{digest}0.tfrecord.bak", f"{digest}0x.part", f"{'0' * 31}.reader")
    for name in names:
        (cache_folder / name).write_bytes(b"17" * 2500)
    read_all(stream_of(store, cache_folder, 2), shards)
    assert {name: (cache_folder / name).read_bytes() for name in names} == dict.fromkeys(names, b"17" * 2500)


def test_a_folder_of_another_user_is_refused(cache_folder, monkeypatch):
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(UsageError, match=r"cannot be used \(Permission denied\).*--cache with a folder of your own"):
        ShardCache(cache_folder, 1).check_room(1)


# --- stores that fail, and shards that are not what they should be ---


def test_a_store_that_fails_is_tried_again(store, shards, cache_folder):
    store.failing[shards[3].name] = 2
    assert read_all(stream_of(store, cache_folder, 12), shards) == contents(store, shards)
    assert store.fetched[shards[3].name] == 3


def test_a_store_that_keeps_failing_is_told_and_the_next_run_goes_on(store, shards, cache_folder):
    store.failing[shards[3].name] = 3
    stream = stream_of(store, cache_folder, 12)
    with pytest.raises(StoreError, match=rf"Shard '{shards[3].name}' could not be fetched, 3 times.*--resume"):
        read_all(stream, shards)
    assert isinstance(stream.failure, StoreError)
    wait_for(lambda: not files_in(cache_folder, ".part"))
    assert read_all(stream, shards) == contents(store, shards)


def test_a_store_that_is_silent_is_not_waited_for_again(store, shards, cache_folder, monkeypatch):
    """Its library has tried for minutes already: three times that would be no answer either."""
    monkeypatch.setattr(fetching, "SILENCE_S", 0.0)
    store.failing[shards[3].name] = 99
    with pytest.raises(StoreError, match=rf"Shard '{shards[3].name}' could not be fetched, 1 times.*cut connection"):
        read_all(stream_of(store, cache_folder, 12), shards)
    assert store.fetched[shards[3].name] == 1


def test_a_failure_ahead_is_told_only_when_its_shard_is_due(store, shards, cache_folder):
    store.failing[shards[2].name] = 99
    with stream_of(store, cache_folder, 12).reading(shards, 1) as hold:
        for number in range(2):
            wait_for(lambda: store.fetched[shards[2].name] >= 3)
            with hold(number) as path:
                assert path.read_bytes() == contents(store, shards)[number]
        with pytest.raises(StoreError), hold(2):
            pass


def test_another_content_is_fetched_again_once(store, shards, cache_folder):
    store.damaged[shards[1].name] = 1
    assert read_all(stream_of(store, cache_folder, 12), shards) == contents(store, shards)
    assert store.fetched[shards[1].name] == 2


def test_another_content_twice_is_refused_and_not_kept(store, shards, cache_folder):
    store.damaged[shards[1].name] = 2
    with pytest.raises(
        VerifyError,
        match=rf"Shard '{shards[1].name}' in 's3://bucket/pairs' is not what the manifest says. Expected 1000 bytes of "
        rf"SHA-256 {shards[1].sha256[:12]}..., received SHA-256 [0-9a-f]{{12}}..., twice. Run hazegen repair",
    ):
        read_all(stream_of(store, cache_folder, 12), shards)
    assert not (cache_folder / f"{shards[1].sha256}.tfrecord").exists()
    wait_for(lambda: not files_in(cache_folder, ".part"))


@pytest.mark.parametrize(
    ("content", "received"),
    [(b"", "0 bytes"), (b"x" * 999, "999 bytes"), (b"x" * 1001, "more than 1000 bytes"), (None, "no such file")],
)
def test_another_size_is_refused(store, shards, cache_folder, content, received):
    path = store.folder / shards[0].name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(VerifyError, match=f"received {received}, twice"):
        read_all(stream_of(store, cache_folder, 12), shards)


def test_a_disk_that_is_full_is_no_failure_of_the_store(store, shards, cache_folder, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        read_all(stream_of(store, cache_folder, 12), shards)
    assert max(store.fetched.values()) == 1
    wait_for(lambda: not files_in(cache_folder, ".part"))
    assert not files_in(cache_folder, ".tfrecord")


def test_a_cut_copy_in_the_cache_is_fetched_again(store, shards, cache_folder):
    stream = stream_of(store, cache_folder, 12)
    read_all(stream, shards)
    path = stream.cache.path(shards[5])
    path.write_bytes(path.read_bytes()[:-1])
    assert read_all(stream, shards) == contents(store, shards)
    assert store.fetched[shards[5].name] == 2


@pytest.mark.parametrize("digest", ["../../evil", "A" * 64, "", "0" * 63])
def test_a_digest_that_is_none_is_refused(cache_folder, digest):
    with pytest.raises(RefusedError, match="Expected for shard 'a' a SHA-256"):
        ShardCache(cache_folder, 1).path(Shard("a", "train", 1, 1, digest))


def test_a_file_system_without_locks_is_refused(cache_folder, monkeypatch):
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(UsageError, match=r"has no locks \(No locks available\).*--cache"):
        ShardCache(cache_folder, 1).check_room(1)


# --- passes that end early ---


def test_a_pass_that_ends_early_gives_everything_back(store, shards, cache_folder):
    stream = stream_of(store, cache_folder, 12)
    before = len(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    for number in range(5):
        with stream.reading(shards, 3) as hold, hold(0):
            if number % 2:
                wait_for(lambda: len(store.fetched) >= 3)
    wait_for(lambda: threading.active_count() == threads)
    assert len(os.listdir("/proc/self/fd")) == before
    wait_for(lambda: not files_in(cache_folder, ".part"))
    assert not files_in(cache_folder, ".reader")


def test_a_pass_that_ends_while_it_fetches_leaves_nothing(store, shards, cache_folder):
    store.gate.clear()
    with stream_of(store, cache_folder, 12).reading(shards, 3):
        wait_for(lambda: len(files_in(cache_folder, ".part")) == 3)
    store.gate.set()
    wait_for(lambda: not files_in(cache_folder, ".part"))
    assert not files_in(cache_folder, ".tfrecord")


# --- several processes ---

READER = """
import sys, time, hashlib
from pathlib import Path
sys.path.insert(0, {tests!r})
from stream_fixtures import FakeStore
from test_shard_cache import read_all, stream_of, write_shard
from hazegen.manifest import Shard
import json, stream_fixtures

store = FakeStore(Path({store!r}))
shards = [Shard(**shard) for shard in json.loads({shards!r})]
if {slow}:
    def read(self, size=-1):
        sys.stdout.write("reading\\n")  # one write: threads print at the same time
        sys.stdout.flush()
        time.sleep(60)
    stream_fixtures._Cut.read = read
    for shard in shards:
        store.failing[shard.name] = 1
found = read_all(stream_of(store, Path({cache!r}), {room}), shards, 2)
print(hashlib.sha256(b"".join(found)).hexdigest(), sum(store.fetched.values()), flush=True)
"""


def start(
    store: FakeStore, shards: list[Shard], cache: Path, room: int, *, slow: bool = False
) -> subprocess.Popen[str]:
    import json

    program = READER.format(
        tests=str(Path(__file__).parent), store=str(store.folder), cache=str(cache), room=room, slow=slow,
        shards=json.dumps([vars(shard) for shard in shards]),
    )  # fmt: skip
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def test_two_processes_share_a_cache_and_fetch_each_shard_once(store, shards, cache_folder):
    readers = [start(store, shards, cache_folder, 24) for _ in range(2)]
    said = [reader.communicate(timeout=60)[0].split() for reader in readers]
    whole = hashlib.sha256(b"".join(contents(store, shards))).hexdigest()
    assert [digest for digest, _ in said] == [whole, whole]
    assert sum(int(fetched) for _, fetched in said) == 12


def test_two_processes_share_a_cache_that_is_smaller_than_the_dataset(store, shards, cache_folder):
    readers = [start(store, shards, cache_folder, 6) for _ in range(2)]
    while any(reader.poll() is None for reader in readers):
        if cache_folder.is_dir():
            assert size_of(cache_folder) <= 6 * SIZE
        time.sleep(0.005)
    said = [reader.communicate(timeout=60)[0].split() for reader in readers]
    whole = hashlib.sha256(b"".join(contents(store, shards))).hexdigest()
    assert [digest for digest, _ in said] == [whole, whole]
    assert len(files_in(cache_folder, ".tfrecord")) <= 6


def test_a_killed_process_leaves_no_wrong_file_and_holds_up_nobody(store, shards, cache_folder):
    reader = start(store, shards, cache_folder, 6, slow=True)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "reading\n"
    assert files_in(cache_folder, ".part")
    assert files_in(cache_folder, ".reader")
    reader.send_signal(signal.SIGKILL)
    reader.communicate(timeout=30)
    assert not files_in(cache_folder, ".tfrecord")
    stream = stream_of(store, cache_folder, 6)
    assert read_all(stream, shards, 6) == contents(store, shards)
    assert not files_in(cache_folder, ".part")
    assert not files_in(cache_folder, ".reader")
    assert size_of(cache_folder) <= 6 * SIZE


# --- options ---


def test_options_of_the_cache(tmp_path, monkeypatch):
    from hazegen import stores

    data = stores.place("s3://bucket/pairs")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    stream = streaming.open_stream(data, CacheOptions())
    assert stream is not None
    assert (stream.cache.folder, stream.cache.limit) == (tmp_path / "hazegen" / "shards", 20_000_000_000)
    stream = streaming.open_stream(data, CacheOptions(cache=tmp_path / "mine", cache_gb=0.5))
    assert stream is not None
    assert (stream.cache.folder, stream.cache.limit) == (tmp_path / "mine", 500_000_000)
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert streaming.default_folder() == Path.home() / ".cache" / "hazegen" / "shards"


def test_a_dataset_on_a_disk_needs_no_cache_and_takes_no_options_for_it(tmp_path):
    assert streaming.open_stream(tmp_path, CacheOptions()) is None
    for options in (CacheOptions(cache=tmp_path), CacheOptions(cache_gb=1.0)):
        with pytest.raises(UsageError, match="--cache and --cache-gb belong to a dataset in a store"):
            streaming.open_stream(tmp_path, options)


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), 1e9])
def test_size_of_the_cache_out_of_range(size):
    with pytest.raises(UsageError, match="--cache-gb is out of range"):
        CacheOptions(cache_gb=size)


def test_the_cache_lies_on_a_disk():
    from hazegen import stores

    with pytest.raises(UsageError, match="--cache has to lie on a disk"):
        CacheOptions(cache=stores.place("s3://bucket/cache"))
