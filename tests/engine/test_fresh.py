"""New rooms every epoch: none twice, none of those measured, the same ones however the training is run."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import mtl_vision as mtl
from mtl_vision.config import Config, DataConfig, RunConfig, TasksConfig
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.splits import open_data as open_stored
from mtl_vision.engine import build, checks
from mtl_vision.engine.cli import main
from mtl_vision.engine.load import load_run
from mtl_vision.export.exporter import sample_images
from mtl_vision.loading.augment import Augmentation
from mtl_vision.loading.loader import Batch, EpochSampler, Loader
from mtl_vision.synthetic import dataset, fresh, render_room
from mtl_vision.synthetic.fresh import APART, EPOCH, RenderedRooms, open_data, open_split

SIZE = (48, 64)
ALL = ("depth", "normals", "segmentation")


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A default set of 20 rooms, of which two are tested; 16 new ones an epoch."""
    for module in (dataset, fresh):
        monkeypatch.setattr(module, "DEFAULT", 20)
    monkeypatch.setattr(fresh, "EPOCH", 16)
    monkeypatch.chdir(tmp_path)


def arguments(name: str, *more: str) -> list[str]:
    return [
        "--data.synthetic_count=0", "--data.size=[48,64]", "--data.workers=0",
        "--model.backbone=mobilenetv4_conv_small", "--model.decoder.width=32",
        "--train.epochs=3", "--run.device=cpu", "--run.tensorboard=false", f"--run.name={name}", *more,
    ]  # fmt: skip


def same(ones: list[Batch], others: list[Batch]) -> bool:
    pairs = list(zip(ones, others, strict=True))
    return all(
        a.names == b.names
        and torch.equal(a.image, b.image)
        and all(torch.equal(a.targets[name], b.targets[name]) for name in a.targets)
        for a, b in pairs
    )


# which rooms


def test_what_is_measured_is_the_default_sets_and_nothing_is_trained_on_twice(rooms: Path) -> None:
    default = dataset.splits_of(1000)
    assert (default["test"], default["val"]) == (range(800, 900), range(900, 1000)) and EPOCH == 800
    assert dataset.splits_of(30, seed=2)["train"] == range(2_000_000, 2_000_024)
    trained = []
    for seed in (0, 1, 2**32 - 1):
        train = open_split(rooms, "train", SIZE, seed)
        assert isinstance(train, RenderedRooms) and len(train) == 800
        trained.append(range(train.seeds[0], train.seeds[-1] + 1))
        assert len(trained[-1]) == APART > 10**6 * 10**6
    assert max(default["val"]) < trained[0][0]
    assert all(a[-1] < b[0] for a, b in itertools.pairwise(trained))
    first, other, far = (np.random.default_rng([r[0], 0]).random() for r in trained)
    assert len({first, other, far}) == 3, "the generator takes integers of this length whole"


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 3), st.integers(0, 3))
def test_an_epoch_takes_the_next_rooms_whatever_the_processes(count: int, batch: int, world: int, seed: int) -> None:
    def rooms_of(world: int, batch: int) -> list[list[int]]:
        samplers = [EpochSampler(count, batch, seed, True, rank, world, fresh=True) for rank in range(world)]
        found = []
        for epoch in range(3):
            for sampler in samplers:
                sampler.epoch = epoch
            found.append([index for sampler in samplers for part in sampler for index, _ in part])
        return found

    epochs = rooms_of(world, batch)
    assert [sorted(one) for one in epochs] == [sorted(one) for one in rooms_of(1, batch * world)]
    assert all(epoch * count <= index < (epoch + 1) * count for epoch in range(3) for index in epochs[epoch])
    flat = [index for one in epochs for index in one]
    assert len(set(flat)) == len(flat)


def test_batches_are_the_same_by_any_workers_and_after_a_restart(rooms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "EPOCH", 6)
    train = open_split(rooms, "train", SIZE, 3)

    def loader(workers: int) -> Loader:
        augment = Augmentation("heavy", SIZE)
        return Loader(train, ALL, SIZE, 2, augment=augment, train=True, workers=workers, seed=3, fresh=True)

    plain, by_workers = loader(0), loader(2)
    epochs = [list(plain.epoch(epoch)) for epoch in range(3)]
    assert same(epochs[0] + epochs[1], [batch for epoch in (0, 1) for batch in by_workers.epoch(epoch)])
    assert same(epochs[2], list(loader(0).epoch(2))), "as a resumed run begins"
    names = [name for epoch in epochs for batch in epoch for name in batch.names]
    assert sorted(map(int, names)) == [APART * 4 + n for n in range(18)]


def test_a_rendered_room_is_what_the_folder_would_give(rooms: Path) -> None:
    stored = FolderDataset(rooms, "test", derived=("edges",))
    seeds = [int(stem) for stem in stored.stems]
    rendered = RenderedRooms(rooms, "test", seeds, len(seeds), SIZE, derived=("edges",))
    assert rendered.target_names == stored.target_names and len(rendered) == len(stored)
    for index in range(len(stored)):
        a, b = rendered[index], stored[index]
        assert a.name == b.name and list(a.targets) == list(b.targets) and np.array_equal(a.image, b.image)
        assert np.array_equal(a.targets["segmentation"], b.targets["segmentation"])
        assert np.abs(a.targets["depth"] - b.targets["depth"]).max() <= 0.00051
        assert np.abs(a.targets["normals"] - b.targets["normals"]).max() < 1e-4
        assert (a.targets["edges"] != b.targets["edges"]).mean() < 0.01
        assert a.intrinsics and b.intrinsics and a.intrinsics.fx == pytest.approx(b.intrinsics.fx)


