"""Runs independent tasks on a cluster of dask.distributed: on many machines, some of which may die.

What a worker needs is this package in the same versions, and the folders or stores under the same names as here.
The scheduler runs what clients send it, pickles over TCP: see docs/cluster.md for who may reach it.
"""

import contextlib
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from hazegen import fingerprints
from hazegen.engine import POLL_S, Report, name_of
from hazegen.errors import RefusedError, StoreError, UsageError
from hazegen.worker import portable

if TYPE_CHECKING:
    from distributed import Client, Future

Task = TypeVar("Task")
Result = TypeVar("Result")

ADDRESS = re.compile(r"(?:(?P<scheme>tcp|tls)://)?(?P<host>\[[^\[\]]+\]|[^\[\]/:@\s]+):(?P<port>\d{1,5})")
CONNECT_S = 10.0
CLOSE_S = 1.0
# So long may workers take to say their versions; one that hangs says nothing.
VERSIONS_S = 60.0
# The number of workers is asked for so often: they come and go.
LOOK_S = 5.0
# So long may a cluster have no worker at all; one that waits in a queue takes its time to start.
PATIENCE_S = 1800.0
# Tasks at the scheduler: two for each thread keep all busy, and a cluster that grows with its load sees some.
AHEAD, LEAST = 2, 16
# A store that failed may answer again; other errors of a task come again.
RETRIES = 3

_log = logging.getLogger(__name__)


def run(
    function: Callable[[Task, Report], Result], tasks: Iterable[Task], address: str, report: Report
) -> Iterator[Result]:
    """Yields function(task, report) for every task, in the order in which they end.

    Tasks of a worker that died go to another one. An error of a task, or an interrupt, ends the run; workers finish
    the tasks that they have begun, and what these write is what the next run would write.

    Args:
        function: Of a module, so that another machine finds it; the same holds for what it takes and returns.
        address: Of the scheduler, as tcp://HOST:PORT, tls://HOST:PORT or HOST:PORT.
        report: Receives how much was done, when a task ends.

    Raises:
        UsageError: The extra is not installed, the address is none, or TLS lacks a certificate.
        StoreError: The scheduler cannot be reached, is lost, or has had no worker for half an hour.
        RefusedError: A worker has other versions, or one task killed several workers.
    """
    check(address)
    from distributed.comm import CommClosedError

    with _client(address) as client, _quiet():
        _check_workers(client)
        sent = _Sent(client)
        waiting = iter(tasks)
        try:
            while True:
                for task in islice(waiting, max(0, sent.room())):
                    sent.send(function, task)
                if not sent.tasks:
                    return
                for future in sent.ended():
                    if (answer := _answer(sent, function, future)) is not None:
                        result, done = answer
                        report(done)
                        yield result
        except (CancelledError, OSError) as error:
            if isinstance(error, CancelledError | CommClosedError) or client.status != "running":
                raise _lost(address) from error
            raise


def check(address: str) -> None:
    """Raises UsageError unless dask is installed and the address is one."""
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise UsageError(
            "--scheduler needs dask, which is not installed. Expected the extra 'cluster', received an installation "
            "without it. Run pip install 'hazegen[cluster]'."
        ) from None
    if ADDRESS.fullmatch(address) is None:
        raise UsageError(
            f"The scheduler's address is none. Expected tcp://HOST:PORT, tls://HOST:PORT or HOST:PORT, received "
            f"'{address}'. Change --scheduler."
        )


