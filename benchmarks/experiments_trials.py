"""The trials of benchmarks/experiments.py, by name; docs/experiments.md says what came of each."""

from pathlib import Path
from typing import Any

# Everything that a trial may change.
BASE: dict[str, Any] = {
    "data": {"rooms": 1.0},
    "recipe": {"reside-its": 0.6, "reside-ots": 0.2, "outdoor-visibility": 0.2},
    "loss": "l1=1, ssim=0.3",
    "steps": 5000,  # of the learning rate's course
    "until": None,  # the step at which it is cut off, if before these
    "batch": 8,
    "crop": 128,
    "poses": 8,
    "learning_rate": 0.005,
    "final_share": 0.01,
    "warmup": 0.02,
    "weight_decay": 0.0,
    "clip_norm": 1.0,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "ema": 0.999,
    "turn_steps": 0,  # steps from one change of coordinates to the next; 0: plain AdamW
    "products_kept": 0.995,
    "seed": 0,
    "filters": 3,
    "start": None,
    "mean_of": None,  # two trials, of whose weights this is the mean; nothing is trained
}

BOTH = {"rooms": 0.75, "procedural": 0.25}

SMALL = {"data": BOTH, "steps": 3000, "crop": 64, "batch": 16}
TURNED = {"turn_steps": 250, "learning_rate": 0.003}
MORE_ITS = SMALL | TURNED | {
    "data": {"rooms": 0.85, "procedural": 0.15},
    "recipe": {"reside-its": 0.7, "reside-ots": 0.15, "outdoor-visibility": 0.15},
}  # fmt: skip
LONG = MORE_ITS | {
    "recipe": {"reside-its": 0.8, "reside-ots": 0.1, "outdoor-visibility": 0.1},
    "steps": 10000,
    "warmup": 0.04,
    "final_share": 1.0,
}
APART_DATA = {"rooms": 0.8, "procedural": 0.2}
MOSTLY_ITS = {"reside-its": 0.94, "reside-ots": 0.03, "outdoor-visibility": 0.03}
# By dataset: streets are haze outdoors above all.
APART = {
    "rooms": {"reside-its": 0.85, "reside-ots": 0.08, "outdoor-visibility": 0.07},
    "procedural": {"reside-its": 0.1, "reside-ots": 0.7, "outdoor-visibility": 0.2},
}
PROCEDURAL = {
    "data": {"procedural": 1.0},
    "recipe": {"reside-its": 0.5, "haze-aug-like": 0.1, "reside-ots": 0.25, "outdoor-visibility": 0.15},
}
# With light down to 0.5, for dim pictures, and a loss that follows PSNR.
DARKER = {
    "loss": "log-mse=0.1, ssim=0.5",
    "data": {"rooms": 0.84, "procedural": 0.16},
    "recipe": {
        "rooms": {"reside-its": 0.82, "haze-aug-like": 0.08, "reside-ots": 0.05, "outdoor-visibility": 0.05},
        "procedural": {"reside-its": 0.1, "reside-ots": 0.8, "outdoor-visibility": 0.1},
    },
}
# Streets of the validation split had got worse than with the authors' weights.
STREETS = {
    "data": {"rooms": 0.6, "procedural": 0.4},
    "recipe": {
        "rooms": {"reside-its": 0.8, "haze-aug-like": 0.06, "reside-ots": 0.09, "outdoor-visibility": 0.05},
        "procedural": {"reside-its": 0.02, "reside-ots": 0.86, "outdoor-visibility": 0.12},
    },
}
MORE_STREETS = {
    "data": {"rooms": 0.55, "procedural": 0.45},
    "recipe": {
        "rooms": {"reside-its": 0.9, "haze-aug-like": 0.04, "reside-ots": 0.04, "outdoor-visibility": 0.02},
        "procedural": {"reside-its": 0.02, "reside-ots": 0.93, "outdoor-visibility": 0.05},
    },
}
MORE_INDOORS = {
    "recipe": {"reside-its": 0.7, "haze-aug-like": 0.1, "reside-ots": 0.15, "outdoor-visibility": 0.05},
}
ITS_DIM = str(Path(__file__).with_name("its-dim.yaml"))
LONGER = {"batch": 8, "steps": 24000, "data": {"rooms": 0.65, "procedural": 0.35}}
MIXED = {
    "recipe": {
        "rooms": {"reside-its": 0.86, "haze-aug-like": 0.05, "reside-ots": 0.06, "outdoor-visibility": 0.03},
        "procedural": {"reside-its": 0.02, "reside-ots": 0.93, "outdoor-visibility": 0.05},
    },
}
# Pictures far darker than daylight haze had come out nearly black.
DIM = {
    "recipe": {
        "rooms": {"reside-its": 0.74, ITS_DIM: 0.15, "reside-ots": 0.07, "outdoor-visibility": 0.04},
        "procedural": {"reside-its": 0.02, ITS_DIM: 0.1, "reside-ots": 0.83, "outdoor-visibility": 0.05},
    },
}
ALONE = {
    "data": {"procedural": 1.0},
    "recipe": {
        "reside-its": 0.5, ITS_DIM: 0.08, "haze-aug-like": 0.07, "reside-ots": 0.25, "outdoor-visibility": 0.1,
    },
}  # fmt: skip
LATE = {"crop": 128, "warmup": 0.05, "final_share": 0.01, "steps": 5000}
TRIALS: dict[str, dict[str, Any]] = {
    "its-alone": {"recipe": {"reside-its": 1.0}},
    "l1-ssim": {},
    "log-mse-ssim": {"loss": "log-mse=0.1, ssim=0.3"},
    "rate-0.015": {"learning_rate": 0.015},
    "both": {"data": BOTH},
    "small-adam": SMALL,
    "small-turned": SMALL | TURNED,
    "turned-l1": MORE_ITS,
    "turned-log": MORE_ITS | {"loss": "log-mse=0.1, ssim=0.5"},
    "turned-l1-fast": MORE_ITS | {"learning_rate": 0.01},
    "rooms-1": LONG | {"start": "turned-l1"},
    "rooms-2": LONG | LATE | {"start": "rooms-1"},
    "rooms-3": LONG
    | LATE
    | {"start": "rooms-2", "recipe": APART, "data": APART_DATA, "batch": 8, "steps": 4000, "until": 3000},
    "rooms-4": LONG | LATE | DARKER | {"start": "rooms-3", "batch": 8, "steps": 3000},
    "rooms-5": LONG | LATE | DARKER | STREETS | {"start": "rooms-4", "batch": 8, "steps": 2500, "learning_rate": 0.002},
    "rooms-6": LONG | LATE | DARKER | MORE_STREETS | {"start": "rooms-5", "batch": 8, "steps": 4500},
    "rooms-7": LONG | LATE | DARKER | LONGER | MIXED | {"start": "rooms-6"},
    "rooms-8": LONG | LATE | DARKER | LONGER | DIM | {"start": "rooms-7", "steps": 18000},
    "rooms-9": {"mean_of": ("rooms-7", "rooms-8")},
    "procedural": LONG | PROCEDURAL | {"batch": 8, "steps": 2000, "warmup": 0.05, "final_share": 0.01},
    "procedural-2": LONG | LATE | PROCEDURAL | MORE_INDOORS | {"start": "procedural", "batch": 8, "steps": 3000},
    "procedural-3": LONG | LATE | DARKER | ALONE | {"start": "procedural", "batch": 8, "steps": 9000},
    **{f"width-{filters}": SMALL | {"filters": filters, "steps": 1500, "batch": 8} for filters in (3, 8, 16, 32)},
    **{f"seed{seed}": {"data": BOTH, "steps": 1200, "seed": seed} for seed in range(10)},
}
