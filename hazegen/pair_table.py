"""What W&B shows of a dataset: a table of sampled pairs or scenes, and how their haze or their distances are spread."""

from pathlib import Path
from typing import Any

import numpy as np

from hazegen import artifacts, card, manifest, preview, preview_scenes, scene_records, stores, tracking
from hazegen.manifest import Manifest
from hazegen.tracking import Session

TABLE_PAIRS = 32
# Of scenes all distances are read for it.
HISTOGRAM_PAIRS, HISTOGRAM_SCENES = 2000, 200
PICTURE_WIDTH = 480
PICTURES = ("clean", "transmission", "hazy")
LIGHT = tuple(f"atmospheric_light_{channel}" for channel in ("red", "green", "blue"))
PAIR_COLUMNS = ["key", "scene", *PICTURES, "beta_per_m", *LIGHT, "visibility_m", "mean_transmission"]
SCENE_COLUMNS = ["key", "clean", "distance", "example_of_haze", "largest_m", "median_m", "no_surface"]


def log_pairs(session: Session, folder: Path, name: str) -> None:
    """Logs a table of sampled pairs, and histograms of beta, A, visibility and mean transmission.

    beta is that of green; the histogram of A is of its mean over the channels. Of scenes: their distances.
    """
    wandb, known = tracking.load_wandb(), manifest.load(folder)
    scenes, kind = known.kind == "scenes", known.kind
    numbers, row = (_scene_numbers, _scene_row) if scenes else (_numbers, _pair_row)
    spread: dict[str, list[float]] = {}
    for values in preview.sample(folder, HISTOGRAM_SCENES if scenes else HISTOGRAM_PAIRS):
        for quantity, value in numbers(values).items():
            spread.setdefault(quantity, []).append(value)
    table = wandb.Table(columns=SCENE_COLUMNS if scenes else PAIR_COLUMNS)
    for values in preview.choose(folder, TABLE_PAIRS):
        shown = (None if p is None else wandb.Image(p, file_type="jpg") for p in _pictures(values, known))
        table.add_data(*row(values, list(shown)))
    artifact = wandb.Artifact(f"{name}-{kind}", type=kind)
    artifact.add(table, kind)
    artifacts.log_artifact(session, artifact, ["latest"])
    histograms = {f"{kind}/{quantity}": wandb.Histogram(column, num_bins=32) for quantity, column in spread.items()}
    with stores.local_copy(folder / card.PREVIEW) as picture:
        session.run.log({f"{kind}/preview": wandb.Image(str(picture)), **histograms})


def _pair_row(values: dict[str, Any], shown: list[Any]) -> list[Any]:
    beta, _, visibility_m, mean_transmission = _numbers(values).values()
    light = values["atmospheric_light"]
    return [values["key"], values["scene"], *shown, beta, *light, visibility_m, mean_transmission]


def _scene_row(values: dict[str, Any], shown: list[Any]) -> list[Any]:
    return [values["key"], *shown, *_scene_numbers(values).values()]


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    """What is counted of a record, one number each."""
    return {
        "beta_per_m": values["beta"][1],
        "atmospheric_light": float(np.mean(values["atmospheric_light"])),
        "visibility_m": values["visibility_m"],
        "mean_transmission": values["mean_transmission"],
    }


def _scene_numbers(values: dict[str, Any]) -> dict[str, float]:
    """As `_numbers`, of a stored scene."""
    distance_m = scene_records.distances(values)
    return {
        "largest_m": values["largest_m"],
        "median_m": float(np.median(distance_m[np.isfinite(distance_m)])),
        "no_surface": float(np.isinf(distance_m).mean()),
    }


def _pictures(values: dict[str, Any], known: Manifest) -> list[Any]:
    """The pictures of a record, small enough for a table; None where the dataset does not store one."""
    if known.kind == "scenes":
        haze = preview_scenes.haze_of(values, known, 1)
        pictures: list[Any] = list(preview_scenes.pictures(values, known, haze))
    else:
        pictures = [preview.picture_of(values, name, known) if name in values else None for name in PICTURES]
    return [None if one is None else preview.tile(one, min(PICTURE_WIDTH, one.shape[1])) for one in pictures]
