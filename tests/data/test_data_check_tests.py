"""The tests of `check`, one by one, on statistics made by hand."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
from data_testing import CAMERA, FULL, SIZE, plane_sample, unit

from mtl_vision.check import depth, labels, normals, overlap
from mtl_vision.check.camera import camera
from mtl_vision.check.mirrored import camera_side, mirrored_maps, mirrored_set, white_frame
from mtl_vision.check.mixed import mixed
from mtl_vision.check.reading import Reading, sample_statistics
from mtl_vision.check.run import changes
from mtl_vision.check.statistics import UNKNOWN, SampleStatistics, SplitStatistics, Thumbnail
from mtl_vision.datasets.camera import CAMERAS
from mtl_vision.datasets.description import DepthFiles, Description, LabelFiles, NormalsFiles, known_description
from mtl_vision.datasets.layouts import layouts
from mtl_vision.datasets.sample import Sample

AXES = ("x", "y", "z")


def split(*samples: SampleStatistics, description: Description = FULL, bits: int | None = 16) -> SplitStatistics:
    return SplitStatistics(description, samples, bits)


def collected(sample: Sample, description: Description = FULL) -> SampleStatistics:
    """The statistics of a sample, without a folder."""
    reading = Reading(sample.name, sample, sample.targets.get("depth"), sample.targets.get("segmentation"), None, ())
    return sample_statistics(reading, description, with_thumbnail=True)


# normals


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_each_of_the_48_frames_is_named_and_undone(order: tuple[int, ...], signs: tuple[int, ...]):
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(*SIZE, 3)) * (1, 0.7, 0.4) + (0, 0.5, -0.8)
    truth = (truth / np.linalg.norm(truth, axis=-1, keepdims=True)).astype(np.float32)
    stored = np.stack([truth[..., j] * sign for j, sign in zip(order, signs, strict=True)], axis=-1)
    sample = Sample("a", np.zeros((*SIZE, 3), np.uint8), {"normals": stored})
    one = Thumbnail(sample, None, truth, np.zeros((2, 4)), SIZE[1])
    described = ("-z", "x", "-y")  # whatever they were read with
    description = replace(FULL, normals=NormalsFiles(axes=described))
    verdict = normals.frame(split(SampleStatistics("a", thumbnail=one), description=description))
    if order == (0, 1, 2) and signs == (1, 1, 1):
        assert verdict.state == "ok"
        return
    assert verdict.state == "fault" and verdict.fix is not None
    fixed = verdict.fix(description).normals
    assert fixed is not None and f"[-z, x, -y] -> [{', '.join(fixed.axes)}]" in verdict.text

    def read(axes: tuple[str, ...], vectors: np.ndarray) -> np.ndarray:
        return np.stack([vectors[..., "xyz".index(a[-1])] * (-1 if a[0] == "-" else 1) for a in axes], axis=-1)

    raw = np.zeros_like(stored)  # the file: what reads as `stored` by `described`
    for k, axis in enumerate(described):
        raw[..., "xyz".index(axis[-1])] = stored[..., k] * (-1 if axis[0] == "-" else 1)
    np.testing.assert_allclose(read(described, raw), stored)
    np.testing.assert_allclose(read(fixed.axes, raw), truth)


def test_lengths_of_maps_that_were_made_smaller_are_fine():
    rng = np.random.default_rng(0)
    edges = np.concatenate([1 + rng.normal(0, 0.005, 900), rng.uniform(0.3, 1, 100)])
    assert normals.length(split(SampleStatistics("a", lengths=edges))).state == "ok"
    assert normals.length(split(SampleStatistics("a", lengths=np.full(100, 1.2)))).state == "fault"
    assert normals.length(split(SampleStatistics("a"))).state == "unknown"


# the camera


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({}, "ok"),
        ({"height": 1440, "width": 1920}, "fault"),  # the centre
        ({"fx": 3000, "fy": 3000}, "fault"),  # 12 degrees
        ({"fx": 120}, "fault"),  # 139 degrees
        ({"cx": 150}, "fault"),
        ({"cy": 370}, "fault"),
        ({"fx": 1200, "cx": 180, "cy": 330}, "ok"),
    ],
)
def test_cameras_that_there_are(changed: dict[str, float], state: str):
    described = replace(FULL, intrinsics={**CAMERAS["nyuv2"], **changed})
    assert camera(split(description=described)).state == state


def test_a_described_crop_may_lie_anywhere():
    crop = {"top": 300, "left": 500, "height": 100, "width": 120}
    described = replace(FULL, intrinsics=CAMERAS["nyuv2"], crop=crop)
    assert camera(split(description=described)).state == "ok"


@pytest.mark.parametrize("layout", [name for name, one in layouts().items() if "intrinsics" in one.description])
def test_the_cameras_of_known_layouts(layout: str):
    assert camera(split(description=known_description(layout))).state == "ok"


# depth


MILLIMETRES = np.linspace(500, 6000, 200)  # of a room


@pytest.mark.parametrize(
    ("scale", "state", "fixable"),
    [
        (1e-3, "ok", False),
        (2e-4, "unknown", False),
        (4e-3, "unknown", False),
        (1.0, "fault", True),
        (0.1, "fault", True),
        (0.01, "fault", True),
        (1e-4, "fault", True),
        (1e-5, "fault", True),
        (1e-6, "fault", True),
        (1e4, "fault", False),
    ],
)
def test_the_unit_by_the_median(scale: float, state: str, fixable: bool):
    described = replace(FULL, depth=DepthFiles(scale=scale))
    verdict = depth.unit(split(SampleStatistics("a", depth=MILLIMETRES * scale), description=described))
    assert verdict.state == state and (verdict.fix is not None) == fixable
    if verdict.fix is not None:
        assert verdict.fix(described).depth == DepthFiles(scale=1e-3)


def test_fifths_of_a_millimetre_taken_for_millimetres():
    """TUM's steps: in no room everything is beyond 4 m."""
    assert depth.unit(split(SampleStatistics("a", depth=np.linspace(4, 30, 200)))).state == "unknown", (
        "one may show a hall"
    )
    verdict = depth.unit(split(*(SampleStatistics(name, depth=np.linspace(4, 30, 200)) for name in "abcd")))
    assert verdict.state == "fault" and verdict.fix is None
    assert "beyond 4.26 m" in verdict.text and "0.0002 for TUM" in verdict.text


