"""The tables of offline W&B runs as one page of plain HTML: to look at what was logged without any server.

Reads the transaction files that `hazegen publish --mode offline` and `aodnet fit --wandb offline` leave, and the
staged files beside them, as 'wandb sync' would. Not needed to use W&B: it made the picture in docs/wandb.md.

    python benchmarks/wandb_page.py build/wandb --out build/wandb.html
"""

import argparse
import base64
import html
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import wandb_reader

STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5em; color: #222; background: #fff; }
h2 { font-size: 1.15em; margin: 1.4em 0 .3em; }
p { margin: .2em 0 .6em; color: #555; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid #ddd; padding: .25em .6em; text-align: left; vertical-align: middle; }
th { background: #f5f5f5; font-weight: 600; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { display: block; width: 150px; height: auto; }
"""


@dataclass(frozen=True)
class Table:
    """A table of an artifact, and the files that its pictures are in."""

    artifact: str
    columns: list[str]
    rows: list[list[Any]]
    files: dict[str, Path]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with offline runs below it")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=4, help="rows of each table [default: 4]")
    given = parser.parse_args()
    files = sorted(given.folder.rglob("offline-run-*/run-*.wandb"))
    body = "\n".join(part for path in files for part in page_of(path, given.rows))
    head = f"<!doctype html><meta charset=utf-8><title>W&amp;B tables</title><style>{STYLE}</style>"
    given.out.write_text(f"{head}\n{body}\n", encoding="utf-8")
    print(f"{len(files)} runs in '{given.out}'.")


def page_of(path: Path, rows: int) -> list[str]:
    """One run: the names of its artifacts, and its tables, joined where it joined them; the last one of each."""
    root = path.parent.parent.parent
    logged = wandb_reader.artifacts(path)
    tables: dict[str, Table] = {}
    for artifact in logged:
        files = {entry.path: root / entry.local_path for entry in artifact.manifest.contents if entry.local_path}
        refs = {entry.path: entry.ref.rpartition("/")[2] for entry in artifact.manifest.contents if entry.ref}
        for name, file in files.items():
            if name.endswith(".table.json"):
                content = json.loads(file.read_bytes())
                tables[name] = Table(artifact.name, content["columns"], content["data"], files)
        for name, file in files.items():
            if name.endswith(".joined-table.json"):
                content = json.loads(file.read_bytes())
                first, second = (tables[refs.get(content[side], content[side])] for side in ("table1", "table2"))
                tables[name] = joined(first, second, content["join_key"])
    names = ", ".join(dict.fromkeys(f"{one.name} ({one.type})" for one in logged))
    parts = [f"<h1>{html.escape(path.stem)}</h1><p>artifacts: {html.escape(names)}</p>"]
    shown = [table for name, table in tables.items() if name.endswith("joined-table.json")] or list(tables.values())
    return parts + [f"<h2>{html.escape(table.artifact)}</h2>{html_of(table, rows)}" for table in shown]


def joined(first: Table, second: Table, key: str) -> Table:
    """The rows of both tables that have the same key, side by side."""
    column = second.columns.index(key)
    others = {row[column]: row[:column] + row[column + 1 :] for row in second.rows}
    rows = [row + others[row[first.columns.index(key)]] for row in first.rows]
    columns = first.columns + [name for name in second.columns if name != key]
    return Table(second.artifact, columns, rows, first.files | second.files)


def html_of(table: Table, rows: int) -> str:
    """The first rows of a table, with its pictures inside the page."""
    heads = "".join(f"<th>{html.escape(str(name))}</th>" for name in table.columns)
    lines = ("".join(cell_of(cell, table.files) for cell in row) for row in table.rows[:rows])
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><tr>{heads}</tr>{body}</table><p>{len(table.rows)} rows</p>"


def cell_of(cell: Any, files: dict[str, Path]) -> str:
    if isinstance(cell, dict):
        picture = base64.b64encode(files[cell["path"]].read_bytes()).decode()
        return f'<td><img src="data:image/jpeg;base64,{picture}"></td>'
    if isinstance(cell, float):
        return f'<td class="number">{cell:.4g}</td>'
    return f"<td>{html.escape('' if cell is None else str(cell))}</td>"


if __name__ == "__main__":
    main()
