"""aodnet overfit: trains on one batch for ever, to see whether the network learns at all.

A network whose loss on eight pictures does not fall will not learn eight thousand. Data, range, colours, loss and
learning rate can be looked at here in a minute.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aodnet.config import DataOptions, FitConfig, FitPaths
from hazegen import stores
from hazegen.errors import RefusedError, UsageError

STEPS = 300
# What `aodnet overfit` trains with unless it is told. docs/training.md has what sound and broken batches came to.
SCHEDULE = {"loss": "l2", "learning_rate": 5e-3, "warmup": 0.0, "final_learning_rate": 1.0}
_TOLD = 10  # times that the loss is told
_SHOWN = 8  # rows of the picture
_SAME = 1.5 / 255.0  # mean difference of pictures that are all but equal
_DARK = 0.05


@dataclass(frozen=True)
class OverfitOptions(DataOptions):
    """What one batch is taken from, and where the picture goes.

    Attributes:
        out: Picture to write, a .png: hazy, restored and clean from left to right, a row for each example.
        share: The network learns where its loss falls below this share of what comes without one: that of the hazy
            pictures, or of one colour everywhere, whichever is less; in (0, 1).
    """

    out: Path = Path("overfit.png")
    # Against the first loss would not tell: pairs that do not belong together fell to 34 % of it, to one colour.
    share: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        stores.on_disk(self.out, "--out")
        if self.out.suffix.lower() != ".png":
            raise UsageError(f"--out has another suffix. Expected a .png file, received '{self.out}'. Correct --out.")
        if not 0.0 < self.share < 1.0:
            raise UsageError(
                f"--share is out of range. Expected above 0 and below 1, received {self.share}. Correct it."
            )


@dataclass(frozen=True)
class Overfitted:
    """What came of it.

    Attributes:
        examples, steps: Pictures in the batch, and updates.
        first, last: Loss before the first update and before the last.
        plain: Loss without a network: of the hazy pictures, or of one colour everywhere, whichever is less.
        left: The last as a share of that; 1 where that is 0.
        learned: Whether that is below the wanted share, of pictures in the right range.
        hints: What looks wrong in the data, and what to change where the network does not learn.
        picture: The file with hazy, restored and clean.
    """

    examples: int
    steps: int
    first: float
    last: float
    plain: float
    left: float
    learned: bool
    hints: tuple[str, ...]
    picture: Path


def begin(options: DataOptions, config: FitConfig, steps: int) -> tuple[Any, Any]:
    """The run and the trainer of a trial of so many steps, on one device, without an average of the weights.

    Raises:
        UsageError, RefusedError, VerifyError, StoreError: As `aodnet fit` does.
    """
    import keras
    import tensorflow as tf

    from aodnet import run as runs
    from aodnet.devices import wants_xla
    from aodnet.trainer import Trainer

    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    config = dataclasses.replace(config, epochs=1, steps=steps, ema=0.0, validation_crop=None)
    data = {field.name: getattr(options, field.name) for field in dataclasses.fields(DataOptions)}
    run = runs.prepare(FitPaths(**data), config, (0, 1), lambda _: None, ("train",))
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    return run, Trainer(config, steps, tf.distribute.get_strategy(), jit=wants_xla(config), recipes=run.recipes)


def overfit(options: OverfitOptions, config: FitConfig, *, say: Callable[[str], object] = lambda _: None) -> Overfitted:
    """Trains on the centre windows of the first training pictures, always the same with the same haze.

    Of several datasets, on as many of each as their weights say, or their numbers of records.

    Args:
        config: `steps` updates [default: 300].
        say: Receives the loss now and then.

    Raises:
        UsageError, RefusedError, VerifyError, StoreError: Settings or data cannot be used, or a number of the
            input, the loss, the gradients or the weights is not finite.
    """
    from aodnet.telling import tell_lost

    steps = config.steps or STEPS
    run, trainer = begin(options, config, steps)
    batch = _one_batch(run)
    losses, look = _learn(trainer, batch, steps, say)
    trainer.settle()
    hazy, clean = _pictures(run, batch)
    _write_picture(trainer.result, hazy, clean, options.out)
    plain, last = _share_of(trainer, hazy, clean, losses[-1])
    left = last / plain if plain > 0.0 else 1.0
    dark = _hints_of_range(hazy.numpy(), clean.numpy())
    hints = [*dark, *_hints_of_data(hazy.numpy(), clean.numpy())]
    if run.lost.total:
        hints.append(f"Left out because they are damaged: {tell_lost(run.lost, options.data)}.")
    learned = left < options.share and not dark  # K makes up for a part of a wrong range
    if left >= options.share:
        hints.append(_hint_of_rate(losses, dead=look.dead > 0))
    return Overfitted(hazy.shape[0], steps, losses[0], losses[-1], plain, left, learned, tuple(hints), options.out)


def _learn(trainer: Any, batch: Any, steps: int, say: Callable[[str], object]) -> tuple[list[float], Any]:
    """The loss of each step on the same batch, and what the device has seen in the last one."""
    losses: list[float] = []
    for step in range(steps):
        loss = float(trainer.step(batch)["loss"])
        look = trainer.look()
        if look.bad >= 0:
            raise RefusedError(
                f"A number of the {look.fault} is not finite. Expected finite numbers, received NaN or infinity at "
                f"step {step}. Lower --learning-rate, or look at the data with hazegen verify and hazegen preview."
            )
        losses.append(loss)
        if step % max(1, steps // _TOLD) == 0:
            say(f"step {step}: loss {loss:.5g}")
    return losses, look


def _one_batch(run: Any) -> Any:
    import tensorflow as tf

    from aodnet import data

    parts = []
    try:
        for number, count in enumerate(_counts(run.sources, run.config.batch)):
            part = data.validation_batches(
                run.sources[number : number + 1], split="train", crop=run.config.crop, batch=count,
                on_damage=run.paths.on_damage, lost=run.lost,
            )  # fmt: skip
            parts += list(part.take(1))
            if "source" in parts[-1]:
                parts[-1]["source"] += number
    except tf.errors.OpError as error:
        data.explain(error, run.sources, ("train",), run.lost if run.paths.on_damage == "skip" else None)
        raise
    batch = {name: tf.concat([part[name] for part in parts], 0) for name in parts[0]}
    if not batch["clean"].shape[0]:
        raise run.nothing_left("training")
    return batch


def _counts(sources: Sequence[Any], batch: int) -> list[int]:
    """How many pictures of a batch each dataset has: by weight, or by its records, and at least one."""
    shares = np.array([source.weight or source.manifest.records_of("train") for source in sources], np.float64)
    ends = np.rint(np.cumsum(shares) / shares.sum() * batch).astype(int)
    return [max(1, int(count)) for count in np.diff(ends, prepend=0)]


def _pictures(run: Any, batch: Any) -> tuple[Any, Any]:
    import tensorflow as tf

    from aodnet import online

    # Traced, as in the step: the same haze, to the bit.
    return tf.function(lambda given: online.hazy_and_clean(given, run.recipes))(batch)


def _write_picture(network: Any, hazy: Any, clean: Any, path: Path) -> None:
    from aodnet import sheets
    from aodnet.validation_pictures import Example, grid

    rows = [
        Example(f"picture {number + 1}", hazy[number : number + 1], clean[number : number + 1])
        for number in range(min(_SHOWN, hazy.shape[0]))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with stores.whole_file(path) as file:
        file.write(sheets.encode(*grid(network, rows)))


def _share_of(trainer: Any, hazy: Any, clean: Any, last: float) -> tuple[float, float]:
    """The loss that any batch can be brought to, and the last one, which is a share of it.

    The first is that of the hazy pictures, or of the clean ones' mean colour. A logarithm has no zero to be a share
    from: both are with the mean squared error in its place, then.
    """
    import tensorflow as tf

    from aodnet import losses

    terms = losses.without_logarithm(trainer.terms)
    if terms != trainer.terms:
        last = float(losses.total(terms, clean, trainer.result(hazy, training=False)))
    colour = tf.broadcast_to(tf.reduce_mean(clean, axis=[0, 1, 2]), tf.shape(clean))
    return min(float(losses.total(terms, clean, one)) for one in (hazy, colour)), last


def _hints_of_data(hazy: Any, clean: Any) -> list[str]:
    """What looks wrong in the pictures themselves: a network may learn what makes no sense, too."""
    hints = []
    if abs(hazy - clean).mean() < _SAME:
        hints.append("Hazy and clean are all but equal: is there any haze in this data?")
    elif _contrast(hazy) > _contrast(clean):
        hints.append("The hazy pictures have more contrast than the clean ones: are the two swapped?")
    return hints


def _hints_of_range(hazy: Any, clean: Any) -> list[str]:
    return [
        f"The brightest {name} value is {brightest:.4f} where white is 1: is the range wrong?"
        for name, brightest in (("hazy", hazy.max()), ("clean", clean.max()))
        if brightest < _DARK
    ]


def _contrast(pictures: Any) -> float:
    """The middle one of the differences of neighbours, which neither far haze in a dark room nor its edge raises."""
    return sum(float(np.median(abs(np.diff(pictures, axis=axis)))) for axis in (1, 2))


def _hint_of_rate(losses: list[float], *, dead: bool) -> str:
    if dead:
        return "K is 0 everywhere, and no gradient is left: lower --learning-rate."
    if losses[-1] >= losses[0]:
        return "The loss has not fallen: lower --learning-rate (aodnet find-lr suggests one)."
    return (
        "The loss falls too slowly: do the pictures of each pair belong together? If so, raise --learning-rate "
        "(aodnet find-lr suggests one) or --steps."
    )
