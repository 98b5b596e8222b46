"""An 8-bit copy of an exported model: convolutions in int8, scales taken from images of the training split."""

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class _Images(CalibrationDataReader):
    def __init__(self, images: np.ndarray) -> None:
        self.batches = iter([{"image": image[None]} for image in images])

    def get_next(self) -> Any:
        return next(self.batches, None)


def quantize(path: Path, images: np.ndarray) -> onnx.ModelProto:
    """The 8-bit model of `path`, calibrated on images (N, H, W, 3) uint8 at the model's size.

    The last layer of every head stays in float: what it gives is metres and directions, not features.
    """
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        prepared, small = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(small),
            _Images(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=_last_convolutions(onnx.load(prepared)),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(small)


def _last_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions from which no other convolution is reached."""
    reaching: set[str] = set()  # tensors after which a convolution comes
    last: list[str] = []
    for node in reversed(model.graph.node):
        after = not reaching.isdisjoint(node.output)
        if node.op_type == "Conv" and not after:
            last.append(node.name)
        if after or node.op_type == "Conv":
            reaching.update(node.input)
    return last
