"""hazegen pull: equal bytes, resumed and held against every digest, and no file where a hostile artifact wants one."""

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import UNIT_M, shipped_recipe, write_photos
from wandb_fixtures import served
from wandb_server import ENTITY, Artifact, Fault, Server

import hazegen.cli
from hazegen import manifest, publish, pull
from hazegen.errors import RefusedError, StoreError, UsageError, VerifyError
from hazegen.make import make
from hazegen.make_options import MakeOptions
from hazegen.publish import PublishOptions
from hazegen.tracking import Choice

SOURCE = f"wandb:{ENTITY}/haze/rooms:latest"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dataset of 6 scenes in several shards, to be read only."""
    root = tmp_path_factory.mktemp("pull")
    photos = write_photos(root / "photos", scenes=6, height=32, width=48)
    folders = {"images": photos.images, "depth": photos.depth, "out": root / "pairs"}
    options = MakeOptions(**folders, depth_scale=UNIT_M, variants=2, shard_mb=0.003,
                          splits="train=0.6,validation=0.2,test=0.2", workers=1)  # fmt: skip
    make(options, shipped_recipe("aod-released"))
    return options.out


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has the dataset as rooms:v0, with the alias 'paper'."""
    with served(tmp_path_factory.mktemp("home")) as server:
        options = PublishOptions("haze", "rooms", alias="paper", mode="online")
        publish.publish(folder, options, publish.choose(options), lambda _: None)
        yield server


