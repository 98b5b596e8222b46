"""LibMTL 1.1.5's own training, `LibMTL.trainer.Trainer.train`, of our network on our samples in the form it reads.

What is as its NYUv2 example has it (examples/nyu, which its package does not have): a folder of .npy files a map, as
float32; a random zoom by 1, 1.2 or 1.5 and a flip, by torch on each sample; torch's loader, shuffled; Adam; a loss a
task, and all its metrics on each batch that is trained on. What is better for it: the loading process lives on between
epochs, and losses are written as ours are. What is left out: its test after every epoch.

Three things have changed since: torch's loaders have lost `next`, it names the first GPU, and what peers.py puts back.

As a program, `python -m benchmarks.libmtl_trainer FOLDER ...` trains an epoch for each line that it reads, and answers
it: LibMTL in a process of its own, as its example is.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from benchmarks.common import Step
from benchmarks.peers import ALPHA, Part, libmtl_classes
from benchmarks.setup import LR, WEIGHT_DECAY, Setup, make_setup
from mtl_vision.datasets.sample import Sample
from mtl_vision.loading.loader import as_worker
from mtl_vision.runtime.kinds import IGNORE

MAPS = ("image", "label", "depth", "normal")
NAMES = {"segmentation": "segmentation", "depth": "depth", "normals": "normal"}  # its, by ours
VOID = -1


def write_maps(samples: Sequence[Sample], folder: Path) -> None:
    """Write samples as its data set reads them: {train}/{image,label,depth,normal}/{index}.npy, channels last."""
    for index, sample in enumerate(samples):
        labels = sample.targets["segmentation"].astype(np.float32)
        stored = {
            "image": sample.image.astype(np.float32) / 255,
            "label": np.where(labels == IGNORE, VOID, labels).astype(np.float32),
            "depth": sample.targets["depth"][..., None],
            "normal": sample.targets["normals"],
        }
        for name, array in stored.items():
            path = folder / "train" / name / f"{index}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, array)


def dataset(folder: Path, file: Path | None) -> Any:
    """Its data set over `folder`, from its create_dataset.py where that is given, else one that does the same."""
    if file is None:
        return Maps(folder / "train")
    spec = importlib.util.spec_from_file_location("libmtl_nyu", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.NYUv2(root=str(folder), mode="train", augmentation=True)


class Maps(Dataset):
    """(image (3, H, W) in 0..1, {task: map}), zoomed and flipped at random; all float32."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = len(list((folder / "image").iterdir()))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        maps = {name: torch.from_numpy(np.load(self.folder / name / f"{index}.npy")) for name in MAPS}
        maps = {name: m[None] if m.ndim == 2 else m.movedim(-1, 0) for name, m in maps.items()}
        H, W = maps["image"].shape[1:]
        zoom = random.choice((1.0, 1.2, 1.5))
        h, w = int(H / zoom), int(W / zoom)
        top, left = random.randint(0, H - h), random.randint(0, W - w)
        for name, m in maps.items():
            mode, align = ("bilinear", True) if name in ("image", "normal") else ("nearest", None)
            window = m[None, :, top : top + h, left : left + w]
            maps[name] = F.interpolate(window, size=(H, W), mode=mode, align_corners=align)[0]
        maps["depth"] = maps["depth"] / zoom
        if random.random() < 0.5:
            maps = {name: m.flip(2) for name, m in maps.items()}
            maps["normal"][0].neg_()
        return maps["image"], {"segmentation": maps["label"][0], "depth": maps["depth"], "normal": maps["normal"]}


class Batches:
    """torch's loader, its iterators with `next`, as they had it."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        return _Batches(iter(self.loader))


class _Batches:
    def __init__(self, batches: Iterator[Any]) -> None:
        self.next = batches.__next__

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self.next()


class Metric:
    """A task's metrics: `measure` of each batch, kept for the epoch."""

    def __init__(self, measure: Callable[[Tensor, Tensor], Any], score: Callable[[list[Any]], list[float]]) -> None:
        self.measure, self.score, self.record = measure, score, []

    def update_fun(self, prediction: Tensor, target: Tensor) -> None:
        self.record.append(self.measure(prediction, target))

    def score_fun(self) -> list[float]:
        return self.score(self.record)

    def reinit(self) -> None:
        self.record = []


def confusion(prediction: Tensor, target: Tensor) -> Tensor:
    """(C, C) pixels by class and predicted class."""
    C = prediction.shape[1]
    valid = target != VOID
    pairs = C * target[valid].long() + prediction.argmax(1)[valid]
    return torch.bincount(pairs, minlength=C * C).view(C, C)


def segmentation_score(record: list[Tensor]) -> list[float]:
    """mIoU, pixel accuracy."""
    counts = torch.stack(record).sum(0).float()
    hit = counts.diag()
    return [(hit / (counts.sum(0) + counts.sum(1) - hit)).mean().item(), (hit.sum() / counts.sum()).item()]


def depth_errors(prediction: Tensor, target: Tensor) -> list[float]:
    """Absolute, relative."""
    valid = target > 0
    target = target[valid]
    error = (prediction[valid] - target).abs()
    return [error.mean().item(), (error / target).mean().item()]


def angles(prediction: Tensor, target: Tensor) -> np.ndarray:
    """Degrees, of the valid pixels."""
    cosine = (prediction * target).sum(1)[(target != 0).any(1)]
    return np.degrees(cosine.clamp(-1, 1).acos().numpy())


