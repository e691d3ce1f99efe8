"""From the fits of all pairs to the recipe that made them: convention, unit, values or law of beta and A."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hazegen.audit import names as audit_names
from hazegen.audit.fit import Array, ColorSpace, Fit, why_uncertain
from hazegen.audit.result import Convention, PairAudit, PathKind
from hazegen.audit.values import Confidence, cluster, find_draw
from hazegen.recipe import Draw

# Half the width of a cluster of equal values: of beta as a share, of A as it is. Errors of both are below these
# in nine of ten released AOD-Net pairs.
BETA_NEAR, LIGHT_NEAR = 0.04, 0.008
# Codes of pairs whose pictures lie on each other: without distances these still tell A.
WITHOUT_DISTANCES = ("", "depth", "depth-mirrored", "unexplained", "uncertain")


@dataclass(frozen=True)
class Summary:
    """The recipe that made a set, as far as its pairs tell.

    Attributes:
        codes: Number of pairs of each code; '' is a pair without a fault.
        used: Number of pairs that the recipe was read from.
        convention: Path and colour space of the fits that the recipe was read from; without distances the
            path says nothing. None where no pair tells anything.
        fields: The fields of hazegen.recipe.Recipe that could be told.
        confidence: How sure each of them is.
        evidence: The figures behind it, one sentence each.
        rmse: Median residual of the pairs used, sRGB-coded in [0, 1].
    """

    codes: dict[str, int]
    used: int = 0
    convention: Convention | None = None
    fields: dict[str, object] = field(default_factory=dict)
    confidence: dict[str, Confidence] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    rmse: float = math.nan


class _Findings:
    """Fields, their confidence and the sentences behind them, as they are found one after the other."""

    def __init__(self) -> None:
        self.fields: dict[str, object] = {}
        self.confidence: dict[str, Confidence] = {}
        self.evidence: list[str] = []

    def add(self, name: str, value: object, confidence: Confidence, evidence: str) -> None:
        self.fields[name] = value
        self.confidence[name] = confidence
        self.evidence.append(evidence)


def summarise(pairs: Sequence[PairAudit]) -> Summary:
    """What the pairs without a fault have in common."""
    codes, found = dict(Counter(pair.code for pair in pairs)), _Findings()
    convention, told = _told(pairs, found)
    if convention is None or not told:
        return Summary(codes, evidence=("No pair tells anything of the recipe.",))
    chosen, fits = [pair for pair, _ in told], [fit for _, fit in told]
    quantities = {"A": np.array([float(np.mean(fit.atmospheric_light)) for fit in fits])}
    if all(fit.beta is not None for fit in fits):
        _extinction(chosen, fits, convention[0], found)
        _light(fits, found)
        _sweep(chosen, fits, convention[0], found)
        quantities["beta"] = np.array(_betas(chosen, fits, convention[0], found))
    else:
        found.evidence.append("No distances explain the pairs: A and space can be told, beta, path and unit cannot.")
        _light(fits, found)
    found.evidence += audit_names.read_names(chosen, quantities) + audit_names.read_files(chosen)
    rmse = float(np.median([fit.rmse for fit in fits]))
    return Summary(codes, len(told), convention, found.fields, found.confidence, tuple(found.evidence), rmse)


def _told(pairs: Sequence[PairAudit], found: _Findings) -> tuple[Convention | None, list[tuple[PairAudit, Fit]]]:
    """The convention of the set, and the pairs that tell something with their fits under it.

    Where no pair has distances that explain it, the fits of patches do.
    """
    sound = [pair for pair in pairs if not pair.code and pair.fits]
    if sound:
        convention = _convention(sound, found)
        fits = [(pair, pair.fits[convention]) for pair in sound if convention in pair.fits]
        return convention, [(pair, fit) for pair, fit in fits if not why_uncertain(fit)]
    matching = [pair for pair in pairs if pair.code in WITHOUT_DISTANCES and pair.patches]
    if not matching:
        return None, []
    space = _space({other: _rmse(matching, other) for other in ("srgb", "linear")}, found)
    fits = [(pair, pair.patches[space]) for pair in matching if space in pair.patches]
    return ("plane", space), [(pair, fit) for pair, fit in fits if not why_uncertain(fit)]


def _rmse(pairs: Sequence[PairAudit], space: ColorSpace) -> float:
    residuals = [pair.patches[space].rmse for pair in pairs if space in pair.patches]
    return float(np.median(residuals)) if residuals else math.inf


def _convention(pairs: Sequence[PairAudit], found: _Findings) -> Convention:
    """The path and the colour space whose residuals are the least over all pairs."""
    tried = sorted({convention for pair in pairs for convention in pair.fits})
    medians = {key: float(np.median([p.fits[key].rmse for p in pairs if key in p.fits])) for key in tried}
    path, space = min(tried, key=lambda key: medians[key])
    _space({other: medians[path, other] for other in ("srgb", "linear") if (path, other) in medians}, found)
    others = [medians[other, space] for other in ("plane", "ray") if other != path and (other, space) in medians]
    if others:
        sure = _sure(others[0] / max(medians[path, space], 1e-9))
        text = f"Path {path}: residual {medians[path, space]:.4f}, the other way {others[0]:.4f}."
        found.add("path", path, sure, text)
    else:
        text = f"Path {path}: as the depth maps have it; without a field of view the other cannot be tried."
        found.add("path", path, "none", text)
    return path, space


def _space(medians: dict[ColorSpace, float], found: _Findings) -> ColorSpace:
    best = min(medians, key=lambda space: medians[space])
    other = max(medians.values())
    text = ", ".join(f"{space} {rmse:.4f}" for space, rmse in medians.items())
    found.add("color_space", best, _sure(other / max(medians[best], 1e-9)), f"Colour space {best}: residuals {text}.")
    return best


def _sure(ratio: float) -> Confidence:
    """How sure a choice is whose rival leaves `ratio` times its residual."""
    return "high" if ratio > 1.3 else "low" if ratio > 1.05 else "none"


# --- beta ---


def _extinction(pairs: list[PairAudit], fits: list[Fit], path: PathKind, found: _Findings) -> None:
    """Unit, and values or law, of beta."""
    per_metre = np.array([fit.beta for fit in fits])
    largest = np.array([pair.largest_m[path] for pair in pairs])
    norm, sure, text = _norm(per_metre, largest, [pair.ref.clean for pair in pairs])
    found.add("depth_norm", norm, sure, text)
    beta = per_metre * largest if norm == "max" else per_metre
    draw, told, text = find_draw(beta, "beta", BETA_NEAR, log=True)
    unit = "per largest distance" if norm == "max" else "per metre"
    found.add("beta", draw, told, f"{text[:-1]}, {unit}.")


def _norm(beta: Array, largest: Array, scenes: list[str]) -> tuple[str, Confidence, str]:
    """Whether beta belongs to metres or to the largest distance: which of the two is alike in all scenes."""
    if largest.max() < 1.1 * largest.min():
        text = "Unit metres is assumed: all scenes reach equally far, so the largest distance would do as well."
        return "metres", "none", text
    grids = {name: cluster(np.log(v), BETA_NEAR) for name, v in (("metres", beta), ("max", beta * largest))}
    spread = f"over scenes that reach {largest.min():.3g} to {largest.max():.3g} m"
    if (grids["metres"] is None) != (grids["max"] is None):
        name = "metres" if grids["max"] is None else "max"
        other = "max" if name == "metres" else "metres"
        text = f"Unit {name}: beta takes {len(grids[name] or ())} values {spread}; of {other} it takes none."
        return name, "high", text
    slope, error = _slope(np.log(largest), np.log(beta), scenes)
    name = "metres" if slope > -0.5 else "max"
    sure: Confidence = "high" if abs(slope + 0.5) > 3 * error else "low" if abs(slope + 0.5) > 1.5 * error else "none"
    text = (
        f"Unit {name}: beta per metre goes with the largest distance to the power {slope:.2f} +- {error:.2f} {spread}"
    )
    return name, sure, f"{text} (0: metres, -1: max)."


def _slope(x: Array, y: Array, scenes: list[str]) -> tuple[float, float]:
    """Slope of y over x and its standard error, from the means of the scenes: pairs of one scene share their x."""
    members = defaultdict(list)
    for number, scene in enumerate(scenes):
        members[scene].append(number)
    at = np.array([[x[rows].mean(), y[rows].mean(), len(rows)] for rows in members.values()])
    centred = at[:, :2] - np.average(at[:, :2], axis=0, weights=at[:, 2])
    spread = (at[:, 2] * centred[:, 0] ** 2).sum()
    if len(at) < 3 or spread <= 0:
        return 0.0, math.inf
    slope = (at[:, 2] * centred[:, 0] * centred[:, 1]).sum() / spread
    left = (at[:, 2] * (centred[:, 1] - slope * centred[:, 0]) ** 2).sum() / (len(at) - 2)
    return float(slope), math.sqrt(left / spread)


# --- A, the sweep, names and files ---


def _light(fits: list[Fit], found: _Findings) -> None:
    """Gray or coloured, and values or law, of A."""
    gray = float(np.mean([fit.gray for fit in fits]))
    channels = "gray" if gray >= 0.5 else "independent"
    sure: Confidence = "high" if abs(gray - 0.5) > 0.3 else "low"
    found.add("light_channels", channels, sure, f"A is gray in {gray:.0%} of the pairs.")
    light = np.array([fit.atmospheric_light for fit in fits])
    if channels == "independent":
        means = ", ".join(f"{mean:.3f}" for mean in light.mean(axis=0))
        found.evidence.append(f"A of red, green, blue is {means} in the mean.")
    # Where the errors are wider than a cluster, the surer half shows the values best.
    errors = np.array([fit.light_error for fit in fits])
    surest = light[errors <= max(float(np.median(errors)), LIGHT_NEAR)]
    values = surest.mean(axis=1) if channels == "gray" else surest.ravel()
    if float(light.max()) > 1.0 + 2.0 * LIGHT_NEAR:
        found.evidence.append(f"A goes up to {light.max():.3f}: more than white, which a recipe cannot say.")
    draw, told, text = find_draw(np.clip(values, 0.0, 1.0), "A", LIGHT_NEAR, log=False)
    found.add("atmospheric_light", draw, told, text)


def _sweep(pairs: list[PairAudit], fits: list[Fit], path: PathKind, found: _Findings) -> None:
    """Whether every combination of the values of beta and A occurs, and none twice in one scene."""
    beta, light = found.fields["beta"], found.fields["atmospheric_light"]
    assert isinstance(beta, Draw)
    assert isinstance(light, Draw)
    lists = beta.law == light.law == "values" and found.fields["light_channels"] == "gray"
    betas, lights = _betas(pairs, fits, path, found), [float(np.mean(fit.atmospheric_light)) for fit in fits]
    cells = [
        (pair.ref.clean, _nearest(b, beta.values), _nearest(a, light.values))
        for pair, b, a in zip(pairs, betas, lights, strict=True)
    ]
    seen, whole = len({cell[1:] for cell in cells}), len(beta.values) * len(light.values)
    twice = len(cells) - len(set(cells))
    if lists and seen == whole and twice <= 0.05 * len(cells):
        text = f"Sweep grid: all {whole} combinations occur, {twice} of {len(cells)} pairs repeat one of their scene."
        found.add("sweep", "grid", "high" if whole > 1 else "low", text)
    elif lists:
        text = f"Sweep random: {seen} of {whole} combinations occur, {twice} of {len(cells)} pairs repeat one."
        found.add("sweep", "random", "low", text)
    else:
        found.fields["sweep"] = "random"
        found.confidence["sweep"] = "high"


def _betas(pairs: list[PairAudit], fits: list[Fit], path: PathKind, found: _Findings) -> list[float]:
    """Beta of each pair in the unit that was found."""
    norms = [pair.largest_m[path] if found.fields.get("depth_norm") == "max" else 1.0 for pair in pairs]
    return [(fit.beta or math.nan) * norm for fit, norm in zip(fits, norms, strict=True)]


def _nearest(value: float, values: Sequence[float]) -> int:
    return int(np.argmin([abs(value - other) for other in values]))