def test_what_is_held_out_is_that_of_the_default_set(tmp_path: Path, few: None) -> None:
    dataset.write_rooms(tmp_path / "default", 20, SIZE, workers=1)
    dataset.write_measured_rooms(tmp_path / "measured", SIZE, workers=1)
    for split in ("test", "val"):
        before, now = (FolderDataset(tmp_path / name, split) for name in ("default", "measured"))
        assert before.stems == now.stems and len(now) == 2
        for (_, _, a), (_, _, b) in zip(before.paths(), now.paths(), strict=True):
            assert a.read_bytes() == b.read_bytes()
    assert not (tmp_path / "measured/train").exists()
    _, held = open_stored(tmp_path / "default", holdout=4, eval_split="holdout")
    train, again = open_data(tmp_path / "measured", size=SIZE, seed=0, holdout=4, eval_split="holdout")
    assert again.stems == held.stems and again.split == "holdout"
    assert again[1].name == held[1].name and np.array_equal(again[1].image, held[1].image)
    assert train.split == "train" and not set(train.stems) & set(again.stems)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"eval_split": "train"}, "eval_split is train: expected test, val or holdout"),
        ({"train_split": "val"}, "train_split is val: expected train"),
        ({"holdout": 401}, "holdout is 401: expected 1 to 400"),
        ({"eval_split": "holdout"}, "holdout is 0: expected 1 to 400"),
    ],
)
def test_what_cannot_be_is_said(rooms: Path, options: dict, said: str) -> None:
    config = Config(data=replace(DataConfig(synthetic_count=0, size=SIZE), **options))
    with pytest.raises(ValueError, match=f"^data: {said}"):
        build.open_data(config, rooms)


@pytest.mark.parametrize("count", [-1, 9, 10**6 + 1])
def test_counts_that_cannot_be(count: int) -> None:
    with pytest.raises(ValueError, match=f"data.synthetic_count is {count}: expected 10 to 1000000, or 0"):
        DataConfig(synthetic_count=count)


def test_a_root_is_read_as_it_is(rooms: Path) -> None:
    config = Config(data=DataConfig(root=str(rooms), synthetic_count=0, size=SIZE))
    assert build.data_root(config.data) == rooms
    train, measured = build.open_data(config, rooms)
    assert (len(train), len(measured)) == (24, 3) and not isinstance(train, RenderedRooms)
    assert not build.make_loader(config, train, torch.device("cpu"), train=True).sampler.fresh


# runs


def test_a_run(few: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing of its training rooms is on disk; it says what it was trained on; what comes after works without them."""
    run = mtl.train(
        None, {word[2:].partition("=")[0]: yaml.safe_load(word.partition("=")[2]) for word in arguments("a")}
    )
    said = capsys.readouterr().out
    assert "data/synthetic_fresh_48x64: 16 to train on, 2 (test) to measure" in said
    assert "synthetic rooms: exact, from ray casting; 16 new ones every epoch" in said
    files = [path.relative_to(tmp_path / "data") for path in (tmp_path / "data").rglob("*.png")]
    assert {path.parts[1] for path in files} == {"val", "test"} and len(files) == 2 * 2 * 4
    assert [folder.name[:24] for folder in (tmp_path / "data/cache").iterdir()] == ["synthetic_fresh_48x64-te"]
    assert run.metrics["protocol.ground_truth"] == "synthetic rooms: exact, from ray casting"
    assert run.metrics["protocol.samples"] == 2
    described = yaml.safe_load((run.folder / "dataset.yaml").read_text())
    assert described["source"].endswith("16 new ones every epoch") and described["segmentation"]["classes"] == "nyu13"
    assert set(run.predict(np.zeros((48, 64, 3), np.uint8))) == set(ALL)
    images, source = sample_images(load_run(run.folder), 3)
    assert images.shape == (3, *SIZE, 3) and source == "images of its training"
    assert np.array_equal(images[0], render_room(APART, SIZE).image)


def test_a_resumed_run_sees_what_it_would_have(
    few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mtl_vision.engine.loop import Trainer

    real, seen = Trainer.step, []

    def watched(self: Trainer, batches: list[Batch]) -> dict:
        if len(seen) == stop:
            raise KeyboardInterrupt
        seen.append(sorted(name for batch in batches for name in batch.names))
        return real(self, batches)

    monkeypatch.setattr(Trainer, "step", watched)
    stop = 99
    assert main(arguments("whole")) == 0
    whole, stop = list(seen), 3
    assert len(whole) == 6 and len({name for batch in whole for name in batch}) == 48
    seen.clear()
    assert main(arguments("broken")) == 130
    seen.clear()
    stop = 99
    resume = ["--run.name=broken", "--run.resume"]
    assert main([*resume, "--data.root=data/synthetic_fresh_48x64"]) == 1
    assert "was begun with new rooms every epoch, found data.root" in capsys.readouterr().err
    assert main([*resume, "--data.workers=1"]) == 0
    weights = [torch.load(f"runs/{name}/checkpoint.pt", weights_only=True)["model"] for name in ("whole", "broken")]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_derived_targets_come_from_the_rendered_ones(rooms: Path) -> None:
    tasks = TasksConfig(names=["depth", "segmentation", "edges"])
    config = Config(RunConfig(seed=5), DataConfig(synthetic_count=0, size=SIZE, cache=None, workers=0), tasks=tasks)
    train, _ = build.open_data(config, rooms)
    checks.check_data(config, train)
    loader = build.make_loader(config, train, torch.device("cpu"), train=True)
    batch = next(iter(loader.epoch(1)))
    assert batch.present == {"depth", "segmentation", "edges"}
    assert all(APART * 6 + 800 <= int(name) < APART * 6 + 1600 for name in batch.names)
