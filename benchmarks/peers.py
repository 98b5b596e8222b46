"""Training steps with other projects' packages, each driven as its own trainer or documentation does.

Installed by the extra `peers`. Each function takes a setup with a network of its own and imports its package itself,
so that a missing one is a ModuleNotFoundError of that step alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common import Step
from benchmarks.setup import Setup, loop

ALPHA = 1.5


class Part(nn.Module):
    """Some modules of a network, and the function that runs them."""

    def __init__(self, modules: Sequence[nn.Module], run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)


def libmtl_classes(method: str) -> tuple[type, type]:
    """LibMTL's hard parameter sharing, and one of its weighting methods.

    Two things have changed since its release 1.1.5: torchvision has dropped a module that it imports for pretrained
    weights, and torch's zero_grad leaves None where it expects zeros. Both are put back for it alone.
    """
    gone = ModuleType("torchvision.models.utils")
    gone.load_state_dict_from_url = torch.hub.load_state_dict_from_url  # type: ignore[attr-defined]
    sys.modules.setdefault(gone.__name__, gone)
    from LibMTL import weighting  # type: ignore[import-not-found]
    from LibMTL.architecture import HPS  # type: ignore[import-not-found]

    class Sharing(HPS):
        def zero_grad_share_params(self) -> None:
            self.encoder.zero_grad(set_to_none=False)

    return Sharing, getattr(weighting, method)


def libmtl_model(encoder: nn.Module, decoders: nn.ModuleDict, rep_grad: bool, device: torch.device) -> Any:
    """LibMTL's hard parameter sharing and GradNorm in one class, as its trainer composes them."""

    class Model(*libmtl_classes("GradNorm")):
        pass

    model = Model(list(decoders), lambda: encoder, decoders, rep_grad, False, device)
    model.init_param()
    return model


def libmtl(setup: Setup, rep_grad: bool = False) -> Step:
    """LibMTL's GradNorm. Its first epoch trains with equal weights and gives L_i(0): here, the first step."""
    # it views gradients as vectors, which channels-last weights do not allow; the activations still are channels last
    network = setup.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    H, W = setup.batch.image.shape[-2:]
    decoders = nn.ModuleDict(
        {
            name: Part([head], lambda z, name=name: network.decode(z, (H, W), [name])[name])
            for name, head in network.heads.items()
        }
    )
    encoder = Part([network.backbone, network.decoder], network.encode)
    model = libmtl_model(encoder, decoders, rep_grad, setup.device)
    model.epoch = 0

    def backward(losses: list[Tensor]) -> None:
        model.backward(torch.stack(losses), alpha=ALPHA)
        if model.epoch == 0:
            model.epoch, model.train_loss_buffer = 1, np.array([[loss.item()] for loss in losses])

    return loop(setup, backward, model)


def gradnorm_pytorch(setup: Setup) -> Step:
    """gradnorm-pytorch's loss weighter over the last shared layer's weight."""
    from gradnorm_pytorch import GradNormLossWeighter  # type: ignore[import-not-found]

    W = setup.model.last_shared.weight
    assert isinstance(W, nn.Parameter)
    weighter = GradNormLossWeighter(
        num_losses=len(setup.tasks), restoring_force_alpha=ALPHA, grad_norm_parameters=W
    ).to(setup.device)
    return loop(setup, weighter.backward)


def torchjd(setup: Setup, chunk: int | None = None) -> Step:
    """TorchJD's UPGrad: the Jacobian of all losses to all shared parameters, `chunk` rows of it at a time (all)."""
    from torchjd.aggregation import UPGrad
    from torchjd.autojac import jac_to_grad, mtl_backward

    network, aggregator = setup.model, UPGrad()
    shared = [*network.backbone.parameters(), *network.decoder.parameters()]
    z: list[Tensor] = []

    def keep(layer: nn.Module, inputs: object, output: Tensor) -> None:
        z.append(output)

    network.last_shared.register_forward_hook(keep)

    def backward(losses: list[Tensor]) -> None:
        mtl_backward(losses, features=z.pop(), parallel_chunk_size=chunk)
        jac_to_grad(shared, aggregator)

    return loop(setup, backward)


PEERS: dict[str, Callable[[Setup], Step]] = {
    "peer.libmtl": libmtl,
    "peer.libmtl_rep": partial(libmtl, rep_grad=True),
    "peer.gradnorm_pytorch": gradnorm_pytorch,
    "peer.torchjd": torchjd,
    "peer.torchjd_sequential": partial(torchjd, chunk=1),
}
