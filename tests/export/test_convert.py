"""An exported file in onnxruntime's own format and for ncnn: the same maps and manifest, or an error and no file."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
import torch

from benchmarks.random_export import random_run
from mtl_vision.export import exporter, ncnn, ort
from mtl_vision.export.cli import main
from mtl_vision.export.deployed import Core, Deployed
from mtl_vision.export.exporter import export_run
from mtl_vision.export.graph import make_manifest, trace, write
from mtl_vision.export.ncnn import renamed, to_ncnn
from mtl_vision.export.ort import to_ort
from mtl_vision.export.quantize import Quantizer
from mtl_vision.export.verify import Samples, VerifyError, smooth_noise
from mtl_vision.runtime.arguments import make_parser
from mtl_vision.runtime.checksum import is_intact
from mtl_vision.runtime.cli import main as infer_main
from mtl_vision.runtime.contract import ModelError
from mtl_vision.runtime.model import Model

SIZE = (40, 56)  # 64 x 64 after padding
IMAGES = smooth_noise(5, SIZE)
SAMPLES = Samples(IMAGES, "noise")
needs_ncnn = pytest.mark.skipif(
    None in (find_spec("ncnn"), find_spec("pnnx")), reason="ncnn and pnnx are not installed (the extra ncnn-export)"
)


@pytest.fixture(scope="module")
def trained():
    """A network whose heads answer to the image about as much as those of a trained one do."""
    run = random_run("test_efficientnet", SIZE, ["depth", "normals", "segmentation"])
    with torch.no_grad():
        z = run.model.encode(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
        for head in run.model.heads.values():
            last = head.layers[-1]  # type: ignore[union-attr,index]
            last.weight.mul_(1 / head(z).std())
    return run


@pytest.fixture(scope="module")
def files(trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network in float32, in 8 bits and as a core graph."""
    folder = tmp_path_factory.mktemp("files")
    model, manifest = trace(trained, Deployed(trained)), make_manifest(trained)
    write(model, manifest, folder / "m.onnx")
    write(trace(trained, Core(trained)), replace(manifest, form="core"), folder / "m.core.onnx")
    write(Quantizer(model, IMAGES).quantized(), replace(manifest, precision="int8"), folder / "m.int8.onnx")
    return folder


# onnxruntime's own format


@pytest.mark.parametrize("name", ["m", "m.int8", "m.core"])
def test_ort_gives_the_same(files: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    source = files / f"{name}.onnx"
    path, compared = to_ort(source, SAMPLES)
    assert path == files / f"{name}.ort" and capfd.readouterr() == ("", "")
    plain, model = Model(source, threads=1), Model(path, threads=1)
    assert model.manifest == plain.manifest and is_intact(path.read_bytes())
    assert len(model.checksum) == 64 and model.checksum != plain.checksum
    assert [figure.output.name for figure in compared.figures] == ["depth", "normals", "segmentation"]
    a, b = plain.run(IMAGES), model.run(IMAGES)
    for output in a:
        np.testing.assert_allclose(a[output], b[output], atol=1e-5)
    operators = path.with_suffix(".required_operators.config").read_text().splitlines()
    assert operators[0] == f"# Of {name}.ort" and str(files) not in "".join(operators)
    kernels = {line.split(";")[0]: line.split(";")[2].split(",") for line in operators[1:]}
    assert ("QLinearConv" if name == "m.int8" else "FusedConv") in kernels["com.microsoft"]


def test_tasks_of_an_ort_file(files: Path) -> None:
    path, _ = to_ort(files / "m.onnx", SAMPLES)
    model = Model(path, threads=1, tasks=["normals"])
    assert list(model.run(IMAGES[:1])) == ["normals"] and len(model.manifest.outputs) == 1


def test_a_damaged_ort_file(files: Path, tmp_path: Path) -> None:
    path, _ = to_ort(files / "m.onnx", SAMPLES)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "m.ort").write_bytes(data)
    with pytest.raises(ModelError, match="m.ort' is damaged"):
        Model(tmp_path / "m.ort")


