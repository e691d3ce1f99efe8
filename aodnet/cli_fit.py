"""The command `aodnet fit`."""

import dataclasses

from aodnet.quiet import load_tensorflow
from hazegen import config
from hazegen.errors import UsageError
from hazegen.tracking import choose_mode
from hazegen.verbs import new_parser


def run_fit(argv: list[str]) -> int:
    """aodnet fit."""
    from aodnet import tracking
    from aodnet.config import FitConfig, FitPaths
    from aodnet.streaming import CacheOptions
    from aodnet.tracking import ModelLogging, TrackingOptions

    parser = new_parser(
        "aodnet fit",
        "Trains AOD-Net on a dataset; on a GPU where there is one.",
        "  aodnet fit --data dataset\n"
        "  aodnet fit --data dataset --out runs/first --epochs 20 --loss 'l1=0.8, ssim=0.2'\n"
        "  aodnet fit --data s3://bucket/dataset --out runs/third --cache /scratch/shards --cache-gb 100\n"
        "  aodnet fit --data wandb:team/haze/rooms:latest --out runs/second --wandb online\n"
        "  aodnet fit --data dataset --out runs/first --epochs 20 --loss 'l1=0.8, ssim=0.2' --resume",
    )
    config.add_options(parser, FitPaths, "run")
    config.add_options(parser, CacheOptions, "datasets in a store")
    parser.add_argument("--config", default="default", help="config file or name [default: default]")
    config.add_options(parser, FitConfig, "settings (each stands above the config file)", from_file=True)
    config.add_options(parser, TrackingOptions, "Weights & Biases")
    config.add_options(parser, ModelLogging, "Weights & Biases: what is logged beside the metrics")
    given = parser.parse_args(argv)
    path = config.find_config(given.config, "training")
    settings = config.build(FitConfig, config.read_config(path, FitConfig) | config.given(given, FitConfig))
    paths = config.build(FitPaths, config.given(given, FitPaths))
    options = config.build(TrackingOptions, config.given(given, TrackingOptions))
    others = {**config.given(given, TrackingOptions), **config.given(given, ModelLogging)}.keys() - {"wandb"}
    if options.wandb == "off" and others:
        raise UsageError(
            f"--{min(others).replace('_', '-')} is of no use with --wandb off. Expected one of the two. Take one out."
        )
    what = config.build(ModelLogging, config.given(given, ModelLogging))
    choice = choose_mode(options.wandb or "auto")  # before any work: a key that is not valid ends it here
    paths = dataclasses.replace(paths, data=tracking.fetch(paths.data))
    load_tensorflow()
    from tqdm import tqdm

    from aodnet.fit import fit

    with tracking.logged(paths, settings, options, what, choice, tqdm.write) as callbacks:
        fitted = fit(paths, settings, say=tqdm.write, extra=callbacks)
    best = fitted.best
    print(f"trained {fitted.epochs} epochs on {fitted.device} in {fitted.seconds:.0f} s; run folder '{fitted.run}'.")
    print(f"best epoch {best['epoch'] + 1:.0f}: PSNR {best['val_psnr_rgb']:.2f} dB, SSIM {best['val_ssim_rgb']:.4f} "
          "(validation, rgb in float32 without rounding).")  # fmt: skip
    print(f"next: aodnet evaluate --model {fitted.run}/best.weights.h5 --data {paths.data}")
    return 0
