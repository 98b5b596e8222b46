"""The contract that every balancer keeps. A new method in BALANCERS is tested as it is."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_vision.balancers import BALANCERS, FROM_TORCHJD, Balancer, Shared

TASKS = ["a", "b", "c"]
# what a method cannot be made without
NEEDS: dict[str, dict[str, dict[str, float]]] = {
    "Fixed": {"weights": {"a": 0.5, "b": 2.0, "c": 1.5}},
    "ConvergedGradients": {"norms": {"a": 0.5, "b": 2.0, "c": 1.5}},
}
# The scale behaviour that each docstring states. `follows`: at first a factor on a loss multiplies its share of the
# gradient. `linear`: the gradient is linear in the factor. `free`: the trunk's direction stays. The others answer in
# their own way.
FOLLOWS = ["Equal", "Fixed", "GradNorm", "Uncertainty", "DTP", "ConvergedGradients", "DWA", "IMTLL", "RLW"]
FREE = ["DBMTL", "FAMO", "GeometricMean", "NashMTL", "IMTLG"]
LINEAR = ["UPGrad", "PCGrad"]
OTHER = ["CAGrad", "MGDA", "AlignedMTL"]
NOT_ALWAYS_POSITIVE = ["MGDA", "AlignedMTL", "IMTLG"]
KEPT = ("_average", "_loss_sum", "_previous_averages")  # state in plain attributes
SUM_IS_T = ["Equal", "GradNorm", "ConvergedGradients", "DWA"]
SUM_IS_1 = ["FAMO", "RLW", "MGDA", "IMTLG"]


class Net(nn.Module):
    """A trunk, the last shared layer and three heads."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh())
        self.shared = nn.Linear(8, 6)
        self.heads = nn.ModuleDict({name: nn.Linear(6, 2) for name in TASKS})

    def trunk_gradient(self) -> Tensor:
        parameters = [*self.trunk.parameters(), *self.shared.parameters()]
        return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])

    def head_gradient(self, name: str) -> Tensor:
        return torch.cat([p.grad.flatten() for p in self.heads[name].parameters() if p.grad is not None])


def make(name: str, tasks: Sequence[str] = TASKS) -> Balancer:
    given: dict[str, Any] = {key: {t: v[t] for t in tasks} for key, v in NEEDS.get(name, {}).items()}
    return BALANCERS[name](tasks, **given)


def step(
    net: Net,
    balancer: Balancer,
    seed: int,
    tasks: Sequence[str] = TASKS,
    share: float = 1.0,
    finish: bool = True,
    factors: Sequence[float] = (1, 1, 1),
    precision: torch.dtype = torch.float32,
    spoil: Callable[[dict[str, Tensor]], None] = lambda predictions: None,
    scale: Tensor | None = None,
) -> dict[str, Tensor]:
    """A step as the training loop takes it, but for the optimiser. spoil: what is done to the predictions."""
    g, dtype = torch.Generator().manual_seed(seed), net.shared.weight.dtype
    x = torch.randn(5, 4, generator=g).to(dtype)
    targets = {name: (i + 1) * torch.randn(5, 2, generator=g) for i, name in enumerate(TASKS)}
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        shared = Shared.cut(net.shared(net.trunk(x)), net.shared.weight, scale)
        predictions = {name: net.heads[name](shared.leaf).to(dtype) for name in TASKS if name in tasks}
        spoil(predictions)
        losses = {
            name: factors[TASKS.index(name)] * (prediction - targets[name]).square().mean()
            for name, prediction in predictions.items()
        }
    if balancer.observes:
        balancer.observe({name: 1 / (1 + loss.detach()) for name, loss in losses.items()}, share)
    torch.manual_seed(seed)  # what a method draws is the same for all that is compared
    balancer.backward(losses, shared, share)
    if finish:
        balancer.step()
        if balancer.wants_after_step:
            balancer.after_step({name: 0.9 * loss.detach() for name, loss in losses.items()})
    return {name: loss.detach() for name, loss in losses.items()}


def task_gradients(net: Net, seed: int) -> dict[str, Net]:
    """A copy of the network a task, with the gradients of that task's loss alone."""
    result = {}
    for name in TASKS:
        result[name] = copy.deepcopy(net)
        result[name].zero_grad()
        step(result[name], Balancer(TASKS), seed, [name])
    return result


