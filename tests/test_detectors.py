"""Detectors in ONNX files: what is read in them, what is refused, and what each layout's numbers mean."""

import math
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from detector_fixtures import BLUE, CLASSES, RED, SIZE, fastestdet, squares, write, yolo
from onnx import TensorProto, helper, numpy_helper

from aodnet import detector_file, detector_layouts, detector_trial, detectors
from aodnet.detector_layouts import Layout, choose_layout, decode
from aodnet.detectors import DetectorOptions, detect, load_detector
from hazegen import onnx_bytes
from hazegen.errors import RefusedError, UsageError

RUNTIMES = ("cv2", "onnxruntime")


@pytest.fixture(autouse=True)
def without_first_run(monkeypatch, request):
    """A process for each network would take most of the tests' time; those that are about it mark themselves."""
    if "apart" not in request.fixturenames:
        monkeypatch.setattr(detector_trial, "first_run", lambda data, runtime, size: None)


@pytest.fixture
def apart() -> None:
    """Networks run in a process of their own first, as they do outside of these tests."""


@pytest.fixture
def names(tmp_path) -> Path:
    path = tmp_path / "classes.names"
    path.write_text("\n".join(CLASSES) + "\n\n")
    return path


def load(path: Path, **options):
    return load_detector(DetectorOptions(detector=path, **options))


# --- one tiny detector of each layout, in both runtimes ---

DETECTORS = {
    "fastestdet": fastestdet,
    "yolo": yolo,
    "yolo transposed": lambda **o: yolo(transposed=True, **o),
    "yolo-objectness": lambda **o: yolo(objectness=True, **o),
    "yolo-objectness transposed, 3 a cell": lambda **o: yolo(objectness=True, transposed=True, repeat=3, **o),
}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("kind", DETECTORS)
def test_squares_are_found_where_they_are(kind, runtime, names, tmp_path):
    detector = load(write(tmp_path / "d.onnx", DETECTORS[kind]()), detector_names=names, detector_runtime=runtime)
    assert detector.layout.name == kind.split()[0]
    assert detector.names == CLASSES
    assert detector.runtime.startswith(runtime)
    found = detect(detector, squares((0, 1, RED), (3, 2, BLUE), (2, 0, RED)), "picture")
    by_place = dict(zip(map(tuple, np.rint(found.corners).astype(int).tolist()), found.classes.tolist(), strict=True))
    assert by_place == {(32, 0, 64, 32): 0, (64, 96, 96, 128): 1, (0, 64, 32, 96): 0}
    np.testing.assert_allclose(found.scores, 1.0, atol=1e-5)
    assert len(detect(detector, squares(), "grey")) == 0


@pytest.mark.parametrize("kind", ["yolo", "fastestdet"])
def test_picture_of_another_size(kind, names, tmp_path):
    """Twice as wide: FastestDet's is pressed together, YOLO's lies between grey borders."""
    detector = load(write(tmp_path / "d.onnx", DETECTORS[kind]()), detector_names=names)
    pixels = np.full((128, 256, 3), 128, np.uint8)
    pixels[64:128, 64:128] = RED
    found = detect(detector, pixels, "wide")
    expected = [64, 64, 128, 128] if kind == "yolo" else [[64, 64, 128, 96], [64, 96, 128, 128]]
    np.testing.assert_allclose(found.corners, np.reshape(expected, (-1, 4)), atol=0.01)


def test_confidence_decides(names, tmp_path):
    path = write(tmp_path / "d.onnx", yolo())
    pixels = squares((0, 0, (200, 100, 100)))  # (200 - 100) / 255 = 0.392
    assert len(detect(load(path, detector_names=names, confidence=0.4), pixels, "p")) == 0
    assert len(detect(load(path, detector_names=names, confidence=0.39), pixels, "p")) == 1


