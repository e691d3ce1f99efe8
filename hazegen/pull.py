"""hazegen pull: a published dataset from W&B, each file verified before it gets its name."""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tqdm import tqdm

from hazegen import artifacts, card, manifest, shards, tracking
from hazegen.errors import RefusedError, StoreError, UsageError, VerifyError
from hazegen.manifest import INPUTS, MANIFEST, PLAN, Manifest, Shard
from hazegen.references import SCHEMES

PREFIX = "wandb:"
# Where a pulled dataset came from; kept beside it, so that a run on it can name its source.
SOURCE = "source.json"
WORK = ".pull"
TRIES = 3
AT_ONCE = 4
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


def pull(source: str, out: Path | None = None) -> Pulled:
    """Fetches the dataset that `source` (wandb:entity/project/name:alias) names; goes on where it was left.

    Only names of the manifest, which are plain, and of a dataset's own companions become files here. A
    file gets its name when its SHA-256 is that of the manifest, and the manifest comes last.

    Args:
        out: Folder for the dataset [default: artifacts/NAME-VERSION].

    Raises:
        UsageError: No such address, or no key.
        RefusedError: The folder holds something else, or the artifact is no dataset.
        StoreError: The server or the store failed; the same command goes on.
        VerifyError: A file is not what the manifest says.
    """
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
        address = artifacts.address_of(artifact)
        folder = Path("artifacts", address.rpartition("/")[2].replace(":", "-")) if out is None else out
        _claim(folder, address, str(artifact.digest))
        entries = {str(path): artifact.get_entry(path) for path in artifact.manifest.entries}
        with tracking.environment(folder / WORK):
            return _fetch_dataset(entries, folder, address)


def _find(wandb: Any, source: str) -> Any:
    try:
        artifact = wandb.Api().artifact(source.removeprefix(PREFIX))
    except (ValueError, wandb.errors.CommError) as error:
        if "not found" in str(error).lower() or "could not find" in str(error).lower():
            raise UsageError(
                f"There is no such artifact. Expected one that W&B knows and the key may read, received '{source}'. "
                "Check entity, project, name and alias."
            ) from error
        raise _unanswered(tracking.describe(error)) from error
    except Exception as error:
        raise _unanswered(tracking.describe(error)) from error
    if artifact.type != "dataset":
        raise RefusedError(
            f"'{source}' is no dataset. Expected an artifact of type dataset, received type '{artifact.type}'. "
            "Name one that hazegen publish made."
        )
    return artifact


def _unanswered(received: str) -> StoreError:
    return StoreError(
        f"W&B cannot be reached. Expected an answer, received: {received}. Give the same command again: it goes on "
        "where it was left."
    )


def _claim(folder: Path, address: str, digest: str) -> None:
    """Takes a new folder, or one in which this very version was being pulled."""
    if folder.exists() and not folder.is_dir():
        raise RefusedError(f"'{folder}' is a file. Expected a new folder. Choose another --out.")
    said = {"artifact": address, "digest": digest}
    if folder.exists() and any(folder.iterdir()):
        found = read_source(folder)
        if found.get("digest") != digest:
            raise RefusedError(
                f"The folder '{folder}' holds something else. Expected a new folder, or one with {address} of digest "
                f"{digest}, received {found or 'other files'}. Choose another --out."
            )
    folder.mkdir(parents=True, exist_ok=True)
    shards.write_text(folder / SOURCE, [json.dumps(said), "\n"])
    (folder / WORK).mkdir(exist_ok=True)