@pytest.fixture(autouse=True)
def sound(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A sound server before and after each test, and no pause between tries."""
    monkeypatch.setattr(pull, "PAUSE_S", 0.01)
    server.spoil(None)
    yield
    server.spoil(None)


@pytest.fixture
def rooms(server: Server) -> Artifact:
    (artifact,) = (item for item in server.artifacts if item.collection == "rooms")
    return artifact


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content).digest()).decode()


def downloads(server: Server, since: int) -> list[str]:
    """Names of the files that were asked for since; W&B's own list of them is none."""
    names = [Path(item.partition(" ")[2]).name for item in server.requests[since:] if item.startswith("GET /")]
    return [name for name in names if name != "wandb_manifest.json"]


def check_equal(folder: Path, out: Path) -> None:
    """All files of the dataset are in `out`, and nothing else but the note where they are from."""
    assert {path.name for path in out.iterdir()} == {path.name for path in folder.iterdir()} | {pull.SOURCE}
    for path in folder.iterdir():
        assert sha256(out / path.name) == sha256(path)


# --- what goes well ---


def test_pulled_is_equal_and_sound(
    folder: Path, server: Server, rooms: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    count = len(manifest.load(folder).shards)
    assert count >= 5
    assert hazegen.cli.main(["pull", f"wandb:{ENTITY}/haze/rooms:paper"]) == 0
    out = Path("artifacts", ENTITY, "haze", "rooms-v0")
    printed = capsys.readouterr().out
    assert f"{ENTITY}/haze/rooms:v0 in '{out}': {count} shards" in printed
    assert f"{count} fetched, 0 there already." in printed
    assert f"next: aodnet fit --data {out}" in printed
    check_equal(folder, out)
    assert pull.read_source(out) == {"artifact": f"{ENTITY}/haze/rooms:v0", "digest": rooms.digest}
    assert hazegen.cli.main(["verify", str(out), "--workers", "1"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["artifacts"]

    before = len(server.requests)
    times = {path: path.stat().st_mtime_ns for path in out.iterdir() if path.name != pull.SOURCE}
    pulled = pull.pull(SOURCE)
    assert (pulled.fetched, pulled.kept, pulled.left_out) == (0, count, 0)
    assert downloads(server, before) == [], "a finished pull fetches nothing"
    assert {path: path.stat().st_mtime_ns for path in times if path.name != "manifest.json"} == {
        path: value for path, value in times.items() if path.name != "manifest.json"
    }

    # Lost, cut and changed files alone are fetched again.
    names = sorted(path.name for path in out.glob("*.tfrecord"))
    (out / names[0]).unlink()
    (out / names[1]).write_bytes((out / names[1]).read_bytes()[:-1])
    (out / names[2]).write_bytes((out / names[2]).read_bytes()[::-1])
    (out / "README.md").write_text("mine")
    (out / "preview.jpg").unlink()
    before = len(server.requests)
    assert pull.pull(SOURCE).fetched == 3
    assert sorted(downloads(server, before)) == sorted([*names[:3], "README.md", "preview.jpg"])
    check_equal(folder, out)
    assert pull.read_source(folder) == {}


def test_files_of_others_are_left_out(
    folder: Path, server: Server, rooms: Artifact, tmp_path: Path, capsys: Any, hostile: "Hostile"
) -> None:
    hostile.entries["notes.txt"] = {"digest": hostile.store(b"notes"), "size": 5}
    hostile.entries["deep/train-0.tfrecord"] = {"digest": hostile.store(b"notes"), "size": 5}
    assert hazegen.cli.main(["pull", SOURCE, "--out", str(tmp_path / "out")]) == 0
    assert "2 files of the artifact are no part of the dataset and were left out." in capsys.readouterr().out
    check_equal(folder, tmp_path / "out")


# --- interrupted ---


def test_pull_goes_on_after_an_outage(folder: Path, server: Server, tmp_path: Path) -> None:
    """The server fails after the manifest and one shard; the same command then fetches the others alone."""
    out = tmp_path / "out"
    server.spoil(Fault("500", "download", after=3))  # W&B's list, the manifest, a shard
    with pytest.raises(
        StoreError, match=r"W&B cannot be reached. Expected an answer, received: '.*tfrecord': HTTPError"
    ):
        pull.pull(SOURCE, out)
    there = {path.name for path in out.glob("*.tfrecord")}
    assert len(there) == 1
    assert not (out / "manifest.json").exists(), "it is no dataset yet"
    server.spoil(None)
    before = len(server.requests)
    count = len(manifest.load(folder).shards)
    pulled = pull.pull(SOURCE, out)
    assert (pulled.fetched, pulled.kept) == (count - 1, 1)
    assert not there & set(downloads(server, before))
    check_equal(folder, out)


@pytest.mark.parametrize("what", ["500", "429", "refuse", "cut"])
def test_single_failures_are_tried_again(folder: Path, server: Server, tmp_path: Path, what: Any) -> None:
    server.spoil(Fault(what, "download", after=2, count=2))
    pull.pull(SOURCE, tmp_path / "out")
    check_equal(folder, tmp_path / "out")


def test_killed_pull_goes_on(folder: Path, server: Server, tmp_path: Path) -> None:
    """kill -9 in the middle of the shards, which come slowly."""
    out = tmp_path / "out"
    server.spoil(Fault("slow", "download", after=4, delay_s=30.0))
    command = [sys.executable, "-c", "import sys, hazegen.cli; sys.exit(hazegen.cli.main(sys.argv[1:]))"]
    process = subprocess.Popen([*command, "pull", SOURCE, "--out", str(out)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(out.glob("*.tfrecord")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    there = {path.name for path in out.glob("*.tfrecord")}
    assert there
    assert (out / ".pull").exists()
    (out / ".pull" / "rest").write_bytes(b"of a download that was cut")
    server.spoil(None)
    before = len(server.requests)
    pulled = pull.pull(SOURCE, out)
    assert pulled.kept >= len(there)
    assert not there & set(downloads(server, before))
    check_equal(folder, out)


@pytest.mark.parametrize("where", ["ArtifactMembershipByName", "FetchArtifactManifest", "download"])
def test_silent_server_holds_no_pull(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """'download' is W&B's own list of the files, of which wandb asks without a limit of time."""
    monkeypatch.setattr(pull, "LIST_S", 1.0)
    server.spoil(Fault("stall", where, count=1))
    with pytest.raises(StoreError, match=r"W&B cannot be reached. Expected an answer, received: TimeoutError: "):
        pull.pull(SOURCE, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", ["download", "ArtifactMembershipFiles"])
def test_silence_in_the_middle_is_tried_again(
    folder: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(pull, "SILENCE_S", (1.0, 0.5))
    server.spoil(Fault("stall", where, after=2, count=1))
    pull.pull(SOURCE, tmp_path / "out")
    check_equal(folder, tmp_path / "out")


# --- refused ---


def test_other_content_is_refused(folder: Path, server: Server, tmp_path: Path, dataset_copy: Path) -> None:
    def check(out: Path, message: str) -> None:
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        with pytest.raises(RefusedError, match=message):
            pull.pull(SOURCE, out)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before

    (tmp_path / "file").write_text("x")
    check(tmp_path / "file", "is a file. Expected a new folder, received a file. Choose another --out.")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("x")
    check(tmp_path / "notes", f"holds something else. Expected a new folder, or one with {ENTITY}/haze/rooms:v0 of "
                              r"digest \w+, received other files. Choose another --out.")  # fmt: skip
    check(dataset_copy, "holds something else")
    (dataset_copy / pull.SOURCE).write_text(json.dumps({"artifact": "a/b/c:v9", "digest": "0"}))
    check(dataset_copy, "received {'artifact': 'a/b/c:v9', 'digest': '0'}. Choose another --out.")
    (dataset_copy / pull.SOURCE).write_text("[]")
    check(dataset_copy, "received other files")


def test_note_that_was_being_written_is_no_other_content(folder: Path, server: Server, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "source.json.1-0a1b2c3d-0.tmp").write_text("{")
    pull.pull(SOURCE, tmp_path / "out")
    check_equal(folder, tmp_path / "out")


@pytest.mark.parametrize(
    "source",
    ["rooms", "wandb:rooms", "wandb:haze/rooms:latest", "wandb:a/b/c", "wandb:a/b/c/d:v1", "wandb:a/b/c:v 1", "wandb:",
     "wandb:a/b/c:v1\n", "wandb:a/b/../c:v1", "WANDB:a/b/c:v1", "wandb:a/b/c:v1:v2", "wandb://a/b/c:v1"],
)  # fmt: skip
def test_addresses_are_refused(source: str, server: Server, tmp_path: Path) -> None:
    before = len(server.requests)
    with pytest.raises(UsageError, match=r"No such address. Expected wandb:entity/project/name:alias, received '"):
        pull.pull(source, tmp_path / "out")
    assert len(server.requests) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", ["haze/rooms:v9", "haze/rooms:none", "haze/other:latest", "other/rooms:latest"])
def test_unknown_artifact(source: str, server: Server, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"There is no such artifact. Expected one that W&B knows and the key may read"
    ):
        pull.pull(f"wandb:{ENTITY}/{source}", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_artifact_of_another_type(server: Server, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"rooms-photos:latest' is no dataset. Expected an artifact of type dataset"):
        pull.pull(f"wandb:{ENTITY}/haze/rooms-photos:latest", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_key_and_wrong_key(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pull", SOURCE, "--out", str(tmp_path / "out")]
    monkeypatch.setenv("WANDB_API_KEY", "f" * 40)
    assert hazegen.cli.main(words) == 2
    monkeypatch.delenv("WANDB_API_KEY")
    assert hazegen.cli.main(words) == 2
    error = capsys.readouterr().err
    assert error.count("W&B cannot be used online. Expected an API key that the server accepts") == 2
    assert "f" * 40 not in error
    assert not (tmp_path / "out").exists()


def test_server_is_down(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert hazegen.cli.main(["pull", SOURCE, "--out", str(tmp_path / "out")]) == 4
    error = capsys.readouterr().err
    assert "W&B cannot be reached. Expected an answer, received: no answer from the server" in error
    assert "Give the same command again: it goes on where it was left." in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("operation", ["ArtifactMembershipByName", "FetchArtifactManifest"])
def test_server_that_refuses_in_between(server: Server, tmp_path: Path, operation: str) -> None:
    server.spoil(Fault("401", operation))
    with pytest.raises(StoreError, match=r"W&B cannot be reached. Expected an answer, received: "):
        pull.pull(SOURCE, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_full_disk_is_no_outage(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pull, "_download", fail)
    with pytest.raises(OSError, match="No space left on device"):
        pull.pull(SOURCE, tmp_path / "out")


# --- damaged and hostile ---


def sealed(content: dict[str, Any]) -> bytes:
    """A manifest with the digest of its content: who can change the one can change the other."""
    return json.dumps(content | {manifest.SEAL: manifest.seal(content)}).encode()


class Hostile:
    """The artifact rooms:v0 with other content: W&B's list of files as `entries`, and the stored files."""

    def __init__(self, server: Server, artifact: Artifact, folder: Path):
        self.server, self.artifact, self.scratch = server, artifact, folder
        assert artifact.manifest_file is not None
        self.kept = (artifact.manifest_file, artifact.manifest)
        self.list = json.loads(artifact.manifest_file.read_bytes())
        self.entries: dict[str, Any] = self.list["contents"]
        artifact.manifest, artifact.manifest_file = self.list, folder / "list.json"
        self.stored: list[Path] = []

    def store(self, content: bytes, md5: str = "") -> str:
        """Stores a file, under the MD5 of another one where that is given; returns the MD5."""
        digest = hashlib.md5(content).digest()
        path = self.server.storage._contents / (base64.b64decode(md5) if md5 else digest).hex()
        if not path.exists():
            path.write_bytes(content)
            self.stored.append(path)
        return md5 or base64.b64encode(digest).decode()

    def dataset(self) -> dict[str, Any]:
        """The dataset's own manifest, to be changed and given back to `rewrite`."""
        return json.loads(self.server.content(self.artifact, "manifest.json"))

    def rewrite(self, content: dict[str, Any]) -> None:
        data = sealed(content)
        self.entries["manifest.json"] = {"digest": self.store(data), "size": len(data)}

    def send(self) -> None:
        """Writes the list where the server will look for it."""
        self.artifact.manifest_file.write_text(json.dumps(self.list))  # type: ignore[union-attr]

    def restore(self) -> None:
        self.artifact.manifest_file, self.artifact.manifest = self.kept
        for path in self.stored:
            path.unlink()


@pytest.fixture
def hostile(
    server: Server, rooms: Artifact, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hostile]:
    """What a pull in this test gets; its changes are sent when it begins, and the key is not asked for again."""
    hostile = Hostile(server, rooms, tmp_path_factory.mktemp("hostile"))

    def choose(_: str) -> Choice:
        hostile.send()
        return Choice("online", "the key is known to be good")

    monkeypatch.setattr(pull.tracking, "choose_mode", choose)
    yield hostile
    hostile.restore()


def tree(*roots: Path) -> set[tuple[Any, ...]]:
    """Every file, folder and link below the roots, with inode, size and time."""
    found = set()
    for root in roots:
        for path in [root, *root.rglob("*")]:
            about = path.lstat()
            found.add((str(path), about.st_ino, about.st_mode, about.st_size, about.st_mtime_ns))
    return found


@pytest.fixture
def fenced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for a pull, 4 folders down; nothing around it may change."""
    place = tmp_path / "a" / "b" / "c"
    place.mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "a", place):
        (folder / "victim.tfrecord").write_bytes(b"mine")
    monkeypatch.chdir(place)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path.parent / f"{tmp_path.name}-temporary"))
    Path(tmp_path.parent / f"{tmp_path.name}-temporary").mkdir()
    out = place / "out"
    before = {item for item in tree(tmp_path) if item[0] != str(place)}
    yield out
    inside = {item for item in tree(tmp_path) if Path(item[0]).is_relative_to(out) or item[0] == str(place)}
    assert tree(tmp_path) - inside == before
    for path in out.rglob("*"):
        assert path.resolve().is_relative_to(out.resolve())


NAMES = [
    "../victim.tfrecord", "../../victim.tfrecord", "a/../../victim.tfrecord", "./victim.tfrecord", "..", ".", "",
    "/tmp/victim.tfrecord", "//tmp/victim.tfrecord", "/victim.tfrecord", "~/victim.tfrecord", "a/b.tfrecord",
    "..\\victim.tfrecord", "a\\b.tfrecord", "\\victim.tfrecord", "\\\\host\\share\\a.tfrecord", "C:\\a.tfrecord",
    "C:/a.tfrecord", "C:a.tfrecord", "a.tfrecord:stream", "a\0.tfrecord", "a.tfrecord\0", "\0", "a\n.tfrecord",
    "a\r.tfrecord", "a\t.tfrecord", "\x1b[2J.tfrecord", "x" * 300 + ".tfrecord", ".hidden.tfrecord", "-rf.tfrecord",
    " a.tfrecord", "a.tfrecord ", "%2e%2e/a.tfrecord", "%2e%2e%2fa.tfrecord", "..%2fa.tfrecord",
    "\u2025/a.tfrecord", "a\u2215b.tfrecord", "ä.tfrecord", "a.tfrecord/", "file:///etc/passwd", "$HOME.tfrecord",
]  # fmt: skip
# Plain names, but of files that are something else, or that are shards of no name of ours.
TAKEN = ["manifest.json", "inputs.csv", "plan.jsonl", "README.md", "croissant.json", "preview.jpg", "source.json",
         "wandb.json", "a.tfrecord.tmp", "a.txt", "a"]  # fmt: skip


def test_there_are_enough_hostile_names() -> None:
    assert len(NAMES) >= 40
    assert len(set(NAMES)) == len(NAMES)


@dataclass(frozen=True)
class Entry:
    """What wandb tells of a file."""

    digest: str
    size: int
    ref: str | None = None


def test_hostile_names_in_our_manifest(hostile: Hostile, fenced: Path) -> None:
    """The manifest is refused as it is read, before any other file is fetched."""
    work = fenced / pull.WORK
    for name in [*NAMES, *TAKEN]:
        work.mkdir(parents=True)
        data = hostile.dataset()
        data["shards"].append({"name": name, "split": "train", "bytes": 4, "records": 0, "sha256": "0" * 64})
        bad = sealed(data)
        (fenced / "manifest.json").write_bytes(bad)
        entries = {item: Entry(entry["digest"], entry["size"]) for item, entry in hostile.entries.items()}
        entries |= {name: Entry("0", 4), "manifest.json": Entry(md5(bad), len(bad))}
        with pytest.raises(RefusedError, match=r"names a shard that may lie elsewhere|names that end in .tfrecord"):
            pull._fetch_manifest(pull._Transfer(None, entries, fenced))
        shutil.rmtree(fenced)


@pytest.mark.parametrize(
    "name", [*NAMES[:4], NAMES[7], NAMES[12], NAMES[16], NAMES[20], NAMES[27], *TAKEN[:3], "a.txt"]
)
def test_hostile_shard_is_refused_end_to_end(hostile: Hostile, fenced: Path, server: Server, name: str) -> None:
    data = hostile.dataset()
    digest = hashlib.sha256(b"evil").hexdigest()
    data["shards"].append({"name": name, "split": "train", "bytes": 4, "records": 0, "sha256": digest})
    hostile.entries[name] = {"digest": hostile.store(b"evil"), "size": 4}
    hostile.rewrite(data)
    before = len(server.requests)
    with pytest.raises(RefusedError, match="Do not use this dataset"):
        pull.pull(SOURCE, fenced)
    assert set(downloads(server, before)) <= {"manifest.json"}
    assert {path.name for path in fenced.iterdir()} <= {".pull", "source.json"}


def test_hostile_names_in_the_list_of_files_are_left_out(hostile: Hostile, fenced: Path, folder: Path) -> None:
    """All at once: what the dataset's manifest does not name becomes no file."""
    for name in NAMES:
        hostile.entries[name] = {"digest": hostile.store(b"evil"), "size": 4}
    pulled = pull.pull(SOURCE, fenced)
    assert pulled.left_out >= 35, "some names are one to wandb"
    check_equal(folder, fenced)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["shards"].append(dict(data["shards"][0])),
        lambda data: data["shards"].append(data["shards"][0] | {"name": data["shards"][0]["name"].capitalize()}),
    ],
    ids=["twice", "case"],
)
def test_clashing_names_are_refused(hostile: Hostile, fenced: Path, change: Callable[[dict[str, Any]], None]) -> None:
    data = hostile.dataset()
    change(data)
    for shard in data["shards"]:
        hostile.entries.setdefault(shard["name"], {"digest": hostile.store(b"evil"), "size": shard["bytes"]})
    hostile.rewrite(data)
    with pytest.raises(RefusedError, match=r"Expected shards of different names that end in .tfrecord, received"):
        pull.pull(SOURCE, fenced)


@pytest.mark.parametrize(
    ("ref", "size"),
    [
        ("file:///etc/passwd", None),
        ("file:///dev/zero", 0),
        ("file:///dev/null", 0),
        ("file:///proc/self/environ", 0),
        ("file://{place}/victim.tfrecord", 4),
        ("file://{place}", 4),
        ("http://127.0.0.1:9/{name}", None),
        ("https://127.0.0.1:9/{name}", None),
        ("wandb-artifact://00/{name}", None),
        ("wandb-client-artifact://00/{name}", None),
        ("ftp://127.0.0.1/{name}", None),
        ("{name}", None),
        ("/etc/{name}", None),
        ("file:///nowhere/{name}", None),
        ("https://account.blob.core.windows.net/c/{name}", None),
    ],
)
def test_references_to_elsewhere_are_refused(hostile: Hostile, fenced: Path, ref: str, size: int | None) -> None:
    data = hostile.dataset()
    shard = data["shards"][0]
    if size is not None:
        shard["bytes"] = size
        hostile.rewrite(data)
    url = ref.format(name=shard["name"], place=fenced.parent)
    hostile.entries[shard["name"]] = {"digest": "0", "ref": url, "size": shard["bytes"]}
    with pytest.raises(
        RefusedError, match=rf"'{shard['name']}' cannot be fetched. .* s3, gs, file, received .*elsewhere"
    ):
        pull.pull(SOURCE, fenced)
    assert not (fenced / shard["name"]).exists()
    assert not (fenced / "manifest.json").exists()


@pytest.mark.parametrize("name", ["manifest.json", "README.md", "plan.jsonl"])
def test_companions_are_no_references(hostile: Hostile, fenced: Path, tmp_path: Path, name: str) -> None:
    """Not even to a file that is there: it would be copied into the dataset from anywhere on this machine."""
    place = tmp_path.parent / f"{tmp_path.name}-temporary" / name
    place.write_text("private")
    hostile.entries[name] = {"digest": md5(b"private"), "ref": place.as_uri(), "size": 7}
    with pytest.raises(RefusedError, match=f"The artifact's '{name}' cannot be fetched"):
        pull.pull(SOURCE, fenced)
    assert not (fenced / name).exists()


def test_texts_without_end_are_refused(hostile: Hostile, fenced: Path) -> None:
    hostile.entries["manifest.json"] = {"digest": hostile.store(b"{}"), "size": pull.LARGEST_TEXT + 1}
    with pytest.raises(RefusedError, match=f"cannot be fetched. .* received {pull.LARGEST_TEXT + 1} bytes. Publish it"):
        pull.pull(SOURCE, fenced)


def test_more_bytes_than_listed_fill_no_disk(hostile: Hostile, fenced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "CHUNK", 1000)
    written: list[int] = []
    check = pull._is_entry
    monkeypatch.setattr(pull, "_is_entry", lambda path, entry: (
        written.append(path.stat().st_size if path.exists() else 0), check(path, entry))[1])  # fmt: skip
    hostile.entries["manifest.json"] = {"digest": hostile.store(b"x" * 10_000_000), "size": 1500}
    with pytest.raises(VerifyError, match=r"'manifest.json' is not what W&B lists. Expected 1500 bytes of MD5"):
        pull.pull(SOURCE, fenced)
    assert max(written) <= 1500


@pytest.mark.parametrize("name", ["shard", "manifest.json", "README.md", "inputs.csv"])
@pytest.mark.parametrize("damage", ["flipped", "short", "long"])
def test_damaged_download_is_refused(hostile: Hostile, server: Server, fenced: Path, name: str, damage: str) -> None:
    """The server gives other bytes than those that were published."""
    name = sorted(hostile.entries)[-1] if name == "shard" else name
    content = server.content(hostile.artifact, name)
    other = {"flipped": content[:-1] + bytes([content[-1] ^ 1]), "short": content[:-1], "long": content + b"0"}[damage]
    path = server.storage.find(hostile.entries[name]["digest"])
    assert path is not None
    kept = path.read_bytes()
    path.unlink()  # it is a second name of the upload's body
    path.write_bytes(other)
    try:
        with pytest.raises(VerifyError, match=f"'{name}' is not what W&B lists. Expected {len(content)} bytes of MD5 "):
            pull.pull(SOURCE, fenced)
    finally:
        path.write_bytes(kept)
    assert not (fenced / name).exists()
    assert not (fenced / "manifest.json").exists()


def test_shard_that_is_not_the_manifests_is_refused(hostile: Hostile, fenced: Path) -> None:
    """W&B's MD5 is right, the manifest's SHA-256 is not."""
    data = hostile.dataset()
    shard = data["shards"][-1]
    hostile.entries[shard["name"]] = {"digest": hostile.store(b"x" * shard["bytes"]), "size": shard["bytes"]}
    with pytest.raises(
        VerifyError, match=rf"Shard '{shard['name']}' is not what the manifest says. Expected .* SHA-256"
    ):
        pull.pull(SOURCE, fenced)
    assert not (fenced / shard["name"]).exists()
    shutil.rmtree(fenced)
    hostile.entries[shard["name"]]["size"] += 1
    with pytest.raises(
        VerifyError, match=rf"The artifact is not what its manifest says. .* received {shard['bytes'] + 1}"
    ):
        pull.pull(SOURCE, fenced)
    shutil.rmtree(fenced)
    del hostile.entries[shard["name"]]
    with pytest.raises(VerifyError, match=r"received no such file. Publish it again."):
        pull.pull(SOURCE, fenced)


def test_artifact_without_a_manifest(hostile: Hostile, fenced: Path) -> None:
    del hostile.entries["manifest.json"]
    with pytest.raises(RefusedError, match=r"The artifact is no dataset of hazegen. Expected a manifest.json in it"):
        pull.pull(SOURCE, fenced)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda hostile: hostile.list.update(version=7),
        lambda hostile: hostile.list.update(contents={"a": {"size": -1, "digest": "x"}}),
        lambda hostile: hostile.list.update(contents={"a": {}}),
        lambda hostile: hostile.list.update(storagePolicy="another"),
    ],
    ids=["version", "size", "empty", "policy"],
)
def test_list_that_cannot_be_read(hostile: Hostile, fenced: Path, spoil: Callable[[Hostile], object]) -> None:
    spoil(hostile)
    with pytest.raises(
        RefusedError, match=r"W&B's list of the artifact's files cannot be read. Expected names, digests"
    ):
        pull.pull(SOURCE, fenced)
    assert not fenced.exists()


def test_links_in_the_folder_are_refused(rooms: Artifact, folder: Path, fenced: Path, tmp_path: Path) -> None:
    shard = manifest.load(folder).shards[0].name
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    links = {".pull": outside, shard: outside / "file", "manifest.json": outside / "none",
             "source.json": outside / "source.json", "README.md": tmp_path / "victim.tfrecord"}  # fmt: skip
    for name, target in links.items():
        fenced.mkdir()
        said = json.dumps({"artifact": "a", "digest": rooms.digest})
        (outside / "source.json").write_text(said)
        if name != "source.json":
            (fenced / "source.json").write_text(said)
        (fenced / name).symlink_to(target)
        before = tree(outside)
        with pytest.raises(RefusedError, match=rf"holds symbolic links. Expected files that an earlier .*\['{name}'\]"):
            pull.pull(SOURCE, fenced)
        assert tree(outside) == before
        assert (fenced / name).is_symlink()
        (fenced / name).unlink()
        shutil.rmtree(fenced)


def test_hard_links_in_the_folder_are_not_written_through(
    rooms: Artifact, folder: Path, fenced: Path, tmp_path: Path
) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-temporary" / "mine"
    outside.write_bytes(b"mine")
    fenced.mkdir()
    (fenced / "source.json").write_text(json.dumps({"artifact": "a", "digest": rooms.digest}))
    (fenced / ".pull").mkdir()
    for name in ("source.json.1-0a1b2c3d-0.tmp", "README.md", "manifest.json", manifest.load(folder).shards[0].name,
                 ".pull/manifest.json", f".pull/{manifest.load(folder).shards[1].name}"):  # fmt: skip
        os.link(outside, fenced / name)
    pull.pull(SOURCE, fenced)
    assert outside.read_bytes() == b"mine"
    assert outside.stat().st_nlink == 1
    check_equal(folder, fenced)
