"""An S3 server on the loopback interface (moto's), and a proxy in front of it that fails as networks and stores do."""

import http.client
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hazegen import stores

BUCKET = "haze-test"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "a-secret-of-tests",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    # Of the machine: no file of somebody's own decides what the tests do.
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}

# What may go wrong: an answer of the store's own, none, one that is cut off, one that is lost after the work is done.
INTERNAL, BUSY, SLOW, REFUSED, CUT, LOST = "500", "503", "slow", "refused", "cut", "lost"
CODES = {INTERNAL: (500, "InternalError"), BUSY: (503, "SlowDown")}
# Tells what happens to the request of this number, method and path; None: nothing.
Fate = Callable[[int, str, str], str | None]


class Proxy:
    """Passes requests on to the S3 server at `target`, counts them, and lets some of them fail.

    Attributes:
        fate: What goes wrong; none at first.
        requests: How many came, by method, or 'GET list'.
        faults: How many failed, by kind.
        slow_s: How long a slow answer takes.
    """

    def __init__(self, target: str) -> None:
        self.target = target.removeprefix("http://")
        self.fate: Fate = never
        self.requests: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.slow_s = 0.5
        self._lock, self.conditions = threading.Lock(), threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def decide(self, method: str, path: str) -> str | None:
        """What happens to a request that has just come."""
        with self._lock:
            self.requests[f"{method} list" if "list-type" in path else method] += 1
            fault = self.fate(self.requests.total(), method, path)
            if fault:
                self.faults[fault] += 1
            return fault


def every(step: int, *faults: str) -> Fate:
    """Each `step`-th request fails, by these faults in turn."""
    return lambda number, _method, _path: None if number % step else faults[number // step % len(faults)]


def never(_number: int, _method: str, _path: str) -> str | None:
    """No request fails."""
    return None


def after(count: int, fault: str) -> Fate:
    """All requests fail, once so many have come."""
    return lambda number, _method, _path: fault if number > count else None


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body are two packets: the second would wait 40 ms for the client's word on the first.
        disable_nagle_algorithm = True

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = proxy.decide(self.command, self.path)
            if fault == REFUSED:
                self.close_connection = True
                return
            if fault in CODES:
                status, code = CODES[fault]
                text = f"<Error><Code>{code}</Code><Message>a fault of the test</Message></Error>".encode()
                self._answer(status, [("Content-Type", "application/xml")], text, len(text))
                return
            if fault == SLOW:
                time.sleep(proxy.slow_s)
            # moto looks whether there is an object, and then writes it: in a store these two are one step.
            with proxy.conditions if "If-None-Match" in self.headers else nullcontext():
                upstream = http.client.HTTPConnection(proxy.target, timeout=60)
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                data = answer.read()
                upstream.close()
            if fault == LOST or (fault == CUT and not data):
                self.close_connection = True
                return
            size = int(answer.headers.get("Content-Length") or 0) if self.command == "HEAD" else len(data)
            kept = [pair for pair in answer.getheaders() if pair[0].lower() not in HOP_BY_HOP]
            self._answer(answer.status, kept, data[: len(data) // 2] if fault == CUT else data, size)
            self.close_connection = self.close_connection or fault == CUT

        def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, size: int) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # the client has gone, as it may
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


HOP_BY_HOP = ("content-length", "transfer-encoding", "connection", "date", "server")


@contextmanager
def moto_server() -> Iterator[str]:
    """moto's S3 server, empty, in threads of this process: its address."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def client(url: str) -> Any:
    """boto3's client of a server, whose faults it does not meet."""
    import boto3

    names = {"aws_access_key_id": "AWS_ACCESS_KEY_ID", "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY"}
    keys = {name: CREDENTIALS[variable] for name, variable in names.items()}
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)


class Bucket:
    """An empty bucket behind the proxy.

    Attributes:
        proxy: What the tests' code talks to.
        direct: boto3's client of the server itself.
    """

    def __init__(self, server: str) -> None:
        self.proxy, self.direct = Proxy(server), client(server)
        self.direct.create_bucket(Bucket=BUCKET)

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead a process here."""
        return CREDENTIALS | {"AWS_ENDPOINT_URL": self.proxy.url}

    def place(self, name: str = "") -> Path:
        return stores.place(f"s3://{BUCKET}/{name}")

    def put(self, folder: Path, name: str) -> Path:
        """Copies a folder of the disk into the bucket."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.direct.upload_file(str(path), BUCKET, f"{name}/{path.relative_to(folder).as_posix()}")
        return self.place(name)

    def content(self, name: str = "") -> dict[str, bytes]:
        """The objects below a name, by the rest of theirs."""
        pages = self.direct.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=name)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return {
            key.removeprefix(name).lstrip("/"): self.direct.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            for key in keys
        }

    def uploads(self) -> list[str]:
        """Names of the uploads that were begun and neither completed nor given up."""
        return [found["Key"] for found in self.direct.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())]

    def empty(self) -> None:
        """Forgets all objects and faults."""
        self.proxy.fate = never
        self.proxy.requests.clear()
        self.proxy.faults.clear()
        for key in self.content():
            self.direct.delete_object(Bucket=BUCKET, Key=key)
        for found in self.direct.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ()):
            self.direct.abort_multipart_upload(Bucket=BUCKET, Key=found["Key"], UploadId=found["UploadId"])


def on_disk(folder: Path) -> dict[str, bytes]:
    """The files below a folder, as `Bucket.content` gives them."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
