"""Files by patterns: what the stars of "*/color/*.jpg" stand for names a sample and its scene."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

Stars = tuple[str, ...]


def matching(where: Path, parts: Sequence[str]) -> Iterator[tuple[Stars, Path]]:
    """What a pattern below a folder stands for, in natural order: the text of each star, and the path.

    parts: the pattern's path; each has at most one star, which stands for one character or more. Hidden files and
    folders (macOS leaves ._1.png) are none.
    """
    part, *rest = parts
    before, star, after = part.partition("*")
    below = sorted(where.iterdir(), key=natural) if star and where.is_dir() else []
    for path in below if star else [where / part]:
        text = path.name[len(before) : len(path.name) - len(after)]
        if star and (path.name != before + text + after or not text or path.name.startswith(".")):
            continue
        stars = (text,) if star else ()
        if not rest and (star or path.exists()):
            yield stars, path
        elif rest and path.is_dir():
            yield from (((*stars, *inner), found) for inner, found in matching(path, rest))


def name_of(stars: Stars) -> str:
    """A sample's name: what the stars stand for, joined with _."""
    return "_".join(stars)


def scene_of(stars: Stars) -> str:
    """Its scene: all but the last star, joined with /; empty where there is one star only."""
    return "/".join(stars[:-1])


def natural(path: Path) -> tuple[tuple[int, int | str], ...]:
    """Sorts 2.npy before 10.npy."""
    parts = re.split(r"(\d+)", path.name)
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)
