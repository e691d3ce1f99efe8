"""What the commands that train share: the options that say on which data and how, and how they are read."""

import argparse
import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from hazegen import config, stores
from hazegen.errors import UsageError

if TYPE_CHECKING:
    from aodnet.config import DataOptions, FitConfig

Data = TypeVar("Data", bound="DataOptions")


def add_training_options(
    parser: argparse.ArgumentParser, cls: type["DataOptions"], title: str, skip: tuple[str, ...] = ()
) -> None:
    """The options of data, of the dataclass `cls` itself, of the cache and of FitConfig.

    Args:
        title: Of the options of `cls`.
        skip: Settings that have no meaning, or that another option says.
    """
    from aodnet.config import DataOptions, FitConfig
    from aodnet.streaming import CacheOptions

    texts = config.attribute_texts(DataOptions)
    data = parser.add_argument_group("data")
    data.add_argument("--data", metavar="PATH", nargs="+", action="extend", required=True, help=texts["data"])
    data.add_argument("--weights", metavar="NUMBER,NUMBER", default=argparse.SUPPRESS, help=texts["weights"])
    config.add_options(parser, DataOptions, "damaged data", skip=("data", "weights"))
    config.add_options(parser, cls, title)
    config.add_options(parser, CacheOptions, "datasets in a store")
    parser.add_argument("--config", default="default", help="config file or name [default: default]")
    config.add_options(parser, FitConfig, "settings (each stands above the config file)", from_file=True, skip=skip)


def read_data(given: argparse.Namespace, cls: type[Data]) -> Data:
    """What the options of `add_training_options` say of `cls`.

    Raises:
        UsageError: A value that cannot be used.
    """
    values = config.given(given, cls)
    folders, weights = values.pop("data"), values.pop("weights", None)
    options = config.build(cls, {**values, "data": ()})
    numbers = None if weights is None else _read_weights(weights)
    return dataclasses.replace(options, data=tuple(stores.place(folder) for folder in folders), weights=numbers)


def read_settings(given: argparse.Namespace, defaults: Mapping[str, Any] = MappingProxyType({})) -> "FitConfig":
    """What the config file and the options above it say.

    Args:
        defaults: Settings that stand above the default config, but below any other.
    """
    from aodnet.config import FitConfig

    read = config.read_config(config.find_config(given.config, "training"), FitConfig)
    known = read | (dict(defaults) if given.config == "default" else {})
    return config.build(FitConfig, known | config.given(given, FitConfig))


def _read_weights(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.strip(" []").split(","))
    except ValueError:
        raise UsageError(
            f"--weights cannot be read. Expected numbers with commas between them, as 0.7,0.3, received '{text}'. "
            "Correct --weights."
        ) from None
