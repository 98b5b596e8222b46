"""What a dataset.yaml, a list or a file may say, and what is said of it when it is wrong."""

from __future__ import annotations

import shutil
import struct
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import scipy.io
from data_testing import FULL, SIZE, planes, write_folder
from PIL import Image
from test_data_layouts import ROOMS, Case, opened

from mtl_vision.datasets import DataError
from mtl_vision.datasets.description import Description, known_description, make_description, read_description
from mtl_vision.datasets.files import find_files, names
from mtl_vision.datasets.folder import FolderDataset
from mtl_vision.datasets.layouts import layouts
from mtl_vision.datasets.recognise import describe
from mtl_vision.datasets.targets import DepthFiles

# dataset.yaml, lists and names


def test_a_short_description_on_top_of_a_known_layout(tmp_path: Path):
    root = Case("tum").lay_out(tmp_path)
    camera = {"fx": 51.9, "fy": 51.9, "cx": 32, "cy": 25, "height": 48, "width": 64}
    (root / "dataset.yaml").write_text(
        f"layout: tum\nsource: my room\nnormals: {{derive: true}}\nintrinsics: {camera}\n"
    )
    dataset = opened(root)["train"]
    assert dataset.description.source == "my room" and set(dataset[0].targets) == {"depth", "normals"}
    assert dataset.description.depth is not None and dataset.description.depth.scale == 0.0002


def test_a_layout_named_in_a_description_may_be_bent(tmp_path: Path):
    root = Case("scannet").lay_out(tmp_path)
    (root / "dataset.yaml").write_text("layout: scannet\ndepth: {scale: 0.002}\nsplits: {test: .}\n")
    dataset = opened(root)["test"]
    truth = ROOMS["train"][0]
    np.testing.assert_allclose(dataset[0].targets["depth"], 2 * truth.targets["depth"], atol=0.002)


@pytest.mark.parametrize(
    ("said", "got"),
    [
        ("layout: dformer\ndepth: {scale: 0.01}", lambda d: (d.depth.scale, d.depth.full_scale) == (0.01, None)),
        ("layout: esanet\ndepth: {full_scale: 10}", lambda d: d.depth.full_scale == 10),
        ("layout: esanet\nnormals: {folder: sn}", lambda d: (d.normals.folder, d.normals.derive) == ("sn", False)),
        ("layout: nyud_mt\nnumbered: 1", lambda d: d.lists is None and d.numbered == 1),
        ("layout: dump8\nlists: {train: a.txt}", lambda d: d.lists == {"train": "a.txt"} and d.numbered is None),
        ("layout: nyud_mt\nnumbered: null", lambda d: d.lists is not None),
        ("layout: mtan\ndepth: {full_scale: null}", lambda d: d.depth.scale == 1),
        ("layout: images8\ndepth: {scale: 0.001}", lambda d: (d.depth.full_scale, d.depth.offset) == (None, 0)),
        ("layout: densedepth\ndepth: {full_scale: 10}", lambda d: (d.depth.full_scale, d.depth.scale8) == (10, None)),
        ("layout: tum_times\nlists: {train: a.txt}", lambda d: d.match is None and d.lists == {"train": "a.txt"}),
        ("layout: tum\nmatch: 0.01", lambda d: (d.match, d.lists, d.columns) == (0.01, None, None)),
        ("layout: mtan\nnormals: null", lambda d: d.normals is None),
        ("layout: mtan\nsegmentation: {first: 1}", lambda d: (d.segmentation.first, d.segmentation.void) == (1, -1)),
    ],
)
def test_what_is_said_takes_the_place_of_what_the_layout_says(said: str, got, tmp_path: Path):
    (tmp_path / "dataset.yaml").write_text(said)
    assert got(read_description(tmp_path / "dataset.yaml"))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"depth": {"scale": 1, "full_scale": 10}}, "scale and full_scale"),
        ({"numbered": 0, "lists": {"train": "a"}}, "numbered and lists"),
        ({"depth": {"full_scale": 10, "wraps": True}}, "depth.wraps needs depth.scale"),
        ({"columns": ["image"]}, "expected 'image' among them, and lists"),
        ({"layout": ["mtan"]}, "unknown layout '\\['mtan'\\]'"),
    ],
)
def test_contradictions_are_refused(said: dict, message: str):
    with pytest.raises(DataError, match=message):
        make_description(said, "mine.yaml")


