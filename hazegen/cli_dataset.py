"""The commands on a finished dataset: hazegen info, preview, export, publish, pull, card."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hazegen import config, stores
from hazegen.errors import UsageError
from hazegen.manifest import SPLITS, About, load
from hazegen.verbs import new_parser

if TYPE_CHECKING:
    from hazegen.publish import PublishOptions
    from hazegen.tracking import Choice


def run_info(argv: list[str]) -> int:
    """hazegen info."""
    parser = new_parser(
        "hazegen info",
        "Says what a dataset is: recipe, seed, counts, sizes, and how its haze is spread. No picture is read.",
        "  hazegen info dataset\n  hazegen info dataset --json > info.json",
    )
    parser.add_argument("dataset", help="folder of a dataset")
    parser.add_argument("--json", action="store_true", help="the same as one JSON object")
    given = parser.parse_args(argv)
    from hazegen import info

    found = info.look(stores.place(given.dataset))
    print(json.dumps(info.as_dict(found), indent=1) if given.json else "\n".join(info.lines(found)))
    return 0


def run_publish(argv: list[str]) -> int:
    """hazegen publish."""
    from hazegen import publish

    parser = new_parser(
        "hazegen publish",
        "Verifies a dataset and publishes it as a W&B artifact: equal content gives no new version.",
        "  hazegen publish dataset --project haze --name rooms --mode dry-run\n"
        "  hazegen publish dataset --project haze --name rooms --alias v1.0,paper\n"
        "  hazegen publish dataset --project haze --name rooms --reference s3://bucket/dataset",
    )
    parser.add_argument("dataset", help="folder of a dataset")
    config.add_options(parser, publish.PublishOptions, "where and how")
    given = parser.parse_args(argv)
    options = config.build(publish.PublishOptions, config.given(given, publish.PublishOptions))
    publish_folder(stores.place(given.dataset), options, publish.choose(options))
    return 0


def publish_folder(folder: Path, options: "PublishOptions", choice: "Choice") -> None:
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


def run_pull(argv: list[str]) -> int:
    """hazegen pull."""
    parser = new_parser(
        "hazegen pull",
        "Fetches a published dataset, verifies each file, and goes on where an earlier pull was left.",
        "  hazegen pull wandb:team/haze/rooms:latest --out dataset",
    )
    parser.add_argument("source", help="wandb:entity/project/name:alias")
    parser.add_argument("--out", help="folder for the dataset [default: artifacts/ENTITY/PROJECT/NAME-VERSION]")
    given = parser.parse_args(argv)
    from hazegen.pull import pull

    pulled = pull(given.source, stores.on_disk(stores.place(given.out), "--out") if given.out else None)
    size = sum(shard.bytes for shard in pulled.manifest.shards)
    print(f"{pulled.address} in '{pulled.folder}': {len(pulled.manifest.shards)} shards, {size / 1e6:,.0f} MB; "
          f"{pulled.fetched} fetched, {pulled.kept} there already.")  # fmt: skip
    if pulled.left_out:
        print(f"  {pulled.left_out} files of the artifact are no part of the dataset and were left out.")
    print(f"next: aodnet fit --data {pulled.folder}")
    return 0


def run_preview(argv: list[str]) -> int:
    """hazegen preview."""
    parser = new_parser(
        "hazegen preview",
        "Writes a contact sheet: clean, transmission (where stored), hazy, with beta, A and visibility; of scenes "
        "clean, distances and two hazy pictures drawn by the recipe.",
        "  hazegen preview dataset --out preview.png\n  hazegen preview dataset --out test.png --split test --pairs 24",
    )
    parser.add_argument("dataset", help="folder of a dataset")
    parser.add_argument("--out", required=True, help="picture to write")
    parser.add_argument("--pairs", type=int, default=12, help="how many, or how many scenes [default: 12]")
    parser.add_argument("--split", choices=SPLITS, help="only this split")
    given = parser.parse_args(argv)
    from hazegen.preview import preview

    folder = stores.place(given.dataset)
    shown = preview(folder, stores.place(given.out), given.pairs, given.split)
    print(f"{shown} {load(folder).kind} in '{given.out}'.")
    return 0


def run_card(argv: list[str]) -> int:
    """hazegen card."""
    parser = new_parser(
        "hazegen card",
        "Writes a dataset's README.md, card.html, croissant.json and preview.jpg again; given fields go into its "
        "manifest first. With --real it writes a page instead that compares its haze with photos of real haze.",
        "  hazegen card dataset\n  hazegen card dataset --license CC-BY-4.0 --source https://example.org/photos\n"
        "  hazegen card dataset --real photos-in-haze --out realism.html",
    )
    parser.add_argument("dataset", help="folder of a dataset")
    parser.add_argument("--real", help="folder with photos of real haze")
    parser.add_argument("--out", help="page to write, beside --real [default: realism.html]")
    config.add_options(parser, About, "photos and depth maps (what is not given stays as it is)")
    namespace = parser.parse_args(argv)
    about = config.given(namespace, About)
    config.build(About, about)
    folder = stores.place(namespace.dataset)
    if namespace.real is None and namespace.out is not None:
        raise UsageError(
            "--out belongs to --real. Expected both or neither: the card lies in the dataset's own folder, received "
            f"--out '{namespace.out}' alone. Add --real FOLDER, or take out --out."
        )
    if namespace.real is not None:
        _write_realism(folder, stores.place(namespace.real), stores.place(namespace.out or "realism.html"))
    if namespace.real is None or about:
        _write_card(folder, about)
    return 0


def _write_card(folder: Path, about: dict[str, Any]) -> None:
    from hazegen.card import FILES, rewrite

    known, changed = rewrite(folder, about)
    print(f"{', '.join(FILES)} in '{folder}'; changed in the manifest: {', '.join(changed) or 'nothing'}.")
    for name, text in vars(known.about).items():
        print(f"  {name:<11}{' '.join(text.split()) or f'not stated: pass --{name}'}")


def _write_realism(folder: Path, real: Path, out: Path) -> None:
    from hazegen import realism, realism_page
    from hazegen.card_facts import cut

    realism_page.check_out(out, folder)
    found = realism.look(folder, real, lambda text: print(f"  {text}", file=sys.stderr))
    realism_page.write_page(found, real, out)
    for name, why in found.real.broken.items():
        print(f"warning: '{cut(name)}' cannot be read and was left out: {cut(why)}", file=sys.stderr)
    print(f"{'':<14}{'ours':>9}{'theirs':>9}{'distance':>10}{'chance':>9}")
    for name, one in found.measures.items():
        ours, theirs, distance, chance = realism_page.row(one)
        print(f"{name:<14}{ours:>9}{theirs:>9}{distance:>10}{chance:>9}")
    for name in found.measures:
        print(realism_page.sentence(found, name))
    if realism.FADE not in found.measures:
        print(realism_page.MISSING)
    print(f"'{out}' shows it.")


def run_export(argv: list[str]) -> int:
    """hazegen export."""
    from hazegen.export import ExportOptions, export

    parser = new_parser(
        "hazegen export",
        "Writes a dataset as image folders named as RESIDE names them, or as WebDataset tar files.",
        "  hazegen export dataset --out folders --format folder-its\n"
        "  hazegen export dataset --out folders --format folder-ots --split train --codec png\n"
        "  hazegen export dataset --out tars --format webdataset --maps",
    )
    parser.add_argument("dataset", help="folder of a dataset")
    parser.add_argument("--out", required=True, help="new folder; the same command goes on in it")
    config.add_options(parser, ExportOptions, "what is written")
    given = parser.parse_args(argv)
    options = config.build(ExportOptions, config.given(given, ExportOptions))
    out = stores.on_disk(stores.place(given.out), "--out")
    done = export(stores.place(given.dataset), out, options)
    if done.finished_before:
        print(f"Nothing to do: '{done.out}' is finished.")
    elif done.reused:
        print(f"{done.reused} of {done.parts} parts were there already.")
    pairs = sum(counts["pairs"] for counts in done.splits.values())
    print(f"{pairs} pairs in '{done.out}': {done.files} files, {done.bytes / 1e6:,.0f} MB, {done.seconds:.1f} s.")
    for split, counts in done.splits.items():
        print(f"  {split:<11}{counts['scenes']:>8} scenes {counts['pairs']:>9} pairs")
    print(f"next: '{done.out}/pairs.csv' has the haze of each pair; docs/export.md shows how to read them.")
    return 0
