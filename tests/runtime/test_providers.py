"""Where a network runs: chosen from what is here, named, and the CPU where it cannot be made."""

from collections.abc import Sequence
from pathlib import Path

import onnxruntime
import pytest

from mtl_vision.runtime import providers
from mtl_vision.runtime.cli import main
from mtl_vision.runtime.contract import ModelError
from mtl_vision.runtime.model import Model
from mtl_vision.runtime.providers import PROVIDERS, choose, open_model, short

ALL = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "OpenVINOExecutionProvider", "CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("name", "available", "expected"),
    [
        ("auto", ALL, "CUDA"),
        ("auto", ALL[2:], "OpenVINO"),
        ("auto", [ALL[0], ALL[3]], "CPU"),
        ("auto", ["AzureExecutionProvider", "CPUExecutionProvider"], "CPU"),
        ("auto", ["CPUExecutionProvider", "XnnpackExecutionProvider", "CoreMLExecutionProvider"], "CoreML"),
        ("tensorrt", ALL, "Tensorrt"),
        ("cuda", ALL[3:], "CUDA"),
        ("cpu", ALL, "CPU"),
    ],
)
def test_what_is_chosen(name: str, available: list[str], expected: str) -> None:
    assert short(choose(name, available)) == expected


def test_one_that_is_not_here_is_told(model_file: Path) -> None:
    said: list[str] = []
    assert open_model(model_file, 1, "coreml", report=said.append).provider == PROVIDERS["cpu"]
    (line,) = said
    assert line.startswith("CoreML cannot be used (this onnxruntime has cpu") and line.endswith("runs on the CPU")


@pytest.mark.parametrize("fails", [True, False])
def test_one_that_cannot_be_made_is_told(model_file: Path, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    """onnxruntime raises an error for some, and goes on without others."""

    def make(path: Path, threads: int | None, names: Sequence[str], tasks: object) -> Model:
        asked.append(list(names))
        if fails and "CUDAExecutionProvider" in names:
            raise ModelError("no device")
        return Model(path, threads)

    asked: list[list[str]] = []
    said: list[str] = []
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ALL)
    monkeypatch.setattr(providers, "Model", make)
    model = open_model(model_file, 1, report=said.append)
    assert asked == [["CUDAExecutionProvider", "CPUExecutionProvider"], ["CPUExecutionProvider"]]
    assert model.provider == PROVIDERS["cpu"] and len(said) == 1 and said[0].startswith("CUDA cannot be used (")
    assert ("no device" in said[0]) is fails


def test_a_bad_file_is_an_error_whatever_the_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ALL)
    (tmp_path / "a.onnx").write_text("no model")
    said: list[str] = []
    with pytest.raises(ModelError, match="not an ONNX model|onnxruntime has no"):
        open_model(tmp_path / "a.onnx", report=said.append)
    assert said == []


def test_the_command_names_it(model_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from test_pipeline import write_image

    image = write_image(tmp_path / "a.png")
    words = [str(model_file), str(image), "--out", str(tmp_path / "out"), "--save", "depth"]
    assert main([*words, "--provider", "xnnpack"]) == 0
    out, err = capfd.readouterr()
    assert "images/s on CPU" in out and "Xnnpack cannot be used" in err
    with pytest.raises(SystemExit):
        main([*words, "--provider", "tpu"])
