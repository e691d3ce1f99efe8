"""The demo without its page: options, uploads, what is removed and what is made, and the gate before the server."""

import asyncio
import dataclasses
import functools
import importlib.util
import json
import os
import re
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from aodnet_fixtures import read_records

from aodnet import demo, demo_dehaze, demo_haze, demo_uploads
from aodnet.cli_predict import run_predict
from aodnet.demo_gate import API, Gate
from aodnet.demo_haze import PRESETS, Settings
from aodnet.demo_uploads import SCREEN_PX
from hazegen import config, images
from hazegen.cli import main as hazegen
from hazegen.errors import RefusedError, UsageError
from hazegen.recipe import Recipe
from hazegen.scenes import Scene


def photo(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (9.0 + c)) + np.cos(y / (7.0 + c)) for c in range(3)]
    return np.rint(127.5 + 60.0 * np.stack(waves, axis=2)).astype(np.uint8)


def write(path: Path, pixels: np.ndarray) -> Path:
    path.write_bytes(images.encode(pixels, path.suffix))
    return path


# --- options ---


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--max-upload-mb", "0"],
            r"--max-upload-mb is out of range\. Expected a number in \(0, 1000\], received",
        ),
        (["--max-upload-mb", "nan"], "--max-upload-mb is out of range"),
        (["--max-megapixels", "81"], r"--max-megapixels is out of range\. Expected a number in \(0, 80\]"),
        (["--port", "65536"], r"--port is out of range\. Expected 0 to 65535, received 65536"),
        (["--model", "rooms", "--model", "rooms"], "A model is given twice"),
        (["--model", "room"], "Did you mean 'rooms'"),
    ],
)
def test_options_are_refused_before_tensorflow_is_loaded(argv, message, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.setattr(demo, "load_tensorflow", lambda: pytest.fail("TensorFlow was loaded"))
    with pytest.raises((UsageError, RefusedError), match=message):
        demo.run_demo(argv)


def test_missing_gradio_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"not installed\. Expected gradio, received none\. .*'hazegen\[demo\]'"):
        demo.run_demo([])


def test_help_shows_examples_without_gradio(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        demo.run_demo(["--help"])
    assert ended.value.code == 0
    assert "aodnet demo --model runs/first/best.weights.h5" in capsys.readouterr().out


def test_models_asked_for_come_first_and_none_is_left_out(tmp_path):
    run = tmp_path / "first"
    run.mkdir()
    mine = run / "best.weights.h5"
    mine.write_bytes(b"")
    models = demo._models([str(mine), "procedural"])
    assert list(models.items()) == [("first/best", str(mine)), ("procedural", "procedural"), ("rooms", "rooms")]
    assert list(demo._models([])) == ["rooms", "procedural"]


def test_taken_port_is_refused_and_0_finds_another():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"cannot listen at 127\.0\.0\.1:{port}.*--port 0"):
            demo._free_port("127.0.0.1", port)
    assert demo._free_port("127.0.0.1", 0) > 0


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("here", False)]
)
def test_loopback_is_known(host, expected):
    assert demo.is_loopback(host) is expected


def test_working_folder_is_empty_and_goes_away(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "before")
    before = Path.cwd()
    with demo.working_folder() as workplace:
        os.environ["GRADIO_TEMP_DIR"] = "ours"
        assert Path.cwd() == workplace / "empty"
        assert list(Path.cwd().iterdir()) == []
    assert Path.cwd() == before
    assert not workplace.exists()
    assert os.environ["GRADIO_TEMP_DIR"] == "before"


def test_pictures_are_logged_and_the_run_is_closed(monkeypatch):
    told: list[Any] = []
    monkeypatch.setattr(demo.sessions, "load_wandb", lambda: SimpleNamespace(Image=lambda pixels: ("image", pixels)))
    monkeypatch.setattr(demo.sessions, "close_session", lambda *given: told.append("closed"))
    session: Any = SimpleNamespace(run=SimpleNamespace(log=told.append), online=False)
    with demo._logging(session) as log:
        assert log is not None
        assert log({"hazy": np.zeros(1)}, {"k_low": 1.0}) == "Logged at W&B as result 1, kept for wandb sync."
    assert told[0]["hazy"][0] == "image"
    assert told[0]["k_low"] == 1.0
    assert told[1] == "closed"


