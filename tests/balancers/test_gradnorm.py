"""GradNorm against hand-worked values and an independent reference with a double backward pass."""

from __future__ import annotations

import math

import pytest
import torch
from balancer_testing import watched
from torch import Tensor, nn

from mtl_vision.balancers import GradNorm, Shared, TaskLoss


def test_two_tasks_by_hand() -> None:
    """One scalar W = 2, u = 3, z = W u = 6; L_1 = z, L_2 = 4 z: grad_W is 3 and 12.

    w = (1, 1): G = (3, 12), Gbar = 7.5. In the first step all rates are 1, so the targets are 7.5: the gradient of w is
    sign(3 - 7.5) * 3 = -3 and sign(12 - 7.5) * 12 = +12. Adam's first step moves each by lr = 0.1 against its sign:
    (1.1, 0.9), which sums to 2 already. The model's gradient is 1 * 3 + 1 * 12 = 15.
    """
    W = nn.Parameter(torch.tensor([[2.0]]))
    balancer = GradNorm(["a", "b"], alpha=1.0, lr=0.1)
    gradients = watched(balancer.adam)
    shared = Shared.cut(torch.tensor([[3.0]]) @ W, W)
    balancer.backward({"a": shared.leaf.sum(), "b": 4 * shared.leaf.sum()}, shared)
    balancer.step()
    report = balancer.report()
    assert report["grad_norm"].tolist() == [3, 12]
    assert report["target"].tolist() == [7.5, 7.5]
    assert balancer.weight.tolist() == pytest.approx([1.1, 0.9], abs=1e-6)
    assert W.grad is not None and W.grad.item() == 15

    # Second step: L = (3, 24) against L(0) = (6, 24): rates 0.5 and 1, mean 0.75, r = (2/3, 4/3). G = (1.1*3, 0.9*12)
    # = (3.3, 10.8), Gbar = 7.05; targets 4.7 and 9.4. The first is below its target, the second above.
    W.grad = None
    shared = Shared.cut(torch.tensor([[3.0]]) @ W, W)
    balancer.backward({"a": shared.leaf.sum() - 3, "b": 4 * shared.leaf.sum()}, shared)
    balancer.step()
    report = balancer.report()
    assert report["rate"].tolist() == pytest.approx([2 / 3, 4 / 3])
    assert report["grad_norm"].tolist() == pytest.approx([3.3, 10.8], rel=1e-6)
    assert report["target"].tolist() == pytest.approx([4.7, 9.4], rel=1e-6)
    assert gradients == [pytest.approx([-3, 12], rel=1e-6)] * 2
    assert W.grad.item() == pytest.approx(1.1 * 3 + 0.9 * 12)  # type: ignore[union-attr]


class Net(nn.Module):
    """Trunk, last shared layer and a head a task, in float64."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh())
        self.shared = nn.Conv2d(6, 5, 1)
        self.heads = nn.ModuleList(nn.Sequential(nn.Tanh(), nn.Conv2d(5, 2, 1)) for _ in range(tasks))
        self.double()


def data(step: int, T: int) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(4, 3, 7, 8, generator=generator, dtype=torch.float64)
    return x, [(i + 1) * torch.randn(4, 2, 5, 6, generator=generator, dtype=torch.float64) for i in range(T)]


def task_losses(net: Net, z: Tensor, targets: list[Tensor]) -> dict[str, Tensor]:
    return {str(i): (head(z) - t).square().mean() for i, (head, t) in enumerate(zip(net.heads, targets, strict=True))}


def weight_at(net: Net, deep: bool) -> nn.Parameter:
    """W: of the last shared layer, or of a layer before it."""
    return net.trunk.get_parameter("0.weight") if deep else net.shared.weight


def ours(net: Net, balancer: GradNorm, step: int, deep: bool = False) -> None:
    x, targets = data(step, len(net.heads))
    shared = Shared.cut(net.shared(net.trunk(x)), weight_at(net, deep))
    balancer.backward(task_losses(net, shared.leaf, targets), shared)
    balancer.step()


@pytest.mark.parametrize("T, alpha, deep", [(2, 1.5, False), (3, 0.12, False), (3, 0.0, False), (3, 1.5, True)])
def test_equals_double_backward_reference(T: int, alpha: float, deep: bool) -> None:
    """Weights and model gradients over 20 steps equal autograd's derivative of L_grad with respect to w alone."""
    torch.manual_seed(0)
    mine, theirs = Net(T), Net(T)
    theirs.load_state_dict(mine.state_dict())
    balancer = GradNorm([str(i) for i in range(T)], alpha=alpha, lr=0.025).double()
    w = torch.ones(T, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([w], lr=0.025)
    sgd = [torch.optim.SGD(net.parameters(), lr=0.1) for net in (mine, theirs)]
    initial: Tensor | None = None
    for step in range(20):
        sgd[0].zero_grad()
        ours(mine, balancer, step, deep)

        sgd[1].zero_grad()
        x, targets = data(step, T)
        losses = torch.stack(list(task_losses(theirs, theirs.shared(theirs.trunk(x)), targets).values()))
        initial = losses.detach() if initial is None else initial
        weighted = w * losses
        G = torch.stack(
            [torch.autograd.grad(l, weight_at(theirs, deep), create_graph=True)[0].norm() for l in weighted]  # noqa: E741
        )
        rate = losses.detach() / initial
        target = (G.mean() * (rate / rate.mean()) ** alpha).detach()
        (w_grad,) = torch.autograd.grad((G - target).abs().sum(), w, retain_graph=True)
        (w.detach() * losses).sum().backward()

        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-12)
        w.grad = w_grad
        adam.step()
        with torch.no_grad():
            w.clamp_(min=1e-3)
            w.mul_(T / w.sum())
        torch.testing.assert_close(balancer.weight.detach(), w.detach(), rtol=1e-9, atol=1e-12)
        for optimiser in sgd:
            optimiser.step()
    assert (w.detach() - 1).abs().max() > 0.05  # the weights did move


