"""Hazy pictures from whose values a network of integers takes its ranges."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hazegen import color, images
from hazegen.errors import RefusedError
from hazegen.progress import counted

# Pictures that are taken of a folder or a dataset, and the part of each that is looked at [px].
MOST, SIDE = 16, 480
# Procedural scenes, their width and height [px].
PROCEDURAL, SIZE = 8, (192, 144)


def pictures(data: Path | None) -> tuple[list[NDArray[np.float32]], str]:
    """Hazy pictures (height, width, 3) in [0, 1], and where they come from in words.

    Args:
        data: Folder of a dataset of hazegen's (its training pairs), or of hazy pictures; None: procedural scenes.

    Raises:
        RefusedError: There is no picture in it.
    """
    if data is None:
        return procedural(0), f"{PROCEDURAL} procedural scenes"
    found = _of_dataset(data) if (data / "manifest.json").is_file() else _of_folder(data)
    if not found:
        raise RefusedError(
            f"There is no picture in '{data}'. Expected a folder of hazy pictures or a dataset, received none. "
            "Choose another --data."
        )
    cut = [np.ascontiguousarray(hazy[:SIDE, :SIDE]) for hazy in found]
    return [color.to_float(hazy) for hazy in cut], f"{counted(len(cut), 'picture')} of '{data.name}'"


def _of_dataset(folder: Path) -> list[NDArray[np.uint8]]:
    from aodnet.pairs import sample_pairs

    return [pair.hazy for pair in sample_pairs(folder, "train", MOST)]


def _of_folder(folder: Path) -> list[NDArray[np.uint8]]:
    from hazegen.pairing import IMAGE_SUFFIXES

    inside = folder.iterdir() if folder.is_dir() else ()
    paths = sorted(path for path in inside if path.suffix.lower() in IMAGE_SUFFIXES)[:MOST]
    return [images.as_rgb8(images.read_picture(path), path.name) for path in paths]


def procedural(seed: int) -> list[NDArray[np.float32]]:
    """Streets and rooms in haze from dense to thin, for each seed always the same ones; in [0, 1]."""
    from hazegen import config, geometry, render, sampling, warm
    from hazegen.recipe import Recipe
    from hazegen.samples import NO_SURFACE, make_sample

    warm.keep_going_without_cache()
    found = []
    for scene in range(PROCEDURAL):
        sample = make_sample(seed, scene, *SIZE)
        names = ("width", "height", "fx", "fy", "cx", "cy")
        camera = geometry.Camera(**{name: sample.camera[name] for name in names})  # type: ignore[arg-type]
        unit_m = float(sample.camera["depth"]["unit_m"])  # type: ignore[index]
        depth_m = np.where(sample.depth == NO_SURFACE, np.float32(np.inf), sample.depth * np.float32(unit_m))
        distance_m = geometry.plane_to_ray(depth_m, camera)
        # Rooms are 10 m deep and streets 300 m: the haze is as dense for the one as for the other.
        far_m = float(distance_m[np.isfinite(distance_m)].max())
        law = {"visibility_m": f"log-uniform({0.5 * far_m}, {10 * far_m})", "atmospheric_light": "uniform(0.6, 1.0)"}
        recipe = config.build(Recipe, {"name": "calibration", "path": "ray", **law})
        haze = sampling.draw_variants(recipe, seed, sample.name, 1, 1.0)[0]
        found.append(color.to_float(render.render(sample.image, distance_m, haze, recipe.color_space, camera).hazy))
    return found
