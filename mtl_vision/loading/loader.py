"""From samples to batches: seeded order, augmentation, collation. Every draw depends on (seed, epoch, index) only.

Shape legend: B batch, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mtl_vision.datasets.sample import Sample
from mtl_vision.datasets.targets import kind_of, target_of
from mtl_vision.loading.augment import Augmentation
from mtl_vision.loading.cache import PackedDataset, unpacked
from mtl_vision.runtime.kinds import Size
from mtl_vision.runtime.workers import end_with_parent


class Samples(Protocol):
    """Any sequence of samples."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample: ...


@dataclass
class Batch:
    """A batch on one device.

    image: (B, 3, H, W) uint8 RGB, channels last in memory. targets, as their kinds have them: depth (B, 1, H, W)
    float32, normals (B, 3, H, W) float32, segmentation (B, H, W) uint8. present: the targets with any valid pixel.
    """

    names: list[str]
    image: Tensor
    targets: dict[str, Tensor]
    present: frozenset[str]

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Called by the loader's pinning thread."""
        return self._each(Tensor.pin_memory)

    def _each(self, move: Callable[[Tensor], Tensor]) -> Batch:
        targets = {name: move(target) for name, target in self.targets.items()}
        return replace(self, image=move(self.image), targets=targets)


class _View(Dataset):
    """Samples at one size with these targets only, augmented by the seed that comes with the index."""

    def __init__(self, samples: Samples, targets: Sequence[str], size: Size, augment: Augmentation | None) -> None:
        self.samples, self.size, self.augment = samples, size, augment
        self.targets = {name: target_of(name) for name in targets}  # which a worker that is not forked registers

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        index, seed = key
        if isinstance(self.samples, PackedDataset):
            sample = self.samples.stored(index, tuple(self.targets))
        else:
            sample = self.samples[index]
            sample = replace(sample, targets={name: t for name, t in sample.targets.items() if name in self.targets})
        return unpacked(self.augment(sample, seed) if self.augment else sample.resized(self.size))

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> Batch:
        """A batch, for torch's loader: each sample is written to its place as it comes."""
        return collate((self[key] for key in keys), tuple(self.targets), len(keys))


class EpochSampler(Sampler):
    """Batches of (index, seed) for one process of `world`; shuffled and without the last short batch when training.

    Set `epoch` before iterating. In evaluation every sample is seen exactly once over all processes. fresh: epoch e has
    the indices from e * count on, of samples without end.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        train: bool,
        rank: int = 0,
        world: int = 1,
        fresh: bool = False,
    ) -> None:
        self.count, self.batch_size, self.seed, self.train = count, batch_size, seed, train
        self.rank, self.world, self.fresh = rank, world, fresh
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
        first = self.epoch * self.count if self.fresh else 0
        # no generator: the epoch is that of this call, not of the first batch that is taken
        return iter([[(first + int(i), int(seeds[i])) for i in mine[at : at + self.batch_size]] for at in starts])


def collate(samples: Iterable[Sample], targets: Sequence[str], count: int) -> Batch:
    """A batch of `count` samples of one size; a target that a sample lacks is filled with invalid pixels."""
    samples = iter(samples)
    first = next(samples)
    kinds = {name: kind_of(name) for name in targets}
    images = np.empty((count, *first.size, 3), np.uint8)
    maps = {name: np.empty((count, *first.size, *kind.tail), kind.dtype) for name, kind in kinds.items()}
    names: list[str] = []
    for k, sample in enumerate(chain([first], samples)):
        names.append(sample.name)
        images[k] = sample.image
        for name, array in maps.items():
            array[k] = sample.targets.get(name, kinds[name].invalid)
    # the first map is enough, as a rule
    present = frozenset(name for name, array in maps.items() if any(kinds[name].valid(one).any() for one in array))
    tensors = {name: torch.from_numpy(kinds[name].to_tensor_layout(array)) for name, array in maps.items()}
    return Batch(names, torch.from_numpy(images).permute(0, 3, 1, 2), tensors, present)


class Loader:
    """Batches of one epoch: `for batch in loader.epoch(3)`.

    samples: a FolderDataset, a PackedDataset, a list. targets: names of those that batches hold; size: (H, W) that
    samples are brought to; augment: applied to each, by a seed of its own. train: shuffled, and without the last short
    batch. workers: loading processes, 0 for none. rank, world: which of how many training processes this is. pin: into
    pinned memory, for a CUDA device. fresh: the samples have no end, and every epoch takes the next `len(samples)`.
    Raises ValueError for a batch that the samples do not fill.
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
        fresh: bool = False,
    ) -> None:
        self.samples, self.targets, self.size = samples, tuple(targets), size
        if batch_size < 1 or (train and len(samples) < batch_size * world):
            raise ValueError(
                f"batch_size is {batch_size}: expected 1 at least, and at most what {len(samples)} samples fill in "
                f"{world} training process(es)"
            )
        self.sampler = EpochSampler(len(samples), batch_size, seed, train, rank, world, fresh)
        self.loader = DataLoader(
            _View(samples, self.targets, size, augment),
            batch_sampler=self.sampler,
            num_workers=workers,
            collate_fn=_same,  # `__getitems__` gives batches
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
        return iter(self.loader)

    def spread(self, count: int = 6, among: Sequence[int] | None = None) -> Batch:
        """A batch of `count` samples from all over the set, always the same ones; meant for an evaluation loader.

        among: the samples that it takes them from (all).
        """
        among = range(len(self.samples)) if among is None else among
        picks = np.unique(np.linspace(0, len(among) - 1, count).round().astype(int))
        samples = (self.samples[among[int(index)]].resized(self.size) for index in picks)
        return collate(samples, self.targets, len(picks))


def _same(batch: Any) -> Any:
    return batch


def as_worker(_: int = 0) -> None:
    """Set this process up as a loading one."""
    import cv2

    cv2.setNumThreads(0)  # the workers are the parallelism
    end_with_parent()
