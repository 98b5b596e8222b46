"""Every balancer with every recipe: what a recipe sets for its own method must not be in another's way."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from mtl_vision.balancers import BALANCERS, aggregators, scalarizers
from mtl_vision.datasets.classes import class_set
from mtl_vision.engine import build
from mtl_vision.engine.parse import parse

RECIPES = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
NEEDS = {
    "fixed": ["--balancer.weights={depth: 1, normals: 2, segmentation: 0.5}"],
    "converged_gradients": ["--balancer.norms={depth: 1, normals: 2, segmentation: 0.5}"],
}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_balancer_with_every_recipe(recipe: Path) -> None:
    assert len(RECIPES) >= 4
    for name, make in BALANCERS.items():
        if make.__module__ in (scalarizers.__name__, aggregators.__name__) and find_spec("torchjd") is None:
            continue
        config = parse([f"--config={recipe}", f"--balancer.name={name}", *NEEDS.get(name, [])])
        tasks = build.make_tasks(config.tasks, class_set("nyu13"))
        balancer, unused = build.make_balancer(config.balancer, tasks)
        assert balancer.tasks == tuple(config.tasks.names)
        assert not unused, (name, unused)


def test_what_a_method_has_no_use_for_is_told() -> None:
    config = parse(["--balancer.name=equal", "--balancer.alpha=0.5"])
    _, unused = build.make_balancer(config.balancer, build.make_tasks(config.tasks, class_set("nyu13")))
    assert unused == ["alpha"]


def test_the_place_of_w() -> None:
    """W may stand deeper; a place that there is not is an error that names the ones there are."""
    config = parse(["--balancer.place=backbone"])
    tasks = build.make_tasks(config.tasks, class_set("nyu13"))
    assert build.make_balancer(config.balancer, tasks)[1] == []
    network = build.make_network(config, tasks)
    assert network.shared_weight("last_shared") is network.last_shared.weight
    deepest = network.shared_weight("backbone")
    assert deepest.shape == (config.model.width, network.backbone.channels[-1], 1, 1)
    with pytest.raises(ValueError, match="balancer.place is 'head': expected last_shared, backbone"):
        network.shared_weight("head")
    other = parse(["--balancer.name=dtp", "--balancer.place=backbone"])
    assert build.make_balancer(other.balancer, tasks)[1] == ["place"]


def test_uncertainty_learns_which_tasks_classify() -> None:
    config = parse(["--balancer.name=uncertainty"])
    balancer, _ = build.make_balancer(config.balancer, build.make_tasks(config.tasks, class_set("nyu13")))
    assert balancer.report()["weight"].tolist() == [0.5, 0.5, 1.0]
