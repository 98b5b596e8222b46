"""CONTRIBUTING.md says how many files each addition touches: here each is made, in a copy of the package, and used."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]

TASK = """
from mtl_vision.datasets.targets import Target, register
from mtl_vision.tasks.depth import Depth


def nearness(sample):
    return 1 / sample.targets["depth"].clip(0.1)


register(Target("nearness", "scalar_map", derive=nearness, needs=("depth",)))


class Nearness(Depth):
    name = "nearness"
"""
LOSS = '''

class Capped(DepthLoss):
    """mean min(|d - d*|, limit).

    Args:
        limit: metres
    """

    def __init__(self, limit: float = 1.0) -> None:
        self.limit = limit

    def __call__(self, prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        return masked_mean((prediction - target).abs().clamp(max=self.limit), valid)
'''
DECODER = '''
from mtl_vision.models.decoder import Fusion


class Plain(Fusion):
    """As Fusion."""
'''
BALANCER = '''
from mtl_vision.balancers.base import Balancer


class Halves(Balancer):
    """w_i = factor.

    Args:
        factor: of all losses
    """

    def __init__(self, tasks, factor: float = 0.5) -> None:
        super().__init__(tasks)
        self.weight.fill_(factor)
'''
LAYOUT = """\
signs: [train/photos/*.png, train/metres/*.npy]
source: a test
image: photos
depth: {folder: metres, scale: 1}
"""


def write(path: Path, text: str) -> None:
    path.write_text((path.read_text() if path.exists() else "") + text)


def add(kind: str, package: Path) -> None:
    """What CONTRIBUTING.md says, done."""
    if kind == "a task":
        write(package / "tasks/nearness.py", TASK)
        register = '\nfrom mtl_vision.tasks.nearness import Nearness\n\nTASKS["nearness"] = Nearness\n'
        write(package / "tasks/__init__.py", register)
    elif kind == "a loss":
        write(package / "tasks/depth.py", LOSS)
    elif kind == "a decoder":
        write(package / "models/plain.py", DECODER)
        write(package / "models/__init__.py", "\nfrom mtl_vision.models.plain import Plain\n")
    elif kind == "a balancer":
        write(package / "balancers/halves.py", BALANCER)
        register = '\nfrom mtl_vision.balancers.halves import Halves\n\nBALANCERS["Halves"] = Halves\n'
        write(package / "balancers/__init__.py", register)
    else:
        write(package / "datasets/layouts/mine.yaml", LAYOUT)


USES = {
    "a task": ["--tasks.names=[nearness, normals]"],
    "a loss": ["--tasks.depth.loss=Capped", "--tasks.depth.loss.limit=0.5"],
    "a decoder": ["--model.decoder=Plain", "--model.decoder.width=32"],
    "a balancer": ["--balancer=Halves", "--balancer.factor=0.25"],
    "a data layout": ["--data.description=mine", "--tasks.names=[depth]"],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", USES)
def test_adding_one_touches_as_many_files_as_the_guide_says(
    kind: str, rooms: Path, python: str, tmp_path: Path
) -> None:
    package = tmp_path / "mtl_vision"
    shutil.copytree(REPO / "mtl_vision", package, ignore=shutil.ignore_patterns("__pycache__"))
    before = {path: path.read_bytes() for path in package.rglob("*") if path.is_file()}
    add(kind, package)
    touched = [path for path in package.rglob("*") if path.is_file() and before.get(path) != path.read_bytes()]
    guide = (REPO / "CONTRIBUTING.md").read_text()
    assert len(touched) == int(re.search(rf"\*\*{kind}\*\* \((\d) files?\)", guide)[1])  # type: ignore[index]

    data = tmp_path / "data"
    shutil.copytree(rooms, data)
    if kind == "a data layout":
        (data / "dataset.yaml").unlink()
        for split in ("train", "val", "test"):
            (data / split / "rgb").rename(data / split / "photos")
            convert(data / split)
    options = [
        f"--data.root={data}", "--data.size=[48, 64]", "--data.workers=0", "--data.cache=null", "--train.epochs=1",
        "--run.device=cpu", "--run.tensorboard=false", "--run.name=added",
    ]  # fmt: skip
    command = [python, "-m", "mtl_vision.engine.cli", *options, *USES[kind]]
    env = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "runs/added/metrics.json").exists()


def convert(split: Path) -> None:
    """Depth of 16-bit millimetres as .npy metres."""
    import cv2
    import numpy as np

    (split / "metres").mkdir()
    for path in (split / "depth").glob("*.png"):
        np.save(split / "metres" / f"{path.stem}.npy", cv2.imread(str(path), -1).astype(np.float32) / 1000)
