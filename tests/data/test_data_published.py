"""The loaders of the named repositories, imitated here by what they do, and ours give the same numbers.

Each imitation is of a few lines and knows nothing of the project's readers. It gives what the repository hands to its
training; of its labels, 255 (or -1) is none. Normals are compared in our axes, which the repositories do not state:
AXES_OF in layout_parts.py has them, and test_the_published_axes holds the one of which a sample is public.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import scipy.io
import torch
from data_testing import degrees
from layout_parts import AXES_OF
from layouts import EXPECT, lay_out, names, rooms
from PIL import Image

from mtl_vision.datasets import DataError
from mtl_vision.datasets.convert import convert_folder
from mtl_vision.datasets.description import known_description
from mtl_vision.datasets.folder import open_splits
from mtl_vision.datasets.layouts import Layout, layouts
from mtl_vision.datasets.recognise import describe
from mtl_vision.datasets.targets.normals import finish, read
from mtl_vision.export.graph import make_manifest

ROOMS = rooms(2, 2)


@dataclass
class Loaded:
    """What a repository's loader gives: colours from 0 to 255, ids from 0, metres, vectors in the publisher's axes."""

    image: np.ndarray
    labels: np.ndarray | None = None
    depth: np.ndarray | None = None
    normals: np.ndarray | None = None


def pil(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def vainf(root: Path, split: str, stem: str) -> Loaded:
    """nyuv2.py's example: the files by PIL; depth / 1000, normals 2 v - 1 of values to 1; labels as they are."""
    depth, normals = pil(root / "depth" / split / f"{stem}.png"), pil(root / "normal" / split / f"{stem}.png")
    labels = pil(root / "seg40" / split / f"{stem}.png")
    return Loaded(pil(root / "image" / split / f"{stem}.png"), labels, depth.astype(float) / 1e3, normals / 255 * 2 - 1)


def xapharius(root: Path, split: str, stem: str) -> Loaded:
    """Depth / 10000; labels of 14 with background first; normals as values from 0 to 1."""
    read = {name: pil(root / f"{split}_{name}" / f"{stem}.png") for name in ("rgb", "seg13", "sn", "depth")}
    labels = np.where(read["seg13"] == 0, 255, read["seg13"].astype(int) - 1)
    return Loaded(read["rgb"], labels, read["depth"] / 1e4, read["sn"] / 255 * 2 - 1)


def mtan(root: Path, split: str, stem: str) -> Loaded:
    """Arrays as they are, channels first for the network; a label of -1 and normals that sum to 0 count for nothing."""
    image, label, depth, normal = (
        np.load(root / split / f / f"{stem}.npy") for f in ("image", "label", "depth", "normal")
    )
    depth = np.moveaxis(depth, -1, 0)[0]
    return Loaded(image * 255, np.where(label < 0, 255, label), depth, normal)


def astmt(root: Path, split: str, stem: str) -> Loaded:
    """Labels and depth from .mat, JPEG normals 2 v / 255 - 1; ids in the 40-way form, where 0 becomes 255."""
    labels = scipy.io.loadmat(root / "segmentation" / f"{stem}.mat")["segmentation"].astype(np.float32) - 1
    labels[labels == -1] = 255
    depth = scipy.io.loadmat(root / "depth" / f"{stem}.mat")["depth"].astype(np.float32)
    normals = 2.0 * pil(root / "normals" / f"{stem}.jpg").astype(np.float32) / 255.0 - 1.0
    return Loaded(pil(root / "images" / f"{stem}.jpg"), labels, depth, normals)


def nyud_mt(root: Path, split: str, stem: str) -> Loaded:
    """Labels of 0 become 256, then all are less 1; arrays as they are."""
    labels = pil(root / "segmentation" / f"{stem}.png").astype(np.float32)
    labels[labels == 0] = 256
    image = pil(root / "images" / f"{stem}.jpg")
    return Loaded(image, labels - 1, *(np.load(root / name / f"{stem}.npy") for name in ("depth", "normals")))


