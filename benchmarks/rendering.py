"""Time of the renderer beside the readable reference, effect by effect, in turn in one process.

    python benchmarks/rendering.py --out build/rendering.json

One procedural street of 640 x 480, one thread; median of several runs, in milliseconds a variant, and the largest
difference of the two pictures in code values, before the camera's part.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hazegen import config, geometry, render, sampling, synthesis
from hazegen.recipe import Recipe
from hazegen.samples import NO_SURFACE, make_sample

PLAIN = {"visibility_m": "[60]", "atmospheric_light": "[0.8]", "path": "ray"}
EFFECTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "linear light": {"color_space": "linear"},
    "coloured (Angstrom)": {"angstrom_exponent": "[1.0]"},
    "patches": {"noise_contrast": "[0.8]", "noise_scale_m": "[10]"},
    "ground fog": {"height_scale_m": "[5]"},
    "patches and ground fog": {"noise_contrast": "[0.8]", "noise_scale_m": "[10]", "height_scale_m": "[5]"},
    "multiple scattering": {"scattering_blur": "[0.004]"},
    "night": {"illumination": "[0.1]", "glow": "[10]", "lamp_threshold": 0.6},
    "camera": {"blur_px": "[1]", "shot_noise": "[0.002]", "read_noise": "[0.003]", "jpeg_quality": "[80]"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args()
    rows = measure(given.width, given.height, given.repeats)
    print(f"{'effect':<26}{'renderer [ms]':>14}{'reference [ms]':>16}{'ratio':>8}{'codes apart':>13}")
    for row in rows:
        print(f"{row['effect']:<26}{row['renderer_ms']:>14.1f}{row['reference_ms']:>16.1f}"
              f"{row['reference_ms'] / row['renderer_ms']:>8.1f}{row['codes_apart']:>13}")  # fmt: skip
    if given.out:
        machine = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "date": time.strftime("%Y-%m-%d"),
        }
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps({"rows": rows, **machine}, indent=1) + "\n")


def measure(width: int, height: int, repeats: int) -> list[dict[str, Any]]:
    """Milliseconds of both for each effect, and how far their pictures lie apart."""
    cv2.setNumThreads(1)
    sample = make_sample(0, 14, width, height)
    fields = {name: sample.camera[name] for name in ("width", "height", "fx", "fy", "cx", "cy")}
    camera = geometry.Camera(**fields)  # type: ignore[arg-type]
    unit_m = float(sample.camera["depth"]["unit_m"])  # type: ignore[index]
    depth_m = np.where(sample.depth == NO_SURFACE, np.float32(np.inf), sample.depth * np.float32(unit_m))
    distance_m = geometry.plane_to_ray(depth_m, camera)
    rows = []
    for effect, changes in EFFECTS.items():
        recipe = config.build(Recipe, PLAIN | changes)
        haze = sampling.draw_variants(recipe, 0, "street", 1, 1.0)[0]
        times: dict[str, list[float]] = {"renderer": [], "reference": []}
        pictures = {}
        for _ in range(repeats):
            for name, function in (("renderer", render.render), ("reference", synthesis.render)):
                began = time.perf_counter()
                pictures[name] = function(sample.image, distance_m, haze, recipe.color_space, camera).hazy
                times[name].append(time.perf_counter() - began)
        apart = np.abs(pictures["renderer"].astype(int) - pictures["reference"]).max()
        medians = {f"{name}_ms": round(1000.0 * statistics.median(taken), 2) for name, taken in times.items()}
        rows.append({"effect": effect, **medians, "codes_apart": int(apart)})
    return rows


if __name__ == "__main__":
    main()
