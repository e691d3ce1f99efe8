"""A demo that serves in a process of its own, a visitor who speaks to it as its page does, or worse, and photos."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from hazegen import images

BOUNDARY = "demo-boundary"
SESSION = "visitor"


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers in lower case, bytes."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Visitor:
    """Sends requests word for word: no library cleans the paths."""

    port: int
    config: dict[str, Any] = field(default_factory=dict)

    def send(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None, timeout: float = 20.0
    ) -> Answer:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as line:
            line.putrequest(method, path, skip_host="Host" in (headers or {}))
            given = {"Content-Length": str(len(body))} if method == "POST" else {}
            if "Transfer-Encoding" in (headers or {}):
                given = {}
            for name, value in (given | (headers or {})).items():
                line.putheader(name, value)
            line.endheaders(body)
            got = line.getresponse()
            return Answer(got.status, {name.lower(): value for name, value in got.getheaders()}, got.read())

    def post(self, path: str, content: object) -> Answer:
        return self.send("POST", path, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def upload(self, name: str, data: bytes) -> Answer:
        body = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
        body += data + f"\r\n--{BOUNDARY}--\r\n".encode()
        return self.send(
            "POST", "/gradio_api/upload", body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        )

    def keep(self, name: str, data: bytes) -> dict[str, Any]:
        """Uploads a file, and gives what names it in later requests."""
        (path,) = json.loads(self.upload(name, data).body)
        return file(path)

    def function(self, name: str) -> int:
        self.config = self.config or json.loads(self.send("GET", "/config").body)
        return next(one["id"] for one in self.config["dependencies"] if one["api_name"] == name)

    def join(self, index: object, data: object, **more: object) -> Answer:
        said = {"fn_index": index, "data": data, "session_hash": SESSION, "event_data": None, "trigger_id": None}
        return self.post("/gradio_api/queue/join", said | more)

    def call(self, name: str, data: list[Any]) -> list[dict[str, Any]]:
        """All messages about one call, the last of which says how it ended."""
        joined = self.join(self.function(name), data)
        if joined.status != 200:
            return [{"msg": "refused", "status": joined.status}]
        stream = self.send("GET", f"/gradio_api/queue/data?session_hash={SESSION}", timeout=60.0).body.decode()
        told = [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.startswith("data: ")]
        return [message for message in told if message.get("event_id")]

    def fetch(self, path: str) -> Answer:
        return self.send("GET", f"/gradio_api/file={quote(path)}")


def file(path: object, **more: object) -> dict[str, Any]:
    """What names a file in a request."""
    return {"path": path, "orig_name": "picture.png", "meta": {"_type": "gradio.FileData"}} | more


@dataclass(frozen=True)
class Running:
    """A demo in a process of its own: the visitor, its folders, and the file of its notes (demo_server.py)."""

    visitor: Visitor
    workplace: Path
    cwd: Path
    notes: Path
    process: subprocess.Popen[str]


@contextmanager
def served(folder: Path, *model: str) -> Iterator[Running]:
    """A running demo; `folder` takes its notes and what it says on its error stream."""
    server, notes = Path(__file__).parent / "demo_server.py", folder / "notes.txt"
    with (
        (folder / "stderr.txt").open("w") as errors,
        subprocess.Popen(
            [sys.executable, str(server), str(notes), *model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdin is not None
        line = process.stdout.readline()
        assert line, (folder / "stderr.txt").read_text(encoding="utf-8")
        said = json.loads(line)
        try:
            yield Running(Visitor(said["port"]), Path(said["workplace"]), Path(said["cwd"]), notes, process)
        finally:
            process.stdin.close()
            process.wait(timeout=30)


def canary(folder: Path) -> Path:
    """A file that nobody may get."""
    path = folder / "secret.txt"
    path.write_text("CANARY-7f3a", encoding="utf-8")
    return path


def photo(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (9.0 + c)) + np.cos(y / (7.0 + c)) for c in range(3)]
    return np.rint(127.5 + 60.0 * np.stack(waves, axis=2)).astype(np.uint8)


def write(path: Path, pixels: np.ndarray) -> Path:
    path.write_bytes(images.encode(pixels, path.suffix))
    return path


def write_turned(path: Path, pixels: np.ndarray) -> Path:
    """Writes a photo whose EXIF tag turns it to the right."""
    from PIL import Image

    exif = Image.Exif()
    exif[images.EXIF_ORIENTATION] = 6
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    return path