def test_no_more_boxes_than_the_limit_and_those_the_surest(names, tmp_path, monkeypatch):
    detector = load(write(tmp_path / "d.onnx", yolo()), detector_names=names, confidence=0.1)
    pixels = squares(*((x, y, (140 + 5 * x + 20 * y, 100, 100)) for x in range(4) for y in range(4)))
    everything = detect(detector, pixels, "p")
    assert len(everything) == 16
    monkeypatch.setattr(detectors, "MAX_BOXES", 5)
    np.testing.assert_array_equal(detect(detector, pixels, "p").corners, everything.corners[:5])


def test_free_input_takes_the_size_that_is_given(names, tmp_path):
    free = yolo(input_shape=(1, 3, "height", "width"))
    path = write(tmp_path / "d.onnx", free)
    assert load(path, detector_names=names, detector_size=SIZE).size == (SIZE, SIZE)
    with pytest.raises(UsageError, match=r"leaves the size of its input free. Expected --detector-size, received none"):
        load(path, detector_names=names)


def test_file_says_names_and_size_as_ultralytics_writes_them(tmp_path):
    told = {"names": "{0: 'red', 1: 'blue'}", "imgsz": f"[{SIZE}, {SIZE}]", "task": "detect"}
    detector = load(write(tmp_path / "d.onnx", yolo(input_shape=("batch", 3, "h", "w"), metadata=told)))
    assert (detector.names, detector.size) == (("red", "blue"), (SIZE, SIZE))


def test_fixed_input_refuses_another_size(names, tmp_path):
    path = write(tmp_path / "d.onnx", yolo())
    with pytest.raises(UsageError, match=r"Expected --detector-size 128 for 128 x 128, received 640. Leave it out"):
        load(path, detector_names=names, detector_size=640)
    assert load(path, detector_names=names, detector_size=SIZE).size == (SIZE, SIZE)


def test_classes_without_names_get_numbers(tmp_path):
    detector = load(write(tmp_path / "d.onnx", fastestdet()))
    assert detector.names == ("class 0", "class 1")


# --- which layout ---


@pytest.mark.parametrize(
    ("shape", "size", "names", "asked", "expected"),
    [
        ((1, 85, 22, 22), (352, 352), None, None, ("fastestdet", 80)),
        ((1, 84, 8400), (640, 640), 80, None, ("yolo", 80)),
        ((1, 8400, 84), (640, 640), 80, None, ("yolo", 80)),
        ((1, 84, 8400), (640, 640), None, "yolo", ("yolo", 80)),
        ((1, 25200, 85), (640, 640), None, None, ("yolo-objectness", 80)),
        ((1, 85, 25200), (640, 640), None, None, ("yolo-objectness", 80)),
        ((1, 8400, 85), (640, 640), 80, None, ("yolo-objectness", 80)),
        ((1, 8400, 85), (640, 640), 81, None, ("yolo", 81)),
        ((1, 2535, 85), (416, 416), None, None, ("yolo-objectness", 80)),  # YOLOv3-tiny: strides 16 and 32, 3 anchors
        ((1, 6, 2100), (320, 320), 2, None, ("yolo", 2)),
        ((1, 5, 1234), (640, 640), 1, None, ("yolo", 1)),  # of no known grid
        ((1, 6, 8400), (640, 640), None, "yolo-objectness", ("yolo-objectness", 1)),
    ],
)
def test_layout_by_shape(shape, size, names, asked, expected):
    layout = choose_layout(shape, size, names, asked, "d.onnx")
    assert (layout.name, layout.classes) == expected
    if len(shape) == 3:
        assert layout.channels_last == (shape[2] < shape[1])
        assert f"{max(shape)} candidates" in layout.said
    assert str(shape) in layout.said


def test_axes_that_cannot_be_told_apart_are_refused():
    with pytest.raises(RefusedError, match=r"may be yolo with 80 classes or yolo with 80 classes"):
        choose_layout((1, 84, 84), (64, 64), 80, "yolo", "d.onnx")


