"""A network for normals of the size of DSINE (Bae and Davison, "Rethinking Inductive Biases for Surface Normal
Estimation", CVPR 2024), to measure time with.

The widths are those of its published code, version 2: an EfficientNet-B5, a decoder from 2048 to 512 channels at stride
8 that is told where each pixel looks, a recurrent cell of 64 channels that looks at 5 x 5 pixels and refines the
normals five times, and learned upsampling. One thing is left out, which makes it faster: its rotations of each normal's
neighbours, which have no weights, are an addition here.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOW, STEPS, HIDDEN, DOWN = 5, 5, 64, 8


def head(channels: int, width: int, out: int) -> nn.Sequential:
    """Three convolutions."""
    layers = nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, width, 1), nn.Conv2d(width, out, 1)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


def merging(channels: int, out: int) -> nn.Sequential:
    """Two convolutions of the decoder, over what comes from below and from the encoder."""
    first, second = nn.Conv2d(channels, out, 3, padding=1), nn.Conv2d(out, out, 3, padding=1)
    norms = nn.GroupNorm(8, out), nn.GroupNorm(8, out)
    return nn.Sequential(first, norms[0], nn.LeakyReLU(), second, norms[1], nn.LeakyReLU())


class NormalsNetwork(nn.Module):
    """A network for normals of DSINE's size: (B, 3, H, W) -> unit vectors (B, 3, H, W), H and W multiples of 8."""

    def __init__(self) -> None:
        super().__init__()
        encoder: Any = timm.create_model("tf_efficientnet_b5", pretrained=False)
        self.stem = nn.Sequential(encoder.conv_stem, encoder.bn1)
        self.stages = nn.ModuleList(encoder.blocks)
        self.last = nn.Sequential(encoder.conv_head, encoder.bn2)
        self.bottom = nn.Conv2d(2048 + 2, 2048, 1)  # the two are where a pixel looks
        self.merge = nn.ModuleList([merging(2048 + 176 + 2, 1024), merging(1024 + 64 + 2, 512)])
        self.heads = nn.ModuleList([head(512 + 2, 128, out) for out in (3, HIDDEN, HIDDEN)])
        pad = WINDOW // 2
        self.gates = nn.ModuleList([nn.Conv2d(2 * HIDDEN + 2, HIDDEN, WINDOW, padding=pad) for _ in range(3)])
        self.weights = head(HIDDEN + 2, 64, WINDOW**2)
        self.turns = nn.ModuleList([head(HIDDEN + 2, 64, WINDOW**2 * n) for n in (2, 1)])
        self.upsampling = head(HIDDEN + 2, 64, 9 * DOWN**2)

    def forward(self, image: Tensor) -> Tensor:
        at: dict[int, Tensor] = {}
        x = self.stem(image)
        for i, stage in enumerate(self.stages):
            at[i] = x = stage(x)
        x = self.bottom(self.seen(self.last(x)))
        for skip, merge in zip((at[4], at[2]), self.merge, strict=True):
            grown = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = merge(self.seen(torch.cat([grown, skip], 1)))
        x = self.seen(x)
        normals, features, hidden = (part(x) for part in self.heads)
        features = self.seen(features)
        for _ in range(STEPS):
            hidden, normals = self.refined(hidden, features, F.normalize(normals, dim=1))
        return self.upsampled(normals, self.upsampling(self.seen(hidden)))

    @staticmethod
    def seen(x: Tensor) -> Tensor:
        """With two channels more: the place of each pixel."""
        B, _, H, W = x.shape
        v, u = torch.meshgrid(torch.linspace(-1, 1, H), torch.linspace(-1, 1, W), indexing="ij")
        return torch.cat([x, torch.stack([u, v]).expand(B, 2, H, W)], 1)

    def refined(self, hidden: Tensor, features: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
        """One step: the recurrent cell, and each normal from those in its window."""
        B, _, H, W = normals.shape
        update, reset, new = self.gates
        both = torch.cat([hidden, features], 1)
        z, r = update(both).sigmoid(), reset(both).sigmoid()
        hidden = (1 - z) * hidden + z * new(torch.cat([r * hidden, features], 1)).tanh()
        seen = self.seen(hidden)
        axes, angles = (turn(seen) for turn in self.turns)
        near = F.unfold(normals, WINDOW, padding=WINDOW // 2).view(B, 3, WINDOW**2, H, W)
        turned = near + torch.cat([F.normalize(axes.view(B, 2, WINDOW**2, H, W), dim=1), angles[:, None]], 1)
        return hidden, (self.weights(seen).sigmoid()[:, None] * F.normalize(turned, dim=1)).sum(2)

    @staticmethod
    def upsampled(normals: Tensor, weights: Tensor) -> Tensor:
        """Each fine pixel is a mean of 3 x 3 coarse ones, with weights of its own."""
        B, _, H, W = normals.shape
        mask = weights.view(B, 1, 9, DOWN, DOWN, H, W).softmax(2)
        near = F.unfold(normals, 3, padding=1).view(B, 3, 9, 1, 1, H, W)
        fine = (mask * near).sum(2).permute(0, 1, 4, 2, 5, 3).reshape(B, 3, DOWN * H, DOWN * W)
        return F.normalize(fine, dim=1)
