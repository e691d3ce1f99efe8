"""Sixty hostile requests to a running demo: no file is read, nothing fetched, nothing falls; the 61st is answered."""

import importlib.util
import io
import json
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import demo_fixtures
import numpy as np
import pytest
from demo_fixtures import Answer, Running, Visitor, file

from hazegen import images

# Not by importing it, which takes seconds: the server is a process of its own.
if importlib.util.find_spec("gradio") is None:
    pytest.skip("gradio, of the extra 'demo', is not installed", allow_module_level=True)

SECRET = b"CANARY-7f3a"
MOST_UPLOAD = 4_000_000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with demo_fixtures.served(tmp_path_factory.mktemp("demo")) as found:
        yield found


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[bytes]]]:
    """A server that nobody should call, and what it received."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        received: list[bytes] = []
        ended = threading.Event()

        def listen() -> None:
            while not ended.is_set():
                try:
                    line, _ = listener.accept()
                except TimeoutError:
                    continue
                received.append(b"called")
                line.close()

        thread = threading.Thread(target=listen)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", received
        ended.set()
        thread.join()


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG whose header claims a size, whatever follows."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def npy(descr: str, shape: str, data: bytes = b"") -> bytes:
    """A .npy file whose header says what it likes."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def picture(size: int = 32) -> bytes:
    rng = np.random.default_rng(0)
    return images.encode(rng.integers(0, 256, (size, size, 3), np.uint8), ".png")


class Attack:
    """What an attack knows: the visitor, a file that nobody may get, an address that nobody may call, the cache."""

    def __init__(self, visitor: Visitor, secret: Path, address: str, cache: Path) -> None:
        self.visitor, self.secret, self.address, self.cache = visitor, secret, address, cache

    def dehaze(self, value: object, model: object = "identity") -> Any:
        return self.visitor.call("dehaze", [value, model])

    def depth(self, name: str, data: bytes, **changes: object) -> Any:
        """Makes haze in a good photo with this as its depth map."""
        return self.make(
            kind="photo and depth map",
            photo=self.visitor.keep("photo.png", picture()),
            depth=self.visitor.keep(name, data),
            **changes,
        )

    def make(self, **changes: object) -> Any:
        values: dict[str, object] = {
            "kind": "procedural scene", "index": 14, "photo": None, "depth": None, "scale": "0.001", "sky": "",
            "fov": 60, "visibility": 150, "light": 0.85, "colour": "#ffffff", "angstrom": 0, "patches": 0,
            "size": 20, "noise": 0, "fog": False, "scale_m": 20, "height": 1.5, "pitch": 0,
            "space": "linear light, as physics", "seed": 0,
        }  # fmt: skip
        return self.visitor.call("make", list((values | changes).values()))

    def link(self) -> str:
        """A symbolic link in the cache that leads out of it."""
        path = self.cache / "link.png"
        path.unlink(missing_ok=True)
        path.symlink_to(self.secret)
        return str(path)


GET: Callable[[str], Callable[[Attack], Answer]] = lambda path: lambda a: a.visitor.send("GET", path)  # noqa: E731

