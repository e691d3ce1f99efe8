"""What stays the same through a training run, and its place in the data."""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import yaml

from aodnet import checkpoint, data, losses, metrics, online, shards, streaming
from aodnet.checkpoint import Checkpoint
from aodnet.config import FitConfig, FitPaths
from aodnet.data import Source
from aodnet.recipes import check_cameras, resolve
from aodnet.run_folder import BEST
from hazegen import locks, stores
from hazegen import manifest as manifests
from hazegen.errors import RefusedError, UsageError
from hazegen.manifest import Manifest

# Settings that do not decide what a run comes to; a recipe's text is a name, and what it stands for is compared.
_FREE = ("checkpoint_steps", "on_nan", "recipe")
SPLITS = ("train", "validation")
_CONFIG, _HEAD = "config.yaml", "# aodnet fit on "


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
        """The validation images of all datasets, the same in every epoch, without those that are lost."""
        return _present(self.validation_places())

    def validation_places(self, every: int = 1) -> Any:
        """One of so many validation images; empty batches in the places of those that are lost."""
        return data.validation_batches(
            self.sources, crop=self.config.validation_crop, every=every, on_damage=self.paths.on_damage, lost=self.lost
        )

    def examples(self, count: int) -> list[Any]:
        """A few validation images, spread over the split, the same in every epoch.

        Raises:
            RefusedError: All of them are lost.
        """
        every = max(1, sum(known.records_of("validation") for known in self.manifests) // count)
        found = list(_present(self.validation_places(every)).take(count)) or list(self.validation.take(1))
        if not found:
            raise self.nothing_left("validation")
        return found

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


@contextmanager
def alone(paths: FitPaths, is_chief: bool, say: Callable[[str], object]) -> Iterator[None]:
    """Holds the lock of the run folder, in the process that writes; a new folder in which nothing comes goes again.

    Raises:
        RefusedError: Another run works there, or it is no folder.
    """
    if not is_chief:
        yield
        return
    is_new = not paths.out.exists()
    if not is_new and not paths.out.is_dir():
        raise _taken(paths)
    try:
        paths.out.mkdir(parents=True, exist_ok=True)
        with locks.lock(paths.out, tell=say):
            yield
    finally:
        with suppress(OSError):
            if is_new:
                paths.out.rmdir()


def find_start(paths: FitPaths, is_chief: bool) -> tuple[Checkpoint, list[str]]:
    """Where the run begins, and newer checkpoints that could not be read; nothing is written yet."""
    if paths.resume:
        return checkpoint.load_newest(paths.out / checkpoint.FOLDER)
    if is_chief and not _is_fresh(paths.out):
        raise _taken(paths)
    return Checkpoint(0, 0, [], {}), []


def _is_fresh(folder: Path) -> bool:
    """Whether a folder holds no more than a run leaves that was killed before its first checkpoint."""
    inside = [*folder.glob("*"), *(folder / checkpoint.FOLDER).glob("*")]
    ours = (locks.NAME, _CONFIG, checkpoint.FOLDER)
    config = folder / _CONFIG
    is_ours = not config.is_file() or config.read_bytes().startswith(_HEAD.encode())
    return is_ours and all(path.name in ours or stores.is_temporary(path.name) for path in inside)


def _taken(paths: FitPaths) -> RefusedError:
    return RefusedError(
        f"The run folder '{paths.out}' is not empty. Expected a new folder, received one with files in it. "
        "Choose another --out, or pass --resume to go on with that run."
    )


def write_start(run: Run) -> None:
    """A new run folder with the resolved config in it."""
    digests = ", ".join(manifests.digest(known) for known in run.manifests)
    head = f"{_HEAD}the dataset{'s' if len(run.sources) > 1 else ''} of digest {digests}\n"
    if run.paths.weights is not None:
        head += f"# with weights {', '.join(map(str, run.paths.weights))}\n"
    recipe, fields = resolve(run.config.recipe)
    head += "".join(f"# recipe {json.dumps(one)}\n" for one in fields)
    config = yaml.safe_dump(dataclasses.asdict(run.config) | {"recipe": recipe}, sort_keys=False)
    stores.write_text(run.paths.out / _CONFIG, [head, config])


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


def recall(run: Run, saved: Checkpoint) -> Checkpoint:
    """What a checkpoint knows beside the network and its optimizer, which are returned.

    These are the batches that are left out, the records that are lost and best.weights.h5.
    """
    run.skipped.update((int(epoch), int(step)) for epoch, step in saved.meta.get("skipped", []))
    run.lost.counts.update({str(name): int(count) for name, count in saved.meta.get("lost", {}).items()})
    return _put_back_best(run, saved)


def state(run: Run, variables: Sequence[Any], epoch: int, step: int) -> Checkpoint:
    """The checkpoint of this moment, with best.weights.h5 in it, of which a later epoch may be gone back on."""
    meta = {**run.settings(), "skipped": sorted(map(list, run.skipped)), "lost": run.lost.counts}
    now, best = checkpoint.of_variables(epoch, step, variables, meta), run.paths.out / BEST
    if not best.is_file():
        return now
    held = np.frombuffer(best.read_bytes(), np.uint8)
    return dataclasses.replace(now, arrays=[*now.arrays, held], names=(*now.names, BEST))


def _put_back_best(run: Run, saved: Checkpoint) -> Checkpoint:
    """The checkpoint without best.weights.h5, which is put back in the process that writes, or removed with none."""
    is_held, best = saved.names[-1:] == (BEST,), run.paths.out / BEST
    if run.is_chief and not is_held:
        best.unlink(missing_ok=True)
    if not is_held:
        return saved
    if run.is_chief:
        with stores.whole_file(best) as file:
            file.write(saved.arrays[-1].tobytes())
    return dataclasses.replace(saved, arrays=saved.arrays[:-1], names=saved.names[:-1])