def invpt(root: Path, split: str, stem: str) -> Loaded:
    """PNG everywhere but for depth; labels less 1, where -1 becomes 255; normals 2 v / 255 - 1."""
    image, labels, normals = (pil(root / name / f"{stem}.png") for name in ("images", "segmentation", "normals"))
    labels = labels.astype(np.float32) - 1
    labels[labels == -1] = 255
    return Loaded(image, labels, np.load(root / "depth" / f"{stem}.npy"), 2 * normals.astype(np.float32) / 255 - 1)


def opencv(path: Path) -> np.ndarray:
    array = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(array, cv2.COLOR_BGR2RGB) if array.ndim == 3 else array


def esanet(root: Path, split: str, stem: str) -> Loaded:
    """By OpenCV as they are: millimetres, 1 + 40 classes."""
    image, labels, depth = (opencv(root / split / name / f"{stem}.png") for name in ("rgb", "labels_40", "depth"))
    return Loaded(image, labels.astype(int) - 1 & 255, depth / 1e3)


def nicr(root: Path, split: str, stem: str) -> Loaded:
    """The same with other names; normals v / 127 - 1, made unit again, so that 127 stays zero."""
    image, labels, depth = (opencv(root / split / name / f"{stem}.png") for name in ("rgb", "semantic_40", "depth"))
    normals = opencv(root / split / "normal" / f"{stem}.png").astype(np.float32) / 127 - 1
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-7
    return Loaded(image, labels.astype(int) - 1 & 255, depth / 1e3, normals)


def dformer(root: Path, split: str, stem: str) -> Loaded:
    """Grey labels of 8 bits less 1, so that 0 becomes 255. Its depth is grey without a unit."""
    labels = cv2.imread(str(root / "Label" / f"{stem}.png"), cv2.IMREAD_GRAYSCALE) - np.uint8(1)
    return Loaded(opencv(root / "RGB" / f"{stem}.jpg"), labels)


LOADERS: dict[str, Callable[[Path, str, str], Loaded]] = {
    loader.__name__: loader for loader in (vainf, xapharius, mtan, astmt, nyud_mt, invpt, esanet, nicr, dformer)
}
PUBLISHER = {"vainf": "ladicky", "xapharius": "ladicky", "mtan": "eigen", "nicr": "eigen"} | dict.fromkeys(
    ("astmt", "nyud_mt", "invpt"), "outward"
)
# degrees between v / 127 - 1, as nicr reads, and v / 127.5 - 1, as is published: sqrt(3) / 255 at most
DECODED = {"nicr": 0.4}
WRAPS = {"xapharius": 65536e-4}  # the repository leaves wrapped depth as it is; ours is unwrapped where that shows


def to_ours(published: str, vectors: np.ndarray) -> np.ndarray:
    """Vectors in the publisher's axes in ours."""
    ours = np.empty_like(vectors)
    for stored, (axis, sign) in enumerate(AXES_OF[published]):
        ours[..., axis] = sign * vectors[..., stored]
    return ours


@pytest.mark.parametrize("layout", LOADERS)
def test_ours_gives_the_numbers_of_the_repository_s_loader(layout: str, tmp_path: Path):
    lay_out(layout, tmp_path, ROOMS)
    splits = EXPECT[layout].splits
    datasets = {dataset.split: dataset for dataset in open_splits(tmp_path, describe(tmp_path))}
    for split, stems in names(layout, ROOMS).items():
        dataset = datasets[splits[split]]
        assert dataset.stems == stems
        for index, stem in enumerate(stems):
            sample, theirs = dataset[index], LOADERS[layout](tmp_path, splits[split], stem)
            targets = sample.targets
            assert np.abs(sample.image - theirs.image.astype(float)).max() < 1e-3 + (layout == "mtan") * 0.5
            np.testing.assert_array_equal(targets["segmentation"], theirs.labels)
            if theirs.depth is not None:
                difference = np.abs(targets["depth"] - theirs.depth)
                assert np.minimum(difference, np.abs(difference - WRAPS.get(layout, 0))).max() < 5e-4
            if theirs.normals is not None:
                theirs_in_ours = to_ours(PUBLISHER[layout], theirs.normals)
                length = np.linalg.norm(theirs_in_ours, axis=-1, keepdims=True)
                valid = length[..., 0] > 0.5  # JPEG and 8 bits leave zero near it
                np.testing.assert_array_equal((targets["normals"] != 0).any(axis=-1), valid)
                off = degrees(targets["normals"], theirs_in_ours / np.maximum(length, 0.5))[valid]
                assert off.max() < 0.01 + DECODED.get(layout, 0)