def test_an_ort_file_that_gives_other_maps_never_takes_the_name(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tool is handed another network's file."""
    path = tmp_path / "m.onnx"
    path.write_bytes((files / "m.onnx").read_bytes())
    (tmp_path / "m.ort").write_bytes(b"a good file")
    convert = ort._converted
    model = onnx.load(path)
    last = next(node for node in reversed(model.graph.node) if node.op_type == "Sigmoid")
    last.op_type = "Tanh"
    (tmp_path / "wrong").mkdir()
    wrong = tmp_path / "wrong" / "m.onnx"
    wrong.write_bytes(model.SerializeToString())
    monkeypatch.setattr(ort, "_converted", lambda file, folder: convert(wrong, folder))
    with pytest.raises(VerifyError, match="disagree on batches of 1x40x56.*'depth': max_difference.*m.failed.ort"):
        to_ort(path, SAMPLES)
    assert (tmp_path / "m.ort").read_bytes() == b"a good file"


# ncnn


def test_names_of_a_graph_for_ncnn() -> None:
    graph = "7767517\n2 3\nInput in0 0 1 in0\nConvolution out1 1 2 in0 out1 out0 0=8 1=3 -23310=1,30\n"
    lines = renamed(graph, ["depth", "in0"]).splitlines()
    assert lines[:2] == ["7767517", "2 3"]
    assert [line.split() for line in lines[2:]] == [
        ["Input", "in0", "0", "1", "image"],
        ["Convolution", "out1", "1", "2", "image", "in0", "depth", "0=8", "1=3", "-23310=1,30"],
    ]


@needs_ncnn
def test_ncnn_gives_the_same(files: Path) -> None:
    path, compared = to_ncnn(files / "m.core.onnx", SAMPLES)
    assert path == files / "m.ncnn.param" and not list(files.glob("*failed*"))
    plain, model = Model(files / "m.core.onnx", threads=1), Model(path, threads=1)
    says = model.manifest.verification
    assert says["against"].startswith("m.core.onnx in onnxruntime") and says["cases"][0] == "1x40x56"
    assert model.manifest == replace(plain.manifest, precision="float16", verification=says)
    assert path.with_suffix(".bin").stat().st_size < 0.6 * (files / "m.core.onnx").stat().st_size
    a, b = plain.run(IMAGES), model.run(IMAGES)
    assert np.abs(a["depth"] - b["depth"]).mean() < 0.02 and (a["segmentation"] != b["segmentation"]).mean() < 0.02
    assert np.abs(a["normals"] - b["normals"]).mean() < 0.003
    assert all(figure.fits and figure.limit[1] > 0 for figure in compared.figures)


@needs_ncnn
def test_files_for_ncnn_that_give_other_maps_never_take_the_name(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = tmp_path / "m.core.onnx"
    core.write_bytes((files / "m.core.onnx").read_bytes())
    graph, weights = ncnn._converted(core)
    assert "Sigmoid" in graph
    monkeypatch.setattr(ncnn, "_converted", lambda file: (graph.replace("Sigmoid", "TanH   "), weights))
    with pytest.raises(VerifyError, match="ncnn 1.* and '.*m.core.onnx' disagree .*'depth': .*m.failed.ncnn.param"):
        to_ncnn(core, SAMPLES)
    assert {path.name for path in tmp_path.iterdir()} == {core.name} | {
        f"m.failed.ncnn.{ending}" for ending in ("param", "bin", "json")
    }


@needs_ncnn
def test_a_network_that_ncnn_does_not_know(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core = tmp_path / "m.core.onnx"
    core.write_bytes((files / "m.core.onnx").read_bytes())
    graph, weights = ncnn._converted(core)
    monkeypatch.setattr(ncnn, "_converted", lambda file: (graph.replace("Sigmoid", "Permute5"), weights))
    with pytest.raises(VerifyError, match="ncnn 1.* cannot load"):
        to_ncnn(core, SAMPLES)
    monkeypatch.undo()

    def fails(*args: object, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 255, "", "parse onnx\n failed")

    monkeypatch.setattr(ncnn.subprocess, "run", fails)
    with pytest.raises(ModelError, match="pnnx cannot convert '.*m.core.onnx' .its last words: parse onnx failed."):
        to_ncnn(core, SAMPLES)


@needs_ncnn
def test_only_a_core_graph(files: Path) -> None:
    with pytest.raises(ModelError, match="m.onnx' is of the form full: expected the NAME.core.onnx that --core writes"):
        to_ncnn(files / "m.onnx", SAMPLES)


def test_without_the_convertor(trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ncnn, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="--ncnn needs the packages pnnx and ncnn, found no pnnx and no ncnn; python"):
        export_run(trained, tmp_path / "m.onnx", ncnn=True)
    assert not list(tmp_path.iterdir())


# The command


@needs_ncnn
def test_the_command(
    trained, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a run directory, and from a file that was exported before."""

    def traced(run: object, module: object, *args: object, **options: object) -> onnx.ModelProto:
        return onnx.load(files / ("m.core.onnx" if isinstance(module, Core) else "m.onnx"))  # tracing takes long

    monkeypatch.setattr(exporter, "trace", traced)
    monkeypatch.setattr("mtl_vision.engine.load.load_run", lambda folder: trained)
    monkeypatch.setattr(exporter, "sample_images", lambda run: SAMPLES)
    out = tmp_path / "m.onnx"
    assert main([str(tmp_path), "--out", str(out), "--ort", "--ncnn"]) == 0
    names = {"m.onnx", "m.core.onnx", "m.ort", "m.required_operators.config"}
    names |= {f"m.ncnn.{ending}" for ending in ("param", "bin", "json")}
    assert {path.name for path in tmp_path.iterdir()} == names
    said = capsys.readouterr().out
    assert "m.ort against m.onnx, on noise" in said and "m.ncnn.param against m.core.onnx" in said
    for name in names - {"m.onnx", "m.core.onnx"}:
        (tmp_path / name).unlink()
    assert main([str(out), "--ort"]) == 0 and main([str(tmp_path / "m.core.onnx"), "--ncnn"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == names
    assert f"next: mtl-infer {tmp_path / 'm.ncnn.param'} IMAGES" in capsys.readouterr().out
    assert main([str(out), "--ncnn"]) == 1 and "is of the form full" in capsys.readouterr().err
    assert main([str(tmp_path / "m.ort"), "--ort"]) == 1 and "expected a file NAME.onnx" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(out), "--ort", "--fp16"])


@needs_ncnn
def test_every_command_of_the_page_for_devices_runs(
    trained, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of docs/device.md; but for the wheel, which .ci/run builds, and the camera. Nothing is traced or searched."""

    def traced(run: object, module: object, *args: object, **options: object) -> onnx.ModelProto:
        return onnx.load(files / ("m.core.onnx" if isinstance(module, Core) else "m.onnx"))

    monkeypatch.setattr("mtl_vision.engine.load.load_run", lambda folder: trained)
    monkeypatch.setattr(exporter, "sample_images", lambda run: SAMPLES)
    monkeypatch.setattr(exporter, "trace", traced)
    judged = SimpleNamespace(lines=lambda: ["8 bits"])
    monkeypatch.setattr(exporter, "best", lambda *args: (onnx.load(files / "m.int8.onnx"), judged))
    monkeypatch.setattr(exporter, "described", lambda manifest, judged: manifest)
    monkeypatch.chdir(tmp_path)
    for path in (Path("photo.jpg"), Path("photos/a.jpg"), Path("photos/b.jpg")):
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), smooth_noise(1, (60, 90))[0])
    programs = {"mtl-export": main, "mtl-infer": infer_main}
    page = (Path(__file__).parents[2] / "docs/device.md").read_text(encoding="utf-8")
    ran = []
    for language, text in re.findall(r"^```(\w*)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        for line in text.splitlines() if language == "" else ():
            program, *words = shlex.split(line.partition(" #")[0])
            if program == "python" and words[:3] == ["-m", "pip", "wheel"]:
                continue
            if "camera:0" in words:
                assert make_parser().parse_args(words).paths == [Path("camera:0")]
                continue
            try:
                code = programs[program](words)
            except SystemExit as end:  # --inspect
                code = end.code
            assert code == 0, f"{line}: {capsys.readouterr().err}"
            ran.append(line)
        if language == "python":
            names: dict = {}
            exec(compile(text, "device.md", "exec"), names)
            assert names["metres"].shape == (60, 90)
        if Path("RUN").is_dir() and not Path("model.onnx").exists():  # it is carried to the device
            assert {path.name for path in Path("RUN").iterdir()} >= {"model.int8.ort", "model.ort", "model.ncnn.json"}
            shutil.copytree("RUN", ".", dirs_exist_ok=True)
    assert len(ran) >= 8 and len(list(Path("out").glob("*.depth.png"))) == 3
