"""Where a run computes, and how precisely."""

import os
import re

import torch


def pick_device(name: str) -> torch.device:
    """auto, cpu, cuda or cuda:N; under torchrun, the process' own GPU. Raises ValueError for a GPU that is missing."""
    if not re.fullmatch("auto|cpu|cuda(:[0-9]{1,4})?", name):
        raise ValueError(f"device is {name!r:.40}: expected auto, cpu, cuda or cuda:N; no other kind is supported")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        if not torch.cuda.is_available():
            raise ValueError(f"device is {name}, torch sees no GPU: give cpu, or install a CUDA build of torch")
        if name == "cuda":
            name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        if torch.device(name).index >= (count := torch.cuda.device_count()):
            raise ValueError(f"device is {name}, torch sees {count} GPU(s): expected cuda:0 to cuda:{count - 1}")
        torch.cuda.set_device(name)
        torch.backends.cudnn.benchmark = True
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """fp32, bf16, fp16, or auto: bf16 on CUDA, fp32 on CPU."""
    if name == "auto":
        name = "bf16" if device.type == "cuda" else "fp32"
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
