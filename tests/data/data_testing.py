"""What the tests of the data share: planes whose truth is known by hand, and small folders."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np

from mtl_vision.datasets.description import DepthFiles, Description, LabelFiles, NormalsFiles
from mtl_vision.datasets.sample import Intrinsics, Sample
from mtl_vision.datasets.write import FolderWriter

SIZE = (48, 64)
CAMERA = Intrinsics(60.0, 60.0, 30.0, 25.0)
HELD = {"fx": 60.0, "fy": 60.0, "cx": 30.0, "cy": 25.0, "height": 48, "width": 64}
FULL = Description(
    source="made by hand",
    depth=DepthFiles(),
    normals=NormalsFiles(),
    segmentation=LabelFiles(classes="nyu13"),
    intrinsics=HELD,
)


def unit(*vector: float) -> np.ndarray:
    return np.array(vector) / np.linalg.norm(vector)


def plane_depth(normal: np.ndarray, metres: float, camera: Intrinsics = CAMERA, size=SIZE) -> np.ndarray:
    """Depth of the plane that faces the viewer and crosses the axis at `metres`: n . z r = n_z metres along rays r."""
    return (normal[2] * metres / (camera.rays(size) @ normal)).astype(np.float32)


def plane_sample(normal: np.ndarray, metres: float = 2.0, camera: Intrinsics = CAMERA, size=SIZE, seed=0) -> Sample:
    """A plane with a smooth picture and labels in four blocks and a stripe of void."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), size[::-1], interpolation=cv2.INTER_LINEAR)
    labels = np.full(size, 3, np.uint8)
    labels[: size[0] // 2, : size[1] // 2], labels[size[0] // 2 :, size[1] // 2 :] = 11, 4
    labels[:, 20:23] = 255
    normals = np.broadcast_to(normal.astype(np.float32), (*size, 3)).copy()
    targets = {"depth": plane_depth(normal, metres, camera, size), "normals": normals, "segmentation": labels}
    return Sample(f"{seed:04d}", image, targets, camera)


def degrees(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle between unit vectors, with all its digits at small angles."""
    chord = np.linalg.norm(a.astype(np.float64) - b.astype(np.float64), axis=-1)
    return np.degrees(2 * np.arcsin(np.clip(chord / 2, 0, 1)))


def write_folder(root: Path, samples: dict[str, list[Sample]], description: Description = FULL) -> Path:
    """A canonical folder: {split: samples}."""
    with FolderWriter(root, description) as writer:
        for split, ones in samples.items():
            for sample in ones:
                writer.write(split, sample)
    return root


def with_camera(sample: Sample) -> Description:
    """The description of samples of this size and camera."""
    assert sample.intrinsics is not None
    return replace(
        FULL, intrinsics=asdict(sample.intrinsics) | dict(zip(("height", "width"), sample.size, strict=True))
    )


def planes(count: int, size=SIZE) -> list[Sample]:
    """Slanted planes, one as the other only in size."""
    return [plane_sample(unit(0.1 * i, -0.3, -1), 2 + 0.3 * i, size=size, seed=i) for i in range(count)]


def cut_short(path: Path) -> None:
    """Take the end off a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
