"""Texts that come with data: read whole from regular files, as YAML without what makes a small text huge."""

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import yaml

from mtl_vision.datasets import DataError
from mtl_vision.runtime.files import read_regular
from mtl_vision.runtime.terminal import printable

P = ParamSpec("P")
T = TypeVar("T")
MOST = 2**26  # bytes of a list of samples
MOST_YAML = 2**17  # bytes; the largest class set and palette take a tenth
DEEPEST, LONGEST = 32, 2000  # levels of a YAML file, characters of one of its texts
SHOWN = 160  # characters of a value that an error shows
CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # but tab and newline; NUL is in no file's name
LEADING = re.compile(r"[\0-\x1f\x7f-\x9f\u2028\u2029/\\]|^\.|^$")  # elsewhere, to a hidden file, or to another line


class _Loader(yaml.SafeLoader):
    """Plain values only, and no more of them than the text is long: no aliases, not deep, no endless number."""

    level = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        problem = None
        if isinstance(event, yaml.AliasEvent):
            problem = f"found the alias *{event.anchor}: write the value out"
        elif self.level == DEEPEST:
            problem = f"expected at most {DEEPEST} levels, one in another"
        elif isinstance(event, yaml.ScalarEvent) and len(event.value) > LONGEST:
            problem = f"expected texts and numbers of at most {LONGEST} characters, found {len(event.value)}"
        if problem is not None:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self.level += 1
        node = super().compose_node(parent, index)
        self.level -= 1
        return node


def load_yaml(text: str) -> Any:
    """The values of a YAML text. Raises ValueError, in one line: no YAML, too long, too deep, or with aliases."""
    if len(text) > MOST_YAML:
        raise ValueError(f"expected at most {MOST_YAML:,} characters, found {len(text):,}")
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{where}{shown(str(error.problem))}") from error
    except Exception as error:  # its constructors raise many types of error for a tag's or a number's wrong text
        raise ValueError(shown(" ".join(str(error).split()) or type(error).__name__)) from error


def read_text(path: Path, most: int = MOST) -> str:
    """A file's text. Raises OSError for what is no file or too large, UnicodeDecodeError."""
    return read_regular(path, most).decode("utf-8-sig")


def shown(text: str, most: int = SHOWN) -> str:
    """What was found in a file, as an error names it: printable, and cut short, since it may be of any length."""
    text = printable(text)
    return text if len(text) <= most else f"{text[:most]}..."


def explained(function: Callable[P, T]) -> Callable[P, T]:
    """The function, with DataErrors for OSErrors: no access, a name that is too long, .."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except OSError as error:
            raise DataError(f"{shown(str(error.filename), LONGEST // 4)}: {error.strerror}") from error

    return call


def expect_name(name: str, what: str) -> str:
    """`name`, if files and folders that are written may be called so: it leads nowhere else. Raises DataError."""
    if LEADING.search(name):
        raise DataError(f"{what} is {shown(repr(name))}: expected a plain name, which leads nowhere else; rename it")
    return name
