"""The command `aodnet`: parses, calls one function, prints its summary."""

import dataclasses
import os
import sys
from pathlib import Path

from hazegen import config, stores
from hazegen.errors import RefusedError, UsageError
from hazegen.tracking import choose_mode
from hazegen.verbs import Verb, new_parser, run_verb

DESCRIPTION = "Trains, evaluates and applies AOD-Net on datasets made by hazegen."


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit status (README, exit codes)."""
    verbs: dict[str, tuple[str, Verb]] = {
        "fit": ("train AOD-Net on a dataset", _fit),
        "evaluate": ("score models beside baselines on pairs", _evaluate),
        "predict": ("remove haze from pictures", _predict),
        "import-weights": ("turn published weights (.npz) into ours", _import_weights),
    }
    return run_verb("aodnet", DESCRIPTION, verbs, sys.argv[1:] if argv is None else argv)


def _load_tensorflow() -> None:
    """Imports TensorFlow and looks for devices, without the dozen lines that its C++ part logs about them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import tensorflow as tf

        tf.config.list_physical_devices()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _fit(argv: list[str]) -> int:
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
    _load_tensorflow()
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


def _evaluate(argv: list[str]) -> int:
    from aodnet import tracking
    from aodnet.pairs import Source
    from aodnet.streaming import CacheOptions
    from aodnet.tracking import TrackingOptions

    parser = new_parser(
        "aodnet evaluate",
        "Scores models beside the hazy input, the best global affine and the dark channel prior.",
        "  aodnet evaluate --model runs/aodnet/best.weights.h5 --data dataset\n"
        "  aodnet evaluate --model ours.weights.h5 theirs.weights.h5 --hazy hazy --clean gt --align crop",
    )
    parser.add_argument("--model", type=Path, nargs="+", required=True, help=".weights.h5 files")
    parser.add_argument("--out", default="runs/evaluation", help="[default: runs/evaluation]")
    config.add_options(parser, Source, "pairs")
    config.add_options(parser, CacheOptions, "datasets in a store")
    config.add_options(parser, TrackingOptions, "Weights & Biases")
    given = parser.parse_args(argv)
    source = config.build(Source, config.given(given, Source))
    given.out = stores.on_disk(stores.place(given.out), "--out")
    options = config.build(TrackingOptions, config.given(given, TrackingOptions))
    choice = choose_mode(options.wandb or ("auto" if config.given(given, TrackingOptions) else "off"))
    if source.data is not None:
        source = dataclasses.replace(source, data=tracking.fetch(source.data))
    _load_tensorflow()
    from aodnet import weights
    from aodnet.evaluate import evaluate, format_table
    from aodnet.pairs import count_pairs

    files = dict(zip(_labels(given.model), given.model, strict=True))
    models = {name: weights.load(path) for name, path in files.items()}
    table = format_table(evaluate(models, source, given.out), source, count_pairs(source))
    (given.out / "table.md").write_text(table + "\n", encoding="utf-8")
    print(table)
    tracking.log_evaluation(options, choice, given.out, files, source.data, print)
    print(f"\neach image: '{given.out}/scores.csv'; best, median and worst: '{given.out}/strip.png'.")
    return 0


def _labels(paths: list[Path]) -> list[str]:
    """The models' names in the table: as much of their paths' ends as tells them apart.

    Raises:
        UsageError: The same file twice.
    """
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) < len(paths):
        raise UsageError(f"A model is given twice. Expected different files, received {[str(p) for p in paths]}.")
    parts = [[*path.parent.parts, path.name.removesuffix(".weights.h5")] for path in resolved]
    for count in range(1 + any(p[-1] in ("best", "last") for p in parts), max(map(len, parts)) + 1):
        labels = ["/".join(part[-count:]) for part in parts]
        if len(set(labels)) == len(labels):
            break
    return labels


def _predict(argv: list[str]) -> int:

    parser = new_parser(
        "aodnet predict",
        "Removes haze from pictures of any size: 8 or 16 bits, grey, RGB or RGBA.",
        "  aodnet predict --model runs/aodnet/best.weights.h5 foggy.jpg --out restored\n"
        "  aodnet predict --model runs/aodnet/best.weights.h5 photos/ --out restored",
    )
    parser.add_argument("inputs", type=Path, nargs="+", metavar="IN", help="pictures, or folders of pictures")
    parser.add_argument("--model", type=Path, required=True, help=".weights.h5 file")
    parser.add_argument("--out", required=True, help="folder for the restored pictures")
    given = parser.parse_args(argv)
    given.out = stores.on_disk(stores.place(given.out), "--out")
    _load_tensorflow()
    from aodnet import weights
    from aodnet.predict import predict

    done = predict(weights.load(given.model), given.inputs, given.out)
    print(f"{len(done.written)} pictures restored into '{given.out}'.")
    if done.problems:
        raise RefusedError(f"{len(done.problems)} inputs could not be restored:\n  " + "\n  ".join(done.problems))
    return 0


def _import_weights(argv: list[str]) -> int:

    parser = new_parser(
        "aodnet import-weights",
        "Turns published AOD-Net weights in a .npz file into a .weights.h5 file.",
        "  aodnet import-weights aod_official_weights.npz --layout caffe --out official.weights.h5",
    )
    parser.add_argument("file", type=Path, help=".npz file with {layout}_conv1_w ... {layout}_conv5_b")
    parser.add_argument("--layout", choices=("caffe", "torch"), help="[default: the only one in the file]")
    parser.add_argument("--out", type=Path, required=True, help=".weights.h5 file to write")
    given = parser.parse_args(argv)
    if not given.out.name.endswith(".weights.h5"):
        raise UsageError(
            f"The output has another suffix. Expected a name that ends in .weights.h5, received '{given.out.name}'. "
            "Change --out."
        )
    _load_tensorflow()
    from aodnet import weights

    model = weights.import_npz(given.file, given.layout)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    weights.save(model, given.out)
    print(f"{model.count_params()} parameters in '{given.out}'.")
    return 0
