"""The optimiser's groups: what is decayed, and the backbone's own rate."""

from __future__ import annotations

import pytest

from mtl_vision.engine.optimizer import make_optimizer, make_schedule
from mtl_vision.models import Fusion, Network
from mtl_vision.models.parts import parts_of
from mtl_vision.tasks import Depth


@pytest.fixture(scope="module")
def network() -> Network:
    return Network({"depth": Depth()}, "mobilenetv4_conv_small", Fusion(16), size=(64, 64))


def test_every_parameter_is_in_one_group(network: Network) -> None:
    """Weights of two or more dimensions are decayed; the backbone has its share of the rate."""
    optimizer = make_optimizer(network, lr=0.01, weight_decay=0.1, backbone_lr=0.2)
    found = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    parameters = dict(network.named_parameters())
    assert len(found) == len(parameters) == sum(len(group["params"]) for group in optimizer.param_groups)
    for name, p in parameters.items():
        rate = 0.002 if name.startswith("backbone.") else 0.01
        assert found[id(p)] == (pytest.approx(rate), 0.1 if p.ndim > 1 else 0.0), name


def test_the_schedule_keeps_the_share(network: Network) -> None:
    optimizer = make_optimizer(network, lr=0.01, weight_decay=0.1, backbone_lr=0.2)
    schedule = make_schedule(optimizer, 10, 0.2)
    for _ in range(5):
        optimizer.step()
        schedule.step()
        rates = sorted(set(schedule.get_last_lr()))
        assert rates[0] == pytest.approx(0.2 * rates[-1])


def rates(net: Network, **settings: float) -> dict[str, float]:
    """The rate of each parameter, by its name."""
    optimizer = make_optimizer(net, 0.01, 0.1, **settings, parts=parts_of(net.backbone, (64, 64)))
    found = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return {name: found[id(p)] for name, p in net.named_parameters() if id(p) in found}


def test_rates_fall_towards_the_input() -> None:
    """By hand: the last of five parts has the backbone's rate, each one before it half of the next one's."""
    net = Network({"depth": Depth()}, "resnet10t", Fusion(16), size=(64, 64))
    expected = {"conv1": 1 / 16, "bn1": 1 / 16, "layer1": 1 / 8, "layer2": 1 / 4, "layer3": 1 / 2, "layer4": 1}
    for name, rate in rates(net, backbone_lr=0.2, layer_decay=0.5).items():
        part = name.split(".")[2] if name.startswith("backbone.") else ""
        assert rate == pytest.approx(0.002 * expected[part] if part else 0.01), name
    net.freeze(2, (64, 64))
    left = rates(net, layer_decay=0.5)
    assert not any(name.startswith(("backbone.net.conv1", "backbone.net.layer1")) for name in left)
    assert left["backbone.net.layer2.0.conv1.weight"] == pytest.approx(0.01 / 4)  # as if nothing was frozen


def test_rates_of_a_transformer() -> None:
    """By hand: patch embedding, twelve blocks."""
    net = Network({"depth": Depth()}, "vit_tiny_patch16_224", Fusion(16), size=(64, 64))
    found = rates(net, layer_decay=0.8)
    assert found["backbone.net.model.pos_embed"] == pytest.approx(0.01 * 0.8**12)
    for k in range(12):
        assert found[f"backbone.net.model.blocks.{k}.mlp.fc1.weight"] == pytest.approx(0.01 * 0.8 ** (11 - k))


def test_all_rates_are_the_same_without_decay(network: Network) -> None:
    plain = make_optimizer(network, 0.01, 0.1).param_groups
    decayed = make_optimizer(network, 0.01, 0.1, 1.0, 1.0, parts_of(network.backbone, (64, 64))).param_groups
    assert [[id(p) for p in group["params"]] for group in plain] == [[id(p) for p in g["params"]] for g in decayed]
    assert {group["lr"] for group in plain} == {0.01}
