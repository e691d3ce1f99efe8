"""How the files of every scene are read: the one thing that all that reads scenes is told."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Reading:
    """How the files of every scene are read.

    Attributes:
        images, depth: Folders; for a convention that stacks its frames, the one file of both.
        camera: One camera file for all scenes, or the folder that holds one for each.
        fov_deg: Horizontal field of view of all scenes [degree], where there is no camera file.
        convention: Name of the convention that the depth maps follow.
        depth_format: Fields of DepthFormat that were given; they stand above camera files and convention.
        fit_depth: Whether a depth map of another size is resized to its image (nearest neighbour).
        sparse: Folder of sparse metric maps that the scale of relative depth is fitted to.
        sparse_scale: Metres in one unit of these; None as DepthFormat.unit.
        flat_m: Plane depth [m] of every pixel of every photo, where there are no depth maps (`depth` is unused).
        depth_entries: Whether the `depth` entry of a camera file is about these maps. It is about files, not about
            flat depth, what a network estimated, or transmissions in place of them.
    """

    images: Path
    depth: Path
    camera: Path | None = None
    fov_deg: float | None = None
    convention: str = "custom"
    depth_format: dict[str, Any] = field(default_factory=dict)
    fit_depth: bool = False
    sparse: Path | None = None
    sparse_scale: float | None = None
    flat_m: float | None = None
    depth_entries: bool = True
