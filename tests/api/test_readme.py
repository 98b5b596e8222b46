"""Every line of Python in the README runs, in order, in one process."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

REPO = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(REPO / "configs", "configs")
    image = np.random.default_rng(0).integers(0, 255, (90, 160, 3), np.uint8)
    cv2.imwrite("photo.jpg", image)
    section = (REPO / "README.md").read_text().split("## Python\n")[1].split("\n## ")[0]
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        if "runtime import Model" in block:
            assert names["maps"]["depth"].shape == (90, 160)
        exec(compile(block, "README.md", "exec"), names)
    assert names["maps"]["segmentation"].shape == (90, 160) and len(names["many"]) == 2
    assert names["overview"].dtype == np.uint8 and names["overview"].shape[2] == 3
    weight = names["balancer"].weight
    assert float(weight.sum()) == pytest.approx(2, abs=1e-5) and weight[1] < weight[0]  # b's gradient is far larger
