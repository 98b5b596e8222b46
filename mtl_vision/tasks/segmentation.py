"""Semantic segmentation: one of C classes a pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from mtl_vision.runtime.contract import Output
from mtl_vision.runtime.kinds import IGNORE
from mtl_vision.tasks.base import Task


class Segmentation(Task):
    """Logits over `classes`; cross-entropy with label smoothing and class weights (C values, or None for all 1)."""

    name = "segmentation"
    main_metric = ("segmentation.miou", True)
    classification = True

    def __init__(
        self,
        classes: Sequence[str],
        palette: Sequence[tuple[int, int, int]] = (),
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        if class_weights is not None and len(class_weights) != len(classes):
            raise ValueError(f"{len(class_weights)} class weights for {len(classes)} classes: give one a class")
        self.classes = list(classes)
        self.palette = list(palette)
        self.channels = len(classes)
        self.label_smoothing = label_smoothing
        self.class_weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)

    def activate(self, raw: Tensor) -> Tensor:
        return raw.float()

    def valid(self, target: Tensor) -> Tensor:
        return target != IGNORE

    def pixel_loss(self, prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """-sum_c q_c w_c log p_c over the sum of the pixels' weights w_y, q the smoothed label; natural logarithm."""
        weight = None if self.class_weights is None else self.class_weights.to(prediction.device)
        labels = target.long()
        total = F.cross_entropy(
            prediction, labels, weight, ignore_index=IGNORE, reduction="sum", label_smoothing=self.label_smoothing
        )
        if weight is None:
            return total / valid.sum().clamp(min=1)
        return total / torch.where(valid, weight[labels.clamp(max=self.channels - 1)], 0).sum().clamp(min=1e-9)

    def hits(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The right class."""
        return prediction.argmax(dim=1) == target

    def decode(self, prediction: Tensor) -> Tensor:
        return prediction.argmax(dim=1).to(torch.uint8)

    def metrics(self) -> Metric:
        return SegmentationMetrics(self.classes)

    def output(self) -> Output:
        return Output(self.name, "label_map", classes=self.classes, palette=self.palette)

    def initial_loss(self) -> float:
        return math.log(self.channels)


class SegmentationMetrics(Metric):
    """One confusion matrix over the split. update takes logits (B, C, H, W) or class ids (B, H, W)."""

    full_state_update = False

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__()
        self.classes = list(classes)
        C = len(self.classes)
        self.add_state("confusion", torch.zeros((C, C), dtype=torch.int64), dist_reduce_fx="sum")  # truth, prediction
        self.confusion: Tensor

    def update(self, prediction: Tensor, target: Tensor) -> None:
        C = len(self.classes)
        ids = prediction.argmax(dim=1) if prediction.ndim == 4 else prediction.long()
        valid = target != IGNORE
        if ids.numel() and int(ids.max()) >= C:
            raise ValueError(
                f"class id {int(ids.max())} predicted, there are {C} classes: another class set than the truth's"
            )
        pairs = target[valid].long() * C + ids[valid]
        self.confusion += torch.bincount(pairs, minlength=C * C).reshape(C, C)

    def compute(self) -> dict[str, float]:
        """Percent. A class in neither truth nor prediction is left out of the mean; `classes_counted` says how many."""
        confusion = self.confusion.double()
        total = float(confusion.sum())
        if total == 0:
            return {}
        hit = confusion.diag()
        union = confusion.sum(0) + confusion.sum(1) - hit
        seen = union > 0
        iou = 100 * hit[seen] / union[seen]
        result = {
            "miou": float(iou.mean()),
            "pixel_accuracy": 100 * float(hit.sum()) / total,
            "classes_counted": float(seen.sum()),
        }
        names = [name for name, there in zip(self.classes, seen.tolist(), strict=True) if there]
        result |= {f"iou.{name}": value for name, value in zip(names, iou.tolist(), strict=True)}
        return {f"segmentation.{name}": value for name, value in result.items()}
