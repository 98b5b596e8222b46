"""The run's two pictures: weights.png (what the balancing did) and panel.png (image, truth, prediction a task)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mtl_vision.loading.loader import Batch
from mtl_vision.models import Network
from mtl_vision.runtime.encode import png
from mtl_vision.runtime.files import whole, write_whole
from mtl_vision.runtime.kinds import KINDS
from mtl_vision.tasks import Task

ROWS = (
    ("weight", "task weight $w_i$"),
    ("grad_norm", "gradient norm $G_i$"),
    ("rate", "relative rate $r_i$"),
    ("loss", "loss $L_i$ / first"),
)


def plot_weights(history: Sequence[Mapping[str, Any]], path: Path, title: str = "") -> None:
    """Weights, gradient norms, rates and losses over time, a line a task, smoothed; faint: as they were."""
    rows = [(key, label) for key, label in ROWS if any(key in record for record in history)]
    tasks = list(history[-1]["weight"])
    figure = Figure(figsize=(9, 2.3 * len(rows) + 0.4), layout="constrained")
    axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    colours = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    for axis, (key, label) in zip(axes, rows, strict=True):
        for task, colour in zip(tasks, colours, strict=False):
            points = [(r["step"], r[key][task]) for r in history if (r.get(key) or {}).get(task) is not None]
            if not points:
                continue
            step, value = np.array(points, float).T
            if key == "loss":
                value = value / max(value[: max(len(value) // 100, 1)].mean(), 1e-12)
            axis.plot(step, value, color=colour, alpha=0.15, linewidth=0.6)
            step, value = _smooth(step, value)
            axis.plot(step, value, color=colour, label=task, linewidth=1.6)
        if key in ("grad_norm", "loss"):
            axis.set_yscale("log")
        axis.set_ylabel(label)
        axis.grid(alpha=0.25)
    axes[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(tasks), frameon=False, borderaxespad=0.2)
    axes[0].set_title(title, loc="left")
    axes[-1].set_xlabel("step")
    _save_figure(figure, path)


def _smooth(step: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moving mean over a fiftieth of the run."""
    window = max(len(value) // 50, 1)
    kernel = np.ones(window) / window
    return np.convolve(step, kernel, "valid"), np.convolve(value, kernel, "valid")


def _save_figure(figure: Figure, path: Path) -> None:
    with whole(path) as work:
        figure.savefig(work, dpi=110)


@torch.inference_mode()
def plot_panel(model: Network, tasks: Mapping[str, Task], batch: Batch, device: torch.device, path: Path) -> None:
    """A row a picture: the image, then truth and prediction of each task, side by side."""
    model.eval()
    predictions = model(batch.image.to(device))
    columns = [("image", [image.permute(1, 2, 0).numpy() for image in batch.image])]
    for name, task in tasks.items():
        output = task.output()
        kind = KINDS[output.kind]
        maps = [np.asarray(m) for m in task.decode(predictions[name]).cpu().numpy()]
        truth = [_map(t) for t in batch.targets[name]] if name in batch.targets else [None] * len(maps)
        drawn: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for t, p in zip(truth, maps, strict=True):
            # one scale for both, the truth's, so that they can be compared
            limits = (
                tuple(np.percentile(t[t > 0], (1, 99)))
                if output.kind == "scalar_map" and t is not None and (t > 0).any()
                else None
            )
            drawn[0].append(
                np.zeros((*p.shape[:2], 3), np.uint8) if t is None else kind.colour(t, output.palette, limits)
            )
            drawn[1].append(kind.colour(p, output.palette, limits))
        columns += [(f"{name}: truth", drawn[0]), (f"{name}: predicted", drawn[1])]
    gap = 4
    cells = [[_titled(title, picture, row == 0) for row, picture in enumerate(pictures)] for title, pictures in columns]
    strips = [
        np.vstack([np.pad(c, ((0, gap), (0, gap), (0, 0)), constant_values=255) for c in column]) for column in cells
    ]
    write_whole(path, png(np.hstack(strips)))


def _map(target: Tensor) -> np.ndarray:
    """A target (C, H, W) or (H, W) in a map's layout."""
    array = target.numpy()
    return (
        array[0] if array.ndim == 3 and array.shape[0] == 1 else array.transpose(1, 2, 0) if array.ndim == 3 else array
    )


def _titled(title: str, picture: np.ndarray, with_title: bool) -> np.ndarray:
    if not with_title:
        return picture
    strip = np.full((22, picture.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, title, (3, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([strip, picture])
