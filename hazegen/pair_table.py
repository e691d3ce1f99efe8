"""What W&B shows of a dataset: a table of sampled pairs, and how their haze is spread."""

from pathlib import Path
from typing import Any

import numpy as np

from hazegen import artifacts, card, images, preview, stores, tracking
from hazegen.tracking import Session

TABLE_PAIRS = 32
HISTOGRAM_PAIRS = 2000
PICTURE_WIDTH = 480
PICTURES = ("clean", "transmission", "hazy")
LIGHT = tuple(f"atmospheric_light_{channel}" for channel in ("red", "green", "blue"))


def log_pairs(session: Session, folder: Path, name: str) -> None:
    """Logs a table of sampled pairs, and histograms of beta, A, visibility and mean transmission.

    beta is that of green; the histogram of A is of its mean over the channels.
    """
    wandb = tracking.load_wandb()
    spread: dict[str, list[float]] = {}
    for values in preview.sample(folder, HISTOGRAM_PAIRS):
        for quantity, value in _numbers(values).items():
            spread.setdefault(quantity, []).append(value)
    table = wandb.Table(columns=["key", "scene", *PICTURES, "beta_per_m", *LIGHT, "visibility_m", "mean_transmission"])
    for values in preview.choose(folder, TABLE_PAIRS):
        pictures = (_picture(values, kind) for kind in PICTURES)
        shown = [None if picture is None else wandb.Image(picture, file_type="jpg") for picture in pictures]
        beta, _, visibility_m, mean_transmission = _numbers(values).values()
        light = values["atmospheric_light"]
        table.add_data(values["key"], values["scene"], *shown, beta, *light, visibility_m, mean_transmission)
    artifact = wandb.Artifact(f"{name}-pairs", type="pairs")
    artifact.add(table, "pairs")
    artifacts.log_artifact(session, artifact, ["latest"])
    histograms = {f"pairs/{quantity}": wandb.Histogram(column, num_bins=32) for quantity, column in spread.items()}
    with stores.local_copy(folder / card.PREVIEW) as picture:
        session.run.log({"pairs/preview": wandb.Image(str(picture)), **histograms})


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    """What is counted of a record, one number each."""
    return {
        "beta_per_m": values["beta"][1],
        "atmospheric_light": float(np.mean(values["atmospheric_light"])),
        "visibility_m": values["visibility_m"],
        "mean_transmission": values["mean_transmission"],
    }


def _picture(values: dict[str, Any], kind: str) -> Any:
    """A picture of a record, small enough for a table; None where the dataset does not store it."""
    if kind not in values:
        return None
    pixels = images.decode(values[kind], kind)
    shown = preview.false_colors(pixels) if kind == "transmission" else images.as_rgb8(pixels, kind)
    return preview.tile(shown, min(PICTURE_WIDTH, shown.shape[1]))
