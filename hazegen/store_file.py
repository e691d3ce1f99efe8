"""Files of a store, and how its failures are told: as StoreErrors, without secrets."""

import errno
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from hazegen.errors import StoreError

# Answers of a store that are no failures.
ANSWERS = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)
ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@contextmanager
def failures(address: object) -> Iterator[None]:
    """Turns what a store's library raises into StoreError; a missing object stays a FileNotFoundError."""
    try:
        yield
    except FileNotFoundError as error:  # theirs may not say what: "The specified bucket does not exist"
        raise FileNotFoundError(errno.ENOENT, without_secrets(str(error)), str(address)) from error
    except (*ANSWERS, StoreError):
        raise
    except Exception as error:  # their libraries raise of many kinds, TypeErrors for answers that are cut off too
        raise StoreError(
            f"'{address}' cannot be reached. Expected an answer of the store, received {type(error).__name__}: "
            f"{without_secrets(str(error))}. Check network, address and rights (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, "
            "... in the environment); the same command goes on later."
        ) from error


def without_secrets(text: str) -> str:
    """`text` without names and passwords in addresses, and without the credentials of the environment."""
    # Greedy: a secret key may hold a '/' or an '@' that nobody has escaped.
    text = re.sub(r"(?<=://)\S*@", "", text)
    for name in ENDPOINTS:
        # Libraries that take such an address apart tell of single pieces.
        user, mark, _ = os.environ.get(name, "").partition("://")[2].rpartition("@")
        for piece in re.split("[:/@]", user) if mark else ():
            if len(piece) > 2:
                text = text.replace(piece, f"({name})")
    for name in SECRETS:
        if len(os.environ.get(name, "")) > 2:  # a shorter one keeps no secret, and is part of many words
            text = text.replace(os.environ[name], f"({name})")
    return text[:500]


class Guarded(io.RawIOBase):
    """A file of a store whose failures are StoreErrors."""

    def __init__(self, file: Any, address: object) -> None:
        self._file, self._address = file, address

    def readable(self) -> bool:
        return bool(self._file.readable())

    def writable(self) -> bool:
        return bool(self._file.writable())

    def seekable(self) -> bool:
        return self.readable()

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        with failures(self._address):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        with failures(self._address):
            return int(self._file.write(data))

    def close(self) -> None:
        """Of a file that was written: completes it."""
        if self.closed:
            return
        try:
            with failures(self._address):
                self._file.close()
        except KeyboardInterrupt:
            self.leave()
            raise
        except BaseException:
            self.discard()
            raise
        super().close()

    def __del__(self) -> None:
        """A file that nobody closed is given up: only who wrote all of it knows that it is whole."""
        self.discard()

    def discard(self) -> None:
        """Takes back what was uploaded; the object's name stays as it was."""
        if self.closed:
            return
        self.leave()
        if hasattr(self._file, "discard"):
            with suppress(Exception):  # the store may be what failed: the upload stays, without a name
                self._file.discard()

    def leave(self) -> None:
        """Ends without a word to the store, which may be slow: what was uploaded stays there, without a name."""
        super().close()
        # Or the collector of garbage would close the file, and so publish a part of it.
        self._file.closed = True