def test_two_readings_are_refused_with_both():
    with pytest.raises(RefusedError) as caught:
        choose_layout((1, 84, 8400), (640, 640), None, None, "my.onnx")
    assert str(caught.value) == (
        "'my.onnx' is no detector for us. Expected an output that can be read in one way, received (1, 84, 8400), "
        "which may be yolo with 80 classes or yolo-objectness with 79 classes. Say which by --detector-layout, or give "
        "--detector-names with one name for each class."
    )


@pytest.mark.parametrize(
    ("shape", "size", "names", "asked", "said"),
    [
        ((1, 84, 8400), (640, 640), 3, None, "with 3 classes, one for each name, received .* yolo with 80 classes or"),
        ((1, 300, 6), (640, 640), None, None, r"received \(1, 300, 6\). Export it without suppression \(NMS\) inside"),
        ((1, 300, 6), (640, 640), 2, None, "Export it without suppression"),
        ((2, 84, 8400), (640, 640), 80, None, "Expected an output of layout fastestdet, yolo or yolo-objectness"),
        ((1, 4, 8400), (640, 640), None, "yolo", "Expected an output of layout yolo, received"),
        (
            (1, 85, 22, 22),
            (352, 352),
            None,
            "yolo",
            "as it stands: fastestdet with 80 classes. Check --detector-layout",
        ),
        ((1, 85, 21, 22), (352, 352), None, None, "received"),
        ((1, 22, 22, 85), (352, 352), None, None, "received"),
        ((1, 84, 8400), (640, 640), 80, "fastestdet", "layout fastestdet with 80 classes"),
        ((1, 5, 22, 22), (352, 352), None, None, "received"),
        ((8400,), (640, 640), None, None, "received"),
    ],
)
def test_no_reading_is_refused(shape, size, names, asked, said):
    with pytest.raises(RefusedError, match=said):
        choose_layout(shape, size, names, asked, "d.onnx")


# --- the numbers ---


def test_fastestdet_is_the_slow_loop():
    rng = np.random.default_rng(3)
    size, classes, rows, columns = (96, 64), 3, 4, 6
    output = rng.normal(0, 1.5, (1, 5 + classes, rows, columns)).astype(np.float32)
    output[0, 0] = rng.random((rows, columns))
    output[0, 5:] = rng.random((classes, rows, columns))
    expected = []
    for i in range(rows):
        for j in range(columns):
            v = [float(x) for x in output[0, :, i, j]]
            best = max(range(classes), key=lambda n: v[5 + n])
            score = v[0] * v[5 + best]
            if score >= 0.3:
                x, y = (j + math.tanh(v[1])) / columns * size[0], (i + math.tanh(v[2])) / rows * size[1]
                w, h = size[0] / (1 + math.exp(-v[3])), size[1] / (1 + math.exp(-v[4]))
                expected.append([-score, x - w / 2, y - h / 2, x + w / 2, y + h / 2, best])
    assert 3 < len(expected) < rows * columns
    _same(decode(Layout("fastestdet", classes, False, ""), output, size, 0.3), expected)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", ["yolo", "yolo-objectness"])
def test_yolo_is_the_slow_loop(name, last):
    rng = np.random.default_rng(4)
    head, classes = (5 if name == "yolo-objectness" else 4), 3
    rows = np.hstack([rng.uniform(5, 60, (40, 4)), rng.random((40, head - 4 + classes))]).astype(np.float32)
    expected = []
    for row in rows.astype(float).tolist():
        best = max(range(classes), key=lambda n: row[head + n])
        score = row[head + best] * (row[4] if head == 5 else 1.0)
        if score >= 0.4:
            x, y, w, h = row[:4]
            expected.append([-score, x - w / 2, y - h / 2, x + w / 2, y + h / 2, best])
    assert 3 < len(expected) < 40
    output = rows[None] if last else rows.T[None]
    _same(decode(Layout(name, classes, last, ""), output, (64, 64), 0.4), expected)


