"""The answers to the operations of GraphQL and to the stream of a run."""

import base64
import hashlib
import json
import re
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

import yaml

from wandb_server.state import (
    CREATED_AT,
    ENTITY,
    PROJECT_NUMBER,
    Artifact,
    Fields,
    Refusal,
    Run,
    Sweep,
    UnknownOperation,
)
from wandb_server.storage import Storage, md5_hex


def _id(kind: str, *names: str | int) -> str:
    """An opaque id, as the real server makes them."""
    return base64.b64encode(":".join([kind, *map(str, names)]).encode()).decode()


def _connection(nodes: list[Fields]) -> Fields:
    """All nodes as the only page of a GraphQL connection."""
    page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
    return {"totalCount": len(nodes), "pageInfo": page, "edges": [{"node": node} for node in nodes]}


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
            path, artifact = f"wandb_artifacts/{md5_hex(wanted['md5'])}", {"id": wanted["artifactID"]}
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
