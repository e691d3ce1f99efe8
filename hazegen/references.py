"""Shards that lie in a store or a mounted folder already: an artifact points at them and nothing is sent."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tqdm import tqdm

from hazegen import stores
from hazegen.errors import StoreError, UsageError, VerifyError
from hazegen.manifest import Shard

SCHEMES = ("s3", "gs", "file")
# wandb's download without a cache keeps its target in one place for all threads.
_ONE_AT_A_TIME = threading.Lock()


def check_reference(url: str) -> str:
    """The URL of a folder that an artifact may point at; a plain absolute path becomes a file:// URL.

    Raises:
        UsageError: Another scheme, a relative path, or user information, which would be stored.
    """
    if url.startswith("/"):
        return Path(url).as_uri()
    scheme, _, rest = url.partition("://")
    place, _, path = rest.partition("/")
    # A ':' is in no bucket's name, but between a user and a secret, which may hold a '/' before its '@'.
    if ("@" in url and scheme not in SCHEMES) or "@" in place or (":" in place and "@" in path):
        raise UsageError(
            "The reference holds user information. Expected a URL without it, as s3://bucket/folder, received one "
            "with an '@' before the path (not repeated here). Give the store its credentials by its own means."
        )
    is_place = not place and path if scheme == "file" else place
    if scheme not in SCHEMES or not is_place or set(place) & set(":[]") or set(rest) & set("?#"):
        raise UsageError(
            "The reference cannot be used. Expected s3://bucket/folder, gs://bucket/folder or an absolute path, "
            f"received {f'one of scheme {scheme!r}' if rest else 'a relative path'}. Change --reference."
        )
    return url.rstrip("/")


def is_reference(url: str, name: str, size: int) -> bool:
    """Whether an artifact of ours may refer to this file: a shard called `name`, on this machine one of that size."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme not in SCHEMES or not parts.path.endswith(f"/{name}"):
        return False
    path = Path(unquote(parts.path))
    return parts.scheme != "file" or (path.is_file() and path.stat().st_size == size)


def add_references(artifact: Any, url: str, folder: Path, shards: tuple[Shard, ...]) -> None:
    """Points `artifact` at the shards below `url`, each with the store's own checksum.

    Every shard's size is held against the manifest. Its content too, where the store tells it: a mounted folder by
    SHA-256, S3 by an ETag that is an MD5 (one part, no KMS), and the object is read where it only looks like one.
    Elsewhere `hazegen pull` finds out. Where `folder` is that place itself, its content was read by `hazegen verify`.

    Raises:
        UsageError: The store's library is missing.
        StoreError: The store does not answer or refuses.
        VerifyError: A shard is missing there or is another one.
    """
    for shard in tqdm(shards, unit="shard", desc="referring", disable=None):
        target = f"{url}/{shard.name}"
        if url.startswith("file:"):
            path = Path(unquote(urlsplit(target).path))
            if not path.is_file() or _digest(path, "sha256") != shard.sha256:
                raise _other(shard, target, "no such file, or one with another SHA-256")
        entries = _refer(artifact, target, shard)
        if [(str(entry.path), entry.size) for entry in entries] != [(shard.name, shard.bytes)]:
            raise _other(shard, target, f"{[(str(entry.path), entry.size) for entry in entries[:3]]}")
        etag = str(entries[0].digest)
        # An ETag that is plain hexadecimal is the object's MD5; others tell nothing about its content.
        told = url.startswith("s3:") and url != str(folder) and re.fullmatch("[0-9a-f]{32}", etag)
        # Of an object that S3 has encrypted with a key of KMS or the user's own, it looks so and is no MD5.
        if told and etag != _digest(folder / shard.name, "md5") and _digest_there(target) != shard.sha256:
            raise _other(shard, target, f"the MD5 {etag} and another SHA-256")


def fetch_reference(entry: Any, work: Path) -> None:
    """Copies the shard that an artifact's entry refers to into the folder `work`.

    Raises:
        UsageError: The store's library is missing.
        StoreError: The store does not answer or refuses.
        VerifyError: The shard is not there any more, or another one is.
    """
    with _told(str(entry.path), str(entry.ref)), _ONE_AT_A_TIME:
        entry.download(root=str(work), skip_cache=True)


def _refer(artifact: Any, target: str, shard: Shard) -> list[Any]:
    with _told(shard.name, target):
        return list(artifact.add_reference(target, name=shard.name, checksum=True, max_objects=2))


@contextmanager
def _told(name: str, target: str) -> Iterator[None]:
    """Turns what wandb and the stores' libraries raise into errors for the user."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:  # no such object, or another checksum
        raise VerifyError(
            f"The shard at '{target}' cannot be used. Expected the file '{name}' of the published dataset, received "
            f"none or another ({type(error).__name__}). Copy the dataset there again."
        ) from error
    except Exception as error:
        if re.search("requires? the .* library", str(error)):  # wandb's own words
            raise _missing_library(target) from error
        raise StoreError(
            f"The store did not tell of '{target}'. Expected the shard's size and content, received "
            f"{type(error).__name__}. Check the address, your rights and the network, and give the command again."
        ) from error


def _missing_library(target: str) -> UsageError:
    scheme = urlsplit(target).scheme
    return UsageError(
        f"{scheme}:// needs a library that is not installed. Expected the extra '{scheme}', received an installation "
        f"without it. Run pip install 'hazegen[{scheme}]'."
    )


def _other(shard: Shard, target: str, received: str) -> VerifyError:
    return VerifyError(
        f"The shard at '{target}' is not that of the manifest. Expected '{shard.name}' of {shard.bytes} bytes and "
        f"SHA-256 {shard.sha256[:12]}..., received {received}. Copy the dataset there again."
    )


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _digest_there(target: str) -> str:
    try:
        return _digest(stores.place(target), "sha256")
    except FileNotFoundError:
        return ""
