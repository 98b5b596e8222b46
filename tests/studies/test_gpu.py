"""studies/gpu.py without a GPU: what it would call is taken by the scripts that it calls."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

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
            (out / run.name).mkdir(parents=True)
            (out / run.name / "metrics.json").write_text(json.dumps(dict.fromkeys(gpu.KEYS, 2.0)))

    monkeypatch.setattr(gpu, "call", call)
    monkeypatch.setattr(gpu, "run_all", run_all)
    arguments = ["gpu.py", str(tmp_path / "data"), "--out", str(tmp_path / "out"), *(["--quick"] * quick)]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.chdir(gpu.REPOSITORY)
    assert gpu.main() == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["gradnorm.depth.rmse"] == 2 and figures["alpha.figure"] == 1
    scripts = [words[0] for words in calls]
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
