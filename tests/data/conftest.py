"""A set of rooms to break, for the tests of `check`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from data_testing import with_camera, write_folder

from mtl_vision.synthetic import render_room


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rooms that no test may change."""
    samples = [render_room(seed, (60, 80)) for seed in range(500, 508)]
    splits = {"train": samples[:6], "val": samples[6:7], "test": samples[7:]}
    return write_folder(tmp_path_factory.mktemp("good") / "rooms", splits, with_camera(samples[0]))


@pytest.fixture
def root(good: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(good, tmp_path / "rooms"))
