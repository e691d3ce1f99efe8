"""Trials of AOD-Net's training: which haze, loss and schedule restore unseen rooms best.

    DATA="rooms=build/rooms procedural=build/procedural"
    python benchmarks/experiments.py --data $DATA --trial l1-ssim
    python benchmarks/experiments.py --data $DATA --check

The datasets are of `hazegen make --kind scenes`; docs/experiments.md has the commands. All scenes stay in memory, each
crop gets haze of its own by hazegen.sampling, and the trainer is compiled (native/): a step of 8 crops of 128 pixels
takes 22 ms of one core, SSIM included. A trial appends one line to experiments.jsonl in --out: its settings, its time,
and PSNR and SSIM on the validation scenes of `rooms` under four laws of haze. Test scenes are read with --test alone.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import native_search as native
import numpy as np
import tensorflow as tf
from experiments_trials import BASE, TRIALS
from numpy.typing import NDArray

from aodnet import losses, metrics, model, weights
from hazegen import color, config, sampling
from hazegen.recipe import Recipe

# Laws that are scored, and hazes a scene.
LAWS = {"reside-its": 2, "reside-ots": 1, "outdoor-visibility": 1, "aod-released": 1}
NAMES = ("psnr", "ssim")
TABLE_STEPS = 1000  # steps until the next table of hazes is drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--trial", nargs="+", default=[], choices=sorted(TRIALS), metavar="NAME")
    parser.add_argument("--steps", type=int, help="another length, for a look")
    parser.add_argument("--test", nargs="+", default=[], metavar="WEIGHTS", help="score these on the test scenes alone")
    parser.add_argument("--check", action="store_true", help="hold the compiled trainer against Keras, and stop")
    parser.add_argument("--out", type=Path, default=Path("build/experiments"), help="folder for rows and weights")
    given = parser.parse_args()
    folders = {name: Path(folder) for name, _, folder in (text.partition("=") for text in given.data)}
    library = native.compile_library(given.out)
    validation = native.read_scenes(folders["rooms"], "validation")
    if given.check:
        print(json.dumps(agreement(library, validation)))
        return
    if given.test:
        for row in score_test(library, folders, given.test):
            report(given.out, row, "test.jsonl")
        return
    for name in given.trial:
        settings = BASE | TRIALS[name] | ({"steps": given.steps} if given.steps else {})
        trained, row = run_trial(library, settings, folders, given.out)
        np.savez(given.out / f"{name}.npz", weights=trained.weights, average=trained.average)
        row["validation"] = validate(library, validation, trained.weights, trained.filters)
        report(given.out, {"trial": name, **settings, **row})


def report(out: Path, row: dict[str, Any], file_name: str = "experiments.jsonl") -> None:
    line = json.dumps(row)
    print(line, flush=True)
    with (out / file_name).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def score_test(library: Any, folders: Mapping[str, Path], names: list[str]) -> Iterator[dict[str, Any]]:
    """Rows for the hazy input and all weights, under each law on rooms, and outdoors on procedural streets.

    Each has the mean PSNR [dB] and SSIM, under the first law those without a pixel's surroundings, and the differences
    to the first weights with 95 % intervals over scenes.
    """
    rooms, streets = (native.read_scenes(folders[name], "test") for name in ("rooms", "procedural"))
    outdoors = [number for number, key in enumerate(streets.keys) if "street" in key]
    cases = [("rooms", rooms, law, LAWS[law], range(len(rooms.keys))) for law in LAWS]
    cases += [("streets", streets, law, 1, outdoors) for law in ("reside-ots", "outdoor-visibility")]
    vectors = {name: native.from_keras(weights.load(weights.find_weights(name))) for name in names}
    for scene_set, scenes, law, count, numbers in cases:
        hazes = hazes_of(scenes, law, count, "test")
        hazes = hazes[np.isin(hazes["scene"], numbers)]
        case = {"scenes": scene_set, "law": law, "pictures": len(hazes)}
        yield case | {"weights": "hazy input", **means(native.score(library, 3, vectors[names[0]], scenes, hazes, 2))}
        first = native.score(library, 3, vectors[names[0]], scenes, hazes)
        for name, vector in vectors.items():
            found = native.score(library, 3, vector, scenes, hazes)
            curve = {}
            if law == next(iter(LAWS)):
                curve = {"curve": means(native.score(library, 3, vector, scenes, hazes, 1))}
            more = {
                f"{what}_more": interval(one - other, count)
                for what, one, other in zip(NAMES, found, first, strict=True)
            }
            yield case | {"weights": name, **means(found), **curve, **more}


def means(found: tuple[NDArray, NDArray]) -> dict[str, float]:
    return {name: round(float(values.mean()), 4) for name, values in zip(NAMES, found, strict=True)}


def interval(differences: NDArray, count: int) -> list[float]:
    """Mean of differences, and its 95 % interval by 2,000 draws of scenes, each with its `count` pictures."""
    of_scenes = differences.reshape(-1, count).mean(axis=1)
    rng = sampling.generator(0, "bootstrap")
    drawn = of_scenes[rng.integers(len(of_scenes), size=(2000, len(of_scenes)))].mean(axis=1)
    return [round(float(v), 4) for v in (of_scenes.mean(), *np.quantile(drawn, (0.025, 0.975)))]


def run_trial(
    library: Any, settings: Mapping[str, Any], folders: Mapping[str, Path], out: Path
) -> tuple[native.Run, dict[str, Any]]:
    """Trains as `settings` say. Returns the network and what is to be said of the run."""
    parts = [native.read_scenes(folders[name], "train") for name in settings["data"]]
    scenes, shares = native.joined(parts), list(settings["data"].values())
    first = native.from_keras(model.build_aodnet(settings["seed"], settings["filters"]))
    if settings["start"]:
        first = np.load(out / f"{settings['start']}.npz")["weights"]
    if settings["mean_of"]:
        first = np.mean([np.load(out / f"{name}.npz")["weights"] for name in settings["mean_of"]], axis=0)
    run, curve = native.Run(settings["filters"], first), []
    began, used = time.perf_counter(), time.process_time()
    tables = draw_tables([len(part.keys) for part in parts], shares, scenes, settings)
    end = 0 if settings["mean_of"] else settings["until"] or settings["steps"]
    while run.step < end:
        hazes, at = next(tables), run.step
        while run.step < min(at + TABLE_STEPS, end):
            steps = min(settings["turn_steps"] or TABLE_STEPS, end - run.step)
            curve.append(round(native.train(library, run, scenes, hazes, steps, settings), 4))
            if settings["turn_steps"]:
                run.turn(settings["batch"])
    times = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - used}
    return run, {name: round(value) for name, value in times.items()} | {"losses": curve}


def draw_tables(
    counts: list[int], shares: list[float], scenes: native.Scenes, settings: Mapping[str, Any]
) -> Iterator[NDArray]:
    """One table of hazes after the other: dataset by share, scene evenly, recipe by weight, haze by the recipe."""
    laws = list(of_datasets(settings).values())
    recipes = [read_recipes(law) for law in laws]
    starts = np.cumsum([0, *counts])
    for number in range(1 << 30):
        rng = sampling.generator(settings["seed"], "hazes", number)
        parts = rng.choice(len(counts), TABLE_STEPS * settings["batch"], p=np.array(shares) / sum(shares))
        rows = []
        for part in parts:
            law = np.array(list(laws[part].values()))
            recipe = recipes[part][rng.choice(len(law), p=law / law.sum())]
            rows.append(native.draw(scenes, int(starts[part] + rng.integers(counts[part])), recipe, rng))
        yield np.stack(rows)


def of_datasets(settings: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Recipes and their weights for each dataset, which may all have the same."""
    recipe = settings["recipe"]
    return {name: recipe.get(name, recipe) for name in settings["data"]}


