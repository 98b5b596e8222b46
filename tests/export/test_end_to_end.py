"""The main job on the smallest data: train, export, infer, score; and what the ONNX file promises."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.engine.cli import main as train_main
from mtl_vision.engine.load import Trained, load_run
from mtl_vision.export import exporter, int8
from mtl_vision.export.cli import main as export_main
from mtl_vision.export.deployed import Core, Deployed
from mtl_vision.export.graph import make_manifest, trace, write
from mtl_vision.export.half import in_half
from mtl_vision.export.verify import smooth_noise, verify
from mtl_vision.runtime.checksum import is_intact
from mtl_vision.runtime.cli import main as infer_main
from mtl_vision.runtime.contract import MANIFEST_KEY
from mtl_vision.runtime.model import Model
from studies.score import main as score_main
from studies.score import score

REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs."""
    base = tmp_path_factory.mktemp("runs")
    arguments = [
        f"--data.root={rooms}", "--data.size=[48,64]", "--data.batch_size=8", "--data.workers=0", "--data.cache=null",
        "--model.backbone=mobilenetv4_conv_small", "--model.decoder.width=32", "--train.epochs=3", "--run.device=cpu",
        "--run.tensorboard=false", f"--run.dir={base}", "--run.name=a",
    ]  # fmt: skip
    assert train_main(arguments) == 0
    return base / "a"


@pytest.fixture(scope="module")
def model(run: Path) -> Path:
    assert export_main([str(run)]) == 0
    return run / "model.onnx"


