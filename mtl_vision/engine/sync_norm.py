"""Batch norm over the samples of all processes, as if they were one batch.

On GPUs this is torch's own, which takes nothing else; by way of timm, whose norms may have an activation. On the CPU
the same is made of the kernels of torch's batch norm, with one small message a layer in each direction.
"""

from typing import Any, cast

import numpy as np
import torch
from timm.layers.norm_act import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from mtl_vision.engine import distributed
from mtl_vision.models import Network


def synchronise(model: Network, device: torch.device) -> Network:
    """The model with each batch norm over all processes while it trains; parameters and state_dict stay.

    Raises ValueError for a batch norm of a kind that is not known on the CPU.
    """
    if device.type == "cuda":
        return cast(Network, convert_sync_batchnorm(model))
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            if type(module) not in KINDS:
                raise ValueError(
                    f"{name} is a {type(module).__name__}, which is not known over several processes on the CPU: "
                    "set train.sync_norm to false, and each process normalises its own samples"
                )
            cast(Any, module).__class__ = KINDS[type(module)]
    return model


class _Normalise(Function):
    """y = w (x - mean) / sqrt(var + eps) + b of x (B, C, ...), with mean and var (C,) over all processes' batches.

    dx = w / sqrt(var + eps) (dy - mean(dy) - xhat mean(dy xhat)), the means again over all; xhat: x normalised. What is
    (C,) is computed by numpy: a step has thousands of such operations, and torch takes several times as long for one.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor | None, b: Tensor | None, eps: float) -> tuple[Tensor, ...]:
        """Returns y, and for the running statistics mean and var (unbiased)."""
        C, wide = x.shape[1], torch.promote_types(x.dtype, torch.float32)
        none = torch.zeros(C, dtype=wide)
        own = torch.batch_norm_update_stats(x, none, none.clone(), 0.0)  # mean, var
        all_own = distributed.gather(torch.cat([*own, torch.tensor([x.numel() / C], dtype=wide)])).numpy()
        means, variances, counts = all_own[:, :C], all_own[:, C:-1], all_own[:, -1:]
        count = counts.sum()
        if count < 2:
            raise ValueError(f"one value a channel in all processes, of {tuple(x.shape)}: batch norm needs more")
        mean = (counts * means).sum(0) / count
        # the variance within the processes' batches, and between them
        var = (counts * (variances + np.square(means - mean))).sum(0) / count
        scale = 1 / np.sqrt(var + eps)
        gain = scale if w is None else scale * w.detach().to(wide).numpy()
        shift = -mean * gain if b is None else b.detach().to(wide).numpy() - mean * gain
        ctx.save_for_backward(x, w)
        ctx.of_all = mean, scale, gain, count
        result = torch.from_numpy(mean), torch.from_numpy(var * (count / (count - 1)))
        ctx.mark_non_differentiable(*result)
        return _affine(x, torch.from_numpy(gain), torch.from_numpy(shift)), *result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        (x, w), (mean, scale, gain, count) = ctx.saved_tensors, ctx.of_all
        m, s = torch.from_numpy(mean), torch.from_numpy(scale)
        w = torch.ones_like(m) if w is None else w
        # with this process' means, and its sums of dy xhat and dy; then the means are corrected
        dx, dw, db = torch.ops.aten.native_batch_norm_backward(dy, x, w, m, m, m, s, True, 0.0, [True] * 3)
        own = torch.stack([dw, db])
        of_xhat, of_dy = own.numpy() * (x.shape[1] / x.numel()) - distributed.gather(own).numpy().sum(0) / count
        slope = gain * scale * of_xhat
        dx.add_(_affine(x, torch.from_numpy(slope), torch.from_numpy(gain * of_dy - slope * mean)))
        return dx, dw if ctx.needs_input_grad[1] else None, db if ctx.needs_input_grad[2] else None, None


def _affine(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """gain x + shift, each (C,), of x (B, C, ...), in x's type: one pass, computed in theirs."""
    none = torch.zeros_like(gain), torch.ones_like(gain)
    return torch.native_batch_norm(x, gain, shift, *none, False, 0.0, 0.0)[0]


class _Synchronised(_BatchNorm):
    """A batch norm that takes mean and variance over all processes while it trains, and is unchanged otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        self._check_input_dim(x)
        y, mean, var = _Normalise.apply(x, self.weight, self.bias, self.eps)  # type: ignore[misc]
        if self.track_running_stats:
            self._track(mean, var)
        return self.activated(y)

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.mul_(1 - share).add_(mean, alpha=share)
        self.running_var.mul_(1 - share).add_(var, alpha=share)

    def activated(self, y: Tensor) -> Tensor:
        """What comes after the normalisation."""
        return y


class _SynchronisedAct(_Synchronised, BatchNormAct2d):
    act: nn.Module
    drop: nn.Module

    def activated(self, y: Tensor) -> Tensor:
        return self.act(self.drop(y))


KINDS: dict[type[nn.Module], type[nn.Module]] = {
    BatchNormAct2d: _SynchronisedAct,
    **{kind: type(f"Synchronised{kind.__name__}", (_Synchronised, kind), {})
       for kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)},
}  # fmt: skip
