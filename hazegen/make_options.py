"""The options of hazegen make."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hazegen.depth.options import DepthOptions
from hazegen.errors import UsageError
from hazegen.images import Codec
from hazegen.progress import Mode
from hazegen.reading import Reading
from hazegen.records import Kind

_MAPS_ALONE = ("depth_kind", "focal_px", "baseline_m", "fit_depth", "depth_pattern")
_RELATIVE_ALONE = ("near", "far", "sparse", "sparse_scale")
# What has no part in distances of other sources than --depth. Of a network, --model.values says what the numbers are.
UNUSED: dict[str, tuple[str, ...]] = {
    "transmission": ("depth_kind", "depth_values", "focal_px", "baseline_m", *_RELATIVE_ALONE),
    "depth_model": _MAPS_ALONE,
    "flat_depth": (
        *_MAPS_ALONE,
        *_RELATIVE_ALONE,
        *("depth_values", "depth_scale", "not_measured", "no_surface", "trust_depth"),
    ),
}

# Parts of a run, of which one can be asked for; and what else can be asked for with none or only some of them.
PARTS = ("dry_run", "plan_only", "task_index", "finish", "only_shards", "retry_rejected")
UNFIT = {
    "restart": ("dry_run", "task_index", "finish", "only_shards", "retry_rejected"),
    "scheduler": ("dry_run", "plan_only", "task_index", "finish", "only_shards"),
}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


@dataclass(frozen=True, kw_only=True)
class MakeOptions(DepthOptions):
    """What is made, from what, and how.

    Attributes:
        kind: pairs: hazy and clean pictures. scenes: each clean picture with its distances, once; aodnet fit draws
            haze for them afresh, by the recipe.
        images: Folder of clean photos, in any format of OpenCV, sub-folders included.
        depth: Folder of depth maps, or the one file of a convention that stacks its frames.
        out: New folder for the dataset, on a disk or in a store (s3://bucket/name). The same command on an
            unfinished one continues it.
        transmission: Folder of transmission maps, in place of depth.
        transmission_beta: Extinction [1/m] that these were made with: d = -ln(t) / beta.
        depth_model: ONNX file of a network that estimates depth, in place of depth maps (see --model. below).
        flat_depth: Plane depth [m] of every pixel, in place of depth maps: for photos from straight above.
        trust_depth: Go on although the depth maps look wrong.
        variants: Hazy images of each scene [default: the recipe's whole grid; 1 where all would be the same;
            else 10].
        seed: Decides haze and splits; the same seed, inputs and recipe give the same bytes.
        codec: How images are stored: jpeg (4:4:4), png (lossless, 4 to 6 times slower and larger) or raw (no
            compression, for trainers that outrun a decoder; 8 to 16 times larger than jpeg).
        quality: JPEG quality.
        maps: Store the transmission of each pair too, as a 16-bit PNG.
        splits: Shares of the scenes (or groups).
        group_by: Regular expression whose bracket names a scene's group; a group is never split.
        split_file: CSV with columns key and split (train, validation, test, or none to leave out).
        shard_mb: Size that shards are planned for.
        workers: Processes that work at once [default: all cores].
        limit: Use only the first scenes, in the order of their keys' hashes.
        max_rejected: Share of the inputs that may be rejected before the exit status is 3.
        dry_run: Only count, and estimate size, time and memory.
        restart: Remove the dataset that lies in --out, as its plan names it, and begin anew.
        only_shards: Build these shards alone, and again where they are there: names with commas between.
        retry_rejected: Build the shards again that hold rejected scenes.
        accept_versions: Go on with a dataset of other versions of the libraries; the manifest says so.
        plan_only: Write the plan, and end.
        task_index: Build only the shards I, I + N, ... of the plan, counted from 0, where --num-tasks says N.
        num_tasks: Number of tasks that the plan is dealt to; --finish after all of them puts the dataset together.
        finish: Put the dataset together from the shards that all tasks have built.
        scheduler: Address of a dask scheduler (tcp://host:8786) whose workers build the shards.
        progress: What is shown while it works: auto (a bar on a terminal), bar, json (a line a second on stderr, and
            one on stdout in the end), off.
        quiet: Show nothing but errors.
    """

    images: Path
    out: Path
    kind: Kind = "pairs"
    depth: Path | None = None
    transmission: Path | None = None
    transmission_beta: float | None = None
    depth_model: Path | None = None
    flat_depth: float | None = None
    trust_depth: bool = False
    variants: int | None = None
    seed: int = 0
    codec: Codec = "jpeg"
    quality: int = 95
    maps: bool = False
    splits: str = "train=0.8,validation=0.1,test=0.1"
    group_by: str | None = None
    split_file: Path | None = None
    shard_mb: float = 64.0
    workers: int | None = None
    limit: int | None = None
    max_rejected: float = 0.0
    dry_run: bool = False
    restart: bool = False
    only_shards: str | None = None
    retry_rejected: bool = False
    accept_versions: bool = False
    plan_only: bool = False
    task_index: int | None = None
    num_tasks: int | None = None
    finish: bool = False
    scheduler: str | None = None
    progress: Mode = "auto"
    quiet: bool = False

    def __post_init__(self) -> None:
        checks = (
            ("--quality", self.quality, 1 <= self.quality <= 100, "1 to 100"),
            ("--shard-mb", self.shard_mb, 0 < self.shard_mb < math.inf, "a number above 0"),
            ("--limit", self.limit, self.limit is None or self.limit >= 1, "at least 1"),
            (
                "--flat-depth",
                self.flat_depth,
                self.flat_depth is None or 0 < self.flat_depth < math.inf,
                "metres above 0",
            ),
            ("--max-rejected", self.max_rejected, 0 <= self.max_rejected <= 1, "a share in [0, 1]"),
        )
        for name, value, sound, expected in checks:
            if not sound:
                raise UsageError(f"{name} is out of range. Expected {expected}, received {value}. Change {name}.")

        if self.split_file is not None and self.group_by is not None:
            raise UsageError(
                "Two ways to split. Expected --split-file or --group-by, received both. Write the groups into the file."
            )
        self._check_kind()
        self._check_sources()
        self._check_parts()

    def _check_kind(self) -> None:
        """Refuses options that do nothing beside --kind or --codec."""
        if self.kind == "scenes" and (self.variants is not None or self.maps):
            option = "--variants" if self.variants is not None else "--maps"
            raise UsageError(
                f"{option} has no part in scenes, whose haze is drawn in training. Expected it beside --kind pairs, "
                "received it beside --kind scenes. Leave it out."
            )
        if self.codec == "raw" and self.quality != type(self).quality:
            raise UsageError(
                f"--quality has no part in pictures without compression. Expected it beside --codec jpeg, received "
                f"{self.quality} beside --codec raw. Leave it out."
            )

    def _check_parts(self) -> None:
        """Refuses options of which one would be ignored."""
        given = self.parts()
        if len(given) > 1:
            raise UsageError(
                f"Only one part of a run can be asked for. Expected one of {_listed(PARTS)}, received "
                f"{_listed(given)}. Leave one out."
            )
        for name in ("restart", "scheduler"):
            unfit = [part for part in given if part in UNFIT[name]]
            if unfit and getattr(self, name):
                raise UsageError(
                    f"--{name} has no part in {_listed(unfit)}. Expected one of them, received both. Leave one out."
                )
        if self.scheduler is not None and self.workers is not None:
            raise UsageError(
                "Workers of a scheduler are started beside it. Expected --scheduler or --workers, received both. Leave "
                "--workers out."
            )
        if self.quiet and self.progress in ("bar", "json"):
            raise UsageError(
                f"--quiet shows no progress. Expected it or --progress {self.progress}, received both. Leave one out."
            )
        self._check_tasks()

    def parts(self) -> list[str]:
        """The part of a run that is asked for, if not all of it is: a name in PARTS."""
        return [name for name in PARTS if getattr(self, name) is not None and getattr(self, name) is not False]

    def _check_tasks(self) -> None:
        index, number = self.task_index, self.num_tasks
        if number is None and index is None:
            return
        if number is None or number < 1 or (index is None and not self.finish) or not 0 <= (index or 0) < number:
            received = f"--task-index {'none' if index is None else index}, "
            received += f"--num-tasks {'none' if number is None else number}"
            raise UsageError(
                "A task is one of so many. Expected --task-index from 0 to N - 1 with --num-tasks N (or --finish with "
                f"--num-tasks N), received {received}. Correct them."
            )

    def _check_sources(self) -> None:
        sources: dict[str, object] = {"--depth": self.depth, "--transmission": self.transmission}
        sources |= {"--depth-model": self.depth_model, "--flat-depth": self.flat_depth}
        given = [name for name, value in sources.items() if value is not None]
        if len(given) != 1:
            raise UsageError(
                f"Distances have one source. Expected one of {', '.join(sources)}, received "
                f"{' and '.join(given) or 'none'}. Pass one of them."
            )
        if (self.transmission is None) != (self.transmission_beta is None):
            raise UsageError(
                "Transmission maps and the beta that made them belong together. Expected --transmission and "
                f"--transmission-beta, received {self.transmission} and {self.transmission_beta}. Pass both: with the "
                "recipe's beta equal to it, the haze has exactly the maps' transmission."
            )
        default = {field.name: field.default for field in dataclasses.fields(self)}
        source = given[0][2:].replace("-", "_")
        if unused := [name for name in UNUSED.get(source, ()) if getattr(self, name) != default[name]]:
            raise UsageError(
                f"An option has no part in {given[0]}. Expected only options that it uses, received "
                f"{_listed(unused)}. Take them out."
            )

    @property
    def depth_folder(self) -> Path:
        """Where the maps of a depth network are kept: beside the dataset, as OUT.depth."""
        out = self.out.resolve()  # '.' has no name of its own
        return out.parent / f"{out.name}.depth"

    def from_anywhere(self) -> "MakeOptions":
        """The same with absolute paths, for processes that were started in other folders."""
        paths: dict[str, Any] = {name: path for name, path in vars(self).items() if isinstance(path, Path)}
        return dataclasses.replace(self, **{name: path.absolute() for name, path in paths.items()})

    def reading(self) -> Reading:
        """How the files of a scene are read."""
        reading = self.reading_of(self.images, self.depth or self.transmission or self.depth_folder)
        if self.transmission is not None:
            told = reading.depth_format | {"beta": self.transmission_beta}
            reading = dataclasses.replace(reading, convention="transmission", depth_format=told)
        return dataclasses.replace(reading, flat_m=self.flat_depth, depth_entries=self.depth is not None)