def test_eight_bits_taken_for_millimetres():
    verdict = depth.unit(split(SampleStatistics("a", depth=np.arange(20, 256) * 1e-3), bits=8))
    assert verdict.state == "fault" and verdict.fix is None and "depth.full_scale: 9.9955" in verdict.text


@pytest.mark.parametrize("step", [1.0, 0.1])
def test_few_steps_of_16_bits_are_another_unit(step: float):
    """Whole metres, or tenths, as millimetres."""
    stored = np.round(np.linspace(0.5, 6, 200) / step)
    verdict = depth.unit(split(SampleStatistics("a", depth=stored * 1e-3)))
    assert verdict.fix is not None and verdict.fix(FULL).depth == DepthFiles(scale=step)


def test_millimetres_taken_for_a_full_scale():
    described = replace(FULL, depth=DepthFiles(full_scale=9.9955, offset=0.02))
    stored = MILLIMETRES / 65535 * 9.9955 + 0.02
    verdict = depth.unit(split(SampleStatistics("a", depth=stored), description=described))
    assert verdict.fix is not None and verdict.fix(described).depth == DepthFiles(scale=0.001)


def test_another_full_scale():
    description = replace(FULL, depth=DepthFiles(full_scale=9995.5))
    verdict = depth.unit(split(SampleStatistics("a", depth=np.full(50, 2600.0)), description=description, bits=8))
    assert verdict.fix is not None and verdict.fix(description).depth == DepthFiles(full_scale=9.9955)
    assert "depth.full_scale 9995.5 -> depth.full_scale 9.9955" in verdict.text


def jumps(stored: np.ndarray, fmt: DepthFiles) -> int:
    metres = (stored * fmt.scale).astype(np.float32)
    sample = Sample("a", np.zeros((*stored.shape, 3), np.uint8), {"depth": metres})
    return collected(sample, replace(FULL, depth=fmt)).jumps


@pytest.mark.parametrize(
    ("medians", "state"),
    [
        ([2.7] * 90 + [0.3] * 10, "fault"),
        ([2.7] * 99 + [0.3], "ok"),  # a close view
        ([2.7] * 8 + [27.0], "ok"),
        ([2.7] * 6 + [27.0] * 2, "fault"),
        ([1.0, 2.7, 7.2, 3.0, 0.9, 2.4], "ok"),  # NYUv2's extremes
        ([0.0027, 0.0027, 2.7, 2.7], "fault"),
        ([2.7, 27.0, 270.0], "unknown"),
    ],
)
def test_maps_of_another_unit_among_the_others(medians: list[float], state: str):
    samples = [SampleStatistics(str(i), depth=np.linspace(0.5, 1.5, 9) * one) for i, one in enumerate(medians)]
    assert mixed(split(*samples)).state == state


