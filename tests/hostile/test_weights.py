"""Weights, runs and recipes from strangers: nothing in them is run, and what fits nowhere is no start."""

from __future__ import annotations

import os
import pickle
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file, save_file

import mtl_vision as mtl
from mtl_vision.engine import checkpoint
from mtl_vision.engine.build import make_balancer, make_network, make_tasks
from mtl_vision.engine.cli import main
from mtl_vision.engine.parse import UsageError, resolve
from mtl_vision.export.cli import main as export
from mtl_vision.models import Fusion, Network, TimmBackbone, weights
from mtl_vision.tasks import Depth, Normals, Segmentation

SMALL = "mobilenetv4_conv_small"


class Evil:
    """Unpickled, it leaves a marker."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "was_run"


def pickles(folder: Path, marker: Path) -> list[Path]:
    """Files that run code in a careless reader."""
    evil = Evil(marker)
    torch.save({"conv1.weight": evil}, folder / "zip.pth")
    torch.save({"state_dict": {}, "args": evil}, folder / "wrapped.pth")
    torch.save({"conv1.weight": evil}, folder / "old.pth", _use_new_zipfile_serialization=False)
    for protocol in (0, 2, 4):
        (folder / f"{protocol}.safetensors").write_bytes(pickle.dumps({"conv1.weight": evil}, protocol))
    return sorted(path for path in folder.iterdir() if path.is_file())


def arguments(rooms: Path, tmp_path: Path, name: str, *more: str) -> list[str]:
    return [
        f"--data.root={rooms}",
        "--data.size=[48,64]",
        "--data.workers=0",
        "--data.cache=null",
        "--model.backbone=mobilenetv4_conv_small",
        "--model.decoder.width=16",
        "--train.epochs=1",
        "--run.device=cpu",
        "--run.tensorboard=false",
        f"--run.dir={tmp_path}",
        f"--run.name={name}",
        *more,
    ]


@pytest.fixture(scope="module")
def trained(rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs")
    assert main(arguments(rooms, folder, "a")) == 0
    return folder / "a"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(trained, tmp_path / "a")


def edit(run: Path, **model: Any) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"] |= model
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def test_the_marker_can_be_left(marker: Path) -> None:
    pickle.loads(pickle.dumps(Evil(marker)))
    assert marker.is_dir()


def test_a_pickle_as_pretrained_is_refused_and_not_run(tmp_path: Path, marker: Path) -> None:
    for path in pickles(tmp_path, marker):
        with pytest.raises(ValueError, match="run: expected safetensors.*convert it") as caught:
            TimmBackbone("resnet18", str(path))
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        assert "weights_only" not in str(caught.value)  # torch advises to load it all the same
        assert not marker.exists(), path


def test_a_pickle_on_the_command_line_is_one_line_and_exit_code_1(
    rooms: Path, tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"conv1.weight": Evil(marker)}, tmp_path / "evil.pth")
    assert main(arguments(rooms, tmp_path, "b", f"--model.pretrained={tmp_path / 'evil.pth'}")) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("mtl-train: model: ") and "holds code (" in error and "\n" not in error
    assert not marker.exists() and not (tmp_path / "b").exists()


def test_a_pickle_in_a_foreign_run_is_not_run_by_load_export_or_resume(
    run: Path, tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named in config.yaml, for the network and for the backbone as a component; neither file is looked at."""
    monkeypatch.setattr("mtl_vision.export.exporter.export_run", lambda *args, **kwargs: None)  # it has read the run
    torch.save({"conv1.weight": Evil(marker)}, tmp_path / "evil.pth")
    evil = str(tmp_path / "evil.pth")
    component = {
        "class_path": "mtl_vision.models.TimmBackbone",
        "init_args": {"name": SMALL, "pretrained": evil, "size": [48, 64]},
    }
    for model in ({"pretrained": evil}, {"pretrained": False, "backbone": component}):
        edit(run, **model)
        assert mtl.load(run, "cpu").model.loaded is None
        assert export([str(run)]) == 0
    (run / "metrics.json").unlink()
    capsys.readouterr()
    assert main(["--run.resume=true", f"--run.dir={run.parent}", "--run.name=a"]) == 1
    assert "it was made with model.backbone" in capsys.readouterr().err  # another one than its checkpoint's
    (run / "checkpoint.pt").unlink()  # it then begins anew, from the file
    assert main(["--run.resume=true", f"--run.dir={run.parent}", "--run.name=a"]) == 1
    assert "which was not run" in capsys.readouterr().err
    assert not marker.exists()


