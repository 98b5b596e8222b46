"""Values as they come out of a YAML file, held to a form each: what is of another form is an error that says so."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from mtl_vision.datasets.error import DataError
from mtl_vision.runtime.near import did_you_mean

Form = tuple[str, Callable[[Any], Any]]  # how to say what is expected; how to read it


def build(cls: type, data: Any, where: str, forms: Mapping[str, Form]) -> Any:
    """A dataclass from a mapping. Raises DataError for unknown keys, naming the nearest, and for wrong values."""
    known = [f.name for f in fields(cls)]
    if not isinstance(data, Mapping):
        raise DataError(f"{where}: expected a mapping of {', '.join(known)}; found {data!r}")
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in known:
            raise DataError(f"{where}: unknown key '{key}'" + (did_you_mean(key, known) or f": expected {known}"))
        expected, read = forms[key]
        try:
            values[key] = read(value)
        except (TypeError, ValueError, OverflowError):
            raise DataError(f"{where}: {key} is {value!r}: expected {expected}") from None
    return cls(**values)


def is_a(*types: type) -> Callable[[Any], Any]:
    """The value itself, if it is of one of the types (True and False are no numbers here)."""

    def read(value: Any) -> Any:
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise TypeError
        return value

    return read


def number(value: Any) -> float:
    """A finite number."""
    value = float(is_a(int, float, str)(value))  # YAML takes 1e-3 for a text
    if not math.isfinite(value):
        raise ValueError
    return value


def list_of(read: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    """A list, each item read by `read`."""
    return lambda value: [read(item) for item in is_a(list, tuple)(value)]


def mapping_of(read: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    """A mapping from texts to what `read` reads."""
    return lambda value: {text(key): read(item) for key, item in is_a(dict)(value).items()}


def colour(value: Any) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255."""
    red, green, blue = list_of(is_a(int))(value)
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise ValueError
    return red, green, blue


def or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Null, or what `read` reads."""
    return lambda value: None if value is None else read(value)


text = is_a(str)
