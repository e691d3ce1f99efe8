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
import json
import threading
import traceback
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

from wandb_server.graphql import Backend
from wandb_server.state import ENTITY, KEY, Artifact, Fault, Refusal, Run, UnknownOperation
from wandb_server.storage import Storage
from wandb_server.web import Listener, Request, graphql_error

__all__ = ["ENTITY", "KEY", "Artifact", "Fault", "Run", "Server"]


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
        self._listener = Listener(self)
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
            return HTTPStatus.BAD_REQUEST, graphql_error("the stand-in failed")

    def _route(self, request: Request) -> tuple[HTTPStatus, bytes | Path]:
        if request.path.startswith("/storage/"):
            return self._serve_storage(request)
        if request.authorization != self._authorization:
            return HTTPStatus.UNAUTHORIZED, graphql_error("user is not logged in")
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
            return graphql_error(str(reason))
        return json.dumps({"data": data}).encode()
