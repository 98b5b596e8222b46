"""The stored values of one map, from whatever file holds them: an image, .npy, .mat or HDF5."""

import io
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from mtl_vision.datasets import DataError
from mtl_vision.datasets.hdf5 import NAME_IT, read_hdf5
from mtl_vision.datasets.text import shown
from mtl_vision.runtime import headers
from mtl_vision.runtime.files import read_regular
from mtl_vision.runtime.images import ImageError, decode, read_image

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
ARRAYS = (".npy", ".mat", ".hdf5", ".h5")
SUFFIXES = (*IMAGES, *ARRAYS)
MOST = 2**28  # bytes of a file, and of the values in it, which may be of four bytes each
HEADER = 1024  # bytes of a .npy file's header: numpy writes 128
NUMBERS = {"double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
COMPRESSED = 15  # the type of a compressed element of a .mat file
STRETCHED = {1: 255, 2: 85, 4: 17}  # by what OpenCV multiplies a grey PNG's values of so many bits


def read_values(path: Path, key: str | None = None, ids: bool = False) -> np.ndarray:
    """The values as they are stored: (H, W) or (H, W, 3), colours in the order RGB, any type of number.

    key: the variable of a .mat or HDF5 file; not needed where it holds one only. ids: grey PNGs of less than 8 bits
    hold ids as they are (1 bit: 0 and 1); else they are grey from 0 to 255. Raises DataError that names the file.
    """
    suffix = path.suffix.lower()
    with reading(path, f"{suffix} file" if suffix in ARRAYS else "image"):
        data = read_regular(path, MOST)
        if not data:
            raise DataError("the file is empty; replace it, or remove its sample")
        array = _array(data, suffix, key) if suffix in ARRAYS else _map_image(data, ids)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype.kind not in "uif" or array.ndim not in (2, 3) or array.size == 0:
        raise DataError(f"{path}: expected numbers of shape (H, W) or (H, W, 3), found {array.dtype} of {array.shape}")
    return array


def read_rgb(path: Path, key: str | None = None) -> np.ndarray:
    """An image (H, W, 3) uint8 RGB; numbers of array files are uint8, or floats from 0 to 1; key: as in `read_values`.

    Raises DataError that names the file.
    """
    if path.suffix.lower() not in ARRAYS:
        with reading(path, "image"):
            return read_image(path)
    array = read_values(path, key)
    if array.ndim != 3 or array.shape[2] != 3 or (array.dtype.kind != "f" and array.dtype != np.uint8):
        found = f"{array.dtype} of shape {array.shape}"
        raise DataError(f"{path}: expected an image (H, W, 3) of uint8, or of floats from 0 to 1; found {found}")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    with np.errstate(invalid="ignore"):
        low, high = array.min(), array.max()
    if not (low >= 0 and high <= 1 + 1e-3):  # negated, so that NaN fails too
        raise DataError(f"{path}: expected floats from 0 to 1, found {low:g} to {high:g}")
    return np.rint(np.minimum(array, 1) * 255).astype(np.uint8)


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Whatever goes wrong is a DataError that names the file; scipy, numpy, PIL and OpenCV raise many types."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except ImageError as error:
        raise DataError(f"{path}: {error}; replace it, or remove its sample") from error
    except Exception as error:
        found = shown(" ".join(str(getattr(error, "strerror", None) or repr(error)).split()))
        raise DataError(f"{path}: not a readable {what} ({found}); replace it, or remove its sample") from error


def _map_image(data: bytes, ids: bool) -> np.ndarray:
    header = headers.check(data, max_bytes=4 * MOST, max_pixels=MOST // 4)
    if header.format == "PNG" and data[25:26] == b"\x03":  # a palette's ids, which OpenCV would give as colours
        return np.array(Image.open(io.BytesIO(headers.bare(data))))
    array = decode(data, header)
    if ids and header.format == "PNG" and array.ndim == 2:
        array //= STRETCHED.get(data[24], 1)  # the header's bits a value
    return array[..., ::-1] if array.ndim == 3 and array.shape[2] == 3 else array


def _array(data: bytes, suffix: str, key: str | None) -> np.ndarray:
    if suffix in (".hdf5", ".h5"):
        return read_hdf5(data, key, MOST)
    return read_mat(data, key) if suffix == ".mat" else _npy(data)


def _npy(data: bytes) -> np.ndarray:
    """An array of numbers, where the file is as long as its header says."""
    if data.startswith(b"PK"):
        raise DataError("expected one array, found an archive of several (.npz): save each as .npy")
    file, npy = io.BytesIO(data), np.lib.format
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
    shape, columns_first, dtype = read_header(file, max_header_size=HEADER)
    start, count = file.tell(), math.prod(shape)
    if dtype.kind not in "uif" or min(shape, default=0) < 1 or count * dtype.itemsize > len(data) - start:
        found = f"{shown(str(dtype))} of {shown(str(shape))} in {len(data) - start:,} bytes"
        raise DataError(f"expected numbers of shape (H, W) or (H, W, 3), found {found}")
    return np.frombuffer(data, dtype, count, start).reshape(shape, order="F" if columns_first else "C").copy()


def read_mat(data: bytes, key: str | None) -> np.ndarray:
    """The variable `key` of a .mat file, or the only one, if it holds numbers. Raises DataError, and others."""
    if data.startswith((b"MATLAB 7.3", b"\x89HDF")):
        raise DataError("a .mat file of version 7.3; save it in MATLAB with -v7")
    if 0 not in data[:4]:  # version 5: a file of version 4 has no compression
        if data[126:128] not in (b"IM", b"MI"):
            raise ValueError("it lacks the mark of its byte order")
        data = _inflated(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns of names that it knows twice
        known = {name: (shape, kind) for name, shape, kind in reversed(scipy.io.whosmat(io.BytesIO(data)))}
        names = [name for name in known if not name.startswith("__")]
        name = key or (names[0] if len(names) == 1 else None)
        if name not in names:
            wanted = f"the variable '{key}'" if key else "one variable"
            raise DataError(f"expected {wanted}, found {shown(str(names))}; {NAME_IT}")
        shape, kind = known[name]
        if kind not in NUMBERS or math.prod(shape) > MOST:
            raise DataError(f"expected numbers as the variable '{name}', found {kind} of shape {shape}")
        return np.asarray(scipy.io.loadmat(io.BytesIO(data), variable_names=[name])[name])


def _inflated(data: bytes) -> bytes:
    """A .mat file with its compressed elements as they are without; they may be no more than MOST bytes together."""
    parts, at, room = [data[:128]], 128, MOST
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<II" if data[126:128] == b"IM" else ">II", data, at)
        element = data[at : at + 8 + size]
        if kind == COMPRESSED:
            inflate = zlib.decompressobj()
            element = inflate.decompress(element[8:], room)
            if not inflate.eof:
                raise DataError(f"its variables are damaged, or of more than {MOST:,} bytes")
        parts.append(element)
        at, room = at + 8 + size, max(room - len(element), 1)
    return b"".join(parts)
