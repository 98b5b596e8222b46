"""Batch norm over processes is torch's over the whole batch: outputs, gradients, running statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from processes import InProcesses
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from mtl_vision.engine import distributed
from mtl_vision.engine.sync_norm import synchronise

NORMS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "2d": (lambda: nn.BatchNorm2d(6), (5, 6, 4, 3)),
    "2d, cumulative": (lambda: nn.BatchNorm2d(6, momentum=None), (5, 6, 4, 3)),
    "2d, plain": (lambda: nn.BatchNorm2d(6, affine=False, track_running_stats=False), (5, 6, 4, 3)),
    "with an activation": (lambda: BatchNormAct2d(6), (5, 6, 4, 3)),
    "1d": (lambda: nn.BatchNorm1d(6), (5, 6)),
    "1d, maps": (lambda: nn.BatchNorm1d(6), (5, 6, 7)),
    "3d": (lambda: nn.BatchNorm3d(6), (5, 6, 2, 3, 2)),
}
FIRST = 4  # samples of the first process; the second one has one, where 1d has a single value a channel
CLOSE = {torch.float64: (1e-12, 1e-12), torch.float32: (1e-4, 1e-5), torch.bfloat16: (2e-2, 2e-2)}


def used(name: str, dtype: torch.dtype) -> list[Tensor | None]:
    """Output and gradient of this process' samples, the parameters' gradients and the buffers, after two steps."""
    make, shape = NORMS[name]
    g = torch.Generator().manual_seed(0)
    norm: nn.Module = make().to(torch.promote_types(dtype, torch.float32))
    for p in norm.parameters():
        nn.init.uniform_(p, 0.5, 1.5, generator=g)
    data, weight = ((torch.randn(2, *shape, generator=g, dtype=torch.float64) * 3 + 5).to(dtype) for _ in range(2))
    if distributed.world() == 1:  # of float32: torch's own has no better statistics than its input
        data, weight = (values.to(torch.promote_types(dtype, torch.float32)) for values in (data, weight))
    mine = {1: slice(None), 2: (slice(0, FIRST), slice(FIRST, None))[distributed.rank()]}[distributed.world()]
    if distributed.world() > 1:
        norm = synchronise(nn.Sequential(norm), torch.device("cpu"))  # type: ignore[arg-type]
    for x, v in zip(data, weight, strict=True):
        x = x[mine].clone().contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.contiguous_format)
        x.requires_grad_()
        y = norm(x)
        y.backward(v[mine])
    gradients = [distributed.total(p.grad) for p in norm.parameters() if p.grad is not None]
    return [y.detach(), x.grad, *gradients, *norm.buffers()]


def used_all() -> dict[tuple[str, torch.dtype], list[Tensor | None]]:
    return {(name, dtype): used(name, dtype) for name in NORMS for dtype in CLOSE}


@pytest.mark.slow
@pytest.mark.parametrize("one_machine", [True, False])
def test_two_processes_normalise_as_one(in_processes: InProcesses, tmp_path: Path, one_machine: bool) -> None:
    first, second = in_processes(used_all, 2, tmp_path, one_machine=one_machine)
    for (name, dtype), expected in used_all().items():
        one, other = first[name, dtype], second[name, dtype]
        found = [*(torch.cat(pair) for pair in zip(one[:2], other[:2], strict=True)), *one[2:]]
        assert all(map(torch.equal, one[2:], other[2:])), name  # all processes have the same
        assert found[0].dtype == found[1].dtype == dtype
        rtol, atol = CLOSE[dtype]
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a.to(b), b, rtol=rtol, atol=atol, msg=lambda s, n=name, d=dtype: f"{n} {d}: {s}")


def test_the_modules_stay_what_they_are() -> None:
    """Parameters, buffers, state_dict, evaluation; and `eval` is as before."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 1), BatchNormAct2d(6), nn.BatchNorm2d(6))
    net(torch.randn(4, 3, 5, 5))
    before, parameters = {k: v.clone() for k, v in net.state_dict().items()}, list(net.parameters())
    x = torch.randn(2, 3, 5, 5)
    expected = net.eval()(x)
    synchronise(net, torch.device("cpu"))  # type: ignore[arg-type]
    assert all(a is b for a, b in zip(net.parameters(), parameters, strict=True))
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert torch.equal(net(x), expected)
    assert isinstance(net[1], BatchNormAct2d) and isinstance(net[2], nn.BatchNorm2d)


def test_an_unknown_norm_is_told() -> None:
    class Own(nn.BatchNorm2d):
        pass

    with pytest.raises(ValueError, match=r"^1 is a Own, .* set train.sync_norm to false"):
        synchronise(nn.Sequential(nn.ReLU(), Own(3)), torch.device("cpu"))  # type: ignore[arg-type]


def test_one_value_in_all_is_an_error() -> None:
    """As with torch's own: its variance is none."""
    norm = synchronise(nn.Sequential(nn.BatchNorm2d(3)), torch.device("cpu"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^one value a channel in all processes, of \(1, 3, 1, 1\)"):
        norm(torch.zeros(1, 3, 1, 1))
