"""Every balancer with every recipe: what a recipe sets for its own method must not be in another's way."""

from __future__ import annotations

import math
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from mtl_vision.balancers import BALANCERS, FROM_TORCHJD, Balancer, GradNorm
from mtl_vision.config import Component, Config, flat
from mtl_vision.datasets.classes import class_set
from mtl_vision.engine import build
from mtl_vision.engine.components import class_of, make
from mtl_vision.engine.parse import UsageError, parse, read_config, resolve, write_config
from mtl_vision.models import Decoder
from mtl_vision.tasks import Task
from mtl_vision.tasks.depth import Squared

RECIPES = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
NEEDS = {
    "Fixed": ["--balancer.weights={depth: 1, normals: 2, segmentation: 0.5}"],
    "ConvergedGradients": ["--balancer.norms={depth: 1, normals: 2, segmentation: 0.5}"],
}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_balancer_with_every_recipe(recipe: Path) -> None:
    assert len(RECIPES) >= 4
    for name, method in BALANCERS.items():
        if method in FROM_TORCHJD and find_spec("torchjd") is None:
            continue
        config = parse([f"--config={recipe}", f"--balancer={name}", *NEEDS.get(name, [])])
        tasks = build.make_tasks(config.tasks, class_set("nyu13"))
        assert build.make_balancer(config.balancer, tasks).tasks == tuple(config.tasks.names)


def test_another_method_begins_with_its_own_defaults(tmp_path: Path) -> None:
    """DTP has an alpha, too: neither GradNorm's default nor a recipe's alpha for GradNorm is meant for it."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("balancer: {class_path: GradNorm, init_args: {alpha: 0.3}}\n")
    assert parse([f"--config={recipe}"]).balancer.init_args["alpha"] == 0.3
    assert parse([f"--config={recipe}", "--balancer.lr=0.1"]).balancer.init_args["alpha"] == 0.3
    for options in ([], [f"--config={recipe}"]):
        assert parse([*options, "--balancer=DTP", "--balancer.gamma=2"]).balancer.init_args == {
            "alpha": 0.1,
            "gamma": 2,
        }


def test_a_component_by_its_import_path_and_by_its_settings_alone(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("balancer: mtl_vision.balancers.DBMTL\nmodel: {decoder: {width: 32}}\n")
    config = parse([f"--config={recipe}"])
    assert config.balancer == parse(["--balancer=DBMTL"]).balancer
    assert config.model.decoder == parse(["--model.decoder=Fusion", "--model.decoder.width=32"]).model.decoder


def test_a_config_survives_being_written_and_read(tmp_path: Path) -> None:
    config = parse(
        ["--balancer=DTP", "--balancer.gamma=2", "--tasks.names=[depth, edges]", "--tasks.depth.loss=SiLog",
         "--tasks.depth.loss.variance_share=0.3", "--model.decoder.width=32", "--data.size=[48, 64]"]
    )  # fmt: skip
    write_config(config, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == config == resolve(config)
    assert flat(config)["tasks.depth.loss.variance_share"] == 0.3 and flat(config)["balancer.gamma"] == 2
    assert resolve(config, {"balancer.alpha": 0.5, "train.epochs": 3}).balancer.init_args == {"alpha": 0.5, "gamma": 2}


def test_a_setting_that_the_method_lacks_is_an_error() -> None:
    with pytest.raises(UsageError, match="balancer: Option 'alpha' is not accepted"):
        parse(["--balancer=Equal", "--balancer.alpha=0.5"])
    with pytest.raises(UsageError, match="Option 'place' is not accepted"):
        parse(["--balancer=DTP", "--balancer.place=backbone"])


def test_the_help_of_one_method_shows_its_settings_only(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--balancer.help=DTP"])
    text = capsys.readouterr().out
    assert "--balancer.gamma" in text and "focus" in text and "--balancer.lr" not in text


def test_the_place_of_w() -> None:
    """W may be a deeper layer's."""
    config = parse(["--balancer.place=backbone"])
    tasks = build.make_tasks(config.tasks, class_set("nyu13"))
    assert build.make_balancer(config.balancer, tasks).place == "backbone"
    network = build.make_network(config, tasks)
    assert network.shared_weight("last_shared") is network.last_shared.weight
    deepest = network.shared_weight("backbone")
    assert deepest.shape == (network.decoder.width, network.backbone.channels[-1], 1, 1)
    assert network.shared_weight("encoder") is network.backbone.get_parameter("net.layer4.0.downsample.1.weight")
    with pytest.raises(UsageError, match="place: expected 'last_shared', 'backbone', 'encoder', found head"):
        parse(["--balancer.place=head"])


