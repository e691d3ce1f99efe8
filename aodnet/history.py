"""history.csv: a row of figures for each epoch of a training run, without the library that trains."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from hazegen import stores
from hazegen.errors import RefusedError

HISTORY, BEST = "history.csv", "best.weights.h5"
Logs = dict[str, float]
PANELS = {
    "loss": ("loss", "val_loss"),
    "validation PSNR [dB], protocol rgb": ("val_psnr_rgb",),
    "validation SSIM, protocol rgb": ("val_ssim_rgb",),
    "learning rate": ("learning_rate",),
    "share of the time spent waiting for data": ("data_wait",),
    "images a second": ("images_per_s",),
}
_COLUMNS = ("epoch", *(name for names in PANELS.values() for name in names))


def read_history(path: Path) -> list[Logs]:
    """The rows of history.csv, epochs from 1, as float32 has them; none where the file is not there.

    Raises:
        RefusedError: It is no table of numbers with the columns that are asked for.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            found = list(csv.DictReader(file, strict=True))
        rows = [{name: float(np.float32(float(value))) for name, value in row.items()} for row in found]
    except (ValueError, TypeError, csv.Error) as error:
        raise no_history(path, "a table of numbers", f"another file ({error})") from None
    if any(math.isnan(row.get(name, math.nan)) for row in rows for name in _COLUMNS):
        raise no_history(path, f"numbers for {', '.join(_COLUMNS)}", "a row without")
    if any(not 1.0 <= row["epoch"] < 1e9 for row in rows):
        raise no_history(path, "epochs from 1", "another")
    return rows


def best_of(rows: Iterable[Logs]) -> Logs:
    """The row of the highest validation PSNR; empty without rows."""
    return max(rows, key=lambda row: row["val_psnr_rgb"], default={})


def no_history(path: Path, expected: str, received: str) -> RefusedError:
    """Of a run that cannot be gone on with for its history."""
    return RefusedError(
        f"The run's '{path}' cannot be gone on with. Expected {expected}, received {received}. Put it back from a "
        "copy, or start a new run."
    )


def write_history(path: Path, rows: Sequence[Logs]) -> None:
    """Writes history.csv, its columns in the order in which a reader looks for them."""
    text = io.StringIO(newline="")
    columns = [name for name in _COLUMNS if name in rows[0]]
    writer = csv.DictWriter(text, columns + [name for name in rows[0] if name not in columns])
    writer.writeheader()
    writer.writerows({name: _digits(value) for name, value in row.items()} for row in rows)
    stores.write_text(path, [text.getvalue()])


def _digits(value: float) -> str:
    """As few digits as name this float32 and no other."""
    return f"{value:.0f}" if value.is_integer() else str(np.float32(value))
