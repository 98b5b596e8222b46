"""From samples to batches: seeded order, augmentation, collation. Every draw depends on (seed, epoch, index) alone.

Shape legend: B batch, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mtl_vision.data import geometry
from mtl_vision.data.augment import Augmentation
from mtl_vision.data.sample import Sample
from mtl_vision.runtime.kinds import IGNORE, KINDS, Size


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


class _View(Dataset):
    """Samples at one size, augmented by the seed that comes with the index."""

    def __init__(self, samples: Samples, size: Size, augment: Augmentation | None) -> None:
        self.samples, self.size, self.augment = samples, size, augment

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        index, seed = key
        sample = self.samples[index]
        return self.augment(sample, seed) if self.augment else geometry.resize(sample, self.size)


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


def collate(samples: Sequence[Sample], targets: Sequence[str]) -> Batch:
    """Stack samples; a target that a sample lacks is filled with invalid pixels."""
    size = samples[0].size
    empty = {
        "depth": np.zeros(size, np.float32),
        "normals": np.zeros((*size, 3), np.float32),
        "segmentation": np.full(size, IGNORE, np.uint8),
    }
    stacked = {
        name: np.stack([s.targets[name] if name in s.targets else empty[name] for s in samples]) for name in targets
    }
    present = frozenset(name for name, array in stacked.items() if KINDS[geometry.KIND_OF[name]].valid(array).any())
    tensors = {name: torch.from_numpy(array) for name, array in stacked.items()}
    if "depth" in tensors:
        tensors["depth"] = tensors["depth"].unsqueeze(1)
    if "normals" in tensors:
        tensors["normals"] = tensors["normals"].permute(0, 3, 1, 2)
    image = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
    return Batch([sample.name for sample in samples], image, tensors, present)


class Loader:
    """Batches of one epoch: `for batch in loader.epoch(3)`."""

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
    ) -> None:
        self.samples, self.targets, self.size = samples, tuple(targets), size
        self.sampler = EpochSampler(len(samples), batch_size, seed, train, rank, world)
        self.loader = DataLoader(
            _View(samples, size, augment),
            batch_sampler=self.sampler,
            num_workers=workers,
            collate_fn=partial(collate, targets=self.targets),
            persistent_workers=workers > 0,
            pin_memory=pin,
            worker_init_fn=_one_thread,
            generator=torch.Generator().manual_seed(seed),  # it would draw from the global one, as methods do
        )

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.sampler)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, in the order that (seed, epoch) fixes."""
        self.sampler.epoch = epoch
        return iter(self.loader)

    def spread(self, count: int = 6) -> Batch:
        """A batch of `count` samples from all over the set, always the same ones; meant for an evaluation loader."""
        picks = np.unique(np.linspace(0, len(self.samples) - 1, count).round().astype(int))
        return collate([geometry.resize(self.samples[int(index)], self.size) for index in picks], self.targets)


def _one_thread(_: int) -> None:
    import cv2

    cv2.setNumThreads(0)  # the workers are the parallelism
