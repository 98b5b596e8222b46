"""The run's two images: weights.png (what the balancing did) and panel.png (image, truth, prediction a task)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure

from mtl_vision.history import curves
from mtl_vision.loading.loader import Batch
from mtl_vision.models import Network
from mtl_vision.runtime.files import atomic_path, atomic_write, png
from mtl_vision.runtime.kinds import KINDS, Output, Size, resize_pixels
from mtl_vision.runtime.paint import LINE, MARGIN, fitted, paper, write
from mtl_vision.tasks import Task

ROWS = {
    "weight": "task weight $w_i$",
    "grad_norm": "gradient norm $G_i$",
    "rate": "relative rate $r_i$",
    "loss": "loss $L_i$ / first",
}
GAP = 4  # pixels between the panel's images
WIDTHS = (160, 320)  # of the panel's images, pixels: smaller ones are enlarged, larger ones shrunk


def plot_weights(history: Sequence[Mapping[str, Any]], path: Path, title: str = "") -> None:
    """Weights, gradient norms, rates and losses over time, a line a task, smoothed; faint: as they were."""
    found = {key: curves(history, key) for key in ROWS}
    keys = [key for key in ROWS if found[key]] or ["weight"]
    tasks = list(dict.fromkeys(task for key in keys for task in found[key]))
    figure = Figure(figsize=(9, 2.3 * len(keys) + 0.4), layout="constrained")
    axes = figure.subplots(len(keys), 1, sharex=True, squeeze=False)[:, 0]
    colours = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    for axis, key in zip(axes, keys, strict=True):
        for task, colour in zip(tasks, colours, strict=False):
            if task not in found[key]:
                continue
            points = np.array(found[key][task], float).T
            if key == "loss":
                points[1] /= max(points[1, : max(points.shape[1] // 100, 1)].mean(), 1e-12)
            axis.plot(*points, color=colour, alpha=0.15, linewidth=0.6)
            window = max(points.shape[1] // 50, 1)
            smooth = [np.convolve(row, np.ones(window) / window, "valid") for row in points]
            axis.plot(*smooth, color=colour, label=task, linewidth=1.6)
        if key in ("grad_norm", "loss"):
            axis.set_yscale("log")
        axis.set_ylabel(ROWS[key])
        axis.grid(alpha=0.25)
    if tasks:
        axes[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(tasks), frameon=False, borderaxespad=0.2)
    axes[0].set_title(title, loc="left")
    axes[-1].set_xlabel("step")
    with atomic_path(path) as work:
        figure.savefig(work, dpi=110)


@torch.inference_mode()
def plot_panel(model: Network, tasks: Mapping[str, Task], batch: Batch, device: torch.device, path: Path) -> None:
    """A row an image: the image, truth and prediction of each task side by side, and what their colours mean."""
    model.eval()
    predictions = model(batch.image.to(device))
    images = [image.permute(1, 2, 0).numpy() for image in batch.image]
    size = _shown_size(images[0].shape[:2])
    parts = [_column("image", "", [resize_pixels(image, size) for image in images])]
    for name, task in tasks.items():
        kind = KINDS[task.output().kind]
        truths = [kind.from_tensor_layout(one.numpy()) for one in batch.targets[name]]
        parts.append(_pair(task.output(), truths, list(task.decode(predictions[name]).cpu().numpy()), size))
    height = max(len(part) for part in parts)
    padded = [np.vstack([part, paper(height - len(part), part.shape[1])]) for part in parts]
    atomic_write(path, png(np.hstack([half for part in padded for half in (part, paper(height, GAP))])))


def _shown_size(size: Size) -> Size:
    """Where titles fit above the images, and a row of them on a screen."""
    width = min(max(size[1], WIDTHS[0]), WIDTHS[1])
    return max(1, round(size[0] * width / size[1])), width


def _pair(output: Output, truths: Sequence[np.ndarray], predicted: Sequence[np.ndarray], size: Size) -> np.ndarray:
    """The two columns of a task, coloured alike, above their key."""
    kind = KINDS[output.kind]
    limits = kind.limits(np.stack(truths)) or kind.limits(np.stack(predicted))
    truth, prediction = (
        _column(output.name, what, [kind.colour(kind.resize(one, size), output.palette, limits) for one in maps])
        for what, maps in (("truth", truths), ("predicted", predicted))
    )
    pair = np.hstack([truth, paper(len(truth), GAP), prediction])
    key = kind.key([*truths, *predicted], output, limits, pair.shape[1] - MARGIN)  # apart from the next one's
    return np.vstack([pair, paper(MARGIN, pair.shape[1]), np.hstack([key, paper(len(key), MARGIN)])])


def _column(name: str, what: str, images: Sequence[np.ndarray]) -> np.ndarray:
    """Images below each other, under a title of two lines."""
    width = images[0].shape[1]
    head, gap = paper(2 * LINE, width), paper(GAP, width)
    write(head, fitted(name, width))
    write(head[LINE:], what)
    return np.vstack([head, *(part for image in images for part in (image, gap))])
