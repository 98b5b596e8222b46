"""Command lines and recipes: nonsense, missing packages, signals, and runs that are resumed as another."""

from __future__ import annotations

import gc
import inspect
import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import requires
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
import yaml

from mtl_vision import commands
from mtl_vision.balancers import BALANCERS
from mtl_vision.config import DataConfig, RunConfig, TrainConfig
from mtl_vision.datasets.classes import class_set
from mtl_vision.engine import build, cli
from mtl_vision.engine.device import pick_device
from mtl_vision.engine.parse import parse, resolve
from mtl_vision.importing import MODULES, needs, without_collector
from mtl_vision.models import Fusion
from mtl_vision.tasks import Depth
from mtl_vision.tasks.depth import BerHu, SiLog
from mtl_vision.tasks.edges import WeightedCrossEntropy
from mtl_vision.tasks.segmentation import CrossEntropy

REPO = Path(__file__).parents[2]
TRAIN, EXPORT, DATA = "train.py", "-m export", "data/prepare.py"


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What mtl-train says to a wrong command line, in one line."""
    assert cli.main(list(words)) == 2
    message, advice = capsys.readouterr().err.splitlines()
    assert advice == "For all options: mtl-train --help"
    return message.removeprefix("mtl-train: ")


# nonsense is refused, with the range


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--train.weight_decay=-0.1", "train.weight_decay is -0.1: expected 0 to 10"),
        ("--train.warmup=5", "train.warmup is 5.0: expected 0 to 1"),
        ("--train.eval_every=-1", "train.eval_every is -1: expected 0 to 1000000"),
        ("--train.lr=.nan", "train.lr is nan: expected 0 to 10"),
        ("--train.clip=.inf", "train.clip is inf: expected 0 to 1000000"),
        ("--train.ema=1", "train.ema is 1.0: expected 0 to 0.999999"),
        ("--train.layer_decay=0", "train.layer_decay is 0.0: expected 0.01 to 1"),
        ("--train.freeze=-1", "train.freeze is -1: expected 0 to 1000000"),
        ("--run.seed=-1", "run.seed is -1: expected 0 to 4294967295"),
        ("--data.workers=100000", "data.workers is 100000: expected 0 to 256"),
        ("--data.size=[48, 1000000]", "data.size is [48, 1000000]: expected height and width, each 32 to 8192"),
    ],
)
def test_nonsense_of_the_config_names_its_range(option: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, option) == said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--balancer.alpha=-1"], "balancer: alpha is -1.0: expected 0 to 10"),
        (["--balancer.lr=1e10"], "balancer: lr is 10000000000.0: expected 0 to 10"),
        (["--balancer=Fixed", "--balancer.weights={depth: 1, normals: 1, segmentation: 1e300}"], "expected 1e-09 to"),
        (["--tasks.depth.max_depth=1e30"], "tasks.depth: max_depth is 1e+30: expected 0.1 to 1000"),
        (["--tasks.segmentation.loss.label_smoothing=-1"], "label_smoothing is -1.0: expected 0 to 0.99"),
        (["--tasks.segmentation.loss.label_smoothing=2"], "label_smoothing is 2.0: expected 0 to 0.99"),
        (["--tasks.segmentation.loss.class_weights=[1, 0, -1]"], "class_weights[1] is 0.0: expected 1e-06 to 1000000"),
        (["--model.decoder.width=100000"], "model: width is 100000: expected a multiple of 16 from 16 to 1024"),
    ],
)
def test_nonsense_of_a_component_names_its_range(words: list[str], said: str) -> None:
    config = parse(words)
    with pytest.raises(ValueError) as error:
        tasks = build.make_tasks(config.tasks, class_set("nyu13"))
        build.make_balancer(config.balancer, tasks)
        build.make_network(config, tasks)
    assert said in str(error.value)


def numbers() -> Iterator[Any]:
    """Every setting of the package that is a number, and how it is given."""
    for config in (RunConfig, DataConfig, TrainConfig):
        for name, hint in get_type_hints(config).items():
            if hint in (int, float):
                yield pytest.param(lambda value, c=config, n=name: c(**{n: value}), id=f"{config.__name__}.{name}")
    T = {"a": 1.0, "b": 1.0}
    needed: dict[str, Any] = {"Fixed": {"weights": T}, "ConvergedGradients": {"norms": T}}
    parts: list[tuple[Callable[..., Any], dict[str, Any]]] = [
        *((method, {"tasks": list(T), **needed.get(name, {})}) for name, method in BALANCERS.items()),
        *((part, {}) for part in (Depth, SiLog, BerHu, CrossEntropy, WeightedCrossEntropy, Fusion)),
    ]
    for part, given in parts:
        for name, hint in get_type_hints(part.__init__).items():
            if name in inspect.signature(part).parameters and {int, float} & {hint, *get_args(hint)}:
                yield pytest.param(
                    lambda value, p=part, g=given, n=name: p(**{**g, n: value}), id=f"{part.__name__}.{name}"
                )


@pytest.mark.parametrize("make", list(numbers()))
def test_every_number_has_a_range(make: Callable[[Any], Any]) -> None:
    for value in (math.nan, math.inf, -math.inf, 1e300, -1e300, 10**400, -(10**400), -1):
        with pytest.raises(ValueError, match="expected"):
            make(value)


def test_there_are_numbers() -> None:
    assert len(list(numbers())) > 30


@pytest.mark.parametrize("name", ["gpu", "mps", "meta", "cuda:", "cuda:x", "cuda:-1", "CPU", "", "cuda:" + "9" * 99])
def test_another_device_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected auto, cpu, cuda or cuda:N"):
        pick_device(name)


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="device is cuda:99, torch sees 2 GPU.*expected cuda:0 to cuda:1"):
        pick_device("cuda:99")


# settings of other types


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("[]", "tasks.names is []: expected at least one task, each once"),
        ("null", "tasks.names is []: expected at least one task"),
        ("[depth, depth]", "expected tasks of different names, 'depth' is there already"),
        ("[depth, mtl_vision.tasks.Depth]", "expected tasks of different names, 'depth' is there already"),
        ("[1]", "1 names no Task: expected a class"),
        ("[[depth]]", "['depth'] names no Task"),
        ("depth", "tasks.names: expected list, found depth"),
        ("[mtl_vision.balancers.GradNorm]", "expected the import path of a Task"),
        ("[mtl_vision.tasks.base.ScalarTask]", "is a base class"),
        ("[json.tool.main]", "expected the import path of a Task"),
        ("[nothing.like.this]", "cannot import 'nothing.like.this'"),
    ],
)
def test_tasks_that_are_none_or_there_twice(names: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in refused(capsys, "--tasks.names", names)


BOMB = "{a: &a [x,x,x,x,x,x,x,x], b: &b [*a,*a,*a,*a,*a,*a,*a,*a], c: &c [*b,*b,*b,*b,*b,*b], d: [*c,*c,*c,*c,*c]}"


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("data: " + "[" * 5000, "expected at most 32 levels"),
        ("data: " + "{a: " * 5000, "expected at most 32 levels"),
        (f"data: {BOMB}", "found the alias *a: write the value out"),
        ("# " + "x" * 300_000, "too large"),
        ("train: {lr: " + "9" * 5000 + "}", "at most 2000 characters"),
        ("data: null", "data is None: expected a mapping of its settings"),
        ("tasks: 5", "tasks is 5: expected a mapping"),
        ("tasks: {class_path: x}", "Group 'tasks' does not accept option 'class_path'"),
        ("balancer: {class_path: [GradNorm]}", "['GradNorm'] names no Balancer"),
        ("model: {decoder: {class_path: Fusion, init_args: 5}}", "model.decoder.init_args is 5: expected a mapping"),
        ("? 2020-01-01\n: 5", "did you mean|datetime|not expected"),
        ("run: {name: !!python/object/apply:os.system [id]}", "could not determine a constructor"),
        ("\xff\xfe", "not valid YAML"),
    ],
)
def test_a_recipe_of_anything_is_told_in_a_line(
    recipe: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(recipe.encode("latin-1"))
    message = refused(capsys, f"--config={path}")
    assert any(part in message for part in said.split("|")), message
    assert len(message) < 1200


@pytest.mark.parametrize(
    "words",
    [
        ["--balancer", "[" * 5000],
        ["--data.size", "[" * 5000 + "]" * 5000],
        ["--tasks.names"],
        ["--config"],
        ["--config=--"],
        ["--print_config=--"],
        ["--balancer", "\udcff"],
        ["--train.epochs", "9" * 5000],
    ],
)
def test_an_option_of_anything_is_told_in_a_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert len(refused(capsys, *words)) < 1200


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--balancer=Fixed", f"--balancer.weights={BOMB}"], "is no run directory"),
        (["--balancer.lr=1e10"], "lr is 10000000000.0: expected 0 to 10"),
        (["--model.decoder.width=100000"], "width is 100000: expected a multiple of 16 from 16 to 1024"),
    ],
)
def test_a_wrong_setting_is_told_before_rooms_are_made(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 1
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--config", "--data", "--train"])
def test_a_pipe_or_a_device_is_no_recipe(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        assert "expected a file, found a" in refused(capsys, f"{option}={path}")


def test_a_section_has_a_recipe_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("epochs: 7\n")
    assert parse([f"--train={tmp_path / 'train.yaml'}", "--train.lr=0.1"]).train == TrainConfig(epochs=7, lr=0.1)
    assert parse(["--tasks.depth={max_depth: 5}"]).tasks.settings["depth"]["max_depth"] == 5


# runs that are resumed as another


@pytest.fixture(scope="module")
def interrupted(rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that was stopped after its first of two epochs."""
    from mtl_vision.engine.loop import Trainer

    base = tmp_path_factory.mktemp("interrupted")
    options = {
        "data.root": str(rooms), "data.size": [48, 64], "data.workers": 0, "data.cache": str(base / "cache"),
        "model.decoder.width": 16, "tasks.names": ["depth", "normals"], "train.epochs": 2, "run.device": "cpu",
        "run.dir": str(base / "runs"), "run.name": "a", "run.tensorboard": False,
    }  # fmt: skip
    real = Trainer.epoch

    def once(self: Trainer, *arguments: Any) -> None:
        if self.epochs == 1:
            raise KeyboardInterrupt
        real(self, *arguments)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "epoch", once)
        cli.Run(resolve(None, options)).train()
    return base / "runs" / "a"


