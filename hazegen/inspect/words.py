"""Options for depth maps, written as the words of a command line."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from hazegen.depth import conventions
from hazegen.depth.formats import RELATIVE, DepthFormat
from hazegen.depth.options import DepthOptions
from hazegen.reading import Reading

Options = TypeVar("Options", bound=DepthOptions)

# These stand behind the convention that they differ from.
_PATTERNS = ("image_pattern", "depth_pattern")


def command(verb: str, images: Path, source: Sequence[str], more: Sequence[str]) -> str:
    """A command line of hazegen for photos and their depth, `source`."""
    return shlex.join(["hazegen", verb, "--images", str(images), *source, *more])


def inspect_command(options: DepthOptions, reading: Reading) -> str:
    """The `hazegen inspect` command that looks at what is going to be read."""
    plain = {field.name: getattr(options, field.name) for field in dataclasses.fields(DepthOptions)}
    told = of_options(DepthOptions(**plain | {"depth_kind": reading.convention}))
    return command("inspect", reading.images, ("--depth", str(reading.depth)), told)


def of_options(options: DepthOptions) -> list[str]:
    """The options of depth maps that say something: those that are neither default nor the convention's own."""
    convention = conventions.find(options.depth_kind)
    names = [field.name for field in dataclasses.fields(DepthOptions) if field.name not in _PATTERNS]
    words: list[str] = []
    for name in (names[0], *_PATTERNS, *names[1:]):
        value = getattr(options, name)
        silent = value is None or value is False or value == "custom"  # 0.0 == False, and says something
        if silent or (name in _PATTERNS and value == getattr(convention, name)):
            continue
        option = f"--{name.replace('_', '-')}"
        words += [option] if value is True else [option, _text(value)]
    return words


def _text(value: object) -> str:
    """A value that reads back as the same; whole numbers without a point."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def completed(options: Options, fmt: DepthFormat) -> Options:
    """The options with what they leave open of the format that files were read by.

    Camera files that may say it themselves are not overruled, but for near and far.
    """
    if options.sparse is not None:
        return options
    by_camera = options.camera is not None and conventions.find(options.depth_kind).calibration is None
    if not by_camera:
        options = _as_read(options, fmt)
    if fmt.values not in RELATIVE:
        return options
    return dataclasses.replace(options, near=options.near or fmt.near_m, far=options.far or fmt.far_m)


def _as_read(options: Options, fmt: DepthFormat) -> Options:
    """The options that come to the kind of values, the unit and the marks of the format."""
    if options.format().values != fmt.values:
        options = dataclasses.replace(options, depth_values=fmt.values)
    if options.format().unit != fmt.unit:
        options = dataclasses.replace(options, depth_scale=fmt.unit)
    if options.format().not_measured != fmt.not_measured:
        options = dataclasses.replace(options, not_measured=marks(fmt))
    if options.format().no_surface != fmt.no_surface:
        options = dataclasses.replace(options, no_surface=fmt.no_surface)
    return options


def marks(fmt: DepthFormat) -> str:
    """What --not-measured says for the format."""
    return ",".join(_text(mark) for mark in fmt.not_measured) or "nan"