@pytest.fixture(params=list(BALANCERS))
def name(request: pytest.FixtureRequest) -> str:
    if BALANCERS[request.param] in FROM_TORCHJD and find_spec("torchjd") is None:
        assert "CI" not in os.environ, "the dev extra brings TorchJD"
        pytest.skip("TorchJD is not installed: pip install 'mtl-vision[torchjd]'")
    return request.param


def test_every_method_states_its_scale() -> None:
    assert sorted([*FOLLOWS, *FREE, *LINEAR, *OTHER]) == sorted(BALANCERS)
    for name, make in BALANCERS.items():
        module = __import__(make.__module__, fromlist=["_"])
        assert name == "Equal" or "Scale:" in ((make.__doc__ or "") + (module.__doc__ or "")), name


def test_weights_stay_finite_and_as_promised(name: str) -> None:
    net, balancer = Net(), make(name)
    for seed in range(30):
        net.zero_grad()
        step(net, balancer, seed)
        if seed % 5 == 4:
            balancer.end_epoch()
        weight = balancer.report()["weight"]
        assert weight.isfinite().all()
        assert name in NOT_ALWAYS_POSITIVE or (weight > 0).all()
        if name in SUM_IS_T or name in SUM_IS_1:
            assert weight.sum().item() == pytest.approx(3 if name in SUM_IS_T else 1, rel=1e-4)


def test_gradients_are_those_of_the_reported_weights(name: str) -> None:
    """Nothing leaks: the trunk gets sum_i w_i dL_i with w as reported, each head its own loss's gradient, weighted."""
    net, balancer = Net(), make(name)
    for seed in range(3):
        step(net, balancer, seed)
    net.zero_grad()
    parts = task_gradients(net, 7)
    step(net, balancer, 7)
    report = balancer.report()
    head_weight = report.get("head_weight", report["weight"])
    expected = sum(w * parts[task].trunk_gradient() for task, w in zip(TASKS, report["weight"], strict=True))
    torch.testing.assert_close(net.trunk_gradient(), expected, rtol=1e-4, atol=1e-6)
    for task, w in zip(TASKS, head_weight, strict=True):
        torch.testing.assert_close(net.head_gradient(task), w * parts[task].head_gradient(task), rtol=1e-4, atol=1e-6)


def test_accumulation_is_the_mean_of_the_micro_batches(name: str) -> None:
    """Each micro-batch gives what it would give alone, by its share."""
    first = make(name)
    net = Net()
    for seed in range(3):
        step(net, first, seed)
    state = copy.deepcopy(first.state_dict())
    net.zero_grad()
    step(net, first, 10, share=0.5, finish=False)
    step(net, first, 11, share=0.5)
    got = net.trunk_gradient()
    parts = []
    for seed in (10, 11):
        net.zero_grad()
        again = make(name)
        again.load_state_dict(state)
        step(net, again, seed)
        parts.append(net.trunk_gradient())
    torch.testing.assert_close(got, (parts[0] + parts[1]) / 2, rtol=1e-4, atol=1e-6)


def test_mixed_precision(name: str) -> None:
    net, balancer = Net(), make(name)
    for seed in range(3):
        net.zero_grad()
        step(net, balancer, seed, precision=torch.bfloat16)
    weight = balancer.report()["weight"]
    assert weight.dtype == torch.float32 and weight.isfinite().all()
    parts = task_gradients(net, 2)
    expected = sum(w * parts[task].trunk_gradient() for task, w in zip(TASKS, weight, strict=True))
    assert (net.trunk_gradient() - expected).norm() < 0.05 * expected.norm()
    for parameter in net.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any()


def test_a_loss_scale_changes_the_parameters_gradients_alone(name: str) -> None:
    """Whatever the step: what the method learns and reports is the same, and each gradient is that of the scale."""
    found = []
    for scale in (None, torch.tensor(2.0**16)):
        net, balancer = Net().double(), make(name).double()
        gradients: list[Tensor] = []
        for seed in range(4):
            for part, here in enumerate((TASKS, TASKS[:2] if seed == 2 else TASKS)):
                step(net, balancer, 2 * seed + part, here, share=0.5, finish=part == 1, scale=scale)
            gradients += [p.grad for p in net.parameters() if p.grad is not None]
            net.zero_grad()
            balancer.end_epoch()
        found.append((gradients, balancer.report(), balancer.state_dict()))
    (plain, *expected), (scaled, *got) = found
    assert len(plain) == len(scaled) > 0 and equal(got, expected)
    for a, b in zip(plain, scaled, strict=True):
        torch.testing.assert_close(b / 2.0**16, a, rtol=1e-12, atol=0)


