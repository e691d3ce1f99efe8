"""One shard from a store into an open file: whole, held against the manifest, with patience."""

import hashlib
import threading
import time
from pathlib import Path
from typing import BinaryIO

from aodnet.shard_cache import Stopped
from hazegen.errors import StoreError, VerifyError
from hazegen.manifest import Shard

# Before each next try of a shard, where the store failed in spite of the tries that its library makes.
PAUSES_S = (3.0, 15.0)
# A store that was silent for so long in one try, through all tries of its library, is not waited for again.
SILENCE_S = 60.0
_BLOCK_BYTES = 1 << 20


class _Silence(StoreError):
    """The store has said nothing for SILENCE_S."""


def fetch(store: Path, shard: Shard, file: BinaryIO, stop: threading.Event) -> None:
    """Writes the shard of a dataset in `store` into `file`.

    Raises:
        VerifyError: Twice, other bytes came than those of the manifest.
        StoreError: The store failed, again after each of PAUSES_S; or was silent for SILENCE_S.
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
    for number, pause in enumerate((*PAUSES_S, None), 1):
        try:
            return _copy(source, shard, file, stop)
        except StoreError as error:
            if pause is None or isinstance(error, _Silence):
                raise StoreError(
                    f"Shard '{shard.name}' could not be fetched, {number} times. {error} (aodnet fit: with --resume.)"
                ) from error
        if stop.wait(pause):
            break
    raise Stopped


def _copy(source: Path, shard: Shard, file: BinaryIO, stop: threading.Event) -> str:
    """Writes what the store has under a shard's name; returns its SHA-256, or what else it is in words."""
    digest, left, heard = hashlib.sha256(), shard.bytes, time.monotonic()
    file.seek(0)
    try:
        with source.open("rb") as remote:
            while block := remote.read(_BLOCK_BYTES):
                if stop.is_set():
                    raise Stopped
                left, heard = left - len(block), time.monotonic()
                if left < 0:  # never more on the disk than room was made for
                    return f"more than {shard.bytes} bytes"
                digest.update(block)
                file.write(block)
    except FileNotFoundError:
        return "no such file"
    except StoreError as error:
        if time.monotonic() - heard > SILENCE_S:
            raise _Silence(str(error)) from error
        raise
    return digest.hexdigest() if not left else f"{shard.bytes - left} bytes"
