"""HTTP on the loopback interface, sound or spoilt."""

import hashlib
import io
import json
import re
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR, socket
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from wandb_server.state import Fault, Fields
from wandb_server.storage import CHUNK

if TYPE_CHECKING:
    from wandb_server import Server


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


class Listener(ThreadingHTTPServer):
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
    server: Listener

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
                self._send(HTTPStatus(int(number)), graphql_error(HTTPStatus(int(number)).phrase))

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


def graphql_error(message: str) -> bytes:
    return json.dumps({"data": None, "errors": [{"message": message}]}).encode()