# Name, attack, and what it must come to: a status of HTTP, or how its call in the queue ends.
ATTACKS: list[tuple[str, Callable[[Attack], Any], Any]] = [
    # Files by their paths.
    ("file, absolute", lambda a: a.visitor.fetch(str(a.secret)), 404),
    ("file, /etc/passwd", GET("/gradio_api/file=/etc/passwd"), 404),
    ("file, up from the cache", lambda a: a.visitor.fetch(f"{a.cache}/../../{a.secret.name}"), 404),
    ("file, relative", GET("/gradio_api/file=../../../../etc/passwd"), 404),
    ("file, twice encoded", GET("/gradio_api/file=%252e%252e%252fetc%252fpasswd"), 404),
    ("file, encoded slashes", GET("/gradio_api/file=%2Fetc%2Fpasswd"), 404),
    ("file, backslashes", GET("/gradio_api/file=..\\..\\etc\\passwd"), 404),
    ("file, NUL", GET("/gradio_api/file=/etc/passwd%00.png"), 404),
    ("file, a folder", lambda a: a.visitor.fetch(str(a.cache)), 404),
    ("file, /proc", GET("/gradio_api/file=/proc/self/environ"), 404),
    ("file, a link in the cache", lambda a: a.visitor.fetch(a.link()), 404),
    ("file, the older address", lambda a: a.visitor.send("GET", f"/file={a.secret}"), 404),
    ("file, the other form", lambda a: a.visitor.send("GET", f"/gradio_api/file/{a.secret}"), 404),
    ("file, an address", lambda a: a.visitor.send("GET", f"/gradio_api/file={a.address}/x.png"), 404),
    ("file, file://", lambda a: a.visitor.send("GET", f"/gradio_api/file=file://{a.secret}"), 404),
    ("static, up", GET("/static/../../../../../../etc/passwd"), 404),
    ("assets, up, encoded", GET("/assets/%2e%2e/%2e%2e/%2e%2e/etc/passwd"), 404),
    ("assets, absolute", GET("/assets//etc/passwd"), 404),
    ("a component's files", GET("/gradio_api/custom_component/x/client/component/../../../etc/passwd"), 404),
    # Ways in that the page does not use.
    ("proxy", lambda a: a.visitor.send("GET", f"/gradio_api/proxy={a.address}/x"), 404),
    ("API, described", GET("/gradio_api/info"), 404),
    ("API, OpenAPI", GET("/openapi.json"), 404),
    ("API, past the queue", lambda a: a.visitor.post("/gradio_api/run/predict", {"data": [], "fn_index": 0}), 404),
    ("API, by name", lambda a: a.visitor.post("/gradio_api/call/dehaze", {"data": [None, "identity"]}), 404),
    ("monitoring", GET("/monitoring/summary"), 404),
    ("the editor", lambda a: a.visitor.post("/gradio_api/vibe-edit/", {"prompt": "x"}), 404),
    ("recordings", lambda a: a.visitor.post("/gradio_api/process_recording", {}), 404),
    ("another method", lambda a: a.visitor.send("DELETE", "/gradio_api/upload"), 404),
    ("another host's name", lambda a: a.visitor.send("GET", "/", headers={"Host": "evil.example"}), 421),
    # Files named in calls.
    ("call, absolute path", lambda a: a.dehaze(file(str(a.secret))), 400),
    ("call, path up from the cache", lambda a: a.dehaze(file(f"{a.cache}/../../{a.secret.name}")), 400),
    ("call, a link in the cache", lambda a: a.dehaze(file(a.link())), 400),
    ("call, address as path", lambda a: a.dehaze(file(f"{a.address}/x.png")), 400),
    ("call, address beside no path", lambda a: a.dehaze({"url": f"{a.address}/x.png", "meta": file("")["meta"]}), 400),
    ("call, address beside a path",
     lambda a: a.dehaze(a.visitor.keep("a.png", picture()) | {"url": f"{a.address}/x.png"}), 400),
    ("call, data: address", lambda a: a.dehaze(file(None, url="data:image/png;base64,AAAA")), 400),
    ("call, path of another type", lambda a: a.dehaze(file(["/etc/passwd"])), 400),
    ("call, a file where text belongs", lambda a: a.dehaze(None, file(str(a.secret))), 400),
    # Values of calls.
    ("call, text for a file", lambda a: a.dehaze("/etc/passwd"), "failed"),
    ("call, unknown model", lambda a: a.dehaze(a.visitor.keep("a.png", picture()), "/etc/passwd"), "told"),
    ("call, text for a number", lambda a: a.make(visibility="thick"), "failed"),
    ("call, visibility 0", lambda a: a.make(visibility=0), "told"),
    ("call, a number without end", lambda a: a.make(seed=10**400), "failed"),
    ("call, a scene without end", lambda a: a.make(index=10**12), "told"),
    ("call, code as colour", lambda a: a.make(colour="__import__('os').getcwd()"), "told"),
    ("call, unknown function", lambda a: a.visitor.join(99999, []), (400, 404, 422, 500)),
    ("call, function by text", lambda a: a.visitor.join("dehaze", []), 422),
    ("call, too few values", lambda a: a.visitor.call("dehaze", []), "failed"),
    ("call, values that are no list", lambda a: a.visitor.join(1, {"a": 1}), 422),
    ("JSON, cut", lambda a: a.visitor.send("POST", "/gradio_api/queue/join", b'{"data": ['), 400),
    ("JSON, NaN", lambda a: a.visitor.send("POST", "/gradio_api/queue/join", b'{"data": [NaN]}'), 400),
    ("JSON, 100,000 levels", lambda a: a.visitor.send("POST", "/gradio_api/queue/join", b"[" * 100_000), 400),
    ("JSON, 20 MB", lambda a: a.visitor.send(
        "POST", "/gradio_api/queue/join", headers={"Content-Length": "20000000"}), 413),
    # Uploads.
    ("upload, name with a path", lambda a: a.dehaze(a.visitor.keep("../../../../tmp/evil.py", b"x = 1")), "told"),
    ("upload, 100 MB", lambda a: a.visitor.send(
        "POST", "/gradio_api/upload", headers={"Content-Length": "100000000"}), 413),
    ("upload, of no length", lambda a: a.visitor.send(
        "POST", "/gradio_api/upload", b"0\r\n\r\n", headers={"Transfer-Encoding": "chunked"}), 411),
    ("upload, 4 gigapixels in 100 bytes", lambda a: a.dehaze(a.visitor.keep("bomb.png", png(65000, 65000))), "told"),
    ("upload, 100 megapixels that are there",
     lambda a: a.dehaze(a.visitor.keep("bomb.png", png(10000, 10000, bytes(3 * 10**7)))), "told"),
    ("depth, an array of 80 GB", lambda a: a.depth("d.npy", npy("'<f8'", "(100000, 100000)")), "told"),
    ("depth, pickled objects",
     lambda a: a.depth("d.npy", npy("'|O'", "(32, 32)", b"cos\nsystem\n(S'x'\ntR.")), "told"),
]  # fmt: skip


