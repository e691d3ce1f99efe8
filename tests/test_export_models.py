"""Exported networks: each is read back by its own runtime, does what Keras does, and is not run unless it is ours."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import tensorflow as tf
from aodnet_fixtures import make_dataset, noise, published_layers, randomised, slow_aodnet, smooth

from aodnet import (
    calibration,
    equalised,
    export,
    exported,
    litert_file,
    model,
    onnx_file,
    predict,
    runtimes,
    saved_model,
    weights,
)
from aodnet.cli_predict import run_export, run_predict
from hazegen import color, images
from hazegen.errors import RefusedError, UsageError

schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="the extra litert is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

NAMES = {"onnx": "a.onnx", "litert": "a.tflite", "litert-int8": "a8.tflite", "savedmodel": "a"}
RUNTIME = {"savedmodel": "savedmodel"}  # the others say theirs by their suffix


@pytest.fixture(scope="module", autouse=True)
def few_scenes():
    """A scene takes half a second to draw, and each export of integers looks at all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "PROCEDURAL", 2)
        yield


@pytest.fixture(scope="module")
def network():
    return randomised(model.build_aodnet(), 4, scale=0.05)


@pytest.fixture(scope="module")
def pictures():
    return [color.to_float(smooth(seed, 48, 64)) for seed in range(4)]


@pytest.fixture(scope="module")
def exports(network, pictures, tmp_path_factory) -> dict[str, export.Exported]:
    """The network in each format, in one folder; to be read only."""
    folder = tmp_path_factory.mktemp("exports")
    given = {"pictures": pictures, "origin": "4 waves"}
    return {form: export.export(network, form, folder / name, **given) for form, name in NAMES.items()}


@pytest.fixture(scope="module")
def restorers(exports):
    return {form: runtimes.load(str(one.path), RUNTIME.get(form)) for form, one in exports.items()}


# --- what is written does what Keras does ---


@pytest.mark.parametrize("form", ["onnx", "litert", "savedmodel"])
@pytest.mark.parametrize("shape", [(1, 1), (9, 1), (1, 14), (6, 7), (33, 47), (120, 161)])
def test_float_formats_do_what_keras_does(network, restorers, form, shape):
    hazy = color.to_float(noise(0, *shape))
    np.testing.assert_allclose(restorers[form].call(hazy), network(hazy[None])[0].numpy(), atol=2e-6, rtol=0)


