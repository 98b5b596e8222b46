"""From a pyramid of features to one shared map z at stride 4, and from z to a task's raw map."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv_norm_act(inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Decoder(nn.Module, ABC):
    """From levels (B, C_l, h_l, w_l), finest first, to z (B, width, H / 4, W / 4), which all heads share.

    It is made from its settings only; the network builds a copy of it.

    Args:
        width: channels of z, and of the layers that lead to it; a multiple of 16, up to 1024

    Attributes:
        last_shared: the layer whose output is z
    """

    last_shared: nn.Conv2d

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        if not 16 <= width <= 1024 or width % 16:
            raise ValueError(f"width is {width}: expected a multiple of 16 from 16 to 1024")
        self.width = width

    @abstractmethod
    def build(self, channels: Sequence[int]) -> None:
        """Make the layers, `last_shared` among them, for levels of these channels, finest first."""

    @abstractmethod
    def forward(self, levels: list[Tensor], size: tuple[int, int]) -> Tensor:
        """size: (H / 4, W / 4). Returns z (B, width, H / 4, W / 4)."""

    @property
    def deepest(self) -> nn.Conv2d:
        """The layer that the deepest level enters by, for W at the backbone."""
        raise ValueError(f"{type(self).__name__} does not define `deepest`: expected place 'last_shared'")


class Fusion(Decoder):
    """Top-down sums, each smoothed on the way, and a 1x1 convolution.

    u = conv3x3( sum_l up( conv1x1(level_l) ) )
    z = W u + b                                    the last shared layer; W is GradNorm's
    """

    def build(self, channels: Sequence[int]) -> None:
        width = self.width
        self.lateral = nn.ModuleList(conv_norm_act(C, width, 1) for C in channels)
        # depthwise 5x5, then 1x1: a wide receptive field at low cost
        self.smooth = nn.ModuleList(
            nn.Sequential(conv_norm_act(width, width, 5, width), conv_norm_act(width, width, 1)) for _ in channels
        )
        self.last_shared = nn.Conv2d(width, width, 1)

    @property
    def deepest(self) -> nn.Conv2d:
        return cast(nn.Conv2d, self.lateral[-1].get_submodule("0"))

    def forward(self, levels: list[Tensor], size: tuple[int, int]) -> Tensor:
        fused: Tensor | None = None
        for level, lateral, smooth in reversed(list(zip(levels, self.lateral, self.smooth, strict=True))):
            here = lateral(level)
            if fused is not None:
                here = here + upsample(fused, (here.shape[-2], here.shape[-1]))
            fused = smooth(here)
        assert fused is not None
        return self.last_shared(upsample(fused, size))


class Head(nn.Module, ABC):
    """z (B, width, h, w) -> raw map (B, C, h, w). Made from its settings only; the network builds a copy per task."""

    @abstractmethod
    def build(self, width: int, channels: int, bias: list[float] | None) -> None:
        """Make the layers. bias: of the last one (C values); zeros if not given."""

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor: ...


class ConvHead(Head):
    """One 3x3 convolution to half the width, then a 1x1 one."""

    def build(self, width: int, channels: int, bias: list[float] | None) -> None:
        last = output_layer(width // 2, channels, bias)  # before the first: the order that random weights are drawn in
        self.layers = nn.Sequential(conv_norm_act(width, width // 2), last)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class LinearHead(Head):
    """One 1x1 convolution: what is shared is all but the last layer, as in the GradNorm paper."""

    def build(self, width: int, channels: int, bias: list[float] | None) -> None:
        self.layer = output_layer(width, channels, bias)

    def forward(self, z: Tensor) -> Tensor:
        return self.layer(z)


def output_layer(inputs: int, channels: int, bias: list[float] | None) -> nn.Conv2d:
    """A 1x1 convolution whose map is close to `bias` (C values; zeros if not given) at first."""
    layer = nn.Conv2d(inputs, channels, 1)
    nn.init.normal_(layer.weight, std=0.01)
    layer.bias = nn.Parameter(torch.zeros(channels) if bias is None else torch.tensor(bias))
    return layer


def upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, pixel centres aligned as in image resizing."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
