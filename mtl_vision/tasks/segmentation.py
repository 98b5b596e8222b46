"""Semantic segmentation: one of C classes a pixel."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from mtl_vision.ranges import within
from mtl_vision.runtime.contract import Output
from mtl_vision.runtime.kinds import IGNORE
from mtl_vision.tasks.base import Chart, Figure, Loss, Task, widened
from mtl_vision.tasks.whole_batch import total


class SegmentationLoss(Loss):
    """A loss of logits (B, C, H, W) against class ids (B, H, W). class_weights: one per class, if it has any."""

    class_weights: Tensor | None = None


class CrossEntropy(SegmentationLoss):
    """-sum_c q_c w_c log p_c over the sum of the pixels' weights w_y, q the smoothed label; natural logarithm.

    Args:
        label_smoothing: share of the target that is spread over all classes
        class_weights: a weight per class; all 1 if not given
    """

    def __init__(self, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None) -> None:
        within(0, 0.99, label_smoothing=label_smoothing)
        within(1e-6, 10**6, **{f"class_weights[{k}]": weight for k, weight in enumerate(class_weights or ())})
        self.label_smoothing = label_smoothing
        self.class_weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)

    def __call__(self, prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        if self.class_weights is not None:
            self.class_weights = self.class_weights.to(prediction)  # once: a step is not to wait for the copy
        weight = self.class_weights
        labels = target.long()
        summed = F.cross_entropy(
            prediction, labels, weight, ignore_index=IGNORE, reduction="sum", label_smoothing=self.label_smoothing
        )
        if weight is None:
            return summed / valid.sum().clamp(min=1)
        summed, weights = total(summed, torch.where(valid, weight[labels.clamp(max=len(weight) - 1)], 0).sum())
        return summed / weights.clamp(min=1e-9)


class Segmentation(Task):
    """Logits over `classes`.

    Args:
        classes: their names
        palette: an (R, G, B) per class, for the drawn map
        loss: what is minimised
    """

    name = "segmentation"
    figures: ClassVar[Mapping[str, Figure]] = {
        "miou": Figure("%", True, main=True, nine=True),
        "pixel_accuracy": Figure("%", True, nine=True),
    }
    classification = True
    of_largest = True
    of_classes = True

    def __init__(
        self,
        classes: Sequence[str],
        palette: Sequence[tuple[int, int, int]] = (),
        loss: SegmentationLoss = CrossEntropy(),  # noqa: B008 (it never changes)
    ) -> None:
        weights = loss.class_weights
        if weights is not None and len(weights) != len(classes):
            raise ValueError(f"{len(weights)} class_weights for {len(classes)} classes: expected one per class")
        self.classes = list(classes)
        self.palette = list(palette)
        self.channels = len(classes)
        self.sums_shape = (len(classes), len(classes))  # confusion matrix: truth, prediction
        self.loss_function = loss

    def activate(self, raw: Tensor) -> Tensor:
        return widened(raw)

    def valid(self, target: Tensor) -> Tensor:
        return target != IGNORE

    def hits(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The right class."""
        return prediction.argmax(dim=1) == target

    def decode(self, prediction: Tensor) -> Tensor:
        return prediction.argmax(dim=1).to(torch.uint8)

    def sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        """prediction: logits (B, C, H, W) or class ids (B, H, W)."""
        C = self.channels
        ids = prediction.argmax(dim=1) if prediction.ndim == 4 else prediction.long()
        valid = self.valid(target)
        if ids.numel() and int(ids.max()) >= C:
            raise ValueError(
                f"class id {int(ids.max())} predicted, there are {C} classes: another class set than the truth's"
            )
        pairs = target[valid].long() * C + ids[valid]
        return torch.bincount(pairs, minlength=C * C).reshape(C, C)

    def summary(self, sums: Tensor) -> dict[str, float]:
        """Percent. A class in neither truth nor prediction is left out of the mean; `classes_counted` says how many."""
        hit = sums.diag()
        union = sums.sum(0) + sums.sum(1) - hit
        seen = union > 0
        iou = 100 * hit[seen] / union[seen]
        names = [name for name, counts in zip(self.classes, seen.tolist(), strict=True) if counts]
        return {
            "miou": float(iou.mean()),
            "pixel_accuracy": 100 * float(hit.sum()) / float(sums.sum()),
            "classes_counted": float(seen.sum()),
            **{f"iou.{name}": value for name, value in zip(names, iou.tolist(), strict=True)},
        }

    def charts(self, sums: Tensor) -> list[Chart]:
        """IoU of each class, and the confusion matrix."""
        found = self.summary(sums)
        iou = {"IoU": [found.get(f"iou.{name}") for name in self.classes]}
        matrix = {str(i): row.tolist() for i, row in enumerate(sums)}
        return [
            Chart("bars", "IoU of each class", "", "IoU (%)", iou, self.classes),
            Chart("matrix", "Confusion", "predicted class", "true class", matrix, self.classes),
        ]

    def output(self) -> Output:
        return Output(self.name, "label_map", classes=self.classes, palette=self.palette)

    def uninformed_loss(self, targets: Tensor | None = None) -> float:
        """Of equal logits: log C for the cross-entropy, smoothed and weighted or not."""
        targets = torch.zeros(1, 1, 1, dtype=torch.uint8) if targets is None else targets
        return self.loss(torch.zeros(targets.shape[0], self.channels, *targets.shape[1:]), targets).item()

    def note(self, metrics: Mapping[str, float]) -> str:
        counted = metrics.get("classes_counted", self.channels)
        if counted == self.channels:
            return ""
        return f"mIoU over {counted:.0f} of {self.channels} classes: the others are in neither truth nor prediction"
