"""Verification holds the file against what the tasks decode, not against what the runtime makes of the file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mtl_vision.export import graph
from mtl_vision.export.deployed import Deployed
from mtl_vision.export.verify import VerifyError, smooth_noise, verify
from mtl_vision.runtime.contract import Manifest, Output
from mtl_vision.runtime.kinds import KINDS

IMAGES = smooth_noise(3, (16, 24))
OUTPUT = Output("bright", "label_map", classes=["no", "yes"])


class Network(nn.Module):
    """One channel of logits: how far a pixel is above the middle grey."""

    multiple, backbone = 1, SimpleNamespace(fixed_size=None)

    def encode(self, image: Tensor) -> Tensor:
        return image.float()

    def decode(self, z: Tensor, size: tuple[int, int], tasks: list[str]) -> dict[str, Tensor]:
        return {"bright": z.mean(dim=1, keepdim=True) - 127.3}

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return self.decode(self.encode(image), (16, 24), ["bright"])


def decode(prediction: Tensor) -> Tensor:
    return (prediction[:, 0] > 0).to(torch.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Deployed]:
    task = SimpleNamespace(output=lambda: OUTPUT, decode=decode, of_largest=False)
    config = SimpleNamespace(data=SimpleNamespace(size=(16, 24)), model=None)
    run = SimpleNamespace(model=Network(), tasks={"bright": task}, config=config)
    module = Deployed(run, logits=True)  # type: ignore[arg-type]
    path = tmp_path_factory.mktemp("binary") / "model.onnx"
    graph.write(graph.trace(run, module), Manifest([OUTPUT], 16, 24, stride=1), path)  # type: ignore[arg-type]
    return path, module


def test_one_channel_of_logits_is_not_argmaxed_away(exported: tuple[Path, Deployed]):
    path, module = exported
    images = torch.full((1, 16, 24, 3), 255, dtype=torch.uint8)
    assert module(images)[0].shape == (1, 1, 16, 24) and (module.maps(images)[0] == 1).all()
    assert [figure.values["share_different"] for figure in verify(path, module, IMAGES)[0]] == [0]


def test_a_runtime_that_decodes_otherwise_is_caught(exported: tuple[Path, Deployed], monkeypatch: pytest.MonkeyPatch):
    def all_the_first_class(array: np.ndarray, output: Output) -> np.ndarray:
        return array.argmax(axis=1).astype(np.uint8)

    monkeypatch.setattr(KINDS["label_map"], "from_graph", all_the_first_class)
    with pytest.raises(VerifyError, match="output 'bright': share_different is"):
        verify(*exported, IMAGES)


@pytest.mark.parametrize("value", [0.0011, float("nan")])
def test_what_is_beyond_the_limit_fails(exported: tuple[Path, Deployed], monkeypatch: pytest.MonkeyPatch, value: float):
    found = {"share_different": 0.001}
    monkeypatch.setattr(KINDS["label_map"], "compare", lambda a, b: found)
    assert len(verify(*exported, IMAGES)[0]) == 1
    found["share_different"] = value
    with pytest.raises(VerifyError, match=r"share_different is .*, limit 0.001"):
        verify(*exported, IMAGES)
