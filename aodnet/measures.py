"""What an evaluation measures: the options, without the libraries that do the work."""

from dataclasses import dataclass


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
