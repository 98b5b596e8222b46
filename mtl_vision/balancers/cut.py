"""The cut between trunk and heads: each head can be run backward separately, down to z, and the trunk once for all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Shared:
    """The trunk's output of one forward pass, cut from its graph for the heads."""

    z: Tensor  # the output of the last shared layer, with its graph
    leaf: Tensor  # its values, which the heads take
    W: Tensor  # the weight of the layer whose output z is, or of a layer before it

    @classmethod
    def cut(cls, z: Tensor, W: Tensor) -> Shared:
        """Cut at z; the heads take `leaf`."""
        return cls(z, z.detach().requires_grad_(), W)

    def backward_heads(self, objective: Tensor, *tasks: str) -> Tensor:
        """Run the heads of these tasks backward from a scalar, down to z; its gradient there, in z's shape."""
        self.leaf.grad = None
        objective.backward()
        if self.leaf.grad is None:
            raise ValueError(f"the loss of {', '.join(tasks)} does not depend on cut.leaf: give it to the heads, not z")
        return self.leaf.grad

    def gradient_at_weight(self, dz: Tensor) -> Tensor:
        """The gradient with respect to W, in its shape, from one at z. The graph stays."""
        (found,) = torch.autograd.grad(self.z, self.W, dz, retain_graph=True, allow_unused=True)
        if found is None:
            z, W = tuple(self.z.shape), tuple(self.W.shape)
            raise ValueError(f"z {z} does not depend on W {W}: expected the weight of the layer whose output z is")
        return found
