"""The network by OpenVINO in onnxruntime's place: for Intel's processors. It is an extra of its own."""

import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mtl_vision.runtime.contract import ModelError, one_line

PRECISIONS = {"openvino": "f32", "openvino-bf16": "bf16"}  # by the backend's name
SHAPES = 4  # input shapes that have a compiled graph of their own, which is up to 1.5 times as fast as a general one
Shape = tuple[int, ...]


class OpenVinoGraph:
    """A full or core graph, compiled for the CPU. Several threads may run it.

    model: the ONNX file, or its bytes. threads: how many it computes with (0: OpenVINO's choice). backend: a name in
    PRECISIONS. Raises ModelError where openvino is not installed, or does not take the graph.
    """

    def __init__(self, model: Path | bytes, threads: int, backend: str) -> None:
        try:
            openvino = import_module("openvino")
        except ImportError as error:
            raise ModelError(
                f"backend is {backend}: expected the package openvino, found none; python -m pip install "
                "'mtl_vision[openvino]'"
            ) from error
        self.name = f"OpenVINO {openvino.__version__.split('-')[0]}, {PRECISIONS[backend]}"
        self._core = openvino.Core()
        self._options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": PRECISIONS[backend],
        } | ({"INFERENCE_NUM_THREADS": threads} if threads else {})  # fmt: skip
        self._compiled: dict[Shape | None, Any] = {}
        self._lock, self._requests = threading.Lock(), threading.local()
        try:
            self._model = self._core.read_model(model)
        except Exception as error:  # RuntimeError, and others of its own
            raise ModelError(f"OpenVINO cannot load the model: {one_line(error)}") from error

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs of these names, as onnxruntime's session gives them."""
        ((name, array),) = feeds.items()
        request = self._request(name, array.shape)
        request.infer({name: np.ascontiguousarray(array)})
        return [request.get_tensor(output).data.copy() for output in names]

    def get_providers(self) -> list[str]:
        """Where it runs, as onnxruntime's session says it."""
        return [self.name]

    def _request(self, name: str, shape: Shape | None) -> Any:
        """This thread's own, of the graph that is compiled for the shape, or of the general one."""
        with self._lock:
            if shape not in self._compiled and len(self._compiled) >= SHAPES:
                shape = None
            if shape not in self._compiled:
                model = self._model.clone()
                if shape is not None:
                    model.reshape({name: list(shape)})
                self._compiled[shape] = self._core.compile_model(model, "CPU", self._options)
        requests: dict[Shape | None, Any] = self._requests.__dict__.setdefault("by_shape", {})
        if shape not in requests:
            requests[shape] = self._compiled[shape].create_infer_request()
        return requests[shape]
