"""Where a run computes, and how precisely."""

import os

import torch


def pick_device(name: str) -> torch.device:
    """auto, cpu, cuda or cuda:N; under torchrun, the process' own GPU. Raises ValueError where torch sees no GPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        if not torch.cuda.is_available():
            raise ValueError(f"device is {name}, torch sees no GPU: give cpu, or install a CUDA build of torch")
        if name == "cuda":
            name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(name)
        torch.backends.cudnn.benchmark = True
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """fp32, bf16, or auto: bf16 on CUDA, fp32 on CPU."""
    if name == "auto":
        name = "bf16" if device.type == "cuda" else "fp32"
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[name]
