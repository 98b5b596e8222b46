"""Fixtures of the runtime's tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_model import build_model, manifest

from mtl_vision.runtime.contract import Manifest
from mtl_vision.runtime.model import Model


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """Build the model with another manifest (a Manifest, a text, or None for none)."""

    def make(says: Manifest | str | None, **options: Any) -> Path:
        return build_model(tmp_path / "other.onnx", says, **options)

    return make


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 48 x 64 pixels."""
    return build_model(tmp_path_factory.mktemp("model") / "model.onnx", manifest(), (48, 64))


@pytest.fixture(scope="session")
def model(model_file: Path) -> Model:
    return Model(model_file, threads=1)
