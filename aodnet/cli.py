"""The command `aodnet`: its verbs."""

import sys

from aodnet.cli_compare import run_compare
from aodnet.cli_evaluate import run_evaluate
from aodnet.cli_fit import run_fit
from aodnet.cli_predict import run_export, run_import_weights, run_predict
from aodnet.cli_trials import run_find_lr, run_overfit
from aodnet.demo import run_demo
from hazegen.verbs import Verb, run_verb

DESCRIPTION = "Trains, evaluates and applies AOD-Net on datasets made by hazegen."


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit status (docs/README.md, exit codes)."""
    verbs: dict[str, tuple[str, Verb]] = {
        "fit": ("train AOD-Net on datasets", run_fit),
        "overfit": ("see whether the network learns one batch, for debugging", run_overfit),
        "find-lr": ("find a learning rate by a short test", run_find_lr),
        "evaluate": ("score models beside baselines on pairs", run_evaluate),
        "compare": ("put several runs and evaluations on one page", run_compare),
        "predict": ("remove haze from pictures and videos", run_predict),
        "demo": ("make haze and remove it, on a page in the browser", run_demo),
        "export": ("write a model for ONNX, LiteRT or as a SavedModel", run_export),
        "import-weights": ("turn published weights (.npz) into ours", run_import_weights),
    }
    return run_verb("aodnet", DESCRIPTION, verbs, sys.argv[1:] if argv is None else argv)