# --- uploads ---


def test_uploads_are_refused_by_name_and_header(tmp_path):
    picture = write(tmp_path / "a.png", photo(20, 30))
    demo_uploads.check_picture(picture, 600)
    with pytest.raises(RefusedError, match=r"too large\. Expected at most 599 pixels, received 30 x 20"):
        demo_uploads.check_picture(picture, 599)
    video = picture.rename(tmp_path / "a.mp4")
    with pytest.raises(RefusedError, match=r"'a\.mp4' is no picture of the demo\. Expected \.jpg.*received '\.mp4'"):
        demo_uploads.check_picture(video, 600)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.ones((20, 30), np.float32), None),
        (np.ones((30, 30), np.float32), r"Expected an array \(height, width\) of at most 600 numbers"),
        (np.ones((20, 30, 3), np.float32), "is no depth map"),
        (np.ones((0, 30), np.float32), "is no depth map"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr': __imp}", "cannot be read as an array"),
        (b"", "cannot be read as an array"),
    ],
)
def test_depth_arrays_are_refused_by_their_headers(content, message, tmp_path):
    path = tmp_path / "d.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    if message is None:
        demo_uploads.check_depth(path, 600)
        return
    with pytest.raises(RefusedError, match=message):
        demo_uploads.check_depth(path, 600)


@pytest.mark.parametrize(("suffix", "tolerance"), [(".png", 0), (".jpg", 6)])
def test_picture_for_the_screen_is_the_mean_of_its_pixels(suffix, tolerance, tmp_path):
    pixels = photo(520, 2600)
    path = write(tmp_path / f"a{suffix}", pixels)
    shown = demo_uploads.read_for_screen(path)
    assert shown.shape == (192, 960, 3)
    expected = cv2.resize(pixels, (960, 192), interpolation=cv2.INTER_AREA)
    assert np.abs(shown.astype(int) - expected).max() <= tolerance


def test_picture_for_the_screen_is_upright(tmp_path):
    from PIL import Image

    picture, path, exif = Image.fromarray(photo(300, 2600)), tmp_path / "a.jpg", Image.Exif()
    exif[images.EXIF_ORIENTATION] = 6
    picture.save(path, exif=exif, quality=95)
    shown = demo_uploads.read_for_screen(path)
    assert shown.shape == (960, 111, 3)
    expected = np.rot90(cv2.resize(photo(300, 2600), (960, 111), interpolation=cv2.INTER_AREA), -1)
    assert np.abs(shown.astype(int) - expected).mean() < 3


# --- removing haze ---


@pytest.fixture(scope="module")
def network() -> demo_dehaze.Network:
    return demo_dehaze.load_networks({"rooms": "rooms"})["rooms"]


