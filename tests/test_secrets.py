"""Canaries: secrets and names of this machine that must not get into anything that is written, sent or printed.

Every command of both packages is run in one process whose surroundings are full of them. Then every byte of every
file that was left, of every request that the W&B server got and of both output streams is searched.

Declared exceptions, which cannot be avoided:

1. A path that the user typed is repeated on the terminal, in the command that it was typed in: 'next: ...' and the
   place of a kept run would be of no use without it. So is the value of an option that is refused.
2. The API key is in the Authorization headers of the requests to the W&B server, which the transcript leaves out.
"""

import base64
import dataclasses
import hashlib
import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RECIPES, UNIT_M, draw_clean, draw_depth, write_photos
from PIL import Image, PngImagePlugin
from wandb_fixtures import PLACES
from wandb_server import ENTITY, Server

from hazegen import images


def canary(name: str) -> str:
    """A string that nothing else has: letters and digits, so that no way of quoting changes it."""
    return f"zq{hashlib.sha256(name.encode()).hexdigest()[:16]}qz"


CANARIES = {
    name: canary(name)
    for name in (
        "environment", "netrc", "argv", "refused value", "config comment", "recipe comment", "config value",
        "source URL", "reference URL", "base URL", "exif", "png text", "jpeg comment", "photo folder", "depth folder",
        "camera folder", "dataset folder", "run folder", "home folder", "working folder", "user",
    )
}  # fmt: skip
CANARIES["key"] = hashlib.sha256(b"key").hexdigest()[:40]
CANARIES["key, encoded"] = base64.b64encode(f"api:{CANARIES['key']}".encode()).decode().rstrip("=")
if len(socket.gethostname()) >= 8:  # shorter ones may be words
    CANARIES["host"] = socket.gethostname()

# Runs the commands that it reads, each between two marks on both streams.
RUNNER = """
import json, sys
import aodnet.cli, hazegen.cli
for number, (package, *words) in enumerate(json.load(sys.stdin)):
    try:
        status = {"hazegen": hazegen.cli, "aodnet": aodnet.cli}[package].main(words)
    except SystemExit as end:
        status = end.code
    for stream in (sys.stdout, sys.stderr):
        print(f"#status {status}", file=stream, flush=True)
"""