def test_a_layout_named_in_a_description_lacks_what_it_lacks(tmp_path: Path):
    root = Case("mtan").lay_out(tmp_path)
    (root / "dataset.yaml").write_text("layout: mtan\nsource: mine\n")
    for split in ("train", "val"):
        shutil.rmtree(root / split / "normal")
    description = describe(root)
    assert description.source == "mine" and description.normals is not None and description.normals.derive
    (root / "dataset.yaml").write_text("layout: mtan\nnormals: {folder: normal}\n")
    with pytest.raises(DataError, match="no normals for split 'train': expected .*no such folder"):
        opened(root)


@pytest.mark.parametrize("layout", ["esanet", "nyud_mt", "scannet"])
def test_suffixes_in_capitals(layout: str, tmp_path: Path):
    root = Case(layout).lay_out(tmp_path)
    for path in [path for path in root.rglob("*") if path.suffix in (".png", ".jpg")]:
        path.rename(path.with_suffix(path.suffix.upper()))
    assert len(opened(root)["train"]) >= 4


def test_every_description_survives_being_written(tmp_path: Path):
    for name in layouts():
        description = known_description(name)
        (tmp_path / "a.yaml").write_text(description.to_yaml())
        assert read_description(tmp_path / "a.yaml") == description, name


def test_an_unknown_layout_names_the_nearest(tmp_path: Path):
    (tmp_path / "dataset.yaml").write_text("layout: vanif\n")
    with pytest.raises(DataError, match=r"unknown layout 'vanif', did you mean 'vainf'\?; expected one of astmt, bts"):
        describe(tmp_path)


def test_a_folder_that_could_be_two_layouts_asks(tmp_path: Path):
    Case("mtan").lay_out(tmp_path)
    Case("vainf").lay_out(tmp_path)
    with pytest.raises(DataError, match="could be mtan or vainf: name one of them as the description"):
        describe(tmp_path)
    assert describe(tmp_path, "vainf").source.startswith("NYUv2 as prepared by VainF")


def test_a_folder_of_no_known_layout(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match=r"none of the known layouts \(astmt, .*expected.*found \['photos'\]"):
        describe(tmp_path)


@pytest.mark.parametrize("place", ["", "nyu_depth_v2_labeled.mat"])
def test_the_mat_file_has_to_be_converted_first(place: str, tmp_path: Path):
    root = Case("nyu_mat").lay_out(tmp_path)
    with pytest.raises(DataError, match=r"found nyu_depth_v2_labeled.mat: mtl-data convert"):
        describe(root / place if place else root)