def test_what_wraps_and_what_does_not():
    fine = DepthFiles(scale=1e-4)
    slope = np.broadcast_to(np.linspace(5e4, 9e4, 64).astype(np.int64), (48, 64))
    assert jumps(slope % 65536, fine) == 48
    assert jumps(slope % 65536, replace(fine, wraps=True)) == 0, "it is unwrapped already"
    assert jumps(np.minimum(slope, 65535), fine) == 0, "cut off at the end"
    assert jumps(np.where(slope > 65535, 0, slope), fine) == 0, "unknown beyond it"
    assert jumps(np.where(slope > 65535, 65535, 900), DepthFiles()) == 0, "65535 for unknown"
    assert jumps(slope, fine) == 0, "not of 16 bits"
    near = np.full((48, 64), 5000)
    near[:, 32:] = 60000
    assert jumps(near, fine) == 0, "half a metre before six"


# mirrored


def framed(size: tuple[int, int], left: int = 6, right: int = 8, seed: int = 0) -> np.ndarray:
    """An image of 480x640 with a white frame, brought to a size."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 200, (12, 16, 3), np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
    image[:6] = image[474:] = 255
    image[:, :left] = 255
    image[:, 640 - right :] = 255
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)


def frame_share(images: list[np.ndarray]) -> float | None:
    return white_frame([collected(Sample("a", one)).thumbnail for one in images])  # type: ignore[misc]


@pytest.mark.parametrize("size", [(480, 640), (288, 384), (240, 320), (128, 128), (60, 80)])
def test_the_white_frame_shows_left_and_right(size: tuple[int, int]):
    share = frame_share([framed(size, seed=i) for i in range(8)])
    assert share is not None and 0.4 < share < 0.475
    share = frame_share([framed(size, seed=i)[:, ::-1] for i in range(8)])
    assert share is not None and 0.525 < share < 0.6


def test_other_frames_show_nothing():
    size = (240, 320)
    assert frame_share([framed(size, 7, 7, seed=i) for i in range(8)]) is None
    assert frame_share([framed(size, 0, 0, seed=i) for i in range(8)]) is None
    assert frame_share([framed(size, 60, 80, seed=i) for i in range(8)]) is None
    assert frame_share([np.full((*size, 3), 255, np.uint8)] * 8) is None
    assert frame_share([framed((240, 320), seed=i) for i in range(4)] + [framed((120, 160))]) is None
    assert frame_share([]) is None


def test_a_mirrored_camera_shows_in_exact_normals():
    normals = [unit(0.7, -0.2, -0.7), unit(-0.6, 0.1, -0.8), unit(0.5, 0.5, -0.7)]
    good = [collected(plane_sample(normal, seed=i)) for i, normal in enumerate(normals)]
    assert camera_side([one.thumbnail for one in good if one.thumbnail]) == pytest.approx(0, abs=0.1)
    turned = [
        collected(replace(plane_sample(normal, camera=CAMERA.flipped(SIZE[1])), intrinsics=CAMERA))
        for normal in normals
    ]
    assert camera_side([one.thumbnail for one in turned if one.thumbnail]) == pytest.approx(1, abs=0.1)
    centred = replace(CAMERA, cx=(SIZE[1] - 1) / 2)
    blind = [collected(plane_sample(normal, camera=centred)) for normal in normals]
    assert camera_side([one.thumbnail for one in blind if one.thumbnail]) is None


def test_nothing_shows_left_and_right():
    flat = collected(Sample("a", np.full((*SIZE, 3), 90, np.uint8), {"depth": np.full(SIZE, 2, np.float32)}))
    assert mirrored_maps(split(flat)) == UNKNOWN
    verdict = mirrored_set(split(flat))
    assert verdict.state == "unknown" and "no white frame as in NYUv2, and no stored normals" in verdict.text


# labels


def stored(*values: int) -> SampleStatistics:
    return SampleStatistics("a", values=Counter(dict.fromkeys(values, 100)))


@pytest.mark.parametrize(
    ("fmt", "values", "state", "says"),
    [
        (LabelFiles(), range(13), "unknown", ""),
        (LabelFiles(), [3, 4, 11, 255], "unknown", ""),
        (LabelFiles(), range(14), "fault", "most likely `segmentation.first: 1` and `segmentation.void: 0`"),
        (
            LabelFiles(classes="nyu40"),
            range(41),
            "fault",
            "most likely `segmentation.first: 1` and `segmentation.void: 0`",
        ),
        (LabelFiles(first=1, void=0), [*range(13), 255], "fault", "`segmentation.void: 255`"),
        (LabelFiles(first=1), range(14), "fault", "`segmentation.void: 0`"),
        (LabelFiles(), [1, 2, 20, 30], "fault", "correct segmentation.first, .void or .classes"),
        (LabelFiles(), [255], "fault", "no pixel has a label"),
    ],
)
def test_ids_by_their_range(fmt: LabelFiles, values: list[int], state: str, says: str):
    verdict = labels.ids(split(stored(*values), description=replace(FULL, segmentation=fmt)))
    assert verdict.state == state and says in verdict.text and verdict.fix is None


def room(ids: dict[str, int], with_depth: bool) -> Thumbnail:
    """A ceiling above, a wall, a floor below; other classes elsewhere on the wall."""
    normals = np.zeros((60, 80, 3), np.float32)
    normals[:12], normals[12:40], normals[40:] = (0, 1, 0), (0, 0, -1), (0, -1, 0)
    values = np.full((60, 80), ids["wall"])
    values[:12], values[40:] = ids["ceiling"], ids["floor"]
    for i, value in enumerate(ids.values()):
        if value not in (ids["wall"], ids["floor"], ids["ceiling"]):
            values[14:38, 4 * i : 4 * i + 4] = value
    sample = Sample("a", np.zeros((60, 80, 3), np.uint8))
    return Thumbnail(sample, values, normals if with_depth else None, np.zeros((2, 4)), 80)


@pytest.mark.parametrize("with_depth", [True, False])
@pytest.mark.parametrize(("classes", "count"), [("nyu13", 13), ("nyu40", 40)])
@pytest.mark.parametrize("shift", [-1, 0, 1])
def test_ids_by_their_placement(classes: str, count: int, shift: int, with_depth: bool):
    fmt = LabelFiles(first=3, void=255, classes=classes)
    names = fmt.class_set().names
    shown = [*names[:14], "floor", "ceiling", "wall", *names[20:23]]
    ids = {name: names.index(name) + 3 + shift for name in dict.fromkeys(shown)}
    one = room(ids, with_depth)
    assert one.ids is not None
    values = Counter(dict(zip(*np.unique(one.ids, return_counts=True), strict=True)))
    description = replace(FULL, segmentation=fmt)
    verdict = labels.ids(split(*[SampleStatistics("a", values=values, thumbnail=one)] * 3, description=description))
    if shift == 0:
        assert verdict.state == "ok"
        return
    assert verdict.state == "fault" and verdict.fix is not None
    fixed = verdict.fix(description).segmentation
    assert fixed is not None and fixed.first == 3 + shift


@pytest.mark.parametrize(
    ("values", "void", "told"),
    [
        ([[0, 255]] * 4, 255, "only 'other' occurs: the labels have ids 0 and 255, .* store its pixels as 1"),
        ([[0], [255], [255], [0, 255]], 255, "only 'other' occurs"),
        ([[1, 255]] * 4, 255, "only 'wall' occurs: .* store its pixels as 0"),
        ([[0, 255]] * 3 + [[1]], 255, None),
        ([[0, 255]] * 3, 255, None),  # few samples may show one class only
        ([[0]] * 4, 255, None),
        ([[0, 1]] * 4, 1, None),  # so the description says
    ],
)
def test_masks_whose_second_class_is_read_as_void(values: list[list[int]], void: int, told: str | None):
    description = replace(FULL, segmentation=LabelFiles(classes=["other", "wall"], void=void))
    half = len(values) // 2
    parts = {"train": values[:half], "test": values[half:]}
    splits = {name: split(*(stored(*ids) for ids in part), description=description) for name, part in parts.items()}
    found = labels.one_class(splits)
    assert found is None if told is None else re.search(told, found or "")


# splits


def test_alike_images_are_not_the_same_image():
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, (12, 16)).astype(np.float32)
    near, far = image + rng.normal(0, 2, image.shape), image + rng.normal(0, 12, image.shape)
    dark = np.full_like(image, 3)

    def prints(*fingerprints: np.ndarray) -> SplitStatistics:
        return split(
            *(
                SampleStatistics(str(i), fingerprint=one.astype(np.float32), digest=bytes([i]))
                for i, one in enumerate(fingerprints)
            )
        )

    def shared(b: np.ndarray) -> list[str]:
        return overlap.shared({"a": prints(dark * 0 + 9, image), "b": replace(prints(b), samples=(_named(b),))})

    assert len(shared(near)) == 1 and "a/1 = b/x (encoded again)" in shared(near)[0]
    assert len(shared(near[:, ::-1])) == 1 and "(mirrored)" in shared(near[:, ::-1])[0]
    assert shared(far) == [] and shared(dark) == []


def _named(fingerprint: np.ndarray) -> SampleStatistics:
    return SampleStatistics("x", fingerprint=fingerprint.astype(np.float32), digest=b"x")


def test_changes_are_named_by_their_keys():
    after = replace(FULL, mirrored=True, normals=NormalsFiles(axes=("x", "-y", "z")), depth=DepthFiles(scale=0.01))
    assert list(changes(FULL, after)) == [
        "mirrored false -> true",
        "depth.scale 0.001 -> 0.01",
        "normals.axes [x, y, z] -> [x, -y, z]",
    ]
