"""Where the pictures of an evaluation come from: the options, without what reads them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aodnet.streaming import CacheOptions
from hazegen.errors import UsageError


@dataclass(frozen=True)
class Source(CacheOptions):
    """Where the pairs of an evaluation come from.

    Attributes:
        data: Folder of a dataset made by hazegen, of pairs or of scenes, also in a store as s3://bucket/dataset, or
            wandb:entity/project/name:alias.
        split: Split of that dataset.
        recipe: Of a dataset of scenes: recipe that their haze is drawn from, a shipped name or a file
            [default: the dataset's own].
        pairs: In place of data: folder of a published set of pairs.
        layout: How that set names its files: auto, sots, o-haze, i-haze, nh-haze, dense-haze, hazerd, revide, or
            flat (folders hazy and clean).
        hazy: In place of both: folder of hazy images.
        clean: Folder of clean images; 'NAME_1.png' belongs to 'NAME.png'. Without it, hazy images alone are measured.
        align: What to do where sizes differ: refuse, or crop the larger one around its centre. Never resized.
        limit: Only the first pairs.
    """

    data: Path | None = None
    split: str = "test"
    recipe: str | None = None
    pairs: Path | None = None
    layout: str = "auto"
    hazy: Path | None = None
    clean: Path | None = None
    align: Literal["refuse", "crop"] = "refuse"
    limit: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(given is not None for given in (self.data, self.pairs, self.hazy)) != 1 or (
            self.clean is not None and self.hazy is None
        ):
            names = ("data", "pairs", "hazy", "clean")
            told = " and ".join(f"--{name}" for name in names if getattr(self, name) is not None)
            raise UsageError(
                "There must be one source of pairs. Expected --data, --pairs, or --hazy (with --clean), received "
                f"{told or 'none of them'}. Give one of them."
            )
        if self.align == "crop" and self.pairs is None and self.clean is None:
            raise UsageError(
                "--align belongs to two folders. Expected it beside --pairs, or --hazy and --clean, received it "
                "without them. Leave it out."
            )
        if self.data is None and (self.cache is not None or self.cache_gb is not None or self.recipe is not None):
            raise UsageError(
                "--cache, --cache-gb and --recipe belong to a dataset. Expected them beside --data, received them "
                "beside --pairs or --hazy. Leave them out."
            )
        if self.pairs is None and self.layout != "auto":
            raise UsageError(
                f"--layout belongs to a published set. Expected it beside --pairs, received {self.layout} without. "
                "Leave it out."
            )
        if self.align not in ("refuse", "crop") or (self.limit is not None and self.limit < 1):
            raise UsageError(
                "--align or --limit is out of range. Expected refuse or crop, and at least 1, received "
                f"{self.align} and {self.limit}. Correct them."
            )

    @property
    def has_clean(self) -> bool:
        """Whether there are pairs, not hazy images alone."""
        return self.hazy is None or self.clean is not None
