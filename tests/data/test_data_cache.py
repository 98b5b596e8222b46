"""The packed copy: equal to its source, made once, made anew when a file changes, whole or not at all."""

from __future__ import annotations

import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_testing import FULL, cut_short, degrees, planes, write_folder

from mtl_vision.datasets.description import DataError, InstancesFiles, LabelFiles
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.loading import cache
from mtl_vision.loading.augment import Augmentation
from mtl_vision.loading.cache import PackedDataset
from mtl_vision.loading.loader import Loader
from mtl_vision.runtime.files import LOCK


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "set", {"train": planes(5)})


def assert_equal(packed: PackedDataset, source: FolderDataset) -> None:
    assert len(packed) == len(source)
    for i in range(len(source)):
        one, other = packed[i], source[i]
        assert (
            one.name == other.name and one.intrinsics == other.intrinsics and list(one.targets) == list(other.targets)
        )
        np.testing.assert_array_equal(one.image, other.image)
        for name, target in other.targets.items():
            assert one.targets[name].dtype == target.dtype
            if name == "normals":
                assert degrees(one.targets[name], target).max() < 0.003
            else:
                np.testing.assert_array_equal(one.targets[name], target)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_equal_to_its_source(tmp_path: Path, root: Path, threads: int):
    source = FolderDataset(root, "train")
    assert_equal(PackedDataset(source, tmp_path / "cache", threads), source)


def test_invalid_normals_stay_invalid(tmp_path: Path):
    sample = planes(1)[0]
    sample.targets["normals"][:9] = 0
    source = FolderDataset(write_folder(tmp_path / "set", {"train": [sample]}), "train")
    normals = PackedDataset(source, tmp_path / "cache")[0].targets["normals"]
    assert (normals[:9] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(normals[9:], axis=-1), 1, atol=1e-6)


def test_it_serves_what_is_asked_for_as_it_lies_there(tmp_path: Path, root: Path):
    packed = PackedDataset(FolderDataset(root, "train"), tmp_path / "cache")
    sample = packed.stored(1, ["normals", "depth"])
    assert set(sample.targets) == {"normals", "depth"} and sample.targets["normals"].dtype == np.int16
    for name, array in (("image", packed.image), *packed.arrays.items()):
        if name != "segmentation":
            mine = sample.image if name == "image" else sample.targets[name]
            assert np.shares_memory(mine, array) and not mine.flags.writeable


def test_it_is_made_once(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch):
    PackedDataset(FolderDataset(root, "train"), tmp_path / "cache")
    monkeypatch.setattr(cache, "_pack", lambda *_: pytest.fail("packed again"))
    monkeypatch.setattr(FolderDataset, "__getitem__", lambda *_: pytest.fail("read the source"))
    assert PackedDataset(FolderDataset(root, "train"), tmp_path / "cache")[3].name == "0003"


def test_a_changed_file_is_seen(tmp_path: Path, root: Path):
    before = PackedDataset(FolderDataset(root, "train"), tmp_path / "cache")
    path = root / "train/label/0001.png"
    path.write_bytes((root / "train/label/0000.png").read_bytes())
    os.utime(path, ns=(1, 1))
    after = PackedDataset(FolderDataset(root, "train"), tmp_path / "cache")
    assert after.folder != before.folder
    assert_equal(after, FolderDataset(root, "train"))


def test_a_new_or_missing_file_is_seen(tmp_path: Path, root: Path):
    folders = {PackedDataset(FolderDataset(root, "train"), tmp_path / "cache").folder}
    (root / "train/depth/0001.png").unlink()
    folders.add(PackedDataset(FolderDataset(root, "train"), tmp_path / "cache").folder)
    (root / "train/rgb/0002.png").unlink()
    folders.add(PackedDataset(FolderDataset(root, "train"), tmp_path / "cache").folder)
    assert len(folders) == 3


def test_another_description_or_class_set_is_another_copy(tmp_path: Path):
    forty = replace(FULL, segmentation=LabelFiles(classes="nyu40"))
    root = write_folder(tmp_path / "set", {"train": planes(1)}, forty)
    assert forty.depth is not None
    other = replace(forty, depth=replace(forty.depth, scale=0.002))
    sources = [
        FolderDataset(root, "train"),
        FolderDataset(root, "train", classes="nyu13"),
        FolderDataset(root, "train", other),
    ]
    assert len({PackedDataset(source, tmp_path / "cache").folder for source in sources}) == 3
    for source in sources:
        assert_equal(PackedDataset(source, tmp_path / "cache"), source)


