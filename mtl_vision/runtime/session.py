"""A model file in onnxruntime: an ONNX graph, or one in onnxruntime's own format (NAME.ort, for minimal builds)."""

from collections.abc import Collection, Sequence
from pathlib import Path

import onnxruntime

from mtl_vision.runtime.contract import MANIFEST_KEY, Manifest, ModelError, one_line
from mtl_vision.runtime.prune import pruned


class OnnxGraph:
    """A full or core graph. Several threads may run it.

    model: the file, or an ONNX file's bytes. threads: how many it computes with (0: onnxruntime's choice). providers:
    the preferred one first. Raises ModelError where onnxruntime does not take it.
    """

    def __init__(self, model: Path | bytes, threads: int, providers: Sequence[str]) -> None:
        self.model, self._threads, self._providers = model, threads, providers
        self._session = _load(model, threads, providers)
        self.run = self._session.run
        self.get_providers = self._session.get_providers

    def manifest(self) -> str | None:
        """The manifest's text. Raises ModelError where it is no text."""
        try:
            return self._session.get_modelmeta().custom_metadata_map.get(MANIFEST_KEY)
        except UnicodeDecodeError as error:
            raise ModelError(f"'{self.model}' has metadata that are no text; export the model again") from error

    def only(self, names: Collection[str]) -> "OnnxGraph":
        """What these outputs need of it."""
        model = self.model.read_bytes() if isinstance(self.model, Path) else self.model
        return OnnxGraph(pruned(model, names), self._threads, self._providers)

    def check(self, manifest: Manifest, image: str) -> None:
        """Raise a ModelError when the graph is not as the manifest says."""
        m, session, found = manifest, self._session, [output.name for output in self._session.get_outputs()]
        if missing := {output.name for output in m.outputs} - set(found):
            raise ModelError(
                f"the manifest lists outputs {sorted(missing)}, the graph gives {found}; export the model again"
            )
        inputs = [(one.name, one.type, len(one.shape)) for one in session.get_inputs()]
        axes, dtype = ("(1, 3, H, W)", "float") if m.form == "core" else ("(N, H, W, 3)", "uint8")
        if inputs != [(image, f"tensor({dtype})", 4)]:
            raise ModelError(
                f"expected a graph of one input, '{image}' {axes} of {dtype}, found (name, type, axes) {inputs}; "
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
