"""Takes the picture of a scene, with exact depth, normals and labels from the same rays."""

from __future__ import annotations

import numpy as np

from mtl_vision.datasets.sample import Intrinsics, Sample
from mtl_vision.synthetic.cast import cast
from mtl_vision.synthetic.rooms import random_scene
from mtl_vision.synthetic.scene import Scene
from mtl_vision.synthetic.shading import develop, radiance
from mtl_vision.synthetic.solids import CLASS_ID

NYU_SIZE = (480, 640)
NYU_CAMERA = Intrinsics(fx=518.857901, fy=519.469611, cx=325.582449, cy=253.736166)


def render_room(seed: int, size: tuple[int, int] = (240, 320)) -> Sample:
    """The room of this seed, seen by an NYU-like camera of this size (H, W): always the same bytes.

    Targets: `depth` float32 metres along z, `normals` float32 in the camera frame, `segmentation` uint8 of CLASSES;
    no pixel is invalid.
    """
    return photograph(random_scene(seed), NYU_CAMERA.resized(NYU_SIZE, size), size, seed)


def photograph(scene: Scene, intrinsics: Intrinsics, size: tuple[int, int], seed: int = 0) -> Sample:
    """A Sample of the scene; the seed decides the exposure and the sensor's noise."""
    camera = scene.camera
    rays = camera.turn @ intrinsics.rays(size).reshape(-1, 3).T
    hits = cast(camera.position, rays, scene.solids)  # rays have z = 1, so distances along them are depths
    depth = hits.distance.reshape(size)
    points = camera.position[:, None] + hits.distance * rays
    normals = (camera.turn.T @ hits.normals).T.reshape(*size, 3)
    labels = np.array([CLASS_ID[solid.label] for solid in scene.solids], dtype=np.uint8)[hits.index]
    linear = radiance(scene, hits, points, depth).T.reshape(*size, 3)
    rng = np.random.default_rng([seed, 1])
    exposure = rng.uniform(0.15, 0.36)
    targets = {
        "depth": depth.astype(np.float32),
        "normals": normals.astype(np.float32),
        "segmentation": labels.reshape(size),
    }
    return Sample(f"{seed:06d}", develop(linear, rng, exposure), targets, intrinsics)
