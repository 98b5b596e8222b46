"""An exported file in onnxruntime's own format, for minimal builds and a quick start; by onnxruntime's own tool."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnxruntime

from mtl_vision.export.verify import Compared, Samples, against_file
from mtl_vision.runtime import checksum
from mtl_vision.runtime.checksum import with_checksum
from mtl_vision.runtime.contract import ModelError, one_line
from mtl_vision.runtime.files import atomic_write
from mtl_vision.runtime.model import ORT, Model

WARNING, ERROR = 2, 3  # onnxruntime's severities; the first is its own choice


def to_ort(file: Path, samples: Samples) -> tuple[Path, Compared]:
    """Write NAME.ort beside NAME.onnx, and NAME.required_operators.config, which a minimal build is made with.

    The manifest stays, with a checksum of the new bytes. What is fused is what every processor has, so that the file
    runs on all. Raises ModelError for what is no exported ONNX file, VerifyError where the maps are not those of it, to
    the budget of float32 whatever the precision: then the file is NAME.failed.ort.
    """
    source, out, failed = Model(file, threads=1), file.with_suffix(ORT), file.with_suffix(f".failed{ORT}")
    if file.suffix != ".onnx":
        raise ModelError(f"expected a file NAME.onnx to write in onnxruntime's own format, found '{file}'")
    with tempfile.TemporaryDirectory() as folder:
        made = _converted(file, Path(folder))
        data = made.read_bytes().replace(source.checksum.encode(), checksum.ROOM.encode())
        operators = made.with_suffix(".required_operators.config").read_text(encoding="utf-8")
    atomic_write(failed, with_checksum(data))
    compared = against_file(source, failed, samples, "float32")
    failed.replace(out)
    listed = [line for line in operators.splitlines() if not line.startswith("#")]  # those are this machine's paths
    atomic_write(out.with_suffix(".required_operators.config"), "\n".join([f"# Of {out.name}", *listed, ""]).encode())
    return out, compared


def _converted(file: Path, folder: Path) -> Path:
    """The file that the tool writes into the folder, beside its list of operators."""
    try:
        with _silent():
            from onnxruntime.tools.convert_onnx_models_to_ort import OptimizationStyle, convert_onnx_models_to_ort

            convert_onnx_models_to_ort(file, folder, [OptimizationStyle.Fixed])
    except Exception as error:  # onnxruntime's own have no common base
        raise ModelError(f"onnxruntime cannot write '{file}' in its own format: {one_line(error)}") from error
    return folder / file.with_suffix(ORT).name


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what the tool prints and logs."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    onnxruntime.set_default_logger_severity(ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # it leaves the file that it reads to the collector
            yield
    finally:
        onnxruntime.set_default_logger_severity(WARNING)
        logging.disable(before)
