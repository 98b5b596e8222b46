"""What a training says on the way."""

from __future__ import annotations

import re

import pytest

from mtl_vision.engine import progress
from mtl_vision.engine.progress import Progress


def record(step: int, loss: float) -> dict:
    return {"step": step, "loss": {"depth": loss}, "weight": {"depth": 0.5}}


def test_one_line_an_epoch_and_no_bar_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1, 20, 500, shown=True) as told:
        for step in range(500):
            told.step(record(step, float(step % 3) if step else float("nan")))
    told.done()
    out, err = capsys.readouterr()
    assert err == ""
    assert re.fullmatch(r"epoch 2/20: loss depth 1\.00\d \(w 0\.50\)  0 s, \d+ s left\n", out)


def test_a_long_epoch_says_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress(0, 1, 500, shown=True) as told:
        for step in range(500):
            now[0] += 0.5
            told.step(record(step, 1.0))
    told.done()
    out, err = capsys.readouterr()
    assert err.splitlines() == [f"epoch 1/1: {n}/500 steps, 2.0 steps/s" for n in (120, 240, 360, 480)]
    assert out == "epoch 1/1: loss depth 1.000 (w 0.50)  4 min\n"


def test_other_processes_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(0, 1, 1, shown=False) as told:
        told.step(record(0, 1.0))
    told.done()
    assert capsys.readouterr() == ("", "")
