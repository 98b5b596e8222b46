"""A target from outside the package: one registration, and everything that handles targets knows it."""

from __future__ import annotations

import pickle
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_testing import FULL, SIZE, planes, write_folder

from mtl_vision.datasets.description import DataError
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.sample import Sample
from mtl_vision.datasets.targets import (
    TARGETS,
    DepthFiles,
    NormalsFiles,
    Target,
    depth,
    kind_of,
    normals,
    register,
    target_of,
)
from mtl_vision.loading import geometry
from mtl_vision.loading.augment import Augmentation
from mtl_vision.loading.cache import PackedDataset
from mtl_vision.loading.loader import Loader


def height(sample: Sample) -> np.ndarray | None:
    return sample.targets["depth"] * np.float32(2)


def fresh(sample: Sample) -> np.ndarray:
    return np.where(sample.targets["segmentation"] == 3, 1, 0).astype(np.float32)


@pytest.fixture(autouse=True)
def own() -> Iterator[None]:
    before = dict(TARGETS)
    register(Target("stretched", "scalar_map", derive=height, needs=("depth",), length=True))
    register(Target("is_wall", "probability_map", derive=fresh, needs=("segmentation",)))
    yield
    TARGETS.clear()
    TARGETS.update(before)


OWN = ("stretched", "is_wall")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "set", {"train": planes(4)})


def test_it_is_derived_packed_moved_and_batched(root: Path, tmp_path: Path):
    source = FolderDataset(root, "train", derived=OWN)
    packed = PackedDataset(source, tmp_path / "cache")
    for name in OWN:
        np.testing.assert_array_equal(packed[2].targets[name], source[2].targets[name])
    zoomed = geometry.zoom_crop(source[0], 4, 4, 24, SIZE)
    np.testing.assert_array_equal(zoomed.targets["stretched"], 2 * zoomed.targets["depth"])
    loader = Loader(packed, OWN, SIZE, 2, augment=Augmentation("heavy", SIZE), train=True, workers=1)
    for batch in loader.epoch(0):
        assert batch.targets["stretched"].shape == batch.targets["is_wall"].shape == (2, 1, *SIZE)
        assert batch.present == set(OWN)


def test_nothing_changes_without_it(root: Path, tmp_path: Path):
    plain, more = FolderDataset(root, "train"), FolderDataset(root, "train", derived=OWN)
    assert PackedDataset(plain, tmp_path / "c").folder != PackedDataset(more, tmp_path / "c").folder
    batches = []
    for source in (plain, more):
        loader = Loader(source, FULL.targets(), SIZE, 2, augment=Augmentation("heavy", SIZE), train=True, seed=3)
        batches.append(next(iter(loader.epoch(0))))
    for name in FULL.targets():
        np.testing.assert_array_equal(*(batch.targets[name].numpy() for batch in batches))


def test_another_function_is_another_packed_copy(root: Path, tmp_path: Path):
    before = PackedDataset(FolderDataset(root, "train", derived=("is_wall",)), tmp_path / "c").folder

    def other(sample: Sample) -> np.ndarray:
        return np.where(sample.targets["segmentation"] == 4, 1, 0).astype(np.float32)

    register(Target("is_wall", "probability_map", derive=other, needs=("segmentation",)))
    assert PackedDataset(FolderDataset(root, "train", derived=("is_wall",)), tmp_path / "c").folder != before


def test_what_it_needs_has_to_be_there(tmp_path: Path):
    described = replace(FULL, depth=None, normals=None)
    sample = planes(1)[0]
    labels = {"segmentation": sample.targets["segmentation"]}
    root = write_folder(tmp_path / "set", {"train": [replace(sample, targets=labels)]}, described)
    with pytest.raises(DataError, match="from segmentation and depth: .* has no depth; leave edges out"):
        FolderDataset(root, "train", derived=("edges",))
    assert set(FolderDataset(root, "train", derived=("is_wall",))[0].targets) == {"segmentation", "is_wall"}
    with pytest.raises(ValueError, match="unknown target 'edgs', did you mean 'edges'"):
        FolderDataset(root, "train", derived=("edgs",))
    with pytest.raises(ValueError, match="derived has 'depth', which is read from files"):
        FolderDataset(root, "train", derived=("depth",))


