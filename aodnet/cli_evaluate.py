"""The command `aodnet evaluate`."""

import dataclasses
import logging
import sys
from pathlib import Path

from aodnet.quiet import load_tensorflow
from hazegen import config, stores
from hazegen.errors import UsageError
from hazegen.tracking import choose_mode
from hazegen.verbs import new_parser


def run_evaluate(argv: list[str]) -> int:
    """aodnet evaluate."""
    from aodnet import tracking, weight_names
    from aodnet.detection import check_names
    from aodnet.detection_report import SUMMARY
    from aodnet.detectors import DetectorOptions, load_detector
    from aodnet.measures import Measures, check
    from aodnet.pairs import Source, check_source
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
    given = parser.parse_args(argv)
    source = config.build(Source, config.given(given, Source))
    measures = config.build(Measures, config.given(given, Measures))
    detection = config.build(DetectorOptions, config.given(given, DetectorOptions))
    given.out = stores.on_disk(stores.place(given.out), "--out")
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
    if (given.out / SUMMARY).is_file():
        print(f"'{given.out}' holds an evaluation already: its files are written over.", file=sys.stderr, flush=True)
    load_tensorflow()
    # Each model has a tf.function of its own, which TensorFlow takes for one that is traced again and again.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    from aodnet import weights
    from aodnet.detection import detect_models
    from aodnet.detection_report import FOLDER, format_summary
    from aodnet.evaluate import evaluate
    from aodnet.reports import format_report

    models = {name: weights.load(path) for name, path in files.items()}
    report = evaluate(models, source, given.out, measures)
    print(format_report(report))
    try:
        if detector is not None:
            objects = detect_models(models, source, detector, detection.iou, given.out)
            print(f"\n{format_summary(objects)}")
    finally:  # the evaluation is done, whatever came of the objects
        tracking.log_evaluation(options, choice, given.out, files, source.data, print)
    shown = "best, median and worst" if source.has_clean else "least, median and most haze"
    print(f"\neach image: '{given.out}/scores.csv'; {shown}: '{given.out}/strip.png'.")
    if report.bins:
        print(f"by haze: '{given.out}/levels.csv' and '{given.out}/levels.png'.")
    if detector is not None:
        print(f"objects: '{given.out}/{FOLDER}'.")
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