def ended(answer: Any) -> Any:
    """A status, or how a call ended: told is an error that says what is wrong, failed one that says nothing."""
    if isinstance(answer, Answer):
        return answer.status
    last = answer[-1]
    if last["msg"] == "refused":
        return last["status"]
    if last["msg"] == "process_completed" and last["success"]:
        return "done"
    return "told" if last.get("output", {}).get("error") else "failed"


def content(answer: Any) -> bytes:
    return answer.body if isinstance(answer, Answer) else json.dumps(answer).encode()


def test_sixty_hostile_requests_get_nothing_and_the_next_visitor_is_served(running, elsewhere, tmp_path):
    visitor, cache = running.visitor, running.workplace / "cache"
    secret = demo_fixtures.canary(tmp_path)
    attack = Attack(visitor, secret, elsewhere[0], cache)
    assert len(ATTACKS) == 60
    wrong = {}
    for name, send, expected in ATTACKS:
        answer = send(attack)
        came = ended(answer)
        if came not in (expected if isinstance(expected, tuple) else (expected,)):
            wrong[name] = came
        if SECRET in content(answer) or b"root:x:" in content(answer):
            wrong[name] = "read"
    assert wrong == {}
    assert running.process.poll() is None
    assert elsewhere[1] == []
    assert all(path.is_relative_to(cache) for path in running.workplace.rglob("evil.py"))
    assert not Path("/tmp/evil.py").exists()

    data = picture(48)
    told = visitor.call("dehaze", [visitor.keep("fog.png", data), "identity"])
    assert [message["msg"] for message in told].count("process_generating") >= 1
    assert told[-1]["success"] is True
    (whole,) = [path for path in find_files(told) if path.endswith("fog.png")]
    assert images.decode(visitor.fetch(whole).body, "fog.png").tolist() == images.decode(data, "fog.png").tolist()

    before, _, after = running.notes.read_text(errors="surrogateescape").partition("ready\n")
    assert "fog.png" in after
    assert not [place for place in (str(secret), "/etc/passwd", "/proc/self/environ") if place in after]
    assert "call " not in after
    calls = [line for line in before.splitlines() if line.startswith("call ")]
    assert calls
    assert all(line.startswith("call ('127.0.0.1', ") for line in calls)


def find_files(told: object) -> set[str]:
    """Paths of all files that messages name."""
    if isinstance(told, dict):
        own = {told["path"]} if isinstance(told.get("path"), str) and "/" in told["path"] else set()
        return own.union(*(find_files(part) for part in told.values()))
    return set().union(*(find_files(part) for part in told)) if isinstance(told, list) else set()


def test_page_names_no_other_address_and_may_load_nothing_from_elsewhere(running):
    page = running.visitor.send("GET", "/")
    assert page.status == 200
    policy = dict(part.strip().partition(" ")[::2] for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert not any("http" in sources or "*" in sources or "unsafe-eval" in sources for sources in policy.values())
    text = page.body.decode()
    assert "fonts.googleapis" not in text
    assert "cdnjs" not in text
    assert "og:image" not in text
    for tag in ("src=", "href="):
        assert not [part for part in text.split(tag)[1:] if part[:9].strip("\"'").startswith(("http", "//"))]
    config = json.loads(running.visitor.send("GET", "/config").body)
    assert config["analytics_enabled"] is False
    assert all(one["api_visibility"] == "private" for one in config["dependencies"])
    assert [sheet for sheet in config["stylesheets"] if sheet] == []


def test_working_folder_is_empty_while_it_serves(running):
    assert running.cwd == running.workplace / "empty"
    assert list(running.cwd.iterdir()) == []


def test_no_more_files_are_taken_than_the_cache_may_hold(running):
    filler = running.workplace / "cache" / "filler"
    with filler.open("wb") as sparse:
        sparse.truncate(40 * MOST_UPLOAD)
    try:
        assert running.visitor.upload("a.png", picture()).status == 507
    finally:
        filler.unlink()
    assert running.visitor.upload("a.png", picture()).status == 200


def test_errors_that_a_visitor_can_mend_are_told_to_him(running):
    told = running.visitor.call("dehaze", [running.visitor.keep("words.png", b"no picture"), "identity"])
    assert "is not a picture that can be read" in told[-1]["output"]["error"]
    buffer = io.BytesIO()
    np.save(buffer, np.ones((32, 32, 4), np.float32))
    attack = Attack(running.visitor, Path(), "", Path())
    assert "is no depth map" in attack.depth("d.npy", buffer.getvalue())[-1]["output"]["error"]
