"""The README's commands and code, run as they are printed."""

import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from aodnet import cli as aodnet_cli
from aodnet import run_folder
from hazegen import cli as hazegen_cli
from hazegen import gallery
from hazegen.depth import conventions
from hazegen.recipe import Draw, Recipe

README = Path(__file__).parent.parent / "README.md"
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


def test_commands_and_code_work_as_printed(workplace: Path) -> None:
    """As printed, but for two epochs with the settings of a user, and one short epoch of the run that is logged."""
    programs = {"hazegen": hazegen_cli.main, "aodnet": aodnet_cli.main}
    listed = commands("Your own photos") + commands("Weights & Biases")
    assert [words[:2] for words in listed] == [
        ["hazegen", "inspect"],
        ["hazegen", "make"],
        ["hazegen", "make"],
        ["hazegen", "verify"],
        ["hazegen", "preview"],
        ["aodnet", "fit"],
        ["aodnet", "evaluate"],
        ["aodnet", "predict"],
        ["hazegen", "publish"],
        ["hazegen", "publish"],
        ["aodnet", "fit"],
    ]
    less = {"runs/first": ("--epochs", "2"), "runs/logged": SHORT}
    for program, *words in listed:
        more = less[words[words.index("--out") + 1]] if words[0] == "fit" else ()
        assert programs[program]([*words, *more]) == 0, (program, words)
    assert (workplace / "preview.png").is_file()
    assert (workplace / "runs" / "first" / "curves.png").is_file()
    assert (workplace / "restored" / "foggy.jpg").is_file()
    code = README.read_text().partition("<!-- five lines: a test runs them -->\n```python\n")[2].partition("```")[0]
    scope: dict[str, object] = {}
    exec(compile(code, str(README), "exec"), scope)
    assert scope["net"].count_params() == 1761  # type: ignore[attr-defined]


def test_commands_of_training_work_as_printed(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As printed, but for one short epoch each, and a second dataset of the same photos."""
    monkeypatch.setattr(run_folder, "plot_curves", lambda *_: None)
    programs = {"hazegen": hazegen_cli.main, "aodnet": aodnet_cli.main}
    for seed, out in enumerate(("dataset", "other")):
        made = ["make", "--images", "photos", "--depth", "depth", "--depth-scale", "0.001", "--out", out]
        assert hazegen_cli.main([*made, "--variants", "2", "--seed", str(seed), "--quiet"]) == 0
    listed = commands("Training")
    assert [words[:2] for words in listed] == [
        ["hazegen", "make"], ["aodnet", "fit"], ["aodnet", "fit"], ["aodnet", "export"],
    ]  # fmt: skip
    for program, *words in listed:
        assert programs[program]([*words, *(SHORT if words[0] == "fit" else ())]) == 0, (program, words)
    assert (workplace / "aodnet.onnx").is_file()


def test_first_minutes_with_wandb_work_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As printed, but for fewer scenes, small ones, and one short epoch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_folder, "plot_curves", lambda *_: None)
    programs = {"hazegen": hazegen_cli.main, "aodnet": aodnet_cli.main}
    listed = commands("The first five minutes", README.parent / "docs" / "wandb.md")
    assert [words[1] for words in listed] == ["samples", "make", "publish", "publish", "fit", "evaluate"]
    less = {"samples": ("--scenes", "5", "--width", "96", "--height", "72"), "fit": SHORT}
    for program, *words in listed:
        assert programs[program]([*words, *less.get(words[0], [])]) == 0, (program, words)
    kept = sorted(path.parent.parent.parent.name for path in tmp_path.glob("**/offline-run-*/run-*.wandb"))
    assert kept == sorted([tmp_path.name, "first", "evaluation"])


def test_every_recipe_and_document_that_is_named_exists() -> None:
    text = README.read_text()
    for name in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (README.parent / name).exists(), name
    recipes = {listed.recipe.name: listed.recipe for listed in gallery.shipped()}
    named = re.findall(r"^\| `([a-z-]+)`", text.partition("## Recipes")[2], re.MULTILINE)
    assert len(named) >= 4
    assert set(named) <= set(recipes)
    assert f"and {len(recipes) - len(named)} more:" in text
    assert f"one of {len(conventions.CONVENTIONS) - 1} published conventions" in text.replace("\n  ", " ")


def test_page_on_recipes_lists_each_of_them_as_it_is() -> None:
    page = (README.parent / "docs" / "recipes.md").read_text()
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