@pytest.mark.parametrize("form", ["onnx", "litert", "savedmodel"])
def test_float_formats_do_what_the_paper_says(network, restorers, form):
    hazy = noise(0, 9, 11) / 255.0
    expected = slow_aodnet(hazy, published_layers(network))
    np.testing.assert_allclose(restorers[form].call(hazy.astype(np.float32)), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", list(NAMES))
def test_tiles_in_each_runtime(restorers, form):
    one = restorers[form]
    hazy = color.to_float(smooth(1, 90, 110))
    tiles = type(one)(one.call, (48, 57))(hazy)
    # 8 bits: another order of sums rounds to the next of 256 values here and there.
    np.testing.assert_allclose(tiles, one(hazy), atol=0.02 if form == "litert-int8" else 1e-6, rtol=0)


def test_what_is_printed_is_true(network, exports, restorers, pictures):
    for form in ("onnx", "litert", "savedmodel"):
        assert exports[form].max_error < 2e-6
        assert exports[form].psnr_db is None
        assert (1, 1) in exports[form].sizes
    done, ratios, errors = exports["litert-int8"], [], []
    for shown in (pictures, calibration.procedural(1)):
        difference = [restorers["litert-int8"](hazy) - np.clip(network(hazy[None])[0].numpy(), 0, 1) for hazy in shown]
        ratios.append(-10 * np.log10(np.mean(np.square(difference))))
        errors.append(np.abs(difference).max())
    assert done.psnr_db == pytest.approx(min(ratios), abs=1e-3)
    assert done.max_error == pytest.approx(max(errors), abs=1e-6)
    assert done.sizes == [(48, 64), (144, 192)]
    assert done.psnr_db > export.LOWEST_PSNR


@pytest.mark.parametrize("form", ["onnx", "litert"])
def test_wider_networks(form):
    wide = randomised(model.build_aodnet(filters=8), 2, scale=0.05)
    data, metadata = {"onnx": export.as_onnx, "litert": export.as_litert}[form](wide)
    restorer = {"onnx": runtimes.open_onnx, "litert": runtimes.open_litert}[form](data, "wide")
    assert metadata.filters == 8
    hazy = color.to_float(noise(0, 20, 30))
    np.testing.assert_allclose(restorer.call(hazy), wide(hazy[None])[0].numpy(), atol=5e-6, rtol=0)


@pytest.mark.parametrize("form", ["onnx", "litert", "savedmodel"])
def test_fixed_size(network, tmp_path, form):
    path = tmp_path / NAMES[form]
    done = export.export(network, form, path, height=32, width=48)
    assert done.sizes == [(32, 48)]
    restorer = runtimes.load(str(path), RUNTIME.get(form))
    hazy = color.to_float(noise(0, 50, 90))  # tiles of 32 x 48
    np.testing.assert_allclose(restorer(hazy), np.clip(network(hazy[None])[0].numpy(), 0, 1), atol=2e-6, rtol=0)
    with pytest.raises(
        RefusedError, match=r"Expected at least 32 x 48 \(height x width\), received a piece of 31 x 48"
    ):
        restorer(hazy[:31])


def test_small_weights_are_written_as_zero(tmp_path):
    network = model.build_aodnet()
    bias = network.get_layer("conv1").bias
    bias.assign([1e-30, 0.5, -1e-25])
    data, _ = export.as_onnx(network)
    export.export(network, "onnx", tmp_path / "a.onnx")
    assert data != (tmp_path / "a.onnx").read_bytes()
    np.testing.assert_array_equal(bias.numpy(), np.float32([1e-30, 0.5, -1e-25]), err_msg="the caller's own weights")
    held = {item.name: item for item in onnx.load(tmp_path / "a.onnx").graph.initializer}
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(held["conv1_bias"]), np.float32([0, 0.5, 0]))


# --- what is written says what it is ---


@pytest.mark.parametrize("form", list(NAMES))
def test_metadata_lie_inside(network, exports, form):
    path = exports[form].path
    if form == "onnx":
        session = onnxruntime.InferenceSession(path)
        text = session.get_modelmeta().custom_metadata_map["aodnet"]
        assert [(one.name, one.shape) for one in session.get_inputs()] == [("hazy", ["count", "height", "width", 3])]
    elif form == "savedmodel":
        text = (path / "assets.extra" / "aodnet.json").read_text()
        signature = tf.saved_model.load(path).signatures["serving_default"]
        assert signature.structured_input_signature[1]["hazy"].shape.as_list() == [None, None, None, 3]
    else:
        loaded = schema.Model.GetRootAsModel(path.read_bytes(), 0)
        item = loaded.Metadata(loaded.MetadataLength() - 1)
        assert item.Name() == b"aodnet"
        text = loaded.Buffers(item.Buffer()).DataAsNumpy().tobytes()
        assert b"RGB" in loaded.Description()
    said = json.loads(text)
    layers = [layer.get_weights() for layer in model.convolutions(network)]
    digest = hashlib.sha256(b"".join(values.astype("<f4").tobytes() for pair in layers for values in pair)).hexdigest()
    assert said["weights_sha256"] == digest
    assert (said["format_version"], said["filters"], said["margin"]) == (1, 3, model.MARGIN)
    assert (said["colour_order"], said["layout"], said["input"], said["output"]) == ("RGB", "NHWC", "hazy", "clean")
    assert said["range"].startswith("sRGB-coded, 0 to 1")
    assert said["versions"]["hazegen"] == exported.Metadata(**said).versions["hazegen"]
    assert said["quantization"] == ("8 bits, ranges of 4 waves" if form == "litert-int8" else "none")


def test_facts_of_the_network_are_the_networks(network):
    assert onnx_file.BIAS == model.BIAS
    for filters in (3, 5):
        kernels = [layer.kernel.shape for layer in model.convolutions(model.build_aodnet(filters=filters))]
        assert onnx_file.shapes(filters) == kernels


