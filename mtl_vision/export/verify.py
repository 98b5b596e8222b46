"""Compare the ONNX file with the torch network, output by output, in physical units."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mtl_vision.export.graph import Deployed
from mtl_vision.runtime.contract import Output
from mtl_vision.runtime.kinds import KINDS
from mtl_vision.runtime.model import Model

BATCHES = (1, 2, 5)


class VerifyError(Exception):
    """Outputs differ; the message names them. The file stays where it is."""


@dataclass(frozen=True)
class Figure:
    """One comparison: of a batch size, or of two files (0)."""

    batch: int
    output: Output
    values: Mapping[str, float]

    def __str__(self) -> str:
        unit = KINDS[self.output.kind].unit
        unit = self.output.unit if unit is None else unit
        texts = "  ".join(f"{name} {value:.3g} {unit}".rstrip() for name, value in self.values.items())
        return (f"batch {self.batch}  " if self.batch else "") + f"{self.output.name:<14}{texts}"


def verify(path: Path, module: Deployed, images: np.ndarray | None = None) -> list[Figure]:
    """Compare on images (N, H, W, 3) uint8, or on smooth random ones. Raises VerifyError after all were compared."""
    session = Model(path)
    m = session.manifest
    figures: list[Figure] = []
    failures: list[str] = []
    for batch in BATCHES:
        if images is None or m.dynamic_size:
            side = m.stride * max(batch, 2)
            taken = smooth_noise(batch, (side, side) if m.dynamic_size else (m.height, m.width))
        else:
            taken = images[np.arange(batch) % len(images)]
        with torch.inference_mode():
            truth = module.maps(torch.from_numpy(taken))
        found = session.run(taken)
        for output, expected in zip(m.outputs, truth, strict=True):
            kind = KINDS[output.kind]
            values = kind.compare(found[output.name], expected.numpy())
            figures.append(Figure(batch, output, values))
            name, limit = kind.tolerance
            if not values[name] <= limit:  # NaN is beyond any limit
                failures.append(
                    f"output '{output.name}' at batch {batch}: {name} is {values[name]:.4g}, limit {limit:g}"
                )
    if failures:
        raise VerifyError("onnxruntime and torch disagree: " + "; ".join(failures))
    return figures


def differences(a: Path, b: Path, images: np.ndarray) -> list[Figure]:
    """How far two files differ, by output."""
    first, second = Model(a), Model(b)
    x, y = first.run(images), second.run(images)
    return [Figure(0, o, KINDS[o.kind].compare(x[o.name], y[o.name])) for o in first.manifest.outputs]


def smooth_noise(count: int, size: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Random images (N, H, W, 3) uint8 with structure at all scales, as photographs have."""
    rng = np.random.default_rng(seed)
    total = np.zeros((count, *size, 3), np.float32)
    for cell in (2, 8, 32):
        coarse = rng.uniform(0, 85, (count, -(-size[0] // cell), -(-size[1] // cell), 3)).astype(np.float32)
        total += coarse.repeat(cell, 1).repeat(cell, 2)[:, : size[0], : size[1]]
    return total.astype(np.uint8)
