"""The cut between trunk and heads: each head can be run backward separately, down to z, and the trunk once for all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Shared:
    """The trunk's output of one forward pass, cut from its graph for the heads.

    Attributes:
        z: the output of the last shared layer, any shape, with its graph
        leaf: its values, which the heads take
        W: the weight of the layer whose output z is, or of a layer before it
        scale: what objectives are multiplied by for the backward pass
    """

    z: Tensor
    leaf: Tensor
    W: Tensor
    scale: Tensor | None = None

    @classmethod
    def cut(cls, z: Tensor, W: Tensor, scale: Tensor | None = None) -> Shared:
        """Cut at z; the heads take `leaf`.

        Args:
            z: the trunk's output, any shape
            W: the weight of the layer whose output z is, or of an earlier one
            scale: a loss scale, for float16, in which small gradients are 0. Gradients at z and W are as without it,
                in float32 or wider; those that are left in the parameters are multiplied by it: the caller's to
                divide (torch.amp.GradScaler.unscale_)
        """
        return cls(z, z.detach().requires_grad_(), W, scale)

    def backward_heads(self, objective: Tensor, *tasks: str) -> Tensor:
        """Run the heads of these tasks backward from a scalar, down to z; its gradient there, in z's shape."""
        self.leaf.grad = None
        (objective if self.scale is None else self.scale * objective).backward()
        if self.leaf.grad is None:
            raise ValueError(f"the loss of {', '.join(tasks)} does not depend on cut.leaf: give it to the heads, not z")
        return self._unscaled(self.leaf.grad)

    def backward_trunk(self, dz: Tensor) -> None:
        """Run the trunk backward from a gradient at z."""
        self.z.backward(self._scaled(dz))

    def gradient_at_weight(self, dz: Tensor) -> Tensor:
        """The gradient with respect to W, in its shape, from one at z. The graph stays."""
        (found,) = torch.autograd.grad(self.z, self.W, self._scaled(dz), retain_graph=True, allow_unused=True)
        if found is None:
            z, W = tuple(self.z.shape), tuple(self.W.shape)
            raise ValueError(
                f"z {z} does not depend on W {W}: expected the weight of the layer whose output z is, or an earlier one"
            )
        return self._unscaled(found)

    def _scaled(self, gradient: Tensor) -> Tensor:
        """As the backward pass takes it: multiplied, and in z's type."""
        return gradient if self.scale is None else (self.scale * gradient).to(self.z.dtype)

    def _unscaled(self, gradient: Tensor) -> Tensor:
        """As the methods take it."""
        wide = torch.promote_types(gradient.dtype, torch.float32)
        return gradient if self.scale is None else gradient.to(wide) / self.scale
