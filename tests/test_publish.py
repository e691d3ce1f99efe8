"""hazegen publish: what is kept offline, what arrives at the server, and what is refused before anything is sent."""

import base64
import dataclasses
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb_reader
from conftest import RECIPES, UNIT_M, shipped_recipe, write_photos
from PIL import Image
from wandb_fixtures import entry, exit_code_of, log_of, served, without_settings
from wandb_server import ENTITY, KEY, Fault, Server

import hazegen.cli
from hazegen import images, manifest, pair_table, preview, publish
from hazegen.errors import StoreError, UsageError, VerifyError
from hazegen.make import make
from hazegen.make_options import MakeOptions
from hazegen.publish import PublishOptions
from hazegen.tracking import Choice

PROJECT = "haze"
WHERE = ("--project", PROJECT, "--name", "rooms")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dataset with maps, to be copied: 5 scenes of 48 x 32, 2 variants each."""
    root = tmp_path_factory.mktemp("publish")
    photos = write_photos(root / "photos", scenes=5, height=32, width=48)
    folders = {"images": photos.images, "depth": photos.depth, "out": root / "pairs"}
    options = MakeOptions(**folders, depth_scale=UNIT_M, variants=2, maps=True,
                          splits="train=0.6,validation=0.2,test=0.2", shard_mb=0.02, workers=1)  # fmt: skip
    make(options, shipped_recipe("aod-released"), {"license": "CC-BY-4.0", "source": "https://example.org/photos"})
    return options.out


@pytest.fixture
def place(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a copy of `pairs` in it."""
    shutil.copytree(pairs, tmp_path / "place" / "pairs")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """run(*words): exit status, stdout and stderr of hazegen in this process."""

    def call(*words: object) -> tuple[int, str, str]:
        try:
            status = hazegen.cli.main([str(word) for word in words])
        except SystemExit as end:  # argparse's own way out
            status = int(end.code or 0)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return status, printed.out, printed.err

    return call


