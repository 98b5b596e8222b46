"""An exported model in 8 bits: onnxruntime's QDQ form, activations uint8, weights int8 with a scale a channel."""

import copy
import logging
import tempfile
from collections.abc import Collection
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process

from mtl_vision.export import pixels

# between two convolutions, so that what passes stays in 8 bits
TYPES = ("Conv", "Relu", "Add", "Concat", "Resize", "MaxPool", "AveragePool")
PERCENTILE = 99.99  # of an activation's values: its range, so that few large ones do not coarsen all
GROUP = 4  # images whose activations are in memory at a time


class Quantizer:
    """Makes 8-bit models of a float one. The ranges of activations are measured once.

    model: a full graph in float32. images: (N, H, W, 3) uint8 at the model's size, of its training.
    `convolutions`: names of those that can be in 8 bits. The last ones of the heads stay in float: what they give is
    metres and directions, not features.
    """

    def __init__(self, model: onnx.ModelProto, images: np.ndarray) -> None:
        logging.getLogger().setLevel(logging.ERROR)
        with tempfile.TemporaryDirectory() as folder:
            raw, prepared, augmented = (Path(folder) / f"{name}.onnx" for name in ("raw", "prepared", "augmented"))
            onnx.save(pixels.with_raw_pixels(model), raw)
            quant_pre_process(str(raw), str(prepared), skip_symbolic_shape=True)
            self.model = onnx.shape_inference.infer_shapes(onnx.load(prepared))
            calibrator = create_calibrator(
                prepared,
                list(TYPES),
                augmented_model_path=str(augmented),
                calibrate_method=CalibrationMethod.Percentile,
                extra_options={"percentile": PERCENTILE, "symmetric": False},
            )
            with redirect_stdout(None):  # it prints what it is told
                for at in range(0, len(images), GROUP):
                    calibrator.collect_data(_Images(images[at : at + GROUP]))
                self.ranges = calibrator.compute_data()
        self.ranges.data[pixels.CENTRED] = pixels.RANGE
        self.last = _last_convolutions(self.model)
        weights = {tensor.name for tensor in self.model.graph.initializer}
        found = (node for node in self.model.graph.node if node.op_type == "Conv" and node.input[1] in weights)
        self.convolutions = [node.name for node in found if node.name not in self.last]

    def quantized(self, kept: Collection[str] = ()) -> onnx.ModelProto:
        """The model in 8 bits but for its last convolutions, those that are `kept`, and what follows these at once."""
        quantizer = QDQQuantizer(
            copy.deepcopy(self.model),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self.ranges,
            nodes_to_quantize=[],
            nodes_to_exclude=self._in_float({*self.last, *kept}),
            op_types_to_quantize=list(TYPES),
            extra_options={},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        found: onnx.ModelProto = quantizer.model.model
        pixels.from_bytes(found)
        return found

    def _in_float(self, convolutions: Collection[str]) -> list[str]:
        """These and, up to the next convolution, the nodes that take what they give."""
        tensors: set[str] = set()
        names = []
        for node in self.model.graph.node:
            if node.name in convolutions or (node.op_type != "Conv" and not tensors.isdisjoint(node.input)):
                tensors.update(node.output)
                names.append(node.name)
        return names


class _Images(CalibrationDataReader):
    def __init__(self, images: np.ndarray) -> None:
        self.batches = iter([{"image": image[None]} for image in images])

    def get_next(self) -> Any:
        return next(self.batches, None)


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
