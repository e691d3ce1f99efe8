"""Ctrl-C while TensorFlow computes: Python hears of it when the step has ended, the user at once."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def heard_at_once() -> Iterator[None]:
    """The first Ctrl-C or SIGTERM is answered while the step still runs, and the second one ends the process.

    Python raises KeyboardInterrupt between two of its own operations, and a step, a compilation or a picture that is
    validated is one operation. What Python's C handler writes to a socket is read by a thread meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)  # as signal.set_wakeup_fd wants it
    before = signal.set_wakeup_fd(theirs.fileno())
    listener = threading.Thread(target=_listen, args=(ours,), daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        theirs.close()
        listener.join()
        ours.close()


def _listen(ours: socket.socket) -> None:
    count = 0
    while number := ours.recv(1):
        if number[0] not in _SIGNALS:
            continue
        count += 1
        if count > 1:
            os._exit(128 + number[0])
        print("ending after this step; once more ends it at once.", file=sys.stderr, flush=True)
