"""From samples to batches: seeded order, augmentation, collation. Every draw depends on (seed, epoch, index) alone.

Shape legend: B batch, H height, W width.
"""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mtl_vision.datasets.sample import Sample
from mtl_vision.loading import geometry
from mtl_vision.loading.augment import Augmentation
from mtl_vision.loading.cache import PackedDataset, unpacked
from mtl_vision.loading.shared import Slots, Slotted
from mtl_vision.runtime.kinds import KINDS, Size

DTYPE = {"depth": np.float32, "normals": np.float32}  # label maps are uint8
TAIL = {"normals": (3,)}
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


class Samples(Protocol):
    """Any sequence of samples."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample: ...


@dataclass
class Batch:
    """A batch on one device.

    image: (B, 3, H, W) uint8 RGB, channels last in memory. targets: depth (B, 1, H, W) float32, normals (B, 3, H, W)
    float32, segmentation (B, H, W) uint8. present: the targets with any valid pixel, known without asking a GPU.
    """

    names: list[str]
    image: Tensor
    targets: dict[str, Tensor]
    present: frozenset[str]

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        image = self.image.to(device, non_blocking=True)
        targets = {name: target.to(device, non_blocking=True) for name, target in self.targets.items()}
        return Batch(self.names, image, targets, self.present)

    def pin_memory(self) -> Batch:
        """Called by the loader's pinning thread."""
        targets = {name: target.pin_memory() for name, target in self.targets.items()}
        return Batch(self.names, self.image.pin_memory(), targets, self.present)


@dataclass
class _Written:
    """A batch that a worker has written to a slot."""

    slot: int
    names: list[str]
    present: frozenset[str]


class _View(Dataset):
    """Samples at one size with these targets alone, augmented by the seed that comes with the index.

    memory: the slots that batches are written to, or None.
    """

    def __init__(
        self,
        samples: Samples,
        targets: Sequence[str],
        size: Size,
        augment: Augmentation | None,
        memory: Tensor | None = None,
    ) -> None:
        self.samples, self.targets, self.size, self.augment, self.memory = samples, targets, size, augment, memory

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        index, seed = key
        sample = self._read(index)
        return unpacked(self.augment(sample, seed) if self.augment else sample.resized(self.size))

    def __getitems__(self, asked: tuple[int | None, Sequence[tuple[int, int]]]) -> Batch | _Written:
        """A whole batch, for torch's loader."""
        slot, keys = asked
        samples = (self[key] for key in keys)
        if slot is None or self.memory is None:
            return collate(samples, self.targets, len(keys))
        arrays = _room(self.targets, len(keys), self.size, self.memory[slot].numpy())
        return _Written(slot, *_fill(arrays, samples))

    def _read(self, index: int) -> Sample:
        if isinstance(self.samples, PackedDataset):
            return self.samples.stored(index, self.targets)
        sample = self.samples[index]
        return replace(sample, targets={name: t for name, t in sample.targets.items() if name in self.targets})