def test_depth_that_each_frame_stretches_is_not_taken_for_metres(tmp_path: Path):
    """DFormer's own Depth is from matplotlib's imsave: from each frame's nearest to its farthest, in four channels."""
    lay_out("dformer", tmp_path, ROOMS)
    for path in (tmp_path / "Depth").iterdir():
        grey = opencv(path)
        cv2.imwrite(str(path), np.dstack([grey, grey, grey, np.full_like(grey, 255)]))
    with pytest.raises(DataError, match="expected one channel"):
        open_splits(tmp_path, describe(tmp_path))[0][0]


# frames of reference, worked by hand


@pytest.mark.parametrize(
    ("layout", "colour", "normal"),
    [
        # a floor, a wall ahead and a wall to the left (which faces right), as their publishers colour them
        ("vainf", (128, 0, 128), (0, -1, 0)),
        ("vainf", (0, 128, 128), (0, 0, -1)),
        ("xapharius", (128, 128, 255), (1, 0, 0)),
        ("nicr", (127, 127, 254), (0, -1, 0)),
        ("nicr", (127, 0, 127), (0, 0, -1)),
        ("nicr", (254, 127, 127), (1, 0, 0)),
        ("invpt", (128, 255, 128), (0, -1, 0)),
        ("invpt", (128, 128, 255), (0, 0, -1)),
        ("invpt", (0, 128, 128), (1, 0, 0)),
        ("mtan", (0.0, 0.0, 1.0), (0, -1, 0)),
        ("mtan", (0.0, -1.0, 0.0), (0, 0, -1)),
        ("nyud_mt", (0.0, 0.0, 1.0), (0, 0, -1)),
        ("nyud_mt", (-1.0, 0.0, 0.0), (1, 0, 0)),
    ],
)
def test_the_published_axes(layout: str, colour: tuple[float, ...], normal: tuple[int, ...]):
    section = known_description(layout).normals
    assert section is not None
    stored = np.array([[colour]], np.float32 if isinstance(colour[0], float) else np.uint8)
    found = finish(read(stored, section), section, None)
    np.testing.assert_allclose(found[0, 0], normal, atol=0.02)


# sources


# owner/name and what follows, a page by its host, an address within the text, or that there is none
SOURCE = re.compile(
    r"[A-Za-z\d-]+/[\w-]+[,:] .|[a-z\d-]+(\.[a-z\d-]+){2,}/\w|.*\bgithub\.com/[A-Za-z\d-]+/[\w-]+|"
    r"(The size is )?not stated\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("lorenmt/mtan, README: metres", True),
        ("TUI-NICR/ESANet, src/datasets/nyuv2/prepare_dataset.py: metres * 1000", True),
        ("vision.in.tum.de/data/datasets/rgbd-dataset/file_formats, 16 bits", True),
        ("train.txt of github.com/cleinc/bts", True),
        ("Not stated in any repository; taken by the files", True),
        ("src/data/nyud.py: 0 is none, 40 classes from 1", False),
        ("data/nyud.py: 0 is none, 40 classes from 1", False),
        ("metres/step as in the files of the archive", False),
        ("the files, which have metres/step: 0.001", False),
        ("nyud.py/NYUDv2, 40 classes", False),
        ("lorenmt/mtan", False),
    ],
)
def test_what_is_a_source(text: str, is_one: bool):
    assert bool(SOURCE.match(text)) == is_one


