"""What stays the same through a training run, and its place in the data."""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf
import yaml

from aodnet import checkpoint, data, devices, losses, metrics, online, shards, streaming
from aodnet.config import FitConfig, FitPaths
from aodnet.data import Source
from aodnet.recipes import check_cameras, resolve
from aodnet.run_facts import CONFIG, HEAD
from aodnet.telling import Pulse
from hazegen import manifest as manifests
from hazegen import stores
from hazegen.errors import RefusedError, UsageError
from hazegen.manifest import Manifest

# Settings that do not decide what a run comes to; a recipe's text is a name, and what it stands for is compared.
_FREE = ("checkpoint_steps", "on_nan", "recipe")
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Run:
    """What stays the same through a run.

    Attributes:
        paths, config: Where and how.
        sources: The datasets.
        recipes: Of the haze that is drawn while training; None for pairs.
        worker: Which of how many processes this is.
        say: Receives what a user should know.
        steps: Steps in an epoch.
        once: Steps that it takes to see each record once.
        skipped: (epoch, step) of batches that are left out, because of NaN.
        lost: Damaged records that are left out.
    """

    paths: FitPaths
    config: FitConfig
    sources: tuple[Source, ...]
    recipes: online.Recipes | None
    worker: tuple[int, int]
    say: Callable[[str], object]
    steps: int
    once: int
    skipped: set[tuple[int, int]] = field(default_factory=set)
    lost: data.Lost = field(default_factory=data.Lost)

    @functools.cached_property
    def pulse(self) -> Pulse:
        """Receives where the run is, much more often than it can be said."""
        return Pulse(self.say)

    @property
    def checkpoints(self) -> Path:
        return self.paths.out / checkpoint.FOLDER

    @property
    def is_chief(self) -> bool:
        return self.worker[0] == 0

    @property
    def manifests(self) -> list[Manifest]:
        return [source.manifest for source in self.sources]

    def settings(self) -> dict[str, Any]:
        """All that decides the weights, apart from the machine: as JSON has it."""
        config = {name: value for name, value in dataclasses.asdict(self.config).items() if name not in _FREE}
        recipes = None if self.recipes is None else dataclasses.asdict(self.recipes)
        for recipe in recipes["recipes"] if recipes else ():
            del recipe["name"]
        digests = [manifests.digest(known) for known in self.manifests]
        said = {**config, "dataset": digests, "weights": self.paths.weights, "recipes": recipes}
        return dict(json.loads(json.dumps(said)))

    def passes(self, epoch: int, step: int) -> Iterator[tuple[int, int, int]]:
        """Where the steps of an epoch from `step` on are: (pass through the data, its first step, number of steps).

        With --steps the passes follow each other without regard to epochs, so that each record comes in turn.
        """
        place, end = epoch * self.steps + step, (epoch + 1) * self.steps
        while place < end:
            number, first = divmod(place, self.once)
            count = min(self.once - first, end - place)
            yield number, first, count
            place += count

    def batches(self, number: int, first: int) -> Any:
        """This process's share of the batches of one pass, from step `first` on."""
        return data.training_batches(
            self.sources,
            crop=self.config.crop,
            batch=self.config.batch,
            seed=self.config.seed,
            epoch=number,
            skip=first,
            shuffle_mb=self.config.shuffle_mb,
            worker=self.worker,
            on_damage=self.paths.on_damage,
            lost=self.lost,
            as_bytes=devices.takes_bytes(),
        )

    @functools.cached_property
    def validation(self) -> Any:
        """The validation images of all datasets, the same in every epoch, without those that are lost."""
        return _present(self.validation_places())

    def validation_places(self, every: int = 1) -> Any:
        """One of so many validation images; empty batches in the places of those that are lost."""
        return data.validation_batches(
            self.sources, crop=self.config.validation_crop, every=every, on_damage=self.paths.on_damage, lost=self.lost
        )

    def nothing_left(self, what: str) -> RefusedError:
        """Of a split, or an epoch, that came without one example."""
        return RefusedError(
            f"There is nothing left for {what}. Expected at least one example, received none: {self.lost.total} "
            f"damaged records and {len(self.skipped)} batches were left out. Run hazegen repair on the dataset, or "
            "start a new run on a whole one."
        )

    def keys(self, epoch: int, step: int) -> list[str]:
        """Keys of the records in one batch."""
        number, first, _ = next(self.passes(epoch, step))
        config = self.config
        return data.keys_of(
            self.sources,
            batch=config.batch,
            seed=config.seed,
            shuffle_mb=config.shuffle_mb,
            epoch=number,
            step=first,
            on_damage=self.paths.on_damage,
        )

    def validation_key(self, place: int) -> str:
        """Key of the record at one of `validation_places`."""
        return data.key_at(self.sources, place, on_damage=self.paths.on_damage)