def _same(found, expected):
    table = np.array(sorted(expected))
    np.testing.assert_allclose(found.scores, -table[:, 0], rtol=1e-6)
    np.testing.assert_allclose(found.corners, table[:, 1:5], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.classes, table[:, 5])


def test_candidates_are_bounded(monkeypatch):
    monkeypatch.setattr(detector_layouts, "MAX_CANDIDATES", 5)
    rows = np.hstack([np.full((50, 4), 20.0), np.linspace(0.5, 0.9, 50)[:, None]])[None].astype(np.float32)
    found = decode(Layout("yolo", 1, True, ""), rows, (64, 64), 0.1)
    np.testing.assert_allclose(found.scores, np.linspace(0.5, 0.9, 50)[:-6:-1], rtol=1e-6)


def outputs(layout: str):
    if layout == "fastestdet":
        return np.full((1, 6, 2, 2), 0.4, np.float32), Layout("fastestdet", 1, False, "")
    return np.array([[[9, 9, 8, 8, 0.4]] * 4], np.float32), Layout("yolo", 1, True, "")


@pytest.mark.parametrize("layout", ["fastestdet", "yolo"])
@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (0, np.nan, "finite numbers, received 1 others"),
        (-1, np.inf, "finite numbers, received 1 others"),
        (-1, 7.5, "probabilities, received 0.4 to 7.5 .the last step, sigmoid or softmax"),
        (-1, -0.1, "probabilities, received -0.1 to 0.4"),
    ],
)
def test_numbers_that_are_none_of_the_layouts(layout, place, value, said):
    output, layout = outputs(layout)
    decode(layout, output, (64, 64), 0.9)
    output.flat[place] = value
    with pytest.raises(ValueError, match=said):
        decode(layout, output, (64, 64), 0.9)


def test_sides_in_parts_of_the_picture_are_refused():
    output, layout = outputs("yolo")
    output[..., :4] /= 64.0
    with pytest.raises(ValueError, match=r"sides in pixels of the input, received 0.125 to 0.125"):
        decode(layout, output, (64, 64), 0.3)
    output, layout = outputs("yolo")
    output[0, 2, 2] = -1.0
    with pytest.raises(ValueError, match=r"received -1 to 8"):
        decode(layout, output, (64, 64), 0.3)


def test_wrong_numbers_name_file_and_picture(names, tmp_path):
    model = yolo()
    next(t for t in model.graph.initializer if t.name == "head").CopyFrom(
        numpy_helper.from_array(np.full((1, 4, 16), 0.5, np.float32), "head")
    )
    detector = load(write(tmp_path / "parts.onnx", model), detector_names=names)
    with pytest.raises(RefusedError, match=r"The output of 'parts.onnx' is not what its layout says.*picture 'street'"):
        detect(detector, squares(), "street")


# --- files from strangers ---


def test_what_the_file_says_is_what_onnx_reads(tmp_path):
    path = write(
        tmp_path / "d.onnx", fastestdet(input_shape=("n", 3, SIZE, "w"), metadata={"a": "b", "names": "['x']"})
    )
    read, known = detector_file.read_onnx(path), onnx.load(path)
    assert [t.name for t in read.inputs] == [t.name for t in known.graph.input]
    assert read.inputs[0].shape == ("n", 3, SIZE, "w")
    assert read.inputs[0].kind == TensorProto.FLOAT
    assert [(t.name, t.shape) for t in read.outputs] == [("output", (1, 7, 4, 4))]
    assert read.metadata == {"a": "b", "names": "['x']"}


def test_weights_among_the_inputs_are_no_inputs(names, tmp_path):
    model = yolo()
    model.graph.input.append(helper.make_tensor_value_info("weights", TensorProto.FLOAT, [2, 3, 1, 1]))
    assert load(write(tmp_path / "d.onnx", model), detector_names=names).layout.name == "yolo"


def external(model):
    tensor = weights_of(model)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    tensor.ClearField("raw_data")
    return model


