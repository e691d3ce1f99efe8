"""Options and config files from the fields of a dataclass, for both command lines.

A dataclass is the one home of a setting: its type, its default, and the sentence about it in the
class's docstring, which becomes the option's help.
"""

import argparse
import dataclasses
import difflib
import inspect
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from hazegen import stores
from hazegen.errors import UsageError
from hazegen.recipe import Draw, parse_draw

Settings = TypeVar("Settings")

_PACKAGE = Path(__file__).parent


def config_folder() -> Path:
    """Where the shipped configs lie: beside the code when installed, in configs/ of a checkout."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def find_config(name: str, folder: str) -> Path:
    """The file that `name` means: a path, or the name of a shipped config of `folder`.

    Raises:
        UsageError: Neither; the message lists the shipped ones.
    """
    shipped = config_folder() / folder / f"{name}.yaml"
    for path in (Path(name), shipped):
        if path.is_file():
            return path
    names = sorted(path.stem for path in shipped.parent.glob("*.yaml"))
    near = difflib.get_close_matches(name, names, 1)
    raise UsageError(
        f"There is no config '{name}'. Expected a YAML file or one of {', '.join(names)}, received neither. "
        + (f"Did you mean '{near[0]}'?" if near else "Check the name.")
    )


def read_config(path: Path, cls: type) -> dict[str, Any]:
    """The mapping of a config file, every key of which is a field of the dataclass `cls`.

    Raises:
        UsageError: No mapping, or an unknown key: names it, the nearest valid one, and all valid ones.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"'{path}' is no YAML. Expected a mapping, received: {error}. Correct the file.") from None
    if not isinstance(content, dict):
        raise UsageError(f"'{path}' is no config. Expected 'key: value' lines, received {content!r}. Correct the file.")
    valid = [field.name for field in dataclasses.fields(cls)]
    for key in content:
        if key not in valid:
            near = difflib.get_close_matches(str(key), valid, 1)
            hint = f"Did you mean '{near[0]}'?" if near else "Remove it, or correct its name."
            raise UsageError(
                f"'{path}' has an unknown key. Expected among {', '.join(valid)}, received '{key}'. {hint}"
            )
    return content


def build(cls: type[Settings], values: dict[str, Any], prefix: str = "") -> Settings:
    """The dataclass `cls` of the given values, each turned into its field's type.

    Raises:
        UsageError: A value of another type, or what the dataclass itself refuses.
    """
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name not in values and _is_required(field):
            raise UsageError(
                f"{_option(prefix + field.name)} is missing. Expected {describe(hints[field.name])}, "
                "received nothing. Add it."
            )
    return cls(**{name: _convert(_option(prefix + name), hints[name], value) for name, value in values.items()})


def _option(name: str) -> str:
    """The option that says a field, also where a config file has said it."""
    return f"--{name.replace('_', '-')}"


def _convert(name: str, hint: Any, value: Any) -> Any:
    if type(None) in typing.get_args(hint) and (value is None or value in ("null", "none")):
        return None
    if Draw in (hint, *typing.get_args(hint)):
        return _convert_draw(name, _words(hint), value)
    if Path in (hint, *typing.get_args(hint)) and "://" in str(value):
        return stores.place(value)
    kinds = [typing.get_origin(part) for part in (hint, *typing.get_args(hint))]
    if tuple in kinds and isinstance(value, str):
        value = value.strip(" []").split(",")
    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        raise UsageError(
            f"{name} cannot be used. Expected {describe(hint)}, received {value!r} ({error.errors()[0]['msg']}). "
            f"Correct {name}."
        ) from None


def _convert_draw(name: str, words: list[str], value: Any) -> Draw | str:
    """A draw, or one of the words that may stand in its place."""
    if value in words:
        return str(value)
    try:
        return parse_draw(value)
    except UsageError as error:
        if not words:
            raise
        raise UsageError(f"{name} is neither a draw nor one of {', '.join(words)}. {error}") from None


def _words(hint: Any) -> list[str]:
    """The words that a union with Literals allows beside its other types."""
    return [word for part in typing.get_args(hint) for word in typing.get_args(part)]


def describe(hint: Any) -> str:
    """A type as a user would name it."""
    arguments = [argument for argument in typing.get_args(hint) if argument is not type(None)]
    if typing.get_origin(hint) is typing.Literal:
        return "|".join(str(argument) for argument in arguments)
    if typing.get_origin(hint) is tuple:
        return f"[{', '.join(describe(argument) for argument in arguments)}]"
    if arguments:
        return "|".join(describe(argument) for argument in arguments)
    names = {int: "N", float: "NUMBER", str: "TEXT", Path: "PATH", Draw: "DRAW", bool: "true|false"}
    return names.get(hint, str(hint))


def add_options(
    parser: argparse.ArgumentParser,
    cls: type,
    title: str,
    prefix: str = "",
    *,
    from_file: bool = False,
    needed: bool = True,
    skip: Sequence[str] = (),
) -> None:
    """One option for each field that the dataclass `cls` itself declares, its help from the class's docstring.

    Options that are not given leave no trace in the namespace: a config file may still say them.

    Args:
        from_file: A config file says the defaults, so the help does not.
        needed: Whether fields without a default have to be given.
        skip: Fields that another option says.
    """
    group = parser.add_argument_group(title)
    hints, texts = typing.get_type_hints(cls), attribute_texts(cls)
    for field in dataclasses.fields(cls):
        if field.name in skip or field.name not in cls.__annotations__:
            continue  # a field of a base has a group of its own
        option = _option(prefix + field.name)
        required = _is_required(field)
        silent = required or from_file or field.default in (None, False, "") or "[default" in texts[field.name]
        note = "" if silent else f" [default: {field.default}]"
        shared: dict[str, Any] = {"dest": f"{prefix}{field.name}", "default": argparse.SUPPRESS}
        shared["help"] = (texts[field.name] + note).replace("%", "%%")
        if hints[field.name] is bool:
            group.add_argument(option, action=argparse.BooleanOptionalAction, **shared)
        else:
            group.add_argument(option, metavar=describe(hints[field.name]), required=required and needed, **shared)


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def attribute_texts(cls: type) -> dict[str, str]:
    """What the 'Attributes:' section of a class's docstring says of each attribute."""
    # Python 3.13 takes the indentation off docstrings by itself.
    lines = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")[2].splitlines()
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in lines:
        if match := re.fullmatch(r" {4}(\w+(?:, \w+)*): (.+)", line):
            names = match[1].split(", ")
            texts |= dict.fromkeys(names, match[2])
        elif line.strip():
            texts |= {name: f"{texts[name]} {line.strip()}" for name in names}
    return texts


def given(namespace: argparse.Namespace, cls: type, prefix: str = "") -> dict[str, Any]:
    """The options of `cls` that stand on the command line."""
    names = (field.name for field in dataclasses.fields(cls))
    return {name: getattr(namespace, f"{prefix}{name}") for name in names if hasattr(namespace, f"{prefix}{name}")}
