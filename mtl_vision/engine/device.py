"""Where a run computes, and how precisely."""

import os
import re
from pathlib import Path

import torch
from torch import nn

CPU_FLAGS = Path("/proc/cpuinfo")


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


def pick_precision(name: str, device: torch.device, backbone: nn.Module) -> torch.dtype:
    """fp32, bf16, fp16, or auto: bf16 on CUDA, and on a CPU where that is faster for this backbone; else fp32."""
    if name == "auto":
        faster = device.type == "cuda" or (computes_bfloat16(CPU_FLAGS) and not is_grouped(backbone))
        name = "bf16" if faster else "fp32"
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def computes_bfloat16(flags: Path) -> bool:
    """Whether the processor has instructions for bfloat16, by the file that lists them; false where there is none."""
    try:
        return re.search(r"\b(avx512_bf16|amx_bf16)\b", flags.read_text(encoding="utf-8")) is not None
    except OSError:
        return False


def is_grouped(backbone: nn.Module) -> bool:
    """Whether convolutions are grouped, as depthwise ones are: with those a CPU is slower in bfloat16."""
    return any(module.groups > 1 for module in backbone.modules() if isinstance(module, nn.Conv2d))
