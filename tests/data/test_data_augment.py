"""Augmentation: the same from the same seed, in agreement with itself, its draws independent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from data_testing import SIZE, degrees, plane_sample, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_vision.datasets.normals import normals_from_depth
from mtl_vision.datasets.sample import Intrinsics, Sample
from mtl_vision.loading import augment
from mtl_vision.loading.augment import (
    PRESETS,
    A,
    Augmentation,
    Blur,
    Colour,
    Cutout,
    Flip,
    Noise,
    OnImage,
    Rotate,
    ZoomCrop,
)
from mtl_vision.loading.cache import unpacked
from mtl_vision.runtime.kinds import FULL_LENGTH

functional = A.augmentations.pixel.functional

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
    with pytest.raises(
        ValueError,
        match="unknown augmentation 'stong', did you mean 'strong'.; expected none, flip, standard, strong, heavy",
    ):
        Augmentation("stong", SIZE)


def test_none_changes_nothing_but_the_size():
    sample = plane_sample(unit(0.3, -0.2, -1))
    assert same(Augmentation("none", SIZE)(sample, 3), sample)


def test_the_same_seed_gives_the_same_sample_whatever_came_before():
    sample = plane_sample(unit(0.3, -0.2, -1))
    one, other = Augmentation("heavy", SIZE), Augmentation("heavy", SIZE)
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
    augmented = Augmentation("heavy", SIZE)
    for seed in range(20):
        augmented(sample, seed)
    assert same(sample, plane_sample(unit(0.3, -0.2, -1)))


def test_samples_that_can_not_be_written_to_go_through():
    sample = plane_sample(unit(0.3, -0.2, -1))
    for array in (sample.image, *sample.targets.values()):
        array.flags.writeable = False  # as those of the packed copy are
    augmented = Augmentation("heavy", SMALL)
    for seed in range(20):
        assert augmented(sample, seed).size == SMALL


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


@pytest.mark.parametrize("transform", [Colour(p=1), Blur(p=1), Noise(p=1), OnImage(A.RandomGamma(p=1), p=1)])
def test_what_changes_the_picture_leaves_the_targets(transform: A.BasicTransform):
    grain = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)  # a faint blur may leave a smooth one
    sample = replace(plane_sample(unit(0.3, -0.2, -1)), image=grain)
    moved = A.Compose([transform], seed=0)(sample=sample)["sample"]
    assert not np.array_equal(moved.image, sample.image) and moved.image.dtype == np.uint8
    assert all(moved.targets[name] is target for name, target in sample.targets.items())


@pytest.mark.parametrize(
    "name, factor, function",
    [
        ("brightness", 1.2, functional.adjust_brightness_torchvision),
        ("contrast", 0.7, functional.adjust_contrast_torchvision),
        ("saturation", 1.3, functional.adjust_saturation_torchvision),
        ("turn", 1 / 3, functional.adjust_hue_torchvision),
    ],
)
def test_each_part_of_colour_is_what_albumentations_does(name: str, factor: float, function: Callable):
    sample = plane_sample(unit(0, 0, -1))
    moved = Colour().move(sample, **{name: factor}).image.astype(int)
    assert np.abs(moved - function(sample.image, factor)).max() <= 5, "its hue has steps of two degrees"


def test_colour_by_nothing_changes_nothing():
    sample = plane_sample(unit(0, 0, -1))
    np.testing.assert_array_equal(Colour().move(sample).image, sample.image)


def test_noise_is_as_strong_as_it_says():
    sample = replace(plane_sample(unit(0, 0, -1)), image=np.full((*SIZE, 3), 128, np.uint8))
    noise = Noise().move(sample, sigma=8.0, seed=3).image.astype(float) - 128
    assert noise.std() == pytest.approx(8, rel=0.03) and noise.mean() == pytest.approx(0, abs=0.3)


def test_cutout_hides_the_picture_and_its_truth_in_the_same_places():
    sample = plane_sample(unit(0.3, -0.2, -1))
    sample.targets["instances"] = np.full(SIZE, 7, np.uint8)
    moved = Cutout().move(sample, shares=[(0.25, 0.5, 0.5, 1.0)], colours=[(1, 2, 3)])
    hole = np.zeros(SIZE, bool)
    hole[18:30, 32:64] = True  # a quarter as high, half as wide; halfway down, all the way right
    assert (moved.image[hole] == (1, 2, 3)).all() and (moved.image[~hole] == sample.image[~hole]).all()
    for name, invalid in (("depth", 0), ("normals", 0), ("segmentation", 255), ("instances", 255)):
        assert (moved.targets[name][hole] == invalid).all(), name
        np.testing.assert_array_equal(moved.targets[name][~hole], sample.targets[name][~hole])


def test_a_chain_of_ones_own_repeats_from_its_seed():
    sample = plane_sample(unit(0.3, -0.2, -1))

    def make() -> A.Compose:
        gamma = OnImage(A.RandomGamma(p=1), p=0.7)
        return A.Compose([ZoomCrop(SMALL), Flip(), A.OneOf([gamma, Blur(p=1)]), Noise(), Cutout()], seed=5)

    one, other = make(), make()
    moved = [one(sample=sample)["sample"] for _ in range(6)]
    assert all(same(a, other(sample=sample)["sample"]) for a in moved)
    assert not any(same(a, b) for i, a in enumerate(moved) for b in moved[:i])


# Whatever is drawn: random chains over a slanted plane with holes and several labels

BIG = (96, 128)
WIDE = Intrinsics(120.0, 120.0, 60.0, 50.0)
SLOPE = st.floats(-0.6, 0.6)
NORMALS = st.tuples(SLOPE, SLOPE, st.just(-1.0)).map(lambda v: unit(*v))
SHARE = st.floats(0.02, 0.3)
CHAINS = st.lists(
    st.one_of(
        st.floats(1, 1.6).map(lambda s: ZoomCrop(BIG, (s, s), p=1)),
        st.just(Flip(p=1)),
        st.floats(0, 12).map(lambda degrees: Rotate(degrees, p=1)),
        st.floats(0, 0.6).map(lambda strength: Colour(strength, p=1)),
        st.floats(0.3, 2).map(lambda sigma: Blur((sigma, sigma), p=1)),
        st.floats(1, 20).map(lambda sigma: Noise((sigma, sigma), p=1)),
        st.tuples(st.integers(1, 3), SHARE).map(lambda v: Cutout(v[0], (v[1], v[1]), p=1)),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(NORMALS, st.floats(1, 6), CHAINS, st.integers(0, 2**31), st.booleans())
def test_any_chain_keeps_the_sample_in_agreement(normal, metres: float, chain: list, seed: int, packed: bool):
    before = plane_sample(normal, metres, WIDE, BIG)
    before.targets["depth"][20:40, 30:50], before.targets["normals"][60:70, 50:90] = 0, 0
    before.targets["depth"][::7, ::5], before.targets["normals"][::6, ::8] = 0, 0
    given_ = before
    if packed:
        sixteen = np.rint(before.targets["normals"] * FULL_LENGTH).astype(np.int16)
        given_ = replace(before, targets=before.targets | {"normals": sixteen})
    moved = unpacked(A.Compose(chain, seed=seed)(sample=given_)["sample"])
    depth, normals, labels = (moved.targets[name] for name in ("depth", "normals", "segmentation"))
    assert moved.intrinsics is not None and moved.size == BIG and moved.image.dtype == np.uint8
    assert depth.dtype == normals.dtype == np.float32

    # labels only take values they had
    assert set(np.unique(labels)) <= set(np.unique(before.targets["segmentation"]))

    # normals are of length 1 or 0, and all of the one plane's: nothing invalid has turned one
    valid = (normals != 0).any(-1)
    np.testing.assert_allclose(np.linalg.norm(normals[valid], axis=-1), 1, atol=1e-5)
    assert valid.mean() > 0.1
    n = unit(*np.median(normals[valid], axis=0))
    assert degrees(normals[valid], n).max() < 0.1

    # every point lies where the camera and the plane say: f grew by the zoom, by which the scene has shrunk
    zoom = moved.intrinsics.fy / WIDE.fy
    points = depth[depth > 0, None] * moved.intrinsics.rays(BIG)[depth > 0]
    ratio = points @ n / (normal[2] * metres / zoom)
    assert ratio.size and np.abs(ratio - 1).max() < 0.04 and abs(np.median(ratio) - 1) < 0.005

    # normals recomputed from the transformed depth agree with the transformed ones
    again = normals_from_depth(depth, moved.intrinsics)
    both = (again != 0).any(-1) & valid
    assert both.any() and np.median(degrees(again[both], normals[both])) < 1


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


def test_any_transform_of_the_picture_goes_as_often_as_it_says():
    sample = plane_sample(unit(0.3, -0.2, -1))
    chain = A.Compose([OnImage(A.InvertImg(p=0.5))], seed=0)
    moved = sum(not np.array_equal(chain(sample=sample)["sample"].image, sample.image) for _ in range(300))
    assert 120 < moved < 180


@pytest.mark.parametrize("transform", [A.HorizontalFlip(), A.RandomCrop(8, 8)])
def test_what_moves_pixels_is_no_transform_of_the_picture(transform: A.BasicTransform):
    with pytest.raises(TypeError, match=f"{type(transform).__name__} may move pixels: expected an ImageOnly"):
        OnImage(transform)  # type: ignore[arg-type]


def test_compositions_of_what_leaves_pixels_are_taken():
    sample = plane_sample(unit(0.3, -0.2, -1))
    chain = A.Compose([OnImage(A.OneOf([A.InvertImg(p=1), A.Blur(p=1)], p=1))], seed=0)
    assert not np.array_equal(chain(sample=sample)["sample"].image, sample.image)
    with pytest.raises(TypeError, match="OneOf may move pixels"):
        OnImage(A.OneOf([A.InvertImg(), A.HorizontalFlip()]))