class EpochSampler(Sampler):
    """Batches of (index, seed) for one process of `world`; shuffled and without the last short batch when training.

    Set `epoch` before iterating. In evaluation every sample is seen exactly once over all processes.
    """

    def __init__(self, count: int, batch_size: int, seed: int, train: bool, rank: int = 0, world: int = 1) -> None:
        self.count, self.batch_size, self.seed, self.train = count, batch_size, seed, train
        self.rank, self.world = rank, world
        self.epoch = 0

    def __len__(self) -> int:
        if self.train:
            return self.count // (self.batch_size * self.world)
        return -(-len(range(self.rank, self.count, self.world)) // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(self.count) if self.train else np.arange(self.count)
        seeds = rng.integers(2**31, size=self.count)
        mine = order[: len(self) * self.batch_size * self.world] if self.train else order
        mine = mine[self.rank :: self.world]
        starts = range(0, len(mine), self.batch_size)
        # no generator: the epoch is that of this call, not of the first batch asked for
        return iter([[(int(i), int(seeds[i])) for i in mine[at : at + self.batch_size]] for at in starts])


def collate(samples: Iterable[Sample], targets: Sequence[str], count: int) -> Batch:
    """A batch of `count` samples of one size; a target that a sample lacks is filled with invalid pixels."""
    samples = iter(samples)
    first = next(samples)
    arrays = _room(targets, count, first.size)
    return _batch(arrays, *_fill(arrays, chain([first], samples)))


def _room(targets: Sequence[str], count: int, size: Size, memory: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Arrays for `count` pictures and their targets; in `memory`, bytes, if it is given."""
    shapes = {"image": (count, *size, 3)} | {name: (count, *size, *TAIL.get(name, ())) for name in targets}
    arrays, at = {}, 0
    for name in sorted(shapes, key=lambda name: name not in DTYPE):  # floats first: they begin at multiples of 4
        dtype = np.dtype(DTYPE.get(name, np.uint8))
        end = at + math.prod(shapes[name]) * dtype.itemsize
        here = None if memory is None else memory[at:end].view(dtype).reshape(shapes[name])
        arrays[name] = np.empty(shapes[name], dtype) if here is None else here
        at = end
    return {name: arrays[name] for name in shapes}


def _fill(arrays: dict[str, np.ndarray], samples: Iterable[Sample]) -> tuple[list[str], frozenset[str]]:
    """Write each sample to its place as it comes; returns their names and the targets with any valid pixel."""
    names: list[str] = []
    for k, sample in enumerate(samples):
        names.append(sample.name)
        for name, array in arrays.items():
            if name == "image":
                array[k] = sample.image
            else:
                array[k] = sample.targets.get(name, KINDS[geometry.KIND_OF[name]].invalid)
    return names, frozenset(name for name in arrays if name != "image" and _any_valid(name, arrays[name]))


def _batch(arrays: dict[str, np.ndarray], names: list[str], present: frozenset[str]) -> Batch:
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    if "depth" in tensors:
        tensors["depth"] = tensors["depth"].unsqueeze(1)
    if "normals" in tensors:
        tensors["normals"] = tensors["normals"].permute(0, 3, 1, 2)
    return Batch(names, tensors.pop("image").permute(0, 3, 1, 2), tensors, present)


def _any_valid(name: str, maps: np.ndarray) -> bool:
    kind = KINDS[geometry.KIND_OF[name]]
    return any(kind.valid(array).any() for array in maps)  # the first sample says it, as a rule


class Loader:
    """Batches of one epoch: `for batch in loader.epoch(3)`.

    held: batches that are in use at once; more is no error, but costs fresh memory.
    """

    def __init__(
        self,
        samples: Samples,
        targets: Sequence[str],
        size: Size,
        batch_size: int,
        *,
        augment: Augmentation | None = None,
        train: bool = False,
        workers: int = 0,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        pin: bool = False,
        held: int = 1,
    ) -> None:
        self.samples, self.targets, self.size = samples, tuple(targets), size
        self.sampler = EpochSampler(len(samples), batch_size, seed, train, rank, world)
        # what is made ahead, what has come, and what is in use; pinned memory is kept for reuse by torch itself
        room = _room(self.targets, batch_size, size)
        bytes_ = sum(array.nbytes for array in room.values())
        self.slots = Slots(2 * workers + 1 + 2 * held, bytes_) if workers and not pin else None
        self.loader = DataLoader(
            _View(samples, self.targets, size, augment, self.slots and self.slots.memory),
            batch_sampler=Slotted(self.sampler, self.slots),
            num_workers=workers,
            collate_fn=_whole,  # `__getitems__` gives batches
            persistent_workers=workers > 0,
            pin_memory=pin,
            worker_init_fn=as_worker,
            generator=torch.Generator().manual_seed(seed),  # it would draw from the global one, as methods do
        )

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.sampler)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, in the order that (seed, epoch) fixes."""
        self.sampler.epoch = epoch
        return (self._received(batch) for batch in self.loader)

    def _received(self, batch: Batch | _Written) -> Batch:
        if isinstance(batch, Batch):
            return batch
        assert self.slots is not None
        memory = self.slots.lend(batch.slot)
        arrays = _room(self.targets, len(batch.names), self.size, memory)
        return _batch(arrays, batch.names, batch.present)

    def spread(self, count: int = 6) -> Batch:
        """A batch of `count` samples from all over the set, always the same ones; meant for an evaluation loader."""
        picks = np.unique(np.linspace(0, len(self.samples) - 1, count).round().astype(int))
        samples = (self.samples[int(index)].resized(self.size) for index in picks)
        return collate(samples, self.targets, len(picks))


def _whole(batch: Any) -> Any:
    return batch


def as_worker(_: int = 0) -> None:
    """Set this process up as a loading one."""
    import cv2

    cv2.setNumThreads(0)  # the workers are the parallelism
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        # keep the memory of one sample for the next: by default glibc gives it back, and gets it page by page again
        libc.mallopt(M_TRIM_THRESHOLD, 2**30)
        libc.mallopt(M_MMAP_THRESHOLD, 2**25)  # the most that older ones take
