"""Places on a disk and in a store: which addresses there are, and files that are there whole or not at all."""

import argparse
import errno
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hazegen import stores
from hazegen.errors import UsageError
from hazegen.verbs import new_parser

pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'hazegen[s3]'")


# --- addresses ---


def test_text_without_a_scheme_is_a_path_of_this_machine():
    assert stores.place("a/b") == Path("a/b")
    assert stores.place(Path("s3:/odd")) == Path("s3:/odd")
    assert not stores.is_remote(stores.place("a"))


def test_address_of_a_store_has_the_methods_of_a_path():
    place = stores.place("s3://bucket/set/train-0.tfrecord")
    assert stores.is_remote(place)
    assert (place.name, place.stem, place.suffix) == ("train-0.tfrecord", "train-0", ".tfrecord")
    assert str(place.parent / "x" / "y.png") == "s3://bucket/set/x/y.png"
    assert str(place.with_name("z")) == "s3://bucket/set/z"
    assert str(place.with_suffix(".json")) == "s3://bucket/set/train-0.json"
    assert str(place.relative_to(stores.place("s3://bucket"))) == "set/train-0.tfrecord"
    assert place.is_relative_to(stores.place("s3://bucket/set"))
    assert not place.is_relative_to(stores.place("s3://other"))
    assert [str(parent) for parent in place.parents] == ["s3://bucket/set", "s3://bucket"]
    assert place.resolve() == place.absolute() == stores.place(str(place))
    assert len({place, stores.place(str(place)), stores.place("s3://bucket")}) == 2
    assert sorted([place, stores.place("s3://a")])[0] == stores.place("s3://a")
    assert stores.place("s3://bucket").parent == stores.place("s3://bucket/")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ftp://host/x", r"'ftp://' is no store .* s3:// or gs://"),
        ("s3://", "does not begin with the name of a bucket .*received none"),
        ("s3:///folder", "received none"),
        ("s3://key:hunter2@bucket/x", "not repeated here.*credentials come from the environment"),
        ("s3://user@bucket/x", "not repeated here"),
    ],
)
def test_other_addresses_are_refused_and_no_secret_is_repeated(text, told):
    with pytest.raises(UsageError, match=f"(?s){told.replace(' .*', '.*')}") as caught:
        stores.place(text)
    assert "hunter2" not in str(caught.value)


def test_store_without_its_library_names_the_extra(monkeypatch):
    monkeypatch.setattr(stores, "EXTRAS", {"gs": "no_such_library"})
    with pytest.raises(UsageError, match=r"extra 'gs', .*pip install 'hazegen\[gs\]'"):
        stores.place("gs://bucket")


def test_parser_shows_the_words_of_a_refused_address(capsys):
    parser = new_parser("prog", "", "")
    parser.add_argument("dataset", type=stores.place)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["s3://key:hunter2@bucket"])
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert "credentials come from the environment" in told
    assert "hunter2" not in told
    assert isinstance(parser.parse_args(["folder"]), argparse.Namespace)


def test_what_needs_a_disk_refuses_a_store():
    with pytest.raises(UsageError, match=r"The cache has to lie on a disk\. .*'s3://bucket/x'"):
        stores.on_disk(stores.place("s3://bucket/x"), "The cache")
    assert stores.on_disk(Path("x"), "The cache") == Path("x")


# --- files on a disk ---


def no_links(number: int):
    def link(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return link


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS], ids=errno.errorcode.get)
def test_of_many_writers_of_a_new_file_one_succeeds_without_hard_links_too(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "link", no_links(number))
    path, together = tmp_path / "plan", threading.Barrier(8)

    def write(letter: int) -> bool:
        together.wait()
        return stores.write_new(path, [f"{letter}\n"] * 1000)

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(write, range(8)))
    assert sum(done) == 1
    assert path.read_text() == f"{done.index(True)}\n" * 1000
    assert os.listdir(tmp_path) == ["plan"]


def test_other_failures_of_a_link_are_failures(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        stores.write_new(tmp_path / "plan", ["a"])
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP], ids=errno.errorcode.get)
def test_folder_that_cannot_be_synced_is_left_as_it_is(tmp_path, monkeypatch, number):
    sync, folders = os.fsync, []

    def only_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            folders.append(descriptor)
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    stores.write_text(tmp_path / "a", ["a"])
    assert (tmp_path / "a").read_text() == "a"
    assert folders
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        stores.write_text(tmp_path / "b", ["b"])