def test_whole_picture_is_what_predict_writes_to_the_byte(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wide = photo(80, 1100)  # two tiles
    paths = [write(tmp_path / "a.jpg", wide), write(tmp_path / "b.png", wide.astype(np.uint16) * 257)]
    paths.append(write(tmp_path / "c.tiff", wide[..., 0]))
    assert run_predict([*(path.name for path in paths), "--out", "predict"]) == 0
    for path in paths:
        told: list[float] = []
        done = demo_dehaze.whole(path, network, tmp_path / "demo", lambda share, text, told=told: told.append(share))
        assert done.path.name == path.name
        assert done.path.read_bytes() == (tmp_path / "predict" / path.name).read_bytes()
        assert told == [0.5, 1.0]


def test_preview_shows_what_k_makes_of_the_hazy_picture(network, tmp_path):
    path = write(tmp_path / "a.png", photo(90, 120))
    shown = demo_dehaze.preview(path, network)
    hazy = shown.hazy.astype(np.float32) / 255.0
    restored, k = network.with_k(hazy)
    np.testing.assert_allclose(restored, np.clip(k * hazy - k + 1.0, 0.0, 1.0), atol=1e-5)
    assert np.abs(shown.restored / 255.0 - restored).max() <= 0.5 / 255.0 + 1e-6
    assert shown.k_low < shown.k_high
    low, high = np.quantile(k.mean(axis=2), demo_dehaze.K_QUANTILES)
    assert (shown.k_low, shown.k_high) == pytest.approx((low, high))
    assert shown.k_map.shape == shown.hazy.shape


def test_errors_of_predict_are_raised(network, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(images.encode(photo(64, 64), ".png")[:2000])
    with pytest.raises(RefusedError, match=r"'a\.png' cannot be decoded"):
        demo_dehaze.whole(path, network, tmp_path / "out", lambda share, text: None)


def test_histograms_are_drawn_of_each_channel_on_one_scale():
    dark, light = np.full((8, 8, 3), 10, np.uint8), np.full((8, 8, 3), 250, np.uint8)
    svg = demo_dehaze.histograms({"hazy": light, "restored": dark})
    assert svg.count("<polyline") == 6
    assert svg.count("<figure>") == 2
    lines = re.findall(r'points="([^"]*)"', svg)
    tops = [min(line.split(), key=lambda point: float(point.split(",")[1])) for line in lines]
    assert {float(top.split(",")[0]) > 160 for top in tops[:3]} == {True}
    assert {float(top.split(",")[0]) < 160 for top in tops[3:]} == {True}
    assert "script" not in svg


# --- making haze ---

SIZE = (64, 96)


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Scene:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_haze, "PROCEDURAL_SIZE", SIZE[::-1])
        source = demo_haze.write_procedural(14, tmp_path_factory.mktemp("scene"))
    return demo_haze.load(source)


def made(scene: Scene, settings: Settings) -> np.ndarray:
    return demo_haze.add_haze(scene, demo_haze.recipe_of(settings), settings.seed)[0]


ALL_ON = Settings(noise_contrast=0.8, noise_scale_m=5.0, sensor_noise=0.02, height_fog=True, height_scale_m=3.0)


@pytest.mark.parametrize(
    "change",
    [
        {"visibility_m": 60.0}, {"atmospheric_light": 0.6}, {"light_color": "#ffd0a0"}, {"angstrom_exponent": 1.3},
        {"noise_contrast": 0.3}, {"noise_scale_m": 12.0}, {"sensor_noise": 0.05}, {"height_fog": False},
        {"height_scale_m": 12.0}, {"camera_height_m": 6.0}, {"camera_pitch_deg": 20.0}, {"color_space": "linear"},
        {"seed": 1},
    ],
)  # fmt: skip
def test_no_control_is_ignored(change, scene):
    assert (made(scene, ALL_ON) != made(scene, dataclasses.replace(ALL_ON, **change))).any()
    assert (made(scene, ALL_ON) == made(scene, ALL_ON)).all()


def test_every_control_has_such_a_test():
    marks = [mark for mark in test_no_control_is_ignored.pytestmark if mark.name == "parametrize"]
    assert {name for change in marks[0].args[1] for name in change} == set(Settings.__dataclass_fields__)


def test_presets_differ(scene):
    pictures = {name: made(scene, settings).tobytes() for name, settings in PRESETS.items()}
    assert len(set(pictures.values())) == len(PRESETS)


@pytest.mark.parametrize("text", ["#ffd0a0", "#FFD0A0", "rgb(255, 208, 160)", "rgba(255.0, 208.0, 160.0, 1)"])
def test_colours_are_read_as_the_page_writes_them(text):
    assert demo_haze.light_factors(text, "srgb") == (1.0, 0.8157, 0.6275)
    assert demo_haze.light_factors(text, "linear") == (1.0, 0.6308, 0.3515)


@pytest.mark.parametrize("text", ["red", "#fff", "rgb(256, 0, 0)", "rgb(1.2.3, 0, 0)", "", "#ggffff"])
def test_other_colours_are_refused(text):
    with pytest.raises(UsageError, match="colour of the light cannot be read"):
        demo_haze.light_factors(text, "srgb")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visibility_m": "thick"}, "'visibility_m' cannot be used. Expected a finite number, received 'thick'"),
        ({"visibility_m": None}, "received nothing"),
        ({"seed": True}, "'seed' cannot be used"),
        ({"noise_contrast": float("nan")}, "'noise_contrast' cannot be used"),
        ({"height_fog": 1}, "'height_fog' cannot be used. Expected bool, received 1"),
        ({"color_space": None}, "'color_space' cannot be used. Expected str"),
    ],
)
def test_settings_of_other_types_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        demo_haze.settings_of(dataclasses.asdict(Settings()) | change)