def test_int8_holds_integers(exports):
    loaded = schema.Model.GetRootAsModel(exports["litert-int8"].path.read_bytes(), 0).Subgraphs(0)
    kinds = [loaded.Tensors(number).Type() for number in range(loaded.TensorsLength())]
    assert kinds.count(schema.TensorType.INT8) > 15
    assert kinds.count(schema.TensorType.FLOAT32) == 6  # in, out and what is between K and the output


def test_onnx_does_not_depend_on_when_it_is_made(network, exports):
    assert export.as_onnx(network)[0] == exports["onnx"].path.read_bytes()


# --- nothing is left under the name of an export that is wrong ---


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("form", ["onnx", "litert", "savedmodel"])
def test_parity_is_a_gate(network, tmp_path, monkeypatch, form):
    other = randomised(model.build_aodnet(), 4, scale=0.05)
    kernel = other.get_layer("k").kernel
    kernel.assign(kernel.numpy() * 1.001)
    calls = runtimes.keras_call
    monkeypatch.setattr(runtimes, "keras_call", lambda _: calls(other))
    (tmp_path / "a.onnx").write_text("mine")
    with pytest.raises(RefusedError, match=r"at most 0\.0001 apart, received 0\.\d+\. Nothing was written"):
        export.export(network, form, tmp_path / NAMES[form])
    assert left(tmp_path) == ["a.onnx"]
    assert (tmp_path / "a.onnx").read_text() == "mine"


