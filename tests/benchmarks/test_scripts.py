"""The benchmarks run, and end with their figures as JSON."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "key"),
    [
        (["gradnorm_step.py", "--backbone=test_resnet", "--size=96x128"], "time_ratio.gradnorm"),
        (["multitask_vs_single.py", "--backbone=test_resnet", "--size=96x128"], "throughput_ratio"),
        (["processes.py", "--size=48x64"], "two_process_ratio"),
        (["ema.py", "--backbone=test_resnet", "--size=48x64"], "time_ratio.ema"),
        (["training.py", "--backbone=test_resnet", "--size=48x64", "--only", "loop", "bf16"], "loop_ratio"),
        (["graph.py", "--backbone=test_resnet"], "test_resnet_13.both"),
        (["report.py", "--size=48x64"], "page"),
        (["int8.py", "--backbone=test_resnet", "--size=64x96", "--threads=1"], "int8_ratio.test_resnet"),
        (["rooms.py", "--size=48x64", "--rooms=100"], "step_ratio.workers1"),
        (
            [
                "runtime.py",
                "--backbone=test_resnet",
                "--size=64x96",
                "--photo=96x128",
                "--only",
                "whole",
                "first",
                "slope",
            ],
            "pipeline_limit_ratio",
        ),
        (["balancers.py", "--backbone=test_resnet", "--size=96x128", "--only", "gradnorm"], "time_ratio.gradnorm"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_benchmark_prints_its_figures(script: list[str], key: str, python: str, tmp_path: Path) -> None:
    command = [python, str(REPO / "benchmarks" / script[0]), "--quick", *script[1:]]
    env = os.environ | {"PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1])[key] > 0