def test_lagging_task_gets_the_larger_target() -> None:
    W = nn.Parameter(torch.tensor([[1.0]]))
    balancer = GradNorm(["fast", "slow"], alpha=1.5)
    for fast, slow in ((1.0, 1.0), (0.2, 0.9)):
        shared = Shared.cut(torch.tensor([[1.0]]) @ W, W)
        zero = shared.leaf.sum() - shared.leaf.detach().sum()
        balancer.backward({"fast": fast + zero, "slow": slow + zero}, shared)
        balancer.step()
    fast_target, slow_target = balancer.report()["target"].tolist()
    assert slow_target > fast_target
    assert balancer.weight[1] > balancer.weight[0]


def test_model_gradients_equal_the_weighted_sum() -> None:
    torch.manual_seed(1)
    net = Net(3)
    balancer = GradNorm(["0", "1", "2"]).double()
    for step in range(5):
        ours(net, balancer, step)
    weights = balancer.weight.tolist()
    assert max(weights) - min(weights) > 0.01
    net.zero_grad()
    ours(net, balancer, 9)
    got = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    x, targets = data(9, 3)
    losses = task_losses(net, net.shared(net.trunk(x)), targets)
    sum(w * loss for w, loss in zip(weights, losses.values(), strict=True)).backward()  # type: ignore[union-attr]
    for gradient, parameter in zip(got, net.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-12, atol=1e-14)


def test_alpha_zero_equalises_the_norms() -> None:
    torch.manual_seed(2)
    net = Net(3)
    balancer = GradNorm(["0", "1", "2"], alpha=0.0, lr=0.01).double()
    spread = []
    for _ in range(400):
        net.zero_grad()
        ours(net, balancer, 0)  # the same batch, frozen network: only w moves
        G = balancer.report()["grad_norm"]
        spread.append(((G.max() - G.min()) / G.mean()).item())
    assert spread[0] > 0.5
    assert spread[-1] < 0.05


def test_initial_losses() -> None:
    """The mean of the first k is averaged before the weights move; a theoretical value is taken as it is."""
    W = nn.Parameter(torch.tensor([[1.0]]))

    def step(balancer: GradNorm, a: float, b: float) -> None:
        shared = Shared.cut(torch.tensor([[1.0]]) @ W, W)
        zero = shared.leaf.sum() - shared.leaf.detach().sum()
        balancer.backward({"a": a + zero, "b": b + 2 * zero}, shared)
        balancer.step()

    mean = GradNorm(["a", "b"], initial="mean", initial_steps=2)
    step(mean, 1.0, 4.0)
    assert mean.weight.tolist() == [1, 1]
    step(mean, 3.0, 2.0)
    assert mean.initial.tolist() == [2, 3]
    assert mean.weight.tolist() != [1, 1]
    known = {"a": TaskLoss(uninformed=lambda: 1.5), "b": TaskLoss(uninformed=math.log(13))}
    theoretical = GradNorm(known, initial="theoretical")
    step(theoretical, 1.0, 4.0)
    assert theoretical.initial.tolist() == pytest.approx([1.5, math.log(13)])
    with pytest.raises(ValueError, match="expected first, mean, theoretical"):
        GradNorm(["a"], initial="zeroth")


def test_interval_leaves_weights_between_updates() -> None:
    torch.manual_seed(3)
    net, balancer = Net(2), GradNorm(["0", "1"], interval=3).double()
    history = []
    for step in range(7):
        ours(net, balancer, step)
        history.append(balancer.weight.tolist())
    assert history[0] == history[1] == history[2] != history[3]
    assert history[3] == history[4] == history[5] != history[6]


def test_report_is_of_the_step_between_updates_too() -> None:
    torch.manual_seed(3)
    net, balancer = Net(2), GradNorm(["0", "1"], interval=3).double()
    ours(net, balancer, 0)
    moved = balancer.weight.tolist()
    assert balancer.report()["weight"].tolist() == [1, 1] and "grad_norm" in balancer.report()
    ours(net, balancer, 1)
    assert balancer.report()["weight"].tolist() == moved and "grad_norm" not in balancer.report()


def test_a_task_in_some_micro_batches_counts_by_those() -> None:
    """Losses 2 and 4 of a in two micro-batches, 6 of b in the second alone: L(0) is 3 and 6."""
    W = nn.Parameter(torch.tensor([[1.0]]))
    balancer = GradNorm(["a", "b"])
    for losses in ({"a": 2.0}, {"a": 4.0, "b": 6.0}):
        shared = Shared.cut(torch.tensor([[1.0]]) @ W, W)
        zero = shared.leaf.sum() - shared.leaf.detach().sum()
        balancer.backward({name: value + zero for name, value in losses.items()}, shared, share=0.5)
    balancer.step()
    assert balancer.initial.tolist() == [3, 6]
