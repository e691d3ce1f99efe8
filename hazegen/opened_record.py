"""One record of an opened dataset: what it holds, how it is decoded, and how a notebook shows it."""

import base64
import html
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazegen import color, images, preview, sampling, scene_records
from hazegen.geometry import Camera
from hazegen.manifest import Manifest
from hazegen.sampling import HazeParams

Pictures = dict[str, NDArray[np.uint8]]

# Pictures in a notebook: their width [px] and quality as JPEG.
SHOWN_WIDTH, SHOWN_QUALITY = 240, 85


@dataclass(frozen=True, eq=False)
class Pair:
    """One record of a dataset of kind pairs.

    Attributes:
        key: Name of the pair, SCENE#VARIANT.
        scene: Name of the scene, the same for all its variants.
        split: train, validation or test.
        clean: J, sRGB code values, uint8 (height, width, 3).
        hazy: I, the same.
        transmission: t in [0, 1], float32 (height, width), or (height, width, 3) where the haze has colour; None
            where the dataset was made without --maps.
        mean_transmission: Mean of t.
        haze: All that was drawn: beta [1/m] and atmospheric_light of red, green and blue, visibility_m, and the rest.
    """

    key: str
    scene: str
    split: str
    clean: NDArray[np.uint8]
    hazy: NDArray[np.uint8]
    transmission: NDArray[np.float32] | None
    mean_transmission: float
    haze: HazeParams

    def __repr__(self) -> str:
        height, width = self.clean.shape[:2]
        return f"Pair({self.key!r}, {self.split}, {width} x {height}, visibility {self.haze.visibility_m:.4g} m)"

    def _repr_html_(self) -> str:
        return row(self)

    def _shown(self) -> tuple[Pictures, str]:
        shown = {"clean": self.clean, "hazy": self.hazy}
        if self.transmission is not None:
            shown["transmission"] = preview.false_colors(color.to_uint16(self.transmission))
        drawn = (self.haze.beta, self.haze.atmospheric_light)
        beta, light = (", ".join(f"{value:.4g}" for value in dict.fromkeys(values)) for values in drawn)
        return shown, f"visibility {self.haze.visibility_m:.4g} m, beta {beta} /m, A {light}"


@dataclass(frozen=True, eq=False)
class SceneRecord:
    """One record of a dataset of kind scenes, whose haze is drawn in training.

    Attributes:
        key: Name of the scene.
        split: train, validation or test.
        clean: J, sRGB code values, uint8 (height, width, 3).
        distance_m: d before the recipe's depth_norm [m], float32 (height, width); infinite where there is no surface.
        along_ray: Whether d is along each pixel's ray, or along the camera's axis.
        camera: Intrinsics, where they are known.
    """

    key: str
    split: str
    clean: NDArray[np.uint8]
    distance_m: NDArray[np.float32]
    along_ray: bool
    camera: Camera | None

    def __repr__(self) -> str:
        height, width = self.clean.shape[:2]
        return f"SceneRecord({self.key!r}, {self.split}, {width} x {height})"

    def _repr_html_(self) -> str:
        return row(self)

    def _shown(self) -> tuple[Pictures, str]:
        from hazegen.inspect.sheet import false_colors

        finite = self.distance_m[np.isfinite(self.distance_m)]
        along = "along the ray" if self.along_ray else "along the axis"
        shown = {"clean": self.clean, "distance": np.asarray(false_colors(self.distance_m), np.uint8)}
        return shown, f"{finite.min():.3g} to {finite.max():.3g} m {along}"


Record = Pair | SceneRecord


# --- decoded ---


def read_pair(values: dict[str, Any], split: str, known: Manifest) -> Pair:
    haze = sampling.from_record(
        values["variant"], values["beta"], values["atmospheric_light"], json.loads(values["haze"])
    )
    clean, hazy = (_picture(values, name, known) for name in ("clean", "hazy"))
    told = (values["key"], values["scene"], split, clean, hazy)
    return Pair(*told, _transmission(values), values["mean_transmission"], haze)


def read_scene(values: dict[str, Any], split: str, known: Manifest) -> SceneRecord:
    scene_records.check(values, scene_records.recipe_of(known))
    distance_m, camera = scene_records.distances(values), scene_records.camera_of(values)
    told = (values["key"], split, _picture(values, "clean", known))
    return SceneRecord(*told, distance_m, bool(values["along_ray"]), camera)


def _picture(values: dict[str, Any], name: str, known: Manifest) -> NDArray[np.uint8]:
    return images.decode_stored(values[name], known.codec, values["height"], values["width"], name)


def _transmission(values: dict[str, Any]) -> NDArray[np.float32] | None:
    if "transmission" not in values:
        return None
    pixels = images.decode(values["transmission"], "transmission")
    size = (values["height"], values["width"])
    if pixels.dtype != np.uint16 or pixels.shape[:2] != size:
        raise ValueError(f"transmission expected 16 bits of size {size}, received {pixels.dtype} {pixels.shape[:2]}.")
    return color.to_float(pixels)


# --- as a notebook shows it ---


def row(record: Record) -> str:
    """The pictures of a record above their caption; what a file says is text there, never markup."""
    pictures, text = record._shown()
    tags = "".join(f'<img src="{_address(pixels)}" alt="{what}" title="{what}"> ' for what, pixels in pictures.items())
    name = record.key.encode("utf-8", "replace").decode()
    return f"<p>{tags}<br>{html.escape(name)}, {record.split}: {text}</p>"


def _address(pixels: NDArray[np.uint8]) -> str:
    small = preview.tile(pixels, min(SHOWN_WIDTH, pixels.shape[1]))
    data = base64.b64encode(images.encode(small, ".jpg", SHOWN_QUALITY)).decode()
    return f"data:image/jpeg;base64,{data}"