@dataclasses.dataclass
class Surroundings:
    """Folders with canaries in their names, and an environment with more of them.

    Attributes:
        root: Of all.
        work: Where the commands are run.
        given: Files and folders that the user has made: they are not searched.
        said: Each command that was run, its status and what it printed.
    """

    root: Path
    work: Path
    given: set[Path]
    environment: dict[str, str]
    said: list[tuple[str, int, str]] = dataclasses.field(default_factory=list)

    def run(self, commands: list[str], **variables: str) -> None:
        split = [[os.path.expandvars(word) for word in shlex.split(command)] for command in commands]
        done = subprocess.run(
            [sys.executable, "-c", RUNNER, CANARIES["argv"]], input=json.dumps(split), cwd=self.work, text=True,
            env=self.environment | variables, capture_output=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        parts = [stream.split("#status ")[:-1] for stream in (done.stdout, done.stderr)]
        numbers = [int(part.split("\n", 1)[0]) for part in done.stdout.split("#status ")[1:]]
        assert len(parts[0]) == len(parts[1]) == len(commands), done.stdout + done.stderr
        printed = ["\n".join(both) for both in zip(*parts, strict=True)]
        self.said += list(zip(commands, numbers, printed, strict=True))


def write_inputs(root: Path) -> dict[str, Path]:
    """Photos with secrets in their metadata below three folders with secrets in their names, and two configs."""
    plain = write_photos(root / "plain", scenes=1, height=32, width=48)
    folders = {}
    for kind in ("photo", "depth", "camera"):
        folders[kind] = root / CANARIES[f"{kind} folder"] / kind
        folders[kind].mkdir(parents=True)
    for number in range(4):
        rng = np.random.default_rng(number)
        clean = draw_clean(rng, 32, 48)
        picture = Image.fromarray(clean)
        if number % 2:
            exif = Image.Exif()
            exif[0x013B] = CANARIES["exif"]  # Artist
            exif[0x9286] = CANARIES["exif"]  # UserComment
            picture.save(folders["photo"] / f"scene_{number}.jpg", exif=exif, comment=CANARIES["jpeg comment"].encode())
        else:
            text = PngImagePlugin.PngInfo()
            text.add_text("Author", CANARIES["png text"])
            text.add_itxt("Comment", CANARIES["png text"])
            picture.save(folders["photo"] / f"scene_{number}.png", pnginfo=text)
        (folders["depth"] / f"scene_{number}.png").write_bytes(images.encode(draw_depth(rng, clean), ".png"))
        (folders["camera"] / f"scene_{number}.json").write_bytes((plain.camera / "scene_000.json").read_bytes())
    folders["fit"] = root / "fit.yaml"
    folders["fit"].write_text(
        f"# {CANARIES['config comment']}\nepochs: 1\nbatch: 2\ncrop: 16\ncheckpoint_steps: 2\nwarmup: 0.0\n"
    )
    folders["wrong"] = root / "wrong.yaml"
    folders["wrong"].write_text(f"epochs: 1\npassword: {CANARIES['config value']}\n")
    folders["recipe"] = root / "recipe.yaml"
    folders["recipe"].write_text(f"# {CANARIES['recipe comment']}\n" + (RECIPES / "aod-released.yaml").read_text())
    return folders


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Surroundings, Server]]:
    """All commands have been run, W&B offline and online."""
    root = tmp_path_factory.mktemp("secrets")
    inputs = write_inputs(root / "inputs")
    work, home = root / CANARIES["working folder"], root / CANARIES["home folder"]
    for folder in (work, home, root / "temporary"):
        folder.mkdir()
    netrc = home / ".netrc"
    netrc.write_text(f"machine 127.0.0.1\n  login user\n  password {CANARIES['netrc']}\n")
    netrc.chmod(0o600)
    with Server(root / "server", key=CANARIES["key"]) as server:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "AWS_"))}
        environment |= {name: value for name, value in server.environment().items() if name not in PLACES}
        for name in ("NETRC", "WANDB_MODE", "WANDB_CONFIG_DIR", "PYTEST_CURRENT_TEST"):
            environment.pop(name, None)
        environment |= {
            "HOME": str(home), "USER": CANARIES["user"], "LOGNAME": CANARIES["user"], "USERNAME": CANARIES["user"],
            "PWD": str(work), "TMPDIR": str(root / "temporary"), "AWS_SECRET_ACCESS_KEY": CANARIES["environment"],
            "MY_TOKEN": CANARIES["environment"], "CUDA_VISIBLE_DEVICES": "-1",
        }  # fmt: skip
        place = Surroundings(root, work, {root / "inputs", netrc}, environment)
        data, runs = f"{CANARIES['dataset folder']}/pairs", CANARIES["run folder"]
        make = (
            f"hazegen make --images {inputs['photo']} --depth {inputs['depth']} --camera {inputs['camera']} "
            f"--out {data} --recipe {inputs['recipe']} --depth-scale {UNIT_M} --variants 2 --maps --workers 1 "
            "--splits train=0.5,validation=0.25,test=0.25"
        )
        where = "--project haze --name rooms"
        place.run([
            make.replace("--out", "--seed " + CANARIES["refused value"] + " --out"),
            f"{make} --source https://user:{CANARIES['source URL']}@example.org/photos",
            make,
            f"hazegen verify {data} --workers 1",
            f"hazegen publish {data} {where} --reference s3://user:{CANARIES['reference URL']}@bucket/pairs",
            f"hazegen publish {data} {where} --mode offline",
            f"hazegen publish {data} {where} --mode online",
            f"hazegen pull wandb:{ENTITY}/haze/rooms:latest --out {CANARIES['dataset folder']}/pulled",
            f"aodnet fit --data {data} --out {runs}/wrong --config {inputs['wrong']}",
            f"aodnet fit --data {data} --out {runs}/offline --config {inputs['fit']} --wandb offline",
            f"aodnet fit --data wandb:{ENTITY}/haze/rooms:latest --out {runs}/online --config {inputs['fit']} "
            "--wandb online",
            f"aodnet evaluate --model {runs}/offline/best.weights.h5 --data {data} --out {runs}/scores --wandb offline",
            f"aodnet evaluate --model {runs}/online/best.weights.h5 --data {data} --out {runs}/sent --wandb online",
            f"aodnet predict {inputs['photo']} --model {runs}/online/best.weights.h5 --out {runs}/restored",
        ])  # fmt: skip
        url = server.url.replace("://", f"://user:{CANARIES['base URL']}@")
        place.run([
            f"hazegen publish {data} {where} --mode online",
            f"hazegen publish {data} {where} --mode auto",
            f"hazegen publish {data} {where} --mode offline",
            f"hazegen pull wandb:{ENTITY}/haze/rooms:latest --out again",
        ], WANDB_BASE_URL=url)  # fmt: skip
        yield place, server


