"""The command line: recipes in YAML, every key typed, overridden by options. jsonargparse does the work."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, Namespace

from mtl_vision.config import Config
from mtl_vision.runtime.files import write_whole


class _Parser(ArgumentParser):
    """Short messages that name the nearest key for an unknown one."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:
            super().error(message, ex)
        sys.stderr.write(
            f"{self.prog}: error: {message}\n{self._hint(message)}For all options: python {self.prog} --help\n"
        )
        raise SystemExit(2)

    def _hint(self, message: str) -> str:
        unknown = re.search(r"unrecognized arguments: --([\w.]+)|[Oo]ption '([\w.]+)'", message)
        if unknown is None:
            return ""
        word = unknown[1] or unknown[2]
        known = list(self.get_defaults().keys())
        leaf = {key.split(".")[-1]: key for key in known}
        near = difflib.get_close_matches(word, known, 1, 0.75) or [
            leaf[name] for name in difflib.get_close_matches(word.split(".")[-1], list(leaf), 1, 0.7)
        ]
        return f"Did you mean {near[0]}?\n" if near else ""


def make_parser() -> ArgumentParser:
    """The parser of train.py."""
    parser = _Parser(
        prog="train.py",
        description="Train a multitask network: depth, surface normals, segmentation. Without any option: synthetic "
        "rooms, a small network, minutes.",
    )
    parser.add_argument("--config", action="config", help="a recipe, such as configs/nyuv2_mobile.yaml")
    parser.add_class_arguments(Config)
    return parser


def parse(arguments: Sequence[str] | None = None) -> Config:
    """The configuration that a command line gives; None: this process' own. Exits with a message on a wrong one."""
    parser = make_parser()
    given = list(sys.argv[1:] if arguments is None else arguments)
    given = [_whole_flag(word, following) for word, following in pairwise([*given, ""])]
    return to_config(parser, parser.parse_args(given))


def _whole_flag(word: str, following: str) -> str:
    """`--run.resume` alone means true."""
    return "--run.resume=true" if word == "--run.resume" and following.lower() not in ("true", "false") else word


def read_config(path: Path) -> Config:
    """The configuration in a run directory's config.yaml. Raises ValueError when it does not fit this version."""
    parser = make_parser()
    parser.exit_on_error = False
    try:
        return to_config(parser, parser.parse_path(str(path)))
    except Exception as error:
        raise ValueError(f"{path}: {error}") from error


def write_config(config: Config, path: Path) -> None:
    """The resolved configuration as YAML."""
    text = yaml.safe_dump(_plain(config), sort_keys=False, default_flow_style=None)
    write_whole(path, text.encode())


def to_config(parser: ArgumentParser, namespace: Namespace) -> Config:
    """Dataclasses from parsed values."""
    made = parser.instantiate(namespace)
    return Config(**{name: made[name] for name in Config.__dataclass_fields__})


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return list(value) if isinstance(value, (tuple, list)) else value
