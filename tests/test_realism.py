"""A dataset's haze beside real haze: the distances, the change that is found again, pictures that cannot be read."""

import dataclasses
import math
import re
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pytest
from conftest import draw_clean
from test_card_html import check_harmless

from hazegen import appearance, cli, images, manifest, preview, realism, realism_changes, realism_page, render
from hazegen.errors import RefusedError, UsageError
from hazegen.make import make
from hazegen.store_path import StorePath


def write_pictures(folder: Path, pictures) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(pictures):
        (folder / f"real{number:02d}.png").write_bytes(images.encode(pixels, ".png"))
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """FADE is slow and an extra: the tests that want it say so. A few resamplings are as good as many here."""
    monkeypatch.setattr(realism, "has_fade", lambda: False)
    monkeypatch.setattr(realism, "RESAMPLINGS", 25)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    rng = np.random.default_rng(5)
    pictures = [(draw_clean(rng) * 0.4 + 140).astype(np.uint8) for _ in range(5)]
    return write_pictures(tmp_path_factory.mktemp("real"), pictures)


# --- measures ---


def test_measures_are_those_of_a_slow_loop():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    darkest = pixels.min(axis=2)
    windows = [
        darkest[max(0, y - 7) : y + 8, max(0, x - 7) : x + 8].min() / 255.0 for y in range(20) for x in range(24)
    ]
    assert appearance.dark_channel(pixels) == pytest.approx(np.mean(windows))
    slow = [(int(p.max()) - int(p.min())) / max(int(p.max()), 1) for p in pixels.reshape(-1, 3)]
    assert appearance.saturation(pixels) == pytest.approx(np.mean(slow))
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) / 255.0
    assert appearance.contrast(pixels) == pytest.approx(math.sqrt(((gray - gray.mean()) ** 2).mean()))


def test_haze_raises_the_dark_channel_and_lowers_the_others():
    clean = draw_clean(np.random.default_rng(1))
    rows = [(clean * t + 230 * (1 - t)).astype(np.uint8) for t in (1.0, 0.7, 0.4, 0.1)]
    assert list(np.diff([appearance.dark_channel(row) for row in rows]) > 0) == [True] * 3
    for measure in (appearance.saturation, appearance.contrast):
        assert list(np.diff([measure(row) for row in rows]) < 0) == [True] * 3


def test_fade_needs_its_package(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyfade", None)
    with pytest.raises(UsageError, match=r"FADE is not installed. Expected the package.*hazegen\[metrics\]"):
        appearance.load_fade()


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([0, 0], [1, 1], 1.0),
        ([0, 1], [0, 1], 0.0),
        ([0, 1, 2], [3, 4, 5], 3.0),
        ([0], [0, 1], 0.5),
        ([5, 0], [0, 1], 2.0),
    ],
)
def test_distance_is_the_mean_way_of_earth_movers(ours, theirs, expected):
    assert realism.distance(np.array(ours, float), np.array(theirs, float)) == pytest.approx(expected)


def test_distance_to_nothing_is_no_number_and_chance_shrinks_with_the_number_of_pictures():
    rng = np.random.default_rng(0)
    assert math.isnan(realism.distance(np.empty(0), np.ones(3)))
    assert math.isnan(realism.compare(np.empty(0), np.ones(3)).chance)
    few, many = (realism.compare(rng.normal(0, 1, n), rng.normal(1, 1, n)) for n in (10, 400))
    assert few.chance > 2 * many.chance > 0
    assert many.distance == pytest.approx(1.0, abs=0.2)
    assert realism.compare(few.ours, few.theirs).chance == few.chance


# --- the real pictures ---


def test_pictures_that_cannot_be_read_are_counted_and_named(tmp_path, real):
    for path in real.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "cut.jpg").write_bytes(images.encode(np.zeros((50, 50, 3), np.uint8), ".jpg")[:300])
    (tmp_path / "<b>.PNG").write_bytes(b"no picture")
    (tmp_path / "empty.webp").write_bytes(b"")
    cv2.imwrite(str(tmp_path / "float.tiff"), np.zeros((8, 8), np.float32))
    (tmp_path / "notes.txt").write_text("x")
    found = realism.read_real(tmp_path)
    assert set(found.broken) == {"sub/cut.jpg", "<b>.PNG", "empty.webp", "float.tiff"}
    assert all("xpected" in reason for reason in found.broken.values())
    assert (len(found.pictures), found.found, found.others) == (5, 9, 1)