def content_of(folder: Path) -> dict[str, bytes]:
    """All files of a dataset."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content).digest()).decode()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digest_of(folder: Path) -> str:
    return manifest.digest(manifest.load(folder))


def publish_quietly(folder: Path, options: PublishOptions) -> publish.Published:
    return publish.publish(folder, options, publish.choose(options), lambda _: None)


# --- offline ---


@dataclasses.dataclass(frozen=True)
class Kept:
    """A dataset that was published offline: its folder, what was printed, the transaction file."""

    folder: Path
    printed: str
    log: Path

    @property
    def artifacts(self) -> dict[str, Any]:
        return {record.type: record for record in wandb_reader.artifacts(self.log)}


@pytest.fixture(scope="module")
def kept(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    place = tmp_path_factory.mktemp("offline")
    folder = Path(shutil.copytree(pairs, place / "pairs"))
    lines: list[str] = []
    options = PublishOptions(PROJECT, "rooms", alias="v1.0,paper", mode="offline")
    with pytest.MonkeyPatch.context() as patch, without_settings(place / "settings"):
        patch.chdir(place.parent)
        publish.publish(folder, options, publish.choose(options), lines.append)
        yield Kept(folder, "\n".join(map(str, lines)), log_of(place))


def test_offline_run_says_what_it_is(kept: Kept) -> None:
    (run,) = (r.run for r in wandb_reader.read_records(kept.log) if r.WhichOneof("record_type") == "run")
    assert (run.project, run.job_type, run.display_name) == (PROJECT, "publish", "publish-rooms")
    config = wandb_reader.config(kept.log)
    known = manifest.load(kept.folder)
    assert config.keys() == {"dataset"}
    assert config["dataset"] == json.loads(json.dumps(publish.facts(known)))
    assert config["dataset"]["dataset_digest"] == manifest.digest(known)
    assert (config["dataset"]["shards"], config["dataset"]["seed"]) == (len(known.shards), 0)
    assert config["dataset"]["about"]["license"] == "CC-BY-4.0"
    assert exit_code_of(kept.log) == 0


def test_offline_dataset_is_all_files_of_the_folder_and_none_is_copied(kept: Kept) -> None:
    record = kept.artifacts["dataset"]
    content = content_of(kept.folder)
    assert (record.name, sorted(record.aliases)) == ("rooms", ["latest", "paper", "v1.0"])
    assert f"{record.digest} (artifact)" in kept.printed
    assert f"{digest_of(kept.folder)} (shards)" in kept.printed
    assert json.loads(record.metadata) == json.loads(json.dumps(publish.facts(manifest.load(kept.folder))))
    assert record.description.startswith("# Hazy/clean pairs, recipe aod-released")
    assert {item.path for item in record.manifest.contents} == content.keys()
    for item in record.manifest.contents:
        assert (item.digest, item.size) == (md5(content[item.path]), len(content[item.path]))
        assert item.local_path == f"pairs/{item.path}", "relative: no folder above the dataset is named"
    shards = {sha256(bytes_) for name, bytes_ in content.items() if name.endswith(".tfrecord")}
    copies = [p for p in (kept.folder.parent / "wandb").rglob("*") if p.is_file() and sha256(p.read_bytes()) in shards]
    assert not copies


def test_offline_photos_are_what_the_run_has_used(kept: Kept) -> None:
    record = kept.artifacts["photos"]
    content = content_of(kept.folder)
    assert (record.name, record.use_after_commit, record.user_created) == ("rooms-photos", True, True)
    assert {item.path: item.digest for item in record.manifest.contents} == {
        name: md5(content[name]) for name in ("inputs.csv", "plan.jsonl")
    }
    assert json.loads(record.metadata).keys() == {"about", "inputs", "reading"}


LIGHT = ["atmospheric_light_red", "atmospheric_light_green", "atmospheric_light_blue"]


def test_table_shows_the_pictures_of_the_records(kept: Kept) -> None:
    root, record = kept.folder.parent, kept.artifacts["pairs"]
    assert (record.name, list(record.aliases)) == ("rooms-pairs", ["latest"])
    table = json.loads(entry(root, record, "pairs.table.json").read_bytes())
    assert table["columns"] == ["key", "scene", "clean", "transmission", "hazy", "beta_per_m", *LIGHT,
                                "visibility_m", "mean_transmission"]  # fmt: skip
    chosen = preview.choose(kept.folder, pair_table.TABLE_PAIRS)
    assert len(table["data"]) == len(chosen) == 10, "all of this small dataset"
    for row, values in zip(table["data"], chosen, strict=True):
        told = dict(zip(table["columns"], row, strict=True))
        assert (told["key"], told["scene"]) == (values["key"], values["scene"])
        assert told["beta_per_m"] == pytest.approx(values["beta"][1])
        assert [told[name] for name in LIGHT] == pytest.approx(list(values["atmospheric_light"]))
        for name in ("visibility_m", "mean_transmission"):
            assert told[name] == pytest.approx(values[name])
        for name in ("clean", "transmission", "hazy"):
            shown = np.asarray(Image.open(entry(root, record, told[name]["path"])))
            stored = images.decode(values[name], name)
            wanted = preview.false_colors(stored) if name == "transmission" else images.as_rgb8(stored, name)
            assert np.array_equal(shown, as_jpeg(wanted))


def as_jpeg(pixels: np.ndarray) -> np.ndarray:
    """A picture after the JPEG that tables show."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return np.asarray(Image.open(buffer))


