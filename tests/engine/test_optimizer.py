"""The optimiser's groups: what is decayed, and the backbone's own rate."""

from __future__ import annotations

import pytest

from mtl_vision.engine.optimizer import make_optimizer, make_schedule
from mtl_vision.models import Fusion, Network
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
