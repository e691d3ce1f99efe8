"""aodnet find-lr: the learning rate range test.

The rate rises from step to step; where the loss falls fastest is a rate to begin with, and where it rises again, too
high a one.

References:
    Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, arXiv 1506.01186 (from memory,
        unconfirmed). Raising the rate exponentially, the smoothing and the rule of the steepest fall are others' and
        ours.
"""

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aodnet.config import DataOptions, FitConfig
from aodnet.overfit import begin
from hazegen import stores
from hazegen.errors import RefusedError, UsageError

STEPS = 200
_SMOOTHING = 0.9
_TOO_MUCH = 2.0  # times the least loss: it has risen again
_LEAST_POINTS = 10
# Of the smoothed loss, as a share of its first. Rates at which nothing was learned came to 0.004 by noise alone, a
# sound curve of 60 steps to 0.11.
_LEAST_FALL = 0.01


@dataclass(frozen=True)
class FinderOptions(DataOptions):
    """What the test is made on, and where its curve goes.

    Attributes:
        out: The curve as OUT.png and OUT.csv.
        lowest, highest: Learning rates that are gone through.
    """

    out: Path = Path("find-lr")
    lowest: float = 1e-5
    highest: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        stores.on_disk(self.out, "--out")
        if not 0.0 < self.lowest < self.highest <= 1e6:
            raise UsageError(
                "The learning rates are out of range. Expected a --lowest above 0 and a --highest above it, of at most "
                f"1e6, received {self.lowest:g} and {self.highest:g}. Correct them."
            )


