"""The averaged weights: their values, and that they are what is measured, kept, resumed and told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import test_distributed as two
import torch
from processes import InProcesses
from safetensors.torch import load_file
from test_nonfinite import loss_at
from test_run import arguments, history, stop_at
from torch import Tensor, nn

from mtl_vision.balancers import GradNorm
from mtl_vision.engine import distributed
from mtl_vision.engine.cli import main
from mtl_vision.engine.ema import Ema
from mtl_vision.engine.load import load_run
from mtl_vision.engine.loop import Trainer
from mtl_vision.engine.nonfinite import expect_finite
from mtl_vision.engine.optimizer import make_optimizer, make_schedule
from mtl_vision.engine.reproduce import main as reproduce
from mtl_vision.engine.run import Run
from mtl_vision.engine.sync_norm import synchronise
from mtl_vision.models import Fusion, Network

SHORT = ("--run.tensorboard=false", "--train.epochs=3", "--train.ema=0.9")


class Net(nn.Module):
    """A weight, shared by two names, a norm, a table of indices, and a buffer that another takes the place of."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(2, 2, bias=False)
        self.two = self.one
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("index", torch.arange(1000))
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("scratch", torch.ones(1), persistent=False)


def test_values_by_hand() -> None:
    """d = 1/10, 2/11, 3/12, then the setting; of weights and running statistics; whole numbers are left alone."""
    net = Net()
    net.one.weight.data.fill_(1.0)
    ema = Ema(net, 0.25)
    assert set(ema.named_averages()) == {
        "one.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "mean",
    }  # fmt: skip
    expected, mean = 1.0, 0.0
    for k, d in enumerate([1 / 10, 2 / 11, 3 / 12, 0.25, 0.25]):
        net.one.weight.data.fill_(k + 2.0)
        net.norm.running_var.fill_(k + 2.0)  # type: ignore[union-attr]
        net.mean = torch.full((1,), k + 2.0)
        ema.update()
        expected, mean = (d * before + (1 - d) * (k + 2.0) for before in (expected, mean))
    averages = ema.named_averages()
    for name in ("one.weight", "norm.running_var"):
        torch.testing.assert_close(averages[name], torch.full_like(averages[name], expected))
    with ema.applied():
        torch.testing.assert_close(net.one.weight.data, torch.full((2, 2), expected))
        assert torch.equal(net.index, torch.arange(1000))
        torch.testing.assert_close(net.mean, torch.full((1,), mean))
    assert net.one.weight.eq(6.0).all() and net.mean.item() == 6.0


def test_the_trained_weights_come_back_bit_for_bit() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ema = Ema(net, 0.99)
    with torch.no_grad():
        for p in net.parameters():
            p.normal_()
    ema.update()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    averages = {name: value.clone() for name, value in ema.named_averages().items()}
    with pytest.raises(KeyboardInterrupt), ema.applied():
        assert not torch.equal(net[0].weight, before["0.weight"])
        raise KeyboardInterrupt
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    for name, value in ema.named_averages().items():
        assert torch.equal(value, averages[name])


def test_the_same_weights_stay_the_same_bit_for_bit() -> None:
    """What is frozen has an average that does not drift."""
    net = nn.Linear(100, 100)
    ema = Ema(net, 0.999)
    for _ in range(50):
        ema.update()
    assert torch.equal(ema.named_averages()["weight"], net.weight)


def test_an_average_that_is_not_finite_is_told() -> None:
    net = nn.Linear(2, 2)
    ema = Ema(net, 0.5)
    ema.named_averages()["bias"][0] = float("nan")
    with pytest.raises(FloatingPointError, match=r"^average of bias of the network are not finite"):
        expect_finite(net, nn.Linear(1, 1), ema.named_averages())


