"""The command aodnet: exit statuses and messages, and that help costs nothing."""

import csv
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from aodnet_fixtures import make_dataset, noise, published_layers, randomised, smooth

from aodnet import cli, model, weights
from hazegen import images


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    counts = {"train": 2, "validation": 1, "test": 2}
    return make_dataset(tmp_path_factory.mktemp("cli-pairs"), counts, size=(24, 32), picture=smooth)


@pytest.fixture(scope="module")
def network_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("cli-weights") / "ours.weights.h5"
    weights.save(randomised(model.build_aodnet(), 1), path)
    return path


def run(*argv: object) -> int:
    return cli.main([str(word) for word in argv])


def failed(capsys, status: int, *argv: object) -> str:
    """The one message of a command that must end with `status`."""
    assert run(*argv) == status
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.startswith("error: ")
    return said


# --- done ---


def test_fit_evaluate_predict(pairs, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("epochs: 1\nbatch: 2\ncrop: 16\nloss: l1\n")
    out = tmp_path / "run"
    assert run("fit", "--data", pairs, "--out", out, "--config", tmp_path / "config.yaml", "--loss", "l2=0.5") == 0
    said = capsys.readouterr()
    assert "trained 1 epoch on" in said.out
    assert f"next: aodnet evaluate --model {out}/best.weights.h5 --data {pairs}" in said.out
    saved = (out / "config.yaml").read_text()
    assert "batch: 2" in saved  # of the file
    assert "loss: l2=0.5" in saved  # the option stands above it
    assert images.read_picture(out / "curves.png").shape[:2] == (700, 1300)
    best = out / "best.weights.h5"
    assert run("evaluate", "--model", best, "--data", pairs, "--out", tmp_path / "scores") == 0
    said = capsys.readouterr().out
    assert "Protocol rgb: float64" in said
    assert "4 pairs" in said
    assert "| run/best |" in said
    assert (tmp_path / "scores" / "strip.png").exists()
    photo = tmp_path / "photo.png"
    photo.write_bytes(images.encode(noise(0, 13, 17), ".png"))
    assert run("predict", "--model", best, photo, "--out", tmp_path / "restored") == 0
    assert "1 picture restored" in capsys.readouterr().out
    assert images.read_picture(tmp_path / "restored" / "photo.png").shape == (13, 17, 3)


def test_import_weights(tmp_path, capsys):
    network = randomised(model.build_aodnet(), 5)
    named = {}
    for number, (kernel, bias) in enumerate(published_layers(network), start=1):
        named |= {f"torch_conv{number}_w": kernel, f"torch_conv{number}_b": bias}
    np.savez(tmp_path / "w.npz", **named)
    out = tmp_path / "new" / "ours.weights.h5"
    assert run("import-weights", tmp_path / "w.npz", "--out", out) == 0
    assert "1761 parameters" in capsys.readouterr().out
    for a, b in zip(weights.load(out).get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_two_models_of_one_name_keep_two_rows(pairs, network_file, tmp_path, capsys):
    paths = [tmp_path / top / "run" / "best.weights.h5" for top in ("a", "b")]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True)
        weights.save(randomised(model.build_aodnet(), number), path)
    out = tmp_path / "out"
    assert run("evaluate", "--model", *paths, "--data", pairs, "--limit", 1, "--out", out) == 0
    with (out / "scores.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3 + 2


# --- usage: 2 ---


def test_no_command(capsys):
    assert run() == 2
    assert "import-weights" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["fit"], ["fit", "--data", "x", "--nonsense", "1"], ["evaluate"]], ids=str)
def test_wrong_words(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*argv)
    assert caught.value.code == 2


def test_abbreviated_options_are_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        run("fit", "--data", "x", "--epo", "3")
    assert caught.value.code == 2


def test_unknown_config_key_names_the_valid_ones(pairs, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("epochs: 1\nlearning_rates: 0.1\n")
    said = failed(capsys, 2, "fit", "--data", pairs, "--out", tmp_path / "run", "--config", tmp_path / "config.yaml")
    assert "received 'learning_rates'. Did you mean 'learning_rate'?" in said
    for name in ("epochs", "clip_norm", "deterministic"):
        assert name in said
    assert not (tmp_path / "run").exists()


def test_unknown_config_lists_the_shipped_ones(pairs, tmp_path, capsys):
    assert "default" in failed(capsys, 2, "fit", "--data", pairs, "--config", "nonsense", "--out", tmp_path / "run")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--epochs", "0", "epochs is out of range. Expected at least 1, received 0"),
        ("--epochs", "many", "epochs cannot be used. Expected N, received 'many'"),
        ("--learning-rate", "-1", "learning_rate is out of range"),
        ("--loss", "l3", "Expected terms among l2, log-mse, l1, charbonnier, ssim"),
        ("--crop", "25", "Expected 1 to 24 pixels"),
    ],
)
def test_settings_out_of_range(pairs, tmp_path, capsys, option, value, message):
    assert message in failed(capsys, 2, "fit", "--data", pairs, "--out", tmp_path / "run", option, value)


