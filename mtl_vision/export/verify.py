"""Hold the ONNX file against the torch network, output by output, in physical units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mtl_vision.export.graph import Deployed
from mtl_vision.runtime.kinds import KINDS
from mtl_vision.runtime.session import Session

BATCHES = (1, 2, 5)
# kind -> (figure, limit, whether the figure must stay below it)
LIMITS: dict[str, tuple[str, float, bool]] = {
    "scalar_map": ("max_difference", 1e-2, True),
    "unit_vector_map": ("max_degrees", 0.5, True),
    "label_map": ("share_equal", 0.999, False),
}
UNITS = {"max_degrees": "deg", "mean_degrees": "deg", "share_equal": ""}


class VerifyError(Exception):
    """An output differs; the message names it. The file stays where it is."""


@dataclass(frozen=True)
class Figure:
    """One comparison."""

    batch: int
    output: str
    values: Mapping[str, float]
    unit: str

    def __str__(self) -> str:
        said = "  ".join(f"{name} {v:.3g} {UNITS.get(name, self.unit)}".rstrip() for name, v in self.values.items())
        return f"batch {self.batch}  {self.output:<14}{said}"


def verify(path: Path, module: Deployed, images: np.ndarray | None = None) -> list[Figure]:
    """Compare on pictures (N, H, W, 3) uint8, or on smooth random ones. Raises VerifyError after all were compared."""
    session = Session(path)
    m = session.manifest
    figures: list[Figure] = []
    failures: list[str] = []
    for batch in BATCHES:
        size = (m.height, m.width) if not m.dynamic_size else tuple(m.stride * max(batch, 2) for _ in range(2))
        pictures = (
            smooth_noise(batch, size) if images is None or m.dynamic_size else images[np.arange(batch) % len(images)]
        )
        with torch.inference_mode():
            truth = module(torch.from_numpy(pictures))
        got = session.run(pictures)
        for output, expected in zip(m.outputs, truth, strict=True):
            if output.kind == "label_map" and expected.ndim == 4:
                expected = expected.argmax(dim=1)
            values = KINDS[output.kind].compare(got[output.name], expected.numpy())
            figures.append(Figure(batch, output.name, values, output.unit))
            name, limit, below = LIMITS[output.kind]
            if not (values[name] <= limit if below else values[name] >= limit):
                failures.append(
                    f"output '{output.name}' at batch {batch}: {name} is {values[name]:.4g}, limit {limit:g}"
                )
    if failures:
        raise VerifyError("onnxruntime and torch disagree: " + "; ".join(failures))
    return figures


def smooth_noise(count: int, size: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Random pictures (N, H, W, 3) uint8 with structure at all scales, as photographs have."""
    rng = np.random.default_rng(seed)
    total = np.zeros((count, *size, 3), np.float32)
    for cell in (2, 8, 32):
        coarse = rng.uniform(0, 85, (count, -(-size[0] // cell), -(-size[1] // cell), 3)).astype(np.float32)
        total += coarse.repeat(cell, 1).repeat(cell, 2)[:, : size[0], : size[1]]
    return total.astype(np.uint8)
