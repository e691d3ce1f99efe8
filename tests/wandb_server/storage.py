"""What the clients sent, on disk."""

import base64
import itertools
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

CHUNK = 1 << 20


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
        path = self._contents / (md5 if len(md5) == 32 else md5_hex(md5))
        return path if path.exists() else None

    def transcript(self) -> Iterator[bytes]:
        """The requests one by one: head and body."""
        for head in sorted(self._requests.glob("*.head")):
            body = head.with_suffix(".body")
            yield head.read_bytes() + (body.read_bytes() if body.exists() else b"")


def md5_hex(digest: str) -> str:
    return base64.b64decode(digest).hex()
