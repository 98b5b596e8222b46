"""Left and right: whole sets that are mirrored.

The published NYUv2 pictures have a white frame that is wider on the right, and the camera's principal point does not
lie in the middle, so that exact normals fit the depth for one of both ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mtl_vision.check.evidence import FINE, Close, Evidence, Verdict
from mtl_vision.datasets.normals import normals_from_depth

FRAME = 14 / 640  # of a picture's width that is white, in NYUv2: 6 columns on the left, 8 on the right


def whole(evidence: Evidence) -> Verdict:
    """Whether everything is mirrored: the white frame tells for NYUv2, else normals that fit the mirrored camera."""
    d = evidence.description
    fixed = Verdict("fault", fix=lambda one: replace(one, mirrored=not one.mirrored))
    todo = f"set `mirrored: {str(not d.mirrored).lower()}` in the description"
    if (frame := white_frame(evidence.close)) is not None:
        if frame < 0.5:
            return FINE
        return replace(
            fixed,
            text=f"the whole set is mirrored left to right: NYUv2's white frame is wider on the right, here "
            f"on the left; {todo}",
        )
    share = principal(evidence.close)
    if share is None:
        return Verdict(
            "open",
            "whether the whole set is mirrored: no white frame as NYUv2's, and no stored normals that tell on "
            "which side of the middle the camera's cx lies",
        )
    if share < 0.5:
        return FINE
    return replace(
        fixed,
        text="the whole set is mirrored left to right: the stored normals fit the depth with the camera's cx on the "
        f"other side of the middle; {todo}",
    )


def white_frame(ones: Sequence[Close]) -> float | None:
    """The share of NYUv2's white frame that stands on the left: 0.46 as published, 0.54 mirrored; None: no frame."""
    widths = {one.width for one in ones}
    if not ones or len(widths) > 1:
        return None
    profiles = np.stack([one.borders for one in ones])
    if np.percentile(profiles[:, :, 0], 10, axis=0).min() < 180:  # nearly every picture has it
        return None
    left, right = (_columns(side) for side in np.median(profiles, axis=0))
    share = left / (left + right)
    like_nyu = 0.65 < (left + right) / widths.pop() / FRAME < 1.5
    return share if like_nyu and 0.3 < share < 0.7 and abs(share - 0.5) > 0.015 else None


def _columns(profile: np.ndarray) -> float:
    """How many columns are white, from the border inward; one that is partly white counts in part."""
    inner = np.append(profile[1:], profile[-1])  # what stands behind a column stands in its dark part
    white = np.clip((profile - inner) / np.maximum(250 - inner, 1), 0, 1)
    full = int(np.argmax(np.append(profile, 0) < 235))
    return full + float(white[full]) if full < len(profile) else float(full)


def principal(ones: Sequence[Close], most: int = 40) -> float | None:
    """0: the stored normals fit the depth by the camera as described, 1: by its mirror image; None: not told.

    Of each pixel the deviation of the stored normal, in units of what mirroring cx changes; the median over pixels is
    free of edges and noise. None too where cx is in the middle, or the normals were derived by yet another camera.
    """
    shares = [share for one in ones[:: len(ones) // most + 1] if (share := _share(one)) is not None]
    if len(shares) < 2:
        return None
    middle = float(np.median(shares))
    spread = 1.25 * float(np.std(shares)) / len(shares) ** 0.5  # of a median
    return middle if abs(middle - 0.5) > max(0.25, 4 * spread) and -0.5 < middle < 1.5 else None


def _share(one: Close) -> float | None:
    camera, stored, given = one.sample.intrinsics, one.sample.targets.get("normals"), one.derived
    if camera is None or stored is None or given is None:
        return None
    width = one.sample.size[1]
    if abs(width - 1 - 2 * camera.cx) / camera.fx < 0.01:  # radians: by so little the normals would differ at most
        return None
    mirrored = normals_from_depth(one.sample.targets["depth"], camera.flipped(width))
    near = np.cos(np.radians(3))
    fits = ((stored * given).sum(-1) > near) & ((stored * mirrored).sum(-1) > near)
    change = (mirrored - given)[fits].astype(np.float64)
    weight = (change * change).sum(-1)
    if weight.sum() < 1e-6 * given[..., 0].size:  # a thousandth of a radian: all surfaces are frontal
        return None
    part = ((stored - given)[fits] * change).sum(-1) / np.maximum(weight, 1e-12)
    order = np.argsort(part)
    total = np.cumsum(weight[order])
    return float(part[order][np.searchsorted(total, total[-1] / 2)])
