"""The commands that make data: hazegen samples, recipes, make."""

import dataclasses
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hazegen import config, stores
from hazegen.errors import RefusedError, StoreError, UsageError
from hazegen.manifest import SPLITS, About
from hazegen.recipe import Recipe
from hazegen.verbs import new_parser

# Outside of these, a pair teaches and tests next to nothing. Our choice.
LEAST_T, MOST_T = 0.1, 0.97

if TYPE_CHECKING:
    from hazegen.depth.network import ModelOptions
    from hazegen.estimate import Estimate
    from hazegen.make import Made
    from hazegen.make_options import MakeOptions
    from hazegen.manifest import Manifest


def run_samples(argv: list[str]) -> int:
    """hazegen samples."""
    parser = new_parser(
        "hazegen samples",
        "Makes procedural scenes (streets and rooms) with exact depth and intrinsics.",
        "  hazegen samples --out scenes --scenes 24 --seed 0",
    )
    parser.add_argument(
        "--out", type=stores.place, required=True, help="new folder; images, depth and camera go into it"
    )
    parser.add_argument("--scenes", type=int, default=24, help="how many [default: 24]")
    parser.add_argument("--seed", type=int, default=0, help="decides them all [default: 0]")
    parser.add_argument("--width", type=int, default=640, help="width [px, default: 640]")
    parser.add_argument("--height", type=int, default=480, help="height [px, default: 480]")
    given = parser.parse_args(argv)
    stores.on_disk(given.out, "--out")
    from hazegen.samples import make_samples

    made = make_samples(given.out, given.scenes, given.seed, width=given.width, height=given.height, progress=True)
    print(f"{made.streets} streets and {made.rooms} rooms in '{given.out}'.")
    print(
        f"next: hazegen make --images {given.out}/images --depth {given.out}/depth --camera {given.out}/camera "
        "--out dataset --recipe outdoor-visibility"
    )
    return 0


def run_recipes(argv: list[str]) -> int:
    """hazegen recipes."""
    parser = new_parser(
        "hazegen recipes",
        "Lists the shipped recipes; shows one procedural scene under each of them.",
        "  hazegen recipes\n  hazegen recipes --out gallery.jpg\n  hazegen recipes --file dense",
    )
    parser.add_argument("--out", type=stores.place, help="picture to write: one scene, clean and under each recipe")
    parser.add_argument("--file", metavar="NAME", help="print this recipe's file, to copy and change")
    given = parser.parse_args(argv)
    if given.out is not None:
        stores.on_disk(given.out, "--out")
    if given.file is not None:
        print(config.find_config(given.file, "recipes").read_text(encoding="utf-8"), end="")
        return 0
    from hazegen import gallery

    print(f"{'recipe':<24}{'d':<10}{'drawn':<38}purpose")
    for listed in gallery.shipped():
        recipe = listed.recipe
        drawn = f"{'beta' if recipe.beta else 'visibility_m'} {recipe.extinction}"
        length = {"metres": "m", "tenths": "10 m", "max": "share"}[recipe.depth_norm]
        shown = drawn if len(drawn) < 37 else f"{drawn[:33]}..."
        print(f"{recipe.name:<24}{recipe.path + ' ' + length:<10} {shown:<37}{listed.purpose}")
    if given.out is not None:
        print(f"{gallery.write_gallery(given.out)} recipes in '{given.out}'.")
    print("next: hazegen make --images photos --depth depth --depth-scale 0.001 --out dataset --recipe NAME --dry-run")
    return 0


