"""aodnet evaluate: models beside the baselines that any of them must beat, under one protocol."""

import csv
import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from aodnet import metrics
from aodnet.baselines import AffineFit, dark_channel_prior
from aodnet.pairs import Pair, Source, count_pairs, read_pairs
from aodnet.predict import restore_picture, restorer
from hazegen import engine, images, manifest

METRICS = ("psnr", "ssim", "ciede2000")
RESAMPLES = 2000

Method = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


@dataclass(frozen=True)
class Score:
    """One method on one image."""

    image: str
    scene: str
    method: str
    psnr: float
    ssim: float
    ciede2000: float


@dataclass(frozen=True)
class Interval:
    """Mean, median and 95 % bootstrap interval of the mean of one metric."""

    mean: float
    median: float
    low: float
    high: float


Table = dict[str, dict[str, Interval]]


def evaluate(models: dict[str, keras.Model], source: Source, out: Path) -> Table:
    """Scores the hazy input, the baselines and each model on every pair.

    The outputs are rounded to 8 bits, as `aodnet predict` writes them. Leaves in `out`: scores.csv
    (each method on each image), summary.json, and strip.png (best, median and worst image).

    Returns:
        For each method, in order, its interval for each metric.
    """
    out.mkdir(parents=True, exist_ok=True)
    methods: dict[str, Method] = {
        "hazy input": _unchanged,
        "best global affine": fit_affine(source).apply,
        "dark channel prior": dark_channel_prior,
        **{name: _method(model) for name, model in models.items()},
    }
    scores: list[Score] = []
    with (
        ThreadPoolExecutor(engine.cores()) as pool,
        tqdm(total=count_pairs(source), desc="evaluating", unit="image", disable=None) as bar,
    ):
        for pair in read_pairs(source):
            scores += pool.map(lambda name, pair=pair: score(pair, name, methods[name]), methods)
            bar.update()
    table = summarise(scores)
    _write_csv(out / "scores.csv", scores)
    _write_summary(out / "summary.json", table, source, len(scores) // len(methods))
    main = list(methods)[-1]
    (out / "strip.png").write_bytes(images.encode(strip(scores, methods, main, source), ".png"))
    return table


def score(pair: Pair, name: str, method: Method) -> Score:
    """One method on one pair."""
    restored = method(pair.hazy)
    return Score(
        pair.name,
        pair.scene,
        name,
        metrics.psnr(restored, pair.clean, data_range=255.0),
        metrics.ssim(restored, pair.clean, data_range=255.0),
        metrics.ciede2000(restored, pair.clean),
    )


def fit_affine(source: Source) -> AffineFit:
    """The best gain and offset for each channel over all pairs of `source`."""
    fitted = AffineFit()
    for pair in read_pairs(source):
        fitted.add(pair.hazy, pair.clean)
    return fitted


def summarise(scores: list[Score]) -> Table:
    """Each method's mean, median and interval; scenes, not images, are drawn in the bootstrap.

    The hazy images of one scene are alike, so drawing them one by one would make the interval too narrow.
    """
    table: Table = {}
    for name in dict.fromkeys(score.method for score in scores):
        own = [score for score in scores if score.method == name]
        groups = np.unique([score.scene for score in own], return_inverse=True)[1]
        table[name] = {
            metric: _interval(np.array([getattr(score, metric) for score in own]), groups) for metric in METRICS
        }
    return table


def _interval(values: NDArray[np.float64], groups: NDArray[np.intp]) -> Interval:
    sums, counts = np.bincount(groups, values), np.bincount(groups)
    drawn = np.random.default_rng(0).integers(len(counts), size=(RESAMPLES, len(counts)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    # The nearest rank, not a mean of two: equal images have an infinite PSNR.
    low, high = np.percentile(means, [2.5, 97.5], method="nearest")
    return Interval(float(values.mean()), float(np.median(values)), float(low), float(high))


def format_table(table: Table, source: Source, pairs: int) -> str:
    """The table as Markdown, with the protocol that its figures belong to."""
    lines = [
        f"Protocol {metrics.PROTOCOL}: {protocol_text(source)}; {pairs} pairs.",
        "Each cell: mean (median), 95 % bootstrap interval of the mean.",
        "",
        "| method | PSNR [dB] | SSIM | CIEDE2000 |",
        "|---|---|---|---|",
    ]
    for name, row in table.items():
        cells = (_cell(row[metric], digits) for metric, digits in zip(METRICS, (2, 4, 2), strict=True))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(interval: Interval, digits: int) -> str:
    mean, median, low, high = (f"{value:.{digits}f}" for value in vars(interval).values())
    return f"{mean} ({median}), {low} to {high}"


def protocol_text(source: Source) -> str:
    """What decides the figures beside the pictures themselves."""
    cut = "sizes cut to the common centre" if source.align == "crop" else "full size"
    return f"float64, each image by itself, output rounded to 8 bits, RGB, range 255, {cut}"


def strip(scores: list[Score], methods: dict[str, Method], main: str, source: Source) -> NDArray[np.uint8]:
    """Best, median and worst image of method `main` by PSNR: hazy, each method, clean, with their PSNR."""
    ranked = sorted((s for s in scores if s.method == main), key=lambda s: s.psnr)
    chosen = {"best": ranked[-1].image, "median": ranked[len(ranked) // 2].image, "worst": ranked[0].image}
    rows: dict[str, NDArray[np.uint8]] = {}
    for pair in read_pairs(source):
        for rank in [rank for rank, image in chosen.items() if image == pair.name]:
            pictures = {name: method(pair.hazy) for name, method in methods.items()}
            tiles = [
                _tile(p, f"{n} {metrics.psnr(p, pair.clean, data_range=255.0):.2f} dB") for n, p in pictures.items()
            ]
            rows[rank] = np.hstack([*tiles, _tile(pair.clean, f"clean ({rank}: {pair.name})")])
    width = max(row.shape[1] for row in rows.values())
    padded = [np.pad(rows[r], ((0, 0), (0, width - rows[r].shape[1]), (0, 0)), constant_values=255) for r in chosen]
    return np.vstack(padded)


def _tile(pixels: NDArray[np.uint8], caption: str, width: int = 280) -> NDArray[np.uint8]:
    height = round(pixels.shape[0] * width / pixels.shape[1])
    tile = Image.new("RGB", (width + 4, height + 20), "white")
    tile.paste(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX), (0, 18))
    ImageDraw.Draw(tile).text((2, 2), caption, "black", ImageFont.load_default(11))
    return np.asarray(tile, np.uint8)


def _unchanged(hazy: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return hazy


def _method(model: keras.Model) -> Method:
    restore = restorer(model)
    return lambda hazy: restore_picture(restore, hazy, "image").astype(np.uint8)


def _write_csv(path: Path, scores: list[Score]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "scene", "method", *METRICS))
        for score in scores:
            values = (f"{getattr(score, metric):.6f}" for metric in METRICS)
            writer.writerow((score.image, score.scene, score.method, *values))


def _as_json(interval: Interval) -> dict[str, float | None]:
    """JSON has no infinity: the PSNR of equal images is null there."""
    return {name: value if math.isfinite(value) else None for name, value in vars(interval).items()}


def _write_summary(path: Path, table: Table, source: Source, pairs: int) -> None:
    rows = {name: {metric: _as_json(interval) for metric, interval in row.items()} for name, row in table.items()}
    content: dict[str, Any] = {"protocol": metrics.PROTOCOL, "definition": protocol_text(source), "pairs": pairs}
    content |= {"methods": rows, "version": version("hazegen")}
    if source.data is not None:
        content["dataset"] = manifest.digest(manifest.load(source.data))
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
