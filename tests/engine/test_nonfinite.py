"""Losses and gradients that are not finite: nothing is poisoned, nothing is lost, and what did it is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_run import arguments, history

from mtl_vision.engine import checkpoint, nonfinite
from mtl_vision.engine.cli import main
from mtl_vision.engine.loop import Trainer
from mtl_vision.engine.nonfinite import Skipped, expect_finite
from mtl_vision.engine.reproduce import main as reproduce
from mtl_vision.tasks.base import Task

SHORT = ("--train.epochs=2", "--run.tensorboard=false", "--data.workers=0")
STEPS = 3  # of an epoch


def loss_at(monkeypatch: pytest.MonkeyPatch, value: float, steps: Callable[[int], bool], task: str = "depth") -> None:
    """The task's loss is `value` in these steps."""
    real, count = Task.loss, {"n": 0}

    def loss(self: Task, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        found = real(self, prediction, target)
        if self.name == task:
            count["n"] += 1
            if steps(count["n"] - 1):
                return found * value
        return found

    monkeypatch.setattr(Task, "loss", loss)


def gradient_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """A gradient of the network is infinite in that step, with finite losses."""
    real = Trainer._backward

    def backward(self: Trainer, *args: Any) -> Any:
        losses = real(self, *args)
        if self.steps == step:
            next(self.model.parameters()).grad.fill_(float("inf"))  # type: ignore[union-attr]
        return losses

    monkeypatch.setattr(Trainer, "_backward", backward)


@pytest.mark.parametrize("balancer", ["GradNorm", "Equal", "Uncertainty"])
def test_a_loss_that_is_none_stops_the_run_and_names_task_and_step(
    balancer: str, rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loss_at(monkeypatch, float("nan"), lambda n: n == STEPS + 1)
    assert main(arguments(rooms, tmp_path, "a", *SHORT, f"--balancer={balancer}")) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"task 'depth' is nan at step {STEPS + 1}: lower train.lr" in message
    run = tmp_path / "runs/a"
    assert str(run / "nonfinite.pt") in message
    assert [record["step"] for record in history(run)] == list(range(STEPS + 1))  # all before it
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    assert state["epoch"] == 1 and all(t.isfinite().all() for t in state["model"].values())
    assert not (run / "metrics.json").exists()


def test_an_infinite_gradient_at_the_last_step_leaves_the_only_checkpoint_good(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gradient_at(monkeypatch, 2 * STEPS - 1)
    assert main(arguments(rooms, tmp_path, "a", *SHORT)) == 1
    said = capsys.readouterr().err
    assert "the gradient of backbone" in said and f"is not finite at step {2 * STEPS - 1}" in said
    monkeypatch.undo()
    assert main([f"--run.dir={tmp_path / 'runs'}", "--run.name=a", "--run.resume"]) == 0
    assert main(arguments(rooms, tmp_path, "b", *SHORT)) == 0
    assert history(tmp_path / "runs/a") == history(tmp_path / "runs/b")


def test_skipped_steps_change_nothing(rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, batch norm and the balancer after a skipped step are those before it."""
    seen: list[dict[str, Any]] = []
    real = Trainer.step

    def step(self: Trainer, batches: list) -> Any:
        before = {k: {n: t.clone() for n, t in getattr(self, k).state_dict().items() if torch.is_tensor(t)}
                  for k in ("model", "balancer")}  # fmt: skip
        losses = real(self, batches)
        after = {k: getattr(self, k).state_dict() for k in before}
        seen.append({k: all(torch.equal(t, after[k][n]) for n, t in before[k].items()) for k in before})
        return losses

    monkeypatch.setattr(Trainer, "step", step)
    loss_at(monkeypatch, float("inf"), lambda n: n in (0, 4))
    assert main(arguments(rooms, tmp_path, "a", *SHORT, "--train.on_nonfinite=skip")) == 0
    assert [one["model"] for one in seen] == [True, False, False, False, True, False]
    assert seen[0]["balancer"] and seen[4]["balancer"] and not seen[1]["balancer"]
    records = [json.loads(line) for line in (tmp_path / "runs/a/history.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if record.get("skipped")] == [0, 4]
    assert records[4]["loss"]["depth"] is None
    assert ["weight" in record for record in records] == [False, True, True, True, False, True]  # none was applied
    state = torch.load(tmp_path / "runs/a/checkpoint.pt", weights_only=True)
    assert state["skipped"] == [2, 0] and state["steps"] == 2 * STEPS


def test_skipping_ends_after_many_in_a_row(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nonfinite, "IN_A_ROW", 3)
    loss_at(monkeypatch, float("nan"), lambda n: n >= 2)
    assert main(arguments(rooms, tmp_path, "a", *SHORT, "--train.on_nonfinite=skip")) == 1
    said = capsys.readouterr().err
    assert "at step 4; 3 steps in a row were left out: lower train.lr" in said and "on_nonfinite skip" not in said
    state = torch.load(tmp_path / "runs/a/checkpoint.pt", weights_only=True)
    assert state["steps"] == 3 and state["skipped"] == [1, 1]


def test_counts_of_skipped_steps() -> None:
    few = Skipped()
    assert [few.count(100) for _ in range(9)] == [None] * 9
    assert few.count(100) == "10 steps in a row were left out"
    many = Skipped(total=20)
    assert many.count(100) == "21 of 100 steps were left out"
    assert Skipped(total=20).count(1000) is None and Skipped(total=50).count(1000) == "51 of 1000 steps were left out"


def test_the_kept_step_reproduces_it(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its batch, weights and tasks are in the file: the same loss comes out, and the first layer that did it."""
    real = Trainer.step

    def step(self: Trainer, batches: list) -> Any:
        if self.steps == 2:
            weight = self.model.heads["normals"]  # a layer of one head that overflows
            with torch.no_grad():
                next(weight.parameters()).fill_(3e38)
        return real(self, batches)

    assert main(arguments(rooms, tmp_path, "good", *SHORT)) == 0
    assert reproduce([str(tmp_path / "runs/good")]) == 1
    assert "expected a run that stopped at a step that was not finite" in capsys.readouterr().err
    monkeypatch.setattr(Trainer, "step", step)
    assert main(arguments(rooms, tmp_path, "a", *SHORT)) == 1
    assert "task 'normals'" in (said := capsys.readouterr().err), said
    monkeypatch.undo()
    run = tmp_path / "runs/a"
    batch = torch.load(run / "nonfinite.pt", weights_only=True)["batches"][0]
    assert reproduce([str(run)]) == 0
    found = capsys.readouterr().out.splitlines()
    assert found[0].startswith("the output of heads.normals.") and batch["names"][0] in found[0]
    assert any(line.startswith("the loss of task 'normals' is ") for line in found)
    assert not any("'depth'" in line for line in found)
    assert reproduce([str(tmp_path)]) == 1


def test_a_step_of_several_processes_is_done_again_as_one(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here the second of two has the sample that did it; what is missing, or of another step, is told."""
    loss_at(monkeypatch, float("nan"), lambda n: n == 1)
    assert main(arguments(rooms, tmp_path, "a", *SHORT)) == 1
    monkeypatch.undo()
    capsys.readouterr()
    run = tmp_path / "runs/a"
    state = torch.load(run / "nonfinite.pt", weights_only=True)
    assert state["processes"] == 1
    (whole,) = state["batches"]
    whole["targets"]["depth"][6] = float("inf")
    for name, part in (("nonfinite.pt", slice(5)), ("nonfinite.1.pt", slice(5, 8))):
        mine = whole | {key: whole[key][part] for key in ("names", "image")}
        mine["targets"] = {key: target[part] for key, target in whole["targets"].items()}
        torch.save(state | {"processes": 2, "batches": [mine]}, run / name)

    def said(path: Path) -> list[str]:
        assert reproduce([str(path)]) == 0
        return capsys.readouterr().out.splitlines()

    images = ", ".join(whole["names"])
    assert said(run)[0] == f"the loss of task 'depth' is inf (images {images})"
    alone = said(run / "nonfinite.pt")
    assert alone == ["nonfinite.pt is the part of one of 2 processes", "everything is finite on this machine's CPU"]
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("sync_norm: true", "sync_norm: false"))
    assert said(run)[0] == f"the loss of task 'depth' is inf (images {', '.join(whole['names'][5:])})"
    torch.save(state | {"processes": 2, "step": 99}, run / "nonfinite.1.pt")
    assert said(run)[0] == "of this step of 2 processes nonfinite.1.pt is missing"


def test_a_checkpoint_is_written_of_finite_values_only(tmp_path: Path) -> None:
    model, balancer = torch.nn.BatchNorm1d(3), torch.nn.Linear(2, 2)
    expect_finite(model, balancer)
    model.running_mean[1] = float("nan")  # type: ignore[index]
    with pytest.raises(FloatingPointError, match=r"^running_mean of the network are not finite"):
        expect_finite(model, balancer)
    model.reset_running_stats()
    balancer.bias.data[0] = float("inf")
    with pytest.raises(FloatingPointError, match=r"^balancer.bias of"):
        expect_finite(model, balancer)


def test_the_checkpoint_before_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    for epoch in range(3):
        checkpoint.save(path, {"epoch": epoch})
    assert checkpoint.load(path)["epoch"] == 2
    assert checkpoint.load(tmp_path / checkpoint.PREVIOUS)["epoch"] == 1
    path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="or put checkpoint.previous.pt, the one before it, in its place"):
        checkpoint.load(path)


def test_the_checkpoint_before_is_kept_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "hardlink_to", lambda *args: (_ for _ in ()).throw(OSError("no links here")))
    for epoch in range(2):
        checkpoint.save(tmp_path / "checkpoint.pt", {"epoch": epoch})
    assert checkpoint.load(tmp_path / checkpoint.PREVIOUS)["epoch"] == 0
    assert len(list(tmp_path.iterdir())) == 2
