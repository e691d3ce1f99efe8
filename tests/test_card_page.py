"""card.html: what it shows, that it is true, bounded and the same each time, and that hostile names do nothing."""

import csv
import dataclasses
import re
import shutil
import sys
import tracemalloc
import types
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_clean, write_photos
from test_card_html import check_harmless, read

from hazegen import (
    card,
    card_doctor,
    card_facts,
    card_loading,
    card_numbers,
    card_page,
    card_sample,
    card_views,
    card_words,
    images,
    manifest,
    preview,
    recovery,
)
from hazegen.errors import VerifyError
from hazegen.make import make


def page_of(folder: Path) -> str:
    return (folder / card.PAGE).read_text(encoding="utf-8")


def section(folder: Path, name: str) -> str:
    """The markup of a section."""
    begin = page_of(folder).index(f'<section id="{card_page.anchor(name)}"')
    return page_of(folder)[begin:].partition("</section>")[0]


def text_of(folder: Path, name: str) -> str:
    return re.sub(r"\s+", " ", read(section(folder, name) + "</section>").text)


@pytest.fixture(scope="module")
def with_maps(photos, make_options, load_recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("maps") / "out"
    make(make_options(photos, out, maps=True, variants=3), load_recipe("aod-released"))
    return out


@pytest.fixture(scope="module")
def scenes(photos, make_options, load_recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("scenes") / "out"
    recipe = load_recipe("non-homogeneous")
    make(make_options(photos, out, kind="scenes", variants=None, fov_deg=60.0), recipe)
    return out


@pytest.mark.parametrize("name", ["dataset", "with_maps", "scenes"])
def test_page_has_all_sections_and_needs_nothing_from_elsewhere(request, name):
    folder = request.getfixturevalue(name)
    reader = check_harmless(page_of(folder))
    headings = re.findall(r"<h2>([^<]*)</h2>", page_of(folder))
    assert headings == list(card_page.SECTIONS)
    linked = [a["href"] for tag, a in reader.tags if tag == "a" and a["href"].startswith("#")]
    assert linked == [f"#{card_page.anchor(heading)}" for heading in headings]
    assert {a["id"] for tag, a in reader.tags if tag == "section"} == {link[1:] for link in linked}
    assert all(a["alt"] for tag, a in reader.tags if tag == "img")
    assert all(a["aria-label"] for tag, a in reader.tags if tag == "svg")


def test_counts_are_the_manifests(dataset):
    text = read(page_of(dataset)).text
    for fact in ("12scenes", "36pairs", "3pairs of a scene", "0of 12 inputs rejected", "JPEG 95", "64 x 96px"):
        assert fact in text
    assert "Pairs by split: 18 train, 9 validation, 9 test." in text
    assert "The numbers of all 36 records." in text_of(dataset, "Haze")
    assert "12 found = 12 used + 0 rejected" in text_of(dataset, "Inputs")
    assert "It is as shipped." in text_of(dataset, "Recipe")
    assert "Li et al., ICCV 2017" in text_of(dataset, "Recipe")
    assert manifest.digest(manifest.load(dataset)) in text_of(dataset, "Limits of use")
    for block in card_loading.blocks(manifest.load(dataset))[1::2]:
        assert block.removeprefix("```python\n").removesuffix("\n```") in read(page_of(dataset)).text


def test_histograms_count_every_pair(dataset):
    told = re.findall(r'aria-label="(Histogram[^"]*)"', section(dataset, "Haze"))
    assert [one.partition(".")[0] for one in told][:3] == [
        "Histogram of beta, green [1/m]", "Histogram of visibility [m]", "Histogram of atmospheric light A, gray",
    ]  # fmt: skip
    betas = [head.values["beta"][1] for _, head in card_sample.sample_heads(dataset, manifest.load(dataset)).heads]
    assert len(betas) == 36
    edges, counts = card_numbers.spread(np.array(betas), by_factors=True)
    assert sum(counts) == 36
    assert (edges[0], edges[-1]) == pytest.approx((min(betas), max(betas)))


@pytest.mark.parametrize("by_factors", [False, True])
@pytest.mark.parametrize("values", [[3.0], [2.0, 2.0], [1e-9, 1e9], [0.1, 0.2, 0.3, 0.4]])
def test_spread_counts_each_number_once_where_numpy_does(values, by_factors):
    edges, counts = card_numbers.spread(np.array(values), by_factors=by_factors)
    assert len(edges) == len(counts) + 1 == card_numbers.BINS + 1
    assert counts == np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].tolist()


def test_strip_is_one_scene_under_rising_haze(dataset, with_maps, scenes):
    for folder in (dataset, with_maps):
        known = manifest.load(folder)
        strip = card_views.strip(card_sample.sample_heads(folder, known), known)
        means = [float(caption.rpartition(" ")[2]) for _, caption in strip.pictures[1:]]
        assert len(means) == 3
        assert means == sorted(means, reverse=True)
        assert strip.pictures[0][1] == "clean"
    known = manifest.load(scenes)
    strip = card_views.strip(card_sample.sample_heads(scenes, known), known)
    ranges = [float(caption.split()[1].replace(",", "")) for _, caption in strip.pictures[1:]]
    assert len(ranges) == card_views.STEPS
    assert ranges == sorted(ranges, reverse=True)
    assert "drawn here by the recipe" in text_of(scenes, "Pictures")
    assert "None is stored" in text_of(scenes, "Rising haze")


@pytest.mark.parametrize(
    ("visibility", "text"), [(1912.3, "visibility 1,910 m, beta"), (37.449, "visibility 37.4 m, beta")]
)
def test_caption_has_three_digits_and_no_powers_of_ten(visibility, text):
    told = card_views.caption({"visibility_m": visibility, "beta": (1, 0.0015666, 1), "atmospheric_light": (0.9,) * 3})
    assert told.startswith(text)
    assert told.endswith("beta 0.00157/m, A 0.90")


def test_scene_with_one_hazy_picture_says_so(photos, make_options, load_recipe, tmp_path):
    make(make_options(photos, tmp_path / "out", variants=1, limit=2), load_recipe("aod-released"))
    assert "No scene has another hazy picture" in text_of(tmp_path / "out", "Rising haze")


def test_transmission_recovered_from_a_pair_is_that_of_its_map(with_maps):
    known = manifest.load(with_maps)
    for values in preview.choose(with_maps, 8):
        clean, hazy = (recovery.small(preview.picture_of(values, name, known), 48) for name in ("clean", "hazy"))
        found = recovery.transmission(hazy, clean, values["atmospheric_light"], known.color_space)
        stored = images.decode(values["transmission"], "t").astype(np.float64) / 65535.0
        exact = stored.reshape(32, 2, 48, 2).mean(axis=(1, 3))
        known_there = np.isfinite(found)
        assert known_there.mean() > 0.5
        assert np.abs(found - exact)[known_there].mean() < 0.02


def test_transmission_is_not_known_where_the_scene_has_the_colour_of_the_haze():
    clean = np.full((4, 4, 3), 230, np.uint8)
    clean[:2] = 20
    found = recovery.transmission(clean, clean, (0.9, 0.9, 0.9), "srgb")
    assert np.isnan(found[2:]).all()
    assert (found[:2] == 1.0).all()


def test_page_says_whether_transmission_was_stored_or_recovered(dataset, with_maps, scenes):
    assert "are not stored" in text_of(dataset, "Haze")
    error = float(re.search(r"that of the record by ([\d.]+),", text_of(dataset, "Haze"))[1])
    assert error < 0.03
    assert "Transmissions of pixels: as stored" in text_of(with_maps, "Haze")
    assert "under the haze drawn for them" in text_of(scenes, "Haze")
    assert "from the recovered transmissions" in text_of(dataset, "Depth")
    assert "from the stored transmissions" in text_of(with_maps, "Depth")
    assert "shown above, as stored" in text_of(scenes, "Depth")


def test_patchy_haze_tells_no_distance(photos, make_options, load_recipe, tmp_path):
    options = make_options(photos, tmp_path / "out", variants=1, limit=3, fov_deg=60.0)
    make(options, load_recipe("non-homogeneous"))
    assert "the haze differs from place to place, so it tells none" in text_of(options.out, "Depth")
    assert "nothing was judged" in text_of(options.out, "Worst scenes")


# --- what may be wrong ---


def table_of(folder: Path, rows: list[dict]) -> Path:
    columns = ("key", "split", "fate", "code", "reason", "holes", "sky", "largest_m")
    with (folder / manifest.INPUTS).open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return folder


def used(key: str, **more: object) -> dict:
    return {"key": key, "fate": "used", "split": "train", **more}


def test_worst_scenes_are_those_with_most_holes(tmp_path):
    shares = np.random.default_rng(0).permutation(200) / 200
    rows = [used(f"s{n}", holes=f"{share:.6f}", sky="0.2", largest_m=9.0) for n, share in enumerate(shares)]
    table = card_sample.read_table(table_of(tmp_path, rows))
    assert [holes for holes, *_ in table.worst] == sorted(shares, reverse=True)[: card_sample.WORST]
    assert table.used == table.holes.total() == table.sky.total() == table.largest_m.total() == 200
    assert table.holes[0] == 1
    assert sum(table.holes.values()) == 200
    assert len(card_sample.names_of_classes()) == len(card_sample.SHARES)
    edges = [10 ** (n / card_sample.PER_DECADE) for n in table.largest_m]
    assert edges[0] <= 9.0 < edges[0] * 10 ** (1 / card_sample.PER_DECADE)


@pytest.mark.parametrize(
    ("share", "name"), [(0.0, "none"), (0.001, "< 1"), (0.01, "< 1"), (0.02, "1-5"), (0.5, "20-50"), (1.0, "50-100")]
)
def test_shares_fall_into_their_classes(share, name):
    assert card_sample.names_of_classes()[card_sample.class_of(share)] == name


def test_rejected_inputs_are_told_with_reasons_and_in_bounds(tmp_path):
    rows = [
        {"key": f"r{n}", "fate": "rejected", "code": f"code{n % 40}", "reason": f"why {n} " + "x" * 2000}
        for n in range(400)
    ]
    table = card_sample.read_table(table_of(tmp_path, rows))
    assert len(table.rejected) == card_sample.MOST_CODES + 1
    assert sum(count for count, _ in table.rejected.values()) == 400
    assert all(len(told) <= card_sample.EXAMPLES for _, told in table.rejected.values())
    assert table.rejected["code0"][1][0][0] == "r0"


@pytest.mark.parametrize("holes", ["nan", "much", "-0.5", "inf", "1e999"])
def test_table_with_what_is_no_number_is_refused(tmp_path, holes):
    folder = table_of(tmp_path, [used("a", holes=holes)])
    with pytest.raises(VerifyError, match=r"holds what is no number. Expected holes of 'a'.*received '"):
        card_sample.read_table(folder)


def test_table_without_a_column_tells_nothing_of_it(dataset_copy):
    path = dataset_copy / manifest.INPUTS
    rows = list(csv.DictReader(path.read_text().splitlines()))
    kept = [{name: value for name, value in row.items() if name not in ("holes", "sky", "largest_m")} for row in rows]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, kept[0])
        writer.writeheader()
        writer.writerows(kept)
    card.write_card(dataset_copy)
    assert "does not tell the share of pixels without a measured depth" in text_of(dataset_copy, "Depth")


