"""The commands `aodnet overfit` and `aodnet find-lr`: short trials of settings and data."""

import argparse
import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from aodnet.cli_options import Data, add_training_options, read_data, read_settings
from aodnet.quiet import load_tensorflow
from hazegen import manifest
from hazegen.errors import RefusedError
from hazegen.verbs import new_parser

if TYPE_CHECKING:
    from aodnet.config import FitConfig

# Settings of `aodnet fit` that have no meaning in a trial.
_NOT_IN_TRIALS = ("epochs", "ema", "validation_crop", "checkpoint_steps", "on_nan")
_OF_SCHEDULE = ("learning_rate", "warmup", "final_learning_rate")


def run_overfit(argv: list[str]) -> int:
    """aodnet overfit."""
    from aodnet.overfit import SCHEDULE, STEPS, OverfitOptions, overfit

    parser = new_parser(
        "aodnet overfit",
        "Trains on one batch again and again, to see whether the network learns at all. Exits with 3 where not.\n"
        "300 steps of l2 at a constant learning rate of 5e-3, unless --config or a setting says otherwise.",
        "  aodnet overfit --data dataset\n"
        "  aodnet overfit --data dataset --config runs/first/config.yaml --batch 1 --steps 1000 --out one.png",
    )
    options, settings = _read_options(parser, argv, OverfitOptions, "one batch", STEPS, defaults=SCHEDULE)
    done = overfit(options, settings, say=print)
    print(f"loss of {done.examples} pictures: {done.first:.5g} before, {done.last:.5g} after {done.steps} steps "
          f"({done.left:.0%} of {done.plain:.5g}, without a network); '{done.picture}' shows them.")  # fmt: skip
    if not done.learned:
        raise RefusedError(
            "The network does not learn one batch. Expected the right range, and a loss below "
            f"{options.share:.0%} of that of the hazy pictures or of one colour after {done.steps} steps, received "
            f"{done.left:.0%}. {' '.join(done.hints)}"
        )
    print(" ".join(["the network learns.", *done.hints]))
    return 0


def run_find_lr(argv: list[str]) -> int:
    """aodnet find-lr."""
    from aodnet.lr_finder import STEPS, FinderOptions, find_lr

    parser = new_parser(
        "aodnet find-lr",
        "Raises the learning rate from step to step, over 200 of them unless --steps says otherwise, and suggests one "
        "by the course of the loss.",
        "  aodnet find-lr --data dataset\n"
        "  aodnet find-lr --data dataset --config runs/first/config.yaml --steps 400 --out curves/first",
    )
    options, settings = _read_options(parser, argv, FinderOptions, "test", STEPS, skip=_OF_SCHEDULE)
    found = find_lr(options, settings, say=print)
    print(f"the loss falls fastest at {found.suggested:.1e} and is least at {found.least:.1e}; "
          f"'{found.files[0]}' shows it.")  # fmt: skip
    print(f"next: aodnet fit --learning-rate {found.suggested:.1e} ...")
    return 0


def _read_options(
    parser: argparse.ArgumentParser,
    argv: list[str],
    cls: type[Data],
    title: str,
    steps: int,
    skip: tuple[str, ...] = (),
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> "tuple[Data, FitConfig]":
    """The options of a trial and the settings, as `aodnet fit` reads them.

    Args:
        steps: How many updates there are where nothing says it.
        skip: Settings that have no meaning in the trial, beside those that have none in any.
        defaults: Settings that stand above the default config, but below any other.
    """
    told = f"updates in the trial [default: {steps}]"
    parser.add_argument("--steps", metavar="N", default=argparse.SUPPRESS, help=told)
    add_training_options(parser, cls, title, skip=(*_NOT_IN_TRIALS, "steps", *skip))
    given = parser.parse_args(argv)
    from aodnet import tracking
    from aodnet.recipes import read_recipes

    options, settings = read_data(given, cls), read_settings(given, defaults)
    options = dataclasses.replace(options, data=tuple(tracking.fetch(folder) for folder in options.data))
    read_recipes(settings.recipe, [manifest.load(folder) for folder in options.data])  # before TensorFlow is loaded
    load_tensorflow()
    return options, settings
