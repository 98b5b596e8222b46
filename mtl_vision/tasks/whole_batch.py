"""Statistics of the whole batch, of which each of several processes has a part. With one process they are its own.

While it trains, a process' loss is multiplied by its share of the valid pixels and averaged over processes
(`engine/global_batch.py`): exact for a mean over valid pixels without further ado. Any other number that a loss takes
from the batch goes through `total` or `largest`, in every process equally often, whatever its pixels are.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

Gather = Callable[[Tensor], Tensor]  # the tensors of all processes, stacked
_gather: Gather | None = None


@contextmanager
def shared(gather: Gather | None) -> Iterator[None]:
    """Within it, batches are parts of the one that all processes have together. None: each is the whole."""
    global _gather
    before, _gather = _gather, gather
    try:
        yield
    finally:
        _gather = before


def total(*values: Tensor) -> Tensor:
    """The sums of scalars (n,) over all parts of the batch; one small message, and one for their gradient."""
    own = torch.stack(values)
    return own if _gather is None else _Total.apply(own, _gather)  # type: ignore[no-any-return]


def largest(value: Tensor) -> Tensor:
    """The largest scalar of all parts of the batch, a constant: without a gradient."""
    value = value.detach()
    return value if _gather is None else _gather(value).amax()


class _Total(Function):
    """y = sum_p x_p in each process p; dx_p = sum_q dy_q, as all of them have y."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gather: Gather) -> Tensor:
        ctx.gather = gather
        return gather(x).sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.gather(dy).sum(0), None