def external_in_attribute(model):
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "hidden")
    tensor.external_data.add(key="location", value="/etc/hostname")
    model.graph.node.append(helper.make_node("Constant", [], ["hidden"], value=tensor))
    return model


def external_in_branch(model):
    branch = helper.make_graph([helper.make_node("Identity", ["w"], ["b"])], "branch", [], [])
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "w")
    tensor.data_location = TensorProto.EXTERNAL
    branch.initializer.append(tensor)
    model.graph.node.append(helper.make_node("If", ["one"], ["b"], then_branch=branch, else_branch=branch))
    return model


def custom(model):
    model.graph.node.append(helper.make_node("Shell", ["one"], ["x"], domain="my.ops"))
    return model


def enormous(model):
    weights_of(model).dims[:] = [1 << 40, 3, 1, 1]
    return model


def shortened(model):
    weights_of(model).raw_data = weights_of(model).raw_data[:-4]
    return model


def shortened_floats(model):
    tensor = weights_of(model)
    tensor.float_data[:] = np.frombuffer(tensor.raw_data, np.float32)[:5]
    tensor.ClearField("raw_data")
    return model


def without_weights(model):
    weights_of(model).ClearField("raw_data")
    return model


def shortened_shape(model):
    tensor = weights_of(model, "rows")
    tensor.int64_data[:] = [1, 2]
    tensor.ClearField("raw_data")
    return model


def weights_of(model, name="weights"):
    return next(t for t in model.graph.initializer if t.name == name)


def negative(model):
    weights_of(model).dims[:] = [-2, 3, 1, 1]
    return model


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (external, "Expected all weights in the one file, received 'weights' in another one. Export it as one file"),
        (external_in_attribute, "received 'hidden' in another one"),
        (external_in_branch, "received 'w' in another one"),
        (custom, "operators that runtimes have built in, received 'my.ops.Shell'. Export it without them"),
        (enormous, "Expected as many weights as their shapes say, received 'weights' of 3298534883328 numbers in"),
        (shortened, "received 'weights' of 6 numbers in"),
        (shortened_floats, "received 'weights' of 6 numbers in"),
        (without_weights, "received 'weights' of 6 numbers in"),
        (shortened_shape, "received 'rows' of 3 numbers in"),
        (negative, "received 'weights' of -6 numbers"),
    ],
)
def test_dangerous_file_is_refused(damage, said, tmp_path):
    path = write(tmp_path / "d.onnx", damage(yolo()))
    with pytest.raises(RefusedError, match=f"'d.onnx' is no detector for us.*{said}"):
        detector_file.read_onnx(path)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("kind", [n for n in onnx_bytes.SIZES if n not in (17, 18, 19, 20)])
def test_weights_of_every_type_are_counted(kind, raw, tmp_path):
    """As the package onnx writes them, raw and as lists of numbers."""
    model, values = yolo(), np.arange(6).reshape(2, 3) % 2
    if raw:
        values = values.astype(helper.tensor_dtype_to_np_dtype(kind)).tobytes()
    tensor = helper.make_tensor("more", kind, [2, 3], values if raw else values.ravel().tolist(), raw=raw)
    model.graph.initializer.append(tensor)
    detector_file.read_onnx(write(tmp_path / "d.onnx", model))
    model.graph.initializer[-1].dims[:] = [2, 4]
    with pytest.raises(RefusedError, match=r"received 'more' of 8 numbers in"):
        detector_file.read_onnx(write(tmp_path / "d.onnx", model))


def test_packed_integers_are_counted_fast(tmp_path):
    """4 million of one byte each took seconds one by one."""
    model, count = yolo(), 4_000_000
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    tensor = TensorProto(name="more", data_type=TensorProto.INT64, dims=[count]).SerializeToString()

    def read(numbers: bytes):
        held = _field(0x2A, tensor + _field(0x3A, numbers))  # graph's initializer = 5, tensor's int64_data = 7
        (tmp_path / "d.onnx").write_bytes(model.SerializeToString() + _field(0x3A, graph + held))
        return detector_file.read_onnx(tmp_path / "d.onnx")

    began = time.process_time()
    assert read(bytes(count)).inputs
    assert time.process_time() - began < 0.5
    with pytest.raises(RefusedError, match="cut off within a number"):
        read(bytes(count) + b"\xff")
    with pytest.raises(RefusedError, match="'more' of 4000000 numbers"):
        read(b"\xff\x01" * (count - 1))


