"""What integers of 8 bits cost AOD-Net, and what each of the two remedies gives back.

    python benchmarks/integers.py --photos HAZY_PHOTOS --out integers.json

Ranges come from the 8 procedural scenes of `aodnet export`. PSNR between the integers' output and the Keras model's is
told for those scenes, for 8 others, and for the hazy pictures in --photos (at most 480 px a side, by areas): over all
pixels, and of the worst picture. Four forms: as the converter makes it; with features of equal range; with the last
line K I - K + b in float32; and with both, which is what `aodnet export --format litert-int8` writes.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aodnet.quiet import load_tensorflow

Picture = NDArray[np.float32]
SIDE = 480
FORMS = ("converter", "equal ranges", "float last line", "both")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["rooms", "procedural"], help="weights [default: the package's]")
    parser.add_argument("--photos", type=Path, help="folder of hazy pictures")
    parser.add_argument("--out", type=Path, default=Path("integers.json"))
    given = parser.parse_args()
    load_tensorflow()
    from aodnet import calibration, runtimes, weights

    sets = {"ranges": calibration.procedural(0), "unseen": calibration.procedural(1)}
    if given.photos:
        sets["photos"] = list(photos(given.photos))
    found: dict[str, Any] = {}
    for name in given.model:
        network = weights.load(weights.find_weights(name))
        call = runtimes.keras_call(network)
        expected = {key: [call(hazy) for hazy in hazies] for key, hazies in sets.items()}
        for form, restore in forms(network, sets["ranges"]):
            found[f"{name}, {form}"] = {
                key: agreement([restore(hazy) for hazy in hazies], expected[key]) for key, hazies in sets.items()
            }
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"| weights, form | {' | '.join(sets)} |", f"|{'---|' * (1 + len(sets))}", sep="\n")
    for name, row in found.items():
        print(f"| {name} | {' | '.join(f'{total:.1f} ({worst:.1f})' for total, worst in row.values())} |")


def photos(folder: Path) -> Iterator[Picture]:
    from aodnet.pairs import Source, read_pictures
    from hazegen import color

    for picture in read_pictures(Source(hazy=folder)):
        factor = min(1.0, SIDE / max(picture.hazy.shape[:2]))
        small = cv2.resize(picture.hazy, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        yield color.to_float(np.asarray(small, np.uint8))


def forms(network: Any, pictures: list[Picture]) -> Iterator[tuple[str, Callable[[Picture], Picture]]]:
    """Each form as a function from a hazy picture to the restored one."""
    from aodnet import export, runtimes
    from aodnet.equalised import equalised
    from aodnet.model import BIAS

    equal = equalised(network, pictures)
    for form, model in ((FORMS[0], network), (FORMS[1], equal)):
        yield form, converted(model, model.output, pictures)
    k = converted(network, network.get_layer("k").output, pictures)
    yield FORMS[2], lambda hazy: (estimate := k(hazy)) * hazy - estimate + np.float32(BIAS)
    yield FORMS[3], runtimes.open_litert(export.as_litert(network, pictures=pictures)[0], FORMS[3]).call


def converted(model: Any, output: Any, pictures: list[Picture]) -> Callable[[Picture], Picture]:
    """All of it in integers, by the converter alone."""
    import keras
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    from aodnet import export
    from aodnet.saved_model import as_function
    from aodnet.silence import silence

    function = as_function(keras.Model(model.input, output), export.describe(model, "litert")).get_concrete_function()
    with silence():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([picture[None]] for picture in pictures)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        interpreter = Interpreter(model_content=converter.convert())
    source, target = (one[0]["index"] for one in (interpreter.get_input_details(), interpreter.get_output_details()))

    def call(hazy: Picture) -> Picture:
        interpreter.resize_tensor_input(source, (1, *hazy.shape))
        interpreter.allocate_tensors()
        interpreter.set_tensor(source, np.ascontiguousarray(hazy[None]))
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(target)[0])

    return call


def agreement(outputs: list[Picture], expected: list[Picture]) -> tuple[float, float]:
    """PSNR [dB] over all pixels of all pictures, and of the picture in which it is least; outputs clipped."""
    errors = [
        np.square(np.clip(a, 0.0, 1.0) - np.clip(b, 0.0, 1.0), dtype=np.float64)
        for a, b in zip(outputs, expected, strict=True)
    ]
    total = sum(error.sum() for error in errors) / sum(error.size for error in errors)
    return decibels(total), decibels(max(error.mean() for error in errors))


def decibels(error: float) -> float:
    return float(-10.0 * np.log10(max(error, 1e-12)))


if __name__ == "__main__":
    main()
