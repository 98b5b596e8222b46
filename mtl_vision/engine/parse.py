"""Recipes and the command line: YAML files and options, every key typed. jsonargparse does the work.

A component (balancer, decoder, head, backbone, loss) is a class, chosen by its short name or import path; its settings
are options under the same key: `--balancer GradNorm --balancer.alpha 1.5`. `--balancer.help GradNorm` shows them.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import yaml
from jsonargparse import ArgumentParser, get_loader, set_loader

from mtl_vision.balancers import Balancer
from mtl_vision.config import Component, Config, DataConfig, ModelConfig, RunConfig, TasksConfig, TrainConfig, plain
from mtl_vision.datasets.text import MOST_YAML, load_yaml, read_text
from mtl_vision.engine.components import class_of, import_path
from mtl_vision.models import Backbone, Decoder, Head
from mtl_vision.runtime.files import atomic_write
from mtl_vision.runtime.near import nearest
from mtl_vision.runtime.terminal import printable
from mtl_vision.tasks import TASKS, Task

SECTIONS = ("run", "data", "model", "tasks", *(f"tasks.{name}" for name in TASKS), "train")
COMPONENTS = {"balancer": Balancer, "model.decoder": Decoder, "model.head": Head}
LONGEST = 1000  # characters of a message
FROM_DATA: Any = {"tasks", "classes", "palette"}  # arguments of components that the run fills in


class UsageError(ValueError):
    """An option or a key of a recipe is wrong; the message names it."""

    def __init__(self, message: str) -> None:
        text = printable(" ".join(message.split()))  # one line, of no more than a screen
        super().__init__(text if len(text) <= LONGEST else f"{text[:LONGEST]}...")


class _Parser(ArgumentParser):
    """Errors are raised, in one line: the key, what is expected, what was found, and the nearest known key."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        text = re.sub(r"Parser key \"([\w.]+)\":", r"\1:", " ".join(message.split())).removeprefix("config: ")
        text = re.sub(
            r"Expected an? (?:typing\.Literal\[(.*?)\]|<class '(\w+)'>)\. Got value:", r"expected \1\2, found", text
        )
        text = re.sub(
            r"Does not validate against any of the Union subtypes Subtypes: \[(.*)\] Errors: .* Given value: ",
            lambda found: f"expected {_types(found[1])}, found ",
            text,
        )
        if unknown := re.match(r"([\w.]+): Expected a dot import path string: (\S+)", text):
            action: Any = next(action for action in self._actions if action.dest == unknown[1])
            try:
                class_of(unknown[2], action._typehint)
            except ValueError as error:
                text = f"{unknown[1]}: {error}"
        raise UsageError(text + self._near(text)) from ex

    def _near(self, text: str) -> str:
        unknown = re.search(r"[Uu]nrecognized arguments: --([\w.]+)|[Oo]ption '([\w.]+)'|[Kk]ey '([\w.]+)'", text)
        if unknown is None or "did you mean" in text:
            return ""
        word = next(filter(None, unknown.groups()))
        keys = [key.replace(".init_args.", ".") for key, _ in self.get_defaults().items()]
        leaves = {key.rpartition(".")[2]: key for key in keys}
        near = nearest(word, keys, cutoff=0.75) or [leaves[n] for n in nearest(word.split(".")[-1], leaves, cutoff=0.7)]
        return f", did you mean '{near[0]}'?" if near else ""


def _types(listed: str) -> str:
    """What is accepted, from a list of types as Python prints it."""
    found = re.findall(r"Literal\[(.*?)\]|<class '(\w+)'>", listed)
    return " or ".join((choices or name).replace("NoneType", "null") for choices, name in found)


