"""Tiny detectors in ONNX files, one of each layout: they find red and blue squares, and haze hides these from them."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SIZE, CELL = 128, 32
CELLS = SIZE // CELL
CLASSES = ("red", "blue")
RED, BLUE = (255, 0, 0), (0, 0, 255)


def initializer(name: str, values: np.ndarray):
    return numpy_helper.from_array(values, name)


def model_of(
    nodes, tensors, outputs, *, input_shape=(1, 3, SIZE, SIZE), kind=TensorProto.FLOAT, metadata=None, opset=13
):
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", kind, list(input_shape))],
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in outputs.items()],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    return model


def color_scores(blue_first: bool):
    """Nodes that give (1, 2, CELLS, CELLS): how red and how blue each cell is; what is grey is neither."""
    weights = np.array([[1.0, -0.5, -0.5], [-0.5, -0.5, 1.0]], np.float32)
    if blue_first:
        weights = weights[:, ::-1]
    nodes = [
        helper.make_node("AveragePool", ["images"], ["cells"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        helper.make_node("Conv", ["cells", "weights"], ["colors"]),
        helper.make_node("Clip", ["colors", "zero", "one"], ["scores"]),
    ]
    tensors = [
        initializer("weights", np.ascontiguousarray(weights[..., None, None])),
        initializer("zero", np.float32(0)),
        initializer("one", np.float32(1)),
    ]
    return nodes, tensors


def centers() -> np.ndarray:
    """Center and sides of each cell [px], (4, CELLS * CELLS), row by row."""
    y, x = np.mgrid[0:CELLS, 0:CELLS].reshape(2, -1) * CELL + CELL / 2
    return np.stack([x, y, np.full_like(x, CELL), np.full_like(x, CELL)]).astype(np.float32)


def fastestdet(**options):
    """(1, 5 + 2, CELLS, CELLS), input in the order B, G, R; a box is its cell."""
    nodes, tensors = color_scores(blue_first=True)
    offset, side = np.arctanh(0.5), -np.log(CELLS - 1.0)
    head = np.array([1.0, offset, offset, side, side], np.float32)[None, :, None, None]
    tensors.append(initializer("head", np.broadcast_to(head, (1, 5, CELLS, CELLS)).copy()))
    nodes.append(helper.make_node("Concat", ["head", "scores"], ["output"], axis=1))
    return model_of(nodes, tensors, {"output": [1, 7, CELLS, CELLS]}, **options)


def yolo(*, objectness=False, transposed=False, repeat=1, **options):
    """(1, 4 + 2, N) or with an object's confidence (1, N, 5 + 2); `transposed` gives the other order of axes."""
    nodes, tensors = color_scores(blue_first=False)
    cells = CELLS * CELLS
    head = np.vstack([centers(), np.ones((1, cells))]) if objectness else centers()
    tensors += [
        initializer("head", head[None].astype(np.float32)),
        initializer("rows", np.array([1, 2, cells], np.int64)),
    ]
    nodes += [
        helper.make_node("Reshape", ["scores", "rows"], ["flat"]),
        helper.make_node("Concat", ["head", "flat"], ["once"], axis=1),
        helper.make_node("Concat", ["once"] * repeat, ["all"], axis=2),
    ]
    shape = [1, len(head) + 2, cells * repeat]
    if objectness != transposed:
        nodes.append(helper.make_node("Transpose", ["all"], ["output"], perm=[0, 2, 1]))
        shape = [1, shape[2], shape[1]]
    else:
        nodes.append(helper.make_node("Identity", ["all"], ["output"]))
    return model_of(nodes, tensors, {"output": shape}, **options)


def write(path: Path, model) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def squares(*places: tuple[int, int, tuple[int, int, int]], width=SIZE, height=SIZE, cell=CELL) -> np.ndarray:
    """A grey picture with squares (row, column, colour) of a grid of cells."""
    pixels = np.full((height, width, 3), 128, np.uint8)
    for row, column, color in places:
        pixels[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = color
    return pixels