def run_make(argv: list[str]) -> int:
    """hazegen make."""
    from hazegen import publish
    from hazegen.cli_dataset import publish_folder
    from hazegen.depth.network import ModelOptions
    from hazegen.depth.options import DepthOptions
    from hazegen.make_options import MakeOptions

    parser = new_parser(
        "hazegen make",
        "Makes a dataset from photos and depth maps: of hazy/clean pairs, or of scenes that get haze in training.",
        "  hazegen make --images photos --depth depth --depth-scale 0.001 --out dataset --dry-run\n"
        "  hazegen make --images photos --depth depth --depth-scale 0.001 --out dataset\n"
        "  hazegen make --images photos --depth depth --depth-scale 0.001 --out scenes --kind scenes\n"
        "  hazegen make --images photos --depth depth --depth-kind kitti --recipe.max-holes 0.9 --out dataset\n"
        "  hazegen make --images photos --depth-model midas.onnx --model.preset midas-small --near 2 --far 80 \\\n"
        "      --out dataset\n"
        "  hazegen make --images photos --depth depth --camera camera --out fog --variants 5 --maps \\\n"
        "      --recipe outdoor-visibility --recipe.visibility-m 'log-uniform(30, 300)'\n"
        "  hazegen make --images photos --depth depth --out dataset --publish --project haze --name rooms\n"
        "  hazegen make --images s3://bucket/photos --depth s3://bucket/depth --out s3://bucket/dataset \\\n"
        "      --task-index 3 --num-tasks 40",
    )
    config.add_options(parser, MakeOptions, "dataset")
    config.add_options(parser, DepthOptions, "depth maps and cameras")
    config.add_options(parser, ModelOptions, "depth network (with --depth-model alone)", "model.", skip=("file",))
    config.add_options(parser, About, "photos and depth maps (for manifest and card; decides no byte of a shard)")
    group = parser.add_argument_group("publishing")
    group.add_argument("--publish", action="store_true", help="publish the finished dataset, as hazegen publish does")
    config.add_options(parser, publish.PublishOptions, "publishing: where (with --publish alone)", needed=False)
    parser.add_argument("--recipe", default="aod-released", help="recipe file or name [default: aod-released]")
    config.add_options(parser, Recipe, "recipe (each stands above the recipe file)", "recipe.", from_file=True)
    namespace = parser.parse_args(argv)
    path = config.find_config(namespace.recipe, "recipes")
    values = config.read_config(path, Recipe) | config.given(namespace, Recipe, "recipe.")
    recipe = config.build(Recipe, values, "recipe.")
    options = config.build(MakeOptions, config.given(namespace, MakeOptions))
    about = config.given(namespace, About)
    config.build(About, about)
    target = config.given(namespace, publish.PublishOptions)
    if target and not namespace.publish:
        raise UsageError(
            f"--{min(target).replace('_', '-')} is of no use alone. Expected --publish beside it, received none. "
            "Add --publish, or take it out."
        )
    if namespace.publish and (part := set(options.parts()) & {"plan_only", "task_index"}):
        raise UsageError(
            "--publish sends a finished dataset. Expected a run that finishes one, received --publish with "
            f"--{min(part).replace('_', '-')}. Leave one out."
        )
    publishing = config.build(publish.PublishOptions, target) if namespace.publish else None
    model = _model(options, config.given(namespace, ModelOptions, "model."))
    if options.dry_run:
        return _dry_run(options, recipe, model)
    choice, unreachable = None, None
    try:
        choice = publish.choose(publishing) if publishing else None  # a key that is not valid ends it here
    except StoreError as error:
        unreachable = error  # no reason not to make the dataset
    status = _make_for_real(options, recipe, about, model)
    if unreachable is not None:
        raise unreachable
    if publishing and choice:
        publish_folder(options.out, publishing, choice)
    return status


def _model(options: "MakeOptions", given: dict[str, Any]) -> "ModelOptions | None":
    """How depth is estimated, where a network is to do it."""
    from hazegen.depth.network import ModelOptions

    if options.depth_model is not None:
        return config.build(ModelOptions, {"file": options.depth_model, **given}, "model.")
    if given:
        raise UsageError(
            f"--model.{min(given).replace('_', '-')} is of no use alone. Expected --depth-model beside it, received "
            "none. Add --depth-model, or take it out."
        )
    return None


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _warner(options: "MakeOptions") -> Callable[[str], None]:
    """Where warnings go: nowhere with --quiet."""
    return (lambda _: None) if options.quiet else _warn


