"""Losses over the epochs, from what runs leave."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import pytest

from studies import curves


def make_run(folder: Path, tasks: Sequence[str] = ("depth", "normals"), measured: bool = True) -> Path:
    """Three epochs of two steps: training losses 4, 2 | 2, 1 | 1, 0.5; measured 1.0, 0.5 and at the end 0.75."""
    folder.mkdir()
    lines: list[dict[str, object]] = []
    for step, loss in enumerate((4, 2, 2, 1, 1, 0.5)):
        lines.append({"step": step, "epoch": step // 2, "loss": dict.fromkeys(tasks, loss)})
        if measured and step in (1, 3):
            found = {f"{task}.loss": 1.0 if step == 1 else 0.5 for task in tasks}
            lines.append({"step": step, "metrics": found | {"depth.rmse": 9.0}})
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "metrics.json").write_text(json.dumps({f"{task}.loss": 0.75 for task in tasks} | {"depth.rmse": 9.0}))
    return folder


def test_figures_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = (make_run(tmp_path / name) for name in "ab")
    assert curves.main([str(a), str(b), "--out", str(tmp_path / "curves.png")]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    values = {"best": 0.5, "epoch": 2, "last": 0.75, "train": 0.75}
    assert figures == {
        f"{run}.{task}.{k}": v for run in "ab" for task in ("depth", "normals") for k, v in values.items()
    }
    found = curves.read(a)
    assert found.trained["depth"] == {1: 3, 2: 1.5, 3: 0.75}
    assert found.measured["depth"] == {1: 1.0, 2: 0.5, 3: 0.75}
    picture = cv2.imread(str(tmp_path / "curves.png"))
    assert picture is not None and picture.shape[1] > picture.shape[0]


def test_an_unfinished_run(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a")
    (folder / "metrics.json").unlink()
    assert curves.read(folder).measured["depth"] == {1: 1.0, 2: 0.5}


def test_what_cannot_be_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, other = make_run(tmp_path / "a"), make_run(tmp_path / "b", ["depth"])
    plain = make_run(tmp_path / "plain", measured=False)
    for words, said in (
        ([plain], "was not measured between its epochs: train it with --train.eval_every N"),
        ([run, other], "b has losses of depth, a of depth, normals: no comparison"),
        ([tmp_path / "none"], "is no run directory"),
    ):
        assert curves.main([*map(str, words), "--out", str(tmp_path / "curves.png")]) == 1
        assert said in capsys.readouterr().err
    assert not (tmp_path / "curves.png").exists()