def test_a_sample_that_lacks_what_it_needs_lacks_it(root: Path):
    (root / "train/depth/0001.png").unlink()
    source = FolderDataset(root, "train", derived=(*OWN, "edges"))
    assert set(source[1].targets) == {"normals", "segmentation", "is_wall"}
    assert set(source[0].targets) == {"depth", "normals", "segmentation", *OWN, "edges"}


def test_what_is_described_is_not_derived_again(root: Path):
    source = FolderDataset(root, "train", derived=("normals",))
    assert source.derived == () and source.target_names == FULL.targets()
    derived = FolderDataset(root, "train", replace(FULL, normals=None), derived=("normals",))
    assert derived[0].targets["normals"].shape == (*SIZE, 3)


def test_a_derived_map_is_checked(root: Path):
    register(Target("wrong", "probability_map", derive=lambda sample: np.zeros((3, 3)), needs=("depth",)))
    message = r"derived target 'wrong' is float64 of \(3, 3\): expected float32 of \(48, 64\), as a probability_map"
    with pytest.raises(DataError, match=message):
        FolderDataset(root, "train", derived=("wrong",))[0]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Target("two words", "scalar_map", derive=height), "expected a word"),
        (Target("image", "scalar_map", derive=height), "not 'image'"),
        (Target("own", "probabilty_map", derive=height), "did you mean 'probability_map'"),
        (Target("own", "scalar_map"), "has no function derive"),
        (Target("depth", "scalar_map", derive=height), "'depth' is the package's own"),
    ],
)
def test_what_is_no_target(target: Target, message: str):
    with pytest.raises(ValueError, match=message):
        register(target)


def test_unknown_names_are_told_the_nearest():
    with pytest.raises(ValueError, match="unknown target 'dept', did you mean 'depth'"):
        Loader(planes(2), ["dept"], SIZE, 2)
    assert kind_of("edges").name == "probability_map"


def test_a_pickled_target_registers_itself():
    data = pickle.dumps(target_of("is_wall"))
    del TARGETS["is_wall"]
    assert pickle.loads(data) == target_of("is_wall")


SCRIPT = """
import sys
import torch
from pathlib import Path
from data_testing import planes
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.loading.cache import PackedDataset
from mtl_vision.loading.loader import Loader

if __name__ == "__main__":
    import my_target  # registers it, in this process only

    torch.multiprocessing.set_start_method("spawn")
    source = FolderDataset(Path(sys.argv[1]), "train", derived=("own_edges",))
    sets = [source, PackedDataset(source, Path(sys.argv[2])), [source[i] for i in range(4)]]
    for samples in sets:
        alone, there = (Loader(samples, ["own_edges"], (48, 64), 2, workers=n) for n in (0, 1))
        for one, other in zip(alone.epoch(0), there.epoch(0), strict=True):
            assert torch.equal(one.targets["own_edges"], other.targets["own_edges"])
            assert one.present == other.present == {"own_edges"}
    print("the same")
"""
MODULE = """
import numpy as np
from mtl_vision.datasets.targets import Target, register

def own_edges(sample):
    return (sample.targets["segmentation"] == 3).astype(np.float32)

register(Target("own_edges", "probability_map", derive=own_edges, needs=("segmentation", "depth")))
"""


def test_loading_processes_that_are_not_forked_know_it(python: str, root: Path, tmp_path: Path):
    (tmp_path / "my_target.py").write_text(MODULE)
    (tmp_path / "script.py").write_text(SCRIPT)
    paths = [str(tmp_path), str(Path(__file__).parent), str(Path(__file__).parents[2])]
    code = [python, str(tmp_path / "script.py"), str(root), str(tmp_path / "cache")]
    done = subprocess.run(code, capture_output=True, text=True, env={"PYTHONPATH": ":".join(paths), "PATH": ""})
    assert done.returncode == 0 and "the same" in done.stdout, done.stderr


def test_files_of_machines_with_another_order_of_bytes():
    codes = np.arange(12, dtype=np.uint16).reshape(2, 2, 3) * 5000
    same = normals.read(codes.astype(">u2"), NormalsFiles())
    np.testing.assert_array_equal(same, normals.read(codes, NormalsFiles()))
    for section in (DepthFiles(rotated=3), DepthFiles(wraps=True), DepthFiles(full_scale=10)):
        same = depth.read(codes[..., 0].astype(">u2"), section)
        np.testing.assert_array_equal(same, depth.read(codes[..., 0], section))
