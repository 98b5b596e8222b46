"""A run's panel.png: what its colours mean is written below it, and nothing overlaps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mtl_vision.engine.plots import GAP, WIDTHS, plot_panel
from mtl_vision.loading.loader import Batch
from mtl_vision.runtime.kinds import INVALID, KINDS
from mtl_vision.runtime.paint import LINE, MARGIN, PAPER
from mtl_vision.tasks import Task
from mtl_vision.tasks.depth import Depth
from mtl_vision.tasks.edges import Edges
from mtl_vision.tasks.normals import Normals
from mtl_vision.tasks.segmentation import Segmentation

SWATCH = (LINE - MARGIN) ** 2  # pixels
CPU = torch.device("cpu")


class Knows(torch.nn.Module):
    """Predicts what it is told, whatever the image."""

    def __init__(self, predictions: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.predictions = predictions

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.predictions


def panel(path: Path, tasks: list[Task], truths: dict[str, np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """The panel (H, W, 3) RGB of truths in tensor layout, and of a network that predicts 1 everywhere."""
    count = len(next(iter(truths.values())))
    predictions = {task.name: torch.ones(count, task.channels, *size) for task in tasks}
    predictions |= {"normals": torch.tensor([0.0, 0, -1])[None, :, None, None].expand(count, 3, *size)}
    image = torch.full((count, 3, *size), 77, dtype=torch.uint8)
    targets = {name: torch.from_numpy(truth) for name, truth in truths.items()}
    batch = Batch([str(i) for i in range(count)], image, targets, frozenset(targets))
    plot_panel(Knows(predictions), {task.name: task for task in tasks}, batch, CPU, path)  # type: ignore[arg-type]
    return cv2.imread(str(path))[..., ::-1]


def area(shown: np.ndarray, colour: np.ndarray) -> int:
    return int((shown == colour).all(axis=-1).sum())


def test_no_depth_is_apart_from_far_and_the_key_says_so(tmp_path: Path) -> None:
    depth = np.full((2, 1, 120, 160), 1, np.float32)
    depth[:, :, :60], depth[0, :, 60:, :80] = 9, 0
    shown = panel(tmp_path / "panel.png", [Depth()], {"depth": depth}, (120, 160))
    truth = shown[2 * LINE : 2 * LINE + 120, 160 + GAP : 320 + GAP]
    near, far = truth[80, 120].astype(int), truth[20, 20].astype(int)
    assert area(truth, INVALID) == 60 * 80 and near.sum() - far.sum() > 300 and np.abs(far - INVALID).max() > 100
    key = shown[2 * LINE + 2 * (120 + GAP) :]
    assert 0 <= area(key, INVALID) - SWATCH < 99, "a swatch for pixels without depth; the rest are edges of letters"
    below = key[:, 160 + GAP :]
    bar = below[MARGIN + (MARGIN + LINE) // 2, : 320 + GAP - MARGIN].astype(int)
    assert bar[0].tolist() == near.tolist() and bar[-1].tolist() == far.tolist()
    assert key[:, :160].min() == 255, "nothing below the image"


def test_depths_of_all_images_have_one_scale(tmp_path: Path) -> None:
    """What is equally far has one colour in all rows, so that one key is enough."""
    depth = np.stack([np.full((1, 120, 160), 2), np.full((1, 120, 160), 6)]).astype(np.float32)
    depth[:, :, :10], depth[:, :, 10:20] = 1, 9
    shown = panel(tmp_path / "panel.png", [Depth()], {"depth": depth}, (120, 160))
    first, second = (shown[2 * LINE + i * (120 + GAP) :, 160 + GAP + 5] for i in range(2))
    assert first[5].tolist() == second[5].tolist() and first[15].tolist() == second[15].tolist()
    assert first[60].astype(int).sum() - second[60].astype(int).sum() > 100


def test_without_depth_at_all_the_predictions_give_the_scale(tmp_path: Path) -> None:
    depth = np.zeros((1, 1, 120, 160), np.float32)
    shown = panel(tmp_path / "panel.png", [Depth()], {"depth": depth}, (120, 160))
    assert 0 <= area(shown, INVALID) - 120 * 160 - SWATCH < 199


@pytest.mark.parametrize("size", [(48, 64), (24, 16), (120, 160), (288, 384), (480, 640), (30, 200)])
def test_keys_of_all_kinds_fit_at_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    """40 classes with long names; every swatch is there, whole, and below its own task's columns."""
    classes = [f"class of things number {i}" for i in range(39)] + ["a name that is wider than two columns " * 9]
    tasks = [Depth(), Normals(), Segmentation(classes), Edges()]
    palette = np.array(tasks[2].output().palette or KINDS["label_map"].colour(np.arange(40, dtype=np.uint8)))
    truths = {
        "depth": np.ones((1, 1, *size), np.float32),
        "normals": np.tile(np.array([0, 0, -1], np.float32)[None, :, None, None], (1, 1, *size)),
        "segmentation": np.resize(np.arange(40, dtype=np.uint8), (1, *size)),
        "edges": np.zeros((1, 1, *size), np.float32),
    }
    shown = panel(tmp_path / "panel.png", tasks, truths, size)
    width = min(max(size[1], WIDTHS[0]), WIDTHS[1])
    height = round(size[0] * width / size[1])
    assert shown.shape[1] == 9 * (width + GAP)
    key, step = shown[2 * LINE + height + GAP :], 2 * (width + GAP)
    below = [key[:, width + GAP + i * step :][:, :step] for i in range(4)]
    for part in below:
        assert (part[:, -GAP - MARGIN :] == PAPER).all(), "no key touches the next"
        assert (part[: MARGIN // 2] == PAPER).all() and (part != 255).any()
    for colour in palette:
        assert area(below[2], colour) >= SWATCH
    assert (key[-MARGIN // 2 :] == PAPER).all(), "nothing is cut off at the lower edge"


def test_titles_are_cut_short_rather_than_written_over_each_other(tmp_path: Path) -> None:
    class Long(Depth):
        name = "distance_of_the_nearest_surface_in_metres"

    truths = {Long.name: np.ones((1, 1, 48, 64), np.float32)}
    shown = panel(tmp_path / "panel.png", [Long()], truths, (48, 64))
    title = shown[:LINE]
    for i in range(3):
        column = title[:, i * (WIDTHS[0] + GAP) :][:, : WIDTHS[0]]
        assert (column != 255).any() and (column[:, -1] == 255).all()