def _warn_of_useless_haze(mean_transmission: float) -> None:
    if not LEAST_T <= mean_transmission <= MOST_T:
        problem = "Little is left of the scenes" if mean_transmission < LEAST_T else "There is hardly any haze"
        _warn(
            f"{problem}. Expected a mean transmission of {LEAST_T} to {MOST_T}, received {mean_transmission:.2f}. "
            "Choose a recipe for such distances (hazegen recipes), or change --recipe.beta or --recipe.visibility-m."
        )


def _dry_run(options: "MakeOptions", recipe: Recipe, model: "ModelOptions | None") -> int:
    from hazegen.estimate import estimate

    told = estimate(options, recipe, model, _warner(options))
    refused = sum(count for code, count in told.rejected.items() if code != "left-out") + len(told.probe_rejected)
    if options.progress == "json":
        print(json.dumps({"event": "estimate", **dataclasses.asdict(told)}))
    elif not options.quiet:
        _tell_estimate(told)
    if refused > options.max_rejected * told.found:
        raise RefusedError(
            f"{refused} of {told.found} inputs would be rejected, of those that were looked at. Expected at most "
            f"{options.max_rejected:.1%}. Mend them, or pass --max-rejected."
        )
    return 0


def _tell_estimate(told: "Estimate") -> None:
    print(f"inputs      {told.found} found, {sum(told.rejected.values())} rejected{_codes(told.rejected)}")
    print(f"others      {told.others} files of another name pattern or format, not looked at")
    print(f"scenes      {', '.join(f'{count} {split}' for split, count in sorted(told.scenes.items()))}")
    if told.finished:
        print("there       all of it: nothing to do")
        return
    if told.there:
        print(f"there       {told.there} of {told.shards} shards; the figures below are of all")
    print(f"to write    {told.pairs} {told.kind} in {told.shards} shards, about {told.bytes / 1e6:,.0f} MB")
    if told.free_bytes is not None:
        print(f"disk        {told.free_bytes / 1e6:,.0f} MB free")
    print(f"time        about {told.seconds:,.0f} s with {told.workers} workers")
    print(f"memory      about {told.worker_mb:,.0f} MB a worker")
    if told.mean_transmission is not None:
        print(f"haze        mean transmission {told.mean_transmission:.2f} in the scenes that were tried")
        _warn_of_useless_haze(told.mean_transmission)
    if told.free_bytes is not None and told.bytes > told.free_bytes:
        _warn(
            f"The dataset will not fit on its disk. Expected {told.bytes / 1e6:,.0f} MB free, received "
            f"{told.free_bytes / 1e6:,.0f} MB. Free some, or choose another --out."
        )
    for problem in told.probe_rejected:
        print(f"rejected    {problem}")
    print("Nothing was written; the same command without --dry-run makes it.")


def _make_for_real(options: "MakeOptions", recipe: Recipe, about: dict[str, str], model: "ModelOptions | None") -> int:
    from hazegen.make import make

    made = make(options, recipe, about, model, _warner(options))
    if options.progress == "json":
        print(json.dumps(_event(made)))
    elif made.manifest is None and not options.quiet:
        _tell_part(options, made)
    elif made.manifest is not None and not options.quiet:
        _tell_whole(options, made, made.manifest)
    if made.manifest is not None:
        _check_rejected(options, made, made.manifest)
    return 0


def _event(made: "Made") -> dict[str, Any]:
    """What a program that started this one wants to know in the end."""
    inputs = made.manifest.inputs if made.manifest else {}
    counts = {"built": made.built, "reused": made.reused, "left": made.left, "rejected_for": made.rejected}
    finished = {"finished": made.manifest is not None, **inputs, "seconds": round(made.seconds, 1)}
    return {"event": "done", **finished, **counts, "took": made.took}


