"""The command `aodnet demo`: a page on which haze is made and removed."""

import argparse
import importlib.util
import ipaddress
import itertools
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aodnet.quiet import load_tensorflow
from hazegen import config, stores
from hazegen import tracking as sessions
from hazegen.errors import UsageError
from hazegen.verbs import new_parser

if TYPE_CHECKING:
    from aodnet.demo_setup import Log
    from aodnet.demo_uploads import Rgb

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# hazegen.images decodes no larger ones.
MOST_MEGAPIXELS = 80.0
MOST_UPLOAD_MB = 1000.0
EXAMPLES = """  aodnet demo
  aodnet demo --model runs/first/best.weights.h5
  aodnet demo --port 8000 --max-upload-mb 50 --max-megapixels 24
  aodnet demo --wandb offline --out runs/demo
  ssh -L 7860:127.0.0.1:7860 server    then on the server: aodnet demo"""


def run_demo(argv: list[str]) -> int:
    """aodnet demo."""
    from aodnet.tracking import TrackingOptions

    parser = new_parser(
        "aodnet demo",
        "Serves a page on this computer on which haze is removed from pictures, and made in them (needs the extra "
        "'demo').",
        EXAMPLES,
    )
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="MODEL",
        help="a .weights.h5 file, offered before those that come with the package; can be given several times",
    )
    parser.add_argument("--host", default=LOOPBACK[0], help="address to listen at [default: 127.0.0.1: this computer]")
    parser.add_argument("--port", type=int, default=7860, help="port to listen at; 0: any free one [default: 7860]")
    parser.add_argument("--max-upload-mb", type=float, default=50.0, metavar="MB", help="of a file [default: 50]")
    parser.add_argument(
        "--max-megapixels", type=float, default=40.0, metavar="MP", help="of a picture or depth map [default: 40]"
    )
    parser.add_argument("--out", default="runs/demo", help="folder for W&B's files, if any [default: runs/demo]")
    config.add_options(parser, TrackingOptions, "Weights & Biases (visitors choose what is logged)")
    given = parser.parse_args(argv)
    _check(given)
    options = config.build(TrackingOptions, config.given(given, TrackingOptions))
    models = _models(given.model)
    choice = sessions.choose_mode(options.wandb or ("auto" if config.given(given, TrackingOptions) else "off"))
    load_tensorflow()
    with ExitStack() as stack:
        log = None
        if choice.mode != "off":
            out = stores.on_disk(stores.place(given.out), "--out").absolute()
            facts = options.facts("demo", "demo", {"models": list(models)})
            log = stack.enter_context(_logging(sessions.open_session(out, choice, print, **facts)))
        _serve(given, models, log, stack)
    return 0


def _check(given: argparse.Namespace) -> None:
    """Refuses what is wrong with the options, before TensorFlow is loaded.

    Raises:
        UsageError: gradio is missing, an address too, or a number is out of range.
    """
    if importlib.util.find_spec("gradio") is None:
        raise UsageError(
            "The demo needs a package that is not installed. Expected gradio, received none. Run pip install "
            "'hazegen[demo]'."
        )
    ranges = {"max_upload_mb": MOST_UPLOAD_MB, "max_megapixels": MOST_MEGAPIXELS}
    for name, most in ranges.items():
        if not 0.0 < (value := getattr(given, name)) <= most:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{option} is out of range. Expected a number in (0, {most:g}], received {value}. Correct it."
            )
    if not given.host:
        raise UsageError("--host is empty. Expected an address, received ''. Pass 0.0.0.0 for all of this computer's.")
    if not 0 <= given.port <= 65535:
        raise UsageError(f"--port is out of range. Expected 0 to 65535, received {given.port}. Choose another.")


