"""A balancer in a module as Lightning has them: torchvision's ResNet-18 and two heads, on made-up images.

    python examples/torchvision_model.py

With `lightning.LightningModule` in place of nn.Module, and `automatic_optimization = False`, a Trainer trains it.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, l1_loss
from torchvision.models import resnet18

from mtl_vision.balancers import Balancer, Shared, TaskLoss, Uncertainty


class Scene(nn.Module):
    """What is on an image, and how far. The balancer is a module: it moves and is saved with this one."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        backbone = resnet18(weights=None)
        self.trunk = nn.Sequential(*list(backbone.children())[:-2])  # without pooling and classifier
        self.last_shared = nn.Conv2d(512, 64, 1)
        self.heads = nn.ModuleDict({"category": nn.Linear(64, classes), "distance": nn.Linear(64, 1)})
        self.losses = {"category": cross_entropy, "distance": l1_loss}
        self.balancer: Balancer = Uncertainty({"category": TaskLoss(classification=True), "distance": TaskLoss()})
        network = [*self.trunk.parameters(), *self.last_shared.parameters(), *self.heads.parameters()]
        self.optimizer = torch.optim.AdamW(network, lr=1e-3)

    def training_step(self, batch: tuple[Tensor, dict[str, Tensor]], batch_idx: int) -> dict[str, Tensor]:
        """One step on images (B, 3, H, W) and targets; the losses."""
        images, targets = batch
        self.optimizer.zero_grad()
        cut = Shared.cut(self.last_shared(self.trunk(images)), self.last_shared.weight)
        pooled = cut.leaf.mean((2, 3))
        losses = {name: self.losses[name](head(pooled), targets[name]) for name, head in self.heads.items()}
        self.balancer.backward(losses, cut)
        self.balancer.step()
        self.optimizer.step()
        return losses


def main() -> None:
    """Train on one batch, and print losses and weights."""
    torch.manual_seed(0)
    model = Scene()
    batch = torch.randn(8, 3, 64, 64), {"category": torch.randint(0, 5, (8,)), "distance": 3 + torch.randn(8, 1)}
    for step in range(10):
        losses = model.training_step(batch, step)
        weight = dict(zip(losses, model.balancer.report()["weight"].tolist(), strict=True))
        print(step, *(f"{name} {loss.item():.3f} (w {weight[name]:.3f})" for name, loss in losses.items()))


if __name__ == "__main__":
    main()
