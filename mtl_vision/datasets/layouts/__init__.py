"""The forms in which people have NYUv2 and its kin on disk: a file a form, formats/NAME.yaml.

Each is a description (see description.py) and `signs`, patterns of files that tell the form: a folder has it where all
of them match something.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Format:
    """A known form. signs: patterns relative to the data set's folder; description: what its dataset.yaml would say."""

    name: str
    signs: tuple[str, ...]
    description: dict[str, Any]

    def fits(self, root: Path) -> bool:
        """Whether a folder looks like it."""
        return all(next(root.glob(_any_case(sign)), None) is not None for sign in self.signs)


def _any_case(sign: str) -> str:
    """The pattern with its suffix in capitals or not."""
    body, dot, suffix = sign.rpartition(".")
    return body + dot + "".join(f"[{c}{c.upper()}]" for c in suffix) if dot and suffix.isalpha() else sign


@cache
def formats() -> dict[str, Format]:
    """All known forms by name."""
    found = {}
    files = (file for file in resources.files(__name__).iterdir() if file.name.endswith(".yaml"))
    for file in sorted(files, key=lambda file: file.name):
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        name = file.name.removesuffix(".yaml")
        found[name] = Format(name, tuple(data.pop("signs")), data)
    return found


def fitting(root: Path) -> list[str]:
    """Names of the forms that a folder has; those whose signs are part of another's are left out."""
    having = [form for form in formats().values() if form.signs and form.fits(root)]
    return [form.name for form in having if not any(set(form.signs) < set(other.signs) for other in having)]


# What is said under a key takes the place of what is known under others: they tell the same thing in another way.
INSTEAD = {
    "scale": ("full_scale", "offset"),
    "full_scale": ("scale", "offset"),
    "folder": ("derive",),
    "axes": ("derive",),
    "numbered": ("lists", "columns"),
    "lists": ("numbered",),
}


def over(known: Mapping[str, Any], said: Mapping[str, Any], targets: Iterable[str]) -> dict[str, Any]:
    """What is said, over what is known; the keys of a target one by one, other values whole."""

    def joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        gone = {key for name, value in other.items() if value is not None for key in INSTEAD.get(name, ())}
        return {**{key: value for key, value in one.items() if key not in gone}, **other}

    both = joined(known, said)
    for name in targets:
        if isinstance(known.get(name), Mapping) and isinstance(said.get(name), Mapping):
            both[name] = joined(known[name], said[name])
    return {key: value for key, value in both.items() if value is not None}
