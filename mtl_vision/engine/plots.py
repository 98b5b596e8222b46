"""The run's two images: weights.png (what the balancing did) and panel.png (image, truth, prediction a task)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure

from mtl_vision.balancers.previous_runs import curves
from mtl_vision.loading.loader import Batch
from mtl_vision.models import Network
from mtl_vision.runtime.files import atomic_path, atomic_write, png
from mtl_vision.runtime.kinds import KINDS
from mtl_vision.runtime.paint import LINE, paper, write
from mtl_vision.tasks import Task

ROWS = {
    "weight": "task weight $w_i$",
    "grad_norm": "gradient norm $G_i$",
    "rate": "relative rate $r_i$",
    "loss": "loss $L_i$ / first",
}
GAP = 4  # pixels between the panel's images


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
    """A row an image: the image, then truth and prediction of each task, side by side."""
    model.eval()
    predictions = model(batch.image.to(device))
    columns = [("image", "", [image.permute(1, 2, 0).numpy() for image in batch.image])]
    for name, task in tasks.items():
        output, kind = task.output(), KINDS[task.output().kind]
        truths = [kind.from_tensor_layout(one.numpy()) for one in batch.targets[name]]
        limits = [kind.limits(truth) for truth in truths]  # one scale for both, so that they can be compared
        for what, maps in (("truth", truths), ("predicted", task.decode(predictions[name]).cpu().numpy())):
            images = [kind.colour(one, output.palette, span) for one, span in zip(maps, limits, strict=True)]
            columns.append((name, what, images))
    strips = []
    for name, what, images in columns:
        head, gap = paper(2 * LINE, images[0].shape[1]), paper(GAP, images[0].shape[1])
        write(head, name)
        write(head[LINE:], what)
        strips.append(np.vstack([head, *(part for image in images for part in (image, gap))]))
        strips.append(paper(len(strips[-1]), GAP))
    atomic_write(path, png(np.hstack(strips)))
