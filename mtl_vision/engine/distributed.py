"""Several processes as one: torchrun starts them, gradients are averaged once a step.

Gradients are averaged by hand after the backward passes, not by DistributedDataParallel: it counts on one backward
pass a step, and balancers run several. With one process all of this does nothing.
"""

import os
from collections.abc import Iterable
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn


def start(device: torch.device) -> None:
    """Join the group that torchrun describes in the environment, if it does."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
        # one process packs the data while the others wait: that may take longer than the default of ten minutes
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=3))


def stop() -> None:
    """Leave the group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process, 0 is the one that writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def mean(tensor: Tensor) -> Tensor:
    """Mean over processes."""
    if world() == 1:
        return tensor
    tensor = tensor.clone(memory_format=torch.contiguous_format)  # the sum is made in place
    dist.all_reduce(tensor)
    return tensor / world()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over processes; one that is missing here counts as zero."""
    if world() == 1:
        return
    gradients = []
    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    flat = mean(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def average_buffers(model: nn.Module) -> None:
    """Batch norm's running statistics: their mean over processes, so that all evaluate the same network."""
    for buffer in model.buffers() if world() > 1 else ():
        if buffer.is_floating_point():
            buffer.copy_(mean(buffer))


def mean_values(values: dict[str, float]) -> dict[str, float]:
    """Mean over processes of named numbers; a name that a process lacks counts as 0 there."""
    if world() == 1:
        return values
    gathered: list[dict[str, float]] = [{} for _ in range(world())]
    dist.all_gather_object(gathered, values)
    names = dict.fromkeys(name for found in gathered for name in found)
    return {name: sum(found.get(name, 0.0) for found in gathered) / world() for name in names}


def barrier() -> None:
    """Wait for all."""
    if world() > 1:
        dist.barrier()


def same(value: str) -> str:
    """Process 0's value, on every process."""
    values = [value]
    if world() > 1:
        dist.broadcast_object_list(values)
    return values[0]
