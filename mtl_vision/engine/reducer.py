"""Gradients averaged over processes in buckets, while the trunk is still run backward."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mtl_vision.engine.ending import answered

BYTES = 25 * 2**20  # of a bucket: enough for the network's speed, and several of them for a large model


class Reducer:
    """Parameters whose gradients are views into flat buffers, the buckets, which are averaged over processes.

    A bucket's turn comes when all of its gradients are there, in an order that all processes share. A parameter
    without a gradient in a step counts as zero, and keeps none where all processes lack it. With one process it is not
    used.

    Args:
        first: parameters whose gradients are complete once the trunk is run backward (those of the heads, which may be
            run several times), and at least one of the trunk's that comes first then; one bucket
        trunk: the others, in the order of the forward pass; each gets its gradient once a micro-batch
    """

    def __init__(self, first: Iterable[nn.Parameter], trunk: Iterable[nn.Parameter], limit: int = BYTES) -> None:
        wanted = [p for p in trunk if p.requires_grad]
        chunks = [[p for p in first if p.requires_grad], *_chunks(wanted[::-1], limit)]
        self.buckets = [_Bucket(list(p)) for chunk in chunks for _, p in groupby(chunk, lambda p: (p.dtype, p.device))]
        self._next = len(self.buckets)  # the first one that has not been sent
        for bucket in self.buckets:
            for p in bucket.parameters:
                p.register_post_accumulate_grad_hook(partial(self._arrived, bucket))

    def zero_grad(self) -> None:
        """Set all gradients to zero, in the buckets."""
        self.wait()
        for bucket in self.buckets:
            bucket.zero_grad()

    def last(self) -> None:
        """The next micro-batch is the step's last: buckets are sent as they are filled."""
        self._next = 0
        for bucket in self.buckets:
            bucket.missing = set(bucket.parameters)

    def finish(self) -> None:
        """Send what has not been, and wait: all gradients are then means over processes."""
        for bucket in self.buckets[self._next :]:
            bucket.send()
        self.wait()
        for bucket in self.buckets:
            bucket.flat.div_(dist.get_world_size())
            if len(bucket.arrived) < len(bucket.parameters):  # else all have one, and a GPU is not waited for
                for p, had in zip(bucket.parameters, bucket.had.tolist(), strict=True):
                    if not had:
                        p.grad = None

    def wait(self) -> None:
        """Wait for the buckets that are under way; the next gradients are not sent."""
        self._next = len(self.buckets)
        for bucket in self.buckets:
            bucket.wait()

    def _arrived(self, bucket: _Bucket, parameter: nn.Parameter) -> None:
        if bucket.work is not None:
            raise RuntimeError(
                f"a parameter {tuple(parameter.shape)} got a gradient after it was averaged over processes: expected a "
                "balancer that runs the trunk backward once a micro-batch"
            )
        bucket.arrived.add(parameter)
        if self._next < len(self.buckets):
            bucket.missing.discard(parameter)
            while self._next < len(self.buckets) and not self.buckets[self._next].missing:
                self.buckets[self._next].send()
                self._next += 1


class _Bucket:
    """Parameters of one type, whose gradients are parts of `flat`; at its end, for each, whether there is one."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters
        sizes = [p.numel() for p in parameters]
        self.flat = parameters[0].detach().new_zeros(sum(sizes) + len(sizes))
        *parts, self.had = self.flat.split([*sizes, len(sizes)])
        # a parameter's own strides (channels last): its gradient is added as it comes, and the optimiser is fast
        self.views = [
            part.as_strided(p.shape, p.stride()) if _is_dense(p) else part.view(p.shape)
            for p, part in zip(parameters, parts, strict=True)
        ]
        self.arrived: set[nn.Parameter] = set()  # in this step
        self.missing: set[nn.Parameter] = set()  # in its last micro-batch
        self.work: dist.Work | None = None

    def zero_grad(self) -> None:
        self.flat.zero_()
        self.arrived.clear()
        for p, view in zip(self.parameters, self.views, strict=True):
            p.grad = view

    def send(self) -> None:
        self.had.copy_(torch.tensor([float(p in self.arrived) for p in self.parameters]), non_blocking=True)
        with answered():
            self.work = dist.all_reduce(self.flat, async_op=True)

    def wait(self) -> None:
        if self.work is not None:
            with answered():
                self.work.wait()
            self.work = None


def _chunks(parameters: Sequence[nn.Parameter], limit: int) -> Iterator[list[nn.Parameter]]:
    """In their order, in groups of about `limit` bytes."""
    chunk: list[nn.Parameter] = []
    size = 0
    for p in parameters:
        chunk.append(p)
        size += p.numel() * p.element_size()
        if size >= limit:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _is_dense(tensor: Tensor) -> bool:
    """Whether its elements are all of a block of memory, each once, in any order of the axes."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride != expected:
            return False
        expected *= size
    return True
