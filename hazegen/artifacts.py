"""Artifacts of W&B: logged without a trace of where their files lie, and sent whole or not at all."""

import os
import re
import threading
import time
from typing import Any

from tqdm import tqdm

from hazegen.errors import StoreError
from hazegen.tracking import Session, describe

POLL_S = 0.5
_UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


def log_artifact(session: Session, artifact: Any, aliases: list[str], *, used: bool = False) -> None:
    """Logs an artifact, the paths of its files made relative: wandb sends them with the manifest.

    Args:
        used: The run has read it and not made it. wandb's public way to say so asks the server at once; the
            same request, kept in the transaction file, is understood by 'wandb sync' too.
    """
    for entry in artifact.manifest.entries.values():
        if entry.local_path is not None:
            entry.local_path = os.path.relpath(entry.local_path, session.root)
    if used:
        session.run._log_artifact(artifact, aliases=aliases, is_user_created=True, use_after_commit=True)
    else:
        session.run.log_artifact(artifact, aliases=aliases)
    session.artifacts.append(artifact)


def send_artifact(session: Session, artifact: Any, aliases: list[str], patience_s: float) -> None:
    """Logs an artifact and waits until the server has it whole.

    Args:
        patience_s: Give up when nothing moved for so long [s].

    Raises:
        StoreError: The server refused it, or nothing moved.
    """
    log_artifact(session, artifact, aliases)
    problems: list[Exception] = []

    def wait() -> None:
        try:
            artifact.wait()
        except Exception as error:  # reported below, whatever it was
            problems.append(error)

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    sizes: dict[str, int] = {
        str(entry.path): entry.size or 0 for entry in artifact.manifest.entries.values() if entry.ref is None
    }
    begun: dict[str, float] = {}
    moved = time.monotonic()
    total = sum(sizes.values())
    with tqdm(total=total, unit="B", unit_scale=True, desc="sending", disable=None) as bar:
        while waiter.is_alive():
            waiter.join(POLL_S)
            sent = int(_sent_bytes(session.run, sizes, begun))
            if sent > bar.n:
                moved = time.monotonic()
                bar.update(sent - bar.n)
            if time.monotonic() - moved > patience_s:
                raise _not_sent(f"nothing moved for {patience_s:.0f} s")
        if problems:
            raise _not_sent(describe(problems[0])) from problems[0]
        bar.update(total - bar.n)


def address_of(artifact: Any) -> str:
    """entity/project/name:version of an artifact, whatever alias it was asked for by."""
    return f"{artifact.entity}/{artifact.project}/{str(artifact.name).partition(':')[0]}:{artifact.version}"


def _not_sent(received: str) -> StoreError:
    return StoreError(
        f"W&B did not take the artifact. Expected all of it on the server, received: {received}. No version of it was "
        "made and the dataset is as it was; give the same command again."
    )


def _sent_bytes(run: Any, sizes: dict[str, int], begun: dict[str, float]) -> float:
    """Bytes of an artifact's files that are sent, as wandb's own progress display knows them.

    There is no public way to ask. Should this one go, the bar stands still and fills at the end.

    Args:
        begun: What was known at the last look, for each file whose sending has begun; brought up to date.
    """
    try:
        from wandb.proto import wandb_internal_pb2

        pb: Any = wandb_internal_pb2
        request = pb.Record(request=pb.Request(operations=pb.OperationStatsRequest()))
        answer = run._interface._deliver(request).wait_or(timeout=POLL_S)
        operations = answer.response.operations_response.operation_stats.operations
    except Exception:  # a progress bar is not worth more
        return sum(begun.values())
    now = {task.desc: task.progress.partition("/")[0] for one in operations for task in one.subtasks}
    for name in begun.keys() - now.keys():
        begun[name] = sizes[name]
    for name in now.keys() & sizes.keys():
        number, unit = re.match(r"([\d.]*)(.*)", now[name]).groups()  # type: ignore[union-attr]
        begun[name] = min(float(number or 0) * _UNITS.get(unit, 0), sizes[name])
    return sum(begun.values())
