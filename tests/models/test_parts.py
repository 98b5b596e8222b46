"""A backbone in parts: by hand for a ResNet, a transformer and backbones of one's own; for families of timm's."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_vision.engine.optimizer import make_optimizer
from mtl_vision.models import Backbone, Fusion, Network, TimmBackbone
from mtl_vision.models.parts import last_weight, parts_of
from mtl_vision.tasks import Depth

SIZE = (64, 96)
FAMILIES = [
    "convnext_atto", "densenet121", "dpn68", "edgenext_xx_small", "fastvit_t8", "hgnetv2_b0", "hrnet_w18_small",
    "levit_128s", "mobilenetv3_small_050", "mobilenetv4_conv_small", "pit_ti_224", "poolformer_s12", "regnetx_002",
    "resnetv2_18", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224",
]  # fmt: skip


def names(backbone: Backbone) -> list[list[str]]:
    """The parameters' names, part by part."""
    named = {id(p): name for name, p in backbone.named_parameters()}
    return [sorted(named[id(p)] for p in part.parameters) for part in parts_of(backbone, SIZE)]


def begins(backbone: Backbone) -> list[list[str]]:
    """What the parameters' names begin with, part by part."""
    return [sorted({name.removeprefix("net.").split(".")[0] for name in part}) for part in names(backbone)]


def test_resnet() -> None:
    """Stem, then the four stages."""
    backbone = TimmBackbone("resnet10t")
    assert begins(backbone) == [["bn1", "conv1"], ["layer1"], ["layer2"], ["layer3"], ["layer4"]]
    first = parts_of(backbone, SIZE)[0]
    assert {"net.conv1", "net.bn1"} <= set(first.modules)


def test_vit() -> None:
    """Patch embedding with position table and class token, then twelve blocks."""
    found = names(TimmBackbone("vit_tiny_patch16_224", size=SIZE))
    assert [name for name in found[0] if "patch_embed" not in name] == ["net.model.cls_token", "net.model.pos_embed"]
    assert len(found) == 13
    for k, part in enumerate(found[1:]):
        assert part and all(name.startswith(f"net.model.blocks.{k}.") for name in part)


