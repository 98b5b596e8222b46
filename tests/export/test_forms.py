"""What the export can leave out, change and write beside the plain file; and graphs that are wrong on purpose."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch.nn import functional as F

from mtl_vision.config import Config, DataConfig, ModelConfig, TasksConfig
from mtl_vision.datasets.classes import class_set
from mtl_vision.datasets.description import Description
from mtl_vision.engine.build import make_network, make_tasks
from mtl_vision.engine.load import Trained
from mtl_vision.export import exporter
from mtl_vision.export.cli import main as export_main
from mtl_vision.export.deployed import Core, Deployed, largest
from mtl_vision.export.exporter import write_verified
from mtl_vision.export.graph import make_manifest, trace
from mtl_vision.export.half import in_half
from mtl_vision.export.narrow import at_size, of_tasks
from mtl_vision.export.opset import at_opset
from mtl_vision.export.verify import VerifyError, smooth_noise
from mtl_vision.runtime.cli import main as infer_main
from mtl_vision.runtime.contract import Manifest
from mtl_vision.runtime.model import Model

SIZE = (50, 70)  # needs padding
IMAGES = smooth_noise(6, SIZE)
Form = tuple[onnx.ModelProto, Manifest]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A network whose heads answer to the image as those of a trained one do: by half their range, and by colour."""
    torch.manual_seed(0)
    config = Config(data=DataConfig(size=SIZE), model=ModelConfig(backbone="test_efficientnet"), tasks=TasksConfig())
    tasks = make_tasks(config.tasks, class_set("nyu13"))
    model = make_network(config, tasks).eval()
    metrics = {"depth.rmse": 0.5, "normals.mean": 20.0, "segmentation.miou": 40.0, "protocol.seed": 0}
    intrinsics = {"fx": 60.0, "fy": 60.0, "cx": 34.5, "cy": 24.5, "height": 50, "width": 70}
    with torch.no_grad():
        z = model.encode(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
        for head in model.heads.values():
            last = head.layers[-1]  # type: ignore[union-attr,index]
            raw = head(z) - last.bias.view(1, -1, 1, 1)
            last.weight.mul_(1 / raw.std())
            last.bias.sub_(raw.mean(dim=(0, 2, 3)) / raw.std())
    folder = tmp_path_factory.mktemp("run")
    return Trained(folder, config, Description(intrinsics=intrinsics), tasks, model, metrics)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def forms(run: Trained) -> dict[str, Form]:
    model, manifest = trace(run, Deployed(run)), make_manifest(run)
    return {
        "full": (model, manifest),
        "float16": (in_half(model), replace(manifest, precision="float16")),
        "core": (trace(run, Core(run)), replace(manifest, form="core")),
    }


def verified(run: Trained, form: Form, path: Path) -> Model:
    images = smooth_noise(6, run.config.data.size)
    write_verified(path, *form, Deployed(run), images, "noise", lambda line: None)
    return Model(path, threads=1)


# What the forms are


@pytest.mark.parametrize("name", ["full", "float16", "core"])
def test_every_form_gives_the_same_maps(run: Trained, forms: dict[str, Form], tmp_path: Path, name: str) -> None:
    model = verified(run, forms[name], tmp_path / "m.onnx")
    maps = model.run(IMAGES)
    with torch.inference_mode():
        expected = Deployed(run).maps(torch.from_numpy(IMAGES))
    for found, truth in zip((maps["depth"], maps["normals"]), expected, strict=False):
        off = np.abs(found - truth.numpy())
        assert off.mean() < 0.02 if name == "float16" else off.max() < 1e-4
    assert (maps["segmentation"] == expected[2].numpy()).mean() > (0.98 if name == "float16" else 0.999)
    says = model.manifest.verification
    assert says["cases"] == ["1x50x70", "2x50x70", "5x50x70"] and says["against"].startswith("torch ")
    assert says["outputs"]["depth"]["limit"][1] == pytest.approx(0.02 if name == "float16" else 0.01)
    assert not (tmp_path / "m.failed.onnx").exists()


def test_a_core_graph_is_what_compilers_take(forms: dict[str, Form]) -> None:
    graph = forms["core"][0].graph
    assert {node.op_type for node in graph.node}.isdisjoint({"Cast", "ArgMax", "Shape", "Pad", "Transpose", "ReduceL2"})
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes["image"] == [1, 3, 64, 96]
    assert shapes["depth"] == [1, 1, 50, 70] and shapes["segmentation"] == [1, 13, 50, 70]
    assert {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)} == {onnx.TensorProto.FLOAT}
    constants = {tensor.name for tensor in graph.initializer}
    resizes = [node for node in graph.node if node.op_type == "Resize"]
    assert resizes and all(len(node.input) == 3 and node.input[2] in constants for node in resizes)  # by scales


