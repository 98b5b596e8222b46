"""AdamW and its learning rate over a run."""

import math
from collections.abc import Sequence

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from mtl_vision.models import Network
from mtl_vision.models.parts import Part


def make_optimizer(
    model: Network,
    lr: float,
    weight_decay: float,
    backbone_lr: float = 1.0,
    layer_decay: float = 1.0,
    parts: Sequence[Part] = (),
) -> AdamW:
    """AdamW; norms and biases are not decayed.

    backbone_lr: the backbone's rate as a share of the others'. layer_decay: the rate of each of the backbone's parts as
    a share of the next one's; the last one has the backbone's.
    """
    share = dict.fromkeys(model.backbone.parameters(), backbone_lr)
    for k, part in enumerate(reversed(parts)):
        share |= dict.fromkeys(part.parameters, backbone_lr * layer_decay**k)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for p in model.parameters():
        if p.requires_grad:
            settings = (lr * share.get(p, 1.0), weight_decay if p.ndim > 1 else 0.0)
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
