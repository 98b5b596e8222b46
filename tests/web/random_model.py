"""Exported networks of random weights, whose heads answer to the image as those of a trained one do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mtl_vision.config import Config, DataConfig, ModelConfig, TasksConfig
from mtl_vision.datasets.classes import class_set
from mtl_vision.datasets.description import Description
from mtl_vision.engine.build import make_network, make_tasks
from mtl_vision.engine.load import Trained
from mtl_vision.export.deployed import Deployed
from mtl_vision.export.graph import make_manifest, trace, write
from mtl_vision.export.half import in_half
from mtl_vision.synthetic import render_room

SIZE = (96, 128)


def random_run(names: list[str], classes: str) -> Trained:
    """A small network. Its heads are scaled so that the maps of a room vary by half their range."""
    torch.manual_seed(0)
    config = Config(
        data=DataConfig(size=SIZE), model=ModelConfig(backbone="test_efficientnet"), tasks=TasksConfig(names)
    )
    model = make_network(config, tasks := make_tasks(config.tasks, class_set(classes))).eval()
    rooms = np.stack([render_room(seed, SIZE).image for seed in range(2)])
    with torch.no_grad():
        z = model.encode(torch.from_numpy(rooms).permute(0, 3, 1, 2))
        for head in model.heads.values():
            last = head.layers[-1]  # type: ignore[union-attr,index]
            raw = head(z) - last.bias.view(1, -1, 1, 1)
            last.weight.mul_(1 / raw.std())
            last.bias.sub_(raw.mean(dim=(0, 2, 3)) / raw.std())
    camera = {"fx": 103.8, "fy": 103.9, "cx": 65.1, "cy": 50.7, "height": SIZE[0], "width": SIZE[1]}
    return Trained(Path(), config, Description(intrinsics=camera), tasks, model, {})


def random_model(
    path: Path,
    names: tuple[str, ...] = ("depth", "normals", "segmentation"),
    classes: str = "nyu13",
    dynamic: bool = False,
    logits: bool = False,
    half: bool = False,
) -> Path:
    """Write one, not verified."""
    run = random_run(list(names), classes)
    model, manifest = trace(run, Deployed(run, logits), dynamic), make_manifest(run, dynamic)
    if half:
        model, manifest = in_half(model), replace(manifest, precision="float16")
    write(model, manifest, path)
    return path