@pytest.mark.parametrize("name", layouts())
def test_every_form_says_where_it_was_read(name: str):
    """For each target with files, and for its camera: a repository (owner/name) or a page, or that it is not stated."""
    form: Layout = layouts()[name]
    description = known_description(name)
    with_files = [t for t in description.targets() if not getattr(description.section(t), "derive", False)]
    needed = [*with_files, *(["camera"] if description.intrinsics else [])]
    missing = [key for key in needed if key not in form.taken_from]
    assert not missing, f"layouts/{name}.yaml: give {missing} in 'from'"
    assert set(form.taken_from) <= {*description.targets(), "camera", "lists", "match"}, (
        f"layouts/{name}.yaml: 'from' has others"
    )
    for key, text in form.taken_from.items():
        assert (key == "match" or SOURCE.match(text)) and len(text) > 20, (  # TUM's associate.py is in no repository
            f"layouts/{name}.yaml: from.{key} names no repository and no lack of one: {text}"
        )


def test_sources_are_no_part_of_the_description():
    assert all("from" not in form.description for form in layouts().values())


# crops


@pytest.mark.parametrize("layout", ["astmt", "nyud_mt", "invpt"])
@pytest.mark.parametrize(("size", "principal"), [((425, 560), (285.58, 208.74)), ((480, 640), (325.58, 253.74))])
def test_the_camera_of_nyud_mt_is_that_of_its_crop_unless_the_pictures_are_whole(
    layout: str, size: tuple[int, int], principal: tuple[float, float], tmp_path: Path
):
    """Gupta's crop keeps the focal length: 518.86 pixels, not the 454 of a whole image made smaller."""
    lay_out(layout, tmp_path, {split: [samples[0].resized(size)] for split, samples in ROOMS.items()})
    description = describe(tmp_path)
    camera = description.camera(size)
    assert camera is not None and (camera.fx, camera.fy) == pytest.approx((518.8579, 519.4696))
    assert (camera.cx, camera.cy) == pytest.approx(principal, abs=0.01)
    sample = open_splits(tmp_path, description)[0][0]
    assert sample.intrinsics == camera
    # which the network's size does not change, though it may be that of whole pictures
    wider = description.camera((480, 640))
    assert wider is not None and wider.fx == pytest.approx(518.8579 * 640 / size[1])
    assert description.camera((480, 640)) == camera.resized(size, (480, 640))


def test_the_camera_of_mtan_is_cropped_then_scaled():
    camera = known_description("mtan").camera((288, 384))
    assert camera is not None
    assert camera.fx == pytest.approx(518.857901 * 384 / 561) and camera.fy == pytest.approx(519.469611 * 288 / 427)
    assert camera.cx == pytest.approx((325.582449 - 40 + 0.5) * 384 / 561 - 0.5)


@pytest.mark.parametrize("layout", ["mtan", "invpt", "esanet"])
def test_what_convert_writes_has_the_pictures_own_camera(layout: str, tmp_path: Path):
    lay_out(layout, tmp_path / "theirs", rooms(1, 1))
    description = describe(tmp_path / "theirs")
    convert_folder(tmp_path / "theirs", tmp_path / "ours", description)
    written = describe(tmp_path / "ours")
    assert written.crop is None and "crop" not in (tmp_path / "ours" / "dataset.yaml").read_text()
    assert written.camera((48, 64)) == description.camera((48, 64))
    assert (written.intrinsics or {})["width"] == {"mtan": 561, "invpt": 560, "esanet": 640}[layout]


def test_the_manifest_has_the_crop_s_camera():
    sized = SimpleNamespace(data=SimpleNamespace(size=(425, 560)))
    model = SimpleNamespace(mean=torch.zeros(3), std=torch.ones(3), multiple=32, size=(425, 560))
    run = SimpleNamespace(config=sized, description=known_description("nyud_mt"), model=model, tasks={}, metrics={})
    assert make_manifest(run).intrinsics == pytest.approx((518.8579, 519.4696, 285.5824, 208.7362), abs=1e-3)