@pytest.mark.parametrize(("filters", "scale"), [(3, 0.15), (8, 0.05)])
def test_equalised_network_is_the_same_function(pictures, filters, scale):
    given = randomised(model.build_aodnet(filters=filters), 4, scale=scale)
    kept = [values.copy() for values in given.get_weights()]
    equal = equalised.equalised(given, pictures)
    hazy = color.to_float(noise(1, 31, 47))[None]
    np.testing.assert_allclose(equal(hazy), given(hazy), atol=2e-6, rtol=2e-6)
    for before, after in zip(kept, given.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    layers = [equal.get_layer(f"conv{number}").output for number in range(1, 5)]
    reach = [
        np.max([np.asarray(one).max(axis=(0, 1, 2)) for one in found], axis=0)
        for found in zip(*(tf.keras.Model(equal.input, layers)(hazy[None]) for hazy in pictures), strict=True)
    ]
    for highest in reach:  # those that are all but dead stay so
        assert ((np.abs(highest - 1.0) < 1e-5) | (highest < 1.0)).all()
        assert highest.max() == pytest.approx(1.0, abs=1e-5)


def test_channels_that_never_fire_stay_as_they_are(network, pictures):
    given = model.build_aodnet()
    given.set_weights(network.get_weights())
    for name in ("conv1", "conv2", "conv3", "conv4"):
        given.get_layer(name).bias.assign([-9.0, -9.0, -9.0])
    for before, after in zip(given.get_weights(), equalised.equalised(given, pictures).get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_channels_of_unequal_range_cost_integers_nothing(network, exports, pictures, tmp_path):
    """The same function, with one channel fifty times as wide as those that it is joined to."""
    given = model.build_aodnet()
    given.set_weights(network.get_weights())
    kernel, bias = given.get_layer("conv2").get_weights()
    given.get_layer("conv2").set_weights([kernel * [50.0, 1.0, 1.0], bias * [50.0, 1.0, 1.0]])
    for name, place in (("conv3", 3), ("conv4", 0), ("k", 3)):
        kernel, bias = given.get_layer(name).get_weights()
        kernel[:, :, place] /= 50.0
        given.get_layer(name).set_weights([kernel, bias])
    done = export.export(given, "litert-int8", tmp_path / "a.tflite", pictures=pictures, origin="waves")
    assert done.psnr_db == pytest.approx(exports["litert-int8"].psnr_db, abs=0.5)


def test_last_line_of_the_network_is_float(exports):
    loaded = schema.Model.GetRootAsModel(exports["litert-int8"].path.read_bytes(), 0)
    graph, names = loaded.Subgraphs(0), {value: key for key, value in vars(schema.BuiltinOperator).items()}
    last = [graph.Operators(number) for number in range(graph.OperatorsLength() - 4, graph.OperatorsLength())]
    codes = [names[loaded.OperatorCodes(one.OpcodeIndex()).BuiltinCode()] for one in last]
    assert codes == ["DEQUANTIZE", "MUL", "SUB", "ADD"]
    outputs = [graph.Tensors(one.Outputs(0)).Type() for one in last]
    assert outputs == 4 * [schema.TensorType.FLOAT32]


def test_integers_that_do_not_hold_the_network(network, tmp_path):
    """They hold it on the pictures that gave the ranges, which are too small for any others."""
    dark = [np.full((20, 20, 3), 0.002, np.float32)]
    with pytest.raises(RefusedError, match=r"Expected at least 30 dB .* received \d+\.\d dB. Nothing was written"):
        export.export(network, "litert-int8", tmp_path / "a.tflite", pictures=dark)
    assert left(tmp_path) == []


def test_integers_of_one_size_are_compared_at_that_size(network, tmp_path):
    pictures = [color.to_float(smooth(seed, 150, 160)) for seed in range(2)]
    done = export.export(network, "litert-int8", tmp_path / "a.tflite", height=150, width=160, pictures=pictures)
    assert done.sizes == [(150, 160), (150, 192)]
    assert done.psnr_db is not None
    assert done.psnr_db > export.LOWEST_PSNR


@pytest.mark.parametrize(
    ("form", "name", "size", "error", "message"),
    [
        ("onnx", "a.tflite", {}, UsageError, "ends in .onnx, received 'a.tflite'"),
        ("litert", "a.onnx", {}, UsageError, "ends in .tflite"),
        ("onnx", "a.onnx", {"height": 15}, UsageError, "--height is out of range. Expected 16 to 16384 pixels"),
        ("onnx", "a.onnx", {"width": 16385}, UsageError, "--width is out of range.*received 16385"),
        ("savedmodel", "old", {}, RefusedError, "Expected a new folder"),
        ("onnx", "folder.onnx", {}, RefusedError, "Expected a file or nothing, received a folder"),
    ],
)
def test_export_that_cannot_be(network, tmp_path, form, name, size, error, message):
    (tmp_path / "old").mkdir()
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(error, match=message):
        export.export(network, form, tmp_path / name, **size)
    assert left(tmp_path) == ["folder.onnx", "old"]


@pytest.mark.parametrize(("module", "extra"), [("onnx", "onnx"), ("ai_edge_litert.schema_py_generated", "litert")])
def test_missing_package_names_its_extra(network, tmp_path, monkeypatch, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    suffix = {"onnx": ".onnx", "litert": ".tflite"}[extra]
    with pytest.raises(UsageError, match=rf"Run pip install 'hazegen\[{extra}\]'"):
        export.export(network, extra, tmp_path / f"a{suffix}")
    assert left(tmp_path) == []


# --- only our own files are run ---


def changed_onnx(data: bytes, kind: str) -> bytes:
    loaded = onnx.load_model_from_string(data)
    graph = loaded.graph
    if kind == "operator":
        graph.node[1].op_type = "ConvTranspose"
    elif kind == "node":
        graph.node.append(onnx.helper.make_node("Relu", ["clean"], ["more"]))
    elif kind == "loop":
        graph.node[0].attribute.append(onnx.helper.make_attribute("body", onnx.helper.make_graph([], "b", [], [])))
    elif kind == "weight":
        item = graph.initializer[1]
        item.raw_data = np.float32(9.0).tobytes() + item.raw_data[4:]
    elif kind == "short weight":
        graph.initializer[1].raw_data = graph.initializer[1].raw_data[:-4]
    elif kind == "outside":
        item = graph.initializer[1]
        item.data_location = onnx.TensorProto.EXTERNAL
        item.external_data.add(key="location", value="/etc/passwd")
    elif kind == "domain":
        loaded.opset_import.add(domain="evil", version=1)
    elif kind == "name":
        graph.input[0].name = "picture"
    elif kind == "no metadata":
        del loaded.metadata_props[:]
    return loaded.SerializeToString()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("operator", "Expected the graph of AOD-Net, received another one"),
        ("node", "the graph of AOD-Net"),
        ("loop", "the graph of AOD-Net"),
        ("name", "the graph of AOD-Net"),
        ("weight", "the weights that its metadata name"),
        ("short weight", "Expected weights 'conv1_kernel' of shape"),
        ("outside", "Expected float32 weights 'conv1_kernel'"),
        ("domain", "operators of version 13 alone"),
        ("no metadata", "metadata under the name 'aodnet', received none"),
    ],
)
def test_changed_onnx_is_not_run(exports, kind, message):
    data = exports["onnx"].path.read_bytes()
    onnx_file.check(data, "a.onnx")
    with pytest.raises(RefusedError, match=message):
        runtimes.open_onnx(changed_onnx(data, kind), "a.onnx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "{", "metadata as JSON"),
        (lambda text: "[1]", "format_version 1, received None"),
        (lambda text: text.replace('"format_version": 1', '"format_version": 2'), "format_version 1, received 2"),
        (lambda text: text.replace('"margin": 7', '"margin": 0'), "margin of this version"),
        (lambda text: text.replace('"height": null', '"height": "a"'), "sizes that are integers"),
        (lambda text: text.replace('"filters": 3', '"filters": 100000'), "sizes that are integers"),
        (lambda text: text.replace('"layout"', '"form"'), "the known keys of metadata"),
    ],
)
def test_metadata_of_others(exports, change, message):
    loaded = onnx.load_model_from_string(exports["onnx"].path.read_bytes())
    loaded.metadata_props[0].value = change(loaded.metadata_props[0].value)
    with pytest.raises(RefusedError, match=message):
        onnx_file.check(loaded.SerializeToString(), "a.onnx")


def test_litert_file_with_another_operator(network, monkeypatch):
    """One that is whole, but does what AOD-Net does not."""
    metadata = export.describe(network, "litert")

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, name="hazy")])
    def other(hazy):
        return {"clean": tf.sin(hazy)}

    monkeypatch.setattr(saved_model, "as_function", lambda *_: other)
    data, _ = litert_file.convert(network, metadata)
    with pytest.raises(RefusedError, match=r"operators of AOD-Net alone, received also \['SIN'\]"):
        runtimes.open_litert(data, "a.tflite")


