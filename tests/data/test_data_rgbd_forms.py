"""Forms of RGB-D data beyond NYUv2: HDF5, times, patterns, lists of commas, bits that are rotated, label tables.

Where a form has a published reader, a few lines of our own do what that reader is documented to do, on the same files.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from mtl_vision.datasets import DataError, arrays, hdf5
from mtl_vision.datasets.arrays import read_rgb, read_values

# HDF5

MAP = np.linspace(0.5, 5, 32 * 48).reshape(32, 48).astype(np.float16)


def stored(path: Path, **options: object) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset", data=MAP, **options)
    return path


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (8, 16)},
        {"compression": "gzip"},
        {"compression": "gzip", "chunks": (7, 5)},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"shuffle": True, "chunks": (8, 16)},
        {"dtype": ">f4"},
    ],
)
@pytest.mark.parametrize("name", ["a.hdf5", "a.h5", "a.HDF5"])
def test_hdf5_is_read_as_it_was_written(tmp_path: Path, options: dict[str, object], name: str):
    read = read_values(stored(tmp_path / name, **options))
    np.testing.assert_array_equal(read, MAP)
    assert read.dtype == options.get("dtype", np.float16)


def test_one_of_several_datasets_is_named(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["maps/depth"], file["other"], file["more"] = MAP, MAP + 1, MAP[:2]
        file["link"] = h5py.SoftLink("/other")
    np.testing.assert_array_equal(read_values(tmp_path / "a.h5", "maps/depth"), MAP)
    for key in (None, "depth", "maps", "link", "maps/", "maps/depth/x", "../other", "\x1b[2J"):
        with pytest.raises(DataError, match=r"a\.h5: expected (one dataset|the dataset '.*'), found .*; name it as"):
            read_values(tmp_path / "a.h5", key)


def test_an_image_in_hdf5(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["dataset"] = np.full((4, 6, 3), 0.5, np.float16)
    assert (read_rgb(tmp_path / "a.h5") == 128).all()


def declared(path: Path, shape: tuple[int, ...], kind: object = "f4", **options: object) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset", shape, kind, **options)


def elsewhere(path: Path) -> None:
    with h5py.File(stored(path.with_name("other.h5")), "r"), h5py.File(path, "w") as file:
        file["dataset"] = h5py.ExternalLink("other.h5", "dataset")


def raw_elsewhere(path: Path) -> None:
    path.with_name("raw").write_bytes(bytes(24))
    declared(path, (2, 3), external=[(str(path.with_name("raw")), 0, 24)])


def virtual(path: Path) -> None:
    stored(path.with_name("other.h5"))
    layout = h5py.VirtualLayout((32, 48), "f2")
    layout[:] = h5py.VirtualSource(path.with_name("other.h5"), "dataset", (32, 48))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("dataset", layout)


def bomb(path: Path) -> None:
    """A chunk of 1536 values that inflates to 16 MiB."""
    with h5py.File(path, "w") as file:
        made = file.create_dataset("dataset", (32, 48), "f2", chunks=(32, 48), compression="gzip")
        made.id.write_direct_chunk((0, 0), zlib.compress(bytes(2**24)))


def damaged(path: Path) -> None:
    stored(path, compression="gzip")
    data = bytearray(path.read_bytes())
    at = data.index(zlib.compress(MAP.tobytes(), 4)[2:20])
    data[at : at + 18] = bytes(18)
    path.write_bytes(data)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "an external link": (elsewhere, r"expected one dataset, found \['dataset'\]"),
    "values of another file": (raw_elsewhere, "its values are in other files"),
    "a virtual dataset": (virtual, "its values are in other files"),
    "a million squared": (lambda p: declared(p, (10**6, 10**6), chunks=(1000, 1000)), "expected numbers of shape"),
    "no values": (lambda p: declared(p, (1000, 1000)), "found 0 bytes of values"),
    "no chunks": (lambda p: declared(p, (1000, 1000), chunks=(100, 100)), "chunks that hold values"),
    "tiny chunks": (lambda p: declared(p, (1000, 1000), chunks=(1, 1)), "at most 4,096 chunks"),
    "a huge chunk": (lambda p: declared(p, (4, 4), chunks=(2**14, 2**14), maxshape=(None, None)), "chunks"),
    "a bomb": (bomb, "holds more than the 3,072 bytes"),
    "damaged gzip": (damaged, "not a readable .hdf5 file"),
    "texts": (lambda p: declared(p, (4, 4), h5py.string_dtype()), "expected numbers of shape"),
    "records": (lambda p: declared(p, (4, 4), [("a", "f4")]), "expected numbers of shape"),
    "complex": (lambda p: declared(p, (4, 4), "c8"), "expected numbers of shape"),
    "references": (lambda p: declared(p, (4, 4), h5py.ref_dtype), "expected numbers of shape"),
    "truths": (lambda p: declared(p, (4, 4), "?"), "expected numbers of shape"),
    "a number": (lambda p: declared(p, (), "f4"), "expected numbers of shape"),
    "nothing in it": (lambda p: declared(p, (0, 4)), "expected numbers of shape"),
    "four dimensions": (lambda p: declared(p, (2, 2, 2, 2), data=np.ones((2, 2, 2, 2))), r"expected numbers of shape"),
    "another compression": (lambda p: stored(p, compression="lzf"), "packed in another way than gzip"),
    "gzip of another": (
        lambda p: declared(p, (4, 4), "i4", data=np.ones((4, 4)), scaleoffset=0, compression="gzip"),
        "packed in another way than gzip",
    ),
    "cut short": (lambda p: p.write_bytes(stored(p).read_bytes()[:2000]), "not a readable .hdf5 file"),
    "rubbish": (lambda p: p.write_bytes(bytes(range(256)) * 20), "not a readable .hdf5 file"),
    "empty": (lambda p: p.write_bytes(b""), "the file is empty"),
    "no dataset": (lambda p: h5py.File(p, "w").close(), r"expected one dataset, found \[\]"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hdf5_that_is_not_what_it_says(tmp_path: Path, name: str):
    make, said = HOSTILE[name]
    make(tmp_path / "a.hdf5")
    with pytest.raises(DataError, match=rf"a\.hdf5: .*{said}") as raised:
        read_values(tmp_path / "a.hdf5")
    assert len(str(raised.value).splitlines()) == 1


def test_hdf5_of_more_than_the_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(arrays, "MOST", 2**13)
    declared(tmp_path / "a.h5", (64, 65), "u2", data=np.ones((64, 65)), compression="gzip")
    with pytest.raises(DataError, match="expected numbers of shape"):
        read_values(tmp_path / "a.h5")
    declared(tmp_path / "b.h5", (64, 64), "u2", data=np.ones((64, 64)), compression="gzip")
    assert read_values(tmp_path / "b.h5").shape == (64, 64) and hdf5.CHUNKS > 1
