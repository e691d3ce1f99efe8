"""The errors that a user can cause, one class for each exit code (a disk that fails is an OSError: 4).

Every message says what is wrong, what was expected, what was received and what to do.
"""


class HazegenError(Exception):
    """Base of the errors whose message is written for the user: no traceback is shown for them."""

    exit_code = 1


class UsageError(HazegenError, ValueError):
    """An option, a recipe or a config is out of range or contradicts another."""

    exit_code = 2


class RefusedError(HazegenError, ValueError):
    """An input cannot be used, or a threshold was passed."""

    exit_code = 3


class VerifyError(HazegenError):
    """A dataset or a file is not what its manifest says it is."""

    exit_code = 5


class StoreError(HazegenError):
    """A network, a store or a server failed; the same command may work later."""

    exit_code = 4