def normal_score(record: list[np.ndarray]) -> list[float]:
    """Mean, median, within three angles."""
    found = np.concatenate(record)
    return [found.mean(), np.median(found), *(float((found < limit).mean()) for limit in (11.25, 22.5, 30))]


METRICS: dict[str, tuple[list[str], list[int], Callable, Callable]] = {
    "segmentation": (["mIoU", "pixAcc"], [1, 1], confusion, segmentation_score),
    "depth": (["abs_err", "rel_err"], [0, 0], depth_errors, lambda record: np.mean(record, axis=0).tolist()),
    "normal": (["mean", "median", "<11.25", "<22.5", "<30"], [0, 0, 1, 1, 1], angles, normal_score),
}


def tasks(setup: Setup, measured: bool) -> dict[str, dict[str, Any]]:
    """Its description of our tasks. measured: with metrics."""
    from LibMTL.loss import AbsLoss  # type: ignore[import-not-found]

    class Loss(AbsLoss):
        def __init__(self, compute: Callable[[Tensor, Tensor], Tensor]) -> None:
            super().__init__()
            self.compute = compute

        def compute_loss(self, pred: Tensor, gt: Tensor) -> Tensor:
            return self.compute(pred, gt)

    def cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(prediction, target.long(), ignore_index=VOID)

    losses = {NAMES[name]: task.loss for name, task in setup.tasks.items()} | {"segmentation": cross_entropy}
    described = {}
    for name in (NAMES[name] for name in setup.tasks):
        metrics, higher, measure, score = METRICS[name]
        metric = Metric(measure, score) if measured else Metric(lambda *_: None, lambda _: [0.0])
        described[name] = {"metrics": metrics, "metrics_fn": metric, "loss_fn": Loss(losses[name]), "weight": higher}
    return described


def epoch(setup: Setup, data: Any, batch: int, workers: int, method: str, measured: bool = True) -> Step:
    """An epoch of its trainer. method: EW, or GradNorm as from its second epoch on; before, weights are equal."""
    HPS, weighting = libmtl_classes(method)
    from LibMTL.trainer import Trainer  # type: ignore[import-not-found]

    network = setup.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    H, W = setup.batch.image.shape[-2:]

    def decoder(name: str) -> Part:
        return Part([network.heads[name]], lambda z: network.decode(z, (H, W), [name])[name])

    class Method(weighting):
        """From the second epoch on: what it takes from the first is there."""

        epoch = property(lambda self: 1, lambda self, value: None)
        first_losses = np.ones((len(setup.tasks), 1))
        train_loss_buffer = property(lambda self: self.first_losses, lambda self, value: None)

    class Here(Trainer):
        device = property(lambda self: setup.device, lambda self, value: None)

        def test(self, *args: Any, **kwargs: Any) -> None:
            """Not a part of the training."""

    with contextlib.redirect_stdout(io.StringIO()):
        trainer = Here(
            tasks(setup, measured),
            weighting=Method,
            architecture=HPS,
            encoder_class=lambda: Part([network.backbone, network.decoder], lambda x: network.encode(255 * x)),
            decoders=nn.ModuleDict({NAMES[name]: decoder(name) for name in setup.tasks}),
            rep_grad=False,
            multi_input=False,
            optim_param={"optim": "adam", "lr": LR, "weight_decay": WEIGHT_DECAY},
            scheduler_param=None,
            weight_args={"alpha": ALPHA},
            arch_args={},
        )
    loader = DataLoader(
        data, batch, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=workers > 0,
        worker_init_fn=as_worker,
    )  # fmt: skip

    def step() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            trainer.train(Batches(loader), None, 1)

    return step


class Peer:
    """The program under way. Raises ModuleNotFoundError where LibMTL is missing."""

    def __init__(self, words: Sequence[object], environment: Mapping[str, str]) -> None:
        if importlib.util.find_spec("LibMTL") is None:
            raise ModuleNotFoundError("LibMTL is not installed: pip install 'mtl-vision[peers]'")
        command = [sys.executable, "-m", "benchmarks.libmtl_trainer", *map(str, words)]
        self.process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def step(self) -> None:
        """An epoch."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        if not self.process.stdout.readline():
            raise RuntimeError(f"LibMTL's trainer has ended with code {self.process.wait()}")

    def end(self) -> None:
        """Let it end."""
        self.process.communicate()


def main() -> None:
    """Epoch after epoch."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path, help="what `write_maps` has written")
    p.add_argument("--dataset", type=Path, metavar="FILE", help="LibMTL's examples/nyu/create_dataset.py")
    p.add_argument("--method", default="EW")
    p.add_argument("--unmeasured", action="store_true", help="no metrics")
    p.add_argument("--backbone", default="mobilenetv4_conv_small")
    p.add_argument("--size", type=int, nargs=2, default=(120, 160))
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--workers", type=int, default=1)
    args: Any = p.parse_args()
    setup = make_setup(args.backbone, args.batch, tuple(args.size), torch.device("cpu"))
    data = dataset(args.folder, args.dataset)
    step = epoch(setup, data, args.batch, args.workers, args.method, not args.unmeasured)
    for _ in sys.stdin:
        step()
        print("done", flush=True)


if __name__ == "__main__":
    main()
