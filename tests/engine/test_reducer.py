"""Gradients are averaged in buckets, in one order, without a copy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from mtl_vision.engine.reducer import Reducer, _is_dense


class Sent:
    """What is sent, in place of a second process whose gradients are all 2 more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        monkeypatch.setattr(dist, "all_reduce", self)
        monkeypatch.setattr(dist, "get_world_size", lambda: 2)

    def __call__(self, tensor: torch.Tensor, async_op: bool) -> Any:
        assert async_op
        self.sizes.append(tensor.numel())
        tensor.mul_(2).add_(2)
        return self

    def wait(self) -> None: ...


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    return Sent(monkeypatch)


def layers() -> nn.ModuleList:
    torch.manual_seed(0)
    return nn.ModuleList(nn.Linear(n, n + 1, bias=False) for n in (2, 3, 4, 5)).double()


def reducer(net: nn.ModuleList, limit: int = 100) -> Reducer:
    return Reducer(net[2:].parameters(), net[:2].parameters(), limit)


def test_buckets_are_sent_in_order_during_the_backward_pass(sent: Sent) -> None:
    """The first one has the heads; 8 bytes a number: a bucket is full from 100 bytes on."""
    net = layers()
    r = reducer(net, 40)
    x, seen = torch.randn(1, 2).double().requires_grad_(), []
    x.register_hook(lambda _: seen.extend(sent.sizes))
    r.zero_grad()
    for micro in range(2):
        if micro == 1:
            r.last()
        y = x
        for layer in net:
            y = layer(y)
        y.sum().backward()
        assert sent.sizes == ([] if micro == 0 else [20 + 30 + 2, 12 + 1, 6 + 1])
    assert seen == [52, 13]  # before the whole backward pass was over
    own = [p.grad.clone() for p in net.parameters()]  # type: ignore[union-attr]
    r.finish()
    assert sent.sizes == [52, 13, 7]
    plain = layers()
    for _ in range(2):
        y = x.detach()
        for layer in plain:
            y = layer(y)
        y.sum().backward()
    for p, q, half in zip(net.parameters(), plain.parameters(), own, strict=True):
        torch.testing.assert_close(p.grad, q.grad + 1)  # (g + (g + 2)) / 2
        assert p.grad is not None and torch.equal(p.grad, half / 2)


def test_a_gradient_that_is_missing_counts_as_zero(sent: Sent) -> None:
    net = layers()
    r = reducer(net)
    r.zero_grad()
    r.last()
    net[1](net[0](torch.ones(1, 2).double())).sum().backward()
    assert sent.sizes == []  # the first bucket waits for its gradients, and the others for it
    r.finish()
    assert net[3].weight.grad.eq(1).all()
    r.zero_grad()
    assert all(p.grad is not None and not p.grad.any() for p in net.parameters())


def test_a_gradient_that_all_lack_is_none(sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with one process: the optimiser leaves the parameter alone. It may come in another step."""
    monkeypatch.setattr(Sent, "__call__", lambda self, tensor, async_op: (tensor.mul_(2), self)[1])  # the other's equal
    net = layers()
    r = reducer(net)
    for used in (3, 4, 3):
        r.zero_grad()
        for last in (False, True):
            if last:
                r.last()
            y = torch.ones(1, 2).double()
            for layer in net[: used if not last else 2]:  # the first micro-batch alone has them all
                y = layer(y)
            y.sum().backward()
        r.finish()
        assert [p.grad is not None for p in net.parameters()] == [True] * used + [False] * (4 - used)


def test_a_second_gradient_after_the_sending_is_an_error(sent: Sent) -> None:
    net = layers()
    r = reducer(net)
    r.zero_grad()
    r.last()
    y = torch.ones(1, 2).double()
    for layer in net:
        y = layer(y)
    y.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="got a gradient after it was averaged"):
        y.sum().backward()
    r.zero_grad()  # as after an error
    y = torch.ones(1, 2).double()
    net[0](y).sum().backward()


def test_gradients_have_the_parameters_strides_and_types(sent: Sent) -> None:
    conv = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    other, frozen = nn.Linear(2, 2).double(), nn.Linear(2, 2).requires_grad_(False)
    r = Reducer([*conv.parameters(), *other.parameters()], frozen.parameters())
    assert [bucket.flat.dtype for bucket in r.buckets] == [torch.float32, torch.float64]
    r.zero_grad()
    view = conv.weight.grad
    assert view is not None and view.stride() == conv.weight.stride()
    conv(torch.randn(1, 3, 5, 5).contiguous(memory_format=torch.channels_last)).sum().backward()
    assert conv.weight.grad is view and view.any() and frozen.weight.grad is None
    torch.testing.assert_close(r.buckets[0].flat[:-2].sum(), view.sum() + conv.bias.grad.sum())  # type: ignore[union-attr]


def test_dense_tensors() -> None:
    x = torch.zeros(4, 1, 3, 2)
    assert all(
        map(_is_dense, (x, x.contiguous(memory_format=torch.channels_last), x.permute(3, 0, 1, 2), x[0, 0, 0, 0]))
    )
    assert not any(map(_is_dense, (x[:, :, ::2], x[..., :1], torch.zeros(3, 1).expand(3, 2))))
