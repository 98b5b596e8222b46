"""The validation part of a training split: what settings are chosen on, so that the test split stays unseen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STRETCH = 5  # neighbouring frames often show one room: most of them stay on one side


def held_out(stems: Sequence[str], count: int) -> list[str]:
    """`count` of the sorted stems, in stretches of neighbours spread evenly over them; the same ones every time.

    Raises ValueError where more than half would be held out.
    """
    if not 0 < count <= len(stems) // 2:
        raise ValueError(f"data.holdout is {count}: expected 1 to {len(stems) // 2}, half of the training samples")
    stretches = -(-count // STRETCH)
    # each stretch begins in a part of the split of its own, so that none overlaps
    starts = (np.arange(stretches) * len(stems)) // stretches
    length = min(STRETCH, count)
    picks = [int(start) + k for start in starts for k in range(length)]
    return [stems[i] for i in picks[:count]]
