"""From a pyramid of features to one shared map z at stride 4, through the last shared layer.

u = conv3x3( sum_l up( conv1x1(level_l) ) )        top-down, each sum smoothed on the way
z = W u + b                                        the last shared layer: W is where GradNorm looks
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def conv_norm_act(inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def separable(inputs: int, outputs: int, kernel: int = 5) -> nn.Sequential:
    """A depthwise convolution (kernel x kernel), then a 1x1 one: wide sight at low cost."""
    return nn.Sequential(conv_norm_act(inputs, inputs, kernel, groups=inputs), conv_norm_act(inputs, outputs, 1))


class Fusion(nn.Module):
    """Levels (B, C_l, h_l, w_l), finest first -> u (B, width, H / 4, W / 4); `last_shared` makes z of it."""

    def __init__(self, channels: list[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(conv_norm_act(C, width, 1) for C in channels)
        self.smooth = nn.ModuleList(separable(width, width) for _ in channels)
        self.last_shared = nn.Conv2d(width, width, 1)

    @property
    def deepest(self) -> nn.Conv2d:
        """The 1x1 convolution that the deepest level enters by."""
        layer = self.lateral[-1].get_submodule("0")
        assert isinstance(layer, nn.Conv2d)
        return layer

    def forward(self, levels: list[Tensor], size: tuple[int, int]) -> Tensor:
        """size: (H / 4, W / 4). Returns z (B, width, H / 4, W / 4)."""
        fused: Tensor | None = None
        for level, lateral, smooth in reversed(list(zip(levels, self.lateral, self.smooth, strict=True))):
            here = lateral(level)
            if fused is not None:
                here = here + upsample(fused, (here.shape[-2], here.shape[-1]))
            fused = smooth(here)
        assert fused is not None
        return self.last_shared(upsample(fused, size))


def upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, pixel centres aligned as in image resizing."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
