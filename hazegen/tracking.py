"""A session with Weights & Biases: online where it can be, offline otherwise, and never in the way of the work.

wandb is told to collect nothing about the machine: no command line, no environment, no paths, no
source code, no console output, no crash reports. What is sent is what `config`, metrics and artifacts
say. Its staging folder lies beside the run, so that no home directory fills up, and paths in artifacts
are relative to that place, for wandb sends them too.

A run survives a server that fails: wandb retries for as long as the work goes on, and only its end is
bounded, by FINISH_S or wandb's own variable WANDB_FINISH_TIMEOUT [s]. docs/reliability.md has the faults
that were tried.
"""

import json
import os
import re
import shlex
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from hazegen.errors import StoreError, UsageError

Mode = Literal["auto", "online", "offline", "off"]
Say = Callable[[str], object]

# How long the end of a run waits for its last uploads, unless WANDB_FINISH_TIMEOUT says otherwise, and how
# long any single question to the server may take [s].
FINISH_S = 60.0
ANSWER_S = 5
# After that wandb's own process is ended by force [s].
HELPER_S = 5.0

# What W&B takes as a name, less what a shell, a file system or an address would trip over.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")

_KEY_HELP = "Log in with 'wandb login', or set WANDB_API_KEY; or choose offline, and sync later."


def check_place(project: str | None, entity: str | None, prefix: str = "") -> None:
    """Raises UsageError for a project or an entity that W&B would refuse, when there is nothing done yet."""
    for option, text in (("project", project), ("entity", entity)):
        if text is not None and not NAME.fullmatch(text):
            raise UsageError(
                f"--{prefix}{option} cannot be used. Expected letters, digits, '_', '-' and '.', received {text!r}. "
                f"Change --{prefix}{option}."
            )


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
        root: Folder that it was opened in; paths in artifacts are relative to it.
        folder: Folder of its transaction file: what 'wandb sync' takes.
        data: Folder of the staged files, of this session alone: an unsent run needs its own ones.
    """

    run: Any
    online: bool
    root: Path
    folder: Path
    data: Path
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
        "WANDB_DATA_DIR": str(folder / "staging"),
        "WANDB_CACHE_DIR": str(folder / "cache"),
        "WANDB_SILENT": "true",
    }
    theirs = ("WANDB_DIR", "WANDB_SWEEP_PARAM_PATH")
    before = {name: os.environ.get(name) for name in (*ours, *theirs, "WANDB_MODE", "WANDB_SERVICE")}
    for name, value in ours.items():
        os.environ.setdefault(name, value)
    for name in theirs:
        if os.environ.get(name):
            os.environ[name] = str(Path(os.environ[name]).absolute())  # a session begins in another folder
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
            if re.search(r"error 40[13]\b|API key|not logged in|unauthorized|forbidden", str(error), re.IGNORECASE):
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


def root_beside(folder: Path) -> Path:
    """Where W&B's files of a dataset lie: in WANDB_DIR, else beside it, where there is room for a dataset.

    Raises:
        StoreError: Nothing can be written there.
    """
    root = Path(os.environ.get("WANDB_DIR") or folder.resolve().parent)
    if not os.access(root, os.W_OK):
        raise StoreError(
            f"W&B's files cannot be written. Expected a folder with the right to write, received '{root}'. Set "
            "WANDB_DIR to another one."
        )
    return root


def open_session(root: Path, choice: Choice, say: Say, **facts: Any) -> Session | None:
    """Opens a run below `root`/wandb; offline, with a warning, where online fails.

    Args:
        facts: Arguments of wandb.init: project, entity, name, job_type, group, tags, config, id, resume.

    Returns:
        None where nothing is to be logged, or nothing can be.
    """
    if choice.mode == "off":
        return None
    cleanup = ExitStack()
    root.mkdir(parents=True, exist_ok=True)
    root = root.resolve()
    (root / "wandb").mkdir(exist_ok=True)
    data = Path(tempfile.mkdtemp(prefix="data-", dir=root / "wandb"))
    cleanup.enter_context(environment(data))
    for mode in ("online", "offline") if choice.mode == "online" else ("offline",):
        try:
            run = _init(root, mode, facts)
        except Exception as error:  # logging alone has failed, whatever it was
            say(f"warning: W&B could not start {mode}: {describe(error)}")
            _teardown()
            continue
        return Session(run, mode == "online", root, Path(run.settings.sync_dir), data, cleanup)
    cleanup.close()
    shutil.rmtree(data, ignore_errors=True)
    return None


def _init(root: Path, mode: str, facts: dict[str, Any]) -> Any:
    wandb = load_wandb()
    settings = wandb.Settings(
        mode=mode,
        root_dir=os.environ.get("WANDB_DIR", str(root)),
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
        finish_timeout=_finish_s(),
        finish_timeout_raises=True,
    )
    if mode == "offline":
        # Offline, a run cannot be continued: its parts would overwrite each other when they are sent.
        facts = {name: value for name, value in facts.items() if name not in ("id", "resume")}
    with chdir(root):  # of wandb's own process, which starts here and opens the artifacts' files
        return wandb.init(settings=settings, **facts)


def _finish_s() -> float:
    """How long the end of a run may wait [s]. wandb would wait for ever where the variable says 0."""
    try:
        return float(os.environ["WANDB_FINISH_TIMEOUT"]) or FINISH_S
    except (KeyError, ValueError):
        return FINISH_S


def close_session(session: Session, exit_code: int, say: Say) -> bool:
    """Ends a run, and says where it is or how to send what was not sent.

    Returns:
        Whether all of it is on the server.
    """
    url = session.run.url
    problem = _within(_finish_s() + HELPER_S, lambda: session.run.finish(exit_code=exit_code))
    _teardown()
    session._cleanup.close()
    problem = problem or (_logged_error(session.folder) if session.online else "")
    try:
        _tidy(session)
    except (OSError, RuntimeError) as error:  # a full disk; no home folder
        problem = problem or describe(error)
    if session.online and not problem:
        shutil.rmtree(session.data, ignore_errors=True)
        say(f"W&B: {url}")
        return True
    if problem:
        say(f"warning: W&B did not take all of the run: {problem}")
    say(f"W&B: the run is kept in '{shown(session.folder)}', its files in '{shown(session.data)}'; send it later: "
        f"{sync_command(session)}")  # fmt: skip
    return False


def _logged_error(folder: Path) -> str:
    """The last error in the log of wandb's own process: the end of a run says nothing of what a server refused."""
    try:
        lines = (folder / "logs" / "debug-internal.log").read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [json.loads(line)["msg"] for line in lines if '"level":"ERROR"' in line]
    except (OSError, ValueError, KeyError):
        return "its log cannot be read"
    return describe(errors[-1]) if errors else ""


