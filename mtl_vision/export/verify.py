"""Compare a file with the torch network, or with the file it was made of, output by output, in physical units."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mtl_vision.export.deployed import Deployed
from mtl_vision.runtime.contract import Manifest, ModelError, Output
from mtl_vision.runtime.kinds import KINDS, Size, resize_pixels
from mtl_vision.runtime.model import Model

BATCHES = (1, 2, 5)
# How far a file of lower precision may differ, by kind: a figure of `compare`, and its limit. Scalars of a range count
# by its hundredths: 0.02 m of 0 to 10 m.
BUDGETS: Mapping[str, Mapping[str, tuple[str, float]]] = {
    "float16": {
        "scalar_map": ("mean_difference", 0.2),
        "probability_map": ("mean_difference", 0.002),
        "unit_vector_map": ("mean_degrees", 0.2),
        "label_map": ("share_different", 0.02),
    },
    "int8": {
        "scalar_map": ("mean_difference", 1.0),
        "probability_map": ("mean_difference", 0.05),
        "unit_vector_map": ("mean_degrees", 3.0),
        "label_map": ("share_different", 0.05),
    },
}


class VerifyError(ModelError):
    """Outputs differ; the message names them. A ModelError, since such a file must not be run."""


@dataclass(frozen=True)
class Figure:
    """One output's comparison, the worst of all cases. limit: a figure's name, and the most that it may be."""

    output: Output
    values: Mapping[str, float]
    limit: tuple[str, float]

    @property
    def fits(self) -> bool:
        name, most = self.limit
        return self.values[name] <= most  # NaN is beyond any limit

    def __str__(self) -> str:
        unit = KINDS[self.output.kind].unit
        unit = self.output.unit if unit is None else unit
        texts = "  ".join(f"{name} {value:.3g} {unit}".rstrip() for name, value in self.values.items())
        return f"{self.output.name:<14}{texts}  ({self.limit[0]} may be {self.limit[1]:.3g})"

    def __iter__(self) -> Iterator[Any]:
        """As the manifest has it."""
        yield from {**self.values, "limit": list(self.limit)}.items()


def budget(output: Output, precision: str) -> tuple[str, float]:
    """How far an output of a file of this precision may differ."""
    kind = KINDS[output.kind]
    if precision not in BUDGETS:
        return kind.tolerance
    name, limit = BUDGETS[precision][output.kind]
    if output.kind == "scalar_map" and output.range:
        limit *= (output.range[1] - output.range[0]) / 100
    return name, limit


class Compared(NamedTuple):
    """Each output's worst figures, and the cases (NxHxW)."""

    figures: list[Figure]
    cases: list[str]


class Samples(NamedTuple):
    """Images (N, H, W, 3) uint8 to compare on, and in words what they are."""

    images: np.ndarray
    source: str


def verify(path: Path, module: Deployed, images: np.ndarray) -> Compared:
    """Compare the file with the torch network, on images (N, H, W, 3) uint8 in batches of several sizes.

    Raises VerifyError, which names all outputs that differ.
    """

    def truth(taken: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            return [maps.numpy() for maps in module.maps(torch.from_numpy(taken))]

    session = Model(path)
    return _compared(session, truth, images, session.manifest.precision, "onnxruntime and torch")


def against_file(source: Model, path: Path, samples: Samples, precision: str) -> Compared:
    """Compare the file with the one that it was made of, within the budget of a precision. Raises VerifyError."""
    try:
        made = Model(path, threads=1)
        names = [output.name for output in made.manifest.outputs]

        def truth(taken: np.ndarray) -> list[np.ndarray]:
            maps = source.run(taken)
            return [maps[name] for name in names]

        return _compared(made, truth, samples.images, precision, f"{made.provider} and '{source.path}'")
    except ModelError as error:
        raise VerifyError(f"{error}; the file is {path}") from error


def _compared(
    session: Model, truth: Callable[[np.ndarray], Sequence[np.ndarray]], images: np.ndarray, precision: str, who: str
) -> Compared:
    m = session.manifest
    worst: dict[str, dict[str, float]] = {}
    cases = []
    for batch, size in zip(BATCHES, sizes(m), strict=True):
        taken = np.stack([resize_pixels(images[i % len(images)], size) for i in range(len(cases), len(cases) + batch)])
        cases.append("x".join(map(str, taken.shape[:3])))
        found = session.run(taken)
        for output, expected in zip(m.outputs, truth(taken), strict=True):
            values = KINDS[output.kind].compare(found[output.name], expected)
            before = worst.get(output.name, values)
            worst[output.name] = {name: float(np.maximum(before[name], value)) for name, value in values.items()}
    figures = [Figure(output, worst[output.name], budget(output, precision)) for output in m.outputs]
    if failures := [figure for figure in figures if not figure.fits]:
        said = (
            f"output '{figure.output.name}': {name} is {figure.values[name]:.4g}, limit {limit:g}"
            for figure in failures
            for name, limit in [figure.limit]
        )
        raise VerifyError(f"{who} disagree on batches of {', '.join(cases)}: {'; '.join(said)}")
    return Compared(figures, cases)


def sizes(m: Manifest) -> list[Size]:
    """The sizes to compare at, one for each of BATCHES."""
    if not m.dynamic_size:
        return [(m.height, m.width)] * len(BATCHES)
    steps = [max(round(side / m.stride), 2) for side in (m.height, m.width)]
    shapes = [(steps[0], steps[1]), (steps[1] + 1, steps[0]), (2, 3)]
    return [(h * m.stride, w * m.stride) for h, w in shapes]


def smooth_noise(count: int, size: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Random images (N, H, W, 3) uint8 with structure at all scales, as photographs have."""
    rng = np.random.default_rng(seed)
    total = np.zeros((count, *size, 3), np.float32)
    for cell in (2, 8, 32):
        coarse = rng.uniform(0, 85, (count, -(-size[0] // cell), -(-size[1] // cell), 3)).astype(np.float32)
        total += coarse.repeat(cell, 1).repeat(cell, 2)[:, : size[0], : size[1]]
    return total.astype(np.uint8)