def test_a_config_made_in_python_is_the_default_of_the_command_line() -> None:
    """Its loss and balancer, too, which are classes by their paths."""
    tasks = build.make_tasks(Config().tasks, class_set("nyu13"))
    assert isinstance(tasks["depth"].loss_function, Squared)
    balancer = build.make_balancer(Config().balancer, tasks)
    assert isinstance(balancer, GradNorm) and (balancer.alpha, balancer.place, balancer.interval) == (0, "encoder", 4)
    given = parse([])
    assert given.tasks.settings["depth"]["loss"] == Config().tasks.settings["depth"]["loss"]
    assert Config().balancer.init_args.items() <= given.balancer.init_args.items()


def test_the_uninformed_losses_are_found_on_the_training_data(rooms: Path) -> None:
    """Once, if the method asks; always the same. Depth's is the mean distance from the mean depth."""
    config = parse(["--balancer.initial=theoretical", f"--data.root={rooms}", "--data.size=[48, 64]"])
    data, _ = build.open_data(config, rooms)
    tasks = build.make_tasks(config.tasks, data.classes)
    depth, normals, segmentation = build.make_balancer(config.balancer, tasks, data, (48, 64)).initial.tolist()
    assert (normals, segmentation) == pytest.approx((1, math.log(len(data.classes.names))))
    maps = np.stack([data[i].targets["depth"] for i in range(len(data))])
    valid = maps[maps > 0]
    assert depth == pytest.approx(np.abs(valid - valid.mean()).mean(), rel=0.2)
    again = build.make_balancer(config.balancer, tasks, data, (48, 64))
    assert again.initial.tolist() == [depth, normals, segmentation]


def test_the_uninformed_losses_of_sparse_targets(rooms: Path, tmp_path: Path) -> None:
    """Found on the samples that have them, wherever these are in the list: two depth maps of 24."""
    root = tmp_path / "rooms"
    shutil.copytree(rooms, root)
    for path in sorted((root / "train" / "depth").iterdir())[2:]:
        path.unlink()
    config = parse(["--balancer.initial=theoretical", f"--data.root={root}", "--data.size=[48, 64]"])
    data, _ = build.open_data(config, root)
    tasks = build.make_tasks(config.tasks, data.classes)
    depth = build.make_balancer(config.balancer, tasks, data, (48, 64)).initial[0].item()
    maps = np.stack([data[i].targets["depth"] for i in range(2)])
    valid = maps[maps > 0]
    assert depth == pytest.approx(np.square(valid - valid.mean()).mean(), rel=0.2)


def test_a_task_that_does_not_say_its_uninformed_loss(rooms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse(["--balancer.initial=theoretical", f"--data.root={rooms}", "--data.size=[48, 64]"])
    data, _ = build.open_data(config, rooms)
    tasks = build.make_tasks(config.tasks, data.classes)
    monkeypatch.setattr(type(tasks["normals"]), "uninformed_loss", Task.uninformed_loss)
    with pytest.raises(
        ValueError, match="^balancer: initial=theoretical: .* 'normals' is not known; define uninformed"
    ):
        build.make_balancer(config.balancer, tasks, data, (48, 64))


def test_uncertainty_learns_which_tasks_classify() -> None:
    config = parse(["--balancer=Uncertainty"])
    balancer = build.make_balancer(config.balancer, build.make_tasks(config.tasks, class_set("nyu13")))
    assert balancer.report()["weight"].tolist() == [0.5, 0.5, 1.0]


def test_a_config_made_in_python_is_completed() -> None:
    """Its defaults can be made as they are; a short name is one where the base class is known."""
    config = Config(balancer=Component("DTP", {"gamma": 2}))
    assert make(config.model.decoder, Decoder).width == make(Component("Fusion"), Decoder).width == 64
    assert resolve(config).balancer == parse(["--balancer=DTP", "--balancer.gamma=2"]).balancer
    with pytest.raises(ValueError, match="'Fusion' is no import path: expected one"):
        class_of("Fusion", object)
    with pytest.raises(ValueError, match="expected the import path of a Balancer"):
        make(config.model.decoder, Balancer)


def test_options_given_in_python(tmp_path: Path) -> None:
    """Paths, numbers of numpy and classes mean what they would if typed; another object is an error with its key."""
    given = {"data.root": tmp_path, "train.lr": np.float32(0.5), "data.size": np.array([48, 64]), "balancer": GradNorm}
    config = resolve(None, given)
    assert (config.data.root, config.train.lr, config.balancer.name) == (str(tmp_path), 0.5, "GradNorm")
    assert tuple(config.data.size) == (48, 64)
    assert resolve(None, {"run.name": "true story"}).run.name == "true story"
    with pytest.raises(UsageError, match="^train.lr has <object object.*: expected a name, a number"):
        resolve(None, {"train.lr": object()})
    with pytest.raises(UsageError, match="options come second"):
        resolve({"run.name": "a"})  # type: ignore[arg-type]
