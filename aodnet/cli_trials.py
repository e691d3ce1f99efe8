"""The commands `aodnet overfit` and `aodnet find-lr`: short trials of settings and data."""

import argparse
import dataclasses
from typing import Any

from aodnet.quiet import load_tensorflow
from hazegen import config, stores
from hazegen.errors import RefusedError
from hazegen.verbs import new_parser

# Settings of `aodnet fit` that have no meaning in a trial.
_NOT_IN_TRIALS = ("epochs", "ema", "validation_crop", "checkpoint_steps", "on_nan")
_OF_SCHEDULE = ("learning_rate", "warmup", "final_learning_rate")


def run_overfit(argv: list[str]) -> int:
    """aodnet overfit."""
    from aodnet.overfit import OverfitOptions, overfit

    parser = new_parser(
        "aodnet overfit",
        "Trains on one batch again and again, 300 steps unless --steps says otherwise, to see whether the network "
        "learns at all. Exits with 3 where not.",
        "  aodnet overfit --data dataset\n"
        "  aodnet overfit --data dataset --config runs/first/config.yaml --batch 1 --steps 1000 --out one.png",
    )
    options, settings = _read_options(parser, argv, OverfitOptions, "one batch")
    load_tensorflow()
    done = overfit(options, settings, say=print)
    print(f"loss of {done.examples} pictures: {done.first:.5g} before, {done.last:.5g} after {done.steps} steps "
          f"({done.left:.0%}); '{done.picture}' shows them.")  # fmt: skip
    if not done.learned:
        raise RefusedError(
            f"The network does not learn one batch. Expected a loss below {options.share:.0%} of the first after "
            f"{done.steps} steps, received {done.left:.0%}. {' '.join(done.hints)}"
        )
    print(" ".join(["the network learns.", *done.hints]))
    return 0


def run_find_lr(argv: list[str]) -> int:
    """aodnet find-lr."""
    from aodnet.lr_finder import FinderOptions, find_lr

    parser = new_parser(
        "aodnet find-lr",
        "Raises the learning rate from step to step, over 200 of them unless --steps says otherwise, and suggests one "
        "by the course of the loss.",
        "  aodnet find-lr --data dataset\n"
        "  aodnet find-lr --data dataset --config runs/first/config.yaml --steps 400 --out curves/first",
    )
    options, settings = _read_options(parser, argv, FinderOptions, "test", skip=_OF_SCHEDULE)
    load_tensorflow()
    found = find_lr(options, settings, say=print)
    print(f"the loss falls fastest at {found.suggested:.1e} and is least at {found.least:.1e}; "
          f"'{found.files[0]}' shows it.")  # fmt: skip
    print(f"next: aodnet fit --learning-rate {found.suggested:.1e} ...")
    return 0


def _read_options(
    parser: argparse.ArgumentParser, argv: list[str], cls: Any, title: str, skip: tuple[str, ...] = ()
) -> tuple[Any, Any]:
    """The options of a trial (a dataclass of CacheOptions with `data`) and the settings, as `aodnet fit` reads them.

    Args:
        skip: Settings that have no meaning in the trial, beside those that have none in any.
    """
    from aodnet.config import FitConfig
    from aodnet.streaming import CacheOptions

    texts = config.attribute_texts(cls)
    parser.add_argument("--data", metavar="PATH", nargs="+", action="extend", required=True, help=texts["data"])
    config.add_options(parser, cls, title, skip=("data",))
    config.add_options(parser, CacheOptions, "datasets in a store")
    parser.add_argument("--config", default="default", help="config file or name [default: default]")
    skip = (*_NOT_IN_TRIALS, *skip)
    config.add_options(parser, FitConfig, "settings (each stands above the config file)", from_file=True, skip=skip)
    given = parser.parse_args(argv)
    from aodnet import tracking

    path = config.find_config(given.config, "training")
    settings = config.build(FitConfig, config.read_config(path, FitConfig) | config.given(given, FitConfig))
    options = config.build(cls, {**config.given(given, cls), "data": ()})
    folders = tuple(tracking.fetch(stores.place(folder)) for folder in given.data)
    return dataclasses.replace(options, data=folders), settings