def test_functions_of_the_file_itself_are_no_strangers(names, tmp_path):
    """Newer exporters write some layers as functions: their domain is theirs, what lies in them is looked at."""
    model = yolo()
    body = [helper.make_node("Shell", ["x"], ["y"], domain="my.ops")]
    model.functions.append(helper.make_function("local", "Act", ["x"], ["y"], body, [helper.make_opsetid("", 13)]))
    model.graph.node.append(helper.make_node("Act", ["one"], ["x"], domain="local"))
    with pytest.raises(RefusedError, match=r"received 'my\.ops\.Shell'"):
        detector_file.read_onnx(write(tmp_path / "d.onnx", model))
    del model.functions[0].node[:]
    detector_file.read_onnx(write(tmp_path / "d.onnx", model))


def test_every_cut_of_a_file_is_refused(tmp_path):
    data = yolo().SerializeToString()
    for size in range(0, len(data), 7):
        (tmp_path / "d.onnx").write_bytes(data[:size])
        with pytest.raises(RefusedError, match=r"'d.onnx' is no detector for us"):
            load(tmp_path / "d.onnx", detector_layout="yolo", detector_runtime="cv2")


def test_flipped_bytes_end_in_an_error_or_a_detector(tmp_path):
    data, rng = yolo().SerializeToString(), np.random.default_rng(5)
    ended = {"refused": 0, "loaded": 0}
    for _ in range(60):
        damaged = bytearray(data)
        for at in rng.integers(0, len(data), 3):
            damaged[at] = int(rng.integers(256))
        (tmp_path / "d.onnx").write_bytes(damaged)
        try:
            load(tmp_path / "d.onnx", detector_layout="yolo", detector_runtime="onnxruntime")
            ended["loaded"] += 1
        except (RefusedError, UsageError):
            ended["refused"] += 1
    assert ended["refused"] > 20


@pytest.mark.parametrize("data", [b"", b"not a network", b"\x00" * 64, b"\xff" * 64, b"PK\x03\x04", b"\x3a\x00"])
def test_file_of_another_kind_is_refused(data, tmp_path):
    (tmp_path / "d.onnx").write_bytes(data)
    with pytest.raises(RefusedError, match=r"Expected a complete ONNX file, received .* Copy or export it again"):
        detector_file.read_onnx(tmp_path / "d.onnx")


def test_deep_nesting_is_refused(tmp_path):
    """A graph in an attribute of a node of a graph, 40 times."""
    inner = b""
    for _ in range(40):
        for tag in (0x32, 0x2A, 0x0A):  # attribute's graph = 6, node's attribute = 5, graph's node = 1
            inner = _field(tag, inner)
    model = onnx.ModelProto()
    (tmp_path / "d.onnx").write_bytes(model.SerializeToString() + _field(0x3A, inner))
    with pytest.raises(RefusedError, match=r"more than 100 messages inside each other"):
        detector_file.read_onnx(tmp_path / "d.onnx")


def _field(tag: int, data: bytes) -> bytes:
    return bytes([tag]) + _length(data) + data


def _length(data: bytes) -> bytes:
    size, out = len(data), bytearray()
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*out, size])


def test_too_large_a_file_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "d.onnx").open("wb") as file:
        file.truncate(detector_file.MAX_BYTES + 1)  # a hole: takes no room
    with pytest.raises(RefusedError, match=r"Expected at most 1000 MB, received 1000 MB. Take a smaller one"):
        detector_file.read_onnx(tmp_path / "d.onnx")


