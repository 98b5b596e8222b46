"""Write samples as a canonical folder: whole, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from mtl_vision.datasets.description import FILE_NAME, DataError, Description
from mtl_vision.datasets.sample import Sample
from mtl_vision.runtime.encode import png
from mtl_vision.runtime.kinds import KINDS

SCENES = "scenes.txt"


class FolderWriter:
    """Writes into a temporary folder beside `out` and renames it when the `with` block ends well.

    scenes: the scene of each sample by its name, where that is known.
    """

    def __init__(self, out: Path, description: Description, scenes: Mapping[str, str] | None = None) -> None:
        self.out = Path(out).resolve()  # so that it has a name: --out . has none
        self.scenes = scenes
        self.description = replace(description, scenes=SCENES) if scenes else description
        if self.out.exists() and not self.out.is_dir():
            raise DataError(f"{self.out} is a file: choose a folder for --out")
        if self.out.exists() and any(self.out.iterdir()):
            raise DataError(f"{self.out} exists and is not empty: choose another --out, or remove it")
        self.work = self.out.with_name(f".{self.out.name}.{os.getpid()}.partial")

    def __enter__(self) -> FolderWriter:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        (self.work / FILE_NAME).write_text(self.description.to_yaml(), encoding="utf-8")
        if self.scenes:
            lines = "".join(f"{name} {scene}\n" for name, scene in self.scenes.items())
            (self.work / SCENES).write_text(lines, encoding="utf-8")
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self.work, ignore_errors=True)
            return
        if self.out.exists():
            self.out.rmdir()
        self.work.replace(self.out)

    def write(self, split: str, sample: Sample) -> None:
        """Write one sample: PNG for all; depth uint16, normals 16-bit RGB of (n + 1) / 2, labels as class ids."""
        d = self.description
        self._png(split, d.image, sample.name, sample.image)
        for name, array in sample.targets.items():
            fmt = getattr(d, name)
            if fmt is None:
                raise DataError(f"{name} of sample {sample.name} are not in the description: {', '.join(d.targets())}")
            try:
                self._png(split, fmt.folder, sample.name, _ENCODERS[name](array, d))
            except DataError as error:
                raise DataError(f"sample {sample.name} of {split}: {error}") from None

    def _png(self, split: str, folder: str, stem: str, array: np.ndarray) -> None:
        path = self.work / self.description.splits.get(split, split) / folder / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(array))


def _encode_depth(depth: np.ndarray, description: Description) -> np.ndarray:
    fmt = description.depth
    assert fmt is not None
    value = np.rint((depth - fmt.offset) / fmt.scale)
    if value.max() > 65535:
        raise DataError(f"depth of {depth.max():.2f} m does not fit 16 bits at scale {fmt.scale}")
    return np.where(KINDS["scalar_map"].valid(depth), value, fmt.invalid or 0).astype(np.uint16)


def _encode_normals(normals: np.ndarray, description: Description) -> np.ndarray:
    value = np.rint((normals + 1) * 32767.5)
    return np.where(KINDS["unit_vector_map"].valid(normals)[..., None], value, 0).astype(np.uint16)


def _encode_labels(labels: np.ndarray, description: Description) -> np.ndarray:
    return labels


_ENCODERS: dict[str, Callable[[np.ndarray, Description], np.ndarray]] = {
    "depth": _encode_depth,
    "normals": _encode_normals,
    "segmentation": _encode_labels,
    "instances": _encode_labels,
}
