"""The depth doctor's findings: what is wrong, or may be, with depth maps as they were read."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from hazegen.depth import pooled
from hazegen.depth.alignment import is_resized, same_proportions
from hazegen.depth.finding import SEVERITIES, Finding, Severity
from hazegen.depth.formats import ZERO_IS_A_VALUE
from hazegen.depth.measures import Measured, Sample, measure
from hazegen.depth.readers import SMALLEST_REACH_M

# Medians of whole folders [m]: rooms and streets have 1 to 40 m, close-ups 0.4 m.
PLAUSIBLE_M, POSSIBLE_M = (0.3, 80.0), (0.02, 2000.0)
ORDINARY_M = 3.0
# Upright cameras whose median is beyond this see near things too: KITTI's depths reach over a factor of 6. Rooms
# have 2 to 5.
DISTANT_M, REACH_OF_ROOMS, CLEAR_RISE = 15.0, 4.5, 0.15
# 16 m in millimetres have 62 levels in their upper byte; maps made for 8 bits use nearly all 256.
LEVELS_OF_AN_UPPER_BYTE = 64
# Share of neighbours whose numbers have run over. No real set has 0.0001; lower bytes have 0.001 to 0.06.
LARGEST_WRAPS = 0.0005
# Upper bytes that change alone, against lower ones: 0.03 at most, above 30 with bytes swapped.
SWAPPED = 1.0
MOST_ZEROS, MOST_AT_THE_TOP = 0.01, 0.03
SMALLEST_SPREAD = 0.01
FEW_DISTINCT = 256
MOST_HOLES, MANY_HOLES = 0.5, 0.05

_TO_16_BITS = "Export them with 16 bits, and read them unchanged (cv2.IMREAD_UNCHANGED)."


def judge(samples: Iterable[Sample]) -> list[Finding]:
    """Everything found in a sample of scenes, the worst first; scenes are measured one by one."""
    return judge_measured([measure(sample) for sample in samples])


def judge_measured(files: Sequence[Measured]) -> list[Finding]:
    """What the statistics of several files say together, the worst first."""
    found = [finding for check in CHECKS for finding in check(files)] if files else []
    if {"unit", "inverted"} <= {finding.code for finding in found}:
        # Each alone may be an odd set of photos; both together are another kind of values.
        found = [_certain(finding) if finding.code in ("unit", "inverted") else finding for finding in found]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def _certain(finding: Finding) -> Finding:
    return dataclasses.replace(finding, severity="impossible")


def _by_files(
    code: str, files: Sequence[Measured], bad: Sequence[Measured], reason: str, worst: Severity = "impossible"
) -> list[Finding]:
    """A finding of single files: the worst it can be where most have it, unlikely where some have."""
    if not bad:
        return []
    share = len(bad) / len(files)
    names = ", ".join(f"'{file.key}'" for file in bad[:3]) + (", ..." if len(bad) > 3 else "")
    text = f"{len(bad)} of {len(files)} maps {reason} They are {names}."
    return [Finding(code, worst if share > 0.5 else "unlikely", text, share)]


def _unreadable(files: Sequence[Measured]) -> list[Finding]:
    bad = [file for file in files if file.problem and not file.is_color and not _is_cut(file)]
    return _by_files("unreadable", files, bad, f"cannot be used. {bad[0].problem}") if bad else []


def _has_bytes(file: Measured) -> bool:
    return file.dtype == "uint8" and file.distinct > 0 and not file.is_color


def _is_cut(file: Measured) -> bool:
    """Whether 8 bits stand where the unit needs 16."""
    lengths = file.fmt.values in ("plane", "ray") and file.fmt.unit is not None
    return _has_bytes(file) and lengths and 255.0 * (file.fmt.unit or 1.0) < SMALLEST_REACH_M


def _eight_bits(files: Sequence[Measured]) -> list[Finding]:
    """16-bit maps that some tool has read, or written, with 8 bits."""
    bytes_ = [file for file in files if _has_bytes(file)]
    if not bytes_:
        return []
    if cut := [file for file in bytes_ if _is_cut(file)]:
        unit = cut[0].fmt.unit or 1.0
        received = f"Expected 16 bits at {unit:g} m per unit, received 8 bits, which reach {255.0 * unit:.3g} m."
        return _by_files("8-bit", files, cut, f"were cut to 8 bits. {received} {_TO_16_BITS}")
    jumps = float(np.mean([file.wraps for file in bytes_]))
    if jumps > LARGEST_WRAPS:
        received = (
            f"Expected smooth surfaces, received {jumps:.1%} of neighbours that jump by nearly 256, as a saw does."
        )
        return _by_files("8-bit", files, bytes_, f"are the lower bytes of 16-bit maps. {received} {_TO_16_BITS}")
    return _few_levels([file for file in bytes_ if file.fmt.values in ("plane", "ray") and math.isfinite(file.raw[2])])


def _few_levels(files: Sequence[Measured]) -> list[Finding]:
    used = max((file.raw[2] for file in files), default=math.inf)
    if used >= LEVELS_OF_AN_UPPER_BYTE:
        return []
    reason = (
        "The 8-bit maps use few of their levels. Expected a largest number near 255, received "
        f"{used:g}: they may be the upper bytes of 16-bit maps. {_TO_16_BITS}"
    )
    return [Finding("8-bit", "unlikely", reason, used)]


def _false_color(files: Sequence[Measured]) -> list[Finding]:
    bad = [file for file in files if file.is_color]
    reason = (
        "are coloured pictures. Expected one channel of numbers, received several that differ: false colours have lost "
        "the depth. Export the raw values."
    )
    return _by_files("false-color", files, bad, reason)


def _wrapped(files: Sequence[Measured]) -> list[Finding]:
    bad = [file for file in files if file.dtype == "uint16" and file.wraps > LARGEST_WRAPS and file.swapped <= SWAPPED]
    share = max((file.wraps for file in bad), default=0.0)
    reason = (
        f"have run over 65535. Expected smooth surfaces, received up to {share:.1%} of neighbours that jump by nearly "
        "65536 (SUN RGB-D: rotated bits). Export them in a coarser unit, or name their convention by --depth-kind."
    )
    return _by_files("wrapped", files, bad, reason)


def _byte_order(files: Sequence[Measured]) -> list[Finding]:
    bad = [file for file in files if file.swapped > SWAPPED]
    reason = (
        "have their bytes in the other order. Expected smooth surfaces, received upper bytes that change where lower "
        "ones do not. Swap the bytes of each number and save the maps again."
    )
    return _by_files("byte-order", files, bad, reason)


def _constant(files: Sequence[Measured]) -> list[Finding]:
    bad = [file for file in files if not file.is_color and file.distinct and file.spread < SMALLEST_SPREAD]
    reason = (
        f"are constant. Expected near and far, received numbers that differ by less than {SMALLEST_SPREAD:.0%}. "
        "Check that these are depth maps, and which numbers mark holes and sky."
    )
    return _by_files("constant", files, bad, reason)


def _sizes(files: Sequence[Measured]) -> list[Finding]:
    """Maps of another size, of other proportions, or with their sides exchanged."""
    other = [file for file in files if file.shape[:2] not in ((0, 0), file.image_shape)]
    lying = [file for file in other if not is_resized(file.image_shape, file.shape[:2])]
    exchanged = [file for file in lying if same_proportions(file.image_shape, file.shape[1::-1])]
    if not other:
        return []
    first = (exchanged or lying or other)[0]
    sizes = f"Expected the images' size, as {first.image_shape}, received {first.shape[:2]} (height, width)."
    if exchanged:
        reason = f"have height and width exchanged. {sizes} {_best_turn(exchanged)}"
        return _by_files("transposed", files, exchanged, reason)
    share = len(other) / len(files)
    if lying:
        text = f"{len(lying)} of {len(files)} maps have other proportions than their images. {sizes} Crop both alike."
        return [Finding("size", "unlikely", text, share)]
    text = f"{len(other)} of {len(files)} maps are of another size. {sizes} Pass --fit-depth to resize them."
    return [Finding("size", "note", text, share)]


def _best_turn(files: Sequence[Measured]) -> str:
    """In which way the maps of exchanged sides fit their images best."""
    scores = Counter[str]()
    for file in files:
        scores.update(file.alignment.scores if file.alignment else {})
    best = scores.most_common(1)[0][0] if scores else "transposed"
    return (
        f"They fit the images best {best}: exchange rows and columns (MATLAB's files hold columns first), or turn them "
        "as the images' EXIF orientation says."
    )


def _unit(files: Sequence[Measured]) -> list[Finding]:
    """A median that no camera sees, or a room that would be as large as a street."""
    metric = [file for file in files if math.isfinite(file.metres[1]) and file.is_metric]
    if not metric:
        return []
    median = float(np.median([file.metres[1] for file in metric]))
    inside = PLAUSIBLE_M[0] <= median <= PLAUSIBLE_M[1]
    if inside and not _is_inflated_room(metric, median):
        return []
    expected = f"a median of {PLAUSIBLE_M[0]:g} to {PLAUSIBLE_M[1]:g} m, received {median:.3g} m: off by about"
    if inside:
        reach = float(np.median([file.reach for file in metric]))
        expected = (
            f"near things too where the median is {median:.3g} m, as an upright camera sees them, received depths that "
            f"reach over a factor of {reach:.2g}, as in a room (streets: {REACH_OF_ROOMS:g} and more): too far by about"
        )
    reason = (
        f"The unit of the maps may be wrong. Expected {expected} {_factor(median)}. Correct --depth-scale or "
        "--depth-kind."
    )
    possible = POSSIBLE_M[0] <= median <= POSSIBLE_M[1]
    return [Finding("unit", "unlikely" if possible else "impossible", reason, median)]


def _is_inflated_room(files: Sequence[Measured], median_m: float) -> bool:
    """Whether everything is far, though the camera stands upright and depths reach no farther than in a room."""
    reach = float(np.median([file.reach for file in files]))
    rise = float(np.mean([file.rise for file in files]))
    return len(files) >= pooled.FEWEST_FILES and median_m > DISTANT_M and reach < REACH_OF_ROOMS and rise > CLEAR_RISE


def _factor(median_m: float) -> str:
    """The usual mistake (10, 256, 1000, ...) that brings the median nearest to an ordinary one."""
    ratio = max(median_m / ORDINARY_M, ORDINARY_M / max(median_m, 1e-30))
    return f"{min((10, 100, 256, 1000, 5000, 65535), key=lambda factor: abs(math.log(ratio / factor)))}"


def _zero_holes(files: Sequence[Measured]) -> list[Finding]:
    """Zeros that mean no measurement while nobody says so."""
    asked = [file for file in files if 0.0 not in file.fmt.not_measured and file.fmt.no_surface != 0.0]
    # Of disparity and inverse depth 0 is infinitely far, which is no floor.
    bad = [
        file
        for file in asked
        if file.zeros > MOST_ZEROS
        and file.fmt.values not in ZERO_IS_A_VALUE
        and (file.fmt.values in ("plane", "ray") or file.low_zeros > 0.5)
    ]
    share = float(np.mean([file.zeros for file in bad])) if bad else 0.0
    reason = (
        f"hold zeros that no option declares. Expected depths above 0, received {share:.1%} of pixels at exactly 0, "
        "which are holes, not surfaces. Pass --not-measured 0."
    )
    return _by_files("zero-holes", files, bad, reason, "unlikely")  # the readers take 0 m for a hole anyway


def _far_value(files: Sequence[Measured]) -> list[Finding]:
    """One largest number for many pixels: a far plane, or what a tool writes for sky or holes."""
    bad = [file for file in files if file.top > MOST_AT_THE_TOP and file.spread >= SMALLEST_SPREAD]
    tops = Counter(file.raw[2] for file in bad)
    if not bad or len(bad) * 3 < len(files) or tops.most_common(1)[0][1] * 2 < len(bad):
        return []
    value, share = tops.most_common(1)[0][0], float(np.mean([file.top for file in bad]))
    reason = (
        f"Many pixels have the same largest number. Expected few, received {share:.1%} at {value:g} in {len(bad)} of "
        f"{len(files)} maps. Pass --no-surface {value:g} if it is the sky, --not-measured {value:g} if it marks holes."
    )
    return [Finding("far-value", "note", reason, share)]


def _holes(files: Sequence[Measured]) -> list[Finding]:
    shares = [file.holes for file in files if math.isfinite(file.holes)]
    if not shares or max(shares) <= MANY_HOLES:
        return []
    many = sum(share > MOST_HOLES for share in shares)
    reason = (
        f"The maps have holes. Expected a depth for nearly every pixel, received {np.mean(shares):.1%} without one "
        f"(at most {max(shares):.1%}; more than {MOST_HOLES:.0%} in {many} of {len(shares)}). They are filled, up to "
        "--recipe.max-holes; look at the contact sheet."
    )
    return [Finding("holes", "unlikely" if many else "note", reason, float(np.mean(shares)))]


def _sky(files: Sequence[Measured]) -> list[Finding]:
    shares = [file.sky for file in files if math.isfinite(file.sky)]
    if not shares or max(shares) == 0.0:
        return []
    reason = (
        f"The maps show sky. Expected to be known, received {np.mean(shares):.1%} of pixels without a surface (at most "
        f"{max(shares):.1%}). --recipe.sky says what becomes of them."
    )
    return [Finding("sky", "note", reason, float(np.mean(shares)))]


def _coarse(files: Sequence[Measured]) -> list[Finding]:
    """Few different numbers in a type that could hold many."""
    bad = [file for file in files if 2 < file.distinct <= FEW_DISTINCT and file.dtype != "uint8" and not file.is_color]
    if len(bad) * 2 <= len(files):
        return []
    most = max(file.distinct for file in bad)
    reason = (
        f"{len(bad)} of {len(files)} maps are coarse. Expected thousands of different numbers in {bad[0].dtype}, "
        f"received at most {most}: they were made from 8 bits, or by a sensor with few levels. Fog may show steps."
    )
    return [Finding("coarse", "note", reason, float(most))]


CHECKS = (
    (_unreadable, _eight_bits, _false_color, _wrapped, _byte_order, _constant, _sizes)
    + (pooled.turned, pooled.shifted, pooled.inverted)
    + (_unit, _zero_holes, _far_value, _holes, _sky, _coarse, pooled.few)
)
