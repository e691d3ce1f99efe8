"""What an audit finds out about one pair."""

import math
from dataclasses import dataclass, field
from typing import Literal

from hazegen.audit.fit import ColorSpace, Fit
from hazegen.audit.pairing import PairRef

PathKind = Literal["plane", "ray"]
Convention = tuple[PathKind, ColorSpace]


@dataclass(frozen=True)
class PairAudit:
    """What was found out about one pair.

    Attributes:
        ref: Its files.
        code: Empty where all is well, else one word: unreadable, size, resized, constant, mirrored, shifted,
            mismatch, depth, depth-mirrored, unexplained, uncertain.
        reason: The same in a sentence.
        similarity: Correlation of the fine structure of both pictures, at most 1; NaN where not compared.
        size: Width and height of the hazy picture [px].
        offset: Where it begins in the clean one [px], not (0, 0) where that was cropped around its centre.
        hazy_quality, clean_quality: JPEG quality, None for other formats.
        blockiness: Of the hazy picture: steps at the borders of 8 x 8 blocks over those inside, less 1.
        patches: Fit without distances, for each colour space.
        fits: Fit with distances, for each convention tried.
        largest_m: Largest finite distance of the whole map [m], for each way to measure it.
        partner: Clean picture that fits better, where this one is of another scene.
    """

    ref: PairRef
    code: str = ""
    reason: str = ""
    similarity: float = math.nan
    size: tuple[int, int] = (0, 0)
    offset: tuple[int, int] = (0, 0)
    hazy_quality: int | None = None
    clean_quality: int | None = None
    blockiness: float = math.nan
    patches: dict[ColorSpace, Fit] = field(default_factory=dict)
    fits: dict[Convention, Fit] = field(default_factory=dict)
    largest_m: dict[PathKind, float] = field(default_factory=dict)
    partner: str | None = None
