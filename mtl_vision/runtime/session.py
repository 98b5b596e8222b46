"""An exported model, ready to run: the ONNX graph in onnxruntime, and its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from mtl_vision.runtime.contract import MANIFEST_KEY, Manifest, ModelError

INPUT = "image"
CPU = ("CPUExecutionProvider",)
# What a batch (N, H, W, 3) comes out as, per kind of map: the shape after (N, H, W), and the type
MAPS = {"scalar_map": ((), np.float32), "unit_vector_map": ((3,), np.float32), "label_map": ((), np.uint8)}


class Session:
    """Load an exported model; `manifest` is what the file says of itself.

    threads: how many the network computes with (default: onnxruntime's choice, one a core).
    providers: onnxruntime's execution providers, the preferred one first.
    Raises ModelError when the file is missing, no ONNX, without a manifest of this version, or not as it says.
    """

    def __init__(self, path: str | Path, threads: int | None = None, providers: Sequence[str] = CPU) -> None:
        self.path = Path(path)
        self._graph = _load(self.path, threads or 0, providers)
        text = self._graph.get_modelmeta().custom_metadata_map.get(MANIFEST_KEY)
        if text is None:
            raise ModelError(
                f"'{path}' has no manifest: this ONNX file was not made by `python -m export`; export it with that"
            )
        self.manifest = Manifest.from_json(text)
        self._names = [output.name for output in self.manifest.outputs]
        self._check_signature()
        self._try_out()

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Run a batch (N, H, W, 3) uint8 RGB of the manifest's size, or of multiples of its stride when dynamic.

        Returns for each output of the manifest a scalar map (N, H, W) float32, a unit vector map (N, H, W, 3)
        float32, or a label map (N, H, W) uint8; where the graph gives logits (N, C, H, W), the largest one's id.
        Raises ValueError when the batch is not of that type and size.
        """
        self._check_batch(images)
        arrays = [np.asarray(array) for array in self._graph.run(self._names, {INPUT: images})]
        kinds = [output.kind for output in self.manifest.outputs]
        return {
            name: array.argmax(axis=1).astype(np.uint8) if kind == "label_map" and array.ndim == 4 else array
            for name, kind, array in zip(self._names, kinds, arrays, strict=True)
        }

    def _check_batch(self, images: np.ndarray) -> None:
        m = self.manifest
        if images.dtype == np.uint8 and images.ndim == 4 and images.shape[0] and images.shape[3] == 3:
            height, width = images.shape[1:3]
            if m.dynamic_size and height and width and height % m.stride == width % m.stride == 0:
                return
            if (height, width) == (m.height, m.width):
                return
        size = f"multiples of {m.stride}" if m.dynamic_size else f"{m.height} x {m.width}"
        raise ValueError(
            f"expected images (N, H, W, 3) of uint8 with H x W {size}, found {images.shape} of {images.dtype}; "
            "preprocess.letterbox brings an image to size"
        )

    def _check_signature(self) -> None:
        """The graph must take what the contract says and give what the manifest lists."""
        m = self.manifest
        inputs = [(i.name, i.type, len(i.shape)) for i in self._graph.get_inputs()]
        if inputs != [(INPUT, "tensor(uint8)", 4)]:
            raise ModelError(f"expected one input '{INPUT}' of tensor(uint8) with 4 axes, found {inputs}; export again")
        sides = self._graph.get_inputs()[0].shape[1:]
        expected = (*((None, None) if m.dynamic_size else (m.height, m.width)), 3)
        if any(isinstance(side, int) and side != want for side, want in zip(sides, expected, strict=True)):
            raise ModelError(
                f"the manifest says input {m.height} x {m.width}, dynamic_size={m.dynamic_size}, the graph takes "
                f"{sides}; export the model again"
            )
        found = [output.name for output in self._graph.get_outputs()]
        if missing := set(self._names) - set(found):
            raise ModelError(
                f"the manifest lists outputs {sorted(missing)}, the graph gives {found}; export the model again"
            )

    def _try_out(self) -> None:
        """Run one black image: what cannot work fails here, before any picture was read."""
        shape = (1, self.manifest.height, self.manifest.width)
        try:
            maps = self.run(np.zeros((*shape, 3), np.uint8))
        except Exception as error:
            raise ModelError(f"'{self.path}' loads but does not run: {error}") from error
        for output in self.manifest.outputs:
            tail, dtype = MAPS[output.kind]
            array = maps[output.name]
            if array.shape != shape + tail or array.dtype != dtype:
                raise ModelError(
                    f"expected output '{output.name}' ({output.kind}) as {shape + tail} of {np.dtype(dtype)}, "
                    f"found {array.shape} of {array.dtype}; export the model again"
                )


def _load(path: Path, threads: int, providers: Sequence[str]) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise ModelError(
            f"no model at '{path}': expected an ONNX file, found {'a folder' if path.is_dir() else 'none'}"
        )
    available = onnxruntime.get_available_providers()
    if unknown := set(providers) - set(available):
        raise ModelError(f"onnxruntime has no {sorted(unknown)} here; it has {available}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Waiting threads that spin take the cores from those that read and write pictures: 1.2 times slower on two cores
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors come as exceptions
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise ModelError(f"'{path}' is not an ONNX model that onnxruntime can load: {error}") from error