def parse(arguments: Sequence[str] | None = None) -> Config:
    """The config that a command line gives; None: this process' own. Raises UsageError."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for i, word in enumerate(words):
        if word == "--run.resume" and words[i + 1 : i + 2] not in (["true"], ["false"]):
            words[i] += "=true"
    return replace(_resolve(words), words=tuple(words))


def resolve(recipe: str | Path | Config | None = None, options: Mapping[str, Any] | None = None) -> Config:
    """The config of a recipe file, of a Config, or the default; options such as {"balancer": "Equal",
    "train.epochs": 5} override it. Raises UsageError.
    """
    if isinstance(recipe, Mapping):
        raise UsageError("the recipe is a mapping: expected a YAML file, a Config or None; options come second")
    words = [f"--{key}={_word(key, value)}" for key, value in (options or {}).items()]
    if isinstance(recipe, Config):
        return _resolve(words, recipe)
    words = words if recipe is None else [f"--config={recipe}", *words]
    return replace(_resolve(words), words=tuple(words))


def _word(key: str, value: Any) -> str:
    """An option's value as it would be typed."""

    def plainer(part: Any) -> Any:
        if isinstance(part, os.PathLike):
            return os.fspath(part)
        if isinstance(part, type):
            return import_path(part)
        if isinstance(part, np.generic | np.ndarray):
            return part.tolist()
        raise UsageError(f"{key} has {part!r:.60}: expected a name, a number, a path, or a list or mapping of these")

    text = json.dumps(value, default=plainer)
    return json.loads(text) if text.startswith('"') else text


def over(base: Config, config: Config) -> Config:
    """`base`, and over it what `config` was given in words; all of it, where there are none."""
    return _resolve(config.words, base) if config.words else config


def read_config(path: Path) -> Config:
    """The config in a run directory. Raises ValueError when it does not fit this version."""
    try:
        config = resolve(path)
        return replace(config, run=replace(config.run, resume=False))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def write_config(config: Config, path: Path) -> None:
    """The resolved config as YAML."""
    atomic_write(path, yaml.safe_dump(plain(config), sort_keys=False, default_flow_style=None).encode())


def read_yaml(path: Path) -> dict[str, Any]:
    """A recipe's mapping. Raises UsageError."""
    try:
        data = load_yaml(read_text(path, MOST_YAML))
    except OSError as error:
        raise UsageError(f"no recipe at {path} ({error.strerror}): expected a file, as configs/smoke.yaml") from error
    except ValueError as error:
        raise UsageError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(data, dict | None):
        sections = ", ".join(field.name for field in fields(Config))
        raise UsageError(f"{path}: expected a mapping of {sections}; found {data!r:.80}")
    return data or {}


def _value(text: str) -> Any:
    """An option's value, by the rules of jsonargparse for numbers (1e-3 is one)."""
    load_yaml(text)  # nothing that is deep, or larger than its text
    return get_loader("yaml")(text)


set_loader("option", _value, (ValueError, yaml.YAMLError))


def _resolve(words: Sequence[str], base: Config | None = None) -> Config:
    """`base`, recipes over it, then options. A component of another class begins with its own defaults."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # for import paths: console scripts do not have it
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for key in ("config", *SECTIONS, *COMPONENTS, "tasks.names"):
        early.add_argument(f"--{key}", dest=key, action="append", default=[])
    try:
        known, rest = early.parse_known_args(words)
        chosen = vars(known)
        recipe = plain(base or Config())
        for path in chosen.pop("config"):
            recipe = _over(recipe, read_yaml(Path(str(path))))
        for key, value in ((key, value) for key, given in chosen.items() for value in given):
            more = load_yaml(str(value))  # argparse makes a list of `--`
            if key in SECTIONS and isinstance(more, str):
                more = read_yaml(Path(more))
            for part in reversed(key.split(".")):
                more = {part: more}
            recipe = _over(recipe, more)
        parser = make_parser(recipe)
        return _to_config(parser.parse_args([f"--config={json.dumps(recipe, default=str)}", *rest]).as_dict())
    except UsageError:
        raise
    except (ValueError, argparse.ArgumentError) as error:
        raise UsageError(str(error)) from error
    except (LookupError, TypeError, RecursionError) as error:  # from within jsonargparse, as for --print_config=--
        raise UsageError(f"the options cannot be read ({type(error).__name__}: {error})") from error


def _over(base: Mapping[str, Any], more: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`more` over `base`, key by key."""
    result = dict(base)
    for key, value in more.items():
        path, old = f"{prefix}{key}", base.get(key)
        if path in COMPONENTS:
            result[key] = _component(path, old, value)
        elif path in SECTIONS and not isinstance(value, Mapping):
            raise UsageError(f"{path} is {value!r:.60}: expected a mapping of its settings")
        elif path in SECTIONS or (
            isinstance(old, Mapping) and isinstance(value, Mapping) and "class_path" not in value
        ):
            result[key] = _over(old or {}, value, f"{path}.")
        else:
            result[key] = value
    return result