def test_file_has_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "a.bin"
    with stores.whole_file(path) as file:
        file.write(b"abc")
        assert not path.exists()
    assert path.read_bytes() == b"abc"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")

    def fail() -> None:
        with stores.whole_file(path) as file:
            file.write(b"after")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_names_that_are_no_utf8_come_back(tmp_path):
    stores.write_text(tmp_path / "names", ["caf\udce9\n"])
    assert (tmp_path / "names").read_bytes() == b"caf\xe9\n"


def test_new_file_never_replaces_another(tmp_path):
    path = tmp_path / "plan"
    assert stores.write_new(path, ["a\n", "b\n"])
    assert not stores.write_new(path, ["c\n"])
    assert path.read_text() == "a\nb\n"
    assert os.listdir(tmp_path) == ["plan"]


def test_of_many_writers_of_a_new_file_one_succeeds(tmp_path):
    path, together = tmp_path / "plan", threading.Barrier(8)

    def write(number: int) -> bool:
        together.wait()
        return stores.write_new(path, [f"{number}\n"] * 1000)

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(write, range(8)))
    assert sum(done) == 1
    assert path.read_text() == f"{done.index(True)}\n" * 1000
    assert os.listdir(tmp_path) == ["plan"]


def test_killed_writer_leaves_no_final_name_and_is_swept(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from hazegen import stores\n"
        "with stores.whole_file(Path(sys.argv[1]) / 'a.bin') as file:\n"
        "    file.write(b'x' * 100_000); file.flush(); print('half', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(stores.TEMPORARY)
    assert stores.sweep(tmp_path, "b.bin") == 0
    assert stores.sweep(tmp_path) == 1
    assert not list(tmp_path.iterdir())
    assert stores.sweep(tmp_path / "none") == 0


def test_reader_in_a_loop_never_sees_a_part(tmp_path):
    path, size, seen = tmp_path / "a.bin", 300_000, set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            if path.exists():
                data = path.read_bytes()
                seen.add((len(data), len(set(data))))

    reader = threading.Thread(target=read)
    reader.start()
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        for letter in b"abc":
            with stores.whole_file(path) as file:
                for _ in range(3):
                    file.write(bytes([letter]) * (size // 3))
    stop.set()
    reader.join()
    assert seen == {(size, 1)}


# --- what is below a folder, and local copies ---


def test_files_below_a_folder(tmp_path):
    for name in ("b.png", "sub/a.png", "sub/deep/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert sorted(stores.files_below(tmp_path)) == ["b.png", "sub/a.png", "sub/deep/c.png"]
    with pytest.raises(UsageError, match=r"is not a folder\. .*received a file"):
        list(stores.files_below(tmp_path / "b.png"))
    with pytest.raises(UsageError, match="received nothing of that name"):
        list(stores.files_below(tmp_path / "none"))


def test_folders_that_links_lead_to_are_folders_like_any(tmp_path):
    (tmp_path / "x" / "a").mkdir(parents=True)
    for name in ("w", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "link").symlink_to("../x/a")
    (tmp_path / "x" / "a" / "up").symlink_to("../..")
    (tmp_path / "x" / "a" / "1.png").touch()
    found = sorted(stores.files_below(tmp_path))
    assert found == ["w/link/1.png", "x/a/1.png", "y/link/1.png"]


def test_two_folders_that_lead_to_each_other_have_an_end(tmp_path):
    for name, other in (("in/a", "../../out/b"), ("out/b", "../../in/a")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "link").symlink_to(other)
        (tmp_path / name / "1.png").touch()
    assert sorted(stores.files_below(tmp_path / "in")) == ["a/1.png", "a/link/1.png"]


def test_local_copy_of_a_local_file_is_the_file(tmp_path):
    with stores.local_copy(tmp_path / "x") as path:
        assert path == tmp_path / "x"


def test_files_of_a_name_with_one_of_some_suffixes(tmp_path):
    for name in ("0001.png", "0001.json", "0001.more.npy", "00012.npy"):
        (tmp_path / name).touch()
    assert stores.with_suffixes(tmp_path / "0001", (".npy", ".png")) == [tmp_path / "0001.png"]
    assert stores.is_folder(tmp_path)
    assert not stores.is_folder(tmp_path / "0001.png")