def _present(batches: tf.data.Dataset) -> tf.data.Dataset:
    return batches.filter(lambda batch: tf.shape(batch["clean"])[0] > 0)


def prepare(
    paths: FitPaths,
    config: FitConfig,
    worker: tuple[int, int],
    say: Callable[[str], object],
    splits: Sequence[str] = SPLITS,
) -> Run:
    """Reads the datasets' manifests and refuses what would fail later, before anything is written.

    Args:
        splits: Those that the run needs.

    Raises:
        UsageError, RefusedError, VerifyError, StoreError: Settings and data do not fit, or data cannot be used.
    """
    sources = _read_sources(paths)
    known = [source.manifest for source in sources]
    recipes = online.read_recipes(config.recipe, known)
    _check_sizes(config, known, splits)
    _check_cache(sources, splits)
    if recipes is not None:
        for source in sources:
            check_cameras(recipes, source.folder, source.manifest, paths.on_damage)
    once = data.steps_of(sources, "train", config.batch)
    run = Run(paths, config, sources, recipes, worker, say, config.steps or once, once)
    if worker[1] > 1:
        run.batches(0, 0)  # refuses a batch that cannot be dealt out
    return run


def _read_sources(paths: FitPaths) -> tuple[Source, ...]:
    if not paths.data:
        raise UsageError("There is no data. Expected at least one dataset, received none. Pass --data.")
    sources = []
    for number, folder in enumerate(paths.data):
        known = manifests.load(folder)
        stream = streaming.open_stream(folder, paths)
        if paths.on_damage == "fail":
            shards.check_shards(folder, known.shards, stream)
        sources.append(Source(folder, known, None if paths.weights is None else paths.weights[number], stream))
    _check_different(sources)
    return tuple(sources)


def _check_different(sources: Sequence[Source]) -> None:
    """Refuses the same records twice, whatever the folders are called."""
    seen: dict[str, Path] = {}
    for source in sources:
        digest = manifests.digest(source.manifest)
        if digest in seen:
            raise UsageError(
                f"A dataset is given twice. Expected different ones, received '{seen[digest]}' and '{source.folder}', "
                "which hold the same shards. Leave one out; how much of a dataset an epoch has is said by --weights."
            )
        seen[digest] = source.folder


def _check_sizes(config: FitConfig, known: Sequence[Manifest], splits: Sequence[str]) -> None:
    """Refuses windows that the pictures or SSIM have no room for."""
    terms = losses.parse_loss(config.loss)
    for dataset in known:
        for split in splits:
            dataset.shards_of(split)
        data.check_crop(dataset, config.crop)
        if config.validation_crop is not None:
            data.check_crop(dataset, config.validation_crop)
    least = config.validation_crop or min(min(dataset.smallest.values()) for dataset in known)
    if losses.least_side(terms) > 1:
        least = min(least, config.crop)
    if least < metrics.WINDOW:
        raise UsageError(
            f"The pictures are too small for SSIM. Expected at least {metrics.WINDOW} x {metrics.WINDOW} pixels, "
            f"received {least}. Enlarge --crop or --validation-crop, or use larger images."
        )


def _check_cache(sources: Sequence[Source], splits: Sequence[str]) -> None:
    """Refuses a cache without room for the shards that are read at once; passes of validation and training may meet."""
    for source in sources:
        if source.stream is not None:
            cache = source.stream.cache
            at_once = {"train": data.AT_ONCE, "validation": 1}
            cache.check_room(sum(cache.need(source.manifest.shards_of(split), at_once[split]) for split in splits))


def write_start(run: Run) -> None:
    """A new run folder with the resolved config in it."""
    digests = ", ".join(manifests.digest(known) for known in run.manifests)
    head = f"{HEAD}the dataset{'s' if len(run.sources) > 1 else ''} of digest {digests}\n"
    if run.paths.weights is not None:
        head += f"# with weights {', '.join(map(str, run.paths.weights))}\n"
    recipe, fields = resolve(run.config.recipe)
    head += "".join(f"# recipe {json.dumps(one)}\n" for one in fields)
    config = yaml.safe_dump(dataclasses.asdict(run.config) | {"recipe": recipe}, sort_keys=False)
    stores.write_text(run.paths.out / CONFIG, [head, config])
