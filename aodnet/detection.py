"""Objects in haze: what a detector finds in hazy, dehazed and clean pictures, and how far that agrees.

The clean picture's objects stand in for the truth, which no dataset of haze has: the figures say what haze takes
from this detector and what dehazing gives back, not how good the detector is.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aodnet import detection_report
from aodnet.boxes import match
from aodnet.detection_pictures import Seen, row, sheet, tile
from aodnet.detection_report import CLEAN, FOLDER, HAZY, Agreement, Tally
from aodnet.detectors import Detector, detect
from aodnet.pairs import Pair, Picture, Source, count_pairs, read_pictures
from hazegen import images
from hazegen.errors import UsageError
from hazegen.progress import Steps

if TYPE_CHECKING:
    import keras

Pixels = NDArray[np.uint8]
Method = Callable[[Pixels], Pixels]

# Where the levels of haze begin, in mean transmission: levels.IMAGE_BOUNDS, which imports what measures pictures.
LEVELS = tuple(number / 10 for number in range(10))
# Pairs whose pictures are kept as files, at most.
KEPT = 32

BOX_COLUMNS = ("image", "scene", "level", "version", "class", "confidence", "left", "top", "right", "bottom", "agrees")
PICTURE_COLUMNS = ("number", "image", "scene", "level", "version", "is_hazy", "objects", "agreed", "classes")


def detect_pairs(
    pictures: Iterable[Picture],
    methods: Mapping[str, Method],
    detector: Detector,
    iou: float,
    out: Path,
    has_clean: bool = True,
) -> dict[str, Any]:
    """Counts objects in every pair: hazy, restored by each method, and clean.

    Each pair is seen once, and nothing of it stays in memory but counts.

    Args:
        pictures: Pairs, or hazy pictures alone.
        methods: From hazy to restored pixels, uint8 (height, width, 3), by name.
        iou: Overlap from which on two boxes agree.
        out: Folder, for its subfolder 'detection'.
        has_clean: Whether they are pairs. Without clean pictures objects are counted, and agree with none.

    Returns:
        What summary.json holds.
    """
    with Detection(detector, iou, list(methods), out, has_clean) as detection:
        for picture in pictures:
            detection.add(picture, {name: method(picture.hazy) for name, method in methods.items()})
        return detection.finish()


def detect_models(
    models: Mapping[str, "keras.Model"], source: Source, detector: Detector, iou: float, out: Path
) -> dict[str, Any]:
    """`detect_pairs` for the pictures of a source and the models that restore them."""
    methods = {name: _method(model) for name, model in models.items()}
    with Steps("detecting", count_pairs(source), "image") as steps:

        def pictures() -> Iterator[Picture]:
            for picture in read_pictures(source):
                yield picture
                steps.update()

        return detect_pairs(pictures(), methods, detector, iou, out, source.has_clean)


def _method(model: "keras.Model") -> Method:
    from aodnet.predict import restore_picture, restorer  # TensorFlow is loaded for models alone

    restore = restorer(model)
    return lambda hazy: restore_picture(restore, hazy, "image").astype(np.uint8)


def check_names(methods: Iterable[str]) -> None:
    """Raises UsageError where a model has the name of another picture."""
    if taken := {HAZY, CLEAN} & set(methods):
        raise UsageError(
            f"A model has the name of another picture. Expected names other than {HAZY} and {CLEAN}, received "
            f"{', '.join(sorted(taken))}. Rename its file."
        )


class Detection:
    """Takes pairs one by one, and leaves in `out`/detection what detection_report and the columns above name.

    It is for a `with` block, in which `finish` comes last.
    """

    def __init__(
        self, detector: Detector, iou: float, methods: Sequence[str], out: Path, has_clean: bool = True
    ) -> None:
        check_names(methods)
        self.detector, self.iou, self.folder = detector, iou, out / FOLDER
        self.tally = Tally((HAZY, *methods, CLEAN) if has_clean else (HAZY, *methods))
        self.extremes = Extremes()
        self._files = ExitStack()

    def __enter__(self) -> "Detection":
        self.pictures = KeptPictures(self.folder / detection_report.PICTURES)
        self.box_rows = self._table(detection_report.BOXES_CSV, BOX_COLUMNS)
        self.picture_rows = self._table(detection_report.PICTURES_CSV, PICTURE_COLUMNS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def add(self, picture: Picture, restored: Mapping[str, Pixels]) -> None:
        """Detects in one pair, or hazy picture, and in its restored pictures, by method."""
        seen = self._look(picture, restored)
        number, level = self.tally.pictures, level_of(picture)
        self.tally.add(level, seen)
        for one in seen:
            self._write(number, picture, level or "", one)
        self.extremes.add(picture.name, seen, self.detector.names)
        self.pictures.add(number, lambda: [tile(one, self.detector.names) for one in seen])

    def finish(self) -> dict[str, Any]:
        """Writes summary, table and the sheet of gains; returns the summary."""
        self._files.close()
        summary = detection_report.summarise(self.tally, self.detector, self.iou)
        detection_report.write(self.folder, summary)
        if rows := self.extremes.rows():
            (self.folder / detection_report.GAINS).write_bytes(images.encode(sheet(rows), ".png"))
        return summary

    def _look(self, picture: Picture, restored: Mapping[str, Pixels]) -> list[Seen]:
        """Every version of a picture, the hazy one first and the clean one, where there is one, last."""
        versions = {HAZY: picture.hazy, **restored}
        found = {version: detect(self.detector, pixels, picture.name) for version, pixels in versions.items()}
        if not isinstance(picture, Pair):
            return [Seen(version, versions[version], boxes, None, None) for version, boxes in found.items()]
        clean = detect(self.detector, picture.clean, picture.name)
        seen = [
            Seen(version, versions[version], boxes, match(boxes, clean, self.iou), clean)
            for version, boxes in found.items()
        ]
        return [*seen, Seen(CLEAN, picture.clean, clean, np.arange(len(clean)), clean)]

    def _table(self, name: str, columns: Sequence[str]) -> Callable[[Sequence[object]], object]:
        """Takes the rows of a CSV file, one by one."""
        file = (self.folder / name).open("w", newline="", encoding="utf-8", errors="surrogateescape")
        writer = csv.writer(self._files.enter_context(file))
        writer.writerow(columns)
        return writer.writerow

    def _write(self, number: int, picture: Picture, level: str, seen: Seen) -> None:
        known = (picture.name, picture.scene, level, seen.version)
        names = [self.detector.names[at] for at in seen.found.classes]
        agreeing: list[int | str] = [""] * len(names)
        if seen.partners is not None and seen.version != CLEAN:
            agreeing = (seen.partners >= 0).astype(int).tolist()
        for name, score, corners, agrees in zip(names, seen.found.scores, seen.found.corners, agreeing, strict=True):
            place = (f"{value:.2f}" for value in corners)
            self.box_rows((*known, name, f"{score:.4f}", *place, agrees))
        classes = "; ".join(f"{name} {count}" for name, count in Counter(names).most_common())
        is_hazy = int(seen.version == HAZY)
        self.picture_rows((number, *known, is_hazy, len(seen.found), seen.agreed, classes))


def level_of(picture: Picture) -> str | None:
    """Haze level of a pair, by the mean transmission of its haze; None where nothing is known of it."""
    known = picture.levels if isinstance(picture, Pair) else {}
    if (transmission := known.get("mean_transmission")) is None:
        return None
    low = next(bound for bound in reversed(LEVELS) if transmission >= bound or bound == LEVELS[0])
    return f"t {low:.1f} to {low + LEVELS[1]:.1f}"


class Extremes:
    """For each method the picture that it gains most in, and the one it loses most in, against the hazy one.

    By F1; by the number of objects where there is no clean picture.
    """

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], tuple[float, Pixels]] = {}

    def add(self, name: str, seen: Sequence[Seen], names: tuple[str, ...]) -> None:
        hazy, *restored = [one for one in seen if one.version != CLEAN]
        before, what, digits = _worth(hazy), *(("F1", 2) if hazy.clean is not None else ("objects", 0))
        for one in restored:
            gain = _worth(one) - before
            for rank, sign in (("best", 1.0), ("worst", -1.0)):
                last = self.found.get((one.version, rank))
                if last is None or sign * gain > sign * last[0]:
                    shown = (hazy, one, *(other for other in seen if other.version == CLEAN))
                    told = f"{what} {before:.{digits}f} to {before + gain:.{digits}f}"
                    title = f"{rank} gain of {one.version}: {told}, {name}"
                    tiles = [tile(version, names) for version in shown]
                    self.found[one.version, rank] = gain, row(title, tiles)

    def rows(self) -> list[Pixels]:
        return [pixels for _, pixels in self.found.values()]


def _worth(seen: Seen) -> float:
    """F1 of one picture, nothing found where nothing is to be found being full agreement; else its objects."""
    if seen.agreed is None or seen.clean is None:
        return float(len(seen.found))
    f1 = Agreement(len(seen.found), seen.agreed, len(seen.clean)).f1
    return 1.0 if f1 is None else f1


class KeptPictures:
    """Files of at most KEPT pairs, evenly spread over however many there will be.

    Every n-th pair is kept; where there are too many, n is doubled, and those in between go.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.jpg"):  # of an earlier run
            path.unlink()
        self.folder, self.stride = folder, 1
        self.kept: dict[int, list[Path]] = {}

    def add(self, number: int, draw: Callable[[], Sequence[Pixels]]) -> None:
        if number % self.stride == 0 and len(self.kept) == KEPT:
            self.stride *= 2
            for other in [other for other in self.kept if other % self.stride]:
                for path in self.kept.pop(other):
                    path.unlink()
        if number % self.stride == 0:
            self.kept[number] = [self._save(number, place, pixels) for place, pixels in enumerate(draw())]

    def _save(self, number: int, place: int, pixels: Pixels) -> Path:
        path = self.folder / detection_report.picture_name(number, place)
        path.write_bytes(images.encode(pixels, ".jpg", 92))
        return path
