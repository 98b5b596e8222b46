"""Several processes as one: torchrun starts them, each has its part of every batch.

A loss is the mean over the pixels of all processes (`global_batch`), batch norm is over the samples of all
(`sync_norm`), gradients are averaged once a step (`reducer`): not by DistributedDataParallel, which counts on one
backward pass a step, where balancers run several. With one process all of this does nothing.
"""

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from mtl_vision.engine import ending
from mtl_vision.engine.ending import answered
from mtl_vision.engine.mesh import Mesh

# one process packs the data while the others wait: that may take longer than the default of ten minutes
WAIT = timedelta(hours=3)


_mesh: Mesh | None = None  # of processes on the CPU of one machine
_store: Store | None = None  # that all processes share


def start(device: torch.device) -> None:
    """Join the group that torchrun describes in the environment, if it does."""
    if launched() > 1 and not dist.is_initialized():
        # counts of a batch travel between CPUs: a GPU need not wait for them
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        store, rank, count = _meet()
        one_machine = device.type == "cpu" and os.environ.get("LOCAL_WORLD_SIZE") == str(count)
        join(backend, store, rank, count, WAIT, one_machine)


def launched() -> int:
    """Number of processes that torchrun has started, whether or not they have joined."""
    return int(os.environ.get("WORLD_SIZE", 1))


def _meet() -> tuple[Store, int, int]:
    """The store, this process' rank, and the number of processes."""
    store, rank, count = next(rendezvous("env://", timeout=WAIT))
    # torchrun's store outlives its processes: restarted ones are not to find the addresses of those before them
    return PrefixStore(f"attempt_{_attempt()}", store), rank, count


def first_to_fail() -> bool:
    """Whether no other process has failed before this one, which then says why; to be asked once."""
    store = _store
    if store is None and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":  # torchrun's: it answers
        store = _meet()[0]
    return ending.is_first(store)


def join(backend: str, store: Store, rank: int, count: int, timeout: timedelta, one_machine: bool) -> None:
    """Join the group of all processes that share `store`. one_machine: on the CPU of which they all are."""
    global _mesh, _store
    _store = store
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=timeout)
    if one_machine:
        _mesh = Mesh.connected(store, rank, count, timeout)


def stop() -> None:
    """Leave the group."""
    global _mesh, _store
    if _mesh is not None:
        _mesh.close()
    _mesh = _store = None
    if dist.is_initialized():
        dist.destroy_process_group()


def restarted() -> bool:
    """Whether torchrun has started these processes again, after some of them had failed."""
    return _attempt() > 0


def _attempt() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process, 0 is the one that writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def mean(tensor: Tensor) -> Tensor:
    """Mean over processes."""
    return tensor if world() == 1 else total(tensor) / world()


def total(tensor: Tensor) -> Tensor:
    """Sum over processes."""
    if world() == 1:
        return tensor
    if _mesh is not None and _mesh.takes(tensor):
        return _mesh.gather(tensor).sum(0)
    tensor = tensor.clone(memory_format=torch.contiguous_format)  # the sum is made in place
    with answered():
        dist.all_reduce(tensor)
    return tensor


def gather(tensor: Tensor) -> Tensor:
    """The tensors of all processes, stacked: (world, *shape). Of small ones it is faster than a sum."""
    if world() == 1:
        return tensor[None]
    if _mesh is not None and _mesh.takes(tensor):
        return _mesh.gather(tensor)
    found = tensor.new_empty(world(), tensor.numel())
    with answered():
        dist.all_gather_into_tensor(found.view(-1), tensor.reshape(-1))
    return found.view(world(), *tensor.shape)


def average_buffers(model: nn.Module) -> None:
    """Batch norm's running statistics: their mean over processes, so that all evaluate the same network."""
    for buffer in model.buffers() if world() > 1 else ():
        if buffer.is_floating_point():
            buffer.copy_(mean(buffer))


def barrier() -> None:
    """Wait for all."""
    if world() > 1:
        with answered():
            dist.barrier()


def same(value: str) -> str:
    """Process 0's value, on every process."""
    values = [value]
    if world() > 1:
        with answered():
            dist.broadcast_object_list(values)
    return values[0]
