"""One process of hazegen.pool: does the tasks that come through a socket, one at a time.

Started as `python -m hazegen.worker FD`. It ends, whatever it is doing, as soon as the socket's other end is
closed: also when the process that held it was killed.
"""

import os
import pickle
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from queue import SimpleQueue

from hazegen.errors import HazegenError

# Progress is gathered for so long: ten messages a second, however small the things that are counted.
GATHER_S = 0.1


def main(connection: Connection) -> None:
    """Does tasks until the other side hangs up; that ends the process."""
    tasks: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_receive, args=(connection, tasks), daemon=True).start()
    while True:
        _send(connection, _answer(tasks.get(), Gathered(connection)))


def _receive(connection: Connection, tasks: "SimpleQueue[bytes]") -> None:
    try:
        while True:
            tasks.put(connection.recv_bytes())
    except (EOFError, OSError):
        # Nobody waits for the task under way: no clean-up, its files are temporary ones.
        os._exit(0)


def _send(connection: Connection, message: bytes) -> None:
    try:
        connection.send_bytes(message)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)


class Gathered:
    """The progress of one task: counts it, and sends what has come together every now and then."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.count, self.sent_at = connection, 0, time.monotonic()

    def report(self, number: int) -> None:
        self.count += number
        if time.monotonic() - self.sent_at >= GATHER_S:
            self.send()

    def send(self) -> None:
        if self.count:
            _send(self.connection, pickle.dumps(("done", self.count)))
        self.count, self.sent_at = 0, time.monotonic()


def _answer(message: bytes, gathered: Gathered) -> bytes:
    """Result or error of a task, to be sent; all its progress is sent before."""
    try:
        function, task = pickle.loads(message)
        answer = pickle.dumps(("result", function(task, gathered.report)))
    except Exception as error:
        return pickle.dumps(("error", portable(error)))
    gathered.send()
    return answer


def portable(error: Exception) -> Exception:
    """An error for another process: itself where it survives pickling, a bug with its traceback here as a note.

    An error of hazegen that does not survive becomes its nearest class in hazegen.errors, with the same message;
    any other a RuntimeError with its text.
    """
    known = [kind for kind in type(error).__mro__ if kind.__module__ == HazegenError.__module__]
    trace = "In a worker process:\n" + "".join(traceback.format_exception(error))
    if not known:  # those of hazegen say all in their message
        error.add_note(trace)
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:  # whatever a foreign class does while it is pickled
        pass
    return known[0](str(error)) if known else RuntimeError(trace)


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
