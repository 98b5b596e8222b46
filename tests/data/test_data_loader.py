"""Batches: every sample once, the same ones from the same seed, however many workers and processes there are."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from data_testing import SIZE, plane_sample, planes, unit, write_folder
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.sample import Sample
from mtl_vision.loading.augment import Augmentation
from mtl_vision.loading.cache import PackedDataset
from mtl_vision.loading.loader import Batch, EpochSampler, Loader, Samples, collate

ALL = ("depth", "normals", "segmentation")
COUNTS = st.integers(1, 60)
BATCH = st.integers(1, 9)
WORLD = st.integers(1, 4)


def indices(sampler: EpochSampler, epoch: int = 0) -> list[int]:
    sampler.epoch = epoch
    return [index for batch in sampler for index, _ in batch]


@settings(deadline=None)
@given(COUNTS, BATCH, WORLD)
def test_evaluation_sees_every_sample_once_over_all_processes(count: int, batch: int, world: int):
    samplers = [EpochSampler(count, batch, 0, False, rank, world) for rank in range(world)]
    assert sorted(index for sampler in samplers for index in indices(sampler)) == list(range(count))
    assert [len(list(sampler)) for sampler in samplers] == [len(sampler) for sampler in samplers]


@settings(deadline=None)
@given(COUNTS, BATCH, WORLD, st.integers(0, 5))
def test_training_gives_processes_full_batches_that_share_nothing(count: int, batch: int, world: int, epoch: int):
    samplers = [EpochSampler(count, batch, 3, True, rank, world) for rank in range(world)]
    seen = [index for sampler in samplers for index in indices(sampler, epoch)]
    assert len(set(seen)) == len(seen) == count // (batch * world) * batch * world
    for sampler in samplers:
        assert [len(ones) for ones in sampler] == [batch] * len(sampler)


def test_training_shuffles_anew_each_epoch_and_the_same_each_time():
    sampler = EpochSampler(40, 4, 1, True)
    first, second = indices(sampler, 0), indices(sampler, 1)
    assert first != second and sorted(first) == sorted(second) == list(range(40))
    assert indices(EpochSampler(40, 4, 1, True), 1) == second
    assert indices(EpochSampler(40, 4, 2, True), 1) != second


def test_a_sample_is_augmented_by_the_same_seed_on_any_process():
    def seeds(world: int) -> dict[int, int]:
        samplers = [EpochSampler(24, 3, 1, True, rank, world) for rank in range(world)]
        return {index: seed for sampler in samplers for batch in sampler for index, seed in batch}

    assert seeds(1) == seeds(2) == seeds(4)
    assert len(set(seeds(1).values())) == 24


def test_the_epoch_is_that_of_the_call():
    loader = Loader(planes(6), ALL, SIZE, 2, train=True)
    expected = [batch.names for batch in loader.epoch(3)]
    early = loader.epoch(3)
    loader.epoch(4)  # asked for before the other began
    assert [batch.names for batch in early] == expected


def test_shapes_dtypes_and_memory():
    batch = collate(planes(3), ALL, 3)
    H, W = SIZE
    assert batch.names == ["0000", "0001", "0002"]
    assert batch.image.shape == (3, 3, H, W) and batch.image.dtype == torch.uint8
    assert batch.image.is_contiguous(memory_format=torch.channels_last)
    found = {name: (tuple(target.shape), target.dtype) for name, target in batch.targets.items()}
    assert found == {
        "depth": ((3, 1, H, W), torch.float32),
        "normals": ((3, 3, H, W), torch.float32),
        "segmentation": ((3, H, W), torch.uint8),
    }
    assert batch.present == {"depth", "normals", "segmentation"}


def test_values_keep_their_place():
    samples = planes(2)
    batch = collate(samples, ALL, 2)
    assert batch.image[1, :, 7, 9].tolist() == samples[1].image[7, 9].tolist()
    assert batch.targets["depth"][1, 0, 7, 9] == samples[1].targets["depth"][7, 9]
    assert batch.targets["normals"][1, :, 7, 9].tolist() == samples[1].targets["normals"][7, 9].tolist()
    assert batch.targets["segmentation"][1, 7, 9] == samples[1].targets["segmentation"][7, 9]


def test_only_the_targets_asked_for():
    assert list(collate(planes(2), ["depth"], 2).targets) == ["depth"]


def test_a_missing_target_is_invalid_pixels():
    samples = planes(2)
    for name in ALL:
        del samples[1].targets[name]
    batch = collate(samples, ALL, 2)
    assert (batch.targets["depth"][1] == 0).all() and (batch.targets["depth"][0] > 0).all()
    assert (batch.targets["normals"][1] == 0).all()
    assert (batch.targets["segmentation"][1] == 255).all()
    assert batch.present == set(ALL), "the other sample has them"


def test_present_tells_of_valid_pixels_not_of_files():
    samples = planes(2)
    for sample in samples:
        sample.targets["depth"][:] = 0
        sample.targets["segmentation"][:] = 255
        del sample.targets["normals"]
    assert collate(samples, ALL, 2).present == set()
    samples[1].targets["depth"][0, 0] = 1
    assert collate(samples, ALL, 2).present == {"depth"}


def assert_same(ones: list[Batch], others: list[Batch]) -> None:
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        assert one.names == other.names and one.present == other.present
        assert torch.equal(one.image, other.image)
        assert all(torch.equal(one.targets[name], other.targets[name]) for name in ALL)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    root = write_folder(tmp_path_factory.mktemp("set"), {"train": planes(7)})
    return PackedDataset(FolderDataset(root, "train"), tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("is_packed", [True, False])
def test_the_same_batches_with_and_without_workers_and_each_time(packed: PackedDataset, train: bool, is_packed: bool):
    samples = packed if is_packed else planes(7)

    def batches(workers: int) -> list[Batch]:
        augment = Augmentation("heavy", SIZE) if train else None
        loader = Loader(samples, ALL, SIZE, 2, augment=augment, train=train, workers=workers, seed=4)
        return [batch for epoch in (0, 1) for batch in loader.epoch(epoch)]

    ones, others, again = batches(0), batches(2), batches(2)
    assert len(ones) == (6 if train else 8)
    assert_same(ones, others)
    assert_same(others, again)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_that_begins_later_goes_on_exactly(packed: PackedDataset, workers: int):
    """As a resumed run does: nothing that was drawn before is needed."""

    def make() -> Loader:
        augment = Augmentation("heavy", SIZE)
        return Loader(packed, ALL, SIZE, 2, augment=augment, train=True, workers=workers, seed=4)

    whole = make()
    batches = {epoch: list(whole.epoch(epoch)) for epoch in range(3)}
    assert_same(list(make().epoch(2)), batches[2])


def test_batches_that_are_kept_are_not_written_over(packed: PackedDataset):
    """Nor are parts of them that outlive the batch."""

    def make(workers: int) -> Loader:
        return Loader(packed, ALL, SIZE, 1, augment=Augmentation("heavy", SIZE), train=True, workers=workers, seed=4)

    plain, by_worker = make(0), make(1)
    expected = [batch for epoch in range(3) for batch in plain.epoch(epoch)]
    assert_same([batch for epoch in range(3) for batch in by_worker.epoch(epoch)], expected)
    images = [batch.image for epoch in range(3) for batch in by_worker.epoch(epoch)]
    assert all(torch.equal(image, batch.image) for image, batch in zip(images, expected, strict=True))


class Halves:
    """Samples of someone else's: any sequence will do."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Sample:
        image = np.full((24, 32, 3), index, np.uint8)
        edges = np.zeros((24, 32), np.float32)
        edges[:, 16:] = 1
        return Sample(str(index), image, {"edges": edges, "depth": np.full((24, 32), index, np.float32)})


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_of_ones_own(workers: int):
    loader = Loader(Halves(), ["edges", "depth", "normals"], (24, 32), 2, train=True, workers=workers, seed=1)
    batches = list(loader.epoch(0))
    assert len(batches) == 2
    for batch in batches:
        assert batch.targets["edges"].shape == (2, 1, 24, 32) and batch.targets["edges"].dtype == torch.float32
        assert (batch.targets["edges"][..., :16] == 0).all() and (batch.targets["edges"][..., 16:] == 1).all()
        assert batch.targets["depth"][:, 0, 0, 0].tolist() == [float(name) for name in batch.names]
        assert "edges" in batch.present and "normals" not in batch.present


