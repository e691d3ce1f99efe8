"""How the figures of metrics are written: titles, digits, signs."""

from aodnet.significance import Difference

_TITLES = {
    "psnr": "PSNR [dB]",
    "ssim": "SSIM",
    "ciede2000": "CIEDE2000",
    "dark_channel": "dark channel",
    "fade": "FADE",
    "e": "e (new edges)",
    "r": "r (gradients)",
}
# Scenes below which a bootstrap over them is too sure: resamples cannot show what no scene has.
ENOUGH = 10
_DIGITS = {"ssim": 4, "dark_channel": 4, "saturation": 4, "e": 3, "r": 3, "clipped": 4, "fade": 3}


def kind(metric: str) -> tuple[str, str]:
    """A metric's own name, and the protocol in it."""
    name, separator, protocol = metric.partition("_")
    return (name, protocol) if separator and name in ("psnr", "ssim") else (metric, "")


def title(metric: str) -> str:
    """A metric as the head of a column, without its protocol."""
    name = kind(metric)[0]
    return _TITLES.get(name, name)


def heading(metric: str) -> str:
    """With the protocol."""
    return f"{title(metric)} {kind(metric)[1]}".strip()


def _digits(metric: str) -> int:
    return _DIGITS.get(kind(metric)[0], 2)


def fixed(value: float, metric: str, sign: str = "-") -> str:
    """A figure with the digits of its metric; what rounds to 0 has no sign."""
    text = f"{value:{sign}.{_digits(metric)}f}"
    return text if float(text) else text.lstrip("+-")


def signed(one: Difference, metric: str) -> str:
    """A difference with its interval and p."""
    difference, low, high = (fixed(value, metric, "+") for value in (one.difference, one.low, one.high))
    return f"{difference}, {low} to {high}, p {'<= ' if one.p <= 0.001 else ''}{one.p:.3f}"
