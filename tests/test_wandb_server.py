"""The stand-in for the W&B server, proven with stock wandb in processes of its own, and its faults by plain HTTP."""

import base64
import hashlib
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import wandb_reader
import wandb_server
from wandb_server import Fault, Server
from wandb_server.storage import CHUNK

WANDB = (sys.executable, "-m", "wandb")

LOG_ARTIFACT = """
import sys, wandb
name, alias, *paths = sys.argv[1:]
with wandb.init(project="haze", id=name) as run:
    artifact = wandb.Artifact("pairs", "dataset", metadata={"scenes": len(paths)})
    for path in paths:
        artifact.add_file(path)
    run.log_artifact(artifact, aliases=[alias]).wait()
    print("logged", artifact.version, artifact.state, artifact.logged_by().id)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A sound server, which was asked for nothing that it does not serve."""
    with Server(tmp_path) as server:
        yield server
    assert not server.errors
    assert not server.unknown


@pytest.fixture
def python(server: Server, tmp_path: Path) -> Callable[..., str]:
    """python(code, *arguments, environment=None, returncode=0): runs a program against the server, in `tmp_path`."""

    def run(code: str, *arguments: str, environment: dict[str, str] | None = None, returncode: int = 0) -> str:
        command = [sys.executable, "-c", code, *arguments]
        return call(command, server.environment() | (environment or {}), tmp_path, returncode)

    return run


