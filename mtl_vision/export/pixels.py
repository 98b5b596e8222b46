"""8-bit graphs that begin with the image's own bytes: its normalisation goes into the first convolution.

    W * (x - mean) / std + b  =  W / std * (x - ZERO) + b + sum(W / std * (ZERO - mean))

x - ZERO is a byte with scale 1 and zero point ZERO, so nothing is computed before the convolution. Its padding stands
for x = ZERO where it stood for the mean: a few grey levels of difference, at the image's border alone.
"""

import copy
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper
from onnxruntime.quantization.calibrate import TensorData

from mtl_vision.export.graph import prune

ZERO = 116  # near the mean of ImageNet's three channels
CENTRED = "centred"  # the tensor x - ZERO
RANGE = TensorData(lowest=np.float32(-ZERO), highest=np.float32(255 - ZERO))  # which has scale 1 and zero point ZERO


def with_raw_pixels(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float graph that centres the image alone; as it is where not one convolution takes the normalised image."""
    model = copy.deepcopy(model)
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = _chain(graph, ("Cast", "Sub", "Div", "Pad", "Conv")) or _chain(graph, ("Cast", "Sub", "Div", "Conv"))
    if not found:
        return model
    cast, sub, div, *pad, conv = found
    if not {sub.input[1], div.input[1], *conv.input[1:]} <= constants.keys() or constants[conv.input[1]].shape[1] != 3:
        return model
    mean, std = (constants[node.input[1]].astype(float).reshape(3, 1, 1) for node in (sub, div))
    weight, *bias = (constants[name].astype(float) for name in conv.input[1:])
    weight = weight / std
    shift = (weight * (ZERO - mean)).sum((1, 2, 3)) + (bias[0] if bias else 0)
    new = {"raw_weight": weight, "raw_bias": shift, "raw_zero": np.array(ZERO)}
    graph.initializer.extend(numpy_helper.from_array(array.astype(np.float32), name) for name, array in new.items())
    source, begin = cast.input[0], []
    if pad:  # the bytes, before they become floats
        begin = [helper.make_node("Pad", [source, pad[0].input[1]], ["raw_padded"], "raw_pad", mode="edge")]
        source = "raw_padded"
    begin += [
        helper.make_node("Cast", [source], ["raw_float"], "raw_cast", to=onnx.TensorProto.FLOAT),
        helper.make_node("Sub", ["raw_float", "raw_zero"], [CENTRED], "raw_centre"),
    ]
    conv.input[:] = [CENTRED, "raw_weight", "raw_bias"]
    at = next(i for i, node in enumerate(graph.node) if node == conv)
    gone = {node.name for node in (cast, sub, div, *pad)}
    nodes = [*graph.node[:at], *begin, *graph.node[at:]]
    del graph.node[:]
    graph.node.extend(node for node in nodes if node.name not in gone)
    prune(graph)
    return model


def from_bytes(model: onnx.ModelProto) -> None:
    """In place, after quantisation: x - ZERO is not computed and then quantised, the byte itself is it."""
    nodes = {node.name: node for node in model.graph.node}
    found = [node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == CENTRED]
    if not found:
        return
    for node in model.graph.node:
        node.input[:] = [nodes["raw_cast"].input[0] if name == found[0].output[0] else name for name in node.input]
    for node in (nodes["raw_cast"], nodes["raw_centre"], found[0]):
        model.graph.node.remove(node)


def _chain(graph: onnx.GraphProto, types: Sequence[str]) -> list[NodeProto]:
    """Nodes of these types, each of which alone takes what the one before it gives; empty where there are none."""
    for first in graph.node:
        found = [first]
        while len(found) < len(types):
            after = [node for node in graph.node if found[-1].output[0] in node.input]
            if len(after) != 1:
                break
            found += after
        if [node.op_type for node in found] == list(types):
            return found
    return []
