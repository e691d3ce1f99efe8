"""hazegen audit: which recipe made these hazy/clean pairs, and which of them are no pairs at all."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hazegen import audit_checks, audit_fit, color, engine, geometry, images
from hazegen.audit_fit import ColorSpace, Fit
from hazegen.audit_pairing import Folder, PairRef, Unmatched, find_pairs
from hazegen.audit_summary import Convention, PairAudit, Path_, Summary, summarise
from hazegen.depth import conventions, formats, readers
from hazegen.depth.formats import DepthFormat, Values
from hazegen.errors import HazegenError, RefusedError, UsageError
from hazegen.geometry import Camera
from hazegen.pairing import IMAGE_SUFFIXES

SPACES: tuple[ColorSpace, ...] = ("srgb", "linear")
# Pixels of a pair that the fit with distances uses: more change nothing in the third digit of beta and A.
PIXELS = 12_000
# A fit is poor where it leaves so many times what free patches leave, and more than JPEG does.
POOR, POOR_RMSE = 3.0, 0.015


@dataclass(frozen=True)
class AuditOptions:
    """Which pairs are looked at, and how their depth maps are read.

    Attributes:
        hazy: Folder of hazy pictures, sub-folders included.
        clean: Folder of clean pictures; 'NAME_1_0.9.png' belongs to 'NAME.png', never by the order of files.
        depth: Folder of the clean pictures' depth maps. Without it A is found, but no beta.
        hazy_pattern: What the name of a hazy picture is beside its key, as '{key}_hazy'.
        clean_pattern: The same for clean pictures, as '{key}_GT' [default: the convention's, else '{key}'].
        depth_pattern: The same for depth maps, as '{key}_depth' [default: the convention's, else '{key}'].
        depth_convention: Published convention of the depth maps, as kitti or nyu-png; the options below stand
            above it.
        depth_values: What the depth files hold: plane depth, distance along the ray, disparity, ...
            [default: as the convention says, else plane].
        depth_scale: Metres in one unit of the depth files (0.001 for millimetres). Needed for integers.
        not_measured: Value of the depth files that means "no measurement" [default: 0]. NaN always does.
        no_surface: Value that means "no surface, infinitely far", as 65535 [default: none]. Infinity does.
        depth_dataset: Name of the array inside .mat, .npz and .h5 files.
        focal_px: Focal length, for disparity.
        baseline_m: Baseline, for disparity.
        near: Distance of the nearest value, for relative depth [m].
        far: Distance of the farthest value, for relative depth [m].
        fov_deg: Horizontal field of view of the clean pictures: then plane depth and distance along the ray
            are both tried.
        limit: Look at so many pairs only, spread evenly over all.
        workers: Threads that work at once [default: all cores].
        json: File for the whole report.
        csv: File for the table of pairs.
        recipe: File for the recipe that was found, as hazegen make --recipe takes it.
    """

    hazy: Path
    clean: Path
    depth: Path | None = None
    hazy_pattern: str = "{key}"
    clean_pattern: str | None = None
    depth_pattern: str | None = None
    depth_convention: str | None = None
    depth_values: Values | None = None
    depth_scale: float | None = None
    not_measured: float | None = None
    no_surface: float | None = None
    depth_dataset: str | None = None
    focal_px: float | None = None
    baseline_m: float | None = None
    near: float | None = None
    far: float | None = None
    fov_deg: float | None = None
    limit: int | None = None
    workers: int | None = None
    json: Path | None = None
    csv: Path | None = None
    recipe: Path | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit is out of range. Expected at least 1, received {self.limit}. Change --limit.")
        if self.fov_deg is not None:
            geometry.focal_px(self.fov_deg, 1)
        if self.depth is None and self._given():
            raise UsageError(
                f"--{min(self._given())} is of no use alone. Expected --depth beside it, received none. "
                "Add --depth, or take it out."
            )

    def _given(self) -> list[str]:
        names = ("depth_pattern", "depth_convention", "depth_values", "depth_scale", "not_measured", "no_surface")
        names += ("depth_dataset", "focal_px", "baseline_m", "near", "far", "fov_deg")
        return [name.replace("_", "-") for name in names if getattr(self, name) is not None]

    def depth_format(self) -> DepthFormat:
        """What the numbers of the depth files mean: the convention, with the options above it."""
        given = {
            "values": self.depth_values,
            "unit": self.depth_scale,
            "not_measured": None if self.not_measured is None else (self.not_measured,),
            "no_surface": self.no_surface,
            "dataset": self.depth_dataset,
            "focal_px": self.focal_px,
            "baseline_m": self.baseline_m,
            "near_m": self.near,
            "far_m": self.far,
        }
        stated = {name: value for name, value in given.items() if value is not None}
        known = conventions.find(self.depth_convention) if self.depth_convention else None
        fmt = formats.from_camera_file({}, stated, known.format if known else None)
        formats.check_complete(fmt)
        return fmt

    def folders(self) -> tuple[Folder, Folder, Folder | None]:
        """Hazy, clean and depth folder with the patterns of their names."""
        known = conventions.find(self.depth_convention or "custom")
        clean = Folder(self.clean, self.clean_pattern or known.image_pattern, IMAGE_SUFFIXES)
        depth_pattern = self.depth_pattern or known.depth_pattern
        depth = Folder(self.depth, depth_pattern, known.suffixes) if self.depth else None
        return Folder(self.hazy, self.hazy_pattern, IMAGE_SUFFIXES), clean, depth


@dataclass(frozen=True)
class Report:
    """What an audit found.

    Attributes:
        pairs: One for each pair looked at, sorted by hazy name.
        unmatched: Files without a partner, each with the reason.
        found: Number of pairs that the names give, of which `limit` may have left some out.
        summary: The recipe that made the set, as far as the pairs tell.
        seconds: Time taken.
    """

    pairs: list[PairAudit]
    unmatched: list[Unmatched]
    found: int
    summary: Summary
    seconds: float


@dataclass(frozen=True)
class _Seen:
    """A pair's result, and the structure of its two pictures to look for better partners."""

    pair: PairAudit
    hazy: NDArray[np.int8] | None = None
    clean: NDArray[np.int8] | None = None


def audit(options: AuditOptions) -> Report:
    """Looks at every pair, and at what they have in common.

    Raises:
        UsageError: An option is out of range, or a folder is missing.
        RefusedError: The names give no pair.
    """
    began = time.monotonic()
    engine.check_workers(options.workers if options.workers is not None else 1)
    fmt = options.depth_format() if options.depth else None
    pairs, unmatched = find_pairs(*options.folders())
    if not pairs:
        raise RefusedError(
            f"There is no pair. Expected for NAME or NAME_... in '{options.hazy}' a NAME in '{options.clean}', received "
            f"{sum(file.folder == 'hazy' for file in unmatched)} hazy pictures, none with a clean one. Check the "
            "folders, --hazy-pattern and --clean-pattern."
        )
    chosen = _spread(pairs, options.limit)

    def look(ref: PairRef, report: engine.Report) -> _Seen:
        cv2.setNumThreads(1)  # the pool of workers is the parallelism
        seen = _look(ref, options, fmt)
        report(1)
        return seen

    with tqdm(total=len(chosen), unit="pair", desc="auditing", disable=None) as bar:
        results = list(engine.run(look, chosen, options.workers or engine.cores(), bar.update))
    found = _with_partners(sorted(results, key=lambda seen: seen.pair.ref.hazy), options)
    return Report(found, unmatched, len(pairs), summarise(found), time.monotonic() - began)


def _spread(pairs: list[PairRef], limit: int | None) -> list[PairRef]:
    if limit is None or limit >= len(pairs):
        return pairs
    return [pairs[len(pairs) * number // limit] for number in range(limit)]


def _look(ref: PairRef, options: AuditOptions, fmt: DepthFormat | None) -> _Seen:
    """One pair: read, laid on each other, compared, fitted."""
    try:
        (hazy, header), (clean, clean_header) = _read(options.hazy / ref.hazy), _read(options.clean / ref.clean)
    except (HazegenError, OSError) as error:
        return _Seen(PairAudit(ref, "unreadable", str(error)))
    hazy_gray, whole_gray = _gray(hazy), _gray(clean)
    thumbs = audit_checks.thumbnail(hazy_gray), audit_checks.thumbnail(whole_gray)
    pair = PairAudit(
        ref,
        hazy_quality=audit_checks.jpeg_quality(header),
        clean_quality=audit_checks.jpeg_quality(clean_header),
        blockiness=audit_checks.blockiness(hazy_gray),
    )
    crop = _crop(hazy.shape, clean.shape)
    if crop is None:
        reason = (
            f"The hazy picture does not fit into the clean one. Expected at most {clean.shape[1]} x {clean.shape[0]}, "
            f"received {hazy.shape[1]} x {hazy.shape[0]}."
        )
        return _Seen(dataclasses.replace(pair, code="size", reason=reason), *thumbs)
    match = audit_checks.compare(hazy_gray, np.ascontiguousarray(whole_gray[crop]))
    if match.code not in ("", "constant") and audit_checks.is_resized(hazy_gray, whole_gray, match.similarity):
        match = dataclasses.replace(match, code="resized", reason="The hazy picture is a resized one, not a crop.")
    offset = crop[1].start, crop[0].start
    pair = dataclasses.replace(
        pair, code=match.code, reason=match.reason, similarity=match.similarity, size=hazy.shape[1::-1], offset=offset
    )
    if match.code in ("", "constant"):
        pair = _fitted(pair, hazy, clean, crop, options, fmt)
    return _Seen(pair, *thumbs)


def _read(path: Path) -> tuple[NDArray[np.uint8], images.Image.Image]:
    data = images.read_file(path)
    header = images.check_header(data, path.name)
    return images.as_rgb8(images.decode(data, path.name), path.name), header


def _gray(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return color.to_float(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8))


def _crop(hazy: tuple[int, ...], clean: tuple[int, ...]) -> tuple[slice, slice] | None:
    """The middle of the clean picture, of the size of the hazy one; None where that is larger."""
    if hazy[0] > clean[0] or hazy[1] > clean[1]:
        return None
    top, left = (clean[0] - hazy[0]) // 2, (clean[1] - hazy[1]) // 2
    return slice(top, top + hazy[0]), slice(left, left + hazy[1])


def _fitted(
    pair: PairAudit,
    hazy: NDArray[np.uint8],
    clean: NDArray[np.uint8],
    crop: tuple[slice, slice],
    options: AuditOptions,
    fmt: DepthFormat | None,
) -> PairAudit:
    """The pair with all its fits, or with the reason why it has none."""
    i, j = hazy / 255.0, clean[crop] / 255.0
    patches = {space: fit for space in SPACES if (fit := audit_fit.fit_patches(i, j, space)) is not None}
    pair = dataclasses.replace(pair, patches=patches)
    if fmt is None or pair.ref.depth is None or options.depth is None:
        return _judged_patches(pair)
    try:
        depth_m = readers.read_depth(options.depth / pair.ref.depth, fmt)
        distances = _distances(depth_m, clean.shape[:2], crop, options.fov_deg, fmt)
    except (HazegenError, OSError) as error:
        return dataclasses.replace(pair, code="depth", reason=str(error))
    largest = {path: _largest(whole) for path, (whole, _) in distances.items()}
    fits = dict(_fits(i, j, {path: cut for path, (_, cut) in distances.items()}))
    pair = dataclasses.replace(pair, fits=fits, largest_m=largest)
    return _judged(pair, i, j, {path: cut for path, (_, cut) in distances.items()})


def _largest(distance_m: NDArray[np.float32]) -> float:
    finite = distance_m[np.isfinite(distance_m)]
    return float(finite.max()) if finite.size else math.nan


def _distances(
    depth_m: NDArray[np.float32],
    size: tuple[int, ...],
    crop: tuple[slice, slice],
    fov_deg: float | None,
    fmt: DepthFormat,
) -> dict[Path_, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """The whole map and its part behind the hazy picture, for each way to measure the path that is known."""
    have: Path_ = "ray" if fmt.values == "ray" else "plane"
    cut_size = crop[0].stop - crop[0].start, crop[1].stop - crop[1].start
    if depth_m.shape not in (size, cut_size):
        raise RefusedError(
            f"The depth map is of another size. Expected {size[1]} x {size[0]} as the clean picture, received "
            f"{depth_m.shape[1]} x {depth_m.shape[0]}. Resize it by nearest neighbour."
        )
    inside = crop if depth_m.shape == size else (slice(None), slice(None))
    maps: dict[Path_, NDArray[np.float32]] = {have: depth_m}
    if fov_deg is not None:
        camera = geometry.camera_from_fov(fov_deg, size[1], size[0])
        if depth_m.shape != size:
            shifted = camera.cx - crop[1].start, camera.cy - crop[0].start
            camera = Camera(cut_size[1], cut_size[0], camera.fx, camera.fy, *shifted)
        other: Path_ = "plane" if have == "ray" else "ray"
        convert = geometry.plane_to_ray if have == "plane" else geometry.ray_to_plane
        maps[other] = convert(depth_m, camera)
    return {path: (whole, whole[inside]) for path, whole in maps.items()}


def _fits(
    hazy: NDArray[np.float64], clean: NDArray[np.float64], distances: dict[Path_, NDArray[np.float32]]
) -> Iterator[tuple[Convention, Fit]]:
    """The fit of every convention that can be tried, on an even grid of pixels."""
    step = max(1, round(math.sqrt(hazy.shape[0] * hazy.shape[1] / PIXELS)))
    grid = (slice(step // 2, None, step), slice(step // 2, None, step))
    i, j = hazy[grid].reshape(-1, 3), clean[grid].reshape(-1, 3)
    for path, distance_m in distances.items():
        d = distance_m[grid].ravel().astype(np.float64)
        known = ~np.isnan(d)
        for space in SPACES:
            fit = audit_fit.fit_distance(i[known], j[known], d[known], space)
            if fit is not None:
                yield (path, space), fit


def _judged(
    pair: PairAudit,
    hazy: NDArray[np.float64],
    clean: NDArray[np.float64],
    distances: dict[Path_, NDArray[np.float32]],
) -> PairAudit:
    """The pair, with a code where its depth map explains too little of the haze, or the pair tells too little."""
    if not pair.fits:
        reason = "The depth map holds no finite distance at any pixel of the pair."
        return dataclasses.replace(pair, code="depth", reason=reason)
    rmse = min(fit.rmse for fit in pair.fits.values())
    free = min((fit.rmse for fit in pair.patches.values()), default=math.inf)
    if rmse > POOR_RMSE and rmse > POOR * free:
        for name, turn in TURNS.items():
            turned = dict(_fits(hazy, clean, {path: turn(distance_m) for path, distance_m in distances.items()}))
            if min((fit.rmse for fit in turned.values()), default=math.inf) < 0.7 * rmse:
                return dataclasses.replace(pair, code="depth-mirrored", reason=f"The depth map is mirrored {name}.")
        reason = f"The depth map does not explain the haze: residual {rmse:.4f}, of patches alone {free:.4f}."
        return dataclasses.replace(pair, code="unexplained", reason=reason)
    best = min(pair.fits.values(), key=lambda fit: fit.rmse)
    reason = audit_fit.why_uncertain(best)
    return dataclasses.replace(pair, code="uncertain", reason=reason) if reason else pair


TURNS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "left to right": lambda distance_m: distance_m[:, ::-1],
    "top to bottom": lambda distance_m: distance_m[::-1],
    "by 180 degrees": lambda distance_m: distance_m[::-1, ::-1],
}


def _judged_patches(pair: PairAudit) -> PairAudit:
    if not pair.patches:
        return dataclasses.replace(pair, code="uncertain", reason="Every patch holds a 0 or a 255: all may be clipped.")
    best = min(pair.patches.values(), key=lambda fit: fit.rmse)
    reason = audit_fit.why_uncertain(best)
    return dataclasses.replace(pair, code="uncertain", reason=reason) if reason else pair


def _with_partners(results: list[_Seen], options: AuditOptions) -> list[PairAudit]:
    """The pairs; those of different scenes with the clean picture that fits better, if there is one."""
    if not any(seen.pair.code == "mismatch" for seen in results):
        return [seen.pair for seen in results]
    thumbs = {seen.pair.ref.clean: seen.clean for seen in results if seen.clean is not None}
    names, clean = list(thumbs), np.stack(list(thumbs.values())).astype(np.float32)
    return [_with_partner(seen, names, clean) if seen.pair.code == "mismatch" else seen.pair for seen in results]


def _with_partner(seen: _Seen, names: list[str], clean: NDArray[np.float32]) -> PairAudit:
    assert seen.hazy is not None
    alike = [audit_checks.similarity(seen.hazy.astype(np.float32), other) for other in clean]
    best = int(np.argmax(alike))
    own = alike[names.index(seen.pair.ref.clean)]
    if alike[best] <= max(own + audit_checks.GAIN, audit_checks.UNLIKE):
        return dataclasses.replace(seen.pair, reason=f"{seen.pair.reason} No other clean picture fits better.")
    return dataclasses.replace(
        seen.pair, partner=names[best], reason=f"{seen.pair.reason} '{names[best]}' fits better ({alike[best]:.2f})."
    )
