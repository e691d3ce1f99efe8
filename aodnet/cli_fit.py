"""The command `aodnet fit`."""

import argparse
import contextlib
import dataclasses
import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from aodnet import interrupts, told
from aodnet.cli_options import add_training_options, read_data, read_settings
from aodnet.quiet import load_tensorflow
from hazegen import config, manifest
from hazegen.errors import HazegenError, StoreError, UsageError
from hazegen.progress import counted
from hazegen.tracking import Choice, choose_mode
from hazegen.verbs import Terminated, new_parser

if TYPE_CHECKING:
    from aodnet.config import FitConfig, FitPaths
    from aodnet.fit import Fitted
    from aodnet.tracking import ModelLogging, TrackingOptions
    from aodnet.workers import Cluster


def run_fit(argv: list[str]) -> int:
    """aodnet fit."""
    from aodnet import workers
    from aodnet.config import FitPaths
    from aodnet.tracking import ModelLogging, TrackingOptions
    from aodnet.workers import WorkerOptions

    given = _parser().parse_args(argv)
    paths, settings = read_data(given, FitPaths), read_settings(given)
    options = config.build(TrackingOptions, config.given(given, TrackingOptions))
    others = {**config.given(given, TrackingOptions), **config.given(given, ModelLogging)}.keys() - {"wandb"}
    if options.wandb == "off" and others:
        raise UsageError(
            f"--{min(others).replace('_', '-')} is of no use with --wandb off. Expected one of the two. Take one out."
        )
    what = config.build(ModelLogging, config.given(given, ModelLogging))
    cluster = workers.join_cluster(config.build(WorkerOptions, config.given(given, WorkerOptions)))
    try:
        with interrupts.heard_at_once():
            fitted = _fit(paths, settings, options, what, cluster, told.command("aodnet", "fit", *argv))
    except KeyboardInterrupt as interrupt:
        status = _interrupted(paths, interrupt)
        if cluster is not None:
            _leave(status)
        return status
    except (HazegenError, OSError) as error:
        if cluster is None:
            raise
        print(f"error: worker {cluster.index}: {error}", file=sys.stderr, flush=True)
        _leave(error.exit_code if isinstance(error, HazegenError) else StoreError.exit_code)
    if cluster is None or cluster.index == 0:
        _tell(fitted, paths)
    else:
        print(f"worker {cluster.index} of {cluster.count}: ended after {counted(fitted.epochs, 'epoch')}, "
              f"{fitted.seconds:.0f} s.")  # fmt: skip
    return 0


def _parser() -> argparse.ArgumentParser:
    from aodnet.config import FitPaths
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
    add_training_options(parser, FitPaths, "run")
    config.add_options(parser, WorkerOptions, "several machines")
    config.add_options(parser, TrackingOptions, "Weights & Biases")
    config.add_options(parser, ModelLogging, "Weights & Biases: what is logged beside the metrics")
    return parser


def _fit(
    paths: "FitPaths",
    settings: "FitConfig",
    options: "TrackingOptions",
    what: "ModelLogging",
    cluster: "Cluster | None",
    command: str,
) -> "Fitted":
    from aodnet import tracking

    is_chief = cluster is None or cluster.index == 0
    # Before any work: a key that is not valid ends it here.
    choice = choose_mode(options.wandb or "auto") if is_chief else Choice("off", "the first worker logs")
    paths = dataclasses.replace(paths, data=tuple(tracking.fetch(folder) for folder in paths.data))
    load_tensorflow()
    from tqdm import tqdm

    from aodnet.fit import fit

    if cluster is not None and not is_chief:
        print(f"worker {cluster.index} of {cluster.count}: the chief, worker 0, writes '{paths.out}' and tells of it.")
    say = tqdm.write if is_chief else lambda _: None
    with tracking.logged(paths, settings, options, what, choice, tqdm.write) as callbacks:
        return fit(paths, settings, say=say, extra=callbacks, command=command)


def _interrupted(paths: "FitPaths", interrupt: KeyboardInterrupt) -> int:
    """Says how to go on. Returns the exit status."""
    from aodnet import checkpoint

    word, status = ("terminated", 143) if isinstance(interrupt, Terminated) else ("interrupted", 130)
    saved = sorted((paths.out / checkpoint.FOLDER).glob("epoch-*.npz"))
    way = f"the same command with --resume goes on from '{saved[-1]}'" if saved else "the same command starts again"
    print(f"{word}; {way}.", file=sys.stderr, flush=True)
    gc.freeze()  # else the interpreter looks through all that TensorFlow has made for garbage before it ends
    return status


def _leave(status: int) -> NoReturn:
    """Ends this process, where TensorFlow would wait at its exit for processes that are gone."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(status)


def _tell(fitted: "Fitted", paths: "FitPaths") -> None:
    from aodnet.pages import REPORT
    from aodnet.run_report import evaluations
    from aodnet.telling import tell_lost

    best, done = fitted.best, counted(fitted.epochs, "epoch")
    if fitted.was_done:
        print(f"the run in '{fitted.run}' is finished already: {done}. Nothing was changed.")
    else:
        print(f"trained {done} on {fitted.device} in {fitted.seconds:.0f} s; run folder '{fitted.run}'.")
        if (fitted.run / REPORT).is_file():
            print(f"all of it as a page: '{fitted.run / REPORT}'.")
    if best:
        print(f"best epoch {best['epoch']:.0f}: PSNR {best['val_psnr_rgb']:.2f} dB, SSIM "
              f"{best['val_ssim_rgb']:.4f} (validation, rgb in float32 without rounding): "
              f"'{fitted.run}/best.weights.h5'.")  # fmt: skip
    if fitted.lost.total:
        print(f"left out because they are damaged: {tell_lost(fitted.lost, paths.data)}.")
    for epoch, step in fitted.skipped:
        print(f"left out because of numbers that are not finite: step {step} of epoch {epoch + 1}.")
    if not best:
        print("no epoch has ended: the same command with --resume goes on.")
    for command in evaluations(str(fitted.run), [(str(one), _has_test(one)) for one in paths.data]) if best else ():
        print(f"next: {command}")


def _has_test(folder: Path) -> bool:
    try:
        return bool(manifest.load(folder).records_of("test"))
    except HazegenError:  # it has gone, after the training
        return True