def test_a_pickle_in_place_of_checkpoint_and_weights_is_not_run(
    run: Path, marker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"model": Evil(marker)}, run / "checkpoint.pt")
    (run / "metrics.json").unlink()
    assert main(["--run.resume=true", f"--run.dir={run.parent}", "--run.name=a"]) == 1
    error = capsys.readouterr().err.strip()
    assert "checkpoint.pt holds code (" in error and "\n" not in error
    for write in (torch.save, lambda data, path: path.write_bytes(pickle.dumps(data, 2))):
        write({"backbone.net.conv1.weight": Evil(marker)}, run / "model.safetensors")
        with pytest.raises(ValueError, match="model.safetensors holds code .* not run"):
            mtl.load(run, "cpu")
        assert export([str(run)]) == 1
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    [
        "hf-hub:evil/model",
        "hf_hub:evil/model",
        "local-dir:.",
        "evil/model",
        "resnet18.hf-hub:evil/model",
        "resnet18./x",
    ],
)
def test_names_that_timm_would_fetch_never_reach_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("timm was asked")

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(ValueError, match="timm has no backbone"):
        TimmBackbone(name)


def unreadable(folder: Path) -> dict[str, Path]:
    """Files that are no weights, and what is said of each."""
    state = timm.create_model("resnet10t").state_dict()
    torch.save(state, folder / "whole.pth")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, folder / "whole.safetensors")
    for name in ("whole.pth", "old.pth", "whole.safetensors"):
        data = (folder / name).read_bytes()
        (folder / f"cut_{name}").write_bytes(data[: len(data) // 2])
    (folder / "empty.pth").write_bytes(b"")
    (folder / "text.pth").write_text("no weights at all, but a letter")
    (folder / "huge_header.safetensors").write_bytes(b"\xff" * 7 + b"\x00{" + b" " * 99)
    np.savez(folder / "jax.npz", kernel=np.zeros(3))
    torch.save({"epoch": 3}, folder / "nothing.pth")
    torch.save([1, 2], folder / "list.pth")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    with (folder / "large.pth").open("wb") as file:
        file.truncate(weights.LARGEST + (1 << 30))  # sparse
    with zipfile.ZipFile(folder / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", pickle.dumps({}))
        archive.writestr("bomb/data/0", bytes(10_000_000))
    said = {
        "cut_whole.pth": "cannot be read", "cut_old.pth": "cannot be read", "cut_whole.safetensors": "cannot be read",
        "empty.pth": "cannot be read", "text.pth": "expected safetensors", "huge_header.safetensors": "cannot be read",
        "jax.npz": "cannot be read", "nothing.pth": "holds no tensors", "list.pth": "holds a list",
        "folder": "is a folder", "fifo": "no regular file", "large.pth": "has 33 GiB", "none.pth": "no weights file at",
        "bomb.pth": "larger than the file", "a\0b": "embedded null", "a" * 300: "File name too long",
    }  # fmt: skip
    return {folder / name: text for name, text in said.items()}


def test_files_that_are_no_weights_are_named_in_one_line(tmp_path: Path) -> None:
    for path, text in unreadable(tmp_path).items():
        with pytest.raises(ValueError, match=text) as caught:
            TimmBackbone("resnet10t", str(path))
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert TimmBackbone("resnet10t", str(tmp_path / "whole.pth")).loaded


def test_tensors_that_are_less_than_they_say_are_left_out(tmp_path: Path) -> None:
    """Views of one number, of a petabyte; sparse, quantised and empty ones."""
    path = tmp_path / "odd.pth"
    torch.save(
        {
            "a": torch.zeros(1).expand(1 << 50),
            "b": torch.zeros(2, 2).to_sparse(),
            "c": torch.zeros(2, device="meta"),
            "d": torch.ones(2),
            "e": 3,
        },
        path,
    )
    assert list(weights.read(path)) == ["d"]


def test_a_checkpoint_that_holds_itself_ends(tmp_path: Path) -> None:
    endless: dict[str, Any] = {"weight": torch.ones(1)}
    endless["model"] = endless
    torch.save(endless, tmp_path / "a.pth")
    assert list(weights.read(tmp_path / "a.pth")) == ["weight"]


def test_a_pipe_in_place_of_metrics_is_not_waited_for(run: Path) -> None:
    (run / "metrics.json").unlink()
    os.mkfifo(run / "metrics.json")
    with pytest.raises(OSError, match="expected a file, found a device or a pipe"):
        mtl.load(run)


def test_pipes_in_place_of_checkpoint_and_weights_are_not_waited_for(run: Path) -> None:
    for name, read in (("checkpoint.pt", checkpoint.load), ("model.safetensors", lambda _: mtl.load(run, "cpu"))):
        (run / name).unlink()
        os.mkfifo(run / name)
        with pytest.raises(ValueError, match=f"{name} is no regular file"):
            read(run / name)


def test_weights_that_fit_nowhere_are_no_start(rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Foreign names, another model, and the right one without its norms: the line names some of what is missing."""
    right = timm.create_model(SMALL).state_dict()
    files = {
        "foreign": {f"foreign.{name}": tensor for name, tensor in right.items()},
        "other": timm.create_model("resnet18").state_dict(),
        "no_norms": {name: tensor for name, tensor in right.items() if tensor.ndim > 1},
    }
    said = {"foreign": "fits 0 of", "other": "bn1.weight is (64,) in it, (32,) here", "no_norms": "fits 45 of"}
    for name, tensors in files.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
        assert main(arguments(rooms, tmp_path, "b", f"--model.pretrained={tmp_path / name}.safetensors")) == 1
        error = capsys.readouterr().err.strip()
        assert said[name] in error and "expected at least 90% of both" in error and "\n" not in error
        assert not (tmp_path / "b").exists()


def test_a_run_is_a_start(trained: Path, rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """model.safetensors and checkpoint.pt: backbone, decoder and heads; the introduction says so."""
    for name in ("model.safetensors", "checkpoint.pt"):
        assert main(arguments(rooms, tmp_path, f"from_{name}", f"--model.pretrained={trained / name}")) == 0
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("weights"))
        assert f"from {trained / name}: backbone 2" in line and "decoder" in line
        assert line.endswith("; heads depth, normals, segmentation")


def test_of_a_run_what_fits_is_taken(trained: Path) -> None:
    """Other classes, another task and another width: backbone and the rest are taken, and the others begin anew."""
    found = load_file(trained / "model.safetensors")
    path = str(trained / "model.safetensors")
    classes = ["one", "two"]
    tasks = {"depth": Depth(), "segmentation": Segmentation(classes), "more": Depth()}
    network = Network(tasks, SMALL, Fusion(16), size=(48, 64), pretrained=path)
    state = network.state_dict()
    same = {name for name, tensor in state.items() if name in found and torch.equal(tensor, found[name])}
    for name in state:
        assert name in same or name.startswith(("heads.segmentation.", "heads.more.")), name
    assert network.loaded and "heads depth; anew: segmentation (layers.1.weight is (" in network.loaded
    assert "more (layers.0.0.weight is not in it)" in network.loaded
    wide = Network({"normals": Normals()}, SMALL, Fusion(32), size=(48, 64), pretrained=path)
    assert wide.loaded and "decoder 0 of" in wide.loaded and "anew: normals (" in wide.loaded
    with pytest.raises(ValueError, match="model.safetensors: it fits .* of the backbone's .* tensors"):
        Network(tasks, "resnet18", Fusion(16), size=(48, 64), pretrained=path)


POPEN = {"class_path": "subprocess.Popen", "init_args": {"args": ["mkdir", "was_run"]}}


@pytest.mark.parametrize(
    "recipe",
    [
        {"model": {"backbone": POPEN}},
        {"model": {"decoder": "builtins.eval"}},
        {"model": {"head": POPEN}},
        {"model": {"decoder": {"class_path": "Fusion", "init_args": {"width": POPEN}}}},
        {"tasks": {"depth": {"loss": {"class_path": "os.system"}}}},
        {"tasks": {"depth": {"loss": POPEN}}},
        {"tasks": {"names": ["subprocess.Popen"]}},
        {"balancer": POPEN},
        # classes of the package that others are made from take anything
        {"balancer": {"class_path": "mtl_vision.balancers.scalarizers._Scalarized", "init_args": {"method": POPEN}}},
        {"balancer": {"class_path": "mtl_vision.balancers.aggregators._Aggregated", "init_args": {"make": "os._exit"}}},
    ],
)
def test_recipes_that_name_no_components_are_refused(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    with warnings.catch_warnings(action="ignore"), pytest.raises(UsageError):  # jsonargparse warns of such names, too
        resolve("recipe.yaml")
    assert not Path("was_run").exists()


class Odd(Fusion):
    """A decoder of one's own whose settings have no types."""

    def __init__(self, settings: Any = None, more=None, width: int = 16) -> None:
        super().__init__(width)
        self.settings = settings or more


@pytest.mark.parametrize("key", ["settings", "more"])
def test_untyped_settings_call_nothing(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing leaves them as they are; where the network is made they are refused."""
    monkeypatch.chdir(tmp_path)
    config = resolve(None, {"tasks.names": ["depth"], "balancer": "Equal"})
    config.model.decoder = type(config.model.decoder)(f"{__name__}.Odd", {key: POPEN})
    tasks = make_tasks(config.tasks, None)
    with pytest.raises(ValueError, match=f"model: {key} names a class: expected a value, Odd takes no component there"):
        make_network(config, tasks)
    assert not Path("was_run").exists()
    assert make_balancer(config.balancer, tasks).tasks == ("depth",)


def test_weights_that_are_not_finite_are_no_start() -> None:
    module = torch.nn.Linear(4, 4)
    found = {**module.state_dict(), "weight": torch.full((4, 4), float("nan"))}
    with pytest.raises(ValueError, match=r"values that are not finite \(weight\)"):
        weights.load(module, found, "layer")