def test_color_and_depth_of_different_sizes(tmp_path: Path):
    root = Case("scannet").lay_out(tmp_path)
    for path in (root / "color").iterdir():
        picture = cv2.imread(str(path))
        assert picture is not None
        cv2.imwrite(str(path), cv2.resize(picture, (130, 97)))
    sample = opened(root)["train"][0]
    assert sample.size == (48, 64) and sample.targets["depth"].shape == (48, 64)
    cv2.imwrite(str(root / "color/0.jpg"), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(DataError, match="both must be of one size"):
        opened(root)["train"][0]


def test_a_list_names_what_is_not_there(tmp_path: Path):
    root = Case("nyud_mt").lay_out(tmp_path)
    with (root / "gt_sets/train.txt").open("a") as file:
        file.write("0999\n")
    dataset = opened(root)["train"]
    assert dataset.stems[-1] == "0999"
    with pytest.raises(DataError, match=r"images/0999\.jpg: .*no such file|images/0999\.jpg: .*[Nn]o such"):
        dataset[len(dataset) - 1]


def test_a_list_that_names_a_sample_twice(tmp_path: Path):
    root = Case("nyud_mt").lay_out(tmp_path)
    path = root / "gt_sets/train.txt"
    path.write_text(path.read_text() * 2)
    with pytest.raises(DataError, match="the list of split 'train' names 0002 twice"):
        opened(root)


@pytest.mark.parametrize(
    "change",
    [
        lambda line, root: "\ufeff" + line,
        lambda line, root: line.replace("/", "\\") + "\r",
        lambda line, root: "/" + line,
        lambda line, root: " ".join(str(root / part) if "/" in part else part for part in line.split()),
    ],
    ids=["byte order mark", "backslashes", "leading slash", "absolute"],
)
@pytest.mark.parametrize(("layout", "file"), [("dformer", "train.txt"), ("bts", "nyudepthv2_train_files_with_gt.txt")])
def test_lists_as_other_systems_write_them(layout: str, file: str, change, tmp_path: Path):
    root = Case(layout).lay_out(tmp_path)
    before = opened(root)["train"]
    lines = (root / file).read_text().splitlines()
    base = root / "sync" if layout == "bts" else root
    (root / file).write_text("\n".join(change(line.lstrip("/"), base) for line in lines[:1]), encoding="utf-8")
    after = opened(root)["train"]
    assert after.stems == before.stems[:1] and after.files["depth"] == {
        stem: path for stem, path in before.files["depth"].items() if stem in after.files["depth"]
    }
    assert after[0].targets.keys() == before[0].targets.keys()


def test_names_with_spaces(tmp_path: Path):
    root = Case("dformer").lay_out(tmp_path)
    for folder, suffix in (("RGB", "jpg"), ("Depth", "png"), ("Label", "png")):
        (root / folder / f"1.{suffix}").rename(root / folder / f"my room.{suffix}")
    (root / "train.txt").write_text("RGB/my room.jpg\nRGB/3.jpg Label/3.png\n")
    dataset = opened(root)["train"]
    assert dataset.stems == ["my room", "3"] and set(dataset[0].targets) == {"depth", "normals", "segmentation"}


def test_pictures_that_lie_elsewhere_have_names_without_slashes(tmp_path: Path):
    root = Case("tum").lay_out(tmp_path / "data")
    shutil.move(root / "rgb", tmp_path / "elsewhere")
    lines = (root / "associations.txt").read_text().replace(" rgb/", f" {tmp_path}/elsewhere/")
    (root / "associations.txt").write_text(lines)
    dataset = opened(root, "tum")["train"]
    assert len(dataset) == 7 and not any("/" in stem for stem in dataset.stems)
    assert set(dataset[0].targets) == {"depth"}


@pytest.mark.parametrize(
    ("lines", "there", "told"),
    [
        (["a b.jpg", "a.jpg"], ["a b", "a"], ["a b", "a"]),
        (["RGB/kitchen 1.jpg", "RGB/kitchen 2.jpg"], [], ["kitchen 1", "kitchen 2"]),
        (["RGB/3.jpg Depth/4.png"], ["4"], ["3"]),
        (["0001", "0002 office"], ["0001", "0002"], ["0001", "0002"]),
        (["my room"], ["my room"], ["my room"]),
        (["1305031102.175304"], ["1305031102.175304"], ["1305031102.175304"]),
        (["RGB/1.JPG"], ["1"], ["1"]),
    ],
)
def test_what_a_line_names(lines: list[str], there: list[str], told: list[str]):
    assert list(names(lines, {name: Path(f"{name}.jpg") for name in there})) == told


def test_one_bad_list_leaves_the_other_splits_as_they_are(tmp_path: Path):
    root = Case("nyud_mt").lay_out(tmp_path)
    shutil.rmtree(root / "normals")
    (root / "gt_sets/val.txt").write_text("")
    description = describe(root)
    assert description.normals is not None and description.normals.derive


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": "**x"}, "'\\*\\*x' is no pattern"),
        ({"train": "missing.txt"}, "has none of the lists missing.txt: name them in 'lists'"),
        ({"train": "empty.txt"}, "empty.txt lists no sample"),
    ],
)
def test_lists_that_are_none(lists: dict[str, str], message: str, tmp_path: Path):
    root = Case("scannet").lay_out(tmp_path)
    (root / "empty.txt").write_text("# nothing\n")
    (root / "dataset.yaml").write_text(Description(splits={"train": "."}, image="color", lists=lists).to_yaml())
    with pytest.raises(DataError, match=message):
        opened(root)


def test_a_list_elsewhere_and_one_with_brackets(tmp_path: Path):
    root = Case("scannet").lay_out(tmp_path / "data")
    (tmp_path / "train[1].txt").write_text("20\n40\n")
    for name in (str(tmp_path / "train[1].txt"), "../train[1].txt"):
        description = Description(splits={"train": "."}, image="color", lists={"train": name})
        (root / "dataset.yaml").write_text(description.to_yaml())
        assert opened(root)["train"].stems == ["20", "40"]


