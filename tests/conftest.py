"""What the whole suite shares: one thread a test process, and a small set of rooms."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tests run side by side: each keeps to one core."""
    if importlib.util.find_spec("torch"):  # the runtime's tests run without it too
        import torch

        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A canonical folder of 30 rooms at 48x64: 24 train, 3 val, 3 test."""
    from mtl_vision.synthetic.dataset import write_rooms

    root = tmp_path_factory.mktemp("data") / "rooms"
    write_rooms(root, 30, (48, 64), workers=1)
    return root
