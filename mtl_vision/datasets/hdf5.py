"""One dataset of an HDF5 file, as Hypersim stores its maps: read from memory, and held to what the file itself says."""

import math
import zlib

import h5py
import numpy as np

from mtl_vision.datasets import DataError
from mtl_vision.datasets.text import shown

CHUNKS = 2**12  # pieces of one dataset
GZIP, SHUFFLE, CHECKSUM = 1, 2, 3  # HDF5's numbers of the filters that are read; others may come from plugins
NAME_IT = "name it as 'key' of the target in the description, as 'image_key' where it is the image"
FILTERS = [list(kept) for kept in ((), (GZIP,), (SHUFFLE,), (SHUFFLE, GZIP))]


def read_hdf5(data: bytes, key: str | None, most: int) -> np.ndarray:
    """The dataset `key`, or the only one; it may be of `most` bytes. Raises DataError, and h5py's own errors.

    The file's bytes are opened in memory, and links to other files are not followed: nothing else is read.
    """
    with h5py.File(h5py.h5f.open_file_image(data)) as file:
        there = list(map(str, file))
        names = [key] if key else [name for name in there if isinstance(_inside(file, name), h5py.Dataset)]
        found = _inside(file, names[0]) if len(names) == 1 else None
        if not isinstance(found, h5py.Dataset):
            wanted = f"the dataset '{shown(key)}'" if key else "one dataset"
            raise DataError(f"expected {wanted}, found {shown(str(there))}; {NAME_IT}")
        _expect_readable(found, most)
        return found[()]


def _inside(file: h5py.File, path: str) -> h5py.HLObject | None:
    """What lies at a path of groups in the file itself; None where there is nothing, or a link to another file."""
    here: h5py.HLObject = file
    for name in path.split("/"):
        if not isinstance(here, h5py.Group) or not isinstance(here.get(name, getlink=True), h5py.HardLink):
            return None
        here = here[name]
    return here


def _expect_readable(found: h5py.Dataset, most: int) -> None:
    """Raises DataError for what is no array of numbers, lies in other files, or would take more memory than it says."""
    if found.external is not None or found.is_virtual:
        raise DataError("its values are in other files: store them in this one")
    shape, dtype = found.shape, found.dtype
    if not shape or dtype.kind not in "uif" or min(shape) < 1 or math.prod(shape) * dtype.itemsize > most:
        raise DataError(f"expected numbers of shape (H, W) or (H, W, 3), found {shown(f'{dtype} of {shape}')}")
    stored = found.id.get_storage_size()
    if found.chunks is None:
        if stored < math.prod(shape) * dtype.itemsize:
            raise DataError(f"expected {dtype} of {shape}, found {stored:,} bytes of values")
        return
    chunk = math.prod(found.chunks) * dtype.itemsize
    count = math.prod(-(-length // part) for length, part in zip(shape, found.chunks, strict=True))
    if chunk > most or count > CHUNKS or not stored:
        raise DataError(f"expected at most {CHUNKS:,} chunks that hold values, found chunks {found.chunks} of {shape}")
    plan = found.id.get_create_plist()
    filters = [plan.get_filter(number)[0] for number in range(plan.get_nfilters())]
    if [one for one in filters if one != CHECKSUM] not in FILTERS or CHECKSUM in filters[:-1]:
        raise DataError("its values are packed in another way than gzip; store them with gzip, or as they are")
    if GZIP in filters:
        _expect_bounded(found, chunk)


def _expect_bounded(found: h5py.Dataset, size: int) -> None:
    """Raises DataError where a chunk is more, once inflated, than its `size`: HDF5 would make room without end."""
    for number in range(found.id.get_num_chunks()):
        _, stored = found.id.read_direct_chunk(found.id.get_chunk_info(number).chunk_offset)
        if len(zlib.decompressobj().decompress(stored, size + 1)) > size:
            raise DataError(f"a chunk of it holds more than the {size:,} bytes that it says")