def _component(key: str, old: Any, new: Any) -> dict[str, Any]:
    """A component's class and settings: a name, settings for the class that is there, or both."""
    if isinstance(new, str):
        new = {"class_path": new}
    if not isinstance(new, Mapping):
        raise UsageError(f"{key} is {new!r}: expected a class, by its name or import path")
    cls, kept = class_of(old["class_path"], COMPONENTS[key]), old.get("init_args", {})
    if "class_path" in new:
        chosen = class_of(new["class_path"], COMPONENTS[key])
        cls, kept, new = chosen, kept if chosen is cls else {}, new.get("init_args", {})
    if not isinstance(new, Mapping):
        raise UsageError(f"{key}.init_args is {new!r:.60}: expected a mapping of its settings")
    return {"class_path": import_path(cls), "init_args": {**kept, **new}}


def _to_config(values: dict[str, Any]) -> Config:
    """Dataclasses from parsed values."""

    def component(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return Component(import_path(class_of(value["class_path"], object)), value.get("init_args", {}))

    model, tasks = values["model"], values["tasks"]
    names = tasks.pop("names") or []
    chosen = [class_of(name, Task) for name in names]
    return Config(
        run=RunConfig(**values["run"]),
        data=DataConfig(**values["data"]),
        model=ModelConfig(**{key: component(value) for key, value in model.items()}),
        tasks=TasksConfig(names, {cls.name: tasks[cls.name] for cls in chosen}),
        balancer=component(values["balancer"]),
        train=TrainConfig(**values["train"]),
    )


def make_parser(recipe: Mapping[str, Any]) -> _Parser:
    """The parser of mtl-train, with the settings of the components and tasks that a recipe has chosen."""
    parser = _Parser(
        prog="mtl-train",
        parser_mode="option",
        description="Train a multitask network: depth, surface normals, segmentation. Without any option: synthetic "
        "rooms, a small network, minutes.",
    )
    parser.add_argument("--config", action="config", help="a recipe, such as configs/nyuv2_mobile.yaml")
    parser.add_class_arguments(RunConfig, "run")
    parser.add_class_arguments(DataConfig, "data")
    backbone: Any = Backbone | str
    parser.add_argument("--model.backbone", type=backbone, default=ModelConfig.backbone, help="a timm name, or a class")
    parser.add_class_arguments(ModelConfig, "model", skip={"backbone", "decoder", "head"})
    parser.add_class_arguments(TasksConfig, "tasks", skip={"settings"})
    names = recipe["tasks"]["names"]
    chosen = [class_of(name, Task) for name in names] if isinstance(names, list) else []
    classes: dict[str, type[Task]] = dict(TASKS)
    for cls in chosen:
        if classes.setdefault(cls.name, cls) is not cls or chosen.count(cls) > 1:
            raise UsageError(
                f"tasks.names is {names}: expected tasks of different names, '{cls.name}' is there already"
            )
    for name, cls in classes.items():
        parser.add_class_arguments(cls, f"tasks.{name}", skip=FROM_DATA, instantiate=False)
    for key, base in COMPONENTS.items():
        group, _, leaf = key.rpartition(".")
        default = {"class_path": (recipe[group] if group else recipe)[leaf]["class_path"]}
        parser.add_subclass_arguments(base, key, skip=FROM_DATA, instantiate=False, default=default)
    parser.add_class_arguments(TrainConfig, "train")
    return parser
