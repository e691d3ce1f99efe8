"""The run folder and the pictures in it."""

import cv2
import numpy as np
import tensorflow as tf
from aodnet_fixtures import randomised

from aodnet import model, run_folder, weights
from hazegen import images


def logs(psnr: float, loss: float = 0.1) -> run_folder.Logs:
    named = {"loss": loss, "val_loss": loss, "val_psnr_rgb": psnr, "val_ssim_rgb": 0.5, "learning_rate": 1e-3}
    return dict(named)


def examples(*sizes: tuple[int, int]) -> list:
    rng = np.random.default_rng(0)
    return [tuple(tf.constant(rng.uniform(size=(1, *size, 3)), tf.float32) for _ in range(2)) for size in sizes]


def folder_of(path, first_epoch: int = 0) -> run_folder.RunFolder:
    callback = run_folder.RunFolder(path, first_epoch)
    callback.examples = examples((20, 30))
    callback.set_model(randomised(model.build_aodnet(), 1))
    return callback


def test_run_folder_is_complete_after_one_epoch(tmp_path):
    callback = folder_of(tmp_path)
    callback.on_epoch_end(0, logs(20.0))
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    expected = ["best.weights.h5", "curves.png", "history.csv", "last.weights.h5", "validation/epoch-0001.png"]
    assert names == expected
    assert run_folder.read_history(tmp_path / "history.csv") == [{"epoch": 0.0, **logs(20.0)}]
    assert cv2.imread(str(tmp_path / "curves.png")).shape == (700, 1100, 3)


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
    resumed = folder_of(tmp_path, first_epoch=2)
    assert [row["epoch"] for row in resumed.rows] == [0, 1]
    assert resumed.best == 14.0
    before = (tmp_path / "best.weights.h5").read_bytes()
    randomised(resumed.model, 9)
    resumed.on_epoch_end(2, logs(13.0))
    assert (tmp_path / "best.weights.h5").read_bytes() == before
    assert [row["val_psnr_rgb"] for row in run_folder.read_history(tmp_path / "history.csv")] == [10.0, 14.0, 13.0]


def test_history_repeats_floats_to_the_bit(tmp_path):
    callback = folder_of(tmp_path)
    values = logs(10.0 / 3.0, float(np.float32(0.1)) / 7.0)
    callback.on_epoch_end(0, values)
    assert run_folder.read_history(tmp_path / "history.csv") == [{"epoch": 0.0, **values}]


def test_history_of_a_new_run_is_empty(tmp_path):
    assert run_folder.read_history(tmp_path / "history.csv") == []
    assert folder_of(tmp_path).best == float("-inf")


def test_example_grid_shows_hazy_restored_and_clean():
    network = randomised(model.build_aodnet(), 1)
    pairs = examples((20, 30), (16, 10))
    grid = run_folder.example_grid(network, pairs)
    assert grid.dtype == np.uint8
    assert grid.shape == (20 + 4 + 16 + 4, 90, 3)
    hazy, clean = (np.rint(values.numpy()[0] * 255.0) for values in pairs[0])
    restored = np.rint(np.clip(network(pairs[0][0]).numpy()[0], 0, 1) * 255.0)
    np.testing.assert_array_equal(grid[:20], np.hstack([hazy, restored, clean]))
    assert (grid[20:24] == 255).all()
    assert (grid[24:40, 30:] == 255).all()


def test_example_grid_shrinks_wide_pictures():
    grid = run_folder.example_grid(model.build_aodnet(), examples((50, 640)))
    assert grid.shape == (25 + 4, 960, 3)


def test_curves_of_one_epoch_and_of_many(tmp_path):
    for count in (1, 30):
        run_folder.plot_curves([{"epoch": float(e), **logs(20.0 + e)} for e in range(count)], tmp_path / "c.png")
        pixels = images.read_picture(tmp_path / "c.png")
        assert (pixels[..., :3] != 255).any(axis=2).mean() > 0.01


def test_folder_that_goes_back_forgets_later_rows_and_their_best(tmp_path):
    callback = folder_of(tmp_path)
    for epoch, psnr in enumerate((10.0, 19.0, 14.0)):
        callback.on_epoch_end(epoch, logs(psnr))
    callback.rewind(1)
    assert [row["epoch"] for row in callback.rows] == [0]
    assert callback.best == 10.0
