"""What the whole suite shares: one thread a test process, and a small set of rooms."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """How much hostile input is made; another seed makes other input."""
    parser.addoption("--hostile", type=int, default=10_000, metavar="N", help="hostile inputs to try (10,000)")
    parser.addoption("--hostile-seed", type=int, default=0, metavar="N", help="which ones (0)")


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
