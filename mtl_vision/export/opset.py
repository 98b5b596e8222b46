"""The graph at another version of the operators: the exporter writes 18, older and newer runtimes want others."""

import onnx
from onnx import defs, helper, numpy_helper, version_converter

OPSET, OPSETS = 18, (17, 18, 19, 20)
IR_VERSION = 9  # what onnxruntime 1.17 and the parsers of NPU compilers take; these opsets need no newer one


def check_opset(opset: int) -> None:
    """Raises ValueError for one that is not among OPSETS."""
    if opset not in OPSETS:
        raise ValueError(f"opset is {opset}: expected one of {', '.join(map(str, OPSETS))}")


def at_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The model at `opset`, checked. Raises ValueError where its graph cannot be written at that."""
    check_opset(opset)
    try:
        if opset > OPSET:
            model = version_converter.convert_version(model, opset)
        elif opset < OPSET:
            _lower(model)
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # the converter's and the checker's own, which have no common base
        said = " ".join(str(error).split())[:300]
        raise ValueError(f"opset is {opset}: this network's graph cannot be written at it ({said})") from error
    return model


def _lower(model: onnx.ModelProto) -> None:
    """From opset 18 to 17, in place. The checker refuses what is left of 18."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if _since(node, 18) == _since(node, 17):
            continue
        if node.op_type.startswith("Reduce") and len(node.input) == 2:  # the axes were an attribute
            axes = numpy_helper.to_array(constants[node.input.pop()]).tolist()
            node.attribute.append(helper.make_attribute("axes", axes))
        new = {"antialias", "keep_aspect_ratio_policy", "noop_with_empty_axes", "num_outputs"}
        kept = [attribute for attribute in node.attribute if attribute.name not in new]
        del node.attribute[:]
        node.attribute.extend(kept)
    next(entry for entry in model.opset_import if not entry.domain).version = 17


def _since(node: onnx.NodeProto, opset: int) -> int:
    """The opset that defined the operator as it is at `opset`."""
    return defs.get_schema(node.op_type, opset, node.domain).since_version
