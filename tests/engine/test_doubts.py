"""Training says at its start what is most likely misread and what is not read, by its first process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from test_run import arguments

from mtl_vision.config import DataConfig
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.engine import build, distributed
from mtl_vision.engine.cli import main

SHORT = ("--train.epochs=1", "--run.tensorboard=false", "--balancer=Equal")


@pytest.fixture
def misread(rooms: Path, tmp_path: Path) -> Path:
    """Rooms whose normals are described in another frame, and a folder that nothing describes."""
    root = Path(shutil.copytree(rooms, tmp_path / "misread"))
    described = (root / "dataset.yaml").read_text()
    assert "axes: [x, y, z]" in described
    (root / "dataset.yaml").write_text(described.replace("axes: [x, y, z]", "axes: [z, y, x]"))
    shutil.copytree(root / "train/label", root / "train/parts")
    return root


def warnings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("WARNING")]


@pytest.mark.parametrize("cache", [None, "cache"])
def test_a_training(misread: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: str | None):
    where = "null" if cache is None else str(tmp_path / cache)
    assert main(arguments(misread, tmp_path, "a", *SHORT, f"--data.cache={where}")) == 0
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("WARNING")]
    assert [line.split()[1] for line in lines] == ["train:", "test:"]
    assert all("set `normals.axes: [x, y, z]`, now [z, y, x]" in line for line in lines)
    assert said.out.count("note       there, but not read: parts\n") == 1


def test_nothing_of_a_good_set(rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(arguments(rooms, tmp_path, "a", *SHORT, "--data.cache=null")) == 0
    said = capsys.readouterr()
    assert "WARNING" not in said.err and "note" not in said.out


def test_each_time_also_where_the_copy_is_there(misread: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = FolderDataset(misread, "train")
    for cache in (str(tmp_path / "cache"), str(tmp_path / "cache"), None):
        build.packed(DataConfig(cache=cache), source)
        assert len(warnings(capsys)) == 1


def test_by_the_first_process_alone(
    misread: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    source, cache = FolderDataset(misread, "train"), str(tmp_path / "cache")
    build.packed(DataConfig(cache=cache), source)
    capsys.readouterr()
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    for place in (cache, None):
        build.packed(DataConfig(cache=place), source)
    assert warnings(capsys) == []
