"""The precision of a run: what `auto` is, by device, processor and backbone."""

from pathlib import Path

import pytest
import torch

from mtl_vision.engine import device
from mtl_vision.engine.device import computes_bfloat16, is_grouped, pick_precision
from mtl_vision.models import TimmBackbone

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
DENSE, DEPTHWISE = TimmBackbone("resnet10t"), TimmBackbone("mobilenetv4_conv_small")


@pytest.mark.parametrize("text, computes", [
    ("flags\t\t: fpu avx512f avx512_bf16 avx512_vnni\n", True),
    ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
    ("flags\t\t: fpu avx512f avx512_vnni\n", False),
    ("Features\t: fp asimd bf16\n", False),  # not measured
    (None, False),
])  # fmt: skip
def test_auto_on_a_cpu(text: str | None, computes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 where the processor has it, but for depthwise convolutions."""
    flags = tmp_path / "cpuinfo"
    if text is not None:
        flags.write_text(text, encoding="utf-8")
    assert computes_bfloat16(flags) is computes
    monkeypatch.setattr(device, "CPU_FLAGS", flags)
    assert pick_precision("auto", CPU, DENSE) == (torch.bfloat16 if computes else torch.float32)
    assert pick_precision("auto", CPU, DEPTHWISE) == torch.float32
    assert pick_precision("auto", CUDA, DEPTHWISE) == torch.bfloat16


def test_a_precision_that_is_asked_for() -> None:
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    for name, dtype in kinds.items():
        assert pick_precision(name, CPU, DENSE) == pick_precision(name, CUDA, DEPTHWISE) == dtype


def test_grouped_convolutions() -> None:
    assert is_grouped(DEPTHWISE) and is_grouped(TimmBackbone("regnetx_002")) and not is_grouped(DENSE)
