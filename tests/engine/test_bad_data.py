"""What a run says of data that are wrong, and how it goes on without them where it is told to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_run import arguments, history

from mtl_vision.datasets import DataError
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.splits import find_faults, readable_part
from mtl_vision.engine.cli import main

SHORT = ("--train.epochs=1", "--run.tensorboard=false", "--balancer=Equal")


@pytest.fixture
def copy(rooms: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(rooms, tmp_path / "rooms"))


def nth(root: Path, folder: str, index: int, split: str = "train") -> Path:
    return sorted((root / split / folder).iterdir())[index]


def empty(root: Path) -> Path:
    path = nth(root, "rgb", 2)
    path.write_bytes(b"")
    return path


def half_a_file(root: Path) -> Path:
    path = nth(root, "normals", 3)
    path.write_bytes(path.read_bytes()[:200])
    return path


def label_out_of_range(root: Path) -> Path:
    path = nth(root, "label", 4)
    cv2.imwrite(str(path), np.full((48, 64), 13, np.uint8))
    return path


def depth_of_another_size(root: Path) -> Path:
    path = nth(root, "depth", 5)
    cv2.imwrite(str(path), np.full((24, 32), 2000, np.uint16))
    return path


WRONG: dict[Callable[[Path], Path], str] = {
    empty: "the file is empty",
    half_a_file: "the file is truncated, or damaged",
    label_out_of_range: "label 13 is not a class: expected 0..12, or 255 for void",
    depth_of_another_size: "is 24x32 (HxW), its image",
}


@pytest.mark.parametrize("cache", ["cache", None])
@pytest.mark.parametrize("damage", WRONG, ids=lambda damage: damage.__name__)
def test_a_bad_sample_stops_the_run_and_is_named(
    damage: Callable[[Path], Path], cache: str | None, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = damage(copy)
    more = [] if cache else ["--data.cache=null", "--data.workers=1"]
    assert main(arguments(copy, tmp_path, "a", *SHORT, *more)) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith(f"mtl-train: {path}") and WRONG[damage] in message
    assert not (tmp_path / "runs/a/metrics.json").exists()


def test_skipped_samples_are_counted_and_named(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    bad = [damage(copy) for damage in WRONG]
    nth(copy, "rgb", 0, "test").write_bytes(b"no picture")
    assert main(arguments(copy, tmp_path, "a", *SHORT, "--data.on_error=skip", "--data.batch_size=5")) == 0
    said = capsys.readouterr().out
    assert "4 of 24 samples of 'train' cannot be read and are skipped" in said
    assert all(str(path) in said and message in said for path, message in zip(bad, WRONG.values(), strict=True))
    assert "1 of 3 samples of 'test'" in said and "2 images of 'test' (1 left out)" in said
    assert len(history(tmp_path / "runs/a")) == 4, "20 samples by 5"
    metrics = json.loads((tmp_path / "runs/a/metrics.json").read_text())
    assert metrics["protocol.samples"] == 2 and metrics["protocol.left_out"] == 1


def test_many_skipped_samples_are_not_all_named(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for index in range(12):
        nth(copy, "rgb", index).write_bytes(b"")
    assert main(arguments(copy, tmp_path, "a", *SHORT, "--data.on_error=skip")) == 0
    said = capsys.readouterr().out
    assert said.count("the file is empty") == 5 and "and 7 more: mtl-data check" in said


def test_sound_data_are_not_spoken_of(rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(arguments(rooms, tmp_path, "a", *SHORT, "--data.on_error=skip")) == 0
    said = capsys.readouterr().out
    assert "skipped" not in said and "left out" not in said


def test_nothing_left_to_train_on(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for path in (copy / "train/rgb").iterdir():
        path.write_bytes(b"")
    assert main(arguments(copy, tmp_path, "a", *SHORT, "--data.on_error=skip")) == 1
    assert "none of the 24 samples of split 'train' can be read: " in capsys.readouterr().err


def test_an_empty_split(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for path in (copy / "train/rgb").iterdir():
        path.unlink()
    assert main(arguments(copy, tmp_path, "a", *SHORT)) == 1
    assert f"no images for split 'train': expected {copy}/train/rgb/*.png" in capsys.readouterr().err


def test_an_unknown_choice(rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(arguments(rooms, tmp_path, "a", *SHORT, "--data.on_error=ignore")) == 2
    assert "data.on_error: expected 'stop', 'skip', found ignore" in capsys.readouterr().err


@pytest.mark.parametrize("threads", [1, 3])
def test_every_fault_is_found(copy: Path, threads: int):
    bad = {path.stem: path for path in (damage(copy) for damage in WRONG)}
    source = FolderDataset(copy, "train")
    faults = find_faults(source, threads)
    assert list(faults) == sorted(bad) and all(str(bad[stem]) in message for stem, message in faults.items())
    part = readable_part(source)
    assert part.faults == faults and part.stems == [stem for stem in source.stems if stem not in bad]
    assert part.left_out == 4 and source.left_out == 0 and len(source) == 24


def test_no_sample_left(copy: Path):
    for path in (copy / "test/depth").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="none of the 3 samples of split 'test' can be read"):
        readable_part(FolderDataset(copy, "test"))
