"""An exported model, ready to run: the ONNX graph in onnxruntime, and its manifest."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from mtl_vision.runtime.contract import MANIFEST_KEY, Manifest, ModelError
from mtl_vision.runtime.kinds import KINDS
from mtl_vision.runtime.predictor import Predictor

INPUT = "image"
CPU = ("CPUExecutionProvider",)


class Model(Predictor):
    """An exported model: `predict` gives the maps of images, `manifest` is what the file says about itself.

    Several threads may use one model: onnxruntime's runs allow it, and nothing else is kept between calls.
    threads: how many the network computes with (default: onnxruntime's choice, one per core).
    providers: onnxruntime's execution providers, the preferred one first.
    Raises ModelError when the file is missing, no ONNX, without a manifest of this version, or not as it says.
    """

    def __init__(self, path: str | Path, threads: int | None = None, providers: Sequence[str] = CPU) -> None:
        self.path = Path(path)
        self._graph = _load(self.path, threads or 0, providers)
        text = self._graph.get_modelmeta().custom_metadata_map.get(MANIFEST_KEY)
        if text is None:
            raise ModelError(f"'{path}' has no manifest: not made by `mtl-export`; export it with that")
        self.manifest = Manifest.from_json(text)
        self._names = [output.name for output in self.manifest.outputs]
        self._check()

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Run a batch (N, H, W, 3) uint8 RGB of the manifest's size, or of multiples of its stride when dynamic.

        Returns the maps as `Predictor.run` says; of a label map's logits (N, C, H, W), the ids.
        Raises ValueError when the batch is not of that type and size.
        """
        m, sides = self.manifest, images.shape[1:3]
        fits = sides == (m.height, m.width) or (m.dynamic_size and all(s and s % m.stride == 0 for s in sides))
        if not fits or images.dtype != np.uint8 or images.shape != (len(images) or 1, *sides, 3):
            size = f"multiples of {m.stride}" if m.dynamic_size else f"{m.height} x {m.width}"
            raise ValueError(
                f"expected images (N, H, W, 3) of uint8 with H x W {size}, found {images.shape} of {images.dtype}; "
                "`predict` takes images of any size"
            )
        arrays = [np.asarray(array) for array in self._graph.run(self._names, {INPUT: images})]
        outputs = zip(self.manifest.outputs, arrays, strict=True)
        return {output.name: KINDS[output.kind].from_graph(array, output) for output, array in outputs}

    def _check(self) -> None:
        """Raise a ModelError when the graph is not as the manifest says, or does not run."""
        m, found = self.manifest, [output.name for output in self._graph.get_outputs()]
        if missing := set(self._names) - set(found):
            raise ModelError(
                f"the manifest lists outputs {sorted(missing)}, the graph gives {found}; export the model again"
            )
        sides = self._graph.get_inputs()[0].shape[1:3]
        expected = (None, None) if m.dynamic_size else (m.height, m.width)
        if any(isinstance(side, int) and side != want for side, want in zip(sides, expected, strict=False)):
            raise ModelError(
                f"the manifest says input {m.height} x {m.width}, dynamic_size={m.dynamic_size}, the graph takes "
                f"{sides}; export the model again"
            )
        shape = (1, m.height, m.width)
        try:
            maps = self.run(np.zeros((*shape, 3), np.uint8))
        except Exception as error:
            raise ModelError(f"'{self.path}' loads but does not run: {error}") from error
        for output in m.outputs:
            kind, array = KINDS[output.kind], maps[output.name]
            expected, dtype = shape + kind.tail, np.dtype(kind.dtype)
            if array.shape != expected or array.dtype != dtype:
                raise ModelError(
                    f"expected output '{output.name}' ({output.kind}) as {expected} of {dtype}, "
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
    # Waiting threads that spin take the cores from those that read and write images: 1.2 times slower on two cores
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors come as exceptions
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise ModelError(f"'{path}' is not an ONNX model that onnxruntime can load: {error}") from error
