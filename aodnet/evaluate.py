"""aodnet evaluate: models beside the baselines that any of them must beat, in one pass and flat memory."""

import contextlib
import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from aodnet import ablation, levels, metrics, noreference, reports, sheets, strips
from aodnet.baselines import AffineFit, dark_channel_prior
from aodnet.levels import LevelTally
from aodnet.measures import AFFINE, CUTS, DARK_CHANNEL, HAZY, Measures, check, cut_name
from aodnet.pairs import Pair, Picture, Source, count_pairs, read_pairs, read_pictures
from aodnet.predict import restore_picture, restorer
from aodnet.protocols import parse_protocols
from aodnet.recipes import recipe_of
from aodnet.reports import Report
from aodnet.significance import Difference, Interval, Tally, compare, interval
from aodnet.strips import Method, Shown
from aodnet.tiles import Restorer
from hazegen import engine, manifest, stores
from hazegen.errors import RefusedError
from hazegen.progress import Steps
from hazegen.recipe import Recipe

# Pairs that the global affine is fitted to: all, or this many, evenly spread.
FIT_PAIRS = 1000

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]


@dataclass
class Found:
    """What an evaluation gathers on its one way through the pictures."""

    tally: Tally
    binned: LevelTally
    shown: Shown
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, picture: Picture, values: Floats) -> None:
        """One picture and the values of all methods, (methods, metrics)."""
        self.tally.add(picture.scene, values)
        self.binned.add_image(_levels_of(picture, values), values)
        self.shown.add(picture, values)
        _hash(self.digest, picture)


def evaluate(models: Mapping[str, keras.Model], source: Source, out: Path, measures: Measures | None = None) -> Report:
    """Scores the hazy input, the baselines and each model on every picture.

    The outputs are rounded to 8 bits, as `aodnet predict` writes them. Leaves in `out`: scores.csv (each
    method on each image), summary.json, table.md, strip.png (best, median and worst image), and where haze or distance
    is known levels.csv and levels.png.

    Raises:
        UsageError: A choice of `measures` that these methods or this source cannot have.
        RefusedError: Pictures that cannot be read, compared or measured.
    """
    measures = measures or Measures()
    check(measures, models, has_clean=source.has_clean)
    recipe = _recipe_of(source)
    methods, names = _methods(models, source, measures), _metrics(measures, source)
    out.mkdir(parents=True, exist_ok=True)
    shown = Shown(list(methods).index(list(models)[-1]) if source.has_clean else 0, 0)
    found = Found(Tally(len(methods), len(names)), LevelTally(list(methods), names), shown)
    with _lines(out / "scores.csv", names) as write:
        for picture, values in _scored(methods, source, measures, found.binned):
            for name, row in zip(methods, values, strict=True):
                write((picture.name, picture.scene, name, *(f"{value:.6f}" for value in row)))
            found.add(picture, values)
        strip, rows = _strip(found, methods, source)
    with stores.whole_file(out / "strip.png") as file:
        file.write(sheets.encode(strip, [one.row for one in rows]))
    report = _report(list(methods), list(models), names, found, source, measures, recipe, rows)
    reports.write(out, report)
    return report


def _recipe_of(source: Source) -> Recipe | None:
    """What the haze of scenes is drawn from."""
    known = None if source.data is None else manifest.load(source.data)
    return recipe_of(known, source.recipe) if known is not None and known.kind == "scenes" else None


def _methods(models: Mapping[str, keras.Model], source: Source, measures: Measures) -> dict[str, Method]:
    """What makes each row of the table, in order."""
    methods: dict[str, Method] = {HAZY: _unchanged}
    if source.has_clean:
        methods[AFFINE] = fit_affine(source).apply
    methods[DARK_CHANNEL] = dark_channel_prior
    for name, model in models.items():
        methods[name] = _method(model)
        if measures.ablation:
            methods |= {cut_name(name, cut): _method(less, whole=True) for cut, less in ablation.variants(model)}
    return methods