def call(command: list[str], environment: dict[str, str], folder: Path, returncode: int = 0) -> str:
    """Runs a command; returns all that it wrote."""
    done = subprocess.run(
        command, env=os.environ | environment, cwd=folder, text=True, timeout=60,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == returncode, done.stdout
    return done.stdout


def random_file(path: Path, seed: int, size: int = 100_000) -> Path:
    """A file that no other seed gives."""
    path.write_bytes(hashlib.shake_128(str(seed).encode()).digest(size))
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_run(server: Server, python: Callable[..., str]) -> None:
    python("""
        import wandb
        settings = {"project": "haze", "id": "first", "group": "night", "job_type": "train", "tags": ["a", "b"]}
        with wandb.init(config={"rate": 0.1, "net": {"width": 3}}, notes="why", **settings) as run:
            run.config.update({"late": [1, 2]})
            for step in range(20):
                run.log({"loss": 1 / (step + 1), "nested": {"step": step}})
            print("hello there")
    """.replace("\n        ", "\n"))  # fmt: skip
    run = server.runs["first"]
    assert (run.entity, run.project, run.group, run.job_type) == (wandb_server.ENTITY, "haze", "night", "train")
    assert (run.tags, run.notes, run.state, run.exit_code) == (["a", "b"], "why", "finished", 0)
    assert run.config == {"rate": 0.1, "net": {"width": 3}, "late": [1, 2]}
    assert [row["loss"] for row in run.history] == [1 / (step + 1) for step in range(20)]
    assert [row["_step"] for row in run.history] == list(range(20))
    assert run.summary["loss"] == 1 / 20
    assert any(line.endswith(" hello there") for line in run.console)
    assert b"hello there" in run.files["output.log"]
    assert {"config.yaml", "wandb-metadata.json", "wandb-summary.json"} <= run.files.keys()
    assert run.events


def test_failed_run_is_resumed(server: Server, python: Callable[..., str]) -> None:
    code = """
import sys, wandb
run = wandb.init(project="haze", id="again", resume="allow", config={"rate": 0.1})
print("resumed", run.resumed, run.starting_step)
for epoch in range(5):
    run.log({"epoch": epoch})
sys.exit(int(sys.argv[1]))
"""
    assert "resumed False 0" in python(code, "3", returncode=3)
    assert (server.runs["again"].state, server.runs["again"].exit_code) == ("failed", 3)
    assert "resumed True 5" in python(code, "0")
    run = server.runs["again"]
    assert (run.state, run.config) == ("finished", {"rate": 0.1})
    assert [row["epoch"] for row in run.history] == [*range(5), *range(5)]
    assert [row["_step"] for row in run.history] == list(range(10))


def test_artifact_versions(server: Server, python: Callable[..., str], tmp_path: Path) -> None:
    first, second, third = (str(random_file(tmp_path / f"{seed}.bin", seed)) for seed in range(3))
    assert "logged v0 COMMITTED one" in python(LOG_ARTIFACT, "one", "best", first, second)
    assert "logged v0 COMMITTED one" in python(LOG_ARTIFACT, "two", "kept", first, second)
    assert len(server.artifacts) == 1
    assert sorted(server.artifacts[0].aliases) == ["best", "kept", "latest"]

    uploads = len(server.requests)
    assert "logged v1 COMMITTED three" in python(LOG_ARTIFACT, "three", "best", first, third)
    uploaded = [request for request in server.requests[uploads:] if request.endswith(".bin")]
    assert [Path(request).name for request in uploaded] == ["2.bin"], "what is there is not sent again"
    old, new = server.artifacts
    assert (old.version, old.aliases, old.created_by, old.metadata) == (0, ["kept"], "one", {"scenes": 2})
    assert (new.version, sorted(new.aliases), new.created_by, new.type) == (1, ["best", "latest"], "three", "dataset")
    for artifact, paths in [(old, (first, second)), (new, (first, third))]:
        assert artifact.entries.keys() == {Path(path).name for path in paths}
        for path in map(Path, paths):
            assert sha256(server.content(artifact, path.name)) == sha256(path.read_bytes())

    said = python("""
import wandb
with wandb.init(project="haze", id="user") as run:
    old = run.use_artifact("pairs:kept")
    old.download(root="downloaded")
    print("used", old.version, [user.id for user in old.used_by()])
api = wandb.Api()
entry = api.artifact("tester/haze/pairs:best", type="dataset").get_entry("2.bin")
print("entry", entry.download(root="single", skip_cache=True))
run = api.run("tester/haze/user")
print("inputs", [artifact.name for artifact in run.used_artifacts()])
print("outputs", [artifact.name for artifact in api.run("tester/haze/three").logged_artifacts()])
""")
    assert "used v0 ['user']" in said
    assert "inputs ['pairs:v0']" in said
    assert "outputs ['pairs:v1']" in said
    assert server.uses == [("user", old.id)]
    for name, path in {"downloaded/0.bin": first, "downloaded/1.bin": second, "single/2.bin": third}.items():
        assert sha256((tmp_path / name).read_bytes()) == sha256(Path(path).read_bytes())


def test_references_are_not_sent(server: Server, python: Callable[..., str], tmp_path: Path) -> None:
    path = random_file(tmp_path / "far.bin", 7)
    python("""
import sys, wandb
with wandb.init(project="haze") as run:
    artifact = wandb.Artifact("far", "dataset")
    artifact.add_reference(sys.argv[1], checksum=True)
    run.log_artifact(artifact).wait()
with wandb.init(project="haze") as run:
    run.use_artifact("far:latest").download(root="near")
""", path.as_uri())  # fmt: skip
    assert server.artifacts[0].entries["far.bin"]["ref"] == path.as_uri()
    assert not any(request.endswith("far.bin") for request in server.requests)
    assert sha256((tmp_path / "near" / "far.bin").read_bytes()) == sha256(path.read_bytes())


def test_offline_run_is_synced(server: Server, python: Callable[..., str], tmp_path: Path) -> None:
    path = random_file(tmp_path / "0.bin", 0)
    python("""
import wandb
with wandb.init(project="haze", id="away", config={"rate": 0.1, "net": {"width": 3}}) as run:
    for step in range(1000):
        run.log({"loss": 1 / (step + 1), "nested": {"step": step}})
    artifact = wandb.Artifact("pairs", "dataset")
    artifact.add_file("0.bin")
    run.log_artifact(artifact, aliases=["best"])
""", environment={"WANDB_MODE": "offline"})  # fmt: skip
    assert not server.requests
    (log,) = tmp_path.rglob("run-away.wandb")
    assert log.stat().st_size > 2 * wandb_reader.BLOCK_BYTES
    assert wandb_reader.config(log) == {"rate": 0.1, "net": {"width": 3}}
    assert [row["loss"] for row in wandb_reader.history(log)] == [1 / (step + 1) for step in range(1000)]
    assert wandb_reader.history(log)[-1]["nested.step"] == 999
    (record,) = wandb_reader.artifacts(log)
    assert (record.type, record.name, sorted(record.aliases)) == ("dataset", "pairs", ["best", "latest"])

    call([*WANDB, "sync", str(log.parent)], server.environment(), tmp_path)
    run = server.runs["away"]
    assert (run.state, run.config) == ("finished", {"rate": 0.1, "net": {"width": 3}})
    assert [row["loss"] for row in run.history] == [1 / (step + 1) for step in range(1000)]
    (artifact,) = server.artifacts
    assert (artifact.state, artifact.digest, artifact.created_by) == ("COMMITTED", record.digest, "away")
    assert record.manifest.contents[0].digest == artifact.entries["0.bin"]["digest"]
    assert sha256(server.content(artifact, "0.bin")) == sha256(path.read_bytes())

    content = bytearray(log.read_bytes())
    log.write_bytes(content[:-10])
    assert len(wandb_reader.history(log)) == 1000, "a record that was cut off is left out"
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged at byte"):
        wandb_reader.history(log)


def test_key_is_needed(server: Server, python: Callable[..., str]) -> None:
    code = "import wandb; print('verified', wandb.login(verify=True))"
    assert "verified True" in python(code)
    python(code, environment={"WANDB_API_KEY": "f" * 40}, returncode=1)
    assert post_graphql(server, "Viewer", key="f" * 40)[0] == 401
    assert post_graphql(server, "Viewer", key="")[0] == 401
    assert post_graphql(server, "Viewer")[0] == 200
    sent = b"".join(server.bodies())
    assert b"Viewer" in sent
    assert wandb_server.KEY.encode() not in sent
    assert base64.b64encode(f"api:{wandb_server.KEY}".encode()) not in sent


def test_sweep_agent_runs_once(server: Server, python: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import sys, wandb\n"
        "with wandb.init(project='haze') as run:\n"
        "    print('arguments', sys.argv[1:])\n"
        "    run.log({'loss': run.config['rate']})\n"
    )
    (tmp_path / "sweep.yaml").write_text(
        "method: random\nprogram: train.py\nproject: haze\n"
        "parameters:\n  rate: {min: 0.25, max: 0.5}\n  width: {values: [3, 5]}\n  kind: {value: aod}\n"
        "command: [python, '${program}', '${args}']\n"
    )
    environment = server.environment() | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    said = call([*WANDB, "sweep", "sweep.yaml"], environment, tmp_path)
    (sweep,) = re.findall(r"wandb agent (\S+)", said)
    said = call([*WANDB, "agent", "--count", "1", sweep], environment, tmp_path)
    assert "arguments ['--kind=aod', '--rate=0.25', '--width=3']" in said
    (run,) = server.runs.values()
    assert (run.config, run.sweep, run.state) == ({"rate": 0.25, "width": 3, "kind": "aod"}, "sweep1", "finished")
    assert run.summary["loss"] == 0.25


@pytest.mark.parametrize("what", ["429", "500", "cut", "refuse"])
def test_wandb_survives_faults(server: Server, python: Callable[..., str], tmp_path: Path, what: str) -> None:
    path = random_file(tmp_path / "0.bin", 0)
    server.spoil(Fault(what, "upload", count=1))
    environment = {"WANDB__FILE_TRANSFER_RETRY_WAIT_MIN_SECONDS": "0.1", "WANDB__DISABLE_STATS": "true"}
    python(LOG_ARTIFACT, "one", "best", str(path), environment=environment)
    assert sum(request.endswith("/0.bin") for request in server.requests) == 2
    assert sha256(server.content(server.artifacts[0], "0.bin")) == sha256(path.read_bytes())


def connect(server: Server) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)


