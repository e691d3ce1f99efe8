"""The commands that check a finished dataset: hazegen verify, repair."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hazegen import config, stores
from hazegen.errors import VerifyError
from hazegen.manifest import load
from hazegen.verbs import new_parser

if TYPE_CHECKING:
    from hazegen.rebuild import Step
    from hazegen.verify import Findings

# So many names of a kind are told; --json tells all.
SHOWN = 5


def run_verify(argv: list[str]) -> int:
    """hazegen verify."""
    parser = new_parser(
        "hazegen verify",
        "Holds every shard and table against the manifest: size, SHA-256, count, each record, each picture. Scenes of "
        "different splits that look alike are told; the exit status is 0 all the same.",
        "  hazegen verify dataset\n  hazegen verify dataset --quick\n  hazegen verify s3://bucket/dataset --json",
    )
    parser.add_argument("dataset", type=stores.place, help="folder of a dataset, on a disk or in a store")
    parser.add_argument("--workers", type=int, help="threads that work at once [default: all cores]")
    parser.add_argument("--quick", action="store_true", help="sizes, SHA-256 and checksums alone: decode no picture")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    given = parser.parse_args(argv)
    from hazegen.verify import verify

    try:
        found = verify(given.dataset, given.workers, quick=given.quick)
    except VerifyError as error:
        if given.json:
            print(json.dumps({"dataset": str(given.dataset), "sound": False, "problems": [str(error)]}, indent=1))
        raise
    if given.json:
        print(json.dumps(_as_json(given.dataset, found), indent=1))
    else:
        _print_findings(found)
    _refuse(given.dataset, found)
    if not given.json:
        count, how = sum(row.records for row in found.rows), " (no picture was decoded)" if given.quick else ""
        print(f"all {len(found.rows)} shards and {count} {load(given.dataset).kind} are as the manifest says{how}.")
    return 0


def _as_json(folder: Path, found: "Findings") -> dict[str, Any]:
    return {
        "dataset": str(folder),
        "sound": not found.problems(),
        "problems": found.problems(),
        "shards": [{"name": r.shard.name, "records": r.records, "problem": r.problem} for r in found.rows],
        "tables": found.tables,
        "unknown": found.unknown,
        "temporary": found.temporary,
        "missing_card": found.card,
        "alike": [{"scenes": [one, other], "bits": bits} for one, other, bits in found.alike],
    }


def _print_findings(found: "Findings") -> None:
    print(f"{'shard':<36}{'records':>9}  state")
    for row in found.rows:
        print(f"{row.shard.name:<36}{row.records:>9}  {row.problem or 'ok'}")
    for name, problem in found.tables.items():
        print(f"{name:<47}{problem}")
    if found.card:
        print(f"warning: files of the card are missing: {', '.join(found.card)}; hazegen card writes them.")
    if found.alike:
        print(f"note: {len(found.alike)} pairs of scenes of different splits look alike (bits that differ of 64):")
        for one, other, bits in found.alike[:SHOWN]:
            print(f"  {one} and {other} ({bits})")
        print("  Frames of one place in two splits flatter a test: hazegen split --group-by keeps them together.")


def _refuse(folder: Path, found: "Findings") -> None:
    """Raises VerifyError unless all is sound."""
    if problems := found.problems():
        raise VerifyError(
            f"'{folder}' is not what its manifest says. Expected {len(found.rows)} sound shards and nothing else, "
            f"received {len(problems)} problems: {'; '.join(problems[:SHOWN])}. Run hazegen repair {folder}, or copy "
            "the files again."
        )


def run_repair(argv: list[str]) -> int:
    """hazegen repair."""
    from hazegen.rebuild import RepairOptions

    parser = new_parser(
        "hazegen repair",
        "Mends what of a dataset is damaged, missing or left over, bit for bit or not at all: shards are built again "
        "from the plan and replace others only if they have the manifest's SHA-256; where the manifest is lost, only "
        "if all their inputs have the digests of inputs.csv. No unknown file is removed.",
        "  hazegen repair dataset --dry-run\n"
        "  hazegen repair dataset\n"
        "  hazegen repair dataset --images photos --depth depth --camera camera",
    )
    parser.add_argument("dataset", type=stores.place, help="folder of a dataset, on a disk or in a store")
    config.add_options(parser, RepairOptions, "inputs, for shards that have to be built again")
    namespace = parser.parse_args(argv)
    options = config.build(RepairOptions, config.given(namespace, RepairOptions))
    from hazegen.repair import repair

    steps = repair(namespace.dataset, options)
    for step in steps:
        print(f"{step.name}: {'' if step.done else 'NOT MENDED: '}{step.what}")
    left = [step for step in steps if not step.done]
    if left:
        raise VerifyError(_left(namespace.dataset, left))
    if options.dry_run and steps:
        print("Nothing was changed; the same command without --dry-run does it.")
    elif steps:
        print(f"'{namespace.dataset}' is as its manifest says. next: hazegen verify {namespace.dataset}")
    else:
        print(f"Nothing to do: '{namespace.dataset}' is as its manifest says.")
    return 0


def _left(folder: Path, left: list["Step"]) -> str:
    names = ", ".join(step.name for step in left[:SHOWN])
    return (
        f"'{folder}' is not whole. Expected every file to be mended, received {len(left)} that are not: {names}. Do "
        "what is said of each above."
    )
