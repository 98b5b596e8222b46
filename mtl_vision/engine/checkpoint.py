"""Checkpoints: everything that a run needs to resume as if it had never stopped."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialize
from torch import nn

from mtl_vision.models import weights
from mtl_vision.runtime.files import atomic_path, atomic_write
from mtl_vision.runtime.terminal import printable

CHECKPOINT = "checkpoint.pt"
PREVIOUS = "checkpoint.previous.pt"  # the one before it, in case that one turns out to be bad
WEIGHTS = "model.safetensors"


def generators() -> dict[str, Any]:
    """The states of the random generators."""
    # of this process' own GPU: another machine may have another number of them
    cuda_rng = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    return {"rng": torch.get_rng_state(), "cuda_rng": cuda_rng}


def set_generators(state: Mapping[str, Any]) -> None:
    """Set the random generators to where `generators` found them."""
    torch.set_rng_state(state["rng"])
    if state["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda_rng"][0])


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a training's state, and that of the random generators. The one before it is kept as PREVIOUS."""
    write(path, {**state, **generators()}, path.with_name(PREVIOUS))


def write(path: Path, state: Mapping[str, Any], previous: Path | None = None) -> None:
    """Write a mapping with tensors; what was at `path` is then at `previous`."""
    with atomic_path(path) as work, work.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # of torch's own writer, which ends the file after an error
            cause = error.__context__
            raise cause if isinstance(cause, (OSError, KeyboardInterrupt)) else error from None
        file.flush()
        os.fsync(file.fileno())  # it takes the place of another one
        if previous is not None and path.exists():
            with atomic_path(previous) as link:  # a second name: there is a checkpoint at `path` at any time
                try:
                    link.hardlink_to(path)
                except OSError:  # this file system has no links
                    shutil.copyfile(path, link)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint and set the random generators to where they were. Raises ValueError for what is none."""
    weights.check_file(path)
    try:
        parts = weights.read_torch(path)
        if not (isinstance(parts, dict) and {"rng", "cuda_rng"} <= parts.keys()):
            raise ValueError("no checkpoint of a training")
        set_generators({key: parts.pop(key) for key in ("rng", "cuda_rng")})
    except Exception as error:
        previous = path.with_name(PREVIOUS)
        others = f", or put {previous.name}, the one before it, in its place" if previous.exists() else ""
        raise ValueError(f"{path} {weights.fault(error)}; remove it to start the run anew{others}") from error
    return parts


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the network's weights, for export and fine-tuning."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    atomic_write(path, serialize(tensors))  # its own writer makes files that their owner alone can read


def load_weights(model: nn.Module, path: Path) -> None:
    """Read the network's weights. Raises ValueError when the file does not fit it."""
    found = weights.read(path)
    try:
        model.load_state_dict(found)
    except Exception as error:
        why = printable(" ".join(str(error).split()))[:300]  # torch's lines, and the file's names
        raise ValueError(f"{path} does not fit this network: {why}") from error
