"""The Keras callback that makes the run folder unasked."""

import importlib.util
import math
from pathlib import Path

import keras

from aodnet import sheets, validation_pictures, weights
from aodnet.history import BEST, HISTORY, PANELS, Logs, best_of, no_history, read_history, write_history
from aodnet.run_facts import PICTURES
from aodnet.validation_pictures import Example
from hazegen import stores


class RunFolder(keras.callbacks.Callback):
    """Writes history.csv, curves.png, a grid of validation pictures, and best and last weights each epoch.

    Args:
        folder: Of the run.
        done: Epochs that are over; rows of history.csv of later ones are of an earlier, longer run and are dropped.

    Raises:
        RefusedError: history.csv cannot be read, or has no row of an epoch before.

    Attributes:
        examples: A few validation images, shown each epoch.
    """

    def __init__(self, folder: Path, done: int) -> None:
        super().__init__()
        self.folder = folder
        self.examples: list[Example] = []
        self.rows = read_history(folder / HISTORY)
        self.rewind(done)
        if [row["epoch"] for row in self.rows] != list(range(1, done + 1)):
            found = ", ".join(f"{row['epoch']:g}" for row in self.rows) or "none"
            raise no_history(folder / HISTORY, f"rows of epochs 1 to {done}", found)

    def rewind(self, done: int) -> None:
        """Forgets the rows of all epochs but the first `done`: they are gone through again."""
        self.rows = [row for row in self.rows if row["epoch"] <= done]
        self.best = best_of(self.rows).get("val_psnr_rgb", float("-inf"))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        assert logs is not None
        self.rows.append({"epoch": float(epoch + 1), **logs})
        write_history(self.folder / HISTORY, self.rows)
        plot_curves(self.rows, self.folder / "curves.png")
        grid = validation_pictures.grid(self.model, self.examples, f" after epoch {epoch + 1}:")
        (self.folder / PICTURES).mkdir(exist_ok=True)
        with stores.whole_file(self.folder / PICTURES / f"epoch-{epoch + 1:04d}.png") as file:
            file.write(sheets.encode(*grid))
        weights.save(self.model, self.folder / "last.weights.h5")
        if logs["val_psnr_rgb"] > self.best:
            self.best = logs["val_psnr_rgb"]
            weights.save(self.model, self.folder / BEST)


def plot_curves(rows: list[Logs], path: Path) -> None:
    """The columns of history.csv over the epochs."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(13, 7), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(2, 3).flat, PANELS.items(), strict=True):
        for name in names:
            axes.plot(epochs, [row.get(name, math.nan) for row in rows], marker=".", label=name)
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if names[0] in ("data_wait", "images_per_s"):
            axes.set_ylim(bottom=0.0)
        axes.grid(alpha=0.3)
        if len(names) > 1:
            axes.legend()
    with stores.whole_file(path) as file:
        figure.savefig(file, dpi=100, format="png")


class _TensorBoard(keras.callbacks.TensorBoard):
    """Counts epochs from 1, as history.csv does."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        super().on_epoch_end(epoch + 1, logs)


def tensorboard(folder: Path) -> list[keras.callbacks.Callback]:
    """The callback that writes the same for TensorBoard, where that is installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return []
    return [_TensorBoard(folder / "tensorboard", write_graph=False)]
