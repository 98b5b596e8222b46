"""The trained network as one ONNX file: uint8 images in, maps in physical units out, and a manifest of them."""

import logging
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

import mtl_vision
from mtl_vision.engine.load import Trained
from mtl_vision.runtime.checksum import with_checksum
from mtl_vision.runtime.contract import MANIFEST_KEY, Manifest
from mtl_vision.runtime.files import atomic_write

OPSET = 18


class Deployed(nn.Module):
    """What the ONNX file computes: image (N, H, W, 3) uint8 RGB -> one map a task, in the tasks' order.

    logits: label maps come as logits (N, C, H, W).
    """

    def __init__(self, run: Trained, logits: bool = False) -> None:
        super().__init__()
        self.network, self.tasks, self.logits = run.model, run.tasks, logits

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return self.maps(image, self.logits)

    def maps(self, image: Tensor, logits: bool = False) -> tuple[Tensor, ...]:
        """The maps as each task decodes them: what a reader of the file must get, logits or not."""
        predictions = self.network(image.permute(0, 3, 1, 2))
        return tuple(
            predictions[name] if logits and task.output().kind == "label_map" else task.decode(predictions[name])
            for name, task in self.tasks.items()
        )


def trace(run: Trained, module: Deployed, dynamic_size: bool = False) -> onnx.ModelProto:
    """The checked graph. N is free; H and W too with `dynamic_size`, as multiples of the network's stride."""
    fixed = run.model.backbone.fixed_size
    if dynamic_size and fixed:
        raise ValueError(
            f"dynamic_size is true: {run.config.model.backbone} takes images of {fixed} only; export it without"
        )
    (H, W), multiple = run.config.data.size, run.model.multiple
    dims = {0: Dim("N")}
    if dynamic_size:
        # at least two strides a side: torch.export takes sizes of one as constants
        H, W = (max(-(-side // multiple), 2) * multiple for side in (H, W))
        dims |= {1: multiple * Dim("h", min=2), 2: multiple * Dim("w", min=2)}
    example = torch.zeros(2, H, W, 3, dtype=torch.uint8)  # a batch of one would be taken for a constant
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(run.tasks),
            dynamic_shapes={"image": dims},
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    graph = model.graph
    # the exporter's notes hold stack traces and paths of this machine
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph, model):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.checker.check_model(model, full_check=True)
    return model


def make_manifest(run: Trained, dynamic_size: bool = False) -> Manifest:
    """Outputs, size, resize rule, camera, metrics and versions."""
    H, W = run.config.data.size
    camera = run.description.camera((H, W))
    red, green, blue = (round(float(v)) for v in np.ravel(run.model.mean.cpu().numpy()))
    return Manifest(
        outputs=[task.output() for task in run.tasks.values()],
        height=H,
        width=W,
        stride=run.model.multiple,
        dynamic_size=dynamic_size,
        fill=(red, green, blue),
        intrinsics=camera and (camera.fx, camera.fy, camera.cx, camera.cy),
        metrics=run.metrics,
        versions={"mtl_vision": mtl_vision.__version__, **{name: version(name) for name in ("torch", "timm", "onnx")}},
    )


def write(model: onnx.ModelProto, manifest: Manifest, path: Path) -> None:
    """Write the graph as one file, with its manifest in place of what metadata it has, and a checksum of it all."""
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = MANIFEST_KEY, manifest.to_json()
    model.producer_name = "mtl_vision"
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, with_checksum(model.SerializeToString()))
