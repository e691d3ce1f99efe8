"""What may be wrong with a dataset, as its page shows it: holes, the depth doctor's flags, rejected inputs."""

import itertools
from collections.abc import Iterable

import cv2
import numpy as np

from hazegen import card_doctor, html
from hazegen.card_facts import WORST_SHOWN, Facts, Look, cut
from hazegen.card_views import View
from hazegen.html import Markup
from hazegen.manifest import INPUTS

MOST_OF_NAME, MOST_OF_FINDING = 120, 700


def worst(facts: Facts, look: Look) -> list[Markup]:
    """Scenes with most holes, and what the depth doctor says."""
    parts = [html.element("h3", "Most holes")]
    if facts.table.worst:
        rows = [(cut(key, MOST_OF_NAME), split, f"{holes:.1%}") for holes, key, split in facts.table.worst]
        parts.append(html.table(("scene", "split", "holes: pixels without a measured depth"), rows, numbers=(2,)))
        shown = [look.slider(view, f"worst-{n}") for n, view in enumerate(facts.worst.values())]
        parts += [html.grid(*shown, least_px=240)] if shown else []
    else:
        parts.append(html.paragraph("No scene has pixels without a measured depth."))
    return [*parts, html.element("h3", "Depth doctor"), *_doctor(facts.report, look)]


def _doctor(report: card_doctor.Report, look: Look) -> list[Markup]:
    count = len(report.scenes)
    if not count:
        return [html.paragraph("No distance is stored, and none can be recovered: nothing was judged.")]
    looked = f"{count} of the scenes shown above were looked at, as hazegen inspect looks at depth maps."
    if not report.exact:
        looked += (
            " Their distances were recovered from the pictures, so near against far could be judged, but not whether "
            "the edges of depth and picture meet (hazegen make --maps stores what that needs)."
        )
    found = [cut(f"{one.severity}: {one.code}. {one.reason}", MOST_OF_FINDING) for one in report.findings]
    nothing = "" if any(one.flags for one in report.scenes) else "Nothing was found wrong with them."
    verdict = html.bullets(found) if found else html.paragraph(nothing)
    flagged = [one for one in report.scenes if one.flags][:WORST_SHOWN]
    pictures = html.grid(*(_with_distances(one.view, look) for one in flagged)) if flagged else None
    return [html.paragraph(looked), verdict, *_scenes(report), *([pictures] if pictures else [])]


def _scenes(report: card_doctor.Report) -> list[Markup]:
    """What was seen of each scene."""
    head = ["scene", "rise", "flags"] if not report.exact else ["scene", "rise", "edges", "flags"]
    rows = []
    for one in report.scenes:
        seen = (one.rise, one.fit) if report.exact else (one.rise,)
        texts = (f"{value:+.2f}" if np.isfinite(value) else "not known" for value in seen)
        rows.append((cut(one.view.scene, MOST_OF_NAME), *texts, "; ".join(one.flags) or "none"))
    what = "Rise: rank correlation of distance with height in the picture, above 0 under an upright camera."
    what += " Edges: correlation of the edges of distance with the picture's." if report.exact else ""
    return [
        html.table(head, rows, range(1, len(head) - 1)),
        html.paragraph(what, note=True),
    ]


def _with_distances(view: View, look: Look) -> Markup:
    assert view.distance_m is not None
    size = (view.clean.shape[1], view.clean.shape[0])
    colors = cv2.resize(card_doctor.colors(view.distance_m), size, interpolation=cv2.INTER_NEAREST)
    name = cut(view.scene, MOST_OF_NAME)
    shown = look.picture(np.hstack([view.clean, colors]), f"{name} and its distances")
    return html.figure(shown, html.element("strong", name), ": bright is near, white has no surface")


def inputs(facts: Facts) -> list[Markup]:
    """How many inputs were used, why others were rejected, and how depth was read."""
    told = "{found:,} found = {used:,} used + {rejected:,} rejected".format(**facts.known.inputs)
    parts = [html.paragraph(f"{told}; {INPUTS} lists each.")]
    if facts.table.rejected:
        head = ("kind of reason", "inputs", "for example", "why")
        parts.append(html.table(head, _rejected(facts), numbers=(1,), texts=(3,)))
    read = [(name, cut(value)) for name, value in sorted(facts.known.reading.items()) if value not in (None, False, [])]
    return [*parts, html.details("How depth and cameras were read", html.table((), read))]


def _rejected(facts: Facts) -> Iterable[tuple[str, str, str, str]]:
    """A row for each example; each reason's code and count stand in its first alone."""
    ordered = sorted(facts.table.rejected.items(), key=lambda one: (-one[1][0], one[0]))
    for code, (count, examples) in ordered:
        firsts = itertools.chain([(cut(code, MOST_OF_NAME), f"{count:,}")], itertools.repeat(("", "")))
        for (key, reason), first in zip(examples, firsts, strict=False):
            yield (*first, cut(key, MOST_OF_NAME), cut(reason))
