"""Steps whose loss or gradient is not finite: nothing of them is applied; what is said of them, and what is kept.

`stop` ends the training, and keeps the step in FILE, for reproduce.py. `skip` leaves such steps out, and ends it after
too many.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mtl_vision.engine import checkpoint, distributed
from mtl_vision.loading.loader import Batch

FILE = "nonfinite.pt"  # in the run directory; of the first process, see file_name
IN_A_ROW = 10  # steps that may be skipped one after the other
SHARE, FEW = 0.05, 20  # of all steps that may be skipped, once there are more than a few
NAMED = 3  # parameters, images
OnNonFinite = Literal["stop", "skip"]


class NonFiniteError(FloatingPointError):
    """A loss or a gradient that is not finite. step: what reproduces it, as `write` keeps it."""

    def __init__(self, text: str, step: dict[str, Any]) -> None:
        super().__init__(text)
        self.step = step


@dataclass
class Skipped:
    """How many steps were left out, of all, and in a row up to now."""

    total: int = 0
    row: int = 0

    def count(self, steps: int) -> str | None:
        """One more, of `steps` in all. Returns why the training ends, if it does."""
        self.total, self.row = self.total + 1, self.row + 1
        if self.row >= IN_A_ROW:
            return f"{self.row} steps in a row were left out"
        if self.total > max(FEW, SHARE * steps):
            return f"{self.total} of {steps} steps were left out"
        return None


def fault(losses: Mapping[str, Tensor], parameters: Sequence[tuple[str, nn.Parameter]], step: int) -> str:
    """What is not finite: a task's loss, else the gradient of a parameter; of all processes."""
    bad = {name: value for name, loss in losses.items() if not math.isfinite(value := float(loss))}
    if bad:
        name, value = next(iter(bad.items()))
        more = f" (and of {', '.join(list(bad)[1:])})" if len(bad) > 1 else ""
        return f"the loss of task '{name}'{more} is {value} at step {step}"
    wrong = [name for name, p in parameters if p.grad is not None and not torch.isfinite(p.grad).all()]
    if not wrong:
        return f"the norm of the gradient is not finite at step {step}"
    more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    return f"the gradient of {', '.join(wrong[:NAMED])}{more} is not finite at step {step}"


def kept(batches: Sequence[Batch]) -> list[dict[str, Any]]:
    """Batches as plain data, from which `Batch(**data)` makes them again."""
    return [asdict(batch) | {"present": sorted(batch.present)} for batch in batches]


def file_name(rank: int) -> str:
    """Of a process' part of a step."""
    return f"nonfinite.{rank}.pt" if rank else FILE


def write(folder: Path, step: Mapping[str, Any]) -> None:
    """Keep this process' part of a step in a run directory."""
    checkpoint.write(folder / file_name(distributed.rank()), {**step, "processes": distributed.world()})


def expect_finite(model: nn.Module, balancer: nn.Module, averages: Mapping[str, Tensor] = {}) -> None:
    """Raises FloatingPointError, which names what is not finite in parameters, buffers, averages or tasks' weights."""
    values = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    values |= {f"balancer.{name}": value for name, value in balancer.named_parameters()}
    values |= {f"average of {name}": value for name, value in averages.items()}
    found = [(name, value) for name, value in values.items() if value.is_floating_point()]
    finite = torch.stack([value.detach().isfinite().all() for _, value in found]).tolist()  # one wait for the device
    wrong = [name for (name, _), good in zip(found, finite, strict=True) if not good]
    if wrong:
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise FloatingPointError(
            f"{', '.join(wrong[:NAMED])}{more} of the network are not finite: the checkpoint before stays; "
            "lower train.lr, or set train.clip, and begin a new run"
        )
