"""Training on data as they lie: known layouts in place, and samples that lack targets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from layouts import lay_out
from layouts import rooms as small_rooms
from test_run import arguments, history

from mtl_vision.engine.cli import main

SHORT = ("--train.epochs=1", "--run.tensorboard=false", "--data.batch_size=2", "--balancer=Equal")


@pytest.mark.parametrize(
    ("layout", "tasks"),
    [
        ("mtan", "depth,normals,segmentation"),
        ("esanet", "depth,normals,segmentation"),
        ("nyud_mt", "depth,normals,segmentation"),
        ("dump8", "depth,normals,segmentation"),
        ("bts", "depth,normals"),
    ],
)
def test_a_known_layout_is_trained_on_where_it_lies(
    layout: str, tasks: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = tmp_path / layout
    root.mkdir()
    lay_out(layout, root, small_rooms())
    assert main(arguments(root, tmp_path, "a", *SHORT, f"--tasks.names=[{tasks}]")) == 0
    assert "4 to train on, 3 (" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "runs/a/metrics.json").read_text())
    assert metrics["protocol.samples"] == 3 and {name.split(".")[0] for name in metrics} >= set(tasks.split(","))
    assert len(history(tmp_path / "runs/a")) == 2


def test_frames_of_ones_own_are_measured_on_a_part_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = tmp_path / "tum"
    root.mkdir()
    lay_out("tum", root, small_rooms())
    tasks = "--tasks.names=[depth]"
    assert main(arguments(root, tmp_path, "a", *SHORT, tasks)) == 1
    said = capsys.readouterr().err
    assert "has neither test nor val to measure: hold out a part of the training split (holdout 1" in said
    held = ("--data.holdout=2", "--data.eval_split=holdout", "--data.on_error=skip")
    assert main(arguments(root, tmp_path, "a", *SHORT, tasks, *held)) == 0
    assert "5 to train on, 2 (holdout) to measure" in capsys.readouterr().out
    assert json.loads((tmp_path / "runs/a/metrics.json").read_text())["protocol.normals"] == "none"


def test_a_task_trains_on_the_samples_that_have_its_truth(tmp_path: Path):
    """One sample in four has depth, another normals, a third labels; every task still takes its part."""
    root = tmp_path / "mtan"
    root.mkdir()
    lay_out("mtan", root, small_rooms())
    for index, kept in enumerate(("depth", "normal", "label", "")):
        for folder in ("depth", "normal", "label"):
            if folder != kept:
                (root / f"train/{folder}/{index}.npy").unlink()
    more = ("--train.epochs=8", "--data.batch_size=1", "--run.tensorboard=false", "--data.augment=none")
    assert main(arguments(root, tmp_path, "a", *more)) == 0
    steps = [record["loss"] for record in history(tmp_path / "runs/a") if "loss" in record]
    assert len(steps) == 32
    trained = {name for losses in steps for name, loss in losses.items() if loss}
    assert trained == {"depth", "normals", "segmentation"}
