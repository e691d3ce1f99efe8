"""From many numbers to the draw that they came from: a list of values, or a law and its ends."""

import math
from typing import Literal

import numpy as np

from hazegen.audit.fit import Array
from hazegen.recipe import Draw

Confidence = Literal["high", "low", "none"]

# Least number of values from which a law can be told.
ENOUGH = 8


def cluster(values: Array, near: float) -> list[float] | None:
    """The few values, in rising order, that nearly all numbers are close to; None where there are none such.

    By turns the place with the most numbers within `near`; a range that is filled evenly needs so many of
    these that they cover it.
    """
    rest, centres, explained = np.sort(values), [], 0
    least = max(2, math.ceil(0.02 * values.size))
    while rest.size:
        counts = np.searchsorted(rest, rest + near, "right") - np.searchsorted(rest, rest - near, "left")
        if counts.max() < min(least, values.size):
            break
        # The median of the fullest window, then what is near to that.
        peak = rest[int(np.argmax(counts))]
        centre = float(np.median(rest[np.abs(rest - peak) <= near]))
        members = np.abs(rest - centre) <= near
        centres.append(centre)
        explained += int(members.sum())
        rest = rest[~members]
    share = explained / values.size
    if len(centres) == 1 and share >= 0.85:
        return centres
    covered = 2.0 * near * len(centres) / (float(np.ptp(values)) + 2.0 * near)
    return sorted(centres) if share >= 0.85 and share - covered >= 0.35 else None


def find_draw(values: Array, name: str, near: float, *, log: bool) -> tuple[Draw, Confidence, str]:
    """Values that occur again and again, else the range and the law that explains them better."""
    scaled = np.log(values) if log else values
    centres = cluster(scaled, near)
    if centres is not None:
        numbers = [math.exp(centre) if log else centre for centre in centres]
        rounded = tuple(_rounded(number, near / 2.0 * (number if log else 1.0)) for number in numbers)
        draw = Draw("values", tuple(dict.fromkeys(rounded)))
        found = ", ".join(f"{number:.4g}" for number in numbers)
        sure: Confidence = "high" if values.size >= 3 * len(centres) else "low"
        others = int((np.abs(scaled[:, None] - centres).min(axis=1) > near).sum())
        text = f"{name} takes {len(centres)} values in {values.size} pairs: {found}; {others} lie elsewhere."
        return draw, sure, text
    # A draw of n numbers ends about a n-th of its range before the ends of its law.
    margin = float(np.ptp(values)) / values.size
    low, high = _rounded(float(values.min()), 2.0 * margin, -1), _rounded(float(values.max()), 2.0 * margin, 1)
    law = _law(values)
    text = f"{name} lies between {values.min():.4g} and {values.max():.4g} in {values.size} pairs"
    if values.size < ENOUGH:
        return Draw(law, (low, high)), "none", f"{text}: too few to tell values from a law."
    return Draw(law, (low, high)), "low", f"{text}, spread as {law}."


def _law(values: Array) -> Literal["uniform", "log-uniform"]:
    """The law that makes the numbers clearly more likely: the log-uniform density is 1 / (x ln(high / low))."""
    low, high = float(values.min()), float(values.max())
    if low <= 0:
        return "uniform"
    gain = values.size * (math.log(high - low) - math.log(math.log(high / low))) - float(np.log(values).sum())
    return "log-uniform" if gain > 3.0 else "uniform"  # 20 times as likely: the uniform law is the usual one


def _rounded(value: float, tolerance: float, side: int = 0) -> float:
    """The number with the fewest digits within `tolerance` of `value`: below it, around it or above it (-1, 0, 1)."""
    unit = 10.0 ** math.floor(math.log10(abs(value)) + 1.0) if value else 1.0
    for step in (unit / 2.0, unit / 10.0, unit / 20.0, unit / 100.0, unit / 200.0, unit / 1000.0):
        count = math.floor(value / step) if side < 0 else math.ceil(value / step) if side > 0 else round(value / step)
        near = float(f"{count * step:.12g}")
        if abs(near - value) <= tolerance and near > 0:
            return near
    return value if side else float(f"{value:.4g}")
