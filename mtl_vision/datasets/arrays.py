"""The stored values of one map, from whatever file holds them: an image, .npy or .mat."""

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
import scipy.io
from PIL import Image

from mtl_vision.datasets import DataError
from mtl_vision.runtime.images import ImageError, read_image

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
SUFFIXES = (*IMAGES, ".npy", ".mat")


def read_values(path: Path, key: str | None = None) -> np.ndarray:
    """The values as they are stored: (H, W) or (H, W, 3), colours in the order RGB, any type of number.

    key: the variable of a .mat file; not needed where it holds one only. Raises DataError that names the file.
    """
    suffix = path.suffix.lower()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    try:
        array = _npy(data) if suffix == ".npy" else _mat(data, key) if suffix == ".mat" else _map_image(data)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # scipy, numpy, PIL and OpenCV raise many types of error for damaged files
        what = f"{suffix} file" if suffix in (".npy", ".mat") else "image"
        raise DataError(f"{path}: not a readable {what} ({error!r}); replace it, or remove its sample") from error
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype.kind not in "uif" or array.ndim not in (2, 3) or array.size == 0:
        raise DataError(f"{path}: expected numbers of shape (H, W) or (H, W, 3), found {array.dtype} of {array.shape}")
    return array


def read_rgb(path: Path) -> np.ndarray:
    """An image (H, W, 3) uint8 RGB; numbers of .npy and .mat are uint8, or floats from 0 to 1."""
    if path.suffix.lower() not in (".npy", ".mat"):
        try:
            return read_image(path)
        except ImageError as error:
            raise DataError(f"{path}: {error}; replace it, or remove its sample") from error
    array = read_values(path)
    if array.ndim != 3 or array.shape[2] != 3 or (array.dtype.kind != "f" and array.dtype != np.uint8):
        found = f"{array.dtype} of shape {array.shape}"
        raise DataError(f"{path}: expected an image (H, W, 3) of uint8, or of floats from 0 to 1; found {found}")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if not (array.min() >= 0 and array.max() <= 1 + 1e-3):  # negated, so that NaN fails too
        raise DataError(f"{path}: expected floats from 0 to 1, found {array.min():g} to {array.max():g}")
    return np.rint(np.minimum(array, 1) * 255).astype(np.uint8)


def _map_image(data: bytes) -> np.ndarray:
    is_png = data.startswith(b"\x89PNG")
    if is_png and data[25:26] == b"\x03":  # a palette's ids, which OpenCV would give as colours
        return np.array(Image.open(io.BytesIO(data)))
    cut = is_png and b"IEND" not in data  # some versions of OpenCV give half an image then
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data and not cut else None
    if array is None:
        raise ValueError(f"{len(data)} bytes")
    return array[..., ::-1] if array.ndim == 3 and array.shape[2] == 3 else array


def _npy(data: bytes) -> np.ndarray:
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise DataError("expected one array, found an archive of several (.npz): save each as .npy")
    return array


def _mat(data: bytes, key: str | None) -> np.ndarray:
    if data.startswith((b"MATLAB 7.3", b"\x89HDF")):
        raise DataError("a .mat file of version 7.3; save it in MATLAB with -v7")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns of names that it knows twice
        stored = scipy.io.loadmat(io.BytesIO(data))
    names = [name for name in stored if not name.startswith("__")]
    name = key or (names[0] if len(names) == 1 else None)
    if name not in names:
        wanted = f"the variable '{key}'" if key else "one variable"
        raise DataError(f"expected {wanted}, found {names}; name it as 'key' in the description")
    return np.asarray(stored[name])