def test_histograms_are_of_all_records(kept: Kept) -> None:
    (row,) = wandb_reader.history(kept.log)
    records = list(preview.sample(kept.folder, 1000))
    means = {"beta_per_m": np.mean([values["beta"][1] for values in records]),
             "atmospheric_light": np.mean([values["atmospheric_light"] for values in records]),
             "visibility_m": np.mean([values["visibility_m"] for values in records]),
             "mean_transmission": np.mean([values["mean_transmission"] for values in records])}  # fmt: skip
    for name, mean in means.items():
        counts, edges = (np.asarray(row[f"pairs/{name}.{part}"]) for part in ("values", "bins"))
        assert counts.sum() == len(records)
        assert np.average((edges[1:] + edges[:-1]) / 2, weights=counts) == pytest.approx(mean, abs=edges[1] - edges[0])
    assert row["pairs/preview._type"] == "image-file"


def test_printed_command_sends_it_all(kept: Kept, tmp_path: Path) -> None:
    """The command is given to a shell as it was printed, in the folder where it was printed."""
    (command,) = re.findall("send it later: (.*)", kept.printed)
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    with Server(tmp_path) as server:
        done = subprocess.run(command, shell=True, cwd=kept.folder.parent.parent, capture_output=True, text=True,
                              env={"PATH": path, **server.environment()}, timeout=120)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        artifacts = {artifact.type: artifact for artifact in server.artifacts}
        dataset = artifacts["dataset"]
        assert {artifact.state for artifact in artifacts.values()} == {"COMMITTED"}
        assert dataset.digest == kept.artifacts["dataset"].digest
        assert (dataset.version, sorted(dataset.aliases)) == (0, ["latest", "paper", "v1.0"])
        content = content_of(kept.folder)
        assert {name: sha256(server.content(dataset, name)) for name in dataset.entries} == {
            name: sha256(bytes_) for name, bytes_ in content.items()
        }
        (run,) = server.runs.values()
        assert (run.job_type, run.state) == ("publish", "finished")
        assert dataset.created_by == run.name
        assert (run.name, artifacts["photos"].id) in server.uses
        assert not server.errors
        assert not server.unknown


# --- online ---


def test_published_is_committed_whole_and_linked(
    place: Path, wandb_server: Server, run: Callable[..., tuple[int, str, str]]
) -> None:
    status, printed, error = run("publish", "pairs", *WHERE, "--alias", "v1.0,paper")
    assert (status, error) == (0, "")
    (dataset,) = (artifact for artifact in wandb_server.artifacts if artifact.type == "dataset")
    assert (dataset.state, dataset.version, dataset.collection) == ("COMMITTED", 0, "rooms")
    assert sorted(dataset.aliases) == ["latest", "paper", "v1.0"]
    content = content_of(place / "pairs")
    assert dataset.entries.keys() == content.keys()
    for name, bytes_ in content.items():
        assert sha256(wandb_server.content(dataset, name)) == sha256(bytes_)
    assert f"'pairs' is published as {ENTITY}/{PROJECT}/rooms:v0." in printed
    assert f"next: aodnet fit --data wandb:{ENTITY}/{PROJECT}/rooms:v0" in printed
    (made,) = wandb_server.runs.values()
    assert (made.state, made.exit_code, made.job_type) == ("finished", 0, "publish")
    (photos,) = (artifact for artifact in wandb_server.artifacts if artifact.type == "photos")
    assert wandb_server.uses == [(made.name, photos.id)]
    assert dataset.created_by == made.name
    assert {artifact.type for artifact in wandb_server.artifacts} >= {"dataset", "photos", "pairs"}
    assert {f"pairs/{name}" for name in ("preview", "beta_per_m", "visibility_m")} <= made.history[0].keys()

    # The same content again, made elsewhere by another number of workers: no new version, no byte of it sent.
    source = place.parent / "again"
    photos_again = write_photos(source / "photos", scenes=5, height=32, width=48)
    words = ("make", "--images", photos_again.images, "--depth", photos_again.depth, "--depth-scale", UNIT_M,
             "--out", source / "other-name", "--recipe", RECIPES / "aod-released.yaml", "--variants", 2, "--maps",
             "--splits", "train=0.6,validation=0.2,test=0.2", "--shard-mb", 0.02, "--workers", 2,
             "--license", "CC-BY-4.0", "--source", "https://example.org/photos")  # fmt: skip
    assert run(*words)[0] == 0
    before = len(wandb_server.requests)
    status, printed, error = run("publish", source / "other-name", *WHERE, "--alias", "again")
    assert (status, error) == (0, "")
    assert dataset.digest in printed
    assert f"is {ENTITY}/{PROJECT}/rooms:v0: W&B had this content already, and made no new version." in printed
    assert [artifact.version for artifact in wandb_server.artifacts if artifact.type == "dataset"] == [0]
    assert sorted(dataset.aliases) == ["again", "latest", "paper", "v1.0"]
    assert not [request for request in wandb_server.requests[before:] if request.endswith(".tfrecord")]

    # Another licence: another card, so v1, of which the shards are there already.
    assert run("card", "pairs", "--license", "CC0-1.0")[0] == 0
    before = len(wandb_server.requests)
    status, printed, _ = run("publish", "pairs", *WHERE)
    assert status == 0
    assert f"'pairs' is published as {ENTITY}/{PROJECT}/rooms:v1." in printed
    old, new = (artifact for artifact in wandb_server.artifacts if artifact.type == "dataset")
    assert (new.version, new.aliases) == (1, ["latest"])
    assert sorted(old.aliases) == ["again", "paper", "v1.0"]
    assert not [request for request in wandb_server.requests[before:] if request.endswith(".tfrecord")]
    assert new.entries.keys() == old.entries.keys()
    assert not list(place.glob("wandb/data-*")), "nothing is left of what was sent"


