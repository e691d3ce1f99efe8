"""Counts of objects as figures: agreement, a JSON, a Markdown table, and a table of Weights & Biases."""

import csv
import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aodnet.detection_pictures import Seen
from aodnet.detectors import SUPPRESSION_IOU, Detector
from aodnet.markdown import cell
from hazegen import tracking as sessions
from hazegen.progress import counted

HAZY, CLEAN = "hazy", "clean"

FOLDER = "detection"
BOXES_CSV, PICTURES_CSV, SUMMARY, TABLE, GAINS = "boxes.csv", "pictures.csv", "summary.json", "table.md", "gains.png"
PICTURES = "pictures"

MATCHING = (
    "greedy: the surest box first, each with the box of its class in the clean picture, not yet taken, that it "
    "overlaps most"
)


@dataclass(frozen=True)
class Agreement:
    """How far the boxes of some pictures agree with those of their clean ones.

    Attributes:
        found: Boxes in them.
        agreed: Boxes among these that agree with one of the clean picture's.
        clean: Boxes in the clean pictures; None where there are no such pictures.
    """

    found: int
    agreed: int
    clean: int | None

    @property
    def precision(self) -> float | None:
        """Share of the boxes found that agree; None where there are none."""
        return self.agreed / self.found if self.found and self.clean is not None else None

    @property
    def recall(self) -> float | None:
        """Share of the clean pictures' boxes that were found; None where there are none."""
        return self.agreed / self.clean if self.clean else None

    @property
    def f1(self) -> float | None:
        """2 agreed / (found + clean), the harmonic mean of both; None where there are no boxes at all."""
        if self.clean is None or self.found + self.clean == 0:
            return None
        return 2 * self.agreed / (self.found + self.clean)

    def as_json(self) -> dict[str, Any]:
        rates = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        agreed = None if self.clean is None else self.agreed
        return {"objects": self.found, "agreed": agreed, "in_clean": self.clean, **rates}


class Tally:
    """Boxes by haze level, version and class; its size does not depend on the number of pictures."""

    def __init__(self, versions: Sequence[str]) -> None:
        self.versions = tuple(versions)
        self.seen = Counter[str | None]()
        self.found = Counter[tuple[str | None, str, int]]()
        self.agreed = Counter[tuple[str | None, str, int]]()

    @property
    def pictures(self) -> int:
        return self.seen.total()

    def add(self, level: str | None, seen: Sequence[Seen]) -> None:
        """Counts all versions of one picture."""
        self.seen[level] += 1
        for one in seen:
            self.found.update((level, one.version, int(number)) for number in one.found.classes)
            if one.partners is not None:
                self.agreed.update((level, one.version, int(n)) for n in one.found.classes[one.partners >= 0])

    def classes(self) -> list[int]:
        """All classes that were found in some version, the most frequent in clean (else hazy) pictures first."""
        of, counts = CLEAN if CLEAN in self.versions else HAZY, Counter[int]()
        for (_, version, number), count in self.found.items():
            counts[number] += count if version == of else 0
        return sorted(counts, key=lambda number: (-counts[number], number))

    def agreement(self, version: str, *, level: str | None = None, number: int | None = None) -> Agreement:
        """Of all pictures, or those of one haze level; of all classes, or one."""

        def total(counts: Counter[tuple[str | None, str, int]], wanted: str) -> int:
            return sum(
                count
                for (at, of, what), count in counts.items()
                if of == wanted and level in (None, at) and number in (None, what)
            )

        clean = total(self.found, CLEAN) if CLEAN in self.versions else None
        return Agreement(total(self.found, version), total(self.agreed, version), clean)


def summarise(tally: Tally, detector: Detector, iou: float) -> dict[str, Any]:
    """All figures, as summary.json holds them."""
    levels = sorted(level for level in tally.seen if level is not None)
    return {
        "detector": {
            "file": detector.file,
            "sha256": detector.sha256,
            "runtime": detector.runtime,
            "input": f"{detector.size[0]} x {detector.size[1]}",
            "layout": detector.layout.said,
        },
        "confidence": detector.confidence,
        "iou": iou,
        "suppression_iou": SUPPRESSION_IOU,
        "matching": MATCHING,
        "pictures": tally.pictures,
        "versions": {version: tally.agreement(version).as_json() for version in tally.versions},
        "classes": {
            detector.names[number]: {v: tally.agreement(v, number=number).as_json() for v in tally.versions}
            for number in tally.classes()
        },
        "levels": {
            level: {
                "pictures": tally.seen[level],
                "versions": {v: tally.agreement(v, level=level).as_json() for v in tally.versions},
            }
            for level in levels
        },
    }


