"""Photos to measure with."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def make_photos(folder: Path, count: int, size: tuple[int, int], seed: int = 0) -> list[Path]:
    """JPEGs with structure at all scales, as photographs have."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for i in range(count):
        layers = [rng.uniform(0, 255, (-(-size[0] // cell), -(-size[1] // cell), 3)) for cell in (3, 20, 120)]
        grown = [cv2.resize(layer.astype(np.float32), size[::-1]) for layer in layers]
        photo = (0.15 * grown[0] + 0.35 * grown[1] + 0.5 * grown[2]).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i:04}.jpg"), photo, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return sorted(folder.iterdir())
