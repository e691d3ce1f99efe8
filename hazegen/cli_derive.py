"""The commands that make datasets from finished ones: hazegen split, merge, sample."""

from typing import TYPE_CHECKING

from hazegen import config, stores
from hazegen.manifest import SPLITS
from hazegen.verbs import new_parser

if TYPE_CHECKING:
    import argparse

    from hazegen.derive import Derived


def run_split(argv: list[str]) -> int:
    """hazegen split."""
    from hazegen.derive import CopyOptions
    from hazegen.derive_split import SplitOptions, split

    parser = new_parser(
        "hazegen split",
        "Copies a dataset with its scenes divided anew. No scene and no group is divided; no picture is encoded again.",
        "  hazegen split dataset --out other --splits train=0.9,test=0.1 --seed 1\n"
        "  hazegen split dataset --out by-room --group-by '(.+)/[^/]+'\n"
        "  hazegen split dataset --out as-listed --split-file splits.csv",
    )
    parser.add_argument("dataset", help="folder of a dataset")
    _add_out(parser)
    config.add_options(parser, SplitOptions, "how the scenes are divided")
    config.add_options(parser, CopyOptions, "how records are copied")
    given = parser.parse_args(argv)
    options = config.build(SplitOptions, config.given(given, SplitOptions))
    _tell(split(stores.place(given.dataset), stores.place(given.out), options))
    return 0


def run_merge(argv: list[str]) -> int:
    """hazegen merge."""
    from hazegen.derive import CopyOptions
    from hazegen.derive_merge import MergeOptions, merge

    parser = new_parser(
        "hazegen merge",
        "Puts datasets together, in any order: each scene stays in its split, no picture is encoded again.",
        "  hazegen merge first second --out both\n  hazegen merge indoor outdoor --out both --prefix rooms,streets",
    )
    parser.add_argument("datasets", nargs="+", help="folders of datasets")
    _add_out(parser)
    config.add_options(parser, MergeOptions, "keys")
    config.add_options(parser, CopyOptions, "how records are copied")
    given = parser.parse_args(argv)
    options = config.build(MergeOptions, config.given(given, MergeOptions))
    _tell(merge([stores.place(folder) for folder in given.datasets], stores.place(given.out), options))
    return 0


def run_sample(argv: list[str]) -> int:
    """hazegen sample."""
    from hazegen.derive import CopyOptions
    from hazegen.derive_sample import SampleOptions, sample

    parser = new_parser(
        "hazegen sample",
        "Copies a part of a dataset: filters first, then a number or a share of what is left, from every split.",
        "  hazegen sample dataset --out small --scenes 100\n"
        "  hazegen sample dataset --out tenth --share 0.1 --seed 1\n"
        "  hazegen sample dataset --out dense --visibility-m 0,50 --split train\n"
        "  hazegen sample dataset --out clear --mean-transmission 0.5,1 --pairs 2000",
    )
    parser.add_argument("dataset", help="folder of a dataset")
    _add_out(parser)
    config.add_options(parser, SampleOptions, "what is taken")
    config.add_options(parser, CopyOptions, "how records are copied")
    given = parser.parse_args(argv)
    options = config.build(SampleOptions, config.given(given, SampleOptions))
    _tell(sample(stores.place(given.dataset), stores.place(given.out), options))
    return 0


def _add_out(parser: "argparse.ArgumentParser") -> None:
    text = "new folder for the dataset; the same command goes on in it"
    parser.add_argument("--out", required=True, help=text)


def _tell(done: "Derived") -> None:
    known, inputs = done.manifest, done.manifest.inputs
    if done.finished_before:
        print(f"Nothing to do: '{done.out}' is finished.")
    elif done.reused:
        print(f"{done.reused} of {len(known.shards)} shards were there already.")
    size = sum(shard.bytes for shard in known.shards)
    print(f"{known.counted()} in '{done.out}': {len(known.shards)} shards, "
          f"{size / 1e6:,.0f} MB, {done.seconds:.1f} s, recipe {known.recipe.get('name')}.")  # fmt: skip
    for split in SPLITS:
        counts = known.splits[split]
        pairs = f" {counts['records']:>9} pairs" if known.kind == "pairs" else ""
        print(f"  {split:<11}{counts['scenes']:>8} scenes{pairs}")
    print("  inputs: {found} found = {used} used + {rejected} rejected".format(**inputs))
    print(f"next: hazegen info {done.out}, then: aodnet fit --data {done.out}")
