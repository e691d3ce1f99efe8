"""The command `hazegen`: which verbs there are. Each parses, calls one function and prints its summary."""

import sys

from hazegen import cli_checks, cli_dataset, cli_derive, cli_looks, cli_make
from hazegen.verbs import Verb, run_verb

DESCRIPTION = "Turns clean photos and depth maps into physically right hazy/clean pairs in TFRecords."


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit status (docs/README.md, exit codes)."""
    verbs: dict[str, tuple[str, Verb]] = {
        "samples": ("procedural scenes with exact depth, to start without data", cli_make.run_samples),
        "recipes": ("the shipped recipes, and one scene under each", cli_make.run_recipes),
        "inspect": ("look at depth maps before anything is made of them", cli_looks.run_inspect),
        "make": ("a dataset of hazy/clean pairs from photos and depth maps", cli_make.run_make),
        "verify": ("hold a dataset against its manifest, down to the pixels", cli_checks.run_verify),
        "repair": ("mend what of a dataset is damaged or missing, bit for bit", cli_checks.run_repair),
        "info": ("what a dataset is: recipe, counts, sizes, spread of its haze", cli_dataset.run_info),
        "preview": ("a contact sheet of a dataset's pairs", cli_dataset.run_preview),
        "split": ("another division of a dataset's scenes", cli_derive.run_split),
        "merge": ("one dataset from several", cli_derive.run_merge),
        "sample": ("a part of a dataset", cli_derive.run_sample),
        "export": ("a dataset as image folders or as WebDataset", cli_dataset.run_export),
        "audit": ("find out which recipe made given hazy/clean pairs", cli_looks.run_audit),
        "publish": ("send a dataset to Weights & Biases as an artifact", cli_dataset.run_publish),
        "pull": ("fetch a published dataset from Weights & Biases", cli_dataset.run_pull),
        "card": ("write a dataset's card again, and its licence, citation and source", cli_dataset.run_card),
    }
    return run_verb("hazegen", DESCRIPTION, verbs, sys.argv[1:] if argv is None else argv)
