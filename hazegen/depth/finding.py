"""What the depth doctor has to say: one finding, and its severity."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["impossible", "unlikely", "note"]
SEVERITIES: tuple[Severity, ...] = ("impossible", "unlikely", "note")


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or may be.

    Attributes:
        code: One word for it.
        severity: impossible: no such depth exists; unlikely: look before you go on; note: to be known.
        reason: What is wrong, what was expected, what was received, what to do.
        number: The share or statistic that the reason speaks of.
    """

    code: str
    severity: Severity
    reason: str
    number: float
