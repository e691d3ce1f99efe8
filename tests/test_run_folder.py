"""The run folder and the pictures in it."""

import cv2
import numpy as np
import tensorflow as tf
from aodnet_fixtures import randomised

from aodnet import metrics, model, run_folder, validation_pictures, weights
from aodnet.validation_pictures import Example
from hazegen import images


def logs(psnr: float, loss: float = 0.1) -> run_folder.Logs:
    named = {"loss": loss, "val_loss": loss, "val_psnr_rgb": psnr, "val_ssim_rgb": 0.5, "learning_rate": 1e-3}
    named |= {"data_wait": 0.25, "images_per_s": 12.5, "lost": 0.0}
    return {name: float(np.float32(value)) for name, value in named.items()}


def some(*sizes: tuple[int, int]) -> list[Example]:
    rng = np.random.default_rng(0)
    pictures = [[tf.constant(rng.uniform(size=(1, *size, 3)), tf.float32) for _ in range(2)] for size in sizes]
    return [Example(f"scene-{number}", *pair) for number, pair in enumerate(pictures)]


def folder_of(path, done: int = 0) -> run_folder.RunFolder:
    callback = run_folder.RunFolder(path, done)
    callback.examples = some((20, 30))
    callback.set_model(randomised(model.build_aodnet(), 1))
    return callback


def test_run_folder_is_complete_after_one_epoch(tmp_path):
    callback = folder_of(tmp_path)
    callback.on_epoch_end(0, logs(20.0))
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    expected = ["best.weights.h5", "curves.png", "history.csv", "last.weights.h5", "validation/epoch-0001.png"]
    assert names == expected
    assert run_folder.read_history(tmp_path / "history.csv") == [{"epoch": 1.0, **logs(20.0)}]
    assert cv2.imread(str(tmp_path / "curves.png")).shape == (700, 1300, 3)


def test_best_is_the_highest_psnr_and_last_the_latest(tmp_path):
    callback = folder_of(tmp_path)
    kept = {}
    for epoch, psnr in enumerate((10.0, 14.0, 12.0)):
        randomised(callback.model, epoch)
        kept[epoch] = callback.model.get_weights()
        callback.on_epoch_end(epoch, logs(psnr))
    for name, epoch in (("best", 1), ("last", 2)):
        loaded = weights.load(tmp_path / f"{name}.weights.h5").get_weights()
        for a, b in zip(loaded, kept[epoch], strict=True):
            np.testing.assert_array_equal(a, b)


def test_resumed_folder_drops_later_rows_and_keeps_the_best(tmp_path):
    callback = folder_of(tmp_path)
    for epoch, psnr in enumerate((10.0, 14.0, 19.0)):
        callback.on_epoch_end(epoch, logs(psnr))
    resumed = folder_of(tmp_path, done=2)
    assert [row["epoch"] for row in resumed.rows] == [1, 2]
    assert resumed.best == 14.0
    before = (tmp_path / "best.weights.h5").read_bytes()
    randomised(resumed.model, 9)
    resumed.on_epoch_end(2, logs(13.0))
    assert (tmp_path / "best.weights.h5").read_bytes() == before
    assert [row["val_psnr_rgb"] for row in run_folder.read_history(tmp_path / "history.csv")] == [10.0, 14.0, 13.0]


def test_history_repeats_floats_to_the_bit(tmp_path):
    """By as few digits as that takes, in the order in which a reader looks for them."""
    callback = folder_of(tmp_path)
    values = logs(10.0 / 3.0, 0.1 / 7.0)
    callback.on_epoch_end(0, dict(sorted(values.items())))
    assert run_folder.read_history(tmp_path / "history.csv") == [{"epoch": 1.0, **values}]
    head, row = (tmp_path / "history.csv").read_text().splitlines()
    assert head == "epoch,loss,val_loss,val_psnr_rgb,val_ssim_rgb,learning_rate,data_wait,images_per_s,lost"
    assert row == "1,0.014285714,0.014285714,3.3333333,0.5,0.001,0.25,12.5,0"


def test_history_of_a_new_run_is_empty(tmp_path):
    assert run_folder.read_history(tmp_path / "history.csv") == []
    assert folder_of(tmp_path).best == float("-inf")


def test_grid_shows_hazy_restored_and_clean_with_their_psnr(monkeypatch):
    """A row for each example; captions say what they are."""
    network = randomised(model.build_aodnet(), 1)
    pairs = some((20, 30), (16, 10))
    told: list[str] = []
    tile = validation_pictures.tile
    monkeypatch.setattr(validation_pictures, "tile", lambda pixels, text: told.append(text) or tile(pixels, text))
    drawn, rows = validation_pictures.grid(network, pairs, " after epoch 7:")
    assert drawn.dtype == np.uint8
    assert [row.name for row in rows] == ["scene-0", "scene-1"]
    hazy, clean = (np.rint(values.numpy()[0] * 255.0) for values in (pairs[0].hazy, pairs[0].clean))
    restored = np.rint(np.clip(network(pairs[0].hazy).numpy()[0], 0, 1) * 255.0)
    before, after = (metrics.psnr(picture, clean, data_range=255.0) for picture in (hazy, restored))
    expected = [f"hazy {before:.2f} dB", f"restored after epoch 7: {after:.2f} dB", "clean: scene-0"]
    assert told[:3] == expected
    assert told[6] == "clean: scene-1"
    own = [tile(one.astype(np.uint8), text) for one, text in zip((hazy, restored, clean), expected, strict=True)]
    wanted = np.hstack(own)
    np.testing.assert_array_equal(drawn[: len(wanted), : wanted.shape[1]], wanted)


def test_curves_of_one_epoch_and_of_many(tmp_path):
    for count in (1, 30):
        run_folder.plot_curves([{"epoch": float(e + 1), **logs(20.0 + e)} for e in range(count)], tmp_path / "c.png")
        pixels = images.read_picture(tmp_path / "c.png")
        assert (pixels[..., :3] != 255).any(axis=2).mean() > 0.01


def test_curves_draw_the_input_too_at_whole_epochs(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: drawn.append(self))
    run_folder.plot_curves([{"epoch": float(e + 1), **logs(20.0 + e)} for e in range(3)], tmp_path / "c.png")
    (figure,) = drawn
    lines = {line.get_label() for axes in figure.axes for line in axes.lines}
    assert lines == set(logs(1.0)) - {"lost"}
    for axes in figure.axes:
        assert list(axes.lines[0].get_xdata()) == [1, 2, 3]
        assert all(tick == round(tick) for tick in axes.get_xticks())


def test_folder_that_goes_back_forgets_later_rows_and_their_best(tmp_path):
    callback = folder_of(tmp_path)
    for epoch, psnr in enumerate((10.0, 19.0, 14.0)):
        callback.on_epoch_end(epoch, logs(psnr))
    callback.rewind(1)
    assert [row["epoch"] for row in callback.rows] == [1]
    assert callback.best == 10.0