@pytest.fixture
def run(interrupted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(interrupted, tmp_path / "runs" / "a"))


def resumed(run: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What is said, in a line, where a run cannot be resumed."""
    assert cli.main([f"--run.dir={run.parent}", f"--run.name={run.name}", "--run.resume", *words]) == 1
    (message,) = capsys.readouterr().err.strip().splitlines()
    return message


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model.decoder.init_args.width", 32, "it was made with model.decoder.width = 16, found 32 now"),
        ("balancer", {"class_path": "DWA"}, "balancer = mtl_vision.balancers.gradnorm.GradNorm, found mtl_vision"),
        ("tasks.names", ["depth"], "it was made with tasks.names = ['depth', 'normals'], found ['depth'] now"),
        ("train.backbone_lr", 0.5, "it was made with train.backbone_lr = 1.0, found 0.5 now"),
        ("train.epochs", 3, "it was made with train.epochs = 2, found 3 now"),
        ("train.ema", 0.9, "it was made with train.ema = 0.0, found 0.9 now"),
    ],
)
def test_an_edited_config_is_not_resumed(
    key: str, value: Any, said: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    *path, last = key.split(".")
    section = config
    for part in path:
        section = section[part]
    section[last] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert said in resumed(run, capsys)


def test_another_number_of_processes_breaks_the_schedule(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    state["made_with"]["run.processes"] = 2
    torch.save(state, run / "checkpoint.pt")
    assert "it was made with run.processes = 2, found 1 now: a resumed run keeps its settings" in resumed(run, capsys)


def test_another_number_of_samples_breaks_the_schedule(
    run: Path, rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = Path(shutil.copytree(rooms, tmp_path / "fewer"))
    for folder in (fewer / "train").iterdir():
        min(folder.iterdir()).unlink()
    said = resumed(run, capsys, f"--data.root={fewer}", "--data.cache=null")
    assert "it was made with training samples = 24, found 23 now" in said


@pytest.mark.parametrize("damage", ["cut", "empty", "list", "tensor", "other keys", "text", "no network", "code"])
def test_a_checkpoint_that_is_none(damage: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    if damage == "no network":
        torch.save({**state, "model": {}}, path)
    elif damage in ("list", "tensor", "other keys", "code"):
        made = {"list": [1], "tensor": torch.zeros(3), "other keys": {"epoch": 3}, "code": print}
        torch.save(made[damage], path)
    else:
        path.write_bytes({"cut": path.read_bytes()[:-9999], "empty": b"", "text": b"epoch: 1\n"}[damage])
    message = resumed(run, capsys)
    assert str(path) in message and "weights_only" not in message and len(message) < 700


def test_a_run_is_resumed_as_it_was(run: Path) -> None:
    assert cli.main([f"--run.dir={run.parent}", "--run.resume", "--run.name=a"]) == 0
    assert json.loads((run / "metrics.json").read_text())["protocol.epochs"] == 2


@pytest.mark.parametrize("words", [["--train.epochs=20"], ["--train.lr=2e-3", "--balancer=DWA"]])
def test_an_option_that_would_be_ignored_is_an_error(
    words: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even one that is the default: the run was begun with another value."""
    said = resumed(run, capsys, *words)
    assert "was begun with train.epochs = 2, found 20 now" in said or "found mtl_vision.balancers" in said


def test_options_that_agree_with_the_run_are_welcome(run: Path) -> None:
    words = ["--train.epochs=2", "--model.decoder.width=16", "--balancer=GradNorm", "--train.on_nonfinite=skip"]
    assert cli.main([f"--run.dir={run.parent}", "--run.name=a", "--run.resume", *words]) == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["train"]["on_nonfinite"] == "skip"


def test_a_config_is_compared_whole(run: Path) -> None:
    """In Python: a Config has no options that were left out."""
    config = resolve(run / "config.yaml")
    more = {"run.resume": True, "run.name": "a", "run.dir": str(run.parent)}
    with pytest.raises(ValueError, match=r"begun with train.lr = 0.008, found 0.5 now"):
        cli.Run(resolve(replace(config, train=replace(config.train, lr=0.5)), more))
    assert cli.Run(resolve(config, more)).trainer.epochs == 1


# packages that are missing

LINES = [line for line in requires("mtl-vision") or () if "'train'" in line or "'export'" in line]
NAMES = {package: module for module, package in MODULES.items()}
PACKAGES = sorted({NAMES.get(name, name) for name in (re.split("[^a-z0-9-]", line.lower())[0] for line in LINES)})
WITHOUT = """
import sys
class Without:
    def __init__(self, finder, module): self.finder, self.module = finder, module
    def __getattr__(self, name): return getattr(self.finder, name)
    def find_spec(self, name, *more):
        return None if name.partition(".")[0] == self.module else self.finder.find_spec(name, *more)
sys.meta_path[:] = [Without(finder, {module!r}) for finder in sys.meta_path]
{code}
"""


def without(module: str, code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the code where a package is not installed."""
    script = WITHOUT.format(module=module, code=code)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, **options)


@pytest.mark.parametrize("module", PACKAGES)
def test_a_missing_package_names_its_extra(module: str) -> None:
    error = ModuleNotFoundError(f"No module named '{module}'", name=f"{module}.part")
    package, extra = MODULES.get(module, module), "export" if module.startswith("onnx") else "train"
    advice = f"needs {package}: python -m pip install 'mtl-vision[{extra}]'"
    assert needs("mtl-train", error, "train") == f"mtl-train {advice}"
    assert {"torch", "timm", "onnx", "albumentations"} <= set(PACKAGES)


def test_a_missing_package_of_ours_is_no_package() -> None:
    with pytest.raises(ModuleNotFoundError):
        needs("mtl-train", ModuleNotFoundError("No module", name="mtl_vision.nothing"), "train")


@pytest.mark.parametrize(
    ("module", "command", "extra"),
    [
        ("torch", "train(['--train.epochs', '2'])", "train"),
        ("torch", "export(['runs/a'])", "export"),
        ("yaml", "data(['check', 'x'])", "train"),
        ("h5py", "data(['check', 'x'])", "train"),
    ],
)
def test_a_command_without_a_package(module: str, command: str, extra: str) -> None:
    done = without(module, f"from mtl_vision import commands; sys.exit(commands.{command})")
    package, name = MODULES.get(module, module), command.partition("(")[0]
    assert done.stderr == f"mtl-{name} needs {package}: python -m pip install 'mtl-vision[{extra}]'\n"
    assert (done.returncode, done.stdout) == (1, "")


def test_the_api_without_a_package() -> None:
    done = without("torch", "import mtl_vision as mtl; mtl.load('x')")
    assert done.stderr.splitlines()[-1] == (
        "ImportError: mtl_vision needs torch: python -m pip install 'mtl-vision[train]'"
    )


EACH = """
import sys
import mtl_vision.engine.cli, mtl_vision.export.exporter  # others' packages are imported once
finders, loaded = list(sys.meta_path), dict(sys.modules)
for module in {modules!r}:
    for name in loaded:
        if name.partition(".")[0] in ("mtl_vision", module):
            del sys.modules[name]
    sys.meta_path[:] = [Without(finder, module) for finder in finders]
    from mtl_vision import commands
    for command, words in ((commands.train, ["--train.epochs=0"]), (commands.export, ["runs/a"])):
        print(module, command(words), file=sys.stderr)
    sys.modules.update(loaded)
"""


def test_no_missing_package_is_a_traceback() -> None:
    """Each is told, or not needed for that."""
    done = without("-", EACH.format(modules=PACKAGES))
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    lines = done.stderr.splitlines()
    told = {line.split()[2].rstrip(":") for line in lines if line.endswith("pip install 'mtl-vision[train]'")}
    assert told >= {"torch", "timm", "jsonargparse", "matplotlib", "safetensors", "scipy", "pyyaml", "pillow"}
    assert [f"{module} 1" in lines or f"{module} 2" in lines for module in PACKAGES] == [True] * len(PACKAGES)


@pytest.mark.parametrize(("method", "part"), [("DWA", "scalarization"), ("CAGrad", "aggregation")])
def test_a_method_without_torchjd(method: str, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"torchjd.{part}", None)
    with pytest.raises(ValueError, match=r"needs TorchJD .*: python -m pip install 'mtl-vision\[torchjd\]'"):
        BALANCERS[method](["a", "b"])


# signals


@pytest.mark.parametrize(
    ("name", "module", "words"),
    [
        ("train", "torch", "['--run.device=none']"),
        ("export", "torch", "['runs/a']"),
        ("data", "numpy", "['check', 'x']"),
    ],
)
def test_ctrl_c_during_imports(name: str, module: str, words: str) -> None:
    """It arrives while a package is looked for."""
    code = f"""
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in what a shell runs in the background
class Interrupt:
    @staticmethod
    def find_spec(name, *more):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt)
from mtl_vision import commands
sys.exit(commands.{name}({words}))
"""
    done = without("-", code)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"\nmtl-{name}: interrupted\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_stop_a_training_with_a_line(
    number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Training:
        def __init__(self, config: object) -> None: ...

        def train(self) -> None:
            signal.raise_signal(number)

    monkeypatch.setattr(cli, "Run", Training)
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    assert commands.train(["--train.epochs=1"]) == code
    assert capsys.readouterr().err == "\ninterrupted; resume with: mtl-train --run.resume\n"
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_looked_for_after_imports_as_before(enabled: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ImportError), without_collector():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


# help


@pytest.mark.parametrize("door", [TRAIN, EXPORT, DATA, "infer.py"])
def test_help_takes_less_than_two_seconds(door: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *door.split(), "--help"], cwd=REPO, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and "--help" in done.stdout and not done.stderr
    assert (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime) < 2


def test_the_help_is_what_the_parser_says() -> None:
    """In a process of its own: other tests define components, which it would list. CONTRIBUTING.md: how it is made."""
    words = [sys.executable, TRAIN, "--config=configs/synthetic.yaml", "--help"]
    env = os.environ | {"COLUMNS": "100"}
    said = subprocess.run(words, cwd=REPO, env=env, capture_output=True, text=True, check=True).stdout
    assert said == commands.HELP.read_text(encoding="utf-8")
