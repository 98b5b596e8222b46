"""`check` finds maps that belong to other images, and colour and depth that are not registered; never in good sets."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from breaking import SPLITS, change
from data_testing import with_camera, write_folder
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_vision.check import reading
from mtl_vision.check.mirrored import mirrored_maps
from mtl_vision.check.outlines import kept, outlines
from mtl_vision.check.pairs import wrong_pairs
from mtl_vision.check.registered import NONE, Alignment, alignment, pairs_of_outlines, registration
from mtl_vision.check.report import Report
from mtl_vision.check.run import check_folder
from mtl_vision.check.statistics import Lines, SampleStatistics, SplitStatistics, Thumbnail, Verdict
from mtl_vision.datasets.description import Description, read_description
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.sample import Sample
from mtl_vision.synthetic import render_room

COUNT = 40


@cache
def rooms() -> tuple[Sample, ...]:
    return tuple(replace(render_room(seed, (60, 80)), name=f"{seed:04d}") for seed in range(COUNT))


def exchanged(samples: Sequence[Sample], target: str, order: Sequence[int]) -> list[Sample]:
    """Each sample with the map of another one."""
    maps = [samples[i].targets[target] for i in order]
    return [replace(one, targets={**one.targets, target: other}) for one, other in zip(samples, maps, strict=True)]


def lines_of(sample: Sample) -> Lines:
    return kept(outlines(sample, sample.targets.get("segmentation")))


def statistics(samples: Sequence[Sample], read: Sequence[int] | None = None) -> SplitStatistics:
    """Of all samples, or of those that were read; the others can be looked at."""

    def look(index: int) -> tuple[str, Lines] | None:
        return (samples[index].name, lines_of(samples[index])) if 0 <= index < len(samples) else None

    kept_ones = (
        SampleStatistics(
            samples[i].name,
            lines=lines_of(samples[i]),
            thumbnail=Thumbnail(samples[i], samples[i].targets.get("segmentation"), None, np.zeros((2, 4)), 640),
            place=("train", i),
            look=look,
        )
        for i in (range(len(samples)) if read is None else read)
    )
    return SplitStatistics(Description(), tuple(kept_ones))


def verdict(samples: Sequence[Sample], read: Sequence[int] | None = None) -> Verdict:
    return wrong_pairs(statistics(samples, read))


# pairs


@pytest.mark.parametrize("count", [8, 15, COUNT])
def test_rooms_are_of_their_own_images(count: int):
    assert verdict(rooms()[:count]) == Verdict("ok")


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_samples_show_nothing(count: int):
    split = statistics(exchanged(rooms()[:count], "depth", range(count)[::-1]))
    assert wrong_pairs(split).state == registration(split).state == "unknown"


@pytest.mark.parametrize("offset", [-19, -3, -1, 1, 7, 19])
def test_an_offset_of_the_numbering_is_named(offset: int):
    found = verdict(exchanged(rooms(), "depth", np.roll(np.arange(COUNT), offset).tolist()))
    first = max(-offset, 0)
    assert found.state == "fault" and found.fix is None
    assert f"is stored as {first + offset:04d}: off by {offset} in the order" in found.text
    assert "the depth of" in found.text and "agree; pair the files again" in found.text


@pytest.mark.parametrize("offset", [-2, 5])
def test_an_offset_is_found_where_only_some_samples_are_read(offset: int):
    broken = exchanged(rooms(), "depth", np.roll(np.arange(COUNT), offset).tolist())
    found = verdict(broken, range(0, COUNT, 3))
    assert found.state == "fault" and f"off by {offset} in the order" in found.text


@pytest.mark.parametrize(
    ("target", "name"), [("depth", "depth"), ("normals", "normal map"), ("segmentation", "label map")]
)
def test_which_map_is_wrong_follows_from_those_that_agree(target: str, name: str):
    order = np.random.default_rng(1).permutation(COUNT).tolist()
    found = verdict(exchanged(rooms(), target, order))
    assert found.state == "fault" and f"the {name} fits the " in found.text and "no better than" in found.text
    assert ") agree; pair the files" in found.text


def test_images_of_other_maps():
    order = np.roll(np.arange(COUNT), 2).tolist()
    found = verdict([replace(one, image=rooms()[i].image) for one, i in zip(rooms(), order, strict=True)])
    assert found.state == "fault" and "the image of" in found.text and "is stored as 0002: off by 2" in found.text


def test_without_a_third_map_it_is_unknown_which_is_wrong():
    pairs = [replace(one, targets={"depth": one.targets["depth"]}) for one in rooms()]
    found = verdict(exchanged(pairs, "depth", np.roll(np.arange(COUNT), 1).tolist()))
    assert found.state == "fault" and "whether depth or images are wrong is unknown" in found.text


def test_two_files_swapped_are_named():
    order = list(range(COUNT))
    order[4], order[30] = 30, 4
    found = verdict(exchanged(rooms(), "depth", order))
    assert found.state == "fault" and "in 2 of 40 samples the depth is stored with another" in found.text
    assert "that of 0004 as 0030, 0030 as 0004" in found.text


def test_half_of_the_set_shuffled():
    order = [*np.roll(np.arange(COUNT // 2), 7).tolist(), *range(COUNT // 2, COUNT)]
    found = verdict(exchanged(rooms(), "depth", order))
    assert found.state == "fault" and "in 20 of 40 samples" in found.text


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(COUNT)))
def test_the_order_of_the_samples_changes_nothing(order: list[int]):
    files = list(range(COUNT))
    files[2], files[9], files[17] = 9, 17, 2
    split = statistics(exchanged(rooms(), "depth", files))
    shuffled = replace(split, samples=tuple(split.samples[i] for i in order))
    assert "in 3 of 40 samples the depth" in wrong_pairs(shuffled).text
    good = statistics(rooms())
    assert wrong_pairs(replace(good, samples=tuple(good.samples[i] for i in order))).state == "ok"


def test_frames_that_look_the_same_are_not_compared():
    rng = np.random.default_rng(0)
    one = rooms()[0]
    tripod = [
        replace(one, name=str(i), image=np.clip(one.image + rng.normal(0, 2, one.image.shape), 0, 255).astype(np.uint8))
        for i in range(12)
    ]
    assert verdict(tripod).state == "unknown"
    twice = [replace(one, name=f"{one.name}{part}") for one in rooms() for part in "ab"]
    order = [i ^ 1 for i in range(2 * COUNT)]  # each with the map of its twin
    assert verdict(exchanged(twice, "depth", order)).state == "ok"


def test_a_wall_without_edges_shows_nothing():
    flat = [replace(one, targets={"depth": np.full((60, 80), 2, np.float32)}) for one in rooms()]
    split = statistics(flat)
    assert wrong_pairs(split).state == registration(split).state == "unknown"


def test_holes_are_no_fault():
    rng = np.random.default_rng(0)

    def holes(depth: np.ndarray) -> np.ndarray:
        noise = cv2.resize(rng.random((12, 16), np.float32), (80, 60))
        return np.where((noise > 0.65) | (depth > 4), 0, depth).astype(np.float32)

    raw = [replace(one, targets={**one.targets, "depth": holes(one.targets["depth"])}) for one in rooms()]
    split = statistics(raw)
    assert wrong_pairs(split).state == "ok" and registration(split).state != "fault"


# registration


def aligned(split: SplitStatistics) -> Alignment | None:
    return alignment(pairs_of_outlines(split.thumbnails)[1])


def moved(array: np.ndarray, scale: float, right: float = 0, down: float = 0) -> np.ndarray:
    """Scaled about the centre, and moved, in pixels; 0 where nothing was seen."""
    height, width = array.shape[:2]
    x, y = (1 - scale) * (width - 1) / 2 + right, (1 - scale) * (height - 1) / 2 + down
    matrix = np.array([[scale, 0, x], [0, scale, y]])
    return cv2.warpAffine(array, matrix, (width, height), flags=cv2.INTER_NEAREST)


def unregistered(scale: float, right: float = 0, down: float = 0) -> SplitStatistics:
    return statistics(
        [replace(one, targets={"depth": moved(one.targets["depth"], scale, right, down)}) for one in rooms()]
    )


@pytest.mark.parametrize("count", [4, 10, COUNT])
def test_rooms_are_registered(count: int):
    split = statistics(rooms()[:count])
    assert aligned(split) is None and registration(split).state in ("ok", "unknown")
    assert registration(statistics(rooms())) == Verdict("ok")


@pytest.mark.parametrize(
    ("scale", "right", "down"),
    [(0.91, 0, 0), (0.95, 0, 0), (1.05, 0, 0), (1.15, 0, 0), (1, 2, 0), (1, 0, -3), (1.08, 2, 1)],
)
def test_the_scale_and_the_shift_that_align_are_named(scale: float, right: float, down: float):
    split = unregistered(scale, right, down)
    found = aligned(split)
    assert found is not None and found.best > found.none
    assert found.x == pytest.approx(1 / scale, abs=0.02) and found.y == pytest.approx(1 / scale, abs=0.02)
    assert found.right * 72 == pytest.approx(-right / scale, abs=0.7), "72 columns without the margin"
    assert found.down * 72 == pytest.approx(-down / scale, abs=0.7)
    sentence = registration(split)
    assert sentence.state == "fault" and sentence.fix is None and "depth and images are not registered" in sentence.text
    assert wrong_pairs(split).state != "fault", "they are of the same frames"


def test_normals_are_named_where_the_depth_has_no_outlines():
    flat = np.full((60, 80), 2, np.float32)
    maps = [{"depth": flat, "normals": moved(one.targets["normals"], 0.91)} for one in rooms()]
    sentence = registration(statistics([replace(one, targets=two) for one, two in zip(rooms(), maps, strict=True)]))
    assert sentence.state == "fault" and sentence.text.startswith("normals and images are not registered")
    assert "with normals scaled by 1.10" in sentence.text


def test_half_a_pixel_is_no_fault():
    shifted = [
        replace(one, targets={"depth": cv2.resize(one.targets["depth"][::2, ::2], (80, 60), interpolation=0)})
        for one in rooms()
    ]
    assert registration(statistics(shifted)).state == "ok"


def test_maps_of_other_images_are_not_aligned():
    split = statistics(exchanged(rooms(), "depth", np.roll(np.arange(COUNT), 9).tolist()))
    assert aligned(split) is None
    assert NONE == (1, 1, 0, 0)


# both, from files


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rooms that no test may change."""
    splits = {"train": list(rooms()[:20]), "test": list(rooms()[20:])}
    return write_folder(tmp_path_factory.mktemp("good") / "rooms", splits, with_camera(rooms()[0]))