def read_source(folder: Path) -> dict[str, str]:
    """Address and digest of the artifact that the dataset in `folder` was pulled from; empty for any other."""
    try:
        said = json.loads((folder / SOURCE).read_bytes())
        return {name: str(said[name]) for name in ("artifact", "digest")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _fetch_dataset(entries: Mapping[str, Any], folder: Path, address: str) -> Pulled:
    work = folder / WORK
    known = _fetch_manifest(entries, work)
    companions = [name for name in (INPUTS, PLAN, *card.FILES) if name in entries]
    wanted = [shard for shard in known.shards if not _is_whole(folder / shard.name, shard)]
    with (
        tqdm(
            total=sum(shard.bytes for shard in wanted), unit="B", unit_scale=True, desc="pulling", disable=None
        ) as bar,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        jobs = [pool.submit(_fetch_shard, entries[shard.name], shard, work, folder) for shard in wanted]
        try:
            for shard, job in zip(wanted, jobs, strict=True):
                job.result()
                bar.update(shard.bytes)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    for name in companions:
        _fetch(entries[name], work)
        (work / name).replace(folder / name)
    (work / MANIFEST).replace(folder / MANIFEST)
    shutil.rmtree(work)
    others = len(entries) - len(known.shards) - len(companions) - 1
    return Pulled(folder, address, known, len(wanted), len(known.shards) - len(wanted), others)


def _fetch_manifest(entries: Mapping[str, Any], work: Path) -> Manifest:
    """The dataset's manifest, held against the artifact's list of files before any of them is fetched."""
    if MANIFEST not in entries:
        raise RefusedError(
            f"The artifact is no dataset of hazegen. Expected a {MANIFEST} in it, received {sorted(entries)[:5]}. "
            "Name one that hazegen publish made."
        )
    _fetch(entries[MANIFEST], work)
    known = manifest.load(work)
    for shard in known.shards:
        entry = entries.get(shard.name)
        received = "no such file" if entry is None else f"{entry.size} bytes"
        if entry is None or entry.size != shard.bytes or shard.name in (MANIFEST, INPUTS, PLAN, SOURCE, *card.FILES):
            raise VerifyError(
                f"The artifact is not what its manifest says. Expected '{shard.name}' of {shard.bytes} bytes, "
                f"received {received}. Publish it again."
            )
    return known


def _fetch_shard(entry: Any, shard: Shard, work: Path, folder: Path) -> None:
    path = work / shard.name
    _fetch(entry, work)
    if not _is_whole(path, shard):
        path.unlink()
        raise VerifyError(
            f"Shard '{shard.name}' is not what the manifest says. Expected {shard.bytes} bytes of SHA-256 "
            f"{shard.sha256[:12]}..., received others. Give the same command again, or publish the dataset again."
        )
    path.replace(folder / shard.name)


def _is_whole(path: Path, shard: Shard) -> bool:
    if not path.is_file() or path.stat().st_size != shard.bytes:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256


def _fetch(entry: Any, work: Path) -> None:
    """Fetches one file of the artifact into `work`, with a few tries."""
    _check_entry(entry)
    for attempt in range(TRIES):
        try:
            entry.download(root=str(work), skip_cache=True)
        except Exception as error:
            if attempt + 1 == TRIES:
                raise _unanswered(f"'{entry.path}': {tracking.describe(error)}") from error
            time.sleep(2.0**attempt)
        else:
            return


def _check_entry(entry: Any) -> None:
    """Refuses references to what no dataset of ours refers to: other schemes, devices, other local files."""
    if entry.ref is None:
        sound = entry.path.endswith(".tfrecord") or (entry.size or 0) <= LARGEST_TEXT
    else:
        url = urlsplit(str(entry.ref))
        path = Path(unquote(url.path))
        sound = url.scheme in SCHEMES and url.path.endswith(f"/{entry.path}")
        sound = sound and (url.scheme != "file" or (path.is_file() and path.stat().st_size == entry.size))
    if not sound:
        raise RefusedError(
            f"The artifact's '{entry.path}' cannot be fetched. Expected a file of it, or one of the same name and size "
            f"in {', '.join(SCHEMES)}, received {entry.size} bytes{' elsewhere' if entry.ref else ''}. Publish it anew."
        )
