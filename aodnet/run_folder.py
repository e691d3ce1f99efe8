"""The Keras callback that makes the run folder unasked."""

import csv
import io
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aodnet import weights
from hazegen import color, images, stores
from hazegen.errors import RefusedError

HISTORY, BEST = "history.csv", "best.weights.h5"
Logs = dict[str, float]
_PANELS = (("loss", "val_loss"), ("val_psnr_rgb",), ("val_ssim_rgb",), ("learning_rate",))
_COLUMNS = ("epoch", *(name for names in _PANELS for name in names))


class RunFolder(keras.callbacks.Callback):
    """Writes history.csv, curves.png, a grid of validation pictures, and best and last weights each epoch.

    Args:
        folder: Of the run.
        first_epoch: Rows of history.csv from this epoch on are of an earlier, longer run and are dropped.

    Raises:
        RefusedError: history.csv cannot be read, or has no row of an epoch before.

    Attributes:
        examples: (hazy, clean) of a few validation images, shown each epoch.
    """

    def __init__(self, folder: Path, first_epoch: int) -> None:
        super().__init__()
        self.folder = folder
        self.examples: list[tuple[Any, Any]] = []
        self.rows = read_history(folder / HISTORY)
        self.rewind(first_epoch)
        if [row["epoch"] for row in self.rows] != list(range(first_epoch)):
            raise _no_history(folder / HISTORY, f"epochs 1 to {first_epoch}", f"{len(self.rows)} of them")

    def rewind(self, epoch: int) -> None:
        """Forgets the rows from `epoch` on, which are gone through again."""
        self.rows = [row for row in self.rows if row["epoch"] < epoch]
        self.best = max((row["val_psnr_rgb"] for row in self.rows), default=float("-inf"))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        assert logs is not None
        self.rows.append({"epoch": float(epoch), **logs})
        _write_history(self.folder / HISTORY, self.rows)
        plot_curves(self.rows, self.folder / "curves.png")
        grid = example_grid(self.model, self.examples)
        (self.folder / "validation").mkdir(exist_ok=True)
        with stores.whole_file(self.folder / "validation" / f"epoch-{epoch + 1:04d}.png") as file:
            file.write(images.encode(grid, ".png"))
        weights.save(self.model, self.folder / "last.weights.h5")
        if logs["val_psnr_rgb"] > self.best:
            self.best = logs["val_psnr_rgb"]
            weights.save(self.model, self.folder / BEST)


def read_history(path: Path) -> list[Logs]:
    """The rows of history.csv; none where the file is not there.

    Raises:
        RefusedError: It is no table of numbers with the columns that are asked for.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file, strict=True)]
    except (ValueError, TypeError, csv.Error) as error:
        raise _no_history(path, "a table of numbers", f"another file ({error})") from None
    if any(math.isnan(row.get(name, math.nan)) for row in rows for name in _COLUMNS):
        raise _no_history(path, f"numbers for {', '.join(_COLUMNS)}", "a row without")
    return rows


def _no_history(path: Path, expected: str, received: str) -> RefusedError:
    return RefusedError(
        f"The run's '{path}' cannot be gone on with. Expected {expected}, received {received}. Put it back from a "
        "copy, or start a new run."
    )


def _write_history(path: Path, rows: list[Logs]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    stores.write_text(path, [text.getvalue()])


def plot_curves(rows: list[Logs], path: Path) -> None:
    """Loss, PSNR, SSIM and learning rate over the epochs."""
    from matplotlib.figure import Figure

    epochs = [row["epoch"] + 1 for row in rows]
    titles = ("loss", "validation PSNR [dB], protocol rgb", "validation SSIM, protocol rgb", "learning rate")
    figure = Figure(figsize=(11, 7), layout="constrained")
    for axes, names, title in zip(figure.subplots(2, 2).flat, _PANELS, titles, strict=True):
        for name in names:
            axes.plot(epochs, [row[name] for row in rows], marker=".", label=name)
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        if len(names) > 1:
            axes.legend()
    with stores.whole_file(path) as file:
        figure.savefig(file, dpi=100, format="png")


def example_grid(model: keras.Model, examples: list[tuple[Any, Any]]) -> np.ndarray:
    """Hazy, restored and clean side by side, one row for each example, at most 320 pixels wide each."""
    rows = []
    for hazy, clean in examples:
        restored = tf.clip_by_value(model(hazy, training=False), 0.0, 1.0)
        row = tf.concat([hazy, restored, clean], axis=2)
        height, width = row.shape[1], row.shape[2]
        scale = min(1.0, 960.0 / width)
        row = tf.image.resize(row, (round(height * scale), round(width * scale)), method="area")
        rows.append(color.to_uint8(row.numpy()[0]))
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate(padded)
