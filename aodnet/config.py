"""The settings of a training run."""

from dataclasses import dataclass
from pathlib import Path

from aodnet.streaming import CacheOptions
from hazegen import stores
from hazegen.errors import UsageError


@dataclass(frozen=True)
class FitConfig:
    """How AOD-Net is trained.

    Attributes:
        epochs: How often each record is seen.
        batch: Pairs in a step.
        crop: Side of the random square windows that are trained on [px].
        loss: Terms and weights, as 'l2' or 'l1=0.8, ssim=0.2'.
        learning_rate: Highest learning rate of Adam.
        warmup: Share of all steps over which the learning rate rises from 0, in [0, 1).
        final_learning_rate: Share of the highest that the cosine ends at, in [0, 1].
        weight_decay: Decoupled weight decay, on kernels alone.
        clip_norm: Largest norm of all gradients together; larger ones are scaled down.
        seed: Decides the initial weights, the order, the windows and the turns.
        shuffle_mb: Memory for shuffling, which holds encoded records [MB].
        validation_crop: Side of the centre crop that is validated on [px] [default: whole frames].
        checkpoint_steps: Steps between two checkpoints inside an epoch; each epoch ends with one too.
        deterministic: Make every operation repeat to the bit on the same machine (slower on a GPU).
    """

    epochs: int = 10
    batch: int = 8
    crop: int = 128
    loss: str = "l2"
    learning_rate: float = 1e-3
    warmup: float = 0.02
    final_learning_rate: float = 0.01
    weight_decay: float = 1e-4
    clip_norm: float = 0.1
    seed: int = 0
    shuffle_mb: float = 256.0
    validation_crop: int | None = None
    checkpoint_steps: int = 500
    deterministic: bool = False

    def __post_init__(self) -> None:
        checks = (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch", self.batch >= 1, "at least 1"),
            ("learning_rate", 0.0 < self.learning_rate <= 3.4e38, "a number above 0 that 32 bits hold"),
            ("seed", 0 <= self.seed < 2**32, "0 to 4294967295"),
            ("warmup", 0.0 <= self.warmup < 1.0, "a share in [0, 1)"),
            ("final_learning_rate", 0.0 <= self.final_learning_rate <= 1.0, "a share in [0, 1]"),
            ("weight_decay", 0.0 <= self.weight_decay < 1.0, "a number in [0, 1)"),
            ("clip_norm", self.clip_norm > 0.0, "a number above 0"),
            ("shuffle_mb", 0.0 < self.shuffle_mb < 1e9, "a number above 0"),
            ("checkpoint_steps", self.checkpoint_steps >= 1, "at least 1"),
        )
        for name, sound, expected in checks:
            if not sound:
                raise UsageError(
                    f"{name} is out of range. Expected {expected}, received {getattr(self, name)}. "
                    f"Correct it in the config or pass --{name.replace('_', '-')}."
                )


@dataclass(frozen=True)
class FitPaths(CacheOptions):
    """Where a training run reads and writes.

    Attributes:
        data: Folder of a dataset that hazegen make has finished, also in a store as s3://bucket/dataset, or
            wandb:entity/project/name:alias, which is pulled into artifacts/ENTITY/PROJECT/NAME-VERSION.
        out: Run folder [default: runs/aodnet].
        resume: Go on with the run in the run folder, exactly where its newest checkpoint is.
    """

    data: Path
    out: Path = Path("runs/aodnet")
    resume: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        stores.on_disk(self.out, "--out")
