"""A tiny model whose results can be worked out by hand."""

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from mtl_vision.runtime.checksum import with_checksum
from mtl_vision.runtime.contract import MANIFEST_KEY, Manifest, Output

CLASSES, PALETTE = ["dark", "bright"], [(10, 20, 30), (200, 100, 50)]
OUTPUTS = [
    Output("depth", "scalar_map", unit="m"),
    Output("normals", "unit_vector_map", frame="camera"),
    Output("segmentation", "label_map", classes=CLASSES, palette=PALETTE),
]


def manifest(**changes: Any) -> Manifest:
    return Manifest(**{"outputs": OUTPUTS, "height": 48, "width": 64, "stride": 16, **changes})


def build_model(
    path: Path, says: Manifest | str | None, axes: tuple[int | str, int | str] = ("H", "W"), logits: int = 0
) -> Path:
    """depth = 0.5 + 5 * mean(r, g, b) / 255; normals = (r, g, b + 1) at unit length; segmentation = mean > 127.5.

    logits: the segmentation as (N, logits, H, W), whose last channel is mean - 127.5; of two, the first is 0.
    """
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *axes, 3])]
    outputs = [
        helper.make_tensor_value_info("depth", TensorProto.FLOAT, ["N", *axes]),
        helper.make_tensor_value_info("normals", TensorProto.FLOAT, ["N", *axes, 3]),
        helper.make_tensor_value_info("segmentation", TensorProto.UINT8, ["N", *axes]),
    ]
    if logits:
        outputs[2] = helper.make_tensor_value_info("segmentation", TensorProto.FLOAT, ["N", logits, *axes])
    constants = {
        "per_255": np.float32(5 / 255),
        "half": np.float32(0.5),
        "middle": np.float32(127.5),
        "first": np.array([1], np.int64),
        "last": np.array([3], np.int64),
        "forward": np.array([0, 0, 1], np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x", "last"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "per_255"], ["scaled"]),
        helper.make_node("Add", ["scaled", "half"], ["depth"]),
        helper.make_node("Add", ["x", "forward"], ["vectors"]),
        helper.make_node("ReduceL2", ["vectors", "last"], ["length"], keepdims=1),
        helper.make_node("Div", ["vectors", "length"], ["normals"]),
    ]
    if logits:
        nodes += [
            helper.make_node("Sub", ["mean", "middle"], ["brightness"]),
            helper.make_node("Unsqueeze", ["brightness", "first"], ["channel"]),
            helper.make_node("Sub", ["channel", "channel"], ["nothing"]),
            helper.make_node("Concat", ["nothing", "channel"][-logits:], ["segmentation"], axis=1),
        ]
    else:
        nodes += [
            helper.make_node("Greater", ["mean", "middle"], ["is_bright"]),
            helper.make_node("Cast", ["is_bright"], ["segmentation"], to=TensorProto.UINT8),
        ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializer=tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if says is not None:
        text = says if isinstance(says, str) else says.to_json()
        helper.set_model_props(model, {MANIFEST_KEY: text})
    path.write_bytes(with_checksum(model.SerializeToString()))
    return path