def test_two_lists_for_one_split(tmp_path: Path):
    root = Case("bts").lay_out(tmp_path)
    shutil.copy(root / "nyudepthv2_train_files_with_gt.txt", root / "my_train.txt")
    with pytest.raises(DataError, match=r"2 lists for split 'train' \(my_train.txt, nyudepthv2_train"):
        opened(root)


def test_a_line_without_a_picture(tmp_path: Path):
    root = Case("tum").lay_out(tmp_path)
    (root / "associations.txt").write_text("# a comment\n\n1305031102.1\n")
    with pytest.raises(DataError, match=r"the line '1305031102.1': expected time image time depth"):
        opened(root)


def test_numbers_that_are_none_of_nyuv2(tmp_path: Path):
    root = Case("dump8").lay_out(tmp_path)
    (root / "nyu_images/8.jpg").rename(root / "nyu_images/1449.jpg")
    with pytest.raises(DataError, match="has the image 1449: expected NYUv2's official numbers from 0 to 1448"):
        opened(root)


def test_a_pattern_tells_pictures_and_depth_of_one_folder(tmp_path: Path):
    root = Case("scannet").lay_out(tmp_path / "a")
    one = tmp_path / "frames"
    one.mkdir()
    for path in (root / "color").iterdir():
        shutil.copy(path, one / f"frame-{path.stem}.color.jpg")
    for path in (root / "depth").iterdir():
        shutil.copy(path, one / f"frame-{path.stem}.depth.png")
    (tmp_path / "dataset.yaml").write_text(
        'splits: {train: frames}\nimage: "frame-*.color.jpg"\ndepth: {folder: "frame-*.depth.png"}\n'
    )
    dataset = opened(tmp_path)["train"]
    assert dataset.stems == ["0", "20", "40", "60", "80", "100", "120"] and set(dataset[3].targets) == {"depth"}


# one file wrong


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((48, 64), 2.5, np.float32), "expected whole numbers, the classes' ids"),
        (np.full((48, 64), np.nan, np.float32), "expected whole numbers, the classes' ids"),
        (np.full((48, 64), 13, np.int64), r"label 13 is not a class: expected 0\.\.12, or -1 for void"),
        (np.full((48, 64), -2, np.int64), "label -2 is not a class"),
        (np.full((40, 64), 1, np.int64), "is 40x64 .HxW., its image"),
        (np.zeros((48, 64, 2)), "expected one channel"),
        (np.zeros(5), "expected numbers of shape"),
        (np.array([["a"]]), "expected numbers of shape"),
        (np.array([None]), "expected numbers of shape"),
    ],
)
def test_wrong_label_arrays(array: np.ndarray, message: str, tmp_path: Path):
    root = Case("mtan").lay_out(tmp_path)
    np.save(root / "train/label/1.npy", array)
    with pytest.raises(DataError, match=rf"label/1\.npy.*{message}"):
        opened(root)["train"][1]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((48, 64, 3), 200.0), "expected floats from 0 to 1, found 200 to 200"),
        (np.full((48, 64, 3), np.nan), "expected floats from 0 to 1"),
        (np.full((48, 64, 3), 7, np.int64), "expected an image .H, W, 3. of uint8"),
        (np.zeros((48, 64)), "expected an image"),
    ],
)
def test_wrong_picture_arrays(array: np.ndarray, message: str, tmp_path: Path):
    root = Case("mtan").lay_out(tmp_path)
    np.save(root / "train/image/1.npy", array)
    with pytest.raises(DataError, match=rf"image/1\.npy: {message}"):
        opened(root)["train"][1]


def test_depth_that_is_no_number_is_invalid(tmp_path: Path):
    root = Case("nyud_mt").lay_out(tmp_path)
    depth = np.full((48, 64), 2.0, np.float32)
    depth[0, :3] = np.nan, np.inf, -1
    np.save(root / "depth/0002.npy", depth)
    read = opened(root)["train"][0].targets["depth"]
    assert (read[0, :3] == 0).all() and (read[1:] == 2).all()


@pytest.mark.parametrize("damage", [b"", b"hello", b"\x93NUMPY"])
@pytest.mark.parametrize(("layout", "file"), [("mtan", "train/depth/0.npy"), ("astmt", "depth/0002.mat")])
def test_damaged_arrays_are_named(damage: bytes, layout: str, file: str, tmp_path: Path):
    root = Case(layout).lay_out(tmp_path)
    (root / file).write_bytes(damage)
    with warnings.catch_warnings(), pytest.raises(DataError, match=rf"{file}: (not a readable|the file is empty)"):
        warnings.simplefilter("error")
        opened(root)["train"][0]