def test_a_map_of_zeros_is_present_where_zero_is_a_value():
    samples = [Sample("a", np.zeros((4, 4, 3), np.uint8), {"edges": np.zeros((4, 4), np.float32)})]
    batch = collate(samples, ["edges"], 1)
    assert batch.present == {"edges"}
    missing = collate([Sample("a", np.zeros((4, 4, 3), np.uint8))], ["edges"], 1)
    assert missing.present == set() and (missing.targets["edges"] == -1).all()


def test_an_epoch_left_in_the_middle_does_not_reach_into_the_next(packed: PackedDataset):
    def make(workers: int) -> Loader:
        return Loader(packed, ALL, SIZE, 2, augment=Augmentation("heavy", SIZE), train=True, workers=workers, seed=4)

    loader = make(2)
    for epoch in range(3):
        next(iter(loader.epoch(epoch)))
    assert_same(list(loader.epoch(3)), list(make(0).epoch(3)))


@pytest.mark.parametrize("preset", [None, "none", "flip", "heavy"])
def test_a_packed_copy_gives_what_its_source_gives(packed: PackedDataset, preset: str | None):
    def batches(samples: Samples) -> list[Batch]:
        augment = Augmentation(preset, SIZE) if preset else None
        return list(Loader(samples, ALL, SIZE, 2, augment=augment, train=True, seed=1).epoch(0))

    for one, other in zip(batches(packed), batches(packed.source), strict=True):
        assert one.names == other.names and torch.equal(one.image, other.image)
        assert torch.equal(one.targets["segmentation"], other.targets["segmentation"])
        assert torch.equal(one.targets["depth"], other.targets["depth"])
        assert one.targets["normals"].dtype == torch.float32
        assert (one.targets["normals"] - other.targets["normals"]).abs().max() < 1e-3


