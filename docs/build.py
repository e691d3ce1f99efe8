"""The documentation as HTML: the reference from the docstrings, and the pages of this folder; `make docs` runs it.

They are written to build/docs. Everything that is wrong (a docstring, an annotation, a module that cannot be
imported, a link that leads nowhere) is listed, and ends it with exit code 1.
"""

import importlib
import pkgutil
import re
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import pdoc
from pdoc.render_helpers import to_html

from aodnet import quiet

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "docs"
PACKAGES = ("hazegen", "aodnet")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
FILES = [ROOT / "LICENSE", *sorted((ROOT / "docs").glob("*.jpg"))]

TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
body {{ font: 16px/1.55 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 62rem; color: #1c2330;
  background: #fff; }}
nav a {{ margin-right: 1.2rem; }} a {{ color: #0b5cad; }} img {{ max-width: 100%; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
th, td {{ border: 1px solid #d5dae3; padding: .3rem .6rem; text-align: left; vertical-align: top; }}
pre, code {{ font: 14px/1.5 ui-monospace, monospace; background: #f3f5f8; }} pre {{ padding: .7rem; overflow-x: auto; }}
</style></head><body><nav><a href="{up}README.html">Project</a><a href="{up}docs/README.html">Documentation</a><a
href="{up}api/index.html">API</a></nav>{body}</body></html>
"""


def write_api(out: Path, packages: Sequence[str] = PACKAGES) -> list[str]:
    """Writes the reference of packages or modules, and returns what pdoc warns of."""
    for name in packages:
        import_all(name)
    pdoc.render.configure(docformat="google", show_source=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pdoc.pdoc(*packages, output_directory=out)
    return [f"{Path(warning.filename).name}: {warning.message}" for warning in caught]


def import_all(name: str) -> None:
    """Imports a package with its modules: what libraries warn of as they are imported is none of our docstrings."""
    module = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"{name}."):
        importlib.import_module(found.name)


def write_pages(out: Path, pages: Sequence[Path] = PAGES, files: Sequence[Path] = FILES) -> None:
    """Writes the pages, in the places that they have in the project, so that their links hold."""
    for path in [*files, *pages]:
        (out / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
    for path in files:
        shutil.copy(path, out / path.relative_to(ROOT))
    for path in pages:
        text = re.sub(r"(\]\([^)#:]+)\.md(#[^)]*)?\)", r"\1.html\2)", path.read_text(encoding="utf-8"))
        place = path.relative_to(ROOT)
        title = text.partition("\n")[0].lstrip("# ")
        page = TEMPLATE.format(title=title, up="../" * (len(place.parts) - 1), body=to_html(text))
        (out / place).with_suffix(".html").write_text(page, encoding="utf-8")


def broken_links(out: Path, pages: Sequence[Path] = PAGES) -> list[str]:
    """Links of the pages to files that are not there."""
    broken = []
    for path in pages:
        page = (out / path.relative_to(ROOT)).with_suffix(".html")
        for link in re.findall(r'(?:href|src)="([^"#:]+)(?:#[^"]*)?"', page.read_text(encoding="utf-8")):
            if not (page.parent / link).exists():
                broken.append(f"{path.relative_to(ROOT)}: a link to '{link}', which is not there")
    return broken


def build(out: Path) -> list[str]:
    """Writes everything, and returns what is wrong with it."""
    quiet.load_tensorflow()
    problems = write_api(out / "api")
    write_pages(out)
    return problems + broken_links(out)


if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    found = build(OUT)
    print("\n".join([*found, f"{len(found)} warnings. The documentation begins at {OUT / 'docs' / 'README.html'}"]))
    sys.exit(bool(found))
