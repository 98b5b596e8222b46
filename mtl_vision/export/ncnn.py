"""An exported core graph for ncnn: converted by pnnx, an executable in the package of that name."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import onnxruntime

from mtl_vision.export.verify import Compared, Samples, against_file
from mtl_vision.runtime.checksum import with_checksum
from mtl_vision.runtime.contract import Manifest, ModelError
from mtl_vision.runtime.files import atomic_write
from mtl_vision.runtime.model import INPUT, Model
from mtl_vision.runtime.ncnn import parts

SECONDS = 600  # that the convertor may take
CORE = ".core.onnx"


def to_ncnn(file: Path, samples: Samples) -> tuple[Path, Compared]:
    """Write NAME.ncnn.param, .bin and .json (the manifest) beside the core graph NAME.core.onnx.

    Weights are float16; inputs and outputs have their own names. Raises ValueError where pnnx is not installed,
    ModelError where the file is no core graph, or pnnx or ncnn does not take the network, VerifyError where the maps
    differ from those of the core graph: then the files are NAME.failed.ncnn.param and so on.
    """
    source = Model(file, threads=1)
    m = replace(source.manifest, precision="float16", verification={})
    if m.form != "core" or file.suffix != ".onnx":
        raise ModelError(f"'{file}' is of the form {m.form}: expected the NAME{CORE} that --core writes")
    graph, weights = _converted(file)
    graph = renamed(graph, [output.name for output in m.outputs])
    stem = file.name.removesuffix(CORE) if file.name.endswith(CORE) else file.stem
    out, failed = (file.with_name(f"{stem}{mark}.ncnn.param") for mark in ("", ".failed"))
    _write(failed, graph, weights, m)
    compared = against_file(source, failed, samples, m.precision)
    said = {
        "against": f"{file.name} in onnxruntime {onnxruntime.__version__}",
        "images": samples.source,
        "cases": compared.cases,
        "outputs": {figure.output.name: dict(figure) for figure in compared.figures},
    }
    _write(out, graph, weights, replace(m, verification=said | {"core": source.manifest.verification}))
    for part in parts(failed):
        part.unlink()
    return out, compared


def check_installed() -> None:
    """Raises ValueError where the convertor or ncnn is missing."""
    if missing := [name for name in ("pnnx", "ncnn") if find_spec(name) is None]:
        raise ValueError(
            f"--ncnn needs the packages pnnx and ncnn, found no {' and no '.join(missing)}; python -m pip install "
            "'mtl_vision[ncnn-export]'"
        )


def renamed(graph: str, outputs: Sequence[str]) -> str:
    """A graph of pnnx, in0 -> out0, out1, ..., with the names that an exported file has."""
    names = {"in0": INPUT} | {f"out{i}": name for i, name in enumerate(outputs)}
    magic, counts, *layers = graph.splitlines()
    lines = [magic, counts]
    for layer in layers:
        kind, name, taken, given, *others = layer.split()
        blobs = int(taken) + int(given)
        tensors = [names.get(tensor, tensor) for tensor in others[:blobs]]
        lines.append(" ".join([f"{kind:<24} {name:<24}", taken, given, *tensors, *others[blobs:]]))
    return "\n".join([*lines, ""])


def _converted(file: Path) -> tuple[str, bytes]:
    """What pnnx makes of the file: the graph, and the weights."""
    check_installed()
    package = Path(find_spec("pnnx").origin)  # type: ignore  # found, not imported, which would import torch
    program = package.with_name("pnnx.exe" if sys.platform == "win32" else "pnnx")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "m.onnx").write_bytes(file.read_bytes())
        try:
            done = subprocess.run(
                [str(program), "m.onnx", "fp16=1"], cwd=folder, capture_output=True, text=True, errors="replace",
                timeout=SECONDS, check=False,
            )  # fmt: skip
            said = done.stdout + done.stderr
            graph, weights = folder / "m.ncnn.param", folder / "m.ncnn.bin"
            if done.returncode == 0 and graph.is_file() and weights.is_file():
                return graph.read_text(encoding="utf-8"), weights.read_bytes()
        except subprocess.TimeoutExpired:
            said = f"nothing within {SECONDS} s"
        except OSError as error:
            said = str(error)
    words = " ".join(said.split())[-300:]
    raise ModelError(f"pnnx cannot convert '{file}' (its last words: {words}); networks of convolutions it can")


def _write(param: Path, graph: str, weights: bytes, manifest: Manifest) -> None:
    """The three files; their checksum is of all their bytes one after the other, and stands in the last."""
    first = graph.encode() + weights
    data = [graph.encode(), weights, with_checksum(first + manifest.to_json().encode())[len(first) :]]
    for part, one in reversed(list(zip(parts(param), data, strict=True))):  # whoever waits for the first finds all
        atomic_write(part, one)
