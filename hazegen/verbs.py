"""What both command lines share: parsers, dispatch to a verb, errors into exit statuses."""

import argparse
import difflib
import io
import os
import re
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from hazegen.errors import HazegenError

Verb = Callable[[list[str]], int]
# The exit status of a program that wrote to a pipe which nobody reads any more: 128 + SIGPIPE.
HUNG_UP = 141


class _Parser(argparse.ArgumentParser):
    """Names the nearest option in place of the whole usage."""

    def error(self, message: str) -> NoReturn:
        unknown = re.match(r"unrecognized arguments: (--[^\s=]+)", message)
        near = difflib.get_close_matches(unknown[1], self._option_string_actions, 1) if unknown else []
        hint = f" Did you mean '{near[0]}'?" if near else ""
        self.exit(2, f"error: {message}.{hint} '{self.prog} --help' lists the options.\n")


def new_parser(prog: str, description: str, examples: str) -> argparse.ArgumentParser:
    """A parser whose help ends with examples, and that takes no abbreviated options."""
    return _Parser(
        prog=prog,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def run_verb(prog: str, description: str, verbs: dict[str, tuple[str, Verb]], argv: list[str]) -> int:
    """Dispatches to a verb; turns the errors that a user can cause into a message and an exit status."""
    try:
        try:
            with _terminated_like_interrupted():
                return _run_verb(prog, description, verbs, argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has enough of it, as `head` has. What is still in Python's hands goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return HUNG_UP


class Terminated(KeyboardInterrupt):
    """SIGTERM, as batch systems send it: ends a run as Ctrl-C does, with the exit status 128 + SIGTERM."""


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    def end(*_: object) -> NoReturn:
        raise Terminated

    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run_verb(prog: str, description: str, verbs: dict[str, tuple[str, Verb]], argv: list[str]) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    lines = [f"  {name:<16}{summary}" for name, (summary, _) in verbs.items()]
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog="commands:\n" + "\n".join(lines) + f"\n\n'{prog} COMMAND --help' shows options and examples.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="one of those below")
    chosen = parser.parse_args(argv[:1])
    if chosen.version:
        from importlib.metadata import version

        print(f"{prog} {version('hazegen')}")
        return 0
    if chosen.command is None:
        parser.print_help(sys.stderr)
        return 2
    if chosen.command not in verbs:
        near = difflib.get_close_matches(chosen.command, verbs, 1)
        hint = f"Did you mean '{near[0]}'?" if near else f"'{prog} --help' says what each does."
        return _fail(
            f"There is no such command. Expected one of {', '.join(verbs)}, received '{chosen.command}'. {hint}", 2
        )
    try:
        return verbs[chosen.command][1](argv[1:])
    except HazegenError as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            raise
        return _fail(f"{error}. Expected to read and write there. Check disk and rights; what is finished stays.", 4)
    except KeyboardInterrupt as interrupt:
        how = " with --resume" if chosen.command == "fit" else ""
        far = f"; {interrupt}" if interrupt.args else ""
        ended = isinstance(interrupt, Terminated)
        return _fail(
            f"{'terminated' if ended else 'interrupted'}{far}; the same command goes on{how}.", 143 if ended else 130
        )


def _nobody_reads() -> bool:
    """Whether the other end of the output is closed; another connection may have broken too."""
    poll = select.poll()
    try:
        poll.register(sys.stdout, 0)
    except (OSError, ValueError):  # not a file of the system
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _fail(message: str, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status
