"""The pictures of a run's report: the same ones epoch by epoch, and the K of each."""

from collections.abc import Sequence

from aodnet import pages
from aodnet.pages import Look
from aodnet.run_facts import RunFacts
from aodnet.sheets import Pixels, Shown
from hazegen import html
from hazegen.html import Markup, Part
from hazegen.progress import counted


def epochs(facts: RunFacts, pictures: dict[int, list[Shown]], problems: Sequence[str], look: Look) -> list[Part]:
    if not pictures:
        why = "The pictures of its epochs cannot be taken apart." if facts.pictures else "No epoch has ended."
        return [html.paragraph(why), *_problems(problems)]
    last = max(pictures)
    skipped = len(facts.pictures) - len(pictures)
    left_out = f" {counted(skipped, 'epoch')} between are left out." if skipped else ""
    told = (
        "The same validation pictures after each epoch, no two of one scene, with their PSNR (of 8 bits); first hazy "
        f"beside the newest epoch, where the edge follows the mouse, a tap or the arrow keys.{left_out}"
    )
    sliders = [_slider(one, number, last, look) for number, one in enumerate(pictures[last])]
    steps = [_steps(pictures, one, look) for one in pictures[last]]
    return [html.paragraph(told), html.grid(*sliders, least_px=300), *steps, *_problems(problems)]


def _problems(problems: Sequence[str]) -> list[Markup]:
    return [html.paragraph(pages.cut(text), note=True) for text in problems]


def _slider(one: Shown, number: int, last: int, look: Look) -> Markup:
    """A hazy picture and what the newest epoch makes of it."""
    hazy, restored = one.tile("hazy"), one.tile("restored")
    if hazy is None or restored is None:
        return html.paragraph(f"{pages.cut(one.row.name)}: it is not shown, its tiles are other ones.", note=True)
    gain = f"{pages.decibel(one.psnr('hazy'))} hazy, {pages.decibel(one.psnr('restored'))} after epoch {last}"
    name = html.element("strong", pages.cut(one.row.name, 80))
    return look.slider((hazy, restored), ("hazy", f"epoch {last}"), f"run-{number}", name, f": {gain}")


def _steps(pictures: dict[int, list[Shown]], one: Shown, look: Look) -> Markup:
    """One picture: hazy, after each epoch, clean."""
    name = pages.cut(one.row.name, 80)
    tiles = [("hazy", one.tile("hazy"), one.psnr("hazy"))]
    tiles += [(f"epoch {epoch}", pixels, psnr) for epoch, pixels, psnr in same(pictures, one.row.name, "restored")]
    tiles += [("clean", one.tile("clean"), None)]
    small = look.at_most(200)
    figures = [
        small.figure(pixels, told if psnr is None else f"{told}, {pages.decibel(psnr)}", alt=f"{name}, {told}")
        for told, pixels, psnr in tiles
        if pixels is not None
    ]
    return html.join([pages.heading(name), html.grid(*figures, least_px=130)])


def same(pictures: dict[int, list[Shown]], name: str, what: str) -> list[tuple[int, Pixels, float | None]]:
    """One picture's tile of each epoch that has it: epoch, pixels, PSNR."""
    found = []
    for epoch, rows in sorted(pictures.items()):
        for row in rows:
            pixels = row.tile(what)
            if row.row.name == name and pixels is not None:
                found.append((epoch, pixels, row.psnr(what)))
    return found


def k_maps(pictures: dict[int, list[Shown]], look: Look) -> list[Part]:
    """The K map of each picture after each epoch."""
    if not pictures:
        return []
    small, grids = look.at_most(200), []
    for row in pictures[max(pictures)]:
        name = pages.cut(row.row.name, 40)
        steps = [
            small.figure(pixels, f"{name}, epoch {epoch}", alt=f"K of {name}, epoch {epoch}")
            for epoch, pixels, _ in same(pictures, row.row.name, "K")
        ]
        grids.append(html.grid(*steps, least_px=130))
    return [pages.k_scale(), *grids]