def test_a_mat_file_without_the_variable(tmp_path: Path):
    root = Case("astmt").lay_out(tmp_path)
    scipy.io.savemat(root / "depth/0002.mat", {"height": np.ones((48, 64))})
    with pytest.raises(DataError, match=r"0002\.mat: expected the variable 'depth', found \['height'\]"):
        opened(root)["train"][0]


@pytest.mark.parametrize("writer", [h5py.File])
def test_a_mat_file_of_version_7_3(writer, tmp_path: Path):
    root = Case("astmt").lay_out(tmp_path)
    with writer(root / "depth/0002.mat", "w") as file:
        file["depth"] = np.ones((64, 48))
    with pytest.raises(DataError, match=r"0002\.mat: a \.mat file of version 7\.3; save it in MATLAB with -v7"):
        opened(root)["train"][0]


def test_an_archive_in_place_of_an_array_and_an_empty_one(tmp_path: Path):
    root = Case("mtan").lay_out(tmp_path)
    with (root / "train/depth/0.npy").open("wb") as file:
        np.savez(file, a=np.ones(3))
    with pytest.raises(DataError, match="expected one array, found an archive"):
        opened(root)["train"][0]
    np.save(root / "train/image/1.npy", np.zeros((0, 0, 3)))
    with pytest.raises(DataError, match=r"image/1\.npy: expected numbers of shape"):
        opened(root)["train"][1]


def test_wraps_is_for_16_bits(tmp_path: Path):
    root = Case("mtan").lay_out(tmp_path)
    (root / "dataset.yaml").write_text("layout: mtan\ndepth: {wraps: true}\n")
    with pytest.raises(DataError, match="depth.wraps is for files of 16 bits, found float32"):
        opened(root)["train"][0]


@pytest.mark.parametrize("value", [-1, 256])
def test_instances_out_of_range(value: int, tmp_path: Path):
    root = Case("mtan").lay_out(tmp_path)
    (root / "dataset.yaml").write_text("layout: mtan\ninstances: {folder: thing}\n")
    for split, count in (("train", 4), ("val", 3)):
        (root / split / "thing").mkdir()
        for index in range(count):
            np.save(root / split / f"thing/{index}.npy", np.full((48, 64), value if index else 3))
    dataset = opened(root)["train"]
    assert dataset[0].targets["instances"].dtype == np.uint8 and (dataset[0].targets["instances"] == 3).all()
    with pytest.raises(DataError, match=rf"thing/1\.npy: instances {value} to {value}: expected 0 to 254"):
        dataset[1]


def test_palette_pictures_are_ids(tmp_path: Path):
    root = Case("nyud_mt").lay_out(tmp_path)
    dataset = opened(root)["train"]
    before = dataset[0].targets["segmentation"]
    path = root / "segmentation/0002.png"
    with Image.open(path) as picture:
        indexed = Image.frombytes("P", picture.size, picture.tobytes())
    indexed.putpalette([value for i in range(256) for value in (i, 255 - i, 7)])
    indexed.save(path)
    np.testing.assert_array_equal(dataset[0].targets["segmentation"], before)