def test_small_losses_in_float16(name: str) -> None:
    """Gradients that are 0 in float16 are not, with a scale: the step is that of float32, to float16's digits."""
    tiny, found = (1e-6, 1e-6, 1e-6), {}
    enough = torch.tensor(2.0**30 if name == "DTP" else 2.0**16)  # its weights are small, too
    for precision, scale in ((torch.float32, None), (torch.float16, enough)):
        net, balancer = Net(), make(name)
        for seed in range(3):
            net.zero_grad()
            step(net, balancer, seed, factors=tiny, precision=precision, scale=scale)
        found[precision] = balancer.report()["weight"], net.trunk_gradient() / (1 if scale is None else scale)
    (weight, gradient), (expected, trunk) = found[torch.float16], found[torch.float32]
    assert weight.dtype == torch.float32
    torch.testing.assert_close(weight, expected, rtol=0.02, atol=0.02)
    assert (gradient - trunk).norm() < 0.02 * trunk.norm()


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_scale(name: str, factor: float) -> None:
    """A factor on one loss, seen by fresh methods: what it does to the trunk's direction at once."""
    net = Net()
    parts = task_gradients(net, 3)
    directions = []
    for factors in ((1, 1, 1), (1, factor, 1)):
        net.zero_grad()
        balancer = make(name)
        step(net, balancer, 3, factors=factors)
        directions.append((net.trunk_gradient(), balancer.report()["weight"].clone()))
    (plain, weight), (scaled, _) = directions
    if name in FREE:
        assert torch.cosine_similarity(plain, scaled, dim=0) == pytest.approx(1, abs=1e-3)
    elif name in FOLLOWS:
        moved = plain + (factor - 1) * weight[1] * parts["b"].trunk_gradient()
        torch.testing.assert_close(scaled, moved, rtol=1e-3, atol=1e-5)
    elif name in OTHER:
        assert torch.cosine_similarity(plain, scaled, dim=0) < 0.9999


@pytest.mark.parametrize("name", LINEAR)
def test_scale_is_linear(name: str) -> None:
    """Equal steps of the factor make equal steps of the gradient."""
    pytest.importorskip("torchjd", reason="TorchJD is not installed")
    net = Net()
    found = []
    for factor in (1, 2, 3):
        net.zero_grad()
        step(net, make(name), 3, factors=(1, factor, 1))
        found.append(net.trunk_gradient())
    assert (found[1] - found[0]).norm() > 0.01
    torch.testing.assert_close(found[2] - found[1], found[1] - found[0], rtol=5e-2, atol=2e-3)


def test_a_task_without_gradient_at_z(name: str) -> None:
    """A dead head has a loss and no gradient: the others are trained on."""
    net, balancer = Net(), make(name)
    with torch.no_grad():
        net.heads["c"].weight.zero_()  # type: ignore[union-attr]
    step(net, balancer, 0)
    assert net.trunk_gradient().isfinite().all() and net.trunk_gradient().any()


def test_state_is_read_to_the_methods_device(name: str) -> None:
    """A checkpoint is read to the CPU; what the method keeps follows it to where it is."""
    net, balancer = Net(), make(name)
    for seed in range(4):
        step(net, balancer, seed)
        balancer.end_epoch()
    elsewhere = make(name).to("meta")
    if "_extra_state" in balancer.state_dict():
        elsewhere.set_extra_state(balancer.get_extra_state())

    def tensors(value: Any) -> list[Tensor]:
        if isinstance(value, Tensor):
            return [value]
        if isinstance(value, dict):
            value = list(value.values())
        return [t for part in value for t in tensors(part)] if isinstance(value, (list, tuple)) else []

    kept = [t for m in elsewhere.modules() for key, v in vars(m).items() if key in KEPT for t in tensors(v)]
    assert all(t.device.type == "meta" for t in kept)
    assert bool(kept) == (name in ("DWA", "DBMTL"))


