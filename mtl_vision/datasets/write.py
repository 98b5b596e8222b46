"""Write samples as a canonical folder: all of it, or nothing."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from mtl_vision.datasets.description import DataError, Description
from mtl_vision.datasets.rules import FILE_NAME, SCENES
from mtl_vision.datasets.sample import Sample
from mtl_vision.datasets.targets import target_of
from mtl_vision.datasets.text import expect_name
from mtl_vision.runtime.files import FULL, LONGEST, atomic_folder, png, shortened


class FolderWriter:
    """Writes beside `out`, and renames it when the `with` block ends well. scenes: by the samples' names."""

    def __init__(self, out: Path, description: Description, scenes: Mapping[str, str] | None = None) -> None:
        self.out = Path(out).resolve()  # so that it has a name: '.' has none
        self.scenes = scenes
        self.description = replace(description, scenes=SCENES) if scenes else description
        if self.out.exists() and not self.out.is_dir():
            raise DataError(f"{self.out} is a file: choose a folder for the result")
        if self.out.exists() and any(self.out.iterdir()):
            raise DataError(f"{self.out} exists and is not empty: choose another folder, or remove it")

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.work = stack.enter_context(self._unfinished())
            (self.work / FILE_NAME).write_text(self.description.to_yaml(), encoding="utf-8")
            if self.scenes:
                # a scene is one line, whatever it is called
                lines = "".join(f"{stem_of(name)} {' '.join(scene.split())}\n" for name, scene in self.scenes.items())
                (self.work / SCENES).write_text(lines, encoding="utf-8", errors="backslashreplace")
            self._finish = stack.pop_all()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._finish.__exit__(*raised)

    @contextmanager
    def _unfinished(self) -> Iterator[Path]:
        try:
            with atomic_folder(self.out) as work:
                yield work
        except FileExistsError as error:
            raise DataError(f"{self.out} was made by another process meanwhile: choose another folder") from error
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise DataError(
                f"{self.out} can not be written ({error.strerror}): free some space on its disk, or choose another one"
            ) from error

    def write(self, split: str, sample: Sample) -> None:
        """Write one sample as PNGs."""
        d = self.description
        self._png(split, d.image, sample.name, sample.image)
        for name, array in sample.targets.items():
            section, target = d.section(name), target_of(name)
            if section is None:
                raise DataError(f"{name} of sample {sample.name} are not in the description: {', '.join(d.targets())}")
            try:
                pixels = target.write(array, section) if target.write else array
            except DataError as error:
                raise DataError(f"sample {sample.name} of {split}: {error}") from None
            self._png(split, section.folder, sample.name, pixels)

    def _png(self, split: str, folder: str, stem: str, array: np.ndarray) -> None:
        path = self.work / self.description.splits.get(split, split) / folder / f"{stem_of(stem)}.png"
        if ".." in path.parts or not path.is_relative_to(self.work):
            raise DataError(f"split '{split}' would be written to {path}: expected a place in {self.out}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(array))


def stem_of(name: str) -> str:
    """What a sample's files are called: its name, the end of one that is too long as a hash. Raises DataError."""
    return shortened(expect_name(name, "the name of a sample"), LONGEST - len(".png"))