def grey_png(values: np.ndarray, bits: int) -> bytes:
    """A grey PNG of 1, 2 or 4 bits a pixel, which OpenCV would stretch to 0..255."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    each = np.unpackbits(values[..., None], axis=-1)[..., 8 - bits :]  # the bits of each pixel
    rows = np.packbits(each.reshape(len(values), -1), axis=-1)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_pictures_of_few_bits_are_ids(bits: int, tmp_path: Path):
    ids = np.arange(48 * 64, dtype=np.uint8).reshape(SIZE) % 13 % 2**bits
    root = write_folder(tmp_path / "set", {"train": planes(1)})
    (root / "train/label/0000.png").write_bytes(grey_png(ids, bits))
    np.testing.assert_array_equal(FolderDataset(root, "train")[0].targets["segmentation"], ids)


def test_grey_depth_of_few_bits_is_grey(tmp_path: Path):
    """As every viewer shows it: tools that make PNGs smaller take bits away where no value needs them."""
    root = write_folder(tmp_path / "set", {"train": planes(1)}, replace(FULL, depth=DepthFiles(full_scale=8.0)))
    (root / "train/depth/0000.png").write_bytes(grey_png(np.full(SIZE, 1, np.uint8), 1))
    assert (FolderDataset(root, "train")[0].targets["depth"] == 8).all()


@pytest.mark.parametrize("image", ["photos/frame-*.png", "{split}/photos/frame-*.png"])
def test_a_pattern_of_a_folder_that_is_not_there_matches_nothing(image: str, tmp_path: Path):
    (tmp_path / "train").mkdir()
    description = make_description({"splits": {"train": "train"}, "image": image}, "here")
    with pytest.raises(DataError, match=r"no images for split 'train': expected .*frame-\*\.png"):
        FolderDataset(tmp_path, "train", description)


def test_a_target_of_a_folder_that_is_not_there_is_missing(tmp_path: Path):
    (tmp_path / "train/rgb").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "train/rgb/1.png"), np.zeros((8, 8, 3), np.uint8))
    description = make_description({"splits": {"train": "train"}, "depth": {"folder": "maps/d-*.png"}}, "here")
    assert find_files(tmp_path, description, "train").targets == {"depth": {}}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            {"splits": {"train": "*/*/*"}, "image": "{split}/*.png"},
            r"the folder of a split is '\*/\*/\*': expected one",
        ),
        ({"depth": {"along": "ray"}}, r"depth\.along: ray needs intrinsics; give them, or leave it out"),
        ({"layout": "hypersim", "intrinsics": None}, r"depth\.along: ray needs intrinsics"),
        ({"normals": {"turn": True}}, r"normals\.turn needs intrinsics"),
    ],
)
def test_what_a_description_must_keep_to(data: dict, said: str):
    with pytest.raises(DataError, match=said):
        make_description(data, "here")


def test_images_without_targets_need_no_partner_in_time(tmp_path: Path):
    (tmp_path / "rgb").mkdir()
    for name in ("1.0", "2.5"):
        cv2.imwrite(str(tmp_path / f"rgb/{name}.png"), np.zeros((8, 8, 3), np.uint8))
    description = make_description({"splits": {"train": "."}, "image": "rgb", "match": 0.02}, "here")
    assert find_files(tmp_path, description, "train").stems == ["1.0", "2.5"]


def test_two_names_of_one_time_are_an_error(tmp_path: Path):
    for folder, times in (("rgb", ("1.0", "1.00")), ("depth", ("1.01",))):
        (tmp_path / folder).mkdir()
        for name in times:
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), np.zeros((8, 8), np.uint8))
    data = {"splits": {"train": "."}, "image": "rgb", "depth": {"folder": "depth"}, "match": 0.02}
    with pytest.raises(DataError, match=r"names of different times, found 1\.0+ and 1\.0+"):
        find_files(tmp_path, make_description(data, "here"), "train")


def test_a_list_that_is_not_there_is_named(tmp_path: Path):
    (tmp_path / "rgb").mkdir()
    cv2.imwrite(str(tmp_path / "rgb/1.png"), np.zeros((8, 8, 3), np.uint8))
    description = make_description({"splits": {"train": "."}, "lists": {"train": "a.txt"}, "image": "rgb"}, "here")
    with pytest.raises(DataError, match=r"no list of split 'train': expected .*/a\.txt, as 'lists' of the description"):
        FolderDataset(tmp_path, "train", description)


@pytest.mark.parametrize("name", ["/etc/hosts", "../outside.tsv"])
def test_files_beside_the_maps_are_in_the_data_sets_folder(name: str):
    for data in ({"scenes": name}, {"segmentation": {"table": {"file": name, "from": "id", "to": "nyu40id"}}}):
        with pytest.raises(DataError, match="expected a file in the data set's folder"):
            make_description(data, "here")


def test_a_crop_of_another_shape_than_the_pictures(tmp_path: Path):
    (tmp_path / "train/rgb").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "train/rgb/1.png"), np.zeros((30, 40, 3), np.uint8))
    crop = {"top": 0, "left": 0, "height": 425, "width": 300}
    description = make_description({"splits": {"train": "train"}, "intrinsics": "nyuv2", "crop": crop}, "here")
    with pytest.raises(DataError, match=r"1\.png is 30x40 \(HxW\), 'crop' of the description 425x300: expected one"):
        FolderDataset(tmp_path, "train", description)[0]
