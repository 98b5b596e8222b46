"""Samples to look at: image, truth, prediction and error of those that a network does worst on, and of some others."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from mtl_vision.loading.loader import Loader, collate
from mtl_vision.models import Network
from mtl_vision.runtime.kinds import INVALID, KINDS, Size, resize_pixels
from mtl_vision.tasks import Task

COUNT, WORST = 24, 6  # samples; of them, for each task, those that it does worst on
SIDE = 384  # pixels, of the longest side of a picture
BUDGET = 3_000_000  # characters of all pictures
BATCH = 8
QUALITY, LOSSLESS = 80, 101  # of WebP


@dataclass(frozen=True)
class _Maps:
    """A task's maps of a sample, at the size that they are shown at. truth: None where it has no valid pixel."""

    truth: np.ndarray | None
    prediction: np.ndarray
    error: np.ndarray | None


def pick(samples: Tensor, higher: Sequence[bool], count: int = COUNT, worst: int = WORST) -> list[int]:
    """Which samples to show, most telling first: by turns each task's worst, then others from all over the set.

    samples: a metric of each sample, a column a task (N, T), NaN where it has none. higher: whether higher is better.
    """
    ranked = []
    for column, up in zip(samples.T.tolist(), higher, strict=True):
        known = [i for i, value in enumerate(column) if math.isfinite(value)]
        ranked.append(sorted(known, key=lambda i: column[i] if up else -column[i])[:worst])
    turns = [row[k] for k in range(worst) for row in ranked if k < len(row)]
    chosen = list(dict.fromkeys(turns))[:count]
    rest = np.setdiff1d(np.arange(len(samples)), chosen)
    spread = np.unique(np.linspace(0, max(len(rest) - 1, 0), min(count - len(chosen), len(rest))).round().astype(int))
    return chosen + rest[spread].tolist()


def gallery(
    model: Network, tasks: Mapping[str, Task], loader: Loader, samples: Tensor, device: torch.device
) -> dict[str, Any]:
    """Pictures of some samples as JSON has them, WebP in base64; and what their colours mean.

    samples: the main metric of each of the loader's samples, a column a task.
    """
    mains = [next((f for f in task.figures.values() if f.main), None) for task in tasks.values()]
    chosen = pick(samples, [main is None or main.higher_is_better for main in mains])
    found = [
        one
        for at in range(0, len(chosen), BATCH)
        for one in _predicted(model, tasks, loader, chosen[at:][:BATCH], device)
    ]
    scales = {name: _scale([maps[name].error for _, _, maps in found]) for name in tasks}
    shown: list[dict[str, Any]] = []
    left = BUDGET
    for index, (name, image, maps) in zip(chosen, found, strict=True):
        metrics = {
            task: value if math.isfinite(value) else None
            for task, value in zip(tasks, samples[index].tolist(), strict=True)
        }
        entry = {"name": name, "index": index, "photo": _webp(image), "metrics": metrics}
        entry["maps"] = {name: _drawn(task, maps[name], scales[name]) for name, task in tasks.items()}
        left -= len(entry["photo"]) + sum(
            len(text) for m in entry["maps"].values() for text in m.values() if isinstance(text, str)
        )
        if left < 0 and shown:
            break
        shown.append(entry)
    keys = {name: _key(task, scales[name]) for name, task in tasks.items()}
    return {"of": len(samples), "worst": WORST, "outputs": keys, "samples": shown}


def _key(task: Task, scale: float) -> dict[str, Any]:
    """What is shown of a task, and what its colours mean."""
    output = task.output()
    kind = KINDS[output.kind]
    palette = kind.colour(np.arange(len(output.classes), dtype=np.uint8), output.palette) if output.classes else ()
    main = next(((short, f) for short, f in task.figures.items() if f.main), None)
    return {
        "kind": output.kind,
        "unit": output.unit,
        "error_unit": output.unit if kind.unit is None else kind.unit,
        "error_limit": scale,
        "classes": list(output.classes),
        "palette": [[int(c) for c in colour] for colour in palette],
        "main": None if main is None else {"name": main[0]} | asdict(main[1]),
    }


@torch.inference_mode()
def _predicted(
    model: Network, tasks: Mapping[str, Task], loader: Loader, chosen: Sequence[int], device: torch.device
) -> list[tuple[str, np.ndarray, dict[str, _Maps]]]:
    """Name, image (H, W, 3) and maps of these samples, at the size that they are shown at."""
    model.eval()
    batch = collate((loader.samples[i].resized(loader.size) for i in chosen), loader.targets, len(chosen))
    predictions = model(batch.image.to(device))
    decoded = {name: task.decode(predictions[name]).cpu().numpy() for name, task in tasks.items()}
    size = _shown_size(loader.size)
    found = []
    for k, name in enumerate(batch.names):
        maps: dict[str, _Maps] = {}
        for task in tasks.values():
            kind = KINDS[task.output().kind]
            truth = kind.resize(kind.from_tensor_layout(batch.targets[task.name][k].numpy()), size)
            prediction = kind.resize(decoded[task.name][k], size)
            known = kind.valid(truth).any()
            maps[task.name] = _Maps(
                truth if known else None, prediction, kind.errors(truth, prediction) if known else None
            )
        found.append((name, resize_pixels(batch.image[k].permute(1, 2, 0).numpy(), size), maps))
    return found


def _shown_size(size: Size) -> Size:
    scale = min(1.0, SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _scale(errors: Sequence[np.ndarray | None]) -> float:
    """The error that has the last colour, of two digits: of all pixels shown, 2 % are further off."""
    values = [error[np.isfinite(error)] for error in errors if error is not None]
    highest = float(np.percentile(np.concatenate(values), 98)) if sum(map(len, values)) else 0.0
    return float(f"{highest:.2g}") if highest > 1e-6 else 1.0


def _drawn(task: Task, maps: _Maps, scale: float) -> dict[str, Any]:
    """A sample's pictures of a task, and what its colours span or which classes are on them."""
    output = task.output()
    kind = KINDS[output.kind]
    both = [maps.prediction] if maps.truth is None else [maps.truth, maps.prediction]
    limits = kind.limits(both[0])
    quality = LOSSLESS if output.classes else QUALITY
    truth, prediction = (
        None if one is None else _webp(kind.colour(one, output.palette, limits), quality)
        for one in (maps.truth, maps.prediction)
    )
    error = None if maps.error is None else _webp(error_colours(maps.error, scale), quality)
    drawn: dict[str, Any] = {
        "truth": truth,
        "prediction": prediction,
        "error": error,
        "limits": limits and list(limits),
    }
    if output.classes:
        drawn["ids"] = np.unique(np.concatenate([one[kind.valid(one)] for one in both])).tolist()
    return drawn


def error_colours(error: np.ndarray, scale: float) -> np.ndarray:
    """Errors (H, W) from 0, dark blue, to `scale` and more, yellow: (H, W, 3) uint8 RGB; NaN is INVALID."""
    level = np.nan_to_num(255 * np.clip(error / scale, 0, 1)).astype(np.uint8)
    rgb = cv2.applyColorMap(level, cv2.COLORMAP_CIVIDIS)[..., ::-1].copy()
    rgb[np.isnan(error)] = INVALID
    return rgb


def _webp(rgb: np.ndarray, quality: int = QUALITY) -> str:
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    return base64.b64encode(cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()).decode()