@dataclass(frozen=True)
class Found:
    """The curve, and what it suggests.

    Attributes:
        rates: Learning rate of each step.
        losses: Its loss, and `relative` that as a share of the hazy pictures' own: a batch of thick haze is no step
            back. Both are counted from the least that the loss can be, where that is below 0. `smoothed` is the moving
            mean of `relative`.
        suggested: Rate at the steepest fall of `smoothed`.
        least: Rate where it is least.
        files: What was written.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    relative: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    suggested: float
    least: float
    files: tuple[Path, ...]


def find_lr(options: FinderOptions, config: FitConfig, *, say: Callable[[str], object] = lambda _: None) -> Found:
    """Trains with a rate that rises, until the loss does; writes the curve and nothing else.

    Args:
        config: `steps` updates [default: 200].
        say: Receives where the test has ended.

    Raises:
        RefusedError: The loss was not finite from the beginning, so that there is no curve, or did not fall.
        UsageError, VerifyError, StoreError: As `aodnet fit` does.
    """
    from aodnet.losses import least as lowest_of
    from aodnet.telling import tell_lost

    steps = config.steps or STEPS
    run, trainer = begin(options, config, steps)
    trainer.optimizer.learning_rate = schedule = rising(options, steps)
    least = lowest_of(trainer.terms)
    rates, losses, relative = [], [], []
    for step, (loss, own) in enumerate(_steps(run, trainer)):
        if not math.isfinite(loss):
            break
        rates.append(float(schedule(step)))
        losses.append(loss)
        relative.append((loss - least) / max(own - least, 1e-12))
        if has_risen(relative):
            break
    if len(rates) < _LEAST_POINTS:
        raise RefusedError(
            f"There is no curve. Expected at least {_LEAST_POINTS} steps with a finite loss, received {len(rates)}. "
            "Lower --lowest, raise --steps, or look at the data with hazegen verify and hazegen preview."
        )
    if run.lost.total:
        say(f"warning: left out because they are damaged: {tell_lost(run.lost, options.data)}.")
    say(f"stopped at a learning rate of {rates[-1]:.1e}, after {len(rates)} of {steps} steps.")
    found = _found(np.array(rates), np.array(losses), np.array(relative), options.out)
    _check_fall(found)
    return found


def _check_fall(found: Found) -> None:
    """Refuses a curve without a fall, whose steepest place is noise."""
    fall = 1.0 - float(found.smoothed.min() / found.smoothed[0])
    if fall < _LEAST_FALL:
        raise RefusedError(
            f"The loss falls at no learning rate. Expected a fall by at least {_LEAST_FALL:.0%}, received {fall:.1%} "
            f"from {found.rates[0]:.1e} to {found.rates[-1]:.1e} ('{found.files[0]}'). Lower --lowest, raise --highest "
            "or --steps, or see with aodnet overfit whether the network learns at all."
        )


def rising(options: FinderOptions, steps: int) -> Any:
    """A schedule from the lowest rate at the first step to the highest at the last, by one factor a step."""
    import keras

    return keras.optimizers.schedules.ExponentialDecay(
        options.lowest, decay_steps=max(1, steps - 1), decay_rate=options.highest / options.lowest
    )


def _steps(run: Any, trainer: Any) -> Iterator[tuple[float, float]]:
    """(loss, the hazy pictures' own loss) of one step after another; NaN where a number was not finite.

    Steps of which nothing is left, because it is damaged, are passed over.
    """
    import tensorflow as tf

    from aodnet import data, losses, online

    @tf.function
    def own_loss(batch: Any) -> Any:
        hazy, clean = online.hazy_and_clean(batch, run.recipes)
        return losses.total(trainer.terms, clean, hazy)

    try:
        for number, first, count in run.passes(0, 0):
            batches = iter(trainer.distribute(run.batches(number, first)))
            for _ in range(count):
                batch = next(batches)
                if not int(batch["count"]):
                    continue
                loss = float(trainer.step(batch)["loss"])
                yield (loss if trainer.look().bad < 0 else math.nan), float(own_loss(batch))
    except tf.errors.OpError as error:
        data.explain(error, run.sources, ("train",), run.lost if run.paths.on_damage == "skip" else None)
        raise


def smooth(values: Sequence[float]) -> NDArray[np.float64]:
    """Moving mean with weights that fall by a tenth a step back, right from the first value."""
    mean, smoothed = 0.0, []
    for number, value in enumerate(values, start=1):
        mean = _SMOOTHING * mean + (1.0 - _SMOOTHING) * value
        smoothed.append(mean / (1.0 - _SMOOTHING**number))
    return np.array(smoothed)


def has_risen(values: Sequence[float]) -> bool:
    """Whether the smoothed loss is far above its least, so that higher rates tell nothing more."""
    smoothed = smooth(values)
    return len(values) >= _LEAST_POINTS and bool(smoothed[-1] > _TOO_MUCH * smoothed.min())


def suggest(rates: NDArray[np.float64], smoothed: NDArray[np.float64]) -> tuple[float, float]:
    """The rate at the steepest fall before the least loss, and that of the least loss."""
    reach = max(1, len(rates) // 40)  # of the slope to either side: single batches are noise
    falls = smoothed[: -2 * reach] - smoothed[2 * reach :]
    least = int(smoothed.argmin())
    steepest = reach + int(falls[: max(1, least - reach)].argmax())
    return float(rates[steepest]), float(rates[least])


def _found(rates: NDArray[np.float64], losses: NDArray[np.float64], relative: NDArray[np.float64], out: Path) -> Found:
    smoothed = smooth(list(relative))
    suggested, least = suggest(rates, smoothed)
    picture, table = out.with_name(f"{out.name}.png"), out.with_name(f"{out.name}.csv")
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(["learning_rate", "loss", "relative_loss", "smoothed_relative_loss"])
    writer.writerows(np.stack([rates, losses, relative, smoothed], axis=1).tolist())
    stores.write_text(table, [rows.getvalue()])
    with stores.whole_file(picture) as file:
        file.write(_plot(rates, relative, smoothed, suggested))
    return Found(rates, losses, relative, smoothed, suggested, least, (picture, table))


def _plot(
    rates: NDArray[np.float64], relative: NDArray[np.float64], smoothed: NDArray[np.float64], suggested: float
) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, relative, color="0.7", label="each step")
    axes.plot(rates, smoothed, label="moving mean")
    axes.axvline(suggested, color="k", linestyle=":", label=f"steepest fall, {suggested:.1e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss as a share of the hazy pictures' own")
    axes.set(ylim=(0.0, 1.1 * float(np.percentile(relative, 95))))
    axes.grid(alpha=0.3)
    axes.legend()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()