def test_dry_run_sends_nothing(
    place: Path, wandb_server: Server, run: Callable[..., tuple[int, str, str]], kept: Kept
) -> None:
    status, printed, _ = run("publish", "pairs", *WHERE, "--mode", "dry-run")
    assert status == 0
    assert digest_of(place / "pairs") in printed
    assert kept.artifacts["dataset"].digest in printed, "the digest that publishing gives"
    assert "Nothing was sent; the same command without --mode dry-run publishes it." in printed
    assert not wandb_server.requests
    assert [path.name for path in place.iterdir()] == ["pairs"]


def flip(folder: Path) -> None:
    path = min(folder.glob("train-*.tfrecord"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped": (flip, r"train-00000-of-\d+.tfrecord: "),
    "missing": (lambda folder: min(folder.glob("test-*.tfrecord")).unlink(), "No such file"),
    "card": (lambda folder: (folder / "README.md").unlink(), "README.md: missing"),
    "picture": (lambda folder: (folder / "preview.jpg").unlink(), "preview.jpg: missing"),
    "plan": (lambda folder: (folder / "plan.jsonl").unlink(), "plan.jsonl: expected a file, received none"),
    "stranger": (lambda folder: (folder / "train-9.tfrecord").touch(), "train-9.tfrecord: not in the manifest"),
    "unfinished": (lambda folder: (folder / "manifest.json").unlink(), "is no finished dataset"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_dataset_is_not_sent(
    place: Path, wandb_server: Server, run: Callable[..., tuple[int, str, str]], damage: str
) -> None:
    """The server is asked for the key and nothing more."""
    spoil, message = DAMAGES[damage]
    spoil(place / "pairs")
    status, _, error = run("publish", "pairs", *WHERE, "--mode", "dry-run")
    assert status == 5
    assert re.search(message, error)
    assert not wandb_server.requests
    with pytest.raises(VerifyError, match=message):
        publish.publish(place / "pairs", PublishOptions(PROJECT, "rooms"), Choice("online", ""), print)
    assert not wandb_server.requests
    assert [path.name for path in place.iterdir()] == ["pairs"]


@pytest.mark.parametrize("words", [("--mode", "online"), ()], ids=["online", "auto"])
def test_what_is_not_sound_is_refused_before_a_run_is_made(
    place: Path, wandb_server: Server, run: Callable[..., tuple[int, str, str]], words: tuple[str, ...]
) -> None:
    flip(place / "pairs")
    status, _, error = run("publish", "pairs", *WHERE, *words)
    assert status == 5
    assert "'pairs' cannot be published. Expected a sound dataset with its card" in error
    assert "Run hazegen verify pairs, and make it again" in error
    assert not wandb_server.runs
    assert not wandb_server.artifacts


# --- refusals ---


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "--name cannot be used. .* received ''"),
        ({"name": "a/b"}, "--name cannot be used. .* received 'a/b'. Change --name"),
        ({"name": "a:v1"}, "--name cannot be used"),
        ({"name": "-a"}, "--name cannot be used"),
        ({"name": ".."}, "--name cannot be used"),
        ({"name": "a" * 129}, "--name cannot be used"),
        ({"name": "a" * 122}, "--name is too long. Expected at most 121 characters, received 122. Shorten it."),
        ({"name": "a b"}, "--name cannot be used"),
        ({"name": "rooms\n"}, "--name cannot be used"),
        ({"alias": "latest"}, "--alias cannot be used. .*latest, v0, v1 .*received 'latest'. Change --alias"),
        ({"alias": "good,v12"}, "--alias cannot be used. .* received 'v12'"),
        ({"alias": "a:b"}, "--alias cannot be used"),
        ({"alias": "good, b/c"}, "--alias cannot be used. .* received 'b/c'"),
        ({"project": "a/b"}, "--project cannot be used. .* received 'a/b'. Change --project"),
        ({"project": ""}, "--project cannot be used"),
        ({"project": "a:b"}, "--project cannot be used"),
        ({"project": "my haze"}, "--project cannot be used"),
        ({"entity": "team/x"}, "--entity cannot be used. .* received 'team/x'"),
        ({"patience_s": 0.0}, r"--patience-s is out of range. Expected a number above 0, received 0.0."),
        ({"patience_s": float("nan")}, "--patience-s is out of range"),
        ({"reference": "http://host/a"}, "The reference cannot be used"),
    ],
)
def test_options_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PublishOptions(**{"project": PROJECT, "name": "rooms", **changes})


