"""hazegen pull: a published dataset from W&B, each file verified before it gets its name."""

import base64
import dataclasses
import hashlib
import json
import re
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from tqdm import tqdm

from hazegen import artifacts, card, manifest, stores, tracking
from hazegen.errors import RefusedError, StoreError, UsageError, VerifyError
from hazegen.manifest import INPUTS, MANIFEST, PLAN, Manifest, Shard
from hazegen.references import SCHEMES, fetch_reference, is_reference

PREFIX = "wandb:"
# Where a pulled dataset came from; kept beside it, so that a run on it can name its source.
SOURCE = "source.json"
WORK = ".pull"
TRIES = 3
PAUSE_S = 1.0
# How long a server may be silent: until it answers, and in the middle of a file [s].
SILENCE_S = (5.0, 60.0)
# How long wandb may take to tell of an artifact and its files: of very many, a list of gigabytes [s].
LIST_S = 300.0
AT_ONCE = 4
CHUNK = 1 << 20
SUFFIX = ".tfrecord"
# A manifest of 4 million shards takes less.
LARGEST_TEXT = 1 << 30

_ADDRESS = re.compile(r"wandb:([\w.-]+)/([\w.-]+)/([\w.-]+):([\w.-]+)")


@dataclass(frozen=True)
class Pulled:
    """What a pull did.

    Attributes:
        folder: Of the dataset.
        address: entity/project/name:version, the alias resolved.
        manifest: Of the dataset.
        fetched, kept: Number of shards that were fetched, and that were there already.
        left_out: Number of files of the artifact that are no part of a dataset and were not fetched.
    """

    folder: Path
    address: str
    manifest: Manifest
    fetched: int
    kept: int
    left_out: int


@dataclass(frozen=True)
class _Transfer:
    """An artifact on its way into a folder.

    Attributes:
        entries: What W&B lists of it, by name.
        report: Takes the number of bytes that have come, as they come; fewer where a try was in vain.
    """

    artifact: Any
    entries: dict[str, Any]
    folder: Path
    report: Callable[[int], object] = lambda _: None

    @property
    def work(self) -> Path:
        return self.folder / WORK


def pull(source: str, out: Path | None = None) -> Pulled:
    """Fetches the dataset that `source` (wandb:entity/project/name:alias) names; goes on where it was left.

    Only the manifest's shards, whose names are plain, and a dataset's own companions become files here. A
    file gets its name when it is whole by its digest, and the manifest comes last.

    Args:
        out: Folder for the dataset [default: artifacts/ENTITY/PROJECT/NAME-VERSION].

    Raises:
        UsageError: No such address, or no key.
        RefusedError: The folder holds something else, or the artifact is no dataset.
        StoreError: The server or the store failed; the same command goes on.
        VerifyError: A file is not what the manifest says.
    """
    stores.on_disk(out or Path(), "--out of hazegen pull")
    if not _ADDRESS.fullmatch(source):
        raise UsageError(
            f"No such address. Expected wandb:entity/project/name:alias, received {source!r}. The alias may be "
            "'latest', a version as v3, or one of your own."
        )
    choice = tracking.choose_mode("online")
    if choice.mode != "online":
        raise _unanswered(choice.reason)
    with tracking.api_session() as wandb:
        artifact = _find(wandb, source)
        entries = _list_files(artifact)
        address = artifacts.address_of(artifact)
        folder = Path("artifacts", *address.replace(":", "-").split("/")) if out is None else out
        _claim(folder, address, str(artifact.digest))
        transfer = _Transfer(artifact, entries, folder)
        with tracking.environment(transfer.work):
            return _fetch_dataset(transfer, address)


def _find(wandb: Any, source: str) -> Any:
    try:
        artifact = _answer(lambda: wandb.Api().artifact(source.removeprefix(PREFIX)))
    except Exception as error:
        known_error = isinstance(error, ValueError | wandb.errors.CommError)
        if known_error and re.search("(?i)not found|could not find", str(error)):
            raise UsageError(
                f"There is no such artifact. Expected one that W&B knows and the key may read, received '{source}'. "
                "Check entity, project, name and alias."
            ) from error
        raise _unanswered(tracking.describe(error)) from error
    if artifact.type != "dataset":
        raise RefusedError(
            f"'{source}' is no dataset. Expected an artifact of type dataset, received type '{artifact.type}'. "
            "Name one that hazegen publish made."
        )
    return artifact