def test_a_half_graph_is_half(forms: dict[str, Form]) -> None:
    full, half = forms["full"][0], forms["float16"][0]
    assert len(half.SerializeToString()) < 0.62 * len(full.SerializeToString())
    types = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    weights = [types[node.input[1]] for node in half.graph.node if node.op_type == "Conv"]
    assert set(weights) == {onnx.TensorProto.FLOAT16}
    outputs = [value.type.tensor_type.elem_type for value in half.graph.output]
    assert outputs == [onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8]


@pytest.mark.parametrize("shape", [(1, 13, 12, 16), (2, 40, 1, 5), (1, 2, 3, 1)])
def test_the_largest_of_the_enlarged(shape: tuple[int, ...]) -> None:
    raw = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    size = (4 * shape[2], 4 * shape[3])
    expected = F.interpolate(raw, size=size, mode="bilinear", align_corners=False).argmax(1)
    assert largest(raw).dtype == torch.uint8
    assert (largest(raw) == expected).float().mean() > 0.999


# What is asked for


def test_fewer_tasks(run: Trained, tmp_path: Path) -> None:
    few = of_tasks(run, ["segmentation", "depth"])
    assert list(few.tasks) == list(few.model.heads) == ["depth", "segmentation"]
    assert few.metrics == {"depth.rmse": 0.5, "segmentation.miou": 40.0, "protocol.seed": 0}
    assert list(run.model.heads) == list(run.tasks) == ["depth", "normals", "segmentation"]
    model = verified(few, (trace(few, Deployed(few)), make_manifest(few)), tmp_path / "few.onnx")
    assert list(model.run(IMAGES[:1])) == ["depth", "segmentation"]
    with pytest.raises(ValueError, match="the run has no 'normal', did you mean 'normals'.: expected some of depth, "):
        of_tasks(run, ["depth", "normal"])
    with pytest.raises(ValueError, match="the run has no ''"):
        of_tasks(run, [])


def test_another_size(run: Trained, tmp_path: Path) -> None:
    large = at_size(run, (100, 140))
    says = make_manifest(large)
    assert (says.height, says.width, says.trained_size) == (100, 140, (50, 70))
    assert says.intrinsics == pytest.approx((120.0, 120.0, 69.5, 49.5))  # pixel centres at integers: 2 * 34.5 + 0.5
    model = trace(large, Deployed(large))
    write_verified(
        tmp_path / "large.onnx", model, says, Deployed(large), smooth_noise(3, (100, 140)), "noise", lambda line: None
    )
    with pytest.raises(ValueError, match="size is 0x70: expected sides of 1 to 8192"):
        at_size(run, (0, 70))
    fixed = replace(run, model=of_tasks(run, ["depth"]).model)
    fixed.model.backbone.fixed_size = (64, 96)
    assert at_size(fixed, (60, 90)).config.data.size == (60, 90)  # padded, it is that
    with pytest.raises(ValueError, match="size is 128x96: test_efficientnet takes images of .64, 96. only"):
        at_size(fixed, (128, 96))


@pytest.mark.parametrize("version", [17, 19, 20])
def test_other_opsets(run: Trained, forms: dict[str, Form], tmp_path: Path, version: int) -> None:
    for name, (model, manifest) in forms.items():
        model = at_opset(onnx.ModelProto.FromString(model.SerializeToString()), version)
        assert [entry.version for entry in model.opset_import] == [version] and model.ir_version == 9
        verified(run, (model, manifest), tmp_path / f"{name}.onnx")


