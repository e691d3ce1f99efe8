"""A stand-in for the W&B server on the loopback interface: what stock wandb 0.31 needs of it, and faults on demand.

    with wandb_server.Server(tmp_path) as server:
        subprocess.run([sys.executable, "train.py"], env=os.environ | server.environment(), check=True)
    assert server.artifacts[0].state == "COMMITTED"
    assert not server.errors

It speaks GraphQL by the names of the operations: it never parses a query, and answers each operation with all the
fields that any version of that query asks for. It keeps runs, files and artifacts, and judges uploads as the real
server does: by MD5, against the manifest. It does not serve incremental or distributed artifacts, links and
registries, portfolios, deletion, multipart uploads and the launch queue; what it does not know, it refuses and lists
in `Server.unknown`.
"""

import base64
import hashlib
import io
import itertools
import json
import os
import re
import secrets
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR, socket
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote, unquote, urlsplit

import yaml

KEY = "0123456789abcdef0123456789abcdef01234567"
ENTITY = "tester"
CHUNK = 1 << 20
CREATED_AT = "2026-01-01T00:00:00Z"
PROJECT_NUMBER = 1  # Wanted, but not used, by wandb: all projects have it.

Fields = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """What goes wrong, where, and for which of the requests that come there.

    A request spoilt by `slow` or `cut` has its effect, but for an upload that was cut; after the others nothing is
    changed.

    Attributes:
        what: `refuse` closes the connection without an answer; `vanish` closes the listening socket and all
            connections too; `stall` never answers; `slow` answers `delay_s` late; `cut` closes the connection after
            half of the body of an upload, and after half of any other answer; a number is the HTTP status.
        where: `any`, `graphql`, `file_stream`, `upload`, `download` or the name of a GraphQL operation.
        after: So many matching requests are answered soundly first.
        count: So many are then spoilt; None for all.
        delay_s: How late `slow` answers.
    """

    what: Literal["refuse", "401", "429", "500", "slow", "stall", "cut", "vanish"]
    where: str = "any"
    after: int = 0
    count: int | None = None
    delay_s: float = 2.0


@dataclass
class Artifact:
    """One version of an artifact.

    Attributes:
        version: The number of the version; None until it is committed.
        aliases: Those it has; those it is to have, until it is committed.
        created_by: The name (id) of the run that logged it.
        manifest: The uploaded wandb_manifest.json.
    """

    id: str
    collection: str
    type: str
    version: int | None
    digest: str
    state: Literal["PENDING", "COMMITTED"]
    aliases: list[str]
    metadata: Fields
    description: str | None
    created_by: str | None
    entity: str
    project: str
    manifest: Fields | None = None
    manifest_file: Path | None = None

    @property
    def entries(self) -> dict[str, Fields]:
        """The entries of the manifest by their names."""
        return self.manifest["contents"] if self.manifest else {}


@dataclass
class Run:
    """One run.

    Attributes:
        name: What wandb's Python side calls its id.
        config: The plain values.
        wandb_config: wandb's own entry `_wandb` of the config.
        history: The logged rows, wandb's own columns (`_step` ...) among them.
        events: The system metrics.
        console: The lines of output.log as they were streamed.
        files: The uploaded files: wandb-metadata.json, config.yaml, output.log ...
        exit_code: None until the run has said that it is complete.
    """

    name: str
    project: str
    entity: str
    config: Fields = field(default_factory=dict)
    wandb_config: Fields = field(default_factory=dict)
    summary: Fields = field(default_factory=dict)
    history: list[Fields] = field(default_factory=list)
    events: list[Fields] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    display_name: str | None = None
    group: str | None = None
    job_type: str | None = None
    notes: str | None = None
    sweep: str | None = None
    tags: list[str] = field(default_factory=list)
    state: Literal["running", "finished", "failed"] = "running"
    exit_code: int | None = None


@dataclass
class Sweep:
    """One sweep, which gives a single run to its agents.

    Attributes:
        run: The name of the run given out; None before.
    """

    name: str
    project: str
    entity: str
    config: str
    run: str | None = None


class Refusal(Exception):
    """An answer of GraphQL's: the operation is refused for a reason that the client is told."""


class UnknownOperation(Refusal):
    """The operation is not served."""


def _id(kind: str, *names: str | int) -> str:
    """An opaque id, as the real server makes them."""
    return base64.b64encode(":".join([kind, *map(str, names)]).encode()).decode()


def _connection(nodes: list[Fields]) -> Fields:
    """All nodes as the only page of a GraphQL connection."""
    page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
    return {"totalCount": len(nodes), "pageInfo": page, "edges": [{"node": node} for node in nodes]}


def _graphql_error(message: str) -> bytes:
    return json.dumps({"data": None, "errors": [{"message": message}]}).encode()


def _md5_hex(digest: str) -> str:
    return base64.b64decode(digest).hex()


