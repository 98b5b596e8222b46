"""The trained network as one ONNX file: uint8 images in, maps in physical units out, and a manifest of them."""

import logging
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor
from torch.export import Dim

import mtl_vision
from mtl_vision.engine.load import Trained
from mtl_vision.export.deployed import Core, Deployed
from mtl_vision.export.opset import IR_VERSION, OPSET, at_opset, check_opset
from mtl_vision.models.backbone import padded
from mtl_vision.runtime.checksum import with_checksum
from mtl_vision.runtime.contract import MANIFEST_KEY, Manifest, one_line
from mtl_vision.runtime.files import atomic_write


def trace(run: Trained, module: Deployed | Core, dynamic_size: bool = False, opset: int = OPSET) -> onnx.ModelProto:
    """The checked graph at `opset`.

    Of a `Deployed`, N is free; H and W too with `dynamic_size`, as multiples of the stride.
    """
    check_opset(opset)
    if isinstance(module, Core):
        example = torch.zeros(1, 3, *padded(run.config.data.size, run.model.multiple))
        return at_opset(_tidied(_exported(module, example, {})), opset)
    fixed = run.model.backbone.fixed_size
    if dynamic_size and fixed:
        raise ValueError(
            f"dynamic_size is true: {run.config.model.backbone} takes images of {fixed} only; export it without"
        )
    (H, W), multiple = run.config.data.size, run.model.multiple
    dims: dict[int, Any] = {0: Dim("N")}
    if dynamic_size:
        # at least two strides a side: torch.export takes sizes of one as constants
        H, W = (max(-(-side // multiple), 2) * multiple for side in (H, W))
        dims |= {1: multiple * Dim("h", min=2), 2: multiple * Dim("w", min=2)}
    example = torch.zeros(2, H, W, 3, dtype=torch.uint8)  # a batch of one would be taken for a constant
    return at_opset(_tidied(_exported(module, example, dims)), opset)


def _exported(module: Deployed | Core, example: Tensor, dims: dict[int, Any]) -> onnx.ModelProto:
    """As torch.onnx writes it. Raises ValueError for a network that it cannot write."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(),
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["image"],
                output_names=list(module.tasks),
                dynamic_shapes={"image": dims},
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        cause = one_line(error.__cause__ if isinstance(error.__cause__, Exception) else error)
        raise ValueError(f"torch cannot write this network as ONNX: {cause[:300]}") from error
    assert program is not None
    return program.model_proto


def _tidied(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without the exporter's notes, which hold stack traces and paths of this machine; resizes by constant scales."""
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph, model):
        del part.metadata_props[:]
        part.doc_string = ""
    _scale(model)
    prune(graph)
    return model


def _scale(model: onnx.ModelProto) -> None:
    """Resizes by scales, where both sizes are known: compilers take that, and no sizes that are computed."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    infos = {info.name: info.type.tensor_type.shape.dim for info in (*inferred.value_info, *inferred.output)}
    for node in model.graph.node:
        if node.op_type != "Resize" or len(node.input) < 4 or not {node.input[0], node.output[0]} <= infos.keys():
            continue
        before, after = ([d.dim_value for d in infos[name]][2:] for name in (node.input[0], node.output[0]))
        if all(before) and all(after):
            scales = np.array([1, 1, *(b / a for a, b in zip(before, after, strict=True))], np.float32)
            name = f"{node.output[0]}_scales"
            model.graph.initializer.append(numpy_helper.from_array(scales, name))
            node.input[:] = [node.input[0], "", name]


def prune(graph: onnx.GraphProto) -> None:
    """Remove what nothing uses."""
    used = {value.name for value in graph.output}
    for node in reversed(list(graph.node)):
        if used.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            used.update(node.input)
    for tensor in list(graph.initializer):
        if tensor.name not in used:
            graph.initializer.remove(tensor)
    del graph.value_info[:]


def make_manifest(run: Trained, dynamic_size: bool = False, opset: int = OPSET) -> Manifest:
    """Outputs, size, resize rule, camera, metrics and versions of a full graph in float32."""
    H, W = run.config.data.size
    camera = run.description.camera((H, W))
    mean, std = _three(run.model.mean), _three(run.model.std)
    return Manifest(
        outputs=[task.output() for task in run.tasks.values()],
        height=H,
        width=W,
        stride=run.model.multiple,
        dynamic_size=dynamic_size,
        fill=(round(mean[0]), round(mean[1]), round(mean[2])),
        intrinsics=camera and (camera.fx, camera.fy, camera.cx, camera.cy),
        metrics=run.metrics,
        versions={"mtl_vision": mtl_vision.__version__, **{name: version(name) for name in ("torch", "timm", "onnx")}},
        trained_size=run.model.size,
        mean=mean,
        std=std,
        precision="float32",
        opset=opset,
    )


def _three(channels: Tensor) -> tuple[float, float, float]:
    red, green, blue = (round(float(value), 4) for value in channels.flatten())
    return red, green, blue


def write(model: onnx.ModelProto, manifest: Manifest, path: Path) -> None:
    """Write the graph as one file, with its manifest in place of what metadata it has, and a checksum of it all."""
    used = {node.domain for node in model.graph.node}
    for unused in [entry for entry in model.opset_import if entry.domain and entry.domain not in used]:
        model.opset_import.remove(unused)  # onnxruntime does not load a newer one than it knows
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = MANIFEST_KEY, manifest.to_json()
    model.ir_version = IR_VERSION
    model.producer_name = "mtl_vision"
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, with_checksum(model.SerializeToString()))