def _list_files(artifact: Any) -> dict[str, Any]:
    try:
        return {str(name): entry for name, entry in _answer(lambda: artifact.manifest).entries.items()}
    except ValueError as error:
        raise RefusedError(
            "W&B's list of the artifact's files cannot be read. Expected names, digests and sizes, received: "
            f"{tracking.describe(error)}. Publish it anew."
        ) from error
    except Exception as error:
        raise _unanswered(tracking.describe(error)) from error


def _answer(ask: Callable[[], Any]) -> Any:
    """What wandb answers; it would itself wait for a silent server without end."""
    answer: Future[Any] = Future()

    def wait() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:  # for the one who asked
            answer.set_exception(error)

    threading.Thread(target=wait, daemon=True).start()
    return answer.result(LIST_S)


def _unanswered(received: str) -> StoreError:
    return StoreError(
        f"W&B cannot be reached. Expected an answer, received: {received}. Give the same command again: it goes on "
        "where it was left."
    )


def _claim(folder: Path, address: str, digest: str) -> None:
    """Takes a new folder, or one in which this very version was being pulled."""
    if folder.exists() and not folder.is_dir():
        raise RefusedError(f"'{folder}' is a file. Expected a new folder, received a file. Choose another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    stores.sweep(folder, SOURCE)
    there = list(folder.iterdir())
    found = read_source(folder)
    if there and found.get("digest") != digest:
        raise RefusedError(
            f"The folder '{folder}' holds something else. Expected a new folder, or one with {address} of digest "
            f"{digest}, received {found or 'other files'}. Choose another --out."
        )
    if links := sorted(path.name for path in there if path.is_symlink()):
        raise RefusedError(
            f"The folder '{folder}' holds symbolic links. Expected files that an earlier pull left, received "
            f"{links[:5]}. Take them out, or choose another --out."
        )
    said = {"artifact": address, "digest": digest}
    stores.write_text(folder / SOURCE, [json.dumps(said), "\n"])
    if (folder / WORK).exists():
        shutil.rmtree(folder / WORK)
    (folder / WORK).mkdir()


def read_source(folder: Path) -> dict[str, str]:
    """Address and digest of the artifact that the dataset in `folder` was pulled from; empty for any other."""
    try:
        said = json.loads((folder / SOURCE).read_bytes())
        return {name: str(said[name]) for name in ("artifact", "digest")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _fetch_dataset(transfer: _Transfer, address: str) -> Pulled:
    entries, folder, work = transfer.entries, transfer.folder, transfer.work
    known = _fetch_manifest(transfer)
    companions = [name for name in (INPUTS, PLAN, *card.FILES) if name in entries]
    wanted = [shard for shard in known.shards if not _is_whole(folder / shard.name, shard)]
    with (
        tqdm(
            total=sum(shard.bytes for shard in wanted), unit="B", unit_scale=True, desc="pulling", disable=None
        ) as bar,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        reporting = dataclasses.replace(transfer, report=bar.update)
        jobs = [pool.submit(_fetch_shard, reporting, shard) for shard in wanted]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    for name in companions:
        if not _is_entry(folder / name, entries[name]):
            _fetch(transfer, name)
            (work / name).replace(folder / name)
    (work / MANIFEST).replace(folder / MANIFEST)
    shutil.rmtree(work)
    others = len(entries) - len(known.shards) - len(companions) - 1
    return Pulled(folder, address, known, len(wanted), len(known.shards) - len(wanted), others)


def _fetch_manifest(transfer: _Transfer) -> Manifest:
    """The dataset's manifest, held against the artifact's list of files before any of them is fetched."""
    entries, path = transfer.entries, transfer.folder / MANIFEST
    if MANIFEST not in entries:
        raise RefusedError(
            f"The artifact is no dataset of hazegen. Expected a {MANIFEST} in it, received {sorted(entries)[:5]}. "
            "Name one that hazegen publish made."
        )
    if _is_entry(path, entries[MANIFEST]):
        shutil.copyfile(path, transfer.work / MANIFEST)
    else:
        _fetch(transfer, MANIFEST)
    known = manifest.load(transfer.work)
    names = {shard.name.casefold() for shard in known.shards}  # some file systems know no case
    if len(names) < len(known.shards) or not all(shard.name.endswith(SUFFIX) for shard in known.shards):
        raise RefusedError(
            f"The manifest cannot be used. Expected shards of different names that end in {SUFFIX}, received "
            f"{len(known.shards)} shards with others among them. Do not use this dataset."
        )
    for shard in known.shards:
        entry = entries.get(shard.name)
        received = "no such file" if entry is None else f"{entry.size} bytes"
        if entry is None or entry.size != shard.bytes:
            raise VerifyError(
                f"The artifact is not what its manifest says. Expected '{shard.name}' of {shard.bytes} bytes, "
                f"received {received}. Publish it again."
            )
    return known


def _fetch_shard(transfer: _Transfer, shard: Shard) -> None:
    path = transfer.work / shard.name
    _fetch(transfer, shard.name)
    if not _is_whole(path, shard):
        path.unlink()
        raise VerifyError(
            f"Shard '{shard.name}' is not what the manifest says. Expected {shard.bytes} bytes of SHA-256 "
            f"{shard.sha256[:12]}..., received others. Give the same command again, or publish the dataset again."
        )
    path.replace(transfer.folder / shard.name)


def _is_whole(path: Path, shard: Shard) -> bool:
    if not path.is_file() or path.stat().st_size != shard.bytes:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256


def _is_entry(path: Path, entry: Any) -> bool:
    """Whether a file is the one that W&B lists, by size and MD5."""
    if not path.is_file() or path.stat().st_size != entry.size:
        return False
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
    return base64.b64encode(digest).decode() == entry.digest


def _fetch(transfer: _Transfer, name: str) -> None:
    """Fetches one file of the artifact into the work folder, with a few tries."""
    _check_entry(transfer.entries[name], name)
    if transfer.entries[name].ref is not None:
        fetch_reference(transfer.artifact.get_entry(name), transfer.work)
        transfer.report(transfer.entries[name].size)
        return
    for attempt in range(TRIES):
        try:
            _download(transfer, name)
        except Exception as error:
            if isinstance(error, VerifyError) or (
                isinstance(error, OSError) and not isinstance(error, requests.RequestException)
            ):
                raise  # neither other bytes nor a full disk get better by another try
            if attempt + 1 == TRIES:
                raise _unanswered(f"'{name}': {tracking.describe(error)}") from error
            time.sleep(PAUSE_S * 2.0**attempt)
        else:
            return


def _download(transfer: _Transfer, name: str) -> None:
    """One file by its signed URL. wandb's own download without a cache shares one path among all threads."""
    path, entry = transfer.work / name, transfer.entries[name]
    (listed,) = transfer.artifact.files(names=[name])
    come = 0
    try:
        with requests.get(listed.direct_url, stream=True, timeout=SILENCE_S) as answer, path.open("wb") as file:
            answer.raise_for_status()
            for chunk in answer.iter_content(CHUNK):
                if come + len(chunk) > entry.size:
                    break  # whatever comes, it fills no disk
                come += file.write(chunk)
                transfer.report(len(chunk))
    except Exception:
        transfer.report(-come)
        raise
    if not _is_entry(path, entry):
        path.unlink()
        raise VerifyError(
            f"'{name}' is not what W&B lists. Expected {entry.size} bytes of MD5 {entry.digest}, received others. "
            "Give the same command again, or publish the dataset again."
        )


def _check_entry(entry: Any, name: str) -> None:
    """Refuses what no dataset of ours has: large texts, and references to other schemes, devices, other files."""
    if name.endswith(SUFFIX):
        sound = entry.ref is None or is_reference(str(entry.ref), name, entry.size)
    else:
        sound = entry.ref is None and entry.size is not None and entry.size <= LARGEST_TEXT
    if not sound:
        raise RefusedError(
            f"The artifact's '{name}' cannot be fetched. Expected a file of it, or a shard of the same name and size "
            f"in {', '.join(SCHEMES)}, received {entry.size} bytes{' elsewhere' if entry.ref else ''}. Publish it anew."
        )
