"""What a model file must be, and the error when it is not."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_model import OUTPUTS, manifest

from mtl_vision.runtime.contract import Manifest, ModelError, Output
from mtl_vision.runtime.model import Model


def test_results_by_hand(model: Model) -> None:
    images = np.zeros((2, 48, 64, 3), np.uint8)
    images[1] = (255, 51, 153)  # mean 153
    maps = model.run(images)
    assert {k: (v.shape, v.dtype) for k, v in maps.items()} == {
        "depth": ((2, 48, 64), np.float32),
        "normals": ((2, 48, 64, 3), np.float32),
        "segmentation": ((2, 48, 64), np.uint8),
    }
    np.testing.assert_allclose(maps["depth"][:, 5, 7], [0.5, 3.5], rtol=1e-6)
    np.testing.assert_allclose(maps["normals"][0, 0, 0], (0, 0, 1), atol=1e-6)
    assert maps["segmentation"][:, 0, 0].tolist() == [0, 1]


def test_manifest_comes_through(model: Model) -> None:
    assert model.manifest == manifest()


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 48, 64, 3), np.float32),
        np.zeros((48, 64, 3), np.uint8),
        np.zeros((1, 64, 48, 3), np.uint8),
        np.zeros((1, 3, 48, 64), np.uint8),
        np.zeros((0, 48, 64, 3), np.uint8),
    ],
)
def test_a_wrong_batch_is_refused(model: Model, images: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected images \(N, H, W, 3\) of uint8 with H x W 48 x 64, found"):
        model.run(images)


def test_dynamic_size(make_model: Callable[..., Path]) -> None:
    model = Model(make_model(manifest(dynamic_size=True)))
    assert model.run(np.zeros((1, 32, 160, 3), np.uint8))["depth"].shape == (1, 32, 160)
    with pytest.raises(ValueError, match="multiples of 16"):
        model.run(np.zeros((1, 33, 160, 3), np.uint8))


@pytest.mark.parametrize("channels", [1, 2])
def test_logits_are_decided(make_model: Callable[..., Path], channels: int) -> None:
    model = Model(make_model(manifest(), logits=channels))
    images = np.zeros((2, 48, 64, 3), np.uint8)
    images[1] = 255
    labels = model.run(images)["segmentation"]
    assert labels.dtype == np.uint8 and labels[:, 3, 4].tolist() == [0, 1]


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model at"):
        Model(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="found a folder"):
        Model(tmp_path)
    for data in (b"", b"no model at all"):
        (tmp_path / "text.onnx").write_bytes(data)
        with pytest.raises(ModelError, match=r"not an ONNX model|no manifest"):
            Model(tmp_path / "text.onnx")


def test_unknown_provider(model_file: Path) -> None:
    with pytest.raises(ModelError, match="no \\['NoSuchProvider'\\] here"):
        Model(model_file, providers=["NoSuchProvider"])


def changed(**changes: object) -> str:
    return json.dumps({**json.loads(manifest().to_json()), **changes})


def without(key: str) -> str:
    return json.dumps({k: v for k, v in json.loads(manifest().to_json()).items() if k != key})


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (None, "not made by `mtl-export`"),
        ("{not json", "not readable"),
        ("[]", "not readable"),
        ("{}", "not readable"),
        (changed(format_version=99), "version 99, this runtime reads 1 to 3: upgrade"),
        (changed(format_version=0), "export the model again"),
        (without("height"), "incomplete"),
        (changed(outputs=["depth"]), "incomplete"),
        (changed(outputs=[]), "outputs is .., expected a list of 1 to 64 outputs"),
        (changed(outputs=[vars(OUTPUTS[0])] * 2), "different names"),
        (changed(resize="stretch"), "resize rule is 'stretch'"),
        (manifest(outputs=[Output("depth", "sound_map")]), "of kind 'sound_map'.*upgrade"),
        (manifest(outputs=[Output("a/b", "scalar_map")]), "name is 'a/b', expected a file name's part"),
        (manifest(outputs=[Output("Overview", "scalar_map")]), "expected a file name's part .* none of"),
        (manifest(outputs=[Output("albedo", "scalar_map")]), r"lists outputs \['albedo'\], the graph gives"),
        (manifest(outputs=[Output("depth", "label_map")]), "expected output 'depth' .label_map. as .* of uint8"),
        (manifest(outputs=[Output("normals", "scalar_map")]), "expected output 'normals'"),
        (manifest(width=96), "input 48 x 96, dynamic_size=False, the graph takes"),
        (manifest(dynamic_size=True), "dynamic_size=True"),
        (manifest(form="half"), "form is 'half', this runtime knows full, core"),
        (manifest(precision="int4"), "precision is 'int4', this runtime knows"),
        (manifest(form="core"), "a core graph has a mean, a std and one size"),
        (manifest(form="core", mean=(0, 0, 0), std=(1, 1, 1)), r"one input, 'image' .1, 3, H, W. of float, found"),
        (manifest(std=(1, 0, 1)), "std is .*above 0, or null"),
    ],
)
def test_bad_manifests(make_model: Callable[..., Path], says: Manifest | str | None, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        Model(make_model(says, axes=(48, 64)))


def test_unknown_keys_of_the_same_version_are_passed_over(make_model: Callable[..., Path]) -> None:
    assert Model(make_model(changed(author="someone"), axes=(48, 64))).manifest == manifest()


def test_the_runtime_never_imports_torch() -> None:
    code = (
        "import sys, pkgutil, importlib, mtl_vision.runtime as r\n"
        "[importlib.import_module(f'{r.__name__}.{m.name}') for m in pkgutil.iter_modules(r.__path__)]\n"
        "import infer\n"
        "heavy = {'torch', 'torchvision', 'PIL', 'yaml', 'timm', 'onnx', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
