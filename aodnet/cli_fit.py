"""The command `aodnet fit`."""

import argparse
import contextlib
import dataclasses
import os
import sys
from typing import TYPE_CHECKING

from aodnet.quiet import load_tensorflow
from hazegen import config, stores
from hazegen.errors import HazegenError, StoreError, UsageError
from hazegen.tracking import Choice, choose_mode
from hazegen.verbs import new_parser

if TYPE_CHECKING:
    from aodnet.config import FitConfig, FitPaths
    from aodnet.fit import Fitted


def run_fit(argv: list[str]) -> int:
    """aodnet fit."""
    from aodnet import tracking, workers
    from aodnet.tracking import ModelLogging, TrackingOptions
    from aodnet.workers import WorkerOptions

    parser = new_parser(
        "aodnet fit",
        "Trains AOD-Net on datasets; on all GPUs of the machine, where there are any, and on several machines.",
        "  aodnet fit --data dataset\n"
        "  aodnet fit --data dataset --out runs/first --epochs 20 --loss 'l1=0.8, ssim=0.2'\n"
        "  aodnet fit --data dataset --out runs/first --epochs 20 --loss 'l1=0.8, ssim=0.2' --resume\n"
        "  aodnet fit --data scenes --recipe 'reside-its=0.6, outdoor-visibility=0.4'\n"
        "  aodnet fit --data rooms streets --weights 0.7,0.3 --precision mixed_bfloat16 --ema 0.999\n"
        "  aodnet fit --data s3://bucket/dataset --out runs/third --cache /scratch/shards --cache-gb 100\n"
        "  aodnet fit --data wandb:team/haze/rooms:latest --out runs/second --wandb online\n"
        "  aodnet fit --data dataset --worker-hosts a:29400,b:29400 --worker-index 0   (on b: 1)\n"
        "  srun aodnet fit --data dataset --worker-hosts slurm",
    )
    add_fit_options(parser)
    config.add_options(parser, WorkerOptions, "several machines")
    config.add_options(parser, TrackingOptions, "Weights & Biases")
    config.add_options(parser, ModelLogging, "Weights & Biases: what is logged beside the metrics")
    given = parser.parse_args(argv)
    paths, settings = read_fit_options(given)
    options = config.build(TrackingOptions, config.given(given, TrackingOptions))
    others = {**config.given(given, TrackingOptions), **config.given(given, ModelLogging)}.keys() - {"wandb"}
    if options.wandb == "off" and others:
        raise UsageError(
            f"--{min(others).replace('_', '-')} is of no use with --wandb off. Expected one of the two. Take one out."
        )
    what = config.build(ModelLogging, config.given(given, ModelLogging))
    cluster = workers.join_cluster(config.build(WorkerOptions, config.given(given, WorkerOptions)))
    is_chief = cluster is None or cluster.index == 0
    # Before any work: a key that is not valid ends it here.
    choice = choose_mode(options.wandb or "auto") if is_chief else Choice("off", "the first worker logs")
    paths = dataclasses.replace(paths, data=tuple(tracking.fetch(folder) for folder in paths.data))
    load_tensorflow()
    from tqdm import tqdm

    from aodnet.fit import fit

    try:
        with tracking.logged(paths, settings, options, what, choice, tqdm.write) as callbacks:
            fitted = fit(paths, settings, say=tqdm.write if is_chief else lambda _: None, extra=callbacks)
    except (HazegenError, OSError) as error:
        if cluster is None:
            raise
        # TensorFlow would wait at its exit for processes that are gone.
        print(f"error: worker {cluster.index}: {error}", file=sys.stderr, flush=True)
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(error.exit_code if isinstance(error, HazegenError) else StoreError.exit_code)
    if is_chief:
        _tell(fitted, paths)
    return 0


def add_fit_options(parser: argparse.ArgumentParser) -> None:
    """The options that say what is trained on and how."""
    from aodnet.config import FitConfig, FitPaths
    from aodnet.streaming import CacheOptions

    texts = config.attribute_texts(FitPaths)
    group = parser.add_argument_group("data")
    group.add_argument("--data", metavar="PATH", nargs="+", action="extend", required=True, help=texts["data"])
    group.add_argument("--weights", metavar="NUMBER,NUMBER", default=argparse.SUPPRESS, help=texts["weights"])
    config.add_options(parser, FitPaths, "run", skip=("data", "weights"))
    config.add_options(parser, CacheOptions, "datasets in a store")
    parser.add_argument("--config", default="default", help="config file or name [default: default]")
    config.add_options(parser, FitConfig, "settings (each stands above the config file)", from_file=True)


def read_fit_options(given: argparse.Namespace) -> "tuple[FitPaths, FitConfig]":
    """What the options of `add_fit_options` and the config file say.

    Raises:
        UsageError: A value that cannot be used.
    """
    from aodnet.config import FitConfig, FitPaths

    path = config.find_config(given.config, "training")
    settings = config.build(FitConfig, config.read_config(path, FitConfig) | config.given(given, FitConfig))
    values = config.given(given, FitPaths)
    folders, weights = values.pop("data"), values.pop("weights", None)
    paths = config.build(FitPaths, {**values, "data": ()})
    paths = dataclasses.replace(paths, data=tuple(stores.place(folder) for folder in folders))
    if weights is not None:
        paths = dataclasses.replace(paths, weights=_read_weights(weights))
    return paths, settings


def _read_weights(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.strip(" []").split(","))
    except ValueError:
        raise UsageError(
            f"--weights cannot be read. Expected numbers with commas between them, as 0.7,0.3, received '{text}'. "
            "Correct --weights."
        ) from None


def _tell(fitted: "Fitted", paths: "FitPaths") -> None:
    from aodnet.fit import tell_lost

    best = fitted.best
    print(f"trained {fitted.epochs} epochs on {fitted.device} in {fitted.seconds:.0f} s; run folder '{fitted.run}'.")
    if best:
        print(f"best epoch {best['epoch'] + 1:.0f}: PSNR {best['val_psnr_rgb']:.2f} dB, SSIM "
              f"{best['val_ssim_rgb']:.4f} (validation, rgb in float32 without rounding).")  # fmt: skip
    if fitted.lost.total:
        print(f"left out because they are damaged: {tell_lost(fitted.lost, paths.data)}.")
    for epoch, step in fitted.skipped:
        print(f"left out because of numbers that are not finite: step {step} of epoch {epoch + 1}.")
    if best:
        print(f"next: aodnet evaluate --model {fitted.run}/best.weights.h5 --data {paths.data[0]}")
    else:
        print("no epoch has ended: the same command with --resume goes on.")
