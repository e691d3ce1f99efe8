"""Options and config files from dataclasses."""

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from hazegen import config
from hazegen.errors import UsageError
from hazegen.recipe import Draw, Recipe


@dataclass(frozen=True)
class Knobs:
    """Settings for these tests.

    Attributes:
        path: Where it lies.
        count: How many, 100 % of them,
            over two lines.
        share: Some share [default: the whole].
        mode: Which way.
        on: Whether at all.
        beta: Drawn.
        light: Drawn or found.
        triple: Of a colour.
        limit: At most.
    """

    path: Path
    count: int = 3
    share: float = 1.0
    mode: Literal["fast", "slow"] = "fast"
    on: bool = False
    beta: Draw | None = None
    light: Draw | Literal["guessed", "found"] = "found"
    triple: tuple[float, float, float] = (1.0, 2.0, 3.0)
    limit: int | None = None


def parse(*argv):
    parser = argparse.ArgumentParser(exit_on_error=False)
    config.add_options(parser, Knobs, "knobs", prefix="k.")
    return parser, config.given(parser.parse_args(argv), Knobs, "k.")


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        (["--k.count", "7"], "count", 7),
        (["--k.share", "0.25"], "share", 0.25),
        (["--k.mode", "slow"], "mode", "slow"),
        (["--k.on"], "on", True),
        (["--no-k.on"], "on", False),
        (["--k.beta", "uniform(0.1, 0.2)"], "beta", Draw("uniform", (0.1, 0.2))),
        (["--k.beta", "[0.1]"], "beta", Draw("values", (0.1,))),
        (["--k.beta", "null"], "beta", None),
        (["--k.light", "guessed"], "light", "guessed"),
        (["--k.light", "[0.5, 1]"], "light", Draw("values", (0.5, 1.0))),
        (["--k.triple", "[610, 550, 465]"], "triple", (610.0, 550.0, 465.0)),
        (["--k.triple", "1,0.5,.25"], "triple", (1.0, 0.5, 0.25)),
        (["--k.limit", "none"], "limit", None),
        (["--k.limit", "5"], "limit", 5),
    ],
)
def test_option_becomes_its_fields_type(option, name, value):
    _, given = parse("--k.path", "here", *option)
    assert set(given) == {"path", name}
    assert config.build(Knobs, given) == dataclasses.replace(Knobs(Path("here")), **{name: value})


def test_option_that_is_not_given_leaves_no_trace():
    assert parse("--k.path", "here")[1] == {"path": "here"}


def test_help_is_the_docstrings_sentence_with_the_default():
    text = " ".join(parse("--k.path", "x")[0].format_help().split())
    assert "--k.count N How many, 100 % of them, over two lines. [default: 3]" in text
    assert "--k.share NUMBER Some share [default: the whole]." in text
    assert "--k.mode fast|slow Which way. [default: fast]" in text
    assert "--k.light DRAW|guessed|found Drawn or found. [default: found]" in text
    assert "--k.triple [NUMBER, NUMBER, NUMBER] Of a colour." in text
    assert "--k.limit N At most." in text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": "many"}, r"k.count cannot be used. Expected N, received 'many' \(.*\). Correct --k.count"),
        ({"count": 2.5}, "k.count cannot be used. Expected N, received 2.5"),
        ({"count": None}, "k.count cannot be used. Expected N, received None"),
        ({"share": "half"}, "k.share cannot be used. Expected NUMBER, received 'half'"),
        ({"mode": "sideways"}, r"k.mode cannot be used. Expected fast\|slow, received 'sideways'"),
        ({"on": "perhaps"}, r"k.on cannot be used. Expected true\|false, received 'perhaps'"),
        ({"limit": [1]}, r"k.limit cannot be used. Expected N, received \[1\]"),
        ({"path": 3}, "k.path cannot be used. Expected PATH, received 3"),
        ({"beta": "fog"}, "draw cannot be read"),
        ({"light": "gessed"}, "k.light is neither a draw nor one of guessed, found. A draw cannot be read. .*'gessed'"),
        ({"triple": "[1, 2]"}, r"k.triple cannot be used. Expected \[NUMBER, NUMBER, NUMBER\], received \['1', ' 2'\]"),
        ({"triple": [1, 2, "three"]}, "k.triple cannot be used. Expected .*received .*three"),
        ({"triple": 4}, "k.triple cannot be used. Expected .*received 4"),
    ],
)
def test_value_of_another_type_is_refused(values, message):
    with pytest.raises(UsageError, match=message):
        config.build(Knobs, {"path": "x"} | values, "k.")


def test_config_file_is_read_with_comments_and_empty_values(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("# a head\nbeta: [0.1, 0.2]\nvisibility_m: null\npath: plane\n")
    values = config.read_config(path, Recipe)
    assert values == {"beta": [0.1, 0.2], "visibility_m": None, "path": "plane"}
    assert config.build(Recipe, values).beta == Draw("values", (0.1, 0.2))


@pytest.mark.parametrize(
    ("key", "hint"), [("betta", "Did you mean 'beta'?"), ("qqqq", "Remove it, or correct its name."), (7, "Remove it")]
)
def test_unknown_key_is_refused_and_the_valid_ones_named(tmp_path, key, hint):
    path = tmp_path / "a.yaml"
    path.write_text(f"{key}: 1\n")
    with pytest.raises(UsageError, match="unknown key") as caught:
        config.read_config(path, Recipe)
    assert f"received '{key}'. {hint}" in str(caught.value)
    assert all(field.name in str(caught.value) for field in dataclasses.fields(Recipe))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no config. Expected 'key: value' lines, received None"),
        (b"- 1\n- 2\n", r"is no config. .*received \[1, 2\]"),
        (b"just words", "is no config"),
        (b"a: [1,", "is no YAML. Expected a mapping, received"),
        (b"\xff\xfe\x00", "is no YAML"),
        (b"a: !!python/object/apply:os.system ['true']", "is no YAML"),
    ],
)
def test_file_that_is_no_config_is_refused(tmp_path, content, message):
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        config.read_config(path, Recipe)


def test_config_is_found_by_path_or_by_name(tmp_path):
    assert config.find_config("aod-paper", "recipes") == config.config_folder() / "recipes" / "aod-paper.yaml"
    path = tmp_path / "mine.yaml"
    path.touch()
    assert config.find_config(str(path), "recipes") == path


def test_config_that_is_not_there_is_refused_and_the_shipped_ones_named():
    with pytest.raises(UsageError, match=r"no config 'fog'. .*one of aod-paper, aod-released, .*outdoor-visibility, "):
        config.find_config("fog", "recipes")
