"""Memory that loading processes write batches to and the training process reads them from, used again and again.

What is fresh costs a page fault every 4 kB, which may take longer than augmenting: 2 ms a sample of 288x384 were seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler


class Slots:
    """`count` slots of `size` bytes, numbered. A slot goes to a worker (`take`), then to the consumer (`lend`)."""

    def __init__(self, count: int, size: int) -> None:
        self.memory = torch.empty((count, size), dtype=torch.uint8).share_memory_()
        self.free = list(range(count))
        self.written: set[int] = set()  # or being written by a worker

    def take(self) -> int | None:
        """A slot for a worker to write to, if one is free."""
        if not self.free:
            return None
        slot = self.free.pop()
        self.written.add(slot)
        return slot

    def lend(self, slot: int) -> np.ndarray:
        """The bytes of a slot that was written; it is free once nothing made from them is left."""
        self.written.remove(slot)
        memory = self.memory[slot].numpy()
        weakref.finalize(memory, self.free.append, slot)
        return memory

    def reclaim(self) -> None:
        """Free what was written and never asked for, as of an epoch that was left in the middle."""
        self.free.extend(self.written)
        self.written.clear()


class Slotted(Sampler):
    """A sampler's batches, each with the slot to write it to: (slot or None, keys)."""

    def __init__(self, batches: Iterable[Any], slots: Slots | None) -> None:
        self.batches, self.slots = batches, slots

    def __iter__(self) -> Iterator[tuple[int | None, Any]]:
        return self._each(iter(self.batches))

    def _each(self, batches: Iterator[Any]) -> Iterator[tuple[int | None, Any]]:
        if self.slots is not None:
            self.slots.reclaim()  # the workers have finished what an earlier epoch asked for by now
        for keys in batches:
            yield self.slots.take() if self.slots is not None else None, keys
