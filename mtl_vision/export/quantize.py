"""An 8-bit copy of an exported model: convolutions in int8, scales taken from pictures of the training split."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from mtl_vision.runtime.contract import MANIFEST_KEY
from mtl_vision.runtime.files import write_whole


class _Pictures(CalibrationDataReader):
    """Pictures (N, H, W, 3) one by one."""

    def __init__(self, pictures: np.ndarray) -> None:
        self.batches = iter([{"image": pictures[i : i + 1]} for i in range(len(pictures))])

    def get_next(self) -> Any:
        return next(self.batches, None)


def quantize(path: Path, out: Path, pictures: np.ndarray) -> None:
    """Write the 8-bit model of `path` to `out`, calibrated on pictures (N, H, W, 3) uint8 at the model's size.

    The last layer of every head stays in float: what it gives is metres and directions, not features.
    """
    logging.getLogger().setLevel(logging.ERROR)
    original = onnx.load(path)
    with tempfile.TemporaryDirectory() as folder:
        prepared, small = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(small),
            _Pictures(pictures),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=_last_convolutions(onnx.load(prepared)),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        model = onnx.load(small)
    del model.metadata_props[:]
    for entry in original.metadata_props:
        if entry.key == MANIFEST_KEY:
            model.metadata_props.add().CopyFrom(entry)
    onnx.checker.check_model(model)
    write_whole(out, model.SerializeToString())


def _last_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions from which no other convolution is reached."""
    reaches: dict[str, bool] = {}  # tensor -> whether a convolution comes after it
    last: list[str] = []
    for node in reversed(model.graph.node):
        after = any(reaches.get(name, False) for name in node.output)
        if node.op_type == "Conv" and not after:
            last.append(node.name)
        for name in node.input:
            reaches[name] = reaches.get(name, False) or after or node.op_type == "Conv"
    return last
