"""Moving a sample as one thing: whatever is done to it, its parts go on agreeing with each other."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from data_testing import CAMERA, SIZE, degrees, plane_depth, plane_sample, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_vision.datasets.normals import normals_from_depth
from mtl_vision.datasets.sample import Intrinsics, Sample
from mtl_vision.loading import geometry
from mtl_vision.runtime.kinds import FULL_LENGTH, KINDS, normalise

SLOPE = st.floats(-0.6, 0.6)
NORMALS = st.tuples(SLOPE, SLOPE, st.just(-1.0)).map(lambda v: unit(*v))
# what may be done to a sample of 48x64: at most halved, at most doubled
STEPS = st.one_of(
    st.tuples(st.just("resize"), st.integers(40, 90), st.integers(50, 120)),
    st.tuples(st.just("zoom_crop"), st.floats(0.6, 1.0), st.floats(0, 1), st.floats(0, 1)),
    st.tuples(st.just("flip")),
    st.tuples(st.just("rotate"), st.floats(-20, 20)),
)
CHAINS = st.lists(STEPS, min_size=1, max_size=4)
many = settings(max_examples=60, deadline=None)


def apply(sample: Sample, chain: list[tuple]) -> Sample:
    for name, *values in chain:
        H, W = sample.size
        if name == "resize":
            sample = sample.resized((values[0], values[1]))
        elif name == "zoom_crop":
            height = round(values[0] * H)
            width = round(height * W / H)
            top, left = round(values[1] * (H - height)), round(values[2] * (W - width))
            sample = geometry.zoom_crop(sample, top, left, height, SIZE)
        elif name == "flip":
            sample = geometry.flip(sample)
        else:
            sample = geometry.rotate(sample, values[0])
    return sample


def square(chain: list[tuple]) -> list[tuple]:
    """The chain with resizes that keep pixels square: a rotation is exact for those alone."""
    return [
        (name, values[0], round(values[0] * 4 / 3)) if name == "resize" else (name, *values) for name, *values in chain
    ]


@many
@given(NORMALS, st.floats(1, 6), CHAINS)
def test_normals_go_on_lying_in_the_plane_of_the_depth(normal: np.ndarray, metres: float, chain: list[tuple]):
    moved = apply(plane_sample(normal, metres), square(chain))
    depth, normals = moved.targets["depth"], moved.targets["normals"]
    assert moved.intrinsics is not None
    again = normals_from_depth(depth, moved.intrinsics)
    both = (again[..., 2] != 0) & (normals[..., 2] != 0)
    assert both.mean() > 0.4
    assert np.median(degrees(again[both], normals[both])) < 1


@many
@given(NORMALS, st.floats(1, 6), CHAINS)
def test_depth_stays_one_plane_in_space(normal: np.ndarray, metres: float, chain: list[tuple]):
    moved = apply(plane_sample(normal, metres), square(chain))
    depth, normals = moved.targets["depth"], moved.targets["normals"]
    assert moved.intrinsics is not None
    seen = depth > 0
    points = depth[seen, None] * moved.intrinsics.rays(moved.size)[seen]
    distance = points @ np.median(normals[normals[..., 2] != 0], axis=0)
    # interpolation of z, where 1/z is the linear one, leaves a little
    assert np.percentile(np.abs(distance / np.median(distance) - 1), 90) < 0.01


@many
@given(NORMALS, CHAINS)
def test_shapes_dtypes_labels_and_lengths(normal: np.ndarray, chain: list[tuple]):
    before = plane_sample(normal)
    moved = apply(before, chain)
    H, W = moved.size
    assert moved.image.shape == (H, W, 3) and moved.image.dtype == np.uint8
    depth, normals, labels = (moved.targets[name] for name in ("depth", "normals", "segmentation"))
    assert depth.shape == (H, W) and depth.dtype == np.float32
    assert normals.shape == (H, W, 3) and normals.dtype == np.float32
    assert labels.shape == (H, W) and labels.dtype == np.uint8
    assert set(np.unique(labels)) <= set(np.unique(before.targets["segmentation"])) | {255}
    length = np.linalg.norm(normals, axis=-1)
    assert ((np.abs(length - 1) < 1e-5) | (length == 0)).all()


@many
@given(CHAINS)
def test_what_is_invalid_never_mixes_in(chain: list[tuple]):
    sample = plane_sample(unit(0, 0, -1), 2.0)
    hole = np.zeros(SIZE, bool)
    hole[15:30, 20:40], hole[5, 5] = True, True
    sample.targets["depth"][hole], sample.targets["normals"][hole] = 0, 0
    moved = apply(sample, chain)
    depth, normals = moved.targets["depth"], moved.targets["normals"]
    seen = depth[depth > 0]
    assert seen.size and np.ptp(seen) < 1e-4 * seen.max(), "one wall has one depth, however it was zoomed"
    assert degrees(normals[normals[..., 2] != 0], unit(0, 0, -1)).max() < 0.01


@pytest.mark.parametrize("size", [(24, 32), (96, 128), (31, 77)])
def test_a_hole_is_as_large_after_a_resize(size: tuple[int, int]):
    sample = plane_sample(unit(0, 0, -1))
    sample.targets["depth"][12:24, 16:32] = 0  # a sixteenth of the picture
    share = (sample.resized(size).targets["depth"] == 0).mean()
    assert share == pytest.approx(1 / 16, abs=0.012)


# one by one, by hand


def test_flip_twice_is_nothing():
    sample = plane_sample(unit(0.3, -0.2, -1))
    twice = geometry.flip(geometry.flip(sample))
    np.testing.assert_array_equal(twice.image, sample.image)
    assert twice.intrinsics == sample.intrinsics
    for name, target in sample.targets.items():
        np.testing.assert_array_equal(twice.targets[name], target)


def test_flip_mirrors_and_turns_x():
    sample = plane_sample(unit(0.3, -0.2, -1))
    flipped = geometry.flip(sample)
    np.testing.assert_array_equal(flipped.image[:, 0], sample.image[:, -1])
    np.testing.assert_allclose(flipped.targets["normals"][0, 0], unit(-0.3, -0.2, -1), atol=1e-6)
    assert flipped.intrinsics == Intrinsics(60, 60, 33, 25)  # 64 - 1 - 30


def test_zoom_by_two_halves_depth_and_doubles_the_focal_length():
    sample = plane_sample(unit(0, 0, -1), 3.0)
    moved = geometry.zoom_crop(sample, 10, 20, 24, SIZE)
    np.testing.assert_allclose(moved.targets["depth"], 1.5)
    # the window begins at (20, 10) and each pixel becomes two: (30 - 20 + 0.5) * 2 - 0.5
    assert moved.intrinsics == Intrinsics(120, 120, 20.5, 30.5)


def test_zoom_into_a_smaller_picture():
    moved = geometry.zoom_crop(plane_sample(unit(0, 0, -1), 3.0), 0, 0, 24, (12, 16))
    np.testing.assert_allclose(moved.targets["depth"], 1.5)  # seen twice as large, whatever the pixels
    assert moved.intrinsics is not None and moved.intrinsics.fx == 30  # 60 * 2 * 16 / 64


@pytest.mark.parametrize("height", [47, 41, 37, 33])
@pytest.mark.parametrize("size", [(48, 64), (30, 44)])
def test_the_camera_tells_what_was_done_on_each_axis(height: int, size: tuple[int, int]):
    sample = plane_sample(unit(0, 0, -1), 3.0)
    moved = geometry.zoom_crop(sample, 0, 0, height, size)
    width = round(height * 64 / 48)
    assert moved.intrinsics is not None
    assert moved.intrinsics.fx == pytest.approx(60 * size[1] / width)
    assert moved.intrinsics.fy == pytest.approx(60 * size[0] / height)
    assert 64 / width == pytest.approx(48 / height, rel=0.5 / width), "both axes zoom alike within rounding"
    np.testing.assert_allclose(moved.targets["depth"], 3 * height / 48, rtol=1e-6)


@pytest.mark.parametrize("step", ["resize", "zoom_crop", "flip", "rotate"])
def test_the_camera_projects_a_mark_to_where_it_went(step: str):
    u, v, metres = 40, 30, 2.0
    sample = plane_sample(unit(0, 0, -1), metres)
    sample.image[:] = 0
    sample.image[v, u] = 255
    chain = {"resize": ("resize", 96, 128), "zoom_crop": ("zoom_crop", 0.75, 0.6, 0.6), "flip": ("flip",)}
    moved = apply(sample, [chain.get(step, ("rotate", 12.0))])
    assert moved.intrinsics is not None
    k, point = moved.intrinsics, metres * np.array([(u - 30) / 60, (v - 25) / 60, 1])
    if step == "zoom_crop":
        point = point * 36 / 48
    if step == "flip":
        point[0] = -point[0]
    if step == "rotate":  # clockwise, y down: x goes towards y
        c, s = np.cos(np.radians(12)), np.sin(np.radians(12))
        point[:2] = c * point[0] - s * point[1], s * point[0] + c * point[1]
    expected = k.fx * point[0] / point[2] + k.cx, k.fy * point[1] / point[2] + k.cy
    light = moved.image[..., 0].astype(float)
    rows, columns = np.mgrid[: moved.size[0], : moved.size[1]]
    found = (light * columns).sum() / light.sum(), (light * rows).sum() / light.sum()
    assert found == pytest.approx(expected, abs=0.1)


def test_rotation_turns_clockwise_and_leaves_the_corners_invalid():
    sample = plane_sample(unit(0.5, 0, -1))
    turned = geometry.rotate(sample, 90)  # right becomes down
    assert turned.targets["normals"][25, 30] == pytest.approx(unit(0, 0.5, -1), abs=1e-4)
    slightly = geometry.rotate(sample, 20)
    assert slightly.targets["depth"][0, 0] == 0 and (slightly.targets["normals"][0, 0] == 0).all()
    assert slightly.targets["segmentation"][0, 0] == 255
    assert slightly.targets["depth"][25, 30] == pytest.approx(2.0, abs=0.001), "the axis stays where it is"


def test_without_a_camera_everything_moves_all_the_same():
    sample = replace(plane_sample(unit(0, 0, -1)), intrinsics=None)
    moved = apply(sample, [("resize", 60, 80), ("zoom_crop", 0.7, 0.5, 0.5), ("flip",), ("rotate", 10.0)])
    assert moved.intrinsics is None and moved.size == SIZE


def test_without_targets_the_picture_moves():
    sample = Sample("a", plane_sample(unit(0, 0, -1)).image)
    moved = geometry.zoom_crop(sample, 0, 0, 24, SIZE)
    assert moved.targets == {} and moved.size == SIZE


def test_the_same_size_is_the_same_sample():
    sample = plane_sample(unit(0, 0, -1))
    assert sample.resized(SIZE) is sample


def test_a_crop_keeps_the_points():
    sample = plane_sample(unit(0.3, 0.2, -1), 2)
    part = geometry.crop(sample, 7, 9, 20, 30)
    assert part.intrinsics is not None
    np.testing.assert_allclose(
        part.targets["depth"], plane_depth(unit(0.3, 0.2, -1), 2, part.intrinsics, (20, 30)), rtol=1e-6
    )
    assert CAMERA.rays(SIZE)[7, 9] == pytest.approx(part.intrinsics.rays((20, 30))[0, 0])


def test_a_resized_picture_has_the_same_colours():
    sample = plane_sample(unit(0, 0, -1))
    small = sample.resized((12, 16)).image
    np.testing.assert_allclose(small, cv2.resize(sample.image, (16, 12), interpolation=cv2.INTER_AREA), atol=1)


# normals in 16 bits, as the packed copy has them


@many
@given(NORMALS, CHAINS, st.integers(0, 99))
def test_normals_in_16_bits_move_as_others_do(normal: np.ndarray, chain: list[tuple], seed: int):
    sample = plane_sample(normal)
    sample.targets["normals"][:, 32:] = unit(0.4, 0.1, -1)  # a crease
    sample.targets["normals"][np.random.default_rng(seed).random(SIZE) < 0.2] = 0
    sixteen = np.rint(sample.targets["normals"] * FULL_LENGTH).astype(np.int16)
    plain = apply(sample, chain).targets["normals"]
    packed = normalise(apply(replace(sample, targets={"normals": sixteen}), chain).targets["normals"])
    valid = KINDS["unit_vector_map"].valid
    assert packed.dtype == np.float32 and (valid(packed) == valid(plain)).mean() > 0.999
    both = valid(packed) & valid(plain)
    # When it turns, OpenCV weighs 16 bits by 32nds of a pixel: each weight is off by 1/64, twice that where half is
    # invalid, along both axes: at a crease that may be 1/16 of a chord of 1, 3.6 degrees, and elsewhere nothing.
    angles = degrees(packed[both], plain[both])
    assert np.median(angles) < 0.02 and angles.max() < 3.6 * max(sum(name == "rotate" for name, *_ in chain), 1)


def test_vectors_that_face_away_from_each_other_are_no_hole():
    """A mean of valid vectors may be short: it is the valid share that says what is invalid."""
    normals = np.broadcast_to(unit(0.95, 0, -0.3).astype(np.float32), (*SIZE, 3)).copy()
    normals[:, 32:, 0] *= -1
    sample = Sample("a", plane_sample(unit(0, 0, -1)).image, {"normals": normals})
    moved = geometry.zoom_crop(sample, 0, 0, 31, SIZE)
    assert np.linalg.norm(moved.targets["normals"], axis=-1) == pytest.approx(1, abs=1e-5)
    normals[:, 24:30] = 0
    moved = geometry.zoom_crop(sample, 0, 0, 31, SIZE)
    assert (moved.targets["normals"][:, 40:44] == 0).all()
