"""float16's loss scale: an overflow is no fault, nothing of it stays, and the balancers never see the scale."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import test_distributed as two
import torch
from processes import InProcesses
from test_run import arguments, history
from torch import Tensor

from mtl_vision.engine import distributed, loss_scale
from mtl_vision.engine.cli import main
from mtl_vision.engine.loop import Trainer
from mtl_vision.engine.loss_scale import LossScale
from mtl_vision.engine.nonfinite import NonFiniteError

CPU = torch.device("cpu")
SHORT = ("--run.precision=fp16", "--run.tensorboard=false", "--model.backbone=test_resnet", "--train.accumulate=2")
LARGEST = 1e4  # what the network below holds


def limited(gradient: Tensor) -> Tensor:
    """What a type with a smaller range would make of it."""
    return gradient.where(gradient.abs() <= LARGEST, math.inf)


def limit(module: Any, inputs: Any, levels: list[Tensor]) -> None:
    for level in levels:
        if level.requires_grad:
            level.register_hook(limited)


def trainer(name: str = "GradNorm", **more: Any) -> Trainer:
    """In float64, with a scale, and gradients in the trunk that overflow as float16's do."""
    made = two.make(name, **more)
    made.loss_scale = LossScale(CPU)
    made.model.backbone.register_forward_hook(limit)
    return made


def batches(step: int) -> list:
    return [two.batch(step, micro, distributed.rank(), distributed.world()) for micro in range(two.MICRO)]


def state(made: Trainer) -> list[Tensor]:
    return [value.detach().clone() for value in [*made.model.state_dict().values(), *made.balancer.parameters()]]


def trained(name: str = "GradNorm", **more: Any) -> tuple[list[Tensor], int, float]:
    """Parameters, buffers, weights after five steps; how often the scale was lowered; the scale."""
    made = trainer(name, clip=1.0, **more)
    for step in range(two.STEPS):
        made.step(batches(step))
    assert made.loss_scale is not None
    return state(made), made.loss_scale.lowered, made.loss_scale.value().item()


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", ["GradNorm", "RLW", "UPGrad", "FAMO"])
def test_a_scale_that_was_too_high_leaves_no_trace(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run equals one that began with the scale to which it came, to the bit: weights, batch norm, draws."""
    if name not in two.NAMES:
        pytest.skip("TorchJD is not installed")
    monkeypatch.setattr(loss_scale, "INITIAL", 2.0**60)
    high, lowered, value = trained(name)
    assert lowered > 10 and value < 2.0**50
    monkeypatch.setattr(loss_scale, "INITIAL", value)
    low, never, same = trained(name)
    assert (never, same) == (0, value) and equal(high, low)


def test_it_grows_as_torchs_does(monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer()
    assert made.loss_scale is not None
    made.loss_scale.scaler.set_growth_interval(3)
    values = []
    for step in range(4):
        made.step(batches(step % 2))
        values.append(made.loss_scale.value().item())
    assert values == [2.0**16, 2.0**16, 2.0**17, 2.0**17]


@pytest.mark.parametrize("mode", ["stop", "skip"])
def test_a_loss_that_is_none_is_a_fault_whatever_the_scale(mode: Any) -> None:
    made = trainer(on_nonfinite=mode)
    assert made.loss_scale is not None
    made.step(batches(0))
    before, bad = state(made), batches(1)
    bad[1].targets["depth"][0, 0, 0, 0] = math.inf
    if mode == "stop":
        with pytest.raises(NonFiniteError, match="the loss of task 'depth' is (inf|nan) at step 1"):
            made.step(bad)
    else:
        made.step(bad)
        assert made.skipped.total == 1
        made.step(batches(1))  # goes on
    assert made.loss_scale.lowered == 0 and made.loss_scale.value() == 2.0**16
    assert mode == "skip" or equal(before, state(made))


def test_what_overflows_without_a_scale_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried down to the lowest scale; the next step has the scale that was there before."""
    made = trainer(on_nonfinite="skip")
    assert made.loss_scale is not None
    made.step(batches(0))
    before = made.loss_scale.scaler.state_dict()
    monkeypatch.setattr(f"{__name__}.LARGEST", 0.0)
    said: list[str] = []
    real = Trainer._leave_out
    monkeypatch.setattr(Trainer, "_leave_out", lambda self, *a: (real(self, *a), said.append(a[0])))
    made.step(batches(1))
    assert made.skipped.total == 1 and made.loss_scale.lowered == 16 and "is not finite at step 1" in said[0]
    assert made.loss_scale.scaler.state_dict() == before
    made.on_nonfinite = "stop"
    with pytest.raises(NonFiniteError, match=r"gradient of .* at step 2 \(float16, with the lowest loss scale, 1: "):
        made.step(batches(2))


def test_a_step_without_any_task() -> None:
    made = trainer()
    empty = batches(0)
    for batch in empty:
        batch.present = frozenset()
    assert made.step(empty) == {}
    made.step(batches(0))


def both() -> tuple[list[Tensor], int, float]:
    loss_scale.INITIAL = 2.0**40
    return trained()


@pytest.mark.slow
def test_processes_agree(in_processes: InProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them overflows: all lower the scale, and come to the same."""
    (first, *counts), (second, *others) = in_processes(both, 2, tmp_path)
    assert counts == others and counts[0] > 1
    assert equal(first, second)
    monkeypatch.setattr(loss_scale, "INITIAL", counts[1])
    alone = trained()[0]
    for a, b in zip(first, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_a_run_in_float16(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the CPU: an overflow at the first step does not stop it, and a resumed run equals an unbroken one."""
    monkeypatch.setattr(loss_scale, "INITIAL", 2.0**30)
    assert main(arguments(rooms, tmp_path, "a", *SHORT)) == 0
    assert "steps done again with a lower loss scale, since float16 had overflowed: " in capsys.readouterr().out
    kept = torch.load(tmp_path / "runs/a/checkpoint.pt", weights_only=True)["loss_scale"]
    assert kept["lowered"] > 3 and kept["scaler"]["_growth_tracker"] > 0
    real = Trainer.epoch

    def epoch(self: Trainer, *args: Any) -> None:
        if self.epochs == 1:
            raise KeyboardInterrupt
        real(self, *args)

    monkeypatch.setattr(Trainer, "epoch", epoch)
    assert main(arguments(rooms, tmp_path, "b", *SHORT)) != 0
    monkeypatch.setattr(Trainer, "epoch", real)
    assert main([f"--run.dir={tmp_path / 'runs'}", "--run.name=b", "--run.resume"]) == 0
    assert history(tmp_path / "runs/a") == history(tmp_path / "runs/b")
    assert torch.load(tmp_path / "runs/b/checkpoint.pt", weights_only=True)["loss_scale"] == kept
