"""Files that are not there: a target that nearly all samples have, a picture that only its targets tell of."""

from __future__ import annotations

from pathlib import Path

from mtl_vision.datasets.folder import FolderDataset

FEW = 0.05  # of the samples; where more lack a target, it is taken for one that only some have


def missing(dataset: FolderDataset) -> list[str]:
    """A sentence for each target that few samples lack, and for pictures that few targets lack; all are named."""
    said: list[str] = []
    for target, files in dataset.files.items():
        there = [files[stem] for stem in dataset.stems if stem in files]
        lacking = [_beside(there[0], stem) for stem in dataset.stems if stem not in files] if there else []
        if _few(len(lacking), len(dataset)):
            said.append(
                f"{len(there)} of {len(dataset)} samples have {target}, these lack it: {', '.join(lacking)}; copy them "
                "again from their source, or remove the samples"
            )
        alone = [str(path) for stem, path in files.items() if stem not in dataset.images]
        if _few(len(alone), len(dataset)):
            said.append(
                f"no picture belongs to these files of {target}: {', '.join(alone)}; copy the pictures again from "
                "their source, or remove the files"
            )
    return said


def _few(count: int, of: int) -> bool:
    return 0 < count <= max(FEW * of, 1) and of > 3


def _beside(path: Path, stem: str) -> str:
    return str(path.with_name(stem + path.suffix))