@pytest.mark.parametrize("path", [".", "missing.onnx"])
def test_no_file(path, tmp_path):
    with pytest.raises(
        UsageError, match=r"is no file. Expected a detector in ONNX, received (a folder|nothing). Check"
    ):
        detector_file.read_onnx(tmp_path / path)


@pytest.mark.parametrize(
    "options",
    [
        {"input_shape": (1, 1, SIZE, SIZE)},
        {"input_shape": (2, 3, SIZE, SIZE)},
        {"input_shape": (1, SIZE, SIZE, 3)},
        {"input_shape": (1, 3, SIZE)},
        {"input_shape": (1, 3, SIZE, "w")},
        {"input_shape": (1, 3, 100_000, 100_000)},
        {"kind": TensorProto.FLOAT16},
        {"kind": TensorProto.UINT8},
    ],
)
def test_other_inputs_are_refused(options, tmp_path):
    path = write(tmp_path / "d.onnx", yolo(**options))
    with pytest.raises(
        RefusedError, match=r"Expected one input of float32 .* \(1, 3, height, width\), received 'images'"
    ):
        load(path, detector_layout="yolo")


def test_two_inputs_are_refused(tmp_path):
    model = yolo()
    model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1]))
    with pytest.raises(RefusedError, match=r"Expected one input"):
        load(write(tmp_path / "d.onnx", model), detector_layout="yolo")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_operator_that_no_runtime_knows(runtime, tmp_path):
    model = yolo()
    model.graph.node[0].op_type = "Teleport"
    with pytest.raises(RefusedError, match=r"'d.onnx' .*that \S+ runs, received an error: .* another opset"):
        load(write(tmp_path / "d.onnx", model), detector_layout="yolo", detector_runtime=runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_network_that_fails_when_it_runs(runtime, tmp_path, capfd):
    model = yolo(input_shape=(1, 3, "h", "w"))
    with pytest.raises(RefusedError, match=r"'d.onnx' is no detector for us"):
        load(write(tmp_path / "d.onnx", model), detector_size=96, detector_layout="yolo", detector_runtime=runtime)
    assert capfd.readouterr().err == ""


def test_network_that_ends_a_process_does_not_end_this_one(apart, tmp_path):
    """A stride of 0 is a division by 0 in OpenCV 5.0: a signal, no exception."""
    model = yolo()
    model.graph.node[0].attribute[1].ints[:] = [0, 0]
    with pytest.raises(RefusedError, match=r"Expected a network that cv2 runs, received (a crash|an error)"):
        load(write(tmp_path / "d.onnx", model), detector_layout="yolo", detector_runtime="cv2")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_sound_network_passes_its_first_run(apart, runtime, names, tmp_path):
    path = write(tmp_path / "d.onnx", yolo())
    assert load(path, detector_names=names, detector_runtime=runtime).layout.name == "yolo"
    assert detector_trial.first_run(path.read_bytes(), runtime, (SIZE, SIZE)) is None


def test_network_that_takes_all_memory_is_stopped(apart, tmp_path, capfd):
    """32 GiB, made of a shape of one number."""
    model = yolo()
    model.graph.initializer.append(numpy_helper.from_array(np.array([1 << 33], np.int64), "many"))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["many"], ["bomb"]))
    model.graph.output.append(helper.make_tensor_value_info("bomb", TensorProto.FLOAT, [1 << 33]))
    with pytest.raises(RefusedError, match=r"received an error: .*[Ff]ailed to allocate"):
        load(write(tmp_path / "d.onnx", model), detector_layout="yolo", detector_runtime="onnxruntime")
    assert capfd.readouterr() == ("", "")


def test_network_that_does_not_come_to_an_end_is_stopped(apart, monkeypatch):
    monkeypatch.setattr(detector_trial, "TIME_S", 0.001)
    assert detector_trial.first_run(b"", "cv2", (32, 32)) == "nothing after 0.001 s"


