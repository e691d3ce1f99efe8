"""Objects found in hazy, dehazed and clean photos, by visibility.

Haze of each visibility is put on the photos by `hazegen make`; all that follows '--' goes to it (depth maps and
camera). Every model, and the dark channel prior, restores the hazy photos; the detector looks at all of them.

    python benchmarks/detection.py --images KITTI/rgb --detector FastestDet.onnx --names coco.names \\
        --models caffe.weights.h5 --visibilities 50,100,200,400 --confidence 0.35 --out build/detection \\
        -- --depth KITTI/depth --depth-kind kitti --fov-deg 81.4 --recipe.max-holes 0.9

--short takes the first photo and the first visibility alone.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from aodnet.quiet import load_tensorflow

COLUMNS = ("objects", "agreed", "precision", "recall", "f1")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder of clean photos")
    parser.add_argument("--detector", type=Path, required=True, help="ONNX file")
    parser.add_argument("--names", type=Path, help="names of its classes")
    parser.add_argument("--runtime", default="auto", choices=("auto", "cv2", "onnxruntime"))
    parser.add_argument("--confidence", type=float, default=0.5)
    parser.add_argument("--models", type=Path, nargs="*", default=[], help=".weights.h5 files")
    parser.add_argument("--visibilities", default="50,100,200,400", help="[m], with commas between")
    parser.add_argument("--atmospheric-light", default="0.9")
    parser.add_argument("--variants", type=int, default=1, help="hazy pictures of each photo and visibility")
    parser.add_argument("--out", type=Path, default=Path("build/detection"), help="new folder for everything")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("make", nargs="*", help="options of hazegen make")
    given = parser.parse_args(argv)
    given.out.mkdir(parents=True)
    load_tensorflow()
    from aodnet.detectors import DetectorOptions, load_detector

    options = DetectorOptions(
        detector=given.detector, detector_names=given.names, detector_runtime=given.runtime, confidence=given.confidence
    )
    detector, methods = load_detector(options), load_methods(given.models)
    began, figures = time.perf_counter(), dict[str, Any]()
    for visibility in given.visibilities.split(",")[: 1 if given.short else None]:
        figures[visibility] = one_visibility(given, visibility, detector, methods)
    figures = {
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seconds": round(time.perf_counter() - began, 1),
        "confidence": given.confidence,
        "visibilities": figures,
    }
    (given.out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(format_figures(figures))


def load_methods(models: list[Path]) -> dict[str, Any]:
    """From hazy to restored pixels, by the models' names."""
    from aodnet import weights
    from aodnet.baselines import dark_channel_prior
    from aodnet.predict import restore_picture, restorer

    def method(path: Path) -> Any:
        restore = restorer(weights.load(path))
        return lambda hazy: restore_picture(restore, hazy, path.name).astype(np.uint8)

    return {"dark channel prior": dark_channel_prior} | {
        path.name.removesuffix(".weights.h5"): method(path) for path in models
    }


def one_visibility(given: argparse.Namespace, visibility: str, detector: Any, methods: dict[str, Any]) -> Any:
    """What summary.json of this visibility holds."""
    from aodnet.detection import detect_pairs
    from aodnet.pairs import Source, read_pairs

    folder = given.out / f"{visibility}m"
    command = [str(Path(sys.executable).with_name("hazegen")), "make", "--images", str(given.images)]
    command += ["--out", str(folder / "dataset"), "--recipe", "outdoor-visibility", "--recipe.visibility-m", visibility]
    command += ["--recipe.atmospheric-light", given.atmospheric_light, "--variants", str(given.variants)]
    command += ["--splits", "train=0,validation=0,test=1", "--quiet", *given.make]
    if given.short:
        command += ["--limit", "1"]
    subprocess.run(command, check=True)
    pairs = read_pairs(Source(data=folder / "dataset"))
    return detect_pairs(pairs, methods, detector, 0.5, folder)


def format_figures(figures: dict[str, Any]) -> str:
    """A Markdown table: a row for each visibility and version of the pictures."""
    lines = [f"| visibility [m] | picture | {' | '.join(COLUMNS)} |", "|---" * (2 + len(COLUMNS)) + "|"]
    for visibility, summary in figures["visibilities"].items():
        for version, row in summary["versions"].items():
            cells = [row[name] for name in COLUMNS] if version != "clean" else [row["objects"], *[""] * 4]
            told = ("-" if cell is None else f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells)
            lines.append(f"| {visibility} | {version} | {' | '.join(told)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
