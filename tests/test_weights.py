"""Weight files: round trips, and everything that is no such file."""

import pickle
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from aodnet_fixtures import published_layers, randomised

from aodnet import model, weights
from hazegen.errors import RefusedError


def arrays_of(network: keras.Model, layout: str) -> dict[str, np.ndarray]:
    named = {}
    for number, (kernel, bias) in enumerate(published_layers(network), start=1):
        named |= {f"{layout}_conv{number}_w": kernel, f"{layout}_conv{number}_b": bias}
    return named


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return randomised(model.build_aodnet(), 2)


@pytest.fixture
def npz(tmp_path, network) -> Path:
    np.savez(tmp_path / "w.npz", **arrays_of(network, "caffe"))
    return tmp_path / "w.npz"


def assert_same(a: keras.Model, b: keras.Model) -> None:
    for x, y in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(x, y)


def test_round_trip(tmp_path, network):
    weights.save(network, tmp_path / "a.weights.h5")
    assert_same(weights.load(tmp_path / "a.weights.h5"), network)
    assert [path.name for path in tmp_path.iterdir()] == ["a.weights.h5"]


def test_save_replaces(tmp_path, network):
    weights.save(model.build_aodnet(), tmp_path / "a.weights.h5")
    weights.save(network, tmp_path / "a.weights.h5")
    assert_same(weights.load(tmp_path / "a.weights.h5"), network)


@pytest.mark.parametrize("layout", ["caffe", "torch"])
def test_import_of_either_layout(tmp_path, network, layout):
    np.savez(tmp_path / "w.npz", **arrays_of(network, layout))
    assert_same(weights.import_npz(tmp_path / "w.npz"), network)
    assert_same(weights.import_npz(tmp_path / "w.npz", layout), network)


def test_import_then_save_then_load(tmp_path, npz, network):
    weights.save(weights.import_npz(npz), tmp_path / "b.weights.h5")
    assert_same(weights.load(tmp_path / "b.weights.h5"), network)


def test_both_layouts_need_a_choice(tmp_path, network):
    other = randomised(model.build_aodnet(), 3)
    np.savez(tmp_path / "w.npz", **arrays_of(network, "caffe"), **arrays_of(other, "torch"))
    with pytest.raises(RefusedError, match=r"received both\. Pass --layout"):
        weights.import_npz(tmp_path / "w.npz")
    assert_same(weights.import_npz(tmp_path / "w.npz", "caffe"), network)
    assert_same(weights.import_npz(tmp_path / "w.npz", "torch"), other)


def test_denormals_become_zero(tmp_path, network):
    arrays = arrays_of(network, "caffe")
    kernel = arrays["caffe_conv3_w"].copy()
    kernel.flat[:4] = (1e-40, -1e-38, 9e-21, 2e-20)
    np.savez(tmp_path / "w.npz", **arrays | {"caffe_conv3_w": kernel})
    loaded = published_layers(weights.import_npz(tmp_path / "w.npz"))[2][0].ravel()
    np.testing.assert_array_equal(loaded[:3], 0.0)
    assert loaded[3] == np.float32(2e-20)
    np.testing.assert_array_equal(loaded[4:], kernel.ravel()[4:])


def test_flush_small_counts_what_it_changes():
    network = model.build_aodnet()
    bias = network.get_layer("conv2").bias
    bias.assign([1e-30, 0.0, 1.0])
    assert weights.flush_small(network) == 1
    np.testing.assert_array_equal(bias.numpy(), [0.0, 0.0, 1.0])
    assert weights.flush_small(network) == 0


def test_trained_weights_hold_no_denormals_after_flushing():
    network = model.build_aodnet()
    for variable in network.trainable_variables:
        variable.assign(variable * 1e-30)
    assert weights.flush_small(network) > 1000
    values = np.concatenate([value.ravel() for value in network.get_weights()])
    assert not ((np.abs(values) < weights.SMALLEST) & (values != 0)).any()


@pytest.mark.parametrize("content", [b"", b"hello\n", b"PK\x03\x04", pickle.dumps([1]), b"\x89HDF\r\n\x1a\n"], ids=str)
def test_npz_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "w.npz").write_bytes(content)
    with pytest.raises(RefusedError, match=r"w\.npz' cannot be read"):
        weights.import_npz(tmp_path / "w.npz")


