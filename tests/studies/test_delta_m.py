"""delta_m by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtl_vision.tasks import TASKS
from mtl_vision.tasks import figures as metric_figures
from studies.delta_m import delta_m, main


def test_delta_m_by_hand() -> None:
    """RMSE 10 % lower is +10, mIoU 5 % lower is -5: the mean is 2.5."""
    multi, single = {"rmse": 0.9, "miou": 38.0}, {"rmse": 1.0, "miou": 40.0}
    assert delta_m(multi, single, {"rmse": False, "miou": True}) == pytest.approx(2.5)


def test_delta_m_of_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = [key for key, figure in metric_figures(TASKS.values()).items() if figure.nine or key == "depth.rmse"]
    for name, share in (("multi", 2.0), ("single", 1.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(
            json.dumps(dict.fromkeys(keys, share) | {"protocol.crop": "none"})
        )
    assert main([str(tmp_path / "multi"), str(tmp_path / "single")]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    # everything doubled: +100 % where higher is better, -100 % elsewhere
    assert figures["delta_m.nine"] == pytest.approx(100 * (5 - 4) / 9)
    assert figures["delta_m.main"] == pytest.approx(100 * (1 - 2) / 3)
    assert main([str(tmp_path / "multi"), str(tmp_path)]) == 1
    assert "expected a finished run" in capsys.readouterr().err
