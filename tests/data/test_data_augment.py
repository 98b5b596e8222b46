"""Augmentation: the same from the same seed, in agreement with itself, its draws independent."""

from __future__ import annotations

import numpy as np
import pytest
from data_testing import SIZE, degrees, plane_sample, unit

from mtl_vision.data import augment
from mtl_vision.data.augment import PRESETS, Augmentation, Colour, Flip, Rotate, ZoomCrop
from mtl_vision.data.normals import normals_from_depth
from mtl_vision.data.sample import Sample

SMALL = (36, 48)


def same(a: Sample, b: Sample) -> bool:
    targets = all(np.array_equal(a.targets[name], b.targets[name]) for name in a.targets)
    return np.array_equal(a.image, b.image) and targets and a.intrinsics == b.intrinsics


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [SIZE, SMALL])
def test_every_preset_gives_whole_samples_of_the_size(preset: str, size: tuple[int, int]):
    sample = plane_sample(unit(0.3, -0.2, -1))
    moved = Augmentation(preset, size)(sample, 5)
    assert moved.name == sample.name and moved.size == size and moved.image.dtype == np.uint8
    assert {name: target.shape[:2] for name, target in moved.targets.items()} == dict.fromkeys(sample.targets, size)


@pytest.mark.parametrize("preset", PRESETS)
def test_normals_agree_with_depth_after_every_preset(preset: str):
    sample = plane_sample(unit(0.3, -0.4, -1), size=(96, 128))
    for seed in range(10):
        moved = Augmentation(preset, SIZE)(sample, seed)
        assert moved.intrinsics is not None
        again = normals_from_depth(moved.targets["depth"], moved.intrinsics)
        both = (again[..., 2] != 0) & (moved.targets["normals"][..., 2] != 0)
        assert np.median(degrees(again[both], moved.targets["normals"][both])) < 1


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(ValueError, match="unknown augmentation 'stong': expected none, flip, standard, strong"):
        Augmentation("stong", SIZE)


def test_none_changes_nothing_but_the_size():
    sample = plane_sample(unit(0.3, -0.2, -1))
    assert same(Augmentation("none", SIZE)(sample, 3), sample)


def test_the_same_seed_gives_the_same_sample_whatever_came_before():
    sample = plane_sample(unit(0.3, -0.2, -1))
    one, other = Augmentation("strong", SIZE), Augmentation("strong", SIZE)
    first = one(sample, 7)
    other(sample, 1)
    other(sample, 2)
    assert same(first, other(sample, 7))


def test_seeds_differ_from_each_other():
    sample = plane_sample(unit(0.3, -0.2, -1))
    augmented = Augmentation("standard", SIZE)
    moved = [augmented(sample, seed) for seed in range(8)]
    assert not any(same(a, b) for i, a in enumerate(moved) for b in moved[:i])


def test_the_sample_given_is_left_as_it_was():
    sample = plane_sample(unit(0.3, -0.2, -1))
    augmented = Augmentation("strong", SIZE)
    for seed in range(5):
        augmented(sample, seed)
    assert same(sample, plane_sample(unit(0.3, -0.2, -1)))


def test_samples_that_can_not_be_written_to_go_through():
    sample = plane_sample(unit(0.3, -0.2, -1))
    for array in (sample.image, *sample.targets.values()):
        array.flags.writeable = False  # as those of the packed copy are
    for seed in range(5):
        assert Augmentation("strong", SMALL)(sample, seed).size == SMALL


def test_zoom_stays_within_its_range_and_its_windows_reach_every_border(monkeypatch: pytest.MonkeyPatch):
    heights, tops, lefts = [], [], []

    def record(sample: Sample, top: int, left: int, height: int, size: tuple[int, int]) -> Sample:
        width = round(height * 64 / 48)
        assert top >= 0 and left >= 0 and top + height <= 48 and left + width <= 64
        heights.append(height)
        tops.append(top / max(48 - height, 1))
        lefts.append(left / max(64 - width, 1))
        return sample

    monkeypatch.setattr(augment.geometry, "zoom_crop", record)
    sample, augmented = plane_sample(unit(0, 0, -1)), Augmentation("standard", SIZE)
    for seed in range(400):
        augmented(sample, seed)
    assert min(heights) == 32 and max(heights) == 48  # a zoom of 1.5 and of 1
    assert min(tops) == 0 and max(tops) == 1 and min(lefts) == 0 and max(lefts) == 1


def test_colour_changes_the_picture_alone():
    sample = plane_sample(unit(0.3, -0.2, -1))
    moved = Colour(p=1.0)(sample=sample)["sample"]
    assert not np.array_equal(moved.image, sample.image)
    assert all(moved.targets[name] is target for name, target in sample.targets.items())


def test_the_draws_of_a_chain_are_independent(monkeypatch: pytest.MonkeyPatch):
    """Whether it is mirrored must not tell how far it zooms, nor where, nor how it turns."""
    drawn: dict[str, float] = {}

    def zoom(self, sample: Sample, s: float = 1, at: tuple[float, float] = (0, 0), **_) -> Sample:
        drawn.update(zoom=s, top=at[0], left=at[1])
        return sample

    def mirror(self, sample: Sample, **_) -> Sample:
        drawn["flip"] = 1
        return sample

    def turn(self, sample: Sample, degrees: float = 0, **_) -> Sample:
        drawn["degrees"] = degrees
        return sample

    monkeypatch.setattr(ZoomCrop, "move", zoom)
    monkeypatch.setattr(Flip, "move", mirror)
    monkeypatch.setattr(Rotate, "move", turn)
    monkeypatch.setitem(PRESETS, "test", lambda size: [ZoomCrop(size), Flip(p=0.5), Rotate(5.0, p=1.0)])
    augmented, sample, rows = Augmentation("test", SIZE), plane_sample(unit(0, 0, -1)), []
    for seed in range(1500):
        drawn.update(flip=0)
        augmented(sample, seed)
        rows.append([drawn[name] for name in ("zoom", "top", "left", "flip", "degrees")])
    correlation = np.corrcoef(np.array(rows).T) - np.eye(5)
    assert np.abs(correlation).max() < 0.1, "four standard deviations of chance"
    assert np.mean([row[3] for row in rows]) == pytest.approx(0.5, abs=0.05)
    assert np.std([row[4] for row in rows]) == pytest.approx(10 / np.sqrt(12), rel=0.05)
