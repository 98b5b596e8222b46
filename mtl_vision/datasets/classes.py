"""The NYUv2 class sets (13 and 40 classes), the published maps between them, and the official split, as data."""

import colorsys
import json
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any

import numpy as np

from mtl_vision.runtime.kinds import IGNORE

Palette = list[tuple[int, int, int]]


@dataclass(frozen=True)
class ClassSet:
    """Class names by id, a colour (RGB) each, and the set's name where it is a known one."""

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    name: str = ""


@cache
def facts() -> dict[str, Any]:
    """The file facts/nyuv2.json."""
    return json.loads(resources.files("mtl_vision.datasets").joinpath("facts/nyuv2.json").read_text(encoding="utf-8"))


@cache
def class_set(name: str) -> ClassSet:
    """The class set called `nyu13` or `nyu40`."""
    if name not in ("nyu13", "nyu40"):
        raise ValueError(f"unknown class set '{name}': expected nyu13 or nyu40")
    names = tuple(facts()[f"names{name[3:]}"])
    return ClassSet(names, tuple(make_palette(len(names))), name)


def make_palette(count: int) -> Palette:
    """`count` well distinguishable colours: hues a golden angle from each other, lightness in three steps."""
    colours = []
    for i in range(count):
        red, green, blue = colorsys.hls_to_rgb((0.02 + i * 0.381966) % 1, (0.58, 0.42, 0.72)[i % 3], 0.62)
        colours.append((round(red * 255), round(green * 255), round(blue * 255)))
    return colours


@lru_cache(maxsize=8)
def label_table(stored: str, wanted: str, first: int, void: int, count: int = 0) -> np.ndarray:
    """Table (65536,) uint8 from a pixel's stored value to a class id in `wanted`; 255 where there is none.

    stored: the class set of the values (`nyu894` for the labels of the .mat file); `first` is the value of the first.
    count: the number of classes where they are of one's own (stored and wanted are "").
    """
    to40 = np.array(facts()["id894_to_id40"]) if stored == "nyu894" else np.arange(41)
    to13 = np.array(facts()["id40_to_id13"])
    if stored in ("nyu894", "nyu40") and wanted in ("nyu40", "nyu13"):
        ids = to13[to40] if wanted == "nyu13" else to40  # 1-based, 0 = unlabelled
    elif stored == wanted:
        ids = np.arange((count or len(class_set(stored).names)) + 1)
    else:
        problem = "a coarse set has lost the finer one"
        raise ValueError(f"labels of class set {stored} can not be read as {wanted}: {problem}")
    table = np.full(65536, IGNORE, np.uint8)
    table[first : first + len(ids) - 1] = np.where(ids[1:] > 0, ids[1:] - 1, IGNORE)
    if void >= 0:
        table[void] = IGNORE
    return table
