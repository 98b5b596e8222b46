"""AdamW and its learning rate over a run."""

import math

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from mtl_vision.models import Network


def make_optimizer(model: Network, lr: float, weight_decay: float, backbone_lr: float = 1.0) -> AdamW:
    """AdamW; norms and biases are not decayed. backbone_lr: the backbone's rate as a share of the others'."""
    backbone = {id(p) for p in model.backbone.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for p in model.parameters():
        if p.requires_grad:
            settings = (lr * backbone_lr if id(p) in backbone else lr, weight_decay if p.ndim > 1 else 0.0)
            groups.setdefault(settings, []).append(p)
    named = [{"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()]
    return AdamW(named, fused=True)


def make_schedule(optimizer: AdamW, steps: int, warmup: float) -> LambdaLR:
    """Linear warm-up over a share of the steps, then a cosine down to zero."""
    rise = max(round(steps * warmup), 1)

    def rate(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1)))

    return LambdaLR(optimizer, rate)
