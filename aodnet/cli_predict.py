"""The commands that apply trained weights: `aodnet predict` and `import-weights`."""

from pathlib import Path

from aodnet.quiet import load_tensorflow
from hazegen import stores
from hazegen.errors import RefusedError, UsageError
from hazegen.verbs import new_parser


def run_predict(argv: list[str]) -> int:
    """aodnet predict."""
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
    load_tensorflow()
    from aodnet import weights
    from aodnet.predict import predict

    done = predict(weights.load(given.model), given.inputs, given.out)
    print(f"{len(done.written)} pictures restored into '{given.out}'.")
    if done.problems:
        raise RefusedError(f"{len(done.problems)} inputs could not be restored:\n  " + "\n  ".join(done.problems))
    return 0


def run_import_weights(argv: list[str]) -> int:
    """aodnet import-weights."""
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
    load_tensorflow()
    from aodnet import weights

    model = weights.import_npz(given.file, given.layout)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    weights.save(model, given.out)
    print(f"{model.count_params()} parameters in '{given.out}'.")
    return 0
