"""The graph in float16, for GPUs and browsers: uint8 images in and float32 maps out, as the float32 graph has them.

onnxruntime's own converter gives a tensor that two nodes take in float32 two casts of one name, which does not load.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LAST = ("Conv", "Resize", "MatMul", "Gemm", "ArgMax")  # after the last of these a map gets its unit, in float32
MOST = float(np.finfo(np.float16).max)


def in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with weights and computation in float16, but for what comes after an output's last layer."""
    half = onnx.shape_inference.infer_shapes(model)
    graph = half.graph
    wide, kept = _after_the_last_layer(graph), {tensor.name: tensor for tensor in graph.initializer}
    floats = {
        info.name for info in (*graph.value_info, *graph.output) if info.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    taken = {name for node in wide for name in node.input} | {value.name for value in graph.output}
    nodes, halved = [], set()
    for node in graph.node:
        nodes.append(node)
        if node in wide:
            continue
        for i, name in enumerate(node.input):
            if name in kept and kept[name].data_type == TensorProto.FLOAT and (node.op_type, i) != ("Resize", 2):
                node.input[i] = f"{name}_half"
                halved.add(name)
            elif name in taken & floats:
                node.input[i] = f"{name}_half"
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
            elif attribute.t.data_type == TensorProto.FLOAT:
                attribute.t.CopyFrom(_rounded(attribute.t, attribute.t.name))
        for i, name in enumerate(node.output):
            if name in taken & floats:
                node.output[i] = f"{name}_half"
                nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    graph.initializer.extend(_rounded(kept[name], f"{name}_half") for name in sorted(halved))
    used = {name for node in nodes for name in node.input}
    initializers = [tensor for tensor in graph.initializer if tensor.name in used]
    for part in (graph.node, graph.initializer, graph.value_info):
        del part[:]
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)
    onnx.checker.check_model(half, full_check=True)
    return half


def _rounded(tensor: TensorProto, name: str) -> TensorProto:
    values = numpy_helper.to_array(tensor)
    return numpy_helper.from_array(np.clip(values, -MOST, MOST).astype(np.float16), name)


def _after_the_last_layer(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes from which none of LAST is reached, and that are none themselves."""
    reaching: set[str] = set()  # tensors after which one of LAST comes
    after = []
    for node in reversed(graph.node):
        if node.op_type in LAST or not reaching.isdisjoint(node.output):
            reaching.update(node.input)
        else:
            after.append(node)
    return after