class Plain(nn.Module):
    """3x3 convolutions that are used in another order than they are made, and do not call their containers."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(2, 2)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8, affine=k > 0) for k in range(2))
        self.stages = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(inplace=True)) for _ in range(3))
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.scale = nn.Parameter(torch.ones(1, 8, 1, 1))
        self.shared = self.stages[1][0]

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.norms[0](self.stem(x))
        one = self.norms[1](self.stages[0](x))
        two = self.stages[1](one) * self.scale
        return [one, two, self.stages[2](two)]


class Own(Backbone):
    """A module that wraps another."""

    channels, strides = (8, 8, 8), (4, 8, 16)

    def __init__(self) -> None:
        super().__init__()
        self.inner = Plain()

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.inner(image)


def test_a_backbone_of_ones_own() -> None:
    """In the order of use; a norm without parameters is in a part by its module."""
    backbone = Own()
    first, second = parts_of(backbone, SIZE)[:2]
    assert names(backbone) == [
        ["inner.stem.0.bias", "inner.stem.0.weight"],
        ["inner.norms.1.bias", "inner.norms.1.weight", "inner.stages.0.0.bias", "inner.stages.0.0.weight"],
        ["inner.scale", "inner.stages.1.0.bias", "inner.stages.1.0.weight"],
        ["inner.stages.2.0.bias", "inner.stages.2.0.weight", "inner.unused.bias", "inner.unused.weight"],
    ]
    assert first.modules == ["inner.stem", "inner.norms.0"] and second.modules == ["inner.stages.0", "inner.norms.1"]


def test_a_part_that_it_runs_without_gradients() -> None:
    class Still(Own):
        def forward(self, image: Tensor) -> list[Tensor]:
            with torch.no_grad():
                return super().forward(image)

    assert len(parts_of(Still(), SIZE)) >= 1

    class Inference(Own):
        def forward(self, image: Tensor) -> list[Tensor]:
            with torch.inference_mode():
                return super().forward(image)

    with pytest.raises(ValueError, match="Inference runs its layers in inference mode"):
        parts_of(Inference(), SIZE)


def test_what_it_finds_out_leaves_the_backbone_as_it_is() -> None:
    backbone = Own()
    backbone.inner.stem[0].weight.requires_grad_(False)
    backbone.inner.norms[1].eval()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    rng = torch.get_rng_state()
    parts_of(backbone, SIZE)
    assert torch.equal(rng, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert [name for name, p in backbone.named_parameters() if not p.requires_grad] == ["inner.stem.0.weight"]
    assert backbone.training and not backbone.inner.norms[1].training and backbone.inner.norms[0].training
    assert not any(module._forward_pre_hooks for module in backbone.modules())


@pytest.mark.parametrize("backbone, name", [
    ("resnet50", "net.layer4.2.conv3.weight"),
    ("fastvit_t8", "net.stages_3.blocks.1.mlp.fc2.weight"),  # a scale (C, 1, 1) comes after it
    ("vit_tiny_patch16_224", "net.model.blocks.11.mlp.fc2.weight"),
    ("own", "inner.stages.2.0.weight"),
])  # fmt: skip
def test_the_last_weight(backbone: str, name: str) -> None:
    """Of the layers that are used, and none of the norms and scales."""
    made = Own() if backbone == "own" else TimmBackbone(backbone, size=SIZE)
    assert last_weight(made, SIZE) is made.get_parameter(name)


def test_a_backbone_without_a_layer() -> None:
    class Scaled(Backbone):
        channels, strides = (3,), (1,)

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3, 1, 1))

        def forward(self, image: Tensor) -> list[Tensor]:
            return [image * self.scale]

    with pytest.raises(ValueError, match="Scaled uses no weight that is a matrix: expected place 'last_shared'"):
        last_weight(Scaled(), SIZE)


def falls(backbone: Backbone, rank: dict[int, int]) -> list[str]:
    """Parameters that come, on some way through the network, after those of a later part."""
    named = {id(p): name for name, p in backbone.named_parameters()}
    highest: dict[Any, int] = {}
    found = []
    stack: list[tuple[Any, bool]] = [
        (level.grad_fn, False) for level in backbone.eval()(torch.zeros(1, 3, *(backbone.fixed_size or SIZE)))
    ]
    while stack:
        node, is_last = stack.pop()
        if node in highest:
            continue
        sources = [source for source, _ in node.next_functions if source is not None]
        before = [source for source in sources if not hasattr(source, "variable")]
        if not is_last:
            stack += [(node, True), *((source, False) for source in before)]
            continue
        own = {named[id(s.variable)]: rank[id(s.variable)] for s in sources if hasattr(s, "variable")}
        upstream = max((highest[source] for source in before), default=0)
        found += [name for name, part in own.items() if part < upstream]
        highest[node] = max([upstream, *own.values()])
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_parts_of_timms_families(name: str) -> None:
    """Every parameter is in one part, and no way from the input to a level goes back to an earlier one."""
    backbone = TimmBackbone(name, size=(224, 224) if name == "levit_128s" else SIZE)
    parts = parts_of(backbone, backbone.fixed_size or SIZE)
    rank = {id(p): k for k, part in enumerate(parts) for p in part.parameters}
    assert len(rank) == sum(len(part.parameters) for part in parts) == len(list(backbone.parameters()))
    assert len(parts) > 1 and all(any(p.ndim > 1 for p in part.parameters) for part in parts)
    assert falls(backbone, rank) == []


def network(backbone: Backbone | str, freeze: int) -> Network:
    torch.manual_seed(0)
    net = Network({"depth": Depth()}, backbone, Fusion(16), size=SIZE)
    net.freeze(freeze, SIZE)
    return net


def two_steps(net: Network) -> None:
    """Of AdamW, which decays; in the first, some layers have no gradient: ResNets begin with zeros."""
    optimizer = make_optimizer(net, 0.01, 0.1)
    net.train()
    for _ in range(2):
        net(torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8))["depth"].mean().backward()
        optimizer.step()


@pytest.mark.parametrize("backbone", ["resnet10t", "vit_tiny_patch16_224", "own"])
@pytest.mark.parametrize("count", [1, 2, "all"])
def test_frozen_parts_stay_as_they_are(backbone: str, count: int | str) -> None:
    """Weights and running statistics; the others change."""
    made = Own() if backbone == "own" else TimmBackbone(backbone, size=SIZE)
    named = {id(p): name for name, p in made.named_parameters()}
    parts = parts_of(made, SIZE)
    count = len(parts) if count == "all" else int(count)
    frozen = {f"backbone.{named[id(p)]}" for part in parts[:count] for p in part.parameters}
    modules = tuple(f"backbone.{name}." for part in parts[:count] for name in part.modules)
    net = network(made, count)
    assert net.training
    before = {name: value.clone() for name, value in net.state_dict().items()}
    two_steps(net)
    for name, value in net.state_dict().items():
        if name in frozen or name.startswith(modules):
            assert torch.equal(value, before[name]), name
        elif "unused" not in name and value.is_floating_point():
            assert not torch.equal(value, before[name]), name
    assert {name for name, p in net.named_parameters() if not p.requires_grad} == frozen
    assert all(p.grad is None for p in net.parameters() if not p.requires_grad)
    assert not any(module.training for name, module in net.named_modules() if f"{name}.".startswith(modules))


def test_nothing_is_computed_backward_below_frozen_parts() -> None:
    """What comes out of them has no graph; the first trained layer is the last that is run backward."""
    net, grown = network("resnet10t", 2), []
    net.train()
    hook = net.backbone.get_submodule("net.layer1").register_forward_hook(lambda m, i, out: grown.append(out.grad_fn))
    net(torch.zeros(2, 3, *SIZE))["depth"].mean().backward()
    hook.remove()
    assert grown == [None]
    assert next(net.backbone.get_submodule("net.layer2").parameters()).grad is not None


def test_a_frozen_encoder_is_no_place_for_w() -> None:
    assert network("resnet10t", 4).shared_weight("encoder").requires_grad
    with pytest.raises(ValueError, match="the encoder's last layer is frozen: expected place 'last_shared'"):
        network("resnet10t", 5).shared_weight("encoder")


def test_freezing_lasts() -> None:
    """In every call of train, in a copy, and beside another evaluation mode."""
    net = deepcopy(network("resnet10t", 1))
    norm, other = (net.backbone.get_submodule(f"net.{name}") for name in ("bn1", "layer1"))
    for _ in range(2):
        net.eval()
        assert not norm.training and not other.training
        net.train()
        assert not norm.training and other.training


@pytest.mark.parametrize("backbone, count, said", [
    ("resnet10t", 6, "freeze is 6: expected 0 to 5, the parts of this backbone (net.conv1 to net.layer4)"),
    ("own", 5, "freeze is 5: expected 0 to 4, the parts of this backbone (inner.stem to inner.stages.2)"),
])  # fmt: skip
def test_more_parts_than_there_are(backbone: str, count: int, said: str) -> None:
    with pytest.raises(ValueError) as error:
        network(Own() if backbone == "own" else backbone, count)
    assert str(error.value) == said
