"""ncnn gives what can be worked out by hand, from threads, of the tasks that are asked for; and says what is wrong."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tiny_model import OUTPUTS, manifest

from mtl_vision.runtime import ncnn
from mtl_vision.runtime.checksum import with_checksum
from mtl_vision.runtime.cli import main
from mtl_vision.runtime.contract import Manifest, ModelError
from mtl_vision.runtime.model import Model

needs_ncnn = pytest.mark.skipif(find_spec("ncnn") is None, reason="ncnn is not installed")
REPO = Path(__file__).parents[2]
# depth = 1 + 4 * red / 255; normals = (r, g, b); segmentation = blue - 0.5 above 0; of an image divided by 255
GRAPH = """7767517
6 10
Input     image    0 1 image
Split     three    1 3 image a b normals
Slice     channels 1 3 a red green blue -23300=3,1,1,1 1=0
BinaryOp  times    1 1 red four 0=2 1=1 2=4.0
BinaryOp  plus     1 1 four depth 0=0 1=1 2=1.0
BinaryOp  less     1 1 blue segmentation 0=1 1=1 2=0.5
"""
CORE = {"form": "core", "mean": (0.0, 0.0, 0.0), "std": (255.0, 255.0, 255.0)}


def write(folder: Path, says: Manifest, graph: str = GRAPH, weights: bytes = b"") -> Path:
    param, first = folder / "tiny.ncnn.param", graph.encode() + weights
    texts = [graph.encode(), weights, with_checksum(first + says.to_json().encode())[len(first) :]]
    for path, data in zip(ncnn.parts(param), texts, strict=True):
        path.write_bytes(data)
    return param


@pytest.fixture
def param(tmp_path: Path) -> Path:
    return write(tmp_path, manifest(**CORE))


@needs_ncnn
def test_results_by_hand(param: Path) -> None:
    model = Model(param, threads=1)
    assert model.provider.startswith("ncnn 1.") and len(model.checksum) == 64
    maps = model.predict(np.full((30, 90, 3), (255, 51, 153), np.uint8))
    normal = np.array([255, 51, 153]) / np.linalg.norm([255, 51, 153])
    np.testing.assert_allclose(maps["depth"], np.full((30, 90), 5.0), rtol=1e-6)
    np.testing.assert_allclose(maps["normals"], np.broadcast_to(normal, (30, 90, 3)), atol=1e-6)
    assert (maps["segmentation"] == 1).all() and maps["segmentation"].dtype == np.uint8


@needs_ncnn
def test_threads_do_not_mix_up_their_images(param: Path) -> None:
    model = Model(param, threads=1, backend="ncnn-fp16")
    images = [np.full((2, 48, 64, 3), value, np.uint8) for value in range(100)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: model.run(batch)["depth"], images))
    for value, depth in enumerate(found):
        np.testing.assert_allclose(depth, np.full((2, 48, 64), 1 + 4 * value / 255), rtol=1e-5)


@needs_ncnn
def test_the_tasks_that_are_asked_for(param: Path) -> None:
    model = Model(param, tasks=["normals"])
    assert list(model.run(np.ones((1, 48, 64, 3), np.uint8))) == ["normals"]


@needs_ncnn
def test_the_commands(param: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from test_pipeline import write_image

    photo = write_image(tmp_path / "a.png")
    assert main([str(param), str(photo), "--out", str(tmp_path / "out"), "--provider", "cuda"]) == 0
    out, err = capfd.readouterr()
    assert "on ncnn 1." in out and "--provider cuda is of onnxruntime: ncnn does not know it" in err
    with pytest.raises(SystemExit):
        main(["--inspect", str(param)])
    assert "checksum intact" in capfd.readouterr().out


@needs_ncnn
def test_it_runs_where_onnxruntime_is_not_installed(param: Path, tmp_path: Path) -> None:
    from test_pipeline import write_image

    code = "import sys; sys.modules['onnxruntime'] = None; from mtl_vision.runtime.cli import main; sys.exit(main())"
    words = [str(param), str(write_image(tmp_path / "a.png")), "--out", str(tmp_path / "out"), "--quiet"]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=REPO, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs_ncnn
@pytest.mark.parametrize(
    ("ending", "reason"),
    [(".param", "is damaged"), (".bin", "is damaged"), (".json", "is damaged|manifest")],
)
def test_each_of_the_three_files_counts(param: Path, ending: str, reason: str) -> None:
    part = param.with_suffix(ending)
    part.write_bytes(part.read_bytes() + b" ")
    with pytest.raises(ModelError, match=reason):
        Model(param)
    part.unlink()
    with pytest.raises(ModelError, match=f"no model at '.*tiny.ncnn{ending}'"):
        Model(param)


@needs_ncnn
@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        ("no graph", "ncnn 1.* cannot load '.*tiny.ncnn.param'"),
        (GRAPH.replace("BinaryOp  less", "Tensor.reshape  less"), "cannot load"),
        (GRAPH.replace(" image", " photo"), "expected a core graph from 'image'"),
        (GRAPH.replace(" depth", " dept"), r"expected a core graph .* to \['depth', 'normals', 'segmentation'\]"),
    ],
)
def test_other_graphs(tmp_path: Path, graph: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        Model(write(tmp_path, manifest(**CORE), graph))


@needs_ncnn
def test_outputs_of_another_form(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'depth' .scalar_map. of a core graph as .N, 1, H, W., found .1, 3, 48, 64."):
        swapped = GRAPH.replace("normals", "x").replace("depth", "normals").replace(" b x", " b depth")
        Model(write(tmp_path, manifest(**CORE), swapped))
    with pytest.raises(ModelError, match="expected a core graph .* found form full"):
        Model(write(tmp_path, manifest(**CORE | {"form": "full"})))
    assert [output.name for output in OUTPUTS] == ["depth", "normals", "segmentation"]


def test_where_it_is_not_installed(param: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("mtl_vision.runtime.ncnn.import_module", missing)
    with pytest.raises(ModelError, match=r"backend is ncnn: expected the package ncnn, found none; python -m"):
        Model(param)


@pytest.mark.parametrize(
    ("name", "backend", "wanted"),
    [
        ("a.onnx", "ncnn", r"NAME.ncnn.param, found .*`mtl-export RUN --ncnn` writes it"),
        ("a.ncnn.param", "openvino", r"NAME.onnx, found .*`mtl-export RUN` writes it"),
        ("a.ort", "openvino-bf16", "NAME.onnx, found"),
        ("a.ort", "ncnn", "NAME.ncnn.param, found"),
    ],
)
def test_a_file_of_another_backend(tmp_path: Path, name: str, backend: str, wanted: str) -> None:
    with pytest.raises(ModelError, match=f"backend is {backend}: expected a file {wanted}"):
        Model(tmp_path / name, backend=backend)
