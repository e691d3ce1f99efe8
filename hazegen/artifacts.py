"""Artifacts of W&B: logged without a trace of where their files lie, and sent whole or not at all."""

import os
import re
import threading
import time
from typing import Any

from tqdm import tqdm

from hazegen.errors import StoreError
from hazegen.tracking import Session, describe, stop_sending

POLL_S = 0.5
_UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


def log_artifact(session: Session, artifact: Any, aliases: list[str], *, used: bool = False) -> None:
    """Logs an artifact, asks the server nothing, and keeps it in the transaction file, so that 'wandb sync' has it.

    wandb's public way, online, first asks for the artifact's type, which blocks the work while the server is
    silent, and then writes nothing to the transaction file: what an outage takes is lost.

    Args:
        used: The run has read it and not made it.
    """
    _hide_folders(session, artifact)
    artifact.finalize()
    session.run._interface.publish_artifact(session.run, artifact, aliases, is_user_created=used, use_after_commit=used)


def send_artifact(session: Session, artifact: Any, aliases: list[str], patience_s: float) -> None:
    """Logs an artifact and waits until the server has it whole.

    Args:
        patience_s: Give up when nothing moved for so long [s].

    Raises:
        StoreError: The server refused it, or nothing moved.
    """
    _hide_folders(session, artifact)
    problems: list[Exception] = []

    def send() -> None:
        try:
            session.run.log_artifact(artifact, aliases=aliases)
            artifact.wait()
        except Exception as error:  # reported below, whatever it was
            problems.append(error)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    sizes: dict[str, int] = {
        str(entry.path): entry.size or 0 for entry in artifact.manifest.entries.values() if entry.ref is None
    }
    begun: dict[str, float] = {}
    moved, most = time.monotonic(), 0
    total = sum(sizes.values())
    with tqdm(total=total, unit="B", unit_scale=True, desc="sending", disable=None) as bar:
        while sender.is_alive():
            sender.join(POLL_S)
            sent = _sent_bytes(session.run, sizes, begun)
            if sent is None or sent > most:  # not bar.n: a bar that is not shown does not count
                bar.update((sent or most) - most)
                moved, most = time.monotonic(), sent or most
            if time.monotonic() - moved > patience_s:
                stop_sending()  # nor may it arrive after this was said to have failed
                raise _not_sent(f"nothing moved for {patience_s:.0f} s")
        if problems and not _is_there(session, artifact, aliases):
            raise _not_sent(describe(problems[0])) from problems[0]
        bar.update(total - most)


def _is_there(session: Session, artifact: Any, aliases: list[str]) -> bool:
    """Whether the server has an artifact and its aliases after all: the answer to the commit can be lost."""
    run = session.run
    try:
        known = run._public_api().artifact(f"{run.entity}/{run.project}/{artifact.name}:latest", type=artifact.type)
        if known.digest == artifact.digest and set(aliases) <= set(known.aliases):
            artifact._populate_after_save(known.id)
            return True
    except Exception:  # not there, or there is no answer to this either
        return False
    return False


def _hide_folders(session: Session, artifact: Any) -> None:
    """Makes the paths of an artifact's files relative: wandb sends them with the manifest."""
    for entry in artifact.manifest.entries.values():
        if entry.local_path is not None:
            entry.local_path = os.path.relpath(entry.local_path, session.root)


def address_of(artifact: Any) -> str:
    """entity/project/name:version of an artifact, whatever alias it was asked for by."""
    return f"{artifact.entity}/{artifact.project}/{str(artifact.name).partition(':')[0]}:{artifact.version}"


def _not_sent(received: str) -> StoreError:
    return StoreError(
        f"W&B did not take the artifact. Expected all of it on the server, received: {received}. No version of it was "
        "made and the dataset is as it was (should only the very last answer be lost, W&B has it whole); give the same "
        "command again."
    )


def _sent_bytes(run: Any, sizes: dict[str, int], begun: dict[str, float]) -> int | None:
    """Bytes of an artifact's files that are sent, as wandb's own progress display knows them.

    There is no public way to ask. Should this one go, None: the bar stands still, and no stall is noticed.

    Args:
        begun: What was known at the last look, for each file whose sending has begun; brought up to date.
    """
    try:
        from wandb.proto import wandb_internal_pb2

        pb: Any = wandb_internal_pb2
        request = pb.Record(request=pb.Request(operations=pb.OperationStatsRequest()))
        answer = run._interface._deliver(request).wait_or(timeout=POLL_S)
        operations = answer.response.operations_response.operation_stats.operations
    except TimeoutError:
        return int(sum(begun.values()))
    except Exception:  # a progress bar is not worth more
        return None
    now = {task.desc: task.progress.partition("/")[0] for one in operations for task in one.subtasks}
    for name in begun.keys() - now.keys():
        begun[name] = sizes[name]
    for name in now.keys() & sizes.keys():
        number, unit = re.match(r"([\d.]*)(.*)", now[name]).groups()  # type: ignore[union-attr]
        begun[name] = min(float(number or 0) * _UNITS.get(unit, 0), sizes[name])
    return int(sum(begun.values()))