def test_opsets_that_cannot_be(run: Trained, forms: dict[str, Form]) -> None:
    with pytest.raises(ValueError, match="opset is 16: expected one of 17, 18, 19, 20"):
        trace(run, Deployed(run), opset=16)
    model = onnx.ModelProto.FromString(forms["core"][0].SerializeToString())
    model.graph.node.append(helper.make_node("Mish", ["depth"], ["more"]))  # of opset 18
    model.graph.output.append(helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, None))
    with pytest.raises(ValueError, match="opset is 17: this network's graph cannot be written at it .*Mish"):
        at_opset(model, 17)


# Graphs that are wrong on purpose


def constant(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name.removesuffix("_half") == name)
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(change(values).astype(values.dtype), tensor.name))


def wrong_mean(model: onnx.ModelProto, manifest: Manifest) -> Form:
    if manifest.form == "core":
        return model, replace(manifest, mean=(0.0, 0.0, 0.0))
    constant(model, "network.mean", np.zeros_like)
    return model, manifest


def wrong_scale(model: onnx.ModelProto, manifest: Manifest) -> Form:
    """Images taken as of 0 to 1."""
    if manifest.form == "core":
        assert manifest.std
        red, green, blue = (value / 255 for value in manifest.std)
        return model, replace(manifest, std=(red, green, blue))
    constant(model, "network.std", lambda std: std / 255)
    return model, manifest


def bgr(model: onnx.ModelProto, manifest: Manifest) -> Form:
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    constant(model, first.input[1].removesuffix("_half"), lambda weight: weight[:, ::-1].copy())
    return model, manifest


def reversed_depth(model: onnx.ModelProto, manifest: Manifest) -> Form:
    """The far is near."""
    last = next(node for node in reversed(model.graph.node) if node.op_type == "Sigmoid")
    minus = f"{last.input[0]}_minus"
    model.graph.node.insert(list(model.graph.node).index(last), helper.make_node("Neg", [last.input[0]], [minus]))
    last.input[0] = minus
    return model, manifest


