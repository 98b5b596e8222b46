"""An exported model, ready to run: the ONNX graph in onnxruntime, and its manifest."""

import json
from collections.abc import Collection, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from mtl_vision.runtime import checksum
from mtl_vision.runtime.checksum import is_intact
from mtl_vision.runtime.contract import MANIFEST_KEY, Manifest, ModelError, one_line
from mtl_vision.runtime.kinds import KINDS
from mtl_vision.runtime.predictor import Predictor
from mtl_vision.runtime.prune import pruned

INPUT = "image"
ONNXRUNTIME = "onnxruntime"
BACKENDS = (ONNXRUNTIME, "openvino", "openvino-bf16")
CPU = ("CPUExecutionProvider",)
MAX_THREADS = 256  # with thousands, onnxruntime does not come to an end
MAX_BYTES = 2**31  # of an ONNX file


class Model(Predictor):
    """An exported model: `predict` gives the maps of images, `manifest` is what the file says about itself.

    Several threads may use one model: onnxruntime's runs allow it, and nothing else is kept between calls.

    Args:
        path: the file that `mtl-export` wrote
        threads: how many the network computes with, 1 to 256 (default: onnxruntime's choice, one per core)
        providers: onnxruntime's execution providers, the preferred one first
        tasks: names of outputs to compute; the rest of the graph is left out, and the manifest lists these alone
        backend: "onnxruntime", or "openvino" in float32 or "openvino-bf16", which computes in bfloat16 (an extra)

    Attributes:
        path (Path): the file
        manifest (Manifest): what it says of itself: size, outputs, units, classes, camera, metrics
        checksum (str): SHA-256 of the file, as it stands in it

    Raises:
        ModelError: the file is missing, damaged, no ONNX, without a manifest of a version that this runtime reads, or
            not as it says; or the backend is not installed.
        ValueError: other `threads`, `tasks` and `backend`.
    """

    def __init__(
        self,
        path: str | Path,
        threads: int | None = None,
        providers: Sequence[str] = CPU,
        tasks: Collection[str] | None = None,
        backend: str = ONNXRUNTIME,
    ) -> None:
        if backend not in BACKENDS:
            raise ValueError(f"backend is {backend}: expected one of {', '.join(BACKENDS)}")
        if threads is not None and not 1 <= threads <= MAX_THREADS:
            raise ValueError(f"threads is {threads}: expected 1 to {MAX_THREADS}")
        self.path = Path(path)
        damaged = ModelError(f"'{path}' is damaged: its checksum is not that of its bytes; copy or export it again")
        intact = _is_intact(self.path)
        if intact is False:
            raise damaged
        session = _load(self.path, threads or 0, providers)
        try:
            text = session.get_modelmeta().custom_metadata_map.get(MANIFEST_KEY)
        except UnicodeDecodeError as error:
            raise ModelError(f"'{path}' has metadata that are no text; export the model again") from error
        if text is None:
            raise ModelError(f"'{path}' has no manifest: not made by `mtl-export`; export it with that")
        self.manifest = Manifest.from_json(text)
        if intact is None and self.manifest.format_version > 1:
            raise damaged
        self.checksum = json.loads(text).get(checksum.KEY) or sha256(self.path.read_bytes()).hexdigest()
        graph: Path | bytes = self.path
        if tasks is not None:
            self.manifest = self.manifest.only(tasks)
            graph = pruned(self.path.read_bytes(), [output.name for output in self.manifest.outputs])
            session = _load(graph, threads or 0, providers)
        self._names = [output.name for output in self.manifest.outputs]
        self._graph: Any = session
        self._check(session)
        if backend != ONNXRUNTIME:
            from mtl_vision.runtime.openvino import OpenVinoGraph  # it is looked for when it is wanted

            self._graph = OpenVinoGraph(graph, threads or 0, backend)
            self._try()

    @property
    def provider(self) -> str:
        """The execution provider that onnxruntime took, or the other backend."""
        return self._graph.get_providers()[0]

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Run a batch at the network's own size; `predict` takes images of any size.

        Args:
            images: (N, H, W, 3) uint8 RGB of the manifest's height and width, or of multiples of its stride when it
                is of dynamic size

        Returns:
            (N, H, W), or (N, H, W, 3) of unit vectors, by output name: float32 in the output's unit, labels uint8,
                also where the graph gives logits

        Raises:
            ValueError: the batch is not of that type and size, or the graph gives something else.
        """
        m, sides = self.manifest, images.shape[1:3]
        fits = sides == (m.height, m.width) or (m.dynamic_size and all(s and s % m.stride == 0 for s in sides))
        if not fits or images.dtype != np.uint8 or images.shape != (len(images) or 1, *sides, 3):
            size = f"multiples of {m.stride}" if m.dynamic_size else f"{m.height} x {m.width}"
            raise ValueError(
                f"expected images (N, H, W, 3) of uint8 with H x W {size}, found {images.shape} of {images.dtype}; "
                "`predict` takes images of any size"
            )
        outputs = zip(m.outputs, self._run(images), strict=True)
        return {output.name: KINDS[output.kind].from_graph(array, output) for output, array in outputs}

    def _run(self, images: np.ndarray) -> list[np.ndarray]:
        """The maps in the order of the manifest's outputs. Raises ValueError when the graph gives another form."""
        outputs = self.manifest.outputs
        if self.manifest.form == "core":
            one_by_one = [self._graph.run(self._names, {INPUT: self._core_input(image)}) for image in images]
            arrays = [
                KINDS[output.kind].from_channels(np.concatenate(parts), output)
                for parts, output in zip(zip(*one_by_one, strict=True), outputs, strict=True)
            ]
        else:
            arrays = [np.asarray(array) for array in self._graph.run(self._names, {INPUT: images})]
        for output, array in zip(outputs, arrays, strict=True):
            KINDS[output.kind].check_form(array, images.shape[:3], output)
        return arrays

    def _core_input(self, image: np.ndarray) -> np.ndarray:
        """What a core graph takes of an image (H, W, 3): (1, 3, H', W')."""
        m = self.manifest
        normalised = (image - np.array(m.mean, np.float32)) / np.array(m.std, np.float32)
        bottom, right = m.padded_size[0] - m.height, m.padded_size[1] - m.width
        return np.ascontiguousarray(
            np.pad(normalised.transpose(2, 0, 1), ((0, 0), (0, bottom), (0, right)), "edge")[None]
        )

    def _check(self, session: onnxruntime.InferenceSession) -> None:
        """Raise a ModelError when the graph is not as the manifest says, or does not run."""
        m, found = self.manifest, [output.name for output in session.get_outputs()]
        if missing := set(self._names) - set(found):
            raise ModelError(
                f"the manifest lists outputs {sorted(missing)}, the graph gives {found}; export the model again"
            )
        inputs = [(one.name, one.type, len(one.shape)) for one in session.get_inputs()]
        axes, dtype = ("(1, 3, H, W)", "float") if m.form == "core" else ("(N, H, W, 3)", "uint8")
        if inputs != [(INPUT, f"tensor({dtype})", 4)]:
            raise ModelError(
                f"expected a graph of one input, '{INPUT}' {axes} of {dtype}, found (name, type, axes) {inputs}; "
                "export the model again"
            )
        shape = session.get_inputs()[0].shape
        sides = shape[2:4] if m.form == "core" else shape[1:3]
        size = m.padded_size if m.form == "core" else (m.height, m.width)
        expected = (None, None) if m.dynamic_size else size
        if any(isinstance(side, int) and side != want for side, want in zip(sides, expected, strict=True)):
            raise ModelError(
                f"the manifest says input {size[0]} x {size[1]}, dynamic_size={m.dynamic_size}, the graph takes "
                f"{sides}; export the model again"
            )
        self._try()

    def _try(self) -> None:
        m = self.manifest
        try:
            self._run(np.zeros((1, m.height, m.width, 3), np.uint8))
        except ValueError as error:
            raise ModelError(f"{error}; export the model again") from error
        except Exception as error:
            raise ModelError(f"'{self.path}' loads but does not run: {one_line(error)}") from error


