"""The network by ncnn in onnxruntime's place: for ARM processors and small installations. It is an extra of its own.

A model is three files: NAME.ncnn.param (a core graph, as text), NAME.ncnn.bin (its weights) and NAME.ncnn.json (the
manifest, with a checksum of all three one after the other).
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mtl_vision.runtime.contract import Manifest, ModelError

ENDING = ".param"  # how a file ends that ncnn alone takes
# By the backend's name: whether it computes in float16 where the processor can (ARMv8.2, such as Cortex-A76). There the
# mean error of a trained network's normals is four times as large, beyond the budget of its file.
HALF = {"ncnn": False, "ncnn-fp16": True}


def parts(param: Path) -> list[Path]:
    """The files of a model, in the order that its checksum takes them."""
    return [param, param.with_suffix(".bin"), param.with_suffix(".json")]


class NcnnGraph:
    """A core graph as ncnn has it. Several threads may run it: each run has an extractor of its own.

    threads: how many it computes with (0: ncnn's choice, one per fast core). backend: a name in HALF. Raises ModelError
    where ncnn is not installed, or does not take the graph.
    """

    def __init__(self, param: Path, threads: int, backend: str) -> None:
        try:
            ncnn = import_module("ncnn")
        except ImportError as error:
            raise ModelError(
                f"backend is {backend}: expected the package ncnn, found none; python -m pip install 'mtl_vision[ncnn]'"
            ) from error
        self.name = f"ncnn {ncnn.__version__}"
        self._ncnn, self._files, self._net = ncnn, parts(param), ncnn.Net()
        self._net.opt.use_fp16_arithmetic = HALF[backend]
        if threads:
            self._net.opt.num_threads = threads
        graph, weights, _ = map(str, self._files)
        if self._net.load_param(graph) or self._net.load_model(weights):
            raise ModelError(f"{self.name} cannot load '{param}'; export it again, or upgrade ncnn")

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs of these names, as onnxruntime's session gives them; what the others need is not computed."""
        ((name, array),) = feeds.items()
        (image,) = array
        extractor = self._net.create_extractor()
        extractor.input(name, self._ncnn.Mat(np.ascontiguousarray(image)).clone())  # its own copy, aligned as it needs
        return [self._extract(extractor, output) for output in names]

    def get_providers(self) -> list[str]:
        """Where it runs, as onnxruntime's session says it."""
        return [self.name]

    def manifest(self) -> str:
        """The manifest's text. Raises ModelError where it is no text."""
        try:
            return self._files[2].read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ModelError(f"'{self._files[2]}' is no text; export the model again") from error

    def check(self, manifest: Manifest, image: str) -> None:
        """Raise a ModelError when the graph is not as the manifest says."""
        found, expected = self._net.output_names(), {output.name for output in manifest.outputs}
        if manifest.form != "core" or self._net.input_names() != [image] or not expected <= set(found):
            raise ModelError(
                f"expected a core graph from '{image}' to {sorted(expected)}, found form {manifest.form}, "
                f"{self._net.input_names()} to {found}; export the model again"
            )

    def _extract(self, extractor: Any, name: str) -> np.ndarray:
        failed, found = extractor.extract(name)
        if failed:
            raise RuntimeError(f"ncnn gives no output '{name}' (code {failed})")
        return np.array(found)[None]