@pytest.mark.parametrize("wrong", [wrong_mean, wrong_scale, bgr, reversed_depth])
@pytest.mark.parametrize("name", ["full", "float16", "core"])
def test_a_wrong_graph_is_found_out_and_never_takes_the_name(
    run: Trained, forms: dict[str, Form], tmp_path: Path, name: str, wrong: Callable[..., Form]
) -> None:
    model, manifest = forms[name]
    (tmp_path / "m.onnx").write_bytes(b"a good file")
    form = wrong(onnx.ModelProto.FromString(model.SerializeToString()), manifest)
    with pytest.raises(VerifyError, match=r"torch disagree on batches of 1x50x70, .*the file is .*m\.failed\.onnx"):
        verified(run, form, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == b"a good file"
    assert not Model(tmp_path / "m.failed.onnx").manifest.verification


def swapped(model: onnx.ModelProto, a: str, b: str) -> onnx.ModelProto:
    """Each output under the other's name."""
    model, names = onnx.ModelProto.FromString(model.SerializeToString()), {a: b, b: a}
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    return model


@pytest.mark.parametrize("name", ["full", "float16", "core"])
def test_outputs_of_different_forms_that_changed_places(
    forms: dict[str, Form], run: Trained, tmp_path: Path, name: str
):
    model, manifest = forms[name]
    with pytest.raises(VerifyError, match="m.failed.onnx"):
        verified(run, (swapped(model, "depth", "normals"), manifest), tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_outputs_of_one_form_that_changed_places(tmp_path: Path) -> None:
    """Nothing but their values tells a depth from the probability of an edge."""
    torch.manual_seed(0)
    names = ["depth", "edges"]
    config = Config(data=DataConfig(size=(64, 64)), model=ModelConfig("test_efficientnet"), tasks=TasksConfig(names))
    tasks = make_tasks(config.tasks, None)
    run = Trained(tmp_path, config, Description(), tasks, make_network(config, tasks).eval(), {})
    model = trace(run, Deployed(run))
    for graph, found in ((model, True), (swapped(model, *names), False)):
        form = graph, make_manifest(run)
        if found:
            verified(run, form, tmp_path / "m.onnx")
        else:
            with pytest.raises(VerifyError, match="'depth': max_difference is .*'edges': max_difference is"):
                verified(run, form, tmp_path / "m.onnx")


def test_the_command_says_what_failed(
    run: Trained,
    forms: dict[str, Form],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = onnx.ModelProto.FromString(forms["full"][0].SerializeToString())
    monkeypatch.setattr(exporter, "trace", lambda *args, **options: wrong_mean(model, make_manifest(run))[0])
    monkeypatch.setattr("mtl_vision.engine.load.load_run", lambda folder: run)
    assert export_main([str(tmp_path), "--out", str(tmp_path / "m.onnx")]) == 1
    said = capsys.readouterr().err
    assert "output 'normals': max_degrees is" in said and said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["m.failed.onnx"]
    for words, reason in {
        "--tasks=depth,norms": "the run has no 'norms', did you mean 'normals'?",
        "--opset=16": "opset is 16",
        "--size=50x9999": "expected sides of 1 to 8192",
    }.items():
        monkeypatch.setattr(exporter, "trace", trace)
        assert export_main([str(tmp_path), words]) == 1
        assert reason in capsys.readouterr().err
    for words in (["--size=50"], ["--size=50x70", "--dynamic-size"]):
        with pytest.raises(SystemExit):
            export_main([str(tmp_path), *words])


# The page


def test_the_page(run: Trained, forms: dict[str, Form], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("full", "core"):
        path = tmp_path / f"{name}.onnx"
        verified(run, forms[name], path)
        with pytest.raises(SystemExit) as ended:
            infer_main(["--inspect", str(path)])
        assert ended.value.code == 0
        said = " ".join(capsys.readouterr().out.split())
        words = ["checksum intact", f"graph {name}, float32, opset 18", "RGB", "mean 123.675, 116.28, 103.53", "0 bed"]
        words += ["fx 60", "0 to 10 m", "rmse 0.5", "verified against torch", "1x50x70", "max_difference may be 0.01"]
        words += ["N x 50 x 70 x 3, uint8"] if name == "full" else ["1 x 3 x 64 x 96, float32", "logits"]
        assert not [word for word in words if word not in said], said
    with pytest.raises(SystemExit) as ended:
        infer_main(["--inspect", str(tmp_path / "none.onnx")])
    assert ended.value.code == 1 and "no model at" in capsys.readouterr().err


def test_the_page_of_an_older_file_and_of_odd_figures(run: Trained, forms: dict[str, Form], tmp_path: Path) -> None:
    from mtl_vision.runtime.checksum import with_checksum
    from mtl_vision.runtime.inspect import page

    says = json.loads(make_manifest(run).to_json()) | {"format_version": 2}
    for key in ("form", "precision", "mean", "std", "opset", "verification", "trained_size"):
        del says[key]
    model = onnx.ModelProto.FromString(forms["full"][0].SerializeToString())
    helper.set_model_props(model, {"mtl_vision": json.dumps(says)})
    (tmp_path / "old.onnx").write_bytes(with_checksum(model.SerializeToString()))
    text = page(tmp_path / "old.onnx")
    assert "precision not said" in text and "verified\n                nothing is said" in text
    says |= {"format_version": 3, "verification": {"cases": 5, "outputs": [1], "against": None}, "metrics": {"a": []}}
    helper.set_model_props(model, {"mtl_vision": json.dumps(says)})
    (tmp_path / "odd.onnx").write_bytes(with_checksum(model.SerializeToString()))
    assert "against" in page(tmp_path / "odd.onnx")


@pytest.mark.parametrize("name", [".", "net-0.5", "model"])
def test_a_file_is_called_name_onnx(run: Trained, tmp_path: Path, name: str) -> None:
    """Told before the export: of OUT.core.onnx and the like, `net-0.5` would lose its .5."""
    with pytest.raises(ValueError, match=r"expected the path of a file NAME.onnx to write, found"):
        exporter.export_run(run, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_single_task_may_be_named_as_it_is(run: Trained, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the run has no 'dept', did you mean 'depth'"):
        exporter.export_run(run, tmp_path / "model.onnx", tasks="dept")


def test_an_exported_file_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.onnx").write_bytes(b"x")
    assert export_main([str(tmp_path / "m.onnx")]) == 1
    assert "is an exported model, which takes --web DIR, --ort and --ncnn alone" in capsys.readouterr().err
    assert export_main(["demo", "--int8"]) == 1
    assert "demo is an exported model, which takes --web DIR alone" in capsys.readouterr().err
