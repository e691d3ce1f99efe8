"""The commands that apply trained weights: `aodnet predict`, `export` and `import-weights`."""

import sys
from pathlib import Path

from aodnet.quiet import load_tensorflow
from hazegen import stores
from hazegen.errors import RefusedError, UsageError
from hazegen.progress import counted
from hazegen.verbs import new_parser


def run_predict(argv: list[str]) -> int:
    """aodnet predict."""
    parser = new_parser(
        "aodnet predict",
        "Removes haze from pictures of any size (8 or 16 bits, grey, RGB or RGBA) and from videos, frame by frame.\n"
        "Without --model by the weights that come with the package.",
        "  aodnet predict photo.jpg\n"
        "  aodnet predict photos/ --recursive --out restored\n"
        "  aodnet predict clip.mp4 --side-by-side labelled\n"
        "  aodnet predict photo.jpg --model runs/first/best.weights.h5\n"
        "  aodnet predict photo.jpg --model aodnet.onnx",
    )
    parser.add_argument("inputs", type=Path, nargs="+", metavar="IN", help="pictures, videos, or folders of them")
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="a .weights.h5 file, the name of weights of the package, a .onnx or .tflite file of `aodnet export`, or "
        "the folder of a SavedModel [default: the package's weights]",
    )
    parser.add_argument(
        "--runtime",
        choices=("keras", "onnx", "litert", "savedmodel"),
        help="what runs it [default: keras for weights, else what the file is for; a SavedModel, which is a program, "
        "runs only where this is given]",
    )
    parser.add_argument("--out", default="restored", help="folder for the results [default: restored]")
    parser.add_argument("--recursive", action="store_true", help="enter the folders of folders")
    parser.add_argument(
        "--side-by-side",
        choices=("plain", "labelled"),
        help="show the hazy picture on the left of each result",
    )
    given = parser.parse_args(argv)
    given.out = stores.on_disk(stores.place(given.out), "--out")
    from aodnet import runtimes
    from aodnet.predict import find_targets, predict

    # All that can be refused without it comes before TensorFlow, which takes seconds to import.
    find_targets(given.inputs, given.out, given.recursive)
    runtimes.check(given.model, given.runtime)
    if runtimes.needs_tensorflow(given.model, given.runtime):
        load_tensorflow()
    restore = runtimes.load(given.model, given.runtime)
    done = predict(restore, given.inputs, given.out, recursive=given.recursive, beside=given.side_by_side)
    for remark in done.remarks:
        print(remark)
    print(f"{_told(done.written)} restored into '{given.out}'.")
    if done.problems:
        failed = f"{counted(len(done.problems), 'input')} could not be restored:"
        raise RefusedError("\n  ".join([failed, *done.problems]))
    return 0


def _told(paths: list[Path]) -> str:
    from aodnet.video import SUFFIXES

    videos = sum(path.suffix.lower() in SUFFIXES for path in paths)
    numbers = {"picture": len(paths) - videos, "video": videos}
    return " and ".join(counted(n, what) for what, n in numbers.items() if n) or counted(0, "picture")


def run_export(argv: list[str]) -> int:
    """aodnet export."""
    parser = new_parser(
        "aodnet export",
        "Writes a model for another runtime, runs it there, and compares it with the Keras model.\n"
        "All formats take and give (count, height, width, 3) float32, RGB, sRGB-coded in [0, 1].",
        "  aodnet export --model runs/first/best.weights.h5 --format onnx --out aodnet.onnx\n"
        "  aodnet export --format litert --out aodnet.tflite\n"
        "  aodnet export --format litert-int8 --data hazy_photos/ --height 480 --width 640 --out aodnet-int8.tflite\n"
        "  aodnet export --format savedmodel --out aodnet-savedmodel",
    )
    parser.add_argument(
        "--model", metavar="MODEL", help="a .weights.h5 file, or the name of weights of the package [default: its own]"
    )
    parser.add_argument("--format", required=True, choices=("savedmodel", "onnx", "litert", "litert-int8"))
    parser.add_argument("--out", required=True, help="file (.onnx, .tflite), or a new folder for a SavedModel")
    parser.add_argument("--height", type=int, metavar="PX", help="the one height it takes [default: any]")
    parser.add_argument("--width", type=int, metavar="PX", help="the one width it takes [default: any]")
    parser.add_argument(
        "--data",
        type=Path,
        help="litert-int8: a dataset, or a folder of hazy pictures, from whose values its ranges are taken "
        "[default: procedural scenes]",
    )
    given = parser.parse_args(argv)
    if given.data is not None and given.format != "litert-int8":
        raise UsageError(
            f"--data belongs to litert-int8. Expected it beside that format, received it beside {given.format}. Leave "
            "it out."
        )
    given.out = stores.on_disk(stores.place(given.out), "--out")
    from aodnet import calibration, weight_names
    from aodnet.exported import check_output

    path = weight_names.find_weights(given.model or weight_names.DEFAULT)
    check_output(given.format, given.out, given.height, given.width)
    load_tensorflow()
    from aodnet import weights
    from aodnet.export import export

    model = weights.load(path)
    pictures, origin = calibration.pictures(given.data) if given.format == "litert-int8" else ((), "")
    print(f"writing '{given.out}', running it and comparing it with Keras...", file=sys.stderr, flush=True)
    done = export(
        model, given.format, given.out, height=given.height, width=given.width, pictures=pictures, origin=origin
    )
    sizes = ", ".join(f"{height} x {width}" for height, width in done.sizes)
    print(f"'{done.path}': {done.bytes:,} bytes.")
    if done.psnr_db is None:
        print(f"Largest difference from Keras: {done.max_error:.2g}, on pictures of {sizes}.")
    else:
        print(f"{done.psnr_db:.1f} dB PSNR against Keras, largest difference {done.max_error:.2g}, on {origin} and on "
              f"{calibration.PROCEDURAL} procedural scenes that gave no ranges.")  # fmt: skip
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
    if not given.file.is_file():
        raise RefusedError(f"'{given.file}' is not a file. Expected a .npz file, received none. Check the path.")
    load_tensorflow()
    from aodnet import weights

    model = weights.import_npz(given.file, given.layout)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    weights.save(model, given.out)
    print(f"{model.count_params()} parameters in '{given.out}'.")
    return 0
