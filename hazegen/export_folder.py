"""The folder of an export: claimed by its plan before any work, marked as finished after all of it."""

import json
import shutil
from pathlib import Path
from typing import Any

from hazegen import locks, stores
from hazegen.errors import RefusedError, VerifyError
from hazegen.export_files import WORK

# Written last: the mark of a finished export. Until then its plan lies in WORK.
MARK, PLAN = "export.json", "plan.json"
# What a run makes in its folder before its plan.
OURS = (WORK, locks.NAME)


def look(out: Path, header: dict[str, Any]) -> bool:
    """Whether a folder holds the same export finished; it may be new, empty, or hold it unfinished.

    Raises:
        RefusedError: The folder holds something else.
    """
    if (out / MARK).is_file():
        _check_same(out, read_json(out / MARK), header)
        return True
    plan = _planned(out)
    if plan is not None:
        _check_same(out, plan, header)
        return False
    # What a run that was killed before it wrote its plan has left means nothing.
    names = (path.name for path in out.iterdir()) if out.is_dir() else iter(())
    other = next((name for name in names if name not in OURS), None)
    if other or (out.exists() and not out.is_dir()):
        raise RefusedError(
            f"'{out}' cannot take the export. Expected a new or empty folder, or the same export unfinished, received "
            f"{f'a folder with {other!r} in it' if other else 'a file'}. Choose another --out."
        )
    return False


def claim(out: Path, header: dict[str, Any]) -> None:
    """Writes the plan, where there is none; results without a plan belong to nothing."""
    if _planned(out) is None:
        shutil.rmtree(out / WORK, ignore_errors=True)
        (out / WORK).mkdir()
        stores.write_text(out / WORK / PLAN, [json.dumps(header, sort_keys=True)])
    stores.sweep(out / WORK)


def check_finished(out: Path) -> dict[str, Any]:
    """The mark of a finished export, after a look whether its files are still there.

    Raises:
        VerifyError: Some are not.
    """
    mark = read_json(out / MARK)
    try:
        told = [(f"{pattern}", int(count), int(size)) for pattern, (count, size) in mark["files"].items()]
        dict(mark["splits"]), int(mark["parts"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(out / MARK, error) from None
    for pattern, count, size in told:
        sizes = [path.stat().st_size for path in out.glob(pattern)]
        if (len(sizes), sum(sizes)) != (count, size):
            raise VerifyError(
                f"'{out}' is not what its {MARK} says. Expected {count} files of {size} bytes as '{pattern}', received "
                f"{len(sizes)} of {sum(sizes)} bytes. Delete the folder and export again."
            )
    shutil.rmtree(out / WORK, ignore_errors=True)
    return mark


def _planned(out: Path) -> dict[str, Any] | None:
    """The plan in a folder, where there is one that can be read."""
    try:
        return read_json(out / WORK / PLAN)
    except (FileNotFoundError, NotADirectoryError, RefusedError):
        return None


def _check_same(out: Path, before: dict[str, Any], header: dict[str, Any]) -> None:
    different = next((name for name in sorted(header) if before.get(name, "nothing") != header[name]), None)
    if different:
        raise RefusedError(
            f"'{out}' holds another export. Expected the same dataset and options, received {different}: "
            f"{before.get(different, 'nothing')} before, {header[different]} now. Choose another --out, or delete the "
            "folder."
        )


def read_json(path: Path) -> dict[str, Any]:
    """A file of an export, which holds a mapping.

    Raises:
        RefusedError: It cannot be read.
    """
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError(f"{type(content).__name__}")
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, error) from None
    return content


def _unreadable(path: Path, error: Exception) -> RefusedError:
    return RefusedError(
        f"'{path}' cannot be read. Expected what hazegen export wrote, received: {type(error).__name__}: {error}. "
        "Choose another --out, or delete the folder."
    )