@pytest.fixture
def root(good: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(good, tmp_path / "rooms"))


def checked(root: Path, most: int | None = None) -> Report:
    return check_folder(root, read_description(root / "dataset.yaml"), most=most)


def renumber(root: Path, folder: str, offset: int) -> None:
    """The file of each sample is stored as that of the one `offset` further on."""
    for split in SPLITS:
        paths = sorted((root / split / folder).glob("*.png"))
        stored = [path.read_bytes() for path in paths]
        for i, data in enumerate(stored):
            paths[(i + offset) % len(paths)].write_bytes(data)


@pytest.mark.parametrize("most", [None, 5])
def test_files_off_by_three(root: Path, most: int | None):
    assert checked(root, most).faults == []
    renumber(root, "depth", 3)
    renumber(root, "normals", 3)
    (fault,) = checked(root, most).faults
    assert fault.test == "wrong_pairs" and fault.split is None and "off by 3 in the order of the names" in fault.text


def test_a_sample_is_read_twice_at_most(root: Path, monkeypatch: pytest.MonkeyPatch):
    """Once as one of those that were asked for, once as the neighbour of some, for all pairs of maps together."""
    renumber(root, "depth", 3)
    count: Counter[tuple[str, int]] = Counter()

    def counted(dataset: FolderDataset, index: int) -> reading.Reading:
        count[dataset.split, index] += 1
        return read(dataset, index)

    read = reading.read
    monkeypatch.setattr(reading, "read", counted)
    assert [fault.test for fault in checked(root, 5).faults if fault.test == "wrong_pairs"]
    assert len(count) > 10 and max(count.values()) <= 2


