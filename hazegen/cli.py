"""The command `hazegen`: parses, calls one function, prints its summary."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hazegen import config
from hazegen.errors import RefusedError, StoreError, UsageError, VerifyError
from hazegen.manifest import SPLITS, About
from hazegen.recipe import Recipe
from hazegen.verbs import Verb, new_parser, run_verb

if TYPE_CHECKING:
    from hazegen.planning import MakeOptions
    from hazegen.publish import PublishOptions
    from hazegen.tracking import Choice

DESCRIPTION = "Turns clean photos and depth maps into physically right hazy/clean pairs in TFRecords."


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit status (README, exit codes)."""
    verbs: dict[str, tuple[str, Verb]] = {
        "samples": ("procedural scenes with exact depth, to start without data", _samples),
        "make": ("a dataset of hazy/clean pairs from photos and depth maps", _make),
        "verify": ("hold a dataset against its manifest, down to the pixels", _verify),
        "preview": ("a contact sheet of a dataset's pairs", _preview),
        "publish": ("send a dataset to Weights & Biases as an artifact", _publish),
        "pull": ("fetch a published dataset from Weights & Biases", _pull),
        "card": ("write a dataset's card again, and its licence, citation and source", _card),
    }
    return run_verb("hazegen", DESCRIPTION, verbs, sys.argv[1:] if argv is None else argv)


def _samples(argv: list[str]) -> int:
    parser = new_parser(
        "hazegen samples",
        "Makes procedural scenes (streets and rooms) with exact depth and intrinsics.",
        "  hazegen samples --out scenes --scenes 24 --seed 0",
    )
    parser.add_argument("--out", type=Path, required=True, help="new folder; images, depth and camera go into it")
    parser.add_argument("--scenes", type=int, default=24, help="how many [default: 24]")
    parser.add_argument("--seed", type=int, default=0, help="decides them all [default: 0]")
    parser.add_argument("--width", type=int, default=640, help="width [px, default: 640]")
    parser.add_argument("--height", type=int, default=480, help="height [px, default: 480]")
    given = parser.parse_args(argv)
    from hazegen.samples import make_samples

    made = make_samples(given.out, given.scenes, given.seed, width=given.width, height=given.height, progress=True)
    print(f"{made.streets} streets and {made.rooms} rooms in '{given.out}'.")
    print(
        f"next: hazegen make --images {given.out}/images --depth {given.out}/depth --camera {given.out}/camera "
        "--out dataset --recipe outdoor-visibility"
    )
    return 0


def _make(argv: list[str]) -> int:
    from hazegen import publish
    from hazegen.planning import MakeOptions

    parser = new_parser(
        "hazegen make",
        "Makes a dataset of hazy/clean pairs from photos and depth maps.",
        "  hazegen make --images photos --depth depth --depth-scale 0.001 --out dataset --dry-run\n"
        "  hazegen make --images photos --depth depth --depth-scale 0.001 --out dataset\n"
        "  hazegen make --images photos --depth depth --camera camera --out fog --variants 5 --maps \\\n"
        "      --recipe outdoor-visibility --recipe.visibility-m 'log-uniform(30, 300)'\n"
        "  hazegen make --images photos --depth depth --out dataset --publish --project haze --name rooms",
    )
    config.add_options(parser, MakeOptions, "dataset")
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
    publishing = config.build(publish.PublishOptions, target) if namespace.publish else None
    if options.dry_run:
        return _dry_run(options, recipe)
    choice, unreachable = None, None
    try:
        choice = publish.choose(publishing) if publishing else None  # a key that is not valid ends it here
    except StoreError as error:
        unreachable = error  # no reason not to make the dataset
    status = _make_for_real(options, recipe, about)
    if unreachable is not None:
        raise unreachable
    if publishing and choice:
        _publish_folder(options.out, publishing, choice)
    return status


