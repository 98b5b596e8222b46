"""The trained network as one ONNX graph: uint8 pictures in, maps in physical units out."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from mtl_vision.engine.load import Trained
from mtl_vision.runtime.contract import MANIFEST_KEY, Manifest
from mtl_vision.runtime.files import write_whole

OPSET = 18


class Deployed(nn.Module):
    """What the ONNX file computes: image (N, H, W, 3) uint8 RGB -> one map a task, in the tasks' order."""

    def __init__(self, run: Trained, logits: bool = False) -> None:
        super().__init__()
        self.network = run.model
        self.tasks = run.tasks
        self.logits = logits

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        predictions = self.network(image.permute(0, 3, 1, 2))
        kinds = {name: task.output().kind for name, task in self.tasks.items()}
        return tuple(
            predictions[name] if self.logits and kinds[name] == "label_map" else task.decode(predictions[name])
            for name, task in self.tasks.items()
        )


def trace(run: Trained, module: Deployed, dynamic_size: bool = False) -> onnx.ModelProto:
    """The checked graph. N is free; H and W too with `dynamic_size`, as multiples of the network's stride."""
    if dynamic_size and run.model.backbone.fixed_size:
        raise ValueError(
            f"{run.config.model.backbone} has position tables for {run.model.backbone.fixed_size} alone: export it "
            "without --dynamic-size"
        )
    H, W = run.config.data.size
    multiple = run.model.multiple
    dims = {0: Dim("N")}
    if dynamic_size:
        # at least two strides a side: torch.export takes sizes of one as constants
        H, W = (max(-(-side // multiple), 2) * multiple for side in (H, W))
        dims |= {1: multiple * Dim("h", min=2), 2: multiple * Dim("w", min=2)}
    example = torch.zeros(2, H, W, 3, dtype=torch.uint8)  # a batch of one would be taken for a constant
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations are no concern of the user
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
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def _strip(model: onnx.ModelProto) -> None:
    """Take out the exporter's notes on every node: they hold stack traces and paths of the machine that traced it."""
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.metadata_props[:]
    del model.metadata_props[:]


def write(model: onnx.ModelProto, manifest: Manifest, path: Path) -> None:
    """The graph with its manifest as one file, whole or not at all."""
    entry = model.metadata_props.add()
    entry.key, entry.value = MANIFEST_KEY, manifest.to_json()
    model.producer_name = "mtl_vision"
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, model.SerializeToString())