def _first_choice(parameters: dict[str, Fields]) -> Fields:
    """The first value that each parameter of a sweep may have."""
    choice = {}
    for name, parameter in parameters.items():
        if "parameters" in parameter:
            choice[name] = _first_choice(parameter["parameters"])
        else:
            options = [parameter.get("value"), *parameter.get("values", []), parameter.get("min"), parameter.get("mu")]
            choice[name] = next(option for option in options if option is not None)
    return choice


class Storage:
    """What the clients sent, on disk: uploads by their MD5, and the transcript of all requests.

    A body lies on disk once: an upload is a second name of the body of its request.
    """

    def __init__(self, folder: Path):
        self._contents = folder / "contents"
        self._requests = folder / "requests"
        self._contents.mkdir(parents=True)
        self._requests.mkdir()
        self._numbers = itertools.count()
        self._signed: dict[str, Callable[[Path], None] | Path] = {}

    def sign(self, target: Callable[[Path], None] | Path, name: str) -> str:
        """The path of a URL that needs no key: to download the file `target`, or to upload one and have it called."""
        token = secrets.token_hex(16)
        self._signed[token] = target
        return f"/storage/{token}/{quote(name)}"

    def signed(self, path: str) -> Callable[[Path], None] | Path | None:
        """What `sign` was given for this path."""
        return self._signed.get(path.split("/")[2])

    def record(self, head: bytes) -> Path:
        """Starts the transcript of a request; returns where its body belongs."""
        number = next(self._numbers)
        (self._requests / f"{number:06d}.head").write_bytes(head)
        return self._requests / f"{number:06d}.body"

    def keep(self, body: Path, md5: str) -> Path:
        """Makes the body of a request a stored file."""
        path = self._contents / md5
        with suppress(FileExistsError):
            os.link(body, path)
        return path

    def find(self, md5: str) -> Path | None:
        """The stored file with this MD5: in base64, as manifests have it, or in hexadecimal."""
        path = self._contents / (md5 if len(md5) == 32 else _md5_hex(md5))
        return path if path.exists() else None

    def transcript(self) -> Iterator[bytes]:
        """The requests one by one: head and body."""
        for head in sorted(self._requests.glob("*.head")):
            body = head.with_suffix(".body")
            yield head.read_bytes() + (body.read_bytes() if body.exists() else b"")


