"""The settings of a training run."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from aodnet.streaming import CacheOptions
from hazegen import stores
from hazegen.errors import UsageError

Precision = Literal["float32", "mixed_float16", "mixed_bfloat16"]
# Of losses.TERMS, which are functions of TensorFlow's.
LOSS_TERMS = ("l2", "log-mse", "l1", "charbonnier", "ssim", "ms-ssim")


@dataclass(frozen=True)
class FitConfig:
    """How AOD-Net is trained.

    Attributes:
        epochs: How often the data is gone through.
        steps: Steps in an epoch [default: as many as it takes to see each record once].
        batch: Examples in a step, those of all devices together.
        crop: Side of the random square windows that are trained on [px].
        recipe: Haze that is drawn while training, on a dataset of scenes: a recipe's name or file, or several with
            weights as 'reside-its=0.6, outdoor-visibility=0.4' [default: each dataset's own].
        filters: Filters of each layer but the last; 3 is the paper's network.
        loss: Terms and weights, as 'l2' or 'l1=0.8, ssim=0.2'; log-mse, the logarithm of l2, follows PSNR.
        optimizer: adamw takes weight_decay off the kernels, adam does not.
        learning_rate: Highest learning rate of Adam.
        warmup: Share of all steps over which the learning rate rises from 0, in [0, 1).
        final_learning_rate: Share of the highest that the cosine ends at, in [0, 1].
        weight_decay: Decoupled weight decay of adamw, on kernels alone.
        clip_norm: Largest norm of all gradients together; larger ones are scaled down.
        ema: Share that the running average of the weights keeps at each step, as 0.999; validation and the weights
            that are written are then the average's. 0: no average.
        precision: What the layers compute in; weights, loss and output are float32 always. mixed_float16 and
            mixed_bfloat16 are for GPUs.
        seed: Decides the initial weights, the order, the windows, the turns and the haze.
        shuffle_mb: Memory for shuffling, which holds encoded records [MB].
        validation_crop: Side of the centre crop that is validated on [px] [default: whole frames].
        checkpoint_steps: Steps between two checkpoints inside an epoch; each epoch ends with one too.
        on_nan: What follows a number that is not finite: stop, or rollback to the newest checkpoint and on without
            that batch, three times at most.
        deterministic: Make every operation repeat to the bit on the same machine (slower on a GPU).
    """

    epochs: int = 10
    steps: int | None = None
    batch: int = 8
    crop: int = 128
    recipe: str | None = None
    filters: int = 3
    loss: str = "l2"
    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = 1e-3
    warmup: float = 0.02
    final_learning_rate: float = 0.01
    weight_decay: float = 1e-4
    clip_norm: float = 0.1
    ema: float = 0.0
    precision: Precision = "float32"
    seed: int = 0
    shuffle_mb: float = 256.0
    validation_crop: int | None = None
    checkpoint_steps: int = 500
    on_nan: Literal["stop", "rollback"] = "stop"
    deterministic: bool = False

    def __post_init__(self) -> None:
        checks = (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("steps", self.steps is None or self.steps >= 1, "at least 1"),
            ("batch", self.batch >= 1, "at least 1"),
            ("filters", 1 <= self.filters <= 256, "1 to 256"),
            ("optimizer", self.optimizer in ("adamw", "adam"), "adamw or adam"),
            ("learning_rate", 0.0 < self.learning_rate <= 3.4e38, "a number above 0 that 32 bits hold"),
            ("seed", 0 <= self.seed < 2**32, "0 to 4294967295"),
            ("warmup", 0.0 <= self.warmup < 1.0, "a share in [0, 1)"),
            ("final_learning_rate", 0.0 <= self.final_learning_rate <= 1.0, "a share in [0, 1]"),
            ("weight_decay", 0.0 <= self.weight_decay < 1.0, "a number in [0, 1)"),
            ("clip_norm", self.clip_norm > 0.0, "a number above 0"),
            ("ema", 0.0 <= self.ema < 1.0, "a share in [0, 1)"),
            (
                "precision",
                self.precision in ("float32", "mixed_float16", "mixed_bfloat16"),
                "float32, mixed_float16 or mixed_bfloat16",
            ),
            ("shuffle_mb", 0.0 < self.shuffle_mb < 1e9, "a number above 0"),
            ("checkpoint_steps", self.checkpoint_steps >= 1, "at least 1"),
            ("on_nan", self.on_nan in ("stop", "rollback"), "stop or rollback"),
        )
        for name, sound, expected in checks:
            if not sound:
                raise UsageError(
                    f"{name} is out of range. Expected {expected}, received {getattr(self, name)}. "
                    f"Correct it in the config or pass --{name.replace('_', '-')}."
                )
        parse_loss(self.loss)


@dataclass(frozen=True)
class DataOptions(CacheOptions):
    """What is trained on.

    Attributes:
        data: Folders of datasets that hazegen make has finished, one or several of one kind, also in a store as
            s3://bucket/dataset, or wandb:entity/project/name:alias, which is pulled into
            artifacts/ENTITY/PROJECT/NAME-VERSION.
        weights: Shares of the datasets in each epoch, as 0.7,0.3, one for each of --data [default: every record
            once].
        on_damage: What follows a damaged record: fail with its name, or skip it and count what is lost.
    """

    data: tuple[Path, ...]
    weights: tuple[float, ...] | None = field(default=None, kw_only=True)
    on_damage: Literal["fail", "skip"] = field(default="fail", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.on_damage not in ("fail", "skip"):
            raise UsageError(
                f"--on-damage cannot be used. Expected fail or skip, received {self.on_damage}. Correct it."
            )
        if self.weights is None:
            return
        if len(self.weights) != len(self.data) or not all(0.0 < weight < math.inf for weight in self.weights):
            raise UsageError(
                f"--weights cannot be used. Expected {len(self.data)} numbers above 0 with commas between them, one "
                f"for each dataset of --data, received {', '.join(map(str, self.weights))}. Correct --weights."
            )


@dataclass(frozen=True)
class FitPaths(DataOptions):
    """Where a training run reads and writes.

    Attributes:
        out: Run folder [default: runs/aodnet].
        resume: Go on with the run in the run folder, exactly where its newest checkpoint is.
    """

    out: Path = Path("runs/aodnet")
    resume: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        stores.on_disk(self.out, "--out")


def parse_loss(text: str) -> dict[str, float]:
    """Weights of the terms from text as 'l2' or 'l1=0.8, ssim=0.2'.

    Raises:
        UsageError: An unknown term, a weight that is not above 0, or the same term twice.
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        try:
            value = float(weight or 1.0)
        except ValueError:
            value = 0.0
        if name.strip() not in LOSS_TERMS or not 0.0 < value < math.inf or name.strip() in weights:
            raise UsageError(
                f"The loss cannot be read. Expected terms among {', '.join(LOSS_TERMS)} with weights above 0, as "
                f"'l1=0.8, ssim=0.2', received '{text}'. Correct --loss."
            )
        weights[name.strip()] = value
    return weights
