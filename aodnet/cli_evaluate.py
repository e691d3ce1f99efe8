"""The command `aodnet evaluate`."""

import argparse
import dataclasses
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from aodnet import told, weight_names
from aodnet.quiet import load_tensorflow
from hazegen import config, manifest, stores
from hazegen.errors import UsageError
from hazegen.tracking import choose_mode
from hazegen.verbs import new_parser

if TYPE_CHECKING:
    from aodnet.detectors import Detector
    from aodnet.measures import Measures
    from aodnet.pairs import Source


def run_evaluate(argv: list[str]) -> int:
    """aodnet evaluate."""
    from aodnet import run_facts, tracking
    from aodnet.detection import check_names
    from aodnet.detectors import DetectorOptions, load_detector
    from aodnet.measures import Measures, check
    from aodnet.pairs import Source, check_source
    from aodnet.tracking import TrackingOptions

    given = _parser().parse_args(argv)
    source = config.build(Source, config.given(given, Source))
    measures = config.build(Measures, config.given(given, Measures))
    detection = config.build(DetectorOptions, config.given(given, DetectorOptions))
    out = stores.on_disk(stores.place(given.out), "--out")
    if run_facts.is_run(out):
        raise UsageError(
            f"--out is the folder of a training run, whose report would be written over. Expected another one, "
            f"received '{out}'. Pass --out {out / 'evaluation'}, say."
        )
    options = config.build(TrackingOptions, config.given(given, TrackingOptions))
    choice = choose_mode(options.wandb or ("auto" if config.given(given, TrackingOptions) else "off"))
    if source.data is not None:
        source = dataclasses.replace(source, data=tracking.fetch(source.data))
    # All that can be refused without it comes before TensorFlow, which takes seconds to import.
    paths = [weight_names.find_weights(text) for text in given.model]
    files = dict(zip(_labels(paths), paths, strict=True))
    check(measures, files, has_clean=source.has_clean)
    check_source(source)
    detector = load_detector(detection) if detection.detector is not None else None
    if detector is not None:
        check_names(files)
    _evaluate(
        files, source, measures, detector, detection.iou, out, told.command("aodnet", "evaluate", *argv),
        lambda: tracking.log_evaluation(options, choice, out, files, source.data, print),
    )  # fmt: skip
    return 0


def _parser() -> argparse.ArgumentParser:
    from aodnet.detectors import DetectorOptions
    from aodnet.measures import Measures
    from aodnet.pairs import Source
    from aodnet.streaming import CacheOptions
    from aodnet.tracking import TrackingOptions

    parser = new_parser(
        "aodnet evaluate",
        "Scores models beside the hazy input, the best global affine and the dark channel prior.",
        "  aodnet evaluate --model runs/aodnet/best.weights.h5 --data dataset\n"
        "  aodnet evaluate --model ours.weights.h5 rooms --compare-to rooms --pairs SOTS/indoor --align crop\n"
        "  aodnet evaluate --model ours.weights.h5 --hazy photos --fade\n"
        "  aodnet evaluate --model rooms --data dataset --detector FastestDet.onnx --detector-names coco.names",
    )
    parser.add_argument(
        "--model", nargs="+", required=True, help=".weights.h5 files, or names of weights that come with the package"
    )
    parser.add_argument("--out", default="runs/evaluation", help="[default: runs/evaluation]")
    config.add_options(parser, Source, "pairs")
    config.add_options(parser, CacheOptions, "datasets in a store")
    config.add_options(parser, Measures, "measures")
    config.add_options(parser, DetectorOptions, "objects in haze")
    config.add_options(parser, TrackingOptions, "Weights & Biases")
    return parser


def _evaluate(
    files: Mapping[str, Path],
    source: "Source",
    measures: "Measures",
    detector: "Detector | None",
    iou: float,
    out: Path,
    command: str,
    log: Callable[[], None],
) -> None:
    """Does the work, and prints what was found and where it lies.

    Args:
        files: Weights by their names in the table.
        iou: Overlap from which on two boxes agree.
        command: What was typed.
        log: What is called when the evaluation is done, whatever came of the objects.
    """
    from aodnet.detection_report import SUMMARY, format_summary

    if (out / SUMMARY).is_file():
        print(f"'{out}' holds an evaluation already: its files are written over.", file=sys.stderr, flush=True)
    load_tensorflow()
    # Each model has a tf.function of its own, which TensorFlow takes for one that is traced again and again.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    from aodnet import evaluation_report, pages, weights
    from aodnet.detection import detect_models
    from aodnet.evaluate import evaluate
    from aodnet.evaluation_report import Done
    from aodnet.reports import format_report

    models = {name: weights.load(path) for name, path in files.items()}
    report = evaluate(models, source, out, measures)
    print(format_report(report))
    objects = None
    try:
        if detector is not None:
            objects = detect_models(models, source, detector, iou, out)
            print(f"\n{format_summary(objects)}")
    finally:
        models = {name: (path, manifest.sha256(path)) for name, path in files.items()}
        done = Done(report, out, models, measures, command, objects)
        pages.leave(out / pages.REPORT, lambda: evaluation_report.write(done), print)
        log()
    print("\n" + "\n".join(_places(out, source.has_clean, bool(report.bins), detector is not None)))


def _places(out: Path, has_clean: bool, by_haze: bool, objects: bool) -> Iterator[str]:
    """Where each part of the evaluation lies."""
    from aodnet.detection_report import FOLDER
    from aodnet.pages import REPORT

    shown = "best, median and worst" if has_clean else "least, median and most haze"
    yield f"each image: '{out}/scores.csv'; {shown}: '{out}/strip.png'."
    if (out / REPORT).is_file():
        yield f"all of it as a page: '{out}/{REPORT}'."
    if by_haze:
        yield f"by haze: '{out}/levels.csv' and '{out}/levels.png'."
    if objects:
        yield f"objects: '{out}/{FOLDER}'."


def _labels(paths: list[Path]) -> list[str]:
    """The models' names in the table: as much of their paths' ends as tells them apart.

    Raises:
        UsageError: The same file twice.
    """
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) < len(paths):
        raise UsageError(f"A model is given twice. Expected different files, received {[str(p) for p in paths]}.")
    names = [path.name.removesuffix(".weights.h5") for path in resolved]
    # Weights that come with the package have the names by which they are given.
    parts = [
        [name] if path.parent == weight_names.PRETRAINED.resolve() else [*path.parent.parts, name]
        for path, name in zip(resolved, names, strict=True)
    ]
    for count in range(1 + any(p[-1] in ("best", "last") for p in parts), max(map(len, parts)) + 1):
        labels = ["/".join(part[-count:]) for part in parts]
        if len(set(labels)) == len(labels):
            break
    return labels