def authorization(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"api:{key}".encode()).decode()}


def post_graphql(
    server: Server, operation: str, variables: dict[str, object] | None = None, key: str = wandb_server.KEY
) -> tuple[int, dict, dict[str, str]]:
    """Status, body and headers of the answer to a GraphQL operation."""
    body = {"query": f"query {operation} {{ x }}", "operationName": operation, "variables": variables or {}}
    connection = connect(server)
    try:
        connection.request("POST", "/graphql", json.dumps(body), authorization(key) if key else {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), dict(answer.headers)
    finally:
        connection.close()


def put(server: Server, url: str, content: bytes) -> int:
    """The status of the answer to an upload."""
    connection = connect(server)
    try:
        connection.request("PUT", url.removeprefix(server.url), content)
        return connection.getresponse().status
    finally:
        connection.close()


def download(server: Server, content: bytes) -> bytes:
    """Asks for a file by its MD5, as wandb does for a single file."""
    connection = connect(server)
    try:
        path = f"/artifactsV2/default/tester/haze/pairs/birth/{hashlib.md5(content).hexdigest()}/a.bin"
        connection.request("GET", path, headers=authorization(wandb_server.KEY))
        return connection.getresponse().read()
    finally:
        connection.close()


def create_artifact(server: Server, contents: dict[str, bytes]) -> dict[str, str]:
    """Announces an artifact and uploads its manifest; returns the URLs for its files, and its id as `id`."""
    names = {"entityName": "tester", "projectName": "haze", "runName": "one"}
    wanted = {**names, "artifactCollectionName": "pairs", "artifactTypeName": "dataset", "digest": "d"}
    answer = post_graphql(server, "CreateArtifact", {"input": wanted})[1]
    artifact_id = answer["data"]["createArtifact"]["artifact"]["id"]
    md5 = {name: base64.b64encode(hashlib.md5(content).digest()).decode() for name, content in contents.items()}
    files = [{"artifactID": artifact_id, "name": name, "md5": digest} for name, digest in md5.items()]
    answer = post_graphql(server, "CreateArtifactFiles", {"input": {"artifactFiles": files}})[1]
    nodes = [edge["node"] for edge in answer["data"]["createArtifactFiles"]["files"]["edges"]]
    wanted = {"artifactID": artifact_id, "name": "wandb_manifest.json", "manifestType": "FULL"}
    answer = post_graphql(server, "CreateArtifactManifest", wanted)[1]
    url = answer["data"]["createArtifactManifest"]["artifactManifest"]["file"]["uploadUrl"]
    entries = {name: {"digest": digest, "size": len(contents[name])} for name, digest in md5.items()}
    put(server, url, json.dumps({"contents": entries}).encode())
    return {"id": artifact_id, **{node["name"]: node["uploadUrl"] for node in nodes}}


def test_commit_needs_all_files(server: Server) -> None:
    contents = {"a.bin": b"all of it", "b.bin": b"the other"}
    sent = create_artifact(server, contents)
    put(server, sent["a.bin"], contents["a.bin"])
    put(server, sent["b.bin"], b"the othe.")
    (error,) = post_graphql(server, "CommitArtifact", {"artifactID": sent["id"]})[1]["errors"]
    assert error["message"] == "the file b.bin of pairs was not uploaded with its MD5"
    assert (server.artifacts[0].state, server.artifacts[0].version) == ("PENDING", None)
    put(server, sent["b.bin"], contents["b.bin"])
    post_graphql(server, "CommitArtifact", {"artifactID": sent["id"]})
    assert (server.artifacts[0].state, server.artifacts[0].version) == ("COMMITTED", 0)
    assert server.content(server.artifacts[0], "b.bin") == b"the other"


def test_unknown_operation_is_listed(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        (error,) = post_graphql(server, "LaunchRocket")[1]["errors"]
        assert error["message"] == "the operation LaunchRocket is not served"
        assert put(server, "/elsewhere", b"") == 401
    assert server.unknown == ["LaunchRocket"]
    assert not server.errors


def test_faults_by_number(server: Server) -> None:
    server.spoil(Fault("429", "Viewer", after=1, count=2))
    assert post_graphql(server, "ServerFeaturesQuery")[0] == 200
    answers = [post_graphql(server, "Viewer") for _ in range(4)]
    assert [status for status, _, _ in answers] == [200, 429, 429, 200]
    assert [headers.get("Retry-After") for _, _, headers in answers] == [None, "1", "1", None]
    server.spoil(Fault("500", "graphql"))
    assert [post_graphql(server, "Viewer")[0] for _ in range(2)] == [500, 500]


def test_cut_and_refused_connections(server: Server) -> None:
    contents = {"a.bin": bytes(1_000_000)}
    sent = create_artifact(server, contents)
    for what in ("refuse", "cut"):
        server.spoil(Fault(what, "graphql", count=1))
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            post_graphql(server, "Viewer")
        assert post_graphql(server, "Viewer")[0] == 200
        server.spoil(Fault(what, "upload", count=1))
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            put(server, sent["a.bin"], contents["a.bin"])
    bodies = list(server.bodies())
    assert [len(body) > 400_000 for body in bodies if body.startswith(b"PUT") and b"/a.bin" in body] == [False, True]
    assert not post_graphql(server, "CommitArtifact", {"artifactID": sent["id"]})[1]["data"]
    server.spoil(Fault("slow", "upload", delay_s=0.3))
    started = time.monotonic()
    assert put(server, sent["a.bin"], contents["a.bin"]) == 200
    assert time.monotonic() - started >= 0.3
    server.spoil(Fault("cut", "download", count=1))
    with pytest.raises(http.client.IncompleteRead) as cut:
        download(server, contents["a.bin"])
    assert cut.value.partial == contents["a.bin"][:500_000]
    assert download(server, contents["a.bin"]) == contents["a.bin"]


def ask_again(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/")
    connection.getresponse()


def test_vanished_server_refuses_connections(server: Server) -> None:
    kept = connect(server)
    kept.connect()
    server.spoil(Fault("vanish", "Viewer", after=1))
    assert post_graphql(server, "Viewer")[0] == 200
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        post_graphql(server, "Viewer")
    with pytest.raises(ConnectionRefusedError):
        post_graphql(server, "Viewer")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        ask_again(kept)
    kept.close()


def test_close_frees_stalled_clients(tmp_path: Path) -> None:
    with Server(tmp_path, Fault("stall")) as server:
        failures: list[Exception] = []

        def wait_for_answer() -> None:
            try:
                post_graphql(server, "Viewer")
            except (http.client.HTTPException, ConnectionError) as error:
                failures.append(error)

        clients = [threading.Thread(target=wait_for_answer) for _ in range(3)]
        for client in clients:
            client.start()
        while len(server.requests) < len(clients):
            time.sleep(0.01)
        started = time.monotonic()
        server.close()
        assert time.monotonic() - started < 1.0
        for client in clients:
            client.join()
        assert len(failures) == len(clients)
    assert not server.errors


def test_uploads_are_not_held_in_memory(server: Server, tmp_path: Path) -> None:
    size = 100 * CHUNK
    sent = create_artifact(server, {"a.bin": b""})
    with (tmp_path / "zeros.bin").open("w+b") as file:
        file.truncate(size)
        connection = connect(server)
        tracemalloc.start()
        connection.request("PUT", sent["a.bin"].removeprefix(server.url), file, {"Content-Length": str(size)})
        assert connection.getresponse().status == 200
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        connection.close()
    assert peak < 8 * CHUNK
