"""Where the depth of a run comes from, before it begins: a network's estimates, and a look at the maps."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from hazegen import planning, shards, stores
from hazegen.depth import estimation, network, onnx_file
from hazegen.depth.network import ModelOptions
from hazegen.errors import RefusedError, UsageError
from hazegen.inspect import look, words
from hazegen.make_options import MakeOptions
from hazegen.planning import Plan
from hazegen.recipe import Recipe

# Scenes that are looked at before a run: enough to judge mirrored and shifted maps, and read in seconds.
LOOKED_AT = 12
# Scenes with these faults are rejected one by one, each with its reason.
REJECTED_ANYWAY = ("unreadable", "size", "holes", "sky")


def estimate_depth(options: MakeOptions, recipe: Recipe, model: ModelOptions) -> tuple[MakeOptions, dict[str, str]]:
    """Estimates the depth of all photos of a run that have no map in its folder of maps yet.

    A network takes hours, so all that can be refused without its maps is refused before.

    Returns:
        The options with what the network's numbers mean; and the photos that failed, with the reason.
    """
    stores.on_disk(options.out, "--out of a run that estimates depth")
    estimated = as_estimated(options, model)
    names = [ref.image for ref in planning.plan(estimated, recipe).scenes]
    shards.check_out(options.out)
    with tqdm(total=len(names), unit="photo", desc="estimating depth", disable=None) as bar:
        done = estimation.estimate_folder(options.images, names, options.depth_folder, model, bar.update)
    return estimated, dict(done.failed)


def as_estimated(options: MakeOptions, model: ModelOptions) -> MakeOptions:
    """The options with what the numbers of the network's maps mean.

    Raises:
        UsageError: The options say it too.
    """
    if options.depth_values is not None or options.not_measured is not None:
        raise UsageError(
            "A depth network's numbers are said by --model.values, and none of them is a hole. Expected neither "
            f"--depth-values nor --not-measured, received {options.depth_values} and {options.not_measured}. "
            "Take them out."
        )
    return dataclasses.replace(options, depth_values=network.handling_of(model).values, not_measured="nan")


def model_of(model: ModelOptions) -> dict[str, Any]:
    """What decides the estimates: SHA-256 of the network's file, and how it is used."""
    return {"sha256": onnx_file.check_file(model.file), **dataclasses.asdict(network.handling_of(model))}


def check_depth(plan: Plan, options: MakeOptions, tell: Callable[[str], object], most: int = LOOKED_AT) -> None:
    """Looks at the first scenes, at most so many, with the eyes of `hazegen inspect`.

    Raises:
        RefusedError: The maps cannot be what they are said to be, and the options do not trust them.
    """
    reading = plan.settings.reading
    if reading.flat_m is not None:
        return
    refs = itertools.islice(plan.scenes, most)
    found = look.look(refs, reading, options.patterns()[1], finds_sky=plan.settings.recipe.sky_from_image)
    found = [finding for finding in found if finding.code not in REJECTED_ANYWAY]
    impossible = [finding for finding in found if finding.severity == "impossible"]
    if impossible and not options.trust_depth:
        raise RefusedError(
            f"The depth maps are not what they are said to be: {impossible[0].code}. {impossible[0].reason} "
            f'"{words.inspect_command(options, reading)}" shows them; --trust-depth goes on all the same.'
        )
    for finding in found:
        if finding.severity != "note":
            tell(f"{finding.code}: {finding.reason}")