def fit_affine(source: Source) -> AffineFit:
    """The best gain and offset for each channel over the pairs of `source`, at most `FIT_PAIRS` of them."""
    fitted, total = AffineFit(), count_pairs(source)
    step = -(-total // FIT_PAIRS)
    with Steps("fitting the global affine", -(-total // step), "pair", leave=False) as steps:
        for pair in read_pairs(source, step=step):
            fitted.add(pair.hazy, pair.clean)
            steps.update()
    return fitted


def _metrics(measures: Measures, source: Source) -> tuple[str, ...]:
    """Every column of the table, in order."""
    protocols = parse_protocols(measures.protocol) if source.has_clean else ()
    names = [f"{metric}_{protocol.name}" for protocol in protocols for metric in ("psnr", "ssim")]
    names += ["ciede2000"] if source.has_clean else []
    if measures.without_reference or not source.has_clean:
        names += noreference.MEASURES
    return (*names, *(["fade"] if measures.fade else []))


def score(picture: Picture, restored: Pixels, measures: Measures) -> dict[str, float]:
    """All metrics of one restored picture, in the order of the table's columns.

    Raises:
        RefusedError: Names the picture that cannot be measured.
    """
    values: dict[str, float] = {}
    try:
        if isinstance(picture, Pair):
            for protocol in parse_protocols(measures.protocol):
                values[f"psnr_{protocol.name}"] = protocol.psnr(restored, picture.clean, 255.0)
                values[f"ssim_{protocol.name}"] = protocol.ssim(restored, picture.clean, 255.0)
            values["ciede2000"] = metrics.ciede2000(restored, picture.clean)
    except RefusedError as error:
        raise RefusedError(f"'{picture.name}' cannot be measured. {error}") from None
    if measures.without_reference or not isinstance(picture, Pair):
        values |= noreference.measure(picture.hazy, restored)
    if measures.fade:
        values["fade"] = noreference.fade(restored)
    return values


def _scored(
    methods: Mapping[str, Method], source: Source, measures: Measures, binned: LevelTally
) -> Iterator[tuple[Picture, Floats]]:
    """Each picture with the values of all methods, (methods, metrics); its pixels' errors go into `binned`."""
    with (
        ThreadPoolExecutor(engine.cores()) as pool,
        Steps("evaluating", count_pairs(source), "image") as steps,
    ):
        for picture in read_pictures(source):
            places = _places(picture)
            rows = list(pool.map(partial(_row, picture, places, measures), methods.values()))
            for level, where in places.items():
                squares = np.stack([row[1][level] for row in rows])
                binned.add_pixels(level, squares, levels.count_pixels(level, where))
            yield picture, np.array([row[0] for row in rows])
            steps.update()


def _row(
    picture: Picture, places: Mapping[str, NDArray[np.intp]], measures: Measures, method: Method
) -> tuple[list[float], dict[str, Floats]]:
    """One method's metrics on one picture, and its squared errors in the bins of each level of pixels."""
    restored = method(picture.hazy)
    squares = {}
    if isinstance(picture, Pair):
        squares = {level: levels.squares_in(level, where, restored, picture.clean) for level, where in places.items()}
    return list(score(picture, restored, measures).values()), squares


def _places(picture: Picture) -> dict[str, NDArray[np.intp]]:
    """The bin of each pixel, for what is known of the pixels."""
    if not isinstance(picture, Pair):
        return {}
    known = {"transmission": picture.transmission, "distance_m": picture.distance_m}
    return {level: levels.bins_of(level, values) for level, values in known.items() if values is not None}


def _levels_of(picture: Picture, values: Floats) -> Mapping[str, float]:
    """How thick the haze is: as the record says, else by what the hazy input scores."""
    if not isinstance(picture, Pair):
        return {}
    return picture.levels or {"hazy_psnr": float(values[0, 0])}


def _report(
    rows: list[str],
    models: list[str],
    names: tuple[str, ...],
    found: Found,
    source: Source,
    measures: Measures,
    recipe: Recipe | None,
    shown: tuple[sheets.Shown, ...],
) -> Report:
    tally = found.tally
    means, medians, resampled = tally.means(), tally.medians(), tally.resampled()

    def against(name: str, other: str, metric: str) -> Difference:
        a, b, m = rows.index(name), rows.index(other), names.index(metric)
        return compare(means[a, m], means[b, m], resampled[:, a, m], resampled[:, b, m], tally.scenes)

    table: dict[str, dict[str, Interval]] = {
        name: {m: interval(means[r, c], medians[r, c], resampled[:, r, c]) for c, m in enumerate(names)}
        for r, name in enumerate(rows)
    }
    to, cut_models = measures.compare_to, models if measures.ablation else []
    return Report(
        images=tally.images,
        scenes=tally.scenes,
        protocols=parse_protocols(measures.protocol) if source.has_clean else (),
        metrics=names,
        table=table,
        compared_to=to,
        differences={n: {m: against(n, to, m) for m in names} for n in rows if n != to} if to is not None else {},
        gains={name: {cut: against(name, cut_name(name, cut), names[0]) for cut in CUTS} for name in cut_models},
        bins=found.binned.bins(),
        worst=tuple((name, -low) for low, name in sorted(found.shown.worst, reverse=True)) if source.has_clean else (),
        pictures=found.digest.hexdigest(),
        cuts=tuple(cut_name(name, cut) for name in cut_models for cut in CUTS),
        recipe=recipe,
        source=source,
        shown=shown,
    )


def _strip(found: Found, methods: Mapping[str, Method], source: Source) -> tuple[Pixels, tuple[sheets.Shown, ...]]:
    """Best, median and worst image, of which the median one is read again; without the rows of cut models."""
    number = found.tally.at_median(found.shown.method, found.shown.metric)
    if source.has_clean:
        middle: Picture = next(read_pairs(source, start=number))
    else:
        middle = next(picture for at, picture in enumerate(read_pictures(source)) if at == number)
    whole = {name: method for name, method in methods.items() if not name.endswith(CUTS)}
    return strips.strip(found.shown.rows(middle), whole)


def _hash(digest: Any, picture: Picture) -> None:
    digest.update(picture.name.encode("utf-8", "surrogateescape") + str(picture.hazy.shape).encode())
    digest.update(np.ascontiguousarray(picture.hazy).data)
    if isinstance(picture, Pair):
        digest.update(np.ascontiguousarray(picture.clean).data)


def _unchanged(hazy: Pixels) -> Pixels:
    return hazy


def _method(model: keras.Model, *, whole: bool = False) -> Method:
    """What a model makes of a picture, in tiles, or as means over a picture need it, in one piece."""
    call = restorer(model).call

    def method(hazy: Pixels) -> Pixels:
        restore = Restorer(call, hazy.shape[:2]) if whole else Restorer(call)
        return restore_picture(restore, hazy, "image").astype(np.uint8)

    return method


@contextlib.contextmanager
def _lines(path: Path, names: tuple[str, ...]) -> Iterator[Callable[[Iterable[str]], object]]:
    """Writes the lines of scores.csv as they come; the file has its name when it is complete."""
    with stores.whole_file(path) as file:
        text = io.TextIOWrapper(file, newline="", encoding="utf-8", errors="surrogateescape")
        writer = csv.writer(text)
        writer.writerow(("image", "scene", "method", *names))
        try:
            yield writer.writerow
        finally:
            text.detach()  # flushes; the file is whole_file's to close
