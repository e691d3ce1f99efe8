"""What an evaluation measures: the options, without the libraries that do the work."""

from collections.abc import Iterable
from dataclasses import dataclass

from hazegen.errors import UsageError

# Of protocols.py, which imports what measures them.
PROTOCOLS = ("rgb", "rgb-down", "rgb-same", "y", "wang-gray", "matlab-ipt", "skimage-default")
# Rows that every table has, and those that --ablation adds for each model.
HAZY, AFFINE, DARK_CHANNEL = "hazy input", "best global affine", "dark channel prior"
CUTS = MEANS, POINTWISE, BOTH = "x2..x4 as means", "conv5 as 1x1", "no surroundings"


@dataclass(frozen=True)
class Measures:
    """What is measured.

    Attributes:
        protocol: Definitions of PSNR and SSIM, with commas between them, or all: rgb, rgb-down, rgb-same, y, wang-gray,
            matlab-ipt, skimage-default. The first ranks images.
        without_reference: Measure also what needs no clean image: dark channel, saturation, new visible edges (e, r),
            clipping. Done unasked where there are no clean images.
        fade: Measure also FADE, the perceptual fog density; needs the extra 'metrics'.
        compare_to: Row that each other one is compared to: difference, 95 % interval, p.
        ablation: Add rows for each model without its view of the surroundings, and what that view gains it.
    """

    protocol: str = "rgb"
    without_reference: bool = False
    fade: bool = False
    compare_to: str | None = None
    ablation: bool = False

    def __post_init__(self) -> None:
        protocol_names(self.protocol)


def protocol_names(text: str) -> list[str]:
    """The protocols that a list such as 'rgb,y' names, in its order; 'all' are all of them.

    Raises:
        UsageError: Another name, none, or one twice.
    """
    names = list(PROTOCOLS) if text == "all" else [name.strip() for name in text.split(",")]
    if not set(names) <= set(PROTOCOLS) or len(set(names)) < len(names):
        raise UsageError(
            f"--protocol cannot be used. Expected all, or some of {', '.join(PROTOCOLS)}, each once, with commas "
            f"between them, received '{text}'. Correct it."
        )
    return names


def row_names(models: Iterable[str], measures: Measures, *, has_clean: bool) -> list[str]:
    """Every row of the table, in order."""
    baselines = [HAZY, AFFINE, DARK_CHANNEL] if has_clean else [HAZY, DARK_CHANNEL]
    cuts = CUTS if measures.ablation else ()
    return [*baselines, *(row for name in models for row in (name, *(cut_name(name, cut) for cut in cuts)))]


def cut_name(model: str, cut: str) -> str:
    """The row of a model without its surroundings."""
    return f"{model}, {cut}"


def check(measures: Measures, models: Iterable[str], *, has_clean: bool) -> None:
    """Raises UsageError for a choice that these models or pictures cannot have."""
    models = list(models)
    if measures.ablation and not has_clean:
        raise UsageError(
            "--ablation measures a gain in dB. Expected clean images beside it, received hazy ones alone. Leave it "
            "out, or pass --clean."
        )
    if taken := {HAZY, AFFINE, DARK_CHANNEL} & set(models):
        raise UsageError(f"A model has the name of a baseline. Expected another, received {sorted(taken)}. Rename it.")
    rows = row_names(models, measures, has_clean=has_clean)
    if measures.compare_to is not None and measures.compare_to not in rows:
        raise UsageError(
            f"--compare-to names no row. Expected one of {', '.join(rows)}, received '{measures.compare_to}'. Fix it."
        )
    if measures.fade:
        from aodnet.noreference import load_fade

        load_fade()
