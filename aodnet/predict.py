"""aodnet predict: removes haze from pictures of any size and kind, and from videos."""

import math
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aodnet import tiles, video
from aodnet.tiles import Call, Restorer
from hazegen import color, images, stores
from hazegen.errors import HazegenError, RefusedError, UsageError
from hazegen.images import Pixels
from hazegen.progress import Steps, counted

if TYPE_CHECKING:
    import keras

# A picture of 16 bits with alpha then takes 1.6 GB, and twice that beside its hazy one.
MAX_PIXELS = 200_000_000

Restore = Call
Beside = Literal["plain", "labelled"]


@dataclass(frozen=True)
class Predicted:
    """What became of the inputs: files written, the errors of those that could not be read, remarks on others."""

    written: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def predict(
    restore: Restore, inputs: list[Path], out: Path, *, recursive: bool = False, beside: Beside | None = None
) -> Predicted:
    """Restores every picture and video of `inputs` (files, or folders of files) into the folder `out`.

    Each is written under its own name, in its own format: alpha is kept, grey stays grey, 16 bits
    stay 16 bits, and a picture that its EXIF tag turns is written upright. A picture is in memory once,
    whatever its size, and beside it one tile's activations. Sound of videos is not kept.

    Args:
        restore: What `restorer` or `runtimes.load` gives.
        inputs: Files and folders.
        out: Folder.
        recursive: Whether folders are entered; their outputs keep their place below `out`.
        beside: Whether each output shows the hazy picture too, on the left, with or without labels.

    Raises:
        UsageError: Nothing to read, two inputs of one name, or an output that would replace an input.
    """
    targets = find_targets(inputs, out, recursive)
    done = Predicted()
    out.mkdir(parents=True, exist_ok=True)
    with Steps("restoring", len(targets), "file") as steps, _larger_pictures():
        for path, target in targets:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                if path.suffix.lower() in video.SUFFIXES:
                    done.remarks.append(f"{path}: {_restore_video(restore, path, target, beside)}")
                else:
                    remarks = _restore_file(restore, path, target, beside)
                    done.remarks.extend(f"{path}: {remark}" for remark in remarks)
                done.written.append(target)
            except (HazegenError, OSError) as error:
                done.problems.append(f"{path}: {error}")
            steps.update()
    return done


def restorer(model: "keras.Model") -> Restorer:
    """A function from hazy to restored pixels, float32 (height, width, 3) in [0, 1], of any size.

    Large pictures go through in tiles that overlap by the receptive field, so the result is the same as in
    one piece (docs/export_models.md says to which bit).
    """
    from aodnet.runtimes import keras_call

    return Restorer(keras_call(model))


def restore_picture(
    restore: Restore, pixels: Pixels, name: str, *, bgr: bool = False, out: Pixels | None = None
) -> Pixels:
    """`restore` for 8 or 16 bits, grey, RGB or RGBA; the result has the kind of the input.

    Args:
        restore: The network.
        pixels: (height, width), or (height, width, 3 or 4).
        name: Of the picture, for the message.
        bgr: Whether the channels are in the order B, G, R (, A).
        out: Where the result goes; may be `pixels` itself.
    """
    if pixels.dtype not in (np.uint8, np.uint16):
        raise RefusedError(
            f"'{name}' is no photograph. Expected 8 or 16 bits a channel, received {pixels.dtype}. Convert it first."
        )
    to_integers = color.to_uint8 if pixels.dtype == np.uint8 else color.to_uint16
    order = slice(2, None, -1) if bgr else slice(0, 3)

    def restore_tile(tile: Pixels) -> Pixels:
        if tile.ndim == 2:
            gray = restore(np.repeat(color.to_float(tile)[..., None], 3, axis=2))
            return to_integers(np.asarray(cv2.cvtColor(gray, cv2.COLOR_RGB2GRAY), np.float32))
        rgb = restore(color.to_float(np.ascontiguousarray(tile[..., order])))
        return np.concatenate([to_integers(rgb)[..., order if bgr else slice(None)], tile[..., 3:]], axis=2)

    patch = restore.patch if isinstance(restore, Restorer) else tiles.PATCH
    return tiles.apply(restore_tile, pixels, np.empty_like(pixels) if out is None else out, patch)


def join(hazy: Pixels, restored: Pixels, beside: Beside) -> Pixels:
    """Hazy on the left and restored on the right, with their names in the upper left corners where asked for."""
    if beside == "labelled":
        hazy, restored = _labelled(hazy.copy(), "hazy"), _labelled(restored, "restored")
    return np.concatenate([hazy, restored], axis=1)


def _labelled(pixels: Pixels, text: str) -> Pixels:
    """Writes white letters with a black rim into a picture of any kind."""
    height, width = pixels.shape[:2]
    size = max(0.4, min(height, width) / 600.0)
    box = np.zeros((min(height, round(40 * size)), min(width, round(200 * size))), np.uint8)
    origin = (round(8 * size), round(28 * size))
    cv2.putText(box, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size, 255, round(2 * size) + 1)
    letters = np.where(box > 127, np.uint8(1), np.uint8(0))
    rim = cv2.dilate(letters, np.ones((3, 3), np.uint8), iterations=max(1, round(2 * size)))
    part = pixels[: box.shape[0], : box.shape[1]]
    colors = part if part.ndim == 2 else part[..., :3]
    colors[rim > 0] = 0
    colors[letters > 0] = np.iinfo(pixels.dtype).max
    return pixels


