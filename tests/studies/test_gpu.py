"""studies/gpu.py without a GPU: what it would call is taken by the scripts that it calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import precision
from studies import common, gpu
from studies.schedule import Run


@pytest.mark.parametrize("quick", [False, True])
def test_every_part_calls_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, quick: bool) -> None:
    calls: list[tuple[str, ...]] = []

    def call(*arguments: str) -> dict[str, float]:
        calls.append(arguments)
        return {"figure": 1.0}

    def run_all(runs: list[Run], config: Path, out: Path, extra: list[str]) -> None:
        assert config.is_file()
        for run in runs:
            (out / run.name).mkdir(parents=True, exist_ok=True)
            (out / run.name / "metrics.json").write_text(json.dumps(dict.fromkeys(gpu.KEYS, 2.0)))

    monkeypatch.setattr(gpu, "call", call)
    monkeypatch.setattr(gpu, "run_all", run_all)
    arguments = ["gpu.py", str(tmp_path / "data"), "--out", str(tmp_path / "out"), *(["--quick"] * quick)]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.chdir(gpu.REPOSITORY)
    assert gpu.main() == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["gradnorm.depth.rmse"] == 2 and figures["alpha.figure"] == 1 and figures["step.figure"] == 1
    scripts = [words[0] for words in calls]
    assert scripts.count("benchmarks/precision.py") == (2 if quick else 6)
    assert {words[-1] for words in calls if words[0] == "benchmarks/precision.py"} <= set(precision.WAYS)
    assert [s for s in scripts if s.startswith("studies/")] == [
        "studies/compare.py", "studies/alpha.py", "studies/static_search.py",
    ]  # fmt: skip
    for script, *words in (words for words in calls if words[0].endswith(".py")):
        assert (gpu.REPOSITORY / script).is_file()
        if script.startswith("studies/"):
            mine, extra = common.split_options(words)
            args, rest = common.make_parser("").parse_known_args(mine)
            assert args.quick == quick and "--pretrained" not in rest
            common.open_study(args, extra, "")  # the recipe takes the options
    before = len(calls)
    assert gpu.main() == 0  # a second call: what is there is not timed again
    assert not [words for words in calls[before:] if words[0].startswith("benchmarks/")]


@pytest.mark.slow
def test_steps_are_timed_here(rooms: Path, python: str, tmp_path: Path) -> None:
    """On the CPU, in quick: the scripts take what they are given, and their figures are kept."""
    arguments = ["--device=cpu", "--quick", "--only", "step", "loop", "--out", str(tmp_path / "out")]
    command = [python, str(gpu.REPOSITORY / "studies/gpu.py"), str(rooms), *arguments]
    env = os.environ | {"PYTHONPATH": str(gpu.REPOSITORY)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    expected = {f"step.gradnorm_ratio.{way}" for way in gpu.QUICK} | {"loop_ratio.1", "loop_ratio.1.gradnorm"}
    assert expected <= set(figures) and min(figures.values()) > 0