def _dry_run(options: "MakeOptions", recipe: Recipe) -> int:
    from hazegen.estimate import estimate

    told = estimate(options, recipe)
    print(f"inputs      {told.found} found, {sum(told.rejected.values())} rejected{_codes(told.rejected)}")
    print(f"others      {told.others} files of another name pattern or format, not looked at")
    print(f"scenes      {', '.join(f'{count} {split}' for split, count in sorted(told.scenes.items()))}")
    print(f"to write    {told.pairs} pairs in {told.shards} shards, about {told.bytes / 1e6:,.0f} MB")
    print(f"time        about {told.seconds:,.0f} s")
    for problem in told.probe_rejected:
        print(f"rejected    {problem}")
    print("Nothing was written; the same command without --dry-run makes it.")
    refused = sum(count for code, count in told.rejected.items() if code != "left-out")
    return 3 if refused + len(told.probe_rejected) > options.max_rejected * told.found else 0


def _make_for_real(options: "MakeOptions", recipe: Recipe, about: dict[str, str]) -> int:
    from hazegen.make import make

    made = make(options, recipe, about)
    known, inputs, out = made.manifest, made.manifest.inputs, options.out
    if made.changed:
        print(f"'{out}' was finished; written anew: {', '.join(made.changed)}.")
    elif made.reused == len(known.shards):
        print(f"Nothing to do: '{out}' is finished.")
    records, size = sum(s.records for s in known.shards), sum(s.bytes for s in known.shards)
    print(f"{records} pairs of {inputs['used']} scenes in '{out}': {len(known.shards)} shards, {size / 1e6:,.0f} MB, "
          f"{made.seconds:.1f} s, recipe {recipe.name}, licence {known.about.license or 'not stated (--license)'}."
          )  # fmt: skip
    for split in SPLITS:
        counts = known.splits[split]
        print(f"  {split:<11}{counts['scenes']:>8} scenes {counts['records']:>9} pairs")
    print(f"  inputs: {inputs['found']} found = {inputs['used']} used + {inputs['rejected']} rejected"
          f"{_codes(made.rejected)}")  # fmt: skip
    if made.others:
        print(f"  others: {made.others} files of another name pattern or format were not looked at")
    print(f"next: hazegen preview {out} --out preview.png, then: aodnet fit --data {out}")
    refused = inputs["rejected"] - made.rejected.get("left-out", 0)
    if refused > options.max_rejected * inputs["found"]:
        raise RefusedError(
            f"{refused} of {inputs['found']} inputs were rejected. Expected at most {options.max_rejected:.1%}; "
            f"first reason: {made.first_reason} The dataset is finished without them. '{out}/inputs.csv' lists "
            "each with its reason; mend them, or pass --max-rejected."
        )
    return 0


def _codes(rejected: dict[str, int]) -> str:
    listed = ", ".join(f"{count} {code}" for code, count in sorted(rejected.items()))
    return f" ({listed})" if listed else ""


def _verify(argv: list[str]) -> int:
    parser = new_parser(
        "hazegen verify",
        "Holds every shard against the manifest: size, SHA-256, count, each record, each picture.",
        "  hazegen verify dataset",
    )
    parser.add_argument("dataset", type=Path, help="folder of a dataset")
    parser.add_argument("--workers", type=int, help="threads that work at once [default: all cores]")
    given = parser.parse_args(argv)
    from hazegen.verify import verify

    rows, strangers = verify(given.dataset, given.workers)
    print(f"{'shard':<36}{'records':>9}  state")
    for row in rows:
        print(f"{row.shard.name:<36}{row.records:>9}  {row.problem or 'ok'}")
    bad = [row for row in rows if row.problem]
    if bad or strangers:
        names = [row.shard.name for row in bad] + [f"{name} (not in the manifest)" for name in strangers]
        raise VerifyError(
            f"'{given.dataset}' is not what its manifest says. Expected {len(rows)} sound shards, received "
            f"{len(bad)} damaged and {len(strangers)} unknown: {', '.join(names[:5])}. Make or download them again."
        )
    print(f"all {len(rows)} shards and {sum(row.records for row in rows)} pairs are as the manifest says.")
    return 0


