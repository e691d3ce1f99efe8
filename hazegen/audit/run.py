"""hazegen audit: which recipe made these hazy/clean pairs, and which of them are no pairs at all."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hazegen import engine, manifest
from hazegen.audit import checks as audit_checks
from hazegen.audit import pair as audit_pair
from hazegen.audit.pair import Seen
from hazegen.audit.pairing import Folder, PairRef, Unmatched, find_pairs
from hazegen.audit.result import PairAudit
from hazegen.audit.summary import Summary, summarise
from hazegen.depth import conventions
from hazegen.depth.options import DepthOptions, check_reading
from hazegen.errors import RefusedError, UsageError
from hazegen.pairing import IMAGE_SUFFIXES
from hazegen.reading import Reading


@dataclass(frozen=True, kw_only=True)
class AuditOptions(DepthOptions):
    """Which pairs are looked at, and where the report goes.

    Attributes:
        hazy: Folder of hazy pictures, sub-folders included.
        clean: Folder of clean pictures; NAME_1_0.9.png belongs to NAME.png, never by the order of files.
        depth: Folder of the clean pictures' depth maps. Without it A is found, but no beta.
        hazy_pattern: What the name of a hazy picture is beside its key, as {key}_hazy.
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
    limit: int | None = None
    workers: int | None = None
    json: Path | None = None
    csv: Path | None = None
    recipe: Path | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit is out of range. Expected at least 1, received {self.limit}. Change --limit.")
        if self.sparse is not None or self.sparse_scale is not None:
            raise UsageError(
                "--sparse is no option of an audit. Expected depth maps in metres, or --near and --far, received "
                "sparse maps. Leave it out: beta is told in the unit of the depth maps."
            )
        self._check_depth()

    def _check_depth(self) -> None:
        """Raises UsageError where the options of the depth maps do not fit together."""
        names = [f.name for f in dataclasses.fields(DepthOptions) if f.name != "image_pattern"]
        defaults = {f.name: f.default for f in dataclasses.fields(DepthOptions)}
        given = [name for name in names if getattr(self, name) != defaults[name]]
        if self.depth is None and given:
            raise UsageError(
                f"--{given[0].replace('_', '-')} is of no use alone. Expected --depth beside it, received none. "
                "Add --depth, or take it out."
            )
        convention = conventions.find(self.depth_kind)
        if convention.stack:
            raise UsageError(
                f"Convention '{convention.name}' has all its frames in one file. Expected a depth map for each clean "
                "picture, received a stack. Write its frames into files of the clean pictures' names."
            )

    def reading(self) -> Reading:
        """How the clean pictures and their depth maps are read."""
        return self.reading_of(self.clean, self.depth or self.clean)

    def folders(self) -> tuple[Folder, Folder, Folder | None]:
        """Hazy, clean and depth folder with the patterns of their names."""
        clean_pattern, depth_pattern = self.patterns()
        suffixes = conventions.find(self.depth_kind).suffixes
        depth = Folder(self.depth, depth_pattern, suffixes) if self.depth else None
        return (
            Folder(self.hazy, self.hazy_pattern, IMAGE_SUFFIXES),
            Folder(self.clean, clean_pattern, IMAGE_SUFFIXES),
            depth,
        )


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


def audit(options: AuditOptions) -> Report:
    """Looks at every pair, and at what they have in common.

    Raises:
        UsageError: A folder is missing, or a pattern cannot be used.
        RefusedError: The names give no pair.
    """
    began = time.monotonic()
    for folder in (options.hazy, options.clean):
        _check_pictures(folder)
    engine.check_workers(options.workers if options.workers is not None else 1)
    reading = options.reading()
    if options.depth is not None:
        check_reading(reading)
    pairs, unmatched = find_pairs(*options.folders())
    if not pairs:
        raise RefusedError(
            f"There is no pair. Expected for NAME or NAME_... in '{options.hazy}' a NAME in '{options.clean}', "
            f"received {sum(file.folder == 'hazy' for file in unmatched)} hazy pictures, none with a clean one. "
            "Check the folders, --hazy-pattern and --image-pattern."
        )
    chosen = _spread(pairs, options.limit)

    def look(ref: PairRef, report: engine.Report) -> Seen:
        cv2.setNumThreads(1)  # the pool of workers is the parallelism
        seen = audit_pair.look(ref, options.hazy, reading, with_depth=options.depth is not None)
        report(1)
        return seen

    with tqdm(total=len(chosen), unit="pair", desc="auditing", disable=None) as bar:
        seen = list(engine.run(look, chosen, options.workers or engine.cores(), bar.update))
    seen.sort(key=lambda one: one.pair.ref.hazy)
    alone = [file.name for file in unmatched if file.folder == "clean"]
    found = _with_partners(seen, [options.clean / name for name in alone], alone)
    return Report(found, unmatched, len(pairs), summarise(found), time.monotonic() - began)


def _spread(pairs: list[PairRef], limit: int | None) -> list[PairRef]:
    if limit is None or limit >= len(pairs):
        return pairs
    return [pairs[len(pairs) * number // limit] for number in range(limit)]


def _check_pictures(folder: Path) -> None:
    """Raises RefusedError where a folder is a dataset, whose pictures lie in shards."""
    if not (folder / manifest.MANIFEST).is_file():
        return
    known = manifest.load(folder)
    first = "make pairs of the same photos with hazegen make --kind pairs, " if known.kind == "scenes" else ""
    raise RefusedError(
        f"'{folder}' is a dataset of {known.kind}. Expected folders of hazy and clean pictures, received shards. "
        f"To look at it, {first}write its pictures with hazegen export --format folder-its, and audit these."
    )


def _with_partners(seen: list[Seen], paths: list[Path], names: list[str]) -> list[PairAudit]:
    """The pairs; those of different scenes with the clean picture that fits better, if there is one.

    Args:
        paths, names: Of the clean pictures that no hazy one belongs to.
    """
    if not any(one.pair.code == "mismatch" for one in seen):
        return [one.pair for one in seen]
    thumbs = {one.pair.ref.clean: one.clean for one in seen if one.clean is not None}
    more = {name: audit_pair.thumbnail(path) for name, path in zip(names, paths, strict=True)}
    thumbs |= {name: thumb for name, thumb in more.items() if thumb is not None}
    return [_with_partner(one, thumbs) if one.pair.code == "mismatch" else one.pair for one in seen]


def _with_partner(seen: Seen, thumbs: dict[str, NDArray[np.int8]]) -> PairAudit:
    assert seen.hazy is not None
    hazy = seen.hazy.astype(np.float32)
    alike = {name: audit_checks.similarity(hazy, thumb.astype(np.float32)) for name, thumb in thumbs.items()}
    best = max(alike, key=lambda name: alike[name])
    if alike[best] <= max(alike[seen.pair.ref.clean] + audit_checks.GAIN, audit_checks.UNLIKE):
        return dataclasses.replace(seen.pair, reason=f"{seen.pair.reason} No other clean picture fits better.")
    reason = (
        f"{seen.pair.reason} '{best}' fits better ({alike[best]:.2f} of 1 against {alike[seen.pair.ref.clean]:.2f})."
    )
    return dataclasses.replace(seen.pair, partner=best, reason=reason)
