"""Other projects' GradNorm: that the benchmark drives it, and what it does to gradients and weights."""

from __future__ import annotations

import random
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.balancers import make_steps
from benchmarks.libmtl_trainer import dataset, epoch, write_maps
from benchmarks.peers import ALPHA, PEERS, libmtl_model
from benchmarks.setup import Setup, make_setup
from mtl_vision.datasets.sample import Sample

PACKAGES = {"libmtl": "LibMTL", "gradnorm_pytorch": "gradnorm_pytorch", "torchjd": "torchjd"}


def need(package: str) -> None:
    """Skip without it. Not importorskip: LibMTL imports only with what `libmtl_model` puts in place."""
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install 'mtl-vision[peers]'")


@pytest.fixture(scope="module")
def setup() -> Setup:
    return make_setup("mobilenetv4_conv_small", 2, (32, 32), torch.device("cpu"))


@pytest.mark.parametrize("name", PEERS)
def test_peer_trains_the_network(name: str, setup: Setup) -> None:
    need(next(package for key, package in PACKAGES.items() if name.startswith(f"peer.{key}")))
    twin = setup.twin()
    step = PEERS[name](twin)
    step()
    step()
    assert all(parameter.isfinite().all() for parameter in twin.model.parameters())
    for part in ("backbone", "decoder.last_shared", *(f"heads.{task}" for task in setup.tasks)):
        before, after = (next(model.get_submodule(part).parameters()) for model in (setup.model, twin.model))
        assert not torch.equal(before, after), part