def _models(asked: list[str]) -> dict[str, str]:
    """The models of the page by the names on it: those asked for first, then those of the package that are not among
    them.

    Raises:
        UsageError: The same model twice.
        RefusedError: There is no such model.
    """
    from aodnet import weight_names

    files = {text: weight_names.find_weights(text).resolve() for text in asked}
    if len(set(files.values())) < len(asked):
        raise UsageError(
            f"A model is given twice. Expected different ones, received {', '.join(asked)}. Leave one --model out."
        )
    first = [name for name in (weight_names.DEFAULT, *weight_names.shipped()) if name not in asked]
    known = dict.fromkeys([*asked, *first])
    names = [_short(text) for text in known]
    return {text if names.count(name) > 1 else name: text for text, name in zip(known, names, strict=True)}


def _short(text: str) -> str:
    """Folder and stem of a weight file; a shipped name itself."""
    from aodnet.weight_names import SUFFIX

    path = Path(text)
    return f"{path.resolve().parent.name}/{path.name.removesuffix(SUFFIX)}" if path.is_file() else text


def _serve(given: argparse.Namespace, models: dict[str, str], log: "Log | None", stack: ExitStack) -> None:
    """Serves the page until the process is interrupted."""
    from aodnet import demo_dehaze, demo_page
    from aodnet.demo_setup import Setup

    port = _free_port(given.host, given.port)
    print("preparing the models and the examples...", file=sys.stderr, flush=True)
    networks = demo_dehaze.load_networks(models)
    workplace = stack.enter_context(working_folder())
    pixels, upload = int(given.max_megapixels * 1e6), int(given.max_upload_mb * 1e6)
    setup = Setup(networks, workplace, pixels, upload, log)
    name, hosts = _names(given.host)
    blocks = demo_page.start(setup, name, port, hosts)
    stack.callback(blocks.close, verbose=False)
    if not is_loopback(given.host):
        print(
            f"warning: whoever reaches '{given.host}' can use this page, without a password. --host 127.0.0.1 keeps "
            "it to this computer.",
            file=sys.stderr,
        )
    print(f"The demo is at http://{name}:{port} until Ctrl-C ends it.", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print("The demo has ended; what was uploaded is deleted.", flush=True)


def _names(host: str) -> tuple[str, tuple[str, ...]]:
    """A host as the address of a page has it, and the names that a browser may know the server by (Gate)."""
    name = f"[{host}]" if ":" in host else host
    return name, (*LOOPBACK, host.lower()) if is_loopback(host) else ()


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this computer alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _free_port(host: str, port: int) -> int:
    """`port`, or any free one for 0.

    Raises:
        UsageError: It is taken, or there is no such host.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise UsageError(
            f"The demo cannot listen at {host}:{port}. Expected an address of this computer and a free port, "
            f"received: {error.strerror or error}. Pass --port 0 for any free port."
        ) from None


@contextmanager
def working_folder() -> Iterator[Path]:
    """A new folder with an empty one in it that is the working folder for the time of the block; then it is removed.

    What a function of the page returns from the working folder would be served.
    """
    with tempfile.TemporaryDirectory(prefix="aodnet-demo-") as folder:
        workplace = Path(folder).resolve()
        for name in ("empty", "cache", "scratch"):
            (workplace / name).mkdir()
        before = os.environ.get("GRADIO_TEMP_DIR")
        with chdir(workplace / "empty"):
            try:
                yield workplace
            finally:
                os.environ.pop("GRADIO_TEMP_DIR", None)
                if before is not None:
                    os.environ["GRADIO_TEMP_DIR"] = before


@contextmanager
def _logging(session: sessions.Session | None) -> "Iterator[Log | None]":
    """What logs pictures and numbers to an open W&B run, and ends the run with the block."""
    if session is None:
        yield None
        return
    wandb, numbers, lock = sessions.load_wandb(), itertools.count(1), threading.Lock()

    def log(pictures: "dict[str, Rgb]", values: dict[str, float]) -> str:
        with lock:
            session.run.log({name: wandb.Image(pixels) for name, pixels in pictures.items()} | values)
            return f"Logged at W&B as result {next(numbers)}{'' if session.online else ', kept for wandb sync'}."

    try:
        yield log
    finally:
        sessions.close_session(session, 0, print)