def _is_intact(path: Path) -> bool | None:
    """Whether the file is as its checksum says; None where it has none. Raises ModelError when it cannot be read."""
    try:
        if not path.is_file():
            found = "a folder" if path.is_dir() else "no regular file" if path.exists() else "none"
            raise ModelError(f"no model at '{path}': expected an ONNX file, found {found}")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ModelError(f"'{path}' is not an ONNX model: it has {size} bytes, expected at most {MAX_BYTES}")
        return is_intact(path.read_bytes())
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror}") from error


def _load(model: Path | bytes, threads: int, providers: Sequence[str]) -> onnxruntime.InferenceSession:
    available = onnxruntime.get_available_providers()
    if unknown := set(providers) - set(available):
        raise ModelError(f"onnxruntime has no {sorted(unknown)} here; it has {available}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Waiting threads that spin take the cores from those that read and write images: 1.2 times slower on two cores
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = False  # it keeps a second copy of the activations, and saves no time
    options.log_severity_level = 4  # errors come as exceptions
    try:
        source = model if isinstance(model, bytes) else str(model)
        return onnxruntime.InferenceSession(source, options, providers=list(providers))
    except Exception as error:  # onnxruntime's own exceptions have no common base
        name = "the part of the model that the tasks need" if isinstance(model, bytes) else f"'{model}'"
        raise ModelError(f"{name} is not an ONNX model that onnxruntime can load: {one_line(error)}") from error
