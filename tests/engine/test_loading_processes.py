"""How many loading processes a run takes when none are set."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.recognise import describe
from mtl_vision.engine import build, distributed
from mtl_vision.loading.cache import PackedDataset
from mtl_vision.loading.loader import Samples


@pytest.fixture(params=["packed", "decoded"])
def samples(request: pytest.FixtureRequest, rooms: Path, tmp_path: Path) -> Samples:
    source = FolderDataset(rooms, "train", describe(rooms), "nyu13")
    return PackedDataset(source, tmp_path / "cache") if request.param == "packed" else source


@pytest.mark.parametrize(
    "cores, processes, device, packed, decoded",
    [
        (1, 1, "cpu", 0, 1),
        (2, 1, "cpu", 0, 1),
        (3, 1, "cpu", 1, 1),
        (16, 1, "cpu", 1, 1),
        (4, 2, "cpu", 0, 1),
        (2, 1, "cuda", 2, 2),
        (16, 1, "cuda", 8, 8),
        (16, 4, "cuda", 4, 4),
        (2, 4, "cuda", 1, 1),
    ],
)
def test_by_cores_and_device(
    monkeypatch: pytest.MonkeyPatch,
    samples: Samples,
    cores: int,
    processes: int,
    device: str,
    packed: int,
    decoded: int,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setattr(distributed, "world", lambda: processes)
    expected = packed if isinstance(samples, PackedDataset) else decoded
    assert build.loading_processes(samples, torch.device(device)) == expected
