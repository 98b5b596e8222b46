"""The export: trace, write, verify, and measure."""

import statistics
import timeit
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch

from mtl_vision.datasets import DataError
from mtl_vision.engine.build import data_root, open_split
from mtl_vision.engine.load import Trained
from mtl_vision.export.deployed import Core, Deployed
from mtl_vision.export.graph import make_manifest, trace, write
from mtl_vision.export.half import in_half
from mtl_vision.export.int8 import best, described
from mtl_vision.export.narrow import at_size, of_tasks
from mtl_vision.export.ncnn import check_installed, to_ncnn
from mtl_vision.export.opset import OPSET
from mtl_vision.export.ort import to_ort
from mtl_vision.export.verify import Compared, Samples, VerifyError, smooth_noise, verify
from mtl_vision.runtime.contract import Manifest, ModelError
from mtl_vision.runtime.model import Model, files_of
from mtl_vision.runtime.predictor import letterbox

Report = Callable[[str], object]


def export_run(
    run: Trained,
    out: Path,
    *,
    tasks: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    dynamic_size: bool = False,
    logits: bool = False,
    fp16: bool = False,
    int8: bool = False,
    core: bool = False,
    ort: bool = False,
    ncnn: bool = False,
    opset: int = OPSET,
    report: Report = lambda line: None,
) -> None:
    """Write the ONNX file and compare it with the torch network on training images; `report` gets the figures.

    tasks: the heads that are kept (all). size: of the images (H, W), instead of the run's. dynamic_size: the file takes
    any size that is a multiple of the stride. logits: label maps come as logits (N, C, H, W). fp16, int8, core: write
    OUT.fp16.onnx, OUT.int8.onnx, OUT.core.onnx as well: in float16, in 8 bits, and of the form "core" (contract.py).
    ort: write OUT.ort, and of the file in 8 bits OUT.int8.ort. ncnn: write the core graph, and OUT.ncnn.param and what
    belongs to it. opset: 17 to 20. Raises VerifyError where a file differs from torch: then it is OUT.failed.onnx, and
    what was at OUT stays. ValueError for what the run or the network does not have.
    """
    if out.suffix != ".onnx" or out.is_dir():
        raise ValueError(f"expected the path of a file NAME.onnx to write, found '{out}'")
    if ncnn:
        check_installed()  # before the export, which takes longer
    run = run if tasks is None else of_tasks(run, [tasks] if isinstance(tasks, str) else tasks)
    run = run if size is None else at_size(run, size)
    if run.config.data.size != run.model.size:
        trained = "x".join(map(str, run.model.size))
        report(f"note: trained and measured at {trained}; at another size the network is worse: train at this one")
    module = Deployed(run, logits)
    images, source = sample_images(run)
    model, manifest = trace(run, module, dynamic_size, opset), make_manifest(run, dynamic_size, opset)

    def finish(path: Path, model: onnx.ModelProto, manifest: Manifest) -> None:
        write_verified(path, model, manifest, module, images, source, report)

    finish(out, model, manifest)
    if fp16:
        finish(out.with_suffix(".fp16.onnx"), in_half(model), replace(manifest, precision="float16"))
    if core or ncnn:
        static = replace(manifest, form="core", dynamic_size=False)
        finish(out.with_suffix(".core.onnx"), trace(run, Core(run), opset=opset), static)
    if int8:
        small = replace(manifest, precision="int8")
        report("8 bits: trying which convolutions have to stay in float; minutes where there are many images")
        found, judged = best(run, out, model, small)
        finish(out.with_suffix(".int8.onnx"), found, described(small, judged))
        report("\n".join(judged.lines()))
    samples = Samples(images, source)
    for file in [out, *[out.with_suffix(".int8.onnx")] * int8] if ort else ():
        convert(to_ort, file, samples, report)
    if ncnn:
        convert(to_ncnn, out.with_suffix(".core.onnx"), samples, report)


def convert_file(file: Path, ort: bool, ncnn: bool, report: Report) -> Path:
    """Write a file that was exported before in other formats, beside it; they are compared on noise. Returns the last.

    Raises what `to_ort` and `to_ncnn` raise.
    """
    m, made = Model(file, threads=1).manifest, file
    samples = Samples(smooth_noise(5, (m.height, m.width)), "noise")
    for convertor in [to_ort] * ort + [to_ncnn] * ncnn:
        made = convert(convertor, file, samples, report)
    return made


def convert(
    convertor: Callable[[Path, Samples], tuple[Path, Compared]], file: Path, samples: Samples, report: Report
) -> Path:
    """Write `file` in another format, and say how well it agrees. Returns what was written."""
    out, compared = convertor(file, samples)
    model = Model(out)
    size = sum(part.stat().st_size for part in files_of(out)) / 1e6
    cases = ", ".join(compared.cases)
    report(f"{out}: {model.manifest.precision}, {size:.1f} MB")
    report(f"{out.name} against {file.name}, on {samples.source}, batches of {cases}, at most:")
    for figure in compared.figures:
        report(f"  {figure}")
    report(f"verified; {milliseconds(out):.1f} ms an image here (median, batch 1)")
    return out


def write_verified(
    path: Path,
    model: onnx.ModelProto,
    manifest: Manifest,
    module: Deployed,
    images: np.ndarray,
    source: str,
    report: Report,
) -> None:
    """Write the file under another name, compare it with torch, and give it its name and the figures if they fit."""
    failed = path.with_suffix(".failed.onnx")
    write(model, manifest, failed)
    try:
        figures, cases = verify(failed, module, images)
    except (VerifyError, ModelError) as error:  # a file that does not even load is no better
        raise VerifyError(f"{error}; the file is {failed}") from error
    verification = {
        "against": f"torch {torch.__version__}",
        "images": source,
        "cases": cases,
        "outputs": {figure.output.name: dict(figure) for figure in figures},
    }
    write(model, replace(manifest, verification=verification | manifest.verification), path)
    failed.unlink()
    m = manifest
    size = f"any size in steps of {m.stride}" if m.dynamic_size else f"{m.height}x{m.width}"
    names = ", ".join(output.name for output in m.outputs)
    report(
        f"{path}: {m.precision}, opset {m.opset}, {path.stat().st_size / 1e6:.1f} MB, input {size}, outputs {names}\n"
        f"onnxruntime against torch, on {source}, batches of {', '.join(cases)}, at most:"
    )
    for figure in figures:
        report(f"  {figure}")
    report(f"verified; {milliseconds(path):.1f} ms an image here (median, batch 1)")


def sample_images(run: Trained, count: int = 32) -> tuple[np.ndarray, str]:
    """Images (N, H, W, 3) of the training split at the run's size; smooth noise where there are no data."""
    size = run.config.data.size
    try:
        split = open_split(run.config, data_root(run.config.data, make=False), run.config.data.train_split)
        picks = np.unique(np.linspace(0, len(split) - 1, count).round().astype(int))
        return np.stack([letterbox(split[int(i)].image, size, (0, 0, 0))[0] for i in picks]), "images of its training"
    except (DataError, OSError):
        return smooth_noise(count, size), "noise (the data it was trained on are not here)"


def milliseconds(path: Path, runs: int = 20) -> float:
    """Median time of an image through the file, after a warm-up."""
    session = Model(path)
    image = np.zeros((1, session.manifest.height, session.manifest.width, 3), np.uint8)
    return 1000 * statistics.median(timeit.repeat(lambda: session.run(image), number=1, repeat=runs + 1)[1:])
