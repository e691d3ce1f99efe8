"""The options of hazegen make."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hazegen.depth.options import DepthOptions
from hazegen.errors import UsageError
from hazegen.reading import Reading

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


@dataclass(frozen=True, kw_only=True)
class MakeOptions(DepthOptions):
    """What is made, from what, and how.

    Attributes:
        images: Folder of clean photos, in any format of OpenCV, sub-folders included.
        depth: Folder of depth maps, or the one file of a convention that stacks its frames.
        out: New folder for the dataset. The same command on an unfinished one continues it.
        transmission: Folder of transmission maps, in place of depth.
        transmission_beta: Extinction [1/m] that these were made with: d = -ln(t) / beta.
        depth_model: ONNX file of a network that estimates depth, in place of depth maps (see --model. below).
        flat_depth: Plane depth [m] of every pixel, in place of depth maps: for photos from straight above.
        trust_depth: Go on although the depth maps look wrong.
        variants: Hazy images of each scene [default: the recipe's whole grid; 1 where all would be the same;
            else 10].
        seed: Decides haze and splits; the same seed, inputs and recipe give the same bytes.
        codec: How images are stored: jpeg (4:4:4) or png (lossless, 4 to 6 times slower and larger).
        quality: JPEG quality.
        maps: Store the transmission of each pair too, as a 16-bit PNG.
        splits: Shares of the scenes (or groups).
        group_by: Regular expression whose bracket names a scene's group; a group is never split.
        split_file: CSV with columns key and split (train, validation, test, or none to leave out).
        shard_mb: Size that shards are planned for.
        workers: Threads that work at once [default: all cores].
        limit: Use only the first scenes, in the order of their keys' hashes.
        max_rejected: Share of the inputs that may be rejected before the exit status is 3.
        dry_run: Only count, and estimate size and time.
    """

    images: Path
    out: Path
    depth: Path | None = None
    transmission: Path | None = None
    transmission_beta: float | None = None
    depth_model: Path | None = None
    flat_depth: float | None = None
    trust_depth: bool = False
    variants: int | None = None
    seed: int = 0
    codec: Literal["jpeg", "png"] = "jpeg"
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
        self._check_sources()

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
                f"{', '.join('--' + name.replace('_', '-') for name in unused)}. Take them out."
            )

    @property
    def depth_folder(self) -> Path:
        """Where the maps of a depth network are kept: beside the dataset, as OUT.depth."""
        out = self.out.resolve()  # '.' has no name of its own
        return out.parent / f"{out.name}.depth"

    def reading(self) -> Reading:
        """How the files of a scene are read."""
        reading = self.reading_of(self.images, self.depth or self.transmission or self.depth_folder)
        if self.transmission is not None:
            told = reading.depth_format | {"beta": self.transmission_beta}
            reading = dataclasses.replace(reading, convention="transmission", depth_format=told)
        return dataclasses.replace(reading, flat_m=self.flat_depth, depth_entries=self.depth is not None)
