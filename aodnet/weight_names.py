"""Weights that come with the package, by name: without the libraries that read them."""

import difflib
from pathlib import Path

from hazegen.errors import RefusedError

PRETRAINED = Path(__file__).parent / "pretrained"
DEFAULT = "rooms"
SUFFIX = ".weights.h5"


def find_weights(text: str) -> Path:
    """The file that `text` means: a path, or the name of weights that come with the package.

    Raises:
        RefusedError: Neither; the message lists those of the package.
    """
    names = shipped()
    if Path(text).is_file():
        return Path(text)
    if text in names:
        return PRETRAINED / f"{text}{SUFFIX}"
    near = difflib.get_close_matches(text, names, 1)
    raise RefusedError(
        f"There are no weights '{text}'. Expected a {SUFFIX} file, or one of {', '.join(names) or 'none'} that come "
        f"with the package, received {'a folder' if Path(text).is_dir() else 'neither'}. "
        + (f"Did you mean '{near[0]}'?" if near else "Check the name, or train some with aodnet fit.")
    )


def shipped() -> list[str]:
    """Names of the weights that come with the package."""
    return sorted(path.name.removesuffix(SUFFIX) for path in PRETRAINED.glob(f"*{SUFFIX}"))
