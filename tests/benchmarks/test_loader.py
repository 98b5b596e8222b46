"""The loader's benchmark runs and says its figures; LibMTL's data set comes from the file that is named."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PEER = """
import numpy as np, torch
class NYUv2(torch.utils.data.Dataset):
    def __init__(self, root, mode, augmentation):
        self.root = f"{root}/{mode}"
    def __len__(self):
        return 8
    def __getitem__(self, i):
        maps = {name: np.load(f"{self.root}/{name}/{i}.npy") for name in ("image", "label", "depth", "normal")}
        assert {name: (a.shape, a.dtype.name) for name, a in maps.items()} == {
            "image": ((48, 64, 3), "float32"), "label": ((48, 64), "float32"),
            "depth": ((48, 64, 1), "float32"), "normal": ((48, 64, 3), "float32"),
        }
        return maps["image"], maps
"""


@pytest.mark.slow
def test_quick_run_gives_all_figures(python: str, tmp_path: Path) -> None:
    (tmp_path / "create_dataset.py").write_text(PEER)
    command = [python, ROOT / "benchmarks/loader.py", "--quick", "--size", "48x64"]
    done = subprocess.run(
        [*command, "--libmtl-dataset", tmp_path / "create_dataset.py"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    wanted = {"limit_ratio", "libmtl_ratio", "training_rate_ratio"}
    assert wanted <= set(figures) <= wanted | {"memory_growth_mb"}
    assert all(figures[name] > 0 for name in wanted)
