"""Commands and paths as the reports of a run tell them: reports are shown to others, who have other machines."""

import re
import shlex


def command(*words: str) -> str:
    """What was typed, each path by its name alone."""
    return shlex.join(without_place(word) for word in words)


def without_place(word: str) -> str:
    """A path, or an option with one, without the folders above it: '--out=/a/b' is '--out=b'."""
    return re.sub(r"(^|=)[^=]*/(?=[^/])", r"\1", word.rstrip("/"))
