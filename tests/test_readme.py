"""The README's commands and code, run as they are printed."""

import dataclasses
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aodnet import cli as aodnet_cli
from aodnet import run_folder
from hazegen import cli as hazegen_cli
from hazegen import gallery, images, samples
from hazegen.depth import conventions
from hazegen.recipe import Draw, Recipe

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import readme_picture

README = Path(__file__).parent.parent / "README.md"
DOCS = README.parent / "docs"
# One short epoch: what a run does after the first one is test_fit.py's matter.
SHORT = ("--epochs", "1", "--crop", "48", "--validation-crop", "48")


def commands(section: str, page: Path = README) -> list[list[str]]:
    """The words of each command in the first sh block below a heading."""
    block = page.read_text().partition(f"## {section}\n")[2].partition("```sh\n")[2].partition("```")[0]
    return [words for line in block.splitlines() if (words := shlex.split(line, comments=True))]


@pytest.fixture
def workplace(make_photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photos, depth and a foggy picture, as the README's reader has them."""
    made = make_photos("given", scenes=4, height=128, width=160)
    made.images.rename(tmp_path / "photos")
    made.depth.rename(tmp_path / "depth")
    (tmp_path / "foggy.jpg").write_bytes((tmp_path / "photos" / "scene_000.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_code(page: Path, mark: str) -> dict[str, Any]:
    """Runs the first Python block after `mark`, and returns its variables."""
    code = page.read_text().partition(mark)[2].partition("```python\n")[2].partition("```")[0]
    scope: dict[str, Any] = {}
    exec(compile(code, str(page), "exec"), scope)
    return scope


def test_commands_and_code_work_as_printed(workplace: Path) -> None:
    """As printed, but for two epochs with the settings of a user."""
    programs = {"hazegen": hazegen_cli.main, "aodnet": aodnet_cli.main}
    listed = commands("Your own photos")
    assert [words[:2] for words in listed] == [
        ["hazegen", "inspect"],
        ["hazegen", "make"],
        ["aodnet", "fit"],
        ["aodnet", "evaluate"],
        ["aodnet", "predict"],
    ]
    for program, *words in listed:
        more = ("--epochs", "2") if words[0] == "fit" else ()
        assert programs[program]([*words, *more]) == 0, (program, words)
    named = re.findall(r"^\| `([^`]+\.html)` \|", README.read_text(), re.MULTILINE)
    assert named == ["dataset/card.html", "runs/first/report.html", "runs/first/evaluation/report.html", "compare.html"]
    for page in named[:3]:
        assert (workplace / page).is_file(), page
    assert (workplace / "restored" / "foggy.jpg").is_file()
    scope = run_code(README, "In a notebook:")
    assert scope["restored"].shape == scope["foggy"].shape == scope["pair"].clean.shape
    scope = run_code(DOCS / "training.md", "<!-- five lines: a test runs them -->")
    assert scope["net"].count_params() == 1761


def test_commands_of_training_work_as_printed(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As printed, but for one short epoch each, and a second dataset of the same photos."""
    monkeypatch.setattr(run_folder, "plot_curves", lambda *_: None)
    programs = {"hazegen": hazegen_cli.main, "aodnet": aodnet_cli.main}
    for seed, out in enumerate(("dataset", "other")):
        made = ["make", "--images", "photos", "--depth", "depth", "--depth-scale", "0.001", "--out", out]
        assert hazegen_cli.main([*made, "--variants", "2", "--seed", str(seed), "--quiet"]) == 0
    listed = commands("Haze drawn afresh, several datasets", DOCS / "training.md")
    assert [words[:2] for words in listed] == [
        ["hazegen", "make"], ["aodnet", "fit"], ["aodnet", "fit"],
    ]  # fmt: skip
    for program, *words in listed:
        assert programs[program]([*words, *(SHORT if words[0] == "fit" else ())]) == 0, (program, words)
    assert all((workplace / "runs" / run / "best.weights.h5").is_file() for run in ("fresh", "both"))


def test_first_minutes_with_wandb_work_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As printed, but for fewer scenes, small ones, and one short epoch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_folder, "plot_curves", lambda *_: None)
    programs = {"hazegen": hazegen_cli.main, "aodnet": aodnet_cli.main}
    listed = commands("The first five minutes", DOCS / "wandb.md")
    assert [words[1] for words in listed] == ["samples", "make", "publish", "publish", "fit", "evaluate"]
    less = {"samples": ("--scenes", "5", "--width", "96", "--height", "72"), "fit": SHORT}
    for program, *words in listed:
        assert programs[program]([*words, *less.get(words[0], [])]) == 0, (program, words)
    kept = sorted(path.parent.parent.parent.name for path in tmp_path.glob("**/offline-run-*/run-*.wandb"))
    assert kept == sorted([tmp_path.name, "first", "evaluation"])


def test_every_document_that_is_named_exists() -> None:
    text = README.read_text()
    for name in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (README.parent / name).exists(), name
    for name in re.findall(r"\]\(#([^)]+)\)", text):
        assert f"## {name.replace('-', ' ')}\n" in text.lower(), name


def test_numbers_of_recipes_and_conventions_are_those_there_are() -> None:
    assert f"lists {len(gallery.shipped())} kinds:" in README.read_text().replace("\n  ", " ")
    conventions_told = f"one of {len(conventions.CONVENTIONS) - 1} published conventions"
    for page in (README, DOCS / "make.md"):
        assert conventions_told in re.sub(r"\s+", " ", page.read_text()), page.name


def test_files_of_the_tree_exist() -> None:
    tree = README.read_text().partition("## What lies where\n\n```\n")[2].partition("```")[0]
    package, listed = "", []
    for line in tree.splitlines():
        name = line.split()[0]
        package = package if line.startswith(" ") else name
        beside = re.findall(r"\b(\w+\.py|pretrained/)", line) if line.startswith(" ") else ()
        listed += [f"{package}{one}" for one in {name, *beside}] if line.startswith(" ") else [name]
    assert len(listed) > 30
    assert [name for name in listed if not (README.parent / name).exists()] == []


def test_picture_is_small_and_as_its_script_makes_it() -> None:
    """The script on a network that does nothing: what the shipped weights do, test_pretrained.py holds."""
    sample = samples.make_sample(readme_picture.SEED, readme_picture.SCENES[1][0], 64, 48)
    row = readme_picture.row(np.copy, sample, 10.0)
    whole = readme_picture.picture([row, row])
    captions = [caption for caption, _ in row]
    assert captions[1].removeprefix("hazy (visibility 10 m)") == captions[2].removeprefix("dehazed")
    kept = images.read_picture(DOCS / "readme.jpg")
    assert kept.shape == whole.shape
    assert (DOCS / "readme.jpg").stat().st_size < 250_000


def test_page_on_recipes_lists_each_of_them_as_it_is() -> None:
    page = (DOCS / "recipes.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `") and line.count("|") == 7]
    shipped = [listed.recipe for listed in gallery.shipped()]
    assert rows == [recipe_row(recipe) for recipe in shipped]


def recipe_row(recipe: Recipe) -> str:
    """The row of docs/recipes.md on a recipe."""
    drawn = f"beta {recipe.beta}" if recipe.beta else f"V {recipe.visibility_m} m"
    space = {"srgb": "sRGB", "linear": "linear"}[recipe.color_space]
    unit = {"metres": "m", "tenths": "10 m", "max": "largest"}[recipe.depth_norm]
    usual = Recipe(beta=Draw("values", (1.0,)))
    named = {"name", "path", "depth_norm", "color_space", "sweep", "beta", "visibility_m", "atmospheric_light"}
    others = [field.name for field in dataclasses.fields(recipe) if field.name not in named]
    more = ", ".join(name for name in others if getattr(recipe, name) != getattr(usual, name))
    light = recipe.atmospheric_light
    return f"| `{recipe.name}` | {recipe.path}, {unit} | {space} | {drawn} | {light} | {more or '-'} |"


def test_make_targets_that_are_named_exist() -> None:
    makefile = (README.parent / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README.read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
