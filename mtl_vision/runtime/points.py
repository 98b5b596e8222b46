"""Coloured point clouds of depth maps, as binary PLY files, which MeshLab, CloudCompare and Open3D open.

The frame is the camera's: x right, y down, z forward, in metres; pixel centres are at integers.
"""

import math
from functools import reduce

import numpy as np

from mtl_vision.runtime.contract import Manifest
from mtl_vision.runtime.kinds import Output, Size
from mtl_vision.runtime.lens import Camera, Lens, is_length

DEPTH = "depth"
GRAZING = 5.0  # degrees: from here on a slope is taken for a depth edge
ROUNDING = 1e-6  # of a pixel
PEAK = 80  # bytes of memory that a point takes at most while its file is made
MAX_POINTS = 2**20  # of a cloud: beyond them viewers are slow, and no network's depth is as fine
POSITION, NORMAL, COLOUR = ("x", "y", "z"), ("nx", "ny", "nz"), ("red", "green", "blue")
TYPES = {"<f4": "float", "|u1": "uchar"}  # numpy's names and PLY's


def check_lens(manifest: Manifest, lens: Lens, with_points: bool) -> Lens | None:
    """The lens, or None where it does not matter. Raises ValueError where no depth or no camera is known for it."""
    if lens.trained and not with_points:
        return None
    if with_points and not any(output.name == DEPTH and is_length(output) for output in manifest.outputs):
        found = ", ".join(" in ".join(filter(None, (f"{o.name} ({o.kind}", o.unit))) + ")" for o in manifest.outputs)
        raise ValueError(
            f"points need an output '{DEPTH}' (scalar_map in m), the model has {found}; leave points out of --save"
        )
    lens.check(manifest, camera_will_do=with_points)
    return lens


def used(manifest: Manifest) -> list[Output]:
    """The outputs that a cloud is made of: depth and, where there are some in the camera frame, normals."""
    normals = [o for o in manifest.outputs if o.kind == "unit_vector_map" and o.frame.startswith("camera")]
    return [output for output in manifest.outputs if output.name == DEPTH] + normals[:1]


def stride(size: Size) -> int:
    """A cloud of an image (h, w) has each of its pixels, or each n-th of each n-th row: at most MAX_POINTS."""
    n = max(1, math.isqrt(size[0] * size[1] // MAX_POINTS))
    while math.prod(-(-side // n) for side in size) > MAX_POINTS:
        n += 1
    return n


def sampled(array: np.ndarray, size: Size) -> np.ndarray:
    """The pixels of an array (h, w) or (h, w, 3) at an image's size that its cloud has."""
    n = stride(size)
    return array[::n, ::n].copy()


def unblended(depth: np.ndarray, network: np.ndarray, size: Size, camera: Camera) -> np.ndarray:
    """The `sampled` depth, invalid where resizing made it of both sides of a depth edge: no surface is in between.

    network: the depth (H, W) of the whole image as the network gave it. An edge is where it changes as no surface does
    that is seen at GRAZING degrees or more.
    """
    spans = [_span(length, pixels, stride(size)) for length, pixels in zip(size, network.shape, strict=True)]
    near = _extreme(np.where(network > 0, network, np.inf), np.minimum, spans)
    far = _extreme(network, np.maximum, spans)
    focal = camera.fx * network.shape[1] / size[1]
    return np.where(far > near * (1 + 1 / (focal * math.tan(math.radians(GRAZING)))), np.float32(0), depth)


def _span(length: int, pixels: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last of the network's `pixels` that each n-th pixel of a side of `length` is resized from."""
    scale = pixels / length
    middle = (np.arange(0, length, n) + 0.5) * scale - 0.5
    reach = max(scale - 1, 0) / 2  # a mean where the map shrinks
    ends = np.floor(middle - reach + ROUNDING), np.ceil(middle + reach - ROUNDING)
    first, last = (end.clip(0, pixels - 1).astype(int) for end in ends)
    return first, last


def _extreme(array: np.ndarray, larger: np.ufunc, spans: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The extreme of an array (H, W) within spans of its rows and columns."""
    for axis, (first, last) in enumerate(spans):
        shifts = range((last - first).max() + 1)
        array = reduce(larger, (array.take(np.minimum(first + k, last), axis) for k in shifts))
    return array


def cloud(
    depth: np.ndarray, colours: np.ndarray, camera: Camera, size: Size, normals: np.ndarray | None = None
) -> np.ndarray:
    """A point for each pixel of valid depth, in the order of the pixels; their fields are those of the PLY file.

    depth (h', w') metres, colours (h', w', 3) uint8 RGB and normals (h', w', 3) are `sampled` from an image of `size`,
    whose camera is `camera`.
    """
    n, valid = stride(size), depth > 0
    across = (np.arange(0, size[1], n) - camera.cx) / camera.fx
    down = (np.arange(0, size[0], n) - camera.cy) / camera.fy
    names = POSITION if normals is None else POSITION + NORMAL
    points = np.empty(np.count_nonzero(valid), [(name, "<f4") for name in names] + [(name, "|u1") for name in COLOUR])
    with np.errstate(over="ignore"):
        points["x"] = (depth * across[None])[valid]
        points["y"] = (depth * down[:, None])[valid]
    points["z"] = depth[valid]
    parts = [(colours, COLOUR)] if normals is None else [(normals, NORMAL), (colours, COLOUR)]
    for vectors, fields in parts:
        for i, name in enumerate(fields):
            points[name] = vectors[..., i][valid]
    return points


def ply(points: np.ndarray) -> bytes:
    """A binary little-endian PLY file of what `cloud` gives."""
    assert points.dtype.names is not None
    properties = [f"property {TYPES[points.dtype[name].str]} {name}" for name in points.dtype.names]
    lines = ["ply", "format binary_little_endian 1.0", "comment camera frame: x right, y down, z forward; metres"]
    lines += [f"element vertex {len(points)}", *properties, "end_header", ""]
    return b"".join(("\n".join(lines).encode(), points.view(np.uint8).data))  # no copy but this one
