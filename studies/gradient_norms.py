"""What GradNorm sees at the last shared layer, against what the whole trunk feels: the tasks' gradient norms by place.

    python studies/gradient_norms.py RUN_DIR [--batches 20] [--quick]

For a trained run, on its training data without augmentation: the norm of each task's unweighted loss gradient with
respect to W (at each place that GradNorm can take it), z (the output of the last shared layer), the fusion, and the
backbone, each relative to the mean over the tasks; and the cosines between the tasks' gradients in the whole trunk.
Where the rows agree, it does not matter at which of these places the norms are balanced.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from itertools import combinations, islice
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from mtl_vision.balancers import Shared
from mtl_vision.datasets.description import DataError
from mtl_vision.engine import build
from mtl_vision.engine.load import Trained, load_run
from mtl_vision.loading.loader import Batch, Loader
from mtl_vision.models.network import Place

TRUNK = ("W last_shared", "fusion", "backbone")  # every parameter of it once


def gradients(run: Trained, batch: Batch) -> dict[str, dict[str, Tensor]]:
    """Task -> place -> gradient, flat."""
    model = run.model.train()
    size = (batch.image.shape[-2], batch.image.shape[-1])
    shared = Shared.cut(model.encode(batch.image), model.last_shared.weight)
    predictions = model.decode(shared.leaf, size)
    losses = {name: run.tasks[name].loss(predictions[name], batch.targets[name]) for name in run.tasks}
    places = {
        **{f"W {place}": [model.shared_weight(place)] for place in get_args(Place)},
        "fusion": [p for p in model.decoder.parameters() if p is not model.last_shared.weight],
        "backbone": list(model.backbone.parameters()),
    }
    everything = list(dict.fromkeys(parameter for group in places.values() for parameter in group))
    found: dict[str, dict[str, Tensor]] = {}
    for name, loss in losses.items():
        g = shared.backward_heads(loss, name)
        parts = torch.autograd.grad(shared.z, everything, g, retain_graph=True, allow_unused=True)
        by_id = {id(p): part for p, part in zip(everything, parts, strict=True) if part is not None}
        found[name] = {"z": g.flatten()} | {
            place: torch.cat([by_id[id(p)].flatten() for p in group if id(p) in by_id])
            for place, group in places.items()
        }
    return found


def measure(run: Trained, batches: int) -> dict[str, float]:
    """Means over batches, as flat keys: norm.PLACE.TASK (relative to the tasks' mean), cosine.TASK.TASK."""
    data = run.config.data
    split = build.open_split(run.config, build.data_root(data, make=False), data.train_split)
    loader = Loader(build.packed(data, split), list(run.tasks), data.size, data.batch_size, train=True)
    sums: dict[str, list[float]] = {}
    for batch in islice(loader.epoch(0), batches):
        for key, value in compare(gradients(run, batch)).items():
            sums.setdefault(key, []).append(value)
    return {key: sum(values) / len(values) for key, values in sums.items()}


def compare(found: Mapping[str, Mapping[str, Tensor]]) -> dict[str, float]:
    """The figures of one batch."""
    figures: dict[str, float] = {}
    for place in next(iter(found.values())):
        norms = {name: float(by_place[place].norm()) for name, by_place in found.items()}
        mean = sum(norms.values()) / len(norms)
        figures |= {f"norm.{place}.{name}": norm / mean for name, norm in norms.items()}
    trunk = {name: torch.cat([g[place] for place in TRUNK]) for name, g in found.items()}
    for a, b in combinations(trunk, 2):
        figures[f"cosine.{a}.{b}"] = float(F.cosine_similarity(trunk[a], trunk[b], dim=0))
    return figures


def main(argv: list[str] | None = None) -> int:
    """Print a table and the JSON line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run", type=Path, help="a finished run directory; its data must still be there")
    p.add_argument("--batches", type=int, default=20)
    p.add_argument("--quick", action="store_true", help="two batches")
    args = p.parse_args(argv)
    try:
        run = load_run(args.run)
        figures = measure(run, 2 if args.quick else args.batches)
    except (DataError, ValueError, OSError) as error:
        print(f"gradient_norms.py: {error}", file=sys.stderr)
        return 1
    print(f"{'gradient norm, relative':<26}" + "".join(f"{name:>14}" for name in run.tasks))
    for place in (*(f"W {place}" for place in get_args(Place)), "z", "fusion", "backbone"):
        print(f"{place:<26}" + "".join(f"{figures[f'norm.{place}.{name}']:>14.3f}" for name in run.tasks))
    for key in (key for key in figures if key.startswith("cosine.")):
        print(f"{key:<40}{figures[key]:>7.3f}")
    print(json.dumps({key: round(value, 4) for key, value in figures.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
