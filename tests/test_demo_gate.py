"""The gate before the demo's server, without the server."""

import asyncio
import functools
import json
from typing import Any

import pytest
from demo_fixtures import photo, write

from aodnet.demo_gate import API, Gate


def through(gate: Gate, method: str, path: str, parts: list[bytes], headers: dict[str, str]) -> list[dict[str, Any]]:
    """What the gate sends for one request."""
    sent: list[dict[str, Any]] = []
    waiting = list(parts)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    named = [(name.encode(), value.encode()) for name, value in ({"host": "localhost:1"} | headers).items()]
    asyncio.run(gate({"type": "http", "method": method, "path": path, "headers": named}, receive, send))
    return sent


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers with what it receives, or with a page."""
    body = (await receive())["body"] if scope["method"] == "POST" else b'<meta property="og:image" content="x" /><p>'
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@pytest.fixture
def gate(tmp_path) -> Gate:
    return Gate(echo, tmp_path, ("localhost",), 1000)


def test_gate_writes_requests_anew_without_addresses(gate, tmp_path):
    path = write(tmp_path / "a b.png", photo(8, 8))
    post = functools.partial(through, gate, "POST", f"{API}/queue/join")
    url = f"http://localhost:1{API}/file={str(path).replace(' ', '%20')}"
    body = json.dumps({"data": [{"path": str(path), "url": url}]}).encode()
    sent = post([body[:10], body[10:]], {"content-length": str(len(body))})
    assert json.loads(sent[1]["body"]) == {"data": [{"path": str(path), "url": None}]}
    # The last of two equal names counts, for the gate as for the server.
    twice = f'{{"data": [{{"path": {json.dumps(str(path))}, "path": "/etc/passwd"}}]}}'.encode()
    assert post([twice], {"content-length": str(len(twice))})[0]["status"] == 400
    assert post([b"1" * 300_000, b"", b""], {"content-length": "10"})[0]["status"] == 400
    assert post([b"{}"], {})[0]["status"] == 411


def test_gate_hardens_the_page(gate):
    start, body = through(gate, "GET", "/", [], {})
    assert body["body"] == b"<p>"
    headers = dict(start["headers"])
    assert headers[b"content-length"] == b"3"
    assert b"default-src 'self'" in headers[b"content-security-policy"]
    assert headers[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:1", 200), ("LOCALHOST", 200), ("localhost:x", 421), ("evil.example", 421), ("", 421), ("a[b", 421)],
)
def test_gate_knows_its_names(host, status, gate):
    assert through(gate, "GET", "/", [], {"host": host})[0]["status"] == status


def test_gate_lets_no_websocket_in(gate):
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(gate({"type": "websocket"}, lambda: None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
