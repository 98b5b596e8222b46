"""The layouts in which people have NYUv2 and similar data on disk: one file per layout, NAME.yaml."""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Layout:
    """A known layout.

    signs: patterns that must all match files, those with a ! before them none; description: what its dataset.yaml would
    say; taken_from: where what it says of depth, normals, segmentation, camera, lists and match was read (`from` in the
    file), by these names; also: folders of maps that it has, too, and that are read only where a description chooses
    them; measured: the axes of its normals are stated nowhere: each copy's own depth shows them, those described are
    taken where it does not.
    """

    signs: tuple[str, ...]
    description: dict[str, Any]
    taken_from: dict[str, str]
    also: tuple[str, ...] = ()
    measured: bool = False


@cache
def layouts() -> dict[str, Layout]:
    """All known layouts by name."""
    files = sorted(resources.files(__name__).iterdir(), key=lambda file: file.name)
    known = {file.name: yaml.safe_load(file.read_text(encoding="utf-8")) for file in files if ".yaml" in file.name}
    return {name.removesuffix(".yaml"): _layout(data) for name, data in known.items()}


def _layout(data: dict[str, Any]) -> Layout:
    taken_from, also, measured = data.pop("from", {}), tuple(data.pop("also", ())), data.pop("measured", False)
    return Layout(tuple(data.pop("signs")), data, taken_from, also, measured)


def fitting(root: Path) -> list[str]:
    """Names of the layouts that a folder has; those whose signs are part of another's are left out."""

    def is_there(sign: str) -> bool:
        if sign.startswith("!"):
            return not is_there(sign[1:])
        body, dot, suffix = sign.rpartition(".")
        either = "".join(f"[{c}{c.upper()}]" for c in suffix)  # of small letters or capitals
        return next(root.glob(body + dot + either if dot and suffix.isalpha() else sign), None) is not None

    having = {name: set(layout.signs) for name, layout in layouts().items() if all(map(is_there, layout.signs))}
    return [name for name, signs in having.items() if not any(signs < other for other in having.values())]
