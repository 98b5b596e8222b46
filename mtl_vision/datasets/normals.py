"""Surface normals from depth: a weighted least-squares plane fit of inverse depth over a window.

A plane n . X = d seen by a pinhole camera has an inverse depth that is linear in the pixel coordinates:
X = z (x', y', 1) with x' = (u - cx) / fx gives 1/z = a x' + b y' + c with (a, b, c) = n / d. So the fit is a linear
one, and exact on planes whatever the weights. The weights keep the fit from crossing edges: Tukey's biweight of the
relative difference in inverse depth to the window's centre, so that a window at an edge uses its own side only.
The fit is done twice: the values of the first fit are an edge-preserving filter of the depth (it takes the steps
out of quantised sensors), the slopes of the second one are the normals.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mtl_vision.datasets.camera import Intrinsics
from mtl_vision.runtime.kinds import normalise

_STRIP = 2  # rows fitted at once: the windows of a strip stay in the processor's cache
TOLERANCE = 0.08  # relative difference in inverse depth at which a pixel counts as another surface
SPACING = 2  # the first fit takes every second pixel of a window twice as wide, against the steps of coarse sensors
ONE_THREAD = 2**18  # multiplications in a product of two matrices


def normals_from_depth(depth: np.ndarray, intrinsics: Intrinsics, window: int | None = None) -> np.ndarray:
    """Normals (H, W, 3) float32 that face the viewer from depth (H, W) in metres; (0, 0, 0) where there is none.

    window: side of the fit's window in pixels, odd; by default 15 at 640 pixels of width and in proportion.
    """
    side = window or 2 * max(round(7 * depth.shape[1] / 640), 1) + 1
    if side % 2 == 0 or side < 3:
        raise ValueError(f"window is {side}: expected an odd number of pixels, 3 at least")
    valid = depth > 0
    inverse = np.where(valid, 1 / np.maximum(depth, 1e-6), 0).astype(np.float32)
    smooth = _fit(inverse, side, TOLERANCE, SPACING)[2]
    # half the tolerance: the first fit has already taken the sensor's steps out
    slope_u, slope_v, value = _fit(np.where(valid, smooth, 0).astype(np.float32), side, TOLERANCE / 2)
    rays = intrinsics.rays(depth.shape)
    a, b = slope_u * intrinsics.fx, slope_v * intrinsics.fy
    c = value - a * rays[..., 0] - b * rays[..., 1]
    known = valid & (value > 0) & np.isfinite(slope_u)
    normals = -normalise(np.where(known[..., None], np.stack([a, b, c], axis=-1), 0))
    return np.where(known[..., None], normals, 0).astype(np.float32)  # no negative zeros


def _fit(
    inverse: np.ndarray, window: int, tolerance: float, spacing: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slopes along u and v (a pixel) and centre value of the plane fitted at every pixel; 0 marks no value."""
    radius = window // 2 * spacing
    padded = np.pad(inverse, radius)  # zeros: outside the image there is no depth
    steps = np.arange(-radius, radius + 1, spacing, dtype=np.float32)
    j, i = (grid.ravel() for grid in np.meshgrid(steps, steps, indexing="ij"))
    # unknowns (slope_u, slope_v, value); 6 distinct entries of the normal matrix, 3 of the right-hand side
    moments = np.stack([i * i, i * j, i, j * j, j, np.ones_like(i)], axis=1)
    terms = np.stack([i, j, np.ones_like(i)], axis=1)
    result = np.zeros((3, *inverse.shape), np.float64)
    for top in range(0, inverse.shape[0], _STRIP):
        rows = padded[top : top + _STRIP + 2 * radius]
        windows = sliding_window_view(rows, (2 * radius + 1, 2 * radius + 1))[:, :, ::spacing, ::spacing]
        centre = inverse[top : top + _STRIP].reshape(-1, 1)
        difference = windows.reshape(-1, window * window) - centre
        weight = difference / np.maximum(centre * tolerance, 1e-9)
        # Tukey's biweight, in place; no depth (0) is as far as any other surface, and weighs nothing
        np.square(weight, out=weight)
        np.subtract(1, weight, out=weight)
        np.maximum(weight, 0, out=weight)
        np.square(weight, out=weight)
        m = _product(weight, moments)
        # the right-hand side is taken relative to the centre, which keeps its digits in float32
        r = _product(np.multiply(weight, difference, out=difference), terms)
        strip = _solve(m, r)
        strip[2] += centre[:, 0]
        strip[:, centre[:, 0] <= 0] = 0
        result[:, top : top + _STRIP] = strip.reshape(3, -1, inverse.shape[1])
    return result[0], result[1], result[2]


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b in float64, by parts so small that OpenBLAS keeps each on one thread: its threads mostly wait."""
    rows = max(ONE_THREAD // b.size, 1)
    return np.concatenate([a[at : at + rows] @ b for at in range(0, len(a), rows)]).astype(np.float64)


def _solve(m: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Cramer's rule for symmetric 3x3 systems, upper triangles m (P, 6) and r (P, 3): (3, P); NaN without a plane."""
    a, b, c, d, e, f = m.T
    p, q, s = r.T
    ca, cb, cc = d * f - e * e, c * e - b * f, b * e - c * d
    determinant = a * ca + b * cb + c * cc
    flat = determinant <= 1e-6 * np.maximum(f, 1e-9) ** 3
    inverse = 1 / np.where(flat, 1, determinant)
    x = (ca * p + cb * q + cc * s) * inverse
    y = (cb * p + (a * f - c * c) * q + (b * c - a * e) * s) * inverse
    z = (cc * p + (b * c - a * e) * q + (a * d - b * b) * s) * inverse
    return np.where(flat, np.array([[np.nan], [np.nan], [0]]), np.stack([x, y, z]))