@contextlib.contextmanager
def _client(address: str) -> Iterator["Client"]:
    """A connection to the scheduler, closed in any case: that takes back what was not begun yet."""
    from distributed import Client

    try:
        _check_greeting(address)
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except TypeError as error:  # dask's word for a missing certificate
        raise UsageError(
            f"No TLS certificate for the scheduler at '{address}': {error}. Expected one in dask's configuration, "
            "received none. Set DASK_DISTRIBUTED__COMM__TLS__CA_FILE and the others that docs/cluster.md names."
        ) from error
    except OSError as error:
        raise StoreError(
            f"The scheduler at '{address}' cannot be reached: {error}. Expected a dask scheduler, received no answer "
            "of one. Start it (dask scheduler), or change --scheduler."
        ) from error
    try:
        yield client
    finally:
        with contextlib.suppress(TimeoutError, OSError):
            client.close(timeout=CLOSE_S)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps dask from printing the traceback of what becomes an error of ours."""
    log = logging.getLogger("distributed.client")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _check_greeting(address: str) -> None:
    """Raises OSError where nobody speaks first, as dask's scheduler does.

    Its own client would wait for ever for the greeting of another kind of server, such as its dashboard's.
    """
    import dask

    found = ADDRESS.fullmatch(address)
    assert found
    scheme = found["scheme"] or dask.config.get("distributed.comm.default-scheme", "tcp")
    if scheme != "tcp":  # with TLS the client speaks first
        return
    place = found["host"].strip("[]"), int(found["port"])
    # Where nobody listens yet, dask's client goes on trying for a while.
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(place, CONNECT_S) as connection:
        if not connection.recv(1):
            raise ConnectionError("the connection was closed")


def _check_workers(client: "Client") -> None:
    """Refuses workers with other versions of what decides the bytes than this process has."""
    from distributed.comm import CommClosedError

    ours, told = fingerprints.versions(), _versions(client)
    if not told:
        _log.warning("The scheduler has no workers yet; waiting for the first.")
    for worker, theirs in sorted(told.items()):
        if isinstance(theirs, CommClosedError):  # it has left meanwhile, as workers may
            continue
        if isinstance(theirs, Exception):
            raise RefusedError(
                f"Worker '{worker}' cannot run hazegen: {theirs}. Expected the package in the same versions as here, "
                "received an error. Start all workers from one environment or image."
            )
        if other := sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)):
            raise RefusedError(
                f"Worker '{worker}' has other versions. Expected "
                f"{', '.join(f'{name} {ours.get(name)}' for name in other)}, received "
                f"{', '.join(f'{name} {theirs.get(name)}' for name in other)}. Start all workers from one environment "
                "or image."
            )


def _versions(client: "Client") -> dict[str, Any]:
    """What each worker says of its versions, or the error that it says instead."""
    told: SimpleQueue[dict[str, Any] | Exception] = SimpleQueue()

    def ask() -> None:
        try:
            told.put(client.run(fingerprints.versions, on_error="return"))
        except Exception as error:
            told.put(error)

    # A thread of its own: dask waits for ever for a worker that hangs.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = told.get(timeout=VERSIONS_S)
    except Empty:
        raise StoreError(
            f"A worker of the cluster does not answer. Expected the versions of each in {VERSIONS_S:.0f} s, received "
            "none. Look for workers that hang (dask's dashboard) and restart them; the same command goes on."
        ) from None
    if isinstance(answer, Exception):
        raise answer
    return answer


@dataclass
class _Sent:
    """The tasks that are at the scheduler."""

    client: "Client"
    ends: "SimpleQueue[Future]" = field(default_factory=SimpleQueue)
    tasks: dict["Future", Any] = field(default_factory=dict)
    tries: dict["Future", int] = field(default_factory=dict)
    looked_at: float = -LOOK_S
    threads: int = 0
    seen_at: float = field(default_factory=time.monotonic)

    def send(self, function: Callable[..., Any], task: Any, tries: int = 1) -> None:
        future = self.client.submit(counted, function, task, pure=False)
        self.tasks[future], self.tries[future] = task, tries
        future.add_done_callback(self.ends.put)

    def take(self, future: "Future") -> tuple[Any, int]:
        return self.tasks.pop(future), self.tries.pop(future)

    def ended(self) -> Iterator["Future"]:
        """The next that has ended; none after a short wait, so that an interrupt is seen at once."""
        with contextlib.suppress(Empty):
            yield self.ends.get(timeout=POLL_S)

    def room(self) -> int:
        """How many more tasks the scheduler should be given."""
        if time.monotonic() - self.looked_at > LOOK_S:
            self._look()
        return max(LEAST, AHEAD * self.threads) - len(self.tasks)

    def _look(self) -> None:
        self.threads, self.looked_at = sum(self.client.nthreads().values()), time.monotonic()
        if self.threads:
            self.seen_at = self.looked_at
        elif self.looked_at - self.seen_at > PATIENCE_S:
            raise StoreError(
                f"The cluster has had no worker for {PATIENCE_S / 60:.0f} minutes. Expected at least one, received "
                "none. Start workers (dask worker ADDRESS); the same command goes on with what is left."
            )


def counted(function: Callable[[Task, Report], Result], task: Task) -> tuple[Result, int]:
    """function(task, report) on a worker: its result, and how much it reported."""
    done: list[int] = []
    try:
        return function(task, done.append), sum(done)
    except Exception as error:
        raise portable(error) from None


def _answer(sent: _Sent, function: Callable[..., Any], future: "Future") -> tuple[Any, int] | None:
    """Result and progress of a task that ended; none where it was sent once more."""
    from distributed import KilledWorker

    task, tries = sent.take(future)
    if future.status != "error":
        result: tuple[Any, int] = future.result()
        return result
    error = future.exception()
    if isinstance(error, StoreError) and tries <= RETRIES:
        sent.send(function, task, tries + 1)
        return None
    if isinstance(error, KilledWorker):
        _give_up(task, error)
    raise error


def _give_up(task: object, error: Any) -> NoReturn:
    raise RefusedError(
        f"{error.allowed_failures + 1} workers died at work on '{name_of(task)}', the last one at "
        f"'{error.last_worker.address}'. Expected a result, received none. If memory ran out, start workers with fewer "
        "threads; the same command goes on with what is left."
    ) from error


def _lost(address: str) -> StoreError:
    return StoreError(
        f"The scheduler at '{address}' was lost. Expected it to last as long as the run, received no more of it. Start "
        "it and its workers again; the same command goes on with what is left."
    )
