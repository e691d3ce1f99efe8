"""What stands before the demo's server: lets through what its page asks for, and nothing else.

Gradio's server has many more ways in than this page uses (a proxy, addresses that it fetches, an editor, an API).
Here only those of the page are open; files are those of the demo's own cache; bodies are counted before they are
read; and the page may load nothing from elsewhere.
"""

import json
import math
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

API = "/gradio_api"
FILE = f"{API}/file="
UPLOAD = f"{API}/upload"
# Bytes of a request's JSON: the page's own are below 10 kB.
MOST_JSON = 200_000
# Levels of it, which the page's own have 6 of.
DEEPEST = 20
# Bytes that frame the files of an upload.
FRAME = 100_000
# The cache may hold so many of the largest uploads, results among them.
MOST_FILES = 40

_PORT = re.compile(r":\d{1,5}$")
_STATIC = re.compile(r"/(assets|static)(/[A-Za-z0-9_.@-]+)+")
_GET = re.compile(
    rf"/|/config|/theme\.css|/favicon\.ico|/manifest\.json|{API}/(theme\.css|startup-events|queue/data"
    rf"|upload_progress|heartbeat/[A-Za-z0-9_-]+)"
)
_JSON = re.compile(rf"{API}/(queue/join|cancel|reset)")
# Tags for previews in social networks name pictures elsewhere; no browser loads them.
_SOCIAL = re.compile(rb"<meta\s[^>]*?(?:og|twitter):[^>]*>")

# Gradio's page is put together by scripts and styles within it, and by none from elsewhere.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class Gate:
    """ASGI middleware.

    Args:
        app: What it stands before.
        cache: The only folder that files are served from and taken from.
        hosts: Names that a browser may know this server by; empty for any. A page elsewhere whose name was made to
            point here (DNS rebinding) has another one.
        most_upload: Bytes of one uploaded file.
    """

    def __init__(self, app: App, cache: Path, hosts: tuple[str, ...], most_upload: int) -> None:
        self.app, self.cache, self.hosts, self.most_upload = app, cache.resolve(), hosts, most_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        refused = self._refusal(scope)
        if refused is None and _JSON.fullmatch(scope["path"]):
            body = await _read(receive, MOST_JSON)
            checked = self._checked(body)
            refused = (400, "no request of this page") if checked is None else None
            receive = _again(checked or b"", receive)
        if refused is not None:
            await _answer(send, *refused)
            return
        await self.app(scope, receive, _with_headers(send, page=scope["path"] == "/"))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason where a request is not let through, by its line and headers alone."""
        path, method = str(scope["path"]), scope["method"]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if self.hosts and _PORT.sub("", headers.get("host", "")).lower().strip("[]") not in self.hosts:
            return 421, "another host"
        if method in ("GET", "HEAD"):
            if path.startswith(FILE):
                return None if self._is_ours(path.removeprefix(FILE)) else (404, "no such file")
            open_to_all = _GET.fullmatch(path) or (_STATIC.fullmatch(path) and ".." not in path)
            return None if open_to_all else (404, "nothing here")
        if method != "POST" or not (path == UPLOAD or _JSON.fullmatch(path)):
            return 404, "nothing here"
        length = headers.get("content-length", "")
        if not re.fullmatch(r"\d{1,15}", length):
            return 411, "a length is needed"
        if int(length) > (self.most_upload + FRAME if path == UPLOAD else MOST_JSON):
            return 413, "too large"
        if path == UPLOAD and sum(_sizes(self.cache)) + int(length) > MOST_FILES * self.most_upload:
            return 507, "the demo holds too many files; it deletes them after an hour"
        return None

    def _is_ours(self, text: object) -> bool:
        """Whether a text is the path of a file in the cache, also when links are followed."""
        if not isinstance(text, str) or not text.startswith("/"):
            return False
        try:
            path = Path(text).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            return False
        return path.is_relative_to(self.cache) and path.is_file()

    def _checked(self, body: bytes | None) -> bytes | None:
        """The JSON of a request, written anew, so that nobody reads it otherwise; None where it is refused.

        Addresses of files are left out: their paths are enough.
        """
        try:
            content = json.loads(body or b"", parse_constant=_refuse_constant)
            parts = list(_parts(content))
            if not isinstance(content, dict) or not all(self._is_harmless(part) for part in parts):
                return None
            for part in parts:
                if isinstance(part, dict) and "url" in part:
                    part["url"] = None
            return json.dumps(content, allow_nan=False).encode()
        except (ValueError, RecursionError):
            return None

    def _is_harmless(self, part: object) -> bool:
        """Whether one value of a request names no file but one of the cache, and no address but that file's."""
        if isinstance(part, float):
            return math.isfinite(part)
        if not isinstance(part, dict):
            return True
        if "path" not in part and "url" not in part:
            return True
        url = part.get("url")
        named = unquote(url.partition(FILE)[2]) if isinstance(url, str) else None
        return self._is_ours(part.get("path")) and (url is None or named == part["path"])


def _parts(value: Any, depth: int = 0) -> Iterator[Any]:
    """All values within a value, itself first."""
    if depth > DEEPEST:
        raise ValueError("nested too deeply")
    yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inner:
        yield from _parts(part, depth + 1)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _sizes(folder: Path) -> Iterator[int]:
    for path in folder.rglob("*"):
        try:
            yield path.lstat().st_size
        except OSError:  # deleted meanwhile
            continue


async def _read(receive: Receive, most: int) -> bytes | None:
    """The body of a request; None where there is more of it than it said, or its sender has gone."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request" or len(body) > most:
            return None
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives `body` first."""
    given = [False]

    async def give() -> Message:
        if given[0]:
            return await receive()
        given[0] = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


async def _answer(send: Send, status: int, reason: str) -> None:
    text = reason.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def _with_headers(send: Send, *, page: bool) -> Send:
    """A `send` that adds HEADERS, and takes the tags for social networks off the page."""
    held: list[Message] = []
    parts: list[bytes] = []

    async def forward(message: Message) -> None:
        if message["type"] == "http.response.start":
            ours = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = message | {"headers": [*message.get("headers", []), *ours]}
            if page:
                held.append(message)
                return
        if not page or message["type"] != "http.response.body":
            await send(message)
            return
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            await _send_page(send, held[0], b"".join(parts))

    return forward


async def _send_page(send: Send, start: Message, body: bytes) -> None:
    body = _SOCIAL.sub(b"", body)
    headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
    await send(start | {"headers": [*headers, (b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
