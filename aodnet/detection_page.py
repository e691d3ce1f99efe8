"""What a detector found, as the report of an evaluation shows it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aodnet import pages
from aodnet.detection_report import FOLDER, GAINS
from aodnet.pages import Look
from hazegen import html, images
from hazegen.html import Part
from hazegen.progress import counted


def objects(found: Mapping[str, Any], out: Path, look: Look) -> list[Part]:
    """Figures of a detection, as its summary.json has them, and its pictures in the folder of an evaluation."""
    detector = found["detector"]
    head = ("picture", "objects", "agreeing", "precision", "recall", "F1")
    rows = [[pages.cut(version, 80), *_counts(figures)] for version, figures in found["versions"].items()]
    told = (
        f"Detector {pages.cut(detector['file'])} ({pages.cut(detector['runtime'])}, SHA-256 "
        f"{pages.cut(detector['sha256'])}), confidence of at least {found['confidence']:g}; agreement with the clean "
        f"picture's boxes of the same class at IoU {found['iou']:g}, {pages.cut(found['matching'])}."
    )
    parts: list[Part] = [html.paragraph(told), html.table(head, rows, numbers=range(1, 6))]
    for name, level in list(found["levels"].items())[: pages.MOST_ROWS]:
        inner = [[pages.cut(version, 80), *_counts(figures)] for version, figures in level["versions"].items()]
        title = f"Mean transmission {name}, {counted(level['pictures'], 'picture')}"
        parts.append(html.details(title, html.table(head, inner, numbers=range(1, 6))))
    return [*parts, *_gains(out / FOLDER / GAINS, look)]


def _counts(figures: Mapping[str, Any]) -> list[str]:
    rates = [figures[name] for name in ("precision", "recall", "f1")]
    return [
        f"{figures['objects']:,}",
        "-" if figures["agreed"] is None else f"{figures['agreed']:,}",
        *("-" if rate is None else f"{rate:.3f}" for rate in rates),
    ]


def _gains(path: Path, look: Look) -> list[Part]:
    if not path.is_file():
        return []
    pixels = images.as_rgb8(images.read_picture(path), path.name)
    told = "Pictures with boxes that each model gains and loses most in"
    wide = html.picture(pixels, told, look.width * 2, quality=look.quality)
    return [html.figure(wide, "Where each model gains most and loses most objects, against the hazy picture.")]
