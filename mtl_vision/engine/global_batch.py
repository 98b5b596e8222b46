"""The batch that all processes hold together, of which each has a part.

A task's loss is a mean over valid pixels, and processes have different numbers of them. Each process' mean is
multiplied by its pixels * processes / all pixels: the mean over processes is then that over all pixels. A loss that is
no such mean takes what it needs from the others' pixels itself, within `joined`: it has one value in all processes,
which is then their mean.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from mtl_vision.engine import distributed
from mtl_vision.loading.loader import Batch
from mtl_vision.tasks import Task, whole_batch
from mtl_vision.tasks.base import thinned


@dataclass(frozen=True)
class Part:
    """What a process needs to know of the others' parts of a micro-batch.

    names: the tasks that any of them has, in order; all processes run the same heads, as batch norm's messages must
    match. loss, kpi: the factor of each task's loss and performance indicator, 1 with one process; 0 for a task that
    this process lacks.
    """

    names: list[str]
    loss: Mapping[str, float]
    kpi: Mapping[str, float]


@contextmanager
def joined() -> Iterator[None]:
    """Within it, tasks take each batch for a process' part of the one that all of them have."""
    with whole_batch.shared(distributed.gather if distributed.world() > 1 else None):
        yield


def parts(batches: Sequence[Batch], tasks: Mapping[str, Task], observes: bool) -> list[Part]:
    """This process' parts of the micro-batches of a step; one message. observes: whether `kpi` is needed."""
    if distributed.world() == 1:
        names = ([name for name in tasks if name in batch.present] for batch in batches)
        return [Part(own, dict.fromkeys(own, 1.0), dict.fromkeys(own, 1.0)) for own in names]
    own = torch.stack([_counts(batch, tasks, observes) for batch in batches]).cpu()
    result = []
    for mine, everywhere in zip(own.tolist(), distributed.total(own).tolist(), strict=True):
        names = [name for name, here in zip(tasks, everywhere[0], strict=True) if here]
        factors = [
            {name: _factor(*counts) for name, *counts in zip(tasks, mine[i], everywhere[i], strict=True)}
            for i in (1, 2)
        ]
        result.append(Part(names, *factors))
    return result


def _counts(batch: Batch, tasks: Mapping[str, Task], observes: bool) -> Tensor:
    """(3, T): whether the batch has the task, and the pixels that its loss and its performance indicator take."""
    here = torch.tensor([name in batch.present for name in tasks])
    valid = [task.valid(batch.targets[name]).sum() for name, task in tasks.items()]
    thin = [task.valid(thinned(batch.targets[name])).sum() for name, task in tasks.items()] if observes else valid
    pixels = torch.stack([*valid, *thin]).view(2, -1)
    return torch.cat([here[None].to(pixels), pixels])


def _factor(own: int, everywhere: int) -> float:
    return own * distributed.world() / everywhere if everywhere else 1.0