def _tidy(session: Session) -> None:
    """Takes out of wandb's logs where they lie, and removes the cache, which served this session alone."""
    for path in session.folder.glob("logs/*.log"):
        if path.is_symlink():  # to a log in the cache, by its full path
            path.unlink()
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        path.write_text(text.replace(str(session.root), ".").replace(str(Path.home()), "~"), encoding="utf-8")
    shutil.rmtree(session.data / "cache", ignore_errors=True)


def sync_command(session: Session) -> str:
    """The command that sends a run that was kept; paths in it are relative to where it was opened."""
    folder = os.path.relpath(session.folder, session.root)
    place = os.path.relpath(session.root)
    command = "wandb sync --include-online" if session.online else "wandb sync"  # what it else leaves out
    return f"{'' if place == '.' else f'cd {shlex.quote(place)} && '}{command} {shlex.quote(folder)}"


def shown(path: Path) -> str:
    """A path as a user of this working folder would write it."""
    return os.path.relpath(path)


def describe(error: BaseException | str) -> str:
    """First line of an error without addresses: signed ones are secrets."""
    text = re.sub(r"\w+://\S+", "<address>", str(error).strip()) or "no reason given"
    return text.splitlines()[0] if isinstance(error, str) else f"{type(error).__name__}: {text.splitlines()[0]}"


def stop_sending() -> None:
    """Ends wandb's own process at once: nothing more reaches the server, and the run counts as crashed there."""
    if (helper := _helper()) is not None:
        helper.kill()


def _helper() -> Any:
    """wandb's own process; None where there is none. There is no public way to it."""
    try:
        return load_wandb().sdk.wandb_setup._singleton._connection._proc._process
    except AttributeError:
        return None


def _teardown() -> None:
    """Ends wandb's own process, by force where it does not end; the next session reads its settings afresh."""
    helper = _helper()
    if _within(HELPER_S, load_wandb().teardown) and helper is not None:
        helper.kill()


def _within(seconds: float, act: Callable[[], object]) -> str:
    """Does what may hang, and what may end this process with the helper's status; returns what went wrong."""
    problems = ["its end took too long"]

    def guarded() -> None:
        try:
            act()
            problems[:] = [""]
        except BaseException as error:  # logging alone has failed, whatever it was
            problems[:] = [describe(error)]

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(seconds)
    return problems[0]
