"""The pages of docs/: their commands and code run as printed, their options exist, and they build without a warning."""

import ast
import importlib.util
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from aodnet import cli as aodnet_cli
from hazegen import cli as hazegen_cli

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# Pages whose commands are looked at, those within a sentence too, and how many there are at least.
NAMING = {"README.md": 9, "docs/faq.md": 11, "docs/make.md": 8, "docs/training.md": 8, "docs/tutorial.md": 11}
PROGRAMS = {"hazegen": hazegen_cli.main, "aodnet": aodnet_cli.main}


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Language and text of each block of commands or code, in their order."""
    yield from re.findall(r"^```(sh|python)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of a block."""
    lines = text.replace("\\\n", " ").splitlines()
    yield from (words for line in lines if (words := shlex.split(line, comments=True)))


def test_the_tutorial_runs_word_by_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    verbs = []
    for language, text in blocks(DOCS / "tutorial.md"):
        if language == "python":
            exec(compile(text, "tutorial.md", "exec"), {})
            continue
        for program, *words in commands(text):
            assert PROGRAMS[program](words) == 0, (program, words)
            verbs.append(words[0])
    assert verbs == [
        *("samples", "inspect", "make", "make", "verify", "info", "preview", "publish", "publish"),
        *("fit", "evaluate", "export", "predict", "export", "predict"),
    ]
    said = capsys.readouterr().out
    for told in ("4 streets and 4 rooms in 'mine'.", "24 pairs of 8 scenes", "8 found = 8 used + 0 rejected"):
        assert told in said
    assert "24 {'train': 12, 'validation': 6, 'test': 6} Pair(" in said
    pages = ("dataset/card.html", "runs/first/report.html", "evaluation/report.html")
    for name in (*pages, "sheet.png", "haze.png", "preview.png", "dataset/README.md", "aodnet.onnx"):
        assert (tmp_path / name).is_file(), name
    assert len(list((tmp_path / "folders/test/hazy").iterdir())) == 6
    assert len(list((tmp_path / "restored").iterdir())) == len(list((tmp_path / "restored-onnx").iterdir())) == 6
    assert (tmp_path / "aodnet.onnx").stat().st_size < 10_000


@pytest.fixture(scope="module")
def help_of() -> dict[tuple[str, str], str]:
    """What --help says of each verb, as far as it was asked for."""
    return {}


@pytest.mark.parametrize(("name", "least"), NAMING.items())
def test_every_option_of_a_command_exists(
    name: str, least: int, help_of: dict[tuple[str, str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    page = ROOT / name
    found = [words for language, block in blocks(page) if language == "sh" for words in commands(block)]
    found += [shlex.split(line) for line in re.findall(r"`((?:hazegen|aodnet) [a-z][^`]*)`", page.read_text())]
    found = [words for words in found if words[0] in PROGRAMS]
    assert len(found) >= least
    for program, verb, *words in found:
        if (program, verb) not in help_of:
            with pytest.raises(SystemExit, match="0"):
                PROGRAMS[program]([verb, "--help"])
            help_of[program, verb] = capsys.readouterr().out
        for option in (word for word in words if word.startswith("--")):
            assert re.search(rf"{re.escape(option)}\b", help_of[program, verb]), (program, verb, option)


def test_links_of_the_pages_lead_somewhere() -> None:
    for page in sorted(DOCS.glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (DOCS / link).exists(), f"{page.name}: {link}"


def test_the_index_names_every_page() -> None:
    index = (DOCS / "README.md").read_text()
    missing = [page.name for page in sorted(DOCS.glob("*.md")) if f"({page.name})" not in index]
    assert missing == ["README.md"]


# --- the reference from the docstrings ---


def builder() -> ModuleType:
    pytest.importorskip("pdoc", reason="pdoc is not installed: pip install '.[docs]'")
    spec = importlib.util.spec_from_file_location("build_docs", DOCS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_part_of_the_reference_and_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    """`make docs` builds all of it, which takes half a minute."""
    build = builder()
    modules = ("hazegen.single", "hazegen.opened", "hazegen.physics", "aodnet.loaded")
    assert build.write_api(tmp_path / "api", modules) == []
    build.write_pages(tmp_path)
    assert build.broken_links(tmp_path) == []
    page = (tmp_path / "api" / "hazegen" / "single.html").read_text()
    assert "visibility_m" in page
    assert "<h6" in page  # sections of Google's style, as pdoc has them
    assert "<table" in (tmp_path / "docs" / "depth.html").read_text()
    assert 'href="depth.html"' in (tmp_path / "docs" / "tutorial.html").read_text()


def test_a_link_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    build = builder()
    (tmp_path / "api").mkdir()
    page = DOCS / "recipes.md"
    build.write_pages(tmp_path, [page], [])
    assert "docs/recipes.md: a link to 'recipes.jpg', which is not there" in build.broken_links(tmp_path, [page])


def documented(path: Path) -> Iterator[tuple[str, set[str], str]]:
    """Name, arguments and docstring of each function that has one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (text := ast.get_docstring(node)):
            given = node.args
            every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            yield node.name, {one.arg for one in every if one is not None}, inspect.cleandoc(text)


def test_docstrings_name_arguments_that_exist() -> None:
    """The one thing about a docstring in Google's style that can be wrong without anybody seeing it."""
    wrong, seen = [], 0
    for path in (path for package in ("hazegen", "aodnet") for path in sorted((ROOT / package).rglob("*.py"))):
        for name, arguments, text in documented(path):
            section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
            for line in section[1].splitlines() if section else ():
                if match := re.match(r" {4}(\*{0,2}\w+(?:, \*{0,2}\w+)*): ", line):
                    told = {one.lstrip("*") for one in match[1].split(", ")}
                    seen += len(told)
                    wrong += [f"{path.name}: {name}: {one}" for one in sorted(told - arguments)]
    assert wrong == []
    assert seen > 300