def test_files_of_another_camera(root: Path):
    change(root, "depth", lambda stored: moved(stored, 0.91))
    change(root, "normals", lambda stored: moved(stored, 0.91))
    faults = [fault for fault in checked(root).faults if fault.test != "normals_frame"]
    assert [fault.test for fault in faults] == ["registration"] and "scaled by 1.1" in faults[0].text


@pytest.mark.parametrize("folders", [("depth",), ("rgb",)])
def test_mirrored_maps_are_not_called_wrong_pairs(root: Path, folders: tuple[str, ...]):
    for folder in folders:
        change(root, folder, lambda stored: stored[:, ::-1])
    found = {fault.test for fault in checked(root).faults}
    assert "mirrored_maps" in found and not {"wrong_pairs", "registration"} & found


# healthy depth whose jumps are cut out


def without_jumps(depth: np.ndarray, reach: int) -> np.ndarray:
    """Depth with holes of `reach` pixels about its jumps, as filters against flying pixels leave it."""
    kernel = np.ones((3, 3), np.uint8)
    jump = cv2.dilate(depth, kernel) > 1.1 * cv2.erode(depth, kernel)
    holes = cv2.dilate(jump.astype(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8)) > 0
    return np.where(holes, np.float32(0), depth)


@pytest.mark.parametrize("reach", [0, 1])
@pytest.mark.parametrize("count", [12, COUNT])
def test_depth_whose_jumps_are_holes_is_its_own(reach: int, count: int):
    cut = [
        replace(one, targets={**one.targets, "depth": without_jumps(one.targets["depth"], reach)})
        for one in rooms()[:count]
    ]
    split = statistics(cut)
    for test in (wrong_pairs, registration, mirrored_maps):
        assert test(split).state != "fault", test.__name__


@pytest.mark.parametrize("count", [4, 6, 9])
def test_a_few_shuffled_samples_are_never_called_unregistered(count: int):
    for start in range(0, COUNT - count, 3):
        some = rooms()[start : start + count]
        order = [*range(1, count), 0]
        name, lines = pairs_of_outlines(statistics(exchanged(some, "depth", order)).thumbnails)
        assert name == "depth" and alignment(lines) is None
