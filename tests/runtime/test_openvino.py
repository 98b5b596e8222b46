"""The other backend gives the same maps, from several threads, at many sizes; and says what is missing."""

import importlib
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from mtl_vision.runtime.cli import main
from mtl_vision.runtime.contract import ModelError
from mtl_vision.runtime.model import Model

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")


def images(count: int, model: Model, seed: int = 0) -> np.ndarray:
    size = model.manifest.height, model.manifest.width
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), np.uint8)


@needs_openvino
@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7])  # more shapes than have a graph of their own
def test_it_agrees(model_file: Path, count: int) -> None:
    plain, other = Model(model_file, threads=1), Model(model_file, threads=1, backend="openvino")
    assert other.provider.startswith("OpenVINO 20") and other.provider.endswith("f32")
    for n in range(1, count + 1):
        batch = images(n, plain, seed=n)
        a, b = plain.run(batch), other.run(batch)
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-5)


@needs_openvino
def test_threads_do_not_mix_up_their_images(model_file: Path) -> None:
    model = Model(model_file, threads=1, backend="openvino")
    batches = [images(1 + seed % 6, model, seed) for seed in range(40)]
    truth = [Model(model_file, threads=1).run(batch)["depth"] for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: model.run(batch)["depth"], batches))
    for a, b in zip(truth, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@needs_openvino
def test_the_tasks_that_are_asked_for(model_file: Path) -> None:
    model = Model(model_file, threads=1, backend="openvino", tasks=["normals"])
    assert list(model.run(images(1, model))) == ["normals"]


@needs_openvino
def test_the_command(model_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from test_pipeline import write_image

    photo = write_image(tmp_path / "a.png")
    call = [str(model_file), str(photo), "--out", str(tmp_path / "out"), "--backend", "openvino-bf16"]
    assert main(call) == 0
    assert "OpenVINO 20" in capfd.readouterr().out


def test_where_it_is_not_installed(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("mtl_vision.runtime.openvino.import_module", missing)
    with pytest.raises(ModelError, match=r"backend is openvino: expected the package openvino, found none; python -m"):
        Model(model_file, threads=1, backend="openvino")
    assert importlib.import_module is not missing


def test_an_unknown_backend(model_file: Path) -> None:
    with pytest.raises(ValueError, match="backend is tpu: expected one of onnxruntime, openvino, openvino-bf16"):
        Model(model_file, backend="tpu")
