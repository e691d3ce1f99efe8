"""What stays the same through a training run, and its place in the data."""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from aodnet import checkpoint, data, losses, metrics, online, shards, streaming
from aodnet.checkpoint import Checkpoint
from aodnet.config import FitConfig, FitPaths
from aodnet.data import Source
from aodnet.recipes import check_cameras
from hazegen import manifest as manifests
from hazegen.errors import RefusedError, UsageError
from hazegen.manifest import Manifest

# Settings that do not decide what a run comes to; a recipe's text is a name, and what it stands for is compared.
_FREE = ("checkpoint_steps", "on_nan", "recipe")


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
        )

    @functools.cached_property
    def validation(self) -> Any:
        """The validation images of all datasets, the same in every epoch."""
        return data.validation_batches(
            self.sources, crop=self.config.validation_crop, on_damage=self.paths.on_damage, lost=self.lost
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


def prepare(paths: FitPaths, config: FitConfig, worker: tuple[int, int], say: Callable[[str], object]) -> Run:
    """Reads the datasets' manifests and refuses what would fail later, before anything is written.

    Raises:
        UsageError, RefusedError, VerifyError, StoreError: Settings and data do not fit, or data cannot be used.
    """
    sources = _read_sources(paths)
    known = [source.manifest for source in sources]
    recipes = online.read_recipes(config.recipe, known)
    _check_sizes(config, known)
    _check_cache(sources)
    if recipes is not None:
        for source in sources:
            check_cameras(recipes, source.folder, source.manifest, paths.on_damage)
    once = data.steps_of(sources, "train", config.batch)
    return Run(paths, config, sources, recipes, worker, say, config.steps or once, once)


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
    return tuple(sources)


def _check_sizes(config: FitConfig, known: Sequence[Manifest]) -> None:
    """Refuses windows that the pictures or SSIM have no room for."""
    terms = losses.parse_loss(config.loss)
    for dataset in known:
        for split in ("train", "validation"):
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


def _check_cache(sources: Sequence[Source]) -> None:
    """Refuses a cache without room for the shards that are read at once; passes of validation and training may meet."""
    for source in sources:
        if source.stream is not None:
            cache = source.stream.cache
            train, validation = source.manifest.shards_of("train"), source.manifest.shards_of("validation")
            cache.check_room(cache.need(train, data.AT_ONCE) + cache.need(validation, 1))


def find_start(paths: FitPaths, is_chief: bool) -> tuple[Checkpoint, list[str]]:
    """Where the run begins, and newer checkpoints that could not be read; nothing is written yet."""
    if paths.resume:
        return checkpoint.load_newest(paths.out / checkpoint.FOLDER)
    if is_chief and paths.out.exists() and (not paths.out.is_dir() or any(paths.out.iterdir())):
        raise RefusedError(
            f"The run folder '{paths.out}' is not empty. Expected a new folder, received one with files in it. "
            "Choose another --out, or pass --resume to go on with that run."
        )
    return Checkpoint(0, 0, [], {}), []


def write_start(run: Run) -> None:
    """A new run folder with the resolved config in it."""
    run.paths.out.mkdir(parents=True, exist_ok=True)
    digests = ", ".join(manifests.digest(known) for known in run.manifests)
    head = f"# aodnet fit on the dataset{'s' if len(run.sources) > 1 else ''} of digest {digests}\n"
    if run.paths.weights is not None:
        head += f"# with weights {', '.join(map(str, run.paths.weights))}\n"
    config = yaml.safe_dump(dataclasses.asdict(run.config), sort_keys=False)
    (run.paths.out / "config.yaml").write_text(head + config, encoding="utf-8")


def check_same(run: Run, saved: Checkpoint) -> None:
    """Refuses to go on with a run of other settings or data."""
    now = run.settings()
    changed = [name for name in now if saved.meta.get(name) != now[name]]
    if changed:
        different = [f"{name}: {saved.meta.get(name)} before, {now[name]} now" for name in changed]
        raise RefusedError(
            f"The run in '{run.paths.out}' has other settings. Expected the same ones to go on exactly, received "
            f"{'; '.join(different)}. Pass the run's own settings, or start a new run."
        )


def recall(run: Run, saved: Checkpoint) -> None:
    """What a checkpoint knows of batches that are left out and records that are lost."""
    run.skipped.update((int(epoch), int(step)) for epoch, step in saved.meta.get("skipped", []))
    run.lost.counts.update({str(name): int(count) for name, count in saved.meta.get("lost", {}).items()})


def state(run: Run, variables: Sequence[Any], epoch: int, step: int) -> Checkpoint:
    """The checkpoint of this moment."""
    meta = {**run.settings(), "skipped": sorted(map(list, run.skipped)), "lost": run.lost.counts}
    return checkpoint.of_variables(epoch, step, variables, meta)
