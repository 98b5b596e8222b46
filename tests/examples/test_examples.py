"""Every example runs as its first lines say, and what it prints is what it promises."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("script", "falls"), [("own_loop", "small"), ("torchvision_model", "category")])
def test_it_trains(script: str, falls: str, python: str, tmp_path: Path) -> None:
    """The loss of a task falls to less than half, and the weights move."""
    path = str(ROOT / "examples" / f"{script}.py")
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([python, path], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = re.findall(rf"{falls} ([\d.]+) \(w ([\d.]+)\)", done.stdout)
    losses, weights = ([float(value) for value in column] for column in zip(*found, strict=True))
    assert losses[-1] < losses[0] / 2
    assert max(weights) - min(weights) > 0.01
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_task_of_ones_own_trains_exports_and_infers(rooms: Path, python: str, tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def run(*command: str) -> None:
        done = subprocess.run([python, *command], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]

    options = [f"--data.root={rooms}", "--data.size=[48, 64]", "--train.epochs=1", "--run.name=own"]
    run(str(ROOT / "train.py"), f"--config={ROOT / 'examples' / 'own_task.yaml'}", *options)
    metrics = json.loads((tmp_path / "runs/own/metrics.json").read_text())
    assert 0 < metrics["boundaries.f_measure"] <= 1 and metrics["depth.rmse"] > 0
    history = [json.loads(line) for line in (tmp_path / "runs/own/history.jsonl").read_text().splitlines()]
    assert set(history[-1]["weight"]) == {"depth", "normals", "segmentation", "boundaries"}
    run("-m", "mtl_vision.export.cli", "runs/own")
    run(str(ROOT / "infer.py"), "runs/own/model.onnx", str(rooms / "test/rgb"), "--out", "out", "--raw")
    probability = np.load(next((tmp_path / "out").glob("*.npz")))["boundaries"]
    assert probability.shape == (48, 64) and 0 <= probability.min() <= probability.max() <= 1
    assert next((tmp_path / "out").glob("*.boundaries.png")).stat().st_size > 0
