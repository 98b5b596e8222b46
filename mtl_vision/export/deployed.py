"""The trained network as modules to be traced: what the ONNX file computes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_vision.engine.load import Trained
from mtl_vision.models.backbone import padded
from mtl_vision.models.network import enlarged
from mtl_vision.tasks import Task

Tensors = tuple[Tensor, ...]


class Deployed(nn.Module):
    """The full graph: image (N, H, W, 3) uint8 RGB -> one map a task, in the tasks' order.

    logits: label maps come as logits (N, C, H, W).
    """

    def __init__(self, run: Trained, logits: bool = False) -> None:
        super().__init__()
        self.network, self.tasks, self.logits = run.model, run.tasks, logits

    def forward(self, image: Tensor) -> Tensors:
        size, image = (image.shape[1], image.shape[2]), image.permute(0, 3, 1, 2)
        z = self.network.encode(image)
        return tuple(self._map(name, task, z, size) for name, task in self.tasks.items())

    def _map(self, name: str, task: Task, z: Tensor, size: tuple[int, int]) -> Tensor:
        """As `maps`, by a shorter way where there is one."""
        label = task.output().kind == "label_map"
        if label and task.of_largest and not self.logits:
            return largest(self.network.raw(name, z, size))[:, : size[0], : size[1]]
        prediction = self.network.decode(z, size, [name])[name]
        return prediction if label and self.logits else task.decode(prediction)

    def maps(self, image: Tensor) -> Tensors:
        """The maps as each task decodes them: what a reader of the file must get, whatever its form."""
        predictions = self.network(image.permute(0, 3, 1, 2))
        return tuple(task.decode(predictions[name]) for name, task in self.tasks.items())


class Core(nn.Module):
    """The core graph: image (1, 3, H', W'), normalised and padded -> (1, C, H, W) a task, float32, in the tasks' order.

    Labels come as logits, unit vectors at any length: the runtime decides and normalises.
    """

    def __init__(self, run: Trained) -> None:
        super().__init__()
        self.network, self.tasks, self.size = run.model, run.tasks, run.config.data.size
        self.activated = [name for name, task in run.tasks.items() if not _only_normalises(task)]

    def forward(self, image: Tensor) -> Tensors:
        H, W = padded(self.size, self.network.multiple)
        z = self.network.decoder(self.network.backbone(image), (H // 4, W // 4))
        found = []
        for name, task in self.tasks.items():
            x = enlarged(self.network.raw(name, z, self.size), self.size)
            found.append(task.activate(x) if name in self.activated else x)
        return tuple(found)


def _only_normalises(task: Task) -> bool:
    """Whether the activation does to vectors what the runtime does to a core graph's."""
    if task.output().kind != "unit_vector_map":
        return False
    x = torch.randn(1, task.channels, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.allclose(task.activate(x), F.normalize(x, dim=1), atol=1e-5)


def largest(raw: Tensor) -> Tensor:
    """upsample(raw, (4 h, 4 w)).argmax(1) of raw (N, C, h, w): uint8 (N, 4 h, 4 w).

    With the channels last, a quarter of the rows at a time, onnxruntime takes half the time (benchmarks/graph.py).
    """
    x = F.pad(raw, (1, 1, 1, 1), mode="replicate").permute(0, 2, 3, 1)
    x = torch.stack(_between(x, 2), dim=3).flatten(2, 3)[:, :, 2:-2]
    rows = [row.argmax(dim=3).to(torch.uint8) for row in _between(x, 1)]
    return torch.stack(rows, dim=2).flatten(1, 2)[:, 2:-2]


def _between(x: Tensor, dim: int) -> list[Tensor]:
    """The four pixels between each two neighbouring cells along `dim`."""
    n = x.shape[dim] - 1
    a, step = x.narrow(dim, 0, n), x.narrow(dim, 1, n) - x.narrow(dim, 0, n)
    return [a + share * step for share in (1 / 8, 3 / 8, 5 / 8, 7 / 8)]