@pytest.fixture
def traced(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The export of this run, or of a copy, takes the graph that it gave before: tracing takes seconds."""

    def again(run: Trained, module: Deployed | Core, dynamic_size: bool = False, opset: int = 18) -> onnx.ModelProto:
        assert type(module) is Deployed and not module.logits and not dynamic_size and opset == 18
        return onnx.load(model)

    monkeypatch.setattr(exporter, "trace", again)


def test_one_self_contained_file_that_describes_itself(run: Path, model: Path) -> None:
    proto = onnx.load(model)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 18)] and proto.ir_version == 9
    assert not list(run.glob("*.data"))  # no external weights
    assert str(REPO).encode() not in model.read_bytes() and b"site-packages" not in model.read_bytes()
    says = json.loads({entry.key: entry.value for entry in proto.metadata_props}[MANIFEST_KEY])
    assert [output["name"] for output in says["outputs"]] == ["depth", "normals", "segmentation"]
    assert [output["kind"] for output in says["outputs"]] == ["scalar_map", "unit_vector_map", "label_map"]
    assert says["outputs"][0]["unit"] == "m" and says["outputs"][0]["range"] == [0, 10]
    assert len(says["outputs"][2]["classes"]) == len(says["outputs"][2]["palette"]) == 13
    assert (says["height"], says["width"], says["stride"]) == (48, 64, 32)
    assert says["metrics"] == json.loads((run / "metrics.json").read_text())
    assert {"torch", "timm", "mtl_vision"} <= set(says["versions"])
    assert says["format_version"] == 3 and is_intact(model.read_bytes())
    # 640 pixels of the NYU camera are 64 here
    assert says["intrinsics"][0] == pytest.approx(51.8858, abs=1e-3)


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_graph_equals_torch(run: Path, model: Path, batch: int) -> None:
    images = smooth_noise(batch, (48, 64), seed=batch)
    got = Model(model, threads=1).run(images)
    with torch.inference_mode():
        depth, normals, labels = Deployed(load_run(run))(torch.from_numpy(images))
    assert got["depth"].shape == (batch, 48, 64) and got["normals"].shape == (batch, 48, 64, 3)
    assert got["segmentation"].dtype == np.uint8
    np.testing.assert_allclose(got["depth"], depth.numpy(), atol=1e-4)
    np.testing.assert_allclose(got["normals"], normals.numpy(), atol=1e-4)
    assert (got["segmentation"] == labels.numpy()).mean() > 0.999


def test_inference_scores_as_the_evaluation_did(rooms: Path, run: Path, model: Path, tmp_path: Path) -> None:
    """The images have the network's size: infer.py's maps give the metrics of metrics.json to 1e-3."""
    assert infer_main([str(model), str(rooms / "test" / "rgb"), "--out", str(tmp_path), "--raw", "--quiet"]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    raw = score(tmp_path, FolderDataset(rooms, "test"))
    # maps alone have no loss: it is of what the network gives before
    assert {key for key in metrics if not key.startswith("protocol") and not key.endswith(".loss")} == set(raw)
    for key, value in raw.items():
        assert value == pytest.approx(metrics[key], rel=1e-3), key
    for path in tmp_path.glob("*.npz"):
        path.unlink()
    coded = score(tmp_path, FolderDataset(rooms, "test"))  # from millimetres and 8-bit colours
    for key in ("depth.rmse", "segmentation.miou", "segmentation.pixel_accuracy"):
        assert coded[key] == pytest.approx(metrics[key], rel=1e-3), key
    assert coded["normals.mean"] == pytest.approx(metrics["normals.mean"], abs=0.1)


def test_score_says_what_is_missing(rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score_main([str(tmp_path), "--root", str(rooms)]) == 1
    assert "has no results.jsonl" in capsys.readouterr().err


def test_dynamic_size(run: Path, tmp_path: Path) -> None:
    assert export_main([str(run), "--dynamic-size", "--out", str(tmp_path / "any.onnx")]) == 0
    session = Model(tmp_path / "any.onnx", threads=1)
    module = Deployed(load_run(run))
    for size in ((64, 64), (96, 160), (128, 64)):
        images = smooth_noise(2, size)
        got = session.run(images)
        with torch.inference_mode():
            depth, _, _ = module(torch.from_numpy(images))
        np.testing.assert_allclose(got["depth"], depth.numpy(), atol=1e-4)
    image = smooth_noise(1, (75, 201))[0]
    assert cv2.imwrite(str(tmp_path / "wide.png"), image)
    assert (
        infer_main([str(tmp_path / "any.onnx"), str(tmp_path / "wide.png"), "--out", str(tmp_path / "o"), "--quiet"])
        == 0
    )
    depth_file = cv2.imread(str(tmp_path / "o" / "wide.depth.png"), cv2.IMREAD_UNCHANGED)
    assert depth_file is not None and depth_file.shape == (75, 201) and depth_file.dtype == np.uint16


def test_logits(run: Path, model: Path, tmp_path: Path) -> None:
    assert export_main([str(run), "--logits", "--out", str(tmp_path / "logits.onnx")]) == 0
    shapes = {o.name: o.type.tensor_type for o in onnx.load(tmp_path / "logits.onnx").graph.output}
    assert len(shapes["segmentation"].shape.dim) == 4 and shapes["segmentation"].shape.dim[1].dim_value == 13
    images = smooth_noise(2, (48, 64))
    ids, same = (Model(path, threads=1).run(images)["segmentation"] for path in (model, tmp_path / "logits.onnx"))
    assert (ids == same).mean() > 0.999


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_int8(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "AIM", 9.0)  # after three epochs nothing is worth a search
    assert export_main([str(run), "--int8", "--out", str(tmp_path / "m.onnx")]) == 0
    whole, small = tmp_path / "m.onnx", tmp_path / "m.int8.onnx"
    assert small.stat().st_size < 0.5 * whole.stat().st_size
    says, float32 = Model(small, threads=1).manifest, Model(whole).manifest
    assert says == replace(float32, precision="int8", verification=says.verification, metrics=says.metrics)
    judged = says.verification["int8"]
    # the float file has the training's metrics, and the 8-bit file its own
    assert judged["split"] == "test" and says.metrics == float32.metrics | judged["after"]
    assert judged["before"]["depth.rmse"] == pytest.approx(float32.metrics["depth.rmse"], rel=1e-4)
    assert judged["after"]["depth.rmse"] != judged["before"]["depth.rmse"]
    assert is_intact(whole.read_bytes()) and is_intact(small.read_bytes())
    images = smooth_noise(2, (48, 64))
    a, b = (Model(path, threads=1).run(images) for path in (whole, small))
    assert np.abs(a["depth"] - b["depth"]).mean() < 0.2


def test_export_of_what_is_no_run(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export_main([str(tmp_path / "none")]) == 1
    assert "no such folder" in capsys.readouterr().err
    shutil.copy(run / "config.yaml", tmp_path / "config.yaml")
    assert export_main([str(tmp_path)]) == 1
    assert "not a finished run" in capsys.readouterr().err


@pytest.mark.usefixtures("traced")
def test_export_without_the_data(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run copied to another machine exports there."""
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    text = (moved / "config.yaml").read_text()
    root = json.loads(json.dumps(load_run(run).config.data.root))
    (moved / "config.yaml").write_text(text.replace(root, str(tmp_path / "gone")))
    assert export_main([str(moved)]) == 0
    assert "not here" in capsys.readouterr().out


def test_fixed_backbones_have_no_dynamic_size(run: Path) -> None:
    trained = load_run(run)
    trained.model.backbone.fixed_size = (56, 56)
    with pytest.raises(ValueError, match="dynamic_size is true: .* takes images of .56, 56. only"):
        trace(trained, Deployed(trained), dynamic_size=True)


def test_the_runtime_runs_the_export_without_torch(rooms: Path, model: Path, tmp_path: Path) -> None:
    """In a process where torch can not be imported."""
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['timm'] = None; sys.modules['albumentations'] = None\n"
        "from mtl_vision.runtime.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = [str(model), str(rooms / "test" / "rgb"), "--out", str(tmp_path), "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=os.environ | {"PYTHONPATH": str(REPO)}, timeout=120
    )
    assert done.returncode == 0
    assert len(list(tmp_path.glob("*.overview.jpg"))) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone",
    ["resnet18", "convnextv2_atto", "efficientvit_b0", "swin_tiny_patch4_window7_224", "vit_small_patch14_dinov2"],
)
def test_every_backbone_exports(run: Path, backbone: str, tmp_path: Path) -> None:
    """At a size that needs padding."""
    from mtl_vision.engine.build import make_network

    trained = load_run(run)
    config = replace(trained.config, model=replace(trained.config.model, backbone=backbone))
    config = replace(config, data=replace(config.data, size=(50, 70)))
    torch.manual_seed(0)
    trained = replace(trained, config=config, model=make_network(config, trained.tasks).eval())
    module = Deployed(trained)
    model, manifest, images = trace(trained, module), make_manifest(trained), smooth_noise(8, (50, 70))
    forms = [(model, manifest), (in_half(model), replace(manifest, precision="float16"))]
    if backbone in ("efficientvit_b0", "vit_small_patch14_dinov2"):  # of the same operators: tracing takes long
        forms.append((trace(trained, Core(trained)), replace(manifest, form="core")))
    for graph, says in forms:
        write(graph, says, tmp_path / "m.onnx")
        assert len(verify(tmp_path / "m.onnx", module, images)[0]) == 3