def test_several_outputs(names, tmp_path):
    """YOLOv5's older exports have their raw heads beside the output; of two alike none can be chosen."""
    model = yolo()
    model.graph.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2, 4, 4]))
    detector = load(write(tmp_path / "d.onnx", model), detector_names=names)
    assert len(detect(detector, squares((0, 0, RED)), "p")) == 1
    model.graph.output.append(helper.make_tensor_value_info("once", TensorProto.FLOAT, [1, 6, 16]))
    del model.graph.output[1]
    with pytest.raises(RefusedError, match=r"Expected one output with boxes, of three or four axes, received"):
        load(write(tmp_path / "d.onnx", model), detector_names=names)


def test_onnxruntime_is_asked_for_and_missing(tmp_path, monkeypatch, names):
    path = write(tmp_path / "d.onnx", yolo())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert load(path, detector_names=names).runtime.startswith("cv2.dnn")
    with pytest.raises(UsageError, match=r"Expected onnxruntime, received none. Run pip install 'hazegen\[onnx\]'"):
        load(path, detector_names=names, detector_runtime="onnxruntime")


def test_onnx_package_is_not_needed(tmp_path, monkeypatch, names):
    path = write(tmp_path / "d.onnx", yolo())
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert load(path, detector_names=names, detector_runtime="cv2").layout.name == "yolo"


# --- names ---


@pytest.mark.parametrize("data", [b"", b"\n\n", b"a\n\nb\n", b"a\x00b\n", b"\xff\xfe\n", b"x" * 1_000_001])
def test_names_that_are_none(data, tmp_path):
    (tmp_path / "n").write_bytes(data)
    with pytest.raises(RefusedError, match=r"'n' has no names of classes. Expected text of at most 1000000 bytes, one"):
        detectors.read_names(tmp_path / "n")


def test_missing_names(tmp_path):
    with pytest.raises(UsageError, match=r"is no file. Expected names of classes. Check --detector-names"):
        detectors.read_names(tmp_path / "n")


def test_names_that_stand_there_twice_are_told_apart(tmp_path):
    (tmp_path / "n").write_text("car\nbus \ncar\n")
    assert detectors.read_names(tmp_path / "n") == ("car #0", "bus", "car #2")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{0: 'a', 1: 'b'}", ("a", "b")),
        ("['a', 'b']", ("a", "b")),
        ("{1: 'a', 0: 'b'}", None),
        ("{0: 'a', 2: 'b'}", None),
        ("{0: 1}", None),
        ("[]", None),
        ("", None),
        ("__import__('os').system('x')", None),
        ("(" * 5000, None),
        ("{[]: 1}", None),
        ("['a\\nb']", None),
    ],
)
def test_names_in_the_files_metadata_are_literals_alone(text, expected):
    assert detectors.own_names({"names": text}) == expected


# --- options ---


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"confidence": 0.4}, "There is nothing to detect with. Expected --detector beside its options"),
        ({"detector_names": Path("n")}, "There is nothing to detect with"),
        ({"detector": Path("d"), "confidence": 0.0}, "--confidence is out of range. .* received 0.0"),
        ({"detector": Path("d"), "confidence": 1.01}, "--confidence is out of range"),
        ({"detector": Path("d"), "iou": 0.0}, "--iou is out of range"),
        ({"detector": Path("d"), "iou": float("nan")}, "--iou is out of range"),
        ({"detector": Path("d"), "detector_size": 31}, "--detector-size is out of range. Expected 32 to 4096 px"),
        ({"detector": Path("d"), "detector_size": 4097}, "--detector-size is out of range"),
    ],
)
def test_options_out_of_range(options, said):
    with pytest.raises(UsageError, match=said):
        DetectorOptions(**options)


def test_ends_of_the_ranges():
    DetectorOptions(detector=Path("d"), confidence=1.0, iou=1.0, detector_size=32)
    DetectorOptions(detector=Path("d"), confidence=1e-6, iou=1e-6, detector_size=4096)