def _tell_part(options: "MakeOptions", made: "Made") -> None:
    """The summary of a run that was not to finish the dataset."""
    there = f", {made.reused} were there already" if made.reused else ""
    if options.plan_only:
        print(f"The plan is in '{options.out}'; {made.left} of its shards are to be built.")
        print("next: the same command with --task-index I --num-tasks N in place of --plan-only, for I from 0 to N - 1")
        return
    print(f"{made.built} shards built{there}; {made.left} of all shards of '{options.out}' are left.")
    _tell_cost(made)
    if options.task_index is not None:
        print("next: when all tasks are done, the same command with --finish in place of --task-index")
    else:
        print("next: the same command without --only-shards goes on")


def _tell_whole(options: "MakeOptions", made: "Made", known: "Manifest") -> None:
    """The summary of a finished dataset."""
    from hazegen import preview

    inputs, out = known.inputs, options.out
    if made.changed:
        print(f"'{out}' was finished; written anew: {', '.join(made.changed)}.")
    elif made.reused == len(known.shards) and not options.finish:
        print(f"Nothing to do: '{out}' is finished.")
    size = sum(s.bytes for s in known.shards)
    print(f"{known.counted()} in '{out}': {len(known.shards)} shards, {size / 1e6:,.0f} MB, "
          f"{made.seconds:.1f} s, recipe {known.recipe['name']}, licence "
          f"{known.about.license or 'not stated (--license)'}.")  # fmt: skip
    _tell_cost(made)
    for split in SPLITS:
        counts = known.splits[split]
        print(f"  {split:<11}{counts['scenes']:>8} scenes" + _pairs(known, counts["records"]))
    print(f"  inputs: {inputs['found']} found = {inputs['used']} used + {inputs['rejected']} rejected"
          f"{_codes(made.rejected)}")  # fmt: skip
    if known.kind == "pairs":
        mean, read = preview.mean_transmission(out)
        print(f"  haze: mean transmission {mean:.2f} over {read} of the pairs")
        _warn_of_useless_haze(mean)
    else:
        print("  haze: none is stored; aodnet fit draws it afresh by the recipe, or by another (--recipe)")
    if made.others:
        print(f"  others: {made.others} files of another name pattern or format were not looked at")
    print(f"next: hazegen preview {out} --out preview.png, then: aodnet fit --data {out}")


def _pairs(known: "Manifest", count: int) -> str:
    """How many pairs a split has; nothing where it holds scenes alone."""
    return f" {count:>9} pairs" if known.kind == "pairs" else ""


def _tell_cost(made: "Made") -> None:
    if made.took:
        unit = "scenes" if "scenes" in made.took else "pairs"
        print(f"  {made.took[f'{unit}_per_s']:,.0f} {unit}/s, ", end="")
        print("{mb_per_s:,.1f} MB/s; peak memory {peak_mb:,.0f} MB".format(**made.took), end="")
        print(f", largest worker {made.took['peak_worker_mb']:,.0f} MB" if made.took["peak_worker_mb"] else "")


def _check_rejected(options: "MakeOptions", made: "Made", known: "Manifest") -> None:
    """Raises RefusedError where more inputs were rejected than the options allow."""
    refused, found = known.inputs["rejected"] - made.rejected.get("left-out", 0), known.inputs["found"]
    if refused > options.max_rejected * found:
        raise RefusedError(
            f"{refused} of {found} inputs were rejected. Expected at most {options.max_rejected:.1%}; "
            f"first reason: {made.first_reason} The dataset is finished without them. '{options.out}/inputs.csv' lists "
            "each with its reason; mend them and run the same command with --retry-rejected, or pass --max-rejected."
        )


def _codes(rejected: dict[str, int]) -> str:
    listed = ", ".join(f"{count} {code}" for code, count in sorted(rejected.items()))
    return f" ({listed})" if listed else ""