def test_partial_targets_stay_partial(tmp_path: Path, root: Path):
    (root / "train/depth/0001.png").unlink()
    (root / "train/normals/0000.png").unlink()
    packed = PackedDataset(FolderDataset(root, "train"), tmp_path / "cache")
    assert list(packed[0].targets) == ["depth", "segmentation"]
    assert list(packed[1].targets) == ["normals", "segmentation"]
    assert list(packed[2].targets) == ["depth", "normals", "segmentation"]


@pytest.mark.parametrize("threads", [1, 3])
def test_different_sizes_say_so_and_leave_nothing(tmp_path: Path, threads: int):
    odd = replace(planes(1, (40, 64))[0], name="0009")
    root = write_folder(tmp_path / "set", {"train": [*planes(3), odd]})
    with pytest.raises(DataError, match=r"0009\.png is \(40, 64\) .*the first image \(48, 64\).*without a cache"):
        PackedDataset(FolderDataset(root, "train"), tmp_path / "cache", threads)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("index", [0, 3])
def test_a_failure_names_its_file_and_leaves_nothing(tmp_path: Path, root: Path, index: int):
    cut_short(root / f"train/depth/000{index}.png")
    with pytest.raises(DataError, match=rf"depth/000{index}\.png"):
        PackedDataset(FolderDataset(root, "train"), tmp_path / "cache", 2)
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path, root: Path):
    left = tmp_path / "cache" / ".0123456789ab.partial"
    left.mkdir(parents=True)
    for name in (LOCK, "image.npy"):
        (left / name).write_bytes(b"half")
    source = FolderDataset(root, "train")
    assert_equal(PackedDataset(source, tmp_path / "cache"), source)
    assert not left.exists()


def test_another_process_may_be_faster(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch):
    source, pack = FolderDataset(root, "train"), cache._pack

    def twice(source: FolderDataset, folder: Path, workers: int) -> None:
        pack(source, folder, workers)
        pack(source, folder, workers)

    monkeypatch.setattr(cache, "_pack", twice)
    assert_equal(PackedDataset(source, tmp_path / "cache"), source)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_it_travels_to_a_worker_process(tmp_path: Path, root: Path):
    source = FolderDataset(root, "train")
    assert_equal(pickle.loads(pickle.dumps(PackedDataset(source, tmp_path / "cache"))), source)


def test_a_packed_loader_travels_to_a_worker_without_its_pages(tmp_path: Path):
    """Workers that are not forked get the dataset pickled: small, and giving the same samples."""
    root = write_folder(
        tmp_path / "set", {"train": [replace(s, name=f"{i}{s.name}") for i in range(12) for s in planes(5)]}
    )
    packed = PackedDataset(FolderDataset(root, "train"), tmp_path / "cache")
    loader = Loader(packed, FULL.targets(), (24, 32), 2, augment=Augmentation("strong", (24, 32)), train=True)
    view = loader.loader.dataset
    data = pickle.dumps(view)
    assert len(data) < packed.image.nbytes / 4
    again = pickle.loads(data)
    np.testing.assert_array_equal(again[(1, 7)].image, view[(1, 7)].image)


def test_another_pairing_of_the_same_files_is_seen(tmp_path: Path, root: Path):
    """Lists tell which depth belongs to which image: the files are the same, the samples are not."""
    described = replace(FULL, lists={"train": "list.txt"}, columns=["image", "depth"], normals=None, segmentation=None)
    packed = []
    for depths in ("0000 0001", "0001 0000"):
        names = zip(("0000", "0001"), depths.split(), strict=True)
        (root / "list.txt").write_text("".join(f"rgb/{a}.png depth/{b}.png\n" for a, b in names))
        source = FolderDataset(root, "train", described)
        packed.append(PackedDataset(source, tmp_path / "cache"))
        assert_equal(packed[-1], source)
    assert packed[0].folder != packed[1].folder


def test_mirrored_files_are_another_copy(tmp_path: Path, root: Path):
    sources = [FolderDataset(root, "train", replace(FULL, mirrored=mirrored)) for mirrored in (False, True)]
    assert len({PackedDataset(source, tmp_path / "cache").folder for source in sources}) == 2


def test_instances_are_kept(tmp_path: Path, root: Path):
    shutil.copytree(root / "train/label", root / "train/instances")
    source = FolderDataset(root, "train", replace(FULL, instances=InstancesFiles()))
    packed = PackedDataset(source, tmp_path / "cache")
    assert_equal(packed, source)
    assert "instances" in packed[0].targets
