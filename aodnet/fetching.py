"""One shard from a store into an open file: whole, held against the manifest, with patience."""

import hashlib
import threading
from pathlib import Path
from typing import BinaryIO

from aodnet.shard_cache import Stopped
from hazegen.errors import StoreError, VerifyError
from hazegen.manifest import Shard

# Before each next try of a shard, where the store failed in spite of the tries that its library makes.
PAUSES_S = (3.0, 15.0)
_BLOCK_BYTES = 1 << 20


def fetch(store: Path, shard: Shard, file: BinaryIO, stop: threading.Event) -> None:
    """Writes the shard of a dataset in `store` into `file`.

    Raises:
        VerifyError: Twice, other bytes came than those of the manifest.
        StoreError: The store failed, again after each of PAUSES_S.
        Stopped: `stop` was set.
    """
    for _ in range(2):
        received = _copy_patiently(store / shard.name, shard, file, stop)
        if received == shard.sha256:
            return
    raise VerifyError(
        f"Shard '{shard.name}' in '{store}' is not what the manifest says. Expected {shard.bytes} bytes of SHA-256 "
        f"{shard.sha256[:12]}..., received {_short(received)}, twice. Run hazegen repair {store}, or copy the "
        "dataset there again."
    )


def _short(received: str) -> str:
    return f"SHA-256 {received[:12]}..." if " " not in received else received


def _copy_patiently(source: Path, shard: Shard, file: BinaryIO, stop: threading.Event) -> str:
    """As `_copy`, after pauses again where the store fails."""
    for pause in PAUSES_S:
        try:
            return _copy(source, shard, file, stop)
        except StoreError:
            if stop.wait(pause):
                raise Stopped from None
    try:
        return _copy(source, shard, file, stop)
    except StoreError as error:
        raise StoreError(
            f"Shard '{shard.name}' could not be fetched, {len(PAUSES_S) + 1} times. {error} (aodnet fit: with "
            "--resume.)"
        ) from error


def _copy(source: Path, shard: Shard, file: BinaryIO, stop: threading.Event) -> str:
    """Writes what the store has under a shard's name; returns its SHA-256, or what else it is in words."""
    digest, left = hashlib.sha256(), shard.bytes
    file.seek(0)
    try:
        with source.open("rb") as remote:
            while block := remote.read(_BLOCK_BYTES):
                if stop.is_set():
                    raise Stopped
                left -= len(block)
                if left < 0:  # never more on the disk than room was made for
                    return f"more than {shard.bytes} bytes"
                digest.update(block)
                file.write(block)
    except FileNotFoundError:
        return "no such file"
    return digest.hexdigest() if not left else f"{shard.bytes - left} bytes"