def test_table_is_read_in_little_memory(tmp_path):
    rows = (used(f"scene-{n:07d}", holes=f"{n % 97 / 100}", sky="0", largest_m=n % 50 + 1) for n in range(8_000))
    table_of(tmp_path, list(rows))
    tracemalloc.start()
    table = card_sample.read_table(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert table.used == 8_000
    assert peak < 4e5


def view_of(key: str, distance_m: np.ndarray, *, exact: bool = True) -> card_views.View:
    clean = draw_clean(np.random.default_rng(len(key)), *distance_m.shape)
    return card_views.View(key, key, clean, clean, "", np.exp(-distance_m), distance_m, exact, 0.5)


@pytest.mark.parametrize("exact", [False, True])
def test_doctor_flags_holes_and_what_is_nearer_towards_the_top(exact):
    floor = np.broadcast_to(np.linspace(9.0, 1.0, 96, dtype=np.float32)[:, None], (96, 128))
    views = [view_of("sound", floor, exact=exact), view_of("turned", np.ascontiguousarray(floor[::-1]), exact=exact)]
    report = card_doctor.examine(views, {"sound": {"holes": "0.2"}, "turned": {"holes": "0.7"}})
    flags = {one.view.key: " ".join(one.flags) for one in report.scenes}
    assert report.scenes[0].view.key == "turned"
    assert "holes: 70%, more than half" in flags["turned"]
    assert "inverted?" in flags["turned"]
    assert flags["sound"].startswith("holes: 20%")
    assert "inverted?" not in flags["sound"]
    assert np.isfinite(report.scenes[0].fit) == exact


def test_scenes_with_holes_are_shown_and_flagged(make_photos, make_options, load_recipe, tmp_path):
    photos = make_photos(scenes=7)
    for number in (2, 5):
        path = photos.depth / f"scene_{number:03d}.png"
        depth = images.read_picture(path)
        depth[: 10 * number, : 6 * number] = 0
        path.write_bytes(images.encode(depth, ".png"))
    make(make_options(photos, tmp_path / "out"), load_recipe("aod-released"))
    text = text_of(tmp_path / "out", "Worst scenes")
    assert text.index("scene_005") < text.index("scene_002")
    assert section(tmp_path / "out", "Worst scenes").count('class="slider"') == 2
    assert "24.4%" in text
    assert "share of pixels without a measured depth" in section(tmp_path / "out", "Depth")


# --- hostile and huge ---


def test_hostile_names_and_texts_are_shown_and_do_nothing(make_options, load_recipe, tmp_path):
    photos = write_photos(tmp_path / "photos", scenes=5)
    names = ["<script>alert(1)<script>", '"><img src=x onerror=alert(1)>', "\u202egnp", "caf\udce9", "a|b`c"]
    for key, name in zip(photos.keys, names, strict=True):
        for folder in (photos.images, photos.depth):
            (folder / f"{key}.png").rename(folder / f"{name}.png")
    (photos.depth / f"{names[1]}.png").write_bytes(b"no picture")
    options = make_options(photos, tmp_path / "out", max_rejected=1.0)
    recipe = dataclasses.replace(load_recipe("aod-released"), name="</title><script>alert(2)</script>")
    make(options, recipe, {"license": "<b>", "source": "javascript:alert(3)", "citation": "</pre><script>" * 9999})
    reader = check_harmless(page_of(options.out))
    for seen in (names[0], names[1], "\\u202egnp", "caf\\udce9", "javascript:alert(3)", "(README.md has all of it)"):
        assert seen in reader.text
    assert not any(a.get("href") == "javascript:alert(3)" for _, a in reader.tags)


def test_page_stays_small_whatever_the_pictures(dataset, monkeypatch):
    known = manifest.load(dataset)
    facts = card_facts.gather(dataset, known, "", [])
    noise = np.random.default_rng(0).integers(0, 256, (630, 420, 3), np.uint8)
    noisy = [dataclasses.replace(view, clean=noise, hazy=noise) for view in facts.views]
    facts = dataclasses.replace(facts, views=noisy, worst={str(n): view for n, view in enumerate(noisy[:4])})
    smallest = len(card_page.page(facts, card_page.LOOKS[-1]).encode())
    assert smallest < card_page.MOST_BYTES / 2
    assert len(card_page.page(facts, card_page.LOOKS[0]).encode()) > card_page.MOST_BYTES
    monkeypatch.setattr(card_page, "gather", lambda *_: facts)
    out = dataset.parent / "noisy.html"
    card_page.write_page(dataset, out, known, "", [])
    assert out.stat().st_size <= card_page.MOST_BYTES


def test_large_datasets_are_sampled_in_the_same_places_and_it_is_said(dataset):
    known = manifest.load(dataset)
    sample = card_sample.sample_heads(dataset, known, most=10)
    again = card_sample.sample_heads(dataset, known, most=10)
    assert [head.values["key"] for _, head in sample.heads] == [head.values["key"] for _, head in again.heads]
    assert 10 <= len(sample.heads) < 36
    assert re.fullmatch(r"\d+ of the 36 records \(the first ones of all shards, evenly spread\)", str(sample))


# --- words ---


def test_datasets_that_it_was_put_together_from_are_told(dataset):
    known = manifest.load(dataset)
    source = {"digest": "a" * 64, "recipe": {"name": "<i>"}, "seed": None, "about": {"license": "MIT"}}
    many = dataclasses.replace(known, sources=(source,) * (card_words.MOST_SOURCES + 3))
    facts = card_facts.Facts(many, "hazegen merge from x", [], *[None] * 6)
    text = "".join(card_words.recipe(facts))
    assert "Put together by hazegen merge from these datasets, the first 50 of 53" in text
    assert text.count("several") == card_words.MOST_SOURCES
    assert "&lt;i&gt;" in text


def test_recipe_that_differs_from_the_shipped_one_says_in_what(dataset):
    known = manifest.load(dataset)

    def told(**changes):
        changed = dataclasses.replace(known, recipe=known.recipe | changes)
        return read("".join(card_words.recipe(card_facts.Facts(changed, "", [], *[None] * 6)))).text

    assert "It differs from the shipped one in sky (shipped: infinite)." in told(sky="far")
    for name in ("mine", "../recipes/aod-released", None, "x" * 500):
        assert "is none of those that come with hazegen" in told(name=name)


def test_licence_source_and_citation_are_shown(dataset):
    known = manifest.load(dataset)
    about = manifest.About("cc-by-4.0", "@misc{a}", "https://example.org")
    parts = "".join(card_words.licence(dataclasses.replace(known, about=about)))
    assert 'href="https://spdx.org/licenses/CC-BY-4.0.html"' in parts
    assert 'href="https://example.org"' in parts
    assert "@misc{a}" in parts
    nothing = read("".join(card_words.licence(known))).text
    assert nothing.count("not stated; hazegen card --") == 3


class _Tensor:
    """As much of a tensor as the lines of the card use."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def permute(self, *axes):
        return _Tensor(self.values.transpose(axes))

    def __truediv__(self, number):
        return _Tensor(self.values / number)


def stand_in_for_torch() -> types.ModuleType:
    """PyTorch is no dependency: only what the lines call."""
    torch = types.ModuleType("torch")
    torch.from_numpy = _Tensor
    torch.utils = types.SimpleNamespace(
        data=types.SimpleNamespace(
            Dataset=object, DataLoader=lambda data, **_: [data[number] for number in range(len(data))]
        )
    )
    return torch


@pytest.mark.parametrize("name", ["dataset", "with_maps", "scenes"])
def test_lines_of_pytorch_read_each_record(request, monkeypatch, name):
    folder = request.getfixturevalue(name)
    monkeypatch.setitem(sys.modules, "torch", stand_in_for_torch())
    monkeypatch.chdir(folder)
    known, scope = manifest.load(folder), {}
    exec(compile(card_loading.blocks(known)[5].removeprefix("```python\n").removesuffix("```"), "card", "exec"), scope)
    read_all = scope["batches"]
    assert len(read_all) == known.records_of("train")
    for first, second in read_all:
        picture = first if known.kind == "scenes" else second
        assert picture.values.shape == (3, 64, 96)
        assert 0.0 <= picture.values.min() < picture.values.max() <= 1.0
    if known.kind == "scenes":
        assert second.values.shape == (64, 96)


def test_killed_between_page_and_readme_is_seen(dataset_copy, monkeypatch):
    before = page_of(dataset_copy)
    (dataset_copy / card.README).unlink()
    assert not card.has_card(dataset_copy)
    card.write_card(dataset_copy)
    assert card.has_card(dataset_copy)
    assert page_of(dataset_copy) == before


def test_copy_has_the_same_page(dataset, tmp_path):
    copy = Path(shutil.copytree(dataset, tmp_path / "elsewhere"))
    (copy / card.PAGE).unlink()
    card.write_card(copy)
    assert page_of(copy) == page_of(dataset)