def test_options_at_the_ends_of_what_is_allowed() -> None:
    options = PublishOptions("my-haze", "a" * 121, entity="team-1", alias=" v1.0, paper,,v1x ", patience_s=1e-3)
    assert options.aliases() == ["v1.0", "paper", "v1x"]
    assert PublishOptions(PROJECT, "r").aliases() == []


def test_key_that_is_not_valid_ends_it_before_any_work(
    place: Path, wandb_server: Server, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(place / "pairs")  # which would be status 5 if the dataset were looked at
    monkeypatch.setenv("WANDB_API_KEY", "f" * 40)
    status, _, error = run("publish", "pairs", *WHERE, "--mode", "online")
    assert status == 2
    assert "W&B cannot be used online. Expected an API key that the server accepts" in error
    assert "f" * 40 not in error
    words = ("make", "--images", "nowhere", "--depth", "nowhere", "--out", "new", "--publish", *WHERE)
    assert run(*words, "--mode", "online")[0] == 2
    assert not Path("new").exists()
    assert not wandb_server.runs


def test_server_that_is_down(place: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    with served(tmp_path / "home", Fault("vanish")):
        status, _, error = run("publish", "pairs", *WHERE, "--mode", "online")
        assert status == 4
        assert "W&B cannot be reached. Expected an answer, received: no answer from the server" in error
        assert "pass --mode offline and send it with 'wandb sync'" in error
        assert [path.name for path in place.iterdir()] == ["pairs"]
        status, printed, _ = run("publish", "pairs", *WHERE, "--mode", "offline")
    assert status == 0
    assert "W&B offline: as asked." in printed
    assert "send it later: wandb sync wandb/offline-run-" in printed
    assert "'pairs' is not sent yet, and has to stay where and as it is until it is." in printed


def test_run_that_cannot_be_opened_online_sends_nothing(
    place: Path, wandb_server: Server, run: Callable[..., tuple[int, str, str]]
) -> None:
    wandb_server.spoil(Fault("401", "UpsertBucket"))
    status, printed, error = run("publish", "pairs", *WHERE, "--mode", "online")
    assert status == 4
    assert "W&B could not open a run online (see above). Nothing was sent. Try again later." in error
    assert "warning: W&B could not start online" in printed
    assert not wandb_server.artifacts
    (kept,) = place.glob("wandb/offline-run-*/run-*.wandb")
    assert exit_code_of(kept) == 1, "what was kept says that it failed"


def test_session_that_cannot_be_opened_at_all(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hazegen.tracking.open_session", lambda *_, **__: None)
    with pytest.raises(StoreError, match=r"W&B could not be started\. Expected a run to log to, received none"):
        publish_quietly(place / "pairs", PublishOptions(PROJECT, "rooms", mode="offline"))


def test_table_that_cannot_be_logged_is_a_warning(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no pairs\nat all")

    monkeypatch.setattr(publish, "log_pairs", fail)
    lines: list[str] = []
    options = PublishOptions(PROJECT, "rooms", mode="offline")
    publish.publish(place / "pairs", options, publish.choose(options), lines.append)
    assert "warning: photos and table of pairs could not be logged: RuntimeError: no pairs" in lines
    assert {record.type for record in wandb_reader.artifacts(log_of(place))} == {"dataset", "photos"}


def test_dataset_without_maps_and_behind_a_link_names_no_folder(dataset: Path, tmp_path: Path) -> None:
    """Through a link the paths of the artifact's files would lead through the folders above it."""
    hidden = Path(shutil.copytree(dataset, tmp_path / "above" / "secret-place" / "pairs"))
    (tmp_path / "link").symlink_to(hidden.parent)
    publish_quietly(tmp_path / "link" / "pairs", PublishOptions(PROJECT, "rooms", mode="offline"))
    log = log_of(hidden.parent)
    assert b"secret-place" not in log.read_bytes()
    (table,) = (record for record in wandb_reader.artifacts(log) if record.type == "pairs")
    rows = json.loads(entry(hidden.parent, table, "pairs.table.json").read_bytes())
    assert {row[rows["columns"].index("transmission")] for row in rows["data"]} == {None}
    assert len(rows["data"]) == pair_table.TABLE_PAIRS


# --- hazegen make --publish ---


@pytest.fixture
def making(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Words that make a small dataset 'made' in the working folder."""
    photos = write_photos(tmp_path / "photos", scenes=3, height=32, width=48)
    monkeypatch.chdir(tmp_path)
    words = ("make", "--images", photos.images, "--depth", photos.depth, "--depth-scale", UNIT_M, "--out", "made",
             "--recipe", RECIPES / "aod-released.yaml", "--workers", 1,
             "--splits", "train=0.4,validation=0.3,test=0.3")  # fmt: skip
    return tuple(map(str, words))


def test_make_publishes_what_it_has_made(
    making: tuple[str, ...], wandb_server: Server, run: Callable[..., tuple[int, str, str]]
) -> None:
    assert run(*making, "--publish", *WHERE, "--dry-run")[0] == 0
    assert not wandb_server.requests
    wandb_server.spoil(Fault("401", "CreateArtifact"))
    status, printed, error = run(*making, "--publish", *WHERE)
    assert status == 4
    assert "Expected all of it on the server" in error
    assert "No version of it was made and the dataset is as it was" in error
    assert not wandb_server.artifacts
    assert {made.exit_code for made in wandb_server.runs.values()} == {1}
    made = content_of(Path("made"))
    assert run("verify", "made")[0] == 0

    wandb_server.spoil(None)
    status, printed, _ = run(*making, "--publish", *WHERE)
    assert status == 0
    assert "Nothing to do: 'made' is finished." in printed
    assert f"'made' is published as {ENTITY}/{PROJECT}/rooms:v0." in printed
    assert content_of(Path("made")) == made
    (dataset,) = (artifact for artifact in wandb_server.artifacts if artifact.type == "dataset")
    assert {name: wandb_server.content(dataset, name) for name in dataset.entries} == made


def test_outage_at_the_start_is_no_reason_not_to_make_the_dataset(
    making: tuple[str, ...], wandb_server: Server, run: Callable[..., tuple[int, str, str]]
) -> None:
    wandb_server.spoil(Fault("refuse"))
    status, _, error = run(*making, "--publish", *WHERE, "--mode", "online")
    assert status == 4
    assert "W&B cannot be reached. Expected an answer" in error
    assert run("verify", "made")[0] == 0


def test_alias_that_was_refused_is_not_said_to_be_there(
    place: Path, wandb_server: Server, run: Callable[..., tuple[int, str, str]]
) -> None:
    assert run("publish", "pairs", *WHERE)[0] == 0
    wandb_server.spoil(Fault("401", "CreateArtifact"))
    status, _, error = run("publish", "pairs", *WHERE, "--alias", "paper")
    assert status == 4
    assert "Expected all of it on the server" in error
    wandb_server.spoil(Fault("401", "CreateArtifact"))
    assert run("publish", "pairs", "--project", PROJECT, "--name", "other")[0] == 4
    assert {one.collection for one in wandb_server.artifacts} == {"rooms", "rooms-photos", "rooms-pairs"}


def test_disabled_wandb_is_no_place_to_publish_to(
    place: Path, wandb_server: Server, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    status, _, error = run("publish", "pairs", *WHERE)
    assert status == 2
    assert "W&B is switched off. Expected a place to publish to, received: WANDB_MODE is disabled." in error
    assert not wandb_server.requests


def test_folder_that_cannot_be_written_to_is_told_before_any_work(
    place: Path, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DIR", str(place / "nowhere"))
    status, _, error = run("publish", "pairs", *WHERE, "--mode", "offline")
    assert status == 4
    assert "W&B's files cannot be written. Expected a folder with the right to write, received" in error
    (place / "elsewhere").mkdir()
    monkeypatch.setenv("WANDB_DIR", str(place / "elsewhere"))
    assert run("publish", "pairs", *WHERE, "--mode", "offline")[0] == 0
    assert not (place / "wandb").exists()
    assert list((place / "elsewhere" / "wandb").glob("data-*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--publish",), "--project is missing. Expected TEXT, received nothing. Add it."),
        (("--publish", "--project", "haze"), "--name is missing"),
        (("--project", "haze"), "--project is of no use alone. Expected --publish beside it, received none."),
        (("--name", "rooms", "--alias", "a"), "--alias is of no use alone"),
        (("--patience-s", "3"), "--patience-s is of no use alone"),
        (("--publish", *WHERE, "--alias", "v1"), "--alias cannot be used"),
    ],
)
def test_options_of_publishing_are_refused_before_any_work(
    making: tuple[str, ...], run: Callable[..., tuple[int, str, str]], words: tuple[str, ...], message: str
) -> None:
    status, _, error = run(*making, *words)
    assert status == 2
    assert message in error
    assert not Path("made").exists()


def test_there_is_no_option_for_a_key(run: Callable[..., tuple[int, str, str]]) -> None:
    for verb in ("publish", "pull", "make"):
        status, printed, _ = run(verb, "--help")
        assert status == 0
        assert not re.search("--[a-z-]*(key|token|password|secret)", printed)
    assert len(KEY) == 40


def test_help_shows_every_option(run: Callable[..., tuple[int, str, str]]) -> None:
    printed = run("publish", "--help")[1]
    for field in dataclasses.fields(PublishOptions):
        assert f"--{field.name.replace('_', '-')}" in printed
    assert printed.count("hazegen publish dataset --project haze") == 3