def test_two_sources_of_pairs(network_file, pairs, capsys):
    said = failed(capsys, 2, "evaluate", "--model", network_file, "--data", pairs, "--hazy", pairs, "--clean", pairs)
    assert "There must be one source of pairs" in said


def test_import_weights_wants_its_suffix(tmp_path, capsys):
    said = failed(capsys, 2, "import-weights", tmp_path / "w.npz", "--out", tmp_path / "ours.h5")
    assert "ends in .weights.h5" in said


# --- refused: 3 ---


def test_missing_manifest(tmp_path, network_file, capsys):
    assert "is no finished dataset" in failed(capsys, 3, "fit", "--data", tmp_path, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    said = failed(capsys, 3, "evaluate", "--model", network_file, "--data", tmp_path, "--out", tmp_path / "out")
    assert "is no finished dataset" in said


def test_existing_run_folder(pairs, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    said = failed(capsys, 3, "fit", "--data", pairs, "--out", tmp_path / "run")
    assert "Choose another --out, or pass --resume" in said
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


@pytest.mark.filterwarnings("ignore:Skipping nested container:UserWarning:keras")
@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_weights_of_another_shape(pairs, tmp_path, capsys, command):
    hazy = keras.Input((None, None, 3))
    other = keras.Model(hazy, keras.layers.Conv2D(3, 1)(keras.layers.Conv2D(3, 1)(hazy)))
    other.save_weights(tmp_path / "other.weights.h5")
    rest = ["--data", pairs] if command == "evaluate" else [tmp_path / "a.png"]
    said = failed(capsys, 3, command, "--model", tmp_path / "other.weights.h5", *rest, "--out", tmp_path / "out")
    assert "do not fit AOD-Net" in said
    assert not (tmp_path / "out").exists()


def test_weights_that_are_none(tmp_path, capsys):
    (tmp_path / "a.weights.h5").write_text("text")
    argv = ("predict", "--model", tmp_path / "a.weights.h5", tmp_path / "a.png", "--out", tmp_path / "out")
    said = failed(capsys, 3, *argv)
    assert "is no weight file" in said


def test_bad_picture_among_good_ones(network_file, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(images.encode(noise(0, 12, 12), ".png"))
    (tmp_path / "b.png").write_text("no picture")
    said = failed(
        capsys, 3, "predict", "--model", network_file, tmp_path / "b.png", tmp_path / "a.png", "--out", tmp_path / "out"
    )
    assert "1 input could not be restored" in said
    assert "b.png" in said
    assert (tmp_path / "out" / "a.png").exists()


def test_resume_without_a_run(pairs, tmp_path, capsys):
    said = failed(capsys, 3, "fit", "--data", pairs, "--out", tmp_path / "none", "--resume")
    assert "There is no checkpoint to resume from" in said


def test_import_of_a_text_file(tmp_path, capsys):
    (tmp_path / "w.npz").write_text("text")
    said = failed(capsys, 3, "import-weights", tmp_path / "w.npz", "--out", tmp_path / "a.weights.h5")
    assert "cannot be read" in said
    assert not (tmp_path / "a.weights.h5").exists()


# --- disk: 4, verify: 5 ---


def test_output_that_cannot_be_written(network_file, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(images.encode(noise(0, 12, 12), ".png"))
    (tmp_path / "file").write_text("in the way")
    failed(capsys, 4, "predict", "--model", network_file, tmp_path / "a.png", "--out", tmp_path / "file")


def test_cut_shard(tmp_path, capsys):
    folder = make_dataset(tmp_path / "d", {"train": 1, "validation": 1}, size=(24, 32), variants=1)
    shard = next(folder.glob("*.tfrecord*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    said = failed(capsys, 5, "fit", "--data", folder, "--out", tmp_path / "run", "--crop", 16)
    assert f"Shard '{shard.name}' is not what the manifest says" in said
    assert "hazegen" in said


# --- help ---


def test_help_imports_neither_tensorflow_nor_wandb():
    code = (
        "import sys\nfrom aodnet import cli\n"
        "for argv in (['--help'], ['fit', '--help'], ['evaluate', '--help'], ['predict', '--help']):\n"
        "    try: cli.main(argv)\n    except SystemExit as end: assert end.code == 0\n"
        "print('LOADED', sorted({'tensorflow', 'keras', 'wandb', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("LOADED []\n")
    for option in ("--learning-rate", "--resume", "--align", "--model", "examples:"):
        assert option in done.stdout