def _publish(argv: list[str]) -> int:
    from hazegen import publish

    parser = new_parser(
        "hazegen publish",
        "Verifies a dataset and publishes it as a W&B artifact: equal content gives no new version.",
        "  hazegen publish dataset --project haze --name rooms --mode dry-run\n"
        "  hazegen publish dataset --project haze --name rooms --alias v1.0,paper\n"
        "  hazegen publish dataset --project haze --name rooms --reference s3://bucket/dataset",
    )
    parser.add_argument("dataset", type=Path, help="folder of a dataset")
    config.add_options(parser, publish.PublishOptions, "where and how")
    given = parser.parse_args(argv)
    options = config.build(publish.PublishOptions, config.given(given, publish.PublishOptions))
    _publish_folder(given.dataset, options, publish.choose(options))
    return 0


def _publish_folder(folder: Path, options: "PublishOptions", choice: "Choice") -> None:
    from hazegen.publish import publish

    if choice.mode != "off":
        print(f"W&B {choice.mode}: {choice.reason}.")
    done = publish(folder, options, choice, print)
    if choice.mode == "off":
        print("Nothing was sent; the same command without --mode dry-run publishes it.")
    elif done.address and done.unchanged:
        print(f"'{folder}' is {done.address}: W&B had this content already, and made no new version.")
        print(f"next: hazegen pull wandb:{done.address} --out copy")
    elif done.address:
        print(f"'{folder}' is published as {done.address}.")
        print(f"next: aodnet fit --data wandb:{done.address}")
    else:
        print(f"'{folder}' is not sent yet, and has to stay where and as it is until it is.")


def _pull(argv: list[str]) -> int:
    parser = new_parser(
        "hazegen pull",
        "Fetches a published dataset, verifies each file, and goes on where an earlier pull was left.",
        "  hazegen pull wandb:team/haze/rooms:latest --out dataset",
    )
    parser.add_argument("source", help="wandb:entity/project/name:alias")
    parser.add_argument(
        "--out", type=Path, help="folder for the dataset [default: artifacts/ENTITY/PROJECT/NAME-VERSION]"
    )
    given = parser.parse_args(argv)
    from hazegen.pull import pull

    pulled = pull(given.source, given.out)
    size = sum(shard.bytes for shard in pulled.manifest.shards)
    print(f"{pulled.address} in '{pulled.folder}': {len(pulled.manifest.shards)} shards, {size / 1e6:,.0f} MB; "
          f"{pulled.fetched} fetched, {pulled.kept} there already.")  # fmt: skip
    if pulled.left_out:
        print(f"  {pulled.left_out} files of the artifact are no part of the dataset and were left out.")
    print(f"next: aodnet fit --data {pulled.folder}")
    return 0


def _preview(argv: list[str]) -> int:
    parser = new_parser(
        "hazegen preview",
        "Writes a contact sheet: clean, transmission (where stored), hazy, with beta, A and visibility.",
        "  hazegen preview dataset --out preview.png\n  hazegen preview dataset --out test.png --split test --pairs 24",
    )
    parser.add_argument("dataset", type=Path, help="folder of a dataset")
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    parser.add_argument("--pairs", type=int, default=12, help="how many [default: 12]")
    parser.add_argument("--split", choices=SPLITS, help="only this split")
    given = parser.parse_args(argv)
    from hazegen.preview import preview

    shown = preview(given.dataset, given.out, given.pairs, given.split)
    print(f"{shown} pairs in '{given.out}'.")
    return 0


def _card(argv: list[str]) -> int:
    parser = new_parser(
        "hazegen card",
        "Writes a dataset's README.md, croissant.json and preview.jpg again; given fields go into its manifest first.",
        "  hazegen card dataset\n  hazegen card dataset --license CC-BY-4.0 --source https://example.org/photos",
    )
    parser.add_argument("dataset", type=Path, help="folder of a dataset")
    config.add_options(parser, About, "photos and depth maps (what is not given stays as it is)")
    namespace = parser.parse_args(argv)
    about = config.given(namespace, About)
    config.build(About, about)
    from hazegen.card import FILES, rewrite

    known, changed = rewrite(namespace.dataset, about)
    print(f"{', '.join(FILES)} in '{namespace.dataset}'; changed in the manifest: {', '.join(changed) or 'nothing'}.")
    for name, text in vars(known.about).items():
        print(f"  {name:<11}{' '.join(text.split()) or f'not stated: pass --{name}'}")
    return 0
