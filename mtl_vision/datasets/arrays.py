"""The stored values of one map, from whatever file holds them: a picture, .npy or .mat."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
import scipy.io
from PIL import Image

from mtl_vision.datasets.error import DataError
from mtl_vision.runtime.images import ImageError, read_image

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
SUFFIXES = (*PICTURES, ".npy", ".mat")


def read_values(path: Path, key: str | None = None) -> np.ndarray:
    """The values as they are stored: (H, W) or (H, W, 3), colours in the order RGB, any type of number.

    key: the variable of a .mat file; not needed where it holds one only. Raises DataError that names the file.
    """
    if path.suffix.lower() == ".npy":
        array = _npy(path)
    elif path.suffix.lower() == ".mat":
        array = _mat(path, key)
    else:
        array = _map_picture(path)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype.kind not in "uif" or array.ndim not in (2, 3) or array.size == 0:
        raise DataError(f"{path}: expected numbers of shape (H, W) or (H, W, 3), found {array.dtype} of {array.shape}")
    return array


def read_picture(path: Path, key: str | None = None) -> np.ndarray:
    """A picture (H, W, 3) uint8 RGB; numbers of .npy and .mat are uint8, or floats from 0 to 1."""
    if path.suffix.lower() not in (".npy", ".mat"):
        try:
            return read_image(path)
        except ImageError as error:
            raise DataError(f"{path}: {error}; replace it, or remove its sample") from error
    array = read_values(path, key)
    if array.ndim != 3 or array.shape[2] != 3 or (array.dtype.kind != "f" and array.dtype != np.uint8):
        raise DataError(
            f"{path}: expected a picture (H, W, 3) of uint8, or of floats from 0 to 1; found {array.dtype} of shape "
            f"{array.shape}"
        )
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if not (array.min() >= 0 and array.max() <= 1 + 1e-3):  # said so that NaN fails too
        raise DataError(f"{path}: expected floats from 0 to 1, found {array.min():g} to {array.max():g}")
    return np.rint(np.minimum(array, 1) * 255).astype(np.uint8)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def _map_picture(path: Path) -> np.ndarray:
    data = _bytes(path)
    if data[25:26] == b"\x03" and data.startswith(b"\x89PNG"):
        return _palette_indices(path, data)
    cut = data.startswith(b"\x89PNG") and b"IEND" not in data  # some versions of OpenCV give half a picture then
    try:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data and not cut else None
    except cv2.error:
        array = None
    if array is None:
        raise DataError(f"{path}: not a readable picture ({len(data)} bytes); replace it, or remove its sample")
    return array[..., ::-1] if array.ndim == 3 and array.shape[2] == 3 else array


def _palette_indices(path: Path, data: bytes) -> np.ndarray:
    """The ids of a palette PNG, which OpenCV would give as colours."""
    try:
        return np.array(Image.open(io.BytesIO(data)))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: not a readable picture ({error}); replace it, or remove its sample") from error


def _npy(path: Path) -> np.ndarray:
    data = _bytes(path)
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{path}: not a readable .npy file ({error}); replace it, or remove its sample") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: expected one array, found an archive of several (.npz): save each as .npy")
    return array


def _mat(path: Path, key: str | None) -> np.ndarray:
    data = _bytes(path)
    if data.startswith((b"MATLAB 7.3", b"\x89HDF")):
        raise DataError(f"{path}: a .mat file of version 7.3; save it in MATLAB with -v7")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scipy warns of names that it knows twice
            stored = scipy.io.loadmat(io.BytesIO(data))
    except Exception as error:  # scipy has many ways to say that a file is none of its own
        raise DataError(f"{path}: not a readable .mat file ({error!r}); replace it, or remove its sample") from error
    names = [name for name in stored if not name.startswith("__")]
    name = key or (names[0] if len(names) == 1 else None)
    if name not in names:
        wanted = f"the variable '{key}'" if key else "one variable"
        raise DataError(f"{path}: expected {wanted}, found {names}; name it as 'key' in the description")
    return np.asarray(stored[name])
