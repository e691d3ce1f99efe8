"""The commands that look at files and change none: hazegen inspect, hazegen audit."""

import json
from collections import Counter

from hazegen import config, stores
from hazegen.errors import RefusedError
from hazegen.progress import counted
from hazegen.verbs import new_parser

# A pair whose haze is too thin, or whose pictures are too plain, to tell its A: no fault of the pair.
UNCERTAIN = "uncertain"


def run_inspect(argv: list[str]) -> int:
    """hazegen inspect."""
    from hazegen import outputs
    from hazegen.depth.options import DepthOptions
    from hazegen.inspect import report as inspect_report
    from hazegen.inspect.run import InspectOptions, inspect
    from hazegen.inspect.sheet import check_name, write_sheet

    parser = new_parser(
        "hazegen inspect",
        "The depth doctor: what depth maps hold, by which convention, and what is wrong with them.",
        "  hazegen inspect --images photos --depth depth\n"
        "  hazegen inspect --images photos --depth depth --depth-kind kitti --out sheet.png --json report.json",
    )
    config.add_options(parser, InspectOptions, "files")
    config.add_options(parser, DepthOptions, "depth maps and cameras")
    parser.add_argument("--out", type=stores.place, help="contact sheet to write: photo, depth, edges, fog")
    parser.add_argument("--json", type=stores.place, help="file to write the whole report to")
    given = parser.parse_args(argv)
    outputs.check((given.json, given.out))
    if given.out is not None:
        check_name(given.out)
    report = inspect(config.build(InspectOptions, config.given(given, InspectOptions)))
    print("\n".join(inspect_report.report_lines(report)))
    if given.json is not None:
        outputs.write(given.json, json.dumps(inspect_report.as_json(report), indent=1) + "\n")
    if given.out is not None:
        shown = write_sheet(report, given.out)
        print(f"{counted(shown, 'scene')} in '{given.out}'.")
    impossible = [finding for finding in report.findings if finding.severity == "impossible"]
    if impossible:
        raise RefusedError(
            "The depth maps cannot be used as they were read. Expected sound maps, received what rules them out: "
            f"{', '.join(finding.code for finding in impossible)}. Do what the findings say."
        )
    return 0


def run_audit(argv: list[str]) -> int:
    """hazegen audit."""
    from hazegen import outputs
    from hazegen.audit import report as audit_report
    from hazegen.audit.run import AuditOptions, audit
    from hazegen.depth.options import DepthOptions

    parser = new_parser(
        "hazegen audit",
        "Finds out which haze made given pairs, which of them are no pairs, and the recipe of the whole.",
        "  hazegen audit --hazy hazy --clean clean\n"
        "  hazegen audit --hazy hazy --clean clean --depth depth --depth-kind nyu-png --csv pairs.csv\n"
        "  hazegen audit --hazy hazy --clean clean --depth depth --depth-scale 0.001 --recipe found.yaml",
    )
    config.add_options(parser, AuditOptions, "pairs")
    config.add_options(parser, DepthOptions, "depth maps and cameras (with --depth alone)")
    given = parser.parse_args(argv)
    options = config.build(AuditOptions, config.given(given, AuditOptions))
    outputs.check((options.json, options.csv, options.recipe))
    report = audit(options)
    print("\n".join(audit_report.report_lines(report)))
    audit_report.write(report, options)
    bad = Counter(pair.code for pair in report.pairs if pair.code not in ("", UNCERTAIN))
    if bad:
        raise RefusedError(
            f"{bad.total()} of {len(report.pairs)} pairs are not what they should be. Expected pairs of one picture "
            f"under one haze, received {', '.join(f'{count} {code}' for code, count in bad.most_common())}. "
            "--csv FILE lists each with its reason."
        )
    return 0
