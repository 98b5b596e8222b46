"""The contract that every balancer keeps. A new method in BALANCERS is tested as it is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mtl_vision.balancers import BALANCERS, Balancer, Shared

TASKS = ["a", "b", "c"]


class Net(nn.Module):
    """A trunk, the last shared layer and three heads."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh())
        self.shared = nn.Linear(8, 6)
        self.heads = nn.ModuleDict({name: nn.Linear(6, 2) for name in TASKS})


def step(
    net: Net, balancer: Balancer, seed: int, tasks: list[str] = TASKS, share: float = 1.0, finish: bool = True
) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 4, generator=g)
    targets = {name: (i + 1) * torch.randn(5, 2, generator=g) for i, name in enumerate(TASKS)}
    shared = Shared.cut(net.shared(net.trunk(x)), net.shared.weight)
    losses = {name: (net.heads[name](shared.leaf) - targets[name]).square().mean() for name in tasks}
    balancer.backward(losses, shared, share)
    if finish:
        balancer.step()
    return {name: loss.detach() for name, loss in losses.items()}


@pytest.fixture(params=list(BALANCERS))
def balancer(request: pytest.FixtureRequest) -> Balancer:
    return BALANCERS[request.param](TASKS)


def test_weights_stay_finite_positive_and_of_the_same_sum(balancer: Balancer) -> None:
    net = Net()
    for seed in range(30):
        net.zero_grad()
        step(net, balancer, seed)
        assert balancer.weight.isfinite().all() and (balancer.weight > 0).all()
        assert balancer.weight.sum().item() == pytest.approx(len(TASKS), rel=1e-5)


def test_gradients_are_those_of_the_weighted_sum(balancer: Balancer) -> None:
    """Nothing leaks: trunk, last shared layer and heads all get the gradient of sum w_i L_i, with w before the step."""
    net = Net()
    for seed in range(3):
        step(net, balancer, seed)
    net.zero_grad()
    weight = balancer.weight.clone()
    step(net, balancer, 7)
    got = [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]
    net.zero_grad()
    plain = Balancer(TASKS)
    plain.weight.copy_(weight)
    step(net, plain, 7)
    for gradient, parameter in zip(got, net.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-5, atol=1e-7)


def test_accumulation_equals_the_mean_of_the_micro_batches(balancer: Balancer) -> None:
    net = Net()
    step(net, balancer, 0, share=0.5, finish=False)
    step(net, balancer, 1, share=0.5)
    got = [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]
    parts: list[list[Tensor]] = []
    for seed in (0, 1):
        net.zero_grad()
        step(net, Balancer(TASKS), seed)
        parts.append([parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None])
    for gradient, first, second in zip(got, *parts, strict=True):
        torch.testing.assert_close(gradient, (first + second) / 2, rtol=1e-5, atol=1e-7)


def test_one_task_alone(balancer: Balancer) -> None:
    alone = type(balancer)(["b"])
    net = Net()
    for seed in range(5):
        step(net, alone, seed, ["b"])
    assert alone.weight.tolist() == pytest.approx([1.0])


@pytest.mark.parametrize("missing", TASKS)
def test_a_task_missing_from_a_batch(balancer: Balancer, missing: str) -> None:
    net = Net()
    for seed in range(6):
        net.zero_grad()
        here = [name for name in TASKS if name != missing or seed > 2]
        step(net, balancer, seed, here)
        if missing not in here:
            assert all(p.grad is None or not p.grad.any() for p in net.heads[missing].parameters())
        assert balancer.weight.isfinite().all() and (balancer.weight > 0).all()


def test_a_batch_without_any_task(balancer: Balancer) -> None:
    net = Net()
    step(net, balancer, 0)
    net.zero_grad()
    step(net, balancer, 1, [])
    assert all(p.grad is None or not p.grad.any() for p in net.parameters())
    assert balancer.weight.isfinite().all()


def test_state_round_trip_goes_on_equally(balancer: Balancer, tmp_path) -> None:
    net = Net()
    for seed in range(5):
        step(net, balancer, seed)
    torch.save(balancer.state_dict(), tmp_path / "state.pt")
    again = type(balancer)(TASKS)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    other = copy.deepcopy(net)
    for seed in range(5, 10):
        step(net, balancer, seed)
        step(other, again, seed)
        assert torch.equal(balancer.weight, again.weight)


def test_report_has_a_value_a_task(balancer: Balancer) -> None:
    step(Net(), balancer, 0)
    report = balancer.report()
    assert "weight" in report
    for value in report.values():
        assert value.shape == (len(TASKS),) and not value.requires_grad


def test_no_task_is_an_error(balancer: Balancer) -> None:
    with pytest.raises(ValueError, match="at least one task"):
        type(balancer)([])
