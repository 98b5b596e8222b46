"""From what a ray hits to the colour a camera records there."""

from __future__ import annotations

import cv2
import numpy as np

from mtl_vision.synthetic.cast import Hits, first_hits
from mtl_vision.synthetic.scene import Light, Scene
from mtl_vision.synthetic.solids import Piece, Point
from mtl_vision.synthetic.textures import TEXTURES

GAMMA = 2.2


def surface(hits: Hits, solids: Piece) -> tuple[np.ndarray, np.ndarray]:
    """Linear albedo (3, N) and glow (N,) where the rays hit."""
    paints = [solid.paint for solid in solids]
    colour, accent = (np.array([getattr(p, k) for p in paints]).T[:, hits.index] for k in ("colour", "accent"))
    places = hits.local + np.array([p.shift for p in paints])[hits.index]
    textures = np.array([p.texture for p in paints])[hits.index]
    weight = np.empty(len(hits.index))
    for name in np.unique(textures):
        at = np.flatnonzero(textures == name)
        weight[at] = TEXTURES[name](places[:, at], hits.unit[:, at])
    blend = colour + (accent - colour) * weight.clip(0.0, 1.0)
    return blend**GAMMA, np.array([p.glow for p in paints])[hits.index]


def lit(light: Light, points: np.ndarray, normals: np.ndarray, solids: Piece, size: tuple[int, int]) -> np.ndarray:
    """Lambert's light (3, N) from one point light, with the shadows softened a little."""
    to_point = points - light.position[:, None]
    distance = np.linalg.norm(to_point, axis=0)
    facing = np.maximum(-(normals * to_point).sum(axis=0) / distance, 0.0)
    first, _, _ = first_hits(light.position, to_point, solids)
    clear = (first * distance > distance - 0.01).astype(np.float32).reshape(size)
    clear = cv2.GaussianBlur(clear, (0, 0), size[0] / 120).reshape(-1)
    return light.colour[:, None] * (facing * clear / (1 + (distance / light.reach) ** 2))


def nearness(points: np.ndarray, normals: np.ndarray, room: Point) -> np.ndarray:
    """How much light (N,) is left near the room's other walls, where corners darken."""
    left = np.ones(points.shape[1])
    for axis, length in enumerate(room):
        for distance, away in ((points[axis], normals[axis]), (length - points[axis], -normals[axis])):
            left *= 1.0 - 0.35 * np.exp(-np.maximum(distance, 0.0) / 0.25) * (1.0 - np.maximum(away, 0.0))
    return left


def hollows(depth: np.ndarray) -> np.ndarray:
    """How much light (H, W) is left where the surroundings stand nearer to the camera, as beside and under things."""
    around = cv2.GaussianBlur(depth, (0, 0), depth.shape[0] / 30)
    return np.exp(-2.5 * np.clip((depth - around) / depth - 0.01, 0.0, 0.15))


def radiance(scene: Scene, hits: Hits, points: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Linear colour (3, N) towards the camera, of surfaces met at world points (3, N) with depth (H, W)."""
    albedo, glow = surface(hits, scene.solids)
    bounced = 0.95 - 0.15 * hits.normals[2]  # what faces down sees the lit floor
    closed = nearness(points, hits.normals, scene.room) * hollows(depth.astype(np.float32)).reshape(-1)
    light = scene.ambient[:, None] * (bounced * closed)
    for lamp in scene.lights:
        light += lit(lamp, points, hits.normals, scene.solids, depth.shape) * np.sqrt(closed)
    return albedo * (light + glow)


def develop(linear: np.ndarray, rng: np.random.Generator, exposure: float) -> np.ndarray:
    """What a sensor makes of linear colour (H, W, 3): exposure, lens blur, vignette, noise, gamma, 8 bits."""
    h, w = linear.shape[:2]
    picture = linear.astype(np.float32) * np.float32(exposure / linear.mean())
    picture = cv2.GaussianBlur(picture, (0, 0), 0.45)
    v, u = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j].astype(np.float32)
    picture *= (1.0 - 0.12 * (u * u + v * v))[..., None]
    noise = rng.standard_normal(picture.shape, dtype=np.float32)
    picture += noise * np.sqrt(2e-5 + 4e-4 * picture)  # read-out noise and photon noise
    shown = np.clip(picture, 0.0, None) ** np.float32(1 / GAMMA)
    # A soft shoulder in place of hard clipping, as cameras have.
    shown = np.where(shown > 0.8, 0.8 + 0.2 * np.tanh((shown - 0.8) / 0.2), shown)
    return np.rint(shown * 255).astype(np.uint8)
