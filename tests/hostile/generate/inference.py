"""Folders of images for `infer.py`: whole and damaged ones, under names that are hard to write, and what is no file."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from random import Random

from mtl_vision.runtime import cli

from . import images, models
from .damage import hostile_name
from .outcome import door

OPTIONS = (
    [], [], ["--raw"], ["--quiet"], ["--batch", "3"], ["--save", "depth"], ["--save", "overview", "--raw"],
    ["--save", "points", "--fov", "60"],
)  # fmt: skip
ENDINGS = (".png", ".jpg", ".JPG", ".tif", ".png.png")


@dataclass(frozen=True)
class Base:
    """Whole images by their format, and the path of a model."""

    images: dict[str, bytes]
    model: Path


@dataclass(frozen=True)
class Case:
    """A command line without its output; the images that it must tell of, those of them that are whole."""

    words: list[str]
    expected: set[str]
    whole: set[str]


def make_base(folder: Path) -> Base:
    """The images of images.py, the first model of models.py."""
    models.make_base(folder)
    return Base(images.make_base(folder), folder / "ids.onnx")


def generate(random: Random, base: Base, folder: Path) -> Case:
    """Four to ten entries; a file of a known suffix that is not hidden must be told of."""
    root, expected, whole = folder / "in", set(), set()
    root.mkdir()
    for _ in range(random.randrange(4, 11)):
        path = root / random.choice(("", "", "sub", "sub/deep")) / _name(random, folder)
        if os.path.lexists(path):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        case = images.generate(random, base.images, folder)
        way = random.random()
        if way < 0.85:
            path.write_bytes(case.data)
        elif way < 0.9:
            os.mkfifo(path)
        elif way < 0.95:
            path.symlink_to(random.choice((Path("nowhere"), Path("/dev/zero"), path, root)))
        else:
            path.mkdir()
        if path.name[0] != ".":
            expected.add(str(path))
            whole |= {str(path)} if way < 0.85 and case.whole else set()
    return Case([str(base.model), str(root), *random.choice(OPTIONS)], expected, whole)


def _name(random: Random, folder: Path) -> str:
    stem = random.choice(("a", "b", f"{random.randrange(99)}", hostile_name(random, str(folder.absolute()))))
    stem = stem.replace("\0", "").replace("/", "")
    ending = random.choice(ENDINGS)
    return os.fsdecode(os.fsencode(stem)[: random.choice((200, 255 - len(ending)))]) + ending


def feed(case: Case, folder: Path) -> None:
    """A line an image, whole ones are done or, when they are no photos, skipped; each file that is there is told of."""
    out = folder / "out"
    code = door(cli.main, [*case.words, "--out", str(out)], *((0, 1, 2) if case.expected else (1,)))
    if not case.expected:
        assert not out.exists()
        return
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    told = [line["image"] for line in lines]
    assert len(set(told)) == len(told), f"told twice: {sorted(told)}"
    same = {os.path.realpath(path) for path in told}  # an image is taken once, whatever leads to it
    lost = {path for path in case.expected - set(told) if os.path.realpath(path) not in same}
    assert not lost, f"lost: {sorted(lost)}"
    failed = {line["image"]: line["error"] for line in lines if line["status"] == "failed"}
    assert not case.whole & failed.keys(), f"whole images failed: {failed}"
    statuses = {line["status"] for line in lines}
    right = 2 if failed else 0 if "ok" in statuses else 1
    assert code == right and all(failed.values()), f"exit code {code}, {statuses}, failed {failed}"
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()} - {"results.jsonl"}
    named = {file for line in lines for file in line["files"]}
    assert written == named, f"not told of: {written - named}, not there: {named - written}"