def test_one_task_alone(name: str) -> None:
    """The trunk's direction is the task's own."""
    alone = make(name, ["b"])
    net = Net()
    for seed in range(5):
        net.zero_grad()
        step(net, alone, seed, ["b"])
    own = task_gradients(net, 4)["b"]
    assert torch.cosine_similarity(net.trunk_gradient(), own.trunk_gradient(), dim=0) == pytest.approx(1, abs=1e-4)
    assert torch.cosine_similarity(net.head_gradient("b"), own.head_gradient("b"), dim=0) == pytest.approx(1, abs=1e-4)
    assert alone.report()["weight"].shape == (1,)


@pytest.mark.parametrize("missing", TASKS)
def test_a_task_missing_from_a_batch(name: str, missing: str) -> None:
    net, balancer = Net(), make(name)
    for seed in range(6):
        net.zero_grad()
        here = [task for task in TASKS if task != missing or seed > 2]
        step(net, balancer, seed, here)
        if missing not in here:
            assert all(p.grad is None or not p.grad.any() for p in net.heads[missing].parameters())
        at = [i for i, task in enumerate(TASKS) if task in here]
        assert balancer.report()["weight"][at].isfinite().all() and net.trunk_gradient().isfinite().all()
        assert net.trunk_gradient().any()


def test_a_batch_without_any_task(name: str) -> None:
    net, balancer = Net(), make(name)
    step(net, balancer, 0)
    net.zero_grad()
    step(net, balancer, 1, [])
    assert all(p.grad is None or not p.grad.any() for p in net.parameters())
    step(net, balancer, 2)
    assert balancer.report()["weight"].isfinite().all()


def test_state_round_trip_goes_on_equally(name: str, tmp_path) -> None:
    net, balancer = Net(), make(name)
    for seed in range(7):
        step(net, balancer, seed, TASKS if seed != 4 else TASKS[:2])
        if seed in (2, 5):
            balancer.end_epoch()
    torch.save(balancer.state_dict(), tmp_path / "state.pt")
    again = make(name)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    other = copy.deepcopy(net)
    for seed in range(7, 14):
        for network, method in ((net, balancer), (other, again)):
            network.zero_grad()
            step(network, method, seed)
            if seed in (8, 11):
                method.end_epoch()
        assert torch.equal(balancer.report()["weight"], again.report()["weight"])
        assert torch.equal(net.trunk_gradient(), other.trunk_gradient())


def test_a_restored_fresh_method_is_fresh(name: str) -> None:
    """The state before any step is a state too."""
    again = make(name)
    again.load_state_dict(make(name).state_dict())
    step(Net(), again, 0)
    assert again.report()["weight"].isfinite().all()


def test_report_has_a_value_a_task(name: str) -> None:
    balancer = make(name)
    assert "weight" in balancer.report()
    step(Net(), balancer, 0)
    for value in balancer.report().values():
        assert value.shape == (len(TASKS),) and not value.requires_grad


def test_no_task_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="at least one task"):
        make(name, [])


def spoilt_loss(predictions: dict[str, Tensor], value: float) -> None:
    predictions["b"] = predictions["b"] + value


def spoilt_gradient(predictions: dict[str, Tensor], value: float) -> None:
    predictions["b"].register_hook(lambda g: g + value)


BAD = [
    pytest.param(partial(f, value=v), said, id=f"{f.__name__}-{v}")
    for f, said in (
        (spoilt_loss, "the loss of task 'b' is "),
        (spoilt_gradient, "the gradient of task 'b' is not finite"),
    )
    for v in (math.nan, math.inf)
]