@pytest.mark.parametrize("form", ["onnx", "litert", "litert-int8"])
def test_damaged_files_never_reach_the_runtime(exports, form, monkeypatch):
    """Flipped bytes and cuts: refused, or where no weight and no wire is touched (names of versions), the same."""
    data = exports[form].path.read_bytes()
    check = onnx_file.check if form == "onnx" else litert_file.check
    rng = np.random.default_rng(0)
    refused = 0
    for number in range(60):
        broken = bytearray(data)
        broken[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        broken = broken[: int(rng.integers(len(data)))] if number % 3 == 0 else broken
        try:
            check(bytes(broken), "a")
        except RefusedError:
            refused += 1
    assert refused >= (55 if form == "onnx" else 60)


@pytest.mark.parametrize("form", ["onnx", "litert"])
def test_files_that_are_none(tmp_path, form):
    path = tmp_path / NAMES[form]
    with pytest.raises(RefusedError, match="received nothing"):
        runtimes.load(str(path))
    for content in (b"", b"text", bytes(1000)):
        path.write_bytes(content)
        with pytest.raises(RefusedError, match="is no exported AOD-Net"):
            runtimes.load(str(path))
    with path.open("wb") as file:
        file.truncate(exported.MAX_BYTES + 1)
    with pytest.raises(RefusedError, match="at most 64,000,000 bytes"):
        runtimes.load(str(path))


def test_changed_saved_model_is_not_run(exports, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(exports["savedmodel"].path, copy)
    text = (copy / saved_model.METADATA).read_text()
    program = copy / "saved_model.pb"
    good = program.read_bytes()
    monkeypatch.setattr(tf.saved_model, "load", None)
    program.write_bytes(good[:-1])
    with pytest.raises(RefusedError, match=r"another: it is changed or damaged"):
        runtimes.load(str(copy), "savedmodel")
    # A graph that reads a file, with a digest that fits it.
    program.write_bytes(good.replace(b"AddV2", b"Atan2"))
    digests = [hashlib.sha256(data).hexdigest() for data in (good, program.read_bytes())]
    (copy / saved_model.METADATA).write_text(text.replace(*digests))
    with pytest.raises(RefusedError, match=r"operators of AOD-Net alone, received also \['Atan2'\]"):
        runtimes.load(str(copy), "savedmodel")
    (copy / saved_model.METADATA).unlink()
    with pytest.raises(RefusedError, match="metadata under the name 'aodnet'"):
        runtimes.load(str(copy), "savedmodel")


HAZY = tf.TensorSpec([None, None, None, 3], tf.float32, name="hazy")


def write_file(target: str) -> tf.Operation:
    """An operator that every SavedModel holds, in its saver."""
    return tf.raw_ops.SaveV2(
        prefix=target, tensor_names=["x"], shape_and_slices=[""], tensors=[tf.constant(1.0)], name="saved"
    )


def in_the_signature(made: tf.Module, target: str):
    def restore(hazy):
        with tf.control_dependencies([write_file(target)]):
            return {"clean": hazy + 0.0}

    return restore


def below_the_signature(made: tf.Module, target: str):
    inner = tf.function(in_the_signature(made, target), input_signature=[HAZY])
    return lambda hazy: {"clean": inner(hazy)["clean"]}


def when_it_is_loaded(made: tf.Module, target: str):
    class Resource(tf.saved_model.experimental.TrackableResource):
        def _create_resource(self):
            return tf.constant(0.0)

        def _initialize(self):
            write_file(target)

    made.resource = Resource()
    return lambda hazy: {"clean": hazy + 0.0}


@pytest.mark.parametrize("place", [in_the_signature, below_the_signature, when_it_is_loaded])
def test_saved_model_that_writes_a_file_is_not_run(tmp_path, place):
    made, folder = tf.Module(), tmp_path / "model"
    made.restore = tf.function(place(made, str(tmp_path / "written")), input_signature=[HAZY])
    tf.saved_model.save(made, folder, signatures={"serving_default": made.restore})
    for path in tmp_path.glob("written*"):
        path.unlink()
    digest = hashlib.sha256((folder / "saved_model.pb").read_bytes()).hexdigest()
    (folder / "assets.extra").mkdir()
    (folder / saved_model.METADATA).write_text(exported.Metadata(3, 64 * "0", content_sha256=digest).to_json())
    with pytest.raises(RefusedError, match=r"operators of AOD-Net alone, received also \[.*'SaveV2'"):
        runtimes.load(str(folder), "savedmodel").call(np.zeros((8, 8, 3), np.float32))
    assert list(tmp_path.glob("written*")) == []


# --- the choice of a runtime ---


def test_a_saved_model_is_a_program_and_must_be_asked_for(exports):
    with pytest.raises(UsageError, match=r"is a SavedModel, a program that TensorFlow runs.*--runtime savedmodel"):
        runtimes.load(str(exports["savedmodel"].path))


@pytest.mark.parametrize(
    ("form", "runtime"),
    [("onnx", "keras"), ("onnx", "litert"), ("litert", "onnx"), ("savedmodel", "onnx"), ("litert", "savedmodel")],
)
def test_runtime_that_cannot_take_the_model(exports, form, runtime):
    with pytest.raises(UsageError, match=f"--runtime {runtime} cannot take"):
        runtimes.load(str(exports[form].path), runtime)


def test_weights_in_each_runtime(network, tmp_path):
    path = tmp_path / "a.weights.h5"
    weights.save(network, path)
    hazy = color.to_float(noise(0, 40, 50))
    expected = np.clip(network(hazy[None])[0].numpy(), 0, 1)
    for runtime in (None, "keras", "onnx", "litert"):
        np.testing.assert_allclose(runtimes.load(str(path), runtime)(hazy), expected, atol=2e-6, rtol=0)
    with pytest.raises(UsageError, match=r"savedmodel cannot take .*Expected the folder of a SavedModel, received w"):
        runtimes.load(str(path), "savedmodel")


def test_keras_is_the_default_and_needs_no_extra(network, tmp_path, monkeypatch):
    weights.save(network, tmp_path / "a.weights.h5")
    for name in ("onnx", "onnxruntime", "ai_edge_litert", "ai_edge_litert.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    assert runtimes.load(str(tmp_path / "a.weights.h5")).patch == (1050, 1050)


def test_other_runtimes_need_no_tensorflow(exports):
    paths = [str(exports[form].path) for form in ("onnx", "litert")]
    code = (
        "import sys, numpy\nfrom aodnet import runtimes, predict\n"
        f"for path in {paths!r}: runtimes.load(path)(numpy.zeros((20, 30, 3), numpy.float32))\n"
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert "INFO" not in done.stderr


# --- representative pictures ---


def test_procedural_pictures(monkeypatch):
    monkeypatch.setattr(calibration, "PROCEDURAL", 3)
    found, origin = calibration.pictures(None)
    assert origin == "3 procedural scenes"
    assert {hazy.shape for hazy in found} == {(144, 192, 3)}
    for hazy in found:
        assert hazy.min() >= 0
        assert hazy.max() <= 1
        assert hazy.std() > 0.02
    assert np.concatenate([hazy.ravel() for hazy in found]).std() > 0.1


def test_pictures_of_a_folder_and_of_a_dataset(tmp_path):
    (tmp_path / "photos").mkdir()
    for empty in ("photos", "missing"):
        with pytest.raises(RefusedError, match="There is no picture in"):
            calibration.pictures(tmp_path / empty)
    for number in range(2):
        (tmp_path / "photos" / f"{number}.png").write_bytes(images.encode(noise(number, 500, 20), ".png"))
    found, origin = calibration.pictures(tmp_path / "photos")
    assert origin == "2 pictures of 'photos'"
    np.testing.assert_array_equal(found[1], color.to_float(noise(1, 500, 20)[:480]))
    dataset = make_dataset(tmp_path / "d", {"train": 2, "validation": 1}, size=(24, 32))
    found, origin = calibration.pictures(dataset)
    assert origin == "4 pictures of 'dataset'"
    assert found[0].shape == (24, 32, 3)


# --- the commands ---


def test_commands(network, tmp_path, capsys):
    weights.save(network, tmp_path / "a.weights.h5")
    (tmp_path / "hazy").mkdir()
    (tmp_path / "hazy" / "a.png").write_bytes(images.encode(smooth(0, 40, 50), ".png"))
    options = ["--model", str(tmp_path / "a.weights.h5"), "--out"]
    assert run_export([*options, str(tmp_path / "a.onnx"), "--format", "onnx"]) == 0
    said = capsys.readouterr().out
    assert "bytes.\nLargest difference from Keras: " in said
    assert "on pictures of 1 x 1, 1 x 23" in said
    data = ["--data", str(tmp_path / "hazy")]
    assert run_export([*options, str(tmp_path / "a.tflite"), "--format", "litert-int8", *data]) == 0
    assert "dB PSNR against Keras" in (said := capsys.readouterr().out)
    assert "on 1 picture of 'hazy'" in said
    with pytest.raises(UsageError, match="--data belongs to litert-int8"):
        run_export([*options, str(tmp_path / "b.onnx"), "--format", "onnx", *data])
    results = {}
    for name in ("a.weights.h5", "a.onnx", "a.tflite"):
        out = tmp_path / f"out-{name}"
        arguments = [str(tmp_path / "hazy"), "--model", str(tmp_path / name), "--out", str(out)]
        assert run_predict(arguments) == 0
        results[name] = images.read_picture(out / "a.png").astype(int)
    assert "1 picture restored into" in capsys.readouterr().out
    assert np.abs(results["a.onnx"] - results["a.weights.h5"]).max() <= 1
    assert np.abs(results["a.tflite"] - results["a.weights.h5"]).mean() < 3


def test_predict_works_at_once(tmp_path, monkeypatch, capsys):
    """Without --model and --out: the package's weights, and a folder of its own."""
    if weights.DEFAULT not in weights.shipped():
        pytest.skip(f"the weights '{weights.DEFAULT}' are not in this checkout")
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(images.encode(smooth(0, 40, 50), ".jpg"))
    Path(weights.DEFAULT).mkdir()  # a folder of this name is no model
    assert run_predict(["photo.jpg"]) == 0
    restored = predict.restorer(weights.load(weights.find_weights(weights.DEFAULT)))
    expected = predict.restore_picture(restored, images.read_picture(Path("photo.jpg")), "photo.jpg")
    got = images.read_picture(Path("restored") / "photo.jpg").astype(int)
    assert np.abs(got - expected).mean() < 2.0
