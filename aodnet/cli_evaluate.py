"""The command `aodnet evaluate`."""

import dataclasses
from pathlib import Path

from aodnet.quiet import load_tensorflow
from hazegen import config, stores
from hazegen.errors import UsageError
from hazegen.tracking import choose_mode
from hazegen.verbs import new_parser


def run_evaluate(argv: list[str]) -> int:
    """aodnet evaluate."""
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
    load_tensorflow()
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