def _restore_file(restore: Restore, path: Path, target: Path, beside: Beside | None) -> list[str]:
    """Writes the restored picture; what of the file is not in it, in words."""
    pixels, profile, remarks = _read(path)
    hazy = pixels.copy() if beside else None
    with _by_tiles(restore, pixels, path.name) as told:
        pixels = restore_picture(told, pixels, path.name, bgr=True, out=pixels)
    if beside and hazy is not None:
        pixels = join(hazy, pixels, beside)
    encoded = images.encode(pixels, path.suffix, bgr=True, profile=profile)
    with stores.whole_file(target) as file:
        file.write(encoded)
    return remarks


@contextmanager
def _by_tiles(restore: Restore, pixels: Pixels, name: str) -> Iterator[Restore]:
    """`restore`, that tells how far it is in a picture of several tiles."""
    patch = restore.patch if isinstance(restore, Restorer) else tiles.PATCH
    number = math.prod(len(tiles.starts(*axis)) for axis in zip(pixels.shape[:2], patch, strict=True))
    with Steps(f"restoring {name}", number, "tile", leave=False) as steps:

        def call(tile: NDArray[np.float32]) -> NDArray[np.float32]:
            restored = restore(tile)
            steps.update()
            return restored

        yield Restorer(call, patch) if number > 1 else restore


def _read(path: Path) -> tuple[Pixels, bytes, list[str]]:
    """The pixels of a file, upright, colour in the order B, G, R, A: a turn of the channels would be a copy more;
    the ICC profile that they keep; and what of the file they do not hold, in words.

    As images.decode, which stops at 80 megapixels.
    """
    data = images.read_file(path)
    header = images.check_header(data, path.name, MAX_PIXELS)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise RefusedError(
            f"'{path.name}' cannot be decoded. Expected a complete picture, received {len(data)} bytes that are "
            "cut off or damaged. Copy the file again, or remove it."
        )
    profile = _profile(header, pixels, path.suffix.lower())
    remarks = ["its colour profile is not kept."] if not profile and header.info.get("icc_profile") else []
    if _has_more(header):
        remarks.append("it holds several pictures, of which the first alone is restored.")
    return images.upright(pixels, images.orientation(data)), profile, remarks


def _profile(header: Image.Image, pixels: Pixels, suffix: str) -> bytes:
    """The ICC profile of a picture, where it is whole, of the channels that are written, and its format takes it."""
    profile: bytes = header.info.get("icc_profile") or b""
    space = b"GRAY" if pixels.ndim == 2 else b"RGB "  # of CMYK, OpenCV makes RGB
    sound = profile[:4] == len(profile).to_bytes(4, "big") and profile[16:20] == space and profile[36:40] == b"acsp"
    fits = suffix in images.PROFILED and (not suffix.startswith(".j") or len(profile) <= images.MAX_JPEG_PROFILE)
    return profile if sound and fits else b""


def _has_more(header: Image.Image) -> bool:
    """Whether a file is an animation or has several pages. (A JPEG of some phones has a preview behind it: no.)"""
    try:
        return header.format != "MPO" and bool(getattr(header, "is_animated", False))
    except (OSError, ValueError, SyntaxError, EOFError):  # what comes behind the first is damaged
        return True


@contextmanager
def _larger_pictures() -> Iterator[None]:
    """Lets Pillow read headers of pictures up to our own limit: its own one is 89 megapixels."""
    kept = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = kept


def _restore_video(restore: Restore, path: Path, target: Path, beside: Beside | None) -> str:
    def restore_frame(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        restored = restore_picture(restore, frame, path.name, bgr=True)
        return join(frame, restored, beside) if beside else restored

    return video.restore_video(restore_frame, path, target)


def find_targets(inputs: list[Path], out: Path, recursive: bool) -> list[tuple[Path, Path]]:
    """Each file that is to be restored, and where it goes.

    Raises:
        UsageError: As `predict` says.
    """
    from hazegen.pairing import IMAGE_SUFFIXES

    suffixes = IMAGE_SUFFIXES | video.SUFFIXES
    found: list[tuple[Path, Path]] = []
    for path in inputs:
        inside = [path] if not path.is_dir() else _below(path, out, recursive)
        kept = [file for file in inside if not path.is_dir() or file.suffix.lower() in suffixes]
        found += [(file, out / (file.relative_to(path) if path.is_dir() else file.name)) for file in kept]
    if not found:
        raise UsageError(
            "There is nothing to restore. Expected pictures or folders of pictures, received "
            f"{counted(len(inputs), 'path')} without any. Check the paths, or pass --recursive to enter their folders."
        )
    _check_targets(found, out)
    return found


def _below(folder: Path, out: Path, recursive: bool) -> list[Path]:
    """Files of a folder in the order of their paths; never those of `out`, which are restored already."""
    if not recursive:
        return sorted(path for path in folder.iterdir() if path.is_file())
    files: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if (Path(place) / name).resolve() != out.resolve())
        files += [Path(place) / name for name in names]
    return sorted(files)


def _check_targets(found: list[tuple[Path, Path]], out: Path) -> None:
    times = Counter(target for _, target in found)
    doubled = sorted(str(target) for target, number in times.items() if number > 1)
    replaced = [str(path) for path, target in found if path.resolve() == target.resolve()]
    if doubled or replaced:
        received = f"{counted(len(doubled), 'name')} twice and {counted(len(replaced), 'input')} in '{out}'"
        raise UsageError(
            f"Outputs would be overwritten. Expected names that differ and a folder of its own, received {received} "
            f"({(doubled + replaced)[0]}). Choose another --out, or give one folder at a time."
        )
