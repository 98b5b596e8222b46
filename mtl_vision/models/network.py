"""The network: encode(x) -> z, decode(z) -> {task: map}. Normalisation and padding happen inside.

Shape legend: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_vision.models.backbone import Backbone, input_multiple
from mtl_vision.models.fusion import Fusion, conv_norm_act, upsample


class TaskHead(Protocol):
    """What the network has to know of a task."""

    channels: int

    def activate(self, raw: Tensor) -> Tensor: ...
    def initial_bias(self) -> list[float] | None: ...


class Head(nn.Sequential):
    """z (B, width, h, w) -> raw map (B, C, h, w): one 3x3 convolution to half the width, then a 1x1 one."""

    def __init__(self, width: int, channels: int, bias: Sequence[float] | None = None) -> None:
        last = nn.Conv2d(width // 2, channels, 1)
        nn.init.normal_(last.weight, std=0.01)
        last.bias = nn.Parameter(torch.zeros(channels) if bias is None else torch.tensor(bias))
        super().__init__(conv_norm_act(width, width // 2), last)


class Network(nn.Module):
    """A timm backbone, a fusion to stride 4 with the last shared layer, and a head a task.

    tasks: name -> task. size: the image size (H, W) it will see; other sizes work too, unless the backbone's position
    tables are of fixed size (it says so). Sides that are no multiple of `multiple` are padded at the right and bottom
    by repeating the edge, and the maps are cut back.
    """

    def __init__(
        self,
        tasks: Mapping[str, TaskHead],
        backbone: str = "mobilenetv4_conv_small",
        pretrained: bool | str = False,
        size: tuple[int, int] = (144, 192),
        width: int = 64,
    ) -> None:
        super().__init__()
        if width % 16:
            raise ValueError(f"model.width is {width}: expected a multiple of 16 (64, 96, 128)")
        self.tasks = dict(tasks)
        self.multiple = input_multiple(backbone)
        padded = (
            math.ceil(size[0] / self.multiple) * self.multiple,
            math.ceil(size[1] / self.multiple) * self.multiple,
        )
        self.backbone = Backbone(backbone, pretrained, padded)
        self.fusion = Fusion(self.backbone.channels, width)
        self.heads = nn.ModuleDict(
            {name: Head(width, task.channels, task.initial_bias()) for name, task in tasks.items()}
        )
        self.register_buffer("mean", 255 * torch.tensor(self.backbone.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(self.backbone.std).view(1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    @property
    def last_shared(self) -> nn.Conv2d:
        """The layer whose output is z; by default its weight is GradNorm's W."""
        return self.fusion.last_shared

    def shared_weight(self, place: str) -> Tensor:
        """W, the weight at which gradient norms are taken: of the `last_shared` layer, or of the first layer above the
        deepest features of the `backbone`, where they are as they are within it.
        """
        layers = {"last_shared": self.last_shared, "backbone": self.fusion.deepest}
        if place not in layers:
            raise ValueError(f"balancer.place is '{place}': expected {', '.join(layers)}")
        return layers[place].weight

    def encode(self, image: Tensor) -> Tensor:
        """image: (B, 3, H, W), uint8 or float in 0..255, RGB. Returns z (B, width, H' / 4, W' / 4), H' padded."""
        x = (image.to(self.mean.dtype) - self.mean) / self.std
        H, W = x.shape[-2:]
        bottom, right = -H % self.multiple, -W % self.multiple
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        return self.fusion(self.backbone(x), (x.shape[-2] // 4, x.shape[-1] // 4))

    def decode(self, z: Tensor, size: tuple[int, int], tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Predictions (B, C, H, W) of `tasks` (default: all) for images of size (H, W), in physical units."""
        H, W = size
        result = {}
        for name in self.heads if tasks is None else tasks:
            raw = self.heads[name](z)[..., : -(-H // 4), : -(-W // 4)]  # without the padding's cells
            raw = upsample(raw, (raw.shape[-2] * 4, raw.shape[-1] * 4))[..., :H, :W]
            result[name] = self.tasks[name].activate(raw)
        return result

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """decode(encode(image))."""
        return self.decode(self.encode(image), (image.shape[-2], image.shape[-1]))
