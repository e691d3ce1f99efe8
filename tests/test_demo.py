"""The demo without its page: options, uploads, and what is removed."""

import importlib.util
import os
import re
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from demo_fixtures import photo, write, write_turned

from aodnet import demo, demo_dehaze, demo_uploads
from aodnet.cli_predict import run_predict
from aodnet.demo_uploads import SCREEN_PX
from hazegen import images
from hazegen.errors import RefusedError, UsageError

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
        (["--host", ""], r"--host is empty\. Expected an address"),
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


def test_hosts_are_named_as_browsers_name_them():
    assert demo._names("::1")[0] == "[::1]"
    assert "127.0.0.2" in demo._names("127.0.0.2")[1]
    assert demo._names("0.0.0.0") == ("0.0.0.0", ())


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
    pixels = photo(130, 2600)
    path = write(tmp_path / f"a{suffix}", pixels)
    shown = demo_uploads.read_for_screen(path)
    assert shown.shape == (48, 960, 3)
    expected = cv2.resize(pixels, (960, 48), interpolation=cv2.INTER_AREA)
    assert np.abs(shown.astype(int) - expected).max() <= tolerance


def test_picture_for_the_screen_is_upright(tmp_path):
    shown = demo_uploads.read_for_screen(write_turned(tmp_path / "a.jpg", photo(130, 2600)))
    assert shown.shape == (960, 48, 3)
    expected = np.rot90(cv2.resize(photo(130, 2600), (960, 48), interpolation=cv2.INTER_AREA), -1)
    assert np.abs(shown.astype(int) - expected).mean() < 3


def test_cache_loses_what_was_not_used_for_longest(tmp_path):
    paths = [tmp_path / name for name in ("a", "b", "c", "example")]
    for age, path in enumerate(paths):
        path.write_bytes(bytes(10))
        os.utime(path, (1e9 - age, 1e9 - age))
    demo_uploads.drop_oldest(tmp_path, {paths[3]}, 15)
    assert sorted(tmp_path.iterdir()) == [paths[0], paths[3]]
    demo_uploads.drop_oldest(tmp_path, {paths[3]}, 10)
    assert paths[0].exists()


# --- removing haze ---


@pytest.fixture(scope="module")
def network() -> demo_dehaze.Network:
    return demo_dehaze.load_networks({"rooms": "rooms"})["rooms"]


def test_whole_picture_is_what_predict_writes_to_the_byte(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wide = photo(80, 1100)  # two tiles
    paths = [write(tmp_path / "a.jpg", wide), write(tmp_path / "b.png", wide.astype(np.uint16) * 257)]
    paths.append(write(tmp_path / "c.tiff", wide[..., 0]))
    paths.append(write_turned(tmp_path / "d.jpg", np.rot90(wide)))
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


def test_screen_is_as_wide_as_the_page():
    assert demo_uploads.screen_size(3000, 4000) == (720, SCREEN_PX)
    assert demo_uploads.screen_size(10, SCREEN_PX) == (10, SCREEN_PX)
    assert demo_uploads.screen_size(1, 100_000) == (1, SCREEN_PX)