def read_recipes(names: Mapping[str, float]) -> list[Recipe]:
    """Shipped recipes; every draw of a grid is then one of its values."""
    read = [config.read_config(config.find_config(name, "recipes"), Recipe) for name in names]
    return [config.build(Recipe, values | {"sweep": "random"}) for values in read]


def validate(library: Any, scenes: native.Scenes, vector: NDArray, filters: int) -> dict[str, list[float]]:
    """Mean PSNR [dB] and SSIM under each law, and under the first without the surroundings of a pixel."""
    found = {
        law: native.score(library, filters, vector, scenes, hazes_of(scenes, law, LAWS[law], "validation"))
        for law in LAWS
    }
    first = next(iter(LAWS))
    found["curve alone"] = native.score(
        library, filters, vector, scenes, hazes_of(scenes, first, LAWS[first], "validation"), mode=1
    )
    return {law: [round(float(psnr.mean()), 3), round(float(ssim.mean()), 4)] for law, (psnr, ssim) in found.items()}


def hazes_of(scenes: native.Scenes, law: str, count: int, purpose: str) -> NDArray:
    """`count` hazes of each scene, always the same ones for one purpose."""
    (recipe,) = read_recipes({law: 1.0})
    rows = []
    for number, key in enumerate(scenes.keys):
        rng = sampling.generator(0, purpose, law, key)
        rows += [native.draw(scenes, number, recipe, rng) for _ in range(count)]
    return np.stack(rows)


def agreement(library: Any, scenes: native.Scenes) -> dict[str, float]:
    """Largest differences between the compiled trainer and Keras: in loss, gradient, PSNR [dB] and SSIM."""
    apart = {"loss": 0.0, "gradient": 0.0, "psnr": 0.0, "ssim": 0.0}
    one = {"batch": 1, "poses": 1, "beta_1": 0.0, "clip_norm": 1e9, "warmup": 1.0, "steps": 1}  # a step of length 0
    hazes = hazes_of(scenes, "reside-its", 1, "validation")[:1]
    part = native.window(scenes, hazes[0], 128)
    hazes["scene"] = 0
    hazy, clean = native.hazed(part, hazes[0])
    for filters, text in itertools.product((3, 8, 16, 32), ("l1=1, ssim=0.3", "l2=1, charbonnier=0.5")):
        network = perturbed(filters)
        run = native.Run(filters, native.from_keras(network))
        with tf.GradientTape() as tape:
            output = network(hazy[None])
            loss = losses.total(losses.parse_loss(text), clean[None], output)
        gradient = native.flat([g.numpy() for g in tape.gradient(loss, network.trainable_variables)])
        restored = color.to_uint8(output[0].numpy())
        psnr, ssim = native.score(library, filters, run.weights, part, hazes)
        differences = {
            "loss": native.train(library, run, part, hazes, 1, BASE | one | {"loss": text}) - float(loss),
            "gradient": np.abs(run.first - gradient).max(),
            "psnr": psnr[0] - metrics.psnr(restored, color.to_uint8(clean), data_range=255),
            "ssim": ssim[0] - metrics.ssim(restored, color.to_uint8(clean), data_range=255),
        }
        apart = {name: max(value, abs(float(differences[name]))) for name, value in apart.items()}
    return apart


def perturbed(filters: int) -> keras.Model:
    """A network that is not the identity."""
    network, rng = model.build_aodnet(1, filters), np.random.default_rng(0)
    network.set_weights([w + rng.normal(0.0, 0.02, w.shape) for w in network.get_weights()])
    return network


if __name__ == "__main__":
    main()
