"""The command `aodnet compare`."""

from hazegen import stores
from hazegen.errors import UsageError
from hazegen.verbs import new_parser


def run_compare(argv: list[str]) -> int:
    """aodnet compare."""
    parser = new_parser(
        "aodnet compare",
        "Puts several training runs and evaluations on one page: what differs in their settings and data, their "
        "curves, figures and pictures; evaluations of the same pictures with a paired bootstrap.",
        "  aodnet compare runs/first runs/second\n"
        "  aodnet compare runs/first runs/second runs/evaluation-1 runs/evaluation-2 --out comparison.html\n"
        "  aodnet compare runs/*",
    )
    parser.add_argument("folders", nargs="+", metavar="RUN", help="folders of aodnet fit or aodnet evaluate")
    parser.add_argument("--out", default="compare.html", help="the page [default: compare.html]")
    given = parser.parse_args(argv)
    out = stores.on_disk(stores.place(given.out), "--out")
    if out.is_dir() or out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            f"--out names no page. Expected a file that ends in .html, received '{out}'. Add a name, as "
            f"'{(out if out.is_dir() else out.parent) / 'compare.html'}'."
        )
    from aodnet.compare import compare, format_compared
    from aodnet.compare_page import write

    compared = compare([stores.on_disk(stores.place(folder), "a run") for folder in given.folders])
    print(format_compared(compared))
    page = write(compared)
    out.parent.mkdir(parents=True, exist_ok=True)
    stores.write_text(out, [page])
    print(f"\nall of it as a page: '{out}'.")
    return 0
