"""torch.compile of a training step's forward pass: of the backbone, and of each head by itself.

What is compiled together is run backward as a whole. So the decoder is left as it is: the way from z back to W, the
weight that gradient norms are taken at, lies in it; and heads, which are run backward one by one, are compiled so. The
network itself does not change: its names, evaluation and export stay. A W at the encoder lies in the compiled part, of
which each norm then takes the whole way back: `balancer.place: backbone` costs less, or a larger `interval`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_vision.engine import distributed
from mtl_vision.models import Network


class Compiled:
    """A network's `encode` and `decode`, for training."""

    def __init__(self, model: Network) -> None:
        self.model = model
        self._levels = _compiled(lambda image: model.levels(image))
        self._heads = {name: _head(model, name) for name in model.heads}

    def encode(self, image: Tensor) -> Tensor:
        """As the network's."""
        return self.model.fuse(self._levels(image), image)

    def decode(self, z: Tensor, size: tuple[int, int], tasks: Sequence[str]) -> dict[str, Tensor]:
        """As the network's."""
        return {name: self._heads[name](z, size) for name in tasks}


def _head(model: Network, name: str) -> Callable[[Tensor, tuple[int, int]], Tensor]:
    def decode(z: Tensor, size: tuple[int, int]) -> Tensor:
        return model.decode(z, size, [name])[name]

    return _compiled(decode)


def _compiled(function: Any) -> Any:
    # torch compiles a code object so many times, and then no more: each head, and each training, has its own
    function.__code__ = function.__code__.replace()
    return torch.compile(function, dynamic=False)


def expect_compiler(device: torch.device) -> None:
    """Raises ValueError where torch.compile does not work; a trial of a few seconds."""
    if device.type == "cpu" and distributed.world() > 1:  # batch norm's messages between processes
        raise ValueError("run.compile is true: expected one process on the CPU, or GPUs")
    try:
        torch.compile(torch.neg, dynamic=False)(torch.zeros(2, device=device))
    except Exception as error:  # of many types: a compiler or Triton is missing, or this Python is too new
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"run.compile: torch.compile does not work here ({type(error).__name__}: {reason}); install a C++ compiler "
            "(CPU) or Triton (GPU), or leave it out"
        ) from error