class Backend:
    """The state behind the server, and the GraphQL operations on it."""

    def __init__(self, storage: Storage, url: str):
        self.artifacts: list[Artifact] = []
        self.runs: dict[str, Run] = {}
        self.uses: list[tuple[str, str]] = []
        self.sweeps: dict[str, Sweep] = {}
        self._storage = storage
        self._url = url
        self._lock = threading.RLock()
        self._client_ids: dict[str, str] = {}  # what a client calls an artifact before it is here
        self._operations: dict[str, Callable[[Fields], Fields]] = {
            "Viewer": self._viewer,
            "GetViewer": self._viewer,
            "GetDefaultEntity": self._viewer,
            "ServerFeaturesQuery": lambda _: {"serverInfo": {"features": []}},
            "OrganizationCoreWeaveOrganizationID": lambda _: {"entity": {"organization": None}},
            "UpsertBucket": self._upsert_run,
            "RunResumeStatus": self._resume_status,
            "Run": self._find_run,
            "RunState": self._find_run,
            "CreateRunFiles": self._create_run_files,
            "ArtifactType": self._artifact_type,
            "CreateArtifact": self._create_artifact,
            "CreateArtifactManifest": self._create_manifest,
            "CreateArtifactFiles": self._create_artifact_files,
            "CommitArtifact": self._commit_artifact,
            "UpdateArtifact": self._update_artifact,
            "AddAliases": self._add_aliases,
            "DeleteAliases": self._delete_aliases,
            "UseArtifact": self._use_artifact,
            "ArtifactByID": self._artifact_by_id,
            "ArtifactCreatedBy": self._artifact_by_id,
            "ArtifactUsedBy": self._artifact_by_id,
            "FetchArtifactManifest": self._artifact_by_id,
            "ArtifactManifest": self._artifact_by_id,
            "ArtifactMembershipByName": self._membership_by_name,
            "GetArtifactMembershipFileUrls": self._membership_files,
            "ArtifactMembershipFiles": self._membership_files,
            "RunInputArtifacts": self._input_artifacts,
            "RunOutputArtifacts": self._output_artifacts,
            "ClientIDMapping": self._map_client_id,
            "UpsertSweep": self._upsert_sweep,
            "SweepWithRuns": self._find_sweep,
            "CreateAgent": self._create_agent,
            "Heartbeat": self._heartbeat,
        }

    def answer(self, operation: str, query: str, variables: Fields) -> Fields:
        """The data of the answer to an operation.

        Raises:
            UnknownOperation: It is not served.
            Refusal: It cannot be done.
        """
        if operation not in self._operations:
            raise UnknownOperation(f"the operation {operation} is not served")
        inputs = variables["input"] if isinstance(variables.get("input"), dict) else variables
        with self._lock:
            data = self._operations[operation](inputs)
        if re.search(r"\bresult\s*:", query):  # The generated mutations rename their one field.
            return {"result": next(iter(data.values()))}
        return data

    def stream(self, name: str, packet: Fields) -> None:
        """Takes in a packet of the file stream of a run: pieces of files, each with the line that it starts at.

        Raises:
            KeyError: There is no such run.
        """
        with self._lock:
            run = self.runs[name]
            for file_name, chunk in (packet.get("files") or {}).items():
                start, lines = chunk["offset"], chunk["content"]
                stop = start + len(lines)
                match file_name:
                    case "wandb-history.jsonl":
                        run.history[start:stop] = map(json.loads, lines)
                    case "wandb-events.jsonl":
                        run.events[start:stop] = map(json.loads, lines)
                    case "wandb-summary.json":
                        run.summary = json.loads(lines[-1])
                    case "output.log":
                        run.console[start:stop] = lines
            if packet.get("complete"):
                run.exit_code = packet.get("exitcode", 0)
                run.state = "finished" if run.exit_code == 0 else "failed"

    def find_version(self, entity: str, project: str, name: str) -> Artifact | None:
        """The committed version that is called `collection:alias` or `collection:v3`; latest where none is named."""
        collection, _, alias = name.partition(":")
        for artifact in self._versions(entity, project, collection):
            if (alias or "latest") in [f"v{artifact.version}", *artifact.aliases]:
                return artifact
        return None

    def _versions(self, entity: str, project: str, collection: str) -> list[Artifact]:
        wanted = (entity, project, collection)
        return [
            artifact
            for artifact in self.artifacts
            if artifact.state == "COMMITTED" and (artifact.entity, artifact.project, artifact.collection) == wanted
        ]

    def _artifact(self, artifact_id: str) -> Artifact:
        for artifact in self.artifacts:
            if artifact.id == artifact_id:
                return artifact
        raise Refusal(f"there is no artifact {artifact_id}")

    def _run(self, name: str) -> Run:
        if name not in self.runs:
            raise Refusal(f"there is no run {name}")
        return self.runs[name]

    # Nodes: the objects of the answers, with all fields that the queries ask for.

    def _download_url(self, path: Path, name: str) -> str:
        return self._url + self._storage.sign(path, name)

    def _upload_node(self, name: str, done: Callable[[Path], None]) -> Fields:
        url = self._url + self._storage.sign(done, name)
        return {"id": _id("File", name), "name": name, "displayName": name, "uploadUrl": url, "uploadHeaders": []}

    def _project_node(self, entity: str, project: str) -> Fields:
        return {
            "__typename": "Project",
            "id": _id("Project", project, entity),
            "internalId": _id("ProjectInternalId", PROJECT_NUMBER),
            "name": project,
            "entityName": entity,
            "entity": {"__typename": "Entity", "id": _id("Entity", entity), "name": entity},
            "createdAt": CREATED_AT,
            "isBenchmark": False,
            "readOnly": False,
        }

    def _run_node(self, run: Run) -> Fields:
        return {
            "__typename": "Run",
            "id": _id("Run", run.name),
            "projectId": PROJECT_NUMBER,
            "name": run.name,
            "displayName": run.display_name or run.name,
            "description": None,
            "notes": run.notes,
            "tags": run.tags,
            "state": run.state,
            "group": run.group,
            "jobType": run.job_type,
            "commit": None,
            "readOnly": False,
            "createdAt": CREATED_AT,
            "heartbeatAt": CREATED_AT,
            "user": {"name": ENTITY, "username": ENTITY},
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "summaryMetrics": json.dumps(run.summary),
            "systemMetrics": json.dumps(run.events[-1] if run.events else {}),
            "wandbConfig": json.dumps({"t": run.wandb_config.get("t")}),  # Without it, no run is resumed.
            "historyKeys": None,
            "historyLineCount": len(run.history),
            "eventsLineCount": len(run.events),
            "logLineCount": len(run.console),
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsTail": json.dumps([json.dumps(row) for row in run.events[-1:]]),
            "sweepName": run.sweep,
            "project": self._project_node(run.entity, run.project),
        }

    def _collection_node(self, artifact: Artifact) -> Fields:
        return {
            "__typename": "ArtifactSequence",
            "id": _id("ArtifactCollection", artifact.entity, artifact.project, artifact.collection),
            "name": artifact.collection,
            "project": self._project_node(artifact.entity, artifact.project),
        }

    def _alias_nodes(self, artifact: Artifact) -> list[Fields]:
        collection = self._collection_node(artifact)
        return [
            {
                "__typename": "ArtifactAlias",
                "id": _id("ArtifactAlias", artifact.id, alias),
                "alias": alias,
                "artifactCollection": collection,
                "artifactCollectionName": artifact.collection,
            }
            for alias in artifact.aliases
        ]

    def _artifact_node(self, artifact: Artifact) -> Fields:
        creator = self.runs.get(artifact.created_by or "")
        users = dict.fromkeys(run for run, artifact_id in self.uses if artifact_id == artifact.id)
        manifest = None
        if artifact.manifest_file is not None:
            url = self._download_url(artifact.manifest_file, "wandb_manifest.json")
            manifest = {"id": _id("ArtifactManifest", artifact.id), "file": {"directUrl": url}}
        return {
            "__typename": "Artifact",
            "id": artifact.id,
            "artifactSequence": self._collection_node(artifact),
            "artifactType": {"__typename": "ArtifactType", "id": _id("Type", artifact.type), "name": artifact.type},
            "versionIndex": artifact.version,
            "state": artifact.state,
            "digest": artifact.digest,
            "digestAlgorithm": "MANIFEST_MD5",
            "commitHash": hashlib.sha1(artifact.id.encode()).hexdigest(),
            "description": artifact.description,
            "metadata": json.dumps(artifact.metadata),
            "aliases": self._alias_nodes(artifact),
            "tags": [],
            "ttlDurationSeconds": -2,
            "ttlIsInherited": False,
            "historyStep": None,
            "size": sum(entry.get("size", 0) for entry in artifact.entries.values()),
            "fileCount": len(artifact.entries),
            "createdAt": CREATED_AT,
            "updatedAt": None,
            "currentManifest": manifest,
            "createdBy": self._run_node(creator) if creator else None,
            "usedBy": _connection([self._run_node(self.runs[name]) for name in users]),
        }

    def _file_node(self, artifact: Artifact, name: str) -> Fields:
        entry = artifact.entries[name]
        path = self._storage.find(entry["digest"]) if "ref" not in entry else None
        url = self._download_url(path, name) if path else entry.get("ref", "")
        return {
            "__typename": "File",
            "id": _id("File", artifact.id, name),
            "name": name,
            "displayName": name,
            "url": url,
            "directUrl": url,
            "sizeBytes": entry.get("size", 0),
            "storagePath": None,
            "mimetype": None,
            "updatedAt": None,
            "digest": entry["digest"],
            "md5": entry["digest"],
        }

    # Operations: who is there.

    def _viewer(self, _: Fields) -> Fields:
        user = {
            "__typename": "User",
            "id": _id("User", ENTITY),
            "name": ENTITY,
            "username": ENTITY,
            "email": f"{ENTITY}@example.com",
            "entity": ENTITY,
            "admin": False,
            "flags": "{}",
            "deletedAt": None,
            "apiKeys": _connection([]),
            "teams": _connection([{"name": ENTITY}]),
        }
        return {"viewer": user}

    # Operations: runs.

    def _upsert_run(self, inputs: Fields) -> Fields:
        known = {_id("Run", name): name for name in self.runs}
        name = inputs.get("name") or known.get(inputs.get("id") or "") or secrets.token_hex(4)
        inserted = name not in self.runs
        if inserted:
            project, entity = inputs.get("project") or "uncategorized", inputs.get("entity") or ENTITY
            self.runs[name] = Run(name, project, entity)
        run = self.runs[name]
        run.state, run.exit_code = "running", None
        sent = {
            "display_name": inputs.get("displayName"),
            "group": inputs.get("groupName"),
            "job_type": inputs.get("jobType"),
            "notes": inputs.get("notes"),
            "sweep": inputs.get("sweep"),
            "tags": inputs.get("tags"),
        }
        for attribute, value in sent.items():
            if value is not None:
                setattr(run, attribute, value)
        if inputs.get("config"):
            config = json.loads(inputs["config"])
            run.config = {key: entry["value"] for key, entry in config.items()}
            run.wandb_config = run.config.pop("_wandb", {})
        if inputs.get("summaryMetrics"):
            run.summary = json.loads(inputs["summaryMetrics"])
        return {"upsertBucket": {"bucket": self._run_node(run), "inserted": inserted}}

    def _resume_status(self, inputs: Fields) -> Fields:
        run = self.runs.get(inputs["name"])
        project = self._project_node(inputs.get("entity") or ENTITY, inputs.get("project") or "uncategorized")
        return {"model": {**project, "bucket": self._run_node(run) if run else None}}

    def _find_run(self, inputs: Fields) -> Fields:
        run = self.runs.get(inputs.get("name") or inputs.get("run") or "")
        project = self._project_node(inputs["entity"], inputs["project"])
        return {"project": {**project, "run": self._run_node(run) if run else None}}

    def _create_run_files(self, inputs: Fields) -> Fields:
        run = self._run(inputs["run"])

        def taker(name: str) -> Callable[[Path], None]:
            return lambda path: run.files.update({name: path.read_bytes()})

        nodes = [self._upload_node(name, taker(name)) for name in inputs["files"]]
        return {"createRunFiles": {"runID": _id("Run", run.name), "uploadHeaders": [], "files": nodes}}

    # Operations: artifacts.

    def _artifact_type(self, inputs: Fields) -> Fields:
        artifact = self.find_version(inputs["entity"], inputs["project"], inputs["name"])
        return {"project": {"artifact": self._artifact_node(artifact) if artifact else None}}

    def _create_artifact(self, inputs: Fields) -> Fields:
        collection = inputs.get("artifactCollectionName") or inputs["artifactCollectionNames"][0]
        versions = self._versions(inputs["entityName"], inputs["projectName"], collection)
        if versions and versions[0].type != inputs["artifactTypeName"]:
            raise Refusal(f"the artifact {collection} is of type {versions[0].type}, not {inputs['artifactTypeName']}")
        aliases = list(dict.fromkeys(item["alias"] for item in inputs.get("aliases") or []))
        latest = next((version for version in versions if "latest" in version.aliases), None)
        for artifact in versions:
            if artifact.digest == inputs["digest"]:
                self._move_aliases(artifact, aliases)
                break
        else:
            artifact = Artifact(
                id=_id("Artifact", len(self.artifacts) + 1),
                collection=collection,
                type=inputs["artifactTypeName"],
                version=None,
                digest=inputs["digest"],
                state="PENDING",
                aliases=aliases,
                metadata=json.loads(inputs.get("metadata") or "{}"),
                description=inputs.get("description"),
                created_by=inputs.get("runName"),
                entity=inputs["entityName"],
                project=inputs["projectName"],
            )
            self.artifacts.append(artifact)
        self._client_ids[inputs.get("clientID", "")] = artifact.id
        sequence = self._collection_node(artifact) | {"latestArtifact": {"id": latest.id} if latest else None}
        return {"createArtifact": {"artifact": {**self._artifact_node(artifact), "artifactSequence": sequence}}}

    def _map_client_id(self, inputs: Fields) -> Fields:
        return {"clientIDMapping": {"serverID": self._client_ids.get(inputs["clientID"])}}

    def _create_manifest(self, inputs: Fields) -> Fields:
        artifact = self._artifact(inputs["artifactID"])
        if inputs["manifestType"] != "FULL":
            raise Refusal(f"a manifest of type {inputs['manifestType']} is not served")

        def take(path: Path) -> None:
            artifact.manifest, artifact.manifest_file = json.loads(path.read_bytes()), path

        manifest = {"id": _id("ArtifactManifest", artifact.id), "file": self._upload_node(inputs["name"], take)}
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def _create_artifact_files(self, inputs: Fields) -> Fields:
        nodes = []
        for wanted in inputs["artifactFiles"]:
            node = self._upload_node(wanted["name"], lambda _: None)
            if self._storage.find(wanted["md5"]):
                node["uploadUrl"] = None  # The client need not send what is there.
            path, artifact = f"wandb_artifacts/{_md5_hex(wanted['md5'])}", {"id": wanted["artifactID"]}
            nodes.append({**node, "storagePath": path, "uploadMultipartUrls": None, "artifact": artifact})
        return {"createArtifactFiles": {"files": _connection(nodes)}}

    def _commit_artifact(self, inputs: Fields) -> Fields:
        artifact = self._artifact(inputs["artifactID"])
        if artifact.state == "PENDING":
            if artifact.manifest is None:
                raise Refusal(f"the manifest of {artifact.collection} was not uploaded")
            for name, entry in artifact.entries.items():
                path = self._storage.find(entry["digest"]) if "ref" not in entry else None
                if "ref" not in entry and (path is None or path.stat().st_size != entry["size"]):
                    raise Refusal(f"the file {name} of {artifact.collection} was not uploaded with its MD5")
            artifact.version = len(self._versions(artifact.entity, artifact.project, artifact.collection))
            artifact.state = "COMMITTED"
            self._move_aliases(artifact, [*artifact.aliases, "latest"])
        return {"commitArtifact": {"artifact": self._artifact_node(artifact)}}

    def _move_aliases(self, artifact: Artifact, aliases: list[str]) -> None:
        """Gives a version aliases, which no other version of its collection then has."""
        for version in self._versions(artifact.entity, artifact.project, artifact.collection):
            if version is not artifact:
                version.aliases = [alias for alias in version.aliases if alias not in aliases]
        artifact.aliases = list(dict.fromkeys([*artifact.aliases, *aliases]))

    def _update_artifact(self, inputs: Fields) -> Fields:
        artifact = self._artifact(inputs["artifactID"])
        if inputs.get("description") is not None:
            artifact.description = inputs["description"]
        if inputs.get("metadata") is not None:
            artifact.metadata = json.loads(inputs["metadata"])
        return {"updateArtifact": {"artifact": self._artifact_node(artifact)}}

    def _add_aliases(self, inputs: Fields) -> Fields:
        self._move_aliases(self._artifact(inputs["artifactID"]), [item["alias"] for item in inputs["aliases"]])
        return {"addAliases": {"success": True}}

    def _delete_aliases(self, inputs: Fields) -> Fields:
        artifact = self._artifact(inputs["artifactID"])
        unwanted = {item["alias"] for item in inputs["aliases"]}
        artifact.aliases = [alias for alias in artifact.aliases if alias not in unwanted]
        return {"deleteAliases": {"success": True}}

    def _use_artifact(self, inputs: Fields) -> Fields:
        artifact = self._artifact(inputs["artifactID"])
        self.uses.append((self._run(inputs["runName"]).name, artifact.id))
        return {"useArtifact": {"artifact": self._artifact_node(artifact)}}

    def _artifact_by_id(self, inputs: Fields) -> Fields:
        return {"artifact": self._artifact_node(self._artifact(inputs.get("id") or inputs["artifact_id"]))}

    def _membership_by_name(self, inputs: Fields) -> Fields:
        artifact = self.find_version(inputs["entity"], inputs["project"], inputs["name"])
        if artifact is None:
            return {"project": {"artifactCollectionMembership": None}}
        membership = {
            "__typename": "ArtifactCollectionMembership",
            "id": _id("ArtifactCollectionMembership", artifact.id),
            "versionIndex": artifact.version,
            "createdAt": CREATED_AT,
            "aliases": self._alias_nodes(artifact),
            "artifactCollection": self._collection_node(artifact),
            "artifact": self._artifact_node(artifact),
        }
        return {"project": {"artifactCollectionMembership": membership}}

    def _membership_files(self, inputs: Fields) -> Fields:
        name = f"{inputs['collection']}:{inputs['alias']}"
        artifact = self.find_version(inputs["entity"], inputs["project"], name)
        if artifact is None:
            raise Refusal(f"there is no artifact {name}")
        names = inputs.get("fileNames") or list(artifact.entries)
        files = _connection([self._file_node(artifact, name) for name in names if name in artifact.entries])
        collection = {"__typename": "ArtifactSequence", "artifactMembership": {"files": files}}
        return {"project": {"artifactCollection": collection}}

    def _input_artifacts(self, inputs: Fields) -> Fields:
        used = dict.fromkeys(artifact_id for run, artifact_id in self.uses if run == inputs["run"])
        return self._artifacts_of_run([self._artifact(artifact_id) for artifact_id in used])

    def _output_artifacts(self, inputs: Fields) -> Fields:
        return self._artifacts_of_run([item for item in self.artifacts if item.created_by == inputs["run"]])

    def _artifacts_of_run(self, artifacts: list[Artifact]) -> Fields:
        return {"project": {"run": {"artifacts": _connection([self._artifact_node(item) for item in artifacts])}}}

    # Operations: sweeps.

    def _upsert_sweep(self, inputs: Fields) -> Fields:
        project, entity = inputs.get("projectName") or "uncategorized", inputs.get("entityName") or ENTITY
        sweep = Sweep(f"sweep{len(self.sweeps) + 1}", project, entity, inputs["config"])
        self.sweeps[sweep.name] = sweep
        node = {"name": sweep.name, "project": self._project_node(entity, project)}
        return {"upsertSweep": {"sweep": node, "configValidationWarnings": []}}

    def _find_sweep(self, inputs: Fields) -> Fields:
        sweep = self.sweeps.get(inputs["sweep"])
        if sweep is None:
            return {"project": {"sweep": None}}
        node = {
            "id": _id("Sweep", sweep.name),
            "name": sweep.name,
            "method": yaml.safe_load(sweep.config)["method"],
            "state": "RUNNING",
            "config": sweep.config,
            "controller": None,
            "scheduler": None,
            "runs": _connection([self._run_node(run) for run in self.runs.values() if run.sweep == sweep.name]),
        }
        return {"project": {"sweep": node}}

    def _create_agent(self, inputs: Fields) -> Fields:
        if inputs["sweep"] not in self.sweeps:
            raise Refusal(f"there is no sweep {inputs['sweep']}")
        return {"createAgent": {"agent": {"id": inputs["sweep"]}}}

    def _heartbeat(self, inputs: Fields) -> Fields:
        """Commands for an agent: to run the first choice of its sweep; and to exit when that run is over."""
        sweep = self.sweeps[inputs["id"]]
        commands: list[Fields] = []
        if sweep.run is None:
            sweep.run = secrets.token_hex(4)
            config = yaml.safe_load(sweep.config)
            values = {name: {"value": value} for name, value in _first_choice(config["parameters"]).items()}
            commands = [{"type": "run", "run_id": sweep.run, "program": config.get("program"), "args": values}]
        elif sweep.run not in json.loads(inputs["runState"]):
            commands = [{"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": sweep.name}, "commands": json.dumps(commands)}}


