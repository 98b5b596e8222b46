"""Command lines of the four doors: options misspelt, doubled, gone, with values of any kind."""

from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import get_type_hints

import torch

from mtl_vision import prepare
from mtl_vision.config import Config
from mtl_vision.datasets.classes import ClassSet, class_set
from mtl_vision.engine import build
from mtl_vision.engine.parse import UsageError, parse
from mtl_vision.export import cli as export
from mtl_vision.runtime import cli as infer

from . import inference
from .damage import hostile_name, wrong_value
from .outcome import door, outcome

TRAIN = (
    "--config=configs/smoke.yaml", "--data.size=[48,64]", "--data.batch_size=8", "--data.workers=0",
    "--data.cache=null", "--data.augment=strong", "--data.holdout=0", "--data.on_error=skip", "--data.classes=nyu13",
    "--model.backbone=test_efficientnet", "--model.pretrained=false", "--model.decoder=Fusion",
    "--model.decoder.width=32", "--model.head=ConvHead", "--tasks.names=[depth,segmentation]",
    "--tasks.depth.max_depth=10", "--tasks.depth.loss=L1", "--tasks.segmentation.loss.label_smoothing=0.1",
    "--balancer=GradNorm", "--balancer.alpha=1.5", "--balancer.lr=0.02", "--balancer=Fixed",
    "--balancer.weights={depth: 1}", "--balancer=DWA", "--balancer.temperature=2", "--train.epochs=2",
    "--train.lr=1e-3", "--train.weight_decay=0.1", "--train.warmup=0.1", "--train.clip=1", "--train.accumulate=2",
    "--train.eval_every=1", "--train.ema=0.9", "--train.layer_decay=0.8", "--train.freeze=1", "--run.name=x",
    "--run.dir=runs", "--run.seed=1", "--run.device=cpu", "--run.resume", "--run.precision=fp32",
    "--run.tensorboard=false",
)  # fmt: skip
DATA = (
    ("check", "{rooms}", "--most=2", "--classes=nyu13", "--out={out}"),
    ("convert", "{rooms}", "--out={out}", "--size=32x48", "--depth=filled", "--normals=stored", "--on_error=skip"),
    ("convert", "{nowhere}", "--splits=x", "--out={out}", "--classes=nyu40", "--description=mtan"),
    ("synthetic", "--size=0x0", "--out={out}", "--count=10", "--seed=0", "--workers=1"),  # never a set that is made
)
INFER = ("{model}", "{images}", "--out={out}", "--save", "depth", "--batch=2", "--threads=1", "--raw", "--quiet")
LONGEST = 200  # characters of a word
EXPORT = (
    "{rooms}", "--out={out}", "--dynamic-size", "--logits", "--int8", "--fp16", "--core", "--tasks=depth", "--opset=17",
)  # {rooms} is no run  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A door and its words."""

    feed: Callable[[list[str]], None]
    words: list[str]


def make_base(folder: Path) -> dict[str, str]:
    """What the words in braces stand for."""
    torch.set_num_threads(1)
    base = inference.make_base(folder)
    (folder / "images").mkdir()
    for i, data in enumerate(list(base.images.values())[:3]):
        (folder / "images" / f"{i}.png").write_bytes(data)
    from mtl_vision.synthetic.dataset import write_rooms

    write_rooms(folder / "rooms", 10, (32, 48), workers=1)
    places = {"model": base.model, "images": folder / "images", "rooms": folder / "rooms"}
    return {name: str(path) for name, path in places.items()} | {"nowhere": str(folder / "nowhere")}


def generate(random: Random, base: dict[str, str], folder: Path) -> Case:
    """The words of a door that does its work, one to three of them changed."""
    feed, words = random.choice(
        (
            (train, _some(random, TRAIN)),
            (train, _some(random, TRAIN)),
            (data, list(random.choice(DATA))),
            (run_model, list(INFER)),
            (export_run, list(EXPORT)),
        )
    )
    for place, path in {**base, "out": str(folder.absolute() / "out" / "x")}.items():
        words = [word.replace(f"{{{place}}}", path) for word in words]
    keep = 2 if words[:1] == ["synthetic"] else 0  # its size stays one that is refused
    for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
        _change(random, words, keep, str(folder.absolute()))
    words = ["".join(filter(str.isprintable, word))[:LONGEST] for word in words]  # errors may repeat them
    return Case(feed, words)


def _some(random: Random, words: tuple[str, ...]) -> list[str]:
    """Some of them, in their order; some in two words."""
    found = [word for word in words if random.random() < 0.2]
    return [part for word in found for part in (word.split("=", 1) if random.random() < 0.3 else [word])]


def _change(random: Random, words: list[str], keep: int, cwd: str) -> None:
    if len(words) <= keep:
        words.append(random.choice(("--help", hostile_name(random, cwd))))
        return
    i, way = random.randrange(keep, len(words)), random.randrange(7)
    key, equals, _ = words[i].partition("=")
    if key == "--out":  # it may be written to, wherever it is
        words.append(words[i])
    elif way < 3:
        words[i] = f"{key}{equals}{wrong_value(random, cwd)}"
    elif way == 3:
        words[i] = words[i].replace(random.choice(words[i] or "x"), random.choice(("", "x", "é", "..")), 1)
    elif way == 4:
        del words[i]
    elif way == 5:
        words.append(words[i])
    else:
        others = ("--help", "--", "-", "@x", "--config=nowhere.yaml", "--=1", "--nothing=1", hostile_name(random, cwd))
        words.insert(i, random.choice(others))


def feed(case: Case, folder: Path) -> None:
    """What the door says it does, or an exit code and a word."""
    (folder / "out").mkdir()
    with chdir(folder / "out"):  # where defaults lie
        case.feed(case.words)


def train(words: list[str]) -> None:
    """A config whose components can be made, or an error; never a training."""
    try:
        config = outcome(lambda: parse(words), UsageError)
    except SystemExit as end:
        assert "--help" in words and not end.code, f"exit code {end.code}"
        return
    if config is not None:
        for section in ("run", "data", "model", "tasks", "train"):
            hints = get_type_hints(type(getattr(config, section)))
            for name, hint in hints.items():
                value = getattr(getattr(config, section), name)
                assert hint not in (int, float, str, bool) or type(value) is hint, f"{section}.{name} is {value!r}"
        outcome(lambda: _components(config), ValueError)


def _components(config: Config) -> object:
    classes: ClassSet = class_set("nyu13")
    return build.make_balancer(config.balancer, build.make_tasks(config.tasks, classes))


def data(words: list[str]) -> None:
    door(prepare.main, words, 0, 1, 2)


def run_model(words: list[str]) -> None:
    door(infer.main, words, 0, 1, 2)


def export_run(words: list[str]) -> None:
    door(export.main, words, *((0, 2) if "--help" in words else (1, 2)))
