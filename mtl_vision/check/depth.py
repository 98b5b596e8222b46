"""Depth: its unit, and values that wrapped around."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mtl_vision.check.evidence import FINE, Evidence, Verdict
from mtl_vision.datasets.description import DepthFormat, Description

PLAUSIBLE = (0.4, 20.0)  # metres: a median beyond is no room's
SURE = (1.0, 10.0)  # between the two it may be a close view or a hall, or a small split in another unit
ROOM = (0.7, 7.0)  # a decade about the usual 2 to 3 metres: one power of ten brings a median into it
NEAR, HALL = 3.0, 6.0  # metres: the nearest hundredth, and the median, beyond which nothing is near the camera
FEW = 4  # samples; a single one may show a hall
LEAST_JUMPS = 10


def unit(evidence: Evidence) -> Verdict:
    """Whether the median is one of a room, in metres; a power of ten that brings it there is the fix."""
    parts = [look.depth for look in evidence.looks if look.depth is not None]
    fmt = evidence.description.depth
    if not parts or fmt is None:
        return Verdict("open")
    values = np.concatenate(parts)
    if not values.size:
        return Verdict("fault", "no pixel has depth: look at depth.invalid, depth.scale and depth.offset")
    near, middle = (float(value) for value in np.percentile(values, (1, 50)))
    if (other := _other_bits(fmt, evidence.depth_bits, middle)) is not None:
        return other
    if not PLAUSIBLE[0] <= middle <= PLAUSIBLE[1]:
        return _scaled_wrong(evidence.description, middle)
    if near > NEAR and middle > HALL and len(parts) >= FEW:
        return Verdict(
            "fault",
            f"the nearest hundredth of the depth begins at {near:.2f} m, the median is {middle:.2f} m: expected nearer "
            f"things in a room; look at {_said(fmt)} (0.001 is for millimetres, 0.0002 for TUM's fifths)",
        )
    return FINE if SURE[0] <= middle <= SURE[1] else Verdict("open")


def _other_bits(fmt: DepthFormat, bits: int | None, middle: float) -> Verdict | None:
    """A step of scale in files of 8 bits, or a full scale in files of 16: the one was meant for the other."""
    said = f"the median depth is {middle:.3g} m by {_said(fmt)}, and the files have {bits} bits"
    if fmt.full_scale is None and bits == 8 and not PLAUSIBLE[0] <= middle <= PLAUSIBLE[1]:
        return Verdict(
            "fault",
            f"{said}: say the metres of their last step in place of scale, such as `depth.full_scale: 9.9955`",
        )
    if fmt.full_scale is not None and bits == 16 and middle < SURE[0]:
        metres = (middle - fmt.offset) / fmt.full_scale * 65.535
        if ROOM[0] <= metres < ROOM[1]:
            return Verdict(
                "fault", f"{said}: in millimetres (`depth.scale: 0.001`) it is {metres:.2f} m", _in_millimetres
            )
    return None


def _scaled_wrong(description: Description, middle: float) -> Verdict:
    fmt = description.depth
    assert fmt is not None
    factor = 10.0 ** -int(np.floor(np.log10(middle / ROOM[0])))
    said = f"the median depth is {middle:.4g} m: expected metres of a room, about 1 to 5"
    if not 1e-4 <= factor <= 1e4:
        return Verdict("fault", f"{said}; look at depth.scale and depth.offset in the description")
    fixed = scaled(description, factor).depth
    assert fixed is not None
    return Verdict(
        "fault",
        f"{said}; another unit: {_said(fmt)} -> {_said(fixed)} makes it {middle * factor:.2f} m",
        lambda one: scaled(one, factor),
    )


def _in_millimetres(one: Description) -> Description:
    return (
        one if one.depth is None else replace(one, depth=replace(one.depth, full_scale=None, scale=0.001, offset=0.0))
    )


def scaled(description: Description, factor: float) -> Description:
    """The description whose metres are `factor` times as many."""
    fmt = description.depth
    if fmt is None:
        return description
    if fmt.full_scale is not None:
        fmt = replace(fmt, full_scale=_tidy(fmt.full_scale * factor), offset=_tidy(fmt.offset * factor))
    else:
        fmt = replace(fmt, scale=_tidy(fmt.scale * factor), offset=_tidy(fmt.offset * factor))
    return replace(description, depth=fmt)


def _tidy(value: float) -> float:
    return float(f"{value:.10g}")


def _said(fmt: DepthFormat) -> str:
    return f"depth.scale {fmt.scale:g}" if fmt.full_scale is None else f"depth.full_scale {fmt.full_scale:g}"


def wraps(evidence: Evidence) -> Verdict:
    """Whether 16 bits were too few: surfaces that leave the largest value go on at the smallest.

    No camera sees as near as the one value next to as far as the other, so a sound set has not a single such pair.
    """
    fmt = evidence.description.depth
    if fmt is None or fmt.wraps or fmt.full_scale is not None:
        return Verdict("open")
    jumping = [look for look in evidence.looks if look.jumps]
    if sum(look.jumps for look in jumping) < LEAST_JUMPS:
        return FINE
    limit = 65536 * fmt.scale
    return Verdict(
        "fault",
        f"depth wraps around at {limit:.4g} m, where 16 bits end at depth.scale {fmt.scale:g}: in {len(jumping)} of "
        f"{len(evidence.looks)} samples, such as {jumping[0].stem}, neighbours jump by that much; set "
        "`depth.wraps: true`, or store the depth anew at a coarser scale (millimetres)",
        lambda one: one if one.depth is None else replace(one, depth=replace(one.depth, wraps=True)),
    )
