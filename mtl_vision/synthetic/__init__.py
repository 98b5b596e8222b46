"""Procedural rooms seen by an NYU-like camera, with exact depth, normals and NYU13 labels."""

from mtl_vision.synthetic.render import NYU_CAMERA, NYU_SIZE, render_room
from mtl_vision.synthetic.scene import CLASSES

__all__ = ["CLASSES", "NYU_CAMERA", "NYU_SIZE", "render_room"]
