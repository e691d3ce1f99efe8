"""The demo in a real browser: headless Chromium drives both tabs, as a visitor would.

`make test-browser` installs what this needs: Chromium, and playwright, which drives the system's Chromium without a
second program that has to be of the browser's own version. With HAZEGEN_SCREENSHOTS=FOLDER it leaves pictures of both
tabs at both widths there.
"""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import demo_fixtures
import numpy as np
import pytest
from demo_fixtures import Running

from aodnet.cli_predict import run_predict
from hazegen import images
from hazegen.samples import make_sample

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-browser")
if importlib.util.find_spec("gradio") is None:
    pytest.skip("gradio, of the extra 'demo', is not installed: make test-browser", allow_module_level=True)
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
if not CHROMIUM:
    pytest.skip("Chromium is not installed: make test-browser", allow_module_level=True)

WIDTHS = {1280: 900, 390: 844}
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with demo_fixtures.served(tmp_path_factory.mktemp("demo"), "rooms") as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        # Chromium's own sandbox needs rights that containers do not give to root.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        found = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield found
        found.close()


@pytest.fixture(params=sorted(WIDTHS, reverse=True))
def page(request: pytest.FixtureRequest, browser: Any, running: Running) -> Iterator[Any]:
    """The demo's page; what it asks for elsewhere, or complains of, is an error in the end."""
    own = f"http://127.0.0.1:{running.visitor.port}/"
    size = {"width": request.param, "height": WIDTHS[request.param]}
    with browser.new_context(viewport=size, color_scheme="light", accept_downloads=True) as context:
        opened = context.new_page()
        opened.set_default_timeout(PATIENCE_MS)
        foreign: list[str] = []
        opened.on(
            "request", lambda sent: None if sent.url.startswith((own, "data:", "blob:")) else foreign.append(sent.url)
        )
        opened.on("console", lambda said: foreign.append(said.text) if said.type == "error" else None)
        opened.goto(own)
        yield opened
        assert foreign == []


def expect(locator: Any) -> Any:
    return playwright.expect(locator)


def finished(page: Any, where: str) -> None:
    expect(page.locator(where)).to_contain_text("cores", timeout=PATIENCE_MS)


def shot(page: Any, name: str) -> None:
    """A picture of the whole page, where they are asked for; nothing of it may stand beyond the right edge."""
    width = page.viewport_size["width"]
    assert page.locator("body").bounding_box()["width"] <= width
    if folder := os.environ.get("HAZEGEN_SCREENSHOTS"):
        page.evaluate("window.scrollTo(0, 0)")
        page.screenshot(path=Path(folder) / f"{name}-{width}.png", full_page=True)


def download(page: Any, button: str, to: Path) -> bytes:
    with page.expect_download() as waiting:
        page.locator(button).click()
    waiting.value.save_as(to / waiting.value.suggested_filename)
    return (to / waiting.value.suggested_filename).read_bytes()


def drag(page: Any, slider: Any, by: int) -> None:
    """Moves the handle between two pictures by so many pixels."""
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + by, y, steps=5)
    page.mouse.up()


def test_haze_is_removed_and_the_download_is_what_predict_writes(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sample = make_sample(0, 14, 1400, 900)
    hazy = np.rint(sample.image * 0.4 + 0.6 * 220).astype(np.uint8)
    Path("foggy.jpg").write_bytes(images.encode(hazy, ".jpg"))
    assert run_predict(["foggy.jpg", "--out", "predicted"]) == 0
    page.locator("#hazy-picture input[type=file]").set_input_files("foggy.jpg")
    finished(page, "#told")
    expect(page.locator("#told")).to_contain_text("1400 x 900 pixels")
    assert download(page, "#download", tmp_path / "got") == (tmp_path / "predicted" / "foggy.jpg").read_bytes()
    handle = page.locator("#tab-dehaze .inner, .slider-wrap .inner, .slider .inner").first
    before = handle.bounding_box()["x"]
    drag(page, handle, 60)
    assert handle.bounding_box()["x"] - before == pytest.approx(60, abs=15)
    assert page.locator(".histograms polyline").count() == 6
    shot(page, "dehaze")


def test_haze_is_made_and_removed_again(page, tmp_path):
    page.get_by_role("tab", name="Make haze").click()
    finished(page, "#told-haze")
    expect(page.locator("#recipe")).to_contain_text("visibility_m: 150.0")
    first = images.decode(download(page, "#download-hazy", tmp_path), "first")
    page.locator("#visibility input[type=range]").focus()
    page.keyboard.press("Home")
    expect(page.locator("#recipe")).to_contain_text("visibility_m: 5.0")
    finished(page, "#told-haze")
    second = images.decode(download(page, "#download-hazy", tmp_path), "second")
    assert second.std() < first.std()  # in 5 m of visibility little but haze is seen
    page.locator("#preset input").click()
    page.get_by_role("option", name="dust, 120 m").click()
    expect(page.locator("#recipe")).to_contain_text("light_color")
    expect(page.locator("#recipe")).to_contain_text("visibility_m: 120.0")
    finished(page, "#told-haze")
    shot(page, "haze")
    if page.viewport_size["width"] < 768:  # the picture stays in sight while its sliders are moved
        page.locator("#visibility").scroll_into_view_if_needed()
        page.evaluate("window.scrollTo(0, 900)")
        assert page.locator(".shown").bounding_box()["y"] == pytest.approx(0, abs=2)
    page.locator("#dehaze-it").click()
    expect(page.get_by_role("tab", name="Dehaze")).to_have_attribute("aria-selected", "true")
    finished(page, "#told")
    expect(page.locator("#told")).to_contain_text("960 x 640 pixels")
    assert download(page, "#download", tmp_path)[:8] == b"\x89PNG\r\n\x1a\n"