def test_commands_did_what_they_should(surroundings: tuple[Surroundings, Server]) -> None:
    """So that no file was spared by a failure."""
    place, server = surroundings
    expected = [2, 2, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 2, 0, 0, 2]
    assert [status for _, status, _ in place.said] == expected, place.said
    assert {artifact.type for artifact in server.artifacts} >= {"dataset", "photos", "pairs", "model", "evaluation"}
    assert {run.job_type for run in server.runs.values()} == {"publish", "fit", "evaluate"}
    assert not server.errors
    assert not server.unknown
    assert len(CANARIES) >= 12 + 8
    assert len(set(CANARIES.values())) == len(CANARIES)


def test_canaries_are_where_they_should_be(surroundings: tuple[Surroundings, Server]) -> None:
    """Else nothing would be proven by their absence elsewhere."""
    place, _ = surroundings
    inputs = b"".join(path.read_bytes() for path in (place.root / "inputs").rglob("*") if path.is_file())
    for name in ("exif", "png text", "jpeg comment", "config comment", "recipe comment", "config value"):
        assert CANARIES[name].encode() in inputs, name
    typed = " ".join(command for command, _, _ in place.said)
    for name in ("photo folder", "depth folder", "dataset folder", "run folder", "source URL", "reference URL"):
        assert CANARIES[name] in typed, name


def found_in(content: bytes, names: Any = CANARIES) -> list[str]:
    return [name for name in names if CANARIES[name].encode() in content]


def test_no_file_has_a_canary(surroundings: tuple[Surroundings, Server]) -> None:
    """Datasets, run folders, weights, checkpoints, W&B's transaction files and logs, home and temporary folders."""
    place, _ = surroundings
    hits, files = [], 0
    for path in place.root.rglob("*"):
        if any(path.is_relative_to(given) for given in place.given):
            continue
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        files += path.is_file()
        hits += [(str(path.relative_to(place.root)), name) for name in found_in(content)]
        if path.parent not in (place.root, place.work):
            hits += [(str(path.relative_to(place.root)), f"{name} (name)") for name in found_in(path.name.encode())]
    assert not hits, "\n".join(map(str, hits))
    assert files > 200
    suffixes = {path.suffix for path in place.root.rglob("*")}
    assert suffixes >= {".wandb", ".log", ".tfrecord", ".h5", ".npz", ".jsonl", ".csv", ".yaml", ".body", ".head"}


def test_no_request_has_a_canary(surroundings: tuple[Surroundings, Server]) -> None:
    _, server = surroundings
    hits = [(body[:80], name) for body in server.bodies() for name in found_in(body)]
    assert not hits
    assert sum(1 for _ in server.bodies()) == len(server.requests) > 50


def test_terminal_repeats_only_what_was_typed(surroundings: tuple[Surroundings, Server]) -> None:
    place, _ = surroundings
    may_be_typed = {"refused value", "photo folder", "depth folder", "camera folder", "dataset folder", "run folder"}
    for command, _, printed in place.said:
        typed = {name for name in found_in(command.encode()) if name in may_be_typed}
        assert set(found_in(printed.encode())) <= typed, (command, printed)