@pytest.mark.parametrize("is_packed", [True, False])
def test_targets_that_nobody_wants_are_dropped_before_they_are_moved(packed: PackedDataset, is_packed: bool):
    seen: list[list[str]] = []

    class Spy(Augmentation):
        def __call__(self, sample: Sample, seed: int) -> Sample:
            seen.append(list(sample.targets))
            return super().__call__(sample, seed)

    loader = Loader(packed if is_packed else planes(7), ["depth"], SIZE, 7, augment=Spy("standard", SIZE), train=True)
    (batch,) = loader.epoch(0)
    assert seen == [["depth"]] * 7 and list(batch.targets) == ["depth"]


def test_instances_are_a_label_map():
    samples = planes(2)
    samples[0].targets["instances"] = np.full(SIZE, 5, np.uint8)
    batch = collate(samples, ["instances"], 2)
    assert batch.targets["instances"].shape == (2, *SIZE) and batch.targets["instances"].dtype == torch.uint8
    assert (batch.targets["instances"][0] == 5).all() and (batch.targets["instances"][1] == 255).all()


def test_what_is_augmented_changes_from_epoch_to_epoch():
    loader = Loader([plane_sample(unit(0.3, 0, -1))], ALL, SIZE, 1, augment=Augmentation("strong", SIZE), train=True)
    first, second, again = (next(iter(loader.epoch(epoch))).image for epoch in (0, 1, 0))
    assert not torch.equal(first, second) and torch.equal(first, again)


def test_samples_of_any_size_come_at_the_size_asked_for():
    samples: list[Sample] = [plane_sample(unit(0, 0, -1), size=size) for size in ((48, 64), (96, 130))]
    (batch,) = Loader(samples, ALL, (24, 32), 2).epoch(0)
    assert batch.image.shape == (2, 3, 24, 32)
    # the last short batch is kept in evaluation
    assert [len(b.names) for b in Loader(samples, ALL, (24, 32), 3).epoch(0)] == [2]


def test_moving_to_a_device_keeps_what_is_known():
    batch = collate(planes(2), ALL, 2)
    moved = batch.to(torch.device("meta"))
    assert moved.image.device.type == "meta" and all(t.device.type == "meta" for t in moved.targets.values())
    assert moved.names == batch.names and moved.present == batch.present
    assert moved.image.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="pinned memory needs a CUDA device")
def test_pinned_batches():
    (batch,) = Loader(planes(2), ALL, SIZE, 2, pin=True).epoch(0)
    assert batch.image.is_pinned() and all(target.is_pinned() for target in batch.targets.values())
    assert batch.image.is_contiguous(memory_format=torch.channels_last)
    on_device = batch.to(torch.device("cuda"))
    assert torch.equal(on_device.targets["depth"].cpu(), batch.targets["depth"])


def test_the_order_does_not_hang_on_torchs_own_seed():
    make = partial(Loader, planes(8), ALL, SIZE, 2, train=True, seed=1)
    first = [batch.names for batch in make().epoch(2)]
    torch.manual_seed(99)
    assert [batch.names for batch in make().epoch(2)] == first


@pytest.mark.parametrize(("batch", "world"), [(0, 1), (-1, 1), (5, 1), (3, 2)])
def test_a_batch_that_the_samples_do_not_fill(batch: int, world: int):
    with pytest.raises(ValueError, match=f"batch_size is {batch}: expected 1 at least, and at most what 4 samples"):
        Loader(planes(4), ALL, SIZE, batch, train=True, world=world)
    assert len(Loader(planes(4), ALL, SIZE, 5)) == 1
