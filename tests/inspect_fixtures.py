"""Command lines that hazegen inspect prints, read back as hazegen make and inspect read them."""

import shlex
from typing import Any

from hazegen import config
from hazegen.depth import conventions
from hazegen.depth.formats import DepthFormat, from_camera_file
from hazegen.depth.options import DepthOptions
from hazegen.inspect.find import InspectOptions
from hazegen.make_options import MakeOptions
from hazegen.recipe import Recipe
from hazegen.verbs import new_parser


def options_of(line: str) -> Any:
    """MakeOptions or InspectOptions of a printed command line; an unknown option is an error."""
    name, verb, *words = shlex.split(line)
    assert name == "hazegen"
    cls: Any = {"make": MakeOptions, "inspect": InspectOptions}[verb]
    parser = new_parser("hazegen", "", "")
    config.add_options(parser, cls, "files")
    config.add_options(parser, DepthOptions, "depth maps")
    config.add_options(parser, Recipe, "recipe", "recipe.", from_file=True)
    return config.build(cls, config.given(parser.parse_args(words), cls))


def format_of(made: MakeOptions) -> DepthFormat:
    """The format that such a run reads maps by, without what camera files add."""
    reading = made.reading()
    return from_camera_file({}, reading.depth_format, conventions.find(reading.convention).format)
