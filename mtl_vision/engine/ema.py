"""An exponential moving average of the network's weights, beside the trained ones."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mtl_vision.engine import distributed


class Ema:
    """a <- d a + (1 - d) x for parameters and batch norm's running statistics x, d = min(decay, (1 + t) / (10 + t)).

    t: the updates before. d rises with them, or a short training would end near the weights that it began with. What of
    the state_dict is floating point is averaged; the rest, such as a table of indices, stays the model's.

    torch's AveragedModel is not used: it averages whole numbers as well and rounds them down (with a decay of 0.9, an
    index 3 becomes 2), and its count, a tensor, makes a GPU wait in each step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay, self.updates = model, decay, 0
        kept = model.state_dict().keys()
        named = (*model.named_parameters(), *model.named_buffers())  # each once, also where layers share one
        self._names = [name for name, value in named if name in kept and value.is_floating_point()]
        # looked up each time: a module may put another tensor in a buffer's place
        self._places = [(model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in self._names]
        self._averages = [value.detach().clone() for value in self._trained()]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's weights, once a step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        get_ema_multi_avg_fn(decay)(self._averages, self._trained(), 0)
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averages, and afterwards the trained weights again, bit for bit."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def average_over_processes(self) -> None:
        """The mean of the processes' running statistics, which differ where each normalises by itself."""
        with self.applied():
            distributed.average_buffers(self.model)

    def named_averages(self) -> dict[str, Tensor]:
        """The averages, by the names of what they are of."""
        return dict(zip(self._names, self._averages, strict=True))

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "averages": self.named_averages()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.updates = int(state["updates"])
        for name, average in self.named_averages().items():
            average.copy_(state["averages"][name])

    def _trained(self) -> list[Tensor]:
        return [getattr(module, name).detach() for module, name in self._places]

    @torch.no_grad()
    def _exchange(self) -> None:
        for value, average in zip(self._trained(), self._averages, strict=True):
            kept = value.clone()
            value.copy_(average)
            average.copy_(kept)
