"""An exported model, ready to run: its graph, in onnxruntime or another backend, and its manifest."""

import json
from collections.abc import Collection, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from mtl_vision.runtime import checksum
from mtl_vision.runtime.checksum import is_intact
from mtl_vision.runtime.contract import Manifest, ModelError, one_line
from mtl_vision.runtime.demo import model_path
from mtl_vision.runtime.kinds import KINDS
from mtl_vision.runtime.ncnn import ENDING, HALF, NcnnGraph, parts
from mtl_vision.runtime.openvino import PRECISIONS, OpenVinoGraph
from mtl_vision.runtime.predictor import Predictor

INPUT = "image"
ONNXRUNTIME = "onnxruntime"
BACKENDS = (ONNXRUNTIME, *PRECISIONS, *HALF)
CPU = ("CPUExecutionProvider",)
ORT = ".ort"  # how a file in onnxruntime's own format ends
WHOLE = (ORT, ENDING)  # no part is cut out of these: the one cannot be cut, of the other what is asked for is computed
MAX_THREADS = 256  # with thousands, onnxruntime does not come to an end
MAX_BYTES = 2**31  # of an ONNX file


class Model(Predictor):
    """An exported model: `predict` gives the maps of images, `manifest` is what the file says about itself.

    Several threads may use one model: the backends' runs allow it, and nothing else is kept between calls.

    Args:
        path: the file that `mtl-export` wrote: NAME.onnx, NAME.ort or NAME.ncnn.param; or "demo", the small network of
            the package (docs/model-card.md)
        threads: how many the network computes with, 1 to 256 (default: onnxruntime's choice, one per core)
        providers: onnxruntime's execution providers, the preferred one first
        tasks: names of outputs to compute; the rest of the graph is left out (of a NAME.ort it is computed all the
            same), and the manifest lists these alone
        backend: "onnxruntime", which takes NAME.onnx and NAME.ort; "openvino" in float32 or "openvino-bf16", which
            computes in bfloat16 (an extra); "ncnn" (an extra), which a file NAME.ncnn.param has by itself, or
            "ncnn-fp16", which computes in float16 where the processor can

    Attributes:
        path (Path): the file
        manifest (Manifest): what it says of itself: size, outputs, units, classes, camera, metrics
        checksum (str): SHA-256 of the file, as it stands in it

    Raises:
        ModelError: the file is missing, damaged, no ONNX, without a manifest of a version that this runtime reads, or
            not as it says; or the backend is not installed or does not take such files.
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
        self.path = model_path(path)
        backend = backend_of(self.path, backend)
        damaged = ModelError(f"'{path}' is damaged: its checksum is not that of its bytes; copy or export it again")
        intact = _is_intact(self.path)
        if intact is False:
            raise damaged
        graph = _open(self.path, backend, threads or 0, providers)
        text = graph.manifest()
        if text is None:
            raise ModelError(f"'{path}' has no manifest: not made by `mtl-export`; export it with that")
        self.manifest = Manifest.from_json(text)
        if intact is None and self.manifest.format_version > 1:
            raise damaged
        self.checksum = json.loads(text).get(checksum.KEY) or sha256(self.path.read_bytes()).hexdigest()
        if tasks is not None:
            self.manifest = self.manifest.only(tasks)
        self._names = [output.name for output in self.manifest.outputs]
        if tasks is not None and self.path.suffix not in WHOLE:
            graph = graph.only(self._names)
        self._graph: Any = graph
        graph.check(self.manifest, INPUT)
        self._try()
        if backend in PRECISIONS:
            self._graph = OpenVinoGraph(graph.model, threads or 0, backend)
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

    def _try(self) -> None:
        m = self.manifest
        try:
            self._run(np.zeros((1, m.height, m.width, 3), np.uint8))
        except ValueError as error:
            raise ModelError(f"{error}; export the model again") from error
        except Exception as error:
            raise ModelError(f"'{self.path}' loads but does not run: {one_line(error)}") from error


def backend_of(path: Path, backend: str) -> str:
    """The backend that computes the file: a NAME.ncnn.param has its own. Raises ModelError for one that cannot."""
    is_ncnn = path.suffix == ENDING
    if is_ncnn and backend == ONNXRUNTIME:
        return next(iter(HALF))
    if is_ncnn != (backend in HALF) or (path.suffix == ORT and backend != ONNXRUNTIME):
        file, call = ("NAME.ncnn.param", "RUN --ncnn") if backend in HALF else ("NAME.onnx", "RUN")
        raise ModelError(f"backend is {backend}: expected a file {file}, found '{path}'; `mtl-export {call}` writes it")
    return backend


def _open(path: Path, backend: str, threads: int, providers: Sequence[str]) -> Any:
    if backend in HALF:
        return NcnnGraph(path, threads, backend)
    from mtl_vision.runtime.session import OnnxGraph  # ncnn runs where onnxruntime is not installed

    return OnnxGraph(path, threads, providers)


def _is_intact(path: Path) -> bool | None:
    """Whether the file is as its checksum says; None where it has none. Raises ModelError when it cannot be read."""
    return is_intact(b"".join(map(_read, files_of(path))))


def files_of(path: Path) -> list[Path]:
    """The files that a model is: one, of ncnn three."""
    return parts(path) if path.suffix == ENDING else [path]


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            found = "a folder" if path.is_dir() else "no regular file" if path.exists() else "none"
            raise ModelError(f"no model at '{path}': expected an ONNX file, found {found}")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ModelError(f"'{path}' is not an ONNX model: it has {size} bytes, expected at most {MAX_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror}") from error