@dataclass
class Request:
    """One request: its body lies in a file, which for a GraphQL operation is parsed too."""

    method: str
    path: str
    authorization: str | None
    body: Path
    md5: str = ""
    operation: str = ""
    query: str = ""
    variables: Fields = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where it comes, in the words of `Fault.where`."""
        if self.path == "/graphql":
            return "graphql"
        if self.path.startswith("/files/") and self.path.endswith("/file_stream"):
            return "file_stream"
        if self.path.startswith(("/storage/", "/artifactsV2/")):
            return "upload" if self.method == "PUT" else "download"
        return "other"

    def parse(self) -> None:
        """Takes name, text and variables of a GraphQL operation from the body."""
        sent = json.loads(self.body.read_bytes())
        named = re.search(r"\b(?:query|mutation)\s+(\w+)", sent["query"])
        self.operation = sent.get("operationName") or (named[1] if named else "")
        self.query, self.variables = sent["query"], sent.get("variables") or {}

    def __str__(self) -> str:
        return self.operation or f"{self.method} {self.path}"


class _Listener(ThreadingHTTPServer):
    """An HTTP server that knows its open connections, so that it can end them."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, owner: "Server"):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.owner = owner
        self._open: set[socket] = set()
        self._changed = threading.Condition()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.owner.errors.append(traceback.format_exc())

    def vanish(self) -> None:
        """Stops listening and ends all connections, but does not wait for their threads."""
        self.shutdown()
        self.server_close()
        with self._changed:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(SHUT_RDWR)

    def wait(self, timeout_s: float) -> None:
        """Waits until the threads of all connections have ended."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open, timeout_s)


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def log_message(self, format: str, *args: Any) -> None:
        """Writes nothing."""

    def handle_one_request(self) -> None:
        """Answers a request; that the client goes away is no error."""
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def _serve(self) -> None:
        owner = self.server.owner
        path = unquote(urlsplit(self.path).path)
        request = Request(self.command, path, self.headers["Authorization"], owner.storage.record(self._head()))
        fault = None
        if request.place == "upload":
            fault = owner.next_fault("upload")
        self._receive(request, {"refuse": 0.0, "vanish": 0.0, "cut": 0.5}.get(fault.what, 1.0) if fault else 1.0)
        if request.place == "graphql":
            request.parse()
        if request.place != "upload":
            fault = owner.next_fault(request.place, request.operation)
        owner.requests.append(str(request))
        self._reply(request, fault)

    do_GET = do_POST = do_PUT = _serve

    def _head(self) -> bytes:
        """The request line and the headers, but for the one with the key."""
        headers = [f"{name}: {value}" for name, value in self.headers.items() if name.lower() != "authorization"]
        return "\r\n".join([self.requestline, *headers, "", ""]).encode("latin-1")

    def _receive(self, request: Request, share: float) -> None:
        """Writes this share of the body to its file, and sets the MD5."""
        left = int(share * int(self.headers["Content-Length"] or 0))
        digest = hashlib.md5()
        with request.body.open("wb") as file:
            while left:
                chunk = self.rfile.read(min(left, CHUNK))
                if not chunk:
                    raise ConnectionAbortedError("the client went away")
                file.write(chunk)
                digest.update(chunk)
                left -= len(chunk)
        request.md5 = digest.hexdigest()

    def _reply(self, request: Request, fault: Fault | None) -> None:
        """Answers, or does what the fault says."""
        owner = self.server.owner
        match fault.what if fault else "none":
            case "none":
                self._send(*owner.answer(request))
            case "slow" if fault:
                owner.closing.wait(fault.delay_s)
                self._send(*owner.answer(request))
            case "cut" if request.place != "upload":
                self._send(*owner.answer(request), share=0.5)
                self.close_connection = True
            case "refuse" | "cut":
                self.close_connection = True
            case "stall":
                owner.closing.wait()
                self.close_connection = True
            case "vanish":
                self.server.vanish()
                self.close_connection = True
            case number:
                self._send(HTTPStatus(int(number)), _graphql_error(HTTPStatus(int(number)).phrase))

    def _send(self, status: HTTPStatus, content: bytes | Path, share: float = 1.0) -> None:
        """Sends the head of an answer and this share of its content."""
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if isinstance(content, bytes) else "binary/octet-stream")
        self.send_header("Content-Length", str(size))
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            self.send_header("Retry-After", "1")
        self.end_headers()
        left = int(share * size)
        with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as file:
            while left:
                chunk = file.read(min(left, CHUNK))
                self.wfile.write(chunk)
                left -= len(chunk)


class Server:
    """The stand-in, which serves from its making until `close`; a context manager.

    Attributes:
        url: Where it serves.
        requests: All requests in the order in which they were read: the names of the GraphQL operations, and
            'METHOD /path' of the others.
        errors: Tracebacks of the server's own failures: empty, unless it has a bug.
        unknown: Requests that it does not serve.
        closing: Set by `close`.
    """

    def __init__(self, folder: Path, fault: Fault | None = None, key: str = KEY):
        """Starts to serve.

        Args:
            folder: Where it keeps what it is sent, and where its `environment` puts wandb's own folders; a later
                server may have the same, as for a run that is synced after its server has vanished.
            fault: What is to go wrong.
            key: The API key that it takes.
        """
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.unknown: list[str] = []
        self.closing = threading.Event()
        self._authorization = "Basic " + base64.b64encode(f"api:{key}".encode()).decode()
        self._folder = folder
        self._key = key
        self._lock = threading.Lock()
        self.spoil(fault)
        self._listener = _Listener(self)
        self.url = f"http://127.0.0.1:{self._listener.server_port}"
        self.storage = Storage(folder / f"server-{self._listener.server_port}")
        self.backend = Backend(self.storage, self.url)
        self._thread = threading.Thread(target=self._listener.serve_forever, args=[0.02], daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends all connections, stalled ones too, and frees the port."""
        self.closing.set()
        self._listener.vanish()
        self._thread.join()
        self._listener.wait(timeout_s=0.5)

    @property
    def artifacts(self) -> list[Artifact]:
        """All versions, in the order of their making; pending ones too."""
        return self.backend.artifacts

    @property
    def runs(self) -> dict[str, Run]:
        """All runs by name."""
        return self.backend.runs

    @property
    def uses(self) -> list[tuple[str, str]]:
        """Which run said that it uses which artifact: (name, artifact id)."""
        return self.backend.uses

    def environment(self) -> dict[str, str]:
        """The environment variables with which wandb talks to this server and writes below `folder` only."""
        home = self._folder / "wandb"
        folders = {f"WANDB_{name}": home / name.lower() for name in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR")}
        for path in folders.values():
            path.mkdir(parents=True, exist_ok=True)
        return {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": self._key,
            "WANDB_ENTITY": ENTITY,
            "WANDB_MODE": "online",
            "WANDB_ERROR_REPORTING": "false",
            **{name: str(path) for name, path in folders.items()},
            "NETRC": str(home / "netrc"),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def content(self, artifact: Artifact, name: str) -> bytes:
        """The uploaded bytes of a file of an artifact, found by the digest in its manifest.

        Raises:
            KeyError: The manifest has no such file, or it was never uploaded.
        """
        path = self.storage.find(artifact.entries[name]["digest"])
        if path is None:
            raise KeyError(name)
        return path.read_bytes()

    def bodies(self) -> Iterator[bytes]:
        """Every byte that the clients sent, one request after the other: request line, headers and body.

        Authorization headers are left out: they have the key. One request at a time is in memory.
        """
        return self.storage.transcript()

    def spoil(self, fault: Fault | None) -> None:
        """From now on this goes wrong, and nothing else; the requests are counted anew."""
        with self._lock:
            self._fault = fault
            self._matched = 0

    def next_fault(self, *places: str) -> Fault | None:
        """Counts a request that came to these places; returns the fault if it is to be spoilt."""
        with self._lock:
            fault = self._fault
            if fault is None or fault.where not in ("any", *places):
                return None
            number = self._matched - fault.after
            self._matched += 1
            return fault if number >= 0 and (fault.count is None or number < fault.count) else None

    def answer(self, request: Request) -> tuple[HTTPStatus, bytes | Path]:
        """The sound answer to a request; a failure of the server's own is kept in `errors`."""
        try:
            return self._route(request)
        except Exception:
            self.errors.append(traceback.format_exc())
            return HTTPStatus.BAD_REQUEST, _graphql_error("the stand-in failed")

    def _route(self, request: Request) -> tuple[HTTPStatus, bytes | Path]:
        if request.path.startswith("/storage/"):
            return self._serve_storage(request)
        if request.authorization != self._authorization:
            return HTTPStatus.UNAUTHORIZED, _graphql_error("user is not logged in")
        if request.place == "graphql":
            return HTTPStatus.OK, self._serve_graphql(request)
        if request.place == "file_stream":
            name = request.path.split("/")[4]
            if name not in self.runs:
                return HTTPStatus.NOT_FOUND, b"{}"
            self.backend.stream(name, json.loads(request.body.read_bytes()))
            return HTTPStatus.OK, b"{}"
        if request.place == "download":  # .../MD5/name, the way to a file of which the client has no signed URL
            found = self.storage.find(request.path.split("/")[-2])
            return (HTTPStatus.OK, found) if found else (HTTPStatus.NOT_FOUND, b"")
        self.unknown.append(str(request))
        return HTTPStatus.NOT_FOUND, b"{}"

    def _serve_storage(self, request: Request) -> tuple[HTTPStatus, bytes | Path]:
        target = self.storage.signed(request.path)
        if request.method == "PUT" and callable(target):
            target(self.storage.keep(request.body, request.md5))
            return HTTPStatus.OK, b""
        if request.method == "GET" and isinstance(target, Path):
            return HTTPStatus.OK, target
        return HTTPStatus.FORBIDDEN, b""

    def _serve_graphql(self, request: Request) -> bytes:
        try:
            data = self.backend.answer(request.operation, request.query, request.variables)
        except Refusal as reason:
            if isinstance(reason, UnknownOperation):
                self.unknown.append(str(request))
            return _graphql_error(str(reason))
        return json.dumps({"data": data}).encode()