def test_the_averages_are_what_is_measured_and_kept(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In model.safetensors, metrics, panel and mtl.load; training itself goes on from the trained weights."""
    assert main(arguments(rooms, tmp_path, "plain", *SHORT, "--train.ema=0")) == 0
    assert "training " not in capsys.readouterr().out
    seen: list[Tensor] = []

    def measured(model: nn.Module, *args: Any) -> dict[str, float]:
        seen.append(next(model.parameters()).detach().clone())
        return real(model, *args)  # type: ignore[arg-type]

    from mtl_vision.engine import run as engine_run

    real, panel = engine_run.evaluate, engine_run.plot_panel
    monkeypatch.setattr(engine_run, "evaluate", measured)
    monkeypatch.setattr(
        engine_run, "plot_panel", lambda m, *a: (seen.append(next(m.parameters()).detach().clone()), panel(m, *a))
    )
    assert main(arguments(rooms, tmp_path, "ema", *SHORT, "--train.eval_every=2")) == 0
    assert "training   ema 0.9: the averaged weights are measured and kept" in capsys.readouterr().out
    plain, ema = (tmp_path / "runs" / name for name in ("plain", "ema"))
    steps = [record for record in history(ema) if "loss" in record]
    assert steps == history(plain)
    state = torch.load(ema / "checkpoint.pt", weights_only=True)
    weights, trained = load_file(ema / "model.safetensors"), load_file(plain / "model.safetensors")
    assert state["ema"]["updates"] == 9 == len(steps)
    for name, value in weights.items():
        assert torch.equal(state["model"][name], trained[name])
        assert torch.equal(value, state["ema"]["averages"].get(name, trained[name]))
    differ = [name for name, value in weights.items() if value.is_floating_point() and not value.equal(trained[name])]
    assert any("running_var" in name for name in differ) and any(name.endswith("weight") for name in differ)
    name = next(name for name in weights if name == "backbone.net.conv_stem.weight")
    assert len(seen) == 3 and not seen[0].equal(seen[1]) and seen[1].equal(seen[2]) and seen[2].equal(weights[name])
    assert load_run(ema).model.get_parameter(name).equal(weights[name])
    assert json.loads((ema / "metrics.json").read_text()) != json.loads((plain / "metrics.json").read_text())


OPTIONS = ("--train.layer_decay=0.7", "--train.freeze=2", "--train.accumulate=2", "--train.eval_every=1")


def test_a_resumed_run_has_the_same_averages(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With frozen stages and falling rates, and a step that is left out; stopped in the second epoch."""
    skip = "--train.on_nonfinite=skip"
    loss_at(monkeypatch, float("nan"), lambda n: n == 2)
    assert main(arguments(rooms, tmp_path, "whole", *SHORT, *OPTIONS, skip)) == 0
    said = capsys.readouterr().out
    assert "           layer_decay 0.7: " in said and "           freeze 2: 0.0 M parameters of the backbone" in said
    monkeypatch.undo()
    loss_at(monkeypatch, float("nan"), lambda n: n == 2)
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        assert main(arguments(rooms, tmp_path, "broken", *SHORT, *OPTIONS, skip)) == 130
    monkeypatch.undo()
    resume = [f"--run.dir={tmp_path / 'runs'}", "--run.name=broken", "--run.resume"]
    for other, begun in (("ema=0.99", "0.9"), ("layer_decay=1", "0.7"), ("freeze=0", "2")):
        assert main([*resume, f"--train.{other}"]) == 1
        assert f"was begun with train.{other.split('=')[0]} = {begun}, found" in capsys.readouterr().err
    assert main(resume) == 0
    whole, broken = (tmp_path / "runs" / name for name in ("whole", "broken"))
    assert history(broken) == history(whole)
    states = [torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (whole, broken)]
    assert states[0]["ema"]["updates"] == states[1]["ema"]["updates"] == 8
    assert states[0]["skipped"] == [1, 0]
    for part in ("model", "ema"):
        one, two = ((s["ema"]["averages"] if part == "ema" else s["model"]) for s in states)
        assert all(torch.equal(value, two[name]) for name, value in one.items())
    weights = [load_file(folder / "model.safetensors") for folder in (whole, broken)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_more_frozen_parts_than_there_are_is_told(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(rooms, tmp_path, "a", *SHORT, "--train.freeze=7")) == 1
    assert "train: freeze is 7: expected 0 to 6, the parts of this backbone" in capsys.readouterr().err
    assert not (tmp_path / "runs/a").exists()


def test_a_step_that_is_left_out_leaves_the_average(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    real = Trainer.step

    def step(self: Trainer, batches: list) -> Any:
        assert self.ema is not None
        before = {name: value.clone() for name, value in self.ema.named_averages().items()}
        losses = real(self, batches)
        seen.append(all(torch.equal(value, before[name]) for name, value in self.ema.named_averages().items()))
        return losses

    monkeypatch.setattr(Trainer, "step", step)
    loss_at(monkeypatch, float("inf"), lambda n: n in (0, 2))
    more = ("--train.epochs=1", "--train.on_nonfinite=skip")
    assert main(arguments(rooms, tmp_path, "a", *SHORT, *more)) == 0
    assert seen == [True, False, True]


def test_everything_frozen_but_the_heads(rooms: Path, tmp_path: Path) -> None:
    """The whole backbone: it is written as it was made."""
    words = arguments(rooms, tmp_path, "a", *SHORT, "--train.freeze=6", "--train.layer_decay=0.5", "--train.epochs=1")
    made: list[dict[str, Tensor]] = []
    init = Run.__init__

    def kept(self: Run, *args: Any) -> None:
        init(self, *args)
        made.append({name: value.clone() for name, value in self.trainer.model.state_dict().items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "__init__", kept)
        assert main([*words, "--balancer.place=backbone"]) == 0
    weights = load_file(tmp_path / "runs/a/model.safetensors")
    for name, value in weights.items():
        assert not value.is_floating_point() or value.equal(made[0][name]) == name.startswith("backbone."), name


def test_a_kept_step_is_reproduced_with_what_is_frozen(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Batch norm of a frozen part takes its running statistics there as well."""
    loss_at(monkeypatch, float("nan"), lambda n: n == 1)
    assert main(arguments(rooms, tmp_path, "a", *SHORT, "--train.freeze=2")) == 1
    modes: list[tuple[bool, bool]] = []
    real = Network.encode

    def encode(self: Network, image: Tensor) -> Tensor:
        modes.append(tuple(self.backbone.get_submodule(f"net.{name}").training for name in ("bn1", "blocks.1")))
        return real(self, image)

    monkeypatch.setattr(Network, "encode", encode)
    assert reproduce([str(tmp_path / "runs/a")]) == 0
    assert modes == [(False, True)]


def averaged() -> dict[str, dict[str, Tensor]]:
    """The averages after three steps: of the whole network, with a frozen part, and with batch norm by process."""
    rank, world, found = distributed.rank(), distributed.world(), {}
    for name, freeze, sync_norm in (("all", 0, True), ("frozen", 1, True), ("by process", 0, False)):
        torch.manual_seed(0)
        model = Network(two.TASKS, two.TwoLevels(), Fusion(16), size=(two.SIDE, two.SIDE)).double()
        model.freeze(freeze, (two.SIDE, two.SIDE))
        if world > 1 and sync_norm:
            synchronise(model, torch.device("cpu"))
        optimizer = make_optimizer(model, 0.01, 0.01)
        balancer = GradNorm(list(two.TASKS)).double()
        schedule = make_schedule(optimizer, 10, 0.1)
        ema = Ema(model, 0.9)
        trainer = Trainer(model, two.TASKS, balancer, optimizer, schedule, torch.device("cpu"), accumulate=2, ema=ema)
        for step in range(3):
            trainer.step([two.batch(step, micro, rank, world) for micro in range(2)])
        ema.average_over_processes()
        found[name] = dict(ema.named_averages())
    return found


@pytest.mark.slow
def test_several_processes_keep_the_same_average(in_processes: InProcesses, tmp_path: Path) -> None:
    """With batch norm over all processes it is one process'; with each by itself it is the same everywhere."""
    first, second = in_processes(averaged, 2, tmp_path)
    one = averaged()
    for name in ("all", "frozen"):
        torch.testing.assert_close(first[name], one[name], rtol=1e-6, atol=1e-9)
    for name, averages in first.items():
        assert all(torch.equal(value, second[name][key]) for key, value in averages.items()), name