def test_npy_under_the_name_npz_is_refused(tmp_path):
    with (tmp_path / "w.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(RefusedError, match=r"w\.npz' cannot be read"):
        weights.import_npz(tmp_path / "w.npz")


def test_missing_npz_is_refused(tmp_path):
    with pytest.raises(RefusedError, match="cannot be read"):
        weights.import_npz(tmp_path / "none.npz")


@pytest.mark.parametrize("layout", [None, "caffe"])
def test_npz_without_arrays_is_refused(tmp_path, layout):
    with zipfile.ZipFile(tmp_path / "w.npz", "w"):
        pass
    with pytest.raises(RefusedError, match=r"does not say which weights|do not fit AOD-Net"):
        weights.import_npz(tmp_path / "w.npz", layout)


def test_truncated_npz_is_refused(npz):
    npz.write_bytes(npz.read_bytes()[:-200])
    with pytest.raises(RefusedError, match="cannot be read"):
        weights.import_npz(npz)


def test_npz_with_a_flipped_bit_is_refused(npz):
    data = bytearray(npz.read_bytes())
    data[len(data) // 2] ^= 1
    npz.write_bytes(data)
    with pytest.raises(RefusedError, match="cannot be read"):
        weights.import_npz(npz)


@pytest.mark.parametrize("name", ["conv1_w", "conv4_w", "conv5_b"])
def test_npz_of_another_shape_is_refused(tmp_path, network, name):
    arrays = arrays_of(network, "caffe")
    arrays[f"caffe_{name}"] = np.concatenate([arrays[f"caffe_{name}"]] * 2)
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(RefusedError, match=f"convolution {name[4]} .*do not fit AOD-Net"):
        weights.import_npz(tmp_path / "w.npz")


def test_npz_with_a_missing_layer_is_refused(tmp_path, network):
    arrays = arrays_of(network, "caffe")
    del arrays["caffe_conv3_w"]
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(RefusedError, match=r"convolution 3 .*do not fit AOD-Net"):
        weights.import_npz(tmp_path / "w.npz")


@pytest.mark.parametrize("dtype", ["U4", "c8"])
def test_npz_of_other_things_than_numbers_is_refused(tmp_path, network, dtype):
    arrays = arrays_of(network, "caffe")
    arrays["caffe_conv2_b"] = np.full(3, "a" if dtype == "U4" else 1j, dtype)
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(RefusedError):
        weights.import_npz(tmp_path / "w.npz")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_npz_with_values_that_are_not_finite_is_refused(tmp_path, network, value):
    arrays = arrays_of(network, "caffe")
    arrays["caffe_conv2_b"] = np.array([0.0, value, 0.0], np.float32)
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(RefusedError):
        weights.import_npz(tmp_path / "w.npz")


class Canary:
    """Pickled, it writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_objects_are_refused_unread(tmp_path, network):
    canary = tmp_path / "canary"
    objects = np.empty(3, object)
    objects[:] = [Canary(canary)] * 3
    np.savez(tmp_path / "w.npz", **arrays_of(network, "caffe") | {"caffe_conv1_b": objects})
    with pytest.raises(RefusedError, match="cannot be read"):
        weights.import_npz(tmp_path / "w.npz")
    (tmp_path / "p.npz").write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(RefusedError, match="cannot be read"):
        weights.import_npz(tmp_path / "p.npz")
    assert not canary.exists()
    np.load(tmp_path / "w.npz", allow_pickle=True)["caffe_conv1_b"]
    assert canary.exists()  # the canary does sing


@pytest.mark.parametrize("content", [None, b"", b"text\n", b"PK\x03\x04 a zip"], ids=str)
def test_file_that_holds_no_weights_is_refused(tmp_path, content):
    path = tmp_path / "a.weights.h5"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RefusedError, match=r"a\.weights\.h5' is no weight file"):
        weights.load(path)


def test_folder_is_refused(tmp_path):
    with pytest.raises(RefusedError, match="is no weight file"):
        weights.load(tmp_path)


def test_truncated_weights_are_refused(tmp_path, network):
    path = tmp_path / "a.weights.h5"
    weights.save(network, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(RefusedError, match="do not fit AOD-Net"):
        weights.load(path)


# Keras says first, in its own words, what it skips.
skips = pytest.mark.filterwarnings("ignore:Skipping nested container:UserWarning:keras")


@skips
@pytest.mark.parametrize("name", ["a.weights.h5", "a.h5", "a"])
def test_hdf5_of_something_else_is_refused(tmp_path, name):
    with h5py.File(tmp_path / name, "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(RefusedError, match="do not fit AOD-Net"):
        weights.load(tmp_path / name)


def other_network(second: int) -> keras.Model:
    """A port in circulation: a 1 x 1 second convolution, 1,689 parameters."""
    hazy = keras.Input((None, None, 3))
    x1 = keras.layers.Conv2D(3, 1, padding="same", name="conv1")(hazy)
    x2 = keras.layers.Conv2D(3, second, padding="same", name="conv2")(x1)
    return keras.Model(hazy, x2)


@skips
def test_weights_of_another_network_are_refused_with_both_named(tmp_path):
    other_network(1).save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(RefusedError, match=r"do not fit AOD-Net. Expected \(1, 1, 3, 3\), \(3, 3, 3, 3\)"):
        weights.load(tmp_path / "other.weights.h5")


@skips
@pytest.mark.parametrize("layer", ["conv2d", "conv2d_2", "conv2d_4"])
def test_weights_without_one_layer_are_refused(tmp_path, network, layer):
    path = tmp_path / "a.weights.h5"
    weights.save(network, path)
    with h5py.File(path, "r+") as file:
        del file[f"layers/{layer}"]
    with pytest.raises(RefusedError, match="do not fit AOD-Net"):
        weights.load(path)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    network = model.build_aodnet()
    network.get_layer("conv2").bias.assign([np.nan, 0.0, 0.0])
    weights.save(network, tmp_path / "a.weights.h5")
    with pytest.raises(RefusedError):
        weights.load(tmp_path / "a.weights.h5")


@skips
def test_weights_of_the_same_layers_in_another_shape_are_refused(tmp_path, network):
    path = tmp_path / "a.weights.h5"
    weights.save(network, path)
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if getattr(item, "shape", None) == (3, 3, 3, 3) else None)
        assert len(names) == 1
        del file[names[0]]
        file[names[0]] = np.zeros((1, 1, 3, 3), np.float32)
    with pytest.raises(RefusedError, match="do not fit AOD-Net"):
        weights.load(path)


def test_npz_that_unpacks_to_too_much_is_refused_before_it_is(tmp_path):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, caffe_conv1_w=np.zeros(20_000_000, np.float32))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(RefusedError, match="bytes when unpacked"):
        weights.import_npz(path)
