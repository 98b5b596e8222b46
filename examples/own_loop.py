"""GradNorm in a training loop of one's own: a plain network with two heads, made-up data, seconds on a CPU.

python examples/own_loop.py
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from mtl_vision.balancers import GradNorm, Shared


class Net(nn.Module):
    """A shared trunk, its last layer, and a head a task."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(8, 64), nn.ReLU())
        self.last_shared = nn.Linear(64, 64)
        self.heads = nn.ModuleDict({name: nn.Sequential(nn.ReLU(), nn.Linear(64, 1)) for name in ("small", "large")})


def targets_of(x: Tensor) -> dict[str, Tensor]:
    """Two functions of x (B, 8), each (B, 1), one ten times as large as the other."""
    return {"small": x[:, :4].sum(1, keepdim=True).sin(), "large": 10 * x[:, 4:].sum(1, keepdim=True).cos()}


def main() -> None:
    """Train, and print losses and weights."""
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    balancer = GradNorm(["small", "large"], alpha=1.5)  # .to("cuda") where the network is
    for step in range(401):
        x = torch.randn(64, 8)
        targets = targets_of(x)
        optimizer.zero_grad()
        cut = Shared.cut(net.last_shared(net.trunk(x)), net.last_shared.weight)
        losses = {name: mse_loss(head(cut.leaf), targets[name]) for name, head in net.heads.items()}
        balancer.backward(losses, cut)  # in place of sum(losses.values()).backward()
        balancer.step()
        optimizer.step()
        if step % 100 == 0:
            weight = dict(zip(balancer.tasks, balancer.report()["weight"].tolist(), strict=True))
            print(f"step {step:3d}  " + "  ".join(f"{n} {losses[n].item():.3f} (w {weight[n]:.3f})" for n in losses))


if __name__ == "__main__":
    main()
