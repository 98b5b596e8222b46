"""Where a run computes, and how precisely."""

from __future__ import annotations

import os

import torch


def pick_device(name: str) -> torch.device:
    """auto, cpu, cuda or cuda:N; under torchrun, the process' own GPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        if not torch.cuda.is_available():
            raise ValueError(
                "run.device asks for cuda, torch sees no GPU: use --run.device cpu or install a CUDA torch"
            )
        if name == "cuda":
            name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(name)
        torch.backends.cudnn.benchmark = True
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """auto: bfloat16 on CUDA, float32 on CPU."""
    names = {
        "auto": torch.bfloat16 if device.type == "cuda" else torch.float32,
        "fp32": torch.float32,
        "bf16": torch.bfloat16,
    }
    if name not in names:
        raise ValueError(f"run.precision is '{name}': expected {', '.join(names)}")
    return names[name]