@pytest.mark.parametrize("number", [-1, 0.5, 10**6, "14", None])
def test_procedural_scenes_beyond_the_last_are_refused(number, tmp_path):
    with pytest.raises(UsageError, match="The scene's number"):
        demo_haze.write_procedural(number, tmp_path)


def uploads(folder: Path, size: tuple[int, int] = SIZE) -> tuple[Path, Path]:
    """A photo, and its depth in millimetres with a hole and sky."""
    depth = np.linspace(2000, 60000, size[0] * size[1]).reshape(size).astype(np.uint16)
    depth[: size[0] // 8], depth[-8:, -8:] = 65535, 0
    return write(folder / "street.png", photo(*size)), write(folder / "depth.png", depth)


@pytest.mark.parametrize("name", ["drifting fog, 80 m", "ground fog, 30 m", "dust, 120 m"])
def test_recipe_gives_the_same_pixels_in_make(name, tmp_path):
    for part in ("images", "depth"):
        (tmp_path / part).mkdir()
    given, depth = uploads(tmp_path)
    source = demo_haze.uploaded(given, depth, 0.001, 65535.0, 60.0)
    settings = dataclasses.replace(PRESETS[name], seed=3, sensor_noise=0.02)
    recipe = demo_haze.recipe_of(settings)
    hazy, _, haze = demo_haze.add_haze(demo_haze.load(source), recipe, settings.seed)
    (tmp_path / "haze.yaml").write_text(demo_haze.recipe_text(recipe, settings.seed, source), encoding="utf-8")
    command = (tmp_path / "haze.yaml").read_text().splitlines()[1].removeprefix("# hazegen ").split()
    assert command[0] == "make"
    given.rename(tmp_path / "images" / "street.png")
    depth.rename(tmp_path / "depth" / "street.png")
    places = {"PHOTOS": "images", "DEPTH": "depth", "haze.yaml": "haze.yaml", "DATASET": "dataset"}
    words = [str(tmp_path / places[word]) if word in places else word for word in command]
    assert hazegen([*words, "--codec", "png", "--splits", "train=1", "--quiet", "--workers", "1"]) == 0
    (record,) = read_records(tmp_path / "dataset", "train")
    assert (record["hazy"] == hazy).all()
    assert record["visibility_m"] == pytest.approx(haze.visibility_m)


def test_recipe_text_leaves_out_what_is_off():
    source = demo_haze.Source(Path("a"), Path("b"), "a", camera=Path("c"))
    text = demo_haze.recipe_text(demo_haze.recipe_of(Settings()), 0, source)
    assert "visibility_m: 150.0" in text
    assert "noise_scale_m" not in text
    assert "--camera CAMERA" in text
    assert "--depth-scale" not in text


def test_scene_for_the_screen_looks_like_the_whole_one(tmp_path):
    given, depth = uploads(tmp_path, (600, 1920))
    source = demo_haze.uploaded(given, depth, 0.001, 65535.0, 60.0)
    small = demo_haze.for_screen(source, tmp_path)
    assert small.key == source.key
    whole, seen = demo_haze.load(source), demo_haze.load(small)
    assert seen.clean.shape == (300, 960, 3)
    assert seen.sky == pytest.approx(whole.sky, abs=0.01)
    recipe = demo_haze.recipe_of(PRESETS["ground fog, 30 m"])
    hazy, _, _ = demo_haze.add_haze(whole, recipe, 0)
    quick, _, _ = demo_haze.add_haze(seen, recipe, 0)
    expected = cv2.resize(hazy, (960, 300), interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(quick - expected).mean() < 1.0
    assert demo_haze.for_screen(demo_haze.uploaded(*uploads(tmp_path), 0.001, None, 60.0), tmp_path).photo == given


def test_uploads_without_what_they_need_are_refused(tmp_path):
    given, depth = uploads(tmp_path)
    with pytest.raises(RefusedError, match=r"unknown unit.*Fill in 'Depth scale'"):
        demo_haze.uploaded(given, depth, None, None, 60.0)
    with pytest.raises(
        UsageError, match=r"'Field of view' cannot be used\. Expected a finite number, received nothing"
    ):
        demo_haze.uploaded(given, depth, 0.001, None, None)
    from PIL import Image

    exif = Image.Exif()
    exif[images.EXIF_ORIENTATION] = 6
    Image.fromarray(photo(*SIZE)).save(tmp_path / "turned.jpg", exif=exif)
    with pytest.raises(RefusedError, match=r"'turned\.jpg' is stored turned"):
        demo_haze.uploaded(tmp_path / "turned.jpg", depth, 0.001, None, 60.0)


@pytest.mark.parametrize(("text", "number"), [("", None), (None, None), ("0.001", 0.001), (" 65535 ", 65535.0)])
def test_optional_numbers_are_read(text, number):
    assert demo_haze.number_or_none("Depth scale", text) == number


@pytest.mark.parametrize("text", ["inf", "nan", "mm", ["1"]])
def test_optional_numbers_that_are_none_are_refused(text):
    with pytest.raises(UsageError, match=r"'Depth scale' cannot be used\. Expected a "):
        demo_haze.number_or_none("Depth scale", text)


def test_recipe_of_the_page_is_read_as_it_was_written(tmp_path):
    recipe = demo_haze.recipe_of(dataclasses.replace(ALL_ON, light_color="#e0f0ff"))
    path = tmp_path / "haze.yaml"
    source = demo_haze.Source(Path("a"), Path("b"), "a", fov_deg=60.0)
    path.write_text(demo_haze.recipe_text(recipe, 0, source), encoding="utf-8")
    assert config.build(Recipe, config.read_config(path, Recipe)) == recipe


# --- the gate ---


def through(gate: Gate, method: str, path: str, parts: list[bytes], headers: dict[str, str]) -> list[dict[str, Any]]:
    """What the gate sends for one request."""
    sent: list[dict[str, Any]] = []
    waiting = list(parts)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    named = [(name.encode(), value.encode()) for name, value in ({"host": "localhost:1"} | headers).items()]
    asyncio.run(gate({"type": "http", "method": method, "path": path, "headers": named}, receive, send))
    return sent


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers with what it receives, or with a page."""
    body = (await receive())["body"] if scope["method"] == "POST" else b'<meta property="og:image" content="x" /><p>'
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@pytest.fixture
def gate(tmp_path) -> Gate:
    return Gate(echo, tmp_path, ("localhost",), 1000)


def test_gate_writes_requests_anew_without_addresses(gate, tmp_path):
    path = write(tmp_path / "a b.png", photo(8, 8))
    post = functools.partial(through, gate, "POST", f"{API}/queue/join")
    url = f"http://localhost:1{API}/file={str(path).replace(' ', '%20')}"
    body = json.dumps({"data": [{"path": str(path), "url": url}]}).encode()
    sent = post([body[:10], body[10:]], {"content-length": str(len(body))})
    assert json.loads(sent[1]["body"]) == {"data": [{"path": str(path), "url": None}]}
    # The last of two equal names counts, for the gate as for the server.
    twice = f'{{"data": [{{"path": {json.dumps(str(path))}, "path": "/etc/passwd"}}]}}'.encode()
    assert post([twice], {"content-length": str(len(twice))})[0]["status"] == 400
    assert post([b"1" * 300_000, b"", b""], {"content-length": "10"})[0]["status"] == 400
    assert post([b"{}"], {})[0]["status"] == 411


def test_gate_hardens_the_page(gate):
    start, body = through(gate, "GET", "/", [], {})
    assert body["body"] == b"<p>"
    headers = dict(start["headers"])
    assert headers[b"content-length"] == b"3"
    assert b"default-src 'self'" in headers[b"content-security-policy"]
    assert headers[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:1", 200), ("LOCALHOST", 200), ("localhost:x", 421), ("evil.example", 421), ("", 421), ("a[b", 421)],
)
def test_gate_knows_its_names(host, status, gate):
    assert through(gate, "GET", "/", [], {"host": host})[0]["status"] == status


def test_gate_lets_no_websocket_in(gate):
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(gate({"type": "websocket"}, lambda: None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_screen_is_as_wide_as_the_page():
    assert demo_uploads.screen_size(3000, 4000) == (720, SCREEN_PX)
    assert demo_uploads.screen_size(10, SCREEN_PX) == (10, SCREEN_PX)
    assert demo_uploads.screen_size(1, 100_000) == (1, SCREEN_PX)