def write(folder: Path, summary: dict[str, Any]) -> None:
    """summary.json and table.md."""
    (folder / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    (folder / TABLE).write_text(format_summary(summary) + "\n", encoding="utf-8", errors="surrogateescape")


def format_summary(summary: dict[str, Any]) -> str:
    """The figures as Markdown: in all, by class, by haze level."""
    detector, versions = summary["detector"], summary["versions"]
    agreement = f"agreement with the clean picture's boxes of the same class at IoU {summary['iou']:g}, {MATCHING}"
    if CLEAN not in versions:
        agreement = "no clean pictures to agree with"
    lines = [
        f"Detector {detector['file']} ({detector['runtime']}, input {detector['input']}): {detector['layout']}.",
        f"{counted(summary['pictures'], 'picture')}; confidence of at least {summary['confidence']:g}; {agreement}.",
        "",
        "Objects in all pictures:",
        "",
        "| picture | objects | agreeing | precision | recall | F1 |" if CLEAN in versions else "| picture | objects |",
        "|---" * (6 if CLEAN in versions else 2) + "|",
    ]
    for version, figures in versions.items():
        rates = ("",) * 4 if version == CLEAN else (str(figures["agreed"]), *_rates(figures))
        cells = [cell(version), str(figures["objects"]), *(rates if CLEAN in versions else ())]
        lines.append(f"| {' | '.join(cells)} |")
    lines += _by("class", summary["classes"].items(), versions)
    levels = [(f"{level} ({part['pictures']})", part["versions"]) for level, part in summary["levels"].items()]
    return "\n".join(lines + _by("mean transmission (pictures)", levels, versions))


def _by(title: str, parts: Iterable[tuple[str, dict[str, Any]]], versions: Collection[str]) -> list[str]:
    """A table with a row for each part: objects, and precision, recall, F1 of each version."""
    rows = [
        " | ".join([cell(name), *(_figures(version, figures) for version, figures in part.items())])
        for name, part in parts
    ]
    if not rows:
        return []
    cells = " Each cell: objects (precision, recall, F1)." if CLEAN in versions else ""
    head = [
        "",
        f"Objects by {title.partition(' (')[0]}.{cells}",
        "",
        f"| {' | '.join([title, *map(cell, versions)])} |",
    ]
    return [*head, "|---" * (head[-1].count(" | ") + 1) + "|", *(f"| {row} |" for row in rows)]


def _figures(version: str, figures: dict[str, Any]) -> str:
    alone = version == CLEAN or figures["in_clean"] is None
    return str(figures["objects"]) if alone else f"{figures['objects']} ({', '.join(_rates(figures))})"


def _rates(figures: dict[str, Any]) -> tuple[str, ...]:
    return tuple("-" if figures[name] is None else f"{figures[name]:.3f}" for name in ("precision", "recall", "f1"))


def picture_name(number: int, place: int) -> str:
    """File of a pair's picture: the pair's number, and which of its versions."""
    return f"{number:06d}-{place}.jpg"


# --- Weights & Biases ---


def log(session: sessions.Session, artifact: Any, out: Path) -> None:
    """Adds what `aodnet evaluate --detector` has left in `out` to a run and its artifact.

    Nothing where it has not, or where that is of an earlier evaluation: this one's is written after its summary.

    The table has a row for each picture that was kept: the picture with its boxes, the number of objects, and
    whether it is hazy.
    """
    folder = out / FOLDER
    if not (folder / SUMMARY).is_file() or _written(folder / SUMMARY) < _written(out / "summary.json"):
        return
    wandb = sessions.load_wandb()
    summary = json.loads((folder / SUMMARY).read_bytes())
    for version, figures in summary["versions"].items():
        known = {name: value for name, value in figures.items() if value is not None}
        session.run.summary.update({f"detection/{version}/{name}": value for name, value in known.items()})
    places = {version: place for place, version in enumerate(summary["versions"])}
    table = wandb.Table(columns=["picture", "objects", "is_hazy", "version", "image", "classes"])
    with (folder / PICTURES_CSV).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        for line in csv.DictReader(file):
            path = folder / PICTURES / picture_name(int(line["number"]), places[line["version"]])
            if path.is_file():
                told = (line["version"], line["image"], line["classes"])
                table.add_data(wandb.Image(str(path)), int(line["objects"]), line["is_hazy"] == "1", *told)
    artifact.add(table, "objects")
    for path in (folder / name for name in (BOXES_CSV, PICTURES_CSV, SUMMARY, TABLE, GAINS)):
        if path.is_file():
            artifact.add_file(str(path), name=f"{FOLDER}/{path.name}", skip_cache=True)


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns
