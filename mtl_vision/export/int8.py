"""Which convolutions an 8-bit file keeps in float, and whether it is worth using."""

import math
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from tqdm import tqdm

from mtl_vision.datasets import DataError
from mtl_vision.engine.load import Trained
from mtl_vision.export import measure
from mtl_vision.export.graph import write
from mtl_vision.export.quantize import Quantizer
from mtl_vision.export.verify import sizes
from mtl_vision.runtime.contract import Manifest
from mtl_vision.runtime.kinds import Size
from mtl_vision.runtime.model import Model
from mtl_vision.runtime.predictor import letterbox
from mtl_vision.tasks import figures

CALIBRATION = 200  # training images
MOST = 0.01  # of a task's main metric that 8 bits may cost
AIM = 0.005  # that they may cost on the images that the choice is made by
ROUNDS = 15  # of timing

Losses = dict[str, float]  # by metric: what it got worse by, relative


@dataclass(frozen=True)
class Judged:
    """An 8-bit file beside the float one. kept: convolutions in float, of `count`. before, after: metrics on `split`.

    times: how many times as fast it is here.
    """

    kept: list[str]
    count: int
    split: str
    before: Mapping[str, float]
    after: Mapping[str, float]
    losses: Losses
    times: float

    def advice(self) -> str:
        """Empty where there is nothing against it."""
        reasons = [f"it loses {100 * loss:.1f} % of {name}" for name, loss in self.losses.items() if not loss <= MOST]
        if self.times <= 1:
            reasons.insert(0, "it is not faster on this machine")
        return f"do not use it: {', and '.join(reasons)}; take the float file" if reasons else ""

    def lines(self) -> list[str]:
        """For the reader of an export."""
        changes = (
            f"{name} {self.before[name]:.4g} -> {self.after[name]:.4g} ({-100 * loss:+.1f} %)"
            for name, loss in self.losses.items()
        )
        stay = f"{len(self.kept)} of {self.count} convolutions stay in float"
        said = f"8 bits: {stay}; {self.times:.2f} times as fast as float32 here; on {self.split}: {', '.join(changes)}"
        return [said, *([self.advice()] if self.advice() else [])]

    def as_json(self) -> dict[str, Any]:
        """As the manifest has it."""
        return {
            "float": self.kept, "split": self.split, "before": dict(self.before), "after": dict(self.after),
            "times_as_fast": round(self.times, 3), "machine": platform.processor() or platform.machine(),
            "advice": self.advice(),
        }  # fmt: skip


def relative_losses(main: Mapping[str, bool], before: Mapping[str, float], after: Mapping[str, float]) -> Losses:
    """What each main metric got worse by, relative to before; better is negative. main: whether higher is better."""
    signs = {name: 1 if higher else -1 for name, higher in main.items() if before.get(name)}
    return {name: sign * (before[name] - after.get(name, np.nan)) / before[name] for name, sign in signs.items()}


def keep_in_float(
    names: Sequence[str], losses: Callable[[Sequence[str]], Losses], aim: float, each: Callable = iter
) -> list[str]:
    """The convolutions that stay in float, so that no metric loses more than `aim`: half of them at most.

    losses: of a model with these in float. Each convolution is tried as the only one in 8 bits; of those that cost the
    most by themselves as many stay in float as are needed, found by halving.
    """

    def worst(kept: Sequence[str]) -> float:
        return max((math.inf if math.isnan(loss) else loss for loss in losses(kept).values()), default=0.0)

    if worst([]) <= aim:
        return []
    alone = {name: worst([other for other in names if other != name]) for name in each(names)}
    ranked = sorted(names, key=lambda name: -alone[name])
    too_few, enough = 0, (len(names) + 1) // 2
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if worst(ranked[:middle]) <= aim else (middle, enough)
    return ranked[:enough]


def best(run: Trained, whole: Path, model: onnx.ModelProto, manifest: Manifest) -> tuple[onnx.ModelProto, Judged]:
    """The 8-bit form of the float32 file `whole`, whose graph is `model`; `manifest` is the 8-bit one's.

    Raises DataError where the run's data are not here: ranges and choice are taken from them.
    """
    try:
        training, choosing, measured = measure.parts(run)
    except (DataError, OSError) as error:
        raise DataError(
            f"8 bits are chosen by the data that the run was trained on, which are not here: {error}"
        ) from error
    picks = np.unique(np.linspace(0, len(training) - 1, CALIBRATION).round().astype(int))
    size = sizes(manifest)[0]  # of a dynamic file the multiples of its stride that it would be given
    quantizer = Quantizer(model, np.stack([letterbox(training[int(i)].image, size, (0, 0, 0))[0] for i in picks]))
    main = {name: figure.higher_is_better for name, figure in figures(run.tasks.values()).items() if figure.main}
    chosen = list(measure.batches(run, choosing, size))
    before = measure.metrics(run, whole, chosen)
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "int8.onnx"

        def losses(kept: Sequence[str]) -> Losses:
            write(quantizer.quantized(kept), manifest, small)
            return relative_losses(main, before, measure.metrics(run, small, chosen))

        names = quantizer.convolutions
        kept = keep_in_float(names, losses, AIM, lambda some: tqdm(some, "8 bits", leave=False, disable=None))
        found = quantizer.quantized(kept)
        write(found, manifest, small)
        full, less = (measure.metrics(run, path, measure.batches(run, measured, size)) for path in (whole, small))
        change = relative_losses(main, full, less)
        judged = Judged(kept, len(names), measured.split, full, less, change, times_as_fast(whole, small, size))
    return found, judged


def times_as_fast(whole: Path, small: Path, size: Size) -> float:
    """The median of the ratios of their times for an image, taken in turns."""
    models = [Model(path) for path in (whole, small)]
    image = np.zeros((1, *size, 3), np.uint8)

    def seconds(model: Model) -> float:
        start = time.perf_counter()
        model.run(image)
        return time.perf_counter() - start

    ratios = [seconds(models[0]) / seconds(models[1]) for _ in range(ROUNDS + 3)]
    return statistics.median(ratios[3:])


def described(manifest: Manifest, judged: Judged) -> Manifest:
    """The manifest of a file that was judged, with its own metrics where it was measured at its trained size."""
    same = sizes(manifest)[0] == manifest.trained_size
    metrics = {**manifest.metrics, **judged.after} if same else manifest.metrics
    return replace(manifest, metrics=metrics, verification={"int8": judged.as_json()})
