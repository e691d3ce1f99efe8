"""The optimizer of a training run: Adam or AdamW, warm-up and cosine, a moving average of the weights."""

import keras

from aodnet.config import FitConfig


def build_optimizer(config: FitConfig, steps: int) -> keras.optimizers.Optimizer:
    """Adam or AdamW with the learning rate's course over the whole run.

    The rate rises from 0 to the highest over `warmup` of all steps and falls to `final_learning_rate` of it along
    a cosine. AdamW's weight decay acts on kernels alone, and Adam has none. With `ema` above 0 it keeps a moving
    average of the weights beside them, which the trainer puts in their place where they are looked at.

    Args:
        steps: Updates in the run.
    """
    options = {
        "name": config.optimizer,  # automatic names count up within a process, and checkpoints hold names
        "learning_rate": _schedule(config, steps),
        "global_clipnorm": config.clip_norm,
        "use_ema": config.ema > 0.0,
        "ema_momentum": config.ema,
    }
    if config.optimizer == "adam":
        return keras.optimizers.Adam(**options)
    optimizer = keras.optimizers.AdamW(weight_decay=config.weight_decay, **options)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def _schedule(config: FitConfig, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    warmup = round(config.warmup * steps)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else config.learning_rate,
        decay_steps=max(1, steps - warmup),
        alpha=config.final_learning_rate,
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
