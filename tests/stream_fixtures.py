"""A store that fails on command, on a disk: what the tests of streaming need of one, without a network."""

import io
import threading
from collections import Counter
from pathlib import Path

from hazegen.errors import StoreError


class FakeStore:
    """A folder that is read as a store is.

    Attributes:
        fetched: How often each file was opened.
        failing: Names of files, and how often each of them fails in its middle before it is read well.
        damaged: Names of files, and how often each of them comes with a flipped bit.
        gate: Nothing is read while it is closed.
    """

    def __init__(self, folder: Path, address: str = "s3://bucket/pairs") -> None:
        self.folder, self.address = folder, address
        self.fetched: Counter[str] = Counter()
        self.order: list[str] = []
        self.failing: Counter[str] = Counter()
        self.damaged: Counter[str] = Counter()
        self.gate = threading.Event()
        self.gate.set()

    def __str__(self) -> str:
        return self.address

    @property
    def fs(self) -> "FakeStore":
        return self

    @property
    def path(self) -> str:
        return self.address.partition("://")[2]

    def ls(self, path: str, detail: bool) -> list[dict[str, object]]:
        assert detail
        files = sorted(self.folder.iterdir())
        return [{"name": f"{path}/{file.name}", "size": file.stat().st_size, "type": "file"} for file in files]

    def __truediv__(self, name: str) -> "_Object":
        return _Object(self, name)


class _Object:
    def __init__(self, store: FakeStore, name: str) -> None:
        self.store, self.name = store, name

    def __str__(self) -> str:
        return f"{self.store}/{self.name}"

    def open(self, mode: str) -> io.BufferedIOBase:
        assert mode == "rb"
        store = self.store
        assert store.gate.wait(20)
        store.fetched[self.name] += 1
        store.order.append(self.name)
        content = bytearray((store.folder / self.name).read_bytes())
        if store.damaged[self.name] > 0:
            store.damaged[self.name] -= 1
            content[len(content) // 2] ^= 1
        if store.failing[self.name] > 0:
            store.failing[self.name] -= 1
            return _Cut(bytes(content[: len(content) // 2]))
        return io.BytesIO(bytes(content))


class _Cut(io.BytesIO):
    """A body that ends in the middle, as a connection that was cut."""

    def read(self, size: int | None = -1) -> bytes:
        if block := super().read(size):
            return block
        raise StoreError("'s3://bucket/pairs' cannot be reached. Expected an answer, received a cut connection.")
