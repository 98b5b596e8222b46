"""The loss scale of float16, in which small gradients would be 0, by torch.amp.GradScaler's rule.

The scale doubles after 2000 steps without an overflow. Where gradients overflow it is halved, and the step, of which
nothing stays, is done again: it comes out as if the lower scale had been there from its beginning.
"""

from typing import Any

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

INITIAL = 2.0**16
FLOOR = 1.0  # gradients that overflow without a scale are too large for float16


class LossScale:
    """What losses are multiplied by before they are run backward.

    lowered: how often a step was done again.
    """

    def __init__(self, device: torch.device) -> None:
        self.scaler = GradScaler(device.type, init_scale=INITIAL)
        self.lowered = 0
        self._one = torch.ones((), device=device)
        self._unscaled = False  # since `keep`
        self._before: dict[str, Any] | None = None  # the state when the step began, if it was lowered since

    def value(self) -> Tensor:
        """The scale, on the device."""
        return self.scaler.scale(self._one)

    def unscale(self, optimizer: Optimizer) -> None:
        """Divide the gradients of its parameters, all of which are there, by the scale."""
        self.scaler.unscale_(optimizer)
        self._unscaled = True

    def lower(self) -> bool:
        """Halve the scale for another attempt at the step, unless it is the lowest."""
        state = self.scaler.state_dict()
        if state["scale"] <= FLOOR:
            return False
        self._before = self._before or state
        self._set(state | {"scale": state["scale"] * state["backoff_factor"], "_growth_tracker": 0})
        self.lowered += 1
        return True

    def keep(self) -> None:
        """The step was good."""
        if self._unscaled:  # a batch without any task has no gradients
            self.scaler.update()
        self._before, self._unscaled = None, False

    def leave_out(self) -> str:
        """The step was not: the scale is what it was before it. Returns what there is to say of it."""
        lowest = self.scaler.get_scale() <= FLOOR
        self._set(self._before or self.scaler.state_dict())
        self._before = None
        return f" (float16, with the lowest loss scale, {FLOOR:g}: bf16 and fp32 reach further)" if lowest else ""

    def _set(self, state: dict[str, Any]) -> None:
        self.scaler.update(state["scale"])  # which also forgets that gradients were unscaled
        self.scaler.load_state_dict(state)
        self._unscaled = False

    def state_dict(self) -> dict[str, Any]:
        return {"scaler": self.scaler.state_dict(), "lowered": self.lowered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scaler.load_state_dict(state["scaler"])
        self.lowered = int(state["lowered"])