def equal(a: Any, b: Any) -> bool:
    """Whether two states are one to the bit."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a.nan_to_num(-1), b.nan_to_num(-1))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(value, b[key]) for key, value in a.items())
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


@pytest.mark.parametrize("spoil, said", BAD)
@pytest.mark.parametrize("begun", [0, 4])
def test_what_is_not_finite_is_told_before_it_is_learnt_from(name: str, spoil: Any, said: str, begun: int) -> None:
    """The step raises, with task and step; nothing of it stays, and those that follow are as if it had not been."""
    net, balancer, other = Net(), make(name), make(name)
    for seed in range(begun):
        for method in (balancer, other):
            step(net, method, seed)
    before = copy.deepcopy(balancer.state_dict())
    for factors in ((1, 1, 1), (1, 3, 1)):
        net.zero_grad()
        with pytest.raises(FloatingPointError, match=f"{said}.*at step {begun}: "):
            step(net, balancer, 20, factors=factors, spoil=spoil)
        assert equal(before, balancer.state_dict())
    balancer.end_epoch()
    other.end_epoch()
    for seed in range(30, 34):
        found = []
        for method in (balancer, other):
            net.zero_grad()
            step(net, method, seed)
            found.append(net.trunk_gradient())
        assert torch.equal(*found) and equal(balancer.report(), other.report())
    assert equal(balancer.state_dict(), other.state_dict())


def test_a_micro_batch_that_is_not_finite_spoils_the_step(name: str) -> None:
    """The healthy one before it is forgotten as well."""
    net, balancer, other = Net(), make(name), make(name)
    for method in (balancer, other):
        step(net, method, 0)
    before = copy.deepcopy(balancer.state_dict())
    step(net, balancer, 1, share=0.5, finish=False)
    with pytest.raises(FloatingPointError, match="the loss of task 'b' is nan at step 1"):
        step(net, balancer, 2, share=0.5, spoil=partial(spoilt_loss, value=math.nan))
    assert equal(before, balancer.state_dict())
    for method in (balancer, other):
        net.zero_grad()
        step(net, method, 3)
    assert equal(balancer.report(), other.report()) and equal(balancer.state_dict(), other.state_dict())


def test_a_step_that_is_left_out_is_forgotten(name: str) -> None:
    """`forget` after `backward`: the state is that after the step before."""
    net, balancer = Net(), make(name)
    step(net, balancer, 0)
    before = copy.deepcopy(balancer.state_dict())
    step(net, balancer, 1, finish=False)
    balancer.forget()
    assert equal(before, balancer.state_dict())
    with pytest.raises(RuntimeError, match="before backward"):
        balancer.step()
    step(net, balancer, 2)


def test_steps_are_counted_on_in_a_restored_method(name: str) -> None:
    net, balancer, again = Net(), make(name), make(name)
    step(net, balancer, 0)
    again.load_state_dict(balancer.state_dict())
    assert again.steps == 1


def test_no_gradient_is_left_on_the_balancers_own_parameters(name: str) -> None:
    """An optimizer that was given all parameters, as of a module that holds the balancer, does not move them again."""
    net, balancer = Net(), make(name)
    optimizer = torch.optim.SGD([*net.parameters(), *balancer.parameters()], lr=0.1, weight_decay=0.5)
    for seed in range(3):
        net.zero_grad()
        step(net, balancer, seed)
        before = {key: p.detach().clone() for key, p in balancer.named_parameters()}
        optimizer.step()
        for key, p in balancer.named_parameters():
            assert p.grad is None and torch.equal(p, before[key]), key


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_a_network_of_another_type_with_a_task_missing(name: str, dtype: torch.dtype) -> None:
    net, balancer = Net().to(dtype), make(name)
    for seed, tasks in enumerate([TASKS, ["a", "c"], TASKS, ["b"]]):
        step(net, balancer, seed, tasks)
    weight = balancer.report()["weight"]
    assert balancer.weight.dtype == torch.float32 and weight[1].isfinite()


def test_a_loss_below_0(name: str) -> None:
    """It is trained on, or refused with the task's name and nothing moved."""
    net, balancer = Net(), make(name)
    step(net, balancer, 0)
    before = copy.deepcopy(balancer.state_dict())
    if not balancer.positive():
        step(net, balancer, 1, factors=(1, -1, 1))
        assert balancer.report()["weight"].isfinite().all()
        return
    with pytest.raises(ValueError, match=f"the loss of task 'b' is -.* at step 1: {name} takes ratios or logarithms"):
        step(net, balancer, 1, factors=(1, -1, 1))
    after = balancer.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before if isinstance(before[key], Tensor))
    step(net, balancer, 1)  # the next one is a new step
    assert balancer.steps == 2


def test_rounding_below_0_is_no_loss_below_0(name: str) -> None:
    net, balancer = Net(), make(name)
    step(net, balancer, 0)
    step(net, balancer, 1, factors=(1, -1e-9, 1))
    assert balancer.steps == 2