def test_missing_peer_is_left_out_and_said(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradnorm_pytorch", None)
    assert list(make_steps(setup, ["plain", "peer.gradnorm_pytorch"])) == ["plain"]
    assert capsys.readouterr().out.startswith("peer.gradnorm_pytorch left out: ")


class Tiny(nn.Module):
    """trunk -> shared layer -> two heads, in float64."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.shared = nn.Linear(5, 4), nn.Linear(4, 4)
        self.heads = nn.ModuleList([nn.Linear(4, 1), nn.Linear(4, 1)])
        self.double()

    def losses(self) -> list[Tensor]:
        """Of quite different size."""
        x = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        z = torch.tanh(self.shared(torch.tanh(self.trunk(x))))
        return [scale * (head(z) - 1).square().mean() for scale, head in zip((1, 20), self.heads, strict=True)]


def test_gradnorm_pytorch_leaks_into_the_model() -> None:
    """What is left in the gradients is that of sum_i w_i L_i + L_grad, not of sum_i w_i L_i alone."""
    need("gradnorm_pytorch")
    from gradnorm_pytorch import GradNormLossWeighter  # type: ignore[import-not-found]

    model = Tiny()
    parameters = list(model.parameters())
    losses = model.losses()
    wanted = torch.autograd.grad(torch.stack(losses).sum(), parameters, retain_graph=True)  # w_i = 1
    W = model.shared.weight
    G = torch.stack([torch.autograd.grad(loss, W, create_graph=True)[0].norm() for loss in losses])
    L_grad = (G - G.mean().detach()).abs().mean()  # all r_i are 1 in the first step; it takes the mean over tasks
    leaked = torch.autograd.grad(L_grad, parameters, allow_unused=True)
    weighter = GradNormLossWeighter(num_losses=2, restoring_force_alpha=ALPHA, grad_norm_parameters=W).double()
    weighter.backward(model.losses())
    for parameter, g, leak in zip(parameters, wanted, leaked, strict=True):
        torch.testing.assert_close(parameter.grad, g if leak is None else g + leak)
    for part in (model.trunk, model.shared, *model.heads):
        leak = leaked[next(i for i, parameter in enumerate(parameters) if parameter is part.weight)]
        assert leak is not None and leak.norm() > 1e-3


def test_gradnorm_pytorch_takes_the_rate_with_a_reversed_sign() -> None:
    """Of tasks with equal gradients the slower (r_1 > 1) should gain weight; but the target is mean(G) r^-alpha."""
    need("gradnorm_pytorch")
    from gradnorm_pytorch import GradNormLossWeighter  # type: ignore[import-not-found]

    W = nn.Parameter(torch.ones(2))
    weighter = GradNormLossWeighter(
        num_losses=2, restoring_force_alpha=ALPHA, grad_norm_parameters=W, learning_rate=0.01
    )
    weighter.backward([W.sum(), W.sum()])  # L_i(0) = 2; all is equal, so the weights stay
    assert weighter.loss_weights.tolist() == [1, 1]
    weighter.backward([W.sum() + 2, W.sum()])  # L = (4, 2), r = (4/3, 2/3), G_i = sqrt 2
    r = torch.tensor([4 / 3, 2 / 3])

    def updated(sign: int) -> list[float]:
        G = torch.full((2,), 2**0.5)
        w = 1 - 0.01 * torch.sign(G - G.mean() * r ** (sign * ALPHA)) * G / 2
        return (2 * w / w.sum()).tolist()

    assert weighter.loss_weights.tolist() == pytest.approx(updated(-1))
    assert updated(-1)[0] < 1 < updated(1)[0]


@pytest.mark.parametrize("rep_grad", [False, True])
def test_libmtl_leaks_nothing_but_leaves_the_heads_unweighted(rep_grad: bool) -> None:
    """The shared parameters get sum_i w_i dL_i, each head the gradient of its own L_i, without w_i."""
    need("LibMTL")
    tiny = Tiny().float()
    encoder = nn.Sequential(tiny.trunk, nn.Tanh(), tiny.shared)
    heads = nn.ModuleDict({"a": tiny.heads[0], "b": tiny.heads[1]})
    x = torch.randn(6, 5)
    per_task = [scale * (heads[name](encoder(x)) - 1).square().mean() for name, scale in (("a", 1), ("b", 20))]
    gradients = [torch.autograd.grad(L, list(encoder.parameters()), retain_graph=True) for L in per_task]
    own = [torch.autograd.grad(L, list(head.parameters())) for L, head in zip(per_task, heads.values(), strict=True)]

    model: Any = libmtl_model(encoder, heads, rep_grad, torch.device("cpu"))
    model.epoch, model.train_loss_buffer = 1, torch.tensor([[1.0], [1.0]]).numpy()
    with torch.no_grad():
        model.loss_scale.copy_(torch.tensor([0.5, -0.5]))
    w = 2 * torch.softmax(model.loss_scale.detach(), 0)
    predictions = model(x)
    losses = torch.stack([scale * (predictions[name] - 1).square().mean() for name, scale in (("a", 1), ("b", 20))])
    model.backward(losses, alpha=ALPHA)

    assert w[0] > 1.4 and model.loss_scale.grad.abs().sum() > 0
    for parameter, g_a, g_b in zip(encoder.parameters(), *gradients, strict=True):
        torch.testing.assert_close(parameter.grad, w[0] * g_a + w[1] * g_b)
    for head, g in zip(heads.values(), own, strict=True):
        torch.testing.assert_close([parameter.grad for parameter in head.parameters()], list(g))


@pytest.fixture
def sample() -> Sample:
    rng = np.random.default_rng(0)
    targets = {
        "depth": rng.uniform(1, 5, (32, 32)).astype(np.float32),
        "normals": rng.normal(size=(32, 32, 3)).astype(np.float32),
        "segmentation": rng.integers(0, 13, (32, 32), np.uint8),
    }
    targets["segmentation"][0] = 255
    return Sample("a", rng.integers(0, 256, (32, 32, 3), np.uint8), targets)


@pytest.mark.parametrize("flipped", [False, True])
def test_samples_come_back_from_the_form_that_libmtl_reads(
    flipped: bool, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_maps([sample], tmp_path)
    monkeypatch.setattr(random, "choice", lambda zooms: zooms[0])
    monkeypatch.setattr(random, "random", lambda: 0.0 if flipped else 1.0)
    image, maps = dataset(tmp_path, None)[0]
    turn = (lambda m: m.flip(-1)) if flipped else (lambda m: m)
    mirrored = torch.tensor([1 - 2 * flipped, 1, 1]).view(-1, 1, 1)
    normals = torch.from_numpy(sample.targets["normals"]).movedim(-1, 0) * mirrored
    labels = torch.from_numpy(sample.targets["segmentation"]).float()
    torch.testing.assert_close(turn(image) * 255, torch.from_numpy(sample.image).movedim(-1, 0).float())
    torch.testing.assert_close(turn(maps["depth"])[0], torch.from_numpy(sample.targets["depth"]))
    torch.testing.assert_close(turn(maps["normal"]), normals)
    torch.testing.assert_close(turn(maps["segmentation"]), torch.where(labels == 255, -1, labels))


@pytest.mark.parametrize("method", ["EW", "GradNorm"])
@pytest.mark.parametrize("measured", [True, False])
def test_libmtl_trains_the_network(method: str, measured: bool, setup: Setup, sample: Sample, tmp_path: Path) -> None:
    need("LibMTL")
    write_maps([sample] * 4, tmp_path)
    twin = setup.twin()
    epoch(twin, dataset(tmp_path, None), 2, 0, method, measured)()
    for part in ("backbone", "decoder.last_shared", *(f"heads.{task}" for task in setup.tasks)):
        before, after = (next(model.get_submodule(part).parameters()) for model in (setup.model, twin.model))
        assert after.isfinite().all() and not torch.equal(before, after), part