def test_pictures_are_shrunk_and_turned_as_their_exif_says(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(3):
        Image.fromarray(np.zeros((200, 800, 3), np.uint8)).save(tmp_path / f"{number}.jpg", exif=exif)
    assert {picture.shape for picture in realism.read_real(tmp_path).pictures} == {(realism.SIDE_PX, 80, 3)}


def test_too_few_pictures_and_no_folder_are_refused(tmp_path, real):
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(
        RefusedError, match=r"too few pictures of real haze. Expected at least 3.*0 of 1.*Choose another"
    ):
        realism.read_real(tmp_path)
    with pytest.raises(UsageError, match="is not a folder"):
        realism.read_real(tmp_path / "nowhere")


def test_many_pictures_are_chosen_by_their_names_alone(tmp_path, monkeypatch):
    write_pictures(tmp_path, [np.full((8, 8, 3), n, np.uint8) for n in range(30)])
    monkeypatch.setattr(realism, "MOST_REAL", 7)
    first, second = realism.read_real(tmp_path), realism.read_real(tmp_path)
    assert first.names == second.names
    assert (len(first.names), first.found) == (7, 30)


# --- rendering again ---


@pytest.mark.parametrize("maps", [False, True])
def test_pictures_rendered_again_are_those_that_are_stored(photos, make_options, load_recipe, tmp_path, maps):
    options = make_options(photos, tmp_path / "out", maps=maps, fov_deg=60.0, codec="png")
    recipe = load_recipe("non-homogeneous" if maps else "reside-its")
    make(options, recipe)
    known = manifest.load(options.out)
    for values in preview.choose(options.out, 4):
        one = realism_changes.hazy_of(values, known, 320)
        off = np.abs(one.render(known.color_space).astype(float) - one.hazy)
        assert off.mean() < 1.0


def test_scenes_are_measured_under_the_haze_that_is_drawn_for_them(photos, make_options, load_recipe, real, tmp_path):
    options = make_options(photos, tmp_path / "out", kind="scenes", variants=None, fov_deg=60.0)
    make(options, load_recipe("outdoor-visibility"))
    found = realism.look(options.out, real)
    assert found.off == 0.0
    assert {one.field for one in found.tried} >= {"visibility_m", "atmospheric_light"}
    assert "beta" not in {one.field for one in found.tried}
    check_harmless(realism_page.page(found, "<script>"))


def _thicker(folder: Path, factor: float, brighter: float) -> list[np.ndarray]:
    """The dataset's own pictures under other haze, from its own distances: what a good answer finds again."""
    known = manifest.load(folder)
    found = []
    for values in preview.choose(folder, 20):
        one = realism_changes.hazy_of(values, known, 320)
        light = tuple(min(max(value + brighter, 0.0), 1.0) for value in one.haze.atmospheric_light)
        haze = dataclasses.replace(
            one.haze, beta=tuple(beta * factor for beta in one.haze.beta), atmospheric_light=light
        )
        found.append(render.render(one.clean, one.length_m, haze, known.color_space).hazy)
    return found


@pytest.mark.parametrize(
    ("factor", "brighter", "field", "change"),
    [(2.0, 0.0, "beta", "times 2"), (0.5, 0.0, "beta", "times 0.5"), (1.0, -0.2, "atmospheric_light", "-0.2")],
)
def test_change_that_made_the_real_pictures_is_found_again(dataset, tmp_path, factor, brighter, field, change):
    found = realism.look(dataset, write_pictures(tmp_path / "real", _thicker(dataset, factor, brighter)))
    best = found.tried[0]
    assert (best.field, best.change) == (field, change)
    assert best.total < 0.5 * found.unchanged.total
    assert best.is_last == (brighter != 0.0)
    assert found.unchanged.distances["dark channel"] == pytest.approx(found.measures["dark channel"].distance, abs=0.01)
    sentence = realism_page.sentence(found, "dark channel")
    assert f"{field} {change} would bring the distance from {found.unchanged.distances['dark channel']:.3f}" in sentence
    assert ("largest step" in sentence) == best.is_last


def test_nothing_is_advised_where_nothing_is_gained(dataset, tmp_path):
    found = realism.look(dataset, write_pictures(tmp_path / "real", _thicker(dataset, 1.0, 0.0)))
    for name in realism.MEASURES:
        assert realism.best_of(found, name) is None
        assert "no change that was tried brings it nearer" in realism_page.sentence(found, name)


# --- the page and the command ---


def test_page_shows_measures_changes_and_broken_pictures(dataset, real, tmp_path, capsys):
    (tmp_path / "real").mkdir()
    for path in real.iterdir():
        (tmp_path / "real" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "real" / "<script>.png").write_bytes(b"x")
    (tmp_path / "real" / "two\nlines.png").write_bytes(b"x")
    out = tmp_path / "pages" / "realism.html"
    assert cli.main(["card", str(dataset), "--real", str(tmp_path / "real"), "--out", str(out)]) == 0
    text = check_harmless(out.read_text()).text
    assert "5 measured, 2 that cannot be read; 0 other files" in text
    assert "'<script>.png' is not a picture" in text
    assert "warning: 'two lines.png' cannot be read and was left out: 'two lines.png' is" in capsys.readouterr().err
    for name in realism.MEASURES:
        assert f"% of pictures{name}" in text or name in text
    assert realism_page.MISSING in text
    assert text.count("illumination") >= 1
    assert out.stat().st_size < 2_000_000


def test_fade_is_measured_where_it_is_installed(dataset, real, monkeypatch):
    pytest.importorskip("pyfade", reason="the extra 'metrics' is not installed")
    monkeypatch.setattr(realism, "has_fade", lambda: True)
    monkeypatch.setattr(appearance, "fade", lambda pixels: float(pixels.mean()))
    found = realism.look(dataset, real)
    assert set(found.measures) == {*realism.MEASURES, realism.FADE}
    assert all(realism.FADE in one.distances for one in (found.unchanged, *found.tried[: realism.FADED]))
    assert all(realism.FADE in realism.best_of(found, name).distances for name in ("dark channel", "contrast"))
    assert realism.FADE not in found.tried[-1].distances
    assert realism_page.MISSING not in realism_page.page(found, "real")


def test_command_says_what_it_found_and_leaves_the_dataset_alone(dataset_copy, real, tmp_path, capsys):
    before = {path.name: path.read_bytes() for path in dataset_copy.iterdir()}
    assert cli.main(["card", str(dataset_copy), "--real", str(real), "--out", str(tmp_path / "r.html")]) == 0
    told = capsys.readouterr()
    assert "dark channel" in told.out
    assert "r.html' shows it." in told.out
    assert realism_page.MISSING in told.out
    assert {path.name: path.read_bytes() for path in dataset_copy.iterdir()} == before


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--out", "x.html"], 2, "--out belongs to --real. Expected both or neither"),
        (["--real", "REAL", "--out", "x.png"], 2, "The output is no page. Expected a name that ends in .html"),
        (
            ["--real", "REAL", "--out", "DATASET/x.html"],
            2,
            "The page cannot lie in the dataset. Expected --out outside",
        ),
        (["--real", "EMPTY", "--out", "x.html"], 3, "has too few pictures of real haze. Expected at least 3"),
        (["--real", "NOWHERE", "--out", "x.html"], 2, "is not a folder"),
    ],
)
def test_wrong_options_are_refused(dataset, real, tmp_path, capsys, monkeypatch, options, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    places = {"REAL": str(real), "DATASET": str(dataset), "EMPTY": str(tmp_path / "empty")}
    for name, place in places.items():
        options = [option.replace(name, place) for option in options]
    assert cli.main(["card", str(dataset), *options]) == code
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*.html"))


def test_page_lies_in_no_dataset_of_a_store_either(tmp_path):
    here = StorePath("s3", PurePosixPath("bucket/set"))
    for out, folder in ((here / "a.html", here), (here / "b" / "a.html", here), (tmp_path / "b" / "a.html", tmp_path)):
        with pytest.raises(UsageError, match="cannot lie in the dataset"):
            realism_page.check_out(out, folder)
    for out, folder in ((here.parent / "a.html", here), (tmp_path / "a.html", here), (here / "a.html", tmp_path)):
        realism_page.check_out(out, folder)


def test_measure_that_no_picture_has_is_said_to_be_none(dataset, real, monkeypatch):
    monkeypatch.setattr(realism, "MOST_OURS", 3)
    monkeypatch.setattr(realism_changes, "changes", lambda _: [realism_changes.AS_IT_IS])
    found = realism.look(dataset, real)
    nothing = realism.compare(np.array([1.0, 2.0]), np.empty(0))
    before = dataclasses.replace(found.unchanged, distances=found.unchanged.distances | {realism.FADE: math.nan})
    found = dataclasses.replace(found, measures=found.measures | {realism.FADE: nothing}, unchanged=before)
    assert realism_page.row(nothing) == ["1.500", "none", "none", "none"]
    assert "FADE: no distance, for none of" in realism_page.sentence(found, realism.FADE)
    assert "nan" not in re.sub('base64,[^"]*|<style.*</style>', "", realism_page.page(found, "real"))


def test_dataset_with_too_few_pairs_is_refused(photos, make_options, load_recipe, real, tmp_path):
    make(make_options(photos, tmp_path / "out", limit=1, variants=2), load_recipe("aod-released"))
    with pytest.raises(RefusedError, match=r"has too few pairs. Expected at least 3, received 2"):
        realism.look(tmp_path / "out", real)
