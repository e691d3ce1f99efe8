"""A session with Weights & Biases: online where it can be, offline otherwise, and never in the way of the work.

wandb is told to collect nothing about the machine: no command line, no environment, no paths, no
source code, no console output, no crash reports. What is sent is what `config`, metrics and artifacts
say. Its staging and cache folders lie beside the run, so that no home directory fills up.
"""

import os
import re
import shlex
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from tqdm import tqdm

from hazegen.errors import StoreError, UsageError

Mode = Literal["auto", "online", "offline", "off"]
Say = Callable[[str], object]

# How long the end of a run waits for its last uploads, and any single question to the server [s].
FINISH_S = 60.0
ANSWER_S = 5
POLL_S = 0.5

_KEY_HELP = "Log in with 'wandb login', or set WANDB_API_KEY; or choose offline, and sync later."
_UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


@dataclass(frozen=True)
class Choice:
    """What was decided about a session before any work, and why."""

    mode: Literal["online", "offline", "off"]
    reason: str


@dataclass
class Session:
    """An open W&B run.

    Attributes:
        run: The wandb run.
        online: Whether it is sent while it is made.
        folder: Folder of its transaction file: what 'wandb sync' takes.
    """

    run: Any
    online: bool
    folder: Path
    _cleanup: ExitStack = field(repr=False)


def load_wandb() -> Any:
    """The package wandb, which reads some settings when it is imported and never again."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_HTTP_TIMEOUT", str(ANSWER_S))
    import wandb

    return wandb


@contextmanager
def environment(folder: Path) -> Iterator[None]:
    """wandb's settings for the time of a session: quiet, and with its own files in `folder`."""
    ours = {
        "WANDB_DATA_DIR": str(folder / "data"),
        "WANDB_CACHE_DIR": str(folder / "cache"),
        "WANDB_SILENT": "true",
    }
    before = {name: os.environ.get(name) for name in (*ours, "WANDB_MODE", "WANDB_SERVICE")}
    for name, value in ours.items():
        os.environ.setdefault(name, value)
    os.environ.pop("WANDB_MODE", None)  # decided already
    try:
        yield
    finally:
        for name, earlier in before.items():
            if earlier is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = earlier


def choose_mode(asked: Mode) -> Choice:
    """Decides where a session goes. Asks the server only for 'auto' and 'online'; it takes seconds at most.

    'auto' is online with a key and a server that answers, else offline; it obeys WANDB_MODE. 'online'
    is offline, too, where the server does not answer: an outage stops no work.

    Raises:
        UsageError: 'online' without a key, or with one that the server refuses.
    """
    if asked in ("off", "offline"):
        return Choice(asked, "as asked")
    wish = os.environ.get("WANDB_MODE", "online")
    if asked == "auto" and wish != "online":
        return Choice("off" if wish == "disabled" else "offline", f"WANDB_MODE is {wish}")
    answer, problem = _ask_server()
    if answer == "yes":
        return Choice("online", "the server knows the key")
    if asked == "online" and answer == "no":
        raise UsageError(
            f"W&B cannot be used online. Expected an API key that the server accepts, received {problem}. {_KEY_HELP}"
        )
    return Choice("offline", problem)


def _ask_server() -> tuple[Literal["yes", "no", "silence"], str]:
    """Whether there is a key and the server takes it; 'silence' where no answer came."""
    with api_session() as wandb:
        try:
            server = urlsplit(wandb.setup().settings.base_url)
            if server.username is not None or server.password is not None:
                return "no", "a server's URL with user information in it, which would be stored"
            if wandb.login(prompt=False, verify=True):
                return "yes", ""
            return "no", "no API key"
        except wandb.errors.AuthenticationError as error:
            if re.search(r"error 40[13]\b|API key|not logged in", str(error)):
                return "no", "an API key that is not valid"
            return "silence", "no answer from the server"
        except Exception as error:  # whatever it is, it is no answer
            return "silence", f"no answer from the server ({type(error).__name__})"


@contextmanager
def api_session() -> Iterator[Any]:
    """The package wandb, to ask the server with; its helper process ends with the block."""
    with tempfile.TemporaryDirectory() as folder, environment(Path(folder)):
        _teardown()
        try:
            yield load_wandb()
        finally:
            _teardown()


def open_session(folder: Path, choice: Choice, say: Say, *, finish_s: float = FINISH_S, **facts: Any) -> Session | None:
    """Opens a run below `folder`/wandb; offline, with a warning, where online fails.

    Args:
        finish_s: How long its end may wait for uploads [s].
        facts: Arguments of wandb.init: project, entity, name, job_type, group, tags, config, id, resume.

    Returns:
        None where nothing is to be logged, or nothing can be.
    """
    if choice.mode == "off":
        return None
    cleanup = ExitStack()
    cleanup.enter_context(environment(folder / "wandb"))
    for mode in ("online", "offline") if choice.mode == "online" else ("offline",):
        try:
            run = _init(folder, mode, finish_s, facts)
        except Exception as error:  # logging alone has failed, whatever it was
            say(f"warning: W&B could not start {mode}: {describe(error)}")
            _teardown()
            continue
        return Session(run, mode == "online", Path(run.settings.sync_dir), cleanup)
    cleanup.close()
    return None


def _init(folder: Path, mode: str, finish_s: float, facts: dict[str, Any]) -> Any:
    wandb = load_wandb()
    settings = wandb.Settings(
        mode=mode,
        root_dir=os.environ.get("WANDB_DIR", str(folder)),
        silent=True,
        console="off",
        # What would name the machine, its user, or the command line.
        x_disable_meta=True,
        x_save_requirements=False,
        save_code=False,
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        host="",
        username="",
        email="",
        # No server makes the work wait for long.
        init_timeout=4 * ANSWER_S,
        finish_timeout=finish_s,
        finish_timeout_raises=True,
    )
    if mode == "offline":
        # Offline, a run cannot be continued: its parts would overwrite each other when they are sent.
        facts = {name: value for name, value in facts.items() if name not in ("id", "resume")}
    folder.mkdir(parents=True, exist_ok=True)
    return wandb.init(settings=settings, **facts)


def send_artifact(session: Session, artifact: Any, aliases: list[str], patience_s: float) -> None:
    """Sends an artifact and waits until the server has it whole.

    Args:
        patience_s: Give up when nothing moved for so long [s].

    Raises:
        StoreError: The server refused it, or nothing moved.
    """
    session.run.log_artifact(artifact, aliases=aliases)
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


def close_session(session: Session, exit_code: int, say: Say) -> bool:
    """Ends a run, and says where it is or how to send what was not sent.

    Returns:
        Whether all of it is on the server.
    """
    sent = session.online
    url = session.run.url
    try:
        session.run.finish(exit_code=exit_code)
    except Exception as error:  # logging alone has failed, whatever it was
        say(f"warning: W&B did not take all of the run: {describe(error)}")
        sent = False
    _teardown()
    session._cleanup.close()
    if sent:
        say(f"W&B: {url}")
    else:
        say(f"W&B: the run is kept in '{session.folder}'; send it later: {sync_command(session.folder)}")
    return sent


def sync_command(folder: Path) -> str:
    """The command that sends a run that was kept."""
    return f"wandb sync {shlex.quote(os.path.relpath(folder))}"


def describe(error: Exception) -> str:
    """Class and first line of an error, without addresses: signed ones are secrets."""
    text = re.sub(r"\w+://\S+", "<address>", str(error).strip())
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no reason given'}"


def _teardown() -> None:
    """Ends wandb's own process; the next session reads its settings afresh."""
    with suppress(Exception):  # it only helped to log
        load_wandb().teardown()
